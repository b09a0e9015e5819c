/* SPDX-License-Identifier: Apache-2.0 */
/* The timestamps of several nodes: of one that leads the root shard and of those that ask it, while
 * the lead moves. Stories run in a fiber of a simulated host, and note what is not as they expect.
 */
#include "node/timestamps.h"

#include "sim/world.h"
#include "tests/unit.h"
#include "txn/oracle.h"
#include "txn/request.h"

#include <stdlib.h>

#define MS UINT64_C(1000000)

enum { NODE_COUNT = 3, TAKEN_COUNT_MAX = 4096, LEASE_MS = 9 };

/* What somebody took. */
typedef struct taken {
    uint64_t first, count;
} taken;

typedef struct lattice lattice;

typedef struct node {
    lattice *in;
    lw_timestamps *timestamps;
    uint64_t lease_end_ns;
    uint64_t first_ceiling;
    uint32_t leads; /* how often it came to lead */
} node;

/* The nodes, and the log of the root shard that they share. */
struct lattice {
    lw_world *world;
    lw_env *env;
    node nodes[NODE_COUNT];
    uint64_t ceiling; /* in the log */
    int leader;       /* whom the others would follow; -1: nobody */
    bool slow, cut;   /* fetches take 10 ms, fetches fail */
    bool stalls;      /* now and then a write takes seconds */
    bool stuck;       /* a write takes as long as this is so */
    bool asks_itself; /* a node that fetches asks itself: it came to lead since */
    bool handing;     /* the leadership is being handed over: the ceiling may fall */
    uint32_t fetched; /* requests so far */
    uint32_t confirmed;
    taken takes[TAKEN_COUNT_MAX];
    uint32_t take_count, taker_count;
    uint64_t latest; /* the highest timestamp that anybody has got */
    bool done;
    char failure[256];
};

static void expect(lattice *in, bool holds, const char *what) {
    if (!holds && in->failure[0] == 0) {
        (void)snprintf(in->failure, sizeof(in->failure), "%s", what);
    }
}

LW_YIELDS static void dawdle(lattice *in, uint64_t most_us) {
    lw_env_sleep(in->env, lw_env_random_below(in->env, most_us * 1000 + 1));
}

/* ---- the nodes ------------------------------------------------------------------------------ */

/* What was proposed in an earlier leadership is lost. */
LW_YIELDS static lw_status keep(void *argument, uint64_t ceiling) {
    node *at = argument;
    lattice *in = at->in;
    uint32_t leads = at->leads;
    dawdle(in, in->stalls && lw_env_random_below(in->env, 4) == 0 ? 3000000 : 2000);
    while (in->stuck) {
        lw_env_sleep(in->env, MS);
    }
    if (in->leader < 0 || &in->nodes[in->leader] != at || at->leads != leads) {
        return lw_fail(LW_UNAVAILABLE, "it does not lead");
    }
    expect(in, ceiling > in->ceiling || in->handing, "a ceiling rises");
    in->ceiling = ceiling;
    return LW_OK;
}

static bool may_give(void *argument) {
    const node *at = argument;
    return lw_env_now(at->in->env) < at->lease_end_ns;
}

LW_YIELDS static lw_status confirm(void *argument, uint64_t deadline_ns) {
    const node *at = argument;
    lattice *in = at->in;
    (void)deadline_ns;
    bool leads = in->leader >= 0 && &in->nodes[in->leader] == at;
    in->confirmed++;
    dawdle(in, 2000);
    return leads ? LW_OK : lw_fail(LW_UNAVAILABLE, "it does not lead");
}

