/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/gossip_private.h"
#include "tests/gossip_story.h"
#include "tests/planted_story.h"

#include <stdlib.h>

static void join_all(gossip_world *world) {
    for (uint32_t index = 1; index < world->count; index++) {
        gossip_introduce(world, index - 1, index);
    }
}

/* ---- coming and going ---------------------------------------------------------------------------
 */

static void alone_it_says_nothing_and_wants_no_time(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(1, 1);
    gossip_put_shard(world, 0, 1, 1, 1);
    assert_true(lw_gossip_deadline(world->nodes[0]) == LW_GOSSIP_NEVER);
    lw_gossip_tick(world->nodes[0], world->now_ms + 100000);
    lw_gossip_message message;
    assert_false(lw_gossip_next_message(world->nodes[0], &message));
    gossip_world_close(world);
}

static void one_introduction_is_enough(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 1);
    join_all(world); /* 0 and 1 know each other, 1 and 2 do */
    gossip_put_shard(world, 0, 1, 1, 1);
    (void)gossip_settle(world, 3);
    gossip_run(world, 1000);
    for (uint32_t one = 0; one < 3; one++) {
        for (uint32_t other = 0; other < 3; other++) {
            assert_int_equal(gossip_said_of(world, one, LW_GOSSIP_JOINED, other), one != other);
            assert_int_equal(gossip_said_of(world, one, LW_GOSSIP_HEARD, other), one != other);
        }
        assert_int_equal(lw_gossip_directory(world->nodes[one])->count, 1);
    }
    gossip_world_close(world);
}

static void one_that_leaves_is_gone_for_ever(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 1);
    join_all(world);
    (void)gossip_settle(world, 3);
    lw_gossip_set_state(world->nodes[2], LW_MEMBER_LEAVING, world->now_ms);
    gossip_run(world, 500);
    lw_gossip_set_state(world->nodes[2], LW_MEMBER_GONE, world->now_ms);
    gossip_run(world, 500);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_STATE, 2), 2);
    lw_gossip_close(world->nodes[2]);
    gossip_start(world, 2, 7); /* again, from the same folder */
    gossip_introduce(world, 2, 0);
    gossip_run(world, 3000);
    assert_int_equal(lw_members_find(lw_gossip_members(world->nodes[0]), world->ids[2])->state,
                     LW_MEMBER_GONE);
    assert_int_equal(gossip_said_of(world, 2, LW_GOSSIP_EXPELLED, 2), 1);
    assert_true(lw_gossip_deadline(world->nodes[2]) == LW_GOSSIP_NEVER);
    gossip_world_close(world);
}

static void one_that_was_expelled_learns_it_when_it_speaks(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 1);
    join_all(world);
    (void)gossip_settle(world, 3);
    world->deaf[2] = true;
    assert_int_equal(lw_gossip_expel(world->nodes[0], world->ids[2], world->now_ms), LW_OK);
    assert_int_equal(lw_gossip_expel(world->nodes[0], world->ids[2], world->now_ms), LW_NOT_FOUND);
    assert_int_equal(lw_gossip_expel(world->nodes[0], world->ids[0], world->now_ms), LW_REFUSED);
    gossip_run(world, 5000);
    assert_int_equal(gossip_said_of(world, 1, LW_GOSSIP_STATE, 2), 1);
    assert_int_equal(gossip_said_of(world, 2, LW_GOSSIP_EXPELLED, 2), 0);
    world->deaf[2] = false;
    gossip_run(world, 1500);
    assert_int_equal(gossip_said_of(world, 2, LW_GOSSIP_EXPELLED, 2), 1);
    gossip_world_close(world);
}

static void a_copied_folder_is_told_to_its_owner(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 1);
    join_all(world);
    (void)gossip_settle(world, 3);
    /* The copy is started elsewhere, with the next incarnation, while the owner runs. */
    world->count = 4;
    world->identities[3] = world->identities[2];
    gossip_start(world, 2, 1);
    world->ids[3] = world->ids[2];
    gossip_start(world, 3, 2);
    gossip_introduce(world, 2, 0);
    gossip_introduce(world, 3, 0);
    gossip_run(world, 3000);
    assert_int_equal(gossip_said_of(world, 2, LW_GOSSIP_COPIED, 2), 1);
    assert_int_equal(gossip_said_of(world, 3, LW_GOSSIP_COPIED, 2), 0);
    gossip_world_close(world);
}

