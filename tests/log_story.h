/* SPDX-License-Identifier: Apache-2.0 */
/* A log on a simulated machine that may lose power, and the simplest model of it: the list of all
 * records that were appended, in order. What an opening shows is held against that list:
 *
 *   1. every record shown was appended, and its payload is what it was;
 *   2. the entries shown are those between the first one shown and the last record that survived,
 *      none left out; nothing that is not released is before the first;
 *   3. the last record that survived is not before the last acknowledged one, and not in the middle
 *      of what was appended together;
 *   4. of each group the state shown last is the newest of those up to the last survivor;
 *   5. what did not survive an opening that showed it never comes back: it leaves the list. */
#ifndef LW_TESTS_LOG_STORY_H
#define LW_TESTS_LOG_STORY_H

#include "sim/world.h"
#include "storage/log_state.h"
#include "tests/unit.h"

#include <stdlib.h>

enum {
    STORY_GROUPS = 4,
    STORY_WORKERS = 3,
    STORY_RECORDS_MAX = 8192,
    STORY_PAYLOAD_MAX = 12000,
};
#define STORY_FOLDER "data/log"

typedef struct story_record {
    uint64_t id, group, index;
    lw_log_kind kind;
    uint64_t together; /* equal for what was appended together */
} story_record;

typedef struct story {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    lw_log *log; /* of the process that runs now, once open */
    lw_log_options options;

    story_record records[STORY_RECORDS_MAX]; /* the model, in order of appending; id = place + 1 */
    uint64_t record_count;
    uint64_t acknowledged; /* id: this record and all before it were waited for */
    uint64_t index_last[STORY_GROUPS];
    uint64_t released[STORY_GROUPS];
    uint64_t salt; /* so that the payload of an id differs between openings */

    uint64_t seen[STORY_RECORDS_MAX * 2]; /* ids that the opening showed, in order */
    uint64_t seen_count;
    bool seen_other; /* something was shown that no record of the model is */

    uint64_t live_events;  /* of the world, after which story_live stops watching; 0: no limit */
    uint32_t rounds;       /* appends of each worker */
    uint32_t workers;      /* that run */
    uint32_t state_period; /* rounds from one state of a worker to the next */
    uint64_t size_max;     /* of payloads */
    bool releasing;        /* whether workers release what they appended a while ago */
    bool closing;          /* whether the log is closed at the end */
    lw_status opened, worst;
    bool open_done, done;
    void *argument;                      /* for it */
    void (*body)(struct story *told);    /* of story_run */
    uint8_t bytes[4][STORY_PAYLOAD_MAX]; /* of story_append and story_visit */
    char error[LW_ERROR_TEXT_SIZE];
} story;

/* ---- the model ---------------------------------------------------------------------------------
 */

static inline size_t story_payload(const story *told, const story_record *record, uint8_t *bytes) {
    uint64_t state = record->id * 31 + record->group;
    size_t size = 16 + (size_t)unit_random_below(&state, told->size_max - 15);
    if (record->kind == LW_LOG_STATE) {
        size = 16;
    }
    memcpy(bytes, &record->id, 8);
    memcpy(bytes + 8, &record->together, 8);
    for (size_t index = 16; index < size; index++) {
        bytes[index] = (uint8_t)unit_random(&state);
    }
    return size;
}

static inline lw_status story_visit(void *argument, const lw_log_record *shown) {
    story *told = argument;
    uint64_t id = 0;
    if (shown->payload.size >= 16) {
        memcpy(&id, shown->payload.data, 8);
    }
    if (id == 0 || id > told->record_count) {
        told->seen_other = true;
        return LW_OK;
    }
    const story_record *record = &told->records[id - 1];
    size_t size = story_payload(told, record, told->bytes[0]);
    if (record->group != shown->group || record->index != shown->index ||
        record->kind != shown->kind || !lw_equal(shown->payload, lw_view(told->bytes[0], size))) {
        told->seen_other = true;
    }
    if (told->seen_count < STORY_RECORDS_MAX * 2) {
        told->seen[told->seen_count++] = id;
    }
    return LW_OK;
}

/* The last record that survived: entries are shown once and in order, states perhaps again. */
static inline uint64_t story_survivor(const story *told) {
    uint64_t last = 0;
    for (uint64_t place = 0; place < told->seen_count; place++) {
        last = told->seen[place] > last ? told->seen[place] : last;
    }
    return last;
}

/* NULL if what the opening showed is right, or what is wrong. Then the model forgets what did not
 * survive. */
