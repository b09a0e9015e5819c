/* SPDX-License-Identifier: Apache-2.0 */
/* A world of consensus alone: up to seven pure cores (lattice/raft.h) with clocks that drift, disks
 * that forget what they had not synced, and a network that loses, doubles, delays and reorders; all
 * from one seed. It is the scenario `raft`. Nothing is stored but numbers, so that an election
 * costs microseconds, and a run of milliseconds holds dozens of them, each in trouble.
 *
 *   cores.c           what happens when, what is remembered of it; rounds of trouble and peace
 *   cores_draw.c      what a seed decides: sizes, timeouts, habits of network, disks and clocks
 *   cores_node.c      drives one core, as node/group.c does, without bytes: an entry is a value
 *   cores_disk.c      what a node's disk holds, and when; its log's start, and snapshots
 *   cores_network.c   messages, links and the news of them
 *   cores_trouble.c   what befalls them all
 *   cores_judge.c     what must hold at every step, judged from outside of the core
 *
 * Invariants
 * 1. Whatever happens follows from the seed, the number of nodes, the planted bugs and the faults
 *    that strike (sim/machines.h): what is remembered or told decides nothing.
 * 2. What a run is like, and what an occasion of trouble is like, is drawn from streams of its own:
 *    who takes one out leaves the others what they are.
 * 3. A disk holds a prefix of what was written to it, in the order in which it was written.
 */
#ifndef LW_SIM_CORES_H
#define LW_SIM_CORES_H

#include "lattice/raft_message.h"
#include "lattice/raft_state.h"
#include "sim/machines.h"

enum {
    LW_CORES_NODES_MAX = 7,
    LW_CORES_LOG_MAX = 6000,
    LW_CORES_BATCH_MAX = 8, /* entries of one append or proposal */
    LW_CORES_WRITES_MAX = 256,
    LW_CORES_EVENTS_MAX = 4096,
    LW_CORES_CONFIGS_MAX = 1024,
    LW_CORES_TERMS_MAX = 4096,
    LW_CORES_NOTES = 400,
    LW_CORES_TROUBLES_MAX = 24,
    LW_CORES_INSTALL_MS = 20, /* a snapshot takes so long to be taken in, usually at most */
    LW_CORES_MEND = 0,        /* the kind of trouble that is none: links are whole again */
};
#define LW_CORES_MS UINT64_C(1000000) /* nanoseconds */

/* What is counted in a run, besides faults, for its summary: X(name, text). */
#define LW_CORES_COUNT_LIST(X)             \
    X(ELECTED, "raft.elected")             \
    X(CHANGED, "raft.members_changed")     \
    X(REMOVED, "raft.replicas_taken_away") \
    X(CUT_OFF, "raft.entries_cut_off")     \
    X(COMPACTED, "raft.logs_cut")          \
    X(INSTALLED, "raft.snapshots")         \
    X(READ, "raft.reads")                  \
    X(LEASED, "raft.looks_at_a_lease")     \
    X(HANDED_OVER, "raft.transfers")       \
    X(RESTING, "raft.groups_at_rest")      \
    X(STALLED, "raft.writes_stalled")      \
    X(LOST, "raft.messages_lost")          \
    X(DOUBLED, "raft.messages_doubled")    \
    X(LATE, "raft.messages_late")

typedef enum lw_cores_count {
#define LW_CORES_COUNT_ENUM(name, text) LW_CORES_##name,
    LW_CORES_COUNT_LIST(LW_CORES_COUNT_ENUM)
#undef LW_CORES_COUNT_ENUM
        LW_CORES_COUNTS
} lw_cores_count;

typedef struct lw_cores_entry {
    uint64_t term, value;
    uint64_t commit; /* what its leader knew to be committed */
    uint64_t chain;  /* over this entry and all before it: two logs agree if this does */
    uint32_t config; /* place in lw_cores.configs; 0: none */
} lw_cores_entry;

/* Pending in the log's order: the hard state, or entries from `first` on. */
typedef struct lw_cores_write {
    bool save;
    uint64_t term, vote;
    uint64_t first, cuts;
    uint32_t count;
    lw_cores_entry entries[LW_CORES_BATCH_MAX];
} lw_cores_write;

typedef struct lw_cores_disk {
    uint64_t term, vote;
    uint64_t start, last; /* entries[start + 1 … last]; entries[start] has its term and chain */
    uint32_t start_config;
    uint64_t start_config_index;
    lw_cores_entry entries[LW_CORES_LOG_MAX];
} lw_cores_disk;

