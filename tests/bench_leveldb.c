/* SPDX-License-Identifier: Apache-2.0 */
/* LevelDB, through its C interface, for the comparison of engines. What it is given beyond its
 * defaults: the budget and a filter. It has no call to flush, and its one background thread cannot
 * be made two. */
#include "tests/bench_engines.h"

#include <leveldb/c.h>

#include <stdlib.h>

enum { FILTER_BITS = 10 };

typedef struct level {
    leveldb_t *database;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *reading;
    leveldb_writeoptions_t *writing, *durable;
} level;

typedef struct session {
    level *store;
    char *value; /* of the last get */
} session;

static void must(char *error) {
    if (error != NULL) {
        bench_fail("LevelDB: %s", error);
    }
}

static void *level_open(const bench_setup *setup) {
    level *store = calloc(1, sizeof(*store));
    char *error = NULL;
    store->options = leveldb_options_create();
    store->cache = leveldb_cache_create_lru(setup->memory_size / 2);
    store->filter = leveldb_filterpolicy_create_bloom(FILTER_BITS);
    leveldb_options_set_create_if_missing(store->options, 1);
    /* One fills while the other is flushed: half of the budget. */
    leveldb_options_set_write_buffer_size(store->options, setup->memory_size / 4);
    leveldb_options_set_cache(store->options, store->cache);
    leveldb_options_set_filter_policy(store->options, store->filter);
    store->reading = leveldb_readoptions_create();
    store->writing = leveldb_writeoptions_create();
    store->durable = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(store->durable, 1);
    store->database = leveldb_open(store->options, setup->directory, &error);
    must(error);
    return store;
}

static void level_close(void *argument) {
    level *store = argument;
    leveldb_close(store->database);
    leveldb_readoptions_destroy(store->reading);
    leveldb_writeoptions_destroy(store->writing);
    leveldb_writeoptions_destroy(store->durable);
    leveldb_options_destroy(store->options);
    leveldb_cache_destroy(store->cache);
    leveldb_filterpolicy_destroy(store->filter);
    free(store);
}

static void level_flush(void *store) {
    (void)store;
}

static void *level_session_open(void *store) {
    session *on = calloc(1, sizeof(*on));
    on->store = store;
    return on;
}

static void level_session_close(void *argument) {
    session *on = argument;
    leveldb_free(on->value);
    free(on);
}

static void level_put(void *argument, lw_bytes key, lw_bytes value, bool durable) {
    level *store = ((session *)argument)->store;
    char *error = NULL;
    leveldb_put(store->database, durable ? store->durable : store->writing, (const char *)key.data,
                key.size, (const char *)value.data, value.size, &error);
    must(error);
}

static void level_remove(void *argument, lw_bytes key) {
    level *store = ((session *)argument)->store;
    char *error = NULL;
    leveldb_delete(store->database, store->writing, (const char *)key.data, key.size, &error);
    must(error);
}

static bool level_get(void *argument, lw_bytes key, lw_bytes *value) {
    session *on = argument;
    char *error = NULL;
    leveldb_free(on->value);
    on->value = leveldb_get(on->store->database, on->store->reading, (const char *)key.data,
                            key.size, &value->size, &error);
    must(error);
    value->data = (const uint8_t *)on->value;
    return on->value != NULL;
}

static uint64_t level_scan(void *argument, lw_bytes from, uint64_t limit, uint64_t *seen) {
    level *store = ((session *)argument)->store;
    leveldb_iterator_t *iterator = leveldb_create_iterator(store->database, store->reading);
    uint64_t count = 0;
    if (from.size == 0) {
        leveldb_iter_seek_to_first(iterator);
    } else {
        leveldb_iter_seek(iterator, (const char *)from.data, from.size);
    }
    for (; count < limit && leveldb_iter_valid(iterator); count++) {
        lw_bytes key, value;
        key.data = (const uint8_t *)leveldb_iter_key(iterator, &key.size);
        value.data = (const uint8_t *)leveldb_iter_value(iterator, &value.size);
        bench_see(seen, key, value);
        leveldb_iter_next(iterator);
    }
    char *error = NULL;
    leveldb_iter_get_error(iterator, &error);
    must(error);
    leveldb_iter_destroy(iterator);
    return count;
}

const bench_engine bench_leveldb = {
    .name = "LevelDB",
    .settings = "write buffer of a quarter of the memory (two of them exist), LRU block cache of "
                "half of it; filter of 10 bits; snappy (its default); one background thread (it "
                "has no more); does not verify checksums when reading (its default)",
    .has_log = true,
    .run = bench_run_here,
    .run_together = bench_run_threads,
    .pause = bench_sleep,
    .open = level_open,
    .close = level_close,
    .flush = level_flush,
    .session_open = level_session_open,
    .session_close = level_session_close,
    .put = level_put,
    .remove = level_remove,
    .get = level_get,
    .scan = level_scan,
};
