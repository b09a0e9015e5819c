/* SPDX-License-Identifier: Apache-2.0 */
/* What a user is told when others were in the way: every sentence, against a real node in the
 * simulated world. */
#include "client/client.h"
#include "client/operate.h"
#include "client/transaction.h"
#include "node/node.h"
#include "sim/world.h"
#include "tests/unit.h"

#include <ctype.h>
#include <stdlib.h>

/* Noted instead of asserted, since stories run in fibers. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            if (in->failed_line == 0) {                                                            \
                in->failed_line = __LINE__;                                                        \
                (void)snprintf(in->reason, sizeof(in->reason), "%s", lw_client_error(in->client)); \
            }                                                                                      \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define OK(call) EXPECT((call) == LW_OK)
#define T(text)  lw_text(text)

static const uint64_t second = 1000000000;
static const uint64_t millisecond = 1000000;

typedef struct fixture {
    lw_world *world;
    lw_host *node_host, *client_host;
    lw_env *node_env, *env; /* of the node, and of the clients */
    lw_client *client;
    lw_node *node;
    uint32_t running; /* helper fibers */
    bool done;
    int failed_line;
    char reason[LW_ERROR_TEXT_SIZE];
    lw_txn *victim;
} fixture;

static void node_died(void *argument, const lw_error *reason) {
    (void)argument;
    (void)fprintf(stderr, "the node died: %s\n", reason->text);
}

LW_YIELDS static void node_main(void *argument) {
    fixture *in = argument;
    lw_node_options options = {.directory = "data",
                               .listen = "node:7871",
                               .version = "1",
                               .died = node_died,
                               .argument = in};
    if (lw_node_open(in->node_env, &options, &in->node) != LW_OK) {
        (void)fprintf(stderr, "the node did not open: %s\n", lw_error_slot()->text);
    }
}

static lw_client *another(fixture *in, const char *label) {
    lw_client_options options = {.address = "node:7871", .label = label};
    lw_client *client = NULL;
    lw_status status = lw_client_open_in(in->env, &options, &client);
    LW_ASSERT(status == LW_OK);
    return client;
}

static int setup(void **state) {
    fixture *in = calloc(1, sizeof(*in));
    lw_faults none = lw_faults_none();
    in->world = lw_world_open(3, &none);
    in->node_host = lw_world_host(in->world, "node");
    in->client_host = lw_world_host(in->world, "client");
    in->node_env = lw_host_boot(in->node_host);
    lw_env_start(in->node_env, "node", node_main, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + second);
    in->env = lw_host_boot(in->client_host);
    in->client = another(in, "tester");
    *state = in;
    return in->node == NULL;
}

static int teardown(void **state) {
    fixture *in = *state;
    lw_world_close(in->world);
    free(in);
    return 0;
}

static void tell(fixture *in, void (*story)(void *argument)) {
    lw_env_start(in->env, "story", story, in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + 120 * second);
    if (in->failed_line != 0) {
        fail_msg("the expectation in line %d; the client's last error: %s", in->failed_line,
                 in->reason);
    }
    assert_true(in->done);
}

static lw_txn *begin(lw_client *client, lw_locking locking, uint32_t timeout_ms) {
    lw_txn_options options = {.locking = locking, .timeout_ms = timeout_ms};
    lw_txn *txn = NULL;
    lw_status status = lw_begin(client, &options, &txn);
    LW_ASSERT(status == LW_OK);
    return txn;
}

LW_YIELDS static lw_status put_alone(lw_client *client, const char *key, const char *value) {
    lw_txn *txn = begin(client, LW_OPTIMISTIC, 0);
    lw_status status = lw_put(txn, T(key), T(value));
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    return status;
}

/* Whether a sentence is the wanted one, in which "#" stands for any number. */
static bool says(const char *text, const char *wanted) {
    while (*wanted != 0) {
        if (*wanted == '#' && isdigit((unsigned char)*text)) {
            while (isdigit((unsigned char)*text)) {
                text++;
            }
            wanted++;
        } else if (*text++ != *wanted++) {
            return false;
        }
    }
    return *text == 0;
}

/* ---- newer versions ------------------------------------------------------------------------- */

