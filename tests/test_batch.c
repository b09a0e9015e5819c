/* SPDX-License-Identifier: Apache-2.0 */
/* Write batches: the round trip, the bytes, and what damage is answered with. */
#include "storage/batch.h"

#include "storage/table.h"
#include "tests/unit.h"

static void what_goes_in_comes_out_in_order(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer batch = lw_buffer_in(memory);
    lw_batch_put(&batch, lw_text("apple"), lw_text("red"));
    lw_batch_delete(&batch, lw_text("pear"));
    lw_batch_put(&batch, lw_text(""), lw_text(""));
    assert_int_equal(lw_batch_check(lw_buffer_view(&batch)), LW_OK);

    lw_bytes rest = lw_buffer_view(&batch);
    lw_batch_operation operation;
    assert_true(lw_batch_next(&rest, &operation));
    assert_int_equal(operation.kind, LW_BATCH_PUT);
    assert_true(lw_equal(operation.key, lw_text("apple")));
    assert_true(lw_equal(operation.value, lw_text("red")));
    assert_true(lw_batch_next(&rest, &operation));
    assert_int_equal(operation.kind, LW_BATCH_DELETE);
    assert_true(lw_equal(operation.key, lw_text("pear")));
    assert_int_equal(operation.value.size, 0);
    assert_true(lw_batch_next(&rest, &operation));
    assert_int_equal(operation.kind, LW_BATCH_PUT);
    assert_int_equal(operation.key.size, 0);
    assert_int_equal(operation.value.size, 0);
    assert_false(lw_batch_next(&rest, &operation));
    assert_int_equal(rest.size, 0);
    lw_memory_close(memory);
}

static void the_bytes_are_the_format(void **state) {
    (void)state;
    static const uint8_t golden[] = {1, 1, 'k', 3, 'v', 'a', 'l', 2, 2, 'k', '2'};
    lw_memory *memory = lw_memory_open();
    lw_buffer batch = lw_buffer_in(memory);
    lw_batch_put(&batch, lw_text("k"), lw_text("val"));
    lw_batch_delete(&batch, lw_text("k2"));
    assert_int_equal(batch.size, sizeof(golden));
    assert_memory_equal(batch.data, golden, sizeof(golden));
    lw_memory_close(memory);
}

static void a_batch_cut_anywhere_is_damage_except_between_operations(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer batch = lw_buffer_in(memory);
    lw_batch_put(&batch, lw_text("key"), lw_text("value"));
    size_t first_size = batch.size;
    lw_batch_delete(&batch, lw_text("key"));
    for (size_t size = 0; size <= batch.size; size++) {
        bool whole = size == 0 || size == first_size || size == batch.size;
        lw_bytes cut = lw_copy(memory, lw_view(batch.data, size));
        assert_int_equal(lw_batch_check(cut), whole ? LW_OK : LW_CORRUPTION);
    }
    lw_memory_close(memory);
}

static void assert_damaged(const uint8_t *bytes, size_t size) {
    lw_bytes rest = lw_view(bytes, size);
    lw_batch_operation operation;
    assert_false(lw_batch_next(&rest, &operation));
    assert_int_equal(rest.size, size);
    assert_int_equal(lw_batch_check(lw_view(bytes, size)), LW_CORRUPTION);
}

static void unknown_kinds_and_unreasonable_sizes_are_damage(void **state) {
    (void)state;
    assert_damaged((const uint8_t[]){0, 1, 'k', 0}, 4);
    assert_damaged((const uint8_t[]){3, 1, 'k', 0}, 4);
    /* A size that takes more bytes than it needs: one batch has one encoding. */
    assert_damaged((const uint8_t[]){2, 0x81, 0, 'k'}, 4);
    assert_damaged(
        (const uint8_t[]){2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'k'}, 12);

    lw_memory *memory = lw_memory_open();
    lw_buffer large = lw_buffer_in(memory);
    lw_buffer_append_u8(&large, LW_BATCH_DELETE);
    lw_buffer_append_varint(&large, LW_TREE_KEY_SIZE_MAX + 1);
    memset(lw_buffer_reserve(&large, LW_TREE_KEY_SIZE_MAX + 1), 'k', LW_TREE_KEY_SIZE_MAX + 1);
    large.size += LW_TREE_KEY_SIZE_MAX + 1;
    assert_damaged(large.data, large.size);
    lw_memory_close(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out_in_order),
        cmocka_unit_test(the_bytes_are_the_format),
        cmocka_unit_test(a_batch_cut_anywhere_is_damage_except_between_operations),
        cmocka_unit_test(unknown_kinds_and_unreasonable_sizes_are_damage),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
