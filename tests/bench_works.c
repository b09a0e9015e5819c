/* SPDX-License-Identifier: Apache-2.0 */
/* The works that engines are compared by. Everything here runs in a child process that serves one
 * engine and one group of works; figures leave through the pipe of the task.
 *
 * Keys are 16 decimal digits, ascending in their number; the even numbers below twice the record
 * count are there, the odd ones are not. Values are 50 bytes of noise, twice: a compressor can save
 * half. The first 8 bytes of a value follow from its key, the others from the round too.
 *
 * Random order of writes is a permutation, so that every key is written exactly once a pass. */
#include "tests/bench_engines.h"

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CLOCK_STRIDE = 64, /* reads between two looks at the clock */
    WARM_STRIDE = 8,   /* every so many records are read to warm a cache: fewer than a block has */
    SCAN_COUNT = 100,  /* of a short scan */
    SETTLE_STEP_MS = 50,
    SETTLE_STEPS = 20, /* that nothing happens in, until all is taken for settled */
    SETTLE_MAX_MS = 120000,
};

/* ---- keys and values --------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t value) {
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

static uint64_t chance(uint64_t *state) {
    return mix(*state += UINT64_C(0x9e3779b97f4a7c15));
}

static uint64_t chance_below(uint64_t *state, uint64_t bound) {
    return chance(state) % bound;
}

static lw_bytes key_of(uint64_t number, uint8_t *to) {
    for (uint32_t at = BENCH_KEY_SIZE; at-- > 0; number /= 10) {
        to[at] = (uint8_t)('0' + number % 10);
    }
    return lw_view(to, BENCH_KEY_SIZE);
}

static lw_bytes value_of(uint64_t record, uint64_t round, uint8_t *to) {
    uint64_t noise[7] = {mix(record)};
    for (uint32_t at = 1; at < 7; at++) {
        noise[at] = mix(record * 7 + at + (round << 40));
    }
    memcpy(to, noise, BENCH_VALUE_SIZE / 2);
    memcpy(to + BENCH_VALUE_SIZE / 2, noise, BENCH_VALUE_SIZE / 2);
    return lw_view(to, BENCH_VALUE_SIZE);
}

static void check_value(uint64_t record, lw_bytes value) {
    if (value.size != BENCH_VALUE_SIZE || lw_get_u64(value.data) != mix(record)) {
        bench_fail("record %llu has a value that was never put", (unsigned long long)record);
    }
}

/* A permutation of 0..count-1: a Feistel network over the next even number of bits, walked until it
 * lands below. */
typedef struct order {
    uint64_t count, seed;
    uint32_t half_bits;
} order;

static order order_of(uint64_t count, uint64_t seed) {
    order made = {.count = count, .seed = seed, .half_bits = 1};
    while (UINT64_C(1) << (2 * made.half_bits) < count) {
        made.half_bits++;
    }
    return made;
}

static uint64_t order_at(const order *of, uint64_t place) {
    uint64_t mask = (UINT64_C(1) << of->half_bits) - 1;
    do {
        uint64_t left = place >> of->half_bits, right = place & mask;
        for (uint32_t round = 0; round < 4; round++) {
            uint64_t scrambled = (right + of->seed + round) * UINT64_C(0x9e3779b97f4a7c15);
            uint64_t next = left ^ ((scrambled >> 32) & mask);
            left = right;
            right = next;
        }
        place = (left << of->half_bits) | right;
    } while (place >= of->count);
    return place;
}

/* ---- reporting --------------------------------------------------------------------------------
 */

static void send_figure(const bench_task *task, bench_reported reported) {
    if (write(task->figures, &reported, sizeof(reported)) != sizeof(reported)) {
        bench_fail("nobody listens to the figures");
    }
}

static void report(const bench_task *task, bench_figure figure, double value) {
    send_figure(task, (bench_reported){.figure = figure, .value = value});
}

static double seconds_since(uint64_t from_ns) {
    return (double)(bench_now_ns() - from_ns) / 1e9;
}

/* When a work began, by the clock and by the processor. */
typedef struct start {
    uint64_t clock_ns;
    double processor_seconds;
} start;

static start start_now(void) {
    return (start){.clock_ns = bench_now_ns(), .processor_seconds = bench_process_seconds()};
}

