/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/workload.h"

#include "client/client.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    LIFE_MS = 2000, /* well within what a lock lives */
    LIST_OPS_MAX = 20,
    LIST_WINDOW = 6,
    LIST_LIFE = 40, /* transactions after which the window moves on by one list */
    OWN_KEYS = 16,
    VALUE_SIZE_MAX = 20000,
};

/* Some hurry, and some outlive their locks. */
static const uint32_t timeouts_ms[10] = {10,   20000, 20000, 5000, 5000,
                                         5000, 5000,  5000,  5000, 5000};

void lw_workload_init(lw_workload *workload, lw_memory *memory, lw_isolation isolation,
                      uint64_t (*now_ns)(void *clock), void *clock) {
    *workload = (lw_workload){.memory = memory,
                              .history = lw_history_in(memory),
                              .isolation = isolation,
                              .now_ns = now_ns,
                              .clock = clock,
                              .list_window = LIST_WINDOW,
                              .lists_begun = LIST_WINDOW,
                              .next_element = 1,
                              .counter = lw_counter_in(memory),
                              .violations = lw_buffer_in(memory)};
}

static uint64_t below(lw_env *env, uint64_t bound) {
    return lw_env_random_below(env, bound);
}

static lw_txn_options draw_options(lw_env *env, const lw_workload *workload) {
    return (lw_txn_options){
        .isolation = workload->isolation,
        .locking = below(env, 4) == 0 ? LW_PESSIMISTIC : LW_OPTIMISTIC,
        .timeout_ms = timeouts_ms[below(env, 10)] + (uint32_t)below(env, 500),
    };
}

/* ---- promises of every transaction -------------------------------------------------------- */

/* A client was told the snapshot's timestamp, whatever becomes of it and its transaction. */
static void note_timestamp(lw_workload *workload, const lw_txn *txn) {
    uint64_t read = lw_read_timestamp(txn);
    if (read > workload->highest_timestamp) {
        workload->highest_timestamp = read;
    }
}

/* Timestamps increase with real time: what a transaction is told is above all that any client was
 * told before it began (`floor`). Nothing is told as 0. */
static void judge_timestamps(lw_workload *workload, const lw_txn *txn, uint64_t floor) {
    uint64_t read = lw_read_timestamp(txn), commit = lw_commit_timestamp(txn);
    uint64_t higher = commit > read ? commit : read;
    if ((read != 0 && read <= floor) || (commit != 0 && (commit <= floor || commit <= read))) {
        lw_buffer_print(&workload->violations,
                        "timestamps: a transaction read at %" PRIu64 " and committed at %" PRIu64
                        ", and %" PRIu64 " was told before it began\n",
                        read, commit, floor);
    }
    if (higher > workload->highest_timestamp) {
        workload->highest_timestamp = higher;
    }
}

/* Locks live as long as LW_LOCK_LIFETIME_MS says: where nothing disturbs, nobody rolls back the
 * transaction of a client that commits sooner. */
static void judge_rollback(lw_workload *workload, lw_client *client, uint64_t began_ns) {
    bool sooner = workload->now_ns(workload->clock) - began_ns < LIFE_MS * UINT64_C(1000000);
    if (workload->undisturbed && sooner &&
        strstr(lw_client_error(client), "was rolled back") != NULL) {
        lw_buffer_print(&workload->violations, "locks: a live transaction was rolled back: %s\n",
                        lw_client_error(client));
    }
}

/* Asks what became of a transaction, over the client's own connection or as another process would:
 * then what the first had sent may still be on its way. */
LW_YIELDS static lw_status ask_outcome(lw_env *env, lw_client *client, const char *address,
                                       const char *token) {
    uint64_t commit_timestamp;
    if (below(env, 2) == 0) {
        return lw_txn_outcome(client, token, &commit_timestamp);
    }
    lw_client_options options = {.address = address, .label = "heir", .timeout_ms = 5000};
    lw_client *heir = NULL;
    lw_status opened = lw_client_open_in(env, &options, &heir);
    LW_ASSERT(opened == LW_OK);
    lw_status status = lw_txn_outcome(heir, token, &commit_timestamp);
    lw_close(heir);
    lw_env_sleep(env, below(env, 2000000000));
    return status;
}

