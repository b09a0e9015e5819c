/* SPDX-License-Identifier: Apache-2.0 */
/* The client library against a real node, both in the simulated world: what concurrent transactions
 * see of each other, optimistic and pessimistic. */
#include "tests/client_world.h"

/* ---- isolation ---------------------------------------------------------------------------- */

LW_YIELDS static void skew(void *argument) {
    fixture *in = argument;
    lw_bytes value;
    for (int round = 0; round < 2; round++) {
        lw_isolation isolation = round == 0 ? LW_STRICT : LW_SNAPSHOT;
        lw_txn *one = begin(in->client, isolation, LW_OPTIMISTIC);
        lw_txn *two = begin(in->client, isolation, LW_OPTIMISTIC);
        EXPECT(lw_get(one, T("x"), &value) == (round == 0 ? LW_NOT_FOUND : LW_OK));
        (void)!lw_get(two, T("y"), &value);
        OK(lw_put(one, T("y"), T("1")));
        OK(lw_put(two, T("x"), T("1")));
        OK(lw_commit(two));
        EXPECT(lw_commit(one) == (round == 0 ? LW_CONFLICT : LW_OK));
        EXPECT(round == 1 || strstr(lw_client_error(in->client), "\"x\"") != NULL);
        lw_txn_close(one);
        lw_txn_close(two);
    }
    in->done = true;
}

static void write_skew_is_a_conflict_only_when_strict(void **state) {
    tell(*state, skew);
}

LW_YIELDS static void phantom(void *argument) {
    fixture *in = argument;
    char text[64];
    lw_txn *one = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    lw_scan_options options = {.prefix = T("p/")};
    OK(scan_text(one, &options, text, sizeof(text)));
    OK(lw_put(one, T("count"), T("0")));
    OK(put_alone(in->client, "p/1", "x"));
    EXPECT(lw_commit(one) == LW_CONFLICT);
    lw_txn_close(one);
    one = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(scan_text(one, &options, text, sizeof(text)));
    OK(lw_put(one, T("count"), T("1")));
    OK(put_alone(in->client, "q/1", "elsewhere"));
    OK(lw_commit(one));
    lw_txn_close(one);
    in->done = true;
}

static void a_phantom_in_a_scanned_range_is_a_conflict(void **state) {
    tell(*state, phantom);
}

LW_YIELDS static void race_writes(void *argument) {
    fixture *in = argument;
    lw_bytes value;
    OK(put_alone(in->client, "k", "0"));
    lw_txn *reader = begin(in->client, LW_SNAPSHOT, LW_OPTIMISTIC);
    lw_txn *blind = begin(in->client, LW_SNAPSHOT, LW_OPTIMISTIC);
    OK(lw_get(reader, T("other"), &value) == LW_NOT_FOUND ? LW_OK : LW_INTERNAL);
    OK(lw_put(reader, T("k"), T("1")));
    OK(lw_put(blind, T("k"), T("2")));
    OK(put_alone(in->client, "k", "3"));
    OK(lw_commit(blind));                     /* vouched for nothing */
    EXPECT(lw_commit(reader) == LW_CONFLICT); /* first committer wins */
    EXPECT(holds(in->client, "k", "2"));
    lw_txn_close(reader);
    lw_txn_close(blind);
    lw_txn *old = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_get(old, T("k"), &value));
    OK(put_alone(in->client, "k", "4"));
    OK(lw_get(old, T("k"), &value));
    SAME(value, "2");   /* its snapshot */
    OK(lw_commit(old)); /* wrote nothing: nothing to hold against it */
    uint64_t then = lw_read_timestamp(old);
    lw_txn_close(old);
    lw_txn_options past = {.at_timestamp = then};
    OK(lw_begin(in->client, &past, &old));
    OK(lw_get(old, T("k"), &value));
    SAME(value, "2");
    lw_txn_close(old);
    past.at_timestamp = UINT64_MAX - 1;
    OK(lw_begin(in->client, &past, &old));
    EXPECT(lw_get(old, T("k"), &value) == LW_INVALID_ARGUMENT);
    lw_txn_close(old);
    in->done = true;
}

