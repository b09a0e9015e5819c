/* SPDX-License-Identifier: Apache-2.0 */
/* The client library against a real node, both in the simulated world: large transactions, and
 * those whose node, answer or client is lost. */
#include "tests/client_world.h"

/* ---- large and unlucky transactions ------------------------------------------------------- */

LW_YIELDS static void commit_much(void *argument) {
    fixture *in = argument;
    enum { COUNT = 30, SIZE = 1024 * 1024 };
    lw_memory *memory = in->env->memory;
    uint8_t *large = lw_allocate_zero(memory, SIZE);
    lw_txn_options options = {.timeout_ms = 60000};
    lw_txn *txn = NULL;
    char key[16];
    OK(lw_begin(in->client, &options, &txn));
    for (int index = 0; index < COUNT; index++) {
        (void)snprintf(key, sizeof(key), "large/%02d", index);
        large[0] = (uint8_t)index;
        OK(lw_put(txn, T(key), lw_view(large, SIZE)));
    }
    OK(lw_commit(txn));
    EXPECT(lw_txn_token(txn)[0] != 0);
    uint64_t committed = 0;
    OK(lw_txn_outcome(in->client, lw_txn_token(txn), &committed));
    EXPECT(committed == lw_commit_timestamp(txn));
    lw_txn_close(txn);
    txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    for (int index = 0; index < COUNT; index++) {
        lw_bytes value;
        (void)snprintf(key, sizeof(key), "large/%02d", index);
        OK(lw_get(txn, T(key), &value));
        EXPECT(value.size == SIZE && value.data[0] == index);
    }
    lw_txn_close(txn);
    lw_free(memory, large);
    in->done = true;
}

static void what_does_not_fit_one_round_takes_two_phases(void **state) {
    tell(*state, commit_much);
}

LW_YIELDS static void lose_the_answer(void *argument) {
    fixture *in = argument;
    lw_txn_options options = {.timeout_ms = 2000};
    lw_txn *txn = NULL;
    OK(put_alone(in->client, "k", "before")); /* connected, and a spare timestamp at hand */
    OK(lw_begin(in->client, &options, &txn));
    OK(lw_put(txn, T("k"), T("after")));
    lw_world_cut_one_way(in->world, in->node_host, in->client_host, true);
    EXPECT(lw_undetermined_token(in->client)[0] == 0);
    EXPECT(lw_commit(txn) == LW_UNDETERMINED);
    EXPECT(strcmp(lw_undetermined_token(in->client), lw_txn_token(txn)) == 0);
    char token[256];
    (void)snprintf(token, sizeof(token), "%s", lw_txn_token(txn));
    lw_txn_close(txn);
    lw_world_cut_one_way(in->world, in->node_host, in->client_host, false);
    uint64_t committed = 0, peeked = 0;
    OK(lw_txn_outcome(in->client, token, &committed));
    EXPECT(committed != 0);
    OK(lw_txn_peek(in->client, token, &peeked));
    EXPECT(peeked == committed);
    EXPECT(holds(in->client, "k", "after"));
    /* One that never arrived: asking decides that it never will. */
    OK(lw_begin(in->client, &options, &txn));
    OK(lw_put(txn, T("k"), T("never")));
    lw_world_cut_one_way(in->world, in->client_host, in->node_host, true);
    EXPECT(lw_commit(txn) == LW_UNDETERMINED);
    lw_world_cut_one_way(in->world, in->client_host, in->node_host, false);
    EXPECT(lw_txn_outcome(in->client, lw_txn_token(txn), &committed) == LW_NOT_FOUND);
    lw_txn_close(txn);
    EXPECT(holds(in->client, "k", "after"));
    EXPECT(lw_txn_outcome(in->client, "nonsense", &committed) == LW_INVALID_ARGUMENT);
    in->done = true;
}

static void an_unknown_outcome_can_be_asked_for(void **state) {
    tell(*state, lose_the_answer);
}

static void crash_node(void *argument) {
    fixture *in = argument;
    lw_host_crash(in->node_host);
    in->node = NULL;
}

static void crash_and_boot(void *argument) {
    crash_node(argument);
    boot(argument);
}

LW_YIELDS static void outlive_the_node(void *argument) {
    fixture *in = argument;
    OK(put_alone(in->client, "k", "1"));
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    lw_bytes value;
    OK(lw_get(txn, T("k"), &value));
    lw_world_at(in->world, lw_world_now(in->world) + millisecond, crash_and_boot, in);
    lw_env_sleep(in->env, 500 * millisecond);
    OK(lw_get(txn, T("k"), &value)); /* over a new connection, from the same snapshot */
    SAME(value, "1");
    OK(lw_put(txn, T("k"), T("2")));
    OK(lw_commit(txn));
    lw_txn_close(txn);
    EXPECT(holds(in->client, "k", "2"));
    in->done = true;
}

static void a_transaction_outlives_a_crash_of_the_node(void **state) {
    tell(*state, outlive_the_node);
}