/* Commits, and asks for the outcome if it is in doubt, as a careful user would; sometimes not. */
LW_YIELDS static lw_outcome finish(lw_env *env, const lw_workload_client *self, lw_client *client,
                                   lw_txn *txn, lw_status status) {
    lw_workload *workload = self->workload;
    uint64_t began_ns = workload->now_ns(workload->clock);
    if (status == LW_OK) {
        status = lw_commit(txn);
    } else {
        (void)!lw_rollback(txn);
        return LW_OUTCOME_FAIL;
    }
    if (status == LW_CONFLICT) {
        judge_rollback(workload, client, began_ns);
    }
    if (status == LW_UNDETERMINED && below(env, 2) == 0) {
        lw_status outcome = ask_outcome(env, client, self->address, lw_txn_token(txn));
        status = outcome == LW_OK ? LW_OK : outcome == LW_NOT_FOUND ? LW_CONFLICT : LW_UNDETERMINED;
    }
    return status == LW_OK             ? LW_OUTCOME_OK
           : status == LW_UNDETERMINED ? LW_OUTCOME_INFO
                                       : LW_OUTCOME_FAIL;
}

static void count(lw_workload *workload, lw_workload_client *self, lw_outcome outcome) {
    workload->committed += outcome == LW_OUTCOME_OK;
    workload->failed += outcome == LW_OUTCOME_FAIL;
    workload->in_doubt += outcome == LW_OUTCOME_INFO;
    self->done += outcome != LW_OUTCOME_INFO;
}

/* ---- lists -------------------------------------------------------------------------------- */

static lw_bytes list_key(uint32_t list, char key[16]) {
    int size = snprintf(key, 16, "list/%06u", list);
    return lw_view(key, (size_t)size);
}

/* Reads a list; LW_OK with no elements if there is none. The view lives until the txn's next call.
 */
LW_YIELDS static lw_status read_list(lw_txn *txn, uint32_t list, bool for_update,
                                     lw_bytes *elements) {
    char key[16];
    *elements = (lw_bytes){0};
    lw_status status = for_update ? lw_get_for_update(txn, list_key(list, key), elements)
                                  : lw_get(txn, list_key(list, key), elements);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

static void note_read(lw_workload *workload, lw_list_txn *record, uint32_t list,
                      lw_bytes elements) {
    uint64_t *copy = lw_allocate(workload->memory, elements.size);
    if (elements.size > 0) {
        memcpy(copy, elements.data, elements.size);
    }
    lw_history_read(&workload->history, record, list, copy,
                    (uint32_t)(elements.size / sizeof(uint64_t)));
    lw_free(workload->memory, copy);
}

/* Writes what nobody must ever read, here and there, and takes it back. */
LW_YIELDS static lw_status detour(lw_env *env, lw_txn *txn, uint32_t list) {
    static const char rubbish[] = "rubbish";
    char key[16];
    LW_TRY(lw_savepoint(txn, "detour"));
    for (uint64_t step = below(env, 3); step > 0; step--) {
        LW_TRY(lw_put(txn, list_key(list, key), lw_text(rubbish)));
        LW_TRY(lw_delete(txn, list_key(list + 1, key), NULL));
    }
    return lw_rollback_to(txn, "detour");
}

LW_YIELDS static lw_status append_to_list(lw_env *env, lw_workload *workload, lw_txn *txn,
                                          lw_list_txn *record, uint32_t list) {
    char key[16];
    lw_bytes elements;
    if (below(env, 8) == 0) {
        LW_TRY(detour(env, txn, list));
    }
    LW_TRY(read_list(txn, list, below(env, 3) == 0, &elements));
    note_read(workload, record, list, elements);
    uint64_t element = workload->next_element++;
    lw_history_append(&workload->history, record, list, element);
    lw_buffer grown = lw_buffer_in(env->memory);
    lw_buffer_append(&grown, elements);
    lw_buffer_append_u64(&grown, element);
    lw_status status = lw_put(txn, list_key(list, key), lw_buffer_view(&grown));
    lw_buffer_reset(&grown);
    return status;
}

/* Reads all lists of the window by a scan; those that it does not show are empty. */
LW_YIELDS static lw_status scan_lists(lw_env *env, lw_workload *workload, lw_txn *txn,
                                      lw_list_txn *record) {
    char lower[16], upper[16];
    uint32_t end = workload->lists_begun, next = end - workload->list_window;
    lw_scan_options options = {.lower = list_key(next, lower), .upper = list_key(end, upper)};
    lw_scan *scan = NULL;
    LW_TRY(lw_scan_open(txn, &options, &scan));
    lw_bytes key, value;
    lw_status status;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        uint32_t list = 0;
        for (size_t index = sizeof("list/") - 1; index < key.size; index++) {
            list = list * 10 + key.data[index] - '0';
        }
        for (; next < list; next++) {
            note_read(workload, record, next, (lw_bytes){0});
        }
        note_read(workload, record, next++, value);
        lw_env_sleep(env, below(env, 4) == 0 ? below(env, 2000000) : 0);
    }
    lw_scan_close(scan);
    for (; status == LW_NOT_FOUND && next < end; next++) {
        note_read(workload, record, next, (lw_bytes){0});
    }
    return status == LW_NOT_FOUND ? LW_OK : status;
}

