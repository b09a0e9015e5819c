/* SPDX-License-Identifier: Apache-2.0 */
/* The half of env that is the same in every world: waiting for operations, saying why they failed,
 * deadlines on queues, chance, paths and addresses.
 *
 * Invariants
 * 1. Whoever performs an operation keeps it until its completion, whatever wakes it before.
 * 2. A wait's timer may outlive the wait: its record is freed by the wait or by the completion,
 *    whichever comes last.
 * 3. Closing a handle leaves the error slot alone: it is called on the way out of a failure. */
#include "base/env.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>

enum {
    SHORT_PAUSE_NS = 100 * 1000 * 1000, /* between attempts while handles are short */
    SHORT_ATTEMPTS = 300,
    PORT_PAUSE_NS = 20 * 1000 * 1000, /* between attempts while a port is taken */
    PORT_PATIENCE_NS = 2000 * 1000 * 1000,
    LATE_NS = 10 * 1000 * 1000, /* as timers may always be */
};

/* ---- performing ---------------------------------------------------------------------------------
 */

typedef struct performance {
    lw_fiber *fiber; /* NULL outside of any */
    bool done;
} performance;

static void perform_complete(lw_op *op) {
    performance *waiting = op->owner;
    waiting->done = true;
    if (waiting->fiber != NULL) {
        lw_fiber_wake(waiting->fiber);
    }
}

/* Submits and waits, and says nothing about a failure. */
LW_YIELDS static lw_status run(lw_env *env, lw_op *op) {
    performance waiting = {.fiber = lw_fiber_current()};
    LW_ASSERT(op->complete == NULL);
    LW_ASSERT(waiting.fiber == NULL || lw_fiber_home(waiting.fiber) == env->fibers);
    LW_ASSERT(waiting.fiber != NULL || env->world->turn != NULL);
    op->complete = perform_complete;
    op->owner = &waiting;
    lw_env_submit(env, op);
    while (!waiting.done) {
        if (waiting.fiber != NULL) {
            lw_fiber_suspend();
        } else {
            lw_env_turn(env, true);
        }
    }
    op->complete = NULL;
    op->owner = NULL;
    return op->status;
}

/* How a sentence about a failed operation of each kind begins. */
static const char *const verbs[] = {
    [LW_OP_OPEN] = "open",
    [LW_OP_CLOSE] = "close",
    [LW_OP_READ] = "read",
    [LW_OP_WRITE] = "write",
    [LW_OP_SYNC] = "sync",
    [LW_OP_RESIZE] = "resize",
    [LW_OP_SIZE] = "find the size of",
    [LW_OP_LOCK] = "lock",
    [LW_OP_RENAME] = "rename",
    [LW_OP_LINK] = "link",
    [LW_OP_UNLINK] = "remove",
    [LW_OP_MKDIR] = "make the directory",
    [LW_OP_LIST] = "list",
    [LW_OP_SYNC_DIRECTORY] = "sync the directory",
    [LW_OP_LISTEN] = "listen on",
    [LW_OP_ACCEPT] = "accept on",
    [LW_OP_CONNECT] = "connect to",
    [LW_OP_RECEIVE] = "receive on",
    [LW_OP_SEND] = "send on",
    [LW_OP_TIMER] = "wait for",
    [LW_OP_DEFER] = "defer",
    [LW_OP_OFFLOAD] = "offload",
};

/* Names what the operation was about; the text is cut to leave room for the reason. */
static void name_object(const lw_op *op, char *text, size_t size) {
    if (op->path_to != NULL) {
        snprintf(text, size, "\"%.140s\" to \"%.140s\"", op->path, op->path_to);
    } else if (op->path != NULL) {
        snprintf(text, size, "\"%.280s\"", op->path);
    } else if (op->kind == LW_OP_READ || op->kind == LW_OP_WRITE) {
        snprintf(text, size, "%zu bytes at %llu of file %d", op->size,
                 (unsigned long long)op->offset, op->handle.number);
    } else if (op->kind >= LW_OP_ACCEPT && op->kind <= LW_OP_SEND) {
        snprintf(text, size, "socket %d", op->handle.number);
    } else {
        snprintf(text, size, "file %d", op->handle.number);
    }
}

