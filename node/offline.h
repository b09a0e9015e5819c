/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that read a data folder without a node: inspect and check. They write nothing. */
#ifndef LW_OFFLINE_H
#define LW_OFFLINE_H

#include "client/command.h"

lw_exit lw_offline_inspect(lw_command *command);
lw_exit lw_offline_check(lw_command *command);

#endif
