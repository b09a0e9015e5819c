/* SPDX-License-Identifier: Apache-2.0 */
#include "node/gc_state.h"

#include "txn/oracle.h"

#include <inttypes.h>

enum {
    GRACE_MS = 3000,  /* for sessions of before the start to come back */
    PERIOD_PART = 10, /* of the retention, lie between two moves */
    PERIOD_MIN_MS = 50,
    PERIOD_MAX_MS = 30 * 1000,
    CATCH_UP_MS = 1000,
    SETTLE_PAUSE_MAX_MS = 1000,
};

/* ---- opening and closing -------------------------------------------------------------------- */

lw_gc *lw_gc_open(const lw_gc_options *options) {
    lw_memory *memory = options->env->memory;
    lw_gc *opened = lw_allocate_zero(memory, sizeof(*opened));
    opened->env = options->env;
    opened->options = *options;
    if (opened->options.retention_ms == 0) {
        opened->options.retention_ms = LW_RETENTION_DEFAULT_MS;
    }
    opened->pins = lw_pins_in(memory);
    return opened;
}

void lw_gc_stop(lw_gc *gc) {
    gc->stopping = true;
    lw_queue_wake_all(&gc->work);
    lw_queue_wake_all(&gc->pinned);
    lw_queue_wake_all(&gc->reading);
    lw_queue_wake_all(&gc->ending);
    while (gc->running || gc->leasing) {
        lw_queue_wait(&gc->stopped);
    }
}

void lw_gc_close(lw_gc *gc) {
    LW_ASSERT(!gc->running && !gc->leasing);
    lw_pins_reset(&gc->pins);
    lw_free(gc->env->memory, gc);
}

/* ---- standing on timestamps (C1) ------------------------------------------------------------ */

static lw_status too_old(const lw_gc *gc, uint64_t timestamp) {
    LW_MARK(gc->env, "gc.too_old");
    return lw_fail(LW_TOO_OLD,
                   "timestamp %" PRIu64 " lies below the safepoint %" PRIu64
                   ": the past is kept for %" PRIu64 " ms; begin anew, tell the node beforehand "
                   "how long it will take (the transaction's timeout_ms), or start the nodes with "
                   "a longer --retention",
                   timestamp, gc->pins.safepoint, gc->options.retention_ms);
}

lw_status lw_gc_stands(const lw_gc *gc, uint64_t timestamp) {
    if (gc == NULL || timestamp >= gc->pins.safepoint ||
        LW_BUG(gc->env, "gc.read_below_the_safepoint")) {
        return LW_OK;
    }
    return too_old(gc, timestamp);
}

uint64_t gc_now(const lw_gc *gc) {
    return gc->timestamps == NULL ? 0 : lw_timestamps_now(gc->timestamps);
}

/* Whether it is needed for longer than it is kept anyway. */
static bool needs_pin(const lw_gc *gc, uint64_t now, uint64_t timestamp, uint64_t timeout_ms) {
    return lw_timestamp_ms(timestamp) + gc->options.retention_ms <
           lw_timestamp_ms(now) + timeout_ms;
}

lw_status lw_gc_stand(lw_gc *gc, uint64_t session, uint64_t timestamp, uint32_t timeout_ms) {
    LW_TRY(lw_gc_stands(gc, timestamp));
    if (gc == NULL || session == 0 || timeout_ms == 0 || timestamp < gc->pins.safepoint) {
        return LW_OK;
    }
    uint64_t now = gc_now(gc);
    if (needs_pin(gc, now, timestamp, timeout_ms)) {
        LW_MARK(gc->env, "gc.reader_pins");
        (void)lw_pins_hold(&gc->pins, session, timestamp, now + lw_timestamp_of_ms(timeout_ms),
                           gc->options.session_label(gc->options.argument, session));
        lw_queue_wake_all(&gc->reading);
    }
    return LW_OK;
}

