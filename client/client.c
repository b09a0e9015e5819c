/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include "client/transaction.h"
#include "txn/request.h"

#include <stdio.h>

enum {
    WRITE_MEMORY = 32 * 1024 * 1024,
    TIMEOUT_MS = 10000,
    SPARE_FRESH_MS = 1000,
    PAUSE_MAX_MS = 200,
    CLOSE_TIMEOUT_MS = 1000
};

static const uint64_t ns_per_ms = 1000000;

_Static_assert((int)LW_ADDRESS_SIZE == (int)LW_ADDRESS_SIZE_MAX + 1, "with the closing zero");
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

/* The next of the addresses, which commas part. */
static lw_bytes next_address(lw_bytes *rest) {
    const uint8_t *comma = memchr(rest->data, ',', rest->size);
    size_t size = comma == NULL ? rest->size : (size_t)(comma - rest->data);
    size_t taken = comma == NULL ? size : size + 1;
    lw_bytes address = lw_view(rest->data, size);
    *rest = lw_view(rest->data + taken, rest->size - taken);
    return address;
}

static lw_status check_address(lw_bytes address) {
    const uint8_t *colon = memrchr(address.data, ':', address.size);
    if (address.size > LW_ADDRESS_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "an address of %zu bytes is longer than the limit of %d", address.size,
                       LW_ADDRESS_SIZE_MAX);
    }
    if (colon == NULL || colon == address.data || colon + 1 == address.data + address.size) {
        char text[LW_PRINTABLE_SIZE];
        return lw_fail(LW_INVALID_ARGUMENT, "the address \"%s\" is not HOST:PORT, such as %s",
                       lw_printable(address, text, sizeof(text)), LW_DEFAULT_ADDRESS);
    }
    return LW_OK;
}

static lw_status check_options(const lw_client_options *options, const char *addresses) {
    lw_bytes rest = lw_text(addresses);
    uint32_t count = 0;
    do {
        LW_TRY(check_address(next_address(&rest)));
        count++;
    } while (rest.size > 0);
    if (count > LW_ADDRESS_COUNT_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "%u addresses are more than the limit of %d", count,
                       LW_ADDRESS_COUNT_MAX);
    }
    if (options->label != NULL && strlen(options->label) > LW_LABEL_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "a label of %zu bytes is longer than the limit of %d",
                       strlen(options->label), LW_LABEL_SIZE_MAX);
    }
    return LW_OK;
}

static void take_options(lw_client *client, const lw_client_options *options,
                         const char *addresses) {
    client->label = lw_copy(client->env->memory,
                            options->label == NULL ? lw_text("") : lw_text(options->label));
    client->contacts = lw_contacts_in(client->env, client->label);
    for (lw_bytes rest = lw_text(addresses); rest.size > 0;) {
        lw_contact *made = lw_contacts_at(&client->contacts, next_address(&rest));
        LW_ASSERT(made != NULL);
    }
    client->usable = true;
}

lw_status lw_client_open_in(lw_env *env, const lw_client_options *options, lw_client **client) {
    static const lw_client_options defaults;
    options = options == NULL ? &defaults : options;
    const char *addresses = options->address == NULL ? LW_DEFAULT_ADDRESS : options->address;
    lw_client *opened = lw_allocate_zero(env->memory, sizeof(*opened));
    opened->env = env;
    opened->timeout_ms = options->timeout_ms == 0 ? (uint32_t)TIMEOUT_MS : options->timeout_ms;
    opened->write_memory =
        options->write_memory == 0 ? (uint64_t)WRITE_MEMORY : options->write_memory;
    opened->token = lw_buffer_in(env->memory);
    opened->arena = lw_arena_in(env->memory);
    opened->routes = lw_routes_in(env->memory);
    /* Until a node tells otherwise: the first shard, as every lattice begins. */
    lw_shard_descriptor first = {.id = LW_ROOT_SHARD, .epoch = {1, 1}};
    (void)lw_routes_learn(&opened->routes, &first);
    *client = opened;
    lw_error *outer = lw_client_enter(opened);
    lw_status status = check_options(options, addresses);
    if (status == LW_OK) {
        take_options(opened, options, addresses);
    }
    return lw_client_leave(outer, status);
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
        /* What was sent behind is heard before the connections end, which may cut it off. */
        uint64_t deadline_ns = lw_env_now(env) + CLOSE_TIMEOUT_MS * ns_per_ms;
        for (uint32_t index = 0; index < client->contacts.count; index++) {
            lw_link_settle(&client->contacts.all[index]->link, deadline_ns);
        }
        lw_contacts_reset(&client->contacts);
    }
    lw_routes_reset(&client->routes);
    lw_buffer_reset(&client->token);
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

/* ---- time --------------------------------------------------------------------------------- */

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

/* ---- timestamps --------------------------------------------------------------------------- */

lw_status lw_client_fresh_timestamp(lw_client *client, uint32_t count, uint64_t deadline_ns,
                                    uint64_t *timestamp) {
    lw_timestamp_request request = {.count = count};
    lw_timestamp_reply answer;
    lw_reply reply;
    lw_buffer body = lw_buffer_in(client->env->memory);
    lw_timestamp_request_encode(&request, &body);
    lw_status status = lw_client_call(client, LW_MESSAGE_TIMESTAMP, (lw_bytes){0},
                                      lw_buffer_view(&body), deadline_ns, &reply, NULL);
    lw_buffer_reset(&body);
    LW_TRY(status);
    LW_TRY(lw_timestamp_reply_decode(reply.body, &client->arena, &answer));
    *timestamp = answer.first;
    return LW_OK;
}

lw_status lw_client_timestamp(lw_client *client, uint64_t deadline_ns, uint64_t *timestamp) {
    uint64_t age_ns = lw_env_now(client->env) - client->spare_taken_ns;
    if (client->spare != 0 && age_ns < SPARE_FRESH_MS * ns_per_ms &&
        !LW_RARE(client->env, "client.draws_anew")) {
        *timestamp = client->spare;
        client->spare = 0;
        return LW_OK;
    }
    return lw_client_fresh_timestamp(client, 1, deadline_ns, timestamp);
}

/* ---- calls without a transaction ---------------------------------------------------------- */

LW_YIELDS static lw_status node_status(lw_client *client, lw_bytes *json) {
    lw_reply reply;
    LW_TRY(lw_client_call(client, LW_MESSAGE_STATUS, (lw_bytes){0}, (lw_bytes){0},
                          lw_client_deadline(client, 0), &reply, NULL));
    *json = reply.body;
    return LW_OK;
}

lw_status lw_node_status(lw_client *client, lw_bytes *json) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, node_status(client, json));
}

LW_YIELDS static lw_status ping(lw_client *client) {
    lw_reply reply;
    LW_TRY(lw_client_call(client, LW_MESSAGE_TOPOLOGY, (lw_bytes){0}, (lw_bytes){0},
                          lw_client_deadline(client, 0), &reply, NULL));
    (void)lw_routes_learn_all(&client->routes, reply.body);
    return LW_OK;
}

lw_status lw_ping(lw_client *client) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, ping(client));
}