/* Asks whoever leads; with a detour, an old leader. */
LW_YIELDS static lw_status fetch(void *argument, uint32_t count, uint64_t deadline_ns,
                                 uint64_t *first) {
    const node *at = argument;
    lattice *in = at->in;
    in->fetched++;
    dawdle(in, 1000);
    uint64_t target = lw_env_random_below(in->env, NODE_COUNT);
    if (in->leader >= 0 && (in->slow || target == 0)) {
        target = (uint64_t)in->leader;
    }
    lw_timestamps *asked = in->asks_itself ? at->timestamps : in->nodes[target].timestamps;
    if (in->cut || (asked == at->timestamps && !in->asks_itself) || !lw_timestamps_leads(asked)) {
        return lw_fail(LW_UNAVAILABLE, "it does not lead");
    }
    LW_TRY(lw_timestamps_give(asked, count, in->asks_itself ? 0 : deadline_ns, first));
    if (in->slow) {
        lw_env_sleep(in->env, 10 * MS);
    }
    dawdle(in, 3000);
    return LW_OK;
}

/* Makes the first ceiling durable, unless the lead is lost again meanwhile. */
static void found_main(void *argument) {
    node *at = argument;
    uint32_t leads = at->leads;
    uint64_t ceiling = at->first_ceiling;
    if (keep(at, ceiling) == LW_OK && at->leads == leads && lw_timestamps_leads(at->timestamps)) {
        lw_timestamps_raised(at->timestamps, ceiling);
    }
}

static void lead(lattice *in, int leader) {
    node *at = &in->nodes[leader];
    lw_timestamps_ground ground = {
        .keep = keep, .may_give = may_give, .confirm = confirm, .argument = at};
    in->leader = leader;
    at->lease_end_ns = lw_env_now(in->env) + LEASE_MS * MS;
    at->leads++;
    at->first_ceiling = lw_timestamps_lead(at->timestamps, in->ceiling, &ground);
    lw_env_start(in->env, "found", found_main, at);
}

static void open_nodes(lattice *in) {
    for (int index = 0; index < NODE_COUNT; index++) {
        node *at = &in->nodes[index];
        *at = (node){.in = in, .timestamps = lw_timestamps_open(in->env)};
        lw_timestamps_fetch_by(at->timestamps, fetch, at);
    }
}

LW_YIELDS static void close_nodes(lattice *in) {
    for (int index = 0; index < NODE_COUNT; index++) {
        lw_timestamps_close(in->nodes[index].timestamps);
    }
}

/* ---- running -------------------------------------------------------------------------------- */

typedef void story(lattice *in);

typedef struct telling {
    lattice *in;
    story *told;
} telling;

static void tell_main(void *argument) {
    telling *it = argument;
    open_nodes(it->in);
    it->told(it->in);
    close_nodes(it->in);
    it->in->done = true;
}

static void tell(story *told, uint64_t seed, const char *bug, char failure[256]) {
    static lattice in;
    lw_faults faults = lw_faults_none();
    lw_world *world = lw_world_open(seed, &faults);
    lw_host *host = lw_world_host(world, "host");
    if (bug != NULL) {
        lw_world_plant(world, bug);
    }
    in = (lattice){.world = world, .env = lw_host_boot(host), .leader = -1};
    telling it = {.in = &in, .told = told};
    lw_env_start(in.env, "story", tell_main, &it);
    while (!in.done && lw_world_step(world)) {
    }
    expect(&in, in.done, "it ends");
    memcpy(failure, in.failure, sizeof(in.failure));
    lw_world_close(world);
}

static void hold(story *told, uint64_t seed) {
    char failure[256];
    tell(told, seed, NULL, failure);
    if (failure[0] != 0) {
        fail_msg("with seed %llu not as expected: %s", (unsigned long long)seed, failure);
    }
}

/* ---- taking --------------------------------------------------------------------------------- */

/* Somebody who takes at one node. */
typedef struct taker {
    lattice *in;
    int at;
    uint32_t count, timeout_ms;
    lw_status status;
    uint64_t first;
    bool ended;
} taker;