typedef struct lw_cores_node {
    lw_raft raft;
    bool up;
    uint64_t tombstone;     /* of an earlier replica, which was taken away */
    uint64_t life;          /* counts restarts */
    uint64_t paused_until;  /* true time, as all that is not said to be the node's own */
    uint64_t stalled_until; /* the disk is done with nothing before */
    uint64_t clock_base, clock_since;
    int64_t drift_ppm;
    lw_cores_disk disk;
    lw_cores_write writes[LW_CORES_WRITES_MAX];
    uint32_t write_count;
    bool disk_busy;
    lw_cores_entry log[LW_CORES_LOG_MAX]; /* as the core believes it to be */
    uint64_t config_at;                   /* the newest entry of `log` that has a configuration */
    uint64_t applied;
    uint64_t checked;                     /* its committed entries that were compared */
    bool cut_off[LW_CORES_NODES_MAX + 1]; /* links that it was told are down */
    uint64_t tick_at;                     /* the earliest tick that is scheduled */
    lw_raft_ticket ticket;                /* of a read that waits */
    uint64_t ticket_needs;                /* what had been acknowledged when it began */
    bool leads;                           /* as it was last told */
    uint64_t followed;                    /* the last leader that it was told of */
} lw_cores_node;

typedef enum lw_cores_event_kind {
    /* To one life of a node, once that is awake: */
    LW_CORES_DELIVER,
    LW_CORES_DISK_DONE,
    LW_CORES_TICK,
    LW_CORES_LOADED, /* entries for an append were loaded */
    LW_CORES_LINK,   /* news of a link */
    LW_CORES_STAND,  /* somebody asks it to campaign */
    LW_CORES_SNAPSHOT_ARRIVES,
    LW_CORES_SNAPSHOT_DURABLE,
    LW_CORES_SNAPSHOT_ENDED,
    /* To all of them: */
    LW_CORES_CLIENT,
    LW_CORES_NEMESIS,
    LW_CORES_HUNT,     /* something befalls who has just begun to lead */
    LW_CORES_BETRAYAL, /* who was left with a stranded leader starts anew, and hears no more of it
                        */
    LW_CORES_RESTART,
} lw_cores_event_kind;

typedef struct lw_cores_event {
    lw_agenda_event when;
    uint64_t made_at;
    lw_cores_event_kind kind;
    uint64_t node, life, other;
    bool flag;
    /* DELIVER, LOADED: the message with its entries. SNAPSHOT_*: index, last entry, config. */
    lw_raft_message message;
    lw_cores_entry entries[LW_CORES_BATCH_MAX];
    uint64_t index, config_index;
    uint32_t config;
} lw_cores_event;

/* One thing that happened: `text` is a format with up to four numbers. */
typedef struct lw_cores_note {
    uint64_t at, node;
    const char *text;
    uint64_t numbers[4];
} lw_cores_note;

/* What a seed draws: cores_draw.c. Times are in nanoseconds. */
typedef struct lw_cores_habits {
    uint64_t timeout, heartbeat, quiesce_after;
    uint32_t drift_ppm;  /* that clocks may have */
    bool extreme_clocks; /* each is as fast as it may be, or as slow */
    uint32_t entries_in_flight_max, bytes_in_flight_max, entries_per_append_max;
    uint64_t delay_max, disk_max; /* usual ones */
    uint64_t install_max;         /* until a snapshot that came is taken in */
    uint64_t late_max;            /* of messages that take longer */
    uint32_t loss_percent, double_percent, late_percent, stale_percent;
    uint32_t stall_percent;   /* of writes to disks: they take up to three timeouts */
    uint32_t compact_percent; /* of what is applied: the log is cut behind it */
    uint32_t hunt_percent;    /* of those who begin to lead: something befalls them soon */
    uint64_t hunt_within;
    uint32_t unheard_percent; /* of those who stand: whom they followed does not hear of it */
    uint64_t trouble_gap, client_gap;
    uint32_t preferred[LW_CORES_TROUBLES_MAX]; /* how often each trouble comes */
    uint64_t trouble_for;                      /* how long trouble lasts */
    uint32_t voters;                           /* at first */
    uint32_t rounds;                           /* of trouble and peace */
    bool through_codec;                        /* messages become bytes and are read again */
} lw_cores_habits;

