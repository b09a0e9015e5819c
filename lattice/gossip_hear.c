/* SPDX-License-Identifier: Apache-2.0 */
/* What the gossip machine makes of what it hears: see gossip.h. */
#include "lattice/gossip_private.h"

enum {
    DRIFT_PART = 500, /* clocks of two nodes may drift apart by one in so many: 2000 ppm */
};

/* ---- records and entries ------------------------------------------------------------------------
 */

/* Somebody has less of this node than it said: perhaps a copy of its folder spoke later. */
static void say_own_record_again(lw_gossip *gossip, uint64_t now_ms) {
    bool lately =
        gossip->self_said_ms != 0 && now_ms - gossip->self_said_ms < gossip_interval_ms(gossip);
    if (!lately && !LW_PLANTED(&gossip->options, LW_BUG_OVERTAKEN_STAY_SO)) {
        gossip->self_said_ms = now_ms;
        gossip_say_record_soon(gossip, gossip->self.node, now_ms);
    }
}

/* A record of this node's own id that is not its own. */
static void meet_own_record(lw_gossip *gossip, lw_bytes record, const lw_member *came,
                            uint64_t now_ms) {
    const lw_member *known = lw_members_find(&gossip->members, gossip->self.node);
    uint32_t place = 0;
    while (lw_members_at(&gossip->members, place) != known) {
        place++;
    }
    lw_member verified;
    int order = lw_member_order(came, record, known, lw_members_record(&gossip->members, place));
    if (order < 0) {
        say_own_record_again(gossip, now_ms);
    }
    if (order <= 0 || lw_member_verify(record, gossip->options.cluster_id, gossip->options.known,
                                       &verified) != LW_OK) {
        return; /* of an earlier start, or said by this node itself */
    }
    if (came->state == LW_MEMBER_GONE && !gossip->expelled) {
        gossip->expelled = true;
        (void)lw_members_merge(&gossip->members, record);
        gossip_tell(gossip, LW_GOSSIP_EXPELLED, gossip->self.node, 0, LW_MEMBER_GONE);
    } else if (came->state != LW_MEMBER_GONE && !gossip->copied) {
        gossip->copied = true;
        gossip_tell(gossip, LW_GOSSIP_COPIED, gossip->self.node, 0, came->state);
    }
}

static void note_member(lw_gossip *gossip, const lw_member *came, lw_member_merged merged,
                        const lw_member *before, uint64_t now_ms) {
    bool gone = came->state == LW_MEMBER_GONE;
    if (merged == LW_MEMBER_NEW) {
        if (!gone) {
            gossip_add_peer(gossip, came->node, now_ms);
            gossip_tell(gossip, LW_GOSSIP_JOINED, came->node, 0, came->state);
        }
        return;
    }
    if (gone) {
        gossip_remove_peer(gossip, came->node);
    }
    if (before->state != came->state) {
        gossip_tell(gossip, LW_GOSSIP_STATE, came->node, 0, came->state);
    } else if (!gone) {
        gossip_tell(gossip, LW_GOSSIP_CHANGED, came->node, 0, came->state);
    }
}

void gossip_take_record(lw_gossip *gossip, lw_bytes record, uint64_t now_ms) {
    lw_member came, before = {0};
    if (lw_member_decode(record, &came) != LW_OK) {
        gossip->figures.malformed++;
        return;
    }
    if (came.node == gossip->self.node) {
        meet_own_record(gossip, record, &came, now_ms);
        return;
    }
    const lw_member *known = lw_members_find(&gossip->members, came.node);
    if (known != NULL) {
        before = *known;
    }
    lw_member_merged merged = lw_members_merge(&gossip->members, record);
    if (merged == LW_MEMBER_NEW || merged == LW_MEMBER_CHANGED) {
        note_member(gossip, &came, merged, &before, now_ms);
        gossip_keep_name_unique(gossip, now_ms);
    } else if (merged == LW_MEMBER_REFUSED) {
        gossip->figures.forged++;
    }
}

lw_directory_merged gossip_take_row(lw_gossip *gossip, const lw_directory_row *row) {
    if (!gossip_fits(row)) {
        return LW_DIRECTORY_OLD;
    }
    lw_directory_merged merged = lw_directory_merge(&gossip->directory, row);
    if (merged == LW_DIRECTORY_DISPUTED) {
        gossip_tell(gossip, LW_GOSSIP_DISPUTED, 0, row->shard.id, LW_MEMBER_UP);
    }
    return merged;
}

static bool take_records(lw_gossip *gossip, lw_reader *reader, uint64_t now_ms) {
    uint32_t count = lw_read_array(reader);
    for (uint32_t index = 0; index < count && lw_reader_ok(reader); index++) {
        lw_bytes record = lw_read_bytes(reader);
        if (lw_reader_ok(reader)) {
            gossip_take_record(gossip, record, now_ms);
        }
    }
    return lw_reader_ok(reader);
}

static void take_page(lw_gossip *gossip, lw_bytes content, uint64_t now_ms) {
    lw_reader reader = lw_reader_of(content);
    uint32_t extra = lw_read_array_of(&reader, 2);
    (void)take_records(gossip, &reader, now_ms);
    uint32_t count = lw_read_array(&reader);
    for (uint32_t index = 0; index < count && lw_reader_ok(&reader); index++) {
        lw_directory_row row;
        if (lw_directory_row_next(&reader, &row) == LW_OK) {
            (void)gossip_take_row(gossip, &row);
        } else {
            lw_reader_fail(&reader);
        }
    }
    lw_read_skip(&reader, extra);
    gossip->figures.malformed += !lw_reader_done(&reader);
}

