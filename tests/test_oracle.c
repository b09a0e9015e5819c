/* SPDX-License-Identifier: Apache-2.0 */
/* Timestamps: each once, upwards, below the ceiling, whatever the clocks do. */
#include "txn/oracle.h"

#include "tests/unit.h"
#include "txn/request.h"

#define MS      UINT64_C(1000000) /* nanoseconds */
#define YEAR    (UINT64_C(365) * 24 * 3600 * 1000)
#define MORNING UINT64_C(1700000000000)

static lw_oracle oracle;
static lw_clock_reading clock_now;

static int setup(void **state) {
    (void)state;
    clock_now = (lw_clock_reading){.now_ns = 77 * MS, .wall_ms = MORNING};
    lw_oracle_init(&oracle, 0, 0, clock_now);
    return 0;
}

static void pass_ms(uint64_t duration_ms) {
    clock_now.now_ns += duration_ms * MS;
    clock_now.wall_ms += duration_ms;
}

static bool raise_if_wanted(void) {
    uint64_t ceiling;
    if (!lw_oracle_wants(&oracle, clock_now, &ceiling)) {
        return false;
    }
    assert_true(ceiling > oracle.ceiling);
    lw_oracle_raise(&oracle, ceiling);
    return true;
}

static uint64_t take_one(void) {
    uint64_t first = 0;
    assert_true(lw_oracle_take(&oracle, clock_now, 1, &first));
    return first;
}

static void nothing_is_given_before_a_ceiling_is_durable(void **state) {
    (void)state;
    uint64_t first;
    assert_false(lw_oracle_take(&oracle, clock_now, 1, &first));
    assert_true(raise_if_wanted());
    assert_true(take_one() == lw_timestamp_of_ms(MORNING));
}

static void timestamps_follow_the_clock(void **state) {
    (void)state;
    assert_true(raise_if_wanted());
    uint64_t before = take_one();
    assert_true(take_one() == before + 1);
    pass_ms(5);
    assert_true(take_one() == lw_timestamp_of_ms(MORNING + 5));
}

static void a_batch_is_its_takers_alone(void **state) {
    (void)state;
    assert_true(raise_if_wanted());
    uint64_t first;
    assert_true(lw_oracle_take(&oracle, clock_now, 1000, &first));
    assert_true(take_one() == first + 1000);
}

static void the_ceiling_is_never_reached(void **state) {
    (void)state;
    assert_true(raise_if_wanted());
    uint64_t first, last = 0;
    while (lw_oracle_take(&oracle, clock_now, LW_TIMESTAMP_COUNT_MAX, &first)) {
        last = first + LW_TIMESTAMP_COUNT_MAX - 1;
        assert_true(last < oracle.ceiling);
    }
    assert_true(last + LW_TIMESTAMP_COUNT_MAX >= oracle.ceiling);
    assert_true(raise_if_wanted());
    assert_true(take_one() > last);
}

static void an_idle_oracle_gives_nothing_of_long_ago(void **state) {
    (void)state;
    uint64_t first;
    assert_true(raise_if_wanted());
    (void)take_one();
    pass_ms(24 * 3600 * 1000);
    assert_false(lw_oracle_take(&oracle, clock_now, 1, &first));
    assert_true(raise_if_wanted());
    assert_true(take_one() == lw_timestamp_of_ms(clock_now.wall_ms));
    pass_ms(LW_ORACLE_WINDOW_MS); /* the ceiling is just behind, and what was given is not */
    uint64_t last = oracle.ceiling - 2;
    oracle.last = last;
    assert_true(take_one() == last + 1);
}

static void an_oracle_that_is_stuck_gives_what_it_has(void **state) {
    (void)state;
    assert_true(raise_if_wanted());
    uint64_t before = take_one();
    pass_ms(24 * 3600 * 1000);
    lw_oracle_stick(&oracle);
    assert_true(take_one() == before + 1);
    assert_true(take_one() == before + 2);
    assert_true(raise_if_wanted());
    assert_true(take_one() == lw_timestamp_of_ms(clock_now.wall_ms));
    assert_false(oracle.stuck);
}

