/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/workload_private.h"

#include <stdlib.h>

#include "client/client.h"
#include "sim/check.h"
#include "sim/page.h"

enum {
    LIFE_MS = 2000, /* well within what a lock lives */
    LIST_WINDOW = 6,
    BOTH_PERCENT = 15, /* of the runs have transactions of both isolations */
    STRICT_PERCENT = 60,
    SPLITS_MAX = 14,
    MORE_PERCENT = 40,  /* of the runs have some of the workloads that not all have, */
    MORE_SHARE = 15,    /* each this often */
    QUESTIONS_MAX = 12, /* where a key lies, until somebody must have told it */
};

/* Some hurry, and some outlive their locks. */
static const uint32_t timeouts_ms[10] = {10,   20000, 20000, 5000, 5000,
                                         5000, 5000,  5000,  5000, 5000};

/* How often each is chosen, of all together; and every seed leaves some of them out. */
static const uint32_t usual_shares[LW_WORKLOAD_USUAL_COUNT] = {
    [LW_WORKLOAD_MIXTURE] = 60, [LW_WORKLOAD_CONSTRAINT] = 20, [LW_WORKLOAD_BANK] = 20,
    [LW_WORKLOAD_COUNTER] = 20, [LW_WORKLOAD_CHURN] = 20,      [LW_WORKLOAD_EXPIRY] = 15,
    [LW_WORKLOAD_FORGERY] = 2,  [LW_WORKLOAD_SPLIT] = 3};

static void draw_shares(lw_workload *workload, lw_chance *chance) {
    for (int kind = 0; kind < LW_WORKLOAD_USUAL_COUNT; kind++) {
        bool absent = kind != LW_WORKLOAD_MIXTURE && lw_chance_percent(chance, 25);
        workload->shares[kind] = absent ? 0 : usual_shares[kind];
        workload->share_sum += workload->shares[kind];
    }
}

void lw_workload_init(lw_workload *workload, lw_memory *memory, lw_chance *chance,
                      uint64_t (*now_ns)(void *clock), void *clock) {
    static const uint32_t percents[] = {0, 25, 25, 25, 60, 100};
    *workload = (lw_workload){.memory = memory,
                              .history = lw_history_in(memory),
                              .now_ns = now_ns,
                              .clock = clock,
                              .list_window = LIST_WINDOW,
                              .lists_begun = LIST_WINDOW,
                              .next_element = 1,
                              .counter = lw_counter_in(memory, false),
                              .rerun = lw_counter_in(memory, true),
                              .log = lw_buffer_in(memory),
                              .journal = lw_buffer_in(memory),
                              .journal_refused = lw_buffer_in(memory),
                              .violations = lw_buffer_in(memory)};
    bool both = lw_chance_percent(chance, BOTH_PERCENT);
    workload->strict = both || lw_chance_percent(chance, STRICT_PERCENT);
    workload->snapshot = both || !workload->strict;
    workload->pessimistic_percent = percents[lw_chance_below(chance, 6)];
    workload->splits_left = (uint32_t)lw_chance_between(chance, 1, SPLITS_MAX);
    draw_shares(workload, chance);
}

void lw_workload_add(lw_workload *workload, lw_chance *chance) {
    bool more = lw_chance_percent(chance, MORE_PERCENT);
    for (int kind = LW_WORKLOAD_USUAL_COUNT; kind < LW_WORKLOAD_COUNT; kind++) {
        workload->shares[kind] = more && lw_chance_percent(chance, 50) ? MORE_SHARE : 0;
        workload->share_sum += workload->shares[kind];
    }
    for (uint32_t block = 0; block < LW_BLOCKS; block++) {
        workload->blocks_known[block] = true;
    }
}

bool lw_workload_has_more(const lw_workload *workload) {
    bool any = false;
    for (int kind = LW_WORKLOAD_USUAL_COUNT; kind < LW_WORKLOAD_COUNT; kind++) {
        any = any || workload->shares[kind] > 0;
    }
    return any;
}

void lw_workload_reset(lw_workload *workload) {
    lw_history_reset(&workload->history);
    lw_buffer_reset(&workload->violations);
    lw_buffer_reset(&workload->counter.told);
    lw_buffer_reset(&workload->rerun.told);
    lw_buffer_reset(&workload->log);
    lw_buffer_reset(&workload->journal);
    lw_buffer_reset(&workload->journal_refused);
}

/* ---- promises of every transaction -------------------------------------------------------- */

void workload_note_timestamp(const workload_txn *in) {
    lw_workload *workload = in->self->workload;
    uint64_t read = lw_read_timestamp(in->txn);
    if (read > workload->highest_timestamp) {
        workload->highest_timestamp = read;
    }
}

