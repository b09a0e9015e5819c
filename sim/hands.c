/* SPDX-License-Identifier: Apache-2.0 */
/* What people do to nodes by hand, in some of the runs: they look at everything, end transactions,
 * split shards, stop nodes in good order and start them again, make tokens and revoke them, take a
 * node for lost that lives; and somebody tries to come in with a token that is revoked, or made up,
 * or speaks no protocol of ours. In some runs of several nodes somebody hands over, again and
 * again, who gives the timestamps. */
#include "client/client.h"
#include "client/operate.h"
#include "client/operate_lattice.h"
#include "lattice/token.h"
#include "sim/run.h"

enum {
    RUNS_PERCENT = 30, /* of the runs */
    ASK_MS = 4000,
    LOCKS_A_PAGE = 8,
    SPLITS_MAX = 3,
    EXPEL_MIN_NODES = 4, /* fewer would have fewer replicas meanwhile */
    EXPEL_PART = 4,      /* of what is done among so many */
    NONSENSE_SIZE_MAX = 300,
    NONSENSE_MS = 500,
    STRANGER_MS = 3000, /* until whoever was not taken in goes away */
    JUGGLERS_PERCENT = 20,
    JUGGLER_THROWS_MAX = 10,
};
#define JUGGLER_RESTS_NS UINT64_C(3000000000)
#define JUGGLER_CATCH_NS UINT64_C(600000000)

static const uint32_t means_ms[] = {300, 1000, 1000, 3000};

typedef enum deed {
    DEED_LOOK,
    DEED_KILL,
    DEED_SPLIT,
    DEED_STOP,
    DEED_REVOKE,
    DEED_EXPEL,
    DEED_NONSENSE,
    DEED_COUNT,
} deed;

/* Somebody who is to be turned away. */
typedef struct stranger {
    lw_sim_trial *of;
    lw_env *env;
    char token[LW_NODE_TOKEN_SIZE];
    lw_node *node;
} stranger;

typedef struct hands {
    lw_sim_trial *of;
    lw_env *env;
    lw_client *client;
    uint32_t every_ms;
    bool does[DEED_COUNT];
    uint32_t splits;
    uint64_t chosen; /* a transaction, of `seen` */
    uint64_t seen;
} hands;

static uint64_t below(const hands *self, uint64_t bound) {
    return lw_env_random_below(self->env, bound);
}

static lw_sim_member *draw_node(const hands *self) {
    return &self->of->nodes[below(self, self->of->node_count)];
}

/* ---- looking ------------------------------------------------------------------------------ */

static void see_member(void *argument, const lw_member_row *row) {
    hands *self = argument;
    self->seen += row->member.node != 0;
}
static void see_event(void *argument, const lw_event_row *row) {
    hands *self = argument;
    self->seen += row->number != 0;
}
static void see_plan(void *argument, const lw_plan_row *row) {
    hands *self = argument;
    self->seen += row->shard != 0;
}
static void see_token(void *argument, const lw_token_row *row) {
    hands *self = argument;
    self->seen += row->id != 0;
}
static bool see_shard(void *argument, const lw_shard_row *row) {
    hands *self = argument;
    self->seen += row->shard.id != 0;
    return true;
}

LW_YIELDS static void look_at_everything(hands *self) {
    lw_client *client = self->client;
    lw_bytes json;
    (void)!lw_ping(client);
    (void)!lw_node_status(client, &json);
    (void)!lw_operate_shards(client, see_shard, self);
    (void)!lw_operate_nodes(client, see_member, self);
    (void)!lw_operate_events(client, 0, see_event, self);
    (void)!lw_operate_plan(client, see_plan, self);
    (void)!lw_operate_tokens(client, see_token, self);
}

/* ---- transactions and shards ---------------------------------------------------------------- */

/* Any of those that hold a lock, or wait for one. */
static bool choose_transaction(void *argument, const lw_lock_row *row) {
    hands *self = argument;
    bool waiter = row->wait_count > 0 && below(self, 3) == 0;
    if (below(self, ++self->seen) == 0) {
        self->chosen = waiter ? row->waits[0].start : row->start;
    }
    return true;
}

LW_YIELDS static void kill_transaction(hands *self) {
    uint64_t commit_timestamp;
    self->chosen = self->seen = 0;
    if (lw_operate_locks(self->client, LOCKS_A_PAGE, choose_transaction, self) == LW_OK &&
        self->chosen != 0) {
        (void)!lw_operate_kill(self->client, self->chosen, &commit_timestamp);
    }
}

LW_YIELDS static void split_shard(hands *self) {
    char key[24];
    unsigned owner = (unsigned)below(self, 4), number = (unsigned)below(self, LW_OWN_KEYS);
    int size = snprintf(key, sizeof(key), "own/%u/%02u", owner, number);
    if (self->splits++ < SPLITS_MAX) {
        (void)!lw_split(self->client, lw_view(key, (size_t)size));
    }
}

/* ---- tokens and strangers ------------------------------------------------------------------- */

static void stranger_died(void *argument, const lw_error *reason) {
    (void)argument;
    (void)reason;
}

