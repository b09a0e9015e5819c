/* SPDX-License-Identifier: Apache-2.0 */
/* What comes from a broker, ours or another's: messages under subjects, and the files and lines of
 * a nats-server. The first byte says which it is.
 *
 * What is opened was sealed: whatever opens, sealed again gives the same bytes. */
#include "lattice/broker_text.h"

#include <stdlib.h>

static void require(int holds) {
    if (!holds) {
        abort();
    }
}

static const uint8_t lattice[LW_BUS_LATTICE_SIZE] = "a lattice of ou";
static const uint8_t key[LW_BUS_KEY_SIZE] = "a key of thirty-two bytes, as it";

/* The bytes come as they are, and sealed, with what an honest sender would not say in them. */
static void open_message(lw_bytes input) {
    uint8_t body[LW_BUS_BODY_SIZE_MAX], message[LW_BUS_MESSAGE_SIZE_MAX];
    char subject[LW_BUS_SUBJECT_SIZE];
    lw_bus_origin origin = {.node = 1, .incarnation = 2, .sequence = 3};
    size_t body_size = 0;
    lw_bus_subject(lattice, 0, LW_BUS_ASK, subject);
    if (lw_bus_message_open(key, lw_text(subject), input, &origin, body, &body_size)) {
        size_t size =
            lw_bus_message_seal(key, &origin, lw_text(subject), lw_view(body, body_size), message);
        require(lw_equal(lw_view(message, size), input));
    }
    lw_bytes said = lw_view(input.data, input.size < sizeof(body) ? input.size : sizeof(body));
    size_t size = lw_bus_message_seal(key, &origin, lw_text(subject), said, message);
    require(lw_bus_message_open(key, lw_text(subject), lw_view(message, size), &origin, body,
                                &body_size));
    require(lw_equal(lw_view(body, body_size), said));
}

static void parse_subject(lw_bytes input) {
    lw_bus_kind kind;
    bool directed;
    char subject[LW_BUS_SUBJECT_SIZE];
    if (lw_bus_subject_parse(lattice, 7, input, &kind, &directed)) {
        lw_bus_subject(lattice, directed ? 7 : 0, kind, subject);
        require(lw_equal(input, lw_text(subject)));
    }
}

static void read_server(lw_bytes input) {
    uint16_t port = 0;
    char text[80];
    require(!lw_broker_ports_parse(input, &port) || port != 0);
    size_t half = input.size / 2;
    lw_broker_complaint(lw_view(input.data, half), lw_view(input.data + half, input.size - half),
                        text, sizeof(text));
    require(strlen(text) < sizeof(text));
    (void)!lw_broker_version_check(input);
    if (input.size < LW_ADDRESS_SIZE * 2) {
        char address[LW_ADDRESS_SIZE * 2];
        memcpy(address, input.data, input.size);
        address[input.size] = '\0';
        require(!lw_broker_address_good(address) || strpbrk(address, "\"\n\\ @/") == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    lw_bytes rest = lw_view(data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        open_message(rest);
        break;
    case 1:
        parse_subject(rest);
        break;
    default:
        read_server(rest);
    }
    return 0;
}
