/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/member.h"
#include "sim/lore.h"
#include "tests/planted_story.h"
#include "tests/unit.h"

static const uint8_t cluster[LW_MEMBER_CLUSTER_SIZE] = "our own lattice";

static uint64_t planted; /* bits of lw_planted_bug */

typedef struct story {
    lw_memory *memory;
    lw_identity identities[8];
} story;

static int begin(void **state) {
    lw_memory *memory = lw_memory_open();
    story *made = lw_allocate_zero(memory, sizeof(*made));
    made->memory = memory;
    for (uint8_t index = 0; index < 8; index++) {
        uint8_t seed[LW_SEED_SIZE] = {index, 7};
        lw_identity_derive(seed, &made->identities[index]);
    }
    *state = made;
    return 0;
}

static int end(void **state) {
    story *of = *state;
    lw_memory_close(of->memory);
    return 0;
}

static lw_members set_in(story *of) {
    lw_members members = lw_members_in(of->memory, cluster);
    members.bugs = planted;
    return members;
}

static lw_member member_of(const lw_identity *identity, uint64_t incarnation, uint64_t sequence) {
    return (lw_member){.node = lw_identity_number(identity->public_key),
                       .incarnation = incarnation,
                       .sequence = sequence,
                       .state = LW_MEMBER_UP,
                       .address = lw_text("10.0.0.1:7400"),
                       .bus_address = lw_text("127.1.2.3:6248"),
                       .zone = lw_text("east"),
                       .capacity = 1 << 30,
                       .name = lw_text("n7"),
                       .named = 3};
}

static lw_bytes sign(story *of, lw_member member, uint32_t identity) {
    lw_buffer record = lw_buffer_in(of->memory);
    lw_member_encode(&member, cluster, &of->identities[identity], &record);
    return lw_buffer_view(&record);
}

static lw_bytes record_of(story *of, uint32_t identity, uint64_t incarnation, uint64_t sequence) {
    return sign(of, member_of(&of->identities[identity], incarnation, sequence), identity);
}

/* ---- records ------------------------------------------------------------------------------------
 */

static void a_record_comes_back_as_it_was(void **state) {
    story *of = *state;
    lw_member read;
    lw_bytes record = record_of(of, 1, 4, 9);
    assert_int_equal(lw_member_verify(record, cluster, NULL, &read), LW_OK);
    assert_int_equal(read.incarnation, 4);
    assert_int_equal(read.sequence, 9);
    assert_int_equal(read.state, LW_MEMBER_UP);
    assert_true(lw_equal(read.address, lw_text("10.0.0.1:7400")));
    assert_true(lw_equal(read.bus_address, lw_text("127.1.2.3:6248")));
    assert_true(lw_equal(read.zone, lw_text("east")));
    assert_int_equal(read.capacity, 1 << 30);
    assert_true(lw_equal(read.name, lw_text("n7")));
    assert_int_equal(read.named, 3);
}

