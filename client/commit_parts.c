/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting a commit into parts: which keys and ranges go to which shard, in messages of bounded size
 * (client/commit.h).
 *
 * Invariants
 * 1. A part lies in one shard, and its call says so of all that it is about: if that shard was
 *    split meanwhile the call moves, and the window is made anew.
 * 2. Which reads travel with the prewrites follows from the writes, the reads and what is known of
 *    the shards alone, so that what does not travel is validated apart as long as that stays. */
#include "client/commit.h"

enum {
    MESSAGE_BYTES_MAX = 2 * 1024 * 1024, /* of a PREWRITE, COMMIT, … ; one mutation may be more */
    MESSAGE_COUNT_MAX = 16 * 1024,
    WINDOW_BYTES_MAX = 4 * 1024 * 1024, /* a window is full when it has reached that */
    TRAVEL_COUNT_MAX = 4096,            /* reads that travel with the prewrites of a shard */
    TRAVEL_BYTES_MAX = 1024 * 1024,
    TRAVEL_RANGES_MAX = 256,
    PIECE_COUNT_MAX = 1024, /* of ranges in a window */
};

/* ---- windows ------------------------------------------------------------------------------ */

static void window_open(lw_commit_job *job) {
    lw_arena_reset(&job->window);
    job->call_count = 0;
    job->window_bytes = 0;
    job->next = job->at;
}

static bool window_full(const lw_commit_job *job) {
    return job->call_count == LW_CALL_COUNT_MAX || job->window_bytes >= WINDOW_BYTES_MAX ||
           (job->call_count > 0 && LW_RARE(job->txn->client->env, "client.small_window"));
}

static void make_room(lw_commit_job *job) {
    uint32_t room = job->call_room == 0 ? 1 : (uint32_t)LW_CALL_COUNT_MAX;
    lw_call *calls = lw_arena_allocate(&job->arena, room * sizeof(*calls));
    lw_buffer *bodies = lw_arena_allocate(&job->arena, room * sizeof(*bodies));
    for (uint32_t index = 0; index < room; index++) {
        bool there = index < job->call_room;
        calls[index] = there ? job->calls[index] : (lw_call){0};
        bodies[index] = there ? job->bodies[index] : lw_buffer_in(job->txn->client->env->memory);
    }
    job->calls = calls;
    job->bodies = bodies;
    job->call_room = room;
}

/* The body that the next call will have. */
static lw_buffer *body_open(lw_commit_job *job) {
    if (job->call_count == job->call_room) {
        make_room(job);
    }
    lw_buffer *body = &job->bodies[job->call_count];
    lw_buffer_clear(body);
    return body;
}

static void add_call(lw_commit_job *job, lw_message_kind kind, lw_bytes first, lw_bytes last,
                     bool range) {
    lw_bytes body = lw_buffer_view(&job->bodies[job->call_count]);
    job->calls[job->call_count++] =
        (lw_call){.kind = kind, .body = body, .first = first, .last = last, .range = range};
    job->window_bytes += body.size;
}

LW_YIELDS static lw_status route(lw_commit_job *job, lw_bytes key,
                                 const lw_shard_descriptor **shard) {
    return lw_client_route(job->txn->client, key, false, job->txn->deadline_ns, shard);
}

/* How many keys from number `first` on go into one message to the shard; at least one. */
static uint32_t fitting(const lw_commit_job *job, const lw_shard_descriptor *shard, uint64_t first,
                        bool values) {
    uint64_t taken = 0, bytes = 0;
    bool tiny = LW_RARE(job->txn->client->env, "client.tiny_messages");
    uint64_t count_max = tiny ? 1 : (uint64_t)MESSAGE_COUNT_MAX;
    while (first + taken < job->mutation_count && taken < count_max) {
        uint64_t place = first + taken;
        bytes += job->keys[place].size + (values ? job->mutations[place].value.size : 0) + 32;
        if (taken > 0 && (bytes > MESSAGE_BYTES_MAX || !lw_shard_holds(shard, job->keys[place]))) {
            break;
        }
        taken++;
    }
    return (uint32_t)taken;
}

/* ---- what was read in a shard ------------------------------------------------------------- */

