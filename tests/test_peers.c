/* SPDX-License-Identifier: Apache-2.0 */
/* node/peers: links that are made, break and are made again. What goes over them is in
 * test_peers_messages.c, who is let in in test_peers_admission.c, and what hostile strangers do in
 * test_peers_hostile.c. */
#include "tests/peers_world.h"
#include "tests/planted_story.h"

/* ---- links ----------------------------------------------------------------------------------- */

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

/* ---- trouble --------------------------------------------------------------------------------- */

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

/* ---- cures taken out ------------------------------------------------------------------------- */

static void planted_bugs_show(void **state) {
    static const planted_name bugs[] = {
        {"peers.silence_believed", a_peer_that_is_watched_is_missed_by_itself},
        {"peers.pause_stays_long", a_peer_that_dials_is_dialled_again_soon},
    };
    planted_names_show(bugs, sizeof(bugs) / sizeof(bugs[0]), &peers_planted, state);
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
        cmocka_unit_test(whatever_happens_all_are_linked_in_the_end),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0;
}
