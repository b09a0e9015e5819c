/* SPDX-License-Identifier: Apache-2.0 */
/* Tables, looked at whole and without a cache, for people: what the file says it is, each of its
 * blocks, whatever is wrong with it, and a verdict. Where the reader stops at the first damage,
 * this goes on as far as it can. The format is at the head of table.c. */
#include <inttypes.h>

#include "storage/block.h"
#include "storage/filter.h"
#include "storage/table_file.h"
#include "storage/table_index.h"

typedef struct inspection {
    lw_env *env;
    const char *path;
    lw_buffer *text;
    lw_handle file;
    uint64_t file_size;
    lw_table_footer footer;
    lw_table_info stated; /* by the properties; its keys are views into `properties` */
    lw_table_info found;  /* by reading every entry */
    lw_table_index index;
    lw_decompressor *decompressor;
    lw_buffer properties, sealed, block, first_key, last_key;
    uint64_t last_sequence;
    uint64_t fault_count;
} inspection;

static void fault(inspection *of, uint64_t offset, const char *reason) {
    of->fault_count++;
    lw_buffer_print(of->text, "  fault at offset %" PRIu64 ": %s\n", offset, reason);
}

/* Reads a part into `sealed`. Damage is noted, and only what is no damage is a failure. */
static LW_YIELDS lw_status read_part(inspection *of, lw_part_kind kind, uint64_t offset,
                                     size_t sealed_size, bool *readable) {
    lw_part part = {kind, of->footer.number, offset};
    lw_buffer_clear(&of->sealed);
    uint8_t *to = lw_buffer_reserve(&of->sealed, sealed_size);
    lw_status status = lw_part_read(of->env, of->file, of->path, &part, to, sealed_size);
    if (status != LW_OK && status != LW_CORRUPTION) {
        return status;
    }
    of->sealed.size = sealed_size;
    *readable = status == LW_OK;
    if (!*readable) {
        const char *reason = lw_part_check(&part, lw_buffer_view(&of->sealed));
        fault(of, offset, reason != NULL ? reason : "it cannot be read");
    }
    return LW_OK;
}

/* What the part last read holds. */
static lw_bytes part_bytes(const inspection *of) {
    return lw_view(of->sealed.data, of->sealed.size - LW_SEAL_SIZE);
}

static void print_more_properties(const inspection *of) {
    static const char *const names[] = {"none", "LZ4", "zstd"};
    const lw_table_info *stated = &of->stated;
    lw_buffer_print(of->text, "  data of %" PRIu64 " bytes before compression: %s\n",
                    stated->raw_size, names[stated->compression]);
    if (stated->stale_count > 0) {
        lw_buffer_print(of->text,
                        "  %" PRIu64 " entries can be dropped, at safepoints from %" PRIu64
                        " to %" PRIu64 "\n",
                        stated->stale_count, stated->stale_from, stated->stale_to);
    }
}

static LW_YIELDS lw_status inspect_properties(inspection *of) {
    lw_table_range range = of->footer.properties;
    bool readable;
    LW_TRY(read_part(of, LW_PART_PROPERTIES, range.offset, range.size, &readable));
    if (!readable) {
        return LW_OK;
    }
    lw_buffer_append(&of->properties, part_bytes(of));
    if (!lw_table_properties_read(lw_buffer_view(&of->properties), &of->stated)) {
        fault(of, range.offset, "these are no properties");
        return LW_OK;
    }
    char first[LW_PRINTABLE_SIZE], last[LW_PRINTABLE_SIZE];
    lw_buffer_print(of->text,
                    "  %" PRIu64 " entries, %" PRIu64 " of them deletes; sequences %" PRIu64
                    " to %" PRIu64 "; keys \"%s\" to \"%s\"\n",
                    of->stated.entry_count, of->stated.delete_count, of->stated.sequence_min,
                    of->stated.sequence_max, lw_printable(of->stated.key_min, first, sizeof(first)),
                    lw_printable(of->stated.key_max, last, sizeof(last)));
    if (of->footer.format > 1) {
        print_more_properties(of);
    }
    return LW_OK;
}