LW_YIELDS static void be_overtaken(void *argument) {
    fixture *in = argument;
    lw_client *importer = another(in, "importer");
    for (int gone = 0; gone < 2; gone++) {
        lw_bytes value;
        lw_txn *txn = begin(in->client, LW_OPTIMISTIC, 0);
        lw_status status = lw_get(txn, T("k"), &value);
        EXPECT(status == LW_OK || status == LW_NOT_FOUND);
        OK(put_alone(importer, "k", "newer"));
        if (gone) { /* its session has ended, and is remembered */
            lw_close(importer);
            lw_env_sleep(in->env, 5 * second);
        }
        OK(lw_put(txn, T("l"), T("v")));
        EXPECT(lw_commit(txn) == LW_CONFLICT);
        EXPECT(says(lw_client_error(in->client),
                    "the key \"k\" was changed by transaction # of client \"importer\": run the "
                    "whole transaction again"));
        lw_txn_close(txn);
    }
    in->done = true;
}

static void a_newer_version_says_whose_it_is(void **state) {
    tell(*state, be_overtaken);
}

/* ---- locks that are waited for -------------------------------------------------------------- */

LW_YIELDS static void wait_in_vain(void *argument) {
    fixture *in = argument;
    lw_client *other = another(in, "holder");
    lw_txn *holder = begin(other, LW_PESSIMISTIC, 60000);
    OK(lw_put(holder, T("k"), T("held")));
    lw_env_sleep(in->env, second);
    lw_txn *txn = begin(in->client, LW_PESSIMISTIC, 500);
    EXPECT(lw_put(txn, T("k"), T("v")) == LW_TIMEOUT);
    EXPECT(
        says(lw_client_error(in->client),
             "waited # ms for the key \"k\", which transaction # of client \"holder\" has locked "
             "for # ms"));
    lw_txn_close(txn);
    txn = begin(in->client, LW_OPTIMISTIC, 500);
    OK(lw_put(txn, T("k"), T("v")));
    EXPECT(lw_commit(txn) == LW_TIMEOUT);
    EXPECT(
        says(lw_client_error(in->client),
             "waited # ms for the key \"k\", which transaction # of client \"holder\" has locked "
             "for # ms"));
    lw_txn_close(txn);
    lw_txn_close(holder);
    lw_close(other);
    in->done = true;
}

static void who_waited_too_long_is_told_for_whom(void **state) {
    tell(*state, wait_in_vain);
}

LW_YIELDS static void wait_then_write(void *argument) {
    fixture *in = argument;
    lw_client *client = another(in, "holder");
    lw_txn *txn = begin(client, LW_PESSIMISTIC, 0);
    lw_status status = lw_put(txn, T("k"), T("held"));
    lw_env_sleep(in->env, second);
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    lw_close(client);
    in->running--;
}

LW_YIELDS static void wait_and_lose(void *argument) {
    fixture *in = argument;
    lw_bytes value;
    lw_txn *txn = begin(in->client, LW_OPTIMISTIC, 0);
    EXPECT(lw_get_for_update(txn, T("k"), &value) == LW_NOT_FOUND);
    in->running++;
    lw_env_start(in->env, "holder", wait_then_write, in);
    lw_env_sleep(in->env, 100 * millisecond);
    EXPECT(lw_commit(txn) == LW_CONFLICT);
    EXPECT(says(lw_client_error(in->client),
                "the key \"k\" was changed by transaction # of client \"holder\", after waiting # "
                "ms: run the whole transaction again"));
    lw_txn_close(txn);
    in->done = true;
}

static void who_waited_and_lost_is_told_how_long(void **state) {
    tell(*state, wait_and_lose);
}

/* The commit of another that does not come to its end: it has prewritten and is gone. */
LW_YIELDS static void meet_a_live_lock(void *argument) {
    fixture *in = argument;
    lw_client *other = another(in, "committer");
    uint64_t start;
    OK(lw_client_timestamp(other, lw_client_deadline(other, 0), &start));
    lw_mutation mutation = {.kind = LW_MUTATION_PUT, .key = T("k"), .seen = LW_SEEN_ANYTHING};
    lw_prewrite_request request = {.start = start,
                                   .primary = T("k"),
                                   .lifetime_ms = 60000,
                                   .mutations = &mutation,
                                   .mutation_count = 1};
    lw_buffer body = lw_buffer_in(in->env->memory);
    lw_reply reply;
    lw_prewrite_request_encode(&request, &body);
    OK(lw_client_call(other, LW_MESSAGE_PREWRITE, T("k"), lw_buffer_view(&body),
                      lw_client_deadline(other, 0), &reply, NULL));
    static const char wanted[] = "waited # ms for the key \"k\", which transaction # of client "
                                 "\"committer\" has locked for a commit that is under way";
    lw_bytes value;
    lw_txn *txn = begin(in->client, LW_OPTIMISTIC, 500);
    EXPECT(lw_get(txn, T("k"), &value) == LW_TIMEOUT);
    EXPECT(says(lw_client_error(in->client), wanted));
    lw_txn_close(txn);
    txn = begin(in->client, LW_OPTIMISTIC, 500);
    OK(lw_put(txn, T("k"), T("v")));
    EXPECT(lw_commit(txn) == LW_TIMEOUT);
    EXPECT(says(lw_client_error(in->client), wanted));
    lw_txn_close(txn);
    lw_buffer_reset(&body);
    lw_close(other);
    in->done = true;
}

