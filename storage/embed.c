/* SPDX-License-Identifier: Apache-2.0 */
/* lathwork_storage.h: opening, closing, keeping, and how a call is carried out. See embed.h. */
#include "storage/embed.h"

#include "storage/cache.h"

#include <stdarg.h>
#include <stdio.h>

enum { TURN_CALLS = 64 }; /* calls that may go by until the loop turns */

/* ---- errors -------------------------------------------------------------------------------------
 */

static lw_storage_status category_of(lw_status status) {
    switch (status) {
    case LW_OK:
        return LW_STORAGE_OK;
    case LW_NOT_FOUND:
        return LW_STORAGE_NOT_FOUND;
    case LW_INVALID_ARGUMENT:
        return LW_STORAGE_INVALID;
    case LW_CORRUPTION:
        return LW_STORAGE_CORRUPTION;
    case LW_REFUSED:
    case LW_EXISTS:
        return LW_STORAGE_REFUSED;
    case LW_FULL:
        return LW_STORAGE_FULL;
    case LW_CONFLICT:
    case LW_TIMEOUT:
    case LW_BACKPRESSURE:
    case LW_UNAVAILABLE:
    case LW_UNDETERMINED:
    case LW_INTERNAL:
    case LW_TOO_OLD:
    default:
        return LW_STORAGE_FAILED;
    }
}

lw_storage_status lw_embed_tell(lw_status status, const char *reason, lw_storage_error *error) {
    _Static_assert(sizeof(error->message) >= LW_ERROR_TEXT_SIZE, "any reason fits");
    lw_storage_status category = category_of(status);
    if (error != NULL) {
        const char *text = status == LW_OK          ? ""
                           : status == LW_NOT_FOUND ? lw_status_text(status)
                                                    : reason;
        error->status = category;
        memcpy(error->message, text, strlen(text) + 1);
    }
    return category;
}

lw_storage_status lw_embed_invalid(lw_storage_error *error, const char *format, ...) {
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error->status = LW_STORAGE_INVALID;
        (void)vsnprintf(error->message, sizeof(error->message), format, arguments);
        va_end(arguments);
    }
    return LW_STORAGE_INVALID;
}

/* ---- calls --------------------------------------------------------------------------------------
 */

/* Carries out one call after the other. */
static void caller_main(void *argument) {
    lw_storage *storage = argument;
    while (!storage->ending) {
        if (storage->body != NULL) {
            storage->status = storage->body(storage, storage->argument);
            storage->reason = lw_error_slot()->text;
            storage->body = NULL;
        }
        lw_fiber_suspend();
    }
}

lw_storage_status lw_embed_perform(lw_storage *storage, lw_embed_body body, void *argument,
                                   lw_storage_error *error) {
    LW_ASSERT(storage->body == NULL);
    storage->body = body;
    storage->argument = argument;
    lw_fiber_step(storage->caller);
    if (storage->body != NULL || ++storage->calls >= TURN_CALLS) {
        storage->calls = 0;
        do {
            lw_env_turn(storage->env, storage->body != NULL);
        } while (storage->body != NULL);
    }
    return storage->status == LW_OK && error == NULL
               ? LW_STORAGE_OK
               : lw_embed_tell(storage->status, storage->reason, error);
}

/* ---- opening and closing ------------------------------------------------------------------------
 */

/* A library does not write to its program's standard error: errors are returned. */
static void say_nothing(lw_env *env, lw_level level, const char *line) {
    (void)env, (void)level, (void)line;
}

LW_MUST_USE static lw_status open_env(const lw_storage_options *options, lw_env **env) {
    if (!options->no_io_uring && lw_env_uring_open(env) == LW_OK) {
        return LW_OK;
    }
    return lw_env_posix_open(env);
}

typedef struct opening {
    const char *directory;
    const lw_storage_options *options;
} opening;

LW_YIELDS static lw_status open_body(lw_storage *storage, void *argument) {
    const opening *asked = argument;
    size_t threshold = asked->options->value_threshold;
    lw_engine_options options = {
        .store = {.directory = asked->directory,
                  .memory_size = asked->options->memory_size,
                  .value_threshold = threshold == SIZE_MAX ? UINT64_MAX : threshold}};
    LW_TRY(lw_engine_open(storage->env, &options, &storage->engine));
    storage->tree = lw_engine_tree(storage->engine, LW_EMBED_TREE);
    if (storage->tree == NULL) {
        LW_TRY(lw_engine_create_tree(storage->engine, LW_EMBED_TREE));
        storage->tree = lw_engine_tree(storage->engine, LW_EMBED_TREE);
    }
    return LW_OK;
}

LW_YIELDS static lw_status close_body(lw_storage *storage, void *argument) {
    (void)argument;
    lw_status status = LW_OK;
    if (storage->tree != NULL) {
        status = lw_engine_sync(storage->engine);
    }
    if (storage->engine != NULL) {
        lw_engine_close(storage->engine);
    }
    return status;
}

