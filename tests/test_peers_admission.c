/* SPDX-License-Identifier: Apache-2.0 */
/* node/peers: who is let in and who is refused, in words; one identity in two processes; joining by
 * a token. */
#include "tests/peers_world.h"
#include "tests/planted_story.h"

/* ---- who is let in --------------------------------------------------------------------------- */

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

/* ---- one identity, two processes ------------------------------------------------------------- */

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

/* ---- joining --------------------------------------------------------------------------------- */

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
        {"is of no help", LW_UNAVAILABLE, 8}, /* a key that others use, and alpha has not got yet */
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
        case 8:
            in->key.epoch++;
            lw_token_make(&in->key, LW_TOKEN_JOIN, 77, 0, &one.token);
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

/* All have it, and some use it already: alpha does not. */
static lw_status join_by_a_later_key(const char *bug) {
    lattice *in = open_quiet(1);
    if (bug != NULL) {
        lw_world_plant(in->world, bug);
    }
    node *member = boot(in, 0);
    joining one;
    in->key.epoch++;
    member->identity.others[member->identity.other_count++] = in->key;
    prepare(in, &one, 0);
    join(in, &one);
    lw_status status = one.status;
    close_lattice(in);
    return status;
}

static void a_token_of_a_key_that_others_use_already_is_good(void **state) {
    (void)state;
    assert_int_equal(join_by_a_later_key(NULL), LW_OK);
    assert_int_equal(join_by_a_later_key("peers.used_key_alone_counts"), LW_UNAVAILABLE);
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

/* ---- cures taken out ------------------------------------------------------------------------- */

static void planted_bugs_show(void **state) {
    static const planted_name bugs[] = {
        {"peers.old_copy_let_in", an_old_copy_of_a_folder_is_never_let_in},
        {"peers.forgotten_key_links", no_link_is_made_with_a_key_that_was_forgotten_meanwhile},
        {"peers.plain_for_anyone", plain_links_are_for_loopback_and_for_both},
    };
    planted_names_show(bugs, sizeof(bugs) / sizeof(bugs[0]), &peers_planted, state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_are_refused_in_words),
        cmocka_unit_test(no_link_is_made_with_a_key_that_was_forgotten_meanwhile),
        cmocka_unit_test(a_node_that_left_for_good_is_not_let_in),
        cmocka_unit_test(another_node_at_the_address_is_not_taken_for_the_one),
        cmocka_unit_test(of_two_copies_the_later_one_is_told_to_stop),
        cmocka_unit_test(a_copy_that_dials_its_original_is_told_so),
        cmocka_unit_test(a_folder_that_was_moved_is_the_same_node),
        cmocka_unit_test(an_old_copy_of_a_folder_is_never_let_in),
        cmocka_unit_test(plain_links_are_for_loopback_and_for_both),
        cmocka_unit_test(a_newcomer_with_a_token_is_given_what_makes_it_a_member),
        cmocka_unit_test(who_may_not_join_is_told_why),
        cmocka_unit_test(a_token_of_a_key_that_others_use_already_is_good),
        cmocka_unit_test(a_node_that_answers_nothing_is_not_waited_for_for_ever),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0;
}
