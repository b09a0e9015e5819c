/* SPDX-License-Identifier: Apache-2.0 */
#include "client/link.h"

#include <stdio.h>

enum {
    NS_PER_MS = 1000 * 1000,
    CONNECT_MS = 1000,
    SILENCE_MS = 500, /* until PING is sent */
    PATIENCE_MS = 1500,
    NS_PER_BYTE = 250, /* more patience for what a call sends */

    READ_SIZE = 16 * 1024,
    KEPT_SIZE_MAX = 1024 * 1024,
    BEHIND_COUNT_MAX = 128,         /* unanswered; a node takes 256 of a connection at a time */
    BEHIND_BYTES_MAX = 1024 * 1024, /* waiting to be sent */
};

void lw_link_init(lw_link *link, lw_env *env, const char *address, lw_bytes label) {
    lw_buffer empty = lw_buffer_in(env->memory);
    *link = (lw_link){.env = env,
                      .label = label,
                      .socket = LW_NO_HANDLE,
                      .in = empty,
                      .out = empty,
                      .sending = empty};
    (void)snprintf(link->address, sizeof(link->address), "%s", address);
}

/* ---- sending -------------------------------------------------------------------------------- */

static void send_begin(lw_link *link);

static void send_done(lw_op *op) {
    lw_link *link = op->owner;
    link->is_sending = false;
    link->broken = link->broken || op->status != LW_OK;
    if (link->sending.capacity > KEPT_SIZE_MAX) {
        lw_buffer_reset(&link->sending);
    }
    if (link->out.size > 0 && !link->broken) {
        send_begin(link);
    }
    lw_queue_wake_all(&link->sent);
}

/* Hands over what waits, unless the socket is busy with earlier frames. */
static void send_begin(lw_link *link) {
    if (link->is_sending) {
        return;
    }
    lw_buffer full = link->out;
    link->out = link->sending;
    link->sending = full;
    lw_buffer_clear(&link->out);
    link->send = (lw_op){.kind = LW_OP_SEND,
                         .handle = link->socket,
                         .buffer = link->sending.data,
                         .size = link->sending.size,
                         .complete = send_done,
                         .owner = link};
    link->is_sending = true;
    lw_env_submit(link->env, &link->send);
}

/* The buffer under way is the world's until the operation completes (hazard S7). */
LW_YIELDS static void send_await(lw_link *link) {
    while (link->is_sending) {
        if (lw_fiber_current() != NULL) {
            lw_queue_wait(&link->sent);
        } else {
            lw_env_turn(link->env, true);
        }
    }
}

LW_YIELDS static void disconnect(lw_link *link) {
    if (lw_handle_valid(link->socket)) {
        link->broken = true; /* nothing more is sent */
        lw_socket_close(link->env, link->socket);
        link->socket = LW_NO_HANDLE;
        send_await(link);
    }
    link->broken = false;
    link->unanswered = 0;
    link->taken = 0;
    lw_buffer_clear(&link->in);
    lw_buffer_clear(&link->out);
}

void lw_link_reset(lw_link *link) {
    disconnect(link);
    lw_buffer_reset(&link->in);
    lw_buffer_reset(&link->out);
    lw_buffer_reset(&link->sending);
}

void lw_link_abandon(lw_link *link) {
    disconnect(link);
    link->session = 0;
}

/* ---- receiving ------------------------------------------------------------------------------ */

