/* SPDX-License-Identifier: Apache-2.0 */
/* base/bytes: views, fields, the tracked heap, buffers and arenas. */
#include "base/bytes.h"

#include "tests/unit.h"

#include <stdlib.h>

/* ---- views and fields ------------------------------------------------------------------------ */

static void views_sort_in_byte_order(void **state) {
    (void)state;
    const lw_bytes sorted[] = {lw_view(NULL, 0), lw_view("\0", 1), lw_view("\0\0", 2),
                               lw_text("a"),     lw_text("a\xff"), lw_text("ab\x80"),
                               lw_text("b"),     lw_text("\xff")};
    const size_t order[] = {0, 1, 2, 3, 5, 4, 6, 7};
    enum { COUNT = sizeof(order) / sizeof(order[0]) };
    for (size_t one = 0; one < COUNT; one++) {
        for (size_t two = 0; two < COUNT; two++) {
            int compared = lw_compare(sorted[order[one]], sorted[order[two]]);
            assert_int_equal((compared > 0) - (compared < 0), (one > two) - (one < two));
            assert_int_equal(lw_equal(sorted[order[one]], sorted[order[two]]), one == two);
        }
    }
}

static void views_know_their_prefixes(void **state) {
    (void)state;
    assert_true(lw_starts_with(lw_text("shard/7"), lw_text("shard/")));
    assert_true(lw_starts_with(lw_text("shard/"), lw_text("shard/")));
    assert_true(lw_starts_with(lw_text("a"), lw_view(NULL, 0)));
    assert_false(lw_starts_with(lw_text("shard"), lw_text("shard/")));
    assert_false(lw_starts_with(lw_text("Shard/7"), lw_text("shard/")));
    assert_int_equal(lw_common_prefix(lw_text("abcd"), lw_text("abxd")), 2);
    assert_int_equal(lw_common_prefix(lw_text("ab"), lw_text("abc")), 2);
    assert_int_equal(lw_common_prefix(lw_view(NULL, 0), lw_text("abc")), 0);
}

