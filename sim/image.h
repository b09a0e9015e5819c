/* SPDX-License-Identifier: Apache-2.0 */
/* The contents of one simulated file, twice: as the machine sees them (volatile) and as they lie on
 * the platter (durable), in sectors of 512 bytes.
 *
 * Invariants
 * 1. A sector is clean (both images agree), dirty (the next sync makes it durable) or forgotten (a
 *    sync failed on it: it counts as clean, so no later sync makes it durable; hazard S4).
 * 2. Only a completed sync, or a durable write for its own bytes, changes the durable image, and
 *    bits that rot.
 * 3. After a power loss each dirty sector is as it was or as it should be, never a mixture, and
 * both images are what survived.
 * 4. Bytes at and behind the size are zeros in the volatile image. */
#ifndef LW_SIM_IMAGE_H
#define LW_SIM_IMAGE_H

#include "sim/fault.h"

enum { LW_SECTOR_SIZE = 512, LW_CHUNK_SIZE = 4096 };

typedef struct lw_chunk {
    uint8_t *data;          /* LW_CHUNK_SIZE bytes; NULL: zeros */
    const uint8_t *durable; /* NULL: as `data` */
    uint8_t dirty;          /* a bit a sector */
    uint8_t forgotten;      /* a bit a sector, never one that is dirty */
} lw_chunk;

typedef struct lw_image {
    lw_memory *memory;
    lw_chunk *chunks;
    size_t chunk_count; /* allocated; all others are zeros */
    uint64_t size;
    uint64_t durable_size;
} lw_image;

static inline lw_image lw_image_in(lw_memory *memory) {
    return (lw_image){.memory = memory};
}
void lw_image_reset(lw_image *image);
/* Both grow the file as needed. */
void lw_image_write(lw_image *image, uint64_t offset, lw_bytes bytes);
void lw_image_write_durable(lw_image *image, uint64_t offset, lw_bytes bytes);
/* A write that power loss or an error cut short: any subset of its sectors is written. */
void lw_image_tear(lw_image *image, uint64_t offset, lw_bytes bytes, bool durable,
                   lw_chance *chance);
/* Copies what is there, at most `size` bytes; returns how many. */
size_t lw_image_read(const lw_image *image, uint64_t offset, void *buffer, size_t size);
/* As lw_image_read, of the durable image. */
size_t lw_image_read_durable(const lw_image *image, uint64_t offset, void *buffer, size_t size);
void lw_image_resize(lw_image *image, uint64_t size);
void lw_image_sync(lw_image *image);
/* A sync that power loss interrupts: any subset of the dirty sectors becomes durable. */
void lw_image_sync_torn(lw_image *image, lw_chance *chance);
/* A sync that fails: some dirty sectors become durable, the others are forgotten. */
void lw_image_sync_failed(lw_image *image, lw_chance *chance);
/* Decides what survived. */
void lw_image_power_loss(lw_image *image, lw_dice *dice);
/* The page cache drops some forgotten sectors: their old contents show again. */
void lw_image_evict(lw_image *image, lw_chance *chance);
/* Flips bit `bit` of the file (bit 0 is the lowest of byte 0) in both images. */
void lw_image_flip(lw_image *image, uint64_t bit);

#endif
