/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/directory.h"
#include "tests/planted_story.h"
#include "tests/unit.h"

#include <stdlib.h>

static int begin(void **state) {
    *state = lw_memory_open();
    return 0;
}

static int end(void **state) {
    lw_memory_close(*state);
    return 0;
}

static uint64_t planted; /* bits of lw_planted_bug */

static lw_directory directory_in(lw_memory *memory) {
    lw_directory directory = lw_directory_in(memory);
    directory.bugs = planted;
    return directory;
}

static lw_directory_row row(uint64_t id, uint64_t range_version, const char *start,
                            const char *end_key) {
    return (lw_directory_row){.shard = {.id = id,
                                        .epoch = {range_version, 1},
                                        .start = lw_text(start),
                                        .end = lw_text(end_key),
                                        .replicas = {{10, LW_REPLICA_VOTER}},
                                        .replica_count = 1}};
}

static uint64_t holder(const lw_directory *directory, const char *key) {
    lw_directory_row found;
    return lw_directory_lookup(directory, lw_text(key), &found) ? found.shard.id : 0;
}

static void a_key_is_looked_up(void **state) {
    lw_directory directory = directory_in(*state);
    lw_directory_row rows[] = {row(1, 2, "", "c"), row(2, 2, "c", "m"), row(3, 2, "p", "")};
    for (int index = 2; index >= 0; index--) {
        assert_int_equal(lw_directory_merge(&directory, &rows[index]), LW_DIRECTORY_CHANGED);
    }
    assert_int_equal(holder(&directory, ""), 1);
    assert_int_equal(holder(&directory, "bzz"), 1);
    assert_int_equal(holder(&directory, "c"), 2);
    assert_int_equal(holder(&directory, "n"), 0);
    assert_int_equal(holder(&directory, "p"), 3);
    assert_int_equal(holder(&directory, "zz"), 3);
}

static void of_a_split_that_is_known_by_halves_the_child_is_preferred(void **state) {
    lw_directory directory = directory_in(*state);
    lw_directory_row parent = row(1, 1, "", ""), child = row(2, 2, "m", "");
    lw_directory_row low = row(1, 2, "", "m");
    (void)lw_directory_merge(&directory, &parent);
    (void)lw_directory_merge(&directory, &child);
    assert_int_equal(holder(&directory, "a"), 1);
    assert_int_equal(holder(&directory, "m"), 2);
    (void)lw_directory_merge(&directory, &low);
    (void)lw_directory_merge(&directory, &parent); /* late */
    assert_int_equal(holder(&directory, "lzz"), 1);
    assert_int_equal(holder(&directory, "z"), 2);
}

/* In whatever order what became of two shards is heard: nobody is sent to the one that ended. */
static void what_became_part_of_another_is_covered_by_it(void **state) {
    lw_directory_row rows[] = {row(1, 2, "", "m"), row(2, 2, "m", ""), row(2, 3, "m", ""),
                               row(1, 4, "", ""),  row(1, 5, "", "p"), row(3, 5, "p", "")};
    for (uint32_t order = 0; order < 720; order++) {
        lw_directory directory = directory_in(*state);
        uint32_t left[] = {0, 1, 2, 3, 4, 5}, count = 6, rest = order;
        while (count > 0) {
            uint32_t place = rest % count;
            rest /= count;
            (void)lw_directory_merge(&directory, &rows[left[place]]);
            left[place] = left[--count];
        }
        assert_int_equal(holder(&directory, "a"), 1);
        assert_int_equal(holder(&directory, "n"), 1);
        assert_int_equal(holder(&directory, "z"), 3);
        lw_directory_reset(&directory);
    }
}

static void equal_epochs_with_different_content_are_an_alarm(void **state) {
    lw_directory directory = directory_in(*state);
    lw_directory_row one = row(1, 1, "", "m"), other = row(1, 1, "", "n"),
                     later = row(1, 2, "", "k");
    lw_directory_row found;
    assert_int_equal(lw_directory_merge(&directory, &other), LW_DIRECTORY_CHANGED);
    assert_int_equal(lw_directory_merge(&directory, &one), LW_DIRECTORY_DISPUTED);
    assert_int_equal(lw_directory_merge(&directory, &other), LW_DIRECTORY_OLD);
    assert_true(lw_directory_find(&directory, 1, &found));
    assert_true(found.disputed);
    assert_int_equal(lw_directory_merge(&directory, &later), LW_DIRECTORY_CHANGED);
    assert_true(lw_directory_find(&directory, 1, &found));
    assert_false(found.disputed);
}

