/* SPDX-License-Identifier: Apache-2.0 */
/* A replica in a simulated world: requests side by side, crashes, restarts, sessions that end,
 * disks that fail and fill. What requests mean is tests/test_evaluate.c's. */
#include "tests/shard_bench.h"

#include "storage/batch.h"

/* ---- durability ----------------------------------------------------------------------------- */

static void what_was_committed_survives_a_crash(bench *on) {
    uint64_t committed = bench_write(on, "k", "one");
    bench_crash(on);
    expect_text(on, bench_read(on, 0, "k"), "one", "after a crash");
    expect(on, bench_write(on, "k", "two") > committed, "timestamps go on");
    bench_shut(on);
    bench_boot(on);
    expect_text(on, bench_read(on, 0, "k"), "two", "after a restart");
    expect_text(on, bench_read(on, committed, "k"), "one", "in the past");
    lw_replica_figures figures;
    lw_replica_figures_get(on->replica, &figures);
    expect(on, figures.term == 3, "each start has a term of its own");
}

/* P1, hazard R1: on a disk so slow that a reply could overtake the write. */
static void a_reply_waits_for_the_disk(bench *on) {
    lw_host_slow_disk(on->host, 1000);
    (void)bench_write(on, "k", "one");
    bench_crash(on);
    expect_text(on, bench_read(on, 0, "k"), "one", "after a crash");
}

/* Power fails at every step of a few commits: what was acknowledged is there. */
static void power_may_fail_at_any_step(void **state) {
    (void)state;
    static const lw_crash moments[] = {LW_CRASH_BEFORE, LW_CRASH_WITHIN, LW_CRASH_AFTER};
    uint64_t crash_count = 0;
    for (uint64_t step = 0; step < 36; step++) {
        static bench on;
        bench_begin(&on, step, NULL);
        lw_host_crash_after(on.host, step / 3, moments[step % 3]);
        uint64_t written = 0;
        char value[16] = "-";
        for (int round = 1; round <= 8 && lw_host_running(on.host); round++) {
            char next[16];
            (void)snprintf(next, sizeof(next), "%d", round);
            lw_mutation mutation = bench_put("k", next, LW_SEEN_ANYTHING);
            lw_commit_now_request request = {
                .start = lw_shards_spare(on.shards), .mutations = &mutation, .mutation_count = 1};
            asked *it = bench_send_commit_now(&on, &request);
            while (!it->done && lw_host_running(on.host) && lw_world_step(on.world)) {
            }
            if (it->done && it->status == LW_OK) {
                written = (uint64_t)round;
                memcpy(value, next, sizeof(value));
            }
        }
        if (lw_host_running(on.host)) {
            lw_host_crash(on.host);
        } else {
            crash_count++;
        }
        bench_boot(&on);
        const char *found = bench_read(&on, 0, "k");
        bool as_told = strcmp(found, value) == 0;
        bool one_more = found[0] == (char)('1' + written);
        if (on.failure[0] != 0 || !(as_told || one_more)) {
            fail_msg("step %llu: %s; found %s, acknowledged %s", (unsigned long long)step,
                     on.failure, found, value);
        }
        bench_end(&on);
    }
    assert_true(crash_count > 12);
}

static asked *ask_row(bench *on, uint32_t count) {
    asked *it = bench_ask(on, LW_MESSAGE_TIMESTAMP, 1);
    lw_timestamp_request_encode(&(lw_timestamp_request){.count = count}, &it->body);
    return bench_send(it);
}

/* Hazard O2: so many are taken that they run ahead of the clock, then the power fails. A write in
 * flight may reach the disk all the same, so once is not enough. */
static void timestamps_rise_over_a_crash(bench *on) {
    for (int round = 0; round < 6; round++) {
        uint64_t highest = bench_timestamp(on);
        lw_host_slow_disk(on->host, 1000);
        uint64_t until_ns = lw_world_now(on->world) + 20 * BENCH_MS;
        while (lw_world_now(on->world) < until_ns) {
            asked *it = ask_row(on, 65536);
            while (!it->done && lw_world_now(on->world) < until_ns && lw_world_step(on->world)) {
            }
            lw_timestamp_reply row = {0};
            lw_bytes reply = lw_buffer_view(&it->reply);
            if (it->done && lw_timestamp_reply_decode(reply, &on->arena, &row) == LW_OK) {
                highest = row.first + 65535;
            }
        }
        lw_host_slow_disk(on->host, 1);
        bench_crash(on);
        expect(on, bench_timestamp(on) > highest, "above all that were given before");
    }
}

static void timestamps_are_given_in_rows(bench *on) {
    for (int round = 0; round < 60; round++) { /* fifteen seconds' worth */
        expect(on, bench_await(ask_row(on, 65536))->status == LW_OK, "a row of timestamps");
    }
    expect(on, bench_write(on, "k", "one") != 0, "and life goes on");
}

