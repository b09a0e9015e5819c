/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as keys and values of a shard's tree; the first byte is a tree key's size. Properties:
 * what is accepted and written again is the same bytes; a filter part lies within its key. */
#include "txn/record.h"

static void check_key(lw_bytes tree_key, lw_buffer *user_key, lw_buffer *again) {
    lw_bytes prefix;
    uint64_t timestamp;
    LW_ASSERT(lw_record_filter_part(tree_key) <= tree_key.size);
    if (lw_record_data_key_split(tree_key, &prefix, &timestamp) != LW_OK ||
        lw_record_user_key(prefix, user_key) != LW_OK || user_key->size == 0) {
        return;
    }
    lw_record_data_key(lw_buffer_view(user_key), timestamp, again);
    LW_ASSERT(lw_equal(lw_buffer_view(again), tree_key));
}

static void check_values(lw_bytes tree_key, lw_bytes bytes, lw_buffer *again) {
    lw_data_record data;
    uint64_t timestamp = bytes.size >= 8 ? lw_get_u64(bytes.data + bytes.size - 8) : 1000;
    if (lw_data_record_decode(tree_key, timestamp, bytes, &data) == LW_OK) {
        lw_data_record_encode(&data, timestamp, again);
        LW_ASSERT(lw_equal(lw_buffer_view(again), bytes));
    }
    lw_lock_record lock;
    if (lw_lock_record_decode(tree_key, bytes, &lock) == LW_OK) {
        lw_lock_record_encode(&lock, again);
        LW_ASSERT(lw_equal(lw_buffer_view(again), bytes));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || data[0] >= size) {
        return 0;
    }
    lw_bytes tree_key = lw_view(data + 1, data[0]);
    lw_bytes value = lw_view(data + 1 + data[0], size - 1 - data[0]);
    lw_memory *memory = lw_memory_open();
    lw_buffer user_key = lw_buffer_in(memory), again = lw_buffer_in(memory);
    check_key(tree_key, &user_key, &again);
    check_values(tree_key, value, &again);
    lw_memory_close(memory);
    return 0;
}
