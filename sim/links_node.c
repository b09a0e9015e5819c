/* SPDX-License-Identifier: Apache-2.0 */
/* One process of scenario links: a server, peers, and what it says to others.
 *
 *   message = "said" · place u32 · incarnation u64 · life u64 · number u64 · hash of all that u64
 */
#include "sim/links.h"

enum {
    MESSAGE_SIZE = 40,
    HASHED_SIZE = 32,
    PAUSE_MS_MAX = 60,
    ASK_PERCENT = 20,
    ASK_MS = 1000,
    QUESTION_SIZE = 16,
};

bool links_up(const links_node *node) {
    return node->env != NULL && node->peers != NULL && node->server != NULL &&
           lw_host_running(node->host);
}

void links_identity(const lw_shared_key *key, uint32_t number, lw_node_identity *identity) {
    uint8_t seed[LW_SEED_SIZE];
    memset(seed, (int)number + 1, sizeof(seed));
    *identity = (lw_node_identity){.incarnation = 1};
    if (key != NULL) {
        identity->lattice = *key;
    }
    lw_identity_derive(seed, &identity->keys);
    memset(identity->exchange_secret, (int)number + 101, LW_EXCHANGE_SIZE);
    lw_exchange_public(identity->exchange_secret, identity->exchange_public);
    identity->node_id = lw_identity_number(identity->keys.public_key);
}

/* ---- what it hears ----------------------------------------------------------------------------
 */

static void take_message(void *argument, uint64_t from, lw_bytes message) {
    links_node *self = argument;
    lw_sim_links *of = self->of;
    const uint8_t *at = message.data;
    if (self->as >= LINKS_NODES_MAX || self->place == LINKS_COPY) {
        return;
    }
    if (message.size != MESSAGE_SIZE || memcmp(at, "said", 4) != 0 ||
        lw_get_u64(at + HASHED_SIZE) != lw_hash(0, lw_view(at, HASHED_SIZE))) {
        lw_sim_broken_first(of->of, "messages", "node%u took %u bytes that nobody said",
                            (unsigned)self->place + 1, (unsigned)message.size);
        return;
    }
    uint32_t place = lw_get_u32(at + 4);
    uint64_t incarnation = lw_get_u64(at + 8), life = lw_get_u64(at + 16);
    uint64_t number = lw_get_u64(at + 24);
    if (place >= of->node_count || of->nodes[place].id != from) {
        lw_sim_broken_first(of->of, "messages", "node%u took what another one said",
                            (unsigned)self->place + 1);
        return;
    }
    links_heard *heard = &self->heard[place];
    if (incarnation < heard->incarnation) {
        lw_sim_broken_first(of->of, "old copies",
                            "node%u listens to node%u of incarnation %u, and knows %u",
                            (unsigned)self->place + 1, (unsigned)place + 1, (unsigned)incarnation,
                            (unsigned)heard->incarnation);
    }
    if (life == heard->life && number <= heard->number) {
        lw_sim_broken_first(of->of, "messages", "node%u heard number %u of node%u after number %u",
                            (unsigned)self->place + 1, (unsigned)number, (unsigned)place + 1,
                            (unsigned)heard->number);
    }
    *heard = (links_heard){.incarnation = incarnation, .life = life, .number = number};
    of->arrived++;
}

LW_YIELDS static lw_status answer(void *argument, uint64_t from, const lw_request *request,
                                  lw_buffer *body) {
    (void)argument;
    (void)from;
    lw_buffer_append(body, request->body);
    return LW_OK;
}

static void link_changed(void *argument, uint64_t other, bool up) {
    const links_node *self = argument;
    char text[64];
    (void)snprintf(text, sizeof(text), "%016llx %s", (unsigned long long)other, up ? "up" : "down");
    lw_host_note(self->host, "link", text);
}

static bool is_revoked(void *argument, uint64_t token) {
    (void)argument;
    return token == LINKS_TOKEN_REVOKED;
}

LW_YIELDS static lw_status take_in(void *argument, const lw_peer_card *newcomer,
                                   lw_buffer *members) {
    (void)argument;
    (void)newcomer;
    lw_buffer_append(members, lw_text("all of them"));
    return LW_OK;
}

/* An old copy is told so, and goes on here: what it says is not to be believed. */
static void told_to_stop(void *argument, const lw_error *reason) {
    const links_node *self = argument;
    if (self->place < LINKS_NODES_MAX) {
        lw_sim_broken_first(self->of->of, "impostors", "node%u was told: %.150s",
                            (unsigned)self->place + 1, reason->text);
    }
}

/* ---- what it says -----------------------------------------------------------------------------
 */

static void say(links_node *self, const links_node *to) {
    uint8_t message[MESSAGE_SIZE] = "said";
    lw_put_u32(message + 4, self->as);
    lw_put_u64(message + 8, self->incarnation);
    lw_put_u64(message + 16, self->life);
    lw_put_u64(message + 24, ++self->number);
    lw_put_u64(message + HASHED_SIZE, lw_hash(0, lw_view(message, HASHED_SIZE)));
    (void)lw_peers_send(self->peers, to->id, lw_view(message, sizeof(message)));
}

