/* SPDX-License-Identifier: Apache-2.0 */
/* Async commits in every order: two transactions, each of which reads what the other writes, a
 * reader of both, one that commits in one round, and somebody who resolves; their steps interleaved
 * in all ways. What they were
 * told is held against what the keys say in the end: whoever was told that it committed did, at
 * that timestamp, on all keys; whoever was told that it did not, did not; what was read at a
 * timestamp is what lies there; and what was acknowledged before something began lies below it. */
#include "tests/shard_bench.h"

#include <stdlib.h>

/* ---- asking, in a fiber --------------------------------------------------------------------- */

/* The keys of a run, so that one folder serves many. */
enum { KEY_SIZE = 16 };

typedef enum told { UNTOLD, COMMITTED, FAILED } told;

typedef struct actor {
    char keys[2][KEY_SIZE]; /* what it writes; the first is the primary */
    char read_key[KEY_SIZE];
    bool secondary_first;

    uint64_t start, wanted; /* and the commit timestamp it asks for */
    char read_value[32];    /* of the read key, at `start`; "?": it could not be read */
    bool prewritten[2], asynchronous[2];
    told told;
    uint64_t committed;
} actor;

typedef struct watcher {
    uint64_t timestamp;
    char values[2][32]; /* of a primary and of a secondary; "?": it was not read */
} watcher;

/* A transaction of one shard, in one round: it reads the primary of one of the others, and locks
 * that of the other. */
typedef struct loner {
    uint64_t start, committed;
    char values[2][32]; /* of both primaries, at its start */
} loner;

typedef struct run {
    bench *on;
    lw_env *env;
    actor actors[2];
    watcher reader;
    loner loner;
    uint32_t resolved; /* whose transaction is resolved, and the reader: number of the actor */
    uint64_t latest;   /* the highest commit timestamp that anybody was told of */
    lw_buffer body, reply;
    lw_arena arena;
    lw_obstacle obstacle;
    char steps[64]; /* what was done, for the report */
} run;

LW_YIELDS static lw_status ask_shards(void *argument, lw_message_kind kind, lw_bytes key,
                                      lw_bytes body, lw_buffer *reply) {
    return lw_shards_ask(argument, kind, key, body, reply);
}

