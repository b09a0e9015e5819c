/* SPDX-License-Identifier: Apache-2.0 */
/* node/lattice_trust and node/lattice_keys: whom a lattice lets in, with whole nodes in the
 * simulated world. */
#include "node/lattice_state.h"
#include "tests/lattice_world.h"
#include "tests/planted_story.h"

static const char *planted; /* NULL: nothing */

static town *open_three(uint64_t seed) {
    town *in = town_open(seed);
    if (planted != NULL) {
        lw_world_plant(in->world, planted);
    }
    for (uint32_t number = 0; number < 3; number++) {
        house *self = house_boot(in, number);
        if (self->node == NULL) {
            fail_msg("node %u did not start: %s", number, self->ended.text);
        }
    }
    (void)town_settle(in, 1, 3, 30);
    return in;
}

/* ---- revoked tokens ------------------------------------------------------------------------- */

static uint64_t id_of(const char *text) {
    lw_token token;
    assert_int_equal(lw_token_parse(lw_text(text), &token), LW_OK);
    return token.id;
}

/* How many members know by then. */
static uint32_t revoke_at(house *at, uint64_t id) {
    lw_buffer body = lw_buffer_in(at->env->memory), reply;
    lw_revoke_request_encode(&(lw_revoke_request){.id = id}, &body);
    assert_int_equal(house_ask(at, LW_MESSAGE_REVOKE, lw_buffer_view(&body), &reply), LW_OK);
    lw_reader reader;
    uint32_t count, knowing = 0;
    assert_int_equal(lw_report_open(lw_buffer_view(&reply), &reader, &count), LW_OK);
    while (count-- > 0) {
        uint64_t node;
        bool knows;
        assert_int_equal(lw_node_row_next(&reader, &node, &knows), LW_OK);
        knowing += knows;
    }
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    return knowing;
}

static bool knows(const house *self, uint64_t id) {
    return lw_revoked_has(&self->node->lattice->revoked, id);
}

static void a_revoked_token_lets_nobody_in(void **state) {
    (void)state;
    town *in = open_three(31);
    assert_int_equal(revoke_at(&in->houses[1], id_of(in->token)), 3);
    house *delta = house_boot(in, 3);
    assert_null(delta->node);
    assert_int_equal(delta->ended.status, LW_REFUSED);
    assert_non_null(strstr(delta->ended.text, "was revoked: make a new one"));
    town_close(in);
}

/* Also those that were away, from any that knows; and nobody forgets it over a restart. */
static void who_was_away_hears_of_it(void **state) {
    (void)state;
    town *in = open_three(32);
    uint64_t id = id_of(in->token);
    lw_host_crash(in->houses[2].host);
    in->houses[2].node = NULL;
    town_run(in, 5 * SECOND);
    assert_int_equal(revoke_at(&in->houses[0], id), 2);
    for (uint32_t number = 0; number < 2; number++) {
        lw_host_crash(in->houses[number].host);
        in->houses[number].node = NULL;
    }
    for (uint32_t number = 3; number-- > 1;) { /* not the one that was told first */
        assert_non_null(house_boot(in, number)->node);
    }
    town_run(in, 5 * SECOND);
    assert_true(knows(&in->houses[1], id));
    assert_true(knows(&in->houses[2], id));
    town_close(in);
}

/* A greeting goes round even where no link broke: who missed the word hears it. */
static void who_missed_it_hears_of_it_without_a_new_link(void **state) {
    (void)state;
    town *in = open_three(33);
    bool news;
    lw_lattice *alpha = in->houses[0].node->lattice;
    lw_revoked_token token = {.id = 7, .expires_ms = UINT64_MAX};
    assert_int_equal(lw_revoked_add(&alpha->revoked, token, 0, &news), LW_OK);
    town_run(in, 40 * SECOND);
    assert_true(knows(&in->houses[1], 7));
    assert_true(knows(&in->houses[2], 7));
    town_close(in);
}

static void alone_a_node_keeps_it_too(void **state) {
    (void)state;
    town *in = town_open(34);
    house *alpha = house_boot(in, 0);
    assert_non_null(alpha->node);
    uint64_t id = id_of(in->token);
    assert_int_equal(revoke_at(alpha, id), 1);
    lw_host_crash(alpha->host);
    assert_non_null(house_boot(in, 0)->node);
    assert_true(knows(alpha, id));
    assert_null(house_boot(in, 1)->node);
    town_close(in);
}

