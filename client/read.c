/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: keys at the transaction's snapshot, own writes first. */
#include "client/transaction.h"

#include <stdlib.h>

enum { GET_KEYS_MAX = 1024 };

/* ---- the snapshot ------------------------------------------------------------------------- */

lw_status lw_txn_take_snapshot(lw_txn *txn, uint64_t read_timestamp) {
    if (read_timestamp == 0 ||
        (txn->read_timestamp != 0 && txn->read_timestamp != read_timestamp)) {
        return lw_fail(LW_INTERNAL, "the node read at timestamp %llu, asked for %llu",
                       (unsigned long long)read_timestamp, (unsigned long long)txn->read_timestamp);
    }
    if (txn->start == 0 && txn->read_timestamp == 0) {
        txn->start = read_timestamp; /* it is ours alone */
    }
    txn->read_timestamp = read_timestamp;
    return LW_OK;
}

/* ---- reading ------------------------------------------------------------------------------ */

lw_status lw_txn_draw_snapshot(lw_txn *txn) {
    uint64_t fresh;
    if (txn->flushes == 0 || txn->read_timestamp != 0) {
        return LW_OK;
    }
    LW_TRY(lw_client_fresh_timestamp(txn->client, 1, txn->deadline_ns, &fresh));
    return lw_txn_take_snapshot(txn, fresh);
}

/* What the transaction itself knows of a key: LW_OK or LW_NOT_FOUND. False if it must ask. */
bool lw_txn_read_own(const lw_txn *txn, lw_bytes key, lw_status *status, lw_bytes *value) {
    const lw_write *write = lw_write_set_find(&txn->writes, key);
    if (write == NULL || !lw_write_knows(write)) {
        return false;
    }
    *status = lw_write_present(write) ? LW_OK : LW_NOT_FOUND;
    if (*status == LW_OK) {
        *value = write->mutation.value;
    }
    return true;
}

/* ---- one key ------------------------------------------------------------------------------ */

static void encode_get(lw_txn *txn, const lw_bytes *keys, uint32_t key_count, lw_buffer *body) {
    lw_get_request request = {.read_timestamp = txn->read_timestamp,
                              .start = txn->options.read_only ? 0 : txn->start,
                              .keys = keys,
                              .key_count = key_count};
    lw_get_request_encode(&request, body);
}

/* Takes an answer apart. It lives until the client's next call. */
static lw_status decode_get(lw_txn *txn, lw_bytes body, uint32_t key_count, lw_get_reply *answer) {
    LW_TRY(lw_get_reply_decode(body, &txn->client->arena, answer));
    if (answer->value_count == 0 || answer->value_count > key_count) {
        return lw_fail(LW_INTERNAL, "the node answered %u of %u keys", answer->value_count,
                       key_count);
    }
    return lw_txn_take_snapshot(txn, answer->read_timestamp);
}

lw_status lw_txn_ask(lw_txn *txn, lw_bytes key, lw_get_value *value) {
    lw_call call = {.kind = LW_MESSAGE_GET, .first = key, .last = key};
    lw_get_reply answer;
    LW_TRY(lw_txn_draw_snapshot(txn));
    lw_buffer_clear(&txn->request);
    encode_get(txn, &key, 1, &txn->request);
    LW_TRY(lw_txn_call(txn, &call));
    LW_TRY(decode_get(txn, call.reply.body, 1, &answer));
    *value = answer.values[0];
    return LW_OK;
}

LW_YIELDS static lw_status get(lw_txn *txn, lw_bytes key, lw_bytes *value) {
    lw_get_value answer;
    lw_status own;
    LW_TRY(lw_txn_check_open(txn));
    LW_TRY(lw_txn_check_key(key));
    LW_TRY(lw_txn_settle(txn, key));
    if (lw_txn_read_own(txn, key, &own, value)) {
        return own;
    }
    LW_TRY(lw_txn_ask(txn, key, &answer));
    lw_txn_note_key(txn, key, txn->read_timestamp);
    if (!answer.found) {
        return LW_NOT_FOUND;
    }
    lw_buffer_clear(&txn->values);
    lw_buffer_append(&txn->values, answer.value);
    *value = lw_buffer_view(&txn->values);
    return LW_OK;
}

