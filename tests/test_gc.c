/* SPDX-License-Identifier: Apache-2.0 */
/* Garbage collection, told as stories of the shards of a node: who is refused from when on, what
 * holds the safepoint back, what is ended before anything is forgotten, and that space comes back
 * while an idle node does nothing. Each story must fail with the planted bug that is named with it
 * (hazards T2, T5, T11, T12, T17). */
#include "tests/shard_bench.h"

enum { RETENTION_MS = 1000, OWNER = 5 };

/* Begins anew, with a collector. */
static void collect_from_now_on(bench *on, uint64_t retention_ms) {
    bench_shut(on);
    on->retention_ms = retention_ms;
    bench_boot(on);
    bench_pass_ms(on, 4000); /* the grace for sessions of before */
}

/* Time goes on, and something is written now and then. */
static void live_on(bench *on, uint64_t duration_ms) {
    for (uint64_t passed = 0; passed < duration_ms; passed += 100) {
        (void)bench_write(on, "elsewhere", "x");
        bench_pass_ms(on, 100);
    }
}

static asked *get_for(bench *on, uint64_t session, uint64_t read_timestamp, const char *key,
                      uint32_t timeout_ms) {
    asked *it = bench_ask(on, LW_MESSAGE_GET, session);
    lw_bytes keys[] = {lw_text(key)};
    it->request.timeout_ms = timeout_ms;
    lw_get_request request = {.read_timestamp = read_timestamp, .keys = keys, .key_count = 1};
    lw_get_request_encode(&request, &it->body);
    return bench_await(bench_send(it));
}

static void expect_too_old(bench *on, const asked *it, const char *what) {
    bool said = it->status == LW_TOO_OLD && strstr(it->text, "safepoint") != NULL &&
                strstr(it->text, "retention") != NULL;
    expect(on, said, what);
}

/* ---- who is refused ------------------------------------------------------------------------- */

static void what_lies_below_the_safepoint_is_refused(bench *on) {
    collect_from_now_on(on, RETENTION_MS);
    uint64_t old = bench_write(on, "k", "old");
    uint64_t start = bench_timestamp(on);
    (void)bench_write(on, "k", "new");
    expect_text(on, bench_value(get_for(on, 3, old, "k", 100)), "old", "for now it can be read");
    live_on(on, 5000);
    expect_too_old(on, get_for(on, 3, old, "k", 100), "later it cannot");
    expect_text(on, bench_read(on, 0, "k"), "new", "what is there now can");
    lw_mutation mutation = bench_put("k", "late", LW_SEEN_ANYTHING);
    expect_too_old(on, bench_commit_now(on, start, &mutation, 1), "nor can who began then write");
    expect_too_old(on, bench_prewrite(on, 1, start, "k", 5000, &mutation, 1), "in no way");
    bench_crash(on);
    expect_too_old(on, get_for(on, 3, old, "k", 100), "and a restart changes nothing");
}

static void the_safepoint_never_goes_back(bench *on) {
    collect_from_now_on(on, RETENTION_MS);
    uint64_t old = bench_write(on, "k", "old");
    live_on(on, 5000);
    collect_from_now_on(on, 3600 * 1000);
    expect_too_old(on, get_for(on, 3, old, "k", 100), "with a longer retention");
    uint64_t recent = bench_write(on, "k", "recent");
    live_on(on, 5000);
    expect_text(on, bench_value(get_for(on, 3, recent, "k", 100)), "recent", "which holds");
}

/* T12. */
static asked *ask_outcome(bench *on, uint64_t start, const char *primary) {
    asked *it = bench_ask(on, LW_MESSAGE_CHECK, 2);
    lw_check_request request = {.start = start, .primary = lw_text(primary), .decide = true};
    lw_check_request_encode(&request, &it->body);
    return bench_await(bench_send(it));
}

