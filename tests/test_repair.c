/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas that are damaged, or have applied something else than the others: they come anew, and
 * forget no promise; or all halt, in words. */
#include "tests/shard_lattice.h"

#include "node/group.h"

enum { KEYS = 60 };

static const lattice_shard one_shard[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "", .nodes = {1, 2, 3}}};
static const lattice_shard lone_shard[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "", .nodes = {1}}};
static const lattice_shard pair_shard[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "", .nodes = {1, 2}}};

static const lattice_shard two_shards[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "k030", .nodes = {1, 2, 3}},
    {.id = 7, .start = "k030", .end = "", .nodes = {1, 2, 3}}};

static uint64_t next_of(uint64_t leader) {
    return leader % 3 + 1;
}

static const char *key_of(lattice *in, int index) {
    char *key = lw_arena_allocate(&in->arena, 16);
    (void)snprintf(key, 16, "k%03d", index);
    return key;
}

/* So many that tables have several blocks: text that does not compress well. */
static const char *value_of(lattice *in, int index, const char *word) {
    char *value = lw_arena_allocate(&in->arena, 512);
    uint64_t chance = (uint64_t)index + 1;
    size_t size = (size_t)snprintf(value, 512, "%s ", word);
    while (size < 500) {
        value[size++] = (char)('!' + unit_random_below(&chance, 90));
    }
    value[size] = 0;
    return value;
}

static void write_some(lattice *in, int from, int count, const char *value) {
    for (int index = from; index < from + count; index++) {
        lattice_write(in, key_of(in, index), value_of(in, index, value));
    }
}

static void reads_all(lattice *in, int from, int count, const char *value) {
    for (int index = from; index < from + count; index++) {
        expect_text(in, lattice_read(in, key_of(in, index)), value_of(in, index, value),
                    "what was written is read");
    }
}

/* ---- damage --------------------------------------------------------------------------------- */

static void flush_main(void *argument) {
    lattice_node *node = argument;
    lw_status status = lw_tree_flush(lw_store_tree(node->store, LW_ROOT_SHARD));
    expect(node->in, status == LW_OK, "it is flushed");
    node->done = true;
}

static void compact_main(void *argument) {
    lattice_node *node = argument;
    lw_tree *tree = lw_store_tree(node->store, LW_ROOT_SHARD);
    (void)!lw_tree_compact(tree);
    node->done = true;
}

/* Where a crash came early it is damaged still, and is found again. */
static void compact_main_if_there(void *argument) {
    lattice_node *node = argument;
    if (lw_store_tree(node->store, LW_ROOT_SHARD) != NULL) {
        compact_main(argument);
    }
    node->done = true;
}

/* A block in the middle of every table of a node. */
static void flip(lattice *in, uint64_t id) {
    lw_disk *disk = lw_host_disk(in->nodes[id].host);
    lw_buffer paths = lw_buffer_in(in->memory);
    lw_disk_paths(disk, LW_DISK_VOLATILE, &paths);
    uint32_t count = 0;
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *path = (const char *)paths.data + at;
        if (strstr(path, "/sst/") != NULL) {
            lw_buffer bytes = lw_buffer_in(in->memory);
            (void)lw_disk_contents(disk, LW_DISK_VOLATILE, path, &bytes);
            if (bytes.size < 4096) {
                continue; /* one with hardly more than the descriptor, which is read at a start */
            }
            lw_disk_flip(disk, path, bytes.size / 2 * UINT64_C(8));
            count++;
        }
    }
    expect(in, count > 0, "there are tables");
}

static uint64_t marked(const lattice *in, const char *mark) {
    return lw_world_marked(in->world, mark);
}

/* Until something has happened so often, or too much time has passed. */
static void until_marked(lattice *in, const char *mark, uint64_t count) {
    uint64_t until_ns = lw_world_now(in->world) + 40000 * LATTICE_MS;
    while (marked(in, mark) < count && lw_world_now(in->world) < until_ns &&
           lw_world_step(in->world)) {
    }
    expect(in, marked(in, mark) >= count, mark);
}

