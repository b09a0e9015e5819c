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
    NUMBERS = 6,
    MAGIC_SIZE = 8,
    FILE_SIZE = MAGIC_SIZE + NUMBERS * 8 + 4,
};
#define NS_PER_MS        UINT64_C(1000000)
#define NS_PER_S         UINT64_C(1000000000)
#define EVERY_MS_DEFAULT (UINT64_C(7) * 24 * 3600 * 1000)
#define FIRST_MS         (UINT64_C(2) * 3600 * 1000) /* of running, where nothing is known of a pass */

static const char file_name[] = "SCRUB";
static const char magic[] = "LWSCRUB1";

/* What is in the file. */
typedef struct progress {
    uint64_t begun_ms, ended_ms;
    uint64_t after, last; /* a pass is under way while they differ */
    uint64_t bytes, files;
} progress;

struct lw_scrub {
    lw_scrub_options options;
    lw_env *env;
    progress at;
    bool stopping, running;
    lw_queue stop, ended;
    uint64_t unsaved, unpaused; /* bytes */
    uint64_t requests, requests_ns;
    uint64_t found[FOUND_MAX]; /* numbers of files */
    uint32_t found_count;
};

/* ---- the file ---------------------------------------------------------------------------------
 */

static uint64_t *number_of(progress *at, uint32_t index) {
    uint64_t *const numbers[NUMBERS] = {&at->begun_ms, &at->ended_ms, &at->after,
                                        &at->last,     &at->bytes,    &at->files};
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

static void note_damage(lw_scrub *scrub, uint64_t number) {
    lw_error reason = *lw_error_slot();
    lw_logline(scrub->env, LW_LEVEL_ERROR, "the scrub found damage", "reason=\"%s\"", reason.text);
    scrub->options.found(scrub->options.argument, reason.text);
    uint32_t place = 0;
    while (place < scrub->found_count && scrub->found[place] != number) {
        place++;
    }
    if (place < FOUND_MAX) {
        scrub->found[place] = number;
        scrub->found_count = place == scrub->found_count ? place + 1 : scrub->found_count;
    }
}

static void begin_pass(lw_scrub *scrub) {
    scrub->at.begun_ms = lw_env_wall_ms(scrub->env);
    scrub->at.after = scrub->at.bytes = scrub->at.files = 0;
    scrub->at.last = lw_store_newest_file(scrub->options.store);
}

LW_YIELDS static void end_pass(lw_scrub *scrub) {
    scrub->at.ended_ms = lw_env_wall_ms(scrub->env);
    scrub->at.after = scrub->at.last;
    LW_MARK(scrub->env, "scrub.pass_ended");
    lw_logline(scrub->env, LW_LEVEL_INFO, "everything stored was verified",
               "files=%" PRIu64 " bytes=%" PRIu64 " damaged=%" PRIu32, scrub->at.files,
               scrub->at.bytes, scrub->found_count);
    save(scrub);
}

/* From where it was. */
LW_YIELDS static void walk(lw_scrub *scrub) {
    while (!scrub->stopping && scrub->at.after < scrub->at.last) {
        uint64_t number = 0;
        lw_status status = lw_store_scrub(scrub->options.store, scrub->at.after, scrub->at.last,
                                          pause_after, scrub, &number);
        if (status == LW_NOT_FOUND) {
            end_pass(scrub);
            return;
        }
        if (status == LW_UNAVAILABLE) {
            return;
        }
        if (status == LW_CORRUPTION) {
            note_damage(scrub, number);
        } else if (status != LW_OK && !sleep_for(scrub, RETRY_MS * NS_PER_MS)) {
            return;
        }
        scrub->at.files++;
        scrub->at.after = number;
        if (scrub->unsaved >= SAVE_BYTES) {
            save(scrub);
        }
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
    if (scrub->at.after < scrub->at.last) { /* a start has other things to do */
        uint64_t every_ms = scrub->options.every_ms;
        (void)sleep_for(scrub, (every_ms < RETRY_MS ? every_ms : RETRY_MS) * NS_PER_MS);
    }
    while (!scrub->stopping) {
        if (scrub->at.after >= scrub->at.last) {
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
    uint64_t damaged = 0;
    for (uint32_t index = 0; index < scrub->found_count; index++) {
        damaged += lw_store_shows_file(scrub->options.store, scrub->found[index]);
    }
    lw_json_object_open(json, "scrub");
    lw_json_text(json, "state", lw_text(scrub->at.after < scrub->at.last ? "walks" : "rests"));
    lw_json_number(json, "begun_ms", scrub->at.begun_ms);
    lw_json_number(json, "whole_pass_ended_ms", scrub->at.ended_ms);
    lw_json_number(json, "files", scrub->at.files);
    lw_json_number(json, "bytes", scrub->at.bytes);
    lw_json_number(json, "damaged_files", damaged);
    lw_json_object_close(json);
}
