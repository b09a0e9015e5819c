/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas that have applied something else than the others (hazard R17).
 *
 * The voters are asked what they have applied. Who is the odd one out throws its replica away,
 * whether it leads or not; the others go on:
 *
 *   1. whoever leads is asked, so that it surely has the shard, and has this node for a member
 *   2. the replica ends. A tombstone says what it had come to (node/shards_past.c): its term, and
 *      its last entry. Its tree is dropped
 *   3. another replica of the shard takes its place, as one that was just made a member. It has
 *      nothing, and says so; it neither votes nor stands until it knows as much to be committed as
 *      the first one may have acknowledged (hazard R14)
 *
 * Unlike one that is only damaged (node/shards_repair.c), neither its tree nor its log is believed.
 * A crash before the tombstone is durable leaves the replica, which is found again; behind it, a
 * tombstone by which the next start does the rest: it forbids no replica in the same members.
 *
 * If no more than half of the voters agree, nobody can say who is right, and all halt, in words:
 * whatever any of them answered might be wrong. They halt again behind a start, since nothing that
 * could be compared outlasts one. Who knows which is right starts that node with --halted believe,
 * and it goes on as it is; others, started with --halted renew, are taken for damaged, and get
 * their trees from it (node/shards_repair.c).
 *
 * One that is left behind needs nobody's word. Whoever leads has applied more than the log here
 * has, and by then this node was no voter, but a learner: so what it knows has no part in anything
 * that was committed or may be, and nobody waits for it. It comes anew, halted or not; else it
 * would be a learner that never learns. */
#include "node/group.h"
#include "node/shards_state.h"

enum {
    REPAIR_PAUSE_MS = 300,  /* between two attempts */
    JUDGE_TRIES = 100,      /* to hear from voters what they have applied */
    HALTED_PAUSE_MS = 5000, /* between two looks of who has halted */
};

typedef struct trial {
    lw_shards *shards;
    uint64_t shard;
    uint64_t leader;        /* as somebody said; 0: nobody did */
    uint64_t index, digest; /* of the difference, as this node has it */
    bool halted;
} trial;

/* The member, if it is still to be judged. */
static shards_member *member_of(const trial *job) {
    shards_member *member = shards_member_of(job->shards, job->shard);
    return member == NULL || member->leaving || !shards_run(job->shards) ? NULL : member;
}

/* ---- throwing away -------------------------------------------------------------------------- */

/* Step 2, and what is to be made again. */
LW_YIELDS static lw_status throw_away(trial *job, shards_member *member,
                                      const lw_shard_descriptor *shard) {
    lw_shards *shards = job->shards;
    lw_replica *replica = member->replica;
    lw_group_figures figures;
    member->leaving = true;
    shards_unsort(shards, member);
    lw_replica_stop(replica); /* it promises nothing more */
    lw_replica_group_figures(replica, &figures);
    shards_past gone = {.group = job->shard,
                        .term = figures.term,
                        .epoch = {.range_version = shard->epoch.range_version,
                                  .config_version = shard->epoch.config_version - 1},
                        .index = figures.last_index};
    LW_TRY(shards_bury(shards, member, &gone));
    LW_TRY(shards_drop(shards, shards->log, job->shard));
    shards_forget(shards, member);
    LW_MARK(shards->env, "shards.replica_thrown_away");
    return LW_OK;
}

void shards_announce(lw_shards *shards, const shards_member *member) {
    lw_shard_descriptor shard;
    lw_group_figures figures;
    lw_replica_descriptor(member->replica, &shard);
    lw_replica_group_figures(member->replica, &figures);
    for (uint32_t index = 0; index < shard.replica_count; index++) {
        if (shard.replicas[index].node != shards->options.node) {
            lw_groups_anew(shards->groups, shard.replicas[index].node, shard.id, figures.term);
        }
    }
}