static void fields_are_little_endian_and_sorted_ones_sort(void **state) {
    (void)state;
    uint8_t field[8];
    lw_put_u16(field, 0x0102);
    assert_memory_equal(field, "\x02\x01", 2);
    assert_int_equal(lw_get_u16(field), 0x0102);
    lw_put_u32(field, 0x01020304);
    assert_memory_equal(field, "\x04\x03\x02\x01", 4);
    assert_int_equal(lw_get_u32(field), 0x01020304);
    lw_put_u64(field, 0x0102030405060708);
    assert_memory_equal(field, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_int_equal(lw_get_u64(field), 0x0102030405060708);
    lw_put_u64_sorted(field, 0x0102030405060708);
    assert_memory_equal(field, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    assert_int_equal(lw_get_u64_sorted(field), 0x0102030405060708);
}

static void bytes_are_taken_from_the_front_or_not_at_all(void **state) {
    (void)state;
    lw_bytes rest = lw_text("abc"), taken = {0};
    assert_true(lw_take_bytes(&rest, 2, &taken));
    assert_true(lw_equal(taken, lw_text("ab")));
    assert_true(lw_equal(rest, lw_text("c")));
    assert_false(lw_take_bytes(&rest, 2, &taken));
    assert_false(lw_take_bytes(&rest, SIZE_MAX, &taken));
    assert_true(lw_equal(taken, lw_text("ab")));
    assert_true(lw_equal(rest, lw_text("c")));
    rest = lw_view(NULL, 0);
    assert_true(lw_take_bytes(&rest, 0, &taken));
    assert_int_equal(taken.size, 0);
}

/* ---- variable-length integers ---------------------------------------------------------------- */

static void a_varint_takes_seven_bits_a_byte(void **state) {
    (void)state;
    static const struct {
        uint64_t value;
        const char *bytes;
        size_t size;
    } golden[] = {
        {0, "\x00", 1},
        {127, "\x7f", 1},
        {128, "\x80\x01", 2},
        {300, "\xac\x02", 2},
        {16383, "\xff\x7f", 2},
        {16384, "\x80\x80\x01", 3},
        {UINT32_MAX, "\xff\xff\xff\xff\x0f", 5},
        {UINT64_MAX, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10},
    };
    for (size_t index = 0; index < sizeof(golden) / sizeof(golden[0]); index++) {
        uint8_t bytes[LW_VARINT_SIZE_MAX];
        assert_int_equal(lw_put_varint(bytes, golden[index].value), golden[index].size);
        assert_memory_equal(bytes, golden[index].bytes, golden[index].size);
    }
}

static void every_varint_comes_back(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (size_t round = 0; round < 20000; round++) {
        uint64_t value = unit_random(&seed) >> unit_random_below(&seed, 64), taken = 0;
        uint8_t bytes[LW_VARINT_SIZE_MAX + 1];
        memset(bytes, 0xff, sizeof(bytes));
        size_t size = lw_put_varint(bytes, value);
        for (size_t cut = 0; cut < size; cut++) {
            lw_bytes rest = lw_view(bytes, cut);
            assert_false(lw_take_varint(&rest, &taken));
            assert_int_equal(rest.size, cut);
        }
        lw_bytes rest = lw_view(bytes, sizeof(bytes));
        assert_true(lw_take_varint(&rest, &taken));
        assert_true(taken == value);
        assert_ptr_equal(rest.data, bytes + size);
        assert_int_equal(rest.size, sizeof(bytes) - size);
    }
}

static void a_varint_has_one_encoding_only(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } refused[] = {
        {"", 0},
        {"\x80", 1},
        {"\x80\x00", 2},                                     /* longer than needed */
        {"\xff\x80\x00", 3},                                 /* longer than needed */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10},    /* beyond 64 bits */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11} /* never ends */
    };
    for (size_t index = 0; index < sizeof(refused) / sizeof(refused[0]); index++) {
        lw_bytes rest = lw_view(refused[index].bytes, refused[index].size);
        uint64_t value = 77;
        assert_false(lw_take_varint(&rest, &value));
        assert_true(value == 77);
        assert_ptr_equal(rest.data, refused[index].bytes);
        assert_int_equal(rest.size, refused[index].size);
    }
    /* Whatever random bytes are accepted, writing the value again gives the same bytes. */
    uint64_t seed = 2;
    for (size_t round = 0; round < 20000; round++) {
        uint8_t bytes[12], again[LW_VARINT_SIZE_MAX];
        for (size_t index = 0; index < sizeof(bytes); index++) {
            bytes[index] = (uint8_t)unit_random(&seed);
            bytes[index] |= unit_random_below(&seed, 4) != 0 ? 0x80 : 0;
        }
        lw_bytes rest = lw_view(bytes, sizeof(bytes));
        uint64_t value;
        if (lw_take_varint(&rest, &value)) {
            size_t size = lw_put_varint(again, value);
            assert_int_equal(rest.data - bytes, size);
            assert_memory_equal(again, bytes, size);
        }
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void closing_a_heap_frees_what_was_left(void **state) {
    (void)state;
    /* The leak check of AddressSanitizer is the judge. */
    lw_memory *memory = lw_memory_open();
    for (size_t index = 0; index < 100; index++) {
        memset(lw_allocate(memory, index), 1, index);
        memset(lw_allocate_aligned(memory, index, 4096), 1, index);
    }
    assert_int_equal(lw_memory_used(memory), 2 * 4950);
    lw_memory_close(memory);
}

static void every_alignment_is_kept(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        for (size_t size = 0; size < 40; size++) {
            uint8_t *block = lw_allocate_aligned(memory, size, alignment);
            assert_int_equal((uintptr_t)block % alignment, 0);
            assert_int_equal((uintptr_t)block % 16, 0);
            memset(block, 1, size);
            assert_int_equal((uintptr_t)lw_allocate(memory, size) % 16, 0);
        }
    }
    lw_memory_close(memory);
}

static void zeroed_memory_is_zero(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    static const uint8_t zeros[1000];
    for (size_t round = 0; round < 10; round++) {
        uint8_t *block = lw_allocate_zero(memory, sizeof(zeros));
        assert_memory_equal(block, zeros, sizeof(zeros));
        memset(block, 1, sizeof(zeros));
        lw_free(memory, block);
    }
    lw_memory_close(memory);
}

static void a_copy_is_ones_own(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    char original[] = "value";
    lw_bytes copy = lw_copy(memory, lw_text(original));
    original[0] = 'V';
    assert_true(lw_equal(copy, lw_text("value")));
    lw_bytes empty = lw_copy(memory, lw_view(NULL, 0));
    assert_int_equal(empty.size, 0);
    assert_non_null(empty.data);
    assert_int_equal(lw_memory_used(memory), 5);
    lw_memory_close(memory);
}

