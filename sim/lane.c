/* SPDX-License-Identifier: Apache-2.0 */
/* Segments on their way: delays, stalls, arrivals, and the end of connections. */
#include <errno.h>

#include "sim/network_private.h"
#include "sim/page.h"

#define RETRY_NS_MIN UINT64_C(200000000) /* of a stalled segment */
#define RETRY_NS_MAX UINT64_C(1000000000)
#define LATE_NS_MAX  UINT64_C(15000000000)
#define PROBE_NS     UINT64_C(1000000000) /* between two looks at a receiver that takes nothing */

static const char *const segment_names[] = {
    [SEGMENT_HELLO] = "hello",  [SEGMENT_WELCOME] = "welcome", [SEGMENT_REFUSAL] = "refusal",
    [SEGMENT_DATA] = "segment", [SEGMENT_PROBE] = "probe",     [SEGMENT_END] = "end",
    [SEGMENT_RESET] = "reset",
};

static void lane_deliver(lw_agenda_event *event);
static void lane_acknowledge(lw_agenda_event *event);
static void keepalive_over(lw_agenda_event *event);

static bool way_open(const lw_network *network, uint32_t from, uint32_t to) {
    return network->hosts[to].power && !lw_network_way_of(network, from, to)->cut;
}

uint64_t lw_network_delay(lw_network *network, const lw_connection *way, size_t size) {
    lw_chance *chance = &network->dice.chance;
    if (way->ends[0].host == way->ends[1].host) {
        return lw_chance_between(chance, 5000, 20000) + size / 8;
    }
    uint64_t delay = lw_chance_between(chance, 20000, 100000) + size;
    if (lw_dice_hit(&network->dice, LW_FAULT_SLOW_SEGMENT)) {
        delay += lw_chance_between(&network->dice.own, 1000000, 1000000000);
    }
    return delay;
}

/* ---- lanes ---------------------------------------------------------------------------------- */

static void wake(const lw_endpoint *endpoint) {
    if (endpoint->wake != NULL) {
        endpoint->wake(endpoint->owner);
    }
}

void lw_lane_drop(lw_network *network, lw_lane *dropped) {
    lw_agenda_remove(network->agenda, &dropped->deliver);
    while (dropped->first != NULL) {
        lw_segment *each = dropped->first;
        dropped->first = each->next;
        lw_free(network->memory, each);
    }
    dropped->last = NULL;
    dropped->stalled_ns = 0;
}

/* Behind all that goes the same way, where that is narrow. */
static uint64_t draw_arrival(const lw_connection *on, uint32_t side, lw_segment_kind kind,
                             size_t size) {
    lw_network *network = on->network;
    lw_network_way *way = lw_network_way_of(network, on->ends[side].host, on->ends[1 - side].host);
    uint64_t now_ns = network->agenda->now_ns;
    uint64_t arrival_ns = now_ns + lw_network_delay(network, on, size) + way->lag_ns +
                          (kind == SEGMENT_PROBE ? PROBE_NS : 0);
    if (kind == SEGMENT_DATA && lw_dice_hit(&network->dice, LW_FAULT_LATE_SEGMENT)) {
        arrival_ns += lw_chance_below(&network->dice.own, LATE_NS_MAX);
    }
    if (way->byte_ns > 0) {
        way->busy_ns = (way->busy_ns > now_ns ? way->busy_ns : now_ns) + size * way->byte_ns;
        arrival_ns += way->busy_ns - now_ns;
    }
    return arrival_ns;
}

void lw_lane_push(lw_connection *way, uint32_t side, lw_segment_kind kind, lw_bytes bytes) {
    lw_network *network = way->network;
    lw_lane *carrying = &way->lanes[side];
    if (carrying->first != NULL && carrying->first->kind == SEGMENT_PROBE) {
        lw_lane_drop(network, carrying);
    }
    lw_segment *added = lw_allocate(network->memory, sizeof(*added) + bytes.size);
    *added = (lw_segment){.sent_ns = network->agenda->now_ns,
                          .arrival_ns = draw_arrival(way, side, kind, bytes.size),
                          .kind = kind,
                          .size = bytes.size};
    if (bytes.size > 0) {
        memcpy(added->data, bytes.data, bytes.size);
    }
    if (carrying->last == NULL) {
        carrying->first = added;
        lw_agenda_add(network->agenda, &carrying->deliver, added->arrival_ns);
    } else {
        carrying->last->next = added;
    }
    carrying->last = added;
}

