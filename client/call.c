/* SPDX-License-Identifier: Apache-2.0 */
/* Calls: requests routed to the shards they are about, and there to the nodes that lead them; made
 * together, over several links at once if they go to several nodes; and made again until the
 * deadline (client/client.h). A node that is not the one to ask sends the client on, or is left for
 * the next: each is tried once, then there is a pause.
 *
 * Invariants
 * 1. A request whose answer is known is not sent again, whatever becomes of those made with it.
 * 2. LW_UNAVAILABLE with a list of shards means that nothing was done there: what earlier attempts
 *    may have done stays as uncertain as it was. Without one it may have been done (hazard T9).
 * 3. What becomes of one node shows in no call's outcome before its deadline, as long as another
 *    may answer. */
#include "client/client.h"

enum {
    REDIRECTS_MAX = 4, /* followed at once in one call: more of them are a circle */
};

typedef struct round round;

/* The attempts of a round over one link. */
typedef struct lane {
    round *in;
    lw_contact *contact;
    lw_attempt *attempts;
    uint32_t *places; /* of the call that each attempt belongs to */
    uint32_t count;
    lw_status status;
    lw_error *reason; /* of one among several */
} lane;

/* One round of attempts of the calls that are not done. */
struct round {
    lw_client *client;
    uint64_t deadline_ns;
    lw_call *calls;
    uint32_t count;
    lw_attempt *attempts; /* as many as there are calls at most; so of the next two */
    uint32_t *places;
    lw_contact **contacts; /* to whom they go */
    uint32_t attempt_count;
    lane one, *lanes; /* mostly there is one */
    uint32_t lane_count, lanes_running;
    lw_queue lane_ended;
    bool learnt;           /* something new about the shards, or whom to ask: try again at once */
    uint64_t since, began; /* failures of contacts before this round of them, and before the call */
    uint32_t redirects;
    const char *last; /* address of who was asked last */
    lw_error heard;   /* why the last node that answered did not do it; no status: none has */
};

/* What nodes said tells more than that the deadline came while one was asked again. */
static lw_status no_answer(const round *in, lw_status status) {
    lw_error reason = in->heard.status != LW_OK ? in->heard : *lw_error_slot();
    return lw_fail(status, "no answer from %s before the deadline; the last attempt: %.400s",
                   in->last, reason.text);
}

/* ---- routing -------------------------------------------------------------------------------- */

/* Whether what the call is about lies in the shard. */
static bool lies_in(const lw_call *call, const lw_shard_descriptor *shard) {
    return call->range ? lw_shard_spans(shard, call->first, call->last)
                       : lw_shard_holds(shard, call->last);
}

