/* SPDX-License-Identifier: Apache-2.0 */
/* Whose turn it is: of those who offer a snapshot to one node, and of the snapshots that one node
 * is to send. Nodes that cannot be reached, or are busy, keep nobody else waiting for long. */
#include "node/snapshot.h"
#include "sim/world.h"
#include "tests/unit.h"

enum {
    SHARD = 7, /* sent to BUSY, */
    OTHER = 8, /* and to FREE */
    BUSY = 2,  /* receives another one until `free_ns` */
    FREE = 3,  /* has come as far by itself */
};
#define MS UINT64_C(1000000)

typedef struct stage {
    lw_world *world;
    lw_env *env;
    lw_store *store;
    lw_snapshots *snapshots;
    void (*story)(struct stage *on);
    lw_status busy_outcome, free_outcome;
    uint64_t free_ns, busy_done_ns, free_done_ns;
    uint32_t offers, bundles; /* of SHARD */
    bool ended;
    const char *wrong;
} stage;

static void expect(stage *on, bool right, const char *what) {
    if (!right && on->wrong == NULL) {
        on->wrong = what;
    }
}

/* ---- what the node is connected to --------------------------------------------------------------
 */

static lw_status ask(void *argument, uint64_t node, const lw_request *request, uint64_t deadline_ns,
                     lw_buffer *reply) {
    stage *on = argument;
    (void)deadline_ns;
    (void)reply;
    expect(on, request->kind == LW_MESSAGE_SNAPSHOT_OFFER, "nobody wanted a piece");
    lw_env_sleep(on->env, MS);
    on->offers += node == BUSY;
    return node == BUSY && lw_env_now(on->env) < on->free_ns
               ? lw_fail(LW_BACKPRESSURE, "the node is receiving another")
               : lw_fail(LW_EXISTS, "it is here");
}

static lw_status describe(void *argument, uint64_t shard, uint64_t node, uint64_t index,
                          lw_snapshot *state, uint64_t *term, lw_buffer *head) {
    stage *on = argument;
    (void)index;
    (void)state;
    expect(on, node == (shard == SHARD ? BUSY : FREE), "a snapshot goes somewhere else");
    on->bundles += shard == SHARD;
    *term = 1;
    lw_buffer_print(head, "head");
    return LW_OK;
}

static lw_status wanted(void *argument, const lw_snapshot_arrival *offered) {
    (void)argument;
    (void)offered;
    return LW_OK;
}

static lw_status install(void *argument, const lw_snapshot_arrival *arrived) {
    (void)argument;
    (void)arrived;
    return LW_OK;
}

static bool prepare(stage *on) {
    lw_store_options options = {.directory = "data",
                                .memory_size = 4 << 20,
                                .memtables_max = 64 * 1024,
                                .reserve_size_max = 32 * 1024,
                                .table_size = 4096};
    lw_tree *tree = NULL;
    if (lw_store_open(on->env, &options, &on->store) != LW_OK ||
        lw_store_create_tree(on->store, SHARD, &tree) != LW_OK ||
        lw_store_create_tree(on->store, OTHER, &tree) != LW_OK) {
        return false;
    }
    lw_snapshots_options snapshots = {.env = on->env,
                                      .store = on->store,
                                      .directory = "data",
                                      .ask = ask,
                                      .describe_shard = describe,
                                      .wanted = wanted,
                                      .install = install,
                                      .argument = on};
    return lw_snapshots_open(&snapshots, &on->snapshots) == LW_OK;
}

static void main_of(void *argument) {
    stage *on = argument;
    if (prepare(on)) {
        on->story(on);
        lw_snapshots_close(on->snapshots);
        lw_store_close(on->store);
    } else {
        expect(on, false, "the node does not start");
    }
    on->ended = true;
}

/* What was not as it should be; NULL: nothing. */
static const char *tell(void (*story)(stage *on), const char *bug) {
    lw_faults faults = lw_faults_none();
    stage *on = calloc(1, sizeof(*on));
    assert_non_null(on);
    on->world = lw_world_open(1, &faults);
    if (bug != NULL) {
        lw_world_plant(on->world, bug);
    }
    on->story = story;
    on->env = lw_host_boot(lw_world_host(on->world, "node"));
    (void)lw_env_start(on->env, "machine", main_of, on);
    while (!on->ended) {
        assert_true(lw_world_step(on->world));
    }
    const char *wrong = on->wrong;
    if (wrong != NULL && bug == NULL) {
        lw_world_report(on->world, stderr);
    }
    lw_world_close(on->world);
    free(on);
    return wrong;
}

/* Passes as it is, and fails with the bug, if one is named. */
static void play(void (*story)(stage *on), const char *bug) {
    const char *wrong = tell(story, NULL);
    if (wrong != NULL) {
        fail_msg("%s", wrong);
    }
    if (bug != NULL) {
        assert_non_null(tell(story, bug));
    }
}

/* ---- those who offer one ------------------------------------------------------------------------
 */

