/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: who the node's clients are, beyond one connection. A session begins with a HELLO and
 * lives as long as its connection, and a grace longer, in which the client may come back on a new
 * one. When the grace has passed the session ends, and what it locked is swept (DESIGN:
 * transactions live as long as their session).
 *
 * The grace of a connection that ended by silence is shorter, as that has lasted for some time
 * already: so from a client's last sign of life until what it held is swept it takes five seconds
 * at most, whether its process died or its machine.
 *
 * Invariants
 * N1. A session is attached to one connection at most; attaching it anew cuts the old one off, so
 *     that nothing the old one still has in flight is carried out after the client was heard again.
 * N2. `ended` is called once for every session that ends, never for one that is attached.
 * N3. A session that holds something here does not end while its client is connected to another
 *     node: it need not have noticed that a connection it did not use has ended. It is asked for
 *     again and again until it is connected nowhere; who is only in its grace elsewhere does not
 *     count, so that no two nodes keep it alive by each other's word. */
#ifndef LW_SESSION_H
#define LW_SESSION_H

#include "base/env.h"

typedef struct lw_sessions lw_sessions;

enum {
    LW_SESSION_GRACE_MS = 3000,
    LW_SESSION_GRACE_SILENT_MS = 1500, /* of a connection that ended by silence */
    LW_SESSION_ASKED_AGAIN_MS = 250,   /* of one whose client lives elsewhere */
};

typedef struct lw_session_events {
    /* Whether anything here depends on the session. Must not suspend. NULL: nothing does. */
    bool (*holds)(void *argument, uint64_t session);
    /* Whether its client is connected to another node, or may be. Runs in a fiber of its own. */
    LW_YIELDS bool (*lives)(void *argument, uint64_t session);
    /* The session is over: free what it holds. Runs in a fiber of its own; may suspend. */
    void (*ended)(void *argument, uint64_t session);
    /* Another connection took the session: `connection` must do no more. Must not suspend. */
    void (*cut)(void *argument, void *connection);
    void *argument;
} lw_session_events;

lw_sessions *lw_sessions_open(lw_env *env, const lw_session_events *events);
/* Ends no session; the fibers that wait for graces to pass, and ask, are stopped first. */
LW_YIELDS void lw_sessions_close(lw_sessions *sessions);

/* Attaches `session` (0: a new one, with an identifier nobody can guess) to `connection`. The label
 * is copied. Returns the session's identifier. An identifier that is not known is taken as it is:
 * its client outlived a restart of the node. */
uint64_t lw_session_attach(lw_sessions *sessions, uint64_t session, lw_bytes label,
                           void *connection);
/* The connection ended, maybe by silence: the grace begins, unless another connection has the
 * session by now. */
void lw_session_detach(lw_sessions *sessions, uint64_t session, const void *connection,
                       bool silent);
/* Whether it is attached, or has its grace. */
bool lw_session_known(const lw_sessions *sessions, uint64_t session);
bool lw_session_attached(const lw_sessions *sessions, uint64_t session);
/* Empty if unknown. A view that lives until the session ends. */
lw_bytes lw_session_label(const lw_sessions *sessions, uint64_t session);
uint32_t lw_session_count(const lw_sessions *sessions);

#endif
