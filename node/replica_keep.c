/* SPDX-License-Identifier: Apache-2.0 */
/* What a shard keeps in its tree about itself, beside its descriptor: the ceiling of timestamps,
 * and what the collector of garbage has decided. */
#include "node/replica_state.h"

enum { KEPT_ENTRY_SIZE_MAX = 16 * 1024, CEILING_ENTRY_SIZE = 64 };

lw_status lw_replica_kept(lw_replica *replica, const char *name, lw_buffer *value) {
    lw_buffer key = lw_buffer_in(replica->env->memory);
    lw_record_meta_key(replica->descriptor.start, name, &key);
    lw_snapshot *snapshot = lw_snapshot_open(replica->tree);
    lw_status status = lw_snapshot_get(snapshot, lw_buffer_view(&key), value);
    lw_snapshot_close(snapshot);
    lw_buffer_reset(&key);
    return status;
}

lw_status replica_load_ceiling(lw_replica *replica, uint64_t *ceiling) {
    lw_buffer value = lw_buffer_in(replica->env->memory);
    lw_status status = lw_replica_kept(replica, "ceiling", &value);
    bool sound = value.size == sizeof(*ceiling);
    *ceiling = status == LW_OK && sound ? lw_get_u64(value.data) : 0;
    lw_buffer_reset(&value);
    if (status == LW_OK && !sound) {
        return lw_fail(LW_CORRUPTION, "the ceiling of timestamps in shard %llu is damaged",
                       (unsigned long long)replica->options.shard);
    }
    return status == LW_NOT_FOUND ? LW_OK : status;
}

void replica_put_ceiling(lw_replica *replica, uint64_t ceiling, lw_buffer *batch) {
    lw_buffer key = lw_buffer_in(batch->memory);
    uint8_t value[8];
    lw_record_meta_key(replica->descriptor.start, "ceiling", &key);
    lw_put_u64(value, ceiling);
    lw_batch_put(batch, lw_buffer_view(&key), lw_view(value, sizeof(value)));
    lw_buffer_reset(&key);
}

/* What lw_replica_keep keeps. */
typedef struct kept_record {
    const char *name;
    void (*encode)(void *argument, lw_buffer *value);
    void *argument;
    size_t size_max;
    bool freeing; /* let in on a full disk too */
} kept_record;

LW_YIELDS static lw_status propose_kept(lw_replica *replica, const kept_record *record) {
    LW_TRY(replica_gate(replica));
    uint64_t leadership = replica->leadership;
    LW_TRY(replica_log_room(replica, record->size_max, record->freeing));
    lw_buffer batch = lw_buffer_in(replica->env->memory), key = batch, value = batch;
    lw_record_meta_key(replica->descriptor.start, record->name, &key);
    record->encode(record->argument, &value);
    lw_batch_put(&batch, lw_buffer_view(&key), lw_buffer_view(&value));
    LW_ASSERT(batch.size <= record->size_max);
    lw_buffer_reset(&key);
    lw_buffer_reset(&value);
    lw_status status = replica_keep_entry(replica, leadership, &batch);
    lw_buffer_reset(&batch);
    return status;
}

LW_YIELDS static lw_status keep(lw_replica *replica, const kept_record *record) {
    replica->background_count++;
    lw_status status = propose_kept(replica, record);
    replica_background_end(replica);
    return status;
}

lw_status lw_replica_keep(lw_replica *replica, const char *name,
                          void (*encode)(void *argument, lw_buffer *value), void *argument) {
    kept_record record = {.name = name,
                          .encode = encode,
                          .argument = argument,
                          .size_max = KEPT_ENTRY_SIZE_MAX,
                          .freeing = true};
    return keep(replica, &record);
}

static void encode_number(void *argument, lw_buffer *value) {
    const uint64_t *number = argument;
    lw_buffer_append_u64(value, *number);
}

lw_status replica_keep_ceiling(void *argument, uint64_t ceiling) {
    kept_record record = {.name = "ceiling",
                          .encode = encode_number,
                          .argument = &ceiling,
                          .size_max = CEILING_ENTRY_SIZE};
    return keep(argument, &record);
}
