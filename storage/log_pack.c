/* SPDX-License-Identifier: Apache-2.0 */
/* Packing: the bytes, and when a batch is packed. Large batches are, on another thread, when their
 * turn has come to be written: whoever waits for so many bytes waits for the disk longer than for
 * that. Small ones, as those of writers who wait for each write, never are. */
#include "storage/log_pack.h"

#include "storage/log_state.h"

enum {
    PACK_SIZE_MIN = 32 * 1024, /* bytes of a batch that is packed */
    PACK_SIZE_TINY = 200,      /* when the simulator wants all of them packed */
    SKIPPED_MAX = 64,          /* batches after one that could not be packed, at most */
};

/* ---- bytes ----------------------------------------------------------------------------------- */

size_t lw_log_pack(lw_compressor *compressor, const uint8_t *bytes, size_t used, uint8_t *to,
                   size_t room) {
    size_t start = LW_LOG_BATCH_HEADER_SIZE + LW_LOG_PACK_HEAD_SIZE;
    lw_bytes records = lw_view(bytes + LW_LOG_BATCH_HEADER_SIZE, used - LW_LOG_BATCH_HEADER_SIZE);
    lw_compression compression = LW_COMPRESSION_NONE;
    if (room <= start || records.size > LW_LOG_PACKED_MAX) {
        return 0;
    }
    size_t stored = lw_compress(compressor, records, to + start, room - start, &compression);
    if (stored == 0) {
        return 0;
    }
    LW_ASSERT(compression == LW_COMPRESSION_LZ4);
    lw_put_u32(to + LW_LOG_BATCH_HEADER_SIZE, (uint32_t)records.size);
    lw_put_u32(to + LW_LOG_BATCH_HEADER_SIZE + 4, (uint32_t)stored);
    return start + stored;
}

bool lw_log_unpack(const lw_log_batch_header *header, const uint8_t *bytes,
                   lw_decompressor *decompressor, lw_buffer *plain, lw_bytes *records) {
    lw_bytes body =
        lw_view(bytes + LW_LOG_BATCH_HEADER_SIZE, header->size - LW_LOG_BATCH_HEADER_SIZE);
    if (header->kind != LW_LOG_BATCH_PACKED) {
        *records = body;
        return true;
    }
    uint32_t size = lw_get_u32(body.data), stored = lw_get_u32(body.data + 4);
    if (size > LW_LOG_PACKED_MAX || stored > body.size - LW_LOG_PACK_HEAD_SIZE ||
        size / LW_COMPRESSION_RATIO_MAX > stored) {
        return false;
    }
    lw_buffer_clear(plain);
    uint8_t *to = lw_buffer_reserve(plain, size);
    *records = lw_view(to, size);
    return lw_decompress(decompressor, LW_COMPRESSION_LZ4,
                         lw_view(body.data + LW_LOG_PACK_HEAD_SIZE, stored), to, size);
}

/* ---- when ------------------------------------------------------------------------------------ */

bool lw_log_pack_wanted(lw_log *log, const lw_log_batch *batch) {
    if (batch->kind != LW_LOG_BATCH_RECORDS || batch->packing != LW_LOG_PACKING_NOT ||
        log->holds.newest->header.format < LW_LOG_FORMAT_PACKED ||
        batch->used > LW_LOG_PACKED_MAX) {
        return false;
    }
    if (LW_RARE(log->env, "log.pack_nothing")) {
        return false;
    }
    if (batch->used >= PACK_SIZE_MIN && log->pack_skip > 0) {
        log->pack_skip--;
        return false;
    }
    return batch->used >= PACK_SIZE_MIN ||
           (batch->used >= PACK_SIZE_TINY && LW_RARE(log->env, "log.pack_small"));
}

/* On another thread. */
static void pack_main(void *argument) {
    lw_log_batch *batch = argument;
    batch->packed_used = lw_log_pack(batch->log->compressor, batch->bytes, batch->used,
                                     batch->packed, batch->packed_capacity);
}

static void count_bytes(lw_log *log, const lw_log_batch *batch, bool in) {
    uint64_t size = lw_log_align(batch->used);
    log->waiting_bytes += in ? size : -size;
    log->unplaced_bytes += in ? size : -size;
}

/* The packed bytes take the place of the others, which stay until the batch has its place in a
 * segment; or they are dropped where they are no fewer. */
static void take_packed(lw_log_batch *batch) {
    lw_log *log = batch->log;
    if (batch->packed_used == 0 || LW_RARE(log->env, "log.packs_in_vain")) {
        LW_MARK(log->env, "log.batch_incompressible");
        log->pack_skip_next = log->pack_skip_next == 0 ? 1 : 2 * log->pack_skip_next;
        log->pack_skip_next = log->pack_skip_next < SKIPPED_MAX ? log->pack_skip_next : SKIPPED_MAX;
        log->pack_skip = log->pack_skip_next;
        lw_log_pack_forget(batch);
        return;
    }
    LW_MARK(log->env, "log.batch_packed");
    log->pack_skip_next = 0;
    count_bytes(log, batch, false);
    uint8_t *bytes = batch->bytes;
    size_t used = batch->used, capacity = batch->capacity;
    batch->bytes = batch->packed;
    batch->used = batch->packed_used;
    batch->capacity = batch->packed_capacity;
    batch->packed = bytes;
    batch->packed_used = used;
    batch->packed_capacity = capacity;
    count_bytes(log, batch, true);
}

static void pack_done(lw_op *op) {
    lw_log_batch *batch = op->owner;
    lw_log *log = batch->log;
    LW_ASSERT(log->packing);
    log->packing = false;
    batch->packing = LW_LOG_PACKING_DONE;
    take_packed(batch);
    lw_log_write_start(log);
    lw_queue_wake_all(&log->quiet);
}

void lw_log_pack_start(lw_log *log, lw_log_batch *batch) {
    LW_ASSERT(!log->packing);
    if (log->compressor == NULL) {
        log->compressor = lw_compressor_open(log->memory, LW_COMPRESSION_LZ4, 0);
        lw_budget_share_set(&log->share, log->share.size + lw_compressor_size(log->compressor));
    }
    /* What does not save a block is not worth it. */
    size_t capacity = (size_t)lw_log_align(batch->used);
    capacity -= batch->used >= PACK_SIZE_MIN ? (size_t)LW_LOG_BLOCK : 0;
    lw_budget_share_set(&log->share, log->share.size + capacity);
    batch->packed_capacity = capacity;
    batch->packed = lw_allocate_aligned(log->memory, capacity, LW_DIRECT_ALIGNMENT);
    batch->packing = LW_LOG_PACKING_NOW;
    log->packing = true;
    batch->op = (lw_op){.kind = LW_OP_OFFLOAD,
                        .work = pack_main,
                        .argument = batch,
                        .complete = pack_done,
                        .owner = batch};
    lw_env_submit(log->env, &batch->op);
}

void lw_log_pack_forget(lw_log_batch *batch) {
    lw_log *log = batch->log;
    if (batch->packed != NULL) {
        lw_budget_share_set(&log->share, log->share.size - batch->packed_capacity);
        lw_free(log->memory, batch->packed);
        batch->packed = NULL;
        batch->packed_used = batch->packed_capacity = 0;
    }
}
