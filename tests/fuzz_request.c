/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as any message of txn/request.h; the first byte chooses which. The properties are those
 * of tests/request_table.h. */
#include "tests/request_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    lw_memory *memory = lw_memory_open();
    (void)request_properties_hold(data[0] % REQUEST_TABLE_COUNT, lw_view(data + 1, size - 1),
                                  memory);
    lw_memory_close(memory);
    return 0;
}
