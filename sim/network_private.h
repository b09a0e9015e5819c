/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the simulated network share: network.c keeps hosts and endpoints, lane.c
 * carries segments from one end of a connection to the other. */
#ifndef LW_SIM_NETWORK_PRIVATE_H
#define LW_SIM_NETWORK_PRIVATE_H

#include "sim/network.h"

typedef enum lw_segment_kind {
    SEGMENT_HELLO,   /* a connection is asked for */
    SEGMENT_WELCOME, /* … and was made */
    SEGMENT_REFUSAL, /* … and nobody listens */
    SEGMENT_DATA,
    SEGMENT_PROBE, /* whether the receiver, who takes nothing, is still there */
    SEGMENT_END,   /* nothing follows */
    SEGMENT_RESET,
} lw_segment_kind;

typedef struct lw_segment {
    struct lw_segment *next;
    uint64_t sent_ns, arrival_ns;
    lw_segment_kind kind;
    size_t size;
    uint8_t data[];
} lw_segment;

typedef enum lw_endpoint_state {
    ENDPOINT_LISTENING,
    ENDPOINT_CONNECTING,
    ENDPOINT_OPEN,
    ENDPOINT_BROKEN, /* `error` says why */
    ENDPOINT_GONE,   /* nobody has it any more */
} lw_endpoint_state;

struct lw_endpoint {
    lw_network *network;
    uint32_t host;
    lw_endpoint_state state;
    int error;
    uint64_t heard_ns; /* when it last had a sign of life of the other one */
    lw_endpoint_wake wake;
    void *owner;
    struct lw_connection *connection; /* NULL: a listener */
    uint32_t side;                    /* of the connection */
    uint16_t port;                    /* of a listener */
    lw_endpoint *next;                /* listener: the next of the network; else: in a backlog */
    lw_endpoint *backlog_first;       /* of a listener, oldest first */
    uint32_t backlog_count;
};

/* One direction of a connection. */
typedef struct lw_lane {
    lw_segment *first, *last; /* on the way; none overtakes another */
    uint64_t stalled_ns;      /* since when; 0: it flows */
    lw_buffer arrived;        /* bytes that wait to be read, from `read` on */
    size_t read;
    size_t in_flight;      /* bytes accepted and not acknowledged */
    size_t unacknowledged; /* of these, read by the receiver */
    bool ended;            /* the end of the stream has arrived */
    lw_agenda_event deliver, acknowledge;
} lw_lane;

typedef struct lw_connection {
    struct lw_connection *previous, *next;
    lw_network *network;
    uint16_t port;
    lw_endpoint ends[2]; /* who connected, who accepted */
    lw_lane lanes[2];    /* lane s carries from ends[s] to the other */
    lw_agenda_event keepalive;
    bool vanished; /* who connected is gone, without a word */
} lw_connection;

/* From one host to another. */
typedef struct lw_network_way {
    bool cut;
    uint64_t lag_ns;  /* that a segment takes longer */
    uint64_t byte_ns; /* that each byte keeps those behind it waiting; 0: there is room for all */
    uint64_t busy_ns; /* until when it does */
} lw_network_way;

typedef struct lw_network_host {
    const char *name;
    bool power;
    uint16_t next_free_port;
} lw_network_host;

struct lw_network {
    lw_memory *memory;
    lw_agenda *agenda;
    lw_trace *trace;
    struct lw_page *page; /* NULL: none */
    lw_dice dice;
    lw_network_host *hosts;
    uint32_t host_count;
    lw_network_way *ways; /* [from * host_count + to] */
    lw_endpoint *listeners;
    lw_connection *first, *last;
};

/* ---- network.c ------------------------------------------------------------------------------ */

lw_network_way *lw_network_way_of(const lw_network *network, uint32_t from, uint32_t to);
/* NULL if nobody listens there. */
lw_endpoint *lw_network_find_listener(const lw_network *network, uint32_t host, uint16_t port);

/* ---- lane.c --------------------------------------------------------------------------------- */

/* A connection between two hosts; nobody has its ends yet. */
lw_connection *lw_connection_open(lw_network *network, uint32_t from, uint32_t to, uint16_t port);
/* Frees it once nobody has either end and nothing is on the way. */
void lw_connection_free_if_over(lw_connection *way);
/* Who connected has vanished, or cannot be reached: the other end finds out in a while. */
void lw_connection_keepalive(lw_connection *way);
/* Sends a segment on its way from ends[side]. */
void lw_lane_push(lw_connection *way, uint32_t side, lw_segment_kind kind, lw_bytes bytes);
/* Loses all that is on its way. */
void lw_lane_drop(lw_network *network, lw_lane *dropped);
/* Loses some: what had left its host before it lost power still arrives. */
void lw_lane_truncate(lw_network *network, lw_lane *cut);
/* Nanoseconds that `size` bytes need between the hosts of a connection. */
uint64_t lw_network_delay(lw_network *network, const lw_connection *way, size_t size);

#endif
