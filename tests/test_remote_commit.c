/* SPDX-License-Identifier: Apache-2.0 */
/* Shards whose timestamps come from another node, at times: transactions of every kind on few keys,
 * while the timestamps are on their way, and while the oracle moves to this node and away. The
 * other node's is a number here; who draws from it waits, before and after. What was read at a
 * timestamp is held against everything that was committed: no commit below it is missed, none is
 * lost, and what was acknowledged lies below what begins later. */
#include "tests/shard_bench.h"
#include "txn/evaluate.h"

enum {
    KEY_COUNT = 4, /* the first half in one shard, the second in another */
    WORKER_COUNT = 6,
    ROUND_COUNT = 25,
    NOTE_COUNT_MAX = 4096,
};

static const char *const keys_of_all[KEY_COUNT] = {"a0", "a1", "z0", "z1"};

/* That `key` was `value` (the start of its writer, 0: none) just below or at a timestamp. */
typedef struct seen {
    uint32_t key;
    uint64_t timestamp, value;
    bool below; /* the version at the timestamp is the reader's own */
} seen;

typedef struct written {
    uint32_t key;
    uint64_t timestamp, value;
} written;

typedef struct run {
    bench *on;
    lw_env *env;
    uint64_t oracle;  /* the last one that the other node has given */
    bool leads;       /* the oracle is here */
    uint64_t ceiling; /* its, durable */
    bool held;        /* what was drawn at the other node stays on its way */
    uint64_t latest;  /* the highest commit timestamp that anybody was told of */
    seen reads[NOTE_COUNT_MAX];
    written writes[NOTE_COUNT_MAX];
    uint32_t read_count, write_count, working;
    uint32_t committed[4]; /* of each kind */
} run;

/* One of those who work. */
typedef struct worker {
    run *in;
    lw_buffer body, reply;
    lw_arena arena;
    lw_obstacle obstacle;
} worker;

/* ---- the oracle ----------------------------------------------------------------------------- */

LW_YIELDS static void dawdle(run *in, uint64_t most_us) {
    lw_env_sleep(in->env, lw_env_random_below(in->env, most_us * 1000 + 1));
}

/* From the other node, which gives none while it does not lead. */
LW_YIELDS static lw_status fetch(void *argument, uint32_t count, uint64_t deadline_ns,
                                 uint64_t *first) {
    run *in = argument;
    (void)deadline_ns;
    dawdle(in, 500);
    if (in->leads) {
        return lw_fail(LW_UNAVAILABLE, "the other node does not lead");
    }
    uint64_t drawn = in->oracle + 1;
    in->oracle += count;
    dawdle(in, 500);
    while (in->held) {
        lw_env_sleep(in->env, BENCH_MS);
    }
    *first = drawn;
    return LW_OK;
}

/* As a client does, wherever it comes from. */
LW_YIELDS static uint64_t draw(run *in) {
    uint64_t drawn = 0;
    lw_status status = LW_UNAVAILABLE;
    while (status == LW_UNAVAILABLE) {
        status = in->leads ? lw_timestamps_take(lw_shards_timestamps(in->on->shards), 1, 0, &drawn)
                           : fetch(in, 1, 0, &drawn);
    }
    dawdle(in, 500);
    return drawn;
}

LW_YIELDS static lw_status keep(void *argument, uint64_t ceiling) {
    run *in = argument;
    dawdle(in, 200);
    if (!in->leads) {
        return lw_fail(LW_UNAVAILABLE, "it does not lead");
    }
    in->ceiling = ceiling;
    return LW_OK;
}

/* The oracle comes to this node, or goes away. */
static void move_oracle(run *in, bool here) {
    lw_timestamps *timestamps = lw_shards_timestamps(in->on->shards);
    if (here) {
        lw_timestamps_ground ground = {.keep = keep, .argument = in};
        in->ceiling = in->oracle + 1;
        in->leads = true;
        in->ceiling = lw_timestamps_lead(timestamps, in->ceiling, &ground);
        lw_timestamps_raised(timestamps, in->ceiling);
    } else {
        in->leads = false;
        in->oracle = in->ceiling;
        lw_timestamps_unlead(timestamps);
    }
}

