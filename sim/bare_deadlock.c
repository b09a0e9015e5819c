/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlocks over intents: two who wait for each other, and one of them is to be told. */
#include "sim/bare_work.h"

enum {
    LOCK_MS = 300,
    CYCLE_MS = 6000, /* within which a deadlock is told */
    CYCLE_LIFETIME_MS = 20000,
};

/* The one that waits for a pessimistic lock of the other. */
typedef struct waiting {
    bare_asker asker;
    uint64_t start;
    uint32_t key;
    bool told, done;
} waiting;

static bool is_deadlock(bare_asker *self, const bare_answer *answer) {
    lw_obstacle obstacle;
    return answer->status == LW_CONFLICT &&
           lw_obstacle_decode(answer->body, &self->arena, &obstacle) == LW_OK &&
           obstacle.kind == LW_OBSTACLE_DEADLOCK;
}

LW_YIELDS static bare_answer ask_lock(bare_asker *self, uint64_t start, uint32_t key,
                                      uint32_t wait_ms) {
    lw_buffer body = bare_lock_body(self, start, key, wait_ms);
    bare_answer answer = bare_ask_leader(self, LW_MESSAGE_LOCK, key, &body, wait_ms + 500);
    lw_buffer_reset(&body);
    return answer;
}

LW_YIELDS static bare_answer ask_prewrite(bare_asker *self, uint64_t start, uint32_t key,
                                          uint64_t patience_ms) {
    lw_buffer body = bare_body(self);
    lw_mutation mutation = {
        .kind = LW_MUTATION_LOCK, .key = bare_key(key), .seen = LW_SEEN_ANYTHING};
    lw_prewrite_request request = {.start = start,
                                   .primary = bare_key(key),
                                   .lifetime_ms = CYCLE_LIFETIME_MS,
                                   .mutations = &mutation,
                                   .mutation_count = 1};
    lw_prewrite_request_encode(&request, &body);
    bare_answer answer = bare_ask_leader(self, LW_MESSAGE_PREWRITE, key, &body, patience_ms);
    lw_buffer_reset(&body);
    return answer;
}

LW_YIELDS static void waiting_main(void *argument) {
    waiting *self = argument;
    bare_answer answer = ask_lock(&self->asker, self->start, self->key, CYCLE_MS + 1000);
    self->told = is_deadlock(&self->asker, &answer);
    self->done = true;
}

/* The first asks for what the second has an intent on. Whether it did so to the end, under those
 * who led before, and neither was told. */
LW_YIELDS static bool wait_in_vain(bare_asker *self, uint64_t first, uint32_t other,
                                   const waiting *two, uint64_t led) {
    uint64_t end_ms = bare_now_ms(self) + CYCLE_MS;
    while (!two->done && bare_now_ms(self) < end_ms && self->of->led == led) {
        bare_answer answer = ask_prewrite(self, first, other, CYCLE_MS);
        bool told = is_deadlock(self, &answer);
        if (!told && answer.status != LW_CONFLICT && answer.status != LW_TIMEOUT) {
            return false;
        }
        lw_env_sleep(self->env, 5 * LW_SIM_NS_PER_MS);
        if (told) {
            return false;
        }
    }
    return !two->told && self->of->led == led && bare_now_ms(self) >= end_ms;
}

void bare_wait_for_each_other(bare_asker *self) {
    lw_sim_bare *of = self->of;
    uint64_t led = of->led, first = bare_timestamp(self), second = bare_timestamp(self);
    uint32_t key = (uint32_t)bare_below(self, BARE_KEYS);
    uint32_t other = (key + 1 + (uint32_t)bare_below(self, BARE_KEYS - 1)) % BARE_KEYS;
    waiting *two = lw_allocate_zero(of->memory, sizeof(*two));
    *two = (waiting){.asker = *self, .start = second, .key = key};
    two->asker.arena = lw_arena_in(of->memory);
    two->asker.session = ++of->sessions;
    if (first == 0 || second == 0 || ask_lock(self, first, key, LOCK_MS).status != LW_OK ||
        ask_prewrite(&two->asker, second, other, LOCK_MS).status != LW_OK) {
        bare_renew_session(self);
        bare_end_session(of, two->asker.session);
        return;
    }
    (void)lw_env_start(self->env, "waiting", waiting_main, two);
    lw_env_sleep(self->env, 50 * LW_SIM_NS_PER_MS);
    if (wait_in_vain(self, first, other, two, led)) {
        lw_sim_broken_first(of->of, "deadlocks",
                            "two waited for each other for %d ms, and nobody was told", CYCLE_MS);
    }
    bare_renew_session(self);
    bare_end_session(of, two->asker.session);
    while (!two->done) {
        lw_env_sleep(self->env, 20 * LW_SIM_NS_PER_MS);
    }
    lw_arena_reset(&two->asker.arena);
}
