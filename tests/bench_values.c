/* SPDX-License-Identifier: Apache-2.0 */
/* What overwriting large values costs, with and without keeping them apart from their keys: bytes
 * written for each byte that was put, bytes on disk for each byte that is alive, and time. Keys are
 * filled once, then overwritten at random; at last the store is left alone until it has nothing
 * more to do. Nothing is judged here.
 *
 *   bench_values DIRECTORY [MIB [VALUE_SIZE]]
 *                (an empty folder on the disk to be measured; what is put in all; of a value) */
#include "storage/batch.h"
#include "storage/store.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEY_SIZE = 16, FILL_PARTS = 3, IDLE_ROUNDS = 20, IDLE_PAUSE_NS = 100 * 1000000 };

typedef struct bench {
    lw_env *env;
    const char *directory;
    uint64_t put_count, key_count;
    size_t value_size;
    uint64_t threshold;
    lw_store *store;
    lw_tree *tree;
    bool done;
} bench;

static void must(lw_status status) {
    if (status != LW_OK) {
        fprintf(stderr, "bench_values: %s\n", lw_error_slot()->text);
        exit(1);
    }
}

static lw_bytes key_of(uint64_t index, uint8_t *to) {
    lw_put_u64_sorted(to, (index + 1) * UINT64_C(0x9e3779b97f4a7c15));
    lw_put_u64_sorted(to + 8, index);
    return lw_view(to, KEY_SIZE);
}

static void put_all(bench *on, uint8_t *value) {
    lw_buffer batch = lw_buffer_in(on->env->memory);
    uint8_t key[KEY_SIZE];
    for (uint64_t index = 0; index < on->put_count; index++) {
        uint64_t which =
            index < on->key_count ? index : lw_env_random_below(on->env, on->key_count);
        for (size_t at = 0; at < on->value_size; at += sizeof(uint64_t)) {
            lw_put_u64(value + at, lw_env_random(on->env));
        }
        lw_buffer_clear(&batch);
        lw_batch_put(&batch, key_of(which, key), lw_view(value, on->value_size));
        must(lw_tree_admit(on->tree, batch.size));
        must(lw_tree_apply(on->tree, index + 1, lw_buffer_view(&batch)));
        lw_fiber_pass();
    }
    lw_buffer_reset(&batch);
    must(lw_tree_flush(on->tree));
}

static uint64_t written(const bench *on) {
    lw_tree_figures figures;
    lw_tree_figures_get(on->tree, &figures);
    return figures.flushed_bytes + figures.compacted_bytes;
}

static void settle(bench *on) {
    uint64_t before = 0;
    for (uint32_t idle = 0; idle < IDLE_ROUNDS; idle++) {
        if (written(on) != before) {
            before = written(on);
            idle = 0;
        }
        lw_env_sleep(on->env, IDLE_PAUSE_NS);
    }
}

static uint64_t disk_size(const bench *on) {
    lw_tree_figures figures;
    lw_value_figures values;
    lw_tree_figures_get(on->tree, &figures);
    lw_store_value_figures(on->store, &values);
    uint64_t bytes = values.bytes;
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        bytes += figures.table_bytes[level];
    }
    return bytes;
}

static void measure(bench *on, const char *what, double seconds) {
    double put = (double)on->put_count * (double)on->value_size;
    double alive = (double)on->key_count * (double)on->value_size;
    lw_value_figures values;
    lw_store_value_figures(on->store, &values);
    printf("%-18s %7.1f s  %5.2f bytes written for each put  %5.2f on disk for each alive  "
           "%6.1f MiB moved\n",
           what, seconds, (double)written(on) / put, (double)disk_size(on) / alive,
           (double)values.moved_bytes / 1048576);
}

static void bench_main(void *argument) {
    bench *on = argument;
    uint8_t *value = lw_allocate(on->env->memory, on->value_size + sizeof(uint64_t));
    lw_store_options options = {.directory = on->directory,
                                .value_threshold = on->threshold,
                                .reserve_size_max = UINT64_MAX};
    must(lw_store_open(on->env, &options, &on->store));
    must(lw_store_create_tree(on->store, 1, &on->tree));
    const char *name = on->threshold == UINT64_MAX ? "within tables" : "apart";
    uint64_t from_ns = lw_env_now(on->env);
    put_all(on, value);
    measure(on, name, (double)(lw_env_now(on->env) - from_ns) / 1e9);
    settle(on);
    measure(on, "  ... settled", (double)(lw_env_now(on->env) - from_ns) / 1e9);
    lw_store_close(on->store);
    lw_free(on->env->memory, value);
    on->done = true;
}

static void run(bench *on, const char *name, uint64_t threshold) {
    char path[LW_PATH_SIZE];
    snprintf(path, sizeof(path), "%s/%s", on->directory, name);
    bench each = *on;
    each.directory = path;
    each.threshold = threshold;
    (void)lw_env_start(on->env, "bench", bench_main, &each);
    while (!each.done) {
        lw_env_turn(on->env, true);
    }
}

int main(int argument_count, char **arguments) {
    if (argument_count < 2) {
        fprintf(stderr, "usage: %s DIRECTORY [MIB [VALUE_SIZE]]\n", arguments[0]);
        return 2;
    }
    uint64_t mib = argument_count > 2 ? strtoull(arguments[2], NULL, 10) : 1024;
    bench on = {.directory = arguments[1],
                .value_size =
                    argument_count > 3 ? (size_t)strtoull(arguments[3], NULL, 10) : 16384};
    on.put_count = mib * 1048576 / on.value_size;
    on.key_count = on.put_count / FILL_PARTS;
    must(lw_env_uring_open(&on.env));
    run(&on, "within", UINT64_MAX);
    run(&on, "apart", 0);
    lw_env_close(on.env);
    return 0;
}
