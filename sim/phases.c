/* SPDX-License-Identifier: Apache-2.0 */
/* The phases of a run of whole nodes: what is there before the clients, trouble, peace
 * (sim/peace.c), and a last read of everything. */
#include "client/client.h"
#include "sim/run.h"
#include "sim/user.h"

enum {
    JUDGE_MS = 60000, /* within which all is filled, or read */
    FEW_CLIENTS = 6,
    STRAGGLER_PERCENT = 30,
    LOST_PERCENT = 30,
    LOST_LATE_MS = 2000,
};

/* ---- who fills and reads ----------------------------------------------------------------------
 */

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
    return run_until(it, &it->judge_done, JUDGE_MS);
}

/* ---- clients ------------------------------------------------------------------------------ */

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

/* ---- phases ------------------------------------------------------------------------------- */

void lw_sim_run_for(lw_sim_trial *it, uint64_t duration_ms) {
    (void)lw_world_run(it->world, lw_world_now(it->world) + duration_ms * LW_SIM_NS_PER_MS);
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
        it->damaged = it->damaged || lw_sim_rots_everywhere(it);
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
        lw_sim_run_for(it, lw_sim_safety_ms(it));
        return;
    }
    uint64_t end = lw_world_now(it->world) + lw_sim_safety_ms(it) * LW_SIM_NS_PER_MS;
    while (!it->damaged && !lw_user_all_done(it) && lw_world_now(it->world) < end) {
        lw_sim_run_for(it, 10);
    }
}

/* Of what is on the disks: what is not was never promised. */
static void read_all(lw_sim_trial *it) {
    for (uint32_t index = 0; index < it->node_count; index++) {
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

void lw_sim_run_phases(lw_sim_trial *it) {
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
    lw_sim_check_liveness(it);
    lw_sim_stop_clients(it);
    if (it->node_count > 1) {
        lw_sim_check_convergence(it);
    }
    if (!it->damaged) {
        read_all(it);
    }
}
