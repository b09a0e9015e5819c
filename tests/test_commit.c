/* SPDX-License-Identifier: Apache-2.0 */
/* The commit machine: golden traces of what it sends and concludes, and a world of two shards in
 * which every answer, loss, split and interference is tried in every order: whatever it says of the
 * outcome is true there. */
#include "txn/commit.h"
#include "tests/unit.h"

/* ---- golden traces ----------------------------------------------------------------------------
 */

static const char *const action_names[] = {
    [LW_COMMIT_SEND_NOW] = "now",
    [LW_COMMIT_SEND_PROPOSAL] = "propose",
    [LW_COMMIT_SEND_VALIDATE_APART] = "validate-apart",
    [LW_COMMIT_SEND_PREWRITE] = "prewrite",
    [LW_COMMIT_SEND_TIMESTAMP] = "ts",
    [LW_COMMIT_SEND_VALIDATE] = "validate",
    [LW_COMMIT_SEND_PRIMARY] = "primary",
    [LW_COMMIT_SEND_FINISH] = "finish",
    [LW_COMMIT_SEND_ROLLBACK] = "rollback",
    [LW_COMMIT_RESOLVE] = "resolve",
    [LW_COMMIT_ASK] = "ask",
    [LW_COMMIT_DONE] = "done",
};

/* Answers: + all done; m done, with more to do; L lock in the way; N newer version; R rolled back;
 * T timeout, nothing happened; X lost; B backpressure; M moved; Y moved, and lost before; C done
 * with a classic lock; D committed already; A aborted; K a deadlock, found before anything was
 * done; Z the same, when an earlier copy was lost. */
static lw_commit_event answer_of(char letter) {
    lw_commit_event event = {0};
    switch (letter) {
    case 'L':
        return lw_commit_event_of(LW_CONFLICT, LW_OBSTACLE_LOCK, false, false);
    case 'N':
        return lw_commit_event_of(LW_CONFLICT, LW_OBSTACLE_NEWER, false, false);
    case 'R':
        return lw_commit_event_of(LW_CONFLICT, LW_OBSTACLE_ROLLED_BACK, false, false);
    case 'K':
        return lw_commit_event_of(LW_CONFLICT, LW_OBSTACLE_DEADLOCK, false, false);
    case 'Z':
        return lw_commit_event_of(LW_CONFLICT, LW_OBSTACLE_DEADLOCK, true, false);
    case 'T':
        return lw_commit_event_of(LW_TIMEOUT, 0, false, false);
    case 'X':
        return lw_commit_event_of(LW_TIMEOUT, 0, true, false);
    case 'B':
        return lw_commit_event_of(LW_BACKPRESSURE, 0, false, false);
    case 'M':
        return lw_commit_event_of(LW_UNAVAILABLE, 0, false, true);
    case 'Y':
        return lw_commit_event_of(LW_UNAVAILABLE, 0, true, true);
    case 'A':
        return lw_commit_event_of(LW_NOT_FOUND, 0, false, false);
    default:
        event = lw_commit_event_of(LW_OK, 0, false, false);
        event.more = letter == 'm';
        event.classic = letter == 'C';
        event.timestamp = letter == 'D' ? 70 : 0;
        return event;
    }
}

static bool gives_timestamp(lw_commit_action_kind kind) {
    return kind == LW_COMMIT_SEND_NOW || kind == LW_COMMIT_SEND_PROPOSAL ||
           kind == LW_COMMIT_SEND_TIMESTAMP || kind == LW_COMMIT_ASK;
}

static void run(lw_commit_machine *machine, const char *answers, char *trace, size_t size) {
    size_t used = 0;
    for (;;) {
        lw_commit_action action = lw_commit_machine_next(machine);
        used += (size_t)snprintf(trace + used, size - used, "%s%s", used > 0 ? ", " : "",
                                 action_names[action.kind]);
        if (action.kind == LW_COMMIT_DONE) {
            (void)snprintf(trace + used, size - used, " %s", lw_status_name(machine->outcome));
            return;
        }
        char letter = *answers != 0 ? *answers++ : '+';
        lw_commit_event event = answer_of(letter);
        if (event.status == LW_OK && gives_timestamp(action.kind)) {
            event.timestamp = action.kind == LW_COMMIT_SEND_PROPOSAL ? 40 : 50;
        }
        lw_commit_machine_step(machine, &event);
    }
}

typedef enum way { ONE_ROUND, ASYNC, EXACT, TWO_PHASES } way;

