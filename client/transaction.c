/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions as the user sees them: begin, lock, write, end. Writes are kept here until the
 * commit (client/commit.c); reading is client/read.c. */
#include "client/stamped.h"

enum { CLOSE_TIMEOUT_MS = 1000 };

static const uint64_t ns_per_ms = 1000000;

/* ---- beginning and ending ----------------------------------------------------------------- */

static lw_status begin(lw_client *client, const lw_txn_options *options, lw_txn **txn) {
    if (!client->usable) {
        return lw_fail(LW_INVALID_ARGUMENT, "this client was never opened");
    }
    bool known = (options->isolation == LW_STRICT || options->isolation == LW_SNAPSHOT) &&
                 (options->locking == LW_OPTIMISTIC || options->locking == LW_PESSIMISTIC);
    if (!known) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the transaction's isolation (%d) or locking (%d) is "
                       "none that lathwork.h lists",
                       (int)options->isolation, (int)options->locking);
    }
    lw_memory *memory = client->env->memory;
    lw_txn *made = lw_allocate_zero(memory, sizeof(*made));
    made->client = client;
    made->options = *options;
    made->options.read_only = options->read_only || options->at_timestamp != 0;
    made->read_timestamp = options->at_timestamp;
    made->valid_until = UINT64_MAX;
    made->begun_ns = lw_env_now(client->env);
    made->deadline_ns = lw_client_deadline(client, options->timeout_ms);
    made->writes = lw_write_set_in(memory);
    made->arena = made->read_arena = lw_arena_in(memory);
    made->read_keys = lw_map_in(memory);
    made->request = made->values = made->token = lw_buffer_in(memory);
    made->next = client->transactions;
    if (made->next != NULL) {
        made->next->previous = made;
    }
    client->transactions = made;
    *txn = made;
    return LW_OK;
}

lw_status lw_begin(lw_client *client, const lw_txn_options *options, lw_txn **txn) {
    static const lw_txn_options defaults;
    lw_error *outer = lw_client_enter(client);
    return lw_client_leave(outer, begin(client, options == NULL ? &defaults : options, txn));
}

/* A node did not hear that locks are free. It frees them when their session ends, so the client
 * takes up another one, unless transactions live that have locks in this one. */
LW_YIELDS static void abandon_session(lw_client *client) {
    for (const lw_txn *one = client->transactions; one != NULL; one = one->next) {
        if (one->state == LW_TXN_OPEN && (one->locks || one->flushes > 0)) {
            return;
        }
    }
    LW_MARK(client->env, "client.session_abandoned");
    lw_contacts_abandon(&client->contacts);
}

LW_YIELDS static lw_status rollback(lw_txn *txn) {
    LW_TRY(lw_txn_check_open(txn));
    txn->state = LW_TXN_ENDED;
    LW_TRY(lw_txn_drop_flushed(txn));
    return lw_txn_release_locks(txn, txn->deadline_ns);
}

lw_status lw_rollback(lw_txn *txn) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, rollback(txn));
}

void lw_txn_close(lw_txn *txn) {
    if (txn == NULL) {
        return;
    }
    lw_client *client = txn->client;
    LW_ASSERT(txn->scans == 0);
    lw_error kept = client->error; /* closing is no news */
    lw_error *outer = lw_client_enter(client);
    uint64_t deadline_ns = lw_env_now(client->env) + CLOSE_TIMEOUT_MS * ns_per_ms;
    txn->state = LW_TXN_ENDED;
    lw_txn_let_go(txn);
    txn->deadline_ns = deadline_ns;
    if (lw_txn_drop_flushed(txn) != LW_OK || lw_txn_release_locks(txn, deadline_ns) != LW_OK) {
        abandon_session(client);
    }
    (void)lw_client_leave(outer, LW_OK);
    client->error = kept;
    *(txn->previous != NULL ? &txn->previous->next : &client->transactions) = txn->next;
    if (txn->next != NULL) {
        txn->next->previous = txn->previous;
    }
    lw_write_set_reset(&txn->writes);
    lw_map_reset(&txn->read_keys);
    lw_arena_reset(&txn->arena);
    lw_arena_reset(&txn->read_arena);
    lw_buffer_reset(&txn->request);
    lw_buffer_reset(&txn->values);
    lw_buffer_reset(&txn->token);
    lw_free(client->env->memory, txn);
}

