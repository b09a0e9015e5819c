/* SPDX-License-Identifier: Apache-2.0 */
/* The seams between the files of the consensus core; nobody else includes this.
 *
 *   raft.c             beginning, time, and which part an event is for
 *   raft_log.c         the log's outline: which term each index has, where it ends
 *   raft_config.c      configurations, and quorums over them
 *   raft_election.c    pre-vote, vote, who may be voted for, transfer
 *   raft_follow.c      taking entries from a leader
 *   raft_replicate.c   bringing entries to the others, and counting them
 *   raft_read.c        leases, read index, silence
 *   raft_effects.c     what is to be done, one by one */
#ifndef LW_RAFT_STATE_H
#define LW_RAFT_STATE_H

#include "lattice/raft.h"

#ifdef LW_SIMULATION
#define LW_RAFT_PLANTED(raft, bug) (((raft)->options.bugs >> (bug)&1) != 0)
#else
#define LW_RAFT_PLANTED(raft, bug) ((void)(raft), false)
#endif

/* ---- raft.c ---------------------------------------------------------------------------------- */

static inline bool lw_raft_unsaved(const lw_raft *raft) {
    return raft->saved_term != raft->term || raft->saved_vote != raft->vote;
}
/* Ends leading and campaigning; a later `term` is taken over, with no vote given in it. */
void lw_raft_follow(lw_raft *raft, uint64_t term, uint64_t leader);
/* Elections come no sooner than one timeout after now, and not all at once. */
void lw_raft_arm_election(lw_raft *raft);
/* Below `bound`; not 0. */
uint64_t lw_raft_chance(lw_raft *raft, uint64_t bound);
/* Puts an answer into a slot, in place of an older one to the same node. */
void lw_raft_answer(lw_raft *raft, const lw_raft_reply *reply);

/* ---- raft_log.c ------------------------------------------------------------------------------ */

uint64_t lw_raft_last_term(const lw_raft *raft);
/* The last index up to `index` whose term is at most `term`; 0 if none is known. */
uint64_t lw_raft_log_find(const lw_raft *raft, uint64_t index, uint64_t term);
/* The last index of the same term as `index`, whose term is known. */
uint64_t lw_raft_log_run_end(const lw_raft *raft, uint64_t index);
/* Whether entries of one more term could be appended. */
bool lw_raft_log_room(const lw_raft *raft);
/* Appends entries of one term, which is not below the last; false: too many terms. */
LW_MUST_USE bool lw_raft_log_append(lw_raft *raft, uint32_t count, uint64_t term);
/* Takes off what is from `first` on, which is not committed, and the configuration in it. */
void lw_raft_log_cut(lw_raft *raft, uint64_t first);
/* Begins anew behind (index, term). */
void lw_raft_log_reset(lw_raft *raft, uint64_t index, uint64_t term);

/* ---- raft_config.c --------------------------------------------------------------------------- */

/* Whether it lacks what an earlier replica on this node may have promised. One that knows no
 * configuration yet has promised nothing, and may be a voter: of a group that a split began, if a
 * snapshot brought this node behind that split. */
static inline bool lw_raft_mute(const lw_raft *raft) {
    if (LW_RAFT_PLANTED(raft, LW_RAFT_BUG_MADE_ANEW_VOTES)) {
        return false;
    }
    return raft->commit < raft->options.votes_from;
}
/* Whether `node` is in no configuration known here. */
bool lw_raft_stranger(const lw_raft *raft, uint64_t node);
/* Whether this node is a voter, or may still be needed as one. */
bool lw_raft_votes(const lw_raft *raft);
/* Whether it may stand for election, now. */
bool lw_raft_electable(const lw_raft *raft);
/* The greatest number that, in each set of voters, more than half have reached. */
uint64_t lw_raft_quorum(const lw_raft *raft,
                        uint64_t (*value)(const lw_raft *raft, const lw_raft_member *member));
static inline bool lw_raft_config_in_flight(const lw_raft *raft) {
    return raft->config_index != raft->committed_config_index;
}
/* The configuration of an appended entry takes effect. False: another is in flight. */
LW_MUST_USE bool lw_raft_config_take(lw_raft *raft, uint64_t index, const lw_raft_config *config);
/* One that was cut off is undone. */
void lw_raft_config_undo(lw_raft *raft);
/* Raises what is committed, and with it the configuration. */
void lw_raft_commit(lw_raft *raft, uint64_t index);
/* Whether `config` may follow the one in effect now. */
bool lw_raft_config_follows(const lw_raft *raft, const lw_raft_config *config);

/* ---- raft_election.c ------------------------------------------------------------------------- */

void lw_raft_prevote(lw_raft *raft);
/* Counts the votes there are. */
void lw_raft_count_votes(lw_raft *raft);
void lw_raft_vote_asked(lw_raft *raft, const lw_raft_message *message);
void lw_raft_vote_answered(lw_raft *raft, const lw_raft_message *message);
void lw_raft_handed_over(lw_raft *raft, const lw_raft_message *message);
/* Asks the one that leadership is handed to, if it has all entries. */
void lw_raft_transfer_step(lw_raft *raft);
void lw_raft_transfer_end(lw_raft *raft);

/* ---- raft_follow.c --------------------------------------------------------------------------- */

void lw_raft_append_received(lw_raft *raft, const lw_raft_message *message, lw_raft_write *write);
/* What an acknowledgement may say. */
uint64_t lw_raft_acknowledgeable(const lw_raft *raft);

/* ---- raft_replicate.c ------------------------------------------------------------------------ */

lw_raft_peer *lw_raft_peer_slot(lw_raft *raft, uint64_t node);
/* Peers are those of the configuration in effect; who stays keeps what is known of it. */
void lw_raft_peers_set(lw_raft *raft);
void lw_raft_lead(lw_raft *raft);
void lw_raft_acknowledged(lw_raft *raft, const lw_raft_message *message);
/* Commits what a quorum has persisted. */
void lw_raft_count(lw_raft *raft);
/* What `peer` is to be sent next: false, nothing; or its state became BEHIND. */
bool lw_raft_append_next(lw_raft *raft, lw_raft_peer *peer, lw_raft_message *message);

/* ---- raft_read.c ----------------------------------------------------------------------------- */

/* The newest round that a quorum has answered. */
uint64_t lw_raft_round_confirmed(const lw_raft *raft);
/* Something happened: silence is over, and begins no sooner than after a time of idleness. */
void lw_raft_busy(lw_raft *raft);
/* Falls silent if nothing is left to say. */
void lw_raft_rest(lw_raft *raft);

#endif
