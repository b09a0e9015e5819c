/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/placement_story.h"
#include "tests/planted_story.h"

#include <stdlib.h>

static void expect_trace(const story_lattice *of, const char *expected) {
    if (strcmp(of->trace, expected) != 0) {
        fail_msg("expected\n%sgot\n%s", expected, of->trace);
    }
}

/* All shards have so many healthy voters, none on a node that is not up, and nothing else. */
static void expect_whole(const story_lattice *of, uint32_t voter_count) {
    for (uint32_t index = 0; index < of->shard_count; index++) {
        const story_shard *shard = &of->shards[index];
        uint32_t healthy;
        assert_int_equal(story_voters(of, shard, &healthy), voter_count);
        assert_int_equal(healthy, voter_count);
        assert_int_equal(shard->replica_count, voter_count);
        for (uint32_t place = 0; place < shard->replica_count; place++) {
            assert_int_equal(of->nodes[shard->replicas[place].node].as.state, LW_MEMBER_UP);
        }
    }
}

/* ---- one shard ----------------------------------------------------------------------------------
 */

static void a_lone_node_has_nothing_to_do(void **state) {
    (void)state;
    story_lattice *of = story_open(1, 20);
    assert_int_equal(story_settle(of, 20, NULL), 0);
    story_close(of);
}

static void three_nodes_hold_a_shard_of_one(void **state) {
    (void)state;
    story_lattice *of = story_open(3, 1);
    (void)story_settle(of, 40, NULL);
    expect_whole(of, 3);
    expect_trace(of, "add 1: 1 of 3 voters: a learner on 00000000000003e9\n"
                     "add 2: 1 of 3 voters: a learner on 00000000000003ea\n"
                     "promote 1: 1 of 3 voters: 00000000000003e9 and 00000000000003ea caught up\n");
    story_close(of);
}

static void two_nodes_hold_each_shard_once(void **state) {
    (void)state;
    story_lattice *of = story_open(2, 1000);
    (void)story_settle(of, 3000, NULL);
    expect_whole(of, 1);
    assert_in_range(of->nodes[0].as.load.shards, 450, 550);
    story_close(of);
}

static void a_dead_voter_is_replaced_after_the_grace(void **state) {
    (void)state;
    story_lattice *of = story_open(3, 1);
    (void)story_settle(of, 40, NULL);
    story_add_node(of, "", 0);
    (void)story_settle(of, 40, NULL);
    uint32_t victim = (uint32_t)of->shards[0].leader;
    of->trace[0] = '\0';
    story_kill(of, victim);
    for (uint32_t round = 0; round <= of->grace_rounds; round++) {
        (void)story_round(of);
        expect_trace(of, "");
    }
    (void)story_settle(of, 40, NULL);
    expect_whole(of, 3);
    assert_null(story_find(&of->shards[0], victim));
    assert_non_null(strstr(of->trace, "which has been unreachable for too long"));
    story_close(of);
}

static void a_dead_voter_without_a_replacement_stays(void **state) {
    (void)state;
    story_lattice *of = story_open(3, 1);
    (void)story_settle(of, 40, NULL);
    of->trace[0] = '\0';
    story_kill(of, (uint32_t)of->shards[0].leader);
    (void)story_settle(of, 40, NULL);
    expect_trace(of, "");
    assert_int_equal(of->shards[0].replica_count, 3);
    story_close(of);
}

static void a_draining_leader_hands_over_and_is_emptied(void **state) {
    (void)state;
    story_lattice *of = story_open(4, 1);
    (void)story_settle(of, 40, NULL);
    of->trace[0] = '\0';
    uint32_t drained = (uint32_t)of->shards[0].leader;
    of->nodes[drained].as.state = LW_MEMBER_DRAINING;
    (void)story_settle(of, 40, NULL);
    expect_whole(of, 3);
    assert_int_equal(strncmp(of->trace, "transfer ", 9), 0);
    assert_non_null(strstr(of->trace, "which is draining"));
    story_close(of);
}

static void a_lone_copy_moves_off_a_draining_node(void **state) {
    (void)state;
    story_lattice *of = story_open(2, 1);
    (void)story_settle(of, 40, NULL);
    uint32_t drained = (uint32_t)of->shards[0].leader;
    of->nodes[drained].as.state = LW_MEMBER_LEAVING;
    (void)story_settle(of, 40, NULL);
    expect_whole(of, 1);
    story_close(of);
}

