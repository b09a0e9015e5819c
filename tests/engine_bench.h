/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the engine share: an engine on a host of the simulated world, and a model that
 * needs no memory: what write number n does follows from n alone. So a test only counts writes, and
 * what a restart finds must be what the first n of them made, for one n that is at least the last
 * durable one. Whatever is wrong is noted, not asserted, since it is noticed inside of fibers. */
#ifndef LW_TESTS_ENGINE_BENCH_H
#define LW_TESTS_ENGINE_BENCH_H

#include "tests/story.h"
#include "tests/unit.h"

#include "storage/batch.h"
#include "storage/engine.h"
#include "sim/world.h"

enum { TREE_COUNT = 2, KEY_COUNT = 16 };

typedef struct bench {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    lw_engine *engine;
    uint32_t written; /* writes begun */
    uint32_t durable; /* the highest that must survive */
    bool faults;      /* are on: calls may fail */
    bool stopped;     /* one did */
    char failure[256];
} bench;

STORIES_OF(bench)

static inline bool insist(bench *on, lw_status status, const char *what) {
    if (status == LW_OK) {
        return true;
    }
    if (!on->faults) {
        wrong(on, "%s: %s", what, lw_error_slot()->text);
    }
    on->stopped = true;
    return false;
}

/* ---- the writes ---------------------------------------------------------------------------- */

/* Write n changes key n modulo KEY_COUNT, in one tree or, every third time, in both; every fifth
 * deletes it. */
static inline bool write_reaches(uint32_t n, uint32_t tree) {
    return n % 3 == 0 || n % 3 == tree;
}
static inline bool write_deletes(uint32_t n) {
    return n % 5 == 0;
}

typedef struct text {
    char data[400];
    size_t size;
} text;

static inline lw_bytes text_view(const text *of) {
    return lw_view(of->data, of->size);
}
static inline lw_bytes key_of(uint32_t key, text *to) {
    to->size = (size_t)snprintf(to->data, sizeof(to->data), "k%02u", (unsigned)key);
    return text_view(to);
}
static inline lw_bytes value_of(uint32_t n, text *to) {
    to->size = (size_t)snprintf(to->data, sizeof(to->data), "%u", (unsigned)n);
    size_t more = n * 37 % 300;
    memset(to->data + to->size, 'v', more);
    to->size += more;
    return text_view(to);
}

/* The write that made key `key` of the tree what it is after the first n; 0: it has no value. */
static inline uint32_t model_value(uint32_t n, uint32_t tree, uint32_t key) {
    for (uint32_t write = n; write > 0; write--) {
        if (write % KEY_COUNT == key && write_reaches(write, tree)) {
            return write_deletes(write) ? 0 : write;
        }
    }
    return 0;
}

static inline void bench_write_one(bench *on, uint32_t n, bool durable) {
    text key, value;
    lw_buffer batch = lw_buffer_in(on->env->memory);
    if (write_deletes(n)) {
        lw_batch_delete(&batch, key_of(n % KEY_COUNT, &key));
    } else {
        lw_batch_put(&batch, key_of(n % KEY_COUNT, &key), value_of(n, &value));
    }
    lw_bytes bytes = lw_buffer_view(&batch);
    const lw_engine_change both[] = {{.tree = 1, .batch = bytes}, {.tree = 2, .batch = bytes}};
    lw_status status = n % 3 == 0 ? lw_engine_write_all(on->engine, both, 2, durable)
                                  : lw_engine_write(on->engine, n % 3, bytes, durable);
    if (insist(on, status, "write") && durable && n > on->durable) {
        on->durable = n;
    }
    lw_buffer_reset(&batch);
}

/* Writes, now and then durably. */
static inline void bench_write(bench *on, uint32_t count) {
    while (count-- > 0 && !on->stopped) {
        on->written++;
        bench_write_one(on, on->written, on->written % 7 == 0);
    }
}

/* ---- the checks ---------------------------------------------------------------------------- */

/* What a tree holds: for each key the number of the write whose value it has; 0: none. */
typedef struct found {
    uint32_t values[TREE_COUNT][KEY_COUNT];
} found;

