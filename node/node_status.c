/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node_state.h"

#include "client/json.h"
#include "node/group.h"

#include <stdio.h>

static void status_levels(const lw_tree_figures *tree, lw_json *json) {
    lw_json_array_open(json, "levels");
    for (int level = 0; level < LW_LEVEL_COUNT; level++) {
        lw_json_object_open(json, NULL);
        lw_json_number(json, "tables", tree->table_count[level]);
        lw_json_number(json, "bytes", tree->table_bytes[level]);
        lw_json_object_close(json);
    }
    lw_json_array_close(json);
}

/* How far the others are, as the one that leads knows. */
static void status_followers(lw_node *node, const lw_replica *replica, lw_json *json) {
    lw_group_figures figures;
    lw_replica_group_figures(replica, &figures);
    lw_json_array_open(json, "followers");
    for (uint32_t index = 0; index < figures.peer_count; index++) {
        const lw_group_peer *peer = &figures.peers[index];
        uint64_t last = figures.last_index;
        char label[LW_MEMBER_LABEL_SIZE];
        lw_json_object_open(json, NULL);
        lw_json_text(json, "node", lw_text(lw_lattice_label(node->lattice, peer->node, label)));
        lw_json_boolean(json, "reached", peer->reachable);
        lw_json_number(json, "behind", last > peer->match ? last - peer->match : 0);
        lw_json_boolean(json, "snapshot", peer->in_snapshot);
        lw_json_object_close(json);
    }
    lw_json_array_close(json);
}

/* What it is part of, or what becomes part of it, just now. */
static void status_merge(const lw_replica *replica, lw_json *json) {
    lw_replica_merge absorbed;
    uint64_t left;
    if (lw_replica_frozen(replica, &left)) {
        lw_json_number(json, "merges_into", left);
    } else if (lw_replica_absorbs(replica, &absorbed)) {
        lw_json_number(json, "takes_in", absorbed.right);
    }
}

static void status_shard(lw_node *node, const lw_replica *replica, lw_json *json) {
    lw_replica_figures figures;
    lw_shard_descriptor shard;
    lw_tree_figures tree;
    lw_replica_figures_get(replica, &figures);
    lw_replica_descriptor(replica, &shard);
    lw_tree_figures_get(lw_store_tree(node->store, shard.id), &tree);
    lw_json_object_open(json, NULL);
    lw_json_number(json, "id", shard.id);
    lw_json_text(json, "condition", lw_text(lw_shards_condition(node->shards, shard.id)));
    lw_json_boolean(json, "leads", lw_replica_leads(replica));
    status_merge(replica, json);
    lw_json_bytes(json, "start", shard.start);
    lw_json_bytes(json, "end", shard.end);
    lw_json_number(json, "range_version", shard.epoch.range_version);
    lw_json_number(json, "config_version", shard.epoch.config_version);
    lw_json_number(json, "term", figures.term);
    lw_json_number(json, "applied_index", figures.applied_index);
    lw_json_number(json, "reads", figures.reads);
    lw_json_number(json, "scans", figures.scans);
    lw_json_number(json, "commits", figures.commits);
    lw_json_number(json, "conflicts", figures.conflicts);
    lw_json_number(json, "open_transactions", figures.open);
    lw_json_number(json, "latched_requests", figures.latched);
    lw_json_number(json, "waiting_requests", figures.waiting);
    lw_json_number(json, "memtable_bytes", tree.memtable_bytes);
    if (lw_replica_leads(replica)) {
        status_followers(node, replica, json);
    }
    status_levels(&tree, json);
    lw_json_object_close(json);
}

static void status_shards(lw_node *node, lw_json *json) {
    lw_json_array_open(json, "shards");
    for (uint32_t index = 0; index < lw_shards_count(node->shards); index++) {
        status_shard(node, lw_shards_at(node->shards, index), json);
    }
    lw_json_array_close(json);
}

