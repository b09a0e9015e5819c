/* SPDX-License-Identifier: Apache-2.0 */
/* The log when its bytes are not what they were: flipped, newer, missing, forged, never durable. */
#include "base/hash.h"
#include "tests/log_story.h"

static lw_faults no_faults;

static void open_and_append_6(story *told) {
    if (story_open_log(told) == LW_OK) {
        story_append_some(told, 6);
    }
}

static const char first_segment[] = STORY_FOLDER "/0000000000000001.log";

/* A segment file as it was before anything was done to it. */
typedef struct specimen {
    lw_buffer bytes;
    size_t end;       /* behind the last batch, which is the one of a clean shutdown */
    uint32_t flipped; /* bits before the last batch */
    uint32_t noticed;
} specimen;

static void put_block(story *told, lw_handle file, const specimen *whole, size_t offset) {
    size_t start = offset / LW_LOG_BLOCK * LW_LOG_BLOCK;
    lw_bytes block = lw_view(whole->bytes.data + start, LW_LOG_BLOCK);
    lw_status status = lw_file_write(told->env, file, start, block, LW_WRITE_DURABLE);
    LW_ASSERT(status == LW_OK);
}

/* Opens the log with one bit wrong, and puts everything back. */
static bool flip_one(story *told, lw_handle file, specimen *whole, size_t offset, uint8_t mask) {
    whole->bytes.data[offset] ^= mask;
    put_block(told, file, whole, offset);
    lw_status status = story_open_log(told);
    bool all = status == LW_OK && told->seen_count == told->record_count && !told->seen_other;
    if (status == LW_OK) {
        lw_log_close(told->log);
    }
    whole->bytes.data[offset] ^= mask;
    put_block(told, file, whole, offset);
    put_block(told, file, whole, 0);
    put_block(told, file, whole, whole->end - LW_LOG_BLOCK);
    put_block(told, file, whole, whole->end);
    whole->noticed += status == LW_CORRUPTION;
    return all || status == LW_CORRUPTION;
}

static void flip_bits(story *told) {
    specimen *whole = told->argument;
    lw_handle file = LW_NO_HANDLE;
    lw_status status = lw_file_open(told->env, first_segment, 0, &file);
    LW_ASSERT(status == LW_OK);
    for (size_t offset = 0; offset < whole->end && told->worst == LW_OK; offset++) {
        if (offset % LW_LOG_BLOCK > 100 && offset % 61 != 0) {
            continue;
        }
        whole->flipped += offset < whole->end - LW_LOG_BLOCK;
        if (!flip_one(told, file, whole, offset, (uint8_t)(1U << offset % 8))) {
            told->worst = LW_INTERNAL;
            snprintf(told->error, sizeof(told->error), "offset %zu: status %d, %u records", offset,
                     (int)told->opened, (unsigned)told->seen_count);
        }
    }
    lw_file_close(told->env, file);
}

/* Harmless is what leaves every record that was appended there, and nothing else: that can only be
 * the batch of the shutdown itself, which holds no records. One bit is flipped of each byte of the
 * headers, and of a sample of the rest; that all of a batch are noticed is in test_log_format.c. */
static void every_flipped_bit_of_a_closed_log_is_noticed_or_harmless(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->options.segment_size = 65536;
    told->size_max = 700;
    story_run(told, open_and_append_6);
    story_run(told, story_shut);
    lw_memory *memory = lw_memory_open();
    specimen whole = {.bytes = lw_buffer_in(memory), .end = 9 * LW_LOG_BLOCK};
    lw_disk *disk = lw_host_disk(told->host);
    assert_true(lw_disk_contents(disk, LW_DISK_DURABLE, first_segment, &whole.bytes));
    assert_memory_equal(whole.bytes.data + whole.end - LW_LOG_BLOCK, "LWLB", 4);
    assert_int_equal(whole.bytes.data[whole.end], 0);
    told->argument = &whole;
    story_run(told, flip_bits);
    if (told->worst != LW_OK) {
        fail_msg("%s", told->error);
    }
    assert_in_range(whole.flipped, 1000, 100000);
    assert_int_equal(whole.noticed, whole.flipped);
    lw_memory_close(memory);
    story_close(told);
}

/* Flips one bit of a file while nobody has it open, and says how the log opens then. */
static lw_status open_flipped(story *told, const char *path, uint64_t offset) {
    lw_disk_flip(lw_host_disk(told->host), path, offset * 8);
    story_run(told, story_reopen);
    return told->opened;
}

static void a_hole_below_the_durable_mark_is_corruption_and_named(void **state) {
    (void)state;
    story *told = story_with_20_records_closed();
    assert_int_equal(open_flipped(told, first_segment, 3 * 4096 + 100), LW_CORRUPTION);
    assert_non_null(strstr(told->error, "data/log/0000000000000001.log"));
    assert_non_null(strstr(told->error, "offset 12288"));
    story_close(told);
}

