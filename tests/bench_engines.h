/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison of storage engines: what an engine has to offer to be measured, and what the parts
 * of the driver give each other.
 *
 *   bench_engines.c    rounds, child processes, arguments
 *   bench_works.c      the works themselves; everything in it runs in a child
 *   bench_table.c      figures, aims, the table, JSON
 *   bench_machine.c    clocks, threads, folders, the page cache, limits of memory
 *   bench_NAME.c       one engine each: lathwork, rocksdb, leveldb, lmdb
 *
 * Invariants
 * 1. Each engine does each group of works in a child process of its own, so that its memory, its
 *    threads and its I/O are its own, and its death is only its own.
 * 2. Keys, values and their order come from the driver, and are the same for all in a round.
 * 3. What an engine answers is checked: a wrong value or a missing key ends its child. */
#ifndef LW_TESTS_BENCH_ENGINES_H
#define LW_TESTS_BENCH_ENGINES_H

#include "base/types.h"

#include <stdbool.h>

enum {
    BENCH_KEY_SIZE = 16,
    BENCH_VALUE_SIZE = 100,
    BENCH_ENGINE_COUNT = 4,
    BENCH_READER_COUNT = 16,
    BENCH_WRITER_MAX = 64,
};

/* ---- an engine ------------------------------------------------------------------------------ */

typedef struct bench_setup {
    const char *directory; /* exists; empty if a new store is to be made */
    uint64_t memory_size;  /* bytes: half for blocks, half for what is not yet in tables */
    bool in_order;         /* puts will come in ascending order: for engines that can be told */
    bool durable;          /* puts will wait for the disk: for engines that want to know early */
    bool beyond_memory;    /* the data are larger than the memory, and read at random */
} bench_setup;

typedef void bench_body(void *argument);

typedef struct bench_engine {
    const char *name;
    const char *settings; /* printed at the head of the table */
    bool has_log;         /* that has to be replayed after a crash */

    /* Runs body(argument) where the calls below may be made; everything but `run` is called there.
     */
    void (*run)(bench_body *body, void *argument);
    /* Runs the body once for each argument, all at once, and waits for them. */
    void (*run_together)(bench_body *body, void *const *arguments, uint32_t count);
    void (*pause)(uint32_t duration_ms);

    void *(*open)(const bench_setup *setup);
    void (*close)(void *store);
    /* Gives what is in memory to the disk, if there is a call for that. */
    void (*flush)(void *store);

    /* What one reader or writer holds: handles and buffers. */
    void *(*session_open)(void *store);
    void (*session_close)(void *session);
    void (*put)(void *session, lw_bytes key, lw_bytes value, bool durable);
    void (*remove)(void *session, lw_bytes key);
    /* False if the key is not there. The value lives until the next call on the session. */
    bool (*get)(void *session, lw_bytes key, lw_bytes *value);
    /* Looks at up to `limit` keys and values from the first key at or after `from` on, as
     * bench_see() does; returns how many there were. */
    uint64_t (*scan)(void *session, lw_bytes from, uint64_t limit, uint64_t *seen);

    /* The processor's time that the engine's own fibers took at most while a writer let them run
     * once, and in one turn of the loop while nobody called. NULL for engines with threads. */
    void (*longest_turns)(void *store, double *fibers_ms, double *loop_ms);
} bench_engine;

extern const bench_engine bench_lathwork, bench_rocksdb, bench_leveldb, bench_lmdb;

/* What a scan does with each pair, so that no engine gets away with not making one. */
static inline void bench_see(uint64_t *seen, lw_bytes key, lw_bytes value) {
    *seen += key.data[key.size - 1] + (uint64_t)value.data[value.size - 1];
}

/* ---- figures (bench_table.c) ---------------------------------------------------------------- */

/* X(name, work, unit, judged by how many times RocksDB, LevelDB, LMDB, or by a limit). For rates
 * the figure has to be at least so many times the other, for anything else it has to stay below. A
 * factor of 0 asks nothing. */
#define BENCH_FIGURES(X)                                                                 \
    X(FILL_ORDER, "fill in order", "k/s", 2.0, 1.3, 1.3, 0)                              \
    X(FILL_RANDOM, "fill random", "k/s", 2.0, 1.3, 1.3, 0)                               \
    X(FILL_SETTLED, "  until it has settled", "k/s", 0, 0, 0, 0)                         \
    X(OVERWRITE, "overwrite", "k/s", 2.0, 1.3, 1.3, 0)                                   \
    X(DELETE, "delete", "k/s", 2.0, 1.3, 1.3, 0)                                         \
    X(DURABLE_1, "durable put, 1 writer", "k/s", 1.3, 1.3, 1.3, 0)                       \
    X(DURABLE_16, "durable put, 16 writers", "k/s", 2.0, 2.0, 2.0, 0)                    \
    X(DURABLE_64, "durable put, 64 writers", "k/s", 2.0, 2.0, 2.0, 0)                    \
    X(READ_HOT, "random read, hot", "k/s", 2.0, 0, 1.0, 0)                               \
    X(READ_MISSING, "missing keys, hot", "k/s", 0, 1.0, 0, 0)                            \
    X(READ_COLD_1, "random read, cold, 1 reader", "k/s", 0, 0, 1.0, 0)                   \
    X(READ_COLD_16, "random read, cold, 16 readers", "k/s", 0, 0, 1.0, 0)                \
    X(SCAN_SHORT, "seek and 100, hot", "k/s", 0, 1.0, 1.0, 0)                            \
    X(SCAN_FULL, "full scan, hot", "k/s", 0, 1.0, 1.0, 0)                                \
    X(WRITE_AMPLIFICATION, "bytes to the disk per byte, fill random", "x", 1.0, 0, 0, 0) \
    X(BYTES_HANDED, "bytes to the system per byte, same", "x", 1.0, 0, 0, 0)             \
    X(DISK_SIZE, "disk, fill random settled", "MB", 1.0, 0, 0, 0)                        \
    X(MEMORY_FILL, "peak memory, fill random", "MB", 0.5, 0, 0, 0)                       \
    X(MEMORY_HOT, "peak memory, hot reads", "MB", 0.5, 0, 0, 0)                          \
    X(MEMORY_OVERWRITE, "peak memory, overwrite", "MB", 0.5, 0, 0, 0)                    \
    X(OPEN_CRASHED, "open after a crash, a GB of log", "s", 0, 0, 0, 4.0)                \
    X(OPEN_FLUSHED, "open, a GB of flushed data", "s", 0, 0, 0, 0.5)                     \
    X(TURN_FIBERS, "longest turn of the engine's fibers", "ms", 0, 0, 0, 1.0)            \
    X(TURN_LOOP, "longest turn of the loop by them", "ms", 0, 0, 0, 1.0)