static void who_is_held_up_by_a_commit_is_told_whose(void **state) {
    tell(*state, meet_a_live_lock);
}

/* ---- deadlocks ------------------------------------------------------------------------------ */

typedef struct locker {
    fixture *in;
    const char *label, *has, *wants;
} locker;

LW_YIELDS static void lock_two(void *argument) {
    const locker *self = argument;
    fixture *in = self->in;
    lw_client *client = another(in, self->label);
    lw_txn *txn = begin(client, LW_PESSIMISTIC, 60000);
    lw_status status = lw_put(txn, T(self->has), T("1"));
    lw_env_sleep(in->env, 100 * millisecond);
    if (status == LW_OK) {
        status = lw_put(txn, T(self->wants), T("1"));
    }
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    lw_close(client);
    in->running--;
}

LW_YIELDS static void close_a_cycle(void *argument) {
    fixture *in = argument;
    static locker lockers[] = {{.label = "second", .has = "b", .wants = "c"},
                               {.label = "third", .has = "c", .wants = "a"}};
    lw_txn *txn = begin(in->client, LW_PESSIMISTIC, 0);
    OK(lw_put(txn, T("a"), T("first")));
    for (int index = 0; index < 2; index++) {
        lockers[index].in = in;
        in->running++;
        lw_env_start(in->env, "locker", lock_two, &lockers[index]);
    }
    lw_env_sleep(in->env, second);
    EXPECT(lw_put(txn, T("b"), T("first")) == LW_CONFLICT);
    EXPECT(
        says(lw_client_error(in->client),
             "a deadlock: transaction # of client \"tester\" waits for \"b\", # of client "
             "\"second\" waits for \"c\", # of client \"third\" waits for \"a\", each held up by "
             "the next; run the whole transaction again"));
    lw_txn_close(txn);
    lw_env_sleep(in->env, second);
    EXPECT(in->running == 0); /* the others went on */
    in->done = true;
}

static void a_deadlock_names_the_whole_cycle(void **state) {
    tell(*state, close_a_cycle);
}

/* Too many to name, with keys and labels as long as they get. */
LW_YIELDS static void close_a_long_cycle(void *argument) {
    fixture *in = argument;
    enum { COUNT = 30 };
    static char keys[COUNT + 1][40], labels[COUNT][64];
    static locker lockers[COUNT];
    for (int index = 0; index <= COUNT; index++) {
        (void)snprintf(keys[index], sizeof(keys[index]), "a key that is somewhat long, %d", index);
    }
    lw_txn *txn = begin(in->client, LW_PESSIMISTIC, 30000);
    OK(lw_put(txn, T(keys[COUNT]), T("first")));
    for (int index = 0; index < COUNT; index++) {
        memset(labels[index], 'x', sizeof(labels[index]) - 1);
        lockers[index] = (locker){
            .in = in, .label = labels[index], .has = keys[index], .wants = keys[index + 1]};
        in->running++;
        lw_env_start(in->env, "locker", lock_two, &lockers[index]);
    }
    lw_env_sleep(in->env, 2 * second);
    EXPECT(lw_put(txn, T(keys[0]), T("first")) == LW_CONFLICT);
    const char *text = lw_client_error(in->client);
    const char *more = strstr(text, " more, each held up by the next; run the whole transaction");
    EXPECT(strncmp(text, "a deadlock: transaction ", 24) == 0);
    EXPECT(more != NULL);
    lw_txn_close(txn);
    in->done = true;
}

static void a_long_deadlock_names_as_many_as_fit(void **state) {
    tell(*state, close_a_long_cycle);
}

