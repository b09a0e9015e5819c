/* SPDX-License-Identifier: Apache-2.0 */
/* A bench for shards: a simulated host with a store, a log and the shards on them, no network.
 * Stories run outside of fibers: they ask, let time pass, crash the host, and note what is not as
 * they expect. A story that notes nothing has passed; with a planted bug it must not. */
#ifndef LW_TESTS_SHARD_BENCH_H
#define LW_TESTS_SHARD_BENCH_H

#include "tests/unit.h"

#include "node/shards.h"
#include "sim/world.h"
#include "txn/oracle.h"
#include "txn/request.h"

#define BENCH_MS UINT64_C(1000000)

typedef struct bench {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    size_t used_before; /* bytes of the process, before anything was opened */
    lw_memory *memory;  /* the story's own */
    lw_arena arena;
    lw_store *store;
    lw_log *log;
    lw_shards *shards;
    lw_replica *replica; /* of the root shard */
    lw_status opened;    /* of the last opening */
    bool done;           /* the fiber that opens or closes has ended */
    bool died;
    uint64_t request_id;
    lw_bytes route; /* requests go to the shard that holds this key; empty: the first one */
    size_t memory_size;
    uint64_t shard_size;
    uint64_t merge_after_ms; /* takes effect with the next boot, as those below */
    uint64_t retention_ms;   /* 0: nothing is collected; takes effect with the next boot */
    lw_gc *gc;
    char failure[256]; /* the first thing that was not as expected */
} bench;

static inline void expect(bench *on, bool holds, const char *what) {
    if (!holds && on->failure[0] == 0) {
        (void)snprintf(on->failure, sizeof(on->failure), "%s", what);
    }
}

/* ---- opening, closing, crashing ------------------------------------------------------------- */

static inline void bench_flushed(void *argument, lw_tree *tree, uint64_t index) {
    bench *on = argument;
    if (on->shards != NULL) {
        lw_shards_flushed(on->shards, tree, index);
    }
}

static inline void bench_store_died(void *argument, const lw_error *reason) {
    bench *on = argument;
    if (on->shards != NULL) {
        lw_shards_store_died(on->shards, reason);
    }
}

static inline lw_bytes bench_label(void *argument, uint64_t session) {
    (void)argument;
    return session == 1 ? lw_text("importer") : lw_view(NULL, 0);
}

static inline void bench_died(void *argument, const lw_error *reason) {
    bench *on = argument;
    (void)reason;
    on->died = true;
}

static inline lw_status bench_open_parts(bench *on) {
    lw_store_options store_options = {.directory = "data",
                                      .memory_size = on->memory_size,
                                      .filter_part = lw_replica_filter_part,
                                      .retention = lw_replica_retention(on->env),
                                      .flushed = bench_flushed,
                                      .died = bench_store_died,
                                      .argument = on};
    LW_TRY(lw_store_open(on->env, &store_options, &on->store));
    if (on->retention_ms > 0) {
        lw_gc_options gc_options = {
            .env = on->env, .retention_ms = on->retention_ms, .session_label = bench_label};
        on->gc = lw_gc_open(&gc_options);
    }
    lw_shards_options options = {.env = on->env,
                                 .store = on->store,
                                 .bootstrap = true,
                                 .node = 1,
                                 .shard_size = on->shard_size,
                                 .merge_after_ms = on->merge_after_ms,
                                 .gc = on->gc,
                                 .session_label = bench_label,
                                 .died = bench_died,
                                 .argument = on};
    LW_TRY(lw_shards_open(&options, &on->shards));
    on->replica = lw_shards_find(on->shards, LW_ROOT_SHARD);
    LW_TRY(lw_log_open(on->env, "data/log", NULL, lw_shards_replay, on->shards, &on->log));
    LW_TRY(lw_shards_start(on->shards, on->log));
    return on->gc == NULL ? LW_OK : lw_gc_start(on->gc, on->shards);
}

static inline void bench_open_main(void *argument) {
    bench *on = argument;
    on->opened = bench_open_parts(on);
    on->done = true;
}

static inline void bench_close_main(void *argument) {
    bench *on = argument;
    lw_shards *shards = on->shards;
    on->shards = NULL;
    if (on->gc != NULL) {
        lw_gc_stop(on->gc);
    }
    lw_shards_close(shards);
    if (on->gc != NULL) {
        lw_gc_close(on->gc);
        on->gc = NULL;
    }
    lw_store_close(on->store);
    lw_log_close(on->log);
    on->done = true;
}

