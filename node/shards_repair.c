/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas that are damaged, or differ from the others (hazards R17, S15).
 *
 * One whose stored bytes fail their check is of no use, and the others have all that it had. So it
 * is thrown away, and this node, which stays a member, gets the shard anew, by snapshot:
 *
 *   1. if it leads, it hands the leadership over. As long as nobody else leads nothing is thrown
 *      away: what can still be read of it may be needed
 *   2. whoever leads is asked, so that it surely has the shard, and has this node for a member
 *   3. the replica ends. A tombstone says what it had come to (node/shards_past.c): its term, and
 *      its last entry. Its tree is dropped
 *   4. another replica of the shard takes its place, as one that was just made a member. It has
 *      nothing, and says so; it neither votes nor stands until it knows as much to be committed as
 *      the first one may have acknowledged (hazard R14)
 *
 * A crash before the tombstone is durable leaves the damaged replica, which is found again; behind
 * it, a tombstone by which the next start does the rest: it forbids no replica in the same members.
 *
 * Where replicas have applied something else the voters are asked what they have applied. Who is
 * the odd one out throws its replica away as above, whether it leads or not; the others go on. If
 * no more than half of the voters agree, nobody can say who is right, and all halt, in words:
 * whatever any of them answered might be wrong.
 *
 * In a shard with one voter there is nobody to get it from: then a fault is told to who reads. */
#include "node/group.h"
#include "node/shards_state.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    REPAIR_PAUSE_MS = 300, /* between two attempts */
    HAND_OVER_MS = 1000,   /* until another voter is asked to lead */
    JUDGE_TRIES = 100,     /* to hear from voters what they have applied */
    EVENT_TEXT_SIZE = 200,
};
#define NS_PER_MS UINT64_C(1000000)

typedef struct repair {
    lw_shards *shards;
    uint64_t shard;
    uint64_t leader;        /* as somebody said; 0: nobody did */
    uint64_t index, digest; /* of the difference, as this node has it; index 0: damaged */
} repair;

/* ---- words ---------------------------------------------------------------------------------- */

