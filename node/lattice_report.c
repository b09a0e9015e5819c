/* SPDX-License-Identifier: Apache-2.0 */
/* What clients and other nodes ask about the lattice, and tell it. */
#include "node/lattice_state.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- NODES --------------------------------------------------------------------------------------
 */

static uint64_t since(uint64_t then_ms, uint64_t now_ms) {
    return then_ms == 0 ? LW_MEMBER_NEVER : now_ms - then_ms;
}

static bool names(const lw_member_load *load, uint64_t node) {
    bool found = false;
    for (uint32_t index = 0; index < load->lagging_count; index++) {
        found = found || load->lagging[index] == node;
    }
    return found;
}

/* Leaders say whose voters are far behind; of those that are not heard, nothing is believed. */
static void mark_lagging(const lw_lattice *lattice, lw_member_row *rows, uint32_t count) {
    uint64_t now_ms = lattice_now_ms(lattice);
    for (uint32_t leader = 0; leader < count; leader++) {
        lw_gossip_peer peer = {.heard_ms = now_ms};
        uint64_t node = lw_members_at(lw_gossip_members(lattice->gossip), leader)->node;
        bool heard =
            rows[leader].self || (lw_gossip_peer_of(lattice->gossip, node, &peer) && !peer.quiet);
        for (uint32_t index = 0; index < count && heard; index++) {
            uint64_t other = lw_members_at(lw_gossip_members(lattice->gossip), index)->node;
            rows[index].lags = rows[index].lags || names(&rows[leader].load, other);
        }
    }
}

static void nodes(const lw_lattice *lattice, lw_buffer *reply) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    uint64_t now_ms = lattice_now_ms(lattice);
    lw_member_row *rows = lw_allocate_zero(lattice->memory, (members->count + 1) * sizeof(*rows));
    char(*labels)[LW_MEMBER_LABEL_SIZE] =
        lw_allocate(lattice->memory, (members->count + 1) * sizeof(*labels));
    for (uint32_t index = 0; index < members->count; index++) {
        lw_member_row *row = &rows[index];
        lw_gossip_peer peer;
        row->record = lw_members_record(members, index);
        row->heard_ms = row->linked_ms = LW_MEMBER_NEVER;
        uint64_t node = lw_members_at(members, index)->node;
        row->label = lw_text(lw_members_label(members, node, labels[index]));
        row->clock_ahead_ms = lattice_clock_ahead(lattice, node);
        if (node == lattice_self(lattice)) {
            row->self = row->linked = true;
            row->heard_ms = row->linked_ms = 0;
            lw_gossip_own_load(lattice->gossip, &row->load);
            row->load.disk_full =
                lattice->store != NULL && lw_reserve_short(lw_store_reserve(lattice->store));
        } else if (lw_gossip_peer_of(lattice->gossip, node, &peer)) {
            row->linked = peer.linked;
            row->load = peer.load;
            row->heard_ms = since(peer.heard_ms, now_ms);
            row->linked_ms = since(peer.changed_ms, now_ms);
        }
    }
    mark_lagging(lattice, rows, members->count);
    lw_member_rows_encode(rows, members->count, reply);
    lw_free(lattice->memory, labels);
    lw_free(lattice->memory, rows);
}

/* ---- EVENTS -------------------------------------------------------------------------------------
 */

static lw_status events(const lw_lattice *lattice, lw_bytes body, lw_buffer *reply) {
    uint64_t after;
    LW_TRY(lw_events_request_decode(body, &after));
    uint64_t last = lattice->event_count;
    uint64_t kept = last < LATTICE_EVENTS_MAX ? last : LATTICE_EVENTS_MAX;
    uint64_t first = after > last ? last : after;
    first = first < last - kept ? last - kept : first;
    lw_write_array(reply, (uint32_t)(last - first));
    for (uint64_t number = first; number < last; number++) {
        lw_event_row_encode(&lattice->events[number % LATTICE_EVENTS_MAX].row, reply);
    }
    return LW_OK;
}

