/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that hold the timestamp of their commit: a log that many write, granted or not. */
#include "tests/client_world.h"

/* What the stamp of a key under "log/" says; 0 if it is not such a key. */
static uint64_t stamp_of(lw_bytes key, const char *suffix) {
    lw_bytes end = T(suffix);
    uint64_t stamp = 0;
    if (key.size != 4 + LW_STAMP_SIZE + end.size || memcmp(key.data, "log/", 4) != 0 ||
        !lw_equal(lw_view(key.data + 4 + LW_STAMP_SIZE, end.size), end)) {
        return 0;
    }
    for (int index = 0; index < LW_STAMP_SIZE; index++) {
        stamp = stamp << 8 | key.data[4 + index];
    }
    return stamp;
}

LW_YIELDS static lw_status put_line(lw_client *client, const char *suffix, const char *value,
                                    uint64_t *at) {
    lw_txn *txn = begin_within(client, LW_OPTIMISTIC, 0);
    lw_status status = lw_put_stamped_key(txn, T("log/"), T(suffix), T(value));
    if (status == LW_OK) {
        status = lw_commit(txn);
    }
    *at = lw_commit_timestamp(txn);
    lw_txn_close(txn);
    return status;
}

/* The values under "log/" in the order of their keys, each a byte; and how many. */
LW_YIELDS static size_t read_log(lw_client *client, char *values, uint64_t *last) {
    lw_txn_options options = {.read_only = 1};
    lw_scan_options bounds = {.prefix = T("log/")};
    lw_txn *txn = NULL;
    lw_scan *scan = NULL;
    lw_bytes key, value;
    size_t count = 0;
    lw_status status = lw_begin(client, &options, &txn);
    LW_ASSERT(status == LW_OK);
    status = lw_scan_open(txn, &bounds, &scan);
    while (status == LW_OK && lw_scan_next(scan, &key, &value) == LW_OK) {
        values[count++] = (char)value.data[0];
        *last = stamp_of(key, "");
    }
    values[count] = 0;
    lw_scan_close(scan);
    lw_txn_close(txn);
    return count;
}

/* ---- granted -------------------------------------------------------------------------------- */

LW_YIELDS static void write_a_log(void *argument) {
    fixture *in = argument;
    char values[32];
    uint64_t at = 0, before = 0, last = 0;
    for (char line = 'a'; line <= 'f'; line++) {
        char value[] = {line, 0};
        OK(put_line(in->client, "", value, &at));
        EXPECT(at > before);
        before = at;
    }
    EXPECT(read_log(in->client, values, &last) == 6);
    EXPECT(strcmp(values, "abcdef") == 0);
    EXPECT(last == at);
    in->done = true;
}

static void keys_are_ordered_as_the_commits_were(void **state) {
    tell(*state, write_a_log);
}

LW_YIELDS static void write_several(void *argument) {
    fixture *in = argument;
    char values[32];
    uint64_t last = 0;
    lw_bytes value;
    OK(put_alone(in->client, "k", "old"));
    lw_txn *txn = begin_within(in->client, LW_OPTIMISTIC, 0);
    OK(lw_get(txn, T("k"), &value));
    OK(lw_put_stamped_key(txn, T("log/"), T(""), T("1")));
    OK(lw_put_stamped_key(txn, T("log/"), T(""), T("2"))); /* in place of the first */
    OK(lw_savepoint(txn, "here"));
    OK(lw_put_stamped_key(txn, T("log/"), T("/x"), T("3")));
    OK(lw_put(txn, T("k"), T("lost")));
    OK(lw_rollback_to(txn, "here"));
    OK(lw_put_stamped_key(txn, T("log/"), T("/y"), T("4")));
    OK(lw_put(txn, T("k"), T("new")));
    OK(lw_commit(txn));
    EXPECT(read_log(in->client, values, &last) == 2);
    EXPECT(strcmp(values, "24") == 0);
    lw_txn_close(txn);
    txn = begin_within(in->client, LW_OPTIMISTIC, 0);
    OK(lw_get(txn, T("k"), &value));
    EXPECT(lw_equal(value, T("new")));
    lw_txn_close(txn);
    in->done = true;
}

static void they_go_with_all_else_a_transaction_writes(void **state) {
    tell(*state, write_several);
}

LW_YIELDS static void be_overtaken(void *argument) {
    fixture *in = argument;
    char values[32];
    uint64_t last;
    lw_bytes value;
    lw_txn *txn = begin_within(in->client, LW_OPTIMISTIC, 0);
    EXPECT(lw_get(txn, T("k"), &value) == LW_NOT_FOUND);
    lw_client *other = another(in, "other");
    OK(put_alone(other, "k", "v"));
    OK(lw_put_stamped_key(txn, T("log/"), T(""), T("1")));
    EXPECT(lw_commit(txn) == LW_CONFLICT);
    lw_txn_close(txn);
    EXPECT(read_log(in->client, values, &last) == 0);
    lw_close(other);
    in->done = true;
}