static void of_three_nodes_one_may_be_emptied(void **state) {
    (void)state;
    story_lattice *of = story_open(3, 30);
    (void)story_settle(of, 200, NULL);
    of->nodes[1].as.state = LW_MEMBER_DRAINING;
    (void)story_settle(of, 200, NULL);
    expect_whole(of, 1);
    story_close(of);
}

/* Two would stay of three, and neither of them could be lost. */
static void voters_go_in_pairs(void **state) {
    (void)state;
    story_lattice *of = story_open(3, 1);
    (void)story_settle(of, 40, NULL);
    uint32_t leader = (uint32_t)of->shards[0].leader, drained = (leader + 1) % 3;
    of->trace[0] = '\0';
    of->nodes[drained].as.state = LW_MEMBER_DRAINING;
    (void)story_settle(of, 40, NULL);
    expect_whole(of, 1);
    assert_non_null(strstr(of->trace, "is draining, and with it goes"));
    story_close(of);
}

static void without_a_healthy_quorum_nothing_is_tried(void **state) {
    (void)state;
    story_lattice *of = story_open(3, 1);
    (void)story_settle(of, 40, NULL);
    story_add_node(of, "", 0);
    story_add_node(of, "", 0);
    of->trace[0] = '\0';
    uint32_t leader = (uint32_t)of->shards[0].leader;
    for (uint32_t place = 0; place < 3; place++) {
        if (of->shards[0].replicas[place].node != leader) {
            story_kill(of, of->shards[0].replicas[place].node);
        }
    }
    story_view(of, leader);
    lw_shard_descriptor descriptor;
    lw_placement_progress progress[8];
    lw_placement_step step;
    story_describe(of, &of->shards[0], &descriptor, progress);
    lw_placement_shard input = {
        .shard = &descriptor, .progress = progress, .progress_count = 3, .settled = true};
    lw_placement_decide(&of->view, &input, &step);
    assert_int_equal(step.kind, LW_PLACEMENT_NOTHING);
    assert_string_equal(step.reason, "waits: too few voters are healthy to decide anything");
    story_close(of);
}

static void a_change_under_way_is_waited_for(void **state) {
    (void)state;
    story_lattice *of = story_open(3, 1);
    story_view(of, 0);
    lw_shard_descriptor descriptor = {
        .id = 1, .replicas = {{story_id(0), LW_REPLICA_VOTER}}, .replica_count = 1};
    lw_placement_shard input = {.shard = &descriptor, .changing = true};
    lw_placement_step step;
    lw_placement_decide(&of->view, &input, &step);
    assert_int_equal(step.kind, LW_PLACEMENT_NOTHING);
    assert_int_equal(step.wanted_count, 3); /* where it should be is known all the same */
    input.changing = false;
    lw_placement_decide(&of->view, &input, &step);
    assert_int_equal(step.kind, LW_PLACEMENT_ADD);
    descriptor.replicas[1] = (lw_shard_replica){story_id(1), LW_REPLICA_JOINING};
    descriptor.replica_count = 2;
    lw_placement_decide(&of->view, &input, &step);
    assert_int_equal(step.kind, LW_PLACEMENT_NOTHING);
    assert_int_equal(step.wanted_count, 0);
    story_close(of);
}

/* ---- many shards --------------------------------------------------------------------------------
 */

static uint32_t replicas_on(const story_lattice *of, uint32_t node) {
    return (uint32_t)of->nodes[node].as.load.shards;
}

static void expect_spread(const story_lattice *of, uint32_t slack_percent) {
    uint32_t shards = 0, leaders = 0, alive = 0;
    for (uint32_t index = 0; index < of->node_count; index++) {
        shards += replicas_on(of, index);
        leaders += (uint32_t)of->nodes[index].as.load.leaders;
        alive += of->nodes[index].alive;
    }
    for (uint32_t index = 0; index < of->node_count; index++) {
        if (of->nodes[index].alive) {
            assert_in_range(replicas_on(of, index) * 100, 0,
                            (100 + slack_percent) * (shards / alive + 1));
            assert_in_range(of->nodes[index].as.load.leaders, 0, leaders / alive + 3);
        }
    }
}

/* A client makes a learner of a node where the shard is not wanted: that would be taken out before
 * it has caught up. */
