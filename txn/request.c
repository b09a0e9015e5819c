/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of requests and replies about transactions. See request.h.
 *
 * Each is one MessagePack array. Numbers are unsigned; keys, values and bounds are bin, labels str.
 *
 *   timestamp request   [ count ]
 *   timestamp reply     [ first ]
 *   get request         [ read timestamp, start, [ key ... ] ]
 *   get reply           [ read timestamp, [ value ... ] ]
 *   scan request        [ read timestamp, start, lower, upper, backwards, keys only, row limit,
 *                         byte limit ]
 *   scan reply          [ read timestamp, more, [ [ key, value ] ... ] ]
 *   commit now request  [ start, [ mutation ... ], [ seen key ... ], [ seen range ... ] ]
 *   commit reply        [ commit timestamp, [ [ applied, found, value ] ... ] ]
 *   prewrite request    [ start, primary, lifetime ms, [ mutation ... ] ]
 *   validate request    [ start, commit timestamp, [ seen key ... ], [ seen range ... ] ]
 *   finish request      [ start, commit timestamp, [ key ... ] ]
 *   check request       [ start, primary, decide ]
 *   check reply         [ fate, commit timestamp, remaining ms ]
 *   lock request        [ start, [ key ... ], wait ms, read ]
 *   lock reply          [ start, for update, [ value ... ] ]
 *   heartbeat request   [ start, primary, lifetime ms ]
 *   obstacle            [ kind, key, start, commit timestamp, primary, label ]
 *
 *   mutation            [ kind, key, value, seen ]
 *   seen key            [ key, seen ]
 *   seen range          [ lower, upper, seen ]
 *   value               [ found, commit timestamp, value ]
 *
 * The outer array may grow at its end, and what a reader does not know there it skips; the inner
 * ones never change, so that a newer peer cannot make an older one misread a mutation.
 *
 * Invariants
 * Q1. A decoder takes from the arena at most LW_REQUEST_ITEM_COUNT_MAX items an array, and never
 *     more items than the bytes at hand can hold.
 * Q2. What a decoder accepted may be used as it is: kinds are known, keys fit a tree, mutations are
 *     distinct and ascend by key. */
#include "txn/atomic.h"

/* ---- decoding, shared ----------------------------------------------------------------------- */

/* A message being read. The first thing wrong with it is kept in words, and fails the reader. */
typedef struct decoder {
    lw_reader reader;
    lw_arena *arena;
    const char *flaw;
    uint32_t extra; /* fields at the end that only a newer peer knows */
} decoder;

static decoder decoder_open(lw_bytes body, lw_arena *arena, uint32_t known) {
    decoder opened = {.reader = lw_reader_of(body), .arena = arena};
    opened.extra = lw_read_array_of(&opened.reader, known);
    return opened;
}

static void demand(decoder *from, bool holds, const char *flaw) {
    if (!holds && lw_reader_ok(&from->reader)) {
        from->flaw = flaw;
        lw_reader_fail(&from->reader);
    }
}

