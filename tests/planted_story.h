/* SPDX-License-Identifier: Apache-2.0 */
/* Stories that must fail while a cure is taken out. Each runs in a child (unit_story_fails), with
 * the bug in the variable that the stories of its file look at when they begin. */
#ifndef LW_TESTS_PLANTED_STORY_H
#define LW_TESTS_PLANTED_STORY_H

#include "lattice/planted.h"
#include "tests/unit.h"

/* Of nodes in a world (LW_BUG). */
typedef struct planted_name {
    const char *bug;
    void (*story)(void **state);
} planted_name;

static inline void planted_names_show(const planted_name *bugs, size_t count, const char **planted,
                                      void **state) {
    for (size_t index = 0; index < count; index++) {
        *planted = bugs[index].bug;
        if (!unit_story_fails(bugs[index].story, state)) {
            fail_msg("the planted bug %s was not noticed", *planted);
        }
        *planted = NULL;
    }
}

/* Of machines, which know of no world: a bit. */
typedef struct planted_bit {
    lw_planted_bug bug;
    void (*story)(void **state);
} planted_bit;

static inline void planted_bits_show(const planted_bit *bugs, size_t count, uint64_t *planted,
                                     void **state) {
    for (size_t index = 0; index < count; index++) {
        assert_false(unit_story_fails(bugs[index].story, state));
        *planted = UINT64_C(1) << bugs[index].bug;
        if (!unit_story_fails(bugs[index].story, state)) {
            fail_msg("planted bug %d was not noticed", bugs[index].bug);
        }
        *planted = 0;
    }
}

#endif
