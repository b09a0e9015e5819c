/* SPDX-License-Identifier: Apache-2.0 */
/* Splitting shards: with everything that can be under way meanwhile, and with the power cut at
 * every step of it. */
#include "tests/shards_bench.h"

/* ---- both halves ---------------------------------------------------------------------------- */

static void both_halves_go_on(bench *on) {
    write_at(on, "a", "1");
    write_at(on, "m", "2");
    write_at(on, "z", "3");
    asked *it = split_at(on, "m");
    expect(on, it->status == LW_OK, "it is split");
    expect_text(on, told_shards(it), "..m@2 m..@2", "the reply tells of both");
    expect_text(on, all_shards(on), "..m@2 m..@2", "and so do the shards");
    expect_text(on, scan_all(on), "a=1 m=2 z=3", "what was there");
    write_at(on, "b", "4");
    write_at(on, "y", "5");
    bench_crash(on);
    expect_text(on, all_shards(on), "..m@2 m..@2", "after a crash, too");
    expect_text(on, scan_all(on), "a=1 b=4 m=2 y=5 z=3", "what is there");
    bench_shut(on);
    bench_boot(on);
    write_at(on, "m", "6");
    expect_text(on, scan_all(on), "a=1 b=4 m=6 y=5 z=3", "and after a stop");
}

static void what_came_of_a_split_is_split_again(bench *on) {
    static const char *const keys[] = {"m", "t", "d", "a", "p", "z"};
    for (size_t index = 0; index < 6; index++) {
        write_at(on, keys[index], "x");
        expect(on, split_at(on, keys[index])->status == LW_OK, "it is split");
    }
    const char *expected = "..a@4 a..d@4 d..m@3 m..p@4 p..t@4 t..z@4 z..@4";
    expect_text(on, all_shards(on), expected, "in any order");
    for (uint32_t one = 0; one < lw_shards_count(on->shards); one++) {
        for (uint32_t other = 0; other < one; other++) {
            lw_shard_descriptor a, b;
            lw_replica_descriptor(lw_shards_at(on->shards, one), &a);
            lw_replica_descriptor(lw_shards_at(on->shards, other), &b);
            expect(on, a.id != b.id, "each has its own id");
        }
    }
    bench_crash(on);
    expect_text(on, all_shards(on), expected, "and stay");
    expect_text(on, scan_all(on), "a=x d=x m=x p=x t=x z=x", "with all they hold");
}

static void a_boundary_is_split_already(bench *on) {
    expect(on, split_at(on, "m")->status == LW_OK, "it is split");
    asked *again = split_at(on, "m");
    expect(on, again->status == LW_OK, "that was done already");
    expect_text(on, told_shards(again), "m..@2", "and nothing happened");
    expect(on, lw_world_marked(on->world, "replica.split") == 1, "but once");
}

static void keys_with_zeros_are_boundaries_like_any(bench *on) {
    lw_bytes keys[] = {lw_view("\0", 1), lw_view("a\0", 2), lw_view("a\0\1", 3),
                       lw_view("a\0\xff", 3), lw_view("\xff\xff", 2)};
    for (size_t index = 0; index < 5; index++) {
        expect(on, bench_await(send_split(on, keys[index]))->status == LW_OK, "it is split");
    }
    write_at(on, "a", "1");
    write_at(on, "b", "2");
    bench_crash(on);
    expect(on, lw_shards_count(on->shards) == 6, "all of them");
    expect_text(on, scan_all(on), "a=1 b=2", "with what they hold");
    expect_text(on, read_at(on, "a"), "1", "each key in its place");
}

