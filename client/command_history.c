/* SPDX-License-Identifier: Apache-2.0 */
/* bench --workload: clients that do what can be judged afterwards, and write down what they were
 * told (docs/SIMULATION.md has the formats, `lathwork sim --check FILE` judges).
 *
 *   append     transactions of 1 to 4 reads and appends, sometimes 20, over lists that are hot for
 * a while bank       transfers between accounts by what was read, and reads of all accounts
 *   register   single reads, writes, deletes and compare-and-sets
 *
 * Invariants
 * 1. What it stores lies under "bench/", and is gone when it ends; but if that cannot be reached.
 * 2. Nothing is told as failed, or as done, that the library did not tell so. Who does not know
 *    how an operation ended is another process from then on.
 * 3. When the time is over everything is read once more, for as long as a minute. */
#include "client/client.h"
#include "client/command.h"

#include <errno.h>
#include <inttypes.h>

enum {
    CLIENTS_MAX = 1024,
    LISTS_HOT = 24,
    LIST_LIFE = 20, /* transactions, until a new list takes the place of an old one */
    LIST_SIZE_MAX = 4096,
    OPERATIONS_MAX = 20,
    LISTS_AT_ONCE = 32, /* that a final transaction reads */
    ACCOUNTS = 16,
    BALANCE = 100,
    REGISTERS = 12,
    ASKS_MAX = 3, /* after the outcome of a commit */
    KEY_SIZE = 32,
    PAUSE_MS = 20,
    FINAL_MS = 60 * 1000,
};
#define NS_PER_MS UINT64_C(1000000)

typedef enum outcome { OUTCOME_OK, OUTCOME_FAIL, OUTCOME_INFO } outcome;

struct recorder;

typedef struct recording {
    lw_command *command;
    lw_env *env;
    FILE *file;
    void (*once)(struct recorder *of);
    uint64_t until_ns;
    uint32_t next_process, running;
    uint64_t next_txn, next_element;
    uint64_t counts[3];
    bool unwritten; /* the file could not be written */
} recording;

/* A client. */
typedef struct recorder {
    recording *of;
    lw_client *client;
    uint32_t process;
    lw_txn *txn;
    uint64_t number, invoke_ns;
    bool final;
    lw_buffer operations; /* of the transaction, as text */
} recorder;

static uint64_t below(const recorder *of, uint64_t bound) {
    return lw_env_random_below(of->of->env, bound);
}

static uint64_t now_ns(const recorder *of) {
    return lw_env_now(of->of->env);
}

/* ---- lines ------------------------------------------------------------------------------------
 */

static const char *const outcome_names[] = {"ok", "fail", "info"};

/* Ends a line that `head` began. */
static void write_line(recorder *of, outcome how, lw_buffer *head) {
    recording *on = of->of;
    lw_buffer_print(head, ",\"process\":%u,\"invoke_ns\":%" PRIu64, of->process, of->invoke_ns);
    if (how == OUTCOME_INFO) {
        lw_buffer_print(head, ",\"complete_ns\":null");
        of->process = on->next_process++; /* 2 */
    } else {
        lw_buffer_print(head, ",\"complete_ns\":%" PRIu64, now_ns(of));
    }
    lw_buffer_print(head, ",\"status\":\"%s\"}\n", outcome_names[how]);
    on->unwritten = fwrite(head->data, 1, head->size, on->file) != head->size || on->unwritten;
    lw_buffer_reset(head);
    on->counts[how]++;
}

static outcome outcome_of(lw_status status) {
    return status == LW_OK ? OUTCOME_OK : status == LW_UNDETERMINED ? OUTCOME_INFO : OUTCOME_FAIL;
}

/* ---- transactions -----------------------------------------------------------------------------
 */

static lw_status begin(recorder *of, bool read_only) {
    lw_txn_options options = lw_command_txn_options(of->of->command);
    options.read_only = read_only;
    options.locking = below(of, 3) == 0 && !read_only ? LW_PESSIMISTIC : LW_OPTIMISTIC;
    of->number = of->of->next_txn++;
    of->invoke_ns = now_ns(of);
    lw_buffer_clear(&of->operations);
    return lw_begin(of->client, &options, &of->txn);
}

