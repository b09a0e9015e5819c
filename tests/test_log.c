/* SPDX-License-Identifier: Apache-2.0 */
/* The log in use: what it promises to one caller, on a simulated machine that keeps its power. What
 * happens when it does not is in test_log_crash.c. */
#include "tests/log_story.h"

static lw_faults no_faults;

static void a_closed_log_shows_all_its_records_in_order(void **state) {
    (void)state;
    story *told = story_with_20_records_closed();
    uint64_t count = told->record_count;
    story_run(told, story_reopen);
    assert_int_equal(told->opened, LW_OK);
    assert_int_equal(told->seen_count, count);
    for (uint64_t place = 0; place < count; place++) {
        assert_int_equal(told->seen[place], place + 1);
    }
    assert_null(story_judge(told));
    story_run(told, story_shut);
    story_close(told);
}

static void append_16_at_once(story *told) {
    if (story_open_log(told) != LW_OK) {
        return;
    }
    uint64_t position = 0;
    for (uint32_t index = 0; index < 16; index++) {
        position = story_append(told, index % STORY_GROUPS, false, 1);
    }
    told->worst = lw_log_wait(told->log, position);
}

static void appends_of_one_turn_share_one_write(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->size_max = 64;
    story_run(told, append_16_at_once);
    lw_log_figures figures;
    lw_log_figures_get(told->log, &figures);
    assert_int_equal(told->worst, LW_OK);
    assert_int_equal(figures.batches, 2); /* with that of the opening */
    assert_int_equal(figures.records, 16);
    story_close(told);
}

/* Each in a turn of its own, well before the write of the first is done. */
static void append_16_in_turns(story *told) {
    if (story_open_log(told) != LW_OK) {
        return;
    }
    uint64_t position = 0;
    for (uint32_t index = 0; index < 16; index++) {
        lw_op end_of_turn = {.kind = LW_OP_DEFER};
        position = story_append(told, index % STORY_GROUPS, false, 1);
        if (lw_env_perform(told->env, &end_of_turn) != LW_OK) {
            story_fail(told, LW_INTERNAL);
        }
    }
    told->worst = lw_log_wait(told->log, position);
}

static void what_nobody_waits_for_gathers_behind_two_writes(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->size_max = 64;
    lw_host_slow_disk(told->host, 20);
    story_run(told, append_16_in_turns);
    lw_log_figures figures;
    lw_log_figures_get(told->log, &figures);
    assert_int_equal(told->worst, LW_OK);
    assert_int_equal(figures.batches, 4); /* with that of the opening */
    assert_int_equal(figures.records, 16);
    story_close(told);
}

static void look_at_memory(story *told) {
    size_t before = lw_memory_used(told->env->memory);
    told->options.segment_size = 0;
    if (story_open_log(told) != LW_OK) {
        return;
    }
    uint64_t position = 0;
    for (uint32_t index = 0; index < 400; index++) {
        position = story_append(told, index % STORY_GROUPS, index < 4, 1);
    }
    told->worst = lw_log_wait(told->log, position);
    lw_env_sleep(told->env, 1000000000);
    told->salt = lw_memory_used(told->env->memory) - before;
}

static void an_idle_log_keeps_little_memory(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    story_run(told, look_at_memory);
    assert_int_equal(told->worst, LW_OK);
    assert_in_range(told->salt, 1, 24 * 1024);
    story_close(told);
}

static void a_first_start_makes_a_small_segment(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->options.segment_size = 0;
    story_run(told, story_reopen);
    lw_log_figures figures;
    lw_log_figures_get(told->log, &figures);
    assert_int_equal(figures.segments, 1);
    assert_int_equal(figures.segment_bytes, 1024 * 1024);
    story_close(told);
}

/* ---- failing -----------------------------------------------------------------------------------
 */

