/* SPDX-License-Identifier: Apache-2.0 */
/* base/env: the stories below hold in both real worlds, and are told once for each. */
#include "base/env.h"

#include "tests/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

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

static int open_fixture(void **state) {
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

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *where) {
    (void)facts, (void)kind, (void)where;
    return remove(path);
}

static int close_fixture(void **state) {
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

static void note(fixture *in, char letter) {
    size_t size = strlen(in->trace);
    if (size + 1 < sizeof(in->trace)) {
        in->trace[size] = letter;
    }
}

/* Turns until every fiber has ended. */
static void run_fibers(fixture *in) {
    while (lw_fibers_count(in->env->fibers) > 0) {
        lw_env_turn(in->env, true);
    }
    assert_int_equal(in->failed_line, 0);
}

static void assert_fails(lw_status got, lw_status expected, const char *words) {
    assert_int_equal(got, expected);
    assert_int_equal(lw_error_slot()->status, expected);
    if (strstr(lw_error_slot()->text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", lw_error_slot()->text, words);
    }
}

/* ---- files --------------------------------------------------------------------------------------
 */

static void tell_of_files(void *argument) {
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

static void count_main(lw_op *op) {
    *(uint32_t *)op->owner += 1;
}

static void where_direct_is_unknown_files_are_buffered(void **state) {
    fixture *in = *state;
    lw_handle file;
    char name[32] = {0};
    size_t size = 0;
    assert_int_equal(
        lw_file_open(in->env, "/proc/self/comm", LW_OPEN_DIRECT | LW_OPEN_READ_ONLY, &file), LW_OK);
    assert_int_equal(lw_file_read(in->env, file, 0, name, sizeof(name), &size), LW_OK);
    assert_true(lw_equal(lw_view(name, size), lw_text("test_env\n")));
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

/* ---- sockets ------------------------------------------------------------------------------------
 */

static void listen_here(fixture *in) {
    uint16_t port = 0;
    assert_int_equal(lw_socket_listen(in->env, "127.0.0.1:0", &in->listener, &port), LW_OK);
    assert_int_not_equal(port, 0);
    snprintf(in->address, sizeof(in->address), "127.0.0.1:%u", port);
    in->deadline_ns = lw_env_now(in->env) + 10000 * (uint64_t)MILLISECOND;
}

enum {
    MESSAGE_SIZE = 16 * 1024 * 1024, /* more than a socket takes at once */
    CHUNK_SIZE = 64 * 1024,
};

static uint8_t message_byte(size_t index, uint32_t seed) {
    return (uint8_t)(((uint32_t)index + seed) * 2654435761U >> 24);
}

static bool send_message(fixture *in, lw_handle socket, uint32_t seed) {
    uint8_t *bytes = lw_allocate(in->env->memory, MESSAGE_SIZE);
    for (size_t index = 0; index < MESSAGE_SIZE; index++) {
        bytes[index] = message_byte(index, seed);
    }
    lw_status status =
        lw_socket_send(in->env, socket, lw_view(bytes, MESSAGE_SIZE), in->deadline_ns);
    lw_free(in->env->memory, bytes);
    return status == LW_OK;
}

static bool receive_message(fixture *in, lw_handle socket, uint32_t seed) {
    uint8_t *chunk = lw_allocate(in->env->memory, CHUNK_SIZE);
    size_t total = 0;
    bool good = true;
    while (good && total < MESSAGE_SIZE) {
        size_t size = 0;
        good = lw_socket_receive(in->env, socket, chunk, CHUNK_SIZE, in->deadline_ns, &size) ==
                   LW_OK &&
               size > 0;
        for (size_t index = 0; good && index < size; index++) {
            good = chunk[index] == message_byte(total + index, seed);
        }
        total += size;
    }
    lw_free(in->env->memory, chunk);
    return good;
}

static void server_main(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    uint8_t byte;
    size_t size = 99;
    EXPECT(in, lw_socket_accept(in->env, in->listener, &socket) == LW_OK);
    EXPECT(in, receive_message(in, socket, 1));
    EXPECT(in, send_message(in, socket, 2));
    EXPECT(in, lw_socket_receive(in->env, socket, &byte, 1, in->deadline_ns, &size) == LW_OK);
    EXPECT(in, size == 0);
    lw_socket_close(in->env, socket);
    note(in, 's');
}

static void client_main(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    EXPECT(in, lw_socket_connect(in->env, in->address, in->deadline_ns, &socket) == LW_OK);
    EXPECT(in, send_message(in, socket, 1));
    EXPECT(in, receive_message(in, socket, 2));
    lw_socket_close(in->env, socket);
    note(in, 'c');
}

/* Writes durably while the two above talk: with somebody waiting meanwhile and with nobody. */
static void write_main(void *argument) {
    fixture *in = argument;
    lw_handle file;
    uint64_t number, read_back = 0;
    size_t size = 0;
    EXPECT(in, lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file) == LW_OK);
    for (number = 1; number <= 200; number++) {
        EXPECT(in, lw_file_write(in->env, file, number * sizeof(number),
                                 lw_view(&number, sizeof(number)), LW_WRITE_DURABLE) == LW_OK);
    }
    for (number = 1; number <= 200; number++) {
        EXPECT(in, lw_file_read(in->env, file, number * sizeof(number), &read_back,
                                sizeof(read_back), &size) == LW_OK);
        EXPECT(in, size == sizeof(read_back) && read_back == number);
    }
    lw_file_close(in->env, file);
    note(in, 'w');
}

static void two_fibers_talk_over_a_socket(void **state) {
    fixture *in = *state;
    listen_here(in);
    lw_env_start(in->env, "server", server_main, in);
    lw_env_start(in->env, "client", client_main, in);
    run_fibers(in);
    assert_string_equal(in->trace, "cs");
}

static void durable_writes_stand_with_and_without_a_crowd(void **state) {
    fixture *in = *state;
    listen_here(in);
    lw_env_start(in->env, "server", server_main, in);
    lw_env_start(in->env, "client", client_main, in);
    lw_env_start(in->env, "write", write_main, in);
    run_fibers(in);
    assert_non_null(strchr(in->trace, 'w'));
    assert_non_null(strchr(in->trace, 's'));
}

static void names_of_hosts_are_resolved(void **state) {
    fixture *in = *state;
    listen_here(in);
    const char *port = strchr(in->address, ':');
    char address[LW_ADDRESS_SIZE];
    snprintf(address, sizeof(address), "localhost%s", port);
    memcpy(in->address, address, sizeof(address));
    lw_env_start(in->env, "server", server_main, in);
    lw_env_start(in->env, "client", client_main, in);
    run_fibers(in);
    assert_string_equal(in->trace, "cs");
}

static void a_port_in_use_is_named(void **state) {
    fixture *in = *state;
    listen_here(in);
    lw_handle second;
    char text[LW_ADDRESS_SIZE + 64];
    snprintf(text, sizeof(text), "cannot listen on \"%s\": Address already in use; another process",
             in->address);
    assert_fails(lw_socket_listen(in->env, in->address, &second, NULL), LW_REFUSED, text);
}

static void nobody_listening_is_named(void **state) {
    fixture *in = *state;
    listen_here(in);
    lw_socket_close(in->env, in->listener);
    lw_handle socket;
    char text[LW_ADDRESS_SIZE + 64];
    snprintf(text, sizeof(text), "cannot connect to \"%s\": Connection refused", in->address);
    assert_fails(lw_socket_connect(in->env, in->address, in->deadline_ns, &socket), LW_UNAVAILABLE,
                 text);
}

static void addresses_are_checked_before_they_are_used(void **state) {
    fixture *in = *state;
    static const struct {
        const char *address, *words;
    } wrong[] = {
        {"localhost", "names no port"},
        {":80", "names no host"},
        {"[]:80", "names no host"},
        {"::1:80", "more than one colon"},
        {"[::1]80", "]:"},
        {"[::1", "]:"},
        {"host:", "no port between 0 and 65535"},
        {"host:65536", "no port between 0 and 65535"},
        {"host:8x", "no port between"},
        {"host:0000080", "no port between"},
    };
    lw_handle socket;
    for (size_t index = 0; index < sizeof(wrong) / sizeof(wrong[0]); index++) {
        assert_fails(lw_socket_listen(in->env, wrong[index].address, &socket, NULL),
                     LW_INVALID_ARGUMENT, wrong[index].words);
        assert_fails(lw_socket_connect(in->env, wrong[index].address, 0, &socket),
                     LW_INVALID_ARGUMENT, wrong[index].address);
    }
    char host[LW_HOST_SIZE];
    uint16_t port = 1;
    assert_int_equal(lw_address_split("[fe80::1]:65535", host, &port), LW_OK);
    assert_string_equal(host, "fe80::1");
    assert_int_equal(port, 65535);
    assert_int_equal(lw_address_split("db.example:0", host, &port), LW_OK);
    assert_string_equal(host, "db.example");
    assert_int_equal(port, 0);
}

/* Connects a pair: in->socket is one end, the other is returned. */
static lw_handle connect_pair(fixture *in) {
    lw_handle other;
    listen_here(in);
    assert_int_equal(lw_socket_connect(in->env, in->address, in->deadline_ns, &in->socket), LW_OK);
    assert_int_equal(lw_socket_accept(in->env, in->listener, &other), LW_OK);
    return other;
}

static void a_receive_ends_at_its_deadline(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    char text[8];
    size_t size = 99;
    uint64_t deadline_ns = lw_env_now(in->env) + 20 * MILLISECOND;
    assert_fails(lw_socket_receive(in->env, other, text, sizeof(text), deadline_ns, &size),
                 LW_TIMEOUT, "the deadline passed");
    assert_true(lw_env_now(in->env) >= deadline_ns);
    assert_int_equal(size, 99);
    /* The socket works on. */
    assert_int_equal(lw_socket_send(in->env, in->socket, lw_text("late"), in->deadline_ns), LW_OK);
    assert_int_equal(lw_socket_receive(in->env, other, text, sizeof(text), in->deadline_ns, &size),
                     LW_OK);
    assert_int_equal(size, 4);
}

static void a_send_that_nobody_reads_ends_at_its_deadline(void **state) {
    fixture *in = *state;
    (void)connect_pair(in);
    size_t size = 64 * 1024 * 1024;
    uint8_t *bytes = lw_allocate_zero(in->env->memory, size);
    uint64_t deadline_ns = lw_env_now(in->env) + 20 * MILLISECOND;
    assert_fails(lw_socket_send(in->env, in->socket, lw_view(bytes, size), deadline_ns), LW_TIMEOUT,
                 "cannot send on socket");
    lw_free(in->env->memory, bytes);
}

static void a_cancelled_operation_completes_all_the_same(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    uint32_t completed = 0;
    char byte;
    lw_op ops[] = {
        {.kind = LW_OP_RECEIVE, .handle = other, .buffer = &byte, .size = 1},
        {.kind = LW_OP_ACCEPT, .handle = in->listener},
        {.kind = LW_OP_TIMER, .deadline_ns = in->deadline_ns},
    };
    enum { COUNT = sizeof(ops) / sizeof(ops[0]) };
    for (size_t turned = 0; turned < 2; turned++) {
        completed = 0;
        for (size_t index = 0; index < COUNT; index++) {
            ops[index].complete = count_main;
            ops[index].owner = &completed;
            lw_env_submit(in->env, &ops[index]);
        }
        if (turned == 1) {
            lw_env_turn(in->env, false);
            lw_env_turn(in->env, false);
        }
        for (size_t index = 0; index < COUNT; index++) {
            lw_env_cancel(in->env, &ops[index]);
            lw_env_cancel(in->env, &ops[index]);
        }
        assert_int_equal(completed, 0);
        while (completed < COUNT) {
            lw_env_turn(in->env, true);
        }
        for (size_t index = 0; index < COUNT; index++) {
            assert_int_equal(ops[index].status, LW_TIMEOUT);
            lw_env_cancel(in->env, &ops[index]);
        }
        lw_env_turn(in->env, false);
        assert_int_equal(completed, COUNT);
    }
}

static void more_may_wait_than_the_ring_takes_at_once(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    enum { COUNT = 700 };
    static lw_op ops[COUNT];
    uint32_t completed = 0;
    assert_int_equal(lw_socket_send(in->env, other, lw_text("x"), in->deadline_ns), LW_OK);
    for (size_t index = 0; index < COUNT; index++) {
        ops[index] = (lw_op){.kind = LW_OP_ACCEPT,
                             .handle = in->listener,
                             .complete = count_main,
                             .owner = &completed};
        lw_env_submit(in->env, &ops[index]);
    }
    /* They wait for ever; what is submitted behind them does not, and ends none of them. */
    lw_socket_close(in->env, other);
    char byte = 0;
    size_t size = 0;
    assert_int_equal(lw_socket_receive(in->env, in->socket, &byte, 1, in->deadline_ns, &size),
                     LW_OK);
    assert_int_equal(byte, 'x');
    assert_int_equal(completed, 0);
    for (size_t index = 0; index < COUNT; index++) {
        lw_env_cancel(in->env, &ops[index]);
    }
    while (completed < COUNT) {
        lw_env_turn(in->env, true);
    }
    for (size_t index = 0; index < COUNT; index++) {
        assert_int_equal(ops[index].status, LW_TIMEOUT);
    }
}

static void blocked_main(void *argument) {
    fixture *in = argument;
    char byte;
    size_t size;
    EXPECT(in, lw_socket_receive(in->env, in->socket, &byte, 1, in->deadline_ns, &size) ==
                   LW_UNAVAILABLE);
    note(in, 'b');
}

static void acceptor_main(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    EXPECT(in, lw_socket_accept(in->env, in->listener, &socket) == LW_UNAVAILABLE);
    note(in, 'a');
}

static void closer_main(void *argument) {
    fixture *in = argument;
    lw_env_sleep(in->env, 5 * MILLISECOND);
    lw_socket_close(in->env, in->socket);
    lw_socket_close(in->env, in->listener);
}

static void closing_a_socket_ends_what_waits_for_it(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    lw_env_start(in->env, "blocked", blocked_main, in);
    lw_env_start(in->env, "acceptor", acceptor_main, in);
    lw_env_start(in->env, "closer", closer_main, in);
    run_fibers(in);
    assert_string_equal(in->trace, "ba");
    /* The other end hears of it. */
    char byte;
    size_t size = 99;
    assert_int_equal(lw_socket_receive(in->env, other, &byte, 1, in->deadline_ns, &size), LW_OK);
    assert_int_equal(size, 0);
    /* The port is free again. */
    assert_int_equal(lw_socket_listen(in->env, in->address, &in->listener, NULL), LW_OK);
}

static void sending_to_a_closed_peer_fails(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    lw_socket_close(in->env, other);
    lw_status status = LW_OK;
    for (size_t round = 0; round < 100 && status == LW_OK; round++) {
        status = lw_socket_send(in->env, in->socket, lw_text("x"), in->deadline_ns);
        lw_env_sleep(in->env, MILLISECOND);
    }
    assert_int_equal(status, LW_UNAVAILABLE);
}

static void handles_may_be_opened_while_others_wait(void **state) {
    fixture *in = *state;
    lw_handle other = connect_pair(in);
    enum { COUNT = 200 };
    lw_handle files[COUNT];
    uint32_t completed = 0;
    char byte;
    lw_op ops[2];
    for (size_t index = 0; index < 2; index++) {
        ops[index] = (lw_op){.kind = LW_OP_RECEIVE,
                             .handle = index == 0 ? other : in->socket,
                             .buffer = &byte,
                             .size = 1,
                             .complete = count_main,
                             .owner = &completed};
        lw_env_submit(in->env, &ops[index]);
    }
    for (size_t index = 0; index < COUNT; index++) {
        assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_CREATE, &files[index]), LW_OK);
    }
    lw_env_cancel(in->env, &ops[0]);
    assert_int_equal(lw_socket_send(in->env, other, lw_text("x"), in->deadline_ns), LW_OK);
    while (completed < 2) {
        lw_env_turn(in->env, true);
    }
    assert_int_equal(ops[0].status, LW_TIMEOUT);
    assert_int_equal(ops[1].status, LW_OK);
    assert_int_equal(byte, 'x');
    for (size_t index = 0; index < COUNT; index++) {
        lw_file_close(in->env, files[index]);
    }
}

/* ---- time and order -----------------------------------------------------------------------------
 */

typedef struct letter {
    fixture *in;
    char letter;
    uint64_t deadline_ns;
    lw_op op;
} letter;

static void note_complete(lw_op *op) {
    letter *self = op->owner;
    note(self->in, self->letter);
}

static void submit_letter(letter *self, fixture *in, char name, lw_op op) {
    *self = (letter){.in = in, .letter = name, .op = op};
    self->op.complete = note_complete;
    self->op.owner = self;
    lw_env_submit(in->env, &self->op);
}

static void timers_fire_in_the_order_of_their_deadlines(void **state) {
    fixture *in = *state;
    uint64_t start_ns = lw_env_now(in->env);
    static const uint64_t delays_ms[] = {9, 3, 6, 3, 1, 12, 6, 1};
    letter letters[8];
    for (size_t index = 0; index < 8; index++) {
        submit_letter(
            &letters[index], in, (char)('a' + (int)index),
            (lw_op){.kind = LW_OP_TIMER, .deadline_ns = start_ns + delays_ms[index] * MILLISECOND});
    }
    lw_env_cancel(in->env, &letters[6].op);
    while (strlen(in->trace) < 8) {
        lw_env_turn(in->env, true);
    }
    assert_string_equal(in->trace, "gehbdcaf");
    assert_int_equal(letters[6].op.status, LW_TIMEOUT);
    assert_int_equal(letters[5].op.status, LW_OK);
    assert_true(lw_env_now(in->env) >= start_ns + 12 * MILLISECOND);
}

/* Notes a timer that fires before one whose deadline is earlier. */
static void order_complete(lw_op *op) {
    letter *self = op->owner;
    if (op->status == LW_OK) {
        note(self->in, op->deadline_ns < self->in->deadline_ns ? '!' : '.');
        self->in->deadline_ns = op->deadline_ns;
    }
}

static void a_thousand_timers_keep_their_order(void **state) {
    fixture *in = *state;
    enum { COUNT = 1000 };
    static letter letters[COUNT];
    uint64_t start_ns = lw_env_now(in->env), seed = 7;
    for (size_t index = 0; index < COUNT; index++) {
        submit_letter(
            &letters[index], in, 'x',
            (lw_op){.kind = LW_OP_TIMER,
                    .deadline_ns = start_ns + unit_random_below(&seed, 10) * MILLISECOND + 1});
    }
    for (size_t index = 0; index < COUNT; index++) {
        letters[index].op.complete = order_complete;
    }
    for (size_t index = 0; index < COUNT; index += 3) {
        lw_env_cancel(in->env, &letters[index].op);
    }
    lw_env_sleep(in->env, 12 * MILLISECOND);
    assert_null(strchr(in->trace, '!'));
    for (size_t index = 0; index < COUNT; index++) {
        assert_int_equal(letters[index].op.status, index % 3 == 0 ? LW_TIMEOUT : LW_OK);
        assert_int_equal(letters[index].op.real.timer_place, 0);
    }
}

static void nothing_completes_inside_submit(void **state) {
    fixture *in = *state;
    lw_handle file;
    assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file), LW_OK);
    char byte = 'x';
    letter letters[5];
    submit_letter(&letters[0], in, 'w',
                  (lw_op){.kind = LW_OP_WRITE, .handle = file, .buffer = &byte, .size = 1});
    submit_letter(&letters[1], in, 'd', (lw_op){.kind = LW_OP_DEFER});
    submit_letter(&letters[2], in, 't', (lw_op){.kind = LW_OP_TIMER, .deadline_ns = 1});
    submit_letter(&letters[3], in, 'l', (lw_op){.kind = LW_OP_LISTEN, .path = "127.0.0.1:0"});
    submit_letter(&letters[4], in, 's', (lw_op){.kind = LW_OP_SIZE, .handle = file});
    assert_string_equal(in->trace, "");
    while (strlen(in->trace) < 5) {
        lw_env_turn(in->env, true);
    }
}

