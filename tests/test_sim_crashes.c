/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of the simulated world that are killed, and machines that lose power. */
#include "tests/lone_stage.h"

static void a_kill_keeps_what_was_written(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        lone_stage stage;
        char text[64];
        set_up(&stage, seed);
        write_text(stage.env, "log", "unsynced", false);
        lw_host_kill(stage.host);
        assert_false(lw_host_running(stage.host));
        lw_env *env = lw_host_boot(stage.host);
        assert_string_equal(read_text(env, "log", text), "unsynced");
        tear_down(&stage);
    }
}

static void a_kill_may_show_what_a_failed_sync_dropped(void **state) {
    (void)state;
    bool dropped = false;
    for (uint64_t seed = 0; seed < 50; seed++) {
        lone_stage stage;
        char text[64];
        lw_handle file;
        set_up(&stage, seed);
        write_text(stage.env, "log", "old", true);
        assert_int_equal(lw_file_open(stage.env, "log", 0, &file), LW_OK);
        assert_int_equal(lw_file_write(stage.env, file, 0, lw_text("new"), 0), LW_OK);
        lw_dice_arm(lw_disk_dice(lw_host_disk(stage.host)), LW_FAULT_SYNC_ERROR, 1);
        assert_int_equal(lw_file_sync(stage.env, file), LW_INTERNAL);
        assert_string_equal(read_text(stage.env, "log", text), "new");
        lw_host_kill(stage.host);
        dropped = dropped || read_text(lw_host_boot(stage.host), "log", text)[0] == 'o';
        tear_down(&stage);
    }
    assert_true(dropped);
}

static void a_crash_may_lose_what_was_written(void **state) {
    (void)state;
    bool lost = false;
    for (uint64_t seed = 0; seed < 50; seed++) {
        lone_stage stage;
        char text[64];
        set_up(&stage, seed);
        write_text(stage.env, "kept", "synced", true);
        write_text(stage.env, "log", "unsynced", false);
        lw_host_crash(stage.host);
        lw_env *env = lw_host_boot(stage.host);
        assert_string_equal(read_text(env, "kept", text), "synced");
        lost = lost || read_text(env, "log", text)[0] != 'u';
        tear_down(&stage);
    }
    assert_true(lost);
}

/* ---- power failing at every step ------------------------------------------------------------ */

/* Replaces the file CURRENT, as a database does; `sync` false is the usual mistake. */
static lw_status replace(lw_env *env, const char *text, bool sync) {
    lw_handle file;
    LW_TRY(lw_file_open(env, "next", LW_OPEN_CREATE, &file));
    lw_status status = lw_file_resize(env, file, 0);
    status = status == LW_OK ? lw_file_write(env, file, 0, lw_text(text), 0) : status;
    status = status == LW_OK && sync ? lw_file_sync(env, file) : status;
    lw_file_close(env, file);
    LW_TRY(status);
    LW_TRY(lw_path_rename(env, "next", "CURRENT"));
    return lw_path_sync_directory(env, "/");
}

typedef struct replacement {
    lone_stage *stage;
    bool sync;
    bool done;
} replacement;

static void replace_main(void *argument) {
    replacement *self = argument;
    lw_status status = replace(self->stage->env, "new", self->sync);
    self->done = status == LW_OK;
}

/* Replaces with power failing at a step; counts what was found wrong afterwards. */
static bool replace_and_crash(uint64_t seed, uint64_t step, lw_crash crash, bool sync,
                              uint32_t *wrong) {
    lone_stage stage;
    char text[64];
    set_up(&stage, seed);
    write_text(stage.env, "CURRENT", "old", true);
    replacement replacing = {.stage = &stage, .sync = sync};
    lw_host_crash_after(stage.host, step, crash);
    lw_env_start(stage.env, "replace", replace_main, &replacing);
    run_for(&stage, SECOND_NS);
    bool crashed = !lw_host_running(stage.host);
    assert_true(crashed || replacing.done);
    if (!crashed) {
        lw_host_crash(stage.host);
    }
    read_text(lw_host_boot(stage.host), "CURRENT", text);
    bool old = strcmp(text, "old") == 0, new = strcmp(text, "new") == 0;
    *wrong += !(new || (old && !replacing.done));
    tear_down(&stage);
    return crashed;
}

