/* SPDX-License-Identifier: Apache-2.0 */
/* Async commits at a shard, told as stories: what is granted and what falls back, what repeated and
 * late requests are told, and who may end what. All orders of all of it are in test_async_commit.c.
 */
#include "tests/shard_bench.h"

enum { OWNER = 1 };

/* A transaction that writes a primary "p" and "k". */
typedef struct author {
    uint64_t start, wanted;
} author;

static author begin(bench *on) {
    author made = {.start = bench_timestamp(on)};
    made.wanted = bench_timestamp(on);
    return made;
}

static asked *send_prewrite(bench *on, const lw_prewrite_request *request) {
    asked *it = bench_ask(on, LW_MESSAGE_PREWRITE, OWNER);
    lw_prewrite_request_encode(request, &it->body);
    return bench_send(it);
}

/* "async", "classic", "committed", or the name of the status. */
static const char *granted(asked *it) {
    lw_prewrite_reply reply;
    bench_await(it);
    if (it->status != LW_OK ||
        lw_prewrite_reply_decode(lw_buffer_view(&it->reply), &it->on->arena, &reply) != LW_OK) {
        return lw_status_name(it->status);
    }
    return reply.committed != 0 ? "committed" : reply.asynchronous ? "async" : "classic";
}

/* Prewrites a key; its primary is "p", and the secondary "k". */
static asked *send_key(bench *on, const author *who, const char *key, const char *value) {
    lw_mutation mutation = bench_put(key, value, LW_SEEN_ANYTHING);
    lw_bytes secondary = lw_text("k");
    bool primary = strcmp(key, "p") == 0;
    return send_prewrite(on, &(lw_prewrite_request){.start = who->start,
                                                    .primary = lw_text("p"),
                                                    .lifetime_ms = 3000,
                                                    .mutations = &mutation,
                                                    .mutation_count = 1,
                                                    .commit_timestamp = who->wanted,
                                                    .secondaries = &secondary,
                                                    .secondary_count = primary});
}

static const char *lock_key(bench *on, const author *who, const char *key) {
    return granted(send_key(on, who, key, "new"));
}

static lw_check_reply check(bench *on, const author *who, bool to_decide, bool patient) {
    asked *it = bench_ask(on, LW_MESSAGE_CHECK, 2);
    lw_check_request request = {
        .start = who->start, .primary = lw_text("p"), .decide = to_decide, .patient = patient};
    lw_check_request_encode(&request, &it->body);
    bench_await(bench_send(it));
    lw_check_reply reply = {0};
    if (it->status != LW_OK ||
        lw_check_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) != LW_OK) {
        expect(on, false, "a check is answered");
    }
    return reply;
}

static lw_secondary_state look(bench *on, const author *who, const char *key, bool to_decide) {
    asked *it = bench_ask(on, LW_MESSAGE_CHECK_SECONDARIES, 2);
    lw_bytes keys[] = {lw_text(key)};
    lw_check_secondaries_request_encode(
        &(lw_check_secondaries_request){.start = who->start,
                                        .commit_timestamp = who->wanted,
                                        .keys = keys,
                                        .key_count = 1,
                                        .decide = to_decide},
        &it->body);
    bench_await(bench_send(it));
    lw_check_secondaries_reply reply = {0};
    if (it->status != LW_OK || lw_check_secondaries_reply_decode(lw_buffer_view(&it->reply),
                                                                 &on->arena, &reply) != LW_OK) {
        expect(on, false, "a look at the secondaries is answered");
    }
    return reply.state;
}

/* ---- granted, or not ------------------------------------------------------------------------ */

static void read_range(bench *on, const char *lower, const char *upper, uint64_t timestamp) {
    (void)bench_scan(on, &(lw_scan_request){.read_timestamp = timestamp,
                                            .lower = lw_text(lower),
                                            .upper = lw_text(upper)});
}