/* Adds an attempt of a call to the round. False if the call ended instead. */
LW_YIELDS static bool enter(round *in, uint32_t place) {
    lw_call *call = &in->calls[place];
    lw_request request = {.kind = call->kind,
                          .timeout_ms = lw_client_remaining_ms(in->client, in->deadline_ns),
                          .body = call->body};
    const lw_shard_descriptor *shard = NULL;
    if (lw_message_to_shard(call->kind)) {
        call->status = lw_client_route(in->client, call->first, false, in->deadline_ns, &shard);
        if (call->status == LW_TIMEOUT && in->heard.status != LW_OK) {
            call->status = no_answer(in, LW_TIMEOUT);
        }
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
    in->contacts[in->attempt_count] = lw_contacts_choose(&in->client->contacts, shard, in->since);
    in->places[in->attempt_count] = place;
    in->attempts[in->attempt_count++] = (lw_attempt){.request = request};
    return true;
}

/* ---- lanes ---------------------------------------------------------------------------------- */

LW_YIELDS static void run_lane(lane *one) {
    lw_client *client = one->in->client;
    lw_contacts_prepare(&client->contacts, one->contact);
    one->status =
        lw_link_call(&one->contact->link, one->attempts, one->count, one->in->deadline_ns);
}

static void lane_main(void *argument) {
    lane *one = argument;
    run_lane(one);
    *one->reason = *lw_error_slot();
    one->in->lanes_running--;
    lw_queue_wake_all(&one->in->lane_ended);
}

/* Puts the attempts into the lanes of their links, each lane's next to each other. */
static void sort_lanes(round *in) {
    lw_arena *arena = &in->client->arena;
    uint32_t count = in->attempt_count, taken = 0;
    lw_attempt *attempts = lw_arena_allocate(arena, count * sizeof(*attempts));
    uint32_t *places = lw_arena_allocate(arena, count * sizeof(*places));
    in->lanes = lw_arena_allocate(arena, count * sizeof(*in->lanes));
    in->lane_count = 0;
    for (uint32_t index = 0; index < count; index++) {
        lw_contact *contact = in->contacts[index];
        if (contact == NULL) {
            continue; /* it is in a lane */
        }
        lane *made = &in->lanes[in->lane_count++];
        *made = (lane){.in = in,
                       .contact = contact,
                       .attempts = attempts + taken,
                       .places = places + taken,
                       .reason = lw_arena_allocate(arena, sizeof(lw_error))};
        for (uint32_t other = index; other < count; other++) {
            if (in->contacts[other] == contact) {
                attempts[taken] = in->attempts[other];
                places[taken++] = in->places[other];
                in->contacts[other] = NULL;
                made->count++;
            }
        }
    }
}

/* Attempts all, over several links at once. */
LW_YIELDS static void run_lanes(round *in) {
    lw_env *env = in->client->env;
    LW_MARK(env, "client.several_nodes_at_once");
    sort_lanes(in);
    for (uint32_t index = 1; index < in->lane_count; index++) {
        in->lanes_running++;
        lw_env_start(env, "lane", lane_main, &in->lanes[index]);
    }
    run_lane(&in->lanes[0]);
    *in->lanes[0].reason = *lw_error_slot();
    while (in->lanes_running > 0) {
        if (lw_fiber_current() != NULL) {
            lw_queue_wait(&in->lane_ended);
        } else {
            lw_env_turn(env, true);
        }
    }
}

LW_YIELDS static void run_attempts(round *in) {
    bool several = false;
    for (uint32_t index = 1; index < in->attempt_count; index++) {
        several = several || in->contacts[index] != in->contacts[0];
    }
    if (several) {
        run_lanes(in);
        return;
    }
    in->one = (lane){.in = in,
                     .contact = in->contacts[0],
                     .attempts = in->attempts,
                     .places = in->places,
                     .count = in->attempt_count};
    in->lanes = &in->one;
    in->lane_count = 1;
    run_lane(&in->one);
}

/* ---- answers -------------------------------------------------------------------------------- */

static bool untried(const round *in) {
    const lw_contacts *contacts = &in->client->contacts;
    return contacts->count > 1 && lw_contacts_untried(contacts, in->since, in->began);
}

/* The link broke, or the deadline passed, before this one was answered. */
static void take_silence(round *in, lw_call *call, const lw_attempt *attempt, lw_status status) {
    lw_client *client = in->client;
    bool several = client->contacts.count > 1;
    call->lost = call->lost || attempt->sent;
    client->spare = 0; /* it came over a connection that is no more */
    call->status = status;
    if (lw_message_to_shard(call->kind) && several) {
        lw_routes_lead(&client->routes, call->first, 0, (lw_bytes){0});
    }
    if (untried(in)) {
        in->learnt = true;
        return;
    }
    bool hopeless = status == LW_REFUSED || status == LW_INVALID_ARGUMENT;
    call->done = (hopeless && (!several || !client->reached)) ||
                 (!client->reached && status == LW_UNAVAILABLE);
}

/* This node is not the one to ask. */
static void go_elsewhere(round *in, const lw_call *call, lw_contact *contact) {
    lw_client *client = in->client;
    lw_contacts_fail(&client->contacts, contact, false);
    lw_routes_lead(&client->routes, call->first, 0, (lw_bytes){0});
    in->learnt = in->learnt || untried(in);
}

/* Whom the client would ask about the call next, if it has a reason. */
static const lw_contact *believed(round *in, const lw_call *call) {
    const lw_shard_descriptor *shard = lw_routes_find(&in->client->routes, call->first);
    return shard != NULL && lw_shard_led(shard)
               ? lw_contacts_choose(&in->client->contacts, shard, in->since)
               : NULL;
}

/* A shard that knows better is learnt from. One that says what we believed already has nothing to
 * say of this key any more; of several nodes it may only not lead. */
static void learn(round *in, const lw_call *call, lw_contact *contact, lw_bytes topology) {
    lw_client *client = in->client;
    bool news, several = client->contacts.count > 1;
    if (several && believed(in, call) == contact) {
        lw_routes_lead(&client->routes, call->first, 0, (lw_bytes){0});
    }
    lw_client_learn_shards(client, call->first, topology, &news);
    if (news) {
        LW_MARK(client->env, "client.learns_of_shards");
        in->learnt = true;
        return;
    }
    if (!several) {
        lw_routes_forget(&client->routes, call->first);
        return;
    }
    const lw_contact *next = believed(in, call);
    if (next != NULL && next != contact && in->redirects < REDIRECTS_MAX &&
        !LW_RARE(client->env, "client.follows_nobody")) {
        LW_MARK(client->env, "client.follows_the_leader");
        in->redirects++;
        in->learnt = true;
        return;
    }
    go_elsewhere(in, call, contact);
    if (!untried(in)) { /* all have said so */
        lw_routes_forget(&client->routes, call->first);
    }
}

static void take_unavailable(round *in, lw_call *call, lw_contact *contact, const lw_reply *reply) {
    if (reply->body.size > 0) {
        learn(in, call, contact, reply->body);
        return;
    }
    call->lost = true; /* whoever does not lead any more does not know what becomes of it */
    if (in->client->contacts.count > 1) {
        go_elsewhere(in, call, contact);
    }
}

/* Who answers for a shard leads it. */
static void note_leader(round *in, const lw_call *call, const lw_contact *contact) {
    lw_client *client = in->client;
    if (client->contacts.count == 1 || !lw_message_to_shard(call->kind)) {
        return;
    }
    const lw_shard_descriptor *shard = lw_routes_find(&client->routes, call->first);
    if (shard != NULL && (shard->leader != contact->node || !lw_shard_led(shard))) {
        lw_routes_lead(&client->routes, call->first, contact->node, lw_text(contact->link.address));
    }
}

static void take_reply(round *in, lw_call *call, lw_contact *contact, const lw_reply *reply) {
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
        in->heard = *lw_error_slot();
    }
    if (reply->status == LW_UNDETERMINED) { /* the node's log died under it: the next start knows */
        call->lost = true;
        return;
    }
    if (reply->status == LW_UNAVAILABLE) {
        take_unavailable(in, call, contact, reply);
        return;
    }
    if (reply->status == LW_BACKPRESSURE) {
        return;
    }
    if (reply->status == LW_OK) {
        call->lost = false; /* it knows what became of earlier attempts */
    }
    call->done = true;
    call->reply = *reply;
    note_leader(in, call, contact);
}

