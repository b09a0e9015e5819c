/* SPDX-License-Identifier: Apache-2.0 */
/* Histories of single operations on registers, and whether they are linearizable: whether each
 * operation can be given a moment between its beginning and its end so that all of them, in the
 * order of those moments, do what they were told (Herlihy and Wing 1990; searched as Wing and Gong,
 * and Lowe, do). Registers are independent, so each is judged alone.
 *
 *   {"process": 1, "key": "k3", "f": "write", "value": 7, "invoke_ns": 10, "complete_ns": 25,
 *    "status": "ok"}
 *
 * `f` is read (value = what was read, null = absent), write, delete, or cas (value = [old, new];
 * "swapped": false on one that is ok and did not match). What failed has not happened; what is in
 * doubt (status "info") may happen at any time from its beginning on. */
#ifndef LW_SINGLE_H
#define LW_SINGLE_H

#include "base/hash.h"
#include "sim/line.h"

typedef enum lw_single_kind {
    LW_SINGLE_READ,
    LW_SINGLE_WRITE,
    LW_SINGLE_DELETE,
    LW_SINGLE_CAS,
} lw_single_kind;

typedef struct lw_single {
    lw_single_kind kind;
    bool present;      /* read: there was a value */
    uint64_t value;    /* read, written; cas: the new one */
    uint64_t expected; /* cas */
    bool swapped;      /* cas */
    bool done;         /* else in doubt */
    bool idle;         /* it did nothing, or told nothing: it is as if it had not been */
    uint32_t process;
    uint64_t invoke_ns, complete_ns;
    struct lw_single *next;
} lw_single;

typedef struct lw_single_register {
    lw_map_node node;
    lw_bytes name;
    lw_single *operations; /* newest first */
    uint32_t count;
    struct lw_single_register *next; /* in the order they came */
} lw_single_register;

typedef struct lw_singles {
    lw_arena arena;
    lw_map by_name;
    lw_single_register *first, *last;
    uint64_t counts[3]; /* of lines: ok, fail, info */
} lw_singles;

static inline lw_singles lw_singles_in(lw_memory *memory) {
    return (lw_singles){.arena = lw_arena_in(memory), .by_name = lw_map_in(memory)};
}
void lw_singles_reset(lw_singles *singles);
/* Takes a line in. */
bool lw_singles_parse(lw_singles *singles, lw_line *line);
/* An operation on the register of this name begins: until its members are told otherwise it is in
 * doubt, and a read told nothing. It lives as long as `singles`. */
lw_single *lw_singles_begin(lw_singles *singles, lw_bytes name, const lw_single *operation);
/* Whether all registers are linearizable. `report` receives a line for each that is not, or that
 * could not be decided within bounds of time. */
LW_MUST_USE bool lw_singles_check(const lw_singles *singles, lw_memory *memory, lw_buffer *report);

#endif
