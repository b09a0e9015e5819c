/* SPDX-License-Identifier: Apache-2.0 */
/* The file IDENTITY of a data folder: who the node is. Written once, at the first start, except for
 * the incarnation, which rises durably with every start (hazard G1).
 *
 *   "LWID" · format u32 · cluster id 16 bytes · seed 32 bytes (Ed25519, secret) · incarnation u64 ·
 *   crc32c u32 of all before
 *
 * Replaced as a whole: written beside, synced, renamed, directory synced. Mode 0600. */
#ifndef LW_IDENTITY_H
#define LW_IDENTITY_H

#include "base/env.h"
#include "base/seal.h"

enum { LW_CLUSTER_ID_SIZE = 16, LW_FOLDER_FORMAT = 2 };

typedef struct lw_node_identity {
    uint8_t cluster_id[LW_CLUSTER_ID_SIZE];
    lw_identity keys;
    uint64_t node_id; /* from the public key: the first 8 bytes of its digest */
    uint64_t incarnation;
} lw_node_identity;

/* Reads the identity of `directory`, or makes a new one from the env's entropy, and raises the
 * incarnation. LW_REFUSED for another format, older or newer, LW_CORRUPTION for a damaged file. */
LW_MUST_USE LW_YIELDS lw_status lw_identity_open(lw_env *env, const char *directory,
                                                 lw_node_identity *identity);
/* Whether it could be opened; changes nothing. The same statuses, and LW_NOT_FOUND if there is
 * none.
 */
LW_MUST_USE LW_YIELDS lw_status lw_identity_check(lw_env *env, const char *directory);

#endif
