/* SPDX-License-Identifier: Apache-2.0 */
/* What holds segments. See log_hold.h. */
#include "storage/log_hold.h"

#include "base/hash.h"

/* ---- groups and notes ------------------------------------------------------------------------ */

static lw_log_group *find_group(const lw_log_holds *holds, uint64_t group) {
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
    lw_log_group *found = find_group(holds, group);
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
    LW_ASSERT(segment->writes == 0);
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

/* Forgets which entries the group has in segments. */
static void forget_notes(lw_log_holds *holds, uint64_t group_id) {
    for (lw_log_segment *segment = holds->oldest; segment != NULL; segment = segment->next) {
        lw_log_note *note = find_note(segment, group_id);
        if (note != NULL) {
            note->index_max = 0;
        }
    }
}

void lw_log_holds_append(lw_log_holds *holds, const lw_log_record *record) {
    lw_log_group *group = need_group(holds, record->group);
    if (group->released == UINT64_MAX) {
        /* It was gone and is back: what it had before holds nothing, what it gets now does. */
        forget_notes(holds, record->group);
        group->released = 0;
    }
    if (record->kind != LW_LOG_STATE) {
        return;
    }
    /* Copied before the old one is freed: a state that is carried over is its own copy's source. */
    lw_bytes payload = lw_copy(holds->memory, record->payload);
    lw_free(holds->memory, (void *)(uintptr_t)group->state.payload.data);
    group->state = *record;
    group->state.payload = payload;
    group->state_segment = LW_LOG_STATE_PENDING;
}

void lw_log_holds_place(lw_log_holds *holds, lw_log_segment *segment, const lw_log_record *record) {
    lw_log_note *note = need_note(segment, record->group);
    if (record->kind == LW_LOG_STATE) {
        lw_log_group *group = need_group(holds, record->group);
        /* The group may have been released for good while its state was under way. */
        if (group->state_segment != LW_LOG_STATE_NONE) {
            group->state_segment = segment->header.number;
        }
        return;
    }
    if (record->index > note->index_max) {
        uint64_t released = need_group(holds, record->group)->released;
        segment->pins += note->index_max <= released && record->index > released;
        note->index_max = record->index;
    }
}

void lw_log_holds_release(lw_log_holds *holds, uint64_t group_id, uint64_t index) {
    lw_log_group *group = find_group(holds, group_id);
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
    if (index == UINT64_MAX) {
        /* The group itself stays, since records of it may be under way to a segment. */
        lw_free(holds->memory, (void *)(uintptr_t)group->state.payload.data);
        group->state = (lw_log_record){0};
        group->state_segment = LW_LOG_STATE_NONE;
    }
}

/* ---- questions ------------------------------------------------------------------------------- */

uint64_t lw_log_holds_pinned(const lw_log_holds *holds, uint64_t group_id) {
    const lw_log_group *group = find_group(holds, group_id);
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
    while (segment != holds->newest && segment->pins == 0) {
        segment = segment->next;
    }
    return segment->header.number;
}

const lw_log_record *lw_log_holds_state(const lw_log_holds *holds, const lw_log_segment *segment,
                                        const lw_log_note *note) {
    const lw_log_group *group = find_group(holds, note->group);
    bool here = group != NULL && group->state_segment == segment->header.number;
    return here ? &group->state : NULL;
}

void lw_log_holds_check(const lw_log_holds *holds) {
    uint64_t segment_count = 0;
    for (const lw_log_segment *segment = holds->oldest; segment != NULL; segment = segment->next) {
        uint32_t pins = 0;
        for (const lw_log_note *note = segment->first_note; note != NULL; note = note->next) {
            const lw_log_group *group = find_group(holds, note->group);
            pins += note->index_max > (group != NULL ? group->released : 0);
        }
        LW_ASSERT(pins == segment->pins);
        segment_count++;
    }
    LW_ASSERT(segment_count == holds->segment_count);
}
