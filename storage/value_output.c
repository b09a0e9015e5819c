/* SPDX-License-Identifier: Apache-2.0 */
/* The values of what a flush or a compaction writes: see value_output.h. */
#include "storage/value_output.h"

#include "base/hash.h"
#include "storage/tree.h"
#include "storage/value_fetch.h"

#include <inttypes.h>

enum {
    THRESHOLD_DEFAULT = 4096,
    THRESHOLD_TINY = 24,      /* bytes, when the simulator wants values apart */
    CUT_TABLES = 8,           /* the size of a value file, in full tables */
    LIST_MAX = 1024,          /* value files of others that one table refers to */
    MOVED_KEPT = 1024 * 1024, /* of the buffer, between two values */
};

/* A file of the list by its number. */
typedef struct known_file {
    lw_map_node node;
    uint32_t index;
} known_file;

static uint64_t threshold_of(const lw_store *store) {
    uint64_t wanted = store->options.value_threshold;
    if (LW_RARE(store->env, "store.tiny_value_threshold")) {
        return THRESHOLD_TINY;
    }
    return wanted == 0 ? THRESHOLD_DEFAULT : wanted;
}

lw_value_output lw_value_output_in(lw_store *store, uint64_t move_size) {
    bool small = LW_RARE(store->env, "value.small_files");
    return (lw_value_output){.store = store,
                             .threshold = threshold_of(store),
                             .cut_size = small ? 1 : CUT_TABLES * store->options.table_size,
                             .move_size = move_size,
                             .known = lw_map_in(store->memory),
                             .arena = lw_arena_in(store->memory),
                             .finished = lw_buffer_in(store->memory),
                             .moved = lw_buffer_in(store->memory),
                             .share = lw_budget_share_in(store->budget, LW_BUDGET_BUFFERS)};
}

/* ---- the list of the table ------------------------------------------------------------------ */

static uint32_t list_add(lw_value_output *values, const lw_value_file *file) {
    if (values->count == values->capacity) {
        values->capacity = values->capacity == 0 ? 4 : 2 * values->capacity;
        values->list = lw_reallocate(values->store->memory, values->list,
                                     values->capacity * sizeof(values->list[0]));
    }
    values->list[values->count] = *file;
    return values->count++;
}

static known_file *list_find(const lw_value_output *values, const lw_value_file *file) {
    /* lw_mix permutes, so equal hashes are equal numbers. */
    lw_map_node *node = lw_map_first(&values->known, lw_mix(file->number));
    return node == NULL ? NULL : LW_MAP_ENTRY(node, known_file, node);
}

/* The place of another table's file in the list, which may grow. */
static uint32_t list_index(lw_value_output *values, const lw_value_file *file) {
    known_file *known = list_find(values, file);
    if (known == NULL) {
        lw_value_file added = *file;
        added.live_size = 0;
        known = lw_arena_allocate(&values->arena, sizeof(*known));
        known->index = list_add(values, &added);
        lw_map_insert(&values->known, &known->node, lw_mix(file->number));
    }
    return known->index;
}

/* Whether the list should not grow by this file. */
static bool list_full(const lw_value_output *values, const lw_value_file *file) {
    bool full = values->known.count >= LIST_MAX ||
                (values->known.count > 0 && LW_RARE(values->store->env, "value.list_full"));
    if (!full || list_find(values, file) != NULL) {
        return false;
    }
    LW_MARK(values->store->env, "value.list_full");
    return true;
}

static void refer(lw_value_output *values, uint32_t index, const lw_value_place *place,
                  lw_entry *out) {
    lw_reference reference = {.file = index, .place = *place};
    values->list[index].live_size += lw_value_extent(place, out->key.size);
    out->kind = LW_ENTRY_REFERENCE;
    out->value = lw_view(values->reference, lw_reference_write(&reference, values->reference));
}

/* ---- writing -------------------------------------------------------------------------------- */

static void count_memory(lw_value_output *values) {
    size_t builder = values->builder != NULL ? lw_value_builder_memory(values->builder) : 0;
    lw_budget_share_set(&values->share, builder + values->moved.capacity);
}

LW_YIELDS static lw_status begin_file(lw_value_output *values) {
    char path[LW_PATH_SIZE];
    lw_store *store = values->store;
    uint64_t number = 0;
    LW_TRY(lw_store_number(store, &number));
    LW_TRY(lw_table_path(path, store->table_path, number));
    lw_table_options options =
        lw_store_table_options(store, store->options.compression == LW_COMPRESS_DENSE);
    lw_status status = lw_value_builder_open(store->env, path, number, options.compression,
                                             options.compression_level, &values->builder);
    if (status != LW_OK) {
        return lw_store_judge(store, status);
    }
    count_memory(values);
    values->own = list_add(values, &(lw_value_file){.number = number, .origin = number});
    return LW_OK;
}

LW_YIELDS static lw_status end_file(lw_value_output *values) {
    lw_value_builder *builder = values->builder;
    lw_value_file *file = &values->list[values->own];
    values->builder = NULL;
    lw_status status = lw_value_builder_finish(builder, &file->size);
    count_memory(values);
    if (status != LW_OK) {
        return lw_store_judge(values->store, status);
    }
    lw_buffer_append_u64(&values->finished, file->number);
    values->bytes += file->size;
    return LW_OK;
}

/* Whether a value goes apart. */
static bool goes_apart(const lw_value_output *values, lw_bytes key, lw_bytes value) {
    const lw_retention *retention = &values->store->options.retention;
    return value.size >= values->threshold && value.size > 0 &&
           (retention->must_see == NULL || !retention->must_see(key, value));
}

