/* SPDX-License-Identifier: Apache-2.0 */
/* Shards on several nodes: leading and following, splits, and what leaders must not forget. */
#include "tests/shard_operators.h"

#include "node/group.h"
#include "sim/disk.h"

#include <stdlib.h>

static const lattice_shard one_shard[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "", .nodes = {1, 2, 3}}};

static void make_one(lattice *in) {
    lattice_make(in, one_shard, 1);
}

/* ---- leading and following ------------------------------------------------------------------- */

static void what_is_written_appears_on_followers(lattice *in) {
    make_one(in);
    char key[8];
    for (int index = 0; index < 20; index++) {
        (void)snprintf(key, sizeof(key), "k%d", index);
        lattice_write(in, key, "value");
    }
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
    expect_text(in, lattice_read(in, "k7"), "value", "it is read");
}

static void another_leads_when_the_leader_is_gone(lattice *in) {
    make_one(in);
    for (int round = 0; round < 4; round++) {
        char value[8];
        (void)snprintf(value, sizeof(value), "%d", round);
        lattice_write(in, "a", value);
        uint64_t leader = lattice_leader(in, lw_text("a"));
        expect(in, leader != 0, "somebody leads");
        lattice_crash(in, leader);
        expect_text(in, lattice_read(in, "a"), value, "what was written stays");
        lattice_write(in, "b", value);
        lattice_boot(in, leader);
        expect_text(in, lattice_read(in, "b"), value, "and what was written then");
    }
    lattice_pass_ms(in, 3000);
    lattice_same_everywhere(in);
}

/* The root shard on one node, and another shard on the three others. */
static const lattice_shard two_shards[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "m", .nodes = {4}},
    {.id = 2, .start = "m", .end = "", .nodes = {1, 2, 3}},
};

static void make_two(lattice *in) {
    lattice_make(in, two_shards, 2);
    lattice_write(in, "z", "first");
}

static void leadership_is_handed_over(lattice *in) {
    make_two(in);
    for (int round = 0; round < 6; round++) {
        char value[8];
        (void)snprintf(value, sizeof(value), "%d", round);
        transfer(in, "z", next_of(lattice_leader(in, lw_text("z"))));
        lattice_write(in, "z", value);
        expect_text(in, lattice_read(in, "z"), value, "it serves");
    }
    lattice_pass_ms(in, 1000);
    lattice_same_everywhere(in);
}

/* It was silent when it was cut off, and has not noticed. Timestamps come from elsewhere, and are
 * above what another leader has committed meanwhile. */
static void who_leads_no_more_answers_no_reads(lattice *in) {
    make_two(in);
    uint64_t old = lattice_leader(in, lw_text("z"));
    lattice_pass_ms(in, 5000);
    for (uint64_t other = 1; other <= 3; other++) {
        in->cut[old][other] = in->cut[other][old] = other != old;
    }
    lattice_links(in);
    for (int step = 0; step < 500 && lattice_leader(in, lw_text("z")) == old; step++) {
        lattice_pass_ms(in, 20);
    }
    expect(in, lattice_leader(in, lw_text("z")) != old, "another one leads");
    lattice_write(in, "z", "second");
    lw_buffer read = lw_buffer_in(in->memory);
    lattice_get_body("z", 0, &read);
    lattice_ask *asked =
        lattice_await(lattice_send_to(in, old, LW_MESSAGE_GET, lw_text("z"), &read), 5000);
    expect(in,
           !asked->done || asked->status != LW_OK ||
               strcmp(lattice_value(asked, NULL), "second") == 0,
           "the old one does not answer with what was before");
}

/* A commit timestamp that was drawn before a read, and comes after it, at another leader. */
static void a_new_leader_commits_nothing_below_reads_of_before(lattice *in) {
    make_two(in);
    uint64_t start = lattice_timestamp(in), commit = lattice_timestamp(in);
    expect_text(in, lattice_read(in, "z"), "first", "it is read");
    transfer(in, "z", next_of(lattice_leader(in, lw_text("z"))));
    lw_mutation mutation = lattice_put("z", "second", LW_SEEN_ANYTHING);
    lw_prewrite_request request = {.start = start,
                                   .primary = lw_text("z"),
                                   .lifetime_ms = 600000,
                                   .mutations = &mutation,
                                   .mutation_count = 1,
                                   .commit_timestamp = commit};
    lw_buffer body = lw_buffer_in(in->memory);
    lw_prewrite_request_encode(&request, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_PREWRITE, "z", &body);
    lw_prewrite_reply reply = {0};
    expect(in,
           ask->done && ask->status == LW_OK &&
               lw_prewrite_reply_decode(lw_buffer_view(&ask->reply), &in->arena, &reply) == LW_OK,
           "it is prewritten");
    expect(in, !reply.asynchronous, "but not below what was read");
}

