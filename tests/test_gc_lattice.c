/* SPDX-License-Identifier: Apache-2.0 */
/* Garbage collection among several nodes: the node that leads the root shard decides, all shards
 * settle, then all forget. Who is refused, by which node, and since when; what holds the safepoint
 * back; and that the round goes on whoever dies in it. Each story must fail with the planted bug
 * that is named with it (hazards T5, T11, T12). */
#include "tests/shard_story.h"

enum { RETENTION_MS = 1000 };

/* The root shard on three nodes, another one on three, a third on one alone. */
static const lattice_shard shards[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "h", .nodes = {1, 2, 3}},
    {.id = 12, .start = "h", .end = "p", .nodes = {2, 3, 4}},
    {.id = 13, .start = "p", .end = "", .nodes = {4}},
};
enum { SHARD_COUNT = 3 };

static void begin(lattice *in) {
    in->retention_ms = RETENTION_MS;
    lattice_make(in, shards, SHARD_COUNT);
    lattice_pass_ms(in, 5000); /* the grace for readers of before */
}

/* Time goes on, and something is written now and then. */
static void live_on(lattice *in, uint64_t duration_ms) {
    uint64_t until_ns = lw_world_now(in->world) + duration_ms * LATTICE_MS;
    while (lw_world_now(in->world) < until_ns) {
        lattice_write(in, "elsewhere", "x");
        lattice_pass_ms(in, 100);
    }
}

static void transfer(lattice *in, const char *key, uint64_t to) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_transfer_request_encode(&(lw_transfer_request){.node = to}, &body);
    uint64_t until_ns = lw_world_now(in->world) + 20000 * LATTICE_MS;
    while (lattice_leader(in, lw_text(key)) != to && lw_world_now(in->world) < until_ns) {
        (void)lattice_call(in, LW_MESSAGE_TRANSFER, key, &body);
        lattice_pass_ms(in, 20);
    }
    expect(in, lattice_leader(in, lw_text(key)) == to, "another node leads");
}

static void change(lattice *in, const lw_change_replicas_request *request) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_change_replicas_request_encode(request, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_CHANGE_REPLICAS, "a", &body);
    expect(in, ask->done && ask->status == LW_OK, "the members change");
}

static lw_status read_at(lattice *in, const char *key, uint64_t timestamp, const char **value) {
    lw_buffer body = lw_buffer_in(in->memory);
    lattice_get_body(key, timestamp, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_GET, key, &body);
    *value = lattice_value(ask, NULL);
    return ask->done ? ask->status : LW_TIMEOUT;
}

static bool too_old(lattice *in, const char *key, uint64_t timestamp) {
    const char *value;
    return read_at(in, key, timestamp, &value) == LW_TOO_OLD;
}

/* ---- who is refused ------------------------------------------------------------------------- */

static void what_lies_below_the_safepoint_is_refused_everywhere(lattice *in) {
    static const char *const keys[] = {"a", "k", "z"};
    const char *value;
    begin(in);
    for (uint32_t index = 0; index < 3; index++) {
        lattice_write(in, keys[index], "old");
    }
    uint64_t old = lattice_timestamp(in);
    for (uint32_t index = 0; index < 3; index++) {
        lattice_write(in, keys[index], "new");
        expect(in, read_at(in, keys[index], old, &value) == LW_OK, "for now it can be read");
    }
    live_on(in, 5000);
    for (uint32_t index = 0; index < 3; index++) {
        expect(in, too_old(in, keys[index], old), "later it cannot");
        expect_text(in, lattice_read(in, keys[index]), "new", "what is there now can");
    }
    for (uint64_t node = 2; node <= 4; node++) {
        transfer(in, "k", node);
        expect(in, too_old(in, "k", old), "whoever leads");
    }
    lattice_crash(in, 4);
    lattice_boot(in, 4);
    expect(in, too_old(in, "z", old), "nor after a crash");
}