/* ---- the two planes -----------------------------------------------------------------------------
 */

static void silence_on_the_bus_says_nothing_of_links(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(2, 1);
    join_all(world);
    lw_gossip_link(world->nodes[0], world->ids[1], true, world->now_ms);
    gossip_run(world, 2000);
    world->deaf[1] = true;
    gossip_run(world, 2500);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_QUIET, 1), 0);
    gossip_run(world, 200 * 1000);
    lw_gossip_peer peer;
    assert_true(lw_gossip_peer_of(world->nodes[0], world->ids[1], &peer));
    assert_true(peer.quiet && peer.linked && !peer.dead);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_QUIET, 1), 1);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_DEAD, 1), 0);
    assert_false(lw_gossip_connected(world->nodes[0]));
    world->deaf[1] = false;
    gossip_run(world, 1000);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_HEARD, 1), 2);
    assert_true(lw_gossip_connected(world->nodes[0]));
    gossip_world_close(world);
}

static void a_broken_link_is_death_only_after_the_grace(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(2, 1);
    join_all(world);
    gossip_run(world, 30 * 1000);
    lw_gossip_link(world->nodes[0], world->ids[1], true, world->now_ms);
    gossip_run(world, 50 * 1000);
    lw_gossip_link(world->nodes[0], world->ids[1], false, world->now_ms);
    gossip_run(world, 59 * 1000);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_DEAD, 1), 0);
    gossip_run(world, 2 * 1000);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_DEAD, 1), 1);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_QUIET, 1), 0); /* heard all the time */
    lw_gossip_link(world->nodes[0], world->ids[1], true, world->now_ms);
    lw_gossip_peer peer;
    assert_true(lw_gossip_peer_of(world->nodes[0], world->ids[1], &peer));
    assert_true(peer.linked && !peer.dead);
    gossip_world_close(world);
}

static void who_was_away_itself_suspects_nobody(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 1);
    join_all(world);
    (void)gossip_settle(world, 3);
    lw_gossip *paused = world->nodes[0];
    world->nodes[0] = NULL;
    gossip_run(world, 20 * 1000);
    world->nodes[0] = paused;
    assert_int_equal(gossip_said_of(world, 1, LW_GOSSIP_QUIET, 0), 1);
    gossip_run(world, 2000);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_QUIET, 1), 0);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_QUIET, 2), 0);
    assert_int_equal(gossip_said_of(world, 1, LW_GOSSIP_HEARD, 0), 2);
    gossip_world_close(world);
}

/* ---- what comes late, or from strangers ---------------------------------------------------------
 */

static void old_heartbeats_that_come_in_a_burst_wake_nobody_up(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 1);
    join_all(world);
    (void)gossip_settle(world, 3);
    lw_gossip_message message;
    lw_gossip *silenced = world->nodes[1];
    world->nodes[1] = NULL;
    for (int beat = 0; beat < 10; beat++) { /* a broker keeps what it says */
        lw_gossip_tick(silenced, world->now_ms);
        while (lw_gossip_next_message(silenced, &message)) {
            gossip_fly(world, 1, 0, world->now_ms + 60 * 1000, &message);
        }
        gossip_run(world, 500);
    }
    gossip_run(world, 70 * 1000);
    lw_gossip_figures figures;
    lw_gossip_figures_get(world->nodes[0], &figures);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_HEARD, 1), 1);
    assert_true(figures.stale >= 10);
    gossip_world_close(world);
}

/* What 0 says of 1 over the link between them, so many milliseconds later. */
static void greet_over_the_link(gossip_world *world, uint64_t later_ms) {
    lw_buffer greeting = lw_buffer_in(world->memory), page = greeting;
    uint64_t said_ms = world->now_ms - later_ms;
    lw_gossip_greeting(world->nodes[0], world->ids[1], said_ms, &greeting);
    assert_int_equal(
        lw_gossip_greeted(world->nodes[1], lw_buffer_view(&greeting), world->now_ms, &page), LW_OK);
    lw_buffer_reset(&greeting);
    lw_buffer_reset(&page);
}

