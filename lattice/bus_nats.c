/* SPDX-License-Identifier: Apache-2.0 */
/* The NATS thread. Three threads touch a line: the env's, the thread made here ("ours"), and one of
 * the library that delivers messages and one that reports what happens to the connection.
 *
 *   incoming   put by the delivering thread, taken by the env's: subject size u8 · subject ·
 * message outgoing   put by the env's thread, taken by ours: the same
 *
 * A byte on the pair of sockets wakes the other side; while one is on its way (`*_woken`) no other
 * is sent. */
#include "lattice/bus_nats.h"

#include "lattice/bus_ring.h"

#include <errno.h>
#include <nats/nats.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    INCOMING_SIZE = 1024 * 1024,
    OUTGOING_SIZE = 256 * 1024,
    PENDING_MESSAGES = 4096, /* of a subscription, within the library */
    PENDING_BYTES = 4 * 1024 * 1024,
    BEAT_MS = 1000,
    NEAR_TIMEOUT_MS = 500,
    FAR_TIMEOUT_MS = 2000,
    RETRY_FIRST_MS = 20,
    RETRY_LAST_MS = 1000,
    CLOSE_WAIT_MS = 2000,
    END_WAIT_MS = 2000,
    REASON_SIZE = 200,
    URL_SIZE = 512,
    SUBJECT_SIZE = 128,
};

struct lw_nats {
    lw_memory *memory; /* its own: it may have to be left to a thread that hangs */
    lw_env *env;
    lw_nats_options options; /* strings point below */
    char url[URL_SIZE], token[SUBJECT_SIZE], name[SUBJECT_SIZE], subscriptions[2][SUBJECT_SIZE];
    lw_ring incoming, outgoing;
    int sockets[2];   /* the env's end, ours */
    lw_handle handle; /* of the env's end */
    lw_op receive;    /* on it */
    char received[64];
    bool was_up;  /* when `changed` was last called */
    bool closing; /* nothing is handed on any more */
    pthread_t thread;

    atomic_bool stop, ended, up, env_woken, thread_woken;
    _Atomic uint64_t beats, overrun;
    _Atomic uint32_t callbacks; /* that the library still owes us: see let_go */
    pthread_mutex_t reason_lock;
    char reason[REASON_SIZE];
};