static const char *name_reason(const lw_op *op, char *text, size_t size) {
    if (op->status == LW_TIMEOUT) {
        return "the deadline passed";
    }
    if (op->kind == LW_OP_LOCK && op->status == LW_REFUSED) {
        return "another process holds the lock";
    }
#ifndef LW_WITHOUT_SOCKETS
    if (op->system_error < 0) {
        return gai_strerror(op->system_error);
    }
#endif
    return op->system_error > 0 ? strerror_r(op->system_error, text, size)
                                : lw_status_text(op->status);
}

/* What to do about it, where that is known. */
static const char *name_cure(const lw_op *op) {
    switch (op->system_error) {
    case EADDRINUSE:
        return "; another process listens there: stop it, or choose another port";
    case ENOSPC:
    case EDQUOT:
        return "; free some space, then try again";
    case EMFILE:
    case ENFILE:
        return "; raise the limit of open files (ulimit -n)";
    case EACCES:
    case EPERM:
        return "; check who owns it and who may use it";
    case EROFS:
        return "; mount the file system writable";
    case ECONNREFUSED:
        return "; check that a node runs there";
    case EIO:
        return "; check the disk and the kernel's log";
    default:
        return "";
    }
}

lw_status lw_env_perform(lw_env *env, lw_op *op) {
    lw_status status = run(env, op);
    if (status == LW_OK) {
        return LW_OK;
    }
    char object[320], reason[128];
    name_object(op, object, sizeof(object));
    return lw_fail(status, "cannot %s %s: %s%s", verbs[op->kind], object,
                   name_reason(op, reason, sizeof(reason)), name_cure(op));
}

void lw_env_close(lw_env *env) {
    LW_ASSERT(lw_fiber_current() == NULL);
    env->world->close(env);
}

lw_status lw_env_status_of(int system_error) {
    switch (system_error) {
    case 0:
        return LW_OK;
    case ENOENT:
        return LW_NOT_FOUND;
    case EEXIST:
        return LW_EXISTS;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return LW_FULL;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
        return LW_BACKPRESSURE;
    case EACCES:
    case EPERM:
    case EROFS:
    case EADDRINUSE:
    case ENOTDIR:
    case EISDIR:
    case ENOTEMPTY:
    case ELOOP:
    case ENAMETOOLONG:
    case ETXTBSY:
    case EXDEV:
    case EOPNOTSUPP:
        return LW_REFUSED;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
    case ESHUTDOWN:
    case EPIPE:
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case ENETRESET:
    case EADDRNOTAVAIL:
        return LW_UNAVAILABLE;
    case ECANCELED:
    case ETIME:
        return LW_TIMEOUT;
    default:
        return LW_INTERNAL;
    }
}

bool lw_op_met_silence(const lw_op *op) {
    int error = op->status == LW_OK ? 0 : op->system_error;
    return error == ETIMEDOUT || error == EHOSTUNREACH || error == EHOSTDOWN ||
           error == ENETUNREACH;
}

/* ---- time ---------------------------------------------------------------------------------------
 */

void lw_env_sleep(lw_env *env, uint64_t duration_ns) {
    if (LW_RARE(env, "env.sleeps_long")) {
        duration_ns += LATE_NS;
    }
    lw_op op = {.kind = LW_OP_TIMER, .deadline_ns = lw_env_now(env) + duration_ns};
    lw_status status = run(env, &op);
    LW_ASSERT(status == LW_OK);
}

/* What a wait and its timer share. */
typedef struct timed_wait {
    lw_op timer;
    lw_env *env;
    lw_fiber *fiber; /* NULL once the wait is over */
    bool fired;
} timed_wait;

static void timed_wait_complete(lw_op *timer) {
    timed_wait *wait = timer->owner;
    wait->fired = true;
    if (wait->fiber == NULL) {
        lw_free(wait->env->memory, wait);
    } else {
        lw_fiber_wake(wait->fiber);
    }
}

