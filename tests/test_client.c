/* SPDX-License-Identifier: Apache-2.0 */
/* The client library against a real node, both in the simulated world: what lathwork.h promises of
 * keys, ranges and savepoints. */
#include "tests/client_world.h"

/* ---- single keys -------------------------------------------------------------------------- */

LW_YIELDS static void write_and_read(void *argument) {
    fixture *in = argument;
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    lw_bytes value;
    EXPECT(lw_get(txn, T("k"), &value) == LW_NOT_FOUND);
    OK(lw_put(txn, T("k"), T("v")));
    OK(lw_put(txn, T("empty"), T("")));
    OK(lw_put(txn, lw_view("\0\xff\0", 3), T("binary")));
    OK(lw_get(txn, T("k"), &value));
    SAME(value, "v");
    OK(lw_commit(txn));
    EXPECT(lw_commit_timestamp(txn) > lw_read_timestamp(txn));
    EXPECT(lw_put(txn, T("k"), T("late")) == LW_INVALID_ARGUMENT);
    lw_txn_close(txn);
    txn = begin(in->client, LW_SNAPSHOT, LW_OPTIMISTIC);
    OK(lw_get(txn, T("k"), &value));
    SAME(value, "v");
    OK(lw_get(txn, T("empty"), &value));
    EXPECT(value.size == 0);
    OK(lw_get(txn, lw_view("\0\xff\0", 3), &value));
    SAME(value, "binary");
    EXPECT(lw_get(txn, lw_view("\0\xff", 2), &value) == LW_NOT_FOUND);
    int existed = -1;
    OK(lw_delete(txn, T("k"), &existed));
    EXPECT(existed == 1);
    OK(lw_delete(txn, T("k"), &existed));
    EXPECT(existed == 0);
    EXPECT(lw_get(txn, T("k"), &value) == LW_NOT_FOUND);
    EXPECT(lw_insert(txn, T("empty"), T("x")) == LW_EXISTS);
    OK(lw_insert(txn, T("k"), T("again")));
    EXPECT(lw_insert(txn, T("k"), T("x")) == LW_EXISTS);
    OK(lw_commit(txn));
    lw_txn_close(txn);
    EXPECT(holds(in->client, "k", "again"));
    in->done = true;
}

static void what_is_committed_is_read(void **state) {
    tell(*state, write_and_read);
}

LW_YIELDS static void give_up_writes(void *argument) {
    fixture *in = argument;
    OK(put_alone(in->client, "k", "old"));
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_put(txn, T("k"), T("new")));
    OK(lw_rollback(txn));
    lw_txn_close(txn);
    txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_put(txn, T("k"), T("newer")));
    lw_txn_close(txn);
    EXPECT(holds(in->client, "k", "old"));
    in->done = true;
}

LW_YIELDS static void take_back_to_savepoints(void *argument) {
    fixture *in = argument;
    lw_bytes value;
    OK(put_alone(in->client, "k", "old"));
    for (lw_locking locking = LW_OPTIMISTIC; locking <= LW_PESSIMISTIC; locking++) {
        lw_txn *txn = begin(in->client, LW_STRICT, locking);
        OK(lw_put(txn, T("a"), T("1")));
        OK(lw_savepoint(txn, "one"));
        OK(lw_put(txn, T("k"), T("new")));
        OK(lw_put(txn, T("a"), T("2")));
        OK(lw_savepoint(txn, "two"));
        OK(lw_delete_range(txn, (lw_bytes){0}, (lw_bytes){0}, NULL));
        EXPECT(lw_get(txn, T("k"), &value) == LW_NOT_FOUND);
        OK(lw_rollback_to(txn, "two"));
        OK(lw_get(txn, T("k"), &value));
        SAME(value, "new");
        OK(lw_rollback_to(txn, "one"));
        EXPECT(lw_rollback_to(txn, "two") == LW_INVALID_ARGUMENT);
        OK(lw_get(txn, T("k"), &value)); /* locked perhaps, and not read yet */
        SAME(value, "old");
        lw_lookup lookup = {.key = T("k")};
        OK(lw_get_many(txn, &lookup, 1));
        SAME(lookup.value, "old");
        lw_scan *scan = NULL;
        lw_bytes key;
        OK(lw_scan_open(txn, NULL, &scan));
        OK(lw_scan_next(scan, &key, &value));
        SAME(key, "a");
        SAME(value, "1");
        OK(lw_scan_next(scan, &key, &value));
        SAME(key, "k");
        SAME(value, "old");
        EXPECT(lw_scan_next(scan, &key, &value) == LW_NOT_FOUND);
        lw_scan_close(scan);
        OK(lw_get_for_update(txn, T("k"), &value));
        SAME(value, "old");
        OK(lw_commit(txn));
        EXPECT(lw_savepoint(txn, "late") == LW_INVALID_ARGUMENT);
        lw_txn_close(txn);
        EXPECT(holds(in->client, "k", "old"));
        EXPECT(holds(in->client, "a", "1"));
    }
    in->done = true;
}

