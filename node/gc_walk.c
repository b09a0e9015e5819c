/* SPDX-License-Identifier: Apache-2.0 */
/* Asking whoever leads each shard, over all keys. Several are asked at once: those that begin, as
 * far as is known here, behind the one whose turn it is. What is known may be wrong, so only
 * answers count that follow on one another without a gap: each says where its shard ends, and that
 * is where the walk has come to. What was asked in vain is asked again.
 *
 * A shard that nobody leads keeps a walk waiting for seconds. Who pins meanwhile, or is noted
 * (node/gc_lease.c), is written down at once all the same. */
#include "node/gc_state.h"

#include "txn/request.h"

enum { AT_ONCE = 8 };

typedef struct question {
    struct asking *of;
    lw_buffer key, end; /* where the shard begins, and, as it says, ends */
    lw_status status;
    uint64_t lowest;
    bool settled;
} question;

typedef struct asking {
    lw_gc *gc;
    lw_collect_step step;
    uint64_t safepoint;
    lw_buffer front; /* all keys before this one have been asked about */
    question questions[AT_ONCE];
    uint32_t count, pending;
} asking;

lw_status gc_ask(lw_gc *gc, const lw_collect_request *request, lw_arena *arena,
                 lw_collect_reply *answer) {
    lw_buffer body = lw_buffer_in(gc->env->memory), reply = body;
    lw_collect_request_encode(request, &body);
    lw_status status =
        lw_shards_ask(gc->shards, LW_MESSAGE_COLLECT, request->key, lw_buffer_view(&body), &reply);
    if (status == LW_OK) {
        lw_bytes copy = lw_arena_copy(arena, lw_buffer_view(&reply));
        status = lw_collect_reply_decode(copy, arena, answer);
    }
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    return status;
}

static void set(lw_buffer *buffer, lw_bytes bytes) {
    lw_buffer_clear(buffer);
    lw_buffer_append(buffer, bytes);
}

LW_YIELDS static void question_main(void *argument) {
    question *one = argument;
    asking *of = one->of;
    lw_arena arena = lw_arena_in(of->gc->env->memory);
    lw_collect_request request = {
        .step = of->step, .safepoint = of->safepoint, .key = lw_buffer_view(&one->key)};
    lw_collect_reply answer = {0};
    one->status = gc_ask(of->gc, &request, &arena, &answer);
    one->lowest = answer.lowest;
    one->settled = answer.settled;
    set(&one->end, one->status == LW_OK ? answer.end : (lw_bytes){0});
    lw_arena_reset(&arena);
    of->pending--;
    lw_queue_wake_all(&of->gc->work);
}

/* The one at the front, and those behind it. */
static void choose(asking *of) {
    set(&of->questions[0].key, lw_buffer_view(&of->front));
    of->count = 1;
    while (of->count < AT_ONCE) {
        lw_buffer *next = &of->questions[of->count].key;
        lw_buffer_clear(next);
        lw_bytes before = lw_buffer_view(&of->questions[of->count - 1].key);
        if (!lw_shards_end(of->gc->shards, before, next) || next->size == 0 ||
            lw_compare(lw_buffer_view(next), before) <= 0) {
            return;
        }
        of->count++;
    }
}

LW_YIELDS static void ask_chosen(asking *of) {
    if (of->count > 1) {
        LW_MARK(of->gc->env, "gc.several_asked_at_once");
    }
    of->pending = of->count;
    for (uint32_t index = 0; index < of->count; index++) {
        lw_env_start(of->gc->env, "gc asks", question_main, &of->questions[index]);
    }
    while (of->pending > 0) {
        if (gc_decides(of->gc) && of->gc->pin_asked && !of->gc->stopping &&
            !LW_BUG(of->gc->env, "gc.pins_await_the_walk")) {
            LW_MARK(of->gc->env, "gc.pinned_within_walk");
            (void)gc_write_record(of->gc);
        } else {
            lw_queue_wait(&of->gc->work);
        }
    }
}

/* How far the answers reach without a gap. False: one of those did not come. */
static bool take_answers(asking *of, lw_collect_reply *all, bool *whole) {
    for (uint32_t index = 0; index < of->count && !*whole; index++) {
        const question *one = &of->questions[index];
        lw_bytes front = lw_buffer_view(&of->front), end = lw_buffer_view(&one->end);
        if (lw_compare(lw_buffer_view(&one->key), front) > 0) {
            LW_MARK(of->gc->env, "gc.shard_ends_early");
            return true;
        }
        if (one->status != LW_OK) {
            LW_MARK(of->gc->env, "gc.shard_not_asked");
            *whole = LW_BUG(of->gc->env, "gc.unasked_shard_ignored");
            return false;
        }
        all->lowest = one->lowest < all->lowest ? one->lowest : all->lowest;
        all->settled = all->settled && one->settled;
        *whole = end.size == 0;
        if (lw_compare(end, front) > 0) {
            set(&of->front, end);
        }
    }
    return true;
}

static asking open_asking(lw_gc *gc, lw_collect_step step, uint64_t safepoint) {
    lw_memory *memory = gc->env->memory;
    asking of = {.gc = gc, .step = step, .safepoint = safepoint, .front = lw_buffer_in(memory)};
    for (uint32_t index = 0; index < AT_ONCE; index++) {
        of.questions[index].key = of.questions[index].end = lw_buffer_in(memory);
    }
    return of;
}

static void close_asking(asking *of) {
    for (uint32_t index = 0; index < AT_ONCE; index++) {
        lw_buffer_reset(&of->questions[index].key);
        lw_buffer_reset(&of->questions[index].end);
    }
    lw_buffer_reset(&of->front);
}

bool gc_walk(lw_gc *gc, lw_collect_step step, uint64_t safepoint, lw_collect_reply *all) {
    asking of = open_asking(gc, step, safepoint);
    bool whole = false, going = true;
    *all = (lw_collect_reply){.lowest = safepoint, .settled = true};
    for (uint32_t index = 0; index < AT_ONCE; index++) {
        of.questions[index].of = &of;
    }
    while (going && !whole) {
        choose(&of);
        ask_chosen(&of);
        bool came = take_answers(&of, all, &whole);
        bool on = lw_compare(lw_buffer_view(&of.front), lw_buffer_view(&of.questions[0].key)) > 0;
        going = came && on && !gc->stopping && gc_decides(gc);
    }
    close_asking(&of);
    return whole;
}