static lw_commit_machine machine_of(way begins) {
    lw_commit_machine machine;
    lw_commit_machine_init(&machine, begins == ONE_ROUND, begins != TWO_PHASES, false);
    machine.exact = begins == EXACT;
    return machine;
}

static void expect(way begins, const char *answers, const char *expected) {
    lw_commit_machine machine = machine_of(begins);
    char trace[512] = {0};
    run(&machine, answers, trace, sizeof(trace));
    assert_string_equal(trace, expected);
}

static void one_round_commits_at_once(void **state) {
    (void)state;
    expect(ONE_ROUND, "+", "now, done LW_OK");
    expect(ONE_ROUND, "N", "now, done LW_CONFLICT");
    expect(ONE_ROUND, "B", "now, done LW_BACKPRESSURE");
    expect(ONE_ROUND, "T", "now, done LW_TIMEOUT");
    expect(ONE_ROUND, "L+L++", "now, resolve, now, resolve, now, done LW_OK");
    expect(ONE_ROUND, "LT", "now, resolve, done LW_TIMEOUT");
}

static void async_is_committed_when_all_is_locked(void **state) {
    (void)state;
    expect(ASYNC, "", "propose, validate-apart, prewrite, finish, done LW_OK");
    expect(ASYNC, "+m+m++",
           "propose, validate-apart, validate-apart, prewrite, prewrite, finish, done LW_OK");
    expect(ASYNC, "++L++",
           "propose, validate-apart, prewrite, resolve, prewrite, finish, done LW_OK");
}

static void a_lock_not_granted_with_the_proposal_leads_to_two_phases(void **state) {
    (void)state;
    expect(ASYNC, "++C",
           "propose, validate-apart, prewrite, ts, validate, primary, finish, done LW_OK");
}

static void an_exact_commit_is_rolled_back_when_it_is_not_granted(void **state) {
    (void)state;
    expect(EXACT, "", "propose, validate-apart, prewrite, finish, done LW_OK");
    expect(EXACT, "++C", "propose, validate-apart, prewrite, rollback, done LW_CONFLICT");
    expect(EXACT, "++mC",
           "propose, validate-apart, prewrite, prewrite, rollback, done LW_CONFLICT");
    expect(EXACT, "++XA", "propose, validate-apart, prewrite, ask, rollback, done LW_TIMEOUT");
    expect(
        EXACT, "++M+C",
        "propose, validate-apart, prewrite, validate-apart, prewrite, rollback, done LW_CONFLICT");
}

static void two_phases_lock_all_draw_validate_decide_and_finish(void **state) {
    (void)state;
    expect(TWO_PHASES, "", "prewrite, ts, validate, primary, finish, done LW_OK");
    expect(TWO_PHASES, "m++m++m",
           "prewrite, prewrite, ts, validate, validate, primary, finish, finish, done LW_OK");
}

static void what_was_prewritten_is_rolled_back(void **state) {
    (void)state;
    expect(TWO_PHASES, "mN", "prewrite, prewrite, rollback, done LW_CONFLICT");
    expect(TWO_PHASES, "++N", "prewrite, ts, validate, rollback, done LW_CONFLICT");
    expect(TWO_PHASES, "X", "prewrite, rollback, done LW_TIMEOUT");
    expect(ASYNC, "++N", "propose, validate-apart, prewrite, rollback, done LW_CONFLICT");
    expect(ASYNC, "+N", "propose, validate-apart, done LW_CONFLICT");
}

static void a_lost_answer_that_may_have_decided_is_asked_for(void **state) {
    (void)state;
    expect(ONE_ROUND, "X+", "now, ask, done LW_OK");
    expect(ONE_ROUND, "XA", "now, ask, done LW_TIMEOUT");
    expect(ONE_ROUND, "XT", "now, ask, done LW_UNDETERMINED");
    expect(ASYNC, "++X+", "propose, validate-apart, prewrite, ask, finish, done LW_OK");
    expect(ASYNC, "++XA", "propose, validate-apart, prewrite, ask, rollback, done LW_TIMEOUT");
    expect(ASYNC, "++XT", "propose, validate-apart, prewrite, ask, done LW_UNDETERMINED");
    expect(TWO_PHASES, "+++XT", "prewrite, ts, validate, primary, ask, done LW_UNDETERMINED");
    expect(TWO_PHASES, "+++R", "prewrite, ts, validate, primary, rollback, done LW_CONFLICT");
}

