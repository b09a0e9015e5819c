/* SPDX-License-Identifier: Apache-2.0 */
/* LOCKS: the pessimistic locks in memory and the prewritten ones in the tree as one list, in the
 * order of their keys, a page at a time. And what killing a transaction (node/kill.h) asks of a
 * shard. */
#include "node/replica_state.h"

#define NS_PER_MS UINT64_C(1000000)

enum { PAGE_BYTES = 1024 * 1024 }; /* of keys; a page ends after the row that reaches it */

/* ---- LOCKS ---------------------------------------------------------------------------------- */

typedef struct page {
    replica_call *call;
    uint64_t now_ns, now;      /* of the env, and of the oracle */
    const lw_lock_row *memory; /* the first of the locks in memory */
    uint32_t memory_count, memory_taken;
    lw_lock_row *rows; /* room for one more than the limit, as two may be on one key */
    uint32_t count, limit;
    size_t bytes;
} page;

static lw_bytes label_of(const page *made, uint64_t session, uint64_t start) {
    const lw_replica_options *options = &made->call->replica->options;
    lw_bytes label = options->session_label(options->argument, session);
    if (label.size == 0) {
        label = lw_recent_label(lw_recent_find(options->writers, start));
    }
    return lw_arena_copy(&made->call->arena, label);
}

static uint64_t ms_since(const page *made, uint64_t then_ns) {
    return made->now_ns > then_ns ? (made->now_ns - then_ns) / NS_PER_MS : 0;
}

static void tell_wait(const page *made, const lw_lock_waiter *waiter, lw_lock_wait *wait) {
    *wait = (lw_lock_wait){.start = waiter->start,
                           .label = label_of(made, waiter->session, waiter->start),
                           .waited_ms = ms_since(made, waiter->since_ns)};
}

/* The first of the queue. */
static void tell_queue(const page *made, const lw_lock_view *view, lw_lock_row *row) {
    uint32_t count =
        view->waiting < LW_LOCK_WAIT_COUNT_MAX ? view->waiting : (uint32_t)LW_LOCK_WAIT_COUNT_MAX;
    lw_lock_wait *waits = lw_arena_allocate(&made->call->arena, count * sizeof(*waits));
    const lw_lock_waiter *waiter = view->first;
    for (uint32_t index = 0; index < count; index++, waiter = waiter->next) {
        tell_wait(made, waiter, &waits[index]);
    }
    row->waiting = view->waiting;
    row->waits = waits;
    row->wait_count = count;
}

/* Who waits for the end of a commit, behind those that the row tells already. */
static void tell_watchers(const page *made, lw_lock_row *row) {
    const lw_lock_waiter *watchers[LW_LOCK_WAIT_COUNT_MAX];
    uint32_t room = LW_LOCK_WAIT_COUNT_MAX - row->wait_count;
    uint32_t count =
        lw_lock_table_watchers(made->call->replica->locks, row->start, row->key, room, watchers);
    if (count == 0) {
        return;
    }
    lw_lock_wait *waits =
        lw_arena_allocate(&made->call->arena, LW_LOCK_WAIT_COUNT_MAX * sizeof(*waits));
    uint32_t told = row->wait_count;
    if (told > 0) {
        memcpy(waits, row->waits, told * sizeof(*waits));
    }
    for (uint32_t index = 0; index < count && index < room; index++) {
        tell_wait(made, watchers[index], &waits[told++]);
    }
    row->waiting += count;
    row->waits = waits;
    row->wait_count = told;
}

/* Copies, since walking through the tree suspends and the table goes on. */
static void take_memory(page *made, lw_bytes lower, lw_bytes upper) {
    lw_arena *arena = &made->call->arena;
    lw_lock_view *views = lw_arena_allocate(arena, made->limit * sizeof(*views));
    made->memory_count =
        lw_lock_table_page(made->call->replica->locks, lower, upper, made->limit, views);
    lw_lock_row *rows = lw_arena_allocate(arena, made->memory_count * sizeof(*rows));
    for (uint32_t index = 0; index < made->memory_count; index++) {
        const lw_lock_view *view = &views[index];
        rows[index] = (lw_lock_row){.key = lw_arena_copy(arena, view->key),
                                    .kind = LW_LOCK_ROW_PESSIMISTIC,
                                    .start = view->start,
                                    .label = label_of(made, view->session, view->start),
                                    .held_ms = ms_since(made, view->since_ns)};
        tell_queue(made, view, &rows[index]);
    }
    made->memory = rows;
}

