/* SPDX-License-Identifier: Apache-2.0 */
/* The levels of a tree, as they are and as they should be: see levels.h. */
#include "storage/levels.h"

/* Of all entries, from which on a table is compacted for them: where nothing lies below it that
 * costs no more than the table; elsewhere they have to go down first. */
#define GARBAGE_AT_BOTTOM 0.25
#define GARBAGE_ABOVE     0.5

#define SCORE_LEAST 0.02 /* of a level with tables: for who wants everything compacted */
#define SCORE_DRAIN 1.01 /* of a level above the base level */

/* ---- sizes --------------------------------------------------------------------------------------
 */

static uint64_t size_below_level0(const lw_version *version) {
    uint64_t size = 0;
    for (uint32_t level = 1; level < LW_LEVEL_COUNT; level++) {
        size += lw_version_bytes(version, level);
    }
    return size;
}

/* The number whose `count`-th power is `product`, which is at least 1. */
static double root(double product, uint32_t count) {
    double low = 1, high = product;
    for (uint32_t step = 0; step < 40; step++) {
        double middle = (low + high) / 2, power = 1;
        for (uint32_t factor = 0; factor < count; factor++) {
            power *= middle;
        }
        *(power < product ? &low : &high) = middle;
    }
    return high;
}

/* Bytes that level 0 hands down at a time. */
static uint64_t batch_of(const lw_tuning *tuning) {
    uint64_t least = LW_BATCH_TABLES_MIN * tuning->table_size;
    if (tuning->steep) {
        return tuning->table_size;
    }
    return tuning->batch_size > least ? tuning->batch_size : least;
}

lw_levels lw_levels_of(const lw_version *version, const lw_tuning *tuning) {
    double most = tuning->steep ? LW_LEVEL_RATIO_STEEP : LW_LEVEL_RATIO;
    double batch = (double)batch_of(tuning);
    double size = (double)size_below_level0(version), room = batch * most;
    lw_levels levels = {.base = LW_LEVEL_LAST};
    while (room < size && levels.base > 1) {
        room *= most;
        levels.base--;
    }
    double ratio = size > batch ? root(size / batch, LW_LEVEL_COUNT - levels.base) : 1;
    for (uint32_t level = LW_LEVEL_LAST; level > levels.base; level--) {
        size /= ratio;
        levels.targets[level - 1] = (uint64_t)size;
    }
    return levels;
}

uint32_t lw_levels_output(const lw_version *version, const lw_levels *levels) {
    uint32_t level = 1;
    while (level < levels->base && lw_version_count(version, level) == 0) {
        level++;
    }
    return level;
}

/* ---- what can be dropped ------------------------------------------------------------------------
 */

double lw_table_garbage(const lw_table_file *file, uint64_t safepoint) {
    const lw_table_info *info = &file->info;
    uint64_t deletions = file->swept ? 0 : info->delete_count;
    uint64_t stale = safepoint == 0 ? 0 : lw_table_stale_at(info, safepoint);
    uint64_t stale_swept =
        file->swept && file->swept_at > 0 ? lw_table_stale_at(info, file->swept_at) : 0;
    uint64_t more = stale > stale_swept ? stale - stale_swept : 0;
    return (double)(deletions + more) / (double)info->entry_count;
}

bool lw_levels_below(const lw_version *version, uint32_t level, const lw_table_file *file) {
    for (level++; level < LW_LEVEL_COUNT; level++) {
        lw_table_file *const *files = lw_version_files(version, level);
        uint32_t count = lw_version_count(version, level);
        uint32_t index = lw_files_find(files, count, file->low);
        if (index < count && lw_table_files_overlap(files[index], file)) {
            return true;
        }
    }
    return false;
}

/* The table from which most can be dropped, if that is worth a step of its own. */
static void need_of_garbage(const lw_version *version, uint64_t safepoint, lw_need *need) {
    double most = 0;
    for (uint32_t level = 1; level < LW_LEVEL_COUNT; level++) {
        for (uint32_t index = 0; index < lw_version_count(version, level); index++) {
            lw_table_file *file = lw_version_files(version, level)[index];
            double part = lw_table_garbage(file, safepoint);
            double gain = part * (double)file->info.size;
            if (part < GARBAGE_AT_BOTTOM || gain <= most ||
                (part < GARBAGE_ABOVE && lw_levels_below(version, level, file))) {
                continue;
            }
            most = gain;
            need->score = 1;
            need->gather = false;
            need->level = level;
            need->file = file;
        }
    }
}