/* Runs body(on) in a fiber to its end. */
static inline void bench_run(bench *on, void (*body)(void *argument)) {
    on->done = false;
    lw_env_start(on->env, "bench", body, on);
    while (!on->done && lw_host_running(on->host) && lw_world_step(on->world)) {
    }
}

/* Starts a process on the host and opens everything. */
static inline void bench_boot(bench *on) {
    on->died = false;
    on->shards = NULL;
    on->gc = NULL;
    on->env = lw_host_boot(on->host);
    on->used_before = lw_memory_used(on->env->memory);
    bench_run(on, bench_open_main);
    expect(on, on->done && on->opened == LW_OK, "the shard opens");
}

static inline void bench_shut(bench *on) {
    bench_run(on, bench_close_main);
    expect(on, on->done, "the shard closes");
    /* The scheduler keeps a few KB for its next fibers. */
    size_t kept = lw_memory_used(on->env->memory) - on->used_before;
    expect(on, kept < 16 * 1024, "it gives its memory back");
    lw_host_kill(on->host);
}

static inline void bench_crash(bench *on) {
    lw_host_crash(on->host);
    bench_boot(on);
}

static inline void bench_pass_ms(bench *on, uint64_t duration_ms) {
    (void)lw_world_run(on->world, lw_world_now(on->world) + duration_ms * BENCH_MS);
}

static inline void bench_begin(bench *on, uint64_t seed, const char *bug) {
    lw_faults faults = lw_faults_none();
    *on = (bench){.world = lw_world_open(seed, &faults), .memory = lw_memory_open()};
    on->arena = lw_arena_in(on->memory);
    on->host = lw_world_host(on->world, "host");
    if (bug != NULL) {
        lw_world_plant(on->world, bug);
    }
    bench_boot(on);
}

static inline void bench_end(bench *on) {
    lw_world_close(on->world);
    lw_memory_close(on->memory);
}

/* ---- asking --------------------------------------------------------------------------------- */

/* A request on its way, or answered. */
typedef struct asked {
    bench *on;
    lw_request request;
    uint64_t session;
    lw_buffer body, reply;
    lw_status status;
    char text[LW_ERROR_TEXT_SIZE];
    bool done;
    lw_obstacle obstacle; /* with LW_CONFLICT */
} asked;

/* The shard that holds a key, as it is now. */
static inline lw_shard_descriptor bench_shard(bench *on, lw_bytes key) {
    lw_shard_descriptor shard = {0};
    for (uint32_t index = 0; index < lw_shards_count(on->shards); index++) {
        lw_replica_descriptor(lw_shards_at(on->shards, index), &shard);
        if (shard.end.size == 0 || lw_compare(key, shard.end) < 0) {
            break;
        }
    }
    return shard;
}

static inline asked *bench_ask(bench *on, lw_message_kind kind, uint64_t session) {
    asked *it = lw_allocate_zero(on->memory, sizeof(*it));
    it->on = on;
    it->session = session;
    it->body = it->reply = lw_buffer_in(on->memory);
    lw_shard_descriptor shard = bench_shard(on, on->route);
    it->request = (lw_request){.kind = kind,
                               .id = ++on->request_id,
                               .shard = shard.id,
                               .epoch = shard.epoch,
                               .timeout_ms = 2000};
    return it;
}

static inline void bench_ask_main(void *argument) {
    asked *it = argument;
    /* The reply is made in the process, which may crash; the story keeps a copy. */
    lw_buffer reply = lw_buffer_in(it->on->env->memory);
    it->status = lw_shards_execute(it->on->shards, &it->request, it->session, &reply);
    if (it->status != LW_OK) {
        (void)snprintf(it->text, sizeof(it->text), "%s", lw_error_slot()->text);
    }
    lw_buffer_append(&it->reply, lw_buffer_view(&reply));
    lw_buffer_reset(&reply);
    it->done = true;
}

/* Sends it on its way. */
static inline asked *bench_send(asked *it) {
    it->request.body = lw_buffer_view(&it->body);
    it->done = false;
    lw_env_start(it->on->env, "ask", bench_ask_main, it);
    return it;
}

/* Lets time pass until it is answered. */
static inline asked *bench_await(asked *it) {
    while (!it->done && lw_host_running(it->on->host) && lw_world_step(it->on->world)) {
    }
    expect(it->on, it->done, "a request is answered");
    if (it->done && it->status == LW_CONFLICT) {
        lw_status status =
            lw_obstacle_decode(lw_buffer_view(&it->reply), &it->on->arena, &it->obstacle);
        expect(it->on, status == LW_OK, "a conflict says what is in the way");
    }
    return it;
}

