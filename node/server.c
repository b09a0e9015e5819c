/* SPDX-License-Identifier: Apache-2.0 */
#include "node/server.h"

#include "lattice/greeting.h"
#include "node/intake.h"
#include "node/session.h"
#include "node/silence.h"

enum {
    CONNECTION_COUNT_MAX = 10000,
    REQUESTS_IN_FLIGHT_MAX = 256,          /* of one connection */
    BYTES_IN_FLIGHT_MAX = 8 * 1024 * 1024, /* of one connection: requests held and replies unsent */
    BODY_SIZE_USUAL = 200,                 /* bytes of a reply's body */
    READ_SIZE = 4096,                      /* bytes asked for at a time, when little is expected */
    READ_SIZE_TINY = 16,                   /* the same in simulations, now and then */
    READ_SIZE_LARGE = 256 * 1024,          /* the same in the middle of a large frame */
    HELLO_SIZE_MAX = 1024,
    HELLO_TIMEOUT_MS = 10000,
    CLOSE_TIMEOUT_MS = 5000,
    STALL_TIMEOUT_MS = 30000, /* of a large frame that stops coming, and of answers nobody takes */
    RARE_REQUEST_MEMORY = 64 * 1024,
    PEEK_SIZE = 64, /* more than what a request begins with: its kind and id */
};

static const uint64_t ns_per_ms = 1000000;

typedef struct connection {
    lw_server *server;
    struct connection *previous, *next; /* in the server's list */
    lw_handle socket;
    lw_listened listened;   /* whether its machine is there */
    bool silent;            /* it is not */
    uint64_t session;       /* 0 before HELLO */
    lw_buffer in;           /* what was received and is not yet a frame */
    lw_buffer out, sending; /* replies that wait, and those under way */
    lw_op receive, defer, send;
    bool receiving;       /* `receive` is submitted */
    bool deferred;        /* `defer` is: replies leave at the end of the turn */
    bool is_sending;      /* `send` is submitted */
    bool cut;             /* no further request is read or answered */
    uint32_t requests;    /* fibers that carry out a request of this connection */
    size_t request_bytes; /* which these hold */
    size_t taken;         /* of the intake, for the frame that is arriving; 0: not looked at yet */
    size_t answered;      /* the same for `out` and `sending` */
    size_t skip;          /* bytes of a refused frame that are still to come */
    lw_queue room;        /* the reading fiber waits here for V2 and V4 */
} connection;

/* One request under way. */
typedef struct call {
    connection *connection;
    size_t taken; /* of the intake */
    lw_request request;
    size_t size;
    uint8_t payload[]; /* that `request` has views of */
} call;

struct lw_server {
    lw_env *env;
    lw_server_options options;
    lw_handle listener;
    uint16_t port;
    lw_sessions *sessions;
    lw_intake intake;
    lw_silence silence;
    connection *connections;
    lw_server_figures figures;
    bool closing, accepting;
    lw_queue changed; /* a connection or the accepting fiber ended */
};

/* ---- the life of a connection -------------------------------------------------------------------
 */

/* What waits to be sent counts as well. */
static void account_answers(connection *one) {
    size_t size = one->out.size + one->sending.size;
    if (size > one->answered) {
        lw_intake_force(&one->server->intake, size - one->answered);
    } else {
        lw_intake_give(&one->server->intake, one->answered - size);
    }
    one->answered = size;
}

static void connection_free(connection *one) {
    lw_server *server = one->server;
    lw_intake_give(&server->intake, one->taken + one->answered);
    *(one->previous != NULL ? &one->previous->next : &server->connections) = one->next;
    if (one->next != NULL) {
        one->next->previous = one->previous;
    }
    lw_buffer_reset(&one->in);
    lw_buffer_reset(&one->out);
    lw_buffer_reset(&one->sending);
    lw_free(server->env->memory, one);
    server->figures.connections--;
    lw_queue_wake_all(&server->changed);
}

/* Whether anything still refers to the connection. */
static bool connection_idle(const connection *one) {
    return one->requests == 0 && !one->deferred && !one->is_sending && one->out.size == 0;
}

static void stop_reading(connection *one) {
    if (one->receiving) {
        lw_env_cancel(one->server->env, &one->receive);
    }
    lw_queue_wake_all(&one->room);
}

/* Nothing more is read from it, and nothing is sent. */
static void connection_cut(connection *one) {
    one->cut = true;
    lw_buffer_clear(&one->out);
    account_answers(one);
    if (one->is_sending) {
        lw_env_cancel(one->server->env, &one->send);
    }
    stop_reading(one);
}

