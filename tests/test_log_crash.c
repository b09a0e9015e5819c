/* SPDX-License-Identifier: Apache-2.0 */
/* The log under power loss, failing writes and full disks, enumerated: every step at which a
 * machine changes something outside its memory is once the last, in every way it can be. What each
 * opening shows is held against the model of log_story.h; and the planted bugs must not survive
 * this. */
#include "tests/log_story.h"

static const lw_crash crashes[] = {LW_CRASH_BEFORE, LW_CRASH_WITHIN, LW_CRASH_AFTER};
enum { CRASH_COUNT = 3 };

/* One machine that loses power `depth` times, the first time at `step`, and then lives undisturbed.
 * Returns what was wrong, in `told`, which the caller closes. */
static bool survives(story *told, uint64_t step, lw_crash crash, uint64_t step2, uint32_t depth) {
    for (uint32_t life = 0; life <= depth; life++) {
        if (life < depth) {
            lw_host_crash_after(told->host, life == 0 ? step : step2, crash);
        }
        story_live(told);
        if (!story_right(told)) {
            return false;
        }
        if (lw_host_running(told->host)) {
            lw_host_crash(told->host);
        }
    }
    return told->done;
}

static story *tell(uint64_t seed, bool rare, const char *bug) {
    lw_faults faults = lw_faults_none();
    faults.rates[LW_FAULT_STALE_SECTOR] = lw_faults_usual().rates[LW_FAULT_STALE_SECTOR];
    faults.rare_paths = rare;
    story *told = story_open(seed, &faults);
    /* Lives of different kinds: batches of one block or several, states that grow old or do not. */
    static const uint64_t sizes_max[] = {3000, 100, 900};
    told->size_max = sizes_max[seed % 3];
    told->rounds = seed % 4 == 3 ? 30 : 12;
    told->state_period = seed % 2 == 0 ? 7 : 20;
    if (bug != NULL) {
        lw_world_plant(told->world, bug);
    }
    return told;
}

/* Steps of a life without any disturbance. */
static uint64_t count_steps(uint64_t seed, bool rare) {
    story *told = tell(seed, rare, NULL);
    story_live(told);
    assert_int_equal(told->opened, LW_OK);
    assert_int_equal(told->worst, LW_OK);
    uint64_t steps = lw_host_steps(told->host);
    story_close(told);
    return steps;
}

static void fail_with(const story *told, uint64_t seed, uint64_t step, lw_crash crash,
                      uint64_t step2) {
    lw_world_report(told->world, stderr);
    fail_msg("seed %llu, step %llu, crash %d, step2 %llu: %s", (unsigned long long)seed,
             (unsigned long long)step, (int)crash, (unsigned long long)step2, told->error);
}

static void power_loss_at_every_step_keeps_what_was_acknowledged(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        uint64_t steps = count_steps(seed, seed % 2 == 0);
        for (uint64_t step = 0; step < steps; step++) {
            for (size_t crash = 0; crash < CRASH_COUNT; crash++) {
                story *told = tell(seed, seed % 2 == 0, NULL);
                if (!survives(told, step, crashes[crash], 0, 1)) {
                    fail_with(told, seed, step, crashes[crash], 0);
                }
                story_close(told);
            }
        }
    }
}

static void power_loss_while_recovering_is_survived_too(void **state) {
    (void)state;
    uint64_t seed = 100;
    uint64_t steps = count_steps(seed, false);
    for (uint64_t step = 0; step < steps; step += 2) {
        for (uint64_t step2 = 0; step2 < 14; step2++) {
            for (size_t crash = 0; crash < CRASH_COUNT; crash++) {
                story *told = tell(++seed, false, NULL);
                if (!survives(told, step, crashes[crash], step2, 3)) {
                    fail_with(told, seed, step, crashes[crash], step2);
                }
                story_close(told);
            }
        }
    }
}

/* A life in which the `occasion`-th of a kind fails, one in which the process starts again on what
 * the page cache still shows, and one after power loss. Returns whether the fault struck. */
