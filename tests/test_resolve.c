/* SPDX-License-Identifier: Apache-2.0 */
/* The resolve machine: as golden traces, and against a small world in which everything that can
 * happen to a transaction does, in every order: prewrites that arrive late or twice, an owner who
 * commits, gives up or is gone, two resolvers, and every message delivered again at any time. */
#include "tests/unit.h"
#include "txn/resolve.h"

#include <stdlib.h>

/* ---- traces --------------------------------------------------------------------------------- */

/* Answers. To a check: u unknown, a aborted, c committed at 70, v alive, A alive and asynchronous
 * at 60 with two secondaries, E the same, expired, N asynchronous without any. To a look at one
 * secondary: l locked, c committed at 70, a aborted, m missing, k classic. To a commit or rollback:
 * + done, x somebody else decided, T no answer. */
static lw_resolve_event answer_of(const lw_resolve_action *action, char answer) {
    lw_resolve_event event = {.status = answer == 'T' ? LW_TIMEOUT : LW_OK, .count = 1};
    if (answer == 'x') {
        event.status = action->kind == LW_RESOLVE_SEND_COMMIT ? LW_CONFLICT : LW_REFUSED;
    } else if (action->kind == LW_RESOLVE_SEND_CHECK) {
        event.fate = answer == 'u'   ? LW_FATE_UNKNOWN
                     : answer == 'a' ? LW_FATE_ABORTED
                     : answer == 'c' ? LW_FATE_COMMITTED
                                     : LW_FATE_ALIVE;
        event.asynchronous = answer == 'A' || answer == 'E' || answer == 'N';
        event.expired = answer == 'E';
        event.secondary_count = answer == 'A' || answer == 'E' ? 2 : 0;
        event.commit_timestamp = answer == 'c' ? 70 : event.asynchronous ? 60 : 0;
    } else if (action->kind == LW_RESOLVE_SEND_SECONDARIES) {
        event.state = answer == 'l'   ? LW_SECONDARIES_LOCKED
                      : answer == 'c' ? LW_SECONDARIES_COMMITTED
                      : answer == 'a' ? LW_SECONDARIES_ABORTED
                      : answer == 'm' ? LW_SECONDARIES_MISSING
                                      : LW_SECONDARIES_CLASSIC;
        event.commit_timestamp = answer == 'c' ? 70 : 0;
    }
    return event;
}

static void run(uint64_t remaining_ms, bool decide, const char *answers, const char *expected) {
    static const char *const names[] = {"check", "look", "commit", "rollback"};
    static const char *const fates[] = {"", "alive", "committed", "aborted"};
    char trace[256];
    size_t used = 0;
    lw_resolve_machine machine;
    lw_resolve_machine_init(&machine, remaining_ms, decide);
    for (;;) {
        lw_resolve_action action = lw_resolve_machine_next(&machine);
        if (action.kind == LW_RESOLVE_DONE) {
            break;
        }
        used += (size_t)snprintf(trace + used, sizeof(trace) - used, "%s", names[action.kind]);
        if (action.kind == LW_RESOLVE_SEND_SECONDARIES) {
            used += (size_t)snprintf(trace + used, sizeof(trace) - used, "%u", action.first);
        }
        if (action.commit_timestamp != 0) {
            used += (size_t)snprintf(trace + used, sizeof(trace) - used, "@%u",
                                     (unsigned)action.commit_timestamp);
        }
        used += (size_t)snprintf(trace + used, sizeof(trace) - used, "%s%s ",
                                 action.decide ? "!" : "", action.patient ? "~" : "");
        assert_true(*answers != 0);
        lw_resolve_event event = answer_of(&action, *answers++);
        lw_resolve_machine_step(&machine, &event);
    }
    (void)snprintf(trace + used, sizeof(trace) - used, "%s",
                   machine.status == LW_OK ? fates[machine.fate] : lw_status_name(machine.status));
    assert_string_equal(trace, expected);
}

