/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a simulated process: its handles, and its operations in flight. Shared by
 * env_sim.c, which runs requests, and operation.c, which carries them out.
 *
 * Invariants
 * 1. At most one operation that takes from a socket (connect, accept, receive) and one that gives
 *    (send) is in flight per handle: more would have no order.
 * 2. A file is closed when none of its operations is in flight: in the real world a late one could
 *    meet the next file with that number.
 * 3. A request in flight when its process ends happens, or not, or in part: nobody can tell. */
#ifndef LW_SIM_PROCESS_H
#define LW_SIM_PROCESS_H

#include "sim/world_private.h"

typedef struct lw_request lw_request;

typedef enum lw_slot_kind { SLOT_FREE, SLOT_FILE, SLOT_LISTENER, SLOT_SOCKET } lw_slot_kind;

/* What a handle stands for. */
typedef struct lw_slot {
    lw_slot_kind kind;
    uint32_t flags; /* LW_OPEN_* */
    lw_process *process;
    lw_disk_file *file;
    lw_endpoint *endpoint; /* NULL: a socket that was cut off by its own process */
    lw_request *taking;    /* connect, accept or receive in flight */
    lw_request *giving;    /* send in flight */
    uint32_t file_ops;     /* in flight */
    bool closing;          /* a close is in flight */
    int32_t number;
} lw_slot;

struct lw_request {
    lw_agenda_event event, deadline;
    lw_process *process;
    lw_op *op;
    lw_request *previous, *next; /* in flight, in the order of submission; or deferred */
    lw_slot *at;                 /* the handle it works on; CONNECT: the one it makes */
    uint64_t contents;           /* checksum of what a write or a send was given */
    uint64_t guard;              /* of a part of it: whether that changes meanwhile */
    size_t sent;                 /* bytes that the network took */
    bool parked;                 /* waits for the network */
    bool counted;                /* as a step */
    bool cancelled, expired;
};

struct lw_process {
    lw_env env; /* first: an lw_env of this world is one */
    lw_host *host;
    lw_process *next;
    lw_chance entropy;
    lw_slot **slots;
    size_t slot_count;
    lw_request *first, *last;
    lw_request *deferred_first, *deferred_last;
    lw_agenda_event turn;
    bool turning;
};

/* ---- operation.c ---------------------------------------------------------------------------- */

/* The handle of an operation: open, or the caller has a bug. */
lw_slot *lw_slot_at(const lw_process *process, lw_handle handle);
/* Lets go of the file or the endpoint that a handle holds. */
void lw_slot_release(lw_slot *slot);
/* Carries the operation out. 0, an errno, or EAGAIN: it waits. */
int lw_request_try(lw_request *request);
/* What becomes of an operation that is in flight when its process ends. */
void lw_request_interrupt(lw_request *request);
/* Whether the operation changes something outside its process: see lw_host_steps. */
bool lw_operation_is_step(const lw_op *op);
/* The status that goes with the errno of an operation. */
lw_status lw_operation_status(const lw_op *op, int error);
static inline lw_bytes lw_operation_bytes(const lw_op *op) {
    return lw_view(op->buffer, op->size);
}
/* Virtual nanoseconds from its submission to its first attempt. */
uint64_t lw_operation_time(lw_host *host, const lw_op *op);

/* ---- env_sim.c ------------------------------------------------------------------------------ */

/* Lets a request that is parked try again. NULL: nothing. */
void lw_request_unpark(lw_request *request);

#endif
