/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper of a run: boots the nodes and the clients again and again, and judges how the nodes
 * come up. */
#include "sim/run.h"

#include "sim/bare.h"
#include "sim/bus.h"
#include "sim/engine.h"
#include "sim/page.h"
#include "sim/user.h"

#include <stdarg.h>
#include <stdlib.h>

enum {
    KEEP_MS = 20,
    STORM_BOOT_PERCENT = 25,
    ENGINE_BOOT_PERCENT = 60,
    BOOT_PERCENT = 10,   /* of the looks at a node that is down while there is trouble */
    ADVICE_MS = 20000,   /* of peace, in which a damaged node may be replaced */
    LAST_ECHO_MS = 1000, /* what was struck before the peace may still fall after it */
    STOP_MS = 20 * 1000, /* what looks after services is less patient than that */
};

lw_node *lw_sim_serving(const lw_sim_member *node) {
    return node->state == LW_SIM_SERVING && lw_host_running(node->host) ? node->node : NULL;
}

struct lw_shards *lw_sim_shards_of(const lw_sim_member *node) {
    if (node->of->bare != NULL) {
        return node->state == LW_SIM_SERVING && lw_host_running(node->host) ? node->shards : NULL;
    }
    lw_node *serving = lw_sim_serving(node);
    return serving != NULL ? lw_node_shards(serving) : NULL;
}

void lw_sim_broken(lw_sim_trial *it, const char *what, const char *detail) {
    if (it->node_count > 1 && it->account.size == 0) {
        lw_sim_watch_print(it, &it->account);
    }
    char text[LW_PAGE_TEXT_SIZE];
    (void)snprintf(text, sizeof(text), "%s%s%s", what, detail[0] != 0 ? ": " : "", detail);
    lw_page_fail(it->page, text);
    lw_buffer_print(&it->result->failures, "%s%s%s\n", what, detail[0] != 0 ? ": " : "", detail);
}

void lw_sim_broken_first(lw_sim_trial *it, const char *property, const char *format, ...) {
    char text[300];
    va_list arguments;
    if (it->result->failures.size > 0) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    lw_sim_broken(it, property, text);
}

void lw_sim_after(lw_sim_trial *it, uint64_t delay_ms, void (*function)(void *run)) {
    lw_world_at(it->world, lw_world_now(it->world) + delay_ms * LW_SIM_NS_PER_MS, function, it);
}

/* ---- the node ----------------------------------------------------------------------------- */

typedef struct process {
    lw_sim_member *of;
    lw_env *env;
    lw_node *node;
} process;

static void node_died(void *argument, const lw_error *reason) {
    process *self = argument;
    self->of->state = LW_SIM_FAILED;
    self->of->node = NULL;
    self->of->error = *reason;
}

/* What stands behind a name in `json`: a number, or a text's contents. */
static void find_member(const char *json, const char *name, char *value, size_t size) {
    const char *at = strstr(json, name);
    LW_ASSERT(at != NULL);
    at += strlen(name) + strspn(at + strlen(name), "\": ");
    (void)snprintf(value, size, "%.*s", (int)strcspn(at, "\",}\n"), at);
}

/* Others know the node by its identity as soon as it serves, so from then on it is the same one, in
 * a higher incarnation each time (hazard G1). */
static void judge_identity(lw_sim_member *member, lw_node *node) {
    lw_sim_trial *it = member->of;
    char number[24], cluster[sizeof(member->cluster)];
    lw_buffer json = lw_buffer_in(it->memory);
    lw_node_status_json(node, &json);
    lw_buffer_append_u8(&json, 0);
    find_member((const char *)json.data, "\"incarnation\"", number, sizeof(number));
    find_member((const char *)json.data, "\"cluster\"", cluster, sizeof(cluster));
    lw_buffer_reset(&json);
    uint64_t incarnation = strtoull(number, NULL, 10);
    if (member->incarnation >= incarnation) {
        lw_sim_broken(it, "identity", "the node served in an incarnation of before");
    }
    if (member->incarnation > 0 && strcmp(member->cluster, cluster) != 0) {
        lw_sim_broken(it, "identity", "the node came back as one of another cluster");
    }
    member->incarnation = incarnation;
    member->id = lw_node_id(node);
    memcpy(member->cluster, cluster, sizeof(cluster));
}

/* Of the latest key that any node uses: those of before are worth nothing once it was changed. */
static void renew_token(lw_sim_trial *it) {
    uint32_t best = 0;
    for (uint32_t place = 0; place < it->node_count; place++) {
        lw_node *node = lw_sim_serving(&it->nodes[place]);
        if (node != NULL && lw_node_key_epoch(node) > best) {
            best = lw_node_key_epoch(node);
            lw_node_token(node, 0, it->token);
        }
    }
    it->token_epoch = best != 0 ? best : it->token_epoch;
}

/* Whether the lattice's key was changed since its token was made, or before by a node that was not
 * there then: it says that it takes another one. */