static lattice_ask *lock(lattice *in, uint64_t start, const char *key, uint32_t wait_ms) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_bytes keys[] = {lw_text(key)};
    lw_lock_request request = {.start = start, .keys = keys, .key_count = 1, .wait_ms = wait_ms};
    lw_lock_request_encode(&request, &body);
    return lattice_await(
        lattice_send_to(in, lattice_leader(in, lw_text(key)), LW_MESSAGE_LOCK, lw_text(key), &body),
        5000);
}

/* The owner ended its transaction elsewhere: its lock is of no leader that may come again. */
static void pessimistic_locks_end_with_the_leadership(lattice *in) {
    make_two(in);
    uint64_t one = lattice_leader(in, lw_text("z")), other = next_of(one);
    uint64_t first = lattice_timestamp(in), second = lattice_timestamp(in);
    expect(in, lock(in, first, "z", 100)->status == LW_OK, "locked");
    transfer(in, "z", other);
    lw_mutation mutation = lattice_put("z", "mine", LW_SEEN_ANYTHING);
    expect(in, lattice_commit(in, first, &mutation, 1, NULL) == LW_OK, "its owner commits");
    transfer(in, "z", one);
    expect(in, lock(in, second, "z", 500)->status == LW_OK, "another one gets it");
}

static void prewrite_for_minutes(lattice *in) {
    lw_mutation mutation = lattice_put("z", "second", LW_SEEN_ANYTHING);
    lw_prewrite_request request = {.start = lattice_timestamp(in),
                                   .primary = lw_text("z"),
                                   .lifetime_ms = 600000,
                                   .mutations = &mutation,
                                   .mutation_count = 1};
    lw_buffer body = lw_buffer_in(in->memory);
    lw_prewrite_request_encode(&request, &body);
    expect(in, lattice_call(in, LW_MESSAGE_PREWRITE, "z", &body)->status == LW_OK, "prewritten");
}

static uint64_t open_at_leader(lattice *in) {
    lw_replica_figures figures;
    uint64_t leader = lattice_leader(in, lw_text("z"));
    lw_replica_figures_get(lattice_replica(in, leader, lw_text("z")), &figures);
    return figures.open;
}

/* Of a transaction that has minutes, at another leader than the one that its client spoke to. */
static void locks_of_the_dead_end_at_another_leader(lattice *in) {
    make_two(in);
    prewrite_for_minutes(in);
    transfer(in, "z", next_of(lattice_leader(in, lw_text("z"))));
    lattice_pass_ms(in, 6000);
    expect(in, open_at_leader(in) == 1, "whose client has nothing to say keeps its locks");
    in->session_dies = true;
    lattice_pass_ms(in, 2000);
    expect(in, open_at_leader(in) == 0, "whose client is nowhere loses them");
}

/* None of the leaders leads for as long as it would wait for the client. */
static void locks_of_the_dead_end_under_leaders_that_change(lattice *in) {
    make_two(in);
    prewrite_for_minutes(in);
    in->session++; /* its client is nowhere, and another one has the leaders changed */
    for (uint32_t count = 0; count < 6; count++) {
        transfer(in, "z", next_of(lattice_leader(in, lw_text("z"))));
        lattice_pass_ms(in, 1500);
    }
    expect(in, open_at_leader(in) == 0, "whose client is nowhere loses them");
}

/* The next leader cannot draw a timestamp, and so does not serve yet. */
static void transfer_blind(lattice *in, uint64_t from, uint64_t to) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_transfer_request_encode(&(lw_transfer_request){.node = to}, &body);
    (void)lattice_await(lattice_send_to(in, from, LW_MESSAGE_TRANSFER, lw_text("z"), &body), 3000);
    lattice_pass_ms(in, 200);
}

/* A commit that has looked at what is there, and waits for its timestamp from a node that is far
 * away, while another leader writes, and hands the leadership back. */
static void what_was_seen_counts_in_its_leadership_only(lattice *in) {
    make_two(in);
    uint64_t one = lattice_leader(in, lw_text("z")), other = next_of(one);
    lw_buffer get = lw_buffer_in(in->memory), commit = get;
    lattice_get_body("z", 0, &get);
    uint64_t seen = 0;
    (void)lattice_value(lattice_call(in, LW_MESSAGE_GET, "z", &get), &seen);
    expect(in, seen != 0, "it is read");
    uint64_t start = lattice_timestamp(in);
    lw_mutation mutation = lattice_put("z", "late", seen);
    lattice_commit_body(start, &mutation, 1, &commit);
    (void)lattice_read(in, "z"); /* so that the start is known there */
    in->slow_ms[one][4] = 900;
    lattice_ask *late = lattice_send_to(in, one, LW_MESSAGE_COMMIT_NOW, lw_text("z"), &commit);
    late->request.timeout_ms = 30000;
    lattice_pass_ms(in, 30);
    transfer(in, "z", other);
    lattice_write(in, "z", "other");
    transfer_blind(in, other, one);
    lattice_await(late, 30000);
    expect(in, late->done && late->status != LW_OK, "who looked before is sent home");
    expect_text(in, lattice_read(in, "z"), "other", "and nothing is lost");
}

