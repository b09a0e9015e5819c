/* SPDX-License-Identifier: Apache-2.0 */
/* One bare node: what lw_node opens, but for what talks to the outside. */
#include "sim/bare.h"

/* ---- what others may know ---------------------------------------------------------------------
 */

bool bare_up(const bare_node *node) {
    return node->shards != NULL && node->member->state == LW_SIM_SERVING &&
           lw_host_running(node->member->host);
}

bool bare_holds(const lw_shard_descriptor *shard, lw_bytes key) {
    return lw_compare(shard->start, key) <= 0 &&
           (shard->end.size == 0 || lw_compare(key, shard->end) < 0);
}

lw_replica *bare_replica(const bare_node *node, lw_bytes key) {
    for (uint32_t index = 0; bare_up(node) && index < lw_shards_count(node->shards); index++) {
        lw_shard_descriptor shard;
        lw_replica *replica = lw_shards_at(node->shards, index);
        lw_replica_descriptor(replica, &shard);
        if (bare_holds(&shard, key)) {
            return replica;
        }
    }
    return NULL;
}

bare_node *bare_leader(lw_sim_bare *of, lw_bytes key) {
    bare_node *leader = NULL;
    uint64_t term = 0, version = 0;
    for (uint32_t place = 0; place < of->of->node_count; place++) {
        const lw_replica *replica = bare_replica(&of->nodes[place], key);
        if (replica == NULL || !lw_replica_leads(replica)) {
            continue;
        }
        lw_shard_descriptor shard;
        lw_replica_figures figures;
        lw_replica_figures_get(replica, &figures);
        lw_replica_descriptor(replica, &shard);
        if (shard.epoch.range_version > version ||
            (shard.epoch.range_version == version && figures.term > term)) {
            leader = &of->nodes[place];
            term = figures.term;
            version = shard.epoch.range_version;
        }
    }
    return leader;
}

bool bare_locate(lw_sim_bare *of, lw_bytes key, lw_shard_descriptor *shard) {
    bare_node *leader = bare_leader(of, key);
    if (leader != NULL) {
        lw_replica_descriptor(bare_replica(leader, key), shard);
        shard->leader = leader->id;
    }
    return leader != NULL;
}

/* ---- what its shards ask it -------------------------------------------------------------------
 */

/* A directory that knows all there is to know, but in some runs who leads. */
static bool locate(void *argument, lw_bytes key, lw_shard_descriptor *shard) {
    const bare_node *node = argument;
    bool known = bare_locate(node->of, key, shard);
    if (known && node->of->misled != 0) {
        shard->leader = node->of->misled;
    }
    return known;
}

static void learned(void *argument, const lw_shard_descriptor *told) {
    bare_judge_hint(argument, told);
}

LW_YIELDS static lw_status send_snapshot(void *argument, uint64_t shard, uint64_t node,
                                         uint64_t *index) {
    const bare_node *from = argument;
    return lw_snapshots_send(from->snapshots, shard, node, index);
}

LW_YIELDS static lw_status describe(void *argument, uint64_t shard, uint64_t node, uint64_t index,
                                    lw_snapshot *state, uint64_t *term, lw_buffer *head) {
    const bare_node *from = argument;
    return lw_shards_snapshot_describe(from->shards, shard, node, index, state, term, head);
}

static bool needed(void *argument, uint64_t shard, uint64_t node) {
    const bare_node *from = argument;
    return lw_shards_snapshot_needed(from->shards, shard, node);
}

static lw_status wanted(void *argument, const lw_snapshot_arrival *offered) {
    const bare_node *node = argument;
    return lw_shards_snapshot_wanted(node->shards, offered);
}

LW_YIELDS static lw_status install(void *argument, const lw_snapshot_arrival *arrived) {
    const bare_node *node = argument;
    bare_hear(node);
    lw_status status = lw_shards_snapshot_install(node->shards, arrived);
    bare_judge_install(node, arrived->shard, status);
    return status;
}

static void flushed(void *argument, lw_tree *tree, uint64_t index) {
    const bare_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_flushed(node->shards, tree, index);
    }
}

