/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that are nothing but a server and their peers, on hosts of one simulated world: for tests
 * of the links between nodes. */
#ifndef LW_TESTS_PEERS_WORLD_H
#define LW_TESTS_PEERS_WORLD_H

#include "node/peers.h"
#include "node/peers_handshake.h"
#include "node/server.h"
#include "sim/world.h"
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>

enum { NODES_MAX = 4, LAST_SIZE = 256 };

#define SECOND (UINT64_C(1000000000))
#define MS     (UINT64_C(1000000))

typedef struct lattice lattice;

/* One process. */
typedef struct node {
    lattice *in;
    lw_host *host;
    lw_env *env;
    lw_node_identity identity;
    char address[64];
    const char *stated; /* the address that it tells others; NULL: the same */
    bool plain, quiet;  /* quiet: its handler waits until `gate` is woken */
    lw_server *server;
    lw_peers *peers;
    lw_queue gate;
    bool closed;

    /* What it was told. */
    uint64_t messages, bytes, handled, waiting;
    uint64_t last_from;
    char last[LAST_SIZE];
    uint32_t ups, downs;
    lw_error impostor;
    uint64_t revoked;    /* a token id */
    uint64_t not_wanted; /* a node that is not let in */
    uint64_t newcomer;
    /* In order: each message of 8 bytes is one higher than the one before. */
    uint64_t sequence, out_of_order;
} node;

struct lattice {
    lw_world *world;
    lw_shared_key key;
    node nodes[NODES_MAX];
};

/* ---- callbacks ---------------------------------------------------------------------------- */

static inline void node_message(void *argument, uint64_t from, lw_bytes message) {
    node *self = argument;
    self->messages++;
    self->bytes += message.size;
    self->last_from = from;
    (void)snprintf(self->last, sizeof(self->last), "%.*s", (int)message.size,
                   message.size > 0 ? (const char *)message.data : "");
    if (message.size == 8) {
        uint64_t number = lw_get_u64(message.data);
        self->out_of_order += number > self->sequence ? 0 : 1;
        self->sequence = number;
    }
}

LW_YIELDS static inline lw_status node_handle(void *argument, uint64_t from,
                                              const lw_request *request, lw_buffer *body) {
    node *self = argument;
    self->last_from = from;
    if (self->quiet) {
        self->waiting++;
        lw_queue_wait(&self->gate);
        self->waiting--;
    }
    self->handled++;
    lw_buffer_append(body, request->body);
    return lw_equal(request->body, lw_text("fail")) ? lw_fail(LW_FULL, "as \"asked\"") : LW_OK;
}

static inline void node_link(void *argument, uint64_t other, bool up) {
    node *self = argument;
    (void)other;
    self->ups += up ? 1 : 0;
    self->downs += up ? 0 : 1;
}

static inline lw_status node_admit(void *argument, const lw_peer_card *card, bool *gone) {
    const node *self = argument;
    *gone = card->node_id == self->not_wanted;
    return *gone ? lw_fail(LW_REFUSED, "this node left the lattice for good") : LW_OK;
}

LW_YIELDS static inline lw_status node_joins(void *argument, const lw_peer_card *newcomer,
                                             lw_buffer *members) {
    node *self = argument;
    if (newcomer->node_id == self->not_wanted) {
        return lw_fail(LW_REFUSED, "there are nodes enough");
    }
    self->newcomer = newcomer->node_id;
    lw_buffer_append(members, lw_text("the members"));
    return LW_OK;
}

static inline bool node_revoked(void *argument, uint64_t token_id) {
    return ((const node *)argument)->revoked == token_id;
}

static inline void node_impostor(void *argument, const lw_error *reason) {
    ((node *)argument)->impostor = *reason;
}

static inline lw_status node_request(void *argument, const lw_request *request, uint64_t session,
                                     lw_buffer *body) {
    (void)argument;
    (void)session;
    (void)request;
    (void)body;
    return LW_OK;
}

static inline uint64_t node_spare(void *argument) {
    (void)argument;
    return 0;
}

static inline void node_session_ended(void *argument, uint64_t session) {
    (void)argument;
    (void)session;
}

static inline void node_peer(void *argument, lw_handle socket, lw_bytes received) {
    lw_peers_take(((node *)argument)->peers, socket, received);
}

/* ---- nodes -------------------------------------------------------------------------------- */

/* An identity as the folder would have it. */
static inline void make_identity(uint8_t number, const lw_shared_key *key,
                                 lw_node_identity *identity) {
    uint8_t seed[LW_SEED_SIZE];
    memset(seed, number, sizeof(seed));
    *identity = (lw_node_identity){.incarnation = 1};
    if (key != NULL) {
        identity->lattice = *key;
    }
    lw_identity_derive(seed, &identity->keys);
    memset(identity->exchange_secret, number + 100, LW_EXCHANGE_SIZE);
    lw_exchange_public(identity->exchange_secret, identity->exchange_public);
    identity->node_id = lw_identity_number(identity->keys.public_key);
}

