/* SPDX-License-Identifier: Apache-2.0 */
/* Scenario gossip: what the nodes of a lattice know of each other and of shards, and what they
 * decide by it, in hostile company. The machines are production code: gossip, members, directory,
 * placement. Everything else is made up here: who runs, ways of the bus and of links, replicas
 * without data, people who operate, an intruder.
 *
 *   lore.c            a run: founding, trouble, peace, verdict
 *   lore_place.c      machines with a folder: started, stopped, joined, copied
 *   lore_bus.c        what is said over the bus and over links: lost, late, twice, kept
 *   lore_links.c      who has a link to whom, and greets whom
 *   lore_shards.c     shards: who holds, leads and lacks what; as their groups would have it
 *   lore_placement.c  looking after shards, as node/lattice_place.c does
 *   lore_trouble.c    what strikes, and what people ask for
 *   lore_intruder.c   what is played again, and forged
 *   lore_watch.c      what must be so at every moment
 *   lore_peace.c      what all must come to once nothing stands in the way
 *
 * Judged at every moment
 * L1. What a node knows of a member never gets older: a tombstone stands for ever, then counts the
 *     later (incarnation, sequence). The same of shards, by epoch, and of leaders, by term.
 * L2. A record counts only if its own node signed it, or another member that it is gone.
 * L3. A message counts only if the one that it names said it, in the order in which it was said,
 *     and no longer on the way than the bound of lattice/gossip.h.
 * L4. Two descriptors of one epoch are disputed, and none replaces the other in silence.
 * L5. Who has a link is not dead, and who has had none for the grace is, whatever the bus says; who
 *     is not heard is quiet, whatever links say.
 * L6. A step of placement leaves a quorum of voters that are healthy, and no even number of them if
 *     there were three or more, and promotes nobody who lacks anything.
 *
 * Judged after the peace, within a bounded time
 * L7. All nodes know the same, what is newest, and each has a name of its own. Who is gone, or runs
 *     as a copy of a folder, has ended; a node that never came back keeps nobody from anything.
 * L8. Every shard has as many voters as there should be, all on nodes that are there to stay, of as
 *     many zones as there are; leaders are spread; and then no step is taken any more.
 * L9. What came of all that was said about shards does not depend on its order.
 * L10. Of two neighbours that are idle, one is left.
 * L11. Whose wall clock is wrong, and by how much, is known to all. */
#ifndef LW_SIM_LORE_H
#define LW_SIM_LORE_H

#include "lattice/gossip.h"
#include "lattice/placement.h"
#include "sim/machines.h"

enum {
    LORE_PLACES_MAX = 12,
    LORE_SHARDS_MAX = 16,
    LORE_REPLICAS_MAX = 8,
    LORE_SEEN_MAX = LORE_PLACES_MAX * 2,
    LORE_ARCHIVE_MAX = 64,
    LORE_ROWS_MAX = 64,
};
#define LORE_NOBODY UINT32_MAX

typedef enum lore_fate {
    LORE_UNBORN, /* it has not joined yet */
    LORE_DOWN,   /* ... and is started again, */
    LORE_LOST,   /* ... or never */
    LORE_RUNS,
    LORE_OVER, /* it left, was taken out, or was told that it is a copy */
} lore_fate;

/* What a node's links, and the bus, tell it of another one, and what is known of that. Milliseconds
 * are those of the node's clock. */
typedef struct lore_plane {
    bool up;              /* as it was told */
    uint64_t turns_ns;    /* when it is told otherwise; 0: not now */
    uint64_t since_ms;    /* since when it is so, or the other is known */
    uint64_t heard_ms;    /* when a heartbeat was taken last; 0: none was */
    uint64_t number;      /* of that one, */
    uint64_t life;        /* in that incarnation */
    uint64_t quickest_ns; /* that any of these took, */
    uint64_t quickest_at_ns;
} lore_plane;

/* What a node knew of a member when it was last looked at. */
typedef struct lore_seen {
    uint64_t node, incarnation, sequence;
    uint64_t record; /* a hash */
    bool gone;
} lore_seen;

