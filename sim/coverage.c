/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/coverage.h"

#include <inttypes.h>
#include <stdlib.h>

enum { LINE_SIZE = 96, HEAD_SIZE = 12, SELDOM = 5 /* times at most */ };

/* Marks of what no scenario has, and the tests of what they mark: impostors and people who copy
 * folders, handles that run out (who asks for that fault by name makes nodes fail to start),
 * replicas that differ (a planted bug makes them), damage to all copies at once (a scenario leaves
 * one whole); and what takes so much luck that thousands of seeds may not have it. */
static const struct {
    const char *name, *test;
} beyond[] = {
    {"client.two_addresses_of_a_node", "test_client_lattice"},
    {"env.port_taken", "test_env_sockets"},
    {"env.short_of_handles", "test_memory"},
    {"lattice.copied", "test_lattice.sh"},
    {"lattice.expelled", "test_lattice.sh"},
    {"log.gap_closed", "test_log"},
    {"log.short", "test_memory"},
    {"peers.old_incarnation", "test_peers_admission"},
    {"peers.too_many_strangers", "test_peers_hostile"},
    {"server.connection_refused", "test_server"},
    {"replica.commit_overtaken", "test_remote_commit"},
    {"replica.orphaned_prewrite", "test_replica"},
    {"shards.beneath_dropped", "test_merge_group"},
    {"shards.damaged_at_start", "test_headless"},
    {"shards.difference_found", "test_differ"},
    {"shards.halted_without_majority", "test_differ"},
    {"shards.headless_buried", "test_headless"},
    {"shards.left_behind_comes_anew", "test_differ"},
    {"shards.majority_goes_on", "test_differ"},
    {"shards.merge_meets_full_disk", "test_merge"},
    {"shards.minority_repairs", "test_differ"},
    {"shards.nowhere_whole", "test_repair"},
    {"shards.parent_of_left_is_here", "test_merge_group"},
    {"shards.part_is_missing", "test_merge_group"},
    {"shards.replica_thrown_away", "test_differ"},
    {"shards.snapshot_overlaps", "test_merge_group"},
    {"shards.still_halted", "test_differ"},
    {"shards.whole_after_all", "test_repair"},
    {"store.memory_held", "test_store"},
    {"store.short", "test_memory"},
    {"store.table_closed_for_another", "test_memory"},
    {"timestamps.oracle_leads", "test_timestamps"},
    {"txn.locked_after_commit", "test_evaluate"},
    {"txn.rollback_of_committed", "test_evaluate"},
    {"value.garbage_met_full_disk", "test_values"},
    {"value.unreadable_left", "test_values"},
};

typedef struct entry {
    lw_map_node node;
    const char *name;
    lw_place_kind kind;
    bool fault; /* not a place of the code; what is neither is a user's */
    bool placed;
    uint64_t count;
} entry;

struct lw_coverage {
    lw_memory *memory;
    lw_map by_name;
};

static entry *take(lw_coverage *coverage, const char *name, lw_place_kind kind) {
    uint64_t hash = lw_hash(0, lw_text(name));
    lw_map_node *node = lw_map_first(&coverage->by_name, hash);
    while (node != NULL && strcmp(LW_MAP_ENTRY(node, entry, node)->name, name) != 0) {
        node = lw_map_next(node);
    }
    if (node != NULL) {
        return LW_MAP_ENTRY(node, entry, node);
    }
    entry *added = lw_allocate_zero(coverage->memory, sizeof(*added));
    added->name = name;
    added->kind = kind;
    added->fault = strncmp(name, "fault.", strlen("fault.")) == 0;
    lw_map_insert(&coverage->by_name, &added->node, hash);
    return added;
}

lw_coverage *lw_coverage_open(lw_memory *memory) {
    lw_coverage *coverage = lw_allocate_zero(memory, sizeof(*coverage));
    coverage->memory = memory;
    coverage->by_name = lw_map_in(memory);
    static const lw_place_kind kinds[] = {LW_PLACE_MARK, LW_PLACE_RARE};
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        size_t count = 0;
        const char **names = lw_place_names(memory, kinds[kind], &count);
        for (size_t index = 0; index < count; index++) {
            take(coverage, names[index], kinds[kind])->placed = true;
        }
        lw_free(memory, names);
    }
    return coverage;
}

/* Names are constants: of the program, or of the list of faults. */
void lw_coverage_add(void *coverage, const lw_mark *mark) {
    if (mark->count > 0) {
        take(coverage, mark->name, mark->kind)->count += mark->count;
    }
}

static int by_text(const void *one, const void *other) {
    return strcmp((*(const entry *const *)one)->name, (*(const entry *const *)other)->name);
}

/* All of them, sorted; freed with lw_free. */
static entry **sorted(const lw_coverage *coverage) {
    const lw_map *map = &coverage->by_name;
    entry **all = lw_allocate(coverage->memory, map->count * sizeof(*all));
    size_t found = 0;
    for (uint32_t index = 0; index < map->bucket_count; index++) {
        for (lw_map_node *node = map->buckets[index]; node != NULL; node = node->next) {
            all[found++] = LW_MAP_ENTRY(node, entry, node);
        }
    }
    qsort(all, found, sizeof(*all), by_text);
    return all;
}

