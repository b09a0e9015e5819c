/* SPDX-License-Identifier: Apache-2.0 */
/* Shards that move while nodes are away: replicas that nobody tells of their removal, and snapshots
 * for nodes that do not take them. */
#include "tests/shard_operators.h"

static const lattice_shard shards[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "m", .nodes = {1, 2, 3}},
    {.id = 2, .start = "m", .end = "", .nodes = {1}},
};

static void changed(lattice *in, const char *key, lw_change_replicas_request request) {
    expect(in, change(in, key, &request) == LW_OK, "the members change");
}

/* ---- replicas that nobody tells ---------------------------------------------------------------
 */

/* The first shard moves to node 4 alone, while node 1, which has a replica of it, hears nothing. */
static void move_all_away_from_who_is_away(lattice *in) {
    lattice_make(in, shards, 2);
    lattice_boot(in, 4);
    lattice_write(in, "a", "1");
    lattice_write(in, "z", "1");
    transfer(in, "a", 2);
    lattice_isolate(in, 1, true);
    changed(in, "a", (lw_change_replicas_request){.learner = 4});
    changed(in, "a", (lw_change_replicas_request){.voter = 4, .leaves = 1});
    transfer(in, "a", 4);
    changed(in, "a", (lw_change_replicas_request){.leaves = 2, .fewer = true});
    changed(in, "a", (lw_change_replicas_request){.leaves = 3, .fewer = true});
    lattice_pass_ms(in, 12000);
    expect(in, lw_shards_count(in->nodes[1].shards) == 2, "who is away has its replica still");
}

static void who_missed_that_all_it_knew_have_gone_finds_out(lattice *in) {
    move_all_away_from_who_is_away(in);
    lattice_isolate(in, 1, false);
    lattice_pass_ms(in, 15000);
    expect(in, lw_shards_count(in->nodes[1].shards) == 1, "it finds out, and removes it");
    expect_text(in, lattice_read(in, "a"), "1", "and all is there");
}

/* Node 1 cannot serve its own shard without a timestamp, and those come from the first one. */
static void a_replica_that_missed_its_removal_keeps_nobody_from_the_oracle(lattice *in) {
    move_all_away_from_who_is_away(in);
    lattice_crash(in, 1);
    lattice_boot(in, 1);
    lattice_isolate(in, 1, false);
    lattice_pass_ms(in, 3500);
    expect(in, lattice_leader(in, lw_text("z")) == 1, "it serves its own shard soon");
}

static const lattice_shard apart[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "m", .nodes = {2, 3}},
    {.id = 2, .start = "m", .end = "", .nodes = {1}},
};

/* Node 1 has no replica of the first shard, and all say that node 4 leads it, which has none. */
static void who_is_misled_about_a_leader_finds_it(lattice *in) {
    in->misled = 4;
    lattice_make(in, apart, 2);
    lattice_boot(in, 4);
    lattice_pass_ms(in, 5000);
    expect(in, lattice_leader(in, lw_text("z")) == 1, "it has a timestamp, and serves");
}

/* ---- voters that are lost ---------------------------------------------------------------------
 */

/* Of three voters one is lost, and nobody knows it yet; another one is to go. */
static void who_does_not_answer_is_not_counted_on(lattice *in) {
    lattice_make(in, shards, 2);
    lattice_write(in, "a", "1");
    transfer(in, "a", 1);
    lattice_write(in, "a", "2");
    in->cut[1][2] = in->cut[2][1] = in->cut[2][3] = in->cut[3][2] = true;
    lw_buffer body = lw_buffer_in(in->memory);
    lw_change_replicas_request request = {.leaves = 3, .fewer = true};
    lw_change_replicas_request_encode(&request, &body);
    lattice_ask *ask = lattice_await(
        lattice_send_to(in, 1, LW_MESSAGE_CHANGE_REPLICAS, lw_text("a"), &body), 5000);
    expect(in, ask->done && ask->status == LW_UNAVAILABLE, "two voters are not made of one");
    lattice_links(in);
    lattice_write(in, "a", "3");
    request = (lw_change_replicas_request){.leaves = 2, .fewer = true, .second_leaves = 3};
    changed(in, "a", request);
    lattice_isolate(in, 3, true);
    lattice_write(in, "a", "4");
    expect_text(in, lattice_read(in, "a"), "4", "one alone goes on, in one step");
}

/* ---- snapshots ---------------------------------------------------------------------------------
 */

/* Node 1 leads both shards, and is about to send a snapshot of the first one to node 4, which takes
 * none of its requests. */
static void send_in_vain(lattice *in) {
    lattice_make(in, shards, 2);
    lattice_boot(in, 4);
    lattice_write(in, "a", "1");
    lattice_write(in, "z", "1");
    transfer(in, "a", 1);
    changed(in, "a", (lw_change_replicas_request){.learner = 4});
    while (lw_world_marked(in->world, "shards.replica_waits") == 0 && lw_world_step(in->world)) {
    }
    in->slow_ms[1][4] = 100000;
    lattice_pass_ms(in, 2000);
    expect(in, lw_world_marked(in->world, "group.snapshot_wanted") == 1, "one is to be sent");
}

