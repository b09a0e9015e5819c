/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/scenario.h"

#include "client/client.h"
#include "sim/bare.h"
#include "sim/cores.h"
#include "sim/engine.h"
#include "sim/links.h"
#include "sim/lore.h"
#include "sim/machines.h"
#include "sim/run.h"
#include "sim/user.h"

#include <inttypes.h>

enum {
    CONVERGE_MS = 60000,     /* within which several nodes must come together after the faults, */
    CONVERGE_MS_MIN = 20000, /* or after clients that took their time */
    RESUME_MS = 10000,       /* within which somebody's commit must come through after the faults */
    LIVENESS_MS = 60000,     /* within which every client must get on after the faults */
    LIVENESS_TXNS = 5,       /* and by how many transactions */
    STOP_MS = 60000,
    FEW_CLIENTS = 6,
    STRAGGLER_PERCENT = 30,
    LOST_PERCENT = 30,
    LOST_LATE_MS = 2000,
    MEGABYTE = 1024 * 1024,
};

#define NETWORK_FAULTS                                                  \
    [LW_FAULT_CONNECTION_RESET] = true, [LW_FAULT_SLOW_SEGMENT] = true, \
    [LW_FAULT_SHORT_RECEIVE] = true, [LW_FAULT_CRASH_RESET] = true, [LW_FAULT_LATE_SEGMENT] = true
#define CLOCK_FAULTS                                                                           \
    [LW_FAULT_CLOCK_DRIFT] = true, [LW_FAULT_WALL_OFFSET] = true, [LW_FAULT_WALL_JUMP] = true, \
    [LW_FAULT_WALL_STUCK] = true
