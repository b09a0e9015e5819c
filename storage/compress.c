/* SPDX-License-Identifier: Apache-2.0 */
/* The only file that includes lz4.h and zstd.h. */
#include "storage/compress.h"

#include <lz4.h>
/* For contexts in memory of our own. */
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include "storage/block.h"

_Static_assert(LW_BLOCK_SIZE_MAX <= LZ4_MAX_INPUT_SIZE, "LZ4 takes every block");

/* Bytes of what zstd is tuned to: tables of matches for a few blocks, not for a stream. */
enum { ZSTD_SIZE_HINT = 16 * 1024 };

/* ---- compressing --------------------------------------------------------------------------------
 */

struct lw_compressor {
    lw_memory *memory;
    ZSTD_CCtx *zstd; /* in `zstd_space`; NULL: LZ4 only */
    void *zstd_space, *lz4_space;
    size_t size; /* of both */
};

static void set(ZSTD_CCtx *context, ZSTD_cParameter parameter, int value) {
    size_t result = ZSTD_CCtx_setParameter(context, parameter, value);
    LW_ASSERT(!ZSTD_isError(result));
}

static void open_zstd(lw_compressor *compressor, int level) {
    ZSTD_compressionParameters tuned = ZSTD_getCParams(level, ZSTD_SIZE_HINT, 0);
    size_t size = ZSTD_estimateCCtxSize_usingCParams(tuned);
    compressor->zstd_space = lw_allocate(compressor->memory, size);
    compressor->size += size;
    compressor->zstd = ZSTD_initStaticCCtx(compressor->zstd_space, size);
    LW_ASSERT(compressor->zstd != NULL);
    set(compressor->zstd, ZSTD_c_compressionLevel, level);
    set(compressor->zstd, ZSTD_c_windowLog, (int)tuned.windowLog);
    set(compressor->zstd, ZSTD_c_hashLog, (int)tuned.hashLog);
    set(compressor->zstd, ZSTD_c_chainLog, (int)tuned.chainLog);
    set(compressor->zstd, ZSTD_c_searchLog, (int)tuned.searchLog);
    set(compressor->zstd, ZSTD_c_minMatch, (int)tuned.minMatch);
    set(compressor->zstd, ZSTD_c_targetLength, (int)tuned.targetLength);
    set(compressor->zstd, ZSTD_c_strategy, (int)tuned.strategy);
    set(compressor->zstd, ZSTD_c_contentSizeFlag, 0); /* the index knows it */
    set(compressor->zstd, ZSTD_c_checksumFlag, 0);    /* the seal has one */
}

lw_compressor *lw_compressor_open(lw_memory *memory, lw_compression compression, int level) {
    if (compression == LW_COMPRESSION_NONE) {
        return NULL;
    }
    lw_compressor *compressor = lw_allocate_zero(memory, sizeof(*compressor));
    compressor->memory = memory;
    compressor->size = (size_t)LZ4_sizeofState();
    compressor->lz4_space = lw_allocate(memory, compressor->size);
    if (compression == LW_COMPRESSION_ZSTD) {
        open_zstd(compressor, level != 0 ? level : LW_ZSTD_QUICK);
    }
    return compressor;
}

void lw_compressor_close(lw_compressor *compressor) {
    if (compressor != NULL) {
        lw_free(compressor->memory, compressor->zstd_space);
        lw_free(compressor->memory, compressor->lz4_space);
        lw_free(compressor->memory, compressor);
    }
}

size_t lw_compressor_size(const lw_compressor *compressor) {
    return compressor != NULL ? compressor->size : 0;
}

size_t lw_compress(lw_compressor *compressor, lw_bytes bytes, uint8_t *to, size_t room,
                   lw_compression *used) {
    LW_ASSERT(bytes.size <= LW_BLOCK_SIZE_MAX);
    if (compressor->zstd != NULL) {
        size_t made = ZSTD_compress2(compressor->zstd, to, room, bytes.data, bytes.size);
        if (ZSTD_isError(made)) {
            return 0;
        }
        if (made >= bytes.size / LW_COMPRESSION_RATIO_MAX) {
            *used = LW_COMPRESSION_ZSTD;
            return made;
        }
    }
    int made = LZ4_compress_fast_extState(compressor->lz4_space, (const char *)bytes.data,
                                          (char *)to, (int)bytes.size, (int)room, 1);
    LW_ASSERT(made >= 0);
    *used = LW_COMPRESSION_LZ4;
    return (size_t)made;
}

/* ---- decompressing ------------------------------------------------------------------------------
 */

struct lw_decompressor {
    lw_memory *memory;
    ZSTD_DCtx *zstd; /* in `zstd_space`; NULL before the first use */
    void *zstd_space;
};

lw_decompressor *lw_decompressor_open(lw_memory *memory) {
    lw_decompressor *decompressor = lw_allocate_zero(memory, sizeof(*decompressor));
    decompressor->memory = memory;
    return decompressor;
}

void lw_decompressor_close(lw_decompressor *decompressor) {
    lw_free(decompressor->memory, decompressor->zstd_space);
    lw_free(decompressor->memory, decompressor);
}

static bool decompress_zstd(lw_decompressor *decompressor, lw_bytes bytes, uint8_t *to,
                            size_t size) {
    if (decompressor->zstd == NULL) {
        size_t space = ZSTD_estimateDCtxSize();
        decompressor->zstd_space = lw_allocate(decompressor->memory, space);
        decompressor->zstd = ZSTD_initStaticDCtx(decompressor->zstd_space, space);
        LW_ASSERT(decompressor->zstd != NULL);
    }
    size_t made = ZSTD_decompressDCtx(decompressor->zstd, to, size, bytes.data, bytes.size);
    return !ZSTD_isError(made) && made == size;
}

bool lw_decompress(lw_decompressor *decompressor, lw_compression compression, lw_bytes bytes,
                   uint8_t *to, size_t size) {
    LW_ASSERT(size <= LW_BLOCK_SIZE_MAX && bytes.size <= LW_BLOCK_SIZE_MAX);
    if (compression == LW_COMPRESSION_ZSTD) {
        return decompress_zstd(decompressor, bytes, to, size);
    }
    if (compression != LW_COMPRESSION_LZ4) {
        return false;
    }
    int made =
        LZ4_decompress_safe((const char *)bytes.data, (char *)to, (int)bytes.size, (int)size);
    return made >= 0 && (size_t)made == size;
}