static bool is_token_outdated(const lw_sim_member *member) {
    const lw_sim_trial *it = member->of;
    bool outdated = false;
    for (uint32_t place = 0; place < it->node_count; place++) {
        const lw_node *node = lw_sim_serving(&it->nodes[place]);
        outdated = outdated || (node != NULL && lw_node_key_epoch(node) > member->token_epoch);
    }
    return outdated && strstr(member->error.text, "the token is of key epoch") != NULL;
}

lw_node_options lw_sim_node_options(const lw_sim_member *node, const char *address,
                                    void (*died)(void *argument, const lw_error *reason),
                                    void *argument) {
    const lw_sim_trial *it = node->of;
    lw_node_options options = {.directory = "data",
                               .listen = address,
                               .memory_size = it->memory_size,
                               .voters = it->voters,
                               .dead_after_ms = it->dead_after_ms,
                               .scrub_every_ms = it->options->scenario->rot_every_ms * 3,
                               .election_timeout_ms = it->storm.election_timeout_ms,
                               .drift_ppm = it->storm.drift_ppm,
                               .retention_ms = it->retention_ms,
                               .shard_size = it->shard_size,
                               .merge_after_ms = it->merge_after_ms,
                               .version = LW_VERSION,
                               .died = died,
                               .argument = argument};
    if (it->node_count > 1) {
        bool founds = node == &it->nodes[0] && !node->replaced;
        options.open_bus = lw_sim_bus_open;
        options.join = founds && !node->left_behind ? NULL : it->addresses;
        options.token = it->token;
    }
    return options;
}

LW_YIELDS static void node_main(void *argument) {
    process *self = argument;
    lw_sim_member *member = self->of;
    lw_sim_trial *it = member->of;
    if (it->node_count > 1 && it->key_changed) {
        renew_token(it);
    }
    member->token_epoch = it->token_epoch;
    lw_node_options options = lw_sim_node_options(member, member->address, node_died, self);
    lw_status status = lw_node_open(self->env, &options, &self->node);
    if (member->state != LW_SIM_OPENING) {
        return;
    }
    if (status == LW_OK) {
        member->state = LW_SIM_SERVING;
        member->node = self->node;
        member->left_behind = false;
        if (member == &it->nodes[0] && it->token[0] == 0) {
            lw_node_token(self->node, 0, it->token);
            it->token_epoch = lw_node_key_epoch(self->node);
        }
        judge_identity(member, self->node);
    } else {
        member->state = LW_SIM_FAILED;
        member->error = *lw_error_slot();
    }
    member->opening_failed = status != LW_OK;
}

static void boot_node(lw_sim_member *member) {
    lw_env *env = lw_host_boot(member->host);
    lw_sim_trouble_start(member);
    member->state = LW_SIM_OPENING;
    member->env = env;
    member->boot++;
    member->boot_ns = lw_world_now(member->of->world);
    member->struck = lw_disk_dice(lw_host_disk(member->host))->struck;
    member->of->result->boots++;
    if (member->of->engine != NULL) {
        lw_sim_engine_boot(member, env);
        return;
    }
    if (member->of->bare != NULL) {
        lw_sim_bare_boot(member, env);
        return;
    }
    process *self = lw_allocate_zero(env->memory, sizeof(*self));
    *self = (process){.of = member, .env = env};
    lw_env_start(env, "node", node_main, self);
}

/* What a node that finds its folder damaged says is to be done: once the others can do without it,
 * somebody new takes its place. If that never is so, enough copies were damaged at once. */
static void follow_advice(lw_sim_member *member) {
    lw_sim_trial *it = member->of;
    uint64_t patience_ns = it->peace_ns + ADVICE_MS * LW_SIM_NS_PER_MS;
    if (member->lost_id == 0 && lw_sim_watch_dispensable(it, (uint32_t)(member - it->nodes))) {
        LW_ASSERT(strstr(member->error.text, "leave --force") != NULL);
        lw_sim_replace_disk(member);
    } else if (!it->troubled && lw_world_now(it->world) > patience_ns) {
        it->damaged = true;
    }
}

/* Whether the disk has failed under this very process: it may come to the failure late, or take its
 * time to close, so that it ends in peace. */
static bool met_a_failure(const lw_sim_member *member) {
    return lw_disk_dice(lw_host_disk(member->host))->struck > member->struck;
}

/* A node that cannot start, or stops, must have had a reason that the scenario gave it. What it met
 * while it started may be long ago when it is through with closing: the next start is judged. */
static void judge_failed_node(lw_sim_member *member) {
    lw_sim_trial *it = member->of;
    bool damage = member->error.status == LW_CORRUPTION;
    uint64_t echo_ns = it->peace_ns + LAST_ECHO_MS * LW_SIM_NS_PER_MS;
    bool began_in_trouble = member->opening_failed && member->boot_ns <= it->peace_ns;
    bool echoes = !member->opening_failed && lw_world_now(it->world) <= echo_ns;
    bool late = !began_in_trouble && !echoes && !met_a_failure(member);
    if (damage && it->options->scenario->rot_every_ms > 0) {
        follow_advice(member);
    } else if (damage && (it->options->scenario->damage ||
                          (it->engine != NULL && lw_sim_engine_rotted(it)))) {
        it->damaged = true;
    } else if (damage || (!it->troubled && late && !is_token_outdated(member))) {
        lw_sim_broken(it, "the node does not come up", member->error.text);
        it->damaged = true; /* nothing more to be learned from this run */
    }
}

