/* SPDX-License-Identifier: Apache-2.0 */
/* Small shards that have little to do are merged with their neighbours, by the nodes that lead
 * them.
 *
 * A shard is *idle* if its tables and its memory hold no more than an eighth of what makes it be
 * split, and it is asked for no more than an eighth of what makes it hot. Who leads one that has
 * been idle for as long as the node was told (ten minutes), and has a replica of its left neighbour
 * that holds as little, asks the leader of that one to take it in; which does so if its own has
 * been idle as long, and both are on the same nodes. So what is merged is far from being split
 * again. Who leads one that is idle says so to all: neighbours that are apart are placed on the
 * same nodes by that (lattice/neighbour.h). It counts as idle then until it is twice too large, or
 * is asked for twice too much: what is on its way together does not turn round for a trifle.
 *
 * One fiber looks, ten times in that time, and only while a shard that this node leads could be
 * merged, now or after it was moved: else it sleeps without a timer. One merge at a time, and a
 * pause behind each. */
#include "node/shards_state.h"

enum {
    MERGE_AFTER_MS = 10 * 60 * 1000,
    SOON_MS = 3000, /* in simulations */
    LOOKS = 10,
    SHARE = 8,
    BUSY = 2, /* times what idle ones hold, or are asked */
    SHARD_SIZE = 128 * 1024 * 1024,
    HOT_RATE = 2500, /* requests a second: see node/lattice_load.c */
    PAUSE_MS = 1000, /* behind a merge */
};
#define NS_PER_MS UINT64_C(1000000)

static bool stopping(const lw_shards *shards) {
    return !shards->serving || shards->dead;
}

/* Of `share` times what small ones hold at most. */
static bool is_within(const lw_shards *shards, uint64_t shard, uint64_t share) {
    const lw_tree *tree = lw_store_tree(shards->options.store, shard);
    lw_tree_figures figures;
    uint64_t size = shards->options.shard_size;
    if (tree == NULL) {
        return false;
    }
    lw_tree_figures_get(tree, &figures);
    size = size == 0 || size == UINT64_MAX ? (uint64_t)SHARD_SIZE : size;
    return figures.held_bytes + figures.memtable_bytes <= size / SHARE * share;
}

static bool is_small(const lw_shards *shards, uint64_t shard) {
    return is_within(shards, shard, 1);
}

/* ---- how long it has been so ----------------------------------------------------------------- */

/* Counts what was asked since the last look, which was `past_ms` ago. */
static void look_at(lw_shards *shards, shards_member *member, uint64_t now_ms, uint64_t past_ms) {
    lw_replica_figures figures;
    lw_replica_figures_get(member->replica, &figures);
    uint64_t asked = figures.reads + figures.scans + figures.commits;
    bool known = member->asked_count != 0 && asked >= member->asked_count - 1;
    uint64_t rate_most = past_ms * HOT_RATE / SHARE / 1000;
    uint64_t count = known ? asked - (member->asked_count - 1) : 0;
    bool leads = lw_replica_leads(member->replica);
    bool idle = leads && is_small(shards, member->shard) && known && count <= rate_most;
    member->busy = leads && (!is_within(shards, member->shard, BUSY) || count > rate_most * BUSY);
    member->asked_count = asked + 1;
    if (!idle) {
        member->idle_ms = 0;
    } else if (member->idle_ms == 0) {
        member->idle_ms = now_ms;
    }
}

static bool long_idle(const lw_shards *shards, const shards_member *member) {
    uint64_t now_ms = lw_env_now(shards->env) / NS_PER_MS;
    return member->idle_ms != 0 && now_ms - member->idle_ms >= shards->options.merge_after_ms &&
           lw_replica_leads(member->replica);
}

