/* SPDX-License-Identifier: Apache-2.0 */
/* Who is known, what is sent to whom and asked of whom, and the end of it all. The links themselves
 * are in peers_dial.c (ours) and peers_accept.c (those of others to us). */
#include "node/peers_private.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- who is known ------------------------------------------------------------------------- */

lw_peer *lw_peer_find(const lw_peers *peers, uint64_t id) {
    lw_map_node *node = lw_map_first(&peers->by_id, id);
    return node == NULL ? NULL : LW_MAP_ENTRY(node, lw_peer, place);
}

const char *lw_peers_label(const lw_peers *peers, uint64_t id, char label[LW_MEMBER_LABEL_SIZE]) {
    if (peers->options.label != NULL) {
        return peers->options.label(peers->options.argument, id, label);
    }
    (void)snprintf(label, LW_MEMBER_LABEL_SIZE, "%016" PRIx64, id);
    return label;
}

lw_peer *lw_peer_of(lw_peers *peers, uint64_t id) {
    lw_peer *peer = lw_peer_find(peers, id);
    if (peer != NULL) {
        return peer;
    }
    peer = lw_allocate_zero(peers->env->memory, sizeof(*peer));
    peer->peers = peers;
    peer->id = id;
    peer->previous = peers->last;
    *(peers->last != NULL ? &peers->last->next : &peers->first) = peer;
    peers->last = peer;
    lw_map_insert(&peers->by_id, &peer->place, id);
    return peer;
}

void lw_peer_release(lw_peer *peer) {
    lw_peers *peers = peer->peers;
    if (peer->known || peer->dialling || peer->watchers > 0 || peer->holds > 0 ||
        peer->incoming != NULL) {
        return;
    }
    LW_ASSERT(peer->ask_count == 0);
    LW_ASSERT(!peer->timer_pending);
    *(peer->previous != NULL ? &peer->previous->next : &peers->first) = peer->next;
    *(peer->next != NULL ? &peer->next->previous : &peers->last) = peer->previous;
    lw_map_remove(&peers->by_id, &peer->place);
    lw_free(peers->env->memory, peer);
    lw_queue_wake_all(&peers->changed);
}

/* Ends the link, or what is done to make one. */
static void stop_dialling(lw_peer *peer) {
    if (peer->connecting) {
        lw_env_cancel(peer->peers->env, &peer->connect);
    }
    if (peer->shaking != NULL) {
        lw_wire_cut(peer->shaking);
    }
    if (peer->wire != NULL) {
        lw_wire_cut(peer->wire);
    }
}

void lw_peer_know(lw_peer *peer, const char *address) {
    lw_peers *peers = peer->peers;
    bool moved = strcmp(peer->address, address) != 0;
    if ((peer->known && !moved) || peers->closing) {
        return;
    }
    LW_ASSERT(strlen(address) < sizeof(peer->address));
    (void)snprintf(peer->address, sizeof(peer->address), "%s", address);
    peer->known = peer->trying = true;
    peer->reason[0] = '\0';
    if (!peer->dialling) {
        peer->dialling = true;
        lw_env_start(peers->env, "peer", lw_peer_main, peer);
        return;
    }
    peer->heard = true;
    if (moved) {
        stop_dialling(peer);
    }
    lw_queue_wake_all(&peer->wake);
}

void lw_peers_set(lw_peers *peers, uint64_t node, const char *address) {
    LW_ASSERT(node != 0);
    if (node != peers->options.identity->node_id && !peers->closing) {
        lw_peer_know(lw_peer_of(peers, node), address);
    }
}

static void forget(lw_peer *peer) {
    peer->known = peer->trying = false;
    stop_dialling(peer);
    if (peer->incoming != NULL) {
        lw_wire_cut(&peer->incoming->wire);
    }
    lw_queue_wake_all(&peer->wake);
    lw_queue_wake_all(&peer->room);
    lw_queue_wake_all(&peer->changed);
    lw_peer_release(peer);
}

void lw_peers_remove(lw_peers *peers, uint64_t node) {
    lw_peer *peer = lw_peer_find(peers, node);
    if (peer != NULL) {
        forget(peer);
    }
}

bool lw_peers_up(const lw_peers *peers, uint64_t node) {
    const lw_peer *peer = lw_peer_find(peers, node);
    return peer != NULL && peer->wire != NULL;
}

