/* SPDX-License-Identifier: Apache-2.0 */
/* Bulk: a client's block of keys, written by one transaction that is larger than what the client
 * keeps, so that it is sent ahead piece by piece. All keys of a block hold the number of one
 * transaction, whoever reads them, and whatever is split, killed or lost in between. */
#include "client/client.h"
#include "client/operate.h"
#include "client/transaction.h"
#include "sim/workload_private.h"

enum {
    KEYS = 32,
    VALUE_SIZE = 100,
    WRITE_MEMORY = 1200,
    TIMEOUT_MS = 5000,
    FORGOTTEN_MS = 3000, /* in which a node that knew of a kill may be lost */
};

static lw_bytes block_key(uint32_t block, uint64_t index, char key[WORKLOAD_KEY_SIZE]) {
    int size = snprintf(key, WORKLOAD_KEY_SIZE, "bulk/%02u/%03" PRIu64, block, index);
    return lw_view(key, (size_t)size);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* What was seen of a block. */
typedef struct sight {
    uint64_t count, number; /* of keys, and what the first one held */
    bool same;
} sight;

static void see(sight *seen, lw_bytes value) {
    uint64_t number = 0;
    LW_ASSERT(value.size == VALUE_SIZE);
    memcpy(&number, value.data, sizeof(number));
    seen->same = seen->count == 0 || (seen->same && seen->number == number);
    seen->number = seen->count == 0 ? number : seen->number;
    seen->count++;
}

LW_YIELDS static lw_status scan_block(lw_txn *txn, uint32_t block, sight *seen) {
    char lower[WORKLOAD_KEY_SIZE], upper[WORKLOAD_KEY_SIZE];
    lw_scan_options options = {.lower = block_key(block, 0, lower),
                               .upper = block_key(block, KEYS, upper)};
    lw_scan *scan = NULL;
    LW_TRY(lw_scan_open(txn, &options, &scan));
    lw_bytes key, value;
    lw_status status;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        see(seen, value);
    }
    lw_scan_close(scan);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

LW_YIELDS static lw_status look_up_block(lw_txn *txn, uint32_t block, sight *seen) {
    char keys[KEYS][WORKLOAD_KEY_SIZE];
    lw_lookup lookups[KEYS];
    for (uint64_t index = 0; index < KEYS; index++) {
        lookups[index] = (lw_lookup){.key = block_key(block, index, keys[index])};
    }
    LW_TRY(lw_get_many(txn, lookups, KEYS));
    for (uint64_t index = 0; index < KEYS; index++) {
        if (lookups[index].status == LW_OK) {
            see(seen, lookups[index].value);
        }
    }
    return LW_OK;
}

/* `known`: what the block holds, 0 for nothing, is known. */
static void judge(lw_workload *workload, uint32_t block, const sight *seen, bool known,
                  uint64_t number) {
    bool whole = seen->count == 0 || (seen->count == KEYS && seen->same);
    uint64_t held = seen->count == 0 ? 0 : seen->number;
    if (!whole || (known && held != number)) {
        lw_buffer_print(&workload->violations,
                        "bulk: block %u has %" PRIu64 " keys, the first of %" PRIu64
                        "%s; it should hold %" PRIu64 "%s\n",
                        block, seen->count, seen->number, seen->same ? "" : ", others of others",
                        number, known ? "" : ", or another, whole");
    }
}

LW_YIELDS static lw_status read_block(lw_env *env, lw_workload *workload, lw_txn *txn,
                                      uint32_t block, bool own) {
    sight seen = {0};
    bool known = own && workload->blocks_known[block];
    uint64_t number = workload->blocks[block];
    LW_TRY(workload_below(env, 2) == 0 ? scan_block(txn, block, &seen)
                                       : look_up_block(txn, block, &seen));
    judge(workload, block, &seen, known, number);
    return LW_OK;
}

/* ---- writing ------------------------------------------------------------------------------ */

LW_YIELDS static lw_status put_block(lw_txn *txn, uint32_t block, uint64_t number) {
    uint8_t value[VALUE_SIZE];
    memset(value, (int)(number & 0xff), sizeof(value));
    memcpy(value, &number, sizeof(number));
    for (uint64_t index = 0; index < KEYS; index++) {
        char key[WORKLOAD_KEY_SIZE];
        LW_TRY(lw_put(txn, block_key(block, index, key), lw_view(value, sizeof(value))));
    }
    return LW_OK;
}

/* Somebody rolls it back: what it reads of its own from then on is there still, or it is told, also
 * by a node that has been started since, and knows of no kill. */
LW_YIELDS static void have_it_killed(const workload_txn *in) {
    uint64_t start = in->txn->start, commit_timestamp;
    if (start != 0) {
        (void)!lw_operate_kill(in->client, start, &commit_timestamp);
    }
    if (!in->self->workload->undisturbed && workload_below(in->env, 2) == 0) {
        lw_env_sleep(in->env, workload_below(in->env, FORGOTTEN_MS * UINT64_C(1000000)));
    }
}

/* Puts the block, deletes it, or both; what it wrote it sees. `*number` becomes 0 if it is gone. */
LW_YIELDS static lw_status write_block(const workload_txn *in, uint32_t block, uint64_t *number) {
    char lower[WORKLOAD_KEY_SIZE], upper[WORKLOAD_KEY_SIZE];
    uint64_t choice = workload_below(in->env, 6);
    if (choice < 2) {
        LW_TRY(lw_delete_range(in->txn, block_key(block, 0, lower), block_key(block, KEYS, upper),
                               NULL));
    }
    if (choice == 0) {
        *number = 0;
    } else {
        LW_TRY(put_block(in->txn, block, *number));
    }
    bool killed = workload_below(in->env, 10) == 0;
    if (killed) {
        have_it_killed(in);
    }
    if (killed || workload_below(in->env, 3) == 0) {
        sight seen = {0};
        LW_TRY(look_up_block(in->txn, block, &seen));
        judge(in->self->workload, block, &seen, true, *number);
    }
    bool regrets = workload_below(in->env, 8) == 0;
    return regrets ? LW_REFUSED : LW_OK;
}

LW_YIELDS static void run_write(lw_env *env, lw_workload_client *self, lw_client *client) {
    lw_workload *workload = self->workload;
    uint32_t block = self->number;
    workload_txn in;
    if (!workload_begin(&in, env, self, client, false)) {
        return;
    }
    uint64_t number = workload->next_element++;
    bool known = workload->blocks_known[block];
    workload->blocks_known[block] = false; /* should this fiber be dropped */
    lw_outcome outcome = workload_finish(&in, write_block(&in, block, &number));
    if (outcome == LW_OUTCOME_OK) {
        workload->blocks[block] = number;
    }
    workload->blocks_known[block] =
        outcome == LW_OUTCOME_OK || (known && outcome == LW_OUTCOME_FAIL);
    workload_close(&in);
}

/* ---- all of it ---------------------------------------------------------------------------- */

void workload_run_bulk(lw_env *env, lw_workload_client *self, lw_client *client) {
    workload_txn in;
    if (workload_below(env, 2) == 0) {
        lw_client_options options = {.address = self->address,
                                     .label = "bulk",
                                     .timeout_ms = TIMEOUT_MS,
                                     .write_memory = WRITE_MEMORY};
        lw_client *large = NULL;
        lw_status opened = lw_client_open_in(env, &options, &large);
        LW_ASSERT(opened == LW_OK);
        run_write(env, self, large);
        lw_close(large);
    } else if (workload_begin(&in, env, self, client, true)) {
        bool own = workload_below(env, 2) == 0;
        uint32_t block = own ? self->number : (uint32_t)workload_below(env, LW_BLOCKS);
        (void)workload_finish(&in, read_block(env, self->workload, in.txn, block, own));
        workload_close(&in);
    }
}

lw_status workload_final_bulk(lw_workload *workload, lw_client *client) {
    lw_txn_options options = {.read_only = 1};
    lw_txn *txn = NULL;
    lw_status status = LW_OK;
    LW_TRY(lw_begin(client, &options, &txn));
    for (uint32_t block = 0; block < LW_BLOCKS && status == LW_OK; block++) {
        status = read_block(client->env, workload, txn, block, true);
    }
    lw_txn_close(txn);
    return status;
}
