/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated world: handles, waiting, deadlines, pauses and clocks. */
#include "tests/lone_stage.h"

/* ---- handles, locks, processes -------------------------------------------------------------- */

static void handles_are_reused_lowest_first(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle files[3], again;
    static const char *const names[] = {"a", "b", "c"};
    for (size_t index = 0; index < 3; index++) {
        assert_int_equal(lw_file_open(stage.env, names[index], LW_OPEN_CREATE, &files[index]),
                         LW_OK);
        assert_int_equal(files[index].number, index);
    }
    lw_file_close(stage.env, files[1]);
    assert_int_equal(lw_file_open(stage.env, "d", LW_OPEN_CREATE, &again), LW_OK);
    assert_int_equal(again.number, 1);
    tear_down(&stage);
}

static void a_lock_dies_with_its_process(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle file, second_file;
    lw_env *second = lw_host_boot(stage.host);
    assert_int_equal(lw_file_open(stage.env, "LOCK", LW_OPEN_CREATE, &file), LW_OK);
    assert_int_equal(lw_file_open(second, "LOCK", LW_OPEN_CREATE, &second_file), LW_OK);
    assert_int_equal(lw_file_lock(stage.env, file), LW_OK);
    assert_int_equal(lw_file_lock(second, second_file), LW_REFUSED);
    lw_env_close(stage.env);
    assert_true(lw_host_running(stage.host));
    assert_int_equal(lw_file_lock(second, second_file), LW_OK);
    lw_host_kill(stage.host);
    lw_env *third = lw_host_boot(stage.host);
    assert_int_equal(lw_file_open(third, "LOCK", 0, &file), LW_OK);
    assert_int_equal(lw_file_lock(third, file), LW_OK);
    tear_down(&stage);
}

static void failures_have_reasons(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle file;
    assert_int_equal(lw_file_open(stage.env, "none", 0, &file), LW_NOT_FOUND);
    assert_non_null(strstr(lw_error_slot()->text, "\"none\""));
    assert_int_equal(lw_file_open(stage.env, "log", LW_OPEN_CREATE, &file), LW_OK);
    assert_int_equal(lw_file_open(stage.env, "log", LW_OPEN_CREATE | LW_OPEN_EXCLUSIVE, &file),
                     LW_EXISTS);
    lw_disk_set_capacity(lw_host_disk(stage.host), 100);
    assert_int_equal(lw_file_resize(stage.env, file, 101), LW_FULL);
    lw_dice_arm(lw_disk_dice(lw_host_disk(stage.host)), LW_FAULT_SYNC_ERROR, 1);
    assert_int_equal(lw_file_sync(stage.env, file), LW_INTERNAL);
    assert_int_equal(lw_socket_connect(stage.env, "nowhere:1", 0, &file), LW_UNAVAILABLE);
    assert_int_equal(lw_socket_connect(stage.env, "node1:1", 0, &file), LW_UNAVAILABLE);
    assert_int_equal(lw_socket_listen(stage.env, "node2:1", &file, NULL), LW_UNAVAILABLE);
    assert_int_equal(lw_socket_listen(stage.env, "node1:1", &file, NULL), LW_OK);
    assert_int_equal(lw_socket_listen(stage.env, "0.0.0.0:1", &file, NULL), LW_REFUSED);
    assert_int_equal(lw_world_marked(stage.world, "fault.sync_error"), 1);
    tear_down(&stage);
}

/* ---- waiting, cancelling, deadlines --------------------------------------------------------- */

