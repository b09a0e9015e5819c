/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of node/snapshot.h, shared by node/snapshot*.c and nobody else.
 *
 *   snapshot.c          opening, closing, and what both directions share
 *   snapshot_send.c     a checkpoint, its files in pieces, and how often it is tried
 *   snapshot_receive.c  the pieces back into files, and to whoever installs them
 *   snapshot_wire.c     messages */
#ifndef LW_SNAPSHOT_STATE_H
#define LW_SNAPSHOT_STATE_H

#include "node/snapshot.h"

/* A transfer that comes in. One request of it is worked on at a time. */
typedef struct snapshot_receiving {
    uint64_t transfer; /* 0: none comes in */
    uint64_t from, shard, heard_ns;
    lw_buffer body; /* of its offer, which `offer` has views of */
    lw_snapshot_offer offer;
    lw_snapshot_file *files;
    lw_snapshot_place place; /* of the next byte */
    lw_handle file;          /* open for the file of the place, if that was begun */
    bool busy, installing;
    bool cut_off;      /* its sender's link was lost since it was heard */
    bool took_a_place; /* of one that was heard, by a rare path: it is let to its end */
    lw_queue turn;
    /* The last one that ended, for who did not hear how. */
    uint64_t ended;
    lw_error outcome;
} snapshot_receiving;

/* Who waits for its turn to send. */
typedef struct snapshot_waiter {
    struct snapshot_waiter *next;
    uint64_t node; /* that is to have it */
} snapshot_waiter;

struct lw_snapshots {
    lw_snapshots_options options;
    lw_env *env;
    char outgoing[LW_PATH_SIZE], incoming[LW_PATH_SIZE];
    bool stopping;
    lw_queue stopped; /* pauses that stopping cuts short */
    bool sends;
    snapshot_waiter *waiting; /* for their turn to send */
    lw_queue send_turn;
    snapshot_receiving receiving;
    uint32_t under_way; /* calls and fibers */
    lw_queue quiet;
    lw_snapshots_figures figures;
};

/* Waits; LW_UNAVAILABLE, also in the end, if the node stops. */
LW_MUST_USE LW_YIELDS lw_status snapshot_pause(lw_snapshots *of, uint64_t until_ns);
LW_MUST_USE lw_status snapshot_stopped(void);
/* Whether it may go better next time. A message that cannot be read was changed on its way. */
bool snapshot_passes(lw_status status);
/* Counts a call; its end. */
void snapshot_enter(lw_snapshots *of);
void snapshot_leave(lw_snapshots *of);
/* Removes the bundle in a folder, and OFFER, if there is any of it. */
LW_MUST_USE LW_YIELDS lw_status snapshot_clear(lw_snapshots *of, const char *directory);
/* The path of a file of a bundle; `catalog`: the name of that of number 0. */
LW_MUST_USE lw_status snapshot_path(char path[LW_PATH_SIZE], const char *directory, uint64_t number,
                                    const char *catalog);
/* Frees the transfer that comes in, and closes its file; on the disk it stays. */
LW_YIELDS void snapshot_receiving_reset(lw_snapshots *of);

#endif
