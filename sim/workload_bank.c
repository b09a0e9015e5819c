/* SPDX-License-Identifier: Apache-2.0 */
/* The bank: accounts whose sum never changes. */
#include "sim/workload_private.h"

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
    if (workload_below(env, 2) == 0) {
        return lw_add(txn, account_key(account, key), (int64_t)amount);
    }
    uint64_t balance;
    LW_TRY(read_account(txn, account, &balance));
    balance += amount;
    return lw_put(txn, account_key(account, key), lw_view(&balance, sizeof(balance)));
}

LW_YIELDS static lw_status transfer(lw_env *env, lw_txn *txn) {
    uint64_t from = workload_below(env, LW_BANK_ACCOUNTS),
             to = workload_below(env, LW_BANK_ACCOUNTS);
    uint64_t amount = workload_below(env, LW_BANK_BALANCE);
    LW_TRY(add_to_account(env, txn, from, -amount));
    return add_to_account(env, txn, to, amount);
}

/* Adds up all accounts by a scan, forwards or backwards. */
lw_status workload_sum_accounts(lw_workload *workload, lw_txn *txn, bool backwards) {
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

void workload_run_bank(lw_env *env, lw_workload_client *self, lw_client *client) {
    bool reads = workload_below(env, 3) == 0;
    workload_txn in;
    if (!workload_begin(&in, env, self, client, reads && workload_below(env, 2) == 0)) {
        return;
    }
    lw_status status =
        reads ? workload_sum_accounts(self->workload, in.txn, workload_below(env, 2) == 0)
              : transfer(env, in.txn);
    (void)workload_finish(&in, status);
    workload_close(&in);
}
