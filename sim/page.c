/* SPDX-License-Identifier: Apache-2.0 */
/* Noting a run for its page. */
#include "base/hash.h"
#include "lattice/raft_message.h"
#include "sim/page_private.h"

enum { ON_THE_WAY_MAX = 4000 }; /* messages among which one that comes is looked for */

lw_page *lw_page_open(lw_memory *memory, const uint64_t *now_ns) {
    lw_page *page = lw_allocate_zero(memory, sizeof(*page));
    page->memory = memory;
    page->now_ns = now_ns;
    page->message_ring.capacity = LW_PAGE_MESSAGES_MAX;
    page->span_ring.capacity = LW_PAGE_SPANS_MAX;
    page->txn_ring.capacity = LW_PAGE_TXNS_MAX;
    page->event_ring.capacity = LW_PAGE_EVENTS_MAX;
    page->messages = lw_allocate_zero(memory, LW_PAGE_MESSAGES_MAX * sizeof(*page->messages));
    page->spans = lw_allocate_zero(memory, LW_PAGE_SPANS_MAX * sizeof(*page->spans));
    page->txns = lw_allocate_zero(memory, LW_PAGE_TXNS_MAX * sizeof(*page->txns));
    page->events = lw_allocate_zero(memory, LW_PAGE_EVENTS_MAX * sizeof(*page->events));
    return page;
}

void lw_page_close(lw_page *page) {
    lw_free(page->memory, page->messages);
    lw_free(page->memory, page->spans);
    lw_free(page->memory, page->txns);
    lw_free(page->memory, page->events);
    lw_free(page->memory, page);
}

void lw_page_add_lane(lw_page *page, const char *host, bool is_node) {
    if (page != NULL && page->lane_count < LW_PAGE_LANES_MAX) {
        lw_page_lane *added = &page->lanes[page->lane_count++];
        (void)snprintf(added->name, sizeof(added->name), "%s", host);
        added->is_node = is_node;
    }
}

int8_t lw_page_lane_of(const lw_page *page, const char *host) {
    for (uint32_t lane = 0; lane < page->lane_count; lane++) {
        if (strcmp(page->lanes[lane].name, host) == 0) {
            return (int8_t)lane;
        }
    }
    return -1;
}

/* ---- spans ---------------------------------------------------------------------------------- */

static lw_page_span *span_at(lw_page *page, uint64_t number) {
    bool there = number >= lw_page_first(&page->span_ring);
    return there ? &page->spans[number % page->span_ring.capacity] : NULL;
}

static lw_page_span *add_span(lw_page *page, int8_t lane, lw_page_state state, uint64_t detail,
                              uint64_t number) {
    LW_ASSERT(page->spans != NULL);
    lw_page_span *added = &page->spans[page->span_ring.count++ % page->span_ring.capacity];
    *added = (lw_page_span){.from_ns = *page->now_ns,
                            .detail = detail,
                            .number = number,
                            .lane = lane,
                            .state = (uint8_t)state};
    return added;
}

static void end_open(lw_page *page, uint32_t place) {
    lw_page_span *span = span_at(page, page->open_spans[place]);
    if (span != NULL) {
        span->to_ns = *page->now_ns;
    }
    page->open_spans[place] = page->open_spans[--page->open_count];
}

void lw_page_state_set(lw_page *page, const char *host, lw_page_state state, uint64_t detail,
                       uint64_t number, bool on) {
    if (page == NULL) {
        return;
    }
    int8_t lane = lw_page_lane_of(page, host);
    for (uint32_t place = 0; place < page->open_count; place++) {
        const lw_page_span *span = span_at(page, page->open_spans[place]);
        if (span != NULL && span->lane == lane && span->state == state && span->detail == detail) {
            if (on && span->number == number) {
                return;
            }
            end_open(page, place);
            break;
        }
    }
    if (on && lane >= 0 && page->open_count < LW_PAGE_OPEN_MAX) {
        (void)add_span(page, lane, state, detail, number);
        page->open_spans[page->open_count++] = page->span_ring.count - 1;
    }
}

void lw_page_ended(lw_page *page, const char *host) {
    if (page == NULL) {
        return;
    }
    int8_t lane = lw_page_lane_of(page, host);
    for (uint32_t place = 0; place < page->open_count;) {
        const lw_page_span *span = span_at(page, page->open_spans[place]);
        if (span == NULL || (span->lane == lane && span->state != LW_PAGE_CUT)) {
            end_open(page, place);
        } else {
            place++;
        }
    }
}

void lw_page_paused(lw_page *page, const char *host, uint64_t until_ns) {
    if (page == NULL) {
        return;
    }
    int8_t lane = lw_page_lane_of(page, host);
    if (lane >= 0) {
        add_span(page, lane, LW_PAGE_PAUSED, 0, 0)->to_ns = until_ns;
    }
}

/* ---- messages ------------------------------------------------------------------------------- */

static lw_page_message *add_message(lw_page *page) {
    lw_page_message *added =
        &page->messages[page->message_ring.count++ % page->message_ring.capacity];
    *added = (lw_page_message){.sent_ns = *page->now_ns, .from = -1, .to = -1};
    return added;
}

/* The message with this key that is on its way. */
static lw_page_message *find_on_its_way(lw_page *page, uint64_t key) {
    uint64_t first = lw_page_first(&page->message_ring), last = page->message_ring.count;
    first = last - first > ON_THE_WAY_MAX ? last - ON_THE_WAY_MAX : first;
    for (uint64_t number = last; number > first; number--) {
        lw_page_message *each = &page->messages[(number - 1) % page->message_ring.capacity];
        if (each->key == key) {
            return each;
        }
    }
    return NULL;
}

