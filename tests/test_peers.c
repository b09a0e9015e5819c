/* SPDX-License-Identifier: Apache-2.0 */
/* node/peers: links that are made, break and are made again, messages and requests over them, and
 * who is let in. What hostile strangers do is in test_peers_hostile.c. */
#include "tests/peers_world.h"

/* ---- links -------------------------------------------------------------------------------- */

static void two_nodes_link_both_ways_when_one_dials(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    assert_true(up(one, other));
    assert_true(up(other, one));
    say(one, other, "hello");
    say(other, one, "and hello to you");
    run_for(in, 100 * MS);
    assert_string_equal(other->last, "hello");
    assert_int_equal(other->last_from, id_of(one));
    assert_string_equal(one->last, "and hello to you");
    assert_int_equal(one->ups, 1);
    assert_int_equal(one->downs, 0);
    close_lattice(in);
}

/* No timer runs, no byte is sent: the world has nothing left to do. */
static void a_link_that_nobody_uses_costs_nothing(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    size_t before = lw_memory_used(one->env->memory);
    acquaint(one, other);
    say(one, other, "hello");
    run_for(in, SECOND);
    assert_true(lw_memory_used(one->env->memory) - before < 24 * 1024); /* both directions */
    assert_false(lw_world_run(in->world, lw_world_now(in->world) + 100 * SECOND));
    assert_true(up(one, other));
    assert_string_equal(other->last, "hello");
    close_lattice(in);
}

static void a_peer_that_restarts_is_linked_again(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        lattice *in = open_quiet(seed);
        node *one = boot(in, 0), *other = boot(in, 1);
        acquaint(one, other);
        if (seed % 2 == 0) {
            lw_host_crash(other->host);
        } else {
            lw_host_kill(other->host);
        }
        run_for(in, seed * 700 * MS);
        (void)boot(in, 1); /* which knows nobody: it is dialled */
        lw_peers_set(other->peers, id_of(one), one->address);
        run_for(in, 5 * SECOND);
        assert_true(up(one, other));
        assert_true(up(other, one));
        assert_int_equal(one->ups, 2);
        assert_int_equal(one->downs, 1);
        say(one, other, "once more");
        run_for(in, 100 * MS);
        assert_string_equal(other->last, "once more");
        close_lattice(in);
    }
}

static void a_peer_that_comes_back_and_dials_is_dialled_at_once(void **state) {
    (void)state;
    lattice *in = open_quiet(3);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    lw_host_kill(other->host);
    run_for(in, 30 * SECOND); /* the pauses are long now */
    assert_false(up(one, other));
    (void)boot(in, 1);
    lw_peers_set(other->peers, id_of(one), one->address);
    run_for(in, 20 * MS);
    assert_true(up(one, other));
    assert_true(up(other, one));
    close_lattice(in);
}

static void there_is_no_pause_once_a_peer_was_heard_of(void **state) {
    (void)state;
    for (uint64_t phase = 0; phase < 30; phase++) {
        lattice *in = open_quiet(phase + 1);
        node *one = boot(in, 0), *other = boot(in, 1);
        acquaint(one, other);
        lw_host_crash(other->host); /* without power it does not even refuse */
        say(one, other, "?");
        run_for(in, 30 * SECOND + phase * 150 * MS);
        lw_world_cut_one_way(in->world, one->host, other->host, true);
        run_for(in, 10 * MS);
        (void)boot(in, 1);
        lw_peers_set(other->peers, id_of(one), one->address);
        lw_world_cut_one_way(in->world, one->host, other->host, false);
        while (!up(other, one)) {
            run_for(in, MS);
        }
        run_for(in, 2200 * MS); /* as long as one attempt takes that began in vain */
        assert_true(up(one, other));
        close_lattice(in);
    }
}

LW_YIELDS static void open_door(void *argument) {
    node *self = argument;
    lw_server *second = NULL;
    node_listen(self, self->stated, &second);
}

/* One that dials us, and cannot be dialled yet: its door opens a little later. */
static void a_peer_that_dials_is_dialled_again_soon(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        lattice *in = open_quiet(seed);
        node *one = boot(in, 0), *other = boot(in, 1);
        acquaint(one, other);
        lw_host_kill(other->host);
        run_for(in, 30 * SECOND); /* the pauses are long now */
        other->stated = "beta:9999";
        (void)boot(in, 1);
        lw_peers_set(other->peers, id_of(one), one->address);
        run_for(in, 100 * MS);
        assert_true(up(other, one));
        assert_false(up(one, other));
        lw_env_start(other->env, "door", open_door, other);
        run_for(in, 400 * MS);
        assert_true(up(one, other));
        close_lattice(in);
    }
}

