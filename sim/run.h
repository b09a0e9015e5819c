/* SPDX-License-Identifier: Apache-2.0 */
/* One run of a scenario, as its parts share it: the keeper boots what went down (sim/keeper.c),
 * trouble strikes (sim/trouble.c), and the phases (sim/phases.c) end with the judge. All of it is
 * scenario code, outside of fibers. sim/trial.c begins and ends it. */
#ifndef LW_SIM_RUN_H
#define LW_SIM_RUN_H

#include "node/node.h"
#include "sim/scenario.h"
#include "sim/storm.h"
#include "sim/strike.h"
#include "sim/watch.h"
#include "sim/workload.h"

#define LW_SIM_NS_PER_MS UINT64_C(1000000)
enum {
    LW_SIM_CLIENTS_MAX = LW_SCENARIO_CLIENTS_MAX,
    LW_SIM_NODES_MAX = LW_SCENARIO_NODES_MAX,
    LW_SIM_ADDRESSES_SIZE = 24 * LW_SIM_NODES_MAX,
    LW_SIM_SAFETY_MS = 12000,
    LW_SIM_STORM_MS = 8000, /* of a storm */
};

typedef enum lw_sim_node {
    LW_SIM_DOWN,    /* no process */
    LW_SIM_OPENING, /* lw_node_open is under way */
    LW_SIM_SERVING,
    LW_SIM_FAILED,  /* it could not open, or died of its disk: the process is to be ended */
    LW_SIM_CLOSING, /* lw_node_close is under way */
    LW_SIM_CLOSED,  /* it has stopped in good order: the process is to be ended */
} lw_sim_node;

/* One of the nodes. */
typedef struct lw_sim_member {
    struct lw_sim_trial *of;
    char name[12], address[24];
    lw_host *host;
    lw_node *node;            /* while it serves */
    struct lw_shards *shards; /* the same of a bare one (sim/bare.h) */
    lw_env *env;              /* of its process */
    uint64_t id;              /* when it last served; 0: it never did */
    uint64_t boot;            /* how often it was started */
    lw_sim_node state;
    lw_error error;       /* of one that failed */
    uint64_t incarnation; /* when it last served; 0: it never did */
    char cluster[40];     /* likewise */
    uint64_t boot_ns;     /* when it was last started */
    uint64_t closing_ns;  /* since when it stops in good order */
    uint64_t struck;      /* what had befallen its disk by then */
    bool opening_failed;  /* it did not come up then */
    bool replaced;        /* its disk was lost: it comes as somebody new, also if it founded */
    uint64_t lost_id;    /* who it was before; 0: its disk was not lost, or that one is taken out */
    uint32_t unheard_of; /* how often in a row nobody knew that one */
    bool left_behind;    /* the lattice's key was changed while it was away: it needs a token */
    uint32_t token_epoch; /* of the key that its token was made with when it was started */
    bool ending;          /* its process is to be ended */
    bool drained;         /* was asked to hold nothing */
    bool drain_asked;     /* ever */
    bool leaving;         /* was asked to go for ever, */
    bool out;             /* and has */
    bool expelled;        /* somebody took it for lost */
    bool storm;           /* it mostly goes down again soon after it came up */
    bool behind;          /* its wall clock lags at its next start */
    uint64_t handed;      /* shards, to other leaders, in the run that was there when peace came, */
    uint64_t handed_boot; /* by its boot; 0: it did not serve */
} lw_sim_member;

/* What trouble comes by: see sim/trouble.c. */
typedef enum lw_sim_schedule {
    LW_SIM_BEGINNING,
    LW_SIM_CRASHES,
    LW_SIM_PAUSES,
    LW_SIM_CUTS,
    LW_SIM_FILLS,
    LW_SIM_LOSSES,
    LW_SIM_DECAYS,
    LW_SIM_ROTS,
    LW_SIM_PLACES,
    LW_SIM_HUNTS,
    LW_SIM_PARTINGS,
    LW_SIM_MEDDLINGS,
    LW_SIM_ABSENCES,
    LW_SIM_COPIES,
    LW_SIM_DEPARTURES,
    LW_SIM_SCHEDULES,
} lw_sim_schedule;