static void make_damaged_follower(lattice *in, uint64_t *damaged) {
    lattice_make(in, one_shard, 1);
    write_some(in, 0, KEYS, "old");
    *damaged = next_of(lattice_leader(in, lw_text("")));
    lattice_pass_ms(in, 1000);
    lattice_run(&in->nodes[*damaged], flush_main);
    flip(in, *damaged);
}

static void a_damaged_follower_gets_its_replica_anew_story(lattice *in) {
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
static void a_damaged_follower_gets_its_replica_anew(void **state) {
    (void)state;
    lattice_hold(a_damaged_follower_gets_its_replica_anew_story, NULL);
}

static void change_members(lattice *in, lw_change_replicas_request request) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_change_replicas_request_encode(&request, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_CHANGE_REPLICAS, "", &body);
    expect(in, ask->done && ask->status == LW_OK, "the members change");
}

/* Bits flip all over the tables of a node. */
static void flip_all(lattice *in, uint64_t id) {
    lw_disk *disk = lw_host_disk(in->nodes[id].host);
    lw_buffer paths = lw_buffer_in(in->memory);
    lw_disk_paths(disk, LW_DISK_VOLATILE, &paths);
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *path = (const char *)paths.data + at;
        if (strstr(path, "data/sst/") != NULL) {
            lw_buffer bytes = lw_buffer_in(in->memory);
            (void)lw_disk_contents(disk, LW_DISK_VOLATILE, path, &bytes);
            for (size_t byte = 0; byte < bytes.size; byte += 40) {
                lw_disk_flip(disk, path, byte * 8);
            }
        }
    }
}

/* Nobody knows yet that it is a member when it finds that what has just come cannot be read. */
static void what_rots_as_it_comes_is_asked_for_again_story(lattice *in) {
    lattice_make(in, pair_shard, 1);
    lattice_boot(in, 3);
    lattice_write(in, "a", "1");
    change_members(in, (lw_change_replicas_request){.learner = 3});
    until_marked(in, "replica.snapshot_installed", 1);
    flip_all(in, 3);
    until_marked(in, "replica.snapshot_rotten", 1);
    lattice_write(in, "a", "2");
    lattice_pass_ms(in, 8000);
    change_members(in, (lw_change_replicas_request){.voter = 3});
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}
static void what_rots_as_it_comes_is_asked_for_again(void **state) {
    (void)state;
    lattice_hold(what_rots_as_it_comes_is_asked_for_again_story, "replica.rotten_newcomer_left_so");
}

/* Who repairs rests when that has come, and goes on. */
static void what_comes_instead_may_rot_too_story(lattice *in) {
    lattice_make(in, pair_shard, 1);
    lattice_boot(in, 3);
    lattice_write(in, "a", "1");
    change_members(in, (lw_change_replicas_request){.learner = 3});
    for (uint64_t count = 1; count <= 2; count++) {
        until_marked(in, "replica.snapshot_installed", count);
        flip_all(in, 3);
        until_marked(in, "replica.snapshot_rotten", count);
    }
    lattice_write(in, "a", "2");
    lattice_pass_ms(in, 8000);
    change_members(in, (lw_change_replicas_request){.voter = 3});
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}
static void what_comes_instead_may_rot_too(void **state) {
    (void)state;
    lattice_hold(what_comes_instead_may_rot_too_story, "shards.damaged_anew_unheard");
}

/* While the group rests, nobody sends anything by himself. */
static void a_group_that_rests_hears_of_it_story(lattice *in) {
    uint64_t damaged;
    make_damaged_follower(in, &damaged);
    lattice_pass_ms(in, 20000);
    lattice_run(&in->nodes[damaged], compact_main);
    until_marked(in, "shards.repaired", 1);
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}
static void a_group_that_rests_hears_of_it(void **state) {
    (void)state;
    lattice_hold(a_group_that_rests_hears_of_it_story, NULL);
}

