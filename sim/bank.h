/* SPDX-License-Identifier: Apache-2.0 */
/* Histories of a bank: transfers between accounts, and reads of all of them.
 *
 *   {"type": "init", "balances": {"0": 100, "1": 100}}
 *   {"type": "transfer", "id": 7, "process": 2, "from": "0", "to": "1", "amount": 5,
 *    "invoke_ns": 10, "complete_ns": 20, "status": "ok"}
 *   {"type": "read", "process": 3, "invoke_ns": 30, "complete_ns": 40, "status": "ok",
 *    "balances": {"0": 95, "1": 105}, "final": false}
 *
 * Of two transfers with the same id the later line counts. A read must hold what all accounts held
 * together in the beginning; all transfers that had been acknowledged before it began; none that
 * began after it ended, or failed; and each of the others whole or not at all. Where more than
 * LW_BANK_OPEN_MAX of those others are open, only the sum is held. */
#ifndef LW_BANK_H
#define LW_BANK_H

#include "base/hash.h"
#include "sim/line.h"

enum { LW_BANK_OPEN_MAX = 20, LW_BANK_ACCOUNTS_MAX = 4096 };

typedef struct lw_bank_account {
    lw_map_node node;
    lw_bytes name;
    uint32_t number;
    int64_t balance; /* in the beginning */
    struct lw_bank_account *next;
} lw_bank_account;

typedef struct lw_bank_transfer {
    lw_map_node node; /* by id */
    uint64_t id;
    uint32_t from, to;
    int64_t amount;
    uint64_t invoke_ns, complete_ns;
    int status; /* 0 ok, 1 fail, 2 in doubt */
    struct lw_bank_transfer *next;
} lw_bank_transfer;

typedef struct lw_bank_balance {
    uint32_t account;
    int64_t balance;
} lw_bank_balance;

typedef struct lw_bank_read {
    uint32_t process;
    uint64_t invoke_ns, complete_ns;
    lw_bank_balance *balances;
    uint32_t balance_count;
    struct lw_bank_read *next;
} lw_bank_read;

typedef struct lw_bank {
    lw_arena arena;
    lw_map names, ids;
    lw_bank_account *first, *last; /* by number */
    uint32_t account_count;
    lw_bank_transfer *transfers; /* newest first */
    lw_bank_read *reads;         /* that are ok, newest first */
    uint64_t counts[3];          /* of lines: ok, fail, info */
} lw_bank;

static inline lw_bank lw_bank_in(lw_memory *memory) {
    return (lw_bank){
        .arena = lw_arena_in(memory), .names = lw_map_in(memory), .ids = lw_map_in(memory)};
}
void lw_bank_reset(lw_bank *bank);
/* Takes a line in. */
bool lw_bank_parse(lw_bank *bank, lw_line *line);
/* Whether all reads hold what they must. `report` receives a line for each that does not. */
LW_MUST_USE bool lw_bank_check(const lw_bank *bank, lw_memory *memory, lw_buffer *report);

#endif