static void lock_in_memory(bench *on, const char *key) {
    asked *it = bench_ask(on, LW_MESSAGE_LOCK, 5);
    lw_bytes keys[] = {lw_text(key)};
    lw_lock_request_encode(&(lw_lock_request){.keys = keys, .key_count = 1, .wait_ms = 10},
                           &it->body);
    bench_await(bench_send(it));
    lw_lock_reply reply = {0};
    expect(on,
           it->status == LW_OK &&
               lw_lock_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) == LW_OK,
           "locked in memory");
    it = bench_ask(on, LW_MESSAGE_ROLLBACK, 5);
    lw_finish_request_encode(&(lw_finish_request){.start = reply.start}, &it->body);
    bench_await(bench_send(it));
}

static void validate(bench *on, const char *key, const char *lower, uint64_t commit_timestamp) {
    asked *it = bench_ask(on, LW_MESSAGE_VALIDATE, 5);
    lw_seen_key seen = {.key = lw_text(key), .seen = 1};
    lw_seen_range range = {.lower = lw_text(lower), .upper = lw_text("z"), .seen = 1};
    lw_validate_request_encode(&(lw_validate_request){.start = 1,
                                                      .commit_timestamp = commit_timestamp,
                                                      .keys = &seen,
                                                      .key_count = 1,
                                                      .ranges = &range,
                                                      .range_count = 1},
                               &it->body);
    bench_await(bench_send(it));
}

/* A transaction in two phases that only locks the key. */
static void lock_and_commit(bench *on, const char *key) {
    lw_mutation mutation = {
        .kind = LW_MUTATION_LOCK, .key = lw_text(key), .seen = LW_SEEN_ANYTHING};
    uint64_t start = bench_timestamp(on);
    bench_prewrite(on, 5, start, key, 3000, &mutation, 1);
    asked *it = bench_finish(on, start, bench_timestamp(on), key);
    expect(on, it->status == LW_OK, "locked and committed");
}

static void who_looked_above_it_leaves_a_classic_lock(bench *on) {
    author who = begin(on);
    expect_text(on, lock_key(on, &who, "a"), "async", "nobody looked");
    (void)bench_read(on, who.wanted - 1, "b");
    expect_text(on, lock_key(on, &who, "b"), "async", "a reader below it");
    (void)bench_read(on, bench_timestamp(on), "c");
    expect_text(on, lock_key(on, &who, "c"), "classic", "a reader above it");
    (void)bench_read(on, who.wanted, "k");
    expect_text(on, lock_key(on, &who, "k"), "classic", "a reader at it");
    read_range(on, "l", "m", who.wanted);
    expect_text(on, lock_key(on, &who, "l"), "classic", "a range read at it");
    (void)bench_write(on, "d", "newer");
    expect_text(on, lock_key(on, &who, "d"), "classic", "a version above it");
    lock_in_memory(on, "e");
    expect_text(on, lock_key(on, &who, "e"), "classic", "a pessimistic lock above it");
    lock_and_commit(on, "f");
    expect_text(on, lock_key(on, &who, "f"), "classic", "a commit that only locked it");
    read_range(on, "g", "h", bench_timestamp(on));
    expect_text(on, lock_key(on, &who, "g"), "classic", "a range read above it");
    expect_text(on, lock_key(on, &who, "h"), "async", "is not a range beside it");
    validate(on, "i", "j", bench_timestamp(on));
    expect_text(on, lock_key(on, &who, "i"), "classic", "a key validated above it");
    expect_text(on, lock_key(on, &who, "j"), "classic", "a range validated above it");
    expect_text(on, lock_key(on, &who, "a"), "async", "what is granted stays so");
    (void)bench_read(on, 0, "a");
    expect_text(on, lock_key(on, &who, "a"), "async", "whoever has met it since");
    expect_text(on, lock_key(on, &who, "c"), "classic", "and what is not stays so too");
}

