/* SPDX-License-Identifier: Apache-2.0 */
#include "client/write_set.h"

#include "txn/atomic.h"

void lw_write_set_reset(lw_write_set *set) {
    lw_memory *memory = set->arena.memory;
    lw_arena_reset(&set->arena);
    lw_buffer_reset(&set->undo);
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
    made->read = made->found = false;
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

static void keep_undo(lw_write_set *set, lw_write *write, bool fresh) {
    if (set->keeps_undo) {
        lw_write_undo undo = {.write = write, .read = write->read, .found = write->found};
        if (!fresh) {
            undo.before = write->mutation;
        }
        lw_buffer_append(&set->undo, lw_view(&undo, sizeof(undo)));
    }
}

lw_write *lw_write_set_put(lw_write_set *set, lw_mutation_kind kind, lw_bytes key, lw_bytes value,
                           uint64_t seen) {
    lw_write **links[LW_WRITE_SET_LEVELS];
    descend(set, key, links);
    lw_write *found = *links[0];
    bool fresh = found == NULL || !lw_equal(found->mutation.key, key);
    if (fresh) {
        found = insert(set, key, links);
        found->mutation.seen = seen;
    }
    keep_undo(set, found, fresh);
    if (found->mutation.seen == LW_SEEN_ANYTHING) {
        found->mutation.seen = seen;
    }
    set->bytes = set->bytes - found->mutation.value.size + value.size;
    found->mutation.kind = kind;
    found->mutation.ttl_ms = 0;
    found->read = found->found = false;
    found->mutation.value = lw_arena_copy(&set->arena, value);
    return found;
}

/* ---- coming back ------------------------------------------------------------------------------
 */

static void take_out(lw_write_set *set, lw_write *write) {
    lw_write **links[LW_WRITE_SET_LEVELS];
    uint32_t height = height_of(write->mutation.key);
    descend(set, write->mutation.key, links);
    LW_ASSERT(*links[0] == write);
    *(write->next[0] == NULL ? &set->last : &write->next[0]->previous) = write->previous;
    for (uint32_t level = 0; level < height; level++) {
        *links[level] = write->next[level];
    }
    set->count--;
    set->bytes -= write->mutation.key.size + write->mutation.value.size;
}

static void put_back(lw_write_set *set, const lw_write_undo *undo) {
    lw_write *write = undo->write;
    if (undo->before.kind != 0) {
        set->bytes = set->bytes - write->mutation.value.size + undo->before.value.size;
        uint64_t seen = write->mutation.seen; /* what was read since still counts */
        write->mutation = undo->before;
        write->mutation.seen = seen;
        write->read = undo->read;
        write->found = undo->found;
    } else if (lw_mutation_is_atomic(write->mutation.kind) &&
               write->mutation.seen != LW_SEEN_ANYTHING) { /* its key was locked to be read */
        set->bytes -= write->mutation.value.size;
        write->mutation.kind = LW_MUTATION_LOCK;
        write->mutation.value = (lw_bytes){0};
    } else if (write->mutation.kind != LW_MUTATION_LOCK) {
        take_out(set, write);
    }
}

size_t lw_write_set_mark(lw_write_set *set) {
    set->keeps_undo = true;
    return set->undo.size;
}

void lw_write_set_return(lw_write_set *set, size_t mark) {
    LW_ASSERT(mark <= set->undo.size && mark % sizeof(lw_write_undo) == 0);
    while (set->undo.size > mark) {
        lw_write_undo undo;
        set->undo.size -= sizeof(undo);
        memcpy(&undo, set->undo.data + set->undo.size, sizeof(undo));
        put_back(set, &undo);
    }
}
