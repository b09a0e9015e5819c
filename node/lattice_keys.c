/* SPDX-License-Identifier: Apache-2.0 */
/* Changing the lattice's key, while everything goes on. Nobody leads it: what each member has is in
 * its record (lattice/member.h), and everybody goes on as soon as all have come so far.
 *
 *   a key is made by the node that an operator asks; its epoch is higher than any before
 *   handed on   whoever has it gives it to each member it is linked to that lacks it, sealed under
 * a key that both have; it is durable there before the record says so used        when all have it:
 * for links that are dialled, for tokens and for the bus forgotten   are the keys before it, when
 * all use it: links made with them end
 *
 *   KEYS   = [ epoch that it is sealed under, epoch, nonce bin 12, sealed bin ]  → nothing
 *   sealed = ChaCha20-Poly1305 of the key's 32 bytes, under lw_lattice_wrap_key; associated: both
 *            epochs, as u32
 *
 * All is: every member but those that are gone, or dead (unlinked for longer than dead_after), if
 * that is more than half. Who was dead meanwhile is told to come back with a token
 * (peers_accept.c): it keeps its identity and its data. Two keys may be under way at once, made by
 * two operators: the higher epoch ends up in use. Epochs rise by steps of chance so that two are
 * never the same.
 *
 * Invariants
 * Y1. A key that a node's record says it has, it has durably, until all use a higher one.
 * Y2. A key is used only once all have it, so nobody who can follow is left behind.
 * Y3. Keys are given only to members, over links on which they proved to be those, never to the
 * bus. */
#include "node/lattice_state.h"

#include <inttypes.h>

enum {
    KEYS_FIELDS = 4,
    SEALED_SIZE = LW_SHARED_KEY_SIZE + LW_SEAL_TAG_SIZE,
    EPOCH_STEP_MAX = 1 << 20,
};

static const lw_node_identity *identity_of(const lw_lattice *lattice) {
    return lattice->options.identity;
}

/* ---- what all have ------------------------------------------------------------------------------
 */

static bool is_live(const lw_lattice *lattice, const lw_member *member) {
    lw_gossip_peer peer;
    if (member->state == LW_MEMBER_GONE) {
        return false;
    }
    return member->node == lattice_self(lattice) ||
           !lw_gossip_peer_of(lattice->gossip, member->node, &peer) || !peer.dead;
}

/* Whether all have (or use, or a higher one) the key of an epoch. */
static bool all_have(const lw_lattice *lattice, uint32_t epoch, bool use) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    uint32_t having = 0, count = members->count - members->gone_count;
    for (uint32_t index = 0; index < members->count; index++) {
        const lw_member *member = lw_members_at(members, index);
        bool has = use ? member->key_count > 0 && member->key_epochs[0] >= epoch
                       : lw_member_has_key(member, epoch);
        if (!has && is_live(lattice, member)) {
            return LW_BUG(lattice->env, "lattice.key_used_early");
        }
        having += has && member->state != LW_MEMBER_GONE;
    }
    return 2 * having > count;
}

static uint32_t highest_epoch(const lw_node_identity *identity) {
    uint32_t highest = identity->lattice.epoch;
    for (uint32_t index = 0; index < identity->other_count; index++) {
        uint32_t epoch = identity->others[index].epoch;
        highest = epoch > highest ? epoch : highest;
    }
    return highest;
}

void lattice_say_keys(lw_lattice *lattice) {
    const lw_node_identity *identity = identity_of(lattice);
    uint32_t epochs[LW_MEMBER_KEYS_MAX] = {identity->lattice.epoch};
    _Static_assert((int)LW_MEMBER_KEYS_MAX == (int)LW_OTHER_KEYS_MAX + 1, "all are told");
    for (uint32_t index = 0; index < identity->other_count; index++) {
        epochs[index + 1] = identity->others[index].epoch;
    }
    lw_gossip_set_keys(lattice->gossip, epochs, identity->other_count + 1, lattice_now_ms(lattice));
}

/* ---- changing this node's -----------------------------------------------------------------------
 */

