/* SPDX-License-Identifier: Apache-2.0 */
/* base/env: time and order, queues, offloaded work, and the end, in both real worlds. */
#include "tests/env_worlds.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <time.h>

/* ---- time and order -----------------------------------------------------------------------------
 */

typedef struct letter {
    fixture *in;
    char letter;
    uint64_t deadline_ns;
    lw_op op;
} letter;

static void note_complete(lw_op *op) {
    letter *self = op->owner;
    note(self->in, self->letter);
}

static void submit_letter(letter *self, fixture *in, char name, lw_op op) {
    *self = (letter){.in = in, .letter = name, .op = op};
    self->op.complete = note_complete;
    self->op.owner = self;
    lw_env_submit(in->env, &self->op);
}

static void timers_fire_in_the_order_of_their_deadlines(void **state) {
    fixture *in = *state;
    uint64_t start_ns = lw_env_now(in->env);
    static const uint64_t delays_ms[] = {9, 3, 6, 3, 1, 12, 6, 1};
    letter letters[8];
    for (size_t index = 0; index < 8; index++) {
        submit_letter(
            &letters[index], in, (char)('a' + (int)index),
            (lw_op){.kind = LW_OP_TIMER, .deadline_ns = start_ns + delays_ms[index] * MILLISECOND});
    }
    lw_env_cancel(in->env, &letters[6].op);
    while (strlen(in->trace) < 8) {
        lw_env_turn(in->env, true);
    }
    assert_string_equal(in->trace, "gehbdcaf");
    assert_int_equal(letters[6].op.status, LW_TIMEOUT);
    assert_int_equal(letters[5].op.status, LW_OK);
    assert_true(lw_env_now(in->env) >= start_ns + 12 * MILLISECOND);
}

/* Notes a timer that fires before one whose deadline is earlier. */
static void order_complete(lw_op *op) {
    letter *self = op->owner;
    if (op->status == LW_OK) {
        note(self->in, op->deadline_ns < self->in->deadline_ns ? '!' : '.');
        self->in->deadline_ns = op->deadline_ns;
    }
}

static void a_thousand_timers_keep_their_order(void **state) {
    fixture *in = *state;
    enum { COUNT = 1000 };
    static letter letters[COUNT];
    uint64_t start_ns = lw_env_now(in->env), seed = 7;
    for (size_t index = 0; index < COUNT; index++) {
        submit_letter(
            &letters[index], in, 'x',
            (lw_op){.kind = LW_OP_TIMER,
                    .deadline_ns = start_ns + unit_random_below(&seed, 10) * MILLISECOND + 1});
    }
    for (size_t index = 0; index < COUNT; index++) {
        letters[index].op.complete = order_complete;
    }
    for (size_t index = 0; index < COUNT; index += 3) {
        lw_env_cancel(in->env, &letters[index].op);
    }
    lw_env_sleep(in->env, 12 * MILLISECOND);
    assert_null(strchr(in->trace, '!'));
    for (size_t index = 0; index < COUNT; index++) {
        assert_int_equal(letters[index].op.status, index % 3 == 0 ? LW_TIMEOUT : LW_OK);
        assert_int_equal(letters[index].op.real.timer_place, 0);
    }
}

static void nothing_completes_inside_submit(void **state) {
    fixture *in = *state;
    lw_handle file;
    assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file), LW_OK);
    char byte = 'x';
    letter letters[5];
    submit_letter(&letters[0], in, 'w',
                  (lw_op){.kind = LW_OP_WRITE, .handle = file, .buffer = &byte, .size = 1});
    submit_letter(&letters[1], in, 'd', (lw_op){.kind = LW_OP_DEFER});
    submit_letter(&letters[2], in, 't', (lw_op){.kind = LW_OP_TIMER, .deadline_ns = 1});
    submit_letter(&letters[3], in, 'l', (lw_op){.kind = LW_OP_LISTEN, .path = "127.0.0.1:0"});
    submit_letter(&letters[4], in, 's', (lw_op){.kind = LW_OP_SIZE, .handle = file});
    assert_string_equal(in->trace, "");
    while (strlen(in->trace) < 5) {
        lw_env_turn(in->env, true);
    }
}

static void pass_main(void *argument) {
    fixture *in = argument;
    note(in, '1');
    lw_fiber_pass();
    note(in, '2');
    lw_fiber_pass();
    note(in, '3');
}

static void deferred_operations_follow_the_ready_fibers(void **state) {
    fixture *in = *state;
    letter deferred;
    submit_letter(&deferred, in, 'd', (lw_op){.kind = LW_OP_DEFER});
    lw_env_start(in->env, "pass", pass_main, in);
    lw_env_turn(in->env, true);
    assert_string_equal(in->trace, "12d3"); /* who passes does not hold them back */
}