LW_YIELDS static lw_status commit(lw_txn *txn) {
    LW_TRY(lw_txn_check_open(txn));
    lw_status status = LW_OK;
    if (txn->stamped != NULL) {
        status = lw_txn_commit_stamped(txn);
    } else if (txn->writes.count == 0 && txn->flushes == 0) {
        (void)!lw_txn_release_locks(txn,
                                    txn->deadline_ns); /* all it read was one snapshot: it stands */
    } else {
        status = lw_txn_commit(txn);
    }
    txn->state = LW_TXN_ENDED;
    return status;
}

lw_status lw_commit(lw_txn *txn) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, commit(txn));
}

uint64_t lw_read_timestamp(const lw_txn *txn) {
    return txn->read_timestamp;
}

uint64_t lw_commit_timestamp(const lw_txn *txn) {
    return txn->commit_timestamp;
}

const char *lw_txn_token(const lw_txn *txn) {
    return txn->token.size == 0 ? "" : (const char *)txn->token.data;
}

/* ---- checks ------------------------------------------------------------------------------- */

lw_status lw_txn_check_open(const lw_txn *txn) {
    if (txn->state != LW_TXN_OPEN) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the transaction has ended: close it and begin another");
    }
    return LW_OK;
}

lw_status lw_txn_check_key(lw_bytes key) {
    if (key.size == 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "the key is empty: keys have 1 to %d bytes",
                       LW_KEY_SIZE_MAX);
    }
    if (key.size > LW_KEY_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "a key of %zu bytes is longer than the limit of %d",
                       key.size, LW_KEY_SIZE_MAX);
    }
    return LW_OK;
}

lw_status lw_txn_check_write(const lw_txn *txn, lw_bytes key, lw_bytes value) {
    LW_TRY(lw_txn_check_open(txn));
    LW_TRY(lw_txn_check_key(key));
    if (txn->options.read_only) {
        return lw_fail(LW_INVALID_ARGUMENT, "the transaction was begun read-only: it cannot write");
    }
    if (value.size > LW_VALUE_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "a value of %zu bytes is longer than the limit of %d",
                       value.size, LW_VALUE_SIZE_MAX);
    }
    return LW_OK;
}

/* ---- locking ------------------------------------------------------------------------------ */

static lw_status changed_since_snapshot(lw_txn *txn, lw_bytes key, uint64_t timestamp) {
    char text[LW_PRINTABLE_SIZE];
    txn->state = LW_TXN_ENDED;
    return lw_fail(LW_CONFLICT,
                   "the key \"%s\" was changed at %llu, after this transaction's snapshot was "
                   "taken at %llu: run the whole transaction again",
                   lw_printable(key, text, sizeof(text)), (unsigned long long)timestamp,
                   (unsigned long long)txn->read_timestamp);
}