/* Durable first, then known to others. One at a time: the file is written as a whole. */
LW_YIELDS static lw_status set_keys(lw_lattice *lattice, const lw_shared_key *used,
                                    const lw_shared_key *others, uint32_t other_count) {
    lw_status status =
        lattice->options.set_keys(lattice->options.argument, used, others, other_count);
    if (status != LW_OK) {
        return status;
    }
    lattice_say_keys(lattice);
    lattice->unsaved = lattice_company(lattice) > 0;
    if (lattice->peers != NULL && !lattice->stopping) {
        lattice_greet_all(lattice);
        lattice_settle(lattice);
    }
    return LW_OK;
}

LW_YIELDS static void wait_for_setter(lw_lattice *lattice) {
    while (lattice->setting_keys) {
        lw_queue_wait(&lattice->keys_set);
    }
}

/* Adds a key to those that are accepted. */
LW_YIELDS static lw_status add_key(lw_lattice *lattice, const lw_shared_key *added) {
    const lw_node_identity *identity = identity_of(lattice);
    wait_for_setter(lattice);
    if (lw_identity_key(identity, added->epoch) != NULL) {
        return LW_OK;
    }
    if (identity->other_count == LW_OTHER_KEYS_MAX) {
        return lw_fail(LW_FULL, "the lattice's key is being changed %d times at once: wait",
                       LW_OTHER_KEYS_MAX);
    }
    lw_shared_key others[LW_OTHER_KEYS_MAX];
    memcpy(others, identity->others, sizeof(others));
    others[identity->other_count] = *added;
    lw_shared_key used = identity->lattice;
    lattice->setting_keys = true;
    lw_status status = set_keys(lattice, &used, others, identity->other_count + 1);
    lattice->setting_keys = false;
    lw_queue_wake_all(&lattice->keys_set);
    lw_seal_wipe(&used, sizeof(used));
    lw_seal_wipe(others, sizeof(others));
    return status;
}

/* Uses the key of an epoch, and keeps those that are not below `least`. */
LW_YIELDS static lw_status use_key(lw_lattice *lattice, uint32_t epoch, uint32_t least) {
    const lw_node_identity *identity = identity_of(lattice);
    wait_for_setter(lattice);
    lw_shared_key others[LW_OTHER_KEYS_MAX], used = *lw_identity_key(identity, epoch);
    uint32_t count = 0;
    for (uint32_t index = 0; index <= identity->other_count; index++) {
        const lw_shared_key *one = index == 0 ? &identity->lattice : &identity->others[index - 1];
        if (one->epoch != epoch && one->epoch >= least) {
            LW_ASSERT(count < LW_OTHER_KEYS_MAX);
            others[count++] = *one;
        }
    }
    lattice->setting_keys = true;
    lw_status status = set_keys(lattice, &used, others, count);
    lattice->setting_keys = false;
    lw_queue_wake_all(&lattice->keys_set);
    lw_seal_wipe(&used, sizeof(used));
    lw_seal_wipe(others, sizeof(others));
    return status;
}

LW_YIELDS static lw_status begin_to_use(lw_lattice *lattice, uint32_t epoch) {
    LW_TRY(use_key(lattice, epoch, 0));
    LW_MARK(lattice->env, "lattice.key_used");
    lattice_note(lattice, "key", lattice_self(lattice), 0, "uses the key of epoch %" PRIu32, epoch);
    lattice->bus_outdated = lattice->bus != NULL;
    return LW_OK;
}

LW_YIELDS static lw_status forget_old(lw_lattice *lattice) {
    uint32_t epoch = identity_of(lattice)->lattice.epoch;
    LW_TRY(use_key(lattice, epoch, epoch));
    LW_MARK(lattice->env, "lattice.key_forgotten");
    lattice_note(lattice, "key", lattice_self(lattice), 0,
                 "has forgotten the keys before epoch %" PRIu32, epoch);
    if (lattice->peers != NULL) {
        lw_peers_end_old_links(lattice->peers);
    }
    return LW_OK;
}

/* ---- handing on ---------------------------------------------------------------------------------
 */

static lw_bytes associated(uint32_t under, uint32_t epoch, uint8_t bytes[8]) {
    lw_put_u32(bytes, under);
    lw_put_u32(bytes + 4, epoch);
    return lw_view(bytes, 8);
}

/* The highest key that a member has, too; NULL: none. */
static const lw_shared_key *common_key(const lw_lattice *lattice, const lw_member *member) {
    const lw_shared_key *best = NULL;
    for (uint32_t index = 0; index < member->key_count; index++) {
        const lw_shared_key *one = lw_identity_key(identity_of(lattice), member->key_epochs[index]);
        best = one != NULL && (best == NULL || one->epoch > best->epoch) ? one : best;
    }
    return best;
}

