/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/resolve.h"

/* Each but the first means that somebody else decided while we looked: the next one hears of it. */
enum { RUNS_MAX = 4 };

void lw_resolve_machine_init(lw_resolve_machine *resolve, uint64_t remaining_ms, bool decide) {
    *resolve = (lw_resolve_machine){.phase = LW_RESOLVE_SEND_CHECK,
                                    .decide = decide,
                                    .patient = remaining_ms > 0 && !decide,
                                    .runs = 1,
                                    .fate = LW_FATE_ALIVE};
}

lw_resolve_action lw_resolve_machine_next(const lw_resolve_machine *resolve) {
    lw_resolve_action action = {.kind = resolve->phase};
    switch (resolve->phase) {
    case LW_RESOLVE_SEND_CHECK:
        action.decide = resolve->decide;
        action.patient = resolve->patient;
        break;
    case LW_RESOLVE_SEND_SECONDARIES:
        action.decide = resolve->decide || resolve->expired;
        action.first = resolve->position;
        action.commit_timestamp = resolve->commit_timestamp;
        break;
    case LW_RESOLVE_SEND_COMMIT:
        action.commit_timestamp = resolve->commit_timestamp;
        break;
    case LW_RESOLVE_SEND_ROLLBACK:
    case LW_RESOLVE_DONE:
        break;
    }
    return action;
}

static void finish(lw_resolve_machine *resolve, lw_status status, lw_fate fate) {
    LW_ASSERT(status != LW_OK || fate != LW_FATE_UNKNOWN);
    LW_ASSERT(status != LW_OK || fate != LW_FATE_ALIVE || !resolve->decide);
    resolve->phase = LW_RESOLVE_DONE;
    resolve->status = status;
    resolve->fate = fate;
}

/* What was answered, whoever answers right does not say. */
static void contradict(lw_resolve_machine *resolve) {
    finish(resolve, lw_fail(LW_INTERNAL, "the shards contradict each other about a transaction"),
           LW_FATE_ALIVE);
}

static void run_again(lw_resolve_machine *resolve) {
    if (resolve->runs == RUNS_MAX) {
        contradict(resolve);
        return;
    }
    resolve->runs++;
    resolve->phase = LW_RESOLVE_SEND_CHECK;
}

/* Not decided, and not to be decided by us. */
static void leave_alive(lw_resolve_machine *resolve) {
    if (resolve->decide) {
        contradict(resolve);
        return;
    }
    finish(resolve, LW_OK, LW_FATE_ALIVE);
}

static void take_check(lw_resolve_machine *resolve, const lw_resolve_event *event) {
    switch (event->fate) {
    case LW_FATE_COMMITTED:
        resolve->commit_timestamp = event->commit_timestamp;
        finish(resolve, LW_OK, LW_FATE_COMMITTED);
        return;
    case LW_FATE_ABORTED:
        finish(resolve, LW_OK, LW_FATE_ABORTED);
        return;
    case LW_FATE_UNKNOWN:
        leave_alive(resolve);
        return;
    case LW_FATE_ALIVE:
        break;
    }
    if (!event->asynchronous) {
        leave_alive(resolve);
        return;
    }
    resolve->commit_timestamp = event->commit_timestamp;
    resolve->expired = event->expired;
    resolve->secondary_count = event->secondary_count;
    resolve->position = 0;
    resolve->phase =
        event->secondary_count == 0 ? LW_RESOLVE_SEND_COMMIT : LW_RESOLVE_SEND_SECONDARIES;
}

static void take_secondaries(lw_resolve_machine *resolve, const lw_resolve_event *event) {
    switch (event->state) {
    case LW_SECONDARIES_LOCKED:
        LW_ASSERT(event->count > 0);
        LW_ASSERT(event->count <= resolve->secondary_count - resolve->position);
        resolve->position += event->count;
        if (resolve->position == resolve->secondary_count) {
            resolve->phase = LW_RESOLVE_SEND_COMMIT; /* V2 */
        }
        return;
    case LW_SECONDARIES_COMMITTED:
        resolve->commit_timestamp = event->commit_timestamp;
        resolve->phase = LW_RESOLVE_SEND_COMMIT; /* V2 */
        return;
    case LW_SECONDARIES_ABORTED:
        resolve->phase = LW_RESOLVE_SEND_ROLLBACK; /* V3 */
        return;
    case LW_SECONDARIES_MISSING:
        leave_alive(resolve);
        return;
    case LW_SECONDARIES_CLASSIC:
        break;
    }
    if (resolve->decide || resolve->expired) {
        resolve->phase = LW_RESOLVE_SEND_ROLLBACK; /* V3 */
    } else {
        leave_alive(resolve);
    }
}

static void take_commit(lw_resolve_machine *resolve, const lw_resolve_event *event) {
    if (event->status == LW_OK) {
        finish(resolve, LW_OK, LW_FATE_COMMITTED);
    } else if (event->status == LW_CONFLICT || event->status == LW_INVALID_ARGUMENT) {
        run_again(resolve);
    } else {
        finish(resolve, event->status, LW_FATE_ALIVE);
    }
}

static void take_rollback(lw_resolve_machine *resolve, const lw_resolve_event *event) {
    if (event->status == LW_OK) {
        finish(resolve, LW_OK, LW_FATE_ABORTED);
    } else if (event->status == LW_REFUSED) {
        run_again(resolve);
    } else {
        finish(resolve, event->status, LW_FATE_ALIVE);
    }
}

void lw_resolve_machine_step(lw_resolve_machine *resolve, const lw_resolve_event *event) {
    LW_ASSERT(resolve->phase != LW_RESOLVE_DONE);
    if (resolve->phase == LW_RESOLVE_SEND_COMMIT) {
        take_commit(resolve, event);
    } else if (resolve->phase == LW_RESOLVE_SEND_ROLLBACK) {
        take_rollback(resolve, event);
    } else if (event->status != LW_OK) {
        finish(resolve, event->status, LW_FATE_ALIVE);
    } else if (resolve->phase == LW_RESOLVE_SEND_CHECK) {
        take_check(resolve, event);
    } else {
        take_secondaries(resolve, event);
    }
}

lw_resolve_event lw_resolve_checked(const lw_check_reply *reply) {
    return (lw_resolve_event){.status = LW_OK,
                              .fate = reply->fate,
                              .asynchronous = reply->asynchronous,
                              .expired = reply->remaining_ms == 0,
                              .secondary_count = reply->secondary_count,
                              .commit_timestamp = reply->commit_timestamp};
}

lw_resolve_event lw_resolve_looked(const lw_check_secondaries_reply *reply, uint32_t count) {
    return (lw_resolve_event){.status = LW_OK,
                              .state = reply->state,
                              .commit_timestamp = reply->commit_timestamp,
                              .count = count};
}