LW_YIELDS static inline void node_listen(node *self, const char *address, lw_server **opened) {
    lw_server_options server = {.listen = address,
                                .node_id = self->identity.node_id,
                                .cluster_id = lw_text("0123456789abcdef"),
                                .version = lw_text("1"),
                                .handle = node_request,
                                .spare = node_spare,
                                .session_ended = node_session_ended,
                                .peer = node_peer,
                                .argument = self};
    if (lw_server_open(self->env, &server, opened) != LW_OK) {
        (void)fprintf(stderr, "no server: %s\n", lw_error_slot()->text);
    }
}

LW_YIELDS static inline void node_main(void *argument) {
    node *self = argument;
    lw_peers_options peers = {.identity = &self->identity,
                              .address = self->stated != NULL ? self->stated : self->address,
                              .plain = self->plain,
                              .message = node_message,
                              .handle = node_handle,
                              .link = node_link,
                              .admit = node_admit,
                              .joins = node_joins,
                              .revoked = node_revoked,
                              .impostor = node_impostor,
                              .argument = self};
    self->peers = lw_peers_open(self->env, &peers);
    node_listen(self, self->address, &self->server);
}

static inline void run_for(lattice *in, uint64_t ns) {
    (void)lw_world_run(in->world, lw_world_now(in->world) + ns);
}

/* Starts node `number` (its host if need be), in the next incarnation. */
static inline node *boot(lattice *in, uint32_t number) {
    node *self = &in->nodes[number];
    uint64_t incarnation = self->identity.incarnation;
    self->env = lw_host_boot(self->host);
    make_identity((uint8_t)(number + 1), &in->key, &self->identity);
    self->identity.incarnation += incarnation;
    self->peers = NULL;
    self->server = NULL;
    self->gate = (lw_queue){0};
    self->waiting = 0;
    lw_env_start(self->env, "node", node_main, self);
    run_for(in, 10 * MS);
    return self;
}

static const char *peers_planted; /* a bug; NULL: none */

static inline lattice *open_lattice(uint64_t seed, const lw_faults *faults) {
    static const char *const names[NODES_MAX] = {"alpha", "beta", "gamma", "delta"};
    lattice *in = calloc(1, sizeof(*in));
    in->world = lw_world_open(seed, faults);
    if (peers_planted != NULL) {
        lw_world_plant(in->world, peers_planted);
    }
    in->key.epoch = 1;
    memset(in->key.id, 7, sizeof(in->key.id));
    memset(in->key.key, 9, sizeof(in->key.key));
    for (uint32_t number = 0; number < NODES_MAX; number++) {
        node *self = &in->nodes[number];
        self->in = in;
        self->host = lw_world_host(in->world, names[number]);
        (void)snprintf(self->address, sizeof(self->address), "%s:7871", names[number]);
    }
    return in;
}

static inline void close_lattice(lattice *in) {
    lw_world_close(in->world);
    free(in);
}

static inline lattice *open_quiet(uint64_t seed) {
    lw_faults none = lw_faults_none();
    return open_lattice(seed, &none);
}

static inline uint64_t id_of(const node *self) {
    return self->identity.node_id;
}

/* Lets `from` know `to`, and waits until they are linked both ways. */
static inline void acquaint(node *from, const node *to) {
    lw_peers_set(from->peers, id_of(to), to->address);
    run_for(from->in, 100 * MS);
}

static inline bool up(const node *from, const node *to) {
    return lw_peers_up(from->peers, id_of(to));
}

static inline void say(node *from, const node *to, const char *text) {
    (void)lw_peers_send(from->peers, id_of(to), lw_text(text));
}

/* ---- requests ----------------------------------------------------------------------------- */

typedef struct question {
    node *from;
    uint64_t to;
    lw_bytes body;
    uint64_t timeout_ns;
    lw_status status;
    char error[LW_ERROR_TEXT_SIZE];
    lw_buffer answer; /* of the node's memory */
    bool done;
} question;

LW_YIELDS static inline void question_main(void *argument) {
    question *one = argument;
    lw_request request = {.kind = LW_MESSAGE_GET, .shard = 1, .body = one->body};
    one->answer = lw_buffer_in(one->from->env->memory);
    one->status = lw_peers_ask(one->from->peers, one->to, &request,
                               lw_env_now(one->from->env) + one->timeout_ns, &one->answer);
    if (one->status != LW_OK) {
        (void)snprintf(one->error, sizeof(one->error), "%s", lw_error_slot()->text);
    }
    one->done = true;
}

static inline void ask(question *one, node *from, const node *to, const char *body) {
    *one =
        (question){.from = from, .to = id_of(to), .body = lw_text(body), .timeout_ns = 5 * SECOND};
    lw_env_start(from->env, "question", question_main, one);
}

#endif