static void seal_key(const lw_lattice *lattice, const lw_shared_key *under,
                     const lw_shared_key *key, lw_buffer *body) {
    uint8_t wrap[LW_SHARED_KEY_SIZE], nonce[LW_SEAL_NONCE_SIZE], context[8], sealed[SEALED_SIZE];
    lw_lattice_wrap_key(under, wrap);
    lw_env_entropy(lattice->env, nonce, sizeof(nonce));
    lw_seal(wrap, nonce, associated(under->epoch, key->epoch, context),
            lw_view(key->key, LW_SHARED_KEY_SIZE), sealed);
    lw_seal_wipe(wrap, sizeof(wrap));
    lw_write_array(body, KEYS_FIELDS);
    lw_write_u64(body, under->epoch);
    lw_write_u64(body, key->epoch);
    lw_write_bytes(body, lw_view(nonce, sizeof(nonce)));
    lw_write_bytes(body, lw_view(sealed, sizeof(sealed)));
}

LW_YIELDS static void give(lw_lattice *lattice, uint64_t node, uint32_t epoch) {
    const lw_member *member = lw_members_find(lw_gossip_members(lattice->gossip), node);
    const lw_shared_key *key = lw_identity_key(identity_of(lattice), epoch);
    const lw_shared_key *under =
        member == NULL || member->state == LW_MEMBER_GONE ? NULL : common_key(lattice, member);
    if (key == NULL || under == NULL || lattice->peers == NULL) {
        return;
    }
    lw_buffer body = lw_buffer_in(lattice->memory), reply = body;
    seal_key(lattice, under, key, &body);
    lw_request request = {
        .kind = LW_MESSAGE_KEYS, .timeout_ms = LATTICE_ASK_MS, .body = lw_buffer_view(&body)};
    uint64_t until_ns = lw_env_now(lattice->env) + LATTICE_ASK_MS * LATTICE_NS_PER_MS;
    lw_status status = lw_peers_ask(lattice->peers, node, &request, until_ns, &reply);
    if (status == LW_OK) {
        LW_MARK(lattice->env, "lattice.key_given");
    } /* else again, soon: its record says that it lacks it */
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
}

/* The next member behind `after` that lacks a key and is linked; 0: none. */
static uint64_t next_lacking(const lw_lattice *lattice, uint64_t after, uint32_t epoch) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    for (uint32_t index = 0; index < members->count; index++) {
        const lw_member *member = lw_members_at(members, index);
        if (member->node > after && member->node != lattice_self(lattice) &&
            member->state != LW_MEMBER_GONE && member->key_count > 0 &&
            !lw_member_has_key(member, epoch) && member->key_epochs[0] < epoch &&
            lw_peers_up(lattice->peers, member->node)) {
            return member->node;
        }
    }
    return 0;
}

static lw_status open_key(const lw_lattice *lattice, lw_bytes body, lw_shared_key *key) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, KEYS_FIELDS);
    uint32_t under = (uint32_t)lw_read_u64_max(&reader, UINT32_MAX);
    uint32_t epoch = (uint32_t)lw_read_u64_max(&reader, UINT32_MAX);
    lw_bytes nonce = lw_read_bytes(&reader), sealed = lw_read_bytes(&reader);
    lw_read_skip(&reader, extra);
    const lw_shared_key *known = lw_identity_key(identity_of(lattice), under);
    if (!lw_reader_done(&reader) || nonce.size != LW_SEAL_NONCE_SIZE ||
        sealed.size != SEALED_SIZE || epoch == 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "a key of the lattice is not well-formed");
    }
    if (known == NULL) {
        return lw_fail(LW_REFUSED, "this node does not have the key of epoch %" PRIu32, under);
    }
    uint8_t wrap[LW_SHARED_KEY_SIZE], context[8];
    lw_lattice_wrap_key(known, wrap);
    *key = *known;
    key->epoch = epoch;
    bool good = lw_unseal(wrap, nonce.data, associated(under, epoch, context), sealed, key->key);
    lw_seal_wipe(wrap, sizeof(wrap));
    return good ? LW_OK : lw_fail(LW_REFUSED, "a key of the lattice was not sealed by a member");
}

