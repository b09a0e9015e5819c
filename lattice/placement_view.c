/* SPDX-License-Identifier: Apache-2.0 */
/* What placement sees: all nodes, as one of them knows them, and what it has decided since it
 * looked. */
#include "lattice/placement_private.h"

enum { RECEIVING_MAX = 2, CHANGING_MAX = 8, FULL_PERCENT = 90 };

void lw_placement_begin(lw_placement_view *view, const lw_placement_options *options,
                        uint32_t changing) {
    view->options = *options;
    lw_placement_options *set = &view->options;
    set->voters = set->voters == 0 ? LW_PLACEMENT_VOTERS : set->voters;
    set->receiving_max = set->receiving_max == 0 ? RECEIVING_MAX : set->receiving_max;
    set->changing_max = set->changing_max == 0 ? CHANGING_MAX : set->changing_max;
    set->full_percent = set->full_percent == 0 ? FULL_PERCENT : set->full_percent;
    LW_ASSERT(set->self != 0 && set->voters % 2 == 1 && set->voters <= LW_SHARD_REPLICAS_MAX / 2);
    view->count = 0;
    view->weighted = false;
    view->changing = changing;
}

void lw_placement_add(lw_placement_view *view, const lw_placement_node *node) {
    LW_ASSERT(view->count < LW_PLACEMENT_NODES_MAX && node->state != LW_MEMBER_GONE);
    LW_ASSERT(view->count == 0 || view->nodes[view->count - 1].node < node->node);
    view->weighted = view->weighted || (view->count > 0 && placement_weight(&view->nodes[0]) !=
                                                               placement_weight(node));
    view->nodes[view->count++] = *node;
}

const lw_placement_node *placement_node(const lw_placement_view *view, uint64_t node) {
    uint32_t low = 0, high = view->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (view->nodes[middle].node < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < view->count && view->nodes[low].node == node;
    return found ? &view->nodes[low] : NULL;
}

void lw_placement_took(lw_placement_view *view, const lw_placement_step *step) {
    lw_placement_node *self = NULL, *to = NULL;
    for (uint32_t index = 0; index < view->count; index++) {
        self = view->nodes[index].node == view->options.self ? &view->nodes[index] : self;
        to = view->nodes[index].node == step->node ? &view->nodes[index] : to;
    }
    view->changing += step->kind != LW_PLACEMENT_NOTHING;
    if (step->kind == LW_PLACEMENT_ADD && to != NULL) {
        to->load.receiving++;
    }
    if (step->kind == LW_PLACEMENT_TRANSFER && to != NULL && self != NULL) {
        self->load.leaders -= self->load.leaders > 0;
        self->load.reads -= self->load.reads < step->rate ? self->load.reads : step->rate;
        to->load.leaders++;
        to->load.reads += step->rate;
        to->given++;
    }
}

const char *lw_placement_step_name(lw_placement_step_kind kind) {
    switch (kind) {
    case LW_PLACEMENT_NOTHING:
        return "nothing";
    case LW_PLACEMENT_ADD:
        return "add";
    case LW_PLACEMENT_PROMOTE:
        return "promote";
    case LW_PLACEMENT_REPLACE:
        return "replace";
    case LW_PLACEMENT_REMOVE:
        return "remove";
    case LW_PLACEMENT_TRANSFER:
        return "transfer";
    }
    return "unknown";
}

/* ---- a look at all that is known ----------------------------------------------------------------
 */

static void add_member(lw_placement_view *view, const lw_placement_look *look,
                       const lw_member *member) {
    const lw_gossip *gossip = look->gossip;
    bool self = member->node == view->options.self;
    lw_gossip_peer peer = {.linked = self, .loaded = self, .load = *look->own_load};
    if (!self && !lw_gossip_peer_of(gossip, member->node, &peer)) {
        return;
    }
    lw_placement_node node = {
        .node = member->node,
        .state = member->state,
        .zone = member->zone,
        .name = member->name,
        .capacity = member->capacity,
        .load = peer.load,
        .linked = peer.linked,
        .dead = peer.dead,
        .settled = self || (peer.linked && look->now_ms - peer.changed_ms >= look->settled_ms),
        .loaded = peer.loaded && !peer.quiet,
        .round = peer.sent_ms / LW_PLACEMENT_ROUND_MS,
    };
    if (!self && !LW_PLANTED(&view->options, LW_BUG_HANDED_FORGOTTEN)) {
        lw_placement_count_handed(look->ledger, &node, peer.told_ms);
    }
    lw_placement_add(view, &node);
}

void lw_placement_look_around(lw_placement_view *view, const lw_placement_options *options,
                              const lw_placement_look *look) {
    const lw_members *members = lw_gossip_members(look->gossip);
    lw_placement_options set = *options;
    set.self = lw_gossip_self(look->gossip)->node;
    set.calm = lw_gossip_connected(look->gossip);
    lw_placement_begin(view, &set, look->changing);
    for (uint32_t index = 0; index < members->count; index++) {
        const lw_member *member = lw_members_at(members, index);
        if (member->state != LW_MEMBER_GONE) {
            add_member(view, look, member);
        }
    }
}
