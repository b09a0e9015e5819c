/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of shards, moved between nodes as files: a checkpoint of hard links here (a bundle,
 * storage/bundle.h), its files in pieces over the link between two nodes, and the same bundle
 * there, which is handed to its owner to be ingested. What travels is in node/snapshot_wire.h.
 *
 * Folders, in that of the node; neither is there before it is needed:
 *   outgoing/   the bundle that is being sent
 *   incoming/   the bundle that is being received, and OFFER: who sends what (snapshot_receive.c)
 *
 * Invariants
 * N1. What a snapshot says of itself is exact: the bundle holds what the shard was when the entry
 *     of its index was the last one applied, no less and no more.
 * N2. Nothing damaged spreads (hazard S15). Each piece has a checksum on its way, and every block
 *     is verified before any is named over there. Who sent damage looks through its own tables.
 * N3. A node sends one snapshot at a time and receives one at a time; others wait, or are told to
 *     come again. So one that gets nowhere makes way for those that wait, and one that nobody needs
 *     ends; who is cut off amid one makes way for others, and while a node receives another one,
 *     those for other nodes have their turn. Memory is bounded by two pieces in each direction and
 *     the list of files.
 * N4. A transfer that was interrupted goes on where it was: in the middle of a file while the
 *     receiver lives, with the first file that is not surely on its disk when it was restarted. A
 *     sender that was restarted makes a new snapshot.
 * N5. Nothing is left behind: the sender's bundle goes when the transfer ends, however it does, or
 *     at the next start; the receiver's when it was installed or refused, or another one comes. */
#ifndef LW_NODE_SNAPSHOT_H
#define LW_NODE_SNAPSHOT_H

#include "lattice/message.h"
#include "node/snapshot_wire.h"
#include "storage/store.h"

typedef struct lw_snapshots lw_snapshots;

/* A snapshot that came in whole. Views live during the call. */
typedef struct lw_snapshot_arrival {
    uint64_t from;         /* node */
    uint64_t shard;        /* also the id of the tree in the bundle */
    uint64_t index, term;  /* of the last entry in it */
    lw_bytes head;         /* opaque: what the sender's owner said of it, at most
                              LW_SNAPSHOT_HEAD_SIZE_MAX bytes */
    const char *directory; /* of the bundle: for lw_store_ingest */
} lw_snapshot_arrival;

typedef struct lw_snapshots_options {
    lw_env *env;
    lw_store *store;
    const char *directory;     /* of the node; copied */
    uint32_t piece_size;       /* bytes of a file in one message; 0: 256 KiB */
    uint64_t bytes_per_second; /* sent, at most; 0: 64 MiB */
    uint64_t patience_ms;      /* that a sender tries without getting on; 0: 30 s. While others
                                  wait for their turn, 5 s at most */

    /* Carries a request to another node, and appends its reply: lw_peers_ask. */
    LW_YIELDS lw_status (*ask)(void *argument, uint64_t node, const lw_request *request,
                               uint64_t deadline_ns, lw_buffer *reply);
    /* Called of a snapshot that is about to be sent: its term, and what the owner over there has to
     * know of it, appended to `head` (members and range as of then). `state` is what it holds. */
    LW_YIELDS lw_status (*describe_shard)(void *argument, uint64_t shard, uint64_t node,
                                          uint64_t index, lw_snapshot *state, uint64_t *term,
                                          lw_buffer *head);
    /* Whether a snapshot is still to be sent: asked again and again, also while it waits for its
     * turn. Must not suspend. NULL: it always is. */
    bool (*needed)(void *argument, uint64_t shard, uint64_t node);
    /* Asked when a snapshot is offered, before anything is stored: LW_OK, or why not. LW_EXISTS:
     * the shard has come that far by itself. LW_REFUSED: not wanted here. Must not suspend.
     * `directory` is NULL. */
    lw_status (*wanted)(void *argument, const lw_snapshot_arrival *offered);
    /* Takes over what came in; the bundle is removed when it returns. LW_CORRUPTION: it is damaged
     * (lw_store_ingest). */
    LW_YIELDS lw_status (*install)(void *argument, const lw_snapshot_arrival *arrived);
    void *argument;
} lw_snapshots_options;

/* Removes what an earlier run left in outgoing/; what it left in incoming/ goes unless it is
 * offered again within a minute. */
LW_MUST_USE LW_YIELDS lw_status lw_snapshots_open(const lw_snapshots_options *options,
                                                  lw_snapshots **snapshots);
/* Refuses what comes; from here on sending ends soon. Never suspends. */
void lw_snapshots_stop(lw_snapshots *snapshots);
/* Stops, waits for what is under way, frees. */
LW_YIELDS void lw_snapshots_close(lw_snapshots *snapshots);

/* Makes a snapshot of a shard and has `node` install it. Waits for its turn. `index` (may be NULL)
 * receives that of the snapshot.
 *
 * LW_OK           installed there, or it had come that far by itself.
 * LW_CORRUPTION   this node's own tables are damaged: it must not serve what it cannot read.
 * LW_REFUSED      the node does not want it.
 * LW_UNAVAILABLE  it could not be reached for `patience_ms`, receives another one, or got something
 *                 damaged though nothing is here; or it is not `needed` any more; or this node
 *                 stops. Try again later.
 * LW_FULL         no room there, or here.
 * Any other failure of `describe_shard`, of the disk, or of `install` over there. */
LW_MUST_USE LW_YIELDS lw_status lw_snapshots_send(lw_snapshots *snapshots, uint64_t shard,
                                                  uint64_t node, uint64_t *index);
/* Carries out a request of kind LW_MESSAGE_SNAPSHOT_OFFER, _PIECE or _END of another node. */
LW_MUST_USE LW_YIELDS lw_status lw_snapshots_handle(lw_snapshots *snapshots, uint64_t from,
                                                    const lw_request *request, lw_buffer *reply);
/* The link to a node was lost: unless it is heard again within two seconds, what it sends makes way
 * for others. Never suspends. */
void lw_snapshots_link_lost(lw_snapshots *snapshots, uint64_t node);

typedef struct lw_snapshots_figures {
    uint64_t sent, received;             /* snapshots that were installed */
    uint64_t sent_bytes, received_bytes; /* of files */
    uint64_t resumed;                    /* transfers that went on where they had been */
    uint64_t sending, receiving;         /* shard ids now, or 0 */
} lw_snapshots_figures;
void lw_snapshots_figures_get(const lw_snapshots *snapshots, lw_snapshots_figures *figures);

#endif
