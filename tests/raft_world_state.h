/* SPDX-License-Identifier: Apache-2.0 */
/* What the small world of tests/raft_world.h consists of. */
#ifndef LW_TESTS_RAFT_WORLD_STATE_H
#define LW_TESTS_RAFT_WORLD_STATE_H

#include "lattice/raft_message.h"
#include "lattice/raft_state.h"
#include "sim/chance.h"
#include "tests/unit.h"

enum {
    NODE_COUNT = 7,
    LOG_MAX = 2500,
    BATCH_MAX = 8, /* entries of one append or proposal */
    WRITE_MAX = 64,
    EVENT_MAX = 2048,
    CONFIG_MAX = 256,
    TERM_MAX = 512,
    TROUBLE_COUNT = 11,
};
#define MILLISECOND 1000000U
#define ELECTION    (100U * MILLISECOND)
#define HEARTBEAT   (20U * MILLISECOND)

typedef struct entry {
    uint64_t term, value;
    uint64_t commit; /* what its leader knew to be committed */
    uint32_t config; /* place in world.configs; 0: none */
} entry;

/* Pending in the log's order: the hard state, or entries from `first` on. */
typedef struct disk_write {
    bool save;
    uint64_t term, vote;
    uint64_t first, cuts;
    uint32_t count;
    entry entries[BATCH_MAX];
} disk_write;

typedef struct disk {
    uint64_t term, vote;
    uint64_t start, start_term, last; /* entries[start + 1 … last] */
    uint32_t start_config;
    uint64_t start_config_index;
    entry entries[LOG_MAX];
} disk;

typedef struct node {
    lw_raft raft;
    bool up;
    uint64_t tombstone;    /* of an earlier replica, which was taken away */
    uint64_t life;         /* counts restarts */
    uint64_t paused_until; /* true time */
    uint64_t clock_base;
    int64_t drift_ppm;
    disk disk;
    disk_write writes[WRITE_MAX];
    uint32_t write_count;
    bool disk_busy;
    entry log[LOG_MAX]; /* as the core believes it to be */
    uint64_t applied;
    uint64_t checked;             /* its committed entries that were compared */
    bool cut_off[NODE_COUNT + 1]; /* links that it was told are down */
    uint64_t tick_at;             /* true time of the earliest tick that is scheduled */
    lw_raft_ticket ticket;        /* of a read that waits */
    uint64_t ticket_needs;        /* what was known to be committed when it began */
    bool leads;                   /* as it was last told */
} node;

typedef enum event_kind {
    DELIVER,
    DISK_DONE,
    TICK,
    CLIENT,
    NEMESIS,
    BETRAYAL, /* who was left with a stranded leader starts anew, and hears no more of it */
    LOADED,   /* entries for an append were loaded */
    LINK,
    SNAPSHOT_ARRIVES,
    SNAPSHOT_DURABLE,
    SNAPSHOT_ENDED,
    RESTART,
} event_kind;

typedef struct event {
    uint64_t at, order;
    event_kind kind;
    uint64_t node, life, other;
    bool flag;
    /* DELIVER, LOADED: the message with its entries. SNAPSHOT_*: index, term, config. */
    lw_raft_message message;
    entry entries[BATCH_MAX];
    uint64_t index, term, config_index;
    uint32_t config;
} event;

typedef struct world {
    uint64_t seed;
    lw_chance chance;
    uint64_t now; /* true time */
    uint64_t order;
    node nodes[NODE_COUNT + 1]; /* from 1 */
    event events[EVENT_MAX];
    uint16_t heap[EVENT_MAX];
    uint16_t spare[EVENT_MAX];
    uint32_t heap_count, spare_count;
    lw_raft_config configs[CONFIG_MAX];
    uint32_t config_count;
    uint64_t values;
    bool blocked[NODE_COUNT + 1][NODE_COUNT + 1]; /* messages from … to … are lost */
    uint32_t loss_percent, double_percent, late_percent;
    uint64_t preferred[TROUBLE_COUNT]; /* how often each trouble comes */
    uint64_t trouble_gap, client_gap;
    bool calm;    /* no more faults */
    bool silence; /* no more clients */
    bool through_codec;
    uint64_t quiesce_after;
    uint32_t drift_ppm;           /* that clocks may have */
    uint64_t delay_max, disk_max; /* usual ones */
    uint64_t bugs;
    lw_memory *memory;
    lw_buffer bytes;
    bool verbose;
    /* What is known of the whole: see raft_world_check.h. */
    entry committed[LOG_MAX];
    uint64_t committed_in[LOG_MAX]; /* the term that counted it */
    uint64_t commit;                /* entries that any node knows to be committed */
    uint64_t acknowledged;          /* those that a leader was told of */
    uint64_t leader_of[TERM_MAX];
    uint64_t voted_for[NODE_COUNT + 1][TERM_MAX];
    uint64_t wiped[NODE_COUNT + 1]; /* term below which its votes are forgotten, with its disk */
    char failure[256];
    uint64_t elections, changes, snapshots, reads, leases, transfers, rests; /* that happened */
} world;

/* Ends the run: the first failure counts. */
__attribute__((format(printf, 2, 3))) static inline void world_fail(world *w, const char *format,
                                                                    ...) {
    if (w->failure[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(w->failure, sizeof(w->failure), format, arguments);
        va_end(arguments);
    }
}

#define SAY(w, ...)                                           \
    do {                                                      \
        if ((w)->verbose) {                                   \
            printf("%9.3f ", (double)(w)->now / MILLISECOND); \
            printf(__VA_ARGS__);                              \
            printf("\n");                                     \
        }                                                     \
    } while (0)

static inline uint64_t clock_of(const world *w, const node *n) {
    return n->clock_base + w->now + (uint64_t)((int64_t)w->now / 1000000 * n->drift_ppm);
}

#endif
