/* SPDX-License-Identifier: Apache-2.0 */
/* The node: everything of one process, tied together on one env: folder, identity, log, store,
 * shards, server. The simulator opens many of these in one process. */
#ifndef LW_NODE_H
#define LW_NODE_H

#include "lattice/bus.h"
#include "node/shards.h"

typedef struct lw_node lw_node;

typedef struct lw_node_options {
    const char *directory;
    const char *listen;      /* "HOST:PORT"; port 0 takes a free one */
    size_t memory_size;      /* bytes: the limit of storage/budget.h; 0: 64 MiB */
    uint64_t retention_ms;   /* how long the past can be read: see node/gc.h; 0: 10 minutes */
    uint64_t shard_size;     /* bytes from which a shard is split; 0: 128 MiB */
    uint64_t merge_after_ms; /* see lw_shards_options */
    uint64_t shard_rate;     /* requests a second from which it may be; 0: 2500 */
    const char *version;     /* of the program, told to clients */

    /* The lattice. A folder without an identity founds one of its own, unless it is to join. */
    const char *join;        /* "HOST:PORT" of a member, or several with commas; NULL: nobody's */
    const char *token;       /* text of the token that lets it in; needed once */
    const char *zone;        /* failure domain; NULL: none */
    const char *name;        /* for people; NULL: the one it has, or a free one such as n4 */
    uint64_t capacity;       /* bytes it is meant for: its share goes by it; 0: as others */
    uint32_t voters;         /* replicas of each shard: 1, 3 or 5; 0: 3 */
    lw_halted halted;        /* what becomes of replicas that differ: see node/shards_judge.c */
    uint64_t scrub_every_ms; /* a whole pass of node/scrub.h; 0: a week */
    uint64_t dead_after_ms;  /* until what a lost node held is rebuilt elsewhere; 0: 5 minutes */
    uint64_t election_timeout_ms; /* the same on all nodes; 0: a second */
    uint32_t drift_ppm;           /* by which clocks may be fast or slow at most; 0: 2000 */
    bool plain;                   /* see lw_peers_options */
    lw_bus_opener open_bus;       /* NULL: there is none */
    void *bus_argument;

    /* Called once when the node has died of a failed disk, with the reason. The process ends; what
     * was acknowledged is on disk. */
    void (*died)(void *argument, const lw_error *reason);
    void *argument;
} lw_node_options;

/* Opens the folder, recovers, listens, and serves from then on. Strings are copied.
 * LW_REFUSED, LW_CORRUPTION, LW_FULL, LW_INVALID_ARGUMENT with the reason; nothing is left open
 * then. */
LW_MUST_USE LW_YIELDS lw_status lw_node_open(lw_env *env, const lw_node_options *options,
                                             lw_node **node);
/* Stops listening, ends connections once their requests are answered, flushes nothing, closes the
 * log cleanly, frees. */
LW_YIELDS void lw_node_close(lw_node *node);
/* Whether the options hold a token, as whoever joins needs one: to be asked before its folder is
 * made. LW_INVALID_ARGUMENT. */
LW_MUST_USE lw_status lw_node_may_join(const lw_node_options *options);
/* Where it listens, with the port it got. Lives as long as the node. */
const char *lw_node_address(const lw_node *node);
/* Makes a token that lets a node into its lattice for so long (0: for ever). */
enum { LW_NODE_TOKEN_SIZE = 105 };
void lw_node_token(const lw_node *node, uint64_t lifetime_ms, char text[LW_NODE_TOKEN_SIZE]);
/* For tests and simulations, which look at what it holds and knows: its id, its shards (NULL while
 * it closes), a digest of what it knows of all members, whether each of them has a name of its own,
 * and how many shards it has handed over to other leaders. */
uint64_t lw_node_id(const lw_node *node);
struct lw_shards *lw_node_shards(const lw_node *node);
uint64_t lw_node_members_digest(const lw_node *node);
uint64_t lw_node_handed(const lw_node *node);
/* The lattice's key that it uses, by its epoch; and whether it has that of an epoch, used or not.
 */
uint32_t lw_node_key_epoch(const lw_node *node);
bool lw_node_has_key(const lw_node *node, uint32_t epoch);
bool lw_node_names_differ(const lw_node *node);
/* Its account of itself, one JSON object, appended. */
void lw_node_status_json(lw_node *node, lw_buffer *json);

#endif