/* Takes, and notes it: above everything that anybody had got before it asked. */
LW_YIELDS static lw_status take(lattice *in, int at, uint32_t count, uint64_t deadline_ns,
                                uint64_t *first) {
    uint64_t before = in->latest;
    LW_TRY(lw_timestamps_take(in->nodes[at].timestamps, count, deadline_ns, first));
    expect(in, *first > before, "a timestamp lies above those that were had before it");
    expect(in, *first + count <= in->ceiling, "it lies below the ceiling in the log");
    in->latest = *first + count - 1 > in->latest ? *first + count - 1 : in->latest;
    if (in->take_count < TAKEN_COUNT_MAX) {
        in->takes[in->take_count++] = (taken){*first, count};
    }
    return LW_OK;
}

static void taker_main(void *argument) {
    taker *one = argument;
    uint64_t deadline_ns =
        one->timeout_ms == 0 ? 0 : lw_env_now(one->in->env) + one->timeout_ms * MS;
    one->status = take(one->in, one->at, one->count, deadline_ns, &one->first);
    one->ended = true;
}

static void send_taker(taker *one) {
    lw_env_start(one->in->env, "taker", taker_main, one);
}

static int order_of_takes(const void *a, const void *b) {
    const taken *one = a, *other = b;
    return (one->first > other->first) - (one->first < other->first);
}

static void expect_each_once(lattice *in) {
    qsort(in->takes, in->take_count, sizeof(*in->takes), order_of_takes);
    for (uint32_t index = 1; index < in->take_count; index++) {
        const taken *before = &in->takes[index - 1];
        expect(in, before->first + before->count <= in->takes[index].first,
               "each timestamp is given once");
    }
}

/* ---- stories -------------------------------------------------------------------------------- */

static void sharing_story(lattice *in) {
    taker takers[6];
    lead(in, 0);
    in->slow = true;
    for (int index = 0; index < 6; index++) {
        takers[index] = (taker){.in = in, .at = 1, .count = 1 + (uint32_t)index};
        send_taker(&takers[index]);
    }
    lw_env_sleep(in->env, 5 * MS); /* the request has left, and is answered already */
    uint64_t before = 0;
    expect(in, take(in, 0, 1, 0, &before) == LW_OK, "the leader itself takes one");
    taker late = {.in = in, .at = 1, .count = 1};
    send_taker(&late);
    lw_env_sleep(in->env, 100 * MS);
    for (int index = 0; index < 6; index++) {
        expect(in, takers[index].ended && takers[index].first < before, "all six got theirs");
    }
    expect(in, late.ended && late.first > before, "who came later got one that was drawn later");
    expect(in, in->fetched == 2, "there was one request for six, and one for the one after them");
    expect_each_once(in);
}
static void those_who_wait_share_a_request(void **state) {
    (void)state;
    char failure[256];
    hold(sharing_story, 1);
    tell(sharing_story, 1, "timestamps.stale_cached_timestamp", failure);
    assert_true(failure[0] != 0);
}

static void failing_story(lattice *in) {
    uint64_t first = 0, deadline_ns = lw_env_now(in->env) + 20 * MS;
    in->cut = true;
    lead(in, 0);
    expect(in, take(in, 1, 1, deadline_ns, &first) == LW_UNAVAILABLE, "a failure is told at once");
    expect(in, strstr(lw_error_slot()->text, "it does not lead") != NULL, "with its reason");
    in->cut = false;
    in->slow = true;
    taker hasty = {.in = in, .at = 1, .count = 1, .timeout_ms = 6};
    taker patient = {.in = in, .at = 1, .count = 1, .timeout_ms = 100};
    send_taker(&hasty);
    send_taker(&patient);
    lw_env_sleep(in->env, 8 * MS);
    expect(in, hasty.ended && hasty.status == LW_TIMEOUT, "one has waited long enough");
    lw_env_sleep(in->env, 50 * MS);
    expect(in, patient.ended && patient.status == LW_OK, "the other gets its own");
    expect(in, lw_timestamps_spare(in->nodes[1].timestamps) == 0, "there is none to spare");
    in->nodes[0].lease_end_ns = lw_env_now(in->env) + MS;
    expect(in, lw_timestamps_spare(in->nodes[0].timestamps) != 0, "but where they come from");
}
static void a_fetch_that_fails_or_lasts_is_told(void **state) {
    (void)state;
    hold(failing_story, 2);
}