static LW_YIELDS lw_status inspect_filter(inspection *of) {
    lw_table_range range = of->footer.filter;
    bool readable;
    LW_TRY(read_part(of, LW_PART_FILTER, range.offset, range.size, &readable));
    lw_filter filter;
    if (readable && !lw_filter_open(part_bytes(of), &filter)) {
        fault(of, range.offset, "this is no filter");
    } else if (readable) {
        lw_buffer_print(of->text,
                        "  filter at offset %" PRIu64 ": %" PRIu32 " lines, %" PRIu32 " probes\n",
                        range.offset, filter.line_count, filter.probe_count);
    }
    return LW_OK;
}

static LW_YIELDS lw_status inspect_index(inspection *of) {
    lw_table_range range = of->footer.index;
    bool readable;
    LW_TRY(read_part(of, LW_PART_INDEX, range.offset, range.size, &readable));
    if (readable && !lw_table_index_open(of->env->memory, part_bytes(of), of->footer.filter.offset,
                                         &of->index)) {
        fault(of, range.offset, "this is no index");
    } else if (readable) {
        lw_buffer_print(of->text, "  index at offset %" PRIu64 ": %" PRIu32 " blocks\n",
                        range.offset, of->index.block_count);
    }
    return LW_OK;
}

/* Holds an entry against the one before it and against the index. NULL, or what is wrong. */
static const char *check_entry(const inspection *of, const lw_entry *entry, uint32_t block) {
    if (of->found.entry_count > 0 &&
        lw_entry_compare(lw_buffer_view(&of->last_key), of->last_sequence, entry->key,
                         entry->sequence) >= 0) {
        return "an entry is out of order";
    }
    if (lw_table_index_find(&of->index, entry->key, entry->sequence) != block) {
        return "an entry lies beyond the fences of its block";
    }
    return NULL;
}

static void count_entry(inspection *of, const lw_entry *entry) {
    lw_table_info *found = &of->found;
    bool first = found->entry_count++ == 0;
    found->delete_count += entry->kind == LW_ENTRY_DELETE;
    if (first || entry->sequence < found->sequence_min) {
        found->sequence_min = entry->sequence;
    }
    if (first || entry->sequence > found->sequence_max) {
        found->sequence_max = entry->sequence;
    }
    if (first) {
        lw_buffer_append(&of->first_key, entry->key);
    }
    lw_buffer_clear(&of->last_key);
    lw_buffer_append(&of->last_key, entry->key);
    of->last_sequence = entry->sequence;
}

/* Walks the entries of a block, and describes it. */
static void inspect_entries(inspection *of, uint32_t block, lw_table_place place, lw_bytes bytes) {
    lw_block_cursor cursor = lw_block_cursor_in(of->env->memory);
    char first[LW_PRINTABLE_SIZE] = "";
    uint64_t before = of->found.entry_count;
    const char *reason = NULL;
    bool standing = lw_block_cursor_open(&cursor, bytes) && lw_block_cursor_first(&cursor);
    while (standing) {
        const lw_entry *entry = lw_block_cursor_entry(&cursor);
        const char *wrong = check_entry(of, entry, block);
        reason = reason == NULL ? wrong : reason;
        if (of->found.entry_count == before) {
            lw_printable(entry->key, first, sizeof(first));
        }
        count_entry(of, entry);
        standing = lw_block_cursor_next(&cursor);
    }
    lw_buffer_print(of->text,
                    "  block %" PRIu32 " at offset %" PRIu64 ": %" PRIu32 " bytes for %" PRIu32
                    ", %" PRIu64 " entries from \"%s\"\n",
                    block, place.offset, place.sealed_size, place.size,
                    of->found.entry_count - before, first);
    if (cursor.damaged) {
        reason = "an entry cannot be read";
    } else if (!lw_block_cursor_check_restarts(&cursor)) {
        reason = "a restart is not where an entry begins";
    }
    if (reason != NULL) {
        fault(of, place.offset, reason);
    }
    lw_block_cursor_reset(&cursor);
}