static void what_came_after_a_savepoint_is_taken_back(void **state) {
    tell(*state, take_back_to_savepoints);
}

/* A read whose locking was taken back was a read all the same. */
LW_YIELDS static void change_what_a_savepoint_saw(void *argument) {
    fixture *in = argument;
    lw_bytes value;
    OK(put_alone(in->client, "k", "old"));
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_put(txn, T("a"), T("1")));
    OK(lw_savepoint(txn, "one"));
    OK(lw_get_for_update(txn, T("k"), &value));
    OK(lw_put(txn, T("k"), T("new")));
    OK(lw_rollback_to(txn, "one"));
    OK(put_alone(in->client, "k", "theirs"));
    EXPECT(lw_commit(txn) == LW_CONFLICT);
    lw_txn_close(txn);
    in->done = true;
}

static void what_a_savepoint_saw_still_counts(void **state) {
    tell(*state, change_what_a_savepoint_saw);
}

LW_YIELDS static void write_atomically_alone(void *argument) {
    fixture *in = argument;
    int64_t now = 0;
    uint64_t size = 0;
    int swapped = -1;
    lw_bytes one = T("one"), onetwo = T("onetwo"), three = T("three"), fresh = T("new");
    OK(lw_add_now(in->client, T("n"), 5, &now));
    EXPECT(now == 5);
    OK(lw_add_now(in->client, T("n"), -7, &now));
    EXPECT(now == -2);
    OK(lw_max_now(in->client, T("n"), 11, &now));
    EXPECT(now == 11);
    OK(lw_min_now(in->client, T("n"), 12, NULL));
    OK(lw_append_now(in->client, T("a"), T("one"), NULL));
    OK(lw_append_now(in->client, T("a"), T("two"), &size));
    EXPECT(size == 6 && holds(in->client, "a", "onetwo"));
    EXPECT(lw_add_now(in->client, T("a"), 1, &now) == LW_INVALID_ARGUMENT);
    EXPECT(strstr(lw_client_error(in->client), "no number") != NULL && now == 11);
    EXPECT(lw_add_now(in->client, T("n"), INT64_MAX, &now) == LW_INVALID_ARGUMENT);
    OK(lw_compare_and_set(in->client, T("a"), &one, &three, &swapped));
    EXPECT(swapped == 0 && holds(in->client, "a", "onetwo"));
    OK(lw_compare_and_set(in->client, T("a"), &onetwo, &three, &swapped));
    EXPECT(swapped == 1 && holds(in->client, "a", "three"));
    OK(lw_compare_and_set(in->client, T("a"), &three, NULL, &swapped));
    EXPECT(swapped == 1 && holds(in->client, "a", NULL));
    OK(lw_compare_and_set(in->client, T("a"), NULL, &fresh, &swapped));
    EXPECT(swapped == 1 && holds(in->client, "a", "new"));
    in->done = true;
}

static void atomic_writes_alone_tell_what_they_did(void **state) {
    tell(*state, write_atomically_alone);
}

LW_YIELDS static bool number_is(lw_client *client, const char *key, int64_t expected) {
    int64_t now = expected - 1;
    return lw_add_now(client, T(key), 0, &now) == LW_OK && now == expected;
}

