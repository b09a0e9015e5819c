/* SPDX-License-Identifier: Apache-2.0 */
/* Garbage in value files: values whose references compaction has dropped. A file in which more than
 * half is garbage is wasted; the tables that still refer to it are written again where they stand,
 * with their values moved out of it, and when the last of them is done the file goes.
 *
 * Which table: the one whose rewriting gives back most. A wasted file's garbage is shared out among
 * the tables that hold it alive, by what each refers to; a table's own share in all its wasted
 * files is its gain, what it has to write is its cost. So each byte that is moved gives back at
 * least one, and disk space stays within twice of what is alive, but for files of which so little
 * would come back that the tables are worth more.
 *
 * Invariants
 * G1. Tables of level 0 are left alone: compaction writes them again before long.
 * G2. A step moves MOVE_TABLES full tables of values at most; what is left waits for the next one.
 * G3. Every step makes its table refer to fewer wasted bytes, or marks a file as unreadable; so
 *     steps come to an end. */
#ifndef LW_VALUE_GARBAGE_H
#define LW_VALUE_GARBAGE_H

#include "storage/compaction.h"
#include "storage/tree.h"

/* The step that pays most, if any does. The caller releases the tree, and carries the step out
 * before it suspends otherwise: the input is in the tree's current version. */
LW_MUST_USE LW_YIELDS bool lw_garbage_find(lw_store *store, lw_tree **tree,
                                           lw_compaction *compaction);

#endif
