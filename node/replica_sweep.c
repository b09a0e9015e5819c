/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions that have locks in the tree, and the fiber that ends those whose session is no more.
 * It runs only while there is something to sweep; what it does is what any reader that met the
 * locks would do: ask the primary, then roll forward or back. */
#include "node/replica_state.h"

#include "base/hash.h"

enum {
    LEFTOVER_GRACE_MS = 3000, /* for sessions of before the start to come back */
    RETRY_PAUSE_MS = 1000,
    SWEEP_KEY_COUNT = 256, /* at a time */
};
#define NS_PER_MS UINT64_C(1000000)

static open_transaction *find_open(const lw_replica *replica, uint64_t start) {
    lw_map_node *node = lw_map_first(&replica->open_by_start, lw_mix(start));
    while (node != NULL && LW_MAP_ENTRY(node, open_transaction, node)->start != start) {
        node = lw_map_next(node);
    }
    return node == NULL ? NULL : LW_MAP_ENTRY(node, open_transaction, node);
}

bool replica_open_has(const lw_replica *replica, uint64_t start) {
    return find_open(replica, start) != NULL;
}

static open_transaction *enter_open(lw_replica *replica, uint64_t start, uint64_t session) {
    open_transaction *entered = find_open(replica, start);
    if (entered != NULL) {
        return entered;
    }
    entered = lw_allocate_zero(replica->env->memory, sizeof(*entered));
    entered->start = start;
    entered->session = session;
    entered->previous = replica->open_last;
    *(replica->open_last == NULL ? &replica->open_first : &replica->open_last->next) = entered;
    replica->open_last = entered;
    lw_map_insert(&replica->open_by_start, &entered->node, lw_mix(start));
    return entered;
}

static void no_leftover(lw_replica *replica, open_transaction *open) {
    replica->leftover_count -= open->leftover;
    open->leftover = false;
}

static void leave_open(lw_replica *replica, open_transaction *left) {
    no_leftover(replica, left);
    *(left->previous == NULL ? &replica->open_first : &left->previous->next) = left->next;
    *(left->next == NULL ? &replica->open_last : &left->next->previous) = left->previous;
    lw_map_remove(&replica->open_by_start, &left->node);
    lw_free(replica->env->memory, left);
}

void replica_open_count(lw_replica *replica, const replica_proposal *proposal) {
    if (proposal->locks_put == 0 && proposal->locks_taken == 0) {
        return;
    }
    open_transaction *open = enter_open(replica, proposal->start, proposal->session);
    LW_ASSERT(open->lock_count + proposal->locks_put >= proposal->locks_taken);
    open->lock_count += proposal->locks_put;
    open->lock_count -= proposal->locks_taken;
    if (open->lock_count == 0) {
        leave_open(replica, open);
    }
}

void replica_open_close(lw_replica *replica) {
    while (replica->open_first != NULL) {
        leave_open(replica, replica->open_first);
    }
    lw_map_reset(&replica->open_by_start);
}

/* ---- sweeping one transaction --------------------------------------------------------------- */

/* What one look at the locks found of a transaction; in an arena. */
typedef struct findings {
    lw_bytes primary;
    lw_bytes *keys;
    uint32_t key_count;
} findings;

LW_YIELDS static lw_status walk_locks(lw_cursor *cursor, uint64_t start, lw_arena *arena,
                                      findings *found) {
    LW_TRY(lw_cursor_first(cursor));
    while (lw_cursor_valid(cursor) && found->key_count < SWEEP_KEY_COUNT) {
        lw_lock_record lock;
        LW_TRY(lw_lock_record_decode(lw_cursor_key(cursor), lw_cursor_value(cursor), &lock));
        if (lock.start == start) {
            found->primary = lw_arena_copy(arena, lock.primary);
            found->keys[found->key_count++] =
                lw_arena_copy(arena, lw_record_locked_key(lw_cursor_key(cursor)));
        }
        LW_TRY(lw_cursor_next(cursor));
    }
    return LW_OK;
}

