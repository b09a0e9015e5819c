/* SPDX-License-Identifier: Apache-2.0 */
/* What this node carries, and where the shards that it leads should be. */
#include "base/hash.h"
#include "node/group.h"
#include "node/lattice_state.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    STEP_MS = 10 * 1000,
    PAUSE_MS = 1000, /* after a step that failed; and up to as long again */
    LAG_MAX = 1024,  /* entries: a voter that lacks more is not healthy */
    RATE_MS = 1000,  /* over at least so long */
};

#ifdef LW_SIMULATION
uint64_t lw_lattice_planted(lw_env *env) {
    uint64_t bugs = 0;
    bugs |= (uint64_t)LW_BUG(env, "member.gone_comes_back") << LW_BUG_GONE_COMES_BACK;
    bugs |= (uint64_t)LW_BUG(env, "member.last_record_stands") << LW_BUG_LAST_RECORD_STANDS;
    bugs |= (uint64_t)LW_BUG(env, "member.anyone_signs") << LW_BUG_ANYONE_SIGNS;
    bugs |= (uint64_t)LW_BUG(env, "directory.last_entry_stands") << LW_BUG_LAST_ENTRY_STANDS;
    bugs |= (uint64_t)LW_BUG(env, "directory.dispute_merged") << LW_BUG_DISPUTE_MERGED;
    bugs |= (uint64_t)LW_BUG(env, "gossip.never_asks") << LW_BUG_NEVER_ASKS;
    bugs |= (uint64_t)LW_BUG(env, "gossip.expiry_ignored") << LW_BUG_EXPIRY_IGNORED;
    bugs |= (uint64_t)LW_BUG(env, "gossip.silence_is_death") << LW_BUG_SILENCE_IS_DEATH;
    bugs |= (uint64_t)LW_BUG(env, "gossip.words_are_links") << LW_BUG_WORDS_ARE_LINKS;
    bugs |= (uint64_t)LW_BUG(env, "gossip.sender_unchecked") << LW_BUG_SENDER_UNCHECKED;
    bugs |= (uint64_t)LW_BUG(env, "placement.all_must_be_seen") << LW_BUG_ALL_MUST_BE_SEEN;
    bugs |= (uint64_t)LW_BUG(env, "placement.quorum_ignored") << LW_BUG_QUORUM_IGNORED;
    bugs |= (uint64_t)LW_BUG(env, "placement.laggards_are_healthy") << LW_BUG_LAGGARDS_ARE_HEALTHY;
    bugs |= (uint64_t)LW_BUG(env, "placement.room_awaited") << LW_BUG_ROOM_AWAITED;
    bugs |= (uint64_t)LW_BUG(env, "placement.even_voters") << LW_BUG_EVEN_VOTERS;
    bugs |= (uint64_t)LW_BUG(env, "gossip.names_shared") << LW_BUG_NAMES_SHARED;
    bugs |= (uint64_t)LW_BUG(env, "placement.neighbours_apart") << LW_BUG_NEIGHBOURS_APART;
    bugs |= (uint64_t)LW_BUG(env, "placement.handed_forgotten") << LW_BUG_HANDED_FORGOTTEN;
    bugs |= (uint64_t)LW_BUG(env, "gossip.clock_believed") << LW_BUG_CLOCK_BELIEVED;
    bugs |= (uint64_t)LW_BUG(env, "gossip.overtaken_stay_so") << LW_BUG_OVERTAKEN_STAY_SO;
    return bugs;
}
#endif

/* ---- what is remembered of replicas -------------------------------------------------------------
 */

lattice_track *lattice_track_of(lw_lattice *lattice, uint64_t shard) {
    lw_map_node *node = lw_map_first(&lattice->tracks, lw_mix(shard));
    while (node != NULL && LW_MAP_ENTRY(node, lattice_track, by_shard)->shard != shard) {
        node = lw_map_next(node);
    }
    if (node != NULL) {
        return LW_MAP_ENTRY(node, lattice_track, by_shard);
    }
    lattice_track *track = lw_allocate_zero(lattice->memory, sizeof(*track));
    track->shard = shard;
    lw_map_insert(&lattice->tracks, &track->by_shard, lw_mix(shard));
    return track;
}

