/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of the storage engine alone: its lives and the phases of a run. See engine.h. */
#include "sim/engine.h"

#include "sim/engine_life.h"
#include "storage/folder_check.h"

#include <inttypes.h>
#include <stdarg.h>

enum {
    KILOBYTE = 1024,
    ENGINE_WORKERS_MAX = 5,
    RESTART_ONE_IN = 400, /* of what workers do: the engine is closed and opened again */
    HOLD_MS = 80,         /* that snapshots are held, at most */
    GET_ON_WRITES = 5,    /* that must come through once the faults have ended, */
    GET_ON_MS = 10000,    /* within so long */
    CLOSE_MS = 60000,
};

/* ---- judging calls -------------------------------------------------------------------------- */

void engine_wrong(engine_life *on, const char *format, ...) {
    lw_sim_trial *it = on->of->of;
    char text[300];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (!it->damaged) {
        lw_sim_broken(it, "engine", text);
    }
    it->damaged = true;
    on->ending = true;
}

static bool struck(const lw_sim_trial *it, const char *fault) {
    return lw_world_marked(it->world, fault) > 0;
}

bool lw_sim_engine_rotted(const lw_sim_trial *it) {
    return struck(it, "fault.bit_flip");
}

/* Failures of the disk that the scenario has may be told, and a full one. */
static bool excused(const lw_sim_trial *it, lw_status status) {
    return status == LW_FULL || status == LW_BACKPRESSURE ||
           ((status == LW_INTERNAL || status == LW_UNAVAILABLE) &&
            (struck(it, "fault.read_error") || struck(it, "fault.write_error") ||
             struck(it, "fault.sync_error")));
}

bool engine_worked(engine_life *on, lw_status status, const char *what) {
    lw_sim_trial *it = on->of->of;
    if (status == LW_OK) {
        return true;
    }
    lw_error why = *lw_error_slot();
    if (status == LW_CORRUPTION && lw_sim_engine_rotted(it)) {
        it->damaged = true; /* found, as it must be; nothing more can be asked of these files */
        on->ending = true;
    } else if (!excused(it, status)) {
        engine_wrong(on, "%s: %s: %s", what, lw_status_name(status), why.text);
    }
    on->died = on->died || lw_store_dead(lw_engine_store(on->engine), NULL);
    if (on->died && on->member->state == LW_SIM_SERVING) {
        on->ending = true;
        on->member->error = why;
        on->member->state = LW_SIM_FAILED;
    }
    return false;
}

/* ---- what workers do ------------------------------------------------------------------------ */

/* Reads what is there now, or holds on to it for a while. */
LW_YIELDS static void read_some(engine_life *on, bool hold) {
    engine_tree *copy;
    lw_snapshot *snapshot = engine_pin(on, &copy);
    if (snapshot == NULL) {
        return;
    }
    if (hold) {
        lw_env_sleep(on->env, engine_below(on, HOLD_MS * LW_SIM_NS_PER_MS));
    }
    engine_look(on, snapshot, copy, hold || engine_percent(on, 10));
    lw_snapshot_close(snapshot);
    lw_free(on->env->memory, copy);
}

/* What is flushed survives, as all does that was written before it. */
LW_YIELDS static void flush_some(engine_life *on, bool compact) {
    const engine_tree *tree = &on->model->trees[engine_below(on, ENGINE_TREES)];
    uint64_t written = tree->written;
    lw_tree *there = tree->id == 0 ? NULL : lw_engine_tree(on->engine, tree->id);
    if (there == NULL) {
        return;
    }
    lw_status status = compact ? lw_tree_compact(there) : lw_tree_flush(there);
    if (status == LW_NOT_FOUND) {
        return; /* it was dropped, or is part of another one */
    }
    if (engine_worked(on, status, compact ? "compacting" : "flushing")) {
        engine_model_settle(on->model, written);
    }
}

/* Nobody reads below it any more. */
LW_YIELDS static void raise_floor(engine_life *on) {
    engine_take(&on->writing); /* none is under way then: each later one has a higher number */
    engine_tree *tree = &on->model->trees[engine_below(on, ENGINE_TREES)];
    lw_tree *there = tree->id == 0 || tree->busy ? NULL : lw_engine_tree(on->engine, tree->id);
    if (there != NULL && tree->written > tree->floor) {
        tree->floor += 1 + engine_below(on, tree->written - tree->floor);
        lw_tree_set_safepoint(there, tree->floor);
    }
    engine_give(&on->writing);
}

