/* SPDX-License-Identifier: Apache-2.0 */
/* base/codec against msgpack-c's own packer and parser: what is written is what the packer writes,
 * and what the cursor accepts is what the parser finds the same values in, provided that they are
 * of our kinds, not too deep, and in their shortest form. */
#include "base/codec.h"

#include "tests/unit.h"

#include <assert.h>

/* ---- the parser ------------------------------------------------------------------------------ */

/* What the parser found, in the order of the bytes. */
typedef enum kind { NIL, BOOL, NUMBER, BYTES, TEXT, ARRAY, FOREIGN } kind;
typedef struct event {
    kind kind;
    uint64_t number; /* also a count */
    lw_bytes content;
} event;
typedef struct trace {
    event events[16384];
    size_t count;
} trace;

static int note(trace *found, kind of, uint64_t number, lw_bytes content) {
    assert_true(found->count < sizeof(found->events) / sizeof(found->events[0]));
    found->events[found->count++] = (event){of, number, content};
    return 0;
}

/* msgpack-c's parser is a template over callbacks; its own object tree is one use of it, which
 * hostile input could make take gigabytes. Ours writes the trace. */
#define NO_CONTENT lw_view(NULL, 0)
#define CALLBACK_OF_VALUE(name, type, kind, number)                             \
    static int oracle_callback_##name(trace **found, type value, int *object) { \
        (void)value, *object = 0;                                               \
        return note(*found, kind, number, NO_CONTENT);                          \
    }
#define CALLBACK_OF_CONSTANT(name, kind, number)                    \
    static int oracle_callback_##name(trace **found, int *object) { \
        *object = 0;                                                \
        return note(*found, kind, number, NO_CONTENT);              \
    }
#define CALLBACK_OF_CONTENT(name, kind)                                                      \
    static int oracle_callback_##name(trace **found, const char *whole, const char *content, \
                                      unsigned size, int *object) {                          \
        (void)whole, *object = 0;                                                            \
        return note(*found, kind, 0, lw_view(content, size));                                \
    }
