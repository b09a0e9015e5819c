/* SPDX-License-Identifier: Apache-2.0 */
/* What who works does, piece by piece. */
#include "sim/bare_work.h"

enum {
    LOST_PERCENT = 3,
    READER_MS = 8000, /* that a reader stays at most, */
    APART_READER_MS = 55000,
    APART_SOON_MS = 400, /* before two nodes are apart their reader begins */
    SHORT_MS = 2900,     /* or, if no lease is to be taken for it */
};

/* ---- what pieces of work share ----------------------------------------------------------------
 */

uint64_t bare_now_ms(const bare_asker *self) {
    return lw_world_now(self->of->of->world) / LW_SIM_NS_PER_MS;
}

void bare_renew_session(bare_asker *self) {
    bare_end_session(self->of, self->session);
    self->session = ++self->of->sessions;
}

bare_answer bare_ask_leader(bare_asker *self, lw_message_kind kind, uint32_t key,
                            const lw_buffer *body, uint64_t patience_ms) {
    bare_answer answer = {.status = LW_UNAVAILABLE};
    bare_node *to = bare_leader(self->of, bare_key(key));
    lw_shard_descriptor shard;
    if (to != NULL) {
        lw_replica_descriptor(bare_replica(to, bare_key(key)), &shard);
        lw_request request = {.kind = kind,
                              .id = ++self->of->request_id,
                              .shard = shard.id,
                              .epoch = shard.epoch,
                              .timeout_ms = (uint32_t)patience_ms,
                              .body = lw_buffer_view(body)};
        bare_ask_once(self, to, &request, patience_ms, &answer);
    }
    return answer;
}

lw_buffer bare_lock_body(bare_asker *self, uint64_t start, uint32_t key, uint32_t wait_ms) {
    lw_buffer body = bare_body(self);
    lw_bytes keys[] = {bare_key(key)};
    lw_lock_request request = {.start = start, .keys = keys, .key_count = 1, .wait_ms = wait_ms};
    lw_lock_request_encode(&request, &body);
    return body;
}

/* ---- all of it --------------------------------------------------------------------------------
 */

LW_YIELDS static void work_once(bare_asker *self) {
    const lw_sim_bare *of = self->of;
    uint64_t roll = bare_below(self, 100);
    bool patient = of->kind == BARE_PATIENT, quiet = of->kind == BARE_QUIET;
    bool apart = of->kind == BARE_APART, first = self->number == 0;
    if (of->loses && bare_percent(self, LOST_PERCENT)) {
        bare_write_and_be_lost(self);
    } else if (patient && first) {
        bare_read_in_silence(self);
    } else if (quiet && first && bare_percent(self, 50)) { /* too short for leases */
        bare_keep_reading(self, SHORT_MS / 2 + bare_below(self, SHORT_MS / 2));
    } else if (apart && first) {
        uint64_t soon_ms = self->done == 0 ? BARE_APART_MS - APART_SOON_MS : 0;
        lw_env_sleep(self->env, (soon_ms + bare_below(self, APART_SOON_MS)) * LW_SIM_NS_PER_MS);
        bare_keep_reading(self, APART_READER_MS);
    } else if (of->merges && !of->leaving && roll < 8) {
        bare_leave_amid_a_merge(self);
    } else if (apart && roll < 5) {
        bare_pin_something(self);
    } else if (roll < 34) {
        bare_write_one(self);
    } else if (roll < 58) {
        bare_write_two(self);
    } else if (roll < 84) {
        bare_read_something(self);
    } else if (roll < 88) {
        bare_read_the_past(self);
    } else if (roll < 92 && !patient && !apart) {
        bare_keep_reading(self, 1000 + bare_below(self, READER_MS - 1000));
    } else if (roll < 98 || !quiet) {
        bare_kill_something(self);
    } else {
        bare_wait_for_each_other(self);
    }
}

void bare_work_main(void *argument) {
    bare_asker *self = argument;
    lw_sim_bare *of = self->of;
    while (!of->stopping && !of->of->damaged) {
        work_once(self);
        lw_arena_reset(&self->arena);
        self->done++;
        if (of->pause_us > 0) {
            lw_env_sleep(self->env, bare_below(self, 2 * (uint64_t)of->pause_us * 1000));
        } else {
            lw_env_sleep(self->env, 1000);
        }
    }
    self->ended = true;
}

void bare_resume_main(void *argument) {
    bare_asker *self = argument;
    const lw_sim_bare *of = self->of;
    while (of->of->workload.committed == of->committed_in_trouble && !of->of->damaged) {
        bare_write_one(self);
        lw_arena_reset(&self->arena);
    }
    self->ended = true;
}

void bare_final_main(void *argument) {
    bare_asker *self = argument;
    uint64_t found;
    for (uint32_t key = 0; key < BARE_KEYS; key++) {
        lw_status status = LW_TIMEOUT;
        while (status != LW_OK) {
            uint64_t timestamp = bare_timestamp(self);
            status = timestamp == 0 ? LW_TIMEOUT : bare_get(self, key, timestamp, 0, &found);
            lw_arena_reset(&self->arena);
        }
    }
    self->ended = true;
}