static void a_damaged_leader_hands_over_first_story(lattice *in) {
    lattice_make(in, one_shard, 1);
    write_some(in, 0, KEYS, "old");
    uint64_t leader = lattice_leader(in, lw_text(""));
    lattice_run(&in->nodes[leader], flush_main);
    flip(in, leader);
    reads_all(in, 0, KEYS, "old"); /* the first that fails is asked again elsewhere */
    until_marked(in, "shards.repaired", 1);
    expect(in, marked(in, "shards.damaged_hands_over") > 0, "it handed over");
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}
static void a_damaged_leader_hands_over_first(void **state) {
    (void)state;
    lattice_hold(a_damaged_leader_hands_over_first_story, NULL);
}

static bool have_it_lead(lattice *in, uint64_t node) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_transfer_request_encode(&(lw_transfer_request){.node = node}, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_TRANSFER, "", &body);
    lw_buffer_reset(&body);
    return ask->done && ask->status == LW_OK;
}

/* Somebody wishes it to lead, whatever comes. */
static void a_damaged_one_that_is_to_lead_is_repaired_first_story(lattice *in) {
    uint64_t damaged;
    make_damaged_follower(in, &damaged);
    (void)have_it_lead(in, damaged);
    lattice_run(&in->nodes[damaged], compact_main);
    for (int count = 0; count < 40; count++) {
        (void)have_it_lead(in, damaged);
        lattice_pass_ms(in, 250);
    }
    expect(in, marked(in, "shards.repaired") > 0, "it has a whole one");
    lattice_same_everywhere(in);
}
static void a_damaged_one_that_is_to_lead_is_repaired_first(void **state) {
    (void)state;
    lattice_hold(a_damaged_one_that_is_to_lead_is_repaired_first_story,
                 "shards.damaged_leads_again");
}

/* What it could not read was made when node 3 was no voter yet, who is the only whole one that is
 * left. */
static void have_one_lead_that_cannot_serve(lattice *in) {
    lattice_make(in, lone_shard, 1);
    lattice_boot(in, 2);
    lattice_boot(in, 3);
    lattice_write(in, "a", "1");
    change_members(in, (lw_change_replicas_request){.learner = 3});
    until_marked(in, "replica.snapshot_installed", 1);
    change_members(in, (lw_change_replicas_request){.learner = 2});
    until_marked(in, "replica.snapshot_installed", 2);
    flip_all(in, 2);
    until_marked(in, "replica.snapshot_rotten", 1);
    in->slow_ms[2][1] = 100000; /* it cannot ask for another one */
    lattice_pass_ms(in, 20000);
    change_members(in, (lw_change_replicas_request){.voter = 3});
    change_members(in, (lw_change_replicas_request){.voter = 2});
    for (int count = 0; count < 60 && !have_it_lead(in, 2); count++) {
        lattice_pass_ms(in, 1000); /* a snapshot is on its way to it */
    }
}

static void who_became_a_voter_since_is_handed_the_lead_story(lattice *in) {
    have_one_lead_that_cannot_serve(in);
    lattice_crash(in, 1);
    lattice_pass_ms(in, 10000);
    lattice_write(in, "a", "2");
    expect(in, lattice_leader(in, lw_text("")) == 3, "the whole one leads");
    until_marked(in, "shards.repaired", 1);
    lattice_boot(in, 1);
    lattice_pass_ms(in, 3000);
    lattice_same_everywhere(in);
}
static void who_became_a_voter_since_is_handed_the_lead(void **state) {
    (void)state;
    lattice_hold(who_became_a_voter_since_is_handed_the_lead_story, "shards.members_of_before");
}