typedef struct lw_cores {
    lw_machines *machines;
    uint64_t seed, bugs;
    lw_chance chance;
    uint64_t now;       /* true time */
    uint64_t unheard;   /* whom it follows does not hear when it stands */
    uint64_t occasions; /* of trouble so far */
    uint32_t node_count;
    lw_cores_habits habits;
    lw_cores_node nodes[LW_CORES_NODES_MAX + 1]; /* from 1 */
    lw_cores_event events[LW_CORES_EVENTS_MAX];
    uint16_t spare[LW_CORES_EVENTS_MAX];
    uint32_t spare_count;
    lw_raft_config configs[LW_CORES_CONFIGS_MAX]; /* from 1; 0: of who waits for its snapshot */
    uint32_t config_count;
    uint64_t values;
    bool blocked[LW_CORES_NODES_MAX + 1][LW_CORES_NODES_MAX + 1]; /* from … to …: all is lost */
    bool calm;                                                    /* no more faults */
    bool silent;                                                  /* no more clients */
    uint64_t healed_at; /* what was sent before that and has not come soon after never will */
    lw_buffer bytes;    /* of a message */

    /* What is known of the whole: see cores_judge.c. */
    lw_cores_entry committed[LW_CORES_LOG_MAX];
    uint64_t committed_in[LW_CORES_LOG_MAX]; /* the term that counted it */
    uint64_t commit;                         /* entries that any node knows to be committed */
    uint64_t acknowledged;                   /* those that a leader was told of */
    uint64_t term;                           /* the highest that was led */
    uint64_t leader_of[LW_CORES_TERMS_MAX];
    uint64_t voted_for[LW_CORES_NODES_MAX + 1][LW_CORES_TERMS_MAX];
    uint64_t counts[LW_CORES_COUNTS];

    lw_cores_note notes[LW_CORES_NOTES]; /* a ring */
    uint64_t note_count;
} lw_cores;

/* ---- cores.c --------------------------------------------------------------------------------- */

/* Plays one run. */
void lw_cores_play(lw_machines *machines);

