/* SPDX-License-Identifier: Apache-2.0 */
/* The commit machine, as golden traces: what it sends and what it concludes, for every answer that
 * can come to every request. */
#include "txn/commit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const action_names[] = {
    [LW_COMMIT_SEND_NOW] = "now",       [LW_COMMIT_SEND_PREWRITE] = "prewrite",
    [LW_COMMIT_SEND_TIMESTAMP] = "ts",  [LW_COMMIT_SEND_VALIDATE] = "validate",
    [LW_COMMIT_SEND_COMMIT] = "commit", [LW_COMMIT_SEND_ROLLBACK] = "rollback",
    [LW_COMMIT_RESOLVE] = "resolve",    [LW_COMMIT_DONE] = "done",
};

/* Answers: + done, each two mutations or reads at a time; L lock in the way; N newer version; R
 * rolled back; T timeout, nothing happened; X lost; B backpressure. The trace is "action first
 * answer …". */
static void run(lw_commit_machine *machine, const char *answers, char *trace, size_t size) {
    size_t used = 0;
    trace[0] = 0;
    for (;;) {
        lw_commit_action action = lw_commit_machine_next(machine);
        used += (size_t)snprintf(trace + used, size - used, "%s%s %llu", used > 0 ? ", " : "",
                                 action_names[action.kind], (unsigned long long)action.first);
        if (action.kind == LW_COMMIT_DONE) {
            (void)snprintf(trace + used, size - used, " %s", lw_status_name(machine->outcome));
            return;
        }
        char answer = *answers != 0 ? *answers++ : '+';
        lw_commit_event event = {.status = LW_OK, .count = 2, .timestamp = 50};
        if (action.kind == LW_COMMIT_SEND_COMMIT && action.first == 0) {
            event.count = 1;
        }
        if (answer == 'L' || answer == 'N' || answer == 'R') {
            event.status = LW_CONFLICT;
            event.obstacle = answer == 'L'   ? LW_OBSTACLE_LOCK
                             : answer == 'N' ? LW_OBSTACLE_NEWER
                                             : LW_OBSTACLE_ROLLED_BACK;
        } else if (answer == 'T' || answer == 'X') {
            event.status = LW_TIMEOUT;
            event.lost = answer == 'X';
        } else if (answer == 'B') {
            event.status = LW_BACKPRESSURE;
        }
        lw_commit_machine_step(machine, &event);
    }
}

static void expect(uint64_t mutations, uint64_t reads, bool one_round, const char *answers,
                   const char *expected) {
    lw_commit_machine machine;
    char trace[512];
    lw_commit_machine_init(&machine, mutations, reads, one_round);
    run(&machine, answers, trace, sizeof(trace));
    assert_string_equal(trace, expected);
}

static int setup(void **state) {
    (void)state;
    alarm(60);
    return 0;
}

static void one_round_commits_at_once(void **state) {
    (void)state;
    expect(3, 4, true, "+", "now 0, done 0 LW_OK");
    expect(3, 0, true, "N", "now 0, done 0 LW_CONFLICT");
    expect(3, 0, true, "B", "now 0, done 0 LW_BACKPRESSURE");
    expect(3, 0, true, "T", "now 0, done 0 LW_TIMEOUT");
}

static void a_lock_in_the_way_is_resolved_and_the_step_repeated(void **state) {
    (void)state;
    expect(3, 0, true, "L+L++", "now 0, resolve 0, now 0, resolve 0, now 0, done 0 LW_OK");
    expect(3, 0, true, "LT", "now 0, resolve 0, done 0 LW_TIMEOUT");
    expect(2, 2, false, "++L+",
           "prewrite 0, ts 0, validate 0, resolve 0, validate 0, commit 0, commit 1, done 0 LW_OK");
}

static void a_lost_answer_of_the_deciding_round_is_undetermined(void **state) {
    (void)state;
    expect(3, 0, true, "X", "now 0, done 0 LW_UNDETERMINED");
    expect(1, 0, false, "++X", "prewrite 0, ts 0, commit 0, done 0 LW_UNDETERMINED");
}

