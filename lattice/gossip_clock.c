/* SPDX-License-Identifier: Apache-2.0 */
/* Whose wall clock is wrong. Each heartbeat says what its sender's clock showed when it was said;
 * how long it was on the way, beyond what the quickest take, is known without it. Nothing is done
 * about a clock but telling people: no machine here decides anything by one (S6). */
#include "lattice/gossip_private.h"

void lw_gossip_wall(lw_gossip *gossip, uint64_t wall_ms, uint64_t now_ms) {
    gossip->wall_known = true;
    gossip->wall_ahead_ms = (int64_t)wall_ms - (int64_t)now_ms;
}

int64_t lw_gossip_own_clock(const lw_gossip *gossip) {
    return gossip->clock.wrong ? gossip->clock.wrong_by_ms : 0;
}

void gossip_hear_clock(const lw_gossip *gossip, gossip_peer *peer,
                       const gossip_heartbeat *heartbeat, uint64_t now_ms) {
    int64_t delay_ms = (int64_t)now_ms - (int64_t)heartbeat->sent_ms;
    int64_t late_ms = delay_ms > peer->delay_ms ? delay_ms - peer->delay_ms : 0;
    int64_t own_ms = (int64_t)now_ms + gossip->wall_ahead_ms;
    peer->clock.told = heartbeat->wall_ms != 0 && gossip->wall_known;
    peer->clock.ahead_ms = (int64_t)heartbeat->wall_ms + late_ms - own_ms;
}

static bool counts(const gossip_peer *peer) {
    return peer->clock.told && !peer->known.quiet;
}

/* The one at `rank` in the order of all clocks, this node's among them, which is ahead by nothing.
 */
static int64_t at_rank(const lw_gossip *gossip, uint32_t rank) {
    for (uint32_t candidate = 0; candidate <= gossip->peer_count; candidate++) {
        bool own = candidate == gossip->peer_count;
        if (!own && !counts(&gossip->peers[candidate])) {
            continue;
        }
        int64_t ahead_ms = own ? 0 : gossip->peers[candidate].clock.ahead_ms;
        uint32_t below = ahead_ms > 0, equal = ahead_ms == 0;
        for (uint32_t index = 0; index < gossip->peer_count; index++) {
            const gossip_peer *peer = &gossip->peers[index];
            below += counts(peer) && peer->clock.ahead_ms < ahead_ms;
            equal += counts(peer) && peer->clock.ahead_ms == ahead_ms;
        }
        if (below <= rank && rank < below + equal) {
            return ahead_ms;
        }
    }
    LW_ASSERT(rank > gossip->peer_count); /* every other one is somebody's */
    return 0;
}

/* It has to be so for some heartbeats: one may be late for reasons of its own. */
static void judge_clock(lw_gossip *gossip, gossip_clock *clock, uint64_t node, int64_t by_ms) {
    int64_t bound_ms = clock->wrong ? LW_GOSSIP_CLOCK_MS / 2 : LW_GOSSIP_CLOCK_MS;
    bool wrong = by_ms >= bound_ms || by_ms <= -bound_ms;
    clock->wrong_by_ms = wrong ? by_ms : clock->wrong_by_ms;
    clock->beats = wrong == clock->wrong ? 0 : clock->beats + 1;
    if (clock->beats == LW_GOSSIP_CLOCK_BEATS) {
        clock->wrong = wrong;
        clock->beats = 0;
        const lw_member *member = lw_members_find(&gossip->members, node);
        gossip_tell(gossip, wrong ? LW_GOSSIP_CLOCK_WRONG : LW_GOSSIP_CLOCK_RIGHT, node, 0,
                    member->state);
    }
}

void gossip_judge_clocks(lw_gossip *gossip) {
    uint32_t count = 1;
    for (uint32_t index = 0; index < gossip->peer_count; index++) {
        count += counts(&gossip->peers[index]);
    }
    int64_t right_ms = (at_rank(gossip, (count - 1) / 2) + at_rank(gossip, count / 2)) / 2;
    bool own_counts = count > 2;
    if (!own_counts || LW_PLANTED(&gossip->options, LW_BUG_CLOCK_BELIEVED)) {
        right_ms = 0; /* of two one is wrong, and nobody knows which */
    }
    for (uint32_t index = 0; index < gossip->peer_count; index++) {
        gossip_peer *peer = &gossip->peers[index];
        if (counts(peer)) {
            judge_clock(gossip, &peer->clock, peer->node, peer->clock.ahead_ms - right_ms);
            peer->known.clock_ahead_ms = peer->clock.wrong ? peer->clock.wrong_by_ms : 0;
        }
    }
    judge_clock(gossip, &gossip->clock, gossip->self.node, own_counts ? -right_ms : 0);
}
