/* SPDX-License-Identifier: Apache-2.0 */
/* That this node has come to lead shards that others led is an event, told by it alone. The root
 * shard's is told at once, as timestamps come from there. The others are told together, once for
 * each node that led them before, and then not again for LEADS_MS: when a node dies that led
 * thousands of shards, that is an event of each of those who lead them now. */
#include "node/lattice_state.h"

#include <inttypes.h>
#include <stdio.h>

enum { LEADS_MS = 10 * 1000 };

static void tell_one(lw_lattice *lattice, const lattice_leads *of) {
    char label[LW_MEMBER_LABEL_SIZE], before[LW_MEMBER_LABEL_SIZE + 16] = "", more[64] = "";
    if (of->before != 0) {
        (void)snprintf(before, sizeof(before), ", after %s",
                       lw_lattice_label(lattice, of->before, label));
    }
    if (of->count > 1) {
        (void)snprintf(more, sizeof(more), "; and %" PRIu32 " more that %s led", of->count - 1,
                       of->before != 0 ? "it" : "others");
    }
    lattice_note(lattice, "leader", lattice_self(lattice), of->shard, "in term %" PRIu64 "%s%s",
                 of->term, before, more);
}

static void add(lw_lattice *lattice, const lattice_leads *one) {
    uint32_t place = 0;
    while (place < lattice->leads_count && lattice->leads[place].before != one->before) {
        place++;
    }
    if (place == LATTICE_LEADS_MAX) {
        place--; /* of several: of none of them */
        lattice->leads[place].before = 0;
    }
    if (place == lattice->leads_count) {
        lattice->leads[lattice->leads_count++] = *one;
    } else {
        lattice->leads[place].count++;
    }
}

void lattice_heard_leader(lw_lattice *lattice, uint64_t shard, uint64_t leader, uint64_t term) {
    lattice_track *track = lattice_track_of(lattice, shard);
    lattice_leads one = {.before = track->leader, .shard = shard, .term = term, .count = 1};
    track->leader = leader;
    if (leader != lattice_self(lattice) || one.before == leader) {
        return;
    }
    if (shard == LW_ROOT_SHARD) {
        tell_one(lattice, &one);
    } else if (one.before != 0) {
        add(lattice, &one);
    }
}

void lattice_tell_leads(lw_lattice *lattice, uint64_t now_ms) {
    if (lattice->leads_count == 0 || now_ms < lattice->leads_ms) {
        return;
    }
    for (uint32_t index = 0; index < lattice->leads_count; index++) {
        tell_one(lattice, &lattice->leads[index]);
    }
    lattice->leads_count = 0;
    lattice->leads_ms = now_ms + LEADS_MS;
}
