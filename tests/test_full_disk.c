/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that is full (hazard S13): at every size of the disk, from one that holds nothing, and
 * with the machine stopping at any step while it is full. Reads and deletes go on, space comes
 * back, writes go on by themselves, and nothing that was acknowledged is lost. */
#include "tests/engine_model.h"

enum {
    MIB = 1024 * 1024,
#ifdef __SANITIZE_ADDRESS__
    CAPACITY_STEP = 76 * 1024,
    POWER_STEP = 47,
#else
    CAPACITY_STEP = 20 * 1024,
    POWER_STEP = 9,
#endif
    CAPACITY_MAX = 3 * MIB / 2,
    CAPACITY_WORKS = 832 * 1024, /* from here on a disk takes everything back that it gave */
    PUTS_AT_ONCE = 8,
    ROUNDS_MAX = 600,
    DELETES_OF_TEN = 6, /* more than half: so much of a value file is worth collecting */
};

static void overwrite(engine *on, uint32_t round, lw_status *status) {
    engine_operation puts[PUTS_AT_ONCE];
    for (uint32_t index = 0; index < PUTS_AT_ONCE; index++) {
        puts[index] =
            (engine_operation){.key = (round * PUTS_AT_ONCE + index) % ENGINE_KEYS, .put = true};
    }
    *status = engine_write(on, round / 75 % ENGINE_TREES, puts, PUTS_AT_ONCE);
}

/* Writes until the disk is full. */
static void fill(engine *on) {
    lw_status status = LW_OK;
    for (uint32_t round = 0; round < ROUNDS_MAX && status == LW_OK && !on->stopped; round++) {
        overwrite(on, round, &status);
    }
    (void)engine_worked(on, status, "filling");
}

static bool *must_work(engine *on) {
    return on->argument;
}

static void delete_most(engine *on) {
    for (uint32_t tree = 0; tree < ENGINE_TREES; tree++) {
        for (uint32_t key = 0; key < ENGINE_KEYS && !on->stopped; key += 10) {
            engine_operation deletes[DELETES_OF_TEN];
            for (uint32_t index = 0; index < DELETES_OF_TEN; index++) {
                deletes[index] = (engine_operation){.key = key + index};
            }
            lw_status status = engine_write(on, tree, deletes, DELETES_OF_TEN);
            if (status == LW_FULL && *must_work(on)) {
                engine_wrong(on, "a delete was refused: %s", lw_error_slot()->text);
            } else if (status != LW_FULL) {
                (void)engine_worked(on, status, "deleting");
            }
        }
    }
}

/* Writes are let in again by themselves. Now and then one meets a full disk once more, while what
 * was deleted is still being merged away. */
static void write_again(engine *on) {
    lw_status status = LW_OK;
    for (uint32_t round = 0; round < 8 && !on->stopped; round++) {
        status = LW_FULL;
        for (uint32_t second = 0; second < 120 && status == LW_FULL && !on->stopped; second++) {
            engine_operation put = {.key = round * 10, .put = true};
            status = engine_write(on, 0, &put, 1);
            lw_env_sleep(on->env, UINT64_C(1000000000));
        }
        if (status == LW_FULL && *must_work(on)) {
            const lw_reserve *reserve = lw_store_reserve(on->store);
            engine_wrong(on, "the space did not come back: reserve %u of %u",
                         (unsigned)reserve->figures.size, (unsigned)reserve->figures.wanted);
        } else if (status != LW_FULL) {
            (void)engine_worked(on, status, "writing again");
        }
        if (status == LW_FULL) {
            return;
        }
    }
}

static void filled_story(engine *on) {
    if (!engine_open(on)) {
        return;
    }
    fill(on);
    if (!on->stopped) {
        engine_check_everything(on);
    }
    if (!on->stopped && on->argument != NULL) {
        delete_most(on);
        engine_check_everything(on);
        write_again(on);
        engine_check_everything(on);
    }
    if (on->log != NULL && !on->stopped) {
        engine_close(on);
    }
}

static void verify_story(engine *on) {
    if (engine_open(on)) {
        engine_check_everything(on);
        engine_close(on);
        engine_check_folder(on);
    }
}

static void emptying_story(engine *on) {
    if (engine_open(on)) {
        engine_check_everything(on);
        delete_most(on);
        write_again(on);
        engine_check_everything(on);
        engine_close(on);
    }
}

/* With all the room there is. */
static void verify(engine *on) {
    lw_disk_set_capacity(engine_disk(on), 0);
    engine_boot(on, true);
    (void)engine_run(on, verify_story);
}

