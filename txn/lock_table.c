/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/lock_table.h"

#include "base/hash.h"
#include "base/logline.h"
#include "base/map.h"

typedef struct lw_pessimistic_lock {
    lw_map_node node; /* by key */
    lw_bytes key;     /* behind the struct */
    struct lw_lock_holder *owner;
    struct lw_pessimistic_lock *previous, *next; /* of the same owner */
    lw_lock_waiter *first, *last;                /* the queue */
    uint64_t walk, walk_number; /* the walk that expanded the queue, below this waiter's number */
    bool kept;
} lock;

/* A transaction that has a lock or waits for one. */
typedef struct lw_lock_holder {
    lw_map_node node; /* by start */
    uint64_t start, session;
    struct lw_lock_holder *previous, *next; /* in the order they came */
    lock *locks;
    lw_lock_waiter *waiters;
    uint64_t walk;              /* the walk that met it */
    const lw_lock_waiter *from; /* ... as somebody whom this one waits for */
    struct lw_lock_holder *walk_next;
} holder;

struct lw_lock_table {
    lw_memory *memory;
    lw_map locks, holders;
    holder *first, *last;
    uint32_t waiter_count;
    uint64_t number, walk; /* last given */
};

lw_lock_table *lw_lock_table_open(lw_memory *memory) {
    lw_lock_table *table = lw_allocate_zero(memory, sizeof(*table));
    table->memory = memory;
    table->locks = lw_map_in(memory);
    table->holders = lw_map_in(memory);
    return table;
}

/* ---- holders -------------------------------------------------------------------------------- */

static holder *find_holder(const lw_lock_table *table, uint64_t start) {
    lw_map_node *node = lw_map_first(&table->holders, lw_mix(start));
    while (node != NULL && LW_MAP_ENTRY(node, holder, node)->start != start) {
        node = lw_map_next(node);
    }
    return node == NULL ? NULL : LW_MAP_ENTRY(node, holder, node);
}

static holder *enter_holder(lw_lock_table *table, uint64_t start, uint64_t session) {
    holder *found = find_holder(table, start);
    if (found == NULL) {
        found = lw_allocate_zero(table->memory, sizeof(*found));
        found->start = start;
        found->previous = table->last;
        *(table->last == NULL ? &table->first : &table->last->next) = found;
        table->last = found;
        lw_map_insert(&table->holders, &found->node, lw_mix(start));
    }
    found->session = session; /* a client may have come back under another */
    return found;
}

static void leave_holder(lw_lock_table *table, holder *one) {
    if (one->locks != NULL || one->waiters != NULL) {
        return;
    }
    *(one->previous == NULL ? &table->first : &one->previous->next) = one->next;
    *(one->next == NULL ? &table->last : &one->next->previous) = one->previous;
    lw_map_remove(&table->holders, &one->node);
    lw_free(table->memory, one);
}

/* ---- locks ---------------------------------------------------------------------------------- */

static lock *find_lock(const lw_lock_table *table, lw_bytes key) {
    if (table->locks.count == 0) {
        return NULL;
    }
    lw_map_node *node = lw_map_first(&table->locks, lw_hash(0, key));
    while (node != NULL && !lw_equal(LW_MAP_ENTRY(node, lock, node)->key, key)) {
        node = lw_map_next(node);
    }
    return node == NULL ? NULL : LW_MAP_ENTRY(node, lock, node);
}

static void own(lock *one, holder *owner, bool kept) {
    one->owner = owner;
    one->kept = kept;
    one->previous = NULL;
    one->next = owner->locks;
    if (one->next != NULL) {
        one->next->previous = one;
    }
    owner->locks = one;
}

static void disown(lock *one) {
    *(one->previous == NULL ? &one->owner->locks : &one->previous->next) = one->next;
    if (one->next != NULL) {
        one->next->previous = one->previous;
    }
    one->owner = NULL;
}

static void make_lock(lw_lock_table *table, lw_bytes key, holder *owner, bool kept) {
    lock *made = lw_allocate_zero(table->memory, sizeof(*made) + key.size);
    memcpy(made + 1, key.data, key.size);
    made->key = lw_view(made + 1, key.size);
    own(made, owner, kept);
    lw_map_insert(&table->locks, &made->node, lw_hash(0, key));
}

/* ---- waiters -------------------------------------------------------------------------------- */

static void enqueue(lw_lock_table *table, lock *one, holder *by, lw_lock_waiter *waiter) {
    waiter->lock = one;
    waiter->holder = by;
    waiter->number = ++table->number;
    waiter->next = waiter->holder_previous = NULL;
    waiter->previous = one->last;
    *(one->last == NULL ? &one->first : &one->last->next) = waiter;
    one->last = waiter;
    waiter->holder_next = by->waiters;
    if (by->waiters != NULL) {
        by->waiters->holder_previous = waiter;
    }
    by->waiters = waiter;
    table->waiter_count++;
}