uint64_t lw_gc_lowest(lw_gc *gc, uint64_t safepoint) {
    (void)lw_pins_expire(&gc->pins, gc_now(gc));
    const lw_pin *oldest = lw_pins_oldest(&gc->pins);
    bool free =
        oldest == NULL || oldest->timestamp > safepoint || LW_BUG(gc->env, "gc.passes_pins");
    return free ? safepoint : oldest->timestamp;
}

uint64_t lw_gc_decided(const lw_gc *gc) {
    return gc == NULL ? 0 : gc->pins.safepoint;
}

uint64_t lw_gc_forgotten(const lw_gc *gc, bool own) {
    if (gc == NULL) {
        return 0;
    }
    return own || gc->collected > gc->loaded ? gc->collected : gc->loaded;
}

void lw_gc_written(lw_gc *gc) {
    if (gc == NULL) {
        return;
    }
    gc->writes++;
    if (gc->dormant) {
        gc->dormant = false;
        lw_queue_wake_all(&gc->work);
    }
}

void lw_gc_session_came(lw_gc *gc, uint64_t session) {
    if (gc->pins.leftover_count > 0) {
        lw_pins_session_came(&gc->pins, session);
    }
}

bool lw_gc_session_holds(const lw_gc *gc, uint64_t session) {
    return lw_pins_have_session(&gc->pins, session);
}

void lw_gc_session_ended(lw_gc *gc, uint64_t session) {
    if (lw_pins_end_session(&gc->pins, session) > 0) {
        LW_MARK(gc->env, "gc.pins_end_with_their_session");
    }
}

/* ---- deciding ------------------------------------------------------------------------------- */

static void encode_record(void *argument, lw_buffer *out) {
    const lw_gc *gc = argument;
    lw_pins_encode(&gc->pins, out);
}

bool gc_write_record(lw_gc *gc) {
    uint64_t changes = gc->pin_changes, safepoint = gc->pins.safepoint;
    gc->pin_asked = false;
    lw_replica *root = lw_shards_find(gc->shards, LW_ROOT_SHARD);
    if (root == NULL || !gc_decides(gc) ||
        lw_replica_keep(root, "safepoint", encode_record, gc) != LW_OK) {
        LW_MARK(gc->env, "gc.record_not_written");
        return false;
    }
    gc->durable = safepoint;
    gc->pin_changes_durable = changes;
    lw_queue_wake_all(&gc->pinned);
    return true;
}

bool gc_worth_moving(const lw_gc *gc, uint64_t target) {
    if (gc->pins.safepoint < gc->dirty_until && target > gc->dirty_from) {
        return true;
    }
    for (uint32_t index = 0; index < lw_shards_count(gc->shards); index++) {
        if (lw_replica_stale_after(lw_shards_at(gc->shards, index), gc->pins.safepoint) <= target) {
            return true;
        }
    }
    return false;
}

/* Notes what was written since the last look. */
LW_YIELDS static void note_writes(lw_gc *gc) {
    uint64_t writes = gc->writes, last = 0;
    if (writes == gc->writes_seen) {
        return;
    }
    if (!gc->alone) { /* what was written by way of others may be newer than all that came here */
        uint64_t until_ns = lw_env_now(gc->env) + CATCH_UP_MS * NS_PER_MS;
        (void)!lw_timestamps_take(gc->timestamps, 1, until_ns, &last);
    }
    uint64_t known = lw_timestamps_last(gc->timestamps);
    last = last < known ? known : last;
    if (gc->dirty_until <= gc->pins.safepoint) { /* all before was clean */
        gc->dirty_from = last;
    }
    gc->writes_seen = writes;
    gc->dirty_until = last;
}

static bool in_grace(const lw_gc *gc) {
    return lw_env_now(gc->env) < gc->started_ns + GRACE_MS * NS_PER_MS;
}

uint64_t gc_target(lw_gc *gc) {
    uint64_t now = gc_now(gc);
    (void)lw_pins_expire(&gc->pins, now);
    if (LW_BUG(gc->env, "gc.passes_pins")) {
        lw_pins none = {.safepoint = gc->pins.safepoint};
        return lw_pins_reach(&none, now, gc->options.retention_ms);
    }
    return lw_pins_reach(&gc->pins, now, gc->options.retention_ms);
}

