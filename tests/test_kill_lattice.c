/* SPDX-License-Identifier: Apache-2.0 */
/* LOCKS and KILL of transactions that have something on several nodes. */
#include "tests/shard_story.h"

static const lattice_shard two_shards[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "m", .nodes = {4}},
    {.id = 2, .start = "m", .end = "", .nodes = {1, 2, 3}},
};

static void make_two(lattice *in) {
    lattice_make(in, two_shards, 2);
    lattice_write(in, "a", "old");
    lattice_write(in, "z", "old");
}

static lw_status prewrite(lattice *in, uint64_t start, const char *primary, const char *key) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_mutation mutation = lattice_put(key, "new", LW_SEEN_ANYTHING);
    lw_prewrite_request request = {.start = start,
                                   .primary = lw_text(primary),
                                   .lifetime_ms = 60000,
                                   .mutations = &mutation,
                                   .mutation_count = 1};
    lw_prewrite_request_encode(&request, &body);
    return lattice_call(in, LW_MESSAGE_PREWRITE, key, &body)->status;
}

static lw_status lock(lattice *in, uint64_t start, const char *key) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_bytes keys[] = {lw_text(key)};
    lw_lock_request request = {.start = start, .keys = keys, .key_count = 1, .wait_ms = 1000};
    lw_lock_request_encode(&request, &body);
    return lattice_call(in, LW_MESSAGE_LOCK, key, &body)->status;
}

static lw_status finish(lattice *in, uint64_t start, uint64_t commit_timestamp, const char *key) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_bytes keys[] = {lw_text(key)};
    lw_finish_request request = {
        .start = start, .commit_timestamp = commit_timestamp, .keys = keys, .key_count = 1};
    lw_finish_request_encode(&request, &body);
    return lattice_call(in, LW_MESSAGE_COMMIT, key, &body)->status;
}

static lw_kill_reply kill_it(lattice *in, uint64_t start) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_kill_reply reply = {0};
    lw_kill_request_encode(&(lw_kill_request){.start = start}, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_KILL, "", &body);
    bool told = ask->done && ask->status == LW_OK &&
                lw_kill_reply_decode(lw_buffer_view(&ask->reply), &in->arena, &reply) == LW_OK;
    expect(in, told, "a kill is answered");
    return reply;
}

/* The locks that a list of all shards would tell. */
static uint32_t count_locks(lattice *in, const char *first, const char *second) {
    const char *const from[] = {first, second};
    uint32_t count = 0;
    for (size_t index = 0; index < 2; index++) {
        lw_buffer body = lw_buffer_in(in->memory);
        lw_locks_request request = {.lower = lw_text(from[index]), .row_limit = 100};
        lw_locks_request_encode(&request, &body);
        lattice_ask *ask = lattice_call(in, LW_MESSAGE_LOCKS, from[index], &body);
        lw_locks_reply reply = {0};
        expect(in,
               ask->status == LW_OK &&
                   lw_locks_reply_decode(lw_buffer_view(&ask->reply), &in->arena, &reply) == LW_OK,
               "locks are told by who leads the shard");
        expect(in, index == 1 || (reply.more && lw_equal(reply.next, lw_text("m"))),
               "and where to go on");
        count += reply.row_count;
    }
    return count;
}

static void what_is_prewritten_elsewhere_is_rolled_back(lattice *in) {
    make_two(in);
    uint64_t start = lattice_timestamp(in);
    expect(in, prewrite(in, start, "z", "z") == LW_OK, "the primary");
    expect(in, prewrite(in, start, "z", "a") == LW_OK, "a secondary on another node");
    expect(in, count_locks(in, "", "m") == 2, "both locks are told");
    expect(in, kill_it(in, start).fate == LW_FATE_ABORTED, "it is killed");
    lattice_pass_ms(in, 2000);
    expect(in, count_locks(in, "", "m") == 0, "nothing of it is left");
    expect_text(in, lattice_read(in, "z"), "old", "it did not happen");
    expect_text(in, lattice_read(in, "a"), "old", "nowhere");
    expect(in, prewrite(in, start, "z", "y") == LW_CONFLICT, "it writes nothing any more");
}

