/* SPDX-License-Identifier: Apache-2.0 */
/* What the comparison of engines needs of the machine: clocks, threads, counters of the process,
 * folders, the page cache and limits of memory. Linux only. */
#include "tests/bench_engines.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void bench_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("bench_engines: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    _exit(1);
}

/* ---- clocks and threads -----------------------------------------------------------------------
 */

static uint64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t bench_now_ns(void) {
    return nanoseconds(CLOCK_MONOTONIC);
}

uint64_t bench_processor_ns(void) {
    return nanoseconds(CLOCK_THREAD_CPUTIME_ID);
}

double bench_process_seconds(void) {
    return (double)nanoseconds(CLOCK_PROCESS_CPUTIME_ID) / 1e9;
}

void bench_run_here(bench_body *body, void *argument) {
    body(argument);
}

typedef struct started {
    pthread_t thread;
    bench_body *body;
    void *argument;
} started;

static void *thread_main(void *argument) {
    started *one = argument;
    one->body(one->argument);
    return NULL;
}

void bench_run_threads(bench_body *body, void *const *arguments, uint32_t count) {
    started threads[BENCH_WRITER_MAX];
    for (uint32_t index = 0; index < count; index++) {
        threads[index] = (started){.body = body, .argument = arguments[index]};
        if (pthread_create(&threads[index].thread, NULL, thread_main, &threads[index]) != 0) {
            bench_fail("no thread could be started");
        }
    }
    for (uint32_t index = 0; index < count; index++) {
        pthread_join(threads[index].thread, NULL);
    }
}

void bench_sleep(uint32_t duration_ms) {
    usleep(duration_ms * 1000);
}

/* ---- counters ---------------------------------------------------------------------------------
 */

/* The number behind `name` in a file of lines "name: number". */
static uint64_t counter(const char *path, const char *name) {
    FILE *file = fopen(path, "r");
    char line[256];
    uint64_t value = 0;
    size_t size = strlen(name);
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, size) == 0 && line[size] == ':') {
            value = strtoull(line + size + 1, NULL, 10);
        }
    }
    if (file == NULL) {
        bench_fail("%s: %s", path, strerror(errno));
    }
    fclose(file);
    return value;
}

uint64_t bench_written_bytes(void) {
    return counter("/proc/self/io", "write_bytes") -
           counter("/proc/self/io", "cancelled_write_bytes");
}

/* Writes that go past the page cache through io_uring are counted only where they meet the disk. */
uint64_t bench_handed_bytes(void) {
    uint64_t calls = counter("/proc/self/io", "wchar");
    uint64_t blocks = counter("/proc/self/io", "write_bytes");
    return calls > blocks ? calls : blocks;
}

double bench_peak_mb(void) {
    return (double)counter("/proc/self/status", "VmHWM") * 1024 / 1e6;
}

/* ---- folders ----------------------------------------------------------------------------------
 */

/* The visitors of nftw have no argument. */
static uint64_t visited_bytes, visited_blocks;

static int add_size(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    (void)path;
    (void)place;
    visited_bytes += kind == FTW_F ? (uint64_t)facts->st_size : 0;
    visited_blocks += kind == FTW_F ? (uint64_t)facts->st_blocks : 0;
    return 0;
}

uint64_t bench_folder_size(const char *directory) {
    visited_blocks = 0;
    nftw(directory, add_size, 16, FTW_PHYS);
    return visited_blocks * 512;
}

uint64_t bench_folder_content(const char *directory) {
    visited_bytes = 0;
    nftw(directory, add_size, 16, FTW_PHYS);
    return visited_bytes;
}

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    (void)facts;
    (void)kind;
    (void)place;
    return remove(path);
}

void bench_folder_remove(const char *directory) {
    nftw(directory, remove_one, 16, FTW_PHYS | FTW_DEPTH);
}

void bench_folder_make(const char *directory) {
    if (mkdir(directory, 0700) != 0) {
        bench_fail("%s: %s", directory, strerror(errno));
    }
}

void bench_folder_sync(const char *directory) {
    int folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || syncfs(folder) != 0) {
        bench_fail("%s: %s", directory, strerror(errno));
    }
    close(folder);
}

/* How much of a file is in the page cache. Files with holes are mapped in parts. */
static uint64_t resident_bytes(int file, uint64_t size) {
    static unsigned char pages[16384];
    const uint64_t part = sizeof(pages) * 4096;
    uint64_t resident = 0;
    for (uint64_t offset = 0; offset < size; offset += part) {
        uint64_t length = size - offset < part ? size - offset : part;
        void *mapped = mmap(NULL, length, PROT_READ, MAP_SHARED, file, (off_t)offset);
        if (mapped == MAP_FAILED) {
            return resident;
        }
        if (mincore(mapped, length, pages) == 0) {
            for (uint64_t page = 0; page < (length + 4095) / 4096; page++) {
                resident += (uint64_t)(pages[page] & 1) * 4096;
            }
        }
        munmap(mapped, length);
    }
    return resident;
}

static int drop_file(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    (void)place;
    if (kind != FTW_F) {
        return 0;
    }
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
        visited_bytes += resident_bytes(file, (uint64_t)facts->st_size);
        close(file);
    }
    return 0;
}

uint64_t bench_folder_drop(const char *directory) {
    bench_folder_sync(directory); /* what is not written cannot be dropped */
    visited_bytes = 0;
    nftw(directory, drop_file, 16, FTW_PHYS);
    return visited_bytes;
}

/* ---- limits of memory -------------------------------------------------------------------------
 */

/* The folder of a control group below the one this process is in: of version 1, where memory has a
 * hierarchy of its own, or of version 2. False if there is none. */
static bool group_path(char *path, size_t size, int parent, bool *second) {
    FILE *file = fopen("/proc/self/cgroup", "r");
    char line[512];
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = 0;
        char *where = strchr(line, ':');
        char *within = where != NULL ? strchr(where + 1, ':') : NULL;
        if (within == NULL) {
            continue;
        }
        *within++ = 0;
        *second = where[1] == 0;
        if (strcmp(where + 1, "memory") == 0 || *second) {
            /* A process that has been limited already stands in the group itself. */
            char *own = strstr(within, "/bench_engines.");
            if (own != NULL) {
                *own = 0;
            }
            int length = snprintf(path, size, "/sys/fs/cgroup%s%s/bench_engines.%d",
                                  *second ? "" : "/memory", within, parent);
            found = length > 0 && (size_t)length < size;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

static bool write_number(const char *folder, const char *name, uint64_t number) {
    char path[768], text[32];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int length = snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    bool good = file >= 0 && write(file, text, (size_t)length) == length;
    if (file >= 0) {
        close(file);
    }
    return good;
}

bool bench_limit_memory(uint64_t size, int parent) {
    char folder[640];
    bool second;
    return group_path(folder, sizeof(folder), parent, &second) &&
           (mkdir(folder, 0755) == 0 || errno == EEXIST) &&
           write_number(folder, second ? "memory.max" : "memory.limit_in_bytes", size) &&
           write_number(folder, "cgroup.procs", (uint64_t)getpid());
}

void bench_unlimit_memory(int parent) {
    char folder[640];
    bool second;
    if (group_path(folder, sizeof(folder), parent, &second)) {
        rmdir(folder);
    }
}
