/* SPDX-License-Identifier: Apache-2.0 */
/* What all groups of a node share: who there is, links, and messages. */
#include "node/group_state.h"

#include "base/hash.h"

#define KEPT_SIZE           ((size_t)8 * 1024 * 1024)
#define KEPT_PART           8 /* of the budget */
#define BEHIND_MAX          (UINT64_C(64) * 1024 * 1024)
#define ELECTION_TIMEOUT_NS UINT64_C(1000000000)
#define DRIFT_PPM           2000

/* Who cannot open a table for entries in memory cannot send the snapshot that would end them. */
static size_t usual_kept_size(const lw_groups_options *options) {
    size_t part = options->budget == NULL ? KEPT_SIZE : options->budget->limit / KEPT_PART;
    bool whole = part > KEPT_SIZE || LW_BUG(options->env, "group.keeps_beyond_the_budget");
    return whole ? KEPT_SIZE : part;
}

lw_groups *lw_groups_open(const lw_groups_options *options) {
    lw_memory *memory = options->env->memory;
    lw_groups *opened = lw_allocate_zero(memory, sizeof(*opened));
    lw_groups_options *own = &opened->options;
    *own = *options;
    own->kept_size = own->kept_size == 0 ? usual_kept_size(options) : own->kept_size;
    own->behind_max = own->behind_max == 0 ? BEHIND_MAX : own->behind_max;
    own->election_timeout_ns =
        own->election_timeout_ns == 0 ? ELECTION_TIMEOUT_NS : own->election_timeout_ns;
    own->drift_ppm = own->drift_ppm == 0 ? DRIFT_PPM : own->drift_ppm;
    opened->env = options->env;
    opened->by_id = lw_map_in(memory);
    opened->message = lw_buffer_in(memory);
    opened->share = lw_budget_share_in(options->budget, LW_BUDGET_BUFFERS);
    return opened;
}

void lw_groups_start(lw_groups *groups, lw_log *log) {
    LW_ASSERT(groups->log == NULL && log != NULL);
    groups->log = log;
}

void lw_groups_close(lw_groups *groups) {
    lw_memory *memory = groups->env->memory;
    LW_ASSERT(groups->first == NULL);
    groups->closing = true;
    lw_queue_wake_all(&groups->watching);
    lw_queue_wake_all(&groups->alarmed);
    while (groups->background_count > 0) {
        lw_queue_wait(&groups->idle);
    }
    LW_ASSERT(groups->kept_size == 0 && groups->alarm_count == 0);
    lw_map_reset(&groups->by_id);
    lw_buffer_reset(&groups->message);
    lw_free(memory, groups->links);
    lw_free(memory, groups->watches);
    lw_free(memory, groups->alarms);
    lw_free(memory, groups);
}

void groups_background_start(lw_groups *groups, const char *name, void (*body)(void *argument),
                             void *argument) {
    groups->background_count++;
    lw_env_start(groups->env, name, body, argument);
}

void groups_background_end(lw_groups *groups) {
    LW_ASSERT(groups->background_count > 0);
    if (--groups->background_count == 0) {
        lw_queue_wake_all(&groups->idle);
    }
}

void groups_kept(lw_groups *groups, size_t more, size_t less) {
    groups->kept_size = groups->kept_size + more - less;
    lw_budget_share_set(&groups->share, groups->kept_size);
}

/* ---- who there is --------------------------------------------------------------------------- */

void groups_enter(lw_groups *groups, lw_group *group) {
    group->next = groups->first;
    if (group->next != NULL) {
        group->next->previous = group;
    }
    groups->first = group;
    lw_map_insert(&groups->by_id, &group->node, lw_mix(group->id));
}

void groups_leave(lw_groups *groups, lw_group *group) {
    *(group->previous == NULL ? &groups->first : &group->previous->next) = group->next;
    if (group->next != NULL) {
        group->next->previous = group->previous;
    }
    lw_map_remove(&groups->by_id, &group->node);
}

