/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the node's own, to the shard that holds a key: here, or at the node that leads it.
 * Who is told to go elsewhere goes there; who finds nobody waits a little, longer each time. All
 * requests are idempotent, so one that got no answer is sent again.
 *
 * Invariants
 * 1. Who was taken for the leader, and was of no help, is not asked twice in a row: next is one of
 *    those that hold the shard, who may know better.
 * 2. What others say of a leader counts for this request alone: they do not say in which term.
 * 3. A replica that asks may end meanwhile: the request goes on by itself, and keeps nothing.
 * 4. Who is sent on goes there at once, but so often in a row at most: hints may go in a circle, as
 *    long as this node leads, and cannot serve yet. */
#include "node/shards_state.h"

#include "txn/request.h"

enum {
    LONE_ATTEMPTS = 8, /* on a lone node, where only a split sends one on */
    SENT_ON_MAX = 4,
    ASK_MS = 10 * 1000, /* for all attempts */
    ATTEMPT_MS = 3000,  /* for one: who does not answer may have lost the leadership */
    PAUSE_MIN_MS = 5,   /* doubling, with as much again by chance */
    PAUSE_MAX_MS = 300,
};
#define NS_PER_MS UINT64_C(1000000)

/* A request on its way. */
typedef struct asking {
    lw_shards *shards;
    lw_message_kind kind;
    lw_bytes key, body;
    uint64_t deadline_ns;
    /* Where to go next: what was told, else what is known. */
    lw_shard_descriptor shard;
    bool told;
    lw_buffer told_bytes; /* what the descriptor's views point into */
    uint32_t attempt;     /* which of the replicas is tried while nobody is known to lead */
    uint32_t sent_on;     /* so often in a row */
    uint32_t pauses;
    uint64_t vain; /* who was asked last, for nothing; 0: nobody */
} asking;

static lw_status closing(void) {
    return lw_fail(LW_UNAVAILABLE, "the node is starting or stopping: try again");
}

static bool holds(const lw_shard_descriptor *shard, lw_bytes key) {
    return lw_compare(shard->start, key) <= 0 &&
           (shard->end.size == 0 || lw_compare(key, shard->end) < 0);
}

/* ---- what is told --------------------------------------------------------------------------- */

static bool newer(const lw_epoch *a, const lw_epoch *b) {
    return a->range_version > b->range_version ||
           (a->range_version == b->range_version && a->config_version > b->config_version);
}

/* Tells this node what it was told of a shard (invariant 2). */
static void pass_on(const lw_shards *shards, const lw_shard_descriptor *told) {
    lw_shard_descriptor hearsay = *told;
    if (!LW_BUG(shards->env, "shards.hearsay_of_leaders")) {
        hearsay.leader = 0;
    }
    if (shards->others.learned != NULL) {
        shards->others.learned(shards->options.argument, &hearsay);
    }
}

/* Takes the shard of the key out of an answer of LW_UNAVAILABLE. True if that leads elsewhere than
 * where this attempt went. */
static bool learn(asking *job, uint64_t asked, lw_bytes told) {
    lw_buffer_clear(&job->told_bytes);
    lw_buffer_append(&job->told_bytes, told);
    job->told = false;
    lw_reader reader;
    uint32_t count = 0;
    if (lw_topology_open(lw_buffer_view(&job->told_bytes), &reader, &count) != LW_OK) {
        return false;
    }
    lw_epoch before = job->shard.epoch;
    uint64_t id = job->shard.id;
    lw_shard_descriptor next;
    for (uint32_t index = 0; index < count && lw_topology_next(&reader, &next) == LW_OK; index++) {
        pass_on(job->shards, &next);
        if (holds(&next, job->key)) {
            job->shard = next;
            job->told = true;
        }
    }
    return job->told && (job->shard.id != id || newer(&job->shard.epoch, &before) ||
                         (job->shard.leader != 0 && job->shard.leader != asked));
}

/* ---- where to go ---------------------------------------------------------------------------- */

