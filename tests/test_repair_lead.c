/* SPDX-License-Identifier: Apache-2.0 */
/* Who leads while replicas are damaged: whoever is whole, and what a damaged one has acknowledged
 * is kept until then. */
#include "tests/repair_story.h"

static void a_damaged_leader_hands_over_first(lattice *in) {
    make_written(in, 3);
    uint64_t leader = lattice_leader(in, lw_text(""));
    lattice_run(&in->nodes[leader], flush_main);
    flip(in, leader);
    reads_all(in, 0, KEYS, "old"); /* the first that fails is asked again elsewhere */
    until_marked(in, "shards.repaired", 1);
    expect(in, marked(in, "shards.damaged_hands_over") > 0, "it handed over");
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
}

/* Somebody wishes it to lead, whatever comes. */
static void a_damaged_one_that_is_to_lead_is_repaired_first(lattice *in) {
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

/* What it could not read was made when node 3 was no voter yet, who is the only whole one that is
 * left. */
static void have_one_lead_that_cannot_serve(lattice *in) {
    make_on(in, 1);
    lattice_boot(in, 2);
    lattice_boot(in, 3);
    lattice_write(in, "a", "1");
    change_members(in, (lw_change_replicas_request){.learner = 3});
    until_marked(in, "replica.snapshot_installed", 1);
    change_members(in, (lw_change_replicas_request){.learner = 2});
    until_marked(in, "replica.snapshot_installed", 2);
    rot_all(in, 2);
    until_marked(in, "replica.snapshot_rotten", 1);
    in->slow_ms[2][1] = 100000; /* it cannot ask for another one */
    lattice_pass_ms(in, 20000);
    change_members(in, (lw_change_replicas_request){.voter = 3});
    change_members(in, (lw_change_replicas_request){.voter = 2});
    for (int count = 0; count < 60 && !have_it_lead(in, 2); count++) {
        lattice_pass_ms(in, 1000); /* a snapshot is on its way to it */
    }
}

static void who_became_a_voter_since_is_handed_the_lead(lattice *in) {
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
static void who_is_sent_in_circles_pauses(lattice *in) {
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

/* Acknowledged by the leader and the damaged one, whose log is whole: with the leader gone it still
 * leads, and nobody misses anything. */
static void what_a_damaged_one_acknowledged_is_kept(lattice *in) {
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

/* Nothing is replaced while nobody else leads: what can still be read may be needed. */
static void what_can_be_read_stays_while_nobody_else_leads(lattice *in) {
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

static void a_leader_and_a_follower_damaged_at_once_come_anew(lattice *in) {
    make_written(in, 3);
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
static void who_is_whole_leads_two_that_cannot_be_compacted(lattice *in) {
    make_written(in, 3);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        LATTICE_STORY(a_damaged_leader_hands_over_first, NULL),
        LATTICE_STORY(a_damaged_one_that_is_to_lead_is_repaired_first,
                      "shards.damaged_leads_again"),
        LATTICE_STORY(who_became_a_voter_since_is_handed_the_lead, "shards.members_of_before"),
        LATTICE_STORY(who_is_sent_in_circles_pauses, "shards.sent_in_circles"),
        LATTICE_STORY(what_a_damaged_one_acknowledged_is_kept, NULL),
        LATTICE_STORY(what_can_be_read_stays_while_nobody_else_leads, NULL),
        LATTICE_STORY(a_leader_and_a_follower_damaged_at_once_come_anew, NULL),
        LATTICE_STORY(who_is_whole_leads_two_that_cannot_be_compacted,
                      "group.damaged_tree_lets_in"),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
