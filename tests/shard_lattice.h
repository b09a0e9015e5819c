/* SPDX-License-Identifier: Apache-2.0 */
/* A bench for shards on several nodes: simulated hosts, each with a store, a log and shards, that
 * send one another messages which are late and overtake each other, and requests. They are booted,
 * crashed and cut off. Their folders are made in tests/shard_folders.h, and what is asked of them
 * and looked at is in tests/shard_story.h. */
#ifndef LW_TESTS_SHARD_LATTICE_H
#define LW_TESTS_SHARD_LATTICE_H

#include "tests/unit.h"

#include "lattice/raft_message.h"
#include "sim/answer.h"
#include "sim/world.h"

#define LATTICE_MS UINT64_C(1000000)
enum { LATTICE_NODES = 4 }; /* with ids from 1 on */

typedef struct lattice lattice;

typedef struct lattice_node {
    lattice *in;
    uint64_t id;
    lw_host *host;
    lw_env *env;
    lw_store *store;
    lw_log *log;
    lw_shards *shards;
    lw_snapshots *snapshots;
    lw_gc *gc;
    uint32_t life; /* how often it was booted */
    bool bootstrap, open, done, died;
    bool alone;       /* as it is booted */
    lw_halted halted; /* the same */
    lw_status opened;
} lattice_node;

struct lattice {
    lw_world *world;
    lw_memory *memory; /* the story's own */
    lw_arena arena;
    lattice_node nodes[LATTICE_NODES + 1];
    bool cut[LATTICE_NODES + 1][LATTICE_NODES + 1];         /* from, to */
    uint32_t slow_ms[LATTICE_NODES + 1][LATTICE_NODES + 1]; /* of requests and answers */
    bool mute[LATTICE_NODES + 1][LATTICE_NODES + 1];        /* but for requests and answers */
    uint64_t deaf[LATTICE_NODES + 1]; /* the shard whose messages do not reach a node; 0: none */
    uint64_t chance;
    uint64_t request_id, session;
    uint64_t misled;         /* whom all take for the leader of what is elsewhere; 0: who leads */
    bool session_dies;       /* no node has its client any more */
    uint64_t retention_ms;   /* 0: nothing is collected */
    uint64_t merge_after_ms; /* see lw_shards_options */
    /* The last message from one node to another that is as large as an append with an entry. */
    uint64_t kept_from, kept_to;
    lw_bytes kept;
    char failure[256]; /* the first thing that was not as expected */
};

static inline void expect(lattice *in, bool holds, const char *what) {
    if (!holds && in->failure[0] == 0) {
        (void)snprintf(in->failure, sizeof(in->failure), "%.250s", what);
    }
}

static inline void expect_text(lattice *in, const char *text, const char *wanted,
                               const char *what) {
    if (strcmp(text, wanted) != 0 && in->failure[0] == 0) {
        (void)snprintf(in->failure, sizeof(in->failure), "%s: \"%.90s\", not \"%.90s\"", what, text,
                       wanted);
    }
}

static inline void lattice_pass_ms(lattice *in, uint64_t duration_ms) {
    (void)lw_world_run(in->world, lw_world_now(in->world) + duration_ms * LATTICE_MS);
}

static inline bool lattice_up(const lattice *in, uint64_t id) {
    const lattice_node *node = &in->nodes[id];
    return node->open && lw_host_running(node->host);
}

static inline bool lattice_reaches(const lattice *in, uint64_t from, uint64_t to) {
    return lattice_up(in, to) && !in->cut[from][to];
}

/* Up to two ms, so that messages overtake each other. */
static inline uint64_t lattice_delay_ns(lattice *in) {
    return LATTICE_MS / 10 + unit_random_below(&in->chance, 2 * LATTICE_MS);
}

/* ---- messages ------------------------------------------------------------------------------- */

typedef struct lattice_post {
    lattice *in;
    uint64_t from, to;
    lw_bytes bytes;
} lattice_post;

static inline void lattice_post_main(void *argument) {
    lattice_post *post = argument;
    lattice_node *to = &post->in->nodes[post->to];
    if (to->shards != NULL) {
        lw_shards_receive(to->shards, post->from, post->bytes);
    }
    lw_free(post->in->memory, (void *)(uintptr_t)post->bytes.data);
    lw_free(post->in->memory, post);
}

