/* SPDX-License-Identifier: Apache-2.0 */
/* Links of other nodes to us: a stranger greets, proves that it belongs here, and is then listened
 * to; or it is a newcomer with a token, which is told what it needs to come back as a member. */
#include "node/peers_private.h"

#include <inttypes.h>

enum {
    STRANGER_TIMEOUT_MS = 10000,
    REFUSE_TIMEOUT_MS = 1000,
    SECRETS_TIMEOUT_MS = 10000,
    REQUESTS_MAX = 2 * LW_PEERS_ASKS_MAX,
    REQUEST_BYTES_MAX = 32 * 1024 * 1024,
    REPLY_BYTES_MAX = 8 * 1024 * 1024, /* that wait to be sent: no more is read before (P3) */
    LOG_PAUSE_MS = 60000,
    STALE_MS = 500, /* a link that is being made for longer may be one to a run that has ended */
};

/* ---- requests ----------------------------------------------------------------------------- */

typedef struct call {
    lw_incoming *from;
    uint64_t node;
    lw_bytes frame; /* a copy, which `request` has views of */
    lw_request request;
} call;

static void reply(lw_incoming *to, uint64_t id, lw_status status, lw_bytes body) {
    if (to->wire.cut) {
        return;
    }
    lw_reply answer = {.id = id, .status = status, .body = body};
    if (status != LW_OK) {
        answer.error = lw_text(lw_error_slot()->text);
    }
    lw_buffer *out = &to->wire.out;
    lw_buffer_append_u8(out, LW_WIRE_REPLY);
    size_t size_at = out->size;
    lw_buffer_append_u32(out, 0);
    lw_reply_encode(&answer, out);
    lw_put_u32(out->data + size_at, (uint32_t)(out->size - size_at - 4));
    lw_wire_flush(&to->wire);
}

LW_YIELDS static void call_main(void *argument) {
    call *one = argument;
    lw_incoming *from = one->from;
    lw_peers *peers = from->peers;
    lw_buffer body = lw_buffer_in(peers->env->memory);
    if (!from->wire.cut) {
        lw_status status =
            peers->options.handle(peers->options.argument, one->node, &one->request, &body);
        reply(from, one->request.id, status, lw_buffer_view(&body));
    }
    lw_buffer_reset(&body);
    from->requests--;
    from->request_bytes -= one->frame.size;
    lw_free(peers->env->memory, (void *)(uintptr_t)one->frame.data);
    lw_free(peers->env->memory, one);
    lw_queue_wake_all(&from->changed);
}

static lw_status take_request(lw_incoming *from, lw_bytes frame) {
    lw_peers *peers = from->peers;
    lw_memory *memory = peers->env->memory;
    lw_request request;
    if (frame.size < LW_FRAME_HEADER_SIZE) {
        return lw_fail(LW_INVALID_ARGUMENT, "a request is too short");
    }
    frame = lw_view(frame.data + LW_FRAME_HEADER_SIZE, frame.size - LW_FRAME_HEADER_SIZE);
    LW_TRY(lw_request_decode(frame, &request));
    peers->figures.handled++;
    bool few = from->requests > 0 && LW_RARE(peers->env, "peers.takes_few_requests");
    if (few || from->requests >= REQUESTS_MAX ||
        (from->requests > 0 && from->request_bytes + frame.size > REQUEST_BYTES_MAX)) {
        LW_MARK(peers->env, "peers.too_many_requests");
        lw_status status = lw_fail(LW_BACKPRESSURE,
                                   "the node has %u requests of yours to carry "
                                   "out: wait for some of them",
                                   from->requests);
        reply(from, request.id, status, (lw_bytes){0});
        return LW_OK;
    }
    call *one = lw_allocate_zero(memory, sizeof(*one));
    one->from = from;
    one->node = from->peer->id;
    one->frame = lw_copy(memory, frame);
    LW_TRY(lw_request_decode(one->frame, &one->request));
    from->requests++;
    from->request_bytes += frame.size;
    lw_env_start(peers->env, "peer request", call_main, one);
    return LW_OK;
}

/* ---- frames ------------------------------------------------------------------------------- */

