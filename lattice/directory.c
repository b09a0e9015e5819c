/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/directory.h"

#include "base/hash.h"

enum { ENTRY_FIELDS_OLD = 3, ENTRY_FIELDS = 4 };

/* The replicas stand behind the struct, and the keys behind them. */
struct lw_directory_entry {
    lw_map_node by_id;
    /* Of the entries up to this one in by_start, the one that ends last: looking up walks back no
     * further than some range still reaches the key. */
    const struct lw_directory_entry *reach;
    uint64_t id;
    lw_epoch epoch;
    uint64_t term, leader;
    uint64_t idle_turns;
    uint64_t digest;
    uint32_t start_size, end_size;
    uint8_t replica_count;
    bool disputed;
    lw_shard_replica replicas[];
};
typedef struct lw_directory_entry entry;

lw_directory lw_directory_in(lw_memory *memory) {
    return (lw_directory){
        .memory = memory, .by_id = lw_map_in(memory), .scratch = lw_buffer_in(memory)};
}

void lw_directory_reset(lw_directory *directory) {
    for (uint32_t index = 0; index < directory->count; index++) {
        lw_free(directory->memory, directory->by_start[index]);
    }
    lw_free(directory->memory, directory->by_start);
    lw_map_reset(&directory->by_id);
    lw_buffer_reset(&directory->scratch);
    *directory = lw_directory_in(directory->memory);
}

/* ---- entries ------------------------------------------------------------------------------------
 */

static lw_bytes start_of(const entry *of) {
    return lw_view((const uint8_t *)&of->replicas[of->replica_count], of->start_size);
}

static lw_bytes end_of(const entry *of) {
    return lw_view((const uint8_t *)&of->replicas[of->replica_count] + of->start_size,
                   of->end_size);
}

static size_t size_of(const entry *of) {
    return sizeof(*of) + of->replica_count * sizeof(of->replicas[0]) + of->start_size +
           of->end_size;
}

static void row_of(const entry *of, lw_directory_row *row) {
    *row = (lw_directory_row){
        .shard = {.id = of->id,
                  .epoch = of->epoch,
                  .start = start_of(of),
                  .end = end_of(of),
                  .leader = of->leader,
                  .replica_count = of->replica_count},
        .term = of->term,
        .disputed = of->disputed,
        .idle_turns = of->idle_turns,
    };
    for (uint32_t index = 0; index < of->replica_count; index++) {
        row->shard.replicas[index] = of->replicas[index];
    }
}

/* The more the later it is, as far as D2 to D4 tell by numbers. */
static uint64_t weight_of(const entry *of) {
    return 1 + of->epoch.range_version + of->epoch.config_version + of->term + (of->leader != 0) +
           of->disputed + of->idle_turns;
}

static void refresh_digest(lw_directory *directory, entry *of) {
    lw_directory_row row;
    row_of(of, &row);
    lw_buffer_clear(&directory->scratch);
    lw_directory_row_encode(&row, &directory->scratch);
    uint64_t *bucket = &directory->buckets[lw_directory_bucket(of->id)];
    *bucket -= of->digest;
    of->digest = lw_hash(of->id, lw_buffer_view(&directory->scratch));
    *bucket += of->digest;
}

static entry *make(lw_directory *directory, const lw_directory_row *row) {
    const lw_shard_descriptor *shard = &row->shard;
    size_t replicas_size = shard->replica_count * sizeof(shard->replicas[0]);
    entry *made = lw_allocate_zero(directory->memory, sizeof(*made) + replicas_size +
                                                          shard->start.size + shard->end.size);
    made->id = shard->id;
    made->epoch = shard->epoch;
    made->term = row->term;
    made->leader = row->term == 0 ? 0 : shard->leader;
    made->disputed = row->disputed;
    made->idle_turns = row->idle_turns;
    made->start_size = (uint32_t)shard->start.size;
    made->end_size = (uint32_t)shard->end.size;
    made->replica_count = (uint8_t)shard->replica_count;
    memcpy(made->replicas, shard->replicas, replicas_size);
    uint8_t *keys = (uint8_t *)&made->replicas[made->replica_count];
    if (shard->start.size > 0) {
        memcpy(keys, shard->start.data, shard->start.size);
    }
    if (shard->end.size > 0) {
        memcpy(keys + shard->start.size, shard->end.data, shard->end.size);
    }
    return made;
}

