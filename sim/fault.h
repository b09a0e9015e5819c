/* SPDX-License-Identifier: Apache-2.0 */
/* What may go wrong in a simulated world, and how often. A profile (lw_faults) gives each kind of
 * fault a rate in parts per million of its occasions; swarm runs draw a random subset of it. Dice
 * throw for one part of the world (a disk, the network, a host) and can be told to let a given
 * occasion hit, which is how tests enumerate "the n-th sync fails". What strikes is recorded, and
 * can be given instead of drawn: sim/strike.h.
 *
 * Invariants
 * 1. A fault with rate 0 that nobody armed never happens.
 * 2. Whether a fault hits, and what it is like, follows from the seed, the place, the kind and the
 *    number of its occasion there, and from nothing else: one fault taken out leaves the others
 *    where they were as long as the run does not depart, and what is no fault where it was. */
#ifndef LW_SIM_FAULT_H
#define LW_SIM_FAULT_H

#include "sim/chance.h"

/* X(name, text, usual rate in parts per million, occasion). The usual rate 0 marks what is
 * asked for by name: lies, which no single disk's user can survive, and shortages of the system. */
#define LW_FAULT_LIST(X)                                                                          \
    X(SYNC_ERROR, "sync_error", 1000, "a sync or durable write fails; its pages count as clean")  \
    X(SYNC_STICKY, "sync_sticky", 300000, "a file whose sync failed fails every later one")       \
    X(READ_ERROR, "read_error", 300, "a read fails with EIO")                                     \
    X(WRITE_ERROR, "write_error", 300, "a write fails with EIO, some of its sectors written")     \
    X(FULL, "full", 500, "no space, at a name made or a file extended")                           \
    X(BIT_FLIP, "bit_flip", 100, "a bit of what is read has rotted at rest")                      \
    X(STALE_SECTOR, "stale_sector", 300000, "a lost new sector holds old bytes, not zeros")       \
    X(LOST_WRITE, "lost_write", 0, "a write is acknowledged and not done")                        \
    X(MISDIRECTED_WRITE, "misdirected_write", 0, "a write lands elsewhere in its file")           \
    X(SLOW_DISK, "slow_disk", 3000, "a disk operation takes 5 to 200 ms")                         \
    X(CONNECTION_RESET, "connection_reset", 300, "a segment that arrives resets its connection")  \
    X(SLOW_SEGMENT, "slow_segment", 3000, "a segment takes up to a second")                       \
    X(SHORT_RECEIVE, "short_receive", 200000, "a receive gets few of the bytes that are there")   \
    X(CRASH_RESET, "crash_reset", 500000, "a peer of a host that lost power is told at once")     \
    X(CLOCK_DRIFT, "clock_drift", 500000, "at boot: a clock that drifts by up to 500 ppm")        \
    X(WALL_OFFSET, "wall_offset", 500000, "at boot: a wall clock up to a second wrong")           \
    X(WALL_JUMP, "wall_jump", 200, "at a look: the wall clock jumps by up to a minute")           \
    X(NO_HANDLES, "no_handles", 0, "a file or directory cannot be opened for want of handles")    \
    X(BUS_LOSS, "bus_loss", 20000, "a message on the bus is lost on its way to one node")         \
    X(BUS_TWICE, "bus_twice", 10000, "a message on the bus comes twice")                          \
    X(BUS_LATE, "bus_late", 20000,                                                                \
      "a message on the bus takes up to twenty seconds, others overtake it")                      \
    X(BUS_SPOILT, "bus_spoilt", 3000, "a bit of a message on the bus changes on its way")         \
    X(BUS_AGAIN, "bus_again", 5000, "a message on the bus comes once more, up to a minute later") \
    X(LATE_SEGMENT, "late_segment", 100,                                                          \
      "a segment takes up to 15 seconds, and its connection with it; new ones do not wait")       \
    X(WALL_STUCK, "wall_stuck", 100, "at a look: the wall clock stands still for up to 20 seconds")

/* X(name, text, what happens). These nobody throws for: scenarios let them strike (sim/trouble.c).
 */
