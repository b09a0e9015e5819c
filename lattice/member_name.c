/* SPDX-License-Identifier: Apache-2.0 */
/* What members are called: see member.h. Sets are small, and names are asked for by people: all of
 * this looks at every member. */
#include "lattice/member.h"

#include <inttypes.h>
#include <stdio.h>

/* Whether `a` took its name before `b`. */
static bool before(const lw_member *a, const lw_member *b) {
    return a->named != b->named ? a->named < b->named : a->node < b->node;
}

static bool is_called(const lw_member *member, lw_bytes name) {
    return member->state != LW_MEMBER_GONE && lw_equal(member->name, name);
}

const lw_member *lw_members_named(const lw_members *members, lw_bytes name, uint64_t node) {
    const lw_member *first = NULL;
    for (uint32_t index = 0; index < members->count && name.size > 0; index++) {
        const lw_member *member = lw_members_at(members, index);
        if (member->node != node && is_called(member, name) &&
            (first == NULL || before(member, first))) {
            first = member;
        }
    }
    return first;
}

lw_status lw_member_name_taken(const lw_member *member) {
    int size = (int)member->name.size;
    const char *name = (const char *)member->name.data;
    return lw_fail(LW_REFUSED,
                   "the member at %.*s is called %.*s already: give this node another name, or, if "
                   "that one is lost for good, take it out first: lathwork leave --force %.*s",
                   (int)member->address.size, (const char *)member->address.data, size, name, size,
                   name);
}

bool lw_members_outnamed(const lw_members *members, uint64_t node) {
    const lw_member *member = lw_members_find(members, node);
    LW_ASSERT(member != NULL);
    const lw_member *other = lw_members_named(members, member->name, node);
    return other != NULL && before(other, member);
}

const char *lw_members_label(const lw_members *members, uint64_t node,
                             char label[LW_MEMBER_LABEL_SIZE]) {
    enum { DIGITS = 6 };
    const lw_member *member = lw_members_find(members, node);
    lw_bytes name = member == NULL ? (lw_bytes){0} : member->name;
    bool called = name.size > 0;
    (void)snprintf(label, LW_MEMBER_LABEL_SIZE, "%.*s", (int)name.size,
                   called ? (const char *)name.data : "");
    if (called && member->state == LW_MEMBER_GONE) {
        called = lw_members_named(members, name, node) == NULL;
    } else if (called && lw_members_outnamed(members, node)) {
        (void)snprintf(label, LW_MEMBER_LABEL_SIZE, "%.*s-%0*" PRIx64, (int)name.size,
                       (const char *)name.data, DIGITS, node >> (64 - 4 * DIGITS));
        called = lw_members_named(members, lw_text(label), node) == NULL;
    }
    if (!called) {
        (void)snprintf(label, LW_MEMBER_LABEL_SIZE, "%016" PRIx64, node);
    }
    return label;
}

/* The number of a name like n4; 0: it is none. */
static uint64_t number_of(lw_bytes name) {
    enum { DIGITS_MAX = 9 };
    uint64_t number = 0;
    if (name.size < 2 || name.size > 1 + DIGITS_MAX || name.data[0] != 'n' || name.data[1] == '0') {
        return 0;
    }
    for (size_t index = 1; index < name.size; index++) {
        if (name.data[index] < '0' || name.data[index] > '9') {
            return 0;
        }
        number = number * 10 + (uint64_t)(name.data[index] - '0');
    }
    return number;
}

void lw_members_free_name(const lw_members *members, lw_bytes wanted, uint64_t node,
                          char name[LW_MEMBER_NAME_MAX + 1], uint64_t *named) {
    enum { KEPT_MAX = LW_MEMBER_NAME_MAX - 5 }; /* so that a number fits behind it */
    const lw_member *self = lw_members_find(members, node);
    uint64_t highest = 0, rivals = 0, latest = 0;
    for (uint32_t index = 0; index < members->count; index++) {
        const lw_member *member = lw_members_at(members, index);
        if (member->node != node) {
            uint64_t number = number_of(member->name);
            highest = number > highest ? number : highest;
            latest = member->named > latest ? member->named : latest;
            /* All but the first of those that want one name go on to the next ones, in turn. */
            rivals += self != NULL && wanted.size > 0 && is_called(member, wanted) &&
                      before(member, self);
        }
    }
    *named = latest + 1;
    if (wanted.size == 0 || number_of(wanted) > 0) {
        uint64_t next = highest + (rivals > 1 ? rivals : 1);
        (void)snprintf(name, LW_MEMBER_NAME_MAX + 1, "n%" PRIu64, next);
        return;
    }
    int kept = wanted.size < KEPT_MAX ? (int)wanted.size : KEPT_MAX;
    uint32_t number = 2;
    do {
        (void)snprintf(name, LW_MEMBER_NAME_MAX + 1, "%.*s-%u", kept, (const char *)wanted.data,
                       number++);
    } while (lw_members_named(members, lw_text(name), node) != NULL);
}
