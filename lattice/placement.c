/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/placement.h"

#include "lattice/placement_private.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- one decision -------------------------------------------------------------------------------
 */

typedef struct set {
    uint64_t nodes[LW_SHARD_REPLICAS_MAX];
    uint32_t count;
} set;

typedef struct decision {
    const lw_placement_view *view;
    const lw_placement_shard *shard;
    lw_placement_step *step;
    set voters, learners;
    placement_wanted wanted;
    set excess;  /* voters that are not wanted, the one to go first first */
    set missing; /* wanted, and neither voter nor learner; best first */
    set ready;   /* learners that are wanted and caught up */
} decision;

static bool has(const set *in, uint64_t node) {
    for (uint32_t index = 0; index < in->count; index++) {
        if (in->nodes[index] == node) {
            return true;
        }
    }
    return false;
}

static void add(set *to, uint64_t node) {
    LW_ASSERT(to->count < LW_SHARD_REPLICAS_MAX);
    to->nodes[to->count++] = node;
}

static void drop(set *from, uint64_t node) {
    uint32_t kept = 0;
    for (uint32_t index = 0; index < from->count; index++) {
        if (from->nodes[index] != node) {
            from->nodes[kept++] = from->nodes[index];
        }
    }
    from->count = kept;
}

static bool is_wanted(const decision *of, uint64_t node) {
    for (uint32_t index = 0; index < of->wanted.count; index++) {
        if (of->wanted.nodes[index] == node) {
            return true;
        }
    }
    return false;
}

static bool healthy(const decision *of, uint64_t node) {
    const lw_placement_node *member = placement_node(of->view, node);
    if (node == of->view->options.self) {
        return true;
    }
    for (uint32_t index = 0; index < of->shard->progress_count; index++) {
        if (of->shard->progress[index].node == node) {
            return member != NULL && member->linked &&
                   (of->shard->progress[index].caught_up ||
                    LW_PLANTED(&of->view->options, LW_BUG_LAGGARDS_ARE_HEALTHY));
        }
    }
    return false;
}

/* Whether those that are healthy can decide for all. */
static bool has_quorum(const decision *of, const set *voters) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < voters->count; index++) {
        count += healthy(of, voters->nodes[index]);
    }
    return count >= voters->count / 2 + 1 || LW_PLANTED(&of->view->options, LW_BUG_QUORUM_IGNORED);
}

static __attribute__((format(printf, 2, 3))) void because(decision *of, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(of->step->reason, sizeof(of->step->reason), format, arguments);
    va_end(arguments);
}

/* What people call a node. */
static const char *called(const decision *of, uint64_t node, char name[LW_MEMBER_LABEL_SIZE]) {
    const lw_placement_node *member = placement_node(of->view, node);
    if (member != NULL && member->name.size > 0) {
        (void)snprintf(name, LW_MEMBER_LABEL_SIZE, "%.*s", (int)member->name.size,
                       (const char *)member->name.data);
    } else {
        (void)snprintf(name, LW_MEMBER_LABEL_SIZE, "%016llx", (unsigned long long)node);
    }
    return name;
}
#define CALLED(of, node) called((of), (node), (char[LW_MEMBER_LABEL_SIZE]){0})

/* Why a voter is not wanted where it is. */
static const char *fault_of(const decision *of, uint64_t node) {
    const lw_placement_node *member = placement_node(of->view, node);
    if (member == NULL) {
        return "is gone";
    }
    if (member->state > LW_MEMBER_UP) {
        return member->state == LW_MEMBER_DRAINING ? "is draining" : "is leaving";
    }
    return member->dead ? "has been unreachable for too long" : NULL;
}

/* Whether it is placed as another one. */
static bool is_anchored(const decision *of) {
    return of->shard->anchor != 0 && of->shard->anchor != of->shard->shard->id;
}

/* Why a voter that has no fault is not wanted where it is. */
static const char *outdone(const decision *of) {
    return is_anchored(of) ? "does not have the small neighbours" : "is not the best any more";
}

/* Writes the replicas as they shall be, ascending. */
static void shall_be(decision *of, const set *voters, const set *learners) {
    lw_placement_step *step = of->step;
    step->replica_count = 0;
    for (uint32_t index = 0; index < voters->count + learners->count; index++) {
        bool voter = index < voters->count;
        lw_shard_replica replica = {.node = voter ? voters->nodes[index]
                                                  : learners->nodes[index - voters->count],
                                    .role = voter ? LW_REPLICA_VOTER : LW_REPLICA_LEARNER};
        uint32_t place = step->replica_count++;
        LW_ASSERT(place < LW_SHARD_REPLICAS_MAX);
        for (; place > 0 && step->replicas[place - 1].node > replica.node; place--) {
            step->replicas[place] = step->replicas[place - 1];
        }
        step->replicas[place] = replica;
    }
}

