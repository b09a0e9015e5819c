/* SPDX-License-Identifier: Apache-2.0 */
/* The two real worlds of base/env, for stories that hold in both and are told once for each. */
#ifndef LW_TESTS_ENV_WORLDS_H
#define LW_TESTS_ENV_WORLDS_H

#include "base/env.h"
#include "tests/unit.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MILLISECOND 1000000U

/* What opens a world, and its name. */
typedef struct world {
    const char *name;
    lw_status (*open)(lw_env **env);
} world;

typedef struct fixture {
    const world *world;
    lw_env *env;
    char directory[64];
    char path[LW_PATH_SIZE]; /* of a file in it */
    char trace[1024];        /* one letter an event */
    lw_queue queue;
    int failed_line; /* of the first EXPECT in a fiber that did not hold */
    /* For pairs of fibers. */
    lw_handle listener, socket;
    char address[LW_ADDRESS_SIZE];
    uint64_t deadline_ns;
} fixture;

static inline int open_fixture(void **state) {
    fixture *in = calloc(1, sizeof(*in));
    in->world = *state;
    if (in->world->open(&in->env) != LW_OK) {
        return -1;
    }
    snprintf(in->directory, sizeof(in->directory), "/tmp/lathwork-test-XXXXXX");
    if (mkdtemp(in->directory) == NULL || lw_path_join(in->path, in->directory, "file") != LW_OK) {
        return -1;
    }
    *state = in;
    return 0;
}

static inline int remove_one(const char *path, const struct stat *facts, int kind,
                             struct FTW *where) {
    (void)facts, (void)kind, (void)where;
    return remove(path);
}

static inline int close_fixture(void **state) {
    fixture *in = *state;
    if (in->env != NULL) {
        lw_env_close(in->env);
    }
    nftw(in->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(in);
    return 0;
}

/* In a fiber, where nothing may be asserted: notes the line and ends the fiber. */
#define EXPECT(in, condition)                                                          \
    do {                                                                               \
        if (!(condition)) {                                                            \
            (in)->failed_line = (in)->failed_line != 0 ? (in)->failed_line : __LINE__; \
            return;                                                                    \
        }                                                                              \
    } while (0)

static inline void note(fixture *in, char letter) {
    size_t size = strlen(in->trace);
    if (size + 1 < sizeof(in->trace)) {
        in->trace[size] = letter;
    }
}

/* Turns until every fiber has ended. */
static inline void run_fibers(fixture *in) {
    while (lw_fibers_count(in->env->fibers) > 0) {
        lw_env_turn(in->env, true);
    }
    assert_int_equal(in->failed_line, 0);
}

static inline void assert_fails(lw_status got, lw_status expected, const char *words) {
    assert_int_equal(got, expected);
    assert_int_equal(lw_error_slot()->status, expected);
    if (strstr(lw_error_slot()->text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", lw_error_slot()->text, words);
    }
}

static inline void tell_of_files(void *argument) {
    fixture *in = argument;
    char text[32] = {0};
    size_t size = 99;
    uint64_t file_size = 99;
    lw_handle file;
    EXPECT(in, lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file) == LW_OK);
    EXPECT(in, lw_file_write(in->env, file, 0, lw_text("hello world"), 0) == LW_OK);
    EXPECT(in, lw_file_write(in->env, file, 6, lw_text("fiber"), LW_WRITE_DURABLE) == LW_OK);
    EXPECT(in, lw_file_sync(in->env, file) == LW_OK);
    EXPECT(in, lw_file_read(in->env, file, 0, text, sizeof(text), &size) == LW_OK);
    EXPECT(in, size == 11 && memcmp(text, "hello fiber", 11) == 0);
    EXPECT(in, lw_file_read(in->env, file, 6, text, 3, &size) == LW_OK);
    EXPECT(in, size == 3 && memcmp(text, "fib", 3) == 0);
    EXPECT(in, lw_file_read(in->env, file, 11, text, sizeof(text), &size) == LW_OK && size == 0);
    EXPECT(in, lw_file_resize(in->env, file, 4) == LW_OK);
    EXPECT(in, lw_file_resize(in->env, file, 8) == LW_OK);
    EXPECT(in, lw_file_size(in->env, file, &file_size) == LW_OK && file_size == 8);
    EXPECT(in, lw_file_read(in->env, file, 0, text, sizeof(text), &size) == LW_OK);
    EXPECT(in, size == 8 && memcmp(text, "hell\0\0\0\0", 8) == 0);
    lw_status held = lw_file_hold(in->env, file, 1024 * 1024);
    EXPECT(in, held == LW_OK || held == LW_REFUSED);
    struct stat kept = {0};
    EXPECT(in,
           held != LW_OK || (stat(in->path, &kept) == 0 && kept.st_blocks * 512 >= 1024 * 1024));
    EXPECT(in, lw_file_resize(in->env, file, 8) == LW_OK);
    lw_file_close(in->env, file);
    EXPECT(in, lw_file_open(in->env, in->path, LW_OPEN_READ_ONLY, &file) == LW_OK);
    EXPECT(in, lw_file_read(in->env, file, 0, text, sizeof(text), &size) == LW_OK && size == 8);
    lw_file_close(in->env, file);
}

static inline void count_main(lw_op *op) {
    *(uint32_t *)op->owner += 1;
}

static inline void listen_here(fixture *in) {
    uint16_t port = 0;
    assert_int_equal(lw_socket_listen(in->env, "127.0.0.1:0", &in->listener, &port), LW_OK);
    assert_int_not_equal(port, 0);
    snprintf(in->address, sizeof(in->address), "127.0.0.1:%u", port);
    in->deadline_ns = lw_env_now(in->env) + 10000 * (uint64_t)MILLISECOND;
}

/* Connects a pair: in->socket is one end, the other is returned. */
static inline lw_handle connect_pair(fixture *in) {
    lw_handle other;
    listen_here(in);
    assert_int_equal(lw_socket_connect(in->env, in->address, in->deadline_ns, &in->socket), LW_OK);
    assert_int_equal(lw_socket_accept(in->env, in->listener, &other), LW_OK);
    return other;
}

#define STORY(told) \
    { .name = #told, .test_func = told, .setup_func = open_fixture, .teardown_func = close_fixture }

enum { STORIES_MAX = 64 };

/* Tells the stories in each world that this system has. Returns the exit code. */
static inline int tell_in_both(const struct CMUnitTest *stories, size_t count) {
    static const world worlds[] = {
        {"poll", lw_env_posix_open},
        {"io_uring", lw_env_uring_open},
    };
    int failed = 0;
    for (size_t index = 0; index < sizeof(worlds) / sizeof(worlds[0]); index++) {
        const world *told = &worlds[index];
        lw_env *env;
        if (told->open(&env) != LW_OK) {
            printf("skipped: the world of %s: %s\n", told->name, lw_error_slot()->text);
            continue;
        }
        lw_env_close(env);
        struct CMUnitTest tests[STORIES_MAX];
        LW_ASSERT(count <= STORIES_MAX);
        memcpy(tests, stories, count * sizeof(*stories));
        for (size_t story = 0; story < count; story++) {
            tests[story].initial_state = (void *)(uintptr_t)told;
        }
        failed += _cmocka_run_group_tests(told->name, tests, count, unit_arm, NULL);
    }
    return failed != 0;
}

#endif
