/* SPDX-License-Identifier: Apache-2.0 */
/* Kills: of transactions under way and of others that have committed, also twice at once. */
#include "sim/bare_work.h"

enum {
    CALL_MS = 2500,
    VICTIMS = 40,       /* of the last transactions, one is killed, */
    LATE_VICTIMS = 400, /* or one that has committed, of these */
    LATE_PERCENT = 40,
    TWICE_PERCENT = 40, /* of the kills are asked for twice, */
    SOON_MS = 40,       /* the second time so soon */
};

/* One that is under way, or one that has committed. */
static bare_txn *draw_victim(bare_asker *self) {
    lw_sim_bare *of = self->of;
    bare_txn *victim = NULL;
    uint64_t seen = 0;
    bool late = bare_percent(self, LATE_PERCENT);
    uint32_t most = late ? LATE_VICTIMS : VICTIMS;
    for (uint32_t back = 1; back <= most && back <= of->txn_count; back++) {
        bare_txn *each = &of->txns[of->txn_count - back];
        bool may = late ? each->state == BARE_COMMITTED : each->writing;
        if (may && bare_below(self, ++seen) == 0) {
            victim = each;
        }
    }
    return victim;
}

/* Asks, and does not wait: what is asked next is asked while this is carried out. */
LW_YIELDS static void ask_for_kill(bare_asker *self, const lw_buffer *body) {
    bare_node *to = bare_leader(self->of, bare_key(0));
    lw_request request = {.kind = LW_MESSAGE_KILL,
                          .id = ++self->of->request_id,
                          .timeout_ms = CALL_MS,
                          .body = lw_buffer_view(body)};
    bare_answer answer = {.status = LW_UNAVAILABLE};
    if (to != NULL) {
        bare_ask_once(self, to, &request, 1 + bare_below(self, SOON_MS), &answer);
    }
}

void bare_kill_something(bare_asker *self) {
    lw_sim_bare *of = self->of;
    bare_txn *victim = draw_victim(self);
    uint64_t led = of->led;
    lw_kill_reply reply;
    if (victim == NULL) {
        return;
    }
    lw_buffer body = bare_body(self);
    lw_kill_request_encode(&(lw_kill_request){.start = victim->start}, &body);
    if (bare_percent(self, TWICE_PERCENT)) {
        ask_for_kill(self, &body);
    }
    bare_answer answer = bare_call(self, LW_MESSAGE_KILL, (lw_bytes){0}, &body, CALL_MS);
    lw_buffer_reset(&body);
    if (answer.status == LW_OK && of->led == led &&
        lw_kill_reply_decode(answer.body, &self->arena, &reply) == LW_OK &&
        reply.fate == LW_FATE_ABORTED) {
        victim->killed = of->of->watch.given;
    }
}
