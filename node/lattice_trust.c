/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens that let nobody in any more. An operator tells one node; that one makes it durable, and
 * has all members do so that it reaches, before it answers. Whoever was not reached hears of it
 * when a link comes up, or with one of the greetings that go round.
 *
 * Invariants
 * T1. A node never says that it knows of a revoked token before that is durable.
 * T2. What is said of tokens merges (lattice/revoked.h): nobody has to hear it in any order. */
#include "node/lattice_state.h"

/* ---- what is known ------------------------------------------------------------------------------
 */

bool lw_lattice_revoked(const lw_lattice *lattice, uint64_t token_id) {
    return lw_revoked_has(&lattice->revoked, token_id) &&
           !LW_BUG(lattice->env, "lattice.revoked_is_let_in");
}

void lw_lattice_token_made(lw_lattice *lattice, uint64_t id, uint64_t expires_ms) {
    lattice->made[lattice->made_count++ % LATTICE_TOKENS_MAX] =
        (lw_revoked_token){.id = id, .expires_ms = expires_ms == 0 ? UINT64_MAX : expires_ms};
}

static uint32_t made_count(const lw_lattice *lattice) {
    return lattice->made_count < LATTICE_TOKENS_MAX ? lattice->made_count : LATTICE_TOKENS_MAX;
}

void lattice_tokens(const lw_lattice *lattice, lw_buffer *reply) {
    const lw_revoked *revoked = &lattice->revoked;
    uint32_t count = revoked->count;
    for (uint32_t index = 0; index < made_count(lattice); index++) {
        count += !lw_revoked_has(revoked, lattice->made[index].id);
    }
    lw_write_array(reply, count);
    for (uint32_t index = 0; index < made_count(lattice); index++) {
        const lw_revoked_token *token = &lattice->made[index];
        if (!lw_revoked_has(revoked, token->id)) {
            lw_token_row_encode(&(lw_token_row){.id = token->id, .expires_ms = token->expires_ms},
                                reply);
        }
    }
    for (uint32_t index = 0; index < revoked->count; index++) {
        const lw_revoked_token *token = &revoked->tokens[index];
        lw_token_row_encode(
            &(lw_token_row){.id = token->id, .expires_ms = token->expires_ms, .revoked = true},
            reply);
    }
}

lw_status lattice_learn_revoked(lw_lattice *lattice, lw_bytes page) {
    bool news = false;
    uint64_t wall_ms = lw_env_wall_ms(lattice->env);
    lw_revoked_expire(&lattice->revoked, wall_ms);
    lw_status status = lw_revoked_merge(&lattice->revoked, page, wall_ms, &news);
    lattice->unsaved = lattice->unsaved || news;
    return status;
}

/* ---- between nodes ------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status tell(lw_lattice *lattice, uint64_t node) {
    lw_buffer page = lw_buffer_in(lattice->memory), reply = page;
    lw_revoked_encode(&lattice->revoked, &page);
    lw_request request = {
        .kind = LW_MESSAGE_REVOKED, .timeout_ms = LATTICE_ASK_MS, .body = lw_buffer_view(&page)};
    uint64_t until_ns = lw_env_now(lattice->env) + LATTICE_ASK_MS * LATTICE_NS_PER_MS;
    lw_status status = lw_peers_ask(lattice->peers, node, &request, until_ns, &reply);
    if (status == LW_OK) {
        LW_MARK(lattice->env, "lattice.told_of_revoked_tokens");
        status = lattice_learn_revoked(lattice, lw_buffer_view(&reply));
    }
    lw_buffer_reset(&page);
    lw_buffer_reset(&reply);
    return status;
}

void lattice_exchange_revoked(lw_lattice *lattice, uint64_t node) {
    if (lattice->revoked.count > 0) {
        lw_status status = tell(lattice, node);
        (void)status; /* again with the next greeting */
    }
}

lw_status lattice_hear_revoked(lw_lattice *lattice, lw_bytes page, lw_buffer *reply) {
    LW_TRY(lattice_learn_revoked(lattice, page));
    LW_TRY(lattice_save(lattice));
    lw_revoked_encode(&lattice->revoked, reply);
    return LW_OK;
}

/* ---- an operator's word -------------------------------------------------------------------------
 */

/* When it expires, as far as anybody here knows. */
static uint64_t expiry_of(const lw_lattice *lattice, const lw_revoke_request *request) {
    for (uint32_t index = 0; index < made_count(lattice) && request->cluster_id.size == 0;
         index++) {
        if (lattice->made[index].id == request->id) {
            return lattice->made[index].expires_ms;
        }
    }
    if (request->cluster_id.size == 0) {
        return lw_env_wall_ms(lattice->env) + LW_TOKEN_LIFETIME_MAX_MS;
    }
    return request->expires_ms == 0 ? UINT64_MAX : request->expires_ms;
}

/* A member's row, once it was told. */
LW_YIELDS static void tell_member(lw_lattice *lattice, uint64_t node, lw_buffer *reply) {
    bool knows = node == lattice_self(lattice);
    if (!knows && lattice->peers != NULL && lw_peers_up(lattice->peers, node)) {
        knows = tell(lattice, node) == LW_OK;
    }
    lw_node_request_encode(node, knows, reply);
}

LW_YIELDS static void tell_all(lw_lattice *lattice, lw_buffer *reply) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    uint32_t count = 0;
    uint64_t *nodes = lw_allocate(lattice->memory, (members->count + 1) * sizeof(*nodes));
    for (uint32_t index = 0; index < members->count; index++) {
        const lw_member *member = lw_members_at(members, index);
        if (member->state != LW_MEMBER_GONE) {
            nodes[count++] = member->node; /* they may change while others are told */
        }
    }
    lw_write_array(reply, count);
    for (uint32_t index = 0; index < count; index++) {
        tell_member(lattice, nodes[index], reply);
    }
    lw_free(lattice->memory, nodes);
}

lw_status lattice_revoke(lw_lattice *lattice, lw_bytes body, lw_buffer *reply) {
    lw_revoke_request request;
    LW_TRY(lw_revoke_request_decode(body, &request));
    lw_bytes own = lw_view(lattice->options.identity->lattice.id, LW_SHARED_ID_SIZE);
    if (request.cluster_id.size > 0 && !lw_equal(request.cluster_id, own)) {
        return lw_fail(LW_REFUSED, "the token is of another lattice: it lets nobody in here");
    }
    uint64_t wall_ms = lw_env_wall_ms(lattice->env);
    lw_revoked_token token = {.id = request.id, .expires_ms = expiry_of(lattice, &request)};
    bool news;
    lw_revoked_expire(&lattice->revoked, wall_ms);
    LW_TRY(lw_revoked_add(&lattice->revoked, token, wall_ms, &news));
    lattice->unsaved = lattice->unsaved || news;
    LW_TRY(lattice_save(lattice));
    if (news) {
        lattice_note(lattice, "revoked", lattice_self(lattice), 0,
                     "token %016llx lets nobody in any more", (unsigned long long)token.id);
    }
    tell_all(lattice, reply);
    return LW_OK;
}
