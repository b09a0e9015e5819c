/* SPDX-License-Identifier: Apache-2.0 */
/* A world of nodes that have one group in common: each with a log on a disk of its own, a state
 * machine that remembers what it was told, and a link to the others that loses, delays and cuts as
 * it is asked to. What is held against it all the time:
 *
 *   every index is applied with the same entry everywhere (state machine safety)
 *   no node votes for two in one term, over all of its lives (R1)
 *
 * and at the end: what was acknowledged is there, everywhere.
 *
 * The state machine is flushed now and then to a file, which is all that it has when it starts
 * again, besides the log; a snapshot is that file. Stories run outside of fibers. */
#ifndef LW_TESTS_GROUP_WORLD_H
#define LW_TESTS_GROUP_WORLD_H

#include "tests/unit.h"

#include "base/hash.h"
#include "lattice/raft_message.h"
#include "node/group.h"
#include "sim/world.h"

enum {
    STORY_NODES = 4,
    STORY_GROUP = 7,
    STORY_VALUES = 4096,
    STORY_TERMS = 512,
    STORY_FLUSH_EVERY = 24,
};
#define STORY_MS UINT64_C(1000000)

typedef struct story story;

/* What a state machine holds; of one life. */
typedef struct story_state {
    uint64_t index;
    lw_group_members members;
    uint32_t count;
    uint64_t values[STORY_VALUES];
} story_state;

typedef struct story_node {
    story *on;
    uint64_t id;
    lw_host *host;
    uint64_t life; /* rises with each boot */
    lw_env *env;
    lw_groups *groups;
    lw_group *group;
    lw_log *log;
    story_state state, flushed; /* now; as the file has it */
    bool open, flushing, joins, no_room, died, gone, pauses;
    uint64_t led_term; /* as `led` said last; 0: `followed` since */
    uint64_t diverged; /* index; 0: no */
    uint64_t leaves;   /* proposals of leaves_joint under way */
    size_t kept_most;
    uint32_t proposing;           /* of this life */
    uint64_t grants[STORY_TERMS]; /* by term: whom it voted for; over all lives */
} story_node;

struct story {
    lw_world *world;
    lw_memory *memory;
    uint64_t random;
    story_node nodes[STORY_NODES];
    uint32_t node_count;
    lw_group_members first; /* who belongs to it at first */
    uint32_t loss_percent, delay_ms;
    bool cut[STORY_NODES][STORY_NODES]; /* from, to */
    bool corrupt; /* flips a bit of the next entry that goes to the last node */
    size_t kept_size, memory_size, value_size; /* memory_size 0: without a budget */
    uint64_t behind_max;
    uint64_t messages;
    struct {
        uint64_t hash;
    } applied[STORY_VALUES]; /* by index */
    uint64_t acknowledged[STORY_VALUES];
    uint32_t acknowledged_count;
    uint64_t next_value;
    lw_status last; /* of a proposal that ended */
    char failure[256];
};

static inline void story_expect(story *on, bool holds, const char *what) {
    if (!holds && on->failure[0] == 0) {
        (void)snprintf(on->failure, sizeof(on->failure), "%s", what);
    }
}

static inline uint64_t story_now(const story *on) {
    return lw_world_now(on->world);
}

static inline void story_pass(story *on, uint64_t duration_ms) {
    (void)lw_world_run(on->world, story_now(on) + duration_ms * STORY_MS);
}

/* ---- the state machine ---------------------------------------------------------------------- */

static inline void story_note_applied(story *on, uint64_t index, uint64_t term, lw_bytes bytes) {
    uint64_t hash = lw_hash(term, bytes) | 1;
    if (index >= STORY_VALUES) {
        story_expect(on, false, "the story has room for its entries");
        return;
    }
    if (on->applied[index].hash == 0) {
        on->applied[index].hash = hash;
    }
    story_expect(on, on->applied[index].hash == hash, "an index is applied alike everywhere");
}

/* An entry: 'v' and a number, or 'm' and members. */
static inline lw_status story_apply(void *argument, const lw_group_entry *entry) {
    story_node *node = argument;
    story_state *state = &node->state;
    story_expect(node->on, entry->index == state->index + 1, "indexes come one by one");
    story_note_applied(node->on, entry->index, entry->term, entry->bytes);
    state->index = entry->index;
    if (entry->bytes.size >= 9 && entry->bytes.data[0] == 'v' && state->count < STORY_VALUES) {
        state->values[state->count++] = lw_get_u64(entry->bytes.data + 1);
    } else if (entry->bytes.size == 1 + sizeof(state->members)) {
        memcpy(&state->members, entry->bytes.data + 1, sizeof(state->members));
    }
    if (node->pauses && entry->bytes.size > 0) {
        node->pauses = false;
        lw_group_pause(node->group);
    }
    return LW_OK;
}