static void again_complete(lw_op *op) {
    letter *self = op->owner;
    note(self->in, self->letter);
    lw_env_submit(self->in->env, op);
}

static void what_defers_itself_for_ever_starves_nobody(void **state) {
    fixture *in = *state;
    letter deferred = {.in = in, .letter = 'd', .op = {.kind = LW_OP_DEFER}};
    deferred.op.complete = again_complete;
    deferred.op.owner = &deferred;
    lw_env_submit(in->env, &deferred.op);
    tell_of_files(in);
    assert_int_equal(in->failed_line, 0);
    lw_env_sleep(in->env, 2 * MILLISECOND);
    assert_true(strlen(in->trace) > 1);
}

/* ---- waiting in queues --------------------------------------------------------------------------
 */

static void waiter_main(void *argument) {
    letter *self = argument;
    bool woken = lw_env_wait(self->in->env, &self->in->queue, self->deadline_ns);
    note(self->in, woken ? self->letter : (char)(self->letter - 'a' + 'A'));
}

static void start_waiter(letter *self, fixture *in, char name, uint64_t deadline_ns) {
    *self = (letter){.in = in, .letter = name, .deadline_ns = deadline_ns};
    lw_env_start(in->env, "waiter", waiter_main, self);
}

static void a_wait_ends_with_a_wake_up_or_its_deadline(void **state) {
    fixture *in = *state;
    letter a, b, c;
    uint64_t now_ns = lw_env_now(in->env);
    start_waiter(&a, in, 'a', now_ns + 5 * MILLISECOND);
    start_waiter(&b, in, 'b', now_ns + 10000 * (uint64_t)MILLISECOND);
    start_waiter(&c, in, 'c', 0);
    while (in->trace[0] == '\0') {
        lw_env_turn(in->env, true);
    }
    assert_string_equal(in->trace, "A");
    assert_true(lw_env_now(in->env) >= now_ns + 5 * MILLISECOND);
    lw_queue_wake_one(&in->queue);
    lw_env_turn(in->env, true);
    assert_string_equal(in->trace, "Ab");
    lw_queue_wake_one(&in->queue);
    run_fibers(in);
    assert_string_equal(in->trace, "Abc");
    assert_true(lw_queue_empty(&in->queue));
}

static void a_stray_wake_up_does_not_end_a_wait(void **state) {
    fixture *in = *state;
    letter a;
    uint64_t deadline_ns = lw_env_now(in->env) + 5 * MILLISECOND;
    a = (letter){.in = in, .letter = 'a', .deadline_ns = deadline_ns};
    lw_fiber *fiber = lw_env_start(in->env, "waiter", waiter_main, &a);
    lw_env_turn(in->env, false);
    lw_fiber_wake(fiber);
    run_fibers(in);
    assert_string_equal(in->trace, "A");
    assert_true(lw_env_now(in->env) >= deadline_ns);
}

typedef struct racer {
    letter *waiter;
    lw_op op;
} racer;

static void wake_complete(lw_op *op) {
    racer *self = op->owner;
    lw_queue_wake_one(&self->waiter->in->queue);
}

static void a_wake_up_at_the_deadline_is_not_lost(void **state) {
    fixture *in = *state;
    letter a, b;
    uint64_t deadline_ns = lw_env_now(in->env) + 5 * MILLISECOND;
    start_waiter(&a, in, 'a', deadline_ns);
    lw_env_turn(in->env, false);
    /* Completes right behind the wait's own timer, before the fiber has run. */
    racer race = {.waiter = &a};
    race.op = (lw_op){
        .kind = LW_OP_TIMER, .deadline_ns = deadline_ns, .complete = wake_complete, .owner = &race};
    lw_env_submit(in->env, &race.op);
    start_waiter(&b, in, 'b', deadline_ns + 5 * MILLISECOND);
    run_fibers(in);
    assert_string_equal(in->trace, "aB");
}

static void waits_give_their_memory_back(void **state) {
    fixture *in = *state;
    static letter letters[50];
    uint64_t now_ns = lw_env_now(in->env);
    size_t used = 0;
    for (size_t round = 0; round < 3; round++) {
        for (size_t index = 0; index < 50; index++) {
            start_waiter(&letters[index], in, 'a',
                         now_ns + (index % 2 == 0 ? 1 : 10000) * (uint64_t)MILLISECOND);
        }
        lw_env_sleep(in->env, 3 * MILLISECOND);
        lw_queue_wake_all(&in->queue);
        run_fibers(in);
        lw_env_sleep(in->env, MILLISECOND);
        if (round == 0) {
            used = lw_memory_used(in->env->memory);
        }
    }
    assert_int_equal(lw_memory_used(in->env->memory), used);
}