/* Timestamps increase with real time: what a transaction is told is above all that any client was
 * told before it began (hazard O2). Nothing is told as 0. */
static void judge_timestamps(const workload_txn *in) {
    lw_workload *workload = in->self->workload;
    uint64_t read = lw_read_timestamp(in->txn), commit = lw_commit_timestamp(in->txn);
    uint64_t higher = commit > read ? commit : read;
    if ((read != 0 && read <= in->floor) ||
        (commit != 0 && (commit <= in->floor || commit <= read))) {
        lw_buffer_print(&workload->violations,
                        "timestamps: a transaction read at %" PRIu64 " and committed at %" PRIu64
                        ", and %" PRIu64 " was told before it began\n",
                        read, commit, in->floor);
    }
    if (higher > workload->highest_timestamp) {
        workload->highest_timestamp = higher;
    }
}

/* Locks live as long as LW_LOCK_LIFETIME_MS says: where nothing disturbs, nobody rolls back the
 * transaction of a client that commits sooner. */
static void judge_rollback(const workload_txn *in, uint64_t began_ns) {
    lw_workload *workload = in->self->workload;
    bool sooner = workload->now_ns(workload->clock) - began_ns < LIFE_MS * UINT64_C(1000000);
    if (workload->prompt && sooner &&
        strstr(lw_client_error(in->client), "was rolled back") != NULL) {
        lw_buffer_print(&workload->violations, "locks: a live transaction was rolled back: %s\n",
                        lw_client_error(in->client));
    }
}

/* Where nothing disturbs, a node that is asked which shard holds a key tells it. */
static void judge_way(const workload_txn *in) {
    static const char before[] = "; the last of ";
    const char *error = lw_client_error(in->client), *times = strstr(error, before);
    uint64_t count = times == NULL ? 0 : strtoull(times + strlen(before), NULL, 10);
    if (in->self->workload->undisturbed && count >= QUESTIONS_MAX) {
        lw_buffer_print(&in->self->workload->violations, "routes: %s\n", error);
    }
}

/* ---- one transaction ---------------------------------------------------------------------- */

bool workload_begin(workload_txn *in, lw_env *env, lw_workload_client *self, lw_client *client,
                    bool read_only) {
    const lw_workload *workload = self->workload;
    bool strict = workload->strict && (!workload->snapshot || workload_below(env, 2) == 0);
    bool pessimistic = workload_below(env, 100) < workload->pessimistic_percent;
    *in = (workload_txn){.self = self,
                         .client = client,
                         .env = env,
                         .strict = strict,
                         .floor = workload->highest_timestamp};
    uint32_t timeout_ms = timeouts_ms[workload_below(env, 10)];
    timeout_ms += (uint32_t)workload_below(env, 500);
    lw_txn_options options = {
        .isolation = strict ? LW_STRICT : LW_SNAPSHOT,
        .locking = pessimistic ? LW_PESSIMISTIC : LW_OPTIMISTIC,
        .read_only = read_only,
        .timeout_ms = timeout_ms,
    };
    return lw_begin(client, &options, &in->txn) == LW_OK;
}

/* Asks what became of a transaction, over the client's own connection or as another process would:
 * then what the first had sent may still be on its way. */
LW_YIELDS static lw_status ask_outcome(const workload_txn *in, const char *token) {
    uint64_t commit_timestamp;
    if (workload_below(in->env, 2) == 0) {
        return lw_txn_outcome(in->client, token, &commit_timestamp);
    }
    lw_client_options options = {.address = in->self->address, .label = "heir", .timeout_ms = 5000};
    lw_client *heir = NULL;
    lw_status opened = lw_client_open_in(in->env, &options, &heir);
    LW_ASSERT(opened == LW_OK);
    lw_status status = lw_txn_outcome(heir, token, &commit_timestamp);
    lw_close(heir);
    lw_env_sleep(in->env, workload_below(in->env, 2000000000));
    return status;
}

/* Commits, and asks for the outcome if it is in doubt, as a careful user would; sometimes not. */
LW_YIELDS static lw_outcome commit(workload_txn *in) {
    uint64_t began_ns = in->self->workload->now_ns(in->self->workload->clock);
    in->self->committing = true;
    lw_status status = lw_commit(in->txn);
    in->self->committing = false;
    if (status == LW_CONFLICT) {
        judge_rollback(in, began_ns);
    }
    if (status == LW_UNDETERMINED && workload_below(in->env, 2) == 0) {
        lw_status outcome = ask_outcome(in, lw_txn_token(in->txn));
        status = outcome == LW_OK ? LW_OK : outcome == LW_NOT_FOUND ? LW_CONFLICT : LW_UNDETERMINED;
    }
    return status == LW_OK             ? LW_OUTCOME_OK
           : status == LW_UNDETERMINED ? LW_OUTCOME_INFO
                                       : LW_OUTCOME_FAIL;
}