static void the_first_committer_wins_and_snapshots_stand(void **state) {
    tell(*state, race_writes);
}

LW_YIELDS static void optimistic_locks(void *argument) {
    fixture *in = argument;
    lw_bytes value;
    OK(put_alone(in->client, "k", "0"));
    lw_txn *one = begin(in->client, LW_SNAPSHOT, LW_OPTIMISTIC);
    OK(lw_get_for_update(one, T("k"), &value));
    SAME(value, "0");
    OK(lw_put(one, T("other"), T("1")));
    OK(put_alone(in->client, "k", "1"));
    EXPECT(lw_commit(one) == LW_CONFLICT);
    lw_txn_close(one);
    in->done = true;
}

static void what_was_read_for_update_must_stand_at_commit(void **state) {
    tell(*state, optimistic_locks);
}

/* ---- pessimistic transactions ------------------------------------------------------------- */

static lw_status add_one(lw_txn *txn, void *argument) {
    const char *key = argument;
    lw_bytes value;
    uint64_t number = 0;
    lw_status status = lw_get_for_update(txn, T(key), &value);
    if (status == LW_OK) {
        memcpy(&number, value.data, sizeof(number));
    } else if (status != LW_NOT_FOUND) {
        return status;
    }
    number++;
    return lw_put(txn, T(key), lw_view(&number, sizeof(number)));
}

enum { ADDERS = 4, ADDITIONS = 25 };

typedef struct adder {
    fixture *in;
    lw_locking locking;
    lw_isolation isolation;
    uint32_t failures;
} adder;

LW_YIELDS static void add_many(void *argument) {
    adder *self = argument;
    fixture *in = self->in;
    lw_client *client = another(in, "adder");
    char key[] = "counter";
    lw_txn_options options = {
        .locking = self->locking, .isolation = self->isolation, .timeout_ms = 60000};
    for (int round = 0; round < ADDITIONS; round++) {
        self->failures += lw_run(client, &options, add_one, key) != LW_OK;
    }
    lw_close(client);
    in->running--;
}

LW_YIELDS static void count_together(void *argument) {
    fixture *in = argument;
    adder adders[ADDERS];
    for (uint32_t index = 0; index < ADDERS; index++) {
        adders[index] = (adder){.in = in,
                                .locking = index % 2 == 0 ? LW_PESSIMISTIC : LW_OPTIMISTIC,
                                .isolation = index < 2 ? LW_STRICT : LW_SNAPSHOT};
        in->running++;
        lw_env_start(in->env, "adder", add_many, &adders[index]);
    }
    while (in->running > 0) {
        lw_env_sleep(in->env, 10 * millisecond);
    }
    for (uint32_t index = 0; index < ADDERS; index++) {
        EXPECT(adders[index].failures == 0);
    }
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    lw_bytes value;
    uint64_t number = 0;
    OK(lw_get(txn, T("counter"), &value));
    memcpy(&number, value.data, sizeof(number));
    EXPECT(number == ADDERS * ADDITIONS);
    lw_txn_close(txn);
    in->done = true;
}

static void no_addition_is_lost_whatever_the_mode(void **state) {
    tell(*state, count_together);
}

LW_YIELDS static void lock_second(void *argument) {
    fixture *in = argument;
    lw_client *client = another(in, "second");
    lw_txn *txn = begin(client, LW_STRICT, LW_PESSIMISTIC);
    lw_bytes value;
    lw_status status = lw_get_for_update(txn, T("b"), &value);
    status = status == LW_NOT_FOUND ? lw_put(txn, T("a"), T("second")) : status;
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    lw_close(client);
    in->running--;
}

LW_YIELDS static void deadlock(void *argument) {
    fixture *in = argument;
    lw_txn *txn = begin(in->client, LW_STRICT, LW_PESSIMISTIC);
    OK(lw_put(txn, T("a"), T("first")));
    in->running++;
    lw_env_start(in->env, "second", lock_second, in);
    lw_env_sleep(in->env, second); /* it has b and waits for a */
    EXPECT(in->running == 1);
    uint64_t began = lw_env_now(in->env);
    EXPECT(lw_put(txn, T("b"), T("first")) == LW_CONFLICT);
    EXPECT(lw_env_now(in->env) - began < second);
    EXPECT(strstr(lw_client_error(in->client), "deadlock") != NULL);
    lw_txn_close(txn);
    lw_env_sleep(in->env, second);
    EXPECT(in->running == 0); /* the other went on */
    EXPECT(holds(in->client, "a", "second"));
    in->done = true;
}

