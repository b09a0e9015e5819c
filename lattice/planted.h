/* SPDX-License-Identifier: Apache-2.0 */
/* Bugs that are planted in the machines of membership and placement, which know of no env: each is
 * a cure taken out, by the hazard it is the cure of. Node/lattice.c switches them on by their names
 * in simulations, tests by these bits. Releases know nothing of them. */
#ifndef LW_PLANTED_H
#define LW_PLANTED_H

#include <stdbool.h>
#include <stdint.h>

typedef enum lw_planted_bug {
    LW_BUG_GONE_COMES_BACK,      /* G1, G11: a tombstone is a record like any other */
    LW_BUG_LAST_RECORD_STANDS,   /* G2: of two records the one that came last */
    LW_BUG_ANYONE_SIGNS,         /* X3: records count whoever signed them */
    LW_BUG_LAST_ENTRY_STANDS,    /* G2: of two descriptors the one that came last */
    LW_BUG_DISPUTE_MERGED,       /* G3: two descriptors of one epoch become one, without a word */
    LW_BUG_NEVER_ASKS,           /* G4: what was lost stays lost */
    LW_BUG_EXPIRY_IGNORED,       /* G5: heartbeats of long ago are news */
    LW_BUG_SILENCE_IS_DEATH,     /* G7: who is not heard on the bus is dead */
    LW_BUG_WORDS_ARE_LINKS,      /* G8: who is heard on the bus is alive */
    LW_BUG_ALL_MUST_BE_SEEN,     /* G9: nothing is done while a node is out of reach */
    LW_BUG_SENDER_UNCHECKED,     /* X3: a message is from whoever it names */
    LW_BUG_QUORUM_IGNORED,       /* R15: a voter goes whoever stays */
    LW_BUG_LAGGARDS_ARE_HEALTHY, /* R5: a replica that has not caught up counts */
    LW_BUG_NAMES_SHARED,         /* M5: two that took one name at once keep it */
    LW_BUG_ROOM_AWAITED,         /* P5: two shards wait for the room that the other has */
    LW_BUG_EVEN_VOTERS,          /* P6: voters come and go one by one */
    LW_BUG_NEIGHBOURS_APART,     /* N2: small neighbours stay where they are, each */
    LW_BUG_HANDED_FORGOTTEN,     /* P8: what was handed over is as if it had not been, till told */
    LW_BUG_CLOCK_BELIEVED,       /* S6: a node holds its own clock for the right one */
    LW_BUG_OVERTAKEN_STAY_SO,    /* S7: who was overtaken by a copy of itself goes on as before */
} lw_planted_bug;

/* `machine` is a pointer to what has the member `bugs`. */
#ifdef LW_SIMULATION
#define LW_PLANTED(machine, bug) (((machine)->bugs >> (bug)&1) != 0)
#else
#define LW_PLANTED(machine, bug) ((void)(machine), false)
#endif

#endif
