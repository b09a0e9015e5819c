/* SPDX-License-Identifier: Apache-2.0 */
/* Our engine, for the comparison with others: one thread, one loop, as a node has it. Readers and
 * writers are fibers of that loop; a snapshot is opened for every get and every scan, since the
 * others too see what is newest each time. */
#include "tests/bench_engines.h"

#include "storage/batch.h"
#include "storage/engine.h"

#include <stdlib.h>

enum { TREE = 1, LOOK_STRIDE = 256 };

typedef struct lathwork {
    lw_engine *engine;
    lw_tree *tree;
    uint32_t puts; /* since others were last let run, and looked at */
    uint64_t longest_fibers_ns;
} lathwork;

typedef struct session {
    lathwork *store;
    lw_buffer batch, value;
} session;

/* The bench has one env, of the one thread. */
static lw_env *env;
static bool pausing; /* nothing runs but what the engine does by itself */
static uint64_t longest_loop_ns;

static void must(lw_status status) {
    if (status != LW_OK) {
        bench_fail("Lathwork: %s", lw_error_slot()->text);
    }
}

/* ---- the loop ---------------------------------------------------------------------------------
 */

typedef struct crew {
    bench_body *body;
    uint32_t working;
    lw_queue gone;
} crew;

typedef struct member {
    crew *crew;
    void *argument;
} member;

static void member_main(void *argument) {
    member *one = argument;
    one->crew->body(one->argument);
    if (--one->crew->working == 0) {
        lw_queue_wake_all(&one->crew->gone);
    }
}

/* One turn of the loop. While the bench pauses it notes how much of the processor's time the engine
 * took in it: for so long a message to a node would have waited to be read. */
static void turn(void) {
    bool was_pausing = pausing;
    uint64_t from_ns = bench_processor_ns();
    lw_env_turn(env, true);
    uint64_t duration_ns = bench_processor_ns() - from_ns;
    if (was_pausing && pausing && duration_ns > longest_loop_ns) {
        longest_loop_ns = duration_ns;
    }
}

static void lathwork_run(bench_body *body, void *argument) {
    crew all = {.body = body, .working = 1};
    member one = {.crew = &all, .argument = argument};
    if (lw_env_uring_open(&env) != LW_OK) {
        must(lw_env_posix_open(&env));
    }
    (void)lw_env_start(env, "bench", member_main, &one);
    while (all.working > 0) {
        turn();
    }
    lw_env_close(env);
}

static void lathwork_run_together(bench_body *body, void *const *arguments, uint32_t count) {
    crew all = {.body = body, .working = count};
    member members[BENCH_WRITER_MAX];
    for (uint32_t index = 0; index < count; index++) {
        members[index] = (member){.crew = &all, .argument = arguments[index]};
        (void)lw_env_start(env, "bench worker", member_main, &members[index]);
    }
    while (all.working > 0) {
        lw_queue_wait(&all.gone);
    }
}

static void lathwork_pause(uint32_t duration_ms) {
    pausing = true;
    lw_env_sleep(env, duration_ms * UINT64_C(1000000));
    pausing = false;
}

/* ---- the engine -------------------------------------------------------------------------------
 */

static void *lathwork_open(const bench_setup *setup) {
    lathwork *store = calloc(1, sizeof(*store));
    lw_engine_options options = {
        .store = {.directory = setup->directory, .memory_size = setup->memory_size}};
    must(lw_engine_open(env, &options, &store->engine));
    if (lw_engine_tree(store->engine, TREE) == NULL) {
        must(lw_engine_create_tree(store->engine, TREE));
    }
    store->tree = lw_engine_tree(store->engine, TREE);
    return store;
}

static void lathwork_close(void *argument) {
    lathwork *store = argument;
    lw_engine_close(store->engine);
    free(store);
}

static void lathwork_flush(void *argument) {
    lathwork *store = argument;
    must(lw_tree_flush(store->tree));
}

static void *lathwork_session_open(void *store) {
    session *on = calloc(1, sizeof(*on));
    on->store = store;
    on->batch = lw_buffer_in(env->memory);
    on->value = lw_buffer_in(env->memory);
    return on;
}

static void lathwork_session_close(void *argument) {
    session *on = argument;
    lw_buffer_reset(&on->batch);
    lw_buffer_reset(&on->value);
    free(on);
}

/* Lets every other fiber that is ready run once, and notes how much of the processor's time that
 * took: the flush and the compaction are among them. */
static void look_at_others(lathwork *store) {
    uint64_t from_ns = bench_processor_ns();
    lw_fiber_pass();
    uint64_t duration_ns = bench_processor_ns() - from_ns;
    if (duration_ns > store->longest_fibers_ns) {
        store->longest_fibers_ns = duration_ns;
    }
}

static void write_batch(session *on, bool durable) {
    lathwork *store = on->store;
    must(lw_engine_write(store->engine, TREE, lw_buffer_view(&on->batch), durable));
    if (!durable && ++store->puts == LOOK_STRIDE) {
        store->puts = 0;
        look_at_others(store);
    }
}

static void lathwork_put(void *argument, lw_bytes key, lw_bytes value, bool durable) {
    session *on = argument;
    lw_buffer_clear(&on->batch);
    lw_batch_put(&on->batch, key, value);
    write_batch(on, durable);
}

static void lathwork_remove(void *argument, lw_bytes key) {
    session *on = argument;
    lw_buffer_clear(&on->batch);
    lw_batch_delete(&on->batch, key);
    write_batch(on, false);
}

static bool lathwork_get(void *argument, lw_bytes key, lw_bytes *value) {
    session *on = argument;
    lw_buffer_clear(&on->value);
    lw_snapshot *snapshot = lw_snapshot_open(on->store->tree);
    lw_status status = lw_snapshot_get(snapshot, key, &on->value);
    lw_snapshot_close(snapshot);
    if (status == LW_NOT_FOUND) {
        return false;
    }
    must(status);
    *value = lw_buffer_view(&on->value);
    return true;
}

static uint64_t lathwork_scan(void *argument, lw_bytes from, uint64_t limit, uint64_t *seen) {
    session *on = argument;
    uint64_t count = 0;
    lw_snapshot *snapshot = lw_snapshot_open(on->store->tree);
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_view(NULL, 0), lw_view(NULL, 0));
    must(from.size == 0 ? lw_cursor_first(cursor) : lw_cursor_seek(cursor, from));
    while (count < limit && lw_cursor_valid(cursor)) {
        bench_see(seen, lw_cursor_key(cursor), lw_cursor_value(cursor));
        count++;
        must(lw_cursor_next(cursor));
    }
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    return count;
}

static void lathwork_longest_turns(void *argument, double *fibers_ms, double *loop_ms) {
    lathwork *store = argument;
    *fibers_ms = (double)store->longest_fibers_ns / 1e6;
    *loop_ms = (double)longest_loop_ns / 1e6;
}

const bench_engine bench_lathwork = {
    .name = "Lathwork",
    .settings = "one thread; the memory is given as it is, and divided by the engine; a snapshot "
                "is opened for every read; LZ4, and quick zstd in the last level (its default); "
                "all else as "
                "by default",
    .has_log = true,
    .run = lathwork_run,
    .run_together = lathwork_run_together,
    .pause = lathwork_pause,
    .open = lathwork_open,
    .close = lathwork_close,
    .flush = lathwork_flush,
    .session_open = lathwork_session_open,
    .session_close = lathwork_session_close,
    .put = lathwork_put,
    .remove = lathwork_remove,
    .get = lathwork_get,
    .scan = lathwork_scan,
    .longest_turns = lathwork_longest_turns,
};
