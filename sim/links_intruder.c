/* SPDX-License-Identifier: Apache-2.0 */
/* Who does not belong into the lattice of scenario links, and has none of its secrets: it stands
 * between two nodes, plays again what it has heard, says garbage, floods, and wants to join. */
#include "sim/links.h"

#include "lattice/token.h"

enum {
    FLOOD_MIN = 300, /* connections */
    FLOOD_MAX = 700,
    FLOOD_STAY_MS = 30000,
    GARBAGE_SIZE = 600,
    JOIN_MS = 3000,
    TUBE_SIZE = 1024,
    LOOK_MS = 50,      /* at whether the other direction is over */
    EARLY_BYTES = 600, /* where the handshake is */
    LATE_BYTES = 6000,
};

static uint64_t below(lw_sim_links *of, uint64_t bound) {
    return lw_chance_below(&of->chance, bound);
}

/* A node that runs; NULL: the one that was drawn does not. */
static const links_node *draw_target(lw_sim_links *of) {
    const links_node *target = &of->nodes[below(of, of->node_count)];
    return links_up(target) ? target : NULL;
}

/* ---- strangers --------------------------------------------------------------------------------
 */

typedef struct stranger {
    lw_sim_links *of;
    char address[32];
    uint64_t stays_ns;
    size_t size;
    uint8_t says[]; /* all of what it has to say */
} stranger;

LW_YIELDS static void stranger_main(void *argument) {
    stranger *one = argument;
    lw_env *env = one->of->intruder;
    uint64_t deadline_ns = lw_env_now(env) + one->stays_ns;
    lw_handle socket = LW_NO_HANDLE;
    uint8_t heard[256];
    size_t size = 1;
    if (lw_socket_connect(env, one->address, deadline_ns, &socket) == LW_OK) {
        bool on = lw_socket_send(env, socket, lw_view(one->says, one->size), deadline_ns) == LW_OK;
        while (on && size > 0) {
            on = lw_socket_receive(env, socket, heard, sizeof(heard), deadline_ns, &size) == LW_OK;
        }
        lw_socket_close(env, socket);
    }
    lw_free(one->of->memory, one);
}

static void knock(lw_sim_links *of, const links_node *at, lw_bytes says, uint64_t stays_ms) {
    stranger *one = lw_allocate(of->memory, sizeof(*one) + says.size);
    *one = (stranger){.of = of, .stays_ns = stays_ms * LW_SIM_NS_PER_MS, .size = says.size};
    memcpy(one->address, at->address, sizeof(one->address));
    memcpy(one->says, says.data, says.size);
    (void)lw_env_start(of->intruder, "stranger", stranger_main, one);
}

/* Many at once, who say too little, and stay. */
LW_YIELDS static void flood(lw_sim_links *of) {
    const links_node *target = draw_target(of);
    uint64_t count = lw_chance_between(&of->chance, FLOOD_MIN, FLOOD_MAX);
    for (uint64_t index = 0; target != NULL && index < count; index++) {
        knock(of, target, lw_text("LW01"), FLOOD_STAY_MS);
        lw_env_sleep(of->intruder, LW_SIM_NS_PER_MS / 2);
    }
}

/* Half of it begins as a member would. */
static void say_garbage(lw_sim_links *of) {
    const links_node *target = draw_target(of);
    uint8_t bytes[GARBAGE_SIZE] = "LW01";
    size_t size = 4 + (size_t)below(of, GARBAGE_SIZE - 4);
    lw_chance_fill(&of->chance, bytes + 4, sizeof(bytes) - 4);
    if (target == NULL) {
        return;
    }
    if (below(of, 2) == 0) {
        lw_buffer greeting = lw_buffer_in(of->memory);
        lw_greeting said = {.protocol_min = LW_PEER_PROTOCOL_MIN,
                            .protocol_max = LW_PEER_PROTOCOL_MAX,
                            .kind = LW_GREETING_NODE,
                            .plain = below(of, 2) == 0,
                            .key_epoch = of->key.epoch};
        memcpy(said.cluster_id, of->key.id, sizeof(said.cluster_id));
        lw_greeting_encode(&said, &greeting);
        lw_step_encode(LW_STEP_NOISE, lw_view(bytes + 100, (size_t)below(of, 200)), &greeting);
        memcpy(bytes, greeting.data, greeting.size);
        size = size < greeting.size ? greeting.size : size;
        lw_buffer_reset(&greeting);
    }
    knock(of, target, lw_view(bytes, size), FLOOD_STAY_MS);
}

