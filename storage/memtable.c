/* SPDX-License-Identifier: Apache-2.0 */
/* A B+ tree that only grows. A node keeps, beside each key's record, eight bytes of the key as a
 * number (its head), so that a search reads one node a level and, mostly, one record at the end: a
 * third of the cache misses of a skip list.
 *
 * The heads begin behind the bytes that all keys of the node share. Those are known without looking
 * at the keys: what the node's two fences share, everything between them shares too; where a fence
 * is missing, at the edges, it is what all keys of the memtable share. So they change only when a
 * node is split, or when a key comes that shares less than all before it, which is rare and touches
 * the edges only; and keys with long common prefixes are as quick as others.
 *
 * Keys that ascend, as many do, are put behind the last one without a search.
 *
 * Invariants (those of memtable.h, and)
 * 1. Every record in or below a node lies at or after its lower fence and before its upper one;
 * NULL is no fence. Searches only descend into a node whose fences hold the target.
 * 2. heads[i] is the head of records[i] behind `shared`: the length of the fences' common prefix,
 * or of all keys' where a fence is missing. So a target must share the latter before it is sought.
 * 3. Nodes stay where they are and leaves are never empty, so a cursor whose leaf still holds its
 *    record at its index stands right (M3); else it searches again.
 * 4. A node is split before the descent enters it full, so no split ever climbs. */
#include "storage/memtable_record.h"

#include "storage/heads.h"

enum {
    NODE_CAPACITY = 64,
    AHEAD_COUNT = 4, /* records ahead of a cursor that moves on */
    CACHE_LINE = 64,
};

typedef struct lw_memtable_node {
    uint32_t level; /* 0: a leaf */
    uint32_t count;
    size_t shared; /* leading bytes that all keys in it share */
    const record *lower, *upper;
    struct lw_memtable_node *next, *previous; /* of leaves */
    uint64_t heads[NODE_CAPACITY];
    const record *records[NODE_CAPACITY]; /* inner nodes: the lower fences of the children */
} node;

typedef struct inner {
    node node; /* records[0] is its own lower fence, and never looked at */
    node *children[NODE_CAPACITY];
} inner;

struct lw_memtable {
    lw_memory *memory;
    lw_arena arena;
    node *root;         /* NULL: empty */
    node *first, *last; /* leaves */
    const record *any;  /* one of the records */
    size_t shared;      /* leading bytes that all keys share */
    uint64_t count;
    uint64_t sequence_min, sequence_max;
    lw_buffer deferred; /* lw_headed of records, numbered in the order in which they came */
};
_Static_assert(2 * sizeof(lw_headed) == LW_MEMTABLE_DEFERRED_SIZE, "as the header says");

static uint32_t deferred_count(const lw_memtable *memtable) {
    return (uint32_t)(memtable->deferred.size / sizeof(lw_headed));
}

static node *node_open(lw_memtable *memtable, uint32_t level);
static void node_insert(node *into, uint32_t index, const record *added, uint64_t head);
static bool node_search(const node *in, uint32_t from, target sought, uint32_t *index);
static node *leaf_for_insert(lw_memtable *memtable, target sought, bool *crowded);
static void share_prefix(lw_memtable *memtable, const record *added);
static node *leaf_for_seek(const lw_memtable *memtable, target sought);

/* ---- records --------------------------------------------------------------------------------- */

static record *record_make(lw_memtable *memtable, const lw_entry *entry) {
    record *made = lw_arena_allocate_close(&memtable->arena,
                                           sizeof(*made) + entry->key.size + entry->value.size);
    made->sequence = entry->sequence;
    made->value_size = (uint32_t)entry->value.size;
    made->key_size = (uint32_t)entry->key.size & 0xffffff;
    made->kind = (uint32_t)entry->kind & 0xff;
    if (entry->key.size > 0) {
        memcpy(made->bytes, entry->key.data, entry->key.size);
    }
    if (entry->value.size > 0) {
        memcpy(made->bytes + entry->key.size, entry->value.data, entry->value.size);
    }
    return made;
}

/* ---- the table ------------------------------------------------------------------------------- */

lw_memtable *lw_memtable_open(lw_memory *memory) {
    lw_memtable *memtable = lw_allocate_zero(memory, sizeof(*memtable));
    memtable->memory = memory;
    memtable->arena = lw_arena_in(memory);
    memtable->deferred = lw_buffer_in(memory);
    return memtable;
}

void lw_memtable_close(lw_memtable *memtable) {
    lw_arena_reset(&memtable->arena);
    lw_buffer_reset(&memtable->deferred);
    lw_free(memtable->memory, memtable);
}