/* ... and of a shard. */
typedef struct lore_seen_row {
    uint64_t shard;
    lw_epoch epoch;
    uint64_t term, idle_turns;
    uint64_t content; /* a hash of the descriptor, without its leader */
    bool disputed;
} lore_seen_row;

typedef struct lore_place {
    struct lore *of;
    uint32_t index;
    char name[8];
    /* Its folder. A copy of another's has that one's soul: who it is. */
    uint32_t soul;
    lw_identity keys;
    uint64_t id, incarnation;
    lw_buffer records; /* the page that was saved */
    lore_fate fate;
    lw_agenda_event boots;
    /* What was given on its command line. */
    char address[24], zone[4];
    uint64_t capacity;
    /* While it runs. */
    lw_gossip *gossip;
    uint64_t life;            /* how often it was started */
    uint64_t awake_ns;        /* since when it runs without a pause */
    uint64_t paused_until_ns; /* nothing of it runs before */
    uint64_t clock_ns;        /* what its clock shows when the world begins, */
    uint64_t drift_ppm;       /* by how much it is fast */
    int64_t wall_ahead_ms;    /* by how much its wall clock is wrong */
    lw_agenda_event ticks, looks;
    bool unsaved, ends;
    uint64_t greets_ns;
    uint32_t greeted;  /* the soul that was greeted last */
    uint32_t changing; /* steps of it that are under way */
    lw_placement_ledger ledger;
    lore_plane planes[LORE_PLACES_MAX]; /* by soul */
    /* What the watch saw of it. */
    uint64_t members_seen, directory_seen; /* digests */
    lore_seen seen[LORE_SEEN_MAX];
    uint32_t seen_count;
    lore_seen_row rows[LORE_SHARDS_MAX];
    uint32_t row_count;
} lore_place;

typedef struct lore_replica {
    uint32_t soul;
    bool voter;
    bool current;           /* it has all that is committed */
    uint64_t catches_up_ns; /* when it will have; 0: it gets nothing */
    uint64_t told;          /* which descriptor and leader it knows: a hash */
} lore_replica;

/* As its group has it. */
typedef struct lore_shard {
    uint64_t id;
    lw_epoch epoch;
    char start[12], end[12];
    lore_replica replicas[LORE_REPLICAS_MAX];
    uint32_t replica_count;
    uint64_t term;
    uint32_t leader; /* place; LORE_NOBODY */
    uint64_t leader_life;
    uint64_t quorum_ns; /* when the leader last reached one */
    uint64_t elects_ns; /* when somebody is elected; 0: not now */
    uint64_t rate;
    bool idle;              /* small, with little to do: its leader finds out */
    uint64_t led_ns;        /* since when it is led by who leads */
    lw_placement_step step; /* under way, unless it is NOTHING */
    uint64_t step_due_ns;
    uint32_t step_place; /* who began it, */
    uint64_t step_life;  /* in that life */
    lw_epoch step_epoch;
    char reason[LW_PLACEMENT_REASON]; /* what placement said last */
    uint64_t changed_ns, waits_ns;
} lore_shard;

/* Something on its way, or kept by the intruder. `author` is who said it, 0 if it was forged or
 * altered. */
typedef enum lore_carrier { LORE_BUS, LORE_GREETING, LORE_PAGE } lore_carrier;
typedef struct lore_letter {
    lw_agenda_event event;
    struct lore *of;
    lore_carrier carrier;
    uint32_t from_place, to_place;
    uint64_t to_life; /* over a link: it ends with either side's life */
    uint64_t from_life;
    lw_bus_kind kind;
    bool directed;
    uint64_t from, author; /* ids */
    uint64_t incarnation, number, sent_ns;
    size_t size;
    uint8_t body[];
} lore_letter;