static void damaged(void *argument, lw_tree *tree) {
    const bare_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_damaged(node->shards, tree);
    }
}

static void died(void *argument, const lw_error *reason) {
    const bare_node *node = argument;
    node->member->state = LW_SIM_FAILED;
    node->member->error = *reason;
}

static void store_died(void *argument, const lw_error *reason) {
    const bare_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_store_died(node->shards, reason);
    }
}

static lw_bytes label(void *argument, uint64_t session) {
    (void)argument;
    (void)session;
    return lw_view(NULL, 0);
}

static bool begins(void *argument, uint64_t group, uint64_t index) {
    return lw_shards_begins(argument, group, index);
}

/* ---- starting ---------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status open_store(bare_node *node) {
    lw_store_options options = {.directory = "data",
                                .memory_size = node->of->of->memory_size,
                                .memtables_max = node->of->memtables_size,
                                .filter_part = lw_replica_filter_part,
                                .retention = lw_replica_retention(node->env),
                                .flushed = flushed,
                                .damaged = damaged,
                                .died = store_died,
                                .argument = node};
    return lw_store_open(node->env, &options, &node->store);
}

LW_YIELDS static lw_status open_shards(bare_node *node, lw_shards **shards) {
    const lw_sim_trial *it = node->of->of;
    lw_shards_others others = {.send = bare_send,
                               .ask = bare_ask_node,
                               .send_snapshot = send_snapshot,
                               .locate = locate,
                               .learned = learned,
                               .session_lives = bare_session_lives};
    lw_shards_options options = {.env = node->env,
                                 .store = node->store,
                                 .node = node->id,
                                 .bootstrap = node->id == 1 && !node->of->set_up,
                                 .shard_size = UINT64_MAX,
                                 .election_timeout_ms = it->storm.election_timeout_ms,
                                 .drift_ppm = it->storm.drift_ppm,
                                 .merge_after_ms = node->of->merge_after_ms,
                                 .others = &others,
                                 .gc = node->gc,
                                 .session_label = label,
                                 .died = died,
                                 .argument = node};
    return lw_shards_open(&options, shards);
}

LW_YIELDS static lw_status open_snapshots(bare_node *node) {
    lw_snapshots_options options = {.env = node->env,
                                    .store = node->store,
                                    .directory = "data",
                                    .ask = bare_ask_node,
                                    .describe_shard = describe,
                                    .needed = needed,
                                    .wanted = wanted,
                                    .install = install,
                                    .argument = node};
    return lw_snapshots_open(&options, &node->snapshots);
}

LW_YIELDS static lw_status open_parts(bare_node *node) {
    lw_gc_options gc = {
        .env = node->env, .retention_ms = node->of->of->retention_ms, .session_label = label};
    lw_log_options log = {.begins = begins};
    node->gc = lw_gc_open(&gc);
    LW_TRY(open_store(node));
    LW_TRY(open_shards(node, &node->shards));
    LW_TRY(lw_log_open(node->env, "data/log", &log, lw_shards_replay, node->shards, &node->log));
    LW_TRY(open_snapshots(node));
    LW_TRY(lw_shards_start(node->shards, node->log));
    return lw_gc_start(node->gc, node->shards);
}

LW_YIELDS static void open_main(void *argument) {
    bare_node *node = argument;
    lw_sim_member *member = node->member;
    lw_status status = open_parts(node);
    if (member->state != LW_SIM_OPENING) {
        return; /* it died meanwhile */
    }
    member->opening_failed = status != LW_OK;
    member->state = status == LW_OK ? LW_SIM_SERVING : LW_SIM_FAILED;
    member->shards = status == LW_OK ? node->shards : NULL;
    if (status != LW_OK) {
        member->error = *lw_error_slot();
    }
}

void lw_sim_bare_boot(lw_sim_member *member, lw_env *env) {
    lw_sim_bare *of = member->of->bare;
    uint64_t place = (uint64_t)(member - member->of->nodes);
    bare_node *node = &of->nodes[place];
    *node = (bare_node){.of = of, .member = member, .id = place + 1, .env = env};
    member->id = node->id;
    member->shards = NULL;
    (void)lw_env_start(env, "bare node", open_main, node);
}
