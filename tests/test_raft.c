/* SPDX-License-Identifier: Apache-2.0 */
/* Stories about the consensus core, and its rules one by one; names in brackets are hazards. */
#include "tests/raft_stage.h"

/* ---- stories --------------------------------------------------------------------------------- */

static void three_nodes_elect_and_commit(void **state) {
    (void)state;
    stage *s = stage_open(3, 3);
    lw_raft_campaign(&s->cores[1], s->now);
    play(s);
    note(s, "-- two entries");
    propose_on(s, 1, 2, NULL);
    play(s);
    note(s, "-- the others hear of it");
    pass(s, SECOND / 10);
    expect_story(s, "elect_and_commit");
    stage_close(s);
}

static void a_leader_is_replaced_and_its_last_entries_with_it(void **state) {
    (void)state;
    stage *s = stage_led(3, 3);
    note(s, "-- nobody hears 1 any more, and it does not know");
    s->away[1] = true;
    propose_on(s, 1, 3, NULL);
    play(s);
    s->quiet = true;
    pass(s, 3 * (uint64_t)SECOND);
    s->quiet = false;
    note(s, "-- three seconds later 1 is back");
    s->away[1] = false;
    pass(s, SECOND / 10);
    expect_story(s, "replaced");
    stage_close(s);
}

static void voters_change_in_two_steps(void **state) {
    (void)state;
    stage *s = stage_led(4, 3);
    s->quiet = true;
    lw_raft_config config = config_of(
        4, (lw_raft_member[]){
               {1, LW_RAFT_VOTER}, {2, LW_RAFT_VOTER}, {3, LW_RAFT_VOTER}, {4, LW_RAFT_LEARNER}});
    propose_on(s, 1, 1, &config);
    play(s);
    pass(s, SECOND / 5);
    s->quiet = false;
    note(s, "-- 4 has caught up, and is to take the place of 3");
    config.members[2].membership = LW_RAFT_LEAVING;
    config.members[3].membership = LW_RAFT_JOINING;
    propose_on(s, 1, 1, &config);
    play(s);
    expect_story(s, "change_voters");
    stage_close(s);
}

static void leadership_is_handed_over(void **state) {
    (void)state;
    stage *s = stage_led(3, 3);
    assert_int_equal(lw_raft_transfer(&s->cores[1], 2, s->now), LW_OK);
    play(s);
    expect_story(s, "hand_over");
    stage_close(s);
}

/* ---- promises -------------------------------------------------------------------------------- */

static bool queued(const stage *s, uint64_t from, lw_raft_kind kind) {
    for (uint32_t place = s->queue_first; place < s->queue_end; place++) {
        if (s->queue[place].from == from && s->queue[place].kind == kind) {
            return true;
        }
    }
    return false;
}

static void no_vote_leaves_before_it_is_durable(void **state) { /* R1 */
    (void)state;
    stage *s = stage_open(2, 2);
    s->disk_held[1] = true;
    s->disk_held[2] = true;
    lw_raft_campaign(&s->cores[1], s->now);
    play(s);
    assert_int_equal(s->cores[1].term, 1);
    drain_all(s);
    assert_false(queued(s, 1, LW_RAFT_VOTE));
    became_durable(s, 1);
    drain(s, 1);
    assert_true(queued(s, 1, LW_RAFT_VOTE));
    lw_raft_message request = s->queue[0];
    deliver(s, &request);
    assert_int_equal(s->cores[2].vote, 1);
    assert_false(queued(s, 2, LW_RAFT_VOTE_REPLY));
    became_durable(s, 2);
    drain(s, 2);
    assert_true(queued(s, 2, LW_RAFT_VOTE_REPLY));
    stage_close(s);
}

static void entries_are_acknowledged_once_they_are_durable(void **state) { /* R1 */
    (void)state;
    stage *s = stage_led(3, 3);
    s->disk_held[2] = true;
    s->disk_held[3] = true;
    uint64_t before = s->cores[1].commit;
    propose_on(s, 1, 2, NULL);
    play(s);
    pass(s, SECOND / 5); /* heartbeats are answered */
    assert_int_equal(s->cores[2].last_index, before + 2);
    assert_int_equal(s->cores[1].commit, before);
    s->disk_held[2] = false;
    play(s);
    assert_int_equal(s->cores[1].commit, before + 2);
    stage_close(s);
}

