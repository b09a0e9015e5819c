/* SPDX-License-Identifier: Apache-2.0 */
/* The watch: what must be so at every moment of a run of several nodes, whatever goes wrong. It
 * looks at all nodes every few milliseconds, between events, and notes what each has shown of its
 * replicas. What breaks is a failure of the run.
 *
 * Invariants that it holds the nodes to
 * 1. One node at most leads a shard in a term, over all restarts (election safety; a vote that was
 *    not durable before it was told breaks it).
 * 2. As long as a node serves a shard under a lease nobody else is elected (hazard R7).
 * 3. Who serves a shard has all that any replica knew to be committed in an earlier term (leader
 *    completeness; hazards R1, R2, R4).
 * 4. A replica comes back from a restart with all it had applied, in no earlier term than it led
 *    in, and, if it is still in that term, with all that its leader counts as durable there
 *    (hazard R1). Neither has it forgotten a vote that a candidate counts on.
 * 5. The shards of a node hold no key twice (hazard R11), counting what is being removed there as
 *    long as a crash would bring it back.
 * 6. No replica finds that it differs from its leader (hazard R17).
 * 7. What one replica knows to be committed at an index is of one term everywhere: among the
 * entries of others that know it to be committed, and of whoever leads later (log matching, state
 * machine safety; hazards R2, R3, R4).
 * 8. Who comes to serve a shard after others takes every key for read up to what had been given
 *    before it was elected (hazard T4), and who serves it no more has no locks in its range (T7).
 * 9. One node at most is sure to be the oracle (hazard O1), what it gives is above all that had
 *    been given before it led (hazard O2), and at the time of day, whatever its clock says, if it
 *    has been told the oracle's time or has two others to ask (O3).
 * 10. A shard does not come to have fewer voters while all that it has are up and stay (R15).
 * 11. A node that has let go of a replica takes none of the same configuration again, or of an
 *    earlier one, as long as it runs (R14), unless bits rot, and it comes anew, or what it is split
 *    off comes here from before that split; then it does not lead in that configuration.
 * 12. A replica that is frozen, to become part of another shard, stays as it is (R12). */
#ifndef LW_SIM_WATCH_H
#define LW_SIM_WATCH_H

#include "lattice/message.h"
#include "node/group.h"

struct lw_sim_trial;

enum { LW_SIM_WATCHED_MAX = 256, LW_SIM_WATCHED_NODES_MAX = 7, LW_SIM_WATCHED_ENTRIES = 64 };

/* How a replica was when it was held to what others know to be committed, and to how much of it. */
typedef struct lw_sim_compared {
    uint64_t term;
    bool leading;
    uint64_t committed; /* index */
    uint64_t count;     /* of entries that were known */
} lw_sim_compared;

/* What a node has shown of its replica of a shard. */
typedef struct lw_sim_replica_past {
    uint64_t boot;    /* the last one in which it was looked at; 0: it has none, or nothing of it */
    uint64_t applied; /* the highest index */
    uint64_t led;     /* the last term in which it led */
    uint64_t acknowledged, acknowledged_term; /* what its leader counts on, of that term */
    uint64_t voted_term, voted_for;           /* a vote that somebody counts on */
    uint64_t applied_term;                    /* of the highest index */
    lw_sim_compared compared;                 /* to what others know to be committed */
    lw_group_pulse pulse;                     /* at the last look */
    uint64_t given_idle;                      /* the highest timestamp when it did not lead */
    uint64_t seen;                            /* which look last found it, in a term it */
    uint64_t seen_serving;                    /* served in; 0: it did not */
} lw_sim_replica_past;

/* An entry that somebody knew to be committed. */
typedef struct lw_sim_committed {
    uint64_t index, term;
    uint64_t known_term; /* of who knew it, when it did */
} lw_sim_committed;

