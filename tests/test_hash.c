/* SPDX-License-Identifier: Apache-2.0 */
/* base/hash: values that are in files and must never change; and base/map, the table over them. */
#include "base/hash.h"

#include "tests/unit.h"

/* ---- crc32c ---------------------------------------------------------------------------------- */

static void crc32c_gives_the_standard_values(void **state) {
    (void)state;
    uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
    memset(ones, 0xff, sizeof(ones));
    for (uint8_t index = 0; index < 32; index++) {
        up[index] = index;
        down[index] = (uint8_t)(31 - index);
    }
    assert_int_equal(lw_crc32c(0, lw_text("123456789")), 0xe3069283);
    assert_int_equal(lw_crc32c(0, lw_view(NULL, 0)), 0);
    /* RFC 3720, appendix B.4. */
    assert_int_equal(lw_crc32c(0, lw_view(zeros, 32)), 0x8a9136aa);
    assert_int_equal(lw_crc32c(0, lw_view(ones, 32)), 0x62a8ab43);
    assert_int_equal(lw_crc32c(0, lw_view(up, 32)), 0x46dd794e);
    assert_int_equal(lw_crc32c(0, lw_view(down, 32)), 0x113fdb5c);
}

static uint32_t crc32c_bit_by_bit(uint32_t seed, lw_bytes bytes) {
    uint32_t crc = ~seed;
    for (size_t index = 0; index < bytes.size; index++) {
        crc ^= bytes.data[index];
        for (size_t bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
        }
    }
    return ~crc;
}

static void crc32c_agrees_with_its_definition_and_goes_on_anywhere(void **state) {
    (void)state;
    uint8_t bytes[3000];
    uint64_t seed = 1;
    for (size_t index = 0; index < sizeof(bytes); index++) {
        bytes[index] = (uint8_t)unit_random(&seed);
    }
    for (size_t round = 0; round < 2000; round++) {
        size_t from = unit_random_below(&seed, 32);
        size_t size = unit_random_below(&seed, round % 8 == 0 ? sizeof(bytes) - 32 : 200);
        size_t split = unit_random_below(&seed, size + 1);
        lw_bytes whole = lw_view(bytes + from, size);
        uint32_t crc = lw_crc32c(0, whole);
        assert_int_equal(crc, crc32c_bit_by_bit(0, whole));
        uint32_t front = lw_crc32c(0, lw_view(whole.data, split));
        assert_int_equal(lw_crc32c(front, lw_view(whole.data + split, size - split)), crc);
    }
}

/* ---- xxh3 and the mixer ---------------------------------------------------------------------- */

static void xxh3_keeps_its_values(void **state) {
    (void)state;
    /* The test vectors of xxHash 0.8: one for each way the algorithm goes by length. */
    static const uint64_t prime = 0x9e3779b185ebca8dU;
    static const struct {
        size_t size;
        uint64_t seed, hash;
    } vectors[] = {
        {0, 0, 0x2d06800538d394c2},   {0, prime, 0xa8a6b918b2f0364a},
        {1, 0, 0xc44bdff4074eecdb},   {1, prime, 0x032be332dd766ef8},
        {6, 0, 0x27b56a84cd2d7325},   {12, 0, 0xa713daf0dfbb77e7},
        {24, 0, 0xa3fe70bf9d3510eb},  {48, 0, 0x397da259ecba1f11},
        {80, 0, 0xbcdefbbb2c47c90a},  {195, 0, 0xcd94217ee362ec3a},
        {512, 0, 0x617e49599013cb6b}, {2048, 0, 0xdd59e2c3a5f038e0},
    };
    uint8_t bytes[2048];
    uint64_t generator = 2654435761U;
    for (size_t index = 0; index < sizeof(bytes); index++) {
        bytes[index] = (uint8_t)(generator >> 56);
        generator *= 11400714785074694797U;
    }
    for (size_t index = 0; index < sizeof(vectors) / sizeof(vectors[0]); index++) {
        uint64_t hash = lw_hash(vectors[index].seed, lw_view(bytes, vectors[index].size));
        assert_int_equal(hash, vectors[index].hash);
    }
}

static void the_mixer_keeps_its_values(void **state) {
    (void)state;
    /* The first outputs of SplitMix64 from seed 0. */
    assert_int_equal(lw_mix(0), 0xe220a8397b1dcdaf);
    assert_int_equal(lw_mix(0x9e3779b97f4a7c15), 0x6e789e6aa1b965f4);
}