static void what_is_moved_by_hand_is_left_alone(void **state) {
    (void)state;
    story_lattice *of = story_open(4, 1);
    (void)story_settle(of, 60, NULL);
    uint32_t leader = (uint32_t)of->shards[0].leader;
    story_view(of, leader);
    lw_shard_descriptor descriptor;
    lw_placement_progress progress[8];
    lw_placement_step step;
    story_describe(of, &of->shards[0], &descriptor, progress);
    assert_int_equal(descriptor.replica_count, 3);
    lw_placement_shard input = {
        .shard = &descriptor, .progress = progress, .progress_count = 3, .settled = true};
    lw_placement_decide(&of->view, &input, &step);
    assert_int_equal(step.wanted_count, 3);
    for (uint32_t node = 0; node < 4; node++) {
        bool held = false;
        for (uint32_t index = 0; index < 3; index++) {
            held = held || descriptor.replicas[index].node == story_id(node);
        }
        if (!held) {
            descriptor.replicas[3] = (lw_shard_replica){story_id(node), LW_REPLICA_LEARNER};
        }
    }
    descriptor.replica_count = 4;
    lw_placement_decide(&of->view, &input, &step);
    assert_int_equal(step.kind, LW_PLACEMENT_REMOVE);
    input.by_hand = true;
    lw_placement_decide(&of->view, &input, &step);
    assert_int_equal(step.kind, LW_PLACEMENT_NOTHING);
    assert_string_equal(step.reason, "waits: it was moved by hand just now");
    story_close(of);
}

static void shards_and_leaders_spread(void **state) {
    (void)state;
    static const uint32_t sizes[][2] = {{3, 1}, {3, 9}, {3, 200}, {5, 300}, {17, 400}, {40, 600}};
    for (size_t index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++) {
        story_lattice *of = story_open(sizes[index][0], sizes[index][1]);
        if (sizes[index][0] > 5) {
            story_spread(of);
        }
        (void)story_settle(of, 2000, NULL);
        expect_whole(of, 3);
        expect_spread(of, 100);
        story_close(of);
    }
}

/* Some have a learner here and want one there, others the other way round, and both nodes are given
 * as much as they take at a time: P5. */
static void shards_that_wait_for_room_on_each_others_nodes_get_it(void **state) {
    (void)state;
    story_lattice *of = story_open(3, 40);
    (void)story_settle(of, 300, NULL);
    expect_whole(of, 3);
    story_close(of);
}

static void of_three_nodes_each_leads_a_third(void **state) {
    (void)state;
    story_lattice *of = story_open(3, 9);
    (void)story_settle(of, 300, NULL);
    for (uint32_t node = 0; node < 3; node++) {
        assert_int_equal(of->nodes[node].as.load.leaders, 3);
    }
    story_close(of);
}

/* All see at once that it leads nothing, and each could give it something. */
static void a_node_that_leads_nothing_is_not_given_too_much(void **state) {
    (void)state;
    story_lattice *of = story_open(30, 150);
    story_spread(of);
    (void)story_settle(of, 2000, NULL);
    for (uint32_t index = 0; index < of->shard_count; index++) {
        story_shard *shard = &of->shards[index];
        for (uint32_t place = 0; shard->leader == 3; place++) {
            shard->leader = shard->replicas[place].node;
        }
    }
    uint64_t most = 0;
    for (int round = 0; round < 60; round++) {
        (void)story_round(of);
        story_count_loads(of);
        uint64_t leads = of->nodes[3].as.load.leaders;
        most = leads > most ? leads : most;
    }
    assert_in_range(most, 4, 8); /* 5 are its share */
    story_close(of);
}

static void a_newcomer_takes_its_share_and_moves_nothing_else(void **state) {
    (void)state;
    story_lattice *of = story_open(19, 1000);
    story_spread(of);
    (void)story_settle(of, 3000, NULL);
    uint32_t steps[6];
    story_add_node(of, "", 0);
    (void)story_settle(of, 3000, steps);
    expect_whole(of, 3);
    uint32_t share = 3 * 1000 / 20;
    assert_in_range(replicas_on(of, 19), share * 3 / 4, share * 5 / 4);
    assert_int_equal(steps[LW_PLACEMENT_ADD], replicas_on(of, 19));
    assert_true(steps[LW_PLACEMENT_REPLACE] <= steps[LW_PLACEMENT_ADD]);
    story_close(of);
}

