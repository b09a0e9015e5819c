/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest world with files: they live in memory, where a test can reach and change their
 * bytes, and nothing else exists. Operations complete at once, or, inside fibers, at the next turn.
 * For tests of formats; crashes, faults and time are the simulator's. */
#ifndef LW_TESTS_MEMORY_WORLD_H
#define LW_TESTS_MEMORY_WORLD_H

#include "base/env.h"

#include <stdlib.h>

enum { MEMORY_FILES_MAX = 8, MEMORY_MARKS_MAX = 16, MEMORY_ALIGNMENT = 512 };

typedef struct memory_file {
    char path[64]; /* empty: no file */
    lw_buffer bytes;
    uint64_t synced_size; /* at the last sync */
} memory_file;

typedef struct memory_world {
    lw_env env; /* first, so that the world is found from it */
    memory_file files[MEMORY_FILES_MAX];
    lw_op *waiting[MEMORY_FILES_MAX]; /* operations of fibers, in order */
    size_t waiting_count;
    const char *bug;  /* the planted bug that is on, or NULL */
    const char *rare; /* the rare path that is taken, or NULL */
    const char *marks[MEMORY_MARKS_MAX];
    size_t mark_count;
    lw_op_kind failing_kind; /* operations of this kind fail ... */
    uint32_t failing_after;  /* ... after so many more; UINT32_MAX: never */
    uint64_t operation_count, read_count, direct_read_count, write_count;
} memory_world;

static inline memory_world *memory_world_of(lw_env *env) {
    return (memory_world *)(void *)env;
}

static inline memory_file *memory_world_file(memory_world *world, const char *path) {
    for (size_t index = 0; index < MEMORY_FILES_MAX; index++) {
        if (strcmp(world->files[index].path, path) == 0) {
            return &world->files[index];
        }
    }
    return NULL;
}

static inline lw_status memory_world_open_file(memory_world *world, lw_op *op) {
    memory_file *file = memory_world_file(world, op->path);
    if (file == NULL && (op->flags & LW_OPEN_CREATE) == 0) {
        return LW_NOT_FOUND;
    }
    if (file != NULL && (op->flags & LW_OPEN_EXCLUSIVE) != 0) {
        return LW_EXISTS;
    }
    if (file == NULL) {
        file = memory_world_file(world, "");
        LW_ASSERT(file != NULL && strlen(op->path) < sizeof(file->path));
        strcpy(file->path, op->path);
    }
    bool direct = (op->flags & LW_OPEN_DIRECT) != 0;
    op->handle.number = (int32_t)(file - world->files) + (direct ? MEMORY_FILES_MAX : 0);
    op->count = direct ? MEMORY_ALIGNMENT : 1;
    return LW_OK;
}

static inline lw_status memory_world_write(memory_file *file, const lw_op *op) {
    LW_ASSERT(op->offset <= file->bytes.size);
    size_t end = (size_t)op->offset + op->size;
    if (end > file->bytes.size) {
        (void)lw_buffer_reserve(&file->bytes, end - file->bytes.size);
        file->bytes.size = end;
    }
    memcpy(file->bytes.data + op->offset, op->buffer, op->size);
    return LW_OK;
}

static inline lw_status memory_world_read(const memory_file *file, lw_op *op) {
    uint64_t left = op->offset < file->bytes.size ? file->bytes.size - op->offset : 0;
    op->count = left < op->size ? left : op->size;
    if (op->count > 0) {
        memcpy(op->buffer, file->bytes.data + op->offset, op->count);
    }
    return LW_OK;
}