static void judging_story(lattice *in) {
    uint64_t given = 0, far;
    lead(in, 0);
    in->slow = true;
    expect(in, take(in, 0, 1, 0, &given) == LW_OK, "the leader gives one");
    lw_timestamps *leader = in->nodes[0].timestamps, *other = in->nodes[1].timestamps;
    far = given + lw_timestamp_of_ms(60000);
    expect(in, lw_timestamps_given(leader, given, 0) == LW_OK, "it knows that");
    expect(in, lw_timestamps_given(leader, far, 0) == LW_INVALID_ARGUMENT, "and what it has not");
    expect(in, lw_timestamps_last(other) == 0 && in->fetched == 0, "another has heard of none");
    expect(in, lw_timestamps_given(other, given, 0) == LW_OK, "it finds that out");
    expect(in, lw_timestamps_last(other) > given && in->fetched == 1, "once");
    expect(in, lw_timestamps_given(other, given, 0) == LW_OK && in->fetched == 1, "for all time");
    expect(in, lw_timestamps_given(other, far, 0) == LW_INVALID_ARGUMENT, "the future is none");
    uint64_t behind_ms =
        lw_timestamp_ms(lw_timestamps_now(leader)) - lw_timestamp_ms(lw_timestamps_now(other));
    expect(in, behind_ms < 50, "it knows about what time it is");
    lw_env_sleep(in->env, 5000 * MS);
    behind_ms =
        lw_timestamp_ms(lw_timestamps_now(leader)) - lw_timestamp_ms(lw_timestamps_now(other));
    expect(in, behind_ms < 50, "later too");
    in->leader = -1; /* somebody else may be giving timestamps by now */
    expect(in, lw_timestamps_given(leader, far, 0) == LW_UNAVAILABLE,
           "who may not lead any more does not judge");
}
static void what_was_given_is_found_out(void **state) {
    (void)state;
    hold(judging_story, 3);
}

static void lease_story(lattice *in) {
    uint64_t first = 0;
    lead(in, 0);
    expect(in, take(in, 0, 1, 0, &first) == LW_OK && in->confirmed == 0, "a lease is enough");
    lw_env_sleep(in->env, 2 * LEASE_MS * MS);
    expect(in, lw_timestamps_spare(in->nodes[0].timestamps) == 0, "without it none is spared");
    expect(in, take(in, 0, 1, 0, &first) == LW_OK && in->confirmed == 1, "it makes sure first");
    in->leader = -1;
    expect(in, take(in, 0, 1, 0, &first) == LW_UNAVAILABLE, "it gives none if it is not sure");
    taker waits = {.in = in, .at = 0, .count = 1};
    send_taker(&waits); /* it finds out too late that it does not lead any more */
    lw_env_sleep(in->env, 1);
    lead(in, 2);
    in->slow = true;
    lw_timestamps_unlead(in->nodes[0].timestamps);
    lw_env_sleep(in->env, 100 * MS);
    expect(in, waits.ended && waits.status == LW_OK && waits.first > first,
           "who waits gets one from the new leader");
    expect(in, !lw_timestamps_leads(in->nodes[0].timestamps), "it follows");
}
static void a_lease_or_a_confirmation_is_needed(void **state) {
    (void)state;
    hold(lease_story, 4);
}

