/* SPDX-License-Identifier: Apache-2.0 */
/* Carries out what the commit machine (txn/commit.h) decides: turns its actions into windows of
 * requests (client/commit_parts.c), and what comes back into events. */
#include "client/commit.h"
#include "client/resolve.h"

enum {
    ONE_ROUND_BYTES_MAX = 8 * 1024 * 1024, /* of keys, values and reads in one COMMIT_NOW */
    ONE_ROUND_COUNT_MAX = 64 * 1024,       /* mutations and reads in one COMMIT_NOW */
    PROPOSAL_FRESH_MS = 10, /* an older timestamp is likely to be below what was read since */
    LARGE_HEARTBEAT_MS = 60 * 1000,
    BEHIND_BYTES_MAX = 64 * 1024 /* of what ends a commit behind its answer */
};

static const uint64_t ns_per_ms = 1000000;

/* ---- what kind of commit it is -------------------------------------------------------------- */

static void write_token(lw_txn *txn, lw_bytes primary) {
    lw_buffer_clear(&txn->token);
    lw_buffer_print(&txn->token, "%016llx-", (unsigned long long)txn->start);
    static const char digits[] = "0123456789abcdef";
    for (size_t index = 0; index < primary.size; index++) {
        lw_buffer_append_u8(&txn->token, (uint8_t)digits[primary.data[index] >> 4]);
        lw_buffer_append_u8(&txn->token, (uint8_t)digits[primary.data[index] & 15]);
    }
    lw_buffer_append_u8(&txn->token, 0);
}

/* Whether it can be sent in one round, if it all lies in one shard. */
static bool fits_one_round(const lw_commit_job *job) {
    const lw_txn *txn = job->txn;
    uint64_t count = job->mutation_count + job->read_key_count + job->read_range_count;
    if (txn->result != NULL) {
        return true; /* only an answer in one round tells it */
    }
    return txn->flushes == 0 && count <= ONE_ROUND_COUNT_MAX &&
           txn->writes.bytes + txn->read_bytes <= ONE_ROUND_BYTES_MAX &&
           !LW_RARE(txn->client->env, "client.two_phases");
}

static bool fits_async(const lw_commit_job *job) {
    const lw_txn *txn = job->txn;
    uint64_t bytes = 0;
    if (txn->flushes > 0 || job->mutation_count - 1 > LW_SECONDARY_COUNT_MAX ||
        LW_RARE(txn->client->env, "client.not_asynchronous")) {
        return false;
    }
    for (uint64_t place = 1; place < job->mutation_count; place++) {
        bytes += job->keys[place].size;
    }
    return bytes <= LW_SECONDARY_BYTES_MAX;
}

/* Names the transaction, and settles how it begins to commit. */
LW_YIELDS static lw_status plan(lw_commit_job *job) {
    lw_txn *txn = job->txn;
    if (job->proposal != 0) {
        lw_commit_machine_init(&job->machine, false, true, false);
        job->machine.exact = true;
        return LW_OK;
    }
    bool one_round = fits_one_round(job), may_propose = fits_async(job);
    lw_commit_machine_init(&job->machine, one_round, may_propose, txn->flushes > 0);
    if (txn->start != 0) {
        return LW_OK;
    }
    if (one_round) { /* it has read nothing, so what it writes is all that may lie apart */
        LW_TRY(lw_commit_lies_in_one_shard(job, &one_round));
    }
    if (one_round || !may_propose) {
        return lw_client_timestamp(txn->client, txn->deadline_ns, &txn->start);
    }
    /* Two timestamps in one round trip. */
    LW_TRY(lw_client_fresh_timestamp(txn->client, 2, txn->deadline_ns, &txn->start));
    job->proposal = txn->start + 1;
    return LW_OK;
}

/* ---- what comes back ------------------------------------------------------------------------ */

/* Takes what a lone atomic write did. */
static lw_status take_result(lw_txn *txn, const lw_commit_reply *answer) {
    if (txn->result == NULL) {
        return LW_OK;
    }
    if (answer->result_count != 1) {
        return lw_fail(LW_INTERNAL, "the node answered %u results for one atomic write",
                       answer->result_count);
    }
    *txn->result = answer->results[0];
    lw_buffer_clear(txn->result_value);
    lw_buffer_append(txn->result_value, answer->results[0].value);
    txn->result->value = lw_buffer_view(txn->result_value);
    return LW_OK;
}

