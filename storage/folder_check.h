/* SPDX-License-Identifier: Apache-2.0 */
/* The checker of a whole data folder that no process has open: tables and catalog (lw_store_check),
 * log (lw_log_check), identity, what the two halves say of each other, and every name in it. It
 * goes on after each fault, and changes nothing. */
#ifndef LW_FOLDER_CHECK_H
#define LW_FOLDER_CHECK_H

#include "base/env.h"
#include "storage/table.h"

/* One line per fault into `faults`, with the file and, where there is one, the offset;
 * LW_CORRUPTION if there was any. What is no fault, but worth knowing (files that are not ours, or
 * left behind by a crash), goes into `notes`. LW_NOT_FOUND if there is no such folder, or none of
 * ours; LW_REFUSED if a process has it open. */
LW_MUST_USE LW_YIELDS lw_status lw_folder_check(lw_env *env, const char *directory,
                                                lw_filter_part filter_part, lw_buffer *faults,
                                                lw_buffer *notes);

#endif
