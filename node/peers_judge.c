/* SPDX-License-Identifier: Apache-2.0 */
/* Which of several processes is a node (P2). A folder that was copied and started twice gives two
 * processes with one identity. The one that is there already and answers stays; whoever comes later
 * is told, and stops. An older incarnation is an old copy of the folder: what it promised since
 * then it does not know (hazard G1), so it is never let in, even when nobody else is there. */
#include "node/peers_private.h"

#include <inttypes.h>

enum { LAST_WORDS_MS = 1000 };

/* A live link to or from another run than this; NULL: none. */
static lw_wire *link_of_other(lw_peer *peer, uint64_t run) {
    if (peer->run == run) {
        return NULL;
    }
    if (peer->wire != NULL && !peer->wire->cut) {
        return peer->wire;
    }
    return peer->incoming != NULL && !peer->incoming->wire.cut ? &peer->incoming->wire : NULL;
}

/* Whether the run that is believed answers a question that it is asked now. */
LW_YIELDS static bool answers(lw_peer *peer, lw_wire *wire) {
    lw_env *env = peer->peers->env;
    uint64_t run = peer->run;
    uint64_t number = lw_peer_ping(peer, wire);
    uint64_t deadline_ns = lw_env_now(env) + LW_PEERS_SILENCE_MS * LW_PEERS_NS_PER_MS;
    while (peer->run == run && !peer->peers->closing) {
        if (peer->pong_run == run && peer->pong_number >= number) {
            return true;
        }
        if ((peer->wire == NULL && peer->incoming == NULL) ||
            !lw_env_wait(env, &peer->changed, deadline_ns)) {
            return false;
        }
    }
    return false;
}

static lw_status impostor(const lw_peer_card *card, const char *address) {
    char theirs[LW_PRINTABLE_SIZE], other[LW_PRINTABLE_SIZE];
    return lw_fail(LW_REFUSED,
                   "node %016" PRIx64 " runs twice, at %s and at %s: a data folder was copied. "
                   "Stop this one, give it an empty folder and let it join",
                   card->node_id, lw_printable(lw_text(address), other, sizeof(other)),
                   lw_printable(card->address, theirs, sizeof(theirs)));
}

/* Ends what links there are with the run of before. */
static void cut_links(lw_peer *peer) {
    if (peer->wire != NULL) {
        lw_wire_cut(peer->wire);
    }
    if (peer->incoming != NULL) {
        lw_wire_cut(&peer->incoming->wire);
    }
}

void lw_peer_believe(lw_peer *peer, const lw_peer_card *card) {
    if (peer->run != card->run) {
        peer->run_ns = lw_env_now(peer->peers->env);
    }
    peer->incarnation = card->incarnation;
    peer->run = card->run;
}

LW_YIELDS static lw_status judge_run(lw_peer *peer, const lw_peer_card *card, lw_refusal *refusal) {
    lw_wire *other = link_of_other(peer, card->run);
    if (other != NULL && peer->run != 0 && answers(peer, other)) {
        LW_MARK(peer->peers->env, "peers.impostor");
        *refusal = LW_REFUSAL_OF_RUN;
        return impostor(card, peer->address);
    }
    /* Others may have come meanwhile. */
    if (card->incarnation < peer->incarnation &&
        !LW_BUG(peer->peers->env, "peers.old_copy_let_in")) {
        LW_MARK(peer->peers->env, "peers.old_incarnation");
        *refusal = LW_REFUSAL_OF_RUN;
        return lw_fail(LW_REFUSED,
                       "node %016" PRIx64 " was here in incarnation %" PRIu64 ", and comes in "
                       "incarnation %" PRIu64 ": its folder is an old copy. Give it an empty "
                       "folder and let it join",
                       card->node_id, peer->incarnation, card->incarnation);
    }
    if (peer->run != card->run) {
        cut_links(peer);
        lw_peer_believe(peer, card);
    }
    return LW_OK;
}

lw_status lw_peers_judge(lw_peers *peers, const lw_peer_card *card, lw_refusal *refusal) {
    *refusal = LW_REFUSAL_NOW;
    if (card->node_id == peers->options.identity->node_id) {
        bool other = card->run != peers->presence.run;
        *refusal = other ? LW_REFUSAL_OF_RUN : LW_REFUSAL_NOW;
        return other ? impostor(card, peers->presence.address)
                     : lw_fail(LW_REFUSED, "the node has dialled itself");
    }
    bool gone = false;
    lw_status admitted = peers->options.admit == NULL
                             ? LW_OK
                             : peers->options.admit(peers->options.argument, card, &gone);
    *refusal = gone ? LW_REFUSAL_FOR_GOOD : LW_REFUSAL_NOW;
    LW_TRY(admitted);
    lw_peer *peer = lw_peer_of(peers, card->node_id);
    peer->holds++;
    lw_status status = judge_run(peer, card, refusal);
    peer->holds--;
    lw_peer_release(peer);
    return status;
}

/* ---- saying no ---------------------------------------------------------------------------- */

void lw_peers_refuse(lw_wire *wire, lw_refusal refusal) {
    lw_error why = *lw_error_slot();
    uint8_t meaning = (uint8_t)refusal;
    lw_wire_put(wire, LW_WIRE_REFUSED, lw_view(&meaning, 1), lw_text(why.text));
    lw_wire_drain(wire, lw_env_now(wire->env) + LAST_WORDS_MS * LW_PEERS_NS_PER_MS);
    *lw_error_slot() = why;
}

lw_status lw_peers_refused(lw_peers *peers, uint64_t node, lw_bytes body) {
    if (body.size < 1) {
        return lw_fail(LW_INVALID_ARGUMENT, "a refusal without words");
    }
    char words[LW_ERROR_TEXT_SIZE];
    lw_printable(lw_view(body.data + 1, body.size - 1), words, sizeof(words));
    lw_status status = lw_fail(LW_REFUSED, "%s", words);
    if (body.data[0] == LW_REFUSAL_OF_RUN && peers != NULL && !peers->impostor_told) {
        peers->impostor_told = true;
        peers->options.impostor(peers->options.argument, lw_error_slot());
    }
    if (body.data[0] == LW_REFUSAL_FOR_GOOD && peers != NULL && peers->options.gone != NULL) {
        peers->options.gone(peers->options.argument, node);
    }
    return status;
}
