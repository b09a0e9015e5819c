/* SPDX-License-Identifier: Apache-2.0 */
#include "node/waits.h"

#include "txn/detector.h"

enum {
    MOMENT_NS = 100 * 1000 * 1000, /* most waits are shorter, and nobody hears of them */
    PERIOD_NS = 200 * 1000 * 1000, /* between two reports; well below LW_DETECTOR_FRESH_NS */
};

struct lw_waits {
    lw_waits_options options;
    bool running, stopping;
    lw_queue stop, ended;
};

lw_waits *lw_waits_open(const lw_waits_options *options) {
    lw_waits *opened = lw_allocate_zero(options->env->memory, sizeof(*opened));
    opened->options = *options;
    return opened;
}

/* ---- reports -------------------------------------------------------------------------------- */

static lw_bytes short_label(const lw_waits_options *options, uint64_t session) {
    lw_bytes label =
        session == 0 ? (lw_bytes){0} : options->session_label(options->argument, session);
    label.size = label.size < LW_DETECTOR_LABEL_SIZE_MAX ? label.size : LW_DETECTOR_LABEL_SIZE_MAX;
    return label;
}

/* Who waits for longer than a moment; how many. */
static uint32_t encode_report(const lw_waits *waits, lw_arena *arena, lw_buffer *body) {
    const lw_waits_options *options = &waits->options;
    uint64_t now_ns = lw_env_now(options->env);
    lw_lock_edge *found = lw_arena_allocate(arena, LW_DETECTOR_EDGES_MAX * sizeof(*found));
    uint64_t until_ns = now_ns > MOMENT_NS ? now_ns - MOMENT_NS : 0;
    if (LW_RARE(options->env, "waits.tells_all")) {
        until_ns = now_ns;
    }
    uint32_t count = lw_lock_table_edges(options->locks, until_ns, LW_DETECTOR_EDGES_MAX, found);
    lw_wait_edge *edges = lw_arena_allocate(arena, (count + 1) * sizeof(*edges));
    for (uint32_t index = 0; index < count; index++) {
        edges[index] = (lw_wait_edge){.waiter = found[index].waiter,
                                      .holder = found[index].holder,
                                      .key = found[index].key,
                                      .label = short_label(options, found[index].session)};
    }
    lw_waits_request report = {.node = options->node, .edges = edges, .edge_count = count};
    lw_waits_request_encode(&report, body);
    return count;
}

static void refuse_victims(const lw_waits *waits, lw_arena *arena, lw_bytes body) {
    lw_waits_reply reply;
    lw_buffer why = lw_buffer_in(waits->options.env->memory);
    if (lw_waits_reply_decode(body, arena, &reply) == LW_OK) {
        for (uint32_t index = 0; index < reply.victim_count; index++) {
            LW_MARK(waits->options.env, "waits.deadlock_between_nodes");
            lw_buffer_clear(&why);
            lw_obstacle_encode(&reply.victims[index].obstacle, &why);
            lw_lock_table_refuse(waits->options.locks, reply.victims[index].start,
                                 lw_buffer_view(&why));
        }
    }
    lw_buffer_reset(&why);
}

LW_YIELDS static void report(lw_waits *waits) {
    lw_memory *memory = waits->options.env->memory;
    lw_arena arena = lw_arena_in(memory);
    lw_buffer body = lw_buffer_in(memory), reply = body;
    if (encode_report(waits, &arena, &body) > 0 &&
        waits->options.ask(waits->options.argument, LW_MESSAGE_WAITS, (lw_bytes){0},
                           lw_buffer_view(&body), &reply) == LW_OK) {
        refuse_victims(waits, &arena, lw_buffer_view(&reply));
    }
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    lw_arena_reset(&arena);
}

/* ---- the fiber ------------------------------------------------------------------------------ */

LW_YIELDS static void waits_main(void *argument) {
    lw_waits *waits = argument;
    lw_env *env = waits->options.env;
    while (!waits->stopping && lw_lock_table_waiting(waits->options.locks) > 0) {
        (void)lw_env_wait(env, &waits->stop, lw_env_now(env) + PERIOD_NS);
        if (!waits->stopping) {
            report(waits);
        }
    }
    waits->running = false;
    lw_queue_wake_all(&waits->ended);
}

void lw_waits_stir(lw_waits *waits) {
    if (waits != NULL && !waits->running && !waits->stopping) {
        waits->running = true;
        lw_env_start(waits->options.env, "waits", waits_main, waits);
    }
}

void lw_waits_stop(lw_waits *waits) {
    if (waits != NULL) {
        waits->stopping = true;
        lw_queue_wake_all(&waits->stop);
    }
}

void lw_waits_close(lw_waits *waits) {
    if (waits == NULL) {
        return;
    }
    lw_waits_stop(waits);
    while (waits->running) {
        lw_queue_wait(&waits->ended);
    }
    lw_free(waits->options.env->memory, waits);
}
