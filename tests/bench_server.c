/* SPDX-License-Identifier: Apache-2.0 */
/* Servers of the comparison of transactions: started on free ports of loopback, measured by what
 * /proc tells of their threads, stopped by their process numbers. Linux only. */
#include "tests/bench_txn.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_MS_MAX = 60000, STOP_MS_MAX = 5000, PROCESSES_MAX = 1024 };

void bench_txn_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("bench_txn: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

uint64_t bench_time_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* ---- starting ------------------------------------------------------------------------------- */

static struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int free_port(void) {
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof(address);
    if (listening < 0 || bind(listening, (struct sockaddr *)&address, size) != 0 ||
        getsockname(listening, (struct sockaddr *)&address, &size) != 0) {
        bench_txn_fail("no free port: %s", strerror(errno));
    }
    close(listening);
    return ntohs(address.sin_port);
}

static bool answers(int port) {
    int trying = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(port);
    bool reached = connect(trying, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(trying);
    return reached;
}

static bool says_ready(bench_server *server) {
    char path[600], text[4096];
    if (server->system->ready == NULL) {
        return true;
    }
    snprintf(path, sizeof(path), "%s.log", server->directory);
    FILE *file = fopen(path, "r");
    size_t size = file == NULL ? 0 : fread(text, 1, sizeof(text) - 1, file);
    text[size] = 0;
    if (file != NULL) {
        fclose(file);
    }
    const char *word = strstr(text, server->system->ready);
    int port = word == NULL ? 0 : atoi(word + strlen(server->system->ready));
    server->port = port > 0 ? port : server->port;
    return word != NULL && strchr(word, '\n') != NULL;
}

/* In the child. */
static void become(const bench_server *server, const char *const arguments[32]) {
    char log[600];
    snprintf(log, sizeof(log), "%s.log", server->directory);
    int output = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    int nothing = open("/dev/null", O_RDONLY);
    prctl(PR_SET_PDEATHSIG, SIGINT);
    if (output >= 0 && nothing >= 0) {
        dup2(nothing, 0);
        dup2(output, 1);
        dup2(output, 2);
    }
    execvp(arguments[0], (char *const *)(uintptr_t)arguments);
    fprintf(stderr, "%s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

/* Those started, so that none outlives this process: who changes its user is not told of the death
 * of its parent. */
static bench_server *started[16];
static uint32_t started_count;

static void stop_all(void) {
    while (started_count > 0) {
        bench_server_stop(started[--started_count]);
    }
}

static void stop_at_signal(int number) {
    (void)number;
    exit(1);
}

static void remember(bench_server *server) {
    if (started_count == 0) {
        atexit(stop_all);
        signal(SIGINT, stop_at_signal);
        signal(SIGTERM, stop_at_signal);
    }
    started[started_count++] = server;
}

void bench_server_start(bench_server *server, const char *program) {
    const char *arguments[32] = {0};
    server->port = free_port();
    if (server->system->prepare != NULL) {
        server->system->prepare(server->directory);
    }
    server->system->command(program, server->directory, server->port, arguments);
    remember(server);
    server->process = fork();
    if (server->process == 0) {
        become(server, arguments); /* does not return */
    }
    uint64_t begun = bench_time_ns();
    while (!says_ready(server) || !answers(server->port)) {
        int status;
        if (waitpid(server->process, &status, WNOHANG) != 0 ||
            bench_time_ns() - begun > START_MS_MAX * UINT64_C(1000000)) {
            bench_txn_fail("%s does not start: see %s.log", server->system->name,
                           server->directory);
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

void bench_server_stop(bench_server *server) {
    int status;
    if (server->process > 0) {
        kill(server->process, SIGINT); /* PostgreSQL would wait for its clients after SIGTERM */
        uint64_t begun = bench_time_ns();
        while (waitpid(server->process, &status, WNOHANG) == 0) {
            if (bench_time_ns() - begun > STOP_MS_MAX * UINT64_C(1000000)) {
                kill(server->process, SIGKILL);
            }
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        }
        server->process = 0;
    }
}

/* ---- what /proc tells -------------------------------------------------------------------------
 */

typedef struct family {
    int members[PROCESSES_MAX];
    int parents[PROCESSES_MAX];
    uint32_t count;
} family;

static int parent_of(int process) {
    char path[64], line[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", process);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    bool read = fgets(line, sizeof(line), file) != NULL;
    fclose(file);
    const char *end = read ? strrchr(line, ')') : NULL; /* names may hold anything */
    int parent = 0;
    return end != NULL && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

static void list_processes(family *all) {
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    all->count = 0;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        int process = atoi(entry->d_name);
        if (process > 0 && all->count < PROCESSES_MAX) {
            all->members[all->count] = process;
            all->parents[all->count++] = parent_of(process);
        }
    }
    closedir(folder);
}

static bool belongs(const family *all, uint32_t index, int ancestor) {
    int process = all->members[index];
    for (uint32_t step = 0; step < 8 && process > 1; step++) {
        if (process == ancestor) {
            return true;
        }
        uint32_t at = 0;
        while (at < all->count && all->members[at] != process) {
            at++;
        }
        process = at < all->count ? all->parents[at] : 0;
    }
    return false;
}

/* Nanoseconds that the threads of a process were on a processor. */
static double threads_ns(int process) {
    char path[320];
    snprintf(path, sizeof(path), "/proc/%d/task", process);
    DIR *folder = opendir(path);
    struct dirent *entry;
    double sum = 0;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        unsigned long long ran = 0;
        snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", process, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file != NULL) {
            sum += fscanf(file, "%llu", &ran) == 1 ? (double)ran : 0;
            fclose(file);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return sum;
}

static double pss_bytes(int process) {
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", process);
    FILE *file = fopen(path, "r");
    double size = 0;
    unsigned long long kilobytes;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "Pss: %llu kB", &kilobytes) == 1) {
            size = (double)kilobytes * 1024;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return size;
}

static double sum_of(const bench_server *server, double (*of)(int process)) {
    static family all;
    double sum = 0;
    list_processes(&all);
    for (uint32_t index = 0; index < all.count; index++) {
        sum += belongs(&all, index, server->process) ? of(all.members[index]) : 0;
    }
    return sum;
}

double bench_server_processor(const bench_server *server) {
    return sum_of(server, threads_ns) / 1e9;
}

double bench_server_memory(const bench_server *server) {
    return sum_of(server, pss_bytes);
}
