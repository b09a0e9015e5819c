/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes against the reader of write batches. Properties:
 *   1. the operations that are taken, written again, are the bytes that were taken;
 *   2. the check accepts exactly what can be taken to its end;
 *   3. what is taken keeps within the limits of a tree. */
#include "storage/batch.h"

#include "storage/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lw_bytes whole = lw_view(data, size), rest = whole;
    lw_memory *memory = lw_memory_open();
    lw_buffer again = lw_buffer_in(memory);
    lw_batch_operation operation;
    while (lw_batch_next(&rest, &operation)) {
        LW_ASSERT(operation.key.size <= LW_TREE_KEY_SIZE_MAX);
        LW_ASSERT(operation.value.size <= LW_TREE_VALUE_SIZE_MAX);
        if (operation.kind == LW_BATCH_PUT) {
            lw_batch_put(&again, operation.key, operation.value);
        } else {
            lw_batch_delete(&again, operation.key);
        }
    }
    LW_ASSERT(lw_equal(lw_buffer_view(&again), lw_view(data, size - rest.size)));
    LW_ASSERT((lw_batch_check(whole) == LW_OK) == (rest.size == 0));
    lw_memory_close(memory);
    return 0;
}
