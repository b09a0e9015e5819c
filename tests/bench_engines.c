/* SPDX-License-Identifier: Apache-2.0 */
/* Our storage engine against RocksDB, LevelDB and LMDB: the same works, in one run, the engines
 * alternated group by group, each group of works in a child process (tests/bench_engines.h).
 *
 *   bench_engines DIRECTORY [--records N] [--rounds N] [--quick] [--json FILE]
 *                 [--only GROUP,...] [--engines NAME,...] [--share PERCENT]
 *
 * The directory is on the disk to be measured; it needs room for about 1 KB a record, and is empty
 * afterwards. `--quick` is a million records and one round; `--share` is how much of the others'
 * memory ours gets. */
#include "tests/bench_engines.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RECORDS_DEFAULT = 5000000,
    RECORDS_QUICK = 1000000,
    CRASH_PERCENT = 120, /* of the records: what a log of about a GB holds */
    GROUP_SECONDS_MAX = 900,
};

/* ---- groups -----------------------------------------------------------------------------------
 */

typedef enum group_kind {
    ALONE = 1,   /* begins in an empty folder and leaves none */
    FILLS = 2,   /* begins in an empty folder and leaves a filled store behind */
    USES = 4,    /* begins in the filled store */
    LIMITED = 8, /* cold: under a limit of memory, the page cache emptied before */
    LOGGED = 16, /* a crash, and the opening after it */
} group_kind;

typedef struct group {
    const char *name;
    group_kind kind;
    void (*work)(bench_task *task);
} group;

static const group groups[] = {
    {"order", ALONE, bench_work_fill_order},
    {"random", FILLS, bench_work_fill_random},
    {"hot", USES, bench_work_hot},
    {"cold1", USES | LIMITED, bench_work_cold_1},
    {"cold16", USES | LIMITED, bench_work_cold_16},
    {"durable", USES, bench_work_durable},
    {"overwrite", USES, bench_work_overwrite},
    {"crash", LOGGED, bench_work_crash},
};
enum { GROUP_COUNT = sizeof(groups) / sizeof(groups[0]) };

typedef struct run {
    const char *directory, *json, *only, *names;
    bench_results results;
    double seconds;
    char paths[BENCH_ENGINE_COUNT][512]; /* of the filled stores */
    bool filled[BENCH_ENGINE_COUNT];
} run;

/* ---- children ---------------------------------------------------------------------------------
 */

typedef struct child_work {
    const group *of;
    bench_task *task;
    void (*work)(bench_task *task);
} child_work;

static void child_body(void *argument) {
    child_work *on = argument;
    on->work(on->task);
}

static void add_sample(bench_samples *samples, double value) {
    if (samples->count < BENCH_ROUND_MAX) {
        samples->values[samples->count++] = value;
    }
}

static void take_figures(run *on, uint32_t engine, int from) {
    bench_reported reported;
    while (read(from, &reported, sizeof(reported)) == sizeof(reported)) {
        if (reported.figure < BENCH_FIGURE_COUNT) {
            add_sample(&on->results.samples[reported.figure][engine], reported.value);
        }
        if (reported.figure < BENCH_FIGURE_COUNT && reported.processor_us > 0) {
            add_sample(&on->results.processor[reported.figure][engine], reported.processor_us);
        }
    }
}

/* Runs a work in a child; false, and said, if the child failed. */
static bool run_child(run *on, const group *of, void (*work)(bench_task *task), uint32_t engine,
                      bench_task *task) {
    int ends[2], state = 0;
    pid_t parent = getpid();
    if (pipe(ends) != 0) {
        bench_fail("no pipe");
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(GROUP_SECONDS_MAX);
        close(ends[0]);
        task->figures = ends[1];
        if ((of->kind & LIMITED) != 0) {
            (void)bench_limit_memory(on->results.memory_size, parent);
        }
        child_work body = {.of = of, .task = task, .work = work};
        task->engine->run(child_body, &body);
        _exit(0);
    }
    close(ends[1]);
    take_figures(on, engine, ends[0]);
    close(ends[0]);
    waitpid(child, &state, 0);
    bench_unlimit_memory(parent);
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0) {
        fprintf(stderr, "bench_engines: %s did not get through \"%s\" (%s %d)\n",
                task->engine->name, of->name, WIFSIGNALED(state) ? "signal" : "exit code",
                WIFSIGNALED(state) ? WTERMSIG(state) : WEXITSTATUS(state));
        return false;
    }
    return true;
}

