/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas whose stored bytes fail their check (hazard S15).
 *
 * A damaged tree is replaced, in its place, by a snapshot of whoever leads:
 *
 *   1. if this node leads, it hands the leadership over to a voter that is whole
 *   2. nothing more is applied to the damaged tree. Its log is whole: it goes on to take entries,
 * to acknowledge and to vote, so nobody has to do without it
 *   3. whoever leads is asked for a snapshot, again and again until one has come
 *   4. one edit of the catalog puts the snapshot's tree in the place of the damaged one; what the
 *      log has behind it is applied to that (node/group_snapshot.c)
 *
 * Invariants
 * 1. A replica is whole when one was made from it: who sends a snapshot verifies it, and so does
 * who takes it in.
 * 2. What can still be read of a damaged tree stays until what replaces it is durable. So it makes
 *    no difference how many replicas are damaged at the same moment, as long as one is whole.
 *
 * If none is, whoever leads serves what it can, and who reads what is damaged is told so, in words;
 * so it is in a shard with one voter. The shard is looked at again now and then: a voter that could
 * not be reached may be whole. */
#include "node/group.h"
#include "node/shards_state.h"
#include "storage/scrub.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    ASK_PAUSE_MS = 300,      /* between two attempts */
    HAND_OVER_MS = 1000,     /* until another voter is asked to lead, */
    LEADER_LOOK_MS = 20,     /* and between two looks whether one does */
    SNAPSHOT_MS = 3000,      /* until whoever leads is asked again */
    NOWHERE_TRIES = 30,      /* to find a voter that is whole, while some cannot be reached */
    NOWHERE_PAUSE_MS = 5000, /* between two later ones */
    EVENT_TEXT_SIZE = 200,
};
#define NS_PER_MS UINT64_C(1000000)

typedef struct repair {
    lw_shards *shards;
    uint64_t shard;
    uint32_t attempt;
    uint64_t verified_ns; /* when the tree was last found to be damaged still */
} repair;

/* ---- words ---------------------------------------------------------------------------------- */

