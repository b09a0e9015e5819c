/* SPDX-License-Identifier: Apache-2.0 */
/* A small folder of which something is not as it was written: each bit flipped, each file cut at
 * each length, sectors zeroed, blocks and files exchanged, files missing. Whatever it is, what is
 * read is right, or it is an error that names the file; and what the checker calls sound is read
 * whole.
 *
 * DAMAGE_STRIDE is how many bits are passed over between two flips; 1 flips all of them (make
 * damage). */
#include "tests/engine_model.h"

#include "storage/identity.h"
#include "storage/value_file.h"

enum {
#ifdef __SANITIZE_ADDRESS__
    STRIDE = 1511,
#else
    STRIDE = 211, /* prime, so that every bit of a byte has its turn */
#endif
    KEY_STEP = 12,
    FILES_MAX = 64,
    SECTOR = 512,
    BLOCK = 4096,
    CUTS_WHOLE = 300, /* lengths at either end of a file at which it is cut, whatever the stride */
};

/* A file as it was written. */
typedef struct specimen {
    char path[64];
    lw_buffer bytes;
} specimen;

typedef struct collection {
    engine *on;
    lw_memory *memory;
    specimen files[FILES_MAX];
    size_t count;
    lw_node_identity identity;
    /* Of a trial. */
    const char *damaged; /* the path, for the errors to name */
    lw_status opened, check;
    bool whole;       /* everything was read, and right */
    char wrong[1024]; /* what was read and wrong, or an error without the name of the file */
    char checked[1024];
    uint64_t trials, noticed, harmless;
} collection;

/* ---- the folder -------------------------------------------------------------------------------
 */

static void write_keys(engine *on, uint32_t tree, uint32_t from, bool put) {
    for (uint32_t key = from; key < ENGINE_KEYS && !on->stopped; key += 2 * KEY_STEP) {
        engine_operation operations[2] = {
            {.key = key, .put = put},
            {.key = key + 1 < ENGINE_KEYS ? key + 1 : key, .put = key % 5 == 0}};
        (void)engine_worked(on, engine_write(on, tree, operations, 2), "writing");
    }
}

/* Tables in several levels, with deletions; entries in the log alone; more than one segment. */
static void build_story(engine *on) {
    collection *all = on->argument;
    if (!engine_open(on) ||
        !engine_worked(on, lw_identity_open(on->env, "data", &all->identity), "identity")) {
        return;
    }
    write_keys(on, 0, 0, true);
    (void)engine_worked(on, lw_tree_compact(on->trees[0]), "compact");
    write_keys(on, 0, KEY_STEP, true);
    write_keys(on, 1, 0, true);
    (void)engine_worked(on, lw_tree_flush(on->trees[0]), "flush");
    write_keys(on, 0, 0, false);
    (void)engine_worked(on, lw_tree_flush(on->trees[0]), "flush");
    (void)engine_worked(on, lw_tree_flush(on->trees[1]), "flush");
    write_keys(on, 1, KEY_STEP, true);
    (void)engine_worked(on, lw_tree_flush(on->trees[1]), "flush");
    write_keys(on, 1, KEY_STEP, false);
    engine_check_everything(on);
    engine_close(on);
    engine_check_folder(on);
}

/* Keeps every file but the reserve, whose bytes mean nothing. */
static void collect(collection *all) {
    lw_disk *disk = engine_disk(all->on);
    lw_buffer paths = lw_buffer_in(all->memory);
    lw_disk_paths(disk, LW_DISK_VOLATILE, &paths);
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *path = (const char *)paths.data + at;
        assert_true(all->count < FILES_MAX && strlen(path) < sizeof(all->files[0].path));
        specimen *file = &all->files[all->count++];
        snprintf(file->path, sizeof(file->path), "%s", path);
        file->bytes = lw_buffer_in(all->memory);
        assert_true(lw_disk_contents(disk, LW_DISK_VOLATILE, path, &file->bytes));
    }
    lw_buffer_reset(&paths);
}

