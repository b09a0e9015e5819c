/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the log: the round trips, the bytes themselves, and what damage is answered with. */
#include "storage/log_pack.h"

#include "base/hash.h"

#include "tests/unit.h"

static const lw_log_segment_header segment = {
    .number = 7, .size = 65536, .salt = 0x1122334455667788, .format = 1};
static const lw_log_batch_header batch = {
    .size = 4096,
    .segment = 7,
    .salt = 0x1122334455667788,
    .offset = 8192,
    .sequence = 100,
    .generation = 3,
    .mark = 97,
    .oldest = 2,
    .record_count = 2,
    .kind = LW_LOG_BATCH_RECORDS,
};
static const lw_log_record records[2] = {
    {.group = 5,
     .term = 300,
     .index = 0,
     .kind = LW_LOG_STATE,
     .payload = {(const uint8_t *)"v", 1}},
    {.group = 5,
     .term = 300,
     .index = 9,
     .kind = LW_LOG_ENTRY,
     .payload = {(const uint8_t *)"xyz", 3}},
};

/* Seals `batch` with both records into a block; returns where its records end. */
static size_t fill_block(uint8_t block[LW_LOG_BLOCK]) {
    memset(block, 0xee, LW_LOG_BLOCK);
    size_t used = LW_LOG_BATCH_HEADER_SIZE;
    for (size_t index = 0; index < 2; index++) {
        used += lw_log_record_encode(&records[index], block + used);
    }
    lw_log_batch_seal(&batch, block, used);
    return used;
}

static void expect_hex(const uint8_t *bytes, size_t size, const char *expected) {
    char text[1024];
    assert_true(size * 2 < sizeof(text));
    for (size_t index = 0; index < size; index++) {
        snprintf(text + 2 * index, 3, "%02x", bytes[index]);
    }
    assert_string_equal(text, expected);
}

static void expect_zeros(const uint8_t *bytes, size_t size) {
    for (size_t index = 0; index < size; index++) {
        assert_int_equal(bytes[index], 0);
    }
}

static void the_bytes_of_a_segment_header_are_these(void **state) {
    (void)state;
    uint8_t block[LW_LOG_BLOCK];
    memset(block, 0xee, sizeof(block));
    lw_log_segment_header_encode(&segment, block);
    expect_hex(block, 48,
               "4c574c4f47534547"
               "01000000"
               "a89a64db"
               "0700000000000000"
               "0000010000000000"
               "8877665544332211"
               "0000000000000000");
    expect_zeros(block + 48, sizeof(block) - 48);
}

static void the_bytes_of_a_batch_are_these(void **state) {
    (void)state;
    uint8_t block[LW_LOG_BLOCK];
    size_t used = fill_block(block);
    expect_hex(block, 97,
               "4c574c42"
               "cb85ef43"
               "d1fef31a"
               "00100000"
               "0700000000000000"
               "8877665544332211"
               "0020000000000000"
               "6400000000000000"
               "0300000000000000"
               "6100000000000000"
               "0200000000000000"
               "02000000"
               "01"
               "000000"
               "0205ac02000176"
               "0105ac02090378797a"
               "00");
    assert_int_equal(used, 96);
    expect_zeros(block + used, sizeof(block) - used);
}

static void a_segment_header_reads_back(void **state) {
    (void)state;
    uint8_t block[LW_LOG_BLOCK];
    lw_log_segment_header_encode(&segment, block);
    lw_log_segment_header header;
    uint32_t format = 0;
    assert_int_equal(lw_log_segment_header_decode(block, &header, &format), LW_LOG_HEADER_VALID);
    assert_int_equal(format, 1);
    assert_int_equal(header.format, 1);
    assert_int_equal(header.number, segment.number);
    assert_int_equal(header.size, segment.size);
    assert_int_equal(header.salt, segment.salt);
    lw_log_segment_header newest = segment;
    newest.format = LW_LOG_FORMAT;
    lw_log_segment_header_encode(&newest, block);
    assert_int_equal(lw_log_segment_header_decode(block, &header, &format), LW_LOG_HEADER_VALID);
    assert_int_equal(format, LW_LOG_FORMAT);
}

static void a_newer_format_is_told_from_damage(void **state) {
    (void)state;
    uint8_t block[LW_LOG_BLOCK];
    lw_log_segment_header_encode(&segment, block);
    block[8] = LW_LOG_FORMAT + 1;
    lw_log_segment_header header;
    uint32_t format = 0;
    assert_int_equal(lw_log_segment_header_decode(block, &header, &format), LW_LOG_HEADER_DAMAGED);
    lw_put_u32(block + 12, 0);
    lw_put_u32(block + 12, lw_crc32c(0, lw_view(block, 48)));
    assert_int_equal(lw_log_segment_header_decode(block, &header, &format), LW_LOG_HEADER_NEWER);
    assert_int_equal(format, LW_LOG_FORMAT + 1);
}

