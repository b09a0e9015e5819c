/* SPDX-License-Identifier: Apache-2.0 */
/* The life of the broker, in one fiber: prepare the folder, find the program, then start, watch and
 * start again.
 *
 *   nats.conf                  0600: it holds secrets
 *   nats-server_PID.ports      written by the server once it listens
 *   nats.log, nats.log.old     of this start, and of the one before
 *   nats.out                   what the server printed
 *   ports                      "client PORT\nroute PORT\n": those of the first start */
#include "lattice/broker.h"

#include "lattice/broker_child.h"
#include "lattice/broker_text.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define MS_NS UINT64_C(1000000)
enum {
    LOOK_MS = 5, /* between looks for the ports file */
    START_MS = 10000,
    TICK_MS = 500,
    SILENT_TICKS_MAX = 6,   /* without a beat, before it is killed */
    CHECK_FIRST_MS = 2000,  /* from a change of routes to looking whether all are heard, and as */
    CHECK_LAST_MS = 600000, /* much again by chance; then twice as long, up to this */
    TERM_MS = 500,
    VERSION_MS = 5000,
    BACK_OFF_FIRST_MS = 20,
    BACK_OFF_LAST_MS = 2000,
    HEALTHY_MS = 10000, /* of running, and the back-off begins anew */
    DEATHS_MAX = 5,     /* within DEATHS_MS, and it rests */
    DEATHS_MS = 60000,
    REST_MS = 30000,
    FILE_SIZE_MAX = 16 * 1024, /* of what is read of a file: its end */
    COMPLAINT_SIZE = 160,
};

struct lw_broker {
    lw_env *env;
    lw_broker_options options; /* strings point below */
    char folder[LW_PATH_SIZE], listen_host[LW_HOST_SIZE], public_host[LW_HOST_SIZE];
    char route_listen[LW_ADDRESS_SIZE], address[LW_ADDRESS_SIZE];
    char reason[LW_BUS_REASON_SIZE];
    lw_broker_config config; /* secrets, ports, routes */
    char (*routes)[LW_ADDRESS_SIZE];
    const char **route_pointers;
    uint64_t check_ns, check_ms; /* when to look next, and from how long to how long */

    lw_child child;

    uint64_t deaths_ns[DEATHS_MAX]; /* a ring */
    uint64_t exits;
    uint64_t back_off_ms;
    lw_queue woken;
    bool closing, ended;
};

/* ---- small things --------------------------------------------------------------------------- */

static void set_reason(lw_broker *broker, const char *reason) {
    if (strcmp(broker->reason, reason) == 0) {
        return;
    }
    (void)snprintf(broker->reason, sizeof(broker->reason), "%s", reason);
    if (reason[0] != '\0') {
        lw_logline(broker->env, LW_LEVEL_WARN, "the bus is degraded", "reason=\"%s\"",
                   broker->reason);
    }
    broker->options.changed(broker->options.argument);
}

/* Waits for so long, or until something is to be done. */
static LW_YIELDS void doze(lw_broker *broker, uint64_t duration_ms) {
    if (!broker->closing && !broker->child.gone) {
        (void)lw_env_wait(broker->env, &broker->woken,
                          lw_env_now(broker->env) + duration_ms * MS_NS);
    }
}

static LW_YIELDS void doze_until_closed(lw_broker *broker, uint64_t duration_ms) {
    uint64_t end_ns = lw_env_now(broker->env) + duration_ms * MS_NS;
    while (!broker->closing && lw_env_now(broker->env) < end_ns) {
        (void)lw_env_wait(broker->env, &broker->woken, end_ns);
    }
}

static lw_status path_of(const lw_broker *broker, const char *name, char path[LW_PATH_SIZE]) {
    return lw_path_join(path, broker->folder, name);
}