lw_connection *lw_connection_open(lw_network *network, uint32_t from, uint32_t to, uint16_t port) {
    lw_connection *way = lw_allocate_zero(network->memory, sizeof(*way));
    way->network = network;
    way->port = port;
    for (uint32_t side = 0; side < 2; side++) {
        way->ends[side] = (lw_endpoint){.network = network,
                                        .host = side == 0 ? from : to,
                                        .state = ENDPOINT_GONE,
                                        .connection = way,
                                        .side = side};
        lw_lane *each = &way->lanes[side];
        each->arrived = lw_buffer_in(network->memory);
        each->deliver = (lw_agenda_event){.run = lane_deliver, .owner = way};
        each->acknowledge = (lw_agenda_event){.run = lane_acknowledge, .owner = way};
    }
    way->keepalive = (lw_agenda_event){.run = keepalive_over, .owner = way};
    way->previous = network->last;
    if (network->last == NULL) {
        network->first = way;
    } else {
        network->last->next = way;
    }
    network->last = way;
    return way;
}

static void connection_free(lw_connection *way) {
    lw_network *network = way->network;
    for (uint32_t side = 0; side < 2; side++) {
        lw_lane_drop(network, &way->lanes[side]);
        lw_agenda_remove(network->agenda, &way->lanes[side].acknowledge);
        lw_buffer_reset(&way->lanes[side].arrived);
    }
    lw_agenda_remove(network->agenda, &way->keepalive);
    *(way->previous == NULL ? &network->first : &way->previous->next) = way->next;
    *(way->next == NULL ? &network->last : &way->next->previous) = way->previous;
    lw_free(network->memory, way);
}

void lw_connection_free_if_over(lw_connection *way) {
    bool over = true;
    for (uint32_t side = 0; side < 2; side++) {
        over = over && way->ends[side].state == ENDPOINT_GONE && way->lanes[side].first == NULL;
    }
    if (over) {
        connection_free(way);
    }
}

/* The endpoint learns that the connection is no more. What has arrived may still be read, or not.
 */
static void endpoint_break(lw_endpoint *broken, int error) {
    if (broken->state == ENDPOINT_GONE || broken->state == ENDPOINT_BROKEN) {
        return;
    }
    lw_network *network = broken->network;
    lw_lane *incoming = &broken->connection->lanes[1 - broken->side];
    if (lw_chance_percent(&network->dice.chance, 50)) {
        lw_buffer_clear(&incoming->arrived);
        incoming->read = 0;
    }
    lw_lane_drop(network, &broken->connection->lanes[broken->side]);
    broken->state = ENDPOINT_BROKEN;
    broken->error = error;
    wake(broken);
}

/* No question is asked while something stalls. */
static void keepalive_over(lw_agenda_event *event) {
    lw_connection *way = event->owner;
    lw_network *network = way->network;
    uint32_t caller = way->ends[0].host, accepted = way->ends[1].host;
    bool answers = !way->vanished && way_open(network, caller, accepted) &&
                   way_open(network, accepted, caller);
    if (!answers && way->lanes[1].first != NULL) {
        lw_connection_keepalive(way);
    } else if (!answers) {
        endpoint_break(&way->ends[1], ETIMEDOUT);
        lw_connection_free_if_over(way);
    }
}

void lw_connection_keepalive(lw_connection *way) {
    lw_agenda *agenda = way->network->agenda;
    if (!lw_agenda_has(&way->keepalive) && way->ends[1].state == ENDPOINT_OPEN) {
        lw_agenda_add(agenda, &way->keepalive, agenda->now_ns + LW_KEEPALIVE_NS);
    }
}