static void wake(int end, atomic_bool *woken) {
    if (!atomic_exchange(woken, true)) {
        (void)send(end, "w", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

static void wake_env(lw_nats *line) {
    wake(line->sockets[1], &line->env_woken);
}

static void set_up(lw_nats *line, bool up) {
    if (atomic_exchange(&line->up, up) != up) {
        wake_env(line);
    }
}

/* What the library says on this thread about its last failure. */
static void set_reason(lw_nats *line, natsStatus status) {
    const char *text = nats_GetLastError(NULL);
    pthread_mutex_lock(&line->reason_lock);
    (void)snprintf(line->reason, sizeof(line->reason), "%s",
                   text != NULL && text[0] != '\0' ? text : natsStatus_GetText(status));
    pthread_mutex_unlock(&line->reason_lock);
}

static uint64_t now_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- what the library calls ----------------------------------------------------------------- */

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                       void *closure) {
    (void)connection, (void)subscription;
    lw_nats *line = closure;
    const char *subject = natsMsg_GetSubject(message);
    size_t subject_size = strlen(subject);
    uint8_t head[1 + SUBJECT_SIZE];
    if (subject_size < SUBJECT_SIZE) {
        head[0] = (uint8_t)subject_size;
        memcpy(head + 1, subject, subject_size);
    }
    if (subject_size >= SUBJECT_SIZE ||
        !lw_ring_put(&line->incoming, lw_view(head, 1 + subject_size),
                     lw_view(natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message)))) {
        atomic_fetch_add(&line->overrun, 1);
    }
    natsMsg_Destroy(message);
    wake_env(line);
}

static void on_change(natsConnection *connection, void *closure) {
    (void)connection;
    lw_nats *line = closure;
    wake(line->sockets[0], &line->thread_woken);
}

static void on_closed(natsConnection *connection, void *closure) {
    (void)connection;
    lw_nats *line = closure;
    atomic_fetch_sub(&line->callbacks, 1);
    wake(line->sockets[0], &line->thread_woken);
}

/* The last that is heard of a subscription. */
static void on_complete(void *closure) {
    on_closed(NULL, closure);
}

static void on_error(natsConnection *connection, natsSubscription *subscription, natsStatus status,
                     void *closure) {
    (void)connection, (void)subscription, (void)closure;
    if (status == NATS_SLOW_CONSUMER) {
        lw_nats *line = closure;
        atomic_fetch_add(&line->overrun, 1);
    }
}

/* ---- our thread ----------------------------------------------------------------------------- */

static natsStatus set_times(natsOptions *settings, bool near) {
    int64_t timeout_ms = near ? NEAR_TIMEOUT_MS : FAR_TIMEOUT_MS;
    natsStatus status = natsOptions_SetPingInterval(settings, timeout_ms);
    status = status != NATS_OK ? status : natsOptions_SetMaxPingsOut(settings, 1);
    status = status != NATS_OK ? status : natsOptions_SetTimeout(settings, timeout_ms);
    status = status != NATS_OK ? status : natsOptions_SetWriteDeadline(settings, timeout_ms);
    status = status != NATS_OK ? status : natsOptions_SetMaxReconnect(settings, -1);
    status = status != NATS_OK
                 ? status
                 : natsOptions_SetReconnectWait(settings, near ? RETRY_FIRST_MS : RETRY_LAST_MS);
    status = status != NATS_OK ? status : natsOptions_SetReconnectJitter(settings, 10, 10);
    return status;
}

static natsStatus set_handlers(natsOptions *settings, lw_nats *line) {
    natsStatus status = natsOptions_SetErrorHandler(settings, on_error, line);
    status = status != NATS_OK ? status : natsOptions_SetDisconnectedCB(settings, on_change, line);
    status = status != NATS_OK ? status : natsOptions_SetReconnectedCB(settings, on_change, line);
    status = status != NATS_OK ? status : natsOptions_SetClosedCB(settings, on_closed, line);
    return status;
}

/* Every setting has its reason in docs/DEPENDENCIES.md. */
static natsStatus make_settings(lw_nats *line, natsOptions **settings) {
    natsStatus status = natsOptions_Create(settings);
    if (status != NATS_OK) {
        return status;
    }
    natsOptions *made = *settings;
    status = natsOptions_SetURL(made, line->url);
    status = status != NATS_OK ? status
                               : natsOptions_SetIgnoreDiscoveredServers(made, line->options.near);
    if (status == NATS_OK && line->token[0] != '\0') {
        status = natsOptions_SetToken(made, line->token);
    }
    status = status != NATS_OK ? status : natsOptions_SetName(made, line->name);
    status = status != NATS_OK ? status : natsOptions_SetSendAsap(made, true);
    status = status != NATS_OK ? status : natsOptions_SetNoEcho(made, true);
    status = status != NATS_OK ? status : natsOptions_SetReconnectBufSize(made, 1);
    status = status != NATS_OK ? status : natsOptions_UseGlobalMessageDelivery(made, true);
    status = status != NATS_OK ? status : set_times(made, line->options.near);
    status = status != NATS_OK ? status : set_handlers(made, line);
    return status;
}

static natsStatus subscribe(lw_nats *line, natsConnection *connection,
                            natsSubscription *subscriptions[2]) {
    natsStatus status = NATS_OK;
    for (uint32_t index = 0; index < 2 && status == NATS_OK; index++) {
        status = natsConnection_Subscribe(&subscriptions[index], connection,
                                          line->subscriptions[index], on_message, line);
        status = status != NATS_OK ? status
                                   : natsSubscription_SetPendingLimits(
                                         subscriptions[index], PENDING_MESSAGES, PENDING_BYTES);
        if (status == NATS_OK) {
            atomic_fetch_add(&line->callbacks, 1);
            status = natsSubscription_SetOnCompleteCB(subscriptions[index], on_complete, line);
            atomic_fetch_sub(&line->callbacks, status != NATS_OK);
        }
    }
    return status;
}

/* Publishes what waits. What the connection does not take is gone (hazard G5). */
static void publish_waiting(lw_nats *line, natsConnection *connection) {
    lw_bytes record;
    while (lw_ring_peek(&line->outgoing, &record)) {
        char subject[SUBJECT_SIZE];
        size_t subject_size = record.data[0];
        memcpy(subject, record.data + 1, subject_size);
        subject[subject_size] = '\0';
        const uint8_t *message = record.data + 1 + subject_size;
        natsStatus status = natsConnection_Publish(connection, subject, message,
                                                   (int)(record.size - 1 - subject_size));
        if (status != NATS_OK) {
            set_reason(line, status);
        }
        lw_ring_drop(&line->outgoing, record);
    }
}

/* Waits until the env wakes us, or the time is up. */
static void rest(lw_nats *line, uint64_t duration_ms) {
    struct pollfd end = {.fd = line->sockets[1], .events = POLLIN};
    char bytes[64];
    if (poll(&end, 1, (int)duration_ms) > 0) {
        (void)recv(line->sockets[1], bytes, sizeof(bytes), MSG_DONTWAIT);
        atomic_store(&line->thread_woken, false);
    }
}

static bool beat(lw_nats *line, natsConnection *connection) {
    natsStatus status = natsConnection_FlushTimeout(
        connection, line->options.near ? NEAR_TIMEOUT_MS : FAR_TIMEOUT_MS);
    if (status == NATS_OK) {
        atomic_fetch_add(&line->beats, 1);
    } else {
        set_reason(line, status);
    }
    return status == NATS_OK;
}

/* Keeps a connection until it is to end, or is closed for good. */
static void serve(lw_nats *line, natsConnection *connection) {
    uint64_t beat_ms = 0; /* when the last one was */
    while (!atomic_load(&line->stop) && !natsConnection_IsClosed(connection)) {
        bool connected = natsConnection_Status(connection) == NATS_CONN_STATUS_CONNECTED;
        bool up = atomic_load(&line->up) && connected;
        if (connected && (!up || now_ms() - beat_ms >= BEAT_MS)) {
            up = beat(line, connection);
            beat_ms = now_ms();
        }
        set_up(line, up);
        publish_waiting(line, connection);
        rest(line, up ? BEAT_MS : RETRY_FIRST_MS);
    }
    set_up(line, false);
}

/* Ends a connection, and waits until the library calls us no more: its threads use the line. The
 * connection goes first: see invariant 3. */
static void let_go(lw_nats *line, natsConnection *connection, natsSubscription *subscriptions[2]) {
    natsConnection_Destroy(connection);
    while (atomic_load(&line->callbacks) > 0) {
        rest(line, RETRY_FIRST_MS);
    }
    natsSubscription_Destroy(subscriptions[0]);
    natsSubscription_Destroy(subscriptions[1]);
}

/* One connection, from its making to its end; how it went. */
static natsStatus connect_and_serve(lw_nats *line, natsOptions *settings) {
    natsConnection *connection = NULL;
    natsSubscription *subscriptions[2] = {NULL, NULL};
    natsStatus status = natsConnection_Connect(&connection, settings);
    if (status == NATS_OK) {
        atomic_fetch_add(&line->callbacks, 1);
        status = subscribe(line, connection, subscriptions);
    }
    if (status == NATS_OK) {
        serve(line, connection);
    } else {
        set_reason(line, status);
    }
    let_go(line, connection, subscriptions);
    return status;
}

static void *thread_main(void *argument) {
    lw_nats *line = argument;
    natsOptions *settings = NULL;
    uint64_t retry_ms = RETRY_FIRST_MS;
    natsStatus status = make_settings(line, &settings);
    if (status != NATS_OK) {
        set_reason(line, status);
    }
    while (!atomic_load(&line->stop)) {
        if (settings != NULL && connect_and_serve(line, settings) == NATS_OK) {
            retry_ms = RETRY_FIRST_MS;
        }
        if (!atomic_load(&line->stop)) {
            wake_env(line);
            rest(line, retry_ms);
            retry_ms = retry_ms * 2 < RETRY_LAST_MS ? retry_ms * 2 : RETRY_LAST_MS;
        }
    }
    natsOptions_Destroy(settings);
    nats_ReleaseThreadMemory();
    atomic_store(&line->ended, true);
    wake_env(line);
    return NULL;
}

/* ---- the env's side ------------------------------------------------------------------------- */

static void take_in(lw_nats *line) {
    lw_bytes record;
    while (lw_ring_peek(&line->incoming, &record)) {
        size_t subject_size = record.data[0];
        line->options.arrived(
            line->options.argument, lw_view(record.data + 1, subject_size),
            lw_view(record.data + 1 + subject_size, record.size - 1 - subject_size));
        lw_ring_drop(&line->incoming, record);
    }
}

static void on_receive(lw_op *op) {
    lw_nats *line = op->owner;
    if (line->closing || op->status != LW_OK || op->count == 0) {
        return;
    }
    atomic_store(&line->env_woken, false);
    take_in(line);
    bool up = lw_nats_up(line);
    if (up != line->was_up || !up) {
        line->was_up = up;
        line->options.changed(line->options.argument);
    }
    lw_env_submit(line->env, op);
}

/* Ours and the library's threads, which descend from it, leave signals to the env's. */
static int start_thread(lw_nats *line) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int system_error = pthread_create(&line->thread, NULL, thread_main, line);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return system_error;
}