/* ---- the parts of a decision --------------------------------------------------------------------
 */

/* False while a change of voters is under way, or this node has no part in the shard. */
static bool read_replicas(decision *of) {
    const lw_shard_descriptor *shard = of->shard->shard;
    if (shard->replica_count == 0) {
        add(&of->voters, of->view->options.self); /* of before there were several nodes */
    }
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        const lw_shard_replica *replica = &shard->replicas[index];
        if (replica->role != LW_REPLICA_VOTER && replica->role != LW_REPLICA_LEARNER) {
            return false;
        }
        add(replica->role == LW_REPLICA_VOTER ? &of->voters : &of->learners, replica->node);
    }
    return has(&of->voters, of->view->options.self);
}

/* Voters whose node is gone or dead go first, then those on nodes that are emptied, then the rest;
 * this node last among equals. */
static uint32_t urgency(const decision *of, uint64_t node) {
    const lw_placement_node *member = placement_node(of->view, node);
    if (member == NULL) {
        return 5;
    }
    uint32_t urgent = member->dead ? 4 : member->state > LW_MEMBER_UP ? 2 : 1;
    return urgent - (node == of->view->options.self);
}

static void sort_out(decision *of) {
    uint64_t as = is_anchored(of) ? of->shard->anchor : of->shard->shard->id;
    placement_want(of->view, as, of->voters.nodes, of->voters.count, &of->wanted);
    of->step->wanted_count = of->wanted.count;
    memcpy(of->step->wanted, of->wanted.nodes, of->wanted.count * sizeof(of->wanted.nodes[0]));
    for (uint32_t index = 0; index < of->voters.count; index++) {
        uint64_t node = of->voters.nodes[index];
        if (is_wanted(of, node)) {
            continue;
        }
        add(&of->excess, node);
        for (uint32_t place = of->excess.count - 1;
             place > 0 && urgency(of, of->excess.nodes[place - 1]) < urgency(of, node); place--) {
            of->excess.nodes[place] = of->excess.nodes[place - 1];
            of->excess.nodes[place - 1] = node;
        }
    }
    for (uint32_t index = 0; index < of->wanted.count; index++) {
        uint64_t node = of->wanted.nodes[index];
        if (has(&of->learners, node) && healthy(of, node)) {
            add(&of->ready, node);
        } else if (!has(&of->learners, node) && !has(&of->voters, node)) {
            add(&of->missing, node);
        }
    }
}

/* A step that has its kind and nodes; false, and none, if too much is under way. */
static bool take(decision *of, lw_placement_step_kind kind, uint64_t node, uint64_t other) {
    if (of->view->changing >= of->view->options.changing_max) {
        because(of, "waits: %u changes of this node are under way", of->view->changing);
        return false;
    }
    of->step->kind = kind;
    of->step->node = node;
    of->step->other = other;
    of->step->rate = kind == LW_PLACEMENT_TRANSFER ? of->shard->rate : 0;
    return true;
}

/* A learner where none is wanted. */
static bool remove_learner(decision *of) {
    for (uint32_t index = 0; index < of->learners.count; index++) {
        uint64_t node = of->learners.nodes[index];
        if (is_wanted(of, node)) {
            continue;
        }
        if (take(of, LW_PLACEMENT_REMOVE, node, 0)) {
            const char *fault = fault_of(of, node);
            because(of, "the learner on %s is not wanted: the node %s", CALLED(of, node),
                    fault != NULL ? fault : outdone(of));
            drop(&of->learners, node);
            shall_be(of, &of->voters, &of->learners);
        }
        return true;
    }
    return false;
}

/* A voter that could lead at once, the wanted ones first; 0: none. */
static uint64_t heir(const decision *of) {
    uint64_t other = 0;
    for (uint32_t index = 0; index < of->voters.count; index++) {
        uint64_t node = of->voters.nodes[index];
        if (node == of->view->options.self || !healthy(of, node) || fault_of(of, node) != NULL) {
            continue;
        }
        if (is_wanted(of, node)) {
            return node;
        }
        other = node;
    }
    return other;
}

static bool hand_over(decision *of, const char *why) {
    uint64_t node = heir(of);
    if (node == 0) {
        return false;
    }
    if (take(of, LW_PLACEMENT_TRANSFER, node, of->view->options.self)) {
        because(of, "%s shall lead instead of this node, which %s", CALLED(of, node), why);
    }
    return true;
}