/* ---- kills ---------------------------------------------------------------------------------- */

LW_YIELDS static void be_killed(void *argument) {
    fixture *in = argument;
    lw_client *ops = another(in, "operator");
    lw_txn *txn = begin(in->client, LW_PESSIMISTIC, 0);
    OK(lw_put(txn, T("k"), T("v")));
    uint64_t at = 0;
    OK(lw_operate_kill(ops, txn->start, &at));
    EXPECT(lw_put(txn, T("l"), T("v")) == LW_CONFLICT);
    EXPECT(says(lw_client_error(in->client),
                "this transaction (#) was killed by client \"operator\": run it again if it is "
                "still wanted"));
    EXPECT(lw_operate_kill(ops, 77, &at) == LW_NOT_FOUND);
    EXPECT(says(lw_client_error(ops), "transaction # has no locks, and writes nothing"));
    lw_txn_close(txn);
    txn = begin(in->client, LW_OPTIMISTIC, 0);
    OK(lw_put(txn, T("k"), T("v")));
    OK(lw_commit(txn));
    EXPECT(lw_operate_kill(ops, txn->start, &at) == LW_REFUSED);
    EXPECT(at == lw_commit_timestamp(txn));
    EXPECT(says(lw_client_error(ops), "transaction # has committed, at #"));
    lw_txn_close(txn);
    lw_close(ops);
    in->done = true;
}

static void who_was_killed_is_told_by_whom(void **state) {
    tell(*state, be_killed);
}

LW_YIELDS static void kill_the_victim(void *argument) {
    fixture *in = argument;
    lw_client *client = another(in, "operator");
    lw_env_sleep(in->env, 100 * millisecond);
    uint64_t at;
    lw_status status = lw_operate_kill(client, in->victim->start, &at);
    LW_ASSERT(status == LW_OK);
    lw_close(client);
    in->running--;
}

static lw_status lock_and_dawdle(lw_txn *txn, void *argument) {
    fixture *in = argument;
    LW_TRY(lw_put(txn, T("k"), T("v")));
    if (in->victim == NULL) { /* the first time */
        in->victim = txn;
        in->running++;
        lw_env_start(in->env, "killer", kill_the_victim, in);
        lw_env_sleep(in->env, second);
    }
    return LW_OK;
}

LW_YIELDS static void run_again(void *argument) {
    fixture *in = argument;
    lw_txn_options options = {.locking = LW_PESSIMISTIC};
    OK(lw_run(in->client, &options, lock_and_dawdle, in));
    EXPECT(in->victim != NULL);
    in->done = true;
}

static void who_was_killed_runs_again(void **state) {
    tell(*state, run_again);
}

/* ---- the list ------------------------------------------------------------------------------- */

static bool count_rows(void *argument, const lw_lock_row *row) {
    uint32_t *counts = argument;
    bool expected = row->kind == LW_LOCK_ROW_PESSIMISTIC && lw_equal(row->label, T("tester"));
    counts[expected ? 0 : 1]++;
    return true;
}

LW_YIELDS static void lock_many(void *argument) {
    fixture *in = argument;
    enum { COUNT = 300 };
    lw_client *ops = another(in, "operator");
    lw_txn *txn = begin(in->client, LW_PESSIMISTIC, 60000);
    for (int index = 0; index < COUNT; index++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "%d", index);
        OK(lw_put(txn, T(key), T("v")));
    }
    for (uint32_t page_rows = 1; page_rows <= 1024; page_rows *= 4) {
        uint32_t counts[2] = {0};
        OK(lw_operate_locks(ops, page_rows, count_rows, counts));
        EXPECT(counts[0] == COUNT && counts[1] == 0);
    }
    lw_txn_close(txn);
    lw_close(ops);
    in->done = true;
}

static void all_locks_are_listed_whatever_the_page(void **state) {
    tell(*state, lock_many);
}

int main(void) {
#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        STORY(a_newer_version_says_whose_it_is),
        STORY(who_waited_too_long_is_told_for_whom),
        STORY(who_waited_and_lost_is_told_how_long),
        STORY(who_is_held_up_by_a_commit_is_told_whose),
        STORY(a_deadlock_names_the_whole_cycle),
        STORY(a_long_deadlock_names_as_many_as_fit),
        STORY(who_was_killed_is_told_by_whom),
        STORY(who_was_killed_runs_again),
        STORY(all_locks_are_listed_whatever_the_page),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