static void connection_silent(lw_listened *listened) {
    connection *one = (connection *)(void *)((uint8_t *)listened - offsetof(connection, listened));
    one->silent = true;
    connection_cut(one);
}

static void send_complete(lw_op *op);

/* V3: what became ready in this turn leaves now. */
static void turn_ended(lw_op *op) {
    connection *one = op->owner;
    one->deferred = false;
    if (one->is_sending || one->out.size == 0) {
        lw_queue_wake_all(&one->room);
        return;
    }
    lw_buffer ready = one->out;
    one->out = one->sending;
    one->sending = ready;
    lw_buffer_clear(&one->out);
    one->is_sending = true;
    one->send = (lw_op){.kind = LW_OP_SEND,
                        .handle = one->socket,
                        .buffer = one->sending.data,
                        .size = one->sending.size,
                        .deadline_ns = lw_env_now(one->server->env) + STALL_TIMEOUT_MS * ns_per_ms,
                        .complete = send_complete,
                        .owner = one};
    lw_env_submit(one->server->env, &one->send);
    lw_silence_said(&one->server->silence, &one->listened);
}

static void flush_later(connection *one) {
    if (!one->deferred && !one->is_sending) {
        one->deferred = true;
        one->defer = (lw_op){.kind = LW_OP_DEFER, .complete = turn_ended, .owner = one};
        lw_env_submit(one->server->env, &one->defer);
    }
}

static void send_complete(lw_op *op) {
    connection *one = op->owner;
    one->is_sending = false;
    if (one->sending.capacity > READ_SIZE_LARGE) {
        lw_buffer_reset(&one->sending); /* an idle connection is small again */
    }
    lw_buffer_clear(&one->sending);
    account_answers(one);
    if (op->status != LW_OK) {
        connection_cut(one);
    }
    if (one->out.size > 0) {
        flush_later(one);
    }
    lw_queue_wake_all(&one->room);
}

static void send_reply(connection *one, uint64_t request_id, lw_status status, lw_bytes body) {
    if (one->cut) {
        return;
    }
    lw_server *server = one->server;
    lw_reply reply = {.id = request_id, .status = status, .body = body};
    if (status != LW_OK) {
        reply.error = lw_text(lw_error_slot()->text);
    }
    if (one->session != 0) {
        reply.spare = server->options.spare(server->options.argument);
    }
    lw_reply_encode(&reply, &one->out);
    account_answers(one);
    flush_later(one);
}

/* ---- requests ----------------------------------------------------------------------------- */

LW_YIELDS static void call_main(void *argument) {
    call *one = argument;
    connection *from = one->connection;
    lw_server *server = from->server;
    uint8_t space[BODY_SIZE_USUAL]; /* most need no more */
    lw_buffer body = lw_buffer_on(server->env->memory, space, sizeof(space));
    if (!from->cut) {
        lw_status status =
            server->options.handle(server->options.argument, &one->request, from->session, &body);
        send_reply(from, one->request.id, status, lw_buffer_view(&body));
    }
    lw_buffer_reset(&body);
    from->requests--;
    from->request_bytes -= one->size;
    server->figures.requests_in_flight--;
    lw_intake_give(&server->intake, one->taken);
    lw_free(server->env->memory, one);
    lw_queue_wake_all(&from->room);
}

/* Starts a fiber for one frame, which takes over what was taken of the intake for it. */
static void call_start(connection *from, lw_bytes payload, const lw_request *request) {
    lw_server *server = from->server;
    call *one = lw_allocate(server->env->memory, sizeof(*one) + payload.size);
    one->connection = from;
    one->size = payload.size;
    memcpy(one->payload, payload.data, payload.size);
    one->request = *request;
    one->request.body.data = one->payload + (request->body.data - payload.data);
    one->taken = from->taken;
    from->taken = 0;
    from->requests++;
    from->request_bytes += one->size;
    server->figures.requests_in_flight++;
    server->figures.requests++;
    lw_env_start(server->env, "request", call_main, one);
}