/* Forgets what the last `pass` did not see; all, if it is UINT64_MAX. */
static void sweep_tracks(lw_lattice *lattice, uint64_t pass) {
    for (uint32_t bucket = 0; bucket < lattice->tracks.bucket_count; bucket++) {
        lw_map_node *node = lattice->tracks.buckets[bucket];
        while (node != NULL) {
            lattice_track *track = LW_MAP_ENTRY(node, lattice_track, by_shard);
            node = node->next;
            if (track->pass != pass && !track->changing) {
                lw_map_remove(&lattice->tracks, &track->by_shard);
                lw_free(lattice->memory, track);
            }
        }
    }
}

void lattice_tracks_reset(lw_lattice *lattice) {
    sweep_tracks(lattice, UINT64_MAX);
    LW_ASSERT(lattice->tracks.count == 0);
    lw_map_reset(&lattice->tracks);
}

/* A new leader's first second counts in full: else it would seem to do little for long, and be
 * given more meanwhile. */
static uint64_t smooth(const lattice_track *track, uint64_t rate, uint64_t count,
                       uint64_t duration_ms) {
    uint64_t now = count * 1000 / duration_ms;
    return track->rated ? (3 * rate + now) / 4 : now;
}

static void count_rates(lattice_track *track, const lw_replica_figures *figures, uint64_t now_ms) {
    uint64_t reads = figures->reads + figures->scans, writes = figures->commits;
    uint64_t duration_ms = now_ms - track->counted_ms;
    bool first = track->counted_ms == 0;
    if (!first && duration_ms < RATE_MS) {
        return;
    }
    if (!first) {
        track->reads = smooth(track, track->reads, reads - track->reads_counted, duration_ms);
        track->writes = smooth(track, track->writes, writes - track->writes_counted, duration_ms);
        track->rated = true;
    }
    track->counted_ms = now_ms;
    track->reads_counted = reads;
    track->writes_counted = writes;
}

/* ---- load ---------------------------------------------------------------------------------------
 */

static uint64_t bytes_of(const lw_lattice *lattice, uint64_t shard) {
    lw_tree *tree = lw_store_tree(lattice->store, shard);
    lw_tree_figures figures;
    if (tree == NULL) {
        return 0;
    }
    lw_tree_figures_get(tree, &figures);
    return figures.memtable_bytes + figures.held_bytes;
}

static bool is_learner(const lw_lattice *lattice, const lw_shard_descriptor *shard) {
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        if (shard->replicas[index].node == lattice_self(lattice)) {
            return shard->replicas[index].role == LW_REPLICA_LEARNER;
        }
    }
    return false;
}

static bool keeps_up(const lw_group_peer *peer, const lw_group_figures *figures) {
    return peer->reachable && !peer->in_snapshot &&
           peer->match + LAG_MAX >= figures->committed_index;
}

static bool was_voter(const lw_shard_descriptor *shard, uint64_t node) {
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        if (shard->replicas[index].node == node) {
            return shard->replicas[index].role != LW_REPLICA_LEARNER;
        }
    }
    return false;
}

static void add_lagging(lw_member_load *load, uint64_t node) {
    for (uint32_t index = 0; index < load->lagging_count; index++) {
        if (load->lagging[index] == node) {
            return;
        }
    }
    if (load->lagging_count < LW_LAGGING_MAX) {
        load->lagging[load->lagging_count++] = node;
    }
}

/* Whether a follower lacks what is committed, and has acknowledged nothing for a while: its disk is
 * full, say, or it is mute. */
