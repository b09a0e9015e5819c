/* SPDX-License-Identifier: Apache-2.0 */
/* A log as groups of Raft write it: tails are cut off and replaced, groups begin anew behind a
 * snapshot, and entries are read back while all that goes on and the power fails. What an opening
 * shows, and what is read, is held against the simplest model: the list of all records in the order
 * in which they were appended, and a rule that says which of them count. */
#include "sim/world.h"
#include "storage/log_state.h"
#include "tests/unit.h"

#include <stdlib.h>

enum { GROUPS = 3, RECORDS_MAX = 4096, INDEX_MAX = 4096, WORKERS = 2, SIZE_MAX_USUAL = 700 };

typedef struct noted {
    uint64_t group, index, term, size;
    lw_log_kind kind;
} noted;

/* The entries of a group that count, by index: places in the list of records, from 1. */
typedef struct counted {
    uint64_t base, last;
    uint64_t places[INDEX_MAX];
} counted;

typedef struct tale {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    lw_log *log;
    lw_log_options options;
    lw_budget *budget;
    noted records[RECORDS_MAX]; /* the model; a record's payload begins with its place, from 1 */
    uint64_t record_count, acknowledged;
    /* What the owner of the log knows durably besides: how far each tree is flushed, and what was
     * released. What is committed is never cut off. */
    uint64_t flushed[GROUPS], released[GROUPS], committed[GROUPS];
    bool must_cut[GROUPS]; /* a snapshot was given up: the tail has to go before `cut_below` */
    uint64_t cut_below[GROUPS];
    counted now[GROUPS];      /* what counts, as appended */
    counted shown[GROUPS];    /* as the opening showed it, by the rules of lw_log_visit */
    uint64_t changes[GROUPS]; /* cuts and beginnings */
    uint64_t term, cuts, chance;
    bool shown_wrong;
    uint64_t survivor; /* the last place that was shown */
    uint32_t rounds, workers;
    uint64_t size_max;
    uint64_t seen[8];
    uint64_t reads;
    const char *wrong;
    bool done;
    char error[LW_ERROR_TEXT_SIZE];
    void (*body)(struct tale *told);
    uint8_t bytes[100000];
} tale;

static uint64_t draw(tale *told, uint64_t bound) {
    return unit_random_below(&told->chance, bound);
}

/* ---- the model ---------------------------------------------------------------------------------
 */

static lw_bytes payload_of(tale *told, uint64_t place) {
    const noted *record = &told->records[place - 1];
    uint64_t state = place * 77;
    lw_put_u64(told->bytes, place);
    for (uint64_t index = 8; index < record->size; index++) {
        told->bytes[index] = (uint8_t)(unit_random(&state) & 15);
    }
    return lw_view(told->bytes, record->kind == LW_LOG_BEGIN ? 0 : (size_t)record->size);
}

static void count_entry(counted *group, uint64_t index, uint64_t place) {
    LW_ASSERT(index < INDEX_MAX);
    group->places[index] = place;
    group->base = index <= group->base ? index - 1 : group->base;
    group->last = index;
}

static void count_begin(counted *group, uint64_t index) {
    group->base = group->last = index;
}

/* What counts of the records up to `last`: the rules of log.h, read once more. */
static void recount(tale *told, uint64_t last) {
    memset(told->now, 0, sizeof(told->now));
    for (uint64_t place = 1; place <= last; place++) {
        const noted *record = &told->records[place - 1];
        if (record->kind == LW_LOG_ENTRY) {
            count_entry(&told->now[record->group], record->index, place);
        } else if (record->kind == LW_LOG_BEGIN && told->flushed[record->group] >= record->index) {
            count_begin(&told->now[record->group], record->index);
        }
    }
}

/* What was not shown is cut off for good, but for a beginning that did not count yet: it may be
 * there, and counts once as much is flushed. Numbers are not given again. */
static void forget_behind(tale *told, uint64_t survivor) {
    for (uint64_t place = survivor + 1; place <= told->record_count; place++) {
        noted *record = &told->records[place - 1];
        record->kind = record->kind == LW_LOG_BEGIN ? LW_LOG_BEGIN : 0;
    }
    told->acknowledged = told->record_count;
}

