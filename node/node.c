/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node_state.h"

#include <stdio.h>

/* ---- what its parts say to it ------------------------------------------------------------------
 */

static lw_bytes session_label(void *argument, uint64_t session) {
    const lw_node *node = argument;
    return node->server == NULL ? (lw_bytes){0} : lw_server_label(node->server, session);
}

static void flushed(void *argument, lw_tree *tree, uint64_t index) {
    lw_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_flushed(node->shards, tree, index);
    }
}

static void tree_damaged(void *argument, lw_tree *tree) {
    lw_node *node = argument;
    if (node->shards != NULL) {
        lw_shards_damaged(node->shards, tree);
    }
}

/* What dies before there are shards is told by the call that opens the node. */
static void store_died(void *argument, const lw_error *reason) {
    lw_node *node = argument;
    node->store_died = *reason;
    if (node->shards != NULL) {
        lw_shards_store_died(node->shards, reason);
    }
}

void node_end(lw_node *node, const char *event, const lw_error *reason) {
    lw_level level = reason->status == LW_OK ? LW_LEVEL_INFO : LW_LEVEL_ERROR;
    lw_logline(node->env, level, event, "reason=\"%s\"", reason->text);
    node->serving = false;
    node->options.died(node->options.argument, reason);
}

/* Where others have all that was here, a damaged folder is best made anew. */
static void advise(const lw_node *node, lw_error *reason) {
    if (reason->status == LW_CORRUPTION && node->lattice != NULL &&
        !lw_lattice_alone(node->lattice)) {
        lw_error damage = *reason;
        (void)snprintf(
            reason->text, sizeof(reason->text),
            "%.*s. Other nodes have what is in %s: have this one taken out (lathwork "
            "leave --force %016llx, at another node), remove the folder, and join as a new node",
            (int)sizeof(reason->text) / 2, damage.text, node->options.directory,
            (unsigned long long)node->identity.node_id);
    }
}

static void died(void *argument, const lw_error *reason) {
    lw_error advised = *reason;
    advise(argument, &advised);
    node_end(argument, "the node stops: its disk failed", &advised);
}

/* ---- opening ------------------------------------------------------------------------------------
 */

LW_YIELDS static lw_status open_store(lw_node *node) {
    lw_store_options options = {
        .directory = node->options.directory,
        .memory_size = node->options.memory_size,
        .filter_part = lw_replica_filter_part,
        .retention = lw_replica_retention(node->env),
        .flushed = flushed,
        .damaged = tree_damaged,
        .died = store_died,
        .argument = node,
    };
    return lw_store_open(node->env, &options, &node->store);
}

static lw_gc *open_gc(lw_node *node) {
    lw_gc_options options = {.env = node->env,
                             .retention_ms = node->options.retention_ms,
                             .session_label = session_label,
                             .argument = node};
    return lw_gc_open(&options);
}

/* The first shard is made by the founder, as long as it has nobody else. */
LW_YIELDS static lw_status open_shards(lw_node *node) {
    lw_shards_others others = node_others(node);
    lw_shards_options options = {
        .env = node->env,
        .store = node->store,
        .node = node->identity.node_id,
        .bootstrap = lw_identity_founded(&node->identity) && lw_lattice_alone(node->lattice),
        .shard_size = node->options.shard_size,
        .merge_after_ms = node->options.merge_after_ms,
        .alone = lw_lattice_alone(node->lattice),
        .halted = node->options.halted,
        .election_timeout_ms = node->options.election_timeout_ms,
        .drift_ppm = node->options.drift_ppm,
        .others = &others,
        .gc = node->gc,
        .session_label = session_label,
        .died = died,
        .argument = node,
    };
    return lw_shards_open(&options, &node->shards);
}

LW_YIELDS static lw_status replay_log(lw_node *node) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, node->options.directory, "log"));
    lw_log_options options = {.reserve = lw_store_reserve(node->store),
                              .budget = lw_store_budget(node->store),
                              .begins = lw_shards_begins};
    lw_store_replaying(node->store, true);
    lw_status status =
        lw_log_open(node->env, path, &options, lw_shards_replay, node->shards, &node->log);
    lw_store_replaying(node->store, false);
    return status;
}

static uint64_t requests_so_far(void *argument) {
    const lw_node *node = argument;
    lw_server_figures figures = {0};
    if (node->server != NULL) {
        lw_server_figures_get(node->server, &figures);
    }
    return figures.requests;
}

static void damage_found(void *argument, const char *text) {
    const lw_node *node = argument;
    lw_lattice_happened(node->lattice, "scrub", 0, text);
}

LW_YIELDS static lw_scrub *open_scrub(lw_node *node) {
    lw_scrub_options options = {.env = node->env,
                                .store = node->store,
                                .log = node->log,
                                .directory = node->options.directory,
                                .every_ms = node->options.scrub_every_ms,
                                .requests = requests_so_far,
                                .found = damage_found,
                                .argument = node};
    return lw_scrub_open(&options);
}

/* The port is taken first, so that others can be told where this node listens; nothing is served
 * before the end. */
LW_YIELDS static lw_status open_parts(lw_node *node) {
    LW_TRY(open_store(node));
    LW_TRY(node_open_identity(node));
    node->gc = open_gc(node);
    LW_TRY(node_open_server(node));
    LW_TRY(node_join(node));
    LW_TRY(node_open_lattice(node));
    LW_TRY(open_shards(node));
    LW_TRY(node_open_snapshots(node));
    node->peers = node_open_peers(node);
    LW_TRY(replay_log(node));
    LW_TRY(lw_shards_start(node->shards, node->log));
    if (node->store_died.status != LW_OK) {
        return lw_fail(node->store_died.status, "%s", node->store_died.text);
    }
    LW_TRY(lw_gc_start(node->gc, node->shards));
    lw_lattice_start(node->lattice, node->store, node->shards, node->peers);
    if (node->options.join != NULL) {
        lw_peers_seek(node->peers, node->options.join);
    }
    node->scrub = open_scrub(node);
    return LW_OK;
}

