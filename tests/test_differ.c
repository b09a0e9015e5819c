/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas that have applied something else than the others (R17): where a majority says who is
 * wrong that one comes anew, else all halt, in words; and who is left behind then comes anew. */
#include "tests/repair_story.h"

/* It plants itself on node 2 only, while that follows. */
static void plant_otherwise(lattice *in) {
    while (lattice_leader(in, lw_text("")) == 2) {
        lattice_crash(in, 2);
        write_some(in, 0, 1, "old");
        lattice_boot(in, 2);
        lattice_pass_ms(in, 1000);
    }
    lw_world_plant(in->world, "group.applies_otherwise");
}

static void one_of_three_is_repaired(lattice *in) {
    make_on(in, 3);
    write_some(in, 0, 10, "old");
    plant_otherwise(in);
    for (int index = 10; index < 200 && marked(in, "shards.difference_found") == 0; index++) {
        write_some(in, index, 1, "old");
    }
    until_marked(in, "shards.minority_repairs", 1);
    until_marked(in, "shards.repaired", 1);
    expect(in, marked(in, "shards.majority_goes_on") > 0, "the others go on");
    expect(in, marked(in, "shards.replica_thrown_away") > 0, "what was wrong is thrown away");
    expect(in, marked(in, "shards.halted_without_majority") == 0, "nobody halts");
    reads_all(in, 0, 10, "old");
    lattice_same_everywhere(in);
}

static void two_that_differ_halt_in_words(lattice *in) {
    make_on(in, 2);
    write_some(in, 0, 10, "old");
    lw_world_plant(in->world, "group.applies_otherwise");
    lw_buffer body = lw_buffer_in(in->memory);
    lattice_get_body(key_of(in, 0), 0, &body);
    for (int index = 0; index < 200 && marked(in, "shards.halted_without_majority") < 2; index++) {
        lw_mutation mutation = lattice_put(key_of(in, 10 + index), "new", LW_SEEN_ANYTHING);
        (void)!lattice_commit(in, lattice_timestamp(in), &mutation, 1, NULL);
    }
    in->failure[0] = 0; /* of the one that it halts under */
    lattice_pass_ms(in, 5000);
    expect(in, marked(in, "shards.halted_without_majority") == 2, "both halt");
    lattice_ask *ask =
        lattice_await(lattice_send_to(in, 1, LW_MESSAGE_GET, lw_text(key_of(in, 0)), &body), 2500);
    expect(in, ask->done && ask->status == LW_CORRUPTION, "and say so");
}

static lw_status read_from(lattice *in, uint64_t node, int index) {
    lw_buffer body = lw_buffer_in(in->memory);
    lattice_get_body(key_of(in, index), 0, &body);
    lw_bytes key = lw_text(key_of(in, index));
    lattice_ask *ask = lattice_await(lattice_send_to(in, node, LW_MESSAGE_GET, key, &body), 2500);
    return ask->done ? ask->status : LW_TIMEOUT;
}

static void boot_both(lattice *in, lw_halted one, lw_halted two) {
    lattice_crash(in, 1);
    lattice_crash(in, 2);
    in->nodes[1].halted = one;
    in->nodes[2].halted = two;
    lattice_boot(in, 1);
    lattice_boot(in, 2);
    lattice_pass_ms(in, 5000);
}

/* Nothing that could be compared outlasts a start. Node 2 is the one that has it wrong. */
static void they_halt_behind_a_start_until_told_who_is_right(lattice *in) {
    two_that_differ_halt_in_words(in);
    boot_both(in, LW_HALTED_STAYS, LW_HALTED_STAYS);
    expect(in, read_from(in, 1, 0) == LW_CORRUPTION, "one halts again");
    expect(in, read_from(in, 2, 0) == LW_CORRUPTION, "both do");
    expect(in, marked(in, "shards.still_halted") > 0, "because they did before");
    boot_both(in, LW_HALTED_IS_BELIEVED, LW_HALTED_COMES_ANEW);
    until_marked(in, "shards.repaired", 1);
    write_some(in, 0, 1, "new");
    reads_all(in, 0, 1, "new");
    reads_all(in, 1, 9, "old");
    lattice_same_everywhere(in);
    boot_both(in, LW_HALTED_STAYS, LW_HALTED_STAYS);
    reads_all(in, 1, 9, "old");
    lattice_same_everywhere(in);
}

/* ---- who is left behind ---------------------------------------------------------------------- */

/* Node 2 differs, which nobody can judge any more once the others were started again. It knows of
 * its difference, and is cut off. */
static void have_one_that_nobody_can_judge(lattice *in) {
    make_on(in, 3);
    lattice_boot(in, 4);
    write_some(in, 0, 10, "old");
    plant_otherwise(in);
    in->slow_ms[2][1] = in->slow_ms[2][3] = 1000; /* that it asks only */
    for (int index = 10; index < 200 && marked(in, "shards.difference_found") == 0; index++) {
        write_some(in, index, 1, "old");
    }
    lattice_isolate(in, 2, true);
    for (uint64_t node = 1; node <= 3; node += 2) {
        lattice_crash(in, node);
        lattice_boot(in, node);
        write_some(in, 0, 1, "old");
    }
    in->slow_ms[2][1] = in->slow_ms[2][3] = 0;
}

