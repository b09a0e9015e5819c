/* SPDX-License-Identifier: Apache-2.0 */
/* `lathwork sim`: runs seeds, each of them twice, and tells what was found. */
#ifndef LW_SIM_COMMAND_H
#define LW_SIM_COMMAND_H

#include "client/command.h"

/* What the flags mean is in client/command_table.c. Progress and reports of failures go to standard
 * error, the summary is the answer. LW_EXIT_NEGATIVE if anything was violated. */
lw_exit lw_sim_command(lw_command *command);
/* The same for a user's workload, with the operands as its settings. */
struct lw_sim_workload;
lw_exit lw_sim_command_of(lw_command *command, const struct lw_sim_workload *user);

/* `lathwork sim --check FILE`. Errors were told. */
lw_exit lw_sim_command_check(lw_command *command, lw_memory *memory);

#endif