void workload_count(lw_workload *workload, lw_workload_client *self, lw_outcome outcome) {
    workload->committed += outcome == LW_OUTCOME_OK;
    workload->failed += outcome == LW_OUTCOME_FAIL;
    workload->in_doubt += outcome == LW_OUTCOME_INFO;
    self->done += outcome != LW_OUTCOME_INFO;
    self->told = outcome == LW_OUTCOME_OK     ? "committed"
                 : outcome == LW_OUTCOME_FAIL ? "refused"
                                              : "in doubt";
}

lw_outcome workload_finish(workload_txn *in, lw_status status) {
    lw_outcome outcome = LW_OUTCOME_FAIL;
    if (status == LW_OK) {
        outcome = commit(in);
    } else {
        judge_way(in);
        (void)!lw_rollback(in->txn);
    }
    judge_timestamps(in);
    workload_count(in->self->workload, in->self, outcome);
    return outcome;
}

void workload_close(workload_txn *in) {
    lw_txn_close(in->txn);
}

/* ---- clients ------------------------------------------------------------------------------ */

typedef struct client_fiber {
    lw_env *env;
    lw_workload_client *self;
} client_fiber;

LW_YIELDS static void run_counter(lw_workload_client *self, lw_client *client,
                                  lw_counter *counter) {
    lw_workload *workload = self->workload;
    lw_status status = lw_counter_add(counter, client, &workload->violations);
    workload_count(workload, self,
                   status == LW_OK             ? LW_OUTCOME_OK
                   : status == LW_UNDETERMINED ? LW_OUTCOME_INFO
                                               : LW_OUTCOME_FAIL);
}

static lw_workload_kind draw_kind(lw_env *env, const lw_workload *workload) {
    uint64_t place = workload_below(env, workload->share_sum);
    int kind = 0;
    while (place >= workload->shares[kind]) {
        place -= workload->shares[kind++];
    }
    return (lw_workload_kind)kind;
}

LW_YIELDS static void run_one(lw_env *env, lw_workload_client *self, lw_client *client,
                              uint32_t *process, lw_workload_kind kind) {
    switch (kind) {
    case LW_WORKLOAD_MIXTURE:
        workload_run_mixture(env, self, client, process);
        break;
    case LW_WORKLOAD_CONSTRAINT:
        workload_run_constraint(env, self, client);
        break;
    case LW_WORKLOAD_BANK:
        workload_run_bank(env, self, client);
        break;
    case LW_WORKLOAD_COUNTER:
        run_counter(self, client, &self->workload->counter);
        break;
    case LW_WORKLOAD_CHURN:
        workload_run_churn(env, self, client);
        break;
    case LW_WORKLOAD_EXPIRY:
        workload_run_expiry(env, self, client);
        break;
    case LW_WORKLOAD_FORGERY:
        workload_run_forgery(env, self, client);
        break;
    case LW_WORKLOAD_SPLIT:
        workload_run_split(env, self, client);
        break;
    case LW_WORKLOAD_ALONE:
        workload_run_alone(env, self, client, *process);
        break;
    case LW_WORKLOAD_JOURNAL:
        workload_run_journal(env, self, client);
        break;
    case LW_WORKLOAD_BULK:
        workload_run_bulk(env, self, client);
        break;
    case LW_WORKLOAD_PIN:
        workload_run_pin(env, self, client);
        break;
    case LW_WORKLOAD_RERUN:
        run_counter(self, client, &self->workload->rerun);
        break;
    case LW_WORKLOAD_COUNT:
        break;
    }
}

/* The same, with its place on the page of the run. */
LW_YIELDS static void run_drawn(lw_env *env, lw_workload_client *self, lw_client *client,
                                uint32_t *process, const char *host) {
    static const char *const names[LW_WORKLOAD_COUNT] = {
        [LW_WORKLOAD_MIXTURE] = "mixture", [LW_WORKLOAD_CONSTRAINT] = "constraint",
        [LW_WORKLOAD_BANK] = "bank",       [LW_WORKLOAD_COUNTER] = "counter",
        [LW_WORKLOAD_CHURN] = "churn",     [LW_WORKLOAD_EXPIRY] = "expiry",
        [LW_WORKLOAD_FORGERY] = "forgery", [LW_WORKLOAD_SPLIT] = "split",
        [LW_WORKLOAD_ALONE] = "alone",     [LW_WORKLOAD_JOURNAL] = "journal",
        [LW_WORKLOAD_BULK] = "bulk",       [LW_WORKLOAD_PIN] = "pin",
        [LW_WORKLOAD_RERUN] = "rerun"};
    lw_workload_kind kind = draw_kind(env, self->workload);
    uint32_t drawn = lw_page_txn_begin(self->workload->page, host, names[kind], *process);
    self->told = "";
    run_one(env, self, client, process, kind);
    lw_page_txn_end(self->workload->page, drawn, self->told);
}

