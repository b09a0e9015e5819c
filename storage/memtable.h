/* SPDX-License-Identifier: Apache-2.0 */
/* The memtable: what a tree was told last, ordered, in memory. A B+ tree in an arena; entries are
 * only ever added, so nothing but closing gives memory back. Nothing here suspends.
 *
 * Invariants
 * M1. Entries ascend by key, and within one key descend by sequence, as in tables (B1).
 * M2. An entry, once inserted, stays where it is until the memtable is closed: views into it live
 *     that long, also when an entry of the same key and sequence took its place.
 * M3. A cursor stands on its entry, whatever is inserted meanwhile; what is inserted ahead of it is
 *     met.
 * M4. The same inserts make the same memtable, byte for byte: there is no chance in it. */
#ifndef LW_MEMTABLE_H
#define LW_MEMTABLE_H

#include "storage/table.h"

typedef struct lw_memtable lw_memtable;

/* An empty memtable costs the struct, and no block before its first entry. */
lw_memtable *lw_memtable_open(lw_memory *memory);
/* Cursors on it must not be used afterwards. */
void lw_memtable_close(lw_memtable *memtable);
/* The same, but frees no more than about so many bytes; true if it is closed now, else it is good
 * for nothing but this and lw_memtable_size. */
LW_MUST_USE bool lw_memtable_close_some(lw_memtable *memtable, size_t size);

/* Copies the entry in. One of the same key and sequence is replaced (within a batch the later
 * operation wins); the bytes of the replaced one still count. */
void lw_memtable_insert(lw_memtable *memtable, const lw_entry *entry);

/* As lw_memtable_insert, but puts the entry only down, to be inserted with all others at once:
 * sorted, so that memory is touched in order, which makes it several times as fast for many entries
 * in no order. Until lw_memtable_settle nothing may be read. */
void lw_memtable_defer(lw_memtable *memtable, const lw_entry *entry);
void lw_memtable_settle(lw_memtable *memtable);
/* Bytes that a deferred entry takes besides, until it is settled, and while that is done. */
enum { LW_MEMTABLE_DEFERRED_SIZE = 64 };
/* Bytes taken from the memory, exactly, but for what is deferred. */
size_t lw_memtable_size(const lw_memtable *memtable);
/* Of them, those that the next entries take. */
size_t lw_memtable_spare(const lw_memtable *memtable);
/* Entries that a cursor meets. */
uint64_t lw_memtable_count(const lw_memtable *memtable);
/* The lowest and the highest sequence inserted; both 0 while it is empty. */
uint64_t lw_memtable_sequence_min(const lw_memtable *memtable);
uint64_t lw_memtable_sequence_max(const lw_memtable *memtable);

/* A position in one memtable: plain memory of the caller's, nothing to close. */
typedef struct lw_memtable_cursor {
    const lw_memtable *memtable;
    const struct lw_memtable_record *record; /* NULL: beyond either end */
    const struct lw_memtable_node *leaf;     /* where the record was when the cursor came to it */
    uint32_t index;                          /* in the leaf */
    lw_entry entry;                          /* view of the record */
} lw_memtable_cursor;

/* A cursor beyond the end. */
static inline lw_memtable_cursor lw_memtable_cursor_in(const lw_memtable *memtable) {
    return (lw_memtable_cursor){.memtable = memtable};
}
/* The first entry at or after (key, sequence) in the order of M1: the newest version of `key` that
 * is not newer than `sequence`, or the next key. */
void lw_memtable_cursor_seek(lw_memtable_cursor *cursor, lw_bytes key, uint64_t sequence);
/* The last entry before all of `key`'s. */
void lw_memtable_cursor_seek_before(lw_memtable_cursor *cursor, lw_bytes key);
void lw_memtable_cursor_first(lw_memtable_cursor *cursor);
void lw_memtable_cursor_last(lw_memtable_cursor *cursor);
/* One entry on or back. The cursor must stand on one; beyond the last or first it stands on none.
 */
void lw_memtable_cursor_next(lw_memtable_cursor *cursor);
void lw_memtable_cursor_previous(lw_memtable_cursor *cursor);
/* The entry under the cursor, or NULL beyond either end. Its views follow M2; the struct itself
 * lives until the cursor moves. */
static inline const lw_entry *lw_memtable_cursor_entry(const lw_memtable_cursor *cursor) {
    return cursor->record != NULL ? &cursor->entry : NULL;
}

#endif