static void a_peer_that_is_gone_is_lamented_once_a_minute(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = &in->nodes[1];
    make_identity(2, &in->key, &other->identity);
    FILE *trace = tmpfile();
    assert_non_null(trace);
    lw_world_trace_to(in->world, trace);
    lw_peers_set(one->peers, id_of(other), other->address);
    run_for(in, 290 * SECOND);
    lw_world_trace_to(in->world, NULL);
    uint32_t lines = 0, dials = 0;
    char line[1024];
    rewind(trace);
    while (fgets(line, sizeof(line), trace) != NULL) {
        lines += strstr(line, "not linked") != NULL ? 1 : 0;
        dials += strstr(line, "connect ") != NULL ? 1 : 0;
    }
    (void)fclose(trace);
    assert_int_equal(lines, 5);
    assert_in_range(dials, 80, 250); /* every 1.5 to 3 s */
    close_lattice(in);
}

static void silence_is_noticed_when_something_is_expected(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    lw_world_cut(in->world, one->host, other->host, true);
    run_for(in, 100 * SECOND);
    assert_true(up(one, other)); /* nobody wanted to know */
    say(one, other, "are you there?");
    run_for(in, 1400 * MS);
    assert_true(up(one, other));
    run_for(in, 800 * MS);
    assert_false(up(one, other));
    assert_int_equal(one->downs, 1);
    lw_peer_state seen;
    lw_peers_state_get(one->peers, id_of(other), &seen);
    assert_true(seen.known);
    assert_non_null(strstr(seen.reason, "no sign of life"));
    lw_world_cut(in->world, one->host, other->host, false);
    run_for(in, 10 * SECOND);
    assert_true(up(one, other));
    assert_true(lw_world_marked(in->world, "peers.silence") > 0);
    close_lattice(in);
}

static void a_peer_that_is_watched_is_missed_by_itself(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    lw_peers_watch(one->peers, id_of(other)); /* before it is known */
    acquaint(one, other);
    run_for(in, 20 * SECOND);
    assert_true(up(one, other));
    lw_peer_state seen;
    lw_peers_state_get(one->peers, id_of(other), &seen);
    assert_true(seen.round_trip_ns > 0);
    lw_world_cut(in->world, one->host, other->host, true);
    run_for(in, 2600 * MS);
    assert_false(up(one, other));
    assert_int_equal(one->downs, 1);
    assert_int_equal(other->downs, 0); /* it did not ask */
    lw_world_cut(in->world, one->host, other->host, false);
    run_for(in, 10 * SECOND);
    assert_true(up(one, other));
    lw_peers_unwatch(one->peers, id_of(other));
    assert_false(lw_world_run(in->world, lw_world_now(in->world) + 100 * SECOND));
    close_lattice(in);
}

/* Its own sleep is no sign of the other's death. */
static void a_node_that_slept_does_not_think_that_all_others_died(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    lw_peers_watch(one->peers, id_of(other));
    acquaint(one, other);
    for (uint32_t nap = 0; nap < 10; nap++) {
        lw_host_pause(one->host, 10 * SECOND);
        run_for(in, 13 * SECOND + nap * 100 * MS);
    }
    assert_true(up(one, other));
    assert_int_equal(one->downs, 0);
    /* The other slept too, a little longer, with a question unanswered. */
    lw_peers_figures figures;
    lw_peers_figures_get(one->peers, &figures);
    for (uint64_t before = figures.bytes_sent; figures.bytes_sent == before;) {
        assert_true(lw_world_step(in->world));
        lw_peers_figures_get(one->peers, &figures);
    }
    lw_host_pause(one->host, 10 * SECOND);
    lw_host_pause(other->host, 10200 * MS);
    run_for(in, 15 * SECOND);
    assert_int_equal(one->downs, 0);
    assert_true(lw_world_marked(in->world, "peers.slept") > 0);
    close_lattice(in);
}

static void a_peer_that_moves_is_linked_where_it_went(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    lw_host_kill(other->host);
    (void)snprintf(other->address, sizeof(other->address), "beta:9999");
    (void)boot(in, 1);
    lw_peers_set(other->peers, id_of(one), one->address); /* which tells where it is */
    run_for(in, 200 * MS);
    assert_true(up(one, other));
    lw_peer_state seen;
    lw_peers_state_get(one->peers, id_of(other), &seen);
    assert_string_equal(seen.address, "beta:9999");
    lw_host_kill(other->host);
    (void)snprintf(other->address, sizeof(other->address), "beta:1111");
    (void)boot(in, 1);
    lw_peers_set(one->peers, id_of(other), other->address); /* by somebody who knows */
    run_for(in, 200 * MS);
    assert_true(up(one, other));
    assert_true(up(other, one));
    close_lattice(in);
}

