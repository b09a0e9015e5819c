/* SPDX-License-Identifier: Apache-2.0 */
/* The workloads of bench: what they ask for, how often, and of which records. */
#include "client/ycsb.h"
#include "tests/unit.h"

#include <stdlib.h>

enum { RECORDS = 1000, DRAWS = 200000 };

static uint64_t draw(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = (*state ^ *state >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

static void every_workload_asks_for_its_shares(void **state) {
    (void)state;
    for (char letter = 'A'; letter <= 'F'; letter++) {
        const lw_ycsb_workload *workload = lw_ycsb_find(letter);
        uint32_t counts[LW_YCSB_OPERATION_COUNT] = {0};
        for (uint64_t random = 0; random < 1000; random++) {
            counts[lw_ycsb_next(workload, random)]++;
        }
        for (int operation = 0; operation < LW_YCSB_OPERATION_COUNT; operation++) {
            assert_int_equal(counts[operation], workload->shares[operation] * 10);
        }
    }
    assert_null(lw_ycsb_find('G'));
    assert_null(lw_ycsb_find('a'));
}

/* Rank r is drawn in proportion to 1 / (r + 1) ^ 0.99. */
static void few_ranks_are_drawn_most_of_the_time(void **state) {
    (void)state;
    lw_ycsb_chooser chooser;
    lw_ycsb_chooser_init(&chooser, RECORDS);
    static uint32_t counts[RECORDS];
    uint64_t random = 1;
    for (int index = 0; index < DRAWS; index++) {
        uint64_t rank = lw_ycsb_rank(&chooser, draw(&random));
        assert_true(rank < RECORDS);
        counts[rank]++;
    }
    double first = (double)counts[0] / DRAWS;
    assert_true(first > 0.95 / chooser.zeta && first < 1.05 / chooser.zeta);
    assert_true(counts[0] > counts[1] && counts[1] > counts[3] && counts[3] > counts[20]);
    uint32_t tenth = 0;
    for (int rank = 0; rank < RECORDS / 10; rank++) {
        tenth += counts[rank];
    }
    assert_true(tenth > DRAWS * 6 / 10 && tenth < DRAWS * 8 / 10);
}

static void a_chooser_that_grew_is_like_one_that_was_made_so(void **state) {
    (void)state;
    lw_ycsb_chooser grown, made;
    lw_ycsb_chooser_init(&grown, 2);
    for (uint64_t count = 3; count <= RECORDS; count++) {
        lw_ycsb_chooser_grow(&grown, count);
    }
    lw_ycsb_chooser_init(&made, RECORDS);
    uint64_t random = 7;
    for (int index = 0; index < 1000; index++) {
        uint64_t bits = draw(&random);
        assert_int_equal(lw_ycsb_rank(&grown, bits), lw_ycsb_rank(&made, bits));
    }
}

static void the_latest_records_are_read_most_where_asked_for(void **state) {
    (void)state;
    lw_ycsb_chooser chooser;
    lw_ycsb_chooser_init(&chooser, RECORDS);
    const lw_ycsb_workload *latest = lw_ycsb_find('D'), *any = lw_ycsb_find('C');
    assert_int_equal(lw_ycsb_record(&chooser, latest, 0), RECORDS - 1);
    assert_int_not_equal(lw_ycsb_record(&chooser, any, 0), RECORDS - 1);
    uint64_t random = 3;
    for (int index = 0; index < 1000; index++) {
        assert_true(lw_ycsb_record(&chooser, any, draw(&random)) < RECORDS);
    }
}

static int by_text(const void *a, const void *b) {
    return memcmp(a, b, LW_YCSB_KEY_SIZE + 1);
}

static void keys_have_one_size_and_differ(void **state) {
    (void)state;
    static char keys[RECORDS][LW_YCSB_KEY_SIZE + 1];
    for (uint64_t record = 0; record < RECORDS; record++) {
        lw_bytes key = lw_ycsb_key(record, keys[record]);
        assert_int_equal(key.size, LW_YCSB_KEY_SIZE);
        assert_memory_equal(key.data, "bench/user", 10);
        assert_int_equal(keys[record][LW_YCSB_KEY_SIZE], 0);
    }
    qsort(keys, RECORDS, sizeof(keys[0]), by_text);
    for (int index = 1; index < RECORDS; index++) {
        assert_true(by_text(keys[index - 1], keys[index]) < 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_workload_asks_for_its_shares),
        cmocka_unit_test(few_ranks_are_drawn_most_of_the_time),
        cmocka_unit_test(a_chooser_that_grew_is_like_one_that_was_made_so),
        cmocka_unit_test(the_latest_records_are_read_most_where_asked_for),
        cmocka_unit_test(keys_have_one_size_and_differ),
    };
    return cmocka_run_group_tests_name("ycsb", tests, unit_arm, NULL) != 0;
}