/* The first of the sorted keys at or after `bound`; with an empty bound the first of all. */
static uint64_t first_read_from(const lw_commit_job *job, lw_bytes bound) {
    uint64_t low = 0, high = job->read_key_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (lw_compare(job->read_keys[middle].key, bound) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool written_in(const lw_commit_job *job, const lw_shard_descriptor *shard) {
    uint64_t low = 0, high = job->mutation_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (lw_compare(job->keys[middle], shard->start) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < job->mutation_count && lw_shard_holds(shard, job->keys[low]);
}

/* The part of a range that lies in the shard; false if there is none. */
static bool clip(const lw_seen_range *range, const lw_shard_descriptor *shard,
                 lw_seen_range *clipped) {
    *clipped = *range;
    if (lw_compare(range->lower, shard->start) < 0) {
        clipped->lower = shard->start;
    }
    bool ends_below =
        shard->end.size > 0 && (range->upper.size == 0 || lw_compare(shard->end, range->upper) < 0);
    clipped->upper = ends_below ? shard->end : range->upper;
    return clipped->upper.size == 0 || lw_compare(clipped->lower, clipped->upper) < 0;
}

/* What was read in a shard, if that is little enough to travel. */
typedef struct travellers {
    const lw_seen_key *keys;
    lw_seen_range *ranges; /* clipped; the bounds of the shard are views of its descriptor */
    uint32_t key_count, range_count;
} travellers;

/* False if they do not travel: they are validated apart. */
static bool find_travellers(lw_commit_job *job, const lw_shard_descriptor *shard,
                            travellers *found) {
    size_t bytes = 0;
    *found = (travellers){0};
    if (!written_in(job, shard)) {
        return false;
    }
    uint64_t at = first_read_from(job, shard->start);
    found->keys = job->read_keys + at;
    for (; at < job->read_key_count && lw_shard_holds(shard, job->read_keys[at].key); at++) {
        bytes += job->read_keys[at].key.size + 16;
        found->key_count++;
        if (found->key_count > TRAVEL_COUNT_MAX || bytes > TRAVEL_BYTES_MAX) {
            return false;
        }
    }
    for (at = 0; at < job->read_range_count; at++) {
        lw_seen_range piece;
        if (shard->end.size > 0 && lw_compare(job->read_ranges[at].lower, shard->end) >= 0) {
            break;
        }
        if (clip(&job->read_ranges[at], shard, &piece)) {
            if (found->ranges == NULL) {
                found->ranges =
                    lw_arena_allocate(&job->window, TRAVEL_RANGES_MAX * sizeof(lw_seen_range));
            }
            bytes += piece.lower.size + piece.upper.size + 32;
            if (found->range_count == TRAVEL_RANGES_MAX || bytes > TRAVEL_BYTES_MAX) {
                return false;
            }
            found->ranges[found->range_count++] = piece;
        }
    }
    return true;
}

/* ---- one round ------------------------------------------------------------------------------ */

lw_status lw_commit_lies_in_one_shard(lw_commit_job *job, bool *lies) {
    const lw_shard_descriptor *shard;
    LW_TRY(route(job, job->keys[0], &shard));
    *lies = lw_shard_holds(shard, job->keys[job->mutation_count - 1]);
    return LW_OK;
}

static bool spans_all(const lw_commit_job *job, const lw_shard_descriptor *shard) {
    bool all = lw_shard_holds(shard, job->keys[job->mutation_count - 1]);
    for (uint64_t at = 0; at < job->read_key_count && all; at++) {
        all = lw_shard_holds(shard, job->read_keys[at].key);
    }
    for (uint64_t at = 0; at < job->read_range_count && all; at++) {
        all = lw_shard_spans(shard, job->read_ranges[at].lower, job->read_ranges[at].upper);
    }
    return all;
}

lw_status lw_commit_make_now(lw_commit_job *job) {
    const lw_shard_descriptor *shard;
    window_open(job);
    LW_TRY(route(job, job->keys[0], &shard));
    if (!spans_all(job, shard)) {
        return LW_OK;
    }
    lw_commit_now_request request = {.start = job->txn->start,
                                     .mutations = job->mutations,
                                     .mutation_count = (uint32_t)job->mutation_count,
                                     .keys = job->read_keys,
                                     .key_count = (uint32_t)job->read_key_count,
                                     .ranges = job->read_ranges,
                                     .range_count = (uint32_t)job->read_range_count};
    lw_commit_now_request_encode(&request, body_open(job));
    bool reads = job->read_key_count + job->read_range_count > 0;
    lw_bytes first = job->keys[0], last = job->keys[job->mutation_count - 1];
    if (reads) { /* the call is about all of the shard, as the reads may lie anywhere in it */
        first = lw_arena_copy(&job->window, shard->start);
        last = lw_arena_copy(&job->window, shard->end);
    }
    add_call(job, LW_MESSAGE_COMMIT_NOW, first, last, reads);
    return LW_OK;
}

/* ---- prewriting ----------------------------------------------------------------------------- */

/* One PREWRITE of `count` mutations from number `first` on. Its reads travel with the first of each
 * shard, and with the primary all other keys. */
static void add_prewrite(lw_commit_job *job, const lw_shard_descriptor *shard, uint64_t first,
                         uint32_t count, uint64_t proposed) {
    lw_prewrite_request request = {.start = job->txn->start,
                                   .primary = job->primary,
                                   .lifetime_ms = lw_txn_lifetime_ms(job->txn),
                                   .mutations = job->mutations + first,
                                   .mutation_count = count,
                                   .commit_timestamp = proposed,
                                   .sequence = job->txn->flushes};
    travellers reads = {0};
    bool first_of_shard = first == 0 || !lw_shard_holds(shard, job->keys[first - 1]);
    bool travel = proposed != 0 && first_of_shard && find_travellers(job, shard, &reads) &&
                  reads.key_count + reads.range_count > 0;
    if (travel) {
        request.keys = reads.keys;
        request.key_count = reads.key_count;
        request.ranges = reads.ranges;
        request.range_count = reads.range_count;
    }
    if (proposed != 0 && first == 0) {
        request.secondaries = job->keys + 1;
        request.secondary_count = (uint32_t)(job->mutation_count - 1);
    }
    lw_prewrite_request_encode(&request, body_open(job));
    if (travel) {
        add_call(job, LW_MESSAGE_PREWRITE, lw_arena_copy(&job->window, shard->start),
                 lw_arena_copy(&job->window, shard->end), true);
    } else {
        add_call(job, LW_MESSAGE_PREWRITE, job->keys[first], job->keys[first + count - 1], false);
    }
}

lw_status lw_commit_make_prewrites(lw_commit_job *job, uint64_t proposed, bool *more) {
    window_open(job);
    while (job->next.item < job->mutation_count && !window_full(job)) {
        const lw_shard_descriptor *shard;
        LW_TRY(route(job, job->keys[job->next.item], &shard));
        uint32_t count = fitting(job, shard, job->next.item, true);
        if (job->txn->flushes > 0) {
            lw_touched_add(&job->txn->touched, &job->txn->arena, job->keys[job->next.item],
                           job->keys[job->next.item + count - 1]);
        }
        add_prewrite(job, shard, job->next.item, count, proposed);
        job->next.item += count;
    }
    *more = job->next.item < job->mutation_count;
    return LW_OK;
}

/* ---- validating ----------------------------------------------------------------------------- */

/* How many of the sorted reads from `first` on go into one message; `*end` is behind all that lie
 * in the shard. */
static uint32_t reads_fitting(const lw_commit_job *job, const lw_shard_descriptor *shard,
                              uint64_t first) {
    uint64_t taken = 0, bytes = 0;
    while (first + taken < job->read_key_count && taken < MESSAGE_COUNT_MAX &&
           bytes < MESSAGE_BYTES_MAX && lw_shard_holds(shard, job->read_keys[first + taken].key)) {
        bytes += job->read_keys[first + taken++].key.size + 16;
    }
    LW_ASSERT(taken > 0);
    return (uint32_t)taken;
}

static void add_validation(lw_commit_job *job, const lw_validate_request *request, lw_bytes first,
                           lw_bytes last) {
    lw_validate_request_encode(request, body_open(job));
    add_call(job, LW_MESSAGE_VALIDATE, first, last, request->range_count > 0);
}

LW_YIELDS static lw_status make_key_validations(lw_commit_job *job, bool apart,
                                                uint64_t commit_timestamp) {
    while (job->next.item < job->read_key_count && !window_full(job)) {
        const lw_shard_descriptor *shard;
        travellers ignored;
        uint64_t first = job->next.item;
        LW_TRY(route(job, job->read_keys[first].key, &shard));
        uint32_t count = reads_fitting(job, shard, first);
        job->next.item += count;
        if (apart && find_travellers(job, shard, &ignored)) {
            continue;
        }
        lw_validate_request request = {.start = job->txn->start,
                                       .commit_timestamp = commit_timestamp,
                                       .keys = job->read_keys + first,
                                       .key_count = count};
        add_validation(job, &request, job->read_keys[first].key,
                       job->read_keys[first + count - 1].key);
    }
    return LW_OK;
}

/* Takes the next piece of a range that lies in one shard, and goes on behind it. `*skip` if it is
 * empty, or travels. The piece lives as long as the window. */
LW_YIELDS static lw_status next_piece(lw_commit_job *job, bool apart, lw_seen_range *piece,
                                      bool *skip) {
    lw_seen_range range = job->read_ranges[job->next.item - job->read_key_count];
    const lw_shard_descriptor *shard;
    travellers ignored;
    if (job->next.bound.size > 0) {
        range.lower = job->next.bound;
    }
    LW_TRY(route(job, range.lower, &shard));
    *skip = !clip(&range, shard, piece) || (apart && find_travellers(job, shard, &ignored));
    bool last = lw_equal(piece->upper, range.upper);
    piece->lower = lw_arena_copy(&job->window, piece->lower);
    piece->upper = lw_arena_copy(&job->window, piece->upper);
    job->next.item += last;
    job->next.bound = last ? (lw_bytes){0} : lw_arena_copy(&job->arena, piece->upper);
    return LW_OK;
}

LW_YIELDS static lw_status make_range_validations(lw_commit_job *job, bool apart,
                                                  uint64_t commit_timestamp) {
    uint64_t end = job->read_key_count + job->read_range_count;
    for (uint32_t pieces = 0; job->next.item < end && !window_full(job) && pieces < PIECE_COUNT_MAX;
         pieces++) {
        lw_seen_range piece;
        bool skip;
        LW_TRY(next_piece(job, apart, &piece, &skip));
        if (skip) {
            continue;
        }
        lw_validate_request request = {.start = job->txn->start,
                                       .commit_timestamp = commit_timestamp,
                                       .ranges = &piece,
                                       .range_count = 1};
        add_validation(job, &request, piece.lower, piece.upper);
    }
    return LW_OK;
}

lw_status lw_commit_make_validations(lw_commit_job *job, bool apart, uint64_t commit_timestamp,
                                     bool *more) {
    lw_commit_sort_reads(job);
    window_open(job);
    LW_TRY(make_key_validations(job, apart, commit_timestamp));
    if (job->next.item >= job->read_key_count) {
        LW_TRY(make_range_validations(job, apart, commit_timestamp));
    }
    *more = job->next.item < job->read_key_count + job->read_range_count;
    return LW_OK;
}

/* ---- ending --------------------------------------------------------------------------------- */

static void add_end(lw_commit_job *job, const lw_bytes *keys, uint32_t count,
                    uint64_t commit_timestamp) {
    lw_finish_request request = {.start = job->txn->start,
                                 .commit_timestamp = commit_timestamp,
                                 .keys = keys,
                                 .key_count = count};
    lw_finish_request_encode(&request, body_open(job));
    add_call(job, commit_timestamp != 0 ? LW_MESSAGE_COMMIT : LW_MESSAGE_ROLLBACK, keys[0],
             keys[count - 1], false);
}

/* What was flushed ahead is ended range by range: nobody knows the keys any more. */
LW_YIELDS static lw_status make_range_ends(lw_commit_job *job, uint64_t commit_timestamp) {
    const lw_touched *touched = &job->txn->touched;
    while (job->next.item < touched->count && !window_full(job)) {
        const lw_shard_descriptor *shard;
        lw_seen_range range = touched->ranges[job->next.item], piece;
        if (job->next.bound.size > 0) {
            range.lower = job->next.bound;
        }
        LW_TRY(route(job, range.lower, &shard));
        bool some = clip(&range, shard, &piece);
        LW_ASSERT(some);
        bool last = lw_equal(piece.upper, range.upper);
        lw_bytes lower = lw_arena_copy(&job->window, piece.lower);
        lw_bytes upper = lw_arena_copy(&job->arena, piece.upper);
        lw_finish_range_request request = {.start = job->txn->start,
                                           .commit_timestamp = commit_timestamp,
                                           .lower = lower,
                                           .upper = upper};
        lw_finish_range_request_encode(&request, body_open(job));
        add_call(job, LW_MESSAGE_FINISH_RANGE, lower, upper, true);
        job->next.item += last;
        job->next.bound = last ? (lw_bytes){0} : upper;
    }
    return LW_OK;
}

lw_status lw_commit_make_ends(lw_commit_job *job, uint64_t commit_timestamp, bool *more) {
    window_open(job);
    if (job->txn->flushes > 0) {
        LW_TRY(make_range_ends(job, commit_timestamp));
        *more = job->next.item < job->txn->touched.count;
        return LW_OK;
    }
    while (job->next.item < job->mutation_count && !window_full(job)) {
        const lw_shard_descriptor *shard;
        LW_TRY(route(job, job->keys[job->next.item], &shard));
        uint32_t count = fitting(job, shard, job->next.item, false);
        add_end(job, job->keys + job->next.item, count, commit_timestamp);
        job->next.item += count;
    }
    *more = job->next.item < job->mutation_count;
    return LW_OK;
}

void lw_commit_make_primary(lw_commit_job *job, uint64_t commit_timestamp) {
    window_open(job);
    add_end(job, &job->primary, 1, commit_timestamp);
}
