/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing, and what sending and receiving share. See snapshot.h. */
#include "node/snapshot_state.h"

#include "storage/bundle.h"
#include "storage/shared_file.h"

enum { PIECE_SIZE = 256 * 1024, PATIENCE_MS = 30 * 1000 };
static const uint64_t rate_usual = 64 * 1024 * 1024;
static const uint64_t leftover_ns = UINT64_C(60) * 1000 * 1000 * 1000;

/* ---- what both share ------------------------------------------------------------------------- */

lw_status snapshot_stopped(void) {
    return lw_fail(LW_UNAVAILABLE, "the node is stopping");
}

bool snapshot_passes(lw_status status) {
    return status == LW_UNAVAILABLE || status == LW_TIMEOUT || status == LW_BACKPRESSURE ||
           status == LW_INVALID_ARGUMENT;
}

lw_status snapshot_pause(lw_snapshots *of, uint64_t until_ns) {
    while (!of->stopping && lw_env_now(of->env) < until_ns) {
        (void)lw_env_wait(of->env, &of->stopped, until_ns);
    }
    return of->stopping ? snapshot_stopped() : LW_OK;
}

void snapshot_enter(lw_snapshots *of) {
    of->under_way++;
}

void snapshot_leave(lw_snapshots *of) {
    LW_ASSERT(of->under_way > 0);
    if (--of->under_way == 0) {
        lw_queue_wake_all(&of->quiet);
    }
}

lw_status snapshot_path(char path[LW_PATH_SIZE], const char *directory, uint64_t number,
                        const char *catalog) {
    char folder[LW_PATH_SIZE];
    if (number == 0) {
        return lw_path_join(path, directory, catalog);
    }
    LW_TRY(lw_path_join(folder, directory, "sst"));
    return lw_table_path(path, folder, number);
}

/* Whether the folder is there, and has anything but an empty sst/. */
static LW_YIELDS lw_status look_into(lw_env *env, const char *directory, bool *anything) {
    char path[LW_PATH_SIZE];
    lw_buffer names = lw_buffer_in(env->memory);
    lw_status status = lw_path_list(env, directory, &names);
    lw_bytes rest = lw_buffer_view(&names);
    bool tables = false, other = false;
    for (const char *name; status == LW_OK && (name = lw_names_next(&rest)) != NULL;) {
        *(strcmp(name, "sst") == 0 ? &tables : &other) = true;
    }
    lw_buffer_clear(&names);
    if (tables && !other) {
        status = lw_path_join(path, directory, "sst");
        status = status == LW_OK ? lw_path_list(env, path, &names) : status;
        other = names.size > 0;
    }
    lw_buffer_reset(&names);
    *anything = other;
    return status == LW_NOT_FOUND ? LW_OK : status;
}

lw_status snapshot_clear(lw_snapshots *of, const char *directory) {
    char path[LW_PATH_SIZE];
    bool anything = false;
    LW_TRY(look_into(of->env, directory, &anything));
    if (!anything) {
        return LW_OK;
    }
    LW_TRY(lw_path_join(path, directory, "OFFER"));
    lw_status status = lw_path_unlink(of->env, path);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    return lw_bundle_remove(of->env, directory);
}

/* ---- opening and closing --------------------------------------------------------------------- */

/* What an earlier run received in part is kept for who sends it, for a while. */
static LW_YIELDS void leftover_main(void *argument) {
    lw_snapshots *of = argument;
    bool soon = LW_RARE(of->env, "snapshot.leftovers_go_soon");
    if (snapshot_pause(of, lw_env_now(of->env) + (soon ? 1 : leftover_ns)) == LW_OK &&
        of->receiving.transfer == 0 && !of->receiving.busy) {
        of->receiving.busy = true;
        LW_MARK(of->env, "snapshot.leftover_removed");
        (void)!snapshot_clear(of, of->incoming); /* or by the next one that comes */
        of->receiving.busy = false;
        lw_queue_wake_one(&of->receiving.turn);
    }
    snapshot_leave(of);
}

static LW_YIELDS lw_status see_to_leftovers(lw_snapshots *of) {
    bool anything = false;
    LW_TRY(snapshot_clear(of, of->outgoing));
    LW_TRY(look_into(of->env, of->incoming, &anything));
    if (anything) {
        snapshot_enter(of);
        (void)lw_env_start(of->env, "snapshot leftovers", leftover_main, of);
    }
    return LW_OK;
}

lw_status lw_snapshots_open(const lw_snapshots_options *options, lw_snapshots **snapshots) {
    lw_snapshots *of = lw_allocate_zero(options->env->memory, sizeof(*of));
    of->options = *options;
    of->options.directory = NULL; /* the caller's */
    of->env = options->env;
    of->options.piece_size = options->piece_size != 0 ? options->piece_size : PIECE_SIZE;
    of->options.patience_ms = options->patience_ms != 0 ? options->patience_ms : PATIENCE_MS;
    of->options.bytes_per_second =
        options->bytes_per_second != 0 ? options->bytes_per_second : rate_usual;
    LW_ASSERT(of->options.piece_size <= LW_SNAPSHOT_PIECE_SIZE_MAX);
    of->receiving.file = LW_NO_HANDLE;
    of->receiving.body = lw_buffer_in(of->env->memory);
    lw_status status = lw_path_join(of->outgoing, options->directory, "outgoing");
    if (status == LW_OK) {
        status = lw_path_join(of->incoming, options->directory, "incoming");
    }
    if (status == LW_OK) {
        status = see_to_leftovers(of);
    }
    if (status != LW_OK) {
        lw_free(options->env->memory, of);
        return status;
    }
    *snapshots = of;
    return LW_OK;
}

void lw_snapshots_stop(lw_snapshots *of) {
    of->stopping = true;
    lw_queue_wake_all(&of->stopped);
    lw_queue_wake_all(&of->send_turn);
    lw_queue_wake_all(&of->receiving.turn);
}

void lw_snapshots_close(lw_snapshots *of) {
    lw_snapshots_stop(of);
    while (of->under_way > 0) {
        lw_queue_wait(&of->quiet);
    }
    snapshot_receiving_reset(of);
    lw_free(of->env->memory, of);
}

void lw_snapshots_figures_get(const lw_snapshots *of, lw_snapshots_figures *figures) {
    *figures = of->figures;
    figures->receiving = of->receiving.transfer != 0 ? of->receiving.shard : 0;
}