bool lw_memtable_close_some(lw_memtable *memtable, size_t size) {
    bool left = lw_arena_reduce(&memtable->arena, size);
    if (!left) {
        lw_memtable_close(memtable);
    }
    return !left;
}

static void count_sequence(lw_memtable *memtable, uint64_t sequence) {
    bool first = memtable->count == 0 && deferred_count(memtable) == 0;
    if (first || sequence < memtable->sequence_min) {
        memtable->sequence_min = sequence;
    }
    if (first || sequence > memtable->sequence_max) {
        memtable->sequence_max = sequence;
    }
}

static record *take_entry(lw_memtable *memtable, const lw_entry *entry) {
    LW_ASSERT(entry->key.size <= LW_TREE_KEY_SIZE_MAX);
    LW_ASSERT(entry->value.size <= LW_TREE_VALUE_SIZE_MAX);
    LW_ASSERT(entry->kind == LW_ENTRY_PUT || entry->kind == LW_ENTRY_DELETE);
    count_sequence(memtable, entry->sequence);
    return record_make(memtable, entry);
}

/* ---- inserting ------------------------------------------------------------------------------- */

/* What is inserted: a record, of whose key the bytes behind the first `common` are in its heads.
 * Most need no look at the record itself, which, where there are many, is in no cache. */
typedef struct arrival {
    lw_headed item;
    size_t common; /* MEMTABLE_NOT_KNOWN: the heads are not filled in */
} arrival;

/* A leaf into which the arrival before this one went, and the head, behind `common`, of what is not
 * to go there any more. */
typedef struct vicinity {
    node *leaf;
    uint64_t limit;
} vicinity;

static const record *record_of(const arrival *one) {
    return one->item.of;
}

static uint64_t head_behind(const arrival *one, size_t shared) {
    size_t skipped = shared - one->common;
    if (shared < one->common || skipped > sizeof(uint64_t)) {
        return lw_head_of(record_key(record_of(one)), shared);
    }
    return skipped == 0 ? one->item.head
           : skipped == sizeof(uint64_t)
               ? one->item.next
               : one->item.head << (8 * skipped) | one->item.next >> (64 - 8 * skipped);
}

/* Whether it belongs behind the last record, in a leaf that has room for it. */
static bool goes_last(const lw_memtable *memtable, const arrival *one) {
    const node *leaf = memtable->last;
    if (leaf == NULL || leaf->count == NODE_CAPACITY) {
        return false;
    }
    uint64_t head = head_behind(one, leaf->shared), last = leaf->heads[leaf->count - 1];
    return head > last ||
           (head == last && record_compare(leaf->records[leaf->count - 1],
                                           target_of(record_of(one)), leaf->shared) < 0);
}

/* Finds its place in a leaf; whether a record of the same key and sequence has it. */
static bool leaf_search(const node *leaf, const arrival *one, uint64_t head, uint32_t *index) {
    *index = lw_heads_search(leaf->heads, leaf->count, head);
    return *index < leaf->count && leaf->heads[*index] == head &&
           node_search(leaf, *index, target_of(record_of(one)), index);
}

/* The vicinity of an arrival that went into a leaf. */
static vicinity vicinity_of(node *leaf, const arrival *one) {
    vicinity near = {.leaf = leaf, .limit = UINT64_MAX};
    if (one->common == MEMTABLE_NOT_KNOWN) {
        near.limit = 0; /* nobody knows */
    } else if (leaf->upper != NULL) {
        lw_bytes upper = record_key(leaf->upper);
        bool alike = lw_starts_with(upper, lw_view(record_of(one)->bytes, one->common));
        near.limit = alike ? lw_head_of(upper, one->common) : UINT64_MAX;
    }
    return near;
}

/* Inserts what is not before the arrival that `*near` is of; all keys' shared prefix knows of it.
 */
static void insert_arrival(lw_memtable *memtable, const arrival *one, vicinity *near) {
    if (goes_last(memtable, one)) {
        node *last = memtable->last;
        node_insert(last, last->count, record_of(one), head_behind(one, last->shared));
        memtable->count++;
        return;
    }
    bool holds =
        near->leaf != NULL && near->leaf->count < NODE_CAPACITY && one->item.head < near->limit;
    if (!holds) {
        bool crowded;
        node *leaf = leaf_for_insert(memtable, target_of(record_of(one)), &crowded);
        *near = vicinity_of(leaf, one);
        near->limit = crowded ? 0 : near->limit;
    }
    uint32_t index;
    uint64_t head = head_behind(one, near->leaf->shared);
    if (leaf_search(near->leaf, one, head, &index)) {
        near->leaf->records[index] = record_of(one);
        return;
    }
    node_insert(near->leaf, index, record_of(one), head);
    memtable->count++;
}