static void status_memory(lw_node *node, lw_json *json) {
    lw_memory_figures memory;
    lw_store_memory_get(node->store, &memory);
    lw_json_object_open(json, "memory");
    lw_json_number(json, "limit_bytes", memory.limit);
    lw_json_number(json, "used_bytes", memory.used);
    lw_json_number(json, "used_most_bytes", memory.used_max);
    for (int part = 0; part < LW_BUDGET_PART_COUNT; part++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%s_bytes", lw_budget_part_name((lw_budget_part)part));
        lw_json_number(json, name, memory.parts[part]);
    }
    lw_json_number(json, "memtables_flushing_bytes", memory.memtables_flushing);
    lw_json_number(json, "memtables_held_bytes", memory.memtables_held);
    lw_json_text(json, "writes_slowed_by", lw_text(memory.slowed_by));
    lw_json_number(json, "writes_slowed", memory.slowed);
    lw_json_number(json, "writes_stalled", memory.stalled);
    lw_json_number(json, "shortages", memory.short_count);
    lw_json_object_close(json);
}

static void status_parts(lw_node *node, lw_json *json) {
    lw_log_figures log;
    lw_cache_figures cache;
    lw_server_figures server;
    const lw_reserve *reserve = lw_store_reserve(node->store);
    lw_log_figures_get(node->log, &log);
    lw_cache_figures_get(lw_store_cache(node->store), &cache);
    lw_server_figures_get(node->server, &server);
    lw_json_object_open(json, "log");
    lw_json_number(json, "segments", log.segments);
    lw_json_number(json, "bytes", log.segment_bytes);
    lw_json_number(json, "batches", log.batches);
    lw_json_number(json, "records", log.records);
    lw_json_number(json, "written_bytes", log.written_bytes);
    lw_json_object_close(json);
    lw_json_object_open(json, "disk");
    lw_json_text(json, "state", lw_text(lw_reserve_short(reserve) ? "full" : "room"));
    lw_json_number(json, "reserve_bytes", reserve->figures.size);
    lw_json_number(json, "reserve_wanted_bytes", reserve->figures.wanted);
    lw_json_number(json, "reserve_spent", reserve->figures.spent_count);
    lw_json_object_close(json);
    lw_json_object_open(json, "cache");
    lw_json_number(json, "used_bytes", cache.used);
    lw_json_number(json, "hits", cache.hits);
    lw_json_number(json, "misses", cache.misses);
    lw_json_object_close(json);
    lw_json_object_open(json, "server");
    lw_json_number(json, "connections", server.connections);
    lw_json_number(json, "sessions", server.sessions);
    lw_json_number(json, "requests", server.requests);
    lw_json_number(json, "requests_in_flight", server.requests_in_flight);
    lw_json_number(json, "refused_connections", server.refused);
    lw_json_object_close(json);
}

void lw_node_status_json(lw_node *node, lw_buffer *out) {
    char hex[2 * LW_CLUSTER_ID_SIZE + 1];
    for (int index = 0; index < LW_CLUSTER_ID_SIZE; index++) {
        (void)snprintf(hex + 2 * index, 3, "%02x", node->identity.lattice.id[index]);
    }
    char node_hex[17], label[LW_MEMBER_LABEL_SIZE];
    (void)snprintf(node_hex, sizeof(node_hex), "%016llx",
                   (unsigned long long)node->identity.node_id);
    uint64_t up_ns = lw_env_now(node->env) - node->started_ns;
    lw_json json = lw_json_to(out);
    lw_json_object_open(&json, NULL);
    lw_json_text(&json, "state", lw_text(node->serving ? "serving" : "stopping"));
    lw_json_text(&json, "version", lw_text(node->options.version));
    lw_json_text(&json, "cluster", lw_text(hex));
    lw_json_text(&json, "node", lw_text(node_hex));
    lw_json_text(&json, "name",
                 lw_text(lw_lattice_label(node->lattice, node->identity.node_id, label)));
    lw_json_number(&json, "incarnation", node->identity.incarnation);
    lw_json_text(&json, "listen", lw_text(node->address));
    lw_json_text(&json, "data", lw_text(node->options.directory));
    lw_json_number(&json, "uptime_ms", up_ns / 1000000);
    lw_json_number(&json, "memory_bytes", lw_memory_used(node->env->memory));
    lw_json_number(&json, "replicas_repairing_here", lw_shards_repairing(node->shards));
    lw_json_number(&json, "pessimistic_locks", lw_lock_table_count(lw_shards_locks(node->shards)));
    lw_lattice_status(node->lattice, &json);
    lw_gc_status(node->gc, &json);
    if (node->scrub != NULL) {
        lw_scrub_status(node->scrub, &json);
    }
    status_memory(node, &json);
    status_parts(node, &json);
    status_shards(node, &json);
    lw_json_object_close(&json);
}