__attribute__((format(printf, 5, 6))) static void
say(lw_shards *shards, lw_level level, const char *name, uint64_t shard, const char *format, ...) {
    char text[EVENT_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    lw_logline(shards->env, level, name, "shard=%llu reason=\"%s\"", (unsigned long long)shard,
               text);
    if (shards->others.happened != NULL) {
        shards->others.happened(shards->options.argument, name, shard, text);
    }
}

/* ---- who there is --------------------------------------------------------------------------- */

static bool runs(const lw_shards *shards) {
    return shards->serving && !shards->dead;
}

/* The member, if it is still to be repaired. */
static shards_member *member_of(const repair *job) {
    shards_member *member = shards_member_of(job->shards, job->shard);
    return member == NULL || member->leaving || !runs(job->shards) ? NULL : member;
}

static bool votes(const lw_shard_replica *replica) {
    return replica->role != LW_REPLICA_LEARNER;
}

static uint32_t voters_of(const lw_shards *shards, const lw_replica *replica, bool *self) {
    lw_group_figures figures;
    uint32_t count = 0;
    lw_replica_group_figures(replica, &figures);
    *self = false;
    for (uint32_t index = 0; index < figures.members.count; index++) {
        const lw_shard_replica *each = &figures.members.replicas[index];
        *self = *self || (votes(each) && each->node == shards->options.node);
        count += votes(each);
    }
    return count;
}

static bool has_peers(const lw_shards *shards, const lw_replica *replica) {
    bool self;
    uint32_t voters = voters_of(shards, replica, &self);
    return shards->others.ask != NULL && voters > (self ? 1U : 0U);
}

LW_YIELDS static void pause_until(lw_shards *shards, uint64_t pause_ms) {
    (void)lw_env_wait(shards->env, &shards->stop, lw_env_now(shards->env) + pause_ms * NS_PER_MS);
}

/* ---- throwing away -------------------------------------------------------------------------- */

/* Step 3, and what is to be made again. */
LW_YIELDS static lw_status throw_away(repair *job, shards_member *member,
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
    member->replica = NULL;
    lw_replica_close(replica);
    LW_TRY(shards_past_bury(shards, &gone));
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

/* Steps 3 and 4. `shard` are views of what another node said of it. */
LW_YIELDS static lw_status replace(repair *job, shards_member *member,
                                   const lw_shard_descriptor *shard) {
    lw_shards *shards = job->shards;
    say(shards, LW_LEVEL_WARN, "repairing", job->shard,
        "this node's replica is thrown away, and comes anew from node %016llx",
        (unsigned long long)shard->leader);
    LW_TRY(throw_away(job, member, shard));
    if (!runs(shards)) {
        return LW_OK; /* the next start goes on */
    }
    LW_TRY(shards_admit(shards, shard));
    shards_member *made = shards_member_of(shards, job->shard);
    made->anew = true;
    shards_announce(shards, made);
    return LW_OK;
}

/* ---- repairing ------------------------------------------------------------------------------ */

/* Step 1. Has another voter lead: the one that has come farthest, or, later, any. */
LW_YIELDS static void hand_over(repair *job, shards_member *member, uint32_t attempt) {
    lw_group_figures figures;
    lw_replica_group_figures(member->replica, &figures);
    uint64_t chosen = 0, match = 0;
    for (uint32_t index = 0; index < figures.peer_count; index++) {
        const lw_group_peer *peer = &figures.peers[(attempt + index) % figures.peer_count];
        if (peer->reachable && (chosen == 0 || (attempt == 0 && peer->match > match))) {
            chosen = peer->node;
            match = peer->match;
        }
    }
    if (chosen != 0 && lw_replica_hand_over(member->replica, chosen) == LW_OK) {
        LW_MARK(job->shards->env, "shards.damaged_hands_over");
    }
    pause_until(job->shards, HAND_OVER_MS);
}

/* Whether so many others have the shard that they can elect somebody without this node: those that
 * were made anew themselves do not vote yet. Of two voters the other has to. */
LW_YIELDS static bool others_have_it(repair *job, const lw_shard_descriptor *shard) {
    uint32_t voters = 0, having = 0;
    for (uint32_t place = 0; place < shard->replica_count; place++) {
        const lw_shard_replica *each = &shard->replicas[place];
        uint64_t index = 0, digest = 0;
        voters += votes(each);
        having += votes(each) && each->node != job->shards->options.node &&
                  shards_compare(job->shards, each->node, job->shard, &index, &digest) == LW_OK;
    }
    return having > voters / 2 || (voters == 2 && having == 1);
}

/* Steps 2 to 4; LW_UNAVAILABLE: not now. */
LW_YIELDS static lw_status replace_by(repair *job, uint64_t leader) {
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
    if (member == NULL || !sure || !spared || lw_replica_leads(member->replica)) {
        status = LW_UNAVAILABLE;
    } else {
        status = replace(job, member, &told);
    }
    lw_buffer_reset(&reply);
    return status;
}

/* Who may know who leads, or does: as was said last, or as this replica knows, or any in turn. */
static uint64_t whom_to_ask(const repair *job, const lw_shard_descriptor *shard, uint32_t attempt) {
    uint64_t own = job->shards->options.node;
    if (job->leader != 0) {
        return job->leader;
    }
    if (attempt % 2 == 0 && shard->leader != 0 && shard->leader != own) {
        return shard->leader;
    }
    uint64_t node =
        shard->replica_count == 0 ? 0 : shard->replicas[attempt / 2 % shard->replica_count].node;
    return node == own ? 0 : node;
}

LW_YIELDS static void repair_one(repair *job) {
    lw_status status = LW_UNAVAILABLE;
    shards_member *member;
    for (uint32_t attempt = 0; status == LW_UNAVAILABLE && (member = member_of(job)) != NULL;
         attempt++) {
        lw_shard_descriptor shard;
        lw_replica_descriptor(member->replica, &shard);
        uint64_t asked = whom_to_ask(job, &shard, attempt);
        if (shard.leader == job->shards->options.node) {
            hand_over(job, member, attempt);
        } else if (asked != 0) {
            status = replace_by(job, asked);
        }
        if (status == LW_UNAVAILABLE && runs(job->shards)) {
            pause_until(job->shards, REPAIR_PAUSE_MS);
        }
    }
    if (status != LW_OK && status != LW_UNAVAILABLE && runs(job->shards)) {
        say(job->shards, LW_LEVEL_ERROR, "repair failed", job->shard, "%s", lw_error_slot()->text);
    }
}

LW_YIELDS static void repair_main(void *argument) {
    repair *job = argument;
    lw_shards *shards = job->shards;
    repair_one(job);
    lw_free(shards->env->memory, job);
    shards_background_end(shards);
}

static repair *begin(lw_shards *shards, shards_member *member) {
    repair *job = lw_allocate_zero(shards->env->memory, sizeof(*job));
    *job = (repair){.shards = shards, .shard = member->shard};
    member->repairing = true;
    shards->background_count++;
    return job;
}

bool shards_damaged(void *argument, lw_replica *replica) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    lw_error reason = *lw_error_slot();
    lw_replica_descriptor(replica, &shard);
    shards_member *member = shards_member_of(shards, shard.id);
    if (!runs(shards) || member == NULL || member->replica != replica || member->leaving ||
        member->waits || !has_peers(shards, replica)) {
        return false;
    }
    if (!member->repairing) {
        LW_MARK(shards->env, "shards.damage_found");
        say(shards, LW_LEVEL_ERROR, "damaged", shard.id, "%s", reason.text);
        lw_env_start(shards->env, "repair", repair_main, begin(shards, member));
    }
    return true;
}

void shards_repaired(lw_shards *shards, uint64_t shard) {
    LW_MARK(shards->env, "shards.repaired");
    say(shards, LW_LEVEL_INFO, "repaired", shard, "this node has the shard anew");
}

/* ---- who is right --------------------------------------------------------------------------- */

typedef struct verdict {
    uint32_t voters, same, other_most, silent;
    uint64_t others[LW_SHARD_REPLICAS_MAX]; /* what those say that say something else */
    uint32_t other_count;
} verdict;

static void count_vote(const repair *job, verdict *told, uint64_t index, uint64_t digest) {
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
LW_YIELDS static void hear(repair *job, const lw_shard_descriptor *shard, verdict *told) {
    lw_shards *shards = job->shards;
    *told = (verdict){.voters = 0};
    for (uint32_t place = 0; place < shard->replica_count; place++) {
        const lw_shard_replica *each = &shard->replicas[place];
        uint64_t index = job->index, digest = job->digest;
        if (!votes(each)) {
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

LW_YIELDS static void halt(repair *job) {
    shards_member *member = member_of(job);
    if (member != NULL) {
        LW_MARK(job->shards->env, "shards.halted_without_majority");
        say(job->shards, LW_LEVEL_ERROR, "halted", job->shard,
            "its replicas differ at entry %llu, and no majority says which is right: decide which "
            "node has it right, and remove the data folders of the others",
            (unsigned long long)job->index);
        lw_replica_halt(member->replica);
    }
}

/* True once it is decided. */
LW_YIELDS static bool judge(repair *job, bool last) {
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
        say(job->shards, LW_LEVEL_ERROR, "differs", job->shard,
            "what this node applied up to entry %llu is not what most others did",
            (unsigned long long)job->index);
        lw_replica_suspend(member->replica);
        repair_one(job);
        return true;
    }
    if (told.silent == 0 || last) {
        halt(job);
        return true;
    }
    return false;
}

LW_YIELDS static void judge_main(void *argument) {
    repair *job = argument;
    lw_shards *shards = job->shards;
    for (uint32_t attempt = 1; !judge(job, attempt >= JUDGE_TRIES); attempt++) {
        pause_until(shards, REPAIR_PAUSE_MS);
    }
    lw_free(shards->env->memory, job);
    shards_background_end(shards);
}

void shards_differs(void *argument, lw_replica *replica, uint64_t index) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    uint64_t digest;
    lw_replica_descriptor(replica, &shard);
    shards_member *member = shards_member_of(shards, shard.id);
    if (!runs(shards) || member == NULL || member->replica != replica || member->leaving ||
        member->waits || member->repairing || !lw_replica_digest(replica, index, &digest)) {
        return;
    }
    LW_MARK(shards->env, "shards.difference_found");
    repair *job = begin(shards, member);
    job->index = index;
    job->digest = digest;
    lw_env_start(shards->env, "judge", judge_main, job);
}
