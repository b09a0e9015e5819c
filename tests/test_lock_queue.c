/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for pessimistic locks, on the shards of a node: turns, whatever kind of transaction
 * waits, patience, and what concerns several shards at once. */
#include "tests/shard_bench.h"

static asked *send_lock(bench *on, uint64_t session, uint64_t start, const char *key,
                        uint32_t wait_ms) {
    on->route = lw_text(key);
    asked *it = bench_ask(on, LW_MESSAGE_LOCK, session);
    on->route = lw_view(NULL, 0);
    lw_bytes keys[] = {lw_text(key)};
    lw_lock_request request = {.start = start, .keys = keys, .key_count = 1, .wait_ms = wait_ms};
    lw_lock_request_encode(&request, &it->body);
    return bench_send(it);
}

static void lock(bench *on, uint64_t session, uint64_t start, const char *key) {
    expect(on, bench_await(send_lock(on, session, start, key, 1000))->status == LW_OK,
           "a key is locked");
}

static asked *send_put(bench *on, uint64_t start, const char *key, const char *value) {
    lw_mutation mutation = bench_put(key, value, LW_SEEN_ANYTHING);
    lw_commit_now_request request = {.start = start, .mutations = &mutation, .mutation_count = 1};
    on->route = lw_text(key);
    asked *it = bench_send_commit_now(on, &request);
    on->route = lw_view(NULL, 0);
    return it;
}

static void release(bench *on, uint64_t start) {
    asked *it = bench_ask(on, LW_MESSAGE_ROLLBACK, 2);
    lw_finish_request_encode(&(lw_finish_request){.start = start}, &it->body);
    expect(on, bench_await(bench_send(it))->status == LW_OK, "locks are let go");
}

static void split_at(bench *on, const char *key) {
    asked *it = bench_ask(on, LW_MESSAGE_SPLIT, 7);
    lw_split_request_encode(&(lw_split_request){.key = lw_text(key)}, &it->body);
    expect(on, bench_await(bench_send(it))->status == LW_OK, "it is split");
}

/* ---- turns ---------------------------------------------------------------------------------- */

/* Commits without locks of their own, and transactions that lock, in one queue: each has its turn
 * when all before it are through. */
static void first_come_first_served(bench *on) {
    enum { COUNT = 8 };
    uint64_t starts[COUNT], owner = bench_timestamp(on);
    asked *waiting[COUNT];
    lock(on, 1, owner, "k");
    for (uint64_t index = 0; index < COUNT; index++) {
        starts[index] = bench_timestamp(on);
        char value[8];
        (void)snprintf(value, sizeof(value), "%d", (int)index);
        waiting[index] = index % 2 == 0 ? send_lock(on, 2 + index, starts[index], "k", 2000)
                                        : send_put(on, starts[index], "k", value);
        bench_pass_ms(on, 1);
    }
    uint64_t committed_before = 0;
    for (uint64_t index = 0; index < COUNT; index += 2) {
        for (uint64_t each = index; each < COUNT; each++) {
            expect(on, !waiting[each]->done, "nobody comes before his turn");
        }
        release(on, index == 0 ? owner : starts[index - 2]);
        expect(on, bench_await(waiting[index])->status == LW_OK,
               "it is the turn of one that locks");
        if (index > 0) { /* the commit before it has passed */
            uint64_t committed = bench_committed(waiting[index - 1]);
            expect(on, waiting[index - 1]->done && committed > committed_before,
                   "the commits pass in their order");
            committed_before = committed;
        }
    }
    release(on, starts[COUNT - 2]);
    expect(on, bench_committed(bench_await(waiting[COUNT - 1])) > committed_before, "the last one");
    expect_text(on, bench_read(on, 0, "k"), "7", "and it holds");
    expect(on, lw_lock_table_count(lw_shards_locks(on->shards)) == 0, "nothing is left");
}

