/* SPDX-License-Identifier: Apache-2.0 */
/* Merging shards that are on several nodes: with nodes that fall at each step, leaders that change,
 * and replicas that come late. */
#include "tests/shard_operators.h"

static const lattice_shard one_shard[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "", .nodes = {1, 2, 3}}};

static uint64_t id_at(lattice *in, const char *key) {
    lw_shard_descriptor shard = {0};
    uint64_t leader = lattice_leader(in, lw_text(key));
    if (leader != 0) {
        lw_replica_descriptor(lattice_replica(in, leader, lw_text(key)), &shard);
    }
    return shard.id;
}

static void merge_body(uint64_t right, lw_buffer *body) {
    lw_merge_request_encode(&(lw_merge_request){.right = right}, body);
}

/* What holds one key and what holds another one become one, if they are not. */
static void merge_these(lattice *in, const char *left, const char *right) {
    lw_buffer body = lw_buffer_in(in->memory);
    merge_body(0, &body);
    for (int tries = 0; tries < 40 && id_at(in, left) != id_at(in, right); tries++) {
        (void)lattice_call(in, LW_MESSAGE_MERGE, left, &body);
        lattice_pass_ms(in, 200);
    }
    expect(in, id_at(in, left) != 0 && id_at(in, left) == id_at(in, right), "they are merged");
}

static void merge(lattice *in) {
    merge_these(in, "a", "z");
}

static void make_two(lattice *in) {
    lattice_make(in, one_shard, 1);
    lattice_write(in, "a", "1");
    lattice_write(in, "z", "2");
    expect(in, split(in, "m")->status == LW_OK, "it is split");
    lattice_write(in, "y", "3");
}

static void one_shard_on(lattice *in, uint64_t id) {
    expect(in, lw_shards_count(in->nodes[id].shards) == 1, "a node has one shard");
}

static void check_all(lattice *in) {
    lattice_pass_ms(in, 3000);
    for (uint64_t id = 1; id <= 3; id++) {
        one_shard_on(in, id);
    }
    lattice_same_everywhere(in);
}

static void a_merge_happens_on_all_nodes(lattice *in) {
    make_two(in);
    merge(in);
    lattice_write(in, "b", "4");
    lattice_write(in, "x", "5");
    check_all(in);
    for (uint64_t id = 1; id <= 3; id++) {
        lattice_crash(in, id);
        lattice_write(in, "a", "7");
        lattice_write(in, "z", "8");
        lattice_boot(in, id);
        one_shard_on(in, id);
    }
    expect_text(in, lattice_read(in, "y"), "3", "what was there");
    check_all(in);
    for (int round = 0; round < 3; round++) {
        expect(in, split(in, round == 1 ? "p" : "m")->status == LW_OK, "it is split again");
        lattice_write(in, "z", "9");
        merge(in);
    }
    expect_text(in, lattice_read(in, "z"), "9", "and merged");
    check_all(in);
}

/* A crash while the log still has entries of what became part of another: they hold nothing. */
static void the_log_lets_go_of_what_was_merged(lattice *in) {
    make_two(in);
    uint64_t right = id_at(in, "z"), first = 0, last = 0;
    merge(in);
    check_all(in);
    for (uint64_t id = 1; id <= 3; id++) {
        lattice_crash(in, id);
        lattice_boot(in, id);
        expect(in, lw_log_span(in->nodes[id].log, right, &first, &last), "the log has entries");
        expect(in, first > last, "and keeps none");
    }
}

static void both_come_to_be_led_by_one_node(lattice *in) {
    make_two(in);
    transfer(in, "z", next_of(lattice_leader(in, lw_text("a"))));
    merge(in);
    expect_text(in, lattice_read(in, "z"), "2", "it is read");
    check_all(in);
    expect(in, lw_world_marked(in->world, "replica.merge_leads_both") > 0, "one led both");
}

/* Who leads the left one, and nothing else, looks how long it has been idle, too. */
static void small_ones_of_two_leaders_become_one(lattice *in) {
    in->merge_after_ms = 3000;
    make_two(in);
    transfer(in, "z", next_of(lattice_leader(in, lw_text("a"))));
    lattice_pass_ms(in, 30000);
    expect(in, id_at(in, "a") == id_at(in, "z"), "they are merged by themselves");
    check_all(in);
}

static const lattice_shard apart[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "m", .nodes = {1, 2, 3}},
    {.id = 2, .start = "m", .end = "", .nodes = {1, 2, 4}},
};

static void shards_apart_are_not_merged(lattice *in) {
    lattice_make(in, apart, 2);
    lattice_write(in, "a", "1");
    lattice_write(in, "z", "2");
    lw_buffer body = lw_buffer_in(in->memory);
    merge_body(0, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_MERGE, "a", &body);
    expect(in, ask->done && ask->status == LW_INVALID_ARGUMENT, "it is refused");
    lattice_write(in, "z", "3");
    expect_text(in, lattice_read(in, "z"), "3", "both go on");
}