static void who_was_put_back_to_an_earlier_moment_is_heard_again(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(2, 1);
    join_all(world);
    world->nodes[1]->ahead_ms = 60 * 1000;
    gossip_run(world, 5000);
    greet_over_the_link(world, 0);
    assert_int_equal(world->nodes[1]->ahead_ms, 60 * 1000); /* it is heard: nothing is to be told */
    world->nodes[1]->ahead_ms = world->nodes[1]->beat_sent_ms = 0;
    gossip_run(world, 20 * 1000); /* longer than a message may be late */
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_QUIET, 1), 1);
    greet_over_the_link(world, 0);
    gossip_run(world, 1000);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_HEARD, 1), 2);
    gossip_run(world, 200 * 1000);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_QUIET, 1), 1);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_CLOCK_WRONG, 1), 0);
    gossip_world_close(world);
}

static void who_hears_an_older_record_of_itself_says_its_own(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 1);
    join_all(world);
    (void)gossip_settle(world, 3);
    lw_buffer before = lw_buffer_in(world->memory);
    lw_write_array(&before, 1);
    lw_write_bytes(&before, lw_members_record(lw_gossip_members(world->nodes[1]), 0));
    uint64_t about = lw_members_at(lw_gossip_members(world->nodes[1]), 0)->node;
    uint32_t whose = gossip_index(world, about);
    world->deaf[whose] = true; /* nobody hears the change, nor that there is one */
    lw_gossip_set_state(world->nodes[whose], LW_MEMBER_DRAINING, world->now_ms);
    gossip_run(world, 100);
    world->deaf[whose] = false;
    for (int turn = 0; turn < 10; turn++) { /* once: whoever plays it again gains nothing */
        assert_int_equal(
            lw_gossip_learn(world->nodes[whose], lw_buffer_view(&before), world->now_ms), LW_OK);
    }
    lw_gossip_figures figures, after;
    lw_gossip_figures_get(world->nodes[(whose + 1) % 3], &figures);
    gossip_run(world, 50);
    lw_gossip_figures_get(world->nodes[(whose + 1) % 3], &after);
    assert_int_equal(after.messages_received - figures.messages_received, 1);
    assert_int_equal(gossip_said_of(world, (whose + 1) % 3, LW_GOSSIP_STATE, whose), 1);
    gossip_world_close(world);
}

static void silence_of_the_bus_puts_nobody_ahead(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(2, 1);
    join_all(world);
    world->delay_ms = 50;
    gossip_run(world, 5000);
    world->deaf[1] = true;
    gossip_run(world, 600 * 1000);
    greet_over_the_link(world, 20); /* which was on the way for so long */
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_QUIET, 1), 1);
    assert_int_equal(world->nodes[1]->ahead_ms, 0);
    gossip_world_close(world);
}

static void a_greeting_of_nonsense_puts_nobody_ahead(void **state) {
    (void)state;
    static const struct {
        uint64_t incarnation, clock_ms;
    } told[] = {{2, 2000000}, {1, 0}, {1, UINT64_MAX}, {1, UINT64_C(1) << 49}};
    gossip_world *world = gossip_world_open(2, 1);
    join_all(world);
    for (size_t index = 0; index < sizeof(told) / sizeof(told[0]); index++) {
        lw_buffer greeting = lw_buffer_in(world->memory), page = greeting;
        uint8_t buckets[LW_MEMBER_BUCKETS * sizeof(uint64_t)] = {0};
        lw_write_array(&greeting, 5); /* a later release says more */
        lw_write_bytes(&greeting, lw_members_record(&world->nodes[0]->members, 0));
        lw_write_bytes(&greeting, lw_view(buckets, sizeof(buckets)));
        lw_write_u64(&greeting, told[index].incarnation);
        lw_write_u64(&greeting, told[index].clock_ms);
        lw_write_u64(&greeting, 7);
        assert_int_equal(
            lw_gossip_greeted(world->nodes[1], lw_buffer_view(&greeting), world->now_ms, &page),
            LW_OK);
        assert_int_equal(world->nodes[1]->ahead_ms, 0);
        lw_buffer_reset(&greeting);
        lw_buffer_reset(&page);
    }
    gossip_world_close(world);
}

static void what_comes_twice_counts_once(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(2, 1);
    join_all(world);
    world->repeat_percent = 100;
    world->delay_ms = 200;
    gossip_run(world, 10 * 1000);
    lw_gossip_figures figures;
    lw_gossip_figures_get(world->nodes[0], &figures);
    /* Of two equal heartbeats the second is stale, and so is one that was overtaken. */
    assert_in_range(figures.stale, 19, 30);
    gossip_world_close(world);
}

