/* SPDX-License-Identifier: Apache-2.0 */
/* Atomic writes: sent as what is to be done instead of what is to be there, so that nothing needs
 * to be read and nobody is in conflict (txn/atomic.h). Reading such a key in the same transaction
 * turns the write into an ordinary one, of what was read. */
#include "txn/atomic.h"
#include "client/transaction.h"

_Static_assert((int)LW_STAMPED_VALUE_SIZE_MAX == (int)LW_VALUE_SIZE_MAX - LW_STAMP_TAIL_SIZE,
               "a value and its offset fit an operand");
_Static_assert((int)LW_SWAP_SIZE_MAX == (int)LW_VALUE_SIZE_MAX - LW_SWAP_HEAD_SIZE,
               "two values and their head fit an operand");

/* ---- in transactions ------------------------------------------------------------------------ */

/* Makes an atomic write an ordinary one, given what the key has without it, and how long the
 * transaction lets that live. */
static lw_status settle_on(lw_txn *txn, const lw_mutation *atomic, const lw_bytes *base,
                           uint64_t ttl_ms) {
    lw_buffer scratch = lw_buffer_in(txn->client->env->memory);
    lw_mutation becomes;
    lw_status status =
        lw_atomic_apply(atomic->kind, atomic->key, base, atomic->value, &scratch, &becomes);
    if (status == LW_OK) {
        lw_write *settled = lw_write_set_put(&txn->writes, becomes.kind, atomic->key, becomes.value,
                                             LW_SEEN_ANYTHING);
        settled->mutation.ttl_ms = becomes.kind == LW_MUTATION_PUT ? ttl_ms : 0;
    }
    lw_buffer_reset(&scratch);
    return status;
}

lw_status lw_txn_settle(lw_txn *txn, lw_bytes key) {
    lw_write *write = lw_write_set_find(&txn->writes, key);
    if (write == NULL || !lw_mutation_is_atomic(write->mutation.kind)) {
        return LW_OK;
    }
    if (write->mutation.kind == LW_MUTATION_STAMP) {
        char text[LW_PRINTABLE_SIZE];
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the value of key \"%s\" is not known before the commit that stamps it",
                       lw_printable(key, text, sizeof(text)));
    }
    lw_bytes value;
    lw_mutation atomic = write->mutation;
    lw_status status = lw_txn_read_committed(txn, key, &value);
    if (status == LW_OK || status == LW_NOT_FOUND) {
        status = settle_on(txn, &atomic, status == LW_OK ? &value : NULL, 0);
    }
    if (status != LW_OK) { /* it is still to be done */
        (void)lw_write_set_put(&txn->writes, atomic.kind, atomic.key, atomic.value,
                               LW_SEEN_ANYTHING);
    }
    return status;
}

/* Adds an atomic write to what the transaction knows of the key already. */
LW_YIELDS static lw_status note_atomic(lw_txn *txn, lw_mutation_kind kind, lw_bytes key,
                                       lw_bytes operand) {
    lw_write *write = lw_write_set_find(&txn->writes, key);
    bool same = write != NULL && write->mutation.kind == kind;
    lw_buffer composed = lw_buffer_in(txn->client->env->memory);
    lw_status status = LW_OK;
    if (kind == LW_MUTATION_STAMP || write == NULL) {
        (void)lw_write_set_put(&txn->writes, kind, key, operand, LW_SEEN_ANYTHING);
    } else if (same && lw_atomic_compose(kind, write->mutation.value, operand, &composed)) {
        (void)lw_write_set_put(&txn->writes, kind, key, lw_buffer_view(&composed),
                               LW_SEEN_ANYTHING);
    } else if ((status = lw_txn_settle(txn, key)) == LW_OK) {
        lw_bytes base = write->mutation.value;
        bool known = lw_write_knows(write), present = lw_write_present(write);
        lw_mutation added = {.kind = kind, .key = key, .value = operand};
        uint64_t ttl_ms = write->mutation.ttl_ms;
        if (known) {
            status = settle_on(txn, &added, present ? &base : NULL, ttl_ms);
        } else {
            (void)lw_write_set_put(&txn->writes, kind, key, operand, LW_SEEN_ANYTHING);
        }
    }
    lw_buffer_reset(&composed);
    return status;
}

LW_YIELDS static lw_status atomic(lw_txn *txn, lw_mutation_kind kind, lw_bytes key,
                                  lw_bytes operand) {
    LW_TRY(lw_txn_check_write(txn, key, operand));
    LW_TRY(note_atomic(txn, kind, key, operand));
    return lw_txn_flush_if_large(txn);
}

LW_YIELDS static lw_status atomic_number(lw_txn *txn, lw_mutation_kind kind, lw_bytes key,
                                         int64_t number) {
    uint8_t operand[LW_NUMBER_SIZE];
    lw_number_encode(number, operand);
    return atomic(txn, kind, key, lw_view(operand, sizeof(operand)));
}

lw_status lw_add(lw_txn *txn, lw_bytes key, int64_t number) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, atomic_number(txn, LW_MUTATION_ADD, key, number));
}

lw_status lw_min(lw_txn *txn, lw_bytes key, int64_t number) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, atomic_number(txn, LW_MUTATION_MIN, key, number));
}

lw_status lw_max(lw_txn *txn, lw_bytes key, int64_t number) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, atomic_number(txn, LW_MUTATION_MAX, key, number));
}

