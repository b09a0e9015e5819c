/* SPDX-License-Identifier: Apache-2.0 */
/* What requests wait for: room, latches, pessimistic locks, writers before them. */
#include "node/replica_state.h"

#include "base/hash.h"

#include <stdlib.h>

enum {
    SLOW_ADMISSION_NS = 30 * 1000 * 1000,
    WAY_HOME_NS = 50 * 1000 * 1000,
    WATCH_NS = 1000 * 1000 * 1000,
    SPLIT_NS = 1000 * 1000 * 1000, /* that who reads waits for the end of a split */
};

/* ---- time ----------------------------------------------------------------------------------- */

lw_status replica_take(lw_replica *replica, uint32_t count, uint64_t deadline_ns, uint64_t *first) {
    LW_TRY(replica_gate(replica));
    return lw_timestamps_take(replica->options.timestamps, count, deadline_ns, first);
}

lw_status replica_given(replica_call *call, uint64_t timestamp) {
    return lw_timestamps_given(call->replica->options.timestamps, timestamp, call->deadline_ns);
}

/* ---- what the shard holds ------------------------------------------------------------------- */

/* [lower, upper), or from `lower` on if `upper` is empty. */
static bool holds_range(const lw_shard_descriptor *shard, lw_bytes lower, lw_bytes upper) {
    return lw_compare(lower, shard->start) >= 0 &&
           (shard->end.size == 0 || (upper.size > 0 && lw_compare(upper, shard->end) <= 0));
}

static bool holds_key(const lw_shard_descriptor *shard, lw_bytes key) {
    return lw_compare(key, shard->start) >= 0 &&
           (shard->end.size == 0 || lw_compare(key, shard->end) < 0);
}

/* The keys ascend. */
static bool holds_sorted(const lw_shard_descriptor *shard, const lw_bytes *keys,
                         uint32_t key_count) {
    return key_count == 0 || (holds_key(shard, keys[0]) && holds_key(shard, keys[key_count - 1]));
}

static bool holds_latched(const lw_shard_descriptor *shard, const lw_latch *latch) {
    bool held = holds_sorted(shard, latch->exclusive, latch->exclusive_count) &&
                holds_sorted(shard, latch->shared, latch->shared_count);
    for (uint32_t index = 0; index < latch->range_count && held; index++) {
        held = holds_range(shard, latch->ranges[index].lower, latch->ranges[index].upper);
    }
    return held;
}

/* `held`: what the call asks for lies in the shard as it is now. */
static lw_status check_route(replica_call *call, bool held) {
    LW_TRY(replica_check_epoch(call));
    if (!held && !LW_BUG(call->replica->env, "shard.route_unchecked")) {
        call->misrouted = true;
        return lw_fail(LW_UNAVAILABLE,
                       "shard %llu does not hold all of these keys: ask again with "
                       "its descriptor",
                       (unsigned long long)call->replica->options.shard);
    }
    return LW_OK;
}

/* ---- room ----------------------------------------------------------------------------------- */

lw_status replica_admit(replica_call *call, size_t size, bool freeing) {
    lw_replica *replica = call->replica;
    if (LW_RARE(replica->env, "replica.slow_admission")) {
        lw_env_sleep(replica->env, lw_env_random_below(replica->env, SLOW_ADMISSION_NS));
    }
    call->freeing = freeing;
    lw_status status =
        freeing ? lw_tree_admit_freeing(replica->tree, size) : lw_tree_admit(replica->tree, size);
    /* While it waited a snapshot came in place of the tree, or the shard went from here. That is no
     * answer: of a CHECK LW_NOT_FOUND would say that the transaction never commits (hazard T2). */
    if (status == LW_NOT_FOUND && !LW_BUG(replica->env, "replica.dropped_tree_answers")) {
        return lw_fail(LW_UNAVAILABLE,
                       "the tree of shard %llu was dropped while the request waited: ask again",
                       (unsigned long long)replica->options.shard);
    }
    return status == LW_OK ? LW_OK : lw_fail_in(status, "nothing was written");
}

lw_status replica_log_room(lw_replica *replica, size_t size, bool freeing) {
    lw_status status =
        freeing ? lw_log_room_freeing(replica->log, size) : lw_log_room(replica->log, size);
    if (status == LW_OK) {
        return LW_OK;
    }
    if (status != LW_FULL) {
        /* The log died making room, perhaps while nobody waited for what is in it. */
        LW_MARK(replica->env, "replica.log_died_making_room");
        lw_error reason = *lw_error_slot();
        replica_die(replica);
        *lw_error_slot() = reason;
    }
    return lw_fail_in(status, "nothing was written");
}

