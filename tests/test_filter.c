/* SPDX-License-Identifier: Apache-2.0 */
/* Filters: never a false no, seldom a false yes, one look that any accepted bytes survive. */
#include "storage/filter.h"
#include "tests/unit.h"

static lw_bytes build(lw_memory *memory, uint64_t seed, size_t count, uint32_t bits_per_key) {
    uint64_t *hashes = lw_allocate(memory, count * sizeof(uint64_t));
    for (size_t index = 0; index < count; index++) {
        uint64_t key = seed << 40 | index;
        hashes[index] = lw_filter_hash(lw_view(&key, sizeof(key)));
    }
    lw_buffer out = lw_buffer_in(memory);
    lw_filter_build(hashes, count, bits_per_key, &out);
    return lw_buffer_view(&out);
}

static bool holds(const lw_filter *filter, uint64_t seed, size_t index) {
    uint64_t key = seed << 40 | index;
    return lw_filter_may_hold(filter, lw_filter_hash(lw_view(&key, sizeof(key))));
}

static void what_was_put_in_is_never_denied(void **state) {
    (void)state;
    const size_t counts[] = {0, 1, 2, 51, 52, 1000, 30000};
    for (size_t at = 0; at < sizeof(counts) / sizeof(counts[0]); at++) {
        for (uint32_t bits = 1; bits <= 30; bits += 3) {
            lw_memory *memory = lw_memory_open();
            lw_filter filter;
            assert_true(lw_filter_open(build(memory, at, counts[at], bits), &filter));
            for (size_t index = 0; index < counts[at]; index++) {
                assert_true(holds(&filter, at, index));
            }
            lw_memory_close(memory);
        }
    }
}

/* How many of 100,000 keys that were not put in a filter of 20,000 claims to hold. */
static size_t lies(uint64_t seed, uint32_t bits_per_key) {
    lw_memory *memory = lw_memory_open();
    lw_filter filter;
    assert_true(lw_filter_open(build(memory, seed, 20000, bits_per_key), &filter));
    size_t count = 0;
    for (size_t index = 0; index < 100000; index++) {
        count += holds(&filter, seed + 1, index);
    }
    lw_memory_close(memory);
    return count;
}

static void it_lies_as_seldom_as_it_promises(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        assert_in_range(lies(seed, 5), 5000, 15000);
        assert_in_range(lies(seed, 10), 300, 1500);
        assert_in_range(lies(seed, 16), 1, 250);
    }
}

static void the_bytes_are_the_format(void **state) {
    (void)state;
    static const struct {
        size_t at;
        uint8_t byte;
    } golden[] = {{6, 0x01},  {16, 0x16}, {28, 0x08}, {29, 0x21}, {34, 0x02},
                  {42, 0x20}, {46, 0x20}, {54, 0x10}, {59, 0x80}};
    lw_memory *memory = lw_memory_open();
    const uint64_t hashes[] = {0x0123456789abcdefU, 0xfedcba9876543210U};
    lw_buffer out = lw_buffer_in(memory);
    lw_filter_build(hashes, 2, 10, &out);
    assert_int_equal(out.size, 65);
    assert_int_equal(out.data[64], 6);
    uint8_t line[64] = {0};
    for (size_t index = 0; index < sizeof(golden) / sizeof(golden[0]); index++) {
        line[golden[index].at] = golden[index].byte;
    }
    assert_memory_equal(out.data, line, sizeof(line));
    assert_true(lw_filter_hash(lw_text("lathwork")) == 0xff06a2d9f42e2c12U);
    lw_memory_close(memory);
}

static void bytes_that_are_no_filter_are_refused(void **state) {
    (void)state;
    static const uint8_t zeros[200];
    lw_filter filter;
    for (size_t size = 0; size < sizeof(zeros); size++) {
        assert_false(lw_filter_open(lw_view(zeros, size), &filter));
    }
    uint8_t bytes[129] = {0};
    bytes[128] = LW_FILTER_PROBES_MAX;
    assert_true(lw_filter_open(lw_view(bytes, 129), &filter));
    assert_int_equal(filter.line_count, 2);
    assert_false(lw_filter_may_hold(&filter, UINT64_MAX));
    assert_false(lw_filter_may_hold(&filter, 0));
    bytes[128] = LW_FILTER_PROBES_MAX + 1;
    assert_false(lw_filter_open(lw_view(bytes, 129), &filter));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_in_is_never_denied),
        cmocka_unit_test(it_lies_as_seldom_as_it_promises),
        cmocka_unit_test(the_bytes_are_the_format),
        cmocka_unit_test(bytes_that_are_no_filter_are_refused),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