static void bad_keys_are_refused(bench *on) {
    uint8_t *large = lw_allocate_zero(on->memory, LW_USER_KEY_SIZE_MAX + 1);
    expect(on, split_at(on, "")->status == LW_INVALID_ARGUMENT, "an empty key");
    lw_bytes too_large = lw_view(large, LW_USER_KEY_SIZE_MAX + 1);
    asked *it = bench_await(send_split(on, too_large));
    expect(on, it->status == LW_INVALID_ARGUMENT, "one that is too large");
    memset(large, 0, LW_USER_KEY_SIZE_MAX);
    it = bench_await(send_split(on, lw_view(large, LW_USER_KEY_SIZE_MAX)));
    expect(on, it->status == LW_OK, "the largest there is");
    write_at(on, "k", "1");
    bench_crash(on);
    expect(on, lw_shards_count(on->shards) == 2, "stays one");
    expect_text(on, read_at(on, "k"), "1", "with what is behind it");
}

/* ---- routes --------------------------------------------------------------------------------- */

static void keys_of_another_shard_are_told_where_to_go(bench *on) {
    expect(on, split_at(on, "m")->status == LW_OK, "it is split");
    asked *it = bench_await(bench_send_get(on, 1, 0, "m"));
    expect(on, it->status == LW_UNAVAILABLE, "a read");
    expect_text(on, told_shards(it), "..m@2 m..@2", "is told");
    lw_mutation mutation = bench_put("z", "x", LW_SEEN_ANYTHING);
    it = bench_commit_now(on, bench_timestamp(on), &mutation, 1);
    expect(on, it->status == LW_UNAVAILABLE, "a write");
    expect_text(on, told_shards(it), "..m@2 m..@2", "is told");
    expect_text(on, bench_scan(on, &(lw_scan_request){0}), "?", "a scan over more than it has");
    it = send_lock(on, 1, bench_timestamp(on), "z", 100);
    it->request.shard = LW_ROOT_SHARD;
    expect(on, bench_await(it)->status == LW_UNAVAILABLE, "a lock");
    it = send_split(on, lw_text("z"));
    it->request.shard = LW_ROOT_SHARD;
    expect(on, bench_await(it)->status == LW_UNAVAILABLE, "a split");
    it = bench_ask(on, LW_MESSAGE_GET, 1);
    it->request.shard = 12345;
    expect(on, bench_await(bench_send(it))->status == LW_UNAVAILABLE, "a shard of elsewhere");
    expect_text(on, told_shards(it), "..m@2 m..@2", "is told");
    bench_crash(on);
    expect_text(on, scan_all(on), "", "nothing was done");
}

/* Requests that came before the split and wait behind it: none may be answered from a tree that no
 * longer holds the key, nor write to it. */
static void who_waited_meanwhile_is_routed_again(bench *on) {
    write_at(on, "z", "old");
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    lw_host_slow_disk(on->host, 50);
    lw_mutation mutation = bench_put("z", "new", LW_SEEN_ANYTHING);
    lw_commit_now_request request = {.start = one, .mutations = &mutation, .mutation_count = 1};
    asked *early = bench_send_commit_now(on, &request);
    bench_pass_ms(on, 1);
    asked *reader = bench_send_get(on, 1, 0, "z"); /* behind the commit that is on its way */
    asked *split = send_split(on, lw_text("m"));
    for (int step = 0; step < 200 && !lw_world_marked(on->world, "store.tree_split"); step++) {
        bench_pass_ms(on, 1);
        if (step == 20) {
            request.start = two;
            mutation.value = lw_text("late");
        }
    }
    asked *late = bench_send_commit_now(on, &request);
    lw_host_slow_disk(on->host, 1);
    expect(on, bench_await(split)->status == LW_OK, "it is split");
    expect(on, bench_await(early)->status == LW_OK, "who was there before is served");
    expect(on, bench_await(late)->status == LW_UNAVAILABLE, "who came later is sent on");
    bench_await(reader);
    expect(on, reader->status == LW_UNAVAILABLE || strcmp(bench_value(reader), "new") == 0,
           "who reads gets what is there");
    expect_text(on, read_at(on, "z"), "new", "and it is there");
}

