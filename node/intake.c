/* SPDX-License-Identifier: Apache-2.0 */
#include "node/intake.h"

enum {
    REQUEST_COST = 8 * 1024, /* a fiber's stack, as far as it is used, and small things */
    FRAME_COSTS = 2,         /* the frame itself, and what it becomes */
};

static const uint64_t ns_per_ms = 1000000;

void lw_intake_open(lw_intake *intake, lw_env *env, lw_budget *budget, size_t limit) {
    *intake = (lw_intake){
        .env = env, .limit = limit, .share = lw_budget_share_in(budget, LW_BUDGET_BUFFERS)};
}

size_t lw_intake_cost(size_t frame_size) {
    return REQUEST_COST + FRAME_COSTS * frame_size;
}

/* I1. */
static bool fits(const lw_intake *intake, size_t size) {
    size_t held = intake->held;
    return held == 0 || held + size <= intake->limit || LW_BUG(intake->env, "intake.unbounded");
}

static void hold(lw_intake *intake, size_t held) {
    intake->held = held;
    lw_budget_share_set(&intake->share, held < intake->limit ? held : intake->limit);
}

void lw_intake_force(lw_intake *intake, size_t size) {
    hold(intake, intake->held + size);
}

static void leave(lw_intake *intake, const lw_intake_waiter *waiter) {
    lw_intake_waiter *before = NULL;
    for (lw_intake_waiter *each = intake->first; each != waiter; each = each->next) {
        LW_ASSERT(each != NULL);
        before = each;
    }
    *(before != NULL ? &before->next : &intake->first) = waiter->next;
    if (intake->last == waiter) {
        intake->last = before;
    }
}

void lw_intake_give(lw_intake *intake, size_t size) {
    LW_ASSERT(intake->held >= size);
    hold(intake, intake->held - size);
    while (intake->first != NULL && fits(intake, intake->first->size)) {
        lw_intake_waiter *waiter = intake->first;
        leave(intake, waiter);
        lw_intake_force(intake, waiter->size);
        waiter->taken = true;
        lw_queue_wake_all(waiter->queue);
    }
}

LW_YIELDS static void wait_in_line(lw_intake *intake, lw_intake_waiter *waiter, const bool *ended) {
    uint64_t deadline_ns = lw_env_now(intake->env) + LW_INTAKE_WAIT_MS * ns_per_ms;
    *(intake->last != NULL ? &intake->last->next : &intake->first) = waiter;
    intake->last = waiter;
    intake->waited++;
    LW_MARK(intake->env, "intake.waited");
    while (!waiter->taken && !*ended &&
           (lw_env_wait(intake->env, waiter->queue, deadline_ns) ||
            lw_env_now(intake->env) < deadline_ns)) {
    }
    if (!waiter->taken) {
        leave(intake, waiter);
    }
}

lw_status lw_intake_take(lw_intake *intake, size_t size, lw_queue *queue, const bool *ended) {
    if (intake->first == NULL && fits(intake, size)) {
        lw_intake_force(intake, size);
        return LW_OK;
    }
    lw_intake_waiter waiter = {.queue = queue, .size = size};
    wait_in_line(intake, &waiter, ended);
    if (waiter.taken) {
        return LW_OK;
    }
    intake->refused++;
    LW_MARK(intake->env, "intake.refused");
    return lw_fail(LW_BACKPRESSURE,
                   "the requests of all clients hold %zu of %zu bytes, and did so for %d s: try "
                   "again later, with fewer at once, or give the node more --memory",
                   intake->held, intake->limit, LW_INTAKE_WAIT_MS / 1000);
}
