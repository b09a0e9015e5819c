/* SPDX-License-Identifier: Apache-2.0 */
/* The watch over the oracle: sim/watch.h, 9. */
#include "node/shards.h"
#include "node/timestamps.h"
#include "sim/run.h"
#include "txn/oracle.h"

#include <inttypes.h>

enum { DAY_MS = 24 * 3600 * 1000, ASKED_VOTERS_MIN = 3 };

/* A node that is looked at. */
typedef struct sight {
    lw_sim_trial *run;
    uint32_t place; /* of the node */
    const lw_sim_member *node;
    lw_sim_oracle_past *past;
    lw_timestamps *timestamps;
    uint64_t given; /* as far as it knows */
} sight;

#define BROKEN(it, ...) lw_sim_watch_broken((it)->run, (it)->place, 0, __VA_ARGS__)

/* Whoever leads gives what is above all that had been given before. One may come to lead so late
 * that another one has been elected since: it is sure of nothing, and gives nothing. */
static void judge_given(const sight *it) {
    lw_sim_oracle_past *past = it->past;
    if (!lw_timestamps_leads(it->timestamps)) {
        past->told = past->told || (past->last > 0 && it->given > past->last);
        past->floor = 0;
    } else if (past->floor == 0 && it->given < it->run->watch.given_before) {
        if (lw_timestamps_sure(it->timestamps)) {
            BROKEN(it, "timestamps", "goes on behind %" PRIu64 ", and %" PRIu64 " had been given",
                   it->given, it->run->watch.given_before);
        }
    } else if (past->floor == 0) {
        past->floor = it->run->watch.given_before + 1;
    } else if (it->given > past->last && it->given < past->floor) {
        BROKEN(it, "timestamps", "gave %" PRIu64 ", and %" PRIu64 " had been given before it led",
               it->given, past->floor - 1);
    }
    past->last = it->given;
}

/* Whether it can know what time it is, whatever its own clock says: it has seen the oracle's, or
 * has enough others to ask, of whom one at most is years off: voters, since a sole one does not
 * wait for ever. Once one has believed its own clock time goes on from there. */
static bool can_know(const sight *it) {
    const lw_replica *root = lw_shards_find(lw_sim_shards_of(it->node), LW_ROOT_SHARD);
    lw_shard_descriptor shard = {0};
    uint32_t voters = 0;
    if (root != NULL) {
        lw_replica_descriptor(root, &shard);
    }
    for (uint32_t index = 0; index < shard.replica_count; index++) {
        voters += shard.replicas[index].role != LW_REPLICA_LEARNER;
    }
    return lw_world_marked(it->run->world, "shards.time_of_its_own") == 0 &&
           ((it->past->told && !it->run->watch.dark) || voters >= ASKED_VOTERS_MIN);
}

static void judge_time(const sight *it) {
    uint64_t true_ms = lw_world_wall_ms(it->run->world), time_ms = lw_timestamp_ms(it->given);
    uint64_t off_ms = time_ms > true_ms ? time_ms - true_ms : true_ms - time_ms;
    if (off_ms > DAY_MS && can_know(it)) {
        BROKEN(it, "the oracle's time", "gives timestamps of %" PRId64 " hours from now",
               ((int64_t)time_ms - (int64_t)true_ms) / (DAY_MS / 24));
    }
}

void lw_sim_watch_oracles(lw_sim_trial *run) {
    lw_sim_watch *watch = &run->watch;
    const lw_sim_member *sure = NULL;
    bool lit = false;
    watch->given_before = watch->given;
    for (uint32_t place = 0; place < run->node_count; place++) {
        sight it = {
            .run = run, .place = place, .node = &run->nodes[place], .past = &watch->oracles[place]};
        if (lw_sim_shards_of(it.node) == NULL) {
            *it.past = (lw_sim_oracle_past){.floor = 0};
            continue;
        }
        it.timestamps = lw_shards_timestamps(lw_sim_shards_of(it.node));
        it.given = lw_timestamps_last(it.timestamps);
        watch->given = it.given > watch->given ? it.given : watch->given;
        lit = lit || it.past->boot == it.node->boot;
        it.past->boot = it.node->boot;
        judge_given(&it);
        if (it.given == 0 || !lw_timestamps_sure(it.timestamps)) {
            continue;
        }
        judge_time(&it);
        if (sure != NULL) {
            BROKEN(&it, "oracles", "and %s are both sure to be it", sure->name);
        }
        sure = it.node;
    }
    watch->dark = watch->dark || (!lit && watch->given > 0);
}
