/* SPDX-License-Identifier: Apache-2.0 */
/* What time it is, for a node that comes to lead the root shard and has not seen the oracle's time
 * since it was started: its own wall clock may be years wrong (hazard O3), and an oracle never goes
 * back. Everybody else who has the shard is asked, until as many voters have answered as elect a
 * leader. Who has seen the oracle's time is believed, be it a learner. Where nobody has, all have
 * just started, and the wall clock of voters in the middle counts: a minority of wrong ones moves
 * nothing.
 *
 *   TIME = nothing  → [ the oracle's time u64, of no matter 0, the wall clock u64 ], milliseconds
 */
#include "node/shards_state.h"
#include "txn/oracle.h"

#include <stdlib.h>

enum {
    TIME_FIELDS = 2,
    ANSWER_MS = 300, /* for one round of questions */
    ROUND_MS = 50,   /* between two */
    VOTERS_MAX = LW_SHARD_REPLICAS_MAX,
};
#define NS_PER_MS UINT64_C(1000000)

/* One round of questions. */
typedef struct survey {
    lw_shards *shards;
    uint32_t pending, answers;
    uint64_t time_ms;               /* the latest that anybody has seen; 0: nobody has */
    uint64_t walls[VOTERS_MAX + 1]; /* one for each voter that answered, this node's own first */
    lw_queue changed;
} survey;

typedef struct question {
    survey *of;
    uint64_t node;
    bool votes;
} question;

void lw_shards_time(lw_shards *shards, lw_buffer *reply) {
    lw_write_array(reply, TIME_FIELDS);
    lw_write_u64(reply, lw_timestamps_time_ms(shards->timestamps));
    lw_write_u64(reply, lw_env_wall_ms(shards->env));
}

static void note_answer(survey *of, bool votes, lw_bytes reply) {
    lw_reader reader = lw_reader_of(reply);
    uint32_t extra = lw_read_array_of(&reader, TIME_FIELDS);
    uint64_t time_ms = lw_read_u64_max(&reader, LW_ORACLE_PHYSICAL_MAX_MS);
    uint64_t wall_ms = lw_read_u64_max(&reader, LW_ORACLE_PHYSICAL_MAX_MS);
    lw_read_skip(&reader, extra);
    if (lw_reader_done(&reader)) {
        of->time_ms = time_ms > of->time_ms ? time_ms : of->time_ms;
        if (votes) {
            of->walls[of->answers++] = wall_ms;
        }
    }
}

LW_YIELDS static void ask_main(void *argument) {
    question *one = argument;
    survey *of = one->of;
    lw_shards *shards = of->shards;
    lw_buffer reply = lw_buffer_in(shards->env->memory);
    lw_request request = {.kind = LW_MESSAGE_TIME, .timeout_ms = ANSWER_MS};
    uint64_t until_ns = lw_env_now(shards->env) + ANSWER_MS * NS_PER_MS;
    if (shards->others.ask(shards->options.argument, one->node, &request, until_ns, &reply) ==
        LW_OK) {
        note_answer(of, one->votes, lw_buffer_view(&reply));
    }
    lw_buffer_reset(&reply);
    of->pending--;
    lw_queue_wake_all(&of->changed);
}

/* Asks all others at once; `*voters` is how many voters there are with this node. */
LW_YIELDS static void ask_others(survey *of, const lw_replica *root, uint32_t *voters) {
    lw_shard_descriptor shard;
    question questions[VOTERS_MAX];
    lw_replica_descriptor(root, &shard);
    *voters = 0;
    for (uint32_t place = 0; place < shard.replica_count; place++) {
        const lw_shard_replica *each = &shard.replicas[place];
        *voters += shards_votes(each);
        if (each->node != of->shards->options.node) {
            questions[place] =
                (question){.of = of, .node = each->node, .votes = shards_votes(each)};
            of->pending++;
            lw_env_start(of->shards->env, "ask for the time", ask_main, &questions[place]);
        }
    }
    while (of->pending > 0) {
        lw_queue_wait(&of->changed);
    }
}

static int by_size(const void *a, const void *b) {
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

/* The one in the middle, or the earlier of two: an oracle that is late can be put right. */
static uint64_t middle(uint64_t *walls, uint32_t count) {
    qsort(walls, count, sizeof(*walls), by_size);
    return walls[(count - 1) / 2];
}

void shards_learn_time(void *argument, lw_replica *root) {
    lw_shards *shards = argument;
    uint32_t voters;
    survey of = {.shards = shards, .answers = 1, .walls = {lw_env_wall_ms(shards->env)}};
    ask_others(&of, root, &voters);
    if (of.time_ms != 0) {
        LW_MARK(shards->env, "shards.time_told");
        lw_timestamps_time_told(shards->timestamps, of.time_ms);
    } else if (of.answers > voters / 2) {
        LW_MARK(shards->env, "shards.time_of_the_middle");
        lw_timestamps_time_told(shards->timestamps, middle(of.walls, of.answers));
    } else {
        lw_env_sleep(shards->env, ROUND_MS * NS_PER_MS);
    }
}