typedef enum bench_figure {
#define BENCH_FIGURE_ENUM(name, ...) BENCH_##name,
    BENCH_FIGURES(BENCH_FIGURE_ENUM)
#undef BENCH_FIGURE_ENUM
        BENCH_FIGURE_COUNT
} bench_figure;

enum { BENCH_ROUND_MAX = 9 };

/* By figure, engine and round; `count` of them are known. */
typedef struct bench_samples {
    double values[BENCH_ROUND_MAX];
    uint32_t count;
} bench_samples;

typedef struct bench_results {
    const bench_engine *const *engines; /* BENCH_ENGINE_COUNT of them, ours first */
    uint64_t record_count, memory_size, hot_memory_size;
    uint32_t rounds, share; /* percent of the memory that our engine gets */
    const char *cold;       /* how the cold reads were made cold */
    bench_samples samples[BENCH_FIGURE_COUNT][BENCH_ENGINE_COUNT];
    bench_samples processor[BENCH_FIGURE_COUNT][BENCH_ENGINE_COUNT]; /* us an operation */
} bench_results;

void bench_print_head(const bench_results *results);
void bench_print_table(const bench_results *results);
/* False if the file cannot be written. */
bool bench_write_json(const bench_results *results, const char *path);

/* ---- works (bench_works.c) ------------------------------------------------------------------ */

/* X(name, needs the filled store, leaves one behind, by crashing). A group is what one child does.
 */
typedef struct bench_task {
    const bench_engine *engine;
    const char *directory;
    uint64_t record_count, memory_size, hot_memory_size;
    double seconds;    /* of works that are measured by time */
    uint64_t chance;   /* seed of the round */
    int figures;       /* a pipe: the figures leave as bench_reported */
    uint64_t log_size; /* bytes of the log that a crash left */
} bench_task;

typedef struct bench_reported {
    uint32_t figure;
    double value;
    double processor_us; /* an operation, of all threads of the process; 0: not measured */
} bench_reported;

void bench_work_fill_order(bench_task *task);
void bench_work_fill_random(bench_task *task);
void bench_work_hot(bench_task *task);
void bench_work_cold_1(bench_task *task);
void bench_work_cold_16(bench_task *task);
void bench_work_durable(bench_task *task);
void bench_work_overwrite(bench_task *task);
void bench_work_crash(bench_task *task); /* does not return */
void bench_work_open_crashed(bench_task *task);

/* ---- the machine (bench_machine.c) ---------------------------------------------------------- */

/* Says why on stderr and ends the child. */
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
uint64_t bench_now_ns(void);
uint64_t bench_processor_ns(void);  /* of this thread */
double bench_process_seconds(void); /* of processor, of all threads */

/* bench_engine.run, run_together and pause of engines that are called from threads. */
void bench_run_here(bench_body *body, void *argument);
void bench_run_threads(bench_body *body, void *const *arguments, uint32_t count);
void bench_sleep(uint32_t duration_ms);

/* Bytes that the process has sent towards the disk: what it dirtied in the page cache or wrote past
 * it, without what was removed before it got there (/proc/self/io). */
uint64_t bench_written_bytes(void);
/* Bytes it handed to the system to be written, whether or not they got to the disk. */
uint64_t bench_handed_bytes(void);
double bench_peak_mb(void);                        /* of resident memory, VmHWM */
uint64_t bench_folder_size(const char *directory); /* bytes of disk */
/* The same without what is only held ready behind the ends of files. */
uint64_t bench_folder_content(const char *directory);
void bench_folder_remove(const char *directory);
void bench_folder_make(const char *directory);
/* Waits until the file system has written what it has. */
void bench_folder_sync(const char *directory);
/* Takes the files of a folder out of the page cache; returns how many bytes stayed. */
uint64_t bench_folder_drop(const char *directory);

/* Limits this process and its children to `size` bytes, page cache included, in a group named after
 * `parent`; false if the system does not allow that. */
bool bench_limit_memory(uint64_t size, int parent);
/* Removes that group, once nobody is in it any more. */
void bench_unlimit_memory(int parent);

#endif
