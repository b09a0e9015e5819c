/* SPDX-License-Identifier: Apache-2.0 */
/* Scenario `shards`: bare nodes, which are a store, a log, shards, snapshots and a collector of
 * garbage of the production code, and nothing else: no server, no gossip, no placement, no
 * cryptography, no client library. So a run is over in a fraction of the time that whole nodes
 * take, and what shards promise is driven hard: who works asks for single steps of transactions, of
 * whoever believes to lead, lets go of them anywhere, kills those of others, and reads the past all
 * the time, while operators split, merge and move shards without end.
 *
 *   bare_node.c     one node: how it is started
 *   bare_mail.c     messages and requests between nodes, late, lost and doubled
 *   bare_client.c   requests of who works, timestamps, reads, and locks that are in the way
 *   bare_work.c     what who works does: which piece of work comes next
 *   bare_write.c    transactions of single steps, in one round or in two phases
 *   bare_read.c     reads of now and of the past, readers that stay, and pins
 *   bare_kill.c     kills of others' transactions
 *   bare_deadlock.c two who wait for each other
 *   bare_hold.c     who holds a shard, and single steps of operators
 *   bare_set_up.c   what operators do before all begins
 *   bare_operate.c  and in trouble without end
 *   bare_meddle.c   and somebody who meddles in merges
 *   bare_lonely.c   and members that cannot be reached
 *   bare_falls.c    who loses power at bad moments
 *   bare_absence.c  and who is away while all others flush and are started again
 *   bare_judge.c    what was read, committed and promised, and whether that fits
 *   bare.c          the run: which of its six kinds, and its phases
 *
 * The kinds of run: a storm (sim/storm.h) with crashes, pauses and cuts; a quiet one, in which only
 * messages are late, lost and doubled; a patient one, in which readers that say nothing for seconds
 * rely on what their nodes hold for them, and nodes die one at a time, in some of them when a shard
 * could not be asked for a while; one in which two of five
 * nodes, which have most voters of one shard, are apart from the others for long; and one in which
 * a bit flips in the memory of one replica before it applies an entry (hazard R17).
 *
 * In half of the storms and of the quiet runs operators do little else than split and merge.
 *
 * Judged, beside what the watch (sim/watch.h) looks at and what all nodes must come to:
 * 1. A read at a timestamp finds the newest version that was committed by then: of all versions
 *    that anybody was told of or has read, at any time of the run.
 * 2. A transaction has one commit timestamp for all its keys, as who made it was told; what was
 *    told to be rolled back is read by nobody; what was told to be killed does not commit below
 *    what had been given by then.
 * 3. Between what a transaction vouched for and its commit nobody else committed to the key.
 * 4. A timestamp is above all that was committed before it was asked for, and below a ceiling that
 *    is durable (hazard O2); and nobody but the oracle gives any to others.
 * 5. Nobody is answered at a timestamp below what the tree that he reads may have forgotten.
 * 6. A reader that keeps coming does not lose its snapshot, nor does one that is silent, once its
 *    node had the time to take a lease for it.
 * 7. Whoever serves a key counts it as read up to where anybody was answered.
 * 8. Of shards that hold a key one answers for it, also while they merge; and what is frozen
 *    answers nobody.
 * 9. Nobody is answered in a leadership that was over before he asked: in a later one somebody
 *    else had answered.
 * 10. Who waits for each other over intents is told so (deadlocks).
 * 11. A transaction that is over, as a node was told, has no lock there any more. One whose client
 *     is lost soon has none anywhere, whoever leads by then.
 * 12. Who leads a shard that takes in its right neighbour has done so soon, where nobody dies; and
 *     nobody lacks one that he is to take in.
 * 13. In peace no node keeps the tree of a shard that it does not hold, nor waits for one. And what
 *    lies beneath a snapshot ends for none that is not taken in.
 * 14. Where nobody dies a timestamp is pinned at once, whoever cannot be asked by who collects.
 * 15. Who is told to lead a shard in a term led it in that term, and a hint at a leader that is
 *     wrong keeps nobody from finding the right one.
 * 16. In peace everybody gets on soon, and who wants to commit can. */
#ifndef LW_SIM_BARE_H
#define LW_SIM_BARE_H

#include "node/gc.h"
#include "node/shards.h"
#include "node/snapshot.h"
#include "sim/run.h"

enum {
    BARE_KEYS = 10, /* "a", "b" ... */
    BARE_WORKERS_MAX = 5,
    BARE_TXN_KEYS = 2,
    BARE_TXNS_MAX = 8192,
    BARE_READS_MAX = 32768,
    BARE_OLD_MAX = 32,
    BARE_SESSIONS_MAX = 8192, /* of more it is not known where they are */
    BARE_SESSION_OVER = 128,
    BARE_OVERS_MAX = 16,
    BARE_APART_MS = 1500,             /* until two nodes are cut off from the others */
    BARE_OPERATOR = BARE_WORKERS_MAX, /* its number as one who asks */
    BARE_JUDGE,
    BARE_ASKERS,
};