/* The first frame of a connection. */
static lw_status greet(connection *one, lw_bytes payload) {
    lw_server *server = one->server;
    lw_request request;
    lw_hello hello;
    LW_TRY(lw_request_decode(payload, &request));
    if (request.kind != LW_MESSAGE_HELLO) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a connection begins with a greeting, not with request "
                       "kind %d",
                       (int)request.kind);
    }
    LW_TRY(lw_hello_decode(request.body, &hello));
    if (hello.protocol_max < LW_PROTOCOL_MIN || hello.protocol_min > LW_PROTOCOL_MAX) {
        return lw_fail(LW_REFUSED,
                       "the client speaks protocol %llu to %llu, this node %d to %d: use a client "
                       "of a nearer version",
                       (unsigned long long)hello.protocol_min,
                       (unsigned long long)hello.protocol_max, LW_PROTOCOL_MIN, LW_PROTOCOL_MAX);
    }
    one->session = lw_session_attach(server->sessions, hello.session, hello.label, one);
    lw_welcome welcome = {
        .protocol =
            hello.protocol_max < LW_PROTOCOL_MAX ? hello.protocol_max : (uint64_t)LW_PROTOCOL_MAX,
        .session = one->session,
        .node_id = server->options.node_id,
        .cluster_id = server->options.cluster_id,
        .version = server->options.version,
        .retention_ms = server->options.retention_ms,
    };
    lw_buffer body = lw_buffer_in(server->env->memory);
    lw_welcome_encode(&welcome, &body);
    send_reply(one, request.id, LW_OK, lw_buffer_view(&body));
    lw_buffer_reset(&body);
    return LW_OK;
}

/* ---- reading ------------------------------------------------------------------------------ */

static bool connection_full(const connection *one) {
    return one->requests >= REQUESTS_IN_FLIGHT_MAX ||
           one->request_bytes + one->out.size + one->sending.size > BYTES_IN_FLIGHT_MAX ||
           (one->requests > 0 && LW_RARE(one->server->env, "server.one_at_a_time"));
}

/* V2. */
LW_YIELDS static void wait_for_room(connection *one) {
    while (connection_full(one) && !one->cut && !one->server->closing) {
        LW_MARK(one->server->env, "server.reader_held_back");
        lw_queue_wait(&one->room);
    }
}

/* V4: room for a frame of which at least the beginning has come. One that is refused is answered,
 * and skipped. */
LW_YIELDS static void admit(connection *one, const lw_request *head, uint32_t size) {
    lw_server *server = one->server;
    size_t cost = lw_intake_cost(size);
    if (lw_request_ends(head->kind)) {
        lw_intake_force(&server->intake, cost);
    } else {
        lw_status status = lw_intake_take(&server->intake, cost, &one->room, &one->cut);
        if (status != LW_OK) {
            send_reply(one, head->id, status, (lw_bytes){0});
            one->skip = LW_FRAME_HEADER_SIZE + size;
            return;
        }
    }
    one->taken = cost;
}

/* How many of the bytes that are there belong to a frame that was refused. */
static size_t skip_refused(connection *one, size_t there) {
    size_t skipped = there < one->skip ? there : one->skip;
    one->skip -= skipped;
    return skipped;
}

/* Does what can be done with the bytes from `start` on, and says with how many of them it is done;
 * 0: more must come first. */
LW_YIELDS static lw_status take_next(connection *one, size_t start, size_t *done) {
    size_t there = one->in.size - start;
    *done = skip_refused(one, there);
    if (*done > 0 || there < LW_FRAME_HEADER_SIZE) {
        return LW_OK;
    }
    uint32_t size = 0;
    LW_TRY(lw_frame_size(one->in.data + start, &size));
    if (one->session == 0 && size > HELLO_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "a greeting of %u bytes is longer than %d", size,
                       HELLO_SIZE_MAX);
    }
    size_t come = there - LW_FRAME_HEADER_SIZE;
    bool whole = come >= size;
    if (!whole && (size <= READ_SIZE || come < PEEK_SIZE)) {
        return LW_OK;
    }
    lw_bytes payload = lw_view(one->in.data + start + LW_FRAME_HEADER_SIZE, whole ? size : come);
    if (one->session == 0) {
        *done = LW_FRAME_HEADER_SIZE + size;
        return greet(one, payload);
    }
    lw_request request;
    LW_TRY(whole ? lw_request_decode(payload, &request) : lw_request_peek(payload, size, &request));
    if (one->taken == 0) {
        admit(one, &request, size);
        if (one->skip > 0) {
            *done = skip_refused(one, there);
            return LW_OK;
        }
    }
    if (whole) {
        *done = LW_FRAME_HEADER_SIZE + size;
        call_start(one, payload, &request);
        wait_for_room(one);
    }
    return LW_OK;
}