/* ---- splitting ------------------------------------------------------------------------------- */

static void all_shards_on(lattice *in, uint64_t id, uint32_t count) {
    expect(in, lw_shards_count(in->nodes[id].shards) == count, "a node has all shards");
}

static void a_split_happens_on_all_nodes(lattice *in) {
    make_one(in);
    lattice_write(in, "a", "1");
    lattice_write(in, "m", "2");
    lattice_write(in, "z", "3");
    expect(in, split(in, "m")->status == LW_OK, "it is split");
    lattice_write(in, "b", "4");
    lattice_write(in, "y", "5");
    expect(in, split(in, "t")->status == LW_OK, "and again");
    lattice_write(in, "z", "6");
    lattice_pass_ms(in, 1000);
    for (uint64_t id = 1; id <= 3; id++) {
        all_shards_on(in, id, 3);
    }
    lattice_same_everywhere(in);
    for (uint64_t id = 1; id <= 3; id++) {
        lattice_crash(in, id);
        lattice_write(in, "a", "7");
        lattice_write(in, "z", "8");
        lattice_boot(in, id);
        all_shards_on(in, id, 3);
    }
    expect_text(in, lattice_read(in, "a"), "7", "below");
    expect_text(in, lattice_read(in, "m"), "2", "between");
    expect_text(in, lattice_read(in, "z"), "8", "above");
    lattice_pass_ms(in, 3000);
    lattice_same_everywhere(in);
}

static void a_new_half_is_led_at_once(lattice *in) {
    make_one(in);
    lattice_write(in, "z", "1");
    expect(in, split(in, "m")->status == LW_OK, "it is split");
    uint64_t from_ns = lw_world_now(in->world);
    lattice_write(in, "z", "2");
    expect(in, lw_world_now(in->world) < from_ns + 100 * LATTICE_MS, "nobody waits for silence");
}

/* The power fails at a step of a split, at its leader or at a follower. */
static uint32_t crash_step;
static bool crash_one; /* of the two cases that a story has */
static void a_crash_in_the_middle_of_a_split_story(lattice *in) {
    make_one(in);
    lattice_write(in, "a", "1");
    lattice_write(in, "z", "2");
    uint64_t leader = lattice_leader(in, lw_text("a"));
    uint64_t victim = crash_one ? leader : next_of(leader);
    lw_buffer body = lw_buffer_in(in->memory);
    lw_split_request_encode(&(lw_split_request){.key = lw_text("m")}, &body);
    (void)lattice_send_to(in, leader, LW_MESSAGE_SPLIT, lw_text("m"), &body);
    for (uint32_t step = 0; step < crash_step; step++) {
        (void)lw_world_step(in->world);
    }
    lattice_crash(in, victim);
    lattice_pass_ms(in, unit_random_below(&in->chance, 2500));
    lattice_boot(in, victim);
    expect(in, split(in, "m")->status == LW_OK, "it is split in the end");
    lattice_write(in, "b", "3");
    lattice_write(in, "y", "4");
    expect_text(in, lattice_read(in, "a"), "1", "below");
    expect_text(in, lattice_read(in, "z"), "2", "above");
    lattice_pass_ms(in, 3000);
    for (uint64_t id = 1; id <= 3; id++) {
        all_shards_on(in, id, 2);
    }
    lattice_same_everywhere(in);
}
static void a_crash_in_the_middle_of_a_split_loses_nothing(void **state) {
    (void)state;
    for (crash_step = 0; crash_step < 160; crash_step += 4) {
        char failure[256];
        crash_one = crash_step % 8 == 0;
        lattice_tell(a_crash_in_the_middle_of_a_split_story, crash_step + 1, NULL, failure);
        if (failure[0] != 0) {
            fail_msg("step %u: not as expected: %s", crash_step, failure);
        }
    }
}

/* ---- members -----------------------------------------------------------------------------------
 */

static void add(lattice *in, const char *key, uint64_t node) {
    expect(in, change(in, key, &(lw_change_replicas_request){.learner = node}) == LW_OK,
           "it learns");
    expect(in, change(in, key, &(lw_change_replicas_request){.voter = node}) == LW_OK, "it votes");
}

