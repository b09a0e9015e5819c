/* SPDX-License-Identifier: Apache-2.0 */
/* Calls: requests routed to the shards they are about, made together over the link, and made again
 * until the deadline (client/client.h).
 *
 * Invariants
 * 1. A request whose answer is known is not sent again, whatever becomes of those made with it.
 * 2. LW_UNAVAILABLE with a list of shards means that nothing was done there: what earlier attempts
 *    may have done stays as uncertain as it was (hazard T9). */
#include "client/client.h"

static const uint64_t ns_per_ms = 1000000;

/* One round of attempts of the calls that are not done. */
typedef struct round {
    lw_client *client;
    uint64_t deadline_ns;
    lw_call *calls;
    uint32_t count;
    lw_attempt *attempts; /* as many as there are calls at most */
    uint32_t *places;     /* of the call that each attempt belongs to */
    uint32_t attempt_count;
    bool learnt; /* something new about the shards: try again at once */
} round;

static uint32_t remaining_ms(lw_client *client, uint64_t deadline_ns) {
    uint64_t now = lw_env_now(client->env);
    uint64_t left_ms = now >= deadline_ns ? 0 : (deadline_ns - now + ns_per_ms - 1) / ns_per_ms;
    return left_ms == 0 ? 1 : left_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)left_ms;
}

/* ---- routing -------------------------------------------------------------------------------- */

/* Asks a node for shards, from the one on that holds `key`. One attempt. */
LW_YIELDS static lw_status ask_topology(lw_client *client, lw_bytes key, uint64_t deadline_ns) {
    lw_attempt attempt = {.request = {.kind = LW_MESSAGE_TOPOLOGY,
                                      .timeout_ms = remaining_ms(client, deadline_ns),
                                      .body = key}};
    LW_MARK(client->env, "client.asks_for_shards");
    LW_TRY(lw_link_call(&client->link, &attempt, 1, deadline_ns));
    client->reached = true;
    if (attempt.reply.status != LW_OK) {
        return lw_fail(attempt.reply.status, "%.*s", (int)attempt.reply.error.size,
                       (const char *)attempt.reply.error.data);
    }
    (void)lw_routes_learn_all(&client->routes, attempt.reply.body);
    return LW_OK;
}

static const lw_shard_descriptor *find(const lw_client *client, lw_bytes key, bool before) {
    return before ? lw_routes_find_before(&client->routes, key)
                  : lw_routes_find(&client->routes, key);
}

lw_status lw_client_route(lw_client *client, lw_bytes key, bool before, uint64_t deadline_ns,
                          const lw_shard_descriptor **shard) {
    if (!client->usable) {
        return lw_fail(LW_INVALID_ARGUMENT, "this client was never opened");
    }
    for (uint32_t attempt = 0; (*shard = find(client, key, before)) == NULL; attempt++) {
        lw_status status = ask_topology(client, key, deadline_ns);
        if (status == LW_REFUSED || (!client->reached && status == LW_UNAVAILABLE)) {
            return status;
        }
        if (find(client, key, before) == NULL && !lw_client_pause(client, attempt, deadline_ns)) {
            char text[LW_PRINTABLE_SIZE];
            return lw_fail(LW_TIMEOUT, "no node told before the deadline which shard holds \"%s\"",
                           lw_printable(key, text, sizeof(text)));
        }
    }
    return LW_OK;
}

/* Whether what the call is about lies in the shard. */
static bool lies_in(const lw_call *call, const lw_shard_descriptor *shard) {
    return call->range ? lw_shard_spans(shard, call->first, call->last)
                       : lw_shard_holds(shard, call->last);
}

/* Adds an attempt of a call to the round. False if the call ended instead. */
LW_YIELDS static bool enter(round *in, uint32_t place) {
    lw_call *call = &in->calls[place];
    lw_request request = {.kind = call->kind,
                          .timeout_ms = remaining_ms(in->client, in->deadline_ns),
                          .body = call->body};
    if (call->kind >= LW_MESSAGE_TIMESTAMP) {
        const lw_shard_descriptor *shard = NULL;
        call->status = lw_client_route(in->client, call->first, false, in->deadline_ns, &shard);
        if (call->status == LW_OK && !lies_in(call, shard)) {
            LW_MARK(in->client->env, "client.keys_moved_apart");
            call->moved = true;
            call->status = lw_fail(LW_UNAVAILABLE, "the keys do not lie in one shard any more");
        }
        if (call->status != LW_OK) {
            call->done = true;
            return false;
        }
        LW_ASSERT(shard != NULL);
        request.shard = shard->id;
        request.epoch = shard->epoch;
    }
    in->places[in->attempt_count] = place;
    in->attempts[in->attempt_count++] = (lw_attempt){.request = request};
    return true;
}

/* ---- answers -------------------------------------------------------------------------------- */

/* The link broke, or the deadline passed, before this one was answered. */
static void take_silence(round *in, lw_call *call, const lw_attempt *attempt, lw_status status) {
    lw_client *client = in->client;
    call->lost = call->lost || attempt->sent;
    client->spare = 0; /* it came over a connection that is no more */
    call->status = status;
    call->done = status == LW_REFUSED || status == LW_INVALID_ARGUMENT ||
                 (!client->reached && status == LW_UNAVAILABLE);
}

/* A shard that knows better is learnt from; one that says what we believed already has nothing to
 * say of this key any more. */
static void learn(round *in, const lw_call *call, lw_bytes topology) {
    lw_routes *routes = &in->client->routes;
    if (lw_routes_learn_all(routes, topology)) {
        LW_MARK(in->client->env, "client.learns_of_shards");
        in->learnt = true;
    } else {
        lw_routes_forget(routes, call->first);
    }
}