/* Ends the run: see lw_machines_broken. */
void lw_cores_fail(lw_cores *world, const char *property, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Notes what happened to a node (0: to all). The text is a constant with up to four times PRIu64.
 */
void lw_cores_note_of(lw_cores *world, uint64_t id, const char *text, uint64_t a, uint64_t b,
                      uint64_t c, uint64_t d);
/* NULL: too many, this one is lost. The caller fills it before anything else happens. */
lw_cores_event *lw_cores_schedule(lw_cores *world, lw_cores_event_kind kind, uint64_t id,
                                  uint64_t delay);

static inline uint64_t lw_cores_between(lw_cores *world, uint64_t lowest, uint64_t highest) {
    return lw_chance_between(&world->chance, lowest, highest);
}
static inline bool lw_cores_percent(lw_cores *world, uint32_t share) {
    return lw_chance_percent(&world->chance, share);
}
/* One of the nodes. */
static inline uint64_t lw_cores_any(lw_cores *world) {
    return lw_cores_between(world, 1, world->node_count);
}
static inline bool lw_cores_awake(const lw_cores *world, uint64_t id) {
    return world->nodes[id].up && world->nodes[id].paused_until <= world->now;
}
/* What the node's own clock says. */
static inline uint64_t lw_cores_clock(const lw_cores *world, const lw_cores_node *node) {
    uint64_t passed = world->now - node->clock_since;
    return node->clock_base + passed + (uint64_t)((int64_t)passed * node->drift_ppm / 1000000);
}

/* ---- cores_draw.c ---------------------------------------------------------------------------- */

/* The habits of a run; and those of a round of trouble, from 0. */
void lw_cores_draw(lw_cores *world);
void lw_cores_draw_round(lw_cores *world, uint32_t round);

/* ---- cores_node.c ---------------------------------------------------------------------------- */

void lw_cores_start(lw_cores *world, uint64_t id);
/* Power fails: some of what waits for the disk may have reached it. */
void lw_cores_crash(lw_cores *world, uint64_t id);
/* Carries out what follows from an event, judges it, and sees to the next tick. */
void lw_cores_settle(lw_cores *world, uint64_t id);
/* Proposes `count` values, or a configuration; whether the core took them. */
bool lw_cores_propose(lw_cores *world, uint64_t id, uint32_t count, uint32_t config);
/* Its place; 0: there is no room for another. */
uint32_t lw_cores_add_config(lw_cores *world, const lw_raft_config *config);
void lw_cores_receive(lw_cores *world, lw_cores_event *event);
void lw_cores_loaded(lw_cores *world, const lw_cores_event *event);

/* ---- cores_disk.c ---------------------------------------------------------------------------- */

void lw_cores_write_save(lw_cores *world, uint64_t id, uint64_t term, uint64_t vote);
/* Writes entries that the log of the node holds already. */
void lw_cores_write_entries(lw_cores *world, uint64_t id, const lw_raft_write *write);
/* Writes that wait became durable: one, or several at once. */
void lw_cores_disk_done(lw_cores *world, uint64_t id);
/* What a loss of power leaves of what waits. */
void lw_cores_disk_crash(lw_cores *world, uint64_t id);
/* The log begins behind `index`, which is applied. */
void lw_cores_compact(lw_cores *world, uint64_t id, uint64_t index);
void lw_cores_snapshot_begin(lw_cores *world, uint64_t id, uint64_t to);
void lw_cores_snapshot_arrives(lw_cores *world, const lw_cores_event *event);
void lw_cores_snapshot_durable(lw_cores *world, const lw_cores_event *event);
void lw_cores_snapshot_answer(lw_cores *world, const lw_cores_event *event, uint64_t index);

/* ---- cores_network.c ------------------------------------------------------------------------- */

/* Sends a message, with its entries. */
void lw_cores_transmit(lw_cores *world, const lw_raft_message *message,
                       const lw_cores_entry *entries);
/* Through bytes and back, as between real nodes. */
void lw_cores_translate(lw_cores *world, lw_cores_event *event);
/* Both ways are lost. */
void lw_cores_part(lw_cores *world, uint64_t a, uint64_t b);
/* Both ends hear of their link: sooner if it broke than if it is whole again. */
void lw_cores_tell_link(lw_cores *world, uint64_t a, uint64_t b, bool down);
/* All others, and the node itself, hear that it is away, or there. */
void lw_cores_tell_links(lw_cores *world, uint64_t id, bool down);
void lw_cores_link_changed(lw_cores *world, const lw_cores_event *event);
void lw_cores_mend(lw_cores *world);

/* ---- cores_trouble.c ------------------------------------------------------------------------- */

/* What befalls them now, and who has just come to lead. */
void lw_cores_nemesis(lw_cores *world);
void lw_cores_hunt(lw_cores *world, uint64_t leader);
void lw_cores_betray(lw_cores *world, uint64_t leader, uint64_t kept);
/* Everything is mended, and everybody is started; one may stay cut off, if the others can do
 * without it, until links are mended again. */
void lw_cores_heal(lw_cores *world, uint32_t round);
/* A node that leads, as far as it was told; 0: there is none. */
uint64_t lw_cores_leader(lw_cores *world);
void lw_cores_set_member(lw_raft_config *config, uint64_t id, lw_raft_membership membership);
/* How many kinds of trouble there are, and how often one comes at most, against others. */
uint32_t lw_cores_trouble_count(void);
uint32_t lw_cores_trouble_weight(uint32_t place);

/* ---- cores_judge.c --------------------------------------------------------------------------- */

void lw_cores_check_sent(lw_cores *world, const lw_raft_message *message);
/* Of a message that was taken: what the log holds of it now is what it held there. */
void lw_cores_check_taken(lw_cores *world, const lw_cores_event *event);
/* A leader's core took a configuration; `before` was in effect. */
void lw_cores_check_change(lw_cores *world, uint64_t id, const lw_raft_config *config,
                           const lw_raft_config *before, uint64_t before_index);
void lw_cores_check_leader(lw_cores *world, uint64_t id);
void lw_cores_check_applied(lw_cores *world, uint64_t id, uint64_t index);
void lw_cores_check_readable(lw_cores *world, uint64_t id, uint64_t round);
/* `counted`: nothing but counting and a leader's word can have committed what is new. */
void lw_cores_check_committed(lw_cores *world, uint64_t id, bool counted);
/* It was told that it is gone since `index`. */
void lw_cores_check_removed(lw_cores *world, uint64_t id, uint64_t index);
/* All that can be seen of a node between two events. */
void lw_cores_check_node(lw_cores *world, uint64_t id);
/* Once faults have ended: one leader, everybody has everything, and nobody has anything to do.
 * False: not yet, and `why` says what is missing. */
enum { LW_CORES_WHY_SIZE = 160 };
bool lw_cores_healed(lw_cores *world, char why[LW_CORES_WHY_SIZE]);

#endif
