/* SPDX-License-Identifier: Apache-2.0 */
/* Our link to each known peer: a fiber that dials, holds the link while it lasts, and dials again
 * after a pause that grows, and is cut short, and small again, when the peer dials us, or moves.
 *
 * Signs of life: pings go while something is expected of the peer (an answer, that it got a
 * message, or because somebody watches it), and no other timer runs. */
#include "node/peers_private.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    CONNECT_TIMEOUT_MS = 2000,
    HANDSHAKE_TIMEOUT_MS = 5000, /* longer than the other side may take to judge us */
    PAUSE_FIRST_MS = 50,
    PAUSE_MOST_MS = 3000,
    LOG_PAUSE_MS = 60000,
    LATE_MS = 250, /* a timer that comes this late shows that we slept, not they */
};

static uint64_t after_ms(lw_env *env, uint64_t ms) {
    return lw_env_now(env) + ms * LW_PEERS_NS_PER_MS;
}

/* ---- signs of life ------------------------------------------------------------------------ */

static void timer_fired(lw_op *op);

static void start_timer(lw_peer *peer) {
    lw_env *env = peer->peers->env;
    peer->timer_pending = true;
    peer->timer = (lw_op){.kind = LW_OP_TIMER,
                          .deadline_ns = after_ms(env, LW_PEERS_PING_MS),
                          .complete = timer_fired,
                          .owner = peer};
    lw_env_submit(env, &peer->timer);
}

static void ping(lw_peer *peer) {
    peer->said = false;
    peer->ping_ns = lw_env_now(peer->peers->env);
    peer->ping_answer = lw_peer_ping(peer, peer->wire);
}

void lw_peer_expect(lw_peer *peer) {
    peer->said = true;
    if (!peer->timer_pending) {
        if (peer->ping_ns == 0) {
            ping(peer);
        }
        start_timer(peer);
    }
}

/* Whether a ping has been without an answer, and without any other sign, for too long. */
static bool silent(const lw_peer *peer, uint64_t now_ns) {
    uint64_t since_ns = peer->wire->heard_ns > peer->ping_ns ? peer->wire->heard_ns : peer->ping_ns;
    return now_ns - since_ns >= LW_PEERS_SILENCE_MS * LW_PEERS_NS_PER_MS;
}

static void timer_fired(lw_op *op) {
    lw_peer *peer = op->owner;
    uint64_t now_ns = lw_env_now(peer->peers->env);
    peer->timer_pending = false;
    if (peer->wire == NULL || peer->wire->cut) {
        lw_queue_wake_all(&peer->wake);
        return;
    }
    bool late = now_ns > op->deadline_ns + LATE_MS * LW_PEERS_NS_PER_MS;
    if (peer->ping_ns == 0) {
        if (!peer->said && peer->ask_count == 0 && peer->watchers == 0) {
            return; /* nothing is expected: no timer, until something is */
        }
        ping(peer);
    } else if (late) {
        LW_MARK(peer->peers->env, "peers.slept");
        peer->ping_ns = now_ns;
    } else if (silent(peer, now_ns) && !LW_BUG(peer->peers->env, "peers.silence_believed")) {
        LW_MARK(peer->peers->env, "peers.silence");
        (void)snprintf(peer->reason, sizeof(peer->reason), "no sign of life for %d ms",
                       LW_PEERS_SILENCE_MS);
        lw_wire_cut(peer->wire);
        return;
    }
    start_timer(peer);
}

/* ---- dialling ----------------------------------------------------------------------------- */

/* The key of a turn: that in use, then the highest of those below it, and so on around. */
static uint32_t epoch_of_turn(const lw_node_identity *identity, uint32_t turn) {
    uint32_t epoch = identity->lattice.epoch;
    for (uint32_t step = turn % (identity->other_count + 1); step > 0; step--) {
        uint32_t below = 0, highest = 0;
        for (uint32_t index = 0; index < identity->other_count; index++) {
            uint32_t other = identity->others[index].epoch;
            below = other < epoch && other > below ? other : below;
            highest = other > highest ? other : highest;
        }
        epoch = below != 0 ? below : highest;
    }
    return epoch;
}

lw_greeting lw_peers_greeting(const lw_peers *peers, const char *address, uint32_t turn) {
    lw_greeting greeting = {.protocol_min = LW_PEER_PROTOCOL_MIN,
                            .protocol_max = LW_PEER_PROTOCOL_MAX,
                            .kind = LW_GREETING_NODE,
                            .plain = peers->plain && lw_address_is_loopback(address),
                            .key_epoch = epoch_of_turn(peers->options.identity, turn)};
    memcpy(greeting.cluster_id, peers->presence.cluster_id, LW_SHARED_ID_SIZE);
    return greeting;
}

/* The node that we dialled has shown its card: may it be that node? */
LW_YIELDS static lw_status judge(lw_peer *peer, lw_wire *wire, const lw_peer_card *card) {
    lw_refusal refusal = LW_REFUSAL_NOW;
    peer->shaking_run = card->run;
    lw_status status = lw_peers_judge(peer->peers, card, &refusal);
    if (status == LW_REFUSED) {
        lw_peers_refuse(wire, refusal);
    }
    return status;
}