/* ---- asking --------------------------------------------------------------------------------- */

LW_YIELDS static lw_status ask_shards(void *argument, lw_message_kind kind, lw_bytes key,
                                      lw_bytes body, lw_buffer *reply) {
    return lw_shards_ask(argument, kind, key, body, reply);
}

static void fault(run *in, const char *what) {
    expect(in->on, false, what);
}

LW_YIELDS static lw_status send(worker *one, lw_message_kind kind, uint32_t key) {
    lw_status status = LW_UNAVAILABLE; /* as long as no timestamp can be had */
    while (status == LW_UNAVAILABLE) {
        lw_buffer_clear(&one->reply);
        status = lw_shards_ask(one->in->on->shards, kind, lw_text(keys_of_all[key]),
                               lw_buffer_view(&one->body), &one->reply);
        dawdle(one->in, 300);
    }
    if (status == LW_CONFLICT &&
        lw_obstacle_decode(lw_arena_copy(&one->arena, lw_buffer_view(&one->reply)), &one->arena,
                           &one->obstacle) != LW_OK) {
        fault(one->in, "an obstacle cannot be read");
    }
    return status;
}

LW_YIELDS static lw_status finish(worker *one, uint64_t start, uint64_t committed, uint32_t key) {
    lw_bytes keys[] = {lw_text(keys_of_all[key])};
    lw_buffer_clear(&one->body);
    lw_finish_request_encode(
        &(lw_finish_request){
            .start = start, .commit_timestamp = committed, .keys = keys, .key_count = 1},
        &one->body);
    return send(one, committed != 0 ? LW_MESSAGE_COMMIT : LW_MESSAGE_ROLLBACK, key);
}

static uint32_t number_of(lw_bytes key) {
    uint32_t number = 0;
    while (number + 1 < KEY_COUNT && !lw_equal(key, lw_text(keys_of_all[number]))) {
        number++;
    }
    return number;
}

/* Whether whoever met the lock may try again. */
LW_YIELDS static bool clear_obstacle(worker *one) {
    run *in = one->in;
    lw_obstacle lock = one->obstacle;
    lw_check_reply fate = {.fate = LW_FATE_ALIVE};
    if (lock.kind != LW_OBSTACLE_LOCK) {
        return false;
    }
    lw_status status = lw_resolve_by_asking(in->env, ask_shards, in->on->shards, lock.start,
                                            lock.primary, lock.remaining_ms, false, &fate);
    if (status != LW_OK) {
        fault(in, "a transaction cannot be resolved");
    } else if (fate.fate == LW_FATE_ALIVE) {
        dawdle(in, 1000);
    } else if (finish(one, lock.start, fate.commit_timestamp, number_of(lock.key)) != LW_OK) {
        fault(in, "a resolved lock cannot be finished");
    }
    return in->on->failure[0] == 0;
}

/* ---- notes ---------------------------------------------------------------------------------- */

static void note_read(run *in, uint32_t key, uint64_t timestamp, uint64_t value, bool below) {
    if (in->read_count < NOTE_COUNT_MAX) {
        in->reads[in->read_count++] = (seen){key, timestamp, value, below};
    }
}

static void note_write(run *in, uint32_t key, uint64_t timestamp, uint64_t value) {
    if (in->write_count < NOTE_COUNT_MAX) {
        in->writes[in->write_count++] = (written){key, timestamp, value};
    }
}

static void acknowledge(run *in, uint32_t kind, uint64_t committed) {
    in->latest = committed > in->latest ? committed : in->latest;
    in->committed[kind]++;
}

