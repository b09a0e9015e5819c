/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in, bytes out: records are opened as they arrive, and sealed as they leave, a piece at a
 * time. */
#include "node/peers_wire.h"

enum {
    READ_SIZE_LEAST = 4096,
    READ_SIZE_MOST = 64 * 1024,
    SEND_SIZE_MAX = 1024 * 1024, /* bytes sealed at a time: sealing more holds everybody else up */
    FEW_BYTES = 64,              /* of simulations, at a time */
    KEEP_SIZE_MAX = 128 * 1024,  /* bytes of room that an idle connection keeps */
};

/* ---- the life of a connection -------------------------------------------------------------------
 */

void lw_wire_init(lw_wire *wire, lw_env *env, lw_handle socket, lw_bytes received) {
    *wire = (lw_wire){.env = env, .socket = socket, .read_size = READ_SIZE_LEAST};
    wire->received = wire->clear = wire->out = wire->sending = lw_buffer_in(env->memory);
    lw_buffer_append(&wire->received, received);
    wire->heard_ns = lw_env_now(env);
}

void lw_wire_cut(lw_wire *wire) {
    if (wire->cut) {
        return;
    }
    wire->cut = true;
    lw_buffer_clear(&wire->out);
    wire->out_taken = 0;
    if (wire->is_sending) {
        lw_env_cancel(wire->env, &wire->send);
    }
    if (wire->receiving) {
        lw_env_cancel(wire->env, &wire->receive);
    }
    lw_queue_wake_all(&wire->changed);
}

void lw_wire_reset(lw_wire *wire) {
    lw_wire_cut(wire);
    while (wire->is_sending || wire->deferred) {
        lw_queue_wait(&wire->changed);
    }
    LW_ASSERT(!wire->receiving);
    lw_socket_close(wire->env, wire->socket);
    lw_buffer_reset(&wire->received);
    lw_buffer_reset(&wire->clear);
    lw_buffer_reset(&wire->out);
    lw_buffer_reset(&wire->sending);
    lw_seal_wipe(&wire->sending_cipher, sizeof(wire->sending_cipher));
    lw_seal_wipe(&wire->receiving_cipher, sizeof(wire->receiving_cipher));
}

/* ---- receiving ---------------------------------------------------------------------------- */

lw_bytes lw_wire_unread(const lw_wire *wire) {
    LW_ASSERT(wire->received_taken <= wire->received.size);
    return lw_view(wire->received.data + wire->received_taken,
                   wire->received.size - wire->received_taken);
}

void lw_wire_keep(lw_wire *wire, size_t left_size) {
    LW_ASSERT(left_size <= wire->received.size - wire->received_taken);
    wire->received_taken = wire->received.size - left_size;
}

/* Moves what is not taken to the front. After that nothing is moved again until something is taken,
 * so that a frame of many records is not moved with each. */
static void compact(lw_buffer *buffer, size_t *taken) {
    size_t left = buffer->size - *taken;
    if (*taken > 0 && left > 0) {
        memmove(buffer->data, buffer->data + *taken, left);
    }
    buffer->size = left;
    *taken = 0;
    if (left == 0 && buffer->capacity > KEEP_SIZE_MAX) {
        lw_buffer_reset(buffer);
    }
}

/* Much is asked for where much comes. */
static void adapt(lw_wire *wire, size_t count) {
    if (count == wire->read_size && wire->read_size < READ_SIZE_MOST) {
        wire->read_size *= 4;
    } else if (count < wire->read_size / 8 && wire->read_size > READ_SIZE_LEAST) {
        wire->read_size /= 4;
    }
}
_Static_assert(READ_SIZE_LEAST * 4 * 4 == READ_SIZE_MOST, "by steps of four");

