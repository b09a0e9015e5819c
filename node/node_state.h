/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a node, shared by node/node*.c and nobody else.
 *
 *   node.c          opening and closing
 *   node_serve.c    where requests go, of clients and of other nodes
 *   node_join.c     who it is, and how it gets into a lattice
 *   node_links.c    what its parts say to other nodes
 *   node_session.c  whether the client of a session is anywhere
 *   node_status.c   its account of itself
 */
#ifndef LW_NODE_STATE_H
#define LW_NODE_STATE_H

#include "node/gc.h"
#include "node/lattice.h"
#include "node/node.h"
#include "node/peers.h"
#include "node/scrub.h"
#include "node/server.h"
#include "node/shards.h"
#include "node/snapshot.h"
#include "storage/identity.h"
#include "storage/log.h"
#include "storage/store.h"

struct lw_node {
    lw_env *env;
    lw_node_options options; /* strings are copies */
    lw_node_identity identity;
    lw_store *store;
    lw_error store_died; /* LW_OK: it has not */
    lw_log *log;
    lw_shards *shards;
    lw_gc *gc;
    lw_server *server;
    lw_peers *peers;
    lw_lattice *lattice;
    lw_snapshots *snapshots;
    lw_scrub *scrub;
    lw_buffer welcome; /* what a newcomer was told of the members */
    uint64_t started_ns;
    char address[LW_ADDRESS_SIZE];
    bool serving; /* requests are handed to the shards */
};

/* Opens the folder's identity, which it has spent the reserve for if it must. */
LW_MUST_USE LW_YIELDS lw_status node_open_identity(lw_node *node);
/* Has the node taken in, unless it is in a lattice already, or founds one. The server listens. */
LW_MUST_USE LW_YIELDS lw_status node_join(lw_node *node);

LW_MUST_USE LW_YIELDS lw_status node_open_server(lw_node *node);

lw_peers *node_open_peers(lw_node *node);
LW_MUST_USE LW_YIELDS lw_status node_open_snapshots(lw_node *node);
LW_MUST_USE LW_YIELDS lw_status node_open_lattice(lw_node *node);
lw_shards_others node_others(lw_node *node);

/* Carries out one request of a client (session) or of another node (`from`; session 0). */
LW_MUST_USE LW_YIELDS lw_status node_handle(lw_node *node, uint64_t from, const lw_request *request,
                                            uint64_t session, lw_buffer *body);
/* Carries out a request of kind LW_MESSAGE_SESSION of another node. */
LW_MUST_USE lw_status node_session_asked(const lw_node *node, lw_bytes asked, lw_buffer *reply);
/* See lw_shards_others. */
LW_YIELDS bool node_session_lives(void *node, uint64_t session);
/* See lw_server_options. */
bool node_session_holds(void *node, uint64_t session);
LW_YIELDS bool node_session_lives_elsewhere(void *node, uint64_t session);
/* The node must stop, for this reason. */
void node_end(lw_node *node, const char *event, const lw_error *reason);

#endif
