/* SPDX-License-Identifier: Apache-2.0 */
/* What a step of compaction is to do: see compaction.h. */
#include "storage/compaction.h"

static lw_compaction compaction_in(lw_memory *memory, const lw_version *version) {
    uint32_t file_count = version->level_start[LW_LEVEL_COUNT];
    return (lw_compaction){
        .memory = memory,
        .inputs = lw_allocate(memory, file_count * sizeof(lw_table_file *)),
        .run_ends = lw_allocate(memory, file_count * sizeof(uint32_t)),
    };
}

void lw_compaction_reset(lw_compaction *compaction) {
    lw_free(compaction->memory, compaction->inputs);
    lw_free(compaction->memory, compaction->run_ends);
    lw_free(compaction->memory, (void *)(uintptr_t)compaction->upper.data);
    *compaction = (lw_compaction){0};
}

static void add_input(lw_compaction *compaction, lw_table_file *file) {
    compaction->inputs[compaction->input_count++] = file;
}

static void end_run(lw_compaction *compaction) {
    uint32_t start =
        compaction->run_count == 0 ? 0 : compaction->run_ends[compaction->run_count - 1];
    if (compaction->input_count > start) {
        compaction->run_ends[compaction->run_count++] = compaction->input_count;
    }
}

/* ---- moving -------------------------------------------------------------------------------------
 */

static bool inputs_disjoint(const lw_compaction *compaction) {
    for (uint32_t index = 0; index < compaction->input_count; index++) {
        for (uint32_t other = index + 1; other < compaction->input_count; other++) {
            if (lw_table_files_overlap(compaction->inputs[index], compaction->inputs[other])) {
                return false;
            }
        }
    }
    return true;
}

/* Whether the inputs could stand in the output level just as they are. One with something to drop
 * is rewritten where it comes to the bottom: there would be no other occasion. */
static bool may_move(const lw_compaction *compaction, const lw_version *version,
                     uint64_t safepoint) {
    uint32_t level = compaction->output_level;
    lw_table_file *const *below = lw_version_files(version, level);
    uint32_t below_count = lw_version_count(version, level);
    for (uint32_t index = 0; index < compaction->input_count; index++) {
        const lw_table_file *input = compaction->inputs[index];
        uint32_t at = lw_files_find(below, below_count, input->low);
        bool overlaps = at < below_count && lw_table_files_overlap(below[at], input);
        if (overlaps ||
            (lw_table_garbage(input, safepoint) > 0 && !lw_levels_below(version, level, input))) {
            return false;
        }
    }
    return inputs_disjoint(compaction);
}

/* Adds what P4 says. */
static void add_below(lw_compaction *compaction, const lw_version *version) {
    lw_bytes low = compaction->inputs[0]->low, high = compaction->inputs[0]->high;
    for (uint32_t index = 1; index < compaction->input_count; index++) {
        const lw_table_file *input = compaction->inputs[index];
        low = lw_compare(input->low, low) < 0 ? input->low : low;
        high = lw_compare(input->high, high) > 0 ? input->high : high;
    }
    bool sliced = compaction->upper.size > 0 && lw_compare(compaction->upper, high) <= 0;
    for (uint32_t index = 0; index < lw_version_count(version, compaction->output_level); index++) {
        lw_table_file *below = lw_version_files(version, compaction->output_level)[index];
        bool behind = sliced && lw_compare(below->low, compaction->upper) >= 0;
        if (!behind && lw_table_file_overlaps(below, &low, &high)) {
            add_input(compaction, below);
        }
    }
    end_run(compaction);
}

/* ---- level 0 ------------------------------------------------------------------------------------
 */

/* Adds all of it, newest first. */
static void add_runs_of_level0(lw_compaction *compaction, const lw_version *version) {
    for (uint32_t index = 0; index < lw_version_count(version, 0); index++) {
        add_input(compaction, lw_version_files(version, 0)[index]);
        end_run(compaction);
    }
}

/* Where the filter part of `key` begins, if that is a bound of it (P3). */
static lw_bytes part_of(lw_filter_part filter_part, lw_bytes key) {
    if (filter_part == NULL) {
        return key;
    }
    lw_bytes part = lw_view(key.data, filter_part(key));
    return part.size > 0 && filter_part(part) == part.size ? part : key;
}

/* The upper bound of a slice that begins with `low`: behind some tables of the base level. Size 0
 * if there are no more. */
static lw_bytes slice_end(const lw_version *version, uint32_t level, lw_bytes low, lw_bytes high,
                          const lw_tuning *tuning, lw_filter_part filter_part) {
    lw_table_file *const *files = lw_version_files(version, level);
    uint32_t count = lw_version_count(version, level);
    uint64_t size = 0;
    for (uint32_t index = lw_files_find(files, count, low); index < count; index++) {
        lw_bytes bound = part_of(filter_part, files[index]->low);
        if (lw_compare(bound, high) > 0) {
            break;
        }
        if (size >= tuning->slice_size && lw_compare(bound, low) > 0) {
            return bound;
        }
        size += files[index]->info.size;
    }
    return lw_view(NULL, 0);
}

