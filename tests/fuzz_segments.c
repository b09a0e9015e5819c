/* SPDX-License-Identifier: Apache-2.0 */
/* Any folder of segments against the opening of a log, and its checker. Segments are mostly zeros,
 * and full of checksums, so the input is not their bytes but how they are made: 96 bytes a block,
 * of which the first says what is put right in it. Properties:
 *   1. opening ends in LW_OK, LW_CORRUPTION or LW_REFUSED, and the checker says the same before;
 *   2. both show the same records, of which the entries of a batch are whole;
 *   3. what an opening showed, the next one shows again, with what was appended behind it. */
#include "base/hash.h"
#include "sim/world.h"
#include "storage/log_state.h"

#include <stdlib.h>

enum {
    CHUNK = 96,
    CHUNKS_MAX = 40,
    RECORDS_MAX = 4096,

    /* Of the first byte of a chunk. */
    NEW_SEGMENT = 1,   /* this is the header of the next segment */
    SKIP_NUMBER = 2,   /* ... but one */
    MEND_PLACE = 4,    /* it names its place */
    NEXT_SEQUENCE = 8, /* it goes on from the batch before */
    NEW_GENERATION = 16,
    MEND_SUMS = 32,
    MARK_ALL = 64, /* it vouches for everything before it */
    TWO_BLOCKS = 128,
};
static const char folder[] = "log";

typedef struct fuzz {
    lw_world *world;
    lw_env *env;
    lw_bytes input;
    uint64_t checked[RECORDS_MAX], shown[RECORDS_MAX]; /* hashes of records */
    size_t checked_count, shown_count;
    bool done;
} fuzz;

/* ---- making the folder ------------------------------------------------------------------------
 */

typedef struct making {
    lw_env *env;
    lw_buffer bytes; /* of the segment */
    uint64_t number, sequence, generation;
} making;

static uint64_t salt_of(uint64_t number) {
    return number * 0x9e3779b97f4a7c15U;
}

static void write_segment(making *make) {
    char path[LW_PATH_SIZE];
    lw_handle file = LW_NO_HANDLE;
    if (make->number == 0) {
        return;
    }
    lw_log_segment_header header;
    uint32_t format = 0;
    if (lw_log_segment_header_decode(make->bytes.data, &header, &format) == LW_LOG_HEADER_VALID &&
        header.number == make->number) {
        header.size = make->bytes.size;
        lw_log_segment_header_encode(&header, make->bytes.data);
    }
    LW_ASSERT(lw_log_segment_path(folder, make->number, path) == LW_OK);
    LW_ASSERT(lw_file_open(make->env, path, LW_OPEN_CREATE, &file) == LW_OK);
    LW_ASSERT(lw_file_write(make->env, file, 0, lw_buffer_view(&make->bytes), LW_WRITE_DURABLE) ==
              LW_OK);
    lw_file_close(make->env, file);
}

static uint8_t *add_block(making *make) {
    uint8_t *block = lw_buffer_reserve(&make->bytes, LW_LOG_BLOCK);
    memset(block, 0, LW_LOG_BLOCK);
    make->bytes.size += LW_LOG_BLOCK;
    return block;
}

static void add_header(making *make, const uint8_t chunk[CHUNK]) {
    write_segment(make);
    lw_buffer_clear(&make->bytes);
    make->number += (chunk[0] & SKIP_NUMBER) != 0 ? 2 : 1;
    uint8_t *block = add_block(make);
    lw_log_segment_header header = {.number = make->number,
                                    .size = LW_LOG_BLOCK,
                                    .salt = salt_of(make->number),
                                    .format = LW_LOG_FORMAT};
    lw_log_segment_header_encode(&header, block);
    if ((chunk[0] & MEND_SUMS) == 0) {
        for (size_t index = 1; index < 48; index++) { /* what is not zero is added */
            block[index] = (uint8_t)(block[index] + chunk[index]);
        }
    }
}

static void mend_place(const making *make, uint8_t *block, uint64_t offset) {
    memcpy(block, "LWLB", 4);
    lw_put_u64(block + 16, make->number);
    lw_put_u64(block + 24, salt_of(make->number));
    lw_put_u64(block + 32, offset);
    lw_put_u32(block + 72, lw_get_u32(block + 72) % 5);
    block[76] = (uint8_t)(1 + block[76] % 5);
}

static void mend_sums(uint8_t *block, size_t size) {
    lw_put_u32(block + 8, lw_crc32c(0, lw_view(block + LW_LOG_BATCH_HEADER_SIZE,
                                               size - LW_LOG_BATCH_HEADER_SIZE)));
    lw_put_u32(block + 4, lw_crc32c(0, lw_view(block + 8, LW_LOG_BATCH_HEADER_SIZE - 8)));
}