typedef struct lore {
    lw_machines *machines;
    lw_memory *memory;
    lw_chance chance; /* what is no fault */
    lw_chance whims;  /* of those who use shards, and of who sets wall clocks */
    lw_dice dice;     /* of the bus */
    uint8_t cluster[LW_MEMBER_CLUSTER_SIZE];
    uint64_t bugs;
    uint64_t heartbeat_ms, grace_ms, look_ms, settled_ms;
    uint32_t voters;
    lore_place places[LORE_PLACES_MAX];
    uint32_t place_count; /* the last ones are unborn for long, or for ever */
    uint64_t bus_cut_ns[LORE_PLACES_MAX][LORE_PLACES_MAX];  /* from, to: until then */
    uint64_t link_cut_ns[LORE_PLACES_MAX][LORE_PLACES_MAX]; /* likewise */
    uint64_t held_ns[LORE_PLACES_MAX][LORE_PLACES_MAX];     /* the bus hands nothing on before */
    bool copied[LORE_PLACES_MAX];                           /* by soul: its folder was */
    bool expelled[LORE_PLACES_MAX];                         /* by soul: somebody took it out */
    uint64_t numbers;                                       /* of messages */
    lore_shard shards[LORE_SHARDS_MAX];
    uint32_t shard_count;
    uint32_t shards_made;  /* those that were merged among them */
    lw_agenda_event turns; /* of links and shards */
    lw_placement_view *view;
    uint64_t stepped_ns; /* when placement last began a step */
    /* Trouble. */
    bool troubled;
    uint64_t occasions;
    uint32_t occasion_ms; /* mean time between two of them */
    bool may[32];         /* what happens in this run, by lore_happening */
    lw_agenda_event strikes;
    lw_identity intruder;
    lore_letter *archive[LORE_ARCHIVE_MAX];
    uint32_t archived;
    /* The watch. */
    uint64_t *issued; /* hashes of records that were signed by who may */
    uint32_t issued_count, issued_capacity;
    lw_bytes said_rows[LORE_ROWS_MAX]; /* entries of the directory, as they were seen first */
    uint64_t said_hashes[LORE_ROWS_MAX];
    uint32_t said_row_count;
} lore;

/* The scenario's function. */
void lore_play(lw_machines *machines);

static inline uint64_t lore_now(const lore *it) {
    return lw_machines_now(it->machines);
}
static inline uint64_t lore_between(lore *it, uint64_t lowest, uint64_t highest) {
    return lw_chance_between(&it->chance, lowest, highest);
}
static inline bool lore_percent(lore *it, uint32_t percent) {
    return lw_chance_percent(&it->chance, percent);
}

/* ---- lore_place.c --------------------------------------------------------------------------- */

/* A machine with an empty folder. */
void lore_place_make(lore *it, uint32_t index);
/* The node's own clock. */
uint64_t lore_clock_ms(const lore_place *place);
/* Whether it runs, and not only sleeps. */
bool lore_awake(const lore_place *place);
/* Starts it from its folder; a newcomer is let in by `host`, NULL for the first one. */
void lore_start(lore_place *place, const lore_place *host);
/* Ends it; what was not saved is lost. */
void lore_end(lore_place *place, lore_fate fate);
/* Ends it, and starts it again later. */
void lore_crash(lore_place *place, uint64_t down_ms);
/* Does what gossip wants: after every call that may have changed it. May end the node. */
void lore_settle(lore_place *place);
/* The place that runs with this identity, the newest one of two; NULL: none does. */
lore_place *lore_body(lore *it, uint32_t soul);
/* The soul of an id; LORE_NOBODY. */
uint32_t lore_soul_of(const lore *it, uint64_t id);
/* Whether a node knows a soul as a member that is not gone; and as one that is. */
bool lore_knows(const lore_place *place, uint32_t soul);
bool lore_knows_gone(const lore_place *place, uint32_t soul);

/* ---- lore_bus.c ----------------------------------------------------------------------------- */

/* Says it to all that hear it, and to the intruder. */
void lore_publish(lore_place *from, const lw_gossip_message *message);
/* Something that leaves now; the caller says from whom, and sends or frees it. */
lore_letter *lore_letter_make(lore *it, lw_bytes body);
void lore_letter_send(lore_letter *letter, uint64_t delay_ns);