static void a_classic_transaction_is_what_its_primary_says(void **state) {
    (void)state;
    run(0, false, "v", "check alive");
    run(0, false, "c", "check committed");
    run(0, false, "a", "check aborted");
    run(0, true, "a", "check! aborted");
    run(0, false, "T", "check LW_TIMEOUT");
}

static void who_met_a_live_lock_is_patient_with_its_primary(void **state) {
    (void)state;
    run(5, false, "u", "check~ alive");
    run(5, true, "a", "check! aborted");
}

static void an_async_transaction_is_committed_once_all_is_locked(void **state) {
    (void)state;
    run(5, false, "All+", "check~ look0@60 look1@60 commit@60 committed");
    run(5, false, "N+", "check~ commit@60 committed");
    run(5, false, "Ac+", "check~ look0@60 commit@70 committed");
    run(5, false, "Alc+", "check~ look0@60 look1@60 commit@70 committed");
    run(5, false, "AlT", "check~ look0@60 look1@60 LW_TIMEOUT");
    run(5, false, "AllT", "check~ look0@60 look1@60 commit@60 LW_TIMEOUT");
}

static void a_secondary_that_is_missing_is_waited_for_while_the_primary_lives(void **state) {
    (void)state;
    run(5, false, "Alm", "check~ look0@60 look1@60 alive");
    run(0, false, "Ela+", "check look0@60! look1@60! rollback aborted");
    run(0, true, "Aa+", "check! look0@60! rollback aborted");
}

static void a_classic_secondary_leaves_it_to_the_primary(void **state) {
    (void)state;
    run(5, false, "Ak", "check~ look0@60 alive");
    run(0, false, "Ek+", "check look0@60! rollback aborted");
    run(0, true, "Ak+", "check! look0@60! rollback aborted");
}

static void who_is_overtaken_asks_again(void **state) {
    (void)state;
    run(0, true, "Akxc", "check! look0@60! rollback check! committed");
    run(5, false, "Allxa", "check~ look0@60 look1@60 commit@60 check~ aborted");
    run(5, false, "NxNxNxNx",
        "check~ commit@60 check~ commit@60 check~ commit@60 check~ commit@60 LW_INTERNAL");
    run(0, true, "v", "check! LW_INTERNAL");
}

/* ---- the small world ------------------------------------------------------------------------ */

enum { KEYS = 3, COMMIT_AT = 60, COMMIT_LATER_AT = 80 };

typedef enum key_state {
    NOTHING,
    ASYNC,
    CLASSIC,
    COMMITTED,
    COMMITTED_LATER,
    ROLLED_BACK
} key_state;
typedef enum told { NO_REPLY, TOLD_ASYNC, TOLD_CLASSIC, TOLD_REFUSED, TOLD_OVER } told;
typedef enum owner_phase {
    PREWRITES,
    ACKNOWLEDGED,  /* the user knows that it is committed at COMMIT_AT */
    COMMITS_LATER, /* in two phases, at COMMIT_LATER_AT */
    DONE_LATER,    /* the user knows that it is committed then */
    DOUBTS,        /* gave up without knowing: rolls back the primary before anything else */
    ROLLS_BACK,
} owner_phase;

/* Messages that were sent, and may be delivered at any time, any number of times: one for each key,
 * from these bits on. */
enum {
    SENT_COMMIT = 0,
    SENT_COMMIT_LATER = SENT_COMMIT + KEYS,
    SENT_ROLLBACK = SENT_COMMIT_LATER + KEYS,
    SENT_LOOK_DECIDES = SENT_ROLLBACK + KEYS,
    SENT_CHECK_DECIDES = SENT_LOOK_DECIDES + KEYS,
    SENT_CHECK_IMPATIENT,
};