/* Two transactions add to the same keys and read others: nobody is in conflict. */
LW_YIELDS static void add_at_once(void *argument) {
    fixture *in = argument;
    lw_client *other = another(in, "other");
    for (int mode = 0; mode < 4; mode++) {
        lw_isolation isolation = mode % 2 == 0 ? LW_STRICT : LW_SNAPSHOT;
        lw_locking locking = mode / 2 == 0 ? LW_OPTIMISTIC : LW_PESSIMISTIC;
        lw_txn *one = begin(in->client, isolation, locking);
        lw_txn *two = begin(other, isolation, locking);
        lw_bytes value;
        EXPECT(lw_get(one, T("unrelated"), &value) == LW_NOT_FOUND);
        EXPECT(lw_get(two, T("unrelated"), &value) == LW_NOT_FOUND);
        OK(lw_add(one, T("n"), 1));
        OK(lw_add(two, T("n"), 10));
        OK(lw_add(one, T("n"), 2));
        OK(lw_append(one, T("a"), T("x")));
        OK(lw_append(two, T("a"), T("x")));
        OK(lw_max(one, T("m"), mode));
        OK(lw_commit(two));
        OK(lw_commit(one));
        lw_txn_close(one);
        lw_txn_close(two);
        EXPECT(number_is(in->client, "n", 13 * (mode + 1)));
        EXPECT(number_is(in->client, "m", mode));
    }
    EXPECT(holds(in->client, "a", "xxxxxxxx"));
    lw_close(other);
    in->done = true;
}

static void atomic_writes_are_never_in_conflict(void **state) {
    tell(*state, add_at_once);
}

LW_YIELDS static void read_what_was_added(void *argument) {
    fixture *in = argument;
    lw_bytes key, value;
    OK(lw_append_now(in->client, T("k"), T("old"), NULL));
    for (lw_locking locking = LW_OPTIMISTIC; locking <= LW_PESSIMISTIC; locking++) {
        lw_txn *txn = begin(in->client, LW_STRICT, locking);
        OK(lw_append(txn, T("k"), T("+")));
        OK(lw_append(txn, T("l"), T("new")));
        OK(lw_savepoint(txn, "before reading"));
        lw_scan *scan = NULL;
        OK(lw_scan_open(txn, NULL, &scan));
        OK(lw_scan_next(scan, &key, &value));
        SAME(value, "old+");
        OK(lw_scan_next(scan, &key, &value));
        SAME(value, "new");
        EXPECT(lw_scan_next(scan, &key, &value) == LW_NOT_FOUND);
        lw_scan_close(scan);
        OK(lw_append(txn, T("k"), T("!")));
        OK(lw_get(txn, T("k"), &value));
        SAME(value, "old+!");
        OK(lw_rollback_to(txn, "before reading"));
        lw_lookup lookup = {.key = T("k")};
        OK(lw_get_many(txn, &lookup, 1));
        SAME(lookup.value, "old+");
        OK(lw_put(txn, T("p"), T("a")));
        OK(lw_append(txn, T("p"), T("b")));
        OK(lw_get_for_update(txn, T("p"), &value));
        SAME(value, "ab");
        EXPECT(lw_insert(txn, T("k"), T("?")) == LW_EXISTS);
        int existed = 0;
        OK(lw_delete(txn, T("l"), &existed));
        EXPECT(existed == 1);
        EXPECT(lw_add(txn, T("k"), 1) == LW_INVALID_ARGUMENT); /* it was read: it is no number */
        lw_txn_close(txn);
    }
    EXPECT(holds(in->client, "k", "old"));
    in->done = true;
}

static void what_was_written_atomically_is_read_as_it_will_be(void **state) {
    tell(*state, read_what_was_added);
}

/* Read in the same transaction, an addition is in conflict like any other write. */
LW_YIELDS static void add_and_read(void *argument) {
    fixture *in = argument;
    lw_bytes value;
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_add(txn, T("n"), 1));
    OK(lw_get(txn, T("n"), &value));
    OK(lw_add_now(in->client, T("n"), 1, NULL));
    EXPECT(lw_commit(txn) == LW_CONFLICT);
    lw_txn_close(txn);
    EXPECT(number_is(in->client, "n", 1));
    in->done = true;
}

static void an_addition_that_was_read_may_be_in_conflict(void **state) {
    tell(*state, add_and_read);
}

LW_YIELDS static void stamp_a_value(void *argument) {
    fixture *in = argument;
    lw_bytes value;
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    EXPECT(lw_put_stamped(txn, T("s"), T("short"), 0) == LW_INVALID_ARGUMENT);
    EXPECT(lw_put_stamped(txn, T("s"), T("at________"), 3) == LW_INVALID_ARGUMENT);
    OK(lw_put_stamped(txn, T("s"), T("at________"), 2));
    EXPECT(lw_get(txn, T("s"), &value) == LW_INVALID_ARGUMENT);
    OK(lw_commit(txn));
    char expected[10] = "at";
    lw_put_u64_sorted((uint8_t *)expected + 2, lw_commit_timestamp(txn));
    lw_txn_close(txn);
    txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_get(txn, T("s"), &value));
    EXPECT(lw_equal(value, lw_view(expected, sizeof(expected))));
    lw_txn_close(txn);
    in->done = true;
}