/* ---- requests in short ---------------------------------------------------------------------- */

static inline uint64_t bench_timestamp(bench *on) {
    asked *it = bench_ask(on, LW_MESSAGE_TIMESTAMP, 9);
    lw_timestamp_request_encode(&(lw_timestamp_request){.count = 1}, &it->body);
    bench_await(bench_send(it));
    lw_timestamp_reply reply = {0};
    expect(on, it->status == LW_OK, "a timestamp is given");
    if (it->status == LW_OK &&
        lw_timestamp_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) != LW_OK) {
        expect(on, false, "a timestamp can be read");
    }
    return reply.first;
}

static inline lw_mutation bench_put(const char *key, const char *value, uint64_t seen) {
    return (lw_mutation){
        .kind = LW_MUTATION_PUT, .key = lw_text(key), .value = lw_text(value), .seen = seen};
}

static inline asked *bench_send_commit_now(bench *on, const lw_commit_now_request *request) {
    asked *it = bench_ask(on, LW_MESSAGE_COMMIT_NOW, 1);
    lw_commit_now_request_encode(request, &it->body);
    return bench_send(it);
}

static inline asked *bench_commit_now(bench *on, uint64_t start, const lw_mutation *mutations,
                                      uint32_t mutation_count) {
    lw_commit_now_request request = {
        .start = start, .mutations = mutations, .mutation_count = mutation_count};
    return bench_await(bench_send_commit_now(on, &request));
}

/* The commit timestamp of a COMMIT_NOW or COMMIT; 0 if it failed. */
static inline uint64_t bench_committed(const asked *it) {
    lw_commit_reply reply = {0};
    if (!it->done || it->status != LW_OK ||
        lw_commit_reply_decode(lw_buffer_view(&it->reply), &it->on->arena, &reply) != LW_OK) {
        return 0;
    }
    return reply.commit_timestamp;
}

/* A blind write of one key in a transaction of its own; returns when it committed. */
static inline uint64_t bench_write(bench *on, const char *key, const char *value) {
    lw_mutation mutation = bench_put(key, value, LW_SEEN_ANYTHING);
    uint64_t start = bench_timestamp(on);
    uint64_t committed = bench_committed(bench_commit_now(on, start, &mutation, 1));
    expect(on, committed > start, "a write commits above its start");
    return committed;
}

static inline asked *bench_prewrite(bench *on, uint64_t session, uint64_t start,
                                    const char *primary, uint32_t lifetime_ms,
                                    const lw_mutation *mutations, uint32_t mutation_count) {
    asked *it = bench_ask(on, LW_MESSAGE_PREWRITE, session);
    lw_prewrite_request request = {.start = start,
                                   .primary = lw_text(primary),
                                   .lifetime_ms = lifetime_ms,
                                   .mutations = mutations,
                                   .mutation_count = mutation_count};
    lw_prewrite_request_encode(&request, &it->body);
    return bench_await(bench_send(it));
}

/* COMMIT, or ROLLBACK when `commit_timestamp` is 0, of one key. */
static inline asked *bench_finish(bench *on, uint64_t start, uint64_t commit_timestamp,
                                  const char *key) {
    asked *it = bench_ask(on, commit_timestamp != 0 ? LW_MESSAGE_COMMIT : LW_MESSAGE_ROLLBACK, 2);
    lw_bytes keys[] = {lw_text(key)};
    lw_finish_request request = {
        .start = start, .commit_timestamp = commit_timestamp, .keys = keys, .key_count = 1};
    lw_finish_request_encode(&request, &it->body);
    return bench_await(bench_send(it));
}

static inline lw_check_reply bench_check(bench *on, uint64_t start, const char *primary,
                                         bool to_decide) {
    asked *it = bench_ask(on, LW_MESSAGE_CHECK, 2);
    lw_check_request request = {.start = start, .primary = lw_text(primary), .decide = to_decide};
    lw_check_request_encode(&request, &it->body);
    bench_await(bench_send(it));
    lw_check_reply reply = {0};
    if (it->status != LW_OK ||
        lw_check_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) != LW_OK) {
        expect(on, false, "a check is answered");
    }
    return reply;
}

