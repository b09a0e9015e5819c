/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the gossip machine share: its state, and the bodies it reads and writes. */
#ifndef LW_GOSSIP_PRIVATE_H
#define LW_GOSSIP_PRIVATE_H

#include "lattice/gossip.h"

enum {
    GOSSIP_ENVELOPE_SIZE = 160,
    GOSSIP_CONTENT_MAX = LW_BUS_BODY_SIZE_MAX - GOSSIP_ENVELOPE_SIZE,
};

#define GOSSIP_WALL_MAX  (INT64_C(1) << 48)  /* milliseconds: the year 10889 */
#define GOSSIP_CLOCK_MAX (UINT64_C(1) << 48) /* milliseconds: no machine runs for so long */

/* What a node knows, in short. */
typedef struct gossip_summary {
    uint64_t members_digest, members_weight;
    uint64_t directory_digest, directory_weight;
} gossip_summary;

/* What is known of a wall clock. */
typedef struct gossip_clock {
    bool told;           /* it was, with the last heartbeat */
    int64_t ahead_ms;    /* of this node's */
    bool wrong;          /* it is told to be, */
    int64_t wrong_by_ms; /* by so much, as it was last */
    uint32_t beats;      /* for which it has been the other way */
} gossip_clock;

/* A member other than this node, and not gone. */
typedef struct gossip_peer {
    uint64_t node;
    lw_gossip_peer known;
    uint64_t incarnation, sent_ms; /* of its last heartbeat, by its clock */
    /* How long messages of this incarnation take at least, by two clocks that do not agree. */
    int64_t delay_ms;
    uint64_t delay_at_ms;
    gossip_summary summary; /* as it last said */
    gossip_clock clock;
} gossip_peer;

typedef struct gossip_said {
    lw_bus_kind kind;
    uint64_t to;
    size_t offset, size; /* in the bytes said */
} gossip_said;

typedef struct gossip_ids {
    uint64_t *ids;
    uint32_t count, capacity;
} gossip_ids;

struct lw_gossip {
    lw_gossip_options options; /* texts of `self` are in `texts` */
    lw_memory *memory;
    lw_members members;
    lw_directory directory;
    lw_member self;
    char address[LW_MEMBER_ADDRESS_MAX + 1], bus_address[LW_MEMBER_ADDRESS_MAX + 1];
    char zone[LW_MEMBER_ZONE_MAX + 1], name[LW_MEMBER_NAME_MAX + 1];
    lw_member_load load;
    bool wall_known;
    int64_t wall_ahead_ms; /* of the clock by which it is called */
    gossip_clock clock;    /* its own */

    gossip_peer *peers; /* ascending by node */
    uint32_t peer_count, peer_capacity;

    gossip_ids news_nodes, news_shards; /* to be said to all, at news_ms */
    uint64_t news_ms;
    gossip_ids unheard;    /* shards of news said since anybody was heard: perhaps to nobody */
    uint64_t heard_ms;     /* when anybody was heard last; 0: never */
    uint64_t beat_ms;      /* when to say the next heartbeat */
    uint64_t beat_sent_ms; /* what the last one said it was sent at */
    uint64_t ahead_ms;     /* by so much what they say is ahead of the clock (S7) */
    uint64_t judge_ms;     /* nobody is judged silent before: this node itself was away */
    uint64_t round;        /* heartbeats said */
    uint64_t stranger;     /* spoke, and has no record here; 0: none */
    uint64_t told_gone_ms; /* when one that is gone was last told so */
    uint64_t self_said_ms; /* when this node's record was last said to one who had an older one */
    uint32_t rotor;        /* the bucket with which the next answer begins */
    bool copied, expelled; /* said once */
    uint64_t members_said_ms[LW_MEMBER_BUCKETS]; /* when a bucket was last answered to all */
    uint64_t directory_said_ms[LW_DIRECTORY_BUCKETS];

    lw_buffer said_bytes;
    gossip_said *said;
    uint32_t said_first, said_count, said_capacity;
    lw_gossip_event *events;
    uint32_t event_first, event_count, event_capacity;
    lw_gossip_figures figures;
};

/* ---- bodies (gossip_message.c) -------------------------------------------------------------- */

typedef struct gossip_heartbeat {
    uint64_t incarnation, sent_ms;
    gossip_summary summary;
    lw_member_load load;
    uint64_t wall_ms; /* 0: not said */
} gossip_heartbeat;