/* Steps 2 and 3. `shard` are views of what another node said of it, which had applied so much. */
LW_YIELDS static lw_status replace(trial *job, shards_member *member,
                                   const lw_shard_descriptor *shard, uint64_t applied) {
    lw_shards *shards = job->shards;
    shards_say(shards, LW_LEVEL_WARN, "repairing", job->shard,
               "this node's replica is thrown away, and comes anew from node %016llx",
               (unsigned long long)shard->leader);
    LW_TRY(throw_away(job, member, shard));
    if (!shards_run(shards)) {
        return LW_OK; /* the next start goes on */
    }
    LW_TRY(shards_take_in(shards, shard, applied));
    shards_member *made = shards_member_of(shards, job->shard);
    made->anew = true;
    shards_announce(shards, made);
    return LW_OK;
}

/* ---- anew ------------------------------------------------------------------------------------ */

/* Whether so many others have the shard that they can elect somebody without this node: those that
 * were made anew themselves do not vote yet. Of two voters the other has to. */
LW_YIELDS static bool others_have_it(trial *job, const lw_shard_descriptor *shard) {
    uint32_t voters = 0, having = 0;
    for (uint32_t place = 0; place < shard->replica_count; place++) {
        const lw_shard_replica *each = &shard->replicas[place];
        uint64_t index = 0, digest = 0;
        voters += shards_votes(each);
        having += shards_votes(each) && each->node != job->shards->options.node &&
                  shards_compare(job->shards, each->node, job->shard, &index, &digest) == LW_OK;
    }
    return having > voters / 2 || (voters == 2 && having == 1);
}

/* What `applied` is as of `told`, of whoever leads. An index that the log here has not come to was
 * never acknowledged by it, so it was not made a voter since, either. */
static bool left_behind(const lw_shards *shards, const lw_replica *replica,
                        const lw_shard_descriptor *told, uint64_t applied) {
    lw_group_figures figures;
    bool learner = false;
    lw_replica_group_figures(replica, &figures);
    for (uint32_t place = 0; place < told->replica_count; place++) {
        const lw_shard_replica *each = &told->replicas[place];
        learner = learner || (each->node == shards->options.node && !shards_votes(each));
    }
    return learner && applied > figures.last_index;
}

/* Steps 1 to 3; LW_UNAVAILABLE: not now. */
LW_YIELDS static lw_status replace_by(trial *job, uint64_t leader, bool only_if_left_behind) {
    lw_shards *shards = job->shards;
    lw_shard_descriptor told;
    uint64_t applied;
    lw_buffer reply = lw_buffer_in(shards->env->memory);
    lw_status status = shards_describe_by(shards, leader, job->shard, &reply, &told, &applied);
    bool spared = status == LW_OK && others_have_it(job, &told);
    shards_member *member = member_of(job);
    job->leader = status == LW_OK && told.leader != shards->options.node ? told.leader : 0;
    bool sure =
        status == LW_OK && told.leader == leader && shards_names(&told, shards->options.node);
    if (member == NULL || !sure || !spared || lw_replica_leads(member->replica) ||
        (only_if_left_behind && !left_behind(shards, member->replica, &told, applied))) {
        status = LW_UNAVAILABLE;
    } else {
        status = replace(job, member, &told, applied);
    }
    lw_buffer_reset(&reply);
    return status;
}

/* Who may know who leads, or does: as was said last, or as this replica knows, or any in turn, or
 * who is told to, as all that it knows may have gone. */
static uint64_t whom_to_ask(const trial *job, const lw_shard_descriptor *shard, uint32_t attempt) {
    uint64_t own = job->shards->options.node;
    if (job->leader != 0) {
        return job->leader;
    }
    lw_shard_descriptor told = {0};
    if (attempt % 4 == 2 && job->shards->others.locate != NULL &&
        job->shards->others.locate(job->shards->options.argument, shard->start, &told) &&
        told.id == job->shard && told.leader != own) {
        return told.leader;
    }
    if (attempt % 2 == 0 && shard->leader != 0 && shard->leader != own) {
        return shard->leader;
    }
    uint64_t node =
        shard->replica_count == 0 ? 0 : shard->replicas[attempt / 2 % shard->replica_count].node;
    return node == own ? 0 : node;
}

