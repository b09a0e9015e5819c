/* SPDX-License-Identifier: Apache-2.0 */
/* base/env: files, in both real worlds. */
#include "tests/env_worlds.h"

#include <errno.h>
#include <fcntl.h>

static void files_keep_what_is_written_to_them(void **state) {
    fixture *in = *state;
    lw_env_start(in->env, "files", tell_of_files, in);
    run_fibers(in);
}

static void outside_fibers_the_same_calls_block(void **state) {
    fixture *in = *state;
    tell_of_files(in);
    assert_int_equal(in->failed_line, 0);
    uint64_t before = lw_env_now(in->env);
    lw_env_sleep(in->env, 20 * MILLISECOND);
    assert_true(lw_env_now(in->env) >= before + 20 * MILLISECOND);
}

static void direct_and_durable_writes_read_back(void **state) {
    fixture *in = *state;
    enum { SIZE = 4 * LW_DIRECT_ALIGNMENT };
    uint8_t *bytes = lw_allocate_aligned(in->env->memory, SIZE, LW_DIRECT_ALIGNMENT);
    uint8_t *again = lw_allocate_aligned(in->env->memory, SIZE, LW_DIRECT_ALIGNMENT);
    uint64_t seed = 1;
    for (size_t index = 0; index < SIZE; index++) {
        bytes[index] = (uint8_t)unit_random(&seed);
    }
    lw_handle file;
    size_t size = 0;
    assert_int_equal(
        lw_file_open(in->env, in->path, LW_OPEN_CREATE | LW_OPEN_EXCLUSIVE | LW_OPEN_DIRECT, &file),
        LW_OK);
    assert_int_equal(lw_file_write(in->env, file, 0, lw_view(bytes, SIZE), LW_WRITE_DURABLE),
                     LW_OK);
    assert_int_equal(lw_file_read(in->env, file, 0, again, SIZE, &size), LW_OK);
    assert_int_equal(size, SIZE);
    assert_memory_equal(bytes, again, SIZE);
    /* The end of the file, also where it is not aligned. */
    assert_int_equal(lw_file_read(in->env, file, 3 * LW_DIRECT_ALIGNMENT, again, SIZE, &size),
                     LW_OK);
    assert_int_equal(size, LW_DIRECT_ALIGNMENT);
    assert_int_equal(lw_file_resize(in->env, file, 3 * LW_DIRECT_ALIGNMENT + 100), LW_OK);
    assert_int_equal(
        lw_file_read(in->env, file, 2 * LW_DIRECT_ALIGNMENT, again, 2 * LW_DIRECT_ALIGNMENT, &size),
        LW_OK);
    assert_int_equal(size, LW_DIRECT_ALIGNMENT + 100);
    lw_file_close(in->env, file);
}

static void direct_reads_keep_to_the_alignment_of_the_file(void **state) {
    fixture *in = *state;
    enum { SIZE = 4 * LW_DIRECT_ALIGNMENT - 77 };
    uint8_t *bytes = lw_allocate(in->env->memory, SIZE);
    uint64_t seed = 1;
    for (size_t index = 0; index < SIZE; index++) {
        bytes[index] = (uint8_t)unit_random(&seed);
    }
    lw_handle file;
    size_t size = 0;
    uint32_t alignment = 0;
    assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file), LW_OK);
    assert_int_equal(lw_file_write(in->env, file, 0, lw_view(bytes, SIZE), LW_WRITE_DURABLE),
                     LW_OK);
    lw_file_close(in->env, file);
    assert_int_equal(lw_file_open_direct(in->env, in->path, &file, &alignment), LW_OK);
    assert_in_range(alignment, 1, LW_DIRECT_ALIGNMENT);
    assert_int_equal(alignment & (alignment - 1), 0);
    uint8_t *again = lw_allocate_aligned(in->env->memory, SIZE + alignment, LW_DIRECT_ALIGNMENT);
    for (size_t from = 0; from < SIZE; from += alignment) {
        size_t wanted = 3 * (size_t)alignment, left = SIZE - from;
        assert_int_equal(lw_file_read(in->env, file, from, again, wanted, &size), LW_OK);
        assert_int_equal(size, left < wanted ? left : wanted);
        assert_memory_equal(again, bytes + from, size);
        from += alignment == 1 ? 500 : 0;
    }
    lw_file_close(in->env, file);
    assert_int_equal(lw_file_open_direct(in->env, "/proc/self/comm", &file, &alignment), LW_OK);
    assert_int_equal(alignment, 1);
    lw_file_close(in->env, file);
}

