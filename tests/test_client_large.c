/* SPDX-License-Identifier: Apache-2.0 */
/* The client library against a node of several shards, both in the simulated world: everything
 * works as with one shard, whatever the client knows of the shards and whenever they are split. */
#include "client/transaction.h"

/* Room for a few dozen writes: the next ones go ahead. */
#define CLIENT_OPTIONS \
    { .address = "node:7871", .timeout_ms = 60000, .write_memory = 4 * 1024 }
#include "tests/client_world.h"

/* ---- what is written and read -----------------------------------------------------------------
 */

enum { KEYS = 400 };

static lw_bytes numbered(uint32_t number, char text[16]) {
    (void)snprintf(text, 16, "key%06u", number);
    return T(text);
}

LW_YIELDS static lw_status put_numbers(lw_txn *txn, uint32_t first, uint32_t count,
                                       const char *value) {
    char text[16];
    for (uint32_t number = first; number < first + count; number++) {
        LW_TRY(lw_put(txn, numbered(number, text), T(value)));
    }
    return LW_OK;
}

/* Counts what a scan sees, in each direction, and whether it comes in order; -1 if not. */
LW_YIELDS static int count_seen(lw_txn *txn, int backwards, const char *value_seen) {
    lw_scan_options options = {.backwards = backwards};
    lw_scan *scan = NULL;
    lw_bytes key, value;
    char last[16] = {0};
    int count = 0;
    lw_status status = lw_scan_open(txn, &options, &scan);
    while (status == LW_OK && (status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        char text[16] = {0};
        memcpy(text, key.data, key.size < 15 ? key.size : 15);
        int order = count == 0 ? (backwards ? -1 : 1) : strcmp(text, last);
        if ((backwards ? order >= 0 : order <= 0) || !lw_equal(value, T(value_seen))) {
            count = -1;
            break;
        }
        memcpy(last, text, sizeof(last));
        count++;
    }
    lw_scan_close(scan);
    return status == LW_NOT_FOUND ? count : -1;
}

/* How many keys a fresh transaction of another client sees. */
LW_YIELDS static int others_see(fixture *in, const char *value) {
    lw_client *client = another(in, "another");
    lw_txn *txn = begin(client, LW_SNAPSHOT, LW_OPTIMISTIC);
    int forth = count_seen(txn, 0, value), back = count_seen(txn, 1, value);
    lw_txn_close(txn);
    lw_close(client);
    return forth == back ? forth : -1;
}

LW_YIELDS static void write_much(void *argument) {
    fixture *in = argument;
    OK(split(in, "key000100"));
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    char text[16];
    lw_bytes value;
    OK(put_numbers(txn, 0, KEYS, "first"));
    EXPECT(txn->flushes > 3);
    OK(split(in, "key000200"));
    EXPECT(count_seen(txn, 0, "first") == KEYS);
    EXPECT(count_seen(txn, 1, "first") == KEYS);
    OK(put_numbers(txn, 0, KEYS, "second"));
    EXPECT(count_seen(txn, 0, "second") == KEYS);
    for (uint32_t number = 0; number < KEYS; number += 2) {
        OK(lw_delete(txn, numbered(number, text), NULL));
    }
    EXPECT(count_seen(txn, 1, "second") == KEYS / 2);
    EXPECT(lw_get(txn, numbered(8, text), &value) == LW_NOT_FOUND);
    OK(lw_get(txn, numbered(9, text), &value));
    SAME(value, "second");
    char other[16], third[16];
    lw_lookup lookups[] = {{.key = numbered(7, text)},
                           {.key = numbered(8, other)},
                           {.key = numbered(KEYS - 1, third)}};
    OK(lw_get_many(txn, lookups, 3));
    EXPECT(lookups[0].status == LW_OK && lookups[1].status == LW_NOT_FOUND);
    EXPECT(lookups[2].status == LW_OK && lw_equal(lookups[2].value, T("second")));
    OK(split(in, "key000300"));
    OK(lw_commit(txn));
    lw_txn_close(txn);
    EXPECT(others_see(in, "second") == KEYS / 2);
    in->done = true;
}

static void what_was_sent_ahead_is_read_and_committed(void **state) {
    tell(*state, write_much);
}

LW_YIELDS static void give_much_up(void *argument) {
    fixture *in = argument;
    lw_client *client = another(in, "another");
    lw_txn *txn = begin(client, LW_STRICT, LW_OPTIMISTIC);
    OK(put_numbers(txn, 0, 50, "old"));
    OK(lw_commit(txn));
    lw_txn_close(txn);
    for (int close = 0; close <= 1; close++) {
        txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
        OK(put_numbers(txn, 0, KEYS, "new"));
        EXPECT(txn->flushes > 3);
        if (close == 0) {
            OK(lw_rollback(txn));
        }
        lw_txn_close(txn);
        EXPECT(others_see(in, "old") == 50);
    }
    lw_close(client);
    in->done = true;
}

static void what_was_sent_ahead_and_given_up_never_was(void **state) {
    tell(*state, give_much_up);
}

LW_YIELDS static void conflict_much(void *argument) {
    fixture *in = argument;
    lw_client *client = another(in, "another");
    lw_bytes value;
    char text[16];
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    EXPECT(lw_get(txn, T("read"), &value) == LW_NOT_FOUND);
    OK(put_numbers(txn, 0, KEYS, "new"));
    lw_txn *other = begin(client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_put(other, T("read"), T("x")));
    OK(lw_commit(other));
    lw_txn_close(other);
    EXPECT(lw_commit(txn) == LW_CONFLICT);
    lw_txn_close(txn);
    EXPECT(others_see(in, "x") == 1);
    /* First committer wins over what is sent ahead, too. */
    txn = begin(in->client, LW_SNAPSHOT, LW_OPTIMISTIC);
    OK(lw_get(txn, T("read"), &value));
    other = begin(client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_put(other, numbered(5, text), T("x")));
    OK(lw_commit(other));
    lw_txn_close(other);
    EXPECT(put_numbers(txn, 0, KEYS, "new") == LW_CONFLICT);
    EXPECT(lw_put(txn, T("late"), T("x")) == LW_INVALID_ARGUMENT);
    lw_txn_close(txn);
    EXPECT(others_see(in, "x") == 2);
    lw_close(client);
    in->done = true;
}

static void a_conflict_takes_all_back(void **state) {
    tell(*state, conflict_much);
}

/* ---- what else writes ---------------------------------------------------------------------------
 */

LW_YIELDS static void delete_much(void *argument) {
    fixture *in = argument;
    lw_client *client = another(in, "another");
    OK(split(in, "key000150"));
    lw_txn *txn = begin(client, LW_STRICT, LW_OPTIMISTIC);
    OK(put_numbers(txn, 0, KEYS, "value"));
    OK(lw_commit(txn));
    lw_txn_close(txn);
    txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    uint64_t count = 0;
    OK(lw_delete_range(txn, T("key000010"), T("key000390"), &count));
    EXPECT(count == 380 && txn->flushes > 3);
    EXPECT(count_seen(txn, 0, "value") == 20);
    OK(lw_delete_range(txn, T("key"), T("kez"), &count));
    EXPECT(count == 20);
    OK(put_numbers(txn, 100, 7, "value"));
    OK(lw_commit(txn));
    lw_txn_close(txn);
    EXPECT(others_see(in, "value") == 7);
    lw_close(client);
    in->done = true;
}

static void a_long_range_is_deleted_in_a_stream(void **state) {
    tell(*state, delete_much);
}

LW_YIELDS static void write_ahead_of_a_scan(void *argument) {
    fixture *in = argument;
    lw_client *client = another(in, "another");
    lw_txn *txn = begin(client, LW_STRICT, LW_OPTIMISTIC);
    OK(put_numbers(txn, 0, KEYS, "old"));
    OK(lw_commit(txn));
    lw_txn_close(txn);
    txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    lw_scan *scan = NULL;
    lw_bytes key, value;
    char text[16];
    OK(lw_scan_open(txn, NULL, &scan));
    OK(lw_scan_next(scan, &key, &value));
    OK(lw_put(txn, numbered(KEYS - 1, text), T("ahead"))); /* kept when the others go */
    for (uint32_t number = 1; number < KEYS; number++) {
        OK(lw_put(txn, numbered(number, text), T("new")));
        if (number % 3 == 0) {
            OK(lw_scan_next(scan, &key, &value));
            bool mine = lw_compare(key, numbered(number, text)) <= 0;
            EXPECT(!mine || lw_equal(value, T("new")));
        }
    }
    lw_scan_close(scan);
    OK(lw_commit(txn));
    lw_txn_close(txn);
    lw_close(client);
    in->done = true;
}

static void a_scan_sees_what_is_written_ahead_of_it(void **state) {
    tell(*state, write_ahead_of_a_scan);
}

LW_YIELDS static void add_much(void *argument) {
    fixture *in = argument;
    lw_bytes value;
    for (int locking = LW_OPTIMISTIC; locking <= LW_PESSIMISTIC; locking++) {
        lw_txn *txn = begin(in->client, LW_STRICT, (lw_locking)locking);
        OK(lw_add(txn, T("sum"), 1));
        OK(put_numbers(txn, 0, 100, "x"));
        OK(lw_add(txn, T("sum"), 2));
        OK(put_numbers(txn, 100, 100, "x"));
        EXPECT(txn->flushes > 1);
        OK(lw_get(txn, T("sum"), &value));
        EXPECT(value.size == 8 && lw_get_u64(value.data) == (locking == LW_OPTIMISTIC ? 3 : 6));
        OK(lw_get_for_update(txn, T("key000003"), &value));
        SAME(value, "x");
        OK(put_numbers(txn, 200, 100, "x"));
        OK(lw_get(txn, T("key000003"), &value));
        SAME(value, "x");
        EXPECT(lw_insert(txn, T("key000003"), T("y")) == LW_EXISTS);
        OK(lw_commit(txn));
        lw_txn_close(txn);
    }
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_get(txn, T("sum"), &value));
    EXPECT(lw_get_u64(value.data) == 6);
    OK(lw_get(txn, T("key000003"), &value));
    SAME(value, "x");
    lw_txn_close(txn);
    in->done = true;
}

