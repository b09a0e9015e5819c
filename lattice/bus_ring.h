/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of records between two threads, one that puts and one that takes, without locks.
 *
 *   record = size u32 (of what follows, without padding) · bytes, padded to 8
 *   A size of UINT32_MAX says that the next record is at the ring's beginning.
 *
 * Invariants
 * 1. `head` and `tail` count bytes since the beginning, and only grow: `head` is written by whoever
 *    takes, `tail` by whoever puts; tail - head never exceeds the ring's size.
 * 2. A record lies in one piece, and stays where it is until it is given back. */
#ifndef LW_BUS_RING_H
#define LW_BUS_RING_H

#include "base/bytes.h"

#include <stdatomic.h>

typedef struct lw_ring {
    uint8_t *data; /* aligned to 8 */
    uint32_t size; /* a power of two */
    _Atomic uint64_t head, tail;
} lw_ring;

enum { LW_RING_HEADER_SIZE = 4 };
#define LW_RING_WRAPS UINT32_MAX

static inline uint32_t lw_ring_room(uint32_t size) {
    return (LW_RING_HEADER_SIZE + size + 7) & ~UINT32_C(7);
}

/* Puts a record of two pieces; false if there is no room for it now. */
LW_MUST_USE static inline bool lw_ring_put(lw_ring *ring, lw_bytes first, lw_bytes second) {
    if (first.size + second.size > ring->size / 2) {
        return false;
    }
    uint32_t size = (uint32_t)(first.size + second.size), room = lw_ring_room(size);
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint32_t place = (uint32_t)(tail & (ring->size - 1));
    uint32_t skipped = ring->size - place < room ? ring->size - place : 0;
    if (tail + skipped + room - head > ring->size) {
        return false;
    }
    if (skipped > 0) {
        lw_put_u32(ring->data + place, LW_RING_WRAPS);
        place = 0;
    }
    uint8_t *to = ring->data + place;
    lw_put_u32(to, size);
    if (first.size > 0) {
        memcpy(to + LW_RING_HEADER_SIZE, first.data, first.size);
    }
    if (second.size > 0) {
        memcpy(to + LW_RING_HEADER_SIZE + first.size, second.data, second.size);
    }
    atomic_store_explicit(&ring->tail, tail + skipped + room, memory_order_release);
    return true;
}

/* The oldest record, or false if there is none. It is to be given back. */
LW_MUST_USE static inline bool lw_ring_peek(lw_ring *ring, lw_bytes *record) {
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (atomic_load_explicit(&ring->tail, memory_order_acquire) == head) {
        return false;
    }
    uint32_t place = (uint32_t)(head & (ring->size - 1));
    if (lw_get_u32(ring->data + place) == LW_RING_WRAPS) {
        head += ring->size - place;
        place = 0;
        atomic_store_explicit(&ring->head, head, memory_order_release);
    }
    *record = lw_view(ring->data + place + LW_RING_HEADER_SIZE, lw_get_u32(ring->data + place));
    return true;
}

/* Gives back the record that was peeked at. */
static inline void lw_ring_drop(lw_ring *ring, lw_bytes record) {
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    atomic_store_explicit(&ring->head, head + lw_ring_room((uint32_t)record.size),
                          memory_order_release);
}

#endif
