/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LW_UP_H
#define LW_UP_H

#include "base/env.h"
#include "client/command.h"

/* lathwork up */
lw_exit lw_up_command(lw_command *command);

#endif
