/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/scrub.h"

#include "storage/table_file.h"
#include "storage/table_index.h"
#include "storage/tree.h"

#include <inttypes.h>

/* A file that is held, so that it stays: a table, or one of the files of its values. */
typedef struct held_file {
    lw_table_file *table;
    const lw_value_file *values; /* NULL: the table itself */
    uint64_t number;             /* 0: none */
} held_file;

typedef struct scrubbing {
    lw_store *store;
    lw_scrub_pause *pause;
    void *argument;
    char path[LW_PATH_SIZE];
    lw_handle file;
    lw_buffer bytes;
    lw_budget_share share; /* of them */
} scrubbing;

/* ---- which file ------------------------------------------------------------------------------ */

uint64_t lw_store_newest_file(const lw_store *store) {
    return store->number_next - 1;
}

static void consider(held_file *best, lw_table_file *table, const lw_value_file *values,
                     uint64_t after, uint64_t last) {
    uint64_t number = values == NULL ? table->info.number : values->number;
    if (number > after && number <= last && (best->number == 0 || number < best->number)) {
        *best = (held_file){.table = table, .values = values, .number = number};
    }
}

static void consider_all(held_file *best, const lw_tree *tree, uint64_t after, uint64_t last) {
    const lw_version *version = tree->version;
    for (uint32_t index = 0; index < version->level_start[LW_LEVEL_COUNT]; index++) {
        lw_table_file *table = version->files[index];
        consider(best, table, NULL, after, last);
        for (uint32_t place = 0; place < table->info.value_count; place++) {
            consider(best, table, &table->info.values[place], after, last);
        }
    }
}

static held_file next_file(const lw_store *store, uint64_t after, uint64_t last) {
    held_file best = {.number = 0};
    for (const lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        consider_all(&best, tree, after, last);
    }
    return best;
}

static bool shows(const lw_tree *tree, uint64_t number) {
    const lw_version *version = tree->version;
    for (uint32_t index = 0; index < version->level_start[LW_LEVEL_COUNT]; index++) {
        const lw_table_info *info = &version->files[index]->info;
        if (info->number == number) {
            return true;
        }
        for (uint32_t place = 0; place < info->value_count; place++) {
            if (info->values[place].number == number) {
                return true;
            }
        }
    }
    return false;
}