static void what_was_read_must_still_hold(void **state) {
    tell(*state, be_overtaken);
}

/* ---- not granted ---------------------------------------------------------------------------- */

LW_YIELDS static void scan_all_the_time(void *argument) {
    fixture *in = argument;
    lw_client *client = another(in, "reader");
    while (in->own != NULL) {
        char values[256];
        uint64_t last;
        (void)read_log(client, values, &last);
        lw_env_sleep(in->env, lw_env_random_below(in->env, 10 * millisecond));
    }
    lw_close(client);
    in->running--;
}

/* Others scan what is written, so that many a timestamp is too low by the time it is to be granted;
 * with every mode of locking, and with a key that is locked before. */
LW_YIELDS static void write_among_readers(void *argument) {
    fixture *in = argument;
    enum { READERS = 1, LINES = 24 };
    char values[256], wanted[LINES + 1] = "";
    uint64_t last = 0;
    in->own = in;
    for (int index = 0; index < READERS; index++) {
        in->running++;
        lw_env_start(in->env, "reader", scan_all_the_time, in);
    }
    for (int line = 0; line < LINES; line++) {
        char value[] = {(char)('a' + line), 0};
        lw_txn *txn =
            begin_within(in->client, line % 2 == 0 ? LW_OPTIMISTIC : LW_PESSIMISTIC, 20000);
        OK(lw_put(txn, T("counter"), T(value)));
        OK(lw_put_stamped_key(txn, T("log/"), T(""), T(value)));
        OK(lw_commit(txn));
        EXPECT(lw_commit_timestamp(txn) > last);
        last = lw_commit_timestamp(txn);
        lw_txn_close(txn);
        wanted[line] = value[0];
    }
    in->own = NULL;
    lw_env_sleep(in->env, second);
    EXPECT(in->running == 0);
    EXPECT(read_log(in->client, values, &last) == LINES);
    EXPECT(strcmp(values, wanted) == 0);
    EXPECT(lw_world_marked(in->world, "client.stamp_not_granted") > 0);
    in->done = true;
}

static void what_is_not_granted_is_tried_again(void **state) {
    tell(*state, write_among_readers);
}

/* ---- limits --------------------------------------------------------------------------------- */

LW_YIELDS static void overstep(void *argument) {
    fixture *in = argument;
    char values[512];
    static char bytes[LW_KEY_SIZE_MAX];
    uint64_t last;
    lw_txn *txn = begin_within(in->client, LW_OPTIMISTIC, 0);
    lw_bytes prefix = lw_view(bytes, LW_KEY_SIZE_MAX - LW_STAMP_SIZE - 1);
    OK(lw_put_stamped_key(txn, prefix, T("x"), T("v")));
    EXPECT(lw_put_stamped_key(txn, prefix, T("xy"), T("v")) == LW_INVALID_ARGUMENT);
    EXPECT(strstr(lw_client_error(in->client), "16385") != NULL);
    EXPECT(strstr(lw_client_error(in->client), "16384") != NULL);
    lw_txn_close(txn);
    for (int beyond = 0; beyond < 2; beyond++) {
        txn = begin_within(in->client, LW_OPTIMISTIC, 0);
        for (int index = 0; index < LW_STAMPED_KEY_COUNT_MAX + beyond; index++) {
            char suffix[16];
            (void)snprintf(suffix, sizeof(suffix), "%d", index);
            OK(lw_put_stamped_key(txn, T("log/"), T(suffix), T("v")));
        }
        EXPECT(lw_commit(txn) == (beyond ? LW_INVALID_ARGUMENT : LW_OK));
        lw_txn_close(txn);
    }
    EXPECT(strstr(lw_client_error(in->client), "258 keys") != NULL);
    EXPECT(strstr(lw_client_error(in->client), "257 keys") != NULL);
    EXPECT(read_log(in->client, values, &last) == LW_STAMPED_KEY_COUNT_MAX);
    lw_txn_options options = {.read_only = 1};
    OK(lw_begin(in->client, &options, &txn));
    EXPECT(lw_put_stamped_key(txn, T("log/"), T(""), T("v")) == LW_INVALID_ARGUMENT);
    lw_txn_close(txn);
    in->done = true;
}

static void limits_are_named_when_overstepped(void **state) {
    tell(*state, overstep);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(keys_are_ordered_as_the_commits_were),
        STORY(they_go_with_all_else_a_transaction_writes),
        STORY(what_was_read_must_still_hold),
        STORY(what_is_not_granted_is_tried_again),
        STORY(limits_are_named_when_overstepped),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
