/* SPDX-License-Identifier: Apache-2.0 */
/* Small files of a node's folder that are read and replaced as a whole: a crash leaves the one or
 * the other. */
#ifndef LW_NODE_SMALL_FILE_H
#define LW_NODE_SMALL_FILE_H

#include "base/env.h"

/* Appends what is in a file, up to `size_max` bytes and one more. LW_NOT_FOUND. */
LW_MUST_USE LW_YIELDS lw_status lw_small_file_read(lw_env *env, const char *directory,
                                                   const char *name, size_t size_max,
                                                   lw_buffer *bytes);
/* Durable when it returns LW_OK. What was not finished is NAME.new. */
LW_MUST_USE LW_YIELDS lw_status lw_small_file_replace(lw_env *env, const char *directory,
                                                      const char *name, lw_bytes bytes);

#endif
