/* SPDX-License-Identifier: Apache-2.0 */
/* Collecting among several nodes. The node that leads the root shard has the record and decides;
 * whoever has garbage tells it so, once that is as old as the retention. A round of it walks over
 * all keys (node/gc_walk.c), asking whoever leads there:
 *
 *   ASK      how low must the safepoint stay? The lowest answer is it
 *   decide   it is made durable in the root shard, with the pins of this node
 *   SETTLE   each shard makes it durable as its floor, ends what is below, and says whether nothing
 *            of it is left; asked again until all have, at once
 *   FORGET   each shard makes durable that all have; whoever applies that lets its tree forget
 *
 * A shard that does not answer, or has a reader below, ends the round there: what comes before is
 * repeated later, by this node or by whoever leads the root shard next. The steps are in
 * node/replica_gc.c. */
#include "node/gc_state.h"

#include "txn/oracle.h"
#include "txn/request.h"

/* ---- who decides ---------------------------------------------------------------------------- */

uint64_t gc_root_term(const lw_gc *gc) {
    const lw_replica *root = lw_shards_find(gc->shards, LW_ROOT_SHARD);
    lw_replica_figures figures = {0};
    if (root != NULL && lw_replica_leads(root)) {
        lw_replica_figures_get(root, &figures);
    }
    return figures.term;
}

bool gc_decides(const lw_gc *gc) {
    return gc->record_term != 0 && gc->record_term == gc_root_term(gc);
}

LW_YIELDS static lw_status read_record(lw_gc *gc, lw_buffer *record) {
    lw_replica *root = lw_shards_find(gc->shards, LW_ROOT_SHARD);
    return root == NULL ? LW_UNAVAILABLE : lw_replica_kept(root, "safepoint", record);
}

void gc_take_over(lw_gc *gc) {
    uint64_t term = gc_root_term(gc), recorded = 0;
    if (term == 0 || term == gc->record_term) {
        return;
    }
    lw_buffer record = lw_buffer_in(gc->env->memory);
    lw_status status = read_record(gc, &record);
    if (status == LW_OK) {
        status = lw_pins_take_over(lw_buffer_view(&record), &gc->pins, &recorded);
    }
    lw_buffer_reset(&record);
    if ((status != LW_OK && status != LW_NOT_FOUND) || gc_root_term(gc) != term) {
        gc->changed = gc_root_term(gc) != term;
        return;
    }
    LW_MARK(gc->env, "gc.record_taken_over");
    gc->record_term = term;
    gc->durable = recorded;
    gc->loaded = gc->loaded < recorded ? recorded : gc->loaded;
    gc->forgotten = gc->wanted = 0;
    gc->settle_pause_ms = GC_SETTLE_PAUSE_MS;
}

void lw_gc_roles_changed(lw_gc *gc) {
    if (gc != NULL) {
        gc->changed = true;
        lw_queue_wake_all(&gc->work);
        lw_queue_wake_all(&gc->pinned);
    }
}

void lw_gc_wanted(lw_gc *gc, uint64_t safepoint) {
    if (safepoint > gc->pins.safepoint && safepoint > gc->wanted) {
        gc->wanted = safepoint;
        gc->changed = true;
        lw_queue_wake_all(&gc->work);
    }
}

void lw_gc_all_settled(lw_gc *gc, uint64_t safepoint) {
    if (gc != NULL && gc->collected < safepoint) {
        gc->collected = safepoint;
        lw_pins_raise(&gc->pins, safepoint);
        gc->changed = true;
        lw_queue_wake_all(&gc->work);
    }
}

/* ---- a round -------------------------------------------------------------------------------- */

bool gc_round_open(const lw_gc *gc) {
    return gc_decides(gc) && gc->forgotten < gc->durable;
}

static bool is_due(const lw_gc *gc, uint64_t target) {
    bool wanted = gc->wanted > gc->pins.safepoint && gc->wanted <= target;
    return target > gc->pins.safepoint && (wanted || gc_worth_moving(gc, target));
}

/* How far all let it go; what this node has pinned while they were asked counts as well (C1). */
LW_YIELDS static bool ask_all(lw_gc *gc, uint64_t *target) {
    lw_collect_reply all;
    if (!gc_walk(gc, LW_COLLECT_ASK, *target, &all)) {
        return false;
    }
    uint64_t reach = gc_target(gc);
    *target = all.lowest < reach ? all.lowest : reach;
    return *target > gc->pins.safepoint;
}

LW_YIELDS static void decide(lw_gc *gc) {
    uint64_t target = gc_target(gc);
    bool move = !gc_round_open(gc) && is_due(gc, target);
    if (move && lw_timestamps_last(gc->timestamps) < target) {
        move = gc_catch_up(gc, &target);
    }
    if (move && ask_all(gc, &target) && gc_decides(gc)) {
        LW_MARK(gc->env, "gc.decided_among_others");
        lw_pins_raise(&gc->pins, target);
        gc->settle_pause_ms = GC_SETTLE_PAUSE_MS;
    }
    if (gc->durable < gc->pins.safepoint || gc->pin_changes > gc->pin_changes_durable) {
        (void)gc_write_record(gc);
    }
}

LW_YIELDS static void finish(lw_gc *gc) {
    uint64_t safepoint = gc->durable;
    lw_collect_reply all;
    bool settled = gc_walk(gc, LW_COLLECT_SETTLE, safepoint, &all) && all.settled;
    if (!settled && !LW_BUG(gc->env, "gc.collects_before_all_settled")) {
        LW_MARK(gc->env, "gc.not_settled_everywhere");
        return;
    }
    if (gc_walk(gc, LW_COLLECT_FORGET, safepoint, &all)) {
        LW_MARK(gc->env, "gc.collected_among_others");
        gc->forgotten = safepoint;
    }
}

/* ---- telling who decides -------------------------------------------------------------------- */

LW_YIELDS static void tell(lw_gc *gc) {
    uint64_t next = gc_next_garbage(gc);
    uint64_t due_ms = next == UINT64_MAX ? next : lw_timestamp_ms(next) + gc->options.retention_ms;
    if (lw_timestamp_ms(gc_now(gc)) <= due_ms) {
        return;
    }
    lw_arena arena = lw_arena_in(gc->env->memory);
    lw_collect_request request = {.step = LW_COLLECT_WANTED, .safepoint = next};
    lw_collect_reply answer;
    LW_MARK(gc->env, "gc.wanted");
    (void)!gc_ask(gc, &request, &arena, &answer);
    lw_arena_reset(&arena);
}

void gc_among_others(lw_gc *gc) {
    if (!gc_decides(gc)) {
        gc->pin_asked = false; /* who waits for that is sent elsewhere */
        lw_queue_wake_all(&gc->pinned);
        tell(gc);
        return;
    }
    decide(gc);
    if (gc_round_open(gc) && !gc->stopping) {
        finish(gc);
    }
}
