/* SPDX-License-Identifier: Apache-2.0 */
/* Consensus of one group: Raft as a pure machine. It knows indexes, terms and configurations, never
 * an entry's bytes; it has no clock, disk, network, memory or chance of its own. Whoever drives it
 * (node/group.c, a simulation) tells it what happened and carries out what it asks for:
 *
 *   lw_raft_init → lw_raft_replay each entry of the log → lw_raft_start
 *   then for ever: one event below, then lw_raft_next until it answers false
 *   and lw_raft_tick no later than lw_raft_deadline, which may be never
 *
 * Events only change state. What follows from them is asked for one effect at a time, and made when
 * it is asked for: a turn may bring many events before the effects are drained, which makes fewer
 * and larger messages. Every `now` is one boot-time-like clock in nanoseconds.
 *
 * From the Raft thesis, with pre-vote, check-quorum and leader stickiness (all three or none),
 * joint consensus, learners, leases, read index, transfer, and silence of idle groups. The hazards
 * in brackets are those of docs/SIMULATION.md.
 *
 * Invariants
 * F1. No message leaves that promises what lw_raft_saved or lw_raft_persisted has not confirmed:
 *     while term or vote are unsaved nothing leaves but pre-votes, and an acknowledgement covers
 *     only persisted entries (R1).
 * F2. Only entries of the current term are committed by counting (R2); a quorum is counted over the
 *     voters of the newest configuration in the log, both sets while there are two (R3, R4).
 * F3. A configuration takes effect when it is appended, and is undone when it is cut off. One
 * change is in flight, and none before an entry of the leader's term is committed (R3): so a log
 *     holds at most one configuration above what is committed.
 * F4. Who heard a leader within the election timeout, or began less than one ago, gives nobody a
 *     vote, unless that leader itself handed over and has not taken it back. So a leader that a
 *     quorum answered has a lease from when it *sent* what they answered (R7):
 *         true time until some follower may vote   ≥ timeout / (1 + drift)
 *         true time a leader trusts its lease      ≤ lease / (1 - drift)
 *         lease = timeout · (1 - 2 · drift)        makes the second the smaller
 *     where each clock's rate lies within 1 ± drift. All members must use the same timeout.
 * F5. Committed entries are never cut off, nor any below the log's start.
 */
#ifndef LW_RAFT_H
#define LW_RAFT_H

#include "base/bytes.h"

enum {
    LW_RAFT_MEMBERS_MAX = 14,
    LW_RAFT_TERMS_MAX = 64,   /* terms that the log may hold above what is committed, at least */
    LW_RAFT_RUNS_MAX = 16,    /* terms within one append */
    LW_RAFT_REPLIES_MAX = 16, /* answers to candidates that wait; beyond, they go unanswered */
};
#define LW_RAFT_NEVER UINT64_MAX

/* ---- configurations -------------------------------------------------------------------------- */

/* As lw_replica_role of lattice/message.h. While voters change there are two sets of them, and both
 * must agree: a VOTER belongs to both, JOINING to the new one, LEAVING to the old one. */
typedef enum lw_raft_membership {
    LW_RAFT_VOTER = 1,
    LW_RAFT_LEARNER = 2,
    LW_RAFT_JOINING = 3,
    LW_RAFT_LEAVING = 4,
} lw_raft_membership;

typedef struct lw_raft_member {
    uint64_t node; /* never 0 */
    lw_raft_membership membership;
} lw_raft_member;

typedef struct lw_raft_config {
    lw_raft_member members[LW_RAFT_MEMBERS_MAX]; /* each node once, ascending */
    uint32_t count;                              /* 0: of a replica that waits for its snapshot */
} lw_raft_config;

/* The member, or NULL. */
const lw_raft_member *lw_raft_config_find(const lw_raft_config *config, uint64_t node);
/* Whether there are two sets of voters; and the configuration in which only the new one is left. */
bool lw_raft_config_joint(const lw_raft_config *config);
lw_raft_config lw_raft_config_left(const lw_raft_config *config);
/* Whether it is well-formed, with a voter in each of its sets. */
bool lw_raft_config_valid(const lw_raft_config *config);