/* Appends the end of a file; nothing if there is none. */
static LW_YIELDS void read_end(lw_broker *broker, const char *name, lw_buffer *text) {
    char path[LW_PATH_SIZE];
    lw_handle file;
    uint64_t size = 0;
    size_t read_size = 0;
    if (path_of(broker, name, path) != LW_OK ||
        lw_file_open(broker->env, path, LW_OPEN_READ_ONLY, &file) != LW_OK) {
        return;
    }
    if (lw_file_size(broker->env, file, &size) == LW_OK) {
        uint64_t begin = size > FILE_SIZE_MAX ? size - FILE_SIZE_MAX : 0;
        uint8_t *to = lw_buffer_reserve(text, FILE_SIZE_MAX);
        if (lw_file_read(broker->env, file, begin, to, (size_t)(size - begin), &read_size) ==
            LW_OK) {
            text->size += read_size;
        }
    }
    lw_file_close(broker->env, file);
}

/* ---- the program ---------------------------------------------------------------------------- */

static LW_YIELDS lw_status check_version(lw_broker *broker) {
    char option[] = "--version";
    char *arguments[] = {broker->child.program, option, NULL};
    lw_buffer printed = lw_buffer_in(broker->env->memory);
    LW_TRY(lw_child_start(&broker->child, arguments));
    lw_child_await(&broker->child, VERSION_MS);
    (void)lw_child_reap(&broker->child);
    read_end(broker, "nats.out", &printed);
    lw_status status = lw_broker_version_check(lw_buffer_view(&printed));
    lw_buffer_reset(&printed);
    return status;
}

/* ---- ports ---------------------------------------------------------------------------------- */

/* The number behind a word; 0: there is none. */
static unsigned long pinned_port(const char *text, const char *word) {
    const char *at = strstr(text, word);
    return at == NULL ? 0 : strtoul(at + strlen(word), NULL, 10);
}

static LW_YIELDS void read_pinned(lw_broker *broker) {
    lw_buffer text = lw_buffer_in(broker->env->memory);
    read_end(broker, "ports", &text);
    lw_buffer_append_u8(&text, 0);
    unsigned long client = pinned_port((const char *)text.data, "client ");
    unsigned long route = pinned_port((const char *)text.data, "route ");
    if (client > 0 && client <= UINT16_MAX && route > 0 && route <= UINT16_MAX) {
        broker->config.client_port = (uint16_t)client;
        if (broker->options.route_port == 0) {
            broker->options.route_port = (uint16_t)route;
        }
    }
    lw_buffer_reset(&text);
}

static LW_YIELDS lw_status write_pinned(lw_broker *broker) {
    char text[64];
    int size = snprintf(text, sizeof(text), "client %u\nroute %u\n", broker->config.client_port,
                        broker->options.route_port);
    return lw_path_replace(broker->env, broker->folder, "ports", lw_view(text, (size_t)size),
                           false);
}

static void print_address(const char *host, uint16_t port, char address[LW_ADDRESS_SIZE]) {
    bool bracketed = strchr(host, ':') != NULL;
    (void)snprintf(address, LW_ADDRESS_SIZE, "%s%s%s:%u", bracketed ? "[" : "", host,
                   bracketed ? "]" : "", port);
}

static LW_YIELDS lw_status choose_route_port(lw_broker *broker) {
    uint16_t port = broker->options.route_port;
    if (port == 0) {
        lw_handle listener;
        print_address(broker->listen_host, 0, broker->route_listen);
        LW_TRY(lw_socket_listen(broker->env, broker->route_listen, &listener, &port));
        lw_socket_close(broker->env, listener);
        broker->options.route_port = port;
    }
    char address[LW_ADDRESS_SIZE];
    print_address(broker->listen_host, port, broker->route_listen);
    print_address(broker->public_host, port, address);
    if (!lw_broker_address_good(broker->route_listen) || !lw_broker_address_good(address)) {
        return lw_fail(LW_INVALID_ARGUMENT, "\"%s\" is no address that a broker can have", address);
    }
    (void)snprintf(broker->address, sizeof(broker->address), "%s", address);
    broker->options.changed(broker->options.argument);
    return LW_OK;
}

/* ---- one start ------------------------------------------------------------------------------ */

static LW_YIELDS lw_status write_config(lw_broker *broker) {
    lw_buffer text = lw_buffer_in(broker->env->memory);
    broker->config.route_listen = broker->route_listen;
    broker->config.route_address = broker->address;
    lw_broker_config_print(&broker->config, &text);
    lw_status status =
        lw_path_replace(broker->env, broker->folder, "nats.conf", lw_buffer_view(&text), false);
    lw_seal_wipe(text.data, text.size);
    lw_buffer_reset(&text);
    return status;
}