LW_YIELDS static void question(links_node *self, const links_node *to) {
    uint8_t bytes[QUESTION_SIZE];
    lw_put_u64(bytes, self->life);
    lw_put_u64(bytes + 8, ++self->number);
    lw_request request = {
        .kind = LW_MESSAGE_GET, .shard = 1, .body = lw_view(bytes, sizeof(bytes))};
    lw_buffer body = lw_buffer_in(self->env->memory);
    lw_status status = lw_peers_ask(self->peers, to->id, &request,
                                    lw_env_now(self->env) + ASK_MS * LW_SIM_NS_PER_MS, &body);
    if (status == LW_OK && !lw_equal(lw_buffer_view(&body), request.body)) {
        lw_sim_broken_first(self->of->of, "messages", "an answer is not that of its question");
    }
    lw_buffer_reset(&body);
}

LW_YIELDS static void talk(links_node *self) {
    lw_sim_links *of = self->of;
    lw_env *env = self->env;
    for (;;) {
        const links_node *to = &of->nodes[lw_env_random_below(env, of->node_count)];
        if (to->id == self->id) {
            lw_env_sleep(env, LW_SIM_NS_PER_MS);
        } else if (lw_env_random_below(env, 100) < ASK_PERCENT) {
            question(self, to);
        } else {
            say(self, to);
        }
        lw_env_sleep(env, lw_env_random_below(env, PAUSE_MS_MAX * LW_SIM_NS_PER_MS));
    }
}

/* ---- starting ---------------------------------------------------------------------------------
 */

static lw_status no_request(void *argument, const lw_request *request, uint64_t session,
                            lw_buffer *body) {
    (void)argument;
    (void)request;
    (void)session;
    (void)body;
    return LW_OK;
}

static uint64_t no_spare(void *argument) {
    (void)argument;
    return 0;
}

static void no_session(void *argument, uint64_t session) {
    (void)argument;
    (void)session;
}

static void peer_comes(void *argument, lw_handle socket, lw_bytes received) {
    lw_peers_take(((links_node *)argument)->peers, socket, received);
}

/* Where others are told that it is: of the first one, in some runs, with who stands between. */
static void tell_address(const links_node *node, char address[LW_ADDRESS_SIZE]) {
    bool between = node->of->between && node->place == 0;
    (void)snprintf(address, LW_ADDRESS_SIZE, "%s", between ? "middle:7000" : node->address);
}

typedef struct beginning {
    links_node *node;
    bool seeks;
} beginning;

static void meet_all(links_node *self, bool seeks) {
    lw_sim_links *of = self->of;
    char address[LW_ADDRESS_SIZE], all[LINKS_NODES_MAX * LW_ADDRESS_SIZE] = "";
    for (uint32_t place = 0; place < of->node_count; place++) {
        const links_node *other = &of->nodes[place];
        if (other->id == self->id) {
            continue;
        }
        tell_address(other, address);
        size_t size = strlen(all);
        (void)snprintf(all + size, sizeof(all) - size, "%s%s", size > 0 ? "," : "", address);
        if (seeks) {
            (void)snprintf(address, sizeof(address), "%s:1", lw_host_name(other->host));
        }
        lw_peers_set(self->peers, other->id, address);
        if (of->watched) {
            lw_peers_watch(self->peers, other->id);
        }
    }
    if (seeks) {
        lw_peers_seek(self->peers, all);
    }
}

LW_YIELDS static void node_main(void *argument) {
    beginning *first = argument;
    links_node *self = first->node;
    char address[LW_ADDRESS_SIZE];
    tell_address(self, address);
    lw_peers_options peers = {.identity = &self->identity,
                              .address = address,
                              .plain = self->plain,
                              .message = take_message,
                              .handle = answer,
                              .link = link_changed,
                              .joins = take_in,
                              .revoked = is_revoked,
                              .impostor = told_to_stop,
                              .argument = self};
    self->peers = lw_peers_open(self->env, &peers);
    lw_server_options server = {.listen = self->address,
                                .node_id = self->identity.node_id,
                                .cluster_id = lw_text("0123456789abcdef"),
                                .version = lw_text("1"),
                                .handle = no_request,
                                .spare = no_spare,
                                .session_ended = no_session,
                                .peer = peer_comes,
                                .argument = self};
    if (lw_server_open(self->env, &server, &self->server) != LW_OK) {
        lw_sim_broken_first(self->of->of, "liveness", "a server does not listen: %s",
                            lw_error_slot()->text);
        return;
    }
    if (self->place >= LINKS_PAIR) {
        const links_node *other = &self->of->nodes[2 * LINKS_PAIR + 1 - self->place];
        lw_peers_set(self->peers, other->id, other->address);
        return;
    }
    meet_all(self, first->seeks);
    talk(self);
}

void links_boot(links_node *node, uint64_t incarnation, bool seeks) {
    lw_sim_links *of = node->of;
    node->env = lw_host_boot(node->host);
    node->peers = NULL;
    node->server = NULL;
    node->life = ++of->lives;
    node->number = 0;
    node->incarnation = incarnation;
    node->awake_ns = lw_world_now(of->of->world);
    memset(node->heard, 0, sizeof(node->heard));
    links_identity(&of->key, node->as, &node->identity);
    links_put_keys(node);
    node->identity.incarnation = incarnation;
    beginning *first = lw_allocate(node->env->memory, sizeof(*first));
    *first = (beginning){.node = node, .seeks = seeks};
    (void)lw_env_start(node->env, "node", node_main, first);
}