/* That a node holds a shard, or did. */
typedef struct lw_sim_holding {
    uint64_t boot, look; /* in which it was last seen to; 0: never */
    uint64_t config;     /* its configuration then */
    uint64_t left;       /* and when it let go of it in this boot; 0: it did not */
    uint64_t frozen;     /* the range version in which it was frozen then; 0: it was not, */
    uint64_t memtables, size, flushed; /* with so many of them, and bytes, behind that index */
} lw_sim_holding;

typedef struct lw_sim_shard_past {
    uint64_t shard;
    uint64_t term, leader; /* the highest one in which somebody led, and that node's id */
    uint64_t committed, committed_term; /* the highest index, known by whom in that term */
    uint64_t leased_at;                 /* which look last found a lease, of whom, of which term */
    uint32_t leased_by;
    uint64_t leased_term;
    uint64_t served; /* the last term in which somebody was seen to serve it */
    uint64_t led_at; /* which look last found a leader of `term` */
    uint32_t led_by;
    uint64_t entry_count; /* seen so far; the last ones are kept */
    lw_sim_committed entries[LW_SIM_WATCHED_ENTRIES];
    lw_sim_replica_past replicas[LW_SIM_WATCHED_NODES_MAX];
    uint64_t config;                        /* the latest that served with no change under way, */
    uint64_t voters[LW_SHARD_REPLICAS_MAX]; /* and who voted then */
    uint32_t voter_count;
    lw_sim_holding holdings[LW_SIM_WATCHED_NODES_MAX];
} lw_sim_shard_past;

/* Of a node that leads the root shard. */
typedef struct lw_sim_oracle_past {
    uint64_t floor; /* above all that had been given before it led; 0: it does not */
    uint64_t boot;  /* in which it served at the last look; 0: it did not */
    uint64_t last;  /* what it knew to be given at the last look */
    bool told;      /* the oracle's time, since it was started */
} lw_sim_oracle_past;

typedef struct lw_sim_watch {
    lw_sim_shard_past shards[LW_SIM_WATCHED_MAX];
    uint32_t shard_count;
    uint64_t looks;
    uint64_t given, given_before; /* the highest timestamp that was, and at the look before */
    lw_sim_oracle_past oracles[LW_SIM_WATCHED_NODES_MAX];
    bool dark;   /* no node was up for a while: a wall clock was believed */
    bool broken; /* said once */
} lw_sim_watch;

/* Looks from now on. */
void lw_sim_watch_begin(struct lw_sim_trial *it);
/* Looks now, too. */
void lw_sim_watch_look(struct lw_sim_trial *it);
/* Appends a line for each node and each replica: for the report of a failure. */
void lw_sim_watch_print(const struct lw_sim_trial *it, lw_buffer *text);
/* The disk of this one of the nodes is gone, and with it all it has shown. */
void lw_sim_watch_forget(struct lw_sim_trial *it, uint32_t node);
/* Whether no node that runs has a replica of it. */
bool lw_sim_watch_absent(const struct lw_sim_trial *it, uint64_t shard);
/* Whether every shard that is known has, on the disks of other nodes, a majority of voters whose
 * set is not about to change: then this node's disk may be lost. */
bool lw_sim_watch_dispensable(struct lw_sim_trial *it, uint32_t node);
/* Whether another node has something that is damaged, which may have to come from this one. */
bool lw_sim_watch_source(const struct lw_sim_trial *it, uint32_t node);
/* Whether a node has all that is committed of every shard that is served. */
bool lw_sim_watch_has_all(struct lw_sim_trial *run, uint32_t node);
/* The timestamp below which whoever serves the key has forgotten the past; `run` is one. */
uint64_t lw_sim_watch_forgotten(void *run, lw_bytes key);

/* ---- parts of every look -------------------------------------------------------------------- */

void lw_sim_watch_oracles(struct lw_sim_trial *it);
void lw_sim_watch_members(struct lw_sim_trial *it);
/* Says what is broken, unless something was before. `shard` 0: it is none of a shard. */
void lw_sim_watch_broken(struct lw_sim_trial *it, uint32_t node, uint64_t shard, const char *what,
                         const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
