/* SPDX-License-Identifier: Apache-2.0 */
/* The account of transactions that have locks in the tree: whose they are, how many locks each has,
 * and when the sweeper is to end those of whom nobody is left. */
#include "node/replica_state.h"

#include "base/hash.h"

enum { LEFTOVER_GRACE_MS = 3000 }; /* for sessions of before the start to come back */
#define NS_PER_MS UINT64_C(1000000)

/* ---- who is there --------------------------------------------------------------------------- */

open_transaction *replica_open_find(const lw_replica *replica, uint64_t start) {
    lw_map_node *node = lw_map_first(&replica->open_by_start, lw_mix(start));
    while (node != NULL && LW_MAP_ENTRY(node, open_transaction, node)->start != start) {
        node = lw_map_next(node);
    }
    return node == NULL ? NULL : LW_MAP_ENTRY(node, open_transaction, node);
}

static open_session *find_session(const lw_replica *replica, uint64_t session) {
    lw_map_node *node = lw_map_first(&replica->open_sessions, lw_mix(session));
    while (node != NULL && LW_MAP_ENTRY(node, open_session, node)->session != session) {
        node = lw_map_next(node);
    }
    return node == NULL ? NULL : LW_MAP_ENTRY(node, open_session, node);
}

static void enter_session(lw_replica *replica, open_transaction *open) {
    open_session *owner = find_session(replica, open->session);
    if (owner == NULL) {
        owner = lw_allocate_zero(replica->env->memory, sizeof(*owner));
        owner->session = open->session;
        lw_map_insert(&replica->open_sessions, &owner->node, lw_mix(open->session));
    }
    open->owner = owner;
    open->next_of_owner = owner->first;
    if (owner->first != NULL) {
        owner->first->previous_of_owner = open;
    }
    owner->first = open;
}

static void leave_session(lw_replica *replica, open_transaction *open) {
    open_session *owner = open->owner;
    *(open->previous_of_owner == NULL ? &owner->first : &open->previous_of_owner->next_of_owner) =
        open->next_of_owner;
    if (open->next_of_owner != NULL) {
        open->next_of_owner->previous_of_owner = open->previous_of_owner;
    }
    if (owner->first == NULL) {
        lw_map_remove(&replica->open_sessions, &owner->node);
        lw_free(replica->env->memory, owner);
    }
}

static open_transaction *enter(lw_replica *replica, uint64_t start, uint64_t session) {
    open_transaction *entered = replica_open_find(replica, start);
    if (entered != NULL) {
        return entered;
    }
    lw_memory *memory = replica->env->memory;
    entered = lw_allocate_zero(memory, sizeof(*entered));
    entered->start = start;
    entered->session = session;
    entered->resume = entered->upper = lw_buffer_in(memory);
    entered->previous = replica->open_last;
    *(replica->open_last == NULL ? &replica->open_first : &replica->open_last->next) = entered;
    replica->open_last = entered;
    lw_map_insert(&replica->open_by_start, &entered->node, lw_mix(start));
    enter_session(replica, entered);
    return entered;
}

static void no_leftover(lw_replica *replica, open_transaction *open) {
    replica->leftover_count -= open->leftover;
    open->leftover = false;
}

static void leave(lw_replica *replica, open_transaction *left) {
    no_leftover(replica, left);
    replica_open_spare(replica, left);
    leave_session(replica, left);
    *(left->previous == NULL ? &replica->open_first : &left->previous->next) = left->next;
    *(left->next == NULL ? &replica->open_last : &left->next->previous) = left->previous;
    lw_map_remove(&replica->open_by_start, &left->node);
    lw_buffer_reset(&left->resume);
    lw_buffer_reset(&left->upper);
    lw_free(replica->env->memory, left);
}

void replica_open_count(lw_replica *replica, const replica_proposal *proposal) {
    if (proposal->locks_put == 0 && proposal->locks_taken == 0) {
        return;
    }
    open_transaction *open = enter(replica, proposal->start, proposal->session);
    LW_ASSERT(open->lock_count + proposal->locks_put >= proposal->locks_taken);
    open->lock_count += proposal->locks_put;
    open->lock_count -= proposal->locks_taken;
    if (open->lock_count == 0) {
        leave(replica, open);
    }
}

