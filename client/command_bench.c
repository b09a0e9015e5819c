/* SPDX-License-Identifier: Apache-2.0 */
/* bench: the workloads of client/ycsb.h against a node, by many clients at once. Each client is one
 * of the library, in a fiber of its own, and does one operation after the other.
 *
 * Invariants
 * 1. What it stores lies under "bench/", and is gone when it ends.
 * 2. An operation is a transaction; a read that does not find its record is an error. */
#include "client/client.h"
#include "client/command.h"
#include "client/ycsb.h"

enum {
    LOAD_BATCH = 500,
    CLEAN_BATCH = 5000,
    VALUE_SIZE = 1000, /* bytes: ten fields of a hundred, as the benchmark has it */
    CLIENTS_MAX = 1024,
    SLOTS_A_DOUBLING = 16,
    SLOTS = 64 * SLOTS_A_DOUBLING,
};
#define NS_PER_MS UINT64_C(1000000)

/* How often a duration was in each range of lengths: 16 to a doubling of microseconds. */
typedef struct histogram {
    uint32_t slots[SLOTS];
    uint64_t count;
} histogram;

typedef struct bench {
    lw_command *command;
    lw_env *env;
    const lw_ycsb_workload *workload; /* NULL: records are loaded, or taken away */
    lw_ycsb_chooser chooser;
    uint64_t record_count; /* asked for */
    uint64_t next_record;  /* to be loaded or inserted */
    uint64_t until_ns;
    struct worker *workers;
    uint32_t worker_count;
    uint32_t running; /* workers at work */
    histogram reads, writes;
    uint64_t attempts, commits;
    lw_status status; /* of the first failure */
    lw_error reason;
    uint8_t value[VALUE_SIZE];
} bench;

typedef struct worker {
    bench *of;
    lw_client *client;
    lw_ycsb_operation operation;
    bool busy;                     /* with it */
    uint64_t record, first, count; /* of the operation, or of a batch */
} worker;

/* ---- durations ---------------------------------------------------------------------------------
 */

static void note(histogram *of, uint64_t duration_ns) {
    uint64_t us = duration_ns / 1000;
    uint32_t doublings = us < SLOTS_A_DOUBLING ? 0 : 60 - (uint32_t)__builtin_clzll(us);
    uint32_t slot = doublings * SLOTS_A_DOUBLING + (uint32_t)(us >> doublings);
    of->slots[slot < SLOTS ? slot : SLOTS - 1]++;
    of->count++;
}

/* In microseconds, to a sixteenth. */
static uint64_t quantile(const histogram *of, uint64_t percent) {
    uint64_t left = of->count * percent / 100;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (left < of->slots[slot]) {
            uint32_t doublings = slot < 2 * SLOTS_A_DOUBLING ? 0 : slot / SLOTS_A_DOUBLING - 1;
            return (uint64_t)(slot - doublings * SLOTS_A_DOUBLING) << doublings;
        }
        left -= of->slots[slot];
    }
    return 0;
}

/* ---- operations --------------------------------------------------------------------------------
 */

static lw_status read_record(lw_txn *txn, uint64_t record) {
    char key[LW_YCSB_KEY_SIZE + 1];
    lw_bytes value;
    lw_status status = lw_get(txn, lw_ycsb_key(record, key), &value);
    return status == LW_NOT_FOUND
               ? lw_fail(LW_INTERNAL, "the record %s, which was stored, is not found", key)
               : status;
}