void lw_lane_truncate(lw_network *network, lw_lane *cut) {
    uint64_t count = 0;
    for (const lw_segment *each = cut->first; each != NULL; each = each->next) {
        count++;
    }
    uint64_t kept = lw_chance_between(&network->dice.chance, 0, count);
    if (kept == 0) {
        lw_lane_drop(network, cut);
        return;
    }
    cut->last = cut->first;
    for (; kept > 1; kept--) {
        cut->last = cut->last->next;
    }
    while (cut->last->next != NULL) {
        lw_segment *lost = cut->last->next;
        cut->last->next = lost->next;
        lw_free(network->memory, lost);
    }
}

/* ---- arriving ------------------------------------------------------------------------------- */

/* False if the listener has no room: the hello is tried again. */
static bool arrive_hello(lw_connection *way) {
    lw_endpoint *accepting = &way->ends[1];
    lw_endpoint *listener = lw_network_find_listener(way->network, accepting->host, way->port);
    if (listener == NULL) {
        lw_lane_push(way, 1, SEGMENT_REFUSAL, lw_view(NULL, 0));
        return true;
    }
    if (listener->backlog_count == LW_NETWORK_BACKLOG) {
        return false;
    }
    lw_endpoint **place = &listener->backlog_first;
    while (*place != NULL) {
        place = &(*place)->next;
    }
    *place = accepting;
    accepting->next = NULL;
    listener->backlog_count++;
    accepting->state = ENDPOINT_OPEN;
    lw_lane_push(way, 1, SEGMENT_WELCOME, lw_view(NULL, 0));
    wake(listener);
    return true;
}

/* Bounds the buffer of a receiver that never quite catches up. */
static void lane_forget_read(lw_lane *carrying) {
    if (carrying->read * 2 >= carrying->arrived.size) {
        carrying->arrived.size -= carrying->read;
        if (carrying->arrived.size > 0) {
            memmove(carrying->arrived.data, carrying->arrived.data + carrying->read,
                    carrying->arrived.size);
        }
        carrying->read = 0;
    }
}

static void arrive_data(lw_connection *way, uint32_t side, const lw_segment *data) {
    lw_endpoint *receiver = &way->ends[1 - side];
    if (receiver->state != ENDPOINT_OPEN) {
        lw_lane_push(way, 1 - side, SEGMENT_RESET, lw_view(NULL, 0));
        return;
    }
    if (lw_dice_hit(&way->network->dice, LW_FAULT_CONNECTION_RESET)) {
        endpoint_break(receiver, ECONNRESET);
        endpoint_break(&way->ends[side], ECONNRESET);
        return;
    }
    lw_lane *carrying = &way->lanes[side];
    lane_forget_read(carrying);
    lw_buffer_append(&carrying->arrived, lw_view(data->data, data->size));
    wake(receiver);
}

/* False if the segment must be tried again. */
static bool arrive(lw_connection *way, uint32_t side, const lw_segment *arriving) {
    lw_endpoint *receiver = &way->ends[1 - side];
    switch (arriving->kind) {
    case SEGMENT_HELLO:
        return arrive_hello(way);
    case SEGMENT_WELCOME:
        if (receiver->state == ENDPOINT_CONNECTING) {
            receiver->state = ENDPOINT_OPEN;
            wake(receiver);
        } else {
            lw_lane_push(way, 1 - side, SEGMENT_RESET, lw_view(NULL, 0));
        }
        return true;
    case SEGMENT_REFUSAL:
        endpoint_break(receiver, ECONNREFUSED);
        return true;
    case SEGMENT_PROBE:
        if (receiver->state != ENDPOINT_OPEN) {
            lw_lane_push(way, 1 - side, SEGMENT_RESET, lw_view(NULL, 0));
        } else if (way->lanes[side].in_flight == LW_NETWORK_WINDOW) {
            lw_lane_push(way, side, SEGMENT_PROBE, lw_view(NULL, 0));
        }
        return true;
    case SEGMENT_DATA:
        arrive_data(way, side, arriving);
        return true;
    case SEGMENT_END:
        way->lanes[side].ended = true;
        wake(receiver);
        return true;
    case SEGMENT_RESET:
        endpoint_break(receiver, ECONNRESET);
        return true;
    }
    LW_ASSERT(false);
    return true;
}