/* ---- what people do by hand ---------------------------------------------------------------------
 */

/* What a client asked for, as it is told among the events. */
typedef struct lattice_asked {
    const char *name; /* NULL: it is not */
    uint64_t node;
    char text[LW_PRINTABLE_SIZE + LW_MEMBER_LABEL_SIZE + 32];
} lattice_asked;

static void describe_change(const lw_lattice *lattice, const lw_change_replicas_request *change,
                            lattice_asked *told) {
    char label[LW_MEMBER_LABEL_SIZE];
    if (change->learner != 0) {
        told->name = "add";
        told->node = change->learner;
        (void)snprintf(told->text, sizeof(told->text), "a learner");
    } else if (change->voter != 0 && change->leaves != 0) {
        told->name = "replace";
        told->node = change->voter;
        (void)snprintf(told->text, sizeof(told->text), "in the place of %s",
                       lw_lattice_label(lattice, change->leaves, label));
    } else {
        bool comes = change->voter != 0;
        told->name = comes ? "promote" : "remove";
        told->node = comes ? change->voter : change->leaves;
        (void)snprintf(told->text, sizeof(told->text), comes ? "a voter" : "one too many");
    }
}

static void describe(const lw_lattice *lattice, const lw_request *request, lattice_asked *told) {
    char key[LW_PRINTABLE_SIZE], label[LW_MEMBER_LABEL_SIZE];
    lw_split_request split;
    lw_merge_request merge;
    lw_transfer_request transfer;
    lw_change_replicas_request change;
    if (request->kind == LW_MESSAGE_SPLIT &&
        lw_split_request_decode(request->body, &split) == LW_OK) {
        told->name = "split";
        (void)snprintf(told->text, sizeof(told->text), "it ends at \"%s\" now",
                       lw_printable(split.key, key, sizeof(key)));
    } else if (request->kind == LW_MESSAGE_MERGE &&
               lw_merge_request_decode(request->body, &merge) == LW_OK) {
        told->name = "merged";
        (void)snprintf(told->text, sizeof(told->text), "it took in shard %" PRIu64, merge.right);
    } else if (request->kind == LW_MESSAGE_TRANSFER &&
               lw_transfer_request_decode(request->body, &transfer) == LW_OK) {
        told->name = "transfer";
        told->node = transfer.node;
        (void)snprintf(told->text, sizeof(told->text), "%s leads it now",
                       lw_lattice_label(lattice, transfer.node, label));
    } else if (request->kind == LW_MESSAGE_CHANGE_REPLICAS &&
               lw_change_replicas_request_decode(request->body, &change) == LW_OK) {
        describe_change(lattice, &change, told);
    }
}

/* Whether a shard is as it was when it was asked to change: what was asked for was so already. */
static bool is_unchanged(const lw_lattice *lattice, const lw_request *request,
                         const lattice_asked *told) {
    const lw_replica *replica =
        lattice->shards == NULL ? NULL : lw_shards_find(lattice->shards, request->shard);
    if (request->kind == LW_MESSAGE_TRANSFER) {
        return told->node == lattice_self(lattice); /* who was asked led it */
    }
    if (replica == NULL) {
        return false;
    }
    lw_shard_descriptor shard;
    lw_replica_descriptor(replica, &shard);
    return shard.epoch.range_version == request->epoch.range_version &&
           shard.epoch.config_version == request->epoch.config_version;
}

void lw_lattice_by_hand(lw_lattice *lattice, const lw_request *request) {
    const lw_replica *replica =
        lattice->shards == NULL ? NULL : lw_shards_find(lattice->shards, request->shard);
    if (request->kind == LW_MESSAGE_CHANGE_REPLICAS && replica != NULL &&
        lw_replica_leads(replica)) {
        lattice_track_of(lattice, request->shard)->by_hand_ms = lattice_now_ms(lattice);
    }
}

