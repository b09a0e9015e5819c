/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node_state.h"

#include "lattice/message.h"

#include <stdio.h>

/* ---- requests -----------------------------------------------------------------------------------
 */

static lw_status unavailable(void) {
    return lw_fail(LW_UNAVAILABLE, "the node is starting or stopping: try again");
}

static uint64_t shard_bytes(lw_node *node, uint64_t shard) {
    lw_tree_figures tree;
    lw_tree_figures_get(lw_store_tree(node->store, shard), &tree);
    return tree.memtable_bytes + tree.held_bytes;
}

/* The shards from the one on that holds `from`, as many as an answer may have. */
static void shard_rows(lw_node *node, lw_bytes from, lw_buffer *body) {
    lw_memory *memory = node->env->memory;
    uint32_t place = lw_shards_place(node->shards, from), count = 0;
    uint32_t left = lw_shards_count(node->shards) - place;
    lw_shard_row *rows = lw_allocate(memory, left * sizeof(*rows));
    for (size_t size = 0; count < left && size < LW_TOPOLOGY_SIZE_MAX; count++) {
        lw_shard_row *row = &rows[count];
        lw_replica_descriptor(lw_shards_at(node->shards, place + count), &row->shard);
        row->shard.leader = node->identity.node_id;
        row->shard.leader_address = lw_text(node->address);
        row->bytes = shard_bytes(node, row->shard.id);
        size += row->shard.start.size + row->shard.end.size + sizeof(*row);
    }
    lw_shard_rows_encode(rows, count, body);
    lw_free(memory, rows);
}

LW_YIELDS static lw_status handle(void *argument, const lw_request *request, uint64_t session,
                                  lw_buffer *body) {
    lw_node *node = argument;
    if (!node->serving) {
        return unavailable();
    }
    if (request->kind == LW_MESSAGE_PING) {
        return LW_OK;
    }
    if (request->kind == LW_MESSAGE_STATUS) {
        lw_node_status_json(node, body);
        return LW_OK;
    }
    if (request->kind == LW_MESSAGE_TOPOLOGY) {
        lw_shards_topology(node->shards, request->body, body);
        return LW_OK;
    }
    if (request->kind == LW_MESSAGE_SHARDS) {
        shard_rows(node, request->body, body);
        return LW_OK;
    }
    if (request->kind < LW_MESSAGE_TIMESTAMP || request->kind > LW_MESSAGE_SHARD_LAST) {
        return lw_fail(LW_INVALID_ARGUMENT, "this node does not know requests of kind %d",
                       (int)request->kind);
    }
    lw_gc_session_came(node->gc, session);
    if (request->kind == LW_MESSAGE_PIN || request->kind == LW_MESSAGE_UNPIN) {
        return lw_gc_request(node->gc, request, session, body);
    }
    return lw_shards_execute(node->shards, request, session, body);
}

static uint64_t spare(void *argument) {
    lw_node *node = argument;
    return node->serving ? lw_shards_spare(node->shards) : 0;
}

static void session_ended(void *argument, uint64_t session) {
    lw_node *node = argument;
    if (node->serving) {
        lw_gc_session_ended(node->gc, session);
        lw_shards_session_ended(node->shards, session);
    }
}

static lw_bytes session_label(void *argument, uint64_t session) {
    const lw_node *node = argument;
    return node->server == NULL ? (lw_bytes){0} : lw_server_label(node->server, session);
}

static void flushed(void *argument, lw_tree *tree, uint64_t index) {
    lw_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_flushed(node->shards, tree, index);
    }
}

static void store_died(void *argument, const lw_error *reason) {
    lw_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_store_died(node->shards, reason);
    }
}

static void died(void *argument, const lw_error *reason) {
    lw_node *node = argument;
    lw_logline(node->env, LW_LEVEL_ERROR, "the node stops: its disk failed", "reason=\"%s\"",
               reason->text);
    node->serving = false;
    node->options.died(node->options.argument, reason);
}

/* ---- opening ------------------------------------------------------------------------------------
 */

/* A node starts on a full disk too, so that something can be deleted. */
LW_YIELDS static lw_status open_identity(lw_node *node) {
    lw_status status = lw_identity_open(node->env, node->options.directory, &node->identity);
    if (status == LW_FULL && lw_reserve_spend(lw_store_reserve(node->store))) {
        status = lw_identity_open(node->env, node->options.directory, &node->identity);
    }
    return status;
}