static void append_until_dead(story *told) {
    if (story_open_log(told) != LW_OK) {
        return;
    }
    lw_dice_arm(lw_disk_dice(lw_host_disk(told->host)), LW_FAULT_WRITE_ERROR, 1);
    uint64_t first = story_append(told, 0, false, 1);
    uint64_t second = story_append(told, 1, false, 1);
    told->seen[0] = (uint64_t)lw_log_wait(told->log, first);
    told->seen[1] = (uint64_t)lw_log_wait(told->log, second);
    snprintf(told->error, sizeof(told->error), "%s", lw_error_slot()->text);
    /* Nothing is tried again: not even what the disk would take now. */
    told->seen[2] = (uint64_t)lw_log_wait(told->log, story_append(told, 2, false, 1));
    told->seen[3] = (uint64_t)lw_log_room(told->log, 100);
}

static void after_a_failed_write_every_wait_fails(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->options.segment_size = 1 << 20;
    story_run(told, append_until_dead);
    for (size_t place = 0; place < 4; place++) {
        assert_int_equal(told->seen[place], LW_INTERNAL);
    }
    assert_non_null(strstr(told->error, "offset 8192 of segment 1 of the log data/log"));
    story_run(told, story_shut);
    story_close(told);
}

static void append_while_full(story *told) {
    if (story_open_log(told) != LW_OK) {
        return;
    }
    lw_disk *disk = lw_host_disk(told->host);
    lw_disk_set_capacity(disk, 8 * told->options.segment_size);
    story_append_some(told, 2 * STORY_GROUPS);
    lw_status status = LW_OK;
    while (status == LW_OK && told->record_count < 1000) {
        status = lw_log_room(told->log, told->size_max);
        if (status == LW_OK) {
            status = lw_log_wait(told->log, story_append(told, 0, false, 1));
            told->acknowledged = told->record_count;
        }
    }
    told->seen[0] = (uint64_t)status;
    told->seen[1] = told->record_count;
    /* Letting go makes room without any new space: the states go into the reserve. */
    for (uint64_t group = 0; group < STORY_GROUPS; group++) {
        told->released[group] = told->index_last[group];
        lw_log_release(told->log, group, told->released[group]);
    }
    lw_env_sleep(told->env, 1000000000);
    told->seen[2] = (uint64_t)lw_log_room(told->log, told->size_max);
    if (told->seen[2] == LW_OK) {
        story_append_some(told, 4);
    }
}

static void a_full_disk_is_said_and_letting_go_makes_room_again(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->size_max = 100;
    story_run(told, append_while_full);
    assert_int_equal(told->seen[0], LW_FULL);
    assert_in_range(told->seen[1], 20, 999);
    assert_int_equal(told->seen[2], LW_OK);
    assert_int_equal(told->worst, LW_OK);
    assert_true(lw_world_marked(told->world, "log.full") > 0);
    assert_true(lw_world_marked(told->world, "log.state_carried") > 0);
    story_run(told, story_shut);
    story_run(told, story_reopen);
    assert_int_equal(told->opened, LW_OK);
    assert_null(story_judge(told));
    story_close(told);
}

/* Has spares, and then asks for a segment that is larger than any of them. */
static void ask_for_much_while_full(story *told) {
    if (story_open_log(told) != LW_OK) {
        return;
    }
    for (uint32_t round = 0; round < 40; round++) {
        story_append_some(told, 4);
        story_release(told);
    }
    lw_env_sleep(told->env, 100000000);
    told->seen[0] = told->log->file_last - told->log->holds.newest->header.number;
    lw_disk_set_capacity(lw_host_disk(told->host), 1);
    told->seen[1] = (uint64_t)lw_log_room(told->log, 300000);
    for (uint32_t round = 0; round < 40; round++) {
        told->seen[2] = (uint64_t)lw_log_room(told->log, 4 * told->size_max);
        story_append_some(told, 4);
        story_release(told);
    }
}

