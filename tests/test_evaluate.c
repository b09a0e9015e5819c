/* SPDX-License-Identifier: Apache-2.0 */
/* What requests mean, told as stories, one for each hazard of transactions; each must fail when the
 * cure is taken out (the planted bug that is named with it). And reads against a model that keeps
 * every version. */
#include "tests/shard_bench.h"

static lw_mutation mutation_of(lw_mutation_kind kind, const char *key, uint64_t seen) {
    return (lw_mutation){.kind = kind, .key = lw_text(key), .seen = seen};
}

static void expect_obstacle(bench *on, const asked *it, lw_obstacle_kind kind, const char *what) {
    expect(on, it->status == LW_CONFLICT && it->obstacle.kind == kind, what);
}

/* ---- reading -------------------------------------------------------------------------------- */

static void a_reader_sees_its_own_time(bench *on) {
    uint64_t before = bench_timestamp(on);
    uint64_t first = bench_write(on, "k", "one");
    lw_mutation deletion = mutation_of(LW_MUTATION_DELETE, "k", LW_SEEN_ANYTHING);
    uint64_t second = bench_committed(bench_commit_now(on, bench_timestamp(on), &deletion, 1));
    uint64_t third = bench_write(on, "k", "");
    expect_text(on, bench_read(on, before, "k"), "-", "before the first version");
    expect_text(on, bench_read(on, first, "k"), "one", "at the first version");
    expect_text(on, bench_read(on, second - 1, "k"), "one", "just before the deletion");
    expect_text(on, bench_read(on, second, "k"), "-", "at the deletion");
    expect_text(on, bench_read(on, third, "k"), "", "an empty value is a value");
    expect_text(on, bench_read(on, 0, "other"), "-", "a key that never was");
}

static void the_future_cannot_be_read(bench *on) {
    asked *it = bench_await(bench_send_get(on, 1, bench_timestamp(on) + (1u << 30), "k"));
    expect(on, it->status == LW_INVALID_ARGUMENT, "a timestamp nobody gave is refused");
}

/* E2. */
static void a_reader_stops_at_a_lock_that_may_become_a_version(bench *on) {
    (void)bench_write(on, "k", "old");
    uint64_t before = bench_timestamp(on);
    uint64_t start = bench_timestamp(on);
    uint64_t between = bench_timestamp(on);
    lw_mutation mutation = bench_put("k", "new", LW_SEEN_ANYTHING);
    asked *it = bench_prewrite(on, 1, start, "k", 5000, &mutation, 1);
    expect(on, it->status == LW_OK, "prewritten");
    expect_text(on, bench_read(on, between, "k"), "old", "nor who was there before the lock");
    uint64_t after = bench_timestamp(on);
    expect_text(on, bench_read(on, before, "k"), "old", "who began before need not wait");
    it = bench_await(bench_send_get(on, 2, after, "k"));
    expect_obstacle(on, it, LW_OBSTACLE_LOCK, "who began after meets the lock");
    expect(on, it->obstacle.start == start, "and is told whose it is");
    expect(on, lw_equal(it->obstacle.primary, lw_text("k")), "and where to ask");
    expect(on, lw_equal(it->obstacle.label, lw_text("importer")), "and who that is");
    lw_scan_request scan = {.read_timestamp = after};
    expect_text(on, bench_scan(on, &scan), "locked", "a scan meets it too");
    uint64_t committed = bench_timestamp(on);
    it = bench_finish(on, start, committed, "k");
    expect(on, it->status == LW_OK, "committed");
    expect_text(on, bench_read(on, after, "k"), "old", "the commit lies above");
    expect_text(on, bench_read(on, committed, "k"), "new", "and can be read");
}

static void a_reader_passes_a_lock_that_writes_nothing(bench *on) {
    (void)bench_write(on, "k", "old");
    uint64_t start = bench_timestamp(on);
    lw_mutation mutation = mutation_of(LW_MUTATION_LOCK, "k", LW_SEEN_ANYTHING);
    asked *it = bench_prewrite(on, 1, start, "k", 5000, &mutation, 1);
    expect(on, it->status == LW_OK, "prewritten");
    expect_text(on, bench_read(on, 0, "k"), "old", "read all the same");
    lw_mutation other = bench_put("k", "new", LW_SEEN_ANYTHING);
    it = bench_commit_now(on, bench_timestamp(on), &other, 1);
    expect_obstacle(on, it, LW_OBSTACLE_LOCK, "but writers stop");
    it = bench_finish(on, start, bench_timestamp(on), "k");
    expect(on, it->status == LW_OK, "committed");
    expect_text(on, bench_read(on, 0, "k"), "old", "and nothing was written");
}

