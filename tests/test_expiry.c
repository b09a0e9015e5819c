/* SPDX-License-Identifier: Apache-2.0 */
/* Values that expire, told as stories of one shard: when they are gone and for whom, who is in
 * conflict with that, and what writes on them leave. Each story must fail when what it is about is
 * taken out (the planted bug that is named with it). */
#include "tests/shard_bench.h"

static lw_mutation put_for(const char *key, const char *value, uint64_t ttl_ms) {
    lw_mutation mutation = bench_put(key, value, LW_SEEN_ANYTHING);
    mutation.ttl_ms = ttl_ms;
    return mutation;
}

/* Commits a value that expires; returns when it does. */
static uint64_t write_for(bench *on, const char *key, const char *value, uint64_t ttl_ms) {
    lw_mutation mutation = put_for(key, value, ttl_ms);
    uint64_t committed = bench_committed(bench_commit_now(on, bench_timestamp(on), &mutation, 1));
    expect(on, committed != 0, "a value that expires is written");
    return committed + lw_timestamp_of_ms(ttl_ms);
}

static void expect_expired(bench *on, const asked *it, uint64_t expires, const char *what) {
    bool said = it->status == LW_CONFLICT && it->obstacle.kind == LW_OBSTACLE_NEWER &&
                it->obstacle.commit_timestamp == expires && strstr(it->text, "expired") != NULL;
    expect(on, said, what);
}

/* ---- reading -------------------------------------------------------------------------------- */

static void a_value_is_gone_from_its_moment_on(bench *on) {
    (void)bench_write(on, "k", "old");
    (void)bench_write(on, "j", "before");
    (void)bench_write(on, "l", "behind");
    uint64_t expires = write_for(on, "k", "short", 100);
    expect_text(on, bench_read(on, 0, "k"), "short", "while it lives");
    bench_pass_ms(on, 150);
    expect_text(on, bench_read(on, 0, "k"), "-", "later, and what was before does not return");
    expect_text(on, bench_read(on, expires, "k"), "-", "at the moment");
    expect_text(on, bench_read(on, expires - 1, "k"), "short", "a snapshot of before keeps it");
    lw_scan_request scan = {.read_timestamp = expires};
    expect_text(on, bench_scan(on, &scan), "j=before l=behind", "a scan goes over it");
    scan.backwards = true;
    expect_text(on, bench_scan(on, &scan), "l=behind j=before", "backwards too");
    scan.read_timestamp = expires - 1;
    expect_text(on, bench_scan(on, &scan), "l=behind k=short j=before", "but not before");
    (void)bench_write(on, "k", "anew");
    expect_text(on, bench_read(on, 0, "k"), "anew", "what is put later lasts");
    bench_pass_ms(on, 1000);
    expect_text(on, bench_read(on, 0, "k"), "anew", "for good");
}

static void it_survives_crashes_until_then(bench *on) {
    uint64_t expires = write_for(on, "k", "v", 60000);
    bench_crash(on);
    expect_text(on, bench_read(on, 0, "k"), "v", "after a crash");
    bench_pass_ms(on, 61000);
    bench_crash(on);
    expect_text(on, bench_read(on, 0, "k"), "-", "then it is gone");
    expect_text(on, bench_read(on, expires - 1, "k"), "v", "to who reads of later");
}

/* ---- two phases ----------------------------------------------------------------------------- */

static void it_lives_from_the_commit_on(bench *on) {
    lw_mutation mutation = put_for("k", "v", 500);
    uint64_t start = bench_timestamp(on);
    asked *it = bench_prewrite(on, 1, start, "k", 5000, &mutation, 1);
    expect(on, it->status == LW_OK, "prewritten");
    bench_pass_ms(on, 1000);
    uint64_t committed = bench_timestamp(on);
    it = bench_finish(on, start, committed, "k");
    expect(on, it->status == LW_OK, "committed");
    expect_text(on, bench_read(on, 0, "k"), "v", "the lock's time does not count");
    bench_pass_ms(on, 600);
    expect(on, bench_timestamp(on) > committed, "time goes on");
    uint64_t expires = committed + lw_timestamp_of_ms(500);
    expect_text(on, bench_read(on, expires - 1, "k"), "v", "until its moment");
    expect_text(on, bench_read(on, expires, "k"), "-", "and from then on");
}

/* ---- conflicts ------------------------------------------------------------------------------ */

static asked *commit_having_read(bench *on, const lw_seen_key *key, const lw_seen_range *range) {
    lw_mutation mutation = bench_put("result", "x", LW_SEEN_ANYTHING);
    lw_commit_now_request request = {.start = bench_timestamp(on),
                                     .mutations = &mutation,
                                     .mutation_count = 1,
                                     .keys = key,
                                     .key_count = key != NULL,
                                     .ranges = range,
                                     .range_count = range != NULL};
    return bench_await(bench_send_commit_now(on, &request));
}