static void what_was_replaced_does_not_become_durable_late(void **state) { /* R1 */
    (void)state;
    lw_raft core;
    lw_raft_config config = voters(3);
    lw_raft_options options = options_for(2, &config);
    lw_raft_init(&core, &options);
    lw_raft_start(&core, SECOND);
    lw_raft_message append = {.kind = LW_RAFT_APPEND,
                              .from = 1,
                              .to = 2,
                              .term = 1,
                              .count = 1,
                              .run_count = 1,
                              .run_firsts = {1},
                              .run_terms = {1}};
    lw_raft_write first, second, third;
    lw_raft_receive(&core, &append, SECOND, &first);
    append.from = 3;
    append.term = 2;
    append.run_terms[0] = 2;
    lw_raft_receive(&core, &append, SECOND, &second);
    append.from = 1;
    append.term = 3;
    append.run_terms[0] = 1;
    lw_raft_receive(&core, &append, SECOND, &third);
    assert_int_equal(core.last_index, 1);
    /* Entry 1 of term 1 was on the disk once; what is under way now will replace it twice. */
    lw_raft_persisted(&core, 1, first.cuts);
    assert_int_equal(core.persisted, 0);
    lw_raft_persisted(&core, 1, third.cuts);
    assert_int_equal(core.persisted, 1);
}

static void only_entries_of_the_term_are_counted(void **state) { /* R2 */
    (void)state;
    lw_raft core;
    lw_raft_config config = voters(3);
    lw_raft_options options = options_for(1, &config);
    options.term = 2;
    lw_raft_init(&core, &options);
    assert_int_equal(lw_raft_replay(&core, 1, 1, 0, NULL), LW_OK);
    assert_int_equal(lw_raft_replay(&core, 2, 2, 0, NULL), LW_OK);
    lw_raft_start(&core, SECOND);
    uint64_t now = 4 * (uint64_t)SECOND;
    lw_raft_effect effect;
    lw_raft_write write;
    lw_raft_tick(&core, now);
    lw_raft_message reply = {
        .kind = LW_RAFT_PREVOTE_REPLY, .from = 2, .to = 1, .term = 3, .granted = true};
    lw_raft_receive(&core, &reply, now, &write);
    lw_raft_saved(&core, 3, 1);
    reply.kind = LW_RAFT_VOTE_REPLY;
    lw_raft_receive(&core, &reply, now, &write);
    assert_int_equal(core.role, LW_RAFT_LEADER);
    while (lw_raft_next(&core, &effect)) {
    }
    lw_raft_message acknowledge = {
        .kind = LW_RAFT_ACKNOWLEDGE, .from = 2, .to = 1, .term = 3, .index = 2, .granted = true};
    lw_raft_receive(&core, &acknowledge, now, &write);
    assert_int_equal(core.commit, 0);
    assert_int_equal(lw_raft_propose(&core, 1, NULL, now, &write), LW_OK);
    lw_raft_persisted(&core, write.first, write.cuts);
    acknowledge.index = 3;
    lw_raft_receive(&core, &acknowledge, now, &write);
    assert_int_equal(core.commit, 3);
}

/* ---- leases and reads ------------------------------------------------------------------------ */

static void a_lease_is_shorter_than_the_timeout_by_the_drift(void **state) { /* R7 */
    (void)state;
    stage *s = stage_led(3, 3);
    uint64_t index;
    uint64_t sent_at = lw_raft_peer_of(&s->cores[1], 2)->lease_from;
    assert_int_equal(sent_at, lw_raft_peer_of(&s->cores[1], 3)->lease_from);
    uint64_t lease = (uint64_t)SECOND / 100 * 98; /* of two clocks that drift by one percent */
    assert_true(lw_raft_lease(&s->cores[1], sent_at + lease - 1, &index));
    assert_false(lw_raft_lease(&s->cores[1], sent_at + lease, &index));
    stage_close(s);
}

static void a_lease_begins_when_what_was_answered_was_sent(void **state) { /* R7 */
    (void)state;
    stage *s = stage_led(2, 2);
    s->quiet = true;
    s->now += SECOND / 100;
    uint64_t sent_at = s->now;
    propose_on(s, 1, 1, NULL);
    drain(s, 1);
    s->now += SECOND / 2; /* it was long on its way */
    play(s);
    assert_int_equal(lw_raft_peer_of(&s->cores[1], 2)->lease_from, sent_at);
    stage_close(s);
}

static void a_restarted_follower_remembers_its_promise_by_waiting(void **state) { /* R7 */
    (void)state;
    lw_raft_config config = voters(3);
    lw_raft_options options = options_for(2, &config);
    options.term = 1;
    lw_raft core;
    lw_raft_init(&core, &options);
    lw_raft_start(&core, 10 * (uint64_t)SECOND);
    lw_raft_message request = {
        .kind = LW_RAFT_VOTE, .from = 3, .to = 2, .term = 2, .granted = true};
    lw_raft_write write;
    lw_raft_receive(&core, &request, 11 * (uint64_t)SECOND - 1, &write);
    assert_int_equal(core.vote, 0);
    lw_raft_receive(&core, &request, 11 * (uint64_t)SECOND, &write);
    assert_int_equal(core.vote, 3);
}

