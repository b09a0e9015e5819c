/* SPDX-License-Identifier: Apache-2.0 */
/* Merging shards of a node: with everything that can be under way meanwhile, and with the power cut
 * at every step of it. */
#include "tests/shards_bench.h"

/* ---- merging ------------------------------------------------------------------------------- */

static asked *send_merge(bench *on, const char *key, uint64_t right) {
    on->route = lw_text(key);
    asked *it = bench_ask(on, LW_MESSAGE_MERGE, 7);
    on->route = lw_view(NULL, 0);
    it->request.timeout_ms = 20000;
    lw_merge_request_encode(&(lw_merge_request){.right = right}, &it->body);
    return bench_send(it);
}

/* The shard that holds the key, and its right neighbour. */
static asked *merge_at(bench *on, const char *key) {
    return bench_await(send_merge(on, key, 0));
}

static uint64_t id_at(bench *on, const char *key) {
    lw_shard_descriptor shard;
    lw_replica_descriptor(lw_shards_at(on->shards, lw_shards_place(on->shards, lw_text(key))),
                          &shard);
    return shard.id;
}

/* ---- two become one ------------------------------------------------------------------------- */

static void make_two(bench *on) {
    write_at(on, "a", "1");
    write_at(on, "m", "2");
    write_at(on, "z", "3");
    expect(on, split_at(on, "m")->status == LW_OK, "it is split");
}

static void two_become_one(bench *on) {
    make_two(on);
    write_at(on, "y", "4");
    asked *it = merge_at(on, "a");
    expect(on, it->status == LW_OK, "they are merged");
    expect_text(on, told_shards(it), "..@4", "the reply tells of it");
    expect_text(on, all_shards(on), "..@4", "there is one shard");
    expect_text(on, scan_all(on), "a=1 m=2 y=4 z=3", "with all there was");
    write_at(on, "m", "5");
    bench_crash(on);
    expect_text(on, all_shards(on), "..@4", "after a crash, too");
    write_at(on, "n", "6");
    expect_text(on, scan_all(on), "a=1 m=5 n=6 y=4 z=3", "what is there");
    bench_shut(on);
    bench_boot(on);
    expect_text(on, scan_all(on), "a=1 m=5 n=6 y=4 z=3", "and after a stop");
}

static void they_are_split_and_merged_again(bench *on) {
    static const char *const keys[] = {"m", "t", "d", "a", "p"};
    for (int round = 0; round < 3; round++) {
        for (size_t index = 0; index < 5; index++) {
            write_at(on, keys[index], "x");
            expect(on, split_at(on, keys[index])->status == LW_OK, "it is split");
        }
        expect(on, merge_at(on, "d")->status == LW_OK, "one pair");
        expect(on, merge_at(on, "p")->status == LW_OK, "another one");
        expect(on, merge_at(on, "d")->status == LW_OK, "what was merged");
        if (round == 1) {
            bench_crash(on);
        }
        expect(on, lw_shards_count(on->shards) == 3, "as many are left");
        expect(on, merge_at(on, "")->status == LW_OK && merge_at(on, "")->status == LW_OK, "all");
        expect(on, lw_shards_count(on->shards) == 1, "one is left");
        expect_text(on, scan_all(on), "a=x d=x m=x p=x t=x", "with all of it");
    }
    bench_crash(on);
    expect_text(on, scan_all(on), "a=x d=x m=x p=x t=x", "for good");
}

static void what_cannot_be_merged_is_refused(bench *on) {
    asked *it = merge_at(on, "a");
    expect(on, it->status == LW_NOT_FOUND, "there is no neighbour");
    make_two(on);
    expect(on, merge_at(on, "z")->status == LW_NOT_FOUND, "nor of the last one");
    it = bench_await(send_merge(on, "a", 12345));
    expect(on, it->status == LW_INVALID_ARGUMENT, "another one was meant");
    uint64_t right = id_at(on, "m");
    expect(on, bench_await(send_merge(on, "a", right))->status == LW_OK, "that one");
    expect(on, bench_await(send_merge(on, "a", right))->status == LW_OK, "was done already");
    expect(on, lw_world_marked(on->world, "replica.merged") == 1, "but once");
}