static void a_segment_that_could_not_be_made_leaves_no_gap_between_spares(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->size_max = 600;
    story_run(told, ask_for_much_while_full);
    assert_in_range(told->seen[0], 2, 3);
    assert_int_equal(told->seen[1], LW_FULL);
    assert_int_equal(told->seen[2], LW_OK);
    assert_int_equal(told->worst, LW_OK);
    assert_true(lw_world_marked(told->world, "log.gap_closed") > 0);
    lw_host_crash(told->host);
    story_run(told, story_reopen);
    assert_int_equal(told->opened, LW_OK);
    assert_null(story_judge(told));
    story_close(told);
}

/* Holds many segments at once, again and again, and then does nothing. */
static void fill_in_waves(story *told) {
    if (story_open_log(told) != LW_OK) {
        return;
    }
    lw_world *world = told->world;
    for (uint32_t wave = 0; wave < 8; wave++) {
        told->seen[wave < 3 ? 0 : 1] = lw_world_marked(world, "log.segment_created");
        for (uint32_t round = 0; round < 20; round++) {
            story_append_some(told, 4);
            told->seen[2] = told->log->holds.segment_count;
        }
        story_release(told);
        lw_env_sleep(told->env, 100000000);
    }
    lw_env_sleep(told->env, 2000000000);
    told->seen[3] = told->log->file_last - told->log->holds.newest->header.number;
}

static void a_busy_log_uses_its_files_again_and_one_at_rest_has_no_spares(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->size_max = 600;
    story_run(told, fill_in_waves);
    assert_in_range(told->seen[2], 4, 16);
    /* What the first waves made is enough for all others, but for a segment. */
    assert_in_range(told->seen[1], told->seen[0], told->seen[0] + 1);
    assert_in_range(told->seen[3], 0, 1); /* the prepared one */
    assert_true(lw_world_marked(told->world, "log.spare_removed") > 0);
    story_run(told, story_shut);
    story_run(told, story_reopen);
    assert_int_equal(told->opened, LW_OK);
    assert_null(story_judge(told));
    story_close(told);
}

/* ---- segments ----------------------------------------------------------------------------------
 */

static void append_one_large_record(story *told) {
    told->size_max = 2000;
    if (story_open_log(told) != LW_OK) {
        return;
    }
    story_append_some(told, 5);
    uint8_t *large = calloc(1, 300000);
    lw_log_record record = {.group = 1,
                            .term = 1,
                            .index = ++told->index_last[1],
                            .kind = LW_LOG_ENTRY,
                            .payload = lw_view(large, 300000)};
    told->worst = lw_log_room(told->log, 300000);
    if (told->worst == LW_OK) {
        told->worst = lw_log_wait(told->log, lw_log_append(told->log, &record, 1));
    }
    free(large);
    lw_log_close(told->log);
    told->log = NULL;
}

static lw_status count_large(void *argument, const lw_log_record *record) {
    uint64_t *count = argument;
    *count += record->payload.size == 300000;
    return LW_OK;
}

static void open_and_count_large(story *told) {
    told->seen[0] = 0;
    told->opened = lw_log_open(told->env, STORY_FOLDER, &told->options, count_large, &told->seen[0],
                               &told->log);
}

static void a_record_larger_than_a_segment_gets_one_of_its_size(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    story_run(told, append_one_large_record);
    assert_int_equal(told->worst, LW_OK);
    story_run(told, open_and_count_large);
    assert_int_equal(told->opened, LW_OK);
    assert_int_equal(told->seen[0], 1);
    story_close(told);
}

enum { LARGE_COUNT = 12, LARGE_SIZE = 40000 };

