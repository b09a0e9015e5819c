/* SPDX-License-Identifier: Apache-2.0 */
/* LOCKS and KILL on the shards of a node: what is listed, what is ended, and races with commits. */
#include "tests/shard_bench.h"

enum { KILLER = 1 }; /* the bench's one session with a label */

static asked *send_lock(bench *on, uint64_t session, uint64_t start, const char *key) {
    asked *it = bench_ask(on, LW_MESSAGE_LOCK, session);
    lw_bytes keys[] = {lw_text(key)};
    lw_lock_request request = {.start = start, .keys = keys, .key_count = 1, .wait_ms = 1500};
    lw_lock_request_encode(&request, &it->body);
    return bench_send(it);
}

static void lock(bench *on, uint64_t session, uint64_t start, const char *key) {
    expect(on, bench_await(send_lock(on, session, start, key))->status == LW_OK, "a key is locked");
}

static asked *send_kill(bench *on, uint64_t start) {
    asked *it = bench_ask(on, LW_MESSAGE_KILL, KILLER);
    lw_kill_request_encode(&(lw_kill_request){.start = start}, &it->body);
    return bench_send(it);
}

static lw_kill_reply killed(asked *it) {
    lw_kill_reply reply = {0};
    bench_await(it);
    expect(it->on,
           it->status == LW_OK &&
               lw_kill_reply_decode(lw_buffer_view(&it->reply), &it->on->arena, &reply) == LW_OK,
           "a kill is answered");
    return reply;
}

static void expect_killed(asked *it, const char *what) {
    expect(it->on, it->status == LW_CONFLICT && it->obstacle.kind == LW_OBSTACLE_KILLED, what);
    expect(it->on, lw_equal(it->obstacle.label, lw_text("importer")), "and it is told by whom");
}

static asked *put(bench *on, uint64_t start, const char *key, const char *value) {
    lw_mutation mutation = bench_put(key, value, LW_SEEN_ANYTHING);
    return bench_commit_now(on, start, &mutation, 1);
}

static asked *prewrite(bench *on, uint64_t start, const char *primary, const char *key) {
    lw_mutation mutation = bench_put(key, "new", LW_SEEN_ANYTHING);
    return bench_prewrite(on, 2, start, primary, 60000, &mutation, 1);
}

/* ---- LOCKS ---------------------------------------------------------------------------------- */

/* Its place among the transactions of a story, from 1; 0: none of them. */
static int place_of(const uint64_t *starts, uint64_t start) {
    for (int place = 1; starts != NULL && starts[place - 1] != 0; place++) {
        if (starts[place - 1] == start) {
            return place;
        }
    }
    return 0;
}

/* All pages of so many rows as text, "key:kind:place<who waits<who waits". */
static const char *list(bench *on, uint32_t row_limit, const uint64_t *starts) {
    lw_buffer text = lw_buffer_in(on->memory);
    lw_locks_reply page = {.more = true};
    for (lw_bytes lower = {0}; page.more; lower = page.next) {
        asked *it = bench_ask(on, LW_MESSAGE_LOCKS, KILLER);
        lw_locks_request_encode(&(lw_locks_request){.lower = lower, .row_limit = row_limit},
                                &it->body);
        bench_await(bench_send(it));
        page = (lw_locks_reply){0};
        if (it->status != LW_OK ||
            lw_locks_reply_decode(lw_buffer_view(&it->reply), &on->arena, &page) != LW_OK) {
            return "?";
        }
        expect(on, page.row_count <= row_limit + 1, "a page keeps to its limit");
        for (uint32_t index = 0; index < page.row_count; index++) {
            const lw_lock_row *row = &page.rows[index];
            lw_buffer_print(&text, "%s%.*s:%c:%d", text.size == 0 ? "" : " ", (int)row->key.size,
                            (const char *)row->key.data, "-MPA"[row->kind],
                            place_of(starts, row->start));
            for (uint32_t wait = 0; wait < row->wait_count; wait++) {
                lw_buffer_print(&text, "<%d", place_of(starts, row->waits[wait].start));
            }
            if (row->waiting > row->wait_count) {
                lw_buffer_print(&text, "<%u more", row->waiting - row->wait_count);
            }
        }
    }
    lw_buffer_append_u8(&text, 0);
    return (const char *)text.data;
}

