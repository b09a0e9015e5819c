/* SPDX-License-Identifier: Apache-2.0 */
/* From a reference to its value: see value_fetch.h. */
#include "storage/value_fetch.h"

#include <inttypes.h>

enum {
    CACHED_SIZE_MAX = 64 * 1024, /* of a value that may enter the cache */
    AHEAD_SIZE_MIN = 32 * 1024,  /* the first read ahead; each next one takes twice as much */
    AHEAD_SIZE_MAX = 256 * 1024,
    GAP_SIZE_MAX = 64 * 1024, /* between values that count as side by side: a read costs as much */
};

/* ---- one value ------------------------------------------------------------------------------ */

/* What a reference stands for: which file, and where in it. */
typedef struct target {
    lw_shared_file *file;
    const lw_value_file *info;
    lw_value_place place;
} target;

static lw_status find_target(const lw_table_file *file, lw_bytes key, lw_bytes reference,
                             target *found) {
    lw_reference read = {0};
    if (lw_reference_read(reference, &read) && read.file < file->shared->value_count) {
        const lw_value_file *info = &file->info.values[read.file];
        uint64_t extent = lw_value_extent(&read.place, key.size);
        if (read.place.offset <= info->size && extent <= info->size - read.place.offset) {
            *found = (target){file->shared->values[read.file], info, read.place};
            return LW_OK;
        }
    }
    return lw_fail(LW_CORRUPTION,
                   "the table %s/%016" PRIx64 " is damaged: a reference to a value makes no sense; "
                   "take the shard from another replica, or restore a backup",
                   file->shared->folder->path, file->info.number);
}

LW_YIELDS static lw_status read_direct(const target *from, lw_bytes key, lw_buffer *value) {
    lw_value_reader *reader = NULL;
    LW_TRY(lw_shared_file_use_values(from->file, from->info, &reader));
    lw_status status = lw_value_read(reader, key, &from->place, value);
    lw_shared_file_done(from->file);
    return status;
}

lw_status lw_value_fetch_uncached(lw_table_file *file, lw_bytes key, lw_bytes reference,
                                  lw_buffer *value) {
    target from = {0};
    LW_TRY(find_target(file, key, reference, &from));
    LW_ASSERT(from.file != NULL);
    return read_direct(&from, key, value);
}

/* The buffer is the caller's; what is read at one time is kept within the budget. */
LW_YIELDS static lw_status read_bounded(const target *from, lw_bytes key, lw_buffer *value) {
    lw_budget *budget = lw_cache_budget(from->file->folder->cache);
    size_t size = lw_value_extent(&from->place, key.size);
    LW_TRY(lw_budget_take(budget, LW_BUDGET_BUFFERS, size, "a large value"));
    lw_status status = read_direct(from, key, value);
    lw_budget_discharge(budget, LW_BUDGET_BUFFERS, size);
    return status;
}

/* Gives a value that was just read to the cache. */
static void remember(const target *from, lw_bytes value) {
    lw_cache *cache = from->file->folder->cache;
    lw_cache_block *made = lw_cache_make(cache, from->file->number, from->place.offset, value.size);
    memcpy(lw_cache_block_data(made), value.data, value.size);
    lw_cache_unpin(cache, lw_cache_publish(cache, made, NULL));
}

lw_status lw_value_fetch(lw_table_file *file, lw_bytes key, lw_bytes reference, lw_buffer *value) {
    target from = {0};
    LW_TRY(find_target(file, key, reference, &from));
    LW_ASSERT(from.file != NULL);
    if (from.place.value_size > CACHED_SIZE_MAX ||
        LW_RARE(from.file->folder->env, "value.read_past_cache")) {
        return read_bounded(&from, key, value);
    }
    lw_cache *cache = from.file->folder->cache;
    lw_cache_block *block = lw_cache_find(cache, from.file->number, from.place.offset, NULL);
    if (block != NULL) {
        lw_buffer_append(value, lw_view(lw_cache_block_data(block), from.place.value_size));
        lw_cache_unpin(cache, block);
        return LW_OK;
    }
    size_t before = value->size;
    LW_TRY(read_direct(&from, key, value));
    remember(&from, lw_view(value->data + before, value->size - before));
    return LW_OK;
}

/* ---- many values ---------------------------------------------------------------------------- */

lw_ahead *lw_ahead_open(lw_memory *memory, lw_budget *budget) {
    lw_ahead *ahead = lw_allocate_zero(memory, sizeof(*ahead));
    ahead->memory = memory;
    ahead->value = lw_buffer_in(memory);
    ahead->share = lw_budget_share_in(budget, LW_BUDGET_BUFFERS);
    for (uint32_t index = 0; index < LW_AHEAD_WINDOWS; index++) {
        ahead->windows[index].bytes = lw_buffer_in(memory);
    }
    return ahead;
}

static void window_leave(lw_ahead_window *window) {
    if (window->file != NULL) {
        lw_shared_file_release(window->file);
        window->file = NULL;
    }
}

void lw_ahead_close(lw_ahead *ahead) {
    if (ahead == NULL) {
        return;
    }
    for (uint32_t index = 0; index < LW_AHEAD_WINDOWS; index++) {
        window_leave(&ahead->windows[index]);
        lw_buffer_reset(&ahead->windows[index].bytes);
    }
    lw_buffer_reset(&ahead->value);
    lw_budget_share_set(&ahead->share, 0);
    lw_free(ahead->memory, ahead);
}

