/* SPDX-License-Identifier: Apache-2.0 */
/* Trees that are damaged where their descriptor stands: nodes come back with what does not say what
 * it is, which is told them, and repaired; and so is what comes off a damaged tree. */
#include "tests/repair_story.h"

/* ---- at a start ------------------------------------------------------------------------------ */

/* It goes down with all of it flushed but a few entries, which only its log has. */
static void behead(lattice *in, uint64_t id) {
    rot_all(in, id);
    lattice_crash(in, id);
}

static void a_node_whose_table_does_not_say_what_it_is_comes_back(lattice *in) {
    uint64_t damaged;
    make_damaged_follower(in, &damaged);
    write_some(in, KEYS, 5, "new");
    lattice_pass_ms(in, 1000);
    behead(in, damaged);
    lattice_boot(in, damaged);
    until_marked(in, "shards.head_told", 1);
    until_marked(in, "shards.repaired", 1);
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
    expect(in, marked(in, "shards.replica_waits") == 0, "its log goes on");
    lattice_crash(in, lattice_leader(in, lw_text("")));
    reads_all(in, 0, KEYS, "old");
    reads_all(in, KEYS, 5, "new");
}

/* The third knows of nothing that the leader and the damaged one have acknowledged. */
static void what_it_acknowledged_counts_before_it_has_a_tree(lattice *in) {
    uint64_t damaged;
    make_damaged_follower(in, &damaged);
    uint64_t leader = lattice_leader(in, lw_text("")), third = 6 - leader - damaged;
    in->cut[leader][third] = in->cut[third][leader] = true;
    write_some(in, 0, 1, "new");
    lattice_pass_ms(in, 200);
    behead(in, damaged);
    lattice_crash(in, leader);
    in->cut[leader][third] = in->cut[third][leader] = false;
    lattice_boot(in, damaged);
    until_marked(in, "shards.head_told", 1);
    reads_all(in, 0, 1, "new"); /* the third leads, once it has heard of it */
    until_marked(in, "shards.repaired", 1);
    lattice_boot(in, leader);
    lattice_pass_ms(in, 3000);
    lattice_same_everywhere(in);
}

static void two_that_do_not_know_what_they_are_come_back(lattice *in) {
    make_written(in, 3);
    uint64_t leader = lattice_leader(in, lw_text("")), one = next_of(leader), other = next_of(one);
    lattice_pass_ms(in, 1000);
    lattice_run(&in->nodes[one], flush_main);
    lattice_run(&in->nodes[other], flush_main);
    write_some(in, 0, 10, "new");
    behead(in, one);
    behead(in, other);
    lattice_boot(in, one);
    lattice_boot(in, other);
    until_marked(in, "shards.head_told", 2);
    write_some(in, 10, 10, "new"); /* with their votes */
    until_marked(in, "shards.repaired", 2);
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
    lattice_crash(in, leader);
    reads_all(in, 0, 20, "new");
    reads_all(in, 20, KEYS - 20, "old");
}

static void flush_all_main(void *argument) {
    lattice_node *node = argument;
    for (uint32_t index = 0; index < lw_shards_count(node->shards); index++) {
        lw_status status = lw_tree_flush(lw_replica_tree(lw_shards_at(node->shards, index)));
        expect(node->in, status == LW_OK, "it is flushed");
    }
    node->done = true;
}

/* A follower that all but heard of a merge comes back with two trees that do not say what they are:
 * of one of them there is none on any other node. */
static void what_was_merged_meanwhile_does_not_stay(lattice *in) {
    make_two_shards(in);
    uint64_t away = 0;
    lw_buffer body = lw_buffer_in(in->memory);
    lw_merge_request_encode(&(lw_merge_request){.right = 0}, &body);
    while (in->failure[0] == 0 && marked(in, "shards.absorbed") == 0) {
        uint64_t until_ns = lw_world_now(in->world) + 5000 * LATTICE_MS;
        uint64_t leader = lattice_leader(in, lw_text(""));
        away = next_of(leader);
        (void)lattice_send_to(in, leader, LW_MESSAGE_MERGE, lw_text(""), &body);
        while (marked(in, "shards.absorbed") == 0 && lw_world_now(in->world) < until_ns &&
               lw_world_step(in->world)) {
        }
    }
    expect(in, lw_shards_count(in->nodes[away].shards) == 2, "it has not heard of it");
    lattice_run(&in->nodes[away], flush_all_main);
    behead(in, away);
    until_marked(in, "shards.absorbed", 2);
    lattice_boot(in, away);
    until_marked(in, "shards.headless_buried", 1);
    until_marked(in, "shards.repaired", 1);
    lattice_pass_ms(in, 3000);
    lattice_same_everywhere(in);
    expect(in, lw_store_tree(in->nodes[away].store, 7) == NULL, "its tree is gone");
    lattice_crash(in, away);
    lattice_boot(in, away);
    lattice_same_everywhere(in);
    reads_all(in, 0, KEYS, "old");
}

static void a_lone_node_refuses_in_words(lattice *in) {
    make_written(in, 1);
    lattice_run(&in->nodes[1], flush_main);
    behead(in, 1);
    in->nodes[1].alone = true;
    lattice_boot(in, 1);
    bool refuses = strstr(in->failure, "data/sst/") != NULL;
    in->failure[0] = 0;
    expect(in, refuses && in->nodes[1].opened == LW_CORRUPTION, "it says which file is damaged");
}