/* A copy of a node's folder that was started: see sim/clone.c. */
typedef struct lw_sim_clone lw_sim_clone;

/* A file in which a bit has rotted. */
typedef struct lw_sim_rot {
    uint32_t place; /* of the node */
    uint64_t bit;
    char path[LW_PATH_SIZE];
} lw_sim_rot;
enum { LW_SIM_ROTS_MAX = 32 };

typedef struct lw_sim_trial {
    const lw_run_options *options;
    lw_run_result *result;
    lw_memory *memory;
    lw_world *world;
    lw_chance chance;
    lw_sim_member nodes[LW_SIM_NODES_MAX];
    uint32_t node_count;
    char addresses[LW_SIM_ADDRESSES_SIZE]; /* of all of them, as a client takes it */
    char token[LW_NODE_TOKEN_SIZE];        /* of the first one, for the others; empty: not yet */
    uint64_t retention_ms;
    uint64_t shard_size;     /* small, so that shards are split for it in most runs */
    uint64_t merge_after_ms; /* see lw_node_options */
    size_t memory_size;      /* of each node */
    uint32_t voters;         /* replicas of each shard */
    uint64_t dead_after_ms;  /* see lw_node_options */
    bool key_changed;        /* an operator has had the lattice's key changed: tokens die by that */
    uint32_t token_epoch;    /* of the one that the token was made with */
    lw_sim_storm storm;
    lw_arena storm_memory;
    lw_sim_watch watch;
    struct lw_page *page;         /* that is drawn of the run; NULL: none */
    bool copies;                  /* the folder of a node is copied in this run: then none fails */
    lw_sim_clone *clone;          /* NULL: none was made */
    struct lw_sim_leaver *leaver; /* NULL: there is none (sim/leaver.c) */
    lw_host *operator_host;
    uint32_t operate_every_ms;          /* 0: nobody asks anything in this run */
    bool operator_done;                 /* all is as it should stay */
    uint32_t part_every_ms;             /* between partings, on average */
    char bad_token[LW_NODE_TOKEN_SIZE]; /* with which somebody tries to come in; empty: nobody */
    struct lw_sim_comparison *comparison;
    lw_buffer account; /* of the nodes, when the first promise was broken */
    lw_workload workload;
    struct lw_user *user;         /* runs in its place; NULL: nobody does (sim/user.h) */
    struct lw_sim_engine *engine; /* runs in place of a node; NULL: none does (sim/engine.h) */
    struct lw_sim_links *links;   /* links alone run in place of nodes; NULL: they do not */
    bool flips;                   /* in memory: replicas that differ come anew */
    struct lw_sim_bare *bare;     /* bare nodes run in place of whole ones; NULL: they do not */
    lw_host *client_hosts[LW_SIM_CLIENTS_MAX];
    lw_workload_client clients[LW_SIM_CLIENTS_MAX];
    uint32_t client_count;
    lw_workload_client straggler, lost;
    lw_host *lost_host; /* NULL: nobody is lost in this run */
    lw_host *judge_host;
    lw_status judge_status; /* of the fiber that fills or reads at the end */
    char judge_error[300];  /* why it did not go on */
    bool judge_done;
    bool disks_tell;   /* how much room they have, which is plenty; else nobody knows */
    bool troubled;     /* the safety phase: whatever strikes may strike */
    uint64_t peace_ns; /* since when nothing strikes any more */
    uint64_t trouble_seed;
    uint64_t occasions[LW_SIM_SCHEDULES]; /* that came so far */
    lw_chance keeping;                    /* the keeper's */
    bool jumpy; /* wall clocks are up to an hour off at some starts of nodes */
    lw_sim_rot rots[LW_SIM_ROTS_MAX];
    uint32_t rot_count;
    uint64_t decayed; /* committed transactions at which power fails after a decay; 0: none yet */
    bool damaged;     /* nothing more is to be learned from this run */
} lw_sim_trial;

