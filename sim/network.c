/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts of the simulated network, listeners, and the ends of connections. */
#include "sim/network.h"

#include <errno.h>

#include "sim/network_private.h"

enum { SEGMENT_SIZE_MAX = 64 * 1024, FIRST_FREE_PORT = 49152 };

/* ---- the network and its hosts -------------------------------------------------------------- */

lw_network *lw_network_open(lw_memory *memory, lw_agenda *agenda, lw_trace *trace, lw_chance chance,
                            const lw_faults *faults, uint64_t *hits) {
    lw_network *network = lw_allocate_zero(memory, sizeof(*network));
    network->memory = memory;
    network->agenda = agenda;
    network->trace = trace;
    network->dice = lw_dice_of(chance, faults, hits);
    return network;
}

lw_dice *lw_network_dice(lw_network *network) {
    return &network->dice;
}

void lw_network_draw(lw_network *network, struct lw_page *page) {
    network->page = page;
}

uint32_t lw_network_add_host(lw_network *network, const char *name) {
    uint32_t count = network->host_count + 1;
    lw_network_way *ways = lw_allocate_zero(network->memory, (size_t)count * count * sizeof(*ways));
    for (uint32_t from = 0; from < network->host_count; from++) {
        memcpy(ways + (size_t)from * count, network->ways + (size_t)from * network->host_count,
               network->host_count * sizeof(*ways));
    }
    lw_free(network->memory, network->ways);
    network->ways = ways;
    network->hosts =
        lw_reallocate(network->memory, network->hosts, count * sizeof(lw_network_host));
    network->hosts[count - 1] =
        (lw_network_host){.name = name, .power = true, .next_free_port = FIRST_FREE_PORT};
    network->host_count = count;
    return count - 1;
}

int32_t lw_network_find_host(const lw_network *network, uint32_t from, const char *name) {
    if (strcmp(name, "localhost") == 0 || strcmp(name, "127.0.0.1") == 0 ||
        strcmp(name, "::1") == 0) {
        return (int32_t)from;
    }
    for (uint32_t host = 0; host < network->host_count; host++) {
        if (strcmp(network->hosts[host].name, name) == 0) {
            return (int32_t)host;
        }
    }
    return -1;
}

lw_network_way *lw_network_way_of(const lw_network *network, uint32_t from, uint32_t to) {
    LW_ASSERT(from < network->host_count && to < network->host_count);
    return &network->ways[(size_t)from * network->host_count + to];
}

void lw_network_cut(lw_network *network, uint32_t from, uint32_t to, bool cut) {
    LW_ASSERT(from != to);
    lw_network_way_of(network, from, to)->cut = cut;
    for (lw_connection *way = network->first; way != NULL && cut; way = way->next) {
        bool forth = way->ends[0].host == from && way->ends[1].host == to;
        bool back = way->ends[0].host == to && way->ends[1].host == from;
        if (forth || back) {
            lw_connection_keepalive(way);
        }
    }
}

bool lw_network_reaches(const lw_network *network, uint32_t from, uint32_t to, uint64_t *lag_ns) {
    const lw_network_way *way = lw_network_way_of(network, from, to);
    *lag_ns = way->lag_ns;
    return !way->cut;
}

void lw_network_lag(lw_network *network, uint32_t from, uint32_t to, uint64_t lag_ns) {
    lw_network_way_of(network, from, to)->lag_ns = lag_ns;
}

void lw_network_clamp(lw_network *network, uint32_t from, uint32_t to, uint64_t bytes_per_second) {
    lw_network_way *way = lw_network_way_of(network, from, to);
    way->byte_ns = bytes_per_second == 0 ? 0 : UINT64_C(1000000000) / bytes_per_second;
    way->busy_ns = 0;
}

/* ---- endpoints ------------------------------------------------------------------------------ */

lw_endpoint *lw_network_find_listener(const lw_network *network, uint32_t host, uint16_t port) {
    lw_endpoint *each = network->listeners;
    while (each != NULL && (each->host != host || each->port != port)) {
        each = each->next;
    }
    return each;
}

