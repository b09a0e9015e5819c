/* SPDX-License-Identifier: Apache-2.0 */
/* The catalog: the one manifest of a node. It says which trees there are, which tables make them
 * up, how far each tree is flushed, and which file numbers were given out.
 *
 * An edit is a list of changes that become durable together or not at all. The file CATALOG is a
 * list of edits; replayed from the front they add up to what is (storage/inventory.h). All numbers
 * are little-endian.
 *
 *   file    = header · record*
 *   header  = "LWCT" · format u32 · generation u64 · base u64 · crc32c u32 of all before
 *             These 28 bytes stay what they are in every later format.
 *   record  = crc32c u32 of the rest, seeded with the low half of the generation ·
 *             payload size u32 · offset of this record in the file u64 · payload
 *   payload = change* : an edit; or nothing: a mark
 *   change  = 1 · tree varint                                              tree created
 *           | 4 · tree varint · index varint · sequence varint             tree flushed up to here
 *           | 5 · limit varint                                             numbers below are taken
 *           | 6 · tree varint · level u8 · number, origin, size, entry count, delete count,
 *               lowest sequence, highest sequence: varint each · checksum u32 ·
 *               lowest key · highest key · clip: range · count varint · value file * ·
 *               size before compression varint · compression u8 · count, lowest and highest
 *               safepoint of the entries that can be dropped: varint each
 *                                                                          table added to a tree
 *           | 7 · tree varint · number varint · lower bound of its clip: key
 *                                                                          table taken from a tree
 *           | 8 · tree varint                                              tree dropped, with all
 *           | 9 · tree varint · count varint · range *                     the keys a tree may hold
 *   range   = lower bound: key · upper bound, exclusive: key ; of size 0: no bound
 *   key     = size varint · bytes
 *   value file = number, origin, live size, size: varint each
 *
 * Format 1 had instead of 6 and 7, which this version reads and never writes:
 *           | 2 · tree varint · level u8 · number, size, entry count, delete count,
 *               lowest sequence, highest sequence: varint each · checksum u32 ·
 *               lowest key · highest key                                   table added
 *           | 3 · number varint                                            table removed
 *
 * Invariants
 * C1. One record is written at a time, and the next only when it is durable. So a damaged record
 *     with a valid one behind it was acknowledged: that is corruption. With none behind it, it is
 *     the torn end of a write that nobody was told of: it is left out.
 * C2. An edit is acknowledged only when the mark behind it is durable too. So damage to the last
 *     edit is told from a torn tail as well. (Two small writes a flush: 0.2 ms of its seconds.)
 * C3. A rewritten catalog is complete and synced before it gets the name CATALOG: `base` in its
 *     header is its size then, and any damage before `base` is corruption. Its generation is one
 *     higher, so that no record of an earlier file, come back through a reused disk block, is
 *     believed.
 * C4. Nothing is ever appended to a file whose end is in doubt: not after a write that failed with
 *     LW_FULL, and not to what another process wrote, which may be in the page cache alone, clean
 *     since a sync failed (hazard S4). The catalog is rewritten first. After any other failure the
 *     catalog is useless, and its owner stops.
 * C5. One table may stand in several trees, and several times in one, each time with a clip that no
 *     other one overlaps: splitting a tree copies nothing. (Tree, number, lower bound) names one of
 *     these places. */
#ifndef LW_CATALOG_H
#define LW_CATALOG_H

#include "storage/table.h"

/* ---- edits ---------------------------------------------------------------------------------- */

typedef enum lw_change_kind {
    LW_CHANGE_TREE = 1,
    LW_CHANGE_ADD_PLAIN = 2,    /* of format 1: neither clipped nor ingested, and without values */
    LW_CHANGE_REMOVE_PLAIN = 3, /* of format 1: from the one tree in which it stands */
    LW_CHANGE_FLUSHED = 4,
    LW_CHANGE_NUMBERS = 5,
    LW_CHANGE_ADD = 6,
    LW_CHANGE_REMOVE = 7,
    LW_CHANGE_DROP = 8,
    LW_CHANGE_BOUNDS = 9,
} lw_change_kind;

typedef struct lw_change {
    lw_change_kind kind;
    uint64_t tree;              /* all but REMOVE_PLAIN and NUMBERS */
    uint32_t level;             /* ADD */
    lw_table_info info;         /* ADD: all of it; REMOVE: the number, and the clip's lower bound */
    uint64_t index;             /* FLUSHED */
    uint64_t sequence;          /* FLUSHED */
    uint64_t limit;             /* NUMBERS */
    const lw_key_range *ranges; /* BOUNDS: ascending, disjoint; none: every key */
    uint32_t range_count;       /* BOUNDS */
} lw_change;

