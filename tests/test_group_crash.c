/* SPDX-License-Identifier: Apache-2.0 */
/* Groups under power loss: at every step at which a leader, a follower, or one that installs a
 * snapshot changes something on its disk; of all nodes at once; and again and again. The planted
 * bugs must not survive this. */
#include "tests/group_story.h"

static const lw_crash crashes[] = {LW_CRASH_BEFORE, LW_CRASH_WITHIN, LW_CRASH_AFTER};
enum { CRASH_COUNT = 3 };

/* Ends a story; true if it went well, else what was wrong is in `failure`. */
static bool ended_well(story *on, char failure[256]) {
    memcpy(failure, on->failure, sizeof(on->failure));
    bool well = failure[0] == 0;
    story_close(on);
    return well;
}

/* Some writes at whoever leads, several at a time, while those who fell come back. */
static void live(story *on, int rounds) {
    for (int round = 0; round < rounds && on->failure[0] == 0; round++) {
        if (round % 8 == 7) {
            story_revive(on);
        }
        uint32_t leader = story_leader(on);
        for (int each = 0; each < 3 && leader < on->node_count; each++) {
            (void)story_propose(on, leader);
        }
        story_pass(on, 5);
    }
}

/* ---- one after the other -------------------------------------------------------------------- */

/* The leader, or a follower, loses power at its `step`-th step from some time on. */
static void fall_once(uint64_t step, lw_crash crash, bool of_leader) {
    story *on = story_open(step, 3, 3, NULL);
    char failure[256];
    story_boot_all(on);
    uint32_t leader = story_await_leader(on), who = of_leader ? leader : (leader + 1) % 3;
    live(on, 2);
    lw_host_crash_after(on->nodes[who].host, step, crash);
    live(on, 60);
    story_heal(on);
    if (!ended_well(on, failure)) {
        fail_msg("step %llu, crash %d, %s: %s", (unsigned long long)step, (int)crash,
                 of_leader ? "leader" : "follower", failure);
    }
}

static void power_loss_at_every_step_keeps_what_was_acknowledged(void **state) {
    (void)state;
    for (uint64_t step = 0; step < 50; step++) {
        for (size_t crash = 0; crash < CRASH_COUNT; crash++) {
            fall_once(step, crashes[crash], true);
            fall_once(step, crashes[crash], false);
        }
    }
}

static void power_loss_under_a_snapshot_leaves_all_of_it_or_nothing(void **state) {
    (void)state;
    char failure[256];
    uint64_t installed = 0;
    for (uint64_t step = 0; step < 24; step++) {
        for (size_t crash = 0; crash < CRASH_COUNT; crash++) {
            story *on = story_open(step, 3, 3, NULL);
            on->behind_max = 1;
            on->kept_size = 1;
            on->value_size = 1500;
            story_boot_all(on);
            uint32_t leader = story_await_leader(on), follower = (leader + 1) % 3;
            live(on, 1);
            story_cut(on, follower, true);
            live(on, 40);
            story_cut(on, follower, false);
            lw_host_crash_after(on->nodes[follower].host, step, crashes[crash]);
            live(on, 30);
            story_heal(on);
            installed += lw_world_marked(on->world, "group.snapshot_installed");
            if (!ended_well(on, failure)) {
                fail_msg("step %llu, crash %zu: %s", (unsigned long long)step, crash, failure);
            }
        }
    }
    assert_true(installed >= 24);
}

/* ---- all at once ---------------------------------------------------------------------------- */

/* Power fails in the whole house at some moment, while the disks of followers are slow. Who led is
 * the last to come back. */
static void go_dark(story *on) {
    uint32_t leader = story_await_leader(on);
    for (uint32_t at = 0; at < 3; at++) {
        lw_host_slow_disk(on->nodes[at].host, at == leader ? 1 : 100);
    }
    live(on, 4);
    (void)lw_world_run(on->world, story_now(on) + unit_random_below(&on->random, 10 * STORY_MS));
    for (uint32_t at = 0; at < 3; at++) {
        lw_host_slow_disk(on->nodes[at].host, 1);
        story_crash(on, at);
    }
    for (uint32_t other = 1; other <= 2; other++) {
        story_boot(on, (leader + other) % 3);
    }
    story_pass(on, 500);
    story_boot(on, leader);
    story_pass(on, 100);
}

