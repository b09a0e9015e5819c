/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/bank.h"

#include "base/hash.h"

enum { REPORTS_MAX = 20 };

void lw_bank_reset(lw_bank *bank) {
    lw_map_reset(&bank->names);
    lw_map_reset(&bank->ids);
    lw_arena_reset(&bank->arena);
}

/* ---- reading ------------------------------------------------------------------------------ */

typedef struct bank_line {
    lw_bank *bank;
    lw_bytes type;
    lw_bank_transfer transfer;
    bool has_from, has_to, has_id;
    lw_bank_read read;
    uint32_t balance_capacity;
} bank_line;

/* NULL: there are too many. */
static lw_bank_account *account_of(lw_bank *bank, lw_bytes name) {
    uint64_t hash = lw_hash(0, name);
    for (lw_map_node *node = lw_map_first(&bank->names, hash); node != NULL;
         node = lw_map_next(node)) {
        lw_bank_account *one = LW_MAP_ENTRY(node, lw_bank_account, node);
        if (lw_equal(one->name, name)) {
            return one;
        }
    }
    if (bank->account_count == LW_BANK_ACCOUNTS_MAX) {
        return NULL;
    }
    lw_bank_account *made = lw_arena_allocate(&bank->arena, sizeof(*made));
    *made = (lw_bank_account){.name = lw_arena_copy(&bank->arena, name),
                              .number = bank->account_count++};
    lw_map_insert(&bank->names, &made->node, hash);
    *(bank->last != NULL ? &bank->last->next : &bank->first) = made;
    bank->last = made;
    return made;
}

static bool want_account(bank_line *of, lw_line *in, uint32_t *number) {
    lw_bytes name;
    if (!lw_line_want_text(in, &name)) {
        return false;
    }
    const lw_bank_account *account = account_of(of->bank, name);
    if (account == NULL) {
        return lw_line_problem(in, "there are too many accounts");
    }
    *number = account->number;
    return true;
}

static bool want_balance(void *argument, lw_line *in, lw_bytes name) {
    bank_line *of = argument;
    const lw_bank_account *account = account_of(of->bank, name);
    lw_bank_read *read = &of->read;
    if (account == NULL) {
        return lw_line_problem(in, "there are too many accounts");
    }
    if (read->balance_count == of->balance_capacity) {
        of->balance_capacity = 2 * of->balance_capacity + 16;
        lw_bank_balance *grown =
            lw_arena_allocate(&of->bank->arena, of->balance_capacity * sizeof(*grown));
        if (read->balance_count > 0) {
            memcpy(grown, read->balances, read->balance_count * sizeof(*grown));
        }
        read->balances = grown;
    }
    lw_bank_balance *added = &read->balances[read->balance_count++];
    added->account = account->number;
    return lw_line_want_signed(in, &added->balance);
}

static bool want_member(void *argument, lw_line *in, lw_bytes name) {
    bank_line *of = argument;
    lw_bank_transfer *transfer = &of->transfer;
    if (lw_equal(name, lw_text("type"))) {
        return lw_line_want_text(in, &of->type);
    }
    if (lw_equal(name, lw_text("id"))) {
        of->has_id = true;
        return lw_line_want_number(in, &transfer->id);
    }
    if (lw_equal(name, lw_text("from"))) {
        of->has_from = true;
        return want_account(of, in, &transfer->from);
    }
    if (lw_equal(name, lw_text("to"))) {
        of->has_to = true;
        return want_account(of, in, &transfer->to);
    }
    if (lw_equal(name, lw_text("process"))) {
        uint64_t process = 0;
        bool sound = lw_line_want_number(in, &process);
        of->read.process = (uint32_t)process;
        return sound;
    }
    if (lw_equal(name, lw_text("amount"))) {
        return lw_line_want_signed(in, &transfer->amount);
    }
    if (lw_equal(name, lw_text("invoke_ns"))) {
        return lw_line_want_number(in, &transfer->invoke_ns);
    }
    if (lw_equal(name, lw_text("complete_ns"))) {
        return lw_line_take_word(in, "null") || lw_line_want_number(in, &transfer->complete_ns);
    }
    if (lw_equal(name, lw_text("status"))) {
        return lw_line_want_status(in, &transfer->status);
    }
    if (lw_equal(name, lw_text("balances"))) {
        return lw_line_take_word(in, "null") || lw_line_want_object(in, want_balance, of);
    }
    return lw_line_skip_value(in);
}

static bool take_init(bank_line *of) {
    for (uint32_t index = 0; index < of->read.balance_count; index++) {
        lw_bank_account *account = of->bank->first;
        while (account->number != of->read.balances[index].account) {
            account = account->next;
        }
        account->balance = of->read.balances[index].balance;
    }
    return true;
}

static bool take_transfer(bank_line *of, lw_line *line) {
    lw_bank *bank = of->bank;
    const lw_bank_transfer *told = &of->transfer;
    if (!of->has_from || !of->has_to || !of->has_id) {
        return lw_line_problem(line, "a transfer has no \"id\", \"from\" or \"to\"");
    }
    lw_bank_transfer *to = NULL;
    uint64_t hash = lw_mix(told->id);
    lw_map_node *node = lw_map_first(&bank->ids, hash); /* lw_mix permutes */
    if (node != NULL) {
        to = LW_MAP_ENTRY(node, lw_bank_transfer, node);
        lw_bank_transfer *next = to->next;
        lw_map_node kept = to->node;
        *to = *told;
        to->next = next;
        to->node = kept;
    } else {
        to = lw_arena_allocate(&bank->arena, sizeof(*to));
        *to = *told;
        to->next = bank->transfers;
        bank->transfers = to;
        lw_map_insert(&bank->ids, &to->node, hash);
    }
    bank->counts[told->status]++;
    return true;
}

