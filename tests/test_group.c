/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/group_story.h"

/* Ends a story that is to have gone well. */
static void end_well(story *on) {
    char failure[256];
    memcpy(failure, on->failure, sizeof(failure));
    if (failure[0] != 0) {
        lw_world_report(on->world, stderr);
    }
    story_close(on);
    if (failure[0] != 0) {
        fail_msg("not as expected: %s", failure);
    }
}

static void three_nodes_agree(void **state) {
    (void)state;
    story *on = story_open(1, 3, 3, NULL);
    story_boot_all(on);
    (void)story_await_leader(on);
    story_write(on, 200);
    story_heal(on);
    story_expect(on, on->nodes[0].state.count == 200, "nothing is applied twice");
    end_well(on);
}

static void messages_may_be_lost(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        story *on = story_open(seed, 3, 3, NULL);
        on->loss_percent = 20;
        on->delay_ms = 5;
        story_boot_all(on);
        story_write(on, 60);
        story_heal(on);
        end_well(on);
    }
}

/* ---- followers that are behind -------------------------------------------------------------- */

static void a_follower_catches_up_from_the_log(void **state) {
    (void)state;
    story *on = story_open(2, 3, 3, NULL);
    on->kept_size = 2048;
    on->value_size = 200;
    story_boot_all(on);
    uint32_t leader = story_await_leader(on), follower = (leader + 1) % 3;
    story_write(on, 5);
    story_cut(on, follower, true);
    story_write(on, 400);
    story_expect(on, !story_marked(on, "group.read_back"), "nothing is read back before");
    story_cut(on, follower, false);
    story_pass(on, 1000);
    story_expect(on, on->nodes[follower].state.index == on->nodes[leader].state.index,
                 "it has caught up");
    story_expect(on, story_marked(on, "group.read_back"), "from the log");
    story_expect(on, !story_marked(on, "group.snapshot_wanted"), "without a snapshot");
    story_heal(on);
    end_well(on);
}

static void a_follower_far_behind_gets_a_snapshot(void **state) {
    (void)state;
    story *on = story_open(3, 3, 3, NULL);
    on->kept_size = 2048;
    on->value_size = 2000;
    on->behind_max = 64 * 1024;
    story_boot_all(on);
    uint32_t leader = story_await_leader(on), follower = (leader + 1) % 3;
    story_write(on, 5);
    story_cut(on, follower, true);
    story_write(on, 400);
    story_cut(on, follower, false);
    story_pass(on, 1000);
    story_expect(on, on->nodes[follower].state.index == on->nodes[leader].state.index,
                 "it has caught up");
    story_expect(on, story_marked(on, "group.snapshot_installed"), "by a snapshot");
    story_write(on, 50);
    story_crash(on, follower);
    story_heal(on);
    end_well(on);
}

/* Hazard R18. What the leader keeps most in memory, while a follower is slow. */
static size_t kept_for_who_is_slow(size_t kept_size, size_t memory_size, const char *bug) {
    story *on = story_open(4, 3, 3, bug);
    on->kept_size = kept_size;
    on->memory_size = memory_size;
    on->value_size = 4000;
    story_boot_all(on);
    uint32_t leader = story_await_leader(on), follower = (leader + 1) % 3;
    lw_host_slow_disk(on->nodes[follower].host, 200);
    for (int round = 0; round < 100; round++) {
        for (int each = 0; each < 8; each++) {
            (void)story_propose(on, leader);
        }
        story_pass(on, 5);
    }
    story_expect(on, on->acknowledged_count == 800, "the others go on");
    size_t kept = on->nodes[leader].kept_most;
    lw_host_slow_disk(on->nodes[follower].host, 1);
    story_heal(on);
    end_well(on);
    return kept;
}

static void a_slow_follower_bounds_memory(void **state) {
    (void)state;
    assert_true(kept_for_who_is_slow(64 * 1024, 0, NULL) < 256 * 1024);
}

static void what_is_kept_for_the_slow_is_a_part_of_the_budget(void **state) {
    (void)state;
    size_t memory_size = 1024 * 1024;
    assert_true(kept_for_who_is_slow(0, memory_size, NULL) < memory_size / 4);
    assert_true(kept_for_who_is_slow(0, memory_size, "group.keeps_beyond_the_budget") >
                memory_size);
}