typedef struct small_world {
    key_state keys[KEYS]; /* the first is the primary */
    told replies[KEYS];
    owner_phase owner;
    bool expired;
    uint32_t sent;
    lw_resolve_machine resolvers[2];
} small_world;

typedef struct exploration {
    uint32_t key_count;
    bool two_resolvers;
    bool *decides; /* of the resolvers */
    uint64_t *visited;
    size_t visited_count, visited_capacity;
    small_world *waiting;
    size_t waiting_count, waiting_capacity;
} exploration;

static bool is_committed(key_state state) {
    return state == COMMITTED || state == COMMITTED_LATER;
}
static bool is_locked(key_state state) {
    return state == ASYNC || state == CLASSIC;
}

/* What shards do. */
static lw_status deliver_commit(small_world *world, uint32_t key, uint64_t timestamp) {
    key_state wanted = timestamp == COMMIT_AT ? COMMITTED : COMMITTED_LATER;
    key_state *state = &world->keys[key];
    if (is_committed(*state)) {
        return *state == wanted ? LW_OK : LW_INVALID_ARGUMENT;
    }
    if (!is_locked(*state)) {
        return LW_CONFLICT;
    }
    if (*state == CLASSIC && wanted == COMMITTED) {
        return LW_INVALID_ARGUMENT; /* below its floor */
    }
    *state = wanted;
    return LW_OK;
}

static lw_status deliver_rollback(small_world *world, uint32_t key) {
    if (is_committed(world->keys[key])) {
        return LW_REFUSED;
    }
    world->keys[key] = ROLLED_BACK;
    return LW_OK;
}

static uint64_t committed_at(key_state state) {
    return state == COMMITTED ? COMMIT_AT : COMMIT_LATER_AT;
}

static lw_resolve_event deliver_check(small_world *world, uint32_t key_count, bool decide,
                                      bool patient) {
    lw_resolve_event event = {.status = LW_OK, .fate = LW_FATE_ABORTED};
    key_state *primary = &world->keys[0];
    if (is_committed(*primary)) {
        event.fate = LW_FATE_COMMITTED;
        event.commit_timestamp = committed_at(*primary);
    } else if (*primary == ASYNC) {
        event.fate = LW_FATE_ALIVE;
        event.asynchronous = true;
        event.expired = world->expired;
        event.secondary_count = key_count - 1;
        event.commit_timestamp = COMMIT_AT;
    } else if (*primary == CLASSIC && !decide && !world->expired) {
        event.fate = LW_FATE_ALIVE;
    } else if (*primary == NOTHING && patient) {
        event.fate = LW_FATE_UNKNOWN;
    } else {
        *primary = ROLLED_BACK;
    }
    return event;
}

static lw_resolve_event deliver_look(small_world *world, uint32_t key, bool decide) {
    lw_resolve_event event = {.status = LW_OK, .count = 1};
    key_state *state = &world->keys[key];
    if (*state == NOTHING && decide) {
        *state = ROLLED_BACK;
    }
    event.state = is_committed(*state)    ? LW_SECONDARIES_COMMITTED
                  : *state == ROLLED_BACK ? LW_SECONDARIES_ABORTED
                  : *state == CLASSIC     ? LW_SECONDARIES_CLASSIC
                  : *state == NOTHING     ? LW_SECONDARIES_MISSING
                                          : LW_SECONDARIES_LOCKED;
    event.commit_timestamp = is_committed(*state) ? committed_at(*state) : 0;
    return event;
}

/* ---- what must hold ------------------------------------------------------------------------- */

static void check_world(const exploration *all, const small_world *world) {
    bool committed = false, later = false, rolled_back = false;
    for (uint32_t key = 0; key < all->key_count; key++) {
        committed |= world->keys[key] == COMMITTED;
        later |= world->keys[key] == COMMITTED_LATER;
        rolled_back |= world->keys[key] == ROLLED_BACK;
    }
    assert_false((committed || later) && rolled_back);
    assert_false(committed && later);
    assert_false(world->owner == ACKNOWLEDGED && (later || rolled_back));
    assert_false(world->owner == DONE_LATER && (committed || rolled_back));
}