bool lw_env_wait(lw_env *env, lw_queue *queue, uint64_t deadline_ns) {
    if (deadline_ns == 0) {
        lw_queue_wait(queue);
        return true;
    }
    timed_wait *wait = lw_allocate(env->memory, sizeof(*wait));
    *wait = (timed_wait){.env = env, .fiber = lw_fiber_current()};
    wait->timer = (lw_op){.kind = LW_OP_TIMER,
                          .deadline_ns = deadline_ns,
                          .complete = timed_wait_complete,
                          .owner = wait};
    lw_waiter waiter;
    lw_queue_add(queue, &waiter);
    lw_env_submit(env, &wait->timer);
    while (waiter.fiber != NULL && !wait->fired) {
        lw_fiber_suspend();
    }
    /* Both may have happened before the fiber ran: who was woken must not pass it on as a timeout,
     * or the wake-up would be lost to every other waiter. */
    bool woken = waiter.fiber == NULL;
    if (!woken) { /* who wakes all may end the queue at once */
        lw_queue_remove(queue, &waiter);
    }
    if (wait->fired) {
        lw_free(env->memory, wait);
    } else {
        wait->fiber = NULL;
        lw_env_cancel(env, &wait->timer);
    }
    return woken;
}

void lw_env_offload(lw_env *env, void (*work)(void *argument), void *argument) {
    LW_ASSERT(work != NULL);
    if (LW_RARE(env, "env.works_at_once")) {
        work(argument);
        return;
    }
    lw_op op = {.kind = LW_OP_OFFLOAD, .work = work, .argument = argument};
    lw_status status = run(env, &op);
    LW_ASSERT(status == LW_OK);
}

/* ---- chance -------------------------------------------------------------------------------------
 */

void lw_env_seed(lw_env *env) {
    do {
        lw_env_entropy(env, env->random_state, sizeof(env->random_state));
        /* The generator never leaves the state of all zeros. */
    } while ((env->random_state[0] | env->random_state[1] | env->random_state[2] |
              env->random_state[3]) == 0);
}

static inline uint64_t rotate(uint64_t value, unsigned count) {
    return (value << count) | (value >> (64 - count));
}

