/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that write: COMMIT_NOW, PREWRITE. Each waits for room, takes its latches, is evaluated,
 * proposes, waits until that is applied, and lets go; so do those in replica_finish.c. */
#include "node/replica_state.h"

enum { COMMIT_ENTRY_ROOM = 128 }; /* bytes of an entry besides what its request has */

/* Proposes the batch, waits, and empties it. Whoever calls has waited for room. */
LW_YIELDS static lw_status propose_and_wait(replica_call *call, uint64_t start) {
    lw_evaluation *evaluation = &call->evaluation;
    replica_proposal proposal = {.base = {.term = replica_leadership_of(call)},
                                 .epoch = call->epoch,
                                 .start = start,
                                 .session = call->session,
                                 .locks_put = evaluation->locks_put,
                                 .locks_taken = evaluation->locks_taken};
    replica_propose(call->replica, ENTRY_COMMAND, &evaluation->batch, &proposal);
    lw_status status = replica_wait(call->replica, &proposal);
    lw_buffer_clear(&evaluation->batch);
    evaluation->locks_put = evaluation->locks_taken = 0;
    return status;
}

lw_status replica_write_batch(replica_call *call, uint64_t start) {
    size_t size = call->evaluation.batch.size;
    if (size == 0) {
        return replica_confirm(call);
    }
    LW_TRY(replica_call_room(call, size));
    return propose_and_wait(call, start);
}

/* Whether a transaction gives space back, in the end: then it is let in on a full disk. A deletion
 * is a small record at first, and once no reader is older, it and what it deletes are gone. */
static bool puts_nothing(const lw_mutation *mutations, uint32_t mutation_count) {
    for (uint32_t index = 0; index < mutation_count; index++) {
        if (mutations[index].kind == LW_MUTATION_PUT) {
            return false;
        }
    }
    return true;
}

/* ---- what others have locked ---------------------------------------------------------------- */

static bool any_foreign(const replica_call *call, uint64_t start, const lw_mutation *mutations,
                        uint32_t mutation_count) {
    const lw_lock_table *locks = call->replica->locks;
    for (uint32_t index = 0; index < mutation_count && lw_lock_table_count(locks) > 0; index++) {
        if (lw_lock_table_foreign(locks, start, mutations[index].key, NULL, NULL)) {
            return true;
        }
    }
    return false;
}

/* What is locked in the tree by now needs no memory any more. */
static void hand_over(const replica_call *call, uint64_t start, const lw_mutation *mutations,
                      uint32_t mutation_count) {
    lw_lock_table *locks = call->replica->locks;
    if (LW_BUG(call->replica->env, "replica.locks_kept_twice")) {
        return;
    }
    for (uint32_t index = 0; index < mutation_count && lw_lock_table_count(locks) > 0; index++) {
        lw_lock_table_hand_over(locks, start, mutations[index].key);
    }
}

static void release_passing(const replica_call *call, uint64_t start, const lw_mutation *mutations,
                            uint32_t mutation_count) {
    lw_lock_table *locks = call->replica->locks;
    for (uint32_t index = 0; index < mutation_count && lw_lock_table_count(locks) > 0; index++) {
        lw_lock_table_release(locks, start, mutations[index].key, true);
    }
}

/* Who is killed writes nothing, so it waits for nobody's locks: it goes on to look whether an
 * earlier copy of it has committed, as who kills it must not be told otherwise (Y2). */
static bool is_killed(const replica_call *call, uint64_t start) {
    return lw_recent_find(call->replica->options.killed, start) != NULL &&
           !LW_BUG(call->replica->env, "replica.killed_unlooked");
}

LW_YIELDS static lw_status await_locks(replica_call *call, uint64_t start, const lw_bytes *keys,
                                       uint32_t count) {
    LW_MARK(call->replica->env, "replica.commit_waits_for_lock");
    for (uint32_t index = 0; index < count && !is_killed(call, start); index++) {
        bool fresh;
        lw_status status =
            replica_lock_key(call, start, keys[index], false, call->deadline_ns, &fresh);
        if (status != LW_OK && !is_killed(call, start)) {
            return status;
        }
    }
    return LW_OK;
}

/* Latches the keys of the mutations at a moment when no other transaction has a pessimistic lock on
 * any of them: waits for those that do, in their queues. Whether it succeeds or not, the locks it
 * took in passing are to be released. */
