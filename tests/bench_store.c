/* SPDX-License-Identifier: Apache-2.0 */
/* What the store costs on this machine, without log and network: filling it (with flushes and
 * compactions under way), reading keys that are there and that are not, scanning both ways, opening
 * it again, and the longest time for which its fibers kept the reactor from anyone else. Nothing is
 * judged here.
 *
 *   bench_store DIRECTORY [KEYS]    (an empty folder on the disk to be measured) */
#include "storage/batch.h"
#include "storage/store.h"

#include <stdio.h>
#include <stdlib.h>

enum { VALUE_SIZE = 100, BATCH_COUNT = 10, READ_COUNT = 100000, KEY_SIZE = 16 };

typedef struct bench {
    lw_env *env;
    const char *directory;
    uint64_t key_count;
    lw_store *store;
    lw_tree *tree;
    bool done;
} bench;

static void must(lw_status status) {
    if (status != LW_OK) {
        fprintf(stderr, "bench_store: %s\n", lw_error_slot()->text);
        exit(1);
    }
}

/* Keys in no order, all different. */
static lw_bytes key_of(uint64_t index, uint8_t *to) {
    lw_put_u64_sorted(to, (index + 1) * UINT64_C(0x9e3779b97f4a7c15));
    lw_put_u64_sorted(to + 8, index);
    return lw_view(to, KEY_SIZE);
}

static void report(bench *on, const char *what, uint64_t from_ns, uint64_t count) {
    double seconds = (double)(lw_env_now(on->env) - from_ns) / 1e9;
    printf("%-34s %8.3f s  %10.0f /s  %8.2f us each\n", what, seconds, (double)count / seconds,
           seconds * 1e6 / (double)count);
}

static void open_store(bench *on, const char *what) {
    uint64_t from_ns = lw_env_now(on->env);
    lw_store_options options = {.directory = on->directory};
    must(lw_store_open(on->env, &options, &on->store));
    on->tree = lw_store_tree(on->store, 1);
    if (on->tree == NULL) {
        must(lw_store_create_tree(on->store, 1, &on->tree));
    }
    report(on, what, from_ns, 1);
}

static void fill(bench *on) {
    uint8_t key[KEY_SIZE], value[VALUE_SIZE];
    lw_buffer batch = lw_buffer_in(on->env->memory);
    uint64_t from_ns = lw_env_now(on->env), longest_ns = 0, index = 0;
    while (index < on->key_count) {
        lw_buffer_clear(&batch);
        for (uint32_t count = 0; count < BATCH_COUNT; count++, index++) {
            for (size_t at = 0; at < VALUE_SIZE; at++) {
                value[at] = (uint8_t)(at < VALUE_SIZE / 2 ? lw_env_random(on->env) : 0);
            }
            lw_batch_put(&batch, key_of(index, key), lw_view(value, VALUE_SIZE));
        }
        must(lw_tree_admit(on->tree, batch.size));
        must(lw_tree_apply(on->tree, index / BATCH_COUNT, lw_buffer_view(&batch)));
        uint64_t before_ns = lw_env_now(on->env);
        lw_fiber_pass();
        uint64_t turn_ns = lw_env_now(on->env) - before_ns;
        longest_ns = turn_ns > longest_ns ? turn_ns : longest_ns;
    }
    report(on, "fill, 10 keys a batch", from_ns, on->key_count);
    printf("%-34s %8.3f ms\n", "longest turn of the other fibers", (double)longest_ns / 1e6);
    lw_buffer_reset(&batch);
}

static void get_keys(bench *on, const char *what, uint64_t offset, lw_status expected) {
    uint8_t key[KEY_SIZE];
    lw_buffer value = lw_buffer_in(on->env->memory);
    uint64_t from_ns = lw_env_now(on->env);
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    for (uint32_t count = 0; count < READ_COUNT; count++) {
        uint64_t index = lw_env_random_below(on->env, on->key_count) + offset;
        lw_buffer_clear(&value);
        if (lw_snapshot_get(snapshot, key_of(index, key), &value) != expected) {
            fprintf(stderr, "bench_store: a key is not as expected\n");
            exit(1);
        }
    }
    lw_snapshot_close(snapshot);
    report(on, what, from_ns, READ_COUNT);
    lw_buffer_reset(&value);
}

static void scan(bench *on, bool forward) {
    uint64_t from_ns = lw_env_now(on->env), count = 0;
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_view(NULL, 0), lw_view(NULL, 0));
    must(forward ? lw_cursor_first(cursor) : lw_cursor_last(cursor));
    while (lw_cursor_valid(cursor)) {
        count++;
        must(forward ? lw_cursor_next(cursor) : lw_cursor_previous(cursor));
    }
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    report(on, forward ? "scan on" : "scan back", from_ns, count);
}

static void bench_main(void *argument) {
    bench *on = argument;
    lw_tree_figures figures;
    open_store(on, "first open");
    fill(on);
    get_keys(on, "get, while compacting", 0, LW_OK);
    uint64_t from_ns = lw_env_now(on->env);
    must(lw_tree_flush(on->tree));
    report(on, "flush", from_ns, 1);
    lw_store_close(on->store);
    open_store(on, "open again");
    get_keys(on, "get", 0, LW_OK);
    get_keys(on, "get what is not there", on->key_count, LW_NOT_FOUND);
    scan(on, true);
    scan(on, false);
    lw_tree_figures_get(on->tree, &figures);
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        printf("level %u: %llu tables, %.1f MB\n", level,
               (unsigned long long)figures.table_count[level],
               (double)figures.table_bytes[level] / 1e6);
    }
    lw_store_close(on->store);
    on->done = true;
}

int main(int count, char **arguments) {
    bench on = {.key_count = 2000000};
    if (count < 2) {
        fprintf(stderr, "usage: bench_store DIRECTORY [KEYS]\n");
        return 2;
    }
    on.directory = arguments[1];
    if (count > 2) {
        on.key_count = strtoull(arguments[2], NULL, 10) / BATCH_COUNT * BATCH_COUNT;
    }
    if (lw_env_uring_open(&on.env) != LW_OK) {
        must(lw_env_posix_open(&on.env));
    }
    (void)lw_env_start(on.env, "bench", bench_main, &on);
    while (!on.done) {
        lw_env_turn(on.env, true);
    }
    lw_env_close(on.env);
    return 0;
}
