/* SPDX-License-Identifier: Apache-2.0 */
/* Where requests go, of clients and of other nodes. */
#include "node/node_state.h"

#include <stdio.h>

enum {
    REQUEST_SHARE = 8, /* of the memory is for what clients have under way */
    REQUEST_MEMORY_MIN = 1024 * 1024,
};

static lw_status unavailable(void) {
    return lw_fail(LW_UNAVAILABLE, "the node is starting or stopping: try again");
}

static lw_status unknown(const lw_request *request) {
    return lw_fail(LW_INVALID_ARGUMENT, "this node does not know requests of kind %d",
                   (int)request->kind);
}

/* ---- shards with what they hold ------------------------------------------------------------- */

/* 0 of a shard that is not here. */
static uint64_t shard_bytes(const lw_node *node, uint64_t shard) {
    lw_tree *held = lw_store_tree(node->store, shard);
    lw_tree_figures tree = {0};
    if (held != NULL) {
        lw_tree_figures_get(held, &tree);
    }
    return tree.memtable_bytes + tree.held_bytes;
}

static uint64_t shard_requests(const lw_node *node, uint64_t shard) {
    const lw_replica *replica = lw_shards_find(node->shards, shard);
    lw_replica_figures figures = {0};
    if (replica != NULL) {
        lw_replica_figures_get(replica, &figures);
    }
    return figures.reads + figures.scans + figures.commits;
}

/* The shards from the one on that holds `from`, as many as an answer may have. */
static void shard_rows(lw_node *node, lw_bytes from, lw_buffer *body) {
    lw_memory *memory = node->env->memory;
    lw_buffer topology = lw_buffer_in(memory);
    lw_lattice_topology(node->lattice, from, &topology);
    lw_reader reader;
    uint32_t announced = 0, count = 0;
    lw_status status = lw_topology_open(lw_buffer_view(&topology), &reader, &announced);
    LW_ASSERT(status == LW_OK);
    lw_shard_row *rows = lw_allocate(memory, (announced + 1) * sizeof(*rows));
    while (count < announced && lw_topology_next(&reader, &rows[count].shard) == LW_OK) {
        rows[count].bytes = shard_bytes(node, rows[count].shard.id);
        rows[count].requests = shard_requests(node, rows[count].shard.id);
        count++;
    }
    lw_shard_rows_encode(rows, count, body);
    lw_free(memory, rows);
    lw_buffer_reset(&topology);
}

/* ---- requests ------------------------------------------------------------------------------- */

/* Those to the node, not to a shard; *taken tells whether it was one. */
LW_YIELDS static lw_status handle_own(lw_node *node, uint64_t from, const lw_request *request,
                                      lw_buffer *body, bool *taken) {
    *taken = true;
    if (lw_lattice_takes(request->kind)) {
        return lw_lattice_request(node->lattice, from, request, body);
    }
    if (request->kind == LW_MESSAGE_PING) {
        return LW_OK;
    }
    if (request->kind == LW_MESSAGE_STATUS) {
        lw_node_status_json(node, body);
        return LW_OK;
    }
    if (request->kind == LW_MESSAGE_TOPOLOGY) {
        lw_lattice_topology(node->lattice, request->body, body);
        return LW_OK;
    }
    if (request->kind == LW_MESSAGE_SHARDS) {
        shard_rows(node, request->body, body);
        return LW_OK;
    }
    *taken = false;
    return LW_OK;
}

/* What only nodes say to each other. */
LW_YIELDS static lw_status handle_peer(lw_node *node, uint64_t from, const lw_request *request,
                                       lw_buffer *body, bool *taken) {
    *taken = true;
    if (request->kind == LW_MESSAGE_SNAPSHOT_OFFER || request->kind == LW_MESSAGE_SNAPSHOT_PIECE ||
        request->kind == LW_MESSAGE_SNAPSHOT_END) {
        return lw_snapshots_handle(node->snapshots, from, request, body);
    }
    if (request->kind == LW_MESSAGE_DESCRIBE) {
        return lw_shards_describe(node->shards, request->body, body);
    }
    *taken = false;
    return LW_OK;
}

lw_status node_handle(lw_node *node, uint64_t from, const lw_request *request, uint64_t session,
                      lw_buffer *body) {
    bool taken = false;
    if (request->kind == LW_MESSAGE_TIME && from != 0 && node->shards != NULL) {
        lw_shards_time(node->shards, body); /* also while it starts: others may, too */
        return LW_OK;
    }
    if (request->kind == LW_MESSAGE_SESSION && from != 0) {
        return node_session_asked(node, request->body, body);
    }
    if (!node->serving) {
        return unavailable();
    }
    lw_status status = handle_own(node, from, request, body, &taken);
    if (!taken && from != 0) {
        status = handle_peer(node, from, request, body, &taken);
    }
    if (taken) {
        return status;
    }
    if (request->kind < LW_MESSAGE_TIMESTAMP || request->kind > LW_MESSAGE_SHARD_LAST) {
        return unknown(request);
    }
    if (from == 0) {
        lw_gc_session_came(node->gc, session);
    }
    if (request->kind == LW_MESSAGE_PIN || request->kind == LW_MESSAGE_UNPIN) {
        return lw_gc_request(node->gc, request, session, body);
    }
    if (from == 0) {
        lw_lattice_by_hand(node->lattice, request);
    }
    status = lw_shards_execute(node->shards, request, session, body);
    if (status == LW_OK && from == 0) {
        lw_lattice_asked(node->lattice, lw_server_label(node->server, session), request);
    }
    return status;
}

/* ---- the server ----------------------------------------------------------------------------- */

LW_YIELDS static lw_status handle(void *argument, const lw_request *request, uint64_t session,
                                  lw_buffer *body) {
    return node_handle(argument, 0, request, session, body);
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

static void take_peer(void *argument, lw_handle socket, lw_bytes received) {
    lw_node *node = argument;
    lw_peers_take(node->peers, socket, received);
}

static size_t request_memory(const lw_node *node) {
    size_t share = lw_store_budget(node->store)->limit / REQUEST_SHARE;
    return share < REQUEST_MEMORY_MIN ? REQUEST_MEMORY_MIN : share;
}

lw_status node_open_server(lw_node *node) {
    lw_server_options options = {
        .listen = node->options.listen,
        .held = true,
        .request_memory = request_memory(node),
        .budget = lw_store_budget(node->store),
        .node_id = node->identity.node_id,
        .cluster_id = lw_view(node->identity.lattice.id, LW_CLUSTER_ID_SIZE),
        .version = lw_text(node->options.version),
        .retention_ms = lw_gc_retention_ms(node->gc),
        .handle = handle,
        .spare = spare,
        .peer = take_peer,
        .session_holds = node_session_holds,
        .session_lives = node_session_lives_elsewhere,
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