LW_YIELDS static void vanish(void *argument) {
    fixture *in = argument;
    lw_client *ghost = another(in, "ghost");
    lw_txn *held = begin(ghost, LW_STRICT, LW_PESSIMISTIC);
    OK(lw_put(held, T("k"), T("never committed")));
    /* It is gone: the socket closes, and it never comes back. */
    lw_link *link = &ghost->contacts.all[0]->link;
    lw_socket_close(in->env, link->socket);
    link->socket = LW_NO_HANDLE;
    uint64_t began = lw_env_now(in->env);
    lw_txn_options patient = {.locking = LW_PESSIMISTIC, .timeout_ms = 20000};
    lw_txn *txn = NULL;
    OK(lw_begin(in->client, &patient, &txn));
    OK(lw_put(txn, T("k"), T("mine")));
    OK(lw_commit(txn));
    EXPECT(lw_env_now(in->env) - began < 5 * second);
    lw_txn_close(txn);
    EXPECT(holds(in->client, "k", "mine"));
    in->done = true;
}

static void locks_of_a_vanished_client_are_swept(void **state) {
    tell(*state, vanish);
}

LW_YIELDS static void lose_the_release(void *argument) {
    fixture *in = argument;
    lw_client *other = another(in, "unheard");
    lw_txn *held = begin(other, LW_STRICT, LW_PESSIMISTIC);
    OK(lw_put(held, T("k"), T("never committed")));
    lw_world_cut(in->world, in->node_host, in->client_host, true);
    lw_txn_close(held); /* the node does not hear it, and the client lives on */
    lw_world_cut(in->world, in->node_host, in->client_host, false);
    OK(put_alone(other, "other", "alive"));
    lw_txn_options patient = {.locking = LW_PESSIMISTIC, .timeout_ms = 30000};
    lw_txn *txn = NULL;
    OK(lw_begin(in->client, &patient, &txn));
    OK(lw_put(txn, T("k"), T("mine")));
    OK(lw_commit(txn));
    lw_txn_close(txn);
    lw_close(other);
    in->done = true;
}

static void locks_whose_release_was_lost_do_not_stay(void **state) {
    tell(*state, lose_the_release);
}

static lw_status put_something(lw_txn *txn, void *argument) {
    (void)argument;
    return lw_put(txn, T("k"), T("v"));
}

LW_YIELDS static void call_nobody(void *argument) {
    fixture *in = argument;
    lw_client_options options = {.address = "nobody:1", .timeout_ms = 5000};
    lw_client *client = NULL;
    OK(lw_client_open_in(in->env, &options, &client));
    uint64_t began = lw_env_now(in->env);
    lw_status status = lw_ping(client);
    EXPECT(status == LW_UNAVAILABLE || status == LW_TIMEOUT);
    EXPECT(lw_env_now(in->env) - began <= 6 * second);
    lw_close(client);
    lw_host *deserted = lw_world_host(in->world, "deserted"); /* it has power, and nobody on it */
    (void)lw_host_boot(deserted);
    options.address = "deserted:1";
    OK(lw_client_open_in(in->env, &options, &client));
    began = lw_env_now(in->env);
    EXPECT(lw_run(client, NULL, put_something, NULL) == LW_UNAVAILABLE);
    EXPECT(lw_env_now(in->env) - began < second);
    lw_close(client);
    options.address = "no port";
    EXPECT(lw_client_open_in(in->env, &options, &client) == LW_INVALID_ARGUMENT);
    EXPECT(strstr(lw_client_error(client), "HOST:PORT") != NULL);
    EXPECT(lw_ping(client) == LW_INVALID_ARGUMENT);
    lw_close(client);
    in->done = true;
}

static void who_is_not_there_is_told(void **state) {
    tell(*state, call_nobody);
}

LW_YIELDS static void use_two_nodes(void *argument) {
    fixture *in = argument;
    lw_client_options options = {.address = "other:7871"};
    lw_client *other = NULL;
    OK(lw_client_open_in(in->env, &options, &other));
    OK(put_alone(in->client, "k", "here"));
    OK(put_alone(other, "k", "there"));
    EXPECT(holds(in->client, "k", "here"));
    EXPECT(holds(other, "k", "there"));
    lw_world_at(in->world, lw_world_now(in->world) + millisecond, crash_node, in);
    lw_env_sleep(in->env, second); /* the one's end is nothing to the other */
    OK(put_alone(other, "k", "still there"));
    EXPECT(holds(other, "k", "still there"));
    lw_close(other);
    in->done = true;
}

static void two_nodes_live_in_one_process(void **state) {
    fixture *in = *state;
    lw_node *another_node = NULL;
    boot_on(lw_world_host(in->world, "other"), "other:7871", &another_node);
    (void)lw_world_run(in->world, lw_world_now(in->world) + 1000 * millisecond);
    assert_non_null(another_node);
    tell(in, use_two_nodes);
}

LW_YIELDS static void ask_status(void *argument) {
    fixture *in = argument;
    lw_bytes json;
    OK(lw_ping(in->client));
    OK(lw_node_status(in->client, &json));
    EXPECT(memmem(json.data, json.size, "\"state\":\"serving\"", 17) != NULL);
    in->done = true;
}

static void a_node_tells_its_status(void **state) {
    tell(*state, ask_status);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(what_does_not_fit_one_round_takes_two_phases),
        STORY(an_unknown_outcome_can_be_asked_for),
        STORY(a_transaction_outlives_a_crash_of_the_node),
        STORY(locks_of_a_vanished_client_are_swept),
        STORY(locks_whose_release_was_lost_do_not_stay),
        STORY(who_is_not_there_is_told),
        STORY(two_nodes_live_in_one_process),
        STORY(a_node_tells_its_status),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