/* A replica that is away: nothing is frozen, or all is undone. */
static void who_is_away_holds_a_merge_up(lattice *in) {
    make_two(in);
    uint64_t leader = lattice_leader(in, lw_text("a")), away = next_of(leader);
    lw_buffer body = lw_buffer_in(in->memory);
    merge_body(0, &body);
    lattice_isolate(in, away, true);
    lattice_ask *ask =
        lattice_await(lattice_send_to(in, leader, LW_MESSAGE_MERGE, lw_text("a"), &body), 20000);
    expect(in, ask->done && ask->status != LW_OK, "it is not merged");
    lattice_write(in, "z", "4");
    lattice_write(in, "a", "5");
    expect(in, id_at(in, "a") != id_at(in, "z"), "there are two");
    lattice_isolate(in, away, false);
    lattice_pass_ms(in, 2000);
    merge(in);
    expect_text(in, lattice_read(in, "z"), "4", "then they are");
    check_all(in);
}

/* Until a mark was reached so often, for some seconds. */
static void await_mark(lattice *in, const char *mark, uint64_t count) {
    uint64_t until_ns = lw_world_now(in->world) + 8000 * LATTICE_MS;
    while (lw_world_marked(in->world, mark) < count && lw_world_now(in->world) < until_ns &&
           lw_world_step(in->world)) {
    }
}

/* ---- leaders that are lost, and nodes that fall ------------------------------------------------
 */

static uint32_t crash_step;
static uint32_t crash_kind;

static void steps(lattice *in, uint32_t count) {
    for (uint32_t step = 0; step < count; step++) {
        (void)lw_world_step(in->world);
    }
}

/* Reads and writes of both go on, whoever is there. */
static void a_fall_in_the_middle_story(lattice *in) {
    make_two(in);
    if (crash_kind % 2 == 1) {
        lattice_pass_ms(in, 3000);
    }
    merge(in); /* so that it is led alike */
    expect(in, split(in, "m")->status == LW_OK, "it is split");
    uint64_t leader = lattice_leader(in, lw_text("a"));
    uint64_t victim = crash_kind < 3 ? leader : next_of(leader);
    lw_buffer body = lw_buffer_in(in->memory);
    merge_body(0, &body);
    (void)lattice_send_to(in, leader, LW_MESSAGE_MERGE, lw_text("a"), &body);
    steps(in, crash_step);
    switch (crash_kind) {
    case 0:
    case 3:
        lattice_crash(in, victim);
        break;
    case 1:
    case 4:
        lattice_isolate(in, victim, true);
        break;
    default:
        for (uint64_t id = 1; id <= 3; id++) {
            lattice_crash(in, id);
        }
        for (uint64_t id = 1; id <= 3; id++) {
            lattice_boot(in, id);
        }
    }
    lattice_write(in, "b", "4");
    lattice_write(in, "x", "5");
    lattice_pass_ms(in, unit_random_below(&in->chance, 2500));
    if (crash_kind == 0 || crash_kind == 3) {
        lattice_boot(in, victim);
    } else {
        lattice_isolate(in, victim, false);
    }
    lattice_write(in, "c", "6");
    lattice_write(in, "w", "7");
    expect_text(in, lattice_read(in, "a"), "1", "below");
    expect_text(in, lattice_read(in, "z"), "2", "above");
    expect_text(in, lattice_read(in, "b"), "4", "below, meanwhile");
    expect_text(in, lattice_read(in, "x"), "5", "above, meanwhile");
    merge(in);
    expect_text(in, lattice_read(in, "w"), "7", "all is there");
    check_all(in);
}
static void a_fall_in_the_middle_loses_nothing(void **state) {
    (void)state;
    for (crash_kind = 0; crash_kind < 5; crash_kind++) {
        for (crash_step = 0; crash_step < 200; crash_step += 8) {
            char failure[256];
            lattice_tell(a_fall_in_the_middle_story, crash_step + crash_kind + 1, NULL, failure);
            if (failure[0] != 0) {
                fail_msg("kind %u, step %u: not as expected: %s", crash_kind, crash_step, failure);
            }
        }
    }
}

/* One replica does not hear that it is frozen. Without it nothing is merged: it could not follow.
 */