static void check_done(const small_world *world, const lw_resolve_machine *machine) {
    assert_int_equal(machine->status, LW_OK);
    assert_false(machine->decide && machine->fate == LW_FATE_ALIVE);
    if (machine->fate == LW_FATE_COMMITTED) {
        assert_true(is_committed(world->keys[0]));
        assert_int_equal(machine->commit_timestamp, committed_at(world->keys[0]));
    } else if (machine->fate == LW_FATE_ABORTED) {
        assert_int_equal(world->keys[0], ROLLED_BACK);
    }
}

/* ---- exploring ------------------------------------------------------------------------------ */

static uint64_t pack(const small_world *world) {
    uint64_t packed = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        packed = packed * 6 + world->keys[key];
        packed = packed * 5 + world->replies[key];
    }
    packed = packed * 6 + world->owner;
    packed = packed * 2 + world->expired;
    packed = packed << (SENT_CHECK_IMPATIENT + 1) | world->sent;
    for (uint32_t index = 0; index < 2; index++) {
        const lw_resolve_machine *machine = &world->resolvers[index];
        bool looks = machine->phase == LW_RESOLVE_SEND_SECONDARIES;
        packed = packed * 4 + machine->phase;
        packed = packed * 4 + (machine->runs - 1);
        packed = packed * 4 + (looks ? machine->position : machine->commit_timestamp == COMMIT_AT);
        packed = packed * 2 + (looks && machine->expired);
    }
    return packed + 1;
}

static bool enter(exploration *all, uint64_t packed) {
    if (all->visited_count * 2 >= all->visited_capacity) {
        exploration larger = *all;
        larger.visited_capacity = all->visited_capacity == 0 ? 1 << 16 : all->visited_capacity * 2;
        larger.visited = calloc(larger.visited_capacity, sizeof(uint64_t));
        larger.visited_count = 0;
        assert_non_null(larger.visited);
        for (size_t index = 0; index < all->visited_capacity; index++) {
            if (all->visited[index] != 0) {
                (void)enter(&larger, all->visited[index]);
            }
        }
        free(all->visited);
        *all = larger;
    }
    size_t at = (packed * 0x9e3779b97f4a7c15U >> 20) & (all->visited_capacity - 1);
    while (all->visited[at] != 0 && all->visited[at] != packed) {
        at = (at + 1) & (all->visited_capacity - 1);
    }
    bool fresh = all->visited[at] == 0;
    all->visited[at] = packed;
    all->visited_count += fresh;
    return fresh;
}

static void reach(exploration *all, const small_world *world) {
    check_world(all, world);
    if (!enter(all, pack(world))) {
        return;
    }
    if (all->waiting_count == all->waiting_capacity) {
        all->waiting_capacity = all->waiting_capacity == 0 ? 1024 : all->waiting_capacity * 2;
        all->waiting = realloc(all->waiting, all->waiting_capacity * sizeof(*all->waiting));
        assert_non_null(all->waiting);
    }
    all->waiting[all->waiting_count++] = *world;
}

static void begin_resolver(small_world *world, uint32_t index, bool decide) {
    lw_resolve_machine_init(&world->resolvers[index], decide ? 0 : 5, decide);
}