static void after_a_death_all_is_replicated_again(void **state) {
    (void)state;
    story_lattice *of = story_open(12, 800);
    story_spread(of);
    (void)story_settle(of, 3000, NULL);
    uint32_t lost = replicas_on(of, 4), steps[6];
    story_kill(of, 4);
    for (uint32_t round = 0; round <= of->grace_rounds; round++) {
        (void)story_round(of);
    }
    (void)story_settle(of, 3000, steps);
    expect_whole(of, 3);
    assert_int_equal(steps[LW_PLACEMENT_ADD], lost);
    of->nodes[4].alive = true; /* it comes back, and is given its share again */
    (void)story_settle(of, 3000, NULL);
    expect_whole(of, 3);
    assert_true(replicas_on(of, 4) > lost / 2);
    story_close(of);
}

static void a_flickering_node_moves_nothing(void **state) {
    (void)state;
    story_lattice *of = story_open(6, 300);
    (void)story_settle(of, 3000, NULL);
    for (int flicker = 0; flicker < 10; flicker++) {
        story_kill(of, 2);
        for (uint32_t round = 0; round + 1 < of->grace_rounds; round++) {
            (void)story_round(of);
            assert_int_equal(of->steps[LW_PLACEMENT_ADD] + of->steps[LW_PLACEMENT_REMOVE], 0);
        }
        of->nodes[2].alive = true;
        (void)story_round(of);
        assert_int_equal(of->steps[LW_PLACEMENT_ADD] + of->steps[LW_PLACEMENT_REMOVE], 0);
    }
    story_close(of);
}

static void deaths_and_newcomers_at_once_lose_no_quorum(void **state) {
    (void)state;
    uint64_t seed = 17;
    story_lattice *of = story_open(9, 200);
    (void)story_settle(of, 3000, NULL);
    for (int event = 0; event < 60; event++) {
        uint32_t node = (uint32_t)unit_random_below(&seed, of->node_count);
        uint32_t dead = 0;
        for (uint32_t index = 0; index < of->node_count; index++) {
            dead += !of->nodes[index].alive;
        }
        if (!of->nodes[node].alive) {
            of->nodes[node].alive = true;
        } else if (dead == 0) {
            story_kill(of, node);
        } else if (of->node_count < 14) {
            story_add_node(of, "", 0);
        }
        for (uint64_t round = unit_random_below(&seed, 30); round > 0; round--) {
            (void)story_round(of); /* P1 is checked at every step */
        }
    }
    for (uint32_t index = 0; index < of->node_count; index++) {
        of->nodes[index].alive = true;
    }
    (void)story_settle(of, 3000, NULL);
    expect_whole(of, 3);
    story_close(of);
}

static void zones_hold_one_replica_each(void **state) {
    (void)state;
    static const char *const zones[] = {"a", "b", "c"};
    story_lattice *of = story_open(0, 300);
    for (int index = 0; index < 9; index++) {
        story_add_node(of, zones[index % 3], 0);
    }
    (void)story_settle(of, 3000, NULL);
    expect_whole(of, 3);
    for (uint32_t index = 0; index < of->shard_count; index++) {
        uint32_t seen = 0;
        for (uint32_t place = 0; place < 3; place++) {
            seen |= 1U << (of->shards[index].replicas[place].node % 3);
        }
        assert_int_equal(seen, 7);
    }
    story_close(of);
}

static void a_node_of_twice_the_capacity_holds_more(void **state) {
    (void)state;
    story_lattice *of = story_open(0, 1500);
    for (int index = 0; index < 15; index++) {
        story_add_node(of, "", (index == 0 ? UINT64_C(2) : UINT64_C(1)) << 40);
    }
    story_spread(of);
    (void)story_settle(of, 3000, NULL);
    uint32_t usual = (4500 - replicas_on(of, 0)) / 14;
    assert_in_range(replicas_on(of, 0) * 10, usual * 16, usual * 23);
    story_close(of);
}

static void without_a_bus_only_what_is_needed_moves(void **state) {
    (void)state;
    story_lattice *of = story_open(6, 100);
    (void)story_settle(of, 3000, NULL);
    of->calm = false;
    story_add_node(of, "", 0);
    assert_int_equal(story_settle(of, 300, NULL), 0);
    story_kill(of, 1);
    for (uint32_t round = 0; round <= of->grace_rounds; round++) {
        (void)story_round(of);
    }
    assert_true(story_settle(of, 3000, NULL) > 0);
    for (uint32_t index = 0; index < of->shard_count; index++) {
        assert_null(story_find(&of->shards[index], 1));
    }
    story_close(of);
}