static void a_page_ends_before_a_lock(bench *on) {
    (void)bench_write(on, "a", "1");
    (void)bench_write(on, "c", "3");
    lw_mutation mutation = bench_put("b", "2", LW_SEEN_ANYTHING);
    asked *it = bench_prewrite(on, 1, bench_timestamp(on), "b", 5000, &mutation, 1);
    expect(on, it->status == LW_OK, "prewritten");
    lw_scan_request scan = {0};
    expect_text(on, bench_scan(on, &scan), "a=1 ...", "forwards up to the lock");
    scan.backwards = true;
    expect_text(on, bench_scan(on, &scan), "c=3 ...", "backwards down to the lock");
    scan.lower = lw_text("b");
    scan.backwards = false;
    expect_text(on, bench_scan(on, &scan), "locked", "from the lock on");
    scan.lower = lw_text("bb");
    expect_text(on, bench_scan(on, &scan), "c=3", "behind the lock");
}

/* ---- repeated, late, lost (T2, T6) ---------------------------------------------------------- */

static void a_commit_that_is_repeated_answers_the_same(bench *on) {
    lw_mutation mutations[] = {bench_put("k", "one", LW_SEEN_ANYTHING),
                               mutation_of(LW_MUTATION_LOCK, "l", LW_SEEN_ANYTHING)};
    uint64_t start = bench_timestamp(on);
    mutations[0].seen = start;
    uint64_t committed = bench_committed(bench_commit_now(on, start, mutations, 2));
    (void)bench_write(on, "k", "two");
    uint64_t again = bench_committed(bench_commit_now(on, start, mutations, 2));
    expect(on, committed != 0 && again == committed, "the same timestamp");
    expect_text(on, bench_read(on, 0, "k"), "two", "and nothing done twice");
    bench_crash(on);
    again = bench_committed(bench_commit_now(on, start, mutations, 2));
    expect(on, again == committed, "the same after a crash");

    start = bench_timestamp(on);
    committed = bench_committed(bench_commit_now(on, start, mutations + 1, 1));
    again = bench_committed(bench_commit_now(on, start, mutations + 1, 1));
    expect(on, committed != 0 && again == committed, "also when it wrote nothing");
}

static void a_late_prewrite_meets_the_rollback_record(bench *on) {
    uint64_t start = bench_timestamp(on);
    lw_mutation mutation = bench_put("k", "late", LW_SEEN_ANYTHING);
    asked *it = bench_finish(on, start, 0, "k");
    expect(on, it->status == LW_OK, "rolled back before it came");
    it = bench_prewrite(on, 1, start, "k", 5000, &mutation, 1);
    expect_obstacle(on, it, LW_OBSTACLE_ROLLED_BACK, "the late prewrite");
    it = bench_commit_now(on, start, &mutation, 1);
    expect_obstacle(on, it, LW_OBSTACLE_ROLLED_BACK, "the late commit in one round");
}

/* T1: who asks about a transaction that nobody knows makes it impossible. */
static void an_unknown_transaction_is_decided_by_asking(bench *on) {
    uint64_t start = bench_timestamp(on);
    lw_check_reply fate = bench_check(on, start, "k", false);
    expect(on, fate.fate == LW_FATE_ABORTED, "nobody knows it");
    lw_mutation mutation = bench_put("k", "late", LW_SEEN_ANYTHING);
    asked *it = bench_commit_now(on, start, &mutation, 1);
    expect_obstacle(on, it, LW_OBSTACLE_ROLLED_BACK, "and it never will commit");
    fate = bench_check(on, start, "k", true);
    expect(on, fate.fate == LW_FATE_ABORTED, "asked again");
}