static void a_peer_that_is_forgotten_is_told_nothing_more(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    other->not_wanted = id_of(one); /* so that it does not come back by itself */
    one->not_wanted = id_of(other);
    lw_peers_remove(one->peers, id_of(other));
    run_for(in, SECOND);
    assert_false(up(one, other));
    assert_false(up(other, one));
    assert_int_equal(one->downs, 1);
    assert_false(lw_peers_send(one->peers, id_of(other), lw_text("?")));
    lw_peers_figures figures;
    lw_peers_figures_get(one->peers, &figures);
    assert_int_equal(figures.known, 0);
    assert_int_equal(figures.incoming, 0);
    close_lattice(in);
}

/* ---- messages ----------------------------------------------------------------------------- */

static void messages_of_any_size_arrive_in_order(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 65000, 70000, 3000000, LW_PEERS_MESSAGE_SIZE_MAX};
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    uint64_t total = 0, number = 0;
    for (size_t index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++) {
        lw_buffer message = lw_buffer_in(one->env->memory);
        memset(lw_buffer_reserve(&message, sizes[index]), 'x', sizes[index]);
        message.size = sizes[index];
        uint8_t counted[8];
        lw_put_u64(counted, ++number);
        assert_true(lw_peers_send(one->peers, id_of(other), lw_buffer_view(&message)));
        lw_buffer_reset(&message);
        run_for(in, 30 * SECOND);
        assert_true(lw_peers_send(one->peers, id_of(other), lw_view(counted, 8)));
        run_for(in, SECOND);
        total += sizes[index] + 8;
        assert_int_equal(other->bytes, total);
        assert_int_equal(other->sequence, number);
    }
    assert_int_equal(other->out_of_order, 0);
    assert_int_equal(one->downs, 0);
    close_lattice(in);
}

static void what_a_slow_peer_does_not_read_is_dropped_beyond_the_queue(void **state) {
    (void)state;
    enum { MESSAGE_SIZE = 100000, COUNT = 1000 };
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    lw_buffer message = lw_buffer_in(one->env->memory);
    memset(lw_buffer_reserve(&message, MESSAGE_SIZE), 'x', MESSAGE_SIZE);
    message.size = MESSAGE_SIZE;
    lw_host_pause(other->host, SECOND);
    uint32_t taken = 0, large = 0;
    for (uint32_t count = 0; count < COUNT; count++) {
        uint8_t counted[8];
        lw_put_u64(counted, count + 1);
        large += lw_peers_send(one->peers, id_of(other), lw_buffer_view(&message)) ? 1 : 0;
        taken += lw_peers_send(one->peers, id_of(other), lw_view(counted, 8)) ? 1 : 0;
        run_for(in, MS / 10);
    }
    assert_in_range(large, LW_PEERS_QUEUE_SIZE_MAX / MESSAGE_SIZE, COUNT / 2);
    taken += large;
    assert_true(lw_memory_used(one->env->memory) < 3 * (size_t)LW_PEERS_QUEUE_SIZE_MAX);
    lw_peer_state seen;
    lw_peers_state_get(one->peers, id_of(other), &seen);
    assert_int_equal(seen.dropped, 2 * COUNT - taken);
    assert_true(seen.queued_bytes > LW_PEERS_QUEUE_SIZE_MAX / 2);
    run_for(in, 10 * SECOND);
    assert_int_equal(other->messages, taken);
    assert_int_equal(other->out_of_order, 0);
    lw_buffer_reset(&message);
    run_for(in, SECOND);
    assert_true(lw_memory_used(one->env->memory) < 1000000); /* it is given back */
    close_lattice(in);
}

/* ---- requests ----------------------------------------------------------------------------- */

static void a_request_is_carried_out_on_the_other_side(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    question good, bad;
    lw_peers_set(one->peers, id_of(other), other->address);
    ask(&good, one, other, "what is it?"); /* waits for the link that is being made */
    ask(&bad, one, other, "fail");
    run_for(in, SECOND);
    assert_true(good.done);
    assert_int_equal(good.status, LW_OK);
    assert_true(lw_equal(lw_buffer_view(&good.answer), lw_text("what is it?")));
    assert_int_equal(other->last_from, id_of(one));
    assert_int_equal(bad.status, LW_FULL);
    assert_true(lw_equal(lw_buffer_view(&bad.answer), lw_text("fail"))); /* also a failure's */
    assert_non_null(strstr(bad.error, "as "));
    close_lattice(in);
}