/* xoshiro256** 1.0, Blackman and Vigna. */
uint64_t lw_env_random(lw_env *env) {
    uint64_t *state = env->random_state;
    uint64_t result = rotate(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate(state[3], 45);
    return result;
}

uint64_t lw_env_random_below(lw_env *env, uint64_t bound) {
    LW_ASSERT(bound != 0);
    /* 2^64 modulo bound: with that many of the lowest values left out, every rest is equally
     * frequent among the others. */
    uint64_t left_out = (0 - bound) % bound;
    uint64_t value;
    do {
        value = lw_env_random(env);
    } while (value < left_out);
    return value % bound;
}

/* ---- files --------------------------------------------------------------------------------------
 */

lw_status lw_file_open(lw_env *env, const char *path, uint32_t flags, lw_handle *file) {
    lw_op op = {.kind = LW_OP_OPEN, .path = path, .flags = flags};
    LW_TRY(lw_env_perform(env, &op));
    *file = op.handle;
    return LW_OK;
}

lw_status lw_file_open_direct(lw_env *env, const char *path, lw_handle *file, uint32_t *alignment) {
    lw_op op = {.kind = LW_OP_OPEN, .path = path, .flags = LW_OPEN_READ_ONLY | LW_OPEN_DIRECT};
    LW_TRY(lw_env_perform(env, &op));
    LW_ASSERT(op.count > 0 && op.count <= LW_DIRECT_ALIGNMENT);
    *file = op.handle;
    *alignment = (uint32_t)op.count;
    return LW_OK;
}

void lw_file_close(lw_env *env, lw_handle file) {
    lw_op op = {.kind = LW_OP_CLOSE, .handle = file};
    lw_status status = run(env, &op);
    (void)status;
}

static LW_YIELDS lw_status read_piece(lw_env *env, lw_handle file, uint64_t offset, void *buffer,
                                      size_t size, size_t *read_size) {
    lw_op op = {
        .kind = LW_OP_READ, .handle = file, .offset = offset, .buffer = buffer, .size = size};
    LW_TRY(lw_env_perform(env, &op));
    LW_ASSERT(op.count <= size);
    *read_size = (size_t)op.count;
    return LW_OK;
}

lw_status lw_file_read(lw_env *env, lw_handle file, uint64_t offset, void *buffer, size_t size,
                       size_t *read_size) {
    size_t rest = 0, first = size > LW_DIRECT_ALIGNMENT ? LW_DIRECT_ALIGNMENT : size;
    if (first == size || !LW_RARE(env, "env.reads_in_two")) {
        return read_piece(env, file, offset, buffer, size, read_size);
    }
    LW_TRY(read_piece(env, file, offset, buffer, first, &first));
    if (first == LW_DIRECT_ALIGNMENT) {
        LW_TRY(
            read_piece(env, file, offset + first, (uint8_t *)buffer + first, size - first, &rest));
    }
    *read_size = first + rest;
    return LW_OK;
}

/* An operation only reads what it writes out; the field is shared with those that fill it. */
static void *without_const(lw_bytes bytes) {
    return (void *)(uintptr_t)bytes.data;
}

lw_status lw_file_write(lw_env *env, lw_handle file, uint64_t offset, lw_bytes bytes,
                        uint32_t flags) {
    if (bytes.size > LW_DIRECT_ALIGNMENT && LW_RARE(env, "env.writes_in_two")) {
        lw_op first = {.kind = LW_OP_WRITE,
                       .handle = file,
                       .offset = offset,
                       .buffer = without_const(bytes),
                       .size = LW_DIRECT_ALIGNMENT,
                       .flags = flags};
        LW_TRY(lw_env_perform(env, &first));
        offset += first.size;
        bytes = lw_view(bytes.data + first.size, bytes.size - first.size);
    }
    lw_op op = {.kind = LW_OP_WRITE,
                .handle = file,
                .offset = offset,
                .buffer = without_const(bytes),
                .size = bytes.size,
                .flags = flags};
    return lw_env_perform(env, &op);
}

lw_status lw_file_sync(lw_env *env, lw_handle file) {
    lw_op op = {.kind = LW_OP_SYNC, .handle = file};
    return lw_env_perform(env, &op);
}

lw_status lw_file_resize(lw_env *env, lw_handle file, uint64_t size) {
    lw_op op = {.kind = LW_OP_RESIZE, .handle = file, .size = size};
    return lw_env_perform(env, &op);
}

lw_status lw_file_hold(lw_env *env, lw_handle file, uint64_t size) {
    lw_op op = {.kind = LW_OP_RESIZE, .handle = file, .size = size, .flags = LW_RESIZE_HOLD};
    return lw_env_perform(env, &op);
}

lw_status lw_file_size(lw_env *env, lw_handle file, uint64_t *size) {
    lw_op op = {.kind = LW_OP_SIZE, .handle = file};
    LW_TRY(lw_env_perform(env, &op));
    *size = op.count;
    return LW_OK;
}

lw_status lw_file_left(lw_env *env, lw_handle file, uint64_t *left) {
    lw_op op = {.kind = LW_OP_SIZE, .handle = file, .flags = LW_SIZE_LEFT};
    LW_TRY(lw_env_perform(env, &op));
    *left = op.count;
    return LW_OK;
}

lw_status lw_file_lock(lw_env *env, lw_handle file) {
    lw_op op = {.kind = LW_OP_LOCK, .handle = file};
    return lw_env_perform(env, &op);
}

lw_status lw_path_rename(lw_env *env, const char *from, const char *to) {
    lw_op op = {.kind = LW_OP_RENAME, .path = from, .path_to = to};
    return lw_env_perform(env, &op);
}

lw_status lw_path_link(lw_env *env, const char *from, const char *to) {
    lw_op op = {.kind = LW_OP_LINK, .path = from, .path_to = to};
    return lw_env_perform(env, &op);
}

lw_status lw_path_unlink(lw_env *env, const char *path) {
    lw_op op = {.kind = LW_OP_UNLINK, .path = path};
    return lw_env_perform(env, &op);
}

lw_status lw_path_mkdir(lw_env *env, const char *path) {
    lw_op op = {.kind = LW_OP_MKDIR, .path = path};
    return lw_env_perform(env, &op);
}

lw_status lw_path_list(lw_env *env, const char *path, lw_buffer *names) {
    lw_op op = {.kind = LW_OP_LIST, .path = path, .names = names};
    return lw_env_perform(env, &op);
}

/* A handle is needed for this, and mostly the name is made already. What is half done cannot be
 * undone, so a shortage is waited out. */
lw_status lw_path_sync_directory(lw_env *env, const char *path) {
    lw_op op = {.kind = LW_OP_SYNC_DIRECTORY, .path = path};
    lw_status status = lw_env_perform(env, &op);
    for (int attempt = 1; status == LW_BACKPRESSURE && attempt < SHORT_ATTEMPTS; attempt++) {
        LW_MARK(env, "env.short_of_handles");
        lw_env_sleep(env, SHORT_PAUSE_NS);
        op = (lw_op){.kind = LW_OP_SYNC_DIRECTORY, .path = path};
        status = lw_env_perform(env, &op);
    }
    return status;
}

lw_status lw_path_join(char *path, const char *directory, const char *name) {
    size_t directory_size = strlen(directory);
    bool bare = directory_size == 0 || directory[directory_size - 1] == '/';
    int size = snprintf(path, LW_PATH_SIZE, "%s%s%s", directory, bare ? "" : "/", name);
    if (size < 0 || size >= LW_PATH_SIZE) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the path \"%.200s…\" is longer than %d bytes: choose a shorter one", path,
                       LW_PATH_SIZE - 1);
    }
    return LW_OK;
}