lw_status lw_peers_wait_for_welcome(lw_peers *peers, uint64_t node, lw_wire *wire,
                                    uint64_t deadline_ns) {
    lw_wire_kind kind = LW_WIRE_PING;
    lw_bytes body;
    LW_TRY(lw_wire_next(wire, deadline_ns, &kind, &body));
    if (kind == LW_WIRE_REFUSED) {
        return lw_peers_refused(peers, node, body);
    }
    return kind == LW_WIRE_WELCOME
               ? LW_OK
               : lw_fail(LW_INVALID_ARGUMENT, "the other side does not begin with a welcome");
}

LW_YIELDS static lw_status shake_hands(lw_peer *peer, lw_wire *wire) {
    lw_peers *peers = peer->peers;
    uint64_t deadline_ns = after_ms(peers->env, HANDSHAKE_TIMEOUT_MS);
    lw_greeting greeting = lw_peers_greeting(peers, peer->address, peer->key_turn);
    lw_buffer said = lw_buffer_in(peers->env->memory);
    lw_peer_card card = {0};
    uint8_t psk[LW_SHARED_KEY_SIZE];
    lw_peers_node_key(peers, greeting.key_epoch, psk);
    lw_status status = lw_handshake_begin(wire, &peers->presence, &greeting, peer->id, psk,
                                          deadline_ns, &said, &card);
    lw_seal_wipe(psk, sizeof(psk));
    if (status == LW_OK) {
        status = judge(peer, wire, &card);
    }
    lw_buffer_reset(&said);
    LW_TRY(status);
    return lw_peers_wait_for_welcome(peers, peer->id, wire, deadline_ns);
}

/* ---- while it lasts ----------------------------------------------------------------------- */

static lw_status take_frame(lw_peer *peer, lw_wire *wire, lw_wire_kind kind, lw_bytes body) {
    switch (kind) {
    case LW_WIRE_REPLY:
        return lw_peer_take_reply(peer, body);
    case LW_WIRE_PONG:
        lw_peer_ponged(peer, peer->run, body);
        return LW_OK;
    case LW_WIRE_PING: /* are we still there? */
        lw_wire_put(wire, LW_WIRE_PONG, body, (lw_bytes){0});
        return LW_OK;
    case LW_WIRE_REFUSED:
        return lw_peers_refused(peer->peers, peer->id, body);
    case LW_WIRE_MESSAGE:
    case LW_WIRE_REQUEST:
    case LW_WIRE_WELCOME:
    case LW_WIRE_SECRETS:
        break;
    }
    return lw_fail(LW_INVALID_ARGUMENT, "a frame of kind %d does not come this way", (int)kind);
}

static void link_up(lw_peer *peer, lw_wire *wire) {
    lw_peers *peers = peer->peers;
    peer->wire = wire;
    peer->trying = false;
    peer->said = false;
    peer->ping_ns = 0;
    peer->reason[0] = '\0';
    peers->figures.links_made++;
    if (!peer->up_again_told) {
        peer->up_again_told = true;
        char address[LW_PRINTABLE_SIZE], label[LW_MEMBER_LABEL_SIZE];
        lw_logline(peers->env, LW_LEVEL_INFO, "linked",
                   "node=%016" PRIx64 " name=%s address=\"%s\"", peer->id,
                   lw_peers_label(peers, peer->id, label),
                   lw_printable(lw_text(peer->address), address, sizeof(address)));
    }
    wire->room = &peer->room;
    lw_queue_wake_all(&peer->room);
    peers->options.link(peers->options.argument, peer->id, true);
    if (peer->watchers > 0 && peer->wire != NULL) {
        lw_peer_expect(peer);
    }
}

static void keep_reason(lw_peer *peer) {
    memcpy(peer->reason, lw_error_slot()->text, sizeof(peer->reason));
}

LW_YIELDS static void link_down(lw_peer *peer) {
    lw_peers *peers = peer->peers;
    peers->figures.bytes_sent += peer->wire->bytes_sent;
    peers->figures.bytes_received += peer->wire->bytes_received;
    lw_wire_cut(peer->wire);
    peer->wire = NULL;
    peers->figures.links_lost++;
    lw_peer_fail_asks(peer);
    lw_queue_wake_all(&peer->room);
    lw_queue_wake_all(&peer->changed);
    peers->options.link(peers->options.argument, peer->id, false);
    if (peer->timer_pending) {
        lw_env_cancel(peers->env, &peer->timer);
    }
    while (peer->timer_pending) {
        lw_queue_wait(&peer->wake);
    }
}

/* Until the link ends. */
LW_YIELDS static void hold(lw_peer *peer, lw_wire *wire) {
    lw_status status = LW_OK;
    link_up(peer, wire);
    while (status == LW_OK) {
        lw_wire_kind kind = LW_WIRE_PING;
        lw_bytes body;
        status = lw_wire_next(wire, 0, &kind, &body);
        if (status == LW_OK) {
            status = take_frame(peer, wire, kind, body);
        }
    }
    if (peer->reason[0] == '\0') { /* else it was cut for that */
        keep_reason(peer);
    }
    link_down(peer);
}