static inline bool lattice_hears(const lattice *in, const lattice_post *post) {
    uint64_t shard = 0;
    lw_raft_message message;
    lw_reader entries;
    return lattice_reaches(in, post->from, post->to) && !in->mute[post->from][post->to] &&
           (in->deaf[post->to] == 0 ||
            lw_raft_message_decode(post->bytes, &shard, &message, &entries) != LW_OK ||
            shard != in->deaf[post->to]);
}

static inline void lattice_post_arrives(void *argument) {
    lattice_post *post = argument;
    if (lattice_hears(post->in, post)) {
        lw_env_start(post->in->nodes[post->to].env, "message", lattice_post_main, post);
    }
}

static inline void lattice_send(void *argument, uint64_t node, lw_bytes message) {
    lattice_node *from = argument;
    lattice *in = from->in;
    lattice_post *post = lw_allocate(in->memory, sizeof(*post));
    if (from->id == in->kept_from && node == in->kept_to && message.size > 40) {
        in->kept = lw_copy(in->memory, message);
    }
    *post = (lattice_post){
        .in = in, .from = from->id, .to = node, .bytes = lw_copy(in->memory, message)};
    lw_world_at(in->world, lw_world_now(in->world) + lattice_delay_ns(in), lattice_post_arrives,
                post);
}

/* What was kept arrives once more. */
static inline void lattice_send_kept(lattice *in) {
    lattice_post *post = lw_allocate(in->memory, sizeof(*post));
    *post = (lattice_post){
        .in = in, .from = in->kept_from, .to = in->kept_to, .bytes = lw_copy(in->memory, in->kept)};
    lw_world_at(in->world, lw_world_now(in->world), lattice_post_arrives, post);
}

/* A link that is up, or down now, as one of its ends sees it. */
typedef struct lattice_link {
    lattice *in;
    uint64_t at, of;
} lattice_link;

static inline void lattice_link_main(void *argument) {
    lattice_link *link = argument;
    lattice_node *at = &link->in->nodes[link->at];
    if (at->shards != NULL) {
        lw_shards_link(at->shards, link->of,
                       lattice_reaches(link->in, link->at, link->of) &&
                           lattice_reaches(link->in, link->of, link->at));
    }
}

static inline void lattice_link_arrives(void *argument) {
    lattice_link *link = argument;
    if (lattice_up(link->in, link->at)) {
        lw_env_start(link->in->nodes[link->at].env, "link", lattice_link_main, link);
    }
}