/* "1 2 3": those that hold a key, as their leader says. */
static const char *members(lattice *in, const char *key) {
    static char text[64];
    text[0] = 0;
    uint64_t leader = lattice_leader(in, lw_text(key));
    lw_shard_descriptor shard = {0};
    if (leader != 0) {
        lw_replica_descriptor(lattice_replica(in, leader, lw_text(key)), &shard);
    }
    for (uint32_t index = 0; index < shard.replica_count; index++) {
        static const char *const roles[] = {"", "", "l", "j", "x"};
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d%s",
                       index == 0 ? "" : " ", (int)shard.replicas[index].node,
                       roles[shard.replicas[index].role]);
    }
    return text;
}

static void a_lone_shard_spreads(lattice *in) {
    lattice_bootstrap(in);
    lattice_write(in, "a", "1");
    add(in, "a", 2);
    expect_text(in, members(in, "a"), "1 2", "two");
    lattice_write(in, "b", "2");
    add(in, "a", 3);
    expect_text(in, members(in, "a"), "1 2 3", "three");
    lattice_write(in, "c", "3");
    lattice_pass_ms(in, 1000);
    lattice_same_everywhere(in);
    lattice_crash(in, 1);
    expect_text(in, lattice_read(in, "a"), "1", "it is there without the first one");
    lattice_write(in, "a", "4");
    lattice_boot(in, 1);
    lattice_pass_ms(in, 3000);
    lattice_same_everywhere(in);
    for (uint64_t id = 1; id <= 4; id++) {
        lattice_shut(in, id);
    }
    for (uint64_t id = 1; id <= 4; id++) {
        lattice_boot(in, id);
    }
    expect_text(in, lattice_read(in, "a"), "4", "after a stop of all, too");
}

static void voters_do_not_become_fewer_by_mistake(lattice *in) {
    make_one(in);
    lattice_write(in, "a", "1");
    uint64_t leader = lattice_leader(in, lw_text("a")), other = next_of(leader);
    lw_change_replicas_request request = {.leaves = other};
    expect(in, change(in, "a", &request) == LW_INVALID_ARGUMENT, "a voter may not just leave");
    expect_text(in, members(in, "a"), "1 2 3", "and stays");
    request = (lw_change_replicas_request){.leaves = leader, .fewer = true};
    expect(in, change(in, "a", &request) == LW_INVALID_ARGUMENT, "nor its leader");
    request = (lw_change_replicas_request){.voter = 4};
    expect(in, change(in, "a", &request) == LW_INVALID_ARGUMENT, "nor may a stranger vote");
    request = (lw_change_replicas_request){.leaves = other, .fewer = true};
    expect(in, change(in, "a", &request) == LW_OK, "unless that is wanted");
    lattice_write(in, "a", "2");
    lattice_pass_ms(in, 2000);
    expect(in, lw_shards_count(in->nodes[other].shards) == 0, "who left has nothing any more");
    lattice_crash(in, other);
    lattice_boot(in, other);
    lattice_pass_ms(in, 1000);
    expect(in, lw_shards_count(in->nodes[other].shards) == 0, "for good");
    expect(in, lw_store_tree(in->nodes[other].store, LW_ROOT_SHARD) == NULL, "not even a tree");
    add(in, "a", other);
    lattice_pass_ms(in, 1000);
    lattice_same_everywhere(in);
    expect_text(in, members(in, "a"), "1 2 3", "it may come back");
    expect_text(in, lattice_read(in, "a"), "2", "and all is there");
}

static void replace(lattice *in, const char *key, uint64_t leaves, uint64_t comes) {
    lw_change_replicas_request request = {.learner = comes};
    expect(in, change(in, key, &request) == LW_OK, "it learns");
    request = (lw_change_replicas_request){.voter = comes, .leaves = leaves};
    expect(in, change(in, key, &request) == LW_OK, "it takes the place of another one");
}

static void one_voter_takes_the_place_of_another_story(lattice *in) {
    lattice_make(in, one_shard, 1);
    lattice_boot(in, 4);
    lattice_write(in, "a", "1");
    transfer(in, "a", 1);
    replace(in, "a", 3, 4);
    expect_text(in, members(in, "a"), "1 2 4", "others");
    lattice_write(in, "a", "2");
    transfer(in, "a", 4);
    replace(in, "a", 1, 3);
    expect_text(in, members(in, "a"), "2 3 4", "and others again");
    lattice_crash(in, 2);
    lattice_write(in, "a", "3");
    lattice_boot(in, 2);
    lattice_pass_ms(in, 3000);
    lattice_same_everywhere(in);
    expect(in, lw_shards_count(in->nodes[1].shards) == 0, "who left has nothing any more");
    expect_text(in, lattice_read(in, "a"), "3", "and all is there");
}
/* All that it knew of are gone, too, when it comes back. */
static void who_was_removed_while_away_hears_of_it(lattice *in) {
    lattice_bootstrap(in);
    lattice_write(in, "a", "1");
    expect(in, change(in, "a", &(lw_change_replicas_request){.learner = 2}) == LW_OK, "it learns");
    lattice_pass_ms(in, 1000);
    expect(in, lw_shards_count(in->nodes[2].shards) == 1, "it has the shard");
    in->cut[1][2] = in->cut[2][1] = true;
    expect(in, change(in, "a", &(lw_change_replicas_request){.leaves = 2}) == LW_OK, "it is out");
    add(in, "a", 3);
    transfer(in, "a", 3);
    expect(in, change(in, "a", &(lw_change_replicas_request){.leaves = 1, .fewer = true}) == LW_OK,
           "and so is the first");
    lattice_pass_ms(in, 3000);
    in->cut[1][2] = in->cut[2][1] = false;
    lattice_pass_ms(in, 25000);
    expect(in, lw_shards_count(in->nodes[2].shards) == 0, "who was away has nothing any more");
    expect_text(in, lattice_read(in, "a"), "1", "and all is there");
}