/* ---- side by side --------------------------------------------------------------------------- */

/* P3: the reader's timestamp is above a commit that is on its way to the disk. */
static void a_reader_waits_for_a_commit_below_it(bench *on) {
    (void)bench_write(on, "k", "old");
    lw_mutation mutation = bench_put("k", "new", LW_SEEN_ANYTHING);
    lw_commit_now_request request = {
        .start = bench_timestamp(on), .mutations = &mutation, .mutation_count = 1};
    asked *commit = bench_send_commit_now(on, &request);
    asked *reader = bench_send_get(on, 2, 0, "k");
    lw_scan_request wanted = {.row_limit = 10, .byte_limit = 100};
    asked *scanner = bench_ask(on, LW_MESSAGE_SCAN, 2);
    lw_scan_request_encode(&wanted, &scanner->body);
    (void)bench_send(scanner);
    bench_await(reader);
    bench_await(scanner);
    bench_await(commit);
    lw_get_reply read = {0};
    expect(on, lw_get_reply_decode(lw_buffer_view(&reader->reply), &on->arena, &read) == LW_OK,
           "it is answered");
    expect(on, read.read_timestamp > bench_committed(commit), "it reads above the commit");
    expect_text(on, bench_value(reader), "new", "so it sees it");
    lw_scan_reply page = {0};
    expect(on, lw_scan_reply_decode(lw_buffer_view(&scanner->reply), &on->arena, &page) == LW_OK,
           "the scan is answered");
    expect(on, page.row_count == 1 && lw_equal(page.rows[0].value, lw_text("new")), "and sees it");
}

static void a_reader_does_not_wait_for_a_commit_above_it(bench *on) {
    (void)bench_write(on, "k", "old");
    uint64_t before = bench_timestamp(on);
    lw_host_slow_disk(on->host, 1000);
    lw_mutation mutation = bench_put("k", "new", LW_SEEN_ANYTHING);
    lw_commit_now_request request = {
        .start = bench_timestamp(on), .mutations = &mutation, .mutation_count = 1};
    asked *commit = bench_send_commit_now(on, &request);
    asked *reader = bench_await(bench_send_get(on, 2, before, "k"));
    expect_text(on, bench_value(reader), "old", "it reads at once");
    expect(on, !commit->done, "while the commit waits for the disk");
    bench_await(commit);
}

static void of_two_commits_side_by_side_one_wins(bench *on) {
    uint64_t seen = bench_timestamp(on);
    lw_mutation mutation = bench_put("k", "x", seen);
    asked *commits[8];
    for (size_t index = 0; index < 8; index++) {
        lw_commit_now_request request = {
            .start = bench_timestamp(on), .mutations = &mutation, .mutation_count = 1};
        commits[index] = bench_send_commit_now(on, &request);
    }
    size_t won = 0;
    for (size_t index = 0; index < 8; index++) {
        bench_await(commits[index]);
        won += commits[index]->status == LW_OK;
    }
    expect(on, won == 1, "exactly one");
}

/* Hazard T6: the network repeats a request while its first copy is under way. */
static void copies_side_by_side_commit_once(bench *on) {
    lw_mutation mutation = bench_put("k", "once", LW_SEEN_ANYTHING);
    lw_commit_now_request request = {
        .start = bench_timestamp(on), .mutations = &mutation, .mutation_count = 1};
    asked *copies[4];
    for (size_t index = 0; index < 4; index++) {
        copies[index] = bench_send_commit_now(on, &request);
    }
    for (size_t index = 0; index < 4; index++) {
        bench_await(copies[index]);
        expect(on, bench_committed(copies[index]) == bench_committed(copies[0]), "the same answer");
    }
    expect(on, bench_committed(copies[0]) != 0, "it committed");
}

/* ---- pessimistic locks ---------------------------------------------------------------------- */

static asked *send_lock(bench *on, uint64_t session, uint64_t start, const char *key,
                        uint32_t wait_ms) {
    asked *it = bench_ask(on, LW_MESSAGE_LOCK, session);
    lw_bytes keys[] = {lw_text(key)};
    lw_lock_request_encode(
        &(lw_lock_request){
            .start = start, .keys = keys, .key_count = 1, .wait_ms = wait_ms, .read = true},
        &it->body);
    return bench_send(it);
}

static uint64_t lock_count(const bench *on) {
    return lw_lock_table_count(lw_shards_locks(on->shards));
}