static uint32_t enumerate_crashes(bool sync) {
    uint32_t wrong = 0;
    for (uint64_t seed = 0; seed < 30; seed++) {
        for (uint32_t crash = LW_CRASH_BEFORE; crash <= LW_CRASH_AFTER; crash++) {
            uint64_t step = 0;
            while (replace_and_crash(seed, step, (lw_crash)crash, sync, &wrong)) {
                step++;
            }
            /* open, resize, write, (sync,) rename, sync of the directory */
            assert_int_equal(step, sync ? 6 : 5);
        }
    }
    return wrong;
}

static void power_may_fail_at_every_step(void **state) {
    (void)state;
    assert_int_equal(enumerate_crashes(true), 0);
    assert_true(enumerate_crashes(false) > 0);
}

/* The file is made and its name durable; then one durable write meets the end of power. */
static void durable_write_main(void *argument) {
    lone_stage *self = argument;
    self->status = lw_file_write(self->env, self->handle, 0, lw_text("new"), LW_WRITE_DURABLE);
    self->count++;
}

static void each_variant_of_a_crash_differs(void **state) {
    (void)state;
    uint32_t written[3] = {0, 0, 0};
    for (uint64_t seed = 0; seed < 60; seed++) {
        uint32_t crash = (uint32_t)(seed % 3);
        lone_stage stage;
        char text[64];
        set_up(&stage, seed);
        write_text(stage.env, "log", "old", true);
        assert_int_equal(lw_file_open(stage.env, "log", 0, &stage.handle), LW_OK);
        lw_host_crash_after(stage.host, 0, (lw_crash)crash);
        lw_env_start(stage.env, "writer", durable_write_main, &stage);
        run_for(&stage, SECOND_NS);
        assert_false(lw_host_running(stage.host));
        assert_int_equal(stage.count, 0);
        written[crash] += read_text(lw_host_boot(stage.host), "log", text)[0] == 'n';
        tear_down(&stage);
    }
    assert_int_equal(written[LW_CRASH_BEFORE], 0);
    assert_in_range(written[LW_CRASH_WITHIN], 1, 19);
    assert_int_equal(written[LW_CRASH_AFTER], 20);
}

static void a_write_in_flight_may_happen_when_its_process_dies(void **state) {
    (void)state;
    for (uint32_t power = 0; power < 2; power++) {
        uint32_t written = 0;
        for (uint64_t seed = 0; seed < 60; seed++) {
            lone_stage stage;
            char text[64];
            set_up(&stage, seed);
            write_text(stage.env, "log", "old", true);
            assert_int_equal(lw_file_open(stage.env, "log", 0, &stage.handle), LW_OK);
            lw_env_start(stage.env, "writer", durable_write_main, &stage);
            lw_world_step(stage.world); /* the fiber submits, and no more */
            (power == 1 ? lw_host_crash : lw_host_kill)(stage.host);
            assert_int_equal(stage.count, 0);
            written += read_text(lw_host_boot(stage.host), "log", text)[0] == 'n';
            tear_down(&stage);
        }
        assert_in_range(written, 1, 59);
    }
}

static void drain_main(void *argument) {
    lone_stage *self = argument;
    uint8_t bytes[4000];
    size_t size = 1;
    while (size > 0 && self->status == LW_OK) {
        self->status = lw_socket_receive(self->env, self->handle, bytes, sizeof(bytes), 0, &size);
    }
}

static void a_send_that_waits_is_one_step(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle listener, caller;
    assert_int_equal(lw_socket_listen(stage.env, "node1:1", &listener, NULL), LW_OK);
    assert_int_equal(lw_socket_connect(stage.env, "node1:1", 0, &caller), LW_OK);
    assert_int_equal(lw_socket_accept(stage.env, listener, &stage.handle), LW_OK);
    lw_env_start(stage.env, "drain", drain_main, &stage);
    uint64_t before = lw_host_steps(stage.host);
    lw_bytes much = lw_view(lw_allocate_zero(stage.env->memory, 1 << 20), 1 << 20);
    assert_int_equal(lw_socket_send(stage.env, caller, much, 0), LW_OK);
    assert_int_equal(lw_host_steps(stage.host), before + 1);
    tear_down(&stage);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kill_keeps_what_was_written),
        cmocka_unit_test(a_kill_may_show_what_a_failed_sync_dropped),
        cmocka_unit_test(a_crash_may_lose_what_was_written),
        cmocka_unit_test(power_may_fail_at_every_step),
        cmocka_unit_test(each_variant_of_a_crash_differs),
        cmocka_unit_test(a_write_in_flight_may_happen_when_its_process_dies),
        cmocka_unit_test(a_send_that_waits_is_one_step),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