/* Commits if all went well, and says how it ended; asks if nobody does. */
static outcome finish(recorder *of, lw_status status) {
    if (status == LW_OK) {
        status = lw_commit(of->txn);
        for (uint32_t ask = 0; status == LW_UNDETERMINED && ask < ASKS_MAX; ask++) {
            uint64_t when;
            lw_status told = lw_txn_outcome(of->client, lw_txn_token(of->txn), &when);
            status = told == LW_OK ? LW_OK : told == LW_NOT_FOUND ? LW_CONFLICT : LW_UNDETERMINED;
        }
    } else {
        status = status == LW_UNDETERMINED ? LW_UNDETERMINED : LW_CONFLICT;
    }
    return outcome_of(status);
}

/* ---- lists ------------------------------------------------------------------------------------
 */

static lw_bytes list_key(uint64_t list, char key[KEY_SIZE]) {
    (void)snprintf(key, KEY_SIZE, "bench/list/%08" PRIu64, list);
    return lw_text(key);
}

static lw_status read_list(recorder *of, const char *key, lw_bytes *elements) {
    *elements = (lw_bytes){0};
    lw_status status = lw_get(of->txn, lw_text(key), elements);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    lw_buffer *text = &of->operations;
    lw_buffer_print(text, "%s[\"r\",\"%s\",[", text->size > 0 ? "," : "", key);
    for (size_t at = 0; at + 8 <= elements->size; at += 8) {
        lw_buffer_print(text, "%s%" PRIu64, at > 0 ? "," : "", lw_get_u64(elements->data + at));
    }
    lw_buffer_print(text, "]]");
    return LW_OK;
}

/* With a look or without; at snapshot isolation one without is in conflict with nothing, so that
 * nothing is promised of it. */
static lw_status append_to_list(recorder *of, const char *key) {
    uint8_t element[8];
    uint64_t number = of->of->next_element++;
    lw_put_u64(element, number);
    lw_bytes elements;
    bool looks =
        below(of, 3) != 0 || lw_command_txn_options(of->of->command).isolation == LW_SNAPSHOT;
    if (looks) {
        LW_TRY(read_list(of, key, &elements));
        if (elements.size >= LIST_SIZE_MAX) {
            return LW_OK;
        }
    }
    lw_buffer_print(&of->operations, "%s[\"append\",\"%s\",%" PRIu64 "]",
                    of->operations.size > 0 ? "," : "", key, number);
    if (!looks) {
        return lw_append(of->txn, lw_text(key), lw_view(element, sizeof(element)));
    }
    lw_buffer grown = lw_buffer_in(of->of->command->memory);
    lw_buffer_append(&grown, elements);
    lw_buffer_append(&grown, lw_view(element, sizeof(element)));
    lw_status status = lw_put(of->txn, lw_text(key), lw_buffer_view(&grown));
    lw_buffer_reset(&grown);
    return status;
}

static void write_txn(recorder *of, outcome how) {
    lw_buffer line = lw_buffer_in(of->of->command->memory);
    bool strict = lw_command_txn_options(of->of->command).isolation == LW_STRICT;
    lw_buffer_print(&line, "{\"txn\":%" PRIu64 ",\"ops\":[%.*s],\"isolation\":\"%s\",\"final\":%s",
                    of->number, (int)of->operations.size, (const char *)of->operations.data,
                    strict ? "strict" : "snapshot", of->final ? "true" : "false");
    write_line(of, how, &line);
}