static void waiting_for_the_ceiling_story(lattice *in) {
    uint64_t first = 0;
    in->slow = true;
    lead(in, 0);
    taker waits = {.in = in, .at = 0, .count = 1};
    send_taker(&waits); /* no ceiling is durable yet */
    lw_env_sleep(in->env, 1);
    in->leader = -1;
    lw_timestamps_unlead(in->nodes[0].timestamps);
    lead(in, 1);
    lw_env_sleep(in->env, 200 * MS);
    expect(in, waits.ended && waits.status == LW_OK, "it is served by the new leader");
    expect(in, take(in, 1, 1, 0, &first) == LW_OK && first > waits.first,
           "which goes on from there");
    lw_timestamps_unlead(in->nodes[1].timestamps);
    lead(in, 0);
    expect(in, take(in, 0, 1, 0, &first) == LW_OK, "the old one may lead again");
    expect_each_once(in);
}
static void a_lost_lead_sends_those_who_wait_elsewhere(void **state) {
    (void)state;
    hold(waiting_for_the_ceiling_story, 5);
}

/* A node comes to lead while it fetches, so its request comes to itself; then it leads no more. */
static void fetching_from_itself_story(lattice *in) {
    uint64_t first = 0;
    in->asks_itself = in->stuck = true;
    taker waits = {.in = in, .at = 0, .count = 1, .timeout_ms = 100};
    send_taker(&waits);
    lw_env_sleep(in->env, 1);
    lead(in, 0);
    lw_env_sleep(in->env, 5 * MS);
    expect(in, in->fetched == 1, "it fetched when it came to lead");
    in->leader = -1;
    lw_timestamps_unlead(in->nodes[0].timestamps);
    in->asks_itself = in->stuck = false;
    lead(in, 1);
    lw_env_sleep(in->env, 200 * MS);
    expect(in, take(in, 0, 1, lw_env_now(in->env) + 1000 * MS, &first) == LW_OK,
           "it fetches from who leads now");
}
static void who_leads_no_more_does_not_wait_for_itself(void **state) {
    (void)state;
    char failure[256];
    hold(fetching_from_itself_story, 8);
    tell(fetching_from_itself_story, 8, "timestamps.gives_what_it_fetches", failure);
    assert_string_not_equal(failure, "");
}

static void lone_story(lattice *in) {
    uint64_t first = 0;
    lw_timestamps *lone = lw_timestamps_open(in->env);
    expect(in, lw_timestamps_take(lone, 1, 0, &first) == LW_UNAVAILABLE, "it knows of no oracle");
    in->leader = 0;
    lw_timestamps_ground ground = {.keep = keep, .argument = &in->nodes[0]};
    uint64_t ceiling = lw_timestamps_lead(lone, 0, &ground);
    lw_timestamps_raised(lone, ceiling);
    expect(in, lw_timestamps_take(lone, 1, 0, &first) == LW_OK, "it leads without asking anybody");
    expect(in, lw_timestamps_last(lone) == first, "and nothing comes between");
    lw_timestamps_stop(lone);
    expect(in, lw_timestamps_take(lone, 1, 0, &first) == LW_UNAVAILABLE, "until it stops");
    lw_timestamps_close(lone);
}
static void a_lone_node_asks_nobody(void **state) {
    (void)state;
    hold(lone_story, 6);
}

/* Whoever takes more than the clocks allow waits for them (O3). */
static void hoarding_story(lattice *in) {
    lw_timestamps *lone = lw_timestamps_open(in->env);
    lw_timestamps_ground ground = {.keep = keep, .argument = &in->nodes[0]};
    uint64_t first = 0, ahead_ms = 0, most_ms = 0, begun_ns = lw_env_now(in->env);
    in->leader = 0;
    lw_timestamps_raised(lone, lw_timestamps_lead(lone, 0, &ground));
    while (lw_world_marked(in->world, "timestamps.oracle_leads") == 0 &&
           lw_env_now(in->env) < begun_ns + 60000 * MS && in->failure[0] == 0) {
        expect(in, lw_timestamps_take(lone, LW_TIMESTAMP_COUNT_MAX, 0, &first) == LW_OK, "a take");
        ahead_ms = lw_timestamp_ms(first) - lw_timestamp_ms(lw_timestamps_now(lone));
        most_ms = ahead_ms > most_ms ? ahead_ms : most_ms;
    }
    expect(in, lw_world_marked(in->world, "timestamps.oracle_leads") > 0, "they have to wait");
    expect(in, most_ms <= LW_ORACLE_LEAD_MAX_MS, "so far ahead, and no further");
    expect(in, most_ms > LW_ORACLE_LEAD_MAX_MS - LW_ORACLE_WINDOW_MS, "but about so far");
    lw_timestamps_close(lone);
}
static void whoever_takes_too_many_waits_for_the_clocks(void **state) {
    (void)state;
    hold(hoarding_story, 7);
}