static void all_have_to_know_story(lattice *in) {
    make_two(in);
    merge(in);
    expect(in, split(in, "m")->status == LW_OK, "it is split, and led by one");
    lattice_pass_ms(in, 500);
    uint64_t leader = lattice_leader(in, lw_text("a")), away = next_of(leader);
    uint64_t frozen = lw_world_marked(in->world, "replica.frozen");
    lw_buffer body = lw_buffer_in(in->memory);
    merge_body(0, &body);
    (void)lattice_send_to(in, leader, LW_MESSAGE_MERGE, lw_text("a"), &body);
    await_mark(in, "replica.frozen", frozen + 1);
    lattice_isolate(in, away, true);
    lattice_pass_ms(in, 1000);
    lattice_write(in, "b", "4");
    lattice_pass_ms(in, 6000);
    lattice_isolate(in, away, false);
    lattice_write(in, "x", "5");
    lattice_pass_ms(in, 3000);
    expect(in, lw_world_marked(in->world, "shards.part_is_missing") == 0, "nobody lacks a part");
    merge(in);
    expect_text(in, lattice_read(in, "x"), "5", "all is there");
    check_all(in);
}
static void all_have_to_know(void **state) {
    (void)state;
    char failure[256] = "";
    for (uint64_t seed = 1; seed <= 4; seed++) {
        lattice_tell(all_have_to_know_story, seed, NULL, failure);
        if (failure[0] != 0) {
            fail_msg("seed %d: not as expected: %s", (int)seed, failure);
        }
    }
    for (uint64_t seed = 1; seed <= 60 && failure[0] == 0; seed++) {
        lattice_tell(all_have_to_know_story, seed, "merge.before_all_froze", failure);
    }
    assert_true(failure[0] != 0);
}

/* Another node comes to lead what is frozen while the merge goes on, and is not heard of by who
 * merges. It must ask before it serves again. */
static void who_leads_what_is_frozen_asks(lattice *in) {
    make_two(in);
    merge(in);
    expect(in, split(in, "m")->status == LW_OK, "it is split, and led by one");
    lattice_pass_ms(in, 500);
    uint64_t leader = lattice_leader(in, lw_text("a")), next = next_of(leader);
    uint64_t third = next_of(next), frozen = lw_world_marked(in->world, "replica.frozen");
    lw_buffer body = lw_buffer_in(in->memory);
    merge_body(0, &body);
    in->slow_ms[leader][third] = in->slow_ms[third][leader] = 100;
    (void)lattice_send_to(in, leader, LW_MESSAGE_MERGE, lw_text("a"), &body);
    await_mark(in, "replica.frozen", frozen + 3);
    lw_replica *right = lattice_replica(in, leader, lw_text("z"));
    expect(in, lw_replica_hand_over(right, next) == LW_OK, "another one is to lead");
    lattice_pass_ms(in, 30);
    in->cut[next][leader] = true;
    lattice_pass_ms(in, 1500);
    in->cut[next][leader] = false;
    in->slow_ms[leader][third] = in->slow_ms[third][leader] = 0;
    lattice_write(in, "x", "4");
    lattice_write(in, "b", "5");
    expect(in, lw_world_marked(in->world, "shards.part_is_missing") == 0, "nobody lacks a part");
    expect(in, lw_world_marked(in->world, "replica.thaws") > 0, "another one did lead");
    merge(in);
    expect_text(in, lattice_read(in, "x"), "4", "above");
    expect_text(in, lattice_read(in, "b"), "5", "below");
    check_all(in);
}

/* ---- replicas that come late -------------------------------------------------------------------
 */

/* What is flushed before a start the log has no more. */
static void flush_main(void *argument) {
    lattice_node *node = argument;
    lw_status status =
        lw_tree_flush(lw_replica_tree(lattice_replica(node->in, node->id, lw_text("a"))));
    expect(node->in, status == LW_OK, "it is flushed");
    node->done = true;
}

/* A follower that can hear of a merge only by a snapshot, and still has both. */
static uint64_t one_behind_a_merge(lattice *in) {
    make_two(in);
    merge(in);
    expect(in, split(in, "m")->status == LW_OK, "it is split, and led by one");
    uint64_t leader = lattice_leader(in, lw_text("a")), away = next_of(leader);
    uint64_t before = lw_world_marked(in->world, "replica.merged");
    lw_buffer body = lw_buffer_in(in->memory);
    merge_body(0, &body);
    (void)lattice_send_to(in, leader, LW_MESSAGE_MERGE, lw_text("a"), &body);
    in->slow_ms[leader][away] = 300;
    await_mark(in, "replica.merged", before + 1);
    lattice_isolate(in, away, true);
    in->slow_ms[leader][away] = 0;
    merge(in);
    expect(in, lw_shards_count(in->nodes[away].shards) == 2, "it has not heard of it");
    lattice_write(in, "k", "3");
    for (uint64_t id = 1; id <= 3; id++) {
        if (id != away) {
            lattice_run(&in->nodes[id], flush_main);
            lattice_shut(in, id);
            lattice_boot(in, id);
        }
    }
    lattice_write(in, "a", "4");
    lattice_pass_ms(in, 1000);
    return away;
}

static void a_snapshot_from_behind_a_merge(lattice *in) {
    uint64_t away = one_behind_a_merge(in);
    lattice_isolate(in, away, false);
    lattice_pass_ms(in, 8000);
    check_all(in);
    expect_text(in, lattice_read(in, "z"), "2", "it is there");
    expect(in, lw_world_marked(in->world, "shards.snapshot_covers_merged") > 0, "by a snapshot");
    lattice_crash(in, away);
    lattice_boot(in, away);
    check_all(in);
}