struct lw_sim_bare;

typedef enum bare_kind {
    BARE_STORM,
    BARE_QUIET,
    BARE_PATIENT,
    BARE_APART,
    BARE_FLIP,
    BARE_LONELY,
} bare_kind;

/* Since when a node has held a shard that it is no member of, or the other way round. */
typedef struct bare_unlike {
    uint64_t since_ns, shard;
    bool holds;
} bare_unlike;

typedef struct bare_node {
    struct lw_sim_bare *of;
    lw_sim_member *member;
    uint64_t id; /* its place, from 1 */
    lw_env *env; /* of the process that runs, or ran */
    lw_store *store;
    lw_log *log;
    lw_shards *shards; /* NULL: not open */
    lw_snapshots *snapshots;
    lw_gc *gc;
    bool linked[LW_SIM_NODES_MAX];      /* as it was told last */
    uint64_t down_ns[LW_SIM_NODES_MAX]; /* when it is told that one is down; 0: it is not to be */
    bare_unlike unlike[BARE_KEYS];
    uint64_t takes_in_ns[BARE_KEYS]; /* since when it leads, and takes another one in; 0: not */
} bare_node;

/* ---- what is remembered for the judge ---------------------------------------------------------
 */

typedef enum bare_state { BARE_OPEN, BARE_COMMITTED, BARE_ABORTED, BARE_IN_DOUBT } bare_state;

typedef struct bare_txn {
    uint64_t start, commit_timestamp; /* 0: not known */
    uint64_t seen[BARE_TXN_KEYS];     /* as it vouched */
    uint8_t keys[BARE_TXN_KEYS];
    uint8_t key_count;
    uint8_t state;   /* bare_state: as who made it was told */
    bool writing;    /* it may be under way: worth being killed */
    uint64_t killed; /* who killed it was told so, when this was the highest given; 0: nobody */
} bare_txn;

typedef struct bare_read {
    uint64_t timestamp, found; /* the commit timestamp of the version; 0: there was none */
    uint32_t writer;           /* its place among the transactions */
    uint8_t key;
} bare_read;

/* Up to where a key was read, and by which leadership of its shard it was served last. */
typedef struct bare_served {
    uint64_t timestamp, version, term;
} bare_served;

/* ---- who asks ---------------------------------------------------------------------------------
 */

typedef struct bare_asker {
    struct lw_sim_bare *of;
    uint32_t number;
    lw_env *env;
    lw_chance chance;
    lw_arena arena; /* of one piece of work */
    uint64_t session;
    uint64_t done;
    bool ended;
} bare_asker;

static inline uint64_t bare_below(bare_asker *self, uint64_t bound) {
    return lw_chance_below(&self->chance, bound);
}

typedef struct bare_answer {
    lw_status status;
    bool doubt; /* it may have been carried out all the same, by an earlier attempt or this one */
    lw_bytes body;
} bare_answer;

/* A node was told that a transaction is over. */
typedef struct bare_over {
    uint64_t start, boot;
    uint32_t place;
} bare_over;

struct bare_ask;

typedef struct lw_sim_bare {
    lw_sim_trial *of;
    lw_memory *memory; /* all of it goes at once */
    bare_kind kind;
    bare_node nodes[LW_SIM_NODES_MAX];
    bare_asker askers[BARE_ASKERS];
    uint32_t worker_count;
    lw_dice dice; /* of what becomes of messages */
    uint64_t request_id, sessions;
    uint8_t *where; /* of each session: bits of the places of nodes that it has asked, and whether
                       it is over; then of those that have not been told so yet */
    uint32_t pause_us, lifetime_ms, abandon_percent, operate_every_ms, hop_ms;
    uint32_t gone_lost_percent, gone_again; /* of what is told to who is removed; and so often */
    uint64_t merge_after_ms;
    size_t memtables_size; /* 0: the usual one */
    bool set_up, stopping, operated;
    bool wavers, wavering; /* members of shards come, go and come; and do so now */
    bool loses;            /* some who work, whose transactions might last for minutes */
    bool flushes;          /* nodes fall as they flush, in a storm */
    bool dawdles;          /* there is time for others between steps of splits and merges */
    bool merges;           /* operators do little else than split and merge, and one meddles */
    bool parts;            /* two nodes have most voters of a shard, and are apart now and then: */
    bool part_now, parted; /* it is time for that; they are */
    uint64_t healed_ns;    /* when trouble ended; 0: it has not */
    uint64_t committed_in_trouble; /* transactions, by then */
    uint64_t struck_ns;            /* when a node died last, in a patient run */
    uint64_t silent;    /* the node that a reader has asked who is silent now; 0: none is to die */
    uint64_t away[2];   /* the ids of the nodes that are to be apart; 0: none is */
    bool leaving;       /* somebody gets locks for that: */
    uint64_t leaves;    /* a session that ends amid a merge; 0: none */
    uint32_t leaves_at; /* where the right one of the two begins */
    uint64_t absent, absent_until_ns; /* who is away: its id; 0: nobody is */
    uint64_t deaf, deaf_until_ns;     /* the id of who gets messages no earlier, but for requests */
    uint64_t lonely;                  /* the node that is apart from all others, if */
    bool is_lonely;                   /* it is */
    uint64_t misled;  /* who leads all shards, as all directories say; 0: they know it */
    uint64_t flip_at; /* the first entry behind this one flips; 0: none (any more) */
    bare_txn *txns;
    uint32_t txn_count;
    bare_read *reads;
    uint32_t read_count;
    bare_served served[BARE_KEYS];
    uint64_t acknowledged;       /* the highest commit timestamp that anybody was told */
    uint64_t olds[BARE_OLD_MAX]; /* timestamps of before, for who reads the past */
    uint64_t old_count;
    bare_over overs[BARE_OVERS_MAX]; /* the last ones */
    uint64_t over_count;
    uint64_t led; /* how often somebody came to lead */
} lw_sim_bare;