void lw_lattice_asked(lw_lattice *lattice, lw_bytes client, const lw_request *request) {
    char shown[LW_PRINTABLE_SIZE];
    lattice_asked told = {.node = lattice_self(lattice)};
    describe(lattice, request, &told);
    if (told.name != NULL && !is_unchanged(lattice, request, &told)) {
        lattice_note(lattice, told.name, told.node, request->shard, "%s, as client \"%s\" asked",
                     told.text, lw_printable(client, shown, sizeof(shown)));
    }
}

/* ---- DRAIN and LEAVE ----------------------------------------------------------------------------
 */

static bool others_could_take_over(const lw_lattice *lattice) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    for (uint32_t index = 0; index < members->count; index++) {
        const lw_member *member = lw_members_at(members, index);
        if (member->node != lattice_self(lattice) && member->state == LW_MEMBER_UP) {
            return true;
        }
    }
    return false;
}

LW_YIELDS static lw_status become(lw_lattice *lattice, lw_member_state state) {
    lw_member_state now = lw_gossip_self(lattice->gossip)->state;
    if (now == LW_MEMBER_GONE || lattice->peers == NULL) {
        return lw_fail(LW_UNAVAILABLE, "the node is starting or stopping: try again");
    }
    if (now == LW_MEMBER_LEAVING && state != LW_MEMBER_LEAVING) {
        return lw_fail(LW_REFUSED, "the node is leaving the lattice for good");
    }
    if (state != LW_MEMBER_UP && !others_could_take_over(lattice)) {
        return lw_fail(LW_REFUSED,
                       "no other node of the lattice is up, and could take over what is here");
    }
    if (now == state) {
        return LW_OK;
    }
    lw_gossip_set_state(lattice->gossip, state, lattice_now_ms(lattice));
    lattice->unsaved = true;
    lattice->place_ms = 0;
    lattice_note(lattice, "state", lattice_self(lattice), 0, "%s", lw_member_state_name(state));
    lattice_settle(lattice);
    return lattice_save(lattice);
}

static bool is_linked(const lw_lattice *lattice, uint64_t node) {
    lw_gossip_peer peer;
    return lw_gossip_peer_of(lattice->gossip, node, &peer) && peer.linked;
}

/* Has the node do it itself. */
LW_YIELDS static lw_status pass_on(lw_lattice *lattice, uint64_t node, const lw_request *request) {
    lw_bytes address = lw_lattice_address(lattice, node);
    char shown[LW_PRINTABLE_SIZE], label[LW_MEMBER_LABEL_SIZE];
    if (lattice->peers == NULL || address.size == 0) {
        return lw_fail(LW_NOT_FOUND, "node %016" PRIx64 " is no member of the lattice", node);
    }
    if (!is_linked(lattice, node)) {
        (void)lw_lattice_label(lattice, node, label);
        return lw_fail(LW_REFUSED,
                       "%s (%s) is not reached, and has to do this itself: start it first; or, if "
                       "it is lost for good, take it out with lathwork leave --force %s",
                       label, lw_printable(address, shown, sizeof(shown)), label);
    }
    lw_buffer reply = lw_buffer_in(lattice->memory);
    uint64_t until_ns = lw_env_now(lattice->env) + LATTICE_ASK_MS * LATTICE_NS_PER_MS;
    lw_status status = lw_peers_ask(lattice->peers, node, request, until_ns, &reply);
    lw_buffer_reset(&reply);
    return status;
}

/* Whoever takes it for lost is wrong, and may not know what would go with it. */
static lw_status is_here(const lw_lattice *lattice, uint64_t node) {
    char label[LW_MEMBER_LABEL_SIZE];
    return lw_fail(LW_REFUSED,
                   "%s is there: have it leave by itself, without force, so that what it holds "
                   "moves away first",
                   lw_lattice_label(lattice, node, label));
}

LW_YIELDS static lw_status expel(lw_lattice *lattice, uint64_t node) {
    if (is_linked(lattice, node)) {
        return is_here(lattice, node);
    }
    LW_TRY(lw_gossip_expel(lattice->gossip, node, lattice_now_ms(lattice)));
    lattice->unsaved = true;
    lattice_settle(lattice);
    return lattice_save(lattice);
}