LW_YIELDS static lw_status list_ops(lw_env *env, lw_workload *workload, lw_txn *txn,
                                    lw_list_txn *record) {
    uint64_t ops = below(env, 12) == 0 ? LIST_OPS_MAX : 1 + below(env, 4);
    for (uint64_t op = 0; op < ops; op++) {
        uint32_t list = workload->lists_begun - 1 - (uint32_t)below(env, workload->list_window);
        uint64_t choice = below(env, 8);
        if (choice < 4) {
            LW_TRY(append_to_list(env, workload, txn, record, list));
        } else if (choice == 4) {
            LW_TRY(scan_lists(env, workload, txn, record));
        } else {
            lw_bytes elements;
            LW_TRY(read_list(txn, list, false, &elements));
            note_read(workload, record, list, elements);
        }
        note_timestamp(workload, txn);
    }
    return LW_OK;
}

LW_YIELDS static void run_lists(lw_env *env, lw_workload_client *self, lw_client *client,
                                uint32_t *process) {
    lw_workload *workload = self->workload;
    lw_txn_options options = draw_options(env, workload);
    lw_txn *txn = NULL;
    uint64_t floor = workload->highest_timestamp;
    if (lw_begin(client, &options, &txn) != LW_OK) {
        return;
    }
    if (workload->history.txn_count % LIST_LIFE == LIST_LIFE - 1) {
        workload->lists_begun++;
    }
    lw_list_txn *record =
        lw_history_begin(&workload->history, *process, options.isolation == LW_STRICT,
                         workload->now_ns(workload->clock));
    lw_status status = list_ops(env, workload, txn, record);
    lw_outcome outcome = finish(env, self, client, txn, status);
    judge_timestamps(workload, txn, floor);
    record->start_timestamp = lw_read_timestamp(txn);
    record->commit_timestamp = lw_commit_timestamp(txn);
    lw_history_end(record, outcome, workload->now_ns(workload->clock));
    lw_txn_close(txn);
    count(workload, self, outcome);
    if (outcome == LW_OUTCOME_INFO) {
        *process = workload->next_process++;
    }
}

/* ---- bank --------------------------------------------------------------------------------- */

static const char bank_prefix[] = "bank/";

static lw_bytes account_key(uint64_t account, char key[16]) {
    int size = snprintf(key, 16, "%s%" PRIu64, bank_prefix, account);
    return lw_view(key, (size_t)size);
}

