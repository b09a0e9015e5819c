/* SPDX-License-Identifier: Apache-2.0 */
/* Users' workloads in the simulator: what is promised to callbacks, and what becomes of those that
 * do what they must not. */
#include "sim/lathwork_sim.h"

#include "tests/unit.h"

static const lw_bytes counter = {(const uint8_t *)"counter", 7};

static lw_sim_result run(const lw_sim_workload *workload, const lw_sim_options *options) {
    lw_sim_result result;
    lw_status status = lw_sim_run(workload, options, &result);
    if (status != LW_OK) {
        print_message("%s\n", result.failure);
    }
    assert_int_equal(status, LW_OK);
    return result;
}

/* Runs one seed of `calm`, and holds its failure to what is expected. */
static void expect_failure(const lw_sim_workload *workload, const char *text) {
    lw_sim_options options = {.scenario = "calm", .once = 1};
    lw_sim_result result = run(workload, &options);
    assert_int_equal(result.failed_count, 1);
    assert_int_equal(result.seed, 1);
    if (strstr(result.failure, text) == NULL) {
        print_message("%s\n", result.failure);
    }
    assert_non_null(strstr(result.failure, text));
}

/* ---- what works ----------------------------------------------------------------------------- */

typedef struct told {
    uint64_t added, setups, looks, checks, rounds[12];
} told;

static lw_status count_setup(lw_sim *sim, lw_client *client) {
    told *state = lw_sim_state(sim);
    state->setups++;
    if (lw_sim_client_number(sim) != -1) {
        lw_sim_fail(sim, "setup runs as a client");
    }
    return lw_add_now(client, counter, 1000, NULL);
}

static lw_status count_round(lw_sim *sim, lw_client *client) {
    told *state = lw_sim_state(sim);
    int number = lw_sim_client_number(sim);
    if (number < 0 || number >= lw_sim_client_count(sim)) {
        lw_sim_fail(sim, "there is no client %d", number);
        return LW_OK;
    }
    state->rounds[number]++;
    lw_status status = lw_add_now(client, counter, 1, NULL);
    state->added += status == LW_OK;
    lw_sim_note(sim, "added: %s", lw_status_name(status));
    lw_sim_mark(sim, "test.added");
    return status;
}

static lw_status look(lw_sim *sim, lw_client *client) {
    told *state = lw_sim_state(sim);
    uint64_t before = state->added;
    int64_t now;
    lw_status status;
    do { /* whether nothing was added does not matter */
        status = lw_add_now(client, counter, 0, &now);
    } while (status == LW_UNDETERMINED);
    state->looks++;
    if (status == LW_OK && (uint64_t)now < 1000 + before) {
        lw_sim_fail(sim, "%d were lost", (int)(1000 + before - (uint64_t)now));
    }
    return status;
}

static lw_status count_check(lw_sim *sim, lw_client *client) {
    told *state = lw_sim_state(sim);
    state->checks++;
    lw_status status = look(sim, client);
    if (status == LW_OK && (state->setups == 0 || state->looks < 2)) {
        lw_sim_fail(sim, "not all callbacks were called");
    }
    for (int client_number = 0; client_number < lw_sim_client_count(sim); client_number++) {
        if (state->rounds[client_number] == 0) {
            lw_sim_fail(sim, "client %d did nothing", client_number);
        }
    }
    return status;
}

static const lw_sim_workload counting = {.setup = count_setup,
                                         .client = count_round,
                                         .invariant = look,
                                         .check = count_check,
                                         .state_size = sizeof(told),
                                         .duration_ms = 3000};

static void what_was_acknowledged_is_there_in_every_scenario(void **state) {
    (void)state;
    static const char *const scenarios[] = {"calm",    "crash",        "disk",         "rot",
                                            "lattice", "lattice-disk", "lattice-moves"};
    for (size_t index = 0; index < sizeof(scenarios) / sizeof(scenarios[0]); index++) {
        lw_sim_options options = {.scenario = scenarios[index], .run_count = 2};
        lw_sim_result result = run(&counting, &options);
        if (result.failed_count > 0) {
            print_message("%s, seed %d: %s\n", scenarios[index], (int)result.seed, result.failure);
        }
        assert_int_equal(result.failed_count, 0);
        assert_int_equal(result.run_count, 2);
        assert_true(result.came_through > 20);
        assert_true(result.virtual_ms > 3000);
    }
}

static void a_seed_repeats_itself_and_another_does_not(void **state) {
    (void)state;
    lw_sim_options options = {.scenario = "lattice", .seed = 7, .once = 1};
    uint64_t first = run(&counting, &options).hash;
    assert_true(run(&counting, &options).hash == first);
    options.seed = 8;
    assert_true(run(&counting, &options).hash != first);
}