static void a_record_with_one_bit_changed_is_refused(void **state) {
    story *of = *state;
    lw_bytes record = record_of(of, 1, 4, 9);
    uint8_t *bytes = (uint8_t *)(uintptr_t)record.data;
    for (size_t bit = 0; bit < record.size * 8; bit++) {
        lw_member read;
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(lw_member_verify(record, cluster, NULL, &read), LW_OK);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* The record of one node, well signed by another. */
static lw_bytes forge(story *of, uint32_t victim, uint32_t forger, lw_member_state state) {
    lw_buffer record = lw_buffer_in(of->memory);
    lw_member member = {.node = lw_identity_number(of->identities[victim].public_key),
                        .incarnation = 9,
                        .sequence = 9,
                        .state = state,
                        .address = lw_text("10.6.6.6:7400")};
    lore_forge_record(cluster, &member, &of->identities[forger], &record);
    return lw_buffer_view(&record);
}

static void nobody_signs_for_another(void **state) {
    story *of = *state;
    lw_members members = set_in(of);
    assert_int_equal(lw_members_merge(&members, forge(of, 1, 1, LW_MEMBER_UP)), LW_MEMBER_NEW);
    assert_int_equal(lw_members_merge(&members, forge(of, 2, 1, LW_MEMBER_UP)), LW_MEMBER_REFUSED);
    assert_int_equal(lw_members_merge(&members, forge(of, 2, 1, LW_MEMBER_LEAVING)),
                     LW_MEMBER_REFUSED);
    assert_int_equal(members.count, 1);
    /* Only who is gone can be spoken of by others. */
    assert_int_equal(lw_members_merge(&members, forge(of, 2, 1, LW_MEMBER_GONE)), LW_MEMBER_NEW);
}

static void a_record_of_another_lattice_is_refused(void **state) {
    story *of = *state;
    uint8_t other[LW_MEMBER_CLUSTER_SIZE] = "another lattice";
    lw_member read;
    assert_int_equal(lw_member_verify(record_of(of, 1, 1, 1), other, NULL, &read), LW_REFUSED);
}

/* The forged records are of that format, too. */
static void a_record_of_before_there_were_names_has_none(void **state) {
    story *of = *state;
    lw_members members = set_in(of);
    char label[LW_MEMBER_LABEL_SIZE], id[17];
    assert_int_equal(lw_members_merge(&members, forge(of, 1, 1, LW_MEMBER_UP)), LW_MEMBER_NEW);
    const lw_member *member = lw_members_at(&members, 0);
    assert_int_equal(member->name.size, 0);
    (void)snprintf(id, sizeof(id), "%016llx", (unsigned long long)member->node);
    assert_string_equal(lw_members_label(&members, member->node, label), id);
}

/* ---- names --------------------------------------------------------------------------------------
 */

static void names_are_letters_digits_points_and_hyphens(void **state) {
    (void)state;
    static const char *const good[] = {"n1", "a", "db-1.example.org", "0",
                                       "12345678901234567890123456789012"};
    static const char *const bad[] = {
        "", "-n", "n 1", "n/1", "n:1", "n\n", "\xc3\xa4", "123456789012345678901234567890123"};
    for (size_t index = 0; index < sizeof(good) / sizeof(good[0]); index++) {
        assert_true(lw_member_name_sound(lw_text(good[index])));
    }
    for (size_t index = 0; index < sizeof(bad) / sizeof(bad[0]); index++) {
        assert_false(lw_member_name_sound(lw_text(bad[index])));
    }
}

static uint64_t put_named(story *of, lw_members *members, uint32_t identity, const char *name,
                          uint64_t named, lw_member_state state) {
    lw_member member = member_of(&of->identities[identity], 1, 1);
    member.name = lw_text(name);
    member.named = named;
    member.state = state;
    assert_int_equal(lw_members_merge(members, sign(of, member, identity)), LW_MEMBER_NEW);
    return member.node;
}

static void the_earlier_claim_keeps_a_name(void **state) {
    story *of = *state;
    lw_members members = set_in(of);
    char label[LW_MEMBER_LABEL_SIZE];
    uint64_t late = put_named(of, &members, 1, "db", 5, LW_MEMBER_UP);
    assert_string_equal(lw_members_label(&members, late, label), "db");
    uint64_t early = put_named(of, &members, 2, "db", 4, LW_MEMBER_UP);
    uint64_t gone = put_named(of, &members, 3, "db", 1, LW_MEMBER_GONE);
    assert_string_equal(lw_members_label(&members, early, label), "db");
    assert_true(lw_members_outnamed(&members, late));
    assert_false(lw_members_outnamed(&members, early));
    assert_memory_equal(lw_members_label(&members, late, label), "db-", 3);
    assert_int_equal(strlen(label), 9);
    assert_int_equal(strlen(lw_members_label(&members, gone, label)), 16);
}

static void expect_free(const lw_members *members, const char *wanted, uint64_t node,
                        const char *expected) {
    char name[LW_MEMBER_NAME_MAX + 1];
    uint64_t named = 0;
    lw_members_free_name(members, lw_text(wanted), node, name, &named);
    assert_string_equal(name, expected);
    assert_int_equal(named, 10);
}

static void a_free_name_is_next_to_the_one_that_was_wanted(void **state) {
    story *of = *state;
    lw_members members = set_in(of);
    (void)put_named(of, &members, 1, "n1", 1, LW_MEMBER_UP);
    (void)put_named(of, &members, 2, "n4", 2, LW_MEMBER_GONE);
    (void)put_named(of, &members, 3, "db", 3, LW_MEMBER_UP);
    (void)put_named(of, &members, 4, "db-2", 9, LW_MEMBER_UP);
    (void)put_named(of, &members, 5, "12345678901234567890123456789012", 4, LW_MEMBER_UP);
    expect_free(&members, "", 77, "n5"); /* not that of one that is gone: events tell of it */
    expect_free(&members, "n1", 77, "n5");
    expect_free(&members, "db", 77, "db-3");
    expect_free(&members, "12345678901234567890123456789012", 77, "123456789012345678901234567-2");
}

/* ---- the set ------------------------------------------------------------------------------------
 */

static void the_later_record_stands(void **state) {
    story *of = *state;
    lw_members members = set_in(of);
    assert_int_equal(lw_members_merge(&members, record_of(of, 1, 4, 9)), LW_MEMBER_NEW);
    assert_int_equal(lw_members_merge(&members, record_of(of, 1, 4, 9)), LW_MEMBER_OLD);
    assert_int_equal(lw_members_merge(&members, record_of(of, 1, 3, 99)), LW_MEMBER_OLD);
    assert_int_equal(lw_members_merge(&members, record_of(of, 1, 4, 10)), LW_MEMBER_CHANGED);
    assert_int_equal(lw_members_merge(&members, record_of(of, 1, 5, 1)), LW_MEMBER_CHANGED);
    assert_int_equal(members.count, 1);
    assert_int_equal(lw_members_at(&members, 0)->incarnation, 5);
}

static void gone_is_for_ever(void **state) {
    story *of = *state;
    lw_members members = set_in(of);
    lw_member gone = member_of(&of->identities[1], 4, 9);
    gone.state = LW_MEMBER_GONE;
    assert_int_equal(lw_members_merge(&members, record_of(of, 1, 8, 1)), LW_MEMBER_NEW);
    assert_int_equal(lw_members_merge(&members, sign(of, gone, 2)), LW_MEMBER_CHANGED);
    assert_int_equal(lw_members_merge(&members, record_of(of, 1, 9, 1)), LW_MEMBER_OLD);
    assert_int_equal(lw_members_at(&members, 0)->state, LW_MEMBER_GONE);
    assert_int_equal(members.gone_count, 1);
}

/* Every record over two nodes, two incarnations, two sequences and two states, one of them with a
 * twin as two copies of a folder make it. */
static uint32_t small_domain(story *of, lw_bytes *records) {
    uint32_t count = 0;
    for (uint32_t node = 0; node < 2; node++) {
        for (uint64_t incarnation = 1; incarnation <= 2; incarnation++) {
            for (uint64_t sequence = 1; sequence <= 2; sequence++) {
                lw_member gone = member_of(&of->identities[node], incarnation, sequence);
                lw_member twin = gone;
                gone.state = LW_MEMBER_GONE;
                twin.zone = lw_text("west");
                records[count++] = record_of(of, node, incarnation, sequence);
                records[count++] = sign(of, gone, node);
                if (incarnation == 2) {
                    records[count++] = sign(of, twin, node);
                }
            }
        }
    }
    return count;
}

static uint64_t digest_of(story *of, const lw_bytes *records, const uint32_t *order,
                          uint32_t count) {
    lw_members members = set_in(of);
    for (uint32_t index = 0; index < count; index++) {
        assert_int_not_equal(lw_members_merge(&members, records[order[index]]), LW_MEMBER_REFUSED);
    }
    uint64_t digest = lw_members_digest(&members);
    lw_members_reset(&members);
    return digest;
}

/* M1. A set is what its records made it, so the laws of the join are that order and number of
 * merges do not matter. */
static void any_three_records_merge_alike_in_any_order(void **state) {
    story *of = *state;
    lw_bytes records[32];
    uint32_t count = small_domain(of, records);
    assert_int_equal(count, 20);
    for (uint32_t a = 0; a < count; a++) {
        for (uint32_t b = a; b < count; b++) {
            for (uint32_t c = b; c < count; c += 3) {
                uint64_t expected = digest_of(of, records, (uint32_t[]){a, b, c}, 3);
                assert_int_equal(digest_of(of, records, (uint32_t[]){b, c, a}, 3), expected);
                assert_int_equal(digest_of(of, records, (uint32_t[]){c, b, a, b, c}, 5), expected);
            }
        }
    }
}

static void merging_never_goes_back(void **state) {
    story *of = *state;
    lw_bytes records[32];
    uint32_t count = small_domain(of, records);
    uint64_t seed = 5;
    lw_members members = set_in(of);
    for (int step = 0; step < 400; step++) {
        lw_bytes record = records[unit_random_below(&seed, count)];
        lw_member came, before = {0};
        assert_int_equal(lw_member_decode(record, &came), LW_OK);
        const lw_member *known = lw_members_find(&members, came.node);
        if (known != NULL) {
            before = *known;
        }
        (void)lw_members_merge(&members, record);
        known = lw_members_find(&members, came.node);
        assert_true(before.state != LW_MEMBER_GONE || known->state == LW_MEMBER_GONE);
        assert_true(known->state == LW_MEMBER_GONE || known->incarnation >= before.incarnation);
    }
    lw_members_reset(&members);
    assert_int_equal(lw_members_digest(&members),
                     digest_of(of, records, NULL, 0)); /* nothing is left of it */
}

typedef struct copying {
    lw_members *to;
    size_t page_size_max;
    uint32_t pages;
} copying;

static void copy_page(void *argument, lw_bytes page) {
    copying *of = argument;
    lw_reader reader = lw_reader_of(page);
    uint32_t count = lw_read_array(&reader);
    for (uint32_t index = 0; index < count; index++) {
        assert_int_equal(lw_members_merge(of->to, lw_read_bytes(&reader)), LW_MEMBER_NEW);
    }
    assert_true(lw_reader_done(&reader));
    assert_true(page.size <= LW_MEMBER_PAGE_SIZE);
    of->pages++;
}

static void a_hundred_nodes_travel_in_pages(void **state) {
    story *of = *state;
    lw_members members = set_in(of);
    lw_members copy = set_in(of);
    for (uint8_t index = 0; index < 100; index++) {
        uint8_t seed[LW_SEED_SIZE] = {index, 9};
        lw_identity identity;
        lw_identity_derive(seed, &identity);
        lw_member member = member_of(&identity, 1, 1);
        lw_buffer record = lw_buffer_in(of->memory);
        lw_member_encode(&member, cluster, &identity, &record);
        assert_int_equal(lw_members_merge(&members, lw_buffer_view(&record)), LW_MEMBER_NEW);
    }
    copying work = {.to = &copy};
    lw_members_pages(&members, copy_page, &work);
    assert_int_equal(copy.count, 100);
    assert_int_equal(lw_members_digest(&copy), lw_members_digest(&members));
    assert_in_range(work.pages, 2, 3);
}

/* ---- NODES --------------------------------------------------------------------------------------
 */

static void the_answer_to_nodes_comes_back_as_it_was(void **state) {
    story *of = *state;
    lw_member_row rows[2] = {
        {.record = record_of(of, 1, 4, 9), .self = true, .heard_ms = 0, .linked_ms = 0},
        {.record = record_of(of, 2, 5, 1),
         .linked = true,
         .heard_ms = LW_MEMBER_NEVER,
         .linked_ms = 70,
         .label = lw_text("n7"),
         .lags = true,
         .load = {.bytes = 1,
                  .shards = 2,
                  .leaders = 3,
                  .reads = 4,
                  .writes = 5,
                  .receiving = 6,
                  .disk_full = true,
                  .lagging_count = 2,
                  .lagging = {7, 8}}}};
    lw_buffer body = lw_buffer_in(of->memory);
    lw_member_rows_encode(rows, 2, &body);
    lw_reader reader;
    uint32_t count;
    lw_member_row row;
    assert_int_equal(lw_member_rows_open(lw_buffer_view(&body), &reader, &count), LW_OK);
    assert_int_equal(count, 2);
    assert_int_equal(lw_member_row_next(&reader, &row), LW_OK);
    assert_true(row.self);
    assert_int_equal(row.member.incarnation, 4);
    assert_int_equal(lw_member_row_next(&reader, &row), LW_OK);
    assert_true(lw_equal(row.label, lw_text("n7")));
    assert_true(row.lags);
    assert_true(row.linked && row.heard_ms == LW_MEMBER_NEVER && row.linked_ms == 70);
    assert_memory_equal(&row.load, &rows[1].load, sizeof(row.load));
    assert_int_not_equal(lw_member_row_next(&reader, &row), LW_OK);
}

/* ---- cures taken out ----------------------------------------------------------------------------
 */

static void planted_bugs_show(void **state) {
    static const planted_bit bugs[] = {
        {LW_BUG_GONE_COMES_BACK, gone_is_for_ever},
        {LW_BUG_LAST_RECORD_STANDS, any_three_records_merge_alike_in_any_order},
        {LW_BUG_ANYONE_SIGNS, nobody_signs_for_another},
    };
    planted_bits_show(bugs, sizeof(bugs) / sizeof(bugs[0]), &planted, state);
}

int main(void) {
#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        STORY(a_record_comes_back_as_it_was),
        STORY(a_record_with_one_bit_changed_is_refused),
        STORY(nobody_signs_for_another),
        STORY(a_record_of_another_lattice_is_refused),
        STORY(a_record_of_before_there_were_names_has_none),
        STORY(names_are_letters_digits_points_and_hyphens),
        STORY(the_earlier_claim_keeps_a_name),
        STORY(a_free_name_is_next_to_the_one_that_was_wanted),
        STORY(the_later_record_stands),
        STORY(gone_is_for_ever),
        STORY(any_three_records_merge_alike_in_any_order),
        STORY(merging_never_goes_back),
        STORY(a_hundred_nodes_travel_in_pages),
        STORY(the_answer_to_nodes_comes_back_as_it_was),
        STORY(planted_bugs_show),
    };
    return cmocka_run_group_tests_name("member", tests, unit_arm, NULL) == 0 ? 0 : 1;
}
