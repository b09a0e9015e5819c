/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: writes that are read back and survive, writers that share a durable write, writes to
 * several trees that stay together, a log that flushes let go, and refusals that leave nothing. */
#include "tests/engine_bench.h"

static void set_up(bench *on) {
    lw_faults faults = lw_faults_none();
    bench_open(on, 1, &faults, NULL);
}

static void tell(bench *on, void (*body)(bench *on)) {
    assert_true(run(on, body));
    if (on->failure[0] != 0) {
        fail_msg("%s", on->failure);
    }
}

static void write_and_reopen(bench *on) {
    bench_start(on);
    bench_write(on, 40);
    bench_check(on);
    bench_stop(on);
    bench_start(on);
    bench_check(on);
    bench_stop(on);
}

static void what_was_written_is_read_and_survives_closing(void **state) {
    (void)state;
    bench on;
    set_up(&on);
    tell(&on, write_and_reopen);
    bench_close(&on);
}

static void write_flush_and_reopen(bench *on) {
    bench_start(on);
    bench_write(on, 20);
    insist(on, lw_tree_flush(lw_engine_tree(on->engine, 1)), "flush");
    bench_write(on, 20);
    bench_stop(on);
    bench_start(on);
    bench_check(on);
    bench_write(on, 20);
    bench_check(on);
    bench_stop(on);
}

static void replay_begins_above_what_is_in_tables(void **state) {
    (void)state;
    bench on;
    set_up(&on);
    tell(&on, write_flush_and_reopen);
    bench_close(&on);
}

/* ---- group commit ---------------------------------------------------------------------------- */

enum { WRITER_COUNT = 50 };
static uint32_t writers_left;

static void writer_main(void *argument) {
    bench *on = argument;
    bench_write_one(on, ++on->written, true);
    writers_left--;
}

static void many_writers(bench *on) {
    bench_start(on);
    lw_log_figures before, after;
    lw_log_figures_get(lw_engine_log(on->engine), &before);
    writers_left = WRITER_COUNT;
    for (uint32_t writer = 0; writer < WRITER_COUNT; writer++) {
        (void)lw_env_start(on->env, "writer", writer_main, on);
    }
    while (writers_left > 0) {
        lw_env_sleep(on->env, 1000000);
    }
    lw_log_figures_get(lw_engine_log(on->engine), &after);
    if (after.records - before.records < WRITER_COUNT || after.batches - before.batches > 3) {
        wrong(on, "%u writers took %u durable writes", (unsigned)(after.records - before.records),
              (unsigned)(after.batches - before.batches));
    }
    bench_check(on);
    bench_stop(on);
}

static void writers_at_once_share_a_durable_write(void **state) {
    (void)state;
    bench on;
    set_up(&on);
    tell(&on, many_writers);
    bench_close(&on);
}

static void write_without_waiting(bench *on) {
    bench_start(on);
    uint64_t before = lw_env_now(on->env);
    for (uint32_t count = 0; count < 20; count++) {
        bench_write_one(on, ++on->written, false);
    }
    if (lw_env_now(on->env) != before) {
        wrong(on, "twenty writes that wait for nothing took time");
    }
    insist(on, lw_engine_sync(on->engine), "sync");
    on->durable = on->written;
}

static void a_sync_makes_all_before_it_durable(void **state) {
    (void)state;
    bench on;
    set_up(&on);
    tell(&on, write_without_waiting);
    lw_host_crash(on.host);
    bench_boot(&on);
    tell(&on, bench_verify);
    bench_close(&on);
}

/* ---- the log lets go ------------------------------------------------------------------------- */

static void fill_and_flush(bench *on) {
    bench_start(on);
    for (uint32_t round = 0; round < 30; round++) {
        bench_write(on, 100);
        insist(on, lw_tree_flush(lw_engine_tree(on->engine, 1)), "flush");
        insist(on, lw_tree_flush(lw_engine_tree(on->engine, 2)), "flush");
    }
    lw_log_figures figures;
    lw_log_figures_get(lw_engine_log(on->engine), &figures);
    if (figures.segments > 5) {
        wrong(on, "%u segments though all is in tables", (unsigned)figures.segments);
    }
    bench_stop(on);
}

static void what_is_in_tables_leaves_the_log(void **state) {
    (void)state;
    bench on;
    set_up(&on);
    tell(&on, fill_and_flush);
    bench_close(&on);
}