static void a_client_that_has_done_its_rounds_is_called_no_more(void **state) {
    (void)state;
    lw_sim_workload few = counting;
    few.invariant = NULL;
    few.check = NULL;
    few.client_count = 3;
    few.round_count = 5;
    lw_sim_options options = {.scenario = "lattice"};
    lw_sim_result result = run(&few, &options);
    assert_int_equal(result.failed_count, 0);
    assert_int_equal(result.came_through + result.refused + result.in_doubt, 15);
}

static void clients_may_die_anywhere(void **state) {
    (void)state;
    lw_sim_workload mortal = counting;
    mortal.clients_die = 1;
    mortal.duration_ms = 6000;
    lw_sim_options options = {.scenario = "crash", .run_count = 5};
    assert_int_equal(run(&mortal, &options).failed_count, 0);
}

/* ---- tools ---------------------------------------------------------------------------------- */

static lw_status use_tools(lw_sim *sim, lw_client *client) {
    (void)client;
    uint64_t before = lw_sim_now_us(sim);
    lw_sim_sleep_us(sim, 1500);
    uint8_t *bytes = lw_sim_allocate(sim, 100);
    bool zeros = bytes[0] == 0 && memcmp(bytes, bytes + 1, 99) == 0;
    if (lw_sim_now_us(sim) < before + 1500 || !zeros || lw_sim_random_below(sim, 3) > 2 ||
        strcmp(lw_sim_setting(sim, "colour"), "blue=green") != 0 ||
        lw_sim_setting(sim, "col") != NULL || strcmp(lw_sim_argument(sim), "told") != 0) {
        lw_sim_fail(sim, "a tool does not do what it should");
    }
    return LW_OK;
}

static void callbacks_have_time_chance_memory_and_settings(void **state) {
    (void)state;
    lw_sim_workload workload = {
        .client = use_tools, .argument = (void *)(uintptr_t) "told", .round_count = 3};
    const char *const settings[] = {"size=3", "colour=blue=green", NULL};
    lw_sim_options options = {.scenario = "calm", .settings = settings};
    lw_sim_result result = run(&workload, &options);
    assert_int_equal(result.failed_count, 0);
    assert_true(result.came_through >= 6);
}

/* ---- what is found -------------------------------------------------------------------------- */

static lw_status do_nothing(lw_sim *sim, lw_client *client) {
    (void)sim;
    return lw_ping(client);
}

static lw_status complain(lw_sim *sim, lw_client *client) {
    (void)client;
    lw_sim_note(sim, "about to complain");
    lw_sim_fail(sim, "the number is %d", 17);
    return LW_OK;
}

static void a_failure_says_who_when_and_what_was_said(void **state) {
    (void)state;
    lw_sim_workload workload = {.client = complain};
    expect_failure(&workload, "the number is 17");
    expect_failure(&workload, "(client ");
    expect_failure(&workload, "about to complain");
}

static void a_failure_of_any_callback_fails_the_run(void **state) {
    (void)state;
    lw_sim_workload workload = {.client = do_nothing, .check = complain, .duration_ms = 500};
    expect_failure(&workload, "(check, at ");
    workload = (lw_sim_workload){.client = do_nothing, .setup = complain};
    expect_failure(&workload, "(setup, at ");
    workload = (lw_sim_workload){.client = do_nothing, .invariant = complain};
    expect_failure(&workload, "(invariant, at ");
}

static lw_status leave_transaction(lw_sim *sim, lw_client *client) {
    (void)sim;
    lw_txn *txn;
    lw_bytes value;
    lw_status status = lw_begin(client, NULL, &txn);
    return status == LW_OK ? lw_get(txn, counter, &value) : status;
}

static lw_status leave_scan(lw_sim *sim, lw_client *client) {
    (void)sim;
    lw_txn *txn;
    lw_scan *scan;
    lw_status status = lw_begin(client, NULL, &txn);
    return status == LW_OK ? lw_scan_open(txn, NULL, &scan) : status;
}

static void what_a_callback_leaves_open_is_named(void **state) {
    (void)state;
    lw_sim_workload workload = {.client = leave_transaction};
    expect_failure(&workload, "left a transaction open");
    workload.client = leave_scan;
    expect_failure(&workload, "left a scan open");
    workload = (lw_sim_workload){.client = do_nothing, .setup = leave_transaction};
    expect_failure(&workload, "left a transaction open");
}

static lw_status sleep_for_ever(lw_sim *sim, lw_client *client) {
    (void)client;
    while (lw_sim_state(sim) != NULL) {
        lw_sim_sleep_us(sim, 1000000);
    }
    return LW_OK;
}