static void nobody_knows_what_was_read_before_a_restart(bench *on) {
    author who = begin(on);
    expect_text(on, lock_key(on, &who, "k"), "async", "granted");
    bench_crash(on);
    expect_text(on, lock_key(on, &who, "k"), "async", "and still there");
    expect_text(on, lock_key(on, &who, "p"), "classic", "but no more is");
    who = begin(on);
    expect_text(on, lock_key(on, &who, "q"), "async", "to those of before");
}

static void nor_in_the_shard_it_was_split_from(bench *on) {
    author who = begin(on);
    read_range(on, "q", "r", bench_timestamp(on));
    asked *it = bench_ask(on, LW_MESSAGE_SPLIT, 7);
    lw_split_request_encode(&(lw_split_request){.key = lw_text("m")}, &it->body);
    bench_await(bench_send(it));
    expect(on, it->status == LW_OK, "split");
    on->route = lw_text("q");
    expect_text(on, lock_key(on, &who, "q"), "classic", "what was read in the parent");
    on->route = lw_view(NULL, 0);
    expect_text(on, lock_key(on, &who, "a"), "async", "the parent knows what was read");
}

/* P3, E6: the lock is being written while the reader comes. */
static void a_reader_waits_for_a_lock_that_is_being_put_story(bench *on) {
    (void)bench_write(on, "k", "old");
    author who = begin(on);
    uint64_t below = who.wanted - 1, above = bench_timestamp(on);
    asked *prewrite = send_key(on, &who, "k", "new");
    asked *low = bench_send_get(on, 3, below, "k");
    asked *high = bench_send_get(on, 3, above, "k");
    expect_text(on, granted(prewrite), "async", "the prewrite");
    bench_await(low);
    bench_await(high);
    expect_text(on, bench_value(low), "old", "a reader below it passes");
    expect(on, high->status == LW_CONFLICT, "one above it meets the lock");
}
static void a_reader_waits_for_a_lock_that_is_being_put(void **state) {
    (void)state;
    bench_hold(a_reader_waits_for_a_lock_that_is_being_put_story, "txn.prewrite_not_drawn");
    bench_hold(a_reader_waits_for_a_lock_that_is_being_put_story, "txn.reads_ignore_latches");
}

/* ---- repeated and late ---------------------------------------------------------------------- */

/* Who asks again hears of its commit before anything is said of what it had read. */
static void what_was_read_does_not_matter_any_more_behind_the_commit(bench *on) {
    author who = begin(on);
    expect_text(on, lock_key(on, &who, "p"), "async", "the primary");
    expect(on, bench_finish(on, who.start, who.wanted, "p")->status == LW_OK, "committed");
    (void)bench_write(on, "r", "newer");
    lw_mutation mutation = bench_put("p", "new", LW_SEEN_ANYTHING);
    lw_seen_key read = {.key = lw_text("r"), .seen = who.start};
    lw_prewrite_request again = {.start = who.start,
                                 .primary = lw_text("p"),
                                 .lifetime_ms = 3000,
                                 .mutations = &mutation,
                                 .mutation_count = 1,
                                 .commit_timestamp = bench_timestamp(on),
                                 .keys = &read,
                                 .key_count = 1};
    expect_text(on, granted(send_prewrite(on, &again)), "committed", "asked again");
    again.start = bench_timestamp(on);
    again.commit_timestamp = bench_timestamp(on);
    expect(on, bench_await(send_prewrite(on, &again))->status == LW_CONFLICT, "one that was not");
}

