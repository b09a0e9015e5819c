/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a table from front to back: blocks as they fill, then filter, index, properties, footer.
 * The format is at the head of table.c. Compression, checksums and the filter are made on another
 * thread, so that no turn of the reactor is long (storage/table_seal.h).
 *
 * Invariants
 * 1. Bytes go out in the order of their offsets; `written` of them are in the file, the rest waits
 * in `out`, which holds little more than options.buffer_size.
 * 2. After a failure nothing but lw_table_builder_abandon makes sense. */
#include "base/hash.h"
#include "storage/block.h"
#include "storage/filter.h"
#include "storage/table_file.h"
#include "storage/table_index.h"
#include "storage/table_seal.h"

enum {
    BUFFER_SIZE_DEFAULT = 256 * 1024,
    FEW_HASHES = 4096, /* for which another thread does not pay */
    BLOCK_SIZE_DEFAULT = 4096,
    BLOCK_SIZE_LIMIT = 1024 * 1024,
    BLOCK_SIZE_TINY = 64,
    RESTART_INTERVAL_DEFAULT = 16,
    FILTER_BITS_DEFAULT = 10,
};

struct lw_table_builder {
    lw_env *env;
    lw_bytes path; /* with its closing zero */
    lw_handle file;
    lw_table_options options;  /* nothing left to default */
    lw_table_info info;        /* counts and sequences so far */
    lw_compressor *compressor; /* or NULL */
    lw_buffer out;
    uint64_t written;
    lw_sealer sealer;
    lw_block_builder block, index;
    lw_buffer fence_key; /* of the block being filled */
    uint64_t fence_sequence;
    lw_buffer first_key, last_key; /* of the table */
    uint64_t last_sequence;
    lw_buffer hashes; /* of filter parts, u64 each */
    uint64_t last_hash;
    lw_budget_share share;
};

static const char *path_of(const lw_table_builder *builder) {
    return (const char *)builder->path.data;
}

static lw_table_options options_filled(lw_env *env, const lw_table_options *given) {
    lw_table_options filled = given != NULL ? *given : (lw_table_options){.block_size = 0};
    if (filled.block_size == 0) {
        filled.block_size = BLOCK_SIZE_DEFAULT;
    }
    if (filled.restart_interval == 0) {
        filled.restart_interval = RESTART_INTERVAL_DEFAULT;
    }
    if (filled.filter_bits == 0) {
        filled.filter_bits = FILTER_BITS_DEFAULT;
    }
    if (filled.buffer_size == 0) {
        filled.buffer_size = BUFFER_SIZE_DEFAULT;
    }
    if (LW_RARE(env, "table.tiny_blocks")) {
        filled.block_size = BLOCK_SIZE_TINY;
    }
    if (LW_RARE(env, "table.every_key_restarts")) {
        filled.restart_interval = 1;
    }
    if (LW_RARE(env, "table.poor_filter")) {
        filled.filter_bits = 1;
    }
    LW_ASSERT(filled.block_size <= BLOCK_SIZE_LIMIT);
    return filled;
}

lw_status lw_table_builder_open(lw_env *env, const char *path, uint64_t number,
                                const lw_table_options *options, lw_table_builder **builder) {
    lw_handle file;
    LW_TRY(lw_file_open(env, path, LW_OPEN_CREATE | LW_OPEN_EXCLUSIVE, &file));
    lw_memory *memory = env->memory;
    lw_table_builder *opened = lw_allocate_zero(memory, sizeof(*opened));
    opened->env = env;
    opened->path = lw_copy(memory, lw_view(path, strlen(path) + 1));
    opened->file = file;
    opened->options = options_filled(env, options);
    opened->info.number = opened->info.origin = number;
    opened->info.compression = opened->options.compression;
    opened->compressor = opened->options.compressor != NULL
                             ? opened->options.compressor
                             : lw_compressor_open(memory, opened->options.compression,
                                                  opened->options.compression_level);
    opened->sealer = lw_sealer_in(memory, opened->compressor, number);
    opened->out = lw_buffer_in(memory);
    opened->block = lw_block_builder_in(memory, opened->options.restart_interval);
    opened->index = lw_block_builder_in(memory, RESTART_INTERVAL_DEFAULT);
    opened->fence_key = lw_buffer_in(memory);
    opened->first_key = lw_buffer_in(memory);
    opened->last_key = lw_buffer_in(memory);
    opened->hashes = lw_buffer_in(memory);
    opened->share = lw_budget_share_in(opened->options.budget, LW_BUDGET_BUFFERS);
    *builder = opened;
    return LW_OK;
}

