/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "lattice/member.h"

/* The record stands behind the struct, and the member's views point into it. */
struct lw_member_entry {
    lw_member member;
    uint64_t digest;
    uint32_t record_size;
    uint8_t record[];
};

lw_members lw_members_in(lw_memory *memory, const uint8_t cluster_id[LW_MEMBER_CLUSTER_SIZE]) {
    lw_members members = {.memory = memory};
    memcpy(members.cluster_id, cluster_id, LW_MEMBER_CLUSTER_SIZE);
    return members;
}

void lw_members_reset(lw_members *members) {
    for (uint32_t index = 0; index < members->count; index++) {
        lw_free(members->memory, members->entries[index]);
    }
    lw_free(members->memory, members->entries);
    *members = lw_members_in(members->memory, members->cluster_id);
}

/* The more the later it is, as far as M1 tells by numbers. */
static uint64_t weight_of(const lw_member *member) {
    enum { INCARNATION_SHIFT = 16, GONE_SHIFT = 40 };
    uint64_t gone = member->state == LW_MEMBER_GONE;
    return 1 + member->sequence + (member->incarnation << INCARNATION_SHIFT) + (gone << GONE_SHIFT);
}

/* The index of the first entry that is not below `node`. */
static uint32_t place_of(const lw_members *members, uint64_t node) {
    uint32_t low = 0, high = members->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (members->entries[middle]->member.node < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct lw_member_entry *find(const lw_members *members, uint64_t node, uint32_t *place) {
    *place = place_of(members, node);
    bool found = *place < members->count && members->entries[*place]->member.node == node;
    return found ? members->entries[*place] : NULL;
}

static lw_bytes record_of(const struct lw_member_entry *entry) {
    return lw_view(entry->record, entry->record_size);
}

static struct lw_member_entry *make(lw_members *members, lw_bytes record) {
    struct lw_member_entry *entry = lw_allocate(members->memory, sizeof(*entry) + record.size);
    memcpy(entry->record, record.data, record.size);
    entry->record_size = (uint32_t)record.size;
    lw_status status = lw_member_decode(record_of(entry), &entry->member);
    LW_ASSERT(status == LW_OK);
    entry->digest = lw_hash(entry->member.node, record);
    return entry;
}

static void insert(lw_members *members, uint32_t place, struct lw_member_entry *entry) {
    if (members->count == members->capacity) {
        members->capacity = members->capacity == 0 ? 8 : 2 * members->capacity;
        members->entries = lw_reallocate(members->memory, members->entries,
                                         members->capacity * sizeof(*members->entries));
    }
    memmove(&members->entries[place + 1], &members->entries[place],
            (members->count - place) * sizeof(*members->entries));
    members->entries[place] = entry;
    members->count++;
}

static bool room_for(const lw_members *members, const struct lw_member_entry *known,
                     lw_member_state state) {
    if (state == LW_MEMBER_GONE) {
        return members->gone_count < LW_TOMBSTONES_MAX;
    }
    return known != NULL || members->count - members->gone_count < LW_MEMBERS_MAX;
}

static lw_status full(lw_member_state state) {
    return lw_fail(LW_FULL, "this node knows %d nodes that are %s: the lattice can have no more",
                   state == LW_MEMBER_GONE ? LW_TOMBSTONES_MAX : LW_MEMBERS_MAX,
                   state == LW_MEMBER_GONE ? "gone" : "members");
}

/* Whether a record stands in the place of the known one (M1, M2). */
static bool later(const lw_members *members, const lw_member *came, lw_bytes record,
                  const struct lw_member_entry *known) {
    int order = lw_member_order(came, record, &known->member, record_of(known));
    bool known_gone = known->member.state == LW_MEMBER_GONE;
    if (LW_PLANTED(members, LW_BUG_LAST_RECORD_STANDS) ||
        (LW_PLANTED(members, LW_BUG_GONE_COMES_BACK) && known_gone)) {
        return order != 0;
    }
    LW_ASSERT(order <= 0 || !known_gone || came->state == LW_MEMBER_GONE); /* G1 */
    return order > 0;
}

lw_member_merged lw_members_merge(lw_members *members, lw_bytes record) {
    lw_member read;
    uint32_t place;
    if (lw_member_decode(record, &read) != LW_OK) {
        return LW_MEMBER_REFUSED;
    }
    struct lw_member_entry *known = find(members, read.node, &place);
    if (known != NULL && !later(members, &read, record, known)) {
        return LW_MEMBER_OLD; /* before its signature costs anything */
    }
    if (lw_member_verify(record, members->cluster_id, members->known, &read) != LW_OK &&
        !LW_PLANTED(members, LW_BUG_ANYONE_SIGNS)) {
        return LW_MEMBER_REFUSED;
    }
    bool gone_before = known != NULL && known->member.state == LW_MEMBER_GONE;
    if (!gone_before && !room_for(members, known, read.state)) {
        (void)full(read.state);
        return LW_MEMBER_REFUSED;
    }
    struct lw_member_entry *entry = make(members, record);
    uint64_t *bucket = &members->buckets[lw_members_bucket(read.node)];
    *bucket += entry->digest;
    members->weight += weight_of(&entry->member);
    members->gone_count += read.state == LW_MEMBER_GONE && !gone_before;
    if (known == NULL) {
        insert(members, place, entry);
        return LW_MEMBER_NEW;
    }
    *bucket -= known->digest;
    members->weight -= weight_of(&known->member);
    members->entries[place] = entry;
    lw_free(members->memory, known);
    return LW_MEMBER_CHANGED;
}

const lw_member *lw_members_find(const lw_members *members, uint64_t node) {
    uint32_t place;
    struct lw_member_entry *entry = find(members, node, &place);
    return entry == NULL ? NULL : &entry->member;
}

const lw_member *lw_members_at(const lw_members *members, uint32_t index) {
    LW_ASSERT(index < members->count);
    return &members->entries[index]->member;
}

lw_bytes lw_members_record(const lw_members *members, uint32_t index) {
    LW_ASSERT(index < members->count);
    return record_of(members->entries[index]);
}

uint32_t lw_members_bucket(uint64_t node) {
    return (uint32_t)(lw_mix(node) % LW_MEMBER_BUCKETS);
}

uint64_t lw_members_digest(const lw_members *members) {
    uint64_t digest = 0;
    for (uint32_t index = 0; index < LW_MEMBER_BUCKETS; index++) {
        digest = lw_mix(digest ^ members->buckets[index]);
    }
    return digest;
}

void lw_members_pages(const lw_members *members, void (*emit)(void *argument, lw_bytes page),
                      void *argument) {
    lw_buffer page = lw_buffer_in(members->memory);
    enum { HEAD_SIZE = 5 + 3 }; /* of a page, and of each record in it */
    uint32_t next = 0;
    while (next < members->count) {
        uint32_t end = next;
        for (size_t size = HEAD_SIZE; end < members->count; end++) {
            size += HEAD_SIZE + members->entries[end]->record_size;
            if (size > LW_MEMBER_PAGE_SIZE) {
                break;
            }
        }
        LW_ASSERT(end > next);
        lw_buffer_clear(&page);
        lw_write_array(&page, end - next);
        for (; next < end; next++) {
            lw_write_bytes(&page, record_of(members->entries[next]));
        }
        emit(argument, lw_buffer_view(&page));
    }
    lw_buffer_reset(&page);
}