#define BUS_FAULTS                                                                       \
    [LW_FAULT_BUS_LOSS] = true, [LW_FAULT_BUS_TWICE] = true, [LW_FAULT_BUS_LATE] = true, \
    [LW_FAULT_BUS_SPOILT] = true, [LW_FAULT_BUS_AGAIN] = true
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
    {.name = "engine",
     .text = "the storage engine alone: power fails, the disk fails, fills up and rots",
     .faults = {DISK_FAULTS, [LW_FAULT_STALE_SECTOR] = true, [LW_FAULT_BIT_FLIP] = true},
     .crash_every_ms = 400,
     .full_percent = 15,
     .engine = true},
    {.name = "lattice",
     .text = "three nodes: power fails, processes die and stop, links and the bus stall and break",
     .node_count = 3,
     .faults = {NETWORK_FAULTS, CLOCK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 1500,
     .pause_every_ms = 4000,
     .cut_every_ms = 3000,
     .outage = true},
    {.name = "lattice-disk",
     .text = "as lattice, and disks fail, are slow, fill up, and one is lost for good",
     .node_count = 3,
     .faults = {BUS_FAULTS, NETWORK_FAULTS, CLOCK_FAULTS,
                DISK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 3000,
     .pause_every_ms = 8000,
     .cut_every_ms = 6000,
     .full_percent = 30,
     .lose_percent = 50,
     .outage = true},
    {.name = "lattice-moves",
     .text = "five nodes that drain, leave, and hand over shards and their lead, in trouble",
     .node_count = 5,
     .faults = {BUS_FAULTS, NETWORK_FAULTS, CLOCK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 3000,
     .pause_every_ms = 6000,
     .cut_every_ms = 4000,
     .operate_every_ms = 500,
     .lose_percent = 25,
     .outage = true},
    {.name = "lattice-storm",
     .text = "few seconds of elections: leaders are struck, wherever in the code they are",
     .node_count = 3,
     .faults = {NETWORK_FAULTS, CLOCK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 2000,
     .pause_every_ms = 4000,
     .cut_every_ms = 4000,
     .operate_every_ms = 400,
     .outage = true,
     .storm = true},
    {.name = "lattice-calm",
     .text = "three nodes, and nothing goes wrong but that a folder is copied",
     .node_count = 3,
     .copy_percent = 30},
    {.name = "lattice-rot",
     .text = "three nodes: bits rot in their tables and logs, also where nobody reads, and all of "
             "it is mended",
     .node_count = 3,
     .faults = {BUS_FAULTS, NETWORK_FAULTS, CLOCK_FAULTS, [LW_FAULT_STALE_SECTOR] = true},
     .crash_every_ms = 5000,
     .pause_every_ms = 8000,
     .cut_every_ms = 8000,
     .rot_every_ms = 700},
    {.name = "shards",
     .text =
         "shards and their collector alone, without servers and clients: a storm, late messages, "
         "silent readers, or a bit that flips",
     .node_count = 3,
     .faults = {[LW_FAULT_CLOCK_DRIFT] = true,
                [LW_FAULT_STALE_SECTOR] = true,
                [LW_FAULT_BUS_LOSS] = true,
                [LW_FAULT_BUS_TWICE] = true,
                [LW_FAULT_BUS_LATE] = true},
     .crash_every_ms = 1500,
     .pause_every_ms = 2500,
     .cut_every_ms = 2000,
     .outage = true,
     .storm = true,
     .bare = true},
    {.name = "links",
     .text = "links between nodes alone, in hostile company: silence, strangers, old copies",
     .node_count = 4,
     .faults = {NETWORK_FAULTS, [LW_FAULT_CLOCK_DRIFT] = true},
     .links = true},
    {.name = "gossip",
     .text = "what nodes know of each other and of shards: machines alone, in hostile company",
     .faults =
         {[LW_FAULT_BUS_LOSS] = true, [LW_FAULT_BUS_TWICE] = true, [LW_FAULT_BUS_LATE] = true},
     .machines = lore_play},
    {.name = "raft",
     .text = "consensus alone, dozens of elections: cores without nodes, storage and clients",
     .machines = lw_cores_play},
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

/* How long the past can be read: mostly so short that garbage is collected in a run. */
static const uint64_t retentions_ms[] = {0, 300, 1000, 1000, 3000, 10000};
/* How long a node may be away before it is replaced, and replicas of each shard. */
static const uint64_t dead_after_ms[] = {0, 2000, 5000, 20000};
static const uint32_t voters[] = {3, 3, 3, 3, 3, 1, 5, 5};
/* How long small shards must have had little to do before they are merged; 0: minutes. */
static const uint64_t merges_ms[] = {0, 0, 0, 500, 2000};
enum { MERGE_COUNT = sizeof(merges_ms) / sizeof(merges_ms[0]) };
enum { RETENTION_COUNT = sizeof(retentions_ms) / sizeof(retentions_ms[0]) };

/* From which shards are split: some hold what a run writes in one, others in many. */
enum { SHARD_SIZE_MIN = 4 * 1024, SHARD_SIZES = 6 };

static uint64_t world_now(void *world) {
    return lw_world_now(world);
}

/* ---- the judge ---------------------------------------------------------------------------- */

typedef struct judge {
    lw_sim_trial *of;
    lw_env *env;
    bool final; /* reads everything; else fills the bank */
} judge;

/* Tries until it is done: the node may be down half the time. */
LW_YIELDS static void judge_main(void *argument) {
    judge *self = argument;
    lw_sim_trial *it = self->of;
    for (;;) {
        lw_client_options options = {.address = it->addresses, .label = "judge"};
        lw_client *client = NULL;
        lw_status status = lw_client_open_in(self->env, &options, &client);
        LW_ASSERT(status == LW_OK);
        if (it->user != NULL) {
            status = lw_user_judge(it, self->env, client, self->final);
        } else {
            status =
                self->final ? lw_workload_final(&it->workload, client) : lw_workload_fill(client);
        }
        (void)snprintf(it->judge_error, sizeof(it->judge_error), "%s", lw_client_error(client));
        it->judge_status = status;
        if (it->damaged) {
            return; /* what a user left open is looked at no more */
        }
        lw_close(client);
        if (status == LW_OK || status == LW_CORRUPTION) {
            break;
        }
        lw_env_sleep(self->env, 50 * LW_SIM_NS_PER_MS);
    }
    it->judge_done = true;
}

/* Runs events until `done`, or the virtual time is over. */
static bool run_until(lw_sim_trial *it, const bool *done, uint64_t limit_ms) {
    uint64_t end = lw_world_now(it->world) + limit_ms * LW_SIM_NS_PER_MS;
    while (!*done && !it->damaged && lw_world_now(it->world) < end) {
        if (!lw_world_step(it->world)) {
            break;
        }
    }
    return *done;
}

static bool run_judge(lw_sim_trial *it, bool final) {
    lw_env *env = lw_host_boot(it->judge_host);
    judge *self = lw_allocate(env->memory, sizeof(*self));
    *self = (judge){.of = it, .env = env, .final = final};
    it->judge_done = false;
    lw_env_start(env, "judge", judge_main, self);
    return run_until(it, &it->judge_done, STOP_MS);
}

/* ---- phases ------------------------------------------------------------------------------- */

/* In some runs. It is no client that trouble strikes, or that must get on. */
static void start_straggler(lw_sim_trial *it) {
    lw_chance chance = lw_world_chance(it->world, "straggler");
    if (it->user == NULL && lw_chance_percent(&chance, STRAGGLER_PERCENT)) {
        it->straggler = (lw_workload_client){
            .workload = &it->workload, .address = it->addresses, .number = LW_SIM_CLIENTS_MAX};
        lw_workload_straggle(lw_host_boot(lw_world_host(it->world, "straggler")), &it->straggler);
    }
}

static void lose_client(void *argument) {
    lw_sim_trial *it = argument;
    lw_sim_lose_client(it, it->lost_host);
}

/* In some runs of several nodes: at any time, or in the first seconds of peace. */
static void start_lost(lw_sim_trial *it) {
    lw_chance chance = lw_world_chance(it->world, "lost");
    if (it->user == NULL && it->node_count > 1 && lw_chance_percent(&chance, LOST_PERCENT)) {
        it->lost_host = lw_world_host(it->world, "lost");
        it->lost = (lw_workload_client){
            .workload = &it->workload, .address = it->addresses, .number = LW_SIM_CLIENTS_MAX + 1};
        lw_workload_lose(lw_host_boot(it->lost_host), &it->lost);
        lw_sim_after(it, lw_chance_below(&chance, lw_sim_safety_ms(it) + LOST_LATE_MS),
                     lose_client);
    }
}

static void start_clients(lw_sim_trial *it) {
    lw_chance chance = lw_world_chance(it->world, "clients");
    bool crowded = lw_chance_percent(&chance, 20);
    it->client_count =
        (uint32_t)lw_chance_between(&chance, 2, crowded ? LW_SIM_CLIENTS_MAX : FEW_CLIENTS);
    if (it->user != NULL) {
        it->client_count = lw_user_client_count(it);
    }
    it->client_count =
        it->options->client_count == 0 ? it->client_count : it->options->client_count;
    for (uint32_t index = 0; index < it->client_count; index++) {
        char name[24];
        (void)snprintf(name, sizeof(name), "client%u", index);
        it->client_hosts[index] = lw_world_host(it->world, name);
        lw_workload_client *client = &it->clients[index];
        *client = (lw_workload_client){
            .workload = &it->workload, .address = it->addresses, .number = index};
        memset(client->own_known, true, sizeof(client->own_known));
        for (uint32_t lease = 0; lease < LW_LEASES; lease++) {
            client->leases[lease].known = true;
        }
        lw_sim_start_client(it, index);
    }
    start_straggler(it);
    start_lost(it);
}

static uint64_t peace_ms(const lw_sim_trial *it) {
    return (lw_world_now(it->world) - it->peace_ns) / LW_SIM_NS_PER_MS;
}

/* When the faults were over: what was paused before may sleep on for a while. */
static uint64_t healed_ns(const lw_sim_trial *it) {
    uint64_t healed = it->peace_ns, first_client = UINT64_MAX;
    for (uint32_t index = 0; index < it->node_count; index++) {
        uint64_t until = lw_host_paused_until(it->nodes[index].host);
        healed = until > healed ? until : healed;
    }
    for (uint32_t index = 0; index < it->client_count; index++) {
        uint64_t until = lw_host_paused_until(it->client_hosts[index]);
        first_client = until < first_client ? until : first_client;
    }
    return it->client_count > 0 && first_client > healed ? first_client : healed;
}

/* Somebody must get on soon. */
static void judge_resumption(lw_sim_trial *it) {
    uint64_t peace_until_healed_ms = (healed_ns(it) - it->peace_ns) / LW_SIM_NS_PER_MS;
    bool late = it->result->resumed_ms == 0
                    ? it->result->lively_ms > peace_until_healed_ms + RESUME_MS
                    : it->result->resumed_ms > peace_until_healed_ms + RESUME_MS;
    it->damaged = it->damaged || (late && lw_sim_rots_everywhere(it));
    if (late && !it->damaged && it->user == NULL) {
        char text[100];
        (void)snprintf(text, sizeof(text),
                       "no commit came through in ten seconds after the faults: one did after "
                       "%" PRIu64 " ms",
                       it->result->resumed_ms);
        lw_sim_broken(it, "liveness", text);
    }
}

/* Everybody must get on once nothing stands in the way any more. */
static void check_liveness(lw_sim_trial *it) {
    uint64_t goals[LW_SIM_CLIENTS_MAX] = {0};
    for (uint32_t index = 0; index < it->client_count; index++) {
        bool over = it->user != NULL && it->user->clients[index].done;
        uint64_t rounds = it->user != NULL ? (uint64_t)LW_USER_ROUNDS_AFTER : LIVENESS_TXNS;
        goals[index] = it->clients[index].done + (over ? 0 : rounds);
    }
    uint64_t end = lw_world_now(it->world) + LIVENESS_MS * LW_SIM_NS_PER_MS;
    uint64_t committed = it->workload.committed;
    bool all = false;
    while (!all && !it->damaged && lw_world_now(it->world) < end) {
        (void)lw_world_run(it->world, lw_world_now(it->world) + 100 * LW_SIM_NS_PER_MS);
        all = true;
        it->result->lively_ms = peace_ms(it);
        if (it->result->resumed_ms == 0 && it->workload.committed > committed) {
            it->result->resumed_ms = peace_ms(it);
        }
        for (uint32_t index = 0; index < it->client_count; index++) {
            all = all && it->clients[index].done >= goals[index];
        }
    }
    judge_resumption(it);
    it->damaged = it->damaged || (!all && lw_sim_rots_everywhere(it));
    if (!all && !it->damaged && it->user != NULL) {
        lw_user_blame(it, "liveness: a client did not get on within a minute after the faults");
    } else if (!all && !it->damaged) {
        lw_sim_broken(it, "liveness",
                      "a client did not get on within a minute after the faults ended");
    }
}

static void stop_clients(lw_sim_trial *it) {
    it->workload.stopping = true;
    if (it->lost_host != NULL && lw_host_running(it->lost_host)) {
        lw_host_kill(it->lost_host);
    }
    uint64_t end = lw_world_now(it->world) + STOP_MS * LW_SIM_NS_PER_MS;
    while (it->workload.running > 0 && !it->damaged && lw_world_now(it->world) < end) {
        (void)lw_world_run(it->world, lw_world_now(it->world) + 100 * LW_SIM_NS_PER_MS);
    }
    if (it->workload.running > 0 && !it->damaged && it->user != NULL) {
        lw_user_blame(it, "a client did not end within a minute after it was asked to");
    } else if (it->workload.running > 0 && !it->damaged) {
        lw_sim_broken(it, "liveness", "a client did not end");
    }
}

static bool run_for(lw_sim_trial *it, uint64_t duration_ms) {
    (void)lw_world_run(it->world, lw_world_now(it->world) + duration_ms * LW_SIM_NS_PER_MS);
    return !it->damaged;
}

/* What takes nodes long to come together is seen in the trace. */
static void note_obstacle(lw_sim_trial *it, const char *why, char told[LW_SIM_WHY_SIZE]) {
    if (strcmp(told, why) != 0) {
        (void)snprintf(told, LW_SIM_WHY_SIZE, "%s", why);
        lw_host_note(it->operator_host, "apart", why);
    }
}

/* All nodes must agree once nothing stands in the way any more, also about what they hold. */
static void check_convergence(lw_sim_trial *it) {
    char why[LW_SIM_WHY_SIZE] = "", told[LW_SIM_WHY_SIZE] = "";
    uint64_t now = lw_world_now(it->world);
    uint64_t end = healed_ns(it) + CONVERGE_MS * LW_SIM_NS_PER_MS;
    end = end > now + CONVERGE_MS_MIN * LW_SIM_NS_PER_MS ? end
                                                         : now + CONVERGE_MS_MIN * LW_SIM_NS_PER_MS;
    bool came = false, converged = false, reading = false;
    lw_sim_likeness likeness = LW_SIM_READING;
    while (!it->damaged && likeness < LW_SIM_ALIKE && lw_world_now(it->world) < end) {
        if (!converged) {
            converged = lw_sim_converged(it, why);
            note_obstacle(it, converged ? "" : why, told);
            it->result->converged_ms = peace_ms(it);
            if (converged && !came) { /* to compare replicas takes moments at which nothing moves */
                came = true;
                end = lw_world_now(it->world) + CONVERGE_MS * LW_SIM_NS_PER_MS;
            }
        } else if (!reading) {
            lw_sim_compare_begin(it);
            reading = true;
        } else {
            likeness = lw_sim_compare_end(it, why);
            converged = reading = likeness != LW_SIM_UNLIKE_MOMENTS;
        }
        (void)run_for(it, 20);
    }
    it->damaged = it->damaged || (likeness != LW_SIM_ALIKE && lw_sim_rots_everywhere(it));
    if (it->damaged || likeness == LW_SIM_ALIKE) {
        return;
    }
    lw_sim_broken(it, likeness == LW_SIM_DIFFERENT ? "replicas differ" : "no convergence", why);
}

static void judge_run(lw_sim_trial *it) {
    if (it->user == NULL && it->engine == NULL && it->bare == NULL && it->links == NULL &&
        !lw_workload_judge(&it->workload, &it->result->failures)) {
        LW_ASSERT(it->result->failures.size > 0);
    }
}

/* What is there before the clients: they come after a user's setup, and our own in trouble. */
static bool begin_run(lw_sim_trial *it) {
    if (it->user == NULL) {
        lw_sim_begin_trouble(it);
    }
    lw_sim_keep(it);
    if (it->node_count > 1) {
        lw_sim_watch_begin(it);
    }
    if (it->node_count > 1 && it->user == NULL) {
        lw_sim_operate(it);
    }
    if (it->node_count > 1 && it->user == NULL && it->options->scenario->operate_every_ms != 0) {
        lw_sim_rival(it);
        lw_sim_part(it);
    }
    if (!run_judge(it, false) || it->damaged) {
        if (!it->damaged) {
            lw_sim_broken(it,
                          it->user != NULL ? "setup did not come through within a minute"
                                           : "not one transaction could be committed in a minute",
                          it->judge_error);
        }
        return false;
    }
    if (it->user != NULL) {
        lw_sim_begin_trouble(it);
        lw_user_watch(it);
    }
    if (it->node_count > 1 && it->user != NULL) {
        lw_sim_operate(it);
    }
    return true;
}

/* A user's may be over sooner: something is broken, or all clients have done their rounds. */
static void run_safety(lw_sim_trial *it) {
    if (it->user == NULL) {
        (void)run_for(it, lw_sim_safety_ms(it));
        return;
    }
    uint64_t end = lw_world_now(it->world) + lw_sim_safety_ms(it) * LW_SIM_NS_PER_MS;
    while (!it->damaged && !lw_user_all_done(it) && lw_world_now(it->world) < end) {
        (void)run_for(it, 10);
    }
}

static void run_phases(lw_sim_trial *it) {
    if (!begin_run(it)) {
        return;
    }
    start_clients(it);
    if (it->user == NULL) {
        lw_sim_lay_hands(it);
        lw_sim_leave(it);
    }
    run_safety(it);
    lw_sim_end_trouble(it);
    check_liveness(it);
    stop_clients(it);
    if (it->node_count > 1) {
        check_convergence(it);
    }
    if (it->damaged) {
        return;
    }
    for (uint32_t index = 0; index < it->node_count; index++) {
        /* What is not on the disks now was never promised. */
        lw_sim_end_node(&it->nodes[index], true);
    }
    bool read = run_judge(it, true);
    if (!it->damaged && it->user != NULL && !read) {
        lw_sim_broken(it, "check did not come through within a minute", it->judge_error);
    } else if (!read || it->judge_status != LW_OK) {
        if (it->judge_status == LW_CORRUPTION && it->options->scenario->damage) {
            it->damaged = true;
        } else if (!it->damaged) {
            lw_sim_broken(it, "final reads could not be made", it->judge_error);
        }
    }
}

static void make_nodes(lw_sim_trial *it) {
    const lw_run_options *options = it->options;
    uint32_t wanted =
        options->node_count == 0 ? options->scenario->node_count : options->node_count;
    it->node_count = wanted == 0 ? 1 : wanted;
    it->node_count = options->scenario->engine ? 1 : it->node_count;
    if (options->node_count == 0 && options->scenario->storm) {
        it->node_count = options->scenario->bare ? lw_sim_bare_nodes(it) : lw_sim_storm_nodes(it);
    }
    LW_ASSERT(it->node_count <= LW_SIM_NODES_MAX);
    size_t size = 0;
    for (uint32_t index = 0; index < it->node_count; index++) {
        lw_sim_member *node = &it->nodes[index];
        node->of = it;
        if (it->node_count == 1) {
            (void)snprintf(node->name, sizeof(node->name), "node");
        } else {
            (void)snprintf(node->name, sizeof(node->name), "node%u", index + 1);
        }
        (void)snprintf(node->address, sizeof(node->address), "%s:7871", node->name);
        size += (size_t)snprintf(it->addresses + size, sizeof(it->addresses) - size, "%s%s",
                                 index > 0 ? "," : "", node->address);
        node->host = lw_world_host(it->world, node->name);
    }
}

/* As nodes may be started. One of its own has none of this, so that its seeds stay what they are.
 */
static void draw_options(lw_sim_trial *it) {
    it->memory_size = 2 * (size_t)MEGABYTE;
    if (it->node_count > 1) {
        it->memory_size = (size_t)lw_chance_between(&it->chance, 1, 4) * MEGABYTE;
        it->voters = voters[lw_chance_below(&it->chance, sizeof(voters) / sizeof(voters[0]))];
        it->dead_after_ms =
            dead_after_ms[lw_chance_below(&it->chance, sizeof(dead_after_ms) / sizeof(uint64_t))];
        lw_chance merges = lw_world_chance(it->world, "merges");
        it->merge_after_ms = merges_ms[lw_chance_below(&merges, MERGE_COUNT)];
    }
    if (it->options->scenario->storm) {
        lw_sim_storm_draw(it);
    }
}

static void report_failure(const lw_sim_trial *it) {
    FILE *to = it->options->report;
    if (to != NULL && it->user != NULL) {
        lw_user_report(it->user, to);
    } else if (to != NULL) {
        lw_world_report(it->world, to);
        if (it->account.size > 0) {
            (void)fwrite(it->account.data, 1, it->account.size, to);
        }
    }
}

static void write_history(lw_sim_trial *it) {
    lw_buffer lines = lw_buffer_in(it->memory);
    lw_history_print(&it->workload.history, &lines);
    (void)fwrite(lines.data, 1, lines.size, it->options->history);
    lw_buffer_reset(&lines);
}

void lw_scenario_run(const lw_run_options *options, lw_memory *memory, lw_run_marks marks,
                     void *argument, lw_run_result *result) {
    if (options->scenario->machines != NULL) {
        lw_machines_run(options, memory, marks, argument, result);
        return;
    }
    *result = (lw_run_result){.failures = lw_buffer_in(memory)};
    lw_faults none = lw_faults_none();
    lw_sim_trial *it = lw_allocate_zero(memory, sizeof(*it));
    it->options = options;
    it->result = result;
    it->memory = memory;
    it->account = lw_buffer_in(memory);
    it->storm_memory = lw_arena_in(memory);
    it->world = lw_world_open(options->seed, &none);
    it->chance = lw_world_chance(it->world, "scenario");
    it->keeping = lw_world_chance(it->world, "keeper");
    lw_world_trace_to(it->world, options->trace);
    lw_strikes_record(lw_world_strikes(it->world), options->struck);
    if (options->strikes != NULL) {
        lw_strikes_give(lw_world_strikes(it->world), options->strikes);
        lw_world_reschedule(it->world, options->strikes->schedule);
    }
    for (const char *const *bug = options->bugs; bug != NULL && *bug != NULL; bug++) {
        lw_world_plant(it->world, *bug);
    }
    make_nodes(it);
    draw_options(it);
    it->judge_host = lw_world_host(it->world, "judge");
    lw_workload_init(&it->workload, memory, &it->chance, world_now, it->world);
    lw_chance more = lw_world_chance(it->world, "more workloads");
    lw_workload_add(&it->workload, &more);
    it->retention_ms = retentions_ms[lw_chance_below(&it->chance, RETENTION_COUNT)];
    lw_chance sizes = lw_world_chance(it->world, "shard size");
    it->shard_size = (uint64_t)SHARD_SIZE_MIN << lw_chance_below(&sizes, SHARD_SIZES);
    it->workload.marching = lw_chance_percent(&it->chance, 30);
    it->workload.undisturbed = options->scenario->crash_every_ms == 0;
    it->workload.forgotten = lw_sim_watch_forgotten;
    it->workload.looker = it;
    it->workload.prompt = it->workload.undisturbed && !lw_workload_has_more(&it->workload);
    if (options->user != NULL) {
        lw_user_begin(it);
    }
    if (options->scenario->engine) {
        lw_sim_engine_begin(it);
    }
    if (options->scenario->bare) {
        lw_sim_bare_begin(it);
    }
    if (options->scenario->links) {
        lw_sim_links_begin(it);
    }
    lw_chance disks = lw_world_chance(it->world, "disks");
    it->disks_tell = lw_chance_percent(&disks, 30);
    lw_sim_free_disks(it);
    lw_sim_draw_begin(it);
    if (it->engine != NULL) {
        lw_sim_engine_run(it);
    } else if (it->bare != NULL) {
        lw_sim_bare_run(it);
    } else if (it->links != NULL) {
        lw_sim_links_run(it);
    } else {
        run_phases(it);
    }
    judge_run(it);
    lw_sim_draw_end(it);
    result->passed = result->failures.size == 0;
    result->damaged = it->damaged && result->passed;
    lw_sim_engine_end(it);
    lw_sim_bare_end(it);
    lw_sim_links_end(it);
    result->hash = lw_world_hash(it->world);
    result->virtual_ns = lw_world_now(it->world) - LW_WORLD_BEGIN_NS;
    result->committed = it->workload.committed;
    result->failed = it->workload.failed;
    result->in_doubt = it->workload.in_doubt;
    result->strict = !it->workload.snapshot;
    result->broken_constraints = it->workload.broken_constraints;
    if (!result->passed) {
        report_failure(it);
    }
    if (options->history != NULL && it->user == NULL) {
        write_history(it);
    }
    size_t mark_count = 0;
    const lw_mark *const *reached = lw_world_marks(it->world, &mark_count);
    for (size_t index = 0; marks != NULL && index < mark_count; index++) {
        marks(argument, reached[index]);
    }
    lw_world_close(it->world);
    if (it->user != NULL) {
        lw_user_end(it);
    }
    lw_workload_reset(&it->workload);
    lw_sim_compare_close(it);
    lw_buffer_reset(&it->account);
    lw_arena_reset(&it->storm_memory);
    lw_free(memory, it);
}