LW_YIELDS static void take_lane(round *in, const lane *one) {
    lw_client *client = in->client;
    lw_contacts_greeted(&client->contacts, one->contact);
    if (one->status != LW_OK) {
        lw_contacts_fail(&client->contacts, one->contact, true);
    }
    for (uint32_t index = 0; index < one->count; index++) {
        const lw_attempt *attempt = &one->attempts[index];
        lw_call *call = &in->calls[one->places[index]];
        if (attempt->answered) {
            take_reply(in, call, one->contact, &attempt->reply);
            continue;
        }
        if (in->lane_count > 1) {
            *lw_error_slot() = *one->reason;
        }
        take_silence(in, call, attempt, one->status);
    }
    in->last = one->contact->link.address;
}

/* Keeps the replies of this round beyond the next. */
static void keep_replies(round *in) {
    for (uint32_t index = 0; index < in->count; index++) {
        lw_call *call = &in->calls[index];
        if (call->done && !call->kept) {
            call->kept = true;
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
    if (in->client->wants_nodes) {
        lw_client_ask_nodes(in->client, in->deadline_ns);
    }
    for (uint32_t place = 0; place < in->count; place++) {
        if (!in->calls[place].done) {
            (void)enter(in, place);
        }
    }
    if (in->attempt_count == 0) {
        return true;
    }
    run_attempts(in);
    for (uint32_t index = 0; index < in->lane_count; index++) {
        take_lane(in, &in->lanes[index]);
    }
    for (uint32_t place = 0; place < in->count; place++) {
        all = all && in->calls[place].done;
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
            *lw_error_slot() = reason;
            call->status = no_answer(in, last);
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
    for (uint32_t place = 0; place < count; place++) {
        calls[place].kept = false;
    }
    round in = {.client = client,
                .deadline_ns = deadline_ns,
                .calls = calls,
                .count = count,
                .attempts = lw_arena_allocate(&client->arena, count * sizeof(lw_attempt)),
                .places = lw_arena_allocate(&client->arena, count * sizeof(uint32_t)),
                .contacts = lw_arena_allocate(&client->arena, count * sizeof(lw_contact *)),
                .since = client->contacts.failures,
                .began = client->contacts.failures};
    for (uint32_t pauses = 0; !attempt_all(&in);) {
        LW_MARK(client->env, "client.call_tried_again");
        lw_error reason = *lw_error_slot();
        if (in.learnt && lw_env_now(client->env) < deadline_ns) {
            continue;
        }
        client->wants_nodes = true; /* there may be others, who know better */
        if (!lw_client_pause(client, pauses++, deadline_ns)) {
            *lw_error_slot() = reason;
            end_in_silence(&in);
        }
        in.since = client->contacts.failures;
        in.redirects = 0;
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
        lw_contact *contact =
            lw_contacts_choose(&client->contacts, shard, client->contacts.failures);
        lw_link_send_behind(&contact->link, &request);
    }
}
