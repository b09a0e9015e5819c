/* SPDX-License-Identifier: Apache-2.0 */
/* Members that may be where nobody has heard of: all nodes of a lattice can come back at other
 * addresses at once, as containers do. What each was told at its start, it dials: the handshake
 * shows who is there, and tells that one who we are and where. The links that follow are those of
 * peers_dial.c, and whoever is linked to one learns of the others from it.
 *
 * An address is dialled until it answered once, and only while a known node is not linked: usually
 * all of them are, moments after the start, and nothing is dialled here at all. */
#include "node/peers_private.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    FIRST_MS = 300, /* for the links of peers_dial.c */
    PAUSE_MOST_MS = 10000,
    CONNECT_MS = 2000,
    HANDSHAKE_MS = 5000,
};

struct lw_seek {
    lw_peers *peers;
    char address[LW_ADDRESS_SIZE];
    uint32_t key_turn;
    lw_seek *next;
    lw_op connect;
    bool connecting;
    lw_wire *wire; /* NULL: no handshake is under way */
    lw_queue wake;
};

/* ---- one attempt -------------------------------------------------------------------------- */

/* Whoever is there is known at the address that it states, as if it had dialled us. */
static void note_found(lw_seek *seek, const lw_peer_card *card) {
    lw_peers *peers = seek->peers;
    lw_peer *peer = lw_peer_of(peers, card->node_id);
    char address[LW_ADDRESS_SIZE] = {0}, label[LW_MEMBER_LABEL_SIZE];
    memcpy(address, card->address.data, card->address.size);
    lw_logline(peers->env, LW_LEVEL_INFO, "a member was found",
               "node=%016" PRIx64 " name=%s address=\"%s\"", card->node_id,
               lw_peers_label(peers, card->node_id, label), address);
    LW_MARK(peers->env, "peers.found");
    if (!peer->known || peer->address_run != card->run) {
        peer->address_run = card->run;
        lw_peer_know(peer, address);
    }
    lw_peer_release(peer);
}

LW_YIELDS static lw_status meet(lw_seek *seek, lw_wire *wire, lw_buffer *said, lw_peer_card *card) {
    lw_peers *peers = seek->peers;
    uint64_t deadline_ns = lw_env_now(peers->env) + HANDSHAKE_MS * LW_PEERS_NS_PER_MS;
    lw_greeting greeting = lw_peers_greeting(peers, seek->address, seek->key_turn++);
    lw_refusal refusal = LW_REFUSAL_NOW;
    uint8_t psk[LW_SHARED_KEY_SIZE];
    lw_peers_node_key(peers, greeting.key_epoch, psk);
    lw_status status =
        lw_handshake_begin(wire, &peers->presence, &greeting, 0, psk, deadline_ns, said, card);
    lw_seal_wipe(psk, sizeof(psk));
    LW_TRY(status);
    if (card->node_id == peers->options.identity->node_id) {
        return LW_OK; /* the address is our own */
    }
    status = lw_peers_judge(peers, card, &refusal);
    if (status == LW_REFUSED) {
        lw_peers_refuse(wire, refusal);
    }
    LW_TRY(status);
    LW_TRY(lw_peers_wait_for_welcome(peers, card->node_id, wire, deadline_ns));
    if (!peers->closing) {
        note_found(seek, card);
    }
    return LW_OK;
}

LW_YIELDS static lw_status visit(lw_seek *seek) {
    lw_env *env = seek->peers->env;
    seek->connect = (lw_op){.kind = LW_OP_CONNECT,
                            .path = seek->address,
                            .deadline_ns = lw_env_now(env) + CONNECT_MS * LW_PEERS_NS_PER_MS};
    seek->connecting = true;
    lw_status status = lw_env_perform(env, &seek->connect);
    seek->connecting = false;
    LW_TRY(status);
    lw_wire wire;
    lw_peer_card card = {0};
    lw_buffer said = lw_buffer_in(env->memory);
    lw_wire_init(&wire, env, seek->connect.handle, (lw_bytes){0});
    seek->wire = &wire;
    status = seek->peers->closing ? LW_UNAVAILABLE : meet(seek, &wire, &said, &card);
    seek->wire = NULL;
    lw_wire_reset(&wire);
    lw_buffer_reset(&said);
    return status;
}

/* ---- until it is found, or not missed ----------------------------------------------------- */

static bool all_linked(const lw_peers *peers) {
    for (const lw_peer *peer = peers->first; peer != NULL; peer = peer->next) {
        if (peer->known && peer->wire == NULL) {
            return false;
        }
    }
    return true;
}

static void remove_seek(lw_seek *seek) {
    lw_peers *peers = seek->peers;
    lw_seek **place = &peers->seeks;
    while (*place != seek) {
        place = &(*place)->next;
    }
    *place = seek->next;
    lw_free(peers->env->memory, seek);
    lw_queue_wake_all(&peers->changed);
}

LW_YIELDS static void seek_main(void *argument) {
    lw_seek *seek = argument;
    lw_peers *peers = seek->peers;
    lw_env *env = peers->env;
    uint64_t pause_ms = FIRST_MS;
    bool found = false;
    while (!peers->closing && !found) {
        (void)lw_env_wait(env, &seek->wake, lw_env_now(env) + pause_ms * LW_PEERS_NS_PER_MS);
        if (peers->closing || all_linked(peers)) {
            break;
        }
        found = visit(seek) == LW_OK;
        pause_ms = 2 * pause_ms < PAUSE_MOST_MS ? 2 * pause_ms : PAUSE_MOST_MS;
    }
    remove_seek(seek);
}

static void seek_one(lw_peers *peers, const char *address, size_t size) {
    lw_seek *seek = lw_allocate_zero(peers->env->memory, sizeof(*seek));
    seek->peers = peers;
    (void)snprintf(seek->address, sizeof(seek->address), "%.*s", (int)size, address);
    seek->next = peers->seeks;
    peers->seeks = seek;
    lw_env_start(peers->env, "seek", seek_main, seek);
}

void lw_peers_seek(lw_peers *peers, const char *addresses) {
    bool wanted = !LW_BUG(peers->env, "peers.seeks_nobody");
    for (const char *list = addresses; *list != '\0' && wanted && !peers->closing;) {
        size_t size = strcspn(list, ",");
        if (size > 0 && size < LW_ADDRESS_SIZE) {
            seek_one(peers, list, size);
        }
        list += size + (list[size] == ',');
    }
}

void lw_peers_stop_seeking(lw_peers *peers) {
    for (lw_seek *seek = peers->seeks; seek != NULL; seek = seek->next) {
        if (seek->connecting) {
            lw_env_cancel(peers->env, &seek->connect);
        }
        if (seek->wire != NULL) {
            lw_wire_cut(seek->wire);
        }
        lw_queue_wake_all(&seek->wake);
    }
}
