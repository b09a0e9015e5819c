/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas that are damaged: they come anew, and forget no promise; where nobody is whole, readers
 * are told. Who leads meanwhile is in test_repair_lead.c, and what does not say any more what it is
 * in test_headless.c. */
#include "tests/repair_story.h"

/* ---- one ------------------------------------------------------------------------------------- */

static void a_damaged_follower_gets_its_replica_anew(lattice *in) {
    uint64_t damaged;
    make_damaged_follower(in, &damaged);
    lattice_run(&in->nodes[damaged], compact_main);
    until_marked(in, "shards.repaired", 1);
    write_some(in, KEYS, 10, "new");
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
    lattice_crash(in, lattice_leader(in, lw_text("")));
    reads_all(in, 0, KEYS, "old"); /* it votes, and may lead */
    reads_all(in, KEYS, 10, "new");
}

/* Nobody knows yet that it is a member when it finds that what has just come cannot be read. */
static void what_rots_as_it_comes_is_asked_for_again(lattice *in) {
    make_on(in, 2);
    lattice_boot(in, 3);
    lattice_write(in, "a", "1");
    change_members(in, (lw_change_replicas_request){.learner = 3});
    until_marked(in, "replica.snapshot_installed", 1);
    rot_all(in, 3);
    until_marked(in, "replica.snapshot_rotten", 1);
    lattice_write(in, "a", "2");
    lattice_pass_ms(in, 8000);
    change_members(in, (lw_change_replicas_request){.voter = 3});
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}

/* Who repairs rests when that has come, and goes on. */
static void what_comes_instead_may_rot_too(lattice *in) {
    make_on(in, 2);
    lattice_boot(in, 3);
    lattice_write(in, "a", "1");
    change_members(in, (lw_change_replicas_request){.learner = 3});
    for (uint64_t count = 1; count <= 2; count++) {
        until_marked(in, "replica.snapshot_installed", count);
        rot_all(in, 3);
        until_marked(in, "replica.snapshot_rotten", count);
    }
    lattice_write(in, "a", "2");
    lattice_pass_ms(in, 8000);
    change_members(in, (lw_change_replicas_request){.voter = 3});
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}

/* While the group rests, nobody sends anything by himself. */
static void a_group_that_rests_hears_of_it(lattice *in) {
    uint64_t damaged;
    make_damaged_follower(in, &damaged);
    lattice_pass_ms(in, 20000);
    lattice_run(&in->nodes[damaged], compact_main);
    until_marked(in, "shards.repaired", 1);
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}

/* What a merge leaves may not be in a snapshot of its very entry, and nobody writes behind it. */
static void a_shard_at_rest_since_a_merge_is_repaired(lattice *in) {
    make_two_shards(in);
    lw_buffer body = lw_buffer_in(in->memory);
    lw_merge_request_encode(&(lw_merge_request){.right = 0}, &body);
    for (int tries = 0; tries < 10 && marked(in, "shards.absorbed") == 0; tries++) {
        (void)lattice_call(in, LW_MESSAGE_MERGE, key_of(in, 0), &body);
    }
    until_marked(in, "shards.absorbed", 3);
    lattice_pass_ms(in, 5000);
    uint64_t damaged = next_of(lattice_leader(in, lw_text("")));
    flip(in, damaged);
    lattice_run(&in->nodes[damaged], compact_main);
    until_marked(in, "shards.repaired", 1);
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}

/* ---- several at once ------------------------------------------------------------------------- */

static void two_followers_damaged_at_once_come_anew(lattice *in) {
    make_written(in, 3);
    uint64_t leader = lattice_leader(in, lw_text("")), one = next_of(leader), other = next_of(one);
    damage_both(in, one, other);
    find_both(in, one, other);
    write_some(in, KEYS, 10, "new");
    until_marked(in, "shards.repaired", 2);
    expect(in, marked(in, "shards.replica_thrown_away") == 0, "nothing is thrown away");
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
    lattice_crash(in, leader);
    reads_all(in, 0, KEYS, "old");
    reads_all(in, KEYS, 10, "new");
}