/* Reads and writes of both halves all the time while shards are split. */
static void nobody_reads_or_writes_beside_a_split(bench *on) {
    char key[8], value[16];
    static asked *reads[26];
    lw_host_slow_disk(on->host, 20);
    for (int round = 0; round < 26; round++) {
        (void)snprintf(key, sizeof(key), "%c", 'a' + round);
        (void)snprintf(value, sizeof(value), "%d", round);
        write_at(on, key, value);
        asked *split = send_split(on, lw_text(round % 2 == 0 ? "m" : key));
        int step = 0;
        for (; !split->done && step < 5000; step++) {
            for (int at = 0; at <= round; at++) {
                char wanted[2] = {(char)('a' + at), 0};
                on->route = lw_text(wanted);
                reads[at] = bench_send_get(on, 3, 0, wanted);
            }
            on->route = lw_view(NULL, 0);
            for (int at = 0; at <= round; at++) {
                bench_await(reads[at]);
                (void)snprintf(value, sizeof(value), "%d", at);
                expect(on,
                       reads[at]->status == LW_UNAVAILABLE ||
                           strcmp(bench_value(reads[at]), value) == 0,
                       "a read gets what was written, or is sent on");
            }
            bench_pass_ms(on, 1);
        }
        expect(on, split->status == LW_OK, "it is split");
    }
    lw_host_slow_disk(on->host, 1);
    expect(on, lw_shards_count(on->shards) == 15, "again and again");
}

/* ---- locks ---------------------------------------------------------------------------------- */

static void prewritten_locks_go_with_their_keys(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, prewrite_at(on, 1, one, "a", "a", "1")->status == LW_OK, "the primary");
    expect(on, prewrite_at(on, 1, one, "a", "y", "2")->status == LW_OK, "a secondary");
    expect(on, prewrite_at(on, 2, two, "z", "z", "3")->status == LW_OK, "another's");
    expect(on, split_at(on, "m")->status == LW_OK, "it is split");
    bench_pass_ms(on, 5000);
    expect_text(on, scan_all(on), "locked locked", "their sessions live, and so do they");
    uint64_t committed = bench_timestamp(on);
    expect(on, finish_at(on, one, committed, "a")->status == LW_OK, "the primary commits");
    expect(on, finish_at(on, one, committed, "y")->status == LW_OK, "the secondary does");
    lw_shards_session_ended(on->shards, 2);
    bench_pass_ms(on, 2000);
    expect_text(on, scan_all(on), "a=1 y=2", "and the other one is swept");
    on->route = lw_text("z");
    lw_check_reply fate = bench_check(on, two, "z", false);
    expect(on, fate.fate == LW_FATE_ABORTED, "for good");
}

static void leftovers_are_known_on_both_sides(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, prewrite_at(on, 1, one, "y", "y", "1")->status == LW_OK, "one");
    expect(on, prewrite_at(on, 2, two, "z", "z", "2")->status == LW_OK, "two");
    bench_crash(on);
    expect(on, split_at(on, "m")->status == LW_OK, "it is split within the grace");
    bench_await(bench_send_get(on, 2, 0, "a")); /* the second one comes back, elsewhere */
    bench_pass_ms(on, 5000);
    on->route = lw_text("y");
    lw_scan_request of_y = {.lower = lw_text("m"), .upper = lw_text("z")};
    lw_scan_request of_z = {.lower = lw_text("z")};
    expect_text(on, bench_scan(on, &of_y), "", "the first one's is swept");
    expect_text(on, bench_scan(on, &of_z), "locked", "the second one's is not");
}