static void copy_options(lw_nats *line, const lw_nats_options *options) {
    line->options = *options;
    LW_ASSERT(strlen(options->url) < sizeof(line->url));
    LW_ASSERT(strlen(options->name) < sizeof(line->name));
    (void)snprintf(line->url, sizeof(line->url), "%s", options->url);
    (void)snprintf(line->token, sizeof(line->token), "%s",
                   options->token != NULL ? options->token : "");
    (void)snprintf(line->name, sizeof(line->name), "%s", options->name);
    for (uint32_t index = 0; index < 2; index++) {
        LW_ASSERT(strlen(options->subscriptions[index]) < SUBJECT_SIZE);
        (void)snprintf(line->subscriptions[index], SUBJECT_SIZE, "%s",
                       options->subscriptions[index]);
    }
}

lw_status lw_nats_open(lw_env *env, const lw_nats_options *options, lw_nats **line) {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
        return lw_fail(LW_INTERNAL, "cannot make a pair of sockets: %s", strerrordesc_np(errno));
    }
    lw_memory *memory = lw_memory_open();
    lw_nats *opened = lw_allocate_zero(memory, sizeof(*opened));
    opened->memory = memory;
    opened->env = env;
    copy_options(opened, options);
    opened->incoming = (lw_ring){.data = lw_allocate(memory, INCOMING_SIZE), .size = INCOMING_SIZE};
    opened->outgoing = (lw_ring){.data = lw_allocate(memory, OUTGOING_SIZE), .size = OUTGOING_SIZE};
    opened->sockets[0] = sockets[0];
    opened->sockets[1] = sockets[1];
    (void)pthread_mutex_init(&opened->reason_lock, NULL);
    int system_error = start_thread(opened);
    if (system_error != 0) {
        (void)close(sockets[0]);
        (void)close(sockets[1]);
        (void)pthread_mutex_destroy(&opened->reason_lock);
        lw_memory_close(memory);
        return lw_fail(LW_INTERNAL, "cannot start a thread for the bus: %s",
                       strerrordesc_np(system_error));
    }
    lw_real_handle_add((lw_real_env *)env, sockets[0], LW_REAL_SOCKET);
    opened->handle.number = sockets[0];
    opened->receive = (lw_op){.kind = LW_OP_RECEIVE,
                              .handle = opened->handle,
                              .buffer = opened->received,
                              .size = sizeof(opened->received),
                              .complete = on_receive,
                              .owner = opened};
    lw_env_submit(env, &opened->receive);
    *line = opened;
    return LW_OK;
}