LW_YIELDS static void think(lw_env *env, const lw_workload *workload) {
    uint64_t step_ns = 20000000;
    lw_env_sleep(env, workload->marching ? step_ns - workload->now_ns(workload->clock) % step_ns
                                         : workload_below(env, step_ns));
}

LW_YIELDS static void client_main(void *argument) {
    client_fiber *fiber = argument;
    lw_env *env = fiber->env;
    lw_workload_client *self = fiber->self;
    lw_workload *workload = self->workload;
    uint32_t process = workload->next_process++;
    self->open = NULL; /* of one that died, nobody knows more */
    self->committing = false;
    while (!workload->stopping) {
        char label[16], host[16];
        (void)snprintf(label, sizeof(label), "client-%u", self->number);
        (void)snprintf(host, sizeof(host), "client%u", self->number);
        lw_client_options options = {.address = self->address, .label = label, .timeout_ms = 5000};
        lw_client *client = NULL;
        lw_status opened = lw_client_open_in(env, &options, &client);
        LW_ASSERT(opened == LW_OK);
        uint64_t rounds = 1 + workload_below(env, 50);
        for (uint64_t round = 0; round < rounds && !workload->stopping; round++) {
            run_drawn(env, self, client, &process, host);
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

/* ---- the end ------------------------------------------------------------------------------ */

/* What was in doubt is not any more: whoever asks is told, and what is told must be so. */
LW_YIELDS static lw_status resolve_doubts(lw_workload *workload, lw_client *client) {
    for (lw_history_txn *txn = workload->history.txns; txn != NULL; txn = txn->next) {
        if (txn->outcome != LW_OUTCOME_INFO || txn->token == NULL) {
            continue;
        }
        lw_status status = lw_txn_outcome(client, txn->token, &txn->commit_timestamp);
        if (status == LW_TOO_OLD) {
            txn->token = NULL; /* nobody knows any more, and who asks is told that */
            continue;
        }
        if (status != LW_OK && status != LW_NOT_FOUND) {
            return status;
        }
        lw_history_end(txn, status == LW_OK ? LW_OUTCOME_OK : LW_OUTCOME_FAIL,
                       workload->now_ns(workload->clock));
    }
    return LW_OK;
}

LW_YIELDS static lw_status final_sum(lw_workload *workload, lw_client *client) {
    lw_txn_options options = {.read_only = 1};
    lw_txn *txn = NULL;
    LW_TRY(lw_begin(client, &options, &txn));
    lw_status status = workload_sum_accounts(workload, txn, false);
    lw_txn_close(txn);
    return status;
}

/* Of the workloads that only some runs have. */
LW_YIELDS static lw_status final_of_some(lw_workload *workload, lw_client *client) {
    if (workload->shares[LW_WORKLOAD_RERUN] > 0) {
        LW_TRY(lw_counter_final(&workload->rerun, client, &workload->violations));
    }
    if (workload->shares[LW_WORKLOAD_ALONE] > 0) {
        LW_TRY(workload_final_alone(workload, client));
    }
    if (workload->shares[LW_WORKLOAD_JOURNAL] > 0) {
        LW_TRY(workload_final_journal(workload, client));
    }
    if (workload->shares[LW_WORKLOAD_BULK] > 0) {
        LW_TRY(workload_final_bulk(workload, client));
    }
    return workload->loses ? workload_final_lost(workload, client) : LW_OK;
}

lw_status lw_workload_final(lw_workload *workload, lw_client *client) {
    LW_TRY(resolve_doubts(workload, client));
    LW_TRY(workload_final_mixture(workload, client));
    LW_TRY(final_sum(workload, client));
    LW_TRY(lw_counter_final(&workload->counter, client, &workload->violations));
    return final_of_some(workload, client);
}

bool lw_workload_judge(lw_workload *workload, lw_buffer *report) {
    size_t size = report->size;
    if (!lw_check_history(&workload->history, LW_CHECK_AS_TOLD, workload->memory, report)) {
        LW_ASSERT(report->size > size);
    }
    workload_judge_past(workload);
    workload_judge_kills(workload);
    if (workload->broken_constraints > 0 && !workload->snapshot) {
        lw_buffer_print(&workload->violations,
                        "constraints: strict transactions saw %" PRIu64 " broken ones\n",
                        workload->broken_constraints);
    }
    lw_buffer_append(report, lw_buffer_view(&workload->violations));
    return report->size == size;
}
