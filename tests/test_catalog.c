/* SPDX-License-Identifier: Apache-2.0 */
/* The catalog: its bytes, what it makes of damage, and what it promises over crashes. */
#include "tests/unit.h"

#include "base/hash.h"
#include "storage/inventory.h"
#include "sim/world.h"

#include <stdlib.h>

enum { TREE = 5 };

typedef struct bench {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    lw_catalog *catalog;
    lw_inventory durable; /* what was acknowledged, in the test's memory */
    lw_inventory found;   /* what was read */
    lw_memory *memory;
    uint32_t commits;      /* to be done by the story */
    uint32_t key_size;     /* of the tables in it */
    uint64_t acknowledged; /* the last table that was */
    bool was_full;         /* some commit */
    lw_status status;      /* of the last call */
    lw_buffer shown;       /* by inspecting */
    char text[LW_ERROR_TEXT_SIZE];
} bench;

static bench *make_by(uint64_t seed, const lw_faults *faults) {
    bench *on = calloc(1, sizeof(*on));
    assert_non_null(on);
    on->world = lw_world_open(seed, faults);
    on->host = lw_world_host(on->world, "node");
    on->env = lw_host_boot(on->host);
    on->memory = lw_memory_open();
    on->durable = lw_inventory_in(on->memory);
    on->found = lw_inventory_in(on->memory);
    on->shown = lw_buffer_in(on->memory);
    on->key_size = 3;
    return on;
}

static bench *make(const lw_faults *faults) {
    return make_by(1, faults);
}

static void drop(bench *on) {
    lw_world_close(on->world);
    lw_memory_close(on->memory);
    free(on);
}

typedef struct story {
    bench *on;
    void (*body)(bench *on);
    bool done;
} story;

static void story_main(void *argument) {
    story *told = argument;
    told->body(told->on);
    told->done = true;
}

/* Runs a story in a fiber to its end; false if the power went before. */
static bool run(bench *on, void (*body)(bench *on)) {
    story told = {.on = on, .body = body};
    (void)lw_env_start(on->env, "story", story_main, &told);
    while (!told.done && lw_host_running(on->host) && lw_world_step(on->world)) {
    }
    return told.done;
}

static void note(bench *on, lw_status status) {
    on->status = status;
    if (status != LW_OK) {
        memcpy(on->text, lw_error_slot()->text, sizeof(on->text));
    }
}

static void reboot(bench *on) {
    if (lw_host_running(on->host)) {
        lw_host_crash(on->host);
    }
    on->env = lw_host_boot(on->host);
    lw_host_crash_after(on->host, UINT32_MAX, LW_CRASH_BEFORE);
    lw_inventory_reset(&on->found);
}

/* ---- stories ------------------------------------------------------------------------------------
 */

static void describe(void *argument, lw_buffer *edit) {
    lw_inventory_describe(&((bench *)argument)->durable, edit);
}

static lw_status visit(void *argument, uint64_t offset, lw_bytes edit) {
    return lw_inventory_take(&((bench *)argument)->found, offset, edit);
}

static lw_table_info table_info(uint64_t number, lw_bytes key) {
    return (lw_table_info){.number = number,
                           .origin = number,
                           .size = 1000 + number,
                           .entry_count = 10,
                           .delete_count = 1,
                           .sequence_min = number,
                           .sequence_max = number + 3,
                           .checksum = 0x01020304,
                           .key_min = key,
                           .key_max = key};
}

static lw_status commit(bench *on, const lw_buffer *edit) {
    LW_TRY(lw_catalog_commit(on->catalog, lw_buffer_view(edit)));
    lw_status status = lw_inventory_take(&on->durable, 0, lw_buffer_view(edit));
    LW_ASSERT(status == LW_OK);
    return LW_OK;
}

