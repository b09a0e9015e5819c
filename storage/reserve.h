/* SPDX-License-Identifier: Apache-2.0 */
/* The reserve: dead weight in the data folder, the file RESERVE, kept so that a disk that is full
 * still has room for what frees it (hazard S13). Deleting takes space before it gives any back: the
 * deletions have to be logged, flushed, and merged with what they delete. So space for that is held
 * while there is some, and given up as a whole when a write of the store or of the log meets a full
 * disk; until it is there again, only what frees space is let in (lw_tree_admit).
 *
 * How large it has to be is the sum of what its parts ask for, rounded up by an eighth at most:
 *   the log          its next segment, and one more batch of states
 *   flushes          what is in memtables now, or was at any time since opening
 *   a compaction     a step of it: LW_RESERVE_STEP_TABLES tables, or all there are if that is less
 *   the catalog      twice its size, for rewriting it
 * A new folder begins with little; it grows in the background, as the store does.
 *
 * While the disk has plenty of room besides, that room is the reserve, and nothing is held: from
 * LW_RESERVE_PLENTY bytes on, or so many times of what is wanted. Where it cannot be told how much
 * room there is, the reserve is always held.
 *
 * Invariants
 * R1. Its space is really taken: held by the file system, or written with what cannot be compressed
 *     away. A hole, or zeros, would hold nothing.
 * R2. lw_reserve_short is true from the moment in which the disk was met full until the reserve is
 *     there in its whole size again, or the disk has plenty of room.
 * R3. What is in it means nothing. It is never read, and nothing of it need be durable: a crash may
 *     leave any of its sizes, or none.
 * R4. Once it is stopped no step of growing begins any more, not even behind one that is under way.
 *
 * One fiber grows it (storage/space.c); any fiber may spend it. */
#ifndef LW_RESERVE_H
#define LW_RESERVE_H

#include "base/env.h"

typedef struct lw_reserve lw_reserve;

typedef enum lw_reserve_part {
    LW_RESERVE_LOG,
    LW_RESERVE_FLUSH,
    LW_RESERVE_COMPACTION,
    LW_RESERVE_CATALOG,
    LW_RESERVE_PART_COUNT,
} lw_reserve_part;

enum { LW_RESERVE_STEP_TABLES = 8, LW_RESERVE_PLENTY_TIMES = 16 };
#define LW_RESERVE_PLENTY (UINT64_C(1) << 30)
#define LW_RESERVE_NAME   "RESERVE"

/* Makes one reference to a reserve in `directory`, of `size_max` bytes at most; 0: there is none,
 * and nothing below does anything. Touches no file. */
lw_reserve *lw_reserve_make(lw_env *env, const char *directory, uint64_t size_max);
void lw_reserve_hold(lw_reserve *reserve);
/* Lets go of a reference. Without any the memory is freed; the file stays, for the next opening. */
void lw_reserve_release(lw_reserve *reserve);

/* Looks for the file. The caller has the folder locked. `fresh`: the folder is a new one, and its
 * disk is taken to have room. Otherwise a file that is missing may have been given up, and whether
 * the disk is still full has to be found out: until then lw_reserve_unknown. */
LW_MUST_USE LW_YIELDS lw_status lw_reserve_open(lw_reserve *reserve, bool fresh);
/* Notes how much the disk has left besides, and gives the file back where that is plenty. */
LW_YIELDS void lw_reserve_note_left(lw_reserve *reserve, uint64_t left);
/* Makes it larger until it is what is wanted, in steps with a pause of `pause_ns` between them; or
 * until somebody spends it, or lw_reserve_stop. LW_FULL leaves what could be written. */
LW_MUST_USE LW_YIELDS lw_status lw_reserve_grow(lw_reserve *reserve, uint64_t pause_ns);
/* From now on it grows no more: whoever closes the store does not wait for that. */
void lw_reserve_stop(lw_reserve *reserve);
/* The disk is full: gives the file up. True if that gave room, also when another fiber did it while
 * this one waited: then the caller tries again what failed. `reserve` may be NULL. */
LW_MUST_USE LW_YIELDS bool lw_reserve_spend(lw_reserve *reserve);

/* Sees to it that a part has so much. Never less than it had. `reserve` may be NULL. */
void lw_reserve_want_more(lw_reserve *reserve, lw_reserve_part part, uint64_t size);

/* The log met a full disk, and would have space if what holds its old segments were flushed: the
 * reserve is left for that. `reserve` may be NULL. */
void lw_reserve_log_waits(lw_reserve *reserve);

typedef struct lw_reserve_figures {
    uint64_t size, wanted; /* bytes */
    uint64_t spent_count;
    bool is_plenty;  /* the disk has plenty of room: nothing is held */
    bool is_short;   /* R2 */
    bool is_unknown; /* see lw_reserve_open */
} lw_reserve_figures;

struct lw_reserve {
    lw_env *env;
    char path[LW_PATH_SIZE];
    uint32_t references;
    uint64_t size_max;
    uint64_t parts[LW_RESERVE_PART_COUNT];
    lw_reserve_figures figures;
    bool there; /* the file is, of whatever size */
    bool growing, spending, stopping;
    bool log_waits;   /* see lw_reserve_log_waits; the fiber that flushes sets it back */
    lw_queue stop;    /* pauses that lw_reserve_stop cuts short */
    lw_queue idle;    /* who spends waits here for the growth to end, and for others who spend */
    lw_queue changed; /* the fiber that grows it waits here */
};

static inline void lw_reserve_want(lw_reserve *reserve, lw_reserve_part part, uint64_t size) {
    if (reserve != NULL && size > reserve->parts[part]) {
        lw_reserve_want_more(reserve, part, size);
    }
}
static inline bool lw_reserve_short(const lw_reserve *reserve) {
    return reserve->figures.is_short;
}
static inline bool lw_reserve_unknown(const lw_reserve *reserve) {
    return reserve->figures.is_unknown;
}
static inline bool lw_reserve_wanting(const lw_reserve *reserve) {
    return !reserve->figures.is_plenty && reserve->figures.size < reserve->figures.wanted;
}

#endif