void lw_memtable_insert(lw_memtable *memtable, const lw_entry *entry) {
    LW_ASSERT(deferred_count(memtable) == 0);
    arrival one = {.item = {.of = take_entry(memtable, entry)}, .common = MEMTABLE_NOT_KNOWN};
    vicinity near = {.leaf = NULL};
    share_prefix(memtable, record_of(&one));
    insert_arrival(memtable, &one, &near);
}

/* ---- many at once ---------------------------------------------------------------------------- */

void lw_memtable_defer(lw_memtable *memtable, const lw_entry *entry) {
    lw_headed deferred = {.of = take_entry(memtable, entry), .number = deferred_count(memtable)};
    lw_buffer_append(&memtable->deferred, lw_view(&deferred, sizeof(deferred)));
}

void lw_memtable_settle(lw_memtable *memtable) {
    lw_headed *deferred = (lw_headed *)(void *)memtable->deferred.data;
    uint32_t count = deferred_count(memtable);
    vicinity near = {.leaf = NULL};
    if (count == 0) {
        return;
    }
    size_t common = memtable_sort_deferred(memtable->memory, deferred, count);
    share_prefix(memtable, deferred[0].of);
    for (uint32_t index = 0; index < count; index++) {
        arrival one = {.item = deferred[index], .common = common};
        insert_arrival(memtable, &one, &near);
        if (index == 0) { /* what the first and the last share, all between them share too */
            share_prefix(memtable, deferred[count - 1].of);
        }
    }
    lw_buffer_reset(&memtable->deferred);
}

size_t lw_memtable_size(const lw_memtable *memtable) {
    return sizeof(*memtable) + memtable->arena.reserved;
}

size_t lw_memtable_spare(const lw_memtable *memtable) {
    return lw_arena_spare(&memtable->arena);
}

uint64_t lw_memtable_count(const lw_memtable *memtable) {
    return memtable->count;
}

uint64_t lw_memtable_sequence_min(const lw_memtable *memtable) {
    return memtable->sequence_min;
}

uint64_t lw_memtable_sequence_max(const lw_memtable *memtable) {
    return memtable->sequence_max;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static node *node_open(lw_memtable *memtable, uint32_t level) {
    node *opened = lw_arena_allocate(&memtable->arena, level == 0 ? sizeof(node) : sizeof(inner));
    opened->level = level;
    opened->count = 0;
    opened->shared = memtable->shared;
    opened->lower = opened->upper = NULL;
    opened->next = opened->previous = NULL;
    return opened;
}

static node **children_of(node *of) {
    LW_ASSERT(of->level > 0);
    return ((inner *)of)->children;
}

/* Finds the first record at or after the target, from index `from` on; in->count if there is none.
 * Returns whether it is the target itself. */
static bool node_search(const node *in, uint32_t from, target sought, uint32_t *index) {
    uint64_t head = lw_head_of(sought.key, in->shared);
    uint32_t low = from + lw_heads_search(in->heads + from, in->count - from, head);
    uint32_t high = in->count;
    bool found = false;
    /* Equal heads are few, so the end of their run is not looked for. */
    while (low < high && in->heads[low] == head) {
        uint32_t middle = low + (high - low) / 2;
        int order =
            in->heads[middle] > head ? 1 : record_compare(in->records[middle], sought, in->shared);
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
            found = order == 0;
            if (found) {
                low = middle;
            }
        }
    }
    *index = low;
    return found;
}

static void node_insert(node *into, uint32_t index, const record *added, uint64_t head) {
    LW_ASSERT(into->count < NODE_CAPACITY);
    LW_ASSERT(index <= into->count);
    size_t moved = into->count - index;
    memmove(into->heads + index + 1, into->heads + index, moved * sizeof(into->heads[0]));
    memmove(into->records + index + 1, into->records + index, moved * sizeof(into->records[0]));
    into->heads[index] = head;
    into->records[index] = added;
    into->count++;
}

/* Gives a node its fences, and its heads their place behind what is shared. */
static void node_fence(const lw_memtable *memtable, node *fenced, const record *lower,
                       const record *upper) {
    size_t shared = lower == NULL || upper == NULL
                        ? memtable->shared
                        : lw_common_prefix(record_key(lower), record_key(upper));
    fenced->lower = lower;
    fenced->upper = upper;
    if (shared == fenced->shared) {
        return;
    }
    fenced->shared = shared;
    for (uint32_t index = fenced->level == 0 ? 0 : 1; index < fenced->count; index++) {
        LW_ASSERT(fenced->records[index] != NULL);
        fenced->heads[index] = lw_head_of(record_key(fenced->records[index]), shared);
    }
}