static void pass_main(void *argument) {
    fixture *in = argument;
    note(in, '1');
    lw_fiber_pass();
    note(in, '2');
    lw_fiber_pass();
    note(in, '3');
}

static void deferred_operations_follow_the_ready_fibers(void **state) {
    fixture *in = *state;
    letter deferred;
    submit_letter(&deferred, in, 'd', (lw_op){.kind = LW_OP_DEFER});
    lw_env_start(in->env, "pass", pass_main, in);
    lw_env_turn(in->env, true);
    assert_string_equal(in->trace, "12d3"); /* who passes does not hold them back */
}

static void again_complete(lw_op *op) {
    letter *self = op->owner;
    note(self->in, self->letter);
    lw_env_submit(self->in->env, op);
}

static void what_defers_itself_for_ever_starves_nobody(void **state) {
    fixture *in = *state;
    letter deferred = {.in = in, .letter = 'd', .op = {.kind = LW_OP_DEFER}};
    deferred.op.complete = again_complete;
    deferred.op.owner = &deferred;
    lw_env_submit(in->env, &deferred.op);
    tell_of_files(in);
    assert_int_equal(in->failed_line, 0);
    lw_env_sleep(in->env, 2 * MILLISECOND);
    assert_true(strlen(in->trace) > 1);
}

