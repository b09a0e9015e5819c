/* SPDX-License-Identifier: Apache-2.0 */
/* A write batch: puts and deletes of tree keys that become visible together. It is the payload of a
 * replicated entry, so its bytes are a format:
 *
 *   operation*  where operation = kind u8 (1 put, 2 delete) · key size varint · key
 *                                 [put: value size varint · value]
 *
 * Later operations on the same key win. */
#ifndef LW_BATCH_H
#define LW_BATCH_H

#include "base/bytes.h"

typedef enum lw_batch_kind { LW_BATCH_PUT = 1, LW_BATCH_DELETE = 2 } lw_batch_kind;

typedef struct lw_batch_operation {
    lw_batch_kind kind;
    lw_bytes key, value; /* views into the batch */
} lw_batch_operation;

/* A batch is built in a buffer of the caller's. */
void lw_batch_put(lw_buffer *batch, lw_bytes key, lw_bytes value);
void lw_batch_delete(lw_buffer *batch, lw_bytes key);
/* Takes the next operation from the front. False at the end, and on damage: `*rest` is then not
 * empty. */
LW_MUST_USE bool lw_batch_next(lw_bytes *rest, lw_batch_operation *operation);
/* LW_CORRUPTION unless the whole batch can be walked. */
LW_MUST_USE lw_status lw_batch_check(lw_bytes batch);
/* Whether a batch that can be read only takes away: it is let in on a full disk. */
bool lw_batch_only_deletes(lw_bytes batch);

#endif