/* It is taken out while it installs that: what was to go with the snapshot goes with the shard. */
static void who_is_removed_amid_such_a_snapshot_comes_again(lattice *in) {
    uint64_t away = one_behind_a_merge(in);
    lw_host *host = in->nodes[away].host;
    lattice_isolate(in, away, false);
    await_mark(in, "shards.snapshot_covers_merged", 1);
    lw_host_slow_disk(host, 1000);
    expect(in,
           change(in, "a", &(lw_change_replicas_request){.leaves = away, .fewer = true}) == LW_OK,
           "it is out");
    lattice_pass_ms(in, 3000);
    lw_host_slow_disk(host, 1);
    lattice_pass_ms(in, 12000);
    expect(in, lw_shards_count(in->nodes[away].shards) == 0, "it has nothing any more");
    expect(in, change(in, "a", &(lw_change_replicas_request){.learner = away}) == LW_OK,
           "it learns");
    lattice_pass_ms(in, 5000);
    one_shard_on(in, away);
    lattice_crash(in, away);
    lattice_boot(in, away);
    one_shard_on(in, away);
}

/* Whether a node has an entry of a shard that it has not applied. */
static bool has_more(lattice *in, uint64_t id, const lw_replica *replica) {
    lw_replica_figures figures;
    lw_shard_descriptor shard;
    uint64_t first = 0, last = 0;
    lw_replica_figures_get(replica, &figures);
    lw_replica_descriptor(replica, &shard);
    return lw_log_span(in->nodes[id].log, shard.id, &first, &last) && last > figures.applied_index;
}

/* A follower has the entry of the merge, and does not hear that it is committed before a snapshot
 * comes that says so. It goes on by itself then, and has the right one for that. */
static void a_snapshot_of_what_the_log_has(lattice *in) {
    make_two(in);
    merge(in);
    expect(in, split(in, "m")->status == LW_OK, "it is split, and led by one");
    lattice_pass_ms(in, 500);
    uint64_t leader = lattice_leader(in, lw_text("a")), away = next_of(leader);
    uint64_t frozen = lw_world_marked(in->world, "replica.frozen");
    uint64_t until_ns = lw_world_now(in->world) + 8000 * LATTICE_MS;
    lw_buffer body = lw_buffer_in(in->memory);
    merge_body(0, &body);
    (void)lattice_send_to(in, leader, LW_MESSAGE_MERGE, lw_text("a"), &body);
    await_mark(in, "replica.frozen", frozen + 3);
    const lw_replica *left = lattice_replica(in, away, lw_text("a"));
    while (!has_more(in, away, left) && lw_world_now(in->world) < until_ns &&
           lw_world_step(in->world)) {
    }
    for (uint64_t id = 1; id <= 3; id++) {
        in->mute[id][away] = in->mute[away][id] = true;
    }
    lattice_pass_ms(in, 500);
    expect(in, lw_shards_count(in->nodes[leader].shards) == 1, "it is merged");
    expect(in, lw_shards_count(in->nodes[away].shards) == 2 && has_more(in, away, left),
           "one does not know that it is");
    for (int tries = 0; tries < 5 && lw_shards_count(in->nodes[away].shards) == 2; tries++) {
        lw_replica_send_anew(lattice_replica(in, leader, lw_text("a")), away);
        lattice_pass_ms(in, 500);
    }
    expect(in, lw_world_marked(in->world, "shards.part_is_missing") == 0, "nobody lacks a part");
    for (uint64_t id = 1; id <= 3; id++) {
        in->mute[id][away] = in->mute[away][id] = false;
    }
    lattice_write(in, "x", "4");
    check_all(in);
    expect_text(in, lattice_read(in, "z"), "2", "it is there");
    expect(in, lw_world_marked(in->world, "shards.part_is_missing") == 0, "nobody lacked a part");
}

/* A follower has the right one, frozen, and has not heard of the split that made the left one,
 * which is merged elsewhere meanwhile. When it hears, the left one's log has the merge, and needs
 * what was frozen. */
static void what_the_left_one_comes_off_is_late(lattice *in) {
    make_two(in);
    uint64_t away = next_of(lattice_leader(in, lw_text("a")));
    in->deaf[away] = LW_ROOT_SHARD;
    expect(in, split(in, "g")->status == LW_OK, "the left one is split");
    lattice_write(in, "h", "4");
    merge_these(in, "h", "z");
    lattice_pass_ms(in, 12000);
    expect(in, lw_shards_count(in->nodes[away].shards) == 2, "one does not know of either");
    in->deaf[away] = 0;
    lattice_pass_ms(in, 3000);
    expect(in, lw_shards_count(in->nodes[away].shards) == 2, "it has two again");
    expect(in, lattice_replica(in, away, lw_text("h")) == lattice_replica(in, away, lw_text("z")),
           "which are the right ones");
    expect(in, lw_world_marked(in->world, "shards.part_is_missing") == 0, "nobody lacked a part");
    lattice_same_everywhere(in);
}