/* ---- what is needed -----------------------------------------------------------------------------
 */

/* Whether a merge with the base level would cost far more than level 0 brings: then its tables are
 * merged among themselves, which helps readers as much. */
static bool too_little(const lw_version *version, const lw_tuning *tuning,
                       const lw_levels *levels) {
    uint32_t level = lw_levels_output(version, levels);
    return lw_version_count(version, 0) > 1 &&
           (tuning->gather ||
            lw_version_bytes(version, 0) * LW_GATHER_RATIO < lw_version_bytes(version, level));
}

static double score_of_level0(const lw_version *version, const lw_tuning *tuning, bool *forced) {
    uint64_t entries = 0;
    double trigger = tuning->idle ? LW_LEVEL0_COMPACT_IDLE : LW_LEVEL0_COMPACT;
    double garbage = 0, score = (double)lw_version_depth(version) / trigger;
    for (uint32_t index = 0; index < lw_version_count(version, 0); index++) {
        const lw_table_file *file = lw_version_files(version, 0)[index];
        garbage += lw_table_garbage(file, tuning->safepoint) * (double)file->info.entry_count;
        entries += file->info.entry_count;
        *forced |= lw_levels_in_round(file, tuning);
    }
    double enough = size_below_level0(version) == 0 ? GARBAGE_AT_BOTTOM : GARBAGE_ABOVE;
    *forced |= entries > 0 && garbage > enough * (double)entries;
    return *forced && score < 1 ? 1 : score;
}

static double score_of_level(const lw_version *version, const lw_tuning *tuning,
                             const lw_levels *levels, uint32_t level, bool *forced) {
    if (lw_version_count(version, level) == 0 || level == LW_LEVEL_LAST) {
        return 0;
    }
    if (level == 0) {
        return score_of_level0(version, tuning, forced);
    }
    if (level < levels->base) {
        return SCORE_DRAIN;
    }
    double score = (double)lw_version_bytes(version, level) / (double)levels->targets[level];
    return score < SCORE_LEAST ? SCORE_LEAST : score;
}

/* What a level has too much is merged with so many times as much of the next one. */
static uint64_t debt_of_level(const lw_version *version, const lw_levels *levels, uint32_t level) {
    uint64_t size = lw_version_bytes(version, level), target = levels->targets[level];
    if (level < levels->base || size <= target) {
        return 0;
    }
    return (size - target) * (1 + lw_version_bytes(version, level + 1) / size);
}

/* What a byte costs on its way down: on each level its own, and its part of the level below. */
static double work_of(const lw_version *version, const lw_tuning *tuning, const lw_levels *levels) {
    uint32_t level = lw_levels_output(version, levels);
    double work = 1 + (double)lw_version_bytes(version, level) / (double)batch_of(tuning);
    for (; level < LW_LEVEL_LAST; level++) {
        double size = (double)lw_version_bytes(version, level);
        double ratio = size > 0 ? (double)lw_version_bytes(version, level + 1) / size : 0;
        work += 1 + (ratio < LW_LEVEL_RATIO ? ratio : LW_LEVEL_RATIO);
    }
    return work;
}

lw_need lw_levels_need(const lw_version *version, const lw_tuning *tuning) {
    lw_levels levels = lw_levels_of(version, tuning);
    lw_need need = {.score = 0, .work = work_of(version, tuning, &levels)};
    bool forced = false; /* level 0 has to go down */
    for (uint32_t level = 0; level < LW_LEVEL_LAST; level++) {
        double score = score_of_level(version, tuning, &levels, level, &forced);
        if (score > need.score) {
            need.score = score;
            need.level = level;
        }
        need.debt += level > 0 ? debt_of_level(version, &levels, level) : 0;
    }
    need.gather = need.level == 0 && !forced && (need.score >= 1 || tuning->gather) &&
                  too_little(version, tuning, &levels);
    if (need.score < 1) {
        need_of_garbage(version, tuning->safepoint, &need);
    }
    return need;
}
