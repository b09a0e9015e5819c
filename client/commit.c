/* SPDX-License-Identifier: Apache-2.0 */
/* Carries out what the commit machine (txn/commit.h) decides: turns its actions into requests, and
 * what comes back into events. */
#include "client/transaction.h"
#include "txn/atomic.h"
#include "txn/commit.h"

enum {
    ONE_ROUND_BYTES_MAX = 8 * 1024 * 1024, /* of keys, values and reads in one COMMIT_NOW */
    ONE_ROUND_COUNT_MAX = 64 * 1024,       /* mutations and reads in one COMMIT_NOW */
    MESSAGE_BYTES_MAX = 2 * 1024 * 1024, /* of a PREWRITE, COMMIT, … ; one mutation may be more */
    MESSAGE_COUNT_MAX = 16 * 1024,
    LOCK_LIFETIME_MS = 5000,
};

/* What the commit works on: the writes and reads as arrays, so that any part can be sent. */
typedef struct work {
    lw_txn *txn;
    lw_commit_machine machine;
    lw_mutation *mutations;
    lw_bytes *keys; /* of the mutations */
    lw_seen_key *read_keys;
    lw_seen_range *read_ranges;
    uint64_t refreshed_ns; /* when the primary lock last began its lifetime */
    uint32_t attempt;      /* of resolving, for growing pauses */
    bool obstructed;       /* `obstacle` is what stands in the way; it lives in `kept` */
    lw_obstacle obstacle;
    lw_buffer kept;
} work;

/* ---- preparing ---------------------------------------------------------------------------- */

static void gather_writes(work *job) {
    lw_txn *txn = job->txn;
    lw_memory *memory = txn->client->env->memory;
    job->mutations = lw_allocate(memory, txn->writes.count * sizeof(lw_mutation));
    job->keys = lw_allocate(memory, txn->writes.count * sizeof(lw_bytes));
    bool first_wins = txn->options.isolation == LW_SNAPSHOT && txn->read_timestamp != 0;
    uint64_t index = 0;
    for (const lw_write *one = txn->writes.first[0]; one != NULL; one = one->next[0], index++) {
        job->mutations[index] = one->mutation;
        job->keys[index] = one->mutation.key;
        if (one->mutation.kind == LW_MUTATION_LOCK) {
            job->mutations[index].value = (lw_bytes){0};
        }
        bool atomic = lw_mutation_is_atomic(one->mutation.kind);
        if (one->mutation.seen == LW_SEEN_ANYTHING && first_wins && !atomic) {
            job->mutations[index].seen = txn->read_timestamp;
        }
    }
    LW_ASSERT(index == txn->writes.count);
}

static void gather_reads(work *job) {
    lw_txn *txn = job->txn;
    lw_memory *memory = txn->client->env->memory;
    job->read_keys = lw_allocate(memory, txn->read_count * sizeof(lw_seen_key));
    job->read_ranges = lw_allocate(memory, txn->range_count * sizeof(lw_seen_range));
    uint64_t index = 0;
    for (const lw_read_key *one = txn->first_read; one != NULL; one = one->next) {
        job->read_keys[index++] = one->seen;
    }
    LW_ASSERT(index == txn->read_count);
    index = 0;
    for (const lw_read_range *one = txn->ranges; one != NULL; one = one->next) {
        job->read_ranges[index++] = one->seen;
    }
    LW_ASSERT(index == txn->range_count);
}

static void write_token(lw_txn *txn, lw_bytes primary) {
    lw_buffer_clear(&txn->token);
    lw_buffer_print(&txn->token, "%016llx-", (unsigned long long)txn->start);
    for (size_t index = 0; index < primary.size; index++) {
        lw_buffer_print(&txn->token, "%02x", primary.data[index]);
    }
    lw_buffer_append_u8(&txn->token, 0);
}