/* ---- waiting in queues --------------------------------------------------------------------------
 */

static void waiter_main(void *argument) {
    letter *self = argument;
    bool woken = lw_env_wait(self->in->env, &self->in->queue, self->deadline_ns);
    note(self->in, woken ? self->letter : (char)(self->letter - 'a' + 'A'));
}

static void start_waiter(letter *self, fixture *in, char name, uint64_t deadline_ns) {
    *self = (letter){.in = in, .letter = name, .deadline_ns = deadline_ns};
    lw_env_start(in->env, "waiter", waiter_main, self);
}

static void a_wait_ends_with_a_wake_up_or_its_deadline(void **state) {
    fixture *in = *state;
    letter a, b, c;
    uint64_t now_ns = lw_env_now(in->env);
    start_waiter(&a, in, 'a', now_ns + 5 * MILLISECOND);
    start_waiter(&b, in, 'b', now_ns + 10000 * (uint64_t)MILLISECOND);
    start_waiter(&c, in, 'c', 0);
    while (in->trace[0] == '\0') {
        lw_env_turn(in->env, true);
    }
    assert_string_equal(in->trace, "A");
    assert_true(lw_env_now(in->env) >= now_ns + 5 * MILLISECOND);
    lw_queue_wake_one(&in->queue);
    lw_env_turn(in->env, true);
    assert_string_equal(in->trace, "Ab");
    lw_queue_wake_one(&in->queue);
    run_fibers(in);
    assert_string_equal(in->trace, "Abc");
    assert_true(lw_queue_empty(&in->queue));
}

