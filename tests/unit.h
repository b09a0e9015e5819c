/* SPDX-License-Identifier: Apache-2.0 */
/* What unit tests share: cmocka with the headers it needs before it, a clock that ends a test that
 * hangs, random numbers that are the same on every run, and a way to watch a process end. */
#ifndef LW_TESTS_UNIT_H
#define LW_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A group of tests. Under AddressSanitizer everything takes several times as long. */
#ifdef __SANITIZE_ADDRESS__
enum { UNIT_SECONDS_MAX = 240 };
#else
enum { UNIT_SECONDS_MAX = 60 };
#endif

/* The setup of a group: cmocka itself knows no time limit. */
static inline int unit_arm(void **state) {
    (void)state;
    alarm(UNIT_SECONDS_MAX);
    return 0;
}

/* The next number of a SplitMix64 generator. */
static inline uint64_t unit_random(uint64_t *state) {
    uint64_t value = *state += 0x9e3779b97f4a7c15U;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
    return value ^ (value >> 31);
}
static inline uint64_t unit_random_below(uint64_t *state, uint64_t bound) {
    return unit_random(state) % bound;
}

/* Runs body(argument) in a child, puts what it printed on standard error into `text`, cut to `size`
 * with its closing zero, and returns its wait status. */
static inline int unit_child(void (*body)(void *argument), void *argument, char *text,
                             size_t size) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        body(argument);
        _exit(0);
    }
    close(ends[1]);
    size_t text_size = 0;
    char chunk[512];
    ssize_t chunk_size;
    while ((chunk_size = read(ends[0], chunk, sizeof(chunk))) > 0) {
        for (ssize_t index = 0; index < chunk_size && text_size + 1 < size; index++) {
            text[text_size++] = chunk[index];
        }
    }
    text[text_size] = '\0';
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* Asserts that body(argument) fails an assertion whose message holds `words`. */
static inline void unit_expect_abort(void (*body)(void *argument), void *argument,
                                     const char *words) {
    char text[4096];
    int status = unit_child(body, argument, text, sizeof(text));
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || strstr(text, words) == NULL) {
        fail_msg("expected an abort that names \"%s\", got wait status %d and \"%s\"", words,
                 status, text);
    }
}

/* Whether a story fails: for those that must, since a bug is planted. In a child, whose words are
 * nobody's. */
typedef struct unit_story {
    void (*body)(void **state);
    void **state;
} unit_story;
static inline void unit_story_main(void *argument) {
    unit_story *story = argument;
    assert_int_equal(setenv("CMOCKA_TEST_ABORT", "1", 1), 0);
    story->body(story->state);
}
static inline bool unit_story_fails(void (*body)(void **state), void **state) {
    char text[512];
    unit_story story = {body, state};
    return unit_child(unit_story_main, &story, text, sizeof(text)) != 0;
}

#endif