void lw_coverage_each(const lw_coverage *coverage,
                      void (*function)(void *argument, const char *name, uint64_t count),
                      void *argument) {
    entry **all = sorted(coverage);
    for (uint32_t index = 0; index < coverage->by_name.count; index++) {
        function(argument, all[index]->name, all[index]->count);
    }
    lw_free(coverage->memory, all);
}

/* The test of what no run reaches; NULL: runs do. */
static const char *test_beyond(const char *name) {
    for (size_t index = 0; index < sizeof(beyond) / sizeof(beyond[0]); index++) {
        if (strcmp(beyond[index].name, name) == 0) {
            return beyond[index].test;
        }
    }
    return NULL;
}

size_t lw_coverage_missing(const lw_coverage *coverage, lw_buffer *names) {
    entry **all = sorted(coverage);
    size_t missing = 0;
    for (uint32_t index = 0; index < coverage->by_name.count; index++) {
        const entry *each = all[index];
        if (each->count == 0 && test_beyond(each->name) == NULL) {
            missing++;
            lw_buffer_print(names, "never reached: %s\n", each->name);
        }
    }
    lw_free(coverage->memory, all);
    return missing;
}

size_t lw_coverage_reached(const lw_coverage *coverage, lw_place_kind kind) {
    entry **all = sorted(coverage);
    size_t reached = 0;
    for (uint32_t index = 0; index < coverage->by_name.count; index++) {
        const entry *each = all[index];
        reached += each->placed && each->kind == kind && each->count > 0;
    }
    lw_free(coverage->memory, all);
    return reached;
}

void lw_coverage_print(const lw_coverage *coverage, bool whole, lw_buffer *text) {
    entry **all = sorted(coverage);
    size_t reached[2] = {0}, known[2] = {0}, faults = 0;
    for (uint32_t index = 0; index < coverage->by_name.count; index++) {
        const entry *each = all[index];
        size_t kind = each->kind == LW_PLACE_RARE;
        faults += each->fault;
        known[kind] += each->placed;
        reached[kind] += each->placed && each->count > 0;
    }
    lw_buffer_print(text,
                    "marks       %zu of %zu reached, %zu of %zu rare paths, %zu kinds of faults\n",
                    reached[0], known[0], reached[1], known[1], faults);
    for (uint32_t index = 0; index < coverage->by_name.count; index++) {
        const entry *each = all[index];
        if (!whole && (each->placed || each->fault)) {
            continue;
        }
        const char *test = each->count == 0 ? test_beyond(each->name) : NULL;
        lw_buffer_print(text, "  %-40s %" PRIu64 "%s%s%s\n", each->name, each->count,
                        each->kind == LW_PLACE_RARE ? "  rare path" : "",
                        test != NULL ? "  in no run, but in " : "", test != NULL ? test : "");
    }
    lw_free(coverage->memory, all);
}

/* ---- gaps ----------------------------------------------------------------------------------- */

typedef enum gap { GAP_NONE, GAP_NEVER, GAP_SELDOM, GAP_ELSEWHERE } gap;

static gap gap_of(const entry *each) {
    if (!each->placed) {
        return GAP_NONE;
    }
    if (each->count == 0) {
        return test_beyond(each->name) != NULL ? GAP_ELSEWHERE : GAP_NEVER;
    }
    return each->count <= SELDOM ? GAP_SELDOM : GAP_NONE;
}

static void print_gap(entry *const *all, uint32_t count, gap wanted, const char *head,
                      lw_buffer *text) {
    size_t line_begin = text->size, found = 0;
    for (uint32_t index = 0; index < count; index++) {
        const entry *each = all[index];
        if (gap_of(each) != wanted) {
            continue;
        }
        char item[120];
        int size = wanted == GAP_SELDOM
                       ? snprintf(item, sizeof(item), "%s %" PRIu64, each->name, each->count)
                   : wanted == GAP_ELSEWHERE ? snprintf(item, sizeof(item), "%s (%s)", each->name,
                                                        test_beyond(each->name))
                                             : snprintf(item, sizeof(item), "%s", each->name);
        bool full = text->size - line_begin + (size_t)size + 2 > LINE_SIZE;
        if (found == 0 || full) {
            lw_buffer_print(text, "%s", found == 0 ? "" : ",\n");
            line_begin = text->size;
            lw_buffer_print(text, "%-*s%s", (int)HEAD_SIZE, found == 0 ? head : "", item);
        } else {
            lw_buffer_print(text, ", %s", item);
        }
        found++;
    }
    if (found > 0) {
        lw_buffer_append_u8(text, '\n');
    }
}

void lw_coverage_print_gaps(const lw_coverage *coverage, lw_buffer *text) {
    entry **all = sorted(coverage);
    uint32_t count = coverage->by_name.count;
    print_gap(all, count, GAP_NEVER, "never", text);
    print_gap(all, count, GAP_SELDOM, "seldom", text);
    print_gap(all, count, GAP_ELSEWHERE, "in tests", text);
    lw_free(coverage->memory, all);
}