static void a_stray_wake_up_does_not_end_a_wait(void **state) {
    fixture *in = *state;
    letter a;
    uint64_t deadline_ns = lw_env_now(in->env) + 5 * MILLISECOND;
    a = (letter){.in = in, .letter = 'a', .deadline_ns = deadline_ns};
    lw_fiber *fiber = lw_env_start(in->env, "waiter", waiter_main, &a);
    lw_env_turn(in->env, false);
    lw_fiber_wake(fiber);
    run_fibers(in);
    assert_string_equal(in->trace, "A");
    assert_true(lw_env_now(in->env) >= deadline_ns);
}

typedef struct racer {
    letter *waiter;
    lw_op op;
} racer;

static void wake_complete(lw_op *op) {
    racer *self = op->owner;
    lw_queue_wake_one(&self->waiter->in->queue);
}

static void a_wake_up_at_the_deadline_is_not_lost(void **state) {
    fixture *in = *state;
    letter a, b;
    uint64_t deadline_ns = lw_env_now(in->env) + 5 * MILLISECOND;
    start_waiter(&a, in, 'a', deadline_ns);
    lw_env_turn(in->env, false);
    /* Completes right behind the wait's own timer, before the fiber has run. */
    racer race = {.waiter = &a};
    race.op = (lw_op){
        .kind = LW_OP_TIMER, .deadline_ns = deadline_ns, .complete = wake_complete, .owner = &race};
    lw_env_submit(in->env, &race.op);
    start_waiter(&b, in, 'b', deadline_ns + 5 * MILLISECOND);
    run_fibers(in);
    assert_string_equal(in->trace, "aB");
}

