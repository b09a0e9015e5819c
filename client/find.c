/* SPDX-License-Identifier: Apache-2.0 */
/* Finding out where keys lie, and where nodes are: questions to whichever node answers. */
#include "client/client.h"
#include "lattice/member.h"

enum {
    NEARLY_SIZE = 16,      /* bytes that tell a key from the bound that it lies below */
    NODES_PAUSE_MS = 2000, /* between two questions for the members */
    NODES_TIMEOUT_MS = 1000,
};

static const uint64_t ns_per_ms = 1000000;

uint32_t lw_client_remaining_ms(lw_client *client, uint64_t deadline_ns) {
    uint64_t now = lw_env_now(client->env);
    uint64_t left_ms = now >= deadline_ns ? 0 : (deadline_ns - now + ns_per_ms - 1) / ns_per_ms;
    return left_ms == 0 ? 1 : left_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)left_ms;
}

/* Makes one attempt of one request at one node. */
LW_YIELDS static lw_status ask_contact(lw_client *client, lw_contact *contact, lw_attempt *attempt,
                                       uint64_t deadline_ns) {
    lw_contacts_prepare(&client->contacts, contact);
    lw_status status = lw_link_call(&contact->link, attempt, 1, deadline_ns);
    lw_contacts_greeted(&client->contacts, contact);
    if (status != LW_OK) {
        lw_contacts_fail(&client->contacts, contact, true);
        return status;
    }
    client->reached = true;
    if (attempt->reply.status != LW_OK) {
        lw_contacts_fail(&client->contacts, contact, false);
        return lw_fail(attempt->reply.status, "%.*s", (int)attempt->reply.error.size,
                       (const char *)attempt->reply.error.data);
    }
    return LW_OK;
}

/* Whether a replica of the shard is on a node that is not known. */
static bool has_strangers(const lw_client *client, const lw_shard_descriptor *shard) {
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        if (lw_contacts_of(&client->contacts, shard->replicas[index].node) == NULL) {
            return true;
        }
    }
    return false;
}

void lw_client_learn_shards(lw_client *client, lw_bytes key, lw_bytes topology, bool *news) {
    *news = lw_routes_learn_all(&client->routes, topology);
    lw_routes_learn_leaders(&client->routes, topology);
    const lw_shard_descriptor *shard = lw_routes_find(&client->routes, key);
    client->wants_nodes = client->wants_nodes || (shard != NULL && has_strangers(client, shard));
}

/* Takes the members in, so that whoever holds a shard can be found. */
static void learn_nodes(lw_client *client, lw_bytes body) {
    lw_reader reader;
    uint32_t count = 0;
    lw_member_row row;
    if (lw_member_rows_open(body, &reader, &count) != LW_OK) {
        return;
    }
    for (uint32_t index = 0; index < count && lw_member_row_next(&reader, &row) == LW_OK; index++) {
        if (row.member.state != LW_MEMBER_GONE) {
            lw_contacts_learn(&client->contacts, row.member.node, row.member.address);
        }
    }
}

void lw_client_ask_nodes(lw_client *client, uint64_t deadline_ns) {
    uint64_t now_ns = lw_env_now(client->env), until_ns = now_ns + NODES_TIMEOUT_MS * ns_per_ms;
    bool lately =
        client->nodes_asked_ns != 0 && now_ns - client->nodes_asked_ns < NODES_PAUSE_MS * ns_per_ms;
    lw_contact *contact = lw_contacts_choose(&client->contacts, NULL, client->contacts.failures);
    if (lately || !lw_handle_valid(contact->link.socket)) {
        return;
    }
    LW_MARK(client->env, "client.asks_for_nodes");
    client->nodes_asked_ns = now_ns;
    client->wants_nodes = false;
    until_ns = until_ns < deadline_ns ? until_ns : deadline_ns;
    lw_attempt attempt = {.request = {.kind = LW_MESSAGE_NODES,
                                      .timeout_ms = lw_client_remaining_ms(client, until_ns)}};
    if (ask_contact(client, contact, &attempt, until_ns) == LW_OK) {
        learn_nodes(client, attempt.reply.body);
    }
}