/* Over the locks on keys at or behind `from`. */
static lw_cursor *open_lock_cursor(lw_replica *replica, lw_snapshot *snapshot, lw_bytes from) {
    lw_buffer first = lw_buffer_in(replica->env->memory), end = first;
    lw_record_lock_key(from, &first);
    lw_record_lock_end(&end);
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_buffer_view(&first), lw_buffer_view(&end));
    lw_buffer_reset(&first);
    lw_buffer_reset(&end);
    return cursor;
}

LW_YIELDS static lw_status find_locks(lw_replica *replica, uint64_t start, lw_arena *arena,
                                      findings *found) {
    found->keys = lw_arena_allocate(arena, SWEEP_KEY_COUNT * sizeof(*found->keys));
    lw_snapshot *snapshot = lw_snapshot_open(replica->tree);
    lw_cursor *cursor = open_lock_cursor(replica, snapshot, lw_view(NULL, 0));
    lw_status status = walk_locks(cursor, start, arena, found);
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    return status;
}

LW_YIELDS static lw_status decide(lw_replica *replica, uint64_t start, lw_bytes primary,
                                  lw_check_reply *fate) {
    replica_call asking;
    replica_call_open(replica, 0, 0, &asking);
    asking.freeing = true;
    lw_check_request request = {.start = start, .primary = primary, .decide = true};
    lw_status status = replica_decide(&asking, &request, fate);
    replica_call_close(&asking);
    return status;
}

LW_YIELDS static lw_status finish(lw_replica *replica, uint64_t start, uint64_t commit_timestamp,
                                  const findings *found) {
    replica_call finishing;
    replica_call_open(replica, 0, 0, &finishing);
    finishing.freeing = true;
    lw_finish_request request = {.start = start,
                                 .commit_timestamp = commit_timestamp,
                                 .keys = found->keys,
                                 .key_count = found->key_count};
    lw_status status = replica_finish(&finishing, &request);
    replica_call_close(&finishing);
    return status;
}

/* Ends some of the locks of a transaction. */
LW_YIELDS static lw_status sweep_some(lw_replica *replica, uint64_t start, lw_arena *arena) {
    findings found = {0};
    LW_TRY(find_locks(replica, start, arena, &found));
    if (found.key_count == 0) { /* somebody else ended them meanwhile */
        return find_open(replica, start) == NULL ? LW_OK : lw_fail(LW_INTERNAL, "it has none");
    }
    lw_check_reply fate;
    LW_TRY(decide(replica, start, found.primary, &fate));
    LW_ASSERT(fate.fate != LW_FATE_ALIVE);
    if (fate.fate == LW_FATE_COMMITTED) {
        LW_MARK(replica->env, "replica.swept_forward");
    } else {
        LW_MARK(replica->env, "replica.swept_back");
    }
    return finish(replica, start, fate.commit_timestamp, &found);
}

/* ---- the sweeper ---------------------------------------------------------------------------- */

/* The first of those due soonest; NULL if none is doomed. */
static open_transaction *next_doomed(const lw_replica *replica) {
    open_transaction *soonest = NULL;
    for (open_transaction *each = replica->open_first; each != NULL; each = each->next) {
        if (each->doomed_ns != 0 && (soonest == NULL || each->doomed_ns < soonest->doomed_ns)) {
            soonest = each;
        }
    }
    return soonest;
}

LW_YIELDS static void sweep_one(lw_replica *replica, uint64_t start) {
    lw_arena arena = lw_arena_in(replica->env->memory);
    lw_status status = sweep_some(replica, start, &arena);
    lw_arena_reset(&arena);
    if (status == LW_OK || replica_gate(replica) != LW_OK) {
        return;
    }
    lw_logline(replica->env, LW_LEVEL_WARN, "locks of a lost session could not be swept yet",
               "transaction=%llu reason=\"%s\"", (unsigned long long)start, lw_error_slot()->text);
    open_transaction *open = find_open(replica, start);
    if (open != NULL) {
        open->doomed_ns = lw_env_now(replica->env) + RETRY_PAUSE_MS * NS_PER_MS;
    }
}