static lw_status offer(stage *on, uint64_t from) {
    lw_buffer body = lw_buffer_in(on->env->memory), reply = lw_buffer_in(on->env->memory);
    lw_snapshot_file file = {.number = 0, .size = 100};
    lw_snapshot_offer offered = {.transfer = from, .index = 1, .term = 1, .file_count = 1};
    lw_snapshot_offer_encode(&offered, &file, &body);
    lw_request request = {
        .kind = LW_MESSAGE_SNAPSHOT_OFFER, .shard = from, .body = lw_buffer_view(&body)};
    lw_status status = lw_snapshots_handle(on->snapshots, from, &request, &reply);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    return status;
}

static void after(stage *on, uint64_t ms, uint64_t from, lw_status status, const char *what) {
    lw_env_sleep(on->env, ms * MS);
    expect(on, offer(on, from) == status, what);
}

static void one_falls_and_another_has_something(stage *on) {
    expect(on, offer(on, 4) == LW_OK, "the first one is not taken");
    lw_snapshots_link_lost(on->snapshots, 5);
    after(on, 3000, 5, LW_BACKPRESSURE, "who is silent, and linked, made way");
    lw_snapshots_link_lost(on->snapshots, 4);
    after(on, 1, 4, LW_OK, "who is linked again does not go on");
    after(on, 3000, 5, LW_BACKPRESSURE, "who was linked again made way");
    expect(on, offer(on, 4) == LW_OK, "it does not go on");
    lw_snapshots_link_lost(on->snapshots, 4);
    after(on, 1000, 5, LW_BACKPRESSURE, "who may be linked again soon made way");
    after(on, 1100, 5, LW_OK, "who is cut off keeps others waiting");
    after(on, 1, 4, LW_BACKPRESSURE, "who made way takes the place again");
}

static void who_is_cut_off_amid_a_snapshot_makes_way_soon(void **state) {
    (void)state;
    play(one_falls_and_another_has_something, "snapshot.awaits_the_lost");
}

/* Two who both lead, or did, would throw each other out for ever. */
static void each_would_take_the_place_of_the_other(stage *on) {
    lw_world_insist(on->world, "snapshot.makes_way");
    expect(on, offer(on, 4) == LW_OK, "the first one is not taken");
    after(on, 1, 5, LW_OK, "the rare path is not taken");
    after(on, 1, 4, LW_BACKPRESSURE, "who took a place is not let to its end");
    after(on, 9000, 5, LW_OK, "it does not go on");
    after(on, 9000, 4, LW_BACKPRESSURE, "who was heard again is thrown out");
    after(on, 2000, 4, LW_OK, "who is silent keeps its place");
    after(on, 1, 5, LW_OK, "who came into an empty place keeps it");
}

static void who_took_a_place_is_let_to_its_end(void **state) {
    (void)state;
    play(each_would_take_the_place_of_the_other, NULL);
}

/* ---- those that are to be sent ------------------------------------------------------------------
 */

static void send_to_busy(void *argument) {
    stage *on = argument;
    on->busy_outcome = lw_snapshots_send(on->snapshots, SHARD, BUSY, NULL);
    on->busy_done_ns = lw_env_now(on->env);
}

static void send_to_free(void *argument) {
    stage *on = argument;
    on->free_outcome = lw_snapshots_send(on->snapshots, OTHER, FREE, NULL);
    on->free_done_ns = lw_env_now(on->env);
}

/* One at first, the other a tenth of a second later; until both have ended. */
static void send_both(stage *on, uint64_t busy_ms) {
    uint64_t began_ns = lw_env_now(on->env);
    on->free_ns = began_ns + busy_ms * MS;
    (void)lw_env_start(on->env, "to who is busy", send_to_busy, on);
    lw_env_sleep(on->env, 100 * MS);
    (void)lw_env_start(on->env, "to who is free", send_to_free, on);
    while (on->busy_done_ns == 0 || on->free_done_ns == 0) {
        lw_env_sleep(on->env, 10 * MS);
    }
    on->busy_done_ns -= began_ns;
    on->free_done_ns -= began_ns;
    expect(on, on->free_outcome == LW_OK, "the other one was not sent");
}

static void a_node_is_busy_for_three_seconds(stage *on) {
    send_both(on, 3000);
    expect(on, on->busy_outcome == LW_OK, "who was busy does not have it");
    expect(on, on->free_done_ns < 1000 * MS, "who is free waits for who is busy");
    expect(on, on->busy_done_ns < 4500 * MS, "who was busy waits for long");
    expect(on, on->offers < 10 && on->bundles == 2, "it is made again and again");
}

static void who_is_busy_lets_another_node_have_its_turn(void **state) {
    (void)state;
    play(a_node_is_busy_for_three_seconds, "snapshot.holds_its_turn");
}

static void a_node_is_busy_for_ever(stage *on) {
    send_both(on, 1000 * 1000);
    expect(on, on->busy_outcome == LW_UNAVAILABLE, "it has no end");
    expect(on, on->busy_done_ns < 35000 * MS && on->busy_done_ns > 29000 * MS,
           "its patience is another one");
    expect(on, on->bundles == 2, "it is made again and again");
}

static void who_stays_busy_is_given_up(void **state) {
    (void)state;
    play(a_node_is_busy_for_ever, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_cut_off_amid_a_snapshot_makes_way_soon),
        cmocka_unit_test(who_took_a_place_is_let_to_its_end),
        cmocka_unit_test(who_is_busy_lets_another_node_have_its_turn),
        cmocka_unit_test(who_stays_busy_is_given_up),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
