/* SPDX-License-Identifier: Apache-2.0 */
/* The sweeper: the fiber that ends the locks of transactions of whom nobody is left, or whose owner
 * asked for it (FINISH_RANGE). It runs only while there is something to sweep. What it does is what
 * any reader that met the locks would do: find out at the primary, wherever that is, then roll
 * forward or back; once for each transaction, then a few locks at a time, in turns with the others,
 * and from where it stopped the last time. */
#include "node/replica_state.h"

enum {
    RETRY_PAUSE_MS = 1000,
    /* Ended in one step: many, as each step is a durable write and a large transaction has a
     * million locks; so few that it is a turn of the loop of two or three ms. */
    SWEEP_KEY_COUNT = 1024,
    SWEEP_BYTES = 256 * 1024,      /* of their keys */
    SWEEP_WALK_COUNT = 4096,       /* looked at in one step */
    DAWDLE_NS = 100 * 1000 * 1000, /* in simulations, until the primary is asked */
};
#define NS_PER_MS UINT64_C(1000000)

/* One step of one transaction. */
typedef struct sweep {
    lw_replica *replica;
    uint64_t start;
    lw_arena arena;
    lw_bytes primary;
    lw_bytes *keys;
    uint32_t key_count;
    lw_buffer reached; /* where to go on */
    bool through;      /* no more locks lie behind */
} sweep;

/* ---- finding -------------------------------------------------------------------------------- */

lw_cursor *replica_open_locks(const lw_replica *replica, lw_snapshot *snapshot, lw_bytes lower,
                              lw_bytes upper) {
    lw_buffer first = lw_buffer_in(replica->env->memory), end = first;
    lw_record_lock_key(lower, &first);
    if (upper.size > 0) {
        lw_record_lock_key(upper, &end);
    } else {
        lw_record_lock_end(&end);
    }
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_buffer_view(&first), lw_buffer_view(&end));
    lw_buffer_reset(&first);
    lw_buffer_reset(&end);
    return cursor;
}

static void take_lock(sweep *step, lw_bytes key, const lw_lock_record *lock) {
    if (step->key_count == 0) {
        step->primary = lw_arena_copy(&step->arena, lock->primary);
    }
    step->keys[step->key_count++] = lw_arena_copy(&step->arena, key);
}

LW_YIELDS static lw_status walk_locks(sweep *step, lw_cursor *cursor) {
    LW_TRY(lw_cursor_first(cursor));
    for (uint32_t walked = 0; lw_cursor_valid(cursor); walked++) {
        lw_lock_record lock;
        lw_bytes key = lw_record_locked_key(lw_cursor_key(cursor));
        bool early = walked > 0 && LW_RARE(step->replica->env, "replica.sweeps_little");
        if (early || walked == SWEEP_WALK_COUNT || step->key_count == SWEEP_KEY_COUNT ||
            step->arena.used >= SWEEP_KEY_COUNT * sizeof(*step->keys) + SWEEP_BYTES) {
            lw_buffer_append(&step->reached, key);
            return LW_OK;
        }
        LW_TRY(lw_lock_record_decode(lw_cursor_key(cursor), lw_cursor_value(cursor), &lock));
        if (lock.start == step->start) {
            take_lock(step, key, &lock);
        }
        LW_TRY(lw_cursor_next(cursor));
    }
    step->through = true;
    return LW_OK;
}

LW_YIELDS static lw_status find_locks(sweep *step, const open_transaction *open) {
    lw_replica *replica = step->replica;
    step->keys = lw_arena_allocate(&step->arena, SWEEP_KEY_COUNT * sizeof(*step->keys));
    lw_snapshot *snapshot = lw_snapshot_open(replica->tree);
    lw_cursor *cursor = replica_open_locks(replica, snapshot, lw_buffer_view(&open->resume),
                                           lw_buffer_view(&open->upper));
    lw_status status = walk_locks(step, cursor);
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    return status;
}

/* ---- ending --------------------------------------------------------------------------------- */

LW_YIELDS static lw_status ask_fate(sweep *step, bool decide, lw_check_reply *fate) {
    const lw_replica_options *options = &step->replica->options;
    return lw_resolve_by_asking(step->replica->env, options->ask, options->argument, step->start,
                                step->primary, 0, decide, fate);
}

/* Whether the client of a leftover may be anywhere: it may not have come back here because it has
 * nothing to say to this node. */
LW_YIELDS static bool client_lives(const sweep *step, uint64_t session) {
    lw_replica *replica = step->replica;
    const lw_replica_options *options = &replica->options;
    if (LW_BUG(replica->env, "replica.leftovers_not_asked_for") ||
        options->session_lives(options->argument, session)) {
        return true;
    }
    const open_transaction *open = replica_open_find(replica, step->start);
    return open != NULL && !open->leftover && open->place == 0; /* it came meanwhile */
}