LW_YIELDS static lw_status fill_body(lw_txn *txn, void *argument) {
    (void)argument;
    for (uint64_t account = 0; account < LW_BANK_ACCOUNTS; account++) {
        char key[16];
        uint64_t balance = LW_BANK_BALANCE;
        LW_TRY(lw_put(txn, account_key(account, key), lw_view(&balance, sizeof(balance))));
    }
    return LW_OK;
}

lw_status lw_workload_fill(lw_client *client) {
    return lw_run(client, NULL, fill_body, NULL);
}

LW_YIELDS static lw_status read_account(lw_txn *txn, uint64_t account, uint64_t *balance) {
    char key[16];
    lw_bytes value;
    LW_TRY(lw_get(txn, account_key(account, key), &value));
    LW_ASSERT(value.size == sizeof(*balance));
    memcpy(balance, value.data, sizeof(*balance));
    return LW_OK;
}

/* Balances may fall below zero, which is as good a number as any here. */
LW_YIELDS static lw_status add_to_account(lw_env *env, lw_txn *txn, uint64_t account,
                                          uint64_t amount) {
    char key[16];
    if (below(env, 2) == 0) {
        return lw_add(txn, account_key(account, key), (int64_t)amount);
    }
    uint64_t balance;
    LW_TRY(read_account(txn, account, &balance));
    balance += amount;
    return lw_put(txn, account_key(account, key), lw_view(&balance, sizeof(balance)));
}

LW_YIELDS static lw_status transfer(lw_env *env, lw_txn *txn) {
    uint64_t from = below(env, LW_BANK_ACCOUNTS), to = below(env, LW_BANK_ACCOUNTS);
    uint64_t amount = below(env, LW_BANK_BALANCE);
    LW_TRY(add_to_account(env, txn, from, -amount));
    return add_to_account(env, txn, to, amount);
}

/* Adds up all accounts by a scan, forwards or backwards. */
LW_YIELDS static lw_status sum_accounts(lw_workload *workload, lw_txn *txn, bool backwards) {
    lw_scan_options options = {.prefix = lw_text(bank_prefix), .backwards = backwards};
    lw_scan *scan = NULL;
    LW_TRY(lw_scan_open(txn, &options, &scan));
    uint64_t sum = 0, accounts = 0, balance;
    lw_bytes key, value;
    lw_status status;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        LW_ASSERT(value.size == sizeof(balance));
        memcpy(&balance, value.data, sizeof(balance));
        sum += balance;
        accounts++;
        note_timestamp(workload, txn);
    }
    lw_scan_close(scan);
    if (status != LW_NOT_FOUND) {
        return status;
    }
    if (sum != LW_BANK_ACCOUNTS * LW_BANK_BALANCE || accounts != LW_BANK_ACCOUNTS) {
        lw_buffer_print(&workload->violations,
                        "bank: %" PRIu64 " accounts hold %" PRIu64 " at timestamp %" PRIu64
                        ", not %d hold %d\n",
                        accounts, sum, lw_read_timestamp(txn), LW_BANK_ACCOUNTS,
                        LW_BANK_ACCOUNTS * LW_BANK_BALANCE);
    }
    return LW_OK;
}

LW_YIELDS static void run_bank(lw_env *env, lw_workload_client *self, lw_client *client) {
    lw_workload *workload = self->workload;
    lw_txn_options options = draw_options(env, workload);
    bool reads = below(env, 3) == 0;
    options.read_only = reads && below(env, 2) == 0;
    lw_txn *txn = NULL;
    uint64_t floor = workload->highest_timestamp;
    if (lw_begin(client, &options, &txn) != LW_OK) {
        return;
    }
    lw_status status = reads ? sum_accounts(workload, txn, below(env, 2) == 0) : transfer(env, txn);
    count(workload, self, finish(env, self, client, txn, status));
    judge_timestamps(workload, txn, floor);
    lw_txn_close(txn);
}

/* ---- churn -------------------------------------------------------------------------------- */

static lw_bytes own_key(const lw_workload_client *self, uint64_t index, char key[32]) {
    int size = snprintf(key, 32, "own/%u/%02" PRIu64, self->number, index);
    return lw_view(key, (size_t)size);
}