int lw_network_listen(lw_network *network, uint32_t host, uint16_t *port, lw_endpoint_wake wake_up,
                      void *owner, lw_endpoint **listener) {
    uint16_t chosen = *port;
    while (*port == 0) {
        uint16_t *next = &network->hosts[host].next_free_port;
        chosen = *next;
        *next = *next == UINT16_MAX ? FIRST_FREE_PORT : (uint16_t)(*next + 1);
        if (lw_network_find_listener(network, host, chosen) == NULL) {
            break;
        }
    }
    if (lw_network_find_listener(network, host, chosen) != NULL) {
        return EADDRINUSE;
    }
    lw_endpoint *added = lw_allocate_zero(network->memory, sizeof(*added));
    *added = (lw_endpoint){.network = network,
                           .host = host,
                           .state = ENDPOINT_LISTENING,
                           .wake = wake_up,
                           .owner = owner,
                           .port = chosen,
                           .next = network->listeners};
    network->listeners = added;
    *port = chosen;
    *listener = added;
    return 0;
}

lw_endpoint *lw_network_connect(lw_network *network, uint32_t from, uint32_t to, uint16_t port,
                                lw_endpoint_wake wake_up, void *owner) {
    lw_connection *way = lw_connection_open(network, from, to, port);
    way->ends[0].state = ENDPOINT_CONNECTING;
    way->ends[0].wake = wake_up;
    way->ends[0].owner = owner;
    lw_lane_push(way, 0, SEGMENT_HELLO, lw_view(NULL, 0));
    return &way->ends[0];
}

int lw_endpoint_connected(const lw_endpoint *endpoint) {
    switch (endpoint->state) {
    case ENDPOINT_CONNECTING:
        return EAGAIN;
    case ENDPOINT_OPEN:
        return 0;
    case ENDPOINT_BROKEN:
        return endpoint->error;
    case ENDPOINT_LISTENING:
    case ENDPOINT_GONE:
        break;
    }
    LW_ASSERT(false);
    return 0;
}

int lw_endpoint_accept(lw_endpoint *listener, lw_endpoint_wake wake_up, void *owner,
                       lw_endpoint **accepted) {
    LW_ASSERT(listener->state == ENDPOINT_LISTENING);
    lw_endpoint *oldest = listener->backlog_first;
    if (oldest == NULL) {
        return EAGAIN;
    }
    listener->backlog_first = oldest->next;
    listener->backlog_count--;
    oldest->next = NULL;
    oldest->wake = wake_up;
    oldest->owner = owner;
    *accepted = oldest;
    return 0;
}

int lw_endpoint_receive(lw_endpoint *endpoint, void *buffer, size_t size, uint64_t *count) {
    LW_ASSERT(endpoint->connection != NULL && endpoint->state != ENDPOINT_GONE);
    lw_connection *way = endpoint->connection;
    lw_network *network = endpoint->network;
    lw_lane *incoming = &way->lanes[1 - endpoint->side];
    size_t there = incoming->arrived.size - incoming->read;
    if (there == 0) {
        *count = 0;
        return incoming->ended ? 0 : endpoint->state == ENDPOINT_BROKEN ? endpoint->error : EAGAIN;
    }
    size_t taken = there < size ? there : size;
    if (taken > 1 && lw_dice_hit(&network->dice, LW_FAULT_SHORT_RECEIVE)) {
        taken = (size_t)lw_chance_between(&network->dice.own, 1, taken < 17 ? taken - 1 : 16);
    }
    memcpy(buffer, incoming->arrived.data + incoming->read, taken);
    incoming->read += taken;
    incoming->unacknowledged += taken;
    if (incoming->read == incoming->arrived.size) {
        lw_buffer_clear(&incoming->arrived);
        incoming->read = 0;
    }
    if (!lw_agenda_has(&incoming->acknowledge)) {
        lw_agenda_add(network->agenda, &incoming->acknowledge,
                      network->agenda->now_ns + lw_network_delay(network, way, 0));
    }
    *count = taken;
    return 0;
}

int lw_endpoint_send(lw_endpoint *endpoint, lw_bytes bytes, size_t *count) {
    LW_ASSERT(endpoint->connection != NULL && endpoint->state != ENDPOINT_GONE);
    if (endpoint->state == ENDPOINT_BROKEN) {
        return endpoint->error == ECONNRESET ? EPIPE : endpoint->error;
    }
    LW_ASSERT(endpoint->state == ENDPOINT_OPEN);
    lw_lane *outgoing = &endpoint->connection->lanes[endpoint->side];
    size_t room = LW_NETWORK_WINDOW - outgoing->in_flight;
    size_t taken = bytes.size < room ? bytes.size : room;
    if (taken == 0 && bytes.size > 0) {
        if (outgoing->first == NULL) {
            lw_lane_push(endpoint->connection, endpoint->side, SEGMENT_PROBE, lw_view(NULL, 0));
        }
        return EAGAIN;
    }
    for (size_t done = 0; done < taken;) {
        size_t part = taken - done < SEGMENT_SIZE_MAX ? taken - done : SEGMENT_SIZE_MAX;
        lw_lane_push(endpoint->connection, endpoint->side, SEGMENT_DATA,
                     lw_view(bytes.data + done, part));
        done += part;
    }
    outgoing->in_flight += taken;
    *count = taken;
    return 0;
}

