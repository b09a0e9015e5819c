/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated bus: who hears whom, and what goes wrong on the way. */
#include "sim/bus.h"

#include "tests/unit.h"

#define SECOND_NS UINT64_C(1000000000)
enum { NODES = 3 };

typedef struct ear {
    lw_env *env;
    lw_bus *bus;
    uint32_t count, changes;
    uint64_t from;
    bool directed;
    lw_bus_kind kind;
    char body[64];
} ear;

typedef struct stage {
    lw_world *world;
    lw_host *hosts[NODES];
    ear ears[NODES];
    uint64_t incarnations[NODES];
} stage;

static const char *const names[NODES] = {"node1", "node2", "node3"};
static const char *const addresses[NODES] = {"node1:6248", "node2:6248", "node3:6248"};

static void hear(void *argument, const lw_bus_message *message) {
    ear *it = argument;
    assert_null(lw_fiber_current());
    it->count++;
    it->from = message->from;
    it->directed = message->directed;
    it->kind = message->kind;
    snprintf(it->body, sizeof(it->body), "%.*s", (int)message->body.size,
             (const char *)message->body.data);
}

static void note_change(void *argument) {
    ((ear *)argument)->changes++;
}

static void join(stage *on, uint32_t index) {
    ear *it = &on->ears[index];
    *it = (ear){.env = lw_host_boot(on->hosts[index])};
    lw_bus_options options = {.node = 10 + index,
                              .incarnation = ++on->incarnations[index],
                              .receive = hear,
                              .changed = note_change,
                              .argument = it};
    assert_int_equal(lw_sim_bus_open(NULL, it->env, &options, &it->bus), LW_OK);
    assert_string_equal(it->bus->address, addresses[index]);
}

static void run_ms(const stage *on, uint64_t duration_ms) {
    lw_world_run(on->world, lw_world_now(on->world) + duration_ms * 1000000);
}

static void set_up(stage *on, uint64_t seed, const lw_faults *faults) {
    *on = (stage){.world = lw_world_open(seed, faults)};
    for (uint32_t index = 0; index < NODES; index++) {
        on->hosts[index] = lw_world_host(on->world, names[index]);
        join(on, index);
    }
    run_ms(on, 100);
}

/* The second and the third node know the first one. */
static void set_up_joined(stage *on, uint64_t seed, const lw_faults *faults) {
    set_up(on, seed, faults);
    lw_bus_set_routes(on->ears[1].bus, &addresses[0], 1);
    lw_bus_set_routes(on->ears[2].bus, &addresses[0], 1);
}

/* How many of the others hear what a node says. */
static uint32_t say(stage *on, uint32_t from, uint64_t to) {
    uint32_t before = 0, after = 0;
    for (uint32_t index = 0; index < NODES; index++) {
        before += on->ears[index].count;
    }
    lw_bus_publish(on->ears[from].bus, LW_BUS_EVENT, to, lw_text("words"));
    run_ms(on, 100);
    for (uint32_t index = 0; index < NODES; index++) {
        after += on->ears[index].count;
    }
    return after - before;
}

static void one_known_member_is_enough(void **state) {
    (void)state;
    stage on;
    lw_faults none = lw_faults_none();
    set_up(&on, 1, &none);
    assert_int_equal(on.ears[0].bus->state, LW_BUS_UP);
    assert_int_equal(on.ears[0].changes, 1);
    assert_int_equal(say(&on, 0, 0), 0);
    lw_bus_set_routes(on.ears[1].bus, &addresses[0], 1);
    lw_bus_set_routes(on.ears[2].bus, &addresses[0], 1);
    assert_int_equal(say(&on, 0, 0), 2);
    assert_int_equal(say(&on, 2, 0), 2);
    assert_int_equal(on.ears[1].count, 2);
    assert_int_equal(on.ears[1].from, 12);
    assert_int_equal(on.ears[1].kind, LW_BUS_EVENT);
    assert_false(on.ears[1].directed);
    assert_string_equal(on.ears[1].body, "words");
    assert_int_equal(on.ears[2].bus->figures.received, 1);
    lw_world_close(on.world);
}

static void what_is_said_to_one_node_no_other_hears(void **state) {
    (void)state;
    stage on;
    lw_faults none = lw_faults_none();
    set_up_joined(&on, 1, &none);
    assert_int_equal(say(&on, 0, 12), 1);
    assert_int_equal(on.ears[2].count, 1);
    assert_true(on.ears[2].directed);
    assert_int_equal(say(&on, 0, 99), 0);
    lw_world_close(on.world);
}

