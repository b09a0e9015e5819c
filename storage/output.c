/* SPDX-License-Identifier: Apache-2.0 */
/* Tables being written by a flush or a compaction: begun when there is something to write, cut at a
 * size, and collected until an edit names them all. */
#include "storage/compress.h"
#include "storage/tree.h"

enum {
    BUILDER_PART = 8,    /* of the budget, that one table may take while it is built */
    PART_TABLES_MAX = 4, /* tables' worth of one part that are put into one table */
    /* Below the last level there is nothing to be newer than, and whoever reads it has a version of
     * the tree with it: so there all sequences are the same, and cost one byte in place of four. */
    OLDEST_SEQUENCE = 1,
    OVERLAP_TABLES_MAX = 10, /* tables' worth of the level below that one table may overlap */
};

LW_YIELDS static lw_status output_begin(lw_output *output) {
    char path[LW_PATH_SIZE];
    lw_store *store = output->store;
    uint64_t number = 0;
    LW_TRY(lw_store_number(store, &number));
    LW_TRY(lw_table_path(path, store->table_path, number));
    lw_table_options options = lw_store_table_options(store, output->last);
    if (output->compressor == NULL) {
        output->compressor =
            lw_compressor_open(store->memory, options.compression, options.compression_level);
    }
    options.compressor = output->compressor;
    lw_status status = lw_table_builder_open(store->env, path, number, &options, &output->builder);
    return status == LW_OK ? LW_OK : lw_store_judge(store, status);
}

static void output_collect(lw_output *output, const lw_table_info *info) {
    lw_store *store = output->store;
    if (output->count == output->capacity) {
        output->capacity = output->capacity == 0 ? 4 : 2 * output->capacity;
        output->files =
            lw_reallocate(store->memory, output->files, output->capacity * sizeof(lw_table_file *));
    }
    output->files[output->count++] = lw_table_file_make(&store->folder, info);
    output->bytes += info->size + output->values.bytes;
    output->values.bytes = 0;
    lw_value_output_next_table(&output->values);
}

LW_YIELDS static lw_status output_end(lw_output *output) {
    lw_store *store = output->store;
    lw_arena arena = lw_arena_in(store->memory);
    lw_table_info info, list;
    LW_TRY(lw_value_output_end_table(&output->values, &list));
    lw_table_builder *builder = output->builder;
    output->builder = NULL;
    lw_status status = lw_table_builder_finish(builder, &arena, &info);
    if (status == LW_OK) {
        info.values = list.values;
        info.value_count = list.value_count;
        output_collect(output, &info);
    } else {
        status = lw_store_judge(store, status);
    }
    lw_arena_reset(&arena);
    return status;
}

/* Goes on to `key` in the level below. True where a table of it ends before the key, after so much
 * overlap, or with so full a table at hand, that this is a good place to cut. */
static bool passes_boundary(lw_output *output, uint64_t size, lw_bytes key) {
    if (output->below == NULL) {
        return false;
    }
    lw_table_file *const *files = lw_version_files(output->below, output->below_level);
    uint32_t count = lw_version_count(output->below, output->below_level);
    uint32_t before = output->below_index;
    while (output->below_index < count && lw_table_file_before(files[output->below_index], key)) {
        output->overlap_size += files[output->below_index]->info.size;
        output->below_index++;
    }
    return output->below_index != before &&
           (size >= output->cut_size / 2 ||
            LW_RARE(output->store->env, "store.cut_at_any_boundary") ||
            output->overlap_size >= OVERLAP_TABLES_MAX * output->cut_size);
}

/* Tiny entries take more memory while their table is built, for the filter, than space in it. */
static bool takes_much(const lw_output *output) {
    const lw_budget *budget = output->store->budget;
    return output->cut_size != UINT64_MAX &&
           (lw_table_builder_memory(output->builder) > budget->limit / BUILDER_PART ||
            LW_RARE(output->store->env, "store.cut_anywhere"));
}

/* Whether the table at hand ends before the entry that the sieve has just kept. */
static bool ends_here(lw_output *output, const lw_entry *entry, const lw_sieve *sieve) {
    uint64_t size = output->builder == NULL ? 0 : lw_table_builder_size(output->builder);
    bool boundary = passes_boundary(output, size, entry->key);
    if (output->builder == NULL) {
        return false;
    }
    if (boundary && !sieve->same_part) {
        LW_MARK(output->store->env, "store.cut_at_boundary");
        return true;
    }
    if (size >= output->cut_size && sieve->same_part) {
        LW_MARK(output->store->env, "store.part_kept_whole");
        return size / PART_TABLES_MAX >= output->cut_size;
    }
    bool early = output->cut_size != UINT64_MAX && !sieve->same_part &&
                 LW_RARE(output->store->env, "store.cut_early");
    return size >= output->cut_size || takes_much(output) || early;
}

lw_status lw_output_add(lw_output *output, lw_table_file *source, const lw_entry *entry,
                        const lw_sieve *sieve) {
    lw_entry passed;
    if (ends_here(output, entry, sieve)) {
        LW_TRY(output_end(output));
        output->overlap_size = 0;
    }
    if (output->builder == NULL) {
        LW_TRY(output_begin(output));
    }
    LW_TRY(lw_value_output_pass(&output->values, source, entry, &passed));
    passed.sequence = output->last ? OLDEST_SEQUENCE : passed.sequence;
    lw_status status = lw_table_builder_add(output->builder, &passed);
    if (status == LW_OK && sieve->needless_from != UINT64_MAX) {
        lw_table_builder_note_stale(output->builder, sieve->needless_from);
    }
    return status == LW_OK ? LW_OK : lw_store_judge(output->store, status);
}

static void close_compressor(lw_output *output) {
    LW_ASSERT(output->builder == NULL);
    lw_compressor_close(output->compressor);
    output->compressor = NULL;
}

lw_status lw_output_finish(lw_output *output) {
    if (output->builder != NULL) {
        LW_TRY(output_end(output));
    }
    close_compressor(output);
    return output->count == 0 ? LW_OK : lw_store_sync_tables(output->store);
}

void lw_output_reset(lw_output *output, bool obsolete) {
    if (output->builder != NULL) {
        lw_table_builder_abandon(output->builder);
    }
    for (uint32_t index = 0; index < output->count; index++) {
        if (obsolete) {
            lw_shared_file_discard(output->files[index]->shared);
        }
        lw_table_file_release(output->files[index]);
    }
    lw_value_output_reset(&output->values);
    lw_free(output->store->memory, output->files);
    output->builder = NULL;
    close_compressor(output);
    output->files = NULL;
    output->count = output->capacity = 0;
}