LW_YIELDS static lw_status open_storage(lw_node *node) {
    lw_store_options store_options = {
        .directory = node->options.directory,
        .memory_size = node->options.memory_size,
        .filter_part = lw_replica_filter_part,
        .retention = lw_replica_retention(node->env),
        .flushed = flushed,
        .died = store_died,
        .argument = node,
    };
    LW_TRY(lw_store_open(node->env, &store_options, &node->store));
    LW_TRY(open_identity(node));
    lw_gc_options gc_options = {.env = node->env,
                                .retention_ms = node->options.retention_ms,
                                .session_label = session_label,
                                .argument = node};
    node->gc = lw_gc_open(&gc_options);
    lw_shards_options shards_options = {
        .env = node->env,
        .store = node->store,
        .bootstrap = true,
        .node = node->identity.node_id,
        .gc = node->gc,
        .session_label = session_label,
        .died = died,
        .argument = node,
    };
    LW_TRY(lw_shards_open(&shards_options, &node->shards));
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, node->options.directory, "log"));
    lw_log_options log_options = {.reserve = lw_store_reserve(node->store),
                                  .budget = lw_store_budget(node->store),
                                  .begins = lw_shards_begins};
    lw_store_replaying(node->store, true);
    lw_status status =
        lw_log_open(node->env, path, &log_options, lw_shards_replay, node->shards, &node->log);
    lw_store_replaying(node->store, false);
    LW_TRY(status);
    LW_TRY(lw_shards_start(node->shards, node->log));
    return lw_gc_start(node->gc, node->shards);
}

LW_YIELDS static lw_status open_server(lw_node *node) {
    lw_server_options options = {
        .listen = node->options.listen,
        .node_id = node->identity.node_id,
        .cluster_id = lw_view(node->identity.lattice.id, LW_CLUSTER_ID_SIZE),
        .version = lw_text(node->options.version),
        .retention_ms = lw_gc_retention_ms(node->gc),
        .handle = handle,
        .spare = spare,
        .session_ended = session_ended,
        .argument = node,
    };
    LW_TRY(lw_server_open(node->env, &options, &node->server));
    const char *colon = strrchr(node->options.listen, ':');
    LW_ASSERT(colon != NULL);
    (void)snprintf(node->address, sizeof(node->address), "%.*s:%u",
                   (int)(colon - node->options.listen), node->options.listen,
                   lw_server_port(node->server));
    return LW_OK;
}

/* Closes what is open, newest first. */
LW_YIELDS static void close_parts(lw_node *node) {
    node->serving = false;
    if (node->gc != NULL) {
        lw_gc_stop(node->gc);
    }
    if (node->shards != NULL) {
        lw_shards *shards = node->shards;
        node->shards = NULL;
        lw_shards_close(shards);
    }
    if (node->server != NULL) {
        lw_server_close(node->server);
    }
    if (node->gc != NULL) {
        lw_gc_close(node->gc);
    }
    if (node->store != NULL) {
        lw_store_close(node->store);
    }
    if (node->log != NULL) {
        lw_log_close(node->log);
    }
    lw_seal_wipe(&node->identity, sizeof(node->identity));
    lw_memory *memory = node->env->memory;
    lw_free(memory, (void *)(uintptr_t)node->options.directory);
    lw_free(memory, (void *)(uintptr_t)node->options.listen);
    lw_free(memory, (void *)(uintptr_t)node->options.version);
    lw_free(memory, node);
}

static const char *copy_text(lw_memory *memory, const char *text) {
    return (const char *)lw_copy(memory, lw_view(text, strlen(text) + 1)).data;
}

lw_status lw_node_open(lw_env *env, const lw_node_options *options, lw_node **node) {
    LW_ASSERT(options->died != NULL);
    lw_node *opened = lw_allocate_zero(env->memory, sizeof(*opened));
    opened->env = env;
    opened->options = *options;
    opened->options.directory = copy_text(env->memory, options->directory);
    opened->options.listen = copy_text(env->memory, options->listen);
    opened->options.version = copy_text(env->memory, options->version);
    opened->started_ns = lw_env_now(env);
    lw_status status = open_storage(opened);
    if (status == LW_OK) {
        status = open_server(opened);
    }
    if (status != LW_OK) {
        lw_error reason = *lw_error_slot(); /* closing must not overwrite it */
        close_parts(opened);
        *lw_error_slot() = reason;
        return status;
    }
    opened->serving = true;
    *node = opened;
    return LW_OK;
}

void lw_node_close(lw_node *node) {
    close_parts(node);
}

const char *lw_node_address(const lw_node *node) {
    return node->address;
}