static void socket_calls_end_at_their_deadlines(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_env *env = stage.env;
    lw_handle listener, caller, callee;
    uint16_t port = 0;
    char address[32], byte;
    size_t size;
    assert_int_equal(lw_socket_listen(env, "localhost:0", &listener, &port), LW_OK);
    snprintf(address, sizeof(address), "localhost:%u", port);
    lw_op accepting = {
        .kind = LW_OP_ACCEPT, .handle = listener, .deadline_ns = lw_env_now(env) + SECOND_NS};
    assert_int_equal(lw_env_perform(env, &accepting), LW_TIMEOUT);
    assert_int_equal(lw_socket_connect(env, address, 0, &caller), LW_OK);
    assert_int_equal(lw_socket_accept(env, listener, &callee), LW_OK);

    uint64_t deadline = lw_env_now(env) + SECOND_NS;
    assert_int_equal(lw_socket_receive(env, caller, &byte, 1, deadline, &size), LW_TIMEOUT);
    assert_true(lw_env_now(env) >= deadline && lw_env_now(env) < deadline + SECOND_NS / 1000);
    assert_int_equal(lw_socket_send(env, callee, lw_text("x"), 0), LW_OK);
    assert_int_equal(lw_socket_receive(env, caller, &byte, 1, 0, &size), LW_OK);
    assert_int_equal(byte, 'x');

    lw_bytes much = lw_copy(env->memory, lw_view(lw_allocate_zero(env->memory, 1 << 20), 1 << 20));
    assert_int_equal(lw_socket_send(env, callee, much, lw_env_now(env) + SECOND_NS), LW_TIMEOUT);
    /* Part of it was sent: the stream is broken for both. */
    assert_int_equal(lw_socket_send(env, callee, lw_text("x"), 0), LW_UNAVAILABLE);

    lw_host *other = lw_world_host(stage.world, "node2");
    lw_world_cut(stage.world, stage.host, other, true);
    assert_int_equal(lw_socket_connect(env, "node2:1", lw_env_now(env) + SECOND_NS, &caller),
                     LW_TIMEOUT);
    tear_down(&stage);
}

static void receive_main(void *argument) {
    lone_stage *self = argument;
    uint8_t byte;
    size_t size;
    self->status = lw_socket_receive(self->env, self->handle, &byte, 1, 0, &size);
    self->count++;
}

static void closing_a_socket_ends_who_waits_on_it(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle listener;
    assert_int_equal(lw_socket_listen(stage.env, "node1:1", &listener, NULL), LW_OK);
    assert_int_equal(lw_socket_connect(stage.env, "node1:1", 0, &stage.handle), LW_OK);
    lw_env_start(stage.env, "receiver", receive_main, &stage);
    run_for(&stage, SECOND_NS);
    assert_int_equal(stage.count, 0);
    lw_socket_close(stage.env, stage.handle);
    run_for(&stage, SECOND_NS);
    assert_int_equal(stage.count, 1);
    assert_int_equal(stage.status, LW_UNAVAILABLE);
    tear_down(&stage);
}

static void note_status(lw_op *op) {
    lone_stage *self = op->owner;
    self->status = op->status;
    self->count++;
}

static void a_cancelled_operation_completes_soon(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_op timer = {
        .kind = LW_OP_TIMER, .deadline_ns = UINT64_MAX, .complete = note_status, .owner = &stage};
    lw_env_submit(stage.env, &timer);
    run_for(&stage, SECOND_NS);
    assert_int_equal(stage.count, 0);
    lw_env_cancel(stage.env, &timer);
    assert_int_equal(stage.count, 0);
    run_for(&stage, SECOND_NS / 1000);
    assert_int_equal(stage.count, 1);
    assert_int_equal(stage.status, LW_TIMEOUT);

    lw_handle listener;
    assert_int_equal(lw_socket_listen(stage.env, "node1:1", &listener, NULL), LW_OK);
    lw_op accepting = {
        .kind = LW_OP_ACCEPT, .handle = listener, .complete = note_status, .owner = &stage};
    lw_env_submit(stage.env, &accepting);
    run_for(&stage, SECOND_NS);
    lw_env_cancel(stage.env, &accepting);
    run_for(&stage, SECOND_NS / 1000);
    assert_int_equal(stage.count, 2);
    assert_int_equal(stage.status, LW_TIMEOUT);
    tear_down(&stage);
}

/* Appends its letter to `number`, which thereby shows an order. */
static void defer_letter(lw_op *op) {
    lone_stage *self = op->owner;
    self->number = self->number * 10 + 3;
}
static void letter_main(void *argument) {
    lone_stage *self = argument;
    self->number = self->number * 10 + 2;
}
static void defer_main(void *argument) {
    lone_stage *self = argument;
    lw_op deferred = {.kind = LW_OP_DEFER, .complete = defer_letter, .owner = self};
    lw_env_submit(self->env, &deferred);
    lw_env_start(self->env, "letter", letter_main, self);
    self->number = self->number * 10 + 1;
    lw_env_sleep(self->env, 1000);
    self->number = self->number * 10 + 4;
}