static bool fits_one_round(const lw_txn *txn) {
    uint64_t count = txn->writes.count + txn->read_count + txn->range_count;
    if (txn->result != NULL) {
        return true; /* only an answer in one round tells it */
    }
    return count <= ONE_ROUND_COUNT_MAX &&
           txn->writes.bytes + txn->read_bytes <= ONE_ROUND_BYTES_MAX &&
           !LW_RARE(txn->client->env, "client.two_phases");
}

/* ---- actions ------------------------------------------------------------------------------ */

/* How many items from `first` on fit a message; at least one. */
static uint32_t fitting(work *job, const lw_mutation *mutations, const lw_bytes *keys,
                        uint64_t first, uint64_t count) {
    LW_ASSERT(mutations != NULL || keys != NULL);
    uint64_t taken = 0, bytes = 0;
    uint64_t count_max =
        LW_RARE(job->txn->client->env, "client.tiny_messages") ? 1 : (uint64_t)MESSAGE_COUNT_MAX;
    while (first + taken < count && taken < count_max) {
        uint64_t at = first + taken;
        bytes += mutations != NULL ? mutations[at].key.size + mutations[at].value.size + 32
                                   : keys[at].size + 16;
        if (taken > 0 && bytes > MESSAGE_BYTES_MAX) {
            break;
        }
        taken++;
    }
    return (uint32_t)taken;
}

static lw_message_kind prepare_now(work *job, lw_commit_event *event) {
    lw_txn *txn = job->txn;
    lw_commit_now_request request = {.start = txn->start,
                                     .mutations = job->mutations,
                                     .mutation_count = (uint32_t)txn->writes.count,
                                     .keys = job->read_keys,
                                     .key_count = (uint32_t)txn->read_count,
                                     .ranges = job->read_ranges,
                                     .range_count = (uint32_t)txn->range_count};
    lw_commit_now_request_encode(&request, &txn->request);
    event->count = txn->writes.count;
    return LW_MESSAGE_COMMIT_NOW;
}

static lw_message_kind prepare_prewrite(work *job, uint64_t first, lw_commit_event *event) {
    lw_txn *txn = job->txn;
    uint32_t count = fitting(job, job->mutations, NULL, first, txn->writes.count);
    lw_prewrite_request request = {.start = txn->start,
                                   .primary = job->keys[0],
                                   .lifetime_ms = LOCK_LIFETIME_MS,
                                   .mutations = job->mutations + first,
                                   .mutation_count = count};
    lw_prewrite_request_encode(&request, &txn->request);
    event->count = count;
    return LW_MESSAGE_PREWRITE;
}

/* Reads are numbered keys first, then ranges. */
static lw_message_kind prepare_validate(work *job, uint64_t first, lw_commit_event *event) {
    lw_txn *txn = job->txn;
    lw_validate_request request = {.start = txn->start,
                                   .commit_timestamp = job->machine.commit_timestamp};
    uint64_t left;
    if (first < txn->read_count) {
        left = txn->read_count - first;
        request.keys = job->read_keys + first;
        /* Keys are at most 16 KiB: a hundred always fit, and most messages are of small ones. */
        request.key_count = (uint32_t)(left > 100 ? 100 : left);
        event->count = request.key_count;
    } else {
        left = txn->range_count - (first - txn->read_count);
        request.ranges = job->read_ranges + (first - txn->read_count);
        request.range_count = (uint32_t)(left > 50 ? 50 : left);
        event->count = request.range_count;
    }
    lw_validate_request_encode(&request, &txn->request);
    return LW_MESSAGE_VALIDATE;
}

