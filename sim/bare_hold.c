/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds the shards of bare nodes, and how operators change that: single requests, and steps
 * towards enough voters. */
#include "sim/bare_hold.h"

enum { CALL_MS = 1500 };

/* ---- single requests --------------------------------------------------------------------------
 */

void bare_split(bare_asker *self, uint32_t key) {
    lw_buffer body = bare_body(self);
    lw_split_request_encode(&(lw_split_request){.key = bare_key(key)}, &body);
    (void)bare_call(self, LW_MESSAGE_SPLIT, bare_key(key), &body, CALL_MS);
    lw_buffer_reset(&body);
}

void bare_merge(bare_asker *self, uint32_t key) {
    lw_buffer body = bare_body(self);
    lw_merge_request_encode(&(lw_merge_request){.right = 0}, &body);
    (void)bare_call(self, LW_MESSAGE_MERGE, bare_key(key), &body, 1);
    lw_buffer_reset(&body);
}

void bare_transfer(bare_asker *self, uint32_t key, uint64_t node) {
    lw_buffer body = bare_body(self);
    lw_transfer_request_encode(&(lw_transfer_request){.node = node}, &body);
    (void)bare_call(self, LW_MESSAGE_TRANSFER, bare_key(key), &body, 1);
    lw_buffer_reset(&body);
}

void bare_change(bare_asker *self, uint32_t key, const lw_change_replicas_request *request) {
    lw_buffer body = bare_body(self);
    lw_change_replicas_request_encode(request, &body);
    (void)bare_call(self, LW_MESSAGE_CHANGE_REPLICAS, bare_key(key), &body, 1);
    lw_buffer_reset(&body);
}

/* ---- steps ------------------------------------------------------------------------------------
 */

bare_holders bare_holders_of(const lw_shard_descriptor *shard) {
    bare_holders all = {.voter_count = 0};
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        const lw_shard_replica *each = &shard->replicas[index];
        if (each->role == LW_REPLICA_VOTER) {
            all.voters[all.voter_count++] = each->node;
        } else if (each->role == LW_REPLICA_LEARNER) {
            all.learner = each->node;
        } else {
            all.changing = true;
        }
    }
    if (shard->replica_count == 0) {
        all.voters[all.voter_count++] = 1; /* of before there were several nodes */
    }
    return all;
}

bool bare_votes(const bare_holders *all, uint64_t node) {
    for (uint32_t index = 0; index < all->voter_count; index++) {
        if (all->voters[index] == node) {
            return true;
        }
    }
    return false;
}

uint64_t bare_draw_other(bare_asker *self, const lw_shard_descriptor *shard,
                         const bare_holders *before) {
    uint64_t chosen = 0, seen = 0;
    for (uint64_t node = 1; node <= self->of->of->node_count; node++) {
        bool holds = (shard->replica_count == 0 && node == 1) || bare_votes(before, node);
        for (uint32_t index = 0; index < shard->replica_count; index++) {
            holds = holds || shard->replicas[index].node == node;
        }
        if (!holds && bare_below(self, ++seen) == 0) {
            chosen = node;
        }
    }
    return chosen;
}

void bare_step(bare_asker *self, uint32_t key, const lw_shard_descriptor *shard, bool comes) {
    bare_holders all = bare_holders_of(shard);
    bool enough = all.voter_count >= self->of->of->voters;
    lw_change_replicas_request request = {.learner = 0};
    if (all.learner != 0 && (comes || !enough)) {
        request.voter = all.learner;
        uint64_t away = self->of->absent;
        uint64_t leaves =
            bare_votes(&all, away) ? away : all.voters[bare_below(self, all.voter_count)];
        request.leaves = enough ? leaves : 0;
    } else if (all.learner != 0) {
        request.leaves = all.learner;
    } else if (comes || !enough) {
        request.learner = bare_draw_other(self, shard, &all);
    }
    if (!all.changing && (request.learner | request.voter | request.leaves) != 0) {
        bare_change(self, key, &request);
    }
}

bool bare_tidy(bare_asker *self) {
    bool tidied = true;
    for (uint32_t key = 0; key < BARE_KEYS; key++) {
        lw_shard_descriptor shard;
        if (!bare_locate(self->of, bare_key(key), &shard)) {
            return false;
        }
        bare_holders all = bare_holders_of(&shard);
        if (all.changing || all.learner != 0 || all.voter_count < self->of->of->voters) {
            tidied = false;
            bare_step(self, key, &shard, self->of->wavers && all.learner != 0);
            lw_env_sleep(self->env, BARE_STEP_MS * LW_SIM_NS_PER_MS);
        }
        lw_arena_reset(&self->arena);
    }
    return tidied;
}