static bool is_stuck(lattice_track *track, const lw_group_peer *peer, uint64_t committed,
                     uint64_t now_ms) {
    struct lattice_follower *place = NULL;
    for (uint32_t index = 0; index < LATTICE_FOLLOWERS_MAX; index++) {
        struct lattice_follower *one = &track->followers[index];
        if (one->node == peer->node || (one->node == 0 && place == NULL)) {
            place = one;
        }
    }
    if (place == NULL) {
        return false;
    }
    if (place->node != peer->node || place->match != peer->match || peer->match >= committed) {
        *place = (struct lattice_follower){peer->node, peer->match, now_ms};
    }
    return now_ms - place->since_ms >= LATTICE_STUCK_MS;
}

static void forget_strangers(lattice_track *track, const lw_group_figures *figures) {
    for (uint32_t place = 0; place < LATTICE_FOLLOWERS_MAX; place++) {
        bool follows = false;
        for (uint32_t index = 0; index < figures->peer_count; index++) {
            follows = follows || figures->peers[index].node == track->followers[place].node;
        }
        track->followers[place] = follows ? track->followers[place] : (struct lattice_follower){0};
    }
}

/* Voters of a shard that this node leads which would not help if another one were lost. */
static void find_lagging(const lw_replica *replica, const lw_shard_descriptor *shard,
                         lattice_track *track, uint64_t now_ms, lw_member_load *load) {
    lw_group_figures figures;
    lw_replica_group_figures(replica, &figures);
    forget_strangers(track, &figures);
    for (uint32_t index = 0; index < figures.peer_count; index++) {
        const lw_group_peer *peer = &figures.peers[index];
        bool stuck = is_stuck(track, peer, figures.committed_index, now_ms);
        if ((stuck || !keeps_up(peer, &figures)) && was_voter(shard, peer->node)) {
            add_lagging(load, peer->node);
        }
        load->snapshots += peer->in_snapshot && peer->reachable;
    }
}

/* What only who leads a shard knows of it, and does for it. */
static void count_led(const lw_replica *replica, const lw_shard_descriptor *shard,
                      lattice_track *track, uint64_t now_ms, lw_member_load *load) {
    lw_replica_figures figures;
    lw_replica_figures_get(replica, &figures);
    track->led_ms = track->led_ms == 0 ? now_ms : track->led_ms;
    count_rates(track, &figures, now_ms);
    find_lagging(replica, shard, track, now_ms, load);
    if (!track->handing) {
        load->leaders++;
        load->reads += track->reads;
        load->writes += track->writes;
    }
}

static void forget_leading(lattice_track *track) {
    memset(track->followers, 0, sizeof(track->followers));
    track->led_ms = 0;
    track->counted_ms = 0;
    track->reads = track->writes = 0;
    track->rated = false;
}

static void count_load(lw_lattice *lattice, lw_member_load *load) {
    uint64_t now_ms = lattice_now_ms(lattice);
    *load = (lw_member_load){.shards = lw_shards_count(lattice->shards),
                             .merging = lw_shards_merging(lattice->shards),
                             .repairing = lw_shards_repairing(lattice->shards),
                             .disk_full = lw_reserve_short(lw_store_reserve(lattice->store))};
    lattice->pass++;
    for (uint32_t index = 0; index < load->shards; index++) {
        const lw_replica *replica = lw_shards_at(lattice->shards, index);
        lw_shard_descriptor shard;
        lw_replica_descriptor(replica, &shard);
        lattice_track *track = lattice_track_of(lattice, shard.id);
        track->pass = lattice->pass;
        load->bytes += bytes_of(lattice, shard.id);
        load->receiving += is_learner(lattice, &shard);
        if (lw_replica_leads(replica)) {
            count_led(replica, &shard, track, now_ms, load);
        } else {
            forget_leading(track);
        }
    }
    sweep_tracks(lattice, lattice->pass);
}

/* ---- the view -----------------------------------------------------------------------------------
 */

