/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/neighbour.h"

#include "base/hash.h"
#include "tests/unit.h"

enum { ROWS_MAX = 200, KEY_SIZE = 8 };

/* Neighbours in the order of their keys, the first one the root shard. */
typedef struct street {
    lw_directory directory;
    struct house {
        uint64_t id;
        bool idle;
        char start[KEY_SIZE], end[KEY_SIZE];
        uint64_t version;
    } houses[ROWS_MAX];
    uint32_t count;
} street;

static uint64_t planted; /* bits of lw_planted_bug */

static void tell(street *on, uint32_t index, uint64_t turns) {
    const struct house *one = &on->houses[index];
    lw_directory_row row = {.shard = {.id = one->id,
                                      .epoch = {one->version, 1},
                                      .start = lw_text(one->start),
                                      .end = lw_text(one->end),
                                      .replicas = {{10, LW_REPLICA_VOTER}},
                                      .replica_count = 1},
                            .idle_turns = turns};
    (void)lw_directory_merge(&on->directory, &row);
}

static void tell_all(street *on) {
    for (uint32_t index = 0; index < on->count; index++) {
        tell(on, index, on->houses[index].idle ? 1 : 2);
    }
}

static street *street_of(lw_memory *memory, uint32_t count, uint64_t seed, uint32_t idle_percent) {
    street *on = lw_allocate_zero(memory, sizeof(*on));
    on->directory = lw_directory_in(memory);
    on->directory.bugs = planted;
    on->count = count;
    for (uint32_t index = 0; index < count; index++) {
        struct house *one = &on->houses[index];
        one->id = index == 0 ? LW_ROOT_SHARD : lw_mix(seed + index);
        one->idle = unit_random_below(&seed, 100) < idle_percent;
        one->version = 1;
        if (index > 0) {
            (void)snprintf(one->start, KEY_SIZE, "%05u", index);
            memcpy(on->houses[index - 1].end, one->start, KEY_SIZE);
        }
    }
    tell_all(on);
    return on;
}

static uint64_t anchor(const street *on, uint32_t index) {
    return lw_neighbour_anchor(&on->directory, on->houses[index].id);
}

static uint32_t index_of(const street *on, uint64_t id) {
    for (uint32_t index = 0; index < on->count; index++) {
        if (on->houses[index].id == id) {
            return index;
        }
    }
    fail_msg("the anchor is none of the shards");
    return 0;
}

/* ---- what is told ------------------------------------------------------------------------------
 */

static void only_what_is_another_than_is_known_is_told(void **state) {
    (void)state;
    assert_int_equal(lw_neighbour_turns(0, LW_IDLENESS_UNKNOWN), 0);
    assert_int_equal(lw_neighbour_turns(0, LW_IDLENESS_BUSY), 0);
    assert_int_equal(lw_neighbour_turns(0, LW_IDLENESS_IDLE), 1);
    assert_int_equal(lw_neighbour_turns(1, LW_IDLENESS_IDLE), 1);
    assert_int_equal(lw_neighbour_turns(1, LW_IDLENESS_UNKNOWN), 1);
    assert_int_equal(lw_neighbour_turns(1, LW_IDLENESS_BUSY), 2);
    assert_int_equal(lw_neighbour_turns(UINT64_MAX, LW_IDLENESS_BUSY), UINT64_MAX);
}

/* ---- properties --------------------------------------------------------------------------------
 */

/* N1, and N4. */
static void an_anchor_is_of_the_same_run_and_so_are_all_between(void **state) {
    for (uint64_t seed = 1; seed <= 200; seed++) {
        street *on =
            street_of(*state, 1 + (uint32_t)(seed % 60), seed, 30 + 10 * (uint32_t)(seed % 8));
        for (uint32_t index = 0; index < on->count; index++) {
            uint32_t at = index_of(on, anchor(on, index));
            assert_int_equal(anchor(on, at), on->houses[at].id);
            assert_true(at == index || (on->houses[index].idle && on->houses[at].idle));
            uint32_t low = at < index ? at : index, high = at < index ? index : at;
            for (uint32_t between = low; between <= high; between++) {
                assert_int_equal(anchor(on, between), on->houses[at].id);
            }
        }
        assert_int_equal(anchor(on, 0), LW_ROOT_SHARD);
        lw_directory_reset(&on->directory);
        lw_free(*state, on);
    }
}

