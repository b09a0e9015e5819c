/* SPDX-License-Identifier: Apache-2.0 */
/* What is written for a nats-server, and read from it: its configuration, its ports file, its log,
 * its version. Pure text; lattice/broker.c does the rest. */
#ifndef LW_BROKER_TEXT_H
#define LW_BROKER_TEXT_H

#include "lattice/bus_wire.h"

enum {
    LW_BROKER_SECRET_SIZE = 33, /* 32 hexadecimal digits, and the closing zero */
    LW_BROKER_MAJOR_MIN = 2,
    LW_BROKER_MINOR_MIN = 9,
};

typedef struct lw_broker_config {
    uint64_t node;
    uint8_t lattice[LW_BUS_LATTICE_SIZE]; /* the name of the cluster: another one is refused */
    uint16_t client_port;                 /* on 127.0.0.1; 0: the server takes a free one */
    const char *route_listen;             /* "HOST:PORT" */
    const char *route_address;            /* "HOST:PORT" that others reach it at */
    char client_token[LW_BROKER_SECRET_SIZE];
    char route_password[LW_BROKER_SECRET_SIZE];
    const char *const *routes; /* "HOST:PORT" of others */
    uint32_t route_count;
} lw_broker_config;

/* Derives both secrets from the bus's key: what only this node's client says to its own server, and
 * what all servers of the lattice say to each other. */
void lw_broker_secrets(const uint8_t key[LW_BUS_KEY_SIZE], lw_broker_config *config);
/* Appends the whole file. Paths in it are relative to the folder that the server runs in. */
void lw_broker_config_print(const lw_broker_config *config, lw_buffer *text);
/* Whether an address may stand in a configuration: a host of letters, digits, "." and "-", or an
 * IPv6 address in brackets, and a port. */
bool lw_broker_address_good(const char *address);
/* The port of clients that a ports file names. False if it is not whole: it is not written at
 * once. */
LW_MUST_USE bool lw_broker_ports_parse(lw_bytes file, uint16_t *client_port);
/* What a server that ended complains about: the last line marked [FTL], without its beginning, else
 * the last line of what it printed. "" if it says nothing. */
void lw_broker_complaint(lw_bytes log, lw_bytes printed, char *text, size_t size);
/* LW_REFUSED, in words, unless "nats-server: v2.9.10" is new enough. */
LW_MUST_USE lw_status lw_broker_version_check(lw_bytes printed);

#endif