static void too_long_a_message_is_dropped(void **state) {
    (void)state;
    stage on;
    static const uint8_t bytes[LW_BUS_BODY_SIZE_MAX + 1];
    lw_faults none = lw_faults_none();
    set_up_joined(&on, 1, &none);
    lw_bus_publish(on.ears[0].bus, LW_BUS_SHARDS, 0, lw_view(bytes, LW_BUS_BODY_SIZE_MAX + 1));
    lw_bus_publish(on.ears[0].bus, LW_BUS_SHARDS, 0, lw_view(bytes, LW_BUS_BODY_SIZE_MAX));
    run_ms(&on, 100);
    assert_int_equal(on.ears[1].count, 1);
    assert_int_equal(on.ears[0].bus->figures.published, 1);
    assert_int_equal(on.ears[0].bus->figures.unpublished, 1);
    lw_world_close(on.world);
}

static void a_cut_of_the_bus_has_a_direction(void **state) {
    (void)state;
    stage on;
    lw_faults none = lw_faults_none();
    set_up_joined(&on, 1, &none);
    lw_sim_bus_cut_one_way(on.world, on.hosts[1], on.hosts[2], true);
    assert_int_equal(say(&on, 1, 0), 1);
    assert_int_equal(say(&on, 2, 0), 2);
    lw_sim_bus_cut_one_way(on.world, on.hosts[1], on.hosts[2], false);
    assert_int_equal(say(&on, 1, 0), 2);
    lw_world_close(on.world);
}

static void an_island_talks_to_itself_alone(void **state) {
    (void)state;
    stage on;
    lw_faults none = lw_faults_none();
    set_up_joined(&on, 1, &none);
    lw_sim_bus_cut(on.world, on.hosts[0], on.hosts[1], true);
    lw_sim_bus_cut(on.world, on.hosts[0], on.hosts[2], true);
    assert_int_equal(say(&on, 0, 0), 0);
    assert_int_equal(say(&on, 1, 12), 1);
    assert_int_equal(say(&on, 2, 0), 1);
    lw_world_close(on.world);
}

static void cuts_of_the_network_do_not_concern_the_bus(void **state) {
    (void)state;
    stage on;
    lw_faults none = lw_faults_none();
    set_up_joined(&on, 1, &none);
    lw_world_cut(on.world, on.hosts[0], on.hosts[1], true);
    assert_int_equal(say(&on, 0, 0), 2);
    lw_world_close(on.world);
}

static void a_node_whose_broker_stopped_says_so(void **state) {
    (void)state;
    stage on;
    lw_faults none = lw_faults_none();
    set_up_joined(&on, 1, &none);
    lw_sim_bus_stop(on.world, on.hosts[1], true);
    assert_int_equal(say(&on, 1, 0), 0);
    assert_int_equal(on.ears[1].bus->state, LW_BUS_DEGRADED);
    assert_string_equal(on.ears[1].bus->reason, "the broker is stopped");
    assert_int_equal(on.ears[1].changes, 2);
    assert_int_equal(on.ears[1].bus->figures.unpublished, 1);
    assert_int_equal(say(&on, 0, 0), 1);
    lw_sim_bus_stop(on.world, on.hosts[1], false);
    run_ms(&on, 100);
    assert_int_equal(on.ears[1].bus->state, LW_BUS_UP);
    assert_int_equal(on.ears[1].bus->figures.connects, 2);
    /* What was said meanwhile does not come now. */
    assert_int_equal(on.ears[1].count, 0);
    assert_int_equal(say(&on, 0, 0), 2);
    lw_world_close(on.world);
}

static void a_node_that_died_hears_nothing_and_its_words_arrive(void **state) {
    (void)state;
    stage on;
    lw_faults none = lw_faults_none();
    set_up_joined(&on, 1, &none);
    lw_bus_publish(on.ears[1].bus, LW_BUS_EVENT, 0, lw_text("last words"));
    lw_bus_publish(on.ears[0].bus, LW_BUS_EVENT, 11, lw_text("to nobody"));
    lw_host_crash(on.hosts[1]);
    run_ms(&on, 100);
    assert_int_equal(on.ears[0].count, 1);
    assert_string_equal(on.ears[0].body, "last words");
    assert_int_equal(on.ears[1].count, 0);
    /* It comes back, and counts its messages from the start. */
    join(&on, 1);
    lw_bus_set_routes(on.ears[1].bus, &addresses[2], 1);
    run_ms(&on, 100);
    assert_int_equal(say(&on, 1, 0), 2);
    lw_world_close(on.world);
}

