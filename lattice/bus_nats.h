/* SPDX-License-Identifier: Apache-2.0 */
/* A connection to a NATS server, kept up by a thread of its own. The thread that calls the NATS
 * library is expendable: what it shares with the env's thread is two rings, a few numbers, and a
 * pair of sockets over which each wakes the other. bus_nats.c is the only file that includes
 * nats.h.
 *
 * Invariants
 * 1. No call here waits for the library, but lw_nats_close for a moment. A thread that does not
 * come back by then is given up with the memory that it uses.
 * 2. Nothing is kept while there is no connection: what is published then is dropped.
 * 3. The library's subscriptions are made at the start of a connection and end with it: 3.4.1 can
 *    crash when one is removed from a live connection.
 * 4. What arrives is handed on in the order of arrival: one thread delivers all of it. */
#ifndef LW_BUS_NATS_H
#define LW_BUS_NATS_H

#include "base/env.h"

typedef struct lw_nats lw_nats;

typedef struct lw_nats_options {
    const char *url;   /* "nats://HOST:PORT" */
    const char *token; /* NULL: none */
    const char *name;  /* of this client, for the server's own reports */
    const char *subscriptions[2];
    bool near; /* the server is on this machine: it is missed at once, and others are ignored */
    void (*arrived)(void *argument, lw_bytes subject, lw_bytes message);
    void (*changed)(void *argument); /* it is up, or it is not */
    void *argument;                  /* of both, which run outside any fiber */
} lw_nats_options;

/* Only on an env of the real worlds. Strings are copied. LW_INTERNAL if the system gives no sockets
 * or no thread. */
LW_MUST_USE lw_status lw_nats_open(lw_env *env, const lw_nats_options *options, lw_nats **line);
/* False: no room, or not connected. */
LW_MUST_USE bool lw_nats_publish(lw_nats *line, const char *subject, lw_bytes message);
bool lw_nats_up(const lw_nats *line);
/* Rises with every answer of the server, once a second at least while all is well. */
uint64_t lw_nats_beats(const lw_nats *line);
/* Messages that were dropped on the way in, by the library or here. */
uint64_t lw_nats_overrun(const lw_nats *line);
/* Why it is not up, in words; "" if nothing went wrong so far. */
void lw_nats_reason(lw_nats *line, char *reason, size_t size);
LW_YIELDS void lw_nats_close(lw_nats *line);
/* Ends the threads that the library keeps for itself, when no connection is open any more. Once,
 * before the process ends. */
void lw_nats_end(void);

#endif