/* The node that leads it, or else the next one of those that hold it, but this one; 0: none. */
static uint64_t node_of(asking *job) {
    const lw_shard_descriptor *shard = &job->shard;
    uint64_t own = job->shards->options.node;
    bool vain = shard->leader == job->vain && !LW_BUG(job->shards->env, "shards.hint_insisted_on");
    if (shard->leader != 0 && shard->leader != own && !vain) {
        return shard->leader;
    }
    for (uint32_t step = 0; step < shard->replica_count; step++) {
        uint64_t node = shard->replicas[(job->attempt + step) % shard->replica_count].node;
        if (node != own && node != job->vain) {
            return node;
        }
    }
    return job->vain == own ? 0 : job->vain;
}

/* Where the shard of the key is, by the replica here, or by what is told if that is later: the
 * replica may have missed that it is no member any more. */
static bool look_up(asking *job, const lw_replica *replica) {
    lw_shards *shards = job->shards;
    lw_shard_descriptor told;
    if (replica != NULL) {
        lw_replica_descriptor(replica, &job->shard);
    }
    bool located = shards->others.locate(shards->options.argument, job->key, &told);
    if (located && (replica == NULL || (newer(&told.epoch, &job->shard.epoch) &&
                                        !LW_BUG(shards->env, "shards.stale_replica_believed")))) {
        job->shard = told;
    }
    return located || replica != NULL;
}

/* True if a replica here is to be asked; else the node that is, 0: nobody is known. */
static bool next_stop(asking *job, lw_replica **replica, uint64_t *node) {
    lw_shards *shards = job->shards;
    *replica = shards_holding(shards, job->key);
    *node = 0;
    if (*replica != NULL && (lw_replica_leads(*replica) || shards->others.ask == NULL)) {
        return true;
    }
    if (shards->others.ask == NULL) {
        return false;
    }
    *node = job->told || look_up(job, *replica) ? node_of(job) : 0;
    return false;
}

LW_YIELDS static lw_status ask_here(asking *job, lw_replica *replica, lw_buffer *reply) {
    lw_shards *shards = job->shards;
    lw_replica_descriptor(replica, &job->shard);
    uint64_t id = job->shard.id;
    shards_await_merge(shards, id, ATTEMPT_MS);
    if ((replica = lw_shards_find(shards, id)) == NULL) {
        return lw_fail(LW_UNAVAILABLE, "a shard is not on this node any more");
    }
    lw_replica_descriptor(replica, &job->shard);
    uint64_t now_ns = lw_env_now(shards->env);
    uint64_t left_ns = job->deadline_ns > now_ns ? job->deadline_ns - now_ns : 0;
    lw_request request = {.kind = job->kind,
                          .shard = id,
                          .epoch = job->shard.epoch,
                          .timeout_ms = (uint32_t)(left_ns / NS_PER_MS + 1),
                          .body = job->body};
    if (LW_BUG(shards->env, "merge.sweeper_not_awaited")) {
        request.timeout_ms = 0; /* as long as it takes: then it is noticed */
    }
    return lw_replica_execute(replica, &request, 0, reply);
}

LW_YIELDS static lw_status ask_there(asking *job, uint64_t node, lw_buffer *reply) {
    lw_shards *shards = job->shards;
    uint64_t now_ns = lw_env_now(shards->env), until_ns = now_ns + ATTEMPT_MS * NS_PER_MS;
    if (LW_RARE(shards->env, "shards.asks_impatiently")) {
        until_ns = now_ns + PAUSE_MAX_MS * NS_PER_MS;
    }
    until_ns = until_ns < job->deadline_ns ? until_ns : job->deadline_ns;
    lw_request request = {.kind = job->kind,
                          .shard = job->shard.id,
                          .epoch = job->shard.epoch,
                          .timeout_ms = (uint32_t)((until_ns - now_ns) / NS_PER_MS + 1),
                          .body = job->body};
    LW_MARK(shards->env, "shards.asked_elsewhere");
    return shards->others.ask(shards->options.argument, node, &request, until_ns, reply);
}