static uint64_t draw_retry(lw_network *network) {
    return network->agenda->now_ns +
           lw_chance_between(&network->dice.chance, RETRY_NS_MIN, RETRY_NS_MAX);
}

/* The first segment did not get through. */
static void lane_stall(lw_connection *way, uint32_t side) {
    lw_network *network = way->network;
    lw_lane *carrying = &way->lanes[side];
    if (carrying->stalled_ns == 0) {
        carrying->stalled_ns = network->agenda->now_ns;
    }
    if (network->agenda->now_ns - carrying->stalled_ns < LW_NETWORK_PATIENCE_NS) {
        lw_agenda_add(network->agenda, &carrying->deliver, draw_retry(network));
        return;
    }
    lw_lane_drop(network, carrying);
    endpoint_break(&way->ends[side], ETIMEDOUT);
    lw_connection_free_if_over(way);
}

static void lane_deliver(lw_agenda_event *event) {
    lw_connection *way = event->owner;
    uint32_t side = event == &way->lanes[0].deliver ? 0 : 1;
    lw_lane *carrying = &way->lanes[side];
    lw_network *network = way->network;
    uint32_t from = way->ends[side].host, to = way->ends[1 - side].host;
    lw_segment *arriving = carrying->first;
    if (!way_open(network, from, to)) {
        lane_stall(way, side);
        return;
    }
    way->ends[1 - side].heard_ns = network->agenda->now_ns;
    if (way_open(network, to, from)) { /* the acknowledgement */
        way->ends[side].heard_ns = network->agenda->now_ns;
    }
    /* Off the lane first: what it causes may drop or fill the lane. */
    carrying->first = arriving->next;
    carrying->last = carrying->first == NULL ? NULL : carrying->last;
    lw_trace_note(
        network->trace,
        &(lw_trace_event){.time_ns = network->agenda->now_ns,
                          .what = segment_names[arriving->kind],
                          .handle = -1,
                          .size = arriving->size,
                          .contents = lw_hash(0, lw_view(arriving->data, arriving->size))},
        network->hosts[to].name, network->hosts[from].name);
    if (arriving->kind == SEGMENT_DATA) {
        lw_page_came(network->page, network->hosts[from].name, network->hosts[to].name, false,
                     arriving->sent_ns, arriving->size);
    }
    if (!arrive(way, side, arriving)) {
        arriving->next = carrying->first;
        carrying->first = arriving;
        carrying->last = carrying->last == NULL ? arriving : carrying->last;
        lane_stall(way, side);
        return;
    }
    lw_free(network->memory, arriving);
    carrying->stalled_ns = 0;
    if (carrying->first != NULL && !lw_agenda_has(&carrying->deliver)) {
        lw_agenda_add(network->agenda, &carrying->deliver, carrying->first->arrival_ns);
    }
    lw_connection_free_if_over(way);
}

/* What the receiver has read makes room for the sender. */
static void lane_acknowledge(lw_agenda_event *event) {
    lw_connection *way = event->owner;
    uint32_t side = event == &way->lanes[0].acknowledge ? 0 : 1;
    lw_lane *carrying = &way->lanes[side];
    lw_network *network = way->network;
    if (!way_open(network, way->ends[1 - side].host, way->ends[side].host)) {
        lw_agenda_add(network->agenda, event, draw_retry(network));
        return;
    }
    LW_ASSERT(carrying->in_flight >= carrying->unacknowledged);
    carrying->in_flight -= carrying->unacknowledged;
    carrying->unacknowledged = 0;
    wake(&way->ends[side]);
}
