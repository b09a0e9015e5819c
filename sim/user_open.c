/* SPDX-License-Identifier: Apache-2.0 */
/* lw_open, as the library for simulations has it in place of client/open.c: in the world of the
 * callback that calls. */
#include "client/client.h"
#include "sim/user.h"

lw_status lw_open(const lw_client_options *options, lw_client **client) {
    lw_fiber *caller = lw_fiber_current();
    lw_sim *who = caller == NULL ? NULL : lw_fibers_owner(lw_fiber_home(caller));
    *client = NULL;
    if (who == NULL) { /* and without a client to tell why */
        (void)fprintf(stderr, "lw_open: in a program of liblathwork-sim only the callbacks of a "
                              "workload open clients: outside of a run there is no node\n");
        return LW_INVALID_ARGUMENT;
    }
    lw_client_options chosen = options == NULL ? (lw_client_options){0} : *options;
    chosen.address = who->of->of->addresses;
    return lw_client_open_in(who->env, &chosen, client);
}