/* The log is not written for long: what is given until then lies below the ceiling of before. */
static void slow_log_story(lattice *in) {
    uint64_t first = 0;
    lead(in, 0);
    expect(in, take(in, 0, 1, 0, &first) == LW_OK, "it leads");
    in->stuck = true;
    lw_status status = LW_OK;
    for (int round = 0; round < 100 && status == LW_OK; round++) {
        lw_env_sleep(in->env, 50 * MS);
        status = take(in, 0, 1, lw_env_now(in->env) + 20 * MS, &first);
    }
    expect(in, status == LW_TIMEOUT, "in the end there are none left");
    in->stuck = false;
    expect(in, take(in, 0, 1, 0, &first) == LW_OK, "once the log is written there are more");
}
static void none_is_given_above_a_durable_ceiling(void **state) {
    (void)state;
    char failure[256];
    hold(slow_log_story, 7);
    tell(slow_log_story, 7, "txn.ceiling_not_durable", failure);
    assert_true(failure[0] != 0);
}

/* ---- the lead moves ------------------------------------------------------------------------- */

LW_YIELDS static lw_status hand_over(lattice *in) {
    in->handing = true;
    lw_status status = lw_timestamps_hand_over(in->nodes[in->leader].timestamps);
    in->handing = false;
    return status;
}

/* Five times in a row, from one to the next. */
static void handing_over_story(lattice *in) {
    uint64_t first = 0, began_ns = lw_env_now(in->env);
    lead(in, 0);
    expect(in, take(in, 0, 1, 0, &first) == LW_OK, "the first one leads");
    uint64_t begin_ms = lw_timestamp_ms(first);
    for (int round = 1; round <= 5; round++) {
        expect(in, hand_over(in) == LW_OK, "it can be handed over");
        lw_timestamps_unlead(in->nodes[in->leader].timestamps);
        lead(in, round % NODE_COUNT);
        expect(in, take(in, in->leader, 1, 0, &first) == LW_OK, "the next one leads");
    }
    uint64_t passed_ms = (lw_env_now(in->env) - began_ns) / MS;
    expect(in, lw_timestamp_ms(first) <= begin_ms + passed_ms + 5, "no time was taken along");
}
static void who_hands_over_takes_no_time_along(void **state) {
    (void)state;
    char failure[256];
    hold(handing_over_story, 8);
    tell(handing_over_story, 8, "timestamps.ceiling_left_high", failure);
    assert_true(failure[0] != 0);
}

static void staying_story(lattice *in) {
    uint64_t before = 0;
    lead(in, 0);
    expect(in, take(in, 0, 1, 0, &before) == LW_OK, "it leads");
    expect(in, hand_over(in) == LW_OK, "it is about to be handed over");
    taker waits = {.in = in, .at = 0, .count = 1};
    send_taker(&waits);
    lw_env_sleep(in->env, 2000 * MS);
    expect(in, !waits.ended, "nothing is given any more");
    expect(in, in->ceiling == before + 1, "nor left for the next");
    lw_timestamps_go_on(in->nodes[0].timestamps);
    lw_env_sleep(in->env, 100 * MS);
    expect(in, waits.ended && waits.status == LW_OK, "until it is clear that it stays");
}
static void who_keeps_the_lead_goes_on_giving(void **state) {
    (void)state;
    hold(staying_story, 9);
}