static void waits_give_their_memory_back(void **state) {
    fixture *in = *state;
    static letter letters[50];
    uint64_t now_ns = lw_env_now(in->env);
    size_t used = 0;
    for (size_t round = 0; round < 3; round++) {
        for (size_t index = 0; index < 50; index++) {
            start_waiter(&letters[index], in, 'a',
                         now_ns + (index % 2 == 0 ? 1 : 10000) * (uint64_t)MILLISECOND);
        }
        lw_env_sleep(in->env, 3 * MILLISECOND);
        lw_queue_wake_all(&in->queue);
        run_fibers(in);
        lw_env_sleep(in->env, MILLISECOND);
        if (round == 0) {
            used = lw_memory_used(in->env->memory);
        }
    }
    assert_int_equal(lw_memory_used(in->env->memory), used);
}

/* ---- offloaded work -----------------------------------------------------------------------------
 */

typedef struct job {
    fixture *in;
    pthread_t thread;
    uint64_t result;
} job;

static void job_work(void *argument) {
    job *self = argument;
    self->thread = pthread_self();
    for (uint64_t round = 0; round < 100000; round++) {
        unit_random(&self->result);
    }
}

static void job_main(void *argument) {
    job *self = argument;
    lw_env_offload(self->in->env, job_work, self);
    note(self->in, 'j');
}