static void the_memory_of_the_system_is_known(void **state) {
    fixture *in = *state;
    uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES);
    assert_in_range(lw_env_memory_size(in->env), 1 << 20, pages * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void where_direct_is_unknown_files_are_buffered(void **state) {
    fixture *in = *state;
    lw_handle file;
    char name[32] = {0};
    size_t size = 0;
    assert_int_equal(
        lw_file_open(in->env, "/proc/self/comm", LW_OPEN_DIRECT | LW_OPEN_READ_ONLY, &file), LW_OK);
    assert_int_equal(lw_file_read(in->env, file, 0, name, sizeof(name), &size), LW_OK);
    assert_true(lw_equal(lw_view(name, size), lw_text("test_env_files\n")));
    lw_file_close(in->env, file);
}

static void long_transfers_arrive_whole(void **state) {
    fixture *in = *state;
    enum { SIZE = 700 * 1000 };
    uint8_t *bytes = lw_allocate(in->env->memory, SIZE);
    uint8_t *again = lw_allocate_zero(in->env->memory, SIZE + 1);
    uint64_t seed = 2;
    for (size_t index = 0; index < SIZE; index++) {
        bytes[index] = (uint8_t)unit_random(&seed);
    }
    lw_handle file;
    size_t size = 0;
    assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file), LW_OK);
    assert_int_equal(lw_file_write(in->env, file, 3, lw_view(bytes, SIZE), LW_WRITE_DURABLE),
                     LW_OK);
    assert_int_equal(lw_file_read(in->env, file, 3, again, SIZE + 1, &size), LW_OK);
    assert_int_equal(size, SIZE);
    assert_memory_equal(again, bytes, SIZE);
    lw_file_close(in->env, file);
}

static void many_writes_in_flight_all_arrive(void **state) {
    fixture *in = *state;
    enum { COUNT = 600 }; /* more than the ring's submission queue takes at once */
    static lw_op ops[COUNT];
    static uint32_t values[COUNT];
    lw_handle file;
    assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file), LW_OK);
    uint32_t completed = 0;
    for (uint32_t index = 0; index < COUNT; index++) {
        values[index] = index * 3 + 1;
        ops[index] = (lw_op){.kind = LW_OP_WRITE,
                             .handle = file,
                             .buffer = &values[index],
                             .size = sizeof(values[index]),
                             .offset = index * sizeof(values[index]),
                             .status = LW_INTERNAL,
                             .complete = count_main,
                             .owner = &completed};
        lw_env_submit(in->env, &ops[index]);
    }
    while (completed < COUNT) {
        lw_env_turn(in->env, true);
    }
    for (uint32_t index = 0; index < COUNT; index++) {
        assert_int_equal(ops[index].status, LW_OK);
    }
    static uint32_t again[COUNT];
    size_t size = 0;
    assert_int_equal(lw_file_read(in->env, file, 0, again, sizeof(again), &size), LW_OK);
    assert_int_equal(size, sizeof(again));
    assert_memory_equal(again, values, sizeof(values));
}

static void failures_name_the_file_and_the_reason(void **state) {
    fixture *in = *state;
    lw_handle file;
    char text[LW_PATH_SIZE + 64];
    snprintf(text, sizeof(text), "cannot open \"%s\": No such file or directory", in->path);
    assert_fails(lw_file_open(in->env, in->path, 0, &file), LW_NOT_FOUND, text);
    assert_fails(lw_file_open(in->env, in->directory, 0, &file), LW_REFUSED, in->directory);
    assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file), LW_OK);
    lw_handle second;
    assert_fails(lw_file_open(in->env, in->path, LW_OPEN_CREATE | LW_OPEN_EXCLUSIVE, &second),
                 LW_EXISTS, in->path);
    lw_file_close(in->env, file);
    /* Closing leaves the reason of the failure before it alone. */
    assert_fails(LW_EXISTS, LW_EXISTS, in->path);
    assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_READ_ONLY, &file), LW_OK);
    snprintf(text, sizeof(text), "cannot write 1 bytes at 7 of file %d: ", file.number);
    assert_fails(lw_file_write(in->env, file, 7, lw_text("x"), 0), LW_INTERNAL, text);
    lw_file_close(in->env, file);
}

