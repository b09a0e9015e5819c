/* SPDX-License-Identifier: Apache-2.0 */
/* What page.c notes and page_write.c writes. */
#ifndef LW_SIM_PAGE_PRIVATE_H
#define LW_SIM_PAGE_PRIVATE_H

#include "sim/page.h"

enum { LW_PAGE_NAME_SIZE = 24, LW_PAGE_OPEN_MAX = 512 };

typedef struct lw_page_lane {
    char name[LW_PAGE_NAME_SIZE];
    bool is_node;
} lw_page_lane;

typedef struct lw_page_message {
    uint64_t sent_ns, arrived_ns; /* 0: not yet, or never */
    uint64_t key;                 /* of one that is on its way; 0: none */
    uint64_t shard, term, index;
    uint32_t count;  /* of entries, or bytes */
    int8_t from, to; /* lanes; -1: not known yet */
    uint8_t kind;
    bool granted;
} lw_page_message;

typedef struct lw_page_span {
    uint64_t from_ns, to_ns; /* to: 0 while it lasts */
    uint64_t detail, number;
    int8_t lane;
    uint8_t state;
} lw_page_span;

typedef struct lw_page_txn {
    uint64_t from_ns, to_ns; /* to: 0 while it lasts, or when its client was ended */
    const char *kind, *outcome;
    uint32_t process;
    int8_t lane;
} lw_page_txn;

typedef struct lw_page_event_note {
    uint64_t time_ns;
    int8_t lane; /* -1: none */
    bool failure;
    const char *what; /* a constant; NULL: a failure */
    char text[LW_PAGE_TEXT_SIZE];
} lw_page_event_note;

/* The newest of many: item n lies at n % capacity. */
typedef struct lw_page_ring {
    uint64_t count;
    size_t capacity;
} lw_page_ring;

struct lw_page {
    lw_memory *memory;
    const uint64_t *now_ns;
    lw_page_lane lanes[LW_PAGE_LANES_MAX];
    uint32_t lane_count;
    uint64_t node_ids[LW_PAGE_LANES_MAX]; /* the last that was seen there */
    uint64_t shards[LW_PAGE_SHARDS_MAX];
    uint32_t shard_count;
    lw_page_ring message_ring, span_ring, txn_ring, event_ring;
    lw_page_message *messages;
    lw_page_span *spans;
    lw_page_txn *txns;
    lw_page_event_note *events;
    uint64_t open_spans[LW_PAGE_OPEN_MAX]; /* numbers of those that last */
    uint32_t open_count;
};

static inline uint64_t lw_page_first(const lw_page_ring *ring) {
    return ring->count > ring->capacity ? ring->count - ring->capacity : 0;
}
int8_t lw_page_lane_of(const lw_page *page, const char *host);

#endif
