/* SPDX-License-Identifier: Apache-2.0 */
/* A run as a page that opens in a browser (`lathwork sim --trace-html`): what is drawn of it is
 * noted while it runs, and written at its end as one file that asks nothing of any network. The
 * frame, with its script, is sim/page.html; the run is JSON within it.
 *
 * Invariants
 * 1. Noting changes nothing about a run: its hash is the same with and without.
 * 2. A page has a bounded size. Of what there is too much of the oldest is left out, and the page
 *    says so: failures are mostly late.
 * 3. Nothing that came out of the run can become part of the page's own text: in the JSON there is
 *    no "<". */
#ifndef LW_SIM_PAGE_H
#define LW_SIM_PAGE_H

#include "base/bytes.h"

#include <stdio.h>

struct lw_history;

enum {
    LW_PAGE_LANES_MAX = 32,
    LW_PAGE_SHARDS_MAX = 64,
    LW_PAGE_MESSAGES_MAX = 40000,
    LW_PAGE_SPANS_MAX = 20000,
    LW_PAGE_TXNS_MAX = 20000,
    LW_PAGE_EVENTS_MAX = 8000,
    LW_PAGE_TEXT_SIZE = 96,
};

/* What is sent. The page's script knows them by these numbers. */
typedef enum lw_page_kind {
    LW_PAGE_VOTE, /* and pre-votes, and their answers */
    LW_PAGE_APPEND,
    LW_PAGE_ACKNOWLEDGE,
    LW_PAGE_HEARTBEAT,
    LW_PAGE_OTHER_RAFT,
    LW_PAGE_REQUEST, /* of a client to a node */
    LW_PAGE_ANSWER,
    LW_PAGE_GOSSIP,
    LW_PAGE_KINDS,
} lw_page_kind;

/* How a machine is, for some time. */
typedef enum lw_page_state {
    LW_PAGE_STARTING,
    LW_PAGE_UP,
    LW_PAGE_PAUSED,
    LW_PAGE_CUT, /* the way to another */
    LW_PAGE_LEADING,
} lw_page_state;

typedef struct lw_page lw_page;

/* `now_ns` is the world's time. */
lw_page *lw_page_open(lw_memory *memory, const uint64_t *now_ns);
void lw_page_close(lw_page *page);
/* A lane for a machine, in the order of these calls; `is_node` or a client's. */
void lw_page_add_lane(lw_page *page, const char *host, bool is_node);

/* ---- while it runs: all of these do nothing when `page` is NULL -------------------------------
 */

/* A machine is like this from now on: `on`, or not any more. `detail` tells spans of one state
 * apart: of LEADING the shard, of CUT the other's name as lw_page_name has it. */
void lw_page_state_set(lw_page *page, const char *host, lw_page_state state, uint64_t detail,
                       uint64_t number, bool on);
/* It is not in any state that a process has: that ended. */
void lw_page_ended(lw_page *page, const char *host);
/* It is paused from now on until then. */
void lw_page_paused(lw_page *page, const char *host, uint64_t until_ns);
/* A message between nodes, as Raft has it, when it is sent and when it comes. */
void lw_page_raft(lw_page *page, const char *host, uint64_t from, uint64_t to, bool sent,
                  lw_bytes bytes);
/* A message that has come. Between nodes only those of the bus are drawn. */
void lw_page_came(lw_page *page, const char *from, const char *to, bool bus, uint64_t sent_ns,
                  size_t size);
/* A transaction begins: its number, from 1, or 0 if there is no room. */
uint32_t lw_page_txn_begin(lw_page *page, const char *host, const char *kind, uint32_t process);
void lw_page_txn_end(lw_page *page, uint32_t number, const char *outcome);
/* Something that is worth a mark: a fault, or what a machine went through. */
void lw_page_event(lw_page *page, const char *host, const char *what, const char *text);
/* Says more about the last one. */
void lw_page_explain(lw_page *page, const char *text);
/* A promise was broken, now. */
void lw_page_fail(lw_page *page, const char *text);

/* ---- at the end -------------------------------------------------------------------------------
 */

/* Writes the page but for its end. `failures` are lines, of which those were not told by
 * lw_page_fail are put where the transaction that they name ended, or at the end. `history` may be
 * NULL. */
void lw_page_write(lw_page *page, const char *title, const char *about, lw_bytes failures,
                   const struct lw_history *history, FILE *to);
/* Ends a page; of a run that was cut short with what happened, else `failure` is NULL. */
void lw_page_finish(const char *failure, FILE *to);

#endif
