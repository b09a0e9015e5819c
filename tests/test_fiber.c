/* SPDX-License-Identifier: Apache-2.0 */
/* base/fiber: order, switches, error slots, queues, and the end of schedulers. */
#include "base/fiber.h"

#include "tests/unit.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct fixture {
    lw_memory *memory;
    lw_fibers *fibers;
    char trace[64]; /* one letter an event */
    lw_queue queue;
} fixture;

static int open_fixture(void **state) {
    fixture *opened = calloc(1, sizeof(*opened));
    opened->memory = lw_memory_open();
    opened->fibers = lw_fibers_open(opened->memory);
    *state = opened;
    return 0;
}

static int close_fixture(void **state) {
    fixture *closed = *state;
    lw_fibers_close(closed->fibers);
    int leaked = lw_memory_used(closed->memory) != 0;
    lw_memory_close(closed->memory);
    free(closed);
    return leaked;
}

typedef struct actor {
    fixture *in;
    char letter;
    lw_fiber *fiber;
} actor;

static void note(fixture *in, char letter) {
    size_t size = strlen(in->trace);
    if (size + 1 < sizeof(in->trace)) {
        in->trace[size] = letter;
    }
}

static void start(actor *started, fixture *in, char letter, void (*body)(void *argument)) {
    *started = (actor){.in = in, .letter = letter};
    char name[2] = {letter, '\0'};
    started->fiber = lw_fiber_start(in->fibers, name, body, started);
}

static void note_main(void *argument) {
    actor *self = argument;
    note(self->in, self->letter);
}

static void suspend_main(void *argument) {
    actor *self = argument;
    note(self->in, self->letter);
    lw_fiber_suspend();
    note(self->in, self->letter);
}

static void pass_main(void *argument) {
    actor *self = argument;
    note(self->in, self->letter);
    lw_fiber_pass();
    note(self->in, self->letter);
}

static void wait_main(void *argument) {
    actor *self = argument;
    lw_queue_wait(&self->in->queue);
    note(self->in, self->letter);
}

/* ---- order --------------------------------------------------------------------------------------
 */

static void fibers_run_in_the_order_they_became_ready(void **state) {
    fixture *in = *state;
    actor a, b, c;
    assert_false(lw_fibers_run(in->fibers));
    start(&a, in, 'a', suspend_main);
    start(&b, in, 'b', suspend_main);
    start(&c, in, 'c', suspend_main);
    assert_string_equal(in->trace, "");
    assert_true(lw_fibers_ready(in->fibers));
    assert_int_equal(lw_fibers_count(in->fibers), 3);
    assert_true(lw_fibers_run(in->fibers));
    assert_string_equal(in->trace, "abc");
    assert_false(lw_fibers_ready(in->fibers));
    assert_false(lw_fibers_run(in->fibers));

    lw_fiber_wake(c.fiber);
    lw_fiber_wake(a.fiber);
    assert_true(lw_fibers_run(in->fibers));
    assert_string_equal(in->trace, "abcca");
    assert_int_equal(lw_fibers_count(in->fibers), 1);
}

static void waking_a_ready_fiber_changes_nothing(void **state) {
    fixture *in = *state;
    actor a, b;
    start(&a, in, 'a', suspend_main);
    start(&b, in, 'b', suspend_main);
    lw_fiber_wake(a.fiber);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "ab");
    lw_fiber_wake(a.fiber);
    lw_fiber_wake(b.fiber);
    lw_fiber_wake(a.fiber);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "abab");
    assert_int_equal(lw_fibers_count(in->fibers), 0);
}

static void passing_lets_every_other_ready_fiber_run_first(void **state) {
    fixture *in = *state;
    actor a, b, c;
    start(&a, in, 'a', pass_main);
    start(&b, in, 'b', note_main);
    start(&c, in, 'c', pass_main);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "abc");
    assert_true(lw_fibers_ready(in->fibers));
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "abcac");
    assert_false(lw_fibers_run(in->fibers));
}

static void who_passes_lets_the_loop_look_outside(void **state) {
    fixture *in = *state;
    actor a, b;
    start(&a, in, 'a', pass_main);
    lw_fibers_run(in->fibers);
    start(&b, in, 'b', note_main); /* something that came from outside */
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "aba");
}