static void locks_are_had_in_turns(bench *on) {
    (void)bench_write(on, "k", "1");
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, bench_await(send_lock(on, 1, one, "k", 1000))->status == LW_OK, "the first");
    asked *second = send_lock(on, 2, two, "k", 1000);
    bench_pass_ms(on, 100);
    expect(on, !second->done, "the second waits");
    lw_mutation mutation = bench_put("k", "2", LW_SEEN_ANYTHING);
    expect(on, bench_commit_now(on, one, &mutation, 1)->status == LW_OK, "the first commits");
    bench_await(second);
    lw_lock_reply locked = {0};
    expect(on, second->status == LW_OK, "the second has it");
    expect(on, lw_lock_reply_decode(lw_buffer_view(&second->reply), &on->arena, &locked) == LW_OK,
           "and is answered");
    expect(on, locked.value_count == 1 && lw_equal(locked.values[0].value, lw_text("2")),
           "with the newest value");
    mutation = bench_put("k", "3", locked.for_update);
    expect(on, bench_commit_now(on, two, &mutation, 1)->status == LW_OK, "and commits");
    expect(on, lock_count(on) == 0, "nothing is left");
}

static void who_waited_in_vain_is_told_for_whom(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, bench_await(send_lock(on, 1, one, "k", 1000))->status == LW_OK, "the first");
    asked *second = bench_await(send_lock(on, 2, two, "k", 300));
    expect(on, second->status == LW_TIMEOUT, "the second gives up");
    expect(on, strstr(second->text, "importer") != NULL, "and is told who has it");
    lw_mutation mutation = bench_put("k", "2", LW_SEEN_ANYTHING);
    asked *commit = bench_commit_now(on, two, &mutation, 1);
    expect(on, commit->status == LW_TIMEOUT, "a commit waits in the same queue");
    expect(on, lock_count(on) == 1, "and leaves nothing behind");
    expect_text(on, bench_read(on, 0, "k"), "-", "nor has it written");
}

/* Who comes once it is prewritten waits for the lock in the tree. */
static void a_key_that_is_prewritten_needs_no_lock_in_memory(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, bench_await(send_lock(on, 1, one, "k", 1000))->status == LW_OK, "the first");
    lw_mutation mutation = bench_put("k", "2", LW_SEEN_ANYTHING);
    asked *it = bench_prewrite(on, 1, one, "k", 10000, &mutation, 1);
    expect(on, it->status == LW_OK, "sends it ahead");
    expect(on, lock_count(on) == 0, "which is enough");
    asked *second = send_lock(on, 2, two, "k", 10000);
    bench_pass_ms(on, 100);
    expect(on, !second->done, "the second waits");
    it = bench_await(send_lock(on, 1, one, "k", 1000));
    expect(on, it->status == LW_OK, "the first has the key");
    it = bench_prewrite(on, 1, one, "k", 10000, &mutation, 1);
    expect(on, it->status == LW_OK, "and may send it again");
    it = bench_finish(on, one, bench_timestamp(on), "k");
    expect(on, it->status == LW_OK, "and commits");
    expect(on, bench_await(second)->status == LW_OK, "then the second has it");
}

static void locks_have_an_eighth_of_the_memory(bench *on) {
    lw_budget *budget = lw_store_budget(on->store);
    size_t limit = budget->limit;
    uint64_t one = bench_timestamp(on);
    budget->limit = (size_t)8 * 1024;
    uint32_t count = 0;
    asked *it;
    do {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%u", count);
        it = bench_await(send_lock(on, 1, one, key, 1000));
    } while (it->status == LW_OK && ++count < 100);
    expect(on, it->status == LW_BACKPRESSURE, "then no more");
    expect(on, count >= 4 && count <= 16 && lock_count(on) == count, "after a few");
    expect(on, strstr(it->text, "pessimistic locks take all memory") != NULL, "as it says");
    it = bench_ask(on, LW_MESSAGE_ROLLBACK, 1);
    lw_finish_request_encode(&(lw_finish_request){.start = one}, &it->body);
    expect(on, bench_await(bench_send(it))->status == LW_OK, "it gives up all it has");
    it = bench_await(send_lock(on, 2, bench_timestamp(on), "l", 1000));
    expect(on, it->status == LW_OK, "so another goes on");
    budget->limit = limit;
}

/* A request that still waits, or comes late, when its transaction has ended. */
static void a_late_lock_is_not_given(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on), three = bench_timestamp(on);
    expect(on, bench_await(send_lock(on, 1, one, "k", 1000))->status == LW_OK, "locked");
    asked *waits = send_lock(on, 2, two, "k", 20000);
    bench_pass_ms(on, 10);
    asked *end = bench_ask(on, LW_MESSAGE_ROLLBACK, 2);
    lw_finish_request_encode(&(lw_finish_request){.start = two}, &end->body);
    expect(on, bench_await(bench_send(end))->status == LW_OK, "who waits ends its transaction");
    bench_finish(on, one, 0, "k");
    expect(on, bench_await(waits)->status == LW_UNAVAILABLE, "it is not given the lock");
    expect(on, bench_await(send_lock(on, 2, two, "l", 1000))->status == LW_UNAVAILABLE,
           "nor what it asks for later");
    expect(on, lock_count(on) == 0, "nothing is left");
    expect(on, bench_await(send_lock(on, 2, three, "k", 1000))->status == LW_OK,
           "its session goes on");
}