static specimen *find(collection *all, const char *path) {
    for (size_t index = 0; index < all->count; index++) {
        if (strcmp(all->files[index].path, path) == 0) {
            return &all->files[index];
        }
    }
    return NULL;
}

/* Makes a file hold just these bytes. */
static void put_file(engine *on, const char *path, lw_bytes bytes) {
    lw_handle file = LW_NO_HANDLE;
    lw_status status = lw_file_open(on->env, path, LW_OPEN_CREATE, &file);
    LW_ASSERT(status == LW_OK);
    status = lw_file_resize(on->env, file, bytes.size);
    if (status == LW_OK && bytes.size > 0) {
        status = lw_file_write(on->env, file, 0, bytes, 0);
    }
    if (status == LW_OK) {
        status = lw_file_sync(on->env, file);
    }
    LW_ASSERT(status == LW_OK);
    lw_file_close(on->env, file);
}

/* Brings the folder back as it was written. */
static void restore(collection *all) {
    engine *on = all->on;
    lw_disk *disk = engine_disk(on);
    lw_buffer paths = lw_buffer_in(on->env->memory), bytes = lw_buffer_in(on->env->memory);
    lw_disk_paths(disk, LW_DISK_VOLATILE, &paths);
    for (size_t at = 0; at < paths.size; at += strlen((const char *)paths.data + at) + 1) {
        const char *path = (const char *)paths.data + at;
        if (find(all, path) == NULL) {
            lw_status status = lw_path_unlink(on->env, path);
            LW_ASSERT(status == LW_OK);
        }
    }
    for (size_t index = 0; index < all->count; index++) {
        specimen *file = &all->files[index];
        lw_buffer_clear(&bytes);
        if (!lw_disk_contents(disk, LW_DISK_VOLATILE, file->path, &bytes) ||
            !lw_equal(lw_buffer_view(&bytes), lw_buffer_view(&file->bytes))) {
            put_file(on, file->path, lw_buffer_view(&file->bytes));
        }
    }
    static const char *const folders[] = {"data", "data/log", "data/sst"};
    for (size_t index = 0; index < sizeof(folders) / sizeof(*folders); index++) {
        lw_status status = lw_path_sync_directory(on->env, folders[index]);
        LW_ASSERT(status == LW_OK); /* or what is not durable would grow with each trial */
    }
    lw_buffer_reset(&paths);
    lw_buffer_reset(&bytes);
}

/* ---- a trial ----------------------------------------------------------------------------------
 */

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* An error is LW_CORRUPTION, or, where a number of a format was damaged, LW_REFUSED; and it names
 * the file. */
static void note_error(collection *all, lw_status status, const char *text) {
    all->whole = false;
    if ((status != LW_CORRUPTION && status != LW_REFUSED) ||
        strstr(text, last_part(all->damaged)) == NULL) {
        snprintf(all->wrong, sizeof(all->wrong), "%s: %s", lw_status_name(status), text);
    }
}

static void read_tree(collection *all, uint32_t tree, bool forward) {
    engine *on = all->on;
    const engine_values *values = &on->values[tree];
    lw_snapshot *snapshot = lw_snapshot_open(on->trees[tree]);
    lw_cursor *cursor = lw_cursor_open(snapshot, (lw_bytes){0}, (lw_bytes){0});
    int32_t step = forward ? 1 : -1;
    int32_t at = engine_find(values, forward ? 0 : ENGINE_KEYS - 1, step, 0, ENGINE_KEYS);
    lw_status status = forward ? lw_cursor_first(cursor) : lw_cursor_last(cursor);
    while (status == LW_OK && engine_check_place(on, cursor, values, at)) {
        at = engine_find(values, at + step, step, 0, ENGINE_KEYS);
        status = forward ? lw_cursor_next(cursor) : lw_cursor_previous(cursor);
    }
    if (status != LW_OK) {
        note_error(all, status, lw_error_slot()->text);
    }
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
}

