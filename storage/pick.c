/* SPDX-License-Identifier: Apache-2.0 */
/* What a compaction is to do: see compaction.h. */
#include "storage/compaction.h"

double lw_compaction_score(const lw_version *version, uint32_t level, uint64_t table_size) {
    if (level == 0) {
        return (double)lw_version_depth(version) / LW_LEVEL0_COMPACT;
    }
    if (level == LW_LEVEL_COUNT - 1) {
        return 0; /* there is no level below */
    }
    double limit = LW_LEVEL1_TABLES * (double)table_size;
    for (uint32_t above = 1; above < level; above++) {
        limit *= LW_LEVEL_RATIO;
    }
    return (double)lw_version_bytes(version, level) / limit;
}

uint32_t lw_compaction_level(const lw_version *version, uint64_t table_size, double *score) {
    uint32_t most = 0;
    *score = 0;
    for (uint32_t level = 0; level < LW_LEVEL_COUNT; level++) {
        double level_score = lw_compaction_score(version, level, table_size);
        if (level_score > *score) {
            *score = level_score;
            most = level;
        }
    }
    return most;
}

/* ---- gathering ----------------------------------------------------------------------------------
 */

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

static void add_level0(lw_compaction *compaction, const lw_version *version) {
    for (uint32_t index = 0; index < lw_version_count(version, 0); index++) {
        add_input(compaction, lw_version_files(version, 0)[index]);
        end_run(compaction);
    }
}

/* The table whose turn it is: the first that begins behind where the last one ended, else the first
 * of all. */
static lw_table_file *next_in_turn(const lw_version *version, uint32_t level, lw_bytes turn) {
    lw_table_file *const *files = lw_version_files(version, level);
    for (uint32_t index = 0; index < lw_version_count(version, level) && turn.size > 0; index++) {
        if (lw_compare(files[index]->low, turn) > 0) {
            return files[index];
        }
    }
    return files[0];
}

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

/* Whether the inputs could stand in the output level just as they are. */
static bool may_move(const lw_compaction *compaction, const lw_version *version) {
    lw_table_file *const *below = lw_version_files(version, compaction->output_level);
    uint32_t below_count = lw_version_count(version, compaction->output_level);
    for (uint32_t index = 0; index < compaction->input_count; index++) {
        const lw_table_file *input = compaction->inputs[index];
        uint32_t at = lw_files_find(below, below_count, input->low);
        if (at < below_count && lw_table_files_overlap(below[at], input)) {
            return false;
        }
    }
    return inputs_disjoint(compaction);
}

/* Adds the tables of the output level between the lowest and the highest key of the inputs, also
 * those that no input overlaps: an output may begin before such a gap and end behind it. */
static void add_below(lw_compaction *compaction, const lw_version *version) {
    lw_bytes low = compaction->inputs[0]->low, high = compaction->inputs[0]->high;
    for (uint32_t index = 1; index < compaction->input_count; index++) {
        const lw_table_file *input = compaction->inputs[index];
        low = lw_compare(input->low, low) < 0 ? input->low : low;
        high = lw_compare(input->high, high) > 0 ? input->high : high;
    }
    for (uint32_t index = 0; index < lw_version_count(version, compaction->output_level); index++) {
        lw_table_file *below = lw_version_files(version, compaction->output_level)[index];
        if (lw_table_file_overlaps(below, &low, &high)) {
            add_input(compaction, below);
        }
    }
    end_run(compaction);
}

lw_compaction lw_compaction_of_level(lw_memory *memory, const lw_version *version, uint32_t level,
                                     lw_bytes turn) {
    lw_compaction compaction = compaction_in(memory, version);
    LW_ASSERT(level + 1 < LW_LEVEL_COUNT);
    LW_ASSERT(lw_version_count(version, level) > 0);
    compaction.output_level = level + 1;
    if (level == 0) {
        add_level0(&compaction, version);
    } else {
        add_input(&compaction, next_in_turn(version, level, turn));
        end_run(&compaction);
    }
    compaction.move = may_move(&compaction, version);
    if (!compaction.move) {
        add_below(&compaction, version);
    }
    return compaction;
}

lw_compaction lw_compaction_of_all(lw_memory *memory, const lw_version *version) {
    lw_compaction compaction = compaction_in(memory, version);
    compaction.output_level = 1;
    add_level0(&compaction, version);
    for (uint32_t level = 1; level < LW_LEVEL_COUNT; level++) {
        for (uint32_t index = 0; index < lw_version_count(version, level); index++) {
            add_input(&compaction, lw_version_files(version, level)[index]);
            compaction.output_level = level;
        }
        end_run(&compaction);
    }
    return compaction;
}