LW_YIELDS static lw_status drain_or_leave(lw_lattice *lattice, uint64_t from,
                                          const lw_request *request) {
    uint64_t node;
    bool flag;
    LW_TRY(lw_node_request_decode(request->body, &node, &flag));
    bool leave = request->kind == LW_MESSAGE_LEAVE;
    const lw_member *known = lw_members_find(lw_gossip_members(lattice->gossip), node);
    if (leave && known != NULL && known->state == LW_MEMBER_GONE) {
        return LW_OK; /* it has, and whoever asks did not hear that */
    }
    if (node != 0 && node != lattice_self(lattice)) {
        if (from != 0) {
            return lw_fail(LW_INVALID_ARGUMENT, "a request about a node came to another one");
        }
        return leave && flag ? expel(lattice, node) : pass_on(lattice, node, request);
    }
    if (leave && flag && !LW_BUG(lattice->env, "lattice.expelled_by_itself")) {
        return is_here(lattice, lattice_self(lattice));
    }
    if (leave) {
        return become(lattice, LW_MEMBER_LEAVING);
    }
    return become(lattice, flag ? LW_MEMBER_DRAINING : LW_MEMBER_UP);
}

/* ---- requests -----------------------------------------------------------------------------------
 */

bool lw_lattice_takes(lw_message_kind kind) {
    return kind == LW_MESSAGE_NODES || (kind >= LW_MESSAGE_EVENTS && kind <= LW_MESSAGE_MEMBERS) ||
           (kind >= LW_MESSAGE_TOKENS && kind <= LW_MESSAGE_REVOKED) || kind == LW_MESSAGE_ROTATE ||
           kind == LW_MESSAGE_KEYS;
}

static lw_status between_nodes(uint64_t from) {
    return from != 0 ? LW_OK : lw_fail(LW_INVALID_ARGUMENT, "this is between nodes");
}

LW_YIELDS static lw_status members(lw_lattice *lattice, uint64_t from, lw_bytes body,
                                   lw_buffer *reply) {
    LW_TRY(between_nodes(from));
    LW_TRY(lw_gossip_greeted(lattice->gossip, body, lattice_now_ms(lattice), reply));
    lattice_settle(lattice);
    return lattice_answer_farewell(lattice, from);
}

lw_status lw_lattice_request(lw_lattice *lattice, uint64_t from, const lw_request *request,
                             lw_buffer *reply) {
    switch ((int)request->kind) {
    case LW_MESSAGE_NODES:
        nodes(lattice, reply);
        return LW_OK;
    case LW_MESSAGE_EVENTS:
        return events(lattice, request->body, reply);
    case LW_MESSAGE_PLAN:
        lattice_plan(lattice, reply);
        return LW_OK;
    case LW_MESSAGE_DRAIN:
    case LW_MESSAGE_LEAVE:
        return drain_or_leave(lattice, from, request);
    case LW_MESSAGE_MEMBERS:
        return members(lattice, from, request->body, reply);
    case LW_MESSAGE_TOKENS:
        lattice_tokens(lattice, reply);
        return LW_OK;
    case LW_MESSAGE_REVOKE:
        return lattice_revoke(lattice, request->body, reply);
    case LW_MESSAGE_REVOKED:
        LW_TRY(between_nodes(from));
        return lattice_hear_revoked(lattice, request->body, reply);
    case LW_MESSAGE_ROTATE:
        return lattice_rotate(lattice, reply);
    case LW_MESSAGE_KEYS:
        LW_TRY(between_nodes(from));
        return lattice_take_key(lattice, request->body);
    default:
        break;
    }
    return lw_fail(LW_INVALID_ARGUMENT, "the lattice does not know requests of kind %d",
                   (int)request->kind);
}