static void a_transfer_gives_up_the_lease_and_may_be_taken_back(void **state) { /* R7 */
    (void)state;
    stage *s = stage_led(3, 3);
    s->quiet = true;
    uint64_t index;
    assert_true(lw_raft_lease(&s->cores[1], s->now, &index));
    assert_int_equal(lw_raft_transfer(&s->cores[1], 2, s->now), LW_OK);
    assert_false(lw_raft_lease(&s->cores[1], s->now, &index));
    lw_raft_write write;
    assert_int_equal(lw_raft_propose(&s->cores[1], 1, NULL, s->now, &write), LW_UNAVAILABLE);
    drain(s, 1);
    lw_raft_message hand_over = s->queue[s->queue_end - 1];
    assert_int_equal(hand_over.kind, LW_RAFT_HAND_OVER);
    s->queue_end = 0;
    s->away[2] = true; /* and the message is late */
    pass(s, SECOND / 2);
    assert_false(lw_raft_lease(&s->cores[1], s->now, &index));
    pass(s, (uint64_t)SECOND * 7 / 10);
    assert_int_equal(s->cores[1].role, LW_RAFT_LEADER);
    assert_true(lw_raft_lease(&s->cores[1], s->now, &index));
    lw_raft_message request = {.kind = LW_RAFT_VOTE,
                               .from = 2,
                               .to = 3,
                               .term = 2,
                               .index = s->cores[1].last_index,
                               .index_term = 1,
                               .granted = true,
                               .handover = hand_over.handover};
    deliver(s, &request);
    assert_int_equal(s->cores[3].term, 1); /* 1 has said since that it goes on */
    request.handover = hand_over.handover + 1;
    deliver(s, &request);
    assert_int_equal(s->cores[3].vote, 2);
    stage_close(s);
}

static void a_read_waits_for_a_round(void **state) { /* R8 */
    (void)state;
    stage *s = stage_led(3, 3);
    lw_raft_ticket ticket;
    assert_int_equal(lw_raft_read(&s->cores[1], s->now, &ticket), LW_OK);
    assert_int_equal(ticket.index, s->cores[1].commit);
    s->away[2] = true;
    s->away[3] = true;
    play(s);
    assert_true(s->readable[1] < ticket.round);
    s->away[2] = false;
    pass(s, SECOND / 5);
    assert_int_equal(s->readable[1], ticket.round);
    stage_close(s);
}

static void nothing_is_read_before_the_term_has_committed(void **state) { /* R8 */
    (void)state;
    stage *s = stage_open(3, 3);
    s->quiet = true;
    lw_raft_campaign(&s->cores[1], s->now);
    drain_all(s);
    while (s->cores[1].role != LW_RAFT_LEADER) {
        lw_raft_message message = s->queue[s->queue_first++];
        deliver(s, &message);
    }
    lw_raft_ticket ticket;
    uint64_t index;
    assert_int_equal(lw_raft_read(&s->cores[1], s->now, &ticket), LW_UNAVAILABLE);
    assert_false(lw_raft_lease(&s->cores[1], s->now, &index));
    play(s);
    assert_int_equal(lw_raft_read(&s->cores[1], s->now, &ticket), LW_OK);
    stage_close(s);
}

/* ---- replication ----------------------------------------------------------------------------- */

static void what_is_in_flight_is_bounded(void **state) { /* R18 */
    (void)state;
    stage *s = stage_led(2, 2);
    s->quiet = true;
    s->disk_held[2] = true;
    for (uint32_t count = 0; count < 10; count++) {
        propose_on(s, 1, 4, NULL);
    }
    play(s);
    const lw_raft_peer *peer = lw_raft_peer_of(&s->cores[1], 2);
    assert_int_equal(peer->next - 1 - peer->match, 8);
    s->disk_held[2] = false;
    play(s);
    assert_int_equal(s->cores[1].commit, s->cores[1].last_index);
    assert_int_equal(peer->bytes_in_flight, 0);
    stage_close(s);
}

/* The driver of 2 has no room for what comes: it leaves the entries of the next message out. */
static void deliver_without_entries(stage *s) {
    drain(s, 1);
    lw_raft_message request = s->queue[s->queue_first++];
    assert_true(request.kind == LW_RAFT_APPEND && request.count > 0);
    request.count = request.run_count = 0;
    request.no_room = true;
    deliver(s, &request);
}