/* The last key below `bound`, or nearly: who is asked for it tells of all from its shard on. The
 * empty bound is the end of all keys. */
static void key_below(lw_bytes bound, lw_buffer *key) {
    uint8_t last[NEARLY_SIZE];
    memset(last, 0xff, sizeof(last));
    lw_buffer_append(key, bound);
    if (bound.size > 0 && key->data[bound.size - 1] == 0) {
        key->size--;
        return;
    }
    if (bound.size > 0) {
        key->data[bound.size - 1]--;
    }
    lw_buffer_append(key, lw_view(last, sizeof(last)));
}

/* Asks a node for shards, from the one on that holds `key`, or the keys `before` it. One attempt.
 */
LW_YIELDS static lw_status ask_topology(lw_client *client, lw_contact *contact, lw_bytes key,
                                        bool before, uint64_t deadline_ns) {
    lw_attempt attempt = {.request = {.kind = LW_MESSAGE_TOPOLOGY,
                                      .timeout_ms = lw_client_remaining_ms(client, deadline_ns),
                                      .body = key}};
    lw_buffer below = lw_buffer_in(client->env->memory);
    bool news;
    LW_MARK(client->env, "client.asks_for_shards");
    if (before && !LW_BUG(client->env, "client.asks_behind_the_bound")) {
        key_below(key, &below);
        attempt.request.body = lw_buffer_view(&below);
    }
    lw_status status = ask_contact(client, contact, &attempt, deadline_ns);
    lw_buffer_reset(&below);
    if (status == LW_OK) {
        lw_client_learn_shards(client, key, attempt.reply.body, &news);
    }
    return status;
}

static const lw_shard_descriptor *find(const lw_client *client, lw_bytes key, bool before) {
    return before ? lw_routes_find_before(&client->routes, key)
                  : lw_routes_find(&client->routes, key);
}

static lw_status nobody_told(lw_bytes key, uint32_t times, const lw_contact *asked,
                             lw_status status) {
    char text[LW_PRINTABLE_SIZE];
    lw_error reason = *lw_error_slot();
    return lw_fail(LW_TIMEOUT,
                   "no node told before the deadline which shard holds \"%s\"; the last of %u that "
                   "were asked was %s: %.300s",
                   lw_printable(key, text, sizeof(text)), times, asked->link.address,
                   status == LW_OK ? "it does not know" : reason.text);
}

lw_status lw_client_route(lw_client *client, lw_bytes key, bool before, uint64_t deadline_ns,
                          const lw_shard_descriptor **shard) {
    if (!client->usable) {
        return lw_fail(LW_INVALID_ARGUMENT, "this client was never opened");
    }
    uint64_t began = client->contacts.failures, since = began;
    for (uint32_t pauses = 0; (*shard = find(client, key, before)) == NULL;) {
        lw_contact *contact = lw_contacts_choose(&client->contacts, NULL, since);
        lw_status status = ask_topology(client, contact, key, before, deadline_ns);
        bool more =
            client->contacts.count > 1 && lw_contacts_untried(&client->contacts, since, began);
        if (!more && (status == LW_REFUSED || (!client->reached && status == LW_UNAVAILABLE))) {
            return status;
        }
        bool over = lw_env_now(client->env) >= deadline_ns;
        if (find(client, key, before) != NULL || (status != LW_OK && more && !over)) {
            continue;
        }
        lw_client_ask_nodes(client, deadline_ns); /* there may be others, who know better */
        if (!lw_client_pause(client, pauses++, deadline_ns)) {
            return nobody_told(key, pauses, contact, status);
        }
        since = client->contacts.failures;
    }
    return LW_OK;
}