/* A node that serves, and whose machine runs; else NULL. */
struct lw_node *lw_sim_serving(const lw_sim_member *node);
/* What a node holds, while it serves and its machine runs; else NULL. */
struct lw_shards *lw_sim_shards_of(const lw_sim_member *node);
/* Notes a broken promise. */
void lw_sim_broken(lw_sim_trial *it, const char *what, const char *detail);
/* The same with a text that is put together; what is broken after something else is not told. */
void lw_sim_broken_first(lw_sim_trial *it, const char *property, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* How long trouble lasts. */
uint64_t lw_sim_safety_ms(const lw_sim_trial *it);
/* Calls function(run) after so many milliseconds of virtual time. */
void lw_sim_after(lw_sim_trial *it, uint64_t delay_ms, void (*function)(void *run));

/* ---- phases ------------------------------------------------------------------------------- */

/* Of whole nodes and their clients. */
void lw_sim_run_phases(lw_sim_trial *it);
/* Lets so much virtual time go by. */
void lw_sim_run_for(lw_sim_trial *it, uint64_t duration_ms);
/* In peace everybody gets on, as nothing stands in the way any more; */
void lw_sim_check_liveness(lw_sim_trial *it);
/* clients end when they are asked to; */
void lw_sim_stop_clients(lw_sim_trial *it);
/* and all nodes agree, also about what they hold. */
void lw_sim_check_convergence(lw_sim_trial *it);

/* The machine of a client loses power some steps from now. */
void lw_sim_lose_client(lw_sim_trial *it, lw_host *host);

/* ---- the keeper --------------------------------------------------------------------------- */

/* Boots the nodes, and whatever goes down from now on: looks every 20 ms. */
void lw_sim_keep(lw_sim_trial *it);
/* The machine gets an empty disk: who was there never comes back, somebody new joins from it. */
void lw_sim_replace_disk(lw_sim_member *node);
/* Ends what runs on the node's host; nothing if nothing does. */
void lw_sim_end_node(lw_sim_member *node, bool power_loss);
/* Asks what serves there to stop in good order; nothing if nothing does. */
void lw_sim_stop_node(lw_sim_member *node);
/* With what a process is started from the node's folder, or from a copy of it. */
lw_node_options lw_sim_node_options(const lw_sim_member *node, const char *address,
                                    void (*died)(void *argument, const lw_error *reason),
                                    void *argument);
void lw_sim_start_client(lw_sim_trial *it, uint32_t index);

/* ---- operators ------------------------------------------------------------------------------ */

/* Somebody drains nodes, moves shards and leaders, has a node leave; once there is peace, what is
 * drained fills again, and who is lost or to go is taken out. */
void lw_sim_operate(lw_sim_trial *it);
/* In some runs somebody else throws leaders to and fro, merges, makes mistakes, and kills
 * transactions while there is trouble. */
void lw_sim_rival(lw_sim_trial *it);
/* In some calm runs a client is gone while a request of it waits: see sim/leaver.c. */
void lw_sim_leave(lw_sim_trial *it);
/* In some runs people do things by hand: see sim/hands.c. */
void lw_sim_lay_hands(lw_sim_trial *it);

/* ---- convergence --------------------------------------------------------------------------- */

/* After the peace, with no clients any more: whether all nodes serve and know the same members,
 * each key is in the range of one shard that is served, by as many voters as there should be, which
 * all have the same applied, and nobody's lock is left. Else `why`, for the first that is not so.
 */
enum { LW_SIM_WHY_SIZE = 200 };
bool lw_sim_converged(const lw_sim_trial *it, char why[LW_SIM_WHY_SIZE]);
/* Peace comes: from here on leaders have reason to be handed over once, about. */
void lw_sim_count_leads(lw_sim_trial *it);
/* Whether a file in which a bit has rotted is still there, on a node. */
bool lw_sim_rots(const lw_sim_trial *it, uint32_t place);
/* Whether no node is left that is whole and has all of what the others' logs do not have any more:
 * who was spared may have fallen behind since. Nobody promises anything then. */
bool lw_sim_rots_everywhere(const lw_sim_trial *it);
/* The node has another disk. */
void lw_sim_forget_rots(lw_sim_trial *it, uint32_t place);
/* Begins to read all replicas, in fibers of their nodes; and judges what was read. */
typedef enum lw_sim_likeness {
    LW_SIM_READING,
    LW_SIM_UNLIKE_MOMENTS, /* something was written in between: begin again */
    LW_SIM_ALIKE,
    LW_SIM_DIFFERENT,
} lw_sim_likeness;
void lw_sim_compare_begin(lw_sim_trial *it);
lw_sim_likeness lw_sim_compare_end(const lw_sim_trial *it, char why[LW_SIM_WHY_SIZE]);
void lw_sim_compare_close(lw_sim_trial *it);

/* ---- the page of the run (sim/page.h) ---------------------------------------------------------
 */

/* Draws the run, if that is wanted, from now on, and writes the page at its end. */
void lw_sim_draw_begin(lw_sim_trial *it);
void lw_sim_draw_end(lw_sim_trial *it);

/* ---- trouble ------------------------------------------------------------------------------ */

/* A moment at which something may strike. */
typedef struct lw_sim_occasion {
    lw_sim_trial *of;
    uint64_t number;  /* on its schedule, from 1 */
    lw_chance chance; /* of this one: whether it strikes changes nothing for others */
} lw_sim_occasion;

lw_sim_occasion lw_sim_next_occasion(lw_sim_trial *it, lw_sim_schedule schedule);
/* Whether this is to happen now. Ask when all is drawn and nothing stands against it; the words,
 * for readers of lists, say to whom. */
LW_MUST_USE bool lw_sim_strikes(const lw_sim_occasion *now, lw_fault fault, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* One of the nodes. */
lw_sim_member *lw_sim_draw_node(lw_sim_occasion *now);
/* Whether the fault was not left out by who asked for the run. */
bool lw_sim_allows(const lw_sim_trial *it, lw_fault fault);

/* Calls function(run) after something between nothing and twice the mean. */
void lw_sim_strike_after(lw_sim_occasion *now, uint32_t mean_ms, void (*function)(void *run));
/* No disk is short of room any more. */
void lw_sim_free_disks(void *run);
/* Nothing is cut any more, nor slow. */
void lw_sim_mend_network(void *run);

/* Draws what goes wrong in this run, and lets it. */
void lw_sim_begin_trouble(lw_sim_trial *it);
/* Lets bits rot in stored files, and comes again (sim/rot.c). */
void lw_sim_rot_something(void *run);
/* Has them rot in what comes with snapshots as soon as it is there, or reads of that fail. */
void lw_sim_strike_newcomers(lw_sim_trial *it);
/* Lets disks, networks and clocks draw faults, of the kinds that the scenario has. */
void lw_sim_begin_faults(lw_sim_trial *it);
/* Mends everything; nothing strikes from now on. */
void lw_sim_end_trouble(lw_sim_trial *it);
/* Copies the folder of a node, and starts what was copied. */
void lw_sim_copy_folder(void *run);
/* In some runs leaders of shards are cut off from the other voters of these alone. */
void lw_sim_part(lw_sim_trial *it);
/* What a node meets at a start: a wrong clock, the end after its first few steps. */
void lw_sim_trouble_start(lw_sim_member *node);

#endif
