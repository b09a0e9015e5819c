/* SPDX-License-Identifier: Apache-2.0 */
/* Links to all members, what is said on a new one, and what peers and shards ask of the lattice. */
#include "node/lattice_state.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- links --------------------------------------------------------------------------------------
 */

typedef struct greeting {
    lw_lattice *lattice;
    uint64_t node;
} greeting;

LW_YIELDS static lw_status greet(lw_lattice *lattice, uint64_t node) {
    lw_buffer body = lw_buffer_in(lattice->memory), reply = body;
    bool gone = lw_gossip_self(lattice->gossip)->state == LW_MEMBER_GONE;
    lw_gossip_greeting(lattice->gossip, node, lattice_now_ms(lattice), &body);
    lw_request request = {
        .kind = LW_MESSAGE_MEMBERS, .timeout_ms = LATTICE_ASK_MS, .body = lw_buffer_view(&body)};
    uint64_t until_ns = lw_env_now(lattice->env) + LATTICE_ASK_MS * LATTICE_NS_PER_MS;
    lw_status status = lw_peers_ask(lattice->peers, node, &request, until_ns, &reply);
    if (status == LW_OK) {
        LW_MARK(lattice->env, "lattice.greeted");
        status = lw_gossip_learn(lattice->gossip, lw_buffer_view(&reply), lattice_now_ms(lattice));
        if (gone) {
            lattice_farewell_heard(lattice, node);
        }
    }
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    if (status == LW_OK && lattice->peers != NULL) {
        lattice_exchange_revoked(lattice, node);
    }
    return status;
}

LW_YIELDS static void greet_main(void *argument) {
    greeting *job = argument;
    lw_lattice *lattice = job->lattice;
    if (lattice->peers != NULL && !lattice->stopping && greet(lattice, job->node) == LW_OK &&
        !lattice->stopping) {
        lattice_settle(lattice);
    }
    lw_free(lattice->memory, job);
    lattice_job_end(lattice);
}

static void greet_soon(lw_lattice *lattice, uint64_t node) {
    greeting *job = lw_allocate(lattice->memory, sizeof(*job));
    *job = (greeting){.lattice = lattice, .node = node};
    lattice_job_begin(lattice);
    lw_env_start(lattice->env, "greet", greet_main, job);
}

void lattice_greet(lw_lattice *lattice, uint64_t node) {
    if (lw_peers_up(lattice->peers, node)) {
        greet_soon(lattice, node);
    }
}

void lattice_greet_all(lw_lattice *lattice) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    for (uint32_t index = 0; index < members->count; index++) {
        uint64_t node = lw_members_at(members, index)->node;
        if (node != lattice_self(lattice)) {
            lattice_greet(lattice, node);
        }
    }
}

void lattice_greet_next(lw_lattice *lattice, uint64_t now_ms) {
    if (now_ms < lattice->greet_ms) {
        return;
    }
    lattice->greet_ms = now_ms + LATTICE_GREET_MS;
    const lw_members *members = lw_gossip_members(lattice->gossip);
    uint64_t next = 0, first = 0;
    for (uint32_t index = members->count; index-- > 0;) {
        uint64_t node = lw_members_at(members, index)->node; /* in descending order */
        if (node != lattice_self(lattice) && lw_peers_up(lattice->peers, node)) {
            first = node;
            next = node > lattice->greeted_node ? node : next;
        }
    }
    lattice->greeted_node = next != 0 ? next : first;
    if (lattice->greeted_node != 0) {
        greet_soon(lattice, lattice->greeted_node);
    }
}

void lw_lattice_link(lw_lattice *lattice, uint64_t node, bool up) {
    lw_gossip_link(lattice->gossip, node, up, lattice_now_ms(lattice));
    if (lattice->peers == NULL || lattice->stopping) {
        return;
    }
    if (up) {
        greet_soon(lattice, node);
    }
    if (up && !lattice->introduced) {
        lattice->introduced = true;
        lattice->bus_retry_ms = 0;
        lattice_wake(lattice);
    }
    lattice_settle(lattice);
}

void lattice_link_member(lw_lattice *lattice, const lw_member *member) {
    if (member->state == LW_MEMBER_GONE) {
        return;
    }
    char address[LW_MEMBER_ADDRESS_MAX + 1];
    (void)snprintf(address, sizeof(address), "%.*s", (int)member->address.size,
                   (const char *)member->address.data);
    lw_peers_set(lattice->peers, member->node, address);
}

