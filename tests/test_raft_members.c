/* SPDX-License-Identifier: Apache-2.0 */
/* Who belongs to a group, who may lead it, and who must not; names in brackets are hazards. */
#include "tests/raft_stage.h"

/* ---- members --------------------------------------------------------------------------------- */

static lw_status try_change(stage *s, const lw_raft_config *config) {
    lw_raft_write write;
    return lw_raft_propose(&s->cores[1], 1, config, s->now, &write);
}

static void one_change_of_members_is_in_flight(void **state) { /* R3 */
    (void)state;
    stage *s = stage_led(4, 3);
    lw_raft_config learner = with_learner();
    lw_raft_config plain = voters(3);
    s->away[2] = true;
    s->away[3] = true;
    propose_on(s, 1, 1, &learner);
    assert_int_equal(s->cores[1].config.count, 4); /* in effect at once */
    assert_int_equal(try_change(s, &plain), LW_REFUSED);
    play(s);
    s->away[2] = false;
    pass(s, SECOND / 5);
    assert_int_equal(try_change(s, &plain), LW_OK);
    stage_close(s);
}

static void no_members_change_before_the_term_has_committed(void **state) { /* R3 */
    (void)state;
    stage *s = stage_open(3, 3);
    s->disk_held[1] = true;
    lw_raft_campaign(&s->cores[1], s->now);
    play(s);
    became_durable(s, 1); /* its vote */
    s->disk_held[2] = true;
    s->disk_held[3] = true;
    drain_all(s);
    s->disk_held[2] = false;
    play(s);
    assert_int_equal(s->cores[1].role, LW_RAFT_LEADER);
    lw_raft_config learner = with_learner();
    assert_true(s->cores[1].commit < s->cores[1].term_start);
    assert_int_equal(try_change(s, &learner), LW_REFUSED);
    s->disk_held[1] = false;
    play(s);
    assert_int_equal(try_change(s, &learner), LW_OK);
    stage_close(s);
}

static void members_that_were_cut_off_are_as_before(void **state) { /* R3 */
    (void)state;
    stage *s = stage_led(4, 3);
    s->quiet = true;
    s->away[1] = true;
    lw_raft_config learner = with_learner();
    propose_on(s, 1, 1, &learner);
    drain_all(s);
    pass(s, 3 * (uint64_t)SECOND);
    s->away[1] = false;
    pass(s, SECOND / 5);
    assert_int_equal(s->cores[1].role, LW_RAFT_FOLLOWER);
    assert_int_equal(s->cores[1].config.count, 3);
    assert_int_equal(s->cores[1].last_index, s->cores[2].last_index);
    stage_close(s);
}

static void learners_neither_count_nor_stand(void **state) { /* R4 */
    (void)state;
    stage *s = stage_led(4, 2);
    s->quiet = true;
    lw_raft_config learners = config_of(
        4, (lw_raft_member[]){
               {1, LW_RAFT_VOTER}, {2, LW_RAFT_VOTER}, {3, LW_RAFT_LEARNER}, {4, LW_RAFT_LEARNER}});
    propose_on(s, 1, 1, &learners);
    play(s);
    pass(s, SECOND / 5);
    assert_int_equal(lw_raft_deadline(&s->cores[4]), LW_RAFT_NEVER);
    s->away[2] = true;
    uint64_t before = s->cores[1].commit;
    propose_on(s, 1, 1, NULL);
    play(s);
    assert_int_equal(lw_raft_peer_of(&s->cores[1], 3)->match, before + 1);
    assert_int_equal(lw_raft_peer_of(&s->cores[1], 4)->match, before + 1);
    assert_int_equal(s->cores[1].commit, before);
    lw_raft_campaign(&s->cores[4], s->now + 5 * (uint64_t)SECOND);
    assert_int_equal(s->cores[4].role, LW_RAFT_FOLLOWER);
    stage_close(s);
}