/* Random calls against a table of what must be there. */
static void blocks_keep_their_bytes_and_the_sum_is_right(void **state) {
    (void)state;
    enum { SLOT_COUNT = 64 };
    struct {
        uint8_t *block;
        size_t size;
        bool aligned;
    } slots[SLOT_COUNT] = {0};
    lw_memory *memory = lw_memory_open();
    uint64_t seed = 3;
    size_t used = 0;
    for (size_t round = 0; round < 20000; round++) {
        size_t slot = unit_random_below(&seed, SLOT_COUNT);
        size_t size = unit_random_below(&seed, 300);
        for (size_t index = 0; index < slots[slot].size; index++) {
            assert_int_equal(slots[slot].block[index], slot);
        }
        used -= slots[slot].size;
        if (!slots[slot].aligned && unit_random_below(&seed, 2) == 0) {
            size_t kept = size < slots[slot].size ? size : slots[slot].size;
            slots[slot].block = lw_reallocate(memory, slots[slot].block, size);
            for (size_t index = 0; index < kept; index++) {
                assert_int_equal(slots[slot].block[index], slot);
            }
        } else {
            lw_free(memory, slots[slot].block);
            slots[slot].aligned = unit_random_below(&seed, 2) == 0;
            slots[slot].block = slots[slot].aligned ? lw_allocate_aligned(memory, size, 64)
                                                    : lw_allocate(memory, size);
        }
        slots[slot].size = size;
        memset(slots[slot].block, (int)slot, size);
        used += size;
        assert_int_equal(lw_memory_used(memory), used);
    }
    lw_memory_close(memory);
}

static void free_into_another(void *argument) {
    (void)argument;
    lw_memory *one = lw_memory_open(), *other = lw_memory_open();
    lw_free(other, lw_allocate(one, 8));
}
static void free_what_no_heap_gave(void *argument) {
    (void)argument;
    static uint64_t plain[16];
    lw_memory *memory = lw_memory_open();
    lw_free(memory, &plain[8]);
}
static void resize_an_aligned_block(void *argument) {
    (void)argument;
    lw_memory *memory = lw_memory_open();
    (void)lw_reallocate(memory, lw_allocate_aligned(memory, 8, 512), 16);
}
static void align_to_seven(void *argument) {
    (void)argument;
    (void)lw_allocate_aligned(lw_memory_open(), 8, 7);
}

static void misuse_of_a_heap_is_caught(void **state) {
    (void)state;
    unit_expect_abort(free_into_another, NULL, "found->memory == memory");
    unit_expect_abort(free_what_no_heap_gave, NULL, "found->magic == BLOCK_MAGIC");
    unit_expect_abort(resize_an_aligned_block, NULL, "old->alignment == ALIGNMENT");
    unit_expect_abort(align_to_seven, NULL, "(alignment & (alignment - 1)) == 0");
}

/* Freeing twice: AddressSanitizer sees it first, the magic otherwise; either way the process ends.
 */
static void free_twice(void *argument) {
    (void)argument;
    lw_memory *memory = lw_memory_open();
    /* A neighbour keeps malloc from joining the freed block with the top of the heap. */
    void *block = lw_allocate(memory, 5000), *neighbour = lw_allocate(memory, 5000);
    lw_free(memory, block);
    lw_free(memory, block);
    lw_free(memory, neighbour);
}

static void freeing_twice_is_caught(void **state) {
    (void)state;
    char text[4096];
    int status = unit_child(free_twice, NULL, text, sizeof(text));
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(strstr(text, "found->magic == BLOCK_MAGIC") != NULL ||
                strstr(text, "heap-use-after-free") != NULL);
}

static void ask_for_everything(void *argument) {
    (void)lw_allocate(lw_memory_open(), *(size_t *)argument);
}

static void running_out_of_memory_stops_the_process(void **state) {
    (void)state;
    size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2 + 1};
    for (size_t index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++) {
        unit_expect_abort(ask_for_everything, &sizes[index], "out of memory: cannot allocate");
    }
}

/* ---- buffers --------------------------------------------------------------------------------- */