/* Everybody looks at its links, a little later. */
static inline void lattice_links(lattice *in) {
    for (uint64_t at = 1; at <= LATTICE_NODES; at++) {
        for (uint64_t of = 1; of <= LATTICE_NODES; of++) {
            if (at != of) {
                lattice_link *link = lw_allocate(in->memory, sizeof(*link));
                *link = (lattice_link){.in = in, .at = at, .of = of};
                lw_world_at(in->world, lw_world_now(in->world) + 50 * LATTICE_MS,
                            lattice_link_arrives, link);
            }
        }
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

typedef struct lattice_ask {
    lattice *in;
    uint64_t from, to; /* from 0: the story's own */
    uint32_t life;     /* of whom it comes from */
    lw_request request;
    uint64_t session;
    lw_buffer body, reply;
    lw_status status;
    char text[LW_ERROR_TEXT_SIZE];
    bool done;
    lw_queue answered;
} lattice_ask;

static inline void lattice_answer_main(void *argument) {
    lattice_ask *ask = argument;
    ask->done = true;
    lw_queue_wake_all(&ask->answered);
}

static inline void lattice_answer_arrives(void *argument) {
    lattice_ask *ask = argument;
    const lattice_node *from = &ask->in->nodes[ask->from];
    if (ask->from == 0) {
        ask->done = true;
    } else if (lattice_reaches(ask->in, ask->to, ask->from) && from->life == ask->life) {
        lw_env_start(from->env, "answer", lattice_answer_main, ask);
    }
}

static inline void lattice_answer(lattice_ask *ask) {
    uint64_t delay_ns =
        lattice_delay_ns(ask->in) + ask->in->slow_ms[ask->to][ask->from] * LATTICE_MS;
    lw_world_at(ask->in->world, lw_world_now(ask->in->world) + delay_ns, lattice_answer_arrives,
                ask);
}

static inline void lattice_ask_main(void *argument) {
    lattice_ask *ask = argument;
    lattice_node *node = &ask->in->nodes[ask->to];
    lw_buffer reply = lw_buffer_in(node->env->memory);
    lw_sim_parts parts = {.shards = node->shards, .snapshots = node->snapshots, .gc = node->gc};
    ask->status = lw_sim_answer(&parts, &ask->request, ask->from, ask->session, &reply);
    if (ask->status != LW_OK) {
        (void)snprintf(ask->text, sizeof(ask->text), "%s", lw_error_slot()->text);
    }
    lw_buffer_append(&ask->reply, lw_buffer_view(&reply));
    lw_buffer_reset(&reply);
    lattice_answer(ask);
}

static inline void lattice_ask_arrives(void *argument) {
    lattice_ask *ask = argument;
    if (lattice_reaches(ask->in, ask->from, ask->to)) {
        lw_env_start(ask->in->nodes[ask->to].env, "ask", lattice_ask_main, ask);
    } else {
        ask->status = LW_UNAVAILABLE;
        (void)snprintf(ask->text, sizeof(ask->text), "node %d is not there", (int)ask->to);
        lattice_answer(ask);
    }
}

static inline lattice_ask *lattice_ask_open(lattice *in, uint64_t from, uint64_t to,
                                            const lw_request *request, uint64_t session) {
    lattice_ask *ask = lw_allocate_zero(in->memory, sizeof(*ask));
    *ask = (lattice_ask){.in = in,
                         .from = from,
                         .to = to,
                         .life = in->nodes[from].life,
                         .request = *request,
                         .session = session,
                         .body = lw_buffer_in(in->memory),
                         .reply = lw_buffer_in(in->memory)};
    lw_buffer_append(&ask->body, request->body);
    ask->request.body = lw_buffer_view(&ask->body);
    uint64_t delay_ns = lattice_delay_ns(in) + in->slow_ms[from][to] * LATTICE_MS;
    lw_world_at(in->world, lw_world_now(in->world) + delay_ns, lattice_ask_arrives, ask);
    return ask;
}

/* lw_shards_others.ask. */
static inline lw_status lattice_ask_node(void *argument, uint64_t node, const lw_request *request,
                                         uint64_t deadline_ns, lw_buffer *reply) {
    lattice_node *from = argument;
    lattice_ask *ask = lattice_ask_open(from->in, from->id, node, request, 0);
    while (!ask->done) {
        if (!lw_env_wait(from->env, &ask->answered, deadline_ns)) {
            return lw_fail(LW_TIMEOUT, "node %d does not answer", (int)node);
        }
    }
    lw_buffer_append(reply, lw_buffer_view(&ask->reply));
    return ask->status == LW_OK ? LW_OK : lw_fail(ask->status, "%s", ask->text);
}

/* ---- what a node knows of others ------------------------------------------------------------ */

static inline bool lattice_holds(const lw_shard_descriptor *shard, lw_bytes key) {
    return lw_compare(shard->start, key) <= 0 &&
           (shard->end.size == 0 || lw_compare(key, shard->end) < 0);
}

/* The replica on a node that holds a key; NULL: none. */
static inline lw_replica *lattice_replica(const lattice *in, uint64_t id, lw_bytes key) {
    const lattice_node *node = &in->nodes[id];
    for (uint32_t index = 0; lattice_up(in, id) && index < lw_shards_count(node->shards); index++) {
        lw_shard_descriptor shard;
        lw_replica *replica = lw_shards_at(node->shards, index);
        lw_replica_descriptor(replica, &shard);
        if (lattice_holds(&shard, key)) {
            return replica;
        }
    }
    return NULL;
}

/* The node that serves the shard of a key, of those that believe so the last; 0: none. */
static inline uint64_t lattice_leader(const lattice *in, lw_bytes key) {
    uint64_t leader = 0, term = 0;
    for (uint64_t id = 1; id <= LATTICE_NODES; id++) {
        const lw_replica *replica = lattice_replica(in, id, key);
        lw_replica_figures figures = {.term = 0};
        if (replica != NULL && lw_replica_leads(replica)) {
            lw_replica_figures_get(replica, &figures);
        }
        if (figures.term > term) {
            leader = id;
            term = figures.term;
        }
    }
    return leader;
}

/* A directory that knows all there is to know. */
static inline bool lattice_locate(void *argument, lw_bytes key, lw_shard_descriptor *shard) {
    lattice_node *node = argument;
    uint64_t leader = lattice_leader(node->in, key);
    for (uint64_t id = 1; id <= LATTICE_NODES; id++) {
        const lw_replica *replica =
            leader == 0 || leader == id ? lattice_replica(node->in, id, key) : NULL;
        if (replica != NULL) {
            lw_replica_descriptor(replica, shard);
            shard->leader = node->in->misled != 0 ? node->in->misled : leader;
            return true;
        }
    }
    return false;
}

static inline lw_status lattice_send_snapshot(void *argument, uint64_t shard, uint64_t node,
                                              uint64_t *index) {
    lattice_node *from = argument;
    return lw_snapshots_send(from->snapshots, shard, node, index);
}

static inline lw_status lattice_describe(void *argument, uint64_t shard, uint64_t node,
                                         uint64_t index, lw_snapshot *state, uint64_t *term,
                                         lw_buffer *head) {
    lattice_node *from = argument;
    return lw_shards_snapshot_describe(from->shards, shard, node, index, state, term, head);
}

static inline bool lattice_needed(void *argument, uint64_t shard, uint64_t node) {
    const lattice_node *from = argument;
    return lw_shards_snapshot_needed(from->shards, shard, node);
}

static inline lw_status lattice_wanted(void *argument, const lw_snapshot_arrival *offered) {
    lattice_node *node = argument;
    return lw_shards_snapshot_wanted(node->shards, offered);
}

static inline lw_status lattice_install(void *argument, const lw_snapshot_arrival *arrived) {
    lattice_node *node = argument;
    return lw_shards_snapshot_install(node->shards, arrived);
}

/* ---- opening, closing, crashing ------------------------------------------------------------- */

static inline void lattice_flushed(void *argument, lw_tree *tree, uint64_t index) {
    lattice_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_flushed(node->shards, tree, index);
    }
}

static inline void lattice_damaged(void *argument, lw_tree *tree) {
    lattice_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_damaged(node->shards, tree);
    }
}

