/* SPDX-License-Identifier: Apache-2.0 */
/* Records of members: signed, and held against their signatures. */
#include "lattice/member_private.h"

/* What a signature is of begins so, lest one made for another purpose serve as one. */
static const char purpose[] = "lathwork member 1";

static void write_signed(const lw_member *member, const uint8_t cluster_id[LW_MEMBER_CLUSTER_SIZE],
                         lw_buffer *out) {
    lw_write_array(out, LW_MEMBER_SIGNED_FIELDS);
    lw_write_u64(out, LW_MEMBER_VERSION);
    lw_write_bytes(out, lw_view(cluster_id, LW_MEMBER_CLUSTER_SIZE));
    lw_write_u64(out, member->node);
    lw_write_u64(out, member->incarnation);
    lw_write_u64(out, member->sequence);
    lw_write_u64(out, (uint64_t)member->state);
    lw_write_bytes(out, lw_view(member->public_key, LW_PUBLIC_KEY_SIZE));
    lw_write_text(out, member->address);
    lw_write_text(out, member->bus_address);
    lw_write_text(out, member->zone);
    lw_write_u64(out, member->capacity);
    lw_write_text(out, member->name);
    lw_write_u64(out, member->named);
    lw_write_array(out, member->key_count);
    for (uint32_t index = 0; index < member->key_count; index++) {
        lw_write_u64(out, member->key_epochs[index]);
    }
}

/* Puts what a signature is of into `message`, which has room for it; its size. */
static size_t signable(lw_bytes content, uint8_t message[sizeof(purpose) + LW_MEMBER_RECORD_MAX]) {
    LW_ASSERT(content.size <= LW_MEMBER_RECORD_MAX);
    memcpy(message, purpose, sizeof(purpose));
    memcpy(message + sizeof(purpose), content.data, content.size);
    return sizeof(purpose) + content.size;
}

void lw_member_encode(lw_member *member, const uint8_t cluster_id[LW_MEMBER_CLUSTER_SIZE],
                      const lw_identity *identity, lw_buffer *record) {
    memcpy(member->public_key, identity->public_key, LW_PUBLIC_KEY_SIZE);
    LW_ASSERT(lw_member_sound(member));
    LW_ASSERT(member->state == LW_MEMBER_GONE ||
              member->node == lw_identity_number(identity->public_key));
    lw_buffer content = lw_buffer_in(record->memory);
    write_signed(member, cluster_id, &content);
    uint8_t message[sizeof(purpose) + LW_MEMBER_RECORD_MAX], signature[LW_SIGNATURE_SIZE];
    size_t message_size = signable(lw_buffer_view(&content), message);
    lw_identity_sign(identity, lw_view(message, message_size), signature);
    size_t start = record->size;
    lw_write_array(record, LW_MEMBER_RECORD_FIELDS);
    lw_write_bytes(record, lw_buffer_view(&content));
    lw_write_bytes(record, lw_view(signature, LW_SIGNATURE_SIZE));
    LW_ASSERT(record->size - start <= LW_MEMBER_RECORD_MAX);
    lw_buffer_reset(&content);
}

lw_status lw_member_verify(lw_bytes record, const uint8_t cluster_id[LW_MEMBER_CLUSTER_SIZE],
                           lw_known *known, lw_member *member) {
    lw_member_parts parts;
    LW_TRY(lw_member_read(record, &parts));
    const lw_member *read = &parts.member;
    if (!lw_equal(parts.cluster_id, lw_view(cluster_id, LW_MEMBER_CLUSTER_SIZE))) {
        return lw_fail(LW_REFUSED, "a record of node %016llx is of another lattice",
                       (unsigned long long)read->node);
    }
    uint8_t message[sizeof(purpose) + LW_MEMBER_RECORD_MAX];
    size_t message_size = signable(parts.content, message);
    bool own = lw_identity_number(read->public_key) == read->node;
    if ((!own && read->state != LW_MEMBER_GONE) ||
        !lw_known_verify(known, read->public_key, lw_view(message, message_size),
                         parts.signature.data)) {
        return lw_fail(LW_REFUSED, "a record of node %016llx was not signed by it: it is forged",
                       (unsigned long long)read->node);
    }
    *member = *read;
    return LW_OK;
}
