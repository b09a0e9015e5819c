/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets of the real worlds: addresses are found, listened on and connected to, streams are tried
 * without waiting. Which socket is ready, and what waits for it, is the world's own affair.
 *
 * With LW_WITHOUT_SOCKETS this is what stands in for it in the library of the storage engine. */
#include "base/env.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef LW_WITHOUT_SOCKETS

/* In a library for files only nothing of the network is linked, and nobody submits what needs it.
 */
static _Noreturn void no_sockets(const lw_op *op) {
    LW_ASSERT(op == NULL);
    abort();
}

void lw_real_listen(lw_real_env *real, lw_op *op) {
    (void)real;
    no_sockets(op);
}

bool lw_real_connect_begin(lw_real_env *real, lw_op *op) {
    (void)real;
    no_sockets(op);
}

bool lw_real_connect_next(lw_real_env *real, lw_op *op) {
    (void)real;
    no_sockets(op);
}

void lw_real_connect_try(lw_real_env *real, lw_op *op) {
    (void)real;
    no_sockets(op);
}

void lw_real_connect_ready(lw_real_env *real, lw_op *op) {
    (void)real;
    no_sockets(op);
}

void lw_real_connect_failed(lw_real_env *real, lw_op *op, int system_error) {
    (void)real, (void)system_error;
    no_sockets(op);
}

void lw_real_connect_forget(lw_op *op) {
    no_sockets(op);
}

void lw_real_connect_done(lw_real_env *real, lw_op *op, lw_status status, int system_error) {
    (void)real, (void)status, (void)system_error;
    no_sockets(op);
}

void lw_real_accept_try(lw_real_env *real, lw_op *op) {
    (void)real;
    no_sockets(op);
}

void lw_real_accept_done(lw_real_env *real, lw_op *op, int descriptor) {
    (void)real, (void)descriptor;
    no_sockets(op);
}

bool lw_real_try_stream(lw_real_env *real, lw_op *op) {
    (void)real;
    no_sockets(op);
}

bool lw_real_worth_trying(lw_real_env *real, const lw_op *op) {
    (void)real;
    no_sockets(op);
}

bool lw_real_unheard(lw_env *env, lw_handle socket, uint64_t *silence_ns) {
    (void)env, (void)socket, (void)silence_ns;
    return false;
}

#else