static void a_rollback_never_undoes_a_commit(bench *on) {
    uint64_t start = bench_timestamp(on);
    lw_mutation mutation = bench_put("k", "kept", LW_SEEN_ANYTHING);
    uint64_t committed = bench_committed(bench_commit_now(on, start, &mutation, 1));
    asked *it = bench_finish(on, start, 0, "k");
    expect(on, it->status == LW_REFUSED, "a late rollback is refused");
    lw_check_reply fate = bench_check(on, start, "k", true);
    expect(on, fate.fate == LW_FATE_COMMITTED && fate.commit_timestamp == committed,
           "its fate is known");
    expect(on, bench_committed(bench_commit_now(on, start, &mutation, 1)) == committed,
           "and a repeated commit is answered");
    expect_text(on, bench_read(on, 0, "k"), "kept", "and its value stays");
}

/* T3. */
static void a_timestamp_is_used_once(bench *on) {
    uint64_t committed = bench_write(on, "k", "kept");
    asked *it = bench_finish(on, committed, 0, "k");
    expect(on, it->status == LW_INVALID_ARGUMENT, "no rollback under another's commit timestamp");
    expect_text(on, bench_read(on, 0, "k"), "kept", "its value stays");
    uint64_t start = bench_timestamp(on), promised = bench_timestamp(on);
    lw_mutation mutation = bench_put("k", "promised", start);
    it = bench_ask(on, LW_MESSAGE_PREWRITE, 1);
    lw_prewrite_request request = {.start = start,
                                   .commit_timestamp = promised,
                                   .primary = lw_text("k"),
                                   .lifetime_ms = 5000,
                                   .mutations = &mutation,
                                   .mutation_count = 1};
    lw_prewrite_request_encode(&request, &it->body);
    expect(on, bench_await(bench_send(it))->status == LW_OK, "an async commit");
    it = bench_finish(on, promised, 0, "k");
    expect(on, it->status == LW_INVALID_ARGUMENT, "nor under the one that a lock has");
    expect(on, bench_finish(on, start, promised, "k")->status == LW_OK, "committed");
    expect_text(on, bench_read(on, 0, "k"), "promised", "its value is there");
    start = bench_timestamp(on);
    promised = bench_timestamp(on);
    it = bench_finish(on, promised, 0, "k");
    expect(on, it->status == LW_OK, "one that never did anything is rolled back");
    mutation = bench_put("k", "never", start);
    it = bench_ask(on, LW_MESSAGE_PREWRITE, 1);
    request.start = start;
    request.commit_timestamp = promised;
    lw_prewrite_request_encode(&request, &it->body);
    expect(on, bench_await(bench_send(it))->status == LW_INVALID_ARGUMENT,
           "nor is a lock promised a place that is taken");
    expect_text(on, bench_read(on, 0, "k"), "promised", "the value stays");
}

/* ---- two phases ----------------------------------------------------------------------------- */

static void two_phases_commit(bench *on) {
    uint64_t start = bench_timestamp(on);
    lw_mutation mutations[] = {bench_put("a", "1", start),
                               mutation_of(LW_MUTATION_DELETE, "b", start),
                               mutation_of(LW_MUTATION_LOCK, "c", start)};
    asked *it = bench_prewrite(on, 1, start, "a", 5000, mutations, 3);
    expect(on, it->status == LW_OK, "prewritten");
    it = bench_prewrite(on, 1, start, "a", 5000, mutations, 3);
    expect(on, it->status == LW_OK, "prewritten again");
    uint64_t committed = bench_timestamp(on);
    expect(on, bench_finish(on, start, committed, "a")->status == LW_OK, "the primary");
    expect(on, bench_finish(on, start, committed, "a")->status == LW_OK, "the primary again");
    it = bench_prewrite(on, 1, start, "a", 5000, mutations, 1);
    expect(on, it->status == LW_OK, "a prewrite that comes after the commit");
    expect_text(on, bench_read(on, 0, "a"), "1", "leaves no lock");
    expect(on, bench_finish(on, start, committed, "b")->status == LW_OK, "a secondary");
    expect(on, bench_finish(on, start, committed, "c")->status == LW_OK, "one that wrote nothing");
    expect(on, bench_finish(on, start, committed, "c")->status == LW_OK, "and again");
    expect_text(on, bench_scan(on, &(lw_scan_request){0}), "a=1", "all of it is there");
    lw_check_reply fate = bench_check(on, start, "a", false);
    expect(on, fate.fate == LW_FATE_COMMITTED && fate.commit_timestamp == committed, "its fate");
}

