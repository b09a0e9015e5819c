/* SPDX-License-Identifier: Apache-2.0 */
/* Where a user's clients are opened: in the world outside. The library for simulations has another
 * lw_open (sim/user_open.c). */
#include "client/client.h"

#include <stdlib.h>

lw_status lw_open(const lw_client_options *options, lw_client **client) {
    lw_client_options chosen = options == NULL ? (lw_client_options){0} : *options;
    if (chosen.address == NULL) {
        chosen.address = getenv("LATHWORK_ADDR");
    }
    lw_env *env = NULL;
    LW_TRY(lw_env_posix_open(&env));
    lw_status status = lw_client_open_in(env, &chosen, client);
    (*client)->owns_env = true;
    return status;
}