static inline const char *story_judge(story *told) {
    uint64_t last = story_survivor(told);
    if (told->seen_other) {
        return "a record was shown that nobody appended";
    }
    if (last < told->acknowledged) {
        return "an acknowledged record is missing at the end";
    }
    if (last > 0 && last < told->record_count &&
        told->records[last - 1].together == told->records[last].together) {
        return "a part of what was appended together is missing";
    }
    uint64_t expected = 0;
    uint64_t newest[STORY_GROUPS] = {0};
    for (uint64_t place = 0; place < told->seen_count; place++) {
        uint64_t id = told->seen[place];
        const story_record *record = &told->records[id - 1];
        if (record->kind == LW_LOG_STATE) {
            newest[record->group] = id;
            continue;
        }
        uint64_t skipped = expected == 0 ? 1 : expected;
        for (; skipped < id; skipped++) {
            const story_record *left_out = &told->records[skipped - 1];
            if (left_out->kind == LW_LOG_ENTRY &&
                (expected != 0 || left_out->index > told->released[left_out->group])) {
                return "an entry is missing in the middle";
            }
        }
        if (expected != 0 && id < expected) {
            return "an entry was shown twice, or out of order";
        }
        expected = id + 1;
    }
    for (uint64_t id = expected == 0 ? 1 : expected; id <= last; id++) {
        const story_record *left_out = &told->records[id - 1];
        if (left_out->kind == LW_LOG_ENTRY && left_out->index > told->released[left_out->group]) {
            return "an entry is missing before the last record";
        }
    }
    for (uint64_t id = last; id > 0; id--) {
        const story_record *record = &told->records[id - 1];
        if (record->kind == LW_LOG_STATE && newest[record->group] < id) {
            return "the newest state of a group is missing";
        }
        if (record->kind == LW_LOG_STATE) {
            newest[record->group] = UINT64_MAX;
        }
    }
    told->record_count = last;
    told->acknowledged = last;
    memset(told->index_last, 0, sizeof(told->index_last));
    for (uint64_t id = 1; id <= last; id++) {
        const story_record *record = &told->records[id - 1];
        if (record->kind == LW_LOG_ENTRY) {
            told->index_last[record->group] = record->index;
        }
    }
    return NULL;
}

/* ---- fibers ------------------------------------------------------------------------------------
 */

/* Appends one to three records together; returns the position. */
static inline uint64_t story_append(story *told, uint64_t group, bool with_state, uint32_t count) {
    lw_log_record batch[4];
    uint32_t batch_count = 0;
    uint64_t together = ++told->salt;
    for (uint32_t place = 0; place < count + with_state; place++) {
        LW_ASSERT(told->record_count < STORY_RECORDS_MAX);
        story_record *record = &told->records[told->record_count++];
        bool state = with_state && place == 0;
        *record = (story_record){.id = told->record_count,
                                 .group = group,
                                 .index = state ? 0 : ++told->index_last[group],
                                 .kind = state ? LW_LOG_STATE : LW_LOG_ENTRY,
                                 .together = together};
        size_t size = story_payload(told, record, told->bytes[place]);
        batch[batch_count++] = (lw_log_record){.group = group,
                                               .term = 1,
                                               .index = record->index,
                                               .kind = record->kind,
                                               .payload = lw_view(told->bytes[place], size)};
    }
    return lw_log_append(told->log, batch, batch_count);
}

static inline void story_fail(story *told, lw_status status) {
    told->worst = status;
    snprintf(told->error, sizeof(told->error), "%s", lw_error_slot()->text);
}

/* Releases all acknowledged entries but the last two of each group. */
static inline void story_release(story *told) {
    uint64_t kept[STORY_GROUPS] = {0};
    for (uint64_t id = told->acknowledged; id > 0; id--) {
        const story_record *record = &told->records[id - 1];
        if (record->kind == LW_LOG_ENTRY && kept[record->group]++ == 2) {
            told->released[record->group] = record->index;
            lw_log_release(told->log, record->group, record->index);
        }
    }
}

static inline void story_worker_main(void *argument) {
    story *told = argument;
    uint64_t worker = told->workers++;
    for (uint32_t round = 0; round < told->rounds && told->worst == LW_OK; round++) {
        uint64_t group = (round + worker) % STORY_GROUPS;
        lw_status status = lw_log_room(told->log, 4 * told->size_max);
        if (status != LW_OK) {
            story_fail(told, status);
            break;
        }
        uint64_t position = story_append(told, group, round % told->state_period == worker,
                                         1 + (round % 5 == 4) * 2);
        uint64_t id = told->record_count;
        if (round % 4 == 3) {
            lw_env_sleep(told->env, 20000); /* so that several writes are in flight */
            continue;
        }
        status = lw_log_wait(told->log, position);
        if (status != LW_OK) {
            story_fail(told, status);
            break;
        }
        told->acknowledged = id > told->acknowledged ? id : told->acknowledged;
        if (told->releasing && round % 3 == 2) {
            story_release(told);
        }
    }
    told->workers--;
}