static bool begins(void *argument, uint64_t group, uint64_t index) {
    const tale *told = argument;
    return told->flushed[group] >= index;
}

static lw_status visit(void *argument, const lw_log_record *shown) {
    tale *told = argument;
    uint64_t place = shown->payload.size >= 8 ? lw_get_u64(shown->payload.data) : shown->term;
    if (place == 0 || place > told->record_count) {
        told->shown_wrong = true;
        return LW_OK;
    }
    const noted *record = &told->records[place - 1];
    if (record->group != shown->group || record->index != shown->index ||
        record->term != shown->term || record->kind != shown->kind ||
        !lw_equal(shown->payload, payload_of(told, place))) {
        told->shown_wrong = true;
        return LW_OK;
    }
    told->survivor = place > told->survivor ? place : told->survivor;
    counted *group = &told->shown[shown->group];
    if (shown->kind == LW_LOG_ENTRY) {
        if (group->last == 0) {
            group->base = shown->index - 1;
        }
        count_entry(group, shown->index, place);
    } else if (shown->kind == LW_LOG_BEGIN) {
        count_begin(group, shown->index);
    }
    return LW_OK;
}

/* Holds what was shown of a group against the model. */
static const char *judge_group(tale *told, uint64_t group) {
    const counted *now = &told->now[group], *shown = &told->shown[group];
    uint64_t flushed = told->flushed[group], first = 0, last = 0;
    for (uint64_t index = flushed + 1; index <= now->last; index++) {
        if (index > shown->last || index <= shown->base ||
            shown->places[index] != now->places[index]) {
            snprintf(told->error, sizeof(told->error),
                     "group %llu index %llu, flushed %llu, shown behind %llu to %llu, of %llu",
                     (unsigned long long)group, (unsigned long long)index,
                     (unsigned long long)flushed, (unsigned long long)shown->base,
                     (unsigned long long)shown->last, (unsigned long long)now->last);
            return "an entry that counts was not shown";
        }
    }
    if (shown->last > now->last && shown->last > flushed) {
        return "an entry was shown that does not count";
    }
    if (lw_log_span(told->log, group, &first, &last) && last > flushed &&
        (last != now->last || first > flushed + 1)) {
        return "the span does not reach from what is flushed to the last entry";
    }
    return NULL;
}

static const char *judge_opening(tale *told) {
    if (told->shown_wrong) {
        return "a record was shown that nobody appended";
    }
    /* What was acknowledged and is not shown has to be released or void. */
    told->survivor = told->survivor < told->acknowledged ? told->acknowledged : told->survivor;
    forget_behind(told, told->survivor);
    recount(told, told->record_count);
    for (uint64_t group = 0; group < GROUPS; group++) {
        const char *wrong = judge_group(told, group);
        if (wrong != NULL) {
            return wrong;
        }
        if (told->now[group].last < told->flushed[group]) {
            count_begin(&told->now[group], told->flushed[group]);
        }
    }
    return NULL;
}

/* ---- what happens ------------------------------------------------------------------------------
 */

static uint64_t note(tale *told, lw_log_kind kind, uint64_t group, uint64_t index) {
    LW_ASSERT(told->record_count < RECORDS_MAX);
    noted *record = &told->records[told->record_count++];
    *record = (noted){.group = group,
                      .index = index,
                      .term = kind == LW_LOG_BEGIN ? told->record_count : told->term,
                      .size = 8 + draw(told, kind == LW_LOG_STATE ? 1000 : told->size_max),
                      .kind = kind};
    lw_log_record appended = {.group = group,
                              .term = record->term,
                              .index = index,
                              .kind = kind,
                              .payload = payload_of(told, told->record_count)};
    return lw_log_append(told->log, &appended, 1);
}

static uint64_t append_entry(tale *told, uint64_t group, uint64_t index) {
    uint64_t position = note(told, LW_LOG_ENTRY, group, index);
    count_entry(&told->now[group], index, told->record_count);
    return position;
}

