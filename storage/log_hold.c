/* SPDX-License-Identifier: Apache-2.0 */
/* What holds segments. See log_hold.h. */
#include "storage/log_hold.h"

#include "base/hash.h"

/* ---- groups and notes ------------------------------------------------------------------------ */

lw_log_group *lw_log_holds_group(const lw_log_holds *holds, uint64_t group) {
    lw_map_node *node = lw_map_first(&holds->groups, lw_mix(group));
    while (node != NULL && LW_MAP_ENTRY(node, lw_log_group, node)->group != group) {
        node = lw_map_next(node);
    }
    return node != NULL ? LW_MAP_ENTRY(node, lw_log_group, node) : NULL;
}

static lw_log_group *need_group(lw_log_holds *holds, uint64_t group) {
    if (holds->recent != NULL && holds->recent->group == group) {
        return holds->recent;
    }
    lw_log_group *found = lw_log_holds_group(holds, group);
    if (found == NULL) {
        found = lw_allocate_zero(holds->memory, sizeof(*found));
        found->group = group;
        lw_map_insert(&holds->groups, &found->node, lw_mix(group));
    }
    holds->recent = found;
    return found;
}

static void free_group(lw_log_holds *holds, lw_log_group *group) {
    lw_map_remove(&holds->groups, &group->node);
    lw_log_trail_reset(holds->memory, &group->trail);
    lw_free(holds->memory, (void *)(uintptr_t)group->state.payload.data);
    lw_free(holds->memory, group);
}

static lw_log_note *find_note(const lw_log_segment *segment, uint64_t group) {
    lw_map_node *node = lw_map_first(&segment->notes, lw_mix(group));
    while (node != NULL && LW_MAP_ENTRY(node, lw_log_note, node)->group != group) {
        node = lw_map_next(node);
    }
    return node != NULL ? LW_MAP_ENTRY(node, lw_log_note, node) : NULL;
}

static lw_log_note *need_note(lw_log_segment *segment, uint64_t group) {
    lw_log_note *found = find_note(segment, group);
    if (found == NULL) {
        found = lw_arena_allocate(&segment->arena, sizeof(*found));
        *found = (lw_log_note){.group = group};
        lw_map_insert(&segment->notes, &found->node, lw_mix(group));
        if (segment->last_note != NULL) {
            segment->last_note->next = found;
        } else {
            segment->first_note = found;
        }
        segment->last_note = found;
    }
    return found;
}

/* ---- segments -------------------------------------------------------------------------------- */

lw_log_segment *lw_log_segment_make(lw_memory *memory, const lw_log_segment_header *header) {
    lw_log_segment *segment = lw_allocate_zero(memory, sizeof(*segment));
    segment->header = *header;
    segment->file = LW_NO_HANDLE;
    segment->offset = LW_LOG_BLOCK;
    segment->mark_room = LW_LOG_MARKS_MAX;
    segment->notes = lw_map_in(memory);
    segment->arena = lw_arena_in(memory);
    return segment;
}

void lw_log_segment_free(lw_memory *memory, lw_log_segment *segment) {
    lw_map_reset(&segment->notes);
    lw_arena_reset(&segment->arena);
    lw_free(memory, segment);
}

void lw_log_holds_push(lw_log_holds *holds, lw_log_segment *segment) {
    LW_ASSERT(holds->newest == NULL || segment->header.number == holds->newest->header.number + 1);
    if (holds->newest != NULL) {
        holds->newest->next = segment;
    } else {
        holds->oldest = segment;
    }
    holds->newest = segment;
    holds->segment_count++;
    holds->segment_bytes += segment->header.size;
}

lw_log_segment *lw_log_holds_shift(lw_log_holds *holds) {
    lw_log_segment *segment = holds->oldest;
    LW_ASSERT(segment != NULL);
    LW_ASSERT(segment->writes == 0 && segment->readers == 0);
    holds->mark_size -= (LW_LOG_MARKS_MAX - segment->mark_room) * sizeof(lw_log_mark);
    holds->oldest = segment->next;
    if (holds->oldest == NULL) {
        holds->newest = NULL;
    }
    holds->segment_count--;
    holds->segment_bytes -= segment->header.size;
    return segment;
}

void lw_log_holds_reset(lw_log_holds *holds) {
    while (holds->oldest != NULL) {
        lw_log_segment_free(holds->memory, lw_log_holds_shift(holds));
    }
    for (uint32_t bucket = 0; bucket < holds->groups.bucket_count; bucket++) {
        while (holds->groups.buckets[bucket] != NULL) {
            lw_map_node *node = holds->groups.buckets[bucket];
            free_group(holds, LW_MAP_ENTRY(node, lw_log_group, node));
        }
    }
    lw_map_reset(&holds->groups);
    holds->recent = NULL;
}