static void ask_main(void *argument) {
    lattice_node *node = argument;
    lw_buffer body = lw_buffer_in(node->env->memory), reply = lw_buffer_in(node->env->memory);
    lw_timestamp_request_encode(&(lw_timestamp_request){.count = 1}, &body);
    lw_status status = lw_shards_ask(node->shards, LW_MESSAGE_TIMESTAMP, lw_text(""),
                                     lw_buffer_view(&body), &reply);
    expect(node->in, status == LW_OK, "it is answered in the end");
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    node->done = true;
}

/* It leads, as all say, and nobody hears that it hands over. */
static void who_is_sent_in_circles_pauses_story(lattice *in) {
    have_one_lead_that_cannot_serve(in);
    in->mute[2][1] = in->mute[2][3] = true;
    in->slow_ms[2][1] = 0;
    uint64_t before = marked(in, "shards.asked_elsewhere");
    in->nodes[2].done = false;
    lw_env_start(in->nodes[2].env, "bench", ask_main, &in->nodes[2]);
    lattice_pass_ms(in, 500);
    expect(in, marked(in, "shards.sent_on_too_often") > 0, "it is sent on, and on");
    expect(in, marked(in, "shards.asked_elsewhere") - before < 50, "it pauses");
    in->mute[2][1] = in->mute[2][3] = false;
    lattice_pass_ms(in, 8000);
    expect(in, in->nodes[2].done, "it is answered");
}
static void who_is_sent_in_circles_pauses(void **state) {
    (void)state;
    lattice_hold(who_is_sent_in_circles_pauses_story, "shards.sent_in_circles");
}

/* Acknowledged by the leader and the damaged one, whose log is whole: with the leader gone it still
 * leads, and nobody misses anything. */
static void what_a_damaged_one_acknowledged_is_kept_story(lattice *in) {
    uint64_t damaged;
    make_damaged_follower(in, &damaged);
    uint64_t leader = lattice_leader(in, lw_text("")), third = 6 - leader - damaged;
    in->cut[leader][third] = in->cut[third][leader] = true;
    in->cut[leader][damaged] = true; /* it gets no snapshot */
    lattice_run(&in->nodes[damaged], compact_main);
    lattice_pass_ms(in, 500);
    in->cut[leader][damaged] = false;
    write_some(in, 0, 1, "new");
    lattice_crash(in, leader);
    in->cut[leader][third] = in->cut[third][leader] = false;
    reads_all(in, 0, 1, "new");
    lattice_boot(in, leader);
    until_marked(in, "shards.repaired", 1);
    lattice_pass_ms(in, 3000);
    reads_all(in, 1, KEYS - 1, "old");
    lattice_same_everywhere(in);
}
static void what_a_damaged_one_acknowledged_is_kept(void **state) {
    (void)state;
    lattice_hold(what_a_damaged_one_acknowledged_is_kept_story, NULL);
}

/* Nothing is replaced while nobody else leads: what can still be read may be needed. */
static void what_can_be_read_stays_while_nobody_else_leads_story(lattice *in) {
    uint64_t damaged;
    make_damaged_follower(in, &damaged);
    uint64_t leader = lattice_leader(in, lw_text("")), third = 6 - leader - damaged;
    lattice_crash(in, leader);
    lattice_crash(in, third);
    lattice_run(&in->nodes[damaged], compact_main);
    lattice_pass_ms(in, 10000);
    expect(in, marked(in, "store.tree_replaced") == 0, "it keeps what it has");
    lattice_boot(in, leader);
    lattice_boot(in, third);
    until_marked(in, "shards.repaired", 1);
    reads_all(in, 0, KEYS, "old");
    lattice_pass_ms(in, 3000);
    lattice_same_everywhere(in);
}
static void what_can_be_read_stays_while_nobody_else_leads(void **state) {
    (void)state;
    lattice_hold(what_can_be_read_stays_while_nobody_else_leads_story, NULL);
}

