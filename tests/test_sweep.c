/* SPDX-License-Identifier: Apache-2.0 */
/* The sweeper: locks of sessions that are no more, over the shards of a node, with nobody touching
 * them; and what an owner leaves to it. */
#include "tests/shard_bench.h"

enum { OWNER = 1, OTHER = 2 };

static void split_at_m(bench *on) {
    asked *it = bench_ask(on, LW_MESSAGE_SPLIT, 7);
    lw_split_request_encode(&(lw_split_request){.key = lw_text("m")}, &it->body);
    bench_await(bench_send(it));
    expect(on, it->status == LW_OK && lw_shards_count(on->shards) == 2, "there are two shards");
}

static const char *read_at(bench *on, uint64_t timestamp, const char *key) {
    on->route = lw_text(key);
    const char *value = bench_read(on, timestamp, key);
    on->route = lw_view(NULL, 0);
    return value;
}

/* Locks one of the two keys of an async commit: "a", the primary, and "z". */
static void lock_async(bench *on, uint64_t start, uint64_t wanted, const char *key) {
    on->route = lw_text(key);
    asked *it = bench_ask(on, LW_MESSAGE_PREWRITE, OWNER);
    on->route = lw_view(NULL, 0);
    lw_mutation mutation = bench_put(key, "new", LW_SEEN_ANYTHING);
    lw_bytes secondary = lw_text("z");
    lw_prewrite_request_encode(&(lw_prewrite_request){.start = start,
                                                      .primary = lw_text("a"),
                                                      .lifetime_ms = 600000,
                                                      .mutations = &mutation,
                                                      .mutation_count = 1,
                                                      .commit_timestamp = wanted,
                                                      .secondaries = &secondary,
                                                      .secondary_count = key[0] == 'a'},
                               &it->body);
    bench_await(bench_send(it));
    expect(on, it->status == LW_OK, "prewritten");
}

/* Of all shards. */
static uint64_t open_count(bench *on) {
    uint64_t count = 0;
    for (uint32_t index = 0; index < lw_shards_count(on->shards); index++) {
        lw_replica_figures figures;
        lw_replica_figures_get(lw_shards_at(on->shards, index), &figures);
        count += figures.open;
    }
    return count;
}

/* ---- the end of a session ------------------------------------------------------------------- */

static void an_async_commit_outlives_its_session(bench *on) {
    split_at_m(on);
    uint64_t start = bench_timestamp(on), wanted = bench_timestamp(on);
    lock_async(on, start, wanted, "z");
    lock_async(on, start, wanted, "a");
    lw_shards_session_ended(on->shards, OWNER);
    bench_pass_ms(on, 1000);
    expect(on, open_count(on) == 0, "no lock is left");
    expect_text(on, read_at(on, wanted, "a"), "new", "the primary is committed");
    expect_text(on, read_at(on, wanted, "z"), "new", "and the other");
    expect_text(on, read_at(on, wanted - 1, "a"), "-", "at its timestamp");
}

static void half_an_async_commit_does_not(bench *on) {
    split_at_m(on);
    uint64_t start = bench_timestamp(on), wanted = bench_timestamp(on);
    lock_async(on, start, wanted, "a");
    uint64_t other_start = bench_timestamp(on), other_wanted = bench_timestamp(on);
    lock_async(on, other_start, other_wanted, "z");
    lw_shards_session_ended(on->shards, OWNER);
    bench_pass_ms(on, 1000);
    expect(on, open_count(on) == 0, "no lock is left");
    expect_text(on, read_at(on, 0, "a"), "-", "nothing of the one without its secondary");
    expect_text(on, read_at(on, 0, "z"), "-", "nor of the one without its primary");
}

static void one_that_fell_back_does_not_either(bench *on) {
    split_at_m(on);
    uint64_t start = bench_timestamp(on), wanted = bench_timestamp(on);
    (void)read_at(on, 0, "z");
    lock_async(on, start, wanted, "a");
    lock_async(on, start, wanted, "z");
    lw_shards_session_ended(on->shards, OWNER);
    bench_pass_ms(on, 1000);
    expect(on, open_count(on) == 0, "no lock is left");
    expect_text(on, read_at(on, 0, "a"), "-", "its owner had not decided");
    expect_text(on, read_at(on, 0, "z"), "-", "nor here");
}