/* How many come or go at once, so that their number stays odd, or becomes so: an even number can do
 * without no more of them than the odd one below it, and has one more that may be lost (P6). */
static uint32_t stride(const decision *of) {
    bool one_by_one = LW_PLANTED(&of->view->options, LW_BUG_EVEN_VOTERS);
    return of->voters.count % 2 == 0 || one_by_one ? 1 : 2;
}

/* More voters, once as many learners as make their number odd have caught up. */
static bool promote(decision *of) {
    set voters = of->voters, learners = of->learners;
    uint32_t count = stride(of);
    if (of->ready.count < count) {
        return false;
    }
    for (uint32_t index = 0; index < count; index++) {
        add(&voters, of->ready.nodes[index]);
        drop(&learners, of->ready.nodes[index]);
    }
    uint64_t node = of->ready.nodes[0], other = count > 1 ? of->ready.nodes[1] : 0;
    if (has_quorum(of, &voters) && take(of, LW_PLACEMENT_PROMOTE, node, other)) {
        because(of, "%u of %u voters: %s%s%s caught up", of->voters.count, of->wanted.target,
                CALLED(of, node), other != 0 ? " and " : "",
                other != 0 ? CALLED(of, other) : " has");
        shall_be(of, &voters, &learners);
    }
    return true;
}

static bool promote_for_self(decision *of) {
    set voters = of->voters, learners = of->learners;
    add(&voters, of->ready.nodes[0]);
    drop(&learners, of->ready.nodes[0]);
    if (take(of, LW_PLACEMENT_PROMOTE, of->ready.nodes[0], 0)) {
        because(of, "%s shall hold the shard instead of this node, alone",
                CALLED(of, of->ready.nodes[0]));
        shall_be(of, &voters, &learners);
    }
    return true;
}

/* One for one. */
static bool replace(decision *of) {
    if (of->excess.count == 0 || of->ready.count == 0) {
        return false;
    }
    uint64_t old = of->excess.nodes[0], new = of->ready.nodes[0];
    const char *fault = fault_of(of, old);
    if (old == of->view->options.self) {
        return of->voters.count == 1 ? promote_for_self(of)
                                     : hand_over(of, fault != NULL ? fault : outdone(of));
    }
    set voters = of->voters, learners = of->learners;
    drop(&voters, old);
    add(&voters, new);
    drop(&learners, new);
    if (!has_quorum(of, &voters)) {
        because(of, "waits: too few voters are healthy to replace %s", CALLED(of, old));
        return true;
    }
    if (take(of, LW_PLACEMENT_REPLACE, new, old)) {
        because(of, "%s takes the place of %s, which %s", CALLED(of, new), CALLED(of, old),
                fault != NULL ? fault : outdone(of));
        shall_be(of, &voters, &learners);
    }
    return true;
}

/* Fewer voters. */
static bool shrink(decision *of) {
    uint32_t count = stride(of);
    set voters = of->voters;
    LW_ASSERT(of->excess.count >= count);
    for (uint32_t index = 0; index < count; index++) {
        if (of->excess.nodes[index] == of->view->options.self) {
            return hand_over(of, "is one too many");
        }
        drop(&voters, of->excess.nodes[index]);
    }
    uint64_t node = of->excess.nodes[0], other = count > 1 ? of->excess.nodes[1] : 0;
    if (!has_quorum(of, &voters)) {
        because(of, "waits: too few voters are healthy to remove %s", CALLED(of, node));
        return true;
    }
    if (take(of, LW_PLACEMENT_REMOVE, node, other)) {
        const char *fault = fault_of(of, node);
        because(of, "%u voters where %u are wanted: %s %s%s%s", of->voters.count, of->wanted.target,
                CALLED(of, node), fault != NULL ? fault : "is one too many",
                other != 0 ? ", and with it goes " : "", other != 0 ? CALLED(of, other) : "");
        shall_be(of, &voters, &of->learners);
    }
    return true;
}

/* Whether a shard may come to `node` now. `needed`: it lacks voters, or one must go. One that has
 * some of the learners it takes waits for no room: those who have it may wait for its own. */
static bool may_receive(decision *of, uint64_t node, bool needed) {
    const lw_placement_node *member = placement_node(of->view, node);
    if (!member->linked) {
        because(of, "waits: there is no link to %s", CALLED(of, node));
        return false;
    }
    bool begun = of->ready.count > 0 && !LW_PLANTED(&of->view->options, LW_BUG_ROOM_AWAITED);
    if (!begun && member->load.receiving >= of->view->options.receiving_max) {
        because(of, "waits: %s is being given other shards", CALLED(of, node));
        return false;
    }
    if (!needed &&
        (!of->view->options.calm || !of->shard->settled || !member->settled || !member->loaded)) {
        because(of, "waits: %s would be better, when all is calm", CALLED(of, node));
        return false;
    }
    return true;
}