static void a_hot_shard_pushes_others_away(void **state) {
    (void)state;
    story_lattice *of = story_open(3, 30);
    of->shards[0].rate = 30000;
    for (uint32_t index = 1; index < 30; index++) {
        of->shards[index].rate = 1000;
    }
    (void)story_settle(of, 500, NULL);
    uint32_t hot = (uint32_t)of->shards[0].leader;
    for (uint32_t node = 0; node < 3; node++) {
        assert_true(node == hot ||
                    of->nodes[node].as.load.leaders > of->nodes[hot].as.load.leaders);
    }
    story_close(of);
}

static void a_node_is_not_filled_from_everywhere_at_once(void **state) {
    (void)state;
    story_lattice *of = story_open(10, 500);
    (void)story_settle(of, 3000, NULL);
    of->receiving_most = 0;
    story_add_node(of, "", 0);
    (void)story_settle(of, 3000, NULL);
    /* Ten leaders that decide on the same news may each begin two. */
    assert_in_range(of->receiving_most, 1, 2 * 10);
    story_close(of);
}

/* ---- small neighbours ---------------------------------------------------------------------------
 */

static bool same_nodes(story_shard *a, story_shard *b) {
    bool same = a->replica_count == b->replica_count;
    for (uint32_t place = 0; place < a->replica_count && same; place++) {
        same = story_find(b, a->replicas[place].node) != NULL;
    }
    return same;
}

/* Of each three shards two are placed as the first one is. */
static void anchor_groups(story_lattice *of) {
    for (uint32_t index = 0; index < of->shard_count; index++) {
        of->shards[index].anchor = of->shards[index - index % 3].id;
    }
}

static void remember(const story_lattice *of, story_shard *before) {
    memcpy(before, of->shards, of->shard_count * sizeof(*before));
}

/* P7: nothing else moves, and what moves moves once. When they are neighbours no more, they go back
 * to where they were. */
static void shards_come_to_the_nodes_of_their_anchor_and_go_back(void **state) {
    (void)state;
    enum { COUNT = 90 };
    story_shard before[COUNT];
    uint32_t steps[6];
    story_lattice *of = story_open(9, COUNT);
    story_spread(of);
    (void)story_settle(of, 3000, NULL);
    remember(of, before);
    anchor_groups(of);
    (void)story_settle(of, 3000, steps);
    expect_whole(of, 3);
    for (uint32_t index = 0; index < COUNT; index++) {
        assert_true(same_nodes(&of->shards[index], &of->shards[index - index % 3]));
        assert_true(index % 3 != 0 || same_nodes(&of->shards[index], &before[index]));
    }
    assert_in_range(steps[LW_PLACEMENT_ADD], COUNT / 3, 3 * (COUNT - COUNT / 3));
    assert_true(steps[LW_PLACEMENT_REPLACE] <= steps[LW_PLACEMENT_ADD]);
    for (uint32_t index = 0; index < COUNT; index++) {
        of->shards[index].anchor = 0;
    }
    (void)story_settle(of, 3000, NULL);
    for (uint32_t index = 0; index < COUNT; index++) {
        assert_true(same_nodes(&of->shards[index], &before[index]));
    }
    story_close(of);
}

static void without_a_bus_neighbours_stay_apart(void **state) {
    (void)state;
    story_lattice *of = story_open(9, 30);
    (void)story_settle(of, 3000, NULL);
    anchor_groups(of);
    of->calm = false;
    assert_int_equal(story_settle(of, 300, NULL), 0);
    story_close(of);
}

static void a_step_towards_neighbours_says_so(void **state) {
    (void)state;
    story_lattice *of = story_open(9, 1);
    (void)story_settle(of, 100, NULL);
    of->shards[0].anchor = lw_mix(77);
    of->trace[0] = '\0';
    (void)story_settle(of, 100, NULL);
    assert_non_null(strstr(of->trace, "which does not have the small neighbours"));
    story_close(of);
}

/* ---- figures: UNIT_FIGURES=1 prints them --------------------------------------------------------
 */