static void a_stamped_value_tells_its_commit(void **state) {
    tell(*state, stamp_a_value);
}

static void what_is_rolled_back_or_closed_never_was(void **state) {
    tell(*state, give_up_writes);
}

LW_YIELDS static void overstep(void *argument) {
    fixture *in = argument;
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    lw_bytes value;
    uint8_t *large = lw_allocate_zero(in->env->memory, LW_VALUE_SIZE_MAX + 1);
    EXPECT(lw_get(txn, T(""), &value) == LW_INVALID_ARGUMENT);
    EXPECT(lw_put(txn, lw_view(large, LW_KEY_SIZE_MAX + 1), T("")) == LW_INVALID_ARGUMENT);
    EXPECT(strstr(lw_client_error(in->client), "16384") != NULL);
    EXPECT(lw_put(txn, T("k"), lw_view(large, LW_VALUE_SIZE_MAX + 1)) == LW_INVALID_ARGUMENT);
    EXPECT(strstr(lw_client_error(in->client), "16777216") != NULL);
    OK(lw_put(txn, lw_view(large, LW_KEY_SIZE_MAX), lw_view(large, LW_VALUE_SIZE_MAX)));
    OK(lw_commit(txn));
    lw_txn_close(txn);
    txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_get(txn, lw_view(large, LW_KEY_SIZE_MAX), &value));
    EXPECT(value.size == LW_VALUE_SIZE_MAX);
    lw_txn_close(txn);
    lw_txn_options options = {.read_only = 1};
    OK(lw_begin(in->client, &options, &txn));
    EXPECT(lw_put(txn, T("k"), T("")) == LW_INVALID_ARGUMENT);
    EXPECT(lw_delete_range(txn, T(""), T(""), NULL) == LW_INVALID_ARGUMENT);
    lw_txn_close(txn);
    options = (lw_txn_options){.isolation = (lw_isolation)7};
    EXPECT(lw_begin(in->client, &options, &txn) == LW_INVALID_ARGUMENT);
    in->done = true;
}

static void limits_are_named_when_overstepped(void **state) {
    tell(*state, overstep);
}

LW_YIELDS static void look_up_many(void *argument) {
    fixture *in = argument;
    enum { COUNT = 3000 };
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    char keys[COUNT][8];
    for (int index = 0; index < COUNT; index++) {
        (void)snprintf(keys[index], sizeof(keys[index]), "%05d", index);
        if (index % 2 == 0) {
            OK(lw_put(txn, T(keys[index]), T(keys[index])));
        }
    }
    OK(lw_commit(txn));
    lw_txn_close(txn);
    txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_put(txn, T(keys[1]), T("own")));
    OK(lw_delete(txn, T(keys[2]), NULL));
    lw_lookup *lookups = lw_allocate_zero(in->env->memory, COUNT * sizeof(*lookups));
    for (int index = 0; index < COUNT; index++) {
        lookups[index].key = T(keys[index]);
    }
    OK(lw_get_many(txn, lookups, COUNT));
    SAME(lookups[1].value, "own");
    EXPECT(lookups[2].status == LW_NOT_FOUND);
    for (int index = 3; index < COUNT; index++) {
        EXPECT(lookups[index].status == (index % 2 == 0 ? LW_OK : LW_NOT_FOUND));
        EXPECT(index % 2 == 1 || lw_equal(lookups[index].value, T(keys[index])));
    }
    lw_txn_close(txn);
    lw_free(in->env->memory, lookups);
    in->done = true;
}

static void many_keys_are_read_at_once(void **state) {
    tell(*state, look_up_many);
}

/* ---- scans -------------------------------------------------------------------------------- */

