/* SPDX-License-Identifier: Apache-2.0 */
#include "node/kill.h"

#include "base/hash.h"
#include "node/group.h"
#include "node/resolve.h"

enum { PART_FIELDS = 5, PART_REPLY_FIELDS = 6, ROUNDS_MAX = 6 };

typedef enum kill_step {
    KILL_MARK = 1,  /* nothing new is written here; what was on its way has ended */
    KILL_DOOM = 2,  /* it is decided: its locks are ended behind the reply */
    KILL_SPARE = 3, /* the same, but it was not killed: the mark is taken back */
} kill_step;

/* What one shard is asked. */
typedef struct kill_part {
    uint64_t start, id; /* of the transaction, and of the kill */
    kill_step step;
    lw_bytes key; /* in the shard */
    lw_bytes label;
} kill_part;

/* ... and answers to KILL_MARK; to the others the last alone. */
typedef struct kill_part_reply {
    bool had; /* locks in memory, requests under way, or the mark of a kill that came to its end */
    uint64_t commit_timestamp; /* it committed here, lately; LW_RECENT_IN_DOUBT: or may have, as
                                  this node led no more; 0: that is not known */
    lw_bytes primary;          /* as any of its locks here names it; empty: it has none */
    lw_bytes end;              /* of the shard; empty: there is none behind it */
    uint64_t term;             /* in which it is led here */
    bool kept;                 /* it had been marked before */
} kill_part_reply;

/* A kill, at the node that was asked for it. */
typedef struct killing {
    lw_shards *shards;
    lw_arena arena;
    kill_part part;
    bool had;
    bool doubt; /* it may have committed, which nobody remembers */
    uint64_t commit_timestamp;
    lw_buffer primary;
    uint64_t leaderships; /* of all shards, as a hash: in the round that is under way */
    bool kept;            /* ... and all of them had been marked before */
} killing;

/* ---- the form of parts ---------------------------------------------------------------------- */

static void part_encode(const kill_part *part, lw_buffer *body) {
    lw_write_array(body, PART_FIELDS);
    lw_write_u64(body, part->start);
    lw_write_u64(body, part->id);
    lw_write_u64(body, part->step);
    lw_write_bytes(body, part->key);
    lw_write_text(body, part->label);
}

static lw_status part_decode(lw_bytes body, kill_part *part) {
    lw_reader reader = lw_reader_of(body);
    uint32_t extra = lw_read_array_of(&reader, PART_FIELDS);
    kill_part read = {.start = lw_read_u64(&reader)};
    read.id = lw_read_u64(&reader);
    uint64_t step = lw_read_u64(&reader);
    read.key = lw_read_bytes(&reader);
    read.label = lw_read_text(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader) || read.start == 0 || step < KILL_MARK || step > KILL_SPARE) {
        return lw_fail(LW_INVALID_ARGUMENT, "a part of a kill is not well-formed");
    }
    read.step = (kill_step)step;
    *part = read;
    return LW_OK;
}

static void part_reply_encode(const kill_part_reply *told, lw_buffer *reply) {
    lw_write_array(reply, PART_REPLY_FIELDS);
    lw_write_bool(reply, told->had);
    lw_write_u64(reply, told->commit_timestamp);
    lw_write_bytes(reply, told->primary);
    lw_write_bytes(reply, told->end);
    lw_write_u64(reply, told->term);
    lw_write_bool(reply, told->kept);
}

static lw_status part_reply_decode(lw_bytes reply, kill_part_reply *told) {
    lw_reader reader = lw_reader_of(reply);
    uint32_t extra = lw_read_array_of(&reader, PART_REPLY_FIELDS);
    kill_part_reply read = {.had = lw_read_bool(&reader)};
    read.commit_timestamp = lw_read_u64(&reader);
    read.primary = lw_read_bytes(&reader);
    read.end = lw_read_bytes(&reader);
    read.term = lw_read_u64(&reader);
    read.kept = lw_read_bool(&reader);
    lw_read_skip(&reader, extra);
    if (!lw_reader_done(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "the answer to a part of a kill is not well-formed");
    }
    *told = read;
    return LW_OK;
}

/* ---- a part, where the shard is led --------------------------------------------------------- */

/* Whether a request that writes for it was under way, and has ended here; none is any more. Shards
 * may be split off meanwhile, so those are looked at until there is nothing to wait for in any. */
LW_YIELDS static bool await_writes(lw_shards *shards, uint64_t start) {
    bool ended_here = false;
    for (uint32_t index = 0; index < lw_shards_count(shards); index++) {
        if (lw_replica_await_writes(lw_shards_at(shards, index), start, &ended_here)) {
            index = UINT32_MAX; /* from the first again */
        }
    }
    return ended_here;
}