static inline void lattice_store_died(void *argument, const lw_error *reason) {
    lattice_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_store_died(node->shards, reason);
    }
}

static inline void lattice_died(void *argument, const lw_error *reason) {
    lattice_node *node = argument;
    expect(node->in, false, reason->text);
    node->died = true;
}

static inline lw_bytes lattice_label(void *argument, uint64_t session) {
    (void)argument;
    (void)session;
    return lw_view(NULL, 0);
}

static inline bool lattice_session_lives(void *argument, uint64_t session) {
    const lattice *in = ((lattice_node *)argument)->in;
    return session == in->session && !in->session_dies;
}

static inline lw_status lattice_open_store(lattice_node *node) {
    lw_store_options options = {.directory = "data",
                                .filter_part = lw_replica_filter_part,
                                .retention = lw_replica_retention(node->env),
                                .flushed = lattice_flushed,
                                .damaged = lattice_damaged,
                                .died = lattice_store_died,
                                .argument = node};
    return lw_store_open(node->env, &options, &node->store);
}

static inline bool lattice_begins(void *argument, uint64_t group, uint64_t index) {
    return lw_shards_begins(argument, group, index);
}

static inline lw_status lattice_open_parts(lattice_node *node) {
    LW_TRY(lattice_open_store(node));
    lw_gc_options gc = {
        .env = node->env, .retention_ms = node->in->retention_ms, .session_label = lattice_label};
    node->gc = node->in->retention_ms > 0 ? lw_gc_open(&gc) : NULL;
    lw_shards_others others = {.send = lattice_send,
                               .ask = lattice_ask_node,
                               .send_snapshot = lattice_send_snapshot,
                               .locate = lattice_locate,
                               .session_lives = lattice_session_lives};
    lw_shards_options options = {.env = node->env,
                                 .store = node->store,
                                 .node = node->id,
                                 .bootstrap = node->bootstrap,
                                 .alone = node->alone,
                                 .halted = node->halted,
                                 .merge_after_ms = node->in->merge_after_ms,
                                 .others = &others,
                                 .gc = node->gc,
                                 .session_label = lattice_label,
                                 .died = lattice_died,
                                 .argument = node};
    LW_TRY(lw_shards_open(&options, &node->shards));
    lw_log_options log = {.begins = lattice_begins};
    LW_TRY(lw_log_open(node->env, "data/log", &log, lw_shards_replay, node->shards, &node->log));
    lw_snapshots_options snapshots = {.env = node->env,
                                      .store = node->store,
                                      .directory = "data",
                                      .ask = lattice_ask_node,
                                      .describe_shard = lattice_describe,
                                      .needed = lattice_needed,
                                      .wanted = lattice_wanted,
                                      .install = lattice_install,
                                      .argument = node};
    LW_TRY(lw_snapshots_open(&snapshots, &node->snapshots));
    LW_TRY(lw_shards_start(node->shards, node->log));
    return node->gc == NULL ? LW_OK : lw_gc_start(node->gc, node->shards);
}