/* ---- messages -------------------------------------------------------------------------------- */

typedef enum lw_raft_kind {
    LW_RAFT_PREVOTE = 1, /* would you vote for me? promises nothing, raises no term */
    LW_RAFT_PREVOTE_REPLY = 2,
    LW_RAFT_VOTE = 3,
    LW_RAFT_VOTE_REPLY = 4,
    LW_RAFT_APPEND = 5, /* entries, or none of them: then it is a heartbeat */
    LW_RAFT_ACKNOWLEDGE = 6,
    LW_RAFT_HAND_OVER = 7, /* campaign now: a transfer of leadership */
    LW_RAFT_GONE = 8,      /* you are in no configuration since `index`; see LW_RAFT_REMOVED */
} lw_raft_kind;

/* A configuration among the entries of an append. */
typedef struct lw_raft_config_entry {
    uint64_t index;
    lw_raft_config config;
} lw_raft_config_entry;

/* What a message says; lattice/raft_message.h writes and reads it, with the payloads. Fields that
 * its kind does not name are 0. */
typedef struct lw_raft_message {
    lw_raft_kind kind;
    uint64_t from, to;
    uint64_t term; /* the sender's; of a pre-vote and its grant, the one the candidate would have */

    /* PREVOTE, VOTE: the candidate's last entry. APPEND: the one before the first.
     * ACKNOWLEDGE: the entry up to which the log is persisted and the leader's; refused: the
     * `previous` that was. GONE: the configuration's. */
    uint64_t index;
    uint64_t index_term; /* PREVOTE, VOTE, APPEND: its term */

    /* APPEND: entries index + 1 … index + count, and their terms as runs, each from its first index
     * to the next run's; run_firsts[0] = index + 1, terms rise. Who sends fewer entries than it was
     * asked for lowers `count`; the runs may stay. */
    uint32_t count;
    uint32_t run_count;
    uint64_t run_firsts[LW_RAFT_RUNS_MAX];
    uint64_t run_terms[LW_RAFT_RUNS_MAX];
    uint64_t commit;
    bool quiesce; /* nothing is left to say: be silent until something is */
    /* Those among the entries, ascending; the driver that receives fills it (from the payloads),
     * the core leaves it empty. A pointer of the driver's, read during lw_raft_receive only. */
    const lw_raft_config_entry *configs;
    uint32_t config_count;
    /* The driver that received it had no room for its entries, and left them out (R18). */
    bool no_room;

    /* APPEND, and given back by ACKNOWLEDGE: the reading round, the leader's clock when it was
     * asked for, and how often the leader has taken back a transfer. HAND_OVER, and the VOTE that
     * follows from it: `handover` alone. */
    uint64_t round;
    uint64_t sent_at;
    uint64_t handover;

    /* PREVOTE_REPLY, VOTE_REPLY, ACKNOWLEDGE; in VOTE: it follows from a transfer */
    bool granted;
    /* ACKNOWLEDGE that refuses: the last entry, and its term, at which the two logs may agree. If
     * that is `index` or behind it they agreed there, and there was no room for what followed. */
    uint64_t conflict_index, conflict_term;

    /* APPEND, ACKNOWLEDGE: as of lw_raft_applied, for the driver to compare with what it had at the
     * same index: a difference means that the replicas have diverged (R17). 0: none. */
    uint64_t digest_index, digest;
} lw_raft_message;

/* ---- effects --------------------------------------------------------------------------------- */

typedef enum lw_raft_role {
    LW_RAFT_FOLLOWER = 1,
    LW_RAFT_CANDIDATE = 2, /* of a pre-vote or a vote */
    LW_RAFT_LEADER = 3,
} lw_raft_role;

