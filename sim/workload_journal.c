/* SPDX-License-Identifier: Apache-2.0 */
/* A journal that all clients write without conflict: entries whose keys are the timestamps of their
 * commits, and with each a stamp, a value that holds the same timestamp. Every entry that was
 * acknowledged is there, where its client was told, and nothing that was refused. */
#include "client/client.h"
#include "sim/workload_private.h"

enum {
    NUMBER_SIZE = sizeof(uint64_t),
    STAMPS = 3,
    LOOK_ENTRIES = 12,
    ENTRY_SIZE = 2 * NUMBER_SIZE
};

static const char prefix[] = "journal/";

/* The number in so many bytes, the highest first. */
static uint64_t big_endian(const uint8_t *bytes) {
    uint64_t number = 0;
    for (size_t at = 0; at < LW_STAMP_SIZE; at++) {
        number = number << 8 | bytes[at];
    }
    return number;
}

static lw_bytes stamp_key(uint64_t place, char key[WORKLOAD_KEY_SIZE]) {
    int size = snprintf(key, WORKLOAD_KEY_SIZE, "stamp/%" PRIu64, place);
    return lw_view(key, (size_t)size);
}

static void violation(lw_workload *workload, uint64_t number, uint64_t timestamp,
                      const char *what) {
    lw_buffer_print(&workload->violations,
                    "journal: entry %" PRIu64 " at timestamp %" PRIu64 ": %s\n", number, timestamp,
                    what);
}

/* ---- what was told ------------------------------------------------------------------------ */

/* The timestamp at which an entry was told to be, from the first of those that were told on; 0: it
 * was not, or nobody was told which. */
static bool find_told(lw_bytes told, uint64_t number, uint64_t *timestamp) {
    for (size_t at = 0; at < told.size; at += ENTRY_SIZE) {
        if (lw_get_u64(told.data + at) == number) {
            *timestamp = lw_get_u64(told.data + at + NUMBER_SIZE);
            return true;
        }
    }
    return false;
}

static bool was_refused(const lw_workload *workload, uint64_t number) {
    const lw_buffer *refused = &workload->journal_refused;
    for (size_t at = 0; at < refused->size; at += NUMBER_SIZE) {
        if (lw_get_u64(refused->data + at) == number) {
            return true;
        }
    }
    return false;
}

/* An entry, or a stamp, that somebody reads. */
static void judge_entry(lw_workload *workload, uint64_t number, uint64_t timestamp) {
    uint64_t told = 0;
    if (was_refused(workload, number)) {
        violation(workload, number, timestamp, "it is there, and was refused");
    } else if (find_told(lw_buffer_view(&workload->journal), number, &told) && told != 0 &&
               told != timestamp) {
        violation(workload, number, timestamp, "its client was told of another timestamp");
    }
}

/* ---- reading ------------------------------------------------------------------------------ */

/* What a walk from the end of the journal has seen. */
typedef struct sight {
    lw_buffer entries; /* as in lw_workload.journal */
    uint64_t lowest;   /* the walk went down to this timestamp; 0: to the beginning */
} sight;