static void check(run *in) {
    for (uint32_t index = 0; index < in->read_count; index++) {
        const seen *read = &in->reads[index];
        uint64_t newest = 0, value = 0;
        for (uint32_t other = 0; other < in->write_count; other++) {
            const written *write = &in->writes[other];
            bool counts = write->timestamp < read->timestamp + !read->below;
            if (write->key == read->key && counts && write->timestamp > newest) {
                newest = write->timestamp;
                value = write->value;
            }
        }
        if (value != read->value) {
            fault(in, read->below ? "what a transaction read had changed when it committed"
                                  : "a read missed a commit");
        }
    }
}

/* ---- reading -------------------------------------------------------------------------------- */

static uint64_t value_of(const lw_get_value *value) {
    uint64_t number = 0;
    for (size_t index = 0; value->found && index < value->value.size; index++) {
        number = 10 * number + (uint64_t)(value->value.data[index] - '0');
    }
    return number;
}

/* At `*timestamp`; 0: at one that the shard gets, which it becomes. */
LW_YIELDS static bool read_key(worker *one, uint32_t key, uint64_t *timestamp, uint64_t *value) {
    lw_bytes keys[] = {lw_text(keys_of_all[key])};
    uint64_t before = one->in->latest;
    lw_get_reply reply;
    lw_status status;
    do {
        lw_buffer_clear(&one->body);
        lw_get_request_encode(
            &(lw_get_request){.read_timestamp = *timestamp, .keys = keys, .key_count = 1},
            &one->body);
        status = send(one, LW_MESSAGE_GET, key);
    } while (status == LW_CONFLICT && clear_obstacle(one));
    if (status != LW_OK ||
        lw_get_reply_decode(lw_buffer_view(&one->reply), &one->arena, &reply) != LW_OK) {
        fault(one->in, "a key cannot be read");
        return false;
    }
    if (*timestamp == 0 && reply.read_timestamp <= before) {
        fault(one->in, "a reader begins below what was acknowledged");
    }
    *timestamp = reply.read_timestamp;
    *value = value_of(&reply.values[0]);
    note_read(one->in, key, *timestamp, *value, false);
    return true;
}

static bool coin(run *in) {
    return lw_env_random_below(in->env, 2) == 0;
}

LW_YIELDS static uint64_t begin(run *in) {
    uint64_t before = in->latest, start = coin(in) ? draw(in) : 0;
    if (start != 0 && start <= before) {
        fault(in, "it begins below what was acknowledged");
    }
    return start;
}

LW_YIELDS static void read_all(worker *one) {
    uint64_t timestamp = begin(one->in), value;
    for (uint32_t key = 0; key < KEY_COUNT; key++) {
        if (!read_key(one, key, &timestamp, &value)) {
            return;
        }
        dawdle(one->in, 300);
    }
}

/* ---- in one round --------------------------------------------------------------------------- */

/* Writes a key, and depends on another one of the same shard as it was at `seen_at`, unless that is
 * 0. Returns the commit timestamp, or 0. */
LW_YIELDS static uint64_t commit_now(worker *one, uint64_t start, uint32_t key, uint64_t key_seen,
                                     uint64_t other_seen) {
    char value[32];
    (void)snprintf(value, sizeof(value), "%llu", (unsigned long long)start);
    lw_mutation mutation = bench_put(keys_of_all[key], value, key_seen);
    lw_seen_key depends = {.key = lw_text(keys_of_all[key ^ 1]), .seen = other_seen};
    lw_commit_reply reply;
    lw_status status;
    do {
        lw_buffer_clear(&one->body);
        lw_commit_now_request_encode(&(lw_commit_now_request){.start = start,
                                                              .mutations = &mutation,
                                                              .mutation_count = 1,
                                                              .keys = &depends,
                                                              .key_count = other_seen != 0},
                                     &one->body);
        status = send(one, LW_MESSAGE_COMMIT_NOW, key);
    } while (status == LW_CONFLICT && clear_obstacle(one));
    if (status == LW_CONFLICT) {
        return 0;
    }
    if (status != LW_OK ||
        lw_commit_reply_decode(lw_buffer_view(&one->reply), &one->arena, &reply) != LW_OK) {
        fault(one->in, "a commit is refused");
        return 0;
    }
    note_write(one->in, key, reply.commit_timestamp, start);
    return reply.commit_timestamp;
}