static inline asked *bench_send_get(bench *on, uint64_t session, uint64_t read_timestamp,
                                    const char *key) {
    asked *it = bench_ask(on, LW_MESSAGE_GET, session);
    lw_bytes keys[] = {lw_text(key)};
    lw_get_request request = {.read_timestamp = read_timestamp, .keys = keys, .key_count = 1};
    lw_get_request_encode(&request, &it->body);
    return bench_send(it);
}

/* The value of an answered GET as text, "-" for none, "?" when it failed. */
static inline const char *bench_value(const asked *it) {
    lw_get_reply reply;
    if (!it->done || it->status != LW_OK ||
        lw_get_reply_decode(lw_buffer_view(&it->reply), &it->on->arena, &reply) != LW_OK) {
        return "?";
    }
    if (!reply.values[0].found) {
        return "-";
    }
    lw_bytes value = reply.values[0].value;
    char *text = lw_arena_allocate(&it->on->arena, value.size + 1);
    memcpy(text, value.data, value.size);
    text[value.size] = 0;
    return text;
}

static inline const char *bench_read(bench *on, uint64_t read_timestamp, const char *key) {
    return bench_value(bench_await(bench_send_get(on, 3, read_timestamp, key)));
}

static inline void expect_text(bench *on, const char *text, const char *wanted, const char *what) {
    if (strcmp(text, wanted) != 0 && on->failure[0] == 0) {
        (void)snprintf(on->failure, sizeof(on->failure), "%s: \"%s\", not \"%s\"", what, text,
                       wanted);
    }
}

/* A scan as text: "key=value key=value", with "..." when there is more. */
static inline const char *bench_scan(bench *on, const lw_scan_request *wanted) {
    asked *it = bench_ask(on, LW_MESSAGE_SCAN, 3);
    lw_scan_request request = *wanted;
    request.row_limit = request.row_limit == 0 ? 1000 : request.row_limit;
    request.byte_limit = request.byte_limit == 0 ? 1u << 20 : request.byte_limit;
    lw_scan_request_encode(&request, &it->body);
    bench_await(bench_send(it));
    lw_scan_reply reply;
    if (it->status == LW_CONFLICT) {
        return "locked";
    }
    if (it->status != LW_OK ||
        lw_scan_reply_decode(lw_buffer_view(&it->reply), &on->arena, &reply) != LW_OK) {
        return "?";
    }
    lw_buffer text = lw_buffer_in(on->memory);
    for (uint32_t index = 0; index < reply.row_count; index++) {
        const lw_scan_row *row = &reply.rows[index];
        lw_buffer_print(&text, "%s%.*s=%.*s", index == 0 ? "" : " ", (int)row->key.size,
                        (const char *)row->key.data, (int)row->value.size,
                        (const char *)row->value.data);
    }
    lw_buffer_print(&text, "%s", reply.more ? " ..." : "");
    lw_buffer_append_u8(&text, 0);
    return (const char *)text.data;
}

/* ---- running stories ------------------------------------------------------------------------ */

typedef void bench_story(bench *on);

/* Runs a story; the first thing that was not as expected, or an empty text. */
static inline void bench_tell(bench_story *story, uint64_t seed, const char *bug,
                              char failure[256]) {
    static bench on;
    bench_begin(&on, seed, bug);
    story(&on);
    memcpy(failure, on.failure, sizeof(on.failure));
    bench_end(&on);
}

/* Passes as it is, and fails with the bug, if one is named: it may depend on what the disk did when
 * the power went, so several seeds are told. */
enum { BENCH_BUG_SEEDS = 16 };
static inline void bench_hold(bench_story *story, const char *bug) {
    char failure[256];
    bench_tell(story, 1, NULL, failure);
    if (failure[0] != 0) {
        fail_msg("not as expected: %s", failure);
    }
    if (bug != NULL) {
        failure[0] = 0;
        for (uint64_t seed = 1; seed <= BENCH_BUG_SEEDS && failure[0] == 0; seed++) {
            bench_tell(story, seed, bug, failure);
        }
        if (failure[0] == 0) {
            fail_msg("the planted bug %s was not noticed", bug);
        }
    }
}

/* A story in a list of tests, with the planted bug that it must not pass with, or NULL. */
typedef struct bench_listed {
    bench_story *story;
    const char *bug;
} bench_listed;

static inline void bench_hold_listed(void **state) {
    const bench_listed *listed = *state;
    bench_hold(listed->story, listed->bug);
}

#define BENCH_STORY(story, bug)                                  \
    {                                                            \
#story, bench_hold_listed, NULL, NULL, &(bench_listed) { \
            story, bug                                           \
        }                                                        \
    }

#endif