static bool recruit(decision *of) {
    uint32_t lack = of->wanted.target > of->voters.count ? of->wanted.target - of->voters.count : 0;
    uint32_t most = lack > 1 ? lack : 1;
    bool needed = lack > 0 || (of->excess.count > 0 && fault_of(of, of->excess.nodes[0]) != NULL);
    if (of->missing.count == 0 || of->learners.count >= most) {
        return false;
    }
    uint64_t node = of->missing.nodes[0];
    if (!may_receive(of, node, needed) || !take(of, LW_PLACEMENT_ADD, node, 0)) {
        return true;
    }
    const char *fault = of->excess.count == 0 ? NULL : fault_of(of, of->excess.nodes[0]);
    if (lack > 0) {
        because(of, "%u of %u voters: a learner on %s", of->voters.count, of->wanted.target,
                CALLED(of, node));
    } else {
        because(of, "a learner on %s, to take the place of %s, which %s", CALLED(of, node),
                CALLED(of, of->excess.nodes[0]), fault != NULL ? fault : outdone(of));
    }
    add(&of->learners, node);
    shall_be(of, &of->voters, &of->learners);
    return true;
}

static void balance(decision *of) {
    set eligible = {0};
    for (uint32_t index = 0; index < of->voters.count; index++) {
        uint64_t node = of->voters.nodes[index];
        if (healthy(of, node) && fault_of(of, node) == NULL) {
            add(&eligible, node);
        }
    }
    bool may = of->view->options.calm && of->shard->settled;
    uint64_t node =
        may ? placement_leader(of->view, of->shard->rate, eligible.nodes, eligible.count) : 0;
    if (node != 0 && take(of, LW_PLACEMENT_TRANSFER, node, of->view->options.self)) {
        because(of, "%s leads less than this node", CALLED(of, node));
    }
}

/* What is left to say when nothing is to be done. */
static void explain(decision *of) {
    if (of->step->reason[0] != '\0') {
        return;
    }
    if (of->learners.count > 0) {
        because(of, "waits: %s has not caught up", CALLED(of, of->learners.nodes[0]));
    } else if (of->excess.count > 0) {
        const char *fault = fault_of(of, of->excess.nodes[0]);
        because(of, "waits for a node: %s %s, and there is none to take its place",
                CALLED(of, of->excess.nodes[0]), fault != NULL ? fault : "is not wanted");
    } else {
        bool lone = of->voters.count == 1;
        because(of, "%u voter%s where %s should be%s", of->voters.count, lone ? "" : "s",
                lone ? "it" : "they", is_anchored(of) ? ", next to small neighbours" : "");
    }
}

/* What no rule asks (P3). */
static bool all_seen(const lw_placement_view *view) {
    for (uint32_t index = 0; index < view->count; index++) {
        if (!view->nodes[index].linked) {
            return false;
        }
    }
    return true;
}

void lw_placement_decide(const lw_placement_view *view, const lw_placement_shard *shard,
                         lw_placement_step *step) {
    decision of = {.view = view, .shard = shard, .step = step};
    *step = (lw_placement_step){0};
    bool whole = read_replicas(&of);
    if (whole) {
        sort_out(&of);
    }
    if (shard->changing || shard->by_hand || !whole) {
        because(&of, shard->by_hand ? "waits: it was moved by hand just now"
                                    : "waits: a change is under way");
        return;
    }
    shall_be(&of, &of.voters, &of.learners);
    if (!has_quorum(&of, &of.voters)) {
        because(&of, "waits: too few voters are healthy to decide anything");
        return;
    }
    if (LW_PLANTED(&view->options, LW_BUG_ALL_MUST_BE_SEEN) && !all_seen(view)) {
        return;
    }
    const lw_placement_node *self = placement_node(view, view->options.self);
    bool emptied = self == NULL || self->state > LW_MEMBER_UP;
    bool done = remove_learner(&of) || (emptied && hand_over(&of, "is being emptied"));
    if (!done && of.voters.count < of.wanted.target) {
        done = promote(&of);
    }
    if (!done && of.voters.count > of.wanted.target) {
        done = shrink(&of);
    }
    if (!done && of.voters.count >= of.wanted.target) {
        done = replace(&of);
    }
    done = done || recruit(&of);
    if (!done && of.excess.count == 0 && of.learners.count == 0) {
        balance(&of);
    }
    explain(&of);
}