static void dequeue(lw_lock_table *table, lw_lock_waiter *waiter) {
    lock *one = waiter->lock;
    *(waiter->previous == NULL ? &one->first : &waiter->previous->next) = waiter->next;
    *(waiter->next == NULL ? &one->last : &waiter->next->previous) = waiter->previous;
    *(waiter->holder_previous == NULL ? &waiter->holder->waiters
                                      : &waiter->holder_previous->holder_next) =
        waiter->holder_next;
    if (waiter->holder_next != NULL) {
        waiter->holder_next->holder_previous = waiter->holder_previous;
    }
    waiter->lock = NULL;
    LW_ASSERT(table->waiter_count > 0);
    table->waiter_count--;
}

static void grant(lw_lock_table *table, lw_lock_waiter *waiter) {
    dequeue(table, waiter);
    waiter->held = waiter->fresh = true;
    lw_queue_wake_all(&waiter->changed);
}

/* Takes the key from its owner and gives it to whoever asked next, all of whose requests for it are
 * then answered. */
static void pass_on(lw_lock_table *table, lock *one) {
    holder *before = one->owner;
    disown(one);
    leave_holder(table, before);
    lw_lock_waiter *heir = one->first;
    if (heir == NULL) {
        lw_map_remove(&table->locks, &one->node);
        lw_free(table->memory, one);
        return;
    }
    own(one, heir->holder, false);
    for (lw_lock_waiter *waiter = heir, *next; waiter != NULL; waiter = next) {
        next = waiter->next;
        if (waiter->holder == one->owner) {
            one->kept = one->kept || waiter->kept;
            grant(table, waiter);
        }
    }
}

/* ---- deadlock ------------------------------------------------------------------------------- */

/* The transactions still to be looked at. */
typedef struct walk_list {
    holder *first, *last;
} walk_list;

static void meet(const lw_lock_table *table, walk_list *list, holder *met,
                 const lw_lock_waiter *from) {
    if (met->walk == table->walk) {
        return;
    }
    met->walk = table->walk;
    met->from = from;
    met->walk_next = NULL;
    *(list->last == NULL ? &list->first : &list->last->walk_next) = met;
    list->last = met;
}

/* Meets everybody whom `waiter` waits for: the owner, and who asked before. */
static void meet_those_before(const lw_lock_table *table, walk_list *list,
                              const lw_lock_waiter *waiter) {
    lock *one = waiter->lock;
    if (one->walk == table->walk && one->walk_number >= waiter->number) {
        return; /* all of them were met */
    }
    one->walk = table->walk;
    one->walk_number = waiter->number;
    meet(table, list, one->owner, waiter);
    for (lw_lock_waiter *ahead = one->first; ahead != waiter; ahead = ahead->next) {
        if (ahead->holder != waiter->holder) {
            meet(table, list, ahead->holder, waiter);
        }
    }
}

/* Whether `waiter`, already in its queue, waits for itself in the end. If so its holder's `from`
 * begins the way back. */
static bool closes_cycle(lw_lock_table *table, const lw_lock_waiter *waiter) {
    walk_list list = {0};
    table->walk++;
    meet_those_before(table, &list, waiter);
    for (holder *met = list.first; met != NULL; met = met->walk_next) {
        if (met == waiter->holder) {
            return true;
        }
        for (lw_lock_waiter *wait = met->waiters; wait != NULL; wait = wait->holder_next) {
            meet_those_before(table, &list, wait);
        }
    }
    return false;
}

enum { CYCLE_NAMED_MAX = 8 };

static void describe_cycle(const lw_lock_waiter *waiter, uint64_t *other, lw_buffer *cycle) {
    const lw_lock_waiter *steps[CYCLE_NAMED_MAX];
    size_t step_count = 0;
    const lw_lock_waiter *step = waiter->holder->from;
    *other = waiter->holder->start;
    for (;; step = step->holder->from) {
        steps[step_count++ % CYCLE_NAMED_MAX] = step;
        if (step->holder == waiter->holder) {
            break;
        }
        *other = step->holder->start;
    }
    size_t named = step_count < CYCLE_NAMED_MAX ? step_count : CYCLE_NAMED_MAX;
    for (size_t index = 0; index < named; index++) {
        const lw_lock_waiter *at = steps[(step_count - 1 - index) % CYCLE_NAMED_MAX];
        char key[LW_PRINTABLE_SIZE];
        lw_buffer_print(cycle, "%s%llu waits for key \"%s\"", index == 0 ? "" : ", ",
                        (unsigned long long)at->holder->start,
                        lw_printable(at->key, key, sizeof(key)));
    }
    if (named < step_count) {
        lw_buffer_print(cycle, ", and %zu more", step_count - named);
    }
}

/* ---- the interface -------------------------------------------------------------------------- */

