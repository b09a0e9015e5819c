/* SPDX-License-Identifier: Apache-2.0 */
/* Tables built outside of any store: see export.h. */
#include "storage/export.h"

#include "storage/bundle.h"
#include "storage/shared_file.h"
#include "storage/store.h"

enum { TABLE_SIZE_DEFAULT = 8 * 1024 * 1024 };

struct lw_export {
    lw_env *env;
    lw_export_options options;
    char directory[LW_PATH_SIZE], table_path[LW_PATH_SIZE];
    lw_table_builder *builder; /* NULL between tables */
    uint64_t number;           /* of the last table; from 1 */
    bool begun;                /* there is a last key */
    lw_buffer last_key;
    lw_buffer state; /* what the CATALOG is to say of the tables that are finished */
};

static void export_free(lw_export *out) {
    lw_buffer_reset(&out->last_key);
    lw_buffer_reset(&out->state);
    lw_free(out->env->memory, out);
}

lw_status lw_export_open(lw_env *env, const char *directory, const lw_export_options *options,
                         lw_export **opened) {
    char table_path[LW_PATH_SIZE];
    LW_TRY(lw_bundle_begin(env, directory, table_path));
    lw_export *out = lw_allocate_zero(env->memory, sizeof(*out));
    out->env = env;
    out->options = *options;
    out->options.table_size = options->table_size != 0 ? options->table_size : TABLE_SIZE_DEFAULT;
    memcpy(out->directory, directory, strlen(directory) + 1);
    memcpy(out->table_path, table_path, sizeof(table_path));
    out->last_key = lw_buffer_in(env->memory);
    out->state = lw_buffer_in(env->memory);
    *opened = out;
    return LW_OK;
}

/* ---- tables -------------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status begin_table(lw_export *out) {
    char path[LW_PATH_SIZE];
    lw_table_options options = {.compression = LW_COMPRESSION_LZ4,
                                .filter_part = out->options.filter_part};
    LW_TRY(lw_table_path(path, out->table_path, ++out->number));
    return lw_table_builder_open(out->env, path, out->number, &options, &out->builder);
}

LW_YIELDS static lw_status end_table(lw_export *out) {
    lw_arena arena = lw_arena_in(out->env->memory);
    lw_table_builder *builder = out->builder;
    lw_table_info info;
    out->builder = NULL;
    lw_status status = lw_table_builder_finish(builder, &arena, &info);
    if (status == LW_OK) {
        lw_edit_add(&out->state, out->options.tree, LW_LEVEL_COUNT - 1, &info);
    }
    lw_arena_reset(&arena);
    return status;
}

lw_status lw_export_add(lw_export *out, lw_bytes key, lw_bytes value) {
    lw_entry entry = {.key = key, .sequence = 1, .kind = LW_ENTRY_PUT, .value = value};
    if (key.size > LW_TREE_KEY_SIZE_MAX || value.size > LW_TREE_VALUE_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "a key of %zu bytes with a value of %zu is too large",
                       key.size, value.size);
    }
    if (out->begun && lw_compare(key, lw_buffer_view(&out->last_key)) <= 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "keys have to be added in ascending order, each once");
    }
    if (out->builder != NULL && lw_table_builder_size(out->builder) >= out->options.table_size) {
        LW_TRY(end_table(out));
    }
    if (out->builder == NULL) {
        LW_TRY(begin_table(out));
    }
    LW_TRY(lw_table_builder_add(out->builder, &entry));
    out->begun = true;
    lw_buffer_clear(&out->last_key);
    lw_buffer_append(&out->last_key, key);
    return LW_OK;
}

/* ---- ending -------------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status finish(lw_export *out) {
    lw_buffer state = lw_buffer_in(out->env->memory);
    if (out->builder != NULL) {
        LW_TRY(end_table(out));
    }
    lw_edit_numbers(&state, out->number + 1);
    lw_edit_tree(&state, out->options.tree);
    lw_buffer_append(&state, lw_buffer_view(&out->state));
    lw_edit_flushed(&state, out->options.tree, out->options.index, 1);
    lw_status status = lw_bundle_end(out->env, out->directory, lw_buffer_view(&state));
    lw_buffer_reset(&state);
    return status;
}

lw_status lw_export_finish(lw_export *out) {
    lw_status status = finish(out);
    if (status == LW_OK) {
        export_free(out);
        return LW_OK;
    }
    lw_error why = *lw_error_slot();
    lw_export_abandon(out);
    *lw_error_slot() = why; /* clearing up must not hide it */
    return status;
}

void lw_export_abandon(lw_export *out) {
    if (out->builder != NULL) {
        lw_table_builder_abandon(out->builder);
    }
    (void)!lw_bundle_remove(out->env, out->directory);
    export_free(out);
}