/* Whether it ended because it is no member any more, as it was asked to. One that went down before
 * it had noted that it left is told so by the others. */
static bool has_left(const lw_sim_member *member) {
    bool gone = strstr(member->error.text, "left") != NULL ||
                strstr(member->error.text, "was taken out of its lattice") != NULL;
    return member->leaving && gone;
}

/* Who is taken for lost by mistake has what it holds, and others may need it: it leaves in good
 * order only if it is asked to. */
static bool left_unasked(const lw_sim_member *member) {
    return !member->leaving && strstr(member->error.text, "holds nothing any more") != NULL;
}

/* Whether it ended because somebody took it for lost, and it lived. */
static bool was_expelled(const lw_sim_member *member) {
    return member->expelled && member->error.status == LW_REFUSED &&
           strstr(member->error.text, "for good") != NULL;
}

void lw_sim_start_client(lw_sim_trial *it, uint32_t index) {
    lw_env *env = lw_host_boot(it->client_hosts[index]);
    if (it->user != NULL) {
        lw_user_start(it, index, env);
    } else {
        lw_workload_start(env, &it->clients[index]);
    }
}

void lw_sim_end_node(lw_sim_member *node, bool power_loss) {
    if (lw_host_running(node->host)) {
        (power_loss ? lw_host_crash : lw_host_kill)(node->host);
    }
    node->state = LW_SIM_DOWN;
    node->node = NULL;
    node->shards = NULL;
}

/* Its fibers and what they wait for end by themselves. */
LW_YIELDS static void stop_main(void *argument) {
    lw_sim_member *member = argument;
    lw_node *node = member->node;
    if (node == NULL) {
        return; /* it has died meanwhile */
    }
    member->node = NULL;
    lw_node_close(node);
    if (member->state == LW_SIM_CLOSING) {
        member->state = LW_SIM_CLOSED;
    }
}

void lw_sim_stop_node(lw_sim_member *node) {
    if (lw_sim_serving(node) != NULL &&
        lw_host_paused_until(node->host) <= lw_world_now(node->of->world)) {
        lw_host_note(node->host, "stop", NULL);
        node->state = LW_SIM_CLOSING;
        node->closing_ns = lw_world_now(node->of->world);
        lw_env_start(node->env, "stop", stop_main, node);
    }
}

/* ---- looking after all -------------------------------------------------------------------- */

static uint32_t boot_percent(const lw_sim_trial *it) {
    if (it->engine != NULL) {
        return ENGINE_BOOT_PERCENT;
    }
    return it->options->scenario->storm ? STORM_BOOT_PERCENT : BOOT_PERCENT;
}

/* What went down comes up again, mostly soon. */
static void look_after(lw_sim_member *node) {
    lw_sim_trial *it = node->of;
    if (node->state == LW_SIM_FAILED) {
        if (left_unasked(node)) {
            lw_sim_broken_first(it, "members", "%s left in good order, which nobody asked it to",
                                node->name);
        }
        if (has_left(node)) {
            node->out = true;
        } else if (was_expelled(node)) {
            lw_sim_replace_disk(node);
        } else {
            judge_failed_node(node);
        }
        lw_sim_end_node(node, false);
    }
    if (node->ending || node->state == LW_SIM_CLOSED) {
        node->ending = false;
        lw_sim_end_node(node, false);
    } else if (node->state == LW_SIM_CLOSING && lw_host_running(node->host) &&
               lw_world_now(it->world) > node->closing_ns + STOP_MS * LW_SIM_NS_PER_MS) {
        lw_sim_broken(it, "liveness", "a node that was asked to stop did not within 20 s");
        lw_sim_end_node(node, false);
    }
    if (!lw_host_running(node->host)) {
        node->state = LW_SIM_DOWN; /* also when its power failed */
        node->node = NULL;
    }
    bool founder = node == &it->nodes[0];
    if (!lw_host_running(node->host) && !it->damaged && !node->out &&
        (founder || it->token[0] != 0 || it->bare != NULL) &&
        (!it->troubled || lw_chance_percent(&it->keeping, boot_percent(it)))) {
        boot_node(node);
    }
}

static void look(void *argument) {
    lw_sim_trial *it = argument;
    for (uint32_t index = 0; index < it->node_count; index++) {
        look_after(&it->nodes[index]);
    }
    for (uint32_t index = 0; index < it->client_count; index++) {
        if (!lw_host_running(it->client_hosts[index]) && !it->workload.stopping) {
            lw_sim_start_client(it, index);
        }
    }
    lw_sim_after(it, KEEP_MS, look);
}

void lw_sim_keep(lw_sim_trial *it) {
    boot_node(&it->nodes[0]); /* the others join it */
    look(it);
}