static void locks_in_memory_elsewhere_are_freed(lattice *in) {
    make_two(in);
    uint64_t start = lattice_timestamp(in), other = lattice_timestamp(in);
    expect(in, lock(in, start, "z") == LW_OK, "it is locked");
    expect(in, count_locks(in, "", "m") == 1, "and told");
    expect(in, kill_it(in, start).fate == LW_FATE_ABORTED, "it is killed");
    expect(in, lock(in, other, "z") == LW_OK, "the next one gets it");
    expect(in, prewrite(in, start, "z", "y") == LW_CONFLICT, "the owner is told");
    expect(in, kill_it(in, start).fate == LW_FATE_ABORTED, "who was killed stays so");
}

static void what_was_committed_elsewhere_stays(lattice *in) {
    make_two(in);
    uint64_t start = lattice_timestamp(in);
    expect(in, prewrite(in, start, "z", "z") == LW_OK, "the primary");
    expect(in, prewrite(in, start, "z", "a") == LW_OK, "a secondary");
    uint64_t commit_timestamp = lattice_timestamp(in);
    expect(in, finish(in, start, commit_timestamp, "z") == LW_OK, "it commits");
    lw_kill_reply told = kill_it(in, start);
    expect(in, told.fate == LW_FATE_COMMITTED, "a kill comes too late");
    expect(in, told.commit_timestamp == commit_timestamp, "and tells when");
    expect_text(in, lattice_read(in, "a"), "new", "it happened");
    uint64_t unknown = lattice_timestamp(in);
    expect(in, kill_it(in, unknown).fate == LW_FATE_UNKNOWN, "of another one nothing is known");
    expect(in, prewrite(in, unknown, "z", "z") == LW_OK, "and it may go on");
}

static const lattice_shard with_first[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "m", .nodes = {1}},
    {.id = 2, .start = "m", .end = "", .nodes = {1, 2, 3}},
};

static void transfer(lattice *in, const char *key, uint64_t to);

/* Who leads loses the others before they can tell it that they have the commit. It has a lock of
 * the transaction still, in another shard; whoever leads next knows of nothing. */
static void a_commit_in_doubt_is_not_killed(lattice *in) {
    lattice_make(in, with_first, 2);
    lattice_write(in, "z", "old");
    transfer(in, "z", 1);
    uint64_t start = lattice_timestamp(in);
    expect(in, lock(in, start, "a") == LW_OK, "it is locked");
    in->cut[2][1] = in->cut[3][1] = true;
    lw_buffer body = lw_buffer_in(in->memory);
    lw_mutation mutation = lattice_put("z", "new", LW_SEEN_ANYTHING);
    lattice_commit_body(start, &mutation, 1, &body);
    lattice_ask *ask = lattice_send_to(in, 1, LW_MESSAGE_COMMIT_NOW, lw_text("z"), &body);
    lattice_await(ask, 15000);
    expect(in, ask->done && ask->status == LW_UNAVAILABLE, "it is in doubt");
    in->cut[2][1] = in->cut[3][1] = false;
    lattice_links(in);
    lattice_pass_ms(in, 3000);
    expect_text(in, lattice_read(in, "z"), "new", "it has committed");
    expect(in, kill_it(in, start).fate == LW_FATE_UNKNOWN, "and nobody says that it was killed");
}

static const lattice_shard three_shards[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "g", .nodes = {4}},
    {.id = 2, .start = "g", .end = "p", .nodes = {1, 2}},
    {.id = 3, .start = "p", .end = "", .nodes = {3}},
};

