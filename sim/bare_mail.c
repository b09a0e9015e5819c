/* SPDX-License-Identifier: Apache-2.0 */
/* What bare nodes, and those who ask them, say to each other. Everything goes its own way and takes
 * its own time, so it overtakes; what is cut between hosts, or slow, is so here too. Messages are
 * lost and doubled as well; a request and its answer are only late. */
#include "sim/bare.h"

#include "lattice/raft_message.h"
#include "sim/answer.h"
#include "sim/world_private.h"

enum {
    HOP_NS_MIN = 50 * 1000,
    LATE_MS_MAX = 3000,
    LOOK_MS = 40,      /* at links, */
    SILENCE_MS = 1500, /* within which one that is down is noticed */
    REACH_MS = 100,    /* between two looks of who waits for an answer */
    ENDING_MS = 1500,  /* until nodes know of the end of a session */
    MARK_SIZE = 5,     /* of what values begin with */
};

/* ---- ways -------------------------------------------------------------------------------------
 */

static lw_host *host_of(const lw_sim_bare *of, uint32_t place) {
    return of->of->nodes[place].host;
}

/* At most: mostly about as long as other things take. */
static uint64_t draw_late_ms(lw_chance *chance) {
    static const uint64_t most_ms[] = {40, 300, LATE_MS_MAX};
    return most_ms[lw_chance_below(chance, sizeof(most_ms) / sizeof(most_ms[0]))];
}

/* How long one way takes; UINT64_MAX: for ever. It begins when the host's processor is there, which
 * may be stopped in the middle of a turn (lw_host_time). */
static uint64_t way_ns(lw_sim_bare *of, const lw_host *from, const lw_host *to) {
    uint64_t lag_ns = 0;
    if (!lw_world_reaches(of->of->world, from, to, &lag_ns)) {
        return UINT64_MAX;
    }
    uint64_t hop_ns =
        lw_chance_between(&of->dice.chance, HOP_NS_MIN, of->hop_ms * LW_SIM_NS_PER_MS);
    bool late = lw_dice_hit(&of->dice, LW_FAULT_BUS_LATE);
    uint64_t late_ms = late ? lw_chance_below(&of->dice.own, draw_late_ms(&of->dice.own)) : 0;
    return lag_ns + hop_ns + late_ms * LW_SIM_NS_PER_MS;
}

/* ---- messages ---------------------------------------------------------------------------------
 */

typedef struct letter {
    lw_sim_bare *of;
    uint32_t from, to;
    lw_bytes bytes;
} letter;

static void letter_free(letter *one) {
    lw_free(one->of->memory, (void *)(uintptr_t)one->bytes.data);
    lw_free(one->of->memory, one);
}

LW_YIELDS static void letter_main(void *argument) {
    letter *one = argument;
    const bare_node *to = &one->of->nodes[one->to];
    if (to->shards != NULL) {
        lw_shards_receive(to->shards, one->from + 1, one->bytes);
    }
    letter_free(one);
}

static void letter_arrives(void *argument) {
    letter *one = argument;
    bare_node *to = &one->of->nodes[one->to];
    uint64_t lag_ns;
    lw_world *world = one->of->of->world;
    if (one->of->deaf == to->id && lw_world_now(world) < one->of->deaf_until_ns) {
        lw_world_at(world, lw_world_now(world) + LW_SIM_NS_PER_MS, letter_arrives, one);
        return;
    }
    if (bare_up(to) && lw_world_reaches(one->of->of->world, host_of(one->of, one->from),
                                        host_of(one->of, one->to), &lag_ns)) {
        (void)lw_env_start(to->env, "message", letter_main, one);
    } else {
        letter_free(one);
    }
}

/* A bit flips, in what a value says behind its number, so that it is of no matter to readers: where
 * the entry is kept, before it is applied. */
static void flip(lw_sim_bare *of, const letter *one) {
    const uint8_t *found = memmem(one->bytes.data, one->bytes.size, "bare:", MARK_SIZE);
    size_t behind = MARK_SIZE + sizeof(uint32_t);
    uint64_t group;
    lw_raft_message message;
    lw_reader entries;
    if (of->flip_at == 0 || found == NULL || !of->of->troubled ||
        lw_raft_message_decode(one->bytes, &group, &message, &entries) != LW_OK ||
        message.index < of->flip_at || found + behind >= one->bytes.data + one->bytes.size ||
        !lw_world_strike(of->of->world, LW_FAULT_MEMORY_FLIP, "mail", of->flip_at, "of node%u",
                         (unsigned)one->to + 1)) {
        return;
    }
    ((uint8_t *)(uintptr_t)found)[behind] ^= 1;
    of->flip_at = 0;
}