/* Adds table `number`, and removes the one before. */
static lw_status commit_table(bench *on, uint64_t number) {
    lw_buffer edit = lw_buffer_in(on->env->memory), key = lw_buffer_in(on->env->memory);
    memset(lw_buffer_reserve(&key, on->key_size), (int)number, on->key_size);
    key.size = on->key_size;
    lw_table_info info = table_info(number, lw_buffer_view(&key));
    if (number > 1) {
        lw_edit_remove(&edit, TREE, &(lw_table_info){.number = number - 1});
    }
    lw_edit_add(&edit, TREE, 1, &info);
    lw_edit_flushed(&edit, TREE, number * 10, number);
    lw_status status = commit(on, &edit);
    lw_buffer_reset(&edit);
    lw_buffer_reset(&key);
    return status;
}

static void create_story(bench *on) {
    lw_status status = lw_path_mkdir(on->env, "data");
    if (status == LW_OK) {
        status = lw_path_sync_directory(on->env, ".");
    }
    if (status == LW_OK) {
        lw_buffer first = lw_buffer_in(on->env->memory);
        lw_edit_numbers(&first, 100000);
        lw_edit_tree(&first, TREE);
        status = lw_inventory_take(&on->durable, 0, lw_buffer_view(&first));
        lw_buffer_reset(&first);
    }
    if (status == LW_OK) {
        status = lw_catalog_create(on->env, "data", describe, on, &on->catalog);
    }
    note(on, status);
}

static void commit_story(bench *on) {
    create_story(on);
    for (uint64_t number = 1; number <= on->commits && on->status == LW_OK; number++) {
        note(on, commit_table(on, number));
        on->acknowledged = on->status == LW_OK ? number : on->acknowledged;
    }
    if (on->status == LW_OK) {
        lw_catalog_close(on->catalog);
    }
}

static void open_story(bench *on) {
    lw_status status = lw_catalog_open(on->env, "data", visit, describe, on, &on->catalog);
    note(on, status);
}

static void read_file(bench *on, lw_buffer *contents) {
    assert_true(
        lw_disk_contents(lw_host_disk(on->host), LW_DISK_VOLATILE, "data/CATALOG", contents));
}

/* What the catalog holds that this many commits made, before anything was rewritten. */
static lw_buffer sample(bench *on, uint32_t commits) {
    lw_buffer contents = lw_buffer_in(on->memory);
    on->commits = commits;
    assert_true(run(on, commit_story));
    assert_int_equal(on->status, LW_OK);
    read_file(on, &contents);
    return contents;
}

static lw_status parse(bench *on, const lw_buffer *contents, lw_catalog_facts *facts) {
    lw_inventory_reset(&on->found);
    return lw_catalog_parse("CATALOG", lw_buffer_view(contents), visit, on, facts);
}

/* ---- bytes --------------------------------------------------------------------------------------
 */

static void expect_hex(lw_bytes bytes, const char *expected) {
    char text[1024] = "";
    assert_true(bytes.size * 2 < sizeof(text));
    for (size_t index = 0; index < bytes.size; index++) {
        snprintf(text + 2 * index, 3, "%02x", bytes.data[index]);
    }
    assert_string_equal(text, expected);
}

static void an_edit_has_these_bytes(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer edit = lw_buffer_in(memory);
    lw_table_info info = table_info(300, lw_text("ab"));
    info.key_max = lw_text("b");
    lw_edit_tree(&edit, 5);
    lw_edit_add(&edit, 5, 2, &info);
    info.origin = 7;
    info.clip = (lw_key_range){.lower = lw_text("b"), .upper = lw_view(NULL, 0)};
    const lw_value_file values[] = {{.number = 8, .origin = 9, .live_size = 10, .size = 128}};
    info.values = values;
    info.value_count = 1;
    info.raw_size = 1024;
    info.compression = LW_COMPRESSION_LZ4;
    info.stale_count = 3;
    info.stale_from = 0x1600;
    info.stale_to = 0x1601;
    lw_edit_add(&edit, 5, 0, &info);
    lw_edit_remove(&edit, 5, &info);
    lw_edit_flushed(&edit, 5, 128, 9);
    lw_edit_numbers(&edit, 256);
    lw_edit_bounds(&edit, 5,
                   (const lw_key_range[]){{.upper = lw_text("k")}, {.lower = lw_text("x")}}, 2);
    lw_edit_drop(&edit, 5);
    expect_hex(lw_buffer_view(&edit), "0105"
                                      "060502ac02ac02940a0a01ac02af02040302010261620162"
                                      "0000000000000000"
                                      "060500ac0207940a0a01ac02af02040302010261620162"
                                      "0162000108090a800180080103802c812c"
                                      "0705ac020162"
                                      "0405800109"
                                      "058002"
                                      "09050200016b017800"
                                      "0805");
    lw_memory_close(memory);
}