static void the_dead_are_ended_after_a_restart_too(bench *on) {
    split_at_m(on);
    uint64_t start = bench_timestamp(on), wanted = bench_timestamp(on);
    lock_async(on, start, wanted, "a");
    lock_async(on, start, wanted, "z");
    uint64_t half = bench_timestamp(on);
    lw_mutation mutation = bench_put("b", "half", LW_SEEN_ANYTHING);
    bench_prewrite(on, OTHER, half, "b", 600000, &mutation, 1);
    bench_crash(on);
    expect(on, open_count(on) == 3, "the locks are counted again");
    bench_pass_ms(on, 2000);
    expect(on, open_count(on) == 3, "their sessions may still come back");
    bench_pass_ms(on, 3000);
    expect(on, open_count(on) == 0, "they did not");
    expect_text(on, read_at(on, wanted, "z"), "new", "the async commit is there");
    expect_text(on, read_at(on, 0, "b"), "-", "the other is gone");
}

/* ---- many locks ----------------------------------------------------------------------------- */

/* Prewrites `count` keys "PREFIX%05u", 500 at a time; the primary is the first of them. */
static void lock_many(bench *on, uint64_t session, uint64_t start, const char *prefix,
                      uint32_t count) {
    enum { BATCH = 500, SIZE = 16 };
    static char keys[BATCH][SIZE];
    lw_mutation mutations[BATCH];
    char primary[SIZE];
    (void)snprintf(primary, SIZE, "%s%05u", prefix, 0);
    for (uint32_t first = 0; first < count; first += BATCH) {
        uint32_t here = count - first < BATCH ? count - first : BATCH;
        for (uint32_t index = 0; index < here; index++) {
            (void)snprintf(keys[index], SIZE, "%s%05u", prefix, first + index);
            mutations[index] = bench_put(keys[index], "new", LW_SEEN_ANYTHING);
        }
        asked *it = bench_prewrite(on, session, start, primary, 600000, mutations, here);
        expect(on, it->status == LW_OK, "prewritten");
    }
}

/* Lets time pass until no more than so many transactions have locks. */
static void await_open(bench *on, uint64_t count) {
    for (uint32_t turn = 0; turn < 100000 && open_count(on) > count; turn++) {
        (void)lw_world_step(on->world);
    }
    expect(on, open_count(on) <= count, "locks are ended");
}

static void small_ones_need_not_wait_for_large_ones(bench *on) {
    uint64_t large = bench_timestamp(on), small = bench_timestamp(on);
    lock_many(on, OWNER, large, "a", 30000);
    lock_many(on, OTHER, small, "z", 3);
    lw_shards_session_ended(on->shards, OWNER);
    lw_shards_session_ended(on->shards, OTHER);
    await_open(on, 1);
    expect_text(on, bench_read(on, 0, "z00002"), "-", "the small one is gone");
    expect(on, open_count(on) == 1, "while the large one is still being swept");
    await_open(on, 0);
    expect_text(on, bench_scan(on, &(lw_scan_request){0}), "", "and then the large one too");
}

static void what_is_locked_behind_the_sweeper_is_swept_too(bench *on) {
    uint64_t start = bench_timestamp(on);
    lock_many(on, OWNER, start, "k", 20000);
    lw_mutation late = bench_put("a", "late", LW_SEEN_ANYTHING);
    lw_shards_session_ended(on->shards, OWNER);
    for (uint32_t turn = 0; turn < 20; turn++) {
        (void)lw_world_step(on->world);
    }
    expect(on, open_count(on) == 1, "it is being swept");
    bench_prewrite(on, OWNER, start, "k00000", 600000, &late, 1);
    bench_pass_ms(on, 5000);
    expect(on, open_count(on) == 0, "to the last one");
}

/* ---- FINISH_RANGE --------------------------------------------------------------------------- */

