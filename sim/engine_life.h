/* SPDX-License-Identifier: Apache-2.0 */
/* One life of a simulated engine, from its opening to its closing or the end of its process, as its
 * parts share it: engine.c opens, checks and closes it, engine_read.c holds what it shows against
 * the model, engine_write.c writes, engine_reshape.c is about whole trees. */
#ifndef LW_SIM_ENGINE_LIFE_H
#define LW_SIM_ENGINE_LIFE_H

#include "sim/engine.h"
#include "sim/engine_model.h"
#include "storage/engine.h"

/* Outlives all lives. */
typedef struct lw_sim_engine {
    lw_sim_trial *of;
    engine_model model;
    lw_engine_options options;
    uint32_t workers;    /* fibers that work */
    uint32_t pause_us;   /* between what each does, at most */
    uint64_t done;       /* writes that came through */
    uint64_t rots;       /* occasions of bundles to rot */
    uint64_t flips;      /* of bits, when the last life began */
    bool stopping;       /* workers end, and the engine is closed */
    bool closed;         /* it was */
    bool final, checked; /* the last life looks at all there is; and has */
} lw_sim_engine;

/* Of one fiber at a time. */
typedef struct engine_turn {
    bool taken;
    lw_queue waiting;
} engine_turn;

typedef struct engine_life {
    lw_sim_engine *of;
    lw_sim_member *member;
    lw_env *env;
    engine_model *model;
    lw_engine *engine;
    engine_turn writing;   /* of what changes the model's keys: so writes have one order */
    engine_turn reshaping; /* of what changes the set of trees or of bundles */
    uint32_t workers;      /* that run */
    lw_queue ended;        /* who waits for their end */
    bool ending;           /* workers are to end */
    bool died;             /* nothing more can be written: a restart may help */
    uint8_t expected[ENGINE_VALUE_SIZE_MAX];
} engine_life;

static inline uint64_t engine_below(engine_life *on, uint64_t bound) {
    return lw_env_random_below(on->env, bound);
}
static inline bool engine_percent(engine_life *on, uint32_t percent) {
    return engine_below(on, 100) < percent;
}
LW_YIELDS static inline void engine_take(engine_turn *turn) {
    while (turn->taken) {
        lw_queue_wait(&turn->waiting);
    }
    turn->taken = true;
}
static inline void engine_give(engine_turn *turn) {
    turn->taken = false;
    lw_queue_wake_one(&turn->waiting);
}

/* ---- engine.c ------------------------------------------------------------------------------- */

/* A promise was broken; nothing more is to be learned from this run. */
void engine_wrong(engine_life *on, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Whether a call did what it was asked to. If not, and nothing excuses it, that is wrong; if the
 * engine can write no more, its life ends. */
bool engine_worked(engine_life *on, lw_status status, const char *what);

/* ---- engine_read.c -------------------------------------------------------------------------- */

/* Some keys of the snapshot, or all of them. */
LW_YIELDS void engine_look(engine_life *on, lw_snapshot *snapshot, const engine_tree *tree,
                           bool everything);
/* Opens a snapshot of a tree, with what it must show, which the caller frees. */
LW_YIELDS lw_snapshot *engine_pin(engine_life *on, engine_tree **copy);
/* All of one tree as it is now. */
LW_YIELDS void engine_look_at(engine_life *on, const engine_tree *tree);
/* The number of the last write that the journal has; 0: of none. */
LW_MUST_USE LW_YIELDS lw_status engine_read_journal(engine_life *on, uint64_t *number);

/* ---- engine_write.c ------------------------------------------------------------------------- */

LW_YIELDS void engine_write_some(engine_life *on);

/* ---- engine_reshape.c ----------------------------------------------------------------------- */

LW_YIELDS void engine_reshape(engine_life *on);
/* The tree of this id is gone: the log needs to keep nothing of it. */
void engine_release(engine_life *on, uint64_t id);
/* What is left of bundles at a start, and whether those that were made are whole. */
LW_YIELDS void engine_check_bundles(engine_life *on);

#endif