static void locks_are_listed_in_the_order_of_keys(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on), three = bench_timestamp(on);
    expect_text(on, list(on, 10, NULL), "", "at first");
    expect(on, prewrite(on, two, "a", "a")->status == LW_OK, "two has a");
    lock(on, 1, one, "b");
    (void)send_lock(on, 2, two, "b");
    (void)send_lock(on, 3, three, "b");
    expect(on, prewrite(on, two, "a", "c")->status == LW_OK, "and c");
    lock(on, 1, one, "d");
    expect(on, prewrite(on, one, "d", "d")->status == LW_OK, "one prewrites what it has locked");
    asked *waiting = send_lock(on, 3, three, "d");
    uint64_t starts[] = {one, two, three, bench_timestamp(on), 0};
    lock(on, 4, starts[3], "e");
    lw_mutation mutation = bench_put("c", "3", LW_SEEN_ANYTHING);
    lw_commit_now_request commit = {
        .start = starts[3], .mutations = &mutation, .mutation_count = 1};
    (void)bench_send_commit_now(on, &commit);
    bench_pass_ms(on, 1);
    for (uint32_t row_limit = 1; row_limit <= 6; row_limit++) {
        expect_text(on, list(on, row_limit, starts), "a:P:2 b:M:1<2<3 c:P:2<4 d:P:1<3 e:M:4",
                    "in pages");
    }
    (void)bench_await(waiting);
}

static void a_lock_tells_how_long_it_is_held(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    lock(on, KILLER, one, "k");
    bench_pass_ms(on, 300);
    (void)send_lock(on, 2, two, "k");
    bench_pass_ms(on, 200);
    lw_mutation mutation = bench_put("l", "1", LW_SEEN_ANYTHING);
    (void)bench_prewrite(on, KILLER, two, "l", 5000, &mutation, 1);
    bench_pass_ms(on, 1000);
    asked *it = bench_ask(on, LW_MESSAGE_LOCKS, KILLER);
    lw_locks_request_encode(&(lw_locks_request){.row_limit = 10}, &it->body);
    bench_await(bench_send(it));
    lw_locks_reply page = {0};
    expect(on, lw_locks_reply_decode(lw_buffer_view(&it->reply), &on->arena, &page) == LW_OK,
           "a page");
    expect(on, page.row_count == 2 && !page.more, "two locks");
    if (page.row_count == 2) {
        const lw_lock_row *held = &page.rows[0], *written = &page.rows[1];
        expect(on, held->held_ms >= 1500 && held->held_ms < 1600, "since it has the key");
        expect(on, lw_equal(held->label, lw_text("importer")), "whose it is");
        expect(on, held->remaining_ms == 0, "in memory it does not expire");
        expect(on,
               held->wait_count == 1 && held->waits[0].waited_ms >= 1200 &&
                   held->waits[0].waited_ms < 1300,
               "since it waits");
        expect(on, written->held_ms >= 1500 && written->held_ms < 1600, "since it began");
        expect(on, written->remaining_ms >= 3900 && written->remaining_ms <= 4000,
               "until it expires");
    }
}

static void of_a_long_queue_the_first_are_told(bench *on) {
    uint64_t starts[] = {bench_timestamp(on), bench_timestamp(on), bench_timestamp(on), 0};
    lock(on, 1, starts[0], "k");
    for (uint64_t index = 1; index <= 100; index++) {
        uint64_t start = index < 3 ? starts[index] : bench_timestamp(on);
        (void)send_lock(on, 1 + index, start, "k");
    }
    bench_pass_ms(on, 1);
    const char *listed = list(on, 10, starts);
    expect(on, strncmp(listed, "k:M:1<2<3", 9) == 0, "the first in the queue first");
    expect(on, strstr(listed, "<84 more") != NULL, "how many more there are");
}

/* ---- KILL ----------------------------------------------------------------------------------- */