static void builder_free(lw_table_builder *builder) {
    lw_memory *memory = builder->env->memory;
    lw_free(memory, (void *)(uintptr_t)builder->path.data);
    lw_sealer_reset(&builder->sealer);
    if (builder->options.compressor == NULL) {
        lw_compressor_close(builder->compressor);
    }
    lw_buffer_reset(&builder->out);
    lw_block_builder_reset(&builder->block);
    lw_block_builder_reset(&builder->index);
    lw_buffer_reset(&builder->fence_key);
    lw_buffer_reset(&builder->first_key);
    lw_buffer_reset(&builder->last_key);
    lw_buffer_reset(&builder->hashes);
    lw_budget_share_set(&builder->share, 0);
    lw_free(memory, builder);
}

void lw_table_builder_abandon(lw_table_builder *builder) {
    lw_file_close(builder->env, builder->file);
    /* What cannot be removed now, no catalog names, and the store removes it when it opens. */
    lw_status status = lw_path_unlink(builder->env, path_of(builder));
    (void)status;
    builder_free(builder);
}

uint64_t lw_table_builder_size(const lw_table_builder *builder) {
    return builder->written + builder->out.size + builder->sealer.raw.size +
           builder->block.bytes.size;
}

size_t lw_table_builder_memory(const lw_table_builder *builder) {
    return builder->out.capacity + builder->hashes.capacity + builder->block.bytes.capacity +
           builder->sealer.raw.capacity + builder->sealer.keys.capacity +
           builder->index.bytes.capacity + lw_compressor_size(builder->compressor);
}

static void count_memory(lw_table_builder *builder) {
    lw_budget_share_set(&builder->share, lw_table_builder_memory(builder));
}

static LW_YIELDS lw_status write_out(lw_table_builder *builder) {
    lw_status status = lw_file_write(builder->env, builder->file, builder->written,
                                     lw_buffer_view(&builder->out), 0);
    if (status != LW_OK) {
        return lw_fail_in(status, "writing the table %s", path_of(builder));
    }
    builder->written += builder->out.size;
    lw_buffer_clear(&builder->out);
    if (builder->out.capacity > 2 * builder->options.buffer_size) {
        lw_buffer_reset(&builder->out); /* one large block made it larger */
    }
    return LW_OK;
}

/* Seals a part behind everything before it. */
static lw_table_range append_part(lw_table_builder *builder, lw_part_kind kind, lw_bytes bytes) {
    lw_part part = {.kind = kind,
                    .number = builder->info.number,
                    .offset = builder->written + builder->out.size};
    size_t sealed_size = lw_part_seal(&part, bytes, NULL, &builder->out);
    LW_ASSERT(sealed_size <= UINT32_MAX);
    return (lw_table_range){.offset = part.offset, .size = (uint32_t)sealed_size};
}

static void finish_block(lw_table_builder *builder) {
    lw_bytes bytes = lw_block_builder_finish(&builder->block);
    builder->info.raw_size += bytes.size;
    lw_sealer_add(&builder->sealer, bytes, lw_buffer_view(&builder->fence_key),
                  builder->fence_sequence);
    lw_block_builder_clear(&builder->block);
}

static LW_YIELDS void seal_blocks(lw_table_builder *builder) {
    lw_sealer_seal(builder->env, &builder->sealer, builder->written, &builder->out,
                   &builder->index);
}

static void add_to_filter(lw_table_builder *builder, lw_bytes key) {
    size_t part_size =
        builder->options.filter_part != NULL ? builder->options.filter_part(key) : key.size;
    LW_ASSERT(part_size <= key.size);
    uint64_t hash = lw_filter_hash(lw_view(key.data, part_size));
    /* Keys of one part stand together. */
    if (builder->hashes.size == 0 || hash != builder->last_hash) {
        lw_buffer_append_u64(&builder->hashes, hash);
        builder->last_hash = hash;
    }
}

static void count_entry(lw_table_builder *builder, const lw_entry *entry) {
    lw_table_info *info = &builder->info;
    bool first = info->entry_count == 0;
    info->sequence_min =
        first || entry->sequence < info->sequence_min ? entry->sequence : info->sequence_min;
    info->sequence_max =
        first || entry->sequence > info->sequence_max ? entry->sequence : info->sequence_max;
    info->entry_count++;
    info->delete_count += entry->kind == LW_ENTRY_DELETE;
    if (first) {
        lw_buffer_append(&builder->first_key, entry->key);
    }
    lw_buffer_clear(&builder->last_key);
    lw_buffer_append(&builder->last_key, entry->key);
    builder->last_sequence = entry->sequence;
}

