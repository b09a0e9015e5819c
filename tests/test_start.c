/* SPDX-License-Identifier: Apache-2.0 */
/* Shards of a node that starts: some have started, and split, while others are still to start. */
#include "tests/shard_operators.h"

enum { SHARDS = 6 };

static const char *const keys[SHARDS] = {"", "f", "g", "h", "i", "j"};

/* One of them learns: else the node would be alone, and have carried out all that is in its log
 * before anything starts. */
static void make_many(lattice *in) {
    lattice_bootstrap(in);
    lattice_write(in, "a", "1");
    lattice_write(in, "e", "2");
    expect(in, change(in, "a", &(lw_change_replicas_request){.learner = 2}) == LW_OK, "it learns");
    for (int index = 1; index < SHARDS; index++) {
        lattice_write(in, keys[index], "3");
        expect(in, split(in, keys[index])->status == LW_OK, "it is split");
    }
    lattice_pass_ms(in, 2000);
}

typedef struct falling {
    uint64_t step; /* of the split, at which power fails */
    const char *bug;
    bool amid; /* it was not done by then */
    char failure[256];
} falling;

static void split_and_fall(lattice *in, falling *fall) {
    lw_host *host = in->nodes[1].host;
    lw_buffer body = lw_buffer_in(in->memory);
    lw_split_request_encode(&(lw_split_request){.key = lw_text("d")}, &body);
    lw_host_crash_after(host, fall->step, LW_CRASH_AFTER);
    lattice_ask *ask = lattice_send_to(in, 1, LW_MESSAGE_SPLIT, lw_text("a"), &body);
    while (!ask->done && lw_host_running(host) && lw_world_step(in->world)) {
    }
    fall->amid = !lw_host_running(host);
    if (!fall->amid) {
        lattice_crash(in, 1);
    }
    in->nodes[1].open = false;
}

/* The first one is split as power fails. What its log has is carried out, slowly, while the others
 * start one by one. */
static void fall_and_start(void *argument) {
    falling *fall = argument;
    static lattice in;
    lattice_begin(&in, fall->step, fall->bug);
    make_many(&in);
    split_and_fall(&in, fall);
    lw_world_insist(in.world, "replica.slow_split");
    lw_world_insist(in.world, "shards.starts_slowly");
    lattice_boot(&in, 1);
    lattice_pass_ms(&in, 5000);
    expect_text(&in, lattice_read(&in, "a"), "1", "what was written");
    expect_text(&in, lattice_read(&in, "e"), "2", "on both sides");
    for (int index = 1; index < SHARDS; index++) {
        expect_text(&in, lattice_read(&in, keys[index]), "3", "and behind");
    }
    lattice_same_everywhere(&in);
    memcpy(fall->failure, in.failure, sizeof(in.failure));
    lattice_end(&in);
}

static bool caught(falling fall) {
    char text[512];
    fall.bug = "shards.started_twice";
    return unit_child(fall_and_start, &fall, text, sizeof(text)) != 0;
}

static void a_shard_may_split_while_others_are_to_start(void **state) {
    (void)state;
    uint32_t caught_count = 0;
    falling fall = {.amid = true};
    for (; fall.amid; fall.step++) {
        fall_and_start(&fall);
        if (fall.failure[0] != 0) {
            fail_msg("step %llu: %s", (unsigned long long)fall.step, fall.failure);
        }
        caught_count += caught(fall);
    }
    assert_true(fall.step > 10);
    assert_true(caught_count > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shard_may_split_while_others_are_to_start),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
