/* SPDX-License-Identifier: Apache-2.0 */
/* The types that the public header shares with the code behind it: the closed list of statuses,
 * and a view of bytes. `make install` copies this text into lathwork.h, so it must compile alone,
 * as C and as C++. */
#ifndef LW_TYPES_H
#define LW_TYPES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define LW_MUST_USE __attribute__((warn_unused_result))
#define LW_PUBLIC   __attribute__((visibility("default")))
#else
#define LW_MUST_USE
#define LW_PUBLIC
#endif

/* Every way a call can end. The list is closed: numbers never change and are never reused; they
 * travel on the wire. X(name, number, retryable, text): `retryable` says that the same call, or for
 * a transaction the whole transaction, may succeed when simply tried again. */
#define LW_STATUS_LIST(X)                                                                   \
    X(LW_OK, 0, 0, "done")                                                                  \
    X(LW_NOT_FOUND, 1, 0, "the key has no value")                                           \
    X(LW_EXISTS, 2, 0, "the key has a value already")                                       \
    X(LW_INVALID_ARGUMENT, 3, 0, "the request itself is wrong")                             \
    X(LW_CONFLICT, 4, 1, "another transaction was first: run the whole transaction again")  \
    X(LW_TIMEOUT, 5, 0, "the deadline passed; nothing was committed")                       \
    X(LW_BACKPRESSURE, 6, 1, "the node has too much to do: wait, then try again")           \
    X(LW_UNAVAILABLE, 7, 1, "no node answers for this key now; nothing was committed")      \
    X(LW_UNDETERMINED, 8, 0, "the commit may or may not have happened: ask, do not repeat") \
    X(LW_CORRUPTION, 9, 0, "stored bytes failed their check")                               \
    X(LW_REFUSED, 10, 0, "the node or the folder does not accept this: see the message")    \
    X(LW_FULL, 11, 0, "no space left: free some, then try again")                           \
    X(LW_INTERNAL, 12, 0, "a bug in Lathwork: please report it with the message")           \
    X(LW_TOO_OLD, 13, 0, "it lies so far back that the lattice need not know it any more")

typedef enum lw_status {
#define LW_STATUS_ENUM(name, number, retryable, text) name = (number),
    LW_STATUS_LIST(LW_STATUS_ENUM)
#undef LW_STATUS_ENUM
} lw_status;

/* A view of bytes that somebody else owns. `data` may be NULL when `size` is 0. */
typedef struct lw_bytes {
    const uint8_t *data;
    size_t size;
} lw_bytes;

#endif