/* ---- readers -------------------------------------------------------------------------------- */

static lw_status read_for(lattice *in, const char *key, uint64_t timestamp, uint32_t timeout_ms,
                          const char **value) {
    lw_buffer body = lw_buffer_in(in->memory);
    lattice_get_body(key, timestamp, &body);
    lattice_ask *ask = NULL;
    for (uint32_t attempt = 0; attempt < 20 && (ask == NULL || ask->status == LW_UNAVAILABLE);
         attempt++) {
        uint64_t leader = lattice_leader(in, lw_text(key));
        ask = lattice_send_to(in, leader, LW_MESSAGE_GET, lw_text(key), &body);
        ask->request.timeout_ms = timeout_ms;
        (void)lattice_await(ask, 2500);
    }
    *value = lattice_value(ask, NULL);
    return ask->status;
}

static void a_long_reader_is_not_robbed(lattice *in) {
    const char *value;
    begin(in);
    lattice_write(in, "a", "old");
    lattice_write(in, "z", "old");
    uint64_t start = lattice_timestamp(in);
    expect(in, read_for(in, "z", start, 30000, &value) == LW_OK, "it begins, on one node");
    lattice_write(in, "a", "new");
    lattice_write(in, "z", "new");
    live_on(in, 8000);
    expect(in, read_for(in, "a", start, 20000, &value) == LW_OK, "and goes on");
    expect_text(in, value, "old", "on another, long after");
    expect(in, read_for(in, "z", start, 20000, &value) == LW_OK, "and where it began");
    expect_text(in, value, "old", "with what was there");
    live_on(in, 30000);
    expect(in, too_old(in, "a", start) && too_old(in, "z", start), "but not for ever");
}

/* The node that knows of the reader dies, and the reader does not come back for a while. */
static void a_reader_outlives_its_node(lattice *in) {
    const char *value;
    begin(in);
    lattice_write(in, "k", "old");
    uint64_t start = lattice_timestamp(in);
    expect(in, read_for(in, "k", start, 120000, &value) == LW_OK, "it begins");
    lattice_write(in, "k", "new");
    live_on(in, 3000);
    lattice_crash(in, lattice_leader(in, lw_text("k")));
    live_on(in, 12000);
    expect(in, read_for(in, "k", start, 120000, &value) == LW_OK, "it goes on elsewhere");
    expect_text(in, value, "old", "with what was there");
    lattice_crash(in, lattice_leader(in, lw_text("z")));
    lattice_boot(in, 4);
    live_on(in, 5000);
    expect(in, read_for(in, "k", start, 120000, &value) == LW_OK, "and on");
}

/* The node knows of an older reader, too, who needs less time. */
static void a_reader_outlives_an_older_one(lattice *in) {
    const char *value;
    begin(in);
    lattice_write(in, "k", "old");
    uint64_t older = lattice_timestamp(in);
    expect(in, read_for(in, "k", older, 10000, &value) == LW_OK, "one begins");
    in->session++;
    uint64_t start = lattice_timestamp(in);
    expect(in, read_for(in, "k", start, 120000, &value) == LW_OK, "another one, too");
    lattice_write(in, "k", "new");
    live_on(in, 3000);
    lattice_crash(in, lattice_leader(in, lw_text("k")));
    live_on(in, 15000);
    expect(in, read_for(in, "k", start, 120000, &value) == LW_OK, "it goes on elsewhere");
    expect_text(in, value, "old", "with what was there");
}

