/* SPDX-License-Identifier: Apache-2.0 */
/* Errors and assertions: how every part of Lathwork says that something did not go well.
 *
 * A function that can fail returns lw_status. The reason, one sentence that says what happened, to
 * what, and what to do, is put by lw_fail into the error slot of whoever runs: a fiber, or the
 * object that a caller outside any fiber drives (a client handle). Bad input is a status; a broken
 * invariant, which only our own bug can cause, is an LW_ASSERT, always on. */
#ifndef LW_STATUS_H
#define LW_STATUS_H

#include "base/types.h"

#include <stdbool.h>

enum { LW_ERROR_TEXT_SIZE = 512 }; /* bytes, with the closing zero */

/* The last failure of one fiber or handle. Plain memory: copy it to keep it. */
typedef struct lw_error {
    lw_status status;
    char text[LW_ERROR_TEXT_SIZE];
} lw_error;

/* The name of a status as written in the code ("LW_CONFLICT"), its meaning in words, and whether
 * the same call may succeed when tried again. A number outside the list answers as LW_INTERNAL. */
LW_PUBLIC const char *lw_status_name(lw_status status);
LW_PUBLIC const char *lw_status_text(lw_status status);
bool lw_status_retryable(lw_status status);
/* Whether `number`, read from a wire or a file, is in the list. */
bool lw_status_known(uint64_t number);

/* Records the reason of a failure in the current error slot and returns `status`, so that a
 * function can end with `return lw_fail(...)`. Too long a text is cut. `status` is not LW_OK. */
LW_MUST_USE lw_status lw_fail(lw_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

/* Puts "what: " before the text of the current error and returns its status: a caller that knows
 * more adds it. The current error must be of this `status`. */
LW_MUST_USE lw_status lw_fail_in(lw_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

/* The error slot that lw_fail writes now. Never NULL: a thread that set none has one of its own. */
lw_error *lw_error_slot(void);
/* Makes `slot` the current one (NULL: the thread's own) and returns the one before, which the
 * caller puts back. Fibers and client handles use this; other code does not. */
lw_error *lw_error_slot_set(lw_error *slot);

/* Returns the status of a failed call from the calling function at once. */
#define LW_TRY(call)                                       \
    do {                                                   \
        lw_status lw_try_status = (call);                  \
        if (__builtin_expect(lw_try_status != LW_OK, 0)) { \
            return lw_try_status;                          \
        }                                                  \
    } while (0)

/* Stops the process: prints file, line, condition and the running fiber's name. Always on. */
#define LW_ASSERT(condition)                      \
    (__builtin_expect(!!(condition), 1) ? (void)0 \
                                        : lw_assert_failed(__FILE__, __LINE__, #condition))
_Noreturn void lw_assert_failed(const char *file, int line, const char *condition)
    __attribute__((cold));
/* Called by lw_assert_failed before it aborts, to print what the world knows (trace, seed). One per
 * thread; NULL for none. */
void lw_assert_set_witness(void (*witness)(void *argument), void *argument);

#endif