static lw_storage_status close_handle(lw_storage *storage, lw_storage_error *error) {
    lw_storage_status status = lw_embed_perform(storage, close_body, NULL, error);
    storage->ending = true;
    lw_fiber_step(storage->caller);
    lw_env_close(storage->env);
    return status;
}

lw_storage_status lw_storage_open(const char *directory, const lw_storage_options *options,
                                  lw_storage **storage, lw_storage_error *error) {
    static const lw_storage_options none;
    opening asked = {.directory = directory, .options = options != NULL ? options : &none};
    lw_env *env = NULL;
    *storage = NULL;
    if (directory == NULL || directory[0] == '\0') {
        return lw_embed_invalid(error, "no directory was named");
    }
    lw_status opened = open_env(asked.options, &env);
    if (opened != LW_OK) {
        return lw_embed_tell(opened, lw_error_slot()->text, error);
    }
    lw_storage *made = lw_allocate_zero(env->memory, sizeof(*made));
    made->world = *env->world;
    made->world.logline = say_nothing;
    env->world = &made->world;
    made->env = env;
    made->durable = asked.options->durable;
    made->batch = lw_buffer_in(env->memory);
    made->value = lw_buffer_in(env->memory);
    made->caller = lw_env_start(env, "caller", caller_main, made);
    lw_env_turn(env, false);
    lw_storage_status status = lw_embed_perform(made, open_body, &asked, error);
    if (status != LW_STORAGE_OK) {
        (void)close_handle(made, NULL);
        return status;
    }
    *storage = made;
    return LW_STORAGE_OK;
}

lw_storage_status lw_storage_close(lw_storage *storage, lw_storage_error *error) {
    if (storage == NULL) {
        return LW_STORAGE_OK;
    }
    if (storage->opened > 0) {
        return lw_embed_invalid(
            error,
            "%u cursors, snapshots and batches of the handle are open: close them "
            "first",
            (unsigned)storage->opened);
    }
    return close_handle(storage, error);
}

/* ---- keeping ------------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status work_body(lw_storage *storage, void *argument) {
    const uint32_t *milliseconds = argument;
    lw_env_sleep(storage->env, *milliseconds * UINT64_C(1000000));
    return LW_OK;
}

lw_storage_status lw_storage_work(lw_storage *storage, uint32_t milliseconds,
                                  lw_storage_error *error) {
    return lw_embed_perform(storage, work_body, &milliseconds, error);
}

LW_YIELDS static lw_status flush_body(lw_storage *storage, void *argument) {
    (void)argument;
    return lw_tree_flush(storage->tree);
}

lw_storage_status lw_storage_flush(lw_storage *storage, lw_storage_error *error) {
    return lw_embed_perform(storage, flush_body, NULL, error);
}

LW_YIELDS static lw_status compact_body(lw_storage *storage, void *argument) {
    (void)argument;
    return lw_tree_compact(storage->tree);
}

lw_storage_status lw_storage_compact(lw_storage *storage, lw_storage_error *error) {
    return lw_embed_perform(storage, compact_body, NULL, error);
}

LW_YIELDS static lw_status checkpoint_body(lw_storage *storage, void *argument) {
    return lw_store_checkpoint(lw_engine_store(storage->engine), NULL, 0, argument);
}

lw_storage_status lw_storage_checkpoint(lw_storage *storage, const char *copy,
                                        lw_storage_error *error) {
    if (copy == NULL || copy[0] == '\0') {
        return lw_embed_invalid(error, "no directory was named for the checkpoint");
    }
    char path[LW_PATH_SIZE];
    int size = snprintf(path, sizeof(path), "%s", copy);
    if (size >= LW_PATH_SIZE) {
        return lw_embed_invalid(error, "a path of %d bytes is longer than the %d allowed", size,
                                LW_PATH_SIZE - 1);
    }
    return lw_embed_perform(storage, checkpoint_body, path, error);
}

void lw_storage_figures_get(const lw_storage *storage, lw_storage_figures *figures) {
    lw_tree_figures tree;
    lw_log_figures log;
    lw_cache_figures cache;
    lw_tree_figures_get(storage->tree, &tree);
    lw_log_figures_get(lw_engine_log(storage->engine), &log);
    lw_cache_figures_get(lw_store_cache(lw_engine_store(storage->engine)), &cache);
    *figures = (lw_storage_figures){.memory_bytes = tree.memtable_bytes,
                                    .log_bytes = log.segment_bytes,
                                    .written_bytes = log.appended_bytes,
                                    .logged_bytes = log.written_bytes,
                                    .flushed_bytes = tree.flushed_bytes,
                                    .compacted_bytes = tree.compacted_bytes,
                                    .cache_hits = cache.hits,
                                    .cache_misses = cache.misses};
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        figures->table_bytes += tree.table_bytes[level];
        figures->table_count += tree.table_count[level];
    }
}
