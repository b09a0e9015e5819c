/* SPDX-License-Identifier: Apache-2.0 */
/* What a client believes about the shards: single stories, and a model that knows of every key
 * which descriptor is the newest it ever heard. */
#include "client/routes.h"
#include "tests/unit.h"

#include <stdlib.h>

typedef struct fixture {
    lw_memory *memory;
    lw_routes routes;
} fixture;

static int setup(void **state) {
    fixture *in = calloc(1, sizeof(*in));
    in->memory = lw_memory_open();
    in->routes = lw_routes_in(in->memory);
    *state = in;
    return 0;
}

static int teardown(void **state) {
    fixture *in = *state;
    lw_routes_reset(&in->routes);
    assert_int_equal(lw_memory_used(in->memory), 0);
    lw_memory_close(in->memory);
    free(in);
    return 0;
}

static lw_shard_descriptor shard(uint64_t id, uint64_t version, const char *start,
                                 const char *end) {
    return (lw_shard_descriptor){
        .id = id, .epoch = {version, 1}, .start = lw_text(start), .end = lw_text(end)};
}

static bool learn(fixture *in, uint64_t id, uint64_t version, const char *start, const char *end) {
    lw_shard_descriptor one = shard(id, version, start, end);
    return lw_routes_learn(&in->routes, &one);
}

static uint64_t id_at(const fixture *in, const char *key) {
    const lw_shard_descriptor *found = lw_routes_find(&in->routes, lw_text(key));
    return found == NULL ? 0 : found->id;
}

static uint64_t id_before(const fixture *in, const char *bound) {
    const lw_shard_descriptor *found = lw_routes_find_before(&in->routes, lw_text(bound));
    return found == NULL ? 0 : found->id;
}

static void a_key_leads_to_the_shard_that_holds_it(void **state) {
    fixture *in = *state;
    assert_int_equal(id_at(in, "k"), 0);
    assert_true(learn(in, 1, 2, "", "g"));
    assert_true(learn(in, 3, 2, "p", ""));
    assert_true(learn(in, 2, 2, "g", "p"));
    assert_int_equal(id_at(in, ""), 1);
    assert_int_equal(id_at(in, "f\xff"), 1);
    assert_int_equal(id_at(in, "g"), 2);
    assert_int_equal(id_at(in, "o"), 2);
    assert_int_equal(id_at(in, "p"), 3);
    assert_int_equal(id_at(in, "\xff"), 3);
}

static void a_bound_leads_to_the_shard_below_it(void **state) {
    fixture *in = *state;
    assert_int_equal(id_before(in, ""), 0);
    assert_true(learn(in, 1, 2, "", "g"));
    assert_int_equal(id_before(in, ""), 0);
    assert_int_equal(id_before(in, "h"), 0);
    assert_true(learn(in, 2, 2, "g", ""));
    assert_int_equal(id_before(in, ""), 2);
    assert_int_equal(id_before(in, "h"), 2);
    assert_int_equal(id_before(in, "g"), 1);
    assert_int_equal(id_before(in, "a"), 1);
}

static void a_split_that_is_heard_of_in_part_leaves_a_gap(void **state) {
    fixture *in = *state;
    assert_true(learn(in, 1, 1, "", ""));
    assert_true(learn(in, 2, 2, "m", ""));
    assert_int_equal(id_at(in, "a"), 0);
    assert_int_equal(id_at(in, "m"), 2);
    assert_int_equal(id_before(in, "m"), 0);
    assert_false(learn(in, 1, 1, "", "")); /* late news is none */
    assert_int_equal(id_at(in, "a"), 0);
    assert_true(learn(in, 1, 2, "", "m"));
    assert_int_equal(id_at(in, "a"), 1);
}

static void what_was_known_already_is_no_news(void **state) {
    fixture *in = *state;
    assert_true(learn(in, 1, 3, "b", "d"));
    assert_false(learn(in, 1, 3, "b", "d"));
    assert_false(learn(in, 1, 2, "a", "z"));
    lw_shard_descriptor other = shard(1, 3, "b", "d");
    other.epoch.config_version = 2;
    assert_true(lw_routes_learn(&in->routes, &other));
    lw_routes_forget(&in->routes, lw_text("c"));
    assert_int_equal(id_at(in, "c"), 0);
    lw_routes_forget(&in->routes, lw_text("c"));
    assert_true(learn(in, 1, 3, "b", "d"));
}

static void a_list_of_shards_is_learnt_as_far_as_it_can_be_read(void **state) {
    fixture *in = *state;
    lw_shard_descriptor two[] = {shard(1, 2, "", "m"), shard(2, 2, "m", "")};
    lw_buffer body = lw_buffer_in(in->memory);
    lw_topology_encode(two, 2, &body);
    assert_true(lw_routes_learn_all(&in->routes, lw_view(body.data, body.size - 1)));
    assert_int_equal(id_at(in, "a"), 1);
    assert_int_equal(id_at(in, "z"), 0);
    assert_true(lw_routes_learn_all(&in->routes, lw_buffer_view(&body)));
    assert_int_equal(id_at(in, "z"), 2);
    assert_false(lw_routes_learn_all(&in->routes, lw_buffer_view(&body)));
    assert_false(lw_routes_learn_all(&in->routes, lw_text("nonsense")));
    lw_buffer_reset(&body);
}

/* ---- splits heard of in any order -------------------------------------------------------------
 */

