/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the handle of lathwork_storage.h, shared by the files that make its calls: embed.c
 * (opening, closing, keeping) and embed_access.c (writing and reading). Nobody else includes this.
 *
 * A handle owns an env and one fiber, the caller's, which carries out each call. Most calls never
 * suspend: then the fiber is entered and left, and the loop does not turn. One that does suspend is
 * waited for by turning the loop. Now and then the loop turns all the same, so that flushes,
 * compactions and the log's writes go on under callers who never wait.
 *
 * Invariants
 * 1. Between calls the caller's fiber is suspended in its main function, and waits in no queue.
 * 2. What a failed call says is copied out before the next call begins. */
#ifndef LW_EMBED_H
#define LW_EMBED_H

#include "storage/lathwork_storage.h"

#include "storage/engine.h"

enum { LW_EMBED_TREE = 1 }; /* the one tree */

/* What a call does, in the caller's fiber. */
typedef lw_status (*lw_embed_body)(lw_storage *storage, void *argument);

struct lw_storage {
    lw_env *env;
    lw_engine *engine;
    lw_tree *tree;
    lw_fiber *caller;
    /* The call under way. */
    lw_embed_body body; /* NULL: none */
    void *argument;
    lw_status status;
    const char *reason; /* of its failure, until the next call */
    uint32_t calls;     /* since the loop turned */
    uint32_t opened;    /* snapshots, cursors and batches */
    bool durable;
    bool ending;
    lw_env_world world; /* the env's, but that it says nothing */
    lw_buffer batch;    /* of a single put or delete */
    lw_buffer value;    /* that was read last */
};

/* Carries out a call, and waits until it is done. */
lw_storage_status lw_embed_perform(lw_storage *storage, lw_embed_body body, void *argument,
                                   lw_storage_error *error);
/* The category of a status; what it says goes into `error`, which may be NULL. */
lw_storage_status lw_embed_tell(lw_status status, const char *reason, lw_storage_error *error);
/* LW_STORAGE_INVALID, and why. */
lw_storage_status lw_embed_invalid(lw_storage_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