static void two_phases_lock_all_draw_validate_decide_and_finish(void **state) {
    (void)state;
    expect(5, 3, false, "",
           "prewrite 0, prewrite 2, prewrite 4, ts 0, validate 0, validate 2, commit 0, commit 1, "
           "commit 3, done 0 LW_OK");
    expect(1, 0, false, "", "prewrite 0, ts 0, commit 0, done 0 LW_OK");
}

static void what_was_prewritten_is_rolled_back(void **state) {
    (void)state;
    expect(5, 0, false, "+N", "prewrite 0, prewrite 2, rollback 0, rollback 2, done 0 LW_CONFLICT");
    expect(2, 2, false, "++N", "prewrite 0, ts 0, validate 0, rollback 0, done 0 LW_CONFLICT");
    expect(2, 0, false, "+T", "prewrite 0, ts 0, rollback 0, done 0 LW_TIMEOUT");
}

static void a_lost_prewrite_is_rolled_back_and_decides_nothing(void **state) {
    (void)state;
    expect(2, 0, false, "X", "prewrite 0, rollback 0, done 0 LW_TIMEOUT");
}

static void a_primary_that_was_rolled_back_is_a_conflict(void **state) {
    (void)state;
    expect(2, 0, false, "++R", "prewrite 0, ts 0, commit 0, rollback 0, done 0 LW_CONFLICT");
}

static void after_the_primary_nothing_unmakes_the_commit(void **state) {
    (void)state;
    expect(4, 0, false, "++++X", "prewrite 0, prewrite 2, ts 0, commit 0, commit 1, done 0 LW_OK");
    expect(4, 0, false, "++++N", "prewrite 0, prewrite 2, ts 0, commit 0, commit 1, done 0 LW_OK");
}

/* Every sequence of six answers: C1 to C4 hold in all of them. */
static void the_invariants_hold_for_every_sequence_of_answers(void **state) {
    (void)state;
    static const char alphabet[] = "+LNRTXB";
    enum { ANSWERS = 6, LETTERS = 7 };
    uint64_t sequences = 1;
    for (int index = 0; index < ANSWERS; index++) {
        sequences *= LETTERS;
    }
    for (uint64_t number = 0; number < sequences * 2; number++) {
        char answers[ANSWERS + 1] = {0}, trace[1024];
        uint64_t rest = number / 2;
        for (int index = 0; index < ANSWERS; index++, rest /= LETTERS) {
            answers[index] = alphabet[rest % LETTERS];
        }
        lw_commit_machine machine;
        lw_commit_machine_init(&machine, 3, 1, number % 2 == 0);
        run(&machine, answers, trace, sizeof(trace));
        bool decided = strstr(trace, "commit 1") != NULL || number % 2 == 0;
        if (machine.outcome == LW_OK) {
            assert_true(decided); /* C1, C3 */
            assert_true(machine.commit_timestamp == 50);
            assert_null(strstr(trace, "rollback"));
        } else {
            assert_null(strstr(trace, "commit 1")); /* C3 */
            bool clean = machine.prewritten == 0 || strstr(trace, "rollback") != NULL;
            assert_true(clean || machine.outcome == LW_UNDETERMINED); /* C4 */
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_round_commits_at_once),
        cmocka_unit_test(a_lock_in_the_way_is_resolved_and_the_step_repeated),
        cmocka_unit_test(a_lost_answer_of_the_deciding_round_is_undetermined),
        cmocka_unit_test(two_phases_lock_all_draw_validate_decide_and_finish),
        cmocka_unit_test(what_was_prewritten_is_rolled_back),
        cmocka_unit_test(a_lost_prewrite_is_rolled_back_and_decides_nothing),
        cmocka_unit_test(a_primary_that_was_rolled_back_is_a_conflict),
        cmocka_unit_test(after_the_primary_nothing_unmakes_the_commit),
        cmocka_unit_test(the_invariants_hold_for_every_sequence_of_answers),
    };
    return cmocka_run_group_tests(tests, setup, NULL) != 0 ? 1 : 0;
}