/* What one connection said, whatever the node has become since. */
static void replay(lw_sim_links *of) {
    if (of->record_size > 0 && links_up(&of->nodes[0])) {
        knock(of, &of->nodes[0], lw_view(of->record, of->record_size), FLOOD_STAY_MS);
    }
}

/* ---- who stands between -----------------------------------------------------------------------
 */

/* A connection and the one that it is passed on to. */
typedef struct pipe {
    lw_sim_links *of;
    lw_handle ends[2];
    uint32_t tubes; /* that still use it */
    bool over;
} pipe;

/* One direction. */
typedef struct tube {
    pipe *in;
    uint32_t from; /* of the ends */
    bool ends, records;
    uint64_t at; /* the byte that is changed, or behind which it ends; UINT64_MAX: none */
} tube;

static void note_bytes(const tube *one, const uint8_t *bytes, size_t size) {
    lw_sim_links *of = one->in->of;
    size_t room = LINKS_RECORD_SIZE - of->record_size;
    size_t kept = !one->records ? 0 : size < room ? size : room;
    memcpy(of->record + of->record_size, bytes, kept);
    of->record_size += kept;
}

/* Passes on what has come; false: it is over. */
LW_YIELDS static bool pass_on(const tube *one, uint64_t *passed) {
    lw_env *env = one->in->of->intruder;
    uint8_t bytes[TUBE_SIZE];
    size_t size = 0;
    uint64_t until_ns = lw_env_now(env) + LOOK_MS * LW_SIM_NS_PER_MS;
    lw_status status =
        lw_socket_receive(env, one->in->ends[one->from], bytes, sizeof(bytes), until_ns, &size);
    if (status == LW_TIMEOUT) {
        return true;
    }
    if (status != LW_OK || size == 0) {
        return false;
    }
    note_bytes(one, bytes, size);
    bool here = one->at >= *passed && one->at < *passed + size;
    if (here && one->ends) {
        size = one->at - *passed;
    } else if (here) {
        bytes[one->at - *passed] ^= 0x40;
    }
    *passed += size;
    status = lw_socket_send(env, one->in->ends[1 - one->from], lw_view(bytes, size), 0);
    return status == LW_OK && !(here && one->ends);
}

LW_YIELDS static void tube_main(void *argument) {
    tube *one = argument;
    pipe *in = one->in;
    lw_env *env = in->of->intruder;
    uint64_t passed = 0;
    while (!in->over && pass_on(one, &passed)) {
    }
    in->over = true;
    lw_free(in->of->memory, one);
    if (--in->tubes == 0) {
        lw_socket_close(env, in->ends[0]);
        lw_socket_close(env, in->ends[1]);
        lw_free(in->of->memory, in);
    }
}

static void start_tube(pipe *in, uint32_t from) {
    lw_sim_links *of = in->of;
    tube *one = lw_allocate(of->memory, sizeof(*one));
    bool meddles = of->of->troubled && below(of, 100) < 40;
    uint64_t most = below(of, 2) == 0 ? (uint64_t)EARLY_BYTES : (uint64_t)LATE_BYTES;
    *one = (tube){.in = in,
                  .from = from,
                  .ends = below(of, 3) == 0,
                  .records = from == 0 && of->dialled == 1};
    one->at = meddles ? below(of, most) : UINT64_MAX;
    in->tubes++;
    (void)lw_env_start(of->intruder, "tube", tube_main, one);
}