/* ---- requests meanwhile --------------------------------------------------------------------- */

/* Reads and writes of both all the time while they are merged and split again. */
static void nobody_reads_or_writes_beside_a_merge(bench *on) {
    static const char *const keys[] = {"a", "l", "m", "z"};
    int value_count[4] = {0};
    make_two(on);
    lw_host_slow_disk(on->host, 20);
    for (int round = 0; round < 8; round++) {
        asked *it = round % 2 == 0 ? send_merge(on, "a", 0) : send_split(on, lw_text("m"));
        for (int step = 0; !it->done && step < 3000; step++) {
            int place = step % 4;
            char value[16];
            (void)snprintf(value, sizeof(value), "%d", value_count[place] + 1);
            lw_mutation mutation = bench_put(keys[place], value, LW_SEEN_ANYTHING);
            lw_commit_now_request request = {
                .start = bench_timestamp(on), .mutations = &mutation, .mutation_count = 1};
            on->route = lw_text(keys[place]);
            asked *write = bench_await(bench_send_commit_now(on, &request));
            on->route = lw_view(NULL, 0);
            value_count[place] += write->status == LW_OK;
            on->route = lw_text(keys[place]);
            asked *read = bench_await(bench_send_get(on, 3, 0, keys[place]));
            on->route = lw_view(NULL, 0);
            (void)snprintf(value, sizeof(value), "%d", value_count[place]);
            expect(on,
                   read->status == LW_UNAVAILABLE || value_count[place] == 0 ||
                       strcmp(bench_value(read), value) == 0,
                   "a read gets what was written, or is sent on");
            bench_pass_ms(on, 1);
        }
        expect(on, it->status == LW_OK, "it is done");
    }
    lw_host_slow_disk(on->host, 1);
    expect(on, value_count[0] + value_count[1] + value_count[2] + value_count[3] > 20,
           "some went on");
}

/* Who comes while the right one is frozen waits a little, and is sent on. */
static void who_comes_meanwhile_is_sent_on(bench *on) {
    make_two(on);
    bench_pass_ms(on, 1000);
    lw_host_slow_disk(on->host, 50);
    asked *it = send_merge(on, "a", 0);
    for (int step = 0; step < 2000 && !lw_world_marked(on->world, "replica.frozen"); step++) {
        bench_pass_ms(on, 1);
    }
    expect(on, !it->done, "it is under way");
    on->route = lw_text("z");
    asked *read = bench_send_get(on, 1, 0, "z");
    on->route = lw_view(NULL, 0);
    bench_pass_ms(on, 1);
    expect(on, !read->done, "a read waits");
    lw_host_slow_disk(on->host, 1);
    expect(on, bench_await(it)->status == LW_OK, "they are merged");
    expect(on, bench_await(read)->status == LW_UNAVAILABLE, "it is sent on");
    expect_text(on, told_shards(read), "..@4", "to the other one");
    expect_text(on, read_at(on, "z"), "3", "where it is");
}

/* A commit timestamp that was drawn before a read at the right one, and comes after the merge. */
static void nothing_is_committed_below_reads_of_before(bench *on) {
    make_two(on);
    uint64_t start = bench_timestamp(on), commit = bench_timestamp(on);
    lw_scan_request all = {.lower = lw_text("m")};
    on->route = lw_text("m");
    expect_text(on, bench_scan(on, &all), "m=2 z=3", "the right one is read");
    on->route = lw_view(NULL, 0);
    expect(on, merge_at(on, "a")->status == LW_OK, "they are merged");
    lw_mutation mutation = bench_put("w", "below", LW_SEEN_ANYTHING);
    lw_prewrite_request request = {.start = start,
                                   .primary = lw_text("w"),
                                   .lifetime_ms = 600000,
                                   .mutations = &mutation,
                                   .mutation_count = 1,
                                   .commit_timestamp = commit};
    asked *it = bench_ask(on, LW_MESSAGE_PREWRITE, 1);
    lw_prewrite_request_encode(&request, &it->body);
    (void)bench_await(bench_send(it));
    lw_prewrite_reply reply = {0};
    expect(on,
           it->status == LW_OK &&
               lw_prewrite_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) == LW_OK,
           "it is prewritten");
    expect(on, !reply.asynchronous, "but not below what was read");
}

