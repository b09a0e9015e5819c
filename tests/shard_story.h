/* SPDX-License-Identifier: Apache-2.0 */
/* Stories about shards on several nodes (tests/shard_lattice.h). They run outside of fibers, as in
 * tests/shard_bench.h: they ask, let time pass, crash and cut off hosts, look at what the replicas
 * hold, and note what is not as they expect. A story that notes nothing has passed; with a planted
 * bug it must not. */
#ifndef LW_TESTS_SHARD_STORY_H
#define LW_TESTS_SHARD_STORY_H

#include "tests/shard_folders.h"

#include "txn/request.h"

/* ---- asking, from outside ------------------------------------------------------------------- */

/* One attempt at one node, which need not lead. */
static inline lattice_ask *lattice_send_to(lattice *in, uint64_t node, lw_message_kind kind,
                                           lw_bytes key, const lw_buffer *body) {
    lw_shard_descriptor shard = {0};
    lattice_node any = {.in = in};
    (void)lattice_locate(&any, key, &shard);
    const lw_replica *replica = lattice_replica(in, node, key);
    if (replica != NULL) {
        lw_replica_descriptor(replica, &shard);
    }
    lw_request request = {.kind = kind,
                          .id = ++in->request_id,
                          .shard = shard.id,
                          .epoch = shard.epoch,
                          .timeout_ms = 2000,
                          .body = lw_buffer_view(body)};
    return lattice_ask_open(in, 0, node, &request, in->session);
}

static inline lattice_ask *lattice_await(lattice_ask *ask, uint64_t patience_ms) {
    uint64_t until_ns = lw_world_now(ask->in->world) + patience_ms * LATTICE_MS;
    while (!ask->done && lw_world_now(ask->in->world) < until_ns && lw_world_step(ask->in->world)) {
    }
    return ask;
}

/* As a client does: until some node has carried it out, or a while has passed. */
static inline lattice_ask *lattice_call(lattice *in, lw_message_kind kind, const char *key,
                                        const lw_buffer *body) {
    lattice_ask *ask = NULL;
    for (uint32_t attempt = 0; attempt < 400; attempt++) {
        uint64_t leader = lattice_leader(in, lw_text(key));
        uint64_t node = leader != 0 && attempt % 4 != 3 ? leader : 1 + attempt % LATTICE_NODES;
        ask = lattice_await(lattice_send_to(in, node, kind, lw_text(key), body), 2500);
        bool again = !ask->done || ask->status == LW_UNAVAILABLE || ask->status == LW_TIMEOUT ||
                     ask->status == LW_UNDETERMINED;
        if (!again) {
            return ask;
        }
        lattice_pass_ms(in, 20);
    }
    return ask;
}

static inline uint64_t lattice_timestamp(lattice *in) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_timestamp_request_encode(&(lw_timestamp_request){.count = 1}, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_TIMESTAMP, "", &body);
    lw_timestamp_reply reply = {0};
    bool given =
        ask->done && ask->status == LW_OK &&
        lw_timestamp_reply_decode(lw_buffer_view(&ask->reply), &in->arena, &reply) == LW_OK;
    expect(in, given, "a timestamp is given");
    return reply.first;
}

static inline lw_mutation lattice_put(const char *key, const char *value, uint64_t seen) {
    return (lw_mutation){
        .kind = LW_MUTATION_PUT, .key = lw_text(key), .value = lw_text(value), .seen = seen};
}

static inline void lattice_commit_body(uint64_t start, const lw_mutation *mutations, uint32_t count,
                                       lw_buffer *body) {
    lw_commit_now_request request = {
        .start = start, .mutations = mutations, .mutation_count = count};
    lw_commit_now_request_encode(&request, body);
}

/* The status of a commit in one round; the timestamp, if there is one. */
static inline lw_status lattice_commit(lattice *in, uint64_t start, const lw_mutation *mutations,
                                       uint32_t count, uint64_t *committed) {
    lw_buffer body = lw_buffer_in(in->memory);
    lattice_commit_body(start, mutations, count, &body);
    lw_bytes key = mutations[0].key;
    char *text = lw_arena_allocate(&in->arena, key.size + 1);
    memcpy(text, key.data, key.size);
    text[key.size] = 0;
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_COMMIT_NOW, text, &body);
    lw_commit_reply reply = {0};
    if (!ask->done) {
        return LW_TIMEOUT;
    }
    if (ask->status == LW_OK &&
        lw_commit_reply_decode(lw_buffer_view(&ask->reply), &in->arena, &reply) == LW_OK &&
        committed != NULL) {
        *committed = reply.commit_timestamp;
    }
    return ask->status;
}

static inline void lattice_write(lattice *in, const char *key, const char *value) {
    lw_mutation mutation = lattice_put(key, value, LW_SEEN_ANYTHING);
    uint64_t start = lattice_timestamp(in);
    expect(in, lattice_commit(in, start, &mutation, 1, NULL) == LW_OK, "a write commits");
}

/* The value in an answer to GET of one key: "-" for none, "?" when it failed. */
static inline const char *lattice_value(lattice_ask *ask, uint64_t *timestamp) {
    lw_get_reply reply;
    if (!ask->done || ask->status != LW_OK ||
        lw_get_reply_decode(lw_buffer_view(&ask->reply), &ask->in->arena, &reply) != LW_OK) {
        return "?";
    }
    if (!reply.values[0].found) {
        return "-";
    }
    if (timestamp != NULL) {
        *timestamp = reply.values[0].commit_timestamp;
    }
    lw_bytes value = reply.values[0].value;
    char *text = lw_arena_allocate(&ask->in->arena, value.size + 1);
    memcpy(text, value.data, value.size);
    text[value.size] = 0;
    return text;
}