static bool await(tale *told, uint64_t position) {
    uint64_t place = told->record_count;
    if (lw_log_wait(told->log, position) != LW_OK) {
        told->wrong = "a wait failed";
        return false;
    }
    told->acknowledged = place > told->acknowledged ? place : told->acknowledged;
    return true;
}

/* Replaces the tail from somewhere behind what is committed. */
static uint64_t cut_tail(tale *told, uint64_t group) {
    const counted *now = &told->now[group];
    uint64_t most = told->must_cut[group] ? told->cut_below[group] : now->last;
    uint64_t index = told->committed[group] + 1 + draw(told, most - told->committed[group]);
    told->must_cut[group] = false;
    told->changes[group]++;
    /* Of a term that no cut had before, now and then a lower one than what it replaces. */
    told->cuts++;
    told->term = 10 * told->cuts + 10 - (draw(told, 3) == 0 ? 15 : 0);
    return append_entry(told, group, index);
}

/* The three steps of log.h, or an end before the second. */
static void begin_anew(tale *told, uint64_t group) {
    counted *now = &told->now[group];
    uint64_t index =
        told->committed[group] + 1 + draw(told, now->last + 20 - told->committed[group]);
    uint64_t changes = told->changes[group];
    if (!await(told, note(told, LW_LOG_BEGIN, group, index))) {
        return;
    }
    lw_env_sleep(told->env, 50000);
    if (told->changes[group] != changes || told->committed[group] >= index) {
        lw_log_begun(told->log, group, false);
        return;
    }
    if (draw(told, 3) == 0) {
        told->must_cut[group] = index <= now->last;
        told->cut_below[group] = index;
        lw_log_begun(told->log, group, false);
        return;
    }
    told->flushed[group] = told->committed[group] = index; /* the edit of the catalog */
    told->must_cut[group] = false;
    lw_env_sleep(told->env, 50000);
    count_begin(now, index);
    told->changes[group]++;
    lw_log_begun(told->log, group, true);
    if (await(told, note(told, LW_LOG_STATE, group, 0))) {
        told->released[group] = index;
        lw_log_release(told->log, group, index);
    }
}

/* Commits, flushes and releases some of what is durable. */
static void let_go(tale *told, uint64_t group) {
    const counted *now = &told->now[group];
    uint64_t index = told->committed[group] + 1;
    uint64_t most = told->must_cut[group] ? told->cut_below[group] - 1 : now->last;
    while (index <= most && index > now->base && now->places[index] <= told->acknowledged &&
           draw(told, 8) > 0) {
        told->committed[group] = index++;
    }
    if (draw(told, 3) == 0) {
        told->flushed[group] = told->committed[group];
        told->released[group] = told->flushed[group];
        lw_log_release(told->log, group, told->released[group]);
    }
}

typedef struct looking {
    tale *told;
    uint64_t group, next, size;
    bool differs;
} looking;

static lw_status look(void *argument, const lw_log_record *record) {
    looking *looks = argument;
    tale *told = looks->told;
    uint64_t place = told->now[looks->group].places[looks->next];
    looks->differs |= record->index != looks->next || record->group != looks->group ||
                      !lw_equal(record->payload, payload_of(told, place));
    looks->size += record->payload.size;
    looks->next++;
    return LW_OK;
}

/* Reads some entries back, which are what they were unless others took their place meanwhile. */
static void read_some(tale *told, uint64_t group, uint64_t from) {
    const counted *now = &told->now[group];
    uint64_t changes = told->changes[group], until = now->last;
    uint64_t size_max = draw(told, 3) == 0 ? 1 : draw(told, 20000);
    looking looks = {.told = told, .group = group, .next = from};
    uint64_t released = told->released[group];
    lw_status status = lw_log_read(told->log, group, from, until, size_max, look, &looks);
    if (told->changes[group] != changes || told->released[group] != released) {
        return;
    }
    told->reads++;
    bool whole = looks.next > until || looks.size >= size_max;
    if (status != LW_OK || looks.differs || !whole) {
        snprintf(told->error, sizeof(told->error), "%s",
                 status == LW_OK ? "" : lw_error_slot()->text);
        told->wrong = looks.differs ? "an entry was read that is not what it was"
                                    : "what counts could not be read";
    }
}