LW_YIELDS static lw_status walk(lw_workload *workload, lw_txn *txn, uint64_t limit, sight *seen) {
    lw_scan_options options = {.prefix = lw_text(prefix), .backwards = 1, .limit = limit};
    lw_scan *scan = NULL;
    LW_TRY(lw_scan_open(txn, &options, &scan));
    lw_bytes key, value;
    lw_status status;
    uint64_t count = 0, last = UINT64_MAX;
    while ((status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        LW_ASSERT(key.size == strlen(prefix) + LW_STAMP_SIZE && value.size == NUMBER_SIZE);
        uint64_t timestamp = big_endian(key.data + strlen(prefix));
        uint64_t number = lw_get_u64(value.data);
        if (timestamp >= last || timestamp > lw_read_timestamp(txn)) {
            violation(workload, number, timestamp, "it is out of order, or of the future");
        }
        last = timestamp;
        judge_entry(workload, number, timestamp);
        lw_buffer_append_u64(&seen->entries, number);
        lw_buffer_append_u64(&seen->entries, timestamp);
        count++;
    }
    seen->lowest = limit != 0 && count == limit ? last : 0;
    lw_scan_close(scan);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* Reads the stamps, which are of entries. */
LW_YIELDS static lw_status read_stamps(lw_workload *workload, lw_txn *txn) {
    for (uint64_t place = 0; place < STAMPS; place++) {
        char key[WORKLOAD_KEY_SIZE];
        lw_bytes value;
        lw_status status = lw_get(txn, stamp_key(place, key), &value);
        if (status == LW_OK) {
            LW_ASSERT(value.size == NUMBER_SIZE + LW_STAMP_SIZE);
            judge_entry(workload, lw_get_u64(value.data), big_endian(value.data + NUMBER_SIZE));
        } else if (status != LW_NOT_FOUND) {
            return status;
        }
    }
    return LW_OK;
}

/* Whoever begins after an entry was acknowledged sees it, as far as it looks. */
static void judge_sight(lw_workload *workload, const sight *seen, size_t told_size) {
    for (size_t at = 0; at < told_size; at += ENTRY_SIZE) {
        uint64_t number = lw_get_u64(workload->journal.data + at), timestamp = 0;
        uint64_t told = lw_get_u64(workload->journal.data + at + NUMBER_SIZE);
        bool within = told > seen->lowest || (told == 0 && seen->lowest == 0);
        if (within && !find_told(lw_buffer_view(&seen->entries), number, &timestamp)) {
            violation(workload, number, told, "it was acknowledged, and is not there");
        }
    }
}

LW_YIELDS static lw_status look(lw_env *env, lw_workload *workload, lw_txn *txn, uint64_t limit) {
    size_t told_size = workload->journal.size;
    sight seen = {.entries = lw_buffer_in(env->memory)};
    lw_status status = walk(workload, txn, limit, &seen);
    if (status == LW_OK) {
        judge_sight(workload, &seen, told_size);
        status = read_stamps(workload, txn);
    }
    lw_buffer_reset(&seen.entries);
    return status;
}

/* ---- all of it ---------------------------------------------------------------------------- */

LW_YIELDS static lw_status write_entry(workload_txn *in, uint64_t number) {
    char key[WORKLOAD_KEY_SIZE];
    uint8_t stamped[NUMBER_SIZE + LW_STAMP_SIZE] = {0};
    lw_put_u64(stamped, number);
    LW_TRY(
        lw_put_stamped_key(in->txn, lw_text(prefix), (lw_bytes){0}, lw_view(stamped, NUMBER_SIZE)));
    return lw_put_stamped(in->txn, stamp_key(workload_below(in->env, STAMPS), key),
                          lw_view(stamped, sizeof(stamped)), NUMBER_SIZE);
}

void workload_run_journal(lw_env *env, lw_workload_client *self, lw_client *client) {
    lw_workload *workload = self->workload;
    bool looks = workload_below(env, 3) == 0;
    workload_txn in;
    if (!workload_begin(&in, env, self, client, looks)) {
        return;
    }
    uint64_t number = workload->next_element++;
    lw_outcome outcome = workload_finish(&in, looks ? look(env, workload, in.txn, LOOK_ENTRIES)
                                                    : write_entry(&in, number));
    if (!looks && outcome == LW_OUTCOME_OK) {
        lw_buffer_append_u64(&workload->journal, number);
        lw_buffer_append_u64(&workload->journal, lw_commit_timestamp(in.txn));
    } else if (!looks && outcome == LW_OUTCOME_FAIL) {
        lw_buffer_append_u64(&workload->journal_refused, number);
    }
    workload_close(&in);
}

lw_status workload_final_journal(lw_workload *workload, lw_client *client) {
    lw_txn_options options = {.read_only = 1};
    lw_txn *txn = NULL;
    LW_TRY(lw_begin(client, &options, &txn));
    lw_status status = look(client->env, workload, txn, 0);
    lw_txn_close(txn);
    return status;
}
