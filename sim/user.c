/* SPDX-License-Identifier: Apache-2.0 */
/* The callbacks of a user's workload, and what is made of their returns. */
#include "sim/user.h"

#include "client/transaction.h"
#include "sim/page.h"
#include "sim/watchdog.h"

#include <inttypes.h>

enum {
    TIMEOUT_MS = 5000,
    RECONNECT_ROUNDS = 50, /* at most so many go through one client */
    LOOK_MS = 20,          /* at most, between two looks at the invariant */
    FEW = 2,
    MANY = 6,
};

/* At most so long between the rounds of a client. */
static const uint64_t pauses_ns[] = {1000000, 5000000, 20000000, 20000000};

/* ---- failures and returns ------------------------------------------------------------------- */

/* What was said comes first: a failure is known by its first words, which do not tell when. */
void lw_user_fail(lw_sim *who, const char *text) {
    lw_sim_trial *it = who->of->of;
    uint64_t now_us = lw_world_now(it->world) / 1000;
    char line[1024];
    if (!it->damaged) {
        (void)snprintf(line, sizeof(line), "%.900s (%s, at %" PRIu64 ".%06" PRIu64 " s)", text,
                       who->role, now_us / 1000000, now_us % 1000000);
        lw_sim_broken(it, line, "");
        lw_host_note(who->host, "failed", text);
    }
    it->damaged = true; /* U2 */
}

/* What may not come of a callback in any trouble. */
static bool is_broken(const lw_sim_trial *it, lw_status status) {
    return status == LW_INVALID_ARGUMENT ||
           (status == LW_CORRUPTION && !it->options->scenario->damage) ||
           !lw_status_known((uint64_t)status);
}

static void fail_status(lw_sim *who, lw_status status, const lw_client *client) {
    char text[LW_ERROR_TEXT_SIZE + 128];
    (void)snprintf(text, sizeof(text), "the callback returned %s (%d); the client's last error: %s",
                   lw_status_name(status), (int)status,
                   lw_client_error(client)[0] == 0 ? "none" : lw_client_error(client));
    lw_user_fail(who, text);
}

/* Calls one. False: the client is not to be used any more. */
LW_YIELDS static bool call(lw_sim *who, lw_sim_callback callback, lw_client *client,
                           lw_status *status) {
    *status = callback(who, client);
    if (client->transactions != NULL) {
        lw_user_fail(who, client->transactions->scans > 0
                              ? "the callback left a scan open: lw_scan_close, then lw_txn_close, "
                                "on every way out"
                              : "the callback left a transaction open: lw_txn_close on every way "
                                "out");
        return false; /* U3 */
    }
    if (is_broken(who->of->of, *status)) {
        fail_status(who, *status, client);
    }
    return true;
}

static lw_client *open_client(const lw_sim *who) {
    lw_client_options options = {
        .address = who->of->of->addresses, .label = who->role, .timeout_ms = TIMEOUT_MS};
    lw_client *client = NULL;
    lw_status opened = lw_client_open_in(who->env, &options, &client);
    LW_ASSERT(opened == LW_OK);
    return client;
}

static lw_sim *make_who(lw_user *user, lw_env *env, lw_host *host, const char *role, int number) {
    lw_sim *who = lw_allocate(env->memory, sizeof(*who));
    *who = (lw_sim){.of = user, .env = env, .host = host, .number = number};
    (void)snprintf(who->role, sizeof(who->role), number < 0 ? "%s" : "%s %d", role, number);
    lw_fibers_set_owner(env->fibers, who);
    return who;
}

/* ---- clients ----------------------------------------------------------------------------------
 */

static void count_round(lw_sim *who, lw_status status) {
    lw_workload *counts = &who->of->of->workload;
    counts->committed += status == LW_OK;
    counts->in_doubt += status == LW_UNDETERMINED;
    counts->failed += status != LW_OK && status != LW_UNDETERMINED;
    /* Whoever was answered, if only that somebody else was first, gets on. */
    bool answered = status == LW_OK || status == LW_NOT_FOUND || status == LW_EXISTS ||
                    status == LW_CONFLICT || status == LW_TOO_OLD;
    who->of->of->clients[who->number].done += answered;
    who->of->clients[who->number].last = status;
}

static bool goes_on(const lw_sim *who) {
    const lw_sim_trial *it = who->of->of;
    return !it->workload.stopping && !it->damaged && !who->of->clients[who->number].done;
}