static void one_voter_takes_the_place_of_another(void **state) {
    (void)state;
    lattice_hold(one_voter_takes_the_place_of_another_story, NULL);
}

/* A node that has missed the removal of another calls it back, with what it sent long ago. */
static void who_was_removed_is_not_called_back(lattice *in) {
    lattice_make(in, one_shard, 1);
    lattice_boot(in, 4);
    in->kept_from = 1;
    in->kept_to = 3;
    transfer(in, "a", 1);
    lattice_write(in, "a", "1");
    expect(in, in->kept.size > 0, "an entry was sent");
    in->cut[1][2] = in->cut[2][1] = in->cut[1][4] = in->cut[4][1] = true;
    lattice_links(in);
    lattice_pass_ms(in, 4000);
    for (int step = 0; step < 300 && lattice_leader(in, lw_text("a")) != 2; step++) {
        in->cut[1][3] = in->cut[3][1] = true;
        lattice_pass_ms(in, 20);
    }
    transfer(in, "a", 2);
    replace(in, "a", 3, 4);
    lattice_pass_ms(in, 2000);
    expect(in, lw_shards_count(in->nodes[3].shards) == 0, "it is removed");
    uint64_t waited = lw_world_marked(in->world, "shards.replica_waits");
    in->cut[1][3] = in->cut[3][1] = false;
    lattice_send_kept(in);
    lattice_pass_ms(in, 200);
    expect(in, lw_world_marked(in->world, "shards.replica_waits") == waited, "and stays so");
    lattice_crash(in, 3);
    lattice_boot(in, 3);
    lattice_send_kept(in);
    lattice_pass_ms(in, 200);
    expect(in, lw_world_marked(in->world, "shards.replica_waits") == waited, "after a crash, too");
}

/* A follower that has not come to the split yet hears of the new half. */
static void a_half_waits_for_the_split(lattice *in) {
    make_one(in);
    lattice_write(in, "a", "1");
    uint64_t leader = lattice_leader(in, lw_text("a")), behind = next_of(leader);
    lattice_isolate(in, behind, true);
    lattice_write(in, "z", "2");
    expect(in, split(in, "m")->status == LW_OK, "it is split without it");
    lattice_write(in, "z", "3");
    transfer(in, "z", next_of(behind) == leader ? next_of(leader) : next_of(behind));
    lattice_isolate(in, behind, false);
    in->cut[leader][behind] = true; /* of the parent it hears later */
    lattice_pass_ms(in, 1500);
    in->cut[leader][behind] = false;
    lattice_links(in);
    lattice_pass_ms(in, 4000);
    all_shards_on(in, behind, 2);
    expect_text(in, lattice_read(in, "z"), "3", "all is there");
    lattice_same_everywhere(in);
}

/* The power fails at a step of a replica's coming, or going. */
static void a_crash_while_a_replica_comes_or_goes_story(lattice *in) {
    lattice_make(in, one_shard, 1);
    lattice_boot(in, 4);
    lattice_write(in, "a", "1");
    uint64_t leader = lattice_leader(in, lw_text("a"));
    uint64_t victim = crash_one ? 4 : next_of(leader);
    lw_change_replicas_request request = {.leaves = victim, .fewer = true};
    if (crash_one) {
        request = (lw_change_replicas_request){.learner = 4};
    }
    lw_buffer body = lw_buffer_in(in->memory);
    lw_change_replicas_request_encode(&request, &body);
    (void)lattice_send_to(in, leader, LW_MESSAGE_CHANGE_REPLICAS, lw_text("a"), &body);
    for (uint32_t step = 0; step < crash_step; step++) {
        (void)lw_world_step(in->world);
    }
    lattice_crash(in, victim);
    lattice_pass_ms(in, unit_random_below(&in->chance, 2500));
    lattice_boot(in, victim);
    expect(in, change(in, "a", &request) == LW_OK, "it is done in the end");
    lattice_write(in, "a", "2");
    lattice_pass_ms(in, 25000);
    if (!crash_one) {
        expect(in, lw_shards_count(in->nodes[victim].shards) == 0, "it is gone");
        expect(in, lw_store_tree(in->nodes[victim].store, LW_ROOT_SHARD) == NULL, "with its tree");
    }
    add(in, "a", victim);
    lattice_same_everywhere(in);
    lattice_shut(in, victim);
    lattice_boot(in, victim);
    expect_text(in, lattice_read(in, "a"), "2", "and all is there");
    lattice_same_everywhere(in);
}
static void a_crash_while_a_replica_comes_or_goes(void **state) {
    (void)state;
    for (crash_step = 0; crash_step < 240; crash_step += 3) {
        char failure[256];
        crash_one = crash_step % 2 == 0;
        lattice_tell(a_crash_while_a_replica_comes_or_goes_story, crash_step + 1, NULL, failure);
        if (failure[0] != 0) {
            fail_msg("step %u: not as expected: %s", crash_step, failure);
        }
    }
}

