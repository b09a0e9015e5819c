/* SPDX-License-Identifier: Apache-2.0 */
/* The bus of the real world: ties sealing, the line to a NATS server, and the broker together. */
#include "lattice/bus_real.h"

#include "lattice/broker.h"
#include "lattice/bus_nats.h"
#include "lattice/bus_wire.h"

#include <inttypes.h>
#include <stdio.h>

#define START_NS UINT64_C(2000000000) /* before it is called degraded that it is not up yet */

typedef struct real_bus {
    lw_bus bus; /* first: an lw_bus of this world is one */
    lw_env *env;
    lw_bus_options options;
    lw_broker *broker; /* NULL: it is somebody else's */
    lw_nats *line;     /* NULL: there is nothing to connect to */
    char url[LW_BUS_URL_SIZE];
    lw_bus_origin origin; /* of the last message that was published */
    lw_bus_heard heard;
    uint64_t opened_ns;
    uint64_t overrun; /* by lines that were closed */
    bool was_up, closing;
    uint8_t message[LW_BUS_MESSAGE_SIZE_MAX];
    uint8_t body[LW_BUS_BODY_SIZE_MAX];
} real_bus;

/* ---- state ---------------------------------------------------------------------------------- */

static void settle(real_bus *real) {
    char reason[LW_BUS_REASON_SIZE] = "", why[LW_BUS_REASON_SIZE / 2] = "";
    const char *broken = real->broker != NULL ? lw_broker_reason(real->broker) : "";
    lw_bus_state state = LW_BUS_DEGRADED;
    if (real->line != NULL && lw_nats_up(real->line)) {
        state = LW_BUS_UP;
        real->was_up = true;
    } else if (broken[0] != '\0') {
        (void)snprintf(reason, sizeof(reason), "%s", broken);
    } else if (!real->was_up && lw_env_now(real->env) - real->opened_ns < START_NS) {
        state = LW_BUS_STARTING;
    } else {
        if (real->line != NULL) {
            lw_nats_reason(real->line, why, sizeof(why));
        }
        (void)snprintf(reason, sizeof(reason), "no connection to the NATS server%s%s",
                       why[0] != '\0' ? ": " : "", why);
    }
    lw_bus_set_state(&real->bus, &real->options, state, reason);
}

/* ---- messages ------------------------------------------------------------------------------- */

static void on_arrival(void *argument, lw_bytes subject, lw_bytes sealed) {
    real_bus *real = argument;
    lw_bus_figures *figures = &real->bus.figures;
    lw_bus_message message = {0};
    lw_bus_origin origin;
    size_t body_size;
    figures->overrun = real->overrun + lw_nats_overrun(real->line);
    if (!lw_bus_subject_parse(real->options.lattice, real->options.node, subject, &message.kind,
                              &message.directed) ||
        !lw_bus_message_open(real->options.key, subject, sealed, &origin, real->body, &body_size)) {
        figures->refused++;
        return;
    }
    if (origin.node == real->options.node) {
        return; /* what an earlier process of this node said */
    }
    if (!lw_bus_hear(&real->heard, origin.node, origin.incarnation, origin.sequence)) {
        figures->stale++;
        return;
    }
    figures->received++;
    message.from = origin.node;
    message.incarnation = origin.incarnation;
    message.body = lw_view(real->body, body_size);
    real->options.receive(real->options.argument, &message);
}

static bool real_publish(lw_bus *bus, lw_bus_kind kind, uint64_t node, lw_bytes body) {
    real_bus *real = (real_bus *)(void *)bus;
    char subject[LW_BUS_SUBJECT_SIZE];
    if (real->line == NULL || !lw_nats_up(real->line)) {
        return false;
    }
    lw_bus_subject(real->options.lattice, node, kind, subject);
    real->origin.sequence++;
    size_t size = lw_bus_message_seal(real->options.key, &real->origin, lw_text(subject), body,
                                      real->message);
    return lw_nats_publish(real->line, subject, lw_view(real->message, size));
}

/* ---- the line ------------------------------------------------------------------------------- */

static void on_line_change(void *argument) {
    real_bus *real = argument;
    real->bus.figures.overrun = real->overrun + lw_nats_overrun(real->line);
    settle(real);
}

static LW_YIELDS void close_line(real_bus *real) {
    lw_nats *line = real->line;
    real->line = NULL;
    if (line != NULL) {
        real->overrun += lw_nats_overrun(line);
        lw_nats_close(line);
    }
}

static lw_status open_line(real_bus *real, const char *url, const char *token, bool near) {
    char name[32], all[LW_BUS_SUBJECT_SIZE], own[LW_BUS_SUBJECT_SIZE];
    (void)snprintf(name, sizeof(name), "%016" PRIx64, real->options.node);
    lw_bus_subscription(real->options.lattice, 0, all);
    lw_bus_subscription(real->options.lattice, real->options.node, own);
    lw_nats_options options = {.url = url,
                               .token = token,
                               .name = name,
                               .subscriptions = {all, own},
                               .near = near,
                               .arrived = on_arrival,
                               .changed = on_line_change,
                               .argument = real};
    (void)snprintf(real->url, sizeof(real->url), "%s", url);
    return lw_nats_open(real->env, &options, &real->line);
}