static uint64_t sooner(uint64_t a, uint64_t b) {
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* A call begins, which sends so many bytes. */
static void listen_from_now(lw_link *link, size_t bytes) {
    link->heard_ns = lw_env_now(link->env);
    link->pinged = false;
    link->patience_ns = PATIENCE_MS * (uint64_t)NS_PER_MS + NS_PER_BYTE * (uint64_t)bytes;
}

static void ping(lw_link *link) {
    LW_MARK(link->env, "link.asks_whether_anybody_is_there");
    lw_request request = {.kind = LW_MESSAGE_PING, .id = ++link->request_id};
    link->pinged = true;
    link->unanswered++;
    lw_request_encode(&request, &link->out);
    send_begin(link);
}

/* Receives what comes, at least a byte, unless the other side closed the connection. */
LW_YIELDS static lw_status receive_some(lw_link *link, uint8_t *to, size_t size,
                                        uint64_t deadline_ns, size_t *received) {
    for (;;) {
        uint64_t silence_ns = link->pinged ? link->patience_ns : SILENCE_MS * (uint64_t)NS_PER_MS;
        if (!link->pinged && LW_RARE(link->env, "link.pings_early")) {
            silence_ns = NS_PER_MS;
        }
        uint64_t until_ns = sooner(deadline_ns, link->heard_ns + silence_ns);
        lw_status status = lw_socket_receive(link->env, link->socket, to, size, until_ns, received);
        uint64_t now_ns = lw_env_now(link->env);
        if (status != LW_TIMEOUT) {
            link->heard_ns = now_ns;
            link->pinged = false;
            return status;
        }
        if (deadline_ns != 0 && now_ns >= deadline_ns) {
            return status;
        }
        if (link->pinged) {
            LW_MARK(link->env, "link.nobody_is_there");
            return lw_fail(LW_UNAVAILABLE, "%s has gone silent", link->address);
        }
        link->heard_ns = now_ns;
        ping(link);
    }
}

/* Receives until `size` bytes that were not looked at are there. */
LW_YIELDS static lw_status receive_whole(lw_link *link, size_t size, uint64_t deadline_ns) {
    while (link->in.size - link->taken < size) {
        size_t missing = size - (link->in.size - link->taken);
        size_t wanted = missing > READ_SIZE ? missing : (size_t)READ_SIZE, received = 0;
        /* Never room for more than what came so far and a piece: the announced size is hearsay. */
        size_t room = link->in.size - link->taken + READ_SIZE;
        wanted = wanted > room ? room : wanted;
        if (LW_RARE(link->env, "link.reads_little")) {
            wanted = 1;
        }
        uint8_t *to = lw_buffer_reserve(&link->in, wanted);
        lw_status status = receive_some(link, to, wanted, deadline_ns, &received);
        if (status == LW_TIMEOUT) {
            return lw_fail(LW_TIMEOUT, "%s did not answer in time", link->address);
        }
        LW_TRY(status);
        if (received == 0) {
            return lw_fail(LW_UNAVAILABLE, "%s closed the connection", link->address);
        }
        link->in.size += received;
    }
    return LW_OK;
}

/* Takes the next reply; `*place` is where its payload lies. */
LW_YIELDS static lw_status receive_reply(lw_link *link, uint64_t deadline_ns, size_t *place,
                                         lw_reply *reply) {
    uint32_t size = 0;
    LW_TRY(receive_whole(link, LW_FRAME_HEADER_SIZE, deadline_ns));
    lw_status status = lw_frame_size(link->in.data + link->taken, &size);
    if (status == LW_OK) {
        LW_TRY(receive_whole(link, LW_FRAME_HEADER_SIZE + (size_t)size, deadline_ns));
        *place = link->taken + LW_FRAME_HEADER_SIZE;
        link->taken = *place + size;
        status = lw_reply_decode(lw_view(link->in.data + *place, size), reply);
    }
    if (status != LW_OK) {
        return lw_fail(LW_REFUSED, "what listens on %s does not speak Lathwork's protocol",
                       link->address);
    }
    if (reply->id == 0 && reply->status != LW_OK) { /* turned away before it read a request */
        return lw_fail(reply->status == LW_REFUSED ? LW_REFUSED : LW_UNAVAILABLE, "%.*s",
                       (int)reply->error.size, (const char *)reply->error.data);
    }
    return LW_OK;
}

/* Finds out what a reply answers: one of `attempts`, whose ids begin at `first_id`, or something
 * sent behind. */
static lw_status match(lw_link *link, lw_attempt *attempts, uint32_t count, uint64_t first_id,
                       const lw_reply *reply, lw_attempt **answered) {
    *answered = NULL;
    bool behind =
        reply->id < first_id || (reply->id - first_id >= count && reply->id <= link->request_id);
    if (behind && link->unanswered > 0) {
        link->unanswered--;
        return LW_OK;
    }
    if (reply->id < first_id || reply->id - first_id >= count ||
        attempts[reply->id - first_id].answered) {
        return lw_fail(LW_UNAVAILABLE, "%s answered something that was not asked", link->address);
    }
    *answered = &attempts[reply->id - first_id];
    return LW_OK;
}

LW_YIELDS static lw_status receive_all(lw_link *link, lw_attempt *attempts, uint32_t count,
                                       uint64_t first_id, uint64_t deadline_ns) {
    for (uint32_t missing = count; missing > 0;) {
        lw_reply reply = {0};
        lw_attempt *answered;
        size_t place = 0;
        LW_TRY(receive_reply(link, deadline_ns, &place, &reply));
        LW_TRY(match(link, attempts, count, first_id, &reply, &answered));
        if (answered != NULL) {
            answered->answered = true;
            answered->place = place;
            answered->size = link->taken - place;
            answered->reply = reply;
            missing--;
        }
    }
    return LW_OK;
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* Drops what was looked at. */
static void compact(lw_link *link) {
    size_t rest = link->in.size - link->taken;
    if (rest == 0 && link->in.capacity > KEPT_SIZE_MAX) {
        lw_buffer_reset(&link->in);
    } else if (rest > 0 && link->taken > 0) {
        memmove(link->in.data, link->in.data + link->taken, rest);
    }
    link->in.size = rest;
    link->taken = 0;
}

LW_YIELDS static lw_status exchange(lw_link *link, lw_attempt *attempts, uint32_t count,
                                    uint64_t deadline_ns) {
    uint64_t first_id = link->request_id + 1;
    compact(link);
    for (uint32_t index = 0; index < count; index++) {
        attempts[index].request.id = ++link->request_id;
        attempts[index].sent = true;
        lw_request_encode(&attempts[index].request, &link->out);
    }
    listen_from_now(link, link->out.size);
    send_begin(link);
    lw_status status = receive_all(link, attempts, count, first_id, deadline_ns);
    for (uint32_t index = 0; index < count && count > 1; index++) { /* the buffer may have moved */
        lw_attempt *one = &attempts[index];
        if (one->answered) {
            lw_bytes payload = lw_view(link->in.data + one->place, one->size);
            lw_status again = lw_reply_decode(payload, &one->reply);
            LW_ASSERT(again == LW_OK);
        }
    }
    return status;
}

LW_YIELDS static lw_status greet(lw_link *link, uint64_t deadline_ns) {
    lw_buffer body = lw_buffer_in(link->env->memory);
    lw_hello hello = {.protocol_min = LW_PROTOCOL_MIN,
                      .protocol_max = LW_PROTOCOL_MAX,
                      .session = link->session,
                      .label = link->label};
    lw_hello_encode(&hello, &body);
    lw_attempt attempt = {.request = {.kind = LW_MESSAGE_HELLO, .body = lw_buffer_view(&body)}};
    lw_welcome welcome;
    lw_status status = exchange(link, &attempt, 1, deadline_ns);
    lw_buffer_reset(&body);
    LW_TRY(status);
    LW_TRY(lw_welcome_decode(attempt.reply.body, &welcome));
    link->session = welcome.session;
    link->node = welcome.node_id;
    link->retention_ms = welcome.retention_ms;
    return LW_OK;
}

LW_YIELDS static lw_status connect_and_greet(lw_link *link, uint64_t deadline_ns) {
    uint64_t connect_ns =
        sooner(deadline_ns, lw_env_now(link->env) + CONNECT_MS * (uint64_t)NS_PER_MS);
    LW_TRY(lw_socket_connect(link->env, link->address, connect_ns, &link->socket));
    return greet(link, deadline_ns);
}

/* Closes the connection after a failure. What was answered stays readable. */
LW_YIELDS static void give_up(lw_link *link) {
    lw_error reason = *lw_error_slot();
    lw_buffer kept = link->in;
    link->in = lw_buffer_in(link->env->memory);
    disconnect(link);
    lw_buffer_reset(&link->in);
    link->in = kept;
    link->taken = link->in.size; /* the next call drops it */
    *lw_error_slot() = reason;
}

lw_status lw_link_call(lw_link *link, lw_attempt *attempts, uint32_t count, uint64_t deadline_ns) {
    for (uint32_t index = 0; index < count; index++) {
        attempts[index].answered = attempts[index].sent = false;
    }
    if (link->broken) {
        disconnect(link);
    }
    lw_status status = LW_OK;
    if (!lw_handle_valid(link->socket)) {
        status = connect_and_greet(link, deadline_ns);
    }
    if (status == LW_OK) {
        status = exchange(link, attempts, count, deadline_ns);
    }
    if (status != LW_OK) {
        give_up(link);
    }
    return status;
}

void lw_link_send_behind(lw_link *link, lw_request *request) {
    bool full = link->unanswered >= BEHIND_COUNT_MAX ||
                link->out.size + request->body.size > BEHIND_BYTES_MAX;
    if (!lw_handle_valid(link->socket) || link->broken || full ||
        LW_RARE(link->env, "link.drops_what_is_behind")) {
        LW_MARK(link->env, "link.behind_dropped");
        return;
    }
    request->id = ++link->request_id;
    link->unanswered++;
    lw_request_encode(request, &link->out);
    send_begin(link);
}

void lw_link_settle(lw_link *link, uint64_t deadline_ns) {
    listen_from_now(link, 0);
    while (link->unanswered > 0 && lw_handle_valid(link->socket)) {
        lw_reply reply = {0};
        lw_attempt *answered;
        size_t place = 0;
        compact(link);
        lw_status status = receive_reply(link, deadline_ns, &place, &reply);
        if (status == LW_OK) {
            status = match(link, NULL, 0, link->request_id + 1, &reply, &answered);
        }
        if (status != LW_OK) {
            give_up(link);
        }
    }
}