static void deferred_operations_run_behind_the_fibers(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_env_start(stage.env, "defer", defer_main, &stage);
    run_for(&stage, SECOND_NS);
    assert_int_equal(stage.number, 1234);
    tear_down(&stage);
}

static void add_one(void *argument) {
    uint32_t *count = argument;
    (*count)++;
}

static void offloaded_work_takes_virtual_time(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    uint64_t before = lw_world_now(stage.world);
    lw_env_offload(stage.env, add_one, &stage.count);
    assert_int_equal(stage.count, 1);
    assert_true(lw_world_now(stage.world) > before);
    tear_down(&stage);
}

static void scheduled_calls_come_in_the_order_of_time(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    uint64_t now = lw_world_now(stage.world);
    lw_world_at(stage.world, now + 2000, add_one, &stage.count);
    lw_world_at(stage.world, now + 1000, add_one, &stage.count);
    lw_world_run(stage.world, now + 999);
    assert_int_equal(stage.count, 0);
    assert_true(lw_world_run(stage.world, now + 1000));
    assert_int_equal(stage.count, 1);
    assert_false(lw_world_run(stage.world, now + 2000));
    assert_int_equal(stage.count, 2);
    assert_int_equal(lw_world_now(stage.world), now + 2000);
    assert_false(lw_world_step(stage.world));
    tear_down(&stage);
}

/* ---- pauses and clocks ---------------------------------------------------------------------- */

static void tick_main(void *argument) {
    lone_stage *self = argument;
    for (;;) {
        lw_env_sleep(self->env, SECOND_NS / 10);
        self->count++;
    }
}

static void a_paused_host_stands_still(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_env_start(stage.env, "tick", tick_main, &stage);
    run_for(&stage, SECOND_NS);
    assert_in_range(stage.count, 8, 10);
    uint32_t before = stage.count;
    uint64_t clock = lw_env_now(stage.env);
    lw_host_pause(stage.host, 5 * SECOND_NS);
    run_for(&stage, 4 * SECOND_NS);
    assert_int_equal(stage.count, before);
    run_for(&stage, SECOND_NS + SECOND_NS / 20);
    assert_int_equal(stage.count, before + 1);
    assert_true(lw_env_now(stage.env) > clock + 5 * SECOND_NS);
    run_for(&stage, SECOND_NS);
    assert_true(stage.count > before + 8);
    tear_down(&stage);
}

static void a_shorter_pause_does_not_end_a_longer_one(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_env_start(stage.env, "tick", tick_main, &stage);
    lw_host_pause(stage.host, 5 * SECOND_NS);
    lw_host_pause(stage.host, SECOND_NS);
    run_for(&stage, 4 * SECOND_NS);
    assert_int_equal(stage.count, 0);
    tear_down(&stage);
}

static void a_fiber_started_during_a_pause_waits_for_its_end(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_host_pause(stage.host, SECOND_NS);
    lw_env_start(stage.env, "letter", letter_main, &stage);
    run_for(&stage, SECOND_NS / 2);
    assert_int_equal(stage.number, 0);
    run_for(&stage, SECOND_NS);
    assert_int_equal(stage.number, 2);
    tear_down(&stage);
}

static void clocks_drift_and_timers_follow_them(void **state) {
    (void)state;
    static const int32_t drifts[] = {-500000, -300, 0, 300, 500000};
    for (size_t index = 0; index < sizeof(drifts) / sizeof(drifts[0]); index++) {
        lone_stage stage;
        set_up(&stage, index);
        run_for(&stage, 12345);
        uint64_t clock = lw_env_now(stage.env), begin = lw_world_now(stage.world);
        lw_host_set_drift(stage.host, drifts[index]);
        assert_int_equal(lw_env_now(stage.env), clock);
        run_for(&stage, 10 * SECOND_NS);
        uint64_t passed = lw_env_now(stage.env) - clock;
        assert_int_equal(passed, 10000 * (uint64_t)(1000000 + drifts[index]));
        clock = lw_env_now(stage.env);
        begin = lw_world_now(stage.world);
        lw_env_sleep(stage.env, SECOND_NS);
        assert_true(lw_env_now(stage.env) >= clock + SECOND_NS);
        uint64_t expected = SECOND_NS * 1000000 / (uint64_t)(1000000 + drifts[index]);
        assert_in_range(lw_world_now(stage.world) - begin, expected, expected + 100000);
        tear_down(&stage);
    }
}

