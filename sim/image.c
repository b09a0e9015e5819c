/* SPDX-License-Identifier: Apache-2.0 */
/* Two images of a file, sector by sector. */
#include "sim/image.h"

enum { CHUNK_SECTORS = LW_CHUNK_SIZE / LW_SECTOR_SIZE };
_Static_assert(CHUNK_SECTORS == 8, "a chunk's sectors are the bits of a byte");

/* The part of [offset, offset + size) that lies in one chunk. */
typedef struct span {
    size_t chunk;
    size_t start, size; /* bytes within the chunk */
} span;

static span span_at(uint64_t offset, uint64_t size) {
    size_t start = (size_t)(offset % LW_CHUNK_SIZE);
    size_t room = LW_CHUNK_SIZE - start;
    return (span){.chunk = (size_t)(offset / LW_CHUNK_SIZE),
                  .start = start,
                  .size = size < room ? (size_t)size : room};
}

/* The sectors that a span touches, and those it covers whole. */
static uint8_t touched(span part) {
    uint8_t mask = 0;
    for (size_t sector = part.start / LW_SECTOR_SIZE;
         sector * LW_SECTOR_SIZE < part.start + part.size; sector++) {
        mask = (uint8_t)(mask | 1U << sector);
    }
    return mask;
}
static uint8_t covered(span part) {
    uint8_t mask = 0;
    for (size_t sector = (part.start + LW_SECTOR_SIZE - 1) / LW_SECTOR_SIZE;
         (sector + 1) * LW_SECTOR_SIZE <= part.start + part.size; sector++) {
        mask = (uint8_t)(mask | 1U << sector);
    }
    return mask;
}

/* What the platter shows of a chunk of zeros, which most are, as logs are made of them: shared. */
static const uint8_t blank[LW_CHUNK_SIZE];

static bool is_blank(const uint8_t *bytes, size_t size) {
    return memcmp(bytes, blank, size) == 0;
}

static void free_durable(lw_image *image, lw_chunk *chunk) {
    if (chunk->durable != blank) {
        lw_free(image->memory, (void *)(uintptr_t)chunk->durable);
    }
    chunk->durable = NULL;
}

/* Of a chunk that has one: the durable bytes, to be changed. */
static uint8_t *own_durable(lw_image *image, lw_chunk *chunk) {
    LW_ASSERT(chunk->durable != NULL);
    if (chunk->durable == blank) {
        chunk->durable = lw_allocate_zero(image->memory, LW_CHUNK_SIZE);
    }
    return (uint8_t *)(uintptr_t)chunk->durable;
}

static uint8_t *chunk_data(lw_image *image, lw_chunk *chunk) {
    if (chunk->data == NULL) {
        chunk->data = lw_allocate_zero(image->memory, LW_CHUNK_SIZE);
    }
    return chunk->data;
}

/* The same, for who overwrites `part` of it at once. */
static uint8_t *chunk_data_for(lw_image *image, lw_chunk *chunk, span part) {
    if (chunk->data == NULL && part.size == LW_CHUNK_SIZE) {
        chunk->data = lw_allocate(image->memory, LW_CHUNK_SIZE);
    }
    return chunk_data(image, chunk);
}

static lw_chunk *chunk_at(lw_image *image, size_t index) {
    if (index >= image->chunk_count) {
        size_t count = image->chunk_count < 4 ? 4 : image->chunk_count * 2;
        count = count > index ? count : index + 1;
        image->chunks = lw_reallocate(image->memory, image->chunks, count * sizeof(lw_chunk));
        memset(image->chunks + image->chunk_count, 0,
               (count - image->chunk_count) * sizeof(lw_chunk));
        image->chunk_count = count;
    }
    return &image->chunks[index];
}

/* Before `data` departs from the durable image. */
static void keep_durable(lw_image *image, lw_chunk *chunk) {
    if (chunk->durable == NULL) {
        chunk->durable = chunk->data == NULL
                             ? blank
                             : lw_copy(image->memory, lw_view(chunk->data, LW_CHUNK_SIZE)).data;
    }
}

