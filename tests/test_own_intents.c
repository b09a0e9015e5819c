/* SPDX-License-Identifier: Apache-2.0 */
/* What a transaction has prewritten and not committed is visible to itself: in reads of keys, in
 * scans both ways page by page, and to its own later prewrites. */
#include "tests/shard_bench.h"
#include "txn/atomic.h"

#include <stdlib.h>

enum { OWNER = 1 };

static void prewrite(bench *on, uint64_t start, uint32_t sequence, lw_mutation mutation) {
    asked *it = bench_ask(on, LW_MESSAGE_PREWRITE, OWNER);
    lw_prewrite_request request = {.start = start,
                                   .primary = lw_text("p"),
                                   .lifetime_ms = 60000,
                                   .mutations = &mutation,
                                   .mutation_count = 1,
                                   .sequence = sequence};
    lw_prewrite_request_encode(&request, &it->body);
    bench_await(bench_send(it));
    expect(on, it->status == LW_OK, "prewritten");
}

static lw_mutation of_kind(lw_mutation_kind kind, const char *key, lw_bytes operand) {
    return (lw_mutation){
        .kind = kind, .key = lw_text(key), .value = operand, .seen = LW_SEEN_ANYTHING};
}

static asked *get_as(bench *on, uint64_t start, uint64_t timestamp, const char *key) {
    asked *it = bench_ask(on, LW_MESSAGE_GET, OWNER);
    lw_bytes keys[] = {lw_text(key)};
    lw_get_request_encode(
        &(lw_get_request){
            .read_timestamp = timestamp, .start = start, .keys = keys, .key_count = 1},
        &it->body);
    return bench_await(bench_send(it));
}

static const char *read_as(bench *on, uint64_t start, const char *key) {
    return bench_value(get_as(on, start, start, key));
}

/* ---- stories -------------------------------------------------------------------------------- */

static void an_intent_hides_what_is_there_from_its_owner_alone(bench *on) {
    (void)bench_write(on, "k", "old");
    (void)bench_write(on, "gone", "old");
    (void)bench_write(on, "kept", "old");
    uint64_t start = bench_timestamp(on);
    prewrite(on, start, 1, bench_put("k", "new", LW_SEEN_ANYTHING));
    prewrite(on, start, 1, of_kind(LW_MUTATION_DELETE, "gone", (lw_bytes){0}));
    prewrite(on, start, 1, of_kind(LW_MUTATION_LOCK, "kept", (lw_bytes){0}));
    expect_text(on, read_as(on, start, "k"), "new", "its owner sees it");
    expect_text(on, read_as(on, start, "gone"), "-", "and what it deletes no more");
    expect_text(on, read_as(on, start, "kept"), "old", "and what it only locks as it is");
    expect_text(on, bench_read(on, start, "k"), "old", "others do not");
    lw_scan_request scan = {.read_timestamp = start, .start = start};
    expect_text(on, bench_scan(on, &scan), "k=new kept=old", "the same in a scan");
    scan.backwards = true;
    expect_text(on, bench_scan(on, &scan), "kept=old k=new", "and in one that goes back");
    scan.start = 0;
    expect_text(on, bench_scan(on, &scan), "kept=old k=old gone=old", "not for others");
    lw_get_reply reply = {0};
    asked *it = get_as(on, start, start, "k");
    expect(on, lw_get_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) == LW_OK,
           "it is answered");
    expect(on, reply.values[0].commit_timestamp == 0, "it has no timestamp yet");
}