LW_YIELDS static void scan_own_and_others(void *argument) {
    fixture *in = argument;
    char text[512];
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_put(txn, T("a"), T("1")));
    OK(lw_put(txn, T("b1"), T("2")));
    OK(lw_put(txn, T("b3"), T("3")));
    OK(lw_put(txn, T("c"), T("4")));
    OK(lw_commit(txn));
    lw_txn_close(txn);
    txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    SCANNED(SCAN(.limit = 0), "a=1 b1=2 b3=3 c=4 ");
    OK(lw_put(txn, T("b2"), T("own")));
    OK(lw_put(txn, T("b3"), T("over")));
    OK(lw_delete(txn, T("a"), NULL));
    OK(lw_put(txn, T("d"), T("last")));
    SCANNED(SCAN(.limit = 0), "b1=2 b2=own b3=over c=4 d=last ");
    SCANNED(SCAN(.backwards = 1), "d=last c=4 b3=over b2=own b1=2 ");
    SCANNED(SCAN(.prefix = T("b")), "b1=2 b2=own b3=over ");
    SCANNED(SCAN(.prefix = T("b"), .backwards = 1), "b3=over b2=own b1=2 ");
    SCANNED(SCAN(.lower = T("b2"), .upper = T("c")), "b2=own b3=over ");
    SCANNED(SCAN(.lower = T("b2"), .upper = T("c"), .backwards = 1), "b3=over b2=own ");
    SCANNED(SCAN(.limit = 2), "b1=2 b2=own ");
    SCANNED(SCAN(.limit = 2, .backwards = 1), "d=last c=4 ");
    SCANNED(SCAN(.keys_only = 1), "b1= b2= b3= c= d= ");
    SCANNED(SCAN(.prefix = T("\xff")), "");
    lw_scan *scan = NULL;
    lw_scan_options both = {.prefix = T("b"), .lower = T("b")};
    EXPECT(lw_scan_open(txn, &both, &scan) == LW_INVALID_ARGUMENT);
    lw_txn_close(txn);
    in->done = true;
}

static void scans_see_own_writes_in_both_directions(void **state) {
    tell(*state, scan_own_and_others);
}

LW_YIELDS static void scan_pages(void *argument) {
    fixture *in = argument;
    enum { COUNT = 5000 };
    lw_txn *txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    char expected[16];
    for (int index = 0; index < COUNT; index++) {
        (void)snprintf(expected, sizeof(expected), "%06d", index);
        OK(lw_put(txn, T(expected), T(expected)));
    }
    OK(lw_commit(txn));
    lw_txn_close(txn);
    for (int backwards = 0; backwards < 2; backwards++) {
        txn = begin(in->client, LW_SNAPSHOT, LW_OPTIMISTIC);
        lw_scan_options options = {.backwards = backwards};
        lw_scan *scan = NULL;
        lw_bytes key, value;
        OK(lw_scan_open(txn, &options, &scan));
        for (int index = 0; index < COUNT; index++) {
            (void)snprintf(expected, sizeof(expected), "%06d",
                           backwards ? COUNT - 1 - index : index);
            OK(lw_scan_next(scan, &key, &value));
            SAME(key, expected);
            SAME(value, expected);
        }
        EXPECT(lw_scan_next(scan, &key, &value) == LW_NOT_FOUND);
        lw_scan_close(scan);
        lw_txn_close(txn);
    }
    uint64_t count = 0;
    txn = begin(in->client, LW_STRICT, LW_OPTIMISTIC);
    OK(lw_delete_range(txn, T("001000"), T("003000"), &count));
    EXPECT(count == 2000);
    OK(lw_delete_range(txn, T("001000"), T("003000"), &count));
    EXPECT(count == 0);
    OK(lw_commit(txn));
    lw_txn_close(txn);
    EXPECT(holds(in->client, "000999", "000999"));
    EXPECT(holds(in->client, "001000", NULL));
    EXPECT(holds(in->client, "002999", NULL));
    EXPECT(holds(in->client, "003000", "003000"));
    in->done = true;
}

static void scans_stream_over_many_pages(void **state) {
    tell(*state, scan_pages);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(what_is_committed_is_read),
        STORY(what_is_rolled_back_or_closed_never_was),
        STORY(what_came_after_a_savepoint_is_taken_back),
        STORY(what_a_savepoint_saw_still_counts),
        STORY(atomic_writes_alone_tell_what_they_did),
        STORY(atomic_writes_are_never_in_conflict),
        STORY(what_was_written_atomically_is_read_as_it_will_be),
        STORY(an_addition_that_was_read_may_be_in_conflict),
        STORY(a_stamped_value_tells_its_commit),
        STORY(limits_are_named_when_overstepped),
        STORY(many_keys_are_read_at_once),
        STORY(scans_see_own_writes_in_both_directions),
        STORY(scans_stream_over_many_pages),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