void lw_peers_watch(lw_peers *peers, uint64_t node) {
    lw_peer *peer = lw_peer_of(peers, node);
    peer->watchers++;
    if (peer->wire != NULL) {
        lw_peer_expect(peer);
    }
}

void lw_peers_unwatch(lw_peers *peers, uint64_t node) {
    lw_peer *peer = lw_peer_find(peers, node);
    if (peers->closing) {
        return; /* nobody is watched any more */
    }
    LW_ASSERT(peer != NULL);
    LW_ASSERT(peer->watchers > 0);
    peer->watchers--;
    lw_peer_release(peer);
}

/* ---- one-way messages --------------------------------------------------------------------- */

bool lw_peers_send(lw_peers *peers, uint64_t node, lw_bytes message) {
    LW_ASSERT(message.size <= LW_PEERS_MESSAGE_SIZE_MAX);
    lw_peer *peer = lw_peer_find(peers, node);
    if (peer == NULL || peer->wire == NULL) {
        peers->figures.messages_dropped++;
        return false;
    }
    size_t queued = lw_wire_queued(peer->wire);
    if (queued > 0 && (queued + message.size > LW_PEERS_QUEUE_SIZE_MAX ||
                       LW_RARE(peers->env, "peers.queues_little"))) {
        LW_MARK(peers->env, "peers.queue_full");
        peer->dropped++;
        peers->figures.messages_dropped++;
        return false;
    }
    peers->figures.messages_sent++;
    lw_wire_put(peer->wire, LW_WIRE_MESSAGE, message, (lw_bytes){0});
    lw_peer_expect(peer);
    return true;
}

/* ---- requests ----------------------------------------------------------------------------- */

static void finish_ask(lw_ask *ask) {
    ask->done = true;
    lw_queue_wake_all(&ask->done_queue);
}

/* Takes an ask out of those that wait. */
static void remove_ask(lw_peer *peer, lw_ask *ask) {
    lw_ask *before = NULL;
    for (lw_ask *one = peer->asks; one != ask; one = one->next) {
        LW_ASSERT(one != NULL);
        before = one;
    }
    *(before != NULL ? &before->next : &peer->asks) = ask->next;
    if (peer->asks_last == ask) {
        peer->asks_last = before;
    }
    peer->ask_count--;
    lw_queue_wake_one(&peer->room);
}

static void fail_ask(lw_ask *ask, lw_status status, const char *text) {
    ask->error.status = status;
    (void)snprintf(ask->error.text, sizeof(ask->error.text), "%s", text);
}

void lw_peer_fail_asks(lw_peer *peer) {
    char text[LW_ERROR_TEXT_SIZE], label[LW_MEMBER_LABEL_SIZE];
    (void)snprintf(text, sizeof(text), "the link to node %s broke: %.400s",
                   lw_peers_label(peer->peers, peer->id, label), peer->reason);
    while (peer->asks != NULL) {
        lw_ask *ask = peer->asks;
        remove_ask(peer, ask);
        fail_ask(ask, LW_UNAVAILABLE, text);
        finish_ask(ask);
    }
}

lw_status lw_peer_take_reply(lw_peer *peer, lw_bytes frame) {
    lw_reply reply;
    if (frame.size < LW_FRAME_HEADER_SIZE) {
        return lw_fail(LW_INVALID_ARGUMENT, "a reply is too short");
    }
    LW_TRY(lw_reply_decode(
        lw_view(frame.data + LW_FRAME_HEADER_SIZE, frame.size - LW_FRAME_HEADER_SIZE), &reply));
    lw_ask *ask = peer->asks;
    while (ask != NULL && ask->id != reply.id) {
        ask = ask->next;
    }
    if (ask == NULL) {
        LW_MARK(peer->peers->env, "peers.reply_nobody_waits_for");
        return LW_OK;
    }
    remove_ask(peer, ask);
    lw_buffer_append(ask->body, reply.body);
    if (reply.status != LW_OK) {
        char text[LW_ERROR_TEXT_SIZE];
        fail_ask(ask, reply.status, lw_printable(reply.error, text, sizeof(text)));
    }
    finish_ask(ask);
    return LW_OK;
}