static void look_around(lw_lattice *lattice, const lw_member_load *own) {
    lw_placement_options options = {.voters = lattice->options.voters};
    lw_placement_look look = {.gossip = lattice->gossip,
                              .own_load = own,
                              .ledger = &lattice->ledger,
                              .changing = lattice->changing,
                              .settled_ms = LATTICE_SETTLED_MS,
                              .now_ms = lattice_now_ms(lattice)};
#ifdef LW_SIMULATION
    options.bugs = lw_lattice_planted(lattice->env);
#endif
    lw_placement_look_around(lattice->view, &options, &look);
}

/* A voter counts while it keeps up. A learner may become one when the group says so: one at rest
 * has not heard of it for long, and looks again when it is asked to. */
static uint32_t progress_of(const lw_replica *replica, lw_placement_progress *progress) {
    lw_group_figures figures;
    lw_replica_group_figures(replica, &figures);
    for (uint32_t index = 0; index < figures.peer_count; index++) {
        const lw_group_peer *peer = &figures.peers[index];
        bool near = keeps_up(peer, &figures);
        bool learner = false;
        for (uint32_t place = 0; place < figures.members.count; place++) {
            const lw_shard_replica *member = &figures.members.replicas[place];
            learner = learner || (member->node == peer->node && member->role == LW_REPLICA_LEARNER);
        }
        bool has_all = near && peer->match >= figures.last_index;
        progress[index] = (lw_placement_progress){
            .node = peer->node, .caught_up = learner ? peer->caught_up || has_all : near};
    }
    return figures.peer_count;
}

static bool long_ago(uint64_t then_ms, uint64_t now_ms) {
    return now_ms - then_ms >= LATTICE_SETTLED_MS;
}

/* True: the step, if there is one, is towards its small neighbours. */
static bool decide(lw_lattice *lattice, const lw_replica *replica, lw_shard_descriptor *shard,
                   lw_placement_step *step) {
    lw_placement_progress progress[LW_SHARD_REPLICAS_MAX];
    lw_replica_descriptor(replica, shard);
    uint32_t count = progress_of(replica, progress);
    uint64_t now_ms = lattice_now_ms(lattice);
    const lattice_track *track = lattice_track_of(lattice, shard->id);
    lw_placement_shard input = {
        .shard = shard,
        .progress = progress,
        .progress_count = count,
        .changing = track->changing || now_ms < track->wait_ms,
        .settled = (track->changed_ms == 0 || long_ago(track->changed_ms, now_ms)) &&
                   long_ago(track->led_ms, now_ms),
        .by_hand = track->by_hand_ms != 0 && now_ms - track->by_hand_ms < LATTICE_BY_HAND_MS,
        .rate = track->reads + track->writes,
        .anchor = lw_neighbour_anchor(lw_gossip_directory(lattice->gossip), shard->id),
    };
    lw_placement_decide(lattice->view, &input, step);
    return input.anchor != shard->id;
}

/* ---- steps --------------------------------------------------------------------------------------
 */

typedef struct step_job {
    lw_lattice *lattice;
    uint64_t shard;
    lw_epoch epoch;
    lw_placement_step step;
} step_job;

static lw_message_kind encode_step(const lw_placement_step *step, bool voter, lw_buffer *body) {
    if (step->kind == LW_PLACEMENT_TRANSFER) {
        lw_transfer_request request = {.node = step->node};
        lw_transfer_request_encode(&request, body);
        return LW_MESSAGE_TRANSFER;
    }
    lw_change_replicas_request request = {.fewer = voter && step->kind == LW_PLACEMENT_REMOVE};
    if (step->kind == LW_PLACEMENT_ADD) {
        request.learner = step->node;
    } else if (step->kind == LW_PLACEMENT_PROMOTE) {
        request.voter = step->node;
        request.second_voter = step->other;
    } else if (step->kind == LW_PLACEMENT_REPLACE) {
        request.voter = step->node;
        request.leaves = step->other;
    } else {
        request.leaves = step->node;
        request.second_leaves = step->other;
    }
    lw_change_replicas_request_encode(&request, body);
    return LW_MESSAGE_CHANGE_REPLICAS;
}