/* Takes the pessimistic lock on a key, and leaves a LOCK with its newest value in the write set. */
LW_YIELDS static lw_status lock_at_shard(lw_txn *txn, lw_bytes key, bool read) {
    lw_client *client = txn->client;
    uint64_t now = lw_env_now(client->env);
    uint64_t left_ms = txn->deadline_ns > now ? (txn->deadline_ns - now) / ns_per_ms : 0;
    lw_lock_request request = {.start = txn->start,
                               .keys = &key,
                               .key_count = 1,
                               .wait_ms = left_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)left_ms,
                               .read = read};
    lw_call call = {.kind = LW_MESSAGE_LOCK, .first = key, .last = key};
    lw_lock_reply answer;
    if (txn->start == 0) { /* known before it is sent, so that a repeated request is the same */
        LW_TRY(lw_client_timestamp(client, txn->deadline_ns, &request.start));
        txn->start = request.start;
    }
    lw_buffer_clear(&txn->request);
    lw_lock_request_encode(&request, &txn->request);
    txn->locks = true;
    if (!lw_touched_holds(&txn->locked, key)) {
        lw_touched_add(&txn->locked, &txn->arena, key, key);
    }
    LW_TRY(lw_txn_call(txn, &call));
    LW_TRY(lw_lock_reply_decode(call.reply.body, &client->arena, &answer));
    if (read && answer.value_count != 1) {
        return lw_fail(LW_INTERNAL, "the node answered %u values for one lock", answer.value_count);
    }
    const lw_get_value *newest = read ? &answer.values[0] : NULL;
    uint64_t seen = answer.for_update;
    if (txn->read_timestamp == 0) {
        LW_TRY(lw_txn_take_snapshot(txn, answer.for_update));
    } else if (txn->options.isolation == LW_SNAPSHOT) {
        /* All it reads is of one snapshot, so what changed since is a conflict, lock or no lock. */
        seen = txn->read_timestamp;
        if (newest != NULL && newest->commit_timestamp > txn->read_timestamp) {
            return changed_since_snapshot(txn, key, newest->commit_timestamp);
        }
    }
    bool found = newest != NULL && newest->found;
    lw_write *write = lw_write_set_put(&txn->writes, LW_MUTATION_LOCK, key,
                                       found ? newest->value : (lw_bytes){0}, seen);
    write->read = read;
    write->found = found;
    return LW_OK;
}

/* In an optimistic transaction: reads at the snapshot, and vouches for it at every isolation. */
LW_YIELDS static lw_status lock_at_commit(lw_txn *txn, lw_bytes key) {
    lw_get_value answer;
    LW_TRY(lw_txn_ask(txn, key, &answer));
    lw_write *write =
        lw_write_set_put(&txn->writes, LW_MUTATION_LOCK, key, answer.value, txn->read_timestamp);
    write->read = true;
    write->found = answer.found;
    return LW_OK;
}

lw_status lw_txn_read_committed(lw_txn *txn, lw_bytes key, lw_bytes *value) {
    lw_get_value answer;
    if (txn->options.locking == LW_PESSIMISTIC) {
        LW_TRY(lock_at_shard(txn, key, true));
        const lw_write *locked = lw_write_set_find(&txn->writes, key);
        *value = locked->mutation.value;
        return locked->found ? LW_OK : LW_NOT_FOUND;
    }
    LW_TRY(lw_txn_ask(txn, key, &answer));
    lw_txn_note_key(txn, key, txn->read_timestamp);
    *value = answer.value;
    return answer.found ? LW_OK : LW_NOT_FOUND;
}

LW_YIELDS static lw_status get_for_update(lw_txn *txn, lw_bytes key, lw_bytes *value) {
    LW_TRY(lw_txn_check_write(txn, key, (lw_bytes){0}));
    lw_status own = LW_OK;
    LW_TRY(lw_txn_flush_if_large(txn)); /* not behind, since the value is a view of the writes */
    LW_TRY(lw_txn_settle(txn, key));
    if (!lw_txn_read_own(txn, key, &own, value)) {
        bool pessimistic = txn->options.locking == LW_PESSIMISTIC;
        LW_TRY(pessimistic ? lock_at_shard(txn, key, true) : lock_at_commit(txn, key));
        LW_ASSERT(lw_txn_read_own(txn, key, &own, value));
    }
    return own;
}

lw_status lw_get_for_update(lw_txn *txn, lw_bytes key, lw_bytes *value) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, get_for_update(txn, key, value));
}

/* ---- writing ------------------------------------------------------------------------------ */

/* `ttl_ms` as in lw_mutation. */
LW_YIELDS static lw_status note_write(lw_txn *txn, lw_mutation_kind kind, lw_bytes key,
                                      lw_bytes value, uint64_t ttl_ms) {
    bool pessimistic = txn->options.locking == LW_PESSIMISTIC;
    if (pessimistic && lw_write_set_find(&txn->writes, key) == NULL) {
        LW_TRY(lock_at_shard(txn, key, false));
    }
    lw_write *noted = lw_write_set_put(&txn->writes, kind, key, value, LW_SEEN_ANYTHING);
    noted->mutation.ttl_ms = ttl_ms;
    return lw_txn_flush_if_large(txn);
}