static void a_leader_of_a_later_term_stands(void **state) {
    lw_directory directory = directory_in(*state);
    lw_directory_row it = row(1, 1, "", ""), found;
    it.term = 4;
    it.shard.leader = 11;
    (void)lw_directory_merge(&directory, &it);
    it.term = 3;
    it.shard.leader = 12;
    assert_int_equal(lw_directory_merge(&directory, &it), LW_DIRECTORY_OLD);
    it.term = 0;
    it.shard.epoch.config_version = 2;
    assert_int_equal(lw_directory_merge(&directory, &it), LW_DIRECTORY_CHANGED);
    assert_true(lw_directory_find(&directory, 1, &found));
    assert_int_equal(found.shard.leader, 11);
    assert_int_equal(found.term, 4);
    it.term = 5;
    assert_int_equal(lw_directory_merge(&directory, &it), LW_DIRECTORY_CHANGED);
    assert_true(lw_directory_find(&directory, 1, &found));
    assert_int_equal(found.shard.leader, 12);
}

static uint64_t ends_at(const lw_directory *directory, const char *key) {
    lw_directory_row found;
    return lw_directory_before(directory, lw_text(key), &found) ? found.shard.id : 0;
}

static void the_one_before_a_key_is_found_among_those_of_before(void **state) {
    lw_directory directory = directory_in(*state);
    lw_directory_row rows[] = {row(1, 4, "", "m"),  row(2, 2, "c", "m"), row(3, 5, "m", "p"),
                               row(4, 1, "o", "p"), row(5, 1, "p", ""),  row(6, 1, "m", "z")};
    for (int index = 0; index < 6; index++) {
        (void)lw_directory_merge(&directory, &rows[index]);
    }
    assert_int_equal(ends_at(&directory, "m"), 1);
    assert_int_equal(ends_at(&directory, "p"), 3);
    assert_int_equal(ends_at(&directory, "z"), 6);
    assert_int_equal(ends_at(&directory, "zz"), 0);
    assert_int_equal(ends_at(&directory, "b"), 0);
    assert_int_equal(ends_at(&directory, ""), 0);
}

/* D4: whoever leads, and in whatever term. */
static void a_later_turn_of_being_idle_stands(void **state) {
    lw_directory directory = directory_in(*state);
    lw_directory_row it = row(1, 1, "", ""), found;
    it.term = 4;
    it.shard.leader = 11;
    it.idle_turns = 3;
    (void)lw_directory_merge(&directory, &it);
    it.term = 5;
    it.shard.leader = 12;
    it.idle_turns = 2;
    it.shard.epoch.config_version = 2;
    assert_int_equal(lw_directory_merge(&directory, &it), LW_DIRECTORY_CHANGED);
    assert_true(lw_directory_find(&directory, 1, &found));
    assert_int_equal(found.idle_turns, 3);
    it.term = 1;
    it.idle_turns = 4;
    assert_int_equal(lw_directory_merge(&directory, &it), LW_DIRECTORY_CHANGED);
    assert_true(lw_directory_find(&directory, 1, &found));
    assert_int_equal(found.idle_turns, 4);
    assert_int_equal(found.shard.leader, 12);
}

/* ---- laws ---------------------------------------------------------------------------------------
 */

enum { DOMAIN_SIZE = 2 * 2 * 2 * 3 };

/* Two shards, two range versions, two contents, three leaders, three turns of being idle: also what
 * must not be. */
static void small_domain(lw_directory_row *rows) {
    static const char *const ends[] = {"k", "m"};
    uint32_t count = 0;
    for (uint64_t id = 1; id <= 2; id++) {
        for (uint64_t version = 1; version <= 2; version++) {
            for (int content = 0; content < 2; content++) {
                for (uint64_t term = 0; term < 3; term++) {
                    rows[count] = row(id, version, "", ends[content]);
                    rows[count].term = term;
                    rows[count].idle_turns = (version + 2 * (uint64_t)content + term) % 3;
                    rows[count++].shard.leader = term == 0 ? 0 : 20 + (uint64_t)content;
                }
            }
        }
    }
    assert_int_equal(count, DOMAIN_SIZE);
}

