/* SPDX-License-Identifier: Apache-2.0 */
/* Letting nodes in: tokens made from the identity in a data folder, whose node may be running; and
 * taking tokens back, which a node does. */
#ifndef LW_INVITE_H
#define LW_INVITE_H

#include "base/env.h"
#include "client/command.h"
#include "lattice/token.h"

/* How long the token of a starting node lasts. */
#define LW_INVITE_MS (UINT64_C(24) * 3600 * 1000)

/* Writes a token into the file join-token of the folder, which is this node's alone to read; `path`
 * receives its name. */
LW_MUST_USE LW_YIELDS lw_status lw_invite_write(lw_env *env, const char *directory,
                                                const char *token, char path[LW_PATH_SIZE]);
/* Reads the text of a token file. */
LW_MUST_USE LW_YIELDS lw_status lw_invite_read(lw_env *env, const char *path,
                                               char text[2 * LW_TOKEN_TEXT_SIZE]);
/* lathwork token */
LW_YIELDS lw_exit lw_invite_command(lw_command *command);

#endif