/* ---- offloaded work -----------------------------------------------------------------------------
 */

typedef struct job {
    fixture *in;
    pthread_t thread;
    uint64_t result;
} job;

static void job_work(void *argument) {
    job *self = argument;
    self->thread = pthread_self();
    for (uint64_t round = 0; round < 100000; round++) {
        unit_random(&self->result);
    }
}

static void job_main(void *argument) {
    job *self = argument;
    lw_env_offload(self->in->env, job_work, self);
    note(self->in, 'j');
}

static void offloaded_work_runs_elsewhere_and_comes_back(void **state) {
    fixture *in = *state;
    job jobs[20];
    for (size_t index = 0; index < 20; index++) {
        jobs[index] = (job){.in = in, .thread = pthread_self(), .result = 5};
        lw_env_start(in->env, "job", job_main, &jobs[index]);
    }
    run_fibers(in);
    assert_int_equal(strlen(in->trace), 20);
    job outside = {.in = in, .result = 5};
    lw_env_offload(in->env, job_work, &outside);
    for (size_t index = 0; index < 20; index++) {
        assert_true(jobs[index].result == outside.result);
        assert_false(pthread_equal(jobs[index].thread, pthread_self()));
    }
}

/* ---- many, and the end --------------------------------------------------------------------------
 */

static void sleeper_main(void *argument) {
    fixture *in = argument;
    lw_env_sleep(in->env, lw_env_random_below(in->env, MILLISECOND));
    lw_env_sleep(in->env, 1);
}

static void ten_thousand_fibers_sleep_and_go(void **state) {
    fixture *in = *state;
    for (size_t index = 0; index < 10000; index++) {
        lw_env_start(in->env, "sleeper", sleeper_main, in);
    }
    run_fibers(in);
}

static void receiver_main(void *argument) {
    fixture *in = argument;
    char byte;
    size_t size;
    lw_status status = lw_socket_receive(in->env, in->socket, &byte, 1, in->deadline_ns, &size);
    note(in, status == LW_OK ? '!' : '?');
}

static void linger_work(void *argument) {
    (void)argument;
    usleep(200000); /* longer than a busy machine takes to come to the closing */
}

static void linger_main(void *argument) {
    fixture *in = argument;
    lw_env_offload(in->env, linger_work, NULL);
    note(in, '!');
}

static void caller_main(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    for (size_t index = 0; index < 8; index++) {
        lw_status status = lw_socket_connect(in->env, in->address, 0, &socket);
        EXPECT(in, status == LW_OK);
    }
    lw_fiber_suspend();
}

static void greeter_main(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    for (;;) {
        EXPECT(in, lw_socket_accept(in->env, in->listener, &socket) == LW_OK);
    }
}

static void writer_main(void *argument) {
    fixture *in = argument;
    lw_handle file;
    EXPECT(in, lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file) == LW_OK);
    for (;;) {
        EXPECT(in, lw_file_write(in->env, file, 0, lw_text("again"), LW_WRITE_DURABLE) == LW_OK);
    }
}

static void closing_drops_whatever_is_pending(void **state) {
    fixture *in = *state;
    (void)connect_pair(in);
    letter waiting, timer, defer, connect;
    start_waiter(&waiting, in, 'w', in->deadline_ns);
    lw_env_start(in->env, "receiver", receiver_main, in);
    lw_env_start(in->env, "greeter", greeter_main, in);
    lw_env_start(in->env, "linger", linger_main, in);
    lw_env_start(in->env, "linger", linger_main, in);
    lw_env_start(in->env, "linger", linger_main, in);
    lw_env_start(in->env, "caller", caller_main, in);
    lw_env_start(in->env, "writer", writer_main, in);
    submit_letter(&timer, in, 't', (lw_op){.kind = LW_OP_TIMER, .deadline_ns = in->deadline_ns});
    for (size_t turn = 0; turn < 3; turn++) {
        lw_env_turn(in->env, false);
    }
    submit_letter(&defer, in, 'd', (lw_op){.kind = LW_OP_DEFER});
    submit_letter(&connect, in, 'c', (lw_op){.kind = LW_OP_CONNECT, .path = in->address});
    lw_env_close(in->env);
    in->env = NULL;
    assert_string_equal(in->trace, "");
    assert_int_equal(in->failed_line, 0);
}