/* Where a key stands to all that begin as the memtable's do: before, among (0) or behind them. */
static int prefix_compare(const lw_memtable *memtable, lw_bytes key) {
    size_t shared = memtable->shared, size = key.size < shared ? key.size : shared;
    int order = size == 0 ? 0 : memcmp(key.data, memtable->any->bytes, size);
    return order != 0 ? order : key.size < shared ? -1 : 0;
}

/* Takes a key into account before it is inserted: the nodes at the edges follow if all keys share
 * less now. */
static void share_prefix(lw_memtable *memtable, const record *added) {
    lw_bytes key = record_key(added);
    if (memtable->any == NULL) {
        memtable->any = added;
        memtable->shared = key.size;
        return;
    }
    if (prefix_compare(memtable, key) == 0) {
        return;
    }
    memtable->shared = lw_common_prefix(lw_view(memtable->any->bytes, memtable->shared), key);
    for (node *left = memtable->root, *right = left;;) {
        node_fence(memtable, left, left->lower, left->upper);
        node_fence(memtable, right, right->lower, right->upper);
        if (left->level == 0) {
            break;
        }
        left = children_of(left)[0];
        right = children_of(right)[right->count - 1];
    }
}

/* Splits the full child at `index` of a parent with room. At the right edge, where keys that ascend
 * are added, the left part stays nearly full. */
static void split_child(lw_memtable *memtable, node *parent, uint32_t index) {
    node **siblings = children_of(parent);
    node *left = siblings[index];
    node *right = node_open(memtable, left->level);
    LW_ASSERT(left->count == NODE_CAPACITY);
    uint32_t kept = left->upper == NULL ? NODE_CAPACITY - NODE_CAPACITY / 8 : NODE_CAPACITY / 2;
    uint32_t moved = left->count - kept;
    memcpy(right->heads, left->heads + kept, moved * sizeof(left->heads[0]));
    memcpy(right->records, left->records + kept, moved * sizeof(left->records[0]));
    right->shared = left->shared;
    right->count = moved;
    left->count = kept;
    if (left->level > 0) {
        memcpy(children_of(right), children_of(left) + kept, moved * sizeof(siblings[0]));
    } else {
        right->next = left->next;
        right->previous = left;
        *(left->next != NULL ? &left->next->previous : &memtable->last) = right;
        left->next = right;
    }
    const record *middle = right->records[0];
    node_fence(memtable, right, middle, left->upper);
    node_fence(memtable, left, left->lower, middle);
    memmove(siblings + index + 2, siblings + index + 1,
            (parent->count - index - 1) * sizeof(siblings[0]));
    siblings[index + 1] = right;
    node_insert(parent, index + 1, middle, lw_head_of(record_key(middle), parent->shared));
}

/* The child whose fences hold the target. */
static uint32_t child_for(const node *parent, target sought) {
    uint32_t index;
    return node_search(parent, 1, sought, &index) ? index : index - 1;
}

/* A search waits for one line of heads after the other, unless they come all at once. A macro,
 * since gcc leaves out calls of a function that does nothing else. */
#define FETCH_HEADS(of)                                                          \
    do {                                                                         \
        for (size_t line = 0; line < sizeof((of)->heads) / CACHE_LINE; line++) { \
            __builtin_prefetch((const char *)(of)->heads + line * CACHE_LINE);   \
        }                                                                        \
    } while (0)

/* `*crowded`: a node above it is full, and is split by who comes next (invariant 4). */
static node *leaf_for_insert(lw_memtable *memtable, target sought, bool *crowded) {
    *crowded = false;
    if (memtable->root == NULL) {
        memtable->root = memtable->first = memtable->last = node_open(memtable, 0);
    }
    if (memtable->root->count == NODE_CAPACITY) {
        node *root = node_open(memtable, memtable->root->level + 1);
        root->count = 1;
        root->heads[0] = 0;
        root->records[0] = NULL;
        children_of(root)[0] = memtable->root;
        memtable->root = root;
    }
    node *at = memtable->root;
    while (at->level > 0) {
        uint32_t index = child_for(at, sought);
        FETCH_HEADS(children_of(at)[index]);
        if (children_of(at)[index]->count == NODE_CAPACITY) {
            split_child(memtable, at, index);
            index = child_for(at, sought);
        }
        *crowded |= at->count == NODE_CAPACITY;
        at = children_of(at)[index];
    }
    return at;
}

