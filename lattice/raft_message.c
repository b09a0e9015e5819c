/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/raft_message.h"

enum {
    MESSAGE_FIELDS = 16,
    FLAG_QUIESCE = 1,
    FLAG_GRANTED = 2,
};
/* Terms and indexes are counted up from; no group comes near. */
#define NUMBER_MAX (UINT64_MAX / 2)

/* How many of the message's entries run `run` has: the message may have been made shorter. */
static uint64_t run_length(const lw_raft_message *message, uint32_t run) {
    uint64_t end = message->index + message->count + 1;
    uint64_t next = run + 1 < message->run_count ? message->run_firsts[run + 1] : end;
    uint64_t first = message->run_firsts[run];
    if (first >= end) {
        return 0;
    }
    return (next < end ? next : end) - first;
}

static void write_runs(const lw_raft_message *message, lw_buffer *out) {
    uint32_t count = 0;
    while (count < message->run_count && run_length(message, count) > 0) {
        count++;
    }
    lw_write_array(out, 2 * count);
    for (uint32_t run = 0; run < count; run++) {
        lw_write_u64(out, run_length(message, run));
        lw_write_u64(out, message->run_terms[run]);
    }
}

void lw_raft_message_encode(uint64_t group, const lw_raft_message *message,
                            const lw_bytes *payloads, lw_buffer *out) {
    LW_ASSERT(message->count == 0 || message->run_count > 0);
    lw_write_array(out, MESSAGE_FIELDS);
    lw_write_u64(out, (uint64_t)message->kind);
    lw_write_u64(out, group);
    lw_write_u64(out, message->term);
    lw_write_u64(out, message->index);
    lw_write_u64(out, message->index_term);
    lw_write_u64(out, message->commit);
    lw_write_u64(out, message->round);
    lw_write_u64(out, message->sent_at);
    lw_write_u64(out, message->handover);
    lw_write_u64(out,
                 (message->quiesce ? FLAG_QUIESCE : 0) | (message->granted ? FLAG_GRANTED : 0));
    lw_write_u64(out, message->conflict_index);
    lw_write_u64(out, message->conflict_term);
    lw_write_u64(out, message->digest_index);
    lw_write_u64(out, message->digest);
    write_runs(message, out);
    lw_write_array(out, message->count);
    for (uint32_t place = 0; place < message->count; place++) {
        lw_write_bytes(out, payloads[place]);
    }
}

/* Runs that each hold entries, and rise in term. Answers how many entries they hold together. */
static uint64_t read_runs(lw_reader *reader, lw_raft_message *message) {
    uint32_t count = lw_read_array(reader);
    if (count % 2 != 0 || count / 2 > LW_RAFT_RUNS_MAX) {
        lw_reader_fail(reader);
        return 0;
    }
    uint64_t entries = 0;
    uint64_t term = message->index_term;
    for (uint32_t run = 0; run < count / 2; run++) {
        uint64_t length = lw_read_u64_max(reader, UINT32_MAX);
        uint64_t run_term = lw_read_u64_max(reader, message->term);
        bool rises = run == 0 ? run_term >= term : run_term > term;
        if (length == 0 || !rises) {
            lw_reader_fail(reader);
            return 0;
        }
        message->run_firsts[run] = message->index + 1 + entries;
        message->run_terms[run] = run_term;
        entries += length;
        term = run_term;
    }
    message->run_count = count / 2;
    return entries;
}

/* Walks over the payloads, so that who takes them later meets only good ones. */
static lw_reader read_entries(lw_reader *reader, lw_raft_message *message) {
    message->count = lw_read_array(reader);
    lw_reader entries = *reader;
    for (uint32_t place = 0; place < message->count && lw_reader_ok(reader); place++) {
        (void)lw_read_bytes(reader);
    }
    entries.rest.size -= reader->rest.size;
    return entries;
}

lw_status lw_raft_message_decode(lw_bytes bytes, uint64_t *group, lw_raft_message *message,
                                 lw_reader *entries) {
    lw_reader reader = lw_reader_of(bytes);
    uint32_t extra = lw_read_array_of(&reader, MESSAGE_FIELDS);
    uint64_t kind = lw_read_u64_max(&reader, LW_RAFT_GONE);
    uint64_t read_group = lw_read_u64(&reader);
    lw_raft_message read = {.kind = (lw_raft_kind)kind};
    read.term = lw_read_u64_max(&reader, NUMBER_MAX);
    read.index = lw_read_u64_max(&reader, NUMBER_MAX);
    read.index_term = lw_read_u64(&reader);
    read.commit = lw_read_u64(&reader);
    read.round = lw_read_u64(&reader);
    read.sent_at = lw_read_u64(&reader);
    read.handover = lw_read_u64(&reader);
    uint64_t flags = lw_read_u64(&reader);
    read.quiesce = (flags & FLAG_QUIESCE) != 0;
    read.granted = (flags & FLAG_GRANTED) != 0;
    read.conflict_index = lw_read_u64(&reader);
    read.conflict_term = lw_read_u64(&reader);
    read.digest_index = lw_read_u64(&reader);
    read.digest = lw_read_u64(&reader);
    uint64_t announced = read_runs(&reader, &read);
    lw_reader payloads = read_entries(&reader, &read);
    lw_read_skip(&reader, extra);
    bool sound = kind != 0 && announced == read.count &&
                 (read.count == 0 || kind == LW_RAFT_APPEND) && read.index_term <= read.term;
    if (!lw_reader_done(&reader) || !sound) {
        return lw_fail(LW_INVALID_ARGUMENT, "a consensus message of %zu bytes is not well-formed",
                       bytes.size);
    }
    *group = read_group;
    *message = read;
    *entries = payloads;
    return LW_OK;
}

lw_bytes lw_raft_payload_next(lw_reader *entries) {
    return lw_read_bytes(entries);
}
