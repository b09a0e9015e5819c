/* SPDX-License-Identifier: Apache-2.0 */
/* The storage library through its public header, on a real disk, in both worlds: what is written is
 * read, survives closing and a killed process, and what is refused says why. */
#include "storage/lathwork_storage.h"
#include "tests/unit.h"

#include <stdlib.h>

enum { PATH_SIZE = 64 };

typedef struct place {
    char path[PATH_SIZE];
    lw_storage_options options;
    lw_storage *storage;
    lw_storage_error error;
} place;

/* ---- a directory for each test ----------------------------------------------------------------
 */

static void open_again(place *at) {
    if (lw_storage_open(at->path, &at->options, &at->storage, &at->error) != LW_STORAGE_OK) {
        fail_msg("%s", at->error.message);
    }
}

static void set_up(place *at, bool no_io_uring) {
    *at = (place){.options = {.no_io_uring = no_io_uring, .memory_size = 1024 * 1024}};
    snprintf(at->path, sizeof(at->path), "build/embed.XXXXXX");
    assert_non_null(mkdtemp(at->path));
    open_again(at);
}

static void tear_down(place *at) {
    char command[PATH_SIZE + 16];
    assert_int_equal(lw_storage_close(at->storage, &at->error), LW_STORAGE_OK);
    snprintf(command, sizeof(command), "rm -rf %s", at->path);
    assert_int_equal(system(command), 0);
}

static lw_storage_bytes text(const char *text) {
    return lw_storage_view(text, strlen(text));
}

static void put(place *at, const char *key, const char *value) {
    assert_int_equal(lw_storage_put(at->storage, text(key), text(value), &at->error),
                     LW_STORAGE_OK);
}

static void expect_view(lw_storage_bytes found, const char *expected) {
    assert_int_equal(found.size, strlen(expected));
    assert_memory_equal(found.data, expected, found.size);
}

static void expect_key(place *at, const char *key, const char *expected) {
    lw_storage_bytes value;
    lw_storage_status status = lw_storage_get(at->storage, text(key), &value, &at->error);
    assert_int_equal(status, expected != NULL ? LW_STORAGE_OK : LW_STORAGE_NOT_FOUND);
    if (expected != NULL) {
        expect_view(value, expected);
    }
}