/* Never opens what an earlier attempt left: it may be longer, and a file whose sync failed once may
 * fail every time. */
LW_YIELDS static lw_status write_new_file(lw_env *env, const char *path, lw_bytes bytes,
                                          bool durable) {
    lw_handle file = LW_NO_HANDLE;
    lw_status status = LW_BUG(env, "file.leftover_used") ? LW_NOT_FOUND : lw_path_unlink(env, path);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    LW_TRY(lw_file_open(env, path, LW_OPEN_CREATE, &file));
    status = lw_file_write(env, file, 0, bytes, 0);
    if (status == LW_OK && durable) {
        status = lw_file_sync(env, file);
    }
    lw_file_close(env, file);
    return status;
}

lw_status lw_path_replace(lw_env *env, const char *directory, const char *name, lw_bytes bytes,
                          bool durable) {
    char path[LW_PATH_SIZE], path_new[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, directory, name));
    int size = snprintf(path_new, sizeof(path_new), "%s.new", path);
    if (size >= LW_PATH_SIZE) {
        return lw_fail(LW_INVALID_ARGUMENT, "the path %s is too long: choose a shorter one", path);
    }
    LW_TRY(write_new_file(env, path_new, bytes, durable));
    LW_TRY(lw_path_rename(env, path_new, path));
    if (!durable || LW_BUG(env, "file.no_directory_sync")) {
        return LW_OK;
    }
    return lw_path_sync_directory(env, directory);
}

/* ---- sockets ------------------------------------------------------------------------------------
 */

static lw_status refuse_address(const char *address, const char *why) {
    return lw_fail(LW_INVALID_ARGUMENT, "the address \"%.200s\" %s: write HOST:PORT or [IPV6]:PORT",
                   address, why);
}

/* One to five digits, at most 65535. */
static bool parse_port(const char *text, uint16_t *port) {
    uint32_t value = 0;
    size_t size = 0;
    for (; text[size] >= '0' && text[size] <= '9' && size < 6; size++) {
        value = value * 10 + (uint32_t)(text[size] - '0');
    }
    if (size == 0 || text[size] != '\0' || value > UINT16_MAX) {
        return false;
    }
    *port = (uint16_t)value;
    return true;
}

