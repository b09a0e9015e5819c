/* SPDX-License-Identifier: Apache-2.0 */
#include "node/scrub.h"

#include "base/hash.h"
#include "node/small_file.h"
#include "storage/scrub.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    RATE_DEFAULT = 8 * 1024 * 1024,
    PIECE_SIZE = 256 * 1024,        /* bytes between two pauses */
    SAVE_BYTES = 256 * 1024 * 1024, /* verified, until that is noted */
    BUSY_RATE = 500,                /* requests a second, from which it goes slowly: */
    BUSY_PART = 16,                 /* by so much */
    RETRY_MS = 60 * 1000,           /* after the disk failed otherwise */
    FOUND_MAX = 16,                 /* damaged files that are remembered */
    NUMBERS = 8,
    MAGIC_SIZE = 8,
    FILE_SIZE = MAGIC_SIZE + NUMBERS * 8 + 4,
};
#define NS_PER_MS        UINT64_C(1000000)
#define NS_PER_S         UINT64_C(1000000000)
#define EVERY_MS_DEFAULT (UINT64_C(7) * 24 * 3600 * 1000)
#define FIRST_MS         (UINT64_C(2) * 3600 * 1000) /* of running, where nothing is known of a pass */

static const char file_name[] = "SCRUB";
static const char magic[] = "LWSCRUB2";

/* Tables, or segments of the log, by their numbers. */
typedef struct stretch {
    uint64_t after, last; /* a pass is under way while they differ */
} stretch;

/* What is in the file. */
typedef struct progress {
    uint64_t begun_ms, ended_ms;
    stretch tables, log;
    uint64_t bytes, files;
} progress;

/* Numbers of damaged files. */
typedef struct findings {
    uint64_t numbers[FOUND_MAX];
    uint32_t count;
} findings;

struct lw_scrub {
    lw_scrub_options options;
    lw_env *env;
    progress at;
    bool stopping, running;
    lw_queue stop, ended;
    uint64_t unsaved, unpaused; /* bytes */
    uint64_t requests, requests_ns;
    findings in_tables, in_log;
};

/* ---- the file ---------------------------------------------------------------------------------
 */

static uint64_t *number_of(progress *at, uint32_t index) {
    uint64_t *const numbers[NUMBERS] = {&at->begun_ms,    &at->ended_ms,  &at->tables.after,
                                        &at->tables.last, &at->log.after, &at->log.last,
                                        &at->bytes,       &at->files};
    return numbers[index];
}

LW_YIELDS static void load(lw_scrub *scrub) {
    lw_buffer bytes = lw_buffer_in(scrub->env->memory);
    lw_status status =
        lw_small_file_read(scrub->env, scrub->options.directory, file_name, FILE_SIZE, &bytes);
    size_t covered = FILE_SIZE - sizeof(uint32_t);
    if (status == LW_OK && bytes.size == FILE_SIZE && memcmp(bytes.data, magic, MAGIC_SIZE) == 0 &&
        lw_get_u32(bytes.data + covered) == lw_crc32c(0, lw_view(bytes.data, covered))) {
        for (uint32_t index = 0; index < NUMBERS; index++) {
            *number_of(&scrub->at, index) = lw_get_u64(bytes.data + MAGIC_SIZE + 8 * (size_t)index);
        }
    }
    lw_buffer_reset(&bytes);
}

/* What cannot be noted is walked again after a restart, and nothing worse. */
LW_YIELDS static void save(lw_scrub *scrub) {
    lw_buffer bytes = lw_buffer_in(scrub->env->memory);
    lw_buffer_append(&bytes, lw_view(magic, MAGIC_SIZE));
    for (uint32_t index = 0; index < NUMBERS; index++) {
        lw_buffer_append_u64(&bytes, *number_of(&scrub->at, index));
    }
    lw_buffer_append_u32(&bytes, lw_crc32c(0, lw_buffer_view(&bytes)));
    if (lw_path_replace(scrub->env, scrub->options.directory, file_name, lw_buffer_view(&bytes),
                        true) == LW_OK) {
        scrub->unsaved = 0;
    }
    lw_buffer_reset(&bytes);
}

/* ---- going slowly -----------------------------------------------------------------------------
 */

static uint64_t rate_now(lw_scrub *scrub) {
    uint64_t now_ns = lw_env_now(scrub->env), passed_ns = now_ns - scrub->requests_ns;
    uint64_t requests = scrub->options.requests(scrub->options.argument);
    uint64_t came = requests - scrub->requests;
    scrub->requests = requests;
    scrub->requests_ns = now_ns;
    bool busy = came * NS_PER_S > BUSY_RATE * passed_ns;
    return scrub->options.bytes_per_second / (busy ? BUSY_PART : 1);
}

