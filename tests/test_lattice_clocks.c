/* SPDX-License-Identifier: Apache-2.0 */
/* Wall clocks that are a year wrong, in whole nodes: whoever has one follows, leads, or comes to
 * lead, and timestamps rise, at about the speed of time, and the lattice goes on (hazard O3). */
#include "tests/lattice_world.h"

#include "lattice/gossip.h"

enum { SLACK_MS = 15 * 1000 }; /* what an oracle may lead by, and a change of leaders takes */
#define YEAR_MS (INT64_C(365) * 24 * 3600 * 1000)

typedef struct drawing {
    house *at;
    uint64_t timestamp;
    lw_status status;
    bool done;
} drawing;

LW_YIELDS static void drawing_main(void *argument) {
    drawing *job = argument;
    lw_env *env = job->at->env;
    job->status = lw_timestamps_take(lw_shards_timestamps(job->at->node->shards), 1,
                                     lw_env_now(env) + 20 * SECOND, &job->timestamp);
    job->done = true;
}

/* What timestamps have been until now. */
typedef struct record {
    uint64_t last, first_ms, began_ns;
} record;

/* Draws one, which has to be above all before, and neither far ahead of the time that has passed
 * nor far behind it. The oracle follows a wrong clock at twice or half the speed of time. */
static void draw(house *at, record *of) {
    drawing job = {.at = at};
    lw_env_start(at->env, "draw", drawing_main, &job);
    for (int step = 0; step < 4000 && !job.done; step++) {
        town_run(at->in, 10 * MS);
    }
    assert_true(job.done);
    assert_int_equal(job.status, LW_OK);
    assert_true(job.timestamp > of->last);
    uint64_t ms = job.timestamp >> 18, now_ns = lw_world_now(at->in->world);
    if (of->last == 0) {
        *of = (record){.first_ms = ms, .began_ns = now_ns};
    }
    of->last = job.timestamp;
    uint64_t passed_ms = (now_ns - of->began_ns) / MS;
    if (ms - of->first_ms > 2 * passed_ms + SLACK_MS ||
        ms - of->first_ms + SLACK_MS < passed_ms / 2) {
        fail_msg("in %llu ms timestamps went on by %lld ms", (unsigned long long)passed_ms,
                 (long long)(ms - of->first_ms));
    }
}

static void draw_everywhere(town *in, record *of, uint32_t seconds) {
    for (uint32_t second = 0; second < seconds; second++) {
        for (uint32_t number = 0; number < 3; number++) {
            if (in->houses[number].node != NULL) {
                draw(&in->houses[number], of);
            }
        }
        town_run(in, SECOND);
    }
}

static house *oracle_of(town *in) {
    for (uint32_t number = 0; number < 3; number++) {
        house *self = &in->houses[number];
        if (self->node != NULL && lw_timestamps_leads(lw_shards_timestamps(self->node->shards))) {
            return self;
        }
    }
    return NULL;
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
    return in;
}

/* All serve, nobody was thought dead, and a shard can be split. */
static void expect_sound(town *in, const char *key, uint32_t shard_count) {
    for (uint32_t number = 0; number < 3; number++) {
        assert_non_null(in->houses[number].node);
    }
    house_split(&in->houses[1], key);
    (void)town_settle(in, shard_count, 3, 60);
}

/* By how much a node takes the clock of another, or its own, to be ahead, in seconds; NODES says
 * so.
 */
static int64_t told_s(house *at, const house *of) {
    lw_buffer reply = lw_buffer_in(at->env->memory);
    lw_request request = {.kind = LW_MESSAGE_NODES};
    assert_int_equal(lw_lattice_request(at->node->lattice, 0, &request, &reply), LW_OK);
    lw_reader reader;
    uint32_t count;
    int64_t ahead_ms = INT64_MAX;
    assert_int_equal(lw_member_rows_open(lw_buffer_view(&reply), &reader, &count), LW_OK);
    for (uint32_t index = 0; index < count; index++) {
        lw_member_row row;
        assert_int_equal(lw_member_row_next(&reader, &row), LW_OK);
        ahead_ms = row.member.node == of->node->identity.node_id ? row.clock_ahead_ms : ahead_ms;
    }
    lw_buffer_reset(&reply);
    return ahead_ms / 1000;
}