/* Who led the right one knows of the reader; who leads it for the merge does not. */
static void a_merge_robs_no_reader(lattice *in) {
    static const lattice_shard neighbours[] = {
        {.id = LW_ROOT_SHARD, .start = "", .end = "h", .nodes = {1, 2, 3}},
        {.id = 12, .start = "h", .end = "", .nodes = {1, 2, 3}}};
    const char *value;
    in->retention_ms = RETENTION_MS;
    lattice_make(in, neighbours, 2);
    lattice_write(in, "k", "old");
    transfer(in, "k", lattice_leader(in, lw_text("a")) % 3 + 1);
    live_on(in, 5000); /* the grace for readers of before */
    uint64_t old = lattice_timestamp(in);
    expect(in, read_for(in, "k", old, 2900, &value) == LW_OK, "it is read");
    lattice_write(in, "k", "new");
    live_on(in, 800);
    lw_buffer body = lw_buffer_in(in->memory);
    lw_merge_request_encode(&(lw_merge_request){.right = 12}, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_MERGE, "a", &body);
    expect(in, ask->done && ask->status == LW_OK, "they are merged");
    live_on(in, 900);
    expect(in, read_for(in, "k", old, 900, &value) == LW_OK, "it can be read for as long");
    expect_text(in, value, "old", "as of then");
}

/* A node is alone when a reader comes, and dies when it is so no more. Nothing was written before,
 * so that it has no other reason to write its record. */
static void a_reader_of_a_lone_node_outlives_it(lattice *in) {
    const char *value;
    in->retention_ms = RETENTION_MS;
    lattice_bootstrap(in);
    uint64_t start = lattice_timestamp(in);
    expect(in, read_for(in, "a", start, 60000, &value) == LW_OK, "it begins");
    lattice_write(in, "a", "new");
    live_on(in, 1000);
    for (uint64_t id = 2; id <= 3; id++) {
        change(in, &(lw_change_replicas_request){.learner = id});
        change(in, &(lw_change_replicas_request){.voter = id});
    }
    live_on(in, 2500);
    lattice_crash(in, 1);
    live_on(in, 10000);
    expect(in, read_for(in, "a", start, 10000, &value) == LW_OK, "it goes on elsewhere");
    expect_text(in, value, "-", "with what was there");
}

/* The node that decides has noted another reader shortly before, and has no other reason to write
 * its record, as one shard cannot be asked. */
static void each_reader_is_noted_story(lattice *in) {
    const char *value;
    begin(in);
    lattice_write(in, "a", "old");
    lattice_crash(in, 4);
    uint64_t leader = lattice_leader(in, lw_text("a")), first = lattice_timestamp(in);
    expect(in, read_for(in, "a", first, 5000, &value) == LW_OK, "one begins");
    live_on(in, 1500);
    lw_gc_session_ended(in->nodes[leader].gc, in->session++);
    uint64_t start = lattice_timestamp(in);
    expect(in, read_for(in, "a", start, 30000, &value) == LW_OK, "another one begins");
    lattice_write(in, "a", "new");
    live_on(in, 3000);
    lattice_crash(in, leader);
    lattice_boot(in, leader);
    lattice_boot(in, 4);
    live_on(in, 10000);
    expect(in, read_for(in, "a", start, 10000, &value) == LW_OK, "it goes on elsewhere");
    expect_text(in, value, "old", "with what was there");
}
static void each_reader_is_noted(void **state) {
    (void)state;
    lattice_hold(each_reader_is_noted_story, "gc.one_note_for_all_readers");
    lattice_hold(each_reader_is_noted_story, "gc.pins_await_the_walk");
}

/* One that never comes back holds nothing for long. */
static void a_reader_that_died_with_its_node_holds_nothing(lattice *in) {
    const char *value;
    begin(in);
    lattice_write(in, "k", "old");
    uint64_t start = lattice_timestamp(in);
    expect(in, read_for(in, "k", start, 3600000, &value) == LW_OK, "it begins");
    lattice_write(in, "k", "new");
    live_on(in, 3000);
    lattice_crash(in, lattice_leader(in, lw_text("k")));
    live_on(in, 45000);
    expect(in, too_old(in, "k", start), "the lease is over");
}

/* ---- what holds it back --------------------------------------------------------------------- */

