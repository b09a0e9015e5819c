/* SPDX-License-Identifier: Apache-2.0 */
/* The child shares a piece of memory with its parent, where strikes are seen even of one that was
 * cut short; texts and marks come through a file that has no name. Names of marks are constants of
 * the program, which lie at the same addresses in both. */
#include "sim/child.h"

#include "sim/page.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OTHER_HEAP_BYTE = 0x5a, OTHER_HEAP_SIZE = 777777 };
enum { /* bytes */
       MAPPED_SIZE = 32 << 20,
       KEPT_SIZE = 512 << 20,
       GROWTH_SIZE = 8 << 20,
};

/* What both see. */
typedef struct shared {
    bool ended;
    lw_run_result result; /* its failures lie in the file: */
    size_t failures_size, mark_count;
    lw_strike_list struck;
    lw_strike strikes[LW_CHILD_STRIKES_MAX];
} shared;

/* ---- the child ------------------------------------------------------------------------------ */

/* Marks, before the failures, in the file. */
typedef struct mark_writer {
    FILE *to;
    size_t count;
} mark_writer;

static void write_mark(void *argument, const lw_mark *mark) {
    mark_writer *writer = argument;
    (void)fwrite(mark, sizeof(*mark), 1, writer->to);
    writer->count++;
}

void lw_child_keep_heap(void) {
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_SIZE);
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_SIZE);
    (void)mallopt(M_TOP_PAD, GROWTH_SIZE);
}

_Noreturn static void child_main(const lw_run_options *given, bool other_heap, shared *both,
                                 FILE *answer, FILE *words) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)alarm(LW_CHILD_SECONDS_MAX);
    (void)dup2(fileno(words), STDERR_FILENO);
    lw_child_keep_heap();
    if (other_heap) {
        (void)mallopt(M_PERTURB, OTHER_HEAP_BYTE);
        void *volatile moved = malloc(OTHER_HEAP_SIZE); /* never given back */
        (void)moved;
    }
    lw_run_options options = *given;
    options.struck = given->struck == NULL ? NULL : &both->struck;
    options.report = given->report == NULL ? NULL : stderr;
    mark_writer writer = {.to = answer};
    lw_run_result result;
    lw_scenario_run(&options, lw_memory_open(), write_mark, &writer, &result);
    if (result.failures.size > 0) {
        (void)fwrite(result.failures.data, 1, result.failures.size, answer);
    }
    both->failures_size = result.failures.size;
    both->mark_count = writer.count;
    both->result = result;
    both->ended = fflush(NULL) == 0;
    _exit(0);
}

/* ---- the parent ----------------------------------------------------------------------------- */

static void read_marks(FILE *answer, size_t count, lw_run_marks marks, void *argument) {
    for (size_t index = 0; index < count; index++) {
        lw_mark mark;
        LW_ASSERT(fread(&mark, sizeof(mark), 1, answer) == 1);
        if (marks != NULL) {
            marks(argument, &mark);
        }
    }
}

static void read_text(FILE *from, size_t size, lw_buffer *text) {
    if (size == 0) {
        return;
    }
    size_t there = fread(lw_buffer_reserve(text, size), 1, size, from);
    text->size += there;
}

/* The first line of a report that names what happened, or its first one. */
static lw_bytes telling_line(const lw_buffer *report) {
    static const char *const words[] = {"assertion failed", "ERROR: ", "runtime error: "};
    lw_bytes first = lw_view(NULL, 0);
    for (size_t begin = 0; begin < report->size;) {
        const uint8_t *line = report->data + begin;
        const uint8_t *newline = memchr(line, '\n', report->size - begin);
        size_t size = newline == NULL ? report->size - begin : (size_t)(newline - line);
        for (size_t index = 0; index < sizeof(words) / sizeof(words[0]); index++) {
            if (memmem(line, size, words[index], strlen(words[index])) != NULL) {
                return lw_view(line, size);
            }
        }
        first = first.size == 0 ? lw_view(line, size) : first;
        begin += size + 1;
    }
    return first;
}

