/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a node say to other nodes, and what they are told: each is handed what it asks
 * for of the others, so that none of them knows of all. */
#include "node/node_state.h"

/* ---- shards --------------------------------------------------------------------------------- */

static void send_message(void *argument, uint64_t to, lw_bytes message) {
    lw_node *node = argument;
    if (node->peers != NULL) {
        (void)lw_peers_send(node->peers, to, message);
    }
}

LW_YIELDS static lw_status ask_node(void *argument, uint64_t to, const lw_request *request,
                                    uint64_t deadline_ns, lw_buffer *reply) {
    lw_node *node = argument;
    return lw_peers_ask(node->peers, to, request, deadline_ns, reply);
}

LW_YIELDS static lw_status send_snapshot(void *argument, uint64_t shard, uint64_t to,
                                         uint64_t *index) {
    lw_node *node = argument;
    if (node->snapshots == NULL) { /* the shards end last */
        return lw_fail(LW_UNAVAILABLE, "the node is stopping");
    }
    return lw_snapshots_send(node->snapshots, shard, to, index);
}

static bool locate(void *argument, lw_bytes key, lw_shard_descriptor *shard) {
    lw_node *node = argument;
    return lw_lattice_locate(node->lattice, key, shard);
}

static void learned(void *argument, const lw_shard_descriptor *shard) {
    lw_node *node = argument;
    lw_lattice_learned(node->lattice, shard);
}

static lw_bytes address_of(void *argument, uint64_t other) {
    const lw_node *node = argument;
    return lw_lattice_address(node->lattice, other);
}

static void happened(void *argument, const char *name, uint64_t shard, const char *text) {
    lw_node *node = argument;
    lw_lattice_happened(node->lattice, name, shard, text);
}

lw_shards_others node_others(lw_node *node) {
    (void)node;
    return (lw_shards_others){.send = send_message,
                              .ask = ask_node,
                              .send_snapshot = send_snapshot,
                              .locate = locate,
                              .learned = learned,
                              .address = address_of,
                              .session_lives = node_session_lives,
                              .happened = happened};
}

/* ---- snapshots ------------------------------------------------------------------------------ */

LW_YIELDS static lw_status describe(void *argument, uint64_t shard, uint64_t to, uint64_t index,
                                    lw_snapshot *state, uint64_t *term, lw_buffer *head) {
    lw_node *node = argument;
    return lw_shards_snapshot_describe(node->shards, shard, to, index, state, term, head);
}

static bool needed(void *argument, uint64_t shard, uint64_t to) {
    const lw_node *node = argument;
    return lw_shards_snapshot_needed(node->shards, shard, to);
}

static lw_status wanted(void *argument, const lw_snapshot_arrival *offered) {
    lw_node *node = argument;
    return lw_shards_snapshot_wanted(node->shards, offered);
}

LW_YIELDS static lw_status install(void *argument, const lw_snapshot_arrival *arrived) {
    lw_node *node = argument;
    return lw_shards_snapshot_install(node->shards, arrived);
}

lw_status node_open_snapshots(lw_node *node) {
    lw_snapshots_options options = {.env = node->env,
                                    .store = node->store,
                                    .directory = node->options.directory,
                                    .ask = ask_node,
                                    .describe_shard = describe,
                                    .needed = needed,
                                    .wanted = wanted,
                                    .install = install,
                                    .argument = node};
    return lw_snapshots_open(&options, &node->snapshots);
}

/* ---- links ---------------------------------------------------------------------------------- */

static void take_message(void *argument, uint64_t from, lw_bytes message) {
    lw_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_receive(node->shards, from, message);
    }
}

LW_YIELDS static lw_status handle(void *argument, uint64_t from, const lw_request *request,
                                  lw_buffer *body) {
    return node_handle(argument, from, request, 0, body);
}

static void link_changed(void *argument, uint64_t other, bool up) {
    lw_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_link(node->shards, other, up);
    }
    if (node->snapshots != NULL && !up) {
        lw_snapshots_link_lost(node->snapshots, other);
    }
    lw_lattice_link(node->lattice, other, up);
}

static lw_status admit(void *argument, const lw_peer_card *card, bool *gone) {
    lw_node *node = argument;
    return lw_lattice_admit(node->lattice, card, gone);
}

static void gone(void *argument, uint64_t other) {
    lw_node *node = argument;
    lw_lattice_refused(node->lattice, other);
}

LW_YIELDS static lw_status joins(void *argument, const lw_peer_card *newcomer, lw_buffer *members) {
    lw_node *node = argument;
    return lw_lattice_joins(node->lattice, newcomer, members);
}

static void impostor(void *argument, const lw_error *reason) {
    node_end(argument, "the node stops: another runs in its name", reason);
}

static bool revoked(void *argument, uint64_t token_id) {
    const lw_node *node = argument;
    return lw_lattice_revoked(node->lattice, token_id);
}

static const char *label_of(void *argument, uint64_t other, char label[LW_MEMBER_LABEL_SIZE]) {
    const lw_node *node = argument;
    return lw_lattice_label(node->lattice, other, label);
}

lw_peers *node_open_peers(lw_node *node) {
    lw_peers_options options = {.identity = &node->identity,
                                .address = node->address,
                                .plain = node->options.plain,
                                .message = take_message,
                                .handle = handle,
                                .link = link_changed,
                                .admit = admit,
                                .gone = gone,
                                .joins = joins,
                                .label = label_of,
                                .revoked = revoked,
                                .impostor = impostor,
                                .argument = node};
    return lw_peers_open(node->env, &options);
}

/* ---- the lattice ---------------------------------------------------------------------------- */

static void ended(void *argument, const lw_error *reason) {
    node_end(argument, "the node stops: it is no member of its lattice any more", reason);
}

LW_YIELDS static lw_status set_keys(void *argument, const lw_shared_key *used,
                                    const lw_shared_key *others, uint32_t other_count) {
    lw_node *node = argument;
    return lw_identity_set_keys(node->env, node->options.directory, used, others, other_count,
                                &node->identity);
}

lw_status node_open_lattice(lw_node *node) {
    lw_lattice_options options = {.env = node->env,
                                  .identity = &node->identity,
                                  .directory = node->options.directory,
                                  .address = node->address,
                                  .zone = node->options.zone,
                                  .name = node->options.name,
                                  .capacity = node->options.capacity,
                                  .voters = node->options.voters,
                                  .shard_rate = node->options.shard_rate,
                                  .dead_after_ms = node->options.dead_after_ms,
                                  .open_bus = node->options.open_bus,
                                  .bus_argument = node->options.bus_argument,
                                  .welcome = lw_buffer_view(&node->welcome),
                                  .set_keys = set_keys,
                                  .ended = ended,
                                  .argument = node};
    return lw_lattice_open(&options, &node->lattice);
}