/* ---- the lattice's key ---------------------------------------------------------------------- */

static uint32_t rotate_at(house *at) {
    lw_buffer reply;
    assert_int_equal(house_ask(at, LW_MESSAGE_ROTATE, (lw_bytes){0}, &reply), LW_OK);
    lw_reader reader = lw_reader_of(lw_buffer_view(&reply));
    uint32_t epoch = (uint32_t)lw_read_u64(&reader);
    lw_buffer_reset(&reply);
    return epoch;
}

/* Whether the first `count` nodes have the key of this epoch alone, and are linked. */
static bool all_at(const town *in, uint32_t count, uint32_t epoch) {
    for (uint32_t number = 0; number < count; number++) {
        const house *self = &in->houses[number];
        if (self->node == NULL || self->node->identity.lattice.epoch != epoch ||
            self->node->identity.other_count != 0) {
            return false;
        }
        for (uint32_t other = 0; other < count; other++) {
            if (number != other && in->houses[other].node != NULL &&
                !lw_peers_up(self->node->peers, house_id(&in->houses[other]))) {
                return false;
            }
        }
    }
    return true;
}

static void wait_for_all_at(town *in, uint32_t count, uint32_t epoch, uint32_t second_max) {
    for (uint32_t second = 0; second < second_max && !all_at(in, count, epoch); second++) {
        town_run(in, SECOND);
    }
    if (!all_at(in, count, epoch)) {
        for (uint32_t number = 0; number < count; number++) {
            const house *self = &in->houses[number];
            print_message("%s: epoch %u and %u others\n", self->address,
                          self->node == NULL ? 0 : self->node->identity.lattice.epoch,
                          self->node == NULL ? 0 : self->node->identity.other_count);
        }
        fail_msg("not all are at epoch %u after %u s", epoch, second_max);
    }
}

static void stop(house *self) {
    lw_host_crash(self->host);
    self->node = NULL;
}

static void the_key_changes_while_everything_goes_on(void **state) {
    (void)state;
    town *in = open_three(41);
    uint8_t before[LW_SHARED_KEY_SIZE];
    memcpy(before, in->houses[0].node->identity.lattice.key, sizeof(before));
    uint32_t epoch = rotate_at(&in->houses[1]);
    assert_true(epoch > 1);
    wait_for_all_at(in, 3, epoch, 20);
    assert_memory_not_equal(in->houses[2].node->identity.lattice.key, before, sizeof(before));
    (void)town_settle(in, 1, 3, 5);
    assert_true(lw_world_marked(in->world, "peers.old_key_ended") > 0);
    /* Old tokens died with it. */
    house *delta = house_boot(in, 3);
    assert_null(delta->node);
    assert_non_null(strstr(delta->ended.text, "the token is of key epoch 1"));
    lw_node_token(in->houses[2].node, 0, in->token);
    assert_non_null(house_boot(in, 3)->node);
    /* And all of it lasts. */
    for (uint32_t number = 0; number < 4; number++) {
        stop(&in->houses[number]);
    }
    for (uint32_t number = 0; number < 4; number++) {
        assert_non_null(house_boot(in, number)->node);
    }
    wait_for_all_at(in, 4, epoch, 20);
    town_close(in);
}

static void alone_a_node_changes_it_at_once(void **state) {
    (void)state;
    town *in = town_open(42);
    house *alpha = house_boot(in, 0);
    uint32_t epoch = rotate_at(alpha);
    wait_for_all_at(in, 1, epoch, 2);
    lw_node_token(alpha->node, 0, in->token);
    assert_non_null(house_boot(in, 1)->node);
    wait_for_all_at(in, 2, epoch, 10);
    town_close(in);
}

/* It has both keys when it comes, or is given the new one. */
static void who_is_away_is_waited_for(void **state) {
    (void)state;
    town *in = open_three(43);
    stop(&in->houses[2]);
    town_run(in, 3 * SECOND);
    uint32_t epoch = rotate_at(&in->houses[0]);
    town_run(in, 8 * SECOND);
    assert_int_equal(in->houses[0].node->identity.lattice.epoch, 1);
    assert_non_null(lw_identity_key(&in->houses[1].node->identity, epoch));
    lw_buffer reply;
    assert_int_equal(house_ask(&in->houses[1], LW_MESSAGE_ROTATE, (lw_bytes){0}, &reply),
                     LW_REFUSED);
    assert_non_null(house_boot(in, 2)->node);
    wait_for_all_at(in, 3, epoch, 30);
    town_close(in);
}