lw_lock_answer lw_lock_table_request(lw_lock_table *table, lw_lock_waiter *waiter, uint64_t *other,
                                     lw_buffer *cycle) {
    LW_ASSERT(waiter->lock == NULL);
    LW_ASSERT(!waiter->held && !waiter->cut);
    holder *by = enter_holder(table, waiter->start, waiter->session);
    lock *one = find_lock(table, waiter->key);
    if (one == NULL) {
        make_lock(table, waiter->key, by, waiter->kept);
        waiter->held = waiter->fresh = true;
        return LW_LOCK_HELD;
    }
    if (one->owner == by) {
        one->kept = one->kept || waiter->kept;
        waiter->held = true;
        return LW_LOCK_HELD;
    }
    enqueue(table, one, by, waiter);
    if (closes_cycle(table, waiter)) {
        describe_cycle(waiter, other, cycle);
        dequeue(table, waiter);
        leave_holder(table, by);
        return LW_LOCK_DEADLOCK;
    }
    return LW_LOCK_QUEUED;
}

void lw_lock_table_cancel(lw_lock_table *table, lw_lock_waiter *waiter) {
    if (waiter->lock != NULL) {
        dequeue(table, waiter);
        leave_holder(table, waiter->holder);
    }
}

bool lw_lock_table_foreign(const lw_lock_table *table, uint64_t start, lw_bytes key,
                           uint64_t *owner, uint64_t *session) {
    const lock *found = find_lock(table, key);
    if (found == NULL || found->owner->start == start) {
        return false;
    }
    if (owner != NULL) {
        *owner = found->owner->start;
    }
    if (session != NULL) {
        *session = found->owner->session;
    }
    return true;
}

void lw_lock_table_release(lw_lock_table *table, uint64_t start, lw_bytes key, bool passing) {
    lock *found = find_lock(table, key);
    if (found != NULL && found->owner->start == start && !(passing && found->kept)) {
        pass_on(table, found);
    }
}

/* Passing the last lock on frees the holder unless it waits. */
static void release_locks(lw_lock_table *table, holder *one) {
    for (lock *held = one->locks, *next; held != NULL; held = next) {
        next = held->next;
        pass_on(table, held);
    }
}

void lw_lock_table_release_all(lw_lock_table *table, uint64_t start) {
    holder *found = find_holder(table, start);
    if (found != NULL) {
        release_locks(table, found);
    }
}

/* Ends what transactions have and want: those of one session, or all. Waiters first, so that
 * nothing is passed on to them. */
static void end_holders(lw_lock_table *table, bool all, uint64_t session) {
    for (holder *one = table->first, *next; one != NULL; one = next) {
        next = one->next;
        if (!all && one->session != session) {
            continue;
        }
        while (one->waiters != NULL) {
            lw_lock_waiter *waiter = one->waiters;
            dequeue(table, waiter);
            waiter->cut = true;
            lw_queue_wake_all(&waiter->changed);
        }
        leave_holder(table, one);
    }
    for (holder *one = table->first, *next; one != NULL; one = next) {
        next = one->next;
        if (all || one->session == session) {
            release_locks(table, one);
        }
    }
}

void lw_lock_table_session_ended(lw_lock_table *table, uint64_t session) {
    end_holders(table, false, session);
}

void lw_lock_table_clear(lw_lock_table *table) {
    end_holders(table, true, 0);
}

uint32_t lw_lock_table_count(const lw_lock_table *table) {
    return table->locks.count;
}

uint32_t lw_lock_table_waiting(const lw_lock_table *table) {
    return table->waiter_count;
}

void lw_lock_table_close(lw_lock_table *table) {
    LW_ASSERT(table->waiter_count == 0);
    lw_lock_table_clear(table);
    LW_ASSERT(table->locks.count == 0);
    LW_ASSERT(table->holders.count == 0);
    lw_map_reset(&table->locks);
    lw_map_reset(&table->holders);
    lw_free(table->memory, table);
}

void lw_lock_table_check(const lw_lock_table *table) {
    uint32_t lock_count = 0, holder_count = 0, waiter_count = 0;
    for (const holder *one = table->first; one != NULL; one = one->next) {
        holder_count++;
        LW_ASSERT(one->locks != NULL || one->waiters != NULL);
        for (const lock *held = one->locks; held != NULL; held = held->next) {
            lock_count++;
            LW_ASSERT(held->owner == one);
            for (const lw_lock_waiter *waiter = held->first; waiter != NULL;
                 waiter = waiter->next) {
                waiter_count++;
                LW_ASSERT(waiter->lock == held);
                LW_ASSERT(waiter->holder != one);
                LW_ASSERT(waiter->next == NULL || waiter->next->number > waiter->number);
            }
        }
    }
    LW_ASSERT(lock_count == table->locks.count);
    LW_ASSERT(holder_count == table->holders.count);
    LW_ASSERT(waiter_count == table->waiter_count);
}
