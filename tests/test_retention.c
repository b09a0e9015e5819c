/* SPDX-License-Identifier: Apache-2.0 */
/* Forgetting: histories of user keys in a store that drops what nobody needs, next to a model that
 * forgets nothing. Reads at every timestamp at or above the safepoint answer as the model does,
 * through flushes, compactions in any order, crashes and power cuts; what nobody needs is gone in
 * the end; and the planted bugs are caught (hazards T2, T11, T17, S10, S11). */
#include "tests/store_bench.h"

#include "txn/retention.h"
#include "txn/record.h"

enum { USER_KEYS = 7, TIME_MAX = 400 };

/* What was written: for each user key and timestamp a kind of record; 0: none. */
static struct {
    lw_record_kind kinds[USER_KEYS][TIME_MAX + 1];
    uint64_t expires[USER_KEYS][TIME_MAX + 1]; /* of a PUT; 0: never */
    uint64_t clock;                            /* timestamps up to here may have records */
    uint64_t safepoint;
    bool ordered; /* versions of a key are written in the order of their timestamps */
} history;

/* Some are the beginning of others, some have zeros within and at the end. */
static lw_bytes user_key(uint32_t index) {
    static const char *const keys[USER_KEYS] = {"a", "a\0", "a\0\1", "ab", "b", "b\xff", "c"};
    static const uint8_t sizes[USER_KEYS] = {1, 2, 3, 2, 1, 2, 1};
    return lw_view(keys[index], sizes[index]);
}

static bool is_version(lw_record_kind kind) {
    return kind == LW_RECORD_PUT || kind == LW_RECORD_DELETE;
}

/* ---- writing ------------------------------------------------------------------------------------
 */

/* Values are told from each other, and some are long. */
static lw_bytes value_at(uint32_t key, uint64_t timestamp, text *to) {
    memset(to->data, 'v', sizeof(to->data));
    snprintf((char *)to->data, 32, "%u@%llu ", key, (unsigned long long)timestamp);
    to->size = timestamp % 5 == 0 ? 300 : 16;
    return lw_view(to->data, to->size);
}

/* A kind for write_some and put_record: a PUT that expires, soon, late, or before it was written.
 */
#define EXPIRING ((lw_record_kind)77)

static uint64_t draw_expiry(bench *on, uint64_t timestamp) {
    uint64_t choice = below(on, 8);
    return choice == 0 && timestamp > 1 ? timestamp - 1 : timestamp + 1 + below(on, 40);
}

static void put_record(bench *on, lw_buffer *batch, uint32_t key, uint64_t timestamp,
                       lw_record_kind kind) {
    uint64_t expires = kind == EXPIRING ? draw_expiry(on, timestamp) : 0;
    kind = kind == EXPIRING ? LW_RECORD_PUT : kind;
    lw_buffer tree_key = lw_buffer_in(on->env->memory), bytes = lw_buffer_in(on->env->memory);
    text value;
    lw_data_record record = {.kind = kind, .start = timestamp - (kind != LW_RECORD_ROLLBACK)};
    if (kind == LW_RECORD_PUT) {
        record.value = value_at(key, timestamp, &value);
        record.expires = expires;
    }
    LW_ASSERT(history.kinds[key][timestamp] == 0);
    history.kinds[key][timestamp] = kind;
    history.expires[key][timestamp] = expires;
    lw_record_data_key(user_key(key), timestamp, &tree_key);
    lw_data_record_encode(&record, timestamp, &bytes);
    lw_batch_put(batch, lw_buffer_view(&tree_key), lw_buffer_view(&bytes));
    lw_buffer_reset(&tree_key);
    lw_buffer_reset(&bytes);
}