static void transfer(lattice *in, const char *key, uint64_t to) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_transfer_request_encode(&(lw_transfer_request){.node = to}, &body);
    for (int attempt = 0; attempt < 100 && lattice_leader(in, lw_text(key)) != to; attempt++) {
        (void)lattice_call(in, LW_MESSAGE_TRANSFER, key, &body);
        lattice_pass_ms(in, 20);
    }
    expect(in, lattice_leader(in, lw_text(key)) == to, "another node leads");
}

/* The shard that it writes is marked, and comes to be led by a node that knows nothing of that,
 * while the last shard is still to be marked. */
static void who_comes_to_lead_between_is_asked_too(lattice *in) {
    lattice_make(in, three_shards, 3);
    lattice_write(in, "a", "old");
    lattice_write(in, "k", "old");
    lattice_write(in, "z", "old");
    transfer(in, "k", 1);
    uint64_t start = lattice_timestamp(in), committed = 0;
    expect(in, lock(in, start, "a") == LW_OK, "it is locked");
    lw_buffer body = lw_buffer_in(in->memory);
    lw_kill_request_encode(&(lw_kill_request){.start = start}, &body);
    in->slow_ms[4][3] = 2000;
    lattice_ask *ask = lattice_send_to(in, 4, LW_MESSAGE_KILL, lw_text(""), &body);
    lattice_pass_ms(in, 300);
    transfer(in, "k", 2);
    lw_mutation mutation = lattice_put("k", "new", LW_SEEN_ANYTHING);
    expect(in, lattice_commit(in, start, &mutation, 1, &committed) == LW_OK, "it commits there");
    in->slow_ms[4][3] = 0;
    lattice_await(ask, 20000);
    lw_kill_reply told = {0};
    expect(in,
           ask->done && ask->status == LW_OK &&
               lw_kill_reply_decode(lw_buffer_view(&ask->reply), &in->arena, &told) == LW_OK,
           "the kill is answered");
    expect(in, told.fate == LW_FATE_COMMITTED && told.commit_timestamp == committed,
           "who kills it is told that it has committed");
}

/* Somebody asks again while the first kill, of a transaction that has committed, still marks. */
static void a_kill_under_way_says_nothing_to_another(lattice *in) {
    lattice_make(in, three_shards, 3);
    lattice_write(in, "a", "old");
    lattice_write(in, "k", "old");
    lattice_write(in, "z", "old");
    transfer(in, "k", 1);
    uint64_t start = lattice_timestamp(in), committed = 0;
    lw_mutation mutation = lattice_put("k", "new", LW_SEEN_ANYTHING);
    expect(in, lattice_commit(in, start, &mutation, 1, &committed) == LW_OK, "it commits");
    transfer(in, "k", 2);
    lw_buffer body = lw_buffer_in(in->memory);
    lw_kill_request_encode(&(lw_kill_request){.start = start}, &body);
    in->slow_ms[4][3] = 2000;
    (void)lattice_send_to(in, 4, LW_MESSAGE_KILL, lw_text(""), &body);
    lattice_pass_ms(in, 300);
    in->slow_ms[4][3] = 0;
    expect(in, kill_it(in, start).fate != LW_FATE_ABORTED, "it was not killed");
    lattice_pass_ms(in, 5000);
    expect(in, kill_it(in, start).fate != LW_FATE_ABORTED, "by nobody");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LATTICE_STORY(what_is_prewritten_elsewhere_is_rolled_back, "node.kill_looks_at_nothing"),
        LATTICE_STORY(locks_in_memory_elsewhere_are_freed, NULL),
        LATTICE_STORY(what_was_committed_elsewhere_stays, NULL),
        LATTICE_STORY(a_commit_in_doubt_is_not_killed, "replica.doubt_not_noted"),
        LATTICE_STORY(who_comes_to_lead_between_is_asked_too, "node.kill_asks_once"),
        LATTICE_STORY(a_kill_under_way_says_nothing_to_another, "node.kill_believes_any_mark"),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