static inline void bench_look(bench *on, found *seen) {
    text key, expected;
    lw_buffer value = lw_buffer_in(on->env->memory);
    memset(seen, 0, sizeof(*seen));
    for (uint32_t tree = 1; tree <= TREE_COUNT; tree++) {
        lw_snapshot *snapshot = lw_snapshot_open(lw_engine_tree(on->engine, tree));
        for (uint32_t index = 0; index < KEY_COUNT && !on->stopped; index++) {
            lw_buffer_clear(&value);
            lw_status status = lw_snapshot_get(snapshot, key_of(index, &key), &value);
            if (status == LW_NOT_FOUND || !insist(on, status, "get")) {
                continue;
            }
            uint32_t n = 0;
            for (size_t at = 0; at < value.size && value.data[at] != 'v'; at++) {
                n = n * 10 + value.data[at] - '0';
            }
            seen->values[tree - 1][index] = n;
            if (!lw_equal(lw_buffer_view(&value), value_of(n, &expected))) {
                wrong(on, "key %u of tree %u has a value that was never written", (unsigned)index,
                      (unsigned)tree);
            }
        }
        lw_snapshot_close(snapshot);
    }
    lw_buffer_reset(&value);
}

static inline bool is_prefix(const found *seen, uint32_t n) {
    for (uint32_t tree = 1; tree <= TREE_COUNT; tree++) {
        for (uint32_t key = 0; key < KEY_COUNT; key++) {
            if (seen->values[tree - 1][key] != model_value(n, tree, key)) {
                return false;
            }
        }
    }
    return true;
}

/* The trees hold what was written. */
static inline void bench_check(bench *on) {
    found seen;
    bench_look(on, &seen);
    if (!on->stopped && !is_prefix(&seen, on->written)) {
        wrong(on, "the trees do not hold what %u writes made", (unsigned)on->written);
    }
}

/* A restart found what the first n writes made, for one n from the last durable one on; that is how
 * many there are now, and since the opening they are durable. */
static inline void bench_check_restart(bench *on) {
    found seen;
    bench_look(on, &seen);
    if (on->stopped) {
        return;
    }
    uint32_t n = on->written;
    while (n > on->durable && !is_prefix(&seen, n)) {
        n--;
    }
    if (!is_prefix(&seen, n)) {
        wrong(on, "the trees hold what no prefix of %u to %u writes made", (unsigned)on->durable,
              (unsigned)on->written);
    }
    on->written = on->durable = n;
}

/* ---- opening and closing ------------------------------------------------------------------- */

static inline lw_engine_options bench_options(void) {
    return (lw_engine_options){.store = {.directory = "data",
                                         .memory_size = 2 * 1024 * 1024,
                                         .memtables_max = 32 * 1024,
                                         .table_size = 4096},
                               .log = {.segment_size = 64 * 1024}};
}

static inline void bench_start(bench *on) {
    lw_engine_options options = bench_options();
    on->stopped = false;
    on->engine = NULL;
    if (!insist(on, lw_engine_open(on->env, &options, &on->engine), "open")) {
        return;
    }
    for (uint64_t tree = 1; tree <= TREE_COUNT && !on->stopped; tree++) {
        if (lw_engine_tree(on->engine, tree) == NULL) {
            if (on->durable > 0) {
                wrong(on, "a tree is gone");
            } else {
                (void)insist(on, lw_engine_create_tree(on->engine, tree), "create");
            }
        }
    }
}

static inline void bench_stop(bench *on) {
    if (on->engine != NULL) {
        lw_engine_close(on->engine);
        on->engine = NULL;
    }
}

/* What a restart finds: a prefix, and then it goes on from there. */
static inline void bench_verify(bench *on) {
    bench_start(on);
    if (!on->stopped) {
        bench_check_restart(on);
        bench_write(on, 10);
        if (!on->stopped) {
            bench_check(on);
        }
    }
    if (!on->stopped) {
        bench_stop(on);
    }
}

static inline void bench_open(bench *on, uint64_t seed, const lw_faults *faults, const char *bug) {
    *on = (bench){.world = lw_world_open(seed, faults)};
    if (bug != NULL) {
        lw_world_plant(on->world, bug);
    }
    on->host = lw_world_host(on->world, "node");
    on->env = lw_host_boot(on->host);
}

static inline void bench_close(bench *on) {
    lw_world_close(on->world);
}

/* Starts a process again, after a crash or a kill. */
static inline void bench_boot(bench *on) {
    if (lw_host_running(on->host)) {
        lw_host_kill(on->host);
    }
    on->engine = NULL;
    on->env = lw_host_boot(on->host);
}

#endif