static lw_status decoder_close(decoder *from, const char *name) {
    lw_read_skip(&from->reader, from->extra);
    if (from->flaw != NULL) {
        return lw_fail(LW_INVALID_ARGUMENT, "a %s cannot be taken: %s", name, from->flaw);
    }
    if (!lw_reader_done(&from->reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a %s is not well-formed", name);
    }
    return LW_OK;
}

static uint64_t read_number(decoder *from) {
    return lw_read_u64(&from->reader);
}

static uint32_t read_u32(decoder *from) {
    return (uint32_t)lw_read_u64_max(&from->reader, UINT32_MAX);
}

static bool read_flag(decoder *from) {
    return lw_read_bool(&from->reader);
}

/* A timestamp that names a transaction or a commit, and so cannot be 0. */
static uint64_t read_timestamp(decoder *from, const char *flaw) {
    uint64_t timestamp = lw_read_u64(&from->reader);
    demand(from, timestamp != 0, flaw);
    return timestamp;
}

static uint64_t read_start(decoder *from) {
    return read_timestamp(from, "it names no transaction");
}

static lw_bytes read_key(decoder *from) {
    lw_bytes key = lw_read_bytes(&from->reader);
    demand(from, key.size > 0, "a key is empty");
    demand(from, key.size <= LW_USER_KEY_SIZE_MAX, "a key is longer than 16 KiB");
    return key;
}

static lw_bytes read_bound(decoder *from) {
    lw_bytes bound = lw_read_bytes(&from->reader);
    demand(from, bound.size <= LW_USER_KEY_SIZE_MAX + 1,
           "the bound of a range is longer than 16 KiB");
    return bound;
}

static lw_bytes read_value(decoder *from) {
    lw_bytes value = lw_read_bytes(&from->reader);
    demand(from, value.size <= LW_USER_VALUE_SIZE_MAX, "a value is longer than 16 MiB");
    return value;
}

/* Enters an inner array, which has exactly so many fields. */
static void read_fields(decoder *from, uint32_t count) {
    if (lw_read_array_of(&from->reader, count) != 0) {
        lw_reader_fail(&from->reader);
    }
}

/* The count of an array of items that take at least `encoded_size_min` bytes each. */
static uint32_t read_count(decoder *from, size_t encoded_size_min) {
    uint32_t count = lw_read_array(&from->reader);
    demand(from, count <= LW_REQUEST_ITEM_COUNT_MAX, "it has more than 262144 items in one array");
    demand(from, count <= from->reader.rest.size / encoded_size_min,
           "it announces more items than it holds");
    return lw_reader_ok(&from->reader) ? count : 0;
}

/* ---- items ---------------------------------------------------------------------------------- */

/* Bytes of the shortest encoding of each, for read_count. */
enum {
    KEY_SIZE_MIN = 3,        /* bin header 2 · 1 */
    VALUE_SIZE_MIN = 5,      /* array · bool · number · bin header 2 */
    ROW_SIZE_MIN = 6,        /* array · key 3 · bin header 2 */
    MUTATION_SIZE_MIN = 8,   /* array · kind · key 3 · bin header 2 · number */
    RESULT_SIZE_MIN = 5,     /* array · 2 bools · bin header 2 */
    SEEN_KEY_SIZE_MIN = 5,   /* array · key 3 · number */
    SEEN_RANGE_SIZE_MIN = 6, /* array · 2 bin headers 4 · number */
};

static void write_keys(lw_buffer *body, const lw_bytes *keys, uint32_t key_count) {
    lw_write_array(body, key_count);
    for (uint32_t index = 0; index < key_count; index++) {
        lw_write_bytes(body, keys[index]);
    }
}

static const lw_bytes *read_keys(decoder *from, uint32_t *key_count) {
    uint32_t count = read_count(from, KEY_SIZE_MIN);
    lw_bytes *keys = lw_arena_allocate(from->arena, count * sizeof(*keys));
    for (uint32_t index = 0; index < count; index++) {
        keys[index] = read_key(from);
    }
    *key_count = count;
    return keys;
}

static void write_values(lw_buffer *body, const lw_get_value *values, uint32_t value_count) {
    lw_write_array(body, value_count);
    for (uint32_t index = 0; index < value_count; index++) {
        lw_write_array(body, 3);
        lw_write_bool(body, values[index].found);
        lw_write_u64(body, values[index].commit_timestamp);
        lw_write_bytes(body, values[index].value);
    }
}

static const lw_get_value *read_values(decoder *from, uint32_t *value_count) {
    uint32_t count = read_count(from, VALUE_SIZE_MIN);
    lw_get_value *values = lw_arena_allocate(from->arena, count * sizeof(*values));
    for (uint32_t index = 0; index < count; index++) {
        read_fields(from, 3);
        values[index].found = read_flag(from);
        values[index].commit_timestamp = read_number(from);
        values[index].value = read_value(from);
        demand(from, values[index].found || values[index].value.size == 0,
               "a key without a value has one");
    }
    *value_count = count;
    return values;
}

static void write_mutations(lw_buffer *body, const lw_mutation *mutations,
                            uint32_t mutation_count) {
    lw_write_array(body, mutation_count);
    for (uint32_t index = 0; index < mutation_count; index++) {
        lw_write_array(body, 4);
        lw_write_u64(body, mutations[index].kind);
        lw_write_bytes(body, mutations[index].key);
        lw_write_bytes(body, mutations[index].value);
        lw_write_u64(body, mutations[index].seen);
    }
}

static lw_mutation_kind read_mutation_kind(decoder *from) {
    uint64_t kind = read_number(from);
    demand(from, kind >= LW_MUTATION_PUT && kind <= LW_MUTATION_STAMP,
           "a mutation is of an unknown kind");
    return (lw_mutation_kind)(kind & UINT8_MAX);
}

static const lw_mutation *read_mutations(decoder *from, uint32_t *mutation_count) {
    uint32_t count = read_count(from, MUTATION_SIZE_MIN);
    demand(from, count > 0, "it has no mutations");
    lw_mutation *mutations = lw_arena_allocate(from->arena, count * sizeof(*mutations));
    lw_bytes before = {0};
    for (uint32_t index = 0; index < count; index++) {
        lw_mutation *mutation = &mutations[index];
        read_fields(from, 4);
        mutation->kind = read_mutation_kind(from);
        mutation->key = read_key(from);
        mutation->value = read_value(from);
        mutation->seen = read_number(from);
        demand(from, lw_atomic_operand_valid(mutation->kind, mutation->value),
               "a mutation has a value or an operand that its kind cannot have");
        demand(from, lw_compare(before, mutation->key) < 0,
               "its mutations are not in the order of their keys, each key once");
        before = mutation->key;
    }
    *mutation_count = count;
    return mutations;
}

static void write_seen_keys(lw_buffer *body, const lw_seen_key *keys, uint32_t key_count) {
    lw_write_array(body, key_count);
    for (uint32_t index = 0; index < key_count; index++) {
        lw_write_array(body, 2);
        lw_write_bytes(body, keys[index].key);
        lw_write_u64(body, keys[index].seen);
    }
}

static const lw_seen_key *read_seen_keys(decoder *from, uint32_t *key_count) {
    uint32_t count = read_count(from, SEEN_KEY_SIZE_MIN);
    lw_seen_key *keys = lw_arena_allocate(from->arena, count * sizeof(*keys));
    for (uint32_t index = 0; index < count; index++) {
        read_fields(from, 2);
        keys[index].key = read_key(from);
        keys[index].seen = read_number(from);
    }
    *key_count = count;
    return keys;
}

static void write_seen_ranges(lw_buffer *body, const lw_seen_range *ranges, uint32_t range_count) {
    lw_write_array(body, range_count);
    for (uint32_t index = 0; index < range_count; index++) {
        lw_write_array(body, 3);
        lw_write_bytes(body, ranges[index].lower);
        lw_write_bytes(body, ranges[index].upper);
        lw_write_u64(body, ranges[index].seen);
    }
}

static const lw_seen_range *read_seen_ranges(decoder *from, uint32_t *range_count) {
    uint32_t count = read_count(from, SEEN_RANGE_SIZE_MIN);
    lw_seen_range *ranges = lw_arena_allocate(from->arena, count * sizeof(*ranges));
    for (uint32_t index = 0; index < count; index++) {
        read_fields(from, 3);
        ranges[index].lower = read_bound(from);
        ranges[index].upper = read_bound(from);
        ranges[index].seen = read_number(from);
    }
    *range_count = count;
    return ranges;
}

/* ---- TIMESTAMP ------------------------------------------------------------------------------ */

void lw_timestamp_request_encode(const lw_timestamp_request *message, lw_buffer *body) {
    lw_write_array(body, 1);
    lw_write_u64(body, message->count);
}

lw_status lw_timestamp_request_decode(lw_bytes body, lw_arena *arena,
                                      lw_timestamp_request *message) {
    decoder from = decoder_open(body, arena, 1);
    lw_timestamp_request read = {.count = read_u32(&from)};
    demand(&from, read.count >= 1 && read.count <= LW_TIMESTAMP_COUNT_MAX,
           "it asks for none, or for more than 65536 timestamps");
    LW_TRY(decoder_close(&from, "timestamp request"));
    *message = read;
    return LW_OK;
}

void lw_timestamp_reply_encode(const lw_timestamp_reply *message, lw_buffer *body) {
    lw_write_array(body, 1);
    lw_write_u64(body, message->first);
}

lw_status lw_timestamp_reply_decode(lw_bytes body, lw_arena *arena, lw_timestamp_reply *message) {
    decoder from = decoder_open(body, arena, 1);
    lw_timestamp_reply read = {.first = read_timestamp(&from, "its timestamp is 0")};
    LW_TRY(decoder_close(&from, "timestamp reply"));
    *message = read;
    return LW_OK;
}

/* ---- GET ------------------------------------------------------------------------------------ */

void lw_get_request_encode(const lw_get_request *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->read_timestamp);
    lw_write_u64(body, message->start);
    write_keys(body, message->keys, message->key_count);
}

