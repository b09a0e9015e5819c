/* SPDX-License-Identifier: Apache-2.0 */
/* A straggler: a client that takes its time, so that what others clear away behind it is missed.
 * It commits transactions of which somebody had been told meanwhile that they never would be
 * (hazard T2), reads at one timestamp for seconds (T11), and asks for the past again and again.
 * It runs on a machine of its own, beside the other clients, and nothing strikes it. */
#include "sim/workload_private.h"

#include "client/client.h"

enum {
    LATE_MS = 20000,  /* how long its transactions may take, */
    DAWDLE_MS = 2000, /* and how long they do at most, between two steps */
    PAUSE_MS = 100,
    TOKEN_SIZE = 18 + 2 * WORKLOAD_KEY_SIZE,
};

typedef struct straggler {
    lw_env *env;
    lw_workload_client *self;
    uint64_t refused; /* the value of the last transaction that was to be none; 0: there was none */
} straggler;

LW_YIELDS static void dawdle(const straggler *of) {
    lw_env_sleep(of->env, workload_below(of->env, DAWDLE_MS * UINT64_C(1000000)));
}

/* As lw_txn_token will name a transaction of one key, before it has begun to commit. */
static void write_token(char token[TOKEN_SIZE], uint64_t start, lw_bytes key) {
    int size = snprintf(token, TOKEN_SIZE, "%016" PRIx64 "-", start);
    for (size_t index = 0; index < key.size; index++) {
        size += snprintf(token + size, (size_t)(TOKEN_SIZE - size), "%02x", key.data[index]);
    }
}

/* Another process asks what became of the transaction, which is decided by that. */
LW_YIELDS static lw_status give_up(const straggler *of, const char *token) {
    lw_client_options options = {.address = of->self->address, .label = "heir", .timeout_ms = 5000};
    lw_client *heir = NULL;
    uint64_t commit_timestamp;
    lw_status opened = lw_client_open_in(of->env, &options, &heir);
    LW_ASSERT(opened == LW_OK);
    lw_status status = lw_txn_outcome(heir, token, &commit_timestamp);
    lw_close(heir);
    return status;
}

LW_YIELDS static lw_status read_before(const straggler *of, lw_txn *txn, lw_bytes key) {
    lw_bytes value = {0};
    lw_status status = lw_get(txn, key, &value);
    if (status == LW_OK && value.size == sizeof(of->refused) && of->refused != 0 &&
        lw_get_u64(value.data) == of->refused) {
        lw_buffer_print(&of->self->workload->violations,
                        "straggler: there is a value of a transaction that was never to be "
                        "committed, as somebody was told\n");
    }
    return status == LW_NOT_FOUND ? LW_OK : status;
}

LW_YIELDS static void commit_late(straggler *of, lw_txn *txn) {
    char name[WORKLOAD_KEY_SIZE], token[TOKEN_SIZE];
    uint8_t value[sizeof(uint64_t)];
    lw_workload *workload = of->self->workload;
    uint64_t number = workload->next_element++;
    int size = snprintf(name, sizeof(name), "late/%" PRIu64, workload_below(of->env, 3));
    lw_bytes key = lw_view(name, (size_t)size);
    lw_put_u64(value, number);
    if (read_before(of, txn, key) != LW_OK ||
        lw_put(txn, key, lw_view(value, sizeof(value))) != LW_OK) {
        return;
    }
    write_token(token, lw_read_timestamp(txn), key);
    lw_status told = give_up(of, token);
    of->refused = told == LW_NOT_FOUND ? number : of->refused;
    dawdle(of);
    lw_status status = lw_commit(txn);
    if (told == LW_OK || (told == LW_NOT_FOUND && status == LW_OK)) {
        lw_buffer_print(&workload->violations,
                        "straggler: somebody was told %s of transaction %s, before its commit "
                        "ended %s\n",
                        lw_status_name(told), token, lw_status_name(status));
    }
}

LW_YIELDS static void straggle(straggler *of, lw_client *client) {
    uint64_t choice = workload_below(of->env, 10);
    if (choice < 4) {
        lw_txn_options options = {.timeout_ms = LATE_MS,
                                  .isolation =
                                      workload_below(of->env, 2) == 0 ? LW_STRICT : LW_SNAPSHOT};
        lw_txn *txn = NULL;
        if (lw_begin(client, &options, &txn) == LW_OK) {
            commit_late(of, txn);
            lw_txn_close(txn);
        }
    } else if (choice < 7) {
        workload_read_long(of->env, of->self, client);
    } else {
        workload_read_past(of->env, of->self, client);
    }
}

LW_YIELDS static void straggler_main(void *argument) {
    straggler *of = argument;
    lw_workload *workload = of->self->workload;
    while (!workload->stopping) {
        lw_client_options options = {
            .address = of->self->address, .label = "straggler", .timeout_ms = 5000};
        lw_client *client = NULL;
        lw_status opened = lw_client_open_in(of->env, &options, &client);
        LW_ASSERT(opened == LW_OK);
        for (uint64_t round = 1 + workload_below(of->env, 20); round > 0 && !workload->stopping;
             round--) {
            straggle(of, client);
            lw_env_sleep(of->env, workload_below(of->env, PAUSE_MS * UINT64_C(1000000)));
        }
        lw_close(client);
    }
    workload->running--;
}

void lw_workload_straggle(lw_env *env, lw_workload_client *client) {
    straggler *of = lw_allocate(env->memory, sizeof(*of));
    *of = (straggler){.env = env, .self = client};
    client->workload->running++;
    (void)lw_env_start(env, "straggler", straggler_main, of);
}
