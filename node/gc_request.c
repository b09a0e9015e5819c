/* SPDX-License-Identifier: Apache-2.0 */
/* PIN and UNPIN, to the node that leads the root shard; and what the collector says of itself. */
#include "node/gc_state.h"

#include "txn/oracle.h"
#include "txn/request.h"

/* ---- PIN and UNPIN -------------------------------------------------------------------------- */

LW_YIELDS static lw_status await_durable(lw_gc *gc, uint64_t deadline_ns) {
    uint64_t mine = ++gc->pin_changes;
    gc->pin_asked = true;
    lw_queue_wake_all(&gc->work);
    while (gc->pin_changes_durable < mine) {
        if (gc->stopping || !gc_decides(gc)) {
            return lw_fail(LW_UNAVAILABLE,
                           "the node is stopping, or leads the root shard no more: try "
                           "again");
        }
        if (!lw_env_wait(gc->env, &gc->pinned, deadline_ns)) {
            return lw_fail(LW_TIMEOUT, "the pin could not be written in time: the disk is too slow "
                                       "or full");
        }
    }
    return LW_OK;
}

LW_YIELDS static lw_status pin(lw_gc *gc, const lw_pin_request *asked, uint64_t session,
                               uint64_t deadline_ns, uint64_t *timestamp) {
    *timestamp = asked->timestamp;
    if (*timestamp == 0) {
        LW_TRY(lw_timestamps_take(gc->timestamps, 1, deadline_ns, timestamp));
    }
    LW_TRY(lw_timestamps_given(gc->timestamps, *timestamp, deadline_ns));
    LW_TRY(lw_gc_stands(gc, *timestamp));
    uint64_t until = gc_now(gc) + lw_timestamp_of_ms(asked->lifetime_ms);
    lw_bytes label = gc->options.session_label(gc->options.argument, session);
    lw_pin *made = gc->pins.by_place.count < LW_PIN_RECORD_COUNT
                       ? lw_pins_hold(&gc->pins, session, *timestamp, until, label)
                       : NULL;
    if (made == NULL) {
        return lw_fail(LW_BACKPRESSURE, "%d timestamps are pinned already: let go of some",
                       LW_PIN_RECORD_COUNT);
    }
    made->asked = true;
    lw_status status = await_durable(gc, deadline_ns);
    if (status != LW_OK) {
        (void)lw_pins_drop(&gc->pins, session, *timestamp, true);
    }
    return status;
}

lw_status lw_gc_request(lw_gc *gc, const lw_request *request, uint64_t session, lw_buffer *reply) {
    if (gc->shards == NULL || !gc_decides(gc)) {
        if (gc->shards != NULL) {
            lw_shards_topology(gc->shards, lw_view(NULL, 0), reply);
        }
        return lw_fail(LW_UNAVAILABLE, "the root shard is led by another node, or by none yet");
    }
    lw_arena arena = lw_arena_in(gc->env->memory);
    lw_pin_request asked;
    lw_status status = lw_pin_request_decode(request->body, &arena, &asked);
    lw_arena_reset(&arena);
    LW_TRY(status);
    if (request->kind == LW_MESSAGE_UNPIN) {
        (void)lw_pins_drop(&gc->pins, session, asked.timestamp, asked.asked);
        return LW_OK;
    }
    uint64_t deadline_ns =
        request->timeout_ms == 0 ? 0 : lw_env_now(gc->env) + request->timeout_ms * NS_PER_MS;
    lw_pin_reply answer;
    LW_TRY(pin(gc, &asked, session, deadline_ns, &answer.timestamp));
    lw_pin_reply_encode(&answer, reply);
    return LW_OK;
}

/* ---- looking -------------------------------------------------------------------------------- */

uint64_t lw_gc_retention_ms(const lw_gc *gc) {
    return gc->options.retention_ms;
}

static uint64_t ms_between(uint64_t from, uint64_t to) {
    return to > from ? lw_timestamp_ms(to) - lw_timestamp_ms(from) : 0;
}

void lw_gc_status(lw_gc *gc, lw_json *json) {
    uint64_t now = gc_now(gc);
    (void)lw_pins_expire(&gc->pins, now);
    const lw_pin *oldest = lw_pins_oldest(&gc->pins);
    lw_json_object_open(json, "retention");
    lw_json_number(json, "retention_ms", gc->options.retention_ms);
    lw_json_number(json, "safepoint", gc->pins.safepoint);
    if (gc->pins.safepoint > 0) {
        lw_json_number(json, "safepoint_age_ms", ms_between(gc->pins.safepoint, now));
    }
    lw_json_number(json, "collected", gc->collected);
    lw_json_number(json, "pins", gc->pins.by_place.count);
    if (oldest != NULL) {
        lw_json_object_open(json, "oldest_pin");
        lw_json_number(json, "timestamp", oldest->timestamp);
        lw_json_number(json, "age_ms", ms_between(oldest->timestamp, now));
        lw_json_number(json, "remaining_ms", ms_between(now, oldest->until));
        lw_json_text(json, "label", lw_view(oldest->label, oldest->label_size));
        lw_json_object_close(json);
    }
    lw_json_object_close(json);
}