static lw_status take_frame(lw_incoming *from, lw_wire_kind kind, lw_bytes body) {
    lw_peers *peers = from->peers;
    switch (kind) {
    case LW_WIRE_MESSAGE:
        peers->figures.messages_received++;
        peers->options.message(peers->options.argument, from->peer->id, body);
        return LW_OK;
    case LW_WIRE_REQUEST:
        return take_request(from, body);
    case LW_WIRE_PING:
        lw_wire_put(&from->wire, LW_WIRE_PONG, body, (lw_bytes){0});
        return LW_OK;
    case LW_WIRE_PONG:
        lw_peer_ponged(from->peer, from->run, body);
        return LW_OK;
    case LW_WIRE_REFUSED:
        return lw_peers_refused(peers, from->peer->id, body);
    case LW_WIRE_REPLY:
    case LW_WIRE_WELCOME:
    case LW_WIRE_SECRETS:
        break;
    }
    return lw_fail(LW_INVALID_ARGUMENT, "a frame of kind %d does not come this way", (int)kind);
}

static bool reader_waits(const lw_incoming *from) {
    size_t queued = lw_wire_queued(&from->wire);
    return queued > REPLY_BYTES_MAX ||
           (queued > 0 && LW_RARE(from->peers->env, "peers.holds_the_reader"));
}

/* A run that has just begun, and dials us, has heard nothing of the link that we try to make to the
 * one before, of which we may not have heard either: if that lost power nobody says so. What may be
 * on its way to the new one is left, for a while. */
static void give_up_stale(const lw_incoming *from) {
    lw_env *env = from->peers->env;
    const lw_peer *peer = from->peer;
    if (peer != NULL && peer->shaking != NULL && peer->shaking_run != peer->run &&
        peer->shaking_ns < peer->run_ns &&
        lw_env_now(env) - peer->shaking_ns >= STALE_MS * LW_PEERS_NS_PER_MS &&
        !LW_BUG(env, "peers.stale_link_awaited")) {
        LW_MARK(env, "peers.stale_given_up");
        lw_wire_cut(peer->shaking);
    }
}

/* Until the link ends. Who dialled us says something twice a second, as it waits for our link. */
LW_YIELDS static lw_status listen_to(lw_incoming *from) {
    lw_wire *wire = &from->wire;
    for (;;) {
        lw_wire_kind kind = LW_WIRE_PING;
        lw_bytes body;
        give_up_stale(from);
        LW_TRY(lw_wire_next(wire, 0, &kind, &body));
        LW_TRY(take_frame(from, kind, body));
        while (!wire->cut && reader_waits(from)) {
            LW_MARK(from->peers->env, "peers.reader_held_back");
            lw_queue_wait(&wire->changed);
        }
    }
}

/* ---- members ------------------------------------------------------------------------------ */

static void no_stranger(lw_incoming *one) {
    if (one->stranger) {
        one->stranger = false;
        one->peers->stranger_count--;
    }
}

/* The connection becomes the link of a member to us, in place of one that it had before. */
static void attach(lw_incoming *one, const lw_peer_card *card) {
    lw_peer *peer = lw_peer_of(one->peers, card->node_id);
    if (peer->incoming != NULL) {
        lw_wire_cut(&peer->incoming->wire);
        peer->incoming->peer = NULL;
    }
    no_stranger(one);
    lw_peer_believe(peer, card); /* as was judged, but nobody may have referred to it since */
    one->peer = peer;
    one->run = card->run;
    peer->incoming = one;
    if (!peer->known || peer->address_run != card->run) {
        peer->address_run = card->run;
        char address[LW_ADDRESS_SIZE] = {0};
        memcpy(address, card->address.data, card->address.size);
        lw_peer_know(peer, address);
    }
    peer->heard = true;
    lw_queue_wake_all(&peer->wake);
}

static void detach(lw_incoming *one) {
    lw_peer *peer = one->peer;
    one->peer = NULL;
    if (peer != NULL && peer->incoming == one) {
        peer->incoming = NULL;
        lw_queue_wake_all(&peer->changed);
        lw_peer_release(peer);
    }
}