/* ---- the fiber ---------------------------------------------------------------------------- */

/* At most once a minute. */
static void log_failure(lw_peer *peer) {
    lw_peers *peers = peer->peers;
    uint64_t now_ns = lw_env_now(peers->env);
    if (peers->closing || !peer->known ||
        (peer->logged_ns != 0 && now_ns - peer->logged_ns < LOG_PAUSE_MS * LW_PEERS_NS_PER_MS)) {
        return;
    }
    peer->logged_ns = now_ns;
    peer->up_again_told = false;
    char address[LW_PRINTABLE_SIZE], reason[LW_ERROR_TEXT_SIZE], label[LW_MEMBER_LABEL_SIZE];
    lw_logline(peers->env, LW_LEVEL_WARN, "not linked",
               "node=%016" PRIx64 " name=%s address=\"%s\" reason=\"%s\"", peer->id,
               lw_peers_label(peers, peer->id, label),
               lw_printable(lw_text(peer->address), address, sizeof(address)),
               lw_printable(lw_text(peer->reason), reason, sizeof(reason)));
}

LW_YIELDS static lw_status connect_to(lw_peer *peer, const char *address, lw_handle *socket) {
    lw_env *env = peer->peers->env;
    peer->connect = (lw_op){
        .kind = LW_OP_CONNECT, .path = address, .deadline_ns = after_ms(env, CONNECT_TIMEOUT_MS)};
    peer->connecting = true;
    lw_status status = lw_env_perform(env, &peer->connect);
    peer->connecting = false;
    *socket = peer->connect.handle;
    return status == LW_TIMEOUT ? lw_fail(LW_TIMEOUT, "no answer within %d ms", CONNECT_TIMEOUT_MS)
                                : status;
}

/* Makes a connection into a link, and holds it as long as it lasts. */
LW_YIELDS static lw_status link_over(lw_peer *peer, lw_handle socket, const char *address,
                                     bool *linked) {
    lw_wire *wire = lw_allocate(peer->peers->env->memory, sizeof(*wire));
    lw_wire_init(wire, peer->peers->env, socket, (lw_bytes){0});
    peer->shaking = wire;
    peer->shaking_ns = lw_env_now(peer->peers->env);
    peer->shaking_run = 0;
    lw_status status = shake_hands(peer, wire);
    peer->shaking = NULL;
    /* Much may have happened meanwhile. */
    *linked = status == LW_OK && !wire->cut && peer->known && strcmp(address, peer->address) == 0;
    if (*linked) {
        hold(peer, wire);
    } else if (status != LW_OK) {
        keep_reason(peer);
    }
    lw_wire_reset(wire);
    lw_free(peer->peers->env->memory, wire);
    return status;
}

/* Dials once. True if there was a link. */
LW_YIELDS static bool dial(lw_peer *peer) {
    char address[LW_ADDRESS_SIZE]; /* the peer may move meanwhile */
    lw_handle socket = LW_NO_HANDLE;
    bool linked = false;
    memcpy(address, peer->address, sizeof(address));
    peer->heard = false;
    lw_status status = connect_to(peer, address, &socket);
    if (status != LW_OK) {
        keep_reason(peer);
        return false;
    }
    if (!peer->known) {
        lw_socket_close(peer->peers->env, socket);
        return false;
    }
    status = link_over(peer, socket, address, &linked);
    peer->key_turn = linked ? 0 : peer->key_turn + (status == LW_REFUSED);
    peer->peers->figures.refused += status == LW_REFUSED ? 1 : 0;
    return linked;
}

LW_YIELDS static void pause_until_next(lw_peer *peer, uint64_t pause_ms) {
    lw_env *env = peer->peers->env;
    uint64_t jitter_ms = lw_env_random_below(env, pause_ms / 2 + 1);
    if (peer->heard) {
        return;
    }
    peer->trying = false;
    lw_queue_wake_all(&peer->room);
    (void)lw_env_wait(env, &peer->wake, after_ms(env, pause_ms - jitter_ms));
    peer->trying = peer->known;
}

static uint64_t next_pause(const lw_peer *peer, uint64_t pause_ms) {
    if (peer->heard && !LW_BUG(peer->peers->env, "peers.pause_stays_long")) {
        return PAUSE_FIRST_MS;
    }
    return pause_ms * 2 < PAUSE_MOST_MS ? pause_ms * 2 : PAUSE_MOST_MS;
}

void lw_peer_main(void *argument) {
    lw_peer *peer = argument;
    uint64_t pause_ms = PAUSE_FIRST_MS;
    while (peer->known) {
        peer->trying = true;
        if (dial(peer)) {
            pause_ms = PAUSE_FIRST_MS;
        }
        if (peer->known) {
            log_failure(peer);
            pause_until_next(peer, pause_ms);
            pause_ms = next_pause(peer, pause_ms);
        }
    }
    peer->dialling = peer->trying = false;
    lw_queue_wake_all(&peer->room);
    lw_peer_release(peer);
}
