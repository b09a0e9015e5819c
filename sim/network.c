/* SPDX-License-Identifier: Apache-2.0 */
/* Connections, and the two lanes each of them has. */
#include "sim/network.h"

#include <errno.h>

#define RETRY_NS_MIN UINT64_C(200000000) /* of a stalled segment */
#define RETRY_NS_MAX UINT64_C(1000000000)
#define PROBE_NS     UINT64_C(1000000000) /* between two looks at a receiver that takes nothing */
enum { SEGMENT_SIZE_MAX = 64 * 1024, FIRST_FREE_PORT = 49152 };

typedef enum segment_kind {
    SEGMENT_HELLO,   /* a connection is asked for */
    SEGMENT_WELCOME, /* … and was made */
    SEGMENT_REFUSAL, /* … and nobody listens */
    SEGMENT_DATA,
    SEGMENT_PROBE, /* whether the receiver, who takes nothing, is still there */
    SEGMENT_END,   /* nothing follows */
    SEGMENT_RESET,
} segment_kind;

static const char *const segment_names[] = {
    [SEGMENT_HELLO] = "hello",  [SEGMENT_WELCOME] = "welcome", [SEGMENT_REFUSAL] = "refusal",
    [SEGMENT_DATA] = "segment", [SEGMENT_PROBE] = "probe",     [SEGMENT_END] = "end",
    [SEGMENT_RESET] = "reset",
};

typedef struct segment {
    struct segment *next;
    uint64_t arrival_ns;
    segment_kind kind;
    size_t size;
    uint8_t data[];
} segment;

typedef enum endpoint_state {
    ENDPOINT_LISTENING,
    ENDPOINT_CONNECTING,
    ENDPOINT_OPEN,
    ENDPOINT_BROKEN, /* `error` says why */
    ENDPOINT_GONE,   /* nobody has it any more */
} endpoint_state;

struct lw_endpoint {
    lw_network *network;
    uint32_t host;
    endpoint_state state;
    int error;
    lw_endpoint_wake wake;
    void *owner;
    struct connection *connection; /* NULL: a listener */
    uint32_t side;                 /* of the connection */
    uint16_t port;                 /* of a listener */
    lw_endpoint *next;             /* listener: the next of the network; else: in a backlog */
    lw_endpoint *backlog_first;    /* of a listener, oldest first */
    uint32_t backlog_count;
};

/* One direction of a connection. */
typedef struct lane {
    segment *first, *last; /* on the way; none overtakes another */
    uint64_t stalled_ns;   /* since when; 0: it flows */
    lw_buffer arrived;     /* bytes that wait to be read, from `read` on */
    size_t read;
    size_t in_flight;      /* bytes accepted and not acknowledged */
    size_t unacknowledged; /* of these, read by the receiver */
    bool ended;            /* the end of the stream has arrived */
    lw_agenda_event deliver, acknowledge;
} lane;

typedef struct connection {
    struct connection *previous, *next;
    lw_network *network;
    uint16_t port;
    lw_endpoint ends[2]; /* who connected, who accepted */
    lane lanes[2];       /* lane s carries from ends[s] to the other */
} connection;

typedef struct network_host {
    const char *name;
    bool power;
    uint16_t next_free_port;
} network_host;

struct lw_network {
    lw_memory *memory;
    lw_agenda *agenda;
    lw_trace *trace;
    lw_dice dice;
    network_host *hosts;
    uint32_t host_count;
    bool *cuts; /* [from * host_count + to] */
    lw_endpoint *listeners;
    connection *first, *last;
};

static void lane_deliver(lw_agenda_event *event);
static void lane_acknowledge(lw_agenda_event *event);

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