/* A mark has the id of its kill, which is even, and one more once that has led to something. */
static bool is_decided(const lw_recent_entry *mark, const lw_shards *shards) {
    return mark->commit_timestamp % 2 != 0 ||
           LW_BUG(lw_shards_env(shards), "node.kill_believes_any_mark");
}

/* The node's, not only the shard's: who is asked about the next one of them finds it done. */
LW_YIELDS static bool mark(lw_shards *shards, const kill_part *part, bool *kept) {
    lw_recent *killed = lw_shards_killed(shards);
    const lw_recent_entry *marked = lw_recent_find(killed, part->start);
    *kept = marked != NULL;
    bool had = marked != NULL && marked->commit_timestamp != part->id && is_decided(marked, shards);
    if (marked == NULL) {
        lw_recent_note(killed, part->start, part->id, part->label);
    }
    had = lw_lock_table_end(lw_shards_locks(shards), part->start) || had;
    if (!LW_BUG(lw_shards_env(shards), "node.kill_waits_for_nothing")) {
        had = await_writes(shards, part->start) || had;
    }
    return had;
}

/* The replica that holds the key of a part, and its end: LW_UNAVAILABLE if it is not led here any
 * more, so that who leads it is asked. */
static lw_status find_replica(lw_shards *shards, lw_bytes key, lw_replica **replica) {
    if (lw_shards_count(shards) > 0) {
        *replica = lw_shards_at(shards, lw_shards_place(shards, key));
        lw_shard_descriptor shard;
        lw_replica_descriptor(*replica, &shard);
        bool holds = lw_compare(shard.start, key) <= 0 &&
                     (shard.end.size == 0 || lw_compare(key, shard.end) < 0);
        if (holds && lw_replica_leads(*replica)) {
            return LW_OK;
        }
    }
    return lw_fail(LW_UNAVAILABLE, "the shard is led by another node by now");
}