/* Thousands a second. */
static void report_rate(const bench_task *task, bench_figure figure, uint64_t count,
                        const start *from) {
    double operations = (double)count, processor = bench_process_seconds();
    send_figure(task, (bench_reported){
                          .figure = figure,
                          .value = operations / seconds_since(from->clock_ns) / 1e3,
                          .processor_us = (processor - from->processor_seconds) / operations * 1e6,
                      });
}

static void report_turns(const bench_task *task, void *store) {
    double fibers_ms, loop_ms;
    if (task->engine->longest_turns != NULL) {
        task->engine->longest_turns(store, &fibers_ms, &loop_ms);
        report(task, BENCH_TURN_FIBERS, fibers_ms);
        report(task, BENCH_TURN_LOOP, loop_ms);
    }
}

static void *open_store(const bench_task *task, const bench_setup *wanted) {
    bench_setup setup = *wanted;
    setup.directory = task->directory;
    setup.memory_size = setup.memory_size == 0 ? task->memory_size : setup.memory_size;
    return task->engine->open(&setup);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

typedef enum passage { IN_ORDER, AT_RANDOM } passage;

/* Puts every record from 0 to `count`, in one of the two orders. */
static void put_records(const bench_task *task, void *store, uint64_t count, passage in,
                        uint64_t round) {
    uint8_t key[BENCH_KEY_SIZE], value[BENCH_VALUE_SIZE];
    order random = order_of(task->record_count, task->chance + round);
    void *session = task->engine->session_open(store);
    for (uint64_t place = 0; place < count; place++) {
        uint64_t record = in == IN_ORDER ? place : order_at(&random, place);
        task->engine->put(session, key_of(record * 2, key), value_of(record, round, value), false);
    }
    task->engine->session_close(session);
}

/* Waits until the engine has done what it has to do behind its user's back: neither processor nor
 * writes for a second. Returns when that was. */
static uint64_t settle(const bench_task *task, void *store) {
    task->engine->flush(store);
    uint64_t settled_ns = bench_now_ns(), from_ns = settled_ns, written = bench_handed_bytes();
    double worked = bench_process_seconds();
    for (uint32_t still = 0; still < SETTLE_STEPS;) {
        task->engine->pause(SETTLE_STEP_MS);
        double worked_now = bench_process_seconds();
        uint64_t written_now = bench_handed_bytes();
        still++;
        if (written_now != written || worked_now - worked > SETTLE_STEP_MS * 0.1e-3) {
            settled_ns = bench_now_ns();
            still = 0;
        }
        worked = worked_now;
        written = written_now;
        if (settled_ns - from_ns > SETTLE_MAX_MS * UINT64_C(1000000)) {
            fprintf(stderr, "bench_engines: %s does not settle\n", task->engine->name);
            break;
        }
    }
    return settled_ns;
}

void bench_work_fill_order(bench_task *task) {
    void *store = open_store(task, &(bench_setup){.in_order = true});
    start from = start_now();
    put_records(task, store, task->record_count, IN_ORDER, 0);
    report_rate(task, BENCH_FILL_ORDER, task->record_count, &from);
    task->engine->close(store);
}

void bench_work_fill_random(bench_task *task) {
    void *store = open_store(task, &(bench_setup){.memory_size = 0});
    uint64_t count = task->record_count;
    start from = start_now();
    put_records(task, store, count, AT_RANDOM, 0);
    report_rate(task, BENCH_FILL_RANDOM, count, &from);
    uint64_t settled_ns = settle(task, store);
    report(task, BENCH_FILL_SETTLED, (double)count / (double)(settled_ns - from.clock_ns) * 1e6);
    report_turns(task, store);
    task->engine->close(store);
    bench_folder_sync(task->directory);
    double size = (double)(count * (BENCH_KEY_SIZE + BENCH_VALUE_SIZE));
    report(task, BENCH_WRITE_AMPLIFICATION, (double)bench_written_bytes() / size);
    report(task, BENCH_BYTES_HANDED, (double)bench_handed_bytes() / size);
    report(task, BENCH_DISK_SIZE, (double)bench_folder_size(task->directory) / 1e6);
    report(task, BENCH_MEMORY_FILL, bench_peak_mb());
}

void bench_work_overwrite(bench_task *task) {
    uint8_t key[BENCH_KEY_SIZE];
    void *store = open_store(task, &(bench_setup){.memory_size = 0});
    uint64_t count = task->record_count / 2;
    start from = start_now();
    put_records(task, store, count, AT_RANDOM, 1);
    report_rate(task, BENCH_OVERWRITE, count, &from);
    settle(task, store);
    order random = order_of(task->record_count, task->chance + 2);
    void *session = task->engine->session_open(store);
    from = start_now();
    for (uint64_t place = 0; place < count; place++) {
        task->engine->remove(session, key_of(order_at(&random, place) * 2, key));
    }
    report_rate(task, BENCH_DELETE, count, &from);
    task->engine->session_close(session);
    settle(task, store);
    report_turns(task, store);
    task->engine->close(store);
    report(task, BENCH_MEMORY_OVERWRITE, bench_peak_mb());
}

/* ---- several at once --------------------------------------------------------------------------
 */

typedef struct worker {
    const bench_task *task;
    void *store;
    uint64_t chance, until_ns, count;
    uint8_t alone[64]; /* so that two workers never share a line of the processor's cache */
} worker;

/* Runs `count` workers for the task's time. */
static void run_workers(const bench_task *task, void *store, bench_figure figure, bench_body *body,
                        uint32_t count) {
    static worker workers[BENCH_WRITER_MAX];
    void *arguments[BENCH_WRITER_MAX];
    uint64_t total = 0;
    start from = start_now();
    for (uint32_t index = 0; index < count; index++) {
        workers[index] = (worker){.task = task,
                                  .store = store,
                                  .chance = mix(task->chance) + index,
                                  .until_ns = from.clock_ns + (uint64_t)(task->seconds * 1e9)};
        arguments[index] = &workers[index];
    }
    if (count == 1) {
        body(arguments[0]);
    } else {
        task->engine->run_together(body, arguments, count);
    }
    for (uint32_t index = 0; index < count; index++) {
        total += workers[index].count;
    }
    report_rate(task, figure, total, &from);
}

static void durable_writer(void *argument) {
    worker *on = argument;
    const bench_engine *engine = on->task->engine;
    uint8_t key[BENCH_KEY_SIZE], value[BENCH_VALUE_SIZE];
    void *session = engine->session_open(on->store);
    while (bench_now_ns() < on->until_ns) {
        uint64_t record = chance_below(&on->chance, on->task->record_count);
        engine->put(session, key_of(record * 2, key), value_of(record, 3, value), true);
        on->count++;
    }
    engine->session_close(session);
}

void bench_work_durable(bench_task *task) {
    void *store = open_store(task, &(bench_setup){.durable = true});
    run_workers(task, store, BENCH_DURABLE_1, durable_writer, 1);
    run_workers(task, store, BENCH_DURABLE_16, durable_writer, BENCH_READER_COUNT);
    run_workers(task, store, BENCH_DURABLE_64, durable_writer, BENCH_WRITER_MAX);
    task->engine->close(store);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static void read_record(const bench_task *task, void *session, uint64_t record) {
    uint8_t key[BENCH_KEY_SIZE];
    lw_bytes value;
    if (!task->engine->get(session, key_of(record * 2, key), &value)) {
        bench_fail("record %llu is gone", (unsigned long long)record);
    }
    check_value(record, value);
}

static void reader(void *argument) {
    worker *on = argument;
    void *session = on->task->engine->session_open(on->store);
    while (bench_now_ns() < on->until_ns) {
        for (uint32_t count = 0; count < CLOCK_STRIDE; count++) {
            read_record(on->task, session, chance_below(&on->chance, on->task->record_count));
        }
        on->count += CLOCK_STRIDE;
    }
    on->task->engine->session_close(session);
}

/* A reader of a cold store looks at the clock each time: a read may take long. */
static void cold_reader(void *argument) {
    worker *on = argument;
    void *session = on->task->engine->session_open(on->store);
    while (bench_now_ns() < on->until_ns) {
        read_record(on->task, session, chance_below(&on->chance, on->task->record_count));
        on->count++;
    }
    on->task->engine->session_close(session);
}

static void misser(void *argument) {
    worker *on = argument;
    const bench_engine *engine = on->task->engine;
    uint8_t key[BENCH_KEY_SIZE];
    lw_bytes value;
    void *session = engine->session_open(on->store);
    while (bench_now_ns() < on->until_ns) {
        for (uint32_t count = 0; count < CLOCK_STRIDE; count++) {
            uint64_t record = chance_below(&on->chance, on->task->record_count);
            if (engine->get(session, key_of(record * 2 + 1, key), &value)) {
                bench_fail("a key is there that nobody put");
            }
        }
        on->count += CLOCK_STRIDE;
    }
    engine->session_close(session);
}

static void short_scanner(void *argument) {
    worker *on = argument;
    const bench_engine *engine = on->task->engine;
    uint8_t key[BENCH_KEY_SIZE];
    uint64_t seen = 0, records = on->task->record_count;
    void *session = engine->session_open(on->store);
    while (bench_now_ns() < on->until_ns) {
        uint64_t record = chance_below(&on->chance, records);
        uint64_t expected = records - record < SCAN_COUNT ? records - record : SCAN_COUNT;
        if (engine->scan(session, key_of(record * 2, key), SCAN_COUNT, &seen) != expected) {
            bench_fail("a short scan has lost records");
        }
        on->count++;
    }
    engine->session_close(session);
}

static void full_scan(const bench_task *task, void *session) {
    uint64_t seen = 0;
    start from = start_now();
    uint64_t count = task->engine->scan(session, lw_view(NULL, 0), UINT64_MAX, &seen);
    if (count != task->record_count || seen == 0) {
        bench_fail("a full scan found %llu records", (unsigned long long)count);
    }
    report_rate(task, BENCH_SCAN_FULL, count, &from);
}

void bench_work_hot(bench_task *task) {
    uint64_t size = task->record_count * (BENCH_KEY_SIZE + BENCH_VALUE_SIZE);
    uint64_t from_ns = bench_now_ns();
    void *store = open_store(task, &(bench_setup){.memory_size = task->hot_memory_size});
    void *session = task->engine->session_open(store);
    read_record(task, session, task->record_count / 2);
    report(task, BENCH_OPEN_FLUSHED, seconds_since(from_ns) * 1e9 / (double)size);
    for (uint64_t record = 0; record < task->record_count; record += WARM_STRIDE) {
        read_record(task, session, record);
    }
    run_workers(task, store, BENCH_READ_HOT, reader, 1);
    run_workers(task, store, BENCH_READ_MISSING, misser, 1);
    run_workers(task, store, BENCH_SCAN_SHORT, short_scanner, 1);
    full_scan(task, session);
    task->engine->session_close(session);
    task->engine->close(store);
    report(task, BENCH_MEMORY_HOT, bench_peak_mb());
}

/* The process has been limited to the task's memory; the engine gets half of it, so that there is
 * as much for the page cache. */
static void read_cold(bench_task *task, bench_figure figure, uint32_t readers) {
    bench_setup setup = {.memory_size = task->memory_size / 2, .beyond_memory = true};
    void *store = open_store(task, &setup);
    run_workers(task, store, figure, cold_reader, readers);
    task->engine->close(store);
}

void bench_work_cold_1(bench_task *task) {
    read_cold(task, BENCH_READ_COLD_1, 1);
}

void bench_work_cold_16(bench_task *task) {
    read_cold(task, BENCH_READ_COLD_16, BENCH_READER_COUNT);
}

/* ---- crashing ---------------------------------------------------------------------------------
 */

/* Memory enough that nothing is flushed before the end; the last put waits for the disk, so that
 * all of the log is there. */
void bench_work_crash(bench_task *task) {
    uint8_t key[BENCH_KEY_SIZE], value[BENCH_VALUE_SIZE];
    uint64_t ample = task->record_count * 1024;
    void *store = open_store(task, &(bench_setup){.memory_size = ample});
    put_records(task, store, task->record_count, AT_RANDOM, 0);
    void *session = task->engine->session_open(store);
    task->engine->put(session, key_of(0, key), value_of(0, 4, value), true);
    _exit(0);
}

void bench_work_open_crashed(bench_task *task) {
    uint64_t ample = task->record_count * 1024;
    start from = start_now();
    void *store = open_store(task, &(bench_setup){.memory_size = ample});
    void *session = task->engine->session_open(store);
    read_record(task, session, task->record_count / 2);
    double records = (double)task->record_count, processor = bench_process_seconds();
    send_figure(task, (bench_reported){
                          .figure = BENCH_OPEN_CRASHED,
                          .value = seconds_since(from.clock_ns) * 1e9 / (double)task->log_size,
                          .processor_us = (processor - from.processor_seconds) / records * 1e6,
                      });
    for (uint64_t record = 0; record < task->record_count; record += WARM_STRIDE) {
        read_record(task, session, record);
    }
    task->engine->session_close(session);
    task->engine->close(store);
}