lw_status lw_get_request_decode(lw_bytes body, lw_arena *arena, lw_get_request *message) {
    decoder from = decoder_open(body, arena, 3);
    lw_get_request read = {.read_timestamp = read_number(&from)};
    read.start = read_number(&from);
    read.keys = read_keys(&from, &read.key_count);
    demand(&from, read.key_count > 0, "it asks for no key");
    LW_TRY(decoder_close(&from, "get request"));
    *message = read;
    return LW_OK;
}

void lw_get_reply_encode(const lw_get_reply *message, lw_buffer *body) {
    lw_write_array(body, 2);
    lw_write_u64(body, message->read_timestamp);
    write_values(body, message->values, message->value_count);
}

lw_status lw_get_reply_decode(lw_bytes body, lw_arena *arena, lw_get_reply *message) {
    decoder from = decoder_open(body, arena, 2);
    lw_get_reply read = {.read_timestamp = read_timestamp(&from, "its read timestamp is 0")};
    read.values = read_values(&from, &read.value_count);
    demand(&from, read.value_count > 0, "it answers no key");
    LW_TRY(decoder_close(&from, "get reply"));
    *message = read;
    return LW_OK;
}

/* ---- SCAN ----------------------------------------------------------------------------------- */

void lw_scan_request_encode(const lw_scan_request *message, lw_buffer *body) {
    lw_write_array(body, 8);
    lw_write_u64(body, message->read_timestamp);
    lw_write_u64(body, message->start);
    lw_write_bytes(body, message->lower);
    lw_write_bytes(body, message->upper);
    lw_write_bool(body, message->backwards);
    lw_write_bool(body, message->keys_only);
    lw_write_u64(body, message->row_limit);
    lw_write_u64(body, message->byte_limit);
}

