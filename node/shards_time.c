/* SPDX-License-Identifier: Apache-2.0 */
/* What time it is, for a node that comes to lead the root shard and has not seen the oracle's time
 * since it was started: its own wall clock may be years wrong (hazard O3), and an oracle never goes
 * back. All that can be reached are asked, until as many voters have answered as elect a leader; a
 * sole voter waits a while for anybody. Who has seen the oracle's time is believed. Where nobody
 * has, all have just started, and the wall clock in the middle counts, of voters if there are
 * others: a minority of wrong ones moves nothing.
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
    ASKED_MAX = 16,  /* at once */
    SOLE_MS = 2000,  /* that a sole voter waits for anybody */
};
#define NS_PER_MS UINT64_C(1000000)

/* One round of questions. */
typedef struct survey {
    lw_shards *shards;
    bool sole; /* there is no other voter: everybody's answer counts */
    uint32_t pending, answers;
    uint64_t time_ms;              /* the latest that anybody has seen; 0: nobody has */
    uint64_t walls[ASKED_MAX + 1]; /* one for each answer that counts, this node's own first */
    lw_queue changed;
} survey;

typedef struct question {
    survey *of;
    uint64_t node;
    bool counts;
} question;

void lw_shards_time(lw_shards *shards, lw_buffer *reply) {
    lw_write_array(reply, TIME_FIELDS);
    lw_write_u64(reply, lw_timestamps_time_ms(shards->timestamps));
    lw_write_u64(reply, lw_env_wall_ms(shards->env));
}

static void note_answer(survey *of, bool counts, lw_bytes reply) {
    lw_reader reader = lw_reader_of(reply);
    uint32_t extra = lw_read_array_of(&reader, TIME_FIELDS);
    uint64_t time_ms = lw_read_u64_max(&reader, LW_ORACLE_PHYSICAL_MAX_MS);
    uint64_t wall_ms = lw_read_u64_max(&reader, LW_ORACLE_PHYSICAL_MAX_MS);
    lw_read_skip(&reader, extra);
    if (lw_reader_done(&reader)) {
        of->time_ms = time_ms > of->time_ms ? time_ms : of->time_ms;
        if (counts) {
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
        note_answer(of, one->counts, lw_buffer_view(&reply));
    }
    lw_buffer_reset(&reply);
    of->pending--;
    lw_queue_wake_all(&of->changed);
}

static bool is_voter(const lw_shard_descriptor *shard, uint64_t node) {
    bool votes = false;
    for (uint32_t place = 0; place < shard->replica_count; place++) {
        const lw_shard_replica *each = &shard->replicas[place];
        votes = votes || (each->node == node && shards_votes(each));
    }
    return votes;
}

/* Asks all that are linked, at once: voters first. */
LW_YIELDS static void ask_others(survey *of, const lw_shard_descriptor *root) {
    question questions[ASKED_MAX];
    uint32_t count = 0;
    for (int voters = 1; voters >= 0; voters--) {
        for (uint64_t node = lw_groups_linked(of->shards->groups, 0);
             node != 0 && count < ASKED_MAX; node = lw_groups_linked(of->shards->groups, node)) {
            bool votes = is_voter(root, node);
            if (votes == (voters == 1)) {
                questions[count++] =
                    (question){.of = of, .node = node, .counts = votes || of->sole};
            }
        }
    }
    of->pending = count;
    for (uint32_t index = 0; index < count; index++) {
        lw_env_start(of->shards->env, "ask for the time", ask_main, &questions[index]);
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

static uint32_t voters_of(const lw_shard_descriptor *shard) {
    uint32_t count = 0;
    for (uint32_t place = 0; place < shard->replica_count; place++) {
        count += shards_votes(&shard->replicas[place]);
    }
    return count;
}

/* Whether nobody answers a sole voter, who may be the only one that is left. */
static bool waited_enough(lw_shards *shards, const survey *of) {
    uint64_t now_ns = lw_env_now(shards->env);
    shards->time_asked_ns = shards->time_asked_ns == 0 ? now_ns : shards->time_asked_ns;
    return of->sole && now_ns - shards->time_asked_ns >= SOLE_MS * NS_PER_MS;
}

void shards_learn_time(void *argument, lw_replica *root) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    lw_replica_descriptor(root, &shard);
    uint32_t voters = voters_of(&shard);
    survey of = {.shards = shards,
                 .sole = voters <= 1,
                 .answers = 1,
                 .walls = {lw_env_wall_ms(shards->env)}};
    ask_others(&of, &shard);
    if (of.time_ms != 0) {
        LW_MARK(shards->env, "shards.time_told");
        lw_timestamps_time_told(shards->timestamps, of.time_ms);
    } else if (of.answers > (of.sole ? 1 : voters / 2)) {
        LW_MARK(shards->env, "shards.time_of_the_middle");
        lw_timestamps_time_told(shards->timestamps, middle(of.walls, of.answers));
    } else if (waited_enough(shards, &of)) {
        LW_MARK(shards->env, "shards.time_of_its_own");
        lw_timestamps_time_told(shards->timestamps, of.walls[0]);
    } else {
        lw_env_sleep(shards->env, ROUND_MS * NS_PER_MS);
    }
}
