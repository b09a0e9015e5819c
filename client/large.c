/* SPDX-License-Identifier: Apache-2.0 */
/* Large transactions. Writes that have grown beyond what a client keeps are prewritten ahead of the
 * commit, and forgotten here: from then on reads of those keys go to the node, which sees the
 * transaction's own intents. What is remembered are ranges that hold all that was prewritten, in
 * which everything is ended together.
 *
 * Invariants
 * 1. The sequence rises with every flush, so that of two intents on one key the later one stays.
 * 2. What may be prewritten is in `touched` before it is sent. */
#include "client/commit.h"

enum {
    HEARTBEAT_MS = 60 * 1000,
    LOCKED_COUNT_MAX = 16 * 1024, /* locks that nodes are to have in memory for a transaction; once
                                     its writes are sent ahead they are in the tree */
};

static const uint64_t ns_per_ms = 1000000;

/* ---- flushing -------------------------------------------------------------------------------- */

/* A transaction whose deadline is far keeps its primary lock alive. */
LW_YIELDS static lw_status refresh(lw_txn *txn) {
    uint64_t now = lw_env_now(txn->client->env);
    if (txn->flushes > 0 && now - txn->refreshed_ns >= HEARTBEAT_MS * ns_per_ms) {
        lw_reply reply;
        lw_heartbeat_request request = {
            .start = txn->start, .primary = txn->primary, .lifetime_ms = lw_txn_lifetime_ms(txn)};
        lw_buffer_clear(&txn->request);
        lw_heartbeat_request_encode(&request, &txn->request);
        lw_status status =
            lw_client_call(txn->client, LW_MESSAGE_HEARTBEAT, txn->primary,
                           lw_buffer_view(&txn->request), txn->deadline_ns, &reply, NULL);
        if (status == LW_CONFLICT) {
            return lw_txn_take_conflict(txn, reply.body, 0);
        }
        LW_TRY(status);
        txn->refreshed_ns = now;
    }
    txn->refreshed_ns = txn->flushes == 0 ? now : txn->refreshed_ns;
    return LW_OK;
}

uint32_t lw_txn_lifetime_ms(const lw_txn *txn) {
    uint64_t now = lw_env_now(txn->client->env);
    uint64_t left_ms = txn->deadline_ns > now ? (txn->deadline_ns - now) / ns_per_ms : 0;
    return txn->flushes == 0 || left_ms < LW_LOCK_LIFETIME_MS ? (uint32_t)LW_LOCK_LIFETIME_MS
           : left_ms > UINT32_MAX                             ? UINT32_MAX
                                                              : (uint32_t)left_ms;
}

/* Prewrites all there is, window by window. */
LW_YIELDS static lw_status prewrite_all(lw_commit_job *job) {
    for (bool more = true; more;) {
        lw_commit_event event;
        LW_TRY(lw_commit_make_prewrites(job, 0, &more));
        lw_commit_send_window(job, 0, &event);
        if (event.status == LW_OK) {
            job->at = job->next;
            continue;
        }
        more = true; /* this window is made anew */
        if (event.status == LW_CONFLICT && event.obstacle == LW_OBSTACLE_LOCK) {
            LW_TRY(lw_txn_resolve(job->txn, &job->obstacle, job->attempt++));
        } else if (!event.moved) {
            return event.status;
        }
    }
    return LW_OK;
}

LW_YIELDS static lw_status flush(lw_txn *txn) {
    lw_client *client = txn->client;
    lw_memory *memory = client->env->memory;
    if (txn->start == 0) {
        LW_TRY(lw_client_timestamp(client, txn->deadline_ns, &txn->start));
    }
    LW_TRY(refresh(txn));
    if (txn->flushes == 0) {
        txn->primary = lw_arena_copy(&txn->arena, txn->writes.first[0]->mutation.key);
    }
    txn->flushes++;
    LW_MARK(client->env, "client.flushed_ahead");
    lw_commit_job *job = lw_allocate(memory, sizeof(*job));
    lw_commit_job_open(txn, false, job);
    lw_status status = prewrite_all(job);
    lw_commit_job_close(job);
    lw_free(memory, job);
    return status;
}

lw_status lw_txn_flush_if_large(lw_txn *txn) {
    lw_client *client = txn->client;
    const lw_write_set *writes = &txn->writes;
    bool large = writes->arena.reserved + writes->undo.capacity > client->write_memory ||
                 (txn->locks && writes->count >= LOCKED_COUNT_MAX) ||
                 (txn->savepoints == NULL && LW_RARE(client->env, "client.flushes_early"));
    if (!large || writes->count == 0 || txn->result != NULL) {
        return LW_OK;
    }
    lw_status status = flush(txn);
    if (status == LW_OK) {
        lw_write_set_reset(&txn->writes);
    } else {
        lw_error reason = *lw_error_slot();
        txn->state = LW_TXN_ENDED;
        (void)!lw_txn_drop_flushed(txn);
        *lw_error_slot() = reason;
    }
    return status;
}

/* ---- dropping -------------------------------------------------------------------------------- */

lw_status lw_txn_drop_flushed(lw_txn *txn) {
    if (txn->flushes == 0) {
        return LW_OK;
    }
    lw_memory *memory = txn->client->env->memory;
    lw_commit_job *job = lw_allocate(memory, sizeof(*job));
    lw_write_set_reset(&txn->writes);
    lw_commit_job_open(txn, false, job);
    lw_status status = LW_OK;
    for (bool more = true; more && status == LW_OK;) {
        lw_commit_event event = {0};
        status = lw_commit_make_ends(job, 0, &more);
        if (status == LW_OK) {
            lw_commit_send_window(job, 0, &event);
            status = event.moved ? LW_OK : event.status;
        }
        more = more || event.moved;
        job->at = event.status == LW_OK ? job->next : job->at;
    }
    lw_commit_job_close(job);
    lw_free(memory, job);
    txn->flushes = status == LW_OK ? 0 : txn->flushes;
    return status;
}