static void many_requests_are_under_way_at_once_and_more_wait_their_turn(void **state) {
    (void)state;
    enum { COUNT = 3 * LW_PEERS_ASKS_MAX };
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    static question questions[COUNT];
    other->quiet = true;
    acquaint(one, other);
    for (uint32_t index = 0; index < COUNT; index++) {
        ask(&questions[index], one, other, "?");
        questions[index].timeout_ns = 100 * SECOND;
    }
    run_for(in, SECOND);
    assert_int_equal(other->waiting, LW_PEERS_ASKS_MAX);
    for (uint32_t round = 0; round < 3; round++) {
        lw_queue_wake_all(&other->gate);
        run_for(in, SECOND);
    }
    for (uint32_t index = 0; index < COUNT; index++) {
        assert_true(questions[index].done);
        assert_int_equal(questions[index].status, LW_OK);
    }
    assert_int_equal(other->handled, COUNT);
    close_lattice(in);
}

static void a_request_waits_for_room_behind_messages(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    acquaint(one, other);
    lw_host_pause(other->host, SECOND);
    while (lw_peers_send(one->peers, id_of(other), lw_view("x", 1))) {
    }
    question asked;
    ask(&asked, one, other, "?");
    run_for(in, 500 * MS);
    assert_false(asked.done);
    run_for(in, 2 * SECOND);
    assert_true(asked.done);
    assert_int_equal(asked.status, LW_OK);
    close_lattice(in);
}

static void requests_end_with_words_when_nobody_answers(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1), *third = &in->nodes[2];
    question unknown, slow, broken, down;
    make_identity(3, &in->key, &third->identity);
    ask(&unknown, one, third, "?");
    acquaint(one, other);
    other->quiet = true;
    ask(&slow, one, other, "?");
    slow.timeout_ns = SECOND;
    run_for(in, 2 * SECOND);
    assert_true(unknown.done);
    assert_int_equal(unknown.status, LW_UNAVAILABLE);
    assert_non_null(strstr(unknown.error, "nobody knows where it is"));
    assert_int_equal(slow.status, LW_TIMEOUT);
    assert_non_null(strstr(slow.error, "did not answer in time"));

    ask(&broken, one, other, "?");
    run_for(in, 100 * MS);
    lw_host_kill(other->host);
    run_for(in, 200 * MS);
    assert_int_equal(broken.status, LW_UNAVAILABLE);
    assert_non_null(strstr(broken.error, "broke"));
    assert_int_equal(broken.answer.size, 0);
    run_for(in, 10 * SECOND);
    ask(&down, one, other, "?"); /* is not kept waiting: it is known not to be there */
    run_for(in, 2500 * MS);
    assert_true(down.done);
    assert_int_equal(down.status, LW_UNAVAILABLE);
    close_lattice(in);
}

static void a_late_reply_is_nobodys(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    question slow, next;
    acquaint(one, other);
    other->quiet = true;
    ask(&slow, one, other, "first");
    slow.timeout_ns = SECOND;
    run_for(in, 2 * SECOND);
    assert_int_equal(slow.status, LW_TIMEOUT);
    other->quiet = false;
    ask(&next, one, other, "second");
    lw_queue_wake_all(&other->gate);
    run_for(in, SECOND);
    assert_true(lw_equal(lw_buffer_view(&next.answer), lw_text("second")));
    assert_int_equal(slow.answer.size, 0);
    assert_true(lw_world_marked(in->world, "peers.reply_nobody_waits_for") > 0);
    close_lattice(in);
}

/* ---- who is let in ------------------------------------------------------------------------ */

/* What `from` says about why `to` is not linked. */
static void expect_reason(const node *from, const node *to, const char *words) {
    lw_peer_state seen;
    assert_false(up(from, to));
    lw_peers_state_get(from->peers, id_of(to), &seen);
    if (strstr(seen.reason, words) == NULL) {
        fail_msg("the reason is \"%s\"", seen.reason);
    }
}

static void strangers_are_refused_in_words(void **state) {
    (void)state;
    static const struct {
        const char *words;
        uint8_t id, key;
        uint32_t epoch;
    } cases[] = {
        {"different lattices", 1, 0, 0},
        {"does not know the lattice's key", 0, 1, 0},
        {"was changed while this node was away, from epoch 1 to 2", 0, 0, 1},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        lattice *in = open_quiet(1);
        node *one = boot(in, 0);
        in->key.id[0] = (uint8_t)(in->key.id[0] + cases[index].id);
        in->key.key[0] = (uint8_t)(in->key.key[0] + cases[index].key);
        in->key.epoch += cases[index].epoch;
        node *other = boot(in, 1);
        acquaint(one, other);
        run_for(in, 5 * SECOND);
        expect_reason(one, other, cases[index].words);
        lw_peers_figures figures;
        lw_peers_figures_get(other->peers, &figures);
        assert_true(figures.refused > 0);
        assert_int_equal(figures.incoming, 0);
        say(one, other, "let me in");
        run_for(in, SECOND);
        assert_int_equal(other->messages, 0);
        close_lattice(in);
    }
}