/* ---- under load -------------------------------------------------------------------------------
 */

enum { ACCOUNTS = 4, MONEY = 100, TRANSFERS = 120 };

static void account_of(char half, int number, char key[4]) {
    (void)snprintf(key, 4, "%c%d", half, number);
}

typedef struct balance {
    char key[4];
    int money;
    uint64_t seen;
} balance;

/* False if it could not be read. */
static bool read_balance(lattice *in, char half, int number, uint64_t timestamp, balance *read) {
    account_of(half, number, read->key);
    lw_buffer body = lw_buffer_in(in->memory);
    lattice_get_body(read->key, timestamp, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_GET, read->key, &body);
    const char *value = lattice_value(ask, &read->seen);
    read->money = value[0] == '?' ? 0 : atoi(value);
    return value[0] != '?';
}

/* Moves one piece from one account to another of the same half, in a strict transaction. */
static void move_money(lattice *in, char half) {
    int from = (int)unit_random_below(&in->chance, ACCOUNTS);
    int to = (from + 1 + (int)unit_random_below(&in->chance, ACCOUNTS - 1)) % ACCOUNTS;
    balance one, other;
    uint64_t start = lattice_timestamp(in);
    if (!read_balance(in, half, from, start, &one) || !read_balance(in, half, to, start, &other)) {
        return; /* locked, or nobody is there for a while */
    }
    char less[16], more[16];
    (void)snprintf(less, sizeof(less), "%d", one.money - 1);
    (void)snprintf(more, sizeof(more), "%d", other.money + 1);
    lw_mutation mutations[] = {lattice_put(one.key, less, one.seen),
                               lattice_put(other.key, more, other.seen)};
    if (lw_compare(mutations[0].key, mutations[1].key) > 0) {
        lw_mutation first = mutations[0];
        mutations[0] = mutations[1];
        mutations[1] = first;
    }
    lw_status status = lattice_commit(in, start, mutations, 2, NULL);
    expect(in, status == LW_OK || status == LW_CONFLICT || status == LW_UNAVAILABLE,
           "money is moved, or is not");
}

static void check_sum(lattice *in, char half) {
    uint64_t timestamp = lattice_timestamp(in);
    int sum = 0;
    for (int number = 0; number < ACCOUNTS; number++) {
        balance one;
        expect(in, read_balance(in, half, number, timestamp, &one), "an account is read");
        sum += one.money;
    }
    expect(in, sum == ACCOUNTS * MONEY, "no money is lost or made");
}

/* One step of what an operator, or placement, might do to one of the halves; what cannot be done
 * now is not. */
static void shuffle(lattice *in, const char *key) {
    uint64_t node = 1 + unit_random_below(&in->chance, LATTICE_NODES);
    uint64_t other = 1 + unit_random_below(&in->chance, LATTICE_NODES);
    lw_buffer body = lw_buffer_in(in->memory);
    lw_change_replicas_request request = {.learner = node};
    lw_message_kind kind = LW_MESSAGE_CHANGE_REPLICAS;
    switch (unit_random_below(&in->chance, 5)) {
    case 0:
        kind = LW_MESSAGE_TRANSFER;
        lw_transfer_request_encode(&(lw_transfer_request){.node = node}, &body);
        break;
    case 1:
        lattice_stumble(in, node, unit_random_below(&in->chance, 300),
                        unit_random_below(&in->chance, 3000));
        return;
    case 2:
        break;
    case 3:
        request = (lw_change_replicas_request){.voter = node, .leaves = other == node ? 0 : other};
        break;
    default:
        request = (lw_change_replicas_request){.leaves = node};
        break;
    }
    if (kind == LW_MESSAGE_CHANGE_REPLICAS) {
        lw_change_replicas_request_encode(&request, &body);
    }
    uint64_t leader = lattice_leader(in, lw_text(key));
    if (leader != 0) {
        lattice_ask *ask = lattice_send_to(in, leader, kind, lw_text(key), &body);
        (void)lattice_await(ask, unit_random_below(&in->chance, 400));
    }
}