static void what_is_not_signed_by_its_sender_is_dropped(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 1);
    join_all(world);
    (void)gossip_settle(world, 3);
    lw_gossip *forger = world->nodes[1];
    world->nodes[1] = NULL;
    world->now_ms += 500;
    lw_gossip_tick(forger, world->now_ms);
    lw_gossip_message message;
    assert_true(lw_gossip_next_message(forger, &message));
    lw_gossip_figures before, after;
    lw_gossip_figures_get(world->nodes[0], &before);
    lw_bus_message as_other = {.kind = message.kind, .from = world->ids[2], .body = message.body};
    lw_gossip_receive(world->nodes[0], &as_other, world->now_ms);
    lw_bus_message as_ask = {.kind = LW_BUS_ASK, .from = world->ids[1], .body = message.body};
    lw_gossip_receive(world->nodes[0], &as_ask, world->now_ms);
    uint8_t *body = (uint8_t *)(uintptr_t)message.body.data;
    lw_bus_message bent = {.kind = message.kind, .from = world->ids[1], .body = message.body};
    for (size_t index = 0; index < message.body.size; index++) {
        body[index] ^= 0x10;
        lw_gossip_receive(world->nodes[0], &bent, world->now_ms);
        body[index] ^= 0x10;
    }
    lw_gossip_figures_get(world->nodes[0], &after);
    assert_int_equal(after.forged + after.malformed - before.forged - before.malformed,
                     message.body.size + 2);
    assert_false(lw_gossip_next_event(world->nodes[0], &(lw_gossip_event){0}));
    gossip_world_close(world);
}

/* One body of nonsense, well signed by a member. */
static void say_nonsense(lw_bus_kind kind, const lw_buffer *content) {
    gossip_world *world = gossip_world_open(2, 1);
    join_all(world);
    (void)gossip_settle(world, 3);
    lw_gossip_message message;
    gossip_say(world->nodes[1], kind, 0, lw_buffer_view(content));
    assert_true(lw_gossip_next_message(world->nodes[1], &message));
    lw_gossip_figures before, after;
    lw_gossip_figures_get(world->nodes[0], &before);
    uint64_t members = lw_members_digest(lw_gossip_members(world->nodes[0]));
    size_t used = lw_memory_used(world->memory);
    lw_bus_message as_said = {.kind = kind, .from = world->ids[1], .body = message.body};
    lw_gossip_receive(world->nodes[0], &as_said, world->now_ms);
    lw_gossip_figures_get(world->nodes[0], &after);
    assert_int_equal(after.malformed, before.malformed + 1);
    assert_int_equal(after.forged, before.forged);
    assert_true(lw_members_digest(lw_gossip_members(world->nodes[0])) == members);
    assert_true(lw_memory_used(world->memory) - used < 4096);
    gossip_world_close(world);
}

/* X5. */
static void nonsense_of_a_member_costs_nothing(void **state) {
    (void)state;
    static const lw_bus_kind kinds[] = {LW_BUS_HEARTBEAT, LW_BUS_ASK, LW_BUS_SHARDS, LW_BUS_ANSWER};
    enum { DEPTH = 4000 };
    lw_memory *memory = lw_memory_open();
    for (size_t index = 0; index < sizeof(kinds) / sizeof(kinds[0]); index++) {
        lw_buffer huge = lw_buffer_in(memory), deep = huge, trailing = huge;
        lw_write_array(&huge, 2); /* counts that no message could hold */
        lw_write_array(&huge, UINT32_MAX);
        say_nonsense(kinds[index], &huge);
        lw_write_array(&deep, 8); /* as a newer version's field, nested for ever */
        for (uint32_t field = 0; field < 7; field++) {
            lw_write_array(&deep, 0);
        }
        for (uint32_t depth = 0; depth < DEPTH; depth++) {
            lw_write_array(&deep, 1);
        }
        say_nonsense(kinds[index], &deep);
        lw_write_array(&trailing, 2);
        lw_write_array(&trailing, 0);
        lw_write_array(&trailing, 0);
        lw_write_u64(&trailing, 7);
        say_nonsense(kinds[index], &trailing);
    }
    lw_memory_close(memory);
}