/* A value that tells its number and is as long as that says. */
static void own_value(uint64_t number, lw_buffer *value) {
    size_t size = sizeof(number) +
                  (size_t)(number * 2654435761u % VALUE_SIZE_MAX) * (number % 8 == 0 ? 1u : 0u);
    uint8_t *to = lw_buffer_reserve(value, size);
    memset(to, (int)(number & 0xff), size);
    memcpy(to, &number, sizeof(number));
    value->size += size;
}

static void own_violation(lw_workload_client *self, uint64_t index, const char *what) {
    lw_buffer_print(&self->workload->violations, "churn: client %u, key %" PRIu64 ": %s\n",
                    self->number, index, what);
}

/* Holds what a read of an own key says against what the client knows. */
static void check_own(lw_workload_client *self, uint64_t index, lw_status status, lw_bytes value) {
    uint64_t known = self->own[index];
    if (!self->own_known[index]) {
        return;
    }
    if (status == LW_NOT_FOUND) {
        if (known != 0) {
            own_violation(self, index, "an acknowledged value is gone");
        }
        return;
    }
    lw_buffer expected = lw_buffer_in(self->workload->memory);
    own_value(known, &expected);
    if (known == 0) {
        own_violation(self, index, "a deleted value is back");
    } else if (!lw_equal(lw_buffer_view(&expected), value)) {
        own_violation(self, index, "the value is not the one acknowledged");
    }
    lw_buffer_reset(&expected);
}

/* What a churn transaction will have made of the own keys if it commits. */
typedef struct plan {
    uint64_t own[OWN_KEYS];
    bool touched[OWN_KEYS];
} plan;

LW_YIELDS static lw_status churn_one(lw_env *env, lw_workload_client *self, lw_txn *txn,
                                     plan *made) {
    char key[32];
    uint64_t index = below(env, OWN_KEYS);
    lw_bytes value;
    if (!made->touched[index]) {
        lw_status status = lw_get(txn, own_key(self, index, key), &value);
        if (status != LW_OK && status != LW_NOT_FOUND) {
            return status;
        }
        check_own(self, index, status, value);
    }
    made->touched[index] = true;
    if (below(env, 3) == 0) {
        made->own[index] = 0;
        int existed;
        return lw_delete(txn, own_key(self, index, key), below(env, 2) == 0 ? &existed : NULL);
    }
    lw_buffer number = lw_buffer_in(env->memory);
    made->own[index] = self->workload->next_element++;
    own_value(made->own[index], &number);
    lw_status status = lw_put(txn, own_key(self, index, key), lw_buffer_view(&number));
    lw_buffer_reset(&number);
    return status;
}

LW_YIELDS static lw_status churn_body(lw_env *env, lw_workload_client *self, lw_txn *txn,
                                      plan *made) {
    if (below(env, 20) == 0) {
        char lower[32], upper[32];
        LW_TRY(lw_delete_range(txn, own_key(self, 4, lower), own_key(self, 8, upper), NULL));
        for (uint64_t index = 4; index < 8; index++) {
            made->touched[index] = true;
            made->own[index] = 0;
        }
    }
    uint64_t ops = 1 + below(env, 5);
    for (uint64_t op = 0; op < ops; op++) {
        LW_TRY(churn_one(env, self, txn, made));
    }
    return LW_OK;
}

LW_YIELDS static void run_churn(lw_env *env, lw_workload_client *self, lw_client *client) {
    lw_workload *workload = self->workload;
    lw_txn_options options = draw_options(env, workload);
    plan made = {0};
    lw_txn *txn = NULL;
    uint64_t floor = workload->highest_timestamp;
    if (lw_begin(client, &options, &txn) != LW_OK) {
        return;
    }
    /* Should this fiber be dropped in the middle, nobody knows what became of the keys. */
    bool known[OWN_KEYS];
    memcpy(known, self->own_known, sizeof(known));
    lw_status status = churn_body(env, self, txn, &made);
    for (uint64_t index = 0; index < OWN_KEYS; index++) {
        self->own_known[index] = known[index] && !made.touched[index];
    }
    lw_outcome outcome = finish(env, self, client, txn, status);
    judge_timestamps(workload, txn, floor);
    for (uint64_t index = 0; index < OWN_KEYS; index++) {
        if (made.touched[index] && outcome == LW_OUTCOME_OK) {
            self->own[index] = made.own[index];
            self->own_known[index] = true;
        } else if (made.touched[index] && outcome == LW_OUTCOME_FAIL) {
            self->own_known[index] = known[index];
        }
    }
    lw_txn_close(txn);
    count(workload, self, outcome);
}