static void an_outcome_is_unknown_when_it_may_be_forgotten(bench *on) {
    collect_from_now_on(on, RETENTION_MS);
    lw_mutation mutation = bench_put("k", "mine", LW_SEEN_ANYTHING);
    uint64_t start = bench_timestamp(on);
    uint64_t committed = bench_committed(bench_commit_now(on, start, &mutation, 1));
    expect(on, bench_check(on, start, "k", true).commit_timestamp == committed, "known at first");
    (void)bench_write(on, "k", "newer");
    live_on(on, 5000); /* its record goes, since the newer one hides it */
    asked *it = ask_outcome(on, start, "k");
    bool said = it->status == LW_TOO_OLD && strstr(it->text, "nobody knows") != NULL;
    expect(on, said, "then nobody knows");
    bench_crash(on);
    expect(on, ask_outcome(on, start, "k")->status == LW_TOO_OLD, "nor after a restart");
    it = bench_finish(on, start, 0, "k");
    expect(on, it->status == LW_TOO_OLD, "nor can it be rolled back");
}

/* ---- pins ----------------------------------------------------------------------------------- */

typedef struct pin_call {
    bench *on;
    lw_request request;
    uint64_t session;
    lw_buffer body;
    lw_status status;
    uint64_t timestamp;
    bool done;
} pin_call;

static void pin_main(void *argument) {
    pin_call *it = argument;
    lw_buffer reply = lw_buffer_in(it->on->env->memory);
    lw_pin_reply answer = {0};
    it->status = lw_gc_request(it->on->gc, &it->request, it->session, &reply);
    if (it->status == LW_OK && it->request.kind == LW_MESSAGE_PIN) {
        it->status = lw_pin_reply_decode(lw_buffer_view(&reply), &it->on->arena, &answer);
    }
    it->timestamp = answer.timestamp;
    lw_buffer_reset(&reply);
    it->done = true;
}

static lw_status pin(bench *on, lw_message_kind kind, uint64_t session, uint64_t *timestamp,
                     uint64_t lifetime_ms) {
    pin_call it = {.on = on, .session = session, .body = lw_buffer_in(on->memory)};
    lw_pin_request request = {.timestamp = *timestamp, .lifetime_ms = lifetime_ms, .asked = true};
    lw_pin_request_encode(&request, &it.body);
    it.request = (lw_request){.kind = kind, .timeout_ms = 2000, .body = lw_buffer_view(&it.body)};
    lw_env_start(on->env, "pin", pin_main, &it);
    while (!it.done && lw_world_step(on->world)) {
    }
    *timestamp = kind == LW_MESSAGE_PIN ? it.timestamp : *timestamp;
    return it.status;
}

static void a_reader_that_says_how_long_it_takes_keeps_its_snapshot(bench *on) {
    collect_from_now_on(on, RETENTION_MS);
    (void)bench_write(on, "k", "old");
    asked *it = get_for(on, OWNER, 0, "k", 30000);
    lw_get_reply reply = {0};
    lw_status status = lw_get_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply);
    expect(on, it->status == LW_OK && status == LW_OK, "it begins");
    (void)bench_write(on, "k", "new");
    live_on(on, 10000);
    it = get_for(on, OWNER, reply.read_timestamp, "k", 20000);
    expect_text(on, bench_value(it), "old", "and goes on long after");
    lw_gc_session_ended(on->gc, OWNER);
    live_on(on, 3000);
    expect_too_old(on, get_for(on, OWNER, reply.read_timestamp, "k", 20000),
                   "until its session ends");
}

static void a_reader_in_a_hurry_pins_nothing(bench *on) {
    collect_from_now_on(on, 5 * RETENTION_MS);
    (void)bench_write(on, "k", "v");
    (void)get_for(on, OWNER, 0, "k", 5000);
    lw_buffer text = lw_buffer_in(on->memory);
    lw_json json = lw_json_to(&text);
    lw_json_object_open(&json, NULL);
    lw_gc_status(on->gc, &json);
    lw_json_object_close(&json);
    lw_buffer_append_u8(&text, 0);
    expect(on,
           strstr((const char *)text.data, "\"pins\":0") != NULL ||
               strstr((const char *)text.data, "\"pins\": 0") != NULL,
           "nothing is pinned");
}