lw_status replica_call_room(replica_call *call, size_t size) {
    return replica_log_room(call->replica, size, call->freeing);
}

/* ---- copies of a request -------------------------------------------------------------------- */

static replica_call *find_copy(const lw_replica *replica, uint64_t start) {
    lw_map_node *node = lw_map_first(&replica->committing, lw_mix(start));
    while (node != NULL && LW_MAP_ENTRY(node, replica_call, node)->committing != start) {
        node = lw_map_next(node);
    }
    return node == NULL ? NULL : LW_MAP_ENTRY(node, replica_call, node);
}

lw_status replica_await_copies(replica_call *call, uint64_t start) {
    lw_replica *replica = call->replica;
    replica_call *copy;
    while ((copy = find_copy(replica, start)) != NULL) {
        LW_MARK(replica->env, "replica.copy_waits");
        if (!lw_env_wait(replica->env, &copy->ended, call->deadline_ns)) {
            return lw_fail(LW_TIMEOUT, "an earlier copy of the request is still under way");
        }
    }
    LW_TRY(replica_call_gate(call));
    call->committing = start;
    lw_map_insert(&replica->committing, &call->node, lw_mix(start));
    return LW_OK;
}

/* ---- latches -------------------------------------------------------------------------------- */

static lw_status latched(replica_call *call) {
    return check_route(call, holds_latched(&call->replica->descriptor, &call->latch));
}

lw_status replica_latch(replica_call *call) {
    lw_replica *replica = call->replica;
    LW_ASSERT(!call->latched);
    call->latched = true;
    replica_load_note(replica, call->latch.exclusive, call->latch.exclusive_count);
    if (lw_latch_request(&replica->latches, &call->latch)) {
        return latched(call);
    }
    bool in_time = true;
    replica->latch_waiting++;
    while (in_time && !lw_latch_held(&call->latch)) {
        in_time = lw_env_wait(replica->env, &call->latch.granted, call->deadline_ns);
    }
    replica->latch_waiting--;
    if (!lw_latch_held(&call->latch)) {
        LW_MARK(replica->env, "replica.latch_timeout");
        replica_unlatch(call);
        return lw_fail(LW_TIMEOUT, "waited too long for other requests on the same keys");
    }
    return latched(call);
}

void replica_unlatch(replica_call *call) {
    if (call->latched) {
        lw_latch_release(&call->replica->latches, &call->latch);
        call->latched = false;
        call->latch.drawn = 0;
    }
}

/* ---- pessimistic locks ---------------------------------------------------------------------- */

/* A little before the deadline, so that the answer, which says for whom was waited, is home in
 * time.
 */
static uint64_t patience_ns(uint64_t now_ns, uint64_t deadline_ns) {
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    uint64_t margin_ns = left_ns / 8 < WAY_HOME_NS ? left_ns / 8 : (uint64_t)WAY_HOME_NS;
    return deadline_ns == 0 ? 0 : deadline_ns - margin_ns;
}

lw_status replica_lock_key(replica_call *call, uint64_t start, lw_bytes key, bool kept,
                           uint64_t deadline_ns, bool *fresh) {
    lw_replica *replica = call->replica;
    if (!LW_BUG(replica->env, "replica.locked_by_who_led")) {
        LW_TRY(replica_call_gate(call)); /* who leads no more has let go of all locks already */
    }
    LW_TRY(replica_spared(call, start));
    lw_lock_waiter waiter = {.start = start, .session = call->session, .key = key, .kept = kept};
    lw_lock_cycle cycle;
    if (lw_lock_table_request(replica->locks, &waiter, &cycle) == LW_LOCK_DEADLOCK) {
        return replica_deadlock(call, key, &cycle);
    }
    if (!waiter.held && !waiter.cut) {
        lw_waits_stir(replica->options.waits);
    }
    bool in_time = true;
    uint64_t asked_ns = waiter.held ? 0 : lw_env_now(replica->env);
    deadline_ns = patience_ns(asked_ns, deadline_ns);
    replica->lock_waiting++;
    call->waiter = &waiter;
    while (in_time && !waiter.held && !waiter.cut && !waiter.refused) {
        in_time = lw_env_wait(replica->env, &waiter.changed, deadline_ns);
    }
    call->waiter = NULL;
    replica->lock_waiting--;
    call->waited_ns += asked_ns == 0 ? 0 : lw_env_now(replica->env) - asked_ns;
    if (waiter.refused) {
        return replica_refused(call, &waiter);
    }
    if (!waiter.held && !waiter.cut) {
        lw_lock_table_cancel(replica->locks, &waiter);
        return replica_waited_too_long(call, key);
    }
    LW_TRY(replica_call_gate(call));
    if (!waiter.held) {
        LW_MARK(replica->env, "replica.waiter_cut");
        LW_TRY(replica_spared(call, start));
        return lw_fail(LW_UNAVAILABLE,
                       "the session, or the transaction, ended while a lock was waited for");
    }
    *fresh = waiter.fresh;
    return LW_OK;
}