lw_idleness lw_shards_idleness(const lw_shards *shards, uint64_t shard) {
    const shards_member *member = shards_member_of(shards, shard);
    if (member == NULL || member->replica == NULL || member->leaving) {
        return LW_IDLENESS_UNKNOWN;
    }
    return long_idle(shards, member) ? LW_IDLENESS_IDLE
           : member->busy            ? LW_IDLENESS_BUSY
                                     : LW_IDLENESS_UNKNOWN;
}

bool shards_idle(void *argument, lw_replica *replica) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    const shards_member *member = shards_member_of(shards, shard.id);
    return member != NULL && member->replica == replica && long_idle(shards, member);
}

/* ---- pairs ----------------------------------------------------------------------------------- */

static bool same_nodes(const lw_shard_descriptor *a, const lw_shard_descriptor *b) {
    bool same = a->replica_count == b->replica_count;
    for (uint32_t index = 0; index < a->replica_count && same; index++) {
        same = a->replicas[index].node == b->replicas[index].node &&
               a->replicas[index].role == LW_REPLICA_VOTER &&
               b->replicas[index].role == LW_REPLICA_VOTER;
    }
    return same;
}

/* Whether the one at `index` and the one before it may become one. */
static bool belong(const lw_shards *shards, uint32_t index) {
    const shards_member *left = shards->sorted[index - 1], *right = shards->sorted[index];
    lw_shard_descriptor of_left, of_right;
    lw_replica_descriptor(left->replica, &of_left);
    lw_replica_descriptor(right->replica, &of_right);
    return of_left.end.size > 0 && lw_equal(of_left.end, of_right.start) &&
           same_nodes(&of_left, &of_right) && is_small(shards, left->shard) &&
           is_small(shards, right->shard);
}

/* Who leads the right one sees to it. */
static bool fits(const lw_shards *shards, uint32_t index) {
    return lw_replica_leads(shards->sorted[index]->replica) && belong(shards, index);
}

/* Of those that could be merged one for which it is time, or else, if `any`, any; 0: none. */
static uint32_t find_pair(const lw_shards *shards, bool any) {
    for (uint32_t index = 1; index < shards->count; index++) {
        if (fits(shards, index) && (any || long_idle(shards, shards->sorted[index]))) {
            return index;
        }
    }
    return 0;
}

/* Whether somebody else may ask how long a left one has been idle, which is led here. */
static bool may_be_asked(const lw_shards *shards) {
    for (uint32_t index = 1; index < shards->count; index++) {
        if (lw_replica_leads(shards->sorted[index - 1]->replica) && belong(shards, index)) {
            return !LW_BUG(shards->env, "shards.left_one_looks_at_nothing");
        }
    }
    return false;
}

/* Whether the shard at `index`, which is small and led here, could be on other nodes than a
 * neighbour of it is: what this one is like is for its leader to say. */
static bool has_company_elsewhere(const lw_shards *shards, uint32_t index) {
    lw_shard_descriptor of, other;
    lw_replica_descriptor(shards->sorted[index]->replica, &of);
    bool left_here = of.start.size == 0, right_here = of.end.size == 0;
    if (!left_here && index > 0) {
        lw_replica_descriptor(shards->sorted[index - 1]->replica, &other);
        left_here = lw_equal(other.end, of.start) && same_nodes(&of, &other);
    }
    if (!right_here && index + 1 < shards->count) {
        lw_replica_descriptor(shards->sorted[index + 1]->replica, &other);
        right_here = lw_equal(of.end, other.start) && same_nodes(&of, &other);
    }
    return !left_here || !right_here;
}

/* Whether there is one to bring together with another. */
static bool find_apart(const lw_shards *shards) {
    for (uint32_t index = 0; index < shards->count && shards->others.ask != NULL; index++) {
        const shards_member *member = shards->sorted[index];
        if (lw_replica_leads(member->replica) && is_small(shards, member->shard) &&
            has_company_elsewhere(shards, index)) {
            return true;
        }
    }
    return false;
}