lw_status lw_get(lw_txn *txn, lw_bytes key, lw_bytes *value) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, get(txn, key, value));
}

/* ---- many keys ---------------------------------------------------------------------------- */

/* One call, about some of the lookups. */
typedef struct part {
    lw_buffer body;
    size_t first; /* of what is asked */
    uint32_t count;
} part;

/* The lookups that a node has to answer. */
typedef struct gathering {
    lw_txn *txn;
    lw_lookup *lookups;
    const lw_lookup **asked; /* those that wait for an answer */
    size_t asked_count;
    bool sorted;    /* `asked` is, by key: needed once there are several shards */
    lw_bytes *keys; /* of what is asked in this round */
    lw_call *calls;
    part *parts; /* of each call */
    uint32_t call_count, call_room;
    uint32_t attempt; /* of resolving, for growing pauses */
} gathering;

static int by_key(const void *a, const void *b) {
    const lw_lookup *const *first = a, *const *second = b;
    return lw_compare((*first)->key, (*second)->key);
}

/* The one shard that is known need not be all there is: others may have been forgotten. */
static bool one_shard_has_all(const lw_routes *routes) {
    return routes->count == 1 && lw_shard_spans(&routes->shards[0], (lw_bytes){0}, (lw_bytes){0});
}

static void sort(gathering *in) {
    if (!in->sorted && in->asked_count > 1 && !one_shard_has_all(&in->txn->client->routes)) {
        qsort(in->asked, in->asked_count, sizeof(*in->asked), by_key);
        in->sorted = true;
    }
}

/* Groups the first of what is asked by shard into calls. */
LW_YIELDS static lw_status group(gathering *in) {
    lw_txn *txn = in->txn;
    size_t taken = 0;
    in->call_count = 0;
    sort(in);
    while (taken < in->asked_count && taken < GET_KEYS_MAX && in->call_count < in->call_room) {
        const lw_shard_descriptor *shard;
        size_t first = taken;
        LW_TRY(
            lw_client_route(txn->client, in->asked[first]->key, false, txn->deadline_ns, &shard));
        while (taken < in->asked_count && taken < GET_KEYS_MAX &&
               lw_shard_holds(shard, in->asked[taken]->key) &&
               !(taken > first && LW_RARE(txn->client->env, "client.gets_apart"))) {
            in->keys[taken] = in->asked[taken]->key;
            taken++;
        }
        part *made = &in->parts[in->call_count];
        made->first = first;
        made->count = (uint32_t)(taken - first);
        lw_buffer_clear(&made->body);
        lw_call *call = &in->calls[in->call_count++];
        *call = (lw_call){.kind = LW_MESSAGE_GET};
        if (in->sorted || in->asked_count == 1) {
            call->first = in->keys[first];
            call->last = in->keys[taken - 1];
        } else {
            call->range = true; /* all keys there are: one shard holds them */
        }
    }
    return LW_OK;
}

/* All reads are of one snapshot, so several shards can be asked only once that is known. */
LW_YIELDS static lw_status encode_all(gathering *in) {
    lw_txn *txn = in->txn;
    if (in->call_count > 1 && txn->read_timestamp == 0) {
        uint64_t fresh;
        LW_TRY(lw_client_fresh_timestamp(txn->client, 1, txn->deadline_ns, &fresh));
        LW_TRY(lw_txn_take_snapshot(txn, fresh));
    }
    for (uint32_t index = 0; index < in->call_count; index++) {
        part *one = &in->parts[index];
        encode_get(txn, in->keys + one->first, one->count, &one->body);
        in->calls[index].body = lw_buffer_view(&one->body);
    }
    return LW_OK;
}

/* Takes what one call answered. Values are kept by offset: the buffer may still move. What is
 * answered is crossed out. */
static lw_status take_answers(gathering *in, uint32_t index) {
    lw_txn *txn = in->txn;
    lw_get_reply answer;
    LW_TRY(decode_get(txn, in->calls[index].reply.body, in->parts[index].count, &answer));
    for (uint32_t place = 0; place < answer.value_count; place++) {
        const lw_lookup **asked = &in->asked[in->parts[index].first + place];
        lw_lookup *lookup = &in->lookups[*asked - in->lookups];
        const lw_get_value *value = &answer.values[place];
        lw_txn_note_key(txn, lookup->key, txn->read_timestamp);
        lookup->status = value->found ? LW_OK : LW_NOT_FOUND;
        lookup->value = lw_view((const void *)(uintptr_t)txn->values.size, value->value.size);
        lw_buffer_append(&txn->values, value->value);
        *asked = NULL;
    }
    return LW_OK;
}