static bool take_read(bank_line *of) {
    lw_bank *bank = of->bank;
    bank->counts[of->transfer.status]++;
    if (of->transfer.status == 0) {
        lw_bank_read *added = lw_arena_allocate(&bank->arena, sizeof(*added));
        *added = of->read;
        added->invoke_ns = of->transfer.invoke_ns;
        added->complete_ns = of->transfer.complete_ns;
        added->next = bank->reads;
        bank->reads = added;
    }
    return true;
}

bool lw_bank_parse(lw_bank *bank, lw_line *line) {
    bank_line of = {.bank = bank, .transfer = {.status = 2}};
    if (!lw_line_want_object(line, want_member, &of) || !lw_line_want_end(line)) {
        return false;
    }
    if (of.transfer.status == 0 && of.transfer.complete_ns < of.transfer.invoke_ns) {
        return lw_line_problem(line, "what is ok has no \"complete_ns\" after its start");
    }
    return lw_equal(of.type, lw_text("init"))       ? take_init(&of)
           : lw_equal(of.type, lw_text("transfer")) ? take_transfer(&of, line)
           : lw_equal(of.type, lw_text("read"))
               ? take_read(&of)
               : lw_line_problem(line, "\"type\" is init, transfer or read");
}

/* ---- judging ------------------------------------------------------------------------------ */

typedef struct judge {
    const lw_bank *bank;
    const lw_bank_read *read;
    int64_t *missing; /* by account: what the read shows beyond what it must hold */
    uint32_t wrong;   /* accounts of which something is missing */
    const lw_bank_transfer *open[LW_BANK_OPEN_MAX];
    uint32_t open_count; /* may be above that */
} judge;

static void add(judge *of, uint32_t account, int64_t amount) {
    of->wrong -= of->missing[account] != 0;
    of->missing[account] += amount;
    of->wrong += of->missing[account] != 0;
}

static void move(judge *of, const lw_bank_transfer *transfer, bool back) {
    int64_t amount = back ? -transfer->amount : transfer->amount;
    add(of, transfer->from, amount);
    add(of, transfer->to, -amount);
}

/* All sets of open transfers, each differing from the last by one (Gray 1953). */
static bool any_set_fits(judge *of) {
    uint64_t sets = UINT64_C(1) << of->open_count, inside = 0;
    for (uint64_t step = 1; of->wrong > 0 && step < sets; step++) {
        uint32_t changed = (uint32_t)__builtin_ctzll(step);
        inside ^= UINT64_C(1) << changed;
        move(of, of->open[changed], (inside >> changed & 1) == 0);
    }
    return of->wrong == 0;
}

/* Takes off what the read must hold, and gathers what it may. */
static void sort_transfers(judge *of) {
    const lw_bank_read *read = of->read;
    for (const lw_bank_transfer *each = of->bank->transfers; each != NULL; each = each->next) {
        if (each->status == 1 || each->invoke_ns > read->complete_ns) {
            continue;
        }
        if (each->status == 0 && each->complete_ns < read->invoke_ns) {
            move(of, each, false);
        } else {
            if (of->open_count < LW_BANK_OPEN_MAX) {
                of->open[of->open_count] = each;
            }
            of->open_count++;
        }
    }
}

/* NULL if the read is sound. */
static const char *judge_read(judge *of) {
    int64_t sum = 0;
    memset(of->missing, 0, of->bank->account_count * sizeof(*of->missing));
    of->wrong = 0;
    of->open_count = 0;
    for (const lw_bank_account *each = of->bank->first; each != NULL; each = each->next) {
        add(of, each->number, -each->balance);
        sum -= each->balance;
    }
    for (uint32_t index = 0; index < of->read->balance_count; index++) {
        add(of, of->read->balances[index].account, of->read->balances[index].balance);
        sum += of->read->balances[index].balance;
    }
    if (sum != 0) {
        return "the sum is another than in the beginning";
    }
    sort_transfers(of);
    return of->open_count > LW_BANK_OPEN_MAX || any_set_fits(of)
               ? NULL
               : "balances that no transfers make: one is missing, doubled or torn";
}

bool lw_bank_check(const lw_bank *bank, lw_memory *memory, lw_buffer *report) {
    uint32_t complaints = 0;
    judge of = {.bank = bank,
                .missing = lw_allocate_zero(memory, (bank->account_count + 1) * sizeof(int64_t))};
    for (const lw_bank_read *each = bank->reads; each != NULL; each = each->next) {
        of.read = each;
        const char *fault = judge_read(&of);
        if (fault != NULL && ++complaints <= REPORTS_MAX) {
            lw_buffer_print(report, "bank: read of process %u, %llu to %llu ns: %s\n",
                            each->process, (unsigned long long)each->invoke_ns,
                            (unsigned long long)each->complete_ns, fault);
        }
    }
    lw_free(memory, of.missing);
    return complaints == 0;
}