/* One round, and what it leaves behind; false: the client is not to be used any more. */
LW_YIELDS static bool run_round(lw_sim *who, lw_client *client) {
    lw_user_client *self = &who->of->clients[who->number];
    const lw_sim_workload *workload = who->of->workload;
    lw_status status;
    self->began_ns = lw_world_now(who->of->of->world);
    lw_page *page = who->of->of->page;
    uint32_t drawn = lw_page_txn_begin(page, lw_host_name(who->host), "round", 0);
    bool sound = call(who, workload->client, client, &status);
    lw_page_txn_end(page, drawn,
                    status == LW_OK             ? "committed"
                    : status == LW_UNDETERMINED ? "in doubt"
                                                : "refused");
    self->began_ns = 0;
    self->rounds++;
    count_round(who, status);
    if (workload->round_count > 0 && self->rounds >= workload->round_count) {
        self->done = true;
        who->of->of->clients[who->number].done += LW_USER_ROUNDS_AFTER;
    }
    return sound;
}

LW_YIELDS static void pause_between(const lw_sim *who) {
    lw_sim_trial *it = who->of->of;
    uint64_t longest_ns = who->of->pause_ns;
    /* Where clients march in step their transactions meet. */
    lw_env_sleep(who->env, it->workload.marching ? longest_ns - lw_world_now(it->world) % longest_ns
                                                 : lw_env_random_below(who->env, longest_ns) + 1);
}

LW_YIELDS static void client_main(void *argument) {
    lw_sim *who = argument;
    bool sound = true;
    while (sound && goes_on(who)) {
        lw_client *client = open_client(who);
        uint64_t rounds = 1 + lw_env_random_below(who->env, RECONNECT_ROUNDS);
        for (uint64_t round = 0; sound && round < rounds && goes_on(who); round++) {
            sound = run_round(who, client);
            if (sound && goes_on(who)) {
                pause_between(who);
            }
        }
        if (sound) {
            lw_close(client);
        }
    }
    who->of->of->workload.running--;
}

void lw_user_start(lw_sim_trial *it, uint32_t index, lw_env *env) {
    lw_user *user = it->user;
    user->clients[index].began_ns = 0;
    it->workload.running++;
    lw_env_start(env, "client", client_main,
                 make_who(user, env, it->client_hosts[index], "client", (int)index));
}

bool lw_user_all_done(const lw_sim_trial *it) {
    bool all = true;
    for (uint32_t index = 0; index < it->client_count; index++) {
        all = all && it->user->clients[index].done;
    }
    return all;
}

bool lw_user_mortal(const lw_sim_trial *it, uint32_t index) {
    return it->user == NULL ||
           (it->user->workload->clients_die != 0 && !it->user->clients[index].done);
}

/* ---- the invariant ----------------------------------------------------------------------------
 */

LW_YIELDS static void watch_main(void *argument) {
    lw_sim *who = argument;
    const lw_sim_trial *it = who->of->of;
    bool sound = true;
    while (sound && !it->workload.stopping && !it->damaged) {
        lw_client *client = open_client(who);
        for (uint32_t look = 0; sound && look < RECONNECT_ROUNDS && !it->workload.stopping;
             look++) {
            lw_status status;
            who->of->look_began_ns = lw_world_now(it->world);
            sound = call(who, who->of->workload->invariant, client, &status);
            who->of->look_began_ns = 0;
            lw_env_sleep(who->env, lw_env_random_below(who->env, LOOK_MS * LW_SIM_NS_PER_MS));
        }
        if (sound) {
            lw_close(client);
        }
    }
    who->of->of->workload.running--;
}

void lw_user_watch(lw_sim_trial *it) {
    if (it->user->workload->invariant == NULL) {
        return;
    }
    lw_host *host = lw_world_host(it->world, "watcher");
    lw_env *env = lw_host_boot(host);
    it->workload.running++;
    lw_env_start(env, "watcher", watch_main, make_who(it->user, env, host, "invariant", -1));
}

/* ---- before and after -------------------------------------------------------------------------
 */

static bool worth_repeating(lw_status status) {
    return lw_status_retryable(status) || status == LW_TIMEOUT;
}

lw_status lw_user_judge(lw_sim_trial *it, lw_env *env, lw_client *client, bool final) {
    const lw_sim_workload *workload = it->user->workload;
    lw_sim_callback callback = final ? workload->check : workload->setup;
    lw_status status = lw_ping(client);
    if (status != LW_OK || callback == NULL || it->damaged) {
        return status;
    }
    lw_sim *who = make_who(it->user, env, it->judge_host, final ? "check" : "setup", -1);
    if (!call(who, callback, client, &status) || it->damaged) {
        return LW_OK;
    }
    if (status != LW_OK && !worth_repeating(status)) {
        fail_status(who, status, client);
        return LW_OK;
    }
    return status;
}