/* A record at the next timestamp, or now and then at one that was left out, above the safepoint. */
static void write_some(bench *on) {
    static const lw_record_kind kinds[] = {LW_RECORD_PUT,  LW_RECORD_PUT,    LW_RECORD_PUT,
                                           EXPIRING,       LW_RECORD_DELETE, LW_RECORD_ROLLBACK,
                                           LW_RECORD_MARK, EXPIRING};
    if (history.clock + 6 > TIME_MAX || on->applied + 1 > LOG_COUNT) {
        return;
    }
    lw_buffer *batch = log_begin(on);
    for (uint32_t count = 1 + below(on, 3); count > 0; count--) {
        uint32_t key = below(on, USER_KEYS);
        uint64_t timestamp = history.clock + 1 + below(on, 2);
        uint64_t late = history.safepoint + 1 + below(on, TIME_MAX);
        lw_record_kind kind = kinds[below(on, 8)];
        bool may_be_late = !history.ordered || kind >= LW_RECORD_ROLLBACK;
        if (below(on, 4) == 0 && kind != EXPIRING && may_be_late && late < history.clock &&
            history.kinds[key][late] == 0) {
            timestamp = late;
        }
        history.clock = timestamp > history.clock ? timestamp : history.clock;
        if (history.kinds[key][timestamp] == 0) {
            put_record(on, batch, key, timestamp, kind);
        }
    }
    apply_last(on);
}

/* ---- reading ------------------------------------------------------------------------------------
 */

/* The newest version at or below `read`; 0: none. */
static uint64_t model_version(uint32_t key, uint64_t read) {
    while (read > 0 && !is_version(history.kinds[key][read])) {
        read--;
    }
    return read;
}

/* Whether that version gives its value to who reads at `read`. */
static bool model_gives(uint32_t key, uint64_t version, uint64_t read) {
    uint64_t expires = history.expires[key][version];
    return version > 0 && history.kinds[key][version] == LW_RECORD_PUT &&
           (expires == 0 || read < expires);
}

/* Reads as a transaction does: goes over whatever is no version. */
static uint64_t store_version(bench *on, lw_snapshot *snapshot, uint32_t key, uint64_t read,
                              bool *gives, lw_buffer *value) {
    lw_buffer low = lw_buffer_in(on->env->memory), high = lw_buffer_in(on->env->memory);
    uint64_t found = 0;
    lw_record_data_key(user_key(key), read, &low);
    lw_record_data_key(user_key(key), 0, &high);
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_buffer_view(&low), lw_buffer_view(&high));
    bool good = worked(on, lw_cursor_first(cursor), "reading");
    while (good && found == 0 && lw_cursor_valid(cursor)) {
        lw_bytes prefix, bytes = lw_cursor_value(cursor);
        uint64_t timestamp;
        lw_data_record record;
        lw_status status = lw_record_data_key_split(lw_cursor_key(cursor), &prefix, &timestamp);
        LW_ASSERT(status == LW_OK);
        status = lw_data_record_decode(lw_cursor_key(cursor), timestamp, bytes, &record);
        LW_ASSERT(status == LW_OK);
        if (is_version(record.kind)) {
            found = timestamp;
            *gives = lw_data_record_gives(&record, read);
            lw_buffer_append(value, record.value);
        } else {
            good = worked(on, lw_cursor_next(cursor), "reading on");
        }
    }
    lw_cursor_close(cursor);
    lw_buffer_reset(&low);
    lw_buffer_reset(&high);
    return found;
}

/* What is found without asking all tables is what a cursor shows. */
static void check_newest(bench *on, lw_snapshot *snapshot, uint32_t key, uint64_t read,
                         uint64_t expected) {
    lw_buffer low = lw_buffer_in(on->env->memory), high = lw_buffer_in(on->env->memory);
    lw_record_data_key(user_key(key), read, &low);
    lw_record_data_key(user_key(key), 0, &high);
    lw_newest newest = {.lower = lw_buffer_view(&low),
                        .upper = lw_buffer_view(&high),
                        .counts = lw_data_record_is_version,
                        .bytes = lw_buffer_in(on->env->memory)};
    if (worked(on, lw_snapshot_newest(snapshot, &newest), "looking for the newest") &&
        newest.outcome != LW_NEWEST_UNCLEAR) {
        uint64_t found = 0;
        lw_bytes prefix;
        if (newest.outcome == LW_NEWEST_FOUND) {
            lw_status status = lw_record_data_key_split(lw_view(newest.bytes.data, newest.key_size),
                                                        &prefix, &found);
            LW_ASSERT(status == LW_OK);
        }
        if (found != expected) {
            wrong(on, "key %u at %u: the newest is of %u, not of %u", key, (unsigned)read,
                  (unsigned)found, (unsigned)expected);
        }
    }
    lw_buffer_reset(&low);
    lw_buffer_reset(&high);
    lw_buffer_reset(&newest.bytes);
}