bool lw_nats_publish(lw_nats *line, const char *subject, lw_bytes message) {
    uint8_t head[1 + SUBJECT_SIZE];
    size_t subject_size = strlen(subject);
    LW_ASSERT(subject_size < SUBJECT_SIZE);
    head[0] = (uint8_t)subject_size;
    memcpy(head + 1, subject, subject_size);
    if (!lw_nats_up(line) ||
        !lw_ring_put(&line->outgoing, lw_view(head, 1 + subject_size), message)) {
        return false;
    }
    wake(line->sockets[0], &line->thread_woken);
    return true;
}

bool lw_nats_up(const lw_nats *line) {
    return atomic_load(&line->up);
}

uint64_t lw_nats_beats(const lw_nats *line) {
    return atomic_load(&line->beats);
}

uint64_t lw_nats_overrun(const lw_nats *line) {
    return atomic_load(&line->overrun);
}

void lw_nats_reason(lw_nats *line, char *reason, size_t size) {
    pthread_mutex_lock(&line->reason_lock);
    (void)snprintf(reason, size, "%s", line->reason);
    pthread_mutex_unlock(&line->reason_lock);
}

LW_YIELDS void lw_nats_close(lw_nats *line) {
    atomic_store(&line->stop, true);
    /* Whatever was sent before: this one has to come. */
    (void)send(line->sockets[0], "s", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    line->closing = true;
    for (uint32_t waited_ms = 0; !atomic_load(&line->ended) && waited_ms < CLOSE_WAIT_MS;
         waited_ms += 5) {
        lw_env_sleep(line->env, 5000000);
    }
    if (!atomic_load(&line->ended)) {
        lw_logline(line->env, LW_LEVEL_WARN, "the NATS thread hangs and is left behind", NULL);
        lw_socket_close(line->env, line->handle);
        (void)pthread_detach(line->thread);
        return; /* its memory is what the thread still uses */
    }
    (void)pthread_join(line->thread, NULL);
    lw_socket_close(line->env, line->handle);
    (void)close(line->sockets[1]);
    (void)pthread_mutex_destroy(&line->reason_lock);
    lw_memory_close(line->memory);
}

void lw_nats_end(void) {
    (void)nats_CloseAndWait(END_WAIT_MS);
}
