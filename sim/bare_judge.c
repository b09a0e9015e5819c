/* SPDX-License-Identifier: Apache-2.0 */
/* What was read, committed and promised in a run of bare nodes, and whether that fits: sim/bare.h.
 */
#include "sim/bare.h"

#include "node/shards_state.h"
#include "storage/store.h"

#include <inttypes.h>
#include <stdlib.h>

enum { TAKES_IN_MS = 3500 };

/* ---- remembering ------------------------------------------------------------------------------
 */

uint32_t bare_note_txn(lw_sim_bare *of, uint64_t start) {
    if (of->txn_count == BARE_TXNS_MAX) {
        return BARE_TXNS_MAX;
    }
    of->txns[of->txn_count] = (bare_txn){.start = start};
    return of->txn_count++;
}

void bare_note_committed(lw_sim_bare *of, uint32_t txn, uint64_t commit_timestamp) {
    of->txns[txn].state = BARE_COMMITTED;
    of->txns[txn].commit_timestamp = commit_timestamp;
    of->of->workload.committed++;
    of->acknowledged = commit_timestamp > of->acknowledged ? commit_timestamp : of->acknowledged;
}

void bare_note_read(lw_sim_bare *of, const bare_read *read) {
    if (of->read_count < BARE_READS_MAX) {
        of->reads[of->read_count++] = *read;
    }
}

/* ---- as it happens ----------------------------------------------------------------------------
 */

void bare_judge_served(bare_node *at, lw_bytes key, uint64_t timestamp) {
    const lw_replica *replica = bare_replica(at, key);
    const lw_tree *tree = replica == NULL ? NULL : lw_replica_tree(replica);
    if (tree != NULL && lw_tree_safepoint(tree) > timestamp) {
        lw_sim_broken_first(at->of->of, "garbage",
                            "%s answered a read at %" PRIu64 ", and forgets what is below %" PRIu64,
                            at->member->name, timestamp, lw_tree_safepoint(tree));
    }
}

/* Which leadership of which version of a shard a node has; false: it serves the key no more. */
static bool reign_of(const bare_node *at, lw_bytes key, bare_served *reign) {
    const lw_replica *replica = bare_replica(at, key);
    if (replica == NULL) {
        return false;
    }
    lw_shard_descriptor shard;
    lw_replica_figures figures;
    lw_replica_descriptor(replica, &shard);
    lw_replica_figures_get(replica, &figures);
    reign->version = shard.epoch.range_version;
    reign->term = figures.serving;
    return figures.serving != 0;
}

static bool is_later(const bare_served *one, const bare_served *other) {
    return one->version != other->version ? one->version > other->version : one->term > other->term;
}

static void note_reign(const bare_node *at, uint32_t key) {
    bare_served *served = &at->of->served[key], now;
    if (reign_of(at, bare_key(key), &now) && is_later(&now, served)) {
        served->version = now.version;
        served->term = now.term;
    }
}

void bare_note_served(const bare_node *at, uint32_t key, uint64_t timestamp) {
    bare_served *served = &at->of->served[key];
    served->timestamp = timestamp > served->timestamp ? timestamp : served->timestamp;
    note_reign(at, key);
}

void bare_judge_reign(const bare_node *at, uint32_t key, const bare_served *before) {
    bare_served now;
    if (reign_of(at, bare_key(key), &now) && is_later(before, &now)) {
        lw_sim_broken_first(at->of->of, "leases",
                            "%s answered for key %c in term %" PRIu64
                            ", and somebody had answered in a later one before it was asked",
                            at->member->name, 'a' + (int)key, now.term);
    }
}

/* Who was stopped may believe to serve, and has no lease any more. */
void bare_judge_marks(lw_sim_bare *of) {
    for (uint32_t key = 0; key < BARE_KEYS; key++) {
        const bare_served *served = &of->served[key];
        const bare_node *at = bare_leader(of, bare_key(key));
        bare_served now;
        if (at != NULL && reign_of(at, bare_key(key), &now) && !is_later(served, &now) &&
            lw_replica_read_up_to(bare_replica(at, bare_key(key)), bare_key(key)) <
                served->timestamp) {
            lw_sim_broken_first(of->of, "read marks",
                                "%s serves key %c as if nobody had read it at %" PRIu64,
                                at->member->name, 'a' + (int)key, served->timestamp);
        }
    }
}