/* Waits until a request can be sent. */
LW_YIELDS static lw_status wait_for_link(lw_peer *peer, uint64_t deadline_ns) {
    lw_env *env = peer->peers->env;
    char label[LW_MEMBER_LABEL_SIZE];
    for (;;) {
        if (peer->wire == NULL && !peer->trying) {
            return lw_fail(LW_UNAVAILABLE, "node %s cannot be reached: %.400s",
                           lw_peers_label(peer->peers, peer->id, label),
                           peer->peers->closing      ? "this node is stopping"
                           : !peer->known            ? "nobody knows where it is"
                           : peer->reason[0] != '\0' ? peer->reason
                                                     : "the link broke");
        }
        if (peer->wire != NULL && !peer->wire->cut && peer->ask_count < LW_PEERS_ASKS_MAX &&
            lw_wire_queued(peer->wire) < LW_PEERS_QUEUE_SIZE_MAX) {
            return LW_OK;
        }
        if (!lw_env_wait(env, &peer->room, deadline_ns)) {
            return lw_fail(LW_TIMEOUT, "node %s was not reached in time",
                           lw_peers_label(peer->peers, peer->id, label));
        }
    }
}

static void send_request(lw_peer *peer, const lw_request *request, lw_ask *ask) {
    lw_request numbered = *request;
    numbered.id = ask->id = ++peer->ask_id;
    *(peer->asks_last != NULL ? &peer->asks_last->next : &peer->asks) = ask;
    peer->asks_last = ask;
    peer->ask_count++;
    peer->peers->figures.asks++;
    lw_buffer_append_u8(&peer->wire->out, LW_WIRE_REQUEST);
    size_t size_at = peer->wire->out.size;
    lw_buffer_append_u32(&peer->wire->out, 0);
    lw_request_encode(&numbered, &peer->wire->out);
    lw_put_u32(peer->wire->out.data + size_at, (uint32_t)(peer->wire->out.size - size_at - 4));
    lw_wire_flush(peer->wire);
    lw_peer_expect(peer);
}

LW_YIELDS static lw_status ask_peer(lw_peer *peer, const lw_request *request, uint64_t deadline_ns,
                                    lw_buffer *body) {
    LW_TRY(wait_for_link(peer, deadline_ns));
    lw_ask ask = {.body = body};
    send_request(peer, request, &ask);
    while (!ask.done) {
        if (!lw_env_wait(peer->peers->env, &ask.done_queue, deadline_ns) && !ask.done) {
            char label[LW_MEMBER_LABEL_SIZE];
            remove_ask(peer, &ask);
            return lw_fail(LW_TIMEOUT, "node %s did not answer in time",
                           lw_peers_label(peer->peers, peer->id, label));
        }
    }
    return ask.error.status == LW_OK ? LW_OK : lw_fail(ask.error.status, "%s", ask.error.text);
}

lw_status lw_peers_ask(lw_peers *peers, uint64_t node, const lw_request *request,
                       uint64_t deadline_ns, lw_buffer *body) {
    LW_ASSERT(deadline_ns != 0);
    LW_ASSERT(lw_fiber_current() != NULL);
    lw_peer *peer = lw_peer_find(peers, node);
    if (peer == NULL || peers->closing) {
        char label[LW_MEMBER_LABEL_SIZE];
        return lw_fail(LW_UNAVAILABLE, "node %s cannot be reached: %s",
                       lw_peers_label(peers, node, label),
                       peers->closing ? "this node is stopping" : "nobody knows where it is");
    }
    peer->holds++;
    lw_status status = ask_peer(peer, request, deadline_ns, body);
    peer->holds--;
    lw_peer_release(peer);
    return status;
}

/* ---- signs of life ------------------------------------------------------------------------ */

uint64_t lw_peer_ping(lw_peer *peer, lw_wire *wire) {
    uint8_t number[8];
    lw_put_u64(number, ++peer->ping_number);
    lw_wire_put(wire, LW_WIRE_PING, lw_view(number, sizeof(number)), (lw_bytes){0});
    return peer->ping_number;
}

void lw_peer_ponged(lw_peer *peer, uint64_t run, lw_bytes body) {
    if (body.size != 8) {
        return;
    }
    peer->pong_run = run;
    peer->pong_number = lw_get_u64(body.data);
    if (peer->ping_ns != 0 && peer->pong_number == peer->ping_answer) {
        peer->round_trip_ns = lw_env_now(peer->peers->env) - peer->ping_ns;
        peer->ping_ns = 0;
    }
    lw_queue_wake_all(&peer->changed);
}

