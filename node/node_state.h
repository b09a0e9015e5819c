/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a node, shared by node/node*.c and nobody else.
 *
 *   node.c          opening, closing, and where requests go
 *   node_status.c   its account of itself
 */
#ifndef LW_NODE_STATE_H
#define LW_NODE_STATE_H

#include "node/gc.h"
#include "node/node.h"
#include "node/server.h"
#include "node/shards.h"
#include "storage/identity.h"
#include "storage/log.h"
#include "storage/store.h"

struct lw_node {
    lw_env *env;
    lw_node_options options; /* strings are copies */
    lw_node_identity identity;
    lw_store *store;
    lw_log *log;
    lw_shards *shards;
    lw_gc *gc;
    lw_server *server;
    uint64_t started_ns;
    char address[LW_ADDRESS_SIZE];
    bool serving; /* requests are handed to the shards */
};

#endif
