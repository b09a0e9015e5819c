/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/scenario.h"

#include "client/client.h"
#include "node/node.h"
#include "sim/check_append.h"
#include "sim/workload.h"

#include <inttypes.h>

enum {
    CLIENTS_MAX = 6,
    SAFETY_MS = 12000,
    LIVENESS_MS = 60000, /* within which every client must get on after the faults */
    LIVENESS_TXNS = 5,   /* and by how many transactions */
    STOP_MS = 60000,
    LAST_ECHO_MS = 1000, /* what was struck before the peace may still fall after it */
    NODE_MEMORY = 2 * 1024 * 1024,
};

static const uint64_t ns_per_ms = 1000000;

#define NETWORK_FAULTS                                                  \
    [LW_FAULT_CONNECTION_RESET] = true, [LW_FAULT_SLOW_SEGMENT] = true, \
    [LW_FAULT_SHORT_RECEIVE] = true, [LW_FAULT_CRASH_RESET] = true
#define CLOCK_FAULTS \
    [LW_FAULT_CLOCK_DRIFT] = true, [LW_FAULT_WALL_OFFSET] = true, [LW_FAULT_WALL_JUMP] = true
#define DISK_FAULTS                                                                            \
    [LW_FAULT_SYNC_ERROR] = true, [LW_FAULT_SYNC_STICKY] = true, [LW_FAULT_READ_ERROR] = true, \
    [LW_FAULT_WRITE_ERROR] = true, [LW_FAULT_FULL] = true, [LW_FAULT_SLOW_DISK] = true