/* ---- one group, one engine --------------------------------------------------------------------
 */

static bench_task task_of(const run *on, uint32_t engine, uint32_t round, const char *path) {
    uint64_t share = engine == 0 ? on->results.share : 100;
    return (bench_task){.engine = on->results.engines[engine],
                        .directory = path,
                        .record_count = on->results.record_count,
                        .memory_size = on->results.memory_size * share / 100,
                        .hot_memory_size = on->results.hot_memory_size * share / 100,
                        .seconds = on->seconds,
                        .chance = round + 1};
}

/* A crash with a full log, and the opening after it. */
static void run_crash(run *on, const group *of, uint32_t engine, bench_task *task) {
    task->record_count = task->record_count * CRASH_PERCENT / 100;
    if (task->engine->has_log && run_child(on, of, of->work, engine, task)) {
        /* Nothing but the log is there yet, but for a few KB. */
        task->log_size = bench_folder_content(task->directory);
        (void)run_child(on, of, bench_work_open_crashed, engine, task);
    }
}

static void run_group(run *on, const group *of, uint32_t engine, uint32_t round) {
    char own[560];
    bool uses = (of->kind & (USES | FILLS)) != 0;
    snprintf(own, sizeof(own), "%s.%s", on->paths[engine], of->name);
    const char *path = uses ? on->paths[engine] : own;
    bench_task task = task_of(on, engine, round, path);
    if ((of->kind & USES) != 0 && !on->filled[engine]) {
        return;
    }
    if ((of->kind & USES) == 0) {
        bench_folder_remove(path);
        bench_folder_make(path);
    }
    bench_folder_sync(path);
    if ((of->kind & LIMITED) != 0) {
        uint64_t stayed = bench_folder_drop(path);
        if (stayed > on->results.memory_size / 100) {
            fprintf(stderr, "bench_engines: %.1f MB of %s stayed in the page cache\n",
                    (double)stayed / 1e6, task.engine->name);
        }
    }
    if ((of->kind & LOGGED) != 0) {
        run_crash(on, of, engine, &task);
    } else {
        bool good = run_child(on, of, of->work, engine, &task);
        on->filled[engine] = uses && good;
    }
    if (!uses) {
        bench_folder_remove(path);
    }
}

/* ---- rounds -----------------------------------------------------------------------------------
 */

/* Whether a list of names separated by commas has this one; no list has all. */
static bool listed(const char *list, const char *name) {
    size_t size = strlen(name);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncasecmp(at, name, size) == 0 && (at[size] == ',' || at[size] == 0)) {
            return true;
        }
    }
    return list == NULL;
}

static bool group_wanted(const run *on, const group *wanted) {
    bool found = listed(on->only, wanted->name);
    for (uint32_t index = 0; index < GROUP_COUNT && (wanted->kind & FILLS) != 0; index++) {
        found |= (groups[index].kind & USES) != 0 && listed(on->only, groups[index].name);
    }
    return found;
}

static void show_progress(uint32_t round, const char *group_name, const char *engine_name) {
    if (isatty(STDERR_FILENO) == 1) {
        fprintf(stderr, "\rround %u: %-10s %-10s", (unsigned)round + 1, group_name, engine_name);
    }
}

static void run_round(run *on, uint32_t round) {
    for (uint32_t index = 0; index < GROUP_COUNT; index++) {
        for (uint32_t engine = 0; engine < BENCH_ENGINE_COUNT; engine++) {
            if (group_wanted(on, &groups[index]) &&
                listed(on->names, on->results.engines[engine]->name)) {
                show_progress(round, groups[index].name, on->results.engines[engine]->name);
                run_group(on, &groups[index], engine, round);
            }
        }
        if (strcmp(groups[index].name, "overwrite") == 0) {
            for (uint32_t engine = 0; engine < BENCH_ENGINE_COUNT; engine++) {
                bench_folder_remove(on->paths[engine]);
                on->filled[engine] = false;
            }
        }
    }
    if (isatty(STDERR_FILENO) == 1) {
        fprintf(stderr, "\r%-40s\r", "");
    }
}