/* Once the images agree again. */
static void drop_durable(lw_image *image, lw_chunk *chunk) {
    if (chunk->dirty == 0 && chunk->forgotten == 0) {
        free_durable(image, chunk);
    }
}

static void write_span(lw_image *image, span part, const uint8_t *bytes, bool durable) {
    lw_chunk *chunk = chunk_at(image, part.chunk);
    if (!durable) {
        keep_durable(image, chunk);
        chunk->dirty |= touched(part);
        chunk->forgotten &= (uint8_t)~touched(part);
    }
    if (chunk->data != NULL || !is_blank(bytes, part.size)) {
        memcpy(chunk_data_for(image, chunk, part) + part.start, bytes, part.size);
    }
    if (durable && chunk->durable != NULL) {
        memcpy(own_durable(image, chunk) + part.start, bytes, part.size);
        chunk->dirty &= (uint8_t)~covered(part);
        chunk->forgotten &= (uint8_t)~covered(part);
        drop_durable(image, chunk);
    }
}

static void write_all(lw_image *image, uint64_t offset, lw_bytes bytes, bool durable) {
    if (bytes.size == 0) {
        return;
    }
    uint64_t end = offset + bytes.size;
    image->size = image->size > end ? image->size : end;
    if (durable && image->durable_size < end) {
        image->durable_size = end;
    }
    while (bytes.size > 0) {
        span part = span_at(offset, bytes.size);
        write_span(image, part, bytes.data, durable);
        offset += part.size;
        bytes = lw_view(bytes.data + part.size, bytes.size - part.size);
    }
}

void lw_image_reset(lw_image *image) {
    for (size_t index = 0; index < image->chunk_count; index++) {
        lw_free(image->memory, image->chunks[index].data);
        free_durable(image, &image->chunks[index]);
    }
    lw_free(image->memory, image->chunks);
    *image = lw_image_in(image->memory);
}

void lw_image_write(lw_image *image, uint64_t offset, lw_bytes bytes) {
    write_all(image, offset, bytes, false);
}

void lw_image_write_durable(lw_image *image, uint64_t offset, lw_bytes bytes) {
    write_all(image, offset, bytes, true);
}

/* How likely one sector of a subset is to be in it: none, few, half, most or all, equally often. */
static uint32_t draw_percent(lw_chance *chance) {
    static const uint32_t percents[] = {0, 12, 50, 88, 100};
    return percents[lw_chance_below(chance, sizeof(percents) / sizeof(percents[0]))];
}

void lw_image_tear(lw_image *image, uint64_t offset, lw_bytes bytes, bool durable,
                   lw_chance *chance) {
    uint32_t percent = draw_percent(chance);
    while (bytes.size > 0) {
        size_t room = LW_SECTOR_SIZE - (size_t)(offset % LW_SECTOR_SIZE);
        size_t step = bytes.size < room ? bytes.size : room;
        if (lw_chance_percent(chance, percent)) {
            write_all(image, offset, lw_view(bytes.data, step), durable);
        }
        offset += step;
        bytes = lw_view(bytes.data + step, bytes.size - step);
    }
}

static size_t read_all(const lw_image *image, uint64_t offset, uint8_t *buffer, size_t size,
                       bool durable) {
    uint64_t end = durable ? image->durable_size : image->size;
    if (offset >= end) {
        return 0;
    }
    size_t wanted = end - offset < size ? (size_t)(end - offset) : size;
    for (size_t done = 0; done < wanted;) {
        span part = span_at(offset + done, wanted - done);
        const uint8_t *from = NULL;
        if (part.chunk < image->chunk_count) {
            const lw_chunk *chunk = &image->chunks[part.chunk];
            from = durable && chunk->durable != NULL ? chunk->durable : chunk->data;
        }
        if (from == NULL) {
            memset(buffer + done, 0, part.size);
        } else {
            memcpy(buffer + done, from + part.start, part.size);
        }
        done += part.size;
    }
    return wanted;
}