typedef enum lw_raft_effect_kind {
    /* Make (term, vote) durable, then call lw_raft_saved. Asked for once per change; entries that
     * are written after it must not become durable before it. */
    LW_RAFT_SAVE = 1,
    /* Send `message`. An APPEND with message.count > 0 names entries (index + 1 …) that the driver
     * loads, from its cache or the log; it may send fewer of them, and must tell lw_raft_sent how
     * many, now or later; until then this node is asked for no other entries for that peer. Entries
     * may be loaded only as long as `term` is message.term and the role leader: drop it otherwise.
     */
    LW_RAFT_SEND = 2,
    /* Everything up to `index` is committed, and persisted here: apply it. */
    LW_RAFT_COMMITTED = 3,
    /* Role, term or known leader changed. Leading: propose the no-op of the term before anything
     * else. Not leading any more: whoever waits for a proposal or a read is in doubt, and tickets
     * of reads are void. */
    LW_RAFT_ROLE = 4,
    /* Reads with a ticket of `round` or less may be served once their index is applied. */
    LW_RAFT_READABLE = 5,
    /* `node` needs what the log no longer has: send a snapshot, then call lw_raft_snapshot_sent. */
    LW_RAFT_SNAPSHOT = 6,
    /* Two sets of voters agreed on the new one: propose lw_raft_config_left of the configuration.
     * Asked for once per term and configuration. */
    LW_RAFT_LEAVE_JOINT = 7,
    /* `node`, a leader, says that this one is in no configuration since `index`, which is newer
     * than what is known here. Take the replica away, but not the memory of `index`: see votes_from
     * (R14). */
    LW_RAFT_REMOVED = 8,
} lw_raft_effect_kind;

typedef struct lw_raft_effect {
    lw_raft_effect_kind kind;
    uint64_t term, vote;     /* SAVE; ROLE: term */
    uint64_t index;          /* COMMITTED, REMOVED */
    lw_raft_role role;       /* ROLE */
    uint64_t leader;         /* ROLE: 0 if not known */
    uint64_t round;          /* READABLE */
    uint64_t node;           /* SNAPSHOT, REMOVED */
    lw_raft_message message; /* SEND */
} lw_raft_effect;

/* What an event asks to be written to the log: entries first … first + count - 1; whatever it held
 * from `first` on is replaced. Once they are durable, lw_raft_persisted(first + count - 1, cuts).
 */
typedef struct lw_raft_write {
    uint64_t first;
    uint32_t count; /* 0: nothing */
    uint64_t term;  /* of the last one */
    uint64_t cuts;  /* how often the log's end was replaced: tells two entries of one index apart */
} lw_raft_write;

/* ---- state ----------------------------------------------------------------------------------- */

