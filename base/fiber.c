/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler of fibers, their stacks, and the queues they wait in.
 *
 * A stack is entered once, through makecontext; from then on every switch is a setjmp and a longjmp
 * of the compiler's own, or of the library's without a signal mask (170 ns for swapcontext and its
 * two system calls, 12 for the library's). When its body returns, a fiber parks inside fiber_main
 * and is kept, stack and all, for the next lw_fiber_start: the common fiber costs no system call.
 *
 * Invariants
 * 1. Switches go from the scheduler's loop into a fiber and back, never from fiber to fiber.
 * 2. Each fiber is in `fibers->living` from start to end, or in `fibers->idle`, or freed; a READY
 *    one, and no other, is in `fibers->ready` too.
 * 3. While a fiber runs, `running` is it and the error slot is the one it last wrote to (its own,
 *    or that of a handle it drives); both are put back when it leaves.
 * 4. `*ready_count`, where it is, is one higher between two runs while some fiber is ready.
 * 5. A queue holds exactly the waiters whose `fiber` is set: who takes one out clears it, and that,
 *    not the wake-up, ends the wait. */

/* Fortified longjmp takes a jump to another stack for an attack. */
#undef _FORTIFY_SOURCE
#include "base/fiber.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0
#define VALGRIND_STACK_DEREGISTER(number)  ((void)(number))
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

enum {
    GUARD_SIZE = 4096, /* bytes, at the low end; no frame is larger (-Wframe-larger-than) */
    IDLE_COUNT_MAX = 512,
    IDLE_COUNT_KEPT = 64, /* beyond these one goes in each turn that runs nothing */
};

/* A switch saves what the compiler says is in use, four words; the library's would also look for
 * cleanup handlers, mangle addresses, and take five times as long. Sanitizers know the library's,
 * and clang has its own on few machines. */
#if defined(SANITIZED) || (defined(__clang__) && !defined(__x86_64__))
typedef sigjmp_buf place;
#define MARK_PLACE(place) sigsetjmp((place), 0)
#define GO_TO(place)      siglongjmp((place), 1)
#else
typedef void *place[5];
#define MARK_PLACE(place) __builtin_setjmp(place)
#define GO_TO(place)      go_to(place)

/* Apart: no function may do both. */
static __attribute__((noinline)) _Noreturn void go_to(void **where) {
    __builtin_longjmp(where, 1);
}
#endif

/* Of functions that switch: callers believe nothing of which registers stay as they are. */
#if __has_attribute(noipa)
#define SWITCHES __attribute__((noinline, noipa))
#else
#define SWITCHES __attribute__((noinline))
#endif

typedef enum fiber_state { FIBER_READY, FIBER_RUNNING, FIBER_SUSPENDED, FIBER_ENDED } fiber_state;

struct lw_fiber {
    lw_fiber *next_ready;      /* in `ready`, or in `idle` */
    lw_fiber *next, *previous; /* in `living` */
    lw_fibers *home;
    void (*body)(void *argument);
    void *argument;
    fiber_state state;
    bool entered;         /* `here` is valid */
    place here;           /* where it goes on */
    char *stack;          /* the mapping, guard included */
    unsigned stack_label; /* Valgrind's number for the stack */
    void *fake_stack;     /* AddressSanitizer's, while suspended */
    char name[LW_FIBER_NAME_SIZE];
    lw_error error;
    lw_error *slot; /* what it writes errors to: `error`, or that of a handle it drives */
};

struct lw_fibers {
    lw_memory *memory;
    void *owner;
    lw_fiber *ready_first, *ready_last;
    lw_fiber *passed_first, *passed_last; /* ready from the next lw_fibers_run on */
    lw_fiber *living;
    lw_fiber *idle; /* ended, with stacks to be used again */
    uint32_t count; /* in `living` */
    uint32_t idle_count;
    uint32_t *ready_count;  /* shared with other schedulers; or NULL */
    bool looping;           /* in lw_fibers_run */
    place loop;             /* where lw_fibers_run goes on */
    const void *loop_stack; /* for AddressSanitizer: the low end of the loop's stack, */
    size_t loop_stack_size; /* its bytes, */
    void *loop_fake_stack;  /* and its fake frames while a fiber runs */
};

static _Thread_local lw_fiber *running;

/* ---- switching ----------------------------------------------------------------------------------
 */

/* Before and after each switch AddressSanitizer is told whose stack it is on. A `keep` of NULL says
 * that the stack being left is never entered again. */
static inline void announce_switch(void **keep, const void *stack, size_t size) {
#ifdef SANITIZED
    __sanitizer_start_switch_fiber(keep, stack, size);
#else
    (void)keep, (void)stack, (void)size;
#endif
}

static inline void confirm_switch(void *kept, const void **stack_left, size_t *size_left) {
#ifdef SANITIZED
    __sanitizer_finish_switch_fiber(kept, stack_left, size_left);
#else
    (void)kept, (void)stack_left, (void)size_left;
#endif
}

/* From the running fiber back into the loop; returns when the fiber is resumed. */
static SWITCHES void leave(lw_fiber *fiber, bool for_ever) {
    lw_fibers *fibers = fiber->home;
    announce_switch(for_ever ? NULL : &fiber->fake_stack, fibers->loop_stack,
                    fibers->loop_stack_size);
    if (MARK_PLACE(fiber->here) == 0) {
        GO_TO(fibers->loop);
    }
    confirm_switch(fiber->fake_stack, &fibers->loop_stack, &fibers->loop_stack_size);
}

/* The bottom frame of every stack: runs one body after the other. */
static void fiber_main(void) {
    lw_fiber *fiber = running;
    lw_fibers *fibers = fiber->home;
    confirm_switch(NULL, &fibers->loop_stack, &fibers->loop_stack_size);
    for (;;) {
        fiber->body(fiber->argument);
        LW_ASSERT(running == fiber);
        LW_ASSERT(fiber->state == FIBER_RUNNING);
        fiber->state = FIBER_ENDED;
        leave(fiber, fibers->idle_count == IDLE_COUNT_MAX);
    }
}

/* Left by setcontext, which AddressSanitizer does not see: no red zones, or they would stay. */
static __attribute__((noinline, no_sanitize("address"))) _Noreturn void
enter_first(lw_fiber *fiber) {
    ucontext_t context;
    int failed = getcontext(&context);
    LW_ASSERT(failed == 0);
    context.uc_stack.ss_sp = fiber->stack + GUARD_SIZE;
    context.uc_stack.ss_size = LW_FIBER_STACK_SIZE;
    context.uc_link = NULL;
    makecontext(&context, fiber_main, 0);
    fiber->entered = true;
    setcontext(&context);
    abort();
}

/* From the loop into a fiber; returns when the fiber has left. */
static SWITCHES void enter(lw_fibers *fibers, lw_fiber *fiber) {
    announce_switch(&fibers->loop_fake_stack, fiber->stack + GUARD_SIZE, LW_FIBER_STACK_SIZE);
    if (MARK_PLACE(fibers->loop) == 0) {
        if (fiber->entered) {
            GO_TO(fiber->here);
        }
        enter_first(fiber);
    }
    confirm_switch(fibers->loop_fake_stack, NULL, NULL);
}

/* ---- stacks -------------------------------------------------------------------------------------
 */

static _Noreturn void out_of_stacks(const char *what) {
    perror(what);
    fprintf(stderr, "lathwork: no room for another fiber's stack; give it more memory, or raise "
                    "vm.max_map_count\n");
    abort();
}

static void stack_open(lw_fiber *fiber) {
    size_t size = GUARD_SIZE + LW_FIBER_STACK_SIZE;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        out_of_stacks("mmap");
    }
    /* Neighbouring stacks become one mapping, which huge pages would fill with untouched memory. */
    (void)madvise(stack, size, MADV_NOHUGEPAGE);
    /* A guard marker keeps it one mapping (vm.max_map_count); older kernels split it. */
    if (madvise(stack, GUARD_SIZE, MADV_GUARD_INSTALL) != 0 &&
        mprotect(stack, GUARD_SIZE, PROT_NONE) != 0) {
        out_of_stacks("mprotect");
    }
    fiber->stack = stack;
    fiber->stack_label = VALGRIND_STACK_REGISTER(stack + GUARD_SIZE, stack + size);
}