uint32_t lw_network_add_host(lw_network *network, const char *name) {
    uint32_t count = network->host_count + 1;
    bool *cuts = lw_allocate_zero(network->memory, (size_t)count * count);
    for (uint32_t from = 0; from < network->host_count; from++) {
        memcpy(cuts + (size_t)from * count, network->cuts + (size_t)from * network->host_count,
               network->host_count);
    }
    lw_free(network->memory, network->cuts);
    network->cuts = cuts;
    network->hosts = lw_reallocate(network->memory, network->hosts, count * sizeof(network_host));
    network->hosts[count - 1] =
        (network_host){.name = name, .power = true, .next_free_port = FIRST_FREE_PORT};
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

void lw_network_cut(lw_network *network, uint32_t from, uint32_t to, bool cut) {
    LW_ASSERT(from < network->host_count && to < network->host_count);
    LW_ASSERT(from != to);
    network->cuts[(size_t)from * network->host_count + to] = cut;
}

static bool way_open(const lw_network *network, uint32_t from, uint32_t to) {
    return network->hosts[to].power && !network->cuts[(size_t)from * network->host_count + to];
}

static uint64_t draw_delay(lw_network *network, const connection *way, size_t size) {
    lw_chance *chance = &network->dice.chance;
    if (way->ends[0].host == way->ends[1].host) {
        return lw_chance_between(chance, 5000, 20000) + size / 8;
    }
    uint64_t delay = lw_chance_between(chance, 20000, 100000) + size;
    if (lw_dice_hit(&network->dice, LW_FAULT_SLOW_SEGMENT)) {
        delay += lw_chance_between(chance, 1000000, 1000000000);
    }
    return delay;
}

/* ---- lanes ---------------------------------------------------------------------------------- */

static void wake(const lw_endpoint *endpoint) {
    if (endpoint->wake != NULL) {
        endpoint->wake(endpoint->owner);
    }
}

static void lane_drop(lw_network *network, lane *dropped) {
    lw_agenda_remove(network->agenda, &dropped->deliver);
    while (dropped->first != NULL) {
        segment *each = dropped->first;
        dropped->first = each->next;
        lw_free(network->memory, each);
    }
    dropped->last = NULL;
    dropped->stalled_ns = 0;
}

static void lane_push(connection *way, uint32_t side, segment_kind kind, lw_bytes bytes) {
    lw_network *network = way->network;
    lane *carrying = &way->lanes[side];
    if (carrying->first != NULL && carrying->first->kind == SEGMENT_PROBE) {
        lane_drop(network, carrying);
    }
    segment *added = lw_allocate(network->memory, sizeof(*added) + bytes.size);
    uint64_t arrival = network->agenda->now_ns + draw_delay(network, way, bytes.size) +
                       (kind == SEGMENT_PROBE ? PROBE_NS : 0);
    *added = (segment){.arrival_ns = arrival, .kind = kind, .size = bytes.size};
    if (bytes.size > 0) {
        memcpy(added->data, bytes.data, bytes.size);
    }
    if (carrying->last == NULL) {
        carrying->first = added;
        lw_agenda_add(network->agenda, &carrying->deliver, arrival);
    } else {
        carrying->last->next = added;
    }
    carrying->last = added;
}

static connection *connection_open(lw_network *network, uint32_t from, uint32_t to, uint16_t port) {
    connection *way = lw_allocate_zero(network->memory, sizeof(*way));
    way->network = network;
    way->port = port;
    for (uint32_t side = 0; side < 2; side++) {
        way->ends[side] = (lw_endpoint){.network = network,
                                        .host = side == 0 ? from : to,
                                        .state = ENDPOINT_GONE,
                                        .connection = way,
                                        .side = side};
        lane *each = &way->lanes[side];
        each->arrived = lw_buffer_in(network->memory);
        each->deliver = (lw_agenda_event){.run = lane_deliver, .owner = way};
        each->acknowledge = (lw_agenda_event){.run = lane_acknowledge, .owner = way};
    }
    way->previous = network->last;
    if (network->last == NULL) {
        network->first = way;
    } else {
        network->last->next = way;
    }
    network->last = way;
    return way;
}

static void connection_free(connection *way) {
    lw_network *network = way->network;
    for (uint32_t side = 0; side < 2; side++) {
        lane_drop(network, &way->lanes[side]);
        lw_agenda_remove(network->agenda, &way->lanes[side].acknowledge);
        lw_buffer_reset(&way->lanes[side].arrived);
    }
    *(way->previous == NULL ? &network->first : &way->previous->next) = way->next;
    *(way->next == NULL ? &network->last : &way->next->previous) = way->previous;
    lw_free(network->memory, way);
}

/* Once nobody has either end and nothing is on the way. */
static void connection_free_if_over(connection *way) {
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
    lane *incoming = &broken->connection->lanes[1 - broken->side];
    if (lw_chance_percent(&network->dice.chance, 50)) {
        lw_buffer_clear(&incoming->arrived);
        incoming->read = 0;
    }
    lane_drop(network, &broken->connection->lanes[broken->side]);
    broken->state = ENDPOINT_BROKEN;
    broken->error = error;
    wake(broken);
}

/* ---- arriving ------------------------------------------------------------------------------- */

static lw_endpoint *find_listener(const lw_network *network, uint32_t host, uint16_t port) {
    lw_endpoint *each = network->listeners;
    while (each != NULL && (each->host != host || each->port != port)) {
        each = each->next;
    }
    return each;
}

/* False if the listener has no room: the hello is tried again. */
static bool arrive_hello(connection *way) {
    lw_endpoint *accepting = &way->ends[1];
    lw_endpoint *listener = find_listener(way->network, accepting->host, way->port);
    if (listener == NULL) {
        lane_push(way, 1, SEGMENT_REFUSAL, lw_view(NULL, 0));
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
    lane_push(way, 1, SEGMENT_WELCOME, lw_view(NULL, 0));
    wake(listener);
    return true;
}

/* Bounds the buffer of a receiver that never quite catches up. */
static void lane_forget_read(lane *carrying) {
    if (carrying->read * 2 >= carrying->arrived.size) {
        carrying->arrived.size -= carrying->read;
        if (carrying->arrived.size > 0) {
            memmove(carrying->arrived.data, carrying->arrived.data + carrying->read,
                    carrying->arrived.size);
        }
        carrying->read = 0;
    }
}

static void arrive_data(connection *way, uint32_t side, const segment *data) {
    lw_endpoint *receiver = &way->ends[1 - side];
    if (receiver->state != ENDPOINT_OPEN) {
        lane_push(way, 1 - side, SEGMENT_RESET, lw_view(NULL, 0));
        return;
    }
    if (lw_dice_hit(&way->network->dice, LW_FAULT_CONNECTION_RESET)) {
        endpoint_break(receiver, ECONNRESET);
        endpoint_break(&way->ends[side], ECONNRESET);
        return;
    }
    lane *carrying = &way->lanes[side];
    lane_forget_read(carrying);
    lw_buffer_append(&carrying->arrived, lw_view(data->data, data->size));
    wake(receiver);
}

/* False if the segment must be tried again. */
static bool arrive(connection *way, uint32_t side, const segment *arriving) {
    lw_endpoint *receiver = &way->ends[1 - side];
    switch (arriving->kind) {
    case SEGMENT_HELLO:
        return arrive_hello(way);
    case SEGMENT_WELCOME:
        if (receiver->state == ENDPOINT_CONNECTING) {
            receiver->state = ENDPOINT_OPEN;
            wake(receiver);
        } else {
            lane_push(way, 1 - side, SEGMENT_RESET, lw_view(NULL, 0));
        }
        return true;
    case SEGMENT_REFUSAL:
        endpoint_break(receiver, ECONNREFUSED);
        return true;
    case SEGMENT_PROBE:
        if (receiver->state != ENDPOINT_OPEN) {
            lane_push(way, 1 - side, SEGMENT_RESET, lw_view(NULL, 0));
        } else if (way->lanes[side].in_flight == LW_NETWORK_WINDOW) {
            lane_push(way, side, SEGMENT_PROBE, lw_view(NULL, 0));
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
static void lane_stall(connection *way, uint32_t side) {
    lw_network *network = way->network;
    lane *carrying = &way->lanes[side];
    if (carrying->stalled_ns == 0) {
        carrying->stalled_ns = network->agenda->now_ns;
    }
    if (network->agenda->now_ns - carrying->stalled_ns < LW_NETWORK_PATIENCE_NS) {
        lw_agenda_add(network->agenda, &carrying->deliver, draw_retry(network));
        return;
    }
    lane_drop(network, carrying);
    endpoint_break(&way->ends[side], ETIMEDOUT);
    connection_free_if_over(way);
}

static void lane_deliver(lw_agenda_event *event) {
    connection *way = event->owner;
    uint32_t side = event == &way->lanes[0].deliver ? 0 : 1;
    lane *carrying = &way->lanes[side];
    lw_network *network = way->network;
    uint32_t from = way->ends[side].host, to = way->ends[1 - side].host;
    segment *arriving = carrying->first;
    if (!way_open(network, from, to)) {
        lane_stall(way, side);
        return;
    }
    /* Off the lane first: what it causes may drop or fill the lane. */
    carrying->first = arriving->next;
    carrying->last = carrying->first == NULL ? NULL : carrying->last;
    lw_trace_note(network->trace,
                  (lw_note){.time_ns = network->agenda->now_ns,
                            .what = segment_names[arriving->kind],
                            .handle = -1,
                            .size = arriving->size,
                            .contents = lw_hash(0, lw_view(arriving->data, arriving->size))},
                  network->hosts[to].name, network->hosts[from].name);
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
    connection_free_if_over(way);
}

/* What the receiver has read makes room for the sender. */
static void lane_acknowledge(lw_agenda_event *event) {
    connection *way = event->owner;
    uint32_t side = event == &way->lanes[0].acknowledge ? 0 : 1;
    lane *carrying = &way->lanes[side];
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

/* ---- endpoints ------------------------------------------------------------------------------ */

int lw_network_listen(lw_network *network, uint32_t host, uint16_t *port, lw_endpoint_wake wake_up,
                      void *owner, lw_endpoint **listener) {
    uint16_t chosen = *port;
    while (*port == 0) {
        uint16_t *next = &network->hosts[host].next_free_port;
        chosen = *next;
        *next = *next == UINT16_MAX ? FIRST_FREE_PORT : (uint16_t)(*next + 1);
        if (find_listener(network, host, chosen) == NULL) {
            break;
        }
    }
    if (find_listener(network, host, chosen) != NULL) {
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
    connection *way = connection_open(network, from, to, port);
    way->ends[0].state = ENDPOINT_CONNECTING;
    way->ends[0].wake = wake_up;
    way->ends[0].owner = owner;
    lane_push(way, 0, SEGMENT_HELLO, lw_view(NULL, 0));
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
    connection *way = endpoint->connection;
    lw_network *network = endpoint->network;
    lane *incoming = &way->lanes[1 - endpoint->side];
    size_t there = incoming->arrived.size - incoming->read;
    if (there == 0) {
        *count = 0;
        return incoming->ended ? 0 : endpoint->state == ENDPOINT_BROKEN ? endpoint->error : EAGAIN;
    }
    size_t taken = there < size ? there : size;
    if (taken > 1 && lw_dice_hit(&network->dice, LW_FAULT_SHORT_RECEIVE)) {
        taken = (size_t)lw_chance_between(&network->dice.chance, 1, taken < 17 ? taken - 1 : 16);
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
                      network->agenda->now_ns + draw_delay(network, way, 0));
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
    lane *outgoing = &endpoint->connection->lanes[endpoint->side];
    size_t room = LW_NETWORK_WINDOW - outgoing->in_flight;
    size_t taken = bytes.size < room ? bytes.size : room;
    if (taken == 0 && bytes.size > 0) {
        if (outgoing->first == NULL) {
            lane_push(endpoint->connection, endpoint->side, SEGMENT_PROBE, lw_view(NULL, 0));
        }
        return EAGAIN;
    }
    for (size_t done = 0; done < taken;) {
        size_t part = taken - done < SEGMENT_SIZE_MAX ? taken - done : SEGMENT_SIZE_MAX;
        lane_push(endpoint->connection, endpoint->side, SEGMENT_DATA,
                  lw_view(bytes.data + done, part));
        done += part;
    }
    outgoing->in_flight += taken;
    *count = taken;
    return 0;
}

/* ---- leaving -------------------------------------------------------------------------------- */

static void end_close(lw_endpoint *endpoint) {
    LW_ASSERT(endpoint->state != ENDPOINT_GONE);
    connection *way = endpoint->connection;
    bool open = endpoint->state == ENDPOINT_OPEN;
    /* Nobody wakes for one that was never accepted. */
    bool unread = way->lanes[1 - endpoint->side].arrived.size > 0 || endpoint->wake == NULL;
    if (endpoint->state == ENDPOINT_CONNECTING) {
        lane_drop(endpoint->network, &way->lanes[endpoint->side]);
    }
    endpoint->state = ENDPOINT_GONE;
    endpoint->wake = NULL;
    if (open) {
        lane_push(way, endpoint->side, unread ? SEGMENT_RESET : SEGMENT_END, lw_view(NULL, 0));
    }
    connection_free_if_over(way);
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

/* Of what was on its way, what had left the host still arrives. */
static void lane_truncate(lw_network *network, lane *cut) {
    uint64_t count = 0;
    for (const segment *each = cut->first; each != NULL; each = each->next) {
        count++;
    }
    uint64_t kept = lw_chance_between(&network->dice.chance, 0, count);
    if (kept == 0) {
        lane_drop(network, cut);
        return;
    }
    cut->last = cut->first;
    for (; kept > 1; kept--) {
        cut->last = cut->last->next;
    }
    while (cut->last->next != NULL) {
        segment *lost = cut->last->next;
        cut->last->next = lost->next;
        lw_free(network->memory, lost);
    }
}

/* The endpoint ends without a word, or with one from the next switch. */
static void endpoint_vanish(lw_endpoint *endpoint) {
    connection *way = endpoint->connection;
    lw_network *network = endpoint->network;
    lane_truncate(network, &way->lanes[endpoint->side]);
    lw_agenda_remove(network->agenda, &way->lanes[1 - endpoint->side].acknowledge);
    bool open = endpoint->state == ENDPOINT_OPEN;
    endpoint->state = ENDPOINT_GONE;
    endpoint->wake = NULL;
    if (open && lw_dice_hit(&network->dice, LW_FAULT_CRASH_RESET)) {
        lane_push(way, endpoint->side, SEGMENT_RESET, lw_view(NULL, 0));
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
    for (connection *way = network->first; way != NULL;) {
        connection *next = way->next;
        for (uint32_t side = 0; side < 2; side++) {
            if (way->ends[side].host == host && way->ends[side].state != ENDPOINT_GONE) {
                endpoint_vanish(&way->ends[side]);
            }
        }
        connection_free_if_over(way);
        way = next;
    }
}

void lw_network_power_on(lw_network *network, uint32_t host) {
    network->hosts[host].power = true;
}