/* All know whose clock is wrong, and of no other's. */
static void expect_told(town *in, const house *wrong, int64_t jump_ms) {
    for (uint32_t number = 0; number < 3; number++) {
        for (uint32_t other = 0; other < 3; other++) {
            const house *of = &in->houses[other];
            int64_t expected_s = of == wrong ? jump_ms / 1000 : 0;
            int64_t off_s = told_s(&in->houses[number], of) - expected_s;
            assert_true(off_s >= -2 && off_s <= 2);
        }
    }
}

static void run_with(int64_t jump_ms, bool leader) {
    town *in = open_three(21);
    record of = {0};
    draw_everywhere(in, &of, 2);
    house *wrong = oracle_of(in);
    wrong = leader ? wrong : &in->houses[(wrong - in->houses + 1) % 3];
    lw_host_jump_wall(wrong->host, jump_ms);
    draw_everywhere(in, &of, 60);
    expect_sound(in, "k", 2);
    expect_told(in, wrong, jump_ms);
    lw_host_jump_wall(wrong->host, -jump_ms);
    draw_everywhere(in, &of, 60);
    expect_told(in, wrong, 0);
    expect_sound(in, "r", 3);
    town_close(in);
}

static void a_follower_a_year_off_stops_nothing(void **state) {
    (void)state;
    run_with(YEAR_MS, false);
    run_with(-YEAR_MS, false);
}

static void a_leader_a_year_off_carries_nothing_away(void **state) {
    (void)state;
    run_with(YEAR_MS, true);
    run_with(-YEAR_MS, true);
}

/* The oracle dies, and whoever follows it has a wrong clock; then that one dies, too. */
static void succeed(uint64_t seed, int64_t jump_ms, bool draws_before) {
    town *in = open_three(seed);
    record of = {0};
    house *first = oracle_of(in);
    draw(first, &of);
    if (draws_before) {
        draw_everywhere(in, &of, 2);
    }
    for (uint32_t number = 0; number < 3; number++) {
        if (&in->houses[number] != first) {
            lw_host_jump_wall(in->houses[number].host, jump_ms);
        }
    }
    lw_host_crash(first->host);
    first->node = NULL;
    town_run(in, 5 * SECOND);
    draw_everywhere(in, &of, 30);
    house *second = oracle_of(in);
    assert_non_null(second);
    assert_ptr_not_equal(first, second);
    assert_non_null(house_boot(in, (uint32_t)(first - in->houses))->node);
    draw_everywhere(in, &of, 10);
    lw_host_crash(second->host);
    second->node = NULL;
    town_run(in, 5 * SECOND);
    draw_everywhere(in, &of, 10);
    assert_non_null(house_boot(in, (uint32_t)(second - in->houses))->node);
    draw_everywhere(in, &of, 10);
    expect_sound(in, "k", 2);
    assert_true(jump_ms == 0 ||
                lw_world_marked(in->world, "timestamps.wall_clock_not_believed") > 0);
    town_close(in);
}

static void a_new_leader_a_year_off_goes_on_where_the_old_one_was(void **state) {
    (void)state;
    for (uint64_t seed = 31; seed < 34; seed++) {
        succeed(seed, YEAR_MS, true);
        succeed(seed, -YEAR_MS, true);
    }
}

static void one_that_never_drew_goes_on_there_too(void **state) {
    (void)state;
    for (uint64_t seed = 41; seed < 44; seed++) {
        succeed(seed, YEAR_MS, false);
    }
}

/* ---- who starts, and has seen nothing ---------------------------------------------------------
 */

/* Its process ends. Who loses power comes back with a clock that is right. */
static void kill_node(house *self) {
    lw_host_kill(self->host);
    self->node = NULL;
}

static void kill_all_but(town *in, const house *spared) {
    for (uint32_t number = 0; number < 3; number++) {
        house *self = &in->houses[number];
        if (self != spared) {
            kill_node(self);
        }
    }
}

static void boot_all_of(town *in, uint32_t count) {
    for (uint32_t number = 0; number < count; number++) {
        if (in->houses[number].node == NULL) {
            assert_non_null(house_boot(in, number)->node);
        }
    }
}

static void boot_all(town *in) {
    boot_all_of(in, 3);
}