static LW_YIELDS lw_status inspect_block(inspection *of, uint32_t block) {
    lw_table_place place = lw_table_index_place(&of->index, block);
    bool readable;
    of->found.raw_size += place.size;
    LW_TRY(read_part(of, LW_PART_DATA, place.offset, place.sealed_size, &readable));
    if (!readable) {
        return LW_OK;
    }
    lw_bytes bytes = part_bytes(of);
    if (lw_part_compressed(place.sealed_size, place.size)) {
        lw_buffer_clear(&of->block);
        uint8_t *to = lw_buffer_reserve(&of->block, place.size);
        if (!lw_part_decompress(of->decompressor, lw_buffer_view(&of->sealed), to, place.size)) {
            fault(of, place.offset, "it cannot be decompressed");
            return LW_OK;
        }
        bytes = lw_view(to, place.size);
    }
    inspect_entries(of, block, place, bytes);
    return LW_OK;
}

/* Only worth saying where every block could be read. */
static void compare_counts(inspection *of) {
    const lw_table_info *stated = &of->stated, *found = &of->found;
    bool raw_size_right = of->footer.format == 1 || stated->raw_size == found->raw_size;
    if (!raw_size_right || found->entry_count != stated->entry_count ||
        found->delete_count != stated->delete_count ||
        found->sequence_min != stated->sequence_min ||
        found->sequence_max != stated->sequence_max ||
        !lw_equal(lw_buffer_view(&of->first_key), stated->key_min) ||
        !lw_equal(lw_buffer_view(&of->last_key), stated->key_max)) {
        fault(of, of->footer.properties.offset, "the properties are not those of the entries");
    }
}

static LW_YIELDS lw_status inspect_parts(inspection *of) {
    lw_buffer_print(of->text, "table %" PRIu64 ": format %" PRIu32 ", %" PRIu64 " bytes\n",
                    of->footer.number, of->footer.format, of->file_size);
    LW_TRY(inspect_properties(of));
    LW_TRY(inspect_filter(of));
    LW_TRY(inspect_index(of));
    for (uint32_t block = 0; block < of->index.block_count; block++) {
        LW_TRY(inspect_block(of, block));
    }
    if (of->fault_count == 0) {
        compare_counts(of);
    }
    return LW_OK;
}

lw_status lw_table_inspect(lw_env *env, const char *path, lw_buffer *text) {
    lw_memory *memory = env->memory;
    inspection of = {.env = env,
                     .path = path,
                     .text = text,
                     .index = {.memory = memory},
                     .properties = lw_buffer_in(memory),
                     .sealed = lw_buffer_in(memory),
                     .block = lw_buffer_in(memory),
                     .first_key = lw_buffer_in(memory),
                     .last_key = lw_buffer_in(memory)};
    LW_TRY(lw_table_file_open(env, path, &of.file, &of.file_size, &of.footer));
    of.decompressor = lw_decompressor_open(memory);
    lw_status status = inspect_parts(&of);
    lw_file_close(env, of.file);
    lw_table_index_close(&of.index);
    lw_decompressor_close(of.decompressor);
    lw_buffer_reset(&of.properties);
    lw_buffer_reset(&of.sealed);
    lw_buffer_reset(&of.block);
    lw_buffer_reset(&of.first_key);
    lw_buffer_reset(&of.last_key);
    LW_TRY(status);
    if (of.fault_count > 0) {
        lw_buffer_print(text, "verdict: damaged, faults: %" PRIu64 "\n", of.fault_count);
        return lw_table_damaged(path, 0, "the inspection found faults");
    }
    lw_buffer_print(text, "verdict: sound\n");
    return LW_OK;
}