/* Merges all that have one anchor, as placement and merging do in the end. */
static void merge_groups(street *on) {
    uint64_t anchors[ROWS_MAX];
    uint32_t kept = 0;
    for (uint32_t index = 0; index < on->count; index++) {
        anchors[index] = anchor(on, index);
    }
    for (uint32_t index = 0; index < on->count; index++) {
        if (index > 0 && anchors[index] == anchors[index - 1]) {
            struct house *left = &on->houses[kept - 1];
            const struct house *right = &on->houses[index];
            uint64_t above = right->version > left->version ? right->version : left->version;
            left->version = above + 1;
            memcpy(left->end, right->end, KEY_SIZE);
        } else {
            on->houses[kept++] = on->houses[index];
        }
    }
    on->count = kept;
    tell_all(on);
}

/* N2: until each run is one; what was merged stays in the directory as it was. */
static void every_run_becomes_one_shard_in_a_few_rounds(void **state) {
    for (uint64_t seed = 1; seed <= 100; seed++) {
        street *on = street_of(*state, ROWS_MAX, seed, 70 + (uint32_t)(seed % 4) * 10);
        uint32_t round = 0, before = UINT32_MAX;
        for (; on->count < before; round++) {
            before = on->count;
            merge_groups(on);
        }
        assert_in_range(round, 1, 9); /* 200 halve seven times */
        for (uint32_t index = 1; index < on->count; index++) {
            assert_false(on->houses[index].idle && on->houses[index - 1].idle);
        }
        lw_directory_reset(&on->directory);
        lw_free(*state, on);
    }
}

/* N3. */
static void what_changes_elsewhere_moves_nothing(void **state) {
    for (uint64_t seed = 1; seed <= 100; seed++) {
        uint64_t luck = seed, before[ROWS_MAX];
        street *on = street_of(*state, 100, seed, 80);
        for (uint32_t index = 0; index < on->count; index++) {
            before[index] = anchor(on, index);
        }
        uint32_t changed = (uint32_t)unit_random_below(&luck, on->count);
        on->houses[changed].idle = !on->houses[changed].idle;
        tell(on, changed, on->houses[changed].idle ? 3 : 4);
        uint32_t low = changed, high = changed;
        while (low > 0 && on->houses[low - 1].idle) {
            low--;
        }
        while (high + 1 < on->count && on->houses[high + 1].idle) {
            high++;
        }
        for (uint32_t index = 0; index < on->count; index++) {
            if (index < low || index > high) {
                assert_int_equal(anchor(on, index), before[index]);
            }
        }
        lw_directory_reset(&on->directory);
        lw_free(*state, on);
    }
}

static void of_what_is_disputed_or_of_before_nothing_is_moved(void **state) {
    street *on = street_of(*state, 3, 5, 100);
    lw_directory_row row;
    assert_true(lw_directory_find(&on->directory, on->houses[1].id, &row));
    row.shard.end = lw_text("00009");
    (void)lw_directory_merge(&on->directory, &row);
    assert_int_equal(anchor(on, 1), on->houses[1].id);
    uint64_t merged = on->houses[2].id;
    memcpy(on->houses[0].end, "", 1);
    on->houses[0].version = 5;
    tell(on, 0, 1);
    assert_int_equal(lw_neighbour_anchor(&on->directory, merged), merged);
    assert_int_equal(lw_neighbour_anchor(&on->directory, 12345), 12345); /* not known */
    lw_directory_reset(&on->directory);
}

/* ---- cures taken out ---------------------------------------------------------------------------
 */

static void planted_bugs_show(void **state) {
    assert_false(unit_story_fails(every_run_becomes_one_shard_in_a_few_rounds, state));
    planted = UINT64_C(1) << LW_BUG_NEIGHBOURS_APART;
    assert_true(unit_story_fails(every_run_becomes_one_shard_in_a_few_rounds, state));
    planted = 0;
}

static int begin(void **state) {
    *state = lw_memory_open();
    return 0;
}

static int end(void **state) {
    lw_memory_close(*state);
    return 0;
}

int main(void) {
#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        STORY(only_what_is_another_than_is_known_is_told),
        STORY(an_anchor_is_of_the_same_run_and_so_are_all_between),
        STORY(every_run_becomes_one_shard_in_a_few_rounds),
        STORY(what_changes_elsewhere_moves_nothing),
        STORY(of_what_is_disputed_or_of_before_nothing_is_moved),
        STORY(planted_bugs_show),
    };
    return cmocka_run_group_tests_name("neighbour", tests, unit_arm, NULL) == 0 ? 0 : 1;
}
