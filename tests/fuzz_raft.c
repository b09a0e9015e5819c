/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a message between the members of a group. Properties:
 *   1. a message that is accepted, written again, is read as the same, entries and all;
 *   2. a leader and a follower that receive it take no harm, whatever it says, and tell no more of
 *      it to write than it brought. */
#include "lattice/raft_message.h"

enum { SECOND = 1000000000, EFFECTS_MAX = 1000 };

static void check_again(uint64_t group, const lw_raft_message *message, lw_reader entries,
                        lw_memory *memory) {
    lw_bytes *payloads = lw_allocate(memory, (message->count + 1) * sizeof(lw_bytes));
    for (uint32_t place = 0; place < message->count; place++) {
        payloads[place] = lw_raft_payload_next(&entries);
    }
    LW_ASSERT(lw_reader_done(&entries));
    lw_buffer again = lw_buffer_in(memory);
    lw_raft_message_encode(group, message, payloads, &again);
    uint64_t group_read;
    lw_raft_message read;
    lw_status status = lw_raft_message_decode(lw_buffer_view(&again), &group_read, &read, &entries);
    LW_ASSERT(status == LW_OK);
    LW_ASSERT(group_read == group);
    lw_buffer third = lw_buffer_in(memory);
    lw_raft_message_encode(group_read, &read, payloads, &third);
    LW_ASSERT(lw_equal(lw_buffer_view(&again), lw_buffer_view(&third)));
    for (uint32_t place = 0; place < message->count; place++) {
        LW_ASSERT(lw_equal(payloads[place], lw_raft_payload_next(&entries)));
    }
}

static void drain(lw_raft *core) {
    lw_raft_effect effect;
    uint32_t count = 0;
    while (lw_raft_next(core, &effect)) {
        LW_ASSERT(++count < EFFECTS_MAX);
        if (effect.kind == LW_RAFT_SAVE) {
            lw_raft_saved(core, effect.term, effect.vote);
        } else if (effect.kind == LW_RAFT_SEND && effect.message.count > 0) {
            lw_raft_sent(core, effect.message.to, effect.message.term, effect.message.count, 1);
        }
    }
}

/* Node 1 of three, with a few entries of two terms. */
static void begin(lw_raft *core) {
    lw_raft_options options = {.self = 1,
                               .term = 3,
                               .seed = 1,
                               .election_timeout_ns = SECOND,
                               .heartbeat_ns = SECOND / 10,
                               .quiesce_after_ns = SECOND,
                               .drift_ppm = 1000,
                               .entries_in_flight_max = 8,
                               .bytes_in_flight_max = 100,
                               .entries_per_append_max = 4};
    options.config.count = 3;
    for (uint32_t place = 0; place < 3; place++) {
        options.config.members[place] =
            (lw_raft_member){.node = place + 1, .membership = LW_RAFT_VOTER};
    }
    lw_raft_init(core, &options);
    for (uint64_t index = 1; index <= 6; index++) {
        lw_status status = lw_raft_replay(core, index, index < 4 ? 1 : 3, index / 2, NULL);
        LW_ASSERT(status == LW_OK);
    }
    lw_raft_start(core, SECOND);
    drain(core);
}

static void lead(lw_raft *core, uint64_t now) {
    lw_raft_tick(core, now);
    drain(core);
    lw_raft_message reply = {
        .kind = LW_RAFT_PREVOTE_REPLY, .from = 2, .to = 1, .term = 4, .granted = true};
    lw_raft_write write;
    lw_raft_receive(core, &reply, now, &write);
    drain(core);
    reply.kind = LW_RAFT_VOTE_REPLY;
    lw_raft_receive(core, &reply, now, &write);
    LW_ASSERT(core->role == LW_RAFT_LEADER);
    LW_ASSERT(lw_raft_propose(core, 1, NULL, now, &write) == LW_OK);
    drain(core);
}

static void receive(bool leading, lw_raft_message message) {
    lw_raft core;
    uint64_t now = 4 * (uint64_t)SECOND;
    begin(&core);
    if (leading) {
        lead(&core, now);
    }
    message.from = 2;
    message.to = 1;
    uint64_t commit = core.commit;
    for (uint32_t times = 0; times < 2; times++) {
        lw_raft_write write;
        lw_raft_receive(&core, &message, now, &write);
        LW_ASSERT(write.count <= message.count);
        LW_ASSERT(write.count == 0 || write.first > message.index);
        drain(&core);
        lw_raft_persisted(&core, core.last_index, core.cuts);
        drain(&core);
    }
    LW_ASSERT(core.commit >= commit);
    LW_ASSERT(core.commit <= core.last_index);
    lw_raft_tick(&core, now + 9 * (uint64_t)SECOND);
    drain(&core);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint64_t group;
    lw_raft_message message;
    lw_reader entries;
    if (lw_raft_message_decode(lw_view(data, size), &group, &message, &entries) != LW_OK) {
        return 0;
    }
    lw_memory *memory = lw_memory_open();
    check_again(group, &message, entries, memory);
    lw_memory_close(memory);
    receive(false, message);
    receive(true, message);
    return 0;
}