static void a_later_flush_replaces_an_earlier_one(bench *on) {
    uint64_t start = bench_timestamp(on);
    prewrite(on, start, 1, bench_put("k", "first", LW_SEEN_ANYTHING));
    prewrite(on, start, 2, bench_put("k", "second", start));
    expect_text(on, read_as(on, start, "k"), "second", "the later one holds");
    prewrite(on, start, 1, bench_put("k", "first", LW_SEEN_ANYTHING));
    prewrite(on, start, 2, bench_put("k", "other", LW_SEEN_ANYTHING));
    expect_text(on, read_as(on, start, "k"), "second", "and what comes late does not");
    prewrite(on, start, 3, of_kind(LW_MUTATION_LOCK, "k", (lw_bytes){0}));
    expect_text(on, read_as(on, start, "k"), "second", "to lock it takes nothing back");
    prewrite(on, start, 4, of_kind(LW_MUTATION_DELETE, "k", (lw_bytes){0}));
    expect_text(on, read_as(on, start, "k"), "-", "to delete it does");
    prewrite(on, start, 5, bench_put("k", "third", LW_SEEN_ANYTHING));
    bench_crash(on);
    uint64_t committed = bench_timestamp(on);
    expect(on, bench_finish(on, start, committed, "k")->status == LW_OK, "committed");
    expect_text(on, bench_read(on, committed, "k"), "third", "the last one");
    expect_text(on, bench_read(on, committed - 1, "k"), "-", "as one version");
}

static void atomic_writes_build_on_intents(bench *on) {
    uint8_t two[LW_NUMBER_SIZE], number[LW_NUMBER_SIZE];
    lw_number_encode(2, two);
    lw_bytes add = lw_view(two, sizeof(two));
    (void)bench_write(on, "log", "a");
    uint64_t start = bench_timestamp(on);
    prewrite(on, start, 1, of_kind(LW_MUTATION_ADD, "n", add));
    prewrite(on, start, 1, of_kind(LW_MUTATION_APPEND, "log", lw_text("b")));
    prewrite(on, start, 2, of_kind(LW_MUTATION_ADD, "n", add));
    prewrite(on, start, 2, of_kind(LW_MUTATION_APPEND, "log", lw_text("c")));
    prewrite(on, start, 3, of_kind(LW_MUTATION_DELETE, "log", (lw_bytes){0}));
    prewrite(on, start, 4, of_kind(LW_MUTATION_APPEND, "log", lw_text("d")));
    prewrite(on, start, 4, of_kind(LW_MUTATION_LOCK, "l", (lw_bytes){0}));
    prewrite(on, start, 5, of_kind(LW_MUTATION_APPEND, "l", lw_text("e")));
    lw_number_encode(4, number);
    const char *sum = read_as(on, start, "n");
    expect(on, memcmp(sum, number, 1) == 0, "a sum of two flushes");
    expect_text(on, read_as(on, start, "log"), "d", "nothing is left of what was deleted");
    expect_text(on, read_as(on, start, "l"), "e", "a lock has nothing to build on");
    lw_bytes operand = lw_text("12345678\0\0\0");
    operand.size = 8 + 4;
    prewrite(on, start, 6, of_kind(LW_MUTATION_STAMP, "s", operand));
    expect(on, get_as(on, start, start, "s")->status == LW_INVALID_ARGUMENT,
           "a stamp is not known yet");
    expect_text(
        on,
        bench_scan(
            on, &(lw_scan_request){.read_timestamp = start, .start = start, .lower = lw_text("s")}),
        "?", "nor in a scan");
}

static void a_lock_in_memory_gives_the_newest_which_is_its_own(bench *on) {
    (void)bench_write(on, "k", "old");
    uint64_t start = bench_timestamp(on);
    prewrite(on, start, 1, bench_put("k", "new", LW_SEEN_ANYTHING));
    asked *it = bench_ask(on, LW_MESSAGE_LOCK, OWNER);
    lw_bytes keys[] = {lw_text("k")};
    lw_lock_request_encode(
        &(lw_lock_request){
            .start = start, .keys = keys, .key_count = 1, .wait_ms = 100, .read = true},
        &it->body);
    bench_await(bench_send(it));
    lw_lock_reply reply = {0};
    expect(on,
           it->status == LW_OK &&
               lw_lock_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) == LW_OK,
           "locked");
    expect(on, reply.value_count == 1 && lw_equal(reply.values[0].value, lw_text("new")),
           "and read");
}

/* Whether a request was told that its own transaction was rolled back at this key. */
static bool hears_of_its_end(const asked *it, uint64_t start, const char *key) {
    return it->status == LW_CONFLICT && it->obstacle.kind == LW_OBSTACLE_ROLLED_BACK &&
           it->obstacle.start == start && lw_equal(it->obstacle.key, lw_text(key));
}