/* Reads a reply of LW_OK, as far as it tells something. */
static lw_status take_reply(lw_commit_job *job, const lw_call *call, uint64_t proposed,
                            lw_commit_event *event) {
    lw_arena *arena = &job->txn->client->arena;
    if (call->kind == LW_MESSAGE_COMMIT_NOW) {
        lw_commit_reply answer;
        LW_TRY(lw_commit_reply_decode(call->reply.body, arena, &answer));
        LW_TRY(take_result(job->txn, &answer));
        event->timestamp = answer.commit_timestamp;
    } else if (call->kind == LW_MESSAGE_PREWRITE) {
        lw_prewrite_reply answer;
        LW_TRY(lw_prewrite_reply_decode(call->reply.body, arena, &answer));
        event->timestamp = answer.committed;
        job->txn->valid_until =
            answer.valid_until < job->txn->valid_until ? answer.valid_until : job->txn->valid_until;
        event->classic = proposed != 0 && !answer.asynchronous && answer.committed == 0;
    }
    return LW_OK;
}

static lw_commit_event event_of(lw_commit_job *job, const lw_call *call, uint64_t proposed) {
    lw_obstacle obstacle = {0};
    lw_commit_event event = {0};
    lw_status status = call->status;
    if (status == LW_OK) {
        status = take_reply(job, call, proposed, &event);
    } else if (status == LW_CONFLICT) {
        status = lw_obstacle_decode(call->reply.body, &job->txn->client->arena, &obstacle);
        status = status == LW_OK ? LW_CONFLICT : status;
    }
    bool lost = call->lost || status != call->status; /* what cannot be read tells nothing */
    lw_commit_event told = lw_commit_event_of(status, obstacle.kind, lost, call->moved);
    told.timestamp = event.timestamp;
    told.classic = event.classic;
    return told;
}

/* Keeps what is in the way beyond the reply it came in. */
static void keep_obstacle(lw_commit_job *job, lw_bytes body) {
    lw_buffer_clear(&job->kept);
    lw_buffer_append(&job->kept, body);
    lw_status status = lw_obstacle_decode(lw_buffer_view(&job->kept), &job->arena, &job->obstacle);
    LW_ASSERT(status == LW_OK); /* it was decoded before */
}

/* Puts the reason of the call that the merged event comes from into the error slot. */
static void tell_reason(lw_commit_job *job, const lw_call *call, const lw_commit_event *event) {
    if (event->status == LW_CONFLICT) {
        keep_obstacle(job, call->reply.body);
        (void)!lw_txn_conflict(&job->obstacle);
    } else if (call->reply.error.size > 0) {
        (void)!lw_fail(event->status, "%.*s", (int)call->reply.error.size,
                       (const char *)call->reply.error.data);
    }
}

void lw_commit_send_window(lw_commit_job *job, uint64_t proposed, lw_commit_event *event) {
    lw_txn *txn = job->txn;
    *event = (lw_commit_event){0};
    if (job->call_count == 0) {
        return;
    }
    (void)!lw_client_call_all(txn->client, job->calls, job->call_count, txn->deadline_ns);
    uint32_t telling = 0;
    for (uint32_t index = 0; index < job->call_count; index++) {
        lw_commit_event one = event_of(job, &job->calls[index], proposed);
        lw_commit_event before = *event;
        lw_commit_event_merge(event, &one);
        bool changed = event->status != before.status || event->obstacle != before.obstacle;
        telling = changed ? index : telling;
    }
    if (event->status != LW_OK) {
        tell_reason(job, &job->calls[telling], event);
    }
}

/* ---- actions -------------------------------------------------------------------------------- */