static void count_memory(lw_ahead *ahead) {
    size_t size = ahead->value.capacity;
    for (uint32_t index = 0; index < LW_AHEAD_WINDOWS; index++) {
        size += ahead->windows[index].bytes.capacity;
    }
    lw_budget_share_set(&ahead->share, size);
}

/* The window on this file, or one that is given up for it. */
static lw_ahead_window *window_of(lw_ahead *ahead, lw_shared_file *file) {
    lw_ahead_window *oldest = &ahead->windows[0];
    for (uint32_t index = 0; index < LW_AHEAD_WINDOWS; index++) {
        lw_ahead_window *window = &ahead->windows[index];
        if (window->file == file) {
            return window;
        }
        oldest = window->used < oldest->used ? window : oldest;
    }
    window_leave(oldest);
    lw_shared_file_hold(file);
    lw_buffer_clear(&oldest->bytes);
    oldest->file = file;
    oldest->first = oldest->last = UINT64_MAX;
    return oldest;
}

static bool window_holds(const lw_ahead_window *window, uint64_t first, uint64_t last) {
    return first >= window->offset && last <= window->offset + window->bytes.size;
}

/* Where to begin to read so that values that stand side by side come with this one; `*size` is what
 * to read, and no more than the value if the one before stood elsewhere. */
static uint64_t plan_read(lw_ahead_window *window, const lw_budget *budget, uint64_t first,
                          uint64_t last, size_t *size) {
    size_t own_size = (size_t)(last - first);
    size_t ahead_size = lw_budget_for_buffer(budget, window->ahead_size);
    bool on = first >= window->last && first - window->last <= GAP_SIZE_MAX;
    bool back = last <= window->first && window->first - last <= GAP_SIZE_MAX;
    if ((!on && !back) || LW_RARE(window->file->folder->env, "value.reads_not_ahead")) {
        window->ahead_size = AHEAD_SIZE_MIN;
        *size = own_size;
        return first;
    }
    window->ahead_size = ahead_size < AHEAD_SIZE_MAX / 2 ? 2 * ahead_size : AHEAD_SIZE_MAX;
    *size = own_size > ahead_size ? own_size : ahead_size;
    if (on) {
        return first;
    }
    *size = last < *size ? (size_t)last : *size;
    return last - *size;
}

LW_YIELDS static lw_status fill(lw_ahead *ahead, lw_ahead_window *window, lw_value_reader *reader,
                                uint64_t first, uint64_t last) {
    size_t size;
    window->offset = plan_read(window, ahead->share.budget, first, last, &size);
    if (size > last - first) {
        LW_MARK(window->file->folder->env, "value.read_ahead");
    }
    lw_buffer_clear(&window->bytes);
    lw_status status = lw_value_read_ahead(reader, window->offset, size, &window->bytes);
    count_memory(ahead);
    return status;
}

/* Takes a value out of the window, which is filled anew if it must be. */
LW_YIELDS static lw_status window_take(lw_ahead *ahead, lw_ahead_window *window, const target *from,
                                       lw_bytes key, lw_value_reader *reader, lw_bytes *value) {
    uint64_t first = from->place.offset, last = first + lw_value_extent(&from->place, key.size);
    lw_status status = LW_OK;
    if (!window_holds(window, first, last)) {
        status = fill(ahead, window, reader, first, last);
    }
    window->first = first;
    window->last = last;
    LW_TRY(status);
    uint64_t skipped = first - window->offset;
    lw_bytes rest = skipped <= window->bytes.size
                        ? lw_view(window->bytes.data + skipped, window->bytes.size - skipped)
                        : lw_view(NULL, 0);
    size_t extent = (size_t)(last - first);
    return lw_value_take(reader, key, &from->place,
                         lw_view(rest.data, rest.size < extent ? rest.size : extent), &ahead->value,
                         value);
}

/* A large value is read alone: nothing is saved by reading its neighbours too. */
LW_YIELDS static lw_status take_alone(lw_ahead *ahead, const target *from, lw_bytes key,
                                      lw_bytes *value) {
    lw_buffer_clear(&ahead->value);
    lw_status status = read_bounded(from, key, &ahead->value);
    count_memory(ahead);
    *value = lw_buffer_view(&ahead->value);
    return status;
}

lw_status lw_ahead_fetch(lw_ahead *ahead, lw_table_file *file, lw_bytes key, lw_bytes reference,
                         lw_bytes *value) {
    target from = {0};
    lw_value_reader *reader = NULL;
    LW_TRY(find_target(file, key, reference, &from));
    LW_ASSERT(from.file != NULL);
    if (ahead->value.capacity > AHEAD_SIZE_MAX) {
        lw_buffer_reset(&ahead->value);
    }
    if (lw_value_extent(&from.place, key.size) > AHEAD_SIZE_MAX ||
        LW_RARE(from.file->folder->env, "value.read_alone")) {
        return take_alone(ahead, &from, key, value);
    }
    lw_ahead_window *window = window_of(ahead, from.file);
    window->used = ++ahead->clock;
    LW_TRY(lw_shared_file_use_values(from.file, from.info, &reader));
    lw_status status = window_take(ahead, window, &from, key, reader, value);
    lw_shared_file_done(from.file);
    return status;
}
