/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens and the keys that follow from the lattice's, each for one purpose. */
#include "lattice/token.h"

#include <stdio.h>

enum {
    FORMAT = 1,
    FORMAT_AT = 0,
    ROLE_AT = 1,
    EPOCH_AT = 2,
    ID_AT = 6,
    EXPIRES_AT = 14,
    LATTICE_AT = 22,
    SECRET_AT = LW_TOKEN_CLAIMS_SIZE,
    CHECK_AT = SECRET_AT + LW_TOKEN_SECRET_SIZE,
    CHECK_SIZE = 4,
    BYTES_SIZE = CHECK_AT + CHECK_SIZE,
};
static const char prefix[] = "lwt1.";

_Static_assert(LATTICE_AT + LW_SHARED_ID_SIZE == LW_TOKEN_CLAIMS_SIZE, "the claims");
_Static_assert(sizeof(prefix) - 1 + LW_TEXT64_SIZE(BYTES_SIZE) == LW_TOKEN_TEXT_SIZE, "the text");

/* ---- keys --------------------------------------------------------------------------------- */

/* What a key is for is part of it, so that one is never good for another purpose. */
static void derive(const lw_shared_key *lattice, const char *purpose,
                   uint8_t key[LW_SHARED_KEY_SIZE]) {
    uint8_t message[32 + 4 + LW_SHARED_ID_SIZE];
    size_t size = strlen(purpose);
    LW_ASSERT(size <= 32);
    memcpy(message, purpose, size);
    lw_put_u32(message + size, lattice->epoch);
    memcpy(message + size + 4, lattice->id, LW_SHARED_ID_SIZE);
    lw_digest_keyed(lattice->key, lw_view(message, size + 4 + LW_SHARED_ID_SIZE), key);
}

void lw_lattice_node_key(const lw_shared_key *lattice, uint8_t key[LW_SHARED_KEY_SIZE]) {
    derive(lattice, "lathwork links of nodes", key);
}

void lw_lattice_wrap_key(const lw_shared_key *lattice, uint8_t key[LW_SHARED_KEY_SIZE]) {
    derive(lattice, "lathwork keys that follow", key);
}

static void find_secret(const lw_shared_key *lattice, lw_token *token) {
    uint8_t key[LW_SHARED_KEY_SIZE], claims[LW_TOKEN_CLAIMS_SIZE];
    derive(lattice, "lathwork tokens", key);
    lw_token_claims(token, claims);
    lw_digest_keyed(key, lw_view(claims, sizeof(claims)), token->secret);
    lw_seal_wipe(key, sizeof(key));
}

/* ---- claims ------------------------------------------------------------------------------- */

void lw_token_make(const lw_shared_key *lattice, lw_token_role role, uint64_t id,
                   uint64_t expires_ms, lw_token *token) {
    LW_ASSERT(lattice->epoch > 0);
    *token =
        (lw_token){.role = role, .key_epoch = lattice->epoch, .id = id, .expires_ms = expires_ms};
    memcpy(token->cluster_id, lattice->id, LW_SHARED_ID_SIZE);
    find_secret(lattice, token);
}

void lw_token_claims(const lw_token *token, uint8_t claims[LW_TOKEN_CLAIMS_SIZE]) {
    claims[FORMAT_AT] = FORMAT;
    claims[ROLE_AT] = (uint8_t)token->role;
    lw_put_u32(claims + EPOCH_AT, token->key_epoch);
    lw_put_u64(claims + ID_AT, token->id);
    lw_put_u64(claims + EXPIRES_AT, token->expires_ms);
    memcpy(claims + LATTICE_AT, token->cluster_id, LW_SHARED_ID_SIZE);
}

static lw_status read_claims(const uint8_t *claims, lw_token *token) {
    if (claims[FORMAT_AT] != FORMAT || claims[ROLE_AT] != LW_TOKEN_JOIN) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the token is of a kind that this version does not know (format %u, role "
                       "%u): use the version of Lathwork that made it",
                       claims[FORMAT_AT], claims[ROLE_AT]);
    }
    token->role = (lw_token_role)claims[ROLE_AT];
    token->key_epoch = lw_get_u32(claims + EPOCH_AT);
    token->id = lw_get_u64(claims + ID_AT);
    token->expires_ms = lw_get_u64(claims + EXPIRES_AT);
    memcpy(token->cluster_id, claims + LATTICE_AT, LW_SHARED_ID_SIZE);
    return LW_OK;
}

