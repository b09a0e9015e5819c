/* SPDX-License-Identifier: Apache-2.0 */
/* What of the past is kept: the safepoint, below which nobody may ask any more, and the pins that
 * hold it back. Pure: who moves the safepoint (node/gc.h) asks here how far, and makes the record
 * durable; what may be forgotten below it is said in txn/retention.h.
 *
 * A pin is a session's: it reads at a timestamp until a moment, both of the oracle. It ends when it
 * is dropped, with its session, or at that moment.
 *
 *   record   format u8 (1) · safepoint u64 · pin count varint ·
 *            pins: asked for u8 · session u64 · timestamp u64 · until u64 · label size varint ·
 * label
 *
 * All numbers are little-endian; the pins are the oldest, by timestamp, in that order.
 *
 * Invariants
 * G1. The safepoint never goes back, and never passes a pin (hazard T11): it stands at the lowest
 *     pinned timestamp at most.
 * G2. No pin lies below the safepoint.
 * G3. Pins beyond LW_PIN_RECORD_COUNT are not in the record. They hold the safepoint back all the
 *     same while the process lives; after a crash their sessions come with them again, before the
 *     safepoint, which those in the record hold, could pass them. */
#ifndef LW_PINS_H
#define LW_PINS_H

#include "base/bytes.h"
#include "base/hash.h"

enum {
    LW_PIN_LABEL_SIZE_MAX = 64, /* bytes; longer ones are cut */
    LW_PIN_RECORD_COUNT = 128,
    LW_PIN_COUNT_MAX = 64 * 1024,
};

typedef struct lw_pin {
    lw_map_node node;               /* by session and timestamp */
    struct lw_pin *previous, *next; /* in no order */
    uint64_t session, timestamp;
    uint64_t until; /* a timestamp: from then on it holds nothing */
    uint8_t label_size;
    uint8_t label[LW_PIN_LABEL_SIZE_MAX]; /* whose it is */
    bool asked;                           /* for by PIN: a reader that ends does not let go of it */
    bool leftover; /* of before the start: its session has not been heard of again */
} lw_pin;

typedef struct lw_pins {
    lw_memory *memory;
    uint64_t safepoint;
    lw_map by_place;
    lw_pin *first;
    uint32_t leftover_count;
} lw_pins;

lw_pins lw_pins_in(lw_memory *memory);
void lw_pins_reset(lw_pins *pins);

/* Pins `timestamp`, which is not below the safepoint, or lengthens the pin that is there. NULL if
 * there are LW_PIN_COUNT_MAX already. */
lw_pin *lw_pins_hold(lw_pins *pins, uint64_t session, uint64_t timestamp, uint64_t until,
                     lw_bytes label);
/* False if there is no such pin, or it was asked for and this is not. */
bool lw_pins_drop(lw_pins *pins, uint64_t session, uint64_t timestamp, bool asked);
/* How many ended: all of a session, those whose time is over, those that were loaded and whose
 * session was not heard of since. */
uint32_t lw_pins_end_session(lw_pins *pins, uint64_t session);
uint32_t lw_pins_expire(lw_pins *pins, uint64_t now);
uint32_t lw_pins_end_leftovers(lw_pins *pins);
bool lw_pins_have_session(const lw_pins *pins, uint64_t session);
/* The session is heard of again. */
void lw_pins_session_came(lw_pins *pins, uint64_t session);
/* The one of the lowest timestamp, or NULL. */
const lw_pin *lw_pins_oldest(const lw_pins *pins);

/* How far the safepoint may go at the oracle's time `now`, when so much of the past is kept. Not
 * below where it stands (G1). */
uint64_t lw_pins_reach(const lw_pins *pins, uint64_t now, uint64_t retention_ms);

/* Replaces what `out` held. */
void lw_pins_encode(const lw_pins *pins, lw_buffer *out);
/* Into empty pins, as leftovers. LW_CORRUPTION. */
LW_MUST_USE lw_status lw_pins_decode(lw_bytes bytes, lw_pins *pins);
/* The safepoint was moved elsewhere, at least so far; pins below it hold nothing any more (G2). */
void lw_pins_raise(lw_pins *pins, uint64_t safepoint);
/* The record was another node's to move, and is this one's now: its safepoint, which `*safepoint`
 * becomes, and its pins join those that are here. They end with their time, or when they are
 * dropped: their sessions need not come here. LW_CORRUPTION. */
LW_MUST_USE lw_status lw_pins_take_over(lw_bytes bytes, lw_pins *pins, uint64_t *safepoint);

#endif