static void two_descriptors_of_one_epoch_are_an_alarm_everywhere(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 1);
    join_all(world);
    gossip_put_shard(world, 0, 5, 1, 1);
    lw_directory_row row = {.shard = {.id = 5, .epoch = {1, 1}, .start = lw_text("elsewhere")}};
    lw_gossip_shard(world->nodes[1], &row, true, world->now_ms);
    (void)gossip_settle(world, 6);
    for (uint32_t index = 0; index < 3; index++) {
        assert_int_equal(gossip_said_of(world, index, LW_GOSSIP_DISPUTED, 5), 1);
    }
    gossip_world_close(world);
}

/* ---- healing ------------------------------------------------------------------------------------
 */

static void shake(gossip_world *world, uint32_t change_count) {
    for (uint32_t change = 0; change < change_count; change++) {
        uint32_t index = (uint32_t)unit_random_below(&world->seed, world->count);
        uint64_t shard = 1 + unit_random_below(&world->seed, 100);
        lw_directory_row known;
        uint64_t version = 1;
        if (lw_directory_find(lw_gossip_directory(world->nodes[index]), shard, &known)) {
            version = known.shard.epoch.range_version + 1;
        }
        gossip_put_shard(world, index, shard, version, 1);
        if (change % 7 == 0) {
            bool up = lw_gossip_self(world->nodes[index])->state == LW_MEMBER_UP;
            lw_gossip_set_state(world->nodes[index], up ? LW_MEMBER_DRAINING : LW_MEMBER_UP,
                                world->now_ms);
        }
        gossip_run(world, 20);
    }
}

static void a_bad_bus_only_takes_longer(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        gossip_world *world = gossip_world_open(12, seed);
        world->loss_percent = 30;
        world->repeat_percent = 20;
        world->delay_ms = 300;
        join_all(world);
        shake(world, 100);
        (void)gossip_settle(world, 20);
        gossip_world_close(world);
    }
}

static void all_is_healed_after_a_bus_that_lost_everything(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(12, 9);
    join_all(world);
    (void)gossip_settle(world, 5);
    world->loss_percent = 100;
    shake(world, 300);
    assert_false(gossip_equal(world));
    world->loss_percent = 0;
    assert_in_range(gossip_settle(world, 30), 1, 16);
    gossip_world_close(world);
}

/* It alone lacks much, so it alone is told. */
static void a_newcomer_learns_ten_thousand_shards(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 1);
    world->deaf[2] = true;
    gossip_introduce(world, 0, 1);
    for (uint64_t shard = 1; shard <= 10000; shard++) {
        gossip_put_shard(world, 0, shard, 1, 1);
    }
    gossip_run(world, 5000);
    assert_int_equal(lw_gossip_directory(world->nodes[1])->count, 10000);
    lw_gossip_figures before[2], after[2];
    lw_gossip_figures_get(world->nodes[0], &before[0]);
    lw_gossip_figures_get(world->nodes[1], &before[1]);
    world->deaf[2] = false;
    gossip_introduce(world, 1, 2);
    uint32_t rounds = gossip_settle(world, 20);
    lw_gossip_figures_get(world->nodes[0], &after[0]);
    lw_gossip_figures_get(world->nodes[1], &after[1]);
    if (getenv("UNIT_FIGURES") != NULL) {
        printf("a newcomer learns 10,000 shards in %u rounds\n", rounds);
    }
    assert_in_range(rounds, 1, 10);
    assert_in_range(after[0].bytes_received - before[0].bytes_received, 1, 60000);
    assert_in_range(after[1].bytes_received - before[1].bytes_received, 1, 60000);
    gossip_world_close(world);
}

/* It asks another each time, and what they say is not the same again. */
static void a_newcomer_hears_each_shard_about_once(void **state) {
    (void)state;
    enum { OLD = 12, SHARDS = 5000 };
    gossip_world *world = gossip_world_open(OLD + 1, 3);
    world->deaf[OLD] = true;
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t index = 1; index < OLD; index++) {
            gossip_introduce(world, 0, index);
        }
    }
    for (uint64_t shard = 1; shard <= SHARDS; shard++) {
        gossip_put_shard(world, (uint32_t)(shard % OLD), shard, 1, 1);
    }
    gossip_run(world, 5000);
    lw_buffer entries = lw_buffer_in(world->memory);
    for (uint32_t index = 0; index < SHARDS; index++) {
        lw_directory_row row;
        lw_directory_at(lw_gossip_directory(world->nodes[0]), index, &row);
        lw_directory_row_encode(&row, &entries);
    }
    world->deaf[OLD] = false;
    gossip_introduce(world, 0, OLD);
    assert_in_range(gossip_settle(world, 40), 1, 10);
    lw_gossip_figures figures;
    lw_gossip_figures_get(world->nodes[OLD], &figures);
    assert_in_range(figures.bytes_received, entries.size, entries.size * 3 / 2);
    lw_buffer_reset(&entries);
    gossip_world_close(world);
}

