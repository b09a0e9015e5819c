/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a node's part in the lattice, shared by node/lattice*.c and nobody else.
 *
 *   lattice.c          opening and closing, the fiber, the bus, what gossip wants done
 *   lattice_leads.c    who has come to lead what, as events
 *   lattice_leave.c    leaving for good, and letting go of who left
 *   lattice_links.c    links to members, and what peers and shards ask
 *   lattice_time.c     the oracle's time
 *   lattice_file.c     the file LATTICE
 *   lattice_trust.c    tokens that let nobody in any more
 *   lattice_keys.c     changing the lattice's key
 *   lattice_ask.c      where shards are, while the bus does not tell
 *   lattice_place.c    load, placement, and its steps
 *   lattice_load.c     shards that are asked for too much
 *   lattice_report.c   requests, and the account of itself
 */
#ifndef LW_LATTICE_STATE_H
#define LW_LATTICE_STATE_H

#include "lattice/placement.h"
#include "lattice/report.h"
#include "lattice/revoked.h"
#include "node/lattice.h"

enum {
    LATTICE_EVENTS_MAX = 256,
    LATTICE_PLACE_MS = 1000,        /* between two looks at where shards should be */
    LATTICE_SOON_MS = 50,           /* ... while a replica that was just made catches up */
    LATTICE_BY_HAND_MS = 10 * 1000, /* for which what a client asked for is left alone */
    LATTICE_SETTLED_MS = 5000,
    LATTICE_FOLLOWERS_MAX = 6, /* of a shard that are looked after: five voters and a newcomer */
    LATTICE_STUCK_MS = 5000, /* a follower that lacks entries for so long and gets none is stuck */
    LATTICE_ASK_MS = 2000,
    LATTICE_GREET_MS = 10 * 1000,     /* between two greetings over links that are up */
    LATTICE_LEADS_MAX = 8,            /* nodes whose shards others came to lead, told apart */
    LATTICE_TOKENS_MAX = 16,          /* made here that are remembered */
    LATTICE_TIME_MS = 10 * 60 * 1000, /* between two looks at the oracle's time */
};
#define LATTICE_NS_PER_MS UINT64_C(1000000)

/* What is remembered of a replica that is here. */
typedef struct lattice_track {
    lw_map_node by_shard;
    uint64_t shard;
    uint64_t pass;   /* the last one that saw it */
    uint64_t leader; /* the last one that it had, as it said itself; 0: none yet */
    /* While this node leads it: since when, and what it is asked. */
    uint64_t led_ms, counted_ms, reads_counted, writes_counted;
    uint64_t reads, writes; /* a second, */
    bool rated;             /* if it was counted for one */
    uint64_t changed_ms;    /* when a step of it ended; 0: none did */
    uint64_t wait_ms;       /* no step before */
    uint64_t by_hand_ms;    /* when a client asked to have it moved; 0: none did */
    bool changing;          /* a step is under way, */
    bool handing;           /* a hand-over of its lead */
    uint64_t hot_ms;        /* since when it is asked for too much; 0: it is not */
    struct lattice_follower {
        uint64_t node, match, since_ms; /* has acknowledged so far, since then */
    } followers[LATTICE_FOLLOWERS_MAX]; /* while this node leads; node 0: none */
} lattice_track;

typedef struct lattice_event {
    lw_event_row row; /* name is a constant; text is the one below */
    char text[LW_REPORT_TEXT_MAX];
} lattice_event;

/* Shards that this node has come to lead, after one other. */
typedef struct lattice_leads {
    uint64_t before;      /* 0: after several, or nobody knows */
    uint64_t shard, term; /* of the first of them */
    uint32_t count;
} lattice_leads;

struct lw_lattice {
    lw_env *env;
    lw_memory *memory;
    lw_lattice_options options; /* texts are copies */
    lw_gossip *gossip;
    lw_store *store; /* these three: NULL before the start and after the stop */
    lw_shards *shards;
    lw_peers *peers;
    lw_bus *bus; /* NULL: none */
    uint64_t bus_retry_ms;
    bool introduced; /* a member has been linked, so this is no copy of a node that runs */