static void atomic_writes_and_locks_go_on_over_what_was_sent_ahead(void **state) {
    tell(*state, add_much);
}

LW_YIELDS static void save_much(void *argument) {
    fixture *in = argument;
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_savepoint(txn, "early"));
    OK(put_numbers(txn, 0, 100, "x"));
    EXPECT(txn->flushes > 0);
    EXPECT(lw_rollback_to(txn, "early") == LW_INVALID_ARGUMENT);
    uint32_t flushes = txn->flushes, count = 100;
    while (txn->flushes == flushes) { /* until there is room */
        OK(put_numbers(txn, count++, 1, "x"));
    }
    flushes = txn->flushes;
    OK(lw_savepoint(txn, "late"));
    OK(put_numbers(txn, 500, 3, "y"));
    EXPECT(txn->flushes == flushes);
    OK(lw_rollback_to(txn, "late"));
    OK(lw_commit(txn));
    lw_txn_close(txn);
    EXPECT(others_see(in, "x") == (int)count);
    in->done = true;
}

static void a_savepoint_of_before_cannot_be_returned_to(void **state) {
    tell(*state, save_much);
}

/* ---- much that is read
 * ---------------------------------------------------------------------------- */

enum { READ = 70000, AT_ONCE = 1000 };

/* Reads so many keys that are not there, and then some that are. */
LW_YIELDS static lw_status read_numbers(fixture *in, lw_txn *txn) {
    lw_lookup *lookups = lw_allocate_zero(in->env->memory, AT_ONCE * sizeof(*lookups));
    char(*texts)[16] = lw_allocate(in->env->memory, AT_ONCE * sizeof(*texts));
    lw_status status = LW_OK;
    for (uint32_t first = 0; first < READ && status == LW_OK; first += AT_ONCE) {
        for (uint32_t index = 0; index < AT_ONCE; index++) {
            lookups[index].key = numbered((first + index) * 10, texts[index]);
        }
        status = lw_get_many(txn, lookups, AT_ONCE);
    }
    lw_free(in->env->memory, texts);
    lw_free(in->env->memory, lookups);
    return status;
}