/* Reads a key and another one of its shard, and writes the first. */
LW_YIELDS static void change(worker *one) {
    run *in = one->in;
    uint32_t key = (uint32_t)lw_env_random_below(in->env, KEY_COUNT);
    uint64_t start = begin(in), value, other;
    if (!read_key(one, key, &start, &value) || !read_key(one, key ^ 1, &start, &other)) {
        return;
    }
    uint64_t committed = commit_now(one, start, key, start, start);
    if (committed != 0) {
        note_read(in, key, committed, value, true);
        note_read(in, key ^ 1, committed, other, true);
        acknowledge(in, 0, committed);
    }
}

LW_YIELDS static void overwrite(worker *one) {
    run *in = one->in;
    uint64_t committed = commit_now(
        one, draw(in), (uint32_t)lw_env_random_below(in->env, KEY_COUNT), LW_SEEN_ANYTHING, 0);
    acknowledge(in, 1, committed);
}

/* Locks a key, which tells its newest value, and writes it. */
LW_YIELDS static void lock_and_change(worker *one) {
    run *in = one->in;
    uint32_t key = (uint32_t)lw_env_random_below(in->env, KEY_COUNT);
    uint64_t named = coin(in) ? draw(in) : 0; /* it may have been spared for it long ago */
    dawdle(in, 3000);
    uint64_t before = in->latest;
    lw_bytes keys[] = {lw_text(keys_of_all[key])};
    lw_lock_reply reply;
    lw_status status;
    do {
        lw_buffer_clear(&one->body);
        lw_lock_request_encode(
            &(lw_lock_request){
                .start = named, .keys = keys, .key_count = 1, .wait_ms = 1000, .read = true},
            &one->body);
        status = send(one, LW_MESSAGE_LOCK, key);
    } while (status == LW_CONFLICT && clear_obstacle(one));
    if (status != LW_OK ||
        lw_lock_reply_decode(lw_buffer_view(&one->reply), &one->arena, &reply) != LW_OK) {
        return; /* waited too long */
    }
    if ((named == 0 && reply.start <= before) || reply.for_update <= before) {
        fault(in, "who locks begins, or reads, below what was acknowledged");
    }
    uint64_t start = reply.start, value = value_of(&reply.values[0]);
    uint64_t for_update = reply.for_update;
    note_read(in, key, for_update, value, false);
    dawdle(in, 500);
    uint64_t committed = commit_now(one, start, key, for_update, 0);
    if (committed == 0) {
        fault(in, "a commit of what is locked met a conflict");
        return;
    }
    note_read(in, key, committed, value, true);
    acknowledge(in, 2, committed);
}

/* ---- over both shards ----------------------------------------------------------------------- */

typedef struct pair {
    uint64_t start, wanted;
    uint32_t keys[2];
} pair;

LW_YIELDS static bool prewrite(worker *one, const pair *both, uint32_t index, bool *asynchronous) {
    char value[32];
    (void)snprintf(value, sizeof(value), "%llu", (unsigned long long)both->start);
    lw_mutation mutation = bench_put(keys_of_all[both->keys[index]], value, both->start);
    lw_bytes secondaries[] = {lw_text(keys_of_all[both->keys[1]])};
    lw_prewrite_request request = {.start = both->start,
                                   .primary = lw_text(keys_of_all[both->keys[0]]),
                                   .lifetime_ms = LW_LOCK_LIFETIME_MAX_MS,
                                   .mutations = &mutation,
                                   .mutation_count = 1,
                                   .commit_timestamp = both->wanted,
                                   .secondaries = secondaries,
                                   .secondary_count = index == 0};
    lw_prewrite_reply reply;
    lw_status status;
    do {
        lw_buffer_clear(&one->body);
        lw_prewrite_request_encode(&request, &one->body);
        status = send(one, LW_MESSAGE_PREWRITE, both->keys[index]);
    } while (status == LW_CONFLICT && clear_obstacle(one));
    if (status != LW_OK ||
        lw_prewrite_reply_decode(lw_buffer_view(&one->reply), &one->arena, &reply) != LW_OK) {
        return false;
    }
    *asynchronous = *asynchronous && reply.asynchronous;
    return true;
}

