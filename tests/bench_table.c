/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of the comparison: medians, ratios, aims, as a table and as JSON. */
#include "tests/bench_engines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct aim {
    const char *name, *work, *unit;
    double factors[BENCH_ENGINE_COUNT]; /* times the engine of that place; ours is the first */
    double limit;
} aim;

static const aim aims[BENCH_FIGURE_COUNT] = {
#define BENCH_AIM(figure, what, in, rocks, level, lmdb, most) \
    {.name = #figure, .work = what, .unit = in, .factors = {0, rocks, level, lmdb}, .limit = most},
    BENCH_FIGURES(BENCH_AIM)
#undef BENCH_AIM
};

/* ---- judging ----------------------------------------------------------------------------------
 */

/* Rates are the better the higher they are, everything else the lower. */
static bool is_rate(const aim *of) {
    return strstr(of->unit, "/s") != NULL;
}

static int ascending(const void *a, const void *b) {
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

/* What stands in the table: of turns, where one that is too long is one too many, the worst. */
static double summary(bench_figure figure, const bench_samples *samples) {
    double values[BENCH_ROUND_MAX];
    memcpy(values, samples->values, sizeof(values));
    qsort(values, samples->count, sizeof(double), ascending);
    if (figure == BENCH_TURN_FIBERS || figure == BENCH_TURN_LOOP) {
        return values[samples->count - 1];
    }
    uint32_t middle = samples->count / 2;
    return samples->count % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/* What is asked for in words, and what the figure has to reach; false if nothing is asked, or if
 * those to be held against are not there. */
static bool target_of(const bench_results *results, bench_figure figure, char *text, size_t size,
                      double *target) {
    const aim *of = &aims[figure];
    size_t used = 0;
    bool known = of->limit > 0;
    *target = of->limit;
    text[0] = 0;
    if (known) {
        snprintf(text, size, "at most %g", of->limit);
    }
    for (uint32_t engine = 1; engine < BENCH_ENGINE_COUNT; engine++) {
        double factor = of->factors[engine];
        const bench_samples *samples = &results->samples[figure][engine];
        if (factor <= 0) {
            continue;
        }
        used += (size_t)snprintf(text + used, used < size ? size - used : 0, "%s%g %s",
                                 used == 0 ? "" : ", ", factor, results->engines[engine]->name);
        if (samples->count > 0) {
            double reached = factor * summary(figure, samples);
            bool sharper = !known || (is_rate(of) ? reached > *target : reached < *target);
            *target = sharper ? reached : *target;
            known = true;
        }
    }
    return known;
}

typedef enum verdict { UNJUDGED, MET, MISSED } verdict;

static verdict judge(const bench_results *results, bench_figure figure, char *text, size_t size,
                     double *target) {
    const bench_samples *ours = &results->samples[figure][0];
    if (!target_of(results, figure, text, size, target) || ours->count == 0) {
        return UNJUDGED;
    }
    bool met = is_rate(&aims[figure]) ? summary(figure, ours) >= *target
                                      : summary(figure, ours) <= *target;
    return met ? MET : MISSED;
}

/* ---- the table --------------------------------------------------------------------------------
 */

/* Three significant digits. */
static void print_number(char *text, size_t size, double value) {
    int digits = value < 1 ? 3 : value < 10 ? 2 : value < 100 ? 1 : 0;
    snprintf(text, size, "%.*f", digits, value);
}

void bench_print_head(const bench_results *results) {
    double mib = 1 << 20;
    printf("%" PRIu64 " records of %d + %d bytes (half of a value is compressible): %.0f MB. "
           "%u round%s, engines alternated, medians.\n",
           results->record_count, BENCH_KEY_SIZE, BENCH_VALUE_SIZE,
           (double)(results->record_count * (BENCH_KEY_SIZE + BENCH_VALUE_SIZE)) / 1e6,
           (unsigned)results->rounds, results->rounds == 1 ? "" : "s");
    printf(
        "Memory of an engine, for blocks and for what is not yet in tables: %.0f MiB for writing "
        "(the data are four times that), %.0f MiB for hot reads, %.0f MiB for cold ones.\n",
        (double)results->memory_size / mib, (double)results->hot_memory_size / mib,
        (double)results->memory_size / 2 / mib);
    if (results->share != 100) {
        printf("Lathwork gets %u %% of that.\n", (unsigned)results->share);
    }
    printf("Every write is logged; only durable puts wait for the disk. Written bytes are those of "
           "/proc/self/io (write_bytes less cancelled_write_bytes).\n");
    printf("Cold reads: %s.\n", results->cold);
    for (uint32_t engine = 0; engine < BENCH_ENGINE_COUNT; engine++) {
        printf("%s: %s.\n", results->engines[engine]->name, results->engines[engine]->settings);
    }
    fflush(stdout);
}

static void print_row(const bench_results *results, bench_figure figure) {
    char text[128], number[32];
    double target = 0;
    const bench_samples *ours = &results->samples[figure][0];
    printf("| %s | %s |", aims[figure].work, aims[figure].unit);
    for (uint32_t engine = 0; engine < BENCH_ENGINE_COUNT; engine++) {
        const bench_samples *samples = &results->samples[figure][engine];
        if (samples->count == 0) {
            printf(" |");
            continue;
        }
        print_number(number, sizeof(number), summary(figure, samples));
        printf(" %s |", number);
    }
    for (uint32_t engine = 1; engine < BENCH_ENGINE_COUNT; engine++) {
        const bench_samples *samples = &results->samples[figure][engine];
        bool comparable = samples->count > 0 && ours->count > 0 && summary(figure, samples) > 0;
        if (comparable) {
            print_number(number, sizeof(number), summary(figure, ours) / summary(figure, samples));
        }
        printf(" %s |", comparable ? number : "");
    }
    verdict judged = judge(results, figure, text, sizeof(text), &target);
    print_number(number, sizeof(number), target);
    printf(" %s | %s%s%s |\n", text,
           judged == MET      ? "met"
           : judged == MISSED ? "missed ("
                              : "",
           judged == MISSED ? number : "", judged == MISSED ? ")" : "");
}

static bool is_measured(const bench_samples *of_engines) {
    bool measured = false;
    for (uint32_t engine = 0; engine < BENCH_ENGINE_COUNT; engine++) {
        measured |= of_engines[engine].count > 0;
    }
    return measured;
}

/* What an operation costs the machine, which tells the same on a busy one. */
static void print_processor(const bench_results *results) {
    char number[32];
    printf("\nProcessor time of an operation (of a record, when opening), in microseconds, of all "
           "threads "
           "of the process:\n\n| "
           " |");
    for (uint32_t engine = 0; engine < BENCH_ENGINE_COUNT; engine++) {
        printf(" %s |", results->engines[engine]->name);
    }
    printf("\n|---|---|---|---|---|\n");
    for (bench_figure figure = 0; figure < BENCH_FIGURE_COUNT; figure++) {
        if (!is_measured(results->processor[figure])) {
            continue;
        }
        printf("| %s |", aims[figure].work);
        for (uint32_t engine = 0; engine < BENCH_ENGINE_COUNT; engine++) {
            const bench_samples *samples = &results->processor[figure][engine];
            number[0] = 0;
            if (samples->count > 0) {
                print_number(number, sizeof(number), summary(figure, samples));
            }
            printf(" %s |", number);
        }
        printf("\n");
    }
}

void bench_print_table(const bench_results *results) {
    const bench_engine *const *engines = results->engines;
    printf("\n| work | unit | %s | %s | %s | %s | ÷ %s | ÷ %s | ÷ %s | aim | |\n", engines[0]->name,
           engines[1]->name, engines[2]->name, engines[3]->name, engines[1]->name, engines[2]->name,
           engines[3]->name);
    printf("|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (bench_figure figure = 0; figure < BENCH_FIGURE_COUNT; figure++) {
        if (is_measured(results->samples[figure])) {
            print_row(results, figure);
        }
    }
    print_processor(results);
    fflush(stdout);
}

/* ---- JSON -------------------------------------------------------------------------------------
 */

static void write_samples(FILE *file, bench_figure figure, const bench_samples *samples,
                          const bench_samples *processor) {
    fprintf(file, "{\"median\": %g, ", summary(figure, samples));
    if (processor->count > 0) {
        fprintf(file, "\"processor_us\": %g, ", summary(figure, processor));
    }
    fprintf(file, "\"rounds\": [");
    for (uint32_t round = 0; round < samples->count; round++) {
        fprintf(file, "%s%g", round == 0 ? "" : ", ", samples->values[round]);
    }
    fprintf(file, "]}");
}

static void write_figure(FILE *file, const bench_results *results, bench_figure figure) {
    static const char *const words[] = {"not judged", "met", "missed"};
    char text[128];
    double target = 0;
    verdict judged = judge(results, figure, text, sizeof(text), &target);
    fprintf(file, "    {\"name\": \"%s\", \"work\": \"%s\", \"unit\": \"%s\",\n", aims[figure].name,
            aims[figure].work + strspn(aims[figure].work, " "), aims[figure].unit);
    fprintf(file, "     \"engines\": {");
    bool first = true;
    for (uint32_t engine = 0; engine < BENCH_ENGINE_COUNT; engine++) {
        if (results->samples[figure][engine].count > 0) {
            fprintf(file, "%s\"%s\": ", first ? "" : ", ", results->engines[engine]->name);
            write_samples(file, figure, &results->samples[figure][engine],
                          &results->processor[figure][engine]);
            first = false;
        }
    }
    fprintf(file, "},\n     \"aim\": \"%s\", \"target\": %g, \"verdict\": \"%s\"}", text, target,
            words[judged]);
}

bool bench_write_json(const bench_results *results, const char *path) {
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return false;
    }
    fprintf(file,
            "{\"records\": %" PRIu64 ", \"key_size\": %d, \"value_size\": %d, \"rounds\": %u,\n"
            " \"memory_size\": %" PRIu64 ", \"hot_memory_size\": %" PRIu64 ",\n"
            " \"cold\": \"%s\",\n  \"figures\": [\n",
            results->record_count, BENCH_KEY_SIZE, BENCH_VALUE_SIZE, (unsigned)results->rounds,
            results->memory_size, results->hot_memory_size, results->cold);
    for (bench_figure figure = 0; figure < BENCH_FIGURE_COUNT; figure++) {
        write_figure(file, results, figure);
        fprintf(file, figure + 1 < BENCH_FIGURE_COUNT ? ",\n" : "\n");
    }
    fprintf(file, "  ]}\n");
    return fclose(file) == 0;
}