/* A long commit keeps its primary lock alive. */
LW_YIELDS static lw_status refresh(lw_commit_job *job) {
    lw_txn *txn = job->txn;
    uint64_t now = lw_env_now(txn->client->env);
    uint64_t interval_ms =
        txn->flushes > 0 ? (uint64_t)LARGE_HEARTBEAT_MS : LW_LOCK_LIFETIME_MS / 3;
    bool fresh = now - job->refreshed_ns < interval_ms * ns_per_ms;
    if (!job->machine.prewritten || fresh) {
        job->refreshed_ns = job->machine.prewritten ? job->refreshed_ns : now;
        return LW_OK;
    }
    lw_heartbeat_request request = {
        .start = txn->start, .primary = job->primary, .lifetime_ms = lw_txn_lifetime_ms(txn)};
    lw_buffer body = lw_buffer_in(txn->client->env->memory);
    lw_heartbeat_request_encode(&request, &body);
    lw_reply reply;
    lw_status status = lw_client_call(txn->client, LW_MESSAGE_HEARTBEAT, job->primary,
                                      lw_buffer_view(&body), txn->deadline_ns, &reply, NULL);
    lw_buffer_reset(&body);
    job->refreshed_ns = now;
    return status == LW_CONFLICT ? LW_OK : status; /* the next step hears of it properly */
}

/* In simulations some clients outlive their locks just before they decide (hazard T8), or what they
 * read for update. */
LW_YIELDS static void dawdle(const lw_commit_job *job, const lw_commit_action *action) {
    lw_env *env = job->txn->client->env;
    bool expires = action->kind == LW_COMMIT_SEND_TIMESTAMP && job->txn->valid_until != UINT64_MAX;
    if ((action->kind == LW_COMMIT_SEND_PRIMARY || expires) && LW_RARE(env, "client.dawdles")) {
        lw_env_sleep(env, lw_env_random_below(env, LW_LOCK_LIFETIME_MS * 3 / 2 * ns_per_ms));
    }
}

/* In simulations some answers are as if they had been lost (hazard T9), and a split had come. */
static void lose_answer(const lw_commit_job *job, lw_commit_event *event) {
    lw_env *env = job->txn->client->env;
    if (event->status == LW_OK && LW_RARE(env, "client.loses_an_answer")) {
        bool moved = LW_RARE(env, "client.loses_an_answer_to_a_split");
        *event = lw_commit_event_of(lw_fail(LW_UNAVAILABLE, "the answer is taken to be lost"), 0,
                                    true, moved);
    }
}

/* Everything in one round. Again, when a split came between and it still lies in one shard. */
LW_YIELDS static void commit_now(lw_commit_job *job, lw_commit_event *event) {
    bool lost = false;
    do {
        *event = (lw_commit_event){.status = lw_commit_make_now(job)};
        if (event->status != LW_OK) {
            event->lost = lost;
        } else if (job->call_count == 0 ||
                   (lost && LW_RARE(job->txn->client->env, "client.comes_again_in_two_phases"))) {
            *event = lw_commit_event_of(LW_UNAVAILABLE, 0, lost, true);
            return;
        } else {
            lw_commit_send_window(job, 0, event);
            lose_answer(job, event);
            lost = (lost && event->status != LW_OK && !event->denied) || event->lost;
            event->lost = lost;
        }
    } while (event->moved);
}

/* The timestamp of an async commit: the newest that came since the transaction began will do, as
 * all that was acknowledged before that has a lower one. */
LW_YIELDS static void propose(lw_commit_job *job, lw_commit_event *event) {
    lw_txn *txn = job->txn;
    lw_client *client = txn->client;
    uint64_t now = lw_env_now(client->env);
    bool fresh = client->spare > txn->start && client->spare_taken_ns >= txn->begun_ns &&
                 now - client->spare_taken_ns < PROPOSAL_FRESH_MS * ns_per_ms;
    fresh = fresh && !LW_RARE(client->env, "client.proposes_anew");
    if (job->proposal != 0) {
        event->timestamp = job->proposal;
        job->proposal = 0;
    } else if (fresh) {
        event->timestamp = client->spare;
        client->spare = 0;
    } else {
        event->status = lw_client_fresh_timestamp(client, 1, txn->deadline_ns, &event->timestamp);
    }
}

/* The commit timestamp of two phases. Too late, if something expired that the mutations vouch for:
 * what was only read is validated with the timestamp known. */
LW_YIELDS static void take_commit_timestamp(lw_commit_job *job, lw_commit_event *event) {
    lw_txn *txn = job->txn;
    event->status = lw_client_fresh_timestamp(txn->client, 1, txn->deadline_ns, &event->timestamp);
    if (event->status == LW_OK && event->timestamp >= txn->valid_until) {
        LW_MARK(txn->client->env, "client.expired_before_commit");
        event->obstacle = LW_OBSTACLE_NEWER;
        event->status =
            lw_fail(LW_CONFLICT, "a value that this transaction read for update expired before it "
                                 "could commit: run the whole transaction again");
    }
}