static uint64_t digest_of(lw_memory *memory, const lw_directory_row *rows, const uint32_t *order,
                          uint32_t count) {
    lw_directory directory = directory_in(memory);
    for (uint32_t index = 0; index < count; index++) {
        (void)lw_directory_merge(&directory, &rows[order[index]]);
    }
    uint64_t digest = lw_directory_digest(&directory);
    lw_directory_reset(&directory);
    return digest;
}

/* D1, also for what is disputed. */
static void any_three_entries_merge_alike_in_any_order(void **state) {
    lw_directory_row rows[DOMAIN_SIZE];
    small_domain(rows);
    for (uint32_t a = 0; a < DOMAIN_SIZE; a++) {
        for (uint32_t b = a; b < DOMAIN_SIZE; b++) {
            for (uint32_t c = b; c < DOMAIN_SIZE; c++) {
                uint64_t expected = digest_of(*state, rows, (uint32_t[]){a, b, c}, 3);
                assert_int_equal(digest_of(*state, rows, (uint32_t[]){a, c, b}, 3), expected);
                assert_int_equal(digest_of(*state, rows, (uint32_t[]){b, c, a}, 3), expected);
                assert_int_equal(digest_of(*state, rows, (uint32_t[]){c, a, b}, 3), expected);
                assert_int_equal(digest_of(*state, rows, (uint32_t[]){c, b, a, c, b}, 5), expected);
            }
        }
    }
}

/* What one directory holds merged into another is what both were told. */
static void directories_merge_as_their_entries_do(void **state) {
    lw_directory_row rows[DOMAIN_SIZE];
    small_domain(rows);
    uint64_t seed = 11;
    for (int round = 0; round < 300; round++) {
        lw_directory one = directory_in(*state), other = directory_in(*state);
        lw_directory both = directory_in(*state);
        for (int step = 0; step < 10; step++) {
            const lw_directory_row *it = &rows[unit_random_below(&seed, DOMAIN_SIZE)];
            (void)lw_directory_merge(step % 2 == 0 ? &one : &other, it);
            (void)lw_directory_merge(&both, it);
        }
        for (uint32_t index = 0; index < other.count; index++) {
            lw_directory_row it;
            lw_directory_at(&other, index, &it);
            (void)lw_directory_merge(&one, &it);
        }
        assert_int_equal(lw_directory_digest(&one), lw_directory_digest(&both));
        lw_directory_reset(&one);
        lw_directory_reset(&other);
        lw_directory_reset(&both);
    }
}

/* ---- against a model ----------------------------------------------------------------------------
 */

enum { MODEL_SHARDS = 40 };

/* Random splits, told in random order, some twice: what is looked up is what the highest range
 * version among all that was told says. */
static void looking_up_finds_the_highest_version_told(void **state) {
    uint64_t seed = 3;
    for (int round = 0; round < 200; round++) {
        lw_directory directory = directory_in(*state);
        char keys[MODEL_SHARDS][2][4];
        lw_directory_row rows[MODEL_SHARDS];
        for (uint32_t index = 0; index < MODEL_SHARDS; index++) {
            uint64_t low = unit_random_below(&seed, 90),
                     high = low + 1 + unit_random_below(&seed, 9);
            (void)snprintf(keys[index][0], 4, "%02u", (unsigned)low);
            (void)snprintf(keys[index][1], 4, "%02u", (unsigned)high);
            rows[index] = row(1 + index % 20, 1 + index, keys[index][0],
                              unit_random_below(&seed, 10) == 0 ? "" : keys[index][1]);
        }
        lw_directory_row newest[21] = {0};
        for (int step = 0; step < 60; step++) {
            const lw_directory_row *it = &rows[unit_random_below(&seed, MODEL_SHARDS)];
            lw_directory_row *known = &newest[it->shard.id];
            (void)lw_directory_merge(&directory, it);
            if (it->shard.epoch.range_version > known->shard.epoch.range_version) {
                *known = *it;
            }
        }
        for (unsigned key = 0; key < 100; key++) {
            char text[4];
            (void)snprintf(text, sizeof(text), "%02u", key);
            uint64_t expected = 0, version = 0;
            for (uint64_t id = 1; id <= 20; id++) {
                const lw_shard_descriptor *it = &newest[id].shard;
                bool holds = it->id != 0 && lw_compare(it->start, lw_text(text)) <= 0 &&
                             (it->end.size == 0 || lw_compare(lw_text(text), it->end) < 0);
                if (holds && it->epoch.range_version > version) {
                    expected = id;
                    version = it->epoch.range_version;
                }
            }
            assert_int_equal(holder(&directory, text), expected);
        }
        lw_directory_reset(&directory);
    }
    assert_int_equal(lw_memory_used(*state), 0);
}

