/* SPDX-License-Identifier: Apache-2.0 */
/* The file IDENTITY of a data folder: who the node is, and the secrets of the lattice it belongs
 * to. Written at the first start; then only the incarnation changes, which rises durably with every
 * start (hazard G1), and the lattice once, when a newcomer has been taken in.
 *
 *   "LWID" · format u32 · lattice id 16 bytes (8 random, and its founder's node id) · seed 32 bytes
 * (Ed25519, secret) · incarnation u64 · exchange secret 32 bytes (X25519) · key epoch u32 · lattice
 * key 32 bytes · crc32c u32 of all before
 *
 * Format 4, while the lattice's key is being changed: as above, but before the checksum three times
 * (epoch u32 · key 32 bytes), of keys that count besides; epoch 0: none.
 *
 * Format 2, which had neither exchange secret nor key, is read, and replaced by the start that
 * reads it. Key epoch 0: the folder was made for a node that is to join a lattice, and was not
 * taken in yet. Replaced as a whole: written beside, synced, renamed, directory synced. Mode 0600.
 */
#ifndef LW_IDENTITY_H
#define LW_IDENTITY_H

#include "base/env.h"
#include "base/seal.h"

enum {
    LW_CLUSTER_ID_SIZE = LW_SHARED_ID_SIZE,
    LW_FOLDER_FORMAT = 3,
    LW_FOLDER_FORMAT_KEYS = 4, /* with more than one key */
    LW_OTHER_KEYS_MAX = 3,
};

typedef struct lw_node_identity {
    lw_shared_key lattice;                   /* the one in use; its id is the cluster's */
    lw_shared_key others[LW_OTHER_KEYS_MAX]; /* that are accepted besides (node/lattice_keys.c) */
    uint32_t other_count;
    lw_identity keys;
    uint8_t exchange_secret[LW_EXCHANGE_SIZE]; /* of links (lattice/noise.h) */
    uint8_t exchange_public[LW_EXCHANGE_SIZE];
    uint64_t node_id; /* lw_identity_number of the public key */
    uint64_t incarnation;
} lw_node_identity;

/* Reads the identity of `directory`, or makes a new one, of a lattice of its own, from the env's
 * entropy, and raises the incarnation. LW_REFUSED for a format that is unknown, and for a folder
 * whose node was to join a lattice and has not yet; LW_CORRUPTION for a damaged file. */
LW_MUST_USE LW_YIELDS lw_status lw_identity_open(lw_env *env, const char *directory,
                                                 lw_node_identity *identity);
/* The same for a node that is to join a lattice: a new identity belongs to none (key epoch 0), and
 * such a one may be opened. A folder that has a lattice is opened as it is: `lattice` says which.
 */
LW_MUST_USE LW_YIELDS lw_status lw_identity_open_to_join(lw_env *env, const char *directory,
                                                         lw_node_identity *identity);
/* A node that was opened to join has been taken in: makes that durable, and puts it into
 * `identity`, which had no lattice. */
LW_MUST_USE LW_YIELDS lw_status lw_identity_adopt(lw_env *env, const char *directory,
                                                  const lw_shared_key *lattice,
                                                  lw_node_identity *identity);
/* The lattice's keys are these from now on: makes that durable, and puts them into `identity`. */
LW_MUST_USE LW_YIELDS lw_status lw_identity_set_keys(lw_env *env, const char *directory,
                                                     const lw_shared_key *used,
                                                     const lw_shared_key *others,
                                                     uint32_t other_count,
                                                     lw_node_identity *identity);
/* The key of an epoch; NULL: it has none. */
const lw_shared_key *lw_identity_key(const lw_node_identity *identity, uint32_t epoch);
/* Whether this node founded its lattice, and so has to make its first shard. */
bool lw_identity_founded(const lw_node_identity *identity);
/* Reads it without opening it: a node may be running. Wipe it. LW_NOT_FOUND if there is none, and
 * LW_CORRUPTION. */
LW_MUST_USE LW_YIELDS lw_status lw_identity_read(lw_env *env, const char *directory,
                                                 lw_node_identity *identity);
/* Whether it could be opened; changes nothing. The same statuses, and LW_NOT_FOUND if there is
 * none.
 */
LW_MUST_USE LW_YIELDS lw_status lw_identity_check(lw_env *env, const char *directory);

#endif
