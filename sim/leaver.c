/* SPDX-License-Identifier: Apache-2.0 */
/* A client that is gone while a request of it waits, in some of the runs in which nothing else goes
 * wrong: it has the pessimistic lock of one key, and waits for the one of another, which a heir of
 * it has. Its process ends, or its machine loses power. Its session ends all the same, though the
 * request goes on to wait (node/server.h: V5), so that the heir soon gets the first key, too
 * (hazard T18). Or the heir lets go of its key just behind the loss of power: then the reply to who
 * waited is on its way to a machine that does not even say that nobody is there (node/silence.h).
 */
#include "client/client.h"
#include "sim/run.h"

enum {
    RUNS_PERCENT = 30,   /* of the runs */
    WAITS_MS = 500,      /* until it is gone */
    GRACE_MS = 6000,     /* in which its session ends, */
    ANSWERED_MS = 2000,  /* after which who waited is answered at most: before it is noticed */
    SILENCE_MS = 4000,   /* and in which it is noticed besides that its machine is silent */
    LIFETIME_MS = 60000, /* of what it waits for */
    PATIENCE_MS = 3000,  /* of the heir */
    ASSEMBLE_MS = 10000, /* in which the two locks are there */
    LOOK_MS = 50,
};

struct lw_sim_leaver {
    lw_sim_trial *of;
    lw_host *host;
    lw_env *env, *heirs; /* of its process, and of its heir's */
    bool power;          /* is lost, when it goes */
    bool answered;       /* when nobody is there any more */
    bool waits;          /* it has its lock, and is about to wait */
};

static const lw_bytes its_key = {(const uint8_t *)"leaver/its", 10},
                      heirs_key = {(const uint8_t *)"leaver/heirs", 12};

LW_YIELDS static bool open_client(lw_sim_trial *it, lw_env *env, const char *label,
                                  lw_client **client) {
    lw_client_options options = {.address = it->addresses, .label = label, .timeout_ms = 5000};
    return lw_client_open_in(env, &options, client) == LW_OK;
}

/* A transaction that has the key locked; NULL: it could not. */
LW_YIELDS static lw_txn *take(lw_client *client, lw_bytes key, uint32_t timeout_ms,
                              lw_status *status) {
    lw_txn_options options = {.locking = LW_PESSIMISTIC, .timeout_ms = timeout_ms};
    lw_txn *txn = NULL;
    lw_bytes value;
    *status = lw_begin(client, &options, &txn);
    if (*status == LW_OK) {
        *status = lw_get_for_update(txn, key, &value);
    }
    if (*status == LW_OK || *status == LW_NOT_FOUND) {
        return txn;
    }
    if (txn != NULL) {
        lw_txn_close(txn);
    }
    return NULL;
}

LW_YIELDS static void leaver_main(void *argument) {
    struct lw_sim_leaver *self = argument;
    lw_client *client = NULL;
    lw_status status;
    lw_bytes value;
    lw_txn *txn = open_client(self->of, self->env, "leaver", &client)
                      ? take(client, its_key, LIFETIME_MS, &status)
                      : NULL;
    if (txn != NULL) {
        self->waits = true;
        lw_status waited = lw_get_for_update(txn, heirs_key, &value);
        (void)waited;
    }
}

static void boot_leaver(void *run) {
    lw_sim_trial *it = run;
    it->leaver->env = lw_host_boot(it->leaver->host);
    lw_env_start(it->leaver->env, "leaver", leaver_main, it->leaver);
}

static void end_leaver(void *run) {
    const lw_sim_trial *it = run;
    (it->leaver->power ? lw_host_crash : lw_host_kill)(it->leaver->host);
}

/* With the key that it waits for. */
LW_YIELDS static void outlive(struct lw_sim_leaver *self, lw_client *client, lw_txn *own) {
    lw_sim_trial *it = self->of;
    lw_env *env = self->heirs;
    uint64_t gone_ms = GRACE_MS + (self->power ? SILENCE_MS : 0);
    lw_status status;
    lw_sim_after(it, 0, boot_leaver);
    for (uint32_t waited_ms = 0; !self->waits && waited_ms < ASSEMBLE_MS; waited_ms += LOOK_MS) {
        lw_env_sleep(env, LOOK_MS * LW_SIM_NS_PER_MS);
    }
    lw_env_sleep(env, WAITS_MS * LW_SIM_NS_PER_MS);
    lw_sim_after(it, 0, end_leaver);
    if (self->answered) {
        lw_env_sleep(env, 1 + lw_env_random_below(env, ANSWERED_MS * LW_SIM_NS_PER_MS));
        lw_txn_close(own);
    }
    lw_env_sleep(env, gone_ms * LW_SIM_NS_PER_MS);
    lw_txn *txn = self->waits ? take(client, its_key, PATIENCE_MS, &status) : NULL;
    if (self->waits && txn == NULL && it->workload.undisturbed) {
        lw_sim_broken_first(it, "sessions",
                            "a client was gone for %u ms, and its lock is still there: %s",
                            (unsigned)gone_ms, lw_status_name(status));
    }
    if (txn != NULL) {
        lw_txn_close(txn);
    }
    if (!self->answered) {
        lw_txn_close(own);
    }
}

LW_YIELDS static void heir_main(void *argument) {
    struct lw_sim_leaver *self = argument;
    lw_client *client = NULL;
    lw_status status;
    if (open_client(self->of, self->heirs, "heir", &client)) {
        lw_txn *txn = take(client, heirs_key, LIFETIME_MS, &status);
        if (txn != NULL) {
            outlive(self, client, txn);
        }
        lw_close(client);
    }
    self->of->workload.running--;
}

void lw_sim_leave(lw_sim_trial *it) {
    lw_chance chance = lw_world_chance(it->world, "leaver");
    if (!lw_chance_percent(&chance, RUNS_PERCENT) || !it->workload.undisturbed) {
        return;
    }
    it->leaver = lw_arena_allocate(&it->storm_memory, sizeof(*it->leaver));
    *it->leaver = (struct lw_sim_leaver){.of = it,
                                         .host = lw_world_host(it->world, "leaver"),
                                         .power = lw_chance_percent(&chance, 70)};
    it->leaver->answered = it->leaver->power && lw_chance_percent(&chance, 60);
    lw_world_calm(it->world, "server.one_at_a_time"); /* who does not read hears of no end */
    it->workload.running++;
    it->leaver->heirs = lw_host_boot(lw_world_host(it->world, "heir"));
    lw_env_start(it->leaver->heirs, "heir", heir_main, it->leaver);
}