static void space_comes_back_at_every_size_of_the_disk(void **state) {
    (void)state;
    for (uint64_t capacity = 0; capacity < CAPACITY_MAX; capacity += CAPACITY_STEP) {
        lw_faults faults = lw_faults_none();
        engine *on = engine_make(capacity, &faults);
        bool works = capacity >= CAPACITY_WORKS;
        on->argument = &works;
        lw_disk_set_capacity(engine_disk(on), capacity + 1);
        (void)engine_run(on, filled_story);
        engine_expect_right(on, "capacity", capacity);
        verify(on);
        engine_expect_right(on, "after capacity", capacity);
        engine_drop(on);
    }
}

static void a_full_disk_may_be_opened_again(void **state) {
    (void)state;
    for (uint64_t capacity = CAPACITY_WORKS; capacity < CAPACITY_MAX; capacity += CAPACITY_STEP) {
        lw_faults faults = lw_faults_none();
        engine *on = engine_make(capacity, &faults);
        bool works = true;
        lw_disk_set_capacity(engine_disk(on), capacity);
        (void)engine_run(on, filled_story);
        for (uint32_t again = 0; again < 3; again++) {
            engine_boot(on, again % 2 == 0);
            (void)engine_run(on, filled_story);
            engine_expect_right(on, "filled at capacity", capacity);
        }
        engine_boot(on, true);
        on->argument = &works;
        (void)engine_run(on, emptying_story);
        engine_expect_right(on, "opened at capacity", capacity);
        verify(on);
        engine_expect_right(on, "after capacity", capacity);
        engine_drop(on);
    }
}

static void the_power_may_go_at_any_step_on_a_full_disk(void **state) {
    (void)state;
    bool more = true;
    for (uint64_t step = 0; more; step += POWER_STEP) {
        lw_faults faults = lw_faults_none();
        engine *on = engine_make(step, &faults);
        bool works = false;
        on->argument = &works;
        lw_disk_set_capacity(engine_disk(on), CAPACITY_WORKS);
        lw_host_crash_after(on->host, step, (lw_crash)(step % 3));
        more = !engine_run(on, filled_story);
        engine_boot(on, true);
        lw_host_crash_after(on->host, step % 37, (lw_crash)(step % 3));
        (void)engine_run(on, emptying_story);
        verify(on);
        engine_expect_right(on, "power cut at step", step);
        engine_drop(on);
    }
}

/* The reserve with so much room on the disk, a while later. */
static lw_reserve_figures reserve_at(engine *on, uint64_t capacity) {
    lw_disk_set_capacity(engine_disk(on), capacity);
    lw_env_sleep(on->env, UINT64_C(5000000000));
    return lw_store_reserve(on->store)->figures;
}

static void roomy_story(engine *on) {
    lw_status status;
    if (!engine_open(on)) {
        return;
    }
    for (uint32_t round = 0; round < 20 && !on->stopped; round++) {
        overwrite(on, round, &status);
        (void)engine_worked(on, status, "writing");
    }
    lw_reserve_figures with_plenty = reserve_at(on, 8 * LW_RESERVE_PLENTY);
    lw_reserve_figures with_less = reserve_at(on, LW_RESERVE_PLENTY / 2);
    lw_reserve_figures with_little_more = reserve_at(on, LW_RESERVE_PLENTY * 3 / 2);
    lw_reserve_figures with_plenty_again = reserve_at(on, 8 * LW_RESERVE_PLENTY);
    if (with_plenty.size > 0 || with_plenty_again.size > 0) {
        engine_wrong(on, "a disk with plenty of room has a reserve");
    }
    if (with_less.size < with_less.wanted || with_little_more.size < with_little_more.wanted) {
        engine_wrong(on, "a disk with little room has no reserve");
    }
    engine_close(on);
}

static void a_disk_with_plenty_of_room_needs_no_reserve(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    engine *on = engine_make(1, &faults);
    bool works = true;
    lw_disk_set_capacity(engine_disk(on), 8 * LW_RESERVE_PLENTY);
    (void)engine_run(on, roomy_story);
    engine_expect_right(on, "plenty of room", 0);
    assert_true(lw_world_marked(on->world, "reserve.given_back") > 0);
    engine_boot(on, false);
    on->argument = &works;
    (void)engine_run(on, emptying_story);
    engine_expect_right(on, "emptied with plenty of room", 0);
    verify(on);
    engine_expect_right(on, "with plenty of room", 1);
    engine_drop(on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(space_comes_back_at_every_size_of_the_disk),
        cmocka_unit_test(a_full_disk_may_be_opened_again),
        cmocka_unit_test(the_power_may_go_at_any_step_on_a_full_disk),
        cmocka_unit_test(a_disk_with_plenty_of_room_needs_no_reserve),
    };
    return cmocka_run_group_tests_name("full_disk", tests, unit_arm, NULL) != 0;
}