lw_status lw_gossip_learn(lw_gossip *gossip, lw_bytes page, uint64_t now_ms) {
    lw_reader reader = lw_reader_of(page);
    if (!take_records(gossip, &reader, now_ms) || !lw_reader_done(&reader)) {
        return lw_fail(LW_INVALID_ARGUMENT, "a page of nodes' records is not well-formed");
    }
    return LW_OK;
}

/* ---- hearing ------------------------------------------------------------------------------------
 */

/* Whether a message took much longer than the quickest of its sender (S2). Their clocks need not
 * agree; they may drift apart. */
static bool too_old(const lw_gossip *gossip, gossip_peer *peer, uint64_t sent_ms, uint64_t now_ms) {
    int64_t delay_ms = (int64_t)now_ms - (int64_t)sent_ms;
    int64_t drift_ms = (int64_t)((now_ms - peer->delay_at_ms) / DRIFT_PART);
    if (peer->delay_at_ms != 0 && delay_ms > peer->delay_ms + drift_ms) {
        return delay_ms > peer->delay_ms + drift_ms + LW_GOSSIP_EXPIRY_MS &&
               !LW_PLANTED(&gossip->options, LW_BUG_EXPIRY_IGNORED);
    }
    peer->delay_ms = delay_ms;
    peer->delay_at_ms = now_ms;
    return false;
}

/* By how much longer than the quickest the last heartbeat took, at least. */
static uint64_t late_ms(const gossip_peer *peer, uint64_t now_ms) {
    int64_t drift_ms = (int64_t)((now_ms - peer->delay_at_ms) / DRIFT_PART);
    int64_t delay_ms = (int64_t)now_ms - (int64_t)peer->sent_ms;
    int64_t late = delay_ms - peer->delay_ms - drift_ms;
    return late < 0 ? 0 : (uint64_t)late;
}

uint64_t gossip_reckon_clock(const gossip_peer *peer, uint64_t now_ms) {
    if (!peer->known.quiet || peer->delay_at_ms == 0) {
        return 0;
    }
    int64_t drift_ms = (int64_t)((now_ms - peer->delay_at_ms) / DRIFT_PART);
    int64_t shows_ms = (int64_t)now_ms - peer->delay_ms - drift_ms;
    return shows_ms > (int64_t)peer->sent_ms ? (uint64_t)shows_ms : peer->sent_ms;
}

static void hear_heartbeat(lw_gossip *gossip, gossip_peer *peer, lw_bytes content,
                           uint64_t now_ms) {
    gossip_heartbeat beat;
    if (!gossip_read_heartbeat(content, &beat)) {
        gossip->figures.malformed++;
        return;
    }
    const lw_member *member = lw_members_find(&gossip->members, peer->node);
    bool again = beat.incarnation == peer->incarnation && beat.sent_ms <= peer->sent_ms;
    if (beat.incarnation < member->incarnation || beat.incarnation < peer->incarnation || again) {
        gossip->figures.stale++;
        return;
    }
    if (beat.incarnation > peer->incarnation) {
        peer->delay_at_ms = 0; /* its clock may be another */
        peer->clock.beats = 0;
        peer->incarnation = beat.incarnation;
    }
    peer->sent_ms = beat.sent_ms;
    if (too_old(gossip, peer, beat.sent_ms, now_ms)) {
        gossip->figures.stale++;
        return;
    }
    peer->summary = beat.summary;
    peer->known.load = beat.load;
    peer->known.loaded = true;
    peer->known.heard_ms = now_ms;
    peer->known.told_ms = now_ms - late_ms(peer, now_ms);
    peer->known.sent_ms = beat.sent_ms;
    gossip_hear_clock(gossip, peer, &beat, now_ms);
    gossip_hear_anybody(gossip, now_ms);
    if (peer->known.quiet) {
        peer->known.quiet = false;
        gossip_tell_of(gossip, LW_GOSSIP_HEARD, peer);
    }
}

/* One that was taken out still speaks: it is told, but not all the time. */
static void tell_gone(lw_gossip *gossip, uint64_t node, uint64_t now_ms) {
    if (gossip->told_gone_ms != 0 && now_ms - gossip->told_gone_ms < gossip_interval_ms(gossip)) {
        return;
    }
    gossip->told_gone_ms = now_ms;
    gossip_page page = gossip_page_open(gossip, LW_BUS_ANSWER, node);
    for (uint32_t index = 0; index < gossip->members.count; index++) {
        if (lw_members_at(&gossip->members, index)->node == node) {
            gossip_page_record(&page, lw_members_record(&gossip->members, index));
        }
    }
    gossip_page_close(&page);
}

void lw_gossip_receive(lw_gossip *gossip, const lw_bus_message *message, uint64_t now_ms) {
    lw_bytes content;
    gossip->figures.messages_received++;
    gossip->figures.bytes_received += message->body.size;
    if (message->from == gossip->self.node || !gossip_open_body(gossip, message, &content)) {
        return;
    }
    const lw_member *member = lw_members_find(&gossip->members, message->from);
    if (member != NULL && member->state == LW_MEMBER_GONE) {
        tell_gone(gossip, message->from, now_ms);
        return;
    }
    gossip_peer *peer = gossip_peer_of(gossip, message->from);
    switch (message->kind) {
    case LW_BUS_HEARTBEAT:
        if (peer == NULL) {
            gossip->stranger = message->from;
        } else {
            hear_heartbeat(gossip, peer, content, now_ms);
        }
        break;
    case LW_BUS_ASK:
        gossip_answer(gossip, message->from, content, now_ms);
        break;
    case LW_BUS_SHARDS:
    case LW_BUS_ANSWER:
        take_page(gossip, content, now_ms);
        break;
    case LW_BUS_EVENT:
        break;
    }
}