LW_YIELDS static void do_something(engine_life *on) {
    uint64_t choice = engine_below(on, 100);
    if (choice < 55) {
        engine_write_some(on);
    } else if (choice < 70) {
        read_some(on, false);
    } else if (choice < 75) {
        read_some(on, true);
    } else if (choice < 80) {
        flush_some(on, false);
    } else if (choice < 84) {
        flush_some(on, true);
    } else if (choice < 88) {
        raise_floor(on);
    } else {
        engine_reshape(on);
    }
    if (lw_store_dead(lw_engine_store(on->engine), lw_error_slot())) {
        (void)engine_worked(on, lw_error_slot()->status, "going on");
    }
    if (engine_below(on, RESTART_ONE_IN) == 0) {
        on->ending = true;
    }
}

LW_YIELDS static void worker_main(void *argument) {
    engine_life *on = argument;
    while (!on->ending && !on->of->stopping && !on->of->of->damaged) {
        do_something(on);
        lw_env_sleep(on->env, engine_below(on, on->of->pause_us * UINT64_C(1000) + 1));
    }
    on->workers--;
    lw_queue_wake_all(&on->ended);
}

LW_YIELDS static void work(engine_life *on) {
    on->workers = on->of->workers;
    for (uint32_t index = 0; index < on->of->workers; index++) {
        (void)lw_env_start(on->env, "worker", worker_main, on);
    }
    while (on->workers > 0) {
        lw_queue_wait(&on->ended);
    }
}

/* ---- after a restart ------------------------------------------------------------------------ */

/* Whether reshaping that a crash cut short came to its end: all of it, or nothing. */
static void resolve_intent(engine_life *on) {
    engine_model *model = on->model;
    const engine_intent *intent = &model->intent;
    bool gone = intent->kind == ENGINE_DROP || intent->kind == ENGINE_MERGE;
    uint64_t id = gone ? intent->from->id : intent->id;
    bool there = intent->kind != ENGINE_NOTHING && lw_engine_tree(on->engine, id) != NULL;
    if (there != gone) {
        engine_model_reshape(model);
    }
    model->intent = (engine_intent){.kind = ENGINE_NOTHING};
    for (uint32_t index = 0; index < ENGINE_TREES; index++) {
        model->trees[index].busy = false;
    }
}

/* The writes that survived: a prefix, which has all that are durable. */
LW_YIELDS static lw_status resolve_writes(engine_life *on) {
    engine_model *model = on->model;
    uint64_t survived;
    LW_TRY(engine_read_journal(on, &survived));
    if (survived > model->issued || survived < model->durable) {
        bool excuse = lw_world_marked(on->of->of->world, "fault.bit_flip") > on->of->flips;
        if (survived < model->durable && excuse) {
            on->of->of->damaged = true; /* what the end of a log says that nobody vouches for */
            return LW_OK;
        }
        engine_wrong(on,
                     "the last write that is there is %" PRIu64 ", of %" PRIu64 ", and %" PRIu64
                     " was durable",
                     survived, model->issued, model->durable);
        return LW_OK;
    }
    engine_model_lose(model, survived);
    return LW_OK;
}

static void check_trees(engine_life *on) {
    uint32_t wanted = 0, found = 0;
    for (uint32_t index = 0; index < ENGINE_TREES; index++) {
        wanted += on->model->trees[index].id != 0;
    }
    lw_store *store = lw_engine_store(on->engine);
    for (lw_tree *tree = lw_store_next_tree(store, NULL); tree != NULL;
         tree = lw_store_next_tree(store, tree)) {
        found++;
        if (engine_model_find(on->model, lw_tree_id(tree)) == NULL) {
            engine_wrong(on, "there is a tree %" PRIu64 ", which was dropped, or never made",
                         lw_tree_id(tree));
        }
    }
    if (found != wanted) {
        engine_wrong(on, "there are %u trees, not %u", found, wanted);
    }
    for (uint64_t id = ENGINE_JOURNAL_ID; id < on->model->tree_next; id++) {
        if (engine_model_find(on->model, id) == NULL) {
            engine_release(on, id);
        }
    }
}