static void a_prewrite_that_comes_late_is_told_how_it_ended(bench *on) {
    author who = begin(on);
    expect_text(on, lock_key(on, &who, "p"), "async", "the primary");
    expect_text(on, lock_key(on, &who, "k"), "async", "the secondary");
    expect_text(on, lock_key(on, &who, "k"), "async", "again");
    expect(on, bench_finish(on, who.start, who.wanted, "p")->status == LW_OK, "committed");
    expect_text(on, lock_key(on, &who, "p"), "committed", "after the commit");
    expect(on, bench_finish(on, who.start, who.wanted, "p")->status == LW_OK, "and once more");
    expect(on, bench_finish(on, who.start, who.wanted, "k")->status == LW_OK, "and the other");
    expect_text(on, bench_read(on, who.wanted, "k"), "new", "it is there");
    expect_text(on, bench_read(on, who.wanted - 1, "k"), "-", "and was not before");

    who = begin(on);
    expect_text(on, lock_key(on, &who, "p"), "async", "the primary of another");
    expect(on, bench_finish(on, who.start, 0, "p")->status == LW_OK, "rolled back");
    asked *it = bench_await(send_key(on, &who, "p", "late"));
    expect(on, it->status == LW_CONFLICT && it->obstacle.kind == LW_OBSTACLE_ROLLED_BACK,
           "after that it finds the rollback");
}

static void an_async_lock_may_be_committed_later_and_never_earlier(bench *on) {
    author who = begin(on);
    expect_text(on, lock_key(on, &who, "p"), "async", "locked");
    asked *it = bench_finish(on, who.start, who.wanted - 1, "p");
    expect(on, it->status == LW_INVALID_ARGUMENT, "not below");
    uint64_t later = bench_timestamp(on);
    expect(on, bench_finish(on, who.start, later, "p")->status == LW_OK, "but above");
    expect_text(on, bench_read(on, later, "p"), "new", "there it is");
    expect_text(on, bench_read(on, later - 1, "p"), "-", "and not before");
}

static void what_was_read_holds_up_to_the_commit_timestamp(bench *on) {
    uint64_t seen = bench_timestamp(on);
    uint64_t changed = bench_write(on, "r", "changed");
    author who = begin(on);
    lw_mutation mutation = bench_put("k", "new", LW_SEEN_ANYTHING);
    lw_seen_key reads = {.key = lw_text("r"), .seen = seen};
    lw_prewrite_request request = {.start = who.start,
                                   .primary = lw_text("k"),
                                   .lifetime_ms = 3000,
                                   .mutations = &mutation,
                                   .mutation_count = 1,
                                   .commit_timestamp = who.wanted,
                                   .keys = &reads,
                                   .key_count = 1};
    asked *it = bench_await(send_prewrite(on, &request));
    expect(on, it->status == LW_CONFLICT && it->obstacle.kind == LW_OBSTACLE_NEWER,
           "it was changed below");
    reads.seen = changed;
    (void)bench_write(on, "r", "above");
    expect_text(on, granted(send_prewrite(on, &request)), "async",
                "a change above does not matter");
    author other = begin(on);
    other.wanted = who.wanted; /* as one that drew it before, and comes late */
    other.start = who.start - 1;
    lw_prewrite_request late = request;
    late.start = other.start;
    late.primary = lw_text("r");
    late.key_count = 0;
    late.commit_timestamp = who.wanted - 1;
    mutation = bench_put("r", "below", LW_SEEN_ANYTHING);
    expect_text(on, granted(send_prewrite(on, &late)), "classic",
                "and nobody gets below it any more");
}

/* ---- who ends it ---------------------------------------------------------------------------- */

static void check_tells_of_an_async_primary_and_leaves_it(bench *on) {
    author who = begin(on);
    expect_text(on, lock_key(on, &who, "p"), "async", "locked");
    lw_check_reply fate = check(on, &who, true, false);
    expect(on, fate.fate == LW_FATE_ALIVE && fate.asynchronous, "alive, whoever decides");
    expect(on, fate.commit_timestamp == who.wanted, "with its timestamp");
    expect(on, fate.secondary_count == 1 && lw_equal(fate.secondaries[0], lw_text("k")),
           "and the other key");
    expect(on, fate.remaining_ms > 2000, "and how long it lives");
    bench_pass_ms(on, 4000);
    fate = check(on, &who, false, false);
    expect(on, fate.fate == LW_FATE_ALIVE && fate.remaining_ms == 0, "also when it has expired");
    asked *it = bench_ask(on, LW_MESSAGE_HEARTBEAT, OWNER);
    lw_heartbeat_request_encode(
        &(lw_heartbeat_request){.start = who.start, .primary = lw_text("p"), .lifetime_ms = 9000},
        &it->body);
    bench_await(bench_send(it));
    fate = check(on, &who, false, false);
    expect(on, fate.remaining_ms > 8000 && fate.secondary_count == 1, "a heartbeat keeps it all");
}