static bool strike(uint64_t seed, lw_fault fault, uint32_t occasion) {
    story *told = tell(seed, false, NULL);
    lw_dice_arm(lw_disk_dice(lw_host_disk(told->host)), fault, occasion);
    story_live(told);
    bool struck = lw_world_marked(told->world, lw_fault_mark(fault)) > 0;
    lw_dice_arm(lw_disk_dice(lw_host_disk(told->host)), fault, 0);
    lw_status first = told->opened != LW_OK ? told->opened : told->worst;
    if (struck && fault != LW_FAULT_FULL && told->opened == LW_OK && told->worst == LW_OK) {
        /* The keeper may have met it after the last append; a closed log tells nobody. */
        assert_true(told->done);
    } else if (!struck) {
        assert_int_equal(first, LW_OK);
    } else {
        assert_true(fault == LW_FAULT_FULL ? first == LW_FULL || first == LW_OK
                                           : first == LW_INTERNAL);
    }
    for (uint32_t life = 0; life < 2; life++) {
        if (life == 0) {
            lw_host_kill(told->host);
        } else {
            lw_host_crash(told->host);
        }
        story_live(told);
        if (!story_right(told) || told->worst != LW_OK) {
            fail_with(told, seed, occasion, LW_CRASH_BEFORE, life);
        }
    }
    lw_host_crash(told->host);
    told->rounds = 0;
    story_live(told);
    if (!story_right(told)) {
        fail_with(told, seed, occasion, LW_CRASH_BEFORE, 2);
    }
    story_close(told);
    return struck;
}

static void each_sync_and_durable_write_may_fail_once(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        for (uint32_t occasion = 1; strike(seed, LW_FAULT_SYNC_ERROR, occasion);) {
            occasion++;
        }
    }
}

static void each_write_may_fail_once(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        for (uint32_t occasion = 1; strike(seed, LW_FAULT_WRITE_ERROR, occasion);) {
            occasion++;
        }
    }
}

static void the_disk_may_be_full_whenever_it_is_asked_for_space(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        for (uint32_t occasion = 1; strike(seed, LW_FAULT_FULL, occasion);) {
            occasion++;
        }
    }
}

static void a_process_may_die_between_any_two_events(void **state) {
    (void)state;
    for (uint64_t event = 1;; event++) {
        story *told = tell(event % 50, false, NULL);
        told->live_events = event;
        story_live(told);
        bool done = told->done;
        told->live_events = 0;
        for (uint32_t life = 0; life < 3; life++) {
            if (lw_host_running(told->host)) {
                lw_host_kill(told->host);
            }
            lw_host_crash_after(told->host, 20 + 7 * life, LW_CRASH_BEFORE);
            story_live(told);
            if (!story_right(told)) {
                fail_with(told, event % 50, event, LW_CRASH_BEFORE, life);
            }
        }
        story_close(told);
        if (done) {
            break;
        }
    }
}

static const struct planted {
    const char *bug;
    bool rare;
} planted[] = {
    {"log.ack_before_durable", false},
    {"log.no_generation", false},
    {"log.recycle_too_early", false},
    {"log.no_directory_sync", false},
};

static bool is_caught(const char *bug) {
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        story *told = tell(seed, false, bug);
        uint64_t state = seed;
        uint64_t step = unit_random_below(&state, count_steps(seed, false));
        bool survived = survives(told, step, crashes[unit_random_below(&state, CRASH_COUNT)],
                                 unit_random_below(&state, 14), 3);
        story_close(told);
        if (!survived) {
            print_message("%s: seed %llu\n", bug, (unsigned long long)seed);
            return true;
        }
    }
    return false;
}

static void planted_bugs_do_not_survive(void **state) {
    (void)state;
    for (size_t index = 0; index < sizeof(planted) / sizeof(planted[0]); index++) {
        if (!is_caught(planted[index].bug)) {
            fail_msg("%s was not caught", planted[index].bug);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_loss_at_every_step_keeps_what_was_acknowledged),
        cmocka_unit_test(power_loss_while_recovering_is_survived_too),
        cmocka_unit_test(each_sync_and_durable_write_may_fail_once),
        cmocka_unit_test(each_write_may_fail_once),
        cmocka_unit_test(the_disk_may_be_full_whenever_it_is_asked_for_space),
        cmocka_unit_test(a_process_may_die_between_any_two_events),
        cmocka_unit_test(planted_bugs_do_not_survive),
    };
    return cmocka_run_group_tests_name("log_crash", tests, unit_arm, NULL) != 0;
}