static void spawn_main(void *argument) {
    actor *self = argument;
    static actor child;
    start(&child, self->in, 'x', note_main);
    bool known = lw_fiber_current() == self->fiber &&
                 lw_fiber_home(self->fiber) == self->in->fibers &&
                 strcmp(lw_fiber_name(self->fiber), "a") == 0;
    note(self->in, known ? self->letter : '!');
}

static void stepping_runs_one_and_lets_the_others_wait(void **state) {
    fixture *in = *state;
    actor a, b, c;
    start(&a, in, 'a', suspend_main);
    start(&b, in, 'b', suspend_main);
    lw_fibers_run(in->fibers);
    start(&c, in, 'c', note_main);
    lw_fiber_step(b.fiber);
    assert_string_equal(in->trace, "abb");
    assert_int_equal(lw_fibers_count(in->fibers), 2);
    assert_true(lw_fibers_ready(in->fibers));
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "abbc");
}

static void a_fiber_may_start_another(void **state) {
    fixture *in = *state;
    actor a, b;
    start(&a, in, 'a', spawn_main);
    start(&b, in, 'b', note_main);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "abx");
    assert_null(lw_fiber_current());
}

/* ---- switches -----------------------------------------------------------------------------------
 */

typedef struct sum {
    uint64_t seed, result;
    double fraction;
} sum;

/* Holds values in registers and frames over many switches. */
static void sum_main(void *argument) {
    sum *self = argument;
    uint64_t numbers[32];
    double fraction = 1;
    uint64_t seed = self->seed;
    for (size_t index = 0; index < 32; index++) {
        numbers[index] = unit_random(&seed);
        fraction += (double)(numbers[index] % 7);
        lw_fiber_pass();
    }
    for (size_t index = 0; index < 32; index++) {
        self->result += numbers[index];
        lw_fiber_pass();
    }
    self->fraction = fraction;
}

static void what_a_fiber_holds_survives_switches(void **state) {
    fixture *in = *state;
    sum sums[16] = {{0}};
    for (uint64_t index = 0; index < 16; index++) {
        sums[index].seed = index;
        lw_fiber_start(in->fibers, "sum", sum_main, &sums[index]);
    }
    while (lw_fibers_run(in->fibers)) {
    }
    for (uint64_t index = 0; index < 16; index++) {
        uint64_t seed = index, expected = 0;
        double fraction = 1;
        for (size_t round = 0; round < 32; round++) {
            uint64_t number = unit_random(&seed);
            expected += number;
            fraction += (double)(number % 7);
        }
        assert_true(sums[index].result == expected);
        assert_true(sums[index].fraction == fraction);
    }
}

static void ten_thousand_fibers_come_and_go(void **state) {
    fixture *in = *state;
    enum { COUNT = 10000 };
    actor *actors = calloc(COUNT, sizeof(*actors));
    for (size_t round = 0; round < 2; round++) {
        for (size_t index = 0; index < COUNT; index++) {
            start(&actors[index], in, 'a', wait_main);
        }
        lw_fibers_run(in->fibers);
        assert_int_equal(lw_fibers_count(in->fibers), COUNT);
        lw_queue_wake_all(&in->queue);
        lw_fibers_run(in->fibers);
        assert_int_equal(lw_fibers_count(in->fibers), 0);
    }
    size_t burst_bytes = lw_memory_used(in->memory);
    assert_true(burst_bytes < (size_t)1024 * 1024); /* hundreds of them are kept for the next */
    for (size_t turn = 0; turn < 1024; turn++) {
        assert_false(lw_fibers_run(in->fibers));
    }
    size_t idle_bytes = lw_memory_used(in->memory); /* quiet turns give them back */
    assert_true(idle_bytes < (size_t)128 * 1024);
    for (size_t index = 0; index < COUNT; index++) {
        start(&actors[0], in, 'a', note_main);
        lw_fibers_run(in->fibers);
    }
    assert_int_equal(lw_memory_used(in->memory), idle_bytes);
    free(actors);
}