/* What became of the transaction: asked once. It may be gone from the account afterwards. */
LW_YIELDS static lw_status settle(sweep *step, uint64_t *commit_timestamp) {
    lw_replica *replica = step->replica;
    open_transaction *open = replica_open_find(replica, step->start);
    if (open != NULL && open->decided) {
        *commit_timestamp = open->commit_timestamp;
        return LW_OK;
    }
    /* Of a session that has not come back here, to another leader than before, nobody knows whether
     * it lives: its primary says so, or all nodes that it is not with them. */
    bool decide = open == NULL || !open->leftover || replica_alone(replica);
    uint64_t session = open == NULL ? 0 : open->session;
    lw_check_reply fate;
    if (LW_RARE(replica->env, "replica.sweeps_late")) {
        lw_env_sleep(replica->env, lw_env_random_below(replica->env, DAWDLE_NS));
    }
    LW_TRY(ask_fate(step, decide, &fate));
    if (fate.fate == LW_FATE_ALIVE && !decide) {
        if (client_lives(step, session)) {
            LW_MARK(replica->env, "replica.leftover_lives");
            return lw_fail(LW_UNAVAILABLE,
                           "its client has not come back, but the transaction lives");
        }
        LW_MARK(replica->env, "replica.leftover_died");
        LW_TRY(ask_fate(step, true, &fate));
    }
    LW_ASSERT(fate.fate == LW_FATE_COMMITTED || fate.fate == LW_FATE_ABORTED);
    if (fate.fate == LW_FATE_COMMITTED) {
        LW_MARK(replica->env, "replica.swept_forward");
    } else {
        LW_MARK(replica->env, "replica.swept_back");
    }
    open = replica_open_find(replica, step->start);
    if (open != NULL) {
        open->decided = true;
        open->commit_timestamp = fate.commit_timestamp;
    }
    *commit_timestamp = fate.commit_timestamp;
    return LW_OK;
}

LW_YIELDS static lw_status finish(const sweep *step, uint64_t commit_timestamp) {
    replica_call finishing;
    replica_call_open(step->replica, 0, 0, &finishing);
    finishing.freeing = true;
    lw_finish_request request = {.start = step->start,
                                 .commit_timestamp = commit_timestamp,
                                 .keys = step->keys,
                                 .key_count = step->key_count};
    lw_status status = replica_finish(&finishing, &request);
    replica_call_close(&finishing);
    return status;
}

/* Ends some of its locks, from where it stopped. */
LW_YIELDS static lw_status sweep_some(sweep *step) {
    uint64_t commit_timestamp = 0;
    LW_TRY(find_locks(step, replica_open_find(step->replica, step->start)));
    if (step->key_count == 0) {
        return LW_OK;
    }
    LW_TRY(settle(step, &commit_timestamp));
    return finish(step, commit_timestamp);
}

/* ---- the sweeper ---------------------------------------------------------------------------- */

static void retry_later(lw_replica *replica, open_transaction *open) {
    replica_open_doom_at(replica, open, lw_env_now(replica->env) + RETRY_PAUSE_MS * NS_PER_MS);
}

/* When to go on, and where. */
static void go_on(sweep *step, open_transaction *open) {
    lw_replica *replica = step->replica;
    if (!step->through) {
        lw_buffer_clear(&open->resume);
        lw_buffer_append(&open->resume, lw_buffer_view(&step->reached));
        replica_open_doom_at(replica, open, lw_env_now(replica->env));
    } else if (open->bounded) {
        open->bounded = false; /* the rest is not ours to end yet */
        replica_open_spare(replica, open);
    } else { /* what was locked behind our back */
        lw_buffer_clear(&open->resume);
        retry_later(replica, open);
    }
}

LW_YIELDS static void sweep_one(lw_replica *replica, uint64_t start) {
    lw_memory *memory = replica->env->memory;
    sweep step = {.replica = replica,
                  .start = start,
                  .arena = lw_arena_in(memory),
                  .reached = lw_buffer_in(memory)};
    open_transaction *open = replica_open_find(replica, start);
    uint32_t dooms = open->dooms;
    lw_status status = sweep_some(&step);
    open = replica_open_find(replica, start);
    if (status != LW_OK && replica_gate(replica) == LW_OK) {
        lw_logline(replica->env, LW_LEVEL_WARN, "locks of a lost session could not be swept yet",
                   "transaction=%llu reason=\"%s\"", (unsigned long long)start,
                   lw_error_slot()->text);
        if (open != NULL) {
            retry_later(replica, open);
        }
    } else if (open != NULL && open->dooms == dooms) {
        go_on(&step, open);
    }
    lw_arena_reset(&step.arena);
    lw_buffer_reset(&step.reached);
}

/* Not while it becomes part of its neighbour, which it would have to ask (replica_merge.c). */
static bool held_back(const lw_replica *replica) {
    return replica->merging && !LW_BUG(replica->env, "merge.sweeper_not_awaited");
}

LW_YIELDS static void sweep_main(void *argument) {
    lw_replica *replica = argument;
    open_transaction *next;
    while (!held_back(replica) && replica_gate(replica) == LW_OK &&
           (next = replica_open_next_doomed(replica)) != NULL) {
        if (next->doomed_ns > lw_env_now(replica->env)) {
            (void)replica_background_sleep(replica, &replica->doomed.waiting, next->doomed_ns);
        } else {
            sweep_one(replica, next->start);
            lw_env_sleep(replica->env, 1); /* the others' turn */
        }
    }
    replica->sweeping = false;
    lw_queue_wake_all(&replica->swept);
    replica_background_end(replica);
}

void replica_sweep(lw_replica *replica) {
    if (replica->sweeping) {
        lw_queue_wake_all(&replica->doomed.waiting);
    } else if (replica->serving && !replica->closing && !replica->dead && !held_back(replica)) {
        replica->sweeping = true;
        replica_background_start(replica, "sweeper", sweep_main);
    }
}

/* ---- FINISH_RANGE --------------------------------------------------------------------------- */

lw_status replica_finish_range(replica_call *call, lw_bytes body, lw_buffer *reply) {
    (void)reply;
    lw_finish_range_request request;
    LW_TRY(lw_finish_range_request_decode(body, &call->arena, &request));
    LW_TRY(replica_given(call, request.start));
    LW_TRY(replica_given(call, request.commit_timestamp));
    LW_TRY(replica_check_epoch(call));
    return replica_open_finish(call->replica, &request);
}