static asked *finish_range(bench *on, uint64_t start, uint64_t commit_timestamp, const char *lower,
                           const char *upper) {
    asked *it = bench_ask(on, LW_MESSAGE_FINISH_RANGE, OWNER);
    lw_finish_range_request_encode(&(lw_finish_range_request){.start = start,
                                                              .commit_timestamp = commit_timestamp,
                                                              .lower = lw_text(lower),
                                                              .upper = lw_text(upper)},
                                   &it->body);
    return bench_await(bench_send(it));
}

static void an_owner_leaves_a_range_to_the_sweeper(bench *on) {
    uint64_t start = bench_timestamp(on), other = bench_timestamp(on);
    lock_many(on, OWNER, start, "k", 12000);
    lock_many(on, OTHER, other, "o", 10);
    uint64_t committed = bench_timestamp(on);
    expect(on, bench_finish(on, start, committed, "k00000")->status == LW_OK, "decided");
    expect(on, finish_range(on, start, committed, "", "k07000")->status == LW_OK, "a part");
    bench_pass_ms(on, 1000);
    expect_text(on, read_at(on, committed, "k00001"), "new", "there it is");
    expect_text(on, read_at(on, committed, "k06999"), "new", "to the last key");
    expect(on, bench_await(bench_send_get(on, 3, 0, "k07000"))->status != LW_OK, "and no further");
    expect(on, finish_range(on, start, 0, "", "")->status == LW_INVALID_ARGUMENT,
           "what is known stays known");
    expect(on, finish_range(on, start, committed, "k", "")->status == LW_OK, "the rest");
    bench_pass_ms(on, 1000);
    expect_text(on, read_at(on, committed, "k11999"), "new", "all of it");
    expect(on, open_count(on) == 1, "the other's stay");
    expect(on, finish_range(on, other, 0, "", "")->status == LW_OK, "rolled back");
    bench_pass_ms(on, 1000);
    expect(on, open_count(on) == 0, "and gone");
    expect(on, finish_range(on, other, 0, "", "")->status == LW_OK, "again, that is nothing");
}

static void what_was_left_to_it_survives_a_crash(bench *on) {
    uint64_t start = bench_timestamp(on);
    lock_many(on, OWNER, start, "k", 1200);
    uint64_t committed = bench_timestamp(on);
    expect(on, bench_finish(on, start, committed, "k00000")->status == LW_OK, "decided");
    expect(on, finish_range(on, start, committed, "", "")->status == LW_OK, "left to the sweeper");
    bench_crash(on);
    bench_pass_ms(on, 5000);
    expect(on, open_count(on) == 0, "done");
    expect_text(on, read_at(on, committed, "k01199"), "new", "as it was decided");
}

static void what_was_left_to_it_is_handed_over(bench *on) {
    uint64_t start = bench_timestamp(on);
    lock_many(on, OWNER, start, "k", 9000);
    lock_many(on, OWNER, start, "z", 9000);
    uint64_t committed = bench_timestamp(on);
    expect(on, bench_finish(on, start, committed, "k00000")->status == LW_OK, "decided");
    expect(on, finish_range(on, start, committed, "", "")->status == LW_OK, "left to the sweeper");
    split_at_m(on);
    bench_pass_ms(on, 5000);
    expect(on, open_count(on) == 0, "done in both");
    expect_text(on, read_at(on, committed, "k08999"), "new", "here");
    expect_text(on, read_at(on, committed, "z08999"), "new", "and there");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(an_async_commit_outlives_its_session, NULL),
        BENCH_STORY(half_an_async_commit_does_not, "txn.missing_counts_as_locked"),
        BENCH_STORY(one_that_fell_back_does_not_either, NULL),
        BENCH_STORY(the_dead_are_ended_after_a_restart_too, NULL),
        BENCH_STORY(small_ones_need_not_wait_for_large_ones, NULL),
        BENCH_STORY(what_is_locked_behind_the_sweeper_is_swept_too, NULL),
        BENCH_STORY(an_owner_leaves_a_range_to_the_sweeper, NULL),
        BENCH_STORY(what_was_left_to_it_survives_a_crash, NULL),
        BENCH_STORY(what_was_left_to_it_is_handed_over, NULL),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
