/* SPDX-License-Identifier: Apache-2.0 */
/* What became of a transaction whose commit was not answered. A token names it: its start timestamp
 * and its primary key, where it is decided. */
#include "client/resolve.h"

static int hex_digit(char digit) {
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                          : -1;
}

/* Reads "START-PRIMARY", both in hexadecimal. */
static lw_status read_token(const char *token, uint64_t *start, lw_buffer *primary) {
    size_t size = strlen(token);
    bool good =
        size > 17 && token[16] == '-' && size % 2 == 1 && size <= 17 + 2 * (size_t)LW_KEY_SIZE_MAX;
    *start = 0;
    for (size_t index = 0; good && index < size; index += index < 16 ? 1 : 2) {
        index += index == 16;
        int high = hex_digit(token[index]);
        int low = index < 16 ? 0 : hex_digit(token[index + 1]);
        good = high >= 0 && low >= 0;
        if (index < 16) {
            *start = *start << 4 | (uint64_t)high;
        } else {
            lw_buffer_append_u8(primary, (uint8_t)(high << 4 | low));
        }
    }
    if (!good || *start == 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "this is not a transaction's token");
    }
    return LW_OK;
}

/* LW_OK: committed; LW_NOT_FOUND: aborted; LW_UNDETERMINED: neither yet. */
LW_YIELDS static lw_status outcome(lw_client *client, const char *token, bool decide,
                                   uint64_t *commit_timestamp) {
    lw_buffer primary = lw_buffer_in(client->env->memory);
    lw_fate fate = LW_FATE_ALIVE;
    uint64_t start, committed = 0;
    lw_status status = read_token(token, &start, &primary);
    if (status == LW_OK) {
        status = lw_client_resolve(client, start, lw_buffer_view(&primary), 0, decide,
                                   lw_client_deadline(client, 0), &fate, &committed);
    }
    lw_buffer_reset(&primary);
    if (status == LW_NOT_FOUND) { /* of something at the node: that promises nothing */
        return lw_fail_in(LW_UNAVAILABLE, "its fate could not be learned");
    }
    LW_TRY(status);
    if (fate == LW_FATE_ALIVE) {
        return decide ? lw_fail(LW_INTERNAL, "the node left the transaction undecided")
                      : lw_fail(LW_UNDETERMINED, "the transaction may still be committed");
    }
    if (fate == LW_FATE_ABORTED) {
        return LW_NOT_FOUND;
    }
    *commit_timestamp = committed;
    return LW_OK;
}

lw_status lw_txn_outcome(lw_client *client, const char *token, uint64_t *commit_timestamp) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, outcome(client, token, true, commit_timestamp));
}

lw_status lw_txn_peek(lw_client *client, const char *token, uint64_t *commit_timestamp) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, outcome(client, token, false, commit_timestamp));
}

const char *lw_undetermined_token(const lw_client *client) {
    return client->token.size == 0 ? "" : (const char *)client->token.data;
}