static void what_there_was_no_room_for_is_sent_again_at_once(void **state) { /* R18 */
    (void)state;
    stage *s = stage_led(2, 2);
    s->quiet = true;
    for (int entry = 0; entry < 3; entry++) { /* while it is probed, and when entries flow */
        propose_on(s, 1, 2, NULL);
        deliver_without_entries(s);
        assert_int_equal(s->cores[2].last_index, s->cores[1].last_index - 2);
        play(s);
        assert_int_equal(s->cores[1].commit, s->cores[1].last_index);
    }
    stage_close(s);
}

static void what_was_lost_is_missed_by_the_next_heartbeat(void **state) {
    (void)state;
    stage *s = stage_led(2, 2);
    s->quiet = true;
    propose_on(s, 1, 1, NULL);
    play(s);
    pass(s, s->cores[1].options.heartbeat_ns / 2);
    propose_on(s, 1, 1, NULL);
    play(s); /* it was just heard */
    propose_on(s, 1, 1, NULL);
    s->away[2] = true;
    play(s);
    s->away[2] = false;
    pass(s, s->cores[1].options.heartbeat_ns * 3 / 4);
    assert_int_equal(s->cores[1].commit, s->cores[1].last_index);
    stage_close(s);
}

static void who_needs_what_is_gone_gets_a_snapshot(void **state) {
    (void)state;
    stage *s = stage_led(4, 3);
    propose_on(s, 1, 4, NULL);
    play(s);
    lw_raft_compacted(&s->cores[1], s->cores[1].applied);
    uint64_t snapshot = s->cores[1].applied;
    lw_raft_config learner = with_learner();
    propose_on(s, 1, 1, &learner);
    play(s);
    pass(s, SECOND / 5);
    assert_int_equal(s->snapshot_for[1], 4);
    assert_true(lw_raft_install_begin(&s->cores[4], snapshot, 1));
    lw_raft_config before = voters(3);
    lw_raft_install_end(&s->cores[4], snapshot, 1, &before, 0, s->now);
    lw_raft_snapshot_sent(&s->cores[1], 4, snapshot, s->now);
    play(s);
    pass(s, SECOND / 5);
    assert_int_equal(s->cores[4].commit, s->cores[1].commit);
    assert_int_equal(s->cores[4].config.count, 4);
    stage_close(s);
}

static void old_news_of_a_removal_does_not_end_an_installation(void **state) { /* R14 */
    (void)state;
    stage *s = stage_led(4, 3);
    propose_on(s, 1, 4, NULL);
    play(s);
    uint64_t snapshot = s->cores[1].applied;
    lw_raft_message gone = {
        .kind = LW_RAFT_GONE, .from = 1, .to = 4, .term = 1, .index = snapshot - 1};
    assert_true(lw_raft_install_begin(&s->cores[4], snapshot, 1));
    deliver(s, &gone);
    drain(s, 4);
    assert_int_equal(s->removed[4], 0);
    gone.index = snapshot + 1;
    deliver(s, &gone);
    drain(s, 4);
    assert_int_equal(s->removed[4], snapshot + 1);
    stage_close(s);
}

static void a_snapshot_that_is_not_needed_tells_what_is_committed(void **state) {
    (void)state;
    stage *s = stage_led(3, 3);
    s->quiet = true;
    s->away[3] = true; /* so that 2 hears of no commit while 1 is away too */
    propose_on(s, 1, 2, NULL);
    drain(s, 1);
    lw_raft_message entries = s->queue[s->queue_end - 2];
    assert_int_equal(entries.to, 2);
    deliver(s, &entries);
    s->queue_end = 0;
    uint64_t before = s->cores[2].commit;
    assert_true(before < s->cores[2].last_index);
    assert_false(lw_raft_install_begin(&s->cores[2], s->cores[2].last_index, 1));
    assert_int_equal(s->cores[2].commit, before + 2);
    drain(s, 2);
    assert_true(queued(s, 2, LW_RAFT_ACKNOWLEDGE));
    stage_close(s);
}