/* Whether it answers for the key, without asking anybody or waiting. */
static bool answers(const bare_node *node, lw_bytes key) {
    const lw_replica *replica = bare_replica(node, key);
    lw_group_figures group;
    lw_replica_figures figures;
    uint64_t left;
    if (replica == NULL || !lw_replica_leads(replica) || lw_replica_frozen(replica, &left) ||
        lw_replica_gives_away(replica, key)) {
        return false;
    }
    lw_replica_group_figures(replica, &group);
    lw_replica_figures_get(replica, &figures);
    return group.leased && figures.serving != 0;
}

void bare_judge_keys(lw_sim_bare *of) {
    for (uint32_t key = 0; key < BARE_KEYS; key++) {
        const bare_node *first = NULL;
        for (uint32_t place = 0; place < of->of->node_count; place++) {
            const bare_node *node = &of->nodes[place];
            if (!bare_up(node) || !answers(node, bare_key(key))) {
                continue;
            }
            if (first != NULL) {
                lw_sim_broken_first(of->of, "keys",
                                    "%s and %s answer for key %c, each under a lease",
                                    first->member->name, node->member->name, 'a' + (int)key);
            }
            first = node;
            note_reign(node, key);
        }
    }
}

/* The ceiling that the tree has is committed, and comes down to what was given at most. A higher
 * one may be committed, and wait behind a merge that is just carried out. */
void bare_judge_given(const bare_node *at, lw_bytes answer) {
    const lw_timestamps *timestamps = lw_shards_timestamps(at->shards);
    lw_replica *root = lw_shards_find(at->shards, LW_ROOT_SHARD);
    lw_arena arena = lw_arena_in(at->env->memory);
    lw_timestamp_reply reply = {0};
    lw_buffer ceiling = lw_buffer_in(at->env->memory);
    lw_group_figures figures = {0};
    if (root != NULL) {
        lw_replica_group_figures(root, &figures);
    }
    if (!lw_timestamps_leads(timestamps)) {
        lw_sim_broken_first(at->of->of, "timestamps",
                            "%s gave one to somebody else, and is not the oracle",
                            at->member->name);
    } else if (root != NULL && figures.applied_index == figures.committed_index &&
               lw_timestamp_reply_decode(answer, &arena, &reply) == LW_OK &&
               lw_replica_kept(root, "ceiling", &ceiling) == LW_OK &&
               reply.first >= lw_get_u64(ceiling.data)) {
        lw_sim_broken_first(at->of->of, "timestamps",
                            "%s gave %" PRIu64 ", and its ceiling is %" PRIu64, at->member->name,
                            reply.first, lw_get_u64(ceiling.data));
    }
    lw_buffer_reset(&ceiling);
    lw_arena_reset(&arena);
}

void bare_note_over(const bare_node *at, uint64_t start) {
    lw_sim_bare *of = at->of;
    of->overs[of->over_count++ % BARE_OVERS_MAX] =
        (bare_over){.start = start, .boot = at->member->boot, .place = (uint32_t)at->id - 1};
}

static bool has_lock(lw_lock_table *table, uint64_t start) {
    lw_lock_view views[BARE_KEYS];
    uint32_t count = lw_lock_table_page(table, (lw_bytes){0}, (lw_bytes){0}, BARE_KEYS, views);
    bool found = false;
    for (uint32_t index = 0; index < count; index++) {
        found = found || views[index].start == start;
    }
    return found;
}

void bare_judge_overs(lw_sim_bare *of) {
    for (uint32_t index = 0; index < BARE_OVERS_MAX; index++) {
        const bare_over *over = &of->overs[index];
        const bare_node *node = &of->nodes[over->place];
        if (over->start != 0 && bare_up(node) && node->member->boot == over->boot &&
            has_lock(lw_shards_locks(node->shards), over->start)) {
            lw_sim_broken_first(of->of, "locks",
                                "%s has a lock of %" PRIu64 ", which was told there to be over",
                                node->member->name, over->start);
        }
    }
}

/* Whoever merges makes sure that all have the right one. Where messages are late who takes it in
 * may wait for requests that are, but for none that waits for it. */