static void a_commit_timestamp_drawn_too_early_is_refused(bench *on) {
    uint64_t start = bench_timestamp(on);
    uint64_t early = bench_timestamp(on);
    lw_mutation mutation = bench_put("a", "1", start);
    expect(on, bench_prewrite(on, 1, start, "a", 5000, &mutation, 1)->status == LW_OK, "locked");
    asked *it = bench_finish(on, start, early, "a");
    expect(on, it->status == LW_INVALID_ARGUMENT, "readers may have been there meanwhile");
    it = bench_finish(on, start, bench_timestamp(on), "a");
    expect(on, it->status == LW_OK, "one drawn after the locks is right");
}

/* The answer to a commit in one round was lost, and its owner comes again in two phases, as the
 * shard was split meanwhile: here both keys are in one still, so that only the second is sent. */
static void what_is_locked_after_its_commit_is_let_go(bench *on) {
    uint64_t start = bench_timestamp(on);
    lw_mutation mutations[] = {bench_put("a", "1", start),
                               mutation_of(LW_MUTATION_LOCK, "b", start)};
    uint64_t committed = bench_committed(bench_commit_now(on, start, mutations, 2));
    expect(on, committed != 0, "it is committed");
    asked *it = bench_prewrite(on, 1, start, "a", 5000, mutations + 1, 1);
    expect(on, it->status == LW_OK, "nothing says so at the other key, which is locked");
    expect(on, bench_finish(on, start, committed, "b")->status == LW_OK, "it is let go of");
    lw_mutation other = bench_put("b", "2", LW_SEEN_ANYTHING);
    it = bench_commit_now(on, bench_timestamp(on), &other, 1);
    expect(on, bench_committed(it) != 0, "others get on");
}

/* T8. */
static void who_lost_the_lock_cannot_commit_story(bench *on) {
    uint64_t start = bench_timestamp(on);
    lw_mutation mutation = bench_put("k", "slow", start);
    expect(on, bench_prewrite(on, 1, start, "k", 1000, &mutation, 1)->status == LW_OK, "locked");
    bench_pass_ms(on, 500);
    lw_check_reply fate = bench_check(on, start, "k", false);
    expect(on, fate.fate == LW_FATE_ALIVE, "half-way it is alive");
    expect(on, fate.remaining_ms > 300 && fate.remaining_ms < 700, "and for how long");
    bench_pass_ms(on, 1500);
    fate = bench_check(on, start, "k", false);
    expect(on, fate.fate == LW_FATE_ABORTED, "then it may be rolled back");
    asked *it = bench_finish(on, start, bench_timestamp(on), "k");
    expect_obstacle(on, it, LW_OBSTACLE_ROLLED_BACK, "and its owner cannot commit any more");
    expect_text(on, bench_read(on, 0, "k"), "-", "nothing was written");
}
static void who_lost_the_lock_cannot_commit(void **state) {
    (void)state;
    bench_hold(who_lost_the_lock_cannot_commit_story, "txn.commit_without_lock");
    bench_hold(who_lost_the_lock_cannot_commit_story, "txn.check_ignores_expiry");
}

static void a_wall_clock_that_jumps_expires_nothing(bench *on) {
    uint64_t start = bench_timestamp(on);
    lw_mutation mutation = bench_put("k", "slow", start);
    expect(on, bench_prewrite(on, 1, start, "k", 10000, &mutation, 1)->status == LW_OK, "locked");
    lw_host_jump_wall(on->host, INT64_C(365) * 24 * 3600 * 1000);
    bench_pass_ms(on, 100);
    lw_check_reply fate = bench_check(on, start, "k", false);
    expect(on, fate.fate == LW_FATE_ALIVE, "a year ahead");
    lw_host_jump_wall(on->host, -2 * INT64_C(365) * 24 * 3600 * 1000);
    bench_pass_ms(on, 30000);
    fate = bench_check(on, start, "k", false);
    expect(on, fate.fate == LW_FATE_ABORTED, "a year behind it still ends");
}

