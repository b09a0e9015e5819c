/* SPDX-License-Identifier: Apache-2.0 */
/* node/lattice_trust: whom a lattice lets in, with whole nodes in the simulated world. */
#include "node/lattice_state.h"
#include "tests/lattice_world.h"

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

/* ---- cures taken out ------------------------------------------------------------------------ */

static void planted_bugs_show(void **state) {
    static const struct {
        const char *bug;
        void (*story)(void **state);
    } planted_in[] = {
        {"lattice.revoked_is_let_in", a_revoked_token_lets_nobody_in},
    };
    for (size_t index = 0; index < sizeof(planted_in) / sizeof(planted_in[0]); index++) {
        planted = planted_in[index].bug;
        if (!unit_story_fails(planted_in[index].story, state)) {
            fail_msg("the planted bug %s was not noticed", planted);
        }
        planted = NULL;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_revoked_token_lets_nobody_in),
        cmocka_unit_test(who_was_away_hears_of_it),
        cmocka_unit_test(who_missed_it_hears_of_it_without_a_new_link),
        cmocka_unit_test(alone_a_node_keeps_it_too),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests_name("trust", tests, unit_arm, NULL) == 0 ? 0 : 1;
}