static void check_read(bench *on, lw_snapshot *snapshot, uint32_t key, uint64_t read) {
    lw_buffer value = lw_buffer_in(on->env->memory);
    bool gives = false;
    text wanted;
    uint64_t expected = model_version(key, read);
    uint64_t found = store_version(on, snapshot, key, read, &gives, &value);
    bool has = model_gives(key, expected, read);
    if (history.ordered) {
        check_newest(on, snapshot, key, read, found);
    }
    if (has != gives) {
        wrong(on, "key %u at %u, safepoint %u: version %u, expected %u", key, (unsigned)read,
              (unsigned)history.safepoint, (unsigned)found, (unsigned)expected);
    } else if (has && (found != expected ||
                       !lw_equal(lw_buffer_view(&value), value_at(key, expected, &wanted)))) {
        wrong(on, "key %u at %u: the value of %u, not of %u", key, (unsigned)read, (unsigned)found,
              (unsigned)expected);
    }
    lw_buffer_reset(&value);
}

/* What transactions that began at or above the safepoint left behind is there (T2). */
static void check_answers(bench *on, lw_snapshot *snapshot, uint32_t key) {
    lw_buffer tree_key = lw_buffer_in(on->env->memory), value = lw_buffer_in(on->env->memory);
    for (uint64_t at = history.safepoint; at <= history.clock && !on->stopped; at++) {
        lw_record_kind kind = history.kinds[key][at];
        bool own_start = kind == LW_RECORD_ROLLBACK || at > history.safepoint;
        if (kind == 0 || at == 0 || !own_start) {
            continue;
        }
        lw_buffer_clear(&value);
        lw_record_data_key(user_key(key), at, &tree_key);
        lw_status status = lw_snapshot_get(snapshot, lw_buffer_view(&tree_key), &value);
        if (status == LW_NOT_FOUND) {
            wrong(on, "the record of key %u at %u is gone, safepoint %u", key, (unsigned)at,
                  (unsigned)history.safepoint);
        }
    }
    lw_buffer_reset(&tree_key);
    lw_buffer_reset(&value);
}

static void check_all_reads(bench *on) {
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    for (uint32_t key = 0; key < USER_KEYS && !on->stopped; key++) {
        for (uint64_t read = history.safepoint; read <= history.clock && !on->stopped; read++) {
            check_read(on, snapshot, key, read);
        }
        check_answers(on, snapshot, key);
    }
    lw_snapshot_close(snapshot);
}

/* Records that must stay when everything was merged. */
static uint32_t model_needed(void) {
    uint32_t count = 0;
    for (uint32_t key = 0; key < USER_KEYS; key++) {
        uint64_t newest = model_version(key, history.safepoint);
        for (uint64_t at = 1; at <= history.clock; at++) {
            lw_record_kind kind = history.kinds[key][at];
            count += kind != 0 && (at > history.safepoint ||
                                   (at == history.safepoint && kind == LW_RECORD_ROLLBACK));
        }
        count += model_gives(key, newest, history.safepoint);
    }
    return count;
}