static void a_secondary_that_is_missing_can_be_made_so_for_ever_story(bench *on) {
    author who = begin(on);
    expect_text(on, lock_key(on, &who, "p"), "async", "the primary");
    expect(on, look(on, &who, "k", false) == LW_SECONDARIES_MISSING, "the other is not there");
    expect(on, look(on, &who, "k", false) == LW_SECONDARIES_MISSING, "and may still come");
    expect(on, look(on, &who, "k", true) == LW_SECONDARIES_ABORTED, "now it may not");
    expect_text(on, lock_key(on, &who, "k"), "LW_CONFLICT", "it does not");
    expect(on, look(on, &who, "k", false) == LW_SECONDARIES_ABORTED, "for ever");
}
static void a_secondary_that_is_missing_can_be_made_so_for_ever(void **state) {
    (void)state;
    bench_hold(a_secondary_that_is_missing_can_be_made_so_for_ever_story,
               "txn.missing_not_recorded");
    bench_hold(a_secondary_that_is_missing_can_be_made_so_for_ever_story,
               "txn.missing_counts_as_locked");
}

static void a_look_at_the_secondaries_tells_what_they_are(bench *on) {
    author who = begin(on);
    expect_text(on, lock_key(on, &who, "k"), "async", "locked");
    expect(on, look(on, &who, "k", true) == LW_SECONDARIES_LOCKED, "is locked");
    (void)bench_read(on, bench_timestamp(on), "c");
    expect_text(on, lock_key(on, &who, "c"), "classic", "a classic lock");
    expect(on, look(on, &who, "c", true) == LW_SECONDARIES_CLASSIC, "is classic");
    expect(on, bench_finish(on, who.start, who.wanted, "k")->status == LW_OK, "committed");
    expect(on, look(on, &who, "k", true) == LW_SECONDARIES_COMMITTED, "is committed");
}

static void the_patient_leave_the_unknown_alone(bench *on) {
    author who = begin(on);
    expect(on, check(on, &who, false, true).fate == LW_FATE_UNKNOWN, "not there yet");
    expect_text(on, lock_key(on, &who, "p"), "async", "now it is");
    expect(on, check(on, &who, false, true).fate == LW_FATE_ALIVE, "alive");
    author other = begin(on);
    expect(on, check(on, &other, false, false).fate == LW_FATE_ABORTED, "others do not wait");
    expect(on, check(on, &other, false, true).fate == LW_FATE_ABORTED, "and that stays");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(who_looked_above_it_leaves_a_classic_lock, "txn.read_mark_ignored"),
        BENCH_STORY(nobody_knows_what_was_read_before_a_restart, "txn.read_mark_ignored"),
        BENCH_STORY(nor_in_the_shard_it_was_split_from, "txn.read_mark_ignored"),
        cmocka_unit_test(a_reader_waits_for_a_lock_that_is_being_put),
        BENCH_STORY(what_was_read_does_not_matter_any_more_behind_the_commit, NULL),
        BENCH_STORY(a_prewrite_that_comes_late_is_told_how_it_ended, "txn.no_rollback_record"),
        BENCH_STORY(an_async_lock_may_be_committed_later_and_never_earlier, NULL),
        BENCH_STORY(what_was_read_holds_up_to_the_commit_timestamp, "txn.no_validation"),
        BENCH_STORY(check_tells_of_an_async_primary_and_leaves_it, NULL),
        cmocka_unit_test(a_secondary_that_is_missing_can_be_made_so_for_ever),
        BENCH_STORY(a_look_at_the_secondaries_tells_what_they_are, NULL),
        BENCH_STORY(the_patient_leave_the_unknown_alone, NULL),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