void replica_open_forget(lw_replica *replica) {
    while (replica->open_first != NULL) {
        leave(replica, replica->open_first);
    }
}

/* Of more than it has room for, some get their whole grace again. */
void replica_open_lay_down(lw_replica *replica) {
    const open_doom *doomed = &replica->doomed;
    uint32_t count = 0;
    for (; count < doomed->count && count < OPEN_AWAITED_COUNT_MAX; count++) {
        const open_transaction *open = doomed->heap[count + 1];
        replica->awaited[count] =
            (open_awaited){.start = open->start, .doomed_ns = open->doomed_ns};
    }
    replica->awaited_count = count;
    replica_open_forget(replica);
}

void replica_open_close(lw_replica *replica) {
    replica_open_forget(replica);
    lw_map_reset(&replica->open_by_start);
    lw_map_reset(&replica->open_sessions);
    lw_free(replica->env->memory, replica->doomed.heap);
    replica->doomed.heap = NULL;
}

/* ---- whose time has come: a heap by doomed_ns, in places from 1 on --------------------------- */

static void put_at(open_doom *doomed, uint32_t place, open_transaction *open) {
    doomed->heap[place] = open;
    open->place = place;
}

static void sift_up(open_doom *doomed, uint32_t place, open_transaction *open) {
    while (place > 1 && doomed->heap[place / 2]->doomed_ns > open->doomed_ns) {
        put_at(doomed, place, doomed->heap[place / 2]);
        place /= 2;
    }
    put_at(doomed, place, open);
}

static void sift_down(open_doom *doomed, uint32_t place, open_transaction *open) {
    while (2 * place <= doomed->count) {
        uint32_t child = 2 * place;
        if (child < doomed->count &&
            doomed->heap[child + 1]->doomed_ns < doomed->heap[child]->doomed_ns) {
            child++;
        }
        if (doomed->heap[child]->doomed_ns >= open->doomed_ns) {
            break;
        }
        put_at(doomed, place, doomed->heap[child]);
        place = child;
    }
    put_at(doomed, place, open);
}

void replica_open_spare(lw_replica *replica, open_transaction *open) {
    open_doom *doomed = &replica->doomed;
    open->doomed_ns = 0;
    if (open->place == 0) {
        return;
    }
    uint32_t place = open->place;
    open_transaction *last = doomed->heap[doomed->count--];
    open->place = 0;
    if (last != open) {
        sift_up(doomed, place, last);
        sift_down(doomed, last->place, last);
    }
}

void replica_open_doom_at(lw_replica *replica, open_transaction *open, uint64_t doomed_ns) {
    open_doom *doomed = &replica->doomed;
    replica_open_spare(replica, open);
    if (doomed->count + 1 >= doomed->capacity) {
        doomed->capacity = doomed->capacity == 0 ? 16 : doomed->capacity * 2;
        doomed->heap = lw_reallocate(replica->env->memory, doomed->heap,
                                     doomed->capacity * sizeof(*doomed->heap));
    }
    open->doomed_ns = doomed_ns;
    sift_up(doomed, ++doomed->count, open);
}

open_transaction *replica_open_next_doomed(const lw_replica *replica) {
    return replica->doomed.count == 0 ? NULL : replica->doomed.heap[1];
}

/* ---- dooming -------------------------------------------------------------------------------- */

/* All of its locks are to go, from the first on. */
static void doom(lw_replica *replica, open_transaction *open) {
    no_leftover(replica, open);
    open->dooms++;
    open->bounded = false;
    lw_buffer_clear(&open->resume);
    lw_buffer_clear(&open->upper);
    replica_open_doom_at(replica, open, lw_env_now(replica->env));
}