/* ---- locks ---------------------------------------------------------------------------------- */

static void prewritten_locks_go_along(bench *on) {
    make_two(on);
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, prewrite_at(on, 1, one, "b", "b", "1")->status == LW_OK, "the primary");
    expect(on, prewrite_at(on, 1, one, "b", "y", "2")->status == LW_OK, "a secondary");
    expect(on, prewrite_at(on, 2, two, "x", "x", "3")->status == LW_OK, "another's");
    expect(on, merge_at(on, "a")->status == LW_OK, "they are merged");
    bench_pass_ms(on, 5000);
    lw_replica_figures figures;
    lw_replica_figures_get(lw_shards_at(on->shards, 0), &figures);
    expect(on, figures.open == 2, "their sessions live, and so do they");
    expect_text(on, scan_all(on), "a=1 ...", "they are in the way");
    uint64_t committed = bench_timestamp(on);
    expect(on, finish_at(on, one, committed, "b")->status == LW_OK, "the primary commits");
    expect(on, finish_at(on, one, committed, "y")->status == LW_OK, "the secondary does");
    lw_shards_session_ended(on->shards, 2);
    bench_pass_ms(on, 2000);
    expect_text(on, scan_all(on), "a=1 b=1 m=2 y=2 z=3", "and the other one is swept");
    lw_replica_figures_get(lw_shards_at(on->shards, 0), &figures);
    expect(on, figures.open == 0, "nothing is open");
}

/* A session ends at a step of the merge: how many of its transactions are open some seconds later,
 * of two that have a lock on either side. */
static uint64_t left_open(uint64_t step, const char *bug, bool *amid) {
    static bench on;
    bench_begin(&on, step, bug);
    make_two(&on);
    uint64_t low = bench_timestamp(&on), high = bench_timestamp(&on);
    expect(&on, prewrite_at(&on, 2, low, "b", "b", "1")->status == LW_OK, "the left one's");
    expect(&on, prewrite_at(&on, 2, high, "y", "y", "2")->status == LW_OK, "the right one's");
    bench_pass_ms(&on, 1000);
    asked *it = send_merge(&on, "a", 0);
    for (uint64_t taken = 0; taken < step && !it->done; taken++) {
        (void)lw_world_step(on.world);
    }
    *amid = !it->done;
    bool has = lw_shards_session_holds(on.shards, 2);
    expect(&on, has || bug != NULL, "it has locks all the time");
    lw_shards_session_ended(on.shards, 2);
    expect(&on, bench_await(it)->status == LW_OK, "they are merged");
    bench_pass_ms(&on, 5000);
    lw_replica_figures figures;
    lw_replica_figures_get(lw_shards_at(on.shards, 0), &figures);
    if (bug == NULL) {
        expect_text(&on, scan_all(&on), "a=1 m=2 z=3", "nothing is in the way");
    }
    if (on.failure[0] != 0) {
        fail_msg("step %llu: %s", (unsigned long long)step, on.failure);
    }
    bench_end(&on);
    return figures.open;
}

static void a_session_may_end_at_any_step_of_a_merge(void **state) {
    (void)state;
    bool amid = true, caught = false;
    uint64_t step = 0;
    for (; amid; step++) {
        bool same;
        if (left_open(step, NULL, &amid) != 0) {
            fail_msg("step %llu: its locks stay", (unsigned long long)step);
        }
        caught = left_open(step, "merge.end_of_session_unheard", &same) != 0 || caught;
    }
    assert_true(step > 20);
    assert_true(caught);
}