static void every_flipped_bit_of_a_segment_header_is_noticed(void **state) {
    (void)state;
    uint8_t block[LW_LOG_BLOCK];
    lw_log_segment_header_encode(&segment, block);
    for (size_t bit = 0; bit < 8 * sizeof(block); bit++) {
        block[bit / 8] ^= (uint8_t)(1U << bit % 8);
        lw_log_segment_header header;
        uint32_t format = 0;
        if (lw_log_segment_header_decode(block, &header, &format) != LW_LOG_HEADER_DAMAGED) {
            fail_msg("bit %zu", bit);
        }
        block[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

static void every_flipped_bit_of_a_batch_is_noticed(void **state) {
    (void)state;
    uint8_t block[LW_LOG_BLOCK];
    (void)fill_block(block);
    for (size_t bit = 0; bit < 8 * sizeof(block); bit++) {
        block[bit / 8] ^= (uint8_t)(1U << bit % 8);
        lw_log_batch_header header;
        if (lw_log_batch_header_decode(block, &segment, batch.offset, &header) &&
            lw_log_batch_body_intact(&header, block)) {
            fail_msg("bit %zu", bit);
        }
        block[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

static void a_batch_reads_back(void **state) {
    (void)state;
    uint8_t block[LW_LOG_BLOCK];
    size_t used = fill_block(block);
    lw_log_batch_header header;
    assert_true(lw_log_batch_header_decode(block, &segment, batch.offset, &header));
    assert_true(lw_log_batch_body_intact(&header, block));
    assert_int_equal(header.size, batch.size);
    assert_int_equal(header.segment, batch.segment);
    assert_int_equal(header.salt, batch.salt);
    assert_int_equal(header.offset, batch.offset);
    assert_int_equal(header.sequence, batch.sequence);
    assert_int_equal(header.generation, batch.generation);
    assert_int_equal(header.mark, batch.mark);
    assert_int_equal(header.oldest, batch.oldest);
    assert_int_equal(header.record_count, batch.record_count);
    assert_int_equal(header.kind, batch.kind);
    lw_bytes rest = lw_view(block + LW_LOG_BATCH_HEADER_SIZE, used - LW_LOG_BATCH_HEADER_SIZE);
    for (size_t index = 0; index < 2; index++) {
        lw_log_record record;
        assert_true(lw_log_record_take(&rest, &record));
        assert_int_equal(record.group, records[index].group);
        assert_int_equal(record.term, records[index].term);
        assert_int_equal(record.index, records[index].index);
        assert_int_equal(record.kind, records[index].kind);
        assert_true(lw_equal(record.payload, records[index].payload));
    }
    assert_int_equal(rest.size, 0);
}

static void a_batch_is_believed_only_in_its_place(void **state) {
    (void)state;
    uint8_t block[LW_LOG_BLOCK];
    (void)fill_block(block);
    lw_log_batch_header header;
    lw_log_segment_header other = segment;
    assert_true(lw_log_batch_header_decode(block, &other, batch.offset, &header));
    assert_false(lw_log_batch_header_decode(block, &other, batch.offset + 4096, &header));
    other.salt++;
    assert_false(lw_log_batch_header_decode(block, &other, batch.offset, &header));
    other = segment;
    other.number++;
    assert_false(lw_log_batch_header_decode(block, &other, batch.offset, &header));
    other = segment;
    other.size = batch.offset + 4096;
    assert_true(lw_log_batch_header_decode(block, &other, batch.offset, &header));
}

/* ---- packed batches -----------------------------------------------------------------------------
 */

enum { PACKED_RECORDS = 300 };

typedef struct packing {
    lw_memory *memory;
    lw_decompressor *decompressor;
    lw_buffer plain;
    uint8_t *raw, *packed;
    size_t raw_used, packed_used;
    lw_log_batch_header header;
    lw_log_segment_header segment;
} packing;

/* A batch of records that are much alike, sealed. */
static packing packing_make(void) {
    packing made = {.memory = lw_memory_open(), .segment = segment, .header = batch};
    made.decompressor = lw_decompressor_open(made.memory);
    made.plain = lw_buffer_in(made.memory);
    made.raw = lw_allocate(made.memory, 65536);
    made.packed = lw_allocate(made.memory, 65536);
    made.raw_used = LW_LOG_BATCH_HEADER_SIZE;
    for (uint64_t index = 1; index <= PACKED_RECORDS; index++) {
        lw_log_record record = {.group = 5,
                                .term = 1,
                                .index = index,
                                .kind = LW_LOG_ENTRY,
                                .payload = records[1].payload};
        made.raw_used += lw_log_record_encode(&record, made.raw + made.raw_used);
    }
    lw_compressor *compressor = lw_compressor_open(made.memory, LW_COMPRESSION_LZ4, 0);
    made.packed_used = lw_log_pack(compressor, made.raw, made.raw_used, made.packed, 65536);
    assert_in_range(made.packed_used, LW_LOG_BATCH_HEADER_SIZE + 9, made.raw_used - 1000);
    /* Where there is too little room it says so. */
    uint8_t none[256];
    assert_int_equal(lw_log_pack(compressor, made.raw, made.raw_used, none, sizeof(none)), 0);
    lw_compressor_close(compressor);
    made.segment.format = LW_LOG_FORMAT;
    made.header.kind = LW_LOG_BATCH_PACKED;
    made.header.record_count = PACKED_RECORDS;
    made.header.size = (uint32_t)lw_log_align(made.packed_used);
    lw_log_batch_seal(&made.header, made.packed, made.packed_used);
    return made;
}

static void packing_drop(packing *made) {
    lw_decompressor_close(made->decompressor);
    lw_memory_close(made->memory);
}

static void a_packed_batch_reads_back(void **state) {
    (void)state;
    packing made = packing_make();
    lw_log_batch_header header;
    lw_bytes rest;
    assert_true(lw_log_batch_header_decode(made.packed, &made.segment, batch.offset, &header));
    assert_true(lw_log_batch_body_intact(&header, made.packed));
    assert_true(lw_log_unpack(&header, made.packed, made.decompressor, &made.plain, &rest));
    assert_int_equal(rest.size, made.raw_used - LW_LOG_BATCH_HEADER_SIZE);
    assert_memory_equal(rest.data, made.raw + LW_LOG_BATCH_HEADER_SIZE, rest.size);
    /* A segment of format 1 has none. */
    assert_false(lw_log_batch_header_decode(made.packed, &segment, batch.offset, &header));
    packing_drop(&made);
}

/* What a checksum would let pass is still no danger. */
static void any_damage_to_a_packed_batch_is_read_without_harm(void **state) {
    (void)state;
    packing made = packing_make();
    lw_bytes rest;
    for (size_t bit = 8 * LW_LOG_BATCH_HEADER_SIZE; bit < 8 * made.packed_used; bit++) {
        made.packed[bit / 8] ^= (uint8_t)(1U << bit % 8);
        if (lw_log_unpack(&made.header, made.packed, made.decompressor, &made.plain, &rest)) {
            assert_in_range(rest.size, 1, LW_LOG_PACKED_MAX);
        }
        made.packed[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    /* Sizes that are no sizes. */
    lw_put_u32(made.packed + LW_LOG_BATCH_HEADER_SIZE, LW_LOG_PACKED_MAX + 1);
    assert_false(lw_log_unpack(&made.header, made.packed, made.decompressor, &made.plain, &rest));
    lw_put_u32(made.packed + LW_LOG_BATCH_HEADER_SIZE, LW_LOG_PACKED_MAX);
    assert_false(lw_log_unpack(&made.header, made.packed, made.decompressor, &made.plain, &rest));
    lw_put_u32(made.packed + LW_LOG_BATCH_HEADER_SIZE, PACKED_RECORDS);
    lw_put_u32(made.packed + LW_LOG_BATCH_HEADER_SIZE + 4, UINT32_MAX);
    assert_false(lw_log_unpack(&made.header, made.packed, made.decompressor, &made.plain, &rest));
    packing_drop(&made);
}

static void the_size_of_a_record_is_known_before_it_is_written(void **state) {
    (void)state;
    static const uint64_t numbers[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX};
    uint8_t bytes[LW_LOG_RECORD_SIZE_MAX];
    for (size_t index = 0; index < sizeof(numbers) / sizeof(numbers[0]); index++) {
        lw_log_record record = {.group = numbers[index],
                                .term = numbers[index],
                                .index = numbers[index],
                                .kind = LW_LOG_ENTRY};
        size_t size = lw_log_record_encode(&record, bytes);
        assert_int_equal(size, lw_log_record_size(&record));
        lw_bytes rest = lw_view(bytes, size);
        assert_true(lw_log_record_take(&rest, &record));
        assert_int_equal(record.group, numbers[index]);
        assert_int_equal(record.index, numbers[index]);
        for (size_t cut = 0; cut < size; cut++) {
            rest = lw_view(bytes, cut);
            assert_false(lw_log_record_take(&rest, &record));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_of_a_segment_header_are_these),
        cmocka_unit_test(the_bytes_of_a_batch_are_these),
        cmocka_unit_test(a_segment_header_reads_back),
        cmocka_unit_test(a_newer_format_is_told_from_damage),
        cmocka_unit_test(every_flipped_bit_of_a_segment_header_is_noticed),
        cmocka_unit_test(every_flipped_bit_of_a_batch_is_noticed),
        cmocka_unit_test(a_batch_reads_back),
        cmocka_unit_test(a_batch_is_believed_only_in_its_place),
        cmocka_unit_test(a_packed_batch_reads_back),
        cmocka_unit_test(any_damage_to_a_packed_batch_is_read_without_harm),
        cmocka_unit_test(the_size_of_a_record_is_known_before_it_is_written),
    };
    return cmocka_run_group_tests_name("log_format", tests, unit_arm, NULL) != 0;
}