/* Takes every whole frame off the front of what was received. */
LW_YIELDS static lw_status take_frames(connection *one) {
    size_t start = 0, done = 1;
    while (done > 0 && !one->cut) {
        LW_TRY(take_next(one, start, &done));
        start += done;
    }
    size_t rest = one->in.size - start;
    memmove(one->in.data, one->in.data + start, start > 0 ? rest : 0);
    one->in.size = rest;
    if (rest == 0 && one->in.capacity > READ_SIZE_LARGE) {
        lw_buffer_reset(&one->in);
    }
    return LW_OK;
}

/* Whether it is another node that begins to speak. */
static bool is_peer(const connection *one) {
    return one->session == 0 && one->server->options.peer != NULL &&
           lw_greeting_begins(lw_buffer_view(&one->in));
}

/* How much to ask for: the rest of a large frame in large pieces, but never room for more than a
 * piece beyond what has arrived (V1). */
static size_t read_size(const connection *one) {
    if (LW_RARE(one->server->env, "server.reads_little")) {
        return READ_SIZE_TINY;
    }
    return one->in.size > READ_SIZE ? READ_SIZE_LARGE : READ_SIZE;
}

/* Who has room for a large frame sends it. */
static uint64_t read_deadline(const connection *one, uint64_t hello_deadline_ns) {
    if (one->session == 0) {
        return hello_deadline_ns;
    }
    return one->taken == 0 ? 0 : lw_env_now(one->server->env) + STALL_TIMEOUT_MS * ns_per_ms;
}

LW_YIELDS static lw_status read_requests(connection *one) {
    lw_env *env = one->server->env;
    uint64_t hello_deadline_ns = lw_env_now(env) + HELLO_TIMEOUT_MS * ns_per_ms;
    while (!one->cut && !one->server->closing) {
        size_t size = read_size(one);
        one->receive = (lw_op){.kind = LW_OP_RECEIVE,
                               .handle = one->socket,
                               .buffer = lw_buffer_reserve(&one->in, size),
                               .size = size,
                               .deadline_ns = read_deadline(one, hello_deadline_ns)};
        one->receiving = true;
        lw_status status = lw_env_perform(env, &one->receive);
        one->receiving = false;
        if (status != LW_OK || one->receive.count == 0) {
            return status;
        }
        one->in.size += one->receive.count;
        if (is_peer(one)) {
            lw_silence_forget(&one->server->silence, &one->listened);
            one->server->options.peer(one->server->options.argument, one->socket,
                                      lw_buffer_view(&one->in));
            one->socket = LW_NO_HANDLE;
            return LW_OK;
        }
        LW_TRY(take_frames(one));
    }
    return LW_OK;
}

/* Tells a peer why it is turned away. It may not even speak our protocol. */
static void refuse(connection *one, lw_status status) {
    lw_server *server = one->server;
    char reason[LW_ERROR_TEXT_SIZE];
    lw_logline(server->env, LW_LEVEL_WARN, "connection refused", "reason=\"%s\"",
               lw_printable(lw_text(lw_error_slot()->text), reason, sizeof(reason)));
    LW_MARK(server->env, "server.connection_refused");
    server->figures.refused++;
    send_reply(one, 0, status, (lw_bytes){0});
}

LW_YIELDS static void connection_main(void *argument) {
    connection *one = argument;
    lw_server *server = one->server;
    lw_status status = read_requests(one);
    if (status == LW_INVALID_ARGUMENT || status == LW_REFUSED) {
        refuse(one, status);
    } else if (status != LW_OK && !server->closing) {
        connection_cut(one); /* the stream is broken: nobody hears an answer */
    }
    bool silent = one->silent || lw_op_met_silence(&one->receive);
    if (one->session != 0 && !server->closing &&
        !LW_BUG(server->env, "server.session_waits_for_requests")) {
        lw_session_detach(server->sessions, one->session, one, silent); /* V5 */
    }
    while (!connection_idle(one)) {
        lw_queue_wait(&one->room);
    }
    if (one->session != 0) {
        lw_session_detach(server->sessions, one->session, one, silent);
    }
    lw_silence_forget(&server->silence, &one->listened);
    if (lw_handle_valid(one->socket)) {
        lw_socket_close(server->env, one->socket);
    }
    connection_free(one);
}

static void connection_start(lw_server *server, lw_handle socket) {
    connection *one = lw_allocate_zero(server->env->memory, sizeof(*one));
    one->server = server;
    one->socket = one->listened.socket = socket;
    one->in = one->out = one->sending = lw_buffer_in(server->env->memory);
    one->next = server->connections;
    if (one->next != NULL) {
        one->next->previous = one;
    }
    server->connections = one;
    server->figures.connections++;
    lw_env_start(server->env, "connection", connection_main, one);
}

