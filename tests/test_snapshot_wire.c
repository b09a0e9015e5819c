/* SPDX-License-Identifier: Apache-2.0 */
/* Messages about snapshots that move: there and back, golden bytes, and what is not one. */
#include "node/snapshot_wire.h"
#include "tests/unit.h"

#include "base/hash.h"

static const lw_snapshot_file sample_files[] = {{3, 70000}, {9, 1}, {0, 200}};

static lw_snapshot_offer sample_offer(void) {
    return (lw_snapshot_offer){
        .transfer = 77, .index = 300, .term = 5, .head = lw_text("head"), .file_count = 3};
}

static void expect_bytes(const lw_buffer *body, const char *hex) {
    char text[256] = {0};
    for (size_t index = 0; index < body->size && index < 120; index++) {
        snprintf(text + 2 * index, 3, "%02x", body->data[index]);
    }
    assert_string_equal(text, hex);
}

static void an_offer_arrives_as_it_was_sent(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer body = lw_buffer_in(memory);
    lw_snapshot_offer offer = sample_offer(), read;
    lw_snapshot_offer_encode(&offer, sample_files, &body);
    assert_int_equal(lw_snapshot_offer_decode(lw_buffer_view(&body), &read), LW_OK);
    assert_int_equal(read.transfer, 77);
    assert_int_equal(read.index, 300);
    assert_int_equal(read.term, 5);
    assert_true(lw_equal(read.head, lw_text("head")));
    assert_int_equal(read.file_count, 3);
    assert_int_equal(read.size, 70201);
    for (uint32_t index = 0; index < 3; index++) {
        lw_snapshot_file file = lw_snapshot_file_next(&read);
        assert_int_equal(file.number, sample_files[index].number);
        assert_int_equal(file.size, sample_files[index].size);
    }
    lw_memory_close(memory);
}

static void the_bytes_of_messages_never_change(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer body = lw_buffer_in(memory);
    lw_snapshot_offer offer = sample_offer();
    lw_snapshot_offer_encode(&offer, sample_files, &body);
    expect_bytes(&body, "f6f3c69d954dcd012c05c404686561649603ce00011170090100ccc8");
    lw_buffer_clear(&body);
    lw_snapshot_piece piece = {.transfer = 77, .file = 2, .offset = 256, .bytes = lw_text("xyz")};
    lw_snapshot_piece_encode(&piece, &body);
    expect_bytes(&body, "887cb7ca944d02cd0100c40378797a");
    lw_buffer_clear(&body);
    lw_snapshot_end_encode(77, &body);
    expect_bytes(&body, "b2b596d8914d");
    lw_buffer_clear(&body);
    lw_snapshot_place place = {.file = 2, .offset = 256};
    lw_snapshot_place_encode(&place, &body);
    expect_bytes(&body, "2f5999379202cd0100");
    lw_memory_close(memory);
}

static lw_status decode(uint32_t kind, lw_bytes body) {
    lw_snapshot_offer offer;
    lw_snapshot_piece piece;
    lw_snapshot_place place;
    uint64_t transfer;
    switch (kind) {
    case 0:
        return lw_snapshot_offer_decode(body, &offer);
    case 1:
        return lw_snapshot_piece_decode(body, &piece);
    case 2:
        return lw_snapshot_end_decode(body, &transfer);
    default:
        return lw_snapshot_place_decode(body, &place);
    }
}

static void encode(uint32_t kind, lw_buffer *body) {
    lw_snapshot_offer offer = sample_offer();
    lw_snapshot_piece piece = {.transfer = 7, .file = 2, .offset = 9, .bytes = lw_text("piece")};
    lw_snapshot_place place = {.file = 2, .offset = 256};
    switch (kind) {
    case 0:
        lw_snapshot_offer_encode(&offer, sample_files, body);
        break;
    case 1:
        lw_snapshot_piece_encode(&piece, body);
        break;
    case 2:
        lw_snapshot_end_encode(77, body);
        break;
    default:
        lw_snapshot_place_encode(&place, body);
        break;
    }
}

static void every_flipped_bit_and_every_cut_is_noticed(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    for (uint32_t kind = 0; kind < 4; kind++) {
        lw_buffer body = lw_buffer_in(memory);
        encode(kind, &body);
        assert_int_equal(decode(kind, lw_buffer_view(&body)), LW_OK);
        for (size_t bit = 0; bit < 8 * body.size; bit++) {
            body.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_int_equal(decode(kind, lw_buffer_view(&body)), LW_INVALID_ARGUMENT);
            body.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
        for (size_t size = 0; size < body.size; size++) {
            assert_int_equal(decode(kind, lw_view(body.data, size)), LW_INVALID_ARGUMENT);
        }
    }
    lw_memory_close(memory);
}

/* An offer with these files; the seal is right. */
static lw_status offer_of(lw_memory *memory, const lw_snapshot_file *files, uint32_t count) {
    lw_snapshot_offer offer = sample_offer();
    lw_buffer body = lw_buffer_in(memory);
    offer.file_count = count;
    lw_snapshot_offer_encode(&offer, files, &body);
    lw_status status = decode(0, lw_buffer_view(&body));
    lw_buffer_reset(&body);
    return status;
}

static void files_are_listed_once_in_order_and_end_with_the_catalog(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    const lw_snapshot_file twice[] = {{3, 5}, {3, 5}, {0, 5}}, down[] = {{4, 5}, {3, 5}, {0, 5}},
                           early[] = {{0, 5}, {3, 5}, {0, 5}}, open[] = {{3, 5}, {4, 5}},
                           empty[] = {{3, 0}, {0, 5}},
                           large[] = {{3, LW_SNAPSHOT_SIZE_MAX}, {0, 1}}, only[] = {{0, 5}};
    assert_int_equal(offer_of(memory, twice, 3), LW_INVALID_ARGUMENT);
    assert_int_equal(offer_of(memory, down, 3), LW_INVALID_ARGUMENT);
    assert_int_equal(offer_of(memory, early, 3), LW_INVALID_ARGUMENT);
    assert_int_equal(offer_of(memory, open, 2), LW_INVALID_ARGUMENT);
    assert_int_equal(offer_of(memory, empty, 2), LW_INVALID_ARGUMENT);
    assert_int_equal(offer_of(memory, large, 2), LW_INVALID_ARGUMENT);
    assert_int_equal(offer_of(memory, only, 1), LW_OK);
    lw_memory_close(memory);
}

static void fields_of_newer_programs_are_skipped(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    for (uint32_t kind = 0; kind < 4; kind++) {
        lw_buffer body = lw_buffer_in(memory);
        encode(kind, &body);
        body.data[4]++; /* one field more in the array */
        lw_write_u64(&body, 5);
        lw_put_u32(body.data, lw_crc32c(0, lw_view(body.data + 4, body.size - 4)));
        assert_int_equal(decode(kind, lw_buffer_view(&body)), LW_OK);
    }
    lw_memory_close(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offer_arrives_as_it_was_sent),
        cmocka_unit_test(the_bytes_of_messages_never_change),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_noticed),
        cmocka_unit_test(files_are_listed_once_in_order_and_end_with_the_catalog),
        cmocka_unit_test(fields_of_newer_programs_are_skipped),
    };
    return cmocka_run_group_tests_name("snapshot_wire", tests, unit_arm, NULL) != 0;
}