static void without_room_nothing_is_taken(void **state) {
    (void)state;
    story *on = story_open(5, 3, 3, NULL);
    on->value_size = 1000;
    story_boot_all(on);
    uint32_t leader = story_await_leader(on), follower = (leader + 1) % 3;
    story_write(on, 5);
    story_pass(on, 50);
    on->nodes[follower].no_room = true;
    uint64_t before = lw_group_last_index(on->nodes[follower].group), messages = on->messages;
    story_write(on, 100);
    story_expect(on, lw_group_last_index(on->nodes[follower].group) == before, "it takes nothing");
    story_expect(on, story_leader(on) == leader, "and still counts as alive");
    messages = on->messages;
    story_pass(on, 1000);
    story_expect(on, on->messages - messages < 1000, "it is not asked all the time");
    story_heal(on);
    end_well(on);
}

/* Who could send another tree is one of those that wait for the log. */
static void what_waits_for_another_tree_needs_no_room_in_this_one(void **state) {
    (void)state;
    story *on = story_open(16, 3, 3, NULL);
    story_boot_all(on);
    uint32_t leader = story_await_leader(on);
    story_write(on, 5);
    for (uint32_t at = 0; at < 3; at++) {
        on->nodes[at].no_room = at != leader;
        lw_group_hold(on->nodes[at].group, true);
    }
    story_write(on, 20);
    story_expect(on, on->nodes[(leader + 1) % 3].state.index < on->nodes[leader].state.index,
                 "it is not applied");
    for (uint32_t at = 0; at < 3; at++) {
        lw_group_hold(on->nodes[at].group, false);
    }
    story_heal(on);
    end_well(on);
}

/* ---- pauses --------------------------------------------------------------------------------- */

static void while_paused_nothing_is_applied(void **state) {
    (void)state;
    for (uint32_t voters = 1; voters <= 3; voters += 2) {
        story *on = story_open(15, voters, voters, NULL);
        story_boot_all(on);
        uint32_t leader = story_await_leader(on);
        story_node *node = &on->nodes[leader];
        story_write(on, 5);
        node->pauses = true;
        (void)story_propose(on, leader);
        story_pass(on, 20);
        story_expect(on, on->acknowledged_count == 6, "what pauses is applied, and told");
        (void)story_propose(on, leader);
        (void)story_propose_as(on, leader, true);
        uint64_t index = node->state.index;
        story_pass(on, 20);
        story_expect(on, on->acknowledged_count == 7, "what is committed is told to who asked");
        story_expect(on, node->state.index == index, "nothing is applied");
        uint64_t term;
        lw_status status = lw_group_snapshot_begin(node->group, 9, index, &term);
        story_expect(on, status == LW_UNAVAILABLE, "what follows may not be in a snapshot");
        lw_group_resume(node->group);
        story_pass(on, 20);
        status = lw_group_snapshot_begin(node->group, 9, index, &term);
        story_expect(on, status == LW_UNAVAILABLE, "nor when it was made before");
        if (voters > 1) {
            status = lw_group_snapshot_begin(node->group, 9, index, &term);
            story_expect(on, status == LW_OK, "one that was made since is good");
            lw_group_snapshot_sent(node->group, 9, 0);
        }
        story_expect(on, on->acknowledged_count == 8, "then the rest is");
        story_write(on, 5);
        story_heal(on);
        end_well(on);
    }
}

/* ---- leadership ----------------------------------------------------------------------------- */

static void a_proposal_ends_when_the_leadership_does(void **state) {
    (void)state;
    story *on = story_open(6, 3, 3, NULL);
    story_boot_all(on);
    uint32_t leader = story_await_leader(on);
    story_write(on, 5);
    story_cut(on, leader, true);
    (void)story_propose(on, leader);
    story_pass(on, 1000);
    story_expect(on, on->nodes[leader].proposing == 0, "it does not wait for ever");
    story_expect(on, on->last == LW_UNAVAILABLE, "nobody knows what became of it");
    story_expect(on, on->nodes[leader].led_term == 0, "the replica is told");
    story_expect(on, story_leader(on) != leader, "another leads");
    (void)story_propose(on, leader);
    story_pass(on, 1);
    story_expect(on, on->last == LW_UNAVAILABLE, "and it refuses what comes");
    story_write(on, 5);
    story_heal(on);
    story_expect(on, story_marked(on, "group.suffix_replaced"), "it came to nothing");
    end_well(on);
}