static node *leaf_for_seek(const lw_memtable *memtable, target sought) {
    node *at = memtable->root;
    while (at->level > 0) {
        at = children_of(at)[child_for(at, sought)];
        FETCH_HEADS(at);
    }
    return at;
}

/* ---- cursors --------------------------------------------------------------------------------- */

/* Stands on an index of a leaf: one beyond its last is the first of the next leaf. */
static void cursor_stand(lw_memtable_cursor *cursor, const node *leaf, uint32_t index) {
    LW_ASSERT(deferred_count(cursor->memtable) == 0);
    if (leaf != NULL && index == leaf->count) {
        leaf = leaf->next;
        index = 0;
    }
    cursor->leaf = leaf;
    cursor->index = index;
    cursor->record = leaf != NULL ? leaf->records[index] : NULL;
    if (cursor->record != NULL) {
        const record *at = cursor->record;
        cursor->entry = (lw_entry){.key = record_key(at),
                                   .sequence = at->sequence,
                                   .kind = (lw_entry_kind)at->kind,
                                   .value = lw_view(at->bytes + at->key_size, at->value_size)};
    }
}

static void cursor_stand_before(lw_memtable_cursor *cursor, const node *leaf, uint32_t index) {
    if (index == 0) {
        leaf = leaf->previous;
        index = leaf != NULL ? leaf->count : 1;
    }
    cursor_stand(cursor, leaf, index - 1);
}

/* Where the cursor's record is now (M3). */
static void cursor_find_again(lw_memtable_cursor *cursor) {
    LW_ASSERT(cursor->record != NULL);
    if (cursor->index < cursor->leaf->count &&
        cursor->leaf->records[cursor->index] == cursor->record) {
        return;
    }
    target sought = {.key = cursor->entry.key, .sequence = cursor->entry.sequence};
    cursor->leaf = leaf_for_seek(cursor->memtable, sought);
    bool found = node_search(cursor->leaf, 0, sought, &cursor->index);
    LW_ASSERT(found);
}

/* Finds where the target is or would be; a leaf of NULL is behind all, or an empty memtable. */
static const node *place_of(const lw_memtable *memtable, target sought, uint32_t *index) {
    *index = 0;
    int order = memtable->root != NULL ? prefix_compare(memtable, sought.key) : 1;
    if (order != 0) {
        return order < 0 ? memtable->first : NULL;
    }
    const node *leaf = leaf_for_seek(memtable, sought);
    (void)node_search(leaf, 0, sought, index);
    return leaf;
}

void lw_memtable_cursor_seek(lw_memtable_cursor *cursor, lw_bytes key, uint64_t sequence) {
    uint32_t index;
    const node *leaf =
        place_of(cursor->memtable, (target){.key = key, .sequence = sequence}, &index);
    cursor_stand(cursor, leaf, index);
}

void lw_memtable_cursor_seek_before(lw_memtable_cursor *cursor, lw_bytes key) {
    uint32_t index;
    const node *leaf =
        place_of(cursor->memtable, (target){.key = key, .sequence = UINT64_MAX}, &index);
    if (leaf == NULL) {
        lw_memtable_cursor_last(cursor);
    } else {
        cursor_stand_before(cursor, leaf, index);
    }
}

void lw_memtable_cursor_first(lw_memtable_cursor *cursor) {
    cursor_stand(cursor, cursor->memtable->first, 0);
}

void lw_memtable_cursor_last(lw_memtable_cursor *cursor) {
    const node *leaf = cursor->memtable->last;
    cursor_stand(cursor, leaf, leaf != NULL ? leaf->count - 1 : 0);
}

void lw_memtable_cursor_next(lw_memtable_cursor *cursor) {
    cursor_find_again(cursor);
    cursor_stand(cursor, cursor->leaf, cursor->index + 1);
    /* Records lie in the order in which they came: whoever walks would wait for each. Not in a
     * function of its own, which gcc leaves out as one without effect. */
    if (cursor->leaf != NULL && cursor->index + AHEAD_COUNT < cursor->leaf->count) {
        const record *ahead = cursor->leaf->records[cursor->index + AHEAD_COUNT];
        __builtin_prefetch(ahead);
        __builtin_prefetch((const char *)ahead + CACHE_LINE);
    }
}

void lw_memtable_cursor_previous(lw_memtable_cursor *cursor) {
    cursor_find_again(cursor);
    cursor_stand_before(cursor, cursor->leaf, cursor->index);
}