/* Who comes next is given a timestamp above the last one: the safepoint may not be above that. On
 * an idle node the last one is old. */
bool gc_catch_up(lw_gc *gc, uint64_t *target) {
    uint64_t taken, deadline_ns = lw_env_now(gc->env) + CATCH_UP_MS * NS_PER_MS;
    if (lw_timestamps_take(gc->timestamps, 1, deadline_ns, &taken) != LW_OK) {
        return false;
    }
    uint64_t reach = gc_target(gc); /* somebody may have pinned meanwhile */
    *target = taken < reach ? taken : reach;
    return *target > gc->pins.safepoint;
}

LW_YIELDS static void decide(lw_gc *gc) {
    bool move = false;
    if (!in_grace(gc)) {
        if (lw_pins_end_leftovers(&gc->pins) > 0) {
            LW_MARK(gc->env, "gc.leftover_pins_ended");
        }
        uint64_t target = gc_target(gc);
        move = target > gc->pins.safepoint && gc_worth_moving(gc, target);
        if (move && lw_timestamps_last(gc->timestamps) < target) {
            move = gc_catch_up(gc, &target);
        }
        if (move) {
            gc->pins.safepoint = target;
            gc->settle_pause_ms = GC_SETTLE_PAUSE_MS;
        }
    }
    if (move || gc->durable < gc->pins.safepoint || gc->pin_changes > gc->pin_changes_durable) {
        (void)gc_write_record(gc);
    }
}

/* ---- settling and collecting (C2) ----------------------------------------------------------- */

static bool settled(lw_gc *gc, uint64_t safepoint) {
    bool all = true;
    if (LW_BUG(gc->env, "gc.locks_left")) {
        return true;
    }
    for (uint32_t index = 0; index < lw_shards_count(gc->shards); index++) {
        all &= lw_replica_settle(lw_shards_at(gc->shards, index), safepoint);
    }
    return all;
}

/* Shards that have come since the last time are told as well. */
static void collect(lw_gc *gc) {
    if (gc->collected < gc->durable && settled(gc, gc->durable)) {
        LW_MARK(gc->env, "gc.collected");
        gc->collected = gc->durable;
    }
    for (uint32_t index = 0; index < lw_shards_count(gc->shards); index++) {
        lw_replica_collect(lw_shards_at(gc->shards, index), gc->collected);
    }
}

/* By index, since shards may come while this waits. */
LW_YIELDS static void flush_old(lw_gc *gc) {
    for (uint32_t index = 0; index < lw_shards_count(gc->shards) && !gc->stopping; index++) {
        lw_replica_flush_old(lw_shards_at(gc->shards, index), gc->collected, gc->dirty_until);
    }
}

/* ---- the fiber ------------------------------------------------------------------------------ */

static uint64_t period_ms(const lw_gc *gc) {
    uint64_t period = gc->options.retention_ms / PERIOD_PART;
    if (LW_RARE(gc->env, "gc.moves_soon")) {
        return PERIOD_MIN_MS;
    }
    return period < PERIOD_MIN_MS   ? (uint64_t)PERIOD_MIN_MS
           : period > PERIOD_MAX_MS ? (uint64_t)PERIOD_MAX_MS
                                    : period;
}

uint64_t gc_next_garbage(const lw_gc *gc) {
    uint64_t next = gc->pins.safepoint < gc->dirty_until ? gc->dirty_from : UINT64_MAX;
    next = next > gc->pins.safepoint ? next : gc->pins.safepoint + 1;
    for (uint32_t index = 0; index < lw_shards_count(gc->shards); index++) {
        uint64_t stale =
            lw_replica_stale_after(lw_shards_at(gc->shards, index), gc->pins.safepoint);
        next = stale < next ? stale : next;
    }
    return next;
}