/* LW_UNAVAILABLE: not now. */
LW_YIELDS static lw_status try_to_replace(trial *job, uint32_t attempt, bool only_if_left_behind) {
    lw_shard_descriptor shard;
    const shards_member *member = member_of(job);
    if (member == NULL) {
        return LW_UNAVAILABLE;
    }
    lw_replica_descriptor(member->replica, &shard);
    uint64_t asked = whom_to_ask(job, &shard, attempt);
    lw_status status = asked == 0 ? LW_UNAVAILABLE : replace_by(job, asked, only_if_left_behind);
    if (status != LW_OK && status != LW_UNAVAILABLE && shards_run(job->shards)) {
        shards_say(job->shards, LW_LEVEL_ERROR, "repair failed", job->shard, "%s",
                   lw_error_slot()->text);
    }
    return status;
}

LW_YIELDS static void repair_one(trial *job) {
    lw_status status = LW_UNAVAILABLE;
    for (uint32_t attempt = 0; status == LW_UNAVAILABLE && member_of(job) != NULL; attempt++) {
        status = try_to_replace(job, attempt, false);
        if (status == LW_UNAVAILABLE && shards_run(job->shards)) {
            shards_pause(job->shards, REPAIR_PAUSE_MS);
        }
    }
}

/* True once there is nothing left to judge. */
LW_YIELDS static bool comes_anew_if_left_behind(trial *job, uint32_t attempt) {
    if (LW_BUG(job->shards->env, "shards.left_behind_stays_halted")) {
        return false;
    }
    lw_status status = try_to_replace(job, attempt, true);
    if (status == LW_OK) {
        LW_MARK(job->shards->env, "shards.left_behind_comes_anew");
    }
    return status != LW_UNAVAILABLE;
}

/* ---- who is right --------------------------------------------------------------------------- */

typedef struct verdict {
    uint32_t voters, same, other_most, silent;
    uint64_t others[LW_SHARD_REPLICAS_MAX]; /* what those say that say something else */
    uint32_t other_count;
} verdict;

static void count_vote(const trial *job, verdict *told, uint64_t index, uint64_t digest) {
    if (index != job->index) {
        told->silent++;
        return;
    }
    if (digest == job->digest) {
        told->same++;
        return;
    }
    told->others[told->other_count++] = digest;
    uint32_t alike = 0;
    for (uint32_t place = 0; place < told->other_count; place++) {
        alike += told->others[place] == digest;
    }
    told->other_most = alike > told->other_most ? alike : told->other_most;
}

/* Asks all voters what they have applied; who finds that it has something else judges, too. */
LW_YIELDS static void hear(trial *job, const lw_shard_descriptor *shard, verdict *told) {
    lw_shards *shards = job->shards;
    *told = (verdict){.voters = 0};
    for (uint32_t place = 0; place < shard->replica_count; place++) {
        const lw_shard_replica *each = &shard->replicas[place];
        uint64_t index = job->index, digest = job->digest;
        if (!shards_votes(each)) {
            continue;
        }
        told->voters++;
        if (each->node != shards->options.node &&
            shards_compare(shards, each->node, job->shard, &index, &digest) != LW_OK) {
            index = 0;
        }
        count_vote(job, told, index, digest);
    }
}

LW_YIELDS static void halt(trial *job) {
    shards_member *member = member_of(job);
    if (member != NULL) {
        LW_MARK(job->shards->env, "shards.halted_without_majority");
        shards_say(
            job->shards, LW_LEVEL_ERROR, "halted", job->shard,
            "its replicas differ at entry %llu, and no majority says which is right: decide which "
            "node has it right, start that one with --halted believe, the others with --halted "
            "renew",
            (unsigned long long)job->index);
        job->halted = true;
        lw_replica_halt(member->replica, job->index);
    }
}

