/* SPDX-License-Identifier: Apache-2.0 */
/* A newcomer's side of joining: one connection, one handshake under the token's secret, one frame
 * with all that makes it a member. */
#include "node/peers_private.h"

enum { SECRETS_SIZE = LW_SHARED_ID_SIZE + 4 + LW_SHARED_KEY_SIZE };

static lw_status read_secrets(const lw_token *token, lw_bytes body, lw_peers_welcome *welcome) {
    if (body.size < SECRETS_SIZE) {
        return lw_fail(LW_INVALID_ARGUMENT, "its answer is too short");
    }
    lw_shared_key lattice = {.epoch = lw_get_u32(body.data + LW_SHARED_ID_SIZE)};
    memcpy(lattice.id, body.data, LW_SHARED_ID_SIZE);
    memcpy(lattice.key, body.data + LW_SHARED_ID_SIZE + 4, LW_SHARED_KEY_SIZE);
    bool same = lw_equal(lw_view(lattice.id, LW_SHARED_ID_SIZE),
                         lw_view(token->cluster_id, LW_SHARED_ID_SIZE));
    if (same && lattice.epoch != 0) {
        welcome->lattice = lattice;
        lw_buffer_append(&welcome->members,
                         lw_view(body.data + SECRETS_SIZE, body.size - SECRETS_SIZE));
    }
    lw_seal_wipe(&lattice, sizeof(lattice));
    return same && welcome->lattice.epoch != 0
               ? LW_OK
               : lw_fail(LW_REFUSED, "it gives the key of another lattice than the token's");
}

LW_YIELDS static lw_status be_taken_in(lw_wire *wire, const lw_presence *presence,
                                       const lw_token *token, uint64_t deadline_ns, lw_buffer *said,
                                       lw_peers_welcome *welcome) {
    lw_greeting greeting = {.protocol_min = LW_PEER_PROTOCOL_MIN,
                            .protocol_max = LW_PEER_PROTOCOL_MAX,
                            .kind = LW_GREETING_NEWCOMER,
                            .key_epoch = token->key_epoch};
    memcpy(greeting.cluster_id, token->cluster_id, LW_SHARED_ID_SIZE);
    lw_token_claims(token, greeting.claims);
    lw_peer_card card = {0};
    LW_TRY(
        lw_handshake_begin(wire, presence, &greeting, 0, token->secret, deadline_ns, said, &card));
    lw_wire_kind kind = LW_WIRE_PING;
    lw_bytes body;
    LW_TRY(lw_wire_next(wire, deadline_ns, &kind, &body));
    if (kind == LW_WIRE_REFUSED) {
        return lw_peers_refused(NULL, 0, body);
    }
    if (kind != LW_WIRE_SECRETS) {
        return lw_fail(LW_INVALID_ARGUMENT, "it answers with a frame of kind %d", (int)kind);
    }
    LW_TRY(read_secrets(token, body, welcome));
    welcome->node_id = card.node_id;
    return LW_OK;
}

LW_YIELDS static lw_status join(lw_env *env, lw_handle socket, const lw_presence *presence,
                                const lw_token *token, uint64_t deadline_ns,
                                lw_peers_welcome *welcome) {
    lw_wire wire;
    lw_buffer said = lw_buffer_in(env->memory);
    lw_wire_init(&wire, env, socket, (lw_bytes){0});
    lw_status status = be_taken_in(&wire, presence, token, deadline_ns, &said, welcome);
    lw_error why = *lw_error_slot();
    if (wire.clear.size > 0) {
        lw_seal_wipe(wire.clear.data, wire.clear.size);
    }
    lw_wire_reset(&wire);
    lw_buffer_reset(&said);
    *lw_error_slot() = why;
    return status;
}

lw_status lw_peers_join(lw_env *env, const char *address, const lw_token *token,
                        const lw_node_identity *identity, const char *own_address,
                        uint64_t deadline_ns, lw_peers_welcome *welcome) {
    LW_ASSERT(identity->lattice.epoch == 0);
    uint64_t run = 0;
    lw_handle socket = LW_NO_HANDLE;
    lw_status status = lw_socket_connect(env, address, deadline_ns, &socket);
    if (status == LW_OK) {
        lw_presence presence;
        lw_env_entropy(env, &run, sizeof(run));
        lw_presence_init(&presence, env, identity, token->cluster_id, run, own_address);
        status = join(env, socket, &presence, token, deadline_ns, welcome);
        lw_presence_reset(&presence);
    }
    if (status == LW_OK || status == LW_INVALID_ARGUMENT) {
        return status == LW_OK ? LW_OK
                               : lw_fail_in(status, "%s does not answer as a node does", address);
    }
    if (status == LW_TIMEOUT) {
        return lw_fail(LW_UNAVAILABLE, "%s did not answer in time", address);
    }
    return lw_fail_in(status, "%s %s", address,
                      status == LW_REFUSED ? "does not take this node in" : "is of no help");
}
