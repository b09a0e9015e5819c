/* SPDX-License-Identifier: Apache-2.0 */
/* What is judged once the faults are over: somebody's commit comes through soon, every client gets
 * on and then ends, and the nodes come together. */
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
};

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
    uint64_t healing_ms = (healed_ns(it) - it->peace_ns) / LW_SIM_NS_PER_MS;
    bool late = it->result->resumed_ms == 0 ? it->result->lively_ms > healing_ms + RESUME_MS
                                            : it->result->resumed_ms > healing_ms + RESUME_MS;
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

void lw_sim_check_liveness(lw_sim_trial *it) {
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
        lw_sim_run_for(it, 100);
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

void lw_sim_stop_clients(lw_sim_trial *it) {
    it->workload.stopping = true;
    if (it->lost_host != NULL && lw_host_running(it->lost_host)) {
        lw_host_kill(it->lost_host);
    }
    uint64_t end = lw_world_now(it->world) + STOP_MS * LW_SIM_NS_PER_MS;
    while (it->workload.running > 0 && !it->damaged && lw_world_now(it->world) < end) {
        lw_sim_run_for(it, 100);
    }
    if (it->workload.running > 0 && !it->damaged && it->user != NULL) {
        lw_user_blame(it, "a client did not end within a minute after it was asked to");
    } else if (it->workload.running > 0 && !it->damaged) {
        lw_sim_broken(it, "liveness", "a client did not end");
    }
}

/* What takes nodes long to come together is seen in the trace. */
static void note_obstacle(lw_sim_trial *it, const char *why, char told[LW_SIM_WHY_SIZE]) {
    if (strcmp(told, why) != 0) {
        (void)snprintf(told, LW_SIM_WHY_SIZE, "%s", why);
        lw_host_note(it->operator_host, "apart", why);
    }
}

void lw_sim_check_convergence(lw_sim_trial *it) {
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
        lw_sim_run_for(it, 20);
    }
    it->damaged = it->damaged || (likeness != LW_SIM_ALIKE && lw_sim_rots_everywhere(it));
    if (it->damaged || likeness == LW_SIM_ALIKE) {
        return;
    }
    lw_sim_broken(it, likeness == LW_SIM_DIFFERENT ? "replicas differ" : "no convergence", why);
}