void bare_judge_merges(lw_sim_bare *of) {
    uint64_t now_ns = lw_world_now(of->of->world), limit_ns = TAKES_IN_MS * LW_SIM_NS_PER_MS;
    if (lw_world_marked(of->of->world, "shards.part_is_missing") > 0) {
        lw_sim_broken_first(of->of, "merges", "a node lacks a shard that it is to take in");
    }
    for (uint32_t place = 0; of->kind == BARE_QUIET && place < of->of->node_count; place++) {
        bare_node *node = &of->nodes[place];
        for (uint32_t key = 0; key < BARE_KEYS; key++) {
            const lw_replica *replica = bare_replica(node, bare_key(key));
            lw_replica_merge what;
            uint64_t *since_ns = &node->takes_in_ns[key];
            bool takes_in =
                replica != NULL && lw_replica_leads(replica) && lw_replica_absorbs(replica, &what);
            *since_ns = !takes_in ? 0 : *since_ns == 0 ? now_ns : *since_ns;
            if (takes_in && now_ns - *since_ns > limit_ns) {
                lw_sim_broken_first(of->of, "merges",
                                    "%s has been taking in shard %" PRIu64 " for %d ms",
                                    node->member->name, what.right, TAKES_IN_MS);
            }
        }
    }
}

/* What is ended for a snapshot is part of that, or else nowhere (hazard R11). */
void bare_judge_install(const bare_node *at, uint64_t shard, lw_status status) {
    lw_shard_descriptor told = {.id = shard};
    uint64_t ended;
    if (status != LW_OK && bare_up(at) && !at->shards->dead &&
        shards_ended_beneath(at->shards, &told, &ended, 1) > 0) {
        lw_sim_broken_first(at->of->of, "snapshots",
                            "%s ended shard %" PRIu64 " for a snapshot of shard %" PRIu64
                            ", which was not taken in: %s",
                            at->member->name, ended, shard, lw_error_slot()->text);
    }
}

/* Whether who serves a shard counts a node among its members. */
static bool has_member(const lw_sim_bare *of, uint64_t shard, uint64_t node) {
    bool found = false;
    for (uint32_t place = 0; place < of->of->node_count && !found; place++) {
        const bare_node *each = &of->nodes[place];
        const lw_replica *replica = bare_up(each) ? lw_shards_find(each->shards, shard) : NULL;
        found = replica != NULL && lw_replica_leads(replica) &&
                shards_names(lw_replica_shard(replica), node);
    }
    return found;
}

/* Nobody waits for a shard that he is not to have, or that is part of another one. */
static bool judge_waiting(const lw_sim_bare *of, const bare_node *node, char why[LW_SIM_WHY_SIZE]) {
    const lw_map *members = &node->shards->by_id;
    for (uint32_t index = 0; index < members->bucket_count; index++) {
        for (const lw_map_node *each = members->buckets[index]; each != NULL; each = each->next) {
            const shards_member *member = LW_MAP_ENTRY(each, shards_member, node);
            if (member->waits && !member->leaving && !has_member(of, member->shard, node->id)) {
                (void)snprintf(why, LW_SIM_WHY_SIZE,
                               "%s waits for shard %" PRIu64 ", which it is not to have",
                               node->member->name, member->shard);
                return false;
            }
        }
    }
    return true;
}

/* No node keeps the tree of a shard that it does not have. */
bool bare_judge_trees(const lw_sim_bare *of, char why[LW_SIM_WHY_SIZE]) {
    for (uint32_t place = 0; place < of->of->node_count; place++) {
        const bare_node *node = &of->nodes[place];
        lw_tree *tree = bare_up(node) ? lw_store_next_tree(node->store, NULL) : NULL;
        for (; tree != NULL; tree = lw_store_next_tree(node->store, tree)) {
            if (lw_shards_find(node->shards, lw_tree_id(tree)) == NULL) {
                (void)snprintf(why, LW_SIM_WHY_SIZE,
                               "%s has a tree of shard %" PRIu64 ", which it does not hold",
                               node->member->name, lw_tree_id(tree));
                return false;
            }
        }
        if (bare_up(node) && !judge_waiting(of, node, why)) {
            return false;
        }
    }
    return true;
}

void bare_judge_hint(const bare_node *at, const lw_shard_descriptor *told) {
    const lw_sim_watch *watch = &at->of->of->watch;
    const lw_replica *replica = lw_shards_find(at->shards, told->id);
    if (replica == NULL || told->leader == 0) {
        return;
    }
    lw_replica_figures figures;
    lw_replica_figures_get(replica, &figures);
    for (uint32_t index = 0; index < watch->shard_count; index++) {
        const lw_sim_shard_past *shard = &watch->shards[index];
        if (shard->shard == told->id && shard->term == figures.term &&
            shard->leader != told->leader) {
            lw_sim_broken_first(at->of->of, "leaders",
                                "%s tells of node%" PRIu64 " that it leads shard %" PRIu64
                                " in term %" PRIu64 ", in which node%" PRIu64 " did",
                                at->member->name, told->leader, told->id, figures.term,
                                shard->leader);
        }
    }
}

