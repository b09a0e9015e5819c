/* SPDX-License-Identifier: Apache-2.0 */
#include "node/group_state.h"

lw_groups *lw_groups_open(const lw_groups_options *options) {
    lw_groups *opened = lw_allocate_zero(options->env->memory, sizeof(*opened));
    opened->options = *options;
    opened->env = options->env;
    return opened;
}

void lw_groups_start(lw_groups *groups, lw_log *log) {
    LW_ASSERT(groups->log == NULL);
    groups->log = log;
}

void lw_groups_close(lw_groups *groups) {
    lw_free(groups->env->memory, groups);
}