LW_YIELDS static void end_both(worker *one, const pair *both, uint64_t committed) {
    for (uint32_t index = 0; index < 2; index++) {
        if (finish(one, both->start, committed, both->keys[index]) != LW_OK) {
            fault(one->in, "a transaction cannot be ended");
        }
        dawdle(one->in, 500);
    }
}

/* Reads a key of each shard, and writes both at once. */
LW_YIELDS static void change_both(worker *one) {
    run *in = one->in;
    pair both = {.start = begin(in)};
    uint64_t values[2];
    bool asynchronous = true, locked = true;
    for (uint32_t index = 0; index < 2; index++) {
        both.keys[index] = 2 * index + (uint32_t)lw_env_random_below(in->env, 2);
        if (!read_key(one, both.keys[index], &both.start, &values[index])) {
            return;
        }
    }
    both.wanted = draw(in);
    for (uint32_t index = 0; index < 2 && locked; index++) {
        locked = prewrite(one, &both, index, &asynchronous);
    }
    uint64_t committed = !locked ? 0 : asynchronous ? both.wanted : draw(in);
    for (uint32_t index = 0; index < 2 && committed != 0; index++) {
        note_write(in, both.keys[index], committed, both.start);
        note_read(in, both.keys[index], committed, values[index], true);
    }
    if (asynchronous && committed != 0) {
        acknowledge(in, 3, committed);
    }
    end_both(one, &both, committed);
}

/* ---- all together --------------------------------------------------------------------------- */

static void work_main(void *argument) {
    run *in = argument;
    worker one = {.in = in,
                  .body = lw_buffer_in(in->env->memory),
                  .reply = lw_buffer_in(in->env->memory),
                  .arena = lw_arena_in(in->env->memory)};
    for (int round = 0; round < ROUND_COUNT && in->on->failure[0] == 0; round++) {
        static void (*const kinds[])(worker *) = {change,      overwrite, lock_and_change,
                                                  change_both, read_all,  read_all};
        kinds[lw_env_random_below(in->env, sizeof(kinds) / sizeof(*kinds))](&one);
        dawdle(in, 500);
        lw_arena_reset(&one.arena);
    }
    lw_buffer_reset(&one.body);
    lw_buffer_reset(&one.reply);
    lw_arena_reset(&one.arena);
    in->working--;
}

static void split_at_m(bench *on) {
    asked *it = bench_ask(on, LW_MESSAGE_SPLIT, 7);
    lw_split_request_encode(&(lw_split_request){.key = lw_text("m")}, &it->body);
    bench_await(bench_send(it));
    expect(on, it->status == LW_OK && lw_shards_count(on->shards) == 2, "there are two shards");
}

/* Has the node's timestamps come from elsewhere. */
static void go_elsewhere(run *in) {
    lw_timestamps *timestamps = lw_shards_timestamps(in->on->shards);
    in->oracle = lw_timestamps_now(timestamps) + lw_timestamp_of_ms(60000);
    lw_timestamps_unlead(timestamps);
    lw_timestamps_fetch_by(timestamps, fetch, in);
}

static void move_main(void *argument) {
    run *in = argument;
    while (in->working > 0) {
        dawdle(in, 6000);
        move_oracle(in, !in->leads);
    }
}

static run running;
static uint64_t overtaken; /* commits, so far */

static void work_together_story(bench *on, bool moves) {
    running = (run){.on = on, .env = on->env, .working = WORKER_COUNT};
    split_at_m(on);
    go_elsewhere(&running);
    if (moves) {
        lw_env_start(on->env, "moves", move_main, &running);
    }
    for (int index = 0; index < WORKER_COUNT; index++) {
        lw_env_start(on->env, "worker", work_main, &running);
    }
    while (running.working > 0 && lw_host_running(on->host) && lw_world_step(on->world)) {
    }
    expect(on, running.working == 0, "all come to their end");
    check(&running);
}

