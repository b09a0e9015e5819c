/* SPDX-License-Identifier: Apache-2.0 */
/* A lattice as its clients see it, with the truth in one place: three nodes in front of the shards
 * of a shard bench. A node is a host that hands bytes on, so that it can be killed, cut off or
 * paused, and a server, which carries out what concerns the shards that it is said to lead, and
 * sends who asks for others on, with right hints, wrong ones or none. Who leads what is the test's
 * to say: a request that was under way while its shard went to another node is carried out, and
 * answered LW_UNAVAILABLE without a word, as by a node that lost the leadership. */
#ifndef LW_TESTS_CLIENT_LATTICE_H
#define LW_TESTS_CLIENT_LATTICE_H

#include "client/client.h"
#include "lattice/member.h"
#include "node/server.h"
#include "tests/shard_bench.h"

enum { LATTICE_NODES = 3, LATTICE_SHARDS = 2, LATTICE_NOBODY = -1 };

typedef enum lattice_hints { HINTS_RIGHT, HINTS_NONE, HINTS_IN_A_CIRCLE } lattice_hints;
/* What happens to the node that gets a request of the kind that is waited for. */
typedef enum lattice_trap { TRAP_DIES_BEFORE, TRAP_DIES_AFTER, TRAP_FALLS_SILENT, TRAP_MOVES } trap;

struct lattice;
typedef struct lattice_node {
    struct lattice *in;
    int index;
    lw_identity identity;
    uint64_t id;                 /* ascending */
    char listen[24], behind[24]; /* where clients connect, and where the server listens */
    lw_host *host;
    lw_env *env; /* of the process that hands on; NULL: there is none */
    lw_server *server;
    uint64_t slow_ms;
    uint32_t rollbacks; /* requests for one that it got */
} lattice_node;

typedef struct lattice {
    bench bench;
    lattice_node nodes[LATTICE_NODES];
    int leaders[LATTICE_SHARDS];
    uint32_t moves[LATTICE_SHARDS];
    lattice_hints hints;
    lw_message_kind trap_kind; /* 0: none is set */
    trap trap;
    bool leaderless; /* nobody leads after the trap */
    uint32_t trapped;
    uint32_t asked[64]; /* requests by kind, of all nodes */
    lw_host *client_host;
    lw_env *env; /* of the clients */
    uint32_t opening, working;
} lattice;

/* ---- nodes that hand bytes on --------------------------------------------------------------- */

/* The two connections of a client's: one way or the other. */
typedef struct lattice_pair {
    lw_env *env;
    lw_handle ends[2];
    bool closed;
} lattice_pair;

LW_YIELDS static inline void lattice_pipe(lattice_pair *pair, int from) {
    uint8_t bytes[4096];
    size_t size = 1;
    while (size > 0 && !pair->closed) {
        if (lw_socket_receive(pair->env, pair->ends[from], bytes, sizeof(bytes), 0, &size) !=
            LW_OK) {
            break;
        }
        if (size == 0 || pair->closed ||
            lw_socket_send(pair->env, pair->ends[1 - from], lw_view(bytes, size), 0) != LW_OK) {
            break;
        }
    }
    if (!pair->closed) { /* the other way hears of it */
        pair->closed = true;
        lw_socket_close(pair->env, pair->ends[0]);
        lw_socket_close(pair->env, pair->ends[1]);
    }
}

static inline void lattice_up_main(void *argument) {
    lattice_pipe(argument, 0);
}
static inline void lattice_down_main(void *argument) {
    lattice_pipe(argument, 1);
}

static inline void lattice_hand_on_main(void *argument) {
    lattice_node *at = argument;
    lw_env *env = at->env;
    lw_handle listener, near_end, far_end;
    uint16_t port;
    if (lw_socket_listen(env, at->listen, &listener, &port) != LW_OK) {
        return;
    }
    while (lw_socket_accept(env, listener, &near_end) == LW_OK) {
        if (lw_socket_connect(env, at->behind, 0, &far_end) != LW_OK) {
            lw_socket_close(env, near_end);
            continue;
        }
        lattice_pair *pair = lw_allocate(env->memory, sizeof(*pair));
        *pair = (lattice_pair){.env = env, .ends = {near_end, far_end}};
        lw_env_start(env, "up", lattice_up_main, pair);
        lw_env_start(env, "down", lattice_down_main, pair);
    }
}

static inline void lattice_boot(lattice_node *at) {
    if (at->env == NULL) {
        at->env = lw_host_boot(at->host);
        lw_env_start(at->env, "hands on", lattice_hand_on_main, at);
    }
}

static inline void lattice_kill(lattice_node *at) {
    if (at->env != NULL) {
        at->env = NULL;
        lw_host_kill(at->host);
    }
}

static inline void lattice_boot_now(void *argument) {
    lattice_boot(argument);
}
static inline void lattice_kill_now(void *argument) {
    lattice_kill(argument);
}
static inline void lattice_pause_now(void *argument) {
    const lattice_node *at = argument;
    lw_host_pause(at->host, 20000 * BENCH_MS);
}