/* What earlier servers left behind. */
static LW_YIELDS void tidy(lw_broker *broker) {
    char path[LW_PATH_SIZE], old[LW_PATH_SIZE];
    lw_buffer names = lw_buffer_in(broker->env->memory);
    if (path_of(broker, "nats.log", path) == LW_OK &&
        path_of(broker, "nats.log.old", old) == LW_OK) {
        (void)!lw_path_rename(broker->env, path, old);
    }
    if (lw_path_list(broker->env, broker->folder, &names) == LW_OK) {
        for (size_t place = 0; place < names.size;) {
            const char *name = (const char *)names.data + place;
            bool rotated = strncmp(name, "nats.log.2", 10) == 0;
            if ((rotated || strncmp(name, "nats-server_", 12) == 0) &&
                path_of(broker, name, path) == LW_OK) {
                (void)!lw_path_unlink(broker->env, path);
            }
            place += strlen(name) + 1;
        }
    }
    lw_buffer_reset(&names);
}

/* Whether the child says that it listens. */
static LW_YIELDS bool has_begun(lw_broker *broker) {
    char name[64];
    uint16_t port = 0;
    lw_buffer text = lw_buffer_in(broker->env->memory);
    (void)snprintf(name, sizeof(name), "nats-server_%d.ports", (int)broker->child.process);
    read_end(broker, name, &text);
    bool begun = lw_broker_ports_parse(lw_buffer_view(&text), &port);
    lw_buffer_reset(&text);
    if (begun) {
        broker->config.client_port = port;
    }
    return begun;
}

/* True once it takes connections; false if it ended, took too long, or is not wanted any more. */
static LW_YIELDS bool await_begin(lw_broker *broker) {
    uint64_t end_ns = lw_env_now(broker->env) + START_MS * MS_NS;
    while (!broker->closing && !broker->child.gone && lw_env_now(broker->env) < end_ns) {
        if (has_begun(broker)) {
            return true;
        }
        doze(broker, LOOK_MS);
    }
    return false;
}

static void check_after(lw_broker *broker, uint64_t duration_ms) {
    broker->check_ms = duration_ms < CHECK_LAST_MS ? duration_ms : CHECK_LAST_MS;
    broker->check_ns =
        lw_env_now(broker->env) +
        (broker->check_ms + lw_env_random_below(broker->env, broker->check_ms)) * MS_NS;
    (void)broker->options.heard(broker->options.argument);
}

/* Whether a new start of the server may bring us to somebody who is not heard. It is no use to let
 * the server read its configuration again while it runs (SIGHUP): nats-server 2.9.10 dials then,
 * and while it dials it replaces its accounts, so that it may stay deaf to what is listened to at
 * the other end. It also forgets for good, now and then, to dial one again that died soon after it
 * came. Who is gone is missed too, so we look less and less often. */
static bool wants_restart(lw_broker *broker) {
    if (lw_env_now(broker->env) < broker->check_ns) {
        return false;
    }
    bool missed = broker->options.heard(broker->options.argument) < broker->config.route_count;
    check_after(broker, 2 * broker->check_ms);
    return missed;
}

/* Stays as long as the server runs and answers, and need not start again. Ticks are counted, not
 * time: after this process itself was stopped for a while, the server gets its chance. */
static LW_YIELDS void watch_over(lw_broker *broker, const char **complaint) {
    uint64_t beats = broker->options.beats(broker->options.argument);
    uint64_t tick_ns = lw_env_now(broker->env);
    uint32_t silent_ticks = 0;
    while (!broker->closing && !broker->child.gone && !wants_restart(broker)) {
        doze(broker, TICK_MS);
        if (lw_env_now(broker->env) - tick_ns < TICK_MS * MS_NS) {
            continue;
        }
        tick_ns = lw_env_now(broker->env);
        uint64_t now = broker->options.beats(broker->options.argument);
        silent_ticks = now != beats ? 0 : silent_ticks + 1;
        beats = now;
        if (silent_ticks == SILENT_TICKS_MAX) {
            *complaint = "it did not answer for 3 seconds and was killed";
            return;
        }
    }
}