static inline lw_status story_write_state(story_node *node, const story_state *state) {
    lw_env *env = node->env;
    lw_handle file;
    LW_TRY(lw_file_open(env, "state.new", LW_OPEN_CREATE, &file));
    size_t size = offsetof(story_state, values) + state->count * sizeof(state->values[0]);
    lw_buffer bytes = lw_buffer_in(env->memory);
    lw_buffer_append(&bytes, lw_view(state, size));
    lw_status status = lw_file_resize(env, file, 0);
    if (status == LW_OK) {
        status = lw_file_write(env, file, 0, lw_buffer_view(&bytes), LW_WRITE_DURABLE);
    }
    lw_file_close(env, file);
    lw_buffer_reset(&bytes);
    LW_TRY(status);
    LW_TRY(lw_path_rename(env, "state.new", "state"));
    return lw_path_sync_directory(env, ".");
}

static inline lw_status story_read_state(story_node *node) {
    lw_handle file;
    size_t size;
    node->state =
        (story_state){.members = node->joins ? (lw_group_members){.count = 0} : node->on->first};
    lw_status status = lw_file_open(node->env, "state", LW_OPEN_READ_ONLY, &file);
    if (status == LW_NOT_FOUND) {
        node->flushed = node->state;
        return LW_OK;
    }
    LW_TRY(status);
    status = lw_file_read(node->env, file, 0, &node->state, sizeof(node->state), &size);
    lw_file_close(node->env, file);
    node->flushed = node->state;
    return status;
}

static inline void story_flush_main(void *argument) {
    story_node *node = argument;
    story_state *state = lw_allocate(node->env->memory, sizeof(*state));
    *state = node->state;
    if (story_write_state(node, state) == LW_OK) {
        node->flushed = *state;
        if (node->group != NULL) {
            lw_group_flushed(node->group, state->index);
        }
    }
    lw_free(node->env->memory, state);
    node->flushing = false;
}

static inline void story_flush_if_due(story_node *node) {
    if (node->open && !node->flushing &&
        node->state.index - node->flushed.index >= STORY_FLUSH_EVERY) {
        node->flushing = true;
        lw_env_start(node->env, "flush", story_flush_main, node);
    }
}

/* ---- the link ------------------------------------------------------------------------------- */

typedef struct story_letter {
    story *on;
    uint32_t to;
    uint64_t from, life;
    lw_bytes bytes;
} story_letter;

static inline void story_deliver_main(void *argument) {
    story_letter *letter = argument;
    story_node *node = &letter->on->nodes[letter->to];
    if (node->open) {
        lw_groups_receive(node->groups, letter->from, letter->bytes);
        story_flush_if_due(node);
        lw_groups_figures figures;
        lw_groups_figures_get(node->groups, &figures);
        if (figures.kept_bytes > node->kept_most) {
            node->kept_most = figures.kept_bytes;
        }
    }
}

static inline void story_deliver(void *argument) {
    story_letter *letter = argument;
    story *on = letter->on;
    story_node *node = &on->nodes[letter->to];
    if (lw_host_running(node->host) && !on->cut[letter->from - 1][letter->to]) {
        lw_env_start(node->env, "deliver", story_deliver_main, letter);
    }
}

/* R1: over all of its lives. */
static inline void story_watch_vote(story *on, story_node *node, const lw_raft_message *message,
                                    uint64_t to) {
    if (message->kind != LW_RAFT_VOTE_REPLY || !message->granted || message->term >= STORY_TERMS) {
        return;
    }
    uint64_t *grant = &node->grants[message->term];
    story_expect(on, *grant == 0 || *grant == to, "nobody votes for two in one term");
    *grant = to;
}

static inline void story_send(void *argument, uint64_t to, lw_bytes bytes) {
    story_node *node = argument;
    story *on = node->on;
    uint64_t group;
    lw_raft_message message;
    lw_reader entries;
    on->messages++;
    story_expect(on, lw_raft_message_decode(bytes, &group, &message, &entries) == LW_OK,
                 "what is sent can be read");
    story_watch_vote(on, node, &message, to);
    if (to > on->node_count || unit_random_below(&on->random, 100) < on->loss_percent) {
        return;
    }
    lw_bytes copy = lw_copy(on->memory, bytes);
    if (on->corrupt && to == on->node_count && message.count > 0) {
        lw_bytes payload = lw_raft_payload_next(&entries);
        size_t place = (size_t)(payload.data - bytes.data) + 1;
        ((uint8_t *)(uintptr_t)copy.data)[place] ^= 1;
        on->corrupt = false;
    }
    story_letter *letter = lw_allocate(on->memory, sizeof(*letter));
    *letter = (story_letter){.on = on, .to = (uint32_t)to - 1, .from = node->id, .bytes = copy};
    uint64_t delay_ns = STORY_MS / 10 + unit_random_below(&on->random, on->delay_ms * STORY_MS + 1);
    lw_world_at(on->world, story_now(on) + delay_ns, story_deliver, letter);
}