/* ---- the run ----------------------------------------------------------------------------------
 */

void lw_user_begin(lw_sim_trial *it) {
    const lw_sim_workload *workload = it->options->user;
    lw_chance chance = lw_world_chance(it->world, "user");
    it->user = lw_allocate_zero(it->memory, sizeof(*it->user));
    it->user->of = it;
    it->user->workload = workload;
    it->user->settings = it->options->settings;
    it->user->arena = lw_arena_in(it->memory);
    it->user->state = lw_allocate_zero(it->memory, workload->state_size + 1);
    it->user->pause_ns = pauses_ns[lw_chance_below(&chance, sizeof(pauses_ns) / sizeof(uint64_t))];
    it->retention_ms = workload->retention_ms;
    if (workload->pause_us > 0) {
        it->user->pause_ns = workload->pause_us * UINT64_C(1000);
    }
    (void)snprintf(it->user->name, sizeof(it->user->name), "scenario %s, seed %" PRIu64,
                   it->options->scenario->name, it->options->seed);
    it->user->watchdog = lw_watchdog_open(it->memory, it->world, it->user->name);
}

void lw_user_end(lw_sim_trial *it) {
    lw_watchdog_close(it->user->watchdog);
    lw_arena_reset(&it->user->arena);
    lw_free(it->memory, it->user->state);
    lw_free(it->memory, it->user);
    it->user = NULL;
}

uint32_t lw_user_client_count(lw_sim_trial *it) {
    uint32_t wanted = it->user->workload->client_count;
    lw_chance chance = lw_world_chance(it->world, "clients");
    return wanted > 0 ? wanted : (uint32_t)lw_chance_between(&chance, FEW, MANY);
}

/* Who of all that are in a callback is so for the longest time: `client_count` is the watcher, one
 * more nobody. */
static uint32_t find_slowest(const lw_sim_trial *it, uint64_t *began_ns) {
    const lw_user *user = it->user;
    uint32_t slowest = it->client_count + 1;
    *began_ns = UINT64_MAX;
    for (uint32_t index = 0; index <= it->client_count; index++) {
        uint64_t began =
            index < it->client_count ? user->clients[index].began_ns : user->look_began_ns;
        if (began != 0 && began < *began_ns) {
            *began_ns = began;
            slowest = index;
        }
    }
    return slowest;
}

/* All return, and one does not get on: what it returns says why. */
static void blame_answer(lw_sim_trial *it, const char *what) {
    uint32_t stuck = 0;
    for (uint32_t index = 1; index < it->client_count; index++) {
        stuck = it->clients[index].done < it->clients[stuck].done ? index : stuck;
    }
    char line[256];
    (void)snprintf(
        line, sizeof(line),
        "the callback of client %u returned %s last, though no fault was left in the way", stuck,
        lw_status_name(it->user->clients[stuck].last));
    lw_sim_broken(it, what, line);
}

void lw_user_blame(lw_sim_trial *it, const char *what) {
    char line[256], who[LW_USER_ROLE_SIZE];
    uint64_t began_ns;
    uint32_t slowest = find_slowest(it, &began_ns);
    if (slowest > it->client_count) {
        blame_answer(it, what);
        return;
    }
    (void)snprintf(who, sizeof(who), slowest < it->client_count ? "client %u" : "invariant",
                   slowest);
    (void)snprintf(
        line, sizeof(line),
        "the callback of %s was called at %" PRIu64 " ms, and has not returned for %" PRIu64
        " ms: a loop that does not look at lw_sim_stopping?",
        who, began_ns / LW_SIM_NS_PER_MS, (lw_world_now(it->world) - began_ns) / LW_SIM_NS_PER_MS);
    lw_sim_broken(it, what, line);
}

void lw_user_report(const lw_user *user, FILE *to) {
    uint64_t kept = user->note_count < LW_USER_NOTES ? user->note_count : LW_USER_NOTES;
    if (kept > 0) {
        (void)fprintf(to, "what was said last:\n");
    }
    for (uint64_t index = user->note_count - kept; index < user->note_count; index++) {
        const lw_user_note *note = &user->notes[index % LW_USER_NOTES];
        uint64_t said_us = note->time_ns / 1000;
        (void)fprintf(to, "  %4" PRIu64 ".%06" PRIu64 " s  %-10s %s\n", said_us / 1000000,
                      said_us % 1000000, note->role, note->text);
    }
}