LW_YIELDS static bool sleep_for(lw_scrub *scrub, uint64_t duration_ns) {
    if (!scrub->stopping) {
        (void)lw_env_wait(scrub->env, &scrub->stop, lw_env_now(scrub->env) + duration_ns);
    }
    return !scrub->stopping;
}

/* An lw_scrub_pause. */
LW_YIELDS static bool pause_after(void *argument, size_t size) {
    lw_scrub *scrub = argument;
    scrub->at.bytes += size;
    scrub->unsaved += size;
    scrub->unpaused += size;
    if (scrub->unpaused < PIECE_SIZE) {
        return !scrub->stopping;
    }
    uint64_t duration_ns = scrub->unpaused * NS_PER_S / rate_now(scrub);
    scrub->unpaused = 0;
    return sleep_for(scrub, duration_ns);
}

/* ---- a pass -----------------------------------------------------------------------------------
 */

static void remember(findings *in, uint64_t number) {
    uint32_t place = 0;
    while (place < in->count && in->numbers[place] != number) {
        place++;
    }
    if (place < FOUND_MAX) {
        in->numbers[place] = number;
        in->count = place == in->count ? place + 1 : in->count;
    }
}

static void note_damage(lw_scrub *scrub, findings *in, uint64_t number) {
    lw_error reason = *lw_error_slot();
    lw_logline(scrub->env, LW_LEVEL_ERROR, "the scrub found damage", "reason=\"%s\"", reason.text);
    scrub->options.found(scrub->options.argument, reason.text);
    remember(in, number);
}

/* All ids, since trees come and go while one is flushed. */
LW_YIELDS static void flush_all(lw_scrub *scrub) {
    lw_store *store = scrub->options.store;
    lw_buffer ids = lw_buffer_in(scrub->env->memory);
    for (const lw_tree *tree = lw_store_next_tree(store, NULL); tree != NULL;
         tree = lw_store_next_tree(store, tree)) {
        lw_buffer_append_u64(&ids, lw_tree_id(tree));
    }
    for (size_t at = 0; at < ids.size && !scrub->stopping; at += sizeof(uint64_t)) {
        lw_tree *tree = lw_store_tree(store, lw_get_u64(ids.data + at));
        if (tree != NULL && lw_tree_flush(tree) != LW_OK) {
            lw_logline(scrub->env, LW_LEVEL_WARN, "a tree was not flushed", "reason=\"%s\"",
                       lw_error_slot()->text);
        }
    }
    lw_buffer_reset(&ids);
}

static bool is_under_way(const lw_scrub *scrub) {
    return scrub->at.tables.after < scrub->at.tables.last ||
           scrub->at.log.after < scrub->at.log.last;
}

static void begin_pass(lw_scrub *scrub) {
    const lw_log *log = scrub->options.log;
    scrub->at.begun_ms = lw_env_wall_ms(scrub->env);
    scrub->at.bytes = scrub->at.files = 0;
    scrub->at.tables = (stretch){.last = lw_store_newest_file(scrub->options.store)};
    scrub->at.log = (stretch){.last = log == NULL ? 0 : lw_log_newest_sealed(log)};
}

LW_YIELDS static void end_pass(lw_scrub *scrub) {
    scrub->at.ended_ms = lw_env_wall_ms(scrub->env);
    LW_MARK(scrub->env, "scrub.pass_ended");
    lw_logline(scrub->env, LW_LEVEL_INFO, "everything stored was verified",
               "files=%" PRIu64 " bytes=%" PRIu64 " damaged=%" PRIu32, scrub->at.files,
               scrub->at.bytes, scrub->in_tables.count + scrub->in_log.count);
    save(scrub);
}

LW_YIELDS static void take_damage(lw_scrub *scrub, bool of_log, uint64_t number) {
    note_damage(scrub, of_log ? &scrub->in_log : &scrub->in_tables, number);
    if (of_log && !LW_BUG(scrub->env, "scrub.keeps_damaged_log")) {
        flush_all(scrub);
    }
}