/* What the left one comes off is just being taken in, for long: so a follower that does not know of
 * that split either has its keys in what is neither here nor gone. */
static void what_the_left_one_comes_off_is_taken_in(lattice *in) {
    make_two(in);
    expect(in, split(in, "t")->status == LW_OK, "it is split again");
    uint64_t away = next_of(lattice_leader(in, lw_text("a")));
    in->deaf[away] = LW_ROOT_SHARD;
    merge_these(in, "a", "n");
    uint64_t absorbs = lw_world_marked(in->world, "shards.absorbs");
    lw_disk_set_capacity(lw_host_disk(in->nodes[away].host), 1);
    in->deaf[away] = 0;
    await_mark(in, "shards.absorbs", absorbs + 1);
    expect(in, split(in, "p")->status == LW_OK, "the left one is split off what they are");
    merge_these(in, "q", "z");
    lattice_pass_ms(in, 12000);
    expect(in, lw_shards_count(in->nodes[away].shards) == 2, "one does not know of either");
    lw_disk_set_capacity(lw_host_disk(in->nodes[away].host), UINT64_MAX);
    lattice_pass_ms(in, 3000);
    expect(in, lattice_replica(in, away, lw_text("q")) == lattice_replica(in, away, lw_text("z")),
           "it has what they became");
    expect(in, lw_world_marked(in->world, "shards.part_is_missing") == 0, "nobody lacked a part");
    expect(in, lw_world_marked(in->world, "shards.merge_meets_full_disk") > 0, "it took long");
    lattice_same_everywhere(in);
}

/* A follower falls between the tombstone of the right one and the edit that merges the trees, and
 * does not know, when it comes back, that this is committed. Meanwhile it is split again, and the
 * left one comes by a snapshot that holds none of those keys. */
static uint64_t gone_aside;
static void what_was_set_aside_goes_story(lattice *in) {
    make_two(in);
    merge(in);
    expect(in, split(in, "m")->status == LW_OK, "it is split, and led by one");
    lattice_pass_ms(in, 500);
    uint64_t leader = lattice_leader(in, lw_text("a")), away = next_of(leader);
    lw_buffer body = lw_buffer_in(in->memory);
    merge_body(0, &body);
    (void)lattice_send_to(in, leader, LW_MESSAGE_MERGE, lw_text("a"), &body);
    uint64_t until_ns = lw_world_now(in->world) + 8000 * LATTICE_MS;
    while (lw_shards_count(in->nodes[away].shards) == 2 && lw_world_now(in->world) < until_ns &&
           lw_world_step(in->world)) {
    }
    steps(in, crash_step);
    lattice_crash(in, away);
    merge(in);
    expect(in, split(in, "m")->status == LW_OK, "it is split again");
    lattice_write(in, "z", "4");
    for (uint64_t id = 1; id <= 3; id++) {
        if (id != away) {
            lattice_run(&in->nodes[id], flush_main);
            lattice_shut(in, id);
            lattice_boot(in, id);
        }
    }
    lattice_write(in, "a", "5");
    lattice_boot(in, away);
    lattice_pass_ms(in, 15000);
    expect(in, lw_shards_count(in->nodes[away].shards) == 2, "it has both");
    lattice_same_everywhere(in);
    expect_text(in, lattice_read(in, "z"), "4", "above");
    expect_text(in, lattice_read(in, "a"), "5", "below");
    gone_aside += lw_world_marked(in->world, "shards.merged_elsewhere");
}
static void what_was_set_aside_goes(void **state) {
    (void)state;
    char failure[256] = "", found[256] = "";
    for (crash_step = 0; crash_step < 40; crash_step += 2) {
        lattice_tell(what_was_set_aside_goes_story, 1, NULL, failure);
        if (failure[0] != 0) {
            fail_msg("step %u: not as expected: %s", crash_step, failure);
        }
        if (found[0] == 0) {
            lattice_tell(what_was_set_aside_goes_story, 1, "shards.set_aside_for_ever", found);
        }
    }
    assert_true(found[0] != 0);
    assert_true(gone_aside > 0);
}

/* The names of a node's tables, one after the other. */
static lw_buffer tables_of(lattice *in, uint64_t id) {
    lw_buffer names = lw_buffer_in(in->memory);
    (void)lw_disk_list(lw_host_disk(in->nodes[id].host), "data/sst", &names);
    return names;
}

/* So that it has its tables for itself. */
static void compact_main(void *argument) {
    lattice_node *node = argument;
    lw_tree *tree = lw_replica_tree(lattice_replica(node->in, node->id, lw_text("a")));
    lw_status status = lw_tree_flush(tree);
    status = status == LW_OK ? lw_tree_compact(tree) : status;
    expect(node->in, status == LW_OK, "it is compacted");
    node->done = true;
}