/* One tree is written to once, the other for ever. */
static void leave_one_idle(bench *on) {
    bench_start(on);
    lw_buffer batch = lw_buffer_in(on->env->memory);
    text value;
    lw_batch_put(&batch, lw_text("idle"), lw_text("kept"));
    insist(on, lw_engine_write(on->engine, 1, lw_buffer_view(&batch), true), "write");
    for (uint32_t index = 1; index <= 16000 && !on->stopped; index++) {
        lw_buffer_clear(&batch);
        lw_batch_put(&batch, lw_text("busy"), value_of(index, &value));
        insist(on, lw_engine_write(on->engine, 2, lw_buffer_view(&batch), false), "write");
    }
    lw_buffer_reset(&batch);
    lw_log_figures figures;
    lw_log_figures_get(lw_engine_log(on->engine), &figures);
    if (figures.segments > 2 * 16 + 6) {
        wrong(on, "an idle tree holds %u segments", (unsigned)figures.segments);
    }
    bench_stop(on);
}

static void a_tree_that_is_idle_does_not_hold_the_log(void **state) {
    (void)state;
    bench on;
    set_up(&on);
    tell(&on, leave_one_idle);
    assert_true(lw_world_marked(on.world, "engine.idle_tree_flushed") > 0);
    bench_close(&on);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void expect(bench *on, lw_status status, lw_status expected, const char *words) {
    if (status != expected || strstr(lw_error_slot()->text, words) == NULL) {
        wrong(on, "%s instead of %s: %s", lw_status_name(status), lw_status_name(expected),
              lw_error_slot()->text);
    }
}

static void bad_calls(bench *on) {
    bench_start(on);
    bench_write(on, 5);
    lw_buffer batch = lw_buffer_in(on->env->memory);
    lw_batch_put(&batch, lw_text("k00"), lw_text("wrong"));
    lw_bytes good = lw_buffer_view(&batch), torn = lw_view(batch.data, batch.size - 1);
    expect(on, lw_engine_write(on->engine, 9, good, true), LW_NOT_FOUND, "no tree 9");
    expect(on, lw_engine_write(on->engine, 1, torn, true), LW_CORRUPTION, "cannot be read");
    expect(on, lw_engine_create_tree(on->engine, 1), LW_EXISTS, "tree 1");
    const lw_engine_change changes[] = {{.tree = 1, .batch = good}, {.tree = 2, .batch = torn}};
    expect(on, lw_engine_write_all(on->engine, changes, 2, true), LW_CORRUPTION, "cannot be read");
    bench_check(on);
    bench_stop(on);
    bench_start(on);
    bench_check(on);
    bench_stop(on);
    lw_buffer_reset(&batch);
}

static void a_refused_write_leaves_nothing(void **state) {
    (void)state;
    bench on;
    set_up(&on);
    tell(&on, bad_calls);
    bench_close(&on);
}

static void leave_a_gap(bench *on) {
    bench_start(on);
    lw_buffer batch = lw_buffer_in(on->env->memory);
    lw_batch_put(&batch, lw_text("k"), lw_text("v"));
    lw_log_record record = {.group = 1,
                            .index = lw_tree_applied(lw_engine_tree(on->engine, 1)) + 2,
                            .kind = LW_LOG_ENTRY,
                            .payload = lw_buffer_view(&batch)};
    insist(on,
           lw_log_wait(lw_engine_log(on->engine),
                       lw_log_append(lw_engine_log(on->engine), &record, 1)),
           "append");
    bench_stop(on);
    lw_buffer_reset(&batch);
    lw_engine_options options = bench_options();
    lw_engine *engine = NULL;
    expect(on, lw_engine_open(on->env, &options, &engine), LW_CORRUPTION, "behind entry");
}

static void a_gap_in_the_log_is_refused(void **state) {
    (void)state;
    bench on;
    set_up(&on);
    tell(&on, leave_a_gap);
    bench_close(&on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_and_survives_closing),
        cmocka_unit_test(replay_begins_above_what_is_in_tables),
        cmocka_unit_test(writers_at_once_share_a_durable_write),
        cmocka_unit_test(a_sync_makes_all_before_it_durable),
        cmocka_unit_test(what_is_in_tables_leaves_the_log),
        cmocka_unit_test(a_tree_that_is_idle_does_not_hold_the_log),
        cmocka_unit_test(a_refused_write_leaves_nothing),
        cmocka_unit_test(a_gap_in_the_log_is_refused),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