static void take_reply(round *in, lw_call *call, const lw_reply *reply) {
    lw_client *client = in->client;
    client->reached = true;
    if (reply->spare != 0) {
        client->spare = reply->spare;
        client->spare_taken_ns = lw_env_now(client->env);
    }
    call->status = reply->status;
    if (reply->status != LW_OK) {
        call->status =
            lw_fail(reply->status, "%.*s", (int)reply->error.size, (const char *)reply->error.data);
    }
    if (reply->status == LW_UNDETERMINED) { /* the node's log died under it: the next start knows */
        call->lost = true;
        return;
    }
    if (reply->status == LW_UNAVAILABLE || reply->status == LW_BACKPRESSURE) {
        if (reply->status == LW_UNAVAILABLE && reply->body.size > 0) {
            learn(in, call, reply->body);
        }
        return;
    }
    if (reply->status == LW_OK || reply->status == LW_CONFLICT) {
        call->lost = false; /* these answers know what became of earlier attempts */
    }
    call->done = true;
    call->reply = *reply;
}

/* Keeps the replies of this round beyond the next. */
static void keep_replies(round *in) {
    for (uint32_t index = 0; index < in->attempt_count; index++) {
        lw_call *call = &in->calls[in->places[index]];
        if (call->done) {
            call->reply.body = lw_arena_copy(&in->client->arena, call->reply.body);
            call->reply.error = lw_arena_copy(&in->client->arena, call->reply.error);
        }
    }
}

/* ---- rounds --------------------------------------------------------------------------------- */

/* Attempts every call that is not done. Returns whether all are now. */
LW_YIELDS static bool attempt_all(round *in) {
    in->attempt_count = 0;
    in->learnt = false;
    bool all = true;
    for (uint32_t place = 0; place < in->count; place++) {
        if (!in->calls[place].done) {
            (void)enter(in, place);
        }
    }
    if (in->attempt_count == 0) {
        return true;
    }
    lw_status status =
        lw_link_call(&in->client->link, in->attempts, in->attempt_count, in->deadline_ns);
    for (uint32_t index = 0; index < in->attempt_count; index++) {
        const lw_attempt *attempt = &in->attempts[index];
        lw_call *call = &in->calls[in->places[index]];
        if (attempt->answered) {
            take_reply(in, call, &attempt->reply);
        } else {
            take_silence(in, call, attempt, status);
        }
        all = all && call->done;
    }
    if (!all && in->count > 1) {
        keep_replies(in);
    }
    return all;
}

/* The deadline has passed: what is not done stays so. */
static void end_in_silence(round *in) {
    lw_error reason = *lw_error_slot();
    for (uint32_t place = 0; place < in->count; place++) {
        lw_call *call = &in->calls[place];
        if (!call->done) {
            lw_status last = call->status == LW_BACKPRESSURE ? LW_BACKPRESSURE : LW_TIMEOUT;
            call->done = true;
            call->status =
                lw_fail(last, "no answer from %s before the deadline; the last attempt: %.400s",
                        in->client->link.address, reason.text);
        }
    }
}

/* The status of the first call that failed, with its own reason where others failed too. */
static lw_status first_failure(const round *in) {
    lw_status first = LW_OK;
    for (uint32_t place = 0; place < in->count && first == LW_OK; place++) {
        const lw_call *call = &in->calls[place];
        first = call->status;
        if (first != LW_OK && in->count > 1 && call->reply.error.size > 0) {
            return lw_fail(first, "%.*s", (int)call->reply.error.size,
                           (const char *)call->reply.error.data);
        }
    }
    return first;
}

lw_status lw_client_call_all(lw_client *client, lw_call *calls, uint32_t count,
                             uint64_t deadline_ns) {
    LW_ASSERT(count > 0 && count <= LW_CALL_COUNT_MAX);
    if (!client->usable) {
        return lw_fail(LW_INVALID_ARGUMENT, "this client was never opened");
    }
    lw_arena_reset(&client->arena);
    round in = {.client = client,
                .deadline_ns = deadline_ns,
                .calls = calls,
                .count = count,
                .attempts = lw_arena_allocate(&client->arena, count * sizeof(lw_attempt)),
                .places = lw_arena_allocate(&client->arena, count * sizeof(uint32_t))};
    for (uint32_t attempt = 0; !attempt_all(&in); attempt++) {
        LW_MARK(client->env, "client.call_tried_again");
        lw_error reason = *lw_error_slot();
        if (in.learnt && lw_env_now(client->env) < deadline_ns) {
            continue;
        }
        if (!lw_client_pause(client, attempt, deadline_ns)) {
            *lw_error_slot() = reason;
            end_in_silence(&in);
        }
    }
    return first_failure(&in);
}

lw_status lw_client_call(lw_client *client, lw_message_kind kind, lw_bytes key, lw_bytes body,
                         uint64_t deadline_ns, lw_reply *reply, bool *lost) {
    lw_call call = {.kind = kind, .body = body, .first = key, .last = key};
    lw_status status = lw_client_call_all(client, &call, 1, deadline_ns);
    if (lost != NULL) {
        *lost = call.lost;
    }
    *reply = call.reply;
    return status;
}

void lw_client_send_behind(lw_client *client, lw_message_kind kind, lw_bytes key, lw_bytes body) {
    const lw_shard_descriptor *shard = lw_routes_find(&client->routes, key);
    if (shard != NULL) {
        lw_request request = {
            .kind = kind, .shard = shard->id, .epoch = shard->epoch, .body = body};
        lw_link_send_behind(&client->link, &request);
    }
}