static void post(lw_sim_bare *of, uint32_t from, uint32_t to, lw_bytes message) {
    uint64_t delay_ns = way_ns(of, host_of(of, from), host_of(of, to));
    if (delay_ns == UINT64_MAX) {
        return;
    }
    letter *one = lw_allocate(of->memory, sizeof(*one));
    *one = (letter){.of = of, .from = from, .to = to, .bytes = lw_copy(of->memory, message)};
    flip(of, one);
    lw_world_at(of->of->world, lw_host_time(host_of(of, from)) + delay_ns, letter_arrives, one);
}

static bool is_gone(lw_bytes bytes) {
    uint64_t group;
    lw_raft_message message;
    lw_reader entries;
    return lw_raft_message_decode(bytes, &group, &message, &entries) == LW_OK &&
           message.kind == LW_RAFT_GONE;
}

/* Who is removed often hears nothing of it, or hears it again and again, late, when it may be back
 * (hazard R14). So many times more. */
static uint32_t strike_gone(lw_sim_bare *of, lw_bytes message) {
    if (!of->wavering || !is_gone(message)) {
        return 0;
    }
    if (lw_sim_allows(of->of, LW_FAULT_BUS_LOSS) &&
        lw_chance_percent(&of->dice.chance, of->gone_lost_percent)) {
        lw_dice_arm(&of->dice, LW_FAULT_BUS_LOSS, 1);
        return 0;
    }
    return lw_sim_allows(of->of, LW_FAULT_BUS_LATE) ? of->gone_again : 0;
}

void bare_send(void *argument, uint64_t node, lw_bytes message) {
    const bare_node *from = argument;
    lw_sim_bare *of = from->of;
    uint32_t again = strike_gone(of, message);
    if (node == 0 || node > of->of->node_count || lw_dice_hit(&of->dice, LW_FAULT_BUS_LOSS)) {
        return;
    }
    post(of, (uint32_t)from->id - 1, (uint32_t)node - 1, message);
    if (lw_dice_hit(&of->dice, LW_FAULT_BUS_TWICE)) {
        post(of, (uint32_t)from->id - 1, (uint32_t)node - 1, message);
    }
    for (; again > 0; again--) {
        lw_dice_arm(&of->dice, LW_FAULT_BUS_LATE, 1);
        post(of, (uint32_t)from->id - 1, (uint32_t)node - 1, message);
    }
}

/* ---- links ------------------------------------------------------------------------------------
 */

typedef struct link_change {
    bare_node *at;
    uint64_t boot, other;
    bool up;
} link_change;

LW_YIELDS static void link_main(void *argument) {
    link_change *change = argument;
    if (change->at->shards != NULL && change->at->member->boot == change->boot) {
        lw_shards_link(change->at->shards, change->other, change->up);
        if (!change->up && change->at->snapshots != NULL) {
            lw_snapshots_link_lost(change->at->snapshots, change->other);
        }
    }
    lw_free(change->at->of->memory, change);
}

static void look_at_link(bare_node *at, const bare_node *other) {
    lw_world *world = at->of->of->world;
    uint64_t lag_ns;
    bool up = lw_host_running(other->member->host) && bare_up(other) &&
              lw_world_reaches(world, at->member->host, other->member->host, &lag_ns) &&
              lw_world_reaches(world, other->member->host, at->member->host, &lag_ns);
    uint64_t *down_ns = &at->down_ns[other->id - 1], now_ns = lw_world_now(world);
    if (up || !at->linked[other->id - 1]) {
        *down_ns = 0;
    } else if (*down_ns == 0) { /* each end notices by itself that it hears nothing */
        *down_ns = now_ns + lw_chance_below(&at->of->dice.chance, SILENCE_MS * LW_SIM_NS_PER_MS);
    }
    if (up == at->linked[other->id - 1] || (!up && now_ns < *down_ns)) {
        return;
    }
    at->linked[other->id - 1] = up;
    link_change *change = lw_allocate(at->of->memory, sizeof(*change));
    *change = (link_change){.at = at, .boot = at->member->boot, .other = other->id, .up = up};
    (void)lw_env_start(at->env, "link", link_main, change);
}