static void a_killed_transaction_lets_go_of_its_locks(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    lock(on, 2, one, "k");
    asked *waiting = send_lock(on, 3, two, "k");
    bench_pass_ms(on, 10);
    expect(on, killed(send_kill(on, one)).fate == LW_FATE_ABORTED, "it is killed");
    expect(on, bench_await(waiting)->status == LW_OK, "who waited has the key");
    expect_killed(bench_await(send_lock(on, 2, one, "l")), "it locks no more");
    expect_killed(put(on, one, "l", "1"), "nor commits in one round");
    expect_killed(prewrite(on, one, "l", "l"), "nor in two");
    asked *get = bench_ask(on, LW_MESSAGE_GET, 2);
    lw_bytes keys[] = {lw_text("l")};
    lw_get_request request = {.read_timestamp = two, .start = one, .keys = keys, .key_count = 1};
    lw_get_request_encode(&request, &get->body);
    expect_killed(bench_await(bench_send(get)), "nor reads");
    expect_text(on, bench_read(on, 0, "l"), "-", "nothing of it is there");
    expect(on, killed(send_kill(on, one)).fate == LW_FATE_ABORTED, "as often as one likes");
    expect_killed(put(on, one, "l", "1"), "and it is not forgotten");
    expect(on, killed(send_kill(on, two)).fate == LW_FATE_ABORTED, "the other too");
    expect_text(on, list(on, 10, NULL), "", "no lock is left");
}

static void who_waits_hears_of_the_kill_at_once(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on), three = bench_timestamp(on);
    lock(on, 2, one, "k");
    asked *waiting = send_lock(on, 3, two, "k");
    lw_mutation mutation = bench_put("k", "3", LW_SEEN_ANYTHING);
    lw_commit_now_request commit = {.start = three, .mutations = &mutation, .mutation_count = 1};
    asked *committing = bench_send_commit_now(on, &commit);
    bench_pass_ms(on, 10);
    expect(on, killed(send_kill(on, two)).fate == LW_FATE_ABORTED, "the waiter is killed");
    expect(on, killed(send_kill(on, three)).fate == LW_FATE_ABORTED, "the commit too");
    expect_killed(bench_await(waiting), "a waiter is told");
    expect_killed(bench_await(committing), "a commit that waits is told");
    uint64_t committed = bench_committed(put(on, one, "k", "1"));
    expect(on, committed != 0, "the owner goes on");
    expect_text(on, bench_read(on, 0, "k"), "1", "and is alone");
}

static void what_was_prewritten_is_rolled_back(bench *on) {
    uint64_t one = bench_timestamp(on);
    expect(on, prewrite(on, one, "a", "a")->status == LW_OK, "a is prewritten");
    expect(on, prewrite(on, one, "a", "b")->status == LW_OK, "b is");
    expect(on, killed(send_kill(on, one)).fate == LW_FATE_ABORTED, "it is killed");
    expect_killed(bench_finish(on, one, bench_timestamp(on), "a"), "it cannot commit");
    expect_killed(prewrite(on, one, "a", "c"), "nor write more");
    bench_pass_ms(on, 100);
    expect_text(on, list(on, 10, NULL), "", "its locks are swept");
    expect_text(on, bench_read(on, 0, "b"), "-", "nothing of it is there");
}

static void a_committed_transaction_is_not_killed(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    uint64_t committed = bench_committed(put(on, one, "k", "1"));
    lw_kill_reply reply = killed(send_kill(on, one));
    expect(on, reply.fate == LW_FATE_COMMITTED && reply.commit_timestamp == committed,
           "one round: says when");
    expect(on, bench_committed(put(on, one, "k", "1")) == committed, "its owner is told so too");
    (void)prewrite(on, two, "a", "a");
    (void)prewrite(on, two, "a", "b");
    uint64_t at = bench_timestamp(on);
    expect(on, bench_committed(bench_finish(on, two, at, "a")) == at, "the primary is committed");
    reply = killed(send_kill(on, two));
    expect(on, reply.fate == LW_FATE_COMMITTED && reply.commit_timestamp == at,
           "two phases: says when");
    expect(on, bench_committed(bench_finish(on, two, at, "b")) == at, "the rest is committed");
    expect_text(on, bench_read(on, 0, "b"), "new", "and is there");
}

/* A copy of the request that was long on its way comes behind the commit. */
static void a_late_copy_does_not_hide_a_commit(bench *on) {
    uint64_t one = bench_timestamp(on);
    expect(on, prewrite(on, one, "k", "k")->status == LW_OK, "it is prewritten");
    uint64_t at = bench_timestamp(on);
    expect(on, bench_committed(bench_finish(on, one, at, "k")) == at, "and committed");
    expect(on, prewrite(on, one, "k", "k")->status == LW_OK, "a copy changes nothing");
    lw_kill_reply reply = killed(send_kill(on, one));
    expect(on, reply.fate == LW_FATE_COMMITTED && reply.commit_timestamp == at,
           "it is too late for a kill");
}