void replica_open_doom_one(lw_replica *replica, uint64_t start) {
    open_transaction *open = replica_open_find(replica, start);
    if (open != NULL) {
        doom(replica, open);
        replica_sweep(replica);
    }
}

uint32_t replica_open_doom_below(lw_replica *replica, uint64_t safepoint) {
    uint32_t count = 0;
    for (open_transaction *each = replica->open_first; each != NULL; each = each->next) {
        if (each->start >= safepoint) {
            continue;
        }
        count++;
        if (each->place == 0 || each->leftover || each->bounded) {
            LW_MARK(replica->env, "replica.doomed_by_the_safepoint");
            doom(replica, each);
        }
    }
    if (count > 0) {
        replica_sweep(replica);
    }
    return count;
}

void replica_open_doom(lw_replica *replica, uint64_t session) {
    open_session *owner = find_session(replica, session);
    if (owner == NULL) {
        return;
    }
    for (open_transaction *each = owner->first; each != NULL; each = each->next_of_owner) {
        doom(replica, each);
    }
    replica_sweep(replica);
}

bool replica_open_has_session(const lw_replica *replica, uint64_t session) {
    return find_session(replica, session) != NULL;
}

bool replica_open_has(const lw_replica *replica, uint64_t start) {
    return replica_open_find(replica, start) != NULL;
}

void replica_open_attach(lw_replica *replica, uint64_t session) {
    open_session *owner = replica->leftover_count == 0 ? NULL : find_session(replica, session);
    if (owner == NULL) {
        return;
    }
    for (open_transaction *each = owner->first; each != NULL; each = each->next_of_owner) {
        if (each->leftover) {
            LW_MARK(replica->env, "replica.session_came_back");
            no_leftover(replica, each);
            replica_open_spare(replica, each);
        }
    }
}

/* ---- told by the owner (FINISH_RANGE) -------------------------------------------------------- */

/* Widens what is being swept to a second range, if there is one. */
static void widen(open_transaction *open, lw_bytes lower, lw_bytes upper) {
    bool fresh = !open->bounded;
    if (fresh || lw_compare(lower, lw_buffer_view(&open->resume)) < 0) {
        lw_buffer_clear(&open->resume);
        lw_buffer_append(&open->resume, lower);
    }
    bool unbounded = !fresh && open->upper.size == 0;
    if (fresh || upper.size == 0 ||
        (!unbounded && lw_compare(upper, lw_buffer_view(&open->upper)) > 0)) {
        lw_buffer_clear(&open->upper);
        lw_buffer_append(&open->upper, upper);
    }
    open->bounded = true;
    open->dooms++;
}

lw_status replica_open_finish(lw_replica *replica, const lw_finish_range_request *request) {
    open_transaction *open = replica_open_find(replica, request->start);
    if (open == NULL) {
        return LW_OK; /* somebody ended all of them */
    }
    if (open->decided && open->commit_timestamp != request->commit_timestamp) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "transaction %llu is being ended already, and in another way",
                       (unsigned long long)request->start);
    }
    open->decided = true;
    open->commit_timestamp = request->commit_timestamp;
    if (open->place != 0 && !open->bounded && !open->leftover) {
        return LW_OK; /* all of it is being swept */
    }
    no_leftover(replica, open);
    widen(open, request->lower, request->upper);
    replica_open_doom_at(replica, open, lw_env_now(replica->env));
    replica_sweep(replica);
    return LW_OK;
}

/* ---- leftovers ------------------------------------------------------------------------------ */

/* Whose grace began when this node led before gets no new one: else nobody ends the locks of who
 * is gone while the leadership goes to and fro, as no leader awaits the end of a grace. */
static uint64_t due_ns(const lw_replica *replica, uint64_t start, uint64_t doomed_ns) {
    if (LW_BUG(replica->env, "replica.grace_begins_anew")) {
        return doomed_ns;
    }
    for (uint32_t index = 0; index < replica->awaited_count; index++) {
        const open_awaited *awaited = &replica->awaited[index];
        if (awaited->start == start && awaited->doomed_ns < doomed_ns) {
            LW_MARK(replica->env, "replica.awaited_before");
            return awaited->doomed_ns;
        }
    }
    return doomed_ns;
}