static void append_once(recorder *of) {
    lw_status status = begin(of, false);
    uint64_t newest = of->number / LIST_LIFE;
    uint64_t count = below(of, 12) == 0 ? OPERATIONS_MAX : 1 + below(of, 4);
    if (status != LW_OK) {
        return;
    }
    for (uint64_t index = 0; index < count && status == LW_OK; index++) {
        char key[KEY_SIZE];
        uint64_t back = below(of, LISTS_HOT);
        (void)list_key(newest > back ? newest - back : 0, key);
        lw_bytes elements;
        status = below(of, 2) == 0 ? read_list(of, key, &elements) : append_to_list(of, key);
    }
    outcome how = finish(of, status);
    write_txn(of, how);
    lw_txn_close(of->txn);
}

/* ---- the bank ---------------------------------------------------------------------------------
 */

static lw_bytes account_key(uint64_t account, char key[KEY_SIZE]) {
    (void)snprintf(key, KEY_SIZE, "bench/bank/%02" PRIu64, account);
    return lw_text(key);
}

static lw_status get_balance(recorder *of, uint64_t account, int64_t *balance) {
    char key[KEY_SIZE];
    lw_bytes value = {0};
    LW_TRY(lw_get(of->txn, account_key(account, key), &value));
    *balance = value.size == 8 ? (int64_t)lw_get_u64(value.data) : INT64_MIN;
    return LW_OK;
}

static lw_status put_balance(lw_txn *txn, uint64_t account, int64_t balance) {
    char key[KEY_SIZE];
    uint8_t value[8];
    lw_put_u64(value, (uint64_t)balance);
    return lw_put(txn, account_key(account, key), lw_view(value, sizeof(value)));
}

static lw_status fill_bank(lw_txn *txn, void *argument) {
    (void)argument;
    for (uint64_t account = 0; account < ACCOUNTS; account++) {
        LW_TRY(put_balance(txn, account, BALANCE));
    }
    return LW_OK;
}

static void transfer_once(recorder *of) {
    uint64_t from = below(of, ACCOUNTS), to = (from + 1 + below(of, ACCOUNTS - 1)) % ACCOUNTS;
    int64_t amount = 1 + (int64_t)below(of, 20), has = 0, gets = 0;
    lw_status status = begin(of, false);
    if (status != LW_OK) {
        return;
    }
    status = get_balance(of, from, &has);
    status = status == LW_OK ? get_balance(of, to, &gets) : status;
    bool poor = status == LW_OK && has < amount;
    if (status == LW_OK && !poor) {
        status = put_balance(of->txn, from, has - amount);
        status = status == LW_OK ? put_balance(of->txn, to, gets + amount) : status;
    }
    if (!poor) {
        outcome how = finish(of, status);
        lw_buffer line = lw_buffer_in(of->of->command->memory);
        lw_buffer_print(&line,
                        "{\"type\":\"transfer\",\"id\":%" PRIu64 ",\"from\":\"%" PRIu64
                        "\",\"to\":\"%" PRIu64 "\",\"amount\":%" PRIi64,
                        of->number, from, to, amount);
        write_line(of, how, &line);
    }
    lw_txn_close(of->txn);
}

