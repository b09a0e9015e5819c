/* SPDX-License-Identifier: Apache-2.0 */
/* The client library against a real node, both in the simulated world: what lathwork.h promises. */
#include "client/client.h"
#include "client/lathwork.h"
#include "node/node.h"
#include "sim/world.h"
#include "tests/unit.h"

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
#define OK(call)   EXPECT((call) == LW_OK)
#define T(text)    lw_text(text)
#define SAME(a, b) EXPECT(lw_equal((a), lw_text(b)))

static const uint64_t second = 1000000000;
static const uint64_t millisecond = 1000000;

typedef struct fixture {
    lw_world *world;
    lw_host *node_host, *client_host;
    lw_env *env; /* of the clients */
    lw_client *client;
    lw_node *node;
    uint32_t running; /* helper fibers */
    bool done;
    int failed_line;
    char reason[LW_ERROR_TEXT_SIZE];
} fixture;

typedef struct process {
    lw_env *env;
    const char *listen;
    lw_node **node; /* set once it serves */
} process;

static void node_died(void *argument, const lw_error *reason) {
    (void)argument;
    (void)fprintf(stderr, "the node died: %s\n", reason->text);
}

LW_YIELDS static void node_main(void *argument) {
    process *self = argument;
    lw_node_options options = {.directory = "data",
                               .listen = self->listen,
                               .version = "1",
                               .died = node_died,
                               .argument = self};
    if (lw_node_open(self->env, &options, self->node) != LW_OK) {
        (void)fprintf(stderr, "the node did not open: %s\n", lw_error_slot()->text);
    }
}

static void boot_on(lw_host *host, const char *listen, lw_node **node) {
    lw_env *env = lw_host_boot(host);
    process *self = lw_allocate(env->memory, sizeof(*self));
    *self = (process){.env = env, .listen = listen, .node = node};
    lw_env_start(env, "node", node_main, self);
}

static void boot(fixture *in) {
    boot_on(in->node_host, "node:7871", &in->node);
}

static int setup(void **state) {
    fixture *in = calloc(1, sizeof(*in));
    lw_faults none = lw_faults_none();
    in->world = lw_world_open(3, &none);
    in->node_host = lw_world_host(in->world, "node");
    in->client_host = lw_world_host(in->world, "client");
    boot(in);
    (void)lw_world_run(in->world, lw_world_now(in->world) + second);
    in->env = lw_host_boot(in->client_host);
    lw_client_options options = {.address = "node:7871", .label = "tester"};
    *state = in;
    return lw_client_open_in(in->env, &options, &in->client) != LW_OK || in->node == NULL;
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

static lw_client *another(fixture *in, const char *label) {
    lw_client_options options = {.address = "node:7871", .label = label};
    lw_client *client = NULL;
    lw_status status = lw_client_open_in(in->env, &options, &client);
    LW_ASSERT(status == LW_OK);
    return client;
}

static lw_txn *begin(lw_client *client, lw_isolation isolation, lw_locking locking) {
    lw_txn_options options = {.isolation = isolation, .locking = locking};
    lw_txn *txn = NULL;
    lw_status status = lw_begin(client, &options, &txn);
    LW_ASSERT(status == LW_OK);
    return txn;
}

/* Puts one key in a transaction of its own. */
LW_YIELDS static lw_status put_alone(lw_client *client, const char *key, const char *value) {
    lw_txn *txn = begin(client, LW_STRICT, LW_OPTIMISTIC);
    lw_status status = lw_put(txn, T(key), T(value));
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    lw_txn_close(txn);
    return status;
}

/* Whether a fresh transaction reads `expected` (NULL: nothing) under `key`. */
LW_YIELDS static bool holds(lw_client *client, const char *key, const char *expected) {
    lw_txn *txn = begin(client, LW_STRICT, LW_OPTIMISTIC);
    lw_bytes value;
    lw_status status = lw_get(txn, T(key), &value);
    bool good =
        expected == NULL ? status == LW_NOT_FOUND : status == LW_OK && lw_equal(value, T(expected));
    lw_txn_close(txn);
    return good;
}

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

/* What a scan gives, as "key=value " pairs. */
LW_YIELDS static lw_status scan_text(lw_txn *txn, const lw_scan_options *options, char *text,
                                     size_t size) {
    lw_scan *scan = NULL;
    size_t used = 0;
    text[0] = 0;
    LW_TRY(lw_scan_open(txn, options, &scan));
    lw_bytes key, value;
    lw_status status;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK && used + 40 < size) {
        used += (size_t)snprintf(text + used, size - used, "%.*s=%.*s ", (int)key.size,
                                 (const char *)key.data, (int)value.size, (const char *)value.data);
    }
    lw_scan_close(scan);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

#define SCANNED(options, expected)                        \
    do {                                                  \
        lw_scan_options scanned = options;                \
        OK(scan_text(txn, &scanned, text, sizeof(text))); \
        EXPECT(strcmp(text, (expected)) == 0);            \
    } while (0)
#define SCAN(...) ((lw_scan_options){__VA_ARGS__})

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
    char key[] = "k";
    began = lw_env_now(in->env);
    EXPECT(lw_run(client, NULL, add_one, key) == LW_UNAVAILABLE);
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

#define STORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        STORY(write_skew_is_a_conflict_only_when_strict),
        STORY(a_phantom_in_a_scanned_range_is_a_conflict),
        STORY(the_first_committer_wins_and_snapshots_stand),
        STORY(what_was_read_for_update_must_stand_at_commit),
        STORY(no_addition_is_lost_whatever_the_mode),
        STORY(a_deadlock_is_found_when_it_closes),
        STORY(waiting_for_a_lock_ends_at_the_deadline),
        STORY(a_rollback_after_the_deadline_frees_the_locks_at_the_close),
        STORY(locks_of_a_transaction_whose_end_was_not_heard_are_swept),
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
