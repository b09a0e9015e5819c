/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a record, a row of NODES, an entry of the directory, what a node that is trusted to
 * sign says over the bus, and as reports of the lattice; the first byte chooses which. Properties:
 * an entry that is accepted and written again is accepted again, and the same; whatever is said,
 * the one who hears it goes on, says nothing too long, and keeps little. */
#include "lattice/gossip_private.h"
#include "lattice/report.h"

enum { RECORD, ROWS, ENTRY, SAID, REPORT, KINDS };
enum { MEMORY_MAX = 4 * 1024 * 1024 };

static const uint8_t cluster[LW_MEMBER_CLUSTER_SIZE] = "our own lattice";

static void check_record(lw_bytes bytes) {
    lw_member member;
    if (lw_member_decode(bytes, &member) == LW_OK) {
        LW_ASSERT(member.node != 0 && member.address.size <= LW_MEMBER_ADDRESS_MAX);
        LW_ASSERT(lw_member_order(&member, bytes, &member, bytes) == 0);
    }
    LW_ASSERT(lw_member_verify(bytes, cluster, NULL, &member) != LW_OK ||
              bytes.size > LW_SIGNATURE_SIZE);
}

static void check_rows(lw_bytes bytes) {
    lw_reader reader;
    uint32_t count;
    lw_member_row row;
    if (lw_member_rows_open(bytes, &reader, &count) == LW_OK) {
        while (count-- > 0 && lw_member_row_next(&reader, &row) == LW_OK) {
            LW_ASSERT(row.record.size <= LW_MEMBER_RECORD_MAX);
        }
    }
}

static void check_entry(lw_bytes bytes, lw_memory *memory) {
    lw_reader reader = lw_reader_of(bytes);
    lw_directory_row row, again;
    lw_buffer once = lw_buffer_in(memory), twice = lw_buffer_in(memory);
    if (lw_directory_row_next(&reader, &row) == LW_OK) {
        lw_directory_row_encode(&row, &once);
        reader = lw_reader_of(lw_buffer_view(&once));
        LW_ASSERT(lw_directory_row_next(&reader, &again) == LW_OK && lw_reader_done(&reader));
        lw_directory_row_encode(&again, &twice);
        LW_ASSERT(lw_equal(lw_buffer_view(&once), lw_buffer_view(&twice)));
    }
}

static lw_gossip *open_node(lw_memory *memory, lw_identity *identity, uint8_t number) {
    uint8_t seed[LW_SEED_SIZE] = {number};
    lw_identity_derive(seed, identity);
    lw_gossip_options options = {.memory = memory,
                                 .identity = identity,
                                 .self = {.node = lw_identity_number(identity->public_key),
                                          .incarnation = 1,
                                          .state = LW_MEMBER_UP,
                                          .address = lw_text("a:1")}};
    memcpy(options.cluster_id, cluster, sizeof(cluster));
    return lw_gossip_open(&options, 1000);
}

static void check_said(lw_bytes bytes, lw_memory *memory) {
    lw_identity identities[2];
    lw_gossip *says = open_node(memory, &identities[0], 1),
              *hears = open_node(memory, &identities[1], 2);
    LW_ASSERT(lw_identity_number(identities[0].public_key) !=
              lw_identity_number(identities[1].public_key));
    lw_bytes record = lw_members_record(lw_gossip_members(says), 0);
    lw_buffer page = lw_buffer_in(memory);
    lw_write_array(&page, 1);
    lw_write_bytes(&page, record);
    LW_ASSERT(lw_gossip_learn(hears, lw_buffer_view(&page), 1000) == LW_OK);
    lw_bus_kind kind = (lw_bus_kind)(bytes.size == 0 ? 1 : 1 + bytes.data[0] % LW_BUS_KIND_LAST);
    lw_bytes content = bytes.size == 0 ? bytes : lw_view(bytes.data + 1, bytes.size - 1);
    if (content.size > GOSSIP_CONTENT_MAX) {
        return;
    }
    gossip_say(says, kind, 0, content);
    lw_gossip_message message;
    LW_ASSERT(lw_gossip_next_message(says, &message));
    lw_bus_message heard = {
        .kind = kind, .from = lw_identity_number(identities[0].public_key), .body = message.body};
    lw_gossip_receive(hears, &heard, 2000);
    lw_gossip_tick(hears, 2000);
    while (lw_gossip_next_message(hears, &message)) {
        LW_ASSERT(message.body.size <= LW_BUS_BODY_SIZE_MAX);
    }
    LW_ASSERT(lw_memory_used(memory) < MEMORY_MAX);
}

static void check_report(lw_bytes bytes) {
    lw_reader reader;
    uint32_t count;
    uint64_t number;
    bool flag;
    lw_event_row event;
    lw_plan_row plan;
    if (lw_report_open(bytes, &reader, &count) == LW_OK) {
        lw_reader again = reader;
        while (lw_event_row_next(&reader, &event) == LW_OK) {
        }
        while (lw_plan_row_next(&again, &plan) == LW_OK) {
        }
    }
    LW_ASSERT(lw_events_request_decode(bytes, &number) != LW_OK || bytes.size >= 2);
    LW_ASSERT(lw_node_request_decode(bytes, &number, &flag) != LW_OK || bytes.size >= 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    lw_bytes bytes = lw_view(data + 1, size - 1);
    lw_memory *memory = lw_memory_open();
    switch (data[0] % KINDS) {
    case RECORD:
        check_record(bytes);
        break;
    case ROWS:
        check_rows(bytes);
        break;
    case ENTRY:
        check_entry(bytes, memory);
        break;
    case SAID:
        check_said(bytes, memory);
        break;
    case REPORT:
        check_report(bytes);
        break;
    }
    lw_memory_close(memory);
    return 0;
}