static void a_deadlock_is_refused(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, bench_await(send_lock(on, 1, one, "a", 1000))->status == LW_OK, "one has a");
    expect(on, bench_await(send_lock(on, 2, two, "b", 1000))->status == LW_OK, "two has b");
    asked *waiting = send_lock(on, 1, one, "b", 1000);
    bench_pass_ms(on, 10);
    asked *closing = bench_await(send_lock(on, 2, two, "a", 1000));
    expect(on,
           closing->status == LW_CONFLICT && closing->obstacle.kind == LW_OBSTACLE_DEADLOCK &&
               closing->obstacle.start == one,
           "who closes the cycle is refused");
    expect(on, lw_equal(closing->obstacle.label, lw_text("importer")), "and told with whom");
    asked *it = bench_ask(on, LW_MESSAGE_ROLLBACK, 2);
    lw_finish_request_encode(&(lw_finish_request){.start = two}, &it->body);
    expect(on, bench_await(bench_send(it))->status == LW_OK, "it gives up all it has");
    expect(on, bench_await(waiting)->status == LW_OK, "so the other goes on");
}

static void a_commit_waits_for_a_lock_and_then_passes(bench *on) {
    uint64_t one = bench_timestamp(on);
    expect(on, bench_await(send_lock(on, 1, one, "k", 1000))->status == LW_OK, "locked");
    lw_mutation mutation = bench_put("k", "passing", LW_SEEN_ANYTHING);
    lw_commit_now_request request = {
        .start = bench_timestamp(on), .mutations = &mutation, .mutation_count = 1};
    asked *commit = bench_send_commit_now(on, &request);
    bench_pass_ms(on, 100);
    expect(on, !commit->done, "the commit waits");
    bench_finish(on, one, 0, "k");
    expect(on, bench_await(commit)->status == LW_OK, "and goes on");
    expect(on, lock_count(on) == 0, "and keeps nothing");
}

/* ---- sessions ------------------------------------------------------------------------------- */

static void the_end_of_a_session_frees_its_locks(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, bench_await(send_lock(on, 1, one, "k", 1000))->status == LW_OK, "locked");
    asked *own = send_lock(on, 1, two, "k", 1000);
    asked *other = send_lock(on, 2, bench_timestamp(on), "k", 1000);
    bench_pass_ms(on, 10);
    lw_shards_session_ended(on->shards, 1);
    expect(on, bench_await(own)->status == LW_UNAVAILABLE, "what it waited for is not given");
    expect(on, bench_await(other)->status == LW_OK, "the next one has it");
}

static void the_end_of_a_session_sweeps_its_prewrites(bench *on) {
    uint64_t start = bench_timestamp(on), decided = bench_timestamp(on);
    lw_mutation mutations[] = {bench_put("a", "1", LW_SEEN_ANYTHING),
                               bench_put("b", "2", LW_SEEN_ANYTHING)};
    lw_mutation others[] = {bench_put("c", "3", LW_SEEN_ANYTHING),
                            bench_put("d", "4", LW_SEEN_ANYTHING)};
    expect(on, bench_prewrite(on, 1, start, "a", 600000, mutations, 2)->status == LW_OK, "one");
    expect(on, bench_prewrite(on, 1, decided, "c", 600000, others, 2)->status == LW_OK, "two");
    uint64_t committed = bench_timestamp(on);
    expect(on, bench_finish(on, decided, committed, "c")->status == LW_OK, "two is decided");
    lw_shards_session_ended(on->shards, 1);
    bench_pass_ms(on, 1000);
    expect_text(on, bench_scan(on, &(lw_scan_request){0}), "c=3 d=4",
                "the undecided is gone, the decided is there");
    asked *it = bench_finish(on, start, bench_timestamp(on), "a");
    expect(on, it->status == LW_CONFLICT && it->obstacle.kind == LW_OBSTACLE_ROLLED_BACK,
           "its commit would be too late");
}

static void a_prewrite_that_outlives_its_session_is_swept(bench *on) {
    lw_host_slow_disk(on->host, 100);
    asked *it = bench_ask(on, LW_MESSAGE_PREWRITE, 1);
    lw_mutation mutation = bench_put("a", "1", LW_SEEN_ANYTHING);
    lw_prewrite_request_encode(&(lw_prewrite_request){.start = bench_timestamp(on),
                                                      .primary = lw_text("a"),
                                                      .lifetime_ms = 600000,
                                                      .mutations = &mutation,
                                                      .mutation_count = 1},
                               &it->body);
    (void)bench_send(it);
    bench_pass_ms(on, 1);
    expect(on, !it->done, "it is under way");
    lw_shards_session_ended(on->shards, 1);
    bench_await(it);
    bench_pass_ms(on, 2000);
    expect_text(on, bench_scan(on, &(lw_scan_request){0}), "", "nothing is locked");
}