/* Not asked for bucket by bucket: each says what nobody heard. */
static void what_changed_while_the_bus_was_away_is_said_when_it_is_back(void **state) {
    (void)state;
    enum { NODES = 30, SHARDS = 3000, CHANGED = 30 };
    gossip_world *world = gossip_world_open(NODES, 5);
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t index = 1; index < NODES; index++) {
            gossip_introduce(world, 0, index);
        }
    }
    for (uint64_t shard = 1; shard <= SHARDS; shard++) {
        gossip_put_shard(world, (uint32_t)(shard % NODES), shard, 1, 1);
    }
    (void)gossip_settle(world, 20);
    gossip_run(world, 1000);
    memset(world->deaf, true, sizeof(world->deaf));
    gossip_run(world, 5000);
    for (uint64_t shard = 1; shard <= CHANGED; shard++) {
        gossip_put_shard(world, (uint32_t)(shard % NODES), shard * 100, 2, 2);
    }
    gossip_run(world, 5000);
    memset(world->deaf, false, sizeof(world->deaf));
    lw_gossip_figures before, after;
    lw_gossip_figures_get(world->nodes[3], &before);
    assert_in_range(gossip_settle(world, 20), 1, 2);
    lw_gossip_figures_get(world->nodes[3], &after);
    assert_in_range(after.bytes_received - before.bytes_received, 1, 40000);
    gossip_world_close(world);
}

/* ---- wall clocks --------------------------------------------------------------------------------
 */

static int64_t known_ahead(const gossip_world *world, uint32_t index, uint32_t about) {
    lw_gossip_peer peer;
    if (index == about) {
        return lw_gossip_own_clock(world->nodes[index]);
    }
    assert_true(lw_gossip_peer_of(world->nodes[index], world->ids[about], &peer));
    return peer.clock_ahead_ms;
}

/* S6: all know whose it is, that node itself among them, also when messages are late. */
static void a_wall_clock_that_differs_from_most_is_told(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(5, 31);
    world->delay_ms = 900;
    world->ahead_ms[1] = 400;
    world->ahead_ms[3] = -5 * 60 * 1000;
    join_all(world);
    gossip_run(world, 20000);
    for (uint32_t index = 0; index < 5; index++) {
        assert_in_range(-known_ahead(world, index, 3), 299000, 301000);
        assert_int_equal(gossip_said_of(world, index, LW_GOSSIP_CLOCK_WRONG, 3), 1);
        for (uint32_t other = 0; other < 5; other++) {
            assert_true(other == 3 || known_ahead(world, index, other) == 0);
        }
    }
    world->ahead_ms[3] = 0;
    gossip_run(world, 20000);
    for (uint32_t index = 0; index < 5; index++) {
        assert_int_equal(known_ahead(world, index, 3), 0);
        assert_int_equal(gossip_said_of(world, index, LW_GOSSIP_CLOCK_RIGHT, 3), 1);
        assert_int_equal(gossip_said_of(world, index, LW_GOSSIP_CLOCK_WRONG, 3), 1);
    }
    gossip_world_close(world);
}

static void of_two_wall_clocks_the_others_is_told(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(2, 32);
    world->ahead_ms[1] = 7000;
    join_all(world);
    gossip_run(world, 10000);
    assert_in_range(known_ahead(world, 0, 1), 6900, 7100);
    assert_in_range(-known_ahead(world, 1, 0), 6900, 7100);
    assert_int_equal(known_ahead(world, 0, 0), 0);
    assert_int_equal(known_ahead(world, 1, 1), 0);
    gossip_world_close(world);
}

