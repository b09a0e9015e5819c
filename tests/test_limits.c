/* SPDX-License-Identifier: Apache-2.0 */
/* The first table of docs/LIMITS.md, a row a test, and some of the second: up to the limit all is
 * well, beyond it the error names the limit and what was asked. Most of it needs no node. */
#include "client/client.h"
#include "client/transaction.h"
#include "tests/shard_bench.h"

#include <stdlib.h>

static lw_client *client;
static lw_txn *txn;
static char *bytes; /* more than anything takes */

static int setup(void **state) {
    (void)state;
    bytes = malloc(LW_VALUE_SIZE_MAX + 2);
    memset(bytes, 'x', LW_VALUE_SIZE_MAX + 2);
    /* Nobody listens, and nothing is sent. */
    lw_client_options options = {.address = "127.0.0.1:1", .timeout_ms = 1000};
    assert_int_equal(lw_open(&options, &client), LW_OK);
    assert_int_equal(lw_begin(client, NULL, &txn), LW_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    lw_txn_close(txn);
    lw_close(client);
    free(bytes);
    return 0;
}

/* So many bytes. */
static lw_bytes sized(size_t size) {
    return lw_view(bytes, size);
}

/* The same as a C string, until the next call. */
static const char *text_sized(size_t size) {
    static char text[1024];
    assert_true(size < sizeof(text));
    memset(text, 'x', size);
    text[size] = 0;
    return text;
}

/* The last error names both numbers. */
static void assert_names(const lw_client *of, lw_status status, size_t wanted, size_t limit) {
    char number[32];
    assert_int_equal(status, LW_INVALID_ARGUMENT);
    (void)snprintf(number, sizeof(number), "%zu", wanted);
    assert_non_null(strstr(lw_client_error(of), number));
    (void)snprintf(number, sizeof(number), "%zu", limit);
    assert_non_null(strstr(lw_client_error(of), number));
}

static void a_key(void **state) {
    (void)state;
    lw_bytes value;
    enum { LIMIT = LW_KEY_SIZE_MAX };
    assert_int_equal(lw_put(txn, sized(LIMIT), lw_text("")), LW_OK);
    assert_names(client, lw_put(txn, sized(LIMIT + 1), lw_text("")), LIMIT + 1, LIMIT);
    assert_names(client, lw_get(txn, sized(LIMIT + 1), &value), LIMIT + 1, LIMIT);
    assert_names(client, lw_add(txn, sized(LIMIT + 1), 1), LIMIT + 1, LIMIT);
    assert_names(client, lw_put(txn, sized(0), lw_text("")), 1, LIMIT);
}

static void a_value(void **state) {
    (void)state;
    enum { LIMIT = LW_VALUE_SIZE_MAX };
    assert_int_equal(lw_put(txn, lw_text("k"), sized(LIMIT)), LW_OK);
    assert_names(client, lw_put(txn, lw_text("k"), sized(LIMIT + 1)), LIMIT + 1, LIMIT);
    assert_names(client, lw_append(txn, lw_text("k"), sized(LIMIT + 1)), LIMIT + 1, LIMIT);
}

static void a_stamped_value(void **state) {
    (void)state;
    enum { LIMIT = LW_STAMPED_VALUE_SIZE_MAX };
    assert_int_equal(lw_put_stamped(txn, lw_text("k"), sized(LIMIT), 0), LW_OK);
    assert_names(client, lw_put_stamped(txn, lw_text("k"), sized(LIMIT + 1), 0), LIMIT + 1, LIMIT);
    assert_names(client, lw_put_stamped(txn, lw_text("k"), sized(100), 93), 93, 100);
}

static void a_swap(void **state) {
    (void)state;
    enum { LIMIT = LW_SWAP_SIZE_MAX };
    int swapped;
    lw_bytes expected = sized(LIMIT - 10), value = sized(11);
    assert_names(client, lw_compare_and_set(client, lw_text("k"), &expected, &value, &swapped),
                 LIMIT + 1, LIMIT);
}

static void the_bounds_of_a_scan(void **state) {
    (void)state;
    enum { LIMIT = LW_KEY_SIZE_MAX };
    lw_scan *scan = NULL;
    lw_scan_options options = {.lower = sized(LIMIT), .upper = sized(LIMIT + 1)};
    assert_int_equal(lw_scan_open(txn, &options, &scan), LW_OK);
    lw_scan_close(scan);
    options.lower = sized(LIMIT + 1);
    assert_names(client, lw_scan_open(txn, &options, &scan), LIMIT + 1, LIMIT);
    options = (lw_scan_options){.upper = sized(LIMIT + 2)};
    assert_names(client, lw_scan_open(txn, &options, &scan), LIMIT + 2, LIMIT + 1);
    options = (lw_scan_options){.prefix = sized(LIMIT + 1)};
    assert_names(client, lw_scan_open(txn, &options, &scan), LIMIT + 1, LIMIT);
}

static void the_name_of_a_savepoint(void **state) {
    (void)state;
    enum { LIMIT = LW_SAVEPOINT_SIZE_MAX };
    assert_int_equal(lw_savepoint(txn, text_sized(LIMIT)), LW_OK);
    assert_names(client, lw_savepoint(txn, text_sized(LIMIT + 1)), LIMIT + 1, LIMIT);
}

static void a_label(void **state) {
    (void)state;
    enum { LIMIT = LW_LABEL_SIZE_MAX };
    lw_client *other = NULL;
    lw_client_options options = {.address = "127.0.0.1:1", .label = text_sized(LIMIT)};
    assert_int_equal(lw_open(&options, &other), LW_OK);
    lw_close(other);
    options.label = text_sized(LIMIT + 1);
    lw_status status = lw_open(&options, &other);
    assert_names(other, status, LIMIT + 1, LIMIT);
    lw_close(other);
}

/* An address of so many bytes. */
static const char *address_sized(size_t size) {
    static char address[1024];
    memcpy(address, text_sized(size), size + 1);
    memcpy(address + size - 2, ":1", 2);
    return address;
}

static void an_address(void **state) {
    (void)state;
    enum { LIMIT = LW_ADDRESS_SIZE_MAX };
    lw_client *other = NULL;
    lw_client_options options = {.address = address_sized(LIMIT)};
    assert_int_equal(lw_open(&options, &other), LW_OK);
    lw_close(other);
    options.address = address_sized(LIMIT + 1);
    lw_status status = lw_open(&options, &other);
    assert_names(other, status, LIMIT + 1, LIMIT);
    lw_close(other);
}

static void a_deadline(void **state) {
    (void)state;
    lw_txn *late = NULL;
    lw_txn_options options = {.timeout_ms = UINT32_MAX};
    assert_int_equal(lw_begin(client, &options, &late), LW_OK);
    uint64_t from_now_ms = (late->deadline_ns - lw_env_now(client->env)) / 1000000;
    assert_true(from_now_ms > UINT64_C(49) * 24 * 3600 * 1000);
    lw_txn_close(late);
}

static void counts_have_none(void **state) {
    (void)state;
    enum { COUNT = 20000 };
    for (int index = 0; index < COUNT; index++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "%d", index);
        assert_int_equal(lw_put(txn, lw_text(key), lw_text("v")), LW_OK);
        assert_int_equal(lw_savepoint(txn, key), LW_OK);
    }
    assert_int_equal(lw_rollback_to(txn, "0"), LW_OK);
}