#define LW_TROUBLE_LIST(X)                                                                         \
    X(CRASH, "crash", "a machine loses power, or its process is killed, at once or some steps on") \
    X(CRASH_AT_START, "crash_at_start", "a machine loses power soon after it was started")         \
    X(CRASH_PAUSED, "crash_paused", "a machine loses power soon after its pause")                  \
    X(CRASH_CLIENT, "crash_client", "a client's machine loses power, or its process is killed")    \
    X(OUTAGE, "outage", "all machines of nodes lose power at once")                                \
    X(PAUSE, "pause", "nothing of a machine's processes runs for up to six seconds")               \
    X(CUT, "cut", "ways between machines are cut, both or one of the two")                         \
    X(CUT_BUS, "cut_bus", "a broker of the bus stops, or does not hear another")                   \
    X(DISK_FULL, "disk_full", "a disk has little room, for a while")                               \
    X(DISK_LOST, "disk_lost", "a disk is lost for good, with all that was on it")                  \
    X(DISK_SLOW, "disk_slow", "the disk of a machine is slow for all of the trouble")              \
    X(DECAY, "decay", "a bit rots in the log of a node")                                           \
    X(ROT, "rot", "a bit rots in a table of a node, or of two at the same moment")                 \
    X(STRUCK, "struck", "a machine fails as its code passes a drawn place, or is cut off then")    \
    X(STOPPED, "stopped", "a processor stops for a while where its code passes a drawn place")     \
    X(HUNTED, "hunted", "the leader of a shard fails, or loses others, or hears them late")        \
    X(CLOCK_FAST, "clock_fast", "a machine is started with a clock as fast as it may be, or slow") \
    X(WALL_WRONG, "wall_wrong", "a machine is started with a wall clock up to an hour wrong")      \
    X(BUS_HELD, "bus_held",                                                                        \
      "the bus keeps what is said for up to half a minute, and then says it")                      \
    X(REPLAYED, "replayed", "messages of long ago are said again")                                 \
    X(FORGED, "forged", "a message is made up, or changed")                                        \
    X(FOLDER_COPIED, "folder_copied", "a copy of the folder of a node that runs is started")       \
    X(DISPUTED, "disputed", "a node says another descriptor of an epoch that there is")            \
    X(LINK_THIN, "link_thin",                                                                      \
      "between two machines few kilobytes a second get through, for a while")                      \
    X(PARTED, "parted", "the leader of a shard loses the other voters of it, and nobody else")     \
    X(MEMORY_FLIP, "memory_flip", "a bit flips in what a replica has not applied yet")

typedef enum lw_fault {
#define LW_FAULT_ENUM(name, text, rate, occasion) LW_FAULT_##name,
    LW_FAULT_LIST(LW_FAULT_ENUM)
#undef LW_FAULT_ENUM
#define LW_TROUBLE_ENUM(name, text, what) LW_FAULT_##name,
        LW_TROUBLE_LIST(LW_TROUBLE_ENUM)
#undef LW_TROUBLE_ENUM
            LW_FAULT_COUNT
} lw_fault;

enum { LW_FAULT_ALWAYS = 1000000 }; /* the rate of every occasion */

typedef struct lw_faults {
    uint32_t rates[LW_FAULT_COUNT]; /* parts per million of the occasions */
    bool rare_paths;                /* whether LW_RARE is ever true */
} lw_faults;

/* A world in which everything works. */
static inline lw_faults lw_faults_none(void) {
    return (lw_faults){.rare_paths = false};
}
/* Everything but lies, at its usual rate. */
lw_faults lw_faults_usual(void);
/* What is left of `profile` in the run of this seed: about half of the faults, each at an eighth to
 * four times its rate. */
lw_faults lw_faults_swarm(const lw_faults *profile, uint64_t seed);
/* "sync_error"; "fault.sync_error", the name of its coverage mark; and what happens, in words. */
const char *lw_fault_name(lw_fault fault);
const char *lw_fault_mark(lw_fault fault);
const char *lw_fault_text(lw_fault fault);
/* The fault of this name; LW_FAULT_COUNT if there is none. */
lw_fault lw_fault_find(lw_bytes name);
/* One line for a report: every fault that may happen, with its rate. */
void lw_faults_print(const lw_faults *faults, lw_buffer *out);

typedef struct lw_dice {
    lw_chance chance;           /* for what is no fault */
    lw_chance own;              /* of the last throw: what the fault is like */
    uint64_t seed;              /* of all throws */
    const lw_faults *faults;    /* may be changed by its owner while the world runs */
    uint64_t *hits;             /* LW_FAULT_COUNT counters, shared by the dice of a world */
    struct lw_strikes *strikes; /* NULL: nobody records, and chance decides */
    const char *place;          /* whose dice they are, for the record */
    uint64_t occasions[LW_FAULT_COUNT];
    uint32_t armed[LW_FAULT_COUNT]; /* occasions until one hits for sure; 0: none was asked for */
    uint64_t struck;                /* how often any of them has hit here */
} lw_dice;

/* `faults` and `hits` outlive the dice. */
static inline lw_dice lw_dice_of(lw_chance chance, const lw_faults *faults, uint64_t *hits) {
    return (lw_dice){
        .chance = chance, .seed = lw_mix(chance.state), .faults = faults, .hits = hits};
}
/* From now on `strikes` records what hits, and may decide it. Both outlive the dice. */
static inline void lw_dice_follow(lw_dice *dice, struct lw_strikes *strikes, const char *place) {
    dice->strikes = strikes;
    dice->place = place;
}
/* Whether the fault happens on this occasion. */
bool lw_dice_hit(lw_dice *dice, lw_fault fault);
static inline bool lw_dice_possible(const lw_dice *dice, lw_fault fault) {
    return dice->faults->rates[fault] > 0 || dice->armed[fault] > 0;
}
/* Lets the n-th occasion from now (1: the next) hit, once. */
static inline void lw_dice_arm(lw_dice *dice, lw_fault fault, uint32_t occasion) {
    LW_ASSERT(fault < LW_FAULT_COUNT);
    dice->armed[fault] = occasion;
}

#endif