static void pessimistic_locks_stay(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, bench_await(send_lock(on, 1, one, "y", 100))->status == LW_OK, "locked");
    asked *waiting = send_lock(on, 2, two, "y", 10000);
    lw_mutation mutation = bench_put("y", "passing", LW_SEEN_ANYTHING);
    lw_commit_now_request request = {
        .start = bench_timestamp(on), .mutations = &mutation, .mutation_count = 1};
    asked *passing = bench_send_commit_now(on, &request);
    bench_pass_ms(on, 10);
    expect(on, split_at(on, "m")->status == LW_OK, "who waits for a lock hinders no split");
    expect(on, !waiting->done && !passing->done, "and goes on waiting");
    expect(on, lw_lock_table_count(lw_shards_locks(on->shards)) == 1, "the lock stays");
    mutation = bench_put("y", "mine", LW_SEEN_ANYTHING);
    on->route = lw_text("y");
    expect(on, bench_commit_now(on, one, &mutation, 1)->status == LW_OK, "its owner commits");
    on->route = lw_view(NULL, 0);
    expect(on, bench_await(waiting)->status == LW_UNAVAILABLE, "who waited is sent on");
    expect(on, bench_await(passing)->status == LW_UNAVAILABLE, "both of them");
    expect(on, lw_lock_table_count(lw_shards_locks(on->shards)) == 0, "and has nothing");
    expect(on, bench_await(send_lock(on, 2, two, "y", 100))->status == LW_OK, "there it is had");
    expect_text(on, read_at(on, "y"), "mine", "and what was committed is seen");
}

static void a_deadlock_over_two_shards_is_refused(bench *on) {
    expect(on, split_at(on, "m")->status == LW_OK, "it is split");
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, bench_await(send_lock(on, 1, one, "a", 100))->status == LW_OK, "one has a");
    expect(on, bench_await(send_lock(on, 2, two, "z", 100))->status == LW_OK, "two has z");
    asked *waiting = send_lock(on, 1, one, "z", 10000);
    bench_pass_ms(on, 10);
    asked *it = bench_await(send_lock(on, 2, two, "a", 10000));
    expect(on, it->status == LW_CONFLICT && it->obstacle.kind == LW_OBSTACLE_DEADLOCK, "refused");
    lw_shards_session_ended(on->shards, 2);
    expect(on, bench_await(waiting)->status == LW_OK, "so that the other one goes on");
}

/* ---- disks ---------------------------------------------------------------------------------- */

static void a_full_disk_holds_a_split_up(bench *on) {
    write_at(on, "a", "1");
    write_at(on, "z", "2");
    lw_disk_set_capacity(lw_host_disk(on->host), 1);
    asked *it = send_split(on, lw_text("m"));
    bench_pass_ms(on, 3000);
    expect_text(on, bench_read(on, 0, "a"), "1", "reads go on");
    lw_disk_set_capacity(lw_host_disk(on->host), UINT64_MAX);
    bench_await(it);
    expect(on, it->status == LW_OK || it->status == LW_FULL || it->status == LW_TIMEOUT,
           "it is refused, or done in the end");
    bench_pass_ms(on, 5000);
    expect(on, split_at(on, "m")->status == LW_OK, "with space it is done");
    expect_text(on, scan_all(on), "a=1 z=2", "and nothing is lost");
}

/* The disk becomes full at each step of a split, also when it is too late to refuse it. */
static void the_disk_may_fill_up_at_any_step(void **state) {
    (void)state;
    uint64_t late_count = 0, left_count = 0;
    for (int step = 0; step < 60; step++) {
        static bench on;
        bench_begin(&on, 1, NULL);
        write_at(&on, "a", "1");
        write_at(&on, "z", "2");
        bench_pass_ms(&on, 1000);
        asked *it = send_split(&on, lw_text("m"));
        for (int taken = 0; taken < step && !it->done; taken++) {
            (void)lw_world_step(on.world);
        }
        lw_faults full = lw_faults_none(), none = lw_faults_none();
        full.rates[LW_FAULT_FULL] = LW_FAULT_ALWAYS;
        lw_world_set_faults(on.world, &full);
        for (int second = 0; second < 8; second++) { /* longer than timestamps last */
            bench_pass_ms(&on, 1000);
            expect_text(&on, bench_read(&on, 0, "a"), "1", "reads go on");
        }
        late_count += lw_world_marked(on.world, "replica.split_meets_full_disk") > 0;
        left_count += lw_world_marked(on.world, "group.entry_left_behind_pause") > 0;
        lw_world_set_faults(on.world, &none);
        bench_await(it);
        expect(&on, it->status == LW_OK || it->status == LW_FULL, "it is refused, or done");
        bench_pass_ms(&on, 5000);
        expect(&on, split_at(&on, "m")->status == LW_OK, "with space it is done");
        write_at(&on, "z", "3");
        bench_crash(&on);
        expect_text(&on, scan_all(&on), "a=1 z=3", "and nothing is lost");
        if (on.failure[0] != 0) {
            fail_msg("step %d: %s", step, on.failure);
        }
        bench_end(&on);
    }
    assert_true(late_count > 0);
    assert_true(left_count > 0);
}