static bool same(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

static void fault(run *one, const char *what) {
    if (one->on->failure[0] == 0) {
        (void)snprintf(one->on->failure, sizeof(one->on->failure), "%s, after %s", what,
                       one->steps);
    }
}

/* Sends what is in `body`. */
LW_YIELDS static lw_status send(run *one, lw_message_kind kind, const char *key) {
    lw_buffer_clear(&one->reply);
    lw_status status =
        lw_shards_ask(one->on->shards, kind, lw_text(key), lw_buffer_view(&one->body), &one->reply);
    if (status == LW_CONFLICT &&
        lw_obstacle_decode(lw_arena_copy(&one->arena, lw_buffer_view(&one->reply)), &one->arena,
                           &one->obstacle) != LW_OK) {
        fault(one, "an obstacle cannot be read");
    }
    return status;
}

LW_YIELDS static uint64_t take_timestamp(run *one) {
    uint64_t taken = 0;
    if (lw_timestamps_take(lw_shards_timestamps(one->on->shards), 1, 0, &taken) != LW_OK) {
        fault(one, "no timestamp");
    }
    return taken;
}

LW_YIELDS static lw_status finish_key(run *one, uint64_t start, uint64_t commit_timestamp,
                                      const char *key) {
    lw_bytes keys[] = {lw_text(key)};
    lw_buffer_clear(&one->body);
    lw_finish_request_encode(
        &(lw_finish_request){
            .start = start, .commit_timestamp = commit_timestamp, .keys = keys, .key_count = 1},
        &one->body);
    return send(one, commit_timestamp != 0 ? LW_MESSAGE_COMMIT : LW_MESSAGE_ROLLBACK, key);
}

LW_YIELDS static lw_fate resolve(run *one, uint64_t start, const char *primary,
                                 uint64_t remaining_ms, bool decide, uint64_t *committed) {
    lw_check_reply fate = {.fate = LW_FATE_UNKNOWN};
    lw_status status = lw_resolve_by_asking(one->env, ask_shards, one->on->shards, start,
                                            lw_text(primary), remaining_ms, decide, &fate);
    if (status != LW_OK) {
        fault(one, "a transaction cannot be resolved");
    }
    *committed = fate.commit_timestamp;
    return fate.fate;
}

/* Whether whoever met the lock may go on. */
LW_YIELDS static bool clear_obstacle(run *one) {
    lw_obstacle lock = one->obstacle;
    if (lock.kind != LW_OBSTACLE_LOCK) {
        return false;
    }
    char primary[KEY_SIZE], key[KEY_SIZE];
    (void)snprintf(primary, sizeof(primary), "%.*s", (int)lock.primary.size, lock.primary.data);
    (void)snprintf(key, sizeof(key), "%.*s", (int)lock.key.size, lock.key.data);
    uint64_t committed;
    lw_fate fate = resolve(one, lock.start, primary, lock.remaining_ms, false, &committed);
    if (fate == LW_FATE_ALIVE) {
        return false;
    }
    if (finish_key(one, lock.start, committed, key) != LW_OK) {
        fault(one, "a resolved lock cannot be finished");
    }
    return true;
}

/* The value at a timestamp. */
LW_YIELDS static void read_at(run *one, const char *key, uint64_t timestamp, char value[32]) {
    lw_bytes keys[] = {lw_text(key)};
    lw_get_reply reply;
    lw_status status;
    do {
        lw_buffer_clear(&one->body);
        lw_get_request_encode(
            &(lw_get_request){.read_timestamp = timestamp, .keys = keys, .key_count = 1},
            &one->body);
        status = send(one, LW_MESSAGE_GET, key);
    } while (status == LW_CONFLICT && clear_obstacle(one));
    (void)snprintf(value, 32, "?");
    if (status == LW_OK &&
        lw_get_reply_decode(lw_buffer_view(&one->reply), &one->arena, &reply) == LW_OK) {
        (void)snprintf(value, 32, "%.*s", (int)reply.values[0].value.size,
                       reply.values[0].found ? (const char *)reply.values[0].value.data : "");
    }
}

/* ---- the steps of a transaction ------------------------------------------------------------- */

static void tell(run *one, actor *who, told what, uint64_t committed) {
    who->told = what;
    who->committed = committed;
    one->latest = committed > one->latest ? committed : one->latest;
}

LW_YIELDS static void fail_actor(run *one, actor *who) {
    tell(one, who, FAILED, 0);
    for (size_t index = 0; index < 2; index++) {
        if (finish_key(one, who->start, 0, who->keys[index]) != LW_OK) {
            fault(one, "a transaction that failed cannot be rolled back");
        }
    }
}

LW_YIELDS static void begin(run *one, actor *who) {
    who->start = take_timestamp(one);
    if (who->start <= one->latest) {
        fault(one, "it began below what was acknowledged");
    }
    read_at(one, who->read_key, who->start, who->read_value);
    if (same(who->read_value, "?")) {
        tell(one, who, FAILED, 0); /* it would wait */
    }
}

static void encode_prewrite(run *one, const actor *who, size_t index) {
    char value[32];
    (void)snprintf(value, sizeof(value), "%llu", (unsigned long long)who->start);
    lw_mutation mutation = bench_put(who->keys[index], value, LW_SEEN_ANYTHING);
    lw_bytes secondaries[] = {lw_text(who->keys[1])};
    lw_seen_key seen = {.key = lw_text(who->read_key), .seen = who->start};
    lw_prewrite_request request = {.start = who->start,
                                   .primary = lw_text(who->keys[0]),
                                   .lifetime_ms = 60000,
                                   .mutations = &mutation,
                                   .mutation_count = 1,
                                   .commit_timestamp = who->wanted,
                                   .secondaries = secondaries,
                                   .secondary_count = index == 0,
                                   .keys = &seen,
                                   .key_count = index == 0};
    lw_buffer_clear(&one->body);
    lw_prewrite_request_encode(&request, &one->body);
}

LW_YIELDS static void prewrite(run *one, actor *who, size_t index) {
    lw_status status;
    do {
        encode_prewrite(one, who, index);
        status = send(one, LW_MESSAGE_PREWRITE, who->keys[index]);
    } while (status == LW_CONFLICT && clear_obstacle(one));
    lw_prewrite_reply reply;
    if (status != LW_OK ||
        lw_prewrite_reply_decode(lw_buffer_view(&one->reply), &one->arena, &reply) != LW_OK) {
        fail_actor(one, who);
        return;
    }
    if (reply.committed != 0) {
        tell(one, who, COMMITTED, reply.committed);
        return;
    }
    who->prewritten[index] = true;
    who->asynchronous[index] = reply.asynchronous;
    if (who->prewritten[1 - index] && who->asynchronous[0] && who->asynchronous[1]) {
        tell(one, who, COMMITTED, who->wanted);
    }
}

LW_YIELDS static bool validate(run *one, const actor *who, uint64_t commit_timestamp) {
    lw_seen_key seen = {.key = lw_text(who->read_key), .seen = who->start};
    lw_status status;
    do {
        lw_buffer_clear(&one->body);
        lw_validate_request_encode(&(lw_validate_request){.start = who->start,
                                                          .commit_timestamp = commit_timestamp,
                                                          .keys = &seen,
                                                          .key_count = 1},
                                   &one->body);
        status = send(one, LW_MESSAGE_VALIDATE, who->read_key);
    } while (status == LW_CONFLICT && clear_obstacle(one));
    return status == LW_OK;
}

/* The second of two phases. */
LW_YIELDS static void decide(run *one, actor *who) {
    uint64_t commit_timestamp = take_timestamp(one);
    if (!validate(one, who, commit_timestamp)) {
        fail_actor(one, who);
        return;
    }
    lw_status status = finish_key(one, who->start, commit_timestamp, who->keys[0]);
    if (status == LW_OK) {
        tell(one, who, COMMITTED, commit_timestamp);
    } else if (status == LW_CONFLICT) {
        fail_actor(one, who);
    } else {
        fault(one, "a commit is refused");
    }
}

LW_YIELDS static void finish(run *one, actor *who) {
    if (who->told == UNTOLD) {
        decide(one, who);
    }
    for (size_t index = 0; index < 2 && who->told == COMMITTED; index++) {
        if (finish_key(one, who->start, who->committed, who->keys[index]) != LW_OK) {
            fault(one, "a transaction that committed cannot be finished");
        }
    }
}

LW_YIELDS static void act(run *one, actor *who, uint32_t step) {
    if (step == 0) {
        begin(one, who);
    } else if (who->told == FAILED) {
        return;
    } else if (step == 1) {
        who->wanted = take_timestamp(one);
    } else if (step < 4 && who->told == UNTOLD) {
        prewrite(one, who, (step == 2) == who->secondary_first);
    } else if (step == 4) {
        finish(one, who);
    }
}

/* ---- the others ----------------------------------------------------------------------------- */

LW_YIELDS static void watch(run *one, uint32_t step) {
    watcher *reader = &one->reader;
    if (step == 0) {
        reader->timestamp = take_timestamp(one);
        if (reader->timestamp <= one->latest) {
            fault(one, "a reader begins below what was acknowledged");
        }
        return;
    }
    for (size_t index = 0; index < 2; index++) {
        read_at(one, one->actors[index].keys[index], reader->timestamp, reader->values[index]);
    }
}

LW_YIELDS static void commit_alone(run *one, loner *alone) {
    const char *keys[] = {one->actors[0].keys[0], one->actors[1].keys[0]};
    char key[KEY_SIZE];
    (void)snprintf(key, sizeof(key), "%.10s.n", keys[0]);
    lw_mutation mutations[] = {
        bench_put(key, "alone", LW_SEEN_ANYTHING),
        {.kind = LW_MUTATION_LOCK, .key = lw_text(keys[1]), .seen = alone->start}};
    lw_seen_key seen = {.key = lw_text(keys[0]), .seen = alone->start};
    lw_commit_reply reply;
    lw_status status;
    do {
        lw_buffer_clear(&one->body);
        lw_commit_now_request_encode(&(lw_commit_now_request){.start = alone->start,
                                                              .mutations = mutations,
                                                              .mutation_count = 2,
                                                              .keys = &seen,
                                                              .key_count = 1},
                                     &one->body);
        status = send(one, LW_MESSAGE_COMMIT_NOW, key);
    } while (status == LW_CONFLICT && clear_obstacle(one));
    if (status == LW_OK &&
        lw_commit_reply_decode(lw_buffer_view(&one->reply), &one->arena, &reply) == LW_OK) {
        alone->committed = reply.commit_timestamp;
        one->latest = alone->committed > one->latest ? alone->committed : one->latest;
    }
}

LW_YIELDS static void go_alone(run *one, uint32_t step) {
    loner *alone = &one->loner;
    if (step == 0) {
        alone->start = take_timestamp(one);
    }
    for (size_t index = 0; index < 2 && step == 0; index++) {
        read_at(one, one->actors[index].keys[0], alone->start, alone->values[index]);
    }
    if (step == 1 && !same(alone->values[0], "?") && !same(alone->values[1], "?")) {
        commit_alone(one, alone);
    }
}

/* Somebody who does not want to wait. */
LW_YIELDS static void interfere(run *one) {
    const actor *who = &one->actors[one->resolved];
    uint64_t committed;
    if (who->start != 0) {
        (void)resolve(one, who->start, who->keys[0], 0, true, &committed);
    }
}

/* ---- what must hold in the end -------------------------------------------------------------- */

LW_YIELDS static void check_fate(run *one, actor *who) {
    uint64_t committed = 0;
    lw_fate fate = resolve(one, who->start, who->keys[0], 0, true, &committed);
    if (who->told == COMMITTED && (fate != LW_FATE_COMMITTED || committed != who->committed)) {
        fault(one, "it was told that it committed, and did not, or not then");
    } else if (who->told == FAILED && fate != LW_FATE_ABORTED) {
        fault(one, "it was told that it failed, and committed");
    }
    who->committed = fate == LW_FATE_COMMITTED ? committed : 0;
}

LW_YIELDS static void check_keys(run *one, const actor *who) {
    char own[32], value[32];
    (void)snprintf(own, sizeof(own), "%llu", (unsigned long long)who->start);
    uint64_t last = take_timestamp(one);
    for (size_t index = 0; index < 2; index++) {
        read_at(one, who->keys[index], who->committed != 0 ? who->committed : last, value);
        if (same(value, own) != (who->committed != 0)) {
            fault(one, "a part of a transaction is not as the rest");
        }
        read_at(one, who->keys[index], who->committed - (who->committed != 0), value);
        if (who->committed != 0 && same(value, own)) {
            fault(one, "a part of a transaction lies below the rest");
        }
    }
    read_at(one, who->read_key, who->start, value);
    if (!same(who->read_value, "?") && !same(value, who->read_value)) {
        fault(one, "what was read at the start is not what lies there");
    }
    if (who->committed != 0) {
        read_at(one, who->read_key, who->committed, value);
        if (!same(value, who->read_value)) {
            fault(one, "what was read had changed at the commit");
        }
    }
}

LW_YIELDS static void check_loner(run *one) {
    char value[32];
    for (size_t index = 0; index < 2 && one->loner.committed != 0; index++) {
        read_at(one, one->actors[index].keys[0], one->loner.committed, value);
        if (!same(value, one->loner.values[index])) {
            fault(one, "what was read or locked had changed at the commit in one round");
        }
    }
}

LW_YIELDS static void check_run(run *one) {
    for (size_t index = 0; index < 2; index++) {
        if (one->actors[index].start != 0) {
            check_fate(one, &one->actors[index]);
        }
    }
    for (size_t index = 0; index < 2; index++) {
        char value[32];
        if (one->actors[index].start != 0) {
            check_keys(one, &one->actors[index]);
        }
        if (one->reader.timestamp == 0) {
            continue;
        }
        read_at(one, one->actors[index].keys[index], one->reader.timestamp, value);
        if (!same(one->reader.values[index], "?") && !same(one->reader.values[index], value)) {
            fault(one, "what was read is not what lies there");
        }
    }
    check_loner(one);
}

/* ---- every order ---------------------------------------------------------------------------- */

/* Whose turn it is: '0' and '1' the transactions, 'n' the one of one round, 'r' the reader, 'x'
 * whoever resolves. Ordered, so that the next permutation can be found. */
static bool next_order(char *order) {
    size_t size = strlen(order), left = size - 1;
    while (left > 0 && order[left - 1] >= order[left]) {
        left--;
    }
    if (left == 0) {
        return false;
    }
    size_t right = size - 1;
    while (order[right] <= order[left - 1]) {
        right--;
    }
    char swapped = order[left - 1];
    order[left - 1] = order[right];
    order[right] = swapped;
    for (size_t low = left, high = size - 1; low < high; low++, high--) {
        swapped = order[low];
        order[low] = order[high];
        order[high] = swapped;
    }
    return true;
}

typedef struct plan {
    bench *on;
    const char *first_order;
    uint32_t stride; /* every so many orders are tried, another part of them in each variant */
    uint32_t tried;
} plan;

/* The first keys of both lie in one shard, the second ones in another, once it is split. */
static void name_keys(run *one, uint32_t number) {
    for (uint32_t index = 0; index < 2; index++) {
        actor *who = &one->actors[index], *other = &one->actors[1 - index];
        (void)snprintf(who->keys[0], KEY_SIZE, "a%u.%u", number, index);
        (void)snprintf(who->keys[1], KEY_SIZE, "z%u.%u", number, index);
        memcpy(other->read_key, who->keys[0], KEY_SIZE);
    }
}

LW_YIELDS static void play(plan *all, const char *order, uint32_t variant) {
    lw_buffer empty = lw_buffer_in(all->on->env->memory);
    run one = {.on = all->on,
               .env = all->on->env,
               .reader = {.values = {"?", "?"}},
               .resolved = variant & 1,
               .body = empty,
               .reply = empty,
               .arena = lw_arena_in(all->on->env->memory)};
    uint32_t steps[2] = {0}, watched = 0, alone = 0;
    name_keys(&one, all->tried++);
    one.actors[0].secondary_first = (variant & 2) != 0;
    (void)snprintf(one.steps, sizeof(one.steps), "%s in variant %u", order, variant);
    for (const char *turn = order; *turn != 0; turn++) {
        if (*turn == 'r') {
            watch(&one, watched++);
        } else if (*turn == 'n') {
            go_alone(&one, alone++);
        } else if (*turn == 'x') {
            interfere(&one);
        } else {
            uint32_t who = (uint32_t)(*turn - '0');
            act(&one, &one.actors[who], steps[who]++);
        }
    }
    check_run(&one);
    lw_arena_reset(&one.arena);
    lw_buffer_reset(&one.body);
    lw_buffer_reset(&one.reply);
}

LW_YIELDS static void play_all_main(void *argument) {
    plan *all = argument;
    for (uint32_t variant = 0; variant < 4; variant++) {
        char order[32];
        uint32_t number = variant;
        (void)snprintf(order, sizeof(order), "%s", all->first_order);
        do {
            if (number++ % all->stride == 0) {
                play(all, order, variant);
            }
        } while (all->on->failure[0] == 0 && next_order(order));
    }
    all->on->done = true;
}

static uint32_t stride_of(uint32_t usual) {
    const char *text = getenv("ORDERS_STRIDE");
    int given = text == NULL ? 0 : atoi(text);
    return given > 0 ? (uint32_t)given : usual;
}

static void play_all(bench *on, const char *first_order, uint32_t stride) {
    plan all = {.on = on, .first_order = first_order, .stride = stride_of(stride)};
    on->done = false;
    lw_env_start(on->env, "orders", play_all_main, &all);
    while (!on->done && lw_host_running(on->host) && lw_world_step(on->world)) {
    }
    expect(on, on->done, "all orders are played");
    expect(on, all.tried > 100, "there are many orders");
}

static void split_at_m(bench *on) {
    asked *it = bench_ask(on, LW_MESSAGE_SPLIT, 7);
    lw_split_request_encode(&(lw_split_request){.key = lw_text("m")}, &it->body);
    bench_await(bench_send(it));
    expect(on, it->status == LW_OK && lw_shards_count(on->shards) == 2, "there are two shards");
}

static void two_transactions_in_every_order(bench *on) {
    split_at_m(on);
    play_all(on, "0000011111", 1);
}

static void a_reader_sees_one_history_in_every_order_story(bench *on) {
    split_at_m(on);
    play_all(on, "0000011111rr", 11);
}
static void a_reader_sees_one_history_in_every_order(void **state) {
    (void)state;
    bench_hold(a_reader_sees_one_history_in_every_order_story, "txn.read_mark_ignored");
    bench_hold(a_reader_sees_one_history_in_every_order_story, "txn.floor_lost");
}

static void a_commit_in_one_round_in_every_order(bench *on) {
    split_at_m(on);
    play_all(on, "0000011111nn", 11);
}

static void somebody_resolves_in_every_order_story(bench *on) {
    split_at_m(on);
    play_all(on, "0000011111x", 1);
    play_all(on, "00011111x", 1); /* one of them is heard of no more after its first prewrite */
}
static void somebody_resolves_in_every_order(void **state) {
    (void)state;
    bench_hold(somebody_resolves_in_every_order_story, "txn.missing_counts_as_locked");
    bench_hold(somebody_resolves_in_every_order_story, "txn.missing_not_recorded");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BENCH_STORY(two_transactions_in_every_order, "txn.fallback_kept_async"),
        cmocka_unit_test(a_reader_sees_one_history_in_every_order),
        BENCH_STORY(a_commit_in_one_round_in_every_order, "txn.read_mark_ignored"),
        cmocka_unit_test(somebody_resolves_in_every_order),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
