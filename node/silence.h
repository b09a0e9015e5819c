/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the machines of clients are still there. A client has no thread that could say so, and
 * may compute for as long as it likes between two calls, so its system is who is asked. The system
 * of this node does that while nothing is sent (base/env.h: LW_KEEPALIVE_NS); here is what it does
 * not: as long as a reply is not acknowledged it asks no questions, and sends it again for minutes.
 *
 * Invariants
 * Q1. A connection is silent once its other end has given no sign of life for LW_KEEPALIVE_NS
 *     while a reply is on its way; never because its process is slow, stopped, or takes nothing.
 * Q2. Where nothing is on its way no timer runs. */
#ifndef LW_SILENCE_H
#define LW_SILENCE_H

#include "base/env.h"

/* One connection: a member of what the caller keeps of it. Zeroed, but for the socket. */
typedef struct lw_listened {
    lw_handle socket;
    uint64_t said_ns; /* when the first thing was sent that may be on its way; 0: nothing is */
    struct lw_listened *previous, *next;
} lw_listened;

typedef struct lw_silence {
    lw_env *env;
    void (*fell_silent)(lw_listened *connection); /* told once; must not suspend */
    lw_listened *first, *last;                    /* those to whom something was said */
    lw_queue work, stopped;
    bool listening, sleeping, stopping;
} lw_silence;

/* `silence` is zeroed. */
void lw_silence_open(lw_silence *silence, lw_env *env,
                     void (*fell_silent)(lw_listened *connection));
/* Tells nobody anything any more. */
LW_YIELDS void lw_silence_close(lw_silence *silence);

/* Something was sent. */
void lw_silence_said(lw_silence *silence, lw_listened *connection);
/* The socket is about to be closed. That something came is no reason: it may have been sent before
 * the reply that is on its way now, and the other end may have lost power since. */
void lw_silence_forget(lw_silence *silence, lw_listened *connection);

#endif