lw_status lw_token_check(const lw_shared_key *lattice, uint64_t now_ms,
                         const uint8_t claims[LW_TOKEN_CLAIMS_SIZE], lw_token *token) {
    lw_token read = {0};
    LW_TRY(read_claims(claims, &read));
    if (!lw_equal(lw_view(read.cluster_id, LW_SHARED_ID_SIZE),
                  lw_view(lattice->id, LW_SHARED_ID_SIZE))) {
        return lw_fail(LW_REFUSED,
                       "the token is of another lattice: make one with `lathwork token` "
                       "at a node of this one");
    }
    if (read.key_epoch > lattice->epoch) {
        return lw_fail(
            LW_UNAVAILABLE,
            "the token is of key epoch %u, and this node has heard of none behind %u yet",
            read.key_epoch, lattice->epoch);
    }
    if (read.key_epoch != lattice->epoch) {
        return lw_fail(LW_REFUSED,
                       "the token is of key epoch %u, the lattice is at %u: make a new one with "
                       "`lathwork token`",
                       read.key_epoch, lattice->epoch);
    }
    if (read.expires_ms != 0 && now_ms >= read.expires_ms) {
        uint64_t minutes = (now_ms - read.expires_ms) / 60000;
        char ago[32] = "less than a minute";
        if (minutes > 0) {
            (void)snprintf(ago, sizeof(ago), "%llu minute%s", (unsigned long long)minutes,
                           minutes == 1 ? "" : "s");
        }
        return lw_fail(LW_REFUSED, "the token expired %s ago: make a new one with `lathwork token`",
                       ago);
    }
    find_secret(lattice, &read);
    *token = read;
    return LW_OK;
}

/* ---- text --------------------------------------------------------------------------------- */

static void checksum(const uint8_t bytes[BYTES_SIZE], uint8_t check[CHECK_SIZE]) {
    uint8_t digest[LW_DIGEST_SIZE];
    lw_digest(lw_view(bytes, CHECK_AT), digest);
    memcpy(check, digest, CHECK_SIZE);
}

void lw_token_print(const lw_token *token, char text[LW_TOKEN_TEXT_SIZE]) {
    uint8_t bytes[BYTES_SIZE];
    lw_token_claims(token, bytes);
    memcpy(bytes + SECRET_AT, token->secret, LW_TOKEN_SECRET_SIZE);
    checksum(bytes, bytes + CHECK_AT);
    memcpy(text, prefix, sizeof(prefix) - 1);
    lw_text64_print(lw_view(bytes, BYTES_SIZE), text + sizeof(prefix) - 1);
    lw_seal_wipe(bytes, sizeof(bytes));
}

static bool is_space(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static lw_bytes trim(lw_bytes text) {
    while (text.size > 0 && is_space(text.data[0])) {
        text = lw_view(text.data + 1, text.size - 1);
    }
    while (text.size > 0 && is_space(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

lw_status lw_token_parse(lw_bytes text, lw_token *token) {
    lw_bytes start = lw_text(prefix);
    text = trim(text);
    if (!lw_starts_with(text, start)) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "this is no token: a token begins with \"%s\" and is "
                       "made with `lathwork token`",
                       prefix);
    }
    uint8_t bytes[BYTES_SIZE], check[CHECK_SIZE] = {0};
    text = lw_view(text.data + start.size, text.size - start.size);
    bool whole = lw_text64_parse(text, bytes, BYTES_SIZE);
    if (whole) {
        checksum(bytes, check);
    }
    lw_token read = {0};
    lw_status status = LW_OK;
    if (!whole || !lw_seal_equal(check, bytes + CHECK_AT, CHECK_SIZE)) {
        status =
            lw_fail(LW_INVALID_ARGUMENT, "the token is not whole: copy all of its %d characters",
                    LW_TOKEN_TEXT_SIZE - 1);
    } else {
        status = read_claims(bytes, &read);
    }
    memcpy(read.secret, bytes + SECRET_AT, whole ? LW_TOKEN_SECRET_SIZE : 0);
    lw_seal_wipe(bytes, sizeof(bytes));
    if (status == LW_OK) {
        *token = read;
    }
    lw_seal_wipe(&read, sizeof(read));
    return status;
}