static void read_any(tale *told, uint64_t group) {
    uint64_t first = 0, last = 0;
    if (!lw_log_span(told->log, group, &first, &last) || first > last || told->must_cut[group]) {
        return;
    }
    if (last != told->now[group].last) {
        told->wrong = "the span does not end with the last entry";
        return;
    }
    read_some(told, group, first + draw(told, last + 1 - first));
}

static void worker_main(void *argument) {
    tale *told = argument;
    uint64_t worker = told->workers++;
    for (uint32_t round = 0; round < told->rounds && told->wrong == NULL; round++) {
        /* A group belongs to one worker, so that nobody appends to it while it begins anew. */
        uint64_t group = worker + WORKERS * draw(told, (GROUPS + 1 - worker) / WORKERS);
        const counted *now = &told->now[group];
        uint64_t chosen = draw(told, 16), position = 0;
        bool tail = now->last > told->committed[group];
        if (tail && (told->must_cut[group] || chosen < 2)) {
            position = cut_tail(told, group);
        } else if (chosen == 2 && told->flushed[group] > 0) {
            begin_anew(told, group);
            continue;
        } else if (chosen < 6) {
            read_any(told, group);
            continue;
        } else {
            position = append_entry(told, group, now->last + 1);
            position = chosen > 13 ? append_entry(told, group, now->last + 1) : position;
        }
        if (draw(told, 4) == 0) {
            lw_env_sleep(told->env, 20000);
        } else if (!await(told, position)) {
            break;
        }
        let_go(told, group);
    }
    told->workers--;
}

/* ---- running -----------------------------------------------------------------------------------
 */

static bool open_log(tale *told) {
    told->survivor = 0;
    told->shown_wrong = false;
    memset(told->shown, 0, sizeof(told->shown));
    told->options.begins = begins;
    lw_status status = lw_path_mkdir(told->env, "data");
    if (status == LW_OK) {
        status = lw_path_sync_directory(told->env, ".");
    }
    if (status == LW_OK) {
        status = lw_log_open(told->env, "data/log", &told->options, visit, told, &told->log);
    }
    if (status != LW_OK) {
        snprintf(told->error, sizeof(told->error), "%s", lw_error_slot()->text);
        told->wrong = "the log does not open";
        return false;
    }
    for (uint64_t group = 0; group < GROUPS; group++) {
        lw_log_release(told->log, group, told->released[group]);
    }
    told->wrong = judge_opening(told);
    return told->wrong == NULL;
}

/* Reads all that counts of each group, and holds it against the model. */
static void read_all(tale *told) {
    for (uint64_t group = 0; group < GROUPS && told->wrong == NULL; group++) {
        uint64_t first = 0, last = 0;
        if (lw_log_span(told->log, group, &first, &last)) {
            looking looks = {.told = told, .group = group, .next = first};
            while (looks.next <= last && told->wrong == NULL) {
                uint64_t from = looks.next;
                lw_status status =
                    lw_log_read(told->log, group, from, UINT64_MAX, 3000, look, &looks);
                if (status != LW_OK || looks.next == from || looks.differs) {
                    snprintf(told->error, sizeof(told->error),
                             "group %llu, %llu to %llu, from %llu to %llu: %.300s",
                             (unsigned long long)group, (unsigned long long)first,
                             (unsigned long long)last, (unsigned long long)from,
                             (unsigned long long)looks.next,
                             status == LW_OK ? "" : lw_error_slot()->text);
                    told->wrong = "not all that counts can be read after opening";
                }
            }
        }
    }
}

static void live(tale *told) {
    if (!open_log(told)) {
        return;
    }
    read_all(told);
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
        (void)lw_env_start(told->env, "worker", worker_main, told);
    }
    lw_fiber_pass();
    while (told->workers > 0) {
        lw_env_sleep(told->env, 100000);
    }
    lw_log_holds_check(&told->log->holds);
    read_all(told);
    lw_log_close(told->log);
    told->log = NULL;
}

static void body_main(void *argument) {
    tale *told = argument;
    told->body(told);
    told->done = true;
}

