/* SPDX-License-Identifier: Apache-2.0 */
/* Letting go of pessimistic locks. They lie with the nodes that lead the shards of their keys, and
 * a node that hears a ROLLBACK without keys frees all that it has of the transaction: so each of
 * them is told once, all at the same time. */
#include "client/transaction.h"

/* The shards that hold what is locked, gone through some at a time. */
typedef struct release {
    lw_txn *txn;
    lw_call *calls;
    lw_contact **told; /* whom each call is for; NULL: not known */
    uint32_t count;
    uint64_t deadline_ns;
    uint32_t range; /* of what is locked; what is before it is done, and of it ... */
    lw_bytes from;  /* ... all below this key, unless it is empty; in the arena */
} release;

static bool told_already(const release *in, const lw_contact *contact) {
    for (uint32_t index = 0; index < in->count; index++) {
        if (in->told[index] == contact) {
            return true;
        }
    }
    return false;
}

/* Adds the next shard, unless its node is told already. */
LW_YIELDS static lw_status add_next(release *in) {
    lw_txn *txn = in->txn;
    lw_contacts *contacts = &txn->client->contacts;
    const lw_seen_range *range = &txn->locked.ranges[in->range];
    lw_bytes key = in->from.size > 0 ? in->from : range->lower;
    const lw_shard_descriptor *shard;
    LW_TRY(lw_client_route(txn->client, key, false, in->deadline_ns, &shard));
    lw_contact *leader =
        lw_shard_led(shard) ? lw_contacts_choose(contacts, shard, contacts->failures) : NULL;
    if (leader == NULL || !told_already(in, leader)) {
        in->told[in->count] = leader;
        in->calls[in->count++] = (lw_call){.kind = LW_MESSAGE_ROLLBACK,
                                           .body = lw_buffer_view(&txn->request),
                                           .first = key,
                                           .last = key};
    }
    bool last = shard->end.size == 0 || lw_compare(range->upper, shard->end) <= 0;
    in->range += last;
    in->from = last ? (lw_bytes){0} : lw_arena_copy(&txn->arena, shard->end);
    return LW_OK;
}

LW_YIELDS static lw_status tell_all(release *in) {
    lw_txn *txn = in->txn;
    while (in->range < txn->locked.count) {
        in->count = 0;
        while (in->range < txn->locked.count && in->count < LW_CALL_COUNT_MAX) {
            LW_TRY(add_next(in));
        }
        if (in->count > 0) {
            LW_TRY(lw_client_call_all(txn->client, in->calls, in->count, in->deadline_ns));
        }
    }
    return LW_OK;
}

LW_YIELDS static lw_status tell_several(lw_txn *txn, uint64_t deadline_ns) {
    lw_memory *memory = txn->client->env->memory;
    release in = {.txn = txn,
                  .calls = lw_allocate(memory, LW_CALL_COUNT_MAX * sizeof(lw_call)),
                  .told = lw_allocate(memory, LW_CALL_COUNT_MAX * sizeof(lw_contact *)),
                  .deadline_ns = deadline_ns};
    lw_status status = tell_all(&in);
    lw_free(memory, in.told);
    lw_free(memory, in.calls);
    return status;
}

lw_status lw_txn_release_locks(lw_txn *txn, uint64_t deadline_ns) {
    lw_client *client = txn->client;
    if (!txn->locks) {
        return LW_OK;
    }
    lw_reply reply;
    lw_finish_request request = {.start = txn->start};
    lw_buffer_clear(&txn->request);
    lw_finish_request_encode(&request, &txn->request);
    LW_TRY(client->contacts.count > 1
               ? tell_several(txn, deadline_ns)
               : lw_client_call(client, LW_MESSAGE_ROLLBACK, (lw_bytes){0},
                                lw_buffer_view(&txn->request), deadline_ns, &reply, NULL));
    txn->locks = false;
    txn->locked.count = 0;
    return LW_OK;
}