size_t lw_image_read(const lw_image *image, uint64_t offset, void *buffer, size_t size) {
    return read_all(image, offset, buffer, size, false);
}

size_t lw_image_read_durable(const lw_image *image, uint64_t offset, void *buffer, size_t size) {
    return read_all(image, offset, buffer, size, true);
}

void lw_image_resize(lw_image *image, uint64_t size) {
    static const uint8_t zeros[LW_CHUNK_SIZE];
    for (uint64_t offset = size; offset < image->size;) {
        span part = span_at(offset, image->size - offset);
        if (part.chunk >= image->chunk_count) {
            break;
        }
        if (image->chunks[part.chunk].data != NULL) {
            write_span(image, part, zeros, false);
        }
        offset += part.size;
    }
    image->size = size;
}

/* ---- syncing -------------------------------------------------------------------------------- */

/* Makes the dirty sectors of `mask` durable. Where that is all that differs nothing is copied: the
 * durable image is dropped. */
static void settle(lw_image *image, lw_chunk *chunk, uint8_t mask) {
    bool alike = (chunk->dirty & ~mask) == 0 && chunk->forgotten == 0;
    for (size_t sector = 0; sector < CHUNK_SECTORS && !alike; sector++) {
        if ((chunk->dirty & mask & 1U << sector) != 0) {
            memcpy(own_durable(image, chunk) + sector * LW_SECTOR_SIZE,
                   chunk_data(image, chunk) + sector * LW_SECTOR_SIZE, LW_SECTOR_SIZE);
        }
    }
    chunk->dirty &= (uint8_t)~mask;
    drop_durable(image, chunk);
}

/* A sector is in the subset with the given chance. */
static uint8_t draw_mask(lw_chance *chance, uint32_t percent) {
    uint8_t mask = 0;
    for (size_t sector = 0; sector < CHUNK_SECTORS; sector++) {
        mask = (uint8_t)(mask | (unsigned)lw_chance_percent(chance, percent) << sector);
    }
    return mask;
}

void lw_image_sync(lw_image *image) {
    for (size_t index = 0; index < image->chunk_count; index++) {
        if (image->chunks[index].dirty != 0) {
            settle(image, &image->chunks[index], UINT8_MAX);
        }
    }
    image->durable_size = image->size;
}

void lw_image_sync_torn(lw_image *image, lw_chance *chance) {
    uint32_t percent = draw_percent(chance);
    for (size_t index = 0; index < image->chunk_count; index++) {
        if (image->chunks[index].dirty != 0) {
            settle(image, &image->chunks[index], draw_mask(chance, percent));
        }
    }
}

void lw_image_sync_failed(lw_image *image, lw_chance *chance) {
    lw_image_sync_torn(image, chance);
    for (size_t index = 0; index < image->chunk_count; index++) {
        lw_chunk *chunk = &image->chunks[index];
        chunk->forgotten |= chunk->dirty;
        chunk->dirty = 0;
    }
}

/* ---- losing --------------------------------------------------------------------------------- */

/* A sector that did not make it shows its durable bytes; one that never was on the platter may show
 * what a deleted file left there. */
static void lose_sector(lw_image *image, size_t chunk_index, size_t sector, bool stale,
                        lw_chance *chance) {
    lw_chunk *chunk = &image->chunks[chunk_index];
    uint8_t *lost = chunk_data(image, chunk) + sector * LW_SECTOR_SIZE;
    uint64_t offset = (uint64_t)chunk_index * LW_CHUNK_SIZE + sector * LW_SECTOR_SIZE;
    if (stale && offset >= image->durable_size) {
        lw_chance_fill(chance, lost, LW_SECTOR_SIZE);
    } else {
        memcpy(lost, chunk->durable + sector * LW_SECTOR_SIZE, LW_SECTOR_SIZE);
    }
}