static void the_bank_survives_everything_story(lattice *in) {
    lattice_make(in, one_shard, 1);
    lattice_boot(in, 4);
    for (int number = 0; number < ACCOUNTS; number++) {
        char low[4], high[4];
        account_of('a', number, low);
        account_of('z', number, high);
        lattice_write(in, low, "100");
        lattice_write(in, high, "100");
    }
    for (int round = 0; round < TRANSFERS && in->failure[0] == 0; round++) {
        char half = round % 2 == 0 ? 'a' : 'z';
        move_money(in, half);
        if (round % 3 == 0) {
            shuffle(in, half == 'a' ? "a" : "z");
        }
        if (round == TRANSFERS / 3) {
            expect(in, split(in, "m")->status == LW_OK, "it is split");
        }
        if (round % 20 == 19) {
            check_sum(in, half);
        }
    }
    lattice_pass_ms(in, 10000);
    for (uint64_t id = 1; id <= LATTICE_NODES; id++) {
        expect(in, lattice_up(in, id), "every node is up");
    }
    check_sum(in, 'a');
    check_sum(in, 'z');
    lattice_same_everywhere(in);
}
static void the_bank_survives_everything(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        char failure[256];
        lattice_tell(the_bank_survives_everything_story, seed, NULL, failure);
        if (failure[0] != 0) {
            fail_msg("seed %d: not as expected: %s", (int)seed, failure);
        }
    }
}

/* ---- garbage ----------------------------------------------------------------------------------
 */

static lw_status read_at(lattice *in, const char *key, uint64_t timestamp, const char **value) {
    lw_buffer body = lw_buffer_in(in->memory);
    lattice_get_body(key, timestamp, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_GET, key, &body);
    *value = lattice_value(ask, NULL);
    return ask->done ? ask->status : LW_TIMEOUT;
}

static void what_was_collected_alone_is_refused_by_all(lattice *in) {
    const char *value;
    in->retention_ms = 1000;
    lattice_bootstrap(in);
    lattice_write(in, "a", "old");
    uint64_t old = lattice_timestamp(in);
    lattice_write(in, "a", "new");
    lattice_pass_ms(in, 6000);
    expect(in, read_at(in, "a", old, &value) == LW_TOO_OLD, "it is collected");
    add(in, "a", 2);
    transfer(in, "a", 2);
    expect(in, read_at(in, "a", old, &value) == LW_TOO_OLD, "another leader refuses it, too");
    expect(in, split(in, "m")->status == LW_OK, "it is split");
    lattice_write(in, "z", "new");
    expect(in, read_at(in, "z", old, &value) == LW_TOO_OLD, "and so does the other half");
    uint64_t kept = lattice_timestamp(in);
    lattice_write(in, "a", "newer");
    expect(in, read_at(in, "a", kept, &value) == LW_OK, "what was there by then can be asked for");
    expect_text(in, value, "new", "and is read");
}

/* The leader's disk is full when a split is to be carried out, and others have done so before: one
 * of them leads the child. */
static void give_away(lattice *in, uint64_t *parents, uint64_t *childs) {
    make_one(in);
    lattice_write(in, "a", "1");
    lattice_write(in, "z", "old");
    expect(in, split(in, "f")->status == LW_OK, "the oracle is elsewhere");
    uint64_t leader = next_of(lattice_leader(in, lw_text("a"))), other = next_of(leader);
    transfer(in, "z", leader);
    lattice_write(in, "g", "2");
    lw_disk *disk = lw_host_disk(in->nodes[leader].host);
    lw_replica *parent = lattice_replica(in, leader, lw_text("z"));
    lw_buffer body = lw_buffer_in(in->memory);
    lw_split_request_encode(&(lw_split_request){.key = lw_text("m")}, &body);
    (void)lattice_send_to(in, leader, LW_MESSAGE_SPLIT, lw_text("z"), &body);
    lw_group_figures figures, before;
    lw_replica_group_figures(parent, &before);
    do {
        expect(in, lw_world_step(in->world), "it goes on");
        lw_replica_group_figures(parent, &figures);
    } while (figures.last_index == before.last_index && in->failure[0] == 0);
    lw_disk_set_capacity(disk, 1);
    lattice_pass_ms(in, 4000);
    const lw_replica *child = lattice_replica(in, other, lw_text("z"));
    if (child == NULL || !lw_replica_leads(child)) {
        other = next_of(other);
        child = lattice_replica(in, other, lw_text("z"));
    }
    expect(in, child != NULL && child != parent && lw_replica_leads(child), "another one leads");
    *parents = leader;
    *childs = other;
}