/* Every third one has nothing to compress. */
static void append_large_ones(story *told) {
    if (story_open_log(told) != LW_OK) {
        return;
    }
    uint64_t chance = 1, position = 0;
    uint8_t *large = calloc(1, LARGE_SIZE);
    for (uint64_t count = 0; count < LARGE_COUNT; count++) {
        for (size_t index = 0; index < LARGE_SIZE; index += 8) {
            lw_put_u64(large + index, count % 3 == 2 ? unit_random(&chance) : index / 800);
        }
        lw_log_record record = {.group = 1,
                                .term = 1,
                                .index = ++told->index_last[1],
                                .kind = LW_LOG_ENTRY,
                                .payload = lw_view(large, LARGE_SIZE)};
        told->worst = lw_log_room(told->log, LARGE_SIZE);
        position = lw_log_append(told->log, &record, 1);
        if (count % 2 == 0) {
            told->worst = lw_log_wait(told->log, position);
        }
    }
    free(large);
    told->worst = lw_log_wait(told->log, position);
    lw_log_figures figures;
    lw_log_figures_get(told->log, &figures);
    told->seen[1] = figures.written_bytes;
}

static lw_status check_large(void *argument, const lw_log_record *record) {
    story *told = argument;
    uint64_t chance = 1, first = 0;
    for (uint64_t skipped = 0; skipped < record->index / 3 && record->index % 3 == 0; skipped++) {
        for (size_t index = 0; index < LARGE_SIZE; index += 8) {
            uint64_t drawn = unit_random(&chance);
            first = index == 0 ? drawn : first;
        }
    }
    bool right = record->payload.size == LARGE_SIZE && lw_get_u64(record->payload.data) == first;
    told->seen[0] += right;
    return LW_OK;
}

static void open_and_check_large(story *told) {
    told->seen[0] = 0;
    told->opened =
        lw_log_open(told->env, STORY_FOLDER, &told->options, check_large, told, &told->log);
}

static void large_batches_are_packed_where_that_saves_something(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->options.segment_size = 1 << 20;
    story_run(told, append_large_ones);
    assert_int_equal(told->worst, LW_OK);
    assert_in_range(told->seen[1], LARGE_COUNT / 3 * LARGE_SIZE, LARGE_COUNT / 2 * LARGE_SIZE);
    assert_true(lw_world_marked(told->world, "log.batch_packed") > 0);
    assert_true(lw_world_marked(told->world, "log.batch_incompressible") > 0);
    lw_host_crash(told->host);
    story_run(told, open_and_check_large);
    assert_int_equal(told->opened, LW_OK);
    assert_int_equal(told->seen[0], LARGE_COUNT);
    story_close(told);
}

static void let_an_idle_group_pin(story *told) {
    if (story_open_log(told) != LW_OK) {
        return;
    }
    (void)story_append(told, 3, true, 1);
    for (uint32_t round = 0; round < 60; round++) {
        uint64_t position = story_append(told, 0, false, 1);
        if (lw_log_wait(told->log, position) != LW_OK) {
            story_fail(told, LW_INTERNAL);
        }
        lw_log_release(told->log, 0, told->index_last[0]);
    }
    told->released[0] = told->index_last[0];
    told->seen[0] = lw_log_pinned(told->log, 3);
    told->seen[1] = lw_log_pinned(told->log, 0);
    lw_log_figures figures;
    lw_log_figures_get(told->log, &figures);
    told->seen[2] = figures.segments;
    lw_log_release(told->log, 3, told->index_last[3]);
    told->released[3] = told->index_last[3];
    lw_env_sleep(told->env, 100000000);
    lw_log_figures_get(told->log, &figures);
    told->seen[3] = lw_log_pinned(told->log, 3);
    told->seen[4] = figures.segments;
    told->acknowledged = told->record_count;
}