static void ten_thousand_shards_take_little_memory(void **state) {
    lw_directory directory = directory_in(*state);
    char start[24], end_key[24];
    for (unsigned index = 0; index < 10000; index++) {
        unsigned place = index * 7919 % 10000; /* in no order */
        (void)snprintf(start, sizeof(start), "key-%012u", place);
        (void)snprintf(end_key, sizeof(end_key), "key-%012u", place + 1);
        lw_directory_row it = row(place + 1, 1, start, end_key);
        for (uint64_t replica = 0; replica < 3; replica++) {
            it.shard.replicas[replica] = (lw_shard_replica){10 + replica, LW_REPLICA_VOTER};
        }
        it.shard.replica_count = 3;
        assert_int_equal(lw_directory_merge(&directory, &it), LW_DIRECTORY_CHANGED);
    }
    size_t used = lw_memory_used(*state);
    if (getenv("UNIT_FIGURES") != NULL) {
        printf("10,000 shards: %zu bytes, %zu each\n", used, used / 10000);
    }
    assert_in_range(used, lw_directory_size(&directory), 300 * 10000);
    assert_int_equal(holder(&directory, "key-000000004711"), 4712);
}

static void an_entry_comes_back_as_it_was(void **state) {
    lw_directory_row it = row(7, 3, "a", "b"), read;
    it.term = 9;
    it.shard.leader = 10;
    it.disputed = true;
    it.idle_turns = 3;
    lw_buffer out = lw_buffer_in(*state);
    lw_directory_row_encode(&it, &out);
    lw_reader reader = lw_reader_of(lw_buffer_view(&out));
    assert_int_equal(lw_directory_row_next(&reader, &read), LW_OK);
    assert_true(lw_reader_done(&reader));
    assert_true(lw_equal(read.shard.start, it.shard.start));
    assert_true(lw_equal(read.shard.end, it.shard.end));
    assert_true(read.shard.id == 7 && read.term == 9 && read.shard.leader == 10 && read.disputed);
    assert_int_equal(read.idle_turns, 3);
    for (size_t size = 0; size < out.size; size++) {
        reader = lw_reader_of(lw_view(out.data, size));
        assert_int_equal(lw_directory_row_next(&reader, &read), LW_INVALID_ARGUMENT);
    }
}

/* ---- cures taken out ----------------------------------------------------------------------------
 */

static void planted_bugs_show(void **state) {
    static const planted_bit bugs[] = {
        {LW_BUG_LAST_ENTRY_STANDS, any_three_entries_merge_alike_in_any_order},
        {LW_BUG_DISPUTE_MERGED, equal_epochs_with_different_content_are_an_alarm},
    };
    planted_bits_show(bugs, sizeof(bugs) / sizeof(bugs[0]), &planted, state);
}

int main(void) {
#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        STORY(a_key_is_looked_up),
        STORY(what_became_part_of_another_is_covered_by_it),
        STORY(of_a_split_that_is_known_by_halves_the_child_is_preferred),
        STORY(equal_epochs_with_different_content_are_an_alarm),
        STORY(a_leader_of_a_later_term_stands),
        STORY(the_one_before_a_key_is_found_among_those_of_before),
        STORY(a_later_turn_of_being_idle_stands),
        STORY(any_three_entries_merge_alike_in_any_order),
        STORY(directories_merge_as_their_entries_do),
        STORY(looking_up_finds_the_highest_version_told),
        STORY(ten_thousand_shards_take_little_memory),
        STORY(an_entry_comes_back_as_it_was),
        STORY(planted_bugs_show),
    };
    return cmocka_run_group_tests_name("directory", tests, unit_arm, NULL) == 0 ? 0 : 1;
}