static void stack_close(lw_fiber *fiber) {
    VALGRIND_STACK_DEREGISTER(fiber->stack_label);
#ifdef SANITIZED
    /* Frames that never returned left their red zones to whoever is given these addresses next. */
    __asan_unpoison_memory_region(fiber->stack, GUARD_SIZE + LW_FIBER_STACK_SIZE);
#endif
    int failed = munmap(fiber->stack, GUARD_SIZE + LW_FIBER_STACK_SIZE);
    LW_ASSERT(failed == 0);
}

/* ---- the scheduler ------------------------------------------------------------------------------
 */

/* What was ready before becomes so, or no longer is. */
static void count_ready(lw_fibers *fibers, bool ready_before) {
    if (fibers->ready_count != NULL && !fibers->looping) {
        *fibers->ready_count += lw_fibers_ready(fibers);
        *fibers->ready_count -= ready_before;
    }
}

lw_fibers *lw_fibers_open(lw_memory *memory) {
    lw_fibers *fibers = lw_allocate_zero(memory, sizeof(*fibers));
    fibers->memory = memory;
    return fibers;
}

void lw_fibers_set_owner(lw_fibers *fibers, void *owner) {
    fibers->owner = owner;
}

void *lw_fibers_owner(const lw_fibers *fibers) {
    return fibers->owner;
}

