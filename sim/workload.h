/* SPDX-License-Identifier: Apache-2.0 */
/* Workloads: what the clients of a simulation do, written against the ordinary lathwork.h. Each
 * client is a fiber in an env of its own and may be dropped at any moment, so everything that
 * outlives it belongs to the workload. Which of them run, how often, at which isolation and how
 * many transactions are pessimistic is drawn by seed (swarm).
 *
 * Mixture (sim/workload_mixture.c): transactions of one to four, sometimes twenty, reads, appends,
 * writes, inserts and scans over a few hot lists and rows: the history that the checker judges.
 * Lists are also read at timestamps of the past, where what is there never changes again.
 *
 * Constraints (sim/workload_constraint.c): pairs of rows of which one must be set, and ranges that
 * may hold so many rows and no more. Kept by every transaction that sees a consistent state, and
 * broken by two that overlap: write skew and phantoms. At strict isolation that must never show; at
 * snapshot isolation it does.
 *
 * Bank (sim/workload_bank.c): transfers between accounts, by what was read or by atomic additions,
 * and scans whose sum never changes.
 *
 * Counter: see counter.h.
 *
 * Churn (sim/workload_churn.c): inserts, deletes and range deletes over a few keys of the client's
 * own, each checked against what the client knows; with values of every size, so that all of the
 * storage moves.
 *
 * Expiry (sim/workload_expiry.c): values of the client's own that live for a while, also as seen
 * from later; and nothing that was read of them is committed at strict isolation after they
 * expired.
 *
 * Forgery (sim/workload_forgery.c): a client that makes timestamps up. It must be refused.
 *
 * Straggler (sim/workload_straggler.c): a client that takes its time, beside the others in some
 * runs: it commits what was given up for it, and holds on to the past.
 *
 * Split (sim/workload_split.c): shards are split and merged, up to SPLITS_MAX times in a run.
 *
 * In some runs, too:
 *
 * Alone (sim/workload_alone.c): registers that are compared and set, extremes, a value that all
 * append to; each operation a transaction of its own.
 *
 * Journal (sim/workload_journal.c): entries under the timestamps of their commits.
 *
 * Bulk (sim/workload_bulk.c): transactions that are larger than what a client keeps.
 *
 * Pin (sim/workload_pin.c): snapshots that are kept.
 *
 * Rerun: a counter that is read and put in lw_run, see counter.h.
 *
 * What an operator who kills transactions is told is held against their clients' history
 * (sim/workload_kill.c), and reads of the past against what their shard had forgotten. */
#ifndef LW_WORKLOAD_H
#define LW_WORKLOAD_H

#include "base/env.h"
#include "client/lathwork.h"
#include "sim/chance.h"
#include "sim/counter.h"
#include "sim/history.h"

typedef enum lw_workload_kind {
    LW_WORKLOAD_MIXTURE,
    LW_WORKLOAD_CONSTRAINT,
    LW_WORKLOAD_BANK,
    LW_WORKLOAD_COUNTER,
    LW_WORKLOAD_CHURN,
    LW_WORKLOAD_EXPIRY,
    LW_WORKLOAD_FORGERY,
    LW_WORKLOAD_SPLIT,
    LW_WORKLOAD_USUAL_COUNT, /* up to here, in every run; the others in some: */
    LW_WORKLOAD_ALONE = LW_WORKLOAD_USUAL_COUNT,
    LW_WORKLOAD_JOURNAL,
    LW_WORKLOAD_BULK,
    LW_WORKLOAD_PIN,
    LW_WORKLOAD_RERUN,
    LW_WORKLOAD_COUNT,
} lw_workload_kind;

/* What a list held at a timestamp of the past. */
typedef struct lw_past_read {
    uint64_t timestamp;
    uint32_t key;
    const uint64_t *elements;
    uint32_t element_count;
} lw_past_read;

enum {
    LW_BANK_ACCOUNTS = 6,
    LW_BANK_BALANCE = 100,
    LW_PAST_READS_MAX = 64,
    LW_OWN_KEYS = 16,
    LW_LEASES = 4,
    LW_KILLS_MAX = 256, /* that are remembered */
    LW_ALONE_REGISTERS = 3,
    LW_BLOCKS = 12, /* one for each client that a run may have */
};

/* A value that expires, as its client was told. */
typedef struct lw_lease {
    bool known;      /* else nothing of it is */
    uint64_t number; /* 0: there never was one */
    uint64_t from, expires;
} lw_lease;

/* What somebody was told who killed a transaction. */
typedef struct lw_kill_note {
    uint64_t start;            /* of the transaction */
    uint64_t commit_timestamp; /* 0: it was killed */
    uint64_t given;            /* the highest timestamp that had been given then */
} lw_kill_note;