/* How many lines of a log are about what was read and is damaged. */
static uint32_t laments(FILE *trace) {
    uint32_t lines = 0;
    char line[1024];
    rewind(trace);
    while (fgets(line, sizeof(line), trace) != NULL) {
        lines += strstr(line, "stored bytes failed their check") != NULL ? 1 : 0;
    }
    return lines;
}

static void where_nobody_is_whole_readers_are_told(lattice *in) {
    make_written(in, 3);
    uint64_t leader = lattice_leader(in, lw_text(""));
    damage_both(in, next_of(leader), next_of(next_of(leader)));
    lattice_run(&in->nodes[leader], flush_main);
    flip(in, leader);
    find_both(in, next_of(leader), next_of(next_of(leader)));
    lattice_run(&in->nodes[leader], compact_main);
    until_marked(in, "shards.nowhere_whole", 1);
    lattice_pass_ms(in, 5000);
    uint32_t told = 0, read = 0;
    FILE *trace = tmpfile();
    assert_non_null(trace);
    lw_world_trace_to(in->world, trace);
    for (int index = 0; index < KEYS; index++) {
        lw_buffer body = lw_buffer_in(in->memory);
        lattice_get_body(key_of(in, index), 0, &body);
        lattice_ask *ask = lattice_call(in, LW_MESSAGE_GET, key_of(in, index), &body);
        told += ask->done && ask->status == LW_CORRUPTION;
        read += ask->done && ask->status == LW_OK;
    }
    lw_world_trace_to(in->world, NULL);
    expect(in, told > 2, "who reads what is damaged is told");
    expect(in, read > 0, "the rest is read");
    expect(in, laments(trace) <= 1, "the log says it once a minute");
    (void)fclose(trace);
    expect(in, marked(in, "shards.repaired") == 0, "nobody has it anew");
    write_some(in, KEYS, 3, "new");
    reads_all(in, KEYS, 3, "new");
}

/* What had rotted is gone, here by rotting back: a compaction has no use for all that there is. */
static void who_is_whole_after_all_says_so(lattice *in) {
    make_written(in, 2);
    uint64_t leader = lattice_leader(in, lw_text(""));
    damage_both(in, leader, 3 - leader);
    find_both(in, leader, 3 - leader);
    until_marked(in, "shards.nowhere_whole", 1);
    flip(in, 3 - leader);
    write_some(in, KEYS, 10, "new");
    until_marked(in, "shards.whole_after_all", 1);
    until_marked(in, "shards.repaired", 2);
    reads_all(in, 0, KEYS, "old");
    reads_all(in, KEYS, 10, "new");
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}

static void a_lone_voter_tells_of_damage(lattice *in) {
    make_written(in, 1);
    lattice_run(&in->nodes[1], flush_main);
    flip(in, 1);
    uint32_t told = 0;
    for (int index = 0; index < KEYS; index++) {
        lw_buffer body = lw_buffer_in(in->memory);
        lattice_get_body(key_of(in, index), 0, &body);
        lattice_ask *ask = lattice_call(in, LW_MESSAGE_GET, key_of(in, index), &body);
        told += ask->done && ask->status == LW_CORRUPTION;
    }
    expect(in, told > 0 && told < KEYS, "who reads what is damaged is told");
    expect(in, marked(in, "shards.damage_found") == 0, "and nothing is thrown away");
}

/* ---- crashes while it is repaired ------------------------------------------------------------ */

/* Where a crash came early it is damaged still, and is found again. */
static void compact_main_if_there(void *argument) {
    lattice_node *node = argument;
    if (lw_store_tree(node->store, LW_ROOT_SHARD) != NULL) {
        compact_main(argument);
    }
    node->done = true;
}

static void a_crash_at_any_time_loses_nothing(void **state) {
    (void)state;
    for (uint64_t after_us = 200; after_us < 900000; after_us = after_us * 13 / 8) {
        lattice in;
        uint64_t damaged;
        lattice_begin(&in, after_us, NULL);
        make_damaged_follower(&in, &damaged);
        lattice_run(&in.nodes[damaged], compact_main);
        (void)lw_world_run(in.world, lw_world_now(in.world) + after_us * 1000);
        lattice_crash(&in, damaged);
        lattice_pass_ms(&in, 300);
        lattice_boot(&in, damaged);
        lattice_run(&in.nodes[damaged], compact_main_if_there);
        lattice_pass_ms(&in, 15000);
        reads_all(&in, 0, KEYS, "old");
        lattice_same_everywhere(&in);
        if (in.failure[0] != 0) {
            fail_msg("a crash after %d us: not as expected: %s", (int)after_us, in.failure);
        }
        lattice_end(&in);
    }
}

