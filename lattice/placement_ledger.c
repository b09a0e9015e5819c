/* SPDX-License-Identifier: Apache-2.0 */
/* What this node hands over, for as long as those who get it may not have told of it (P8). */
#include "lattice/placement.h"

typedef struct lw_placement_handed row;

static row *find(lw_placement_ledger *ledger, uint64_t node) {
    for (uint32_t index = 0; index < ledger->count; index++) {
        if (ledger->rows[index].node == node) {
            return &ledger->rows[index];
        }
    }
    return NULL;
}

/* Steps under way are few (changing_max), so there is one without. */
static row *oldest(lw_placement_ledger *ledger) {
    row *found = NULL;
    for (uint32_t index = 0; index < ledger->count; index++) {
        row *one = &ledger->rows[index];
        if (one->under_way == 0 && (found == NULL || one->ended_ms < found->ended_ms)) {
            found = one;
        }
    }
    LW_ASSERT(found != NULL);
    return found;
}

void lw_placement_hand(lw_placement_ledger *ledger, const lw_placement_step *step) {
    if (step->kind != LW_PLACEMENT_TRANSFER) {
        return;
    }
    row *to = find(ledger, step->node);
    if (to == NULL) {
        bool full = ledger->count == LW_PLACEMENT_HANDED_MAX;
        to = full ? oldest(ledger) : &ledger->rows[ledger->count++];
        *to = (row){.node = step->node};
    }
    to->under_way++;
    to->rate += step->rate;
}

void lw_placement_handed(lw_placement_ledger *ledger, const lw_placement_step *step, bool done,
                         uint64_t now_ms) {
    if (step->kind != LW_PLACEMENT_TRANSFER) {
        return;
    }
    row *to = find(ledger, step->node);
    LW_ASSERT(to != NULL && to->under_way > 0 && to->rate >= step->rate);
    to->under_way--;
    if (done) {
        to->done++;
        to->ended_ms = now_ms;
    } else {
        to->rate -= step->rate;
    }
}

void lw_placement_count_handed(lw_placement_ledger *ledger, lw_placement_node *node,
                               uint64_t told_ms) {
    row *to = find(ledger, node->node);
    if (to == NULL) {
        return;
    }
    if (to->under_way == 0 && (to->done == 0 || told_ms >= to->ended_ms + LW_PLACEMENT_TOLD_MS)) {
        *to = ledger->rows[--ledger->count];
        return;
    }
    node->given += to->under_way + to->done;
    node->load.leaders += to->under_way + to->done;
    node->load.reads += to->rate;
}