static inline void lattice_open_main(void *argument) {
    lattice_node *node = argument;
    node->opened = lattice_open_parts(node);
    if (node->opened != LW_OK) {
        expect(node->in, false, lw_error_slot()->text);
    }
    node->done = true;
}

static inline void lattice_close_main(void *argument) {
    lattice_node *node = argument;
    lw_shards *shards = node->shards;
    node->shards = NULL;
    lw_snapshots_stop(node->snapshots);
    if (node->gc != NULL) {
        lw_gc_stop(node->gc);
    }
    lw_shards_close(shards);
    if (node->gc != NULL) {
        lw_gc_close(node->gc);
    }
    lw_snapshots_close(node->snapshots);
    lw_store_close(node->store);
    lw_log_close(node->log);
    node->done = true;
}

/* Runs body(node) in a fiber of it, to its end. */
static inline void lattice_run(lattice_node *node, void (*body)(void *argument)) {
    node->done = false;
    lw_env_start(node->env, "bench", body, node);
    while (!node->done && lw_host_running(node->host) && lw_world_step(node->in->world)) {
    }
}

static inline void lattice_boot(lattice *in, uint64_t id) {
    lattice_node *node = &in->nodes[id];
    node->shards = NULL;
    node->died = false;
    node->life++;
    node->env = lw_host_boot(node->host);
    lattice_run(node, lattice_open_main);
    expect(in, node->done && node->opened == LW_OK, "a node opens");
    node->open = node->done && node->opened == LW_OK;
    lattice_links(in);
}

static inline void lattice_crash(lattice *in, uint64_t id) {
    in->nodes[id].open = false;
    lw_host_crash(in->nodes[id].host);
    lattice_links(in);
}

static inline void lattice_shut(lattice *in, uint64_t id) {
    lattice_node *node = &in->nodes[id];
    node->open = false;
    lattice_run(node, lattice_close_main);
    expect(in, node->done, "a node closes");
    lw_host_kill(node->host);
    lattice_links(in);
}

/* The same as lattice_crash and lattice_boot, but while the story goes on. */
static inline void lattice_reboot_main(void *argument) {
    lattice_node *node = argument;
    lattice_open_main(node);
    node->open = node->opened == LW_OK;
    lattice_links(node->in);
}

static inline void lattice_reboot(void *argument) {
    lattice_node *node = argument;
    if (!lw_host_running(node->host)) {
        node->shards = NULL;
        node->life++;
        node->env = lw_host_boot(node->host);
        lw_env_start(node->env, "boot", lattice_reboot_main, node);
    }
}

static inline void lattice_fall(void *argument) {
    lattice_node *node = argument;
    if (node->open) {
        lattice_crash(node->in, node->id);
    }
}

/* Crashes a node after a while, and boots it after another. */
static inline void lattice_stumble(lattice *in, uint64_t id, uint64_t after_ms, uint64_t down_ms) {
    uint64_t now_ns = lw_world_now(in->world);
    lw_world_at(in->world, now_ns + after_ms * LATTICE_MS, lattice_fall, &in->nodes[id]);
    lw_world_at(in->world, now_ns + (after_ms + down_ms) * LATTICE_MS, lattice_reboot,
                &in->nodes[id]);
}

/* Cuts a node off from all others, or mends that. */
static inline void lattice_isolate(lattice *in, uint64_t id, bool cut) {
    for (uint64_t other = 1; other <= LATTICE_NODES; other++) {
        in->cut[id][other] = in->cut[other][id] = cut && other != id;
    }
    lattice_links(in);
}

/* ---- the world ------------------------------------------------------------------------------- */

static inline void lattice_begin(lattice *in, uint64_t seed, const char *bug) {
    lw_faults faults = lw_faults_none();
    *in = (lattice){.world = lw_world_open(seed, &faults),
                    .memory = lw_memory_open(),
                    .chance = seed,
                    .session = 77};
    in->arena = lw_arena_in(in->memory);
    for (uint64_t id = 1; id <= LATTICE_NODES; id++) {
        char *name = lw_arena_allocate(&in->arena, 8);
        (void)snprintf(name, 8, "node%d", (int)id);
        in->nodes[id] = (lattice_node){.in = in, .id = id, .host = lw_world_host(in->world, name)};
    }
    if (bug != NULL) {
        lw_world_plant(in->world, bug);
    }
}

static inline void lattice_end(lattice *in) {
    lw_world_close(in->world);
    lw_memory_close(in->memory);
}

#endif