/* ---- locks in the tree ---------------------------------------------------------------------- */

/* Waits as what `waiter` says until it is held, cut, or a while has passed. */
LW_YIELDS static void watch_a_while(replica_call *call, lw_lock_waiter *waiter) {
    lw_replica *replica = call->replica;
    uint64_t asked_ns = lw_env_now(replica->env);
    uint64_t until_ns = asked_ns + WATCH_NS, home_ns = patience_ns(asked_ns, call->deadline_ns);
    until_ns = home_ns != 0 && home_ns < until_ns ? home_ns : until_ns;
    bool in_time = true;
    replica->lock_waiting++;
    lw_waits_stir(replica->options.waits);
    call->waiter = waiter;
    while (in_time && !waiter->held && !waiter->cut && !waiter->refused) {
        in_time = lw_env_wait(replica->env, &waiter->changed, until_ns);
    }
    call->waiter = NULL;
    replica->lock_waiting--;
    lw_lock_table_cancel(replica->locks, waiter);
    call->waited_ns += lw_env_now(replica->env) - asked_ns;
}

lw_status replica_watch(replica_call *call, bool *again) {
    lw_replica *replica = call->replica;
    const lw_obstacle *obstacle = &call->evaluation.obstacle;
    bool alive = obstacle->kind == LW_OBSTACLE_LOCK && obstacle->remaining_ms > 0;
    if (!alive || call->start == 0 || call->start == obstacle->start || call->orphaned ||
        LW_BUG(replica->env, "replica.intents_not_watched")) {
        return LW_CONFLICT;
    }
    replica_unlatch(call); /* whoever ends the lock needs the latch */
    lw_lock_waiter waiter = {.start = call->start, .session = call->session, .key = obstacle->key};
    lw_lock_cycle cycle;
    if (lw_lock_table_watch(replica->locks, &waiter, obstacle->start,
                            call->evaluation.obstacle_session, &cycle) == LW_LOCK_DEADLOCK) {
        LW_MARK(replica->env, "replica.deadlock_over_intents");
        return replica_deadlock(call, waiter.key, &cycle);
    }
    watch_a_while(call, &waiter);
    if (waiter.refused) {
        return replica_refused(call, &waiter);
    }
    LW_TRY(replica_call_gate(call));
    LW_TRY(replica_spared(call, call->start));
    *again = waiter.held;
    return LW_CONFLICT;
}

/* ---- readers behind writers (P3), and behind splits ------------------------------------------ */

LW_YIELDS static lw_status await_release(replica_call *call, lw_latch *hindrance) {
    lw_replica *replica = call->replica;
    LW_MARK(replica->env, "replica.reader_waits");
    replica->latch_waiting++;
    bool released = lw_env_wait(replica->env, &hindrance->readers, call->deadline_ns);
    replica->latch_waiting--;
    LW_TRY(replica_call_gate(call));
    return released ? LW_OK
                    : lw_fail(LW_TIMEOUT, "waited too long for a commit that is on its way");
}

/* Who waits in vain may find who has it already. */
LW_YIELDS static lw_status await_split(replica_call *call) {
    lw_replica *replica = call->replica;
    uint64_t until_ns = lw_env_now(replica->env) + SPLIT_NS;
    LW_MARK(replica->env, "replica.reader_awaits_split");
    until_ns =
        call->deadline_ns != 0 && call->deadline_ns < until_ns ? call->deadline_ns : until_ns;
    replica->latch_waiting++;
    bool over = lw_env_wait(replica->env, &replica->giving_away->readers, until_ns);
    replica->latch_waiting--;
    LW_TRY(replica_call_gate(call));
    call->misrouted = !over;
    return over ? LW_OK
                : lw_fail(LW_UNAVAILABLE,
                          "shard %llu is being split, and these keys are another one's: ask again",
                          (unsigned long long)replica->options.shard);
}