lw_status lw_scan_request_decode(lw_bytes body, lw_arena *arena, lw_scan_request *message) {
    decoder from = decoder_open(body, arena, 8);
    lw_scan_request read = {.read_timestamp = read_number(&from)};
    read.start = read_number(&from);
    read.lower = read_bound(&from);
    read.upper = read_bound(&from);
    read.backwards = read_flag(&from);
    read.keys_only = read_flag(&from);
    read.row_limit = read_u32(&from);
    read.byte_limit = read_u32(&from);
    demand(&from, read.row_limit > 0, "it asks for no row");
    LW_TRY(decoder_close(&from, "scan request"));
    *message = read;
    return LW_OK;
}

void lw_scan_reply_encode(const lw_scan_reply *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->read_timestamp);
    lw_write_bool(body, message->more);
    lw_write_array(body, message->row_count);
    for (uint32_t index = 0; index < message->row_count; index++) {
        lw_write_array(body, 2);
        lw_write_bytes(body, message->rows[index].key);
        lw_write_bytes(body, message->rows[index].value);
    }
}

lw_status lw_scan_reply_decode(lw_bytes body, lw_arena *arena, lw_scan_reply *message) {
    decoder from = decoder_open(body, arena, 3);
    lw_scan_reply read = {.read_timestamp = read_timestamp(&from, "its read timestamp is 0")};
    read.more = read_flag(&from);
    read.row_count = read_count(&from, ROW_SIZE_MIN);
    lw_scan_row *rows = lw_arena_allocate(arena, read.row_count * sizeof(*rows));
    for (uint32_t index = 0; index < read.row_count; index++) {
        read_fields(&from, 2);
        rows[index].key = read_key(&from);
        rows[index].value = read_value(&from);
    }
    read.rows = rows;
    demand(&from, !read.more || read.row_count > 0, "a page without rows says that more follow");
    LW_TRY(decoder_close(&from, "scan reply"));
    *message = read;
    return LW_OK;
}