static void a_heartbeat_keeps_the_primary_alive(bench *on) {
    uint64_t start = bench_timestamp(on);
    lw_mutation mutation = bench_put("k", "slow", start);
    expect(on, bench_prewrite(on, 1, start, "k", 1000, &mutation, 1)->status == LW_OK, "locked");
    for (int beat = 0; beat < 5; beat++) {
        bench_pass_ms(on, 600);
        asked *it = bench_ask(on, LW_MESSAGE_HEARTBEAT, 1);
        lw_heartbeat_request_encode(
            &(lw_heartbeat_request){.start = start, .primary = lw_text("k"), .lifetime_ms = 1000},
            &it->body);
        expect(on, bench_await(bench_send(it))->status == LW_OK, "a heartbeat");
    }
    expect(on, bench_check(on, start, "k", false).fate == LW_FATE_ALIVE, "alive");
    expect(on, bench_finish(on, start, bench_timestamp(on), "k")->status == LW_OK, "committed");
    expect_text(on, bench_read(on, 0, "k"), "slow", "written");
}

static void a_secondary_decides_nothing(bench *on) {
    uint64_t start = bench_timestamp(on);
    lw_mutation mutations[] = {bench_put("a", "1", start), bench_put("b", "2", start)};
    expect(on, bench_prewrite(on, 1, start, "a", 5000, mutations, 2)->status == LW_OK, "locked");
    asked *it = bench_ask(on, LW_MESSAGE_CHECK, 2);
    lw_check_request request = {.start = start, .primary = lw_text("b"), .decide = true};
    lw_check_request_encode(&request, &it->body);
    expect(on, bench_await(bench_send(it))->status == LW_INVALID_ARGUMENT,
           "asked in the wrong place");
    expect(on, bench_finish(on, start, bench_timestamp(on), "a")->status == LW_OK, "committed");
}

/* ---- conflicts (E4) ------------------------------------------------------------------------- */

static void the_first_to_commit_wins(bench *on) {
    uint64_t start = bench_timestamp(on);
    uint64_t other = bench_write(on, "k", "first");
    lw_mutation mutation = bench_put("k", "second", start);
    asked *it = bench_commit_now(on, start, &mutation, 1);
    expect_obstacle(on, it, LW_OBSTACLE_NEWER, "in one round");
    expect(on, it->obstacle.commit_timestamp == other, "it is told which version");
    it = bench_prewrite(on, 1, start, "k", 5000, &mutation, 1);
    expect_obstacle(on, it, LW_OBSTACLE_NEWER, "in two phases");
    mutation = mutation_of(LW_MUTATION_LOCK, "k", start);
    it = bench_commit_now(on, start, &mutation, 1);
    expect_obstacle(on, it, LW_OBSTACLE_NEWER, "also if it only locks");
    mutation = bench_put("k", "blind", LW_SEEN_ANYTHING);
    expect(on, bench_committed(bench_commit_now(on, start, &mutation, 1)) > other,
           "blind writes pass");
}

/* T7: the lock was in memory, and is forgotten; the commit is checked all the same. */
static void a_lock_in_memory_is_only_a_hint(bench *on) {
    asked *it = bench_ask(on, LW_MESSAGE_LOCK, 1);
    lw_bytes key = lw_text("k");
    lw_lock_request_encode(
        &(lw_lock_request){.keys = &key, .key_count = 1, .wait_ms = 1000, .read = true}, &it->body);
    bench_await(bench_send(it));
    lw_lock_reply locked = {0};
    expect(on,
           it->status == LW_OK &&
               lw_lock_reply_decode(lw_buffer_view(&it->reply), &on->arena, &locked) == LW_OK,
           "locked");
    bench_crash(on);
    (void)bench_write(on, "k", "somebody else");
    lw_mutation mutation = bench_put("k", "mine", locked.for_update);
    it = bench_commit_now(on, locked.start, &mutation, 1);
    expect_obstacle(on, it, LW_OBSTACLE_NEWER, "the change is noticed");
}