    bool running; /* the fiber is there */
    bool stopping;
    bool ended;         /* the owner was told */
    uint32_t job_count; /* fibers besides that one */
    lw_queue work, idle;

    bool unsaved;
    bool saving;
    lw_queue saved;

    lw_revoked revoked;
    lw_revoked_token made[LATTICE_TOKENS_MAX]; /* a ring of tokens */
    uint32_t made_count;

    bool keys_job;     /* goes on with a change of keys */
    bool setting_keys; /* is writing them */
    lw_queue keys_set;
    bool bus_outdated; /* it was opened with a key that is not in use any more */

    uint64_t *answered; /* who has it durably that this node is gone */
    uint32_t answered_count;
    uint64_t farewell_ms; /* when it ends even if nobody has; 0: it is not gone */
    uint64_t part_ms;     /* when links to those who are gone end; 0: there are none */

    uint64_t greet_ms;     /* when to greet the next member */
    uint64_t greeted_node; /* the last one so */

    bool asking;         /* over a link, where shards are */
    uint64_t asked_node; /* the last one that was asked */
    lw_buffer ask_from;  /* the key from which the next one is asked */

    lattice_event *events; /* a ring; NULL before the first */
    uint64_t event_count;
    char bus_told[LW_REPORT_TEXT_MAX]; /* what was noted of the bus last */
    lattice_leads leads[LATTICE_LEADS_MAX];
    uint32_t leads_count;
    uint64_t leads_ms; /* none of these is told before */

    lw_placement_view *view; /* NULL while nobody else is there */
    lw_placement_ledger ledger;
    lw_map tracks;
    uint64_t pass, place_ms, alone_ms;
    uint64_t time_ms; /* when to look at the oracle's time */
    uint32_t changing;
    bool splitting;                            /* a hot shard */
    uint64_t hot_rate;                         /* requests a second; 0: not drawn yet */
    uint64_t steps_done, steps_failed, handed; /* leads, of those that were done */
};

static inline uint64_t lattice_now_ms(const lw_lattice *lattice) {
    return lw_env_now(lattice->env) / LATTICE_NS_PER_MS;
}
static inline uint64_t lattice_self(const lw_lattice *lattice) {
    return lattice->options.identity->node_id;
}

/* ---- lattice.c ------------------------------------------------------------------------------ */

