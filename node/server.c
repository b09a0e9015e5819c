/* SPDX-License-Identifier: Apache-2.0 */
#include "node/server.h"

#include "lattice/greeting.h"
#include "node/session.h"

enum {
    CONNECTION_COUNT_MAX = 10000,
    REQUESTS_IN_FLIGHT_MAX = 256,          /* of one connection */
    BYTES_IN_FLIGHT_MAX = 8 * 1024 * 1024, /* of one connection: requests held and replies unsent */
    READ_SIZE = 4096,                      /* bytes asked for at a time, when little is expected */
    READ_SIZE_LARGE = 256 * 1024,          /* the same in the middle of a large frame */
    HELLO_SIZE_MAX = 1024,
    HELLO_TIMEOUT_MS = 10000,
    CLOSE_TIMEOUT_MS = 5000,
};

static const uint64_t ns_per_ms = 1000000;

typedef struct connection {
    lw_server *server;
    struct connection *previous, *next; /* in the server's list */
    lw_handle socket;
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
    lw_queue room;        /* the reading fiber waits here for V2 */
} connection;

/* One request under way. */
typedef struct call {
    connection *connection;
    lw_buffer frame; /* the payload that `request` has views of */
    lw_request request;
} call;

struct lw_server {
    lw_env *env;
    lw_server_options options;
    lw_handle listener;
    uint16_t port;
    lw_sessions *sessions;
    connection *connections;
    lw_server_figures figures;
    bool closing, accepting;
    lw_queue changed; /* a connection or the accepting fiber ended */
};

/* ---- the life of a connection -------------------------------------------------------------------
 */

static void connection_free(connection *one) {
    lw_server *server = one->server;
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
    if (one->is_sending) {
        lw_env_cancel(one->server->env, &one->send);
    }
    stop_reading(one);
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
                        .complete = send_complete,
                        .owner = one};
    lw_env_submit(one->server->env, &one->send);
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
    flush_later(one);
}

/* ---- requests ----------------------------------------------------------------------------- */

LW_YIELDS static void call_main(void *argument) {
    call *one = argument;
    connection *from = one->connection;
    lw_server *server = from->server;
    lw_buffer body = lw_buffer_in(server->env->memory);
    if (!from->cut) {
        lw_status status =
            server->options.handle(server->options.argument, &one->request, from->session, &body);
        send_reply(from, one->request.id, status, lw_buffer_view(&body));
    }
    lw_buffer_reset(&body);
    from->requests--;
    from->request_bytes -= one->frame.size;
    server->figures.requests_in_flight--;
    lw_buffer_reset(&one->frame);
    lw_free(server->env->memory, one);
    lw_queue_wake_all(&from->room);
}

/* Starts a fiber for one frame, which it takes over. */
static lw_status call_start(connection *from, lw_buffer *frame) {
    lw_server *server = from->server;
    lw_request request;
    LW_TRY(lw_request_decode(lw_buffer_view(frame), &request));
    call *one = lw_allocate(server->env->memory, sizeof(*one));
    *one = (call){.connection = from, .frame = *frame, .request = request};
    *frame = lw_buffer_in(server->env->memory);
    from->requests++;
    from->request_bytes += one->frame.size;
    server->figures.requests_in_flight++;
    server->figures.requests++;
    lw_env_start(server->env, "request", call_main, one);
    return LW_OK;
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
           one->request_bytes + one->out.size + one->sending.size > BYTES_IN_FLIGHT_MAX;
}

/* V2. */
LW_YIELDS static void wait_for_room(connection *one) {
    while (connection_full(one) && !one->cut && !one->server->closing) {
        LW_MARK(one->server->env, "server.reader_held_back");
        lw_queue_wait(&one->room);
    }
}

/* Takes every whole frame off the front of what was received. */
LW_YIELDS static lw_status take_frames(connection *one) {
    lw_memory *memory = one->server->env->memory;
    size_t start = 0;
    while (one->in.size - start >= LW_FRAME_HEADER_SIZE && !one->cut) {
        uint32_t size = 0;
        LW_TRY(lw_frame_size(one->in.data + start, &size));
        if (one->session == 0 && size > HELLO_SIZE_MAX) {
            return lw_fail(LW_INVALID_ARGUMENT, "a greeting of %u bytes is longer than %d", size,
                           HELLO_SIZE_MAX);
        }
        if (one->in.size - start - LW_FRAME_HEADER_SIZE < size) {
            break;
        }
        lw_bytes payload = lw_view(one->in.data + start + LW_FRAME_HEADER_SIZE, size);
        start += LW_FRAME_HEADER_SIZE + size;
        if (one->session == 0) {
            LW_TRY(greet(one, payload));
            continue;
        }
        lw_buffer frame = lw_buffer_in(memory);
        lw_buffer_append(&frame, payload);
        lw_status status = call_start(one, &frame);
        lw_buffer_reset(&frame);
        LW_TRY(status);
        wait_for_room(one);
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
    return one->in.size > READ_SIZE ? READ_SIZE_LARGE : READ_SIZE;
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
                               .deadline_ns = one->session == 0 ? hello_deadline_ns : 0};
        one->receiving = true;
        lw_status status = lw_env_perform(env, &one->receive);
        one->receiving = false;
        if (status != LW_OK || one->receive.count == 0) {
            return status;
        }
        one->in.size += one->receive.count;
        if (is_peer(one)) {
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
    while (!connection_idle(one)) {
        lw_queue_wait(&one->room);
    }
    if (one->session != 0) {
        lw_session_detach(server->sessions, one->session, one);
    }
    if (lw_handle_valid(one->socket)) {
        lw_socket_close(server->env, one->socket);
    }
    connection_free(one);
}

static void connection_start(lw_server *server, lw_handle socket) {
    connection *one = lw_allocate_zero(server->env->memory, sizeof(*one));
    one->server = server;
    one->socket = socket;
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
        } else if (server->closing || server->figures.connections >= CONNECTION_COUNT_MAX) {
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

static void session_ended(void *argument, uint64_t session) {
    lw_server *server = argument;
    server->options.session_ended(server->options.argument, session);
}

static void session_cut(void *argument, void *old) {
    (void)argument;
    connection_cut(old);
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
    lw_session_events events = {.ended = session_ended, .cut = session_cut, .argument = opened};
    opened->sessions = lw_sessions_open(env, &events);
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
    end_connections(server, lw_env_now(env) + CLOSE_TIMEOUT_MS * ns_per_ms);
    lw_sessions_close(server->sessions);
    lw_free(env->memory, server);
}

uint16_t lw_server_port(const lw_server *server) {
    return server->port;
}

lw_bytes lw_server_label(const lw_server *server, uint64_t session) {
    return lw_session_label(server->sessions, session);
}

void lw_server_figures_get(const lw_server *server, lw_server_figures *figures) {
    *figures = server->figures;
    figures->sessions = lw_session_count(server->sessions);
}