static void a_deadlock_says_nothing_of_earlier_copies(void **state) {
    (void)state;
    expect(ONE_ROUND, "K", "now, done LW_CONFLICT");
    expect(ONE_ROUND, "Z+", "now, ask, done LW_OK");
    expect(ONE_ROUND, "ZA", "now, ask, done LW_CONFLICT");
    expect(ASYNC, "++K", "propose, validate-apart, prewrite, rollback, done LW_CONFLICT");
    expect(ASYNC, "++Z+", "propose, validate-apart, prewrite, ask, finish, done LW_OK");
    expect(ASYNC, "++L+KA",
           "propose, validate-apart, prewrite, resolve, prewrite, ask, rollback, done LW_CONFLICT");
    expect(TWO_PHASES, "Z", "prewrite, rollback, done LW_CONFLICT");
}

static void after_the_decision_nothing_unmakes_the_commit(void **state) {
    (void)state;
    expect(TWO_PHASES, "++++X", "prewrite, ts, validate, primary, finish, done LW_OK");
    expect(TWO_PHASES, "++++N", "prewrite, ts, validate, primary, finish, done LW_OK");
    expect(ASYNC, "+++T", "propose, validate-apart, prewrite, finish, done LW_OK");
}

static void keys_that_moved_apart_are_committed_otherwise(void **state) {
    (void)state;
    expect(ONE_ROUND, "M", "now, propose, validate-apart, prewrite, finish, done LW_OK");
    expect(ASYNC, "++M",
           "propose, validate-apart, prewrite, validate-apart, prewrite, finish, done LW_OK");
    expect(TWO_PHASES, "M", "prewrite, prewrite, ts, validate, primary, finish, done LW_OK");
}

static void a_lost_round_is_found_by_the_prewrite_of_what_moved(void **state) {
    (void)state;
    expect(ONE_ROUND, "Y++D", "now, propose, validate-apart, prewrite, finish, done LW_OK");
    expect(ONE_ROUND, "Y++N", "now, propose, validate-apart, prewrite, rollback, done LW_CONFLICT");
    /* A validation has not looked for the record of the lost round. */
    expect(ONE_ROUND, "Y+NT", "now, propose, validate-apart, ask, done LW_UNDETERMINED");
    expect(ONE_ROUND, "YTA", "now, propose, ask, done LW_TIMEOUT");
}

/* ---- merging ----------------------------------------------------------------------------------
 */

static bool same(const lw_commit_event *a, const lw_commit_event *b) {
    return a->status == b->status && a->obstacle == b->obstacle && a->moved == b->moved &&
           a->looked == b->looked && a->denied == b->denied && a->refused == b->refused &&
           a->lost == b->lost && a->classic == b->classic && a->timestamp == b->timestamp;
}

static void answers_merge_in_any_order(void **state) {
    (void)state;
    static const char alphabet[] = "+LNRTXBMYCDKZ";
    enum { LETTERS = sizeof(alphabet) - 1 };
    for (int number = 0; number < LETTERS * LETTERS * LETTERS; number++) {
        lw_commit_event one = answer_of(alphabet[number % LETTERS]);
        lw_commit_event two = answer_of(alphabet[number / LETTERS % LETTERS]);
        lw_commit_event three = answer_of(alphabet[number / LETTERS / LETTERS]);
        lw_commit_event forth = {0}, back = {0};
        lw_commit_event_merge(&forth, &one);
        lw_commit_event_merge(&forth, &two);
        lw_commit_event_merge(&forth, &three);
        lw_commit_event_merge(&back, &three);
        lw_commit_event_merge(&back, &two);
        lw_commit_event_merge(&back, &one);
        assert_true(same(&forth, &back));
        lw_commit_event_merge(&forth, &two);
        assert_true(same(&forth, &back));
    }
}

/* ---- a world of two shards --------------------------------------------------------------------
 */

enum { DEPTH = 16 };

/* Every choice there is, taken one after the other in all combinations; behind DEPTH choices the
 * first is taken always. */
typedef struct chooser {
    int taken[DEPTH], limits[DEPTH];
    int depth;
} chooser;

static int choose(chooser *in, int limit) {
    if (in->depth >= DEPTH) {
        return 0;
    }
    in->limits[in->depth] = limit;
    return in->taken[in->depth++];
}