/* A copy of the request waits for a lock of another one, on a node that remembers nothing of the
 * commit: it looks before it is told that it was killed, and so the kill knows. */
static void a_copy_that_waits_tells_of_the_commit(bench *on) {
    uint64_t one = bench_timestamp(on), two = bench_timestamp(on);
    uint64_t committed = bench_committed(put(on, one, "k", "1"));
    bench_crash(on);
    lock(on, 3, two, "k");
    lw_mutation mutation = bench_put("k", "1", LW_SEEN_ANYTHING);
    lw_commit_now_request request = {.start = one, .mutations = &mutation, .mutation_count = 1};
    asked *copy = bench_send_commit_now(on, &request);
    bench_pass_ms(on, 100);
    lw_kill_reply reply = killed(send_kill(on, one));
    expect(on, reply.fate == LW_FATE_COMMITTED && reply.commit_timestamp == committed,
           "it has committed, before the node was started");
    expect(on, bench_committed(bench_await(copy)) == committed, "and its owner is told so");
}

static void an_unknown_transaction_is_left_alone(bench *on) {
    uint64_t one = bench_timestamp(on);
    expect(on, killed(send_kill(on, one)).fate == LW_FATE_UNKNOWN, "it has nothing here");
    expect(on, bench_committed(put(on, one, "k", "1")) != 0, "and may commit all the same");
    asked *it = bench_await(send_kill(on, bench_timestamp(on) + (UINT64_C(1) << 40)));
    expect(on, it->status == LW_INVALID_ARGUMENT, "one that never began is refused");
}

/* ---- races ---------------------------------------------------------------------------------- */

typedef struct race {
    uint64_t delay_ns;
    uint32_t killed_count, committed_count;
} race;
static race racing;

/* A commit in one round, behind another on its key, and a kill some time later: both are told the
 * same. */
static void a_commit_in_one_round_story(bench *on) {
    lw_host_slow_disk(on->host, 4);
    uint64_t one = bench_timestamp(on);
    lw_mutation first = bench_put("k", "-", LW_SEEN_ANYTHING);
    lw_commit_now_request before = {
        .start = bench_timestamp(on), .mutations = &first, .mutation_count = 1};
    (void)bench_send_commit_now(on, &before);
    lw_mutation mutation = bench_put("k", "1", LW_SEEN_ANYTHING);
    lw_commit_now_request request = {.start = one, .mutations = &mutation, .mutation_count = 1};
    asked *commit = bench_send_commit_now(on, &request);
    (void)lw_world_run(on->world, lw_world_now(on->world) + racing.delay_ns);
    lw_kill_reply reply = killed(send_kill(on, one));
    bench_await(commit);
    uint64_t committed = bench_committed(commit);
    if (committed != 0) {
        racing.committed_count++;
        expect(on, reply.fate == LW_FATE_COMMITTED && reply.commit_timestamp == committed,
               "a commit that was told is not killed");
    } else {
        racing.killed_count++;
        expect_killed(commit, "else it was killed");
        expect(on, reply.fate == LW_FATE_ABORTED, "as the killer is told");
    }
    expect_text(on, bench_read(on, 0, "k"), committed != 0 ? "1" : "-", "and that holds");
}

static asked *send_prewrite(bench *on, uint64_t start) {
    lw_mutation mutation = bench_put("k", "1", LW_SEEN_ANYTHING);
    asked *it = bench_ask(on, LW_MESSAGE_PREWRITE, 2);
    lw_prewrite_request request = {.start = start,
                                   .primary = lw_text("k"),
                                   .lifetime_ms = 60000,
                                   .mutations = &mutation,
                                   .mutation_count = 1};
    lw_prewrite_request_encode(&request, &it->body);
    return bench_send(it);
}

