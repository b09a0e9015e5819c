/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of what needs memory and nothing else: one memory for all tests of a file. */
#ifndef LW_TESTS_UNIT_MEMORY_H
#define LW_TESTS_UNIT_MEMORY_H

#include "base/bytes.h"
#include "tests/unit.h"

static lw_memory *memory;

static inline int unit_memory_open(void **state) {
    memory = lw_memory_open();
    return unit_arm(state);
}

static inline int unit_memory_close(void **state) {
    (void)state;
    lw_memory_close(memory);
    return 0;
}

/* Where the tests give back all that they took. */
static inline int unit_memory_close_empty(void **state) {
    assert_int_equal(lw_memory_used(memory), 0);
    return unit_memory_close(state);
}

#endif
