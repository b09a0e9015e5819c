/* SPDX-License-Identifier: Apache-2.0 */
#include "node/session.h"

#include "base/hash.h"

typedef struct session {
    lw_map_node node;
    uint64_t id;
    lw_bytes label;
    void *connection;        /* NULL: detached */
    uint64_t grace_end_ns;   /* when in the list of detached ones */
    uint64_t question;       /* under way: detached, and not in the list; 0: none */
    struct session *earlier; /* neighbours in the list of detached ones, oldest first */
    struct session *later;
} session;

struct lw_sessions {
    lw_env *env;
    lw_session_events events;
    lw_map by_id;
    session *oldest, *newest; /* detached */
    lw_queue work;            /* the sweeping fiber waits here */
    lw_queue stopped;
    bool stopping;
    uint32_t running; /* fibers */
    uint64_t questions;
};

static session *find(const lw_sessions *sessions, uint64_t id) {
    lw_map_node *node = lw_map_first(&sessions->by_id, id);
    return node == NULL ? NULL : LW_MAP_ENTRY(node, session, node);
}

static void unlink_detached(lw_sessions *sessions, session *one) {
    *(one->earlier != NULL ? &one->earlier->later : &sessions->oldest) = one->later;
    *(one->later != NULL ? &one->later->earlier : &sessions->newest) = one->earlier;
    one->earlier = one->later = NULL;
}

/* Into its place: not all graces are of one length. */
static void link_detached(lw_sessions *sessions, session *one, uint64_t grace_ms) {
    one->grace_end_ns = lw_env_now(sessions->env) + grace_ms * 1000000ull;
    one->earlier = sessions->newest;
    while (one->earlier != NULL && one->earlier->grace_end_ns > one->grace_end_ns) {
        one->earlier = one->earlier->earlier;
    }
    one->later = one->earlier == NULL ? sessions->oldest : one->earlier->later;
    *(one->earlier == NULL ? &sessions->oldest : &one->earlier->later) = one;
    *(one->later == NULL ? &sessions->newest : &one->later->earlier) = one;
    if (sessions->oldest == one) {
        lw_queue_wake_all(&sessions->work);
    }
}

static void forget(lw_sessions *sessions, session *one) {
    lw_map_remove(&sessions->by_id, &one->node);
    lw_free(sessions->env->memory, (void *)(uintptr_t)one->label.data);
    lw_free(sessions->env->memory, one);
}

LW_YIELDS static void end(lw_sessions *sessions, session *one) {
    uint64_t id = one->id;
    forget(sessions, one);
    LW_MARK(sessions->env, "session.ended");
    sessions->events.ended(sessions->events.argument, id);
}

static void fiber_ended(lw_sessions *sessions) {
    sessions->running--;
    lw_queue_wake_all(&sessions->stopped);
}

/* A session that is to be asked for (N3). */
typedef struct question {
    lw_sessions *sessions;
    uint64_t id, number;
} question;

LW_YIELDS static void ask_main(void *argument) {
    question asked = *(question *)argument;
    lw_sessions *sessions = asked.sessions;
    lw_free(sessions->env->memory, argument);
    bool lives = sessions->events.lives(sessions->events.argument, asked.id) &&
                 !LW_BUG(sessions->env, "session.ends_unasked");
    session *one = find(sessions, asked.id);
    if (one != NULL && one->question == asked.number && !sessions->stopping) {
        one->question = 0;
        if (lives) {
            LW_MARK(sessions->env, "session.lives_elsewhere");
            link_detached(sessions, one, LW_SESSION_ASKED_AGAIN_MS);
        } else {
            end(sessions, one);
        }
    }
    fiber_ended(sessions);
}

static void ask(lw_sessions *sessions, session *one) {
    question *asked = lw_allocate(sessions->env->memory, sizeof(*asked));
    one->question = ++sessions->questions;
    *asked = (question){.sessions = sessions, .id = one->id, .number = one->question};
    sessions->running++;
    lw_env_start(sessions->env, "ask for a session", ask_main, asked);
}