bool lw_endpoint_unheard(const lw_endpoint *endpoint, uint64_t *silence_ns) {
    if (endpoint->state != ENDPOINT_OPEN) {
        return false;
    }
    const lw_lane *outgoing = &endpoint->connection->lanes[endpoint->side];
    bool waits = outgoing->first != NULL && outgoing->first->kind == SEGMENT_DATA;
    bool full = outgoing->in_flight == LW_NETWORK_WINDOW;
    if (waits) {
        uint64_t since_ns = outgoing->first->sent_ns > endpoint->heard_ns ? outgoing->first->sent_ns
                                                                          : endpoint->heard_ns;
        *silence_ns = endpoint->network->agenda->now_ns - since_ns;
    } else {
        *silence_ns = 0;
    }
    return waits || full;
}

/* ---- leaving -------------------------------------------------------------------------------- */

static void end_close(lw_endpoint *endpoint) {
    LW_ASSERT(endpoint->state != ENDPOINT_GONE);
    lw_connection *way = endpoint->connection;
    bool open = endpoint->state == ENDPOINT_OPEN;
    /* Nobody wakes for one that was never accepted. */
    bool unread = way->lanes[1 - endpoint->side].arrived.size > 0 || endpoint->wake == NULL;
    if (endpoint->state == ENDPOINT_CONNECTING) {
        lw_lane_drop(endpoint->network, &way->lanes[endpoint->side]);
    }
    endpoint->state = ENDPOINT_GONE;
    endpoint->wake = NULL;
    if (open) {
        lw_lane_push(way, endpoint->side, unread ? SEGMENT_RESET : SEGMENT_END, lw_view(NULL, 0));
    }
    lw_connection_free_if_over(way);
}

static void listener_close(lw_endpoint *listener) {
    lw_network *network = listener->network;
    while (listener->backlog_first != NULL) {
        lw_endpoint *waiting = listener->backlog_first;
        listener->backlog_first = waiting->next;
        end_close(waiting);
    }
    lw_endpoint **place = &network->listeners;
    while (*place != listener) {
        place = &(*place)->next;
    }
    *place = listener->next;
    lw_free(network->memory, listener);
}

void lw_endpoint_close(lw_endpoint *endpoint) {
    if (endpoint->state == ENDPOINT_LISTENING) {
        listener_close(endpoint);
    } else {
        end_close(endpoint);
    }
}

/* The endpoint ends without a word, or with one from the next switch. */
static void endpoint_vanish(lw_endpoint *endpoint) {
    lw_connection *way = endpoint->connection;
    lw_network *network = endpoint->network;
    lw_lane_truncate(network, &way->lanes[endpoint->side]);
    lw_agenda_remove(network->agenda, &way->lanes[1 - endpoint->side].acknowledge);
    bool open = endpoint->state == ENDPOINT_OPEN;
    endpoint->state = ENDPOINT_GONE;
    endpoint->wake = NULL;
    if (open && lw_dice_hit(&network->dice, LW_FAULT_CRASH_RESET)) {
        lw_lane_push(way, endpoint->side, SEGMENT_RESET, lw_view(NULL, 0));
    } else if (open && endpoint->side == 0) {
        way->vanished = true;
        lw_connection_keepalive(way);
    }
}

void lw_network_power_loss(lw_network *network, uint32_t host) {
    LW_ASSERT(network->hosts[host].power);
    network->hosts[host].power = false;
    for (lw_endpoint **place = &network->listeners; *place != NULL;) {
        lw_endpoint *listener = *place;
        if (listener->host == host) {
            *place = listener->next;
            lw_free(network->memory, listener);
        } else {
            place = &listener->next;
        }
    }
    for (lw_connection *way = network->first; way != NULL;) {
        lw_connection *next = way->next;
        for (uint32_t side = 0; side < 2; side++) {
            if (way->ends[side].host == host && way->ends[side].state != ENDPOINT_GONE) {
                endpoint_vanish(&way->ends[side]);
            }
        }
        lw_connection_free_if_over(way);
        way = next;
    }
}

void lw_network_power_on(lw_network *network, uint32_t host) {
    network->hosts[host].power = true;
}