static void a_wall_clock_that_jumps_for_a_moment_is_not_told(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 33);
    join_all(world);
    gossip_run(world, 5000);
    world->ahead_ms[2] = 60000;
    gossip_run(world, 2 * LW_GOSSIP_HEARTBEAT_MS);
    world->ahead_ms[2] = 0;
    gossip_run(world, 5000);
    assert_int_equal(gossip_said_of(world, 0, LW_GOSSIP_CLOCK_WRONG, 2), 0);
    gossip_world_close(world);
}

/* ---- cures taken out ----------------------------------------------------------------------------
 */

/* ---- names --------------------------------------------------------------------------------------
 */

static bool names_differ(const gossip_world *world) {
    for (uint32_t index = 0; index < world->count; index++) {
        const lw_members *members = lw_gossip_members(world->nodes[index]);
        for (uint32_t place = 0; place < members->count; place++) {
            if (lw_members_outnamed(members, lw_members_at(members, place)->node)) {
                return false;
            }
        }
    }
    return true;
}

/* Whoever joins takes the next name it knows of none to have: all at once, that is the same one. */
static void those_that_take_one_name_at_once_end_with_names_of_their_own(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(9, 12);
    world->loss_percent = 20;
    world->delay_ms = 100;
    for (uint32_t index = 0; index < world->count; index++) {
        lw_bytes name = index < 6 ? (lw_bytes){0} : lw_text("db");
        assert_int_equal(lw_gossip_set_name(world->nodes[index], name, world->now_ms), LW_OK);
    }
    for (uint32_t index = 1; index < world->count; index++) {
        gossip_introduce(world, 0, index);
    }
    gossip_run(world, 30 * 1000);
    (void)gossip_settle(world, 100);
    assert_true(names_differ(world));
    uint32_t numbered = 0;
    for (uint32_t index = 0; index < world->count; index++) {
        lw_bytes name = lw_gossip_self(world->nodes[index])->name;
        numbered += name.data[0] == 'n';
        assert_int_equal(lw_starts_with(name, lw_text("db")), index >= 6);
    }
    assert_int_equal(numbered, 6);
    gossip_world_close(world);
}

static void a_name_that_is_taken_is_refused_and_one_of_the_gone_is_not(void **state) {
    (void)state;
    gossip_world *world = gossip_world_open(3, 13);
    join_all(world);
    (void)gossip_settle(world, 20);
    assert_int_equal(lw_gossip_set_name(world->nodes[0], lw_text("db"), world->now_ms), LW_OK);
    (void)gossip_settle(world, 20);
    assert_int_equal(lw_gossip_set_name(world->nodes[1], lw_text("db"), world->now_ms), LW_REFUSED);
    assert_int_equal(lw_gossip_self(world->nodes[1])->name.size, 0);
    assert_int_equal(lw_gossip_expel(world->nodes[1], world->ids[0], world->now_ms), LW_OK);
    char label[LW_MEMBER_LABEL_SIZE];
    assert_string_equal(lw_members_label(lw_gossip_members(world->nodes[1]), world->ids[0], label),
                        "db");
    assert_int_equal(lw_gossip_set_name(world->nodes[1], lw_text("db"), world->now_ms), LW_OK);
    gossip_world_close(world);
}

static void planted_bugs_show(void **state) {
    static const planted_bit bugs[] = {
        {LW_BUG_DISPUTE_MERGED, two_descriptors_of_one_epoch_are_an_alarm_everywhere},
        {LW_BUG_NEVER_ASKS, all_is_healed_after_a_bus_that_lost_everything},
        {LW_BUG_EXPIRY_IGNORED, old_heartbeats_that_come_in_a_burst_wake_nobody_up},
        {LW_BUG_SILENCE_IS_DEATH, silence_on_the_bus_says_nothing_of_links},
        {LW_BUG_WORDS_ARE_LINKS, a_broken_link_is_death_only_after_the_grace},
        {LW_BUG_SENDER_UNCHECKED, what_is_not_signed_by_its_sender_is_dropped},
        {LW_BUG_NAMES_SHARED, those_that_take_one_name_at_once_end_with_names_of_their_own},
        {LW_BUG_CLOCK_BELIEVED, a_wall_clock_that_differs_from_most_is_told},
        {LW_BUG_OVERTAKEN_STAY_SO, who_was_put_back_to_an_earlier_moment_is_heard_again},
        {LW_BUG_OVERTAKEN_STAY_SO, who_hears_an_older_record_of_itself_says_its_own},
    };
    planted_bits_show(bugs, sizeof(bugs) / sizeof(bugs[0]), &gossip_planted, state);
}