static void leadership_is_handed_over(void **state) {
    (void)state;
    story *on = story_open(7, 3, 3, NULL);
    story_boot_all(on);
    uint32_t leader = story_await_leader(on), next = (leader + 1) % 3;
    story_write(on, 5);
    story_pass(on, 100);
    lw_status status = lw_group_transfer(on->nodes[leader].group, next + 1);
    story_expect(on, status == LW_OK, "the leader hands over");
    story_pass(on, 50);
    story_expect(on, story_leader(on) == next, "the other one leads");
    story_write(on, 5);
    story_heal(on);
    end_well(on);
}

/* What a read found out: at a node, by a fiber of its own. */
typedef struct reader {
    story_node *node;
    lw_status status;
    uint64_t lease, index;
    bool held, done;
} reader;

static void read_main(void *argument) {
    reader *it = argument;
    uint64_t until_ns = lw_env_now(it->node->env) + 500 * STORY_MS;
    it->status = lw_group_read(it->node->group, until_ns, &it->lease);
    it->index = it->node->state.index;
    it->held = lw_group_lease_held(it->node->group, it->lease);
    it->done = true;
}

static reader *read_at(story *on, uint32_t at) {
    reader *it = lw_allocate_zero(on->memory, sizeof(*it));
    it->node = &on->nodes[at];
    lw_env_start(it->node->env, "read", read_main, it);
    return it;
}

static void a_leader_reads_under_its_lease(void **state) {
    (void)state;
    story *on = story_open(8, 3, 3, NULL);
    story_boot_all(on);
    uint32_t leader = story_await_leader(on);
    story_write(on, 20);
    reader *it = read_at(on, leader);
    story_pass(on, 0);
    story_expect(on, it->done && it->status == LW_OK && it->lease != 0 && it->held, "at once");
    story_expect(on, it->index >= 20, "what was acknowledged is there");
    reader *other = read_at(on, (leader + 1) % 3);
    story_pass(on, 1);
    story_expect(on, other->done && other->status == LW_UNAVAILABLE, "a follower does not");
    end_well(on);
}

/* Hazard R7. */
static void a_leader_cut_off_reads_no_more(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        story *on = story_open(seed, 3, 3, NULL);
        story_boot_all(on);
        uint32_t leader = story_await_leader(on);
        story_write(on, 5);
        story_cut(on, leader, true);
        reader *before = read_at(on, leader);
        for (int round = 0; round < 200 && story_leader(on) == leader; round++) {
            story_pass(on, 5);
        }
        (void)story_await_leader(on);
        reader *after = read_at(on, leader);
        story_pass(on, 600);
        story_expect(on, after->done && after->status != LW_OK, "another may have written");
        story_expect(on,
                     !lw_group_lease_held(before->node->group, before->lease) || before->lease == 0,
                     "an old lease is over");
        story_heal(on);
        end_well(on);
    }
}

static void a_silent_group_reads_by_a_round(void **state) {
    (void)state;
    story *on = story_open(9, 3, 3, NULL);
    story_boot_all(on);
    uint32_t leader = story_await_leader(on);
    story_write(on, 5);
    story_pass(on, 2000);
    reader *it = read_at(on, leader);
    story_pass(on, 20);
    story_expect(on, it->done && it->status == LW_OK && it->held, "it asks the others");
    story_expect(on, story_marked(on, "group.read_by_round"), "since its lease ran out");
    end_well(on);
}

