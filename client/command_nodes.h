/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands about a lattice share: the members, by what people call them, and how the
 * lattice is. */
#ifndef LW_COMMAND_NODES_H
#define LW_COMMAND_NODES_H

#include "client/command.h"
#include "client/operate_lattice.h"

enum { LW_HEALTH_MOVING_MAX = 16 };

/* A member, as far as commands care. */
typedef struct lw_known_node {
    uint64_t node;
    lw_member_state state;
    bool self, linked;
    uint64_t heard_ms, linked_ms;
    lw_member_load load;
    char address[LW_MEMBER_ADDRESS_MAX + 1];
    char zone[LW_MEMBER_ZONE_MAX + 1];
    char label[LW_MEMBER_LABEL_SIZE]; /* its name, or else its id */
    bool lags;
    int64_t clock_ahead_ms; /* 0: its wall clock is right, as far as is known */
    uint32_t key_epochs[LW_MEMBER_KEYS_MAX], key_count; /* as in its record */
} lw_known_node;

typedef struct lw_known_nodes {
    lw_memory *memory;
    lw_known_node *nodes; /* as people count: n2 before n10; those that are gone among them */
    uint32_t count, capacity;
} lw_known_nodes;

/* Asks for the members. */
LW_MUST_USE LW_YIELDS lw_status lw_known_nodes_ask(lw_client *client, lw_known_nodes *known);
void lw_known_nodes_reset(lw_known_nodes *known);
const lw_known_node *lw_known_nodes_find(const lw_known_nodes *known, uint64_t node);
/* Prints a row for each that is not gone: the answer to lathwork nodes. */
void lw_known_nodes_print(lw_command *command, const lw_known_nodes *known);
/* What people call a node; its id if it is not known. Returns `label`. */
const char *lw_known_nodes_label(const lw_known_nodes *known, uint64_t node,
                                 char label[LW_MEMBER_LABEL_SIZE]);
/* lw_command_fail_client, with names where the client's words have ids. */
lw_exit lw_known_nodes_fail(lw_command *command, lw_status status, const lw_client *client,
                            const lw_known_nodes *known, const char *what);
/* The member that a word means: its name, its address, or the first digits of its id, at least two,
 * if that is no other's. Of those that are gone only if no live one is meant. LW_INVALID_ARGUMENT,
 * in words that list the members. */
LW_MUST_USE lw_status lw_known_nodes_name(const lw_known_nodes *known, const char *word,
                                          const lw_known_node **found);
/* Whether the asked node reaches it. */
static inline bool lw_known_node_up(const lw_known_node *node) {
    return node->state != LW_MEMBER_GONE && (node->self || node->linked);
}

/* Why a member that is up does not count; NULL: it does. */
const char *lw_known_node_ailment(const lw_known_node *node);
/* What there is to say of its wall clock; NULL: nothing. Returns `words`. */
const char *lw_known_node_clock(const lw_known_nodes *known, const lw_known_node *node,
                                char words[LW_MEMBER_CLOCK_SIZE]);
/* Whether what it holds helps when another one is lost. */
static inline bool lw_known_node_counts(const lw_known_node *node) {
    return lw_known_node_up(node) && lw_known_node_ailment(node) == NULL;
}

/* A shard that nodes come to, or go from; 0: none does. */
typedef struct lw_moving_shard {
    uint64_t shard, comes, goes;
} lw_moving_shard;

/* How the lattice is, as the asked node sees it. */
typedef struct lw_health {
    uint32_t node_count; /* without those that are gone */
    uint32_t down_count;
    uint64_t shard_count;
    uint64_t moving_count; /* shards that nodes come to, or go from: the first ones are */
    lw_moving_shard moving[LW_HEALTH_MOVING_MAX];
    uint64_t merging_count;   /* shards that just become one with another */
    uint64_t repairing_count; /* replicas that are damaged, and come anew */
    uint64_t snapshot_count;  /* that are under way */
    uint32_t wrong_count;     /* nodes with a wrong wall clock: they do no harm */
    uint32_t ailing_count;    /* that are up, and do not count */
    uint64_t weak_count;      /* shards with voters that are down, or do not count */
    uint64_t lost_count;      /* of these, those without a majority: they cannot be used */
    uint32_t spare_nodes;     /* that each shard can lose, whichever they are */
    char down[LW_MEMBER_LABEL_SIZE + LW_MEMBER_ADDRESS_MAX + 4];     /* one that is down, or "" */
    char ailing[LW_MEMBER_LABEL_SIZE + LW_MEMBER_ADDRESS_MAX + 160]; /* one, why, and what to do */
    char wrong[LW_MEMBER_LABEL_SIZE + LW_MEMBER_ADDRESS_MAX + LW_MEMBER_CLOCK_SIZE + 8];
} lw_health;

/* `known` gets the members. */
LW_MUST_USE LW_YIELDS lw_status lw_health_ask(lw_client *client, lw_known_nodes *known,
                                              lw_health *health);
/* "healthy", "degraded" or "unavailable". */
const char *lw_health_name(const lw_health *health);

#endif