void shards_say(lw_shards *shards, lw_level level, const char *name, uint64_t shard,
                const char *format, ...) {
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

bool shards_run(const lw_shards *shards) {
    return shards->serving && !shards->dead;
}

/* The member, if it is damaged still. */
static shards_member *member_of(const repair *job) {
    shards_member *member = shards_member_of(job->shards, job->shard);
    bool waits = member != NULL && !member->leaving && member->damaged;
    return waits && shards_run(job->shards) ? member : NULL;
}

bool shards_votes(const lw_shard_replica *replica) {
    return replica->role != LW_REPLICA_LEARNER;
}

static uint32_t voters_of(const lw_shards *shards, const lw_replica *replica, bool *self) {
    lw_group_figures figures;
    uint32_t count = 0;
    lw_replica_group_figures(replica, &figures);
    *self = false;
    for (uint32_t index = 0; index < figures.members.count; index++) {
        const lw_shard_replica *each = &figures.members.replicas[index];
        *self = *self || (shards_votes(each) && each->node == shards->options.node);
        count += shards_votes(each);
    }
    return count;
}

/* As the log has them: the descriptor is that of what was applied, which a damaged tree may have
 * stopped long ago. */
static void members_of(const repair *job, const lw_replica *replica, lw_group_members *members) {
    lw_group_figures figures;
    lw_replica_group_figures(replica, &figures);
    *members = figures.members;
    if (LW_BUG(job->shards->env, "shards.members_of_before")) {
        lw_shard_descriptor shard;
        lw_replica_descriptor(replica, &shard);
        members->count = shard.replica_count;
        memcpy(members->replicas, shard.replicas, sizeof(members->replicas));
    }
}

static bool has_peers(const lw_shards *shards, const lw_replica *replica) {
    bool self;
    uint32_t voters = voters_of(shards, replica, &self);
    return shards->others.ask != NULL && voters > (self ? 1U : 0U);
}

void shards_pause(lw_shards *shards, uint64_t pause_ms) {
    (void)lw_env_wait(shards->env, &shards->stop, lw_env_now(shards->env) + pause_ms * NS_PER_MS);
}

/* ---- step 1: somebody else leads --------------------------------------------------------------
 */

/* What the other voters say of themselves. */
typedef struct survey {
    uint64_t whole; /* one that is; 0: none */
    uint32_t damaged, silent;
} survey;

/* Beginning with another one each time, since who is asked to lead may not come to it. */
LW_YIELDS static survey look_around(const repair *job, const lw_group_members *members) {
    survey found = {.whole = 0};
    for (uint32_t step = 0; step < members->count; step++) {
        const lw_shard_replica *each = &members->replicas[(job->attempt + step) % members->count];
        uint64_t leader;
        bool damaged;
        if (!shards_votes(each) || each->node == job->shards->options.node) {
            continue;
        }
        if (shards_look_at(job->shards, each->node, job->shard, 0, &leader, &damaged) != LW_OK) {
            found.silent++;
        } else if (damaged) {
            found.damaged++;
        } else {
            found.whole = found.whole == 0 ? each->node : found.whole;
        }
    }
    return found;
}

/* An lw_scrub_pause. */
LW_YIELDS static bool goes_on(void *argument, size_t size) {
    const repair *job = argument;
    (void)size;
    return member_of(job) != NULL;
}

/* What was damaged may be gone: a compaction had no use for it, or another shard took it along. But
 * what is stuck lacks something, whatever it has. */
LW_YIELDS static bool whole_after_all(repair *job) {
    shards_member *member = member_of(job);
    if (lw_replica_stuck(member->replica) ||
        lw_store_verify_tree(job->shards->options.store, job->shard, goes_on, job) != LW_OK) {
        return false;
    }
    if ((member = member_of(job)) != NULL) {
        LW_MARK(job->shards->env, "shards.whole_after_all");
        member->damaged = member->nowhere_whole = false;
        lw_replica_renew(member->replica, false);
        shards_repaired(job->shards, job->shard);
    }
    return true;
}

/* Readers are told, from now on. */
LW_YIELDS static void give_up_for_now(repair *job, const survey *found) {
    shards_member *member = member_of(job);
    if (member != NULL && !member->nowhere_whole) {
        member->nowhere_whole = true;
        LW_MARK(job->shards->env, "shards.nowhere_whole");
        shards_say(
            job->shards, LW_LEVEL_ERROR, "damaged everywhere", job->shard,
            "no voter has it whole (%u others damaged, %u not reached): what is damaged is not "
            "answered, the rest is; bring a node back, or restore from a backup",
            found->damaged, found->silent);
    }
    shards_pause(job->shards, NOWHERE_PAUSE_MS);
}

/* Who leads then may be asked at once: others may wish this node to lead again soon. */
LW_YIELDS static void await_other_leader(repair *job) {
    lw_shards *shards = job->shards;
    uint64_t until_ns = lw_env_now(shards->env) + HAND_OVER_MS * NS_PER_MS;
    const shards_member *member;
    while ((member = member_of(job)) != NULL && lw_env_now(shards->env) < until_ns) {
        lw_shard_descriptor shard;
        lw_replica_descriptor(member->replica, &shard);
        if (shard.leader != shards->options.node &&
            !LW_BUG(shards->env, "shards.damaged_leads_again")) {
            return;
        }
        shards_pause(shards, LEADER_LOOK_MS);
    }
}

LW_YIELDS static void hand_over(repair *job) {
    lw_group_members members;
    shards_member *member = member_of(job);
    members_of(job, member->replica, &members);
    survey found = look_around(job, &members);
    if ((member = member_of(job)) == NULL) {
        return;
    }
    if (found.whole == 0 && (found.silent == 0 || job->attempt >= NOWHERE_TRIES)) {
        if (!whole_after_all(job)) {
            give_up_for_now(job, &found);
        }
        return;
    }
    member->nowhere_whole = member->nowhere_whole && found.whole == 0;
    if (found.whole != 0 && lw_replica_hand_over(member->replica, found.whole) == LW_OK) {
        LW_MARK(job->shards->env, "shards.damaged_hands_over");
        await_other_leader(job);
    } else {
        shards_pause(job->shards, ASK_PAUSE_MS);
    }
}

/* ---- steps 2 and 3: a snapshot comes ----------------------------------------------------------
 */

/* Who may lead: as this replica knows, or any in turn. 0: nobody now. */
static uint64_t whom_to_ask(const repair *job, const lw_replica *replica) {
    uint64_t own = job->shards->options.node;
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    if (shard.leader != 0 && job->attempt % 4 != 3) {
        return shard.leader == own ? 0 : shard.leader;
    }
    lw_group_members members;
    members_of(job, replica, &members);
    uint64_t node =
        members.count == 0 ? 0 : members.replicas[job->attempt / 4 % members.count].node;
    return node == own ? 0 : node;
}

/* Whoever leads is damaged, too, and sends nothing: this one may be whole by now. Not too often, as
 * all of the tree is read. */
LW_YIELDS static bool needs_none(repair *job) {
    uint64_t now_ns = lw_env_now(job->shards->env);
    if (job->verified_ns != 0 && now_ns - job->verified_ns < NOWHERE_PAUSE_MS * NS_PER_MS) {
        return false;
    }
    bool whole = whole_after_all(job);
    job->verified_ns = lw_env_now(job->shards->env);
    return whole;
}

LW_YIELDS static void ask_for_snapshot(repair *job) {
    uint64_t leader = 0;
    bool damaged = false;
    shards_member *member = member_of(job);
    lw_replica_renew(member->replica, true);
    uint64_t asked = whom_to_ask(job, member->replica);
    lw_status status = LW_UNAVAILABLE;
    if (asked != 0) {
        status = shards_look_at(job->shards, asked, job->shard, job->shards->options.node, &leader,
                                &damaged);
    }
    bool leads = status == LW_OK && leader == asked;
    if (member_of(job) != NULL && !(leads && damaged && needs_none(job)) &&
        member_of(job) != NULL) {
        bool comes = leads && !damaged;
        shards_pause(job->shards, comes ? SNAPSHOT_MS : ASK_PAUSE_MS);
    }
}

/* ---- all of it --------------------------------------------------------------------------------
 */

LW_YIELDS static void repair_main(void *argument) {
    repair *job = argument;
    lw_shards *shards = job->shards;
    shards_member *member;
    for (; (member = member_of(job)) != NULL; job->attempt++) {
        lw_shard_descriptor shard;
        lw_replica_descriptor(member->replica, &shard);
        if (shard.leader == shards->options.node) { /* it may be unable to serve */
            lw_replica_renew(member->replica, false);
            hand_over(job);
        } else {
            ask_for_snapshot(job);
        }
    }
    if ((member = shards_member_of(shards, job->shard)) != NULL) {
        member->repairing = false;
    }
    lw_free(shards->env->memory, job);
    shards_background_end(shards);
}

void shards_repair_begin(lw_shards *shards, shards_member *member) {
    member->repairing = member->damaged = true;
    shards->background_count++;
    repair *job = lw_allocate_zero(shards->env->memory, sizeof(*job));
    *job = (repair){.shards = shards, .shard = member->shard};
    lw_env_start(shards->env, "repair", repair_main, job);
}

void shards_repair_start(lw_shards *shards) {
    for (uint32_t index = 0; index < shards->count; index++) {
        if (shards->sorted[index]->damaged && !shards->sorted[index]->repairing) {
            shards_repair_begin(shards, shards->sorted[index]);
        }
    }
}

bool shards_damaged(void *argument, lw_replica *replica) {
    lw_shards *shards = argument;
    lw_shard_descriptor shard;
    lw_error reason = *lw_error_slot();
    lw_replica_descriptor(replica, &shard);
    shards_member *member = shards_member_of(shards, shard.id);
    if (!shards_run(shards) || member == NULL || member->replica != replica || member->leaving ||
        member->waits || !has_peers(shards, replica)) {
        return false;
    }
    /* Who repairs may rest still, as what came is damaged, too: then it goes on. */
    bool found = !member->repairing ||
                 (!member->damaged && !LW_BUG(shards->env, "shards.damaged_anew_unheard"));
    if (found) {
        LW_MARK(shards->env, "shards.damage_found");
        shards_say(shards, LW_LEVEL_ERROR, "damaged", shard.id, "%s", reason.text);
        member->damaged = true;
    }
    if (!member->repairing) {
        shards_repair_begin(shards, member);
    }
    return !member->nowhere_whole;
}

void shards_repaired(lw_shards *shards, uint64_t shard) {
    LW_MARK(shards->env, "shards.repaired");
    shards_say(shards, LW_LEVEL_INFO, "repaired", shard, "this node has the shard anew");
}

const char *lw_shards_condition(const lw_shards *shards, uint64_t shard) {
    const shards_member *member = shards_member_of(shards, shard);
    if (shards_is_headless(shards, shard)) {
        return "damaged";
    }
    if (member == NULL || member->replica == NULL) {
        return "gone";
    }
    if (lw_replica_halted(member->replica)) {
        return "halted";
    }
    return !member->damaged ? "whole" : member->nowhere_whole ? "damaged everywhere" : "damaged";
}