static asked *scan_as(bench *on, uint64_t start, uint64_t timestamp, const char *lower,
                      bool backwards) {
    asked *it = bench_ask(on, LW_MESSAGE_SCAN, OWNER);
    lw_scan_request_encode(&(lw_scan_request){.read_timestamp = timestamp,
                                              .start = start,
                                              .lower = lw_text(lower),
                                              .backwards = backwards,
                                              .row_limit = 10,
                                              .byte_limit = UINT32_MAX},
                           &it->body);
    return bench_await(bench_send(it));
}

static asked *lock_as(bench *on, uint64_t start, const char *key, bool read) {
    asked *it = bench_ask(on, LW_MESSAGE_LOCK, OWNER);
    lw_bytes keys[] = {lw_text(key)};
    lw_lock_request_encode(
        &(lw_lock_request){
            .start = start, .keys = keys, .key_count = 1, .wait_ms = 100, .read = read},
        &it->body);
    return bench_await(bench_send(it));
}

/* Every way to read one key, and the transaction is told each time. */
static void expect_told(bench *on, uint64_t start, uint64_t timestamp, const char *key) {
    expect(on, hears_of_its_end(get_as(on, start, timestamp, key), start, key), "a get");
    expect(on, hears_of_its_end(scan_as(on, start, timestamp, key, false), start, key), "a scan");
    expect(on, hears_of_its_end(lock_as(on, start, key, true), start, key), "a locking read");
    expect(on, hears_of_its_end(lock_as(on, start, key, false), start, key), "a lock");
}

static void who_was_rolled_back_hears_of_it_where_it_reads(bench *on) {
    (void)bench_write(on, "a", "before");
    (void)bench_write(on, "k", "before");
    uint64_t start = bench_timestamp(on);
    prewrite(on, start, 1, bench_put("k", "mine", LW_SEEN_ANYTHING));
    prewrite(on, start, 1, bench_put("p", "mine", LW_SEEN_ANYTHING));
    prewrite(on, start, 1, bench_put("z", "mine", LW_SEEN_ANYTHING));
    expect(on, bench_finish(on, start, 0, "k")->status == LW_OK, "rolled back");
    expect(on, bench_finish(on, start, 0, "z")->status == LW_OK, "also where nothing was");
    expect_text(on, read_as(on, start, "a"), "before", "what it did not write is there");
    expect_text(on, read_as(on, start, "p"), "mine", "an intent that is left, too");
    expect_told(on, start, start, "k");
    expect_told(on, start, start, "z");
    expect(on, hears_of_its_end(scan_as(on, start, start, "a", false), start, "k"),
           "behind keys that it did not write");
    expect(on, hears_of_its_end(scan_as(on, start, start, "a", true), start, "z"),
           "and on the way back");
    uint64_t later = bench_write(on, "k", "of another");
    (void)bench_write(on, "k", "of a third");
    expect_told(on, start, later, "k");
    bench_crash(on);
    expect_told(on, start, later, "k");
    expect(on, hears_of_its_end(scan_as(on, start, later, "a", true), start, "z"),
           "also after a crash");
    expect_text(on, bench_read(on, later, "k"), "of another", "others read on");
}

static void intents_that_do_not_fit_a_page_are_the_next_ones(bench *on) {
    enum { LARGE = 13 * 1024 * 1024 };
    uint64_t start = bench_timestamp(on);
    lw_bytes large = lw_view(lw_allocate_zero(on->memory, LARGE), LARGE);
    for (const char *key = "abc"; *key != 0; key++) {
        char name[] = {*key, 0};
        prewrite(on, start, 1, of_kind(LW_MUTATION_PUT, name, large));
    }
    for (uint32_t backwards = 0; backwards < 2; backwards++) {
        asked *it = bench_ask(on, LW_MESSAGE_SCAN, OWNER);
        lw_scan_request_encode(&(lw_scan_request){.read_timestamp = start,
                                                  .start = start,
                                                  .backwards = backwards == 1,
                                                  .row_limit = 10,
                                                  .byte_limit = UINT32_MAX},
                               &it->body);
        bench_await(bench_send(it));
        lw_scan_reply page = {0};
        expect(on, lw_scan_reply_decode(lw_buffer_view(&it->reply), &on->arena, &page) == LW_OK,
               "a page");
        expect(on, page.row_count == 1 && page.more, "of one row, and there are more");
    }
}

