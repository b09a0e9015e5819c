/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions of our node against Redis, etcd and PostgreSQL: starts them all, fills them, lets
 * each do each work in turn, round after round, and prints medians, ratios and what was aimed at.
 *
 *   bench_txn PROGRAM DIRECTORY [--cluster] [--rounds N] [--seconds S] [--only TEXT]
 *             [--systems TEXT] [--quick]
 * Only the works whose name has the text, only the systems whose names are in the text. With
 * --cluster: three of our nodes against three members of etcd, whole clusters with all that belongs
 * to them. */
#include "tests/bench_txn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SYSTEMS = 4, ROUNDS_MAX = 9, REDIS = 1, ETCD = 2, POSTGRES = 3 };

typedef enum measure { RATE, P99, PROCESSOR } measure;

/* What is measured: one load, told as one of its figures, held against others. */
typedef struct figure {
    const char *name, *unit;
    bench_operation operation;
    uint32_t connections, depth;
    measure measure;
    double factors[SYSTEMS]; /* times that system; 0: nothing is asked */
    double limit;            /* at most; 0: none */
} figure;

static const figure figures[] = {
    {"durable put, 1 client", "k/s", BENCH_PUT, 1, 1, RATE, {[REDIS] = 1}, 0},
    {"durable put, 16 clients", "k/s", BENCH_PUT, 16, 1, RATE, {[REDIS] = 1}, 0},
    {"durable put, 64 clients", "k/s", BENCH_PUT, 64, 1, RATE, {0, 1, 5, 5}, 0},
    {"  p99 of that", "us", BENCH_PUT, 64, 1, P99, {0, 1, 1, 1}, 0},
    {"  server's processor time of that", "us", BENCH_PUT, 64, 1, PROCESSOR, {0}, 10},
    {"durable put, 256 clients", "k/s", BENCH_PUT, 256, 1, RATE, {0, 1, 5, 5}, 0},
    {"  p99 of that", "us", BENCH_PUT, 256, 1, P99, {0, 1, 1, 1}, 0},
    {"durable put, 16 clients, 16 in flight each",
     "k/s",
     BENCH_PUT,
     16,
     16,
     RATE,
     {[REDIS] = 2},
     0},
    {"get, 1 client", "k/s", BENCH_GET, 1, 1, RATE, {[REDIS] = 1 / 1.5}, 0},
    {"get, 64 clients", "k/s", BENCH_GET, 64, 1, RATE, {[REDIS] = 1 / 1.5}, 0},
    {"get, 16 clients, 16 in flight each", "k/s", BENCH_GET, 16, 16, RATE, {0}, 0},
    {"transfer, two keys read and put, 16 clients",
     "k/s",
     BENCH_TRANSFER,
     16,
     1,
     RATE,
     {[POSTGRES] = 4},
     0},
    {"transfer, two keys read and put, 64 clients",
     "k/s",
     BENCH_TRANSFER,
     64,
     1,
     RATE,
     {[POSTGRES] = 4},
     0},
    {"transfer, two numbers added to, 16 clients",
     "k/s",
     BENCH_MOVE,
     16,
     1,
     RATE,
     {[POSTGRES] = 4},
     0},
    {"transfer, two numbers added to, 64 clients",
     "k/s",
     BENCH_MOVE,
     64,
     1,
     RATE,
     {[POSTGRES] = 4},
     0},
};
enum { FIGURES = sizeof(figures) / sizeof(*figures) };

/* Of clusters: asked of etcd alone. */
static const double cluster_factors[FIGURES] = {1, 1, 5, 1, 0, 5, 1, 0, 1, 1};

typedef struct bench {
    bool cluster;
    const bench_system *const *systems;
    const char *program, *directory, *only, *names;
    uint32_t rounds;
    double seconds;
    bench_server servers[SYSTEMS];
    double values[FIGURES][SYSTEMS][ROUNDS_MAX];
} bench;

static const bench_system *const single_nodes[SYSTEMS] = {&bench_wire_lathwork, &bench_wire_redis,
                                                          &bench_wire_etcd, &bench_wire_postgres};
static const bench_system *const clusters[SYSTEMS] = {&bench_wire_lathwork_cluster, NULL,
                                                      &bench_wire_etcd_cluster, NULL};