/* Something in every block of those tables of a node that came with a compaction. */
static void rot_new_ones(lattice *in, uint64_t id, const lw_buffer *before, const lw_buffer *now) {
    lw_disk *disk = lw_host_disk(in->nodes[id].host);
    lw_buffer bytes = lw_buffer_in(in->memory);
    for (size_t at = 0; at < now->size; at += strlen((const char *)now->data + at) + 1) {
        const char *name = (const char *)now->data + at;
        char path[64];
        if (memmem(before->data, before->size, name, strlen(name)) == NULL) {
            (void)snprintf(path, sizeof(path), "data/sst/%s", name);
            lw_buffer_clear(&bytes);
            (void)lw_disk_contents(disk, LW_DISK_VOLATILE, path, &bytes);
            for (uint64_t offset = 10; offset < bytes.size; offset += 100) {
                lw_disk_flip(disk, path, 8 * offset);
            }
        }
    }
}

/* A follower falls between the tombstone of the right one and the edit that merges the trees, and
 * that of the left one does not say any more what it is. */
static void what_was_set_aside_for_who_knows_nothing_story(lattice *in) {
    make_two(in);
    lattice_write(in, "b", "4");
    lattice_pass_ms(in, 500);
    uint64_t leader = lattice_leader(in, lw_text("a")), away = next_of(leader);
    transfer(in, "z", leader);
    lw_buffer before = tables_of(in, away), body = lw_buffer_in(in->memory);
    lattice_run(&in->nodes[away], compact_main);
    lw_buffer made = tables_of(in, away);
    merge_body(0, &body);
    (void)lattice_send_to(in, leader, LW_MESSAGE_MERGE, lw_text("a"), &body);
    uint64_t until_ns = lw_world_now(in->world) + 8000 * LATTICE_MS;
    while (lw_shards_count(in->nodes[away].shards) == 2 && lw_world_now(in->world) < until_ns &&
           lw_world_step(in->world)) {
    }
    steps(in, crash_step);
    rot_new_ones(in, away, &before, &made);
    lattice_crash(in, away);
    merge(in);
    lattice_boot(in, away);
    lattice_pass_ms(in, 15000);
    lattice_write(in, "z", "5");
    expect_text(in, lattice_read(in, "b"), "4", "below");
    expect_text(in, lattice_read(in, "z"), "5", "above");
    check_all(in);
}
static void what_was_set_aside_for_who_knows_nothing(void **state) {
    (void)state;
    char failure[256] = "", found[256] = "";
    for (crash_step = 0; crash_step < 40; crash_step += 2) {
        lattice_tell(what_was_set_aside_for_who_knows_nothing_story, 1, NULL, failure);
        if (failure[0] != 0) {
            fail_msg("step %u: not as expected: %s", crash_step, failure);
        }
        if (found[0] == 0) {
            lattice_tell(what_was_set_aside_for_who_knows_nothing_story, 1,
                         "shards.part_keeps_it_headless", found);
        }
    }
    assert_true(found[0] != 0);
}

/* Another node comes to lead what is frozen, and asks what became of it; and somebody asks for the
 * same merge again, for which the right one would have to be led here. It is carried out all the
 * same, at once, on all nodes: what waits for an answer does not keep the right one. */
static void nobody_waits_for_who_asks(lattice *in) {
    make_two(in);
    merge(in);
    expect(in, split(in, "m")->status == LW_OK, "it is split, and led by one");
    lattice_pass_ms(in, 500);
    uint64_t leader = lattice_leader(in, lw_text("a")), next = next_of(leader);
    uint64_t third = next_of(next), frozen = lw_world_marked(in->world, "replica.frozen");
    uint64_t asks = lw_world_marked(in->world, "replica.merge_leads_both");
    lw_buffer body = lw_buffer_in(in->memory);
    merge_body(0, &body);
    in->slow_ms[leader][third] = in->slow_ms[third][leader] = 100;
    (void)lattice_send_to(in, leader, LW_MESSAGE_MERGE, lw_text("a"), &body);
    await_mark(in, "replica.frozen", frozen + 3);
    lw_replica *right = lattice_replica(in, leader, lw_text("z"));
    expect(in, lw_replica_hand_over(right, next) == LW_OK, "another one is to lead");
    lattice_pass_ms(in, 20);
    (void)lattice_send_to(in, leader, LW_MESSAGE_MERGE, lw_text("a"), &body);
    lattice_pass_ms(in, 1500);
    expect(in, lw_world_marked(in->world, "replica.merge_leads_both") > asks, "it was asked for");
    expect(in, lw_world_marked(in->world, "replica.merge_counts_anew") > 0, "it was led elsewhere");
    expect(in, lattice_leader(in, lw_text("z")) == leader, "it is led");
    for (uint64_t id = 1; id <= 3; id++) {
        one_shard_on(in, id);
    }
    in->slow_ms[leader][third] = in->slow_ms[third][leader] = 0;
    lattice_write(in, "x", "4");
    check_all(in);
}