void bare_watch_links(void *argument) {
    lw_sim_bare *of = argument;
    for (uint32_t at = 0; at < of->of->node_count; at++) {
        for (uint32_t other = 0; bare_up(&of->nodes[at]) && other < of->of->node_count; other++) {
            if (at != other && of->nodes[other].id != 0) {
                look_at_link(&of->nodes[at], &of->nodes[other]);
            }
        }
    }
    bare_judge_marks(of);
    bare_judge_keys(of);
    bare_judge_overs(of);
    bare_judge_merges(of);
    bare_judge_lonely(of);
    lw_world_at(of->of->world, lw_world_now(of->of->world) + LOOK_MS * LW_SIM_NS_PER_MS,
                bare_watch_links, of);
}

/* ---- requests ---------------------------------------------------------------------------------
 */

/* It is there as long as who asks waits, or something of it is on its way. What a crash leaves
 * behind goes with the run. */
typedef struct bare_ask {
    lw_sim_bare *of;
    const lw_host *asker;
    const bare_node *from; /* NULL: it is no node */
    bare_node *to;
    uint64_t from_boot, to_boot;
    lw_request request;
    uint64_t session;
    lw_bytes body;
    lw_buffer reply;
    lw_error error;
    uint32_t holds;
    bool done;
    lw_queue answered;
} bare_ask;

static void ask_release(bare_ask *ask) {
    if (--ask->holds == 0) {
        lw_memory *memory = ask->of->memory;
        lw_buffer_reset(&ask->reply);
        lw_free(memory, (void *)(uintptr_t)ask->body.data);
        lw_free(memory, ask);
    }
}

static bool asker_lives(const bare_ask *ask) {
    return ask->from == NULL ||
           (lw_host_running(ask->from->member->host) && ask->from->member->boot == ask->from_boot);
}

static void answer_arrives(void *argument) {
    bare_ask *ask = argument;
    ask->done = true;
    if (asker_lives(ask)) {
        lw_queue_wake_all(&ask->answered);
    }
    ask_release(ask);
}

static void send_answer(bare_ask *ask);

static void send_again(void *argument) {
    bare_ask *ask = argument;
    if (lw_host_running(ask->to->member->host) && ask->to->member->boot == ask->to_boot) {
        send_answer(ask);
    } else {
        ask_release(ask);
    }
}

static void send_answer(bare_ask *ask) {
    uint64_t delay_ns = way_ns(ask->of, ask->to->member->host, ask->asker);
    lw_world *world = ask->of->of->world;
    if (delay_ns == UINT64_MAX) { /* it waits for the way, as bytes of a connection do */
        lw_world_at(world, lw_world_now(world) + LOOK_MS * LW_SIM_NS_PER_MS, send_again, ask);
        return;
    }
    lw_world_at(world, lw_host_time(ask->to->member->host) + delay_ns, answer_arrives, ask);
}

/* What was read at a timestamp of the past. */
static void judge_read(const bare_ask *ask) {
    lw_arena arena = lw_arena_in(ask->of->memory);
    lw_get_request request;
    if (lw_get_request_decode(ask->body, &arena, &request) == LW_OK &&
        request.read_timestamp != 0) {
        bare_judge_served(ask->to, request.keys[0], request.read_timestamp);
        bare_note_served(ask->to, (uint32_t)(request.keys[0].data[0] - 'a'),
                         request.read_timestamp);
    }
    lw_arena_reset(&arena);
}

/* Who gives back its locks, and names none, is over. */
static void note_over(const bare_ask *ask) {
    lw_arena arena = lw_arena_in(ask->of->memory);
    lw_finish_request request;
    if (lw_finish_request_decode(ask->body, &arena, &request) == LW_OK && request.key_count == 0) {
        bare_note_over(ask->to, request.start);
    }
    lw_arena_reset(&arena);
}

/* Which key is read; BARE_KEYS: it is no read. */
static uint32_t read_key(const bare_ask *ask) {
    lw_arena arena = lw_arena_in(ask->of->memory);
    lw_get_request request;
    bool reads = ask->request.kind == LW_MESSAGE_GET &&
                 lw_get_request_decode(ask->body, &arena, &request) == LW_OK;
    uint32_t key = reads ? (uint32_t)(request.keys[0].data[0] - 'a') : BARE_KEYS;
    lw_arena_reset(&arena);
    return key;
}

