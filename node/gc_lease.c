/* SPDX-License-Identifier: Apache-2.0 */
/* Readers outlive the node they stand on (hazard T11). A reader that pins without asking does so in
 * the memory of the nodes where its requests stand; when one of them dies, whoever leads its shards
 * then does not know of the reader before it comes again.
 *
 * So a node that has such pins holds a lease in the record of the root shard: a pin of its own, of
 * its oldest one's timestamp, for LEASE_MS of the oracle's time or as long as any of them lasts
 * that is half as old as the retention, if that is less. It is renewed while there is a reader,
 * given back when there is none, and ends by itself. The one lease stands for all readers of the
 * node, since none reads below the oldest; and it begins when that is half as old as the retention,
 * before which nothing could pass it: short transactions cost nothing.
 *
 * A node that decides has no lease: its own record names its readers, as of when it was written. So
 * that is written anew when another reader is the oldest one, as a lease would be taken anew; and
 * when the node decides no more, or does now, or others have come to one that was alone, what it
 * had counts no more. */
#include "node/gc_state.h"

#include "txn/oracle.h"
#include "txn/request.h"

enum { LEASE_MS = 30 * 1000, RENEW_MS = 10 * 1000, RETRY_MS = 500, LOOK_MS = 500, GRACE_MS = 3000 };

/* The oldest that somebody here reads at for longer than any new leader waits for readers (see
 * node/replica_gc.c), without having asked for it; NULL: nobody does. */
static const lw_pin *oldest_reader(const lw_gc *gc) {
    const lw_pin *oldest = NULL;
    uint64_t soon = gc_now(gc) + lw_timestamp_of_ms(GRACE_MS);
    for (const lw_pin *each = gc->pins.first; each != NULL; each = each->next) {
        if (!each->asked && each->until > soon &&
            (oldest == NULL || each->timestamp < oldest->timestamp)) {
            oldest = each;
        }
    }
    return oldest;
}

/* Until when any of them needs what might be collected soon. */
static uint64_t needed_until(const lw_gc *gc, const lw_pin *oldest) {
    uint64_t now = gc_now(gc), soon = now + lw_timestamp_of_ms(GRACE_MS), until = oldest->until;
    uint64_t half_ms = gc->options.retention_ms / 2;
    for (const lw_pin *each = gc->pins.first; each != NULL; each = each->next) {
        bool aged = lw_timestamp_ms(each->timestamp) + half_ms <= lw_timestamp_ms(now);
        if (!each->asked && aged && each->until > soon && each->until > until &&
            !LW_BUG(gc->env, "gc.lease_ends_with_the_oldest")) {
            until = each->until;
        }
    }
    return until;
}

LW_YIELDS static lw_status ask(lw_gc *gc, lw_message_kind kind, const lw_pin_request *request) {
    lw_buffer body = lw_buffer_in(gc->env->memory), reply = body;
    lw_pin_request_encode(request, &body);
    lw_status status =
        lw_shards_ask(gc->shards, kind, lw_view(NULL, 0), lw_buffer_view(&body), &reply);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    return status;
}

/* Until `until` at most; one that could not be had is tried again soon. */
LW_YIELDS static void take(lw_gc *gc, uint64_t timestamp, uint64_t until) {
    uint64_t now_ms = lw_timestamp_ms(gc_now(gc)), left_ms = lw_timestamp_ms(until) - now_ms;
    lw_pin_request request = {.timestamp = timestamp,
                              .lifetime_ms = left_ms < LEASE_MS ? left_ms : (uint64_t)LEASE_MS};
    bool taken = ask(gc, LW_MESSAGE_PIN, &request) == LW_OK;
    if (taken) {
        LW_MARK(gc->env, "gc.reader_leased");
        gc->leased = timestamp;
        gc->leased_until = until;
    }
    gc->renew_ns = lw_env_now(gc->env) + (taken ? RENEW_MS : RETRY_MS) * NS_PER_MS;
}

/* The collector itself (gc->alone) looks only when it has something to do. */
static bool alone_now(const lw_gc *gc) {
    return lw_shards_alone(gc->shards);
}

/* The record of this node, which decides, comes to name its readers. One that is alone makes them
 * durable before it moves the safepoint, and nobody takes over from it. */
static void note(lw_gc *gc, uint64_t timestamp, uint64_t until) {
    gc->noted_alone = LW_BUG(gc->env, "gc.readers_noted_alone") ? gc->alone : alone_now(gc);
    if (!gc->noted_alone) {
        gc->pin_changes++;
        gc->pin_asked = true;
        lw_queue_wake_all(&gc->work);
    }
    gc->leased = timestamp;
    gc->leased_until = until;
    gc->lease_noted = true;
    gc->renew_ns = lw_env_now(gc->env) + RENEW_MS * NS_PER_MS;
}

/* It ends by itself if this does not arrive. */
LW_YIELDS static void give_back(lw_gc *gc) {
    lw_pin_request request = {.timestamp = gc->leased, .asked = true};
    bool noted = gc->lease_noted;
    gc->leased = gc->leased_until = gc->renew_ns = 0;
    gc->lease_noted = false;
    if (!noted) {
        (void)!ask(gc, LW_MESSAGE_UNPIN, &request);
    }
}

/* How long until it is to be looked again; 0: not before somebody reads. */
LW_YIELDS static uint64_t look(lw_gc *gc) {
    const lw_pin *reader = oldest_reader(gc);
    uint64_t timestamp = reader == NULL ? 0 : reader->timestamp;
    uint64_t until = reader == NULL ? 0 : needed_until(gc, reader);
    bool others_came = gc->lease_noted && gc->noted_alone && !alone_now(gc) &&
                       !LW_BUG(gc->env, "gc.readers_noted_alone");
    bool another = gc->leased != timestamp || gc->lease_noted != gc_decides(gc) || others_came;
    bool once = gc->lease_noted && LW_BUG(gc->env, "gc.one_note_for_all_readers");
    if (gc->leased != 0 && another && !once) {
        give_back(gc);
    }
    if (timestamp == 0 || LW_BUG(gc->env, "gc.readers_have_no_lease")) {
        return timestamp == 0 ? 0 : LOOK_MS;
    }
    uint64_t now_ms = lw_timestamp_ms(gc_now(gc));
    uint64_t due_ms = lw_timestamp_ms(timestamp) + gc->options.retention_ms / 2;
    if (due_ms > now_ms) {
        return due_ms - now_ms;
    }
    if (lw_env_now(gc->env) >= gc->renew_ns || (until > gc->leased_until && !once)) {
        if (gc_decides(gc)) {
            note(gc, timestamp, until);
        } else {
            take(gc, timestamp, until);
        }
    }
    return LOOK_MS;
}

LW_YIELDS static void lease_main(void *argument) {
    lw_gc *gc = argument;
    while (!gc->stopping) {
        uint64_t pause_ms = look(gc);
        if (gc->stopping) {
            break;
        }
        if (pause_ms == 0) {
            lw_queue_wait(&gc->reading);
        } else {
            (void)lw_env_wait(gc->env, &gc->ending, lw_env_now(gc->env) + pause_ms * NS_PER_MS);
        }
    }
    gc->leasing = false;
    lw_queue_wake_all(&gc->stopped);
}

void gc_lease_start(lw_gc *gc) {
    gc->leasing = true;
    lw_env_start(gc->env, "gc lease", lease_main, gc);
}