static void a_shard_that_cannot_be_asked_holds_it_back(lattice *in) {
    const char *value;
    begin(in);
    lattice_write(in, "a", "old");
    lattice_isolate(in, 4, true);
    uint64_t old = lattice_timestamp(in);
    lattice_write(in, "a", "new");
    live_on(in, 25000);
    expect(in, read_at(in, "a", old, &value) == LW_OK, "nothing is refused");
    expect_text(in, value, "old", "nor forgotten");
    lattice_isolate(in, 4, false);
    live_on(in, 15000);
    expect(in, too_old(in, "a", old), "until all can be asked");
}

/* ---- between settling and forgetting -------------------------------------------------------- */

static void prewrite(lattice *in, uint64_t start, const char *primary, const char *key) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_mutation mutation = lattice_put(key, "2", LW_SEEN_ANYTHING);
    lw_prewrite_request request = {.start = start,
                                   .primary = lw_text(primary),
                                   .lifetime_ms = 600000,
                                   .mutations = &mutation,
                                   .mutation_count = 1};
    lw_prewrite_request_encode(&request, &body);
    expect(in, lattice_call(in, LW_MESSAGE_PREWRITE, key, &body)->status == LW_OK, "prewritten");
}

static void commit_primary(lattice *in, uint64_t start, const char *key) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_bytes keys[] = {lw_text(key)};
    lw_finish_request request = {
        .start = start, .commit_timestamp = lattice_timestamp(in), .keys = keys, .key_count = 1};
    lw_finish_request_encode(&request, &body);
    expect(in, lattice_call(in, LW_MESSAGE_COMMIT, key, &body)->status == LW_OK, "committed");
}

static void cut(lattice *in, uint64_t one, uint64_t other, bool is_cut) {
    in->cut[one][other] = in->cut[other][one] = is_cut;
    lattice_links(in);
}

/* A transaction is committed at its primary, and the shard of its other key cannot learn that: the
 * nodes that may lead it do not reach the primary's. So that shard does not settle. */
static uint64_t half_a_transaction(lattice *in) {
    begin(in);
    transfer(in, "", 1);
    transfer(in, "k", 2);
    uint64_t start = lattice_timestamp(in);
    prewrite(in, start, "z", "z");
    prewrite(in, start, "z", "k");
    commit_primary(in, start, "z");
    lattice_write(in, "z", "newer"); /* hides the primary's record */
    cut(in, 2, 4, true);
    cut(in, 3, 4, true);
    return start;
}

static void all_settle_before_any_forgets(lattice *in) {
    (void)half_a_transaction(in);
    live_on(in, 10000);
    cut(in, 2, 4, false);
    cut(in, 3, 4, false);
    live_on(in, 8000);
    expect_text(in, lattice_read(in, "k"), "2", "the other key is committed, too");
    expect_text(in, lattice_read(in, "z"), "newer", "as the first one was");
}

/* One node holds all, and begins to serve only once it has asked the others what time it is. */
static const lattice_shard of_one[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "h", .nodes = {1}},
    {.id = 12, .start = "h", .end = "", .nodes = {1}},
};

static void compact_main(void *argument) {
    lattice_node *node = argument;
    lw_status status = lw_tree_compact(lw_store_tree(node->store, 12));
    expect(node->in, status == LW_OK, "it is compacted");
    node->done = true;
}