static bool full(const page *made) {
    return made->count >= made->limit || made->bytes >= PAGE_BYTES;
}

static void add_row(page *made, const lw_lock_row *row) {
    LW_ASSERT(made->count <= made->limit);
    made->rows[made->count++] = *row;
    made->bytes += row->key.size;
}

/* Those before `key`; with NULL all that are left. */
static void add_memory(page *made, const lw_bytes *key) {
    while (made->memory_taken < made->memory_count && !full(made)) {
        const lw_lock_row *row = &made->memory[made->memory_taken];
        if (key != NULL && lw_compare(row->key, *key) >= 0) {
            return;
        }
        add_row(made, row);
        made->memory_taken++;
    }
}

static uint64_t remaining_ms(const page *made, const lw_lock_record *lock) {
    uint64_t now_ms = lw_timestamp_ms(made->now), then_ms = lw_timestamp_ms(lock->expires);
    return then_ms > now_ms ? then_ms - now_ms : 0;
}

static lw_lock_row row_of(const page *made, lw_bytes key, const lw_lock_record *lock) {
    uint64_t now_ms = lw_timestamp_ms(made->now), began_ms = lw_timestamp_ms(lock->start);
    return (lw_lock_row){.key = lw_arena_copy(&made->call->arena, key),
                         .kind = lock->commit_timestamp != 0 ? LW_LOCK_ROW_ASYNC
                                                             : LW_LOCK_ROW_PREWRITTEN,
                         .start = lock->start,
                         .label = label_of(made, lock->session, lock->start),
                         .held_ms = now_ms > began_ms ? now_ms - began_ms : 0,
                         .remaining_ms = remaining_ms(made, lock)};
}

/* Who waits for a prewritten key waits for the pessimistic lock on it, if there is one, or for the
 * end of the commit. */
static void add_prewritten(page *made, lw_bytes key, const lw_lock_record *lock) {
    lw_lock_row row = row_of(made, key, lock);
    const lw_lock_row *other =
        made->memory_taken < made->memory_count ? &made->memory[made->memory_taken] : NULL;
    if (other != NULL && lw_equal(other->key, key)) {
        made->memory_taken++;
        if (other->start == row.start) {
            row.waiting = other->waiting;
            row.waits = other->waits;
            row.wait_count = other->wait_count;
        } else {
            add_row(made, other);
        }
    }
    tell_watchers(made, &row);
    add_row(made, &row);
}

LW_YIELDS static lw_status walk(page *made, lw_cursor *cursor) {
    LW_TRY(lw_cursor_first(cursor));
    while (lw_cursor_valid(cursor) && !full(made)) {
        lw_lock_record lock;
        lw_bytes key = lw_record_locked_key(lw_cursor_key(cursor));
        LW_TRY(lw_lock_record_decode(lw_cursor_key(cursor), lw_cursor_value(cursor), &lock));
        add_memory(made, &key);
        if (!full(made)) {
            add_prewritten(made, key, &lock);
            LW_TRY(lw_cursor_next(cursor));
        }
    }
    add_memory(made, NULL);
    return LW_OK;
}

/* Where to go on: behind the last row, or with the next shard. */
static lw_bytes next_of(const page *made, lw_bytes end) {
    if (!full(made)) {
        return lw_arena_copy(&made->call->arena, end);
    }
    lw_bytes last = made->rows[made->count - 1].key;
    uint8_t *next = lw_arena_allocate(&made->call->arena, last.size + 1);
    memcpy(next, last.data, last.size);
    next[last.size] = 0;
    return lw_view(next, last.size + 1);
}

