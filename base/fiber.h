/* SPDX-License-Identifier: Apache-2.0 */
/* Fibers: straight code that can wait. A fiber is a stackful coroutine; one scheduler (lw_fibers)
 * belongs to one env, and so to one thread. Switches are setjmp and longjmp, ucontext is used only
 * to enter a fresh stack.
 *
 * Invariants
 * 1. A fiber runs until it suspends or ends; nothing interrupts it, so what it sees between two
 *    suspensions is consistent. After a suspension it re-reads and re-checks.
 * 2. Fibers become ready in the order they were woken, and run in that order.
 * 3. Nobody relies on a fiber's cleanup: lw_fibers_close drops suspended fibers where they stand.
 * 4. Stacks end in a guard page and come from a bounded pool.
 *
 * LW_YIELDS marks every function that may suspend; tests/lint/yields reports unmarked callers. */
#ifndef LW_FIBER_H
#define LW_FIBER_H

#include "base/bytes.h"

#define LW_YIELDS

typedef struct lw_fiber lw_fiber;
typedef struct lw_fibers lw_fibers;

enum {
    LW_FIBER_STACK_SIZE = 128 * 1024, /* bytes; only touched pages cost memory */
    LW_FIBER_NAME_SIZE = 24,
};

/* A scheduler. `memory` holds everything but the stacks. */
lw_fibers *lw_fibers_open(lw_memory *memory);
/* What whoever runs in one of its fibers is to find again; NULL until it is set. */
void lw_fibers_set_owner(lw_fibers *fibers, void *owner);
void *lw_fibers_owner(const lw_fibers *fibers);
/* Drops all fibers, running none of their cleanup, and unmaps their stacks. Not from inside one. */
void lw_fibers_close(lw_fibers *fibers);

/* Makes a fiber that runs body(argument) when its turn comes. The name (cut to LW_FIBER_NAME_SIZE)
 * shows in assertions and traces. The fiber frees itself when body returns. */
lw_fiber *lw_fiber_start(lw_fibers *fibers, const char *name, void (*body)(void *argument),
                         void *argument);
/* The running fiber, or NULL outside of any. */
lw_fiber *lw_fiber_current(void);
const char *lw_fiber_name(const lw_fiber *fiber);
/* The scheduler the fiber belongs to. */
lw_fibers *lw_fiber_home(const lw_fiber *fiber);
/* Parks the running fiber until lw_fiber_wake. Only the env's bottom and lw_queue use these. */
LW_YIELDS void lw_fiber_suspend(void);
/* Makes a suspended fiber ready; a fiber that is ready already is left alone. */
void lw_fiber_wake(lw_fiber *fiber);
/* Lets every other ready fiber run first, and the loop look outside: goes on with the next
 * lw_fibers_run. */
LW_YIELDS void lw_fiber_pass(void);
/* Runs ready fibers until none is left, but for those that passed meanwhile. Not from inside a
 * fiber. Returns whether any ran. */
bool lw_fibers_run(lw_fibers *fibers);
/* Runs this one, which is suspended, until it suspends again, passes or ends; the others wait. Not
 * from inside a fiber. For callers outside who have a fiber do what mostly needs no waiting. */
void lw_fiber_step(lw_fiber *fiber);
bool lw_fibers_ready(const lw_fibers *fibers);
/* From now on `*count` is one higher while a fiber is ready here: for who drives many schedulers in
 * turn, and would look at all of them to find that none has anything to run. */
void lw_fibers_count_ready(lw_fibers *fibers, uint32_t *count);
/* Fibers that exist now (running, ready or suspended). */
uint32_t lw_fibers_count(const lw_fibers *fibers);

/* A place where fibers wait for something to be true, first come first served. Zeroed is empty. A
 * wake-up is only a hint: the waiter checks its condition again. Waiting with a deadline is
 * lw_env_wait. */
typedef struct lw_waiter {
    struct lw_waiter *next;
    lw_fiber *fiber;
} lw_waiter;
typedef struct lw_queue {
    lw_waiter *first, *last;
} lw_queue;

LW_YIELDS void lw_queue_wait(lw_queue *queue);
void lw_queue_wake_one(lw_queue *queue);
void lw_queue_wake_all(lw_queue *queue);
static inline bool lw_queue_empty(const lw_queue *queue) {
    return queue->first == NULL;
}
/* Takes a waiter out before it was woken; nothing happens if it was. For lw_env_wait. */
void lw_queue_remove(lw_queue *queue, lw_waiter *waiter);
/* Adds a waiter for the running fiber, which then suspends. For lw_env_wait. */
void lw_queue_add(lw_queue *queue, lw_waiter *waiter);

#endif
