/* SPDX-License-Identifier: Apache-2.0 */
/* node/peers: links that are made, broken and made again; who is let in and who is not. */
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_nodes_link_both_ways_when_one_dials),
        cmocka_unit_test(a_request_is_carried_out_on_the_other_side),
    };
    return cmocka_run_group_tests_name("peers", tests, unit_arm, NULL) != 0;
}
