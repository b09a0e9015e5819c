/* SPDX-License-Identifier: Apache-2.0 */
/* `lathwork sim`: runs seeds, each of them twice, and tells what was found. */
#ifndef LW_SIM_COMMAND_H
#define LW_SIM_COMMAND_H

#include "client/command.h"

/* What the flags mean is in client/command_table.c. Progress and reports of failures go to standard
 * error, the summary is the answer. LW_EXIT_NEGATIVE if anything was violated. */
lw_exit lw_sim_command(lw_command *command);

/* `lathwork sim --check FILE`. Errors were told. */
lw_exit lw_sim_command_check(lw_command *command, lw_memory *memory);

#endif