static void an_idle_group_pins_segments_until_it_lets_go_and_keeps_its_state(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    story_run(told, let_an_idle_group_pin);
    assert_int_equal(told->worst, LW_OK);
    /* One entry in the first segment, and with it stay all but the newest and the prepared one. */
    uint64_t segment_size = told->options.segment_size;
    assert_in_range(told->seen[2], 4, 100);
    assert_in_range(told->seen[0], (told->seen[2] - 2) * segment_size,
                    (told->seen[2] - 1) * segment_size);
    assert_int_equal(told->seen[1], 0);
    assert_int_equal(told->seen[3], 0);
    assert_in_range(told->seen[4], 1, 3);
    story_run(told, story_shut);
    story_run(told, story_reopen);
    assert_int_equal(told->opened, LW_OK);
    bool state_shown = false;
    for (uint64_t place = 0; place < told->seen_count; place++) {
        const story_record *record = &told->records[told->seen[place] - 1];
        state_shown = state_shown || (record->kind == LW_LOG_STATE && record->group == 3);
    }
    assert_true(state_shown);
    story_close(told);
}

static void let_a_group_go_and_come_back(story *told) {
    if (story_open_log(told) != LW_OK) {
        return;
    }
    told->size_max = 3000;
    story_append_some(told, 8);
    lw_log_release(told->log, 3, UINT64_MAX);
    told->seen[0] = lw_log_pinned(told->log, 3);
    lw_log_holds_check(&told->log->holds);
    story_append_some(told, 4);
    for (uint32_t round = 0; round < 40; round++) {
        if (lw_log_wait(told->log, story_append(told, 0, false, 1)) != LW_OK) {
            story_fail(told, LW_INTERNAL);
        }
    }
    told->seen[1] = lw_log_pinned(told->log, 3);
    lw_log_holds_check(&told->log->holds);
}

static void a_group_that_is_gone_holds_nothing_until_it_is_back(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    story_run(told, let_a_group_go_and_come_back);
    assert_int_equal(told->worst, LW_OK);
    assert_int_equal(told->seen[0], 0);
    assert_true(told->seen[1] > 0);
    story_close(told);
}

static void fill_room(story *told) {
    told->options.segment_size = 0;
    if (story_open_log(told) != LW_OK) {
        return;
    }
    lw_host_slow_disk(told->host, 1000);
    uint64_t waiting_max = 0;
    for (uint32_t round = 0; round < 4000; round++) {
        if (lw_log_room(told->log, told->size_max) != LW_OK) {
            story_fail(told, LW_INTERNAL);
        }
        (void)story_append(told, 0, false, 1);
        waiting_max =
            told->log->waiting_bytes > waiting_max ? told->log->waiting_bytes : waiting_max;
    }
    told->seen[0] = waiting_max;
}

static void room_is_given_while_not_too_much_waits(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->size_max = STORY_PAYLOAD_MAX;
    story_run(told, fill_room);
    assert_int_equal(told->worst, LW_OK);
    assert_true(lw_world_marked(told->world, "log.room_waits") > 0);
    assert_in_range(told->seen[0], 4 << 20, 9 << 20);
    story_close(told);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_log_shows_all_its_records_in_order),
        cmocka_unit_test(appends_of_one_turn_share_one_write),
        cmocka_unit_test(what_nobody_waits_for_gathers_behind_two_writes),
        cmocka_unit_test(an_idle_log_keeps_little_memory),
        cmocka_unit_test(a_first_start_makes_a_small_segment),
        cmocka_unit_test(after_a_failed_write_every_wait_fails),
        cmocka_unit_test(a_full_disk_is_said_and_letting_go_makes_room_again),
        cmocka_unit_test(a_segment_that_could_not_be_made_leaves_no_gap_between_spares),
        cmocka_unit_test(a_busy_log_uses_its_files_again_and_one_at_rest_has_no_spares),
        cmocka_unit_test(large_batches_are_packed_where_that_saves_something),
        cmocka_unit_test(a_record_larger_than_a_segment_gets_one_of_its_size),
        cmocka_unit_test(an_idle_group_pins_segments_until_it_lets_go_and_keeps_its_state),
        cmocka_unit_test(a_group_that_is_gone_holds_nothing_until_it_is_back),
        cmocka_unit_test(room_is_given_while_not_too_much_waits),
    };
    return cmocka_run_group_tests_name("log", tests, unit_arm, NULL) != 0;
}