static void who_read_it_alive_is_in_conflict_after(bench *on) {
    (void)bench_write(on, "k", "hidden");
    uint64_t hidden = write_for(on, "k2", "hidden", 200);
    (void)bench_write(on, "k2", "lasts");
    uint64_t expires = write_for(on, "k", "v", 300);
    lw_seen_key key = {.key = lw_text("k"), .seen = bench_timestamp(on)};
    lw_seen_range range = {.lower = lw_text("k"), .upper = lw_text("l"), .seen = key.seen};
    expect(on, bench_committed(commit_having_read(on, &key, &range)) < expires, "in time");
    bench_pass_ms(on, 500);
    expect_expired(on, commit_having_read(on, &key, NULL), expires, "who read the key");
    expect_expired(on, commit_having_read(on, NULL, &range), expires, "who read the range");
    lw_seen_range other = {.lower = lw_text("k1"), .upper = lw_text("l"), .seen = key.seen};
    expect(on, hidden < bench_timestamp(on), "another expired that nobody saw");
    expect(on, commit_having_read(on, NULL, &other)->status == LW_OK, "which hinders nobody");
    key.seen = range.seen = bench_timestamp(on);
    expect(on, commit_having_read(on, &key, &range)->status == LW_OK, "who saw it gone");
}

static void who_writes_on_what_it_saw_is_in_conflict_too(bench *on) {
    uint64_t expires = write_for(on, "k", "v", 300);
    uint64_t seen = bench_timestamp(on);
    bench_pass_ms(on, 500);
    lw_mutation mutation = bench_put("k", "v+1", seen);
    expect_expired(on, bench_commit_now(on, bench_timestamp(on), &mutation, 1), expires,
                   "in one round");
    asked *it = bench_prewrite(on, 1, bench_timestamp(on), "k", 5000, &mutation, 1);
    expect_expired(on, it, expires, "and in two phases");
    mutation.seen = bench_timestamp(on);
    expect(on, bench_commit_now(on, bench_timestamp(on), &mutation, 1)->status == LW_OK,
           "an insert by who saw it gone");
    expect_text(on, bench_read(on, 0, "k"), "v+1", "is there");
}

/* What has been committed meanwhile counts first; records that are no versions lie in between. */
static void rollbacks_on_top_hide_nothing(bench *on) {
    uint64_t expires = write_for(on, "k", "v", 300);
    expect(on, bench_finish(on, bench_timestamp(on), 0, "k")->status == LW_OK, "a rollback");
    uint64_t seen = bench_timestamp(on);
    expect(on, bench_finish(on, bench_timestamp(on), 0, "k")->status == LW_OK, "and another");
    bench_pass_ms(on, 500);
    lw_seen_key key = {.key = lw_text("k"), .seen = seen};
    lw_seen_range range = {.lower = lw_text("k"), .seen = seen};
    lw_mutation mutation = bench_put("k", "w", seen);
    expect_expired(on, commit_having_read(on, &key, NULL), expires, "a key");
    expect_expired(on, commit_having_read(on, NULL, &range), expires, "a range");
    expect_expired(on, bench_commit_now(on, bench_timestamp(on), &mutation, 1), expires, "a write");
    uint64_t newer = bench_write(on, "k", "newer");
    asked *it = bench_commit_now(on, bench_timestamp(on), &mutation, 1);
    expect(on, it->status == LW_CONFLICT && it->obstacle.commit_timestamp == newer,
           "a newer version is what is told");
}

/* ---- atomic writes -------------------------------------------------------------------------- */

static int64_t add_one(bench *on, const char *key) {
    uint8_t one[8];
    lw_put_u64(one, 1);
    lw_mutation mutation = {.kind = LW_MUTATION_ADD,
                            .key = lw_text(key),
                            .value = lw_view(one, sizeof(one)),
                            .seen = LW_SEEN_ANYTHING};
    asked *it = bench_commit_now(on, bench_timestamp(on), &mutation, 1);
    lw_commit_reply reply = {0};
    if (it->status != LW_OK ||
        lw_commit_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) != LW_OK ||
        reply.result_count != 1 || reply.results[0].value.size != 8) {
        expect(on, false, "an addition is answered");
        return 0;
    }
    return (int64_t)lw_get_u64(reply.results[0].value.data);
}

static void an_addition_keeps_the_time_that_is_left(bench *on) {
    uint8_t five[8];
    lw_put_u64(five, 5);
    lw_mutation mutation = put_for("n", "", 300);
    mutation.value = lw_view(five, sizeof(five));
    uint64_t committed = bench_committed(bench_commit_now(on, bench_timestamp(on), &mutation, 1));
    bench_pass_ms(on, 100);
    expect(on, add_one(on, "n") == 6, "it counts on");
    bench_pass_ms(on, 100);
    expect(on, add_one(on, "n") == 7, "and on");
    bench_pass_ms(on, 200);
    expect(on, bench_timestamp(on) > committed, "time goes on");
    uint64_t expires = committed + lw_timestamp_of_ms(300);
    expect(on, strcmp(bench_read(on, expires - 1, "n"), "-") != 0, "until the moment");
    expect_text(on, bench_read(on, expires, "n"), "-", "that was set once");
    expect(on, add_one(on, "n") == 1, "then it begins anew");
    bench_pass_ms(on, 1000);
    expect(on, add_one(on, "n") == 2, "and lasts");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(a_value_is_gone_from_its_moment_on, "txn.expired_by_the_clock"),
        BENCH_STORY(it_survives_crashes_until_then, NULL),
        BENCH_STORY(it_lives_from_the_commit_on, NULL),
        BENCH_STORY(who_read_it_alive_is_in_conflict_after, "txn.expiry_not_validated"),
        BENCH_STORY(who_writes_on_what_it_saw_is_in_conflict_too, "txn.expiry_not_validated"),
        BENCH_STORY(rollbacks_on_top_hide_nothing, "txn.expiry_not_validated"),
        BENCH_STORY(an_addition_keeps_the_time_that_is_left, NULL),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