static void a_paused_node_hears_later(void **state) {
    (void)state;
    stage on;
    lw_faults none = lw_faults_none();
    set_up_joined(&on, 1, &none);
    lw_host_pause(on.hosts[1], SECOND_NS);
    assert_int_equal(say(&on, 0, 0), 1);
    run_ms(&on, 1000);
    assert_int_equal(on.ears[1].count, 1);
    lw_world_close(on.world);
}

static void a_closed_bus_is_silent(void **state) {
    (void)state;
    stage on;
    lw_faults none = lw_faults_none();
    set_up_joined(&on, 1, &none);
    lw_bus_publish(on.ears[0].bus, LW_BUS_EVENT, 0, lw_text("words"));
    lw_bus_close(on.ears[1].bus);
    run_ms(&on, 100);
    assert_int_equal(on.ears[1].count, 0);
    assert_int_equal(on.ears[2].count, 1);
    lw_world_close(on.world);
}

/* What a message meets when only this fault is there, and always. */
static void say_with_fault(stage *on, lw_fault fault, uint32_t times) {
    lw_faults none = lw_faults_none(), faults = none;
    set_up_joined(on, 3, &none);
    faults.rates[fault] = LW_FAULT_ALWAYS;
    lw_world_set_faults(on->world, &faults);
    for (uint32_t time = 0; time < times; time++) {
        lw_bus_publish(on->ears[0].bus, LW_BUS_HEARTBEAT, 0, lw_text("words"));
    }
    run_ms(on, 20000);
}

static void messages_get_lost(void **state) {
    (void)state;
    stage on;
    say_with_fault(&on, LW_FAULT_BUS_LOSS, 10);
    assert_int_equal(on.ears[1].count, 0);
    assert_int_equal(on.ears[0].bus->figures.published, 10);
    lw_world_close(on.world);
}

static void what_comes_twice_is_heard_once(void **state) {
    (void)state;
    stage on;
    say_with_fault(&on, LW_FAULT_BUS_TWICE, 1);
    assert_int_equal(on.ears[1].count, 1);
    assert_int_equal(on.ears[1].bus->figures.stale, 1);
    lw_world_close(on.world);
}

static void what_was_overtaken_is_not_heard(void **state) {
    (void)state;
    stage on;
    say_with_fault(&on, LW_FAULT_BUS_LATE, 20);
    const lw_bus_figures *figures = &on.ears[1].bus->figures;
    assert_in_range(figures->stale, 1, 19);
    assert_int_equal(figures->stale + figures->received, 20);
    lw_world_close(on.world);
}

static void what_is_said_again_much_later_is_not_heard_again(void **state) {
    (void)state;
    stage on;
    say_with_fault(&on, LW_FAULT_BUS_AGAIN, 20);
    const lw_bus_figures *figures = &on.ears[1].bus->figures;
    uint64_t heard = figures->received;
    assert_in_range(heard, 1, 20);
    assert_in_range(heard + figures->stale, 20, 39); /* some are still on their way */
    run_ms(&on, 40100);
    assert_int_equal(figures->received, heard);
    assert_int_equal(heard + figures->stale, 40);
    lw_world_close(on.world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_known_member_is_enough),
        cmocka_unit_test(what_is_said_to_one_node_no_other_hears),
        cmocka_unit_test(too_long_a_message_is_dropped),
        cmocka_unit_test(a_cut_of_the_bus_has_a_direction),
        cmocka_unit_test(an_island_talks_to_itself_alone),
        cmocka_unit_test(cuts_of_the_network_do_not_concern_the_bus),
        cmocka_unit_test(a_node_whose_broker_stopped_says_so),
        cmocka_unit_test(a_node_that_died_hears_nothing_and_its_words_arrive),
        cmocka_unit_test(a_paused_node_hears_later),
        cmocka_unit_test(a_closed_bus_is_silent),
        cmocka_unit_test(messages_get_lost),
        cmocka_unit_test(what_comes_twice_is_heard_once),
        cmocka_unit_test(what_was_overtaken_is_not_heard),
        cmocka_unit_test(what_is_said_again_much_later_is_not_heard_again),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