/* ---- the broker ----------------------------------------------------------------------------- */

/* On the port that it had before the line finds it by itself, sooner than a new one would. */
static LW_YIELDS void on_broker_ready(void *argument, const char *url, const char *token) {
    real_bus *real = argument;
    if (real->line != NULL && strcmp(real->url, url) == 0) {
        return;
    }
    close_line(real);
    if (!real->closing && open_line(real, url, token, true) != LW_OK) {
        lw_logline(real->env, LW_LEVEL_WARN, "the bus is degraded", "reason=\"%s\"",
                   lw_error_slot()->text);
    }
}

static LW_YIELDS void on_broker_rests(void *argument) {
    close_line(argument);
}

static uint32_t on_broker_heard(void *argument) {
    real_bus *real = argument;
    return lw_bus_heard_lately(&real->heard);
}

static uint64_t on_broker_beats(void *argument) {
    const real_bus *real = argument;
    return real->line != NULL ? lw_nats_beats(real->line) : 0;
}

static void on_broker_change(void *argument) {
    real_bus *real = argument;
    if (real->broker == NULL) {
        return;
    }
    real->bus.figures.broker_exits = lw_broker_exits(real->broker);
    const char *address = lw_broker_address(real->broker);
    if (strcmp(real->bus.address, address) != 0) {
        (void)snprintf(real->bus.address, sizeof(real->bus.address), "%s", address);
        if (real->options.changed != NULL) {
            real->options.changed(real->options.argument);
        }
    }
    settle(real);
}

static void open_broker(real_bus *real, const lw_bus_real *how) {
    lw_broker_options options = {.folder = how->folder,
                                 .node = real->options.node,
                                 .listen_host = how->listen_host,
                                 .public_host = how->public_host,
                                 .route_port = how->route_port,
                                 .ready = on_broker_ready,
                                 .rests = on_broker_rests,
                                 .heard = on_broker_heard,
                                 .beats = on_broker_beats,
                                 .changed = on_broker_change,
                                 .argument = real};
    memcpy(options.lattice, real->options.lattice, sizeof(options.lattice));
    memcpy(options.key, real->options.key, sizeof(options.key));
    real->broker = lw_broker_open(real->env, &options);
    lw_seal_wipe(options.key, sizeof(options.key));
}

/* ---- opening and closing -------------------------------------------------------------------- */

static void real_set_routes(lw_bus *bus, const char *const *addresses, uint32_t count) {
    real_bus *real = (real_bus *)(void *)bus;
    if (real->broker != NULL) {
        lw_broker_set_routes(real->broker, addresses, count);
    }
}

/* The connection first, so that the server that ends is not missed. */
static LW_YIELDS void real_end(lw_bus *bus) {
    real_bus *real = (real_bus *)(void *)bus;
    real->closing = true;
    real->options.changed = NULL;
    close_line(real);
    if (real->broker != NULL) {
        lw_broker_close(real->broker);
    }
    close_line(real);
    lw_bus_heard_reset(&real->heard);
    lw_seal_wipe(real->options.key, sizeof(real->options.key));
    lw_free(real->env->memory, real);
}

static const lw_bus_world real_world = {
    .publish = real_publish,
    .set_routes = real_set_routes,
    .end = real_end,
};

LW_YIELDS lw_status lw_bus_real_open(void *argument, lw_env *env, const lw_bus_options *options,
                                     lw_bus **bus) {
    const lw_bus_real *how = argument;
    LW_ASSERT(options->node != 0 && options->receive != NULL);
    if (how->url != NULL &&
        (strncmp(how->url, "nats://", 7) != 0 || strlen(how->url) >= LW_BUS_URL_SIZE)) {
        return lw_fail(LW_INVALID_ARGUMENT, "\"%s\" is no address of a bus: use nats://HOST:PORT",
                       how->url);
    }
    real_bus *real = lw_allocate_zero(env->memory, sizeof(*real));
    real->bus.world = &real_world;
    real->bus.state = LW_BUS_STARTING;
    real->env = env;
    real->options = *options;
    real->heard = lw_bus_heard_in(env->memory);
    real->opened_ns = lw_env_now(env);
    real->origin = (lw_bus_origin){.node = options->node, .incarnation = options->incarnation};
    lw_env_entropy(env, real->origin.salt, sizeof(real->origin.salt));
    lw_status status = LW_OK;
    if (how->url != NULL) {
        status = open_line(real, how->url, NULL, false);
    } else {
        open_broker(real, how);
    }
    if (status != LW_OK) {
        lw_free(env->memory, real);
        return status;
    }
    *bus = &real->bus;
    return LW_OK;
}