static void get_keys(collection *all, uint32_t tree) {
    engine *on = all->on;
    uint8_t key[16];
    static uint8_t expected[ENGINE_VALUE_MAX];
    lw_buffer value = lw_buffer_in(on->env->memory);
    lw_snapshot *snapshot = lw_snapshot_open(on->trees[tree]);
    for (uint32_t index = 0; index < ENGINE_KEYS; index += KEY_STEP / 2) {
        uint32_t number = on->values[tree].of[index];
        lw_buffer_clear(&value);
        lw_status status = lw_snapshot_get(snapshot, engine_key(index, key), &value);
        if (status != LW_OK && status != LW_NOT_FOUND) {
            note_error(all, status, lw_error_slot()->text);
        } else if ((status == LW_OK) != (number != 0) ||
                   (number != 0 &&
                    !lw_equal(lw_buffer_view(&value), engine_value(on, number, expected)))) {
            engine_wrong(on, "key %u is read wrong", (unsigned)index);
        }
    }
    lw_snapshot_close(snapshot);
    lw_buffer_reset(&value);
}

static void read_identity(collection *all) {
    lw_node_identity identity;
    lw_status status = lw_identity_open(all->on->env, "data", &identity);
    if (status != LW_OK) {
        note_error(all, status, lw_error_slot()->text);
    } else if (memcmp(&identity.keys, &all->identity.keys, sizeof(identity.keys)) != 0 ||
               memcmp(identity.lattice.id, all->identity.lattice.id, LW_CLUSTER_ID_SIZE) != 0 ||
               identity.incarnation != all->identity.incarnation + 1) {
        engine_wrong(all->on, "the node has become another");
    }
}

static void check_folder(collection *all) {
    lw_memory *memory = all->on->env->memory;
    lw_buffer faults = lw_buffer_in(memory), notes = lw_buffer_in(memory);
    all->check = lw_folder_check(all->on->env, "data", engine_filter_part, &faults, &notes);
    if (all->check != LW_OK) {
        lw_error cause = *lw_error_slot();
        snprintf(all->checked, sizeof(all->checked), "%.*s%s", (int)faults.size,
                 (const char *)faults.data, cause.text);
        note_error(all, all->check, all->checked);
    }
    lw_buffer_reset(&faults);
    lw_buffer_reset(&notes);
}

/* Checks and reads the folder as it is now. */
static void trial_story(engine *on) {
    collection *all = on->argument;
    uint64_t appended[ENGINE_TREES], acknowledged[ENGINE_TREES];
    memcpy(appended, on->appended, sizeof(appended));
    memcpy(acknowledged, on->acknowledged, sizeof(acknowledged));
    check_folder(all);
    all->whole = true;
    on->faults = true; /* failing to open is for us to judge */
    if (engine_open(on)) {
        for (uint32_t tree = 0; tree < 2; tree++) {
            read_tree(all, tree, true);
            read_tree(all, tree, false);
            get_keys(all, tree);
        }
        read_identity(all);
        engine_close(on);
    } else if (on->failure[0] == 0 || strncmp(on->failure, "opening: ", 9) == 0) {
        lw_error cause = *lw_error_slot();
        on->failure[0] = 0;
        note_error(all, cause.status, cause.text);
    }
    memcpy(on->appended, appended, sizeof(appended));
    memcpy(on->acknowledged, acknowledged, sizeof(acknowledged));
}

static bool trial(collection *all, const char *path) {
    all->damaged = path;
    all->wrong[0] = 0;
    all->checked[0] = 0;
    all->trials++;
    (void)engine_run(all->on, trial_story);
    all->noticed += all->check != LW_OK;
    all->harmless += all->check == LW_OK;
    if (all->on->failure[0] != 0) {
        snprintf(all->wrong, sizeof(all->wrong), "%s", all->on->failure);
    } else if (all->wrong[0] == 0 && all->check == LW_OK && !all->whole) {
        snprintf(all->wrong, sizeof(all->wrong), "the checker called it sound");
    }
    all->on->failure[0] = 0;
    return all->wrong[0] == 0;
}

static void story_restore(engine *on) {
    restore(on->argument);
}