/* Of before a crash: one comes back, one does not. */
static void leftovers_go_along(bench *on) {
    make_two(on);
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, prewrite_at(on, 1, one, "x", "x", "1")->status == LW_OK, "one");
    expect(on, prewrite_at(on, 2, two, "y", "y", "2")->status == LW_OK, "two");
    bench_crash(on);
    expect(on, merge_at(on, "a")->status == LW_OK, "they are merged within the grace");
    bench_await(bench_send_get(on, 2, 0, "a"));
    bench_pass_ms(on, 5000);
    lw_replica_figures figures;
    lw_replica_figures_get(lw_shards_at(on->shards, 0), &figures);
    expect(on, figures.open == 1, "one is left");
    expect_text(on, read_at(on, "x"), "-", "the first one's is swept");
    expect_text(on, scan_all(on), "a=1 m=2 ...", "the second one's is not");
}

static void pessimistic_locks_stay(bench *on) {
    make_two(on);
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    expect(on, bench_await(send_lock(on, 1, one, "y", 100))->status == LW_OK, "locked");
    asked *waiting = send_lock(on, 2, two, "y", 10000);
    bench_pass_ms(on, 10);
    expect(on, !waiting->done, "another one waits");
    asked *it = send_merge(on, "a", 0);
    bench_pass_ms(on, 500);
    expect(on, it->done && it->status == LW_OK, "who waits for a lock hinders no merge");
    expect(on, bench_await(waiting)->status == LW_UNAVAILABLE, "but is sent on");
    expect(on, lw_lock_table_count(lw_shards_locks(on->shards)) == 1, "the lock stays");
    waiting = send_lock(on, 2, two, "y", 10000);
    bench_pass_ms(on, 10);
    lw_mutation mutation = bench_put("y", "mine", LW_SEEN_ANYTHING);
    expect(on, bench_commit_now(on, one, &mutation, 1)->status == LW_OK, "its owner commits");
    expect(on, bench_await(waiting)->status == LW_OK, "and then it is had");
}

/* ---- by themselves --------------------------------------------------------------------------- */

static void small_ones_are_merged_by_themselves(bench *on) {
    on->merge_after_ms = 60000;
    bench_shut(on);
    bench_boot(on);
    make_two(on);
    expect(on, split_at(on, "t")->status == LW_OK, "and again");
    bench_pass_ms(on, 50000);
    expect(on, lw_shards_count(on->shards) == 3, "not at once");
    bench_pass_ms(on, 100000);
    expect(on, lw_shards_count(on->shards) == 1, "after a while");
    expect_text(on, scan_all(on), "a=1 m=2 z=3", "with all there was");
    expect(on, lw_world_marked(on->world, "shards.merged_by_themselves") == 2, "one by one");
}

static void large_ones_are_not(bench *on) {
    on->merge_after_ms = 60000;
    on->shard_size = 64 * 1024;
    bench_shut(on);
    bench_boot(on);
    make_two(on);
    char key[16], value[1000];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    for (int index = 0; index < 12; index++) {
        (void)snprintf(key, sizeof(key), "z%02d", index);
        write_at(on, key, value);
    }
    bench_pass_ms(on, 300000);
    expect(on, lw_shards_count(on->shards) == 2, "one of them holds too much");
}

/* ---- disks ---------------------------------------------------------------------------------- */

/* The disk becomes full at each step, also when it is too late to refuse. */
static void the_disk_may_fill_up_at_any_step(void **state) {
    (void)state;
    for (int step = 0; step < 60; step++) {
        static bench on;
        bench_begin(&on, 1, NULL);
        make_two(&on);
        bench_pass_ms(&on, 1000);
        asked *it = send_merge(&on, "a", 0);
        for (int taken = 0; taken < step && !it->done; taken++) {
            (void)lw_world_step(on.world);
        }
        lw_faults full = lw_faults_none(), none = lw_faults_none();
        full.rates[LW_FAULT_FULL] = LW_FAULT_ALWAYS;
        lw_world_set_faults(on.world, &full);
        for (int second = 0; second < 8; second++) {
            bench_pass_ms(&on, 1000);
            expect_text(&on, bench_read(&on, 0, "a"), "1", "reads go on");
        }
        lw_world_set_faults(on.world, &none);
        bench_await(it);
        bench_pass_ms(&on, 5000);
        asked *again = merge_at(&on, "a");
        expect(&on, again->status == LW_OK || again->status == LW_NOT_FOUND, "then it is done");
        expect_text(&on, scan_all(&on), "a=1 m=2 z=3", "nothing is lost");
        write_at(&on, "z", "4");
        bench_crash(&on);
        expect_text(&on, scan_all(&on), "a=1 m=2 z=4", "for good");
        if (on.failure[0] != 0) {
            fail_msg("step %d: %s", step, on.failure);
        }
        bench_end(&on);
    }
}