/* Fills frame after frame. The volatile reads keep the compiler from making a loop of it. */
static __attribute__((noinline)) uint8_t dig(volatile uint8_t *above, uint64_t depth) {
    volatile uint8_t frame[1024];
    frame[depth % 1024] = above[0];
    return depth == 0 ? frame[0] : (uint8_t)(dig(frame, depth - 1) + frame[1]);
}

static void dig_main(void *argument) {
    uint64_t *depth = argument;
    volatile uint8_t top = 0;
    dig(&top, *depth);
}

static void run_dig(void *argument) {
    lw_fibers *fibers = lw_fibers_open(lw_memory_open());
    lw_fiber_start(fibers, "neighbour", dig_main, &(uint64_t){1});
    lw_fiber_start(fibers, "dig", dig_main, argument);
    lw_fibers_run(fibers);
    lw_fibers_close(fibers);
    _exit(0);
}

static void a_stack_that_overflows_ends_the_process(void **state) {
    (void)state;
    char text[4096];
    uint64_t shallow = 32, deep = 4096;
    assert_int_equal(unit_child(run_dig, &shallow, text, sizeof(text)), 0);
    assert_int_not_equal(unit_child(run_dig, &deep, text, sizeof(text)), 0);
}

/* ---- error slots --------------------------------------------------------------------------------
 */

static void fail_main(void *argument) {
    actor *self = argument;
    bool clean = lw_error_slot()->status == LW_OK && lw_error_slot()->text[0] == '\0';
    lw_status status = lw_fail(LW_CONFLICT, "in %c", self->letter);
    lw_fiber_suspend();
    char expected[] = "in ?";
    expected[3] = self->letter;
    bool kept = lw_error_slot()->status == status && strcmp(lw_error_slot()->text, expected) == 0;
    note(self->in, clean && kept ? self->letter : '!');
}

static void each_fiber_has_an_error_slot_of_its_own(void **state) {
    fixture *in = *state;
    lw_error handle = {0};
    lw_error *before = lw_error_slot_set(&handle);
    lw_status status = lw_fail(LW_TIMEOUT, "outside");
    actor a, b, c;
    start(&a, in, 'a', fail_main);
    start(&b, in, 'b', fail_main);
    lw_fibers_run(in->fibers);
    assert_ptr_equal(lw_error_slot(), &handle);
    lw_fiber_wake(a.fiber);
    lw_fiber_wake(b.fiber);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "ab");
    /* c gets the stack of one that failed, but not its failure. */
    start(&c, in, 'c', fail_main);
    lw_fibers_run(in->fibers);
    lw_fiber_wake(c.fiber);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "abc");
    assert_int_equal(handle.status, status);
    assert_string_equal(handle.text, "outside");
    lw_error_slot_set(before);
}

/* A fiber inside a call on a handle writes the handle's errors, also after it waited. */
static void drive_handle_main(void *argument) {
    lw_error *before = lw_error_slot_set(argument);
    lw_fiber_suspend();
    lw_status status = lw_fail(LW_CONFLICT, "of the handle");
    lw_error_slot_set(before);
    (void)status;
}

static void a_fiber_that_drives_a_handle_goes_on_writing_its_errors(void **state) {
    fixture *in = *state;
    lw_error handle = {0};
    lw_error *outside = lw_error_slot();
    lw_fiber *fiber = lw_fiber_start(in->fibers, "driver", drive_handle_main, &handle);
    lw_fibers_run(in->fibers);
    assert_ptr_equal(lw_error_slot(), outside);
    lw_fiber_wake(fiber);
    lw_fibers_run(in->fibers);
    assert_string_equal(handle.text, "of the handle");
    assert_ptr_equal(lw_error_slot(), outside);
}

/* ---- schedulers ---------------------------------------------------------------------------------
 */