static void a_pin_is_durable_and_ends(bench *on) {
    collect_from_now_on(on, RETENTION_MS);
    (void)bench_write(on, "k", "old");
    uint64_t pinned = 0, brief = 0, other = 0;
    expect(on, pin(on, LW_MESSAGE_PIN, OWNER, &pinned, 600000) == LW_OK, "one for long");
    (void)bench_write(on, "k", "new");
    bench_crash(on);
    lw_gc_session_came(on->gc, OWNER); /* within its grace */
    live_on(on, 8000);
    expect_text(on, bench_value(get_for(on, 3, pinned, "k", 100)), "old", "it outlives a crash");
    expect(on, pin(on, LW_MESSAGE_UNPIN, OWNER, &pinned, 0) == LW_OK, "let go");
    live_on(on, 3000);
    expect_too_old(on, get_for(on, 3, pinned, "k", 100), "it is over");
    expect(on, pin(on, LW_MESSAGE_PIN, OWNER, &pinned, 1000) == LW_TOO_OLD, "for good");

    expect(on, pin(on, LW_MESSAGE_PIN, OWNER, &brief, 2000) == LW_OK, "one for a while");
    live_on(on, 1500);
    expect(on, get_for(on, 3, brief, "k", 100)->status == LW_OK, "holds so long");
    live_on(on, 3000);
    expect_too_old(on, get_for(on, 3, brief, "k", 100), "and no longer");

    expect(on, pin(on, LW_MESSAGE_PIN, OWNER, &other, 600000) == LW_OK, "one of a session");
    bench_crash(on);
    live_on(on, 8000);
    expect_too_old(on, get_for(on, 3, other, "k", 100), "that does not come back");
}

/* ---- locks ---------------------------------------------------------------------------------- */

static void split_at(bench *on, const char *key) {
    on->route = lw_text(key);
    asked *it = bench_ask(on, LW_MESSAGE_SPLIT, 7);
    lw_split_request_encode(&(lw_split_request){.key = lw_text(key)}, &it->body);
    bench_await(bench_send(it));
    expect(on, it->status == LW_OK, "it is split");
    on->route = lw_view(NULL, 0);
}

/* A transaction over two shards, of which only the primary was told that it is committed. Its
 * session lives on. */
static void locks_are_ended_before_anything_is_forgotten(bench *on) {
    collect_from_now_on(on, RETENTION_MS);
    split_at(on, "m");
    uint64_t start = bench_timestamp(on);
    lw_mutation primary = bench_put("a", "1", LW_SEEN_ANYTHING);
    lw_mutation secondary = bench_put("z", "2", LW_SEEN_ANYTHING);
    expect(on, bench_prewrite(on, 1, start, "a", 600000, &primary, 1)->status == LW_OK,
           "the first");
    on->route = lw_text("z");
    expect(on, bench_prewrite(on, 1, start, "a", 600000, &secondary, 1)->status == LW_OK,
           "the second");
    on->route = lw_view(NULL, 0);
    uint64_t commit = bench_timestamp(on);
    expect(on, bench_finish(on, start, commit, "a")->status == LW_OK, "committed");
    (void)bench_write(on, "a", "newer"); /* hides the primary's record */
    live_on(on, 5000);
    on->route = lw_text("z");
    expect_text(on, bench_read(on, 0, "z"), "2", "the second is there as well");
    on->route = lw_view(NULL, 0);

    start = bench_timestamp(on); /* and one that was never decided */
    expect(on,
           bench_prewrite(on, 1, start, "b", 600000,
                          &(lw_mutation){.kind = LW_MUTATION_PUT,
                                         .key = lw_text("b"),
                                         .value = lw_text("3"),
                                         .seen = LW_SEEN_ANYTHING},
                          1)
                   ->status == LW_OK,
           "locked");
    live_on(on, 5000);
    expect_text(on, bench_read(on, 0, "b"), "-", "is rolled back");
}