/* How many there are. */
uint32_t lw_sim_bare_nodes(const lw_sim_trial *it);
void lw_sim_bare_begin(lw_sim_trial *it);
void lw_sim_bare_run(lw_sim_trial *it);
void lw_sim_bare_end(lw_sim_trial *it);
/* Starts what runs on the node. */
void lw_sim_bare_boot(lw_sim_member *member, lw_env *env);

/* ---- bare_node.c ------------------------------------------------------------------------------
 */

/* Whether it serves, and its machine runs. */
bool bare_up(const bare_node *node);
bool bare_holds(const lw_shard_descriptor *shard, lw_bytes key);
/* The replica on a node that holds a key; NULL: none. */
lw_replica *bare_replica(const bare_node *node, lw_bytes key);
/* The node that serves the shard of a key, of those that believe so the last; NULL: none. */
bare_node *bare_leader(lw_sim_bare *of, lw_bytes key);
/* The shard that holds a key, as its leader knows it. False: nobody leads it. */
bool bare_locate(lw_sim_bare *of, lw_bytes key, lw_shard_descriptor *shard);

/* ---- bare_mail.c ------------------------------------------------------------------------------
 */

/* lw_shards_others.send, and .ask; `argument` is the bare_node. */
void bare_send(void *argument, uint64_t node, lw_bytes message);
LW_YIELDS lw_status bare_ask_node(void *argument, uint64_t node, const lw_request *request,
                                  uint64_t deadline_ns, lw_buffer *reply);
/* A request of who is no node: one attempt at one node. The body of the answer is in the asker's
 * arena. */
LW_YIELDS void bare_ask_once(bare_asker *from, bare_node *to, const lw_request *request,
                             uint64_t patience_ms, bare_answer *answer);
/* All nodes are told of links that are up or down now, again and again. */
void bare_watch_links(void *bare);
/* The session is over, as those nodes learn that it has asked anything. */
void bare_end_session(lw_sim_bare *of, uint64_t session);
/* ... just then. */
void bare_end_session_in(lw_sim_bare *of, uint64_t session, uint64_t delay_ns);
/* lw_shards_others.session_lives */
bool bare_session_lives(void *argument, uint64_t session);

/* ---- bare_client.c ----------------------------------------------------------------------------
 */

static inline lw_bytes bare_key(uint32_t key) {
    static const char names[] = "abcdefghijklmnopqrstuvwxyz";
    return lw_view(names + key, 1);
}
/* As a client does: until it is answered for good, or the patience is over. */
LW_YIELDS bare_answer bare_call(bare_asker *from, lw_message_kind kind, lw_bytes key,
                                const lw_buffer *body, uint64_t patience_ms);
/* A buffer of the asker's memory for bodies. */
lw_buffer bare_body(bare_asker *from);
/* 0: none was given in time. */
LW_YIELDS uint64_t bare_timestamp(bare_asker *from);
/* What is found at a timestamp, also past locks that are in the way, and is remembered.
 * `timeout_ms`: how long it is needed for (0: not long). `*found` 0: nothing. LW_TIMEOUT: not in
 * time. */
LW_YIELDS lw_status bare_get(bare_asker *from, uint32_t key, uint64_t timestamp,
                             uint32_t timeout_ms, uint64_t *found);