static void leftovers_wait_for_their_session(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    lw_mutation mutation = bench_put("a", "1", LW_SEEN_ANYTHING);
    expect(on, bench_prewrite(on, 1, one, "a", 600000, &mutation, 1)->status == LW_OK, "one");
    mutation = bench_put("b", "2", LW_SEEN_ANYTHING);
    expect(on, bench_prewrite(on, 2, two, "b", 600000, &mutation, 1)->status == LW_OK, "two");
    bench_crash(on);
    bench_pass_ms(on, 1000);
    lw_scan_request of_a = {.upper = lw_text("b")}, of_b = {.lower = lw_text("b")};
    expect_text(on, bench_scan(on, &of_a), "locked", "within the grace all stays");
    bench_await(bench_send_get(on, 2, 0, "z")); /* the second session has come back */
    bench_pass_ms(on, 4000);
    expect_text(on, bench_scan(on, &of_a), "", "the first one's is swept");
    expect_text(on, bench_scan(on, &of_b), "locked", "the second one's is not");
    asked *it = bench_finish(on, two, bench_timestamp(on), "b");
    expect(on, it->status == LW_OK, "and commits");
}

/* ---- large ---------------------------------------------------------------------------------- */

static lw_bytes large_value(bench *on, size_t size, char letter) {
    uint8_t *bytes = lw_allocate(on->memory, size);
    memset(bytes, letter, size);
    return lw_view(bytes, size);
}

static void large_answers_come_in_parts(bench *on) {
    static const char *const names[] = {"a", "b", "c"};
    lw_bytes keys[3];
    for (size_t index = 0; index < 3; index++) {
        lw_mutation mutation = bench_put(names[index], "", LW_SEEN_ANYTHING);
        mutation.value = large_value(on, 9 * 1024 * 1024, names[index][0]);
        keys[index] = mutation.key;
        asked *it = bench_commit_now(on, bench_timestamp(on), &mutation, 1);
        expect(on, it->status == LW_OK, "a large value");
    }
    asked *it = bench_ask(on, LW_MESSAGE_GET, 1);
    lw_get_request_encode(&(lw_get_request){.keys = keys, .key_count = 3}, &it->body);
    bench_await(bench_send(it));
    lw_get_reply reply = {0};
    expect(on, it->reply.size < LW_FRAME_SIZE_MAX, "it fits a frame");
    expect(on, lw_get_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) == LW_OK,
           "read");
    expect(on, reply.value_count == 2, "two of three fit");
    it = bench_ask(on, LW_MESSAGE_SCAN, 1);
    lw_scan_request_encode(&(lw_scan_request){.row_limit = 10, .byte_limit = UINT32_MAX},
                           &it->body);
    bench_await(bench_send(it));
    lw_scan_reply page = {0};
    expect(on, lw_scan_reply_decode(lw_buffer_view(&it->reply), &on->arena, &page) == LW_OK,
           "page");
    expect(on, page.row_count == 2 && page.more, "and two rows of three");
}

enum { MANY = 700 };

static uint64_t crash_step; /* at which the power fails in the next story */

static void large_transactions_are_written_in_parts_story(bench *on) {
    static lw_mutation mutations[MANY];
    static lw_bytes keys[MANY];
    static char names[MANY][8];
    uint64_t start = bench_timestamp(on);
    for (size_t index = 0; index < MANY; index++) {
        (void)snprintf(names[index], sizeof(names[index]), "k%03zu", index);
        mutations[index] = bench_put(names[index], "", LW_SEEN_ANYTHING);
        mutations[index].value = large_value(on, 16 * 1024, 'v');
        keys[MANY - 1 - index] = mutations[index].key;
    }
    asked *it = bench_prewrite(on, 1, start, "k350", 600000, mutations, MANY);
    expect(on, it->status == LW_OK, "prewritten");
    uint64_t committed = bench_timestamp(on);
    it = bench_ask(on, LW_MESSAGE_COMMIT, 1);
    lw_finish_request_encode(
        &(lw_finish_request){
            .start = start, .commit_timestamp = committed, .keys = keys, .key_count = MANY},
        &it->body);
    (void)bench_send(it);
    lw_host_crash_after(on->host, crash_step, LW_CRASH_AFTER); /* between the parts */
    while (lw_host_running(on->host) && !it->done && lw_world_step(on->world)) {
    }
    expect(on, !it->done, "the power failed before it was done");
    bench_boot(on);
    lw_check_reply fate = bench_check(on, start, "k350", true);
    bool all = fate.fate == LW_FATE_COMMITTED;
    bench_pass_ms(on, 5000); /* the session did not come back: the rest is swept */
    asked *scan = bench_ask(on, LW_MESSAGE_SCAN, 3);
    lw_scan_request_encode(
        &(lw_scan_request){.row_limit = 2 * MANY, .byte_limit = 1u << 30, .keys_only = true},
        &scan->body);
    bench_await(bench_send(scan));
    lw_scan_reply page = {0};
    expect(on, scan->status == LW_OK, "no lock is left");
    expect(on, lw_scan_reply_decode(lw_buffer_view(&scan->reply), &on->arena, &page) == LW_OK,
           "the keys");
    expect(on, page.row_count == (all ? MANY : 0), "all of it, or nothing, as its primary says");
}
static void large_transactions_are_written_in_parts(void **state) {
    (void)state;
    for (crash_step = 0; crash_step < 3; crash_step++) {
        bench_hold(large_transactions_are_written_in_parts_story, NULL);
    }
}