static void add_batch(making *make, const uint8_t chunk[CHUNK]) {
    uint64_t offset = make->bytes.size;
    size_t size = (chunk[0] & TWO_BLOCKS) != 0 ? 2 * LW_LOG_BLOCK : LW_LOG_BLOCK;
    for (size_t added = 0; added < size; added += LW_LOG_BLOCK) {
        (void)add_block(make);
    }
    uint8_t *block = make->bytes.data + offset;
    memcpy(block, chunk + 1, CHUNK - 1);
    if ((chunk[0] & MEND_PLACE) != 0) {
        mend_place(make, block, offset);
        lw_put_u32(block + 12, (uint32_t)size);
    }
    if ((chunk[0] & NEXT_SEQUENCE) != 0) {
        make->generation += (chunk[0] & NEW_GENERATION) != 0;
        lw_put_u64(block + 40, ++make->sequence);
        lw_put_u64(block + 48, make->generation);
        lw_put_u64(block + 56, (chunk[0] & MARK_ALL) != 0 ? make->sequence - 1 : 0);
    }
    if ((chunk[0] & MEND_SUMS) != 0) {
        mend_sums(block, size);
    }
}

static void make_folder(fuzz *it) {
    making make = {.env = it->env, .bytes = lw_buffer_in(it->env->memory), .generation = 1};
    LW_ASSERT(lw_path_mkdir(it->env, folder) == LW_OK);
    for (size_t at = 0; at + CHUNK <= it->input.size && at < CHUNKS_MAX * CHUNK; at += CHUNK) {
        const uint8_t *chunk = it->input.data + at;
        if (make.number == 0 || (chunk[0] & NEW_SEGMENT) != 0) {
            add_header(&make, chunk);
        } else {
            add_batch(&make, chunk);
        }
    }
    write_segment(&make);
    lw_buffer_reset(&make.bytes);
}

/* ---- reading it --------------------------------------------------------------------------------
 */

static uint64_t hash_of(const lw_log_record *record) {
    return lw_hash(record->group ^ lw_mix(record->term) ^ lw_mix(record->index + 1) ^
                       (uint64_t)record->kind << 60,
                   record->payload);
}

/* Entries that nobody releases stay where they are. States may be written again in other places. */
static bool lasts(const lw_log_record *record) {
    return record->kind == LW_LOG_ENTRY && record->index > 0;
}

static lw_status take_checked(void *argument, const lw_log_record *record) {
    fuzz *it = argument;
    if (lasts(record) && it->checked_count < RECORDS_MAX) {
        it->checked[it->checked_count++] = hash_of(record);
    }
    return LW_OK;
}

static lw_status take_shown(void *argument, const lw_log_record *record) {
    fuzz *it = argument;
    if (lasts(record) && it->shown_count < RECORDS_MAX) {
        it->shown[it->shown_count++] = hash_of(record);
    }
    return LW_OK;
}

static bool fine(lw_status status) {
    LW_ASSERT(status == LW_OK || status == LW_CORRUPTION || status == LW_REFUSED);
    return status == LW_OK;
}

static void inspect_all(fuzz *it) {
    char path[LW_PATH_SIZE];
    for (uint64_t number = 1; number < 6; number++) {
        lw_buffer text = lw_buffer_in(it->env->memory);
        LW_ASSERT(lw_log_segment_path(folder, number, path) == LW_OK);
        (void)!lw_log_inspect(it->env, path, &text);
        lw_buffer_reset(&text);
    }
}

/* Opens; what was shown is in `shown`. */
static lw_status open_log(fuzz *it, lw_log **log) {
    lw_log_options options = {.segment_size = 4 * LW_LOG_BLOCK};
    it->shown_count = 0;
    return lw_log_open(it->env, folder, &options, take_shown, it, log);
}

static void use_log(fuzz *it, lw_log *log) {
    lw_log_record record = {.group = 77, .term = 1, .index = 1, .kind = LW_LOG_ENTRY};
    size_t count = it->shown_count;
    lw_log_holds_check(&log->holds);
    LW_ASSERT(lw_log_wait(log, lw_log_append(log, &record, 1)) == LW_OK);
    lw_log_close(log);
    LW_ASSERT(open_log(it, &log) == LW_OK);
    LW_ASSERT(count >= RECORDS_MAX - 8 || it->shown_count == count + 1);
    LW_ASSERT(memcmp(it->shown, it->checked, count * sizeof(*it->shown)) == 0);
    LW_ASSERT(count >= RECORDS_MAX - 8 || it->shown[count] == hash_of(&record));
    lw_log_close(log);
}

static void fuzz_main(void *argument) {
    fuzz *it = argument;
    lw_log *log = NULL;
    lw_buffer faults = lw_buffer_in(it->env->memory);
    make_folder(it);
    inspect_all(it);
    lw_status checked =
        lw_log_check(it->env, folder, &(lw_log_options){0}, take_checked, it, &faults);
    LW_ASSERT(checked == LW_REFUSED || fine(checked) == (faults.size == 0));
    lw_buffer_reset(&faults);
    lw_status opened = open_log(it, &log);
    LW_ASSERT(opened == checked);
    if (fine(opened)) {
        LW_ASSERT(it->shown_count == it->checked_count);
        use_log(it, log);
    }
    it->done = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lw_faults faults = lw_faults_none();
    fuzz *it = calloc(1, sizeof(*it));
    LW_ASSERT(it != NULL);
    it->input = lw_view(data, size);
    it->world = lw_world_open(1, &faults);
    it->env = lw_host_boot(lw_world_host(it->world, "node"));
    (void)lw_env_start(it->env, "fuzz", fuzz_main, it);
    while (!it->done) {
        LW_ASSERT(lw_world_step(it->world));
    }
    lw_world_close(it->world);
    free(it);
    return 0;
}