/* ---- measuring --------------------------------------------------------------------------------
 */

static bool wanted(const bench *of, const bench_system *system) {
    return system != NULL && (of->names == NULL || strstr(of->names, system->name) != NULL);
}

static bool takes_part(const bench *of, const figure *what, const bench_system *system) {
    return wanted(of, system) && what->depth <= system->depth &&
           (!bench_about_two(what->operation) || system->transfers);
}

static bool same_load(const figure *one, const figure *other) {
    return one->operation == other->operation && one->connections == other->connections &&
           one->depth == other->depth;
}

static double value_of(const bench_outcome *outcome, measure what) {
    return what == RATE  ? outcome->rate / 1000
           : what == P99 ? outcome->p99_us
                         : outcome->processor_us;
}

/* Measures one load in all systems, and notes all figures that tell of it. */
static void measure_load(bench *of, uint32_t first, uint32_t round) {
    const figure *what = &figures[first];
    for (uint32_t turn = 0; turn < SYSTEMS; turn++) {
        uint32_t system = (turn + round) % SYSTEMS;
        if (!takes_part(of, what, of->systems[system])) {
            continue;
        }
        bench_load load = {.operation = what->operation,
                           .connections = what->connections,
                           .depth = what->depth,
                           .seconds = of->seconds,
                           .chance = round * 1000 + first};
        bench_outcome outcome = bench_drive(&of->servers[system], &load);
        fprintf(stderr, "%u %-45s %-10s %9.0f/s  p50 %7.0f us  p99 %7.0f us  server %5.1f us%s",
                round + 1, what->name, of->systems[system]->name, outcome.rate, outcome.median_us,
                outcome.p99_us, outcome.processor_us, outcome.again > 0 ? "" : "\n");
        if (outcome.again > 0) {
            fprintf(stderr, "  %llu conflicts\n", (unsigned long long)outcome.again);
        }
        for (uint32_t index = first; index < FIGURES; index++) {
            if (same_load(&figures[index], what)) {
                of->values[index][system][round] = value_of(&outcome, figures[index].measure);
            }
        }
    }
}

static void measure_all(bench *of) {
    for (uint32_t round = 0; round < of->rounds; round++) {
        for (uint32_t index = 0; index < FIGURES; index++) {
            bool told = index > 0 && same_load(&figures[index], &figures[index - 1]);
            if (!told && (of->only == NULL || strstr(figures[index].name, of->only) != NULL)) {
                measure_load(of, index, round);
            }
        }
    }
}

/* ---- the table --------------------------------------------------------------------------------
 */