static void random_taker_main(void *argument) {
    lattice *in = argument;
    for (int round = 0; round < 60; round++) {
        uint64_t first,
            deadline_ns = lw_env_now(in->env) + (1 + lw_env_random_below(in->env, 40)) * MS;
        int at = (int)lw_env_random_below(in->env, NODE_COUNT);
        (void)!take(in, at, 1 + (uint32_t)lw_env_random_below(in->env, 5), deadline_ns, &first);
        dawdle(in, lw_env_random_below(in->env, 20) == 0 ? 600000 : 3000);
    }
    in->taker_count--;
}

static void renew_main(void *argument) {
    node *at = argument;
    lattice *in = at->in;
    while (in->leader >= 0 && &in->nodes[in->leader] == at) {
        at->lease_end_ns = lw_env_now(in->env) + LEASE_MS * MS;
        lw_env_sleep(in->env, LEASE_MS * MS / 3);
        dawdle(in, 8000); /* now and then it is late */
    }
}

static uint64_t taken_in_all;

/* A leader loses its followers, which wait for its lease to end, and hears of it later. */
static void moving_story(lattice *in) {
    in->taker_count = 6;
    in->stalls = true;
    for (int index = 0; index < 6; index++) {
        lw_env_start(in->env, "taker", random_taker_main, in);
    }
    while (in->taker_count > 0) {
        int next = (int)lw_env_random_below(in->env, NODE_COUNT);
        lw_timestamps_unlead(in->nodes[next].timestamps);
        lead(in, next);
        lw_env_start(in->env, "lease", renew_main, &in->nodes[next]);
        dawdle(in, 5000);
        for (int index = 0; index < NODE_COUNT; index++) {
            if (index != next && lw_env_random_below(in->env, 2) == 0) {
                lw_timestamps_unlead(in->nodes[index].timestamps);
            }
        }
        bool long_lead = lw_env_random_below(in->env, 8) == 0; /* over more than one ceiling */
        dawdle(in, long_lead ? 4000000 : 30000);
        if (lw_env_random_below(in->env, 3) == 0) {
            (void)!hand_over(in);
        }
        if (lw_env_random_below(in->env, 3) == 0) {
            lw_timestamps_go_on(in->nodes[next].timestamps);
            dawdle(in, 30000);
        }
        in->leader = -1;
        lw_env_sleep(in->env, LEASE_MS * MS + 1);
    }
    lw_env_sleep(in->env, 100 * MS);
    expect_each_once(in);
    taken_in_all += in->take_count;
}

static void they_rise_wherever_they_come_from(void **state) {
    (void)state;
    static const char *const bugs[] = {"timestamps.oracle_serves_without_lease",
                                       "timestamps.stale_cached_timestamp"};
    for (uint64_t seed = 0; seed < 100; seed++) {
        hold(moving_story, seed);
    }
    assert_true(taken_in_all > 10000);
    for (size_t bug = 0; bug < sizeof(bugs) / sizeof(*bugs); bug++) {
        char failure[256] = "";
        for (uint64_t seed = 0; seed < 100 && failure[0] == 0; seed++) {
            tell(moving_story, seed, bugs[bug], failure);
        }
        if (failure[0] == 0) {
            fail_msg("the planted bug %s was not noticed", bugs[bug]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_who_wait_share_a_request),
        cmocka_unit_test(a_fetch_that_fails_or_lasts_is_told),
        cmocka_unit_test(what_was_given_is_found_out),
        cmocka_unit_test(a_lease_or_a_confirmation_is_needed),
        cmocka_unit_test(a_lost_lead_sends_those_who_wait_elsewhere),
        cmocka_unit_test(who_leads_no_more_does_not_wait_for_itself),
        cmocka_unit_test(a_lone_node_asks_nobody),
        cmocka_unit_test(whoever_takes_too_many_waits_for_the_clocks),
        cmocka_unit_test(none_is_given_above_a_durable_ceiling),
        cmocka_unit_test(who_hands_over_takes_no_time_along),
        cmocka_unit_test(who_keeps_the_lead_goes_on_giving),
        cmocka_unit_test(they_rise_wherever_they_come_from),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