/* At any moment of the greetings, which take long. */
static void no_link_is_made_with_a_key_that_was_forgotten_meanwhile(void **state) {
    (void)state;
    for (uint64_t moment_ms = 0; moment_ms < 1500; moment_ms += 50) {
        lattice *in = open_quiet(1);
        node *one = boot(in, 0), *other = boot(in, 1);
        lw_world_lag(in->world, one->host, other->host, 100 * MS);
        lw_world_lag(in->world, other->host, one->host, 100 * MS);
        lw_peers_set(one->peers, id_of(other), other->address);
        run_for(in, moment_ms * MS);
        other->identity.lattice.epoch = 2;
        lw_peers_end_old_links(other->peers);
        run_for(in, 3 * SECOND);
        bool linked = up(one, other); /* as it dialled; what `other` dials ends where it comes */
        close_lattice(in);
        if (linked) {
            fail_msg("the key was forgotten after %u ms", (unsigned)moment_ms);
        }
    }
}

static void a_node_that_left_for_good_is_not_let_in(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1);
    other->not_wanted = id_of(one);
    acquaint(one, other);
    run_for(in, SECOND);
    expect_reason(one, other, "left the lattice for good");
    close_lattice(in);
}

static void another_node_at_the_address_is_not_taken_for_the_one(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1), *third = &in->nodes[2];
    make_identity(3, &in->key, &third->identity);
    acquaint(one, other);
    run_for(in, SECOND);
    lw_peers_figures before, after;
    lw_peers_figures_get(one->peers, &before);
    lw_peers_set(one->peers, id_of(third), other->address);
    run_for(in, 10 * SECOND);
    expect_reason(one, third, "another node answers there");
    assert_true(up(one, other)); /* and has been all the time */
    lw_peers_figures_get(one->peers, &after);
    assert_int_equal(after.links_made, before.links_made);
    close_lattice(in);
}

/* ---- one identity, two processes ---------------------------------------------------------- */

/* Starts node `number` again as `as` elsewhere, from a copy of its folder. */
static node *boot_copy(lattice *in, uint32_t number, uint32_t as, uint64_t incarnation) {
    node *copy = &in->nodes[as];
    copy->env = lw_host_boot(copy->host);
    make_identity((uint8_t)(number + 1), &in->key, &copy->identity);
    copy->identity.incarnation = incarnation;
    lw_env_start(copy->env, "node", node_main, copy);
    run_for(in, 10 * MS);
    return copy;
}

static void of_two_copies_the_later_one_is_told_to_stop(void **state) {
    (void)state;
    for (uint64_t incarnation = 1; incarnation <= 3; incarnation++) {
        lattice *in = open_quiet(incarnation);
        node *member = boot(in, 0), *original = boot(in, 1);
        acquaint(original, member);
        node *copy = boot_copy(in, 1, 2, incarnation);
        lw_peers_set(copy->peers, id_of(member), member->address);
        run_for(in, 5 * SECOND);
        assert_int_equal(copy->impostor.status, LW_REFUSED);
        assert_non_null(strstr(copy->impostor.text, "runs twice"));
        assert_non_null(strstr(copy->impostor.text, "gamma:7871"));
        assert_non_null(strstr(copy->impostor.text, "empty folder"));
        assert_int_equal(original->impostor.status, LW_OK);
        assert_true(up(original, member));
        assert_true(up(member, original));
        assert_false(up(copy, member));
        say(member, original, "you are the one");
        run_for(in, 100 * MS);
        assert_string_equal(original->last, "you are the one");
        assert_true(lw_world_marked(in->world, "peers.impostor") > 0);
        close_lattice(in);
    }
}

static void a_copy_that_dials_its_original_is_told_so(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *original = boot(in, 1), *copy = boot_copy(in, 1, 2, 2);
    node *third = &in->nodes[0];
    make_identity(1, &in->key, &third->identity);
    lw_peers_set(copy->peers, id_of(third), original->address); /* as an old address may be */
    run_for(in, 5 * SECOND);
    expect_reason(copy, third, "another node answers there");
    assert_int_equal(original->impostor.status, LW_OK);
    close_lattice(in);
}

/* The folder was moved, not copied: nobody answers any more. */
static void a_folder_that_was_moved_is_the_same_node(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *member = boot(in, 0), *original = boot(in, 1);
    acquaint(original, member);
    lw_world_cut(in->world, member->host, original->host, true); /* no farewell is heard */
    node *moved = boot_copy(in, 1, 2, 2);
    lw_peers_set(moved->peers, id_of(member), member->address);
    lw_peers_set(member->peers, id_of(moved), moved->address);
    run_for(in, 10 * SECOND);
    assert_int_equal(moved->impostor.status, LW_OK);
    assert_true(up(moved, member));
    assert_true(up(member, moved));
    close_lattice(in);
}