LW_YIELDS static lw_status look(lw_shards *shards, const kill_part *part, lw_buffer *primary,
                                kill_part_reply *told) {
    lw_replica *replica = NULL;
    lw_env *env = lw_shards_env(shards);
    told->had = mark(shards, part, &told->kept);
    if (LW_BUG(env, "node.kill_looks_at_nothing")) {
        return LW_OK;
    }
    LW_TRY(find_replica(shards, part->key, &replica));
    lw_status status = lw_replica_primary_of(replica, part->start, primary);
    told->primary = lw_buffer_view(primary);
    const lw_recent_entry *wrote = lw_recent_find(lw_shards_writers(shards), part->start);
    told->commit_timestamp = wrote == NULL ? 0 : wrote->commit_timestamp;
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* Another kill of the same transaction may rely on its own. */
static void take_back(lw_shards *shards, const kill_part *part) {
    const lw_recent_entry *marked = lw_recent_find(lw_shards_killed(shards), part->start);
    if (marked != NULL && marked->commit_timestamp == part->id) {
        lw_recent_forget(lw_shards_killed(shards), part->start);
    }
}

LW_YIELDS static lw_status carry_out(lw_shards *shards, const kill_part *part, lw_buffer *primary,
                                     lw_buffer *reply) {
    kill_part_reply told = {.had = false};
    lw_replica *replica = NULL;
    lw_shard_descriptor shard;
    if (part->step == KILL_MARK) {
        LW_TRY(look(shards, part, primary, &told));
    }
    LW_TRY(find_replica(shards, part->key, &replica));
    if (part->step != KILL_MARK) {
        lw_replica_doom(replica, part->start);
    }
    if (part->step == KILL_SPARE) {
        take_back(shards, part);
    } else if (part->step == KILL_DOOM) {
        lw_recent_note(lw_shards_killed(shards), part->start, part->id + 1, part->label);
    }
    lw_replica_descriptor(replica, &shard);
    told.end = shard.end;
    told.term = lw_group_leads(lw_replica_group(replica));
    part_reply_encode(&told, reply);
    return LW_OK;
}

lw_status lw_kill_part(lw_shards *shards, lw_bytes body, lw_buffer *reply) {
    kill_part part = {.start = 0};
    LW_TRY(part_decode(body, &part));
    LW_TRY(lw_timestamps_given(lw_shards_timestamps(shards), part.start, 0));
    lw_buffer primary = lw_buffer_in(lw_shards_env(shards)->memory);
    lw_status status = carry_out(shards, &part, &primary, reply);
    lw_buffer_reset(&primary);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------ */

LW_YIELDS static lw_status ask(void *argument, lw_message_kind kind, lw_bytes key, lw_bytes body,
                               lw_buffer *reply) {
    return lw_shards_ask(argument, kind, key, body, reply);
}

static void note(killing *job, const kill_part_reply *told) {
    job->had = job->had || told->had;
    if (told->commit_timestamp == LW_RECENT_IN_DOUBT) {
        job->doubt = true;
    } else if (told->commit_timestamp != 0) {
        job->commit_timestamp = told->commit_timestamp;
    }
    if (job->primary.size == 0) {
        lw_buffer_append(&job->primary, told->primary);
    }
    job->kept = job->kept && told->kept;
    job->leaderships = lw_mix(job->leaderships ^ lw_hash(told->term, told->end));
}

/* Has every shard of the lattice carry out a step, at the node that leads it. */
LW_YIELDS static lw_status ask_all(killing *job, kill_step step) {
    lw_memory *memory = lw_shards_env(job->shards)->memory;
    lw_buffer key = lw_buffer_in(memory), body = key, reply = key;
    kill_part_reply told = {.had = false};
    lw_status status;
    job->part.step = step;
    do {
        job->part.key = lw_buffer_view(&key);
        lw_buffer_clear(&body);
        lw_buffer_clear(&reply);
        part_encode(&job->part, &body);
        status = lw_shards_ask(job->shards, LW_MESSAGE_KILL, job->part.key, lw_buffer_view(&body),
                               &reply);
        if (status == LW_OK) {
            status = part_reply_decode(lw_buffer_view(&reply), &told);
        }
        if (status == LW_OK) {
            note(job, &told);
            lw_buffer_clear(&key);
            lw_buffer_append(&key, told.end);
        }
    } while (status == LW_OK && key.size > 0);
    lw_buffer_reset(&key);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    return status;
}

/* Marks it everywhere, until all shards are led as they were in the round before: then nobody who
 * knew nothing of the mark led any of them in between (Y4). What is found at a key decides whoever
 * leads. */
LW_YIELDS static lw_status mark_all(killing *job) {
    uint64_t before = 0;
    for (uint32_t round = 1; round <= ROUNDS_MAX; round++) {
        bool had = job->had;
        job->had = false;
        job->leaderships = 0;
        job->kept = true;
        LW_TRY(ask_all(job, KILL_MARK));
        bool same = round > 1 && job->kept && job->leaderships == before;
        job->had = job->had || (had && same);
        before = job->leaderships;
        bool decided = job->primary.size > 0 || job->commit_timestamp != 0 || !job->had;
        if (same || decided || LW_BUG(lw_shards_env(job->shards), "node.kill_asks_once")) {
            return LW_OK;
        }
    }
    LW_TRY(ask_all(job, KILL_SPARE));
    return lw_fail(LW_UNAVAILABLE, "shards came to be led by other nodes meanwhile: ask again");
}

/* Of a transaction that is marked everywhere, with nothing of it under way any more. */
LW_YIELDS static lw_status decide(killing *job, lw_check_reply *fate) {
    bool killed = job->had && !job->doubt;
    *fate = (lw_check_reply){.fate = killed ? LW_FATE_ABORTED : LW_FATE_UNKNOWN};
    if (job->primary.size > 0) {
        return lw_resolve_by_asking(lw_shards_env(job->shards), ask, job->shards, job->part.start,
                                    lw_buffer_view(&job->primary), 0, true, fate);
    }
    if (job->commit_timestamp != 0) {
        *fate =
            (lw_check_reply){.fate = LW_FATE_COMMITTED, .commit_timestamp = job->commit_timestamp};
    }
    return LW_OK;
}

LW_YIELDS static lw_status kill_one(killing *job, lw_kill_reply *answer) {
    lw_check_reply fate;
    LW_TRY(mark_all(job));
    LW_TRY(decide(job, &fate));
    bool killed = fate.fate == LW_FATE_ABORTED;
    LW_TRY(ask_all(job, killed ? KILL_DOOM : KILL_SPARE));
    if (killed) {
        LW_MARK(lw_shards_env(job->shards), "node.transaction_killed");
    }
    *answer = (lw_kill_reply){.fate = fate.fate, .commit_timestamp = fate.commit_timestamp};
    return LW_OK;
}

lw_status lw_kill(lw_shards *shards, lw_bytes body, uint64_t session, lw_buffer *reply) {
    lw_env *env = lw_shards_env(shards);
    killing job = {
        .shards = shards, .arena = lw_arena_in(env->memory), .primary = lw_buffer_in(env->memory)};
    lw_kill_request request;
    lw_status status = lw_kill_request_decode(body, &job.arena, &request);
    if (status == LW_OK) {
        status = lw_timestamps_given(lw_shards_timestamps(shards), request.start, 0);
    }
    lw_kill_reply answer;
    if (status == LW_OK) {
        lw_bytes label = lw_arena_copy(&job.arena, lw_shards_label(shards, session));
        job.part =
            (kill_part){.start = request.start, .id = (lw_env_random(env) | 3) - 1, .label = label};
        status = kill_one(&job, &answer);
    }
    if (status == LW_OK) {
        lw_kill_reply_encode(&answer, reply);
    }
    lw_buffer_reset(&job.primary);
    lw_arena_reset(&job.arena);
    return status;
}
