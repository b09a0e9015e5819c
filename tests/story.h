/* SPDX-License-Identifier: Apache-2.0 */
/* Stories: pieces of a test that run as fibers of a simulated machine. */
#ifndef LW_TESTS_STORY_H
#define LW_TESTS_STORY_H

#include "tests/unit.h"

/* For `bench`, a struct with world, host, env, the text `failure` and `stopped`: defines wrong(),
 * which notes the first thing that is wrong, since nothing is asserted inside of fibers and planted
 * bugs must be noticed too; run(), which runs a story in a fiber to its end and is false if the
 * power went before; and expect_right(). */
#define STORIES_OF(bench)                                                           \
    static inline void wrong(bench *on, const char *format, ...)                    \
        __attribute__((format(printf, 2, 3)));                                      \
    static inline void wrong(bench *on, const char *format, ...) {                  \
        va_list arguments;                                                          \
        va_start(arguments, format);                                                \
        if (on->failure[0] == 0) {                                                  \
            vsnprintf(on->failure, sizeof(on->failure), format, arguments);         \
        }                                                                           \
        va_end(arguments);                                                          \
        on->stopped = true;                                                         \
    }                                                                               \
                                                                                    \
    typedef struct story {                                                          \
        bench *on;                                                                  \
        void (*body)(bench * on);                                                   \
        bool done;                                                                  \
    } story;                                                                        \
                                                                                    \
    static inline void story_main(void *argument) {                                 \
        story *told = argument;                                                     \
        told->body(told->on);                                                       \
        told->done = true;                                                          \
    }                                                                               \
                                                                                    \
    static inline bool run(bench *on, void (*body)(bench * on)) {                   \
        story told = {.on = on, .body = body};                                      \
        (void)lw_env_start(on->env, "story", story_main, &told);                    \
        while (!told.done && lw_host_running(on->host)) {                           \
            if (!lw_world_step(on->world)) {                                        \
                wrong(on, "the story is stuck: every fiber waits for another");     \
                return false;                                                       \
            }                                                                       \
        }                                                                           \
        return told.done;                                                           \
    }                                                                               \
                                                                                    \
    static inline void expect_right(bench *on, const char *what, uint64_t number) { \
        if (on->failure[0] != 0) {                                                  \
            lw_world_report(on->world, stderr);                                     \
            fail_msg("%s %u: %s", what, (unsigned)number, on->failure);             \
        }                                                                           \
    }

#endif