/* Writes a value apart; `out` refers to it. */
LW_YIELDS static lw_status put_apart(lw_value_output *values, lw_bytes value, lw_entry *out) {
    lw_value_place place;
    if (values->builder != NULL && lw_value_builder_size(values->builder) >= values->cut_size) {
        LW_TRY(end_file(values));
    }
    if (values->builder == NULL) {
        LW_TRY(begin_file(values));
    }
    lw_status status = lw_value_builder_add(values->builder, out->key, value, &place);
    count_memory(values);
    if (status != LW_OK) {
        return lw_store_judge(values->store, status);
    }
    refer(values, values->own, &place, out);
    return LW_OK;
}

/* ---- passing on ----------------------------------------------------------------------------- */

/* Whether the value has to leave the file in which it lies. */
static bool must_move(lw_value_output *values, const lw_shared_file *file, uint64_t size) {
    if (values->move_size == 0 || !lw_shared_file_wasted(file)) {
        return false;
    }
    LW_MARK(values->store->env, "value.left_garbage");
    values->move_size -= size < values->move_size ? size : values->move_size;
    return true;
}

/* What cannot be read stays where it is. */
static void leave_in_peace(lw_value_output *values, lw_shared_file *file) {
    lw_env *env = values->store->env;
    LW_MARK(env, "value.unreadable_left");
    lw_shared_file_leave(file);
    lw_logline(env, LW_LEVEL_ERROR, "a value cannot be moved", "file=%016" PRIx64 " reason=\"%s\"",
               file->number, lw_error_slot()->text);
}

/* Reads a value and writes it again; false if it has to stay. */
LW_YIELDS static lw_status move_value(lw_value_output *values, lw_table_file *source,
                                      const lw_entry *entry, lw_shared_file *file, lw_entry *out,
                                      bool *moved) {
    if (values->moved.capacity > MOVED_KEPT) {
        lw_buffer_reset(&values->moved);
    }
    lw_buffer_clear(&values->moved);
    if (lw_value_fetch_uncached(source, entry->key, entry->value, &values->moved) != LW_OK) {
        leave_in_peace(values, file);
        return LW_OK;
    }
    LW_MARK(values->store->env, "value.moved");
    count_memory(values);
    *moved = true;
    values->store->moved_bytes += values->moved.size;
    out->kind = LW_ENTRY_PUT;
    out->value = lw_buffer_view(&values->moved);
    return goes_apart(values, out->key, out->value) ? put_apart(values, out->value, out) : LW_OK;
}

LW_YIELDS static lw_status pass_reference(lw_value_output *values, lw_table_file *source,
                                          const lw_entry *entry, lw_entry *out) {
    lw_reference reference;
    bool moved = false;
    if (!lw_reference_read(entry->value, &reference) ||
        reference.file >= source->info.value_count) {
        return lw_fail(LW_CORRUPTION, "the table %016" PRIx64 " refers to a value in no file",
                       source->info.number);
    }
    const lw_value_file *info = &source->info.values[reference.file];
    lw_shared_file *file = source->shared->values[reference.file];
    if (must_move(values, file, reference.place.value_size) || list_full(values, info)) {
        LW_TRY(move_value(values, source, entry, file, out, &moved));
    }
    if (!moved) {
        refer(values, list_index(values, info), &reference.place, out);
    }
    return LW_OK;
}

lw_status lw_value_output_pass(lw_value_output *values, lw_table_file *source,
                               const lw_entry *entry, lw_entry *out) {
    *out = *entry;
    switch (entry->kind) {
    case LW_ENTRY_PUT:
        return goes_apart(values, entry->key, entry->value) ? put_apart(values, entry->value, out)
                                                            : LW_OK;
    case LW_ENTRY_DELETE:
        return LW_OK;
    case LW_ENTRY_REFERENCE:
        LW_ASSERT(source != NULL);
        return pass_reference(values, source, entry, out);
    }
    return LW_OK;
}

/* ---- ends ----------------------------------------------------------------------------------- */

lw_status lw_value_output_end_table(lw_value_output *values, lw_table_info *info) {
    if (values->builder != NULL) {
        LW_TRY(end_file(values));
    }
    info->values = values->list;
    info->value_count = values->count;
    return LW_OK;
}

void lw_value_output_next_table(lw_value_output *values) {
    LW_ASSERT(values->builder == NULL);
    values->count = 0;
    lw_map_reset(&values->known);
    lw_arena_reset(&values->arena);
    lw_buffer_clear(&values->finished);
}

LW_YIELDS static void remove_finished(lw_value_output *values) {
    char path[LW_PATH_SIZE];
    for (size_t at = 0; at < values->finished.size; at += sizeof(uint64_t)) {
        uint64_t number = lw_get_u64(values->finished.data + at);
        /* What cannot be removed now, no catalog names, and the store removes it when it opens. */
        if (lw_table_path(path, values->store->table_path, number) == LW_OK) {
            (void)!lw_path_unlink(values->store->env, path);
        }
    }
}

void lw_value_output_reset(lw_value_output *values) {
    if (values->builder != NULL) {
        lw_value_builder_abandon(values->builder);
        values->builder = NULL;
    }
    remove_finished(values);
    lw_value_output_next_table(values);
    lw_free(values->store->memory, values->list);
    lw_buffer_reset(&values->finished);
    lw_buffer_reset(&values->moved);
    lw_budget_share_set(&values->share, 0);
    values->list = NULL;
    values->capacity = 0;
}
