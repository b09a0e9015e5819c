/* SPDX-License-Identifier: Apache-2.0 */
/* What a user is told when others were in the way: every sentence, against a real node in the
 * simulated world. */
#include "client/operate.h"
#include "client/transaction.h"
#include "tests/client_world.h"

#include <ctype.h>

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
        lw_txn *txn = begin_within(in->client, LW_OPTIMISTIC, 0);
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

/* By a commit that went over two shards, and whose client is gone. */
LW_YIELDS static void be_overtaken_over_shards(void *argument) {
    fixture *in = argument;
    lw_bytes value;
    OK(lw_split(in->client, T("m")));
    lw_txn *txn = begin_within(in->client, LW_OPTIMISTIC, 0);
    EXPECT(lw_get(txn, T("z"), &value) == LW_NOT_FOUND);
    lw_client *importer = another(in, "importer");
    lw_txn *other = begin_within(importer, LW_OPTIMISTIC, 0);
    OK(lw_put(other, T("a"), T("newer")));
    OK(lw_put(other, T("z"), T("newer")));
    OK(lw_commit(other));
    lw_txn_close(other);
    lw_close(importer);
    lw_env_sleep(in->env, 5 * second);
    OK(lw_put(txn, T("l"), T("v")));
    EXPECT(lw_commit(txn) == LW_CONFLICT);
    EXPECT(says(lw_client_error(in->client),
                "the key \"z\" was changed by transaction # of client \"importer\": run the whole "
                "transaction again"));
    lw_txn_close(txn);
    in->done = true;
}

static void a_newer_version_over_shards_says_whose_it_is(void **state) {
    tell(*state, be_overtaken_over_shards);
}

LW_YIELDS static void lock_what_is_newer(void *argument) {
    fixture *in = argument;
    lw_txn_options options = {.isolation = LW_SNAPSHOT, .locking = LW_PESSIMISTIC};
    lw_txn *txn = NULL;
    lw_bytes value;
    OK(put_alone(in->client, "l", "v"));
    OK(lw_begin(in->client, &options, &txn));
    OK(lw_get(txn, T("l"), &value));
    lw_client *importer = another(in, "importer");
    OK(put_alone(importer, "k", "newer"));
    EXPECT(lw_get_for_update(txn, T("k"), &value) == LW_CONFLICT);
    EXPECT(says(lw_client_error(in->client),
                "the key \"k\" was changed at #, after this transaction's snapshot was taken at #: "
                "run the whole transaction again"));
    lw_txn_close(txn);
    lw_close(importer);
    in->done = true;
}

static void what_is_newer_than_a_snapshot_says_when(void **state) {
    tell(*state, lock_what_is_newer);
}

/* ---- locks that are waited for -------------------------------------------------------------- */

LW_YIELDS static void wait_in_vain(void *argument) {
    fixture *in = argument;
    lw_client *other = another(in, "holder");
    lw_txn *holder = begin_within(other, LW_PESSIMISTIC, 60000);
    OK(lw_put(holder, T("k"), T("held")));
    lw_env_sleep(in->env, second);
    lw_txn *txn = begin_within(in->client, LW_PESSIMISTIC, 500);
    EXPECT(lw_put(txn, T("k"), T("v")) == LW_TIMEOUT);
    EXPECT(
        says(lw_client_error(in->client),
             "waited # ms for the key \"k\", which transaction # of client \"holder\" has locked "
             "for # ms"));
    lw_txn_close(txn);
    txn = begin_within(in->client, LW_OPTIMISTIC, 500);
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
    lw_txn *txn = begin_within(client, LW_PESSIMISTIC, 0);
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
    lw_txn *txn = begin_within(in->client, LW_OPTIMISTIC, 0);
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
    lw_txn *txn = begin_within(in->client, LW_OPTIMISTIC, 500);
    EXPECT(lw_get(txn, T("k"), &value) == LW_TIMEOUT);
    EXPECT(says(lw_client_error(in->client), wanted));
    lw_txn_close(txn);
    txn = begin_within(in->client, LW_OPTIMISTIC, 500);
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
    lw_txn *txn = begin_within(client, LW_PESSIMISTIC, 60000);
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
    lw_txn *txn = begin_within(in->client, LW_PESSIMISTIC, 0);
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
    lw_txn *txn = begin_within(in->client, LW_PESSIMISTIC, 30000);
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
    lw_txn *txn = begin_within(in->client, LW_PESSIMISTIC, 0);
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
    txn = begin_within(in->client, LW_OPTIMISTIC, 0);
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
    lw_status status = lw_operate_kill(client, ((lw_txn *)in->own)->start, &at);
    LW_ASSERT(status == LW_OK);
    lw_close(client);
    in->running--;
}