/* ---- space ---------------------------------------------------------------------------------- */

static lw_tree_figures figures_of(bench *on) {
    lw_tree_figures all = {0};
    for (uint32_t index = 0; index < lw_shards_count(on->shards); index++) {
        lw_shard_descriptor shard;
        lw_tree_figures one;
        lw_replica_descriptor(lw_shards_at(on->shards, index), &shard);
        lw_tree_figures_get(lw_store_tree(on->store, shard.id), &one);
        all.entry_count += one.entry_count;
        for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
            all.table_bytes[0] += one.table_bytes[level];
        }
    }
    return all;
}

static void fill(bench *on, lw_mutation_kind kind, uint64_t ttl_ms) {
    enum { BATCH = 50, KEYS = 400 };
    static char value[1000], names[BATCH][16];
    memset(value, 'v', sizeof(value));
    for (uint32_t first = 0; first < KEYS; first += BATCH) {
        lw_mutation mutations[BATCH];
        for (uint32_t index = 0; index < BATCH; index++) {
            (void)snprintf(names[index], sizeof(names[index]), "key/%05u", first + index);
            mutations[index] = (lw_mutation){.kind = kind,
                                             .key = lw_text(names[index]),
                                             .seen = LW_SEEN_ANYTHING,
                                             .ttl_ms = ttl_ms};
            if (kind == LW_MUTATION_PUT) {
                mutations[index].value = lw_view(value, sizeof(value));
            }
        }
        asked *it = bench_commit_now(on, bench_timestamp(on), mutations, BATCH);
        expect(on, it->status == LW_OK, "written");
    }
}

static void space_comes_back_with_nobody_asking(bench *on) {
    collect_from_now_on(on, RETENTION_MS);
    fill(on, LW_MUTATION_PUT, 0);
    bench_pass_ms(on, 5000);
    expect(on, figures_of(on).entry_count >= 400, "it is in tables");
    fill(on, LW_MUTATION_DELETE, 0);
    bench_pass_ms(on, 8000);
    lw_tree_figures left = figures_of(on);
    expect(on, left.entry_count < 20 && left.table_bytes[0] < 4096, "and gone from them");
}

static void what_expires_gives_its_space_back_too(bench *on) {
    collect_from_now_on(on, RETENTION_MS);
    fill(on, LW_MUTATION_PUT, 60000);
    bench_pass_ms(on, 10000);
    expect(on, figures_of(on).entry_count >= 400, "it is in tables");
    bench_pass_ms(on, 60000);
    lw_tree_figures left = figures_of(on);
    expect(on, left.entry_count < 20 && left.table_bytes[0] < 4096, "and gone from them");
}

static void every_shard_gives_space_back(bench *on) {
    collect_from_now_on(on, RETENTION_MS);
    fill(on, LW_MUTATION_PUT, 0);
    split_at(on, "key/00200");
    bench_pass_ms(on, 5000);
    for (uint32_t half = 0; half < 2; half++) {
        on->route = lw_text(half == 0 ? "" : "key/00300");
        lw_mutation mutations[100];
        static char names[100][16];
        for (uint32_t index = 0; index < 100; index++) {
            (void)snprintf(names[index], sizeof(names[index]), "key/%05u", half * 200 + index);
            mutations[index] = (lw_mutation){
                .kind = LW_MUTATION_DELETE, .key = lw_text(names[index]), .seen = LW_SEEN_ANYTHING};
        }
        asked *it = bench_commit_now(on, bench_timestamp(on), mutations, 100);
        expect(on, it->status == LW_OK, "deleted");
    }
    on->route = lw_view(NULL, 0);
    bench_pass_ms(on, 8000);
    expect(on, figures_of(on).entry_count < 230, "half of it is gone in both");
}

