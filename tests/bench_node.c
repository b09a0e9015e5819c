/* SPDX-License-Identifier: Apache-2.0 */
/* What one node costs: time from start to the first commit, idle memory, and the latency of a
 * durable single-key commit against its two parts measured in the same run, a bare 4 KiB durable
 * write and a round trip over loopback between two processes. The three take turns, so that a noisy
 * machine is noisy for all of them; medians are printed, and nothing is judged here.
 *
 *   bench_node PROGRAM DIRECTORY    (the lathwork program; an empty folder on the disk to be
 * measured) */
#include "client/lathwork.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 10, PER_ROUND = 200, STARTS = 7, BLOCK = 4096, MESSAGE = 100 };

static double microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void must(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static int ascending(const void *a, const void *b) {
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

static double quantile(double *samples, int count, double which) {
    qsort(samples, (size_t)count, sizeof(double), ascending);
    return samples[(int)((count - 1) * which)];
}

/* ---- the bare write ----------------------------------------------------------------------- */

static int open_written(const char *directory) {
    char path[512];
    snprintf(path, sizeof(path), "%s/bare", directory);
    int file = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    must(file >= 0, path);
    void *block;
    must(posix_memalign(&block, BLOCK, 1 << 20) == 0, "memory");
    memset(block, 0, 1 << 20);
    for (int part = 0; part < 8; part++) {
        must(pwrite(file, block, 1 << 20, (off_t)part << 20) == 1 << 20, "pwrite");
    }
    must(fsync(file) == 0, "fsync");
    free(block);
    return file;
}

static void bare_writes(int file, double *samples) {
    static int position;
    void *block;
    must(posix_memalign(&block, BLOCK, BLOCK) == 0, "memory");
    memset(block, 1, BLOCK);
    for (int index = 0; index < PER_ROUND; index++) {
        struct iovec part = {block, BLOCK};
        double begin = microseconds();
        must(pwritev2(file, &part, 1, (off_t)(position++ % 2048) * BLOCK, RWF_DSYNC) == BLOCK,
             "pwritev2");
        samples[index] = microseconds() - begin;
    }
    free(block);
}

/* ---- the bare round trip ------------------------------------------------------------------ */

static void no_delay(int socket) {
    int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* A process that sends back what it gets. Returns a connection to it. */
static int open_echo(pid_t *child) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(listener, (struct sockaddr *)&address, size) == 0, "bind");
    must(listen(listener, 1) == 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &size) == 0, "getsockname");
    *child = fork();
    must(*child >= 0, "fork");
    if (*child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int peer = accept(listener, NULL, NULL);
        char message[MESSAGE];
        no_delay(peer);
        while (recv(peer, message, MESSAGE, MSG_WAITALL) == MESSAGE) {
            must(send(peer, message, MESSAGE, 0) == MESSAGE, "send");
        }
        _exit(0);
    }
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(connect(peer, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
    no_delay(peer);
    close(listener);
    return peer;
}

static void round_trips(int peer, double *samples) {
    char message[MESSAGE] = {0};
    for (int index = 0; index < PER_ROUND; index++) {
        double begin = microseconds();
        must(send(peer, message, MESSAGE, 0) == MESSAGE, "send");
        must(recv(peer, message, MESSAGE, MSG_WAITALL) == MESSAGE, "recv");
        samples[index] = microseconds() - begin;
    }
}

/* ---- the node ----------------------------------------------------------------------------- */

typedef struct node {
    pid_t process;
    char address[128];
} node;

/* Starts the program and reads where it listens from the first line it prints. */
static node start_node(const char *program, const char *data) {
    int out[2];
    must(pipe2(out, 0) == 0, "pipe");
    node started = {.process = fork()};
    must(started.process >= 0, "fork");
    if (started.process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], 1);
        dup2(out[1], 2);
        close(out[0]);
        close(out[1]);
        execl(program, program, "start", "--data", data, "--listen", "127.0.0.1:0", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    char text[4096] = {0};
    size_t used = 0;
    const char *found = NULL;
    while (found == NULL || strchr(found, '\n') == NULL) {
        ssize_t got = read(out[0], text + used, sizeof(text) - 1 - used);
        must(got > 0, "the node printed no address");
        used += (size_t)got;
        found = strstr(text, "127.0.0.1:");
    }
    must(sscanf(found, "%127[0-9.:]", started.address) == 1, "address");
    fcntl(out[0], F_SETFD, FD_CLOEXEC); /* stays open: the node may still talk */
    return started;
}

static void stop_node(const node *one) {
    kill(one->process, SIGTERM);
    must(waitpid(one->process, NULL, 0) == one->process, "waitpid");
}

static lw_status put_body(lw_txn *txn, void *argument) {
    uint64_t number = (*(uint64_t *)argument)++;
    char key[32];
    int size = snprintf(key, sizeof(key), "key%012llu", (unsigned long long)number % 10000);
    static const uint8_t value[100];
    return lw_put(txn, (lw_bytes){(const uint8_t *)key, (size_t)size},
                  (lw_bytes){value, sizeof(value)});
}

static void commit_once(lw_client *client, uint64_t *number) {
    lw_status status = lw_run(client, NULL, put_body, number);
    if (status != LW_OK) {
        fprintf(stderr, "%s\n", lw_client_error(client));
        exit(1);
    }
}

static lw_client *open_client(const node *one) {
    lw_client *client;
    lw_client_options options = {.address = one->address};
    must(lw_open(&options, &client) == LW_OK, "lw_open");
    return client;
}

static double resident_mb(pid_t process) {
    char path[64], line[256];
    double kilobytes = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)process);
    FILE *file = fopen(path, "r");
    must(file != NULL, path);
    while (fgets(line, sizeof(line), file) != NULL) {
        (void)sscanf(line, "VmRSS: %lf", &kilobytes);
    }
    fclose(file);
    return kilobytes / 1024;
}