static void figures_of(uint32_t node_count, uint32_t shard_count) {
    uint32_t steps[6];
    story_lattice *of = story_open(node_count, shard_count);
    story_spread(of);
    uint32_t rounds = story_settle(of, 20000, steps);
    printf("%u nodes, %u shards: at rest after %u rounds, %u learners, %u transfers\n", node_count,
           shard_count, rounds, steps[LW_PLACEMENT_ADD], steps[LW_PLACEMENT_TRANSFER]);
    story_add_node(of, "", 0);
    rounds = story_settle(of, 20000, steps);
    printf("  a node joins: %u rounds, %u replicas move (its share is %u), %u transfers\n", rounds,
           steps[LW_PLACEMENT_ADD], 3 * shard_count / (node_count + 1),
           steps[LW_PLACEMENT_TRANSFER]);
    uint32_t lost = replicas_on(of, 1);
    story_kill(of, 1);
    for (uint32_t round = 0; round <= of->grace_rounds; round++) {
        (void)story_round(of);
    }
    rounds = story_settle(of, 20000, steps);
    expect_whole(of, 3);
    printf("  a node dies: %u rounds, %u replicas made of %u lost, %u transfers\n", rounds,
           steps[LW_PLACEMENT_ADD], lost, steps[LW_PLACEMENT_TRANSFER]);
    story_close(of);
}

static void figures(void **state) {
    (void)state;
    if (getenv("UNIT_FIGURES") == NULL) {
        skip();
    }
    alarm(900);
    figures_of(3, 1000);
    figures_of(10, 1000);
    figures_of(100, 10000);
    figures_of(300, 10000);
}

/* ---- cures taken out ----------------------------------------------------------------------------
 */

static void planted_bugs_show(void **state) {
    static const planted_bit bugs[] = {
        {LW_BUG_ALL_MUST_BE_SEEN, a_dead_voter_is_replaced_after_the_grace},
        {LW_BUG_QUORUM_IGNORED, without_a_healthy_quorum_nothing_is_tried},
        {LW_BUG_LAGGARDS_ARE_HEALTHY, deaths_and_newcomers_at_once_lose_no_quorum},
        {LW_BUG_EVEN_VOTERS, voters_go_in_pairs},
        {LW_BUG_ROOM_AWAITED, shards_that_wait_for_room_on_each_others_nodes_get_it},
    };
    planted_bits_show(bugs, sizeof(bugs) / sizeof(bugs[0]), &story_planted, state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lone_node_has_nothing_to_do),
        cmocka_unit_test(three_nodes_hold_a_shard_of_one),
        cmocka_unit_test(two_nodes_hold_each_shard_once),
        cmocka_unit_test(a_dead_voter_is_replaced_after_the_grace),
        cmocka_unit_test(a_dead_voter_without_a_replacement_stays),
        cmocka_unit_test(a_draining_leader_hands_over_and_is_emptied),
        cmocka_unit_test(a_lone_copy_moves_off_a_draining_node),
        cmocka_unit_test(of_three_nodes_one_may_be_emptied),
        cmocka_unit_test(voters_go_in_pairs),
        cmocka_unit_test(without_a_healthy_quorum_nothing_is_tried),
        cmocka_unit_test(a_change_under_way_is_waited_for),
        cmocka_unit_test(what_is_moved_by_hand_is_left_alone),
        cmocka_unit_test(shards_and_leaders_spread),
        cmocka_unit_test(shards_that_wait_for_room_on_each_others_nodes_get_it),
        cmocka_unit_test(of_three_nodes_each_leads_a_third),
        cmocka_unit_test(a_node_that_leads_nothing_is_not_given_too_much),
        cmocka_unit_test(a_newcomer_takes_its_share_and_moves_nothing_else),
        cmocka_unit_test(after_a_death_all_is_replicated_again),
        cmocka_unit_test(a_flickering_node_moves_nothing),
        cmocka_unit_test(deaths_and_newcomers_at_once_lose_no_quorum),
        cmocka_unit_test(zones_hold_one_replica_each),
        cmocka_unit_test(a_node_of_twice_the_capacity_holds_more),
        cmocka_unit_test(without_a_bus_only_what_is_needed_moves),
        cmocka_unit_test(a_hot_shard_pushes_others_away),
        cmocka_unit_test(a_node_is_not_filled_from_everywhere_at_once),
        cmocka_unit_test(shards_come_to_the_nodes_of_their_anchor_and_go_back),
        cmocka_unit_test(without_a_bus_neighbours_stay_apart),
        cmocka_unit_test(a_step_towards_neighbours_says_so),
        cmocka_unit_test(planted_bugs_show),
        cmocka_unit_test(figures),
    };
    return cmocka_run_group_tests_name("placement", tests, unit_arm, NULL) == 0 ? 0 : 1;
}
