/* SPDX-License-Identifier: Apache-2.0 */
/* What the requests of all clients may take of a node's memory at once: their frames, what they
 * become while they are carried out, the fibers that do it, and answers on their way. One bound
 * for all connections, charged to the node's budget as buffers, so that the block cache gives way.
 *
 * Invariants
 * I1. Above the limit is only what must not wait: what ends something (lw_request_ends), since the
 *     others may be waiting for just that, answers, and one request of any size when nothing else
 *     is there.
 * I2. Who waits is served in the order of coming, and told LW_BACKPRESSURE after two seconds. */
#ifndef LW_INTAKE_H
#define LW_INTAKE_H

#include "base/env.h"
#include "lattice/message.h"
#include "storage/budget.h"

enum { LW_INTAKE_WAIT_MS = 2000 };

typedef struct lw_intake_waiter {
    struct lw_intake_waiter *next;
    lw_queue *queue;
    size_t size;
    bool taken;
} lw_intake_waiter;

typedef struct lw_intake {
    lw_env *env;
    size_t limit, held; /* bytes */
    lw_budget_share
        share; /* of what is held, as far as the limit: one larger request starves nobody */
    lw_intake_waiter *first, *last;
    uint64_t waited, refused; /* since opening */
} lw_intake;

/* `limit` bytes of the budget; NULL: of no budget. */
void lw_intake_open(lw_intake *intake, lw_env *env, lw_budget *budget, size_t limit);

/* What a request of so many bytes takes until it is answered. */
size_t lw_intake_cost(size_t frame_size);

/* Takes `size` bytes, at once if there is room. Otherwise waits, on `queue`, which the caller may
 * wake to look at `*ended`, and gives up when that is set or after two seconds: LW_BACKPRESSURE. */
LW_MUST_USE LW_YIELDS lw_status lw_intake_take(lw_intake *intake, size_t size, lw_queue *queue,
                                               const bool *ended);
/* Takes what must not wait. */
void lw_intake_force(lw_intake *intake, size_t size);
/* Gives back what was taken, whichever way, and lets in who waits. */
void lw_intake_give(lw_intake *intake, size_t size);

#endif
