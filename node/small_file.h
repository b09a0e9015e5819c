/* SPDX-License-Identifier: Apache-2.0 */
/* Small files of a node's folder that are read as a whole (and replaced as one: lw_path_replace).
 */
#ifndef LW_NODE_SMALL_FILE_H
#define LW_NODE_SMALL_FILE_H

#include "base/env.h"

/* Appends what is in a file, up to `size_max` bytes and one more. LW_NOT_FOUND. */
LW_MUST_USE LW_YIELDS lw_status lw_small_file_read(lw_env *env, const char *directory,
                                                   const char *name, size_t size_max,
                                                   lw_buffer *bytes);

#endif