static lw_status scan_records(lw_txn *txn, const worker *of, uint64_t count) {
    char key[LW_YCSB_KEY_SIZE + 1];
    lw_scan_options options = {.lower = lw_ycsb_key(of->record, key), .limit = count};
    lw_scan *scan;
    lw_bytes found, value;
    LW_TRY(lw_scan_open(txn, &options, &scan));
    lw_status status;
    do {
        status = lw_scan_next(scan, &found, &value);
    } while (status == LW_OK);
    lw_scan_close(scan);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

static lw_status operate(lw_txn *txn, void *argument) {
    const worker *of = argument;
    bench *on = of->of;
    char key[LW_YCSB_KEY_SIZE + 1];
    on->attempts++;
    switch (of->operation) {
    case LW_YCSB_READ:
        return read_record(txn, of->record);
    case LW_YCSB_SCAN:
        return scan_records(txn, of, of->count);
    case LW_YCSB_MODIFY:
        LW_TRY(read_record(txn, of->record));
        break;
    case LW_YCSB_UPDATE:
    case LW_YCSB_INSERT:
    case LW_YCSB_OPERATION_COUNT:
        break;
    }
    return lw_put(txn, lw_ycsb_key(of->record, key), lw_view(on->value, VALUE_SIZE));
}

static lw_status load_batch(lw_txn *txn, void *argument) {
    const worker *of = argument;
    char key[LW_YCSB_KEY_SIZE + 1];
    for (uint64_t index = 0; index < of->count; index++) {
        LW_TRY(
            lw_put(txn, lw_ycsb_key(of->first + index, key), lw_view(of->of->value, VALUE_SIZE)));
    }
    return LW_OK;
}

/* ---- clients -----------------------------------------------------------------------------------
 */

static void fail(bench *on, const worker *of, lw_status status) {
    if (on->status == LW_OK) {
        on->status = status;
        on->reason = (lw_error){.status = status};
        (void)snprintf(on->reason.text, sizeof(on->reason.text), "%s", lw_client_error(of->client));
    }
}

static lw_status run(worker *of, lw_txn_body body, int read_only) {
    lw_txn_options options = lw_command_txn_options(of->of->command);
    options.read_only = read_only;
    return lw_run(of->client, &options, body, of);
}

static lw_status load_some(worker *of) {
    bench *on = of->of;
    of->first = on->next_record;
    of->count = on->record_count - of->first < LOAD_BATCH ? on->record_count - of->first
                                                          : (uint64_t)LOAD_BATCH;
    on->next_record += of->count;
    return run(of, load_batch, 0);
}

/* Tells the chooser of the records below which all are stored. */
static void count_records(bench *on) {
    uint64_t stored = on->next_record;
    for (uint32_t index = 0; index < on->worker_count; index++) {
        const worker *each = &on->workers[index];
        bool inserts = each->busy && each->operation == LW_YCSB_INSERT;
        stored = inserts && each->record < stored ? each->record : stored;
    }
    lw_ycsb_chooser_grow(&on->chooser, stored);
}

static lw_status operate_once(worker *of) {
    bench *on = of->of;
    of->operation = lw_ycsb_next(on->workload, lw_env_random_below(on->env, 100));
    of->record = lw_ycsb_record(&on->chooser, on->workload, lw_env_random(on->env));
    of->count = 1 + lw_env_random_below(on->env, LW_YCSB_SCAN_MAX);
    if (of->operation == LW_YCSB_INSERT) {
        of->record = on->next_record++;
    }
    bool reads = of->operation == LW_YCSB_READ || of->operation == LW_YCSB_SCAN;
    uint64_t begun_ns = lw_env_now(on->env);
    of->busy = true;
    LW_TRY(run(of, operate, reads));
    of->busy = false;
    note(reads ? &on->reads : &on->writes, lw_env_now(on->env) - begun_ns);
    on->commits++;
    if (of->operation == LW_YCSB_INSERT) {
        count_records(on);
    }
    return LW_OK;
}

static void work(void *argument) {
    worker *of = argument;
    bench *on = of->of;
    while (on->status == LW_OK && (on->workload == NULL ? on->next_record < on->record_count
                                                        : lw_env_now(on->env) < on->until_ns)) {
        lw_status status = on->workload == NULL ? load_some(of) : operate_once(of);
        if (status != LW_OK) {
            fail(on, of, status);
        }
    }
    on->running--;
}

static void run_all(bench *on) {
    on->running = on->worker_count;
    for (uint32_t index = 0; index < on->worker_count; index++) {
        lw_env_start(on->env, "client", work, &on->workers[index]);
    }
    while (on->running > 0) {
        lw_env_turn(on->env, true);
    }
}

/* ---- a workload --------------------------------------------------------------------------------
 */

static void answer_latency(lw_json *json, const char *name, const histogram *of) {
    if (of->count > 0) {
        lw_json_object_open(json, name);
        lw_json_number(json, "count", of->count);
        lw_json_number(json, "p50_us", quantile(of, 50));
        lw_json_number(json, "p99_us", quantile(of, 99));
        lw_json_object_close(json);
    }
}

static void answer_json(const bench *on, uint64_t elapsed_ns, lw_buffer *out) {
    lw_json json = lw_json_to(out);
    char letter[2] = {on->workload->letter, 0};
    lw_json_object_open(&json, NULL);
    lw_json_text(&json, "workload", lw_text(letter));
    lw_json_number(&json, "operations", on->commits);
    lw_json_number(&json, "operations_per_second", on->commits * 1000 * NS_PER_MS / elapsed_ns);
    lw_json_number(&json, "repeated", on->attempts - on->commits);
    answer_latency(&json, "reads", &on->reads);
    answer_latency(&json, "writes", &on->writes);
    lw_json_object_close(&json);
    lw_buffer_append_u8(out, '\n');
}

static void print_latency(const char *name, const histogram *of, lw_buffer *out) {
    if (of->count > 0) {
        lw_buffer_print(out, "  %s p50 %llu us, p99 %llu us", name,
                        (unsigned long long)quantile(of, 50), (unsigned long long)quantile(of, 99));
    }
}

static void answer(const bench *on, uint64_t elapsed_ns) {
    lw_buffer out = lw_buffer_in(on->command->memory);
    if (on->command->json) {
        answer_json(on, elapsed_ns, &out);
    } else {
        lw_buffer_print(&out, "%c  %8llu operations a second", on->workload->letter,
                        (unsigned long long)(on->commits * 1000 * NS_PER_MS / elapsed_ns));
        print_latency("reads", &on->reads, &out);
        print_latency("writes", &on->writes, &out);
        lw_buffer_print(&out, "  (%s; %llu attempts repeated)\n", on->workload->text,
                        (unsigned long long)(on->attempts - on->commits));
    }
    lw_command_drain(on->command, &out, true);
    lw_buffer_reset(&out);
}

static void run_workload(bench *on) {
    uint64_t begun_ns = lw_env_now(on->env);
    on->until_ns = begun_ns + on->command->flags[LW_FLAG_DURATION].number * NS_PER_MS;
    on->reads = on->writes = (histogram){0};
    on->attempts = on->commits = 0;
    run_all(on);
    if (on->status == LW_OK) {
        answer(on, lw_env_now(on->env) - begun_ns);
    }
}

/* ---- the whole ---------------------------------------------------------------------------------
 */

static lw_status clean_batch(lw_txn *txn, void *argument) {
    worker *of = argument;
    lw_scan_options options = {
        .prefix = lw_text("bench/user"), .limit = CLEAN_BATCH, .keys_only = 1};
    lw_scan *scan;
    lw_bytes key, value;
    LW_TRY(lw_scan_open(txn, &options, &scan));
    lw_status status;
    of->count = 0;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        status = lw_delete(txn, key, NULL);
        if (status != LW_OK) {
            break;
        }
        of->count++;
    }
    lw_scan_close(scan);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* Takes all records away; how it ended before counts for more. */
static void clean(bench *on, worker *of) {
    lw_status status;
    do {
        status = run(of, clean_batch, 0);
    } while (status == LW_OK && of->count > 0);
    if (status != LW_OK) {
        fail(on, of, status);
    }
}

static lw_status open_workers(bench *on) {
    lw_client_options options = {
        .address = on->command->flags[LW_FLAG_ADDR].text,
        .label = "lathwork bench",
        .timeout_ms = (uint32_t)on->command->flags[LW_FLAG_TIMEOUT].number,
    };
    for (uint32_t index = 0; index < on->worker_count; index++) {
        on->workers[index].of = on;
        LW_TRY(lw_client_open_in(on->env, &options, &on->workers[index].client));
    }
    return LW_OK;
}

static void run_bench(bench *on, const char *letters) {
    lw_command_say(on->command, "storing %llu records of %d bytes under bench/",
                   (unsigned long long)on->record_count, VALUE_SIZE);
    run_all(on);
    if (on->status == LW_OK) {
        lw_ycsb_chooser_init(&on->chooser, on->record_count);
    }
    for (; *letters != 0 && on->status == LW_OK; letters++) {
        on->workload = lw_ycsb_find(*letters);
        run_workload(on);
    }
    clean(on, &on->workers[0]);
}

/* The letters of all operands, A to F; false if there is another. */
static bool read_letters(const lw_command *command, char letters[64]) {
    size_t used = 0;
    for (int index = 0; index < command->operand_count; index++) {
        for (const char *each = command->operands[index]; *each != 0; each++) {
            char letter = *each >= 'a' && *each <= 'f' ? (char)(*each - 'a' + 'A') : *each;
            if (lw_ycsb_find(letter) == NULL || used + 1 >= 64) {
                return false;
            }
            letters[used++] = letter;
        }
    }
    letters[used] = 0;
    return true;
}

lw_exit lw_command_bench(lw_command *command) {
    char letters[64] = "ABCDEF";
    uint64_t count = command->flags[LW_FLAG_CLIENTS].number;
    uint64_t record_count = command->flags[LW_FLAG_RECORDS].number;
    if (command->flags[LW_FLAG_WORKLOAD].text != NULL) {
        return lw_command_history(command);
    }
    if ((command->operand_count > 0 && !read_letters(command, letters)) || count > CLIENTS_MAX ||
        record_count < 2) {
        return lw_command_fail(command, LW_INVALID_ARGUMENT,
                               "workloads are the letters A to F; at most 1024 clients, at least 2 "
                               "records",
                               "lathwork help bench", "nothing was run");
    }
    lw_client *reached;
    lw_exit code = lw_command_connect(command, &reached);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    lw_close(reached);
    bench *on = lw_allocate_zero(command->memory, sizeof(*on));
    *on = (bench){.command = command, .record_count = record_count};
    memset(on->value, 'v', VALUE_SIZE);
    on->worker_count = (uint32_t)count;
    on->workers = lw_allocate_zero(command->memory, count * sizeof(*on->workers));
    lw_status status = lw_env_posix_open(&on->env);
    if (status == LW_OK) {
        status = open_workers(on);
    }
    if (status == LW_OK) {
        run_bench(on, letters);
    }
    for (uint64_t index = 0; index < count; index++) {
        lw_close(on->workers[index].client);
    }
    if (on->env != NULL) {
        lw_env_close(on->env);
    }
    if (status == LW_OK && on->status == LW_OK) {
        return lw_command_finish(command, LW_EXIT_DONE);
    }
    return lw_command_fail(command, status != LW_OK ? status : on->status,
                           status != LW_OK ? lw_error_slot()->text : on->reason.text, NULL,
                           "the workload ended early");
}