lw_status lw_wire_fill(lw_wire *wire, uint64_t deadline_ns) {
    if (wire->cut) {
        return lw_fail(LW_UNAVAILABLE, "the connection was ended");
    }
    compact(&wire->received, &wire->received_taken);
    bool little = LW_RARE(wire->env, "peers.receives_little");
    wire->receive = (lw_op){.kind = LW_OP_RECEIVE,
                            .handle = wire->socket,
                            .buffer = lw_buffer_reserve(&wire->received, wire->read_size),
                            .size = little ? (size_t)FEW_BYTES : wire->read_size,
                            .deadline_ns = deadline_ns};
    wire->receiving = true;
    lw_status status = lw_env_perform(wire->env, &wire->receive);
    wire->receiving = false;
    if (wire->cut) {
        return lw_fail(LW_UNAVAILABLE, "the connection was ended");
    }
    LW_TRY(status);
    if (wire->receive.count == 0) {
        return lw_fail(LW_UNAVAILABLE, "the other side closed the connection");
    }
    wire->received.size += wire->receive.count;
    wire->bytes_received += wire->receive.count;
    wire->heard_ns = lw_env_now(wire->env);
    adapt(wire, wire->receive.count);
    return LW_OK;
}

lw_status lw_wire_read_step(lw_wire *wire, uint64_t deadline_ns, lw_step_kind *kind,
                            lw_bytes *body) {
    for (;;) {
        lw_bytes rest = lw_wire_unread(wire);
        lw_status status = lw_step_take(&rest, kind, body);
        if (status != LW_NOT_FOUND) {
            lw_wire_keep(wire, rest.size);
            return status;
        }
        LW_TRY(lw_wire_fill(wire, deadline_ns));
    }
}

/* The next frame of a buffer, if it is whole. */
static lw_status take_frame(const lw_buffer *buffer, size_t *taken, lw_wire_kind *kind,
                            lw_bytes *body) {
    size_t left = buffer->size - *taken;
    const uint8_t *at = buffer->data + *taken;
    if (left < LW_WIRE_HEADER_SIZE) {
        return LW_NOT_FOUND;
    }
    uint32_t size = lw_get_u32(at + 1);
    if (at[0] == 0 || at[0] > LW_WIRE_KIND_LAST || size > LW_WIRE_BODY_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "a frame of kind %u and %u bytes cannot be", at[0],
                       size);
    }
    if (left - LW_WIRE_HEADER_SIZE < size) {
        return LW_NOT_FOUND;
    }
    *kind = (lw_wire_kind)at[0];
    *body = lw_view(at + LW_WIRE_HEADER_SIZE, size);
    *taken += LW_WIRE_HEADER_SIZE + size;
    return LW_OK;
}

/* Opens the next record, if it is whole. */
static lw_status open_record(lw_wire *wire) {
    lw_bytes rest = lw_wire_unread(wire);
    compact(&wire->clear, &wire->clear_taken);
    LW_TRY(lw_records_open(&wire->receiving_cipher, &rest, &wire->clear));
    lw_wire_keep(wire, rest.size);
    return LW_OK;
}

lw_status lw_wire_next(lw_wire *wire, uint64_t deadline_ns, lw_wire_kind *kind, lw_bytes *body) {
    while (!wire->cut) {
        lw_status status = wire->plain
                               ? take_frame(&wire->received, &wire->received_taken, kind, body)
                               : take_frame(&wire->clear, &wire->clear_taken, kind, body);
        if (status == LW_NOT_FOUND && !wire->plain) {
            status = open_record(wire);
            if (status == LW_OK) {
                continue;
            }
        }
        if (status != LW_NOT_FOUND) {
            return status;
        }
        LW_TRY(lw_wire_fill(wire, deadline_ns));
    }
    return lw_fail(LW_UNAVAILABLE, "the connection was ended");
}

/* ---- sending ------------------------------------------------------------------------------ */

lw_status lw_wire_say(lw_wire *wire, lw_bytes bytes, uint64_t deadline_ns) {
    if (wire->cut) {
        return lw_fail(LW_UNAVAILABLE, "the connection was ended");
    }
    wire->bytes_sent += bytes.size;
    return lw_socket_send(wire->env, wire->socket, bytes, deadline_ns);
}

void lw_wire_protect(lw_wire *wire, lw_noise *noise, bool plain) {
    lw_noise_split(noise, &wire->sending_cipher, &wire->receiving_cipher);
    wire->plain = plain;
}