/* What was not as expected with a seed. */
static void work_together(uint64_t seed, const char *bug, char failure[256]) {
    static bench on;
    bench_begin(&on, seed, bug);
    work_together_story(&on, seed % 3 != 0);
    overtaken += lw_world_marked(on.world, "replica.commit_overtaken");
    memcpy(failure, on.failure, sizeof(on.failure));
    bench_end(&on);
}

static void nothing_is_lost_or_missed(void **state) {
    (void)state;
    uint32_t committed[4] = {0};
    for (uint64_t seed = 1; seed <= 60; seed++) {
        char failure[256];
        work_together(seed, NULL, failure);
        if (failure[0] != 0) {
            fail_msg("with seed %llu not as expected: %s", (unsigned long long)seed, failure);
        }
        for (size_t kind = 0; kind < 4; kind++) {
            committed[kind] += running.committed[kind];
        }
    }
    for (size_t kind = 0; kind < 4; kind++) {
        assert_true(committed[kind] > 100);
    }
    assert_true(overtaken > 0);
}

static void planted_bugs_show(void **state) {
    (void)state;
    static const char *const bugs[] = {
        "txn.remote_commit_ignores_marks", "timestamps.stale_cached_timestamp",
        "replica.lock_reads_in_the_past", "txn.read_mark_ignored", "txn.reads_ignore_latches"};
    for (size_t bug = 0; bug < sizeof(bugs) / sizeof(*bugs); bug++) {
        char failure[256] = "";
        for (uint64_t seed = 1; seed <= 60 && failure[0] == 0; seed++) {
            work_together(seed, bugs[bug], failure);
        }
        if (failure[0] == 0) {
            fail_msg("the planted bug %s was not noticed", bugs[bug]);
        }
    }
}

/* ---- one commit, overtaken ------------------------------------------------------------------ */

/* Its timestamp is on its way while the oracle moves to the node, and readers above it are
 * answered. */
static void a_commit_that_is_overtaken_draws_again(bench *on) {
    running = (run){.on = on, .env = on->env};
    run *in = &running;
    go_elsewhere(in);
    uint64_t start = ++in->oracle;
    expect_text(on, bench_read(on, start, "k"), "-", "there is nothing");
    in->held = true;
    lw_mutation mutation = bench_put("k", "new", LW_SEEN_ANYTHING);
    lw_commit_now_request request = {.start = start, .mutations = &mutation, .mutation_count = 1};
    asked *commit = bench_send_commit_now(on, &request);
    bench_pass_ms(on, 5);
    uint64_t drawn = in->oracle;
    expect(on, drawn > start && !commit->done, "its timestamp is drawn, and on its way");
    move_oracle(in, true);
    lw_get_reply reply = {0};
    asked *reader = bench_await(bench_send_get(on, 3, 0, "k"));
    expect(on,
           reader->status == LW_OK &&
               lw_get_reply_decode(lw_buffer_view(&reader->reply), &on->arena, &reply) == LW_OK &&
               reply.read_timestamp > drawn,
           "a reader above it does not wait");
    in->held = false;
    uint64_t committed = bench_committed(bench_await(commit));
    expect(on, committed > reply.read_timestamp, "it commits above the reader");
    expect_text(on, bench_read(on, reply.read_timestamp, "k"), "-", "who sees the same again");
    expect_text(on, bench_read(on, committed, "k"), "new", "it lies at its timestamp");
    expect(on, lw_world_marked(on->world, "replica.commit_overtaken") == 1, "it was overtaken");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_or_missed),
        cmocka_unit_test(planted_bugs_show),
        BENCH_STORY(a_commit_that_is_overtaken_draws_again, "txn.remote_commit_ignores_marks"),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