static void closing_does_not_wait_for_a_split(bench *on) {
    write_at(on, "z", "1");
    asked *it = send_split(on, lw_text("m"));
    bench_shut(on);
    expect(on, it->done, "it is answered");
    bench_boot(on);
    expect_text(on, scan_all(on), "z=1", "and was done or not");
}

/* ---- the power at every step ---------------------------------------------------------------- */

typedef struct cut {
    uint64_t step;
    lw_crash moment;
    uint64_t committed; /* of the transaction whose locks are split */
} cut;

/* Whether all is there: what was acknowledged, and locks to be decided, on both sides. */
static void check_after(bench *on, uint64_t start, bool split, bool low, bool high) {
    const char *shards = all_shards(on);
    bool two = strcmp(shards, "..m@2 m..@2") == 0;
    expect(on, two || (!split && strcmp(shards, "..@1") == 0), "the shards cover every key");
    expect_text(on, read_at(on, "a"), "1", "what was written before");
    expect_text(on, read_at(on, "z"), "2", "on both sides");
    expect(on, !low || strcmp(read_at(on, "c"), "3") == 0, "and meanwhile");
    expect(on, !high || strcmp(read_at(on, "w"), "4") == 0, "on both sides");
    uint64_t committed = bench_timestamp(on);
    expect(on, finish_at(on, start, committed, "b")->status == LW_OK, "a lock is there");
    expect(on, finish_at(on, start, committed, "y")->status == LW_OK, "on both sides");
    expect(on, split_at(on, "m")->status == LW_OK, "the split can be repeated");
    expect_text(on, all_shards(on), "..m@2 m..@2", "and is done then");
    write_at(on, "a", "5");
    write_at(on, "z", "6");
    bench_crash(on);
    expect_text(on, all_shards(on), "..m@2 m..@2", "and stays");
    expect_text(on, read_at(on, "a"), "5", "with what was written after it");
    expect_text(on, read_at(on, "z"), "6", "on both sides");
    expect_text(on, read_at(on, "y"), "locked by it", "with what was committed");
}

/* True if the power failed before all was done. */
static bool tell_cut(uint64_t step, lw_crash moment) {
    static bench on;
    bench_begin(&on, step * 3 + (uint64_t)moment, NULL);
    write_at(&on, "a", "1");
    write_at(&on, "z", "2");
    uint64_t start = bench_timestamp(&on);
    (void)prewrite_at(&on, 1, start, "b", "b", "locked by it");
    (void)prewrite_at(&on, 1, start, "b", "y", "locked by it");
    bench_pass_ms(&on, 1000); /* the reserve of the store is written */
    lw_host_crash_after(on.host, step, moment);
    asked *it = send_split(&on, lw_text("m"));
    bool split = answered(&on, it);
    bool low = try_write(&on, "c", "3"), high = try_write(&on, "w", "4");
    bool cut_short = !lw_host_running(on.host);
    if (!cut_short) {
        lw_host_crash(on.host);
    }
    bench_boot(&on);
    if (on.failure[0] == 0) {
        check_after(&on, start, split, low, high);
    }
    if (on.failure[0] != 0) {
        fail_msg("step %llu, moment %d: %s", (unsigned long long)step, (int)moment, on.failure);
    }
    bench_end(&on);
    return cut_short;
}