/* Adds the tables of level 0 that are in the round, newest first, as far as the slice goes. */
static void add_level0(lw_compaction *compaction, const lw_version *version,
                       const lw_tuning *tuning, lw_filter_part filter_part) {
    lw_table_file *const *files = lw_version_files(version, 0);
    const lw_bytes *low = NULL, *high = NULL;
    for (uint32_t index = 0; index < lw_version_count(version, 0); index++) {
        if (lw_levels_in_round(files[index], tuning)) {
            low = low == NULL || lw_compare(files[index]->low, *low) < 0 ? &files[index]->low : low;
            high = high == NULL || lw_compare(files[index]->high, *high) > 0 ? &files[index]->high
                                                                             : high;
        }
    }
    LW_ASSERT(low != NULL);
    lw_bytes upper = slice_end(version, compaction->output_level, *low, *high, tuning, filter_part);
    compaction->upper = lw_copy(compaction->memory, upper);
    for (uint32_t index = 0; index < lw_version_count(version, 0); index++) {
        bool behind = upper.size > 0 && lw_compare(files[index]->low, upper) >= 0;
        if (lw_levels_in_round(files[index], tuning) && !behind) {
            add_input(compaction, files[index]);
            end_run(compaction);
        }
    }
    compaction->sliced_count = upper.size > 0 ? compaction->input_count : 0;
}

/* ---- levels below -------------------------------------------------------------------------------
 */

/* Bytes of the tables of the next level that a table overlaps. */
static uint64_t overlap_below(const lw_version *version, uint32_t level,
                              const lw_table_file *file) {
    lw_table_file *const *files = lw_version_files(version, level + 1);
    uint32_t count = lw_version_count(version, level + 1);
    uint64_t size = 0;
    for (uint32_t index = lw_files_find(files, count, file->low);
         index < count && lw_table_files_overlap(files[index], file); index++) {
        size += files[index]->info.size;
    }
    return size;
}

/* The table that costs least to bring down, for what it brings and for what can be dropped of it.
 */
static lw_table_file *cheapest(const lw_version *version, uint32_t level, uint64_t safepoint) {
    lw_table_file *best = NULL;
    double best_cost = 0;
    for (uint32_t index = 0; index < lw_version_count(version, level); index++) {
        lw_table_file *file = lw_version_files(version, level)[index];
        double size = (double)file->info.size;
        double gain = size * (1 + 2 * lw_table_garbage(file, safepoint));
        double cost = ((double)overlap_below(version, level, file) + size) / gain;
        if (best == NULL || cost < best_cost) {
            best = file;
            best_cost = cost;
        }
    }
    return best;
}

/* ---- steps --------------------------------------------------------------------------------------
 */

lw_compaction lw_compaction_of_need(lw_memory *memory, const lw_version *version,
                                    const lw_need *need, const lw_tuning *tuning,
                                    lw_filter_part filter_part) {
    lw_compaction compaction = compaction_in(memory, version);
    uint32_t level = need->level;
    LW_ASSERT(lw_version_count(version, level) > 0);
    if (need->gather) {
        add_runs_of_level0(&compaction, version);
        return compaction;
    }
    if (level == 0) {
        lw_levels levels = lw_levels_of(version, tuning);
        compaction.output_level = lw_levels_output(version, &levels);
        add_level0(&compaction, version, tuning, filter_part);
    } else {
        lw_table_file *file =
            need->file != NULL ? need->file : cheapest(version, level, tuning->safepoint);
        bool in_place = need->file != NULL && !lw_levels_below(version, level, file);
        compaction.output_level = in_place ? level : level + 1;
        add_input(&compaction, file);
        end_run(&compaction);
        if (in_place) {
            return compaction;
        }
    }
    LW_ASSERT(compaction.output_level < LW_LEVEL_COUNT);
    compaction.move =
        compaction.upper.size == 0 && may_move(&compaction, version, tuning->safepoint);
    if (!compaction.move) {
        add_below(&compaction, version);
    }
    return compaction;
}

lw_compaction lw_compaction_of_all(lw_memory *memory, const lw_version *version) {
    lw_compaction compaction = compaction_in(memory, version);
    uint32_t last = lw_version_last_level(version);
    compaction.output_level = last > 0 ? last : LW_LEVEL_LAST;
    add_runs_of_level0(&compaction, version);
    for (uint32_t level = 1; level < LW_LEVEL_COUNT; level++) {
        for (uint32_t index = 0; index < lw_version_count(version, level); index++) {
            add_input(&compaction, lw_version_files(version, level)[index]);
        }
        end_run(&compaction);
    }
    return compaction;
}