static void until_it_has_a_tree(lattice *in, uint64_t id) {
    uint64_t until_ns = lw_world_now(in->world) + 30000 * LATTICE_MS;
    while (lw_store_tree(in->nodes[id].store, LW_ROOT_SHARD) == NULL &&
           lw_world_now(in->world) < until_ns) {
        lattice_pass_ms(in, 50);
    }
    expect(in, lw_store_tree(in->nodes[id].store, LW_ROOT_SHARD) != NULL, "it has the shard again");
}

/* One node after the other is damaged, leader or not, while others fall and come back. */
static void damage_goes_around(lattice *in, const char **newest) {
    for (int round = 0; round < 12 && in->failure[0] == 0; round++) {
        uint64_t damaged = 1 + unit_random_below(&in->chance, 3), other = next_of(damaged);
        char word[8];
        (void)snprintf(word, sizeof(word), "r%d", round);
        write_some(in, 0, KEYS / 2, word);
        *newest = lw_arena_allocate(&in->arena, sizeof(word));
        memcpy((void *)(uintptr_t)*newest, word, sizeof(word));
        uint64_t before = marked(in, "shards.repaired");
        lattice_pass_ms(in, 1000); /* so that what is flushed is enough to be damaged */
        until_it_has_a_tree(in, damaged);
        if (in->failure[0] != 0) {
            return;
        }
        lattice_run(&in->nodes[damaged], flush_main);
        flip(in, damaged);
        lattice_run(&in->nodes[damaged], compact_main);
        if (unit_random_below(&in->chance, 2) == 0) {
            lattice_stumble(in, other, unit_random_below(&in->chance, 300), 400);
        }
        if (unit_random_below(&in->chance, 3) == 0) {
            lattice_pass_ms(in, unit_random_below(&in->chance, 200));
            lattice_crash(in, damaged);
            lattice_boot(in, damaged);
            if (marked(in, "shards.repaired") == before) {
                lattice_run(&in->nodes[damaged], compact_main_if_there);
            }
        }
        write_some(in, 0, 3, word);
        until_marked(in, "shards.repaired", before + 1);
        lattice_pass_ms(in, 3000);
    }
}

static void damage_that_goes_around_loses_nothing(void **state) {
    (void)state;
    for (uint64_t seed = 98; seed <= 103; seed++) {
        lattice in;
        const char *newest = "";
        lattice_begin(&in, seed, NULL);
        make_on(&in, 3);
        write_some(&in, KEYS / 2, KEYS / 2, "old");
        damage_goes_around(&in, &newest);
        lattice_pass_ms(&in, 5000);
        reads_all(&in, 0, KEYS / 2, newest);
        reads_all(&in, KEYS / 2, KEYS / 2, "old");
        lattice_same_everywhere(&in);
        if (in.failure[0] != 0) {
            fail_msg("seed %d: not as expected: %s", (int)seed, in.failure);
        }
        lattice_end(&in);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LATTICE_STORY(a_damaged_follower_gets_its_replica_anew, NULL),
        LATTICE_STORY(what_rots_as_it_comes_is_asked_for_again, "replica.rotten_newcomer_left_so"),
        LATTICE_STORY(what_comes_instead_may_rot_too, "shards.damaged_anew_unheard"),
        LATTICE_STORY(a_group_that_rests_hears_of_it, NULL),
        LATTICE_STORY(a_shard_at_rest_since_a_merge_is_repaired, NULL),
        LATTICE_STORY(two_followers_damaged_at_once_come_anew, "group.forgets_what_came_meanwhile"),
        LATTICE_STORY(where_nobody_is_whole_readers_are_told, NULL),
        LATTICE_STORY(who_is_whole_after_all_says_so, NULL),
        LATTICE_STORY(a_lone_voter_tells_of_damage, NULL),
        cmocka_unit_test(a_crash_at_any_time_loses_nothing),
        cmocka_unit_test(damage_that_goes_around_loses_nothing),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