static bool house_goes_dark(uint64_t seed, const char *bug, char failure[256]) {
    story *on = story_open(seed, 3, 3, bug);
    story_boot_all(on);
    for (int night = 0; night < 3; night++) {
        go_dark(on);
    }
    story_heal(on);
    return ended_well(on, failure);
}

static void power_loss_of_all_keeps_what_was_acknowledged(void **state) {
    (void)state;
    char failure[256];
    for (uint64_t seed = 1; seed <= 40; seed++) {
        if (!house_goes_dark(seed, NULL, failure)) {
            fail_msg("seed %llu: %s", (unsigned long long)seed, failure);
        }
    }
}

/* ---- again and again ------------------------------------------------------------------------ */

/* Nodes fall and come back, links break and mend, messages are lost. */
static bool storm(uint64_t seed, const char *bug, char failure[256]) {
    story *on = story_open(seed, 3, 3, bug);
    on->loss_percent = 10;
    on->delay_ms = 10;
    on->kept_size = 1000;
    on->behind_max = 32 * 1024;
    on->value_size = 100;
    story_boot_all(on);
    for (int round = 0; round < 40 && on->failure[0] == 0; round++) {
        uint32_t who = (uint32_t)unit_random_below(&on->random, 3);
        uint64_t what = unit_random_below(&on->random, 4);
        if (what == 0 && lw_host_running(on->nodes[who].host)) {
            lw_host_crash_after(on->nodes[who].host, unit_random_below(&on->random, 12),
                                crashes[unit_random_below(&on->random, CRASH_COUNT)]);
        } else if (what == 1) {
            story_cut(on, who, !on->cut[who][(who + 1) % 3]);
        }
        live(on, 8);
    }
    story_heal(on);
    return ended_well(on, failure);
}

static void storms_are_survived(void **state) {
    (void)state;
    char failure[256];
    for (uint64_t seed = 1; seed <= 30; seed++) {
        if (!storm(seed, NULL, failure)) {
            fail_msg("seed %llu: %s", (unsigned long long)seed, failure);
        }
    }
}

/* What may follow on the present members: somebody comes as a learner, becomes a voter, goes. */
static lw_group_members next_members(story *on, const lw_group_members *now) {
    lw_group_members next = {.count = 0};
    uint32_t who = (uint32_t)unit_random_below(&on->random, STORY_NODES), voters = 0;
    bool found = false;
    for (uint32_t place = 0; place < now->count; place++) {
        voters += now->replicas[place].role != LW_REPLICA_LEARNER;
    }
    for (uint32_t place = 0; place < now->count; place++) {
        lw_shard_replica replica = now->replicas[place];
        if (replica.node == who + 1) {
            found = true;
            if (replica.role == LW_REPLICA_LEARNER) {
                replica.role = LW_REPLICA_JOINING;
            } else if (voters > 1) {
                replica.role = LW_REPLICA_LEAVING;
            }
        }
        next.replicas[next.count++] = replica;
    }
    uint32_t place = next.count;
    for (; !found && place > 0 && next.replicas[place - 1].node > who + 1; place--) {
        next.replicas[place] = next.replicas[place - 1];
    }
    if (!found) {
        next.replicas[place] = (lw_shard_replica){.node = who + 1, .role = LW_REPLICA_LEARNER};
        next.count++;
    }
    return next;
}