static void a_log_that_ignores_durable_marks_loses_records_silently(void **state) {
    (void)state;
    story *told = story_with_20_records_closed();
    lw_world_plant(told->world, "log.ignore_durable_mark");
    assert_int_equal(open_flipped(told, first_segment, 3 * 4096 + 100), LW_OK);
    assert_string_equal(story_judge(told), "an acknowledged record is missing at the end");
    story_close(told);
}

static void damage_to_the_last_batch_of_a_log_that_was_not_closed_is_a_torn_tail(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->options.segment_size = 1 << 20;
    told->size_max = 100;
    story_run(told, story_open_and_append_20);
    lw_host_crash(told->host);
    uint64_t count = told->record_count;
    told->acknowledged = 0;
    assert_int_equal(open_flipped(told, first_segment, 21 * 4096 + 90), LW_OK);
    assert_null(story_judge(told));
    assert_int_equal(told->record_count, count - 1);
    assert_int_equal(lw_world_marked(told->world, "log.tail_cut"), 1);
    story_close(told);
}

static void a_damaged_segment_header_is_corruption(void **state) {
    (void)state;
    story *told = story_with_20_records_closed();
    assert_int_equal(open_flipped(told, first_segment, 20), LW_CORRUPTION);
    assert_non_null(strstr(told->error, "header at offset 0"));
    story_close(told);
}

static void make_header_newer(story *told) {
    uint8_t block[LW_LOG_BLOCK];
    lw_handle file = LW_NO_HANDLE;
    size_t size = 0;
    lw_status status = lw_file_open(told->env, first_segment, 0, &file);
    if (status == LW_OK) {
        status = lw_file_read(told->env, file, 0, block, sizeof(block), &size);
    }
    lw_put_u32(block + 8, LW_LOG_FORMAT + 1);
    lw_put_u32(block + 12, 0);
    lw_put_u32(block + 12, lw_crc32c(0, lw_view(block, 48)));
    if (status == LW_OK) {
        status = lw_file_write(told->env, file, 0, lw_view(block, sizeof(block)), LW_WRITE_DURABLE);
    }
    told->worst = status;
    lw_file_close(told->env, file);
}

static void a_newer_format_is_refused(void **state) {
    (void)state;
    story *told = story_with_20_records_closed();
    story_run(told, make_header_newer);
    assert_int_equal(told->worst, LW_OK);
    story_run(told, story_reopen);
    assert_int_equal(told->opened, LW_REFUSED);
    assert_non_null(strstr(told->error, "newer version"));
    story_close(told);
}

static void remove_a_segment(story *told) {
    char path[LW_PATH_SIZE];
    uint64_t number = *(uint64_t *)told->argument;
    told->worst = lw_log_segment_path(STORY_FOLDER, number, path);
    if (told->worst == LW_OK) {
        told->worst = lw_path_unlink(told->env, path);
    }
}

static void a_segment_that_is_missing_is_corruption(void **state) {
    (void)state;
    for (uint64_t number = 1; number <= 3; number++) {
        story *told = story_open(1, &no_faults);
        story_run(told, story_open_and_append_20);
        story_run(told, story_shut);
        told->argument = &number;
        story_run(told, remove_a_segment);
        assert_int_equal(told->worst, LW_OK);
        story_run(told, story_reopen);
        assert_int_equal(told->opened, LW_CORRUPTION);
        assert_non_null(strstr(told->error, "missing"));
        story_close(told);
    }
}

/* Appends a record whose payload holds, where a block of the file begins, what a caller who knows
 * all but the salt takes for the next batch. */
static void append_a_forgery(story *told) {
    enum { PAYLOAD_SIZE = 3 * LW_LOG_BLOCK };
    uint8_t *payload = calloc(1, PAYLOAD_SIZE);
    lw_log_record record = {.group = 0,
                            .term = 1,
                            .index = 1,
                            .kind = LW_LOG_ENTRY,
                            .payload = lw_view(payload, PAYLOAD_SIZE)};
    size_t before = LW_LOG_BATCH_HEADER_SIZE + lw_log_record_size(&record) - PAYLOAD_SIZE;
    uint8_t *forged = payload + LW_LOG_BLOCK - before;
    lw_log_record inner = {.group = 666, .term = 1, .index = 1, .kind = LW_LOG_ENTRY};
    size_t used = LW_LOG_BATCH_HEADER_SIZE;
    used += lw_log_record_encode(&inner, forged + used);
    lw_log_batch_header header = {.size = LW_LOG_BLOCK,
                                  .segment = 1,
                                  .salt = 0,
                                  .offset = 3 * LW_LOG_BLOCK,
                                  .sequence = 3,
                                  .generation = 1000,
                                  .mark = 2,
                                  .oldest = 1,
                                  .record_count = 1,
                                  .kind = LW_LOG_BATCH_RECORDS};
    lw_log_batch_seal(&header, forged, used);
    told->worst = story_open_log(told);
    if (told->worst == LW_OK) {
        told->worst = lw_log_wait(told->log, lw_log_append(told->log, &record, 1));
    }
    free(payload);
}