/* All start at once, and one of them has a wrong clock, whichever comes to lead. */
static void a_minority_of_wrong_clocks_moves_no_start(void **state) {
    (void)state;
    uint64_t wrong_ones = 0;
    for (uint64_t seed = 51; seed < 57; seed++) {
        town *in = open_three(seed);
        record of = {0};
        draw_everywhere(in, &of, 1);
        house *wrong = &in->houses[seed % 3];
        kill_all_but(in, NULL);
        lw_host_jump_wall(wrong->host, seed % 2 == 0 ? YEAR_MS : -YEAR_MS);
        boot_all(in);
        town_run(in, 3 * SECOND);
        wrong_ones += oracle_of(in) == wrong;
        draw_everywhere(in, &of, 10);
        assert_true(lw_world_marked(in->world, "shards.time_of_the_middle") > 0);
        town_close(in);
    }
    assert_true(wrong_ones > 0);
}

/* Two start, with wrong clocks both, and the third knows what time it is. */
static void who_has_seen_the_time_is_believed(void **state) {
    (void)state;
    uint64_t told = 0;
    for (uint64_t seed = 61; seed < 67; seed++) {
        town *in = open_three(seed);
        record of = {0};
        draw_everywhere(in, &of, 2);
        house *knows = &in->houses[seed % 3];
        kill_all_but(in, knows);
        for (uint32_t number = 0; number < 3; number++) {
            if (&in->houses[number] != knows) {
                lw_host_jump_wall(in->houses[number].host, seed % 2 == 0 ? YEAR_MS : -YEAR_MS);
            }
        }
        boot_all(in);
        town_run(in, 3 * SECOND);
        draw_everywhere(in, &of, 10);
        told += lw_world_marked(in->world, "shards.time_told");
        town_close(in);
    }
    assert_true(told > 0);
}

/* Of two nodes one alone has the root shard; it starts anew with a wrong clock. */
static void who_has_the_oracle_alone_asks_who_is_there(void **state) {
    (void)state;
    for (uint64_t seed = 71; seed < 75; seed++) {
        town *in = town_open(seed);
        record of = {0};
        if (planted != NULL) {
            lw_world_plant(in->world, planted);
        }
        assert_non_null(house_boot(in, 0)->node);
        assert_non_null(house_boot(in, 1)->node);
        town_run(in, 20 * SECOND);
        house *alone = oracle_of(in);
        assert_non_null(alone);
        draw(&in->houses[0], &of);
        draw(&in->houses[1], &of);
        kill_node(alone);
        lw_host_jump_wall(alone->host, seed % 2 == 0 ? YEAR_MS : -YEAR_MS);
        boot_all_of(in, 2);
        town_run(in, 3 * SECOND);
        assert_ptr_equal(oracle_of(in), alone);
        draw(&in->houses[0], &of);
        draw(&in->houses[1], &of);
        town_close(in);
    }
}

static void planted_bugs_show(void **state) {
    planted = "timestamps.begun_by_wall_clock";
    assert_true(unit_story_fails(a_new_leader_a_year_off_goes_on_where_the_old_one_was, state));
    assert_true(unit_story_fails(one_that_never_drew_goes_on_there_too, state));
    planted = "timestamps.time_not_asked";
    assert_true(unit_story_fails(a_minority_of_wrong_clocks_moves_no_start, state));
    assert_true(unit_story_fails(who_has_seen_the_time_is_believed, state));
    assert_true(unit_story_fails(who_has_the_oracle_alone_asks_who_is_there, state));
    planted = NULL;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_follower_a_year_off_stops_nothing),
        cmocka_unit_test(a_leader_a_year_off_carries_nothing_away),
        cmocka_unit_test(a_new_leader_a_year_off_goes_on_where_the_old_one_was),
        cmocka_unit_test(one_that_never_drew_goes_on_there_too),
        cmocka_unit_test(a_minority_of_wrong_clocks_moves_no_start),
        cmocka_unit_test(who_has_seen_the_time_is_believed),
        cmocka_unit_test(who_has_the_oracle_alone_asks_who_is_there),
        cmocka_unit_test(planted_bugs_show),
    };
    return cmocka_run_group_tests_name("lattice clocks", tests, unit_arm, NULL) == 0 ? 0 : 1;
}