static bool storm_of_members(uint64_t seed, const char *bug, char failure[256]) {
    story *on = story_open(seed, STORY_NODES, 1 + (uint32_t)seed % 3, bug);
    on->loss_percent = 5;
    on->behind_max = 32 * 1024;
    on->value_size = 300;
    story_boot_all(on);
    for (int round = 0; round < 60 && on->failure[0] == 0; round++) {
        uint32_t who = (uint32_t)unit_random_below(&on->random, STORY_NODES);
        uint64_t what = unit_random_below(&on->random, 6);
        if (what == 0 && lw_host_running(on->nodes[who].host)) {
            lw_host_crash_after(on->nodes[who].host, unit_random_below(&on->random, 12),
                                crashes[unit_random_below(&on->random, CRASH_COUNT)]);
        } else if (what == 1) {
            story_cut(on, who, !on->cut[who][(who + 1) % STORY_NODES]);
        }
        uint32_t leader = story_leader(on);
        if (what > 2 && leader < STORY_NODES) {
            lw_group_members next = next_members(on, &on->nodes[leader].state.members);
            story_change(on, leader, &next);
        }
        live(on, 8);
    }
    story_heal(on);
    return ended_well(on, failure);
}

static void members_change_in_storms(void **state) {
    (void)state;
    char failure[256];
    for (uint64_t seed = 1; seed <= 30; seed++) {
        if (!storm_of_members(seed, NULL, failure)) {
            fail_msg("seed %llu: %s", (unsigned long long)seed, failure);
        }
    }
}

/* ---- votes (R1) ----------------------------------------------------------------------------- */

/* Whom a node has voted for in some term; 0: nobody. */
static uint64_t voted_for(const story_node *node, uint64_t *term) {
    for (*term = 1; *term < STORY_TERMS; (*term)++) {
        if (node->grants[*term] != 0) {
            return node->grants[*term];
        }
    }
    return 0;
}

/* Two nodes elect a leader while the third hears nothing. Both fall at once; who gave its vote
 * comes back, and meets the third. */
static bool vote_and_fall(uint64_t seed, const char *bug, char failure[256]) {
    story *on = story_open(seed, 3, 3, bug);
    uint64_t term, candidate = 0;
    uint32_t voter = 0;
    story_cut(on, 2, true);
    story_boot_all(on);
    while (candidate == 0) {
        voter = 1 - voter;
        (void)lw_world_step(on->world);
        candidate = voted_for(&on->nodes[voter], &term);
    }
    story_crash(on, 0);
    story_crash(on, 1);
    story_cut(on, 2, false);
    story_boot(on, voter);
    story_pass(on, 500);
    story_heal(on);
    return ended_well(on, failure);
}

static void a_vote_outlives_its_voter(void **state) {
    (void)state;
    char failure[256];
    for (uint64_t seed = 1; seed <= 40; seed++) {
        if (!vote_and_fall(seed, NULL, failure)) {
            fail_msg("seed %llu: %s", (unsigned long long)seed, failure);
        }
    }
}

/* ---- planted bugs --------------------------------------------------------------------------- */

static void expect_caught(bool (*tell)(uint64_t seed, const char *bug, char failure[256]),
                          const char *bug, const char *words) {
    char failure[256] = "";
    for (uint64_t seed = 1; seed <= 100; seed++) {
        if (!tell(seed, bug, failure)) {
            if (strstr(failure, words) == NULL) {
                fail_msg("%s was noticed as something else: %s", bug, failure);
            }
            return;
        }
    }
    fail_msg("%s was not noticed", bug);
}

static void planted_bugs_are_noticed(void **state) {
    (void)state;
    expect_caught(house_goes_dark, "group.ack_before_fsync", "");
    expect_caught(vote_and_fall, "group.vote_not_persisted", "votes for two");
    expect_caught(storm, "group.apply_uncommitted", "applied alike");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_loss_at_every_step_keeps_what_was_acknowledged),
        cmocka_unit_test(power_loss_under_a_snapshot_leaves_all_of_it_or_nothing),
        cmocka_unit_test(power_loss_of_all_keeps_what_was_acknowledged),
        cmocka_unit_test(storms_are_survived),
        cmocka_unit_test(members_change_in_storms),
        cmocka_unit_test(a_vote_outlives_its_voter),
        cmocka_unit_test(planted_bugs_are_noticed),
    };
    return cmocka_run_group_tests_name("group crash", tests, unit_arm, NULL);
}