/* ---- records come and go --------------------------------------------------------------------- */

/* Makes what the notes of a group say at most `most`. */
static void lower_notes(lw_log_holds *holds, const lw_log_group *group, uint64_t most) {
    for (lw_log_segment *segment = holds->oldest; segment != NULL; segment = segment->next) {
        lw_log_note *note = find_note(segment, group->group);
        if (note != NULL && note->index_max > most) {
            LW_ASSERT(note->index_max <= group->released || segment->pins > 0);
            segment->pins -= note->index_max > group->released && most <= group->released;
            note->index_max = most;
        }
    }
}

static void place_entry(lw_log_group *group, lw_log_segment *segment, lw_log_note *note,
                        uint64_t index) {
    uint64_t most = group->beginning && group->begin_index > group->trail.last ? group->begin_index
                                                                               : group->trail.last;
    index = index < most ? index : most; /* it may have been replaced on its way (H4) */
    if (index > note->index_max) {
        segment->pins += note->index_max <= group->released && index > group->released;
        note->index_max = index;
    }
}

bool lw_log_holds_takes(lw_log_holds *holds, const lw_log_record *record) {
    const lw_log_group *group = need_group(holds, record->group);
    if (record->kind == LW_LOG_STATE) {
        return true;
    }
    if (record->index == UINT64_MAX || (record->kind == LW_LOG_ENTRY && record->index == 0)) {
        return false;
    }
    return record->kind == LW_LOG_BEGIN || group->released == UINT64_MAX ||
           lw_log_trail_takes(&group->trail, record->index);
}

static void append_state(lw_log_holds *holds, lw_log_group *group, const lw_log_record *record) {
    /* Copied before the old one is freed: a state that is carried over is its own copy's source. */
    lw_bytes payload = lw_copy(holds->memory, record->payload);
    lw_free(holds->memory, (void *)(uintptr_t)group->state.payload.data);
    group->state = *record;
    group->state.payload = payload;
    group->state_segment = LW_LOG_STATE_PENDING;
}

static bool append_entry(lw_log_holds *holds, lw_log_group *group, const lw_log_record *record) {
    if (__builtin_expect(lw_log_trail_goes_on(&group->trail, record->index, record->term), 1) &&
        !group->beginning) {
        group->trail.last++;
        return false;
    }
    bool replaces = group->trail.known && record->index <= group->trail.last;
    if (replaces || group->beginning) {
        group->beginning = false;
        lower_notes(holds, group, replaces ? record->index - 1 : group->trail.last);
    }
    lw_log_trail_append(holds->memory, &group->trail, record->index, record->term);
    return replaces;
}

bool lw_log_holds_append(lw_log_holds *holds, const lw_log_record *record) {
    lw_log_group *group = need_group(holds, record->group);
    if (group->released == UINT64_MAX) {
        /* It was gone and is back: what it had before holds nothing, what it gets now does. */
        lower_notes(holds, group, 0);
        group->released = 0;
    }
    if (record->kind == LW_LOG_STATE) {
        append_state(holds, group, record);
    } else if (record->kind == LW_LOG_BEGIN) {
        group->beginning = true;
        group->begin_index = record->index;
        group->begin_segment = 0;
    } else {
        return append_entry(holds, group, record);
    }
    return false;
}

void lw_log_holds_place(lw_log_holds *holds, lw_log_segment *segment, const lw_log_record *record,
                        uint64_t index_min) {
    lw_log_note *note = need_note(segment, record->group);
    lw_log_group *group = need_group(holds, record->group);
    if (record->kind == LW_LOG_STATE) {
        /* The group may have been released for good while its state was under way. */
        if (group->state_segment != LW_LOG_STATE_NONE) {
            group->state_segment = segment->header.number;
        }
        return;
    }
    if (record->kind == LW_LOG_BEGIN) {
        group->begin_segment = segment->header.number;
    } else {
        uint32_t room = segment->mark_room;
        lw_log_marks_add(&segment->arena, &note->marks, index_min, segment->offset,
                         segment->header.size / LW_LOG_MARKS_PART, &segment->mark_room);
        holds->mark_size += (room - segment->mark_room) * sizeof(lw_log_mark);
    }
    if (record->kind == LW_LOG_ENTRY || group->beginning) {
        place_entry(group, segment, note, record->index);
    }
}