/* One action of a resolver is carried out, and answered. */
static void act(const exploration *all, small_world *world, uint32_t index) {
    lw_resolve_machine *machine = &world->resolvers[index];
    lw_resolve_action action = lw_resolve_machine_next(machine);
    lw_resolve_event event = {.status = LW_OK};
    if (action.kind == LW_RESOLVE_SEND_CHECK) {
        event = deliver_check(world, all->key_count, action.decide, action.patient);
        world->sent |= action.decide     ? 1u << SENT_CHECK_DECIDES
                       : !action.patient ? 1u << SENT_CHECK_IMPATIENT
                                         : 0;
    } else if (action.kind == LW_RESOLVE_SEND_SECONDARIES) {
        event = deliver_look(world, action.first + 1, action.decide);
        world->sent |= action.decide ? 1u << (SENT_LOOK_DECIDES + action.first + 1) : 0;
    } else if (action.kind == LW_RESOLVE_SEND_COMMIT) {
        event.status = deliver_commit(world, 0, action.commit_timestamp);
        world->sent |=
            1u << (action.commit_timestamp == COMMIT_AT ? SENT_COMMIT : SENT_COMMIT_LATER);
    } else {
        event.status = deliver_rollback(world, 0);
        world->sent |= 1u << SENT_ROLLBACK;
    }
    lw_resolve_machine_step(machine, &event);
    if (machine->phase != LW_RESOLVE_DONE) {
        return;
    }
    check_done(world, machine);
    for (uint32_t key = 0; key < all->key_count; key++) { /* it finishes whatever it met */
        if (machine->fate == LW_FATE_COMMITTED) {
            bool later = machine->commit_timestamp == COMMIT_LATER_AT;
            world->sent |= 1u << ((later ? SENT_COMMIT_LATER : SENT_COMMIT) + key);
        } else if (machine->fate == LW_FATE_ABORTED) {
            world->sent |= 1u << (SENT_ROLLBACK + key);
        }
    }
    begin_resolver(world, index, all->decides[index]);
}

static void try_resolvers(exploration *all, const small_world *world) {
    for (uint32_t index = 0; index < (all->two_resolvers ? 2u : 1u); index++) {
        small_world next = *world;
        act(all, &next, index);
        reach(all, &next);
        next = *world; /* it gave up waiting for an answer, and begins anew */
        begin_resolver(&next, index, all->decides[index]);
        reach(all, &next);
    }
}

static void try_messages(exploration *all, const small_world *world) {
    for (uint32_t message = 0; message <= SENT_CHECK_IMPATIENT; message++) {
        small_world next = *world;
        if ((world->sent >> message & 1) == 0) {
            continue;
        }
        if (message < SENT_COMMIT_LATER) {
            (void)deliver_commit(&next, message - SENT_COMMIT, COMMIT_AT);
        } else if (message < SENT_ROLLBACK) {
            lw_status status = deliver_commit(&next, message - SENT_COMMIT_LATER, COMMIT_LATER_AT);
            if (message == SENT_COMMIT_LATER && status == LW_OK && next.owner == COMMITS_LATER) {
                next.owner = DONE_LATER;
            }
        } else if (message < SENT_LOOK_DECIDES) {
            lw_status status = deliver_rollback(&next, message - SENT_ROLLBACK);
            if (message == SENT_ROLLBACK && status == LW_OK && next.owner == DOUBTS) {
                next.owner = ROLLS_BACK;
            }
        } else if (message < SENT_CHECK_DECIDES) {
            (void)deliver_look(&next, message - SENT_LOOK_DECIDES, true);
        } else {
            (void)deliver_check(&next, all->key_count, message == SENT_CHECK_DECIDES, false);
        }
        reach(all, &next);
    }
}

/* A prewrite arrives, early, late or again; it is answered, or not. */
static void try_prewrites(exploration *all, const small_world *world) {
    static const told answers[] = {
        [ASYNC] = TOLD_ASYNC,    [CLASSIC] = TOLD_CLASSIC,      [ROLLED_BACK] = TOLD_REFUSED,
        [COMMITTED] = TOLD_OVER, [COMMITTED_LATER] = TOLD_OVER,
    };
    for (uint32_t key = 0; key < all->key_count; key++) {
        for (uint32_t granted = ASYNC; granted <= CLASSIC; granted++) {
            small_world next = *world;
            if (next.keys[key] == NOTHING) {
                next.keys[key] = (key_state)granted;
            }
            reach(all, &next);
            if (next.replies[key] == NO_REPLY) {
                next.replies[key] = answers[next.keys[key]];
            }
            reach(all, &next);
        }
    }
}

