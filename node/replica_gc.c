/* SPDX-License-Identifier: Apache-2.0 */
/* What the collector of garbage (node/gc.h) asks of a replica.
 *
 * What a shard knows of its own past are two records at its start key, u64 little-endian. They come
 * by its log, so all replicas have them, and whoever comes to lead has them before it serves; a
 * split gives the child the same.
 *
 *   collected   the floor: whoever leads refuses who stands below it (hazard T11)
 *   forgotten   every shard has settled up to here, so that every replica's tree may forget
 *
 * The floor is durable before anybody is told that the shard has settled. From then on nobody below
 * it is let in, under this leader or another one; those that are in it end or are ended; so what
 * has settled once stays so, through splits and changes of the leader. */
#include "node/replica_state.h"

#include "txn/request.h"

enum { PAST_ENTRY_SIZE = 64, /* of each record, and the start key */ PIN_GRACE_MS = 3000 };
#define NS_PER_MS UINT64_C(1000000)

/* ---- what is known of the past -------------------------------------------------------------- */

static const char floor_name[] = "collected";
static const char forgotten_name[] = "forgotten";

lw_status replica_stands(const lw_replica *replica, uint64_t timestamp) {
    if (timestamp < replica->floor && !LW_BUG(replica->env, "replica.forgets_what_it_forgot")) {
        LW_MARK(replica->env, "replica.too_old");
        return lw_fail(LW_TOO_OLD,
                       "timestamp %llu lies below the safepoint %llu of shard %llu: begin anew",
                       (unsigned long long)timestamp, (unsigned long long)replica->floor,
                       (unsigned long long)replica->options.shard);
    }
    return lw_gc_stands(replica->options.gc, timestamp);
}