/* Prewrite, and as soon as that is answered commit; the kill comes at some time. */
static void a_commit_in_two_phases_story(bench *on) {
    lw_host_slow_disk(on->host, 4);
    uint64_t one = bench_timestamp(on);
    asked *written = send_prewrite(on, one);
    uint64_t kill_ns = lw_world_now(on->world) + racing.delay_ns;
    while (!written->done && lw_world_now(on->world) < kill_ns && lw_world_step(on->world)) {
    }
    uint64_t at = bench_timestamp(on);
    asked *commit = bench_ask(on, LW_MESSAGE_COMMIT, 2);
    lw_bytes keys[] = {lw_text("k")};
    lw_finish_request finish = {.start = one, .commit_timestamp = at, .keys = keys, .key_count = 1};
    lw_finish_request_encode(&finish, &commit->body);
    if (written->done) {
        bench_send(commit);
        (void)lw_world_run(on->world, kill_ns);
    }
    lw_kill_reply reply = killed(send_kill(on, one));
    bench_await(written);
    expect(on, written->status == LW_OK || written->obstacle.kind == LW_OBSTACLE_KILLED,
           "a prewrite goes through, or is refused");
    if (commit->request.body.size == 0) { /* it was not sent yet */
        bench_send(commit);
    }
    bench_await(commit);
    bool committed = bench_committed(commit) != 0;
    expect(on, reply.fate == (committed ? LW_FATE_COMMITTED : LW_FATE_ABORTED),
           "the killer is told what holds");
    expect_text(on, bench_read(on, 0, "k"), committed ? "1" : "-", "and that holds");
    *(committed ? &racing.committed_count : &racing.killed_count) += 1;
}

static asked *send_async(bench *on, uint64_t start, uint64_t at, const char *key) {
    static const lw_bytes secondary = {(const uint8_t *)"z", 1};
    lw_mutation mutation = bench_put(key, "1", LW_SEEN_ANYTHING);
    bool primary = strcmp(key, "a") == 0;
    lw_prewrite_request request = {.start = start,
                                   .primary = lw_text("a"),
                                   .lifetime_ms = 60000,
                                   .mutations = &mutation,
                                   .mutation_count = 1,
                                   .commit_timestamp = at,
                                   .secondaries = primary ? &secondary : NULL,
                                   .secondary_count = primary};
    on->route = lw_text(key);
    asked *it = bench_ask(on, LW_MESSAGE_PREWRITE, 2);
    on->route = lw_view(NULL, 0);
    lw_prewrite_request_encode(&request, &it->body);
    return bench_send(it);
}

static bool is_locked_for_it(asked *it) {
    lw_prewrite_reply reply = {0};
    bench_await(it);
    return it->status == LW_OK &&
           lw_prewrite_reply_decode(lw_buffer_view(&it->reply), &it->on->arena, &reply) == LW_OK &&
           reply.asynchronous;
}

static const char *read_at(bench *on, const char *key) {
    on->route = lw_text(key);
    const char *value = bench_read(on, 0, key);
    for (int round = 0; round < 100 && strcmp(value, "?") == 0; round++) {
        bench_pass_ms(on, 10); /* what is decided is ended in the background */
        value = bench_read(on, 0, key);
    }
    on->route = lw_view(NULL, 0);
    return value;
}

/* An async commit over two shards: committed when both are locked for it, and killed else. */
static void an_async_commit_story(bench *on) {
    asked *split = bench_ask(on, LW_MESSAGE_SPLIT, 7);
    lw_split_request_encode(&(lw_split_request){.key = lw_text("m")}, &split->body);
    expect(on, bench_await(bench_send(split))->status == LW_OK, "it is split");
    uint64_t other = bench_timestamp(on);
    on->route = lw_text("z");
    asked *locked = bench_await(send_lock(on, 3, other, "z"));
    on->route = lw_view(NULL, 0);
    expect(on, locked->status == LW_OK, "another has the second key for a while");
    lw_host_slow_disk(on->host, 4);
    uint64_t one = bench_timestamp(on), at = bench_timestamp(on);
    asked *first = send_async(on, one, at, "a");
    (void)lw_world_run(on->world, lw_world_now(on->world) + 1 * BENCH_MS);
    asked *second = send_async(on, one, at, "z");
    uint64_t begun_ns = lw_world_now(on->world);
    if (racing.delay_ns > 3 * BENCH_MS) {
        (void)lw_world_run(on->world, begun_ns + 3 * BENCH_MS);
        asked *let_go = bench_ask(on, LW_MESSAGE_ROLLBACK, 3);
        lw_finish_request_encode(&(lw_finish_request){.start = other}, &let_go->body);
        bench_send(let_go);
    }
    (void)lw_world_run(on->world, begun_ns + racing.delay_ns);
    lw_kill_reply reply = killed(send_kill(on, one));
    bool committed = is_locked_for_it(first) && is_locked_for_it(second);
    expect(on, reply.fate == (committed ? LW_FATE_COMMITTED : LW_FATE_ABORTED),
           "the killer is told what its owner is");
    expect(on, !committed || reply.commit_timestamp == at, "and when");
    expect_text(on, read_at(on, "a"), committed ? "1" : "-", "and that holds");
    expect_text(on, read_at(on, "z"), committed ? "1" : "-", "on both");
    *(committed ? &racing.committed_count : &racing.killed_count) += 1;
}

