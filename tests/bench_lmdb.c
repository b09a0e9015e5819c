/* SPDX-License-Identifier: Apache-2.0 */
/* LMDB for the comparison of engines. It has no budget: its memory is the page cache. Every put,
 * deletion and get is a transaction of its own, as single calls are elsewhere; read transactions
 * are renewed rather than made. Where nothing waits for the disk it writes straight into its map
 * (WRITEMAP): several times as fast, though a wild pointer of the program may then spoil the
 * file. */
#include "tests/bench_engines.h"

#include <lmdb.h>

#include <stdlib.h>

#define MAP_SIZE ((size_t)16 << 30) /* of address space; the file grows as it is used */

typedef struct lightning {
    MDB_env *environment;
    MDB_dbi table;
    unsigned put_flags;
    bool durable;
} lightning;

typedef struct session {
    lightning *store;
    MDB_txn *reading; /* NULL before the first get or scan */
    MDB_cursor *cursor;
} session;

static void must(int code) {
    if (code != 0) {
        bench_fail("LMDB: %s", mdb_strerror(code));
    }
}

static void *lightning_open(const bench_setup *setup) {
    lightning *store = calloc(1, sizeof(*store));
    MDB_txn *transaction;
    unsigned flags = MDB_NOTLS | (setup->durable ? 0 : MDB_NOSYNC | MDB_WRITEMAP);
    flags |= setup->beyond_memory ? MDB_NORDAHEAD : 0;
    store->durable = setup->durable;
    store->put_flags = setup->in_order ? MDB_APPEND : 0;
    must(mdb_env_create(&store->environment));
    must(mdb_env_set_mapsize(store->environment, MAP_SIZE));
    must(mdb_env_set_maxreaders(store->environment, BENCH_WRITER_MAX + 2));
    must(mdb_env_open(store->environment, setup->directory, flags, 0600));
    must(mdb_txn_begin(store->environment, NULL, 0, &transaction));
    must(mdb_dbi_open(transaction, NULL, 0, &store->table));
    must(mdb_txn_commit(transaction));
    return store;
}

static void lightning_close(void *argument) {
    lightning *store = argument;
    mdb_env_close(store->environment);
    free(store);
}

static void lightning_flush(void *argument) {
    lightning *store = argument;
    must(mdb_env_sync(store->environment, 1));
}

static void *lightning_session_open(void *store) {
    session *on = calloc(1, sizeof(*on));
    on->store = store;
    return on;
}

static void lightning_session_close(void *argument) {
    session *on = argument;
    if (on->cursor != NULL) {
        mdb_cursor_close(on->cursor);
    }
    if (on->reading != NULL) {
        mdb_txn_abort(on->reading);
    }
    free(on);
}

static MDB_val val_of(lw_bytes bytes) {
    return (MDB_val){.mv_size = bytes.size, .mv_data = (void *)(uintptr_t)bytes.data};
}

static lw_bytes bytes_of(MDB_val val) {
    return (lw_bytes){.data = val.mv_data, .size = val.mv_size};
}

static void lightning_put(void *argument, lw_bytes key, lw_bytes value, bool durable) {
    lightning *store = ((session *)argument)->store;
    MDB_val put_key = val_of(key), put_value = val_of(value);
    MDB_txn *transaction;
    must(mdb_txn_begin(store->environment, NULL, 0, &transaction));
    must(mdb_put(transaction, store->table, &put_key, &put_value, store->put_flags));
    must(mdb_txn_commit(transaction));
    if (durable && !store->durable) {
        must(mdb_env_sync(store->environment, 1));
    }
}

static void lightning_remove(void *argument, lw_bytes key) {
    lightning *store = ((session *)argument)->store;
    MDB_val removed = val_of(key);
    MDB_txn *transaction;
    must(mdb_txn_begin(store->environment, NULL, 0, &transaction));
    must(mdb_del(transaction, store->table, &removed, NULL));
    must(mdb_txn_commit(transaction));
}

/* Begins to read what is there now. */
static void refresh(session *on) {
    if (on->reading == NULL) {
        must(mdb_txn_begin(on->store->environment, NULL, MDB_RDONLY, &on->reading));
        must(mdb_cursor_open(on->reading, on->store->table, &on->cursor));
    } else {
        mdb_txn_reset(on->reading);
        must(mdb_txn_renew(on->reading));
    }
}

static bool lightning_get(void *argument, lw_bytes key, lw_bytes *value) {
    session *on = argument;
    MDB_val wanted = val_of(key), found;
    refresh(on);
    int code = mdb_get(on->reading, on->store->table, &wanted, &found);
    if (code == MDB_NOTFOUND) {
        return false;
    }
    must(code);
    *value = bytes_of(found);
    return true;
}

static uint64_t lightning_scan(void *argument, lw_bytes from, uint64_t limit, uint64_t *seen) {
    session *on = argument;
    MDB_val key = val_of(from), value;
    uint64_t count = 0;
    refresh(on);
    must(mdb_cursor_renew(on->reading, on->cursor));
    int code = mdb_cursor_get(on->cursor, &key, &value, from.size == 0 ? MDB_FIRST : MDB_SET_RANGE);
    while (code == 0) {
        bench_see(seen, bytes_of(key), bytes_of(value));
        if (++count == limit) {
            break;
        }
        code = mdb_cursor_get(on->cursor, &key, &value, MDB_NEXT);
    }
    if (code != 0 && code != MDB_NOTFOUND) {
        must(code);
    }
    return count;
}

const bench_engine bench_lmdb = {
    .name = "LMDB",
    .settings = "memory is the page cache, whatever the budget (limited for cold reads); "
                "no compression; one transaction an operation; NOSYNC and WRITEMAP but for durable "
                "puts; told "
                "of order (APPEND) and of cold reads (NORDAHEAD)",
    .has_log = false,
    .run = bench_run_here,
    .run_together = bench_run_threads,
    .pause = bench_sleep,
    .open = lightning_open,
    .close = lightning_close,
    .flush = lightning_flush,
    .session_open = lightning_session_open,
    .session_close = lightning_session_close,
    .put = lightning_put,
    .remove = lightning_remove,
    .get = lightning_get,
    .scan = lightning_scan,
};