/* Closes what is open. First what begins things, then what carries them out; but shards lead
 * nothing any more from the beginning on, so that others are elected while this takes its time. */
LW_YIELDS static void close_parts(lw_node *node) {
    node->serving = false;
    if (node->shards != NULL && !LW_BUG(node->env, "node.leads_while_it_stops")) {
        lw_shards_stop(node->shards);
    }
    if (node->scrub != NULL) {
        lw_scrub *scrub = node->scrub;
        node->scrub = NULL;
        lw_scrub_close(scrub);
    }
    if (node->lattice != NULL) {
        lw_lattice_stop(node->lattice);
    }
    if (node->gc != NULL) {
        lw_gc_stop(node->gc);
    }
    if (node->snapshots != NULL) {
        lw_snapshots *snapshots = node->snapshots;
        node->snapshots = NULL;
        lw_snapshots_close(snapshots);
    }
    if (node->shards != NULL) {
        lw_shards *shards = node->shards;
        node->shards = NULL;
        lw_shards_close(shards);
    }
    if (node->server != NULL) {
        lw_server_close(node->server);
    }
    if (node->peers != NULL) {
        lw_peers_close(node->peers);
    }
    if (node->lattice != NULL) {
        lw_lattice_close(node->lattice);
    }
    if (node->gc != NULL) {
        lw_gc_close(node->gc);
    }
    if (node->store != NULL) {
        lw_store_close(node->store);
    }
    if (node->log != NULL) {
        lw_log_close(node->log);
    }
}

/* ---- options --------------------------------------------------------------------------------- */

static const char *copy_text(lw_memory *memory, const char *text) {
    return text == NULL ? NULL
                        : (const char *)lw_copy(memory, lw_view(text, strlen(text) + 1)).data;
}

/* All that are texts. */
static const char **texts_of(lw_node_options *options, uint32_t index) {
    const char **const texts[] = {&options->directory, &options->listen, &options->version,
                                  &options->join,      &options->token,  &options->zone,
                                  &options->name};
    return index < sizeof(texts) / sizeof(texts[0]) ? texts[index] : NULL;
}

static void free_node(lw_node *node) {
    lw_memory *memory = node->env->memory;
    lw_seal_wipe(&node->identity, sizeof(node->identity));
    lw_buffer_reset(&node->welcome);
    const char **text;
    for (uint32_t index = 0; (text = texts_of(&node->options, index)) != NULL; index++) {
        lw_free(memory, (void *)(uintptr_t)*text);
    }
    lw_free(memory, node);
}

lw_status lw_node_open(lw_env *env, const lw_node_options *options, lw_node **node) {
    LW_ASSERT(options->died != NULL);
    lw_node *opened = lw_allocate_zero(env->memory, sizeof(*opened));
    opened->env = env;
    opened->options = *options;
    opened->welcome = lw_buffer_in(env->memory);
    const char **text;
    for (uint32_t index = 0; (text = texts_of(&opened->options, index)) != NULL; index++) {
        *text = copy_text(env->memory, *text);
    }
    opened->started_ns = lw_env_now(env);
    lw_status status = open_parts(opened);
    if (status != LW_OK) {
        lw_error reason = *lw_error_slot(); /* closing must not overwrite it */
        advise(opened, &reason);
        close_parts(opened);
        free_node(opened);
        *lw_error_slot() = reason;
        return status;
    }
    opened->serving = true;
    lw_server_begin(opened->server);
    *node = opened;
    return LW_OK;
}

void lw_node_close(lw_node *node) {
    if (node->serving) {
        lw_shards_hand_over(node->shards);
    }
    close_parts(node);
    free_node(node);
}

/* ---- looking --------------------------------------------------------------------------------- */

const char *lw_node_address(const lw_node *node) {
    return node->address;
}

void lw_node_token(const lw_node *node, uint64_t lifetime_ms, char text[LW_NODE_TOKEN_SIZE]) {
    lw_token token;
    uint64_t id;
    _Static_assert((int)LW_NODE_TOKEN_SIZE == (int)LW_TOKEN_TEXT_SIZE, "as lattice/token.h has it");
    lw_env_entropy(node->env, &id, sizeof(id));
    uint64_t expires_ms = lifetime_ms == 0 ? 0 : lw_env_wall_ms(node->env) + lifetime_ms;
    lw_token_make(&node->identity.lattice, LW_TOKEN_JOIN, id, expires_ms, &token);
    lw_token_print(&token, text);
    lw_lattice_token_made(node->lattice, id, expires_ms);
    lw_seal_wipe(&token, sizeof(token));
}

uint64_t lw_node_id(const lw_node *node) {
    return node->identity.node_id;
}

uint32_t lw_node_key_epoch(const lw_node *node) {
    return node->identity.lattice.epoch;
}

bool lw_node_has_key(const lw_node *node, uint32_t epoch) {
    return lw_identity_key(&node->identity, epoch) != NULL;
}

uint64_t lw_node_members_digest(const lw_node *node) {
    return lw_lattice_digest(node->lattice);
}

uint64_t lw_node_handed(const lw_node *node) {
    return lw_lattice_handed(node->lattice);
}

bool lw_node_names_differ(const lw_node *node) {
    return lw_lattice_names_differ(node->lattice);
}

lw_shards *lw_node_shards(const lw_node *node) {
    return node->shards;
}