LW_YIELDS static lw_status carry_out(step_job *job) {
    lw_lattice *lattice = job->lattice;
    lw_buffer body = lw_buffer_in(lattice->memory), reply = body;
    lw_shard_descriptor shard;
    const lw_replica *replica = lw_shards_find(lattice->shards, job->shard);
    if (replica == NULL) {
        return lw_fail(LW_UNAVAILABLE, "the shard is not on this node any more");
    }
    lw_replica_descriptor(replica, &shard);
    lw_request request = {.shard = job->shard, .epoch = job->epoch, .timeout_ms = STEP_MS};
    request.kind = encode_step(&job->step, was_voter(&shard, job->step.node), &body);
    request.body = lw_buffer_view(&body);
    lw_status status = lw_shards_execute(lattice->shards, &request, 0, &reply);
    lw_buffer_reset(&body);
    lw_buffer_reset(&reply);
    return status;
}

static void step_ended(step_job *job, lw_status status) {
    lw_lattice *lattice = job->lattice;
    lattice_track *track = lattice_track_of(lattice, job->shard);
    const char *name = lw_placement_step_name(job->step.kind);
    uint64_t now_ms = lattice_now_ms(lattice);
    char label[LW_MEMBER_LABEL_SIZE];
    (void)lw_lattice_label(lattice, job->step.node, label);
    track->changing = false;
    track->handing = false;
    lw_placement_handed(&lattice->ledger, &job->step, status == LW_OK, now_ms);
    if (status == LW_OK) {
        LW_MARK(lattice->env, "lattice.step");
        lattice->steps_done++;
        lattice->handed += job->step.kind == LW_PLACEMENT_TRANSFER;
        track->changed_ms = now_ms;
        lattice->place_ms = 0; /* the next one */
        lattice_note(lattice, name, job->step.node, job->shard, "%s", job->step.reason);
        lw_logline(lattice->env, LW_LEVEL_INFO, "a shard moves",
                   "shard=%" PRIu64 " step=%s node=%016" PRIx64 " name=%s reason=\"%s\"",
                   job->shard, name, job->step.node, label, job->step.reason);
        return;
    }
    LW_MARK(lattice->env, "lattice.step_failed");
    lattice->steps_failed++;
    track->wait_ms = now_ms + PAUSE_MS + lw_env_random_below(lattice->env, PAUSE_MS);
    lw_logline(lattice->env, LW_LEVEL_DEBUG, "a shard could not be moved",
               "shard=%" PRIu64 " step=%s node=%016" PRIx64 " name=%s reason=\"%s\"", job->shard,
               name, job->step.node, label, lw_error_slot()->text);
}

LW_YIELDS static void step_main(void *argument) {
    step_job *job = argument;
    lw_lattice *lattice = job->lattice;
    lw_status status =
        lattice->stopping ? lw_fail(LW_UNAVAILABLE, "the node stops") : carry_out(job);
    step_ended(job, status);
    lattice->changing--;
    lw_free(lattice->memory, job);
    lattice_wake(lattice);
    lattice_job_end(lattice);
}

static void begin(lw_lattice *lattice, const lw_shard_descriptor *shard,
                  const lw_placement_step *step) {
    step_job *job = lw_allocate(lattice->memory, sizeof(*job));
    *job = (step_job){.lattice = lattice, .shard = shard->id, .epoch = shard->epoch, .step = *step};
    lattice_track *track = lattice_track_of(lattice, shard->id);
    track->changing = true;
    track->handing = step->kind == LW_PLACEMENT_TRANSFER;
    lw_placement_hand(&lattice->ledger, step);
    lattice->changing++;
    lattice_job_begin(lattice);
    lw_env_start(lattice->env, "place", step_main, job);
}