/* How long there is nothing to do; 0: until something is written. */
static uint64_t pause_ms(lw_gc *gc) {
    uint64_t period = period_ms(gc);
    if (gc->alone ? gc->collected < gc->durable : gc_round_open(gc)) {
        uint64_t pause = gc->settle_pause_ms, pause_max = SETTLE_PAUSE_MAX_MS;
        pause_max = gc->alone || period < pause_max ? pause_max : period; /* others are asked */
        gc->settle_pause_ms = pause < pause_max / 2 ? 2 * pause : pause_max;
        return pause;
    }
    bool unwritten = gc->durable < gc->pins.safepoint || gc->pin_changes > gc->pin_changes_durable;
    if (unwritten && gc_decides(gc)) {
        return period; /* the record could not be written: try again */
    }
    if (gc->alone && in_grace(gc) && gc->pins.leftover_count > 0) {
        return GRACE_MS;
    }
    uint64_t next = gc_next_garbage(gc);
    if (gc->wanted > gc->pins.safepoint && gc->wanted < next) {
        next = gc->wanted;
    }
    if (next == UINT64_MAX) {
        return 0;
    }
    uint64_t now_ms = lw_timestamp_ms(gc_now(gc));
    uint64_t due_ms = lw_timestamp_ms(next) + gc->options.retention_ms + 1;
    return due_ms > now_ms + period ? due_ms - now_ms : period;
}

LW_YIELDS static void rest(lw_gc *gc) {
    uint64_t pause = pause_ms(gc);
    bool clean = gc->dirty_until <= gc->pins.safepoint;
    if (gc->stopping || gc->pin_asked || gc->changed || (clean && gc->writes != gc->writes_seen)) {
        return;
    }
    gc->dormant = clean;
    uint64_t until_ns = pause == 0 ? 0 : lw_env_now(gc->env) + pause * NS_PER_MS;
    (void)lw_env_wait(gc->env, &gc->work, until_ns);
    gc->dormant = false;
}

LW_YIELDS static void gc_main(void *argument) {
    lw_gc *gc = argument;
    while (!gc->stopping) {
        gc->changed = false;
        gc->alone = lw_shards_alone(gc->shards);
        gc_take_over(gc);
        note_writes(gc);
        if (gc->alone) {
            decide(gc);
        } else {
            LW_MARK(gc->env, "gc.not_alone");
            gc_among_others(gc);
        }
        if (gc->alone && !gc->stopping && lw_shards_alone(gc->shards)) {
            collect(gc);
        }
        if (!gc->stopping) {
            flush_old(gc);
            rest(gc);
        }
    }
    gc->running = false;
    lw_queue_wake_all(&gc->stopped);
}

/* ---- starting ------------------------------------------------------------------------------- */

LW_YIELDS static lw_status load_record(lw_gc *gc) {
    lw_buffer record = lw_buffer_in(gc->env->memory);
    lw_replica *root = lw_shards_find(gc->shards, LW_ROOT_SHARD);
    lw_status status = root == NULL ? LW_NOT_FOUND : lw_replica_kept(root, "safepoint", &record);
    if (status == LW_OK) {
        status = lw_pins_decode(lw_buffer_view(&record), &gc->pins);
    }
    lw_buffer_reset(&record);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

lw_status lw_gc_start(lw_gc *gc, struct lw_shards *shards) {
    gc->shards = shards;
    gc->timestamps = lw_shards_timestamps(shards);
    gc->started_ns = lw_env_now(gc->env);
    gc->alone = lw_shards_alone(shards);
    if (gc->alone) {
        LW_TRY(load_record(gc));
        gc->loaded = gc->durable = gc->pins.safepoint;
        gc->record_term = gc_root_term(gc);
    }
    for (uint32_t index = 0; index < lw_shards_count(shards); index++) {
        gc->writes += lw_replica_unflushed(lw_shards_at(shards, index));
    }
    gc->settle_pause_ms = GC_SETTLE_PAUSE_MS;
    gc->running = true;
    lw_env_start(gc->env, "gc", gc_main, gc);
    gc_lease_start(gc);
    return LW_OK;
}