/* ---- refusals and failures ------------------------------------------------------------------ */

/* P2. */
static void another_epoch_is_told_the_descriptor(bench *on) {
    asked *it = bench_ask(on, LW_MESSAGE_TIMESTAMP, 1);
    lw_timestamp_request_encode(&(lw_timestamp_request){.count = 1}, &it->body);
    it->request.epoch.range_version = 7;
    bench_await(bench_send(it));
    lw_reader reader;
    uint32_t count = 0;
    lw_shard_descriptor shard = {0};
    expect(on, it->status == LW_UNAVAILABLE, "refused");
    expect(on,
           lw_topology_open(lw_buffer_view(&it->reply), &reader, &count) == LW_OK && count == 1 &&
               lw_topology_next(&reader, &shard) == LW_OK,
           "with a descriptor");
    expect(on, shard.id == LW_ROOT_SHARD && shard.epoch.range_version == 1, "the one that holds");
}

/* What is replayed below, and what came of it; only statuses, since it runs in a fiber. */
static lw_status replay_statuses[4];
static bool replay_found[2];

static lw_status replay_one(bench *on, uint64_t index, uint64_t range_version, const char *key) {
    lw_buffer entry = lw_buffer_in(on->memory);
    lw_batch_put(&entry, lw_text(key), lw_text("value"));
    lw_buffer_append_u8(&entry, 2); /* a command; see node/replica_state.h */
    lw_buffer_append_u64(&entry, range_version);
    lw_buffer_append_u64(&entry, 1);
    lw_log_record record = {.group = LW_ROOT_SHARD,
                            .term = 1,
                            .index = index,
                            .kind = LW_LOG_ENTRY,
                            .payload = lw_buffer_view(&entry)};
    return lw_replica_replay(on->replica, &record);
}

static lw_status replay_parts(bench *on) {
    lw_store_options store_options = {.directory = "other", .filter_part = lw_replica_filter_part};
    LW_TRY(lw_store_open(on->env, &store_options, &on->store));
    lw_groups_options groups = {.env = on->env, .node = 1};
    lw_replica_options options = {.env = on->env,
                                  .store = on->store,
                                  .shard = LW_ROOT_SHARD,
                                  .groups = lw_groups_open(&groups)};
    LW_TRY(lw_replica_open(&options, &on->replica));
    replay_statuses[0] = replay_one(on, 1, 1, "of this epoch");
    replay_statuses[1] = replay_one(on, 2, 7, "of another");
    replay_statuses[2] = replay_one(on, 4, 1, "behind a gap");
    lw_log_record cut = {.group = LW_ROOT_SHARD,
                         .term = 1,
                         .index = 3,
                         .kind = LW_LOG_ENTRY,
                         .payload = lw_text("?")};
    replay_statuses[3] = lw_replica_replay(on->replica, &cut);
    lw_snapshot *snapshot = lw_snapshot_open(lw_store_tree(on->store, LW_ROOT_SHARD));
    lw_buffer value = lw_buffer_in(on->memory);
    replay_found[0] = lw_snapshot_get(snapshot, lw_text("of this epoch"), &value) == LW_OK;
    replay_found[1] = lw_snapshot_get(snapshot, lw_text("of another"), &value) == LW_OK;
    lw_snapshot_close(snapshot);
    return LW_OK;
}

static void replay_main(void *argument) {
    bench *on = argument;
    on->opened = replay_parts(on);
    on->done = true;
}

/* Hazard R12: a split came between the proposal and the entry. */
static void an_entry_of_another_epoch_is_void(bench *on) {
    bench_shut(on);
    on->env = lw_host_boot(on->host);
    bench_run(on, replay_main);
    expect(on, on->opened == LW_OK, "a folder of its own");
    expect(on, replay_statuses[0] == LW_OK && replay_found[0], "an entry of this epoch is applied");
    expect(on, replay_statuses[1] == LW_OK && !replay_found[1], "one of another is skipped");
    expect(on, replay_statuses[2] == LW_CORRUPTION, "a gap is damage");
    expect(on, replay_statuses[3] == LW_CORRUPTION, "so is what cannot be read");
    expect(on, lw_world_marked(on->world, "replica.entry_void") == 1, "and it is marked");
}