static void both_sets_of_voters_must_agree(void **state) { /* R3 */
    (void)state;
    stage *s = stage_led(3, 3);
    s->quiet = true;
    s->away[2] = true;
    s->away[3] = true;
    uint64_t before = s->cores[1].commit;
    lw_raft_config alone = config_of(
        3, (lw_raft_member[]){{1, LW_RAFT_VOTER}, {2, LW_RAFT_LEAVING}, {3, LW_RAFT_LEAVING}});
    propose_on(s, 1, 1, &alone);
    play(s);
    assert_int_equal(s->cores[1].commit, before); /* though the new set is node 1 alone */
    s->away[2] = false;
    pass(s, SECOND / 5);
    assert_int_equal(s->cores[1].committed_config.count, 1);
    stage_close(s);
}

static void who_has_not_caught_up_does_not_become_a_voter(void **state) { /* R5 */
    (void)state;
    stage *s = stage_led(4, 3);
    s->quiet = true;
    s->away[4] = true;
    lw_raft_config learner = with_learner();
    propose_on(s, 1, 1, &learner);
    play(s);
    pass(s, SECOND / 5);
    lw_raft_config joint = learner;
    joint.members[3].membership = LW_RAFT_JOINING;
    assert_false(lw_raft_caught_up(&s->cores[1], 4));
    assert_int_equal(try_change(s, &joint), LW_REFUSED);
    s->away[4] = false;
    pass(s, SECOND / 2);
    assert_true(lw_raft_caught_up(&s->cores[1], 4));
    assert_int_equal(try_change(s, &joint), LW_OK);
    stage_close(s);
}

static void a_removed_node_hears_so_from_any_member(void **state) { /* R14 */
    (void)state;
    stage *s = stage_led(3, 3);
    s->quiet = true;
    s->away[3] = true;
    lw_raft_config joint = config_of(
        3, (lw_raft_member[]){{1, LW_RAFT_VOTER}, {2, LW_RAFT_VOTER}, {3, LW_RAFT_LEAVING}});
    propose_on(s, 1, 1, &joint);
    play(s);
    pass(s, 2 * (uint64_t)SECOND);
    assert_int_equal(s->cores[2].committed_config.count, 2);
    assert_int_equal(s->removed[3], 0);
    s->away[3] = false;
    lw_raft_message request = {
        .kind = LW_RAFT_PREVOTE, .from = 3, .to = 2, .term = 2, .index = 1, .index_term = 1};
    deliver(s, &request); /* 2 does not lead, and knows */
    play(s);
    assert_int_equal(s->removed[3], s->cores[2].committed_config_index);
    stage_close(s);
}

static void a_replica_made_anew_is_mute_until_it_knows_as_much(void **state) { /* R14 */
    (void)state;
    lw_raft_config config = voters(3);
    lw_raft_options options = options_for(2, &config);
    options.votes_from = 7;
    lw_raft core;
    lw_raft_init(&core, &options);
    lw_raft_start(&core, SECOND);
    lw_raft_message request = {
        .kind = LW_RAFT_VOTE, .from = 1, .to = 2, .term = 3, .index = 6, .index_term = 2};
    lw_raft_write write;
    lw_raft_receive(&core, &request, 9 * (uint64_t)SECOND, &write);
    assert_int_equal(core.vote, 0);
    lw_raft_campaign(&core, 9 * (uint64_t)SECOND);
    assert_int_equal(core.role, LW_RAFT_FOLLOWER);
}

static void a_voter_that_begins_anew_is_sent_all_again(void **state) { /* R14, S15 */
    (void)state;
    stage *s = stage_led(3, 3);
    s->quiet = true;
    pass(s, SECOND / 5);
    lw_raft *leader = &s->cores[1];
    assert_int_equal(lw_raft_peer_of(leader, 3)->match, leader->last_index);
    assert_true(leader->last_index > 0);
    s->away[3] = true; /* what it says from here on is said below */
    lw_raft_message nothing = {.kind = LW_RAFT_ACKNOWLEDGE,
                               .from = 3,
                               .to = 1,
                               .term = leader->term,
                               .index = leader->last_index};
    lw_raft_write write;
    lw_raft_receive(leader, &nothing, leader->now, &write);
    assert_int_equal(lw_raft_peer_of(leader, 3)->match, 0);
    assert_true(lw_raft_peer_of(leader, 3)->state != LW_RAFT_REPLICATE);
    stage_close(s);
}