/* What a merge leaves may not be in a snapshot of its very entry, and nobody writes behind it. */
static void a_shard_at_rest_since_a_merge_is_repaired_story(lattice *in) {
    lattice_make(in, two_shards, 2);
    write_some(in, 0, KEYS, "old");
    lattice_pass_ms(in, 5000);
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
static void a_shard_at_rest_since_a_merge_is_repaired(void **state) {
    (void)state;
    lattice_hold(a_shard_at_rest_since_a_merge_is_repaired_story, NULL);
}

/* ---- several at once ------------------------------------------------------------------------- */

static void damage_both(lattice *in, uint64_t one, uint64_t other) {
    lattice_pass_ms(in, 1000);
    lattice_run(&in->nodes[one], flush_main);
    lattice_run(&in->nodes[other], flush_main);
    flip(in, one);
    flip(in, other);
}

/* At the same moment: the group goes on with the votes of both. */
static void find_both(lattice *in, uint64_t one, uint64_t other) {
    in->nodes[one].done = in->nodes[other].done = false;
    lw_env_start(in->nodes[one].env, "bench", compact_main, &in->nodes[one]);
    lw_env_start(in->nodes[other].env, "bench", compact_main, &in->nodes[other]);
    until_marked(in, "shards.damage_found", 2);
}

static void two_followers_damaged_at_once_come_anew_story(lattice *in) {
    lattice_make(in, one_shard, 1);
    write_some(in, 0, KEYS, "old");
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
static void two_followers_damaged_at_once_come_anew(void **state) {
    (void)state;
    lattice_hold(two_followers_damaged_at_once_come_anew_story,
                 "group.forgets_what_came_meanwhile");
}

static void a_leader_and_a_follower_damaged_at_once_come_anew_story(lattice *in) {
    lattice_make(in, one_shard, 1);
    write_some(in, 0, KEYS, "old");
    uint64_t leader = lattice_leader(in, lw_text(""));
    damage_both(in, leader, next_of(leader));
    find_both(in, leader, next_of(leader));
    write_some(in, KEYS, 10, "new");
    until_marked(in, "shards.repaired", 2);
    reads_all(in, 0, KEYS, "old");
    reads_all(in, KEYS, 10, "new");
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}
static void a_leader_and_a_follower_damaged_at_once_come_anew(void **state) {
    (void)state;
    lattice_hold(a_leader_and_a_follower_damaged_at_once_come_anew_story, NULL);
}

/* As long as anything is: so many tables that nothing more is written before they are merged. */
static void write_until_refused(lattice *in, uint64_t node) {
    lw_mutation mutation = lattice_put(key_of(in, 0), "new", LW_SEEN_ANYTHING);
    lw_status status = LW_OK;
    for (int count = 0; count < 100 && status == LW_OK; count++) {
        status = lattice_commit(in, lattice_timestamp(in), &mutation, 1, NULL);
        lattice_run(&in->nodes[node], flush_main);
    }
    expect(in, status != LW_OK, "it takes no more");
}

/* Both led while the third was away, and are at their limit: the log takes its first entry. */
static void who_is_whole_leads_two_that_cannot_be_compacted_story(lattice *in) {
    lattice_make(in, one_shard, 1);
    write_some(in, 0, KEYS, "old");
    uint64_t leader = lattice_leader(in, lw_text("")), other = next_of(leader);
    damage_both(in, leader, other);
    lattice_crash(in, next_of(other));
    find_both(in, leader, other);
    write_until_refused(in, leader);
    for (int count = 0; count < 20 && lattice_leader(in, lw_text("")) != other; count++) {
        (void)have_it_lead(in, other);
        lattice_pass_ms(in, 500);
    }
    expect(in, lattice_leader(in, lw_text("")) == other, "the other leads");
    write_until_refused(in, other);
    lattice_boot(in, next_of(other));
    until_marked(in, "shards.repaired", 2);
    write_some(in, KEYS, 10, "new");
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}
static void who_is_whole_leads_two_that_cannot_be_compacted(void **state) {
    (void)state;
    lattice_hold(who_is_whole_leads_two_that_cannot_be_compacted_story,
                 "group.damaged_tree_lets_in");
}

/* Nobody has what is damaged: who reads it is told, and the rest is answered. */
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

static void where_nobody_is_whole_readers_are_told_story(lattice *in) {
    lattice_make(in, one_shard, 1);
    write_some(in, 0, KEYS, "old");
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
static void where_nobody_is_whole_readers_are_told(void **state) {
    (void)state;
    lattice_hold(where_nobody_is_whole_readers_are_told_story, NULL);
}

/* What had rotted is gone, here by rotting back: a compaction has no use for all that there is. */
static void who_is_whole_after_all_says_so_story(lattice *in) {
    lattice_make(in, pair_shard, 1);
    write_some(in, 0, KEYS, "old");
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
static void who_is_whole_after_all_says_so(void **state) {
    (void)state;
    lattice_hold(who_is_whole_after_all_says_so_story, NULL);
}

/* ---- where the descriptor stands ------------------------------------------------------------- */

/* Something in every block of every table of a node. */
static void rot_all(lattice *in, uint64_t id) {
    lw_disk *disk = lw_host_disk(in->nodes[id].host);
    lw_buffer paths = lw_buffer_in(in->memory);
    lw_disk_paths(disk, LW_DISK_VOLATILE, &paths);
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *path = (const char *)paths.data + at;
        lw_buffer bytes = lw_buffer_in(in->memory);
        if (strstr(path, "/sst/") != NULL) {
            (void)lw_disk_contents(disk, LW_DISK_VOLATILE, path, &bytes);
        }
        for (uint64_t offset = 10; offset < bytes.size; offset += 100) {
            lw_disk_flip(disk, path, 8 * offset);
        }
    }
}

/* It goes down with all of it flushed but a few entries, which only its log has. */
static void behead(lattice *in, uint64_t id) {
    rot_all(in, id);
    lattice_crash(in, id);
}

static void a_node_whose_table_does_not_say_what_it_is_comes_back_story(lattice *in) {
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
static void a_node_whose_table_does_not_say_what_it_is_comes_back(void **state) {
    (void)state;
    lattice_hold(a_node_whose_table_does_not_say_what_it_is_comes_back_story, NULL);
}

/* The third knows of nothing that the leader and the damaged one have acknowledged. */
static void what_it_acknowledged_counts_before_it_has_a_tree_story(lattice *in) {
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
static void what_it_acknowledged_counts_before_it_has_a_tree(void **state) {
    (void)state;
    lattice_hold(what_it_acknowledged_counts_before_it_has_a_tree_story, NULL);
}

static void two_that_do_not_know_what_they_are_come_back_story(lattice *in) {
    lattice_make(in, one_shard, 1);
    write_some(in, 0, KEYS, "old");
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
static void two_that_do_not_know_what_they_are_come_back(void **state) {
    (void)state;
    lattice_hold(two_that_do_not_know_what_they_are_come_back_story, NULL);
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
static void what_was_merged_meanwhile_does_not_stay_story(lattice *in) {
    lattice_make(in, two_shards, 2);
    write_some(in, 0, KEYS, "old");
    lattice_pass_ms(in, 5000);
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
static void what_was_merged_meanwhile_does_not_stay(void **state) {
    (void)state;
    lattice_hold(what_was_merged_meanwhile_does_not_stay_story, "shards.merged_stays_headless");
}

/* ---- what comes off a damaged tree ------------------------------------------------------------
 */

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

static void what_comes_off_damaged_is_repaired_story(lattice *in) {
    lattice_make(in, one_shard, 1);
    write_some(in, 0, KEYS, "old");
    lattice_pass_ms(in, 1000);
    comes_off_damaged(in, next_of(lattice_leader(in, lw_text(""))));
}
static void what_comes_off_damaged_is_repaired(void **state) {
    (void)state;
    lattice_hold(what_comes_off_damaged_is_repaired_story, "replica.damaged_child_ends_all");
}

static void what_comes_off_damaged_where_it_is_led_is_repaired_story(lattice *in) {
    lattice_make(in, one_shard, 1);
    write_some(in, 0, KEYS, "old");
    lattice_pass_ms(in, 1000);
    comes_off_damaged(in, lattice_leader(in, lw_text("")));
}
static void what_comes_off_damaged_where_it_is_led_is_repaired(void **state) {
    (void)state;
    lattice_hold(what_comes_off_damaged_where_it_is_led_is_repaired_story,
                 "replica.damaged_child_ends_all");
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
    lattice_make(in, one_shard, 1);
    write_some(in, 0, KEYS, "old");
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

static void a_lone_node_refuses_in_words_story(lattice *in) {
    lattice_make(in, lone_shard, 1);
    write_some(in, 0, KEYS, "old");
    lattice_run(&in->nodes[1], flush_main);
    behead(in, 1);
    in->nodes[1].alone = true;
    lattice_boot(in, 1);
    bool refuses = strstr(in->failure, "data/sst/") != NULL;
    in->failure[0] = 0;
    expect(in, refuses && in->nodes[1].opened == LW_CORRUPTION, "it says which file is damaged");
}
static void a_lone_node_refuses_in_words(void **state) {
    (void)state;
    lattice_hold(a_lone_node_refuses_in_words_story, NULL);
}

/* ---- alone ----------------------------------------------------------------------------------- */

static void a_lone_voter_tells_of_damage_story(lattice *in) {
    lattice_make(in, lone_shard, 1);
    write_some(in, 0, KEYS, "old");
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
static void a_lone_voter_tells_of_damage(void **state) {
    (void)state;
    lattice_hold(a_lone_voter_tells_of_damage_story, NULL);
}

/* ---- crashes while it is repaired ------------------------------------------------------------ */

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
        lattice_make(&in, one_shard, 1);
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

/* ---- replicas that differ (R17) ---------------------------------------------------------------
 */

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

static void one_of_three_is_repaired_story(lattice *in) {
    lattice_make(in, one_shard, 1);
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
static void one_of_three_is_repaired(void **state) {
    (void)state;
    lattice_hold(one_of_three_is_repaired_story, "group.digests_not_compared");
}

static void two_that_differ_halt_in_words_story(lattice *in) {
    lattice_make(in, pair_shard, 1);
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
static void they_halt_behind_a_start_until_told_who_is_right_story(lattice *in) {
    two_that_differ_halt_in_words_story(in);
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
static void they_halt_behind_a_start_until_told_who_is_right(void **state) {
    (void)state;
    lattice_hold(they_halt_behind_a_start_until_told_who_is_right_story, "group.halt_is_forgotten");
}

static void two_that_differ_halt_in_words(void **state) {
    (void)state;
    lattice_hold(two_that_differ_halt_in_words_story, "group.digests_not_compared");
}

/* Node 2 differs, which nobody can judge any more once the others were started again. It knows of
 * its difference, and is cut off. */
static void have_one_that_nobody_can_judge(lattice *in) {
    lattice_make(in, one_shard, 1);
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

static void who_is_left_behind_before_it_halts_comes_anew_story(lattice *in) {
    have_one_that_nobody_can_judge(in);
    (void)leave_it_behind(in);
    expect_it_anew(in);
    expect(in, marked(in, "shards.halted_without_majority") == 0, "nobody halts");
}
static void who_is_left_behind_before_it_halts_comes_anew(void **state) {
    (void)state;
    lattice_hold(who_is_left_behind_before_it_halts_comes_anew_story,
                 "shards.left_behind_stays_halted");
}

/* While it waits for its snapshot. */
static void who_comes_anew_hears_late_that_it_was_removed_story(lattice *in) {
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
static void who_comes_anew_hears_late_that_it_was_removed(void **state) {
    (void)state;
    lattice_hold(who_comes_anew_hears_late_that_it_was_removed_story,
                 "shards.old_removal_believed");
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

static void who_is_left_behind_when_it_has_halted_comes_anew_story(lattice *in) {
    halt_one_that_votes(in);
    (void)leave_it_behind(in);
    expect_it_anew(in);
}
static void who_is_left_behind_when_it_has_halted_comes_anew(void **state) {
    (void)state;
    lattice_hold(who_is_left_behind_when_it_has_halted_comes_anew_story,
                 "shards.left_behind_stays_halted");
}

static void who_is_left_behind_and_halted_before_a_start_comes_anew_story(lattice *in) {
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
static void who_is_left_behind_and_halted_before_a_start_comes_anew(void **state) {
    (void)state;
    lattice_hold(who_is_left_behind_and_halted_before_a_start_comes_anew_story,
                 "shards.left_behind_stays_halted");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_damaged_follower_gets_its_replica_anew),
        cmocka_unit_test(what_rots_as_it_comes_is_asked_for_again),
        cmocka_unit_test(what_comes_instead_may_rot_too),
        cmocka_unit_test(a_group_that_rests_hears_of_it),
        cmocka_unit_test(a_shard_at_rest_since_a_merge_is_repaired),
        cmocka_unit_test(a_damaged_leader_hands_over_first),
        cmocka_unit_test(a_damaged_one_that_is_to_lead_is_repaired_first),
        cmocka_unit_test(who_became_a_voter_since_is_handed_the_lead),
        cmocka_unit_test(who_is_sent_in_circles_pauses),
        cmocka_unit_test(what_a_damaged_one_acknowledged_is_kept),
        cmocka_unit_test(what_can_be_read_stays_while_nobody_else_leads),
        cmocka_unit_test(two_followers_damaged_at_once_come_anew),
        cmocka_unit_test(a_leader_and_a_follower_damaged_at_once_come_anew),
        cmocka_unit_test(who_is_whole_leads_two_that_cannot_be_compacted),
        cmocka_unit_test(where_nobody_is_whole_readers_are_told),
        cmocka_unit_test(who_is_whole_after_all_says_so),
        cmocka_unit_test(a_node_whose_table_does_not_say_what_it_is_comes_back),
        cmocka_unit_test(what_it_acknowledged_counts_before_it_has_a_tree),
        cmocka_unit_test(two_that_do_not_know_what_they_are_come_back),
        cmocka_unit_test(what_was_merged_meanwhile_does_not_stay),
        cmocka_unit_test(what_comes_off_damaged_is_repaired),
        cmocka_unit_test(what_comes_off_damaged_where_it_is_led_is_repaired),
        cmocka_unit_test(what_comes_off_damaged_at_a_start_is_repaired),
        cmocka_unit_test(a_lone_node_refuses_in_words),
        cmocka_unit_test(a_lone_voter_tells_of_damage),
        cmocka_unit_test(a_crash_at_any_time_loses_nothing),
        cmocka_unit_test(damage_that_goes_around_loses_nothing),
        cmocka_unit_test(one_of_three_is_repaired),
        cmocka_unit_test(two_that_differ_halt_in_words),
        cmocka_unit_test(they_halt_behind_a_start_until_told_who_is_right),
        cmocka_unit_test(who_is_left_behind_before_it_halts_comes_anew),
        cmocka_unit_test(who_comes_anew_hears_late_that_it_was_removed),
        cmocka_unit_test(who_is_left_behind_when_it_has_halted_comes_anew),
        cmocka_unit_test(who_is_left_behind_and_halted_before_a_start_comes_anew),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