LW_YIELDS static lw_status latch_mutations(replica_call *call, uint64_t start,
                                           const lw_mutation *mutations, uint32_t mutation_count) {
    lw_bytes *keys = lw_arena_allocate(&call->arena, mutation_count * sizeof(*keys));
    for (uint32_t index = 0; index < mutation_count; index++) {
        keys[index] = mutations[index].key;
    }
    call->latch.exclusive = keys;
    call->latch.exclusive_count = mutation_count;
    for (;;) {
        if (any_foreign(call, start, mutations, mutation_count)) {
            LW_TRY(await_locks(call, start, keys, mutation_count));
        }
        LW_TRY(replica_latch(call));
        if (!any_foreign(call, start, mutations, mutation_count) || is_killed(call, start)) {
            return LW_OK;
        }
        replica_unlatch(call);
    }
}

/* ---- COMMIT_NOW ----------------------------------------------------------------------------- */

/* Whether somebody who counts on nothing being committed there any more may have been answered at
 * or above the timestamp. Nobody was while it is the last one given. */
static bool overtaken(const replica_call *call, const lw_commit_now_request *request,
                      uint64_t commit_timestamp) {
    const lw_replica *replica = call->replica;
    if (commit_timestamp == lw_timestamps_last(replica->options.timestamps) ||
        LW_BUG(replica->env, "txn.remote_commit_ignores_marks")) {
        return false;
    }
    for (uint32_t index = 0; index < request->mutation_count; index++) {
        if (lw_read_marks_of(&replica->marks, request->mutations[index].key) >= commit_timestamp) {
            return true;
        }
    }
    return false;
}

/* Draws the commit timestamp, above all that was read of the keys. While it was on its way here
 * readers above it may have been answered: then another one is drawn, and meanwhile readers above
 * all that is known here wait; the others are below it, since it is not drawn yet. */
LW_YIELDS static lw_status draw(replica_call *call, const lw_commit_now_request *request,
                                uint64_t *commit_timestamp) {
    lw_replica *replica = call->replica;
    LW_TRY(replica_take(replica, 1, call->deadline_ns, commit_timestamp));
    if (!overtaken(call, request, *commit_timestamp)) {
        return LW_OK;
    }
    LW_MARK(replica->env, "replica.commit_overtaken");
    call->latch.drawn = lw_timestamps_last(replica->options.timestamps) + 1;
    LW_TRY(replica_take(replica, 1, call->deadline_ns, commit_timestamp));
    LW_ASSERT(*commit_timestamp >= call->latch.drawn);
    lw_queue_wake_all(&call->latch.readers); /* some of them are below it */
    return LW_OK;
}

/* Draws the commit timestamp and proposes, with nothing in between: a reader above it that comes
 * later finds it drawn, and none came before (P3). Writes nothing if something that was seen has
 * expired meanwhile. */
LW_YIELDS static lw_status draw_and_write(replica_call *call, const lw_commit_now_request *request,
                                          size_t size, bool *written, uint64_t *commit_timestamp) {
    lw_replica *replica = call->replica;
    LW_TRY(replica_call_room(call, size));
    LW_TRY(draw(call, request, commit_timestamp));
    LW_TRY(replica_spared(call, request->start));
    *written = *commit_timestamp < call->evaluation.valid_until;
    if (!*written) {
        LW_MARK(replica->env, "replica.expired_at_commit");
        call->latch.drawn = 0;
        return LW_OK;
    }
    call->latch.drawn = *commit_timestamp;
    /* About what is written, at once: it would grow several times. */
    (void)lw_buffer_reserve(&call->evaluation.batch, size + COMMIT_ENTRY_ROOM);
    lw_evaluate_commit_now_write(&call->evaluation, request, *commit_timestamp);
    lw_status status = propose_and_wait(call, request->start);
    if (status == LW_UNAVAILABLE && !LW_BUG(replica->env, "replica.doubt_not_noted")) {
        replica_note_writer(call, request->start,
                            LW_RECENT_IN_DOUBT); /* whoever leads next knows */
    }
    return status;
}

LW_YIELDS static lw_status commit_latched(replica_call *call, const lw_commit_now_request *request,
                                          size_t size, uint64_t *commit_timestamp) {
    bool written = false;
    while (!written) {
        LW_TRY(replica_evaluation_open(call));
        lw_status status = lw_evaluate_commit_now(&call->evaluation, request, commit_timestamp);
        replica_evaluation_close(call);
        call->looked = status == LW_CONFLICT || (status == LW_OK && *commit_timestamp == 0);
        LW_TRY(status);
        if (*commit_timestamp != 0) {
            return LW_OK; /* an earlier copy of the request did it */
        }
        LW_TRY(draw_and_write(call, request, size, &written, commit_timestamp));
    }
    return LW_OK;
}

/* Whether a transaction has ended with this answer, so that its pessimistic locks are of no more
 * use. */