/* To the next combination; false behind the last. */
static bool choose_next(chooser *in) {
    int depth = in->depth;
    while (depth > 0 && in->taken[depth - 1] + 1 >= in->limits[depth - 1]) {
        depth--;
    }
    if (depth == 0) {
        return false;
    }
    in->taken[depth - 1]++;
    memset(in->taken + depth, 0, (size_t)(DEPTH - depth) * sizeof(int));
    in->depth = 0;
    return true;
}

typedef enum lock_kind { NO_LOCK, ASYNC_LOCK, CLASSIC_LOCK } lock_kind;

typedef struct truth {
    lock_kind locks[2]; /* shard 0 has the primary */
    bool committed, aborted;
    bool by_record; /* a commit record is there, not locks alone */
} truth;

static void look_for_commit(truth *world) {
    bool all = world->locks[0] == ASYNC_LOCK && world->locks[1] == ASYNC_LOCK;
    world->committed = world->committed || (all && !world->aborted);
    assert_false(world->committed && world->aborted);
}

static lw_commit_event lost(bool moved) {
    return lw_commit_event_of(moved ? LW_UNAVAILABLE : LW_TIMEOUT, 0, true, moved);
}

static lw_commit_event answer_now(chooser *chance, truth *world) {
    int choice = choose(chance, 10);
    bool executes = choice == 0 || choice == 1 || choice == 2 || choice == 8;
    if (executes && !world->aborted) {
        world->committed = world->by_record = true;
    }
    switch (choice) {
    case 1:
        return lost(false);
    case 2:
        return lost(true);
    case 3:
        return lost(false);
    case 4:
        return lost(true);
    case 5:
        return answer_of('M');
    case 6:
        return answer_of('B');
    case 8:
        return answer_of('Z');
    case 9:
        return answer_of('K');
    default:
        break;
    }
    if (choice == 7 && !world->committed) {
        return answer_of('L');
    }
    lw_commit_event event = answer_of(world->committed ? '+' : 'R');
    event.timestamp = world->committed ? 50 : 0;
    return event;
}

/* One request of a prewrite. */
static lw_commit_event answer_part(chooser *chance, truth *world, int shard, uint64_t proposed) {
    lock_kind *lock = &world->locks[shard];
    int choice = choose(chance, 10);
    bool executes = choice <= 3 || choice == 8;
    if (choice == 4 || choice == 5) {
        return choice == 4 ? lost(false) : answer_of('T');
    }
    if (choice == 6) {
        return answer_of('M');
    }
    if (choice == 7 && *lock == NO_LOCK && !world->committed && !world->aborted) {
        return answer_of('L');
    }
    if (executes && *lock == NO_LOCK && !world->by_record && !world->aborted) {
        *lock = proposed != 0 && choice % 2 == 0 ? ASYNC_LOCK : CLASSIC_LOCK;
        look_for_commit(world);
    }
    if (choice == 2 || choice == 3) {
        return lost(false);
    }
    if (choice >= 8) {
        return answer_of("ZK"[choice - 8]);
    }
    if (world->aborted) {
        return answer_of('R');
    }
    lw_commit_event event = answer_of(world->by_record ? 'D' : '+');
    event.classic = proposed != 0 && *lock == CLASSIC_LOCK && !world->by_record;
    return event;
}

/* Somebody else may resolve the transaction at any moment: he decides by what is there. */
static void interfere(chooser *chance, truth *world) {
    if (choose(chance, 2) == 1) {
        if (world->committed) {
            world->by_record = true;
        } else {
            world->aborted = true;
        }
    }
}

static lw_commit_event answer_primary(chooser *chance, truth *world) {
    int choice = choose(chance, 3);
    if (choice < 2 && !world->aborted) {
        assert_int_not_equal(world->locks[0], NO_LOCK);
        world->committed = world->by_record = true;
    }
    return choice > 0 ? lost(false) : answer_of(world->committed ? '+' : 'R');
}

static lw_commit_event answer_ask(chooser *chance, truth *world) {
    if (choose(chance, 2) == 1) {
        return answer_of('T');
    }
    world->aborted = !world->committed;
    world->by_record = world->committed;
    lw_commit_event event = answer_of(world->committed ? '+' : 'A');
    event.timestamp = world->committed ? 50 : 0;
    return event;
}