static void a_ceiling_is_wanted_before_it_is_reached(void **state) {
    (void)state;
    assert_true(raise_if_wanted());
    assert_false(raise_if_wanted());
    pass_ms(LW_ORACLE_WINDOW_MS / 2 - 1);
    assert_false(raise_if_wanted());
    pass_ms(1);
    assert_true(raise_if_wanted());
    assert_false(raise_if_wanted());
}

static void a_restart_goes_on_above_the_ceiling(void **state) {
    (void)state;
    assert_true(raise_if_wanted());
    uint64_t before = take_one();
    uint64_t ceiling = oracle.ceiling;
    clock_now.wall_ms -= 3600 * 1000; /* the clock was set back meanwhile */
    lw_oracle_init(&oracle, ceiling, 0, clock_now);
    uint64_t first;
    assert_false(lw_oracle_take(&oracle, clock_now, 1, &first));
    assert_true(raise_if_wanted());
    first = take_one();
    assert_true(first > before);
    assert_true(first >= ceiling);
}

static void a_clock_that_jumps_back_stops_nothing(void **state) {
    (void)state;
    assert_true(raise_if_wanted());
    uint64_t before = take_one();
    uint64_t time_before = lw_oracle_now(&oracle, clock_now);
    clock_now.wall_ms = 5;
    for (int millisecond = 0; millisecond < 100000; millisecond++) {
        pass_ms(1);
        (void)!raise_if_wanted();
        uint64_t taken = take_one();
        assert_true(taken > before);
        before = taken;
    }
    uint64_t passed_ms = lw_timestamp_ms(lw_oracle_now(&oracle, clock_now) - time_before);
    assert_in_range(passed_ms, 49000, 51000);
}

static void a_clock_that_jumps_years_ahead_carries_nothing_away(void **state) {
    (void)state;
    assert_true(raise_if_wanted());
    (void)take_one();
    clock_now.wall_ms += YEAR;
    for (int second = 0; second < 60; second++) {
        pass_ms(1000);
        (void)!raise_if_wanted();
        (void)take_one();
    }
    uint64_t moved_ms = lw_timestamp_ms(oracle.ceiling) - MORNING;
    assert_in_range(moved_ms, 60 * 1000, 125 * 1000);

    clock_now.wall_ms -= YEAR; /* mended: time goes on from there, and is right again soon */
    uint64_t before = oracle.last;
    for (int second = 0; second < 180; second++) {
        pass_ms(1000);
        (void)!raise_if_wanted();
        assert_true(take_one() > before);
        before = oracle.last;
    }
    assert_int_equal(lw_timestamp_ms(lw_oracle_now(&oracle, clock_now)), clock_now.wall_ms);
}

static void one_that_follows_another_goes_on_at_its_time(void **state) {
    (void)state;
    uint64_t first, ceiling, year_ms = UINT64_C(365) * 24 * 3600 * 1000;
    uint64_t time_ms = clock_now.wall_ms;
    lw_clock_reading wrong[] = {clock_now, clock_now};
    wrong[0].wall_ms += year_ms;
    wrong[1].wall_ms -= year_ms;
    for (int index = 0; index < 2; index++) {
        lw_oracle_init(&oracle, lw_timestamp_of_ms(time_ms + 2000), time_ms, wrong[index]);
        assert_true(lw_oracle_wants(&oracle, wrong[index], &ceiling));
        lw_oracle_raise(&oracle, ceiling);
        assert_true(lw_oracle_take(&oracle, wrong[index], 1, &first));
        assert_int_equal(lw_timestamp_ms(first), time_ms + 2000);
    }
}

static void a_small_step_ahead_is_taken_at_once(void **state) {
    (void)state;
    assert_true(raise_if_wanted());
    clock_now.wall_ms += 800;
    assert_true(take_one() == lw_timestamp_of_ms(MORNING + 800));
}