static lw_message_kind prepare_finish(work *job, const lw_commit_action *action,
                                      lw_commit_event *event) {
    lw_txn *txn = job->txn;
    bool commits = action->kind == LW_COMMIT_SEND_COMMIT;
    uint64_t count = commits ? txn->writes.count : job->machine.prewritten;
    uint32_t taken = fitting(job, NULL, job->keys, action->first, count);
    if (commits && action->first == 0) {
        taken = 1; /* the primary decides alone */
    }
    lw_finish_request request = {.start = txn->start,
                                 .commit_timestamp = commits ? job->machine.commit_timestamp : 0,
                                 .keys = job->keys + action->first,
                                 .key_count = taken};
    lw_finish_request_encode(&request, &txn->request);
    event->count = taken;
    return commits ? LW_MESSAGE_COMMIT : LW_MESSAGE_ROLLBACK;
}

/* Encodes the request of an action into txn->request. */
static lw_message_kind prepare(work *job, const lw_commit_action *action, lw_commit_event *event) {
    lw_buffer_clear(&job->txn->request);
    switch (action->kind) {
    case LW_COMMIT_SEND_NOW:
        return prepare_now(job, event);
    case LW_COMMIT_SEND_PREWRITE:
        return prepare_prewrite(job, action->first, event);
    case LW_COMMIT_SEND_VALIDATE:
        return prepare_validate(job, action->first, event);
    case LW_COMMIT_SEND_COMMIT:
    case LW_COMMIT_SEND_ROLLBACK:
        return prepare_finish(job, action, event);
    case LW_COMMIT_SEND_TIMESTAMP: {
        lw_timestamp_request request = {.count = 1};
        lw_timestamp_request_encode(&request, &job->txn->request);
        return LW_MESSAGE_TIMESTAMP;
    }
    case LW_COMMIT_RESOLVE:
    case LW_COMMIT_DONE:
        break;
    }
    LW_ASSERT(false && "an action without a request");
    return LW_MESSAGE_HELLO;
}

/* Keeps what is in the way beyond the reply it came in. */
static lw_status keep_obstacle(work *job, const lw_reply *reply) {
    lw_buffer_clear(&job->kept);
    lw_buffer_append(&job->kept, reply->body);
    return lw_obstacle_decode(lw_buffer_view(&job->kept), &job->txn->arena, &job->obstacle);
}

/* A long commit keeps its primary lock alive. */
LW_YIELDS static lw_status refresh(work *job) {
    lw_txn *txn = job->txn;
    uint64_t now = lw_env_now(txn->client->env);
    bool fresh = now - job->refreshed_ns < LOCK_LIFETIME_MS * 1000000ull / 3;
    if (job->machine.prewritten == 0 || fresh) {
        job->refreshed_ns = job->machine.prewritten == 0 ? now : job->refreshed_ns;
        return LW_OK;
    }
    lw_heartbeat_request request = {
        .start = txn->start, .primary = job->keys[0], .lifetime_ms = LOCK_LIFETIME_MS};
    lw_buffer body = lw_buffer_in(txn->client->env->memory);
    lw_heartbeat_request_encode(&request, &body);
    lw_reply reply;
    lw_status status = lw_client_call(txn->client, LW_MESSAGE_HEARTBEAT, job->keys[0],
                                      lw_buffer_view(&body), txn->deadline_ns, &reply, NULL);
    lw_buffer_reset(&body);
    job->refreshed_ns = now;
    return status == LW_CONFLICT ? LW_OK : status; /* the next step hears of it properly */
}

/* In simulations some clients outlive their locks just before they decide (hazard T8). */
LW_YIELDS static void dawdle(const work *job, const lw_commit_action *action) {
    lw_env *env = job->txn->client->env;
    if (action->kind == LW_COMMIT_SEND_COMMIT && action->first == 0 &&
        LW_RARE(env, "client.dawdles")) {
        lw_env_sleep(env, lw_env_random_below(env, 2 * LOCK_LIFETIME_MS * UINT64_C(1000000)));
    }
}

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

