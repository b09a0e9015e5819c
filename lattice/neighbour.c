/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/neighbour.h"

#include "base/hash.h"

enum { WALK_MAX = 64 }; /* ranks fall on the way: two or three steps, mostly */

uint64_t lw_neighbour_turns(uint64_t known_turns, lw_idleness judged) {
    bool known_idle = known_turns % 2 == 1;
    bool other = judged != LW_IDLENESS_UNKNOWN && (judged == LW_IDLENESS_IDLE) != known_idle;
    return other && known_turns < UINT64_MAX ? known_turns + 1 : known_turns;
}

static bool is_idle(const lw_directory_row *row) {
    return row->idle_turns % 2 == 1 && !row->disputed;
}

/* Of the root shard the lowest; no two are alike. */
static uint64_t rank_of(uint64_t shard) {
    static const uint64_t salt = UINT64_C(0x6e65696768626f72);
    return shard == LW_ROOT_SHARD ? 0 : lw_mix(shard ^ salt);
}

static bool ranks_below(uint64_t a, uint64_t b) {
    uint64_t of_a = rank_of(a), of_b = rank_of(b);
    return of_a != of_b ? of_a < of_b : a < b;
}

static bool left_of(const lw_directory *directory, const lw_directory_row *of,
                    lw_directory_row *left) {
    return of->shard.start.size > 0 && lw_directory_before(directory, of->shard.start, left) &&
           left->shard.id != of->shard.id;
}

static bool right_of(const lw_directory *directory, const lw_directory_row *of,
                     lw_directory_row *right) {
    return of->shard.end.size > 0 && lw_directory_lookup(directory, of->shard.end, right) &&
           lw_equal(right->shard.start, of->shard.end) && right->shard.id != of->shard.id;
}

/* Whether a row is what became of the keys where it begins, and not of before. */
static bool is_current(const lw_directory *directory, const lw_directory_row *of) {
    lw_directory_row there;
    return lw_directory_lookup(directory, of->shard.start, &there) &&
           there.shard.id == of->shard.id;
}

/* Of an idle shard: the one at which it points. */
static lw_directory_row pointed_at(const lw_directory *directory, const lw_directory_row *from) {
    lw_directory_row lowest = *from, other;
    if (left_of(directory, from, &other) && is_idle(&other) &&
        ranks_below(other.shard.id, lowest.shard.id)) {
        lowest = other;
    }
    if (right_of(directory, from, &other) && is_idle(&other) &&
        ranks_below(other.shard.id, lowest.shard.id)) {
        lowest = other;
    }
    return lowest;
}

uint64_t lw_neighbour_anchor(const lw_directory *directory, uint64_t shard) {
    lw_directory_row at;
    bool moves = !LW_PLANTED(directory, LW_BUG_NEIGHBOURS_APART) &&
                 lw_directory_find(directory, shard, &at) && is_idle(&at) &&
                 is_current(directory, &at);
    for (uint32_t step = 0; moves && step < WALK_MAX; step++) {
        lw_directory_row next = pointed_at(directory, &at);
        if (next.shard.id == at.shard.id) {
            return at.shard.id;
        }
        at = next;
    }
    return moves ? at.shard.id : shard;
}