lw_status lattice_take_key(lw_lattice *lattice, lw_bytes body) {
    lw_shared_key key = {0};
    lw_status status = open_key(lattice, body, &key);
    if (status == LW_OK && key.epoch < identity_of(lattice)->lattice.epoch) {
        status = LW_OK; /* it is not needed any more */
    } else if (status == LW_OK) {
        status = add_key(lattice, &key);
    }
    lw_seal_wipe(&key, sizeof(key));
    lattice_go_on_with_keys(lattice);
    return status;
}

/* ---- going on -----------------------------------------------------------------------------------
 */

/* Whether this node has anything to do, or to wait for. */
static bool keys_change(const lw_lattice *lattice) {
    return identity_of(lattice)->other_count > 0;
}

LW_YIELDS static void hand_on(lw_lattice *lattice) {
    uint32_t epoch = highest_epoch(identity_of(lattice));
    uint64_t node = 0;
    while (lattice->peers != NULL && !lattice->stopping &&
           (node = next_lacking(lattice, node, epoch)) != 0) {
        give(lattice, node, epoch);
    }
}

LW_YIELDS static lw_status go_on(lw_lattice *lattice) {
    const lw_node_identity *identity = identity_of(lattice);
    uint32_t highest = highest_epoch(identity);
    if (highest > identity->lattice.epoch && all_have(lattice, highest, false)) {
        LW_TRY(begin_to_use(lattice, highest));
    }
    if (identity->other_count > 0 && highest == identity->lattice.epoch &&
        all_have(lattice, highest, true)) {
        LW_TRY(forget_old(lattice));
    }
    return LW_OK;
}

LW_YIELDS static void keys_main(void *argument) {
    lw_lattice *lattice = argument;
    hand_on(lattice);
    if (!lattice->stopping && go_on(lattice) != LW_OK) {
        lw_logline(lattice->env, LW_LEVEL_WARN, "the lattice's key could not be changed here yet",
                   "reason=\"%s\"", lw_error_slot()->text);
    }
    lattice->keys_job = false;
    lattice_wake(lattice);
    lattice_job_end(lattice);
}

void lattice_go_on_with_keys(lw_lattice *lattice) {
    if (!keys_change(lattice) || lattice->keys_job || lattice->stopping || lattice->peers == NULL) {
        return;
    }
    lattice->keys_job = true;
    lattice_job_begin(lattice);
    lw_env_start(lattice->env, "keys", keys_main, lattice);
}

/* ---- an operator's word -------------------------------------------------------------------------
 */

/* One that is live and keeps a change from coming to its end; 0: none. */
static uint64_t waited_for(const lw_lattice *lattice) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    uint32_t epoch = highest_epoch(identity_of(lattice));
    for (uint32_t index = 0; index < members->count; index++) {
        const lw_member *member = lw_members_at(members, index);
        if (is_live(lattice, member) &&
            (member->key_count != 1 || member->key_epochs[0] != epoch)) {
            return member->node;
        }
    }
    return 0;
}

lw_status lattice_rotate(lw_lattice *lattice, lw_buffer *reply) {
    const lw_node_identity *identity = identity_of(lattice);
    char label[LW_MEMBER_LABEL_SIZE];
    if (lattice->peers == NULL || lattice->stopping) {
        return lw_fail(LW_UNAVAILABLE, "the node is starting or stopping: try again");
    }
    uint64_t last = waited_for(lattice);
    if (last != 0) {
        return lw_fail(
            LW_REFUSED,
            "the lattice's key is being changed already, and %s has not come so far: see "
            "lathwork key; start that node, or wait until it counts as dead",
            lw_lattice_label(lattice, last, label));
    }
    lw_shared_key key = identity->lattice;
    key.epoch += 1 + (uint32_t)lw_env_random_below(lattice->env, EPOCH_STEP_MAX);
    lw_env_entropy(lattice->env, key.key, sizeof(key.key));
    uint32_t epoch = key.epoch;
    lw_status status = add_key(lattice, &key);
    lw_seal_wipe(&key, sizeof(key));
    LW_TRY(status);
    lattice_note(lattice, "key", lattice_self(lattice), 0,
                 "made a key of epoch %" PRIu32 " for the lattice", epoch);
    lw_write_u64(reply, epoch);
    lattice_go_on_with_keys(lattice);
    return LW_OK;
}