static void a_buffer_holds_what_was_appended(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer buffer = lw_buffer_in(memory);
    lw_buffer_append(&buffer, lw_view(NULL, 0));
    assert_int_equal(buffer.capacity, 0);
    lw_buffer_append(&buffer, lw_text("ab"));
    lw_buffer_append_u8(&buffer, 0x7f);
    lw_buffer_append_u32(&buffer, 0x01020304);
    lw_buffer_append_u64(&buffer, 0x0102030405060708);
    lw_buffer_append_varint(&buffer, 300);
    lw_buffer_print(&buffer, "%s=%d", "x", -7);
    lw_buffer_print(&buffer, "%s", "");
    static const char expected[] = "ab\x7f\x04\x03\x02\x01\x08\x07\x06\x05\x04\x03\x02\x01"
                                   "\xac\x02x=-7";
    assert_true(lw_equal(lw_buffer_view(&buffer), lw_view(expected, sizeof(expected) - 1)));
    lw_buffer_reset(&buffer);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_buffer_append(&buffer, lw_text("again"));
    assert_true(lw_equal(lw_buffer_view(&buffer), lw_text("again")));
    lw_memory_close(memory);
}

static void a_buffer_grows_without_losing_a_byte(void **state) {
    (void)state;
    enum { SIZE_MAX_HERE = 1 << 20 };
    lw_memory *memory = lw_memory_open();
    lw_buffer buffer = lw_buffer_in(memory);
    uint8_t *model = malloc(SIZE_MAX_HERE);
    assert_non_null(model);
    uint64_t seed = 4;
    size_t size = 0, growths = 0, capacity = 0;
    while (size < SIZE_MAX_HERE - 1000) {
        size_t piece_size = unit_random_below(&seed, 1000);
        for (size_t index = 0; index < piece_size; index++) {
            model[size + index] = (uint8_t)unit_random(&seed);
        }
        lw_buffer_append(&buffer, lw_view(model + size, piece_size));
        size += piece_size;
        growths += buffer.capacity != capacity;
        capacity = buffer.capacity;
        assert_true(buffer.size <= buffer.capacity);
    }
    assert_true(lw_equal(lw_buffer_view(&buffer), lw_view(model, size)));
    assert_in_range(growths, 2, 24);
    lw_buffer_clear(&buffer);
    assert_int_equal(buffer.size, 0);
    assert_int_equal(buffer.capacity, capacity);
    free(model);
    lw_memory_close(memory);
}

static void room_is_reserved_without_moving_the_end(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer buffer = lw_buffer_in(memory);
    assert_non_null(lw_buffer_reserve(&buffer, 0));
    lw_buffer_append(&buffer, lw_text("ab"));
    uint8_t *room = lw_buffer_reserve(&buffer, 10000);
    memset(room, 'c', 10000);
    assert_int_equal(buffer.size, 2);
    assert_ptr_equal(room, buffer.data + 2);
    buffer.size += 1;
    assert_true(lw_equal(lw_buffer_view(&buffer), lw_text("abc")));
    lw_memory_close(memory);
}

static void long_text_is_printed_whole(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer buffer = lw_buffer_in(memory);
    for (int width = 1; width < 300; width++) {
        lw_buffer_clear(&buffer);
        lw_buffer_print(&buffer, "%*s", width, "x");
        assert_int_equal(buffer.size, width);
        assert_int_equal(buffer.data[width - 1], 'x');
    }
    lw_memory_close(memory);
}

static void append_a_buffer_to_itself(void *argument) {
    (void)argument;
    lw_buffer buffer = lw_buffer_in(lw_memory_open());
    lw_buffer_append(&buffer, lw_text("ab"));
    lw_buffer_append(&buffer, lw_buffer_view(&buffer));
}
static void reserve_everything(void *argument) {
    (void)argument;
    lw_buffer buffer = lw_buffer_in(lw_memory_open());
    lw_buffer_append(&buffer, lw_text("ab"));
    (void)lw_buffer_reserve(&buffer, SIZE_MAX - 1);
}

static void misuse_of_a_buffer_is_caught(void **state) {
    (void)state;
    unit_expect_abort(append_a_buffer_to_itself, NULL, "buffer->capacity");
    unit_expect_abort(reserve_everything, NULL, "out of memory");
}

