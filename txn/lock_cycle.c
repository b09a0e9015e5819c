/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlocks: a walk from who asks to all that wait for it, directly or through others. Mostly
 * nobody does: it is the newcomer. Going the other way, to those it would wait for, would pass a
 * whole queue with every request (X4). */
#include "txn/lock_table_inner.h"

typedef lw_pessimistic_lock lock;
typedef lw_lock_holder holder;

/* The transactions still to be looked at. */
typedef struct walk_list {
    holder *first, *last;
} walk_list;

/* Who waits, with `wait`, for `of`. */
static void meet(const lw_lock_table *table, walk_list *list, const lw_lock_waiter *wait,
                 holder *of) {
    holder *met = wait->holder;
    if (met->walk == table->walk) {
        return;
    }
    met->walk = table->walk;
    met->wait = wait;
    met->of = of;
    met->walk_next = NULL;
    *(list->last == NULL ? &list->first : &list->last->walk_next) = met;
    list->last = met;
}

/* Meets those in the queue of `one` from the waiter `from` on, since they wait for `of`. */
static void meet_queue(const lw_lock_table *table, walk_list *list, lock *one,
                       const lw_lock_waiter *from, holder *of) {
    uint64_t walked = one->walk == table->walk ? one->walk_number : UINT64_MAX;
    if (from == NULL || from->number >= walked) {
        return;
    }
    one->walk = table->walk;
    one->walk_number = from->number;
    for (; from != NULL && from->number < walked; from = from->next) {
        meet(table, list, from, of);
    }
}

static void meet_those_behind(const lw_lock_table *table, walk_list *list, holder *of) {
    for (lock *held = of->first_lock; held != NULL && held->first != NULL; held = held->next) {
        meet_queue(table, list, held, held->first, of);
    }
    for (const lw_lock_waiter *wait = of->waiters; wait != NULL; wait = wait->holder_next) {
        if (wait->lock != NULL) {
            meet_queue(table, list, wait->lock, wait->next, of);
        }
    }
    for (const lw_lock_waiter *watcher = of->watchers; watcher != NULL; watcher = watcher->next) {
        meet(table, list, watcher, of);
    }
}

/* Whether the newcomer waits for this transaction. */
static bool stands_before(const holder *met, const lw_lock_waiter *newcomer) {
    const lock *one = newcomer->lock;
    if (one == NULL) {
        return newcomer->watched == met;
    }
    bool before = one->owner == met;
    for (const lw_lock_waiter *wait = met->waiters; wait != NULL && !before;
         wait = wait->holder_next) {
        before = wait->lock == one;
    }
    return before;
}

/* From who asked over who was met, which stands before it, along the way back. */
static void describe(const lw_lock_waiter *waiter, const holder *met, lw_lock_cycle *cycle) {
    *cycle = (lw_lock_cycle){0};
    for (const lw_lock_waiter *step = waiter;; step = met->wait, met = met->of) {
        if (cycle->length++ < LW_LOCK_CYCLE_MAX) {
            cycle->steps[cycle->step_count++] = (lw_lock_step){.start = step->holder->start,
                                                               .session = step->holder->session->id,
                                                               .key = step->key};
        }
        if (met == waiter->holder) {
            break;
        }
    }
}

bool lw_lock_cycle_closed(lw_lock_table *table, const lw_lock_waiter *waiter,
                          lw_lock_cycle *cycle) {
    walk_list list = {0};
    table->walk++;
    waiter->holder->walk = table->walk;
    meet_those_behind(table, &list, waiter->holder);
    for (holder *met = list.first; met != NULL; met = met->walk_next) {
        if (stands_before(met, waiter)) {
            describe(waiter, met, cycle);
            return true;
        }
        meet_those_behind(table, &list, met);
    }
    return false;
}