static inline void lattice_get_body(const char *key, uint64_t read_timestamp, lw_buffer *body) {
    lw_bytes keys[] = {lw_text(key)};
    lw_get_request request = {.read_timestamp = read_timestamp, .keys = keys, .key_count = 1};
    lw_get_request_encode(&request, body);
}

static inline const char *lattice_read(lattice *in, const char *key) {
    lw_buffer body = lw_buffer_in(in->memory);
    lattice_get_body(key, 0, &body);
    return lattice_value(lattice_call(in, LW_MESSAGE_GET, key, &body), NULL);
}

/* ---- what the replicas hold ----------------------------------------------------------------- */

typedef struct lattice_dump {
    lw_replica *replica;
    lw_tree *tree;
    lw_buffer *text;
    bool done;
} lattice_dump;

static inline lw_status lattice_dump_tree(lattice_dump *job) {
    lw_snapshot *snapshot = lw_snapshot_open(job->tree);
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_view(NULL, 0), lw_view(NULL, 0));
    lw_status status = lw_cursor_first(cursor);
    while (status == LW_OK && lw_cursor_valid(cursor)) {
        lw_buffer_append(job->text, lw_cursor_key(cursor));
        lw_buffer_append_u8(job->text, 0);
        lw_buffer_append(job->text, lw_cursor_value(cursor));
        lw_buffer_append_u8(job->text, 0);
        status = lw_cursor_next(cursor);
    }
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    return status;
}

static inline void lattice_dump_main(void *argument) {
    lattice_dump *job = argument;
    if (lattice_dump_tree(job) != LW_OK) {
        lw_buffer_append(job->text, lw_text("?"));
    }
    job->done = true;
}

/* All that the tree of a shard holds on a node. */
static inline lw_bytes lattice_contents(lattice *in, uint64_t id, uint64_t shard) {
    lw_buffer *text = lw_arena_allocate(&in->arena, sizeof(*text));
    *text = lw_buffer_in(in->memory);
    lattice_dump job = {.tree = lw_store_tree(in->nodes[id].store, shard), .text = text};
    lw_env_start(in->nodes[id].env, "dump", lattice_dump_main, &job);
    while (!job.done && lw_world_step(in->world)) {
    }
    return lw_buffer_view(text);
}

/* Once nothing is under way all replicas of each shard hold the same. */
static inline void lattice_same_everywhere(lattice *in) {
    lattice_pass_ms(in, 1500);
    for (uint64_t id = 1; id <= LATTICE_NODES; id++) {
        for (uint32_t index = 0;
             lattice_up(in, id) && index < lw_shards_count(in->nodes[id].shards); index++) {
            lw_shard_descriptor shard, other;
            lw_replica_descriptor(lw_shards_at(in->nodes[id].shards, index), &shard);
            for (uint32_t place = 0; place < shard.replica_count; place++) {
                uint64_t node = shard.replicas[place].node;
                const lw_replica *replica =
                    lattice_up(in, node) ? lw_shards_find(in->nodes[node].shards, shard.id) : NULL;
                expect(in, !lattice_up(in, node) || replica != NULL,
                       "every member holds the shard");
                if (replica != NULL && node != id) {
                    lw_replica_descriptor(replica, &other);
                    expect(in,
                           other.epoch.range_version == shard.epoch.range_version &&
                               other.epoch.config_version == shard.epoch.config_version,
                           "all replicas have the same descriptor");
                    lw_bytes one = lattice_contents(in, id, shard.id);
                    lw_bytes two = lattice_contents(in, node, shard.id);
                    expect(in, lw_equal(one, two), "all replicas hold the same");
                }
            }
        }
    }
}

/* ---- running stories ------------------------------------------------------------------------ */

typedef void lattice_story(lattice *in);

static inline void lattice_tell(lattice_story *story, uint64_t seed, const char *bug,
                                char failure[256]) {
    static lattice in;
    lattice_begin(&in, seed, bug);
    story(&in);
    memcpy(failure, in.failure, sizeof(in.failure));
    lattice_end(&in);
}

/* Passes as it is, and fails with the bug, if one is named. */
static inline void lattice_hold(lattice_story *story, const char *bug) {
    char failure[256];
    lattice_tell(story, 1, NULL, failure);
    if (failure[0] != 0) {
        fail_msg("not as expected: %s", failure);
    }
    if (bug != NULL) {
        lattice_tell(story, 1, bug, failure);
        if (failure[0] == 0) {
            fail_msg("the planted bug %s was not noticed", bug);
        }
    }
}

/* A story in a list of tests, with the planted bug that it must not pass with, or NULL. */
typedef struct lattice_listed {
    lattice_story *story;
    const char *bug;
} lattice_listed;

static inline void lattice_hold_listed(void **state) {
    const lattice_listed *listed = *state;
    lattice_hold(listed->story, listed->bug);
}

#define LATTICE_STORY(story, bug)                                    \
    {                                                                \
#story, lattice_hold_listed, NULL, NULL, &(lattice_listed) { \
            story, bug                                               \
        }                                                            \
    }

#endif
