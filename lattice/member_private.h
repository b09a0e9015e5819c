/* SPDX-License-Identifier: Apache-2.0 */
/* What member.c and member_sign.c share. Signing lies apart, so that clients, which read records
 * and judge none, come without cryptography. */
#ifndef LW_MEMBER_PRIVATE_H
#define LW_MEMBER_PRIVATE_H

#include "lattice/member.h"

enum {
    LW_MEMBER_VERSION = 1,
    LW_MEMBER_RECORD_FIELDS = 2,
    LW_MEMBER_SIGNED_FIELDS = 14,
    LW_MEMBER_KEYLESS_FIELDS = 13,  /* of before keys could be changed */
    LW_MEMBER_NAMELESS_FIELDS = 11, /* of before there were names */
};

/* A record taken apart; views point into it. */
typedef struct lw_member_parts {
    lw_bytes content; /* that was signed */
    lw_bytes signature, cluster_id;
    lw_member member;
} lw_member_parts;

/* LW_INVALID_ARGUMENT if it is not well-formed. */
LW_MUST_USE lw_status lw_member_read(lw_bytes record, lw_member_parts *parts);
/* Whether a member's fields are within their bounds. */
bool lw_member_sound(const lw_member *member);

#endif