/* Bugs that are planted, to see that they are found: X(name, text, rule that it breaks). */
#define LW_RAFT_BUG_LIST(X)                                                                       \
    X(UNSAVED_VOTE, "raft.unsaved_vote", "F1: votes leave before they are durable")               \
    X(UNPERSISTED_ENTRIES, "raft.unpersisted_entries",                                            \
      "F1: entries are acknowledged before they are durable")                                     \
    X(CUTS_IGNORED, "raft.cuts_ignored", "F1: what became durable is taken for what replaced it") \
    X(OLD_TERM_COUNTED, "raft.old_term_counted", "F2")                                            \
    X(LEARNERS_COUNTED, "raft.learners_counted", "F2")                                            \
    X(ONE_SET_COUNTED, "raft.one_set_counted", "F2: of two sets of voters only the new one")      \
    X(CONFIG_KEPT, "raft.config_kept", "F3: cutting off does not undo")                           \
    X(VOTES_FREELY, "raft.votes_freely", "F4: no stickiness")                                     \
    X(VOTES_AFTER_RESTART, "raft.votes_after_restart", "F4: no quiet time")                       \
    X(LEASE_FROM_ANSWER, "raft.lease_from_answer", "F4: counted from when an answer came")        \
    X(LEASE_WITHOUT_DRIFT, "raft.lease_without_drift", "F4")                                      \
    X(LEASE_IN_TRANSFER, "raft.lease_in_transfer", "F4: not given up")                            \
    X(OLD_HANDOVER, "raft.old_handover", "F4: one that was taken back still counts")              \
    X(ANY_LOG_ELECTED, "raft.any_log_elected", "votes for logs that lack entries")                \
    X(CUT_ALWAYS, "raft.cut_always", "F5: cuts off what agrees")                                  \
    X(COMMIT_UNVERIFIED, "raft.commit_unverified",                                                \
      "commits entries that the leader was not seen to have")                                     \
    X(READ_EARLY, "raft.read_early", "R8: before an entry of the term is committed")              \
    X(READ_UNCONFIRMED, "raft.read_unconfirmed", "R8: without a round")                           \
    X(MADE_ANEW_VOTES, "raft.made_anew_votes", "R14: forgets what an earlier replica promised")   \
    X(JOINS_BEHIND, "raft.joins_behind", "R5: voters that have not caught up")                    \
    X(CHANGES_EARLY, "raft.changes_early", "R3: before an entry of the term is committed")        \
    X(STAYS_UNHEARD, "raft.stays_unheard", "R6: a leader that nobody answers goes on")            \
    X(GONE_BELIEVED, "raft.gone_believed", "R14: old news of a removal takes away who is back")   \
    X(GONE_AMID_INSTALL, "raft.gone_amid_install",                                                \
      "R14: ... and who is just taking in a snapshot of later")

typedef enum lw_raft_bug {
#define LW_RAFT_BUG_ENUM(name, text, rule) LW_RAFT_BUG_##name,
    LW_RAFT_BUG_LIST(LW_RAFT_BUG_ENUM)
#undef LW_RAFT_BUG_ENUM
        LW_RAFT_BUG_COUNT
} lw_raft_bug;

typedef struct lw_raft_options {
    uint64_t self;
    uint64_t term, vote; /* as last saved, also by a replica that was taken away; 0: never */
    uint64_t start_index, start_term; /* the log begins behind this entry, which is applied */
    uint64_t commit;                  /* known to be committed: at least start_index */
    lw_raft_config config;            /* in effect at start_index, or applied at `config_index` */
    /* Entries up to here bring no configuration. It may lie behind the log's end, if others have
     * told what was committed there: nobody is elected by fewer than know of it. */
    uint64_t config_index;
    /* What a replica of this group that was taken away from this node had seen: the `index` of the
     * REMOVED that told so, which outlives it. Until this one knows so much to be committed it
     * neither votes nor stands, or it could elect a log without what the first one acknowledged
     * (R14). 0: there was none. */
    uint64_t votes_from;
    uint64_t seed;                  /* jitter of elections */
    uint64_t election_timeout_ns;   /* elections come after 1 to 2 of these */
    uint64_t heartbeat_ns;          /* well below */
    uint64_t quiesce_after_ns;      /* of idleness; LW_RAFT_NEVER: always say something */
    uint32_t drift_ppm;             /* see F4 */
    uint32_t entries_in_flight_max; /* to one peer, unacknowledged; at least 1 */
    uint32_t bytes_in_flight_max;   /* about; one append may pass it */
    uint32_t entries_per_append_max;
#ifdef LW_SIMULATION
    uint64_t bugs; /* planted ones, bits of lw_raft_bug */
#endif
} lw_raft_options;

typedef enum lw_raft_peer_state {
    LW_RAFT_PROBE = 1,     /* one append at a time, until one fits */
    LW_RAFT_REPLICATE = 2, /* many in flight */
    LW_RAFT_BEHIND = 3,    /* needs a snapshot, which is asked for or under way */
} lw_raft_peer_state;