/* It is written to. The leader of the parent does not read what is given away, whatever lease it
 * has.
 */
static void what_is_given_away_is_not_read(lattice *in) {
    uint64_t leader, other;
    give_away(in, &leader, &other);
    lw_disk *disk = lw_host_disk(in->nodes[leader].host);
    lw_mutation mutation = lattice_put("z", "new", LW_SEEN_ANYTHING);
    lw_buffer commit = lw_buffer_in(in->memory), get = commit;
    lattice_commit_body(lattice_timestamp(in), &mutation, 1, &commit);
    lattice_ask *ask = lattice_send_to(in, other, LW_MESSAGE_COMMIT_NOW, lw_text("z"), &commit);
    expect(in, lattice_await(ask, 2500)->status == LW_OK, "it commits there");
    lattice_get_body("z", 0, &get);
    ask = lattice_await(lattice_send_to(in, leader, LW_MESSAGE_GET, lw_text("z"), &get), 2500);
    expect(in, ask->done && ask->status != LW_OK, "the parent's leader answers nobody");
    lw_buffer_clear(&get);
    lattice_get_body("g", 0, &get);
    ask = lattice_await(lattice_send_to(in, leader, LW_MESSAGE_GET, lw_text("g"), &get), 2500);
    expect_text(in, lattice_value(ask, NULL), "2", "but for what it keeps");
    lw_disk_set_capacity(disk, 0);
    lattice_pass_ms(in, 2000);
    expect_text(in, lattice_read(in, "z"), "new", "it is read in the end");
    lattice_same_everywhere(in);
}

/* The child may merge there: a shard that it froze asks who has the child's keys. */
static void what_is_given_away_is_not_said_to_merge_nothing(lattice *in) {
    uint64_t leader, other, session = in->session;
    give_away(in, &leader, &other);
    lw_shard_descriptor child;
    lw_replica_descriptor(lattice_replica(in, other, lw_text("z")), &child);
    lw_merged_request asked = {.right = child.id + 1,
                               .left = child.id,
                               .range_version = child.epoch.range_version,
                               .start = child.start};
    lw_buffer body = lw_buffer_in(in->memory);
    lw_merged_request_encode(&asked, &body);
    in->session = 0;
    lattice_ask *ask = lattice_send_to(in, leader, LW_MESSAGE_MERGED, lw_text("z"), &body);
    in->session = session;
    (void)lattice_await(ask, 2500);
    expect(in, ask->done && ask->status == LW_UNAVAILABLE, "it says nothing of that");
    lw_disk_set_capacity(lw_host_disk(in->nodes[leader].host), 0);
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LATTICE_STORY(what_is_written_appears_on_followers, NULL),
        LATTICE_STORY(another_leads_when_the_leader_is_gone, NULL),
        LATTICE_STORY(leadership_is_handed_over, NULL),
        LATTICE_STORY(who_leads_no_more_answers_no_reads, "replica.reads_unconfirmed"),
        LATTICE_STORY(a_new_leader_commits_nothing_below_reads_of_before,
                      "replica.marks_of_before"),
        LATTICE_STORY(pessimistic_locks_end_with_the_leadership,
                      "replica.locks_outlive_leadership"),
        LATTICE_STORY(locks_of_the_dead_end_at_another_leader, "replica.leftovers_not_asked_for"),
        LATTICE_STORY(locks_of_the_dead_end_under_leaders_that_change, "replica.grace_begins_anew"),
        LATTICE_STORY(what_was_seen_counts_in_its_leadership_only, "replica.leadership_unchecked"),
        LATTICE_STORY(a_split_happens_on_all_nodes, NULL),
        LATTICE_STORY(a_new_half_is_led_at_once, NULL),
        cmocka_unit_test(a_crash_in_the_middle_of_a_split_loses_nothing),
        LATTICE_STORY(a_lone_shard_spreads, NULL),
        LATTICE_STORY(voters_do_not_become_fewer_by_mistake, "replica.too_few_voters"),
        cmocka_unit_test(one_voter_takes_the_place_of_another),
        LATTICE_STORY(who_was_removed_while_away_hears_of_it, NULL),
        LATTICE_STORY(who_was_removed_is_not_called_back, "shards.tombstone_ignored"),
        LATTICE_STORY(a_half_waits_for_the_split, "shards.overlap_ignored"),
        LATTICE_STORY(what_is_given_away_is_not_read, "shard.read_while_given_away"),
        LATTICE_STORY(what_is_given_away_is_not_said_to_merge_nothing,
                      "merge.asked_of_who_gave_it_away"),
        cmocka_unit_test(a_crash_while_a_replica_comes_or_goes),
        cmocka_unit_test(the_bank_survives_everything),
        LATTICE_STORY(what_was_collected_alone_is_refused_by_all, NULL),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