/* True once it is decided. */
LW_YIELDS static bool judge(trial *job, uint32_t attempt) {
    lw_shard_descriptor shard;
    shards_member *member = member_of(job);
    verdict told;
    if (member == NULL) {
        return true;
    }
    lw_replica_descriptor(member->replica, &shard);
    hear(job, &shard, &told);
    if ((member = member_of(job)) == NULL) {
        return true;
    }
    if (2 * told.same > told.voters) {
        LW_MARK(job->shards->env, "shards.majority_goes_on");
        lw_replica_go_on(member->replica);
        member->repairing = false;
        return true;
    }
    if (2 * told.other_most > told.voters) {
        LW_MARK(job->shards->env, "shards.minority_repairs");
        shards_say(job->shards, LW_LEVEL_ERROR, "differs", job->shard,
                   "what this node applied up to entry %llu is not what most others did",
                   (unsigned long long)job->index);
        lw_replica_suspend(member->replica);
        repair_one(job);
        return true;
    }
    if (comes_anew_if_left_behind(job, attempt)) {
        return true;
    }
    if (told.silent == 0 || attempt == JUDGE_TRIES) {
        halt(job);
        return true;
    }
    return false;
}

/* Others may be told to go on without it. */
LW_YIELDS static void wait_halted(trial *job) {
    for (uint32_t attempt = 1; member_of(job) != NULL && !comes_anew_if_left_behind(job, attempt);
         attempt++) {
        shards_pause(job->shards, HALTED_PAUSE_MS);
    }
}

LW_YIELDS static void judge_main(void *argument) {
    trial *job = argument;
    lw_shards *shards = job->shards;
    for (uint32_t attempt = 1; !job->halted && !judge(job, attempt); attempt++) {
        shards_pause(shards, REPAIR_PAUSE_MS);
    }
    if (job->halted) {
        wait_halted(job);
    }
    lw_free(shards->env->memory, job);
    shards_background_end(shards);
}

static void begin(trial wanted) {
    lw_shards *shards = wanted.shards;
    trial *job = lw_allocate(shards->env->memory, sizeof(*job));
    *job = wanted;
    shards->background_count++;
    lw_env_start(shards->env, "judge", judge_main, job);
}

void shards_differs(void *argument, lw_replica *replica, uint64_t index) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    uint64_t digest;
    lw_replica_descriptor(replica, &shard);
    shards_member *member = shards_member_of(shards, shard.id);
    if (!shards_run(shards) || member == NULL || member->replica != replica || member->leaving ||
        member->waits || member->repairing || !lw_replica_digest(replica, index, &digest)) {
        return;
    }
    LW_MARK(shards->env, "shards.difference_found");
    member->repairing = true;
    begin((trial){.shards = shards, .shard = shard.id, .index = index, .digest = digest});
}

/* ---- halted before ----------------------------------------------------------------------------
 */

void shards_halted_before(lw_shards *shards, shards_member *member) {
    if (!lw_replica_halted(member->replica)) {
        return;
    }
    switch (shards->options.halted) {
    case LW_HALTED_STAYS:
        LW_MARK(shards->env, "shards.still_halted");
        member->repairing = true; /* nothing of it is looked at */
        shards_say(shards, LW_LEVEL_ERROR, "halted", member->shard,
                   "its replicas differed before the start: decide which node has it right, start "
                   "that one with --halted believe, the others with --halted renew");
        break;
    case LW_HALTED_IS_BELIEVED:
        shards_say(shards, LW_LEVEL_WARN, "believed", member->shard, "it goes on as it is here");
        lw_replica_forgive(member->replica);
        break;
    case LW_HALTED_COMES_ANEW:
        lw_replica_forgive(member->replica);
        member->damaged = true;
        break;
    }
}

void shards_judge_start(lw_shards *shards) {
    for (uint32_t index = 0; index < shards->count; index++) {
        const shards_member *member = shards->sorted[index];
        if (lw_replica_halted(member->replica)) {
            begin((trial){.shards = shards, .shard = member->shard, .halted = true});
        }
    }
}