/* Whether this node has the lattice's key that the other one uses. */
static lw_status check_key(lw_peers *peers, uint32_t epoch) {
    const lw_shared_key *lattice = &peers->options.identity->lattice;
    if (lw_identity_key(peers->options.identity, epoch) != NULL) {
        return LW_OK;
    }
    LW_MARK(peers->env, "peers.other_key_epoch");
    return epoch < lattice->epoch
               ? lw_fail(LW_REFUSED,
                         "the lattice's key was changed while this node was away, from epoch %u "
                         "to %u: make a token at a member with lathwork token, and start this "
                         "node with it and --join; it keeps its data",
                         epoch, lattice->epoch)
               : lw_fail(LW_REFUSED, "one node has the lattice's key of epoch %u, the other of %u",
                         epoch, lattice->epoch);
}

/* The key may have been forgotten meanwhile: then no link made with it is to last. */
LW_YIELDS static lw_status serve_member(lw_incoming *one, const lw_peer_card *card) {
    lw_refusal refusal = LW_REFUSAL_NOW;
    lw_status status = lw_peers_judge(one->peers, card, &refusal);
    if (status == LW_OK && one->peers->closing) {
        status = lw_fail(LW_UNAVAILABLE, "this node is stopping");
    }
    if (status == LW_OK) {
        status = check_key(one->peers, one->key_epoch);
        status = status != LW_OK && LW_BUG(one->peers->env, "peers.forgotten_key_links") ? LW_OK
                                                                                         : status;
    }
    if (status != LW_OK) {
        lw_peers_refuse(&one->wire, refusal);
        return status;
    }
    if (one->wire.cut) {
        return lw_fail(LW_UNAVAILABLE, "the connection was ended");
    }
    attach(one, card);
    lw_wire_put(&one->wire, LW_WIRE_WELCOME, (lw_bytes){0}, (lw_bytes){0});
    status = listen_to(one);
    detach(one);
    return status;
}

/* ---- newcomers ---------------------------------------------------------------------------- */

/* Hands over what makes a node a member. */
static void put_secrets(lw_incoming *one, const lw_buffer *members) {
    const lw_shared_key *lattice = &one->peers->options.identity->lattice;
    uint8_t secrets[LW_SHARED_ID_SIZE + 4 + LW_SHARED_KEY_SIZE];
    memcpy(secrets, lattice->id, LW_SHARED_ID_SIZE);
    lw_put_u32(secrets + LW_SHARED_ID_SIZE, lattice->epoch);
    memcpy(secrets + LW_SHARED_ID_SIZE + 4, lattice->key, LW_SHARED_KEY_SIZE);
    lw_wire_put(&one->wire, LW_WIRE_SECRETS, lw_view(secrets, sizeof(secrets)),
                lw_buffer_view(members));
    lw_seal_wipe(secrets, sizeof(secrets));
}

LW_YIELDS static lw_status take_in(lw_incoming *one, const lw_peer_card *card, lw_buffer *members) {
    lw_peers *peers = one->peers;
    if (card->node_id == peers->options.identity->node_id) {
        return lw_fail(LW_REFUSED, "the newcomer has this node's identity: its folder is a copy. "
                                   "Give it an empty one");
    }
    LW_TRY(peers->options.joins(peers->options.argument, card, members));
    char address[LW_PRINTABLE_SIZE];
    lw_logline(peers->env, LW_LEVEL_INFO, "a node was taken in",
               "node=%016" PRIx64 " address=\"%s\"", card->node_id,
               lw_printable(card->address, address, sizeof(address)));
    return LW_OK;
}

LW_YIELDS static lw_status serve_newcomer(lw_incoming *one, const lw_peer_card *card) {
    lw_env *env = one->peers->env;
    lw_buffer members = lw_buffer_in(env->memory);
    lw_status status = take_in(one, card, &members);
    if (status != LW_OK) {
        lw_peers_refuse(&one->wire, LW_REFUSAL_NOW);
    } else {
        put_secrets(one, &members);
        lw_wire_drain(&one->wire, lw_env_now(env) + SECRETS_TIMEOUT_MS * LW_PEERS_NS_PER_MS);
    }
    lw_buffer_reset(&members);
    return status;
}