static void an_idle_group_is_silent(void **state) {
    (void)state;
    story *on = story_open(10, 3, 3, NULL);
    story_boot_all(on);
    uint32_t leader = story_await_leader(on);
    story_write(on, 5);
    story_pass(on, 2000);
    uint64_t messages = on->messages;
    story_pass(on, 100000);
    story_expect(on, on->messages == messages, "nobody says anything");
    story_expect(on, story_leader(on) == leader, "and it still leads");
    story_crash(on, leader);
    story_pass(on, 1000);
    story_expect(on, story_leader(on) < 3, "a link that breaks wakes the others");
    story_write(on, 5);
    story_pass(on, 2000);
    messages = on->messages;
    story_pass(on, 10000);
    story_expect(on, on->messages == messages, "nobody talks to who is known to be dead");
    story_heal(on);
    end_well(on);
}

/* ---- members -------------------------------------------------------------------------------- */

static lw_group_members members_of(const char *roles) {
    lw_group_members members = {.count = 0};
    for (uint32_t at = 0; roles[at] != 0; at++) {
        if (roles[at] != '-') {
            members.replicas[members.count++] =
                (lw_shard_replica){.node = at + 1,
                                   .role = roles[at] == 'v'   ? LW_REPLICA_VOTER
                                           : roles[at] == 'l' ? LW_REPLICA_LEARNER
                                           : roles[at] == 'j' ? LW_REPLICA_JOINING
                                                              : LW_REPLICA_LEAVING};
        }
    }
    return members;
}

/* Proposes it at the leader until it is applied. */
static void change_to(story *on, const char *roles) {
    lw_group_members members = members_of(roles);
    on->last = LW_REFUSED;
    for (int round = 0; round < 200 && on->last != LW_OK; round++) {
        uint32_t leader = story_await_leader(on);
        if (leader < on->node_count && on->nodes[leader].proposing == 0) {
            story_change(on, leader, &members);
        }
        story_pass(on, 20);
    }
    story_expect(on, on->last == LW_OK, "the members change");
}

static void a_group_of_one_takes_in_others(void **state) {
    (void)state;
    story *on = story_open(11, 3, 1, NULL);
    story_boot_all(on);
    story_expect(on, story_await_leader(on) == 0, "it leads by itself");
    story_write(on, 50);
    story_expect(on, lw_group_alone(on->nodes[0].group) && on->messages == 0, "and asks nobody");
    uint64_t term = lw_group_term(on->nodes[0].group);
    change_to(on, "vl");
    story_expect(on, lw_group_leads(on->nodes[0].group) == term, "it goes on leading");
    change_to(on, "vll");
    change_to(on, "vjl");
    change_to(on, "vvl");
    change_to(on, "vvj");
    change_to(on, "vvv");
    story_write(on, 20);
    story_crash(on, 0);
    story_write(on, 20);
    story_expect(on, story_leader(on) != 0, "the others go on without it");
    story_heal(on);
    end_well(on);
}

/* Hazard R3: what was in the log of a group of one, and not known to be committed by anybody. */
static void a_group_that_opened_up_may_crash(void **state) {
    (void)state;
    for (uint64_t step = 0; step < 40; step++) {
        story *on = story_open(step, 3, 1, NULL);
        story_boot_all(on);
        (void)story_await_leader(on);
        story_write(on, 3);
        lw_host_crash_after(on->nodes[0].host, step, LW_CRASH_AFTER);
        lw_group_members learner = members_of("vl");
        for (int round = 0; round < 20; round++) {
            story_revive(on);
            uint32_t leader = story_leader(on);
            if (leader < 3 && on->nodes[leader].state.members.count == 1) {
                story_change(on, leader, &learner);
            } else if (leader < 3) {
                (void)story_propose(on, leader);
            }
            story_pass(on, 20);
        }
        story_expect(on, on->nodes[0].state.members.count == 2, "the other one was taken in");
        on->node_count = 2;
        story_heal(on);
        end_well(on);
    }
}

