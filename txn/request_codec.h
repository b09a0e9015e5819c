/* SPDX-License-Identifier: Apache-2.0 */
/* What the bodies of txn/request.h are made of: shared by txn/request*.c and nobody else. */
#ifndef LW_REQUEST_CODEC_H
#define LW_REQUEST_CODEC_H

#include "txn/request.h"

/* A message being read. The first thing wrong with it is kept in words, and fails the reader. */
typedef struct decoder {
    lw_reader reader;
    lw_arena *arena;
    const char *flaw;
    uint32_t extra; /* fields at the end that only a newer peer knows */
} request_decoder;

request_decoder request_open(lw_bytes body, lw_arena *arena, uint32_t known);
/* Fails the message, in these words, unless something holds of it. */
void request_demand(request_decoder *from, bool holds, const char *flaw);
LW_MUST_USE lw_status request_close(request_decoder *from, const char *name);

uint64_t request_number(request_decoder *from);
uint32_t request_u32(request_decoder *from);
bool request_flag(request_decoder *from);
/* A timestamp that names a transaction or a commit, and so cannot be 0. */
uint64_t request_timestamp(request_decoder *from, const char *flaw);
uint64_t request_start(request_decoder *from);
lw_bytes request_key(request_decoder *from);
lw_bytes request_bound(request_decoder *from);
lw_bytes request_value(request_decoder *from);
/* Enters an inner array, which has exactly so many fields. */
void request_fields(request_decoder *from, uint32_t count);
/* The count of an array of items that take at least `encoded_size_min` bytes each. */
uint32_t request_count(request_decoder *from, size_t encoded_size_min);

/* Bytes of the shortest encoding of each, for request_count. */
enum {
    REQUEST_KEY_SIZE_MIN = 3,        /* bin header 2 · 1 */
    REQUEST_VALUE_SIZE_MIN = 5,      /* array · bool · number · bin header 2 */
    REQUEST_ROW_SIZE_MIN = 6,        /* array · key 3 · bin header 2 */
    REQUEST_MUTATION_SIZE_MIN = 8,   /* array · kind · key 3 · bin header 2 · number */
    REQUEST_RESULT_SIZE_MIN = 5,     /* array · 2 bools · bin header 2 */
    REQUEST_SEEN_KEY_SIZE_MIN = 5,   /* array · key 3 · number */
    REQUEST_SEEN_RANGE_SIZE_MIN = 6, /* array · 2 bin headers 4 · number */
};

void request_write_keys(lw_buffer *body, const lw_bytes *keys, uint32_t key_count);
const lw_bytes *request_read_keys(request_decoder *from, uint32_t *key_count);
void request_write_values(lw_buffer *body, const lw_get_value *values, uint32_t value_count);
const lw_get_value *request_read_values(request_decoder *from, uint32_t *value_count);
void request_write_mutations(lw_buffer *body, const lw_mutation *mutations,
                             uint32_t mutation_count);
/* At least one. */
const lw_mutation *request_read_mutations(request_decoder *from, uint32_t *mutation_count);
void request_write_seen_keys(lw_buffer *body, const lw_seen_key *keys, uint32_t key_count);
const lw_seen_key *request_read_seen_keys(request_decoder *from, uint32_t *key_count);
void request_write_seen_ranges(lw_buffer *body, const lw_seen_range *ranges, uint32_t range_count);
const lw_seen_range *request_read_seen_ranges(request_decoder *from, uint32_t *range_count);

#endif
