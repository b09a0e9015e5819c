/* SPDX-License-Identifier: Apache-2.0 */
/* RocksDB, through its C interface, for the comparison of engines. What it is given beyond its
 * defaults: the budget, a filter, two background threads, and reads that do not copy the value. */
#include "tests/bench_engines.h"

#include <rocksdb/c.h>

#include <stdlib.h>

enum { FILTER_BITS = 10, BACKGROUND_THREADS = 2 };

typedef struct rocks {
    rocksdb_t *database;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table_options;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *reading;
    rocksdb_writeoptions_t *writing, *durable;
} rocks;

typedef struct session {
    rocks *store;
    rocksdb_pinnableslice_t *value; /* of the last get */
} session;

static void must(char *error) {
    if (error != NULL) {
        bench_fail("RocksDB: %s", error);
    }
}

static void *rocks_open(const bench_setup *setup) {
    rocks *store = calloc(1, sizeof(*store));
    char *error = NULL;
    store->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(store->options, 1);
    rocksdb_options_increase_parallelism(store->options, BACKGROUND_THREADS);
    /* Two of these may fill, by default: half of the budget. */
    rocksdb_options_set_write_buffer_size(store->options, setup->memory_size / 4);
    store->cache = rocksdb_cache_create_lru(setup->memory_size / 2);
    store->table_options = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(store->table_options, store->cache);
    rocksdb_block_based_options_set_filter_policy(
        store->table_options, rocksdb_filterpolicy_create_bloom_full(FILTER_BITS));
    rocksdb_options_set_block_based_table_factory(store->options, store->table_options);
    store->reading = rocksdb_readoptions_create();
    store->writing = rocksdb_writeoptions_create();
    store->durable = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(store->durable, 1);
    store->database = rocksdb_open(store->options, setup->directory, &error);
    must(error);
    return store;
}

static void rocks_close(void *argument) {
    rocks *store = argument;
    rocksdb_close(store->database);
    rocksdb_readoptions_destroy(store->reading);
    rocksdb_writeoptions_destroy(store->writing);
    rocksdb_writeoptions_destroy(store->durable);
    rocksdb_block_based_options_destroy(store->table_options);
    rocksdb_options_destroy(store->options);
    rocksdb_cache_destroy(store->cache);
    free(store);
}

static void rocks_flush(void *argument) {
    rocks *store = argument;
    char *error = NULL;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flush(store->database, options, &error);
    must(error);
    rocksdb_flushoptions_destroy(options);
}

static void *rocks_session_open(void *store) {
    session *on = calloc(1, sizeof(*on));
    on->store = store;
    return on;
}

static void forget_value(session *on) {
    if (on->value != NULL) {
        rocksdb_pinnableslice_destroy(on->value);
        on->value = NULL;
    }
}

static void rocks_session_close(void *argument) {
    session *on = argument;
    forget_value(on);
    free(on);
}

static void rocks_put(void *argument, lw_bytes key, lw_bytes value, bool durable) {
    rocks *store = ((session *)argument)->store;
    char *error = NULL;
    rocksdb_put(store->database, durable ? store->durable : store->writing, (const char *)key.data,
                key.size, (const char *)value.data, value.size, &error);
    must(error);
}

static void rocks_remove(void *argument, lw_bytes key) {
    rocks *store = ((session *)argument)->store;
    char *error = NULL;
    rocksdb_delete(store->database, store->writing, (const char *)key.data, key.size, &error);
    must(error);
}

static bool rocks_get(void *argument, lw_bytes key, lw_bytes *value) {
    session *on = argument;
    char *error = NULL;
    forget_value(on);
    on->value = rocksdb_get_pinned(on->store->database, on->store->reading, (const char *)key.data,
                                   key.size, &error);
    must(error);
    if (on->value == NULL) {
        return false;
    }
    value->data = (const uint8_t *)rocksdb_pinnableslice_value(on->value, &value->size);
    return true;
}

static uint64_t rocks_scan(void *argument, lw_bytes from, uint64_t limit, uint64_t *seen) {
    rocks *store = ((session *)argument)->store;
    rocksdb_iterator_t *iterator = rocksdb_create_iterator(store->database, store->reading);
    uint64_t count = 0;
    if (from.size == 0) {
        rocksdb_iter_seek_to_first(iterator);
    } else {
        rocksdb_iter_seek(iterator, (const char *)from.data, from.size);
    }
    for (; count < limit && rocksdb_iter_valid(iterator); count++) {
        lw_bytes key, value;
        key.data = (const uint8_t *)rocksdb_iter_key(iterator, &key.size);
        value.data = (const uint8_t *)rocksdb_iter_value(iterator, &value.size);
        bench_see(seen, key, value);
        rocksdb_iter_next(iterator);
    }
    char *error = NULL;
    rocksdb_iter_get_error(iterator, &error);
    must(error);
    rocksdb_iter_destroy(iterator);
    return count;
}

const bench_engine bench_rocksdb = {
    .name = "RocksDB",
    .settings = "2 write buffers of a quarter of the memory each, LRU block cache of half of it "
                "(indexes and filters come on top); filter of 10 bits; snappy (its default); "
                "increase_parallelism(2); get without copying; all else as by default",
    .has_log = true,
    .run = bench_run_here,
    .run_together = bench_run_threads,
    .pause = bench_sleep,
    .open = rocks_open,
    .close = rocks_close,
    .flush = rocks_flush,
    .session_open = rocks_session_open,
    .session_close = rocks_session_close,
    .put = rocks_put,
    .remove = rocks_remove,
    .get = rocks_get,
    .scan = rocks_scan,
};