/* ---- replicas that wait for what has ended ------------------------------------------------------
 */

static const lattice_shard one_on_two[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "", .nodes = {1, 2}}};

/* Of the shard of a key; asked again while a change is under way. */
static void changed(lattice *in, const char *key, lw_change_replicas_request request) {
    lw_status status = LW_TIMEOUT;
    for (int attempt = 0; attempt < 20 && status != LW_OK; attempt++) {
        status = change(in, key, &request);
        lattice_pass_ms(in, 200);
    }
    expect(in, status == LW_OK, "the members are changed");
}

/* Node 4 is to learn the right one, and there is time between news and snapshot. */
static void learn_slowly(lattice *in) {
    uint64_t waiting = lw_world_marked(in->world, "shards.replica_waits");
    in->slow_ms[1][4] = in->slow_ms[2][4] = 20;
    lw_buffer body = lw_buffer_in(in->memory);
    lw_change_replicas_request_encode(&(lw_change_replicas_request){.learner = 4}, &body);
    uint64_t leader = lattice_leader(in, lw_text("z"));
    (void)lattice_send_to(in, leader, LW_MESSAGE_CHANGE_REPLICAS, lw_text("z"), &body);
    await_mark(in, "shards.replica_waits", waiting + 1);
}

/* It is cut off before its snapshot is there. Then it is taken out. */
static void wait_in_vain(lattice *in) {
    learn_slowly(in);
    lattice_isolate(in, 4, true);
    in->slow_ms[1][4] = in->slow_ms[2][4] = 0;
    lattice_pass_ms(in, 3000);
    changed(in, "z", (lw_change_replicas_request){.leaves = 4, .fewer = true});
}

static void make_two_on_two(lattice *in) {
    lattice_make(in, one_on_two, 1);
    for (uint64_t id = 3; id <= 4; id++) {
        lattice_boot(in, id);
    }
    lattice_write(in, "a", "1");
    lattice_write(in, "z", "2");
    expect(in, split(in, "m")->status == LW_OK, "it is split");
}

/* The directory names somebody as leader who has nothing. What waits would keep the left one, which
 * has its keys, from coming. */
static void who_waits_for_what_was_merged_hears_of_it(lattice *in) {
    make_two_on_two(in);
    wait_in_vain(in);
    merge(in);
    in->misled = 3;
    lattice_isolate(in, 4, false);
    lattice_pass_ms(in, 40000);
    expect(in, lw_world_marked(in->world, "shards.orphan_sent_away") == 1, "it does not wait on");
    in->misled = 0;
    changed(in, "a", (lw_change_replicas_request){.learner = 4});
    lattice_pass_ms(in, 3000);
    one_shard_on(in, 4);
}

/* It has the left one, too, as of before, and is a member of that again: to which what it waits for
 * is of no use, as it has nothing. */
static void who_waits_for_what_was_merged_goes_at_once(lattice *in) {
    make_two_on_two(in);
    changed(in, "a", (lw_change_replicas_request){.learner = 4});
    lattice_pass_ms(in, 2000);
    one_shard_on(in, 4);
    wait_in_vain(in);
    changed(in, "a", (lw_change_replicas_request){.leaves = 4, .fewer = true});
    merge(in);
    changed(in, "a", (lw_change_replicas_request){.learner = 4});
    in->mute[1][4] = in->mute[2][4] = true;
    lattice_isolate(in, 4, false);
    lattice_pass_ms(in, 11000);
    expect(in, lw_world_marked(in->world, "shards.orphan_sent_away") == 1, "it goes soon");
    in->mute[1][4] = in->mute[2][4] = false;
    lattice_pass_ms(in, 5000);
    expect(in, lattice_replica(in, 4, lw_text("z")) != NULL, "it has what was merged");
    one_shard_on(in, 4);
    lattice_same_everywhere(in);
}

/* A snapshot of the right one is on its way to who hardly answers, and is removed. */
static void nobody_waits_for_a_snapshot_in_vain(lattice *in) {
    make_two_on_two(in);
    learn_slowly(in);
    await_sending(in, lattice_leader(in, lw_text("z")));
    in->slow_ms[1][4] = in->slow_ms[2][4] = 4000;
    changed(in, "z", (lw_change_replicas_request){.leaves = 4, .fewer = true});
    uint64_t frozen = lw_world_marked(in->world, "replica.frozen"), since_ns = 0;
    uint64_t absorbed = lw_world_marked(in->world, "shards.absorbed");
    lw_buffer body = lw_buffer_in(in->memory);
    merge_body(0, &body);
    for (int tries = 0; tries < 3000 && id_at(in, "a") != id_at(in, "z"); tries++) {
        if (tries % 20 == 0) {
            (void)lattice_send_to(in, lattice_leader(in, lw_text("a")), LW_MESSAGE_MERGE,
                                  lw_text("a"), &body);
        }
        lattice_pass_ms(in, 10);
        if (since_ns == 0 && lw_world_marked(in->world, "replica.frozen") > frozen) {
            since_ns = lw_world_now(in->world);
        }
    }
    uint64_t frozen_ns = lw_world_now(in->world) - since_ns;
    expect(in, lw_world_marked(in->world, "shards.absorbed") > absorbed, "they are merged");
    expect(in, since_ns != 0 && frozen_ns < 500 * LATTICE_MS, "and nothing is frozen for long");
}