CALLBACK_OF_CONSTANT(nil, NIL, 0)
CALLBACK_OF_CONSTANT(false, BOOL, 0)
CALLBACK_OF_CONSTANT(true, BOOL, 1)
CALLBACK_OF_VALUE(uint8, uint8_t, NUMBER, value)
CALLBACK_OF_VALUE(uint16, uint16_t, NUMBER, value)
CALLBACK_OF_VALUE(uint32, uint32_t, NUMBER, value)
CALLBACK_OF_VALUE(uint64, uint64_t, NUMBER, value)
CALLBACK_OF_VALUE(int8, int8_t, FOREIGN, 0)
CALLBACK_OF_VALUE(int16, int16_t, FOREIGN, 0)
CALLBACK_OF_VALUE(int32, int32_t, FOREIGN, 0)
CALLBACK_OF_VALUE(int64, int64_t, FOREIGN, 0)
CALLBACK_OF_VALUE(float, float, FOREIGN, 0)
CALLBACK_OF_VALUE(double, double, FOREIGN, 0)
CALLBACK_OF_VALUE(array, unsigned, ARRAY, value)
CALLBACK_OF_VALUE(map, unsigned, FOREIGN, 0)
CALLBACK_OF_CONTENT(str, TEXT)
CALLBACK_OF_CONTENT(bin, BYTES)
CALLBACK_OF_CONTENT(ext, FOREIGN)
static int oracle_callback_root(trace **found) {
    (void)found;
    return 0;
}
static int oracle_callback_array_item(trace **found, int *array, int item) {
    (void)found, (void)array, (void)item;
    return 0;
}
static int oracle_callback_map_item(trace **found, int *map, int key, int item) {
    (void)found, (void)map, (void)key, (void)item;
    return 0;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wunused-function"
#include <msgpack.h>
#include <msgpack/unpack_define.h>
#define msgpack_unpack_struct(name)     struct oracle##name
#define msgpack_unpack_func(type, name) static type oracle##name
#define msgpack_unpack_callback(name)   oracle_callback##name
#define msgpack_unpack_object           int
#define msgpack_unpack_user             trace *
#include <msgpack/unpack_template.h>
#pragma GCC diagnostic pop

/* Whether the parser finds one whole value, and nothing behind it. */
static bool parse(lw_bytes bytes, trace *found) {
    struct oracle_context context = {.user = found};
    size_t end = 0;
    found->count = 0;
    oracle_init(&context);
    return oracle_execute(&context, (const char *)bytes.data, bytes.size, &end) > 0 &&
           end == bytes.size;
}

/* ---- the judgement --------------------------------------------------------------------------- */

/* Whether all that was found is of our kinds and no deeper than the reader follows. */
static bool is_ours(const trace *found) {
    uint64_t left[LW_DEPTH_MAX + 2] = {1};
    size_t depth = 0;
    for (size_t index = 0; index < found->count; index++) {
        while (left[depth] == 0) {
            depth--;
        }
        left[depth]--;
        if (found->events[index].kind == FOREIGN) {
            return false;
        }
        if (found->events[index].kind == ARRAY) {
            if (depth == LW_DEPTH_MAX) {
                return false;
            }
            left[++depth] = found->events[index].number;
        }
    }
    return true;
}

static void write_again(const trace *found, lw_buffer *out) {
    for (size_t index = 0; index < found->count; index++) {
        const event *value = &found->events[index];
        switch (value->kind) {
        case NIL:
            lw_write_nil(out);
            break;
        case BOOL:
            lw_write_bool(out, value->number != 0);
            break;
        case NUMBER:
            lw_write_u64(out, value->number);
            break;
        case BYTES:
            lw_write_bytes(out, value->content);
            break;
        case TEXT:
            lw_write_text(out, value->content);
            break;
        case ARRAY:
            lw_write_array(out, (uint32_t)value->number);
            break;
        case FOREIGN:
            fail();
        }
    }
}

/* Reads with the cursor what the parser found, value by value. */
static void expect_same(const trace *found, lw_bytes bytes) {
    lw_reader reader = lw_reader_of(bytes);
    for (size_t index = 0; index < found->count; index++) {
        const event *value = &found->events[index];
        switch (value->kind) {
        case NIL:
            assert_true(lw_read_nil(&reader));
            break;
        case BOOL:
            assert_int_equal(lw_read_bool(&reader), value->number);
            break;
        case NUMBER:
            assert_int_equal(lw_read_u64(&reader), value->number);
            break;
        case BYTES:
            assert_true(lw_equal(lw_read_bytes(&reader), value->content));
            break;
        case TEXT:
            assert_true(lw_equal(lw_read_text(&reader), value->content));
            break;
        case ARRAY:
            assert_int_equal(lw_read_array(&reader), value->number);
            break;
        case FOREIGN:
            fail();
        }
        assert_true(lw_reader_ok(&reader));
    }
    assert_true(lw_reader_done(&reader));
}

/* Whether the cursor accepts `bytes` as one whole value, which it must do exactly when the parser
 * does, the value is ours, and these are the bytes it is written with. */
static bool accepted(lw_memory *memory, lw_bytes bytes) {
    static trace found;
    lw_reader reader = lw_reader_of(bytes);
    lw_read_skip(&reader, 1);
    bool expected = false;
    if (parse(bytes, &found) && is_ours(&found)) {
        lw_buffer again = lw_buffer_in(memory);
        write_again(&found, &again);
        expected = lw_equal(lw_buffer_view(&again), bytes);
        lw_buffer_reset(&again);
    }
    assert_int_equal(lw_reader_done(&reader), expected);
    if (expected) {
        expect_same(&found, bytes);
    }
    return expected;
}

/* ---- stories --------------------------------------------------------------------------------- */

enum { NODES_MAX = 40 };

/* Writes a random tree of at most NODES_MAX values, no deeper than the reader follows. */
static void write_random_tree(lw_buffer *out, uint64_t *seed) {
    uint8_t content[300];
    size_t left[LW_DEPTH_MAX] = {1}, depth = 0, nodes = 0;
    memset(content, (int)unit_random_below(seed, 256), sizeof(content));
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0) {
                return;
            }
            depth--;
        }
        left[depth]--;
        size_t bound = unit_random_below(seed, 8) == 0 ? sizeof(content) : 20;
        lw_bytes some = lw_view(content, unit_random_below(seed, bound));
        switch (unit_random_below(seed, 8)) {
        case 0:
            lw_write_nil(out);
            break;
        case 1:
            lw_write_bool(out, unit_random_below(seed, 2) == 0);
            break;
        case 2:
            lw_write_bytes(out, some);
            break;
        case 3:
            lw_write_text(out, some);
            break;
        case 4:
        case 5:
            if (depth + 1 < LW_DEPTH_MAX && nodes + 20 <= NODES_MAX) {
                left[++depth] = unit_random_below(seed, 20);
                nodes += left[depth];
                lw_write_array(out, (uint32_t)left[depth]);
                break;
            } /* fall through */
        default:
            lw_write_u64(out, unit_random(seed) >> unit_random_below(seed, 64));
        }
    }
}