static void an_idle_node_writes_nothing(bench *on) {
    collect_from_now_on(on, RETENTION_MS);
    fill(on, LW_MUTATION_PUT, 0);
    fill(on, LW_MUTATION_PUT, 0);
    bench_pass_ms(on, 20000);
    lw_log_figures before, after;
    lw_log_figures_get(on->log, &before);
    uint64_t collected = lw_world_marked(on->world, "gc.collected");
    bench_pass_ms(on, 3600 * 1000);
    lw_log_figures_get(on->log, &after);
    expect(on, collected > 0, "it has collected");
    expect(on, after.records == before.records, "not a record in an hour");
    expect(on, lw_world_marked(on->world, "gc.collected") == collected, "nor anything else");
    bench_crash(on);
    bench_pass_ms(on, 20000);
    lw_log_figures_get(on->log, &before);
    bench_pass_ms(on, 3600 * 1000);
    lw_log_figures_get(on->log, &after);
    expect(on, after.records == before.records, "nor in the hour after a restart");
}

/* ---- power ---------------------------------------------------------------------------------- */

/* Whatever is cut short, what may be read reads the same, and the collector goes on. */
static void power_may_go_at_any_step_of_collecting(void **state) {
    (void)state;
    for (uint64_t step = 0; step < 120; step += 3) {
        static bench on;
        bench_begin(&on, step + 1, NULL);
        collect_from_now_on(&on, RETENTION_MS);
        uint64_t old = bench_write(&on, "k", "old");
        (void)bench_write(&on, "gone", "x");
        lw_mutation deletion = {
            .kind = LW_MUTATION_DELETE, .key = lw_text("gone"), .seen = LW_SEEN_ANYTHING};
        (void)bench_commit_now(&on, bench_timestamp(&on), &deletion, 1);
        uint64_t kept = bench_write(&on, "k", "kept");
        lw_host_crash_after(on.host, step, (lw_crash)(step % 3));
        bench_pass_ms(&on, 3000);
        if (lw_host_running(on.host)) {
            lw_host_crash(on.host);
        }
        bench_boot(&on);
        lw_host_crash_after(on.host, UINT32_MAX, LW_CRASH_AFTER);
        expect_text(&on, bench_read(&on, 0, "k"), "kept", "what is there");
        expect_text(&on, bench_read(&on, 0, "gone"), "-", "what is not");
        asked *it = get_for(&on, 3, old, "k", 100);
        expect(&on, it->status == LW_TOO_OLD || strcmp(bench_value(it), "old") == 0,
               "the past, or no answer");
        live_on(&on, 6000);
        expect_too_old(&on, get_for(&on, 3, kept - 1, "k", 100), "it goes on");
        expect_text(&on, bench_read(&on, 0, "k"), "kept", "and keeps what is there");
        if (on.failure[0] != 0) {
            fail_msg("power cut at step %u: %s", (unsigned)step, on.failure);
        }
        bench_end(&on);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(what_lies_below_the_safepoint_is_refused, "gc.read_below_the_safepoint"),
        BENCH_STORY(the_safepoint_never_goes_back, NULL),
        BENCH_STORY(an_outcome_is_unknown_when_it_may_be_forgotten, "txn.missing_is_rolled_back"),
        BENCH_STORY(a_reader_that_says_how_long_it_takes_keeps_its_snapshot, "gc.passes_pins"),
        BENCH_STORY(a_reader_in_a_hurry_pins_nothing, NULL),
        BENCH_STORY(a_pin_is_durable_and_ends, NULL),
        BENCH_STORY(locks_are_ended_before_anything_is_forgotten, "gc.locks_left"),
        BENCH_STORY(space_comes_back_with_nobody_asking, NULL),
        BENCH_STORY(what_expires_gives_its_space_back_too, NULL),
        BENCH_STORY(every_shard_gives_space_back, NULL),
        BENCH_STORY(an_idle_node_writes_nothing, NULL),
        cmocka_unit_test(power_may_go_at_any_step_of_collecting),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
