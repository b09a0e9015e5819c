/* SPDX-License-Identifier: Apache-2.0 */
/* What a memtable's records look like, for the files of the memtable only. */
#ifndef LW_MEMTABLE_RECORD_H
#define LW_MEMTABLE_RECORD_H

#include "storage/headed.h"
#include "storage/memtable.h"

typedef struct lw_memtable_record {
    uint64_t sequence;
    uint32_t value_size;
    uint32_t key_size : 24;
    uint32_t kind : 8;
    uint8_t bytes[]; /* key, value */
} __attribute__((packed, aligned(4))) record;
_Static_assert(sizeof(record) == 16, "as its fields are");
_Static_assert(LW_TREE_KEY_SIZE_MAX < 1 << 24, "the size of a key fits its field");

/* What a search looks for. */
typedef struct target {
    lw_bytes key;
    uint64_t sequence;
} target;

static inline lw_bytes record_key(const record *of) {
    return lw_view(of->bytes, of->key_size);
}

/* The order of M1, for keys that share their first `shared` bytes. */
static inline int record_compare(const record *of, target sought, size_t shared) {
    int order = lw_compare(lw_view(of->bytes + shared, of->key_size - shared),
                           lw_view(sought.key.data + shared, sought.key.size - shared));
    return order != 0 ? order : (of->sequence < sought.sequence) - (of->sequence > sought.sequence);
}

static inline target target_of(const record *of) {
    return (target){.key = record_key(of), .sequence = of->sequence};
}

/* Sorts what was deferred, fills in its heads, and returns how many bytes its keys begin with in
 * common: behind those are the heads. MEMTABLE_NOT_KNOWN: they are so few that they have none. */
#define MEMTABLE_NOT_KNOWN SIZE_MAX
size_t memtable_sort_deferred(lw_memory *memory, lw_headed *deferred, uint32_t count);

#endif