static void an_idle_group_is_silent_until_something_happens(void **state) {
    (void)state;
    stage *s = stage_open(3, 3);
    for (uint64_t id = 1; id <= 3; id++) {
        s->cores[id].options.quiesce_after_ns = SECOND / 2;
    }
    s->quiet = true;
    lw_raft_campaign(&s->cores[1], s->now);
    play(s);
    pass(s, 2 * (uint64_t)SECOND);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_equal(lw_raft_deadline(&s->cores[id]), LW_RAFT_NEVER);
    }
    propose_on(s, 1, 1, NULL);
    play(s);
    assert_int_equal(s->cores[2].last_index, s->cores[1].last_index);
    pass(s, 2 * (uint64_t)SECOND);
    assert_int_equal(lw_raft_deadline(&s->cores[2]), LW_RAFT_NEVER);
    /* Its leader's node is down: somebody else leads soon. */
    s->away[1] = true;
    lw_raft_unreachable(&s->cores[2], 1, s->now);
    lw_raft_unreachable(&s->cores[3], 1, s->now);
    pass(s, 3 * (uint64_t)SECOND);
    assert_true(s->cores[2].role == LW_RAFT_LEADER || s->cores[3].role == LW_RAFT_LEADER);
    stage_close(s);
}

/* A leader that is killed closes its links: what was promised to it still counts, but nobody waits
 * for the rest of the usual time. */
static void who_loses_the_link_to_its_leader_stands_soon(void **state) {
    (void)state;
    for (uint32_t run = 0; run < 20; run++) {
        stage *s = stage_led(3, 3);
        s->quiet = true;
        for (uint32_t entry = 0; entry <= run; entry++) { /* each draws another timeout */
            propose_on(s, 1, 1, NULL);
            play(s);
        }
        s->away[1] = true;
        uint64_t heard = s->cores[2].heard_at;
        lw_raft_unreachable(&s->cores[2], 1, s->now);
        lw_raft_unreachable(&s->cores[3], 1, s->now);
        lw_raft_unreachable(&s->cores[2], 3, s->now); /* who does not lead */
        pass(s, heard + SECOND - s->now);
        assert_true(s->cores[2].role != LW_RAFT_LEADER && s->cores[3].role != LW_RAFT_LEADER);
        assert_int_equal(s->cores[2].term, s->cores[1].term);
        pass(s, SECOND * 2 / 5);
        assert_true(s->cores[2].role == LW_RAFT_LEADER || s->cores[3].role == LW_RAFT_LEADER);
        stage_close(s);
    }
}

static void a_learner_that_loses_the_link_to_its_leader_waits(void **state) {
    (void)state;
    stage *s = stage_led(3, 2);
    s->quiet = true;
    lw_raft_config config = config_of(
        3, (lw_raft_member[]){{1, LW_RAFT_VOTER}, {2, LW_RAFT_VOTER}, {3, LW_RAFT_LEARNER}});
    propose_on(s, 1, 1, &config);
    play(s);
    assert_int_equal(s->cores[3].leader, 1);
    lw_raft_unreachable(&s->cores[3], 1, s->now);
    assert_int_equal(lw_raft_deadline(&s->cores[3]), LW_RAFT_NEVER);
    stage_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_nodes_elect_and_commit),
        cmocka_unit_test(a_leader_is_replaced_and_its_last_entries_with_it),
        cmocka_unit_test(voters_change_in_two_steps),
        cmocka_unit_test(leadership_is_handed_over),
        cmocka_unit_test(no_vote_leaves_before_it_is_durable),
        cmocka_unit_test(entries_are_acknowledged_once_they_are_durable),
        cmocka_unit_test(what_was_replaced_does_not_become_durable_late),
        cmocka_unit_test(only_entries_of_the_term_are_counted),
        cmocka_unit_test(a_lease_is_shorter_than_the_timeout_by_the_drift),
        cmocka_unit_test(a_lease_begins_when_what_was_answered_was_sent),
        cmocka_unit_test(a_restarted_follower_remembers_its_promise_by_waiting),
        cmocka_unit_test(a_transfer_gives_up_the_lease_and_may_be_taken_back),
        cmocka_unit_test(a_read_waits_for_a_round),
        cmocka_unit_test(nothing_is_read_before_the_term_has_committed),
        cmocka_unit_test(what_is_in_flight_is_bounded),
        cmocka_unit_test(what_there_was_no_room_for_is_sent_again_at_once),
        cmocka_unit_test(what_was_lost_is_missed_by_the_next_heartbeat),
        cmocka_unit_test(who_needs_what_is_gone_gets_a_snapshot),
        cmocka_unit_test(old_news_of_a_removal_does_not_end_an_installation),
        cmocka_unit_test(a_snapshot_that_is_not_needed_tells_what_is_committed),
        cmocka_unit_test(an_idle_group_is_silent_until_something_happens),
        cmocka_unit_test(who_loses_the_link_to_its_leader_stands_soon),
        cmocka_unit_test(a_learner_that_loses_the_link_to_its_leader_waits),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