LW_YIELDS static lw_status put(lw_txn *txn, lw_bytes key, lw_bytes value) {
    LW_TRY(lw_txn_check_write(txn, key, value));
    return note_write(txn, LW_MUTATION_PUT, key, value, 0);
}

lw_status lw_put(lw_txn *txn, lw_bytes key, lw_bytes value) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, put(txn, key, value));
}

_Static_assert(LW_TTL_MAX_MS == LW_USER_TTL_MAX_MS, "what the header says is what is taken");

LW_YIELDS static lw_status put_ttl(lw_txn *txn, lw_bytes key, lw_bytes value, uint64_t ttl_ms) {
    LW_TRY(lw_txn_check_write(txn, key, value));
    if (ttl_ms == 0 || ttl_ms > LW_USER_TTL_MAX_MS) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "a time to live of %llu ms is none: it is at least 1 ms, at most 139 years",
                       (unsigned long long)ttl_ms);
    }
    return note_write(txn, LW_MUTATION_PUT, key, value, ttl_ms);
}

lw_status lw_put_ttl(lw_txn *txn, lw_bytes key, lw_bytes value, uint64_t ttl_ms) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, put_ttl(txn, key, value, ttl_ms));
}

/* Whether the key has a value now, as far as this transaction goes. A pessimistic one locks it. */
LW_YIELDS static lw_status look(lw_txn *txn, lw_bytes key) {
    lw_bytes value;
    bool pessimistic = txn->options.locking == LW_PESSIMISTIC;
    return pessimistic ? get_for_update(txn, key, &value) : lw_get(txn, key, &value);
}

LW_YIELDS static lw_status insert(lw_txn *txn, lw_bytes key, lw_bytes value) {
    LW_TRY(lw_txn_check_write(txn, key, value));
    lw_status status = look(txn, key);
    if (status == LW_OK) {
        char text[LW_PRINTABLE_SIZE];
        return lw_fail(LW_EXISTS, "the key \"%s\" has a value already",
                       lw_printable(key, text, sizeof(text)));
    }
    return status == LW_NOT_FOUND ? note_write(txn, LW_MUTATION_PUT, key, value, 0) : status;
}

lw_status lw_insert(lw_txn *txn, lw_bytes key, lw_bytes value) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, insert(txn, key, value));
}

LW_YIELDS static lw_status delete_key(lw_txn *txn, lw_bytes key, int *existed) {
    LW_TRY(lw_txn_check_write(txn, key, (lw_bytes){0}));
    lw_status status = existed == NULL ? LW_OK : look(txn, key);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    LW_TRY(note_write(txn, LW_MUTATION_DELETE, key, (lw_bytes){0}, 0));
    if (existed != NULL) {
        *existed = status == LW_OK;
    }
    return LW_OK;
}

lw_status lw_delete(lw_txn *txn, lw_bytes key, int *existed) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, delete_key(txn, key, existed));
}

LW_YIELDS static lw_status delete_range(lw_txn *txn, lw_bytes lower, lw_bytes upper,
                                        uint64_t *count) {
    LW_TRY(lw_txn_check_open(txn));
    if (txn->options.read_only) {
        return lw_fail(LW_INVALID_ARGUMENT, "the transaction was begun read-only: it cannot write");
    }
    lw_scan_options options = {.lower = lower, .upper = upper, .keys_only = 1};
    lw_scan *scan = NULL;
    uint64_t deleted = 0;
    LW_TRY(lw_scan_open(txn, &options, &scan));
    lw_status status = LW_OK;
    lw_bytes key, value;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        status = note_write(txn, LW_MUTATION_DELETE, key, (lw_bytes){0}, 0);
        if (status != LW_OK) {
            break;
        }
        deleted++;
    }
    lw_scan_close(scan);
    if (status != LW_NOT_FOUND) {
        return status;
    }
    if (count != NULL) {
        *count = deleted;
    }
    return LW_OK;
}

lw_status lw_delete_range(lw_txn *txn, lw_bytes lower, lw_bytes upper, uint64_t *count) {
    lw_error *outer = lw_client_enter(txn->client);
    return lw_client_leave(outer, delete_range(txn, lower, upper, count));
}