/* Only on what all members know is it relied: a node that was made anew may not have heard. */
LW_YIELDS static void stranger_main(void *argument) {
    stranger *self = argument;
    lw_sim_trial *it = self->of;
    lw_node_options options = {.directory = "data",
                               .listen = "stranger:7871",
                               .memory_size = it->memory_size,
                               .join = it->addresses,
                               .token = self->token,
                               .version = LW_VERSION,
                               .died = stranger_died};
    if (lw_node_open(self->env, &options, &self->node) == LW_OK) {
        lw_sim_broken(it, "tokens", "one that was revoked, or made up, let somebody in");
        it->damaged = true;
    }
}

static void send_stranger_away(void *run) {
    lw_sim_trial *it = run;
    lw_host *host = lw_world_host(it->world, "stranger");
    if (lw_host_running(host)) {
        lw_host_kill(host);
    }
}

static void let_stranger_try(void *run) {
    lw_sim_trial *it = run;
    lw_host *host = lw_world_host(it->world, "stranger");
    if (it->bad_token[0] == '\0' || !it->troubled || lw_host_running(host)) {
        return;
    }
    lw_env *env = lw_host_boot(host);
    stranger *self = lw_allocate_zero(env->memory, sizeof(*self));
    *self = (stranger){.of = it, .env = env};
    memcpy(self->token, it->bad_token, sizeof(self->token));
    lw_env_start(env, "stranger", stranger_main, self);
    lw_sim_after(it, STRANGER_MS, send_stranger_away);
}

typedef struct knowing {
    uint64_t members, knowing;
} knowing;

static void see_who_knows(void *argument, uint64_t node, bool knows) {
    knowing *all = argument;
    all->members += node != 0;
    all->knowing += knows;
}

/* Whether everybody keeps a disk all along, so that nobody forgets what it was told. */
static bool nobody_is_new(const lw_sim_trial *it) {
    bool old = true;
    for (uint32_t index = 0; index < it->node_count; index++) {
        old = old && it->nodes[index].id != 0 && !it->nodes[index].replaced;
    }
    return old;
}

/* A token is made, and revoked, or spoilt; then somebody comes with it. */
LW_YIELDS static void revoke_token(hands *self) {
    lw_sim_trial *it = self->of;
    lw_node *maker = lw_sim_serving(draw_node(self));
    lw_token token;
    char text[LW_NODE_TOKEN_SIZE];
    if (maker == NULL || it->node_count == 1 || it->options->scenario->lose_percent > 0) {
        return;
    }
    lw_node_token(maker, 0, text);
    lw_status parsed = lw_token_parse(lw_text(text), &token);
    LW_ASSERT(parsed == LW_OK);
    if (below(self, 3) == 0) {
        token.secret[below(self, sizeof(token.secret))] ^= 1;
    } else {
        knowing all = {0};
        lw_revoke_request request = {
            .id = token.id, .cluster_id = lw_view(token.cluster_id, sizeof(token.cluster_id))};
        lw_status status = lw_operate_revoke(self->client, &request, see_who_knows, &all);
        if (status != LW_OK || all.knowing < all.members || !nobody_is_new(it) ||
            all.members < it->node_count) {
            return;
        }
    }
    lw_token_print(&token, it->bad_token);
    lw_sim_after(it, 1, let_stranger_try);
}

/* Somebody who speaks no protocol of ours connects, and is turned away. */
LW_YIELDS static void send_nonsense(hands *self) {
    uint8_t bytes[NONSENSE_SIZE_MAX];
    lw_handle socket = LW_NO_HANDLE;
    lw_env *env = self->env;
    uint64_t until_ns = lw_env_now(env) + NONSENSE_MS * LW_SIM_NS_PER_MS;
    size_t size = 1 + (size_t)below(self, sizeof(bytes)), read_size = 1;
    for (size_t at = 0; at < size; at++) {
        bytes[at] = (uint8_t)below(self, 256);
    }
    if (lw_socket_connect(env, draw_node(self)->address, until_ns, &socket) != LW_OK) {
        return;
    }
    lw_status status = lw_socket_send(env, socket, lw_view(bytes, size), until_ns);
    while (status == LW_OK && read_size > 0) {
        status = lw_socket_receive(env, socket, bytes, sizeof(bytes), until_ns, &read_size);
    }
    lw_socket_close(env, socket);
}

/* ---- members -------------------------------------------------------------------------------- */

/* Asks any node to take this one out, or that node itself. LW_REFUSED if it is seen to live. */
LW_YIELDS static lw_status ask_to_expel(const hands *self, const lw_sim_member *node) {
    lw_client_options options = {.address = node->address, .label = "hands", .timeout_ms = ASK_MS};
    lw_client *client = NULL;
    if (below(self, 2) == 0) {
        return lw_operate_leave(self->client, node->id, true);
    }
    lw_status opened = lw_client_open_in(self->env, &options, &client);
    LW_ASSERT(opened == LW_OK);
    lw_status status = lw_operate_leave(client, node->id, true);
    lw_close(client);
    return status;
}

/* Somebody takes a node for lost that lives, and that all shards can do without: it ends, once it
 * hears of that, and somebody new joins from its machine. It does not leave in good order. */