/* ---- in the end -------------------------------------------------------------------------------
 */

static bool writes(const bare_txn *txn, uint32_t key) {
    return txn->keys[0] == key || (txn->key_count > 1 && txn->keys[1] == key);
}

/* What a read says of the transaction that it has read of. */
static void judge_writer(lw_sim_bare *of, const bare_read *read) {
    if (read->found == 0) {
        return;
    }
    if (read->writer >= of->txn_count || !writes(&of->txns[read->writer], read->key)) {
        lw_sim_broken_first(of->of, "reads", "a value was read of key %c that nobody wrote",
                            'a' + read->key);
        return;
    }
    bare_txn *txn = &of->txns[read->writer];
    if (txn->state == BARE_ABORTED) {
        lw_sim_broken_first(of->of, "reads",
                            "the transaction of %" PRIu64 " was refused, and read at %" PRIu64,
                            txn->start, read->found);
    }
    if (txn->commit_timestamp != 0 && txn->commit_timestamp != read->found) {
        lw_sim_broken_first(of->of, "reads",
                            "the transaction of %" PRIu64 " was committed at %" PRIu64
                            " and at %" PRIu64,
                            txn->start, txn->commit_timestamp, read->found);
    }
    txn->commit_timestamp = read->found;
}

static int ascending(const void *a, const void *b) {
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return one < other ? -1 : one > other;
}

/* The versions of a key, in order. */
typedef struct versions {
    uint64_t *at;
    size_t count;
} versions;

static versions versions_of(const lw_sim_bare *of, uint32_t key) {
    versions all = {.at = lw_allocate(of->memory, (of->txn_count + 1) * sizeof(uint64_t))};
    for (uint32_t index = 0; index < of->txn_count; index++) {
        const bare_txn *txn = &of->txns[index];
        if (txn->commit_timestamp != 0 && writes(txn, key)) {
            all.at[all.count++] = txn->commit_timestamp;
        }
    }
    qsort(all.at, all.count, sizeof(uint64_t), ascending);
    return all;
}

/* The newest that is not above a timestamp; 0: none. */
static uint64_t newest(const versions *all, uint64_t timestamp) {
    size_t low = 0, high = all->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (all->at[middle] <= timestamp) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? 0 : all->at[low - 1];
}

static void judge_key(lw_sim_bare *of, uint32_t key) {
    versions all = versions_of(of, key);
    for (uint32_t index = 0; index < of->read_count; index++) {
        const bare_read *read = &of->reads[index];
        uint64_t wanted = read->key == key ? newest(&all, read->timestamp) : 0;
        if (read->key == key && wanted != read->found) {
            lw_sim_broken_first(of->of, "reads",
                                "at %" PRIu64 " key %c was found as of %" PRIu64
                                ", and is of %" PRIu64,
                                read->timestamp, 'a' + (int)key, read->found, wanted);
        }
    }
    for (uint32_t index = 0; index < of->txn_count; index++) {
        const bare_txn *txn = &of->txns[index];
        for (uint32_t place = 0; place < txn->key_count && txn->commit_timestamp != 0; place++) {
            uint64_t before = newest(&all, txn->commit_timestamp - 1);
            if (txn->keys[place] == key && before > txn->seen[place]) {
                lw_sim_broken_first(
                    of->of, "lost updates",
                    "key %c was committed at %" PRIu64 ", having been seen up to %" PRIu64
                    ", over a version of %" PRIu64,
                    'a' + (int)key, txn->commit_timestamp, txn->seen[place], before);
            }
        }
    }
    lw_free(of->memory, all.at);
}

void bare_judge(lw_sim_bare *of) {
    for (uint32_t index = 0; index < of->read_count; index++) {
        judge_writer(of, &of->reads[index]);
    }
    for (uint32_t index = 0; index < of->txn_count; index++) {
        const bare_txn *txn = &of->txns[index];
        if (txn->killed != 0 && txn->commit_timestamp != 0 &&
            txn->commit_timestamp <= txn->killed) {
            lw_sim_broken_first(of->of, "kills",
                                "the transaction of %" PRIu64 " was told to be killed when %" PRIu64
                                " had been given, and has committed at %" PRIu64,
                                txn->start, txn->killed, txn->commit_timestamp);
        }
    }
    for (uint32_t key = 0; key < BARE_KEYS; key++) {
        judge_key(of, key);
    }
}