/* ---- figures: UNIT_FIGURES=1 prints them --------------------------------------------------------
 */

static void figures_of(uint32_t count, uint32_t shard_count) {
    gossip_world *world = gossip_world_open(count, 1);
    join_all(world);
    for (uint64_t shard = 1; shard <= shard_count; shard++) {
        gossip_put_shard(world, (uint32_t)(shard % count), shard, 1, 1);
    }
    uint32_t rounds = gossip_settle(world, 60);
    lw_gossip_figures before, after;
    lw_gossip_figures_get(world->nodes[0], &before);
    gossip_run(world, 6000);
    lw_gossip_figures_get(world->nodes[0], &after);
    printf("%u nodes, %u shards: equal after %u rounds; at rest a node sends %llu and receives "
           "%llu bytes/s, %llu messages/s\n",
           count, shard_count, rounds,
           (unsigned long long)(after.bytes_sent - before.bytes_sent) / 6,
           (unsigned long long)(after.bytes_received - before.bytes_received) / 6,
           (unsigned long long)(after.messages_received - before.messages_received) / 6);
    world->loss_percent = 5;
    gossip_put_shard(world, 0, 1, 2, 1);
    uint64_t started_ms = world->now_ms;
    while (!gossip_equal(world)) {
        gossip_run(world, 5);
    }
    printf("%u nodes: a change is known everywhere after %llu ms, with 5%% of messages lost\n",
           count, (unsigned long long)(world->now_ms - started_ms));
    gossip_world_close(world);
}

static void figures(void **state) {
    (void)state;
    if (getenv("UNIT_FIGURES") == NULL) {
        skip();
    }
    alarm(600);
    figures_of(3, 100);
    figures_of(10, 1000);
    figures_of(100, 1000);
    figures_of(300, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_says_nothing_and_wants_no_time),
        cmocka_unit_test(one_introduction_is_enough),
        cmocka_unit_test(one_that_leaves_is_gone_for_ever),
        cmocka_unit_test(one_that_was_expelled_learns_it_when_it_speaks),
        cmocka_unit_test(a_copied_folder_is_told_to_its_owner),
        cmocka_unit_test(silence_on_the_bus_says_nothing_of_links),
        cmocka_unit_test(a_broken_link_is_death_only_after_the_grace),
        cmocka_unit_test(who_was_away_itself_suspects_nobody),
        cmocka_unit_test(old_heartbeats_that_come_in_a_burst_wake_nobody_up),
        cmocka_unit_test(who_was_put_back_to_an_earlier_moment_is_heard_again),
        cmocka_unit_test(who_hears_an_older_record_of_itself_says_its_own),
        cmocka_unit_test(silence_of_the_bus_puts_nobody_ahead),
        cmocka_unit_test(a_greeting_of_nonsense_puts_nobody_ahead),
        cmocka_unit_test(what_comes_twice_counts_once),
        cmocka_unit_test(what_is_not_signed_by_its_sender_is_dropped),
        cmocka_unit_test(nonsense_of_a_member_costs_nothing),
        cmocka_unit_test(two_descriptors_of_one_epoch_are_an_alarm_everywhere),
        cmocka_unit_test(a_bad_bus_only_takes_longer),
        cmocka_unit_test(all_is_healed_after_a_bus_that_lost_everything),
        cmocka_unit_test(a_newcomer_learns_ten_thousand_shards),
        cmocka_unit_test(a_newcomer_hears_each_shard_about_once),
        cmocka_unit_test(what_changed_while_the_bus_was_away_is_said_when_it_is_back),
        cmocka_unit_test(those_that_take_one_name_at_once_end_with_names_of_their_own),
        cmocka_unit_test(a_name_that_is_taken_is_refused_and_one_of_the_gone_is_not),
        cmocka_unit_test(a_wall_clock_that_differs_from_most_is_told),
        cmocka_unit_test(of_two_wall_clocks_the_others_is_told),
        cmocka_unit_test(a_wall_clock_that_jumps_for_a_moment_is_not_told),
        cmocka_unit_test(planted_bugs_show),
        cmocka_unit_test(figures),
    };
    return cmocka_run_group_tests_name("gossip", tests, unit_arm, NULL) == 0 ? 0 : 1;
}