static entry *find(const lw_directory *directory, uint64_t shard) {
    lw_map_node *node = lw_map_first(&directory->by_id, lw_mix(shard));
    while (node != NULL && LW_MAP_ENTRY(node, entry, by_id)->id != shard) {
        node = lw_map_next(node);
    }
    return node == NULL ? NULL : LW_MAP_ENTRY(node, entry, by_id);
}

/* ---- the order of ranges ------------------------------------------------------------------------
 */

/* The index of the first entry behind (start, id), or of the one that is just there. */
static uint32_t place_of(const lw_directory *directory, lw_bytes start, uint64_t id) {
    uint32_t low = 0, high = directory->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const entry *there = directory->by_start[middle];
        int order = lw_compare(start_of(there), start);
        if (order < 0 || (order == 0 && there->id < id)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const entry *further(const entry *a, const entry *b) {
    if (a->end_size == 0) {
        return a;
    }
    return b->end_size == 0 || lw_compare(end_of(b), end_of(a)) > 0 ? b : a;
}

/* Sets right what entries from `place` on know about those before them. */
static void mend_reach(lw_directory *directory, uint32_t place) {
    for (uint32_t index = place; index < directory->count; index++) {
        entry *at = directory->by_start[index];
        const entry *reach = index == 0 ? at : further(directory->by_start[index - 1]->reach, at);
        if (reach == at->reach) {
            return;
        }
        at->reach = reach;
    }
}

static void insert(lw_directory *directory, entry *added) {
    if (directory->count == directory->capacity) {
        directory->capacity = directory->capacity == 0 ? 16 : 2 * directory->capacity;
        directory->by_start = lw_reallocate(directory->memory, directory->by_start,
                                            directory->capacity * sizeof(*directory->by_start));
    }
    uint32_t place = place_of(directory, start_of(added), added->id);
    memmove(&directory->by_start[place + 1], &directory->by_start[place],
            (directory->count - place) * sizeof(*directory->by_start));
    directory->by_start[place] = added;
    directory->count++;
    lw_map_insert(&directory->by_id, &added->by_id, lw_mix(added->id));
    directory->entry_bytes += size_of(added);
    directory->weight += weight_of(added);
    mend_reach(directory, place);
    refresh_digest(directory, added);
}

static void take_out(lw_directory *directory, entry *old) {
    uint32_t place = place_of(directory, start_of(old), old->id);
    LW_ASSERT(place < directory->count && directory->by_start[place] == old);
    directory->count--;
    memmove(&directory->by_start[place], &directory->by_start[place + 1],
            (directory->count - place) * sizeof(*directory->by_start));
    lw_map_remove(&directory->by_id, &old->by_id);
    directory->entry_bytes -= size_of(old);
    directory->weight -= weight_of(old);
    directory->buckets[lw_directory_bucket(old->id)] -= old->digest;
    mend_reach(directory, place);
}

/* ---- merging ------------------------------------------------------------------------------------
 */

static int epoch_order(lw_epoch a, lw_epoch b) {
    if (a.range_version != b.range_version) {
        return a.range_version > b.range_version ? 1 : -1;
    }
    return (a.config_version > b.config_version) - (a.config_version < b.config_version);
}

static int content_order(const lw_shard_descriptor *a, const lw_shard_descriptor *b) {
    int order = lw_compare(a->start, b->start);
    order = order != 0 ? order : lw_compare(a->end, b->end);
    uint32_t shared = a->replica_count < b->replica_count ? a->replica_count : b->replica_count;
    for (uint32_t index = 0; order == 0 && index < shared; index++) {
        const lw_shard_replica *of_a = &a->replicas[index], *of_b = &b->replicas[index];
        order = (of_a->node > of_b->node) - (of_a->node < of_b->node);
        order = order != 0 ? order : (of_a->role > of_b->role) - (of_a->role < of_b->role);
    }
    if (order != 0) {
        return order;
    }
    return (a->replica_count > b->replica_count) - (a->replica_count < b->replica_count);
}

/* The later of two leaders goes into `row`. Two leaders of one term cannot be; the higher id stands
 * then, so that merging stays a join. */
static bool merge_leader(lw_directory_row *row, uint64_t term, uint64_t leader) {
    if (term == 0 || term < row->term || (term == row->term && leader <= row->shard.leader)) {
        return false;
    }
    row->term = term;
    row->shard.leader = leader;
    return true;
}

/* Joins what came into what is known (D2): whether that is another descriptor now. */
static bool merge_descriptor(const lw_directory *directory, lw_directory_row *known,
                             const lw_directory_row *came) {
    int newer = LW_PLANTED(directory, LW_BUG_LAST_ENTRY_STANDS)
                    ? 1
                    : epoch_order(came->shard.epoch, known->shard.epoch);
    if (newer < 0) {
        return false;
    }
    int order = content_order(&came->shard, &known->shard);
    bool disputed = came->disputed || (newer == 0 && (known->disputed || order != 0));
    disputed = disputed && !LW_PLANTED(directory, LW_BUG_DISPUTE_MERGED);
    bool replaced = newer > 0 || order < 0;
    if (!replaced && disputed == known->disputed) {
        return false;
    }
    if (replaced) {
        uint64_t leader = known->shard.leader;
        known->shard = came->shard;
        known->shard.leader = leader;
    }
    known->disputed = disputed;
    return true;
}

lw_directory_merged lw_directory_merge(lw_directory *directory, const lw_directory_row *row) {
    LW_ASSERT(row->shard.id != 0 && row->shard.replica_count <= LW_SHARD_REPLICAS_MAX);
    entry *old = find(directory, row->shard.id);
    if (old == NULL) {
        if (directory->count == LW_DIRECTORY_SHARDS_MAX) {
            return LW_DIRECTORY_FULL;
        }
        insert(directory, make(directory, row));
        return row->disputed ? LW_DIRECTORY_DISPUTED : LW_DIRECTORY_CHANGED;
    }
    lw_directory_row merged;
    row_of(old, &merged);
    bool disputed_before = merged.disputed;
    bool descriptor_changed = merge_descriptor(directory, &merged, row);
    bool hint_changed = merge_leader(&merged, row->term, row->shard.leader);
    if (row->idle_turns > merged.idle_turns) {
        merged.idle_turns = row->idle_turns;
        hint_changed = true;
    }
    if (!descriptor_changed) {
        directory->weight -= weight_of(old);
        old->term = merged.term;
        old->leader = merged.shard.leader;
        old->idle_turns = merged.idle_turns;
        directory->weight += weight_of(old);
        if (hint_changed) {
            refresh_digest(directory, old);
        }
        return hint_changed ? LW_DIRECTORY_CHANGED : LW_DIRECTORY_OLD;
    }
    entry *made = make(directory, &merged);
    take_out(directory, old);
    insert(directory, made);
    lw_free(directory->memory, old); /* last: `merged` has views of its keys */
    return made->disputed && !disputed_before ? LW_DIRECTORY_DISPUTED : LW_DIRECTORY_CHANGED;
}

/* ---- looking ------------------------------------------------------------------------------------
 */

bool lw_directory_find(const lw_directory *directory, uint64_t shard, lw_directory_row *row) {
    const entry *of = find(directory, shard);
    if (of != NULL) {
        row_of(of, row);
    }
    return of != NULL;
}

bool lw_directory_lookup(const lw_directory *directory, lw_bytes key, lw_directory_row *row) {
    const entry *best = NULL;
    for (uint32_t index = place_of(directory, key, UINT64_MAX); index > 0; index--) {
        const entry *at = directory->by_start[index - 1];
        if (at->reach->end_size > 0 && lw_compare(end_of(at->reach), key) <= 0) {
            break; /* nothing from here back reaches the key */
        }
        bool holds = at->end_size == 0 || lw_compare(key, end_of(at)) < 0;
        if (holds && (best == NULL || at->epoch.range_version > best->epoch.range_version)) {
            best = at;
        }
    }
    if (best != NULL) {
        row_of(best, row);
    }
    return best != NULL;
}

bool lw_directory_before(const lw_directory *directory, lw_bytes key, lw_directory_row *row) {
    const entry *best = NULL;
    for (uint32_t index = place_of(directory, key, 0); index > 0; index--) {
        const entry *at = directory->by_start[index - 1];
        if (at->reach->end_size > 0 && lw_compare(end_of(at->reach), key) < 0) {
            break; /* nothing from here back reaches the key */
        }
        bool ends_there = at->end_size > 0 && lw_equal(end_of(at), key);
        if (ends_there && (best == NULL || at->epoch.range_version > best->epoch.range_version)) {
            best = at;
        }
    }
    if (best != NULL) {
        row_of(best, row);
    }
    return best != NULL;
}

uint32_t lw_directory_behind(const lw_directory *directory, lw_bytes key) {
    return place_of(directory, key, UINT64_MAX);
}

void lw_directory_at(const lw_directory *directory, uint32_t index, lw_directory_row *row) {
    LW_ASSERT(index < directory->count);
    row_of(directory->by_start[index], row);
}

uint32_t lw_directory_bucket(uint64_t shard) {
    return (uint32_t)(lw_mix(shard) % LW_DIRECTORY_BUCKETS);
}

uint64_t lw_directory_digest(const lw_directory *directory) {
    uint64_t digest = 0;
    for (uint32_t index = 0; index < LW_DIRECTORY_BUCKETS; index++) {
        digest = lw_mix(digest ^ directory->buckets[index]);
    }
    return digest;
}

size_t lw_directory_size(const lw_directory *directory) {
    return directory->entry_bytes + directory->capacity * sizeof(*directory->by_start) +
           directory->by_id.bucket_count * sizeof(*directory->by_id.buckets) +
           directory->scratch.capacity;
}

/* ---- wire ---------------------------------------------------------------------------------------
 */

void lw_directory_row_encode(const lw_directory_row *row, lw_buffer *out) {
    lw_shard_descriptor shard = row->shard;
    shard.leader_address = (lw_bytes){0};
    lw_write_array(out, ENTRY_FIELDS);
    lw_topology_encode(&shard, 1, out);
    lw_write_u64(out, row->term);
    lw_write_bool(out, row->disputed);
    lw_write_u64(out, row->idle_turns);
}

lw_status lw_directory_row_next(lw_reader *reader, lw_directory_row *row) {
    uint32_t extra = lw_read_array_of(reader, ENTRY_FIELDS_OLD);
    lw_directory_row read = {0};
    if (lw_read_array(reader) == 1) {
        LW_TRY(lw_topology_next(reader, &read.shard));
    } else {
        lw_reader_fail(reader);
    }
    read.shard.leader_address = (lw_bytes){0};
    read.term = lw_read_u64(reader);
    read.disputed = lw_read_bool(reader);
    if (extra >= ENTRY_FIELDS - ENTRY_FIELDS_OLD) {
        read.idle_turns = lw_read_u64(reader);
        extra -= ENTRY_FIELDS - ENTRY_FIELDS_OLD;
    }
    lw_read_skip(reader, extra);
    if (!lw_reader_ok(reader) || read.shard.id == 0) {
        lw_reader_fail(reader);
        return lw_fail(LW_INVALID_ARGUMENT, "an entry of the directory is not well-formed");
    }
    *row = read;
    return LW_OK;
}