/* Does what is to be done about a lock that is in the way. */
LW_YIELDS void bare_resolve(bare_asker *from, const lw_obstacle *obstacle);
/* COMMIT or ROLLBACK of one key. */
LW_YIELDS bare_answer bare_finish(bare_asker *from, uint64_t start, uint64_t commit_timestamp,
                                  uint32_t key);

/* ---- bare_work.c ------------------------------------------------------------------------------
 */

LW_YIELDS void bare_work_main(void *asker);
/* Commits once, in peace. */
LW_YIELDS void bare_resume_main(void *asker);
/* Reads all there is at the end. */
LW_YIELDS void bare_final_main(void *asker);

/* ---- bare_hold.c, bare_set_up.c, bare_operate.c -----------------------------------------------
 */

LW_YIELDS void bare_operate_main(void *asker);
/* The shard of a key is split there, takes in its right neighbour, or is to be led by a node. */
LW_YIELDS void bare_split(bare_asker *self, uint32_t key);
LW_YIELDS void bare_merge(bare_asker *self, uint32_t key);
LW_YIELDS void bare_transfer(bare_asker *self, uint32_t key, uint64_t node);
LW_YIELDS void bare_change(bare_asker *self, uint32_t key,
                           const lw_change_replicas_request *request);
/* Asks for more voters, and for shards, before all begins. */
LW_YIELDS void bare_set_up_main(void *asker);

/* ---- bare_meddle.c ----------------------------------------------------------------------------
 */

/* In some runs somebody does, once all is set up. */
void bare_meddle(lw_sim_bare *of);
/* A node is about to take in a snapshot: what was kept from it until then comes soon. */
void bare_hear(const bare_node *node);
/* Who is to be gone amid a merge is so now. */
void bare_leave(lw_sim_bare *of, uint64_t within_ms);

/* ---- bare_lonely.c ----------------------------------------------------------------------------
 */

/* From now on a node is cut off from all others, if that may be. */
bool bare_part(lw_sim_bare *of, uint64_t node);
/* It is not any more. */
void bare_join(lw_sim_bare *of);
/* Somebody who cannot be reached is to hold shards, as long as there is trouble. */
LW_YIELDS void bare_operate_lonely(bare_asker *self);
/* Everybody else holds what he is to. */
void bare_judge_lonely(lw_sim_bare *of);

/* ---- bare_absence.c ---------------------------------------------------------------------------
 */

/* In some storms nodes fall amid merges, and are away for long. */
void bare_absence(lw_sim_bare *of);
/* A bare_node flushes all its trees. */
void bare_flush(void *node);

/* ---- bare_falls.c ------------------------------------------------------------------------------
 */

/* In some storms nodes lose power at bad moments. */
void bare_falls(lw_sim_bare *of);

/* ---- bare_judge.c -----------------------------------------------------------------------------
 */

/* The place of a new transaction; BARE_TXNS_MAX: there are too many. */
uint32_t bare_note_txn(lw_sim_bare *of, uint64_t start);
void bare_note_committed(lw_sim_bare *of, uint32_t txn, uint64_t commit_timestamp);
void bare_note_read(lw_sim_bare *of, const bare_read *read);
/* A node has answered somebody who reads at this timestamp. */
void bare_judge_served(bare_node *at, lw_bytes key, uint64_t timestamp);
void bare_note_served(const bare_node *at, uint32_t key, uint64_t timestamp);
/* Whoever serves a key counts it as read up to where it was: looked at again and again. */
void bare_judge_marks(lw_sim_bare *of);
/* What was served before somebody asked, he is not answered in a leadership of before that. */
void bare_judge_reign(const bare_node *at, uint32_t key, const bare_served *before);
/* Two never answer for one key under leases, of whatever shards. */
void bare_judge_keys(lw_sim_bare *of);
/* A node has just given a timestamp to somebody else. */
LW_YIELDS void bare_judge_given(const bare_node *at, lw_bytes answer);
/* A node was told that a transaction is over; and whether none of these has a lock there. */
void bare_note_over(const bare_node *at, uint64_t start);
void bare_judge_overs(lw_sim_bare *of);
/* Whoever leads takes others in without delay. */
void bare_judge_merges(lw_sim_bare *of);
/* A node has tried to take in a snapshot of a shard. */
void bare_judge_install(const bare_node *at, uint64_t shard, lw_status status);
/* Of what is no part of any shard nothing is left, and nobody waits for what he is not to have;
 * false: `why` says of what. */
bool bare_judge_trees(const lw_sim_bare *of, char why[LW_SIM_WHY_SIZE]);
/* A node tells its directory of a shard: who is said to lead it, in the term that its own replica
 * is in, did. */
void bare_judge_hint(const bare_node *at, const lw_shard_descriptor *told);
void bare_judge(lw_sim_bare *of);

#endif
