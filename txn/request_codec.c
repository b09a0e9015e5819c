/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/request_codec.h"

#include "txn/atomic.h"

request_decoder request_open(lw_bytes body, lw_arena *arena, uint32_t known) {
    request_decoder opened = {.reader = lw_reader_of(body), .arena = arena};
    opened.extra = lw_read_array_of(&opened.reader, known);
    return opened;
}

void request_demand(request_decoder *from, bool holds, const char *flaw) {
    if (!holds && lw_reader_ok(&from->reader)) {
        from->flaw = flaw;
        lw_reader_fail(&from->reader);
    }
}

lw_status request_close(request_decoder *from, const char *name) {
    lw_read_skip(&from->reader, from->extra);
    if (from->flaw != NULL) {
        return lw_fail(LW_INVALID_ARGUMENT, "a %s cannot be taken: %s", name, from->flaw);
    }
    if (!lw_reader_done(&from->reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a %s is not well-formed", name);
    }
    return LW_OK;
}

uint64_t request_number(request_decoder *from) {
    return lw_read_u64(&from->reader);
}

uint32_t request_u32(request_decoder *from) {
    return (uint32_t)lw_read_u64_max(&from->reader, UINT32_MAX);
}

bool request_flag(request_decoder *from) {
    return lw_read_bool(&from->reader);
}

uint64_t request_timestamp(request_decoder *from, const char *flaw) {
    uint64_t timestamp = lw_read_u64(&from->reader);
    request_demand(from, timestamp != 0, flaw);
    return timestamp;
}

uint64_t request_start(request_decoder *from) {
    return request_timestamp(from, "it names no transaction");
}

lw_bytes request_key(request_decoder *from) {
    lw_bytes key = lw_read_bytes(&from->reader);
    request_demand(from, key.size > 0, "a key is empty");
    request_demand(from, key.size <= LW_USER_KEY_SIZE_MAX, "a key is longer than 16 KiB");
    return key;
}

lw_bytes request_bound(request_decoder *from) {
    lw_bytes bound = lw_read_bytes(&from->reader);
    request_demand(from, bound.size <= LW_USER_KEY_SIZE_MAX + 1,
                   "the bound of a range is longer than 16 KiB");
    return bound;
}

lw_bytes request_value(request_decoder *from) {
    lw_bytes value = lw_read_bytes(&from->reader);
    request_demand(from, value.size <= LW_USER_VALUE_SIZE_MAX, "a value is longer than 16 MiB");
    return value;
}

/* Enters an inner array, which has exactly so many fields. */
void request_fields(request_decoder *from, uint32_t count) {
    if (lw_read_array_of(&from->reader, count) != 0) {
        lw_reader_fail(&from->reader);
    }
}

/* The count of an array of items that take at least `encoded_size_min` bytes each. */
uint32_t request_count(request_decoder *from, size_t encoded_size_min) {
    uint32_t count = lw_read_array(&from->reader);
    request_demand(from, count <= LW_REQUEST_ITEM_COUNT_MAX,
                   "it has more than 262144 items in one array");
    request_demand(from, count <= from->reader.rest.size / encoded_size_min,
                   "it announces more items than it holds");
    return lw_reader_ok(&from->reader) ? count : 0;
}

/* ---- items ---------------------------------------------------------------------------------- */

void request_write_keys(lw_buffer *body, const lw_bytes *keys, uint32_t key_count) {
    lw_write_array(body, key_count);
    for (uint32_t index = 0; index < key_count; index++) {
        lw_write_bytes(body, keys[index]);
    }
}

const lw_bytes *request_read_keys(request_decoder *from, uint32_t *key_count) {
    uint32_t count = request_count(from, REQUEST_KEY_SIZE_MIN);
    lw_bytes *keys = lw_arena_allocate(from->arena, count * sizeof(*keys));
    for (uint32_t index = 0; index < count; index++) {
        keys[index] = request_key(from);
    }
    *key_count = count;
    return keys;
}

void request_write_values(lw_buffer *body, const lw_get_value *values, uint32_t value_count) {
    lw_write_array(body, value_count);
    for (uint32_t index = 0; index < value_count; index++) {
        lw_write_array(body, 3);
        lw_write_bool(body, values[index].found);
        lw_write_u64(body, values[index].commit_timestamp);
        lw_write_bytes(body, values[index].value);
    }
}

const lw_get_value *request_read_values(request_decoder *from, uint32_t *value_count) {
    uint32_t count = request_count(from, REQUEST_VALUE_SIZE_MIN);
    lw_get_value *values = lw_arena_allocate(from->arena, count * sizeof(*values));
    for (uint32_t index = 0; index < count; index++) {
        request_fields(from, 3);
        values[index].found = request_flag(from);
        values[index].commit_timestamp = request_number(from);
        values[index].value = request_value(from);
        request_demand(from, values[index].found || values[index].value.size == 0,
                       "a key without a value has one");
    }
    *value_count = count;
    return values;
}

/* What stands in the place of the kind of a PUT that expires. */
enum { EXPIRING_PUT = LW_MUTATION_STAMP + 1, TTL_SIZE = 8 };

void request_write_mutations(lw_buffer *body, const lw_mutation *mutations,
                             uint32_t mutation_count) {
    lw_write_array(body, mutation_count);
    for (uint32_t index = 0; index < mutation_count; index++) {
        const lw_mutation *mutation = &mutations[index];
        LW_ASSERT(mutation->expires == 0);
        lw_write_array(body, 4);
        lw_write_u64(body, mutation->ttl_ms == 0 ? mutation->kind : EXPIRING_PUT);
        lw_write_bytes(body, mutation->key);
        if (mutation->ttl_ms == 0) {
            lw_write_bytes(body, mutation->value);
        } else {
            uint8_t ttl[TTL_SIZE];
            lw_put_u64(ttl, mutation->ttl_ms);
            lw_write_bytes_of(body, lw_view(ttl, sizeof(ttl)), mutation->value);
        }
        lw_write_u64(body, mutation->seen);
    }
}

static lw_mutation_kind read_mutation_kind(request_decoder *from, bool *expires) {
    uint64_t kind = request_number(from);
    request_demand(from, kind >= LW_MUTATION_PUT && kind <= EXPIRING_PUT,
                   "a mutation is of an unknown kind");
    *expires = kind == EXPIRING_PUT;
    return *expires ? LW_MUTATION_PUT : (lw_mutation_kind)(kind & UINT8_MAX);
}

/* The value of a PUT behind its time to live. */
static lw_bytes read_expiring(request_decoder *from, uint64_t *ttl_ms) {
    lw_bytes bytes = lw_read_bytes(&from->reader);
    request_demand(from, bytes.size >= TTL_SIZE, "a value that expires does not say when");
    request_demand(from, bytes.size <= TTL_SIZE + LW_USER_VALUE_SIZE_MAX,
                   "a value is longer than 16 MiB");
    if (!lw_reader_ok(&from->reader)) {
        return (lw_bytes){0};
    }
    *ttl_ms = lw_get_u64(bytes.data);
    request_demand(from, *ttl_ms > 0 && *ttl_ms <= LW_USER_TTL_MAX_MS,
                   "a time to live is 0, or longer than 139 years");
    return lw_view(bytes.data + TTL_SIZE, bytes.size - TTL_SIZE);
}

const lw_mutation *request_read_mutations(request_decoder *from, uint32_t *mutation_count) {
    uint32_t count = request_count(from, REQUEST_MUTATION_SIZE_MIN);
    request_demand(from, count > 0, "it has no mutations");
    lw_mutation *mutations = lw_arena_allocate(from->arena, count * sizeof(*mutations));
    lw_bytes before = {0};
    for (uint32_t index = 0; index < count; index++) {
        bool expires;
        lw_mutation *mutation = &mutations[index];
        request_fields(from, 4);
        *mutation = (lw_mutation){.kind = read_mutation_kind(from, &expires)};
        mutation->key = request_key(from);
        mutation->value = expires ? read_expiring(from, &mutation->ttl_ms) : request_value(from);
        mutation->seen = request_number(from);
        request_demand(from, lw_atomic_operand_valid(mutation->kind, mutation->value),
                       "a mutation has a value or an operand that its kind cannot have");
        request_demand(from, lw_compare(before, mutation->key) < 0,
                       "its mutations are not in the order of their keys, each key once");
        before = mutation->key;
    }
    *mutation_count = count;
    return mutations;
}

void request_write_seen_keys(lw_buffer *body, const lw_seen_key *keys, uint32_t key_count) {
    lw_write_array(body, key_count);
    for (uint32_t index = 0; index < key_count; index++) {
        lw_write_array(body, 2);
        lw_write_bytes(body, keys[index].key);
        lw_write_u64(body, keys[index].seen);
    }
}

const lw_seen_key *request_read_seen_keys(request_decoder *from, uint32_t *key_count) {
    uint32_t count = request_count(from, REQUEST_SEEN_KEY_SIZE_MIN);
    lw_seen_key *keys = lw_arena_allocate(from->arena, count * sizeof(*keys));
    for (uint32_t index = 0; index < count; index++) {
        request_fields(from, 2);
        keys[index].key = request_key(from);
        keys[index].seen = request_number(from);
    }
    *key_count = count;
    return keys;
}

void request_write_seen_ranges(lw_buffer *body, const lw_seen_range *ranges, uint32_t range_count) {
    lw_write_array(body, range_count);
    for (uint32_t index = 0; index < range_count; index++) {
        lw_write_array(body, 3);
        lw_write_bytes(body, ranges[index].lower);
        lw_write_bytes(body, ranges[index].upper);
        lw_write_u64(body, ranges[index].seen);
    }
}

const lw_seen_range *request_read_seen_ranges(request_decoder *from, uint32_t *range_count) {
    uint32_t count = request_count(from, REQUEST_SEEN_RANGE_SIZE_MIN);
    lw_seen_range *ranges = lw_arena_allocate(from->arena, count * sizeof(*ranges));
    for (uint32_t index = 0; index < count; index++) {
        request_fields(from, 3);
        ranges[index].lower = request_bound(from);
        ranges[index].upper = request_bound(from);
        ranges[index].seen = request_number(from);
    }
    *range_count = count;
    return ranges;
}
