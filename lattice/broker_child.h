/* SPDX-License-Identifier: Apache-2.0 */
/* The process of a nats-server: found, started, watched and ended; lattice/broker.h says what for.
 *
 * Its standard input is one end of a pair of sockets, to which nothing is ever written: that our
 * end reads the end of the stream is how we learn that the child is gone. What it prints goes to
 * the file nats.out of its folder.
 *
 * Invariants
 * 1. The kernel kills it when the thread that started it ends, however that ends.
 * 2. It has no descriptors of ours but its standard ones, no signal is blocked or ignored in it,
 * and those of the terminal do not reach it. */
#ifndef LW_BROKER_CHILD_H
#define LW_BROKER_CHILD_H

#include "base/env.h"

#include <sys/types.h>

typedef struct lw_child {
    lw_env *env;
    const char *folder; /* that it runs in; outlives it */
    char program[LW_PATH_SIZE];
    pid_t process;   /* 0: none */
    bool gone;       /* it has ended, and was not reaped yet */
    lw_queue *woken; /* when it ends */
    lw_handle life;  /* our end of its standard input */
    lw_op life_op;
    char life_byte;
} lw_child;

void lw_child_init(lw_child *child, lw_env *env, const char *folder, lw_queue *woken);
/* Looks for the program. LW_REFUSED, in words. */
LW_MUST_USE lw_status lw_child_find(lw_child *child);
/* Starts it; the first argument is the program's path. */
LW_MUST_USE lw_status lw_child_start(lw_child *child, char *const arguments[]);
void lw_child_signal(const lw_child *child, int number);
/* Waits until it is gone, at most so long. */
LW_YIELDS void lw_child_await(lw_child *child, uint64_t duration_ms);
/* Takes in what waitpid says of it; kills it if it still runs. */
LW_YIELDS int lw_child_reap(lw_child *child);

#endif