static void offloaded_work_runs_elsewhere_and_comes_back(void **state) {
    fixture *in = *state;
    job jobs[20];
    for (size_t index = 0; index < 20; index++) {
        jobs[index] = (job){.in = in, .thread = pthread_self(), .result = 5};
        lw_env_start(in->env, "job", job_main, &jobs[index]);
    }
    run_fibers(in);
    assert_int_equal(strlen(in->trace), 20);
    job outside = {.in = in, .result = 5};
    lw_env_offload(in->env, job_work, &outside);
    for (size_t index = 0; index < 20; index++) {
        assert_true(jobs[index].result == outside.result);
        assert_false(pthread_equal(jobs[index].thread, pthread_self()));
    }
}

/* ---- many, and the end --------------------------------------------------------------------------
 */

static void sleeper_main(void *argument) {
    fixture *in = argument;
    lw_env_sleep(in->env, lw_env_random_below(in->env, MILLISECOND));
    lw_env_sleep(in->env, 1);
}

static void ten_thousand_fibers_sleep_and_go(void **state) {
    fixture *in = *state;
    for (size_t index = 0; index < 10000; index++) {
        lw_env_start(in->env, "sleeper", sleeper_main, in);
    }
    run_fibers(in);
}

static void receiver_main(void *argument) {
    fixture *in = argument;
    char byte;
    size_t size;
    lw_status status = lw_socket_receive(in->env, in->socket, &byte, 1, in->deadline_ns, &size);
    note(in, status == LW_OK ? '!' : '?');
}