static bool gives_away(const lw_replica *replica, const lw_bytes *keys, uint32_t key_count) {
    bool given = false;
    for (uint32_t index = 0; index < key_count && replica->giving_away != NULL; index++) {
        given = given || lw_compare(replica->given_from, keys[index]) <= 0;
    }
    return given;
}

static bool gives_range_away(const lw_replica *replica, lw_latch_range range) {
    return replica->giving_away != NULL &&
           (range.upper.size == 0 || lw_compare(replica->given_from, range.upper) < 0);
}

bool lw_replica_gives_away(const lw_replica *replica, lw_bytes key) {
    return gives_away(replica, &key, 1);
}

lw_status replica_await_given(replica_call *call, lw_bytes key) {
    while (gives_away(call->replica, &key, 1)) {
        LW_TRY(await_split(call));
    }
    return LW_OK;
}

lw_status replica_await_keys(replica_call *call, uint64_t read_timestamp, const lw_bytes *keys,
                             uint32_t key_count) {
    lw_replica *replica = call->replica;
    lw_latch *hindrance;
    replica_load_note(replica, keys, key_count);
    bool given, ignores = LW_BUG(replica->env, "txn.reads_ignore_latches");
    while ((given = gives_away(replica, keys, key_count)) ||
           (!ignores && (hindrance = lw_latch_hinders_keys(&replica->latches, read_timestamp, keys,
                                                           key_count)) != NULL)) {
        LW_TRY(given ? await_split(call) : await_release(call, hindrance));
    }
    bool held = true;
    for (uint32_t index = 0; index < key_count && held; index++) {
        held = holds_key(&replica->descriptor, keys[index]);
    }
    return check_route(call, held);
}

lw_status replica_await_range(replica_call *call, uint64_t read_timestamp, lw_latch_range range) {
    lw_replica *replica = call->replica;
    lw_latch *hindrance;
    replica_load_note(replica, &range.lower, 1);
    bool given, ignores = LW_BUG(replica->env, "txn.reads_ignore_latches");
    while ((given = gives_range_away(replica, range)) ||
           (!ignores && (hindrance = lw_latch_hinders_range(&replica->latches, read_timestamp,
                                                            range)) != NULL)) {
        LW_TRY(given ? await_split(call) : await_release(call, hindrance));
    }
    return check_route(call, holds_range(&replica->descriptor, range.lower, range.upper));
}

/* ---- keys in order -------------------------------------------------------------------------- */

static int order_of_keys(const void *a, const void *b) {
    return lw_compare(*(const lw_bytes *)a, *(const lw_bytes *)b);
}

const lw_bytes *replica_sorted(replica_call *call, const lw_bytes *keys, uint32_t *key_count) {
    if (*key_count < 2) {
        return keys;
    }
    lw_bytes *sorted = lw_arena_allocate(&call->arena, *key_count * sizeof(*sorted));
    memcpy(sorted, keys, *key_count * sizeof(*sorted));
    qsort(sorted, *key_count, sizeof(*sorted), order_of_keys);
    uint32_t count = 1;
    for (uint32_t index = 1; index < *key_count; index++) {
        if (!lw_equal(sorted[index], sorted[count - 1])) {
            sorted[count++] = sorted[index];
        }
    }
    *key_count = count;
    return sorted;
}

void replica_share_reads(replica_call *call, const lw_seen_key *keys, uint32_t key_count,
                         const lw_seen_range *ranges, uint32_t range_count) {
    if (key_count == 0 && range_count == 0) {
        return;
    }
    lw_bytes *shared = lw_arena_allocate(&call->arena, key_count * sizeof(*shared));
    for (uint32_t index = 0; index < key_count; index++) {
        shared[index] = keys[index].key;
    }
    lw_latch_range *latched = lw_arena_allocate(&call->arena, range_count * sizeof(*latched));
    for (uint32_t index = 0; index < range_count; index++) {
        latched[index] =
            (lw_latch_range){.lower = ranges[index].lower, .upper = ranges[index].upper};
    }
    call->latch.shared = replica_sorted(call, shared, &key_count);
    call->latch.shared_count = key_count;
    call->latch.ranges = latched;
    call->latch.range_count = range_count;
}