static void a_full_disk_is_told_from_other_failures(void **state) {
    fixture *in = *state;
    lw_handle file;
    assert_int_equal(lw_file_open(in->env, "/dev/full", 0, &file), LW_OK);
    assert_fails(lw_file_write(in->env, file, 0, lw_text("x"), 0), LW_FULL, "free some space");
    lw_file_close(in->env, file);
}

static void a_lock_excludes_every_other_opener(void **state) {
    fixture *in = *state;
    lw_env *other;
    lw_handle mine, theirs;
    assert_int_equal(in->world->open(&other), LW_OK);
    assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_CREATE, &mine), LW_OK);
    assert_int_equal(lw_file_lock(in->env, mine), LW_OK);
    assert_int_equal(lw_file_open(other, in->path, 0, &theirs), LW_OK);
    assert_fails(lw_file_lock(other, theirs), LW_REFUSED, "another process holds the lock");
    lw_file_close(in->env, mine);
    assert_int_equal(lw_file_lock(other, theirs), LW_OK);
    lw_env_close(other);
}

static void names_are_made_listed_moved_and_removed(void **state) {
    fixture *in = *state;
    char folder[LW_PATH_SIZE], one[LW_PATH_SIZE], two[LW_PATH_SIZE], three[LW_PATH_SIZE];
    assert_int_equal(lw_path_join(folder, in->directory, "folder"), LW_OK);
    assert_int_equal(lw_path_join(one, folder, "one"), LW_OK);
    assert_int_equal(lw_path_join(two, folder, "two"), LW_OK);
    assert_int_equal(lw_path_join(three, folder, "a three"), LW_OK);
    assert_int_equal(lw_path_mkdir(in->env, folder), LW_OK);
    assert_int_equal(lw_path_mkdir(in->env, folder), LW_OK);
    lw_handle file;
    assert_int_equal(lw_file_open(in->env, one, LW_OPEN_CREATE, &file), LW_OK);
    lw_file_close(in->env, file);
    assert_fails(lw_path_mkdir(in->env, one), LW_REFUSED, one);
    assert_int_equal(lw_path_link(in->env, one, two), LW_OK);
    assert_fails(lw_path_link(in->env, one, two), LW_EXISTS, two);
    assert_int_equal(lw_path_rename(in->env, one, three), LW_OK);
    assert_fails(lw_path_rename(in->env, one, three), LW_NOT_FOUND, one);
    assert_int_equal(lw_path_sync_directory(in->env, folder), LW_OK);
    assert_fails(lw_path_sync_directory(in->env, one), LW_NOT_FOUND, one);

    lw_buffer names = lw_buffer_in(in->env->memory);
    assert_int_equal(lw_path_list(in->env, folder, &names), LW_OK);
    assert_true(lw_equal(lw_buffer_view(&names), lw_view("a three\0two", 12)));
    assert_fails(lw_path_list(in->env, one, &names), LW_NOT_FOUND, one);
    assert_int_equal(names.size, 12);
    lw_buffer_clear(&names);
    assert_int_equal(lw_path_unlink(in->env, two), LW_OK);
    assert_fails(lw_path_unlink(in->env, two), LW_NOT_FOUND, two);
    assert_int_equal(lw_path_list(in->env, folder, &names), LW_OK);
    assert_int_equal(names.size, 8);
    lw_buffer_reset(&names);
}

int main(void) {
    static const struct CMUnitTest stories[] = {
        STORY(files_keep_what_is_written_to_them),
        STORY(outside_fibers_the_same_calls_block),
        STORY(direct_and_durable_writes_read_back),
        STORY(where_direct_is_unknown_files_are_buffered),
        STORY(direct_reads_keep_to_the_alignment_of_the_file),
        STORY(the_memory_of_the_system_is_known),
        STORY(long_transfers_arrive_whole),
        STORY(many_writes_in_flight_all_arrive),
        STORY(failures_name_the_file_and_the_reason),
        STORY(a_full_disk_is_told_from_other_failures),
        STORY(a_lock_excludes_every_other_opener),
        STORY(names_are_made_listed_moved_and_removed),
    };
    return tell_in_both(stories, sizeof(stories) / sizeof(stories[0]));
}
