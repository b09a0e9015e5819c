/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include "client/transaction.h"
#include "txn/request.h"

#include <stdio.h>
#include <stdlib.h>

enum { TIMEOUT_MS = 10000, SPARE_FRESH_MS = 1000, PAUSE_MAX_MS = 200 };

static const uint64_t ns_per_ms = 1000000;

_Static_assert((int)LW_USER_KEY_SIZE_MAX == (int)LW_KEY_SIZE_MAX, "one limit, two names");
_Static_assert((int)LW_USER_VALUE_SIZE_MAX == (int)LW_VALUE_SIZE_MAX, "one limit, two names");

/* ---- statuses -----------------------------------------------------------------------------------
 */

int lw_status_is_retryable(lw_status status) {
    return lw_status_retryable(status);
}

const char *lw_version(void) {
    return LW_VERSION;
}

/* ---- opening and closing ------------------------------------------------------------------ */

static lw_status check_options(const lw_client_options *options, const char *address) {
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon == address || colon[1] == 0 || strlen(address) >= LW_ADDRESS_SIZE) {
        char text[LW_PRINTABLE_SIZE];
        return lw_fail(LW_INVALID_ARGUMENT, "the address \"%s\" is not HOST:PORT, such as %s",
                       lw_printable(lw_text(address), text, sizeof(text)), LW_DEFAULT_ADDRESS);
    }
    if (options->label != NULL && strlen(options->label) > LW_LABEL_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "a label of %zu bytes is longer than %d",
                       strlen(options->label), LW_LABEL_SIZE_MAX);
    }
    return LW_OK;
}

lw_status lw_client_open_in(lw_env *env, const lw_client_options *options, lw_client **client) {
    static const lw_client_options defaults;
    options = options == NULL ? &defaults : options;
    const char *address = options->address == NULL ? LW_DEFAULT_ADDRESS : options->address;
    lw_client *opened = lw_allocate_zero(env->memory, sizeof(*opened));
    opened->env = env;
    opened->timeout_ms = options->timeout_ms == 0 ? (uint32_t)TIMEOUT_MS : options->timeout_ms;
    opened->topology = opened->token = lw_buffer_in(env->memory);
    opened->arena = lw_arena_in(env->memory);
    /* Until a node tells otherwise: the first shard, as every lattice begins. */
    opened->shard = (lw_shard_descriptor){.id = LW_ROOT_SHARD, .epoch = {1, 1}};
    *client = opened;
    lw_error *outer = lw_client_enter(opened);
    lw_status status = check_options(options, address);
    if (status == LW_OK) {
        opened->label =
            lw_copy(env->memory, options->label == NULL ? lw_text("") : lw_text(options->label));
        lw_link_init(&opened->link, env, address, opened->label);
        opened->usable = true;
    }
    return lw_client_leave(outer, status);
}

lw_status lw_open(const lw_client_options *options, lw_client **client) {
    lw_client_options chosen = options == NULL ? (lw_client_options){0} : *options;
    if (chosen.address == NULL) {
        chosen.address = getenv("LATHWORK_ADDR");
    }
    lw_env *env = NULL;
    LW_TRY(lw_env_posix_open(&env));
    lw_status status = lw_client_open_in(env, &chosen, client);
    (*client)->owns_env = true;
    return status;
}

void lw_close(lw_client *client) {
    if (client == NULL) {
        return;
    }
    lw_env *env = client->env;
    while (client->transactions != NULL) {
        lw_txn_close(client->transactions);
    }
    if (client->usable) {
        lw_link_reset(&client->link);
    }
    lw_buffer_reset(&client->topology);
    lw_arena_reset(&client->arena);
    lw_free(env->memory, (void *)(uintptr_t)client->label.data);
    bool owns_env = client->owns_env;
    lw_free(env->memory, client);
    if (owns_env) {
        lw_env_close(env);
    }
}

const char *lw_client_error(const lw_client *client) {
    return client->error.text;
}

lw_error *lw_client_enter(lw_client *client) {
    return lw_error_slot_set(&client->error);
}

lw_status lw_client_leave(lw_error *outer, lw_status status) {
    lw_error_slot_set(outer);
    return status;
}

/* ---- calls -------------------------------------------------------------------------------- */

uint64_t lw_client_deadline(lw_client *client, uint32_t timeout_ms) {
    return lw_env_now(client->env) +
           (timeout_ms == 0 ? client->timeout_ms : timeout_ms) * ns_per_ms;
}

bool lw_client_pause(lw_client *client, uint32_t attempt, uint64_t deadline_ns) {
    uint64_t pause_ms = attempt > 7 ? (uint64_t)PAUSE_MAX_MS : 1ull << attempt;
    pause_ms = pause_ms > PAUSE_MAX_MS ? (uint64_t)PAUSE_MAX_MS : pause_ms;
    uint64_t pause_ns =
        pause_ms * ns_per_ms / 2 + lw_env_random_below(client->env, pause_ms * ns_per_ms / 2 + 1);
    uint64_t now = lw_env_now(client->env);
    if (now >= deadline_ns) {
        return false;
    }
    uint64_t left = deadline_ns - now;
    lw_env_sleep(client->env, pause_ns < left ? pause_ns : left);
    return true;
}