static uint64_t add_second(lattice *in) {
    uint64_t began_ns = lw_world_now(in->world);
    changed(in, "z", (lw_change_replicas_request){.learner = 2});
    changed(in, "z", (lw_change_replicas_request){.voter = 2});
    return (lw_world_now(in->world) - began_ns) / LATTICE_MS;
}

static void a_snapshot_that_gets_nowhere_makes_way_for_others(lattice *in) {
    send_in_vain(in);
    expect(in, add_second(in) < 15000, "another one is sent soon");
}

static void a_snapshot_that_nobody_needs_ends(lattice *in) {
    send_in_vain(in);
    transfer(in, "a", 2);
    changed(in, "a", (lw_change_replicas_request){.leaves = 1, .fewer = true});
    lattice_pass_ms(in, 10000);
    expect(in, lw_store_tree(in->nodes[1].store, LW_ROOT_SHARD) == NULL,
           "who sends it for nothing is through soon, and drops what it had");
}

static void flush_main(void *argument) {
    lattice_node *node = argument;
    lw_status status = lw_tree_flush(lw_store_tree(node->store, LW_ROOT_SHARD));
    expect(node->in, status == LW_OK, "it is flushed");
    node->done = true;
}

/* Node 1 has applied a split that node 3 has not heard of, and its log has let go of it, when node
 * 2, which led, is lost for good: nothing newer can be committed before node 3 has a snapshot. */
static void a_snapshot_may_be_of_the_very_split(lattice *in) {
    lattice_make(in, shards, 2);
    lattice_write(in, "a", "1");
    transfer(in, "a", 2);
    lattice_isolate(in, 3, true);
    lw_buffer body = lw_buffer_in(in->memory);
    lw_split_request_encode(&(lw_split_request){.key = lw_text("f")}, &body);
    expect(in, lattice_call(in, LW_MESSAGE_SPLIT, "a", &body)->status == LW_OK, "it is split");
    while (lw_shards_count(in->nodes[1].shards) < 3 && lw_world_step(in->world)) {
    }
    lattice_crash(in, 2);
    lattice_run(&in->nodes[1], flush_main);
    lattice_isolate(in, 3, false);
    lattice_pass_ms(in, 10000);
    expect(in, lw_world_marked(in->world, "replica.snapshot_sent") > 0, "a snapshot is sent");
    expect_text(in, lattice_read(in, "a"), "1", "two of three voters go on");
    lattice_pass_ms(in, 2000);
    expect(in, lw_shards_count(in->nodes[3].shards) == 2, "and have both halves");
}

/* ---- who goes as it comes ----------------------------------------------------------------------
 */

static const lattice_shard two_neighbours[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "m", .nodes = {1, 2}},
    {.id = 2, .start = "m", .end = "", .nodes = {1}},
};

/* Whether node 2 would take in a snapshot of the first shard that holds the keys of the second one,
 * of which it has a tree. */
static bool takes_what_it_has(lattice *in) {
    lattice_node *node = &in->nodes[2];
    lw_replica *left = lw_shards_find(node->shards, LW_ROOT_SHARD);
    if (left == NULL || lw_store_tree(node->store, 2) == NULL) {
        return false;
    }
    lw_shard_descriptor told;
    lw_replica_descriptor(left, &told);
    told.end = lw_view(NULL, 0);
    lw_buffer head = lw_buffer_in(in->memory);
    lw_topology_encode(&told, 1, &head);
    lw_snapshot_arrival offered = {.from = 1,
                                   .shard = LW_ROOT_SHARD,
                                   .index = 1000000,
                                   .term = 1000000,
                                   .head = lw_buffer_view(&head)};
    bool takes = lw_shards_snapshot_wanted(node->shards, &offered) == LW_OK;
    lw_buffer_reset(&head);
    return takes;
}

/* By an entry that it has not heard of. */
static void tell_that_it_is_gone(lattice *in) {
    lw_replica_figures figures;
    lw_replica_figures_get(lw_shards_find(in->nodes[1].shards, 2), &figures);
    lw_buffer bytes = lw_buffer_in(in->memory);
    lw_raft_message gone = {
        .kind = LW_RAFT_GONE, .from = 1, .to = 2, .term = 1, .index = figures.applied_index + 1};
    lw_raft_message_encode(2, &gone, NULL, &bytes);
    lattice_send(&in->nodes[1], 2, lw_buffer_view(&bytes));
    lw_buffer_reset(&bytes);
}

/* Node 2 becomes a member of the second shard, and while it takes in its first snapshot it hears
 * that it is none. Until somebody else could come to hold its keys there, or it is gone. */