/* Verifies the next file of either stretch. */
LW_YIELDS static void walk_one(lw_scrub *scrub, bool of_log) {
    const lw_scrub_options *options = &scrub->options;
    stretch *of = of_log ? &scrub->at.log : &scrub->at.tables;
    uint64_t number = of->last;
    lw_status status = LW_NOT_FOUND;
    if (!of_log) {
        status = lw_store_scrub(options->store, of->after, of->last, pause_after, scrub, &number);
    } else if (options->log != NULL) {
        status = lw_log_scrub(options->log, of->after, of->last, pause_after, scrub, &number);
    }
    if (status == LW_NOT_FOUND) {
        of->after = of->last;
        return;
    }
    if (status == LW_CORRUPTION) {
        take_damage(scrub, of_log, number);
    } else if (status != LW_OK &&
               (!sleep_for(scrub, RETRY_MS * NS_PER_MS) || status == LW_UNAVAILABLE)) {
        return; /* it was given up */
    }
    scrub->at.files++;
    of->after = number;
    if (scrub->unsaved >= SAVE_BYTES) {
        save(scrub);
    }
}

/* From where it was. */
LW_YIELDS static void walk(lw_scrub *scrub) {
    while (!scrub->stopping && is_under_way(scrub)) {
        walk_one(scrub, scrub->at.tables.after >= scrub->at.tables.last);
    }
    if (!scrub->stopping && scrub->at.ended_ms < scrub->at.begun_ms) {
        end_pass(scrub);
    }
}

/* Until the next pass is due. A clock that was set back by more than one is not believed. */
static uint64_t due_in_ms(const lw_scrub *scrub) {
    uint64_t every_ms = scrub->options.every_ms, now_ms = lw_env_wall_ms(scrub->env);
    if (scrub->at.begun_ms == 0) {
        return every_ms < FIRST_MS ? every_ms : FIRST_MS;
    }
    uint64_t due_ms = scrub->at.begun_ms + every_ms;
    uint64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    return left_ms < every_ms ? left_ms : every_ms;
}

LW_YIELDS static void scrub_main(void *argument) {
    lw_scrub *scrub = argument;
    load(scrub);
    if (is_under_way(scrub)) { /* a start has other things to do */
        uint64_t every_ms = scrub->options.every_ms;
        (void)sleep_for(scrub, (every_ms < RETRY_MS ? every_ms : RETRY_MS) * NS_PER_MS);
    }
    while (!scrub->stopping) {
        if (!is_under_way(scrub)) {
            if (!sleep_for(scrub, due_in_ms(scrub) * NS_PER_MS)) {
                break;
            }
            begin_pass(scrub);
            save(scrub);
        }
        walk(scrub);
    }
    scrub->running = false;
    lw_queue_wake_all(&scrub->ended);
}

/* ---- all of it --------------------------------------------------------------------------------
 */

lw_scrub *lw_scrub_open(const lw_scrub_options *options) {
    lw_scrub *scrub = lw_allocate_zero(options->env->memory, sizeof(*scrub));
    scrub->options = *options;
    scrub->env = options->env;
    if (scrub->options.every_ms == 0) {
        scrub->options.every_ms = EVERY_MS_DEFAULT;
    }
    if (scrub->options.bytes_per_second == 0) {
        scrub->options.bytes_per_second = RATE_DEFAULT;
    }
    scrub->requests_ns = lw_env_now(scrub->env);
    scrub->running = true;
    lw_env_start(scrub->env, "scrub", scrub_main, scrub);
    return scrub;
}

void lw_scrub_close(lw_scrub *scrub) {
    scrub->stopping = true;
    lw_queue_wake_all(&scrub->stop);
    while (scrub->running) {
        lw_queue_wait(&scrub->ended);
    }
    lw_free(scrub->env->memory, scrub);
}

void lw_scrub_status(const lw_scrub *scrub, lw_json *json) {
    uint64_t files = 0, segments = 0;
    for (uint32_t index = 0; index < scrub->in_tables.count; index++) {
        files += lw_store_shows_file(scrub->options.store, scrub->in_tables.numbers[index]);
    }
    for (uint32_t index = 0; index < scrub->in_log.count; index++) {
        segments += lw_log_has_segment(scrub->options.log, scrub->in_log.numbers[index]);
    }
    lw_json_object_open(json, "scrub");
    lw_json_text(json, "state", lw_text(is_under_way(scrub) ? "walks" : "rests"));
    lw_json_number(json, "begun_ms", scrub->at.begun_ms);
    lw_json_number(json, "whole_pass_ended_ms", scrub->at.ended_ms);
    lw_json_number(json, "files", scrub->at.files);
    lw_json_number(json, "bytes", scrub->at.bytes);
    lw_json_number(json, "damaged_files", files);
    lw_json_number(json, "damaged_segments", segments);
    lw_json_object_close(json);
}
