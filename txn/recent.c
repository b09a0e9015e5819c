/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/recent.h"

/* A ring. Starts are apart from the rest, so that looking at a thousand is looking at 8 KB. */
struct lw_recent {
    lw_memory *memory;
    uint32_t capacity;
    uint32_t count; /* places that were ever used */
    uint32_t next;  /* the place to use next */
    uint64_t *starts;
    lw_recent_entry *entries;
};

lw_recent *lw_recent_open(lw_memory *memory, uint32_t capacity) {
    LW_ASSERT(capacity > 0);
    lw_recent *recent = lw_allocate_zero(memory, sizeof(*recent));
    recent->memory = memory;
    recent->capacity = capacity;
    return recent;
}

void lw_recent_close(lw_recent *recent) {
    lw_free(recent->memory, recent->starts);
    lw_free(recent->memory, recent->entries);
    lw_free(recent->memory, recent);
}

void lw_recent_note(lw_recent *recent, uint64_t start, uint64_t commit_timestamp, lw_bytes label) {
    LW_ASSERT(start != 0);
    if (recent->starts == NULL) {
        recent->starts = lw_allocate(recent->memory, recent->capacity * sizeof(uint64_t));
        recent->entries = lw_allocate(recent->memory, recent->capacity * sizeof(lw_recent_entry));
    }
    uint32_t place = recent->next;
    recent->next = place + 1 == recent->capacity ? 0 : place + 1;
    recent->count += recent->count < recent->capacity;
    lw_recent_entry *entry = &recent->entries[place];
    size_t label_size =
        label.size < LW_RECENT_LABEL_SIZE_MAX ? label.size : (size_t)LW_RECENT_LABEL_SIZE_MAX;
    recent->starts[place] = start;
    entry->commit_timestamp = commit_timestamp;
    entry->label_size = (uint8_t)label_size;
    if (label_size > 0) {
        memcpy(entry->label, label.data, label_size);
    }
}

/* The newest of its places, or `capacity`. */
static uint32_t place_of(const lw_recent *recent, uint64_t start) {
    for (uint32_t back = 1; back <= recent->count; back++) {
        uint32_t place = (recent->next + recent->capacity - back) % recent->capacity;
        if (recent->starts[place] == start) {
            return place;
        }
    }
    return recent->capacity;
}

void lw_recent_committed(lw_recent *recent, uint64_t start, uint64_t commit_timestamp) {
    uint32_t place = place_of(recent, start);
    if (place < recent->capacity) {
        recent->entries[place].commit_timestamp = commit_timestamp;
    }
}

void lw_recent_forget(lw_recent *recent, uint64_t start) {
    uint32_t place;
    while ((place = place_of(recent, start)) < recent->capacity) {
        recent->starts[place] = 0;
    }
}

const lw_recent_entry *lw_recent_find(const lw_recent *recent, uint64_t start) {
    uint32_t place = place_of(recent, start);
    return place < recent->capacity ? &recent->entries[place] : NULL;
}