static LW_YIELDS void announce(lw_broker *broker) {
    char url[64];
    (void)snprintf(url, sizeof(url), "nats://127.0.0.1:%u", broker->config.client_port);
    (void)!write_pinned(broker);
    set_reason(broker, "");
    broker->options.ready(broker->options.argument, url, broker->config.client_token);
}

/* Says why the server ended, and remembers that it did. */
static LW_YIELDS void lament(lw_broker *broker, int status, const char *complaint) {
    char own[COMPLAINT_SIZE] = "", text[LW_BUS_REASON_SIZE];
    lw_buffer log = lw_buffer_in(broker->env->memory), printed = log;
    if (complaint == NULL && WIFSIGNALED(status)) {
        (void)snprintf(own, sizeof(own), "killed by signal %d", WTERMSIG(status));
    } else if (complaint == NULL) {
        read_end(broker, "nats.log", &log);
        read_end(broker, "nats.out", &printed);
        lw_broker_complaint(lw_buffer_view(&log), lw_buffer_view(&printed), own, sizeof(own));
        if (own[0] == '\0') {
            (void)snprintf(own, sizeof(own), "exit code %d", WEXITSTATUS(status));
        }
    }
    lw_buffer_reset(&log);
    lw_buffer_reset(&printed);
    broker->deaths_ns[broker->exits++ % DEATHS_MAX] = lw_env_now(broker->env);
    (void)snprintf(text, sizeof(text), "nats-server ended: %s",
                   complaint != NULL ? complaint : own);
    set_reason(broker, text);
}

/* One life of the server. LW_OK whatever became of it, once it was started. */
static LW_YIELDS lw_status live(lw_broker *broker) {
    char option[] = "-c", file[] = "nats.conf";
    char *arguments[] = {broker->child.program, option, file, NULL};
    const char *complaint = NULL;
    tidy(broker);
    LW_TRY(write_config(broker));
    LW_TRY(lw_child_start(&broker->child, arguments));
    uint64_t begin_ns = lw_env_now(broker->env);
    bool begun = await_begin(broker);
    if (begun) {
        announce(broker);
        watch_over(broker, &complaint);
    } else if (!broker->child.gone) {
        complaint = "it did not begin to listen within 10 seconds";
    }
    if (broker->closing || (begun && complaint == NULL && !broker->child.gone)) {
        lw_child_signal(&broker->child, SIGTERM);
        lw_child_await(&broker->child, TERM_MS);
        (void)lw_child_reap(&broker->child);
        broker->back_off_ms = 0;
        return LW_OK;
    }
    lament(broker, lw_child_reap(&broker->child), complaint);
    if (!begun) {
        /* Somebody else may have the port by now: the next start takes another. */
        broker->config.client_port = 0;
    }
    if (lw_env_now(broker->env) - begin_ns > HEALTHY_MS * MS_NS) {
        broker->back_off_ms = BACK_OFF_FIRST_MS;
    }
    return LW_OK;
}

/* ---- all of them ---------------------------------------------------------------------------- */

static LW_YIELDS lw_status prepare(lw_broker *broker) {
    LW_TRY(lw_path_mkdir(broker->env, broker->folder));
    read_pinned(broker);
    LW_TRY(choose_route_port(broker));
    LW_TRY(lw_child_find(&broker->child));
    return check_version(broker);
}

static bool dies_often(const lw_broker *broker) {
    uint64_t oldest_ns = broker->deaths_ns[broker->exits % DEATHS_MAX];
    return broker->exits >= DEATHS_MAX && lw_env_now(broker->env) - oldest_ns < DEATHS_MS * MS_NS;
}

static LW_YIELDS void rest(lw_broker *broker) {
    broker->options.rests(broker->options.argument);
    doze_until_closed(broker, REST_MS);
}

static void grow_back_off(lw_broker *broker) {
    uint64_t longer_ms = broker->back_off_ms * 2;
    longer_ms = longer_ms < BACK_OFF_LAST_MS ? longer_ms : BACK_OFF_LAST_MS;
    broker->back_off_ms = longer_ms > BACK_OFF_FIRST_MS ? longer_ms : BACK_OFF_FIRST_MS;
}