/* T13: two transactions read what the other writes. */
static void write_skew_is_refused(bench *on) {
    uint64_t start = bench_timestamp(on);
    lw_mutation first = bench_put("a", "1", start), second = bench_put("b", "1", start);
    lw_seen_key reads[] = {{.key = lw_text("b"), .seen = start},
                           {.key = lw_text("a"), .seen = start}};
    lw_commit_now_request request = {
        .start = start, .mutations = &first, .mutation_count = 1, .keys = reads, .key_count = 1};
    expect(on, bench_committed(bench_await(bench_send_commit_now(on, &request))) != 0, "the first");
    request.start = bench_timestamp(on);
    request.mutations = &second;
    request.keys = reads + 1;
    asked *it = bench_await(bench_send_commit_now(on, &request));
    expect_obstacle(on, it, LW_OBSTACLE_NEWER, "the second read what the first changed");
}

static void a_phantom_is_refused(bench *on) {
    uint64_t start = bench_timestamp(on);
    (void)bench_write(on, "row/2", "new");
    lw_mutation mutation = bench_put("count", "0", start);
    lw_seen_range range = {.lower = lw_text("row/"), .upper = lw_text("row0"), .seen = start};
    lw_commit_now_request request = {.start = start,
                                     .mutations = &mutation,
                                     .mutation_count = 1,
                                     .ranges = &range,
                                     .range_count = 1};
    asked *it = bench_await(bench_send_commit_now(on, &request));
    expect_obstacle(on, it, LW_OBSTACLE_NEWER, "a row came into the range");
    expect(on, lw_equal(it->obstacle.key, lw_text("row/2")), "and it is named");
    range.lower = lw_text("row/3");
    it = bench_await(bench_send_commit_now(on, &request));
    expect(on, bench_committed(it) != 0, "not into this one");
}

static asked *validate(bench *on, uint64_t start, uint64_t commit_timestamp, const char *key,
                       uint64_t seen) {
    asked *it = bench_ask(on, LW_MESSAGE_VALIDATE, 1);
    lw_seen_key read = {.key = lw_text(key), .seen = seen};
    lw_seen_range range = {.lower = lw_text(key), .seen = seen};
    lw_validate_request_encode(&(lw_validate_request){.start = start,
                                                      .commit_timestamp = commit_timestamp,
                                                      .keys = &read,
                                                      .key_count = 1,
                                                      .ranges = &range,
                                                      .range_count = 1},
                               &it->body);
    return bench_await(bench_send(it));
}

static void validation_looks_up_to_the_commit_timestamp(bench *on) {
    uint64_t start = bench_timestamp(on);
    uint64_t commit = bench_timestamp(on);
    uint64_t later = bench_write(on, "k", "later");
    expect(on, validate(on, start, commit, "k", start)->status == LW_OK, "it commits before");
    asked *it = validate(on, start, bench_timestamp(on), "k", start);
    expect_obstacle(on, it, LW_OBSTACLE_NEWER, "it would commit after");
    it = validate(on, start, bench_timestamp(on), "k", later);
    expect(on, it->status == LW_OK, "it saw that");

    lw_mutation mutation = bench_put("k", "x", LW_SEEN_ANYTHING);
    uint64_t other = bench_timestamp(on);
    expect(on, bench_prewrite(on, 2, other, "k", 5000, &mutation, 1)->status == LW_OK, "locked");
    expect(on, validate(on, start, other - 1, "k", later)->status == LW_OK,
           "the lock will commit above");
    it = validate(on, start, bench_timestamp(on), "k", later);
    expect_obstacle(on, it, LW_OBSTACLE_LOCK, "the lock may commit below");
}

/* ---- reads against a model that keeps every version ----------------------------------------- */

enum { MODEL_KEYS = 12, MODEL_VERSIONS = 3000 };

typedef struct version {
    uint64_t timestamp;
    size_t key;
    uint32_t number; /* 0: deleted */
} version;

typedef struct model {
    version versions[MODEL_VERSIONS];
    size_t count;
    uint64_t random;
} model;

/* In byte order; zeros, prefixes and high bytes among them. */
static const lw_bytes model_keys[MODEL_KEYS] = {
    {(const uint8_t *)"\0", 1},   {(const uint8_t *)"\0\0", 2}, {(const uint8_t *)"\0\1", 2},
    {(const uint8_t *)"a", 1},    {(const uint8_t *)"a\0", 2},  {(const uint8_t *)"a\0\xff", 3},
    {(const uint8_t *)"a\1", 2},  {(const uint8_t *)"aa", 2},   {(const uint8_t *)"b", 1},
    {(const uint8_t *)"\xfe", 1}, {(const uint8_t *)"\xff", 1}, {(const uint8_t *)"\xff\xff", 2},
};