/* Moves the next piece of `out` into `sending`. */
static void pack(lw_wire *wire) {
    size_t left = wire->out.size - wire->out_taken;
    size_t size = left < SEND_SIZE_MAX ? left : SEND_SIZE_MAX;
    if (left > FEW_BYTES && LW_RARE(wire->env, "peers.sends_little")) {
        size = FEW_BYTES;
    }
    lw_bytes piece = lw_view(wire->out.data + wire->out_taken, size);
    if (!wire->plain) {
        lw_records_seal(&wire->sending_cipher, piece, &wire->sending);
    } else if (wire->out_taken == 0 && size == left) {
        lw_buffer whole = wire->out;
        wire->out = wire->sending;
        wire->sending = whole;
        lw_buffer_clear(&wire->out);
        return;
    } else {
        lw_buffer_append(&wire->sending, piece);
    }
    wire->out_taken += size;
    if (wire->out_taken > wire->out.size / 2) {
        compact(&wire->out, &wire->out_taken);
    }
}

static void send_complete(lw_op *op);

static void turn_ended(lw_op *op) {
    lw_wire *wire = op->owner;
    wire->deferred = false;
    if (wire->cut || wire->is_sending || wire->out.size == 0) {
        lw_queue_wake_all(&wire->changed);
        return;
    }
    pack(wire);
    wire->is_sending = true;
    wire->send = (lw_op){.kind = LW_OP_SEND,
                         .handle = wire->socket,
                         .buffer = wire->sending.data,
                         .size = wire->sending.size,
                         .complete = send_complete,
                         .owner = wire};
    lw_env_submit(wire->env, &wire->send);
}

void lw_wire_flush(lw_wire *wire) {
    if (wire->cut) {
        lw_buffer_clear(&wire->out);
        wire->out_taken = 0;
    } else if (!wire->deferred && !wire->is_sending) {
        wire->deferred = true;
        wire->defer = (lw_op){.kind = LW_OP_DEFER, .complete = turn_ended, .owner = wire};
        lw_env_submit(wire->env, &wire->defer);
    }
}

static void send_complete(lw_op *op) {
    lw_wire *wire = op->owner;
    bool much = wire->sending.size >= SEND_SIZE_MAX; /* more waited than goes at a time */
    wire->is_sending = false;
    wire->bytes_sent += wire->sending.size;
    if (wire->sending.capacity > KEEP_SIZE_MAX && wire->out.size == 0) {
        lw_buffer_reset(&wire->sending);
    }
    lw_buffer_clear(&wire->sending);
    if (op->status != LW_OK) {
        lw_wire_cut(wire);
    } else if (wire->out.size > 0) {
        lw_wire_flush(wire);
    }
    lw_queue_wake_all(&wire->changed);
    if (much && wire->room != NULL) {
        lw_queue_wake_all(wire->room);
    }
}

void lw_wire_put(lw_wire *wire, lw_wire_kind kind, lw_bytes first, lw_bytes second) {
    size_t size = first.size + second.size;
    LW_ASSERT(size <= LW_WIRE_BODY_SIZE_MAX);
    if (wire->cut) {
        return;
    }
    uint8_t *header = lw_buffer_reserve(&wire->out, LW_WIRE_HEADER_SIZE + size);
    header[0] = (uint8_t)kind;
    lw_put_u32(header + 1, (uint32_t)size);
    wire->out.size += LW_WIRE_HEADER_SIZE;
    lw_buffer_append(&wire->out, first);
    lw_buffer_append(&wire->out, second);
    lw_wire_flush(wire);
}

size_t lw_wire_queued(const lw_wire *wire) {
    return wire->out.size - wire->out_taken + wire->sending.size;
}

void lw_wire_drain(lw_wire *wire, uint64_t deadline_ns) {
    while (!wire->cut && (wire->deferred || lw_wire_queued(wire) > 0) &&
           lw_env_wait(wire->env, &wire->changed, deadline_ns)) {
    }
}