static lw_status lock_and_dawdle(lw_txn *txn, void *argument) {
    fixture *in = argument;
    LW_TRY(lw_put(txn, T("k"), T("v")));
    if (in->own == NULL) { /* the first time */
        in->own = txn;
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
    EXPECT(in->own != NULL);
    in->done = true;
}

static void who_was_killed_runs_again(void **state) {
    tell(*state, run_again);
}

enum { ADDERS = 5, ADDITIONS = 60 };

typedef struct adder {
    fixture *in;
    lw_locking locking;
    uint64_t added, doubts;
} adder;

/* Adds one to two counters that lie in two shards. */
static lw_status add_to_both(lw_txn *txn, void *argument) {
    (void)argument;
    static const char *const keys[] = {"a", "z"};
    for (int index = 0; index < 2; index++) {
        lw_bytes value;
        uint64_t number = 0;
        lw_status status = lw_get_for_update(txn, T(keys[index]), &value);
        if (status == LW_OK) {
            memcpy(&number, value.data, sizeof(number));
        } else if (status != LW_NOT_FOUND) {
            return status;
        }
        number++;
        LW_TRY(lw_put(txn, T(keys[index]), lw_view(&number, sizeof(number))));
    }
    return LW_OK;
}

LW_YIELDS static void add_many(void *argument) {
    adder *self = argument;
    fixture *in = self->in;
    lw_client *client = another(in, "adder");
    lw_txn_options options = {.locking = self->locking, .timeout_ms = 60000};
    for (int round = 0; round < ADDITIONS; round++) {
        lw_status status = lw_run(client, &options, add_to_both, NULL);
        self->added += status == LW_OK;
        self->doubts += status != LW_OK;
    }
    lw_close(client);
    in->running--;
}

typedef struct targets {
    uint64_t starts[64];
    uint32_t count;
} targets;

static void aim(targets *all, uint64_t start) {
    if (all->count < 64) {
        all->starts[all->count++] = start;
    }
}

/* Who has a lock, and who waits for it. */
static bool aim_at(void *argument, const lw_lock_row *row) {
    aim(argument, row->start);
    for (uint32_t index = 0; index < row->wait_count; index++) {
        aim(argument, row->waits[index].start);
    }
    return true;
}

LW_YIELDS static void add_under_fire(void *argument) {
    fixture *in = argument;
    adder adders[ADDERS];
    uint64_t killed = 0, added = 0, numbers[2] = {0};
    lw_client *ops = another(in, "operator");
    OK(lw_split(in->client, T("m")));
    for (uint32_t index = 0; index < ADDERS; index++) {
        adders[index] =
            (adder){.in = in, .locking = index % 2 == 0 ? LW_PESSIMISTIC : LW_OPTIMISTIC};
        in->running++;
        lw_env_start(in->env, "adder", add_many, &adders[index]);
    }
    while (in->running > 0) {
        targets all = {0};
        OK(lw_operate_locks(ops, 10, aim_at, &all));
        if (all.count > 0) {
            uint64_t at;
            uint64_t start = all.starts[lw_env_random_below(in->env, all.count)];
            lw_status status = lw_operate_kill(ops, start, &at);
            killed += status == LW_OK;
        }
        lw_env_sleep(in->env, lw_env_random_below(in->env, 8 * millisecond));
    }
    for (uint32_t index = 0; index < ADDERS; index++) {
        EXPECT(adders[index].doubts == 0);
        added += adders[index].added;
    }
    EXPECT(killed > 5);
    lw_txn *txn = begin_within(in->client, LW_OPTIMISTIC, 0);
    for (int index = 0; index < 2; index++) {
        lw_bytes value;
        OK(lw_get(txn, T(index == 0 ? "a" : "z"), &value));
        memcpy(&numbers[index], value.data, sizeof(uint64_t));
    }
    EXPECT(numbers[0] == added && numbers[1] == added);
    lw_txn_close(txn);
    targets left = {0};
    OK(lw_operate_locks(ops, 10, aim_at, &left));
    EXPECT(left.count == 0);
    lw_close(ops);
    in->done = true;
}

static void kills_cost_no_acknowledged_addition(void **state) {
    tell(*state, add_under_fire);
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
    lw_txn *txn = begin_within(in->client, LW_PESSIMISTIC, 60000);
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
    const struct CMUnitTest tests[] = {
        STORY(a_newer_version_says_whose_it_is),
        STORY(a_newer_version_over_shards_says_whose_it_is),
        STORY(what_is_newer_than_a_snapshot_says_when),
        STORY(who_waited_too_long_is_told_for_whom),
        STORY(who_waited_and_lost_is_told_how_long),
        STORY(who_is_held_up_by_a_commit_is_told_whose),
        STORY(a_deadlock_names_the_whole_cycle),
        STORY(a_long_deadlock_names_as_many_as_fit),
        STORY(who_was_killed_is_told_by_whom),
        STORY(who_was_killed_runs_again),
        STORY(kills_cost_no_acknowledged_addition),
        STORY(all_locks_are_listed_whatever_the_page),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