/* What a leader knows of another member. */
typedef struct lw_raft_peer {
    uint64_t node; /* 0: an unused slot */
    lw_raft_peer_state state;
    uint64_t match;           /* persisted there, and the leader's */
    uint64_t next;            /* first index to send */
    uint64_t heard_at;        /* leader's clock when it last answered */
    uint64_t sent_at;         /* when entries or a heartbeat last went out */
    uint64_t lease_from;      /* newest sent_at that it gave back, of this handover */
    uint64_t round;           /* newest reading round that it gave back */
    uint64_t bytes_in_flight; /* about */
    bool loading;             /* an append waits for lw_raft_sent */
    bool heartbeat_due;
    bool probe_sent;     /* PROBE: nothing more until an answer or the next heartbeat */
    bool snapshot_asked; /* BEHIND: the effect was given out */
    bool unreachable;    /* as the driver says */
    bool hand_over_due;  /* HAND_OVER is to be sent */
} lw_raft_peer;

/* An answer to a candidate, or to an append that was refused, or GONE: waits to be drained. */
typedef struct lw_raft_reply {
    lw_raft_kind kind; /* 0: an unused slot */
    uint64_t to, term;
    bool granted;
    uint64_t index, conflict_index, conflict_term;
    uint64_t round, sent_at, handover;
} lw_raft_reply;

/* Plain memory of the driver's; about 5 KiB. Read what is useful, change nothing. */
typedef struct lw_raft {
    lw_raft_options options;
    uint64_t now;    /* newest of the events */
    uint64_t chance; /* generator's state */
    lw_raft_role role;
    uint64_t term, vote, leader;
    uint64_t saved_term, saved_vote; /* durable */
    uint64_t asked_term, asked_vote; /* of the last SAVE */
    uint64_t deadline;               /* of the role: election, retry or check-quorum */

    /* The log: what it is, never what it holds. */
    uint64_t start_index, start_term;
    uint64_t last_index;
    uint64_t persisted; /* durable up to here */
    uint64_t cuts;
    uint64_t commit; /* may be above `persisted` */
    uint64_t applied;
    uint64_t committed_told; /* the last COMMITTED */
    struct {
        uint64_t first, term;
    } runs[LW_RAFT_TERMS_MAX]; /* ascending; runs[0].first is the lowest index whose term is known
                                */
    uint32_t run_count;

    /* Configurations: the newest committed one, and the one above it, if any (F3). */
    lw_raft_config committed_config, config;       /* `config` is in effect */
    uint64_t committed_config_index, config_index; /* the same: none is in flight */
    uint64_t leave_asked; /* config_index of the last LEAVE_JOINT of this term */

    /* Following. */
    uint64_t verified;                   /* the leader's log and ours agree up to here */
    uint64_t heard_at;                   /* the leader; F4 */
    uint64_t heard_term, heard_handover; /* of whom that was */
    uint64_t quiet_until;                /* after a restart: no votes before */
    bool acknowledge_due;
    uint64_t echo_round, echo_sent_at, echo_handover;
    uint64_t acknowledged;  /* as last told to this leader */
    bool installing;        /* a snapshot comes in: takes no entries */
    uint64_t install_index; /* ... which holds everything up to here */

    /* Campaigning. */
    bool prevoting;
    bool handed_over;           /* this candidacy follows from a transfer */
    uint64_t handover_received; /* its `handover` */
    uint16_t requests_due;      /* members still to be asked, bits by their place in `config` */
    uint16_t grants, refusals;  /* the same */

    /* Leading. */
    uint64_t term_start; /* index of the first entry of this term */
    uint64_t heartbeat_at;
    uint64_t commit_at_beat; /* as it was at the last heartbeat */
    uint64_t round;          /* the newest; one that was sent is closed to further reads */
    bool round_sent;
    uint64_t round_readable; /* the last READABLE */
    uint64_t handover;       /* transfers of this term taken back */
    uint64_t transfer_to, transfer_until;
    uint64_t busy_at; /* last time there was something to do, for quiescence */
    lw_raft_peer peers[LW_RAFT_MEMBERS_MAX];

    bool quiescent;
    uint64_t digest_index, digest;
    uint64_t removed_by, removed_index; /* REMOVED is due */
    lw_raft_role told_role;
    uint64_t told_term, told_leader;
    lw_raft_reply replies[LW_RAFT_REPLIES_MAX];
} lw_raft;