/* It is a voter of a group that a split began, and came behind that split by a snapshot: others may
 * need its vote, and it has promised nothing. */
static void a_replica_that_knows_nothing_yet_votes_and_does_not_stand(void **state) {
    (void)state;
    lw_raft_config none = {0};
    lw_raft_options options = options_for(2, &none);
    lw_raft core;
    lw_raft_init(&core, &options);
    lw_raft_start(&core, SECOND);
    lw_raft_message request = {
        .kind = LW_RAFT_VOTE, .from = 1, .to = 2, .term = 3, .index = 6, .index_term = 2};
    lw_raft_write write;
    lw_raft_receive(&core, &request, 9 * (uint64_t)SECOND, &write);
    assert_int_equal(core.vote, 1);
    lw_raft_campaign(&core, 9 * (uint64_t)SECOND);
    assert_int_equal(core.role, LW_RAFT_FOLLOWER);
}

/* ---- elections ------------------------------------------------------------------------------- */

static void who_comes_back_does_not_disturb_a_leader(void **state) { /* R6 */
    (void)state;
    stage *s = stage_led(3, 3);
    s->quiet = true;
    s->away[3] = true;
    pass(s, 5 * (uint64_t)SECOND);
    assert_int_equal(s->cores[3].term, 1); /* it asked, and raised no term */
    s->away[3] = false;
    pass(s, 2 * (uint64_t)SECOND);
    assert_int_equal(s->cores[1].role, LW_RAFT_LEADER);
    assert_int_equal(s->cores[1].term, 1);
    assert_int_equal(s->cores[3].leader, 1);
    stage_close(s);
}

static void a_leader_that_nobody_hears_steps_down(void **state) { /* R6 */
    (void)state;
    stage *s = stage_led(3, 3);
    s->quiet = true;
    s->away[1] = true;
    pass(s, (uint64_t)SECOND * 3 / 2);
    assert_int_equal(s->cores[1].role, LW_RAFT_FOLLOWER);
    stage_close(s);
}

static void a_lone_voter_leads_without_messages(void **state) {
    (void)state;
    stage *s = stage_open(1, 1);
    play(s);
    assert_int_equal(s->cores[1].role, LW_RAFT_LEADER);
    assert_int_equal(s->cores[1].commit, 1);
    assert_int_equal(lw_raft_deadline(&s->cores[1]), LW_RAFT_NEVER);
    uint64_t index = 0;
    assert_true(lw_raft_lease(&s->cores[1], s->now + 1000 * (uint64_t)SECOND, &index));
    assert_int_equal(index, 1);
    stage_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_change_of_members_is_in_flight),
        cmocka_unit_test(no_members_change_before_the_term_has_committed),
        cmocka_unit_test(members_that_were_cut_off_are_as_before),
        cmocka_unit_test(learners_neither_count_nor_stand),
        cmocka_unit_test(both_sets_of_voters_must_agree),
        cmocka_unit_test(who_has_not_caught_up_does_not_become_a_voter),
        cmocka_unit_test(a_removed_node_hears_so_from_any_member),
        cmocka_unit_test(a_replica_made_anew_is_mute_until_it_knows_as_much),
        cmocka_unit_test(a_voter_that_begins_anew_is_sent_all_again),
        cmocka_unit_test(a_replica_that_knows_nothing_yet_votes_and_does_not_stand),
        cmocka_unit_test(who_comes_back_does_not_disturb_a_leader),
        cmocka_unit_test(a_leader_that_nobody_hears_steps_down),
        cmocka_unit_test(a_lone_voter_leads_without_messages),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