static void closing_does_not_wait_for_a_merge(bench *on) {
    make_two(on);
    asked *it = send_merge(on, "a", 0);
    bench_shut(on);
    expect(on, it->done, "it is answered");
    bench_boot(on);
    bench_pass_ms(on, 5000);
    expect_text(on, scan_all(on), "a=1 m=2 z=3", "and was done or not");
}

/* ---- the power at every step ---------------------------------------------------------------- */

/* Whether all is there: what was acknowledged, and locks to be decided, on both sides. */
static void check_after(bench *on, uint64_t start, bool merged, bool low, bool high) {
    const char *shards = all_shards(on);
    expect(on, !merged || strcmp(shards, "..@4") == 0, "what was merged stays so");
    bench_pass_ms(on, 1000);
    expect_text(on, read_at(on, "a"), "1", "what was written before");
    expect_text(on, read_at(on, "z"), "3", "on both sides");
    expect(on, !low || strcmp(read_at(on, "c"), "5") == 0, "and meanwhile");
    expect(on, !high || strcmp(read_at(on, "w"), "6") == 0, "on both sides");
    uint64_t committed = bench_timestamp(on);
    expect(on, finish_at(on, start, committed, "b")->status == LW_OK, "a lock is there");
    expect(on, finish_at(on, start, committed, "y")->status == LW_OK, "on both sides");
    asked *again = merge_at(on, "a");
    expect(on, again->status == LW_OK || again->status == LW_NOT_FOUND, "it can be repeated");
    expect(on, lw_shards_count(on->shards) == 1, "and is done then");
    write_at(on, "a", "7");
    write_at(on, "z", "8");
    bench_crash(on);
    expect(on, lw_shards_count(on->shards) == 1, "and stays");
    expect_text(on, read_at(on, "a"), "7", "with what was written after it");
    expect_text(on, read_at(on, "z"), "8", "on both sides");
    expect_text(on, read_at(on, "y"), "locked by it", "with what was committed");
}

typedef struct cut_run {
    uint64_t step, again; /* `again` UINT64_MAX: the start is not cut short */
    lw_crash moment;
    const char *bug;
    bool finished; /* a start had to finish the merge */
    bool more;     /* the power failed before all was done */
    bool unfrozen;
} cut_run;

/* Says what was wrong; nothing if all was right. */
static const char *tell_cut(cut_run *run, char failure[256]) {
    static bench on;
    bench_begin(&on, run->step * 300 + (run->again % 100) * 3 + (uint64_t)run->moment, run->bug);
    make_two(&on);
    uint64_t start = bench_timestamp(&on);
    (void)prewrite_at(&on, 1, start, "b", "b", "locked by it");
    (void)prewrite_at(&on, 1, start, "b", "y", "locked by it");
    bench_pass_ms(&on, 1000); /* the reserve of the store is written */
    lw_host_crash_after(on.host, run->step, run->moment);
    bool merged = answered(&on, send_merge(&on, "a", 0));
    bool low = try_write(&on, "c", "5"), high = try_write(&on, "w", "6");
    run->more = !lw_host_running(on.host);
    if (!run->more) {
        lw_host_crash(on.host);
    }
    if (run->again != UINT64_MAX) {
        on.env = lw_host_boot(on.host);
        on.shards = NULL;
        lw_host_crash_after(on.host, run->again, LW_CRASH_WITHIN);
        bench_run(&on, bench_open_main);
        run->more = !lw_host_running(on.host);
        if (!run->more) {
            lw_host_crash(on.host);
        }
    }
    bench_boot(&on);
    run->finished = lw_world_marked(on.world, "shards.merge_finished_at_start") > 0;
    if (on.failure[0] == 0) {
        check_after(&on, start, merged, low, high);
    }
    run->unfrozen = lw_world_marked(on.world, "replica.unfrozen") > 0;
    memcpy(failure, on.failure, sizeof(on.failure));
    bench_end(&on);
    return failure;
}