/* Of those, the ones that a later safepoint would make needless. */
static uint32_t model_stale(void) {
    uint32_t count = 0;
    for (uint32_t key = 0; key < USER_KEYS; key++) {
        uint64_t newest = model_version(key, history.safepoint);
        uint64_t last = model_version(key, history.clock);
        for (uint64_t at = 1; at <= history.clock; at++) {
            lw_record_kind kind = history.kinds[key][at];
            bool stays = at > history.safepoint ||
                         (at == history.safepoint && kind == LW_RECORD_ROLLBACK) ||
                         (at == newest && model_gives(key, newest, history.safepoint));
            bool lasts = kind == LW_RECORD_PUT && history.expires[key][at] == 0;
            count += kind != 0 && stays && !(lasts && at == last);
        }
    }
    return count;
}

static uint32_t store_count(bench *on) {
    uint32_t count = 0;
    lw_snapshot *snapshot = lw_snapshot_open(on->tree);
    lw_cursor *cursor = lw_cursor_open(snapshot, lw_view(NULL, 0), lw_view(NULL, 0));
    bool good = worked(on, lw_cursor_first(cursor), "first");
    while (good && lw_cursor_valid(cursor)) {
        count++;
        good = worked(on, lw_cursor_next(cursor), "next");
    }
    lw_cursor_close(cursor);
    lw_snapshot_close(snapshot);
    return count;
}

/* ---- sessions -----------------------------------------------------------------------------------
 */

static bool open_forgetting(bench *on) {
    lw_store_options options = {.directory = "data",
                                .memory_size = 2 * 1024 * 1024,
                                .memtables_max = 64 * 1024,
                                .table_size = 512,
                                .open_max = 3,
                                .filter_part = lw_record_filter_part,
                                .retention = lw_record_retention(on->env),
                                .flushed = flushed,
                                .argument = on};
    on->stopped = false;
    lw_status status = lw_store_open(on->env, &options, &on->store);
    if (status != LW_OK) {
        wrong(on, "opening: %s", lw_error_slot()->text);
        return false;
    }
    on->tree = lw_store_tree(on->store, TREE);
    if (on->tree == NULL &&
        !worked(on, lw_store_create_tree(on->store, TREE, &on->tree), "creating")) {
        return false;
    }
    replay(on);
    lw_tree_set_safepoint(on->tree, history.safepoint);
    return true;
}

static void move_safepoint(bench *on) {
    uint64_t room = history.clock > history.safepoint ? history.clock - history.safepoint : 0;
    history.safepoint += room > 0 ? below(on, (uint32_t)room + 1) : 0;
    lw_tree_set_safepoint(on->tree, history.safepoint);
}

static void forgetting_step(bench *on) {
    uint32_t what = below(on, 100);
    if (what < 60) {
        write_some(on);
    } else if (what < 75) {
        insist(on, lw_tree_flush, "flush");
    } else if (what < 80) {
        insist(on, lw_tree_compact, "compact");
    } else if (what < 85) {
        move_safepoint(on);
    } else if (what < 90) {
        lw_env_sleep(on->env, 50 * UINT64_C(1000000));
    } else {
        lw_snapshot *snapshot = lw_snapshot_open(on->tree);
        uint32_t span = (uint32_t)(history.clock - history.safepoint) + 1;
        check_read(on, snapshot, below(on, USER_KEYS), history.safepoint + below(on, span));
        lw_snapshot_close(snapshot);
    }
}

static void forgetting_session(bench *on) {
    if (!open_forgetting(on)) {
        return;
    }
    check_all_reads(on);
    for (uint32_t step = 0; step < on->steps && !on->stopped; step++) {
        forgetting_step(on);
    }
    if (!on->stopped) {
        check_all_reads(on);
        lw_store_close(on->store);
    }
}

static void forget_everything_needless(bench *on) {
    if (!open_forgetting(on)) {
        return;
    }
    move_safepoint(on);
    insist(on, lw_tree_compact, "compact");
    check_all_reads(on);
    uint32_t needed = model_needed(), there = store_count(on);
    lw_tree_figures figures;
    lw_tree_figures_get(on->tree, &figures);
    if (figures.entry_count != there || figures.stale_count != model_stale()) {
        wrong(on, "%u of %u entries are told to be stale, %u are", (unsigned)figures.stale_count,
              (unsigned)figures.entry_count, model_stale());
    }
    if (needed != there) {
        wrong(on, "%u records are there, %u are needed, safepoint %u", there, needed,
              (unsigned)history.safepoint);
    }
    lw_store_close(on->store);
}