static void expect(collection *all, const char *what, const char *path, uint64_t place) {
    bool good = trial(all, path);
    if (!good) {
        fail_msg("%s at %llu of %s: %s", what, (unsigned long long)place, path, all->wrong);
    }
    (void)engine_run(all->on, story_restore);
}

static collection *make_collection(void) {
    lw_faults faults = lw_faults_none();
    collection *all = calloc(1, sizeof(*all));
    assert_non_null(all);
    all->memory = lw_memory_open();
    engine *on = all->on = engine_make(5, &faults);
    on->argument = all;
    on->value_size_max = 150;
    on->store_options.memtables_max = 32 * 1024;
    on->store_options.table_size = 2048;
    on->store_options.value_threshold = 120;
    on->store_options.reserve_size_max = UINT64_MAX;
    on->log_options.segment_size = 64 * 1024;
    (void)engine_run(on, build_story);
    engine_expect_right(on, "building", 0);
    collect(all);
    return all;
}

static void drop_collection(collection *all) {
    print_message("%llu trials, %llu noticed by the checker, %llu harmless\n",
                  (unsigned long long)all->trials, (unsigned long long)all->noticed,
                  (unsigned long long)all->harmless);
    engine_drop(all->on);
    lw_memory_close(all->memory);
    free(all);
}

static uint64_t stride(void) {
    const char *text = getenv("DAMAGE_STRIDE");
    uint64_t number = text != NULL ? strtoull(text, NULL, 10) : 0;
    if (number > 0) {
        alarm(0); /* as long as it takes */
    }
    return number > 0 ? number : STRIDE;
}

/* ---- stories ----------------------------------------------------------------------------------
 */

static void the_folder_has_files_of_every_kind(void **state) {
    (void)state;
    collection *all = make_collection();
    uint32_t tables = 0, values = 0, segments = 0;
    for (size_t index = 0; index < all->count; index++) {
        const lw_buffer *bytes = &all->files[index].bytes;
        bool table = strstr(all->files[index].path, "sst/") != NULL;
        bool holds_values =
            table && memcmp(bytes->data + bytes->size - LW_VALUE_FOOTER_SIZE, "LWVALUE\n", 8) == 0;
        values += holds_values;
        tables += table && !holds_values;
        segments += strstr(all->files[index].path, ".log") != NULL;
    }
    assert_in_range(tables, 3, 20);
    assert_in_range(values, 1, 10);
    assert_in_range(segments, 2, 20);
    assert_non_null(find(all, "data/CATALOG"));
    assert_non_null(find(all, "data/IDENTITY"));
    expect(all, "nothing", "data/CATALOG", 0);
    assert_int_equal(all->harmless, 1);
    assert_true(all->whole);
    drop_collection(all);
}

static void no_flipped_bit_is_ever_read_as_data(void **state) {
    (void)state;
    collection *all = make_collection();
    for (size_t index = 0; index < all->count; index++) {
        const specimen *file = &all->files[index];
        for (uint64_t bit = 0; bit < file->bytes.size * 8; bit += stride()) {
            lw_disk_flip(engine_disk(all->on), file->path, bit);
            expect(all, "a flipped bit", file->path, bit);
        }
    }
    drop_collection(all);
}

typedef struct damage {
    collection *all;
    const specimen *file;
    lw_bytes bytes;
} damage;

static void story_damage(engine *on) {
    collection *all = on->argument;
    (void)all;
    const damage *done = (const damage *)(const void *)on->held; /* no snapshot is open */
    put_file(on, done->file->path, done->bytes);
}

/* The file holds these bytes now. */
static void damage_file(collection *all, const specimen *file, lw_bytes bytes) {
    damage done = {.all = all, .file = file, .bytes = bytes};
    _Static_assert(sizeof(done) <= sizeof(all->on->held), "there is room to pass it");
    memcpy(all->on->held, &done, sizeof(done));
    (void)engine_run(all->on, story_damage);
    memset(all->on->held, 0, sizeof(all->on->held));
}