static void a_wall_clock_beyond_all_reason_is_capped(void **state) {
    (void)state;
    clock_now.wall_ms = UINT64_MAX;
    lw_oracle_init(&oracle, 0, 0, clock_now);
    assert_true(raise_if_wanted());
    assert_true(take_one() == lw_timestamp_of_ms(LW_ORACLE_PHYSICAL_MAX_MS));
    pass_ms(1);
    assert_true(take_one() > lw_timestamp_of_ms(LW_ORACLE_PHYSICAL_MAX_MS));
}

static void greed_cannot_carry_the_ceiling_away(void **state) {
    (void)state;
    uint64_t first;
    for (int round = 0; round < 100000; round++) {
        (void)!raise_if_wanted();
        (void)!lw_oracle_take(&oracle, clock_now, LW_TIMESTAMP_COUNT_MAX, &first);
    }
    assert_true(oracle.ceiling <= lw_timestamp_of_ms(MORNING + LW_ORACLE_LEAD_MAX_MS));
    assert_false(lw_oracle_take(&oracle, clock_now, LW_TIMESTAMP_COUNT_MAX, &first));
    pass_ms(LW_ORACLE_WINDOW_MS);
    assert_true(raise_if_wanted());
    assert_true(lw_oracle_take(&oracle, clock_now, LW_TIMESTAMP_COUNT_MAX, &first));
}

static void timestamps_rise_whatever_the_clocks_do(void **state) {
    (void)state;
    uint64_t random = 1, before = 0, highest_ceiling = 0;
    for (int round = 0; round < 200000; round++) {
        switch (unit_random_below(&random, 12)) {
        case 0:
            clock_now.wall_ms = unit_random(&random) >> unit_random_below(&random, 64);
            break;
        case 1:
            clock_now.now_ns -= unit_random_below(&random, 5) * MS;
            break;
        case 2: /* a crash: of a ceiling on its way, nobody knows */
            if (unit_random_below(&random, 50) == 0) {
                uint64_t ceiling = highest_ceiling;
                lw_oracle_init(&oracle, ceiling, 0, clock_now);
            }
            break;
        case 3:
        case 4:
        case 5: {
            uint64_t ceiling;
            if (lw_oracle_wants(&oracle, clock_now, &ceiling)) {
                highest_ceiling = ceiling;
                lw_oracle_raise(&oracle, ceiling);
            }
            break;
        }
        default:
            pass_ms(unit_random_below(&random, 400));
        }
        uint64_t first;
        uint32_t count = (uint32_t)(1 + unit_random_below(&random, LW_TIMESTAMP_COUNT_MAX));
        if (lw_oracle_take(&oracle, clock_now, count, &first)) {
            assert_true(first > before);
            before = first + count - 1;
            assert_true(before < oracle.ceiling);
        }
    }
    assert_true(before > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_is_given_before_a_ceiling_is_durable, setup),
        cmocka_unit_test_setup(timestamps_follow_the_clock, setup),
        cmocka_unit_test_setup(a_batch_is_its_takers_alone, setup),
        cmocka_unit_test_setup(the_ceiling_is_never_reached, setup),
        cmocka_unit_test_setup(an_idle_oracle_gives_nothing_of_long_ago, setup),
        cmocka_unit_test_setup(an_oracle_that_is_stuck_gives_what_it_has, setup),
        cmocka_unit_test_setup(a_ceiling_is_wanted_before_it_is_reached, setup),
        cmocka_unit_test_setup(a_restart_goes_on_above_the_ceiling, setup),
        cmocka_unit_test_setup(a_clock_that_jumps_back_stops_nothing, setup),
        cmocka_unit_test_setup(a_clock_that_jumps_years_ahead_carries_nothing_away, setup),
        cmocka_unit_test_setup(one_that_follows_another_goes_on_at_its_time, setup),
        cmocka_unit_test_setup(a_small_step_ahead_is_taken_at_once, setup),
        cmocka_unit_test_setup(a_wall_clock_beyond_all_reason_is_capped, setup),
        cmocka_unit_test_setup(greed_cannot_carry_the_ceiling_away, setup),
        cmocka_unit_test_setup(timestamps_rise_whatever_the_clocks_do, setup),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