/* Takes all answers; what was not answered, or moved, is asked again. A lock of another in the way
 * is dealt with before. */
LW_YIELDS static lw_status take_all(gathering *in) {
    lw_txn *txn = in->txn;
    lw_status status = LW_OK;
    const lw_call *obstructed = NULL;
    for (uint32_t index = 0; index < in->call_count && status == LW_OK; index++) {
        const lw_call *call = &in->calls[index];
        if (call->status == LW_OK) {
            status = take_answers(in, index);
        } else if (call->status == LW_CONFLICT) {
            obstructed = call;
        } else if (!call->moved) {
            status = call->status;
        }
    }
    LW_TRY(status);
    size_t left = 0;
    for (size_t index = 0; index < in->asked_count; index++) {
        if (in->asked[index] != NULL) {
            in->asked[left++] = in->asked[index];
        }
    }
    in->asked_count = left;
    return obstructed == NULL ? LW_OK
                              : lw_txn_take_conflict(txn, obstructed->reply.body, in->attempt++);
}

LW_YIELDS static lw_status gather(gathering *in, size_t count) {
    lw_txn *txn = in->txn;
    for (size_t index = 0; index < count; index++) {
        const lw_write *own = lw_write_set_find(&txn->writes, in->lookups[index].key);
        if (own == NULL || !lw_write_knows(own)) {
            in->asked[in->asked_count++] = &in->lookups[index];
        }
    }
    LW_TRY(lw_txn_draw_snapshot(txn));
    while (in->asked_count > 0) {
        LW_TRY(group(in));
        LW_TRY(encode_all(in));
        (void)!lw_client_call_all(txn->client, in->calls, in->call_count, txn->deadline_ns);
        LW_TRY(take_all(in));
    }
    return LW_OK;
}

LW_YIELDS static lw_status get_many(lw_txn *txn, lw_lookup *lookups, size_t count) {
    LW_TRY(lw_txn_check_open(txn));
    for (size_t index = 0; index < count; index++) {
        LW_TRY(lw_txn_check_key(lookups[index].key));
        LW_TRY(lw_txn_settle(txn, lookups[index].key));
    }
    lw_memory *memory = txn->client->env->memory;
    gathering in = {.txn = txn, .lookups = lookups};
    in.call_room = count < LW_CALL_COUNT_MAX ? (uint32_t)count : (uint32_t)LW_CALL_COUNT_MAX;
    in.asked = lw_allocate(memory, count * sizeof(*in.asked));
    in.keys = lw_allocate(memory, (count < GET_KEYS_MAX ? count : GET_KEYS_MAX) * sizeof(lw_bytes));
    in.calls = lw_allocate(memory, in.call_room * sizeof(lw_call));
    in.parts = lw_allocate(memory, in.call_room * sizeof(part));
    for (uint32_t index = 0; index < in.call_room; index++) {
        in.parts[index].body = lw_buffer_in(memory);
    }
    lw_buffer_clear(&txn->values);
    lw_status status = gather(&in, count);
    for (uint32_t index = 0; index < in.call_room; index++) {
        lw_buffer_reset(&in.parts[index].body);
    }
    lw_free(memory, in.parts);
    lw_free(memory, in.calls);
    lw_free(memory, in.keys);
    lw_free(memory, in.asked);
    LW_TRY(status);
    for (size_t index = 0; index < count; index++) {
        lw_lookup *lookup = &lookups[index];
        if (!lw_txn_read_own(txn, lookup->key, &lookup->status, &lookup->value)) {
            size_t offset = (uintptr_t)lookup->value.data;
            lookup->value = lw_view(txn->values.data + offset, lookup->value.size);
        }
    }
    return LW_OK;
}

lw_status lw_get_many(lw_txn *txn, lw_lookup *lookups, size_t count) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, get_many(txn, lookups, count));
}