static void a_timer_set_before_a_drift_is_never_early(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    uint64_t deadline = lw_env_now(stage.env) + 10 * SECOND_NS;
    lw_op timer = {
        .kind = LW_OP_TIMER, .deadline_ns = deadline, .complete = note_status, .owner = &stage};
    lw_env_submit(stage.env, &timer);
    lw_host_set_drift(stage.host, -100000);
    while (stage.count == 0) {
        assert_true(lw_world_step(stage.world));
    }
    assert_true(lw_env_now(stage.env) >= deadline);
    assert_int_equal(stage.status, LW_OK);
    tear_down(&stage);
}

static void a_deadline_set_before_a_drift_is_never_early(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle listener;
    assert_int_equal(lw_socket_listen(stage.env, "node1:1", &listener, NULL), LW_OK);
    uint64_t deadline = lw_env_now(stage.env) + 10 * SECOND_NS;
    lw_op accepting = {.kind = LW_OP_ACCEPT,
                       .handle = listener,
                       .deadline_ns = deadline,
                       .complete = note_status,
                       .owner = &stage};
    lw_env_submit(stage.env, &accepting);
    lw_host_set_drift(stage.host, -100000);
    while (stage.count == 0) {
        assert_true(lw_world_step(stage.world));
    }
    assert_true(lw_env_now(stage.env) >= deadline);
    assert_int_equal(stage.status, LW_TIMEOUT);
    tear_down(&stage);
}

static void wall_clocks_jump_and_hosts_disagree(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_env *other = lw_host_boot(lw_world_host(stage.world, "node2"));
    uint64_t wall = lw_env_wall_ms(stage.env);
    assert_int_equal(lw_env_wall_ms(other), wall);
    assert_true(lw_env_now(other) != lw_env_now(stage.env));
    lw_host_jump_wall(stage.host, -3600 * 1000);
    assert_int_equal(lw_env_wall_ms(stage.env), wall - 3600 * 1000);
    run_for(&stage, SECOND_NS);
    assert_int_equal(lw_env_wall_ms(stage.env), wall - 3600 * 1000 + 1000);
    assert_int_equal(lw_env_wall_ms(other), wall + 1000);
    tear_down(&stage);
}

static void a_slow_disk_takes_longer(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    uint64_t begin = lw_world_now(stage.world);
    write_text(stage.env, "log", "text", true);
    uint64_t usual = lw_world_now(stage.world) - begin;
    lw_host_slow_disk(stage.host, 100);
    begin = lw_world_now(stage.world);
    write_text(stage.env, "log", "text", true);
    assert_true(lw_world_now(stage.world) - begin > 20 * usual);
    tear_down(&stage);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_are_reused_lowest_first),
        cmocka_unit_test(a_lock_dies_with_its_process),
        cmocka_unit_test(failures_have_reasons),
        cmocka_unit_test(socket_calls_end_at_their_deadlines),
        cmocka_unit_test(closing_a_socket_ends_who_waits_on_it),
        cmocka_unit_test(a_cancelled_operation_completes_soon),
        cmocka_unit_test(deferred_operations_run_behind_the_fibers),
        cmocka_unit_test(offloaded_work_takes_virtual_time),
        cmocka_unit_test(scheduled_calls_come_in_the_order_of_time),
        cmocka_unit_test(a_paused_host_stands_still),
        cmocka_unit_test(a_shorter_pause_does_not_end_a_longer_one),
        cmocka_unit_test(a_fiber_started_during_a_pause_waits_for_its_end),
        cmocka_unit_test(clocks_drift_and_timers_follow_them),
        cmocka_unit_test(a_timer_set_before_a_drift_is_never_early),
        cmocka_unit_test(a_deadline_set_before_a_drift_is_never_early),
        cmocka_unit_test(wall_clocks_jump_and_hosts_disagree),
        cmocka_unit_test(a_slow_disk_takes_longer),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