static void closing_closes_every_handle(void **state) {
    fixture *in = *state;
    lw_handle file;
    assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file), LW_OK);
    lw_handle other = connect_pair(in);
    lw_handle open[] = {file, other, in->socket, in->listener};
    lw_env_close(in->env);
    in->env = NULL;
    for (size_t index = 0; index < sizeof(open) / sizeof(open[0]); index++) {
        assert_int_equal(fcntl(open[index].number, F_GETFD), -1);
        assert_int_equal(errno, EBADF);
    }
}

/* ---- chance, paths, lines -----------------------------------------------------------------------
 */

static void random_numbers_are_those_of_the_generator(void **state) {
    fixture *in = *state;
    uint64_t *random_state = in->env->random_state;
    assert_true((random_state[0] | random_state[1] | random_state[2] | random_state[3]) != 0);
    for (uint64_t index = 0; index < 4; index++) {
        random_state[index] = index + 1;
    }
    static const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240};
    for (size_t index = 0; index < 4; index++) {
        assert_true(lw_env_random(in->env) == expected[index]);
    }
    /* Three quarters of all numbers: where a plain rest would be half as likely above the middle.
     */
    uint64_t bound = UINT64_MAX / 4 * 3;
    uint32_t low_count = 0;
    for (size_t index = 0; index < 10000; index++) {
        uint64_t value = lw_env_random_below(in->env, bound);
        assert_true(value < bound);
        low_count += value < bound / 3;
    }
    assert_in_range(low_count, 3100, 3570);
    assert_true(lw_env_random_below(in->env, 1) == 0);
}

static void paths_too_long_are_refused(void **state) {
    (void)state;
    char path[LW_PATH_SIZE], name[LW_PATH_SIZE];
    assert_int_equal(lw_path_join(path, "log", "1"), LW_OK);
    assert_string_equal(path, "log/1");
    assert_int_equal(lw_path_join(path, "/", "1"), LW_OK);
    assert_string_equal(path, "/1");
    assert_int_equal(lw_path_join(path, "", "1"), LW_OK);
    assert_string_equal(path, "1");
    memset(name, 'x', sizeof(name) - 1);
    name[LW_PATH_SIZE - 3] = '\0';
    assert_int_equal(lw_path_join(path, "d", name), LW_OK);
    name[LW_PATH_SIZE - 3] = 'x';
    name[LW_PATH_SIZE - 2] = '\0';
    assert_fails(lw_path_join(path, "d", name), LW_INVALID_ARGUMENT, "is longer than 1023 bytes");
}

static void say_line(void *argument) {
    fixture *in = argument;
    lw_logline(in->env, LW_LEVEL_WARN, "disk slow", "ms=%d", 12);
}

static void log_lines_go_to_standard_error(void **state) {
    fixture *in = *state;
    char text[256];
    assert_int_equal(unit_child(say_line, in, text, sizeof(text)), 0);
    unsigned year, milliseconds;
    int read = 0;
    assert_int_equal(
        sscanf(text, "time=%4u-%*2u-%*2uT%*2u:%*2u:%*2u.%3uZ %n", &year, &milliseconds, &read), 2);
    assert_in_range(year, 2024, 2200);
    assert_string_equal(text + read, "level=warn event=\"disk slow\" ms=12\n");
    uint64_t wall_ms = lw_env_wall_ms(in->env);
    assert_true(wall_ms / 1000 - (uint64_t)time(NULL) + 1 <= 2);
}

int main(void) {
    static const struct CMUnitTest stories[] = {
        STORY(timers_fire_in_the_order_of_their_deadlines),
        STORY(a_thousand_timers_keep_their_order),
        STORY(nothing_completes_inside_submit),
        STORY(deferred_operations_follow_the_ready_fibers),
        STORY(what_defers_itself_for_ever_starves_nobody),
        STORY(a_wait_ends_with_a_wake_up_or_its_deadline),
        STORY(a_stray_wake_up_does_not_end_a_wait),
        STORY(a_wake_up_at_the_deadline_is_not_lost),
        STORY(waits_give_their_memory_back),
        STORY(offloaded_work_runs_elsewhere_and_comes_back),
        STORY(ten_thousand_fibers_sleep_and_go),
        STORY(closing_drops_whatever_is_pending),
        STORY(closing_closes_every_handle),
        STORY(random_numbers_are_those_of_the_generator),
        STORY(paths_too_long_are_refused),
        STORY(log_lines_go_to_standard_error),
    };
    return tell_in_both(stories, sizeof(stories) / sizeof(stories[0]));
}