void lw_fibers_count_ready(lw_fibers *fibers, uint32_t *count) {
    fibers->ready_count = count;
    count_ready(fibers, false);
}

void lw_fibers_close(lw_fibers *fibers) {
    LW_ASSERT(running == NULL || running->home != fibers);
    bool ready = lw_fibers_ready(fibers);
    fibers->ready_first = fibers->passed_first = NULL;
    count_ready(fibers, ready);
    while (fibers->living != NULL) {
        lw_fiber *dropped = fibers->living;
        fibers->living = dropped->next;
        stack_close(dropped);
        lw_free(fibers->memory, dropped);
    }
    while (fibers->idle != NULL) {
        lw_fiber *dropped = fibers->idle;
        fibers->idle = dropped->next_ready;
        stack_close(dropped);
        lw_free(fibers->memory, dropped);
    }
    lw_free(fibers->memory, fibers);
}

static void make_ready(lw_fiber *fiber) {
    lw_fibers *fibers = fiber->home;
    bool ready = lw_fibers_ready(fibers);
    fiber->state = FIBER_READY;
    fiber->next_ready = NULL;
    if (fibers->ready_first == NULL) {
        fibers->ready_first = fiber;
    } else {
        fibers->ready_last->next_ready = fiber;
    }
    fibers->ready_last = fiber;
    count_ready(fibers, ready);
}

/* One whose body has ended, or a new one. */
static lw_fiber *take_idle(lw_fibers *fibers) {
    lw_fiber *fiber = fibers->idle;
    if (fiber != NULL) {
        LW_ASSERT(fiber->state == FIBER_ENDED);
        fibers->idle = fiber->next_ready;
        fibers->idle_count--;
        return fiber;
    }
    fiber = lw_allocate_zero(fibers->memory, sizeof(*fiber));
    fiber->home = fibers;
    stack_open(fiber);
    return fiber;
}

lw_fiber *lw_fiber_start(lw_fibers *fibers, const char *name, void (*body)(void *argument),
                         void *argument) {
    LW_ASSERT(name != NULL);
    LW_ASSERT(body != NULL);
    lw_fiber *fiber = take_idle(fibers);
    fiber->body = body;
    fiber->slot = &fiber->error;
    fiber->argument = argument;
    fiber->error.status = LW_OK;
    fiber->error.text[0] = '\0';
    size_t name_size = strnlen(name, sizeof(fiber->name) - 1);
    memcpy(fiber->name, name, name_size);
    fiber->name[name_size] = 0;

    fiber->previous = NULL;
    fiber->next = fibers->living;
    if (fibers->living != NULL) {
        fibers->living->previous = fiber;
    }
    fibers->living = fiber;
    fibers->count++;
    make_ready(fiber);
    return fiber;
}

/* After its body has ended: keeps the fiber for another body, or frees it. */
static void retire(lw_fibers *fibers, lw_fiber *fiber) {
    LW_ASSERT(fibers->count > 0);
    fibers->count--;
    if (fiber->previous != NULL) {
        fiber->previous->next = fiber->next;
    } else {
        fibers->living = fiber->next;
    }
    if (fiber->next != NULL) {
        fiber->next->previous = fiber->previous;
    }
    if (fibers->idle_count < IDLE_COUNT_MAX) {
        fiber->next_ready = fibers->idle;
        fibers->idle = fiber;
        fibers->idle_count++;
    } else {
        stack_close(fiber);
        lw_free(fibers->memory, fiber);
    }
}

/* Gives a stack of a past burst back: so few at a time that bursts which go on keep theirs. */
static void trim_idle(lw_fibers *fibers) {
    if (fibers->idle_count > IDLE_COUNT_KEPT) {
        lw_fiber *dropped = fibers->idle;
        fibers->idle = dropped->next_ready;
        fibers->idle_count--;
        stack_close(dropped);
        lw_free(fibers->memory, dropped);
    }
}

/* Runs a fiber that is not in the list of ready ones until it leaves. */
static void run(lw_fibers *fibers, lw_fiber *fiber) {
    LW_ASSERT(running == NULL);
    fiber->state = FIBER_RUNNING;
    running = fiber;
    lw_error *outer = lw_error_slot_set(fiber->slot);
    enter(fibers, fiber);
    fiber->slot = lw_error_slot_set(outer);
    running = NULL;
    LW_ASSERT(fiber->state != FIBER_RUNNING);
    if (fiber->state == FIBER_ENDED) {
        retire(fibers, fiber);
    }
}

