/* SPDX-License-Identifier: Apache-2.0 */
/* A table in a world of its own, and every way to walk it against a sorted array. */
#ifndef LW_TESTS_TABLE_WORLD_H
#define LW_TESTS_TABLE_WORLD_H

#include "storage/table_file.h"
#include "tests/memory_world.h"
#include "tests/sorted_entries.h"

/* A finished table in a world of its own. */
typedef struct fixture {
    memory_world *world;
    lw_env *env;
    lw_memory *memory;
    lw_arena arena;
    lw_cache *cache;
    lw_table_info info;
    lw_table *table;
} fixture;

static inline void assert_ok(lw_status status) {
    if (status != LW_OK) {
        fail_msg("%s: %s", lw_status_name(status), lw_error_slot()->text);
    }
}

static inline fixture fixture_open(size_t cache_budget) {
    fixture made = {.world = memory_world_open()};
    made.env = &made.world->env;
    made.memory = lw_memory_open();
    made.arena = lw_arena_in(made.memory);
    lw_budget *budget = lw_budget_make(made.memory, cache_budget);
    made.cache = lw_cache_open(made.memory, budget);
    lw_budget_release(budget);
    return made;
}

static inline void fixture_close(fixture *of) {
    if (of->table != NULL) {
        lw_table_close(of->table);
    }
    lw_cache_figures figures;
    lw_cache_figures_get(of->cache, &figures);
    assert_int_equal(figures.pinned, 0);
    assert_int_equal(lw_cache_budget(of->cache)->used, figures.used);
    lw_cache_close(of->cache);
    lw_memory_close(of->memory);
    memory_world_close(of->world);
}

static inline lw_status build(fixture *in, const char *path, uint64_t number,
                              const sorted_entries *entries, const lw_table_options *options) {
    lw_table_builder *builder;
    LW_TRY(lw_table_builder_open(in->env, path, number, options, &builder));
    for (size_t index = 0; index < entries->count; index++) {
        lw_status status = lw_table_builder_add(builder, &entries->list[index]);
        if (status != LW_OK) {
            lw_table_builder_abandon(builder);
            return status;
        }
    }
    return lw_table_builder_finish(builder, &in->arena, &in->info);
}

static inline lw_status reopen(fixture *in, lw_filter_part filter_part) {
    if (in->table != NULL) {
        lw_table_close(in->table);
        in->table = NULL;
    }
    lw_cache_forget(in->cache, in->info.number);
    return lw_table_open(in->env, in->cache, "t", &in->info, filter_part, &in->table);
}

static inline void build_and_open(fixture *in, const sorted_entries *entries,
                                  const lw_table_options *options) {
    assert_ok(build(in, "t", 7, entries, options));
    assert_ok(reopen(in, options != NULL ? options->filter_part : NULL));
}

static inline lw_buffer *file_bytes(const fixture *of) {
    return &memory_world_file(of->world, "t")->bytes;
}

static inline void assert_walk(lw_table_cursor *cursor, const sorted_entries *entries) {
    assert_null(lw_table_cursor_entry(cursor));
    assert_ok(lw_table_cursor_first(cursor));
    for (size_t index = 0; index < entries->count; index++) {
        sorted_assert_at(entries, index, lw_table_cursor_entry(cursor));
        assert_true(index == 0 ||
                    lw_table_cursor_repeats(cursor) ==
                        lw_equal(entries->list[index].key, entries->list[index - 1].key));
        assert_ok(lw_table_cursor_next(cursor));
    }
    assert_null(lw_table_cursor_entry(cursor));
    assert_ok(lw_table_cursor_last(cursor));
    for (size_t index = entries->count; index-- > 0;) {
        sorted_assert_at(entries, index, lw_table_cursor_entry(cursor));
        assert_ok(lw_table_cursor_previous(cursor));
    }
    assert_null(lw_table_cursor_entry(cursor));
    lw_table_cursor_close(cursor);
}

static inline void assert_walks(lw_table *table, const sorted_entries *entries) {
    assert_walk(lw_table_cursor_open(table), entries);
    assert_walk(lw_table_cursor_open_once(table), entries);
}

static inline void assert_gets(fixture *at, const sorted_entries *entries, lw_bytes key,
                               uint64_t sequence) {
    size_t index = sorted_seek(entries, key, sequence);
    const lw_entry *expected = index < entries->count ? &entries->list[index] : NULL;
    lw_buffer value = lw_buffer_in(at->memory);
    lw_entry_kind kind;
    lw_status status = lw_table_get(at->table, key, sequence, &value, &kind);
    if (expected == NULL || !lw_equal(expected->key, key)) {
        assert_int_equal(status, LW_NOT_FOUND);
    } else {
        assert_ok(status);
        assert_int_equal(kind, expected->kind);
        assert_true(lw_equal(lw_buffer_view(&value), expected->value));
    }
    lw_buffer_reset(&value);
}

static inline void assert_seeks(lw_table_cursor *cursor, const sorted_entries *entries,
                                lw_bytes key, uint64_t sequence) {
    size_t index = sorted_seek(entries, key, sequence);
    assert_ok(lw_table_cursor_seek(cursor, key, sequence));
    sorted_assert_at(entries, index, lw_table_cursor_entry(cursor));
    if (index < entries->count) {
        assert_ok(lw_table_cursor_previous(cursor));
        sorted_assert_at(entries, index - 1, lw_table_cursor_entry(cursor));
    }
    index = sorted_seek(entries, key, UINT64_MAX);
    assert_ok(lw_table_cursor_seek_before(cursor, key));
    sorted_assert_at(entries, index - 1, lw_table_cursor_entry(cursor));
    if (index > 0) {
        assert_ok(lw_table_cursor_next(cursor));
        sorted_assert_at(entries, index, lw_table_cursor_entry(cursor));
    }
}

#endif
