/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/shrink.h"

#include <time.h>

/* On how many schedules a list is tried that leaves much out, and one that leaves little out. */
enum { SCHEDULES_OF_MUCH = 8, SCHEDULES_OF_LITTLE = 2 };

typedef struct search {
    lw_shrink *of;
    lw_memory *memory;
    uint64_t end_seconds;
} search;

static uint64_t seconds_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

/* ---- which failure it is -------------------------------------------------------------------- */

/* An assertion is known by its place and condition; anything else by the words before the first
 * colon, or before the first digit, where the details of this run begin. */
lw_bytes lw_shrink_property(const char *line) {
    size_t size = strcspn(line, "\n");
    const char *fiber = memmem(line, size, " (fiber ", strlen(" (fiber "));
    if (memmem(line, size, "assertion failed", strlen("assertion failed")) != NULL) {
        return lw_view(line, fiber == NULL ? size : (size_t)(fiber - line));
    }
    size_t named = strcspn(line, ":0123456789\n");
    return lw_view(line, named > 0 ? named : size);
}

/* The next line of a text that ends with a zero; NULL behind the last. */
static const char *next_line(const char *line) {
    const char *newline = strchr(line, '\n');
    return newline == NULL || newline[1] == 0 ? NULL : newline + 1;
}

static bool has_property(const char *failures, lw_bytes property) {
    for (const char *line = failures; line != NULL; line = next_line(line)) {
        if (lw_equal(lw_shrink_property(line), property)) {
            return true;
        }
    }
    return false;
}

/* Whether anything was violated that was violated before. */
static bool fails_alike(const search *it, lw_run_result *result) {
    lw_buffer_append_u8(&result->failures, 0);
    const char *line = result->passed ? NULL : (const char *)result->failures.data;
    while (line != NULL && !has_property(it->of->failures, lw_shrink_property(line))) {
        line = next_line(line);
    }
    return line != NULL;
}

/* ---- attempts ------------------------------------------------------------------------------- */

static bool time_is_up(const search *it) {
    return seconds_now() >= it->end_seconds;
}

/* Whether the run fails with this list on this schedule. */
static bool fails(search *it, const lw_strike_list *list) {
    lw_run_options options = it->of->run;
    options.strikes = list;
    options.struck = NULL;
    options.page = NULL;
    options.trace = options.history = options.report = NULL;
    lw_child_outcome outcome;
    lw_child_run(&options, false, it->memory, NULL, NULL, &outcome);
    bool failed = fails_alike(it, &outcome.result);
    lw_child_outcome_reset(&outcome);
    it->of->attempts++;
    if (it->of->tell != NULL) {
        it->of->tell(it->of->argument, it->of);
    }
    return failed;
}

/* Whether the run fails with this list, on the schedule of the smallest so far or one of the next
 * ones. If it does, it is the smallest. What is left out moves everything else a little, and a
 * failure that takes some luck may not show on the first. */
static bool attempt(search *it, lw_strike_list *list, uint32_t schedules) {
    bool failed = false;
    list->schedule = it->of->smallest.schedule;
    for (uint32_t tried = 0; !failed && tried < schedules && !(tried > 0 && time_is_up(it));
         tried++) {
        list->schedule += tried > 0;
        failed = fails(it, list);
    }
    if (failed) {
        lw_strike_list smaller = *list;
        *list = it->of->smallest;
        it->of->smallest = smaller;
    }
    lw_strike_list_reset(list);
    return failed;
}

/* The smallest list so far without those in [first, end). The more that is, the more it is worth.
 */
static bool attempt_without(search *it, size_t first, size_t end) {
    lw_strike_list list = lw_strike_list_in(it->memory);
    for (size_t index = 0; index < it->of->smallest.count; index++) {
        if (index < first || index >= end) {
            lw_strike_list_add(&list, &it->of->smallest.items[index]);
        }
    }
    bool many = 4 * (end - first) >= it->of->smallest.count;
    return attempt(it, &list, first == end ? 1 : many ? SCHEDULES_OF_MUCH : SCHEDULES_OF_LITTLE);
}

/* Without the faults of these kinds, from the first to before the end. */
static bool without_kinds(search *it, int first, int end) {
    lw_strike_list list = lw_strike_list_in(it->memory);
    for (size_t index = 0; index < it->of->smallest.count; index++) {
        int fault = (int)it->of->smallest.items[index].fault;
        if (fault < first || fault >= end) {
            lw_strike_list_add(&list, &it->of->smallest.items[index]);
        }
    }
    size_t dropped = it->of->smallest.count - list.count;
    bool many = 4 * dropped >= it->of->smallest.count;
    if (dropped > 0) {
        return attempt(it, &list, many ? SCHEDULES_OF_MUCH : SCHEDULES_OF_LITTLE);
    }
    lw_strike_list_reset(&list);
    return false;
}

/* One pass over the list in parts of this size, from its end, where what strikes late often does
 * not matter. True if any could be left out. */
static bool without_parts(search *it, size_t size) {
    bool any = false;
    for (size_t end = it->of->smallest.count; end > 0 && !time_is_up(it);) {
        size_t first = end > size ? end - size : 0;
        any = attempt_without(it, first, end) || any;
        end = first;
    }
    return any;
}

bool lw_shrink_run(lw_shrink *shrink, lw_memory *memory) {
    search it = {.of = shrink, .memory = memory, .end_seconds = seconds_now() + shrink->seconds};
    if (!attempt_without(&it, 0, 0)) {
        return false;
    }
    if (attempt_without(&it, 0, shrink->smallest.count)) {
        return true; /* it takes no fault at all */
    }
    /* What disks, networks and clocks draw for themselves, then kind by kind. */
    if (!without_kinds(&it, 0, LW_FAULT_CRASH)) {
        for (int fault = 0; fault < LW_FAULT_CRASH && !time_is_up(&it); fault++) {
            (void)without_kinds(&it, fault, fault + 1);
        }
    }
    for (int fault = LW_FAULT_CRASH; fault < LW_FAULT_COUNT && !time_is_up(&it); fault++) {
        (void)without_kinds(&it, fault, fault + 1);
    }
    for (size_t size = shrink->smallest.count / 2; size > 0 && !time_is_up(&it);) {
        bool any = without_parts(&it, size);
        size = size == 1 && any ? 1 : size / 2;
    }
    return true;
}