void lw_table_builder_note_stale(lw_table_builder *builder, uint64_t needless_from) {
    lw_table_info *info = &builder->info;
    bool first = info->stale_count == 0;
    LW_ASSERT(info->stale_count < info->entry_count);
    info->stale_count++;
    info->stale_from = first || needless_from < info->stale_from ? needless_from : info->stale_from;
    info->stale_to = needless_from > info->stale_to ? needless_from : info->stale_to;
}

lw_status lw_table_builder_add(lw_table_builder *builder, const lw_entry *entry) {
    lw_bytes before = lw_buffer_view(&builder->last_key);
    bool first = builder->info.entry_count == 0;
    LW_ASSERT(first ||
              lw_entry_compare(before, builder->last_sequence, entry->key, entry->sequence) < 0);
    if (builder->block.entry_count > 0 &&
        lw_block_builder_size(&builder->block) + lw_block_entry_size_max(entry) >
            builder->options.block_size) {
        finish_block(builder);
        if (lw_sealer_full(&builder->sealer) || LW_RARE(builder->env, "table.seals_early")) {
            seal_blocks(builder);
        }
        if (builder->out.size >= builder->options.buffer_size) {
            LW_TRY(write_out(builder));
        }
        count_memory(builder);
    }
    if (builder->block.entry_count == 0) {
        lw_table_index_fence(first ? NULL : &before, entry, &builder->fence_key,
                             &builder->fence_sequence);
    }
    lw_block_builder_add(&builder->block, entry);
    add_to_filter(builder, entry->key);
    count_entry(builder, entry);
    return LW_OK;
}

typedef struct filter_work {
    const lw_table_builder *builder;
    lw_buffer *filter; /* with room enough */
} filter_work;

/* On another thread: for a large table this takes milliseconds. */
static void filter_main(void *argument) {
    const filter_work *work = argument;
    const lw_buffer *hashes = &work->builder->hashes;
    lw_filter_build((const uint64_t *)(const void *)hashes->data, hashes->size / sizeof(uint64_t),
                    work->builder->options.filter_bits, work->filter);
}

static LW_YIELDS void build_filter(lw_table_builder *builder, lw_buffer *filter) {
    filter_work work = {.builder = builder, .filter = filter};
    size_t count = builder->hashes.size / sizeof(uint64_t);
    lw_buffer_reserve(filter, lw_filter_size(count, builder->options.filter_bits));
    const uint8_t *data = filter->data;
    if (count < FEW_HASHES && !LW_RARE(builder->env, "table.filter_elsewhere")) {
        filter_main(&work);
    } else {
        lw_env_offload(builder->env, filter_main, &work);
    }
    LW_ASSERT(filter->data == data); /* nothing was allocated */
}

/* Everything behind the data blocks. Returns the checksum of the footer. */
static LW_YIELDS uint32_t append_end(lw_table_builder *builder) {
    lw_table_footer footer = {.number = builder->info.number};
    lw_buffer scratch = lw_buffer_in(builder->env->memory);
    build_filter(builder, &scratch);
    footer.filter = append_part(builder, LW_PART_FILTER, lw_buffer_view(&scratch));
    footer.index = append_part(builder, LW_PART_INDEX, lw_block_builder_finish(&builder->index));
    lw_buffer_clear(&scratch);
    lw_table_properties_write(&builder->info, &scratch);
    footer.properties = append_part(builder, LW_PART_PROPERTIES, lw_buffer_view(&scratch));
    lw_buffer_reset(&scratch);
    uint8_t bytes[LW_TABLE_FOOTER_SIZE];
    lw_table_footer_write(&footer, bytes);
    lw_buffer_append(&builder->out, lw_view(bytes, sizeof(bytes)));
    return footer.checksum;
}

lw_status lw_table_builder_finish(lw_table_builder *builder, lw_arena *arena, lw_table_info *info) {
    LW_ASSERT(builder->block.entry_count > 0);
    finish_block(builder);
    seal_blocks(builder);
    builder->info.key_min = lw_buffer_view(&builder->first_key);
    builder->info.key_max = lw_buffer_view(&builder->last_key);
    builder->info.checksum = append_end(builder);
    count_memory(builder);
    lw_status status = write_out(builder);
    if (status == LW_OK) {
        status = lw_file_sync(builder->env, builder->file);
    }
    if (status != LW_OK) {
        lw_table_builder_abandon(builder);
        return status;
    }
    lw_file_close(builder->env, builder->file);
    builder->info.size = builder->written;
    *info = builder->info;
    info->key_min = lw_arena_copy(arena, info->key_min);
    info->key_max = lw_arena_copy(arena, info->key_max);
    builder_free(builder);
    return LW_OK;
}