bool lw_fibers_run(lw_fibers *fibers) {
    LW_ASSERT(running == NULL && !fibers->looping);
    bool ran = false, ready = lw_fibers_ready(fibers);
    fibers->looping = true;
    if (fibers->passed_first != NULL) {
        *(fibers->ready_first == NULL ? &fibers->ready_first : &fibers->ready_last->next_ready) =
            fibers->passed_first;
        fibers->ready_last = fibers->passed_last;
        fibers->passed_first = NULL;
    }
    while (fibers->ready_first != NULL) {
        lw_fiber *fiber = fibers->ready_first;
        LW_ASSERT(fiber->state == FIBER_READY);
        fibers->ready_first = fiber->next_ready;
        run(fibers, fiber);
        ran = true;
    }
    fibers->looping = false;
    count_ready(fibers, ready);
    if (!ran) {
        trim_idle(fibers);
    }
    return ran;
}

void lw_fiber_step(lw_fiber *fiber) {
    LW_ASSERT(fiber->state == FIBER_SUSPENDED);
    run(fiber->home, fiber);
}

bool lw_fibers_ready(const lw_fibers *fibers) {
    return fibers->ready_first != NULL || fibers->passed_first != NULL;
}

uint32_t lw_fibers_count(const lw_fibers *fibers) {
    return fibers->count;
}

/* ---- fibers -------------------------------------------------------------------------------------
 */

lw_fiber *lw_fiber_current(void) {
    return running;
}

const char *lw_fiber_name(const lw_fiber *fiber) {
    return fiber->name;
}

lw_fibers *lw_fiber_home(const lw_fiber *fiber) {
    return fiber->home;
}

void lw_fiber_suspend(void) {
    lw_fiber *fiber = running;
    LW_ASSERT(fiber != NULL);
    fiber->state = FIBER_SUSPENDED;
    leave(fiber, false);
    LW_ASSERT(running == fiber);
}

void lw_fiber_wake(lw_fiber *fiber) {
    LW_ASSERT(fiber->state == FIBER_SUSPENDED || fiber->state == FIBER_READY);
    if (fiber->state == FIBER_SUSPENDED) {
        make_ready(fiber);
    }
}

void lw_fiber_pass(void) {
    lw_fiber *fiber = running;
    LW_ASSERT(fiber != NULL);
    lw_fibers *fibers = fiber->home;
    bool ready = lw_fibers_ready(fibers);
    fiber->state = FIBER_READY;
    fiber->next_ready = NULL;
    *(fibers->passed_first == NULL ? &fibers->passed_first : &fibers->passed_last->next_ready) =
        fiber;
    fibers->passed_last = fiber;
    count_ready(fibers, ready);
    leave(fiber, false);
    LW_ASSERT(running == fiber);
}

/* ---- queues -------------------------------------------------------------------------------------
 */

/* Not inlined: gcc takes the waiter on lw_queue_wait's frame for one that outlives it. */
__attribute__((noinline)) void lw_queue_add(lw_queue *queue, lw_waiter *waiter) {
    LW_ASSERT(running != NULL);
    *waiter = (lw_waiter){.fiber = running};
    if (queue->first == NULL) {
        queue->first = waiter;
    } else {
        queue->last->next = waiter;
    }
    queue->last = waiter;
}

void lw_queue_wait(lw_queue *queue) {
    lw_waiter waiter;
    lw_queue_add(queue, &waiter);
    while (waiter.fiber != NULL) {
        lw_fiber_suspend();
    }
}

void lw_queue_wake_one(lw_queue *queue) {
    lw_waiter *waiter = queue->first;
    if (waiter == NULL) {
        return;
    }
    queue->first = waiter->next;
    lw_fiber *fiber = waiter->fiber;
    waiter->fiber = NULL;
    lw_fiber_wake(fiber);
}

void lw_queue_wake_all(lw_queue *queue) {
    while (queue->first != NULL) {
        lw_queue_wake_one(queue);
    }
}

void lw_queue_remove(lw_queue *queue, lw_waiter *waiter) {
    lw_waiter *before = NULL;
    lw_waiter *found = queue->first;
    while (found != NULL && found != waiter) {
        before = found;
        found = found->next;
    }
    if (found == NULL) {
        LW_ASSERT(waiter->fiber == NULL);
        return;
    }
    if (before == NULL) {
        queue->first = found->next;
    } else {
        before->next = found->next;
    }
    if (queue->last == found) {
        queue->last = before;
    }
    found->fiber = NULL;
}
