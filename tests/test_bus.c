/* SPDX-License-Identifier: Apache-2.0 */
/* lattice/bus: what all buses have in common. */
#include "lattice/bus.h"

#include "tests/unit.h"

static void what_comes_late_or_twice_is_not_newer(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_bus_heard heard = lw_bus_heard_in(memory);
    assert_true(lw_bus_hear(&heard, 7, 3, 10));
    assert_false(lw_bus_hear(&heard, 7, 3, 10));
    assert_false(lw_bus_hear(&heard, 7, 3, 9));
    assert_true(lw_bus_hear(&heard, 7, 3, 12));
    /* Another node counts for itself. */
    assert_true(lw_bus_hear(&heard, 5, 1, 1));
    /* A node that begins anew counts from the start, and what is left of its past is late. */
    assert_true(lw_bus_hear(&heard, 7, 4, 1));
    assert_false(lw_bus_hear(&heard, 7, 3, 99));
    assert_true(lw_bus_hear(&heard, 7, 4, 2));
    lw_bus_heard_reset(&heard);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
}

static void speakers_are_kept_apart_in_any_order_and_bounded(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_bus_heard heard = lw_bus_heard_in(memory);
    uint64_t seed = 1, nodes[5000];
    uint32_t count = 0;
    for (uint32_t index = 0; index < 5000; index++) {
        nodes[index] = unit_random(&seed);
        count += lw_bus_hear(&heard, nodes[index], 1, index + 1);
    }
    assert_int_equal(count, 4096);
    for (uint32_t index = 0; index < 4096; index++) {
        assert_false(lw_bus_hear(&heard, nodes[index], 1, index + 1));
        assert_true(lw_bus_hear(&heard, nodes[index], 1, index + 2));
    }
    assert_false(lw_bus_hear(&heard, nodes[4999], 1, 10000));
    lw_bus_heard_reset(&heard);
    lw_memory_close(memory);
}

static void no_bus_drops_what_it_is_given(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_bus *bus = lw_bus_none(memory);
    lw_bus_publish(bus, LW_BUS_HEARTBEAT, 0, lw_text("here"));
    lw_bus_set_routes(bus, NULL, 0);
    assert_int_equal(bus->figures.unpublished, 1);
    assert_int_equal(bus->figures.published, 0);
    assert_string_equal(lw_bus_state_name(bus->state), "none");
    assert_string_equal(bus->reason, "");
    assert_string_equal(bus->address, "");
    lw_bus_close(bus);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_memory_close(memory);
}

static void note_change(void *argument) {
    (*(uint32_t *)argument)++;
}

static void a_change_of_state_is_told_once(void **state) {
    (void)state;
    uint32_t changes = 0;
    lw_bus bus = {.state = LW_BUS_STARTING};
    lw_bus_options options = {.changed = note_change, .argument = &changes};
    lw_bus_set_state(&bus, &options, LW_BUS_UP, NULL);
    lw_bus_set_state(&bus, &options, LW_BUS_UP, "is not kept");
    assert_int_equal(changes, 1);
    lw_bus_set_state(&bus, &options, LW_BUS_DEGRADED, "the broker ended");
    lw_bus_set_state(&bus, &options, LW_BUS_DEGRADED, "the broker ended");
    assert_int_equal(changes, 2);
    assert_string_equal(bus.reason, "the broker ended");
    lw_bus_set_state(&bus, &options, LW_BUS_UP, NULL);
    assert_string_equal(bus.reason, "");
    assert_int_equal(bus.figures.connects, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_late_or_twice_is_not_newer),
        cmocka_unit_test(speakers_are_kept_apart_in_any_order_and_bounded),
        cmocka_unit_test(no_bus_drops_what_it_is_given),
        cmocka_unit_test(a_change_of_state_is_told_once),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