/* Power fails when a safepoint has just been decided, and a lock below it is still to be ended. */
static void what_does_not_serve_yet_has_not_settled(lattice *in) {
    in->retention_ms = RETENTION_MS;
    lattice_make(in, of_one, 2);
    lattice_pass_ms(in, 5000);
    const char *value; /* of a reader, whose pin lets the safepoint leap when it ends */
    lattice_write(in, "a", "1");
    expect(in, read_for(in, "a", lattice_timestamp(in), 4000, &value) == LW_OK, "it is read");
    uint64_t start = lattice_timestamp(in);
    prewrite(in, start, "z", "z");
    prewrite(in, start, "z", "a");
    commit_primary(in, start, "z");
    lattice_write(in, "z", "newer"); /* hides the primary's record */
    uint64_t doomed = lw_world_marked(in->world, "replica.doomed_by_the_safepoint");
    while (lw_world_marked(in->world, "replica.doomed_by_the_safepoint") == doomed &&
           lw_world_step(in->world)) {
    }
    lattice_crash(in, 1);
    lattice_isolate(in, 1, true);
    lattice_boot(in, 1);
    lattice_pass_ms(in, 1000);
    expect(in, lattice_leader(in, lw_text("z")) == 0, "it does not serve yet");
    lattice_run(&in->nodes[1], compact_main);
    lattice_isolate(in, 1, false);
    lattice_pass_ms(in, 5000);
    expect_text(in, lattice_read(in, "a"), "2", "the other key is committed, too");
}

static void a_new_leader_refuses_what_the_old_one_did_story(lattice *in) {
    uint64_t start = half_a_transaction(in);
    live_on(in, 5000);
    expect(in, too_old(in, "i", start), "decided, and not forgotten yet");
    transfer(in, "k", 3);
    expect(in, too_old(in, "i", start), "another one refuses it as well");
    expect(in, lw_world_marked(in->world, "gc.collected_among_others") > 0, "rounds have ended");
    cut(in, 2, 4, false);
    cut(in, 3, 4, false);
    live_on(in, 8000);
    expect_text(in, lattice_read(in, "k"), "2", "the other key is committed, too");
    expect(in, too_old(in, "i", start), "it stays so");
}
static void a_new_leader_refuses_what_the_old_one_did(void **state) {
    (void)state;
    lattice_hold(a_new_leader_refuses_what_the_old_one_did_story, "gc.new_leader_forgets_floor");
    lattice_hold(a_new_leader_refuses_what_the_old_one_did_story, "replica.forgets_what_it_forgot");
}

/* ---- space ---------------------------------------------------------------------------------- */

enum { KEYS = 200, BATCH = 50 };

static void fill(lattice *in, const char *prefix, lw_mutation_kind kind) {
    static char value[1000], names[BATCH][16];
    memset(value, 'v', sizeof(value));
    for (uint32_t first = 0; first < KEYS; first += BATCH) {
        lw_mutation mutations[BATCH];
        for (uint32_t index = 0; index < BATCH; index++) {
            (void)snprintf(names[index], sizeof(names[index]), "%s/%05u", prefix, first + index);
            mutations[index] = lattice_put(names[index], "", LW_SEEN_ANYTHING);
            mutations[index].kind = kind;
            if (kind == LW_MUTATION_PUT) {
                mutations[index].value = lw_view(value, sizeof(value));
            }
        }
        lw_status status = lattice_commit(in, lattice_timestamp(in), mutations, BATCH, NULL);
        expect(in, status == LW_OK, "written");
    }
}

/* Of all replicas together. */
static uint64_t entries(lattice *in) {
    uint64_t count = 0;
    for (uint64_t id = 1; id <= LATTICE_NODES; id++) {
        for (uint32_t index = 0; index < SHARD_COUNT; index++) {
            lw_tree *tree = lw_store_tree(in->nodes[id].store, shards[index].id);
            lw_tree_figures figures = {0};
            if (tree != NULL) {
                lw_tree_figures_get(tree, &figures);
            }
            count += figures.entry_count;
        }
    }
    return count;
}