LW_YIELDS static void carry_out(work *job, const lw_commit_action *action, lw_commit_event *event) {
    lw_txn *txn = job->txn;
    lw_reply reply;
    dawdle(job, action);
    if (action->kind == LW_COMMIT_RESOLVE) {
        event->status = lw_txn_resolve(txn, &job->obstacle, job->attempt++);
        return;
    }
    lw_message_kind kind = prepare(job, action, event);
    event->status = lw_client_call(txn->client, kind, job->keys[0], lw_buffer_view(&txn->request),
                                   txn->deadline_ns, &reply, &event->lost);
    if (event->status == LW_CONFLICT) {
        lw_status status = keep_obstacle(job, &reply);
        event->status = status == LW_OK ? LW_CONFLICT : status;
        event->obstacle = job->obstacle.kind;
        job->obstructed = status == LW_OK;
    } else if (event->status == LW_OK && kind == LW_MESSAGE_COMMIT_NOW) {
        lw_commit_reply answer;
        event->status = lw_commit_reply_decode(reply.body, &txn->client->arena, &answer);
        if (event->status == LW_OK) {
            event->status = take_result(txn, &answer);
        }
        event->timestamp = answer.commit_timestamp;
        event->lost = event->status != LW_OK;
    } else if (event->status == LW_OK && kind == LW_MESSAGE_TIMESTAMP) {
        lw_timestamp_reply answer;
        event->status = lw_timestamp_reply_decode(reply.body, &txn->client->arena, &answer);
        event->timestamp = answer.first;
    }
}

/* Steps the machine to its end. The reason of the first failure that ended it is kept: rolling back
 * is no news. */
LW_YIELDS static lw_status drive(work *job) {
    lw_error reason = {0};
    for (;;) {
        lw_commit_action action = lw_commit_machine_next(&job->machine);
        if (action.kind == LW_COMMIT_DONE) {
            break;
        }
        lw_commit_event event = {0};
        if (action.kind == LW_COMMIT_SEND_PREWRITE || action.kind == LW_COMMIT_SEND_VALIDATE) {
            event.status = refresh(job);
        }
        if (event.status == LW_OK) {
            carry_out(job, &action, &event);
        }
        if (event.status != LW_OK && reason.status == LW_OK &&
            !(event.status == LW_CONFLICT && event.obstacle == LW_OBSTACLE_LOCK)) {
            if (event.status == LW_CONFLICT && job->obstructed) {
                (void)!lw_txn_conflict(&job->obstacle);
            }
            reason = *lw_error_slot();
        }
        lw_commit_machine_step(&job->machine, &event);
    }
    if (job->machine.outcome == LW_OK) {
        return LW_OK;
    }
    *lw_error_slot() = reason;
    if (job->machine.outcome == LW_UNDETERMINED) {
        return lw_fail(LW_UNDETERMINED,
                       "the commit was sent, and no answer came before the deadline; ask for the "
                       "outcome with the transaction's token (%.300s)",
                       reason.text);
    }
    return job->machine.outcome;
}

lw_status lw_txn_commit(lw_txn *txn) {
    lw_memory *memory = txn->client->env->memory;
    if (txn->start == 0) {
        LW_TRY(lw_client_timestamp(txn->client, txn->deadline_ns, &txn->start));
    }
    work job = {.txn = txn, .kept = lw_buffer_in(memory)};
    gather_writes(&job);
    gather_reads(&job);
    write_token(txn, job.keys[0]);
    lw_commit_machine_init(&job.machine, txn->writes.count, txn->read_count + txn->range_count,
                           fits_one_round(txn));
    lw_status status = drive(&job);
    if (status == LW_OK) {
        txn->commit_timestamp = job.machine.commit_timestamp;
    } else if (status == LW_UNDETERMINED) {
        lw_buffer_clear(&txn->client->token);
        lw_buffer_append(&txn->client->token, lw_buffer_view(&txn->token));
    }
    lw_buffer_reset(&job.kept);
    lw_free(memory, job.mutations);
    lw_free(memory, job.keys);
    lw_free(memory, job.read_keys);
    lw_free(memory, job.read_ranges);
    return status;
}