/* Tells all who live how the links are. */
static inline void story_tell_links(story *on) {
    for (uint32_t at = 0; at < on->node_count; at++) {
        for (uint32_t to = 0; to < on->node_count && on->nodes[at].open; to++) {
            bool up = on->nodes[to].open && lw_host_running(on->nodes[to].host) &&
                      !on->cut[at][to] && !on->cut[to][at];
            if (at != to && lw_host_running(on->nodes[at].host)) {
                lw_groups_link(on->nodes[at].groups, on->nodes[to].id, up);
            }
        }
    }
}

static inline void story_cut(story *on, uint32_t node, bool cut) {
    for (uint32_t other = 0; other < STORY_NODES; other++) {
        on->cut[node][other] = on->cut[other][node] = cut && other != node;
    }
    story_tell_links(on);
}

/* ---- snapshots ------------------------------------------------------------------------------ */

/* One on its way; the sender hears of the end in the turn in which it comes to that. */
typedef struct story_parcel {
    story *on;
    uint32_t from, to;
    uint64_t from_life;
    story_state state;
    uint64_t term;
    bool ended;
} story_parcel;

static inline void story_parcel_end(story_parcel *parcel, bool installed) {
    story_node *sender = &parcel->on->nodes[parcel->from];
    if (parcel->ended) {
        return;
    }
    parcel->ended = true;
    if (sender->life == parcel->from_life && sender->open && lw_host_running(sender->host)) {
        lw_group_snapshot_sent(sender->group, parcel->on->nodes[parcel->to].id,
                               installed ? parcel->state.index : 0);
    }
}

static inline lw_status story_ingest(void *argument) {
    story_parcel *parcel = argument;
    story_node *node = &parcel->on->nodes[parcel->to];
    LW_TRY(story_write_state(node, &parcel->state));
    node->state = node->flushed = parcel->state;
    return LW_OK;
}

static inline void story_install_main(void *argument) {
    story_parcel *parcel = argument;
    story_node *node = &parcel->on->nodes[parcel->to];
    lw_group_snapshot snapshot = {
        .index = parcel->state.index, .term = parcel->term, .members = parcel->state.members};
    lw_status status = LW_UNAVAILABLE;
    if (node->open && !node->flushing) {
        node->flushing = true; /* one at a time writes the file */
        status = lw_group_install(node->group, &snapshot, story_ingest, parcel);
        node->flushing = false;
    }
    story_parcel_end(parcel, status == LW_OK);
}

static inline void story_parcel_comes(void *argument) {
    story_parcel *parcel = argument;
    story_node *node = &parcel->on->nodes[parcel->to];
    if (node->open && lw_host_running(node->host) && !parcel->on->cut[parcel->from][parcel->to]) {
        lw_env_start(node->env, "install", story_install_main, parcel);
    } else {
        story_parcel_end(parcel, false);
    }
}

/* The sender's patience is over. */
static inline void story_parcel_lost(void *argument) {
    story_parcel_end(argument, false);
}

static inline void story_wants_snapshot(void *argument, uint64_t to) {
    story_node *node = argument;
    story *on = node->on;
    story_parcel *parcel = lw_allocate_zero(on->memory, sizeof(*parcel));
    *parcel = (story_parcel){.on = on,
                             .from = (uint32_t)node->id - 1,
                             .from_life = node->life,
                             .to = (uint32_t)to - 1,
                             .state = node->state};
    lw_status status = lw_group_snapshot_begin(node->group, to, parcel->state.index, &parcel->term);
    story_expect(on, status == LW_OK, "a leader knows the term of what it applied");
    lw_world_at(on->world, story_now(on) + 20 * STORY_MS, story_parcel_comes, parcel);
    lw_world_at(on->world, story_now(on) + 300 * STORY_MS, story_parcel_lost, parcel);
}

/* ---- what else a group says ----------------------------------------------------------------- */

static inline void story_led(void *argument, uint64_t term) {
    story_node *node = argument;
    node->led_term = term;
    story_expect(node->on, lw_group_leads(node->group) == term, "who is told so leads");
}

static inline void story_followed(void *argument, uint64_t term, uint64_t leader) {
    story_node *node = argument;
    (void)term;
    (void)leader;
    node->led_term = 0;
}

static inline void story_changed(void *argument, const lw_group_members *members) {
    (void)argument;
    (void)members;
}

static inline bool story_room(void *argument, size_t size, bool applies) {
    story_node *node = argument;
    (void)size;
    return !node->no_room || !applies;
}

static inline void story_diverged(void *argument, uint64_t from, uint64_t index) {
    story_node *node = argument;
    (void)from;
    node->diverged = index;
}

static inline void story_died(void *argument, const lw_error *reason) {
    story_node *node = argument;
    (void)reason;
    node->died = true;
}

static inline void story_removed(void *argument, uint64_t index) {
    (void)index;
    story_node *node = argument;
    node->gone = true;
}

#endif