/* Signs `content` and puts it among what is to be said. */
void gossip_say(lw_gossip *gossip, lw_bus_kind kind, uint64_t to, lw_bytes content);
/* The content of a body whose sender signed it; false, and counted, if it did not, or is not
 * understood. */
LW_MUST_USE bool gossip_open_body(lw_gossip *gossip, const lw_bus_message *message,
                                  lw_bytes *content);
void gossip_say_heartbeat(lw_gossip *gossip, const gossip_heartbeat *heartbeat);
LW_MUST_USE bool gossip_read_heartbeat(lw_bytes content, gossip_heartbeat *heartbeat);
/* NULL for the buckets that are not asked about. */
void gossip_say_ask(lw_gossip *gossip, uint64_t to, const uint64_t *members,
                    const uint64_t *directory);
/* `*has_members` and `*has_directory` say which arrays were filled. */
LW_MUST_USE bool gossip_read_ask(lw_bytes content, uint64_t members[LW_MEMBER_BUCKETS],
                                 bool *has_members, uint64_t directory[LW_DIRECTORY_BUCKETS],
                                 bool *has_directory);

/* Records and entries, said page by page. */
typedef struct gossip_page {
    lw_gossip *gossip;
    lw_bus_kind kind;
    uint64_t to;
    lw_buffer records, entries, scratch;
    uint32_t record_count, entry_count;
    uint32_t pages; /* said */
} gossip_page;

gossip_page gossip_page_open(lw_gossip *gossip, lw_bus_kind kind, uint64_t to);
void gossip_page_record(gossip_page *page, lw_bytes record);
void gossip_page_entry(gossip_page *page, const lw_directory_row *row);
/* Says what is left. */
void gossip_page_close(gossip_page *page);
/* Whether an entry is short enough to be gossiped. */
bool gossip_fits(const lw_directory_row *row);

/* ---- who there is (gossip.c) ---------------------------------------------------------------- */

/* NULL: it is no member, or gone. */
gossip_peer *gossip_peer_of(const lw_gossip *gossip, uint64_t node);
void gossip_add_peer(lw_gossip *gossip, uint64_t node, uint64_t now_ms);
void gossip_remove_peer(lw_gossip *gossip, uint64_t node);
void gossip_tell(lw_gossip *gossip, lw_gossip_event_kind kind, uint64_t node, uint64_t shard,
                 lw_member_state state);
/* Says the record that is known of a node to all, with the next news. */
void gossip_say_record_soon(lw_gossip *gossip, uint64_t node, uint64_t now_ms);
/* Takes another name if this node has no claim to the one it has. */
void gossip_keep_name_unique(lw_gossip *gossip, uint64_t now_ms);
void gossip_tell_of(lw_gossip *gossip, lw_gossip_event_kind kind, const gossip_peer *peer);

/* ---- hearing (gossip_hear.c) ---------------------------------------------------------------- */

/* A record, or an entry, that somebody handed on. */
void gossip_take_record(lw_gossip *gossip, lw_bytes record, uint64_t now_ms);
/* What the clock of one that is quiet shows at least, as its heartbeats were; 0: it is heard, or
 * never was. */
uint64_t gossip_reckon_clock(const gossip_peer *peer, uint64_t now_ms);
lw_directory_merged gossip_take_row(lw_gossip *gossip, const lw_directory_row *row);

/* ---- wall clocks (gossip_clock.c) ----------------------------------------------------------- */

void gossip_hear_clock(const lw_gossip *gossip, gossip_peer *peer,
                       const gossip_heartbeat *heartbeat, uint64_t now_ms);
/* At every heartbeat of this node. */
void gossip_judge_clocks(lw_gossip *gossip);

/* ---- healing (gossip_heal.c) ---------------------------------------------------------------- */

gossip_summary gossip_summary_of(const lw_gossip *gossip);
/* Asks one that knows something else, if there is one. */
void gossip_ask(lw_gossip *gossip, uint64_t now_ms);
void gossip_answer(lw_gossip *gossip, uint64_t from, lw_bytes content, uint64_t now_ms);
uint64_t gossip_interval_ms(const lw_gossip *gossip);
/* Somebody was heard. After a silence of all, what was said into it is said again, as it is now. */
void gossip_hear_anybody(lw_gossip *gossip, uint64_t now_ms);

#endif