/* The version of the shard that holds the key, if it is frozen; else 0. */
static uint64_t frozen_at(const bare_node *node, uint32_t key) {
    const lw_replica *replica = bare_up(node) ? bare_replica(node, bare_key(key)) : NULL;
    lw_shard_descriptor shard;
    uint64_t left;
    if (replica == NULL || !lw_replica_frozen(replica, &left)) {
        return 0;
    }
    lw_replica_descriptor(replica, &shard);
    return shard.epoch.range_version;
}

LW_YIELDS static void ask_main(void *argument) {
    bare_ask *ask = argument;
    lw_buffer reply = lw_buffer_in(ask->to->env->memory);
    uint32_t key = read_key(ask);
    bool reads = key < BARE_KEYS;
    uint64_t frozen = reads ? frozen_at(ask->to, key) : 0;
    bare_served before = reads ? ask->of->served[key] : (bare_served){.term = 0};
    const bare_node *node = ask->to;
    lw_sim_parts parts = {.shards = node->shards, .snapshots = node->snapshots, .gc = node->gc};
    lw_status status = lw_sim_answer(&parts, &ask->request, ask->from == NULL ? 0 : ask->from->id,
                                     ask->session, &reply);
    if (status == LW_OK && frozen != 0 && frozen_at(ask->to, key) == frozen) {
        lw_sim_broken_first(ask->of->of, "frozen",
                            "%s answered for a shard that was frozen all the time",
                            ask->to->member->name);
    }
    ask->error.status = status;
    if (status != LW_OK) {
        ask->error = *lw_error_slot();
    } else if (ask->request.kind == LW_MESSAGE_TIMESTAMP) {
        bare_judge_given(ask->to, lw_buffer_view(&reply));
    } else if (reads) {
        bare_judge_reign(ask->to, key, &before);
        judge_read(ask);
    } else if (ask->request.kind == LW_MESSAGE_ROLLBACK) {
        note_over(ask);
    }
    lw_buffer_append(&ask->reply, lw_buffer_view(&reply));
    lw_buffer_reset(&reply);
    send_answer(ask);
}

/* What is left of a session that is over, and that the node was told of, or that would lock: its
 * connection is gone. */
static bool is_over(const bare_ask *ask) {
    if (ask->from != NULL || bare_session_lives(ask->to, ask->session)) {
        return false;
    }
    bool told = (ask->of->where[ask->session] >> (ask->to->id - 1) & 1) == 0;
    return told || ask->request.kind == LW_MESSAGE_PREWRITE;
}

static void ask_arrives(void *argument) {
    bare_ask *ask = argument;
    uint64_t lag_ns;
    if (!is_over(ask) && bare_up(ask->to) && ask->to->member->boot == ask->to_boot &&
        lw_world_reaches(ask->of->of->world, ask->asker, ask->to->member->host, &lag_ns)) {
        (void)lw_env_start(ask->to->env, "ask", ask_main, ask);
    } else {
        ask_release(ask);
    }
}

static bare_ask *ask_open(lw_sim_bare *of, const lw_host *asker, const bare_node *from,
                          bare_node *to, const lw_request *request, uint64_t session) {
    bare_ask *ask = lw_allocate_zero(of->memory, sizeof(*ask));
    *ask = (bare_ask){.of = of,
                      .asker = asker,
                      .from = from,
                      .from_boot = from == NULL ? 0 : from->member->boot,
                      .to = to,
                      .to_boot = to->member == NULL ? 0 : to->member->boot,
                      .request = *request,
                      .session = session,
                      .body = lw_copy(of->memory, request->body),
                      .reply = lw_buffer_in(of->memory),
                      .holds = 1};
    ask->request.body = ask->body;
    uint64_t delay_ns = to->member == NULL ? UINT64_MAX : way_ns(of, asker, to->member->host);
    if (delay_ns != UINT64_MAX) {
        ask->holds++;
        lw_world_at(of->of->world, lw_host_time(asker) + delay_ns, ask_arrives, ask);
    }
    return ask;
}

/* Whether an answer may still come. */
static bool may_come(const bare_ask *ask) {
    uint64_t lag_ns;
    return ask->to->member != NULL && bare_up(ask->to) && ask->to->member->boot == ask->to_boot &&
           lw_world_reaches(ask->of->of->world, ask->asker, ask->to->member->host, &lag_ns) &&
           lw_world_reaches(ask->of->of->world, ask->to->member->host, ask->asker, &lag_ns);
}