static void the_power_may_go_at_any_step_of_a_split(void **state) {
    (void)state;
    static const lw_crash moments[] = {LW_CRASH_BEFORE, LW_CRASH_WITHIN, LW_CRASH_AFTER};
    uint64_t steps = 0;
    for (uint64_t step = 0, more = 3; more > 0; step++) {
        more = 0;
        for (size_t moment = 0; moment < 3; moment++) {
            more += tell_cut(step, moments[moment]);
        }
        steps += more > 0;
    }
    assert_true(steps > 10);
}

/* The same, with the power cut once more at each step of the start that finishes the split. */
static void the_power_may_go_again_while_a_split_is_finished(void **state) {
    (void)state;
    uint64_t finished_count = 0;
    for (uint64_t step = 0; step < 24; step++) {
        bool more = true;
        for (uint64_t again = 0; more; again++) {
            static bench on;
            bench_begin(&on, step * 100 + again, NULL);
            write_at(&on, "a", "1");
            write_at(&on, "z", "2");
            bench_pass_ms(&on, 1000);
            lw_host_crash_after(on.host, step, LW_CRASH_AFTER);
            (void)answered(&on, send_split(&on, lw_text("m")));
            if (lw_host_running(on.host)) {
                lw_host_crash(on.host);
            }
            on.env = lw_host_boot(on.host);
            on.shards = NULL;
            lw_host_crash_after(on.host, again, LW_CRASH_WITHIN);
            bench_run(&on, bench_open_main);
            more = !lw_host_running(on.host);
            if (!more) {
                lw_host_crash(on.host);
            }
            bench_boot(&on);
            finished_count += lw_world_marked(on.world, "replica.split_finished_at_start") > 0;
            if (on.failure[0] == 0) {
                expect_text(&on, scan_all(&on), "a=1 z=2", "all is there");
                expect(&on, split_at(&on, "m")->status == LW_OK, "it can be split");
                write_at(&on, "z", "3");
                expect_text(&on, scan_all(&on), "a=1 z=3", "and goes on");
            }
            if (on.failure[0] != 0) {
                fail_msg("step %llu, then %llu: %s", (unsigned long long)step,
                         (unsigned long long)again, on.failure);
            }
            bench_end(&on);
        }
    }
    assert_true(finished_count > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(both_halves_go_on, NULL),
        BENCH_STORY(what_came_of_a_split_is_split_again, NULL),
        BENCH_STORY(a_boundary_is_split_already, NULL),
        BENCH_STORY(keys_with_zeros_are_boundaries_like_any, NULL),
        BENCH_STORY(bad_keys_are_refused, NULL),
        BENCH_STORY(keys_of_another_shard_are_told_where_to_go, NULL),
        BENCH_STORY(who_waited_meanwhile_is_routed_again, "shard.route_unchecked"),
        BENCH_STORY(nobody_reads_or_writes_beside_a_split, NULL),
        BENCH_STORY(prewritten_locks_go_with_their_keys, "shard.child_without_locks"),
        BENCH_STORY(leftovers_are_known_on_both_sides, NULL),
        BENCH_STORY(pessimistic_locks_stay, NULL),
        BENCH_STORY(a_deadlock_over_two_shards_is_refused, NULL),
        BENCH_STORY(a_full_disk_holds_a_split_up, NULL),
        cmocka_unit_test(the_disk_may_fill_up_at_any_step),
        BENCH_STORY(closing_does_not_wait_for_a_split, NULL),
        cmocka_unit_test(the_power_may_go_at_any_step_of_a_split),
        cmocka_unit_test(the_power_may_go_again_while_a_split_is_finished),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