/* ---- COMMIT_NOW ----------------------------------------------------------------------------- */

void lw_commit_now_request_encode(const lw_commit_now_request *message, lw_buffer *body) {
    lw_write_array(body, 4);
    lw_write_u64(body, message->start);
    write_mutations(body, message->mutations, message->mutation_count);
    write_seen_keys(body, message->keys, message->key_count);
    write_seen_ranges(body, message->ranges, message->range_count);
}

lw_status lw_commit_now_request_decode(lw_bytes body, lw_arena *arena,
                                       lw_commit_now_request *message) {
    decoder from = decoder_open(body, arena, 4);
    lw_commit_now_request read = {.start = read_start(&from)};
    read.mutations = read_mutations(&from, &read.mutation_count);
    read.keys = read_seen_keys(&from, &read.key_count);
    read.ranges = read_seen_ranges(&from, &read.range_count);
    LW_TRY(decoder_close(&from, "commit now request"));
    *message = read;
    return LW_OK;
}

void lw_commit_reply_encode(const lw_commit_reply *message, lw_buffer *body) {
    lw_write_array(body, 2);
    lw_write_u64(body, message->commit_timestamp);
    lw_write_array(body, message->result_count);
    for (uint32_t index = 0; index < message->result_count; index++) {
        lw_write_array(body, 3);
        lw_write_bool(body, message->results[index].applied);
        lw_write_bool(body, message->results[index].found);
        lw_write_bytes(body, message->results[index].value);
    }
}

static const lw_commit_result *read_results(decoder *from, uint32_t *result_count) {
    uint32_t count = read_count(from, RESULT_SIZE_MIN);
    lw_commit_result *results = lw_arena_allocate(from->arena, count * sizeof(*results));
    for (uint32_t index = 0; index < count; index++) {
        read_fields(from, 3);
        results[index].applied = read_flag(from);
        results[index].found = read_flag(from);
        results[index].value = read_value(from);
    }
    *result_count = count;
    return results;
}

lw_status lw_commit_reply_decode(lw_bytes body, lw_arena *arena, lw_commit_reply *message) {
    decoder from = decoder_open(body, arena, 2);
    lw_commit_reply read = {.commit_timestamp = read_timestamp(&from, "its commit timestamp is 0")};
    read.results = read_results(&from, &read.result_count);
    LW_TRY(decoder_close(&from, "commit reply"));
    *message = read;
    return LW_OK;
}

/* ---- PREWRITE ------------------------------------------------------------------------------- */

void lw_prewrite_request_encode(const lw_prewrite_request *message, lw_buffer *body) {
    lw_write_array(body, 4);
    lw_write_u64(body, message->start);
    lw_write_bytes(body, message->primary);
    lw_write_u64(body, message->lifetime_ms);
    write_mutations(body, message->mutations, message->mutation_count);
}

