/* SPDX-License-Identifier: Apache-2.0 */
/* Fresh seeds of the simulation, the even ones: see tests/sim_fresh.h. */
#include "tests/sim_fresh.h"

static void even_fresh_seeds_pass(void **state) {
    (void)state;
    sim_fresh_seeds_pass(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(even_fresh_seeds_pass),
    };
    return cmocka_run_group_tests(tests, sim_fresh_arm, NULL) != 0 ? 1 : 0;
}
