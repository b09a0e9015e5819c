/* SPDX-License-Identifier: Apache-2.0 */
/* Shards that are split because they have grown. */
#include "tests/shard_bench.h"

enum { SHARD_SIZE = 128 * 1024 };

/* Text that does not compress, from a number. */
static const char *noise(bench *on, uint64_t number, size_t size) {
    char *text = lw_arena_allocate(&on->arena, size + 1);
    for (size_t index = 0; index < size; index++) {
        number = lw_mix(number + index);
        text[index] = (char)('0' + number % 75);
    }
    text[size] = 0;
    return text;
}

/* Again and again: the shard may be split meanwhile. */
static void write_at(bench *on, const char *key, const char *value) {
    lw_mutation mutation = bench_put(key, value, LW_SEEN_ANYTHING);
    uint64_t start = bench_timestamp(on), committed = 0;
    for (int attempt = 0; attempt < 100 && committed == 0; attempt++) {
        on->route = lw_text(key);
        committed = bench_committed(bench_commit_now(on, start, &mutation, 1));
        if (committed == 0) {
            bench_pass_ms(on, 10);
        }
        on->route = lw_view(NULL, 0);
    }
    expect(on, committed > start, "a write commits");
}

static void flush_main(void *argument) {
    bench *on = argument;
    lw_tree *tree = NULL;
    while ((tree = lw_store_next_tree(on->store, tree)) != NULL) {
        expect(on, lw_tree_flush(tree) == LW_OK, "a tree is flushed");
    }
    on->done = true;
}

static const char *key_of(bench *on, uint32_t number) {
    char *key = lw_arena_allocate(&on->arena, 24);
    (void)snprintf(key, 24, "key/%06u", (unsigned)number);
    return key;
}

/* Keys spread over all of them, so that tables lie over one another. */
static void fill(bench *on, uint32_t count, size_t value_size) {
    for (uint32_t number = 0; number < count; number++) {
        uint32_t key = (uint32_t)(number * UINT64_C(7919) % count);
        write_at(on, key_of(on, key), noise(on, key, value_size));
        if (number % 128 == 127) {
            bench_run(on, flush_main);
        }
    }
    bench_run(on, flush_main);
    bench_pass_ms(on, 20000);
}

static uint64_t bytes_of(bench *on, uint32_t index) {
    lw_tree_figures figures;
    lw_shard_descriptor shard;
    lw_replica_descriptor(lw_shards_at(on->shards, index), &shard);
    lw_tree_figures_get(lw_store_tree(on->store, shard.id), &figures);
    return figures.held_bytes;
}

static void begin(bench *on) {
    bench_begin(on, 1, NULL);
    on->shard_size = SHARD_SIZE;
    bench_shut(on);
    bench_boot(on);
}

/* ---- stories ------------------------------------------------------------------------------------
 */

static void end(bench *on) {
    char failure[256];
    memcpy(failure, on->failure, sizeof(failure));
    bench_end(on);
    if (failure[0] != 0) {
        fail_msg("%s", failure);
    }
}

static void check_all(bench *on, uint32_t count, size_t value_size) {
    for (uint32_t number = 0; number < count; number++) {
        const char *key = key_of(on, number);
        on->route = lw_text(key);
        expect_text(on, bench_read(on, 0, key), noise(on, number, value_size), key);
    }
    on->route = lw_view(NULL, 0);
}

static void what_has_grown_is_split_into_like_parts(void **state) {
    (void)state;
    static bench on;
    begin(&on);
    fill(&on, 1000, 1000);
    uint32_t count = lw_shards_count(on.shards);
    expect(&on, count >= 1000 * 1000 / SHARD_SIZE && count <= 24, "there are as many as needed");
    for (uint32_t index = 0; index < count; index++) {
        uint64_t bytes = bytes_of(&on, index);
        expect(&on, bytes < SHARD_SIZE + SHARD_SIZE / 2, "none is too large");
        expect(&on, bytes > SHARD_SIZE / 5, "none is a splinter");
    }
    check_all(&on, 1000, 1000);
    bench_crash(&on);
    expect(&on, lw_shards_count(on.shards) == count, "so it is after a crash");
    check_all(&on, 1000, 1000);
    end(&on);
}

static void values_that_lie_apart_count(void **state) {
    (void)state;
    static bench on;
    begin(&on);
    fill(&on, 1000, 5000);
    expect(&on, lw_shards_count(on.shards) >= 4, "what lies apart is held, too");
    check_all(&on, 1000, 5000);
    end(&on);
}

static void versions_of_one_key_stay_together(void **state) {
    (void)state;
    static bench on;
    begin(&on);
    for (uint64_t version = 0; version < 600; version++) {
        write_at(&on, "hot", noise(&on, version, 1000));
        if (version % 100 == 99) {
            bench_run(&on, flush_main);
        }
    }
    bench_pass_ms(&on, 20000);
    uint32_t count = lw_shards_count(on.shards);
    expect(&on, count == 1, "there is nothing to divide");
    on.route = lw_text("hot");
    expect_text(&on, bench_read(&on, 0, "hot"), noise(&on, 599, 1000), "the newest");
    end(&on);
}

/* Once all is as it should be nothing is left to be done, and no clock is looked at for it. */
static void who_is_idle_splits_nothing(void **state) {
    (void)state;
    static bench on;
    begin(&on);
    fill(&on, 300, 1000);
    uint32_t count = lw_shards_count(on.shards);
    uint64_t steps = 0;
    while (lw_world_step(on.world) && steps < 10000) {
        steps++;
    }
    expect(&on, steps < 10000, "nothing is scheduled any more");
    expect(&on, count > 1 && lw_shards_count(on.shards) == count, "and nothing is split");
    end(&on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_grown_is_split_into_like_parts),
        cmocka_unit_test(values_that_lie_apart_count),
        cmocka_unit_test(versions_of_one_key_stay_together),
        cmocka_unit_test(who_is_idle_splits_nothing),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