static void run(tale *told, void (*body)(tale *told)) {
    if (!lw_host_running(told->host)) {
        told->env = lw_host_boot(told->host);
        told->log = NULL;
    }
    told->workers = 0;
    told->body = body;
    told->done = false;
    (void)lw_env_start(told->env, "tale", body_main, told);
    uint64_t steps = 0;
    while (lw_host_running(told->host) && !told->done) {
        if (!lw_world_step(told->world) || ++steps > 2000000) {
            lw_world_report(told->world, stderr);
            fail_msg("the tale does not go on");
        }
    }
}

static tale *tell(uint64_t seed, bool rare) {
    lw_faults faults = lw_faults_none();
    faults.rare_paths = rare;
    tale *told = calloc(1, sizeof(*told));
    assert_non_null(told);
    told->world = lw_world_open(seed, &faults);
    told->host = lw_world_host(told->world, "node");
    told->options = (lw_log_options){.segment_size = seed % 3 == 0 ? 262144 : 32768};
    told->chance = seed;
    told->term = 1;
    told->rounds = 60;
    told->size_max = seed % 2 == 0 ? SIZE_MAX_USUAL : 3000;
    return told;
}

static void end(tale *told) {
    lw_world_close(told->world);
    free(told);
}

static void expect_right(const tale *told, uint64_t seed, uint64_t step) {
    if (told->wrong != NULL) {
        lw_world_report(told->world, stderr);
        fail_msg("seed %llu, step %llu: %s: %s", (unsigned long long)seed, (unsigned long long)step,
                 told->wrong, told->error);
    }
}

/* ---- stories -----------------------------------------------------------------------------------
 */

static void what_counts_is_shown_and_read_whatever_was_cut_off(void **state) {
    (void)state;
    uint64_t reads = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        tale *told = tell(seed, seed % 4 == 0);
        for (uint32_t life = 0; life < 4; life++) {
            run(told, live);
            expect_right(told, seed, life);
            if (lw_host_running(told->host)) {
                lw_host_crash(told->host);
            }
        }
        reads += told->reads;
        end(told);
    }
    assert_in_range(reads, 500, 100000);
}

static void power_loss_at_any_step_leaves_what_counts(void **state) {
    (void)state;
    static const lw_crash crashes[] = {LW_CRASH_BEFORE, LW_CRASH_WITHIN, LW_CRASH_AFTER};
    for (uint64_t seed = 1; seed <= 6; seed++) {
        for (uint64_t step = 0; step < 120; step += seed <= 2 ? 1 : 5) {
            tale *told = tell(seed, seed % 3 == 0);
            for (uint32_t life = 0; life < 3; life++) {
                if (life < 2) {
                    lw_host_crash_after(told->host, step, crashes[(seed + step + life) % 3]);
                }
                run(told, live);
                expect_right(told, seed, step);
                if (lw_host_running(told->host)) {
                    lw_host_crash(told->host);
                }
            }
            end(told);
        }
    }
}

/* ---- one thing each ----------------------------------------------------------------------------
 */

enum { LONG = 1500, PLACE = 900 };

/* One long run of entries of two groups, a few to a batch, in few segments. */
static void write_long(tale *told) {
    if (!open_log(told)) {
        return;
    }
    for (uint64_t index = 1; index <= LONG && told->wrong == NULL; index++) {
        uint64_t position = append_entry(told, 0, index);
        if (index % 8 == 0 || index == LONG) {
            position = append_entry(told, 1, (index + 7) / 8);
            (void)await(told, position);
        }
    }
}

static lw_status stop_looking(void *argument, const lw_log_record *record) {
    (void)record;
    *(uint64_t *)argument += 1;
    return lw_fail(LW_REFUSED, "seen enough");
}