lw_status lw_append(lw_txn *txn, lw_bytes key, lw_bytes bytes) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, atomic(txn, LW_MUTATION_APPEND, key, bytes));
}

LW_YIELDS static lw_status put_stamped(lw_txn *txn, lw_bytes key, lw_bytes value, size_t offset) {
    LW_TRY(lw_txn_check_write(txn, key, value));
    if (value.size < LW_STAMP_SIZE || offset > value.size - LW_STAMP_SIZE ||
        value.size > LW_STAMPED_VALUE_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a stamp of %d bytes at offset %zu does not lie in a value of %zu bytes (at "
                       "most %d)",
                       LW_STAMP_SIZE, offset, value.size, LW_STAMPED_VALUE_SIZE_MAX);
    }
    lw_buffer operand = lw_buffer_in(txn->client->env->memory);
    lw_buffer_append(&operand, value);
    lw_buffer_append_u32(&operand, (uint32_t)offset);
    lw_status status = note_atomic(txn, LW_MUTATION_STAMP, key, lw_buffer_view(&operand));
    lw_buffer_reset(&operand);
    LW_TRY(status);
    return lw_txn_flush_if_large(txn);
}

lw_status lw_put_stamped(lw_txn *txn, lw_bytes key, lw_bytes value, size_t offset) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, put_stamped(txn, key, value, offset));
}

/* ---- transactions of their own, in one round trip ------------------------------------------- */

/* Commits one atomic mutation. The result's value lives in `value`. */
LW_YIELDS static lw_status commit_alone(lw_client *client, lw_mutation_kind kind, lw_bytes key,
                                        lw_bytes operand, lw_commit_result *result,
                                        lw_buffer *value) {
    static const lw_txn_options options;
    lw_txn *txn = NULL;
    LW_TRY(lw_begin(client, &options, &txn));
    txn->result = result;
    txn->result_value = value;
    lw_status status = atomic(txn, kind, key, operand);
    if (status == LW_OK) {
        status = lw_txn_commit(txn);
    }
    lw_error reason = *lw_error_slot();
    lw_txn_close(txn);
    *lw_error_slot() = reason;
    return status;
}

LW_YIELDS static lw_status number_alone(lw_client *client, lw_mutation_kind kind, lw_bytes key,
                                        int64_t number, int64_t *now) {
    uint8_t operand[LW_NUMBER_SIZE];
    lw_number_encode(number, operand);
    lw_buffer value = lw_buffer_in(client->env->memory);
    lw_commit_result result = {0};
    int64_t told = 0;
    lw_status status =
        commit_alone(client, kind, key, lw_view(operand, sizeof(operand)), &result, &value);
    if (status == LW_OK && !lw_number_decode(result.value, &told)) {
        status = lw_fail(LW_INTERNAL, "the node answered no number");
    }
    if (status == LW_OK && now != NULL) {
        *now = told;
    }
    lw_buffer_reset(&value);
    return status;
}

lw_status lw_add_now(lw_client *client, lw_bytes key, int64_t number, int64_t *now) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, number_alone(client, LW_MUTATION_ADD, key, number, now));
}

lw_status lw_min_now(lw_client *client, lw_bytes key, int64_t number, int64_t *now) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, number_alone(client, LW_MUTATION_MIN, key, number, now));
}

lw_status lw_max_now(lw_client *client, lw_bytes key, int64_t number, int64_t *now) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, number_alone(client, LW_MUTATION_MAX, key, number, now));
}

LW_YIELDS static lw_status append_now(lw_client *client, lw_bytes key, lw_bytes bytes,
                                      uint64_t *size) {
    lw_buffer value = lw_buffer_in(client->env->memory);
    lw_commit_result result = {0};
    lw_status status = commit_alone(client, LW_MUTATION_APPEND, key, bytes, &result, &value);
    if (status == LW_OK && result.value.size != sizeof(uint64_t)) {
        status = lw_fail(LW_INTERNAL, "the node answered no size");
    }
    if (status == LW_OK && size != NULL) {
        *size = lw_get_u64(result.value.data);
    }
    lw_buffer_reset(&value);
    return status;
}

lw_status lw_append_now(lw_client *client, lw_bytes key, lw_bytes bytes, uint64_t *size) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, append_now(client, key, bytes, size));
}

LW_YIELDS static lw_status compare_and_set(lw_client *client, lw_bytes key,
                                           const lw_bytes *expected, const lw_bytes *value,
                                           int *swapped) {
    size_t size = (expected != NULL ? expected->size : 0) + (value != NULL ? value->size : 0);
    if (size > LW_SWAP_SIZE_MAX) {
        return lw_fail(
            LW_INVALID_ARGUMENT,
            "the expected and the new value have %zu bytes together, more than the limit "
            "of %d",
            size, LW_SWAP_SIZE_MAX);
    }
    lw_buffer operand = lw_buffer_in(client->env->memory);
    lw_buffer told = lw_buffer_in(client->env->memory);
    lw_commit_result result = {0};
    lw_swap_encode(expected, value, &operand);
    lw_status status =
        commit_alone(client, LW_MUTATION_SWAP, key, lw_buffer_view(&operand), &result, &told);
    if (status == LW_OK) {
        *swapped = result.applied;
    }
    lw_buffer_reset(&operand);
    lw_buffer_reset(&told);
    return status;
}

lw_status lw_compare_and_set(lw_client *client, lw_bytes key, const lw_bytes *expected,
                             const lw_bytes *value, int *swapped) {
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, compare_and_set(client, key, expected, value, swapped));
}