/* The size may be the durable one, the volatile one, or any between. */
static uint64_t draw_size(const lw_image *image, lw_chance *chance) {
    uint64_t low = image->size < image->durable_size ? image->size : image->durable_size;
    uint64_t high = image->size < image->durable_size ? image->durable_size : image->size;
    switch (lw_chance_below(chance, 3)) {
    case 0:
        return image->durable_size;
    case 1:
        return image->size;
    default:
        return lw_chance_between(chance, low, high);
    }
}

/* Whether there is anything that a power loss could take. */
static bool has_departed(const lw_image *image) {
    bool departed = image->size != image->durable_size;
    for (size_t index = 0; index < image->chunk_count && !departed; index++) {
        departed = (image->chunks[index].dirty | image->chunks[index].forgotten) != 0;
    }
    return departed;
}

void lw_image_power_loss(lw_image *image, lw_dice *dice) {
    uint64_t size = draw_size(image, &dice->chance);
    uint32_t percent = draw_percent(&dice->chance);
    bool stale = has_departed(image) && lw_dice_hit(dice, LW_FAULT_STALE_SECTOR);
    for (size_t index = 0; index < image->chunk_count; index++) {
        lw_chunk *chunk = &image->chunks[index];
        uint8_t departed = chunk->dirty | chunk->forgotten;
        uint8_t survived = departed == 0 ? 0 : chunk->dirty & draw_mask(&dice->chance, percent);
        for (size_t sector = 0; sector < CHUNK_SECTORS; sector++) {
            uint64_t offset = (uint64_t)index * LW_CHUNK_SIZE + sector * LW_SECTOR_SIZE;
            /* Where a cut was undone, what was cut off is back. */
            bool uncut = offset >= image->size;
            if ((departed & 1U << sector) != 0 && (uncut || (survived & 1U << sector) == 0)) {
                lose_sector(image, index, sector, stale && !uncut, &dice->chance);
            }
        }
        chunk->dirty = 0;
        chunk->forgotten = 0;
        drop_durable(image, chunk);
    }
    image->size = image->durable_size > image->size ? image->durable_size : image->size;
    lw_image_resize(image, size);
    lw_image_sync(image);
}

/* Shows the durable bytes of a sector again. Not where that would bring back what was cut off. */
static void evict_sector(lw_image *image, size_t chunk_index, size_t sector) {
    lw_chunk *chunk = &image->chunks[chunk_index];
    size_t start = sector * LW_SECTOR_SIZE;
    uint64_t offset = (uint64_t)chunk_index * LW_CHUNK_SIZE + start;
    uint64_t inside = image->size > offset ? image->size - offset : 0;
    if (inside < LW_SECTOR_SIZE && image->durable_size > image->size) {
        return;
    }
    if (inside < LW_SECTOR_SIZE) {
        memset(own_durable(image, chunk) + start + inside, 0, LW_SECTOR_SIZE - (size_t)inside);
    }
    memcpy(chunk_data(image, chunk) + start, chunk->durable + start, LW_SECTOR_SIZE);
    chunk->forgotten &= (uint8_t) ~(1U << sector);
}

void lw_image_evict(lw_image *image, lw_chance *chance) {
    for (size_t index = 0; index < image->chunk_count; index++) {
        lw_chunk *chunk = &image->chunks[index];
        uint8_t evicted =
            chunk->forgotten == 0 ? 0 : chunk->forgotten & draw_mask(chance, draw_percent(chance));
        for (size_t sector = 0; sector < CHUNK_SECTORS; sector++) {
            if ((evicted & 1U << sector) != 0) {
                evict_sector(image, index, sector);
            }
        }
        drop_durable(image, chunk);
    }
}

void lw_image_flip(lw_image *image, uint64_t bit) {
    LW_ASSERT(bit / 8 < image->size);
    span part = span_at(bit / 8, 1);
    lw_chunk *chunk = chunk_at(image, part.chunk);
    uint8_t *data = chunk_data(image, chunk);
    data[part.start] = (uint8_t)(data[part.start] ^ 1U << bit % 8);
    if (chunk->durable != NULL) {
        uint8_t *durable = own_durable(image, chunk);
        durable[part.start] = (uint8_t)(durable[part.start] ^ 1U << bit % 8);
    }
}