static void linger_work(void *argument) {
    (void)argument;
    usleep(200000); /* longer than a busy machine takes to come to the closing */
}

static void linger_main(void *argument) {
    fixture *in = argument;
    lw_env_offload(in->env, linger_work, NULL);
    note(in, '!');
}

static void caller_main(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    for (size_t index = 0; index < 8; index++) {
        lw_status status = lw_socket_connect(in->env, in->address, 0, &socket);
        EXPECT(in, status == LW_OK);
    }
    lw_fiber_suspend();
}

static void greeter_main(void *argument) {
    fixture *in = argument;
    lw_handle socket;
    for (;;) {
        EXPECT(in, lw_socket_accept(in->env, in->listener, &socket) == LW_OK);
    }
}

static void writer_main(void *argument) {
    fixture *in = argument;
    lw_handle file;
    EXPECT(in, lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file) == LW_OK);
    for (;;) {
        EXPECT(in, lw_file_write(in->env, file, 0, lw_text("again"), LW_WRITE_DURABLE) == LW_OK);
    }
}

static void closing_drops_whatever_is_pending(void **state) {
    fixture *in = *state;
    (void)connect_pair(in);
    letter waiting, timer, defer, connect;
    start_waiter(&waiting, in, 'w', in->deadline_ns);
    lw_env_start(in->env, "receiver", receiver_main, in);
    lw_env_start(in->env, "greeter", greeter_main, in);
    lw_env_start(in->env, "linger", linger_main, in);
    lw_env_start(in->env, "linger", linger_main, in);
    lw_env_start(in->env, "linger", linger_main, in);
    lw_env_start(in->env, "caller", caller_main, in);
    lw_env_start(in->env, "writer", writer_main, in);
    submit_letter(&timer, in, 't', (lw_op){.kind = LW_OP_TIMER, .deadline_ns = in->deadline_ns});
    for (size_t turn = 0; turn < 3; turn++) {
        lw_env_turn(in->env, false);
    }
    submit_letter(&defer, in, 'd', (lw_op){.kind = LW_OP_DEFER});
    submit_letter(&connect, in, 'c', (lw_op){.kind = LW_OP_CONNECT, .path = in->address});
    lw_env_close(in->env);
    in->env = NULL;
    assert_string_equal(in->trace, "");
    assert_int_equal(in->failed_line, 0);
}

static void closing_closes_every_handle(void **state) {
    fixture *in = *state;
    lw_handle file;
    assert_int_equal(lw_file_open(in->env, in->path, LW_OPEN_CREATE, &file), LW_OK);
    lw_handle other = connect_pair(in);
    lw_handle open[] = {file, other, in->socket, in->listener};
    lw_env_close(in->env);
    in->env = NULL;
    for (size_t index = 0; index < sizeof(open) / sizeof(open[0]); index++) {
        assert_int_equal(fcntl(open[index].number, F_GETFD), -1);
        assert_int_equal(errno, EBADF);
    }
}

/* ---- chance, paths, lines -----------------------------------------------------------------------
 */