LW_YIELDS static void sweep_main(void *argument) {
    lw_replica *replica = argument;
    open_transaction *next;
    while (replica_gate(replica) == LW_OK && (next = next_doomed(replica)) != NULL) {
        if (next->doomed_ns > lw_env_now(replica->env)) {
            (void)replica_background_sleep(replica, &replica->doomed, next->doomed_ns);
        } else {
            sweep_one(replica, next->start);
        }
    }
    replica->sweeping = false;
    replica_background_end(replica);
}

static void see_to_sweeper(lw_replica *replica) {
    if (replica->sweeping) {
        lw_queue_wake_all(&replica->doomed);
    } else if (replica->serving && !replica->closing && !replica->dead) {
        replica->sweeping = true;
        replica_background_start(replica, "sweeper", sweep_main);
    }
}

/* ---- dooming -------------------------------------------------------------------------------- */

static void doom(lw_replica *replica, open_transaction *open) {
    open->doomed_ns = lw_env_now(replica->env);
    no_leftover(replica, open);
}

void replica_open_doom_one(lw_replica *replica, uint64_t start) {
    open_transaction *open = find_open(replica, start);
    if (open != NULL) {
        doom(replica, open);
        see_to_sweeper(replica);
    }
}

void replica_open_doom(lw_replica *replica, uint64_t session) {
    bool any = false;
    for (open_transaction *each = replica->open_first; each != NULL; each = each->next) {
        if (each->session == session) {
            doom(replica, each);
            any = true;
        }
    }
    if (any) {
        see_to_sweeper(replica);
    }
}

void replica_open_attach(lw_replica *replica, uint64_t session) {
    if (replica->leftover_count == 0) {
        return;
    }
    for (open_transaction *each = replica->open_first; each != NULL; each = each->next) {
        if (each->leftover && each->session == session) {
            LW_MARK(replica->env, "replica.session_came_back");
            no_leftover(replica, each);
            each->doomed_ns = 0;
        }
    }
}

/* ---- leftovers ------------------------------------------------------------------------------ */

LW_YIELDS static lw_status load(lw_replica *replica, lw_cursor *cursor) {
    uint64_t doomed_ns = lw_env_now(replica->env) + LEFTOVER_GRACE_MS * NS_PER_MS;
    LW_TRY(lw_cursor_first(cursor));
    while (lw_cursor_valid(cursor)) {
        lw_lock_record lock;
        LW_TRY(lw_lock_record_decode(lw_cursor_key(cursor), lw_cursor_value(cursor), &lock));
        open_transaction *open = enter_open(replica, lock.start, lock.session);
        open->lock_count++;
        replica->leftover_count += !open->leftover;
        open->leftover = true;
        open->doomed_ns = doomed_ns;
        LW_TRY(lw_cursor_next(cursor));
    }
    return LW_OK;
}

lw_status replica_open_load(lw_replica *replica, lw_tree *tree, lw_bytes from) {
    lw_snapshot *snapshot = lw_snapshot_open(tree);
    lw_cursor *cursor = open_lock_cursor(replica, snapshot, from);
    lw_status status = load(replica, cursor);
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    return status;
}

void replica_open_hand_over(lw_replica *replica, lw_replica *child) {
    for (open_transaction *each = child->open_first; each != NULL; each = each->next) {
        open_transaction *open = find_open(replica, each->start);
        LW_ASSERT(open != NULL && open->lock_count >= each->lock_count);
        each->session = open->session;
        each->doomed_ns = open->doomed_ns;
        child->leftover_count -= each->leftover;
        child->leftover_count += open->leftover;
        each->leftover = open->leftover;
        open->lock_count -= each->lock_count;
        if (open->lock_count == 0) {
            leave_open(replica, open);
        }
    }
}

void replica_open_sweep_leftovers(lw_replica *replica) {
    if (replica->open_first != NULL) {
        LW_MARK(replica->env, "replica.leftovers");
        see_to_sweeper(replica);
    }
}