static void the_mixer_spreads_every_bit(void **state) {
    (void)state;
    enum { ROUND_COUNT = 2000 };
    uint64_t seed = 2;
    for (size_t bit = 0; bit < 64; bit++) {
        int changed = 0;
        for (size_t round = 0; round < ROUND_COUNT; round++) {
            uint64_t value = unit_random(&seed);
            changed += __builtin_popcountll(lw_mix(value) ^ lw_mix(value ^ (uint64_t)1 << bit));
        }
        assert_in_range(changed, ROUND_COUNT * 31, ROUND_COUNT * 33);
    }
}

/* ---- map ------------------------------------------------------------------------------------- */

typedef struct entry {
    uint64_t key;
    lw_map_node node;
    bool present;
} entry;

static entry *find(const lw_map *map, uint64_t key, uint64_t hash) {
    for (lw_map_node *node = lw_map_first(map, hash); node != NULL; node = lw_map_next(node)) {
        entry *found = LW_MAP_ENTRY(node, entry, node);
        if (found->key == key) {
            return found;
        }
    }
    return NULL;
}

static void a_map_agrees_with_a_table_of_flags(void **state) {
    (void)state;
    enum { KEY_COUNT = 2000 };
    static entry entries[KEY_COUNT];
    /* All hashes apart, many equal, and all in one bucket. */
    for (unsigned shift = 0; shift <= 12; shift += 6) {
        lw_memory *memory = lw_memory_open();
        lw_map map = lw_map_in(memory);
        memset(entries, 0, sizeof(entries));
        assert_null(lw_map_first(&map, 0));
        uint64_t seed = 3 + shift;
        uint32_t count = 0;
        for (size_t round = 0; round < 20000; round++) {
            /* The keys in use widen, so that the table grows between removals. */
            uint64_t key = unit_random_below(&seed, 1 + round / 8 % KEY_COUNT);
            uint64_t hash = shift == 12 ? key << 32 : lw_mix(key >> shift);
            entry *found = find(&map, key, hash);
            assert_ptr_equal(found, entries[key].present ? &entries[key] : NULL);
            if (found == NULL) {
                entries[key].key = key;
                lw_map_insert(&map, &entries[key].node, hash);
                entries[key].present = true;
                count++;
            } else if (unit_random_below(&seed, 3) == 0) {
                lw_map_remove(&map, &found->node);
                found->present = false;
                count--;
            }
            assert_int_equal(map.count, count);
            assert_true(map.count <= map.bucket_count);
        }
        assert_true(map.bucket_count > 16);
        lw_map_reset(&map);
        assert_int_equal(lw_memory_used(memory), 0);
        assert_int_equal(map.count, 0);
        assert_null(find(&map, 0, lw_mix(0)));
        lw_memory_close(memory);
    }
}

static void all_nodes_of_one_hash_are_walked(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_map map = lw_map_in(memory);
    entry same[3] = {{.key = 1}, {.key = 2}, {.key = 4}}, other = {.key = 8};
    for (size_t index = 0; index < 3; index++) {
        lw_map_insert(&map, &same[index].node, 5);
        /* A neighbour in the same bucket is passed over. */
        if (index == 0) {
            lw_map_insert(&map, &other.node, 5 + 16);
        }
    }
    uint64_t keys = 0;
    for (lw_map_node *node = lw_map_first(&map, 5); node != NULL; node = lw_map_next(node)) {
        keys += LW_MAP_ENTRY(node, entry, node)->key;
    }
    assert_int_equal(keys, 1 + 2 + 4);
    lw_memory_close(memory);
}

static void remove_what_is_not_there(void *argument) {
    (void)argument;
    lw_map map = lw_map_in(lw_memory_open());
    entry inside = {0}, outside = {0};
    lw_map_insert(&map, &inside.node, 5);
    lw_map_remove(&map, &outside.node);
}

static void removing_what_is_not_there_is_caught(void **state) {
    (void)state;
    unit_expect_abort(remove_what_is_not_there, NULL, "*link != NULL");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_gives_the_standard_values),
        cmocka_unit_test(crc32c_agrees_with_its_definition_and_goes_on_anywhere),
        cmocka_unit_test(xxh3_keeps_its_values),
        cmocka_unit_test(the_mixer_keeps_its_values),
        cmocka_unit_test(the_mixer_spreads_every_bit),
        cmocka_unit_test(a_map_agrees_with_a_table_of_flags),
        cmocka_unit_test(all_nodes_of_one_hash_are_walked),
        cmocka_unit_test(removing_what_is_not_there_is_caught),
    };
    return cmocka_run_group_tests_name("hash", tests, unit_arm, NULL) != 0;
}