static void random_numbers_are_those_of_the_generator(void **state) {
    fixture *in = *state;
    uint64_t *random_state = in->env->random_state;
    assert_true((random_state[0] | random_state[1] | random_state[2] | random_state[3]) != 0);
    for (uint64_t index = 0; index < 4; index++) {
        random_state[index] = index + 1;
    }
    static const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240};
    for (size_t index = 0; index < 4; index++) {
        assert_true(lw_env_random(in->env) == expected[index]);
    }
    /* Three quarters of all numbers: where a plain rest would be half as likely above the middle.
     */
    uint64_t bound = UINT64_MAX / 4 * 3;
    uint32_t low_count = 0;
    for (size_t index = 0; index < 10000; index++) {
        uint64_t value = lw_env_random_below(in->env, bound);
        assert_true(value < bound);
        low_count += value < bound / 3;
    }
    assert_in_range(low_count, 3100, 3570);
    assert_true(lw_env_random_below(in->env, 1) == 0);
}

static void paths_too_long_are_refused(void **state) {
    (void)state;
    char path[LW_PATH_SIZE], name[LW_PATH_SIZE];
    assert_int_equal(lw_path_join(path, "log", "1"), LW_OK);
    assert_string_equal(path, "log/1");
    assert_int_equal(lw_path_join(path, "/", "1"), LW_OK);
    assert_string_equal(path, "/1");
    assert_int_equal(lw_path_join(path, "", "1"), LW_OK);
    assert_string_equal(path, "1");
    memset(name, 'x', sizeof(name) - 1);
    name[LW_PATH_SIZE - 3] = '\0';
    assert_int_equal(lw_path_join(path, "d", name), LW_OK);
    name[LW_PATH_SIZE - 3] = 'x';
    name[LW_PATH_SIZE - 2] = '\0';
    assert_fails(lw_path_join(path, "d", name), LW_INVALID_ARGUMENT, "is longer than 1023 bytes");
}

static void say_line(void *argument) {
    fixture *in = argument;
    lw_logline(in->env, LW_LEVEL_WARN, "disk slow", "ms=%d", 12);
}

static void log_lines_go_to_standard_error(void **state) {
    fixture *in = *state;
    char text[256];
    assert_int_equal(unit_child(say_line, in, text, sizeof(text)), 0);
    assert_string_equal(text, "level=warn event=\"disk slow\" ms=12\n");
    uint64_t wall_ms = lw_env_wall_ms(in->env);
    assert_true(wall_ms / 1000 - (uint64_t)time(NULL) + 1 <= 2);
}

#define STORY(told) \
    { .name = #told, .test_func = told, .setup_func = open_fixture, .teardown_func = close_fixture }

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
    STORY(two_fibers_talk_over_a_socket),
    STORY(durable_writes_stand_with_and_without_a_crowd),
    STORY(names_of_hosts_are_resolved),
    STORY(a_port_in_use_is_named),
    STORY(nobody_listening_is_named),
    STORY(addresses_are_checked_before_they_are_used),
    STORY(a_receive_ends_at_its_deadline),
    STORY(a_send_that_nobody_reads_ends_at_its_deadline),
    STORY(a_cancelled_operation_completes_all_the_same),
    STORY(more_may_wait_than_the_ring_takes_at_once),
    STORY(closing_a_socket_ends_what_waits_for_it),
    STORY(sending_to_a_closed_peer_fails),
    STORY(handles_may_be_opened_while_others_wait),
    STORY(timers_fire_in_the_order_of_their_deadlines),
    STORY(a_thousand_timers_keep_their_order),
    STORY(nothing_completes_inside_submit),
    STORY(deferred_operations_follow_the_ready_fibers),
    STORY(what_defers_itself_for_ever_starves_nobody),
    STORY(a_wait_ends_with_a_wake_up_or_its_deadline),
    STORY(a_stray_wake_up_does_not_end_a_wait),
    STORY(a_wake_up_at_the_deadline_is_not_lost),
    STORY(waits_give_their_memory_back),
    STORY(offloaded_work_runs_elsewhere_and_comes_back),
    STORY(ten_thousand_fibers_sleep_and_go),
    STORY(closing_drops_whatever_is_pending),
    STORY(closing_closes_every_handle),
    STORY(random_numbers_are_those_of_the_generator),
    STORY(paths_too_long_are_refused),
    STORY(log_lines_go_to_standard_error),
};
enum { STORY_COUNT = sizeof(stories) / sizeof(stories[0]) };

int main(void) {
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
        struct CMUnitTest tests[STORY_COUNT];
        memcpy(tests, stories, sizeof(stories));
        for (size_t story = 0; story < STORY_COUNT; story++) {
            tests[story].initial_state = (void *)(uintptr_t)told;
        }
        failed += _cmocka_run_group_tests(told->name, tests, STORY_COUNT, unit_arm, NULL);
    }
    return failed != 0;
}
