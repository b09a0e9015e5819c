/* SPDX-License-Identifier: Apache-2.0 */
/* The bus and the links fail by themselves: each may be up or down, for ten minutes or an hour
 * of virtual time, and neither is evidence for the other (hazards G7, G8 and G9). */
#include "node/lattice_state.h"
#include "tests/lattice_world.h"
#include "tests/planted_story.h"
#include "txn/request.h"

#include <stdlib.h>

/* Of virtual time in each story: ten minutes, or an hour where LATTICE_HOUR is set. */
static uint32_t span_s(void) {
    return getenv("LATTICE_HOUR") == NULL ? 600 : 3600;
}
enum { STEP_S = 20, SHARDS = 3 };

/* A value written at one node and read at another. */
typedef struct writing {
    house *at, *reader;
    const char *key;
    char value[24], seen[24];
    lw_status written, read;
    bool done;
} writing;

LW_YIELDS static lw_status write_value(writing *job) {
    lw_shards *shards = job->at->node->shards;
    lw_env *env = job->at->env;
    lw_buffer body = lw_buffer_in(env->memory), reply = body;
    lw_mutation mutation = {.kind = LW_MUTATION_PUT,
                            .key = lw_text(job->key),
                            .value = lw_text(job->value),
                            .seen = LW_SEEN_ANYTHING};
    lw_commit_now_request request = {.mutations = &mutation, .mutation_count = 1};
    LW_TRY(lw_timestamps_take(lw_shards_timestamps(shards), 1, lw_env_now(env) + 5 * SECOND,
                              &request.start));
    lw_commit_now_request_encode(&request, &body);
    lw_status status = lw_shards_ask(shards, LW_MESSAGE_COMMIT_NOW, lw_text(job->key),
                                     lw_buffer_view(&body), &reply);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    return status;
}

LW_YIELDS static lw_status read_value(writing *job) {
    lw_env *env = job->reader->env;
    lw_buffer body = lw_buffer_in(env->memory), reply = body;
    lw_arena arena = lw_arena_in(env->memory);
    lw_bytes key = lw_text(job->key);
    lw_get_reply got = {0};
    lw_get_request_encode(&(lw_get_request){.keys = &key, .key_count = 1}, &body);
    lw_status status = lw_shards_ask(job->reader->node->shards, LW_MESSAGE_GET, key,
                                     lw_buffer_view(&body), &reply);
    if (status == LW_OK) {
        status = lw_get_reply_decode(lw_buffer_view(&reply), &arena, &got);
    }
    if (status == LW_OK && got.values[0].found) {
        (void)snprintf(job->seen, sizeof(job->seen), "%.*s", (int)got.values[0].value.size,
                       (const char *)got.values[0].value.data);
    }
    lw_arena_reset(&arena);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    return status;
}

LW_YIELDS static void writing_main(void *argument) {
    writing *job = argument;
    job->written = write_value(job);
    job->done = true;
}

LW_YIELDS static void reading_main(void *argument) {
    writing *job = argument;
    job->read = read_value(job);
    job->done = true;
}

static void wait_for(writing *job) {
    for (int step = 0; step < 6000 && !job->done; step++) {
        town_run(job->at->in, 10 * MS);
    }
    assert_true(job->done);
    job->done = false;
}

/* One value through each shard, from node to node; both have to work, or neither may. */
static void write_and_read(town *in, uint32_t round, uint32_t first, uint32_t count, bool works) {
    static const char *const keys[SHARDS] = {"a", "h", "q"};
    writing job = {.at = &in->houses[first + round % count],
                   .reader = &in->houses[first + (round + 1) % count],
                   .key = keys[round % SHARDS]};
    (void)snprintf(job.value, sizeof(job.value), "value %u", round);
    lw_env_start(job.at->env, "write", writing_main, &job);
    wait_for(&job);
    if (!works) {
        assert_int_not_equal(job.written, LW_OK);
        return;
    }
    assert_int_equal(job.written, LW_OK);
    lw_env_start(job.reader->env, "read", reading_main, &job);
    wait_for(&job);
    assert_int_equal(job.read, LW_OK);
    assert_string_equal(job.seen, job.value);
}

static const char *planted; /* a bug; NULL: none */

static town *open_three(uint64_t seed) {
    town *in = town_open(seed);
    if (planted != NULL) {
        lw_world_plant(in->world, planted);
    }
    for (uint32_t number = 0; number < 3; number++) {
        assert_non_null(house_boot(in, number)->node);
    }
    (void)town_settle(in, 1, 3, 30);
    house_split(&in->houses[0], "g");
    (void)town_settle(in, 2, 3, 30);
    return in;
}

static void stop_bus(town *in, bool stopped) {
    for (uint32_t number = 0; number < 3; number++) {
        lw_sim_bus_stop(in->world, in->houses[number].host, stopped);
    }
}

static void cut_links(town *in, uint32_t of, bool cut) {
    for (uint32_t number = 0; number < 3; number++) {
        if (number != of) {
            lw_world_cut(in->world, in->houses[of].host, in->houses[number].host, cut);
        }
    }
}

static bool thinks_dead(const town *in, uint32_t number, uint32_t other) {
    lw_gossip_peer peer;
    const house *self = &in->houses[number];
    assert_true(
        lw_gossip_peer_of(self->node->lattice->gossip, house_id(&in->houses[other]), &peer));
    return peer.dead;
}

static void expect_nobody_dead(const town *in) {
    for (uint32_t number = 0; number < 3; number++) {
        for (uint32_t other = 0; other < 3; other++) {
            assert_false(number != other && thinks_dead(in, number, other));
        }
    }
}