static void a_buffer_on_lent_space_allocates_what_does_not_fit(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    uint8_t space[16];
    lw_buffer buffer = lw_buffer_on(memory, space, sizeof(space));
    lw_buffer_append(&buffer, lw_text("0123456789abcdef"));
    assert_ptr_equal(buffer.data, space);
    assert_int_equal(lw_memory_used(memory), 0);
    lw_buffer_append_u8(&buffer, '!');
    assert_true(lw_equal(lw_buffer_view(&buffer), lw_text("0123456789abcdef!")));
    assert_true(lw_memory_used(memory) > 0);
    lw_buffer_append(&buffer, lw_text("0123456789abcdef0123456789abcdef0123456789abcdef"));
    assert_int_equal(buffer.size, 65);
    lw_buffer_reset(&buffer);
    assert_int_equal(lw_memory_used(memory), 0);
    buffer = lw_buffer_on(memory, space, sizeof(space));
    lw_buffer_reset(&buffer); /* the space stays its owner's */
    lw_buffer_append_u8(&buffer, '?');
    assert_ptr_not_equal(buffer.data, space);
    lw_memory_close(memory);
}

/* ---- arenas ---------------------------------------------------------------------------------- */

static void an_arena_on_lent_space_allocates_what_does_not_fit(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    _Alignas(16) uint8_t space[256];
    lw_arena arena = lw_arena_on(memory, space, sizeof(space));
    uint8_t *first = lw_arena_allocate(&arena, 100);
    memset(first, 1, 100);
    assert_true(first >= space && first + 100 <= space + sizeof(space));
    assert_int_equal(arena.reserved, 0);
    assert_int_equal(lw_memory_used(memory), 0);
    uint8_t *alone = lw_arena_allocate(&arena, 40000); /* goes behind the block that hands out */
    uint8_t *second = lw_arena_allocate(&arena, 200);
    memset(alone, 2, 40000);
    memset(second, 3, 200);
    assert_int_equal(first[99], 1);
    assert_int_equal(arena.reserved, lw_memory_used(memory));
    lw_arena_reset(&arena);
    assert_int_equal(lw_memory_used(memory), 0);
    memset(space, 4, sizeof(space)); /* the sanitizer lets its owner have it again */
    arena = lw_arena_on(memory, space, sizeof(space));
    lw_arena_reset(&arena);
    memset(space, 5, sizeof(space));
    lw_memory_close(memory);
}

static void pieces_are_aligned_and_apart(void **state) {
    (void)state;
    enum { PIECE_COUNT = 3000 };
    lw_memory *memory = lw_memory_open();
    lw_arena arena = lw_arena_in(memory);
    lw_bytes *pieces = lw_allocate(memory, PIECE_COUNT * sizeof(*pieces));
    size_t outside = lw_memory_used(memory), used = 0;
    uint64_t seed = 5;
    for (size_t index = 0; index < PIECE_COUNT; index++) {
        size_t bound = unit_random_below(&seed, 50) == 0 ? 40000 : 100;
        size_t size = unit_random_below(&seed, bound);
        uint8_t *piece = lw_arena_allocate(&arena, size);
        assert_int_equal((uintptr_t)piece % 16, 0);
        memset(piece, (int)(index & 0xff), size);
        pieces[index] = lw_view(piece, size);
        used += size;
    }
    for (size_t index = 0; index < PIECE_COUNT; index++) {
        for (size_t byte = 0; byte < pieces[index].size; byte++) {
            assert_int_equal(pieces[index].data[byte], index & 0xff);
        }
    }
    assert_int_equal(arena.used, used);
    assert_int_equal(arena.reserved, lw_memory_used(memory) - outside);
    assert_true(arena.reserved > used);
    assert_true(arena.reserved < used * 3 / 2);
    lw_arena_reset(&arena);
    assert_int_equal(lw_memory_used(memory), outside);
    assert_int_equal(arena.used, 0);
    assert_int_equal(arena.reserved, 0);
    lw_memory_close(memory);
}

static void blocks_double_from_1_kib_to_64_kib(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_arena arena = lw_arena_in(memory);
    const size_t kib[] = {1, 2, 4, 8, 16, 32, 64, 64, 64};
    const size_t header = 48; /* of the heap: with it a large one is a number of pages */
    for (size_t index = 0; index < sizeof(kib) / sizeof(kib[0]); index++) {
        size_t before = arena.reserved;
        while (arena.reserved == before) {
            (void)lw_arena_allocate(&arena, 100);
        }
        size_t expected = kib[index] * 1024 - (kib[index] == 64 ? header : 0);
        assert_int_equal(arena.reserved - before, expected);
    }
    lw_arena_reset(&arena);
    (void)lw_arena_allocate(&arena, 3000);
    assert_int_equal(arena.reserved, 4096);
    lw_memory_close(memory);
}