static uint32_t model_value(const model *all, size_t key, uint64_t timestamp) {
    for (size_t index = all->count; index > 0; index--) {
        const version *one = &all->versions[index - 1];
        if (one->key == key && one->timestamp <= timestamp) {
            return one->number;
        }
    }
    return 0;
}

static void model_write(bench *on, model *all) {
    lw_mutation mutations[MODEL_KEYS];
    char texts[MODEL_KEYS][16];
    uint32_t count = 0;
    version *first = &all->versions[all->count];
    for (size_t key = 0; key < MODEL_KEYS && all->count + count < MODEL_VERSIONS; key++) {
        if (unit_random_below(&all->random, 8) != 0) {
            continue;
        }
        bool deleted = unit_random_below(&all->random, 4) == 0;
        uint32_t number = deleted ? 0 : (uint32_t)(all->count + count + 1);
        (void)snprintf(texts[count], sizeof(texts[count]), "%u", number);
        mutations[count] = (lw_mutation){.kind = deleted ? LW_MUTATION_DELETE : LW_MUTATION_PUT,
                                         .key = model_keys[key],
                                         .value = lw_text(deleted ? "" : texts[count]),
                                         .seen = LW_SEEN_ANYTHING};
        first[count++] = (version){.key = key, .number = number};
    }
    if (count == 0) {
        return;
    }
    uint64_t committed =
        bench_committed(bench_commit_now(on, bench_timestamp(on), mutations, count));
    expect(on, committed != 0, "a write of the model");
    for (uint32_t index = 0; index < count; index++) {
        first[index].timestamp = committed;
    }
    all->count += count;
    if (unit_random_below(&all->random, 4) == 0) { /* leaves a record that readers pass */
        asked *it = bench_ask(on, LW_MESSAGE_ROLLBACK, 1);
        lw_finish_request request = {.start = bench_timestamp(on),
                                     .keys =
                                         &model_keys[unit_random_below(&all->random, MODEL_KEYS)],
                                     .key_count = 1};
        lw_finish_request_encode(&request, &it->body);
        expect(on, bench_await(bench_send(it))->status == LW_OK, "a rollback");
    }
}

/* What the page must be, as bench_scan prints it. */
static const char *model_page(bench *on, const model *all, const lw_scan_request *scan) {
    lw_buffer text = lw_buffer_in(on->memory);
    uint32_t row_count = 0;
    bool more = false;
    for (size_t step = 0; step < MODEL_KEYS; step++) {
        size_t key = scan->backwards ? MODEL_KEYS - 1 - step : step;
        uint32_t number = model_value(all, key, scan->read_timestamp);
        bool inside = lw_compare(model_keys[key], scan->lower) >= 0 &&
                      (scan->upper.size == 0 || lw_compare(model_keys[key], scan->upper) < 0);
        if (!inside) {
            continue;
        }
        if (row_count == scan->row_limit) {
            /* A node may say that more may follow where only dead keys do. */
            more = true;
            break;
        }
        if (number != 0) {
            lw_buffer_print(&text, "%s%.*s=%u", row_count == 0 ? "" : " ",
                            (int)model_keys[key].size, (const char *)model_keys[key].data, number);
            row_count++;
        }
    }
    lw_buffer_print(&text, "%s", more ? " ..." : "");
    lw_buffer_append_u8(&text, 0);
    return (const char *)text.data;
}

/* The node says "more" only if a key with any version follows, which the model cannot tell. */
static bool same_page(const char *page, const char *wanted) {
    size_t size = strlen(wanted);
    bool more = size >= 4 && strcmp(wanted + size - 4, " ...") == 0;
    return strcmp(page, wanted) == 0 ||
           (more && strlen(page) == size - 4 && strncmp(page, wanted, size - 4) == 0);
}