/* ---- beginning ------------------------------------------------------------------------------- */

void lw_raft_init(lw_raft *raft, const lw_raft_options *options);
/* An entry that the log holds, in the order of the log; one at or below the last replaces what is
 * from there on. `commit`: what its leader knew to be committed when it proposed it. `config`: NULL
 * if it holds none. LW_CORRUPTION: no Raft log can look so. */
LW_MUST_USE lw_status lw_raft_replay(lw_raft *raft, uint64_t index, uint64_t term, uint64_t commit,
                                     const lw_raft_config *config);
/* What was replayed is durable. A sole voter has committed all of it, and campaigns at once; the
 * others wait, and give no vote for one election timeout, unless the group is new (term 0): what
 * they promised a leader before they stopped is not remembered otherwise (R7). */
void lw_raft_start(lw_raft *raft, uint64_t now);
/* Instead of that, in a group whose only member has led the term without a core, all along and with
 * an entry of it applied at the log's start, and is about to take in others: it goes on leading.
 * What was replayed is durable up to `persisted`. No ROLE says so. */
void lw_raft_lead_on(lw_raft *raft, uint64_t persisted, uint64_t now);

/* ---- events ---------------------------------------------------------------------------------- */

void lw_raft_tick(lw_raft *raft, uint64_t now);
/* A message to this node and group. `write` says which of its entries are to be written. What is
 * malformed or from a past term changes nothing. */
void lw_raft_receive(lw_raft *raft, const lw_raft_message *message, uint64_t now,
                     lw_raft_write *write);
/* Appends `count` entries at the leader's end; with a configuration, one. They are the driver's to
 * write, and payloads are asked for as other nodes need them.
 * LW_UNAVAILABLE   not the leader, or handing over: nothing was done.
 * LW_REFUSED       this configuration cannot follow the present one, or not now: one is in flight,
 *                  nothing of this term is committed yet, or who is to vote has not caught up. */
LW_MUST_USE lw_status lw_raft_propose(lw_raft *raft, uint32_t count, const lw_raft_config *config,
                                      uint64_t now, lw_raft_write *write);
/* The log is durable up to `index`, as written by an lw_raft_write of these `cuts`. */
void lw_raft_persisted(lw_raft *raft, uint64_t index, uint64_t cuts);
void lw_raft_saved(lw_raft *raft, uint64_t term, uint64_t vote);
/* Somebody who knows says that what the log holds up to `index` is committed: another group's
 * entry, which was made only because of that. */
void lw_raft_vouch(lw_raft *raft, uint64_t index);
/* Applied up to `index`; `digest_index` (0: leave as it is) and `digest` go out with appends and
 * acknowledgements. Replicas that choose the same indexes, say every 64th, can be compared. */
void lw_raft_applied(lw_raft *raft, uint64_t index, uint64_t digest_index, uint64_t digest);
/* The driver can no longer load entries up to `index`, which is applied. */
void lw_raft_compacted(lw_raft *raft, uint64_t index);
/* Answers a SEND of entries: `count` of them went to `node`, `bytes` long. 0: none, they could not
 * be loaded; they are asked for again at the next heartbeat. `term` is the message's. */
void lw_raft_sent(lw_raft *raft, uint64_t node, uint64_t term, uint32_t count, size_t bytes);
/* The link to a node broke: what was in flight to it is lost; a silent group wakes if that node led
 * it, and lets a dead member rest. It came back: a silent leader looks what is missing there. Who
 * begins to lead takes all members for reachable, and is to be told again who is not. */