static LW_YIELDS void broker_main(void *argument) {
    lw_broker *broker = argument;
    bool prepared = false;
    while (!broker->closing) {
        lw_status status = prepared ? LW_OK : prepare(broker);
        prepared = prepared || status == LW_OK;
        status = status == LW_OK ? live(broker) : status;
        if (broker->closing) {
            break;
        }
        if (status != LW_OK) {
            set_reason(broker, lw_error_slot()->text);
        }
        if (status != LW_OK || dies_often(broker)) {
            rest(broker);
        } else {
            doze_until_closed(broker, broker->back_off_ms);
            grow_back_off(broker);
        }
    }
    broker->ended = true;
}

/* ---- the face ------------------------------------------------------------------------------- */

lw_broker *lw_broker_open(lw_env *env, const lw_broker_options *options) {
    lw_broker *broker = lw_allocate_zero(env->memory, sizeof(*broker));
    broker->env = env;
    broker->options = *options;
    broker->back_off_ms = BACK_OFF_FIRST_MS;
    (void)snprintf(broker->folder, sizeof(broker->folder), "%s", options->folder);
    (void)snprintf(broker->listen_host, sizeof(broker->listen_host), "%s", options->listen_host);
    (void)snprintf(broker->public_host, sizeof(broker->public_host), "%s", options->public_host);
    broker->config.node = options->node;
    lw_child_init(&broker->child, env, broker->folder, &broker->woken);
    memcpy(broker->config.lattice, options->lattice, sizeof(options->lattice));
    lw_broker_secrets(options->key, &broker->config);
    lw_seal_wipe(broker->options.key, sizeof(broker->options.key));
    check_after(broker, CHECK_FIRST_MS);
    (void)lw_env_start(env, "broker", broker_main, broker);
    return broker;
}

const char *lw_broker_reason(const lw_broker *broker) {
    return broker->reason;
}

const char *lw_broker_address(const lw_broker *broker) {
    return broker->address;
}

uint64_t lw_broker_exits(const lw_broker *broker) {
    return broker->exits;
}

static bool same_routes(const lw_broker *broker, const char *const *addresses, uint32_t count) {
    for (uint32_t index = 0; index < count && count == broker->config.route_count; index++) {
        if (strcmp(broker->routes[index], addresses[index]) != 0) {
            return false;
        }
    }
    return count == broker->config.route_count;
}

static void take_routes(lw_broker *broker, const char *const *addresses, uint32_t count) {
    lw_memory *memory = broker->env->memory;
    lw_free(memory, broker->routes);
    lw_free(memory, broker->route_pointers);
    broker->routes = lw_allocate_zero(memory, count * sizeof(*broker->routes));
    broker->route_pointers = lw_allocate_zero(memory, count * sizeof(*broker->route_pointers));
    for (uint32_t index = 0; index < count; index++) {
        (void)snprintf(broker->routes[index], LW_ADDRESS_SIZE, "%s", addresses[index]);
        broker->route_pointers[index] = broker->routes[index];
    }
    broker->config.routes = broker->route_pointers;
    broker->config.route_count = count;
    check_after(broker, CHECK_FIRST_MS);
}

void lw_broker_set_routes(lw_broker *broker, const char *const *addresses, uint32_t count) {
    const char *good[LW_BUS_ROUTES_MAX];
    uint32_t good_count = 0;
    LW_ASSERT(count <= LW_BUS_ROUTES_MAX);
    for (uint32_t index = 0; index < count; index++) {
        if (lw_broker_address_good(addresses[index]) &&
            strcmp(addresses[index], broker->address) != 0) {
            good[good_count++] = addresses[index];
        }
    }
    if (!same_routes(broker, good, good_count)) {
        take_routes(broker, good, good_count);
    }
}

LW_YIELDS void lw_broker_close(lw_broker *broker) {
    lw_memory *memory = broker->env->memory;
    broker->closing = true;
    lw_queue_wake_all(&broker->woken);
    while (!broker->ended) {
        lw_env_sleep(broker->env, MS_NS);
    }
    lw_free(memory, broker->routes);
    lw_free(memory, broker->route_pointers);
    lw_seal_wipe(&broker->config, sizeof(broker->config));
    lw_free(memory, broker);
}
