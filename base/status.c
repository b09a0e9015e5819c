/* SPDX-License-Identifier: Apache-2.0 */
/* The error slot, the sentences in it, and the end of a process whose invariants are broken.
 *
 * Invariants
 * 1. A slot always holds a closed text: a failure too long for it is cut, never lost.
 * 2. An argument of lw_fail may point into the slot being written (a caller repeats the old text in
 *    the new one), so the sentence is rendered aside and then copied.
 * 3. The statics here are per thread; with the running fiber in fiber.c they are the only mutable
 *    ones in base/. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fiber.h"

static _Thread_local lw_error own_slot;
static _Thread_local lw_error *current_slot;
static _Thread_local void (*witness_call)(void *argument);
static _Thread_local void *witness_argument;

/* ---- the list -------------------------------------------------------------------------------- */

typedef struct status_entry {
    const char *name;
    const char *text;
    bool retryable;
} status_entry;

static const status_entry entries[] = {
#define STATUS_ENTRY(name, number, retryable, text) [(number)] = {#name, text, (retryable) != 0},
    LW_STATUS_LIST(STATUS_ENTRY)
#undef STATUS_ENTRY
};
enum { ENTRY_COUNT = sizeof(entries) / sizeof(entries[0]) };

/* The numbers have no gap: an entry without a name would be one. */
#define STATUS_ONE(name, number, retryable, text) +1
_Static_assert(ENTRY_COUNT == 0 LW_STATUS_LIST(STATUS_ONE),
               "status numbers must follow each other");
#undef STATUS_ONE

static const status_entry *entry_of(lw_status status) {
    return lw_status_known((uint64_t)status) ? &entries[status] : &entries[LW_INTERNAL];
}

const char *lw_status_name(lw_status status) {
    return entry_of(status)->name;
}

const char *lw_status_text(lw_status status) {
    return entry_of(status)->text;
}

bool lw_status_retryable(lw_status status) {
    return entry_of(status)->retryable;
}

bool lw_status_known(uint64_t number) {
    return number < ENTRY_COUNT;
}

/* ---- the slot -------------------------------------------------------------------------------- */

lw_error *lw_error_slot(void) {
    return current_slot != NULL ? current_slot : &own_slot;
}

lw_error *lw_error_slot_set(lw_error *slot) {
    lw_error *before = lw_error_slot();
    current_slot = slot;
    return before;
}

lw_status lw_fail(lw_status status, const char *format, ...) {
    LW_ASSERT(status != LW_OK);
    char text[LW_ERROR_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);

    lw_error *slot = lw_error_slot();
    slot->status = status;
    memcpy(slot->text, text, sizeof(text));
    return status;
}

lw_status lw_fail_in(lw_status status, const char *format, ...) {
    lw_error *slot = lw_error_slot();
    LW_ASSERT(status != LW_OK);
    LW_ASSERT(slot->status == status);
    char text[LW_ERROR_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int prefix_size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);

    LW_ASSERT(prefix_size >= 0);
    if ((size_t)prefix_size < sizeof(text)) {
        size_t room = sizeof(text) - (size_t)prefix_size;
        int rest_size = snprintf(text + prefix_size, room, ": %s", slot->text);
        LW_ASSERT(rest_size > 0);
    }
    memcpy(slot->text, text, sizeof(text));
    return status;
}

/* ---- assertions ------------------------------------------------------------------------------ */

void lw_assert_set_witness(void (*witness)(void *argument), void *argument) {
    witness_call = witness;
    witness_argument = argument;
}

void lw_assert_failed(const char *file, int line, const char *condition) {
    const lw_fiber *fiber = lw_fiber_current();
    fprintf(stderr, "%s:%d: assertion failed: %s (fiber %s)\n", file, line, condition,
            fiber != NULL ? lw_fiber_name(fiber) : "none");
    /* Taken off first: an assertion that fails inside the witness must not call it again. */
    void (*witness)(void *argument) = witness_call;
    witness_call = NULL;
    if (witness != NULL) {
        witness(witness_argument);
    }
    abort();
}