/* ---- against a model ------------------------------------------------------------------------ */

enum { KEYS = 40, ROUNDS = 30, SCANS = 40 };

/* What the owner is to see on each key; empty: nothing. */
typedef struct model {
    char values[KEYS][16];
} model;

/* Some keys are the beginning of others, some have a zero byte. */
static lw_bytes key_of(uint32_t number, char bytes[8]) {
    bytes[0] = (char)('a' + number / 4);
    bytes[1] = number % 4 == 1 ? '\0' : 'x';
    bytes[2] = number % 4 == 3 ? '\0' : 'y';
    size_t size = number % 4 == 0 ? 1 : number % 4 == 1 ? 2 : 3;
    return lw_view(bytes, size);
}

/* The order of keys is that of their names, not of their numbers. */
static int order_of(const void *a, const void *b) {
    char first[8], second[8];
    return lw_compare(key_of(*(const uint32_t *)a, first), key_of(*(const uint32_t *)b, second));
}

static void fill(bench *on, uint64_t start, uint64_t *random, bool own, model *seen) {
    for (uint32_t number = 0; number < KEYS; number++) {
        char bytes[8], value[16];
        lw_bytes key = key_of(number, bytes);
        uint64_t dice = unit_random_below(random, 4);
        (void)snprintf(value, sizeof(value), "%s%u", own ? "own" : "old", number);
        lw_mutation mutation = {.kind = dice == 0   ? LW_MUTATION_DELETE
                                        : dice == 1 ? LW_MUTATION_LOCK
                                                    : LW_MUTATION_PUT,
                                .key = key,
                                .seen = LW_SEEN_ANYTHING};
        if (mutation.kind == LW_MUTATION_PUT) {
            mutation.value = lw_text(value);
        }
        if (unit_random_below(random, 3) == 0) {
            continue;
        }
        if (own) {
            prewrite(on, start, 1, mutation);
        } else {
            expect(on, bench_commit_now(on, bench_timestamp(on), &mutation, 1)->status == LW_OK,
                   "written");
        }
        if (mutation.kind != LW_MUTATION_LOCK) {
            (void)snprintf(seen->values[number], sizeof(seen->values[number]), "%.*s",
                           (int)mutation.value.size, (const char *)mutation.value.data);
        }
    }
}

/* One scan, page by page, as "value value", like the model tells it. */
static void scan_all(bench *on, uint64_t start, bool backwards, uint32_t row_limit, lw_bytes lower,
                     lw_bytes upper, lw_buffer *text) {
    lw_buffer low = lw_buffer_in(on->memory), high = low;
    lw_buffer_append(&low, lower);
    lw_buffer_append(&high, upper);
    for (bool more = true; more;) {
        asked *it = bench_ask(on, LW_MESSAGE_SCAN, OWNER);
        lw_scan_request request = {.read_timestamp = start,
                                   .start = start,
                                   .lower = lw_buffer_view(&low),
                                   .upper = lw_buffer_view(&high),
                                   .backwards = backwards,
                                   .row_limit = row_limit,
                                   .byte_limit = 1u << 20};
        lw_scan_request_encode(&request, &it->body);
        bench_await(bench_send(it));
        lw_scan_reply page = {0};
        expect(on,
               it->status == LW_OK &&
                   lw_scan_reply_decode(lw_buffer_view(&it->reply), &on->arena, &page) == LW_OK,
               "a page");
        for (uint32_t row = 0; row < page.row_count; row++) {
            lw_buffer_print(text, "%.*s ", (int)page.rows[row].value.size,
                            (const char *)page.rows[row].value.data);
        }
        more = page.more && on->failure[0] == 0;
        if (more) {
            lw_buffer *bound = backwards ? &high : &low;
            lw_buffer_clear(bound);
            lw_buffer_append(bound, page.rows[page.row_count - 1].key);
            if (!backwards) {
                lw_buffer_append_u8(bound, 0);
            }
        }
    }
    lw_buffer_append_u8(text, 0);
}