static lw_page_kind kind_of(const lw_raft_message *message) {
    switch (message->kind) {
    case LW_RAFT_PREVOTE:
    case LW_RAFT_PREVOTE_REPLY:
    case LW_RAFT_VOTE:
    case LW_RAFT_VOTE_REPLY:
        return LW_PAGE_VOTE;
    case LW_RAFT_APPEND:
        return message->count > 0 ? LW_PAGE_APPEND : LW_PAGE_HEARTBEAT;
    case LW_RAFT_ACKNOWLEDGE:
        return LW_PAGE_ACKNOWLEDGE;
    case LW_RAFT_HAND_OVER:
    case LW_RAFT_GONE:
        break;
    }
    return LW_PAGE_OTHER_RAFT;
}

static int8_t lane_of_node(const lw_page *page, uint64_t node) {
    for (uint32_t lane = 0; lane < page->lane_count; lane++) {
        if (page->node_ids[lane] == node) {
            return (int8_t)lane;
        }
    }
    return -1;
}

void lw_page_raft(lw_page *page, const char *host, uint64_t from, uint64_t to, bool sent,
                  lw_bytes bytes) {
    if (page == NULL) {
        return;
    }
    int8_t lane = lw_page_lane_of(page, host);
    if (lane < 0) {
        return;
    }
    page->node_ids[lane] = sent ? from : to;
    uint64_t key = lw_hash(lw_mix(from) ^ to, bytes);
    key = key == 0 ? 1 : key;
    if (!sent) {
        lw_page_message *came = find_on_its_way(page, key);
        if (came != NULL) {
            came->arrived_ns = *page->now_ns;
            came->to = lane;
            came->key = 0;
        }
        return;
    }
    uint64_t shard = 0;
    lw_raft_message message;
    lw_reader entries;
    if (lw_raft_message_decode(bytes, &shard, &message, &entries) != LW_OK) {
        return;
    }
    lw_page_message *added = add_message(page);
    added->key = key;
    added->from = lane;
    added->to = lane_of_node(page, to);
    added->kind = (uint8_t)kind_of(&message);
    added->shard = shard;
    added->term = message.term;
    added->index = message.index;
    added->count = message.count;
    added->granted = message.granted;
}

void lw_page_came(lw_page *page, const char *from, const char *to, bool bus, uint64_t sent_ns,
                  size_t size) {
    if (page == NULL) {
        return;
    }
    int8_t source = lw_page_lane_of(page, from), target = lw_page_lane_of(page, to);
    if (source < 0 || target < 0) {
        return;
    }
    bool between = page->lanes[source].is_node && page->lanes[target].is_node;
    if (between && !bus) {
        return; /* what passes there is Raft's for the most part, and noted as such */
    }
    lw_page_message *added = add_message(page);
    added->sent_ns = sent_ns;
    added->arrived_ns = *page->now_ns;
    added->from = source;
    added->to = target;
    added->count = (uint32_t)size;
    added->kind = (uint8_t)(bus                           ? LW_PAGE_GOSSIP
                            : page->lanes[source].is_node ? LW_PAGE_ANSWER
                                                          : LW_PAGE_REQUEST);
}

/* ---- transactions and marks ----------------------------------------------------------------- */

uint32_t lw_page_txn_begin(lw_page *page, const char *host, const char *kind, uint32_t process) {
    if (page == NULL) {
        return 0;
    }
    int8_t lane = lw_page_lane_of(page, host);
    if (lane < 0) {
        return 0;
    }
    page->txns[page->txn_ring.count++ % page->txn_ring.capacity] = (lw_page_txn){
        .from_ns = *page->now_ns, .kind = kind, .outcome = "", .process = process, .lane = lane};
    return (uint32_t)page->txn_ring.count;
}

void lw_page_txn_end(lw_page *page, uint32_t number, const char *outcome) {
    if (page != NULL && number > lw_page_first(&page->txn_ring)) {
        lw_page_txn *txn = &page->txns[(number - 1) % page->txn_ring.capacity];
        txn->to_ns = *page->now_ns;
        txn->outcome = outcome;
    }
}

static void add_event(lw_page *page, const char *host, const char *what, const char *text) {
    lw_page_event_note *added = &page->events[page->event_ring.count++ % page->event_ring.capacity];
    *added = (lw_page_event_note){.time_ns = *page->now_ns,
                                  .lane = lw_page_lane_of(page, host),
                                  .failure = what == NULL,
                                  .what = what};
    (void)snprintf(added->text, sizeof(added->text), "%s", text == NULL ? "" : text);
}

void lw_page_event(lw_page *page, const char *host, const char *what, const char *text) {
    if (page != NULL) {
        add_event(page, host, what, text);
    }
}

void lw_page_explain(lw_page *page, const char *text) {
    if (page != NULL && page->event_ring.count > 0) {
        uint64_t last = page->event_ring.count - 1;
        lw_page_event_note *note = &page->events[last % page->event_ring.capacity];
        (void)snprintf(note->text, sizeof(note->text), "%s", text);
    }
}

void lw_page_fail(lw_page *page, const char *text) {
    if (page != NULL) {
        add_event(page, "", NULL, text);
    }
}