static void go_as_it_comes(lattice *in) {
    uint64_t begun = lw_world_marked(in->world, "group.snapshot_installed");
    changed(in, "z", (lw_change_replicas_request){.learner = 2});
    while (lw_world_marked(in->world, "group.snapshot_installed") == begun &&
           lw_world_step(in->world)) {
    }
    uint64_t installed = lw_world_marked(in->world, "replica.snapshot_installed");
    lattice_pass_ms(in, 2);
    tell_that_it_is_gone(in);
    lattice_pass_ms(in, 3);
    expect(in, lw_shards_find(in->nodes[2].shards, 2) == NULL, "it goes");
    expect(in, lw_world_marked(in->world, "replica.snapshot_installed") == installed,
           "it takes the snapshot in still");
    uint64_t until_ns = lw_world_now(in->world) + 500 * LATTICE_MS;
    while (lw_world_now(in->world) < until_ns && lw_world_step(in->world) &&
           !takes_what_it_has(in)) {
    }
    expect(in, lw_world_marked(in->world, "replica.snapshot_installed") > installed,
           "it has taken it in");
}

static void who_goes_as_it_comes_does_not_come_back(lattice *in) {
    static char value[4000];
    lattice_make(in, two_neighbours, 2);
    for (int index = 0; index < 300; index++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "z%03d", index);
        for (size_t at = 0; at + 1 < sizeof(value); at++) {
            value[at] = (char)('!' + unit_random_below(&in->chance, 90));
        }
        lattice_write(in, key, value);
    }
    go_as_it_comes(in);
    lattice_crash(in, 2);
    lattice_boot(in, 2);
    expect(in, lw_shards_find(in->nodes[2].shards, 2) == NULL, "and does not come back");
}

/* ---- what was let go of, and comes off another one ----------------------------------------------
 */

static const lattice_shard whole[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "", .nodes = {1, 2, 3}}};

static void await_marks(lattice *in, const char *name, uint64_t count) {
    for (int tries = 0; tries < 1000 && lw_world_marked(in->world, name) < count; tries++) {
        lattice_pass_ms(in, 10);
    }
    expect(in, lw_world_marked(in->world, name) == count, name);
}

/* A snapshot from before a split takes long to come to node 4, which is a member of what comes off
 * meanwhile, and is removed from that. */
static uint64_t let_go_of_what_comes_off(lattice *in) {
    lattice_make(in, whole, 1);
    lattice_boot(in, 4);
    lattice_write(in, "a", "1");
    lattice_write(in, "z", "1");
    transfer(in, "a", 1);
    in->slow_ms[1][4] = 20;
    changed(in, "a", (lw_change_replicas_request){.learner = 4});
    await_sending(in, 1);
    lattice_pass_ms(in, 20); /* its files are there */
    in->slow_ms[1][4] = in->slow_ms[2][4] = 1500;
    expect(in, split(in, "m")->status == LW_OK, "it is split");
    transfer(in, "z", 2);
    lattice_crash(in, 4);
    lattice_boot(in, 4);
    lw_shard_descriptor right;
    lw_replica_descriptor(lattice_replica(in, 1, lw_text("z")), &right);
    uint64_t id = right.id;
    await_marks(in, "shards.replica_waits", 3);
    changed(in, "z", (lw_change_replicas_request){.leaves = 4, .fewer = true});
    await_marks(in, "shards.replica_removed", 1);
    return id;
}

/* It takes the snapshot in, and follows the split. */
static void let_it_come_off(lattice *in, uint64_t id) {
    in->slow_ms[1][4] = in->slow_ms[2][4] = 0;
    for (int tries = 0; tries < 500 && lw_shards_find(in->nodes[4].shards, id) == NULL; tries++) {
        lattice_pass_ms(in, 10);
    }
    expect(in, lw_shards_find(in->nodes[4].shards, id) != NULL, "it has come off there, too");
}

static void what_was_let_go_of_comes_off_another_one(lattice *in) {
    let_it_come_off(in, let_go_of_what_comes_off(in));
    changed(in, "z", (lw_change_replicas_request){.learner = 4});
    lattice_write(in, "z", "2");
    lattice_pass_ms(in, 3000);
    lattice_crash(in, 4);
    lattice_boot(in, 4);
    lattice_write(in, "z", "3");
    lattice_pass_ms(in, 3000);
    expect(in, lw_shards_count(in->nodes[4].shards) == 2, "it has both");
    lattice_same_everywhere(in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LATTICE_STORY(who_missed_that_all_it_knew_have_gone_finds_out, "shards.only_peers_asked"),
        LATTICE_STORY(a_replica_that_missed_its_removal_keeps_nobody_from_the_oracle,
                      "shards.stale_replica_believed"),
        LATTICE_STORY(who_is_misled_about_a_leader_finds_it, "shards.hint_insisted_on"),
        LATTICE_STORY(who_does_not_answer_is_not_counted_on, "replica.voters_unheard"),
        LATTICE_STORY(a_snapshot_that_gets_nowhere_makes_way_for_others,
                      "snapshot.never_makes_way"),
        LATTICE_STORY(a_snapshot_that_nobody_needs_ends, "snapshot.sent_for_nothing"),
        LATTICE_STORY(a_snapshot_may_be_of_the_very_split, NULL),
        LATTICE_STORY(what_was_let_go_of_comes_off_another_one, NULL),
        LATTICE_STORY(who_goes_as_it_comes_does_not_come_back, "shards.gone_before_its_tombstone"),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