LW_YIELDS static void accept_main(void *argument) {
    lw_server *server = argument;
    while (!server->closing) {
        lw_handle socket = LW_NO_HANDLE;
        lw_status status = lw_socket_accept(server->env, server->listener, &socket);
        if (status != LW_OK) {
            if (!server->closing) { /* out of descriptors, say: it passes */
                lw_logline(server->env, LW_LEVEL_WARN, "cannot accept a connection",
                           "reason=\"%s\"", lw_error_slot()->text);
                lw_env_sleep(server->env, 100 * ns_per_ms);
            }
        } else if (server->closing || server->figures.connections >= CONNECTION_COUNT_MAX ||
                   LW_RARE(server->env, "server.turns_away")) {
            LW_MARK(server->env, "server.too_many_connections");
            lw_socket_close(server->env, socket);
        } else {
            connection_start(server, socket);
        }
    }
    server->accepting = false;
    lw_queue_wake_all(&server->changed);
}

/* ---- the server --------------------------------------------------------------------------- */

static void session_cut(void *argument, void *old) {
    (void)argument;
    connection_cut(old);
}

static size_t request_memory(lw_env *env, const lw_server_options *options) {
    if (options->request_memory == 0) {
        return SIZE_MAX / 2;
    }
    return LW_RARE(env, "server.little_room") ? RARE_REQUEST_MEMORY : options->request_memory;
}

lw_status lw_server_open(lw_env *env, const lw_server_options *options, lw_server **server) {
    lw_handle listener = LW_NO_HANDLE;
    uint16_t port = 0;
    LW_TRY(lw_socket_listen(env, options->listen, &listener, &port));
    lw_server *opened = lw_allocate_zero(env->memory, sizeof(*opened));
    opened->env = env;
    opened->options = *options;
    opened->options.listen = NULL; /* the caller's string is not kept */
    opened->listener = listener;
    opened->port = port;
    lw_session_events events = {.holds = options->session_holds,
                                .lives = options->session_lives,
                                .ended = options->session_ended,
                                .cut = session_cut,
                                .argument = options->argument};
    opened->sessions = lw_sessions_open(env, &events);
    lw_silence_open(&opened->silence, env, connection_silent);
    lw_intake_open(&opened->intake, env, options->budget, request_memory(env, options));
    if (!options->held) {
        lw_server_begin(opened);
    }
    *server = opened;
    return LW_OK;
}

void lw_server_begin(lw_server *server) {
    LW_ASSERT(!server->accepting && !server->closing);
    server->accepting = true;
    lw_env_start(server->env, "accept", accept_main, server);
}

/* Ends every connection: reading stops at once, replies may still leave until the deadline. */
LW_YIELDS static void end_connections(lw_server *server, uint64_t deadline_ns) {
    for (connection *one = server->connections; one != NULL; one = one->next) {
        stop_reading(one);
    }
    while (server->connections != NULL && lw_env_wait(server->env, &server->changed, deadline_ns)) {
    }
    for (connection *one = server->connections; one != NULL; one = one->next) {
        LW_MARK(server->env, "server.connection_cut_at_close");
        connection_cut(one);
    }
    while (server->connections != NULL) {
        lw_queue_wait(&server->changed);
    }
}

void lw_server_close(lw_server *server) {
    lw_env *env = server->env;
    server->closing = true;
    lw_socket_close(env, server->listener);
    while (server->accepting) {
        lw_queue_wait(&server->changed);
    }
    uint64_t patience_ms = LW_RARE(env, "server.closes_at_once") ? 0 : CLOSE_TIMEOUT_MS;
    end_connections(server, lw_env_now(env) + patience_ms * ns_per_ms);
    lw_silence_close(&server->silence);
    lw_sessions_close(server->sessions);
    lw_free(env->memory, server);
}

uint16_t lw_server_port(const lw_server *server) {
    return server->port;
}

lw_bytes lw_server_label(const lw_server *server, uint64_t session) {
    return lw_session_label(server->sessions, session);
}

bool lw_server_has_session(const lw_server *server, uint64_t session) {
    return lw_session_known(server->sessions, session);
}

bool lw_server_is_connected(const lw_server *server, uint64_t session) {
    return lw_session_attached(server->sessions, session);
}

void lw_server_figures_get(const lw_server *server, lw_server_figures *figures) {
    *figures = server->figures;
    figures->sessions = lw_session_count(server->sessions);
}