static void expect_error(const place *at, lw_storage_status found, lw_storage_status expected,
                         const char *words) {
    assert_int_equal(found, expected);
    assert_int_equal(at->error.status, expected);
    if (strstr(at->error.message, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", at->error.message, words);
    }
}

/* ---- writing and reading --------------------------------------------------------------------- */

static void write_and_read(bool no_io_uring) {
    place at;
    set_up(&at, no_io_uring);
    put(&at, "apple", "red");
    put(&at, "lemon", "yellow");
    put(&at, "apple", "green");
    put(&at, "", "");
    assert_int_equal(lw_storage_delete(at.storage, text("lemon"), &at.error), LW_STORAGE_OK);
    for (uint32_t round = 0; round < 3; round++) {
        expect_key(&at, "apple", "green");
        expect_key(&at, "lemon", NULL);
        expect_key(&at, "", "");
        if (round == 0) {
            assert_int_equal(lw_storage_close(at.storage, &at.error), LW_STORAGE_OK);
            open_again(&at);
        } else {
            assert_int_equal(lw_storage_flush(at.storage, &at.error), LW_STORAGE_OK);
        }
    }
    tear_down(&at);
}

static void what_is_written_is_read_and_survives_closing(void **state) {
    (void)state;
    write_and_read(false);
    write_and_read(true);
}

static void a_batch_is_written_whole(void **state) {
    (void)state;
    place at;
    set_up(&at, false);
    put(&at, "a", "before");
    lw_storage_batch *batch = lw_storage_batch_open(at.storage);
    assert_int_equal(lw_storage_batch_put(batch, text("a"), text("1"), &at.error), LW_STORAGE_OK);
    assert_int_equal(lw_storage_batch_put(batch, text("b"), text("2"), &at.error), LW_STORAGE_OK);
    assert_int_equal(lw_storage_batch_delete(batch, text("a"), &at.error), LW_STORAGE_OK);
    expect_key(&at, "a", "before");
    assert_int_equal(lw_storage_write(at.storage, batch, true, &at.error), LW_STORAGE_OK);
    expect_key(&at, "a", NULL);
    expect_key(&at, "b", "2");
    assert_true(lw_storage_batch_size(batch) > 0);
    lw_storage_batch_clear(batch);
    assert_int_equal(lw_storage_batch_size(batch), 0);
    lw_storage_batch_close(batch);
    tear_down(&at);
}

static void a_snapshot_does_not_change(void **state) {
    (void)state;
    place at;
    lw_storage_bytes value;
    set_up(&at, false);
    put(&at, "k", "old");
    lw_storage_snapshot *snapshot = lw_storage_snapshot_open(at.storage);
    put(&at, "k", "new");
    assert_int_equal(lw_storage_flush(at.storage, &at.error), LW_STORAGE_OK);
    assert_int_equal(lw_storage_compact(at.storage, &at.error), LW_STORAGE_OK);
    assert_int_equal(lw_storage_snapshot_get(snapshot, text("k"), &value, &at.error),
                     LW_STORAGE_OK);
    expect_view(value, "old");
    expect_key(&at, "k", "new");
    lw_storage_snapshot_close(snapshot);
    tear_down(&at);
}

/* ---- cursors --------------------------------------------------------------------------------- */

static void expect_at(const lw_storage_cursor *cursor, lw_storage_status status, const char *key) {
    assert_int_equal(status, key != NULL ? LW_STORAGE_OK : LW_STORAGE_NOT_FOUND);
    expect_view(lw_storage_cursor_key(cursor), key != NULL ? key : "");
    expect_view(lw_storage_cursor_value(cursor), key != NULL ? key : "");
}

static void a_cursor_walks_both_ways_within_its_bounds(void **state) {
    (void)state;
    place at;
    set_up(&at, false);
    for (const char *const *key = (const char *const[]){"a", "b", "d", "e", "f", NULL};
         *key != NULL; key++) {
        put(&at, *key, *key);
    }
    lw_storage_error *error = &at.error;
    lw_storage_snapshot *snapshot = lw_storage_snapshot_open(at.storage);
    lw_storage_cursor *cursor = lw_storage_cursor_open(snapshot, text("b"), text("f"));
    expect_at(cursor, lw_storage_cursor_next(cursor, error), NULL);
    expect_at(cursor, lw_storage_cursor_first(cursor, error), "b");
    expect_at(cursor, lw_storage_cursor_next(cursor, error), "d");
    expect_at(cursor, lw_storage_cursor_previous(cursor, error), "b");
    expect_at(cursor, lw_storage_cursor_previous(cursor, error), NULL);
    expect_at(cursor, lw_storage_cursor_seek(cursor, text("c"), error), "d");
    expect_at(cursor, lw_storage_cursor_seek_before(cursor, text("d"), error), "b");
    expect_at(cursor, lw_storage_cursor_last(cursor, error), "e");
    expect_at(cursor, lw_storage_cursor_next(cursor, error), NULL);
    lw_storage_cursor_close(cursor);
    lw_storage_snapshot_close(snapshot);
    tear_down(&at);
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

static void a_checkpoint_is_a_directory_of_its_own(void **state) {
    (void)state;
    place at;
    set_up(&at, false);
    put(&at, "k", "then");
    char copy[PATH_SIZE + 8];
    snprintf(copy, sizeof(copy), "%s/copy", at.path);
    assert_int_equal(lw_storage_checkpoint(at.storage, copy, &at.error), LW_STORAGE_OK);
    put(&at, "k", "now");
    place other = {0};
    snprintf(other.path, sizeof(other.path), "%.50s/copy", at.path);
    open_again(&other);
    expect_key(&other, "k", "then");
    put(&other, "k", "there");
    expect_key(&at, "k", "now");
    assert_int_equal(lw_storage_close(other.storage, &other.error), LW_STORAGE_OK);
    expect_error(&at, lw_storage_checkpoint(at.storage, copy, &at.error), LW_STORAGE_REFUSED,
                 "copy");
    expect_error(&at, lw_storage_checkpoint(at.storage, "", &at.error), LW_STORAGE_INVALID,
                 "no directory");
    tear_down(&at);
}

/* ---- crashes --------------------------------------------------------------------------------- */

static void be_killed(void *argument) {
    place *at = argument;
    lw_storage_error error;
    at->options.durable = true;
    if (lw_storage_open(at->path, &at->options, &at->storage, &error) != LW_STORAGE_OK ||
        lw_storage_put(at->storage, text("durable"), text("1"), &error) != LW_STORAGE_OK) {
        _exit(1);
    }
    (void)raise(SIGKILL);
}

static void a_durable_write_survives_a_killed_process(void **state) {
    (void)state;
    place at;
    char said[256];
    set_up(&at, false);
    assert_int_equal(lw_storage_close(at.storage, &at.error), LW_STORAGE_OK);
    int status = unit_child(be_killed, &at, said, sizeof(said));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    open_again(&at);
    expect_key(&at, "durable", "1");
    tear_down(&at);
}

/* ---- much ------------------------------------------------------------------------------------ */

enum { MANY = 30000 };

static lw_storage_bytes number_text(uint32_t number, char *to) {
    return lw_storage_view(to, (size_t)sprintf(to, "%08u", (unsigned)number));
}

static void many_writes_become_tables_behind_the_calls(void **state) {
    (void)state;
    place at;
    char key[16];
    set_up(&at, false);
    for (uint32_t index = 0; index < MANY; index++) {
        lw_storage_bytes name = number_text(index * 7919 % MANY, key);
        assert_int_equal(lw_storage_put(at.storage, name, name, &at.error), LW_STORAGE_OK);
    }
    assert_int_equal(lw_storage_work(at.storage, 50, &at.error), LW_STORAGE_OK);
    lw_storage_figures figures;
    lw_storage_figures_get(at.storage, &figures);
    assert_true(figures.table_count > 0 && figures.table_bytes > 0 && figures.flushed_bytes > 0);
    assert_true(figures.memory_bytes < 1024 * 1024);
    assert_true(figures.written_bytes > MANY * 16 && figures.log_bytes > 0);
    for (uint32_t index = 0; index < MANY; index += 7) {
        lw_storage_bytes name = number_text(index, key), value;
        assert_int_equal(lw_storage_get(at.storage, name, &value, &at.error), LW_STORAGE_OK);
        assert_int_equal(value.size, name.size);
        assert_memory_equal(value.data, name.data, name.size);
    }
    tear_down(&at);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void what_is_refused_says_why(void **state) {
    (void)state;
    place at;
    set_up(&at, false);
    lw_storage *other = NULL;
    expect_error(&at, lw_storage_open(at.path, NULL, &other, &at.error), LW_STORAGE_REFUSED,
                 at.path);
    assert_null(other);
    expect_error(&at, lw_storage_open(NULL, NULL, &other, &at.error), LW_STORAGE_INVALID,
                 "no directory");
    lw_storage_bytes huge = lw_storage_view("", LW_STORAGE_KEY_SIZE_MAX + 1);
    expect_error(&at, lw_storage_put(at.storage, huge, text("v"), &at.error), LW_STORAGE_INVALID,
                 "65537");
    lw_storage_bytes value;
    expect_error(&at, lw_storage_get(at.storage, text("k"), &value, &at.error),
                 LW_STORAGE_NOT_FOUND, "no value");
    lw_storage_snapshot *snapshot = lw_storage_snapshot_open(at.storage);
    expect_error(&at, lw_storage_close(at.storage, &at.error), LW_STORAGE_INVALID, "close them");
    lw_storage_snapshot_close(snapshot);
    tear_down(&at);
}

static void handles_of_one_process_are_independent(void **state) {
    (void)state;
    place one, two;
    set_up(&one, false);
    set_up(&two, true);
    put(&one, "k", "one");
    put(&two, "k", "two");
    expect_key(&one, "k", "one");
    expect_key(&two, "k", "two");
    lw_storage_batch *batch = lw_storage_batch_open(one.storage);
    expect_error(&two, lw_storage_write(two.storage, batch, false, &two.error), LW_STORAGE_INVALID,
                 "another handle");
    lw_storage_batch_close(batch);
    tear_down(&two);
    tear_down(&one);
}

static void damage_is_told_with_the_name_of_the_file(void **state) {
    (void)state;
    place at;
    char path[PATH_SIZE + 16];
    set_up(&at, false);
    put(&at, "k", "v");
    assert_int_equal(lw_storage_close(at.storage, &at.error), LW_STORAGE_OK);
    snprintf(path, sizeof(path), "%s/CATALOG", at.path);
    FILE *catalog = fopen(path, "r+");
    assert_non_null(catalog);
    assert_true(fwrite("damage", 6, 1, catalog) == 1);
    fclose(catalog);
    expect_error(&at, lw_storage_open(at.path, NULL, &at.storage, &at.error), LW_STORAGE_CORRUPTION,
                 "CATALOG");
    assert_null(at.storage);
    tear_down(&at);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_and_survives_closing),
        cmocka_unit_test(a_batch_is_written_whole),
        cmocka_unit_test(a_snapshot_does_not_change),
        cmocka_unit_test(a_cursor_walks_both_ways_within_its_bounds),
        cmocka_unit_test(a_checkpoint_is_a_directory_of_its_own),
        cmocka_unit_test(a_durable_write_survives_a_killed_process),
        cmocka_unit_test(many_writes_become_tables_behind_the_calls),
        cmocka_unit_test(what_is_refused_says_why),
        cmocka_unit_test(handles_of_one_process_are_independent),
        cmocka_unit_test(damage_is_told_with_the_name_of_the_file),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