/* Does one of these to a node from within a fiber: between two steps. */
static inline void lattice_soon(lattice_node *at, void (*what)(void *argument)) {
    lw_world_at(at->in->bench.world, lw_world_now(at->in->bench.world), what, at);
}
/* The same, for a story, which waits for it. */
LW_YIELDS static inline void lattice_do(lattice_node *at, void (*what)(void *argument)) {
    lattice_soon(at, what);
    lw_env_sleep(at->in->env, BENCH_MS);
}

/* ---- who leads ------------------------------------------------------------------------------ */

static inline int lattice_slot(const lattice *in, uint64_t shard) {
    for (uint32_t slot = 0; slot < lw_shards_count(in->bench.shards); slot++) {
        lw_shard_descriptor described;
        lw_replica_descriptor(lw_shards_at(in->bench.shards, slot), &described);
        if (described.id == shard) {
            return (int)slot;
        }
    }
    return -1;
}

static inline void lattice_move(lattice *in, uint32_t slot, int leader) {
    lw_shard_descriptor shard;
    if (in->leaders[slot] == leader) {
        return;
    }
    in->leaders[slot] = leader;
    in->moves[slot]++;
    lw_replica_descriptor(lw_shards_at(in->bench.shards, slot), &shard);
    lw_lock_table_clear_range(lw_shards_locks(in->bench.shards), shard.start, shard.end);
}

static inline void lattice_describe(const lattice_node *at, uint32_t slot,
                                    lw_shard_descriptor *shard) {
    const lattice *in = at->in;
    lw_replica_descriptor(lw_shards_at(in->bench.shards, slot), shard);
    int leader = in->hints == HINTS_NONE    ? LATTICE_NOBODY
                 : in->hints == HINTS_RIGHT ? in->leaders[slot]
                                            : (at->index + 1) % LATTICE_NODES;
    shard->leader = leader == LATTICE_NOBODY ? 0 : in->nodes[leader].id;
    shard->leader_address =
        leader == LATTICE_NOBODY ? (lw_bytes){0} : lw_text(in->nodes[leader].listen);
    shard->replica_count = LATTICE_NODES;
    for (uint32_t index = 0; index < LATTICE_NODES; index++) {
        shard->replicas[index] = (lw_shard_replica){in->nodes[index].id, LW_REPLICA_VOTER};
    }
}

static inline void lattice_topology(const lattice_node *at, lw_buffer *body) {
    lw_shard_descriptor shards[LATTICE_SHARDS];
    uint32_t count = lw_shards_count(at->in->bench.shards);
    for (uint32_t slot = 0; slot < count; slot++) {
        lattice_describe(at, slot, &shards[slot]);
    }
    lw_topology_encode(shards, count, body);
}