void lattice_meet(lw_lattice *lattice, uint64_t node) {
    lw_peers_watch(lattice->peers, node); /* until it is gone */
    const lw_member *member = lw_members_find(lw_gossip_members(lattice->gossip), node);
    lattice_link_member(lattice, member);
    if (lw_peers_up(lattice->peers, node)) {
        lw_gossip_link(lattice->gossip, node, true, lattice_now_ms(lattice));
    }
}

/* ---- for peers and shards -----------------------------------------------------------------------
 */

lw_status lw_lattice_admit(lw_lattice *lattice, const lw_peer_card *card, bool *gone) {
    const lw_member *member = lw_members_find(lw_gossip_members(lattice->gossip), card->node_id);
    if (member != NULL && member->state == LW_MEMBER_GONE) {
        char label[LW_MEMBER_LABEL_SIZE];
        *gone = lattice_is_saved(lattice);
        return lw_fail(LW_REFUSED,
                       "node %s has left the lattice for good: let it join anew with an empty "
                       "folder",
                       lw_lattice_label(lattice, card->node_id, label));
    }
    return LW_OK;
}

/* Such an address is not one that others could link to. */
static bool is_everywhere(const char *address) {
    return strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0;
}

lw_status lw_lattice_joins(lw_lattice *lattice, const lw_peer_card *newcomer, lw_buffer *members) {
    if (lattice->stopping || lw_gossip_self(lattice->gossip)->state == LW_MEMBER_GONE) {
        return lw_fail(LW_UNAVAILABLE, "the node is starting or stopping: try again");
    }
    if (lattice_company(lattice) + 1 >= LW_MEMBERS_MAX) {
        return lw_fail(LW_FULL, "the lattice has %d members: it can have no more", LW_MEMBERS_MAX);
    }
    if (is_everywhere(lattice->options.address)) {
        return lw_fail(
            LW_REFUSED,
            "the member listens at %s, where no other node finds it: start it again with "
            "--listen and an address that the others reach",
            lattice->options.address);
    }
    bool gone = false;
    LW_TRY(lw_lattice_admit(lattice, newcomer, &gone));
    lattice_page(lattice, members);
    return LW_OK;
}

lw_bytes lw_lattice_address(const lw_lattice *lattice, uint64_t node) {
    const lw_member *member = lw_members_find(lw_gossip_members(lattice->gossip), node);
    return member == NULL || member->state == LW_MEMBER_GONE ? (lw_bytes){0} : member->address;
}

uint32_t lw_lattice_linked(const lw_lattice *lattice, uint64_t *nodes) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    uint32_t count = 0;
    for (uint32_t index = 0; index < members->count && lattice->peers != NULL; index++) {
        uint64_t node = lw_members_at(members, index)->node;
        if (node != lattice_self(lattice) && lw_peers_up(lattice->peers, node)) {
            nodes[count++] = node;
        }
    }
    return count;
}

bool lw_lattice_locate(lw_lattice *lattice, lw_bytes key, lw_shard_descriptor *shard) {
    lw_directory_row row;
    if (!lw_directory_lookup(lw_gossip_directory(lattice->gossip), key, &row)) {
        return false;
    }
    *shard = row.shard;
    shard->leader_address = lw_lattice_address(lattice, shard->leader);
    return true;
}

void lw_lattice_learned(lw_lattice *lattice, const lw_shard_descriptor *shard) {
    if (lattice->shards == NULL || lattice_company(lattice) == 0) {
        return; /* the fiber begins with all that is here */
    }
    lw_directory_row row = {.shard = *shard};
    const lw_replica *replica = lw_shards_find(lattice->shards, shard->id);
    if (replica != NULL && shard->leader != 0) {
        lw_replica_figures figures;
        lw_replica_figures_get(replica, &figures);
        row.term = figures.term;
        lattice_heard_leader(lattice, shard->id, shard->leader, row.term);
    }
    bool leads = shard->leader == lattice_self(lattice);
    lw_gossip_shard(lattice->gossip, &row, leads, lattice_now_ms(lattice));
    lattice_wake(lattice);
}
