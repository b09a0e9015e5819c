/* SPDX-License-Identifier: Apache-2.0 */
/* Text for and of a nats-server. */
#include "lattice/broker_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the configuration ---------------------------------------------------------------------- */

static void derive(const uint8_t *key, const char *purpose, uint64_t node,
                   char text[LW_BROKER_SECRET_SIZE]) {
    char input[64];
    uint8_t digest[LW_DIGEST_SIZE];
    (void)snprintf(input, sizeof(input), "lathwork broker %s %016" PRIx64, purpose, node);
    lw_digest_keyed(key, lw_text(input), digest);
    lw_hex_print(lw_view(digest, LW_BROKER_SECRET_SIZE / 2), text);
    lw_seal_wipe(digest, sizeof(digest));
}

void lw_broker_secrets(const uint8_t key[LW_BUS_KEY_SIZE], lw_broker_config *config) {
    derive(key, "client", config->node, config->client_token);
    derive(key, "route", 0, config->route_password);
}

/* Ports file and pid file are named so that only those of a server that is ours are believed. */
void lw_broker_config_print(const lw_broker_config *config, lw_buffer *text) {
    char lattice[LW_HEX_LATTICE_SIZE], port[8] = "-1";
    lw_hex_print(lw_view(config->lattice, LW_BUS_LATTICE_SIZE), lattice);
    if (config->client_port != 0) {
        (void)snprintf(port, sizeof(port), "%u", config->client_port);
    }
    lw_buffer_print(text,
                    "# Written by lathwork at every start of its broker.\n"
                    "server_name: \"%016" PRIx64 "\"\n"
                    "listen: \"127.0.0.1:%s\"\n"
                    "ports_file_dir: \".\"\n"
                    "pid_file: \"nats.pid\"\n"
                    "log_file: \"nats.log\"\n"
                    "logfile_size_limit: 8MB\n"
                    "max_payload: 256KB\n"
                    "max_pending: 8MB\n"
                    "max_control_line: 1KB\n"
                    "max_connections: 16\n"
                    "max_subscriptions: 256\n"
                    "write_deadline: \"2s\"\n"
                    "ping_interval: \"2s\"\n"
                    "ping_max: 2\n"
                    "authorization { token: \"%s\", timeout: 2 }\n",
                    config->node, port, config->client_token);
    lw_buffer_print(text,
                    "cluster {\n"
                    "  name: \"%s\"\n"
                    "  listen: \"%s\"\n"
                    "  advertise: \"%s\"\n"
                    "  no_advertise: true\n"
                    "  connect_retries: 30\n"
                    "  authorization { user: \"lattice\", password: \"%s\", timeout: 2 }\n"
                    "  routes = [\n",
                    lattice, config->route_listen, config->route_address, config->route_password);
    for (uint32_t index = 0; index < config->route_count; index++) {
        lw_buffer_print(text, "    \"nats-route://lattice:%s@%s\"\n", config->route_password,
                        config->routes[index]);
    }
    lw_buffer_print(text, "  ]\n}\n");
}

static bool is_plain(char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') || letter == '.' || letter == '-';
}

bool lw_broker_address_good(const char *address) {
    char host[LW_HOST_SIZE];
    uint16_t port;
    if (strlen(address) >= LW_ADDRESS_SIZE || lw_address_split(address, host, &port) != LW_OK) {
        return false;
    }
    bool bracketed = address[0] == '[';
    for (const char *letter = host; *letter != '\0'; letter++) {
        if (!is_plain(*letter) && !(bracketed && *letter == ':')) {
            return false;
        }
    }
    return port != 0;
}

/* ---- what it writes ------------------------------------------------------------------------- */

/* The first place of a text behind `from`; bytes.size if there is none. */
static size_t find(lw_bytes bytes, size_t from, const char *text) {
    size_t size = strlen(text);
    for (size_t place = from; place + size <= bytes.size; place++) {
        if (memcmp(bytes.data + place, text, size) == 0) {
            return place;
        }
    }
    return bytes.size;
}

bool lw_broker_ports_parse(lw_bytes file, uint16_t *client_port) {
    static const char begins[] = "\"nats\":[\"nats://127.0.0.1:";
    size_t place = find(file, 0, begins);
    if (file.size == 0 || file.data[file.size - 1] != '}' || place == file.size) {
        return false;
    }
    uint32_t port = 0;
    for (place += sizeof(begins) - 1; place < file.size; place++) {
        uint8_t letter = file.data[place];
        if (letter < '0' || letter > '9' || port > UINT16_MAX) {
            break;
        }
        port = port * 10 + (uint32_t)(letter - '0');
    }
    if (place == file.size || file.data[place] != '"' || port == 0 || port > UINT16_MAX) {
        return false;
    }
    *client_port = (uint16_t)port;
    return true;
}

/* Takes the last line that is not empty from the end of a text; false if there is none. */
static bool take_last_line(lw_bytes *text, lw_bytes *line) {
    while (text->size > 0 && text->data[text->size - 1] == '\n') {
        text->size--;
    }
    size_t begin = text->size;
    while (begin > 0 && text->data[begin - 1] != '\n') {
        begin--;
    }
    *line = lw_view(text->data + begin, text->size - begin);
    text->size = begin;
    return line->size > 0;
}

void lw_broker_complaint(lw_bytes log, lw_bytes printed, char *text, size_t size) {
    static const char mark[] = "[FTL] ";
    lw_bytes line = {0};
    size_t begin = 0;
    bool found = false;
    while (!found && take_last_line(&log, &line)) {
        begin = find(line, 0, mark);
        found = begin < line.size;
        begin += sizeof(mark) - 1;
    }
    if (!found) {
        begin = 0;
        found = take_last_line(&printed, &line);
    }
    text[0] = '\0';
    if (found) {
        (void)lw_printable(lw_view(line.data + begin, line.size - begin), text, size);
    }
}

lw_status lw_broker_version_check(lw_bytes printed) {
    static const char begins[] = "nats-server: v";
    char text[64];
    size_t place = find(printed, 0, begins);
    bool named = place < printed.size;
    lw_bytes line = named ? lw_view(printed.data + place, printed.size - place) : printed;
    size_t size = line.size < sizeof(text) - 1 ? line.size : sizeof(text) - 1;
    if (size > 0) {
        memcpy(text, line.data, size);
    }
    text[size] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    char *rest = text;
    unsigned long major = 0, minor = 0;
    if (named) {
        major = strtoul(text + sizeof(begins) - 1, &rest, 10);
        minor = *rest == '.' ? strtoul(rest + 1, NULL, 10) : 0;
    }
    if (major > LW_BROKER_MAJOR_MIN ||
        (major == LW_BROKER_MAJOR_MIN && minor >= LW_BROKER_MINOR_MIN)) {
        return LW_OK;
    }
    return lw_fail(
        LW_REFUSED,
        "nats-server is too old or something else (it says \"%s\"): install 2.9 or newer, "
        "or use --bus none",
        text);
}
