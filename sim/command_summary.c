/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of `lathwork sim`. */
#include "sim/command_private.h"

#include <inttypes.h>

enum { LINE_SIZE = 96, FAULTS_INDENT = 12 };

static bool is_fault(const char *name) {
    return strncmp(name, "fault.", strlen("fault.")) == 0;
}

/* ---- as text -------------------------------------------------------------------------------- */

/* "crash 12, pause 3", on as many lines as it takes. */
typedef struct fault_lines {
    lw_buffer *text;
    size_t line_size;
    uint64_t kinds;
} fault_lines;

static void print_fault(void *argument, const char *name, uint64_t count) {
    fault_lines *lines = argument;
    if (!is_fault(name) || count == 0) {
        return;
    }
    char item[64];
    int size = snprintf(item, sizeof(item), "%s %" PRIu64, name + strlen("fault."), count);
    if (lines->kinds > 0) {
        lw_buffer_print(lines->text, ",");
        lines->line_size++;
    }
    if (lines->line_size + (size_t)size + 2 > LINE_SIZE) {
        lw_buffer_print(lines->text, "\n%*s%s", FAULTS_INDENT, "", item);
        lines->line_size = FAULTS_INDENT + (size_t)size;
    } else {
        lw_buffer_print(lines->text, "%s%s", lines->kinds > 0 ? " " : "", item);
        lines->line_size += (size_t)size + (lines->kinds > 0);
    }
    lines->kinds++;
}

static void print_text(const lw_sim_tally *all, double seconds, lw_buffer *text) {
    double simulated = (double)all->virtual_ns / 1e9;
    lw_buffer_print(
        text,
        "runs        %" PRIu64 " (%" PRIu64 " failed, %" PRIu64 " ended by damage that was found)\n"
        "violations  %" PRIu64 "\n"
        "simulated   %.2f h, %.0f s per real second%s\n"
        "boots       %" PRIu64 "\n"
        "commits     %" PRIu64 " acknowledged, %" PRIu64 " refused, %" PRIu64 " in doubt\n",
        all->runs, all->failed_runs, all->damaged_runs, all->violations, simulated / 3600,
        simulated * (all->once ? 1 : 2) / seconds, all->once ? "" : " (each seed twice)",
        all->boots, all->committed, all->failed, all->in_doubt);
    lw_buffer_print(text,
                    "healing     after at most %" PRIu64 " ms commits went on, after %" PRIu64
                    " every client, after %" PRIu64 " several nodes were at one\n",
                    all->resumed_ms, all->lively_ms, all->converged_ms);
    if (all->user == NULL) {
        lw_buffer_print(text,
                        "skew        %" PRIu64
                        " constraints seen broken at snapshot isolation, which allows it\n",
                        all->broken_constraints);
    }
    fault_lines lines = {.text = text, .line_size = FAULTS_INDENT};
    lw_buffer_print(text, "faults      ");
    lw_coverage_each(all->coverage, print_fault, &lines);
    lw_buffer_print(text, "%s\n", lines.kinds == 0 ? "none" : "");
    lw_coverage_print(all->coverage, all->list_marks, text);
    if (all->only == NULL && all->user == NULL) {
        lw_coverage_print_gaps(all->coverage, text);
    }
}

/* ---- as JSON -------------------------------------------------------------------------------- */

typedef struct mark_counts {
    lw_json *json;
    bool faults; /* these only; else all others */
    uint64_t known, reached;
} mark_counts;

static void print_mark(void *argument, const char *name, uint64_t count) {
    mark_counts *counts = argument;
    if (is_fault(name) != counts->faults) {
        return;
    }
    lw_json_number(counts->json, counts->faults ? name + strlen("fault.") : name, count);
    counts->known++;
    counts->reached += count > 0;
}

static void print_json(const lw_sim_tally *all, double seconds, lw_buffer *text) {
    lw_json json = lw_json_to(text);
    lw_json_object_open(&json, NULL);
    lw_json_number(&json, "runs", all->runs);
    lw_json_number(&json, "failed_runs", all->failed_runs);
    lw_json_number(&json, "damaged_runs", all->damaged_runs);
    lw_json_number(&json, "violations", all->violations);
    lw_json_number(&json, "boots", all->boots);
    lw_json_number(&json, "committed", all->committed);
    lw_json_number(&json, "refused", all->failed);
    lw_json_number(&json, "in_doubt", all->in_doubt);
    lw_json_number(&json, "broken_constraints", all->broken_constraints);
    lw_json_number(&json, "resumed_ms_max", all->resumed_ms);
    lw_json_number(&json, "lively_ms_max", all->lively_ms);
    lw_json_number(&json, "converged_ms_max", all->converged_ms);
    lw_json_number(&json, "simulated_ms", all->virtual_ns / 1000000);
    lw_json_number(&json, "real_ms", (uint64_t)(seconds * 1000));
    mark_counts faults = {.json = &json, .faults = true}, marks = {.json = &json};
    lw_json_object_open(&json, "faults");
    lw_coverage_each(all->coverage, print_mark, &faults);
    lw_json_object_close(&json);
    lw_json_object_open(&json, "marks");
    lw_coverage_each(all->coverage, print_mark, &marks);
    lw_json_object_close(&json);
    lw_json_number(&json, "marks_known", marks.known);
    lw_json_number(&json, "marks_reached", marks.reached);
    lw_buffer missing = lw_buffer_in(all->memory);
    (void)lw_coverage_missing(all->coverage, &missing);
    lw_json_array_open(&json, "marks_never_reached"); /* but those that no run can reach */
    for (size_t begin = 0; begin < missing.size;) {
        const uint8_t *line = missing.data + begin;
        size_t size = (size_t)((const uint8_t *)memchr(line, '\n', missing.size - begin) - line);
        const uint8_t *name = memchr(line, ':', size);
        size_t before = name == NULL ? 0 : (size_t)(name - line) + 2;
        lw_json_text(&json, NULL, lw_view(line + before, size - before));
        begin += size + 1;
    }
    lw_json_array_close(&json);
    lw_buffer_reset(&missing);
    lw_json_array_open(&json, "failures");
    for (size_t index = 0; index < all->failure_count; index++) {
        lw_sim_failure_json(&all->failures[index], &json);
    }
    lw_json_array_close(&json);
    lw_json_object_close(&json);
    lw_buffer_append_u8(text, '\n');
}

void lw_sim_summarize(const lw_sim_tally *all, lw_buffer *text) {
    double seconds = lw_sim_real_seconds() - all->began;
    (all->command->json ? print_json : print_text)(all, seconds, text);
}