static void who_loses_patience_leaves_the_queue(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on), three = bench_timestamp(on);
    lock(on, 1, one, "k");
    asked *impatient = send_lock(on, 2, two, "k", 200);
    asked *patient = send_lock(on, 3, three, "k", 2000);
    uint64_t began_ns = lw_world_now(on->world);
    bench_await(impatient);
    uint64_t waited_ms = (lw_world_now(on->world) - began_ns) / BENCH_MS;
    expect(on, impatient->status == LW_TIMEOUT, "its time is up");
    expect(on, waited_ms > 150 && waited_ms <= 200, "when it said");
    expect(on, strstr(impatient->text, "of client \"importer\" has locked") != NULL,
           "it is told for whom it waited");
    release(on, one);
    expect(on, bench_await(patient)->status == LW_OK, "who stayed has the key");
    release(on, three);
    expect(on, lw_lock_table_count(lw_shards_locks(on->shards)) == 0, "nothing is left");
}

/* ---- several shards ------------------------------------------------------------------------- */

static void a_deadlock_over_shards_is_found(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on), three = bench_timestamp(on);
    split_at(on, "m");
    split_at(on, "f");
    lock(on, 1, one, "a");
    lock(on, 2, two, "h");
    lock(on, 3, three, "z");
    asked *first = send_lock(on, 1, one, "h", 2000), *second = send_lock(on, 2, two, "z", 2000);
    bench_pass_ms(on, 10);
    asked *closing = bench_await(send_lock(on, 3, three, "a", 2000));
    expect(on, closing->status == LW_CONFLICT && closing->obstacle.kind == LW_OBSTACLE_DEADLOCK,
           "who closes the cycle is refused");
    expect(on, closing->obstacle.cycle_length == 3 && closing->obstacle.step_count == 3,
           "the cycle is told");
    if (closing->obstacle.step_count == 3) {
        const lw_deadlock_step *steps = closing->obstacle.steps;
        expect(on, steps[0].start == three && lw_equal(steps[0].key, lw_text("a")), "who asked");
        expect(on, steps[1].start == one && lw_equal(steps[1].key, lw_text("h")), "who has it");
        expect(on, lw_equal(steps[1].label, lw_text("importer")), "and whose that is");
        expect(on, steps[2].start == two && lw_equal(steps[2].key, lw_text("z")), "and so on");
    }
    expect(on, !first->done && !second->done, "the others wait on");
    release(on, three);
    expect(on, bench_await(second)->status == LW_OK, "until the victim lets go");
    release(on, two);
    expect(on, bench_await(first)->status == LW_OK, "in turn");
    release(on, one);
}

/* Keys that are listed, with the shard to go on at in each reply. */
/* A commit over two shards has its intent in one and waits in the queue of the other, for a
 * transaction that meets the intent: neither would ever go on. */
static void a_deadlock_over_an_intent_is_found(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    lw_mutation here = bench_put("a", "two", LW_SEEN_ANYTHING);
    lw_mutation there = bench_put("h", "two", LW_SEEN_ANYTHING);
    split_at(on, "f");
    lock(on, 1, one, "a");
    on->route = lw_text("h");
    bench_prewrite(on, 2, two, "h", 5000, &there, 1);
    on->route = lw_text("a");
    asked *waiting = bench_ask(on, LW_MESSAGE_PREWRITE, 2);
    on->route = lw_view(NULL, 0);
    lw_prewrite_request request = {.start = two,
                                   .primary = lw_text("h"),
                                   .lifetime_ms = 5000,
                                   .mutations = &here,
                                   .mutation_count = 1};
    lw_prewrite_request_encode(&request, &waiting->body);
    bench_send(waiting);
    bench_pass_ms(on, 10);
    expect(on, !waiting->done, "the commit waits for the lock");
    uint64_t began_ns = lw_world_now(on->world);
    asked *closing = bench_await(send_lock(on, 1, one, "h", 2000));
    expect(on, closing->status == LW_CONFLICT && closing->obstacle.kind == LW_OBSTACLE_DEADLOCK,
           "who closes the cycle is refused");
    expect(on, lw_world_now(on->world) - began_ns < 100 * BENCH_MS, "at once");
    release(on, one);
    expect(on, bench_await(waiting)->status == LW_OK, "the other goes on");
}