static inline lw_status memory_world_carry_out(memory_world *world, lw_op *op) {
    bool direct = op->handle.number >= MEMORY_FILES_MAX;
    memory_file *file =
        op->handle.number >= 0 ? &world->files[op->handle.number % MEMORY_FILES_MAX] : NULL;
    world->operation_count++;
    if (op->kind == world->failing_kind && world->failing_after != UINT32_MAX &&
        world->failing_after-- == 0) {
        world->failing_after = 0;
        return LW_INTERNAL;
    }
    switch ((int)op->kind) {
    case LW_OP_OPEN:
        return memory_world_open_file(world, op);
    case LW_OP_CLOSE:
        return LW_OK;
    case LW_OP_READ:
        LW_ASSERT(!direct ||
                  (op->size % MEMORY_ALIGNMENT == 0 && op->offset % MEMORY_ALIGNMENT == 0 &&
                   (uintptr_t)op->buffer % MEMORY_ALIGNMENT == 0));
        world->read_count++;
        world->direct_read_count += direct;
        return memory_world_read(file, op);
    case LW_OP_WRITE:
        world->write_count++;
        return memory_world_write(file, op);
    case LW_OP_SYNC:
        file->synced_size = file->bytes.size;
        return LW_OK;
    case LW_OP_SIZE:
        op->count = file->bytes.size;
        return LW_OK;
    case LW_OP_UNLINK:
        file = memory_world_file(world, op->path);
        if (file == NULL) {
            return LW_NOT_FOUND;
        }
        lw_buffer_reset(&file->bytes);
        *file = (memory_file){.bytes = file->bytes};
        return LW_OK;
    case LW_OP_OFFLOAD:
        op->work(op->argument);
        return LW_OK;
    default:
        LW_ASSERT(op->kind == LW_OP_OPEN);
        return LW_INTERNAL;
    }
}

static inline void memory_world_complete(memory_world *world, lw_op *op) {
    op->status = memory_world_carry_out(world, op);
    op->complete(op);
}

static inline void memory_world_submit(lw_env *env, lw_op *op) {
    memory_world *world = memory_world_of(env);
    if (lw_fiber_current() == NULL) {
        memory_world_complete(world, op);
        return;
    }
    LW_ASSERT(world->waiting_count < MEMORY_FILES_MAX);
    world->waiting[world->waiting_count++] = op;
}

static inline void memory_world_turn(lw_env *env, bool wait) {
    memory_world *world = memory_world_of(env);
    (void)wait;
    (void)lw_fibers_run(env->fibers);
    size_t count = world->waiting_count;
    lw_op *ready[MEMORY_FILES_MAX];
    memcpy(ready, world->waiting, sizeof(ready));
    world->waiting_count = 0;
    for (size_t index = 0; index < count; index++) {
        memory_world_complete(world, ready[index]);
    }
}

static inline void memory_world_mark(lw_env *env, const lw_place *place) {
    memory_world *world = memory_world_of(env);
    for (size_t index = 0; index < world->mark_count; index++) {
        if (strcmp(world->marks[index], place->name) == 0) {
            return;
        }
    }
    LW_ASSERT(world->mark_count < MEMORY_MARKS_MAX);
    world->marks[world->mark_count++] = place->name;
}

static inline bool memory_world_marked(const memory_world *world, const char *name) {
    for (size_t index = 0; index < world->mark_count; index++) {
        if (strcmp(world->marks[index], name) == 0) {
            return true;
        }
    }
    return false;
}

static inline bool memory_world_rare(lw_env *env, const lw_place *place) {
    const char *rare = memory_world_of(env)->rare;
    return rare != NULL && strcmp(rare, place->name) == 0;
}

static inline bool memory_world_bug(lw_env *env, const lw_place *place) {
    const char *bug = memory_world_of(env)->bug;
    return bug != NULL && strcmp(bug, place->name) == 0;
}

static inline memory_world *memory_world_open(void) {
    static const lw_env_world calls = {.submit = memory_world_submit,
                                       .turn = memory_world_turn,
                                       .mark = memory_world_mark,
                                       .rare = memory_world_rare,
                                       .bug = memory_world_bug};
    memory_world *world = calloc(1, sizeof(*world));
    LW_ASSERT(world != NULL);
    world->env.world = &calls;
    world->env.memory = lw_memory_open();
    world->env.fibers = lw_fibers_open(world->env.memory);
    world->failing_after = UINT32_MAX;
    for (size_t index = 0; index < MEMORY_FILES_MAX; index++) {
        world->files[index].bytes = lw_buffer_in(world->env.memory);
    }
    return world;
}

static inline void memory_world_close(memory_world *world) {
    lw_fibers_close(world->env.fibers);
    lw_memory_close(world->env.memory);
    free(world);
}

#endif