/* Finds the addresses of op->path; 0, an errno, or a code of getaddrinfo. */
static int resolve(lw_op *op, int flags, struct addrinfo **addresses, lw_status *status) {
    char host[LW_HOST_SIZE], service[8];
    uint16_t port;
    *status = lw_address_split(op->path, host, &port);
    if (*status != LW_OK) {
        return EINVAL;
    }
    snprintf(service, sizeof(service), "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = flags | AI_NUMERICHOST | AI_NUMERICSERV};
    int code = getaddrinfo(host, service, &hints, addresses);
    if (code == EAI_NONAME) {
        hints.ai_flags &= ~AI_NUMERICHOST;
        code = getaddrinfo(host, service, &hints, addresses);
    }
    int system_error = code == EAI_SYSTEM ? errno : code;
    *status = system_error < 0 ? LW_UNAVAILABLE : lw_env_status_of(system_error);
    return system_error;
}

/* What is set on the listening socket holds for those that it accepts. */
static void notice_silent_ends(int descriptor) {
    int one = 1, idle_s = LW_KEEPALIVE_IDLE_S, every_s = LW_KEEPALIVE_EVERY_S;
    int count = LW_KEEPALIVE_COUNT;
    (void)setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    (void)setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
    (void)setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

/* A socket that listens on one address, or the negative errno. */
static int listen_on(const struct addrinfo *address, int type_flags, uint16_t *port) {
    int one = 1;
    int descriptor = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | type_flags, 0);
    if (descriptor < 0) {
        return -errno;
    }
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound = {0};
    socklen_t bound_size = sizeof(bound);
    if (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(descriptor, address->ai_addr, address->ai_addrlen) != 0 ||
        listen(descriptor, SOMAXCONN) != 0 ||
        getsockname(descriptor, &bound.any, &bound_size) != 0) {
        int system_error = errno;
        close(descriptor);
        return -system_error;
    }
    notice_silent_ends(descriptor);
    *port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
    return descriptor;
}

void lw_real_listen(lw_real_env *real, lw_op *op) {
    struct addrinfo *addresses;
    lw_status status;
    int system_error = resolve(op, AI_PASSIVE, &addresses, &status);
    if (status != LW_OK) {
        lw_real_finish(real, op, status, system_error);
        return;
    }
    uint16_t port = 0;
    int descriptor = -1;
    for (struct addrinfo *address = addresses; address != NULL && descriptor < 0;
         address = address->ai_next) {
        descriptor = listen_on(address, real->socket_flags, &port);
    }
    freeaddrinfo(addresses);
    if (descriptor >= 0) {
        lw_real_handle_add(real, descriptor, LW_REAL_SOCKET);
        op->handle.number = descriptor;
        op->count = port;
    }
    lw_real_finish_errno(real, op, descriptor >= 0 ? 0 : -descriptor);
}

bool lw_real_connect_begin(lw_real_env *real, lw_op *op) {
    lw_status status;
    int system_error = resolve(op, 0, &op->real.addresses, &status);
    op->real.address = op->real.addresses;
    if (status != LW_OK) {
        op->real.addresses = NULL;
        lw_real_finish(real, op, status, system_error);
    }
    return status == LW_OK;
}

bool lw_real_connect_next(lw_real_env *real, lw_op *op) {
    for (; op->real.address != NULL; op->real.address = op->real.address->ai_next) {
        int one = 1;
        int descriptor =
            socket(op->real.address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | real->socket_flags, 0);
        if (descriptor >= 0) {
            (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            lw_real_handle_add(real, descriptor, LW_REAL_SOCKET);
            op->handle.number = descriptor;
            return true;
        }
        op->system_error = errno;
    }
    lw_real_connect_done(real, op, lw_env_status_of(op->system_error), op->system_error);
    return false;
}

static void connect_drop(lw_real_env *real, lw_op *op) {
    if (lw_handle_valid(op->handle)) {
        lw_op_list_remove(op);
        lw_real_handle_of(real, op->handle)->state = 0;
        close(op->handle.number);
        op->handle = LW_NO_HANDLE;
    }
}

void lw_real_connect_failed(lw_real_env *real, lw_op *op, int system_error) {
    connect_drop(real, op);
    op->system_error = system_error;
    op->real.address = op->real.address->ai_next;
}

void lw_real_connect_forget(lw_op *op) {
    freeaddrinfo(op->real.addresses);
    op->real.addresses = NULL;
}

void lw_real_connect_done(lw_real_env *real, lw_op *op, lw_status status, int system_error) {
    if (status != LW_OK) {
        connect_drop(real, op);
    }
    lw_real_connect_forget(op);
    lw_real_finish(real, op, status, system_error);
}

void lw_real_accept_done(lw_real_env *real, lw_op *op, int descriptor) {
    int one = 1;
    (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    lw_real_handle_add(real, descriptor, LW_REAL_SOCKET);
    op->accepted.number = descriptor;
    lw_real_finish(real, op, LW_OK, 0);
}

/* Who has no room answers each question about that; two questions without an answer are silence. */
bool lw_real_unheard(lw_env *env, lw_handle socket, uint64_t *silence_ns) {
    (void)env;
    int waiting = 0;
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);
    if (ioctl(socket.number, SIOCOUTQ, &waiting) != 0 || waiting == 0 ||
        getsockopt(socket.number, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
        return false;
    }
    bool silent = info.tcpi_unacked > 0 || info.tcpi_probes >= 2;
    *silence_ns = silent ? info.tcpi_last_ack_recv * UINT64_C(1000000) : 0;
    return true;
}

static bool receive_some(lw_real_env *real, lw_op *op) {
    lw_real_handle *handle = lw_real_handle_of(real, op->handle);
    ssize_t size;
    do {
        size = recv(op->handle.number, op->buffer, op->size, MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    handle->state &= ~(uint32_t)LW_REAL_MORE;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return false;
    }
    if ((size_t)size == op->size) {
        handle->state |= LW_REAL_MORE;
    }
    op->count = size < 0 ? 0 : (uint64_t)size;
    lw_real_finish_errno(real, op, size < 0 ? errno : 0);
    return true;
}

static bool send_some(lw_real_env *real, lw_op *op) {
    while (op->real.done < op->size) {
        ssize_t size = send(op->handle.number, (const char *)op->buffer + op->real.done,
                            op->size - op->real.done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return false;
        }
        if (size < 0 && errno != EINTR) {
            lw_real_finish_errno(real, op, errno);
            return true;
        }
        op->real.done += size < 0 ? 0 : (uint64_t)size;
    }
    lw_real_finish(real, op, LW_OK, 0);
    return true;
}

bool lw_real_try_stream(lw_real_env *real, lw_op *op) {
    return op->kind == LW_OP_RECEIVE ? receive_some(real, op) : send_some(real, op);
}

bool lw_real_worth_trying(lw_real_env *real, const lw_op *op) {
    return op->kind == LW_OP_SEND ||
           (lw_real_handle_of(real, op->handle)->state & LW_REAL_MORE) != 0;
}

void lw_real_connect_try(lw_real_env *real, lw_op *op) {
    while (lw_real_connect_next(real, op)) {
        if (connect(op->handle.number, op->real.address->ai_addr, op->real.address->ai_addrlen) ==
            0) {
            lw_real_connect_done(real, op, LW_OK, 0);
            return;
        }
        if (errno == EINPROGRESS || errno == EINTR) {
            lw_real_pend(real, op);
            return;
        }
        lw_real_connect_failed(real, op, errno);
    }
}

void lw_real_connect_ready(lw_real_env *real, lw_op *op) {
    int system_error = 0;
    socklen_t size = sizeof(system_error);
    if (getsockopt(op->handle.number, SOL_SOCKET, SO_ERROR, &system_error, &size) != 0) {
        system_error = errno;
    }
    if (system_error == 0) {
        lw_real_connect_done(real, op, LW_OK, 0);
    } else {
        lw_real_connect_failed(real, op, system_error);
        lw_real_connect_try(real, op);
    }
}

void lw_real_accept_try(lw_real_env *real, lw_op *op) {
    int descriptor;
    do {
        descriptor = accept4(op->handle.number, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (descriptor < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (descriptor >= 0) {
        lw_real_accept_done(real, op, descriptor);
    } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
        lw_real_finish_errno(real, op, errno);
    }
}

#endif