/* The second prewrite comes when the kill is through. */
static void half_of_an_async_commit_story(bench *on) {
    uint64_t one = bench_timestamp(on), at = bench_timestamp(on);
    expect(on, is_locked_for_it(send_async(on, one, at, "a")), "the first half");
    expect(on, killed(send_kill(on, one)).fate == LW_FATE_ABORTED, "is killed");
    expect_killed(bench_await(send_async(on, one, at, "z")), "and the second refused");
    expect_text(on, read_at(on, "a"), "-", "nothing of it is there");
}
static void half_of_an_async_commit_is_killed(void **state) {
    (void)state;
    bench_hold(half_of_an_async_commit_story, NULL);
}

static void race_at_every_moment(bench_story *story) {
    racing = (race){0};
    for (racing.delay_ns = 0; racing.delay_ns < 6 * BENCH_MS; racing.delay_ns += BENCH_MS / 40) {
        char failure[256];
        bench_tell(story, 1, NULL, failure);
        if (failure[0] != 0) {
            fail_msg("killed after %llu ns: %s", (unsigned long long)racing.delay_ns, failure);
        }
    }
    assert_true(racing.killed_count > 0);
    assert_true(racing.committed_count > 0);
}

static void a_kill_races_with_a_commit_in_one_round(void **state) {
    (void)state;
    race_at_every_moment(a_commit_in_one_round_story);
}

static void a_kill_races_with_a_commit_in_two_phases(void **state) {
    (void)state;
    race_at_every_moment(a_commit_in_two_phases_story);
}

static void a_kill_races_with_an_async_commit(void **state) {
    (void)state;
    race_at_every_moment(an_async_commit_story);
}

/* The kill finds only a lock in memory, while a prewrite is on its way to the disk. */
static void a_prewrite_on_its_way_is_waited_for(bench *on) {
    uint64_t one = bench_timestamp(on);
    lock(on, 2, one, "k");
    lw_host_slow_disk(on->host, 100);
    asked *written = send_prewrite(on, one);
    (void)lw_world_run(on->world, lw_world_now(on->world) + BENCH_MS / 10);
    expect(on, !written->done, "it is on its way");
    expect(on, killed(send_kill(on, one)).fate == LW_FATE_ABORTED, "it is killed");
    bench_await(written);
    uint64_t at = bench_timestamp(on);
    expect(on, bench_committed(bench_finish(on, one, at, "k")) == 0, "and cannot commit");
    expect_text(on, bench_read(on, 0, "k"), "-", "nothing of it is there");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(locks_are_listed_in_the_order_of_keys, NULL),
        BENCH_STORY(a_lock_tells_how_long_it_is_held, NULL),
        BENCH_STORY(of_a_long_queue_the_first_are_told, NULL),
        BENCH_STORY(a_killed_transaction_lets_go_of_its_locks, NULL),
        BENCH_STORY(who_waits_hears_of_the_kill_at_once, NULL),
        BENCH_STORY(what_was_prewritten_is_rolled_back, NULL),
        BENCH_STORY(a_committed_transaction_is_not_killed, NULL),
        BENCH_STORY(a_late_copy_does_not_hide_a_commit, "replica.copy_unlearns_commit"),
        BENCH_STORY(a_copy_that_waits_tells_of_the_commit, "replica.killed_unlooked"),
        BENCH_STORY(an_unknown_transaction_is_left_alone, NULL),
        cmocka_unit_test(a_kill_races_with_a_commit_in_one_round),
        cmocka_unit_test(a_kill_races_with_a_commit_in_two_phases),
        cmocka_unit_test(a_kill_races_with_an_async_commit),
        cmocka_unit_test(half_of_an_async_commit_is_killed),
        BENCH_STORY(a_prewrite_on_its_way_is_waited_for, "node.kill_waits_for_nothing"),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
