/* SPDX-License-Identifier: Apache-2.0 */
#include "client/link.h"

#include <stdio.h>

enum { READ_SIZE = 16 * 1024, KEPT_SIZE_MAX = 1024 * 1024 };

void lw_link_init(lw_link *link, lw_env *env, const char *address, lw_bytes label) {
    *link = (lw_link){.env = env,
                      .label = label,
                      .socket = LW_NO_HANDLE,
                      .in = lw_buffer_in(env->memory),
                      .out = lw_buffer_in(env->memory)};
    (void)snprintf(link->address, sizeof(link->address), "%s", address);
}

LW_YIELDS static void disconnect(lw_link *link) {
    if (lw_handle_valid(link->socket)) {
        lw_socket_close(link->env, link->socket);
        link->socket = LW_NO_HANDLE;
    }
}

void lw_link_reset(lw_link *link) {
    disconnect(link);
    lw_buffer_reset(&link->in);
    lw_buffer_reset(&link->out);
}

void lw_link_abandon(lw_link *link) {
    disconnect(link);
    link->session = 0;
}

/* Receives until `size` bytes are there. */
LW_YIELDS static lw_status receive_whole(lw_link *link, size_t size, uint64_t deadline_ns) {
    while (link->in.size < size) {
        size_t missing = size - link->in.size;
        size_t wanted = missing > READ_SIZE ? missing : (size_t)READ_SIZE, received = 0;
        /* Never room for more than what came so far and a piece: the announced size is hearsay. */
        size_t room = link->in.size + READ_SIZE;
        wanted = wanted > room ? room : wanted;
        uint8_t *to = lw_buffer_reserve(&link->in, wanted);
        LW_TRY(lw_socket_receive(link->env, link->socket, to, wanted, deadline_ns, &received));
        if (received == 0) {
            return lw_fail(LW_UNAVAILABLE, "%s closed the connection", link->address);
        }
        link->in.size += received;
    }
    return LW_OK;
}

/* One reply, which must answer `request_id`: there is one request at a time. */
LW_YIELDS static lw_status receive_reply(lw_link *link, uint64_t request_id, uint64_t deadline_ns,
                                         lw_reply *reply) {
    uint32_t size = 0;
    LW_TRY(receive_whole(link, LW_FRAME_HEADER_SIZE, deadline_ns));
    lw_status status = lw_frame_size(link->in.data, &size);
    if (status == LW_OK) {
        LW_TRY(receive_whole(link, LW_FRAME_HEADER_SIZE + (size_t)size, deadline_ns));
        status = lw_reply_decode(lw_view(link->in.data + LW_FRAME_HEADER_SIZE, size), reply);
    }
    if (status != LW_OK) {
        return lw_fail(LW_REFUSED, "what listens on %s does not speak Lathwork's protocol",
                       link->address);
    }
    if (reply->id == 0 && reply->status != LW_OK) { /* turned away before it read a request */
        return lw_fail(reply->status == LW_REFUSED ? LW_REFUSED : LW_UNAVAILABLE, "%.*s",
                       (int)reply->error.size, (const char *)reply->error.data);
    }
    if (reply->id != request_id || link->in.size != LW_FRAME_HEADER_SIZE + (size_t)size) {
        return lw_fail(LW_UNAVAILABLE, "%s answered something that was not asked", link->address);
    }
    return LW_OK;
}

LW_YIELDS static lw_status exchange(lw_link *link, lw_request *request, uint64_t deadline_ns,
                                    lw_attempt *attempt) {
    request->id = ++link->request_id;
    if (link->in.capacity > KEPT_SIZE_MAX) {
        lw_buffer_reset(&link->in);
    }
    if (link->out.capacity > KEPT_SIZE_MAX) {
        lw_buffer_reset(&link->out);
    }
    lw_buffer_clear(&link->in);
    lw_buffer_clear(&link->out);
    lw_request_encode(request, &link->out);
    attempt->sent = true;
    LW_TRY(lw_socket_send(link->env, link->socket, lw_buffer_view(&link->out), deadline_ns));
    LW_TRY(receive_reply(link, request->id, deadline_ns, &attempt->reply));
    attempt->answered = true;
    return LW_OK;
}

LW_YIELDS static lw_status greet(lw_link *link, uint64_t deadline_ns) {
    lw_buffer body = lw_buffer_in(link->env->memory);
    lw_hello hello = {.protocol_min = LW_PROTOCOL_MIN,
                      .protocol_max = LW_PROTOCOL_MAX,
                      .session = link->session,
                      .label = link->label};
    lw_hello_encode(&hello, &body);
    lw_request request = {.kind = LW_MESSAGE_HELLO, .body = lw_buffer_view(&body)};
    lw_attempt attempt = {0};
    lw_welcome welcome;
    lw_status status = exchange(link, &request, deadline_ns, &attempt);
    lw_buffer_reset(&body);
    LW_TRY(status);
    LW_TRY(lw_welcome_decode(attempt.reply.body, &welcome));
    link->session = welcome.session;
    return LW_OK;
}

lw_status lw_link_call(lw_link *link, lw_request *request, uint64_t deadline_ns,
                       lw_attempt *attempt) {
    *attempt = (lw_attempt){0};
    lw_status status = LW_OK;
    if (!lw_handle_valid(link->socket)) {
        LW_TRY(lw_socket_connect(link->env, link->address, deadline_ns, &link->socket));
        status = greet(link, deadline_ns);
    }
    if (status == LW_OK) {
        status = exchange(link, request, deadline_ns, attempt);
    }
    if (status != LW_OK) {
        lw_error reason = *lw_error_slot();
        disconnect(link);
        *lw_error_slot() = reason;
    }
    return status;
}