static void run_forgetting(bench *on) {
    memset(&history, 0, sizeof(history));
    history.ordered = below(on, 2) == 0;
    for (uint32_t count = 0; count < 5 && on->failure[0] == 0; count++) {
        on->steps = 20 + below(on, 60);
        if (below(on, 2) == 0) {
            lw_host_crash_after(on->host, below(on, 300), (lw_crash)below(on, 3));
        }
        (void)run(on, forgetting_session);
        bench_boot(on, below(on, 2) == 0);
    }
    if (on->failure[0] == 0) {
        (void)run(on, forget_everything_needless);
    }
}

/* ---- stories ------------------------------------------------------------------------------------
 */

static const char *const marks[] = {"store.needless_dropped", "store.hider_kept",
                                    "store.newest_left_out",  "store.hider_dropped",
                                    "store.part_kept_whole",  "store.table_sliced"};
enum { MARK_COUNT = sizeof(marks) / sizeof(marks[0]) };

static void reads_at_or_above_the_safepoint_never_change(void **state) {
    (void)state;
    bool reached[MARK_COUNT] = {false};
    for (uint64_t seed = 1; seed <= 80; seed++) {
        lw_faults faults = lw_faults_none();
        faults.rare_paths = seed % 3 != 0;
        bench *on = bench_make(seed, &faults);
        run_forgetting(on);
        expect_right(on, "seed", seed);
        for (size_t index = 0; index < MARK_COUNT; index++) {
            reached[index] |= lw_world_marked(on->world, marks[index]) > 0;
        }
        bench_drop(on);
    }
    for (size_t index = 0; index < MARK_COUNT; index++) {
        if (!reached[index]) {
            fail_msg("%s was never reached", marks[index]);
        }
    }
}

static void planted_bugs_of_forgetting_are_caught(void **state) {
    (void)state;
    const char *const bugs[] = {"store.safepoint_passed", "store.drop_hider_early",
                                "txn.rollback_dropped_early", "txn.expiring_dropped_early",
                                "store.newest_of_anything"};
    for (size_t bug = 0; bug < sizeof(bugs) / sizeof(bugs[0]); bug++) {
        bool caught = false;
        for (uint64_t seed = 1; seed <= 40 && !caught; seed++) {
            lw_faults faults = lw_faults_none();
            faults.rare_paths = true;
            bench *on = bench_make(seed, &faults);
            lw_world_plant(on->world, bugs[bug]);
            run_forgetting(on);
            caught = on->failure[0] != 0;
            bench_drop(on);
        }
        if (!caught) {
            fail_msg("%s was not caught", bugs[bug]);
        }
    }
}

/* Old versions, deletions and rollback records in several levels, forgotten in two steps. */
static void steady_forgetting(bench *on) {
    memset(&history, 0, sizeof(history));
    if (!open_forgetting(on)) {
        return;
    }
    for (uint64_t at = 1; at <= 40 && !on->stopped; at++) {
        uint32_t key = (uint32_t)at % USER_KEYS;
        lw_record_kind kind = at % 11 == 0  ? LW_RECORD_ROLLBACK
                              : at % 5 == 0 ? LW_RECORD_DELETE
                                            : LW_RECORD_PUT;
        lw_buffer *batch = log_begin(on);
        put_record(on, batch, key, at, kind);
        history.clock = at;
        apply_last(on);
        if (at % 8 == 0) {
            insist(on, lw_tree_flush, "flush");
        }
        if (at == 16 || at == 32) {
            history.safepoint = at - 3;
            lw_tree_set_safepoint(on->tree, history.safepoint);
            insist(on, lw_tree_compact, "compact");
        }
    }
    if (!on->stopped) {
        check_all_reads(on);
        lw_store_close(on->store);
    }
}

