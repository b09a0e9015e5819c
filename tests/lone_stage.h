/* SPDX-License-Identifier: Apache-2.0 */
/* One host in a simulated world without faults, and a script for it. */
#ifndef LW_TESTS_LONE_STAGE_H
#define LW_TESTS_LONE_STAGE_H

/* Builds without the simulator's hooks run these tests too. */
#ifndef LW_SIMULATION
#define LW_SIMULATION 1
#endif
#include "sim/world.h"
#include "tests/unit.h"

#define SECOND_NS UINT64_C(1000000000)

/* A world without faults and a process in it. */
typedef struct lone_stage {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    uint32_t count;
    lw_status status;
    uint64_t number, other;
    lw_handle handle;
} lone_stage;

static inline void set_up(lone_stage *stage, uint64_t seed) {
    lw_faults none = lw_faults_none();
    *stage = (lone_stage){.world = lw_world_open(seed, &none), .handle = LW_NO_HANDLE};
    stage->host = lw_world_host(stage->world, "node1");
    stage->env = lw_host_boot(stage->host);
}

static inline void tear_down(const lone_stage *stage) {
    lw_world_close(stage->world);
}

static inline void run_for(const lone_stage *stage, uint64_t duration_ns) {
    lw_world_run(stage->world, lw_world_now(stage->world) + duration_ns);
}

/* Outside of fibers the calls of env.h turn the world, so that most scripts need no fiber. */
static inline void write_text(lw_env *env, const char *path, const char *text, bool sync) {
    lw_handle file;
    assert_int_equal(lw_file_open(env, path, LW_OPEN_CREATE, &file), LW_OK);
    assert_int_equal(lw_file_write(env, file, 0, lw_text(text), 0), LW_OK);
    if (sync) {
        assert_int_equal(lw_file_sync(env, file), LW_OK);
        assert_int_equal(lw_path_sync_directory(env, "/"), LW_OK);
    }
    lw_file_close(env, file);
}

/* The first bytes of a file as the process sees it, or "" if there is none. */
static inline const char *read_text(lw_env *env, const char *path, char text[64]) {
    lw_handle file;
    size_t size = 0;
    if (lw_file_open(env, path, LW_OPEN_READ_ONLY, &file) == LW_OK) {
        assert_int_equal(lw_file_read(env, file, 0, text, 63, &size), LW_OK);
        lw_file_close(env, file);
    }
    text[size] = '\0';
    return text;
}

#endif