void lw_lattice_topology(lw_lattice *lattice, lw_bytes from, lw_buffer *body) {
    if (lattice->shards != NULL && lattice_company(lattice) == 0) {
        lw_shards_topology(lattice->shards, from, body);
        return;
    }
    const lw_directory *directory = lw_gossip_directory(lattice->gossip);
    lw_buffer rows = lw_buffer_in(lattice->memory);
    uint32_t count = 0;
    lw_bytes key = from;
    bool more = true;
    while (more && rows.size < LW_TOPOLOGY_SIZE_MAX) {
        lw_shard_descriptor shard;
        uint32_t behind = lw_directory_behind(directory, key);
        if (lw_lattice_locate(lattice, key, &shard)) {
            lw_shard_encode(&shard, &rows);
            count++;
            key = shard.end;
            more = key.size > 0;
        } else if (behind < directory->count) {
            lw_directory_row row; /* what lies between is not known */
            lw_directory_at(directory, behind, &row);
            key = row.shard.start;
        } else {
            more = false;
        }
    }
    lw_write_array(body, count);
    lw_buffer_append(body, lw_buffer_view(&rows));
    lw_buffer_reset(&rows);
}

/* ---- its account of itself ----------------------------------------------------------------------
 */

static void status_gossip(const lw_lattice *lattice, lw_json *json) {
    lw_gossip_figures figures;
    lw_gossip_figures_get(lattice->gossip, &figures);
    lw_json_object_open(json, "gossip");
    lw_json_number(json, "heartbeats_sent", figures.heartbeats_sent);
    lw_json_number(json, "asks_sent", figures.asks_sent);
    lw_json_number(json, "answers_sent", figures.answers_sent);
    lw_json_number(json, "bytes_sent", figures.bytes_sent);
    lw_json_number(json, "messages_received", figures.messages_received);
    lw_json_number(json, "bytes_received", figures.bytes_received);
    lw_json_number(json, "stale", figures.stale);
    lw_json_number(json, "malformed", figures.malformed);
    lw_json_number(json, "forged", figures.forged);
    lw_json_object_close(json);
}

static void status_bus(const lw_bus *bus, lw_json *json) {
    const lw_bus_figures *figures = &bus->figures;
    if (bus->reason[0] != '\0') {
        lw_json_bytes(json, "bus_reason", lw_text(bus->reason));
    }
    lw_json_text(json, "bus_address", lw_text(bus->address));
    lw_json_number(json, "bus_published", figures->published);
    lw_json_number(json, "bus_unpublished", figures->unpublished);
    lw_json_number(json, "bus_received", figures->received);
    lw_json_number(json, "bus_overrun", figures->overrun);
    lw_json_number(json, "bus_refused", figures->refused);
    lw_json_number(json, "bus_stale", figures->stale);
    lw_json_number(json, "bus_connects", figures->connects);
    lw_json_number(json, "bus_broker_exits", figures->broker_exits);
}

void lw_lattice_status(lw_lattice *lattice, lw_json *json) {
    const lw_directory *directory = lw_gossip_directory(lattice->gossip);
    const lw_bus *bus = lattice->bus;
    lw_json_object_open(json, "lattice");
    lw_json_text(json, "state",
                 lw_text(lw_member_state_name(lw_gossip_self(lattice->gossip)->state)));
    lw_json_number(json, "members", lattice_company(lattice) + 1);
    lw_json_number(json, "gone", lw_gossip_members(lattice->gossip)->gone_count);
    lw_json_text(json, "bus", lw_text(bus == NULL ? "none" : lw_bus_state_name(bus->state)));
    if (bus != NULL) {
        status_bus(bus, json);
    }
    lw_json_number(json, "directory_shards", directory->count);
    lw_json_number(json, "directory_bytes", lw_directory_size(directory));
    lw_json_number(json, "steps_done", lattice->steps_done);
    lw_json_number(json, "steps_failed", lattice->steps_failed);
    lw_json_number(json, "steps_under_way", lattice->changing);
    status_gossip(lattice, json);
    lw_json_object_close(json);
}