static lw_status read_bank(recorder *of, lw_buffer *line) {
    lw_scan_options options = {.prefix = lw_text("bench/bank/"), .backwards = below(of, 2) == 0};
    lw_scan *scan;
    lw_bytes key, value;
    LW_TRY(lw_scan_open(of->txn, &options, &scan));
    lw_status status;
    for (uint32_t index = 0; (status = lw_scan_next(scan, &key, &value)) == LW_OK; index++) {
        int64_t balance = value.size == 8 ? (int64_t)lw_get_u64(value.data) : INT64_MIN;
        lw_buffer_print(line, "%s\"%d\":%" PRIi64, index > 0 ? "," : "",
                        10 * (key.data[key.size - 2] - '0') + key.data[key.size - 1] - '0',
                        balance);
    }
    lw_scan_close(scan);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

static bool read_bank_once(recorder *of) {
    lw_buffer line = lw_buffer_in(of->of->command->memory);
    if (begin(of, true) != LW_OK) {
        return false;
    }
    lw_buffer_print(&line, "{\"type\":\"read\",\"final\":%s,\"balances\":{",
                    of->final ? "true" : "false");
    outcome how = finish(of, read_bank(of, &line));
    lw_buffer_print(&line, "}");
    write_line(of, how, &line);
    lw_txn_close(of->txn);
    return how == OUTCOME_OK;
}

static void bank_once(recorder *of) {
    if (below(of, 4) == 0) {
        (void)read_bank_once(of);
    } else {
        transfer_once(of);
    }
}

/* ---- registers --------------------------------------------------------------------------------
 */

static lw_bytes number_text(uint64_t number, char text[KEY_SIZE]) {
    (void)snprintf(text, KEY_SIZE, "%" PRIu64, number);
    return lw_text(text);
}

static void write_single(recorder *of, uint64_t number, const char *kind, const char *value,
                         const char *more, outcome how) {
    lw_buffer line = lw_buffer_in(of->of->command->memory);
    lw_buffer_print(&line, "{\"key\":\"%" PRIu64 "\",\"f\":\"%s\",\"value\":%s%s", number, kind,
                    value, more);
    write_line(of, how, &line);
}

static void read_register(recorder *of, uint64_t number, lw_bytes key) {
    lw_bytes value = {0};
    if (begin(of, true) != LW_OK) {
        return;
    }
    lw_status status = lw_get(of->txn, key, &value);
    char text[KEY_SIZE] = "null";
    if (status == LW_OK) {
        (void)snprintf(text, sizeof(text), "%.*s", (int)value.size, (const char *)value.data);
    }
    write_single(of, number, "read", text, "", finish(of, status == LW_NOT_FOUND ? LW_OK : status));
    lw_txn_close(of->txn);
}

static void write_register(recorder *of, uint64_t number, lw_bytes key) {
    bool gone = below(of, 6) == 0;
    char text[KEY_SIZE] = "null";
    lw_bytes value = number_text(of->of->next_element++, text);
    if (begin(of, false) != LW_OK) {
        return;
    }
    lw_status status = gone ? lw_delete(of->txn, key, NULL) : lw_put(of->txn, key, value);
    write_single(of, number, gone ? "delete" : "write", gone ? "null" : text, "",
                 finish(of, status));
    lw_txn_close(of->txn);
}

static void swap_register(recorder *of, uint64_t number, lw_bytes key) {
    char old_text[KEY_SIZE], new_text[KEY_SIZE], pair[2 * KEY_SIZE + 4];
    uint64_t newest = of->of->next_element++;
    uint64_t back = 1 + below(of, REGISTERS);
    lw_bytes expected = number_text(newest > back ? newest - back : 0, old_text);
    lw_bytes value = number_text(newest, new_text);
    int swapped = 0;
    of->invoke_ns = now_ns(of);
    lw_status status = lw_compare_and_set(of->client, key, &expected, &value, &swapped);
    (void)snprintf(pair, sizeof(pair), "[%s,%s]", old_text, new_text);
    write_single(of, number, "cas", pair,
                 status == LW_OK && swapped == 0 ? ",\"swapped\":false" : "", outcome_of(status));
}

static void register_once(recorder *of) {
    char key[KEY_SIZE];
    uint64_t number = below(of, REGISTERS), choice = below(of, 10);
    (void)snprintf(key, sizeof(key), "bench/register/%02" PRIu64, number);
    (choice < 5   ? read_register
     : choice < 8 ? write_register
                  : swap_register)(of, number, lw_text(key));
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static void work(void *argument) {
    recorder *of = argument;
    recording *on = of->of;
    while (now_ns(of) < on->until_ns) {
        uint64_t failed = on->counts[OUTCOME_FAIL];
        on->once(of);
        if (on->counts[OUTCOME_FAIL] > failed) {
            lw_env_sleep(on->env, below(of, PAUSE_MS) * NS_PER_MS);
        }
    }
    on->running--;
}

static bool read_lists_finally(recorder *of, uint64_t first, uint64_t end) {
    lw_status status = begin(of, true);
    if (status != LW_OK) {
        return false;
    }
    for (uint64_t list = first; list < end && status == LW_OK; list++) {
        char key[KEY_SIZE];
        lw_bytes elements;
        (void)list_key(list, key);
        status = read_list(of, key, &elements);
    }
    outcome how = finish(of, status);
    if (how == OUTCOME_OK) {
        write_txn(of, how);
    }
    lw_txn_close(of->txn);
    return how == OUTCOME_OK;
}

/* 3. False if the nodes do not come back. */
LW_YIELDS static bool read_finally(recorder *of) {
    recording *on = of->of;
    uint64_t end_ns = now_ns(of) + FINAL_MS * NS_PER_MS;
    uint64_t lists = on->once == append_once ? on->next_txn / LIST_LIFE + 1 : 0;
    bool done = on->once == register_once;
    of->final = true;
    for (uint64_t list = 0; !done && now_ns(of) < end_ns;) {
        uint64_t end = list + LISTS_AT_ONCE < lists ? list + LISTS_AT_ONCE : lists;
        bool read = lists > 0 ? read_lists_finally(of, list, end) : read_bank_once(of);
        list = read ? end : list;
        done = read && list == lists;
        if (!read) {
            lw_env_sleep(on->env, PAUSE_MS * NS_PER_MS);
        }
    }
    return done;
}

/* Another workload may go on meanwhile: only this one's records go. */
typedef struct cleaning {
    lw_bytes prefix;
    bool more;
} cleaning;

static lw_status clean_some(lw_txn *txn, void *argument) {
    cleaning *work = argument;
    lw_scan_options options = {.prefix = work->prefix, .limit = 1000, .keys_only = 1};
    lw_scan *scan;
    lw_bytes key, value;
    LW_TRY(lw_scan_open(txn, &options, &scan));
    lw_status status;
    work->more = false;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        LW_TRY(lw_delete(txn, key, NULL));
        work->more = true;
    }
    lw_scan_close(scan);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

static void clean(recorder *of) {
    const recording *on = of->of;
    cleaning work = {.prefix = lw_text(on->once == append_once ? "bench/list/"
                                       : on->once == bank_once ? "bench/bank/"
                                                               : "bench/register/"),
                     .more = true};
    lw_txn_options options = lw_command_txn_options(on->command);
    while (work.more && lw_run(of->client, &options, clean_some, &work) == LW_OK) {
    }
}

/* Runs one of them to its end, as the env turns. */
typedef struct ending {
    recorder *of;
    bool read, ended;
} ending;

static void end_main(void *argument) {
    ending *of = argument;
    of->read = read_finally(of->of);
    clean(of->of);
    of->ended = true;
}

static lw_status begin_all(recording *on, recorder *workers, uint32_t count) {
    lw_client_options options = {
        .address = on->command->flags[LW_FLAG_ADDR].text,
        .label = "lathwork bench",
        .timeout_ms = (uint32_t)on->command->flags[LW_FLAG_TIMEOUT].number,
    };
    for (uint32_t index = 0; index < count; index++) {
        workers[index] = (recorder){.of = on,
                                    .process = on->next_process++,
                                    .operations = lw_buffer_in(on->command->memory)};
        LW_TRY(lw_client_open_in(on->env, &options, &workers[index].client));
    }
    if (on->once == bank_once) {
        lw_txn_options fill = lw_command_txn_options(on->command);
        LW_TRY(lw_run(workers[0].client, &fill, fill_bank, NULL));
        (void)fprintf(on->file, "{\"type\":\"init\",\"balances\":{");
        for (int account = 0; account < ACCOUNTS; account++) {
            (void)fprintf(on->file, "%s\"%d\":%d", account > 0 ? "," : "", account, BALANCE);
        }
        (void)fprintf(on->file, "}}\n");
    }
    return LW_OK;
}

static bool run_all(recording *on, recorder *workers, uint32_t count) {
    on->until_ns = lw_env_now(on->env) + on->command->flags[LW_FLAG_DURATION].number * NS_PER_MS;
    on->running = count;
    for (uint32_t index = 0; index < count; index++) {
        lw_env_start(on->env, "client", work, &workers[index]);
    }
    while (on->running > 0) {
        lw_env_turn(on->env, true);
    }
    ending last = {.of = &workers[0]};
    lw_env_start(on->env, "end", end_main, &last);
    while (!last.ended) {
        lw_env_turn(on->env, true);
    }
    return last.read;
}

static void answer(const recording *on) {
    lw_buffer out = lw_buffer_in(on->command->memory);
    if (on->command->json) {
        lw_json json = lw_json_to(&out);
        lw_json_object_open(&json, NULL);
        lw_json_number(&json, "acknowledged", on->counts[OUTCOME_OK]);
        lw_json_number(&json, "refused", on->counts[OUTCOME_FAIL]);
        lw_json_number(&json, "in_doubt", on->counts[OUTCOME_INFO]);
        lw_json_object_close(&json);
        lw_buffer_append_u8(&out, '\n');
    } else {
        lw_buffer_print(&out,
                        "%" PRIu64 " acknowledged, %" PRIu64 " refused, %" PRIu64
                        " in doubt; judge them with: lathwork sim --check %s\n",
                        on->counts[OUTCOME_OK], on->counts[OUTCOME_FAIL], on->counts[OUTCOME_INFO],
                        on->command->flags[LW_FLAG_HISTORY].text);
    }
    lw_command_drain(on->command, &out, true);
    lw_buffer_reset(&out);
}

static lw_exit record(recording *on, uint32_t count) {
    lw_command *command = on->command;
    recorder *workers = lw_allocate_zero(command->memory, count * sizeof(*workers));
    lw_status status = lw_env_posix_open(&on->env);
    bool whole = false;
    if (status == LW_OK) {
        status = begin_all(on, workers, count);
    }
    lw_error reason = *lw_error_slot();
    if (status == LW_OK) {
        whole = run_all(on, workers, count);
    }
    for (uint32_t index = 0; index < count; index++) {
        lw_close(workers[index].client);
        lw_buffer_reset(&workers[index].operations);
    }
    if (on->env != NULL) {
        lw_env_close(on->env);
    }
    on->unwritten = fclose(on->file) != 0 || on->unwritten;
    if (status != LW_OK || on->unwritten) {
        return lw_command_fail(command, status != LW_OK ? status : LW_REFUSED,
                               status != LW_OK ? reason.text : strerror(errno), NULL,
                               status != LW_OK ? "the workload could not begin"
                                               : "the history could not be written");
    }
    answer(on);
    return whole ? lw_command_finish(command, LW_EXIT_DONE)
                 : lw_command_fail(command, LW_UNAVAILABLE,
                                   "no node let everything be read within a minute", NULL,
                                   "the history has no final reads");
}

lw_exit lw_command_history(lw_command *command) {
    const char *name = command->flags[LW_FLAG_WORKLOAD].text;
    const char *path = command->flags[LW_FLAG_HISTORY].text;
    uint64_t count = command->flags[LW_FLAG_CLIENTS].number;
    recording on = {.command = command, .next_element = 1};
    on.once = strcmp(name, "append") == 0 ? append_once
              : strcmp(name, "bank") == 0 ? bank_once
                                          : register_once;
    if (path == NULL || command->operand_count > 0 || count == 0 || count > CLIENTS_MAX) {
        return lw_command_fail(command, LW_INVALID_ARGUMENT,
                               "--workload needs --history FILE, no letters, and 1 to 1024 clients",
                               "lathwork help bench", "nothing was run");
    }
    lw_client *reached;
    lw_exit code = lw_command_connect(command, &reached);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    lw_close(reached);
    on.file = fopen(path, "w");
    if (on.file == NULL) {
        return lw_command_fail(command, LW_REFUSED, strerror(errno), NULL, "cannot write \"%s\"",
                               path);
    }
    return record(&on, (uint32_t)count);
}