static void a_file_may_be_cut_anywhere(void **state) {
    (void)state;
    collection *all = make_collection();
    for (size_t index = 0; index < all->count; index++) {
        const specimen *file = &all->files[index];
        for (size_t size = 0; size < file->bytes.size; size++) {
            bool end = size < CUTS_WHOLE || file->bytes.size - size < CUTS_WHOLE;
            if ((end && size % (stride() / 30 + 1) == 0) || size % (stride() / 2 + 1) == 0) {
                damage_file(all, file, lw_view(file->bytes.data, size));
                expect(all, "a cut", file->path, size);
            }
        }
    }
    drop_collection(all);
}

static void sectors_and_blocks_may_be_lost_or_exchanged(void **state) {
    (void)state;
    collection *all = make_collection();
    lw_buffer bytes = lw_buffer_in(all->memory);
    for (size_t index = 0; index < all->count; index++) {
        const specimen *file = &all->files[index];
        for (size_t at = 0; at < file->bytes.size; at += SECTOR) {
            size_t size = file->bytes.size - at < SECTOR ? file->bytes.size - at : SECTOR;
            lw_buffer_clear(&bytes);
            lw_buffer_append(&bytes, lw_buffer_view(&file->bytes));
            memset(bytes.data + at, 0, size);
            damage_file(all, file, lw_buffer_view(&bytes));
            expect(all, "a sector of zeros", file->path, at);
            memset(bytes.data + at, 0xff, size);
            damage_file(all, file, lw_buffer_view(&bytes));
            expect(all, "a sector of ones", file->path, at);
        }
        for (size_t at = 0; at + 2 * BLOCK <= file->bytes.size; at += BLOCK) {
            lw_buffer_clear(&bytes);
            lw_buffer_append(&bytes, lw_buffer_view(&file->bytes));
            memcpy(bytes.data + at, file->bytes.data + at + BLOCK, BLOCK);
            damage_file(all, file, lw_buffer_view(&bytes));
            expect(all, "a block twice", file->path, at);
            memcpy(bytes.data + at + BLOCK, file->bytes.data + at, BLOCK);
            damage_file(all, file, lw_buffer_view(&bytes));
            expect(all, "two blocks exchanged", file->path, at);
        }
    }
    lw_buffer_reset(&bytes);
    drop_collection(all);
}

static void story_unlink(engine *on) {
    const collection *all = on->argument;
    lw_status status = lw_path_unlink(on->env, all->damaged);
    LW_ASSERT(status == LW_OK);
}

/* Only these may be missing without anybody noticing: nothing is in them. A log without its newest
 * segments is said to be what it is: incomplete. */
static void files_may_be_missing_or_in_the_place_of_another(void **state) {
    (void)state;
    collection *all = make_collection();
    for (size_t index = 0; index < all->count; index++) {
        const specimen *file = &all->files[index];
        for (size_t other = 0; other < all->count; other++) {
            if (other != index) {
                damage_file(all, file, lw_buffer_view(&all->files[other].bytes));
                expect(all, "the bytes of another file", file->path, other);
            }
        }
    }
    for (size_t index = 0; index < all->count; index++) {
        const specimen *file = &all->files[index];
        if (strstr(file->path, "sst/") == NULL) {
            continue;
        }
        all->damaged = file->path;
        (void)engine_run(all->on, story_unlink);
        expect(all, "a missing file", file->path, 0);
        if (all->check != LW_CORRUPTION) {
            fail_msg("%s is missing, and nobody misses it", file->path);
        }
    }
    drop_collection(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_folder_has_files_of_every_kind),
        cmocka_unit_test(no_flipped_bit_is_ever_read_as_data),
        cmocka_unit_test(a_file_may_be_cut_anywhere),
        cmocka_unit_test(sectors_and_blocks_may_be_lost_or_exchanged),
        cmocka_unit_test(files_may_be_missing_or_in_the_place_of_another),
    };
    return cmocka_run_group_tests_name("damage", tests, unit_arm, NULL) != 0;
}