/* ---- lore_links.c --------------------------------------------------------------------------- */

/* Whether what one says over a link gets to the other. */
bool lore_way(const lore *it, uint32_t from, uint32_t to);
/* Whether a node and the body of a soul reach each other; NULL: there is none. */
bool lore_reaches(lore *it, const lore_place *place, uint32_t soul);
/* Tells links what became of them, and greets. */
void lore_turn_links(lore *it);
void lore_greet(lore_place *place, uint32_t soul);
void lore_greet_all(lore_place *place);

/* ---- lore_shards.c -------------------------------------------------------------------------- */

void lore_shards_make(lore *it, uint32_t count);
/* Leaders come and go, replicas fall behind and catch up, steps are carried out. */
void lore_turn_shards(lore *it);
/* A node that comes up says what it holds. */
void lore_shards_tell(lore_place *place);
/* The entry of a shard, as its leader says it; keys point into the shard. */
lw_directory_row lore_row(const lore *it, const lore_shard *shard);
lore_replica *lore_replica_of(lore_shard *shard, uint32_t soul);
/* Whether the replicas that have everything could do without this soul, in each shard. */
bool lore_can_lose(lore *it, uint32_t soul);
/* The upper part of a shard becomes one of its own; nothing if it cannot be now. */
void lore_split(lore *it, uint32_t shard, uint64_t luck);
void lore_hand_over(lore *it, uint32_t shard, uint64_t luck);
/* What its leader makes of a shard. */
lw_idleness lore_idleness(const lore *it, const lore_shard *shard);
/* A shard becomes part of the one to the left, if that is idle, too, and on the same nodes. */
void lore_merge(lore *it, uint32_t shard);

/* ---- lore_placement.c ----------------------------------------------------------------------- */

/* Counts what a node carries, and begins the steps that placement wants. */
void lore_look(lore_place *place);

/* ---- lore_trouble.c ------------------------------------------------------------------------- */

void lore_trouble_begin(lore *it);
/* Mends everything, and starts everybody but who is lost. */
void lore_trouble_end(lore *it);

/* ---- lore_intruder.c ------------------------------------------------------------------------ */

/* Keeps what was said. */
void lore_overhear(lore *it, const lore_letter *letter);
/* Plays something old again; makes something up. */
void lore_replay(lore *it, lw_chance *chance);
void lore_forge(lore *it, lw_chance *chance);
/* A record as an attacker makes it: what `member` says, well signed, but by `as`. Appended. */
void lore_forge_record(const uint8_t cluster[LW_MEMBER_CLUSTER_SIZE], const lw_member *member,
                       const lw_identity *as, lw_buffer *record);

/* ---- lore_watch.c --------------------------------------------------------------------------- */

/* Forgets what a node knew: it was started. */
void lore_watch_begin(lore_place *place);
/* Looks at what a node knows, after every call that may have changed it. */
void lore_watch(lore_place *place);
/* A record that counts from now on. */
void lore_issue(lore *it, lw_bytes record);
/* A message was handed to a node; `before` and `after` tell whether it was taken. */
void lore_watch_letter(lore_place *place, const lore_letter *letter, bool taken, bool changed);
/* Looks at who counts as dead and as quiet. */
void lore_watch_planes(lore_place *place);
/* A step that placement wants (L6). */
void lore_watch_step(const lore_place *place, const lore_shard *shard,
                     const lw_placement_progress *progress, uint32_t progress_count,
                     const lw_placement_step *step);

/* ---- lore_peace.c --------------------------------------------------------------------------- */

enum { LORE_WHY_SIZE = 320 };
/* Whether all know the same (L7 and L11); else `why` not. */
bool lore_converged(lore *it, char why[LORE_WHY_SIZE]);
/* Whether shards are where they should be (L8 and L10). */
bool lore_placed(lore *it, char why[LORE_WHY_SIZE]);
/* Holds the directory to L9. */
void lore_judge_order(lore *it);

#endif