static void a_member_leaves(void **state) {
    (void)state;
    story *on = story_open(12, 4, 4, NULL);
    story_boot_all(on);
    uint32_t leader = story_await_leader(on);
    story_write(on, 5);
    if (leader == 3) {
        lw_status status = lw_group_transfer(on->nodes[3].group, 1);
        story_expect(on, status == LW_OK, "another leads");
        story_pass(on, 100);
    }
    story_cut(on, 3, true); /* it never hears of it */
    change_to(on, "vvvo");
    story_pass(on, 100);
    story_expect(on, on->nodes[story_leader(on)].state.members.count == 3, "two sets become one");
    story_cut(on, 3, false);
    story_pass(on, 2000);
    story_expect(on, on->nodes[3].gone, "it is told that it is no member any more (R14)");
    on->node_count = 3;
    story_write(on, 5);
    story_heal(on);
    end_well(on);
}

/* ---- what replicas applied ------------------------------------------------------------------ */

static void diverge(story *on) {
    story_boot_all(on);
    (void)story_await_leader(on);
    while (story_leader(on) == 2) {
        (void)!lw_group_transfer(on->nodes[2].group, 1);
        story_pass(on, 100);
    }
    story_write(on, 70);
    on->corrupt = true;
    story_write(on, 140);
    story_pass(on, 100);
}

/* Hazard R17. The others go on without the one that is wrong. */
static void a_replica_that_differs_halts(void **state) {
    (void)state;
    story *on = story_open(13, 3, 3, NULL);
    diverge(on);
    assert_true(on->nodes[2].diverged != 0);
    assert_true(on->nodes[0].diverged == 0 && on->nodes[1].diverged == 0);
    story_write(on, 100);
    assert_true(strstr(on->failure, "alike") != NULL); /* which is how the story sees it */
    assert_true(on->nodes[0].state.index > on->nodes[2].state.index + 50);
    story_close(on);
    on = story_open(13, 3, 3, "group.digests_not_compared");
    diverge(on);
    story_write(on, 100);
    assert_true(on->nodes[2].diverged == 0);
    story_close(on);
}

/* ---- what does not hold --------------------------------------------------------------------- */

static void nonsense_changes_nothing(void **state) {
    (void)state;
    story *on = story_open(14, 3, 3, NULL);
    story_boot_all(on);
    uint32_t leader = story_await_leader(on);
    story_write(on, 5);
    for (int round = 0; round < 200; round++) {
        uint8_t bytes[64];
        for (size_t place = 0; place < sizeof(bytes); place++) {
            bytes[place] = (uint8_t)unit_random(&on->random);
        }
        bytes[0] = 0xdc; /* an array, as a message is */
        lw_groups_receive(on->nodes[leader].groups, 2, lw_view(bytes, (size_t)round % 64));
    }
    lw_groups_figures figures;
    lw_groups_figures_get(on->nodes[leader].groups, &figures);
    story_expect(on, figures.unreadable == 200, "it is counted");
    story_write(on, 5);
    story_heal(on);
    end_well(on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_nodes_agree),
        cmocka_unit_test(messages_may_be_lost),
        cmocka_unit_test(a_follower_catches_up_from_the_log),
        cmocka_unit_test(a_follower_far_behind_gets_a_snapshot),
        cmocka_unit_test(a_slow_follower_bounds_memory),
        cmocka_unit_test(what_is_kept_for_the_slow_is_a_part_of_the_budget),
        cmocka_unit_test(without_room_nothing_is_taken),
        cmocka_unit_test(what_waits_for_another_tree_needs_no_room_in_this_one),
        cmocka_unit_test(while_paused_nothing_is_applied),
        cmocka_unit_test(a_proposal_ends_when_the_leadership_does),
        cmocka_unit_test(leadership_is_handed_over),
        cmocka_unit_test(a_leader_reads_under_its_lease),
        cmocka_unit_test(a_leader_cut_off_reads_no_more),
        cmocka_unit_test(a_silent_group_reads_by_a_round),
        cmocka_unit_test(an_idle_group_is_silent),
        cmocka_unit_test(a_group_of_one_takes_in_others),
        cmocka_unit_test(a_group_that_opened_up_may_crash),
        cmocka_unit_test(a_member_leaves),
        cmocka_unit_test(a_replica_that_differs_halts),
        cmocka_unit_test(nonsense_changes_nothing),
    };
    return cmocka_run_group_tests_name("group", tests, unit_arm, NULL);
}