static lw_commit_event answer(chooser *chance, truth *world, const lw_commit_action *action,
                              int *part) {
    lw_commit_event event = {0};
    *part = action->begins ? 0 : *part;
    switch (action->kind) {
    case LW_COMMIT_SEND_NOW:
        return answer_now(chance, world);
    case LW_COMMIT_SEND_PREWRITE:
        interfere(chance, world);
        if (*part == 0 && choose(chance, 2) == 0) { /* both in one window */
            lw_commit_event one = answer_part(chance, world, 0, action->timestamp);
            lw_commit_event two = answer_part(chance, world, 1, action->timestamp);
            lw_commit_event_merge(&event, &one);
            lw_commit_event_merge(&event, &two);
            return event;
        }
        event = answer_part(chance, world, *part, action->timestamp);
        event.more = *part == 0;
        *part += event.status == LW_OK && event.more;
        return event;
    case LW_COMMIT_SEND_PRIMARY:
        interfere(chance, world);
        return answer_primary(chance, world);
    case LW_COMMIT_ASK:
        return answer_ask(chance, world);
    case LW_COMMIT_SEND_FINISH:
        assert_true(world->committed); /* C3 */
        return answer_of('+');
    case LW_COMMIT_SEND_ROLLBACK:
        assert_false(world->committed);
        world->aborted = true;
        return answer_of('+');
    case LW_COMMIT_SEND_VALIDATE:
    case LW_COMMIT_SEND_VALIDATE_APART:
        return answer_of("+N"[choose(chance, 2)]);
    case LW_COMMIT_SEND_PROPOSAL:
    case LW_COMMIT_SEND_TIMESTAMP:
        event = answer_of("+T"[choose(chance, 2)]);
        event.timestamp = event.status == LW_OK ? 40 : 0;
        return event;
    case LW_COMMIT_RESOLVE:
        return answer_of('+');
    case LW_COMMIT_DONE:
        break;
    }
    fail();
    return event;
}

/* Returns what it came to. */
static lw_status live(chooser *chance, way begins) {
    truth world = {0};
    lw_commit_machine machine = machine_of(begins);
    int part = 0;
    bool rolled_back = false;
    for (int steps = 0;; steps++) {
        assert_true(steps < 100);
        lw_commit_action action = lw_commit_machine_next(&machine);
        if (action.kind == LW_COMMIT_DONE) {
            break;
        }
        rolled_back = rolled_back || action.kind == LW_COMMIT_SEND_ROLLBACK;
        bool classic =
            action.kind == LW_COMMIT_SEND_TIMESTAMP || action.kind == LW_COMMIT_SEND_PRIMARY;
        assert_false(begins == EXACT && classic); /* C6 */
        lw_commit_event event = answer(chance, &world, &action, &part);
        lw_commit_machine_step(&machine, &event);
    }
    assert_false(machine.ungranted && machine.outcome != LW_CONFLICT);
    if (machine.outcome == LW_OK) {
        assert_true(world.committed); /* C1 */
    } else if (machine.outcome != LW_UNDETERMINED) {
        assert_false(world.committed); /* C2 */
        bool locked = world.locks[0] != NO_LOCK || world.locks[1] != NO_LOCK;
        assert_true(rolled_back || !locked); /* C4 */
    }
    return machine.outcome;
}

static void whatever_it_says_is_true(void **state) {
    (void)state;
    for (int begins = ONE_ROUND; begins <= TWO_PHASES; begins++) {
        chooser chance = {0};
        uint64_t lives = 0, committed = 0, undetermined = 0;
        do {
            lw_status outcome = live(&chance, (way)begins);
            committed += outcome == LW_OK;
            undetermined += outcome == LW_UNDETERMINED;
            lives++;
        } while (choose_next(&chance));
        assert_true(lives > 10000 && committed > 100 && undetermined > 100);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_round_commits_at_once),
        cmocka_unit_test(async_is_committed_when_all_is_locked),
        cmocka_unit_test(a_lock_not_granted_with_the_proposal_leads_to_two_phases),
        cmocka_unit_test(an_exact_commit_is_rolled_back_when_it_is_not_granted),
        cmocka_unit_test(two_phases_lock_all_draw_validate_decide_and_finish),
        cmocka_unit_test(what_was_prewritten_is_rolled_back),
        cmocka_unit_test(a_lost_answer_that_may_have_decided_is_asked_for),
        cmocka_unit_test(a_deadlock_says_nothing_of_earlier_copies),
        cmocka_unit_test(after_the_decision_nothing_unmakes_the_commit),
        cmocka_unit_test(keys_that_moved_apart_are_committed_otherwise),
        cmocka_unit_test(a_lost_round_is_found_by_the_prewrite_of_what_moved),
        cmocka_unit_test(answers_merge_in_any_order),
        cmocka_unit_test(whatever_it_says_is_true),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