static void who_meets_an_intent_is_told_when_it_goes(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    lw_mutation mutation = bench_put("k", "new", LW_SEEN_ANYTHING);
    bench_prewrite(on, 2, two, "k", 5000, &mutation, 1);
    asked *reader = send_lock(on, 1, one, "k", 2000);
    bench_pass_ms(on, 300);
    expect(on, !reader->done, "it waits at the shard");
    uint64_t began_ns = lw_world_now(on->world);
    bench_finish(on, two, bench_timestamp(on), "k");
    expect(on, bench_await(reader)->status == LW_OK, "it has the key");
    expect(on, lw_world_now(on->world) - began_ns < 100 * BENCH_MS, "as soon as it can");
    release(on, one);
}

static const char *listed(bench *on) {
    lw_buffer text = lw_buffer_in(on->memory);
    lw_locks_reply page = {.more = true};
    for (lw_bytes lower = {0}; page.more; lower = page.next) {
        on->route = lower;
        asked *it = bench_ask(on, LW_MESSAGE_LOCKS, 1);
        on->route = lw_view(NULL, 0);
        lw_locks_request_encode(&(lw_locks_request){.lower = lower, .row_limit = 2}, &it->body);
        bench_await(bench_send(it));
        page = (lw_locks_reply){0};
        if (it->status != LW_OK ||
            lw_locks_reply_decode(lw_buffer_view(&it->reply), &on->arena, &page) != LW_OK) {
            return "?";
        }
        for (uint32_t index = 0; index < page.row_count; index++) {
            lw_buffer_append(&text, page.rows[index].key);
        }
    }
    lw_buffer_append_u8(&text, 0);
    return (const char *)text.data;
}

static void locks_of_all_shards_are_listed_and_killed(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    static const char *const keys[] = {"a", "b", "c", "g", "h", "x", "y", "z"};
    split_at(on, "m");
    split_at(on, "f");
    for (size_t index = 0; index < 8; index++) {
        if (index % 2 == 0) {
            lock(on, 2, one, keys[index]);
            continue;
        }
        lw_mutation mutation = bench_put(keys[index], "1", LW_SEEN_ANYTHING);
        on->route = lw_text(keys[index]);
        asked *it = bench_prewrite(on, 2, one, "b", 60000, &mutation, 1);
        on->route = lw_view(NULL, 0);
        expect(on, it->status == LW_OK, "a key is prewritten");
    }
    lock(on, 3, two, "d");
    expect_text(on, listed(on), "abcdghxyz", "all of them, in order");
    asked *it = bench_ask(on, LW_MESSAGE_KILL, 1);
    lw_kill_request_encode(&(lw_kill_request){.start = one}, &it->body);
    lw_kill_reply reply = {0};
    bench_await(bench_send(it));
    expect(on,
           it->status == LW_OK &&
               lw_kill_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) == LW_OK &&
               reply.fate == LW_FATE_ABORTED,
           "it is killed");
    bench_pass_ms(on, 200);
    expect_text(on, listed(on), "d", "on every shard");
    release(on, two);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(first_come_first_served, NULL),
        BENCH_STORY(who_loses_patience_leaves_the_queue, NULL),
        BENCH_STORY(a_deadlock_over_shards_is_found, NULL),
        BENCH_STORY(a_deadlock_over_an_intent_is_found, "replica.intents_not_watched"),
        BENCH_STORY(who_meets_an_intent_is_told_when_it_goes, "replica.intents_not_watched"),
        BENCH_STORY(locks_of_all_shards_are_listed_and_killed, NULL),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