static void what_is_not_well_formed_is_refused(bench *on) {
    for (int kind = LW_MESSAGE_TIMESTAMP; kind <= LW_MESSAGE_SHARD_LAST + 1; kind++) {
        asked *it = bench_ask(on, (lw_message_kind)kind, 1);
        lw_write_text(&it->body, lw_text("nonsense"));
        expect(on, bench_await(bench_send(it))->status == LW_INVALID_ARGUMENT, "nonsense");
        expect(on, it->text[0] != 0, "it is told why");
    }
}

static void a_failed_disk_ends_the_replica(bench *on) {
    uint64_t start = bench_timestamp(on);
    /* The reserve of the store is being written, too. */
    (void)lw_world_run(on->world, lw_world_now(on->world) + UINT64_C(1000000000));
    lw_dice_arm(lw_disk_dice(lw_host_disk(on->host)), LW_FAULT_WRITE_ERROR, 1);
    lw_mutation mutation = bench_put("k", "x", LW_SEEN_ANYTHING);
    asked *it = bench_commit_now(on, start, &mutation, 1);
    expect(on, it->status == LW_UNDETERMINED, "nobody knows what is on the disk");
    expect(on, on->died, "the node is told to stop");
    it = bench_await(bench_send_get(on, 2, start, "k"));
    expect(on, it->status == LW_UNAVAILABLE, "nothing is answered any more");
    expect(on, lw_shards_spare(on->shards) == 0, "nor given");
    bench_crash(on);
    const char *found = bench_read(on, 0, "k");
    expect(on, strcmp(found, "-") == 0 || strcmp(found, "x") == 0, "one or the other");
}

static void flush_tree(void *argument) {
    bench *on = argument;
    on->opened = lw_tree_flush(lw_store_tree(on->store, LW_ROOT_SHARD));
    on->done = true;
}

static void a_store_that_dies_behind_its_back_ends_the_replica(bench *on) {
    uint64_t committed = bench_write(on, "k", "x");
    (void)lw_world_run(on->world, lw_world_now(on->world) + UINT64_C(1000000000));
    lw_dice_arm(lw_disk_dice(lw_host_disk(on->host)), LW_FAULT_SYNC_ERROR, 1);
    bench_run(on, flush_tree);
    expect(on, on->opened == LW_INTERNAL, "the flush failed");
    expect(on, on->died, "the node is told to stop, though nobody writes");
    asked *it = bench_await(bench_send_get(on, 2, committed, "k"));
    expect(on, it->status == LW_UNAVAILABLE, "nothing is answered any more");
}

static void a_disk_that_fails_at_the_start_says_so(bench *on) {
    bench_shut(on);
    on->env = lw_host_boot(on->host);
    on->shards = NULL;
    on->died = false;
    lw_dice *dice = lw_disk_dice(lw_host_disk(on->host));
    for (uint32_t nth = 1; nth < 12; nth++) {
        lw_dice_arm(dice, LW_FAULT_WRITE_ERROR, nth);
        bench_run(on, bench_open_main);
        if (on->opened == LW_OK) {
            break;
        }
        expect(on, on->opened == LW_INTERNAL, "it says what failed");
        expect(on, !on->died, "to who opened it only");
        lw_host_kill(on->host);
        on->env = lw_host_boot(on->host);
        on->shards = NULL;
    }
    expect(on, on->opened == LW_OK, "with a disk that works it opens");
}

static void a_full_disk_refuses_writes_and_goes_on_reading(bench *on) {
    uint64_t committed = bench_write(on, "k", "kept");
    lw_disk_set_capacity(lw_host_disk(on->host), 1);
    asked *it = NULL;
    for (int round = 0; round < 100 && (it == NULL || it->status == LW_OK); round++) {
        lw_mutation mutation = bench_put("big", "", LW_SEEN_ANYTHING);
        mutation.value = large_value(on, 1024 * 1024, 'v');
        it = bench_commit_now(on, lw_shards_spare(on->shards), &mutation, 1);
    }
    expect(on, it->status == LW_FULL || it->status == LW_TIMEOUT, "writes end");
    expect_text(on, bench_read(on, committed, "k"), "kept", "reads go on");
    expect_text(on, bench_read(on, 0, "k"), "kept", "also fresh ones");
    lw_disk_set_capacity(lw_host_disk(on->host), UINT64_MAX);
    bench_pass_ms(on, 5000);
    expect(on, bench_write(on, "k", "again") != 0, "and with space so do writes");
    bench_crash(on);
    expect_text(on, bench_read(on, 0, "k"), "again", "for good");
}

/* A snapshot held keeps what is dropped in memory, as who waits to be let in does. */
static void drop_tree(void *argument) {
    bench *on = argument;
    (void)lw_snapshot_open(lw_store_tree(on->store, LW_ROOT_SHARD));
    on->opened = lw_store_drop_tree(on->store, LW_ROOT_SHARD);
    on->done = true;
}