static void read_in_many_ways(tale *told) {
    write_long(told);
    uint64_t before = lw_world_marked(told->world, "log.read_sought");
    looking looks = {.told = told, .group = 0, .next = PLACE};
    while (looks.next <= LONG && told->wrong == NULL) {
        uint64_t from = looks.next;
        if (lw_log_read(told->log, 0, from, UINT64_MAX, 10000, look, &looks) != LW_OK) {
            told->wrong = "what goes on could not be read";
        }
    }
    told->seen[0] = lw_world_marked(told->world, "log.read_sought") - before;
    told->seen[1] = looks.differs;
    looks = (looking){.told = told, .group = 1, .next = 3};
    told->seen[2] = (uint64_t)lw_log_read(told->log, 1, 3, 7, SIZE_MAX, look, &looks);
    told->seen[3] = looks.next;
    told->seen[4] = (uint64_t)lw_log_read(told->log, 0, LONG + 1, UINT64_MAX, 1, look, &looks);
    uint64_t stopped = 0;
    told->seen[5] = (uint64_t)lw_log_read(told->log, 0, 5, 50, SIZE_MAX, stop_looking, &stopped);
    told->seen[6] = stopped;
    lw_log_release(told->log, 0, PLACE);
    told->seen[7] = (uint64_t)lw_log_read(told->log, 0, PLACE, PLACE, 1, look, &looks);
}

static void reading_goes_on_where_it_was_and_ends_where_it_should(void **state) {
    (void)state;
    tale *told = tell(3, false);
    run(told, read_in_many_ways);
    expect_right(told, 3, 0);
    assert_int_equal(told->seen[0], 1);
    assert_false(told->seen[1]);
    assert_int_equal(told->seen[2], LW_OK);
    assert_int_equal(told->seen[3], 8);
    assert_int_equal(told->seen[4], LW_NOT_FOUND);
    assert_int_equal(told->seen[5], LW_REFUSED);
    assert_int_equal(told->seen[6], 1);
    assert_int_equal(told->seen[7], LW_NOT_FOUND);
    end(told);
}

static void read_with_little_memory(tale *told) {
    told->budget = lw_budget_make(told->env->memory, 4 * 1024 * 1024);
    told->options.budget = told->budget;
    write_long(told);
    told->seen[0] = told->budget->parts[LW_BUDGET_BUFFERS] - told->log->share.size;
    looking looks = {.told = told, .group = 0, .next = 10};
    told->budget->used_max = told->budget->used;
    told->seen[1] = told->budget->used;
    if (lw_log_read(told->log, 0, 10, UINT64_MAX, SIZE_MAX, look, &looks) != LW_OK) {
        told->wrong = "what is there could not be read";
    }
    told->seen[2] = told->budget->used_max - told->seen[1];
    told->seen[3] = told->budget->used;
    lw_log_close(told->log);
    told->seen[4] = told->budget->used;
    lw_budget_release(told->budget);
}

static void marks_and_readers_are_charged_and_small(void **state) {
    (void)state;
    tale *told = tell(3, false);
    run(told, read_with_little_memory);
    expect_right(told, 3, 0);
    assert_in_range(told->seen[0], 1, 64 * 1024);
    assert_in_range(told->seen[2], 100 * 1024, 512 * 1024);
    assert_int_equal(told->seen[3], told->seen[1]);
    assert_int_equal(told->seen[4], 0);
    end(told);
}

static void damage_and_read(tale *told) {
    write_long(told);
    lw_handle file = LW_NO_HANDLE;
    uint8_t zeros[LW_LOG_BLOCK] = {0};
    if (lw_file_open(told->env, "data/log/0000000000000001.log", 0, &file) != LW_OK ||
        lw_file_write(told->env, file, 20 * LW_LOG_BLOCK, lw_view(zeros, sizeof(zeros)), 0) !=
            LW_OK) {
        told->wrong = "the file cannot be damaged";
    }
    lw_file_close(told->env, file);
    looking looks = {.told = told, .group = 0, .next = 1};
    told->seen[0] = (uint64_t)lw_log_read(told->log, 0, 1, UINT64_MAX, SIZE_MAX, look, &looks);
    snprintf(told->error, sizeof(told->error), "%s", lw_error_slot()->text);
    told->seen[1] = looks.next;
    looks = (looking){.told = told, .group = 0, .next = PLACE};
    told->seen[2] = (uint64_t)lw_log_read(told->log, 0, PLACE, UINT64_MAX, 100, look, &looks);
}