/* Node 4 takes its place; then it is to be a member again. It hears nothing of that. Up to which
 * entry it was none. */
static uint64_t leave_it_behind(lattice *in) {
    lattice_isolate(in, 2, true);
    change_members(in, (lw_change_replicas_request){.learner = 4});
    lattice_pass_ms(in, 2000);
    change_members(in, (lw_change_replicas_request){.voter = 4, .leaves = 2});
    lw_replica_figures figures;
    uint64_t leader = lattice_leader(in, lw_text(""));
    lw_replica_figures_get(lattice_replica(in, leader, lw_text("")), &figures);
    change_members(in, (lw_change_replicas_request){.learner = 2});
    write_some(in, 0, 1, "new");
    return figures.applied_index;
}

static void expect_it_anew(lattice *in) {
    lattice_isolate(in, 2, false);
    until_marked(in, "shards.left_behind_comes_anew", 1);
    until_marked(in, "shards.repaired", 1);
    write_some(in, 1, 1, "new");
    lattice_pass_ms(in, 2000);
    change_members(in, (lw_change_replicas_request){.voter = 2, .leaves = 4});
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
    reads_all(in, 0, 2, "new");
    reads_all(in, 2, 8, "old");
}

static void who_is_left_behind_before_it_halts_comes_anew(lattice *in) {
    have_one_that_nobody_can_judge(in);
    (void)leave_it_behind(in);
    expect_it_anew(in);
    expect(in, marked(in, "shards.halted_without_majority") == 0, "nobody halts");
}

/* While it waits for its snapshot. */
static void who_comes_anew_hears_late_that_it_was_removed(lattice *in) {
    have_one_that_nobody_can_judge(in);
    uint64_t index = leave_it_behind(in);
    in->slow_ms[1][2] = in->slow_ms[3][2] = in->slow_ms[4][2] = 500;
    lattice_isolate(in, 2, false);
    until_marked(in, "shards.left_behind_comes_anew", 1);
    lw_buffer bytes = lw_buffer_in(in->memory);
    lw_raft_message gone = {.kind = LW_RAFT_GONE, .from = 4, .to = 2, .term = 1, .index = index};
    lw_raft_message_encode(LW_ROOT_SHARD, &gone, NULL, &bytes);
    lattice_send(&in->nodes[4], 2, lw_buffer_view(&bytes));
    until_marked(in, "shards.removed_before_it_came", 1);
    expect_it_anew(in);
}

/* As long as it votes it keeps what it has: it may be the one that is right. */
static void halt_one_that_votes(lattice *in) {
    have_one_that_nobody_can_judge(in);
    lattice_isolate(in, 2, false);
    until_marked(in, "shards.halted_without_majority", 1);
    write_some(in, 0, 1, "old");
    lattice_pass_ms(in, 30000);
    expect(in, marked(in, "shards.replica_thrown_away") == 0, "a voter keeps what it has");
}

static void who_is_left_behind_when_it_has_halted_comes_anew(lattice *in) {
    halt_one_that_votes(in);
    (void)leave_it_behind(in);
    expect_it_anew(in);
}

static void who_is_left_behind_and_halted_before_a_start_comes_anew(lattice *in) {
    halt_one_that_votes(in);
    lattice_crash(in, 2);
    lattice_boot(in, 2);
    lattice_pass_ms(in, 20000);
    expect(in, marked(in, "shards.still_halted") == 1, "it halts again");
    expect(in, marked(in, "shards.replica_thrown_away") == 0, "a voter keeps what it has");
    (void)leave_it_behind(in);
    expect_it_anew(in);
    lattice_crash(in, 2);
    lattice_boot(in, 2);
    lattice_pass_ms(in, 5000);
    expect(in, marked(in, "shards.still_halted") == 1, "it has forgotten that it was halted");
    lattice_same_everywhere(in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LATTICE_STORY(one_of_three_is_repaired, "group.digests_not_compared"),
        LATTICE_STORY(two_that_differ_halt_in_words, "group.digests_not_compared"),
        LATTICE_STORY(they_halt_behind_a_start_until_told_who_is_right, "group.halt_is_forgotten"),
        LATTICE_STORY(who_is_left_behind_before_it_halts_comes_anew,
                      "shards.left_behind_stays_halted"),
        LATTICE_STORY(who_comes_anew_hears_late_that_it_was_removed, "shards.old_removal_believed"),
        LATTICE_STORY(who_is_left_behind_when_it_has_halted_comes_anew,
                      "shards.left_behind_stays_halted"),
        LATTICE_STORY(who_is_left_behind_and_halted_before_a_start_comes_anew,
                      "shards.left_behind_stays_halted"),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