/* One window of a phase that takes several. */
LW_YIELDS static void send_phase(lw_commit_job *job, const lw_commit_action *action,
                                 lw_commit_event *event) {
    bool more = false;
    uint64_t changes = job->txn->client->routes.changes;
    uint64_t proposed = action->kind == LW_COMMIT_SEND_PREWRITE ? action->timestamp : 0;
    if (action->kind == LW_COMMIT_SEND_PREWRITE) {
        if (proposed != 0 && changes != job->planned) { /* other reads may travel now (C5) */
            *event = lw_commit_event_of(LW_UNAVAILABLE, 0, false, true);
            return;
        }
        event->status = lw_commit_make_prewrites(job, proposed, &more);
        if (event->status == LW_OK && proposed != 0 &&
            job->txn->client->routes.changes != changes) { /* while they were made */
            *event = lw_commit_event_of(LW_UNAVAILABLE, 0, false, true);
            return;
        }
    } else {
        bool apart = action->kind == LW_COMMIT_SEND_VALIDATE_APART;
        job->planned = apart && action->begins ? changes : job->planned;
        event->status = lw_commit_make_validations(job, apart, action->timestamp, &more);
    }
    if (event->status == LW_OK) {
        lw_commit_send_window(job, proposed, event);
    }
    event->more = more;
    if (event->status == LW_OK) {
        job->at = job->next;
    }
}

/* Ends what is prewritten: behind the answer, as far as that is little, so that nobody waits. */
LW_YIELDS static void end(lw_commit_job *job, const lw_commit_action *action,
                          lw_commit_event *event) {
    lw_client *client = job->txn->client;
    bool commits = action->kind == LW_COMMIT_SEND_FINISH;
    bool more = false;
    if (action->begins) {
        job->at = (lw_commit_cursor){.item = job->txn->flushes > 0 ? 0 : action->first};
    }
    event->status = lw_commit_make_ends(job, commits ? action->timestamp : 0, &more);
    bool late = lw_env_now(client->env) >= job->txn->deadline_ns;
    bool little = !more && job->txn->flushes == 0 && job->window_bytes <= BEHIND_BYTES_MAX &&
                  !LW_RARE(client->env, "client.ends_before_the_answer");
    bool behind = (commits && little) || late;
    if (event->status != LW_OK || job->call_count == 0) {
        return;
    }
    for (uint32_t index = 0; index < job->call_count && behind; index++) {
        const lw_call *call = &job->calls[index];
        lw_client_send_behind(client, call->kind, call->first, call->body);
    }
    if (!behind) {
        lw_commit_send_window(job, 0, event);
    }
    event->more = more;
    job->at = job->next;
}

/* What a lone atomic write did, once it is known to have committed: a repeated request is told by
 * the record that the first one left. */
LW_YIELDS static void ask_for_result(lw_commit_job *job, lw_commit_event *event) {
    LW_MARK(job->txn->client->env, "client.asks_for_its_own_result");
    commit_now(job, event);
    if (event->status != LW_OK) {
        event->status = lw_fail(LW_UNDETERMINED, "it is committed, but what it made of the key "
                                                 "could not be learned in time");
    }
}

/* What became of a transaction when the answer that would tell was lost (hazard T9). */
LW_YIELDS static void ask(lw_commit_job *job, lw_commit_event *event) {
    lw_txn *txn = job->txn;
    lw_fate fate;
    LW_MARK(txn->client->env, "client.asks_for_its_own_fate");
    event->status = lw_client_resolve(txn->client, txn->start, job->primary, 0, true,
                                      txn->deadline_ns, &fate, &event->timestamp);
    if (event->status == LW_OK && fate != LW_FATE_COMMITTED) {
        event->status = LW_NOT_FOUND;
    } else if (event->status == LW_OK && txn->result != NULL) {
        ask_for_result(job, event);
    }
}