static bool over(const replica_call *call, lw_status status) {
    return status == LW_OK ||
           (status == LW_CONFLICT && call->evaluation.obstacle.kind != LW_OBSTACLE_LOCK);
}

lw_status replica_commit_now(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_replica *replica = call->replica;
    lw_commit_now_request request;
    LW_TRY(lw_commit_now_request_decode(body, &call->arena, &request));
    call->start = request.start;
    LW_TRY(replica_stand(call, request.start));
    call->writing = request.start;
    LW_TRY(replica_await_copies(call, request.start));
    bool freeing = puts_nothing(request.mutations, request.mutation_count);
    LW_TRY(replica_admit(call, body.size, freeing));
    replica_share_reads(call, request.keys, request.key_count, request.ranges, request.range_count);
    lw_commit_reply answer = {0};
    lw_status status =
        latch_mutations(call, request.start, request.mutations, request.mutation_count);
    if (status == LW_OK) {
        status = commit_latched(call, &request, body.size, &answer.commit_timestamp);
    }
    replica_unlatch(call);
    release_passing(call, request.start, request.mutations, request.mutation_count);
    if (over(call, status)) {
        lw_lock_table_release_all(replica->locks, request.start);
    }
    LW_TRY(status);
    replica_note_writer(call, request.start, answer.commit_timestamp);
    replica->figures.commits++;
    answer.results = call->evaluation.results;
    answer.result_count = call->evaluation.result_count;
    lw_commit_reply_encode(&answer, reply);
    return LW_OK;
}

/* ---- PREWRITE ------------------------------------------------------------------------------- */

/* Unless the transaction was killed: looked at without suspending before the proposal (Y1). */
LW_YIELDS static lw_status write_intents(replica_call *call, uint64_t start) {
    size_t size = call->evaluation.batch.size;
    if (size == 0) {
        return replica_confirm(call);
    }
    LW_TRY(replica_call_room(call, size));
    LW_TRY(replica_spared(call, start));
    return propose_and_wait(call, start);
}

LW_YIELDS static lw_status prewrite_latched(replica_call *call, const lw_prewrite_request *request,
                                            size_t size, lw_prewrite_reply *answer) {
    uint32_t position = 0;
    LW_TRY(replica_call_room(call, size)); /* rather than wait for it with readers waiting too */
    if (!LW_BUG(call->replica->env, "txn.prewrite_not_drawn")) {
        call->latch.drawn = request->commit_timestamp; /* from here on readers above it wait (E6) */
    }
    LW_TRY(replica_evaluation_open(call));
    lw_status status = LW_OK;
    while (status == LW_OK && position < request->mutation_count) {
        status = lw_evaluate_prewrite(&call->evaluation, request, &position, answer);
        call->looked = status == LW_CONFLICT || (status == LW_OK && answer->committed == 0);
        if (status == LW_OK) {
            status = write_intents(call, request->start);
        }
    }
    replica_evaluation_close(call);
    return status;
}

lw_status replica_prewrite(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_replica *replica = call->replica;
    lw_prewrite_request request;
    LW_TRY(lw_prewrite_request_decode(body, &call->arena, &request));
    call->start = request.start;
    LW_TRY(replica_stand(call, request.start));
    LW_TRY(replica_given(call, request.commit_timestamp));
    call->writing = request.start;
    bool freeing = puts_nothing(request.mutations, request.mutation_count);
    LW_TRY(replica_admit(call, body.size, freeing));
    replica_share_reads(call, request.keys, request.key_count, request.ranges, request.range_count);
    lw_prewrite_reply answer = {0};
    lw_status status =
        latch_mutations(call, request.start, request.mutations, request.mutation_count);
    if (status == LW_OK) {
        status = prewrite_latched(call, &request, body.size, &answer);
    }
    replica_unlatch(call);
    release_passing(call, request.start, request.mutations, request.mutation_count);
    if (call->orphaned) {
        LW_MARK(replica->env, "replica.orphaned_prewrite");
        replica_open_doom_one(replica, request.start);
    }
    LW_TRY(status);
    hand_over(call, request.start, request.mutations, request.mutation_count);
    /* Once for a transaction, or if it has long committed. */
    if (lw_equal(request.mutations[0].key, request.primary) || answer.committed != 0) {
        bool unlearns = LW_BUG(replica->env, "replica.copy_unlearns_commit");
        replica_note_writer(call, request.start, unlearns ? 0 : answer.committed);
    }
    answer.valid_until = call->evaluation.valid_until;
    lw_prewrite_reply_encode(&answer, reply);
    return LW_OK;
}