/* Hazard T2: by LW_NOT_FOUND who asks for the fate of a transaction is told that it never commits.
 * So the tree must not say it of itself, when a snapshot comes in its place meanwhile. */
static void a_tree_that_is_gone_decides_nothing(bench *on) {
    uint64_t start = bench_timestamp(on);
    bench_run(on, drop_tree);
    expect(on, on->opened == LW_OK, "the tree is dropped behind its back");
    asked *it = bench_ask(on, LW_MESSAGE_CHECK, 2);
    lw_check_request request = {.start = start, .primary = lw_text("k"), .decide = true};
    lw_check_request_encode(&request, &it->body);
    expect(on, bench_await(bench_send(it))->status == LW_UNAVAILABLE, "nothing is decided");
    lw_mutation mutation = bench_put("k", "x", LW_SEEN_ANYTHING);
    it = bench_commit_now(on, start, &mutation, 1);
    expect(on, it->status == LW_UNAVAILABLE, "nor committed");
}

static void closing_sends_everybody_home(bench *on) {
    uint64_t one = bench_timestamp(on);
    expect(on, bench_await(send_lock(on, 1, one, "k", 1000))->status == LW_OK, "locked");
    asked *waiting = send_lock(on, 2, bench_timestamp(on), "k", 100000);
    lw_mutation mutation = bench_put("l", "x", LW_SEEN_ANYTHING);
    lw_commit_now_request request = {
        .start = bench_timestamp(on), .mutations = &mutation, .mutation_count = 1};
    asked *commit = bench_send_commit_now(on, &request);
    bench_run(on, bench_close_main);
    expect(on, on->done, "it closes");
    expect(on, waiting->done && waiting->status == LW_UNAVAILABLE, "who waits is told");
    expect(on, commit->done, "what was under way is answered");
    lw_host_kill(on->host);
    bench_boot(on);
    expect_text(on, bench_read(on, 0, "l"), commit->status == LW_OK ? "x" : "-", "truly");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(what_was_committed_survives_a_crash, NULL),
        BENCH_STORY(a_reply_waits_for_the_disk, "txn.apply_before_durable"),
        cmocka_unit_test(power_may_fail_at_any_step),
        BENCH_STORY(timestamps_rise_over_a_crash, "txn.ceiling_not_durable"),
        BENCH_STORY(timestamps_are_given_in_rows, NULL),
        BENCH_STORY(a_reader_waits_for_a_commit_below_it, "txn.reads_ignore_latches"),
        BENCH_STORY(a_reader_does_not_wait_for_a_commit_above_it, NULL),
        BENCH_STORY(of_two_commits_side_by_side_one_wins, "txn.seen_ignored"),
        BENCH_STORY(copies_side_by_side_commit_once, "txn.no_idempotence"),
        BENCH_STORY(locks_are_had_in_turns, NULL),
        BENCH_STORY(a_key_that_is_prewritten_needs_no_lock_in_memory, "replica.locks_kept_twice"),
        BENCH_STORY(locks_have_an_eighth_of_the_memory, "replica.locks_unbounded"),
        BENCH_STORY(who_waited_in_vain_is_told_for_whom, NULL),
        BENCH_STORY(a_late_lock_is_not_given, "replica.late_lock_given"),
        BENCH_STORY(a_deadlock_is_refused, NULL),
        BENCH_STORY(a_commit_waits_for_a_lock_and_then_passes, NULL),
        BENCH_STORY(the_end_of_a_session_frees_its_locks, NULL),
        BENCH_STORY(the_end_of_a_session_sweeps_its_prewrites, NULL),
        BENCH_STORY(a_prewrite_that_outlives_its_session_is_swept, NULL),
        BENCH_STORY(leftovers_wait_for_their_session, NULL),
        BENCH_STORY(large_answers_come_in_parts, NULL),
        cmocka_unit_test(large_transactions_are_written_in_parts),
        BENCH_STORY(another_epoch_is_told_the_descriptor, NULL),
        BENCH_STORY(an_entry_of_another_epoch_is_void, "shard.epoch_unchecked_at_apply"),
        BENCH_STORY(what_is_not_well_formed_is_refused, NULL),
        BENCH_STORY(a_failed_disk_ends_the_replica, NULL),
        BENCH_STORY(a_store_that_dies_behind_its_back_ends_the_replica, NULL),
        BENCH_STORY(a_disk_that_fails_at_the_start_says_so, NULL),
        BENCH_STORY(a_full_disk_refuses_writes_and_goes_on_reading, NULL),
        BENCH_STORY(a_tree_that_is_gone_decides_nothing, "replica.dropped_tree_answers"),
        BENCH_STORY(closing_sends_everybody_home, NULL),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