/* Whether another attempt may do better. */
static bool worth_another(lw_status status) {
    return status == LW_UNAVAILABLE || status == LW_TIMEOUT || status == LW_UNDETERMINED;
}

/* False when the node stops, or the time is over. */
LW_YIELDS static bool pause(asking *job) {
    lw_shards *shards = job->shards;
    uint64_t pause_ms = PAUSE_MAX_MS;
    if (job->pauses < 5) {
        pause_ms = (uint64_t)PAUSE_MIN_MS << ++job->pauses;
    }
    uint64_t now_ns = lw_env_now(shards->env);
    uint64_t pause_ns = pause_ms * NS_PER_MS;
    pause_ns += lw_env_random_below(shards->env, pause_ns);
    if (now_ns + pause_ns >= job->deadline_ns) {
        return false;
    }
    (void)lw_env_wait(shards->env, &shards->stop, now_ns + pause_ns);
    return shards->serving;
}

/* One attempt. `*sent_on`: it is known where to go instead. */
LW_YIELDS static lw_status attempt(asking *job, lw_buffer *reply, bool *sent_on) {
    size_t reply_start = reply->size;
    lw_replica *replica;
    uint64_t node;
    lw_status status;
    *sent_on = false;
    if (next_stop(job, &replica, &node)) {
        node = job->shards->options.node;
        status = ask_here(job, replica, reply);
    } else if (node != 0) {
        status = ask_there(job, node, reply);
    } else {
        return lw_fail(LW_UNAVAILABLE, "nobody is known to hold the shard of a key");
    }
    if (worth_another(status)) {
        *sent_on = status == LW_UNAVAILABLE && reply->size > reply_start &&
                   learn(job, node, lw_view(reply->data + reply_start, reply->size - reply_start));
        job->sent_on = *sent_on ? job->sent_on + 1 : 0;
        if (job->sent_on > SENT_ON_MAX && !LW_BUG(job->shards->env, "shards.sent_in_circles")) {
            LW_MARK(job->shards->env, "shards.sent_on_too_often");
            job->sent_on = 0;
            *sent_on = false;
        }
        job->told = *sent_on;
        job->vain = *sent_on ? 0 : node;
        reply->size = reply_start;
    }
    return status;
}

LW_YIELDS static lw_status ask_until(asking *job, lw_buffer *reply) {
    bool lone = job->shards->others.ask == NULL;
    for (;;) {
        if (!job->shards->serving) {
            return closing();
        }
        bool sent_on;
        lw_status status = attempt(job, reply, &sent_on);
        if (!worth_another(status)) {
            return status;
        }
        job->attempt++;
        if (lone && (!sent_on || job->attempt == LONE_ATTEMPTS)) {
            return status;
        }
        lw_error why = *lw_error_slot();
        if (!sent_on && !pause(job)) {
            return lw_fail(LW_UNAVAILABLE, "%s", why.text);
        }
    }
}

LW_YIELDS static lw_status ask_by(lw_shards *shards, lw_message_kind kind, lw_bytes key,
                                  lw_bytes body, uint64_t deadline_ns, lw_buffer *reply) {
    asking job = {.shards = shards,
                  .kind = kind,
                  .key = key,
                  .body = body,
                  .deadline_ns = deadline_ns,
                  .told_bytes = lw_buffer_in(shards->env->memory)};
    lw_status status = ask_until(&job, reply);
    lw_buffer_reset(&job.told_bytes);
    return status;
}

lw_status lw_shards_ask(lw_shards *shards, lw_message_kind kind, lw_bytes key, lw_bytes body,
                        lw_buffer *reply) {
    uint64_t deadline_ns = lw_env_now(shards->env) + ASK_MS * NS_PER_MS;
    return ask_by(shards, kind, key, body, deadline_ns, reply);
}

/* ---- for who may end meanwhile ----------------------------------------------------------------
 */