LW_YIELDS static void check_contents(engine_life *on) {
    check_trees(on);
    for (uint32_t index = 0; index < ENGINE_TREES && !on->ending; index++) {
        if (on->model->trees[index].id != 0) {
            engine_look_at(on, &on->model->trees[index]);
        }
    }
    if (!on->ending) {
        engine_check_bundles(on);
    }
}

/* The first life makes the journal. */
LW_YIELDS static void ensure_journal(engine_life *on) {
    engine_model *model = on->model;
    if (model->trees[0].id != 0 || on->ending) {
        return;
    }
    model->intent =
        (engine_intent){.kind = ENGINE_CREATE, .to = &model->trees[0], .id = ENGINE_JOURNAL_ID};
    if (engine_worked(on, lw_engine_create_tree(on->engine, ENGINE_JOURNAL_ID), "the journal")) {
        engine_model_reshape(model);
    } else {
        on->ending = true;
    }
}

/* ---- a life --------------------------------------------------------------------------------- */

static void end_process(engine_life *on, bool opening, lw_error why) {
    on->member->opening_failed = opening;
    on->member->error = why;
    on->member->state = LW_SIM_FAILED;
}

LW_YIELDS static lw_status open_engine(engine_life *on) {
    on->ending = on->died = false;
    on->of->flips = lw_world_marked(on->of->of->world, "fault.bit_flip");
    LW_TRY(lw_engine_open(on->env, &on->of->options, &on->engine));
    resolve_intent(on);
    LW_TRY(resolve_writes(on));
    on->member->state = LW_SIM_SERVING;
    if (!on->of->of->damaged && !on->ending) {
        check_contents(on);
    }
    if (!on->of->of->damaged) {
        ensure_journal(on);
    }
    return LW_OK;
}

/* All that was written is durable then. */
LW_YIELDS static void close_engine(engine_life *on) {
    uint64_t written = on->model->trees[0].written;
    lw_status status = lw_engine_sync(on->engine);
    on->died = on->died || status != LW_OK;
    if (engine_worked(on, status, "syncing at the end")) {
        engine_model_settle(on->model, written);
        lw_engine_close(on->engine);
    }
}

LW_YIELDS static void check_folder(engine_life *on) {
    lw_buffer faults = lw_buffer_in(on->env->memory), notes = faults;
    lw_status status = lw_folder_check(on->env, on->of->options.store.directory, engine_filter_part,
                                       &faults, &notes);
    if (status != LW_OK && !lw_sim_engine_rotted(on->of->of)) {
        engine_wrong(on, "the folder: %s: %.*s", lw_error_slot()->text, (int)faults.size,
                     (const char *)faults.data);
    }
    lw_buffer_reset(&faults);
    lw_buffer_reset(&notes);
}

LW_YIELDS static void live(void *argument) {
    engine_life *on = argument;
    lw_sim_engine *of = on->of;
    do {
        lw_status status = open_engine(on);
        if (status != LW_OK) {
            end_process(on, true, *lw_error_slot());
            return;
        }
        on->member->opening_failed = false;
        if (!of->final && !on->ending) {
            work(on);
        }
        if (on->died || of->of->damaged) {
            return;
        }
        close_engine(on);
    } while (!on->died && !of->stopping && !of->of->damaged);
    of->closed = !on->died;
    if (of->final && of->closed && !of->of->damaged) {
        check_folder(on);
        of->checked = true;
    }
}

void lw_sim_engine_boot(lw_sim_member *member, lw_env *env) {
    engine_life *on = lw_allocate_zero(env->memory, sizeof(*on));
    on->of = member->of->engine;
    on->member = member;
    on->env = env;
    on->model = &on->of->model;
    (void)lw_env_start(env, "engine", live, on);
}

/* ---- a run ---------------------------------------------------------------------------------- */

#define DRAW(chance, values) (values)[lw_chance_below(chance, sizeof(values) / sizeof((values)[0]))]