/* ---- the program ------------------------------------------------------------------------------
 */

static void usage(void) {
    fprintf(stderr,
            "usage: bench_engines DIRECTORY [--records N] [--rounds N] [--quick] "
            "[--json FILE] [--only GROUP,...] [--engines NAME,...] [--share PERCENT]\ngroups:");
    for (uint32_t index = 0; index < GROUP_COUNT; index++) {
        fprintf(stderr, " %s", groups[index].name);
    }
    fprintf(stderr, "\n");
    exit(2);
}

static void take_arguments(run *on, int count, char **arguments) {
    for (int index = 1; index < count; index++) {
        const char *name = arguments[index];
        if (strcmp(name, "--quick") == 0) {
            on->results.record_count = RECORDS_QUICK;
            on->results.rounds = 1;
            on->seconds = 1;
        } else if (name[0] != '-' && on->directory == NULL) {
            on->directory = name;
        } else if (index + 1 == count) {
            usage();
        } else if (strcmp(name, "--records") == 0) {
            on->results.record_count = strtoull(arguments[++index], NULL, 10);
        } else if (strcmp(name, "--rounds") == 0) {
            on->results.rounds = (uint32_t)strtoul(arguments[++index], NULL, 10);
        } else if (strcmp(name, "--share") == 0) {
            on->results.share = (uint32_t)strtoul(arguments[++index], NULL, 10);
        } else if (strcmp(name, "--json") == 0) {
            on->json = arguments[++index];
        } else if (strcmp(name, "--only") == 0) {
            on->only = arguments[++index];
        } else if (strcmp(name, "--engines") == 0) {
            on->names = arguments[++index];
        } else {
            usage();
        }
    }
    if (on->directory == NULL || on->results.record_count < 1000 || on->results.rounds < 1 ||
        on->results.rounds > BENCH_ROUND_MAX) {
        usage();
    }
}

/* Whether memory can be limited here: tried out in a child. */
static bool can_limit(uint64_t size) {
    int state = 1;
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        _exit(bench_limit_memory(size, parent) ? 0 : 1);
    }
    waitpid(child, &state, 0);
    bench_unlimit_memory(parent);
    return WIFEXITED(state) && WEXITSTATUS(state) == 0;
}

static void prepare(run *on) {
    uint64_t size = on->results.record_count * (BENCH_KEY_SIZE + BENCH_VALUE_SIZE);
    on->results.memory_size = size / 4;
    on->results.hot_memory_size = size * 2;
    on->results.cold =
        can_limit(on->results.memory_size)
            ? "page cache emptied before, process and page cache limited to a quarter of the data "
              "by a control group, half of that given to the engine"
            : "page cache emptied before; memory could not be limited here, so the page cache "
              "grows during the reads (LMDB and LevelDB profit, ours does not use it)";
    for (uint32_t engine = 0; engine < BENCH_ENGINE_COUNT; engine++) {
        snprintf(on->paths[engine], sizeof(on->paths[engine]), "%s/%s", on->directory,
                 on->results.engines[engine]->name);
    }
}

int main(int count, char **arguments) {
    static const bench_engine *const engines[BENCH_ENGINE_COUNT] = {&bench_lathwork, &bench_rocksdb,
                                                                    &bench_leveldb, &bench_lmdb};
    static run on = {
        .results = {.engines = engines, .record_count = RECORDS_DEFAULT, .rounds = 3, .share = 100},
        .seconds = 3};
    take_arguments(&on, count, arguments);
    prepare(&on);
    bench_print_head(&on.results);
    for (uint32_t round = 0; round < on.results.rounds; round++) {
        run_round(&on, round);
    }
    bench_print_table(&on.results);
    if (on.json != NULL && !bench_write_json(&on.results, on.json)) {
        fprintf(stderr, "bench_engines: %s cannot be written\n", on.json);
        return 1;
    }
    return 0;
}