static void a_large_piece_stands_alone_and_the_block_goes_on(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_arena arena = lw_arena_in(memory);
    memset(lw_arena_allocate(&arena, 20000), 1, 20000);
    assert_in_range(arena.reserved, 20000, 20100);
    uint8_t *small = lw_arena_allocate(&arena, 16);
    assert_in_range(arena.reserved, 21000, 21200);
    size_t reserved = arena.reserved;
    memset(lw_arena_allocate(&arena, 1000000), 2, 1000000);
    assert_in_range(arena.reserved - reserved, 1000000, 1000100);
    assert_ptr_equal(lw_arena_allocate(&arena, 16), small + 16);
    lw_memory_close(memory);
}

static void an_empty_piece_has_a_place_of_its_own(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_arena arena = lw_arena_in(memory);
    void *one = lw_arena_allocate(&arena, 0);
    assert_ptr_not_equal(one, lw_arena_allocate(&arena, 0));
    assert_int_equal(arena.used, 0);
    lw_bytes copy = lw_arena_copy(&arena, lw_text("abc"));
    assert_true(lw_equal(copy, lw_text("abc")));
    assert_int_equal(lw_arena_copy(&arena, lw_view(NULL, 0)).size, 0);
    lw_memory_close(memory);
}

#ifdef __SANITIZE_ADDRESS__
static void write_past_a_piece(void *argument) {
    lw_arena arena = lw_arena_in(lw_memory_open());
    volatile uint8_t *piece = lw_arena_allocate(&arena, 10);
    piece[*(size_t *)argument] = 1;
}

static void the_sanitizer_sees_the_end_of_a_piece(void **state) {
    (void)state;
    size_t offsets[] = {10, 15, 16, 500};
    for (size_t index = 0; index < sizeof(offsets) / sizeof(offsets[0]); index++) {
        char text[4096];
        (void)unit_child(write_past_a_piece, &offsets[index], text, sizeof(text));
        assert_non_null(strstr(text, "use-after-poison"));
    }
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_sort_in_byte_order),
        cmocka_unit_test(views_know_their_prefixes),
        cmocka_unit_test(fields_are_little_endian_and_sorted_ones_sort),
        cmocka_unit_test(bytes_are_taken_from_the_front_or_not_at_all),
        cmocka_unit_test(a_varint_takes_seven_bits_a_byte),
        cmocka_unit_test(every_varint_comes_back),
        cmocka_unit_test(a_varint_has_one_encoding_only),
        cmocka_unit_test(closing_a_heap_frees_what_was_left),
        cmocka_unit_test(every_alignment_is_kept),
        cmocka_unit_test(zeroed_memory_is_zero),
        cmocka_unit_test(a_copy_is_ones_own),
        cmocka_unit_test(blocks_keep_their_bytes_and_the_sum_is_right),
        cmocka_unit_test(misuse_of_a_heap_is_caught),
        cmocka_unit_test(freeing_twice_is_caught),
        cmocka_unit_test(running_out_of_memory_stops_the_process),
        cmocka_unit_test(a_buffer_holds_what_was_appended),
        cmocka_unit_test(a_buffer_grows_without_losing_a_byte),
        cmocka_unit_test(room_is_reserved_without_moving_the_end),
        cmocka_unit_test(long_text_is_printed_whole),
        cmocka_unit_test(misuse_of_a_buffer_is_caught),
        cmocka_unit_test(a_buffer_on_lent_space_allocates_what_does_not_fit),
        cmocka_unit_test(an_arena_on_lent_space_allocates_what_does_not_fit),
        cmocka_unit_test(pieces_are_aligned_and_apart),
        cmocka_unit_test(blocks_double_from_1_kib_to_64_kib),
        cmocka_unit_test(a_large_piece_stands_alone_and_the_block_goes_on),
        cmocka_unit_test(an_empty_piece_has_a_place_of_its_own),
#ifdef __SANITIZE_ADDRESS__
        cmocka_unit_test(the_sanitizer_sees_the_end_of_a_piece),
#endif
    };
    return cmocka_run_group_tests_name("bytes", tests, unit_arm, NULL) != 0;
}
