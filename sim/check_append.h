/* SPDX-License-Identifier: Apache-2.0 */
/* Judges a history of transactions over lists, after Elle (Kingsbury and Alvaro, VLDB 2020): a list
 * that is only ever appended to tells in which order its elements came, hence which transaction
 * depends on which, and a cycle of dependencies is an anomaly.
 *
 * Looked for, first without the graph:
 *   lost write         an acknowledged append that a final read does not hold
 *   aborted read G1a   an element of a transaction that was told it failed
 *   intermediate G1b   a read that ends in the middle of another transaction's appends
 *   garbage            an element that nobody appended, or twice
 *   incompatible order two reads of a key of which neither is a prefix of the other
 *   internal           a read that contradicts what its own transaction read or appended before
 * then cycles over ww, wr, rw (anti-dependency) and real-time edges:
 *   snapshot isolation  none without two anti-dependencies in a row (Cerone and Gotsman): so no G0,
 * G1c, lost update, long fork; strong, since real time counts strict              none at all A
 * history whose transactions are not all strict is held to snapshot isolation, and its strict ones
 * among themselves to strict serializability only if all are. */
#ifndef LW_CHECK_APPEND_H
#define LW_CHECK_APPEND_H

#include "sim/history.h"

/* Whether the history is free of anomalies. `report` receives a line for each one found. */
LW_MUST_USE bool lw_check_append(const lw_history *history, bool strict, lw_memory *memory,
                                 lw_buffer *report);

#endif