/* ---- opening and closing ------------------------------------------------------------------ */

lw_peers *lw_peers_open(lw_env *env, const lw_peers_options *options) {
    LW_ASSERT(options->identity->lattice.epoch > 0);
    LW_ASSERT(options->message != NULL);
    LW_ASSERT(options->handle != NULL);
    LW_ASSERT(options->link != NULL);
    LW_ASSERT(options->impostor != NULL);
    lw_peers *peers = lw_allocate_zero(env->memory, sizeof(*peers));
    peers->env = env;
    peers->options = *options;
    peers->options.address = NULL; /* the presence has a copy */
    peers->plain = options->plain && lw_address_is_loopback(options->address);
    peers->by_id = lw_map_in(env->memory);
    uint64_t run = 0;
    lw_env_entropy(env, &run, sizeof(run));
    lw_presence_init(&peers->presence, env, options->identity, options->identity->lattice.id, run,
                     options->address);
    return peers;
}

void lw_peers_node_key(const lw_peers *peers, uint32_t epoch, uint8_t key[LW_SHARED_KEY_SIZE]) {
    const lw_shared_key *lattice = lw_identity_key(peers->options.identity, epoch);
    LW_ASSERT(lattice != NULL);
    lw_lattice_node_key(lattice, key);
}

void lw_peers_end_old_links(lw_peers *peers) {
    for (lw_incoming *one = peers->incomings; one != NULL; one = one->next) {
        if (!one->stranger && lw_identity_key(peers->options.identity, one->key_epoch) == NULL) {
            LW_MARK(peers->env, "peers.old_key_ended");
            lw_wire_cut(&one->wire);
        }
    }
}

static void end_links(lw_peers *peers) {
    for (lw_peer *peer = peers->first, *next; peer != NULL; peer = next) {
        next = peer->next;
        peer->holds++;
        forget(peer);
        peer->watchers = 0;
        peer->holds--;
        lw_peer_release(peer);
    }
    lw_peers_stop_seeking(peers);
    for (lw_incoming *one = peers->incomings; one != NULL; one = one->next) {
        lw_wire_cut(&one->wire);
        lw_queue_wake_all(&one->changed);
    }
}

void lw_peers_close(lw_peers *peers) {
    peers->closing = true;
    end_links(peers);
    while (peers->first != NULL || peers->incomings != NULL || peers->seeks != NULL) {
        lw_queue_wait(&peers->changed);
    }
    lw_memory *memory = peers->env->memory;
    lw_presence_reset(&peers->presence);
    lw_map_reset(&peers->by_id);
    lw_seal_wipe(peers, sizeof(*peers));
    lw_free(memory, peers);
}

/* ---- figures ------------------------------------------------------------------------------ */

void lw_peers_figures_get(const lw_peers *peers, lw_peers_figures *figures) {
    *figures = peers->figures;
    for (const lw_peer *peer = peers->first; peer != NULL; peer = peer->next) {
        figures->known += peer->known ? 1 : 0;
        if (peer->wire != NULL) {
            figures->up++;
            figures->queued_bytes += lw_wire_queued(peer->wire);
            figures->bytes_sent += peer->wire->bytes_sent;
            figures->bytes_received += peer->wire->bytes_received;
        }
    }
    for (const lw_incoming *one = peers->incomings; one != NULL; one = one->next) {
        figures->incoming += one->stranger ? 0 : 1;
        figures->bytes_sent += one->wire.bytes_sent;
        figures->bytes_received += one->wire.bytes_received;
    }
}

void lw_peers_state_get(const lw_peers *peers, uint64_t node, lw_peer_state *state) {
    *state = (lw_peer_state){0};
    const lw_peer *peer = lw_peer_find(peers, node);
    if (peer == NULL) {
        return;
    }
    state->known = peer->known;
    state->up = peer->wire != NULL;
    memcpy(state->address, peer->address, sizeof(state->address));
    state->incarnation = state->up ? peer->incarnation : 0;
    state->round_trip_ns = peer->round_trip_ns;
    state->queued_bytes = state->up ? lw_wire_queued(peer->wire) : 0;
    state->dropped = peer->dropped;
    if (!state->up) {
        memcpy(state->reason, peer->reason, sizeof(state->reason));
    }
}
