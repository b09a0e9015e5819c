/* SPDX-License-Identifier: Apache-2.0 */
#include "client/write_set.h"

void lw_write_set_reset(lw_write_set *set) {
    lw_memory *memory = set->arena.memory;
    lw_arena_reset(&set->arena);
    *set = lw_write_set_in(memory);
}

/* One in four entries stands on the next level too. FNV-1a is even enough for that, and needs no
 * library that clients do not have. */
static uint32_t height_of(lw_bytes key) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t index = 0; index < key.size; index++) {
        hash = (hash ^ key.data[index]) * 0x100000001b3u;
    }
    hash ^= hash >> 32;
    uint32_t height = 1;
    while (height < LW_WRITE_SET_LEVELS && (hash & 3) == 0) {
        hash >>= 2;
        height++;
    }
    return height;
}

/* Fills `links` with the pointers, one a level, that lead to the first write at or after `key`. */
static void descend(const lw_write_set *set, lw_bytes key, lw_write **links[LW_WRITE_SET_LEVELS]) {
    lw_write *const *from = set->first;
    for (int level = LW_WRITE_SET_LEVELS - 1; level >= 0; level--) {
        while (from[level] != NULL && lw_compare(from[level]->mutation.key, key) < 0) {
            from = from[level]->next;
        }
        links[level] = (lw_write **)(uintptr_t)&from[level];
    }
}

lw_write *lw_write_set_at_or_after(const lw_write_set *set, lw_bytes key) {
    lw_write **links[LW_WRITE_SET_LEVELS];
    descend(set, key, links);
    return *links[0];
}

lw_write *lw_write_set_before(const lw_write_set *set, lw_bytes key) {
    if (key.size == 0) {
        return set->last;
    }
    const lw_write *after = lw_write_set_at_or_after(set, key);
    return after == NULL ? set->last : after->previous;
}

lw_write *lw_write_set_find(const lw_write_set *set, lw_bytes key) {
    lw_write *found = lw_write_set_at_or_after(set, key);
    return found != NULL && lw_equal(found->mutation.key, key) ? found : NULL;
}

static lw_write *insert(lw_write_set *set, lw_bytes key, lw_write **links[LW_WRITE_SET_LEVELS]) {
    uint32_t height = height_of(key);
    lw_write *made = lw_arena_allocate(&set->arena, sizeof(lw_write) + height * sizeof(lw_write *));
    lw_write *after = *links[0];
    made->mutation = (lw_mutation){.key = lw_arena_copy(&set->arena, key)};
    made->previous = after == NULL ? set->last : after->previous;
    *(after == NULL ? &set->last : &after->previous) = made;
    for (uint32_t level = 0; level < height; level++) {
        made->next[level] = *links[level];
        *links[level] = made;
    }
    set->count++;
    set->bytes += key.size;
    return made;
}

lw_write *lw_write_set_put(lw_write_set *set, lw_mutation_kind kind, lw_bytes key, lw_bytes value,
                           uint64_t seen) {
    lw_write **links[LW_WRITE_SET_LEVELS];
    descend(set, key, links);
    lw_write *found = *links[0];
    if (found == NULL || !lw_equal(found->mutation.key, key)) {
        found = insert(set, key, links);
        found->mutation.seen = seen;
    }
    set->bytes = set->bytes - found->mutation.value.size + value.size;
    found->mutation.kind = kind;
    found->mutation.value = lw_arena_copy(&set->arena, value);
    return found;
}
