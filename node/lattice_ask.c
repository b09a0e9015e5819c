/* SPDX-License-Identifier: Apache-2.0 */
/* Where shards are, asked over links: what a node does while the bus tells it nothing, whether it
 * has none or all brokers are dead. Each second one of the others is asked, in turn, for a page of
 * what it knows; the next one goes on where that page ended. So whoever is linked to somebody who
 * knows comes to know, in as many seconds as there are nodes and pages.
 *
 * Invariants
 * A1. Only of shards that are not here anything is believed: of its own a node knows first hand.
 * A2. One question is under way at a time. */
#include "node/lattice_state.h"

/* The next member behind the last one that was asked, of those that are linked; 0: none. */
static uint64_t next_member(const lw_lattice *lattice) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    uint64_t first = 0;
    for (uint32_t index = 0; index < members->count; index++) {
        uint64_t node = lw_members_at(members, index)->node;
        if (node == lattice_self(lattice) || !lw_peers_up(lattice->peers, node)) {
            continue;
        }
        if (node > lattice->asked_node) { /* they are in ascending order */
            return node;
        }
        first = first == 0 ? node : first;
    }
    return first;
}

static void believe(lw_lattice *lattice, const lw_shard_descriptor *shard) {
    if (lw_shards_find(lattice->shards, shard->id) != NULL) {
        return;
    }
    /* Nobody said in which term it leads: any that is known counts more. */
    lw_directory_row row = {.shard = *shard, .term = shard->leader == 0 ? 0 : 1};
    lw_gossip_shard(lattice->gossip, &row, false, lattice_now_ms(lattice));
}

/* Where the next question begins: behind this page, and behind the last one at the beginning. */
static void learn(lw_lattice *lattice, lw_bytes page) {
    lw_reader reader;
    uint32_t count = 0;
    lw_shard_descriptor shard = {0};
    lw_status status = lw_topology_open(page, &reader, &count);
    for (uint32_t index = 0; index < count && status == LW_OK; index++) {
        status = lw_topology_next(&reader, &shard);
        if (status == LW_OK) {
            believe(lattice, &shard);
        }
    }
    lw_buffer_clear(&lattice->ask_from);
    if (status == LW_OK && count > 0) {
        lw_buffer_append(&lattice->ask_from, shard.end);
    }
}

LW_YIELDS static void ask(lw_lattice *lattice, uint64_t node) {
    lw_buffer from = lw_buffer_in(lattice->memory), reply = from;
    lw_buffer_append(&from, lw_buffer_view(&lattice->ask_from));
    lw_request request = {
        .kind = LW_MESSAGE_TOPOLOGY, .timeout_ms = LATTICE_ASK_MS, .body = lw_buffer_view(&from)};
    uint64_t until_ns = lw_env_now(lattice->env) + LATTICE_ASK_MS * LATTICE_NS_PER_MS;
    lw_status status = lw_peers_ask(lattice->peers, node, &request, until_ns, &reply);
    if (status == LW_OK && !lattice->stopping && lattice->shards != NULL) {
        LW_MARK(lattice->env, "lattice.asked_where_shards_are");
        learn(lattice, lw_buffer_view(&reply));
        lattice_settle(lattice);
    }
    lw_buffer_reset(&from);
    lw_buffer_reset(&reply);
}

static void ask_main(void *argument) {
    lw_lattice *lattice = argument;
    uint64_t node = lattice->peers == NULL || lattice->stopping ? 0 : next_member(lattice);
    if (node != 0) {
        lattice->asked_node = node;
        ask(lattice, node);
    }
    lattice->asking = false;
    lattice_job_end(lattice);
}

void lattice_ask(lw_lattice *lattice) {
    if (lattice->asking || lw_gossip_connected(lattice->gossip)) {
        return;
    }
    lattice->asking = true;
    lattice_job_begin(lattice);
    lw_env_start(lattice->env, "ask", ask_main, lattice);
}