static void tell_idleness(lw_lattice *lattice, uint64_t shard) {
    lw_idleness judged = lw_shards_idleness(lattice->shards, shard);
    if (lw_gossip_idleness(lattice->gossip, shard, judged, lattice_now_ms(lattice))) {
        LW_MARK(lattice->env, "lattice.idleness_told");
    }
}

/* A learner mostly has caught up a few round trips after it was made. Not so for one that gets a
 * large snapshot: that one is looked at as seldom as everything else, after a while. */
static void look_again_soon(lw_lattice *lattice, const lw_shard_descriptor *shard) {
    uint64_t now_ms = lattice_now_ms(lattice);
    const lattice_track *track = lattice_track_of(lattice, shard->id);
    if (track->changed_ms == 0 || long_ago(track->changed_ms, now_ms)) {
        return;
    }
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        if (shard->replicas[index].role == LW_REPLICA_LEARNER) {
            lattice->place_ms = now_ms + LATTICE_SOON_MS;
        }
    }
}

/* ---- all of it ----------------------------------------------------------------------------------
 */

void lattice_place(lw_lattice *lattice) {
    lw_member_load load;
    count_load(lattice, &load);
    lw_gossip_load(lattice->gossip, &load);
    if (load.leaders == 0) {
        return;
    }
    look_around(lattice, &load);
    /* Beginning elsewhere each time: what is limited must not always go to the same ones. */
    uint32_t count = lw_shards_count(lattice->shards);
    uint32_t first = (uint32_t)lw_env_random_below(lattice->env, count);
    for (uint32_t index = 0; index < count; index++) {
        lw_replica *replica = lw_shards_at(lattice->shards, (first + index) % count);
        lw_shard_descriptor shard;
        lw_placement_step step;
        if (!lw_replica_leads(replica)) {
            continue;
        }
        bool together = decide(lattice, replica, &shard, &step);
        tell_idleness(lattice, shard.id);
        if (step.kind != LW_PLACEMENT_NOTHING) {
            if (together) {
                LW_MARK(lattice->env, "lattice.brought_together");
            }
            begin(lattice, &shard, &step);
            lw_placement_took(lattice->view, &step);
        } else {
            lattice_split_hot(lattice, replica, &shard);
            look_again_soon(lattice, &shard);
        }
    }
}

void lattice_plan(lw_lattice *lattice, lw_buffer *reply) {
    uint32_t count = lw_shards_count(lattice->shards), led = 0;
    for (uint32_t index = 0; index < count; index++) {
        led += lw_replica_leads(lw_shards_at(lattice->shards, index));
    }
    led = lattice->view == NULL ? 0 : led;
    lw_write_array(reply, led);
    if (led == 0) {
        return;
    }
    lw_member_load load;
    count_load(lattice, &load);
    look_around(lattice, &load);
    for (uint32_t index = 0; index < count; index++) {
        const lw_replica *replica = lw_shards_at(lattice->shards, index);
        if (lw_replica_leads(replica)) {
            lw_shard_descriptor shard;
            lw_placement_step step;
            (void)decide(lattice, replica, &shard, &step);
            lw_plan_row row = {.shard = shard.id,
                               .step = lw_text(lw_placement_step_name(step.kind)),
                               .node = step.node,
                               .other = step.other,
                               .reason = lw_text(step.reason),
                               .wanted_count = step.wanted_count};
            memcpy(row.wanted, step.wanted, sizeof(row.wanted));
            uint64_t left, idle_ms;
            if (step.kind == LW_PLACEMENT_NOTHING &&
                lw_shards_to_merge(lattice->shards, shard.id, &left, &idle_ms)) {
                row.step = lw_text("merge");
                (void)snprintf(step.reason, sizeof(step.reason),
                               "small, and with little to do for %" PRIu64
                               " s, as its left neighbour may have: to be part of shard %" PRIu64,
                               idle_ms / 1000, left);
                row.reason = lw_text(step.reason);
            }
            lw_plan_row_encode(&row, reply);
        }
    }
}