/* A request that goes on by itself. */
typedef struct errand {
    lw_shards *shards;
    lw_message_kind kind;
    lw_buffer key, body, reply;
    uint64_t deadline_ns;
    lw_error error;
    lw_queue *asked; /* where who asks waits; NULL: nobody does any more */
    bool done;
} errand;

static void errand_free(errand *job) {
    lw_buffer_reset(&job->key);
    lw_buffer_reset(&job->body);
    lw_buffer_reset(&job->reply);
    lw_free(job->shards->env->memory, job);
}

LW_YIELDS static void errand_main(void *argument) {
    errand *job = argument;
    lw_shards *shards = job->shards;
    job->error.status = ask_by(shards, job->kind, lw_buffer_view(&job->key),
                               lw_buffer_view(&job->body), job->deadline_ns, &job->reply);
    if (job->error.status != LW_OK) {
        job->error = *lw_error_slot();
    }
    job->done = true;
    if (job->asked != NULL) {
        lw_queue_wake_all(job->asked);
    } else {
        errand_free(job);
    }
    shards_background_end(shards);
}

lw_status shards_ask_apart(void *argument, const lw_errand *what, lw_buffer *reply) {
    lw_shards *shards = argument;
    lw_memory *memory = shards->env->memory;
    errand *job = lw_allocate(memory, sizeof(*job));
    *job = (errand){.shards = shards, .kind = what->kind, .asked = what->asked};
    job->key = job->body = job->reply = lw_buffer_in(memory);
    job->deadline_ns = lw_env_now(shards->env) + ASK_MS * NS_PER_MS;
    if (what->deadline_ns != 0 && what->deadline_ns < job->deadline_ns) {
        job->deadline_ns = what->deadline_ns;
    }
    lw_buffer_append(&job->key, what->key);
    lw_buffer_append(&job->body, what->body);
    shards->background_count++;
    lw_env_start(shards->env, "errand", errand_main, job);
    while (!job->done && !*what->given_up) {
        lw_queue_wait(what->asked);
    }
    if (!job->done) {
        LW_MARK(shards->env, "shards.errand_left");
        job->asked = NULL;
        return lw_fail(LW_UNAVAILABLE, "the replica that asked ends: try again");
    }
    lw_status status = job->error.status;
    lw_buffer_append(reply, lw_buffer_view(&job->reply));
    if (status != LW_OK) {
        *lw_error_slot() = job->error;
    }
    errand_free(job);
    return status;
}

/* ---- timestamps, and bounds -------------------------------------------------------------------
 */

lw_status shards_fetch_timestamps(void *argument, uint32_t count, uint64_t deadline_ns,
                                  uint64_t *first) {
    lw_shards *shards = argument;
    uint64_t until_ns = lw_env_now(shards->env) + ASK_MS * NS_PER_MS;
    until_ns = deadline_ns != 0 && deadline_ns < until_ns ? deadline_ns : until_ns;
    lw_buffer body = lw_buffer_in(shards->env->memory), reply = body;
    lw_arena arena = lw_arena_in(shards->env->memory);
    lw_timestamp_reply answer = {0};
    lw_timestamp_request_encode(&(lw_timestamp_request){.count = count}, &body);
    lw_status status = ask_by(shards, LW_MESSAGE_TIMESTAMP, lw_view(NULL, 0), lw_buffer_view(&body),
                              until_ns, &reply);
    if (status == LW_OK) {
        status = lw_timestamp_reply_decode(lw_buffer_view(&reply), &arena, &answer);
    }
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    lw_arena_reset(&arena);
    LW_TRY(status);
    *first = answer.first;
    return LW_OK;
}

bool lw_shards_end(const lw_shards *shards, lw_bytes key, lw_buffer *end) {
    lw_shard_descriptor shard;
    const lw_replica *replica = shards_holding(shards, key);
    if (replica != NULL) {
        lw_replica_descriptor(replica, &shard);
    } else if (shards->others.locate == NULL ||
               !shards->others.locate(shards->options.argument, key, &shard)) {
        return false;
    }
    lw_buffer_append(end, shard.end);
    return true;
}