/* ---- what comes off a damaged tree ----------------------------------------------------------- */

static void send_split(lattice *in) {
    lw_buffer body = lw_buffer_in(in->memory);
    uint64_t leader = lattice_leader(in, lw_text(""));
    lw_split_request_encode(&(lw_split_request){.key = lw_text("k030")}, &body);
    (void)lattice_send_to(in, leader, LW_MESSAGE_SPLIT, lw_text("k030"), &body);
}

/* All that a node has of a shard rots while it is split there: the replica of the new one is the
 * first to read it. */
static void split_and_rot(lattice *in, uint64_t damaged) {
    send_split(in);
    while (lw_shards_count(in->nodes[damaged].shards) == 1 && lw_world_step(in->world)) {
    }
    rot_all(in, damaged);
}

static void comes_off_damaged(lattice *in, uint64_t damaged) {
    split_and_rot(in, damaged);
    until_marked(in, "replica.child_damaged", 1);
    until_marked(in, "shards.repaired", 1);
    lattice_run(&in->nodes[damaged], compact_main);
    until_marked(in, "shards.repaired", 2);
    write_some(in, KEYS, 10, "new");
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
    lattice_crash(in, next_of(damaged));
    reads_all(in, 0, KEYS, "old"); /* it votes, and may lead */
    reads_all(in, KEYS, 10, "new");
}

static void what_comes_off_damaged_is_repaired(lattice *in) {
    make_written(in, 3);
    lattice_pass_ms(in, 1000);
    comes_off_damaged(in, next_of(lattice_leader(in, lw_text(""))));
}

static void what_comes_off_damaged_where_it_is_led_is_repaired(lattice *in) {
    make_written(in, 3);
    lattice_pass_ms(in, 1000);
    comes_off_damaged(in, lattice_leader(in, lw_text("")));
}

/* Boots it. If the start has to split a tree, all that it has rots behind that. */
static bool boot_to_split_and_rot(lattice *in, uint64_t id) {
    lattice_node *node = &in->nodes[id];
    uint64_t before = marked(in, "replica.split_finished_at_start");
    node->shards = NULL;
    node->done = node->died = false;
    node->life++;
    node->env = lw_host_boot(node->host);
    lw_env_start(node->env, "bench", lattice_open_main, node);
    uint64_t split = marked(in, "store.tree_split");
    while (!node->done && marked(in, "store.tree_split") == split && lw_world_step(in->world)) {
    }
    bool rots = marked(in, "replica.split_finished_at_start") > before && !node->done;
    if (rots) {
        rot_all(in, id);
    }
    while (!node->done && lw_world_step(in->world)) {
    }
    expect(in, node->opened == LW_OK, "a node opens");
    node->open = node->opened == LW_OK;
    lattice_links(in);
    return rots;
}

/* The power fails at a step of a split. */
static uint32_t crash_step, rotten_count;

static void what_comes_off_damaged_at_a_start_is_repaired_story(lattice *in) {
    make_written(in, 3);
    uint64_t leader = lattice_leader(in, lw_text("")), victim = next_of(leader);
    send_split(in);
    for (uint32_t step = 0; step < crash_step; step++) {
        (void)lw_world_step(in->world);
    }
    lattice_crash(in, victim);
    lattice_pass_ms(in, 500);
    if (!boot_to_split_and_rot(in, victim)) {
        return;
    }
    rotten_count++;
    until_marked(in, "shards.head_told", 1);
    until_marked(in, "shards.repaired", 1);
    lattice_run(&in->nodes[victim], compact_main);
    lattice_pass_ms(in, 5000);
    lattice_same_everywhere(in);
    lattice_crash(in, leader);
    reads_all(in, 0, KEYS, "old");
}
static void what_comes_off_damaged_at_a_start_is_repaired(void **state) {
    (void)state;
    for (crash_step = rotten_count = 0; crash_step < 160; crash_step++) {
        char failure[256];
        lattice_tell(what_comes_off_damaged_at_a_start_is_repaired_story, crash_step + 1, NULL,
                     failure);
        if (failure[0] != 0) {
            fail_msg("a crash at step %d: not as expected: %s", (int)crash_step, failure);
        }
    }
    assert_true(rotten_count > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LATTICE_STORY(a_node_whose_table_does_not_say_what_it_is_comes_back, NULL),
        LATTICE_STORY(what_it_acknowledged_counts_before_it_has_a_tree, NULL),
        LATTICE_STORY(two_that_do_not_know_what_they_are_come_back, NULL),
        LATTICE_STORY(what_was_merged_meanwhile_does_not_stay, "shards.merged_stays_headless"),
        LATTICE_STORY(what_comes_off_damaged_is_repaired, "replica.damaged_child_ends_all"),
        LATTICE_STORY(what_comes_off_damaged_where_it_is_led_is_repaired,
                      "replica.damaged_child_ends_all"),
        cmocka_unit_test(what_comes_off_damaged_at_a_start_is_repaired),
        LATTICE_STORY(a_lone_node_refuses_in_words, NULL),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
