/* SPDX-License-Identifier: Apache-2.0 */
/* The nodes that a client may ask: those it was told of when it was opened, and those it has heard
 * of since, each with its link. All links are of one session, whose number the client chooses, so
 * that what it holds on several nodes is held by one client. Which node to ask next is decided
 * here; asking is client/call.c. No I/O but for closing.
 *
 * Invariants
 * N1. There is one contact for each address, and never a link to each of two addresses of one node:
 *     a node serves a session on one connection only.
 * N2. A contact stays where it is until the client closes. */
#ifndef LW_CONTACTS_H
#define LW_CONTACTS_H

#include "client/link.h"

enum { LW_CONTACT_COUNT_MAX = 1024 };

typedef struct lw_contact {
    lw_link link;
    uint64_t node;            /* 0: not known */
    uint64_t failed;          /* when it was last of no use: number of that failure; 0: never */
    uint64_t broken;          /* the same, of those when it could not be reached, or went away */
    struct lw_contact *alias; /* the same node's other address, which is used; NULL: this one */
} lw_contact;

typedef struct lw_contacts {
    lw_env *env;
    lw_bytes label;   /* the owner's */
    uint64_t session; /* 0: not chosen yet */
    lw_contact **all; /* as they were heard of */
    uint32_t count, capacity;
    uint64_t failures; /* of all of them, counted */
} lw_contacts;

lw_contacts lw_contacts_in(lw_env *env, lw_bytes label);
LW_YIELDS void lw_contacts_reset(lw_contacts *contacts);
/* Closes all connections; what comes next is another session. */
LW_YIELDS void lw_contacts_abandon(lw_contacts *contacts);

/* The contact at "HOST:PORT", made if it is not there. NULL: there are too many, or that is no
 * address. */
lw_contact *lw_contacts_at(lw_contacts *contacts, lw_bytes address);
/* The contact of a node, of several that which failed the longest ago; NULL if none is known. */
lw_contact *lw_contacts_of(const lw_contacts *contacts, uint64_t node);
/* A node is to be found at an address. */
void lw_contacts_learn(lw_contacts *contacts, uint64_t node, lw_bytes address);

/* How long the past can be read on all nodes that said so; 0: none did. */
uint64_t lw_contacts_retention_ms(const lw_contacts *contacts);

/* Whom to ask about a shard (NULL: anything): its leader, if that is known and was not found broken
 * after failure number `since`. Else whoever has not failed since then, rather one with a
 * connection, rather one that holds a replica, rather one whose failure is long past. */
lw_contact *lw_contacts_choose(lw_contacts *contacts, const lw_shard_descriptor *shard,
                               uint64_t since);
/* Whether there is one that has not failed after `since`, nor broken after `began`. */
bool lw_contacts_untried(const lw_contacts *contacts, uint64_t since, uint64_t began);
/* Before a call over its link. */
void lw_contacts_prepare(lw_contacts *contacts, lw_contact *contact);
/* After it: whoever greeted us is known now (N1). */
LW_YIELDS void lw_contacts_greeted(lw_contacts *contacts, lw_contact *contact);
/* It was of no use: it could not be reached or went away, or it could not help. */
void lw_contacts_fail(lw_contacts *contacts, lw_contact *contact, bool broken);

#endif