/* A node knows better where the shard is. What cannot be read changes nothing. */
static void learn(lw_client *client, lw_bytes topology) {
    lw_reader reader;
    uint32_t count = 0;
    lw_shard_descriptor shard;
    lw_buffer_clear(&client->topology);
    lw_buffer_append(&client->topology, topology);
    if (lw_topology_open(lw_buffer_view(&client->topology), &reader, &count) == LW_OK &&
        count > 0 && lw_topology_next(&reader, &shard) == LW_OK) {
        client->shard = shard;
    }
}

static uint32_t remaining_ms(lw_client *client, uint64_t deadline_ns) {
    uint64_t now = lw_env_now(client->env);
    uint64_t left_ms = now >= deadline_ns ? 0 : (deadline_ns - now + ns_per_ms - 1) / ns_per_ms;
    return left_ms == 0 ? 1 : left_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)left_ms;
}

/* One attempt. True when `*status` is the answer to give. */
LW_YIELDS static bool attempt_call(lw_client *client, lw_message_kind kind, lw_bytes body,
                                   uint64_t deadline_ns, lw_reply *reply, bool *lost,
                                   lw_status *status) {
    lw_request request = {
        .kind = kind, .timeout_ms = remaining_ms(client, deadline_ns), .body = body};
    if (kind >= LW_MESSAGE_TIMESTAMP) {
        request.shard = client->shard.id;
        request.epoch = client->shard.epoch;
    }
    lw_attempt attempt;
    *status = lw_link_call(&client->link, &request, deadline_ns, &attempt);
    if (!attempt.answered) {
        *lost = *lost || attempt.sent;
        client->spare = 0; /* it came over a connection that is no more */
        return *status == LW_REFUSED || *status == LW_INVALID_ARGUMENT ||
               (!client->reached && *status == LW_UNAVAILABLE);
    }
    client->reached = true;
    if (attempt.reply.spare != 0) {
        client->spare = attempt.reply.spare;
        client->spare_taken_ns = lw_env_now(client->env);
    }
    *status = attempt.reply.status;
    if (*status != LW_OK) {
        *status = lw_fail(*status, "%.*s", (int)attempt.reply.error.size,
                          (const char *)attempt.reply.error.data);
    }
    if (*status == LW_UNDETERMINED) { /* the node's log died under it: the next start knows */
        *lost = true;
        return false;
    }
    if (*status == LW_UNAVAILABLE || *status == LW_BACKPRESSURE) {
        if (*status == LW_UNAVAILABLE && attempt.reply.body.size > 0) {
            learn(client, attempt.reply.body);
        }
        return false;
    }
    if (*status == LW_OK || *status == LW_CONFLICT) {
        *lost = false; /* these answers know what became of earlier attempts */
    }
    *reply = attempt.reply;
    return true;
}

lw_status lw_client_call(lw_client *client, lw_message_kind kind, lw_bytes body,
                         uint64_t deadline_ns, lw_reply *reply, bool *lost) {
    bool ignored;
    lost = lost == NULL ? &ignored : lost;
    *lost = false;
    if (!client->usable) {
        return lw_fail(LW_INVALID_ARGUMENT, "this client was never opened");
    }
    lw_arena_reset(&client->arena);
    lw_status status = LW_OK;
    for (uint32_t attempt = 0;; attempt++) {
        if (attempt_call(client, kind, body, deadline_ns, reply, lost, &status)) {
            return status;
        }
        LW_MARK(client->env, "client.call_tried_again");
        lw_error reason = *lw_error_slot();
        if (!lw_client_pause(client, attempt, deadline_ns)) {
            lw_status last = status == LW_BACKPRESSURE ? LW_BACKPRESSURE : LW_TIMEOUT;
            return lw_fail(last, "no answer from %s before the deadline; the last attempt: %.400s",
                           client->link.address, reason.text);
        }
    }
}

lw_status lw_client_timestamp(lw_client *client, uint64_t deadline_ns, uint64_t *timestamp) {
    uint64_t age_ns = lw_env_now(client->env) - client->spare_taken_ns;
    if (client->spare != 0 && age_ns < SPARE_FRESH_MS * ns_per_ms) {
        *timestamp = client->spare;
        client->spare = 0;
        return LW_OK;
    }
    lw_timestamp_request request = {.count = 1};
    lw_timestamp_reply answer;
    lw_reply reply;
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_timestamp_request_encode(&request, &body);
    lw_status status = lw_client_call(client, LW_MESSAGE_TIMESTAMP, lw_buffer_view(&body),
                                      deadline_ns, &reply, NULL);
    lw_buffer_reset(&body);
    LW_TRY(status);
    LW_TRY(lw_timestamp_reply_decode(reply.body, &client->arena, &answer));
    *timestamp = answer.first;
    return LW_OK;
}

/* ---- calls without a transaction ---------------------------------------------------------- */

LW_YIELDS static lw_status node_status(lw_client *client, lw_bytes *json) {
    lw_reply reply;
    LW_TRY(lw_client_call(client, LW_MESSAGE_STATUS, lw_text(""), lw_client_deadline(client, 0),
                          &reply, NULL));
    *json = reply.body;
    return LW_OK;
}

lw_status lw_node_status(lw_client *client, lw_bytes *json) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, node_status(client, json));
}

LW_YIELDS static lw_status ping(lw_client *client) {
    lw_reply reply;
    return lw_client_call(client, LW_MESSAGE_TOPOLOGY, lw_text(""), lw_client_deadline(client, 0),
                          &reply, NULL);
}

lw_status lw_ping(lw_client *client) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, ping(client));
}