static void two_schedulers_take_turns_in_one_thread(void **state) {
    fixture *in = *state;
    fixture second = {.memory = in->memory, .fibers = lw_fibers_open(in->memory)};
    actor a, b;
    start(&a, in, 'a', suspend_main);
    start(&b, &second, 'b', suspend_main);
    lw_fibers_run(in->fibers);
    assert_string_equal(second.trace, "");
    lw_fibers_run(second.fibers);
    lw_fiber_wake(a.fiber);
    lw_fiber_wake(b.fiber);
    lw_fibers_run(second.fibers);
    assert_string_equal(in->trace, "a");
    assert_string_equal(second.trace, "bb");
    lw_fibers_close(second.fibers);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "aa");
}

static void who_drives_many_knows_how_many_have_something_to_run(void **state) {
    fixture *in = *state;
    fixture second = {.memory = in->memory, .fibers = lw_fibers_open(in->memory)};
    uint32_t ready = 0;
    actor a, b, c;
    start(&a, in, 'a', suspend_main);
    lw_fibers_count_ready(in->fibers, &ready);
    lw_fibers_count_ready(second.fibers, &ready);
    assert_int_equal(ready, 1);
    start(&b, in, 'b', wait_main);
    start(&c, &second, 'c', pass_main);
    assert_int_equal(ready, 2);
    lw_fibers_run(second.fibers);
    assert_int_equal(ready, 2); /* it has passed */
    lw_fibers_run(second.fibers);
    assert_int_equal(ready, 1);
    lw_fibers_run(in->fibers);
    assert_int_equal(ready, 0);
    lw_fiber_wake(a.fiber);
    lw_queue_wake_all(&in->queue);
    assert_int_equal(ready, 1);
    lw_fibers_run(in->fibers);
    assert_int_equal(ready, 0);
    start(&c, &second, 'c', note_main);
    lw_fibers_close(second.fibers);
    assert_int_equal(ready, 0);
}

static void *thread_main(void *argument) {
    sum *sums = argument;
    lw_memory *memory = lw_memory_open();
    lw_fibers *fibers = lw_fibers_open(memory);
    lw_fiber_start(fibers, "one", sum_main, &sums[0]);
    lw_fiber_start(fibers, "two", sum_main, &sums[1]);
    while (lw_fibers_run(fibers)) {
    }
    lw_fibers_close(fibers);
    lw_memory_close(memory);
    return NULL;
}

static void schedulers_in_different_threads_know_nothing_of_each_other(void **state) {
    (void)state;
    sum sums[4][2] = {{{0}}};
    pthread_t threads[4];
    for (size_t index = 0; index < 4; index++) {
        assert_int_equal(pthread_create(&threads[index], NULL, thread_main, sums[index]), 0);
    }
    for (size_t index = 0; index < 4; index++) {
        pthread_join(threads[index], NULL);
        assert_true(sums[index][0].result != 0);
        assert_true(sums[index][0].result == sums[0][0].result);
        assert_true(sums[index][1].result == sums[0][0].result);
    }
}

static void closing_drops_fibers_where_they_stand(void **state) {
    fixture *in = *state;
    fixture second = {.memory = lw_memory_open()};
    second.fibers = lw_fibers_open(second.memory);
    actor a, b, c;
    start(&a, &second, 'a', suspend_main);
    start(&b, &second, 'b', wait_main);
    lw_fibers_run(second.fibers);
    start(&c, &second, 'c', note_main);
    lw_fibers_close(second.fibers);
    assert_string_equal(second.trace, "a");
    assert_int_equal(lw_memory_used(second.memory), 0);
    lw_memory_close(second.memory);

    /* The addresses of dropped stacks are used again without complaint. */
    actor d;
    start(&d, in, 'd', suspend_main);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "d");
}

static void abort_main(void *argument) {
    (void)argument;
    LW_ASSERT(1 + 1 == 3);
}

static void run_abort(void *argument) {
    (void)argument;
    lw_fibers *fibers = lw_fibers_open(lw_memory_open());
    lw_fiber_start(fibers, "a name much longer than there is room", abort_main, NULL);
    lw_fibers_run(fibers);
}

static void run_within_main(void *argument) {
    while (lw_fibers_run(argument)) {
    }
}

static void run_within(void *argument) {
    (void)argument;
    lw_fibers *fibers = lw_fibers_open(lw_memory_open());
    lw_fiber_start(fibers, "nested", run_within_main, fibers);
    lw_fibers_run(fibers);
}