const lw_scenario lw_scenarios[] = {
    {.name = "calm", .text = "nothing goes wrong"},
    {.name = "crash",
     .text = "power fails, processes die and stop, the network stalls and breaks",
     .faults = {NETWORK_FAULTS, CLOCK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 1500,
     .pause_every_ms = 4000,
     .cut_every_ms = 4000},
    {.name = "disk",
     .text = "as crash, and the disk fails, is slow, and fills up",
     .faults = {NETWORK_FAULTS, CLOCK_FAULTS, DISK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 3000,
     .pause_every_ms = 8000,
     .cut_every_ms = 8000,
     .full_percent = 30},
    {.name = "rot",
     .text = "as crash, and bits rot on the disk: damage is found, never served",
     .faults = {NETWORK_FAULTS, [LW_FAULT_BIT_FLIP] = true},
     .crash_every_ms = 2000,
     .damage = true},
    {0},
};

const lw_scenario *lw_scenario_find(const char *name) {
    for (const lw_scenario *one = lw_scenarios; one->name != NULL; one++) {
        if (strcmp(one->name, name) == 0) {
            return one;
        }
    }
    return NULL;
}

/* ---- a run --------------------------------------------------------------------------------------
 */

typedef enum node_state {
    NODE_DOWN,    /* no process */
    NODE_OPENING, /* lw_node_open is under way */
    NODE_SERVING,
    NODE_FAILED, /* it could not open, or died of its disk: the process is to be ended */
} node_state;

typedef struct run {
    const lw_run_options *options;
    lw_run_result *result;
    lw_memory *memory;
    lw_world *world;
    lw_chance chance;
    lw_host *node_host;
    node_state node;
    lw_error node_error;
    lw_workload workload;
    lw_host *client_hosts[CLIENTS_MAX];
    lw_workload_client clients[CLIENTS_MAX];
    uint32_t client_count;
    lw_host *judge_host;
    lw_status judge_status; /* of the fiber that fills or reads at the end */
    bool judge_done;
    bool troubled;     /* the safety phase: whatever strikes may strike */
    uint64_t peace_ns; /* since when nothing strikes any more */
    bool damaged;
} run;

static void fail_run(run *it, const char *what, const char *detail) {
    lw_buffer_print(&it->result->failures, "%s%s%s\n", what, detail[0] != 0 ? ": " : "", detail);
}

static uint64_t world_now(void *world) {
    return lw_world_now(world);
}

/* ---- the node and its supervisor ---------------------------------------------------------- */

typedef struct process {
    run *of;
    lw_env *env;
    lw_node *node;
} process;

static void node_died(void *argument, const lw_error *reason) {
    process *self = argument;
    self->of->node = NODE_FAILED;
    self->of->node_error = *reason;
}

LW_YIELDS static void node_main(void *argument) {
    process *self = argument;
    run *it = self->of;
    lw_node_options options = {.directory = "data",
                               .listen = "node:7871",
                               .memory_size = NODE_MEMORY,
                               .version = LW_VERSION,
                               .died = node_died,
                               .argument = self};
    lw_status status = lw_node_open(self->env, &options, &self->node);
    if (it->node == NODE_OPENING) {
        it->node = status == LW_OK ? NODE_SERVING : NODE_FAILED;
        if (status != LW_OK) {
            it->node_error = *lw_error_slot();
        }
    }
}

static void boot_node(run *it) {
    lw_env *env = lw_host_boot(it->node_host);
    process *self = lw_allocate_zero(env->memory, sizeof(*self));
    *self = (process){.of = it, .env = env};
    it->node = NODE_OPENING;
    it->result->boots++;
    lw_env_start(env, "node", node_main, self);
}

/* A node that cannot start, or stops, must have had a reason that the scenario gave it. */
static void judge_failed_node(run *it) {
    bool damage = it->node_error.status == LW_CORRUPTION;
    if (damage && it->options->scenario->damage) {
        it->damaged = true;
    } else if (damage || (!it->troubled &&
                          lw_world_now(it->world) > it->peace_ns + LAST_ECHO_MS * ns_per_ms)) {
        fail_run(it, "the node does not come up", it->node_error.text);
        it->damaged = true; /* nothing more to be learned from this run */
    }
}

static void start_client(run *it, uint32_t index) {
    lw_workload_start(lw_host_boot(it->client_hosts[index]), &it->clients[index]);
}

/* Ends what runs on the node's host; nothing if nothing does. */
static void end_node(run *it, bool power_loss) {
    if (lw_host_running(it->node_host)) {
        (power_loss ? lw_host_crash : lw_host_kill)(it->node_host);
    }
    it->node = NODE_DOWN;
}

/* Every 20 ms: what went down comes up again, mostly soon. */
static void supervise(void *argument) {
    run *it = argument;
    if (it->node == NODE_FAILED) {
        judge_failed_node(it);
        end_node(it, false);
    }
    if (!lw_host_running(it->node_host) && !it->damaged &&
        (!it->troubled || lw_chance_percent(&it->chance, 10))) {
        boot_node(it);
    }
    for (uint32_t index = 0; index < it->client_count; index++) {
        if (!lw_host_running(it->client_hosts[index]) && !it->workload.stopping) {
            start_client(it, index);
        }
    }
    lw_world_at(it->world, lw_world_now(it->world) + 20 * ns_per_ms, supervise, it);
}

/* ---- trouble ------------------------------------------------------------------------------ */

/* Between nothing and twice the mean. */
static uint64_t next_time(run *it, uint32_t mean_ms) {
    return lw_world_now(it->world) +
           lw_chance_below(&it->chance, 2 * (uint64_t)mean_ms) * ns_per_ms;
}

static void crash_client(run *it) {
    if (it->client_count == 0) {
        return; /* they come once the bank is filled */
    }
    uint32_t index = (uint32_t)lw_chance_below(&it->chance, it->client_count);
    if (lw_host_running(it->client_hosts[index])) {
        it->workload.running--;
        if (lw_chance_percent(&it->chance, 50)) {
            lw_host_kill(it->client_hosts[index]);
        } else {
            lw_host_crash(it->client_hosts[index]);
        }
    }
}

static void crash_something(void *argument) {
    run *it = argument;
    if (!it->troubled) {
        return;
    }
    uint64_t choice = lw_chance_below(&it->chance, 10);
    if (choice < 2) {
        crash_client(it);
    } else if (choice < 4) {
        end_node(it, false);
    } else if (choice < 5) {
        end_node(it, true);
    } else if (lw_host_running(it->node_host)) {
        lw_host_crash_after(it->node_host, lw_chance_below(&it->chance, 60),
                            (lw_crash)lw_chance_below(&it->chance, 3));
    }
    lw_world_at(it->world, next_time(it, it->options->scenario->crash_every_ms), crash_something,
                it);
}

static void pause_something(void *argument) {
    run *it = argument;
    if (!it->troubled) {
        return;
    }
    uint64_t choice = lw_chance_below(&it->chance, it->client_count + 1);
    lw_host *host = choice == 0 ? it->node_host : it->client_hosts[choice - 1];
    uint64_t duration_ns = lw_chance_between(&it->chance, 1, 6000) * ns_per_ms;
    if (lw_host_running(host)) {
        lw_host_pause(host, duration_ns);
    }
    lw_world_at(it->world, next_time(it, it->options->scenario->pause_every_ms), pause_something,
                it);
}

static void mend_network(void *argument) {
    run *it = argument;
    for (uint32_t index = 0; index < it->client_count; index++) {
        lw_world_cut(it->world, it->node_host, it->client_hosts[index], false);
    }
}

static void cut_something(void *argument) {
    run *it = argument;
    if (!it->troubled) {
        return;
    }
    if (it->client_count == 0) {
        lw_world_at(it->world, next_time(it, it->options->scenario->cut_every_ms), cut_something,
                    it);
        return;
    }
    uint32_t index = (uint32_t)lw_chance_below(&it->chance, it->client_count);
    lw_host *client = it->client_hosts[index];
    switch (lw_chance_below(&it->chance, 3)) {
    case 0:
        lw_world_cut(it->world, it->node_host, client, true);
        break;
    case 1:
        lw_world_cut_one_way(it->world, it->node_host, client, true);
        break;
    default:
        lw_world_cut_one_way(it->world, client, it->node_host, true);
    }
    uint64_t mended = lw_chance_between(&it->chance, 1, 5000) * ns_per_ms;
    lw_world_at(it->world, lw_world_now(it->world) + mended, mend_network, it);
    lw_world_at(it->world, next_time(it, it->options->scenario->cut_every_ms), cut_something, it);
}

static void empty_disk(void *argument) {
    run *it = argument;
    lw_disk_set_capacity(lw_host_disk(it->node_host), 0);
}

/* The disk has little room, until somebody frees some. */
static void fill_disk(void *argument) {
    run *it = argument;
    lw_disk_set_capacity(lw_host_disk(it->node_host),
                         lw_chance_between(&it->chance, 1, 6000) * 1024);
    lw_world_at(it->world,
                lw_world_now(it->world) +
                    lw_chance_between(&it->chance, 500, SAFETY_MS / 2) * ns_per_ms,
                empty_disk, it);
}

static void begin_trouble(run *it) {
    const lw_scenario *scenario = it->options->scenario;
    lw_faults profile = lw_faults_usual();
    for (int fault = 0; fault < LW_FAULT_COUNT; fault++) {
        profile.rates[fault] = scenario->faults[fault] ? profile.rates[fault] : 0;
    }
    lw_faults faults = lw_faults_swarm(&profile, it->options->seed);
    lw_world_set_faults(it->world, &faults);
    it->troubled = true;
    /* Swarm: any kind of trouble may be absent from a run. */
    if (scenario->crash_every_ms != 0 && lw_chance_percent(&it->chance, 85)) {
        lw_world_at(it->world, next_time(it, scenario->crash_every_ms), crash_something, it);
    }
    if (scenario->pause_every_ms != 0 && lw_chance_percent(&it->chance, 50)) {
        lw_world_at(it->world, next_time(it, scenario->pause_every_ms), pause_something, it);
    }
    if (scenario->cut_every_ms != 0 && lw_chance_percent(&it->chance, 50)) {
        lw_world_at(it->world, next_time(it, scenario->cut_every_ms), cut_something, it);
    }
    if (lw_chance_percent(&it->chance, scenario->full_percent)) {
        lw_world_at(it->world, next_time(it, SAFETY_MS / 2), fill_disk, it);
    }
}

static void end_trouble(run *it) {
    lw_faults peace = lw_faults_none();
    peace.rare_paths = true;
    lw_world_set_faults(it->world, &peace);
    it->troubled = false;
    it->peace_ns = lw_world_now(it->world);
    mend_network(it);
    empty_disk(it);
}

/* ---- the judge ---------------------------------------------------------------------------- */

typedef struct judge {
    run *of;
    lw_env *env;
    bool final; /* reads everything; else fills the bank */
} judge;

/* Tries until it is done: the node may be down half the time. */
LW_YIELDS static void judge_main(void *argument) {
    judge *self = argument;
    run *it = self->of;
    for (;;) {
        lw_client_options options = {.address = "node:7871", .label = "judge"};
        lw_client *client = NULL;
        lw_status status = lw_client_open_in(self->env, &options, &client);
        LW_ASSERT(status == LW_OK);
        status = self->final ? lw_workload_final(&it->workload, client) : lw_workload_fill(client);
        lw_close(client);
        it->judge_status = status;
        if (status == LW_OK || status == LW_CORRUPTION) {
            break;
        }
        lw_env_sleep(self->env, 50 * ns_per_ms);
    }
    it->judge_done = true;
}

/* Runs events until `done`, or the virtual time is over. */
static bool run_until(run *it, const bool *done, uint64_t limit_ms) {
    uint64_t end = lw_world_now(it->world) + limit_ms * ns_per_ms;
    while (!*done && !it->damaged && lw_world_now(it->world) < end) {
        if (!lw_world_step(it->world)) {
            break;
        }
    }
    return *done;
}

static bool run_judge(run *it, bool final) {
    lw_env *env = lw_host_boot(it->judge_host);
    judge *self = lw_allocate(env->memory, sizeof(*self));
    *self = (judge){.of = it, .env = env, .final = final};
    it->judge_done = false;
    lw_env_start(env, "judge", judge_main, self);
    return run_until(it, &it->judge_done, STOP_MS);
}

/* ---- phases ------------------------------------------------------------------------------- */

static void start_clients(run *it) {
    it->client_count = (uint32_t)lw_chance_between(&it->chance, 2, CLIENTS_MAX);
    for (uint32_t index = 0; index < it->client_count; index++) {
        char name[24];
        (void)snprintf(name, sizeof(name), "client%u", index);
        it->client_hosts[index] = lw_world_host(it->world, name);
        lw_workload_client *client = &it->clients[index];
        *client = (lw_workload_client){
            .workload = &it->workload, .address = "node:7871", .number = index};
        memset(client->own_known, true, sizeof(client->own_known));
        start_client(it, index);
    }
}

/* Everybody must get on once nothing stands in the way any more. */
static void check_liveness(run *it) {
    uint64_t goals[CLIENTS_MAX] = {0};
    for (uint32_t index = 0; index < it->client_count; index++) {
        goals[index] = it->clients[index].done + LIVENESS_TXNS;
    }
    uint64_t end = lw_world_now(it->world) + LIVENESS_MS * ns_per_ms;
    bool all = false;
    while (!all && !it->damaged && lw_world_now(it->world) < end) {
        (void)lw_world_run(it->world, lw_world_now(it->world) + 100 * ns_per_ms);
        all = true;
        for (uint32_t index = 0; index < it->client_count; index++) {
            all = all && it->clients[index].done >= goals[index];
        }
    }
    if (!all && !it->damaged) {
        fail_run(it, "liveness", "a client did not get on within a minute after the faults ended");
    }
}

static void stop_clients(run *it) {
    it->workload.stopping = true;
    uint64_t end = lw_world_now(it->world) + STOP_MS * ns_per_ms;
    while (it->workload.running > 0 && !it->damaged && lw_world_now(it->world) < end) {
        (void)lw_world_run(it->world, lw_world_now(it->world) + 100 * ns_per_ms);
    }
    if (it->workload.running > 0 && !it->damaged) {
        fail_run(it, "liveness", "a client did not end");
    }
}

static void judge_run(run *it) {
    lw_buffer report = lw_buffer_in(it->memory);
    if (!lw_check_append(&it->workload.history, it->workload.isolation == LW_STRICT, it->memory,
                         &report)) {
        lw_buffer_append(&it->result->failures, lw_buffer_view(&report));
    }
    lw_buffer_append(&it->result->failures, lw_buffer_view(&it->workload.violations));
    lw_buffer_reset(&report);
}

static void run_phases(run *it) {
    boot_node(it);
    supervise(it);
    begin_trouble(it);
    if (!run_judge(it, false)) {
        if (!it->damaged) {
            fail_run(it, "liveness", "not one transaction could be committed in a minute");
        }
        return;
    }
    start_clients(it);
    (void)lw_world_run(it->world, lw_world_now(it->world) + SAFETY_MS * ns_per_ms);
    end_trouble(it);
    check_liveness(it);
    stop_clients(it);
    if (it->damaged) {
        return;
    }
    end_node(it, true); /* what is not on the disk now was never promised */
    bool read = run_judge(it, true);
    if (!read || it->judge_status != LW_OK) {
        if (it->judge_status == LW_CORRUPTION && it->options->scenario->damage) {
            it->damaged = true;
        } else if (!it->damaged) {
            fail_run(it, "final reads", "they could not be made");
        }
    }
}

static void report_failure(const run *it) {
    FILE *to = it->options->report;
    if (to != NULL) {
        lw_world_report(it->world, to);
    }
}

static void write_history(run *it) {
    lw_buffer lines = lw_buffer_in(it->memory);
    lw_history_write(&it->workload.history, &lines);
    (void)fwrite(lines.data, 1, lines.size, it->options->history);
    lw_buffer_reset(&lines);
}

void lw_scenario_run(const lw_run_options *options, lw_memory *memory, lw_run_marks marks,
                     void *argument, lw_run_result *result) {
    *result = (lw_run_result){.failures = lw_buffer_in(memory)};
    lw_faults none = lw_faults_none();
    run *it = lw_allocate_zero(memory, sizeof(*it));
    it->options = options;
    it->result = result;
    it->memory = memory;
    it->world = lw_world_open(options->seed, &none);
    it->chance = lw_world_chance(it->world, "scenario");
    lw_world_trace_to(it->world, options->trace);
    for (const char *const *bug = options->bugs; bug != NULL && *bug != NULL; bug++) {
        lw_world_plant(it->world, *bug);
    }
    it->node_host = lw_world_host(it->world, "node");
    it->judge_host = lw_world_host(it->world, "judge");
    lw_workload_init(&it->workload, memory,
                     lw_chance_percent(&it->chance, 70) ? LW_STRICT : LW_SNAPSHOT, world_now,
                     it->world);
    run_phases(it);
    judge_run(it);
    result->passed = result->failures.size == 0;
    result->damaged = it->damaged;
    result->hash = lw_world_hash(it->world);
    result->virtual_ns = lw_world_now(it->world) - LW_WORLD_BEGIN_NS;
    result->committed = it->workload.committed;
    result->failed = it->workload.failed;
    result->in_doubt = it->workload.in_doubt;
    if (!result->passed) {
        report_failure(it);
    }
    if (options->history != NULL) {
        write_history(it);
    }
    size_t mark_count = 0;
    const lw_mark *const *reached = lw_world_marks(it->world, &mark_count);
    for (size_t index = 0; marks != NULL && index < mark_count; index++) {
        marks(argument, reached[index]);
    }
    lw_world_close(it->world);
    lw_history_reset(&it->workload.history);
    lw_buffer_reset(&it->workload.violations);
    lw_free(memory, it);
}