/* ---- what only the node can tell ------------------------------------------------------------ */

static void refuse(bench *on, const lw_mutation *mutation, const char *what) {
    asked *it = bench_commit_now(on, bench_timestamp(on), mutation, 1);
    expect(on, it->status == LW_INVALID_ARGUMENT, "it is refused");
    expect(on, strstr(it->text, what) != NULL, what);
}

static void what_atomic_writes_come_to_story(bench *on) {
    lw_mutation large = {.kind = LW_MUTATION_PUT,
                         .key = lw_text("large"),
                         .value = sized(LW_VALUE_SIZE_MAX),
                         .seen = LW_SEEN_ANYTHING};
    expect(on, bench_committed(bench_commit_now(on, bench_timestamp(on), &large, 1)) != 0,
           "as large as they get");
    lw_mutation append = {.kind = LW_MUTATION_APPEND,
                          .key = lw_text("large"),
                          .value = lw_text("x"),
                          .seen = LW_SEEN_ANYTHING};
    refuse(on, &append, "16777216 bytes, exceeds the limit of 16777216");
    uint8_t most[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, one[8] = {1};
    lw_mutation add = {.kind = LW_MUTATION_ADD,
                       .key = lw_text("number"),
                       .value = lw_view(most, sizeof(most)),
                       .seen = LW_SEEN_ANYTHING};
    expect(on, bench_committed(bench_commit_now(on, bench_timestamp(on), &add, 1)) != 0,
           "the greatest number");
    add.value = lw_view(one, sizeof(one));
    refuse(on, &add, "9223372036854775807, exceeds 64 bits");
}
static void what_atomic_writes_come_to(void **state) {
    (void)state;
    bench_hold(what_atomic_writes_come_to_story, NULL);
}

static void a_prewritten_lock_lives_no_longer_story(bench *on) {
    enum { LIMIT_MS = 10 * 60 * 1000 };
    uint64_t start = bench_timestamp(on);
    lw_mutation mutation = bench_put("k", "1", LW_SEEN_ANYTHING);
    asked *it = bench_prewrite(on, 1, start, "k", 2 * LIMIT_MS, &mutation, 1);
    expect(on, it->status == LW_OK, "it is locked");
    lw_check_reply fate = bench_check(on, start, "k", false);
    expect(on, fate.fate == LW_FATE_ALIVE, "it lives");
    expect(on, fate.remaining_ms <= LIMIT_MS + 1, "ten minutes at most, rounded up");
    expect(on, fate.remaining_ms > LIMIT_MS - 1000, "and no less");
}
static void a_prewritten_lock_lives_no_longer(void **state) {
    (void)state;
    bench_hold(a_prewritten_lock_lives_no_longer_story, NULL);
}

int main(void) {
#define ROW(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(a_key),
        ROW(a_value),
        ROW(a_stamped_value),
        ROW(a_swap),
        ROW(what_atomic_writes_come_to),
        ROW(the_bounds_of_a_scan),
        ROW(the_name_of_a_savepoint),
        ROW(a_label),
        ROW(an_address),
        ROW(a_deadline),
        ROW(counts_have_none),
        ROW(a_prewritten_lock_lives_no_longer),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