/* From fork to the answer of the first commit, each on an empty folder. */
static void measure_starts(const char *program, const char *directory, double *first_ms,
                           double *idle_mb) {
    double starts[STARTS], idle[STARTS];
    for (int index = 0; index < STARTS; index++) {
        char data[512];
        snprintf(data, sizeof(data), "%s/start%d", directory, index);
        uint64_t number = 0;
        double begin = microseconds();
        node one = start_node(program, data);
        lw_client *client = open_client(&one);
        commit_once(client, &number);
        starts[index] = (microseconds() - begin) / 1000;
        lw_close(client);
        usleep(200000);
        idle[index] = resident_mb(one.process);
        stop_node(&one);
    }
    *first_ms = quantile(starts, STARTS, 0.5);
    *idle_mb = quantile(idle, STARTS, 0.5);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: bench_node PROGRAM DIRECTORY\n");
        return 2;
    }
    static double bare[ROUNDS * PER_ROUND], trip[ROUNDS * PER_ROUND], commit[ROUNDS * PER_ROUND];
    double first_ms, idle_mb;
    char data[512];
    measure_starts(argv[1], argv[2], &first_ms, &idle_mb);
    snprintf(data, sizeof(data), "%s/data", argv[2]);
    int file = open_written(argv[2]);
    pid_t echo;
    int peer = open_echo(&echo);
    node one = start_node(argv[1], data);
    lw_client *client = open_client(&one);
    uint64_t number = 0;
    commit_once(client, &number);
    for (int round = 0; round < ROUNDS; round++) {
        bare_writes(file, bare + round * PER_ROUND);
        round_trips(peer, trip + round * PER_ROUND);
        for (int index = 0; index < PER_ROUND; index++) {
            double begin = microseconds();
            commit_once(client, &number);
            commit[round * PER_ROUND + index] = microseconds() - begin;
        }
    }
    lw_close(client);
    stop_node(&one);
    close(peer);
    waitpid(echo, NULL, 0);
    double bare_us = quantile(bare, ROUNDS * PER_ROUND, 0.5);
    double trip_us = quantile(trip, ROUNDS * PER_ROUND, 0.5);
    double commit_us = quantile(commit, ROUNDS * PER_ROUND, 0.5);
    printf("start to first commit, empty folder   %8.1f ms (median of %d)\n", first_ms, STARTS);
    printf("idle memory of the node               %8.1f MB\n", idle_mb);
    printf("bare 4 KiB durable write              %8.1f us p50\n", bare_us);
    printf("loopback round trip                   %8.1f us p50\n", trip_us);
    printf("durable single-key commit             %8.1f us p50, %.1f us p99\n", commit_us,
           quantile(commit, ROUNDS * PER_ROUND, 0.99));
    printf("commit / (write + round trip)         %8.2f\n", commit_us / (bare_us + trip_us));
    return 0;
}