enum { POINTS = 26, HISTORY = 40 };

typedef struct told {
    lw_shard_descriptor shard;
    char start[2], end[2];
} told;

/* Splits the shards again and again at random; every descriptor there ever was goes into `history`.
 * Returns how many. `owner` tells of each letter which is the last. */
static int split_at_random(uint64_t *chance, told history[HISTORY], int owner[POINTS]) {
    int count = 1;
    uint64_t next_id = 2;
    history[0] = (told){.shard = shard(1, 1, "", "")};
    memset(owner, 0, POINTS * sizeof(*owner));
    while (count + 2 <= HISTORY) {
        int point = 1 + (int)(unit_random(chance) % (POINTS - 1));
        int parent = owner[point], first = point, last = point;
        while (first > 0 && owner[first - 1] == parent) {
            first--;
        }
        while (last < POINTS - 1 && owner[last + 1] == parent) {
            last++;
        }
        if (first == point) {
            if (unit_random(chance) % 20 == 0) {
                break;
            }
            continue;
        }
        told *left = &history[count], *right = &history[count + 1];
        *left = history[parent];
        left->end[0] = (char)('a' + point);
        left->shard.epoch.range_version++;
        *right = history[parent];
        right->start[0] = (char)('a' + point);
        right->shard.id = next_id++;
        right->shard.epoch.range_version++;
        for (int at = first; at <= last; at++) {
            owner[at] = at < point ? count : count + 1;
        }
        count += 2;
    }
    return count;
}

static void splits_are_learnt_in_any_order(void **state) {
    fixture *in = *state;
    uint64_t chance = 7;
    for (int round = 0; round < 2000; round++) {
        told history[HISTORY];
        int owner[POINTS], order[HISTORY];
        int count = split_at_random(&chance, history, owner);
        for (int index = 0; index < count; index++) {
            int other = (int)(unit_random(&chance) % (uint64_t)(index + 1));
            order[index] = order[other];
            order[other] = index;
        }
        for (int index = 0; index < count; index++) {
            told *one = &history[order[index]];
            one->shard.start = lw_text(one->start);
            one->shard.end = lw_text(one->end);
            (void)lw_routes_learn(&in->routes, &one->shard);
            for (uint32_t at = 1; at < in->routes.count; at++) { /* H1 */
                lw_bytes end = in->routes.shards[at - 1].end;
                assert_true(end.size > 0);
                assert_true(lw_compare(end, in->routes.shards[at].start) <= 0);
            }
        }
        for (int at = 0; at < POINTS; at++) { /* H2 */
            char key[] = {(char)('a' + at), 'x', 0}, bound[] = {(char)('a' + at), 'y', 0};
            assert_int_equal(id_at(in, key), history[owner[at]].shard.id);
            assert_int_equal(id_before(in, bound), history[owner[at]].shard.id);
        }
        lw_routes_reset(&in->routes);
    }
}

/* ---- leaders -------------------------------------------------------------------------------- */

static void tell_leader(fixture *in, uint64_t version, uint64_t leader, const char *address) {
    lw_shard_descriptor news = shard(1, version, "", "m");
    news.leader = leader;
    news.leader_address = lw_text(address);
    lw_buffer body = lw_buffer_in(in->memory);
    lw_topology_encode(&news, 1, &body);
    lw_routes_learn_leaders(&in->routes, lw_buffer_view(&body));
    lw_buffer_reset(&body);
}

static uint64_t leader_at(const fixture *in, const char *key) {
    const lw_shard_descriptor *found = lw_routes_find(&in->routes, lw_text(key));
    return found == NULL ? 0 : found->leader;
}

static void who_was_found_to_lead_is_believed_until_it_does_not(void **state) {
    fixture *in = *state;
    assert_true(learn(in, 1, 2, "", "m"));
    uint64_t changes = in->routes.changes;
    tell_leader(in, 1, 7, "old:1"); /* of before the last change: it says nothing */
    assert_false(lw_shard_led(lw_routes_find(&in->routes, lw_text("k"))));
    tell_leader(in, 2, 8, "b:1");
    assert_int_equal(leader_at(in, "k"), 8);
    tell_leader(in, 2, 9, "c:1"); /* hearsay */
    assert_int_equal(leader_at(in, "k"), 8);
    lw_routes_lead(&in->routes, lw_text("k"), 9, lw_text("c:1"));
    assert_int_equal(leader_at(in, "k"), 9);
    lw_routes_lead(&in->routes, lw_text("k"), 0, (lw_bytes){0});
    assert_false(lw_shard_led(lw_routes_find(&in->routes, lw_text("k"))));
    tell_leader(in, 2, 8, "b:1");
    assert_int_equal(leader_at(in, "k"), 8);
    lw_routes_lead(&in->routes, lw_text("z"), 5, lw_text("e:1")); /* a gap */
    assert_true(in->routes.changes == changes);
    assert_true(learn(in, 1, 3, "", "m")); /* who leads the changed shard is another question */
    assert_int_equal(leader_at(in, "k"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_leads_to_the_shard_that_holds_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bound_leads_to_the_shard_below_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_split_that_is_heard_of_in_part_leaves_a_gap, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_known_already_is_no_news, setup, teardown),
        cmocka_unit_test_setup_teardown(a_list_of_shards_is_learnt_as_far_as_it_can_be_read, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(splits_are_learnt_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(who_was_found_to_lead_is_believed_until_it_does_not, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