static void append_hex(lw_buffer *out, const char *hex) {
    for (; hex[0] != 0; hex += 2) {
        unsigned byte = 0;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        lw_buffer_append_u8(out, (uint8_t)byte);
    }
}

/* As the versions before the trees could share files wrote it. */
static void a_catalog_of_format_1_is_still_read(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = make(&faults);
    lw_buffer contents = lw_buffer_in(on->memory);
    append_hex(&contents, "4c5743540100000001000000000000003600000000000000bd465d55"
                          "af8625350a0000001c0000000000000005a08d06010504050000"
                          "56fd91851a0000003600000000000000"
                          "02050101e9070a01010404030201030101010301010104050a01"
                          "c6cf110d000000006000000000000000");
    lw_catalog_facts facts;
    assert_int_equal(parse(on, &contents, &facts), LW_OK);
    assert_int_equal(facts.format, 1);
    lw_inventory_tree *tree = lw_inventory_find_tree(&on->found, TREE);
    assert_int_equal(tree->flushed_index, 10);
    assert_int_equal(tree->table_count, 1);
    assert_int_equal(tree->first->info.number, 1);
    assert_int_equal(tree->first->info.origin, 1);
    assert_int_equal(tree->first->info.clip.lower.size + tree->first->info.clip.upper.size, 0);
    const uint8_t removed[] = {LW_CHANGE_REMOVE_PLAIN, 1};
    assert_int_equal(lw_inventory_take(&on->found, 0, lw_view(removed, sizeof(removed))), LW_OK);
    assert_int_equal(tree->table_count, 0);
    drop(on);
}

static void a_catalog_has_these_bytes(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = make(&faults);
    lw_buffer contents = sample(on, 1);
    expect_hex(lw_buffer_view(&contents),
               "4c57435402000000010000000000000036000000000000007a5e990c" /* header */
               "af8625350a0000001c00000000000000" /* a record: the state at first */
               "05a08d060105"                     /* numbers below 100000; tree 5 */
               "04050000"                         /* flushed up to nothing */
               "21e43490230000003600000000000000" /* a record: the edit */
               "0605010101e9070a0101040403020103010101030101010000000000000000" /* table 1 */
               "04050a01"                           /* flushed up to 10 */
               "3bb61606000000006900000000000000"); /* its mark */
    drop(on);
}

static void a_newer_format_is_refused(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = make(&faults);
    lw_buffer contents = sample(on, 1);
    lw_catalog_facts facts;
    contents.data[4] = 3;
    assert_int_equal(parse(on, &contents, &facts), LW_CORRUPTION);
    lw_put_u32(contents.data + 24, lw_crc32c(0, lw_view(contents.data, 24)));
    assert_int_equal(parse(on, &contents, &facts), LW_REFUSED);
    assert_non_null(strstr(lw_error_slot()->text, "format 3, this program knows formats up to 2"));
    drop(on);
}

/* ---- damage -------------------------------------------------------------------------------------
 */

static void a_torn_tail_is_left_out(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = make(&faults);
    lw_buffer contents = sample(on, 3);
    lw_catalog_facts facts = {0};
    assert_int_equal(parse(on, &contents, &facts), LW_OK);
    assert_int_equal(facts.torn_size, 0);
    assert_true(facts.acknowledged);
    for (size_t size = facts.base; size <= contents.size; size++) {
        lw_buffer cut = {.data = contents.data, .size = size};
        assert_int_equal(parse(on, &cut, &facts), LW_OK);
        assert_int_equal(facts.size + facts.torn_size, size);
        /* An edit counts as a whole or not at all. */
        lw_inventory_tree *tree = lw_inventory_find_tree(&on->found, TREE);
        assert_int_equal(tree->table_count, facts.edit_count > 1);
        assert_int_equal(tree->flushed_index, (facts.edit_count - 1) * 10);
    }
    drop(on);
}