static void a_callback_that_does_not_return_is_named(void **state) {
    (void)state;
    lw_sim_workload workload = {.client = sleep_for_ever, .duration_ms = 100};
    expect_failure(&workload, "has not returned");
    expect_failure(&workload, "the callback of client ");
    workload = (lw_sim_workload){.client = do_nothing, .setup = sleep_for_ever};
    expect_failure(&workload, "setup did not come through within a minute");
    workload = (lw_sim_workload){.client = do_nothing, .check = sleep_for_ever, .duration_ms = 100};
    expect_failure(&workload, "check did not come through within a minute");
    workload =
        (lw_sim_workload){.client = do_nothing, .invariant = sleep_for_ever, .duration_ms = 100};
    expect_failure(&workload, "the callback of invariant ");
}

static lw_status misuse(lw_sim *sim, lw_client *client) {
    (void)sim;
    return lw_add_now(client, (lw_bytes){0}, 1, NULL);
}

static lw_status refuse(lw_sim *sim, lw_client *client) {
    (void)sim, (void)client;
    return LW_EXISTS;
}

static lw_status made_up(lw_sim *sim, lw_client *client) {
    (void)sim, (void)client;
    return (lw_status)77;
}

static void a_status_that_cannot_be_meant_fails_the_run(void **state) {
    (void)state;
    lw_sim_workload workload = {.client = misuse};
    expect_failure(&workload, "LW_INVALID_ARGUMENT");
    workload.client = made_up;
    expect_failure(&workload, "(77)");
    workload = (lw_sim_workload){.client = do_nothing, .setup = refuse};
    expect_failure(&workload, "(setup, at ");
    expect_failure(&workload, "LW_EXISTS");
}

/* What a callback must not do: it counts over the runs. */
static lw_status count_over_runs(lw_sim *sim, lw_client *client) {
    uint64_t *runs = lw_sim_argument(sim);
    if (lw_sim_client_number(sim) == 0) {
        lw_sim_note(sim, "called %d times", (int)++*runs);
    }
    return lw_ping(client);
}

static void two_runs_that_differ_are_explained(void **state) {
    (void)state;
    uint64_t runs = 0;
    lw_sim_workload workload = {.client = count_over_runs, .argument = &runs, .duration_ms = 500};
    lw_sim_options options = {.scenario = "calm"};
    lw_sim_result result = run(&workload, &options);
    assert_int_equal(result.failed_count, 1);
    assert_non_null(strstr(result.failure, "lw_sim_state"));
    assert_non_null(strstr(result.failure, "part at line"));
    assert_non_null(strstr(result.failure, "called "));
}

static void a_request_that_cannot_be_run_is_refused(void **state) {
    (void)state;
    lw_sim_result result;
    lw_sim_workload workload = {0};
    assert_int_equal(lw_sim_run(&workload, NULL, &result), LW_INVALID_ARGUMENT);
    assert_non_null(strstr(result.failure, "`client`"));
    workload = (lw_sim_workload){.client = do_nothing, .client_count = 13};
    assert_int_equal(lw_sim_run(&workload, NULL, &result), LW_INVALID_ARGUMENT);
    workload.client_count = 0;
    lw_sim_options options = {.scenario = "weather"};
    assert_int_equal(lw_sim_run(&workload, &options, &result), LW_INVALID_ARGUMENT);
    options = (lw_sim_options){.node_count = 8};
    assert_int_equal(lw_sim_run(&workload, &options, &result), LW_INVALID_ARGUMENT);
    options = (lw_sim_options){.scenario = "lattice-storm", .node_count = 1};
    assert_int_equal(lw_sim_run(&workload, &options, &result), LW_INVALID_ARGUMENT);
    const char *const settings[] = {"=3", NULL};
    options = (lw_sim_options){.settings = settings};
    assert_int_equal(lw_sim_run(&workload, &options, &result), LW_INVALID_ARGUMENT);
    options = (lw_sim_options){.trace_path = "/nowhere/at/all"};
    assert_int_equal(lw_sim_run(&workload, &options, &result), LW_INVALID_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_acknowledged_is_there_in_every_scenario),
        cmocka_unit_test(a_seed_repeats_itself_and_another_does_not),
        cmocka_unit_test(a_client_that_has_done_its_rounds_is_called_no_more),
        cmocka_unit_test(clients_may_die_anywhere),
        cmocka_unit_test(callbacks_have_time_chance_memory_and_settings),
        cmocka_unit_test(a_failure_says_who_when_and_what_was_said),
        cmocka_unit_test(a_failure_of_any_callback_fails_the_run),
        cmocka_unit_test(what_a_callback_leaves_open_is_named),
        cmocka_unit_test(a_callback_that_does_not_return_is_named),
        cmocka_unit_test(a_status_that_cannot_be_meant_fails_the_run),
        cmocka_unit_test(two_runs_that_differ_are_explained),
        cmocka_unit_test(a_request_that_cannot_be_run_is_refused),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