/* Until it is answered, late, or its link is broken. */
LW_YIELDS static lw_status await(bare_ask *ask, lw_env *env, uint64_t deadline_ns) {
    while (!ask->done) {
        uint64_t look_ns = lw_env_now(env) + REACH_MS * LW_SIM_NS_PER_MS;
        bool last = look_ns >= deadline_ns;
        if (lw_env_wait(env, &ask->answered, last ? deadline_ns : look_ns) || ask->done) {
            continue;
        }
        if (last) {
            return lw_fail(LW_TIMEOUT, "the node did not answer in time");
        }
        if (!may_come(ask)) {
            return lw_fail(LW_UNAVAILABLE, "the link broke");
        }
    }
    return LW_OK;
}

lw_status bare_ask_node(void *argument, uint64_t node, const lw_request *request,
                        uint64_t deadline_ns, lw_buffer *reply) {
    bare_node *from = argument;
    if (node == 0 || node > from->of->of->node_count) {
        return lw_fail(LW_UNAVAILABLE, "nobody knows where it is");
    }
    bare_ask *ask =
        ask_open(from->of, from->member->host, from, &from->of->nodes[node - 1], request, 0);
    lw_status status = await(ask, from->env, deadline_ns);
    if (status == LW_OK) {
        lw_buffer_append(reply, lw_buffer_view(&ask->reply));
        status =
            ask->error.status == LW_OK ? LW_OK : lw_fail(ask->error.status, "%s", ask->error.text);
    }
    ask_release(ask);
    return status;
}

void bare_ask_once(bare_asker *from, bare_node *to, const lw_request *request, uint64_t patience_ms,
                   bare_answer *answer) {
    lw_sim_bare *of = from->of;
    LW_ASSERT(bare_session_lives(to, from->session)); /* who has gone asks nothing */
    if (from->session < BARE_SESSIONS_MAX && to->id != 0) {
        of->where[from->session] |= (uint8_t)(1 << (to->id - 1));
    }
    bare_ask *ask =
        ask_open(of, of->of->client_hosts[from->number], NULL, to, request, from->session);
    lw_status status =
        await(ask, from->env, lw_env_now(from->env) + patience_ms * LW_SIM_NS_PER_MS);
    answer->status = status == LW_OK ? ask->error.status : status;
    answer->body = lw_arena_copy(&from->arena, lw_buffer_view(&ask->reply));
    answer->doubt = status != LW_OK;
    ask_release(ask);
}

/* ---- sessions ---------------------------------------------------------------------------------
 */

typedef struct ending {
    lw_sim_bare *of;
    bare_node *at;
    uint64_t session;
} ending;

LW_YIELDS static void ending_main(void *argument) {
    ending *one = argument;
    if (one->at->shards != NULL) {
        lw_shards_session_ended(one->at->shards, one->session);
        lw_gc_session_ended(one->at->gc, one->session);
    }
    lw_free(one->of->memory, one);
}

static void ending_arrives(void *argument) {
    ending *one = argument;
    if (one->session < BARE_SESSIONS_MAX) {
        one->of->where[one->session] &= (uint8_t) ~(1 << (one->at->id - 1));
    }
    if (bare_up(one->at)) {
        (void)lw_env_start(one->at->env, "session ends", ending_main, one);
    } else {
        lw_free(one->of->memory, one);
    }
}

bool bare_session_lives(void *argument, uint64_t session) {
    const bare_node *node = argument;
    return session >= BARE_SESSIONS_MAX || (node->of->where[session] & BARE_SESSION_OVER) == 0;
}

void bare_end_session(lw_sim_bare *of, uint64_t session) {
    bare_end_session_in(of, session,
                        lw_chance_below(&of->dice.chance, ENDING_MS * LW_SIM_NS_PER_MS));
}

void bare_end_session_in(lw_sim_bare *of, uint64_t session, uint64_t delay_ns) {
    uint32_t asked = session < BARE_SESSIONS_MAX ? of->where[session] : UINT32_MAX;
    if (session < BARE_SESSIONS_MAX) {
        of->where[session] |= BARE_SESSION_OVER;
    }
    for (uint32_t place = 0; place < of->of->node_count; place++) {
        if ((asked >> place & 1) == 0) {
            continue;
        }
        ending *one = lw_allocate(of->memory, sizeof(*one));
        *one = (ending){.of = of, .at = &of->nodes[place], .session = session};
        lw_world_at(of->of->world, lw_world_now(of->of->world) + delay_ns, ending_arrives, one);
    }
}
