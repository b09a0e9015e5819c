/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/revoked.h"

enum { ENTRY_FIELDS = 2 };
#define KEPT_MS (UINT64_C(24) * 3600 * 1000) /* behind its expiry */

lw_revoked lw_revoked_in(lw_memory *memory) {
    return (lw_revoked){.memory = memory};
}

void lw_revoked_reset(lw_revoked *revoked) {
    lw_free(revoked->memory, revoked->tokens);
    *revoked = lw_revoked_in(revoked->memory);
}

static bool forgotten(const lw_revoked_token *token, uint64_t now_ms) {
    return now_ms >= KEPT_MS && token->expires_ms <= now_ms - KEPT_MS;
}

static uint32_t place_of(const lw_revoked *revoked, uint64_t id) {
    uint32_t low = 0, high = revoked->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (revoked->tokens[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_at(const lw_revoked *revoked, uint32_t place, uint64_t id) {
    return place < revoked->count && revoked->tokens[place].id == id;
}

bool lw_revoked_has(const lw_revoked *revoked, uint64_t id) {
    return is_at(revoked, place_of(revoked, id), id);
}

static void insert(lw_revoked *revoked, uint32_t place, lw_revoked_token token) {
    if (revoked->count == revoked->capacity) {
        revoked->capacity = revoked->capacity == 0 ? 8 : 2 * revoked->capacity;
        revoked->tokens = lw_reallocate(revoked->memory, revoked->tokens,
                                        revoked->capacity * sizeof(*revoked->tokens));
    }
    memmove(&revoked->tokens[place + 1], &revoked->tokens[place],
            (revoked->count - place) * sizeof(*revoked->tokens));
    revoked->tokens[place] = token;
    revoked->count++;
}

lw_status lw_revoked_add(lw_revoked *revoked, lw_revoked_token token, uint64_t now_ms, bool *news) {
    uint32_t place = place_of(revoked, token.id);
    bool known = is_at(revoked, place, token.id);
    *news = false;
    if (forgotten(&token, now_ms) ||
        (known && revoked->tokens[place].expires_ms >= token.expires_ms)) {
        return LW_OK;
    }
    if (known) {
        revoked->tokens[place] = token;
    } else if (revoked->count < LW_REVOKED_MAX) {
        insert(revoked, place, token);
    } else {
        return lw_fail(LW_FULL, "%d tokens are revoked already: no more are remembered",
                       LW_REVOKED_MAX);
    }
    *news = true;
    return LW_OK;
}

void lw_revoked_expire(lw_revoked *revoked, uint64_t now_ms) {
    uint32_t kept = 0;
    for (uint32_t index = 0; index < revoked->count; index++) {
        if (!forgotten(&revoked->tokens[index], now_ms)) {
            revoked->tokens[kept++] = revoked->tokens[index];
        }
    }
    revoked->count = kept;
}

void lw_revoked_encode(const lw_revoked *revoked, lw_buffer *page) {
    lw_write_array(page, revoked->count);
    for (uint32_t index = 0; index < revoked->count; index++) {
        lw_write_array(page, ENTRY_FIELDS);
        lw_write_u64(page, revoked->tokens[index].id);
        lw_write_u64(page, revoked->tokens[index].expires_ms);
    }
}

static bool next_entry(lw_reader *reader, lw_revoked_token *token) {
    uint32_t extra = lw_read_array_of(reader, ENTRY_FIELDS);
    token->id = lw_read_u64(reader);
    token->expires_ms = lw_read_u64(reader);
    lw_read_skip(reader, extra);
    return lw_reader_ok(reader);
}

/* Whether it is a page, to its end. */
static bool well_formed(lw_bytes page) {
    lw_reader reader = lw_reader_of(page);
    uint32_t count = lw_read_array(&reader);
    lw_revoked_token token;
    for (uint32_t index = 0; index < count && lw_reader_ok(&reader); index++) {
        (void)next_entry(&reader, &token);
    }
    return lw_reader_done(&reader);
}

lw_status lw_revoked_merge(lw_revoked *revoked, lw_bytes page, uint64_t now_ms, bool *news) {
    *news = false;
    if (!well_formed(page)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a list of revoked tokens is not well-formed");
    }
    lw_reader reader = lw_reader_of(page);
    uint32_t count = lw_read_array(&reader);
    lw_revoked_token token;
    while (count-- > 0 && next_entry(&reader, &token)) {
        bool new_one;
        LW_TRY(lw_revoked_add(revoked, token, now_ms, &new_one));
        *news = *news || new_one;
    }
    return LW_OK;
}