/* Sees to sessions whose grace has passed, oldest first, and sleeps until the next one's. */
LW_YIELDS static void sweep_main(void *argument) {
    lw_sessions *sessions = argument;
    while (!sessions->stopping) {
        session *oldest = sessions->oldest;
        uint64_t deadline_ns = oldest == NULL ? 0 : oldest->grace_end_ns;
        if (oldest == NULL || lw_env_now(sessions->env) < deadline_ns) {
            (void)lw_env_wait(sessions->env, &sessions->work, deadline_ns);
            continue; /* whatever woke us, look again */
        }
        unlink_detached(sessions, oldest);
        if (sessions->events.holds != NULL &&
            sessions->events.holds(sessions->events.argument, oldest->id)) {
            ask(sessions, oldest);
        } else {
            end(sessions, oldest);
        }
    }
    fiber_ended(sessions);
}

lw_sessions *lw_sessions_open(lw_env *env, const lw_session_events *events) {
    lw_sessions *sessions = lw_allocate_zero(env->memory, sizeof(*sessions));
    sessions->env = env;
    sessions->events = *events;
    sessions->by_id = lw_map_in(env->memory);
    sessions->running = 1;
    lw_env_start(env, "sessions", sweep_main, sessions);
    return sessions;
}

void lw_sessions_close(lw_sessions *sessions) {
    sessions->stopping = true;
    lw_queue_wake_all(&sessions->work);
    while (sessions->running > 0) {
        lw_queue_wait(&sessions->stopped);
    }
    for (uint32_t index = 0; index < sessions->by_id.bucket_count; index++) {
        while (sessions->by_id.buckets[index] != NULL) {
            forget(sessions, LW_MAP_ENTRY(sessions->by_id.buckets[index], session, node));
        }
    }
    lw_map_reset(&sessions->by_id);
    lw_free(sessions->env->memory, sessions);
}

static uint64_t new_id(lw_sessions *sessions) {
    uint64_t id = 0;
    while (id == 0 || find(sessions, id) != NULL) {
        lw_env_entropy(sessions->env, &id, sizeof(id));
    }
    return id;
}

uint64_t lw_session_attach(lw_sessions *sessions, uint64_t id, lw_bytes label, void *connection) {
    LW_ASSERT(connection != NULL);
    session *one = id == 0 ? NULL : find(sessions, id);
    if (one == NULL) {
        one = lw_allocate_zero(sessions->env->memory, sizeof(*one));
        one->id = id == 0 ? new_id(sessions) : id;
        one->label = lw_copy(sessions->env->memory, label);
        lw_map_insert(&sessions->by_id, &one->node, one->id);
    } else if (one->connection == NULL) {
        LW_MARK(sessions->env, "session.came_back");
        if (one->question == 0) {
            unlink_detached(sessions, one);
        }
        one->question = 0;
    } else {
        LW_MARK(sessions->env, "session.taken_over");
        sessions->events.cut(sessions->events.argument, one->connection);
    }
    one->connection = connection;
    return one->id;
}

void lw_session_detach(lw_sessions *sessions, uint64_t id, const void *connection, bool silent) {
    session *one = find(sessions, id);
    if (one == NULL || one->connection != connection) {
        return;
    }
    one->connection = NULL;
    link_detached(sessions, one, silent ? LW_SESSION_GRACE_SILENT_MS : LW_SESSION_GRACE_MS);
}

bool lw_session_known(const lw_sessions *sessions, uint64_t id) {
    return find(sessions, id) != NULL;
}

bool lw_session_attached(const lw_sessions *sessions, uint64_t id) {
    const session *one = find(sessions, id);
    return one != NULL && one->connection != NULL;
}

lw_bytes lw_session_label(const lw_sessions *sessions, uint64_t id) {
    const session *one = find(sessions, id);
    return one == NULL ? (lw_bytes){0} : one->label;
}

uint32_t lw_session_count(const lw_sessions *sessions) {
    return sessions->by_id.count;
}