static void broken_rules_end_the_process_and_name_the_fiber(void **state) {
    (void)state;
    unit_expect_abort(run_abort, NULL, "(fiber a name much longer than)");
    unit_expect_abort(run_within, NULL, "(fiber nested)");
}

/* ---- queues -------------------------------------------------------------------------------------
 */

static void a_queue_wakes_first_come_first_served(void **state) {
    fixture *in = *state;
    actor a, b, c;
    lw_queue_wake_one(&in->queue);
    start(&a, in, 'a', wait_main);
    start(&b, in, 'b', wait_main);
    start(&c, in, 'c', wait_main);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "");
    lw_queue_wake_one(&in->queue);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "a");
    lw_queue_wake_all(&in->queue);
    assert_true(lw_queue_empty(&in->queue));
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "abc");
}

static void a_stray_wake_up_does_not_end_a_wait(void **state) {
    fixture *in = *state;
    actor a;
    start(&a, in, 'a', wait_main);
    lw_fibers_run(in->fibers);
    lw_fiber_wake(a.fiber);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "");
    assert_false(lw_queue_empty(&in->queue));
    lw_queue_wake_one(&in->queue);
    lw_fibers_run(in->fibers);
    assert_string_equal(in->trace, "a");
}

typedef struct leaver {
    fixture *in;
    lw_waiter waiter;
    lw_fiber *fiber;
} leaver;

static void leaver_main(void *argument) {
    leaver *self = argument;
    lw_queue_add(&self->in->queue, &self->waiter);
    lw_fiber_suspend();
    lw_queue_remove(&self->in->queue, &self->waiter);
    lw_queue_remove(&self->in->queue, &self->waiter);
}

static void a_waiter_may_leave_from_anywhere_in_the_queue(void **state) {
    fixture *in = *state;
    for (size_t leaving = 0; leaving < 3; leaving++) {
        memset(in->trace, 0, sizeof(in->trace));
        leaver gone = {.in = in};
        actor stay[2], late;
        for (size_t place = 0, staying = 0; place < 3; place++) {
            if (place == leaving) {
                gone.fiber = lw_fiber_start(in->fibers, "gone", leaver_main, &gone);
            } else {
                start(&stay[staying], in, (char)('a' + (int)staying), wait_main);
                staying++;
            }
        }
        lw_fibers_run(in->fibers);
        lw_fiber_wake(gone.fiber);
        lw_fibers_run(in->fibers);
        start(&late, in, 'z', wait_main);
        lw_fibers_run(in->fibers);
        lw_queue_wake_all(&in->queue);
        lw_fibers_run(in->fibers);
        assert_string_equal(in->trace, "abz");
        assert_int_equal(lw_fibers_count(in->fibers), 0);
    }
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(fibers_run_in_the_order_they_became_ready),
        STORY(waking_a_ready_fiber_changes_nothing),
        STORY(passing_lets_every_other_ready_fiber_run_first),
        STORY(who_passes_lets_the_loop_look_outside),
        STORY(stepping_runs_one_and_lets_the_others_wait),
        STORY(a_fiber_may_start_another),
        STORY(what_a_fiber_holds_survives_switches),
        STORY(ten_thousand_fibers_come_and_go),
        STORY(a_stack_that_overflows_ends_the_process),
        STORY(each_fiber_has_an_error_slot_of_its_own),
        STORY(a_fiber_that_drives_a_handle_goes_on_writing_its_errors),
        STORY(two_schedulers_take_turns_in_one_thread),
        STORY(who_drives_many_knows_how_many_have_something_to_run),
        STORY(schedulers_in_different_threads_know_nothing_of_each_other),
        STORY(closing_drops_fibers_where_they_stand),
        STORY(broken_rules_end_the_process_and_name_the_fiber),
        STORY(a_queue_wakes_first_come_first_served),
        STORY(a_stray_wake_up_does_not_end_a_wait),
        STORY(a_waiter_may_leave_from_anywhere_in_the_queue),
    };
    return cmocka_run_group_tests_name("fiber", tests, unit_arm, NULL) != 0;
}