lw_status lw_prewrite_request_decode(lw_bytes body, lw_arena *arena, lw_prewrite_request *message) {
    decoder from = decoder_open(body, arena, 4);
    lw_prewrite_request read = {.start = read_start(&from)};
    read.primary = read_key(&from);
    read.lifetime_ms = read_u32(&from);
    read.mutations = read_mutations(&from, &read.mutation_count);
    LW_TRY(decoder_close(&from, "prewrite request"));
    *message = read;
    return LW_OK;
}

/* ---- VALIDATE ------------------------------------------------------------------------------- */

void lw_validate_request_encode(const lw_validate_request *message, lw_buffer *body) {
    lw_write_array(body, 4);
    lw_write_u64(body, message->start);
    lw_write_u64(body, message->commit_timestamp);
    write_seen_keys(body, message->keys, message->key_count);
    write_seen_ranges(body, message->ranges, message->range_count);
}

lw_status lw_validate_request_decode(lw_bytes body, lw_arena *arena, lw_validate_request *message) {
    decoder from = decoder_open(body, arena, 4);
    lw_validate_request read = {.start = read_start(&from)};
    read.commit_timestamp = read_timestamp(&from, "its commit timestamp is 0");
    read.keys = read_seen_keys(&from, &read.key_count);
    read.ranges = read_seen_ranges(&from, &read.range_count);
    LW_TRY(decoder_close(&from, "validate request"));
    *message = read;
    return LW_OK;
}

/* ---- COMMIT and ROLLBACK -------------------------------------------------------------------- */

void lw_finish_request_encode(const lw_finish_request *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->start);
    lw_write_u64(body, message->commit_timestamp);
    write_keys(body, message->keys, message->key_count);
}

lw_status lw_finish_request_decode(lw_bytes body, lw_arena *arena, lw_finish_request *message) {
    decoder from = decoder_open(body, arena, 3);
    lw_finish_request read = {.start = read_start(&from)};
    read.commit_timestamp = read_number(&from);
    read.keys = read_keys(&from, &read.key_count);
    demand(&from, read.key_count > 0 || read.commit_timestamp == 0, "it commits no key");
    demand(&from, read.commit_timestamp == 0 || read.commit_timestamp > read.start,
           "its commit timestamp is not above its start");
    LW_TRY(decoder_close(&from, "commit or rollback request"));
    *message = read;
    return LW_OK;
}

/* ---- CHECK ---------------------------------------------------------------------------------- */

void lw_check_request_encode(const lw_check_request *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->start);
    lw_write_bytes(body, message->primary);
    lw_write_bool(body, message->decide);
}

lw_status lw_check_request_decode(lw_bytes body, lw_arena *arena, lw_check_request *message) {
    decoder from = decoder_open(body, arena, 3);
    lw_check_request read = {.start = read_start(&from)};
    read.primary = read_key(&from);
    read.decide = read_flag(&from);
    LW_TRY(decoder_close(&from, "check request"));
    *message = read;
    return LW_OK;
}

void lw_check_reply_encode(const lw_check_reply *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->fate);
    lw_write_u64(body, message->commit_timestamp);
    lw_write_u64(body, message->remaining_ms);
}

lw_status lw_check_reply_decode(lw_bytes body, lw_arena *arena, lw_check_reply *message) {
    decoder from = decoder_open(body, arena, 3);
    uint64_t fate = read_number(&from);
    demand(&from, fate >= LW_FATE_ALIVE && fate <= LW_FATE_ABORTED, "its fate is unknown");
    lw_check_reply read = {.fate = (lw_fate)(fate & UINT8_MAX)};
    read.commit_timestamp = read_number(&from);
    read.remaining_ms = read_number(&from);
    demand(&from, (read.fate == LW_FATE_COMMITTED) == (read.commit_timestamp != 0),
           "its fate and its commit timestamp contradict each other");
    LW_TRY(decoder_close(&from, "check reply"));
    *message = read;
    return LW_OK;
}