/* ---- counter ------------------------------------------------------------------------------ */

LW_YIELDS static void run_counter(lw_workload_client *self, lw_client *client) {
    lw_workload *workload = self->workload;
    lw_status status = lw_counter_add(&workload->counter, client, &workload->violations);
    count(workload, self,
          status == LW_OK             ? LW_OUTCOME_OK
          : status == LW_UNDETERMINED ? LW_OUTCOME_INFO
                                      : LW_OUTCOME_FAIL);
}

/* ---- clients ------------------------------------------------------------------------------ */

typedef struct client_fiber {
    lw_env *env;
    lw_workload_client *self;
} client_fiber;

LW_YIELDS static void think(lw_env *env, const lw_workload *workload) {
    uint64_t step_ns = 20000000;
    lw_env_sleep(env, workload->marching ? step_ns - workload->now_ns(workload->clock) % step_ns
                                         : below(env, step_ns));
}

LW_YIELDS static void client_main(void *argument) {
    client_fiber *fiber = argument;
    lw_env *env = fiber->env;
    lw_workload_client *self = fiber->self;
    lw_workload *workload = self->workload;
    uint32_t process = workload->next_process++;
    while (!workload->stopping) {
        char label[16];
        (void)snprintf(label, sizeof(label), "client-%u", self->number);
        lw_client_options options = {.address = self->address, .label = label, .timeout_ms = 5000};
        lw_client *client = NULL;
        lw_status opened = lw_client_open_in(env, &options, &client);
        LW_ASSERT(opened == LW_OK);
        uint64_t rounds = 1 + below(env, 50);
        for (uint64_t round = 0; round < rounds && !workload->stopping; round++) {
            switch (below(env, 6)) {
            case 0:
            case 1:
            case 2:
                run_lists(env, self, client, &process);
                break;
            case 3:
                run_bank(env, self, client);
                break;
            case 4:
                run_counter(self, client);
                break;
            default:
                run_churn(env, self, client);
            }
            think(env, workload);
        }
        lw_close(client);
    }
    workload->running--;
}

void lw_workload_start(lw_env *env, lw_workload_client *client) {
    client_fiber *fiber = lw_allocate(env->memory, sizeof(*fiber));
    *fiber = (client_fiber){.env = env, .self = client};
    client->workload->running++;
    lw_env_start(env, "client", client_main, fiber);
}

LW_YIELDS static lw_status final_reads(lw_workload *workload, lw_txn *txn, lw_list_txn *record) {
    for (uint32_t list = 0; list < workload->lists_begun; list++) {
        lw_bytes elements;
        LW_TRY(read_list(txn, list, false, &elements));
        note_read(workload, record, list, elements);
    }
    return sum_accounts(workload, txn, false);
}

lw_status lw_workload_final(lw_workload *workload, lw_client *client) {
    lw_txn_options options = {.isolation = workload->isolation, .read_only = 1};
    lw_txn *txn = NULL;
    LW_TRY(lw_begin(client, &options, &txn));
    lw_list_txn *record =
        lw_history_begin(&workload->history, workload->next_process++,
                         workload->isolation == LW_STRICT, workload->now_ns(workload->clock));
    lw_status status = final_reads(workload, txn, record);
    record->final = true;
    lw_history_end(record, status == LW_OK ? LW_OUTCOME_OK : LW_OUTCOME_FAIL,
                   workload->now_ns(workload->clock));
    lw_txn_close(txn);
    LW_TRY(status);
    return lw_counter_final(&workload->counter, client, &workload->violations);
}
