/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the client of a session is connected anywhere. A client names the same session to every
 * node, so all that can be asked are, at once, by
 *
 *   - who comes to lead a shard, and finds locks of a session that it has never seen: the client
 *     may be busy elsewhere, or dead;
 *   - who is to end a session (node/session.h: N3): the client need not have noticed that one of
 *     its connections has ended.
 *
 *   SESSION = session u64 · also if it may still come back bool -> bool
 *
 * A node that does not answer may have it, so nothing is known; one without a link is not asked: it
 * is down, and its connections with it. If only the link is, a live client that has nothing to say
 * for the whole grace may be taken for dead. Then its commit fails (hazard T8), as it does when its
 * node was started anew meanwhile. */
#include "node/node_state.h"

enum { ANSWER_MS = 1000 };
#define NS_PER_MS UINT64_C(1000000)

/* One round of questions. */
typedef struct survey {
    lw_node *node;
    uint64_t session;
    bool detached_too;
    uint32_t pending;
    bool lives; /* somebody has it, or has not said */
    lw_queue changed;
} survey;

typedef struct question {
    survey *of;
    uint64_t node;
} question;

static bool here(const lw_node *node, uint64_t session) {
    return node->server != NULL && lw_server_has_session(node->server, session);
}

lw_status node_session_asked(const lw_node *node, lw_bytes asked, lw_buffer *reply) {
    lw_reader reader = lw_reader_of(asked);
    uint64_t session = lw_read_u64(&reader);
    bool detached_too = lw_read_bool(&reader);
    if (!lw_reader_done(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "the request does not name a session");
    }
    lw_write_bool(reply, detached_too ? here(node, session)
                                      : node->server != NULL &&
                                            lw_server_is_connected(node->server, session));
    return LW_OK;
}

LW_YIELDS static void ask_main(void *argument) {
    question *one = argument;
    survey *of = one->of;
    lw_env *env = of->node->env;
    lw_buffer body = lw_buffer_in(env->memory), reply = body;
    lw_write_u64(&body, of->session);
    lw_write_bool(&body, of->detached_too);
    lw_request request = {
        .kind = LW_MESSAGE_SESSION, .timeout_ms = ANSWER_MS, .body = lw_buffer_view(&body)};
    uint64_t until_ns = lw_env_now(env) + ANSWER_MS * NS_PER_MS;
    bool absent = false;
    if (lw_peers_ask(of->node->peers, one->node, &request, until_ns, &reply) == LW_OK) {
        lw_reader reader = lw_reader_of(lw_buffer_view(&reply));
        absent = !lw_read_bool(&reader) && lw_reader_done(&reader);
    }
    of->lives = of->lives || !absent;
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    of->pending--;
    lw_queue_wake_all(&of->changed);
}

/* Asks all nodes that there are links to. */
LW_YIELDS static bool lives_elsewhere(lw_node *node, uint64_t session, bool detached_too) {
    survey of = {.node = node, .session = session, .detached_too = detached_too};
    lw_arena arena = lw_arena_in(node->env->memory);
    uint64_t *linked = lw_arena_allocate(&arena, LW_MEMBERS_MAX * sizeof(*linked));
    uint32_t count = lw_lattice_linked(node->lattice, linked);
    question *questions = lw_arena_allocate(&arena, (count + 1) * sizeof(*questions));
    for (uint32_t index = 0; index < count; index++) {
        questions[index] = (question){.of = &of, .node = linked[index]};
        of.pending++;
        lw_env_start(node->env, "ask for a session", ask_main, &questions[index]);
    }
    while (of.pending > 0) {
        lw_queue_wait(&of.changed);
    }
    lw_arena_reset(&arena);
    return of.lives;
}

bool node_session_lives(void *argument, uint64_t session) {
    lw_node *node = argument;
    return here(node, session) || node->peers == NULL || lives_elsewhere(node, session, true) ||
           here(node, session);
}

bool node_session_lives_elsewhere(void *argument, uint64_t session) {
    lw_node *node = argument;
    return node->peers != NULL && lives_elsewhere(node, session, false);
}

bool node_session_holds(void *argument, uint64_t session) {
    const lw_node *node = argument;
    return node->serving && (lw_gc_session_holds(node->gc, session) ||
                             lw_shards_session_holds(node->shards, session));
}