static lw_group *find(const lw_groups *groups, uint64_t id) {
    /* lw_mix permutes, so equal hashes are equal ids. */
    lw_map_node *node = lw_map_first(&groups->by_id, lw_mix(id));
    return node == NULL ? NULL : LW_MAP_ENTRY(node, lw_group, node);
}

/* ---- messages ------------------------------------------------------------------------------- */

void lw_groups_receive(lw_groups *groups, uint64_t from, lw_bytes bytes) {
    uint64_t id;
    lw_raft_message message;
    lw_reader entries;
    groups->figures.received++;
    LW_MESSAGE(groups->env, from, groups->options.node, false, bytes);
    if (lw_raft_message_decode(bytes, &id, &message, &entries) != LW_OK) {
        groups->figures.unreadable++;
        return;
    }
    message.from = from;
    message.to = groups->options.node;
    lw_group *group = find(groups, id);
    if (group != NULL) {
        group_receive(group, &message, entries, bytes.size);
    } else if (groups->log != NULL && groups->options.stranger != NULL) {
        groups->options.stranger(groups->options.argument, from, id, message.kind);
    }
}

void lw_groups_gone(lw_groups *groups, uint64_t node, uint64_t id, uint64_t index) {
    lw_raft_message message = {
        .kind = LW_RAFT_GONE, .from = groups->options.node, .to = node, .term = 1, .index = index};
    lw_buffer_clear(&groups->message);
    lw_raft_message_encode(id, &message, NULL, &groups->message);
    groups->options.send(groups->options.argument, node, lw_buffer_view(&groups->message));
}

/* As it would answer an append: none that reached it, so that the leader sends one. */
void lw_groups_anew(lw_groups *groups, uint64_t node, uint64_t id, uint64_t term) {
    lw_raft_message message = {.kind = LW_RAFT_ACKNOWLEDGE,
                               .from = groups->options.node,
                               .to = node,
                               .term = term == 0 ? 1 : term,
                               .index = 1};
    lw_buffer_clear(&groups->message);
    lw_raft_message_encode(id, &message, NULL, &groups->message);
    groups->options.send(groups->options.argument, node, lw_buffer_view(&groups->message));
}

/* ---- links ---------------------------------------------------------------------------------- */

bool groups_link_up(const lw_groups *groups, uint64_t node) {
    for (uint32_t index = 0; index < groups->link_count; index++) {
        if (groups->links[index].node == node) {
            return groups->links[index].up;
        }
    }
    return false;
}

static void note_link(lw_groups *groups, uint64_t node, bool up) {
    for (uint32_t index = 0; index < groups->link_count; index++) {
        if (groups->links[index].node == node) {
            groups->links[index].up = up;
            return;
        }
    }
    if (groups->link_count == groups->link_capacity) {
        groups->link_capacity = groups->link_capacity == 0 ? 8 : 2 * groups->link_capacity;
        groups->links = lw_reallocate(groups->env->memory, groups->links,
                                      groups->link_capacity * sizeof(*groups->links));
    }
    groups->links[groups->link_count++] = (group_link){.node = node, .up = up};
}

void lw_groups_link(lw_groups *groups, uint64_t node, bool up) {
    uint64_t now = lw_env_now(groups->env);
    note_link(groups, node, up);
    for (lw_group *each = groups->first; each != NULL; each = each->next) {
        if (each->raft == NULL || !each->started || each->dead || each->halted) {
            continue;
        }
        if (up) {
            lw_raft_reachable(each->raft, node, now);
        } else {
            lw_raft_unreachable(each->raft, node, now);
        }
        groups_dirty(groups, each);
    }
}

uint64_t lw_groups_linked(const lw_groups *groups, uint64_t after) {
    uint64_t next = 0;
    for (uint32_t index = 0; index < groups->link_count; index++) {
        const group_link *link = &groups->links[index];
        next =
            link->up && link->node > after && (next == 0 || link->node < next) ? link->node : next;
    }
    return next;
}

/* ---- looking -------------------------------------------------------------------------------- */

void lw_groups_figures_get(const lw_groups *groups, lw_groups_figures *figures) {
    *figures = groups->figures;
    figures->kept_bytes = groups->kept_size;
}