/* An edit is built in a buffer of the caller's. */
void lw_edit_tree(lw_buffer *edit, uint64_t tree);
void lw_edit_drop(lw_buffer *edit, uint64_t tree);
void lw_edit_bounds(lw_buffer *edit, uint64_t tree, const lw_key_range *ranges, uint32_t count);
void lw_edit_add(lw_buffer *edit, uint64_t tree, uint32_t level, const lw_table_info *info);
void lw_edit_remove(lw_buffer *edit, uint64_t tree, const lw_table_info *info);
void lw_edit_flushed(lw_buffer *edit, uint64_t tree, uint64_t index, uint64_t sequence);
void lw_edit_numbers(lw_buffer *edit, uint64_t limit);
/* Takes the next change from the front. Keys are views into the edit, lists lie in the arena. False
 * at the end, and on damage: `*rest` is then not empty. */
LW_MUST_USE bool lw_edit_next(lw_arena *arena, lw_bytes *rest, lw_change *change);

/* ---- the file ------------------------------------------------------------------------------- */

enum {
    LW_CATALOG_FORMAT = 2,        /* written */
    LW_CATALOG_FORMAT_OLDEST = 1, /* read */
};

/* Called for each edit, in order. A failure ends the reading. */
typedef lw_status (*lw_catalog_visit)(void *argument, uint64_t offset, lw_bytes edit);

typedef struct lw_catalog_facts {
    uint32_t format;
    uint64_t generation;
    uint64_t base;      /* bytes that were there when the file got its name */
    uint64_t size;      /* bytes of valid records and the header */
    uint64_t torn_size; /* bytes behind them, of a write that was never acknowledged */
    uint64_t edit_count;
    bool acknowledged; /* whether the last edit surely was: it is in the base, or has its mark */
} lw_catalog_facts;

/* Reads what a catalog file holds: pure memory. `path` is for messages. LW_REFUSED for a newer
 * format; LW_CORRUPTION with file and offset. */
LW_MUST_USE lw_status lw_catalog_parse(const char *path, lw_bytes file, lw_catalog_visit visit,
                                       void *argument, lw_catalog_facts *facts);
/* Reads the catalog at `path` without changing it. LW_NOT_FOUND if there is none; else as above. */
LW_MUST_USE LW_YIELDS lw_status lw_catalog_read(lw_env *env, const char *path,
                                                lw_catalog_visit visit, void *argument,
                                                lw_catalog_facts *facts);

typedef struct lw_catalog lw_catalog;

/* Appends the changes that make up all that is committed now: for rewriting. Must not suspend. */
typedef void (*lw_catalog_describe)(void *argument, lw_buffer *edit);

/* Reads CATALOG in `directory` as above. `describe` is kept, with its argument. The owner takes in
 * what was visited, then calls lw_catalog_settle, and only then acts on it. */
LW_MUST_USE LW_YIELDS lw_status lw_catalog_open(lw_env *env, const char *directory,
                                                lw_catalog_visit visit,
                                                lw_catalog_describe describe, void *argument,
                                                lw_catalog **catalog);
/* Makes sure that what was read is durable, by rewriting it (C4). A full disk puts that off to the
 * first commit, if everything that was read is known to have been acknowledged. */
LW_MUST_USE LW_YIELDS lw_status lw_catalog_settle(lw_catalog *catalog);
/* Makes the first catalog of a folder, of what `describe` says. */
LW_MUST_USE LW_YIELDS lw_status lw_catalog_create(lw_env *env, const char *directory,
                                                  lw_catalog_describe describe, void *argument,
                                                  lw_catalog **catalog);
/* Before closing: rewrites the file if anything was appended, so that all of it is under a base and
 * a copy of the folder that was cut short is noticed (C3). Whatever the outcome, what was committed
 * is durable. */
LW_MUST_USE LW_YIELDS lw_status lw_catalog_seal(lw_catalog *catalog);
LW_YIELDS void lw_catalog_close(lw_catalog *catalog);
/* Makes an edit durable; one caller at a time. LW_FULL: whether a restart would find it is unknown
 * until a later commit succeeds, so the caller tries the same edit again, or undoes nothing of it.
 * Any other failure is the end of the catalog (C4). */
LW_MUST_USE LW_YIELDS lw_status lw_catalog_commit(lw_catalog *catalog, lw_bytes edit);

/* Describes a catalog file for `lathwork inspect`: one line per edit and change, then a verdict. */
LW_MUST_USE LW_YIELDS lw_status lw_catalog_inspect(lw_env *env, const char *path, lw_buffer *text);

#endif