static void an_old_copy_of_a_folder_is_never_let_in(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *member = boot(in, 0), *original = boot(in, 1);
    lw_host_kill(original->host);
    (void)boot(in, 1); /* incarnation 2 */
    acquaint(original, member);
    lw_host_kill(original->host);
    run_for(in, 5 * SECOND);
    node *copy = boot_copy(in, 1, 2, 1);
    lw_peers_set(copy->peers, id_of(member), member->address);
    run_for(in, 5 * SECOND);
    assert_int_equal(copy->impostor.status, LW_REFUSED);
    assert_non_null(strstr(copy->impostor.text, "old copy"));
    assert_true(lw_world_marked(in->world, "peers.old_incarnation") > 0);
    assert_false(up(copy, member));
    close_lattice(in);
}

/* ---- plain links -------------------------------------------------------------------------- */

static void plain_links_are_for_loopback_and_for_both(void **state) {
    (void)state;
    for (int mode = 0; mode < 4; mode++) {
        lattice *in = open_quiet(1);
        node *one = &in->nodes[0], *other = &in->nodes[1];
        one->plain = mode != 2;
        other->plain = mode == 0 || mode == 3;
        if (mode != 3) { /* both processes on one host */
            other->host = one->host;
            (void)snprintf(one->address, sizeof(one->address), "127.0.0.1:1");
            (void)snprintf(other->address, sizeof(other->address), "localhost:2");
        }
        (void)boot(in, 0);
        (void)boot(in, 1);
        acquaint(one, other);
        if (mode == 1) {
            expect_reason(one, other, "wants its links encrypted");
            close_lattice(in);
            continue;
        }
        assert_true(up(one, other));
        say(one, other, "hello");
        run_for(in, 100 * MS);
        assert_string_equal(other->last, "hello");
        lw_peers_figures figures;
        lw_peers_figures_get(one->peers, &figures);
        question asked;
        ask(&asked, one, other, "?");
        run_for(in, 100 * MS);
        assert_int_equal(asked.status, LW_OK);
        close_lattice(in);
    }
}

/* ---- ending ------------------------------------------------------------------------------- */

LW_YIELDS static void close_main(void *argument) {
    node *self = argument;
    lw_server_close(self->server);
    lw_peers_close(self->peers);
    self->closed = true;
}

static void closing_ends_links_dials_and_questions(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *one = boot(in, 0), *other = boot(in, 1), *third = &in->nodes[2];
    make_identity(3, &in->key, &third->identity);
    acquaint(one, other);
    lw_peers_watch(one->peers, id_of(other));
    lw_peers_set(one->peers, id_of(third), "nowhere:1");
    other->quiet = true;
    question asked, answered;
    ask(&asked, one, other, "?");
    one->quiet = true;
    ask(&answered, other, one, "?");
    run_for(in, 100 * MS);
    assert_int_equal(one->waiting, 1);
    lw_env_start(one->env, "close", close_main, one);
    run_for(in, 100 * MS);
    assert_int_equal(asked.status, LW_UNAVAILABLE);
    assert_false(one->closed); /* a handler is still under way */
    lw_queue_wake_all(&one->gate);
    run_for(in, 3 * SECOND);
    assert_true(one->closed);
    assert_int_equal(answered.status, LW_UNAVAILABLE);
    assert_false(up(other, one));
    close_lattice(in);
}

/* ---- joining ------------------------------------------------------------------------------ */

typedef struct joining {
    node *self;
    const char *address;
    lw_token token;
    uint64_t timeout_ns;
    lw_status status;
    char error[LW_ERROR_TEXT_SIZE];
    lw_peers_welcome welcome;
    bool done;
} joining;

LW_YIELDS static void join_main(void *argument) {
    joining *one = argument;
    lw_env *env = one->self->env;
    one->welcome.members = lw_buffer_in(env->memory);
    one->status =
        lw_peers_join(env, one->address, &one->token, &one->self->identity, one->self->address,
                      lw_env_now(env) + one->timeout_ns, &one->welcome);
    if (one->status != LW_OK) {
        (void)snprintf(one->error, sizeof(one->error), "%s", lw_error_slot()->text);
    }
    one->done = true;
}

/* A newcomer on host gamma, and a token of alpha's lattice for it. */
static void prepare(lattice *in, joining *one, uint64_t expires_ms) {
    node *self = &in->nodes[2];
    *one = (joining){.self = self, .address = "alpha:7871", .timeout_ns = 5 * SECOND};
    self->env = lw_host_boot(self->host);
    make_identity(3, NULL, &self->identity);
    lw_token_make(&in->key, LW_TOKEN_JOIN, 77, expires_ms, &one->token);
}

static void join(lattice *in, joining *one) {
    lw_env_start(one->self->env, "join", join_main, one);
    run_for(in, 6 * SECOND);
    assert_true(one->done);
}