/* Does what gossip wants done: after every call that may have changed it. */
void lattice_settle(lw_lattice *lattice);
/* Notes what happened. `name` is a constant. */
void lattice_note(lw_lattice *lattice, const char *name, uint64_t node, uint64_t shard,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Has the fiber look again. */
void lattice_wake(lw_lattice *lattice);
/* Tells the owner to stop the node: LW_OK since it has left, LW_REFUSED since it may not go on. */
void lattice_end(lw_lattice *lattice, lw_status status, const char *reason);
void lattice_job_begin(lw_lattice *lattice);
void lattice_job_end(lw_lattice *lattice);
/* Members other than this node that are not gone. */
uint32_t lattice_company(const lw_lattice *lattice);

/* ---- lattice_leads.c ------------------------------------------------------------------------ */

/* A replica here knows who leads it. */
void lattice_heard_leader(lw_lattice *lattice, uint64_t shard, uint64_t leader, uint64_t term);
/* Notes what came together, if it is time. */
void lattice_tell_leads(lw_lattice *lattice, uint64_t now_ms);

/* ---- lattice_leave.c ------------------------------------------------------------------------ */

/* Goes on with leaving, if this node is. */
void lattice_leave(lw_lattice *lattice, uint64_t now_ms);
/* Whether it has said that it is gone, and waits for others to write that down. */
bool lattice_parting(const lw_lattice *lattice, uint64_t now_ms);
/* Another node has. */
void lattice_farewell_heard(lw_lattice *lattice, uint64_t node);
/* Before another one is answered that has greeted this one: if it is gone, that is durable here.
 * Else LW_UNAVAILABLE, or why it could not be written. */
LW_MUST_USE LW_YIELDS lw_status lattice_answer_farewell(lw_lattice *lattice, uint64_t from);
/* Whether all that is known of members is durable. */
bool lattice_is_saved(const lw_lattice *lattice);
/* Somebody is gone: links to it end soon. */
void lattice_part_soon(lw_lattice *lattice);
/* Ends those whose time has come; when to call it again. */
uint64_t lattice_part(lw_lattice *lattice, uint64_t now_ms);

/* ---- lattice_links.c ------------------------------------------------------------------------ */

/* Exchanges records with all who are linked: what is new here has to reach those whom no bus
 * reaches yet. */
void lattice_greet_all(lw_lattice *lattice);
/* The same with the next one, now and then: whatever a greeting missed is healed. */
void lattice_greet_next(lw_lattice *lattice, uint64_t now_ms);
/* With this one, if its link is up. */
void lattice_greet(lw_lattice *lattice, uint64_t node);
/* A member has come: links to it, and watches the link until it is gone. */
void lattice_meet(lw_lattice *lattice, uint64_t node);
/* It may have another address. */
void lattice_link_member(lw_lattice *lattice, const lw_member *member);

/* ---- lattice_time.c ------------------------------------------------------------------------- */

/* Every node knows the oracle's time, also one that leads nothing and draws nothing: should it lead
 * the root shard all at once, it must not have to believe its wall clock (hazard O3). */
void lattice_learn_time(lw_lattice *lattice, uint64_t now_ms);

/* By how much a member's wall clock, or this node's own, is wrong; 0: by little. */
int64_t lattice_clock_ahead(const lw_lattice *lattice, uint64_t node);

/* ---- lattice_file.c ------------------------------------------------------------------------- */

/* The records that the file holds, as a page, and a page of revoked tokens; nothing if there is no
 * file. */
LW_MUST_USE LW_YIELDS lw_status lattice_load(lw_env *env, const char *directory, lw_buffer *page,
                                             lw_buffer *revoked);
/* Makes what is known of members durable. */
LW_MUST_USE LW_YIELDS lw_status lattice_save(lw_lattice *lattice);
/* All records, as a page without limit. */
void lattice_page(const lw_lattice *lattice, lw_buffer *page);

/* ---- lattice_trust.c ------------------------------------------------------------------------- */

/* Tells another node which tokens are revoked, and hears it. */
LW_YIELDS void lattice_exchange_revoked(lw_lattice *lattice, uint64_t node);
/* Takes in what another node, or the file, says of them. */
LW_MUST_USE lw_status lattice_learn_revoked(lw_lattice *lattice, lw_bytes page);
void lattice_tokens(const lw_lattice *lattice, lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status lattice_revoke(lw_lattice *lattice, lw_bytes body,
                                               lw_buffer *reply);
LW_MUST_USE LW_YIELDS lw_status lattice_hear_revoked(lw_lattice *lattice, lw_bytes page,
                                                     lw_buffer *reply);

/* ---- lattice_keys.c ------------------------------------------------------------------------- */

/* Puts what keys this node has into its record. */
void lattice_say_keys(lw_lattice *lattice);
/* Does what a change of keys wants done next, if there is one. */
void lattice_go_on_with_keys(lw_lattice *lattice);
LW_MUST_USE LW_YIELDS lw_status lattice_take_key(lw_lattice *lattice, lw_bytes body);
LW_MUST_USE LW_YIELDS lw_status lattice_rotate(lw_lattice *lattice, lw_buffer *reply);

/* ---- lattice_ask.c -------------------------------------------------------------------------- */

/* Asks somebody where shards are, unless the bus tells. */
void lattice_ask(lw_lattice *lattice);

/* ---- lattice_place.c ------------------------------------------------------------------------ */

/* Counts the load, and begins the steps that placement wants. */
void lattice_place(lw_lattice *lattice);
/* What it would begin: rows of PLAN, appended. */
void lattice_plan(lw_lattice *lattice, lw_buffer *reply);
void lattice_tracks_reset(lw_lattice *lattice);

/* What is remembered of a shard; made if there is nothing yet. Until a later pass. */
lattice_track *lattice_track_of(lw_lattice *lattice, uint64_t shard);

/* ---- lattice_load.c ------------------------------------------------------------------------- */

/* Splits a shard that this node leads, if it is hot and there is a key for it. */
void lattice_split_hot(lw_lattice *lattice, lw_replica *replica, const lw_shard_descriptor *shard);

#endif
