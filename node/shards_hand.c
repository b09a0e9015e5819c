/* SPDX-License-Identifier: Apache-2.0 */
/* What a node that stops in good order leads goes to others first: so nobody has to find out that
 * it is gone, and requests are sent on within a few messages and durable writes instead of an
 * election timeout.
 *
 * 1. Each shard goes to the voter that lacks least, of several to another one for each shard; all
 *    at the same time. Requests are served meanwhile, and sent on once somebody else leads.
 * 2. The root shard goes last: who comes to lead one of the others needs a timestamp.
 * 3. It ends after HAND_OVER_MS, whatever was not taken: the others elect somebody then. */
#include "node/group.h"
#include "node/shards_state.h"

enum {
    HAND_OVER_MS = 1000,
    OTHERS_MS = 600, /* of it, before the root shard's turn */
    LOOK_MS = 2,
};
#define NS_PER_MS UINT64_C(1000000)

static bool is_voter(const lw_group_members *members, uint64_t node) {
    bool votes = false;
    for (uint32_t index = 0; index < members->count; index++) {
        const lw_shard_replica *each = &members->replicas[index];
        votes = votes || (each->node == node && each->role == LW_REPLICA_VOTER);
    }
    return votes;
}

/* 0: nobody can take it. */
static uint64_t successor(const lw_replica *replica, uint64_t shard) {
    lw_group_figures figures;
    lw_replica_group_figures(replica, &figures);
    const lw_group_peer *best = NULL;
    for (uint32_t step = 0; step < figures.peer_count; step++) {
        const lw_group_peer *each = &figures.peers[(shard + step) % figures.peer_count];
        bool can = each->reachable && !each->in_snapshot && is_voter(&figures.members, each->node);
        best = can && (best == NULL || each->match > best->match) ? each : best;
    }
    return best == NULL ? 0 : best->node;
}

/* Begins to hand over all that are led but the root shard; how many can be, and are led still. */
static uint32_t hand_on(lw_shards *shards) {
    uint32_t led = 0;
    for (uint32_t index = 0; index < shards->count; index++) {
        const shards_member *member = shards->sorted[index];
        uint64_t next = member->shard == LW_ROOT_SHARD || !lw_replica_leads(member->replica)
                            ? 0
                            : successor(member->replica, member->shard);
        if (next != 0) {
            led++;
            (void)!lw_replica_hand_over(member->replica, next); /* or it is under way */
        }
    }
    return led;
}

LW_YIELDS static void hand_on_root(lw_shards *shards, uint64_t until_ns) {
    lw_replica *root = lw_shards_find(shards, LW_ROOT_SHARD);
    uint64_t next = root == NULL || !lw_replica_leads(root) ? 0 : successor(root, LW_ROOT_SHARD);
    uint64_t now_ns = lw_env_now(shards->env);
    if (next == 0 || now_ns + NS_PER_MS > until_ns) {
        return;
    }
    lw_shard_descriptor shard;
    lw_replica_descriptor(root, &shard);
    lw_buffer body = lw_buffer_in(shards->env->memory), reply = body;
    lw_transfer_request_encode(&(lw_transfer_request){.node = next}, &body);
    lw_request request = {.kind = LW_MESSAGE_TRANSFER,
                          .shard = LW_ROOT_SHARD,
                          .epoch = shard.epoch,
                          .timeout_ms = (uint32_t)((until_ns - now_ns) / NS_PER_MS),
                          .body = lw_buffer_view(&body)};
    (void)!lw_shards_execute(shards, &request, 0, &reply);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
}

void lw_shards_hand_over(lw_shards *shards) {
    uint64_t begun_ns = lw_env_now(shards->env);
    if (shards->others.ask == NULL || LW_BUG(shards->env, "shards.nothing_handed_over")) {
        return;
    }
    while (shards_run(shards) && hand_on(shards) > 0 &&
           lw_env_now(shards->env) < begun_ns + OTHERS_MS * NS_PER_MS) {
        lw_env_sleep(shards->env, LOOK_MS * NS_PER_MS);
    }
    if (shards_run(shards)) {
        hand_on_root(shards, begun_ns + HAND_OVER_MS * NS_PER_MS);
    }
    LW_MARK(shards->env, "shards.handed_over");
}