static void a_newcomer_with_a_token_is_given_what_makes_it_a_member(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    node *member = boot(in, 0);
    joining one;
    prepare(in, &one, 0);
    join(in, &one);
    assert_int_equal(one.status, LW_OK);
    assert_memory_equal(&one.welcome.lattice, &in->key, sizeof(in->key));
    assert_int_equal(one.welcome.node_id, id_of(member));
    assert_true(lw_equal(lw_buffer_view(&one.welcome.members), lw_text("the members")));
    assert_int_equal(member->newcomer, one.self->identity.node_id);
    lw_peers_figures figures;
    lw_peers_figures_get(member->peers, &figures);
    assert_int_equal(figures.known, 0); /* it is no link yet */
    close_lattice(in);
}

static void who_may_not_join_is_told_why(void **state) {
    (void)state;
    static const struct {
        const char *words;
        lw_status status;
        int what;
    } cases[] = {
        {"expired", LW_REFUSED, 0},
        {"was revoked", LW_REFUSED, 1},
        {"another lattice", LW_REFUSED, 2},
        {"the token's secret is wrong", LW_REFUSED, 3},
        {"there are nodes enough", LW_REFUSED, 4},
        {"beta:7871", LW_UNAVAILABLE, 5},
        {"nonsense", LW_INVALID_ARGUMENT, 6},
        {"its folder is a copy", LW_REFUSED, 7},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        lattice *in = open_quiet(1);
        node *member = boot(in, 0);
        joining one;
        prepare(in, &one, cases[index].what == 0 ? 1 : 0);
        switch (cases[index].what) {
        case 1:
            member->revoked = one.token.id;
            break;
        case 2:
            in->key.id[0]++;
            lw_token_make(&in->key, LW_TOKEN_JOIN, 77, 0, &one.token);
            break;
        case 3:
            one.token.secret[0]++;
            break;
        case 4:
            member->not_wanted = one.self->identity.node_id;
            break;
        case 5:
            one.address = "beta:7871";
            break;
        case 6:
            one.address = "nonsense";
            break;
        case 7:
            make_identity(1, NULL, &one.self->identity);
            break;
        default:
            break;
        }
        join(in, &one);
        assert_int_equal(one.status, cases[index].status);
        if (strstr(one.error, cases[index].words) == NULL) {
            fail_msg("it says \"%s\"", one.error);
        }
        assert_int_equal(one.welcome.lattice.epoch, 0);
        close_lattice(in);
    }
}

static void a_node_that_answers_nothing_is_not_waited_for_for_ever(void **state) {
    (void)state;
    lattice *in = open_quiet(1);
    joining one;
    (void)boot(in, 0);
    prepare(in, &one, 0);
    lw_host_pause(in->nodes[0].host, 100 * SECOND);
    join(in, &one);
    assert_int_equal(one.status, LW_UNAVAILABLE);
    assert_non_null(strstr(one.error, "alpha:7871 did not answer in time"));
    close_lattice(in);
}

/* ---- trouble ------------------------------------------------------------------------------ */

/* Three nodes that talk, on a network that fails, with crashes; then peace. */
static uint64_t live_through_trouble(uint64_t seed) {
    lw_faults usual = lw_faults_usual(), none = lw_faults_none();
    lw_faults faults = lw_faults_swarm(&usual, seed);
    lattice *in = open_lattice(seed, &faults);
    lw_chance chance = lw_world_chance(in->world, "trouble");
    uint64_t number = 0;
    for (uint32_t index = 0; index < 3; index++) {
        (void)boot(in, index);
    }
    for (uint32_t round = 0; round < 150; round++) {
        uint32_t index = (uint32_t)lw_chance_below(&chance, 3);
        node *self = &in->nodes[index], *other = &in->nodes[(index + 1 + round % 2) % 3];
        switch (lw_chance_below(&chance, 24)) {
        case 0:
            lw_host_crash(self->host);
            (void)boot(in, index);
            self->sequence = 0;
            break;
        case 1:
            lw_world_cut_one_way(in->world, self->host, other->host, true);
            break;
        case 2:
            lw_host_pause(self->host, lw_chance_below(&chance, 3 * SECOND));
            break;
        default:
            lw_world_cut_one_way(in->world, self->host, other->host, false);
            break;
        }
        if (self->peers != NULL) {
            uint8_t counted[8];
            lw_peers_set(self->peers, id_of(other), other->address);
            lw_put_u64(counted, ++number);
            (void)lw_peers_send(self->peers, id_of(other), lw_view(counted, 8));
        }
        run_for(in, lw_chance_below(&chance, 300 * MS));
    }
    lw_world_set_faults(in->world, &none);
    for (uint32_t index = 0; index < 3; index++) {
        for (uint32_t other = 0; other < index; other++) {
            lw_world_cut(in->world, in->nodes[index].host, in->nodes[other].host, false);
        }
    }
    for (uint32_t index = 0; index < 3; index++) {
        for (uint32_t other = 0; other < 3; other++) {
            node *from = &in->nodes[index], *to = &in->nodes[other];
            if (from != to) {
                lw_peers_set(from->peers, id_of(to), to->address);
                lw_peers_watch(from->peers, id_of(to));
            }
        }
    }
    run_for(in, 60 * SECOND);
    for (uint32_t index = 0; index < 3; index++) {
        for (uint32_t other = 0; other < 3; other++) {
            assert_true(index == other || up(&in->nodes[index], &in->nodes[other]));
        }
        assert_int_equal(in->nodes[index].impostor.status, LW_OK);
    }
    uint64_t hash = lw_world_hash(in->world);
    close_lattice(in);
    return hash;
}

