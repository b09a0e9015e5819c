/* SPDX-License-Identifier: Apache-2.0 */
/* What a commit works on: the transaction's writes and reads as arrays (client/commit.h). */
#include "client/commit.h"
#include "txn/atomic.h"

#include <stdlib.h>

static void gather_writes(lw_commit_job *job) {
    lw_txn *txn = job->txn;
    uint64_t count = txn->writes.count, index = 0;
    job->mutation_count = count;
    job->mutations = lw_arena_allocate(&job->arena, count * sizeof(lw_mutation));
    job->keys = lw_arena_allocate(&job->arena, count * sizeof(lw_bytes));
    bool first_wins = txn->options.isolation == LW_SNAPSHOT && txn->read_timestamp != 0;
    for (const lw_write *one = txn->writes.first[0]; one != NULL; one = one->next[0], index++) {
        job->mutations[index] = one->mutation;
        job->keys[index] = one->mutation.key;
        if (one->mutation.kind == LW_MUTATION_LOCK) {
            job->mutations[index].value = (lw_bytes){0};
        }
        bool atomic = lw_mutation_is_atomic(one->mutation.kind);
        if (one->mutation.seen == LW_SEEN_ANYTHING && first_wins && !atomic) {
            job->mutations[index].seen = txn->read_timestamp;
        }
    }
    LW_ASSERT(index == count);
}

static void gather_reads(lw_commit_job *job) {
    lw_txn *txn = job->txn;
    uint64_t index = 0;
    job->read_key_count = txn->read_count;
    job->read_range_count = txn->range_count;
    job->read_keys = lw_arena_allocate(&job->arena, txn->read_count * sizeof(lw_seen_key));
    job->read_ranges = lw_arena_allocate(&job->arena, txn->range_count * sizeof(lw_seen_range));
    for (const lw_read_key *one = txn->first_read; one != NULL; one = one->next) {
        job->read_keys[index++] = one->seen;
    }
    LW_ASSERT(index == txn->read_count);
    index = 0;
    for (const lw_read_range *one = txn->ranges; one != NULL; one = one->next) {
        job->read_ranges[index++] = one->seen;
    }
    LW_ASSERT(index == txn->range_count);
}

static int by_key(const void *a, const void *b) {
    const lw_seen_key *first = a, *second = b;
    return lw_compare(first->key, second->key);
}

static int by_lower(const void *a, const void *b) {
    const lw_seen_range *first = a, *second = b;
    return lw_compare(first->lower, second->lower);
}

void lw_commit_sort_reads(lw_commit_job *job) {
    if (job->sorted) {
        return;
    }
    job->sorted = true;
    if (job->read_key_count > 1) {
        qsort(job->read_keys, job->read_key_count, sizeof(lw_seen_key), by_key);
    }
    if (job->read_range_count > 1) {
        qsort(job->read_ranges, job->read_range_count, sizeof(lw_seen_range), by_lower);
    }
}

void lw_commit_job_open(lw_txn *txn, bool reads, lw_commit_job *job) {
    lw_memory *memory = txn->client->env->memory;
    memset(job, 0, sizeof(*job));
    job->txn = txn;
    job->arena = job->window = lw_arena_in(memory);
    job->kept = lw_buffer_in(memory);
    gather_writes(job);
    if (reads) {
        gather_reads(job);
    }
    job->primary = txn->flushes > 0 ? txn->primary : job->keys[0];
}

void lw_commit_job_close(lw_commit_job *job) {
    for (uint32_t index = 0; index < job->call_room; index++) {
        lw_buffer_reset(&job->bodies[index]);
    }
    lw_arena_reset(&job->arena);
    lw_arena_reset(&job->window);
    lw_buffer_reset(&job->kept);
}