bool lw_shards_to_merge(const lw_shards *shards, uint64_t shard, uint64_t *left,
                        uint64_t *idle_ms) {
    for (uint32_t index = 1; index < shards->count; index++) {
        const shards_member *member = shards->sorted[index];
        if (member->shard == shard && member->idle_ms != 0 && fits(shards, index)) {
            *left = shards->sorted[index - 1]->shard;
            *idle_ms = lw_env_now(shards->env) / NS_PER_MS - member->idle_ms;
            return true;
        }
    }
    return false;
}

LW_YIELDS static void merge_pair(lw_shards *shards, uint32_t index) {
    lw_memory *memory = shards->env->memory;
    lw_shard_descriptor left;
    shards_member *member = shards->sorted[index];
    uint64_t right = member->shard;
    lw_replica_descriptor(shards->sorted[index - 1]->replica, &left);
    lw_bytes start = lw_copy(memory, left.start);
    lw_buffer body = lw_buffer_in(memory), reply = body;
    member->idle_ms = 0; /* counted anew, whatever comes of it */
    lw_merge_request_encode(&(lw_merge_request){.right = right, .if_idle = true}, &body);
    lw_status status =
        lw_shards_ask(shards, LW_MESSAGE_MERGE, start, lw_buffer_view(&body), &reply);
    if (status == LW_OK) {
        LW_MARK(shards->env, "shards.merged_by_themselves");
        shards_say(shards, LW_LEVEL_INFO, "merged", left.id,
                   "it and its right neighbour are small, and have little to do");
    } else {
        LW_MARK(shards->env, "shards.not_merged_now");
        lw_logline(shards->env, LW_LEVEL_DEBUG, "small shards could not be merged",
                   "right=%llu reason=\"%s\"", (unsigned long long)right, lw_error_slot()->text);
    }
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    lw_free(memory, (void *)(uintptr_t)start.data);
}

/* ---- the fiber ---------------------------------------------------------------------------------
 */

static void look_at_all(lw_shards *shards, uint64_t past_ms) {
    uint64_t now_ms = lw_env_now(shards->env) / NS_PER_MS;
    for (uint32_t index = 0; index < shards->count; index++) {
        look_at(shards, shards->sorted[index], now_ms, past_ms);
    }
}

LW_YIELDS static void small_main(void *argument) {
    lw_shards *shards = argument;
    uint64_t pause_ms = shards->options.merge_after_ms / LOOKS + 1;
    uint64_t looked_ms = lw_env_now(shards->env) / NS_PER_MS;
    while (!stopping(shards)) {
        uint32_t pair = 0;
        if (find_pair(shards, true) == 0 && !may_be_asked(shards) && !find_apart(shards)) {
            lw_queue_wait(&shards->shrunk);
        }
        if (stopping(shards)) {
            break; /* woken for that: nobody wakes `stop` again */
        }
        (void)lw_env_wait(shards->env, &shards->stop,
                          lw_env_now(shards->env) + pause_ms * NS_PER_MS);
        uint64_t now_ms = lw_env_now(shards->env) / NS_PER_MS;
        look_at_all(shards, now_ms - looked_ms);
        looked_ms = now_ms;
        while (!stopping(shards) && (pair = find_pair(shards, false)) != 0) {
            merge_pair(shards, pair);
            (void)lw_env_wait(shards->env, &shards->stop,
                              lw_env_now(shards->env) + PAUSE_MS * NS_PER_MS);
        }
    }
    shards_background_end(shards);
}

void shards_small_start(lw_shards *shards) {
    uint64_t *after_ms = &shards->options.merge_after_ms;
    if (*after_ms == 0) {
        *after_ms = LW_RARE(shards->env, "shards.soon_merged") ? SOON_MS : MERGE_AFTER_MS;
    }
    if (*after_ms != UINT64_MAX) {
        shards->background_count++;
        lw_env_start(shards->env, "merge small shards", small_main, shards);
    }
}

void shards_shrunk(lw_shards *shards) {
    lw_queue_wake_all(&shards->shrunk);
}