LW_YIELDS static void read_much(void *argument) {
    fixture *in = argument;
    lw_client *client = another(in, "another");
    static const struct {
        uint32_t changed;
        lw_status expected;
    } cases[] = {{999999, LW_OK}, {100000, LW_CONFLICT}, {699990, LW_CONFLICT}};
    OK(split(in, "key333333"));
    for (size_t index = 0; index < 3; index++) {
        char text[16];
        lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
        OK(read_numbers(in, txn));
        EXPECT(txn->range_count > 100 && txn->read_count < READ);
        lw_txn *other = begin(client, LW_STRICT, LW_OPTIMISTIC);
        OK(lw_put(other, numbered(cases[index].changed, text), T("x")));
        OK(lw_commit(other));
        lw_txn_close(other);
        OK(lw_put(txn, T("z"), T("mine")));
        OK(lw_put(txn, T("a"), T("mine")));
        lw_env_sleep(in->env, second / 50);
        EXPECT(lw_commit(txn) == cases[index].expected);
        lw_txn_close(txn);
    }
    lw_close(client);
    in->done = true;
}

static void much_that_was_read_still_counts(void **state) {
    tell(*state, read_much);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_sent_ahead_is_read_and_committed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_sent_ahead_and_given_up_never_was, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_conflict_takes_all_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_range_is_deleted_in_a_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(a_scan_sees_what_is_written_ahead_of_it, setup, teardown),
        cmocka_unit_test_setup_teardown(atomic_writes_and_locks_go_on_over_what_was_sent_ahead,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_savepoint_of_before_cannot_be_returned_to, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(much_that_was_read_still_counts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