/* A run that was cut short. */
static void explain_end(int status, lw_child_outcome *outcome) {
    lw_buffer *failures = &outcome->result.failures;
    lw_bytes line = telling_line(&outcome->report);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        lw_buffer_print(failures, "the run did not end within %d real seconds\n",
                        LW_CHILD_SECONDS_MAX);
    } else if (line.size > 0) {
        lw_buffer_print(failures, "%.*s\n", (int)line.size, (const char *)line.data);
    } else {
        lw_buffer_print(failures, "the run ended by %s %d\n",
                        WIFSIGNALED(status) ? "signal" : "exit code",
                        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
}

static int wait_for(pid_t child) {
    int status = 0;
    pid_t waited = waitpid(child, &status, 0);
    while (waited < 0 && errno == EINTR) {
        waited = waitpid(child, &status, 0);
    }
    LW_ASSERT(waited == child);
    return status;
}

/* The page of a run that was cut short: what happened is known only now. */
static void finish_page(const char *path, lw_buffer *failures) {
    FILE *file = fopen(path, "a");
    if (file != NULL) {
        lw_buffer_append_u8(failures, 0);
        failures->size--;
        lw_page_finish((const char *)failures->data, file);
        (void)fclose(file);
    }
}

void lw_child_run(const lw_run_options *options, bool other_heap, lw_memory *memory,
                  lw_run_marks marks, void *argument, lw_child_outcome *outcome) {
    *outcome =
        (lw_child_outcome){.struck = lw_strike_list_in(memory), .report = lw_buffer_in(memory)};
    outcome->result.failures = lw_buffer_in(memory);
    FILE *answer = tmpfile(), *words = tmpfile();
    shared *both = mmap(NULL, sizeof(*both), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    LW_ASSERT(answer != NULL && words != NULL && both != MAP_FAILED);
    both->struck = (lw_strike_list){.items = both->strikes, .capacity = LW_CHILD_STRIKES_MAX};
    (void)fflush(NULL);
    pid_t child = fork();
    LW_ASSERT(child >= 0);
    if (child == 0) {
        child_main(options, other_heap, both, answer, words);
    }
    int status = wait_for(child);
    rewind(answer);
    (void)fseek(words, 0, SEEK_END);
    size_t report_size = (size_t)ftell(words);
    rewind(words);
    read_text(words, report_size, &outcome->report);
    outcome->ended = both->ended;
    if (both->ended) {
        outcome->result = both->result;
        outcome->result.failures = lw_buffer_in(memory);
        read_marks(answer, both->mark_count, marks, argument);
        read_text(answer, both->failures_size, &outcome->result.failures);
    } else {
        explain_end(status, outcome);
    }
    if (!both->ended && options->page != NULL) {
        finish_page(options->page, &outcome->result.failures);
    }
    for (size_t index = 0; index < both->struck.count; index++) {
        lw_strike_list_add(&outcome->struck, &both->strikes[index]);
    }
    (void)munmap(both, sizeof(*both));
    (void)fclose(answer);
    (void)fclose(words);
}

void lw_child_run_here(const lw_run_options *options, bool other_heap, lw_memory *memory,
                       lw_run_marks marks, void *argument, lw_child_outcome *outcome) {
    LW_ASSERT(!other_heap);
    lw_child_keep_heap();
    *outcome = (lw_child_outcome){
        .ended = true, .struck = lw_strike_list_in(memory), .report = lw_buffer_in(memory)};
    lw_run_options here = *options;
    here.struck = options->struck == NULL ? NULL : &outcome->struck;
    lw_scenario_run(&here, memory, marks, argument, &outcome->result);
}

void lw_child_outcome_reset(lw_child_outcome *outcome) {
    lw_buffer_reset(&outcome->result.failures);
    lw_buffer_reset(&outcome->report);
    lw_strike_list_reset(&outcome->struck);
}
