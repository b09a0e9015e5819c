/* SPDX-License-Identifier: Apache-2.0 */
/* How a node leaves for good, and how the others let go of it.
 *
 * Once it holds nothing it says that it is gone, over all links at once. What only those know who
 * have not written it down yet is lost if they lose power together, and then they would wait for
 * the node as for one that is dead. So it stays until it is surely known:
 *
 * 1. Who is told by the node itself answers once the tombstone is durable; so it does, in other
 *    words, if it refuses a link to the node for good. The node ends when more have answered than
 *    are linked and have not, or after FAREWELL_MS.
 * 2. It does not write down itself that it is gone before that. If it loses power first it comes
 *    back as one that leaves, and says it again; or is told, by those who know.
 * 3. Whoever hears of it keeps the links for PART_MS, and until it is durable: the answer has to
 *    leave. */
#include "node/lattice_state.h"

enum {
    FAREWELL_MS = 30 * 1000, /* if nobody answers */
    PART_MS = 2 * 1000,
};

/* ---- of the node that leaves --------------------------------------------------------------------
 */

static bool is_gone(const lw_member *member) {
    return member->state == LW_MEMBER_GONE;
}

/* A bug on purpose has it end as soon as it has said so. */
static bool waits(const lw_lattice *lattice) {
    return is_gone(lw_gossip_self(lattice->gossip)) && lattice->farewell_ms != 0 &&
           lattice_company(lattice) > 0 && !LW_BUG(lattice->env, "lattice.leaves_unheard");
}

static bool has_answered(const lw_lattice *lattice, uint64_t node) {
    bool found = false;
    for (uint32_t index = 0; index < lattice->answered_count; index++) {
        found = found || lattice->answered[index] == node;
    }
    return found;
}

/* Whether a member that is linked has not said yet that it has the tombstone. */
static bool owes_answer(const lw_lattice *lattice, const lw_member *member) {
    return member->node != lattice_self(lattice) && !is_gone(member) &&
           lw_peers_up(lattice->peers, member->node) && !has_answered(lattice, member->node);
}

bool lattice_parting(const lw_lattice *lattice, uint64_t now_ms) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    uint32_t missing = 0;
    if (!waits(lattice)) {
        return false;
    }
    for (uint32_t index = 0; index < members->count; index++) {
        missing += owes_answer(lattice, lw_members_at(members, index));
    }
    return now_ms < lattice->farewell_ms && lattice->answered_count <= missing;
}

void lattice_farewell_heard(lw_lattice *lattice, uint64_t node) {
    if (lattice->farewell_ms != 0 && !has_answered(lattice, node)) {
        size_t size = (lattice->answered_count + 1) * sizeof(*lattice->answered);
        lattice->answered = lw_reallocate(lattice->memory, lattice->answered, size);
        lattice->answered[lattice->answered_count++] = node;
        lattice_wake(lattice);
    }
}

void lw_lattice_refused(lw_lattice *lattice, uint64_t node) {
    lattice_farewell_heard(lattice, node);
}

void lattice_leave(lw_lattice *lattice, uint64_t now_ms) {
    lw_member_state state = lw_gossip_self(lattice->gossip)->state;
    const lw_members *members = lw_gossip_members(lattice->gossip);
    if (state == LW_MEMBER_LEAVING && lw_shards_count(lattice->shards) == 0) {
        LW_MARK(lattice->env, "lattice.left");
        lattice_note(lattice, "state", lattice_self(lattice), 0, "gone");
        lattice->farewell_ms = now_ms + FAREWELL_MS;
        lw_gossip_set_state(lattice->gossip, LW_MEMBER_GONE, now_ms);
        lattice->unsaved = true;
    } else if (state != LW_MEMBER_GONE) {
        return;
    }
    for (uint32_t index = 0; index < members->count; index++) {
        const lw_member *member = lw_members_at(members, index);
        if (owes_answer(lattice, member)) {
            lattice_greet(lattice, member->node);
        }
    }
}

/* ---- of the others ------------------------------------------------------------------------------
 */

lw_status lattice_answer_farewell(lw_lattice *lattice, uint64_t from) {
    const lw_member *member = lw_members_find(lw_gossip_members(lattice->gossip), from);
    if (member == NULL || !is_gone(member)) {
        return LW_OK;
    }
    if (lattice->stopping || lattice->peers == NULL || waits(lattice)) {
        return lw_fail(LW_UNAVAILABLE, "this node is stopping");
    }
    return lattice_save(lattice);
}

bool lattice_is_saved(const lw_lattice *lattice) {
    return !lattice->unsaved && !lattice->saving;
}

void lattice_part_soon(lw_lattice *lattice) {
    lattice->part_ms = lattice_now_ms(lattice) + PART_MS;
}

uint64_t lattice_part(lw_lattice *lattice, uint64_t now_ms) {
    if (lattice->part_ms == 0 || !lattice_is_saved(lattice)) {
        return LW_GOSSIP_NEVER;
    }
    if (now_ms < lattice->part_ms) {
        return lattice->part_ms;
    }
    lattice->part_ms = 0;
    const lw_members *members = lw_gossip_members(lattice->gossip);
    for (uint32_t index = 0; index < members->count; index++) {
        if (is_gone(lw_members_at(members, index))) {
            lw_peers_remove(lattice->peers, lw_members_at(members, index)->node);
        }
    }
    return LW_GOSSIP_NEVER;
}