static void tell(const model *seen, const uint32_t *order, bool backwards, lw_bytes lower,
                 lw_bytes upper, lw_buffer *text) {
    for (uint32_t at = 0; at < KEYS; at++) {
        uint32_t number = order[backwards ? KEYS - 1 - at : at];
        char bytes[8];
        lw_bytes key = key_of(number, bytes);
        bool in = lw_compare(key, lower) >= 0 && (upper.size == 0 || lw_compare(key, upper) < 0);
        if (in && seen->values[number][0] != 0) {
            lw_buffer_print(text, "%s ", seen->values[number]);
        }
    }
    lw_buffer_append_u8(text, 0);
}

static void compare_scans(bench *on, uint64_t start, const model *seen, uint64_t *random) {
    uint32_t order[KEYS];
    for (uint32_t number = 0; number < KEYS; number++) {
        order[number] = number;
    }
    qsort(order, KEYS, sizeof(order[0]), order_of);
    for (uint32_t scan = 0; scan < SCANS && on->failure[0] == 0; scan++) {
        char first[8], second[8];
        lw_bytes lower = key_of((uint32_t)unit_random_below(random, KEYS), first);
        lw_bytes upper = key_of((uint32_t)unit_random_below(random, KEYS), second);
        lower.size = unit_random_below(random, 2) == 0 ? 0 : lower.size;
        upper.size = unit_random_below(random, 2) == 0 ? 0 : upper.size;
        bool backwards = unit_random_below(random, 2) == 0;
        uint32_t row_limit = 1 + (uint32_t)unit_random_below(random, 6);
        lw_buffer found = lw_buffer_in(on->memory), wanted = found;
        scan_all(on, start, backwards, row_limit, lower, upper, &found);
        tell(seen, order, backwards, lower, upper, &wanted);
        expect_text(on, (const char *)found.data, (const char *)wanted.data, "a scan");
    }
}

static void scans_see_what_a_model_sees(bench *on) {
    uint64_t random = 7;
    for (uint32_t round = 0; round < ROUNDS && on->failure[0] == 0; round++) {
        model seen = {0};
        for (uint32_t number = 0; number < KEYS; number++) {
            char bytes[8];
            lw_mutation mutation = {
                .kind = LW_MUTATION_DELETE, .key = key_of(number, bytes), .seen = LW_SEEN_ANYTHING};
            (void)bench_commit_now(on, bench_timestamp(on), &mutation, 1);
        }
        fill(on, 0, &random, false, &seen);
        uint64_t start = bench_timestamp(on);
        fill(on, start, &random, true, &seen);
        compare_scans(on, start, &seen, &random);
        for (uint32_t number = 0; number < KEYS; number++) {
            char bytes[8];
            lw_bytes key = key_of(number, bytes);
            asked *it = bench_ask(on, LW_MESSAGE_ROLLBACK, OWNER);
            lw_finish_request_encode(
                &(lw_finish_request){.start = start, .keys = &key, .key_count = 1}, &it->body);
            bench_await(bench_send(it));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(an_intent_hides_what_is_there_from_its_owner_alone, NULL),
        BENCH_STORY(a_later_flush_replaces_an_earlier_one, NULL),
        BENCH_STORY(atomic_writes_build_on_intents, NULL),
        BENCH_STORY(a_lock_in_memory_gives_the_newest_which_is_its_own, NULL),
        BENCH_STORY(who_was_rolled_back_hears_of_it_where_it_reads, "txn.own_rollback_unseen"),
        BENCH_STORY(intents_that_do_not_fit_a_page_are_the_next_ones, NULL),
        BENCH_STORY(scans_see_what_a_model_sees, NULL),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
