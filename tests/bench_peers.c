/* SPDX-License-Identifier: Apache-2.0 */
/* What a link between two nodes carries: two processes on one machine, one-way messages of 200
 * bytes as fast as they go, and requests one after another and 64 at a time; encrypted and plain in
 * turns, so that a noisy machine is noisy for both. Medians are printed, nothing is judged.
 *
 *   bench_peers */
#include "node/peers.h"
#include "node/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 5, MESSAGE_SIZE = 200, MESSAGES = 1000000, ASKS = 10000, LANES = 64, PORT = 27871 };

typedef struct side {
    lw_env *env;
    lw_node_identity identity;
    char address[64];
    bool plain, stop;
    lw_server *server;
    lw_peers *peers;
    uint64_t messages, bytes;
} side;

static void must(bool good, const char *what) {
    if (!good) {
        (void)fprintf(stderr, "%s: %s\n", what, lw_error_slot()->text);
        exit(1);
    }
}

static uint64_t cpu_ns(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000000 +
           (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000;
}

static int ascending(const void *a, const void *b) {
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

static double median(double *samples, int count) {
    qsort(samples, (size_t)count, sizeof(double), ascending);
    return samples[count / 2];
}

/* ---- a node ------------------------------------------------------------------------------- */

static void message(void *argument, uint64_t from, lw_bytes bytes) {
    side *self = argument;
    (void)from;
    self->messages++;
    self->bytes += bytes.size;
}

/* Answers how many messages came, and the processor time that it took. */
LW_YIELDS static lw_status handle(void *argument, uint64_t from, const lw_request *request,
                                  lw_buffer *body) {
    side *self = argument;
    (void)from;
    if (request->body.size > 0) {
        lw_buffer_append(body, request->body);
        return LW_OK;
    }
    lw_buffer_append_u64(body, self->messages);
    lw_buffer_append_u64(body, cpu_ns());
    return LW_OK;
}

static void link_changed(void *argument, uint64_t node, bool up) {
    (void)argument;
    (void)node;
    (void)up;
}

static void impostor(void *argument, const lw_error *reason) {
    (void)argument;
    (void)reason;
}

static lw_status no_request(void *argument, const lw_request *request, uint64_t session,
                            lw_buffer *body) {
    (void)argument;
    (void)request;
    (void)session;
    (void)body;
    return LW_OK;
}

static uint64_t no_spare(void *argument) {
    (void)argument;
    return 0;
}

static void no_session(void *argument, uint64_t session) {
    (void)argument;
    (void)session;
}

static void peer(void *argument, lw_handle socket, lw_bytes received) {
    lw_peers_take(((side *)argument)->peers, socket, received);
}

static void identify(side *self, uint8_t number, int round, bool plain) {
    uint8_t seed[LW_SEED_SIZE];
    *self = (side){.plain = plain};
    memset(seed, number, sizeof(seed));
    self->identity = (lw_node_identity){.lattice = {.epoch = 1}, .incarnation = 1};
    lw_identity_derive(seed, &self->identity.keys);
    memset(self->identity.exchange_secret, number, LW_EXCHANGE_SIZE);
    lw_exchange_public(self->identity.exchange_secret, self->identity.exchange_public);
    self->identity.node_id = lw_identity_number(self->identity.keys.public_key);
    (void)snprintf(self->address, sizeof(self->address), "127.0.0.1:%d",
                   PORT + 4 * round + 2 * (plain ? 1 : 0) + number);
}

LW_YIELDS static void open_side(side *self) {
    lw_peers_options peers = {.identity = &self->identity,
                              .address = self->address,
                              .plain = self->plain,
                              .message = message,
                              .handle = handle,
                              .link = link_changed,
                              .impostor = impostor,
                              .argument = self};
    lw_server_options server = {.listen = self->address,
                                .node_id = self->identity.node_id,
                                .cluster_id = lw_text("0123456789abcdef"),
                                .version = lw_text("1"),
                                .handle = no_request,
                                .spare = no_spare,
                                .session_ended = no_session,
                                .peer = peer,
                                .argument = self};
    self->peers = lw_peers_open(self->env, &peers);
    must(lw_server_open(self->env, &server, &self->server) == LW_OK, "listen");
}

static void open_env(side *self) {
    if (lw_env_uring_open(&self->env) != LW_OK) {
        must(lw_env_posix_open(&self->env) == LW_OK, "env");
    }
}

LW_YIELDS static void serve_main(void *argument) {
    open_side(argument);
}

static _Noreturn void serve(int round, bool plain) {
    static side self;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    identify(&self, 1, round, plain);
    open_env(&self);
    lw_env_start(self.env, "serve", serve_main, &self);
    for (;;) {
        lw_env_turn(self.env, true);
    }
}

/* ---- measuring ---------------------------------------------------------------------------- */

typedef struct results {
    double per_second, sender_ns, receiver_ns, ask_us, ask_many_us;
} results;

typedef struct run {
    side self, other;
    results results;
    uint32_t lanes;
} run;

LW_YIELDS static void ask(run *it, lw_bytes body, lw_buffer *answer) {
    lw_request request = {.kind = LW_MESSAGE_GET, .shard = 1, .body = body};
    lw_buffer_clear(answer);
    must(lw_peers_ask(it->self.peers, it->other.identity.node_id, &request,
                      lw_env_now(it->self.env) + 30000000000, answer) == LW_OK,
         "ask");
}

LW_YIELDS static void measure_messages(run *it) {
    uint8_t bytes[MESSAGE_SIZE] = {1};
    lw_env *env = it->self.env;
    lw_buffer answer = lw_buffer_in(env->memory);
    ask(it, (lw_bytes){0}, &answer);
    uint64_t received = lw_get_u64(answer.data), other_cpu = lw_get_u64(answer.data + 8);
    uint64_t began = lw_env_now(env), cpu = cpu_ns();
    for (uint32_t sent = 0; sent < MESSAGES;) {
        if (lw_peers_send(it->self.peers, it->other.identity.node_id,
                          lw_view(bytes, sizeof(bytes)))) {
            sent++;
        } else {
            lw_env_sleep(env, 100000); /* the queue is full */
        }
    }
    do { /* the answer comes behind them all */
        ask(it, (lw_bytes){0}, &answer);
    } while (lw_get_u64(answer.data) < received + MESSAGES);
    double took = (double)(lw_env_now(env) - began);
    it->results.per_second = MESSAGES * 1e9 / took;
    it->results.sender_ns = (double)(cpu_ns() - cpu) / MESSAGES;
    it->results.receiver_ns = (double)(lw_get_u64(answer.data + 8) - other_cpu) / MESSAGES;
    lw_buffer_reset(&answer);
}

LW_YIELDS static void lane_main(void *argument) {
    run *it = argument;
    lw_buffer answer = lw_buffer_in(it->self.env->memory);
    for (uint32_t count = 0; count < ASKS / LANES; count++) {
        ask(it, lw_text("0123456789"), &answer);
    }
    lw_buffer_reset(&answer);
    it->lanes--;
}

LW_YIELDS static void measure_asks(run *it) {
    lw_env *env = it->self.env;
    lw_buffer answer = lw_buffer_in(env->memory);
    uint64_t began = lw_env_now(env);
    for (uint32_t count = 0; count < ASKS; count++) {
        ask(it, lw_text("0123456789"), &answer);
    }
    it->results.ask_us = (double)(lw_env_now(env) - began) / 1e3 / ASKS;
    began = lw_env_now(env);
    for (it->lanes = 0; it->lanes < LANES; it->lanes++) {
        lw_env_start(env, "lane", lane_main, it);
    }
    while (it->lanes > 0) {
        lw_env_sleep(env, 100000);
    }
    it->results.ask_many_us = (double)(lw_env_now(env) - began) / 1e3 / (ASKS / LANES * LANES);
    lw_buffer_reset(&answer);
}

LW_YIELDS static void run_main(void *argument) {
    run *it = argument;
    open_side(&it->self);
    lw_peers_set(it->self.peers, it->other.identity.node_id, it->other.address);
    while (!lw_peers_up(it->self.peers, it->other.identity.node_id)) {
        lw_env_sleep(it->self.env, 10000000);
    }
    measure_messages(it);
    measure_asks(it);
    it->self.stop = true;
}

static results run_once(int round, bool plain) {
    static run it;
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        serve(round, plain);
    }
    identify(&it.self, 2, round, plain);
    identify(&it.other, 1, round, plain);
    open_env(&it.self);
    lw_env_start(it.self.env, "run", run_main, &it);
    while (!it.self.stop) {
        lw_env_turn(it.self.env, true);
    }
    lw_env_close(it.self.env);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    return it.results;
}

static void print(const char *name, const double *first, size_t stride) {
    double samples[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        samples[round] = first[(size_t)round * stride];
    }
    printf("%12.2f%s", median(samples, ROUNDS), name);
}

int main(void) {
    static results all[2][ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int plain = 0; plain < 2; plain++) {
            all[plain][round] = run_once(round, plain == 1);
        }
    }
    printf("%-10s%12s%14s%14s%12s%14s\n", "link", "messages/s", "sender ns", "receiver ns",
           "ask us", "us, 64 lanes");
    for (int plain = 0; plain < 2; plain++) {
        const results *rows = all[plain];
        size_t stride = sizeof(results) / sizeof(double);
        printf("%-10s", plain ? "plain" : "encrypted");
        print("", &rows->per_second, stride);
        print("", &rows->sender_ns, stride);
        print("", &rows->receiver_ns, stride);
        print("", &rows->ask_us, stride);
        print("\n", &rows->ask_many_us, stride);
    }
    return 0;
}