/* The first node is reached through here. */
LW_YIELDS static void middle_main(void *argument) {
    lw_sim_links *of = argument;
    lw_env *env = of->intruder;
    lw_handle listener, from, to;
    if (lw_socket_listen(env, "middle:7000", &listener, NULL) != LW_OK) {
        return;
    }
    while (lw_socket_accept(env, listener, &from) == LW_OK) {
        uint64_t deadline_ns = lw_env_now(env) + 1000 * LW_SIM_NS_PER_MS;
        if (lw_socket_connect(env, of->nodes[0].address, deadline_ns, &to) == LW_OK) {
            of->dialled++;
            pipe *in = lw_allocate(of->memory, sizeof(*in));
            *in = (pipe){.of = of, .ends = {from, to}};
            start_tube(in, 0);
            start_tube(in, 1);
        } else {
            lw_socket_close(env, from);
        }
    }
}

/* ---- who wants to join ------------------------------------------------------------------------
 */

LW_YIELDS static void join(lw_sim_links *of) {
    static const char *const kinds[] = {"a good token", "one that is too old",
                                        "one of another lattice", "one that was revoked"};
    const links_node *target = draw_target(of);
    lw_env *env = of->intruder;
    uint64_t kind = below(of, 4);
    lw_token token;
    lw_node_identity newcomer;
    if (target == NULL) {
        return;
    }
    lw_shared_key key, key_then;
    links_newest_key(of, &key);
    links_identity(NULL, 50 + (uint32_t)below(of, 50), &newcomer);
    lw_token_make(kind == 2 ? &of->other_key : &key, LW_TOKEN_JOIN,
                  kind == 3 ? LINKS_TOKEN_REVOKED : LINKS_TOKEN_GOOD,
                  kind == 1 ? lw_world_wall_ms(of->of->world) - 3600 * 1000 : 0, &token);
    lw_peers_welcome welcome = {.members = lw_buffer_in(env->memory)};
    lw_status status = lw_peers_join(env, target->address, &token, &newcomer, "middle:7871",
                                     lw_env_now(env) + JOIN_MS * LW_SIM_NS_PER_MS, &welcome);
    if (status == LW_OK && kind != 0) {
        lw_sim_broken_first(of->of, "tokens", "node%u took somebody in with %s",
                            (unsigned)target->place + 1, kinds[kind]);
    }
    links_newest_key(of, &key_then);
    if (status == LW_REFUSED && kind == 0 && key.epoch == key_then.epoch) {
        lw_sim_broken_first(of->of, "tokens", "node%u refused a good token: %.100s",
                            (unsigned)target->place + 1, lw_error_slot()->text);
    }
    lw_buffer_reset(&welcome.members);
}

/* ---- all of it --------------------------------------------------------------------------------
 */

LW_YIELDS static void intrude_main(void *argument) {
    lw_sim_links *of = argument;
    uint64_t flood_at = of->floods ? below(of, 12) : UINT64_MAX;
    for (uint64_t round = 0; of->of->troubled; round++) {
        if (round == flood_at) {
            flood(of);
        }
        if (of->garbage) {
            say_garbage(of);
        }
        if (of->between && below(of, 3) == 0) {
            replay(of);
        }
        if (of->joins && below(of, 4) == 0) {
            join(of);
        }
        lw_env_sleep(of->intruder, below(of, 800 * LW_SIM_NS_PER_MS));
    }
}

void links_intrude(lw_sim_links *of) {
    of->chance = lw_world_chance(of->of->world, "intruder");
    of->intruder = lw_host_boot(lw_world_host(of->of->world, "middle"));
    if (of->between) {
        (void)lw_env_start(of->intruder, "middle", middle_main, of);
    }
    (void)lw_env_start(of->intruder, "intruder", intrude_main, of);
}