static void space_comes_back_on_all_replicas(lattice *in) {
    begin(in);
    fill(in, "a", LW_MUTATION_PUT);
    fill(in, "k", LW_MUTATION_PUT);
    fill(in, "z", LW_MUTATION_PUT);
    lattice_pass_ms(in, 8000);
    expect(in, entries(in) >= 7 * KEYS, "all of it is in tables, everywhere");
    fill(in, "a", LW_MUTATION_DELETE);
    fill(in, "k", LW_MUTATION_DELETE);
    fill(in, "z", LW_MUTATION_DELETE);
    lattice_pass_ms(in, 15000);
    expect(in, entries(in) < 100, "and gone from them, with nobody asking");
    uint64_t rounds = lw_world_marked(in->world, "gc.decided_among_others");
    uint64_t told = lw_world_marked(in->world, "gc.wanted");
    lattice_pass_ms(in, 600 * 1000);
    expect(in, lw_world_marked(in->world, "gc.decided_among_others") == rounds, "then it is quiet");
    expect(in, lw_world_marked(in->world, "gc.wanted") == told, "on all nodes");
}

/* ---- who dies in a round -------------------------------------------------------------------- */

enum { ATTEMPTS = 30 };

static void a_round_goes_on_whoever_dies_in_it(lattice *in) {
    begin(in);
    lattice_write(in, "k", "old");
    uint64_t old = lattice_timestamp(in);
    lattice_write(in, "k", "new");
    static char names[ATTEMPTS][8];
    for (uint32_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        (void)snprintf(names[attempt], sizeof(names[attempt]), "k%u", (unsigned)attempt);
        lattice_stumble(in, lattice_leader(in, lw_text("")), 17 * attempt % 211, 700);
        uint64_t start = lattice_timestamp(in);
        prewrite(in, start, "z", "z");
        prewrite(in, start, "z", names[attempt]);
        commit_primary(in, start, "z");
        live_on(in, 1500);
        expect_text(in, lattice_read(in, "z"), "2", "nothing is lost");
    }
    live_on(in, 8000);
    for (uint32_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        expect_text(in, lattice_read(in, names[attempt]), "2", "nor where the shard had to ask");
    }
    expect(in, too_old(in, "a", old) && too_old(in, "k", old) && too_old(in, "z", old),
           "the past is over everywhere");
}

/* Each answer takes a second: one after the other the shards would need three of them, thrice. */
static void shards_are_asked_together(lattice *in) {
    begin(in);
    lattice_write(in, "a", "1");
    for (uint64_t from = 1; from <= LATTICE_NODES; from++) {
        for (uint64_t to = 1; to <= LATTICE_NODES; to++) {
            in->slow_ms[from][to] = 500;
        }
    }
    live_on(in, 8000);
    expect(in, lw_world_marked(in->world, "gc.several_asked_at_once") > 0, "several at once");
    expect(in, lw_world_marked(in->world, "gc.collected_among_others") > 0, "all of them");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LATTICE_STORY(what_lies_below_the_safepoint_is_refused_everywhere, NULL),
        LATTICE_STORY(a_reader_outlives_its_node, "gc.readers_have_no_lease"),
        LATTICE_STORY(a_reader_outlives_an_older_one, "gc.lease_ends_with_the_oldest"),
        LATTICE_STORY(a_merge_robs_no_reader, "merge.readers_not_awaited"),
        cmocka_unit_test(each_reader_is_noted),
        LATTICE_STORY(a_reader_of_a_lone_node_outlives_it, "gc.readers_noted_alone"),
        LATTICE_STORY(a_reader_that_died_with_its_node_holds_nothing, NULL),
        LATTICE_STORY(a_long_reader_is_not_robbed, "gc.passes_pins"),
        LATTICE_STORY(a_shard_that_cannot_be_asked_holds_it_back, "gc.unasked_shard_ignored"),
        LATTICE_STORY(all_settle_before_any_forgets, "gc.collects_before_all_settled"),
        LATTICE_STORY(what_does_not_serve_yet_has_not_settled, "gc.settled_before_it_serves"),
        cmocka_unit_test(a_new_leader_refuses_what_the_old_one_did),
        LATTICE_STORY(space_comes_back_on_all_replicas, NULL),
        LATTICE_STORY(a_round_goes_on_whoever_dies_in_it, NULL),
        LATTICE_STORY(shards_are_asked_together, NULL),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