static void a_deadlock_is_found_when_it_closes(void **state) {
    tell(*state, deadlock);
}

LW_YIELDS static void wait_too_long(void *argument) {
    fixture *in = argument;
    lw_client *other = another(in, "holder");
    lw_txn *holder = begin(other, LW_STRICT, LW_PESSIMISTIC);
    OK(lw_put(holder, T("k"), T("held")));
    lw_txn_options options = {.locking = LW_PESSIMISTIC, .timeout_ms = 500};
    lw_txn *txn = NULL;
    OK(lw_begin(in->client, &options, &txn));
    EXPECT(lw_put(txn, T("k"), T("mine")) == LW_TIMEOUT);
    lw_txn_close(txn);
    OK(lw_commit(holder));
    lw_txn_close(holder);
    lw_close(other);
    in->done = true;
}

static void waiting_for_a_lock_ends_at_the_deadline(void **state) {
    tell(*state, wait_too_long);
}

/* Locks "k", and loses the connection until the deadline has passed. */
LW_YIELDS static void lock_until_too_late(fixture *in, lw_txn **txn) {
    lw_txn_options brief = {.locking = LW_PESSIMISTIC, .timeout_ms = 200};
    OK(lw_begin(in->client, &brief, txn));
    OK(lw_put(*txn, T("k"), T("1")));
    lw_bytes value;
    lw_world_cut(in->world, in->node_host, in->client_host, true);
    EXPECT(lw_get(*txn, T("other"), &value) == LW_TIMEOUT);
}

/* Whether another client gets the lock on "k" within so long. */
LW_YIELDS static bool others_lock(fixture *in, uint32_t timeout_ms) {
    lw_client *other = another(in, "other");
    lw_txn_options options = {.locking = LW_PESSIMISTIC, .timeout_ms = timeout_ms};
    lw_txn *txn = NULL;
    bool got = lw_begin(other, &options, &txn) == LW_OK && lw_put(txn, T("k"), T("2")) == LW_OK;
    lw_txn_close(txn);
    lw_close(other);
    return got;
}

static void late_rollback_story(void *argument) {
    fixture *in = argument;
    lw_txn *txn = NULL;
    lock_until_too_late(in, &txn);
    EXPECT(lw_rollback(txn) == LW_TIMEOUT);
    lw_world_cut(in->world, in->node_host, in->client_host, false);
    lw_txn_close(txn);
    EXPECT(others_lock(in, 100));
    in->done = true;
}

static void a_rollback_after_the_deadline_frees_the_locks_at_the_close(void **state) {
    tell(*state, late_rollback_story);
}

static void unheard_rollback_story(void *argument) {
    fixture *in = argument;
    lw_txn *txn = NULL;
    lock_until_too_late(in, &txn);
    lw_txn_close(txn);
    lw_world_cut(in->world, in->node_host, in->client_host, false);
    OK(lw_ping(in->client)); /* it lives on, and so would its session */
    EXPECT(others_lock(in, 8000));
    OK(lw_ping(in->client));
    in->done = true;
}

static void locks_of_a_transaction_whose_end_was_not_heard_are_swept(void **state) {
    tell(*state, unheard_rollback_story);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(write_skew_is_a_conflict_only_when_strict),
        STORY(a_phantom_in_a_scanned_range_is_a_conflict),
        STORY(the_first_committer_wins_and_snapshots_stand),
        STORY(what_was_read_for_update_must_stand_at_commit),
        STORY(no_addition_is_lost_whatever_the_mode),
        STORY(a_deadlock_is_found_when_it_closes),
        STORY(waiting_for_a_lock_ends_at_the_deadline),
        STORY(a_rollback_after_the_deadline_frees_the_locks_at_the_close),
        STORY(locks_of_a_transaction_whose_end_was_not_heard_are_swept),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