LW_YIELDS static void expel_node(hands *self) {
    lw_sim_trial *it = self->of;
    lw_sim_member *node = draw_node(self);
    uint32_t staying = 0, place = (uint32_t)(node - it->nodes);
    for (uint32_t index = 0; index < it->node_count; index++) {
        const lw_sim_member *each = &it->nodes[index];
        if (each->id == 0 || each->lost_id != 0 || each->expelled) {
            return; /* one at a time */
        }
        staying += !each->leaving && !each->out;
    }
    if (staying >= EXPEL_MIN_NODES && !node->leaving && !node->out &&
        lw_sim_watch_dispensable(it, place) && !lw_sim_watch_source(it, place)) {
        node->expelled = true;
        node->expelled = ask_to_expel(self, node) != LW_REFUSED;
    }
}

/* ---- all of it ------------------------------------------------------------------------------ */

LW_YIELDS static void do_something(hands *self) {
    deed what = (deed)below(self, DEED_COUNT);
    bool many = self->of->node_count >= EXPEL_MIN_NODES;
    what = many && below(self, EXPEL_PART) == 0 ? DEED_EXPEL : what; /* seldom may it be done */
    if (!self->does[what]) {
        return;
    }
    switch (what) {
    case DEED_LOOK:
        look_at_everything(self);
        break;
    case DEED_KILL:
        kill_transaction(self);
        break;
    case DEED_SPLIT:
        split_shard(self);
        break;
    case DEED_STOP:
        lw_sim_stop_node(draw_node(self));
        break;
    case DEED_REVOKE:
        revoke_token(self);
        break;
    case DEED_EXPEL:
        expel_node(self);
        break;
    case DEED_NONSENSE:
        send_nonsense(self);
        break;
    case DEED_COUNT:
        break;
    }
}

LW_YIELDS static void hands_main(void *argument) {
    hands *self = argument;
    lw_sim_trial *it = self->of;
    lw_client_options options = {.address = it->addresses, .label = "hands", .timeout_ms = ASK_MS};
    lw_status opened = lw_client_open_in(self->env, &options, &self->client);
    LW_ASSERT(opened == LW_OK);
    while (it->troubled) {
        lw_env_sleep(self->env, below(self, 2 * (uint64_t)self->every_ms) * LW_SIM_NS_PER_MS);
        if (it->troubled) {
            do_something(self);
        }
    }
    lw_close(self->client);
}

/* Somebody who cannot decide who is to give timestamps: it is another node again and again, which
 * nobody notices (hazard T8). */
LW_YIELDS static void juggler_main(void *argument) {
    hands *self = argument;
    lw_sim_trial *it = self->of;
    lw_client_options options = {
        .address = it->addresses, .label = "juggler", .timeout_ms = ASK_MS};
    lw_status opened = lw_client_open_in(self->env, &options, &self->client);
    LW_ASSERT(opened == LW_OK);
    while (it->troubled) {
        lw_env_sleep(self->env, below(self, JUGGLER_RESTS_NS));
        for (uint64_t count = below(self, JUGGLER_THROWS_MAX); count > 0 && it->troubled; count--) {
            (void)!lw_operate_transfer(self->client, (lw_bytes){0}, draw_node(self)->id);
            lw_env_sleep(self->env, below(self, JUGGLER_CATCH_NS));
        }
    }
    lw_close(self->client);
}

static void begin_to_juggle(lw_sim_trial *it) {
    lw_chance chance = lw_world_chance(it->world, "juggler");
    if (it->node_count > 1 && lw_chance_percent(&chance, JUGGLERS_PERCENT)) {
        lw_env *env = lw_host_boot(lw_world_host(it->world, "juggler"));
        hands *self = lw_allocate_zero(env->memory, sizeof(*self));
        *self = (hands){.of = it, .env = env};
        lw_env_start(env, "juggler", juggler_main, self);
    }
}

void lw_sim_lay_hands(lw_sim_trial *it) {
    begin_to_juggle(it);
    lw_chance chance = lw_world_chance(it->world, "hands");
    if (!lw_chance_percent(&chance, RUNS_PERCENT)) {
        return;
    }
    lw_env *env = lw_host_boot(lw_world_host(it->world, "hands"));
    hands *self = lw_allocate_zero(env->memory, sizeof(*self));
    *self = (hands){.of = it, .env = env};
    self->every_ms = means_ms[lw_chance_below(&chance, sizeof(means_ms) / sizeof(means_ms[0]))];
    for (int index = 0; index < DEED_COUNT; index++) {
        self->does[index] = lw_chance_percent(&chance, 60);
    }
    if (it->options->scenario->damage || it->options->scenario->copy_percent > 0) {
        self->does[DEED_STOP] = false; /* what has rotted is found only once it is vouched for; and
                                          who starts may meet a copy first (sim/clone.c) */
    }
    /* Who is killed is told so, and readers may be sent away by who stops. */
    it->workload.undisturbed &= !self->does[DEED_KILL] && !self->does[DEED_STOP];
    it->workload.prompt &= it->workload.undisturbed;
    lw_env_start(env, "hands", hands_main, self);
}