static uint64_t higher(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

LW_YIELDS static lw_status load_number(lw_replica *replica, const char *name, uint64_t *number) {
    lw_buffer value = lw_buffer_in(replica->env->memory);
    lw_status status = lw_replica_kept(replica, name, &value);
    bool sound = value.size == sizeof(uint64_t);
    *number = status == LW_OK && sound ? lw_get_u64(value.data) : 0;
    lw_buffer_reset(&value);
    if (status == LW_OK && !sound) {
        return lw_fail(LW_CORRUPTION, "what shard %llu says of its past is damaged",
                       (unsigned long long)replica->options.shard);
    }
    return status == LW_NOT_FOUND ? LW_OK : status;
}

lw_status replica_load_past(lw_replica *replica) {
    uint64_t floor, forgotten;
    LW_TRY(load_number(replica, floor_name, &floor));
    LW_TRY(load_number(replica, forgotten_name, &forgotten));
    replica->floor_kept = floor = higher(replica->floor_kept, floor);
    replica->floor = higher(replica->floor, floor);
    if (LW_BUG(replica->env, "gc.new_leader_forgets_floor")) {
        replica->floor = replica->floor_kept = 0;
    }
    replica->forgotten = higher(replica->forgotten, forgotten);
    replica->forgotten_kept = higher(replica->forgotten_kept, forgotten);
    lw_replica_collect(replica, replica->forgotten_kept);
    return LW_OK;
}

static void put_number(const char *name, lw_bytes start, uint64_t number, lw_buffer *batch) {
    lw_buffer key = lw_buffer_in(batch->memory);
    uint8_t value[8];
    lw_record_meta_key(start, name, &key);
    lw_put_u64(value, number);
    lw_batch_put(batch, lw_buffer_view(&key), lw_view(value, sizeof(value)));
    lw_buffer_reset(&key);
}

void replica_put_past(const lw_replica *replica, lw_bytes start, lw_buffer *batch) {
    if (replica->floor > 0) {
        put_number(floor_name, start, replica->floor, batch);
    }
    if (replica->forgotten > 0) {
        put_number(forgotten_name, start, replica->forgotten, batch);
    }
}

void replica_put_past_of_both(const lw_replica *left, const lw_replica *right, lw_buffer *batch) {
    uint64_t floor = higher(left->floor, right->floor);
    uint64_t forgotten = higher(left->forgotten, right->forgotten);
    if (floor > 0) {
        put_number(floor_name, left->descriptor.start, floor, batch);
    }
    if (forgotten > 0) {
        put_number(forgotten_name, left->descriptor.start, forgotten, batch);
    }
}

/* Takes it out of an entry of the shard's own. */
void replica_take_past(lw_replica *replica, lw_bytes batch) {
    lw_batch_operation operation;
    while (lw_batch_next(&batch, &operation)) {
        if (operation.kind != LW_BATCH_PUT || operation.value.size != sizeof(uint64_t)) {
            continue;
        }
        lw_bytes name = lw_record_meta_name(operation.key);
        uint64_t number = lw_get_u64(operation.value.data);
        if (lw_equal(name, lw_text(floor_name))) {
            replica->floor = higher(replica->floor, number);
            replica->floor_kept = higher(replica->floor_kept, number);
        } else if (lw_equal(name, lw_text(forgotten_name))) {
            replica->forgotten = higher(replica->forgotten, number);
            replica->forgotten_kept = higher(replica->forgotten_kept, number);
            if (replica->log != NULL) { /* what is replayed is looked up before the start */
                lw_replica_collect(replica, number);
                lw_gc_all_settled(replica->options.gc, number);
            }
        }
    }
}

/* Makes what is known of the past durable, and applied. */
LW_YIELDS static lw_status keep_past(lw_replica *replica, uint64_t leadership) {
    LW_TRY(replica_log_room(replica, 2 * PAST_ENTRY_SIZE + replica->descriptor_bytes.size, true));
    lw_buffer batch = lw_buffer_in(replica->env->memory);
    replica_proposal proposal = {.base = {.term = leadership}};
    replica_put_past(replica, replica->descriptor.start, &batch);
    replica_propose(replica, ENTRY_KEPT, &batch, &proposal);
    lw_status status = replica_wait(replica, &proposal);
    lw_buffer_reset(&batch);
    return status;
}

lw_status replica_spread(lw_replica *replica) {
    uint64_t decided = lw_gc_decided(replica->options.gc);
    if (decided <= replica->floor_kept) {
        return LW_OK;
    }
    LW_MARK(replica->env, "replica.spreads_with_its_past");
    replica->floor = decided;
    replica->forgotten = higher(replica->forgotten, lw_gc_forgotten(replica->options.gc, true));
    return keep_past(replica, replica->leadership);
}

bool lw_replica_alone(const lw_replica *replica) {
    return replica_alone(replica) && !replica->spreading;
}

/* ---- standing on timestamps ----------------------------------------------------------------- */

lw_status replica_stand(replica_call *call, uint64_t timestamp) {
    const lw_replica_options *options = &call->replica->options;
    LW_TRY(replica_given(call, timestamp));
    LW_TRY(replica_stands(call->replica, timestamp));
    if (timestamp < call->stands_on) {
        call->stands_on = timestamp;
    }
    return lw_gc_stand(options->gc, call->session, timestamp, call->timeout_ms);
}

/* ---- settling and forgetting ---------------------------------------------------------------- */

bool lw_replica_settle(lw_replica *replica, uint64_t safepoint) {
    /* Before it serves it has not looked yet which locks there are. */
    bool looked = replica->serving || LW_BUG(replica->env, "gc.settled_before_it_serves");
    bool settled = replica_open_doom_below(replica, safepoint) == 0 && looked;
    for (const replica_call *each = replica->calls; each != NULL; each = each->next) {
        settled &= !(each->standing && each->stands_on < safepoint);
    }
    return settled;
}

void lw_replica_collect(lw_replica *replica, uint64_t safepoint) {
    if (lw_tree_safepoint(replica->tree) < safepoint) {
        lw_tree_set_safepoint(replica->tree, safepoint);
    }
}

uint64_t lw_replica_stale_after(const lw_replica *replica, uint64_t safepoint) {
    return lw_tree_stale_after(replica->tree, safepoint);
}

/* ---- COLLECT -------------------------------------------------------------------------------- */

/* Who has just come to lead does not know yet who reads here. */
static uint64_t lowest(const lw_replica *replica, uint64_t safepoint) {
    if (lw_env_now(replica->env) < replica->led_ns + PIN_GRACE_MS * NS_PER_MS) {
        LW_MARK(replica->env, "replica.readers_may_come_back");
        return 0;
    }
    return lw_gc_lowest(replica->options.gc, safepoint);
}

/* From looking for pins to raising the floor nothing suspends. */
LW_YIELDS static lw_status settle(replica_call *call, uint64_t safepoint, lw_collect_reply *reply) {
    lw_replica *replica = call->replica;
    reply->lowest = lw_gc_lowest(replica->options.gc, safepoint);
    if (reply->lowest < safepoint) {
        return LW_OK;
    }
    replica->floor = higher(replica->floor, safepoint);
    if (replica->floor_kept < safepoint) {
        LW_TRY(keep_past(replica, replica_leadership_of(call)));
        LW_TRY(replica_check_epoch(call));
    }
    reply->settled = lw_replica_settle(replica, safepoint);
    return LW_OK;
}

/* A child that comes off meanwhile takes along what is noted here at once. */
LW_YIELDS static lw_status forget(replica_call *call, uint64_t safepoint) {
    lw_replica *replica = call->replica;
    if (replica->forgotten_kept >= safepoint) {
        return LW_OK;
    }
    bool settled = replica->floor_kept >= safepoint && lw_replica_settle(replica, safepoint);
    if (!settled && !LW_BUG(replica->env, "gc.collects_before_all_settled")) {
        return lw_fail(LW_INVALID_ARGUMENT, "shard %llu has not settled up to %llu",
                       (unsigned long long)replica->options.shard, (unsigned long long)safepoint);
    }
    replica->forgotten = higher(replica->forgotten, safepoint);
    return keep_past(replica, replica_leadership_of(call));
}

static lw_status check_key(replica_call *call, lw_bytes key) {
    const lw_shard_descriptor *shard = &call->replica->descriptor;
    if (lw_compare(key, shard->start) >= 0 &&
        (shard->end.size == 0 || lw_compare(key, shard->end) < 0)) {
        return LW_OK;
    }
    call->misrouted = true;
    return lw_fail(LW_UNAVAILABLE,
                   "shard %llu does not hold this key: ask again with its descriptor",
                   (unsigned long long)shard->id);
}

LW_YIELDS static lw_status carry_out(replica_call *call, const lw_collect_request *asked,
                                     lw_collect_reply *answer) {
    LW_TRY(check_key(call, asked->key));
    switch (asked->step) {
    case LW_COLLECT_WANTED:
        lw_gc_wanted(call->replica->options.gc, asked->safepoint);
        return LW_OK;
    case LW_COLLECT_ASK:
        LW_TRY(replica_confirm(call));
        answer->lowest = lowest(call->replica, asked->safepoint);
        return LW_OK;
    case LW_COLLECT_SETTLE:
        LW_TRY(settle(call, asked->safepoint, answer));
        return replica_confirm(call);
    case LW_COLLECT_FORGET:
        return forget(call, asked->safepoint);
    }
    return LW_OK;
}

lw_status replica_collect(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_collect_request asked;
    lw_collect_reply answer = {0};
    if (call->session != 0 || call->replica->options.gc == NULL) {
        return lw_fail(LW_INVALID_ARGUMENT, "garbage is collected by nodes, of shards");
    }
    LW_TRY(lw_collect_request_decode(body, &call->arena, &asked));
    LW_TRY(carry_out(call, &asked, &answer));
    /* Of what came off meanwhile the child is asked. */
    LW_TRY(replica_check_epoch(call));
    answer.end = call->replica->descriptor.end;
    lw_collect_reply_encode(&answer, reply);
    return LW_OK;
}

/* ---- memtables ------------------------------------------------------------------------------ */

/* Whether an entry that was not proposed here came from a request: the shard's own change nothing
 * but its records about itself. */
static bool from_request(lw_bytes entry) {
    lw_batch_operation operation;
    return entry.size > ENTRY_TRAILER_SIZE &&
           lw_batch_next(&(lw_bytes){entry.data, entry.size - ENTRY_TRAILER_SIZE}, &operation) &&
           !lw_record_is_meta(operation.key);
}

void replica_gc_applied(lw_replica *replica, uint64_t index, lw_bytes entry) {
    if (from_request(entry)) {
        replica->written_index = index;
        if (replica->log != NULL) {
            lw_gc_written(replica->options.gc);
        }
    }
}

bool lw_replica_unflushed(const lw_replica *replica) {
    return replica->written_index > lw_tree_flushed(replica->tree);
}

void lw_replica_flush_old(lw_replica *replica, uint64_t safepoint, uint64_t newest) {
    if (!lw_replica_unflushed(replica)) {
        return;
    }
    if (replica->aging_index <= lw_tree_flushed(replica->tree)) {
        replica->aging_index = replica->written_index;
        replica->aging_until = newest;
    }
    if (replica->aging_until <= safepoint) {
        LW_MARK(replica->env, "replica.old_memtable_flushed");
        (void)!lw_tree_flush(replica->tree); /* the store itself tries again */
    }
}