static void a_damaged_batch_is_named_and_others_are_read(void **state) {
    (void)state;
    tale *told = tell(3, false);
    run(told, damage_and_read);
    expect_right(told, 3, 0);
    assert_int_equal(told->seen[0], LW_CORRUPTION);
    assert_non_null(
        strstr(told->error, "data/log/0000000000000001.log: the batch at offset 81920 "));
    assert_in_range(told->seen[1], 2, LONG);
    assert_int_equal(told->seen[2], LW_OK);
    end(told);
}

/* The owner does not know the snapshot by anything but the marker yet. */
static void begin_and_wait(tale *told) {
    if (!open_log(told)) {
        return;
    }
    (void)await(told, append_entry(told, 2, 1));
    (void)await(told, note(told, LW_LOG_BEGIN, 2, 500));
    told->flushed[2] = 500;
    lw_log_begun(told->log, 2, true);
    for (uint64_t index = 1; index < 200; index++) {
        (void)await(told, append_entry(told, 0, index));
        told->flushed[0] = told->released[0] = index;
        lw_log_release(told->log, 0, index);
    }
    told->seen[0] = told->log->holds.newest->header.number;
    lw_log_close(told->log);
}

static void look_from_outside(tale *told) {
    lw_buffer text = lw_buffer_in(told->env->memory), faults = lw_buffer_in(told->env->memory);
    told->seen[1] =
        (uint64_t)lw_log_check(told->env, "data/log", &(lw_log_options){0}, NULL, NULL, &faults);
    char path[64];
    for (uint64_t number = 1; number <= told->seen[0]; number++) {
        snprintf(path, sizeof(path), "data/log/%016llx.log", (unsigned long long)number);
        (void)!lw_log_inspect(told->env, path, &text);
    }
    lw_buffer_append_u8(&text, 0);
    told->seen[2] = strstr((const char *)text.data, "  begin group=2 term=2 index=500 ") != NULL;
    lw_buffer_reset(&text);
    lw_buffer_reset(&faults);
}

static void reopen(tale *told) {
    (void)open_log(told);
}

/* ---- young logs ---------------------------------------------------------------------------------
 */

enum { YOUNG_SIZE = 6 * 1024 * 1024 }; /* more than the second segment of a young log has */

/* The second segment is prepared behind the first record; the next one does not fit it. */
static void outgrow_the_prepared(tale *told) {
    uint8_t *bytes = lw_allocate(told->env->memory, YOUNG_SIZE);
    for (size_t place = 0; place < YOUNG_SIZE; place++) { /* nothing to compress */
        bytes[place] = (uint8_t)unit_random(&told->chance);
    }
    told->options = (lw_log_options){0};
    lw_status status = lw_path_mkdir(told->env, "data");
    for (uint64_t index = 1; index <= 2 && status == LW_OK; index++) {
        lw_log_record record = {
            .kind = LW_LOG_ENTRY,
            .term = 1,
            .index = index,
            .payload = lw_view(bytes, index == 1 ? (size_t)YOUNG_SIZE / 16 : YOUNG_SIZE)};
        if (index == 1) {
            status = lw_log_open(told->env, "data/log", &told->options, NULL, NULL, &told->log);
        }
        if (status == LW_OK) {
            status = lw_log_wait(told->log, lw_log_append(told->log, &record, 1));
            lw_env_sleep(told->env, 1000000000);
        }
    }
    if (status == LW_OK) {
        status = lw_path_sync_directory(told->env, ".");
    }
    told->wrong = status == LW_OK ? NULL : "it cannot be written";
    lw_free(told->env->memory, bytes);
}

static lw_status take_last(void *argument, const lw_log_record *record) {
    tale *told = argument;
    told->seen[0] = record->kind == LW_LOG_ENTRY ? record->index : told->seen[0];
    return LW_OK;
}

static void open_the_young(tale *told) {
    if (lw_log_open(told->env, "data/log", &told->options, take_last, told, &told->log) != LW_OK) {
        snprintf(told->error, sizeof(told->error), "%s", lw_error_slot()->text);
        told->wrong = "the log does not open";
    }
}

