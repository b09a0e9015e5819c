/* SPDX-License-Identifier: Apache-2.0 */
/* Two runs of one seed that were not the same: where they part, for whoever has to find out why. */
#include "sim/user.h"

#include <inttypes.h>

enum { LINE_SIZE = 512 };

static const char advice[] =
    "the same seed gave two different runs: something that the seed does not decide reaches what "
    "callbacks do. Look for static and global variables that keep their value from run to run (use "
    "lw_sim_state), time() and sleep() (lw_sim_now_us, lw_sim_sleep_us), rand() (lw_sim_random), "
    "pointers that are compared, hashed or printed, memory read before it is set, threads, sockets "
    "and files.\n";

static FILE *trace_of(const lw_run_options *options, lw_memory *memory) {
    lw_run_options again = *options;
    lw_run_result result;
    again.trace = tmpfile();
    again.history = again.report = NULL;
    if (again.trace != NULL) {
        lw_scenario_run(&again, memory, NULL, NULL, &result);
        lw_buffer_reset(&result.failures);
        rewind(again.trace);
    }
    return again.trace;
}

static void find_difference(FILE *one, FILE *other, lw_buffer *text) {
    char first[LINE_SIZE] = "", second[LINE_SIZE] = "";
    uint64_t line = 0;
    bool more = true;
    while (more && strcmp(first, second) == 0) {
        bool one_more = fgets(first, sizeof(first), one) != NULL;
        bool other_more = fgets(second, sizeof(second), other) != NULL;
        first[one_more ? sizeof(first) - 1 : 0] = 0;
        second[other_more ? sizeof(second) - 1 : 0] = 0;
        more = one_more || other_more;
        line++;
    }
    if (more) {
        lw_buffer_print(text, "traces of two more runs part at line %" PRIu64 ":\n  %.*s\n  %.*s\n",
                        line, (int)strcspn(first, "\n"), first, (int)strcspn(second, "\n"), second);
    }
}

void lw_user_differ(const lw_run_options *options, lw_memory *memory, lw_buffer *text) {
    lw_buffer_append(text, lw_text(advice));
    FILE *one = trace_of(options, memory), *other = trace_of(options, memory);
    if (one != NULL && other != NULL) {
        find_difference(one, other, text);
    }
    if (one != NULL) {
        (void)fclose(one);
    }
    if (other != NULL) {
        (void)fclose(other);
    }
}