bool lw_store_shows_file(const lw_store *store, uint64_t number) {
    for (const lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        if (shows(tree, number)) {
            return true;
        }
    }
    return false;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static lw_status given_up(void) {
    return lw_fail(LW_UNAVAILABLE, "the scrub was given up");
}

/* A piece was read: what follows waits for its turn. */
LW_YIELDS static lw_status pause_after(scrubbing *of, size_t size) {
    bool goes_on = !lw_store_stopping(of->store) && of->pause(of->argument, size);
    return goes_on && !lw_store_stopping(of->store) ? LW_OK : given_up();
}

static uint8_t *room(scrubbing *of, size_t size) {
    lw_buffer_clear(&of->bytes);
    uint8_t *to = lw_buffer_reserve(&of->bytes, size);
    lw_budget_share_set(&of->share, of->bytes.capacity);
    return to;
}

/* Reads a part of a table to `bytes`, and verifies it. */
LW_YIELDS static lw_status read_part(scrubbing *of, const lw_part *part, size_t size) {
    uint8_t *to = room(of, size);
    lw_status status = lw_part_read(of->store->env, of->file, of->path, part, to, size);
    if (status == LW_CORRUPTION && LW_BUG(of->store->env, "scrub.skips_checksums")) {
        status = LW_OK;
    }
    LW_TRY(status);
    of->bytes.size = size;
    return pause_after(of, size);
}

/* ---- a table ----------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status walk_blocks(scrubbing *of, uint64_t number,
                                       const lw_table_index *index) {
    for (uint32_t block = 0; block < index->block_count; block++) {
        lw_table_place place = lw_table_index_place(index, block);
        lw_part part = {LW_PART_DATA, number, place.offset};
        LW_TRY(read_part(of, &part, place.sealed_size));
    }
    return LW_OK;
}

LW_YIELDS static lw_status walk_table(scrubbing *of, const lw_table_info *info,
                                      const lw_table_footer *footer) {
    const lw_part properties = {LW_PART_PROPERTIES, footer->number, footer->properties.offset};
    const lw_part filter = {LW_PART_FILTER, footer->number, footer->filter.offset};
    const lw_part fences = {LW_PART_INDEX, footer->number, footer->index.offset};
    if (footer->number != info->origin || footer->checksum != info->checksum) {
        return lw_table_damaged(of->path, 0, "it is not the table that the catalog names");
    }
    LW_TRY(read_part(of, &properties, footer->properties.size));
    LW_TRY(read_part(of, &filter, footer->filter.size));
    LW_TRY(read_part(of, &fences, footer->index.size));
    lw_table_index index = {.memory = of->store->memory};
    lw_bytes sealed = lw_buffer_view(&of->bytes);
    if (!lw_table_index_open(of->store->memory, lw_view(sealed.data, sealed.size - LW_SEAL_SIZE),
                             footer->filter.offset, &index)) {
        return lw_table_damaged(of->path, fences.offset, "this is no index");
    }
    lw_status status = walk_blocks(of, footer->number, &index);
    lw_table_index_close(&index);
    return status;
}

LW_YIELDS static lw_status scrub_table(scrubbing *of, const lw_table_info *info) {
    uint64_t size = 0;
    lw_table_footer footer;
    LW_TRY(lw_table_path(of->path, of->store->table_path, info->number));
    LW_TRY(lw_table_file_open(of->store->env, of->path, &of->file, &size, &footer));
    lw_status status =
        size == info->size
            ? walk_table(of, info, &footer)
            : lw_table_damaged(of->path, 0, "it has another size than it was made with");
    lw_file_close(of->store->env, of->file);
    return status;
}

/* ---- a file of values --------------------------------------------------------------------------
 */

LW_YIELDS static lw_status read_at(scrubbing *of, uint64_t offset, size_t size) {
    size_t read = 0;
    uint8_t *to = room(of, size);
    LW_TRY(lw_file_read(of->store->env, of->file, offset, to, size, &read));
    of->bytes.size = read;
    return read == size ? LW_OK : lw_value_damaged(of->path, offset, "the file ends too early");
}

/* The value that ends at `*end`, where its sizes stand. */
LW_YIELDS static lw_status scrub_last(scrubbing *of, uint64_t number, uint64_t *end) {
    if (*end < LW_VALUE_TAIL_SIZE) {
        return lw_value_damaged(of->path, 0, "there is no room for a value");
    }
    LW_TRY(read_at(of, *end - LW_VALUE_TAIL_SIZE, LW_VALUE_TAIL_SIZE));
    lw_value_tail tail = lw_value_tail_read(of->bytes.data);
    lw_value_place place = {.value_size = tail.value_size, .stored_size = tail.stored_size};
    uint64_t extent = lw_value_extent(&place, tail.key_size);
    if (!lw_value_sizes_valid(tail.value_size, tail.stored_size, tail.key_size) || extent > *end) {
        return lw_value_damaged(of->path, *end, "the sizes of a value make no sense");
    }
    *end -= extent;
    LW_TRY(read_at(of, *end, (size_t)extent));
    lw_bytes covered = lw_view(of->bytes.data, of->bytes.size - sizeof(uint32_t));
    if (lw_value_checksum(lw_value_checksum_seed(number, *end), covered) != tail.checksum &&
        !LW_BUG(of->store->env, "scrub.skips_checksums")) {
        return lw_value_damaged(of->path, *end, "the checksum of a value does not match");
    }
    return pause_after(of, (size_t)extent);
}

LW_YIELDS static lw_status scrub_values(scrubbing *of, const lw_value_file *values) {
    uint64_t size = 0;
    lw_value_footer footer;
    LW_TRY(lw_table_path(of->path, of->store->table_path, values->number));
    LW_TRY(lw_value_file_open(of->store->env, of->path, &of->file, &size, &footer));
    lw_status status =
        footer.number == values->origin && size == values->size
            ? LW_OK
            : lw_value_damaged(of->path, 0, "it is not the file that the catalog names");
    uint64_t end = size - LW_VALUE_FOOTER_SIZE;
    while (status == LW_OK && end > 0) {
        status = scrub_last(of, footer.number, &end);
    }
    lw_file_close(of->store->env, of->file);
    return status;
}

/* ---- all of it --------------------------------------------------------------------------------
 */

/* Whoever owns a tree that shows it is told, with the reason in the error slot. */
static void tell(const lw_store *store, uint64_t number, const lw_error *reason) {
    LW_MARK(store->env, "store.scrub_found_damage");
    for (lw_tree *tree = store->first_tree; tree != NULL; tree = tree->next) {
        if (store->options.damaged != NULL && shows(tree, number)) {
            *lw_error_slot() = *reason;
            store->options.damaged(store->options.argument, tree);
        }
    }
}

LW_YIELDS static lw_status scrub_file(lw_store *store, const held_file *file, lw_scrub_pause *pause,
                                      void *argument) {
    scrubbing of = {.store = store,
                    .pause = pause,
                    .argument = argument,
                    .bytes = lw_buffer_in(store->memory),
                    .share = lw_budget_share_in(store->budget, LW_BUDGET_BUFFERS)};
    lw_table_file_hold(file->table);
    lw_status status = file->values == NULL ? scrub_table(&of, &file->table->info)
                                            : scrub_values(&of, file->values);
    lw_error reason = *lw_error_slot();
    lw_table_file_release(file->table);
    lw_budget_share_set(&of.share, 0);
    lw_buffer_reset(&of.bytes);
    *lw_error_slot() = reason;
    return status;
}

lw_status lw_store_scrub(lw_store *store, uint64_t after, uint64_t last, lw_scrub_pause *pause,
                         void *argument, uint64_t *number) {
    held_file next = next_file(store, after, last);
    if (next.number == 0) {
        return lw_fail(LW_NOT_FOUND, "no file is left to be verified");
    }
    *number = next.number;
    lw_status status = scrub_file(store, &next, pause, argument);
    if (status == LW_CORRUPTION) {
        lw_error reason = *lw_error_slot();
        tell(store, next.number, &reason);
        *lw_error_slot() = reason;
    }
    return status;
}

lw_status lw_store_verify_tree(lw_store *store, uint64_t tree, lw_scrub_pause *pause,
                               void *argument) {
    uint64_t after = 0;
    for (;;) {
        const lw_tree *shown = lw_store_tree(store, tree);
        held_file next = {.number = 0};
        if (shown == NULL) {
            return lw_fail(LW_NOT_FOUND, "there is no tree %" PRIu64, tree);
        }
        consider_all(&next, shown, after, UINT64_MAX);
        if (next.number == 0) {
            return LW_OK;
        }
        lw_status status = scrub_file(store, &next, pause, argument);
        shown = lw_store_tree(store, tree);
        /* What it shows no more counts no more. */
        if (status != LW_OK && shown != NULL && shows(shown, next.number)) {
            return status;
        }
        after = next.number;
    }
}