static void any_flipped_bit_of_what_was_acknowledged_is_noticed(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = make(&faults);
    lw_buffer contents = sample(on, 3);
    lw_catalog_facts facts = {0};
    size_t last_mark = contents.size - 16;
    for (size_t bit = 0; bit < contents.size * 8; bit++) {
        contents.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        lw_status status = parse(on, &contents, &facts);
        if (bit / 8 < last_mark) {
            assert_int_equal(status, LW_CORRUPTION);
        } else {
            assert_int_equal(status, LW_OK);
            assert_int_equal(facts.edit_count, 4);
            assert_false(facts.acknowledged);
        }
        contents.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    drop(on);
}

static void bytes_missing_from_the_base_are_noticed(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = make(&faults);
    lw_buffer contents = sample(on, 0);
    lw_catalog_facts facts = {0};
    for (size_t size = 0; size < contents.size; size++) {
        lw_buffer cut = {.data = contents.data, .size = size};
        assert_int_equal(parse(on, &cut, &facts), LW_CORRUPTION);
    }
    drop(on);
}

static void a_record_of_another_generation_is_not_believed(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = make(&faults);
    lw_buffer contents = sample(on, 1);
    lw_catalog_facts facts = {0};
    assert_int_equal(parse(on, &contents, &facts), LW_OK);
    /* The same file, had it been rewritten with what it held before the commit: the disk gave it
     * the blocks of the earlier one back, and behind the base they still hold the edit. */
    lw_put_u64(contents.data + 8, facts.generation + 1);
    lw_put_u32(contents.data + 24, lw_crc32c(0, lw_view(contents.data, 24)));
    uint32_t size = lw_get_u32(contents.data + 28 + 4);
    lw_put_u32(contents.data + 28, lw_crc32c((uint32_t)facts.generation + 1,
                                             lw_view(contents.data + 32, 12 + (size_t)size)));
    assert_int_equal(parse(on, &contents, &facts), LW_OK);
    assert_int_equal(facts.edit_count, 1);
    assert_int_equal(facts.size, facts.base);
    drop(on);
}

static void edits_that_make_no_sense_are_corruption(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_inventory inventory = lw_inventory_in(memory);
    lw_buffer good = lw_buffer_in(memory);
    lw_table_info info = table_info(3, lw_text("k"));
    lw_edit_numbers(&good, 10);
    lw_edit_tree(&good, TREE);
    lw_edit_add(&good, TREE, 0, &info);
    lw_edit_flushed(&good, TREE, 50, 5);
    assert_int_equal(lw_inventory_take(&inventory, 0, lw_buffer_view(&good)), LW_OK);
    lw_buffer bad[10];
    for (size_t index = 0; index < 10; index++) {
        bad[index] = lw_buffer_in(memory);
    }
    lw_edit_tree(&bad[0], TREE);
    lw_edit_add(&bad[1], TREE, 1, &info);
    info.number = 4;
    lw_edit_add(&bad[2], TREE + 1, 1, &info);
    info.number = 10;
    lw_edit_add(&bad[3], TREE, 1, &info);
    lw_edit_remove(&bad[4], TREE, &info);
    lw_edit_flushed(&bad[5], TREE, 49, 5);
    lw_edit_flushed(&bad[6], TREE, 49, 6);
    lw_edit_numbers(&bad[7], 9);
    lw_buffer_append_u8(&bad[8], 6);
    lw_edit_flushed(&bad[9], TREE + 1, 50, 5);
    for (size_t index = 0; index < 10; index++) {
        assert_int_equal(lw_inventory_take(&inventory, 0, lw_buffer_view(&bad[index])),
                         LW_CORRUPTION);
    }
    lw_memory_close(memory);
}

/* ---- sharing ------------------------------------------------------------------------------------
 */

enum { CHILD = 6 };

/* Table 3, of the keys from "b" to "p", with values in file 4. */
static lw_table_info shared_info(const char *lower, const char *upper) {
    static const lw_value_file values = {.number = 4, .origin = 4, .live_size = 5, .size = 100};
    lw_table_info info = table_info(3, lw_text("b"));
    info.key_max = lw_text("p");
    info.clip = (lw_key_range){.lower = lw_text(lower), .upper = lw_text(upper)};
    info.values = &values;
    info.value_count = 1;
    return info;
}

static void edit_shared(lw_buffer *edit, uint64_t tree, uint32_t level, const char *lower,
                        const char *upper) {
    lw_table_info info = shared_info(lower, upper);
    lw_edit_add(edit, tree, level, &info);
}

/* A tree that was split twice: at "g" and at "k". */
static lw_inventory split_inventory(lw_memory *memory) {
    lw_inventory inventory = lw_inventory_in(memory);
    lw_buffer edit = lw_buffer_in(memory);
    lw_table_info whole = shared_info("", "");
    lw_edit_numbers(&edit, 10);
    lw_edit_tree(&edit, TREE);
    lw_edit_add(&edit, TREE, 2, &whole);
    lw_edit_remove(&edit, TREE, &whole);
    lw_edit_bounds(&edit, TREE,
                   (const lw_key_range[]){{.upper = lw_text("g")}, {.lower = lw_text("k")}}, 2);
    edit_shared(&edit, TREE, 2, "", "g");
    edit_shared(&edit, TREE, 1, "k", "");
    lw_edit_tree(&edit, CHILD);
    lw_edit_bounds(&edit, CHILD,
                   (const lw_key_range[]){{.lower = lw_text("g"), .upper = lw_text("k")}}, 1);
    edit_shared(&edit, CHILD, 2, "g", "k");
    assert_int_equal(lw_inventory_take(&inventory, 0, lw_buffer_view(&edit)), LW_OK);
    return inventory;
}

static void take_one(lw_inventory *inventory, lw_buffer *edit, lw_status expected) {
    assert_int_equal(lw_inventory_take(inventory, 0, lw_buffer_view(edit)), expected);
    lw_buffer_clear(edit);
}

static void one_table_may_stand_in_several_places(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_inventory inventory = split_inventory(memory);
    lw_inventory_file *file = lw_inventory_find_file(&inventory, 3);
    assert_int_equal(file->name_count, 3);
    assert_int_equal(lw_inventory_find_file(&inventory, 4)->name_count, 3);
    lw_buffer edit = lw_buffer_in(memory);
    lw_table_info info = shared_info("k", "");
    lw_edit_remove(&edit, TREE, &info);
    take_one(&inventory, &edit, LW_OK);
    assert_int_equal(file->name_count, 2);
    assert_int_equal(lw_inventory_find_tree(&inventory, TREE)->table_count, 1);
    /* The place that was removed is gone, the others are not. */
    lw_edit_remove(&edit, TREE, &info);
    take_one(&inventory, &edit, LW_CORRUPTION);
    lw_edit_drop(&edit, TREE);
    take_one(&inventory, &edit, LW_OK);
    assert_null(lw_inventory_find_tree(&inventory, TREE));
    assert_int_equal(file->name_count, 1);
    assert_ptr_equal(inventory.first, lw_inventory_find_tree(&inventory, CHILD));
    lw_edit_drop(&edit, CHILD);
    lw_edit_tree(&edit, CHILD);
    take_one(&inventory, &edit, LW_OK);
    assert_null(lw_inventory_find_file(&inventory, 3));
    assert_null(lw_inventory_find_file(&inventory, 4));
    assert_int_equal(inventory.first->table_count + inventory.first->bound_count, 0);
    lw_memory_close(memory);
}

static void sharing_that_makes_no_sense_is_corruption(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer edit = lw_buffer_in(memory);
    for (uint32_t bad = 0; bad < 12; bad++) {
        lw_inventory inventory = split_inventory(memory);
        lw_table_info info = shared_info("g", "h");
        lw_edit_drop(&edit, CHILD);
        lw_edit_tree(&edit, CHILD);
        lw_value_file values = info.values[0];
        info.values = &values;
        switch (bad) {
        case 0: /* as it was: the only one of these that is right */
            break;
        case 1: /* seen from two places */
            info.clip.upper = lw_text("l");
            break;
        case 2:
            info.clip.lower = lw_text("f");
            break;
        case 3: /* another table */
            info.checksum++;
            break;
        case 4:
            info.origin++;
            break;
        case 5: /* a clip that cuts nothing off, or everything */
            info.clip = (lw_key_range){.upper = lw_text("q")};
            break;
        case 6:
            info.clip = (lw_key_range){.lower = lw_text("g"), .upper = lw_text("g")};
            break;
        case 7: /* other values */
            values.live_size++;
            break;
        case 8:
            values.number = 3;
            break;
        case 9:
            values.live_size = 101;
            break;
        case 10: /* what holds values is no table */
            info.number = info.origin = 4;
            break;
        default: /* and the other way round */
            info.number = info.origin = 5;
            values.number = 3;
            values.size = info.size;
            break;
        }
        lw_edit_add(&edit, CHILD, 2, &info);
        lw_status status = lw_inventory_take(&inventory, 0, lw_buffer_view(&edit));
        assert_int_equal(status, bad == 0 ? LW_OK : LW_CORRUPTION);
        lw_buffer_clear(&edit);
    }
    lw_inventory inventory = split_inventory(memory);
    lw_edit_drop(&edit, TREE + 5);
    take_one(&inventory, &edit, LW_CORRUPTION);
    lw_edit_bounds(&edit, TREE + 5, NULL, 0);
    take_one(&inventory, &edit, LW_CORRUPTION);
    lw_edit_bounds(&edit, TREE,
                   (const lw_key_range[]){{.upper = lw_text("g")}, {.lower = lw_text("g")}}, 2);
    take_one(&inventory, &edit, LW_CORRUPTION);
    const uint8_t plain[] = {LW_CHANGE_REMOVE_PLAIN, 3};
    assert_int_equal(lw_inventory_take(&inventory, 0, lw_view(plain, 2)), LW_CORRUPTION);
    lw_memory_close(memory);
}

static void what_is_shared_can_be_described(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_inventory inventory = split_inventory(memory), second = lw_inventory_in(memory);
    lw_buffer edit = lw_buffer_in(memory), again = lw_buffer_in(memory);
    lw_inventory_describe(&inventory, &edit);
    assert_int_equal(lw_inventory_take(&second, 0, lw_buffer_view(&edit)), LW_OK);
    lw_inventory_describe(&second, &again);
    assert_true(lw_equal(lw_buffer_view(&edit), lw_buffer_view(&again)));
    lw_memory_close(memory);
}

/* ---- promises -----------------------------------------------------------------------------------
 */

/* What was found is a prefix of the commits, and no acknowledged one is missing. */
static void expect_prefix(bench *on, const char *what, uint64_t step) {
    if (on->status == LW_NOT_FOUND && on->acknowledged == 0) {
        return; /* it was not made yet */
    }
    if (on->status != LW_OK) {
        fail_msg("%s %u: %s", what, (unsigned)step, on->text);
    }
    lw_inventory_tree *tree = lw_inventory_find_tree(&on->found, TREE);
    assert_non_null(tree);
    uint64_t found = tree->flushed_index / 10;
    assert_in_range(found, on->acknowledged, on->acknowledged + 1);
    assert_int_equal(tree->table_count, found > 0);
    assert_true(found == 0 || tree->first->info.number == found);
}

static void an_edit_survives_a_power_cut_at_any_step_or_never_was(void **state) {
    (void)state;
    uint64_t torn = 0;
    bool more = true;
    for (uint64_t step = 0; more; step++) {
        for (uint32_t crash = LW_CRASH_BEFORE; crash <= LW_CRASH_AFTER; crash++) {
            lw_faults faults = lw_faults_none();
            bench *on = make_by(step, &faults); /* how it tears is drawn by seed */
            on->commits = 12;
            on->key_size = 700; /* an edit lies in several sectors */
            lw_host_crash_after(on->host, step, (lw_crash)crash);
            more = !run(on, commit_story);
            reboot(on);
            assert_true(run(on, open_story));
            torn += lw_world_marked(on->world, "catalog.torn_tail");
            expect_prefix(on, "power cut at step", step);
            drop(on);
        }
    }
    assert_true(torn > 0);
}

static void settle_story(bench *on) {
    open_story(on);
    lw_inventory_reset(&on->durable);
    lw_buffer all = lw_buffer_in(on->memory);
    lw_inventory_describe(&on->found, &all);
    lw_status status = lw_inventory_take(&on->durable, 0, lw_buffer_view(&all));
    LW_ASSERT(status == LW_OK);
    note(on, lw_catalog_settle(on->catalog));
}

/* A durable write fails, the process dies, and the next one finds the bytes in the page cache,
 * clean: if it acted on them, a power loss would take back what it acted on (C4). */
static void what_was_settled_survives_though_its_sync_had_failed(void **state) {
    (void)state;
    bool more = true;
    for (uint32_t occasion = 1; more; occasion++) {
        lw_faults faults = lw_faults_none();
        bench *on = make(&faults);
        on->commits = 4;
        lw_dice_arm(lw_disk_dice(lw_host_disk(on->host)), LW_FAULT_SYNC_ERROR, occasion);
        assert_true(run(on, commit_story));
        more = lw_world_marked(on->world, "fault.sync_error") > 0;
        lw_dice_arm(lw_disk_dice(lw_host_disk(on->host)), LW_FAULT_SYNC_ERROR, 0);
        lw_host_kill(on->host);
        on->env = lw_host_boot(on->host);
        assert_true(run(on, open_story));
        if (on->status == LW_OK) {
            lw_inventory_reset(&on->found);
            assert_true(run(on, settle_story));
            assert_int_equal(on->status, LW_OK);
            uint64_t settled = lw_inventory_find_tree(&on->found, TREE)->flushed_index;
            reboot(on);
            assert_true(run(on, open_story));
            assert_int_equal(on->status, LW_OK);
            assert_int_equal(lw_inventory_find_tree(&on->found, TREE)->flushed_index, settled);
        }
        drop(on);
    }
}

static void full_story(bench *on) {
    create_story(on);
    uint64_t number = 1;
    while (on->catalog != NULL && number <= on->commits) {
        note(on, commit_table(on, number));
        if (on->status == LW_OK) {
            on->acknowledged = number++;
        } else if (on->status != LW_FULL) {
            break;
        } else {
            on->was_full = true;
        }
    }
}

static void after_a_full_disk_the_same_edit_succeeds(void **state) {
    (void)state;
    bool more = true;
    for (uint32_t occasion = 3; more; occasion++) {
        lw_faults faults = lw_faults_none();
        bench *on = make(&faults);
        on->commits = 6;
        on->key_size = 700;
        lw_dice_arm(lw_disk_dice(lw_host_disk(on->host)), LW_FAULT_FULL, occasion);
        assert_true(run(on, full_story));
        more = lw_world_marked(on->world, "fault.full") > 0;
        if (on->status != LW_FULL) { /* which it is if there never was a catalog */
            assert_int_equal(on->status, LW_OK);
            reboot(on);
            assert_true(run(on, open_story));
            expect_prefix(on, "full at occasion", occasion);
            assert_int_equal(on->acknowledged, on->commits);
            /* Not in place: where the failed write ended is unknown. */
            assert_true(!on->was_full || lw_world_marked(on->world, "catalog.rewritten") > 0);
        }
        drop(on);
    }
}

static void it_is_rewritten_before_it_outgrows_what_it_holds(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = make(&faults);
    on->key_size = 2000;
    lw_buffer contents = sample(on, 200); /* 400 KB of edits, of which 4 KB count */
    assert_true(lw_world_marked(on->world, "catalog.rewritten") >= 4);
    assert_true(contents.size < 100 * 1024);
    assert_true(run(on, open_story));
    expect_prefix(on, "commits", on->commits);
    drop(on);
}

static void inspect_story(bench *on) {
    note(on, lw_catalog_inspect(on->env, "data/CATALOG", &on->shown));
    lw_buffer_append_u8(&on->shown, 0);
}

/* Commits what was made of trees that share their tables. */
static void share_story(bench *on) {
    lw_buffer edit = lw_buffer_in(on->memory);
    create_story(on);
    lw_table_info info = shared_info("", "g");
    lw_edit_add(&edit, TREE, 2, &info);
    lw_edit_bounds(&edit, TREE,
                   (const lw_key_range[]){{.upper = lw_text("g")}, {.lower = lw_text("k")}}, 2);
    lw_edit_tree(&edit, CHILD);
    info = shared_info("g", "k");
    info.origin = 9;
    lw_edit_bounds(&edit, CHILD, NULL, 0);
    lw_edit_add(&edit, CHILD, 0, &info);
    lw_edit_remove(&edit, CHILD, &info);
    lw_edit_drop(&edit, CHILD);
    note(on,
         on->status != LW_OK ? on->status : lw_catalog_commit(on->catalog, lw_buffer_view(&edit)));
    if (on->status == LW_OK) {
        inspect_story(on);
    }
}

static void what_is_shared_can_be_shown(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = make(&faults);
    assert_true(run(on, share_story));
    assert_int_equal(on->status, LW_OK);
    assert_string_equal(
        strstr((const char *)on->shown.data, "54: "),
        "54: edit of 86 bytes\n"
        "  add table 0000000000000003 to tree 5 level 2: 1003 bytes, 10 entries (1 "
        "deletions), sequences 3..6, keys \"b\"..\"p\", seen below \"g\"\n"
        "    5 of 100 bytes of values in 0000000000000004\n"
        "  tree 5 holds keys below \"g\" and from \"k\"\n"
        "  create tree 6\n"
        "  tree 6 holds keys without bounds\n"
        "  add table 0000000000000003 to tree 6 level 0: 1003 bytes, 10 entries (1 "
        "deletions), sequences 3..6, keys \"b\"..\"p\", seen from \"g\" below \"k\", built as "
        "0000000000000009\n"
        "    5 of 100 bytes of values in 0000000000000004\n"
        "  remove table 0000000000000003 from tree 6, seen from \"g\"\n"
        "  drop tree 6\n"
        "catalog of format 2, generation 1: 2 edits in 172 bytes; all valid\n");
    drop(on);
}

static void it_can_be_shown(void **state) {
    (void)state;
    lw_faults faults = lw_faults_none();
    bench *on = make(&faults);
    (void)sample(on, 1);
    assert_true(run(on, inspect_story));
    assert_string_equal(
        (const char *)on->shown.data,
        "28: edit of 10 bytes\n"
        "  file numbers below 100000 are taken\n"
        "  create tree 5\n"
        "  tree 5 is flushed up to index 0, sequence 0\n"
        "54: edit of 35 bytes\n"
        "  add table 0000000000000001 to tree 5 level 1: 1001 bytes, 10 entries (1 deletions), "
        "sequences 1..4, keys \"\\x01\\x01\\x01\"..\"\\x01\\x01\\x01\"\n"
        "  tree 5 is flushed up to index 10, sequence 1\n"
        "catalog of format 2, generation 1: 2 edits in 121 bytes; all valid\n");
    drop(on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edit_has_these_bytes),
        cmocka_unit_test(a_catalog_has_these_bytes),
        cmocka_unit_test(a_catalog_of_format_1_is_still_read),
        cmocka_unit_test(a_newer_format_is_refused),
        cmocka_unit_test(a_torn_tail_is_left_out),
        cmocka_unit_test(any_flipped_bit_of_what_was_acknowledged_is_noticed),
        cmocka_unit_test(bytes_missing_from_the_base_are_noticed),
        cmocka_unit_test(a_record_of_another_generation_is_not_believed),
        cmocka_unit_test(edits_that_make_no_sense_are_corruption),
        cmocka_unit_test(one_table_may_stand_in_several_places),
        cmocka_unit_test(sharing_that_makes_no_sense_is_corruption),
        cmocka_unit_test(what_is_shared_can_be_described),
        cmocka_unit_test(an_edit_survives_a_power_cut_at_any_step_or_never_was),
        cmocka_unit_test(what_was_settled_survives_though_its_sync_had_failed),
        cmocka_unit_test(after_a_full_disk_the_same_edit_succeeds),
        cmocka_unit_test(it_is_rewritten_before_it_outgrows_what_it_holds),
        cmocka_unit_test(it_can_be_shown),
        cmocka_unit_test(what_is_shared_can_be_shown),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