/* Everything is small, so that a run makes many files of many kinds. */
static lw_engine_options draw_options(lw_chance *chance) {
    static const uint64_t thresholds[] = {64, 300, 1000, UINT64_MAX};
    static const uint64_t memtables[] = {8, 16, 32, 64}, tables[] = {1, 2, 4, 32};
    static const uint64_t segments[] = {16, 32, 64, 256};
    static const uint32_t flights[] = {1, 2, 4, 8}, handles[] = {2, 4, 64};
    lw_engine_options options = {.store = {.directory = "data",
                                           .filter_part = engine_filter_part,
                                           .retention = engine_retention()}};
    lw_store_options *store = &options.store; /* one draw after the other: the order counts */
    store->memory_size = (size_t)lw_chance_between(chance, 1, 4) * KILOBYTE * KILOBYTE;
    store->memtables_max = (size_t)DRAW(chance, memtables) * KILOBYTE;
    store->compression = (lw_store_compression)lw_chance_below(chance, 4);
    store->table_size = DRAW(chance, tables) * KILOBYTE;
    store->value_threshold = DRAW(chance, thresholds);
    store->open_max = DRAW(chance, handles);
    options.log.segment_size = DRAW(chance, segments) * KILOBYTE;
    options.log.writes_in_flight = DRAW(chance, flights);
    return options;
}

void lw_sim_engine_begin(lw_sim_trial *it) {
    static const uint32_t pauses_us[] = {10, 300, 2000, 10000};
    lw_chance chance = lw_world_chance(it->world, "engine");
    lw_sim_engine *of = lw_allocate_zero(it->memory, sizeof(*of));
    of->of = it;
    engine_model_init(&of->model, it->memory);
    of->model.uniform = lw_chance_percent(&chance, 20);
    of->options = draw_options(&chance);
    of->workers = (uint32_t)lw_chance_between(&chance, 1, ENGINE_WORKERS_MAX);
    of->pause_us = DRAW(&chance, pauses_us);
    it->engine = of;
}

void lw_sim_engine_end(lw_sim_trial *it) {
    if (it->engine != NULL) {
        it->workload.committed = it->engine->done;
        engine_model_reset(&it->engine->model);
        lw_free(it->memory, it->engine);
        it->engine = NULL;
    }
}

static bool wait_for(lw_sim_trial *it, const bool *done, uint64_t limit_ms) {
    uint64_t end = lw_world_now(it->world) + limit_ms * LW_SIM_NS_PER_MS;
    while (!*done && !it->damaged && lw_world_now(it->world) < end) {
        (void)lw_world_run(it->world, lw_world_now(it->world) + LW_SIM_NS_PER_MS);
    }
    return *done || it->damaged;
}

static void get_on(lw_sim_trial *it) {
    uint64_t goal = it->engine->done + GET_ON_WRITES;
    uint64_t end = lw_world_now(it->world) + GET_ON_MS * LW_SIM_NS_PER_MS;
    while (it->engine->done < goal && !it->damaged && lw_world_now(it->world) < end) {
        (void)lw_world_run(it->world, lw_world_now(it->world) + LW_SIM_NS_PER_MS);
    }
    it->result->lively_ms = (lw_world_now(it->world) - it->peace_ns) / LW_SIM_NS_PER_MS;
    it->result->resumed_ms = it->result->lively_ms;
    if (it->engine->done < goal && !it->damaged) {
        lw_sim_broken(it, "liveness", "nothing could be written in ten seconds after the faults");
        it->damaged = true;
    }
}

void lw_sim_engine_run(lw_sim_trial *it) {
    lw_sim_engine *of = it->engine;
    lw_sim_begin_trouble(it);
    lw_sim_keep(it);
    uint64_t end = lw_world_now(it->world) + lw_sim_safety_ms(it) * LW_SIM_NS_PER_MS;
    while (!it->damaged && lw_world_now(it->world) < end) {
        (void)lw_world_run(it->world, lw_world_now(it->world) + LW_SIM_NS_PER_MS);
    }
    lw_sim_end_trouble(it);
    get_on(it);
    of->stopping = true;
    if (!wait_for(it, &of->closed, CLOSE_MS)) {
        lw_sim_broken(it, "liveness", "the engine could not be closed in a minute");
        return;
    }
    of->final = true;
    lw_sim_end_node(&it->nodes[0], true);
    if (!wait_for(it, &of->checked, CLOSE_MS)) {
        lw_sim_broken(it, "liveness", "the engine could not be opened again in a minute");
    }
}