static void verify_forgetting(bench *on) {
    if (open_forgetting(on)) {
        check_all_reads(on);
        lw_store_close(on->store);
    }
}

static void the_power_may_go_at_any_step_of_forgetting(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        lw_faults faults = lw_faults_none();
        faults.rare_paths = seed % 2 == 0;
        bool more = true;
        for (uint64_t step = 0; more; step++) {
            bench *on = bench_make(seed, &faults);
            lw_host_crash_after(on->host, step, (lw_crash)((step + seed) % 3));
            more = !run(on, steady_forgetting);
            bench_boot(on, true);
            lw_host_crash_after(on->host, UINT32_MAX, LW_CRASH_AFTER);
            (void)run(on, verify_forgetting);
            expect_right(on, "power cut at step", step);
            bench_drop(on);
        }
    }
}

/* ---- the rule itself ----------------------------------------------------------------------------
 */

static lw_needless judge_one(lw_bytes key, lw_bytes value, size_t value_size, uint64_t *state) {
    lw_env env = {.world = &(lw_env_world){.mark = NULL}};
    lw_retention rule = lw_record_retention(&env);
    return rule.judge(rule.argument, key, value, value_size, state);
}

static void what_is_no_record_of_a_user_key_is_always_needed(void **state) {
    (void)state;
    lw_memory *memory = lw_memory_open();
    lw_buffer key = lw_buffer_in(memory);
    uint64_t newer = 7;
    const char *const keys[] = {"", "l", "lkey", "mceiling", "d", "dnot a key of ours"};
    for (size_t index = 0; index < sizeof(keys) / sizeof(keys[0]); index++) {
        lw_needless needless = judge_one(lw_text(keys[index]), lw_text("\1\1"), 2, &newer);
        assert_true(needless.from == UINT64_MAX && needless.at_bottom_from == UINT64_MAX);
        assert_int_equal(newer, 7);
    }
    /* One whose kind cannot be read hides nothing, and is hidden by nothing. */
    lw_record_data_key(lw_text("k"), 5, &key);
    lw_needless needless = judge_one(lw_buffer_view(&key), lw_text("\x09\1"), 2, &newer);
    assert_true(needless.from == UINT64_MAX && newer == 7);
    needless = judge_one(lw_buffer_view(&key), lw_text(""), 11, &newer);
    assert_true(needless.from == UINT64_MAX && newer == 7);
    /* One that expires says nothing any more from then on, and must be seen to tell. */
    lw_buffer record = lw_buffer_in(memory);
    lw_data_record_encode(&(lw_data_record){.kind = LW_RECORD_PUT, .start = 1, .expires = 90}, 5,
                          &record);
    newer = 0;
    needless = judge_one(lw_buffer_view(&key), lw_buffer_view(&record), record.size, &newer);
    assert_true(needless.from == UINT64_MAX && needless.at_bottom_from == 90 && newer == 5);
    lw_retention rule = lw_record_retention(NULL);
    assert_true(rule.must_see(lw_buffer_view(&key), lw_buffer_view(&record)));
    assert_false(rule.must_see(lw_buffer_view(&key), lw_text("\1\1v")));
    assert_false(rule.must_see(lw_text("lk"), lw_buffer_view(&record)));
    newer = 7;
    /* A long value that lies elsewhere is a version all the same. */
    needless = judge_one(lw_buffer_view(&key), lw_text(""), 12, &newer);
    assert_true(needless.from == 7 && needless.at_bottom_from == 7 && newer == 5);
    lw_memory_close(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_record_of_a_user_key_is_always_needed),
        cmocka_unit_test(reads_at_or_above_the_safepoint_never_change),
        cmocka_unit_test(planted_bugs_of_forgetting_are_caught),
        cmocka_unit_test(the_power_may_go_at_any_step_of_forgetting),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL);
}
