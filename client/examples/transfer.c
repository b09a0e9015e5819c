/* SPDX-License-Identifier: Apache-2.0 */
/* Moves money between accounts: the smallest program that uses a transaction as it is meant.
 *
 *   cc transfer.c $(pkg-config --cflags --libs lathwork) -o transfer
 *   ./transfer alice bob 25
 *
 * Accounts are keys "account/NAME" whose value is the balance in decimal. An account that is not
 * there yet begins with 100. The address of the node is LATHWORK_ADDR, or 127.0.0.1:7871. */
#include <lathwork.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What one transfer is about. It is read by the transaction's body and written by it, so each run
 * of the body sets what it writes anew. */
typedef struct transfer {
    const char *from, *to;
    int64_t amount;
    int64_t from_balance, to_balance; /* after the transfer */
    int poor;                         /* the account does not hold so much */
} transfer;

static lw_bytes account_key(const char *name, char *room, size_t size) {
    int length = snprintf(room, size, "account/%s", name);
    lw_bytes key = {(const uint8_t *)room, (size_t)length};
    return key;
}

static lw_status read_balance(lw_txn *txn, const char *name, int64_t *balance) {
    char room[128], digits[32];
    lw_bytes value;
    lw_status status = lw_get(txn, account_key(name, room, sizeof(room)), &value);
    if (status == LW_NOT_FOUND) {
        *balance = 100;
        return LW_OK;
    }
    if (status == LW_OK) {
        snprintf(digits, sizeof(digits), "%.*s", (int)value.size, (const char *)value.data);
        *balance = strtoll(digits, NULL, 10);
    }
    return status;
}

static lw_status write_balance(lw_txn *txn, const char *name, int64_t balance) {
    char room[128], digits[32];
    int length = snprintf(digits, sizeof(digits), "%" PRId64, balance);
    lw_bytes value = {(const uint8_t *)digits, (size_t)length};
    return lw_put(txn, account_key(name, room, sizeof(room)), value);
}

/* The transaction. lw_run calls it again from the start when somebody else was first. */
static lw_status move_money(lw_txn *txn, void *argument) {
    transfer *move = argument;
    lw_status status = read_balance(txn, move->from, &move->from_balance);
    if (status == LW_OK) {
        status = read_balance(txn, move->to, &move->to_balance);
    }
    if (status != LW_OK) {
        return status; /* lw_run knows which of these are worth another attempt */
    }
    move->poor = move->from_balance < move->amount;
    if (move->poor) {
        return LW_OK; /* nothing was written, so nothing happens */
    }
    move->from_balance -= move->amount;
    move->to_balance += move->amount;
    status = write_balance(txn, move->from, move->from_balance);
    return status == LW_OK ? write_balance(txn, move->to, move->to_balance) : status;
}

int main(int argc, char **argv) {
    if (argc != 4 || strlen(argv[1]) > 100 || strlen(argv[2]) > 100 ||
        strtoll(argv[3], NULL, 10) <= 0 || strcmp(argv[1], argv[2]) == 0) {
        fprintf(stderr, "usage: transfer FROM TO AMOUNT\n");
        return 2;
    }
    transfer move = {argv[1], argv[2], strtoll(argv[3], NULL, 10), 0, 0, 0};
    lw_client *client;
    lw_status status = lw_open(NULL, &client);
    if (status == LW_OK) {
        status = lw_run(client, NULL, move_money, &move);
    }
    if (status != LW_OK) {
        fprintf(stderr, "%s: %s\n", lw_status_text(status), lw_client_error(client));
    } else if (move.poor) {
        printf("%s has only %" PRId64 "\n", move.from, move.from_balance);
    } else {
        printf("%s %" PRId64 ", %s %" PRId64 "\n", move.from, move.from_balance, move.to,
               move.to_balance);
    }
    lw_close(client);
    return status == LW_OK && !move.poor ? 0 : 1;
}