static void model_check(bench *on, model *all) {
    uint64_t now = bench_timestamp(on);
    uint64_t timestamp = now;
    if (all->count > 0 && unit_random_below(&all->random, 2) == 0) {
        timestamp = all->versions[unit_random_below(&all->random, all->count)].timestamp -
                    unit_random_below(&all->random, 2);
    }
    size_t key = unit_random_below(&all->random, MODEL_KEYS);
    size_t other = unit_random_below(&all->random, MODEL_KEYS);
    lw_scan_request scan = {.read_timestamp = timestamp,
                            .lower = model_keys[key],
                            .upper = model_keys[other],
                            .backwards = unit_random_below(&all->random, 2) == 0,
                            .row_limit =
                                (uint32_t)(1 + unit_random_below(&all->random, MODEL_KEYS))};
    scan.lower.size = unit_random_below(&all->random, 3) == 0 ? 0 : scan.lower.size;
    scan.upper.size = unit_random_below(&all->random, 3) == 0 ? 0 : scan.upper.size;
    const char *page = bench_scan(on, &scan), *wanted = model_page(on, all, &scan);
    expect(on, same_page(page, wanted), "a page is that of the model");

    asked *it = bench_ask(on, LW_MESSAGE_GET, 3);
    lw_get_request_encode(
        &(lw_get_request){.read_timestamp = timestamp, .keys = model_keys, .key_count = MODEL_KEYS},
        &it->body);
    bench_await(bench_send(it));
    lw_get_reply reply = {0};
    expect(on,
           it->status == LW_OK &&
               lw_get_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) == LW_OK &&
               reply.value_count == MODEL_KEYS,
           "all keys are read");
    for (size_t index = 0; index < reply.value_count; index++) {
        char text[16];
        uint32_t number = model_value(all, index, timestamp);
        (void)snprintf(text, sizeof(text), "%u", number);
        expect(on,
               reply.values[index].found == (number != 0) &&
                   (number == 0 || lw_equal(reply.values[index].value, lw_text(text))),
               "a value is that of the model");
    }
}

static void reads_are_those_of_the_model(bench *on) {
    static model all;
    all = (model){.random = 7};
    for (int round = 0; round < 1500; round++) {
        if (unit_random_below(&all.random, 2) == 0) {
            model_write(on, &all);
        } else {
            model_check(on, &all);
        }
        if (round % 500 == 499) {
            bench_shut(on);
            bench_boot(on);
        }
    }
    expect(on, all.count > 500, "the model was used");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(a_reader_sees_its_own_time, NULL),
        BENCH_STORY(the_future_cannot_be_read, NULL),
        BENCH_STORY(a_reader_stops_at_a_lock_that_may_become_a_version, "txn.read_ignores_locks"),
        BENCH_STORY(a_reader_passes_a_lock_that_writes_nothing, NULL),
        BENCH_STORY(a_page_ends_before_a_lock, "txn.read_ignores_locks"),
        BENCH_STORY(a_commit_that_is_repeated_answers_the_same, "txn.no_idempotence"),
        BENCH_STORY(a_late_prewrite_meets_the_rollback_record, "txn.no_rollback_record"),
        BENCH_STORY(an_unknown_transaction_is_decided_by_asking, "txn.no_rollback_record"),
        BENCH_STORY(a_rollback_never_undoes_a_commit, "txn.rollback_of_committed"),
        BENCH_STORY(a_timestamp_is_used_once, "txn.timestamps_shared"),
        BENCH_STORY(two_phases_commit, NULL),
        BENCH_STORY(a_commit_timestamp_drawn_too_early_is_refused, NULL),
        BENCH_STORY(what_is_locked_after_its_commit_is_let_go, NULL),
        cmocka_unit_test(who_lost_the_lock_cannot_commit),
        BENCH_STORY(a_wall_clock_that_jumps_expires_nothing, NULL),
        BENCH_STORY(a_heartbeat_keeps_the_primary_alive, NULL),
        BENCH_STORY(a_secondary_decides_nothing, NULL),
        BENCH_STORY(the_first_to_commit_wins, "txn.seen_ignored"),
        BENCH_STORY(a_lock_in_memory_is_only_a_hint, "txn.seen_ignored"),
        BENCH_STORY(write_skew_is_refused, "txn.no_validation"),
        BENCH_STORY(a_phantom_is_refused, "txn.ranges_not_validated"),
        BENCH_STORY(validation_looks_up_to_the_commit_timestamp, "txn.no_validation"),
        BENCH_STORY(reads_are_those_of_the_model, NULL),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
