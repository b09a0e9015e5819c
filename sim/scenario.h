/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios: a node and its clients in a world, first in trouble (safety), then left in peace
 * (liveness), then judged. Scenarios are data; the run itself is one piece of code for all of them.
 *
 * Judged is: no client was told anything that did not hold (sim/workload.h), the history of lists
 * is sound at the isolation the run was made at, every acknowledged write is there after a last
 * loss of power, the node comes up again after every crash, and once the faults have ended every
 * client gets on within a bounded virtual time. */
#ifndef LW_SCENARIO_H
#define LW_SCENARIO_H

#include "sim/strike.h"
#include "sim/world.h"

enum { LW_SCENARIO_NODES_MAX = 7, LW_SCENARIO_CLIENTS_MAX = 12 };

struct lw_machines;

typedef struct lw_scenario {
    const char *name, *text;
    uint32_t node_count;         /* 0: one */
    uint32_t node_min;           /* with fewer what is judged is not to be had; 0: one will do */
    bool faults[LW_FAULT_COUNT]; /* those that may happen, at about their usual rates */
    uint32_t crash_every_ms;     /* mean virtual time between losses of power and kills; 0: none */
    uint32_t pause_every_ms;     /* mean virtual time between pauses; 0: none */
    uint32_t cut_every_ms;       /* mean virtual time between network partitions; 0: none */
    uint32_t full_percent;       /* of the runs: the disk fills up for a while */
    uint32_t operate_every_ms;   /* mean virtual time between what operators ask; 0: nothing */
    uint32_t lose_percent;       /* of the runs: a disk is lost that others can do without */
    uint32_t copy_percent;       /* of the runs: the folder of a node is copied, and started */
    bool outage;                 /* now and then all nodes lose power at once */
    bool storm;                  /* short, small and hard: see sim/storm.h */
    bool engine;                 /* no node, but the storage engine alone: see sim/engine.h */
    bool bare;                   /* nodes that are shards and nothing else: see sim/bare.h */
    bool links;                  /* nodes that are links and nothing else: see sim/links.h */
    uint32_t rot_every_ms;       /* mean virtual time between bits that rot in tables; 0: none */
    bool damage;                 /* a node may end by saying that its data is damaged */
    /* Plays a run of machines alone, without nodes and clients: see sim/machines.h. NULL: none of
     * these. */
    void (*machines)(struct lw_machines *it);
} lw_scenario;

static inline bool lw_scenario_has_clients(const lw_scenario *scenario) {
    return scenario->machines == NULL && !scenario->engine && !scenario->bare && !scenario->links;
}
/* The scenario of this name, or NULL; and all of them, ended by one without a name. */
const lw_scenario *lw_scenario_find(const char *name);
extern const lw_scenario lw_scenarios[];

typedef struct lw_run_options {
    const lw_scenario *scenario;
    uint64_t seed;
    uint32_t node_count;   /* 0: the scenario's */
    uint32_t client_count; /* 0: drawn */
    const bool *allowed;   /* of LW_FAULT_COUNT: those of the scenario's that may happen, or NULL */
    const lw_strike_list *strikes;      /* what strikes, and nothing else; NULL: what chance has */
    lw_strike_list *struck;             /* receives what struck; or NULL */
    const char *const *bugs;            /* planted ones to switch on, ended by NULL; or NULL */
    const struct lw_sim_workload *user; /* runs instead of our own workload; NULL: none */
    const char *const *settings;        /* of it: "NAME=VALUE", ended by NULL; or NULL */
    const char *page;                   /* the file that the run is drawn into; NULL: none */
    FILE *trace;                        /* every event as it happens; NULL: none */
    FILE *history; /* the history of lists, or what users' callbacks said, as JSON
                      lines; NULL: none */
    FILE *report;  /* the last events of a run that failed; NULL: none */
} lw_run_options;

typedef struct lw_run_result {
    bool passed;
    bool damaged; /* the run ended because the node said that its data is damaged */
    uint64_t hash;
    uint64_t virtual_ns;
    uint64_t boots;
    uint64_t committed, failed, in_doubt;
    bool strict;                 /* all of its transactions were */
    uint64_t broken_constraints; /* seen: allowed unless it is strict */
    /* Virtual time from the end of the faults to the first commit, to when every client had got on,
     * and, of several nodes, to when all had come together. 0: it never came to that. */
    uint64_t resumed_ms, lively_ms, converged_ms;
    lw_buffer failures; /* what was violated, a line each */
} lw_run_result;

/* Called with every mark and fault that was hit in a run. */
typedef void (*lw_run_marks)(void *argument, const lw_mark *mark);

/* Runs one seed. `result->failures` is made in `memory`. `marks` may be NULL. */
void lw_scenario_run(const lw_run_options *options, lw_memory *memory, lw_run_marks marks,
                     void *argument, lw_run_result *result);

#endif