/* ---- LOCK ----------------------------------------------------------------------------------- */

void lw_lock_request_encode(const lw_lock_request *message, lw_buffer *body) {
    lw_write_array(body, 4);
    lw_write_u64(body, message->start);
    write_keys(body, message->keys, message->key_count);
    lw_write_u64(body, message->wait_ms);
    lw_write_bool(body, message->read);
}

lw_status lw_lock_request_decode(lw_bytes body, lw_arena *arena, lw_lock_request *message) {
    decoder from = decoder_open(body, arena, 4);
    lw_lock_request read = {.start = read_number(&from)};
    read.keys = read_keys(&from, &read.key_count);
    read.wait_ms = read_u32(&from);
    read.read = read_flag(&from);
    demand(&from, read.key_count > 0, "it locks no key");
    LW_TRY(decoder_close(&from, "lock request"));
    *message = read;
    return LW_OK;
}

void lw_lock_reply_encode(const lw_lock_reply *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->start);
    lw_write_u64(body, message->for_update);
    write_values(body, message->values, message->value_count);
}

lw_status lw_lock_reply_decode(lw_bytes body, lw_arena *arena, lw_lock_reply *message) {
    decoder from = decoder_open(body, arena, 3);
    lw_lock_reply read = {.start = read_start(&from)};
    read.for_update = read_timestamp(&from, "it says at 0 what the newest version is");
    read.values = read_values(&from, &read.value_count);
    LW_TRY(decoder_close(&from, "lock reply"));
    *message = read;
    return LW_OK;
}

/* ---- HEARTBEAT ------------------------------------------------------------------------------ */

void lw_heartbeat_request_encode(const lw_heartbeat_request *message, lw_buffer *body) {
    lw_write_array(body, 3);
    lw_write_u64(body, message->start);
    lw_write_bytes(body, message->primary);
    lw_write_u64(body, message->lifetime_ms);
}

lw_status lw_heartbeat_request_decode(lw_bytes body, lw_arena *arena,
                                      lw_heartbeat_request *message) {
    decoder from = decoder_open(body, arena, 3);
    lw_heartbeat_request read = {.start = read_start(&from)};
    read.primary = read_key(&from);
    read.lifetime_ms = read_u32(&from);
    LW_TRY(decoder_close(&from, "heartbeat request"));
    *message = read;
    return LW_OK;
}

/* ---- obstacles ------------------------------------------------------------------------------ */

void lw_obstacle_encode(const lw_obstacle *message, lw_buffer *body) {
    lw_write_array(body, 6);
    lw_write_u64(body, message->kind);
    lw_write_bytes(body, message->key);
    lw_write_u64(body, message->start);
    lw_write_u64(body, message->commit_timestamp);
    lw_write_bytes(body, message->primary);
    lw_write_text(body, message->label);
}

lw_status lw_obstacle_decode(lw_bytes body, lw_arena *arena, lw_obstacle *message) {
    decoder from = decoder_open(body, arena, 6);
    uint64_t kind = read_number(&from);
    demand(&from, kind >= LW_OBSTACLE_LOCK && kind <= LW_OBSTACLE_DEADLOCK,
           "it is of an unknown kind");
    lw_obstacle read = {.kind = (lw_obstacle_kind)(kind & UINT8_MAX)};
    read.key = read_key(&from);
    read.start = read_number(&from);
    read.commit_timestamp = read_number(&from);
    read.primary = read_bound(&from);
    read.label = lw_read_text(&from.reader);
    demand(&from, read.kind != LW_OBSTACLE_LOCK || (read.start != 0 && read.primary.size > 0),
           "a lock says neither whose it is nor where its primary is");
    LW_TRY(decoder_close(&from, "obstacle"));
    *message = read;
    return LW_OK;
}
