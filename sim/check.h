/* SPDX-License-Identifier: Apache-2.0 */
/* Judges a history (sim/history.h) after Elle (Kingsbury and Alvaro, VLDB 2020): what transactions
 * read tells which depends on which, and a cycle of dependencies is an anomaly.
 *
 * Looked for first, in what single keys and transactions show:
 *   garbage             a value that nobody wrote, or an element twice in a list
 *   aborted read (G1a)  a value of a transaction that was told it failed
 *   intermediate read (G1b)  a value that its own transaction had overwritten or gone beyond
 *   internal            a read that contradicts what its own transaction read or wrote before
 *   incompatible order  two reads of a list of which neither begins with the other; versions of a
 *                       register each of which came before the other
 *   lost update         two transactions that wrote a key, having read the same version of it
 *   lost write          an acknowledged append that a final read does not hold
 * then cycles (sim/dependency.h), if reads make sense at all.
 *
 * The versions of a list come in the order in which its longest read has them, and behind them
 * those that nobody read. Of a register it is
 * known that nothing comes first, that a transaction writes behind what it read, and that what was
 * written when another write had been acknowledged came behind it.
 *
 * A transaction in doubt counts as committed once another has read what it wrote. Reads of those
 * that failed are held to what is true of all reads: no garbage, nothing aborted or intermediate, a
 * beginning of the list. */
#ifndef LW_CHECK_H
#define LW_CHECK_H

#include "sim/history.h"

typedef enum lw_check_level {
    LW_CHECK_AS_TOLD, /* each transaction at its own isolation */
    LW_CHECK_SNAPSHOT,
    LW_CHECK_STRICT,
} lw_check_level;

/* Whether the history is free of anomalies. `report` receives a line for each one found, and the
 * transactions of a cycle. */
LW_MUST_USE bool lw_check_history(const lw_history *history, lw_check_level level,
                                  lw_memory *memory, lw_buffer *report);

#endif