static void a_payload_that_looks_like_a_batch_is_never_believed(void **state) {
    (void)state;
    story *told = story_open(1, &no_faults);
    told->options.segment_size = 1 << 20;
    story_run(told, append_a_forgery);
    assert_int_equal(told->worst, LW_OK);
    lw_host_kill(told->host);
    /* The batch around it is torn, cut, and the block before the forgery taken by the opening. */
    assert_int_equal(open_flipped(told, first_segment, 2 * 4096 + 90), LW_OK);
    assert_int_equal(told->seen_count, 0);
    lw_host_kill(told->host);
    story_run(told, story_reopen);
    assert_int_equal(told->opened, LW_OK);
    assert_false(told->seen_other);
    story_close(told);
}

/* The last batch as a machine without direct writes may show it to the next process: in its cache.
 */
static void leave_the_last_batch_in_the_cache(story *told) {
    static uint8_t block[LW_LOG_BLOCK], zeros[LW_LOG_BLOCK];
    const uint64_t offset = 21 * (uint64_t)LW_LOG_BLOCK;
    lw_handle file = LW_NO_HANDLE;
    size_t size = 0;
    told->worst = lw_file_open(told->env, first_segment, 0, &file);
    if (told->worst == LW_OK) {
        told->worst = lw_file_read(told->env, file, offset, block, LW_LOG_BLOCK, &size);
    }
    if (told->worst == LW_OK) {
        told->worst =
            lw_file_write(told->env, file, offset, lw_view(zeros, LW_LOG_BLOCK), LW_WRITE_DURABLE);
    }
    if (told->worst == LW_OK) {
        told->worst = lw_file_write(told->env, file, offset, lw_view(block, LW_LOG_BLOCK), 0);
    }
    lw_file_close(told->env, file);
    story_reopen(told);
}

static void what_an_opening_showed_is_durable(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        story *told = story_open(seed, &no_faults);
        told->options.segment_size = 1 << 20;
        told->size_max = 100;
        story_run(told, story_open_and_append_20);
        lw_host_kill(told->host);
        story_run(told, leave_the_last_batch_in_the_cache);
        assert_int_equal(told->worst, LW_OK);
        assert_int_equal(told->opened, LW_OK);
        assert_null(story_judge(told));
        lw_host_crash(told->host);
        story_run(told, story_reopen);
        assert_int_equal(told->opened, LW_OK);
        assert_null(story_judge(told));
        story_close(told);
    }
}

/* ---- inspecting --------------------------------------------------------------------------------
 */

static void inspect_it(story *told) {
    told->worst = lw_log_inspect(told->env, first_segment, told->argument);
}

static void inspecting_a_segment_names_its_batches_and_records(void **state) {
    (void)state;
    story *told = story_with_20_records_closed();
    lw_memory *memory = lw_memory_open();
    lw_buffer text = lw_buffer_in(memory);
    told->argument = &text;
    story_run(told, inspect_it);
    assert_int_equal(told->worst, LW_OK);
    lw_buffer_append_u8(&text, 0);
    const char *lines = (const char *)text.data;
    static const char beginning[] = "segment number=1 format=3 size=1048576\n"
                                    "batch offset=4096 sequence=1 kind=opening generation=1 mark=0 "
                                    "oldest=1 size=4096 records=0\n"
                                    "batch offset=8192 sequence=2 kind=records generation=1 mark=1 "
                                    "oldest=1 size=4096 records=2\n"
                                    "  state group=0 term=1 index=0 size=16\n"
                                    "  entry group=0 term=1 index=1 size=";
    assert_memory_equal(lines, beginning, sizeof(beginning) - 1);
    assert_non_null(strstr(lines, "kind=end generation=1 mark=21"));
    assert_non_null(
        strstr(lines, "end offset=94208 verdict=\"nothing behind\" headers_behind=0\n"));

    lw_disk_flip(lw_host_disk(told->host), first_segment, 8 * 9000);
    lw_buffer_clear(&text);
    story_run(told, inspect_it);
    assert_int_equal(told->worst, LW_CORRUPTION);
    lw_buffer_append_u8(&text, 0);
    assert_non_null(strstr((const char *)text.data, "the batch at offset 8192 is damaged"));
    lw_memory_close(memory);
    story_close(told);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_bit_of_a_closed_log_is_noticed_or_harmless),
        cmocka_unit_test(a_hole_below_the_durable_mark_is_corruption_and_named),
        cmocka_unit_test(a_log_that_ignores_durable_marks_loses_records_silently),
        cmocka_unit_test(damage_to_the_last_batch_of_a_log_that_was_not_closed_is_a_torn_tail),
        cmocka_unit_test(a_damaged_segment_header_is_corruption),
        cmocka_unit_test(a_newer_format_is_refused),
        cmocka_unit_test(a_segment_that_is_missing_is_corruption),
        cmocka_unit_test(a_payload_that_looks_like_a_batch_is_never_believed),
        cmocka_unit_test(what_an_opening_showed_is_durable),
        cmocka_unit_test(inspecting_a_segment_names_its_batches_and_records),
    };
    return cmocka_run_group_tests_name("log_damage", tests, unit_arm, NULL) != 0;
}
