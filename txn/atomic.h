/* SPDX-License-Identifier: Apache-2.0 */
/* Atomic mutations: what a key becomes follows from what it is when the transaction commits, and is
 * worked out where the key lies. So they read nothing that has to be vouched for, and never
 * conflict. Pure.
 *
 *   ADD, MIN, MAX   operand: a number; the key has a number or nothing, which counts as the neutral
 *   APPEND          operand: bytes; nothing counts as empty
 *   SWAP            operand: expects u8 · gives u8 · size of the expected value u32 · it · new
 * value the key becomes the new value (or nothing) only if it has the expected one (or nothing)
 *   STAMP           operand: value · offset u32; the commit timestamp, big-endian so that it sorts,
 *                   goes into the value's eight bytes at the offset
 *
 * A number is a signed one of 64 bits, little-endian, 8 bytes. */
#ifndef LW_ATOMIC_H
#define LW_ATOMIC_H

#include "txn/request.h"

enum { LW_NUMBER_SIZE = 8, LW_SWAP_HEAD_SIZE = 6, LW_STAMP_TAIL_SIZE = 4 };

static inline bool lw_mutation_is_atomic(lw_mutation_kind kind) {
    return kind > LW_MUTATION_LOCK;
}
/* Whether the kind may have this operand. */
LW_MUST_USE bool lw_atomic_operand_valid(lw_mutation_kind kind, lw_bytes operand);

void lw_number_encode(int64_t number, uint8_t to[LW_NUMBER_SIZE]);
LW_MUST_USE bool lw_number_decode(lw_bytes value, int64_t *number);
/* Each may be NULL: the key is to have nothing. Replaces what `operand` held. */
void lw_swap_encode(const lw_bytes *expected, const lw_bytes *value, lw_buffer *operand);

/* What `base` (NULL: the key has no value) becomes, as a mutation of kind PUT, DELETE or LOCK (it
 * stays as it is), whose value is a view into `scratch`, which is replaced, or into `operand`. Of a
 * STAMP the operand is handed on: lw_stamp_apply comes later. LW_INVALID_ARGUMENT names the key: no
 * number where one is needed, a sum beyond 64 bits, a value beyond the limit. */
LW_MUST_USE lw_status lw_atomic_apply(lw_mutation_kind kind, lw_bytes key, const lw_bytes *base,
                                      lw_bytes operand, lw_buffer *scratch, lw_mutation *becomes);
/* Makes one operand of two mutations of the same kind on a key, in their order. False if that
 * cannot be done. */
LW_MUST_USE bool lw_atomic_compose(lw_mutation_kind kind, lw_bytes first, lw_bytes second,
                                   lw_buffer *operand);
/* The value of a STAMP, once the commit timestamp is known. Replaces what `value` held. */
void lw_stamp_apply(lw_bytes operand, uint64_t commit_timestamp, lw_buffer *value);

#endif