/* ---- strangers ---------------------------------------------------------------------------- */

static lw_status check_node(lw_peers *peers, const lw_greeting *greeting) {
    const lw_shared_key *lattice = &peers->options.identity->lattice;
    if (!lw_equal(lw_view(greeting->cluster_id, LW_SHARED_ID_SIZE),
                  lw_view(lattice->id, LW_SHARED_ID_SIZE))) {
        return lw_fail(LW_REFUSED, "the two nodes belong to different lattices: a node joins "
                                   "another one with an empty folder");
    }
    LW_TRY(check_key(peers, greeting->key_epoch));
    if (greeting->plain && !peers->plain && !LW_BUG(peers->env, "peers.plain_for_anyone")) {
        return lw_fail(LW_REFUSED, "this node wants its links encrypted: start both, or neither, "
                                   "with plain links");
    }
    return LW_OK;
}

/* A token of the key that is used here, or of one that others use already. LW_UNAVAILABLE: of one
 * that has not come here yet. Nothing is said then, so that the newcomer goes on asking. */
static lw_status check_token(const lw_peers *peers, const lw_greeting *greeting, lw_token *token) {
    const lw_node_identity *identity = peers->options.identity;
    uint64_t now_ms = lw_env_wall_ms(peers->env);
    lw_status status = lw_token_check(&identity->lattice, now_ms, greeting->claims, token);
    lw_error why = *lw_error_slot();
    for (uint32_t index = 0; index < identity->other_count && status != LW_OK; index++) {
        if (identity->others[index].epoch > identity->lattice.epoch &&
            !LW_BUG(peers->env, "peers.used_key_alone_counts")) {
            status = lw_token_check(&identity->others[index], now_ms, greeting->claims, token);
        }
    }
    if (status != LW_OK) {
        *lw_error_slot() = why;
    }
    return status;
}

static lw_status check_newcomer(lw_peers *peers, const lw_greeting *greeting,
                                uint8_t psk[LW_SHARED_KEY_SIZE]) {
    lw_token token;
    if (peers->options.joins == NULL) {
        return lw_fail(LW_REFUSED, "this node takes nobody in");
    }
    if (greeting->plain) {
        return lw_fail(LW_REFUSED, "the lattice's secrets are not handed over in clear");
    }
    LW_TRY(check_token(peers, greeting, &token));
    memcpy(psk, token.secret, LW_SHARED_KEY_SIZE);
    lw_seal_wipe(&token.secret, sizeof(token.secret));
    if (peers->options.revoked != NULL &&
        peers->options.revoked(peers->options.argument, token.id)) {
        LW_MARK(peers->env, "peers.revoked_token");
        return lw_fail(LW_REFUSED,
                       "the token was revoked: make a new one with `lathwork token`, at "
                       "a member's folder");
    }
    return LW_OK;
}

/* Reads the greeting and does the handshake. What fails here is told in clear. */
LW_YIELDS static lw_status meet(lw_incoming *one, lw_greeting *greeting, lw_buffer *said,
                                lw_peer_card *card) {
    lw_peers *peers = one->peers;
    uint64_t deadline_ns = lw_env_now(peers->env) + STRANGER_TIMEOUT_MS * LW_PEERS_NS_PER_MS;
    size_t size = 0;
    uint8_t psk[LW_SHARED_KEY_SIZE];
    LW_TRY(lw_handshake_listen(&one->wire, deadline_ns, greeting, &size));
    if (greeting->kind == LW_GREETING_NODE) {
        LW_TRY(check_node(peers, greeting));
        one->key_epoch = greeting->key_epoch;
        lw_peers_node_key(peers, greeting->key_epoch, psk);
    } else {
        LW_TRY(check_newcomer(peers, greeting, psk));
    }
    lw_status status = lw_handshake_answer(&one->wire, &peers->presence, greeting, size, psk,
                                           deadline_ns, said, card);
    lw_seal_wipe(psk, sizeof(psk));
    return status;
}