/* An election in the middle of it. */
static void replace_a_leader(town *in) {
    uint32_t leader = 0;
    while (house_leads(&in->houses[leader]) == 0) {
        leader++;
    }
    lw_host_crash(in->houses[leader].host);
    in->houses[leader].node = NULL;
    town_run(in, 10 * SECOND);
    assert_non_null(house_boot(in, leader)->node);
    (void)town_settle(in, SHARDS, 3, 30);
}

/* Reads, writes, a split and an election, with links up and the bus as it may be. */
static void an_hour_with_links(bool bus) {
    town *in = open_three(bus ? 61 : 62);
    stop_bus(in, !bus);
    house_split(&in->houses[1], "p");
    for (uint32_t round = 0; round < span_s() / STEP_S; round++) {
        write_and_read(in, round, 0, 3, true);
        town_run(in, STEP_S * SECOND);
        assert_true(town_whole(in, SHARDS, 3));
        expect_nobody_dead(in);
        if (round == span_s() / STEP_S / 2) {
            replace_a_leader(in);
        }
    }
    for (uint32_t number = 0; number < 3; number++) {
        assert_int_equal(lw_gossip_connected(in->houses[number].node->lattice->gossip), bus);
    }
    stop_bus(in, false);
    town_run(in, 30 * SECOND);
    for (uint32_t number = 0; number < 3; number++) {
        const lw_gossip *gossip = in->houses[number].node->lattice->gossip;
        assert_true(lw_gossip_connected(gossip));
        assert_true(lw_directory_digest(lw_gossip_directory(gossip)) ==
                    lw_directory_digest(lw_gossip_directory(in->houses[0].node->lattice->gossip)));
    }
    town_close(in);
}

/* Who has no link is dead after the grace, however much it is heard; the others go on, and it
 * touches nothing. */
static void an_hour_without_links(bool bus) {
    enum { LOST = 0, GRACE_S = 20 };
    town *in = open_three(bus ? 63 : 64);
    house_split(&in->houses[1], "p");
    (void)town_settle(in, SHARDS, 3, 30);
    stop_bus(in, !bus);
    cut_links(in, LOST, true);
    town_run(in, (GRACE_S - 5) * SECOND);
    expect_nobody_dead(in);
    for (uint32_t round = 0; round < span_s() / STEP_S; round++) {
        town_run(in, STEP_S * SECOND);
        write_and_read(in, round, 1, 2, true);
        assert_true(thinks_dead(in, 1, LOST) && thinks_dead(in, 2, LOST));
        assert_false(thinks_dead(in, 1, 2) || thinks_dead(in, 2, 1));
        assert_int_equal(house_shards(&in->houses[LOST]), SHARDS); /* nothing to replace it with */
        assert_int_equal(lw_gossip_connected(in->houses[LOST].node->lattice->gossip), bus);
    }
    write_and_read(in, 0, LOST, 1, false);
    cut_links(in, LOST, false);
    stop_bus(in, false);
    (void)town_settle(in, SHARDS, 3, 60);
    town_run(in, 30 * SECOND);
    expect_nobody_dead(in);
    for (uint32_t round = 0; round < 6; round++) {
        write_and_read(in, round, 0, 3, true);
    }
    assert_true(lw_world_marked(in->world, "lattice.dead") > 0);
    town_close(in);
}

static void an_hour_with_all_in_order(void **state) {
    (void)state;
    an_hour_with_links(true);
}
static void an_hour_without_a_bus_changes_nothing(void **state) {
    (void)state;
    an_hour_with_links(false);
}
static void an_hour_without_a_link_is_death_though_the_bus_is_up(void **state) {
    (void)state;
    an_hour_without_links(true);
}
static void an_hour_with_neither_is_no_worse(void **state) {
    (void)state;
    an_hour_without_links(false);
}

/* A node whose bus reaches one other only, and one way, is no reason to do nothing. */
static void islands_on_the_bus_stop_nothing(void **state) {
    (void)state;
    town *in = open_three(65);
    lw_sim_bus_cut(in->world, in->houses[0].host, in->houses[1].host, true);
    lw_sim_bus_cut_one_way(in->world, in->houses[1].host, in->houses[2].host, true);
    house_split(&in->houses[1], "p");
    assert_non_null(house_boot(in, 3)->node);
    town_run(in, 30 * SECOND);
    lw_host_crash(in->houses[2].host); /* for good: what it held is made again on the fourth */
    in->houses[2].node = NULL;
    (void)town_settle(in, SHARDS, 3, 120);
    town_run(in, 30 * SECOND);
    uint32_t held =
        house_shards(&in->houses[0]) + house_shards(&in->houses[1]) + house_shards(&in->houses[3]);
    assert_int_equal(held, 3 * SHARDS);
    town_close(in);
}

static void planted_bugs_show(void **state) {
    static const planted_name bugs[] = {
        {"gossip.silence_is_death", an_hour_without_a_bus_changes_nothing},
        {"gossip.words_are_links", an_hour_without_a_link_is_death_though_the_bus_is_up},
        {"placement.all_must_be_seen", islands_on_the_bus_stop_nothing},
        {"peers.silence_believed", an_hour_with_neither_is_no_worse},
    };
    planted_names_show(bugs, sizeof(bugs) / sizeof(bugs[0]), &planted, state);
}

static int arm(void **state) {
    (void)state;
    alarm(240);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_hour_with_all_in_order),
        cmocka_unit_test(an_hour_without_a_bus_changes_nothing),
        cmocka_unit_test(an_hour_without_a_link_is_death_though_the_bus_is_up),
        cmocka_unit_test(an_hour_with_neither_is_no_worse),
        cmocka_unit_test(islands_on_the_bus_stop_nothing),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests_name("lattice planes", tests, arm, NULL) == 0 ? 0 : 1;
}