lw_status replica_page_of_locks(replica_call *call, lw_bytes body, lw_buffer *reply) {
    lw_replica *replica = call->replica;
    lw_locks_request request;
    LW_TRY(lw_locks_request_decode(body, &call->arena, &request));
    const lw_shard_descriptor *shard = &replica->descriptor;
    lw_bytes lower = lw_compare(request.lower, shard->start) < 0 ? shard->start : request.lower;
    page made = {.call = call,
                 .now_ns = lw_env_now(replica->env),
                 .now = lw_timestamps_now(replica->options.timestamps),
                 .limit = request.row_limit};
    made.rows = lw_arena_allocate(&call->arena, (made.limit + 1) * sizeof(*made.rows));
    take_memory(&made, lower, shard->end);
    LW_TRY(replica_evaluation_open(call));
    lw_bytes end = lw_arena_copy(&call->arena, shard->end);
    lw_cursor *cursor =
        replica_open_locks(replica, call->evaluation.snapshot, lower, lw_view(NULL, 0));
    lw_status status = walk(&made, cursor);
    lw_cursor_close(cursor);
    replica_evaluation_close(call);
    LW_TRY(status);
    lw_bytes next = next_of(&made, end);
    lw_locks_reply answer = {
        .more = next.size > 0, .next = next, .rows = made.rows, .row_count = made.count};
    lw_locks_reply_encode(&answer, reply);
    return LW_OK;
}

/* ---- killing -------------------------------------------------------------------------------- */

static replica_call *find_writing(const lw_replica *replica, uint64_t start) {
    replica_call *each = replica->calls;
    while (each != NULL && each->writing != start) {
        each = each->next;
    }
    return each;
}

/* As a call, so that the replica is not closed under it. What it wrote is in doubt if this node led
 * no more before it ended; and so is what an earlier copy did if it ended before it looked. */
bool lw_replica_await_writes(lw_replica *replica, uint64_t start, bool *ended_here) {
    bool any = false;
    replica_call waiting, *writing;
    replica_call_open(replica, 0, 0, &waiting);
    while ((writing = find_writing(replica, start)) != NULL) {
        uint64_t leadership = writing->leadership;
        replica_ending ending = {.looked = false, .next = writing->endings};
        writing->endings = &ending;
        any = true;
        LW_MARK(replica->env, "replica.kill_waits");
        (void)lw_env_wait(replica->env, &writing->ended, 0);
        bool knows = ending.looked || LW_BUG(replica->env, "replica.killed_unlooked");
        *ended_here =
            *ended_here || (knows && replica->serving && replica->leadership == leadership);
    }
    replica_call_close(&waiting);
    return any;
}

LW_YIELDS static lw_status find_primary(lw_cursor *cursor, uint64_t start, lw_buffer *primary) {
    LW_TRY(lw_cursor_first(cursor));
    while (lw_cursor_valid(cursor)) {
        lw_lock_record lock;
        LW_TRY(lw_lock_record_decode(lw_cursor_key(cursor), lw_cursor_value(cursor), &lock));
        if (lock.start == start) {
            lw_buffer_append(primary, lock.primary);
            return LW_OK;
        }
        LW_TRY(lw_cursor_next(cursor));
    }
    return LW_NOT_FOUND;
}

LW_YIELDS static lw_status primary_of(replica_call *call, uint64_t start, lw_buffer *primary) {
    LW_TRY(replica_gate(call->replica));
    if (!replica_open_has(call->replica, start)) {
        return LW_NOT_FOUND;
    }
    LW_TRY(replica_evaluation_open(call));
    lw_cursor *cursor = replica_open_locks(call->replica, call->evaluation.snapshot,
                                           lw_view(NULL, 0), lw_view(NULL, 0));
    lw_status status = find_primary(cursor, start, primary);
    lw_cursor_close(cursor);
    replica_evaluation_close(call);
    return status;
}

lw_status lw_replica_primary_of(lw_replica *replica, uint64_t start, lw_buffer *primary) {
    replica_call looking;
    replica_call_open(replica, 0, 0, &looking);
    lw_status status = primary_of(&looking, start, primary);
    replica_call_close(&looking);
    return status;
}

void lw_replica_doom(lw_replica *replica, uint64_t start) {
    if (replica_gate(replica) == LW_OK) {
        replica_open_doom_one(replica, start);
    }
}
