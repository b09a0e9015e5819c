/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: who the node's clients are, beyond one connection. A session begins with a HELLO and
 * lives as long as its connection, and a grace longer, in which the client may come back on a new
 * one. When the grace has passed the session ends, and what it locked is swept (DESIGN:
 * transactions live as long as their session).
 *
 * Invariants
 * N1. A session is attached to one connection at most; attaching it anew cuts the old one off, so
 * that nothing the old one still has in flight is carried out after the client was heard again. N2.
 * `ended` is called once for every session that ends, never for one that is attached. */
#ifndef LW_SESSION_H
#define LW_SESSION_H

#include "base/env.h"

typedef struct lw_sessions lw_sessions;

enum { LW_SESSION_GRACE_MS = 3000 };

typedef struct lw_session_events {
    /* The session is over: free what it holds. Runs in a fiber of its own; may suspend. */
    void (*ended)(void *argument, uint64_t session);
    /* Another connection took the session: `connection` must do no more. Must not suspend. */
    void (*cut)(void *argument, void *connection);
    void *argument;
} lw_session_events;

lw_sessions *lw_sessions_open(lw_env *env, const lw_session_events *events);
/* Ends no session; the fiber that waits for graces to pass is stopped first. */
LW_YIELDS void lw_sessions_close(lw_sessions *sessions);

/* Attaches `session` (0: a new one, with an identifier nobody can guess) to `connection`. The label
 * is copied. Returns the session's identifier. An identifier that is not known is taken as it is:
 * its client outlived a restart of the node. */
uint64_t lw_session_attach(lw_sessions *sessions, uint64_t session, lw_bytes label,
                           void *connection);
/* The connection ended: the grace begins, unless another connection has the session by now. */
void lw_session_detach(lw_sessions *sessions, uint64_t session, const void *connection);
/* Whether it is attached, or has its grace. */
bool lw_session_known(const lw_sessions *sessions, uint64_t session);
/* Empty if unknown. A view that lives until the session ends. */
lw_bytes lw_session_label(const lw_sessions *sessions, uint64_t session);
uint32_t lw_session_count(const lw_sessions *sessions);

#endif