static int ascending(const void *a, const void *b) {
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

/* 0: not measured. */
static double median(const bench *of, uint32_t index, uint32_t system) {
    double sorted[ROUNDS_MAX];
    memcpy(sorted, of->values[index][system], sizeof(sorted));
    qsort(sorted, of->rounds, sizeof(double), ascending);
    return sorted[of->rounds / 2];
}

static void print_number(double value) {
    int digits = value < 10 ? 2 : value < 100 ? 1 : 0;
    if (value > 0) {
        printf(" %.*f |", digits, value);
    } else {
        printf(" |");
    }
}

/* How many times that system is asked for; 0: nothing is. */
static double factor_of(const bench *of, uint32_t index, uint32_t system) {
    return !of->cluster     ? figures[index].factors[system]
           : system == ETCD ? cluster_factors[index]
                            : 0;
}

static void print_verdict(const bench *of, uint32_t index) {
    const figure *what = &figures[index];
    double limit = of->cluster ? 0 : what->limit;
    bool rate = what->measure == RATE, asked = limit > 0, met = true;
    double ours = median(of, index, 0);
    if (limit > 0) {
        printf(" at most %g", limit);
        met = ours <= limit;
    }
    for (uint32_t system = 1; system < SYSTEMS; system++) {
        double factor = factor_of(of, index, system), target = factor * median(of, index, system);
        if (target > 0) {
            printf("%s %.3g %s", asked ? "," : "", factor, of->systems[system]->name);
            met = met && (rate ? ours >= target : ours <= target);
            asked = true;
        }
    }
    printf(" | %s |\n", !asked ? "" : met ? "met" : "missed");
}

static void print_table(const bench *of) {
    printf("%u round%s of %g s, systems alternated, medians. %d keys of %d bytes, values of %d "
           "bytes; one driver of one thread, over loopback.\n",
           of->rounds, of->rounds == 1 ? "" : "s", of->seconds, BENCH_TXN_KEYS, BENCH_TXN_KEY_SIZE,
           BENCH_TXN_VALUE_SIZE);
    for (uint32_t system = 0; system < SYSTEMS; system++) {
        if (of->servers[system].process == 0) {
            continue;
        }
        printf("%s: %s; %.0f MB of memory at the end.\n", of->systems[system]->name,
               of->systems[system]->settings, bench_server_memory(&of->servers[system]) / 1e6);
    }
    printf("\n| work | unit |");
    for (uint32_t system = 0; system < SYSTEMS; system++) {
        printf(" %s |", of->systems[system] == NULL ? "" : of->systems[system]->name);
    }
    for (uint32_t system = 1; system < SYSTEMS; system++) {
        printf(" ÷ %s |", of->systems[system] == NULL ? "" : of->systems[system]->name);
    }
    printf(" aim | |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (uint32_t index = 0; index < FIGURES; index++) {
        double ours = median(of, index, 0);
        if (ours <= 0) {
            continue;
        }
        printf("| %s | %s |", figures[index].name, figures[index].unit);
        for (uint32_t system = 0; system < SYSTEMS; system++) {
            print_number(median(of, index, system));
        }
        for (uint32_t system = 1; system < SYSTEMS; system++) {
            double other = median(of, index, system);
            print_number(other > 0 ? ours / other : 0);
        }
        print_verdict(of, index);
    }
}

/* ---- the run ----------------------------------------------------------------------------------
 */

static void start_all(bench *of) {
    for (uint32_t index = 0; index < SYSTEMS; index++) {
        bench_server *server = &of->servers[index];
        server->system = of->systems[index];
        if (!wanted(of, of->systems[index])) {
            continue;
        }
        snprintf(server->directory, sizeof(server->directory), "%s/%s", of->directory,
                 of->systems[index]->name);
        bench_server_start(server, of->program);
        bench_load fill = {
            .operation = BENCH_PUT, .connections = 128, .depth = 1, .each_once = BENCH_TXN_KEYS};
        (void)bench_drive(server, &fill);
        fill.operation = BENCH_MOVE;
        if (server->system->transfers) {
            (void)bench_drive(server, &fill);
        }
    }
}

static uint32_t count_of(const char *text) {
    long count = strtol(text, NULL, 10);
    return count < 1 ? 1 : count > ROUNDS_MAX ? ROUNDS_MAX : (uint32_t)count;
}

int main(int count, char **words) {
    static bench of = {.rounds = 3, .seconds = 2, .systems = single_nodes};
    if (count < 3) {
        fprintf(stderr, "bench_txn PROGRAM DIRECTORY [--cluster] [--rounds N] [--seconds S] "
                        "[--only TEXT] [--systems TEXT] [--quick]\n");
        return 2;
    }
    of.program = words[1];
    of.directory = words[2];
    for (int index = 3; index < count; index++) {
        bool more = index + 1 < count;
        if (strcmp(words[index], "--cluster") == 0) {
            of.cluster = true;
            of.systems = clusters;
        } else if (strcmp(words[index], "--quick") == 0) {
            of.rounds = 1;
            of.seconds = 1;
        } else if (more && strcmp(words[index], "--rounds") == 0) {
            of.rounds = count_of(words[++index]);
        } else if (more && strcmp(words[index], "--seconds") == 0) {
            of.seconds = strtod(words[++index], NULL);
        } else if (more && strcmp(words[index], "--only") == 0) {
            of.only = words[++index];
        } else if (more && strcmp(words[index], "--systems") == 0) {
            of.names = words[++index];
        } else {
            fprintf(stderr, "bench_txn: %s?\n", words[index]);
            return 2;
        }
    }
    start_all(&of);
    measure_all(&of);
    print_table(&of);
    for (uint32_t index = 0; index < SYSTEMS; index++) {
        bench_server_stop(&of.servers[index]);
    }
    return 0;
}