static void who_was_away_too_long_comes_back_by_a_token_with_its_data(void **state) {
    (void)state;
    town *in = open_three(44);
    uint64_t id = house_id(&in->houses[2]);
    stop(&in->houses[2]);
    town_run(in, 3 * SECOND);
    uint32_t epoch = rotate_at(&in->houses[0]);
    wait_for_all_at(in, 2, epoch, 60);
    house *gamma = house_boot(in, 2);
    assert_non_null(gamma->node);
    town_run(in, 10 * SECOND);
    lw_peer_state seen;
    lw_peers_state_get(gamma->node->peers, house_id(&in->houses[0]), &seen);
    assert_false(seen.up);
    assert_non_null(strstr(seen.reason, "make a token at a member"));
    stop(gamma);
    lw_node_token(in->houses[0].node, 0, in->token);
    assert_non_null(house_boot(in, 2)->node);
    wait_for_all_at(in, 3, epoch, 20);
    assert_true(house_id(gamma) == id);
    assert_true(lw_world_marked(in->world, "node.came_back_by_token") > 0);
    (void)town_settle(in, 1, 3, 60);
    town_close(in);
}

/* Two operators at once: the higher epoch stands. */
static void two_changes_at_once_end_in_one_key(void **state) {
    (void)state;
    for (uint64_t seed = 45; seed < 49; seed++) {
        town *in = open_three(seed);
        lw_buffer reply = lw_buffer_in(in->houses[1].env->memory);
        errand second = {.at = &in->houses[1],
                         .request = {.kind = LW_MESSAGE_ROTATE, .timeout_ms = 5000},
                         .reply = reply};
        lw_env_start(in->houses[1].env, "errand", errand_main, &second);
        uint32_t epoch = rotate_at(&in->houses[0]);
        assert_true(second.done);
        assert_int_equal(second.status, LW_OK);
        lw_reader reader = lw_reader_of(lw_buffer_view(&second.reply));
        uint32_t other = (uint32_t)lw_read_u64(&reader);
        wait_for_all_at(in, 3, epoch > other ? epoch : other, 30);
        town_close(in);
    }
}

/* Whoever dies at whichever moment: all come to the one key, and nobody is shut out. */
static void nodes_that_die_meanwhile_are_not_left_behind(void **state) {
    (void)state;
    for (uint64_t seed = 50; seed < 74; seed++) {
        town *in = open_three(seed);
        uint32_t epoch = rotate_at(&in->houses[seed % 3]);
        for (uint32_t round = 0; round < 4; round++) {
            house *victim = &in->houses[(seed / 3 + round) % 3];
            town_run(in, (seed * 37 + round * 211) % 400 * MS);
            stop(victim);
            town_run(in, (seed * 53 + round * 101) % 3000 * MS);
            assert_non_null(house_boot(in, (uint32_t)(victim - in->houses))->node);
        }
        wait_for_all_at(in, 3, epoch, 40);
        (void)town_settle(in, 1, 3, 40);
        town_close(in);
    }
}

/* ---- cures taken out ------------------------------------------------------------------------ */

static void planted_bugs_show(void **state) {
    static const planted_name bugs[] = {
        {"lattice.revoked_is_let_in", a_revoked_token_lets_nobody_in},
        {"lattice.key_used_early", who_is_away_is_waited_for},
        {"identity.keys_unsaved", nodes_that_die_meanwhile_are_not_left_behind},
    };
    planted_names_show(bugs, sizeof(bugs) / sizeof(bugs[0]), &planted, state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_revoked_token_lets_nobody_in),
        cmocka_unit_test(who_was_away_hears_of_it),
        cmocka_unit_test(who_missed_it_hears_of_it_without_a_new_link),
        cmocka_unit_test(alone_a_node_keeps_it_too),
        cmocka_unit_test(the_key_changes_while_everything_goes_on),
        cmocka_unit_test(alone_a_node_changes_it_at_once),
        cmocka_unit_test(who_is_away_is_waited_for),
        cmocka_unit_test(who_was_away_too_long_comes_back_by_a_token_with_its_data),
        cmocka_unit_test(two_changes_at_once_end_in_one_key),
        cmocka_unit_test(nodes_that_die_meanwhile_are_not_left_behind),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests_name("trust", tests, unit_arm, NULL) == 0 ? 0 : 1;
}