/* Opens the log of a story, with what it shows in `seen`. */
static inline lw_status story_open_log(story *told) {
    told->seen_count = 0;
    told->seen_other = false;
    lw_status status = lw_path_mkdir(told->env, "data");
    if (status == LW_OK) {
        status = lw_path_sync_directory(told->env, ".");
    }
    if (status == LW_OK) {
        status =
            lw_log_open(told->env, STORY_FOLDER, &told->options, story_visit, told, &told->log);
    }
    told->opened = status;
    told->open_done = true;
    if (status != LW_OK) {
        snprintf(told->error, sizeof(told->error), "%s", lw_error_slot()->text);
    }
    return status;
}

/* The life of a process: opens the log, appends with all workers, perhaps closes. */
static inline void story_process_main(void *argument) {
    story *told = argument;
    if (story_open_log(told) != LW_OK) {
        told->done = true;
        return;
    }
    for (uint64_t group = 0; group < STORY_GROUPS; group++) {
        lw_log_release(told->log, group, told->released[group]);
    }
    const char *wrong = story_judge(told);
    if (wrong != NULL) {
        told->opened = LW_INTERNAL;
        snprintf(told->error, sizeof(told->error), "%s", wrong);
        told->done = true;
        return;
    }
    for (uint32_t worker = 0; worker < STORY_WORKERS; worker++) {
        (void)lw_env_start(told->env, "worker", story_worker_main, told);
    }
    lw_fiber_pass();
    while (told->workers > 0) {
        lw_env_sleep(told->env, 100000);
    }
    lw_log_holds_check(&told->log->holds);
    if (told->closing) {
        lw_log_close(told->log);
        told->log = NULL;
    }
    told->done = true;
}

/* ---- running -----------------------------------------------------------------------------------
 */

static inline story *story_open(uint64_t seed, const lw_faults *faults) {
    story *told = calloc(1, sizeof(*told));
    assert_non_null(told);
    told->world = lw_world_open(seed, faults);
    told->host = lw_world_host(told->world, "node");
    told->options = (lw_log_options){.segment_size = 32768, .writes_in_flight = 3};
    told->rounds = 12;
    told->state_period = 7;
    told->size_max = 3000;
    told->releasing = true;
    told->closing = true;
    return told;
}

static inline void story_close(story *told) {
    lw_world_close(told->world);
    free(told);
}

/* Boots the host and lets a process live until it is done or the power is gone. */
static inline void story_live(story *told) {
    told->seen_count = 0;
    told->seen_other = false;
    told->open_done = false;
    told->done = false;
    told->workers = 0;
    told->opened = LW_OK;
    told->worst = LW_OK;
    told->log = NULL;
    told->env = lw_host_boot(told->host);
    (void)lw_env_start(told->env, "process", story_process_main, told);
    uint64_t steps = 0;
    while (lw_host_running(told->host) && !told->done &&
           (told->live_events == 0 || steps < told->live_events)) {
        if (!lw_world_step(told->world) || ++steps > 2000000) {
            lw_world_report(told->world, stderr);
            fail_msg("the process does nothing any more");
        }
    }
}

static inline void story_body_main(void *argument) {
    story *told = argument;
    told->body(told);
    told->done = true;
}

/* Boots the host, unless it runs, and runs body(told) in a fiber. */
static inline void story_run(story *told, void (*body)(story *told)) {
    if (!lw_host_running(told->host)) {
        told->env = lw_host_boot(told->host);
        told->log = NULL;
    }
    told->body = body;
    told->done = false;
    (void)lw_env_start(told->env, "story", story_body_main, told);
    while (lw_host_running(told->host) && !told->done) {
        if (!lw_world_step(told->world)) {
            lw_world_report(told->world, stderr);
            fail_msg("the story does not go on");
        }
    }
}

/* ---- bodies and beginnings that several stories share ------------------------------------------
 */

static inline void story_append_some(story *told, uint32_t count) {
    for (uint32_t index = 0; index < count; index++) {
        uint64_t position = story_append(told, index % STORY_GROUPS, index < STORY_GROUPS, 1);
        if (lw_log_wait(told->log, position) != LW_OK) {
            story_fail(told, LW_INTERNAL);
        }
        told->acknowledged = told->record_count;
    }
}

static inline void story_open_and_append_20(story *told) {
    if (story_open_log(told) == LW_OK) {
        story_append_some(told, 20);
    }
}

static inline void story_shut(story *told) {
    lw_log_close(told->log);
    told->log = NULL;
}

static inline void story_reopen(story *told) {
    (void)!story_open_log(told);
}

static inline story *story_with_20_records_closed(void) {
    lw_faults none = lw_faults_none();
    story *told = story_open(1, &none);
    told->options.segment_size = 1 << 20;
    told->size_max = 100;
    story_run(told, story_open_and_append_20);
    assert_int_equal(told->opened, LW_OK);
    assert_int_equal(told->worst, LW_OK);
    story_run(told, story_shut);
    return told;
}

/* Whether the opening, if there was one, showed what it should. */
static inline bool story_right(const story *told) {
    return !told->open_done || told->opened == LW_OK;
}

#endif
