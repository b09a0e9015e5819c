/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/lock_table_inner.h"

#include "base/hash.h"

typedef lw_pessimistic_lock lock;
typedef lw_lock_session session;
typedef lw_lock_holder holder;

enum {
    TABLE_SHARE = 8,         /* that locks may have, of the budget */
    CHARGE_STEP = 64 * 1024, /* so that the budget is not asked for each of them */
};

lw_lock_table *lw_lock_table_open(lw_env *env, lw_budget *budget) {
    lw_lock_table *table = lw_allocate_zero(env->memory, sizeof(*table));
    table->env = env;
    table->memory = env->memory;
    table->locks = lw_map_in(env->memory);
    table->holders = lw_map_in(env->memory);
    table->sessions = lw_map_in(env->memory);
    table->share = lw_budget_share_in(budget, LW_BUDGET_BUFFERS);
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

static session *find_session(const lw_lock_table *table, uint64_t id) {
    lw_map_node *node = lw_map_first(&table->sessions, lw_mix(id));
    while (node != NULL && LW_MAP_ENTRY(node, session, node)->id != id) {
        node = lw_map_next(node);
    }
    return node == NULL ? NULL : LW_MAP_ENTRY(node, session, node);
}

static void enter_session(lw_lock_table *table, holder *one, uint64_t id) {
    session *of = find_session(table, id);
    if (of == NULL) {
        of = lw_allocate_zero(table->memory, sizeof(*of));
        of->id = id;
        lw_map_insert(&table->sessions, &of->node, lw_mix(id));
    }
    one->session = of;
    one->session_previous = NULL;
    one->session_next = of->first;
    if (of->first != NULL) {
        of->first->session_previous = one;
    }
    of->first = one;
}

static void leave_session(lw_lock_table *table, holder *one) {
    session *of = one->session;
    *(one->session_previous == NULL ? &of->first : &one->session_previous->session_next) =
        one->session_next;
    if (one->session_next != NULL) {
        one->session_next->session_previous = one->session_previous;
    }
    if (of->first == NULL) {
        lw_map_remove(&table->sessions, &of->node);
        lw_free(table->memory, of);
    }
}

static holder *enter_holder(lw_lock_table *table, uint64_t start, uint64_t session_id) {
    holder *found = find_holder(table, start);
    if (found == NULL) {
        found = lw_allocate_zero(table->memory, sizeof(*found));
        found->start = start;
        found->previous = table->last;
        *(table->last == NULL ? &table->first : &table->last->next) = found;
        table->last = found;
        lw_map_insert(&table->holders, &found->node, lw_mix(start));
        enter_session(table, found, session_id);
    } else if (found->session->id != session_id) { /* the client has come back under another */
        leave_session(table, found);
        enter_session(table, found, session_id);
    }
    return found;
}

static void leave_holder(lw_lock_table *table, holder *one) {
    if (one->first_lock != NULL || one->waiters != NULL || one->watchers != NULL) {
        return;
    }
    *(one->previous == NULL ? &table->first : &one->previous->next) = one->next;
    *(one->next == NULL ? &table->last : &one->next->previous) = one->previous;
    lw_map_remove(&table->holders, &one->node);
    leave_session(table, one);
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

/* Among its owner's: in front if somebody waits for it, else at the end, so that a walk finds the
 * few that matter without passing all the others. */
static void link_lock(lock *one) {
    holder *owner = one->owner;
    one->previous = one->first == NULL ? owner->last_lock : NULL;
    one->next = one->first == NULL ? NULL : owner->first_lock;
    *(one->previous == NULL ? &owner->first_lock : &one->previous->next) = one;
    *(one->next == NULL ? &owner->last_lock : &one->next->previous) = one;
}

static void unlink_lock(lock *one) {
    holder *owner = one->owner;
    *(one->previous == NULL ? &owner->first_lock : &one->previous->next) = one->next;
    *(one->next == NULL ? &owner->last_lock : &one->next->previous) = one->previous;
}

static void own(lw_lock_table *table, lock *one, holder *owner, bool kept) {
    one->owner = owner;
    one->kept = kept;
    one->since_ns = lw_env_now(table->env);
    link_lock(one);
}

static void charge(lw_lock_table *table, size_t bytes) {
    size_t charged = (bytes + CHARGE_STEP - 1) / CHARGE_STEP * CHARGE_STEP;
    table->bytes = bytes;
    if (charged != table->share.size) {
        lw_budget_share_set(&table->share, charged);
    }
}

static size_t size_of_lock(lw_bytes key) {
    return sizeof(lock) + key.size + LW_BUDGET_ALLOCATION;
}

static void make_lock(lw_lock_table *table, lw_bytes key, holder *owner, bool kept) {
    lock *made = lw_allocate_zero(table->memory, sizeof(*made) + key.size);
    memcpy(made + 1, key.data, key.size);
    made->key = lw_view(made + 1, key.size);
    own(table, made, owner, kept);
    lw_map_insert(&table->locks, &made->node, lw_hash(0, key));
    charge(table, table->bytes + size_of_lock(key));
}

/* ---- waiters -------------------------------------------------------------------------------- */

/* Among those of its transaction. */
static void link_waiter(lw_lock_table *table, holder *by, lw_lock_waiter *waiter) {
    waiter->holder = by;
    waiter->number = ++table->number;
    waiter->since_ns = lw_env_now(table->env);
    waiter->holder_previous = NULL;
    waiter->holder_next = by->waiters;
    if (by->waiters != NULL) {
        by->waiters->holder_previous = waiter;
    }
    by->waiters = waiter;
    table->waiter_count++;
}

static void unlink_waiter(lw_lock_table *table, lw_lock_waiter *waiter) {
    *(waiter->holder_previous == NULL ? &waiter->holder->waiters
                                      : &waiter->holder_previous->holder_next) =
        waiter->holder_next;
    if (waiter->holder_next != NULL) {
        waiter->holder_next->holder_previous = waiter->holder_previous;
    }
    LW_ASSERT(table->waiter_count > 0);
    table->waiter_count--;
}

static void watch(lw_lock_table *table, holder *watched, holder *by, lw_lock_waiter *waiter) {
    waiter->watched = watched;
    waiter->previous = NULL;
    waiter->next = watched->watchers;
    if (watched->watchers != NULL) {
        watched->watchers->previous = waiter;
    }
    watched->watchers = waiter;
    link_waiter(table, by, waiter);
    table->watcher_count++;
}

/* Whom it watched may have been there for nothing else. */
static void unwatch(lw_lock_table *table, lw_lock_waiter *waiter) {
    holder *watched = waiter->watched;
    *(waiter->previous == NULL ? &watched->watchers : &waiter->previous->next) = waiter->next;
    if (waiter->next != NULL) {
        waiter->next->previous = waiter->previous;
    }
    waiter->watched = NULL;
    unlink_waiter(table, waiter);
    LW_ASSERT(table->watcher_count > 0);
    table->watcher_count--;
    leave_holder(table, watched);
}

static void enqueue(lw_lock_table *table, lock *one, holder *by, lw_lock_waiter *waiter) {
    bool first = one->first == NULL;
    waiter->lock = one;
    waiter->next = NULL;
    waiter->previous = one->last;
    *(one->last == NULL ? &one->first : &one->last->next) = waiter;
    one->last = waiter;
    link_waiter(table, by, waiter);
    one->waiter_count++;
    if (first) {
        unlink_lock(one);
        link_lock(one);
    }
}

static void dequeue(lw_lock_table *table, lw_lock_waiter *waiter) {
    if (waiter->watched != NULL) {
        unwatch(table, waiter);
        return;
    }
    lock *one = waiter->lock;
    *(waiter->previous == NULL ? &one->first : &waiter->previous->next) = waiter->next;
    *(waiter->next == NULL ? &one->last : &waiter->next->previous) = waiter->previous;
    unlink_waiter(table, waiter);
    waiter->lock = NULL;
    LW_ASSERT(one->waiter_count > 0);
    one->waiter_count--;
    if (one->first == NULL) {
        unlink_lock(one);
        link_lock(one);
    }
}

static void cut(lw_lock_table *table, holder *one) {
    while (one->waiters != NULL) {
        lw_lock_waiter *waiter = one->waiters;
        dequeue(table, waiter);
        waiter->cut = true;
        lw_queue_wake_all(&waiter->changed);
    }
}

/* Takes the key from its owner and gives it to whoever asked next, all of whose requests for it are
 * then answered. */
static void pass_on(lw_lock_table *table, lock *one) {
    holder *before = one->owner;
    unlink_lock(one);
    leave_holder(table, before);
    if (one->first == NULL) {
        lw_map_remove(&table->locks, &one->node);
        charge(table, table->bytes - size_of_lock(one->key));
        lw_free(table->memory, one);
        return;
    }
    own(table, one, one->first->holder, false);
    for (lw_lock_waiter *waiter = one->owner->waiters, *next; waiter != NULL; waiter = next) {
        next = waiter->holder_next;
        if (waiter->lock == one) {
            one->kept = one->kept || waiter->kept;
            dequeue(table, waiter);
            waiter->held = waiter->fresh = true;
            lw_queue_wake_all(&waiter->changed);
        }
    }
}

/* ---- who is over ---------------------------------------------------------------------------- */

static bool is_over(const lw_lock_table *table, uint64_t start) {
    bool over = false;
    for (uint32_t index = 0; index < LW_LOCK_OVER_MAX; index++) {
        over |= table->over[index] == start;
    }
    return over;
}

/* ---- the interface -------------------------------------------------------------------------- */

lw_lock_answer lw_lock_table_request(lw_lock_table *table, lw_lock_waiter *waiter,
                                     lw_lock_cycle *cycle) {
    LW_ASSERT(waiter->lock == NULL);
    LW_ASSERT(!waiter->held && !waiter->cut);
    if (is_over(table, waiter->start)) {
        LW_MARK(table->env, "locks.asked_for_by_who_is_over");
        waiter->cut = true;
        return LW_LOCK_QUEUED;
    }
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
    if (lw_lock_cycle_closed(table, waiter, cycle)) {
        dequeue(table, waiter);
        leave_holder(table, by);
        return LW_LOCK_DEADLOCK;
    }
    return LW_LOCK_QUEUED;
}

lw_lock_answer lw_lock_table_watch(lw_lock_table *table, lw_lock_waiter *waiter, uint64_t other,
                                   uint64_t other_session, lw_lock_cycle *cycle) {
    LW_ASSERT(waiter->lock == NULL && waiter->watched == NULL);
    LW_ASSERT(!waiter->held && !waiter->cut);
    LW_ASSERT(waiter->start != other);
    holder *by = enter_holder(table, waiter->start, waiter->session);
    holder *watched = find_holder(table, other);
    watched = watched == NULL ? enter_holder(table, other, other_session) : watched;
    watch(table, watched, by, waiter);
    if (lw_lock_cycle_closed(table, waiter, cycle)) {
        unwatch(table, waiter);
        leave_holder(table, by);
        return LW_LOCK_DEADLOCK;
    }
    return LW_LOCK_QUEUED;
}

/* Tells those that watch a transaction, for one key or (NULL) for any. */
static void tell_watchers(lw_lock_table *table, holder *watched, const lw_bytes *key) {
    for (lw_lock_waiter *waiter = watched->watchers, *next; waiter != NULL; waiter = next) {
        next = waiter->next;
        if (key != NULL && !lw_equal(waiter->key, *key)) {
            continue;
        }
        holder *by = waiter->holder;
        bool last = watched->watchers == waiter && next == NULL;
        unwatch(table, waiter); /* the last one may take `watched` with it */
        leave_holder(table, by);
        waiter->held = true;
        lw_queue_wake_all(&waiter->changed);
        if (last) {
            return;
        }
    }
}

void lw_lock_table_unlocked(lw_lock_table *table, uint64_t start, lw_bytes key) {
    holder *watched = table->watcher_count == 0 ? NULL : find_holder(table, start);
    if (watched != NULL) {
        tell_watchers(table, watched, &key);
    }
}

static void add_edge(const holder *by, const lw_lock_waiter *waiter, uint64_t holder_start,
                     lw_lock_edge *edges, uint32_t *count) {
    if (holder_start != by->start) {
        edges[(*count)++] = (lw_lock_edge){.waiter = by->start,
                                           .session = by->session->id,
                                           .holder = holder_start,
                                           .key = waiter->key};
    }
}

uint32_t lw_lock_table_edges(const lw_lock_table *table, uint64_t before_ns, uint32_t limit,
                             lw_lock_edge *edges) {
    uint32_t count = 0;
    for (const holder *by = table->first; by != NULL && table->waiter_count > 0; by = by->next) {
        for (const lw_lock_waiter *waiter = by->waiters; waiter != NULL && count + 2 <= limit;
             waiter = waiter->holder_next) {
            if (waiter->since_ns >= before_ns) {
                continue;
            }
            if (waiter->watched != NULL) {
                add_edge(by, waiter, waiter->watched->start, edges, &count);
                continue;
            }
            add_edge(by, waiter, waiter->lock->owner->start, edges, &count);
            if (waiter->previous != NULL) {
                add_edge(by, waiter, waiter->previous->holder->start, edges, &count);
            }
        }
    }
    return count;
}

void lw_lock_table_refuse(lw_lock_table *table, uint64_t start, lw_bytes why) {
    holder *refused = find_holder(table, start);
    while (refused != NULL && refused->waiters != NULL) {
        lw_lock_waiter *waiter = refused->waiters;
        dequeue(table, waiter);
        waiter->refused = true;
        waiter->why = lw_buffer_in(table->memory);
        lw_buffer_append(&waiter->why, why);
        lw_queue_wake_all(&waiter->changed);
    }
    if (refused != NULL) {
        leave_holder(table, refused);
    }
}

void lw_lock_table_cancel(lw_lock_table *table, lw_lock_waiter *waiter) {
    if (waiter->lock != NULL || waiter->watched != NULL) {
        dequeue(table, waiter);
        leave_holder(table, waiter->holder);
    }
}

bool lw_lock_table_foreign(const lw_lock_table *table, uint64_t start, lw_bytes key,
                           uint64_t *owner, uint64_t *session_id) {
    const lock *found = find_lock(table, key);
    if (found == NULL || found->owner->start == start) {
        return false;
    }
    if (owner != NULL) {
        *owner = found->owner->start;
    }
    if (session_id != NULL) {
        *session_id = found->owner->session->id;
    }
    return true;
}

void lw_lock_table_release(lw_lock_table *table, uint64_t start, lw_bytes key, bool passing) {
    lock *found = find_lock(table, key);
    if (found != NULL && found->owner->start == start && !(passing && found->kept)) {
        pass_on(table, found);
    }
}

void lw_lock_table_hand_over(lw_lock_table *table, uint64_t start, lw_bytes key) {
    lock *found = find_lock(table, key);
    if (found != NULL && found->owner->start == start && found->first == NULL) {
        pass_on(table, found);
    }
}

/* Passing the last lock on frees the holder unless it waits, or is watched. */
static void release_locks(lw_lock_table *table, holder *one) {
    for (lock *held = one->first_lock, *next; held != NULL; held = next) {
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

/* Frees what it has, and it; nothing waits in its name. */
static void end_holder(lw_lock_table *table, holder *one) {
    LW_ASSERT(one->waiters == NULL);
    bool holds = one->first_lock != NULL;
    if (one->watchers != NULL) {
        tell_watchers(table, one, NULL);
    } else if (!holds) {
        leave_holder(table, one);
    }
    if (holds) {
        release_locks(table, one);
    }
}

static bool keeps_any(const holder *one) {
    const lock *held = one->first_lock;
    while (held != NULL && !held->kept) {
        held = held->next;
    }
    const lw_lock_waiter *waiter = one->waiters;
    while (waiter != NULL && !waiter->kept) {
        waiter = waiter->holder_next;
    }
    return held != NULL || waiter != NULL;
}

bool lw_lock_table_end(lw_lock_table *table, uint64_t start) {
    holder *found = find_holder(table, start);
    if (found == NULL) {
        return false;
    }
    bool kept = keeps_any(found);
    cut(table, found);
    end_holder(table, found);
    return kept;
}

void lw_lock_table_over(lw_lock_table *table, uint64_t start) {
    (void)lw_lock_table_end(table, start);
    table->over[table->over_next] = start;
    table->over_next = (table->over_next + 1) % LW_LOCK_OVER_MAX;
}

bool lw_lock_table_session_holds(const lw_lock_table *table, uint64_t session_id) {
    return find_session(table, session_id) != NULL;
}

/* Waiters first, so that nothing is passed on to them. */
void lw_lock_table_session_ended(lw_lock_table *table, uint64_t session_id) {
    session *ended = find_session(table, session_id);
    for (holder *one = ended == NULL ? NULL : ended->first; one != NULL; one = one->session_next) {
        cut(table, one);
    }
    while ((ended = find_session(table, session_id)) != NULL) {
        end_holder(table, ended->first);
    }
}

void lw_lock_table_clear(lw_lock_table *table) {
    for (holder *one = table->first; one != NULL; one = one->next) {
        cut(table, one);
    }
    while (table->first != NULL) {
        end_holder(table, table->first);
    }
}

/* Nobody waits for it any more, and nobody has it. */
static void end_lock(lw_lock_table *table, lock *one) {
    while (one->first != NULL) {
        lw_lock_waiter *waiter = one->first;
        holder *by = waiter->holder;
        dequeue(table, waiter);
        waiter->cut = true;
        lw_queue_wake_all(&waiter->changed);
        leave_holder(table, by);
    }
    pass_on(table, one);
}

void lw_lock_table_clear_range(lw_lock_table *table, lw_bytes lower, lw_bytes upper) {
    for (uint32_t index = 0; index < table->locks.bucket_count; index++) {
        for (lw_map_node *node = table->locks.buckets[index], *next; node != NULL; node = next) {
            lock *one = LW_MAP_ENTRY(node, lock, node);
            next = node->next;
            if (lw_compare(one->key, lower) >= 0 &&
                (upper.size == 0 || lw_compare(one->key, upper) < 0)) {
                end_lock(table, one);
            }
        }
    }
}

/* ---- looking -------------------------------------------------------------------------------- */

static lw_lock_view view_of(const lock *one) {
    return (lw_lock_view){.key = one->key,
                          .start = one->owner->start,
                          .session = one->owner->session->id,
                          .since_ns = one->since_ns,
                          .waiting = one->waiter_count,
                          .first = one->first};
}

bool lw_lock_table_look(const lw_lock_table *table, lw_bytes key, lw_lock_view *view) {
    const lock *found = find_lock(table, key);
    if (found != NULL) {
        *view = view_of(found);
    }
    return found != NULL;
}

uint32_t lw_lock_table_watchers(const lw_lock_table *table, uint64_t start, lw_bytes key,
                                uint32_t limit, const lw_lock_waiter **watchers) {
    const holder *watched = table->watcher_count == 0 ? NULL : find_holder(table, start);
    const lw_lock_waiter *last = watched == NULL ? NULL : watched->watchers;
    uint32_t count = 0;
    while (last != NULL && last->next != NULL) {
        last = last->next;
    }
    for (; last != NULL; last = last->previous) { /* the newest is in front */
        if (lw_equal(last->key, key)) {
            if (count < limit) {
                watchers[count] = last;
            }
            count++;
        }
    }
    return count;
}

/* Lets the view at `place` sink to where it belongs in a heap with the last key on top. */
static void sink(lw_lock_view *heap, uint32_t count, uint32_t place) {
    lw_lock_view sinking = heap[place];
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child + 1 < count && lw_compare(heap[child + 1].key, heap[child].key) > 0) {
            child++;
        }
        if (child >= count || lw_compare(heap[child].key, sinking.key) <= 0) {
            break;
        }
        heap[place] = heap[child];
        place = child;
    }
    heap[place] = sinking;
}

/* Adds to the heap; when that is full, in place of the last key if this one is before it. */
static void keep_first(lw_lock_view *heap, uint32_t limit, uint32_t *count, const lock *one) {
    if (*count < limit) {
        uint32_t place = (*count)++;
        for (; place > 0 && lw_compare(heap[(place - 1) / 2].key, one->key) < 0;
             place = (place - 1) / 2) {
            heap[place] = heap[(place - 1) / 2];
        }
        heap[place] = view_of(one);
    } else if (lw_compare(one->key, heap[0].key) < 0) {
        heap[0] = view_of(one);
        sink(heap, limit, 0);
    }
}

uint32_t lw_lock_table_page(const lw_lock_table *table, lw_bytes lower, lw_bytes upper,
                            uint32_t limit, lw_lock_view *views) {
    LW_ASSERT(limit > 0);
    uint32_t count = 0;
    for (const holder *each = table->first; each != NULL; each = each->next) {
        for (const lock *one = each->first_lock; one != NULL; one = one->next) {
            if (lw_compare(one->key, lower) >= 0 &&
                (upper.size == 0 || lw_compare(one->key, upper) < 0)) {
                keep_first(views, limit, &count, one);
            }
        }
    }
    for (uint32_t left = count; left > 1; left--) {
        lw_lock_view last = views[0];
        views[0] = views[left - 1];
        views[left - 1] = last;
        sink(views, left - 1, 0);
    }
    return count;
}

uint32_t lw_lock_table_count(const lw_lock_table *table) {
    return table->locks.count;
}

bool lw_lock_table_full(const lw_lock_table *table) {
    const lw_budget *budget = table->share.budget;
    return budget != NULL && table->bytes >= budget->limit / TABLE_SHARE;
}

uint32_t lw_lock_table_waiting(const lw_lock_table *table) {
    return table->waiter_count;
}

void lw_lock_table_close(lw_lock_table *table) {
    LW_ASSERT(table->waiter_count == 0);
    lw_lock_table_clear(table);
    LW_ASSERT(table->locks.count == 0);
    LW_ASSERT(table->bytes == 0 && table->share.size == 0);
    LW_ASSERT(table->holders.count == 0);
    lw_map_reset(&table->locks);
    LW_ASSERT(table->sessions.count == 0);
    lw_map_reset(&table->holders);
    lw_map_reset(&table->sessions);
    lw_free(table->memory, table);
}

/* Returns how many wait. */
static uint32_t check_lock(const lock *held, const holder *owner) {
    uint32_t waiter_count = 0;
    LW_ASSERT(held->owner == owner);
    LW_ASSERT(held->first == NULL || held->previous == NULL || held->previous->first != NULL);
    for (const lw_lock_waiter *waiter = held->first; waiter != NULL; waiter = waiter->next) {
        waiter_count++;
        LW_ASSERT(waiter->lock == held);
        LW_ASSERT(waiter->holder != owner);
        LW_ASSERT(waiter->next == NULL || waiter->next->number > waiter->number);
    }
    LW_ASSERT(waiter_count == held->waiter_count);
    return waiter_count;
}

void lw_lock_table_check(const lw_lock_table *table) {
    uint32_t lock_count = 0, holder_count = 0, waiter_count = 0, watcher_count = 0;
    for (const holder *one = table->first; one != NULL; one = one->next) {
        holder_count++;
        LW_ASSERT(one->first_lock != NULL || one->waiters != NULL || one->watchers != NULL);
        for (const lw_lock_waiter *watcher = one->watchers; watcher != NULL;
             watcher = watcher->next) {
            watcher_count++;
            LW_ASSERT(watcher->watched == one);
            LW_ASSERT(watcher->holder != one);
        }
        for (const lock *held = one->first_lock; held != NULL; held = held->next) {
            lock_count++;
            waiter_count += check_lock(held, one);
            LW_ASSERT(held->next != NULL || one->last_lock == held);
        }
    }
    LW_ASSERT(lock_count == table->locks.count);
    LW_ASSERT(holder_count == table->holders.count);
    LW_ASSERT(holder_count >= table->sessions.count);
    LW_ASSERT(watcher_count == table->watcher_count);
    LW_ASSERT(waiter_count + watcher_count == table->waiter_count);
}