static void try_owner(exploration *all, const small_world *world) {
    uint32_t counts[TOLD_OVER + 1] = {0};
    for (uint32_t key = 0; key < all->key_count; key++) {
        counts[world->replies[key]]++;
    }
    small_world next = *world;
    if (world->owner == PREWRITES && counts[TOLD_ASYNC] == all->key_count) {
        next.owner = ACKNOWLEDGED;
        next.sent |= ((1u << all->key_count) - 1) << SENT_COMMIT;
    } else if (world->owner == PREWRITES && counts[TOLD_CLASSIC] > 0 &&
               counts[TOLD_CLASSIC] + counts[TOLD_ASYNC] == all->key_count) {
        next.owner = COMMITS_LATER;
        next.sent |= 1u << SENT_COMMIT_LATER;
    } else if (world->owner == DONE_LATER) {
        next.sent |= ((1u << all->key_count) - 1) << SENT_COMMIT_LATER;
    } else if (world->owner == ROLLS_BACK) {
        next.sent |= ((1u << all->key_count) - 1) << SENT_ROLLBACK;
    }
    reach(all, &next);
    next = *world;
    if (world->owner == PREWRITES && counts[TOLD_REFUSED] > 0) {
        next.owner = ROLLS_BACK;
        reach(all, &next);
    }
    next = *world;
    if (world->owner == PREWRITES || world->owner == COMMITS_LATER) {
        next.owner = DOUBTS;
        next.sent |= 1u << SENT_ROLLBACK;
        reach(all, &next);
    }
    next = *world;
    next.expired = true;
    reach(all, &next);
}

/* From anywhere, one resolver that is left alone and has to decide does. */
static void check_end(const exploration *all, const small_world *world) {
    small_world last = *world;
    begin_resolver(&last, 0, true);
    for (uint32_t steps = 0; !is_committed(last.keys[0]) && last.keys[0] != ROLLED_BACK; steps++) {
        assert_true(steps < 8);
        act(all, &last, 0);
    }
}

static size_t explore(uint32_t key_count, bool two_resolvers, bool first, bool second) {
    bool decides[2] = {first, second};
    exploration all = {.key_count = key_count, .two_resolvers = two_resolvers, .decides = decides};
    small_world world = {0};
    begin_resolver(&world, 0, first);
    begin_resolver(&world, 1, second);
    reach(&all, &world);
    while (all.waiting_count > 0) {
        world = all.waiting[--all.waiting_count];
        check_end(&all, &world);
        try_prewrites(&all, &world);
        try_owner(&all, &world);
        try_messages(&all, &world);
        try_resolvers(&all, &world);
    }
    free(all.visited);
    free(all.waiting);
    return all.visited_count;
}

static void two_resolvers_never_contradict_each_other(void **state) {
    (void)state;
    assert_true(explore(2, true, false, true) > 5000);
}

static void a_transaction_of_three_keys_has_one_fate(void **state) {
    (void)state;
    assert_true(explore(3, true, false, true) > 50000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_classic_transaction_is_what_its_primary_says),
        cmocka_unit_test(who_met_a_live_lock_is_patient_with_its_primary),
        cmocka_unit_test(an_async_transaction_is_committed_once_all_is_locked),
        cmocka_unit_test(a_secondary_that_is_missing_is_waited_for_while_the_primary_lives),
        cmocka_unit_test(a_classic_secondary_leaves_it_to_the_primary),
        cmocka_unit_test(who_is_overtaken_asks_again),
        cmocka_unit_test(two_resolvers_never_contradict_each_other),
        cmocka_unit_test(a_transaction_of_three_keys_has_one_fate),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
