/* SPDX-License-Identifier: Apache-2.0 */
/* What a strict transaction has read, and has to vouch for at its commit: keys, and ranges of them.
 * Beyond KEYS_MAX keys are merged into ranges that cover them, so that the memory stays bounded:
 * such a transaction then conflicts with what others put between what it read, too. */
#include "client/transaction.h"

#include <stdlib.h>

enum {
    KEYS_MAX = 64 * 1024,
    KEYS_IN_RANGE = 64, /* neighbours that become one range */
    RANGES_MAX = 16 * 1024,
    RANGES_IN_RANGE = 16,
};

/* Reads matter at commit only when something may be written, strictly. */
static bool notes_reads(const lw_txn *txn) {
    return txn->options.isolation == LW_STRICT && !txn->options.read_only;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

static lw_read_range *add_range(lw_txn *txn, lw_bytes lower, lw_bytes upper, uint64_t seen) {
    lw_read_range *made = lw_arena_allocate(&txn->arena, sizeof(*made));
    *made = (lw_read_range){.next = txn->ranges,
                            .seen = {.lower = lw_arena_copy(&txn->arena, lower),
                                     .upper = lw_arena_copy(&txn->arena, upper),
                                     .seen = seen}};
    txn->ranges = made;
    txn->range_count++;
    txn->read_bytes += lower.size + upper.size;
    return made;
}

static int by_lower(const void *a, const void *b) {
    const lw_read_range *const *first = a, *const *second = b;
    return lw_compare((*first)->seen.lower, (*second)->seen.lower);
}

/* Makes each RANGES_IN_RANGE neighbours one. Not while a scan may still widen one of them. */
static void merge_ranges(lw_txn *txn) {
    lw_memory *memory = txn->client->env->memory;
    uint64_t count = 0;
    lw_read_range **ranges = lw_allocate(memory, txn->range_count * sizeof(*ranges));
    for (lw_read_range *each = txn->ranges; each != NULL; each = each->next) {
        ranges[count++] = each;
    }
    qsort(ranges, count, sizeof(*ranges), by_lower);
    txn->ranges = NULL;
    txn->range_count = 0;
    for (uint64_t index = 0; index < count; index++) {
        lw_read_range *each = ranges[index];
        if (index % RANGES_IN_RANGE == 0) {
            each->next = txn->ranges;
            txn->ranges = each;
            txn->range_count++;
            continue;
        }
        lw_seen_range *into = &txn->ranges->seen;
        bool reaches = each->seen.upper.size == 0 ||
                       (into->upper.size > 0 && lw_compare(each->seen.upper, into->upper) > 0);
        into->upper = reaches ? each->seen.upper : into->upper;
        into->seen = each->seen.seen < into->seen ? each->seen.seen : into->seen;
    }
    lw_free(memory, ranges);
}

lw_read_range *lw_txn_note_range(lw_txn *txn, lw_bytes lower, lw_bytes upper) {
    if (!notes_reads(txn)) {
        return NULL;
    }
    if (txn->range_count >= RANGES_MAX && txn->scans <= 1) { /* the one that notes this */
        merge_ranges(txn);
    }
    return add_range(txn, lower, upper, txn->read_timestamp);
}

/* ---- keys ------------------------------------------------------------------------------------ */

static int by_key(const void *a, const void *b) {
    const lw_read_key *const *first = a, *const *second = b;
    return lw_compare((*first)->seen.key, (*second)->seen.key);
}

/* The range from one key to another, both included. */
static void add_covering(lw_txn *txn, lw_bytes first, lw_bytes last, uint64_t seen) {
    lw_buffer upper = lw_buffer_in(txn->client->env->memory);
    lw_buffer_append(&upper, last);
    lw_buffer_append_u8(&upper, 0);
    (void)add_range(txn, first, lw_buffer_view(&upper), seen);
    lw_buffer_reset(&upper);
}

static void merge_keys(lw_txn *txn) {
    lw_memory *memory = txn->client->env->memory;
    uint64_t count = 0;
    lw_read_key **keys = lw_allocate(memory, txn->read_count * sizeof(*keys));
    for (lw_read_key *each = txn->first_read; each != NULL; each = each->next) {
        keys[count++] = each;
    }
    qsort(keys, count, sizeof(*keys), by_key);
    for (uint64_t first = 0; first < count; first += KEYS_IN_RANGE) {
        uint64_t last = first, seen = keys[first]->seen.seen;
        for (; last + 1 < count && last + 1 < first + KEYS_IN_RANGE; last++) {
            seen = keys[last + 1]->seen.seen < seen ? keys[last + 1]->seen.seen : seen;
        }
        add_covering(txn, keys[first]->seen.key, keys[last]->seen.key, seen);
    }
    lw_free(memory, keys);
    LW_MARK(txn->client->env, "client.reads_merged");
    lw_map_reset(&txn->read_keys);
    lw_arena_reset(&txn->read_arena);
    txn->first_read = txn->last_read = NULL;
    txn->read_count = 0;
}

static uint64_t key_hash(lw_bytes key) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t index = 0; index < key.size; index++) {
        hash = (hash ^ key.data[index]) * 0x100000001b3u;
    }
    return hash ^ hash >> 29;
}

void lw_txn_note_key(lw_txn *txn, lw_bytes key, uint64_t seen) {
    if (!notes_reads(txn)) {
        return;
    }
    uint64_t hash = key_hash(key);
    lw_map_node *node = lw_map_first(&txn->read_keys, hash);
    for (; node != NULL; node = lw_map_next(node)) {
        if (lw_equal(LW_MAP_ENTRY(node, lw_read_key, node)->seen.key, key)) {
            return; /* read again, from the same snapshot */
        }
    }
    if (txn->read_count >= KEYS_MAX ||
        (txn->read_count > 1 && LW_RARE(txn->client->env, "client.merges_reads"))) {
        merge_keys(txn);
    }
    lw_read_key *made = lw_arena_allocate(&txn->read_arena, sizeof(*made));
    *made = (lw_read_key){.seen = {.key = lw_arena_copy(&txn->read_arena, key), .seen = seen}};
    lw_map_insert(&txn->read_keys, &made->node, hash);
    *(txn->last_read != NULL ? &txn->last_read->next : &txn->first_read) = made;
    txn->last_read = made;
    txn->read_count++;
    txn->read_bytes += key.size;
}
