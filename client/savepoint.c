/* SPDX-License-Identifier: Apache-2.0 */
/* Savepoints: points inside a transaction that its writes can be taken back to. They live in the
 * client alone: what has left it, as the transaction grew large, cannot be taken back. */
#include "client/transaction.h"

struct lw_savepoint {
    struct lw_savepoint *previous; /* set before this one */
    size_t mark;
    struct lw_stamped *stamped;
    uint32_t flushes; /* of the transaction, until then */
    lw_bytes name;
};

static lw_status savepoint(lw_txn *txn, const char *name) {
    LW_TRY(lw_txn_check_open(txn));
    if (txn->options.read_only) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the transaction was begun read-only: it has nothing to take back");
    }
    if (strlen(name) > LW_SAVEPOINT_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a savepoint's name of %zu bytes is longer than the limit of %d",
                       strlen(name), LW_SAVEPOINT_SIZE_MAX);
    }
    struct lw_savepoint *made = lw_arena_allocate(&txn->arena, sizeof(*made));
    *made = (struct lw_savepoint){.previous = txn->savepoints,
                                  .mark = lw_write_set_mark(&txn->writes),
                                  .stamped = txn->stamped,
                                  .flushes = txn->flushes,
                                  .name = lw_arena_copy(&txn->arena, lw_text(name))};
    txn->savepoints = made;
    return LW_OK;
}

lw_status lw_savepoint(lw_txn *txn, const char *name) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, savepoint(txn, name));
}

static lw_status rollback_to(lw_txn *txn, const char *name) {
    LW_TRY(lw_txn_check_open(txn));
    struct lw_savepoint *found = txn->savepoints;
    while (found != NULL && !lw_equal(found->name, lw_text(name))) {
        found = found->previous;
    }
    if (found == NULL) {
        char text[LW_PRINTABLE_SIZE];
        return lw_fail(
            LW_INVALID_ARGUMENT,
            "the transaction has no savepoint \"%s\": it was never set, or an earlier one "
            "was rolled back to",
            lw_printable(lw_text(name), text, sizeof(text)));
    }
    if (found->flushes != txn->flushes) {
        char text[LW_PRINTABLE_SIZE];
        return lw_fail(LW_INVALID_ARGUMENT,
                       "what was written since the savepoint \"%s\" has outgrown the client's "
                       "memory for writes and is at the nodes: give the client more "
                       "(write_memory), or take back the whole transaction",
                       lw_printable(lw_text(name), text, sizeof(text)));
    }
    lw_write_set_return(&txn->writes, found->mark);
    txn->stamped = found->stamped;
    txn->savepoints = found;
    return LW_OK;
}

lw_status lw_rollback_to(lw_txn *txn, const char *name) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, rollback_to(txn, name));
}