typedef struct lw_workload {
    lw_memory *memory; /* outlives every env */
    lw_history history;
    bool strict, snapshot; /* the isolations of transactions: one of them, or both */
    uint32_t pessimistic_percent;
    uint32_t shares[LW_WORKLOAD_COUNT], share_sum;
    uint64_t (*now_ns)(void *clock); /* one clock for all clients */
    void *clock;
    uint32_t list_window; /* lists that are hot at a time */
    uint32_t lists_begun; /* the window ends here; it moves on as transactions are begun */
    uint64_t next_element;
    uint32_t next_process;
    bool marching; /* clients begin at the same moments, so that their commits meet */
    bool stopping; /* clients end after their transaction */
    uint32_t splits_left;
    uint32_t running;
    uint64_t committed, failed, in_doubt;
    uint64_t highest_timestamp;  /* that a client was told so far */
    bool undisturbed;            /* nobody loses a connection or a clock */
    bool prompt;                 /* ... nor waits long for another: see judge_rollback */
    uint64_t broken_constraints; /* that committed transactions saw: none may be at strict */
    lw_past_read past[LW_PAST_READS_MAX];
    uint32_t past_count; /* all that were made; the last ones are kept */
    lw_kill_note kills[LW_KILLS_MAX];
    uint32_t kill_count; /* all that were made; the last ones are kept */
    /* Below which timestamp the one that serves the key has forgotten the past; NULL: nobody says.
     */
    uint64_t (*forgotten)(void *looker, lw_bytes key);
    void *looker;
    lw_counter counter, rerun;
    uint64_t registers[LW_ALONE_REGISTERS]; /* alone: what each held lately; 0: nothing */
    int64_t extremes[2];                    /* that were told: the most, the least negated */
    uint64_t log_told;                      /* how long it was */
    lw_buffer log;                          /* (element, end), u64 each, of what was acknowledged */
    lw_buffer journal; /* (number, timestamp or 0), u64 each, of entries that were acknowledged */
    lw_buffer journal_refused;  /* numbers */
    uint64_t blocks[LW_BLOCKS]; /* bulk: the number in each when last known; 0: nothing */
    bool blocks_known[LW_BLOCKS];
    bool loses;           /* a client that is lost for good */
    struct lw_page *page; /* on which transactions are drawn; NULL: none */
    /* Broken promises, one line each; none if empty. */
    lw_buffer violations;
} lw_workload;

/* One client. Lives as long as the workload; its env may go. */
typedef struct lw_workload_client {
    lw_workload *workload;
    const char *address; /* of a node */
    uint32_t number;
    uint64_t own[LW_OWN_KEYS]; /* churn: what its keys held when last known; 0: nothing */
    bool own_known[LW_OWN_KEYS];
    lw_lease leases[LW_LEASES]; /* expiry */
    uint64_t done;              /* transactions with a known outcome */
    lw_history_txn *open;       /* the one of the mixture that is under way, if there is one, */
    bool committing;            /* and its commit is */
    const char *told;           /* of the last one: what became of it, for the page */
} lw_workload_client;

void lw_workload_init(lw_workload *workload, lw_memory *memory, lw_chance *chance,
                      uint64_t (*now_ns)(void *clock), void *clock);
/* Draws which of the workloads that only some runs have this one has. */
void lw_workload_add(lw_workload *workload, lw_chance *chance);
/* Whether it has any of those. */
bool lw_workload_has_more(const lw_workload *workload);
void lw_workload_reset(lw_workload *workload);
/* Starts the client's fiber in `env`. */
void lw_workload_start(lw_env *env, lw_workload_client *client);
/* Starts the straggler's, one for all of the run. */
void lw_workload_straggle(lw_env *env, lw_workload_client *client);
/* Starts that of one that will be lost, and does not end by itself. */
void lw_workload_lose(lw_env *env, lw_workload_client *client);
/* By what a transaction is known that is open just now, preferably one that commits; 0: none. */
uint64_t lw_workload_victim(lw_env *env, const lw_workload_client *clients, uint32_t count);
/* Somebody killed one, and was told what became of it. */
void lw_workload_note_kill(lw_workload *workload, const lw_kill_note *note);
/* The bank's first transaction: must be repeated until it is LW_OK. */
LW_MUST_USE LW_YIELDS lw_status lw_workload_fill(lw_client *client);
/* Asks what became of every transaction in doubt, reads everything once more, as final transactions
 * of the history, and checks the bank and the counter. May be repeated until it is LW_OK. */
LW_MUST_USE LW_YIELDS lw_status lw_workload_final(lw_workload *workload, lw_client *client);
/* Holds the history and everything else that was noted against what was promised; `report` receives
 * a line for each broken promise. */
LW_MUST_USE bool lw_workload_judge(lw_workload *workload, lw_buffer *report);

#endif
