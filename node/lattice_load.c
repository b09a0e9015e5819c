/* SPDX-License-Identifier: Apache-2.0 */
/* Shards that are asked for more than one of them should be are split where their requests have
 * their middle, so that another node can lead a half.
 *
 * Only where there are others: the shards of a node share one reactor and one log, and two halves
 * there can do no more than the whole. A shard is hot if it takes HOT_RATE requests a second (or
 * what the node was told), and more than half of a node's fair share of all that the lattice is
 * asked. So it ends: with each split the halves have less, and what has less than half a share can
 * be placed well enough. It has to be so for a while, the keys of its requests are noted meanwhile,
 * and it is split only if a key has a quarter of them on either side: one hot key cannot be
 * divided. */
#include "node/lattice_state.h"

#include <inttypes.h>

enum {
    HOT_RATE = 2500,
    HOT_MS = 5000,
    SPLIT_MS = 10 * 1000,
    SAMPLES_RATE = 50, /* keys noted in a second, about */
    RARE_RATE = 5,     /* in simulations, which ask for little */
};

/* A shard that is hot already stays so a little longer. */
static bool is_hot(lw_lattice *lattice, const lattice_track *track) {
    const lw_placement_view *view = lattice->view;
    uint64_t rate = track->reads + track->writes, total = 0, nodes = 0;
    if (lattice->hot_rate == 0) {
        uint64_t asked = lattice->options.shard_rate;
        lattice->hot_rate = LW_RARE(lattice->env, "lattice.soon_hot") ? RARE_RATE
                            : asked == 0                              ? HOT_RATE
                                                                      : asked;
    }
    for (uint32_t index = 0; index < view->count; index++) {
        const lw_placement_node *node = &view->nodes[index];
        nodes += node->state == LW_MEMBER_UP && node->linked;
        total += node->loaded ? node->load.reads + node->load.writes : 0;
    }
    uint64_t weight = track->hot_ms == 0 ? 4 : 5;
    return nodes > 1 && rate * weight / 4 >= lattice->hot_rate &&
           rate * weight * 2 * nodes > 4 * total;
}

/* ---- the split ----------------------------------------------------------------------------------
 */

typedef struct split_job {
    lw_lattice *lattice;
    lw_request request;
    lw_buffer body;
} split_job;

LW_YIELDS static void split_main(void *argument) {
    split_job *job = argument;
    lw_lattice *lattice = job->lattice;
    lw_buffer reply = lw_buffer_in(lattice->memory);
    lw_status status = lattice->stopping
                           ? lw_fail(LW_UNAVAILABLE, "the node stops")
                           : lw_shards_execute(lattice->shards, &job->request, 0, &reply);
    lattice_track *track = lattice_track_of(lattice, job->request.shard);
    track->changing = false;
    track->changed_ms = lattice_now_ms(lattice);
    track->hot_ms = 0;
    if (status == LW_OK) {
        LW_MARK(lattice->env, "lattice.split_by_load");
        lattice_note(lattice, "split", lattice_self(lattice), job->request.shard,
                     "it is asked for more than a node's share");
    } else {
        lw_logline(lattice->env, LW_LEVEL_DEBUG, "a hot shard could not be split",
                   "shard=%" PRIu64 " reason=\"%s\"", job->request.shard, lw_error_slot()->text);
    }
    lattice->changing--;
    lattice->splitting = false;
    lw_buffer_reset(&job->body);
    lw_buffer_reset(&reply);
    lw_free(lattice->memory, job);
    lattice_wake(lattice);
    lattice_job_end(lattice);
}

static void begin(lw_lattice *lattice, const lw_shard_descriptor *shard, lw_bytes key) {
    split_job *job = lw_allocate_zero(lattice->memory, sizeof(*job));
    job->lattice = lattice;
    job->body = lw_buffer_in(lattice->memory);
    lw_split_request_encode(&(lw_split_request){.key = key}, &job->body);
    job->request = (lw_request){.kind = LW_MESSAGE_SPLIT,
                                .shard = shard->id,
                                .epoch = shard->epoch,
                                .timeout_ms = SPLIT_MS,
                                .body = lw_buffer_view(&job->body)};
    lattice_track_of(lattice, shard->id)->changing = true;
    lattice->changing++;
    lattice->splitting = true;
    lattice_job_begin(lattice);
    lw_env_start(lattice->env, "split by load", split_main, job);
}

/* ---- looking ------------------------------------------------------------------------------------
 */

void lattice_split_hot(lw_lattice *lattice, lw_replica *replica, const lw_shard_descriptor *shard) {
    lattice_track *track = lattice_track_of(lattice, shard->id);
    uint64_t now_ms = lattice_now_ms(lattice);
    if (!is_hot(lattice, track)) {
        if (track->hot_ms != 0) {
            track->hot_ms = 0;
            lw_replica_load_watch(replica, 0);
        }
        return;
    }
    if (track->hot_ms == 0) {
        track->hot_ms = now_ms;
        lw_replica_load_watch(replica,
                              1 + (uint32_t)((track->reads + track->writes) / SAMPLES_RATE));
        return;
    }
    if (now_ms - track->hot_ms < HOT_MS || track->changing || lattice->splitting) {
        return;
    }
    lw_buffer key = lw_buffer_in(lattice->memory);
    if (lw_replica_load_middle(replica, &key) == LW_OK) {
        lw_replica_load_watch(replica, 0);
        begin(lattice, shard, lw_buffer_view(&key));
    }
    lw_buffer_reset(&key);
}