LW_YIELDS static void carry_out(lw_commit_job *job, const lw_commit_action *action,
                                lw_commit_event *event) {
    lw_txn *txn = job->txn;
    if (action->begins) {
        job->at = (lw_commit_cursor){0};
    }
    dawdle(job, action);
    switch (action->kind) {
    case LW_COMMIT_SEND_NOW:
        commit_now(job, event);
        break;
    case LW_COMMIT_SEND_PROPOSAL:
        propose(job, event);
        break;
    case LW_COMMIT_SEND_TIMESTAMP:
        take_commit_timestamp(job, event);
        break;
    case LW_COMMIT_SEND_VALIDATE_APART:
    case LW_COMMIT_SEND_PREWRITE:
    case LW_COMMIT_SEND_VALIDATE:
        event->status = refresh(job);
        if (event->status == LW_OK) {
            send_phase(job, action, event);
        }
        break;
    case LW_COMMIT_SEND_PRIMARY:
        lw_commit_make_primary(job, action->timestamp);
        lw_commit_send_window(job, 0, event);
        break;
    case LW_COMMIT_SEND_FINISH:
    case LW_COMMIT_SEND_ROLLBACK:
        end(job, action, event);
        break;
    case LW_COMMIT_RESOLVE:
        event->status = lw_txn_resolve(txn, &job->obstacle, job->attempt++);
        break;
    case LW_COMMIT_ASK:
        ask(job, event);
        break;
    case LW_COMMIT_DONE:
        LW_ASSERT(false && "an action after the end");
    }
}

/* ---- driving -------------------------------------------------------------------------------- */

/* Whether an event is the reason why a commit ends so. */
static bool tells_reason(const lw_commit_event *event) {
    bool lock = event->status == LW_CONFLICT && event->obstacle == LW_OBSTACLE_LOCK;
    return event->status != LW_OK && !event->moved && !lock;
}

/* Steps the machine to its end. The reason of the first failure that ended it is kept: rolling back
 * is no news. */
LW_YIELDS static lw_status drive(lw_commit_job *job) {
    lw_error reason = {0};
    for (;;) {
        lw_commit_action action = lw_commit_machine_next(&job->machine);
        if (action.kind == LW_COMMIT_DONE) {
            break;
        }
        lw_commit_event event = {0};
        carry_out(job, &action, &event);
        if (reason.status == LW_OK && tells_reason(&event)) {
            reason = *lw_error_slot();
        }
        lw_commit_machine_step(&job->machine, &event);
    }
    if (job->machine.outcome == LW_OK) {
        return LW_OK;
    }
    *lw_error_slot() = reason;
    if (job->machine.outcome == LW_UNDETERMINED &&
        !LW_BUG(job->txn->client->env, "client.doubt_is_failure")) {
        return lw_fail(LW_UNDETERMINED,
                       "the commit was sent, and no answer came before the deadline; ask for the "
                       "outcome with the transaction's token (%.300s)",
                       reason.text);
    }
    return job->machine.outcome == LW_UNDETERMINED ? LW_TIMEOUT : job->machine.outcome;
}

/* `timestamp`: the only one that will do; 0: any. */
LW_YIELDS static lw_status commit(lw_txn *txn, uint64_t timestamp, bool *granted) {
    lw_memory *memory = txn->client->env->memory;
    lw_commit_job *job = lw_allocate(memory, sizeof(*job));
    txn->flushes += txn->flushes > 0; /* the rest replaces what was flushed before */
    lw_commit_job_open(txn, true, job);
    job->proposal = timestamp;
    lw_status status = plan(job);
    if (status == LW_OK) {
        write_token(txn, job->primary);
        status = drive(job);
    }
    if (status == LW_OK) {
        txn->commit_timestamp = job->machine.commit_timestamp;
        txn->locks = txn->locks && job->machine.prewritten; /* one round freed them all */
    } else if (status == LW_UNDETERMINED) {
        lw_buffer_clear(&txn->client->token);
        lw_buffer_append(&txn->client->token, lw_buffer_view(&txn->token));
    }
    txn->flushes = 0; /* all of it has been seen to */
    *granted = !job->machine.ungranted || status == LW_OK || status == LW_UNDETERMINED;
    lw_commit_job_close(job);
    lw_free(memory, job);
    return status;
}

lw_status lw_txn_commit(lw_txn *txn) {
    bool granted;
    return commit(txn, 0, &granted);
}

lw_status lw_txn_commit_at(lw_txn *txn, uint64_t timestamp, bool *granted) {
    return commit(txn, timestamp, granted);
}