static void what_was_written_is_read_as_msgpack_c_reads_it(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer out = lw_buffer_in(memory);
    uint64_t seed = 1;
    for (size_t round = 0; round < 5000; round++) {
        lw_buffer_clear(&out);
        write_random_tree(&out, &seed);
        assert_true(accepted(memory, lw_buffer_view(&out)));
        /* No part of a value is a value. */
        size_t cut = unit_random_below(&seed, out.size);
        assert_false(accepted(memory, lw_view(out.data, cut)));
    }
    lw_memory_close(memory);
}

static void random_changes_are_judged_as_msgpack_c_judges_them(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer out = lw_buffer_in(memory);
    uint64_t seed = 2;
    size_t accepted_count = 0;
    enum { ROUND_COUNT = 50000 };
    for (size_t round = 0; round < ROUND_COUNT; round++) {
        lw_buffer_clear(&out);
        write_random_tree(&out, &seed);
        size_t changes = 1 + unit_random_below(&seed, 3);
        for (size_t change = 0; change < changes; change++) {
            uint8_t *at = out.data + unit_random_below(&seed, out.size);
            /* Heads are what matters; a change among them tells more than one in the contents. */
            *at = (uint8_t)(unit_random_below(&seed, 2) == 0 ? 0x90 + unit_random_below(&seed, 0x50)
                                                             : unit_random(&seed));
        }
        /* Out of a block of its own size, so that the sanitizer sees its end. */
        lw_bytes changed = lw_copy(memory, lw_buffer_view(&out));
        accepted_count += accepted(memory, changed);
        lw_free(memory, (void *)(uintptr_t)changed.data);
    }
    /* The test says something only while both happen. */
    assert_in_range(accepted_count, ROUND_COUNT / 100, ROUND_COUNT * 99 / 100);
    lw_memory_close(memory);
}

/* What msgpack-c packs: a number, and as many bytes, characters and elements. */
static void pack_all(uint64_t number, lw_bytes content, msgpack_sbuffer *packed) {
    msgpack_packer packer;
    msgpack_sbuffer_clear(packed);
    msgpack_packer_init(&packer, packed, msgpack_sbuffer_write);
    msgpack_pack_uint64(&packer, number);
    msgpack_pack_array(&packer, (uint32_t)number);
    msgpack_pack_bin(&packer, content.size);
    msgpack_pack_bin_body(&packer, content.data, content.size);
    msgpack_pack_str(&packer, content.size);
    msgpack_pack_str_body(&packer, content.data, content.size);
    msgpack_pack_nil(&packer);
    msgpack_pack_true(&packer);
    msgpack_pack_false(&packer);
}

static void heads_of_all_sizes_are_written_as_msgpack_c_writes_them(void **state) {
    static const uint64_t edges[] = {
        0,     1,      0x0f,    0x10,    0x1f,    0x20,       0x7f,       0x80,       0xff,
        0x100, 0xffff, 0x10000, 0x10001, 1 << 24, UINT32_MAX, 1ULL << 32, 1ULL << 63, UINT64_MAX};
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer written = lw_buffer_in(memory);
    msgpack_sbuffer packed;
    msgpack_sbuffer_init(&packed);
    for (size_t index = 0; index < sizeof(edges) / sizeof(edges[0]); index++) {
        size_t size = edges[index] <= 0x10001 ? (size_t)edges[index] : 0;
        lw_bytes content = lw_view(lw_allocate_zero(memory, size), size);
        lw_buffer_clear(&written);
        lw_write_u64(&written, edges[index]);
        lw_write_array(&written, (uint32_t)edges[index]);
        lw_write_bytes(&written, content);
        lw_write_text(&written, content);
        lw_write_nil(&written);
        lw_write_bool(&written, true);
        lw_write_bool(&written, false);
        pack_all(edges[index], content, &packed);
        assert_true(lw_equal(lw_buffer_view(&written), lw_view(packed.data, packed.size)));
    }
    msgpack_sbuffer_destroy(&packed);
    lw_memory_close(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_of_all_sizes_are_written_as_msgpack_c_writes_them),
        cmocka_unit_test(what_was_written_is_read_as_msgpack_c_reads_it),
        cmocka_unit_test(random_changes_are_judged_as_msgpack_c_judges_them),
    };
    return cmocka_run_group_tests_name("codec oracle", tests, unit_arm, NULL) != 0;
}