void lw_raft_unreachable(lw_raft *raft, uint64_t node, uint64_t now);
void lw_raft_reachable(lw_raft *raft, uint64_t node, uint64_t now);
/* Answers SNAPSHOT. `index`: that of the snapshot, which the node has installed; 0: it failed. */
void lw_raft_snapshot_sent(lw_raft *raft, uint64_t node, uint64_t index, uint64_t now);
/* A snapshot of (index, term) is about to replace the log. False: not needed, the log has that.
 * True: no entries are taken until lw_raft_install_end, which comes once it is durable that the log
 * begins behind it (R10), or with index 0 when it came to nothing. */
LW_MUST_USE bool lw_raft_install_begin(lw_raft *raft, uint64_t index, uint64_t term);
void lw_raft_install_end(lw_raft *raft, uint64_t index, uint64_t term, const lw_raft_config *config,
                         uint64_t config_index, uint64_t now);
/* Hands leadership to a voter; ends with a ROLE, or is taken back after one election timeout.
 * Nothing can be proposed meanwhile, and no lease is held from here on (R7).
 * LW_UNAVAILABLE   not the leader.
 * LW_REFUSED       not another voter that is reachable, or a transfer is under way. */
LW_MUST_USE lw_status lw_raft_transfer(lw_raft *raft, uint64_t to, uint64_t now);
/* Stands for election without waiting for its deadline. Nothing happens to who leads, is no voter,
 * or is bound by F4: it would vote for itself. */
void lw_raft_campaign(lw_raft *raft, uint64_t now);
/* Ends silence, for a reason that the core cannot see. */
void lw_raft_wake(lw_raft *raft, uint64_t now);

/* ---- reading --------------------------------------------------------------------------------- */

/* Whether this node leads and nobody else can, by the arithmetic of F4: what is applied may be read
 * once all of `*index` is. Ask again after the read, before its answer leaves. Never suspends
 * judgement for long: a lease that ran out in silence comes back with a round (lw_raft_read). */
LW_MUST_USE bool lw_raft_lease(const lw_raft *raft, uint64_t now, uint64_t *index);
typedef struct lw_raft_ticket {
    uint64_t round; /* see READABLE */
    uint64_t index;
} lw_raft_ticket;
/* Begins a read without a lease: a round of heartbeats must confirm that this node leads.
 * LW_UNAVAILABLE   not the leader, or nothing of its term is committed yet (R8). */
LW_MUST_USE lw_status lw_raft_read(lw_raft *raft, uint64_t now, lw_raft_ticket *ticket);

/* ---- asking ---------------------------------------------------------------------------------- */

/* The next effect, or false. SAVE comes before all, then ROLE, messages, COMMITTED and the rest.
 * Events may come in between. */
LW_MUST_USE bool lw_raft_next(lw_raft *raft, lw_raft_effect *effect);
/* When lw_raft_tick is wanted; LW_RAFT_NEVER while silent. */
uint64_t lw_raft_deadline(const lw_raft *raft);
/* The term of an entry. False: below the log's start, or above its end. */
LW_MUST_USE bool lw_raft_term_at(const lw_raft *raft, uint64_t index, uint64_t *term);
/* What a leader knows of another member; NULL: nothing. */
const lw_raft_peer *lw_raft_peer_of(const lw_raft *raft, uint64_t node);
/* Whether a learner may become a voter: reachable, heard of within the election timeout, and with
 * the configuration that names it and all that was committed at the last heartbeat on disk (R5). */
bool lw_raft_caught_up(const lw_raft *raft, uint64_t node);
/* Whether `node` is known to have given this one its vote in the term. False also if the members
 * have changed since. */
bool lw_raft_granted(const lw_raft *raft, uint64_t node);
/* Whether this node alone decides: no other voter, in any set. */
bool lw_raft_alone(const lw_raft *raft);

#endif