lw_status lw_address_split(const char *address, char host[LW_HOST_SIZE], uint16_t *port) {
    const char *host_start = address;
    const char *colon = strrchr(address, ':');
    const char *host_end = colon;
    if (address[0] == '[') {
        host_start = address + 1;
        host_end = strchr(address, ']');
        if (host_end == NULL || host_end[1] != ':') {
            return refuse_address(address, "has no \"]:\" behind its \"[\"");
        }
        colon = host_end + 1;
    } else if (colon == NULL) {
        return refuse_address(address, "names no port");
    } else if (memchr(address, ':', (size_t)(colon - address)) != NULL) {
        return refuse_address(address, "has more than one colon");
    }
    size_t host_size = (size_t)(host_end - host_start);
    if (host_size == 0) {
        return refuse_address(address, "names no host");
    }
    if (host_size >= LW_HOST_SIZE) {
        return refuse_address(address, "names too long a host");
    }
    if (!parse_port(colon + 1, port)) {
        return refuse_address(address, "has no port between 0 and 65535");
    }
    memcpy(host, host_start, host_size);
    host[host_size] = '\0';
    return LW_OK;
}

static lw_status check_address(const char *address) {
    char host[LW_HOST_SIZE];
    uint16_t port;
    return lw_address_split(address, host, &port);
}

/* The system may hold the port of a process that was killed a little longer than the process: what
 * its ring was at is ended in the background. Who starts it again at once is to find the port. */
lw_status lw_socket_listen(lw_env *env, const char *address, lw_handle *listener, uint16_t *port) {
    LW_TRY(check_address(address));
    uint64_t patience_ns = lw_env_now(env) + PORT_PATIENCE_NS;
    lw_op op = {.kind = LW_OP_LISTEN, .path = address};
    lw_status status = lw_env_perform(env, &op);
    while (op.system_error == EADDRINUSE && lw_env_now(env) < patience_ns) {
        LW_MARK(env, "env.port_taken");
        lw_env_sleep(env, PORT_PAUSE_NS);
        op = (lw_op){.kind = LW_OP_LISTEN, .path = address};
        status = lw_env_perform(env, &op);
    }
    LW_TRY(status);
    LW_ASSERT(op.count > 0 && op.count <= UINT16_MAX);
    *listener = op.handle;
    if (port != NULL) {
        *port = (uint16_t)op.count;
    }
    return LW_OK;
}

lw_status lw_socket_accept(lw_env *env, lw_handle listener, lw_handle *socket) {
    lw_op op = {.kind = LW_OP_ACCEPT, .handle = listener};
    LW_TRY(lw_env_perform(env, &op));
    *socket = op.accepted;
    return LW_OK;
}

lw_status lw_socket_connect(lw_env *env, const char *address, uint64_t deadline_ns,
                            lw_handle *socket) {
    LW_TRY(check_address(address));
    lw_op op = {.kind = LW_OP_CONNECT, .path = address, .deadline_ns = deadline_ns};
    LW_TRY(lw_env_perform(env, &op));
    *socket = op.handle;
    return LW_OK;
}

lw_status lw_socket_receive(lw_env *env, lw_handle socket, void *buffer, size_t size,
                            uint64_t deadline_ns, size_t *read_size) {
    LW_ASSERT(size > 0);
    lw_op op = {.kind = LW_OP_RECEIVE,
                .handle = socket,
                .buffer = buffer,
                .size = size,
                .deadline_ns = deadline_ns};
    LW_TRY(lw_env_perform(env, &op));
    LW_ASSERT(op.count <= size);
    *read_size = (size_t)op.count;
    return LW_OK;
}

lw_status lw_socket_send(lw_env *env, lw_handle socket, lw_bytes bytes, uint64_t deadline_ns) {
    lw_op op = {.kind = LW_OP_SEND,
                .handle = socket,
                .buffer = without_const(bytes),
                .size = bytes.size,
                .deadline_ns = deadline_ns};
    return lw_env_perform(env, &op);
}

void lw_socket_close(lw_env *env, lw_handle socket) {
    lw_file_close(env, socket);
}