static void what_outgrew_a_prepared_segment_is_there_after_a_crash(void **state) {
    (void)state;
    tale *told = tell(1, false);
    run(told, outgrow_the_prepared);
    expect_right(told, 1, 0);
    assert_true(lw_world_marked(told->world, "log.prepared_too_small") > 0);
    lw_host_crash(told->host);
    run(told, open_the_young);
    expect_right(told, 1, 1);
    assert_int_equal(told->seen[0], 2);
    end(told);
}

static void a_marker_stays_until_its_owner_lets_go_of_it(void **state) {
    (void)state;
    tale *told = tell(1, false);
    run(told, begin_and_wait);
    expect_right(told, 1, 0);
    assert_in_range(told->seen[0], 5, 100);
    run(told, look_from_outside);
    assert_int_equal(told->seen[1], LW_OK);
    assert_true(told->seen[2]);
    lw_host_crash(told->host);
    run(told, reopen);
    expect_right(told, 1, 1);
    assert_int_equal(told->shown[2].base, 500);
    assert_int_equal(told->shown[2].last, 500);
    end(told);
}

/* All of group 2 is let go of, as when a replica is taken away, and then it is back. */
static void let_go_and_come_back(tale *told) {
    if (!open_log(told)) {
        return;
    }
    (void)await(told, append_entry(told, 2, 1));
    lw_log_release(told->log, 2, UINT64_MAX - 1);
    (void)await(told, note(told, LW_LOG_BEGIN, 2, 0));
    lw_log_begun(told->log, 2, true);
    (void)await(told, append_entry(told, 2, 1));
    for (uint64_t index = 1; index < 200; index++) {
        (void)await(told, append_entry(told, 0, index));
        lw_log_release(told->log, 0, index);
    }
    told->seen[0] = told->log->holds.oldest->header.number;
    told->seen[1] = told->log->holds.newest->header.number;
    lw_log_close(told->log);
}

static void a_group_that_was_let_go_of_holds_what_it_gets_when_it_is_back(void **state) {
    (void)state;
    tale *told = tell(1, false);
    run(told, let_go_and_come_back);
    assert_in_range(told->seen[1], 5, 100);
    assert_int_equal(told->seen[0], 1);
    end(told);
}

/* As a program would have left it that knew neither cuts nor beginnings. */
static void write_as_before(tale *told) {
    if (!open_log(told)) {
        return;
    }
    told->log->holds.newest->header.format = LW_LOG_FORMAT_PACKED;
    (void)await(told, append_entry(told, 0, 1));
    (void)await(told, append_entry(told, 0, 2));
    told->seen[0] = told->log->holds.newest->header.number;
    (void)await(told, append_entry(told, 0, 2 + 1));
    told->seen[1] = told->log->holds.newest->header.number;
    told->term = 7;
    (void)await(told, append_entry(told, 0, 2));
    told->seen[2] = told->log->holds.newest->header.number;
    told->seen[3] = told->log->holds.newest->header.format;
    lw_log_close(told->log);
}

static void what_older_programs_do_not_know_goes_into_a_segment_that_they_refuse(void **state) {
    (void)state;
    tale *told = tell(3, false);
    run(told, write_as_before);
    expect_right(told, 3, 0);
    assert_int_equal(told->seen[1], told->seen[0]);
    assert_int_equal(told->seen[2], told->seen[0] + 1);
    assert_int_equal(told->seen[3], LW_LOG_FORMAT);
    end(told);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_counts_is_shown_and_read_whatever_was_cut_off),
        cmocka_unit_test(power_loss_at_any_step_leaves_what_counts),
        cmocka_unit_test(reading_goes_on_where_it_was_and_ends_where_it_should),
        cmocka_unit_test(marks_and_readers_are_charged_and_small),
        cmocka_unit_test(a_damaged_batch_is_named_and_others_are_read),
        cmocka_unit_test(what_outgrew_a_prepared_segment_is_there_after_a_crash),
        cmocka_unit_test(a_marker_stays_until_its_owner_lets_go_of_it),
        cmocka_unit_test(a_group_that_was_let_go_of_holds_what_it_gets_when_it_is_back),
        cmocka_unit_test(what_older_programs_do_not_know_goes_into_a_segment_that_they_refuse),
    };
    return cmocka_run_group_tests_name("log_read", tests, unit_arm, NULL) != 0;
}