static void the_power_may_go_at_any_step_of_a_merge(void **state) {
    (void)state;
    static const lw_crash moments[] = {LW_CRASH_BEFORE, LW_CRASH_WITHIN, LW_CRASH_AFTER};
    uint64_t steps = 0, finished = 0, unfrozen = 0;
    char failure[256];
    for (uint64_t step = 0, more = 3; more > 0; step++) {
        more = 0;
        for (size_t moment = 0; moment < 3; moment++) {
            cut_run run = {.step = step, .again = UINT64_MAX, .moment = moments[moment]};
            if (tell_cut(&run, failure)[0] != 0) {
                fail_msg("step %llu, moment %zu: %s", (unsigned long long)step, moment, failure);
            }
            more += run.more;
            finished += run.finished;
            unfrozen += run.unfrozen;
        }
        steps += more > 0;
    }
    assert_true(steps > 10);
    assert_true(finished > 5);
    assert_true(unfrozen > 0);
}

/* The same, with the power cut once more at each step of the start that finishes the merge. */
static void the_power_may_go_again_while_a_merge_is_finished(void **state) {
    (void)state;
    uint64_t finished = 0;
    char failure[256];
    for (uint64_t step = 8; step < 24; step++) {
        cut_run run = {.step = step, .moment = LW_CRASH_AFTER};
        do {
            if (tell_cut(&run, failure)[0] != 0) {
                fail_msg("step %llu, then %llu: %s", (unsigned long long)step,
                         (unsigned long long)run.again, failure);
            }
            finished += run.finished;
            run.again++;
        } while (run.more);
    }
    assert_true(finished > 10);
}

/* What must not be is caught where the power goes. */
static void a_tombstone_that_drops_the_tree_is_noticed(void **state) {
    (void)state;
    bool caught = false;
    char failure[256];
    for (uint64_t step = 0; step < 30 && !caught; step++) {
        cut_run run = {.step = step,
                       .again = UINT64_MAX,
                       .moment = LW_CRASH_AFTER,
                       .bug = "merge.tombstone_drops_data"};
        caught = tell_cut(&run, failure)[0] != 0;
    }
    assert_true(caught);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(two_become_one, NULL),
        BENCH_STORY(they_are_split_and_merged_again, NULL),
        BENCH_STORY(what_cannot_be_merged_is_refused, NULL),
        BENCH_STORY(nobody_reads_or_writes_beside_a_merge, NULL),
        BENCH_STORY(who_comes_meanwhile_is_sent_on, "merge.reads_while_frozen"),
        BENCH_STORY(nothing_is_committed_below_reads_of_before, "merge.marks_not_raised"),
        BENCH_STORY(prewritten_locks_go_along, NULL),
        cmocka_unit_test(a_session_may_end_at_any_step_of_a_merge),
        BENCH_STORY(leftovers_go_along, NULL),
        BENCH_STORY(pessimistic_locks_stay, NULL),
        BENCH_STORY(small_ones_are_merged_by_themselves, NULL),
        BENCH_STORY(large_ones_are_not, NULL),
        cmocka_unit_test(the_disk_may_fill_up_at_any_step),
        BENCH_STORY(closing_does_not_wait_for_a_merge, NULL),
        cmocka_unit_test(the_power_may_go_at_any_step_of_a_merge),
        cmocka_unit_test(the_power_may_go_again_while_a_merge_is_finished),
        cmocka_unit_test(a_tombstone_that_drops_the_tree_is_noticed),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