/* Node 4 has both, with their trees, as of before the merge, and hears nothing yet. */
static void miss_a_merge(lattice *in) {
    make_two_on_two(in);
    changed(in, "a", (lw_change_replicas_request){.learner = 4});
    changed(in, "z", (lw_change_replicas_request){.learner = 4});
    lattice_pass_ms(in, 2000);
    expect(in, lw_shards_count(in->nodes[4].shards) == 2, "it has both");
    lattice_isolate(in, 4, true);
    lattice_pass_ms(in, 3000);
    changed(in, "z", (lw_change_replicas_request){.leaves = 4, .fewer = true});
    changed(in, "a", (lw_change_replicas_request){.leaves = 4, .fewer = true});
    merge(in);
    changed(in, "a", (lw_change_replicas_request){.learner = 4});
    in->mute[1][4] = in->mute[2][4] = true;
}

/* It is heard by the others for ten seconds of forty: so every look behind one or two that find
 * that the right one was merged is in vain. */
static void what_is_told_now_and_then_counts(lattice *in) {
    miss_a_merge(in);
    for (int round = 0; round < 4; round++) {
        lattice_isolate(in, 4, false);
        lattice_pass_ms(in, 10000);
        lattice_isolate(in, 4, true);
        lattice_pass_ms(in, 30000); /* whoever asks waits for seconds */
    }
    expect(in, lw_world_marked(in->world, "shards.orphan_sent_away") == 1, "it goes");
    in->mute[1][4] = in->mute[2][4] = false;
    lattice_isolate(in, 4, false);
    lattice_pass_ms(in, 5000);
    one_shard_on(in, 4);
    lattice_same_everywhere(in);
}

/* The directory names one as leader who has nothing: each look asks somebody else, too, and three
 * of them are enough. */
static void each_look_asks_another_holder(lattice *in) {
    miss_a_merge(in);
    in->misled = 3;
    lattice_isolate(in, 4, false);
    lattice_pass_ms(in, 25000);
    expect(in, lw_world_marked(in->world, "shards.orphan_sent_away") == 1, "it goes");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LATTICE_STORY(a_merge_happens_on_all_nodes, NULL),
        LATTICE_STORY(the_log_lets_go_of_what_was_merged, NULL),
        LATTICE_STORY(both_come_to_be_led_by_one_node, NULL),
        LATTICE_STORY(small_ones_of_two_leaders_become_one, "shards.left_one_looks_at_nothing"),
        LATTICE_STORY(shards_apart_are_not_merged, NULL),
        LATTICE_STORY(who_is_away_holds_a_merge_up, NULL),
        cmocka_unit_test(a_fall_in_the_middle_loses_nothing),
        cmocka_unit_test(all_have_to_know),
        LATTICE_STORY(who_leads_what_is_frozen_asks, "merge.unfreeze_unasked"),
        LATTICE_STORY(a_snapshot_from_behind_a_merge, NULL),
        LATTICE_STORY(who_is_removed_amid_such_a_snapshot_comes_again, "shards.beneath_left_over"),
        LATTICE_STORY(a_snapshot_of_what_the_log_has, "shards.ended_for_nothing"),
        LATTICE_STORY(what_the_left_one_comes_off_is_late, "shards.parent_of_left_overlooked"),
        LATTICE_STORY(what_the_left_one_comes_off_is_taken_in, "shards.passing_parent_overlooked"),
        cmocka_unit_test(what_was_set_aside_goes),
        cmocka_unit_test(what_was_set_aside_for_who_knows_nothing),
        LATTICE_STORY(nobody_waits_for_who_asks, "merge.awaits_who_asks"),
        LATTICE_STORY(who_waits_for_what_was_merged_hears_of_it, "shards.orphan_asks_who_leads"),
        LATTICE_STORY(who_waits_for_what_was_merged_goes_at_once, "shards.waiting_orphan_stays"),
        LATTICE_STORY(nobody_waits_for_a_snapshot_in_vain, "merge.amid_a_snapshot"),
        LATTICE_STORY(what_is_told_now_and_then_counts, "shards.merged_looks_begin_anew"),
        LATTICE_STORY(each_look_asks_another_holder, "shards.one_holder_asked"),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