static inline void lattice_members(const lattice *in, lw_buffer *body) {
    static const uint8_t cluster[LW_MEMBER_CLUSTER_SIZE] = "0123456789abcde";
    lw_member_row rows[LATTICE_NODES];
    lw_buffer records[LATTICE_NODES];
    for (uint64_t index = 0; index < LATTICE_NODES; index++) {
        lw_member member = {.node = in->nodes[index].id,
                            .state = LW_MEMBER_UP,
                            .address = lw_text(in->nodes[index].listen)};
        records[index] = lw_buffer_in(body->memory);
        lw_member_encode(&member, cluster, &in->nodes[index].identity, &records[index]);
        rows[index] = (lw_member_row){.record = lw_buffer_view(&records[index])};
    }
    lw_member_rows_encode(rows, LATTICE_NODES, body);
    for (uint64_t index = 0; index < LATTICE_NODES; index++) {
        lw_buffer_reset(&records[index]);
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

static inline void lattice_spring(lattice_node *at, int slot) {
    lattice *in = at->in;
    in->trap_kind = (lw_message_kind)0;
    in->trapped++;
    int next = in->leaderless ? LATTICE_NOBODY : (at->index + 1) % LATTICE_NODES;
    if (in->trap != TRAP_MOVES) {
        lattice_soon(at, in->trap == TRAP_FALLS_SILENT ? lattice_pause_now : lattice_kill_now);
    }
    for (uint32_t other = 0; other < LATTICE_SHARDS; other++) {
        if (in->leaders[other] == at->index || (int)other == slot) {
            lattice_move(in, other, next);
        }
    }
}

LW_YIELDS static inline lw_status lattice_lead(lattice_node *at, const lw_request *request,
                                               uint64_t session, lw_buffer *body) {
    lattice *in = at->in;
    int slot = lattice_slot(in, request->shard);
    if (slot < 0 || in->leaders[slot] != at->index) {
        lattice_topology(at, body);
        return lw_fail(LW_UNAVAILABLE, "node %d does not lead that shard", at->index);
    }
    bool trapped = in->trap_kind == request->kind;
    uint32_t moves = in->moves[slot];
    if (trapped && in->trap == TRAP_DIES_BEFORE) {
        lattice_spring(at, slot);
        return lw_fail(LW_UNAVAILABLE, "it dies");
    }
    lw_status status = lw_shards_execute(in->bench.shards, request, session, body);
    if (trapped && in->trap_kind == request->kind) {
        lattice_spring(at, slot);
    }
    if (in->moves[slot] != moves) {
        lw_buffer_clear(body);
        return lw_fail(LW_UNAVAILABLE, "node %d does not lead that shard any more", at->index);
    }
    return status;
}

LW_YIELDS static inline lw_status lattice_handle(void *argument, const lw_request *request,
                                                 uint64_t session, lw_buffer *body) {
    lattice_node *at = argument;
    at->in->asked[request->kind & 63]++;
    at->rollbacks += request->kind == LW_MESSAGE_ROLLBACK;
    if (request->kind == LW_MESSAGE_PING) {
        return LW_OK;
    }
    if (at->slow_ms > 0) {
        lw_env_sleep(at->in->bench.env, at->slow_ms * BENCH_MS);
    }
    if (request->kind == LW_MESSAGE_TOPOLOGY) {
        lattice_topology(at, body);
        return LW_OK;
    }
    if (request->kind == LW_MESSAGE_NODES) {
        lattice_members(at->in, body);
        return LW_OK;
    }
    return lattice_lead(at, request, session, body);
}

static inline uint64_t lattice_spare(void *argument) {
    const lattice_node *at = argument;
    return at->in->leaders[0] == at->index ? lw_shards_spare(at->in->bench.shards) : 0;
}

static inline void lattice_session_ended(void *argument, uint64_t session) {
    const lattice_node *at = argument;
    for (uint32_t slot = 0; slot < LATTICE_SHARDS; slot++) {
        if (at->in->leaders[slot] == at->index) {
            lw_replica_session_ended(lw_shards_at(at->in->bench.shards, slot), session);
        }
    }
    lw_lock_table_session_ended(lw_shards_locks(at->in->bench.shards), session);
}

/* ---- opening -------------------------------------------------------------------------------- */

static inline void lattice_open_main(void *argument) {
    lattice_node *at = argument;
    lw_server_options options = {.listen = at->behind,
                                 .node_id = at->id,
                                 .cluster_id = lw_text("0123456789abcdef"),
                                 .version = lw_text("1"),
                                 .handle = lattice_handle,
                                 .spare = lattice_spare,
                                 .session_ended = lattice_session_ended,
                                 .argument = at};
    expect(&at->in->bench, lw_server_open(at->in->bench.env, &options, &at->server) == LW_OK,
           "a node listens");
    at->in->opening--;
}

static inline void lattice_name_nodes(lattice *in) {
    uint64_t last = 0;
    for (uint8_t index = 0, seed_number = 0; index < LATTICE_NODES; seed_number++) {
        uint8_t seed[LW_SEED_SIZE] = {seed_number};
        lattice_node *at = &in->nodes[index];
        lw_identity_derive(seed, &at->identity);
        at->id = lw_identity_number(at->identity.public_key);
        if (at->id > last) {
            last = at->id;
            index++;
        }
    }
}

/* Two shards, split at "m"; node 0 leads the first, node 1 the second. */
static inline void lattice_begin(lattice *in, uint64_t seed, const char *bug) {
    *in = (lattice){.leaders = {0, 1}};
    bench_begin(&in->bench, seed, bug);
    asked *split = bench_ask(&in->bench, LW_MESSAGE_SPLIT, 7);
    lw_split_request_encode(&(lw_split_request){.key = lw_text("m")}, &split->body);
    expect(&in->bench, bench_await(bench_send(split))->status == LW_OK, "there are two shards");
    lattice_name_nodes(in);
    for (int index = 0; index < LATTICE_NODES; index++) {
        lattice_node *at = &in->nodes[index];
        at->in = in;
        at->index = index;
        (void)snprintf(at->listen, sizeof(at->listen), "node%d:7871", index);
        (void)snprintf(at->behind, sizeof(at->behind), "host:%d", 8000 + index);
        char name[16];
        (void)snprintf(name, sizeof(name), "node%d", index);
        at->host = lw_world_host(in->bench.world, name);
        in->opening++;
        lw_env_start(in->bench.env, "server", lattice_open_main, at);
        lattice_boot(at);
    }
    while (in->opening > 0 && lw_world_step(in->bench.world)) {
    }
    in->client_host = lw_world_host(in->bench.world, "client");
    in->env = lw_host_boot(in->client_host);
}

static inline void lattice_end(lattice *in) {
    bench_end(&in->bench);
}

static inline lw_client *lattice_client(lattice *in, const char *addresses, uint32_t timeout_ms) {
    lw_client_options options = {.address = addresses, .label = "tester", .timeout_ms = timeout_ms};
    lw_client *client = NULL;
    expect(&in->bench, lw_client_open_in(in->env, &options, &client) == LW_OK, "a client opens");
    return client;
}

/* Runs body(in) in a fiber of the clients until nobody works any more. */
static inline void lattice_run(lattice *in, void (*body)(void *argument)) {
    in->working = 1;
    lw_env_start(in->env, "story", body, in);
    while (in->working > 0 && lw_world_step(in->bench.world)) {
    }
    expect(&in->bench, in->working == 0, "it ends");
}

#endif