static void whatever_happens_all_are_linked_in_the_end(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t hash = live_through_trouble(seed);
        if (seed % 10 == 0) {
            assert_int_equal(live_through_trouble(seed), hash);
        }
    }
}

/* ---- cures taken out ----------------------------------------------------------------------- */

static void planted_bugs_show(void **state) {
    static const struct {
        const char *bug;
        void (*story)(void **state);
    } planted[] = {
        {"peers.silence_believed", a_peer_that_is_watched_is_missed_by_itself},
        {"peers.old_copy_let_in", an_old_copy_of_a_folder_is_never_let_in},
        {"peers.pause_stays_long", a_peer_that_dials_is_dialled_again_soon},
        {"peers.forgotten_key_links", no_link_is_made_with_a_key_that_was_forgotten_meanwhile},
        {"peers.plain_for_anyone", plain_links_are_for_loopback_and_for_both},
    };
    for (size_t index = 0; index < sizeof(planted) / sizeof(planted[0]); index++) {
        peers_planted = planted[index].bug;
        if (!unit_story_fails(planted[index].story, state)) {
            fail_msg("the planted bug %s was not noticed", peers_planted);
        }
        peers_planted = NULL;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_nodes_link_both_ways_when_one_dials),
        cmocka_unit_test(a_link_that_nobody_uses_costs_nothing),
        cmocka_unit_test(a_peer_that_restarts_is_linked_again),
        cmocka_unit_test(a_peer_that_comes_back_and_dials_is_dialled_at_once),
        cmocka_unit_test(there_is_no_pause_once_a_peer_was_heard_of),
        cmocka_unit_test(a_peer_that_dials_is_dialled_again_soon),
        cmocka_unit_test(a_peer_that_is_gone_is_lamented_once_a_minute),
        cmocka_unit_test(silence_is_noticed_when_something_is_expected),
        cmocka_unit_test(a_peer_that_is_watched_is_missed_by_itself),
        cmocka_unit_test(a_node_that_slept_does_not_think_that_all_others_died),
        cmocka_unit_test(a_peer_that_moves_is_linked_where_it_went),
        cmocka_unit_test(a_peer_that_is_forgotten_is_told_nothing_more),
        cmocka_unit_test(messages_of_any_size_arrive_in_order),
        cmocka_unit_test(what_a_slow_peer_does_not_read_is_dropped_beyond_the_queue),
        cmocka_unit_test(a_request_is_carried_out_on_the_other_side),
        cmocka_unit_test(many_requests_are_under_way_at_once_and_more_wait_their_turn),
        cmocka_unit_test(a_request_waits_for_room_behind_messages),
        cmocka_unit_test(requests_end_with_words_when_nobody_answers),
        cmocka_unit_test(a_late_reply_is_nobodys),
        cmocka_unit_test(strangers_are_refused_in_words),
        cmocka_unit_test(no_link_is_made_with_a_key_that_was_forgotten_meanwhile),
        cmocka_unit_test(a_node_that_left_for_good_is_not_let_in),
        cmocka_unit_test(another_node_at_the_address_is_not_taken_for_the_one),
        cmocka_unit_test(of_two_copies_the_later_one_is_told_to_stop),
        cmocka_unit_test(a_copy_that_dials_its_original_is_told_so),
        cmocka_unit_test(a_folder_that_was_moved_is_the_same_node),
        cmocka_unit_test(an_old_copy_of_a_folder_is_never_let_in),
        cmocka_unit_test(plain_links_are_for_loopback_and_for_both),
        cmocka_unit_test(closing_ends_links_dials_and_questions),
        cmocka_unit_test(a_newcomer_with_a_token_is_given_what_makes_it_a_member),
        cmocka_unit_test(who_may_not_join_is_told_why),
        cmocka_unit_test(a_node_that_answers_nothing_is_not_waited_for_for_ever),
        cmocka_unit_test(whatever_happens_all_are_linked_in_the_end),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests_name("peers", tests, unit_arm, NULL) != 0;
}