LW_YIELDS static lw_status load(lw_replica *replica, lw_cursor *cursor) {
    uint64_t doomed_ns = lw_env_now(replica->env) + LEFTOVER_GRACE_MS * NS_PER_MS;
    LW_TRY(lw_cursor_first(cursor));
    while (lw_cursor_valid(cursor)) {
        lw_lock_record lock;
        LW_TRY(lw_lock_record_decode(lw_cursor_key(cursor), lw_cursor_value(cursor), &lock));
        open_transaction *open = enter(replica, lock.start, lock.session);
        open->lock_count++;
        if (!open->leftover) {
            replica->leftover_count++;
            open->leftover = true;
            replica_open_doom_at(replica, open, due_ns(replica, lock.start, doomed_ns));
        }
        LW_TRY(lw_cursor_next(cursor));
    }
    return LW_OK;
}

lw_status replica_open_load(lw_replica *replica, lw_tree *tree, lw_bytes from) {
    lw_snapshot *snapshot = lw_snapshot_open(tree);
    lw_cursor *cursor = replica_open_locks(replica, snapshot, from, lw_view(NULL, 0));
    lw_status status = load(replica, cursor);
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    return status;
}

/* Makes the account of a child's transaction what the parent knows of it. */
static void inherit(lw_replica *child, open_transaction *to, const open_transaction *from) {
    leave_session(child, to);
    to->session = from->session;
    to->previous_of_owner = to->next_of_owner = NULL;
    enter_session(child, to);
    child->leftover_count -= to->leftover;
    child->leftover_count += from->leftover;
    to->leftover = from->leftover;
    to->decided = from->decided;
    to->commit_timestamp = from->commit_timestamp;
    to->bounded = from->bounded;
    lw_buffer_append(&to->resume, lw_buffer_view(&from->resume));
    lw_buffer_append(&to->upper, lw_buffer_view(&from->upper));
    if (from->place != 0) {
        replica_open_doom_at(child, to, from->doomed_ns);
    } else {
        replica_open_spare(child, to);
    }
}

void replica_open_hand_over(lw_replica *replica, lw_replica *child) {
    for (open_transaction *each = child->open_first; each != NULL; each = each->next) {
        open_transaction *open = replica_open_find(replica, each->start);
        LW_ASSERT(open != NULL && open->lock_count >= each->lock_count);
        inherit(child, each, open);
        open->lock_count -= each->lock_count;
        if (open->lock_count == 0) {
            leave(replica, open);
        }
    }
}

/* Adds what another replica knows of a transaction to what this one does. */
static void join(lw_replica *replica, open_transaction *to, const open_transaction *from) {
    to->lock_count += from->lock_count;
    if (from->decided) {
        to->decided = true;
        to->commit_timestamp = from->commit_timestamp;
    }
    if (from->leftover && !to->leftover && to->lock_count == from->lock_count) {
        to->leftover = true; /* it has no locks but these */
        replica->leftover_count++;
    }
    if (from->place == 0 || (from->leftover && !to->leftover)) {
        return;
    }
    if (from->bounded && (to->place == 0 || to->bounded)) {
        widen(to, lw_buffer_view(&from->resume), lw_buffer_view(&from->upper));
    } else if (!from->leftover) {
        doom(replica, to);
        return;
    }
    if (to->place == 0 || from->doomed_ns < to->doomed_ns) {
        replica_open_doom_at(replica, to, from->doomed_ns);
    }
}

void replica_open_take_over(lw_replica *replica, lw_replica *right) {
    for (const open_transaction *each = right->open_first; each != NULL; each = each->next) {
        join(replica, enter(replica, each->start, each->session), each);
    }
}

void replica_open_sweep_leftovers(lw_replica *replica) {
    if (replica->open_first != NULL) {
        LW_MARK(replica->env, "replica.leftovers");
        replica_sweep(replica);
    }
}
