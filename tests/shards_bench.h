/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the shard that holds a key, whichever that is by now: for stories of shards that are
 * split and merged. */
#ifndef LW_TESTS_SHARDS_BENCH_H
#define LW_TESTS_SHARDS_BENCH_H

#include "tests/shard_bench.h"

static inline void write_at(bench *on, const char *key, const char *value) {
    on->route = lw_text(key);
    (void)bench_write(on, key, value);
    on->route = lw_view(NULL, 0);
}

static inline const char *read_at(bench *on, const char *key) {
    on->route = lw_text(key);
    const char *value = bench_read(on, 0, key);
    on->route = lw_view(NULL, 0);
    return value;
}

static inline asked *send_split(bench *on, lw_bytes key) {
    on->route = key;
    asked *it = bench_ask(on, LW_MESSAGE_SPLIT, 7);
    on->route = lw_view(NULL, 0);
    it->request.timeout_ms = 20000;
    lw_split_request_encode(&(lw_split_request){.key = key}, &it->body);
    return bench_send(it);
}

static inline asked *split_at(bench *on, const char *key) {
    return bench_await(send_split(on, lw_text(key)));
}

/* What a reply with descriptors says: "start..end@version start..end@version". */
static inline const char *told_shards(const asked *it) {
    lw_reader reader;
    uint32_t count = 0;
    lw_buffer text = lw_buffer_in(it->on->memory);
    if (!it->done || lw_topology_open(lw_buffer_view(&it->reply), &reader, &count) != LW_OK) {
        return "?";
    }
    for (uint32_t index = 0; index < count; index++) {
        lw_shard_descriptor shard;
        if (lw_topology_next(&reader, &shard) != LW_OK) {
            return "?";
        }
        lw_buffer_print(&text, "%s%.*s..%.*s@%d", index == 0 ? "" : " ", (int)shard.start.size,
                        (const char *)shard.start.data, (int)shard.end.size,
                        (const char *)shard.end.data, (int)shard.epoch.range_version);
    }
    lw_buffer_append_u8(&text, 0);
    return (const char *)text.data;
}

/* The same of the shards that there are. */
static inline const char *all_shards(bench *on) {
    asked it = {.on = on, .done = true, .reply = lw_buffer_in(on->memory)};
    lw_shards_topology(on->shards, lw_view(NULL, 0), &it.reply);
    return told_shards(&it);
}

/* Every key of a scan over all shards. */
static inline const char *scan_all(bench *on) {
    lw_buffer text = lw_buffer_in(on->memory);
    for (uint32_t index = 0; index < lw_shards_count(on->shards); index++) {
        lw_shard_descriptor shard;
        lw_replica_descriptor(lw_shards_at(on->shards, index), &shard);
        lw_bytes start = lw_copy(on->memory, shard.start), end = lw_copy(on->memory, shard.end);
        on->route = start;
        const char *part = bench_scan(on, &(lw_scan_request){.lower = start, .upper = end});
        lw_buffer_print(&text, "%s%s", text.size > 0 && part[0] != 0 ? " " : "", part);
    }
    on->route = lw_view(NULL, 0);
    lw_buffer_append_u8(&text, 0);
    return (const char *)text.data;
}

static inline asked *prewrite_at(bench *on, uint64_t session, uint64_t start, const char *primary,
                                 const char *key, const char *value) {
    lw_mutation mutation = bench_put(key, value, LW_SEEN_ANYTHING);
    on->route = lw_text(key);
    asked *it = bench_prewrite(on, session, start, primary, 600000, &mutation, 1);
    on->route = lw_view(NULL, 0);
    return it;
}

static inline asked *finish_at(bench *on, uint64_t start, uint64_t commit_timestamp,
                               const char *key) {
    on->route = lw_text(key);
    asked *it = bench_finish(on, start, commit_timestamp, key);
    on->route = lw_view(NULL, 0);
    return it;
}

static inline asked *send_lock(bench *on, uint64_t session, uint64_t start, const char *key,
                               uint32_t wait_ms) {
    on->route = lw_text(key);
    asked *it = bench_ask(on, LW_MESSAGE_LOCK, session);
    on->route = lw_view(NULL, 0);
    lw_bytes keys[] = {lw_text(key)};
    lw_lock_request request = {.start = start, .keys = keys, .key_count = 1, .wait_ms = wait_ms};
    lw_lock_request_encode(&request, &it->body);
    return bench_send(it);
}

/* ---- with the power cut ---------------------------------------------------------------------- */

/* Lets the world go on until it is answered, or the power has failed. */
static inline bool answered(bench *on, const asked *it) {
    while (!it->done && lw_host_running(on->host) && lw_world_step(on->world)) {
    }
    return it->done && it->status == LW_OK;
}

/* A commit of `value` at `key`; whether it was acknowledged. */
static inline bool try_write(bench *on, const char *key, const char *value) {
    if (!lw_host_running(on->host)) {
        return false;
    }
    lw_mutation mutation = bench_put(key, value, LW_SEEN_ANYTHING);
    on->route = lw_text(key);
    lw_commit_now_request request = {
        .start = lw_shards_spare(on->shards), .mutations = &mutation, .mutation_count = 1};
    asked *it = bench_send_commit_now(on, &request);
    on->route = lw_view(NULL, 0);
    return answered(on, it);
}

#endif