/* At most once a minute: who floods us does not fill the log too. */
static void log_refusal(lw_peers *peers) {
    uint64_t now_ns = lw_env_now(peers->env);
    LW_MARK(peers->env, "peers.stranger_refused");
    peers->figures.refused++;
    if (peers->stranger_logged_ns == 0 ||
        now_ns - peers->stranger_logged_ns >= LOG_PAUSE_MS * LW_PEERS_NS_PER_MS) {
        peers->stranger_logged_ns = now_ns;
        char reason[LW_ERROR_TEXT_SIZE];
        lw_logline(peers->env, LW_LEVEL_WARN, "a node was refused",
                   "reason=\"%s\" refused=%" PRIu64,
                   lw_printable(lw_text(lw_error_slot()->text), reason, sizeof(reason)),
                   peers->figures.refused);
    }
}

LW_YIELDS static void receive(lw_incoming *one) {
    lw_peers *peers = one->peers;
    lw_env *env = peers->env;
    lw_greeting greeting;
    lw_peer_card card = {0};
    lw_buffer said = lw_buffer_in(env->memory);
    lw_status status = meet(one, &greeting, &said, &card);
    if (status == LW_OK) {
        status = greeting.kind == LW_GREETING_NODE ? serve_member(one, &card)
                                                   : serve_newcomer(one, &card);
    } else if (status == LW_REFUSED || status == LW_INVALID_ARGUMENT) {
        lw_handshake_refuse(&one->wire, lw_env_now(env) + REFUSE_TIMEOUT_MS * LW_PEERS_NS_PER_MS);
    }
    if (status == LW_REFUSED || status == LW_INVALID_ARGUMENT) {
        log_refusal(peers);
    }
    lw_buffer_reset(&said);
}

/* ---- the fiber ---------------------------------------------------------------------------- */

static void incoming_free(lw_incoming *one) {
    lw_peers *peers = one->peers;
    peers->figures.bytes_sent += one->wire.bytes_sent;
    peers->figures.bytes_received += one->wire.bytes_received;
    *(one->previous != NULL ? &one->previous->next : &peers->incomings) = one->next;
    if (one->next != NULL) {
        one->next->previous = one->previous;
    }
    lw_free(peers->env->memory, one);
    lw_queue_wake_all(&peers->changed);
}

LW_YIELDS static void incoming_main(void *argument) {
    lw_incoming *one = argument;
    if (!one->wire.cut) {
        receive(one);
    }
    no_stranger(one);
    lw_wire_cut(&one->wire);
    while (one->requests > 0) {
        lw_queue_wait(&one->changed);
    }
    lw_wire_reset(&one->wire);
    incoming_free(one);
}

/* Who has been a stranger longest goes first when there are too many: a handshake takes
 * milliseconds, so that it is hardly ever an honest one. */
static void cut_oldest_stranger(lw_peers *peers) {
    lw_incoming *oldest = NULL;
    for (lw_incoming *one = peers->incomings; one != NULL; one = one->next) {
        oldest = one->stranger && !one->wire.cut ? one : oldest;
    }
    if (oldest != NULL) {
        LW_MARK(peers->env, "peers.too_many_strangers");
        lw_wire_cut(&oldest->wire);
        no_stranger(oldest);
    }
}

void lw_peers_take(lw_peers *peers, lw_handle socket, lw_bytes received) {
    lw_incoming *one = lw_allocate_zero(peers->env->memory, sizeof(*one));
    one->peers = peers;
    lw_wire_init(&one->wire, peers->env, socket, received);
    one->next = peers->incomings;
    if (one->next != NULL) {
        one->next->previous = one;
    }
    peers->incomings = one;
    if (peers->closing) {
        lw_wire_cut(&one->wire);
    } else if (peers->stranger_count >= LW_PEERS_STRANGERS_MAX &&
               !LW_BUG(peers->env, "peers.strangers_unbounded")) {
        cut_oldest_stranger(peers);
    }
    one->stranger = !peers->closing;
    peers->stranger_count += one->stranger ? 1 : 0;
    lw_env_start(peers->env, "incoming", incoming_main, one);
}