void lw_log_holds_begun(lw_log_holds *holds, uint64_t group_id, bool counts) {
    lw_log_group *group = lw_log_holds_group(holds, group_id);
    if (group == NULL || !group->beginning) {
        return;
    }
    uint64_t kept = group->trail.known ? group->trail.last : 0;
    group->beginning = false;
    lower_notes(holds, group, counts ? 0 : kept);
    if (!counts) {
        return;
    }
    if (group->released > group->begin_index) {
        group->released = group->begin_index; /* all of it was let go, and it is back */
    }
    lw_log_trail_begin(&group->trail, group->begin_index);
    lw_log_segment *segment = holds->oldest;
    while (segment != NULL && segment->header.number != group->begin_segment) {
        segment = segment->next;
    }
    if (segment != NULL) { /* else what it makes void is gone, too */
        place_entry(group, segment, need_note(segment, group_id), group->begin_index);
    }
}

void lw_log_holds_release(lw_log_holds *holds, uint64_t group_id, uint64_t index) {
    lw_log_group *group = lw_log_holds_group(holds, group_id);
    if (group == NULL || index <= group->released) {
        return;
    }
    for (lw_log_segment *segment = holds->oldest; segment != NULL; segment = segment->next) {
        lw_log_note *note = find_note(segment, group_id);
        if (note != NULL && note->index_max > group->released && note->index_max <= index) {
            LW_ASSERT(segment->pins > 0);
            segment->pins--;
        }
    }
    group->released = index;
    lw_log_trail_release(&group->trail, index);
    if (index == UINT64_MAX) {
        lw_log_trail_reset(holds->memory, &group->trail);
        group->beginning = false;
        /* The group itself stays, since records of it may be under way to a segment. */
        lw_free(holds->memory, (void *)(uintptr_t)group->state.payload.data);
        group->state = (lw_log_record){0};
        group->state_segment = LW_LOG_STATE_NONE;
    }
}

/* ---- questions ------------------------------------------------------------------------------- */

uint64_t lw_log_holds_pinned(const lw_log_holds *holds, uint64_t group_id) {
    const lw_log_group *group = lw_log_holds_group(holds, group_id);
    uint64_t pinned = 0;
    for (const lw_log_segment *segment = holds->oldest; group != NULL && segment != holds->newest;
         segment = segment->next) {
        const lw_log_note *note = pinned == 0 ? find_note(segment, group_id) : NULL;
        bool pins = note != NULL && note->index_max > group->released;
        pinned += pinned > 0 || pins ? segment->header.size : 0;
    }
    return pinned;
}

uint64_t lw_log_holds_first(const lw_log_holds *holds) {
    const lw_log_segment *segment = holds->oldest;
    while (segment != holds->newest && segment->pins == 0 && segment->readers == 0) {
        segment = segment->next;
    }
    return segment->header.number;
}

const lw_log_record *lw_log_holds_state(const lw_log_holds *holds, const lw_log_segment *segment,
                                        const lw_log_note *note) {
    const lw_log_group *group = lw_log_holds_group(holds, note->group);
    bool here = group != NULL && group->state_segment == segment->header.number;
    return here ? &group->state : NULL;
}

uint64_t lw_log_holds_find(const lw_log_holds *holds, uint64_t group, uint64_t index,
                           uint64_t least, lw_log_segment **segment) {
    uint64_t offset = 0;
    for (lw_log_segment *each = holds->oldest; each != NULL; each = each->next) {
        const lw_log_note *note = each->header.number >= least ? find_note(each, group) : NULL;
        if (note == NULL || note->marks.first.offset == 0) {
            continue;
        }
        uint64_t found = lw_log_marks_find(&note->marks, index);
        if (found > 0 || offset == 0) {
            offset = found > 0 ? found : note->marks.first.offset;
            *segment = each;
        }
    }
    return offset;
}

void lw_log_holds_check(const lw_log_holds *holds) {
    uint64_t segment_count = 0;
    for (const lw_log_segment *segment = holds->oldest; segment != NULL; segment = segment->next) {
        uint32_t pins = 0;
        for (const lw_log_note *note = segment->first_note; note != NULL; note = note->next) {
            const lw_log_group *group = lw_log_holds_group(holds, note->group);
            LW_ASSERT(group != NULL);
            pins += note->index_max > group->released;
            LW_ASSERT(group->released == UINT64_MAX || note->index_max <= group->trail.last ||
                      (group->beginning && note->index_max <= group->begin_index));
        }
        LW_ASSERT(pins == segment->pins);
        segment_count++;
    }
    LW_ASSERT(segment_count == holds->segment_count);
}
