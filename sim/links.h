/* SPDX-License-Identifier: Apache-2.0 */
/* Scenario `links`: nodes that are links to each other and nothing else, a server and peers of the
 * production code (node/peers.h), in hostile company. They talk all the time, are ended and started
 * again, stop, and are cut off from each other for seconds without a word; all of them come to
 * other addresses at once. An intruder, who has not the lattice's key, says garbage, floods a node
 * with connections, stands between two nodes, where it changes bytes and ends connections, plays
 * what it has recorded again, also to a later run, and wants to join with tokens that are too old,
 * of another lattice, or revoked. The lattice's key is changed meanwhile. An old copy of a node's
 * folder is started while the node is down. Two processes of one machine want their link plain, or
 * not, or do not agree.
 *
 *   links_node.c      a process, and what it says
 *   links_keys.c      the lattice's key is changed
 *   links_intruder.c  who does not belong there
 *   links.c           the run: what strikes, and what is looked at
 *
 * Judged:
 * 1. What arrives was said by the node that it is from, once, in order, and by no older incarnation
 *    than one that was heard; an answer is that of its question (hazards X1, X3, G1).
 * 2. No stranger takes more memory of a node than strangers may (X8).
 * 3. Who is watched and cannot be heard is known to be down within seconds (G6).
 * 4. Nobody joins without a token that is good, who has one is not refused, and a link that one of
 * two wants protected is not plain (X2).
 * 5. Who has a link from a node soon has one to it: nothing of before is waited for (G6).
 * 6. Nobody is told that it runs twice who does not; in peace, all are linked within seconds. */
#ifndef LW_SIM_LINKS_H
#define LW_SIM_LINKS_H

#include "node/peers.h"
#include "node/server.h"
#include "sim/run.h"

enum {
    LINKS_NODES_MAX = 4,
    LINKS_COPY = LINKS_NODES_MAX,     /* an old copy of one of them */
    LINKS_PAIR = LINKS_NODES_MAX + 1, /* two processes of one machine */
    LINKS_PROCESSES = LINKS_NODES_MAX + 3,
    LINKS_PORT = 7871,
    LINKS_TOKEN_GOOD = 7, /* ids */
    LINKS_TOKEN_REVOKED = 13,
    LINKS_RECORD_SIZE = 8192,
};

/* How far a node has come with the lattice's next key. */
enum {
    LINKS_KEY_BEFORE,
    LINKS_KEY_ACCEPTED, /* beside the one before, which it uses */
    LINKS_KEY_USED,     /* and the one before accepted */
    LINKS_KEY_FORGOTTEN /* is the one before */
};

struct lw_sim_links;

/* Whom a process has heard last. */
typedef struct links_heard {
    uint64_t incarnation, life, number;
} links_heard;

typedef struct links_node {
    struct lw_sim_links *of;
    uint32_t place; /* among all processes */
    uint32_t as;    /* the node that it is, or was */
    lw_host *host;
    uint64_t id;
    uint64_t incarnation; /* of the process that runs, or ran last */
    uint32_t port;
    char address[32];
    bool plain;
    uint32_t key_state;

    /* Of the process. */
    lw_env *env; /* NULL: none runs */
    lw_node_identity identity;
    lw_server *server;
    lw_peers *peers;   /* NULL: not open yet */
    uint64_t life;     /* never the same twice */
    uint64_t number;   /* of what it said last */
    uint64_t awake_ns; /* since when it runs without a stop */
    uint64_t dies;     /* the life that is to end amid a stop */
    links_heard heard[LINKS_NODES_MAX];
} links_node;

typedef struct lw_sim_links {
    lw_sim_trial *of;
    lw_memory *memory;
    uint32_t node_count;
    links_node nodes[LINKS_PROCESSES];
    lw_shared_key key, other_key; /* the lattice's, before the one that comes; no lattice's */
    uint64_t lives;
    /* What this run has. */
    bool watched, between, floods, garbage, joins, copies, cuts, moves, pairs, changes;
    bool copying; /* an old copy runs: others do not end meanwhile */
    uint64_t silent_ns[LINKS_NODES_MAX]
                      [LINKS_NODES_MAX]; /* since when one cannot hear another; 0 */
    uint64_t one_way_ns[LINKS_NODES_MAX]
                       [LINKS_NODES_MAX]; /* since when one has no link to another that has; 0 */
    uint64_t arrived;                     /* messages */
    lw_env *intruder;
    lw_chance chance; /* of the intruder */
    uint8_t record[LINKS_RECORD_SIZE];
    size_t record_size;
    uint32_t dialled; /* through who stands between */
} lw_sim_links;

void lw_sim_links_begin(lw_sim_trial *it);
void lw_sim_links_run(lw_sim_trial *it);
void lw_sim_links_end(lw_sim_trial *it);

/* ---- links_node.c -----------------------------------------------------------------------------
 */

void links_identity(const lw_shared_key *key, uint32_t number, lw_node_identity *identity);
/* Starts the process, in this incarnation. `seeks`: it knows others only where they were. */
void links_boot(links_node *node, uint64_t incarnation, bool seeks);
/* The node's process runs, and links can be looked at. */
bool links_up(const links_node *node);

/* ---- links_keys.c -----------------------------------------------------------------------------
 */

/* Gives the process the keys that it has come to. */
void links_put_keys(links_node *node);
/* The highest key that any node uses. */
void links_newest_key(const lw_sim_links *of, lw_shared_key *key);
/* Some go on with the change of the key. */
void links_change_keys(lw_sim_links *of);

/* ---- links_intruder.c -------------------------------------------------------------------------
 */

void links_intrude(lw_sim_links *of);

#endif
