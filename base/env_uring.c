/* SPDX-License-Identifier: Apache-2.0 */
/* The world of io_uring, and the only file that includes liburing.h.
 *
 * One ring, used by one thread. A turn makes one system call: it hands over everything prepared
 * since the last one and waits for the first outcome, until the next deadline. Only reads of files
 * are handed over earlier, two at a time, so that the disk works while the turn goes on. Timers are
 * that deadline, not entries of the ring. What neither waits nor has an entry of its own (listing,
 * locking, listening, sizes) goes through the plain calls of env_posix.c; so does the first attempt
 * of each send, which nearly always goes through and then costs less than an entry.
 *
 * A durable write that is awaited goes in place too while it is all there is to do: in the ring its
 * flush is done by a worker of the kernel's, and waking that costs a third of the whole write. When
 * something came meanwhile there is a crowd, and for a while durable writes go through the ring,
 * several at a time, with requests taken in between.
 *
 * Invariants
 * 1. An operation is IN_FLIGHT from the moment its entry is prepared until its outcome was reaped;
 *    meanwhile it is the kernel's, also when it was cancelled (hazard S7).
 * 2. Entries reach the kernel in the order of submission: an operation on a descriptor precedes the
 *    entry that closes it. What finds the submission queue full waits in `waiting` for the next
 *    turn, and so does all that follows (hazard S8).
 * 3. Reads and writes go back into the ring until they are whole (hazard S5).
 * 4. A cancellation is handed over before the outcome of its operation can be reaped and the
 *    operation's memory used again: it never meets another operation.
 * 5. No outcome is lost when the completion queue overflows: the kernel keeps them
 *    (IORING_FEAT_NODROP, demanded at the start; hazard S8). */
#include "base/env.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SUBMISSION_COUNT = 256,
    COMPLETION_COUNT = 4096,
    REAP_COUNT = 64,
    UNPOLLED_TURN_MAX = 8,  /* turns that had enough to do without entering the kernel */
    CROWD_WRITE_COUNT = 64, /* durable writes through the ring before one in place is tried again */
    READS_AT_ONCE = 2,      /* reads that are handed over before the turn ends */
    IN_PLACE_SIZE_MAX = 64 * 1024,
#ifdef LW_SIMULATION
    TRANSFER_SIZE_MAX = 1 << 16, /* small, so that tests see what follows a short transfer */
#else
    TRANSFER_SIZE_MAX = 1 << 30, /* bytes of one entry, whose result is a signed int */
#endif
    FILE_MODE = 0600,
    DIRECTORY_MODE = 0700,
};

/* What comes with an outcome that is no operation's. */
#define TAG_CANCEL ((void *)0)
#define TAG_EVENT  ((void *)1)

typedef struct uring_env {
    lw_real_env real;
    struct io_uring ring;
    lw_op_list waiting;       /* for an entry */
    uint32_t in_flight;       /* operations */
    uint32_t files_in_flight; /* those on files, among them */
    uint32_t crowd;           /* durable writes still to go through the ring */
    bool wrote_in_place;      /* since the last look at what has come */
    bool event_armed;         /* the ring watches the descriptor of offloaded work */
    bool cancels_unsent;      /* some CANCELLED operation's cancellation found no entry */
    bool closing;             /* outcomes are only counted */
    uint32_t unpolled_turns;
} uring_env;

static void start(uring_env *uring, lw_op *op);

/* ---- preparing entries --------------------------------------------------------------------------
 */

static unsigned rest_size(const lw_op *op) {
    uint64_t rest = op->size - op->real.done;
    return rest < TRANSFER_SIZE_MAX ? (unsigned)rest : (unsigned)TRANSFER_SIZE_MAX;
}

/* A file that was found to know no direct I/O is opened once more: real.done says so. The first
 * attempt may have made it already. */
static void prepare_open(struct io_uring_sqe *entry, const lw_op *op) {
    uint32_t left_out = op->real.done != 0 ? LW_OPEN_DIRECT | LW_OPEN_EXCLUSIVE : 0;
    io_uring_prep_openat(entry, AT_FDCWD, op->path, lw_real_open_flags(op->flags & ~left_out),
                         FILE_MODE);
}

static void prepare_stream(struct io_uring_sqe *entry, const lw_op *op) {
    if (op->kind == LW_OP_RECEIVE) {
        io_uring_prep_recv(entry, op->handle.number, op->buffer, rest_size(op), 0);
    } else {
        io_uring_prep_send(entry, op->handle.number, (const char *)op->buffer + op->real.done,
                           rest_size(op), MSG_NOSIGNAL | MSG_WAITALL);
    }
    /* Trying it at once was not worth it, or failed a moment ago. */
    entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

static void prepare_names(struct io_uring_sqe *entry, const lw_op *op) {
    if (op->kind == LW_OP_RENAME) {
        io_uring_prep_renameat(entry, AT_FDCWD, op->path, AT_FDCWD, op->path_to, 0);
    } else if (op->kind == LW_OP_LINK) {
        io_uring_prep_linkat(entry, AT_FDCWD, op->path, AT_FDCWD, op->path_to, 0);
    } else if (op->kind == LW_OP_UNLINK) {
        io_uring_prep_unlinkat(entry, AT_FDCWD, op->path, 0);
    } else {
        io_uring_prep_mkdirat(entry, AT_FDCWD, op->path, DIRECTORY_MODE);
    }
}

static void prepare(struct io_uring_sqe *entry, lw_op *op) {
    int descriptor = op->handle.number;
    char *rest = (char *)op->buffer + op->real.done;
    switch ((int)op->kind) {
    case LW_OP_OPEN:
        prepare_open(entry, op);
        break;
    case LW_OP_CLOSE:
        io_uring_prep_close(entry, descriptor);
        break;
    case LW_OP_READ:
        io_uring_prep_read(entry, descriptor, rest, rest_size(op), op->offset + op->real.done);
        break;
    case LW_OP_WRITE:
        io_uring_prep_write(entry, descriptor, rest, rest_size(op), op->offset + op->real.done);
        entry->rw_flags = (op->flags & LW_WRITE_DURABLE) != 0 ? RWF_DSYNC : 0;
        break;
    case LW_OP_SYNC:
        io_uring_prep_fsync(entry, descriptor, IORING_FSYNC_DATASYNC);
        break;
    case LW_OP_SYNC_DIRECTORY:
        io_uring_prep_fsync(entry, descriptor, 0);
        break;
    case LW_OP_ACCEPT:
        io_uring_prep_accept(entry, descriptor, NULL, NULL, SOCK_CLOEXEC);
        break;
    case LW_OP_CONNECT:
        io_uring_prep_connect(entry, descriptor, op->real.address->ai_addr,
                              op->real.address->ai_addrlen);
        break;
    case LW_OP_RECEIVE:
    case LW_OP_SEND:
        prepare_stream(entry, op);
        break;
    default:
        LW_ASSERT(op->kind >= LW_OP_RENAME && op->kind <= LW_OP_MKDIR);
        prepare_names(entry, op);
    }
    io_uring_sqe_set_data(entry, op);
}

static bool on_file(const lw_op *op) {
    return op->kind < LW_OP_LISTEN;
}

/* Whoever reads waits, and the disk with them until it is told: where many read at once, the fibers
 * that run first would wait for the last one of the turn. */
static void hand_over_reads(uring_env *uring, const lw_op *op) {
    if (op->kind == LW_OP_READ && io_uring_sq_ready(&uring->ring) >= READS_AT_ONCE) {
        /* What the kernel does not take now, it is given at the end of the turn. */
        (void)io_uring_submit(&uring->ring);
    }
}

/* Hands the operation, or the rest of it, to the ring, or lets it wait for an entry. */
static void start(uring_env *uring, lw_op *op) {
    LW_ASSERT((op->real.state & (LW_REAL_IN_FLIGHT | LW_REAL_COMPLETED)) == 0);
    lw_op_list_remove(op);
    struct io_uring_sqe *entry =
        uring->waiting.first == NULL ? io_uring_get_sqe(&uring->ring) : NULL;
    if (entry == NULL) {
        lw_op_list_push(&uring->waiting, op);
    } else {
        prepare(entry, op);
        op->real.state |= LW_REAL_IN_FLIGHT;
        uring->in_flight++;
        uring->files_in_flight += on_file(op);
        hand_over_reads(uring, op);
    }
    lw_real_pend(&uring->real, op);
}

/* Prepares what waits, as far as there are entries. */
static void start_waiting(uring_env *uring) {
    lw_op_list waiting = uring->waiting;
    uring->waiting = (lw_op_list){0};
    for (lw_op *op = waiting.first; op != NULL; op = op->real.next) {
        op->real.list = &waiting;
    }
    while (waiting.first != NULL) {
        start(uring, waiting.first);
    }
}

/* ---- cancelling ---------------------------------------------------------------------------------
 */

static void send_cancel(uring_env *uring, lw_op *op) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    if (entry == NULL) {
        uring->cancels_unsent = true;
        return;
    }
    io_uring_prep_cancel(entry, op, 0);
    io_uring_sqe_set_data(entry, TAG_CANCEL);
}

/* Those that found no entry: only what waits for sockets is ever cancelled. Twice does no harm. */
static void send_cancels(uring_env *uring) {
    uring->cancels_unsent = false;
    for (uint32_t index = 0; index < uring->real.handle_capacity; index++) {
        lw_op *op = uring->real.handles[index].pending.first;
        for (; op != NULL && !uring->cancels_unsent; op = op->real.next) {
            if ((op->real.state & LW_REAL_CANCELLED) != 0) {
                send_cancel(uring, op);
            }
        }
    }
}

static void finish_cancelled(uring_env *uring, lw_op *op) {
    if ((op->real.state & LW_REAL_CLOSED) != 0) {
        lw_real_finish(&uring->real, op, LW_UNAVAILABLE, ECONNABORTED);
    } else if (op->kind == LW_OP_CONNECT) {
        lw_real_connect_done(&uring->real, op, LW_TIMEOUT, 0);
    } else {
        lw_real_finish(&uring->real, op, LW_TIMEOUT, 0);
    }
}

/* Ends an operation that waits: now, if the kernel does not have it. */
static void give_up(uring_env *uring, lw_op *op) {
    if ((op->real.state & LW_REAL_IN_FLIGHT) == 0) {
        finish_cancelled(uring, op);
    } else if ((op->real.state & LW_REAL_CANCELLED) == 0) {
        op->real.state |= LW_REAL_CANCELLED;
        send_cancel(uring, op);
    }
}

static void uring_cancel(lw_env *env, lw_op *op) {
    bool waits = op->kind == LW_OP_TIMER || (op->kind >= LW_OP_ACCEPT && op->kind <= LW_OP_SEND);
    if (waits && (op->real.state & LW_REAL_COMPLETED) == 0) {
        give_up((uring_env *)(void *)env, op);
    }
}

/* ---- outcomes -----------------------------------------------------------------------------------
 */

static void uring_connect(uring_env *uring, lw_op *op) {
    if (lw_real_connect_next(&uring->real, op)) {
        start(uring, op);
    }
}

static void opened(uring_env *uring, lw_op *op, int result) {
    bool direct = (op->flags & LW_OPEN_DIRECT) != 0 && op->real.done == 0;
    if (result == -EINVAL && direct) {
        op->real.done = 1;
        start(uring, op);
        return;
    }
    if (result >= 0) {
        lw_real_file_add(&uring->real, op, result, direct);
    }
    lw_real_finish_errno(&uring->real, op, result < 0 ? -result : 0);
}

static void transferred(uring_env *uring, lw_op *op, int result) {
    lw_real_env *real = &uring->real;
    if (op->kind == LW_OP_WRITE && (result == -EOPNOTSUPP || result == 0)) {
        /* This file system has no RWF_DSYNC: write and sync. */
        lw_real_carry_out(real, op);
        return;
    }
    if (result < 0) {
        lw_real_finish_errno(real, op, -result);
        return;
    }
    op->real.done += (uint64_t)result;
    bool ended = false;
    if (op->kind == LW_OP_READ) {
        /* Direct reads may not go on from where the file ended. */
        uint32_t alignment = lw_real_handle_of(real, op->handle)->alignment;
        ended = result == 0 || op->real.done % alignment != 0;
    }
    if (op->real.done < op->size && !ended) {
        start(uring, op);
        return;
    }
    op->count = op->real.done;
    lw_real_finish(real, op, LW_OK, 0);
}

static void received(uring_env *uring, lw_op *op, int result, uint32_t flags) {
    uint32_t *state = &lw_real_handle_of(&uring->real, op->handle)->state;
    *state &= ~(uint32_t)LW_REAL_MORE;
    *state |= (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0 ? LW_REAL_MORE : 0;
    op->count = result < 0 ? 0 : (uint64_t)result;
    lw_real_finish_errno(&uring->real, op, result < 0 ? -result : 0);
}

static void sent(uring_env *uring, lw_op *op, int result) {
    op->real.done += result < 0 ? 0 : (uint64_t)result;
    if (result >= 0 && op->real.done < op->size) {
        start(uring, op);
    } else {
        lw_real_finish_errno(&uring->real, op, result < 0 ? -result : 0);
    }
}

static void connected(uring_env *uring, lw_op *op, int result) {
    if (result == 0) {
        lw_real_connect_done(&uring->real, op, LW_OK, 0);
    } else {
        lw_real_connect_failed(&uring->real, op, -result);
        uring_connect(uring, op);
    }
}

static void directory_synced(uring_env *uring, lw_op *op, int result) {
    lw_real_handle_of(&uring->real, op->handle)->state = 0;
    close(op->handle.number);
    op->handle = LW_NO_HANDLE;
    lw_real_finish_errno(&uring->real, op, -result);
}

/* Whether an entry ended without a result: nobody waits for it any more, or it begins again. */
static bool cut_short(uring_env *uring, lw_op *op, int result) {
    bool closed = (op->real.state & LW_REAL_CLOSED) != 0;
    bool cancelled = (op->real.state & LW_REAL_CANCELLED) != 0;
    if (closed && op->kind == LW_OP_ACCEPT && result >= 0) {
        close(result);
    }
    if (closed || (cancelled && (result == -ECANCELED || result == -EINTR))) {
        finish_cancelled(uring, op);
        return true;
    }
    if (result == -EINTR || result == -EAGAIN) {
        start(uring, op);
        return true;
    }
    return false;
}

/* Notes the result of an operation's entry. */
static void settle(uring_env *uring, lw_op *op, int result, uint32_t flags) {
    lw_real_env *real = &uring->real;
    if (cut_short(uring, op, result)) {
        return;
    }
    switch ((int)op->kind) {
    case LW_OP_OPEN:
        opened(uring, op, result);
        break;
    case LW_OP_READ:
    case LW_OP_WRITE:
        transferred(uring, op, result);
        break;
    case LW_OP_SYNC_DIRECTORY:
        directory_synced(uring, op, result);
        break;
    case LW_OP_RECEIVE:
        received(uring, op, result, flags);
        break;
    case LW_OP_SEND:
        sent(uring, op, result);
        break;
    case LW_OP_CONNECT:
        connected(uring, op, result);
        break;
    case LW_OP_ACCEPT:
        if (result >= 0) {
            lw_real_accept_done(real, op, result);
        } else {
            lw_real_finish_errno(real, op, -result);
        }
        break;
    case LW_OP_MKDIR:
        if (result == -EEXIST) {
            /* Done, if it is a directory. */
            lw_real_carry_out(real, op);
            break;
        }
        lw_real_finish_errno(real, op, -result);
        break;
    default:
        lw_real_finish_errno(real, op, result < 0 ? -result : 0);
    }
}

/* A closing env only wants its memory back; descriptors nobody will hear of are closed. */
static void discard(const lw_op *op, int result) {
    if (result >= 0 && (op->kind == LW_OP_OPEN || op->kind == LW_OP_ACCEPT)) {
        close(result);
    }
}

/* Takes what is in the completion queue; returns how much. */
static uint32_t reap(uring_env *uring) {
    uint32_t total = 0;
    for (;;) {
        struct io_uring_cqe *completions[REAP_COUNT];
        struct {
            void *tag;
            int result;
            uint32_t flags;
        } outcomes[REAP_COUNT];
        unsigned count = io_uring_peek_batch_cqe(&uring->ring, completions, REAP_COUNT);
        for (unsigned index = 0; index < count; index++) {
            outcomes[index].tag = io_uring_cqe_get_data(completions[index]);
            outcomes[index].result = completions[index]->res;
            outcomes[index].flags = completions[index]->flags;
        }
        /* Settling may submit, which needs the room. */
        io_uring_cq_advance(&uring->ring, count);
        for (unsigned index = 0; index < count; index++) {
            if (outcomes[index].tag == TAG_CANCEL) {
                continue;
            }
            if (outcomes[index].tag == TAG_EVENT) {
                uring->event_armed = false;
                if (!uring->closing) {
                    lw_real_offload_collect(&uring->real);
                }
                continue;
            }
            lw_op *op = outcomes[index].tag;
            LW_ASSERT((op->real.state & LW_REAL_IN_FLIGHT) != 0);
            LW_ASSERT(uring->in_flight > 0);
            op->real.state &= ~(uint32_t)LW_REAL_IN_FLIGHT;
            uring->in_flight--;
            uring->files_in_flight -= on_file(op);
            if (uring->closing) {
                discard(op, outcomes[index].result);
            } else {
                settle(uring, op, outcomes[index].result, outcomes[index].flags);
            }
        }
        total += count;
        if (count < REAP_COUNT) {
            return total;
        }
    }
}

/* ---- submitting ---------------------------------------------------------------------------------
 */

/* Ends what waits for a socket, then lets the ring close it. */
static void submit_close(uring_env *uring, lw_op *op) {
    lw_real_handle *handle = lw_real_handle_of(&uring->real, op->handle);
    lw_op *next;
    for (lw_op *ended = uring->waiting.first; ended != NULL; ended = next) {
        next = ended->real.next;
        if (ended->handle.number == op->handle.number && ended->kind >= LW_OP_ACCEPT &&
            ended->kind <= LW_OP_SEND) {
            ended->real.state |= LW_REAL_CLOSED;
            give_up(uring, ended);
        }
    }
    for (lw_op *ended = handle->pending.first; ended != NULL; ended = next) {
        next = ended->real.next;
        ended->real.state |= LW_REAL_CLOSED;
        give_up(uring, ended);
    }
    handle->state = 0;
    start(uring, op);
}

static void submit_sync_directory(uring_env *uring, lw_op *op) {
    int descriptor = open(op->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        lw_real_finish_errno(&uring->real, op, errno);
        return;
    }
    lw_real_handle_add(&uring->real, descriptor, 0);
    op->handle.number = descriptor;
    start(uring, op);
}

/* Whether a write had best be carried out at once. */
static bool wants_place(uring_env *uring, const lw_op *op) {
    const uint32_t wanted = LW_WRITE_DURABLE | LW_WRITE_AWAITED;
    if ((op->flags & wanted) != wanted || op->size > IN_PLACE_SIZE_MAX) {
        return false;
    }
    if (uring->crowd > 0) {
        uring->crowd--;
        return false;
    }
    return uring->files_in_flight == 0 && uring->waiting.first == NULL;
}

/* Whoever came during a write in place waited for it. It is asked before anybody hears of the
 * write: the one it was for may answer at once, and is no crowd. */
static void look_for_crowd(uring_env *uring) {
    int entered = io_uring_submit_and_get_events(&uring->ring);
    LW_ASSERT(entered >= 0 || entered == -EINTR || entered == -EAGAIN || entered == -EBUSY);
    uring->crowd = reap(uring) > 0 ? CROWD_WRITE_COUNT : 0;
}

static void submit_write(uring_env *uring, lw_op *op) {
    (void)lw_real_handle_of(&uring->real, op->handle);
    if (wants_place(uring, op)) {
        lw_real_carry_out(&uring->real, op);
        look_for_crowd(uring);
    } else {
        start(uring, op);
    }
}

static void uring_submit(lw_env *env, lw_op *op) {
    uring_env *uring = (uring_env *)(void *)env;
    lw_real_env *real = &uring->real;
    lw_real_begin(op);
    switch (op->kind) {
    case LW_OP_RECEIVE:
    case LW_OP_SEND:
        if (!lw_real_worth_trying(real, op) || !lw_real_try_stream(real, op)) {
            start(uring, op);
        }
        break;
    case LW_OP_CONNECT:
        if (lw_real_connect_begin(real, op)) {
            uring_connect(uring, op);
        }
        break;
    case LW_OP_CLOSE:
        submit_close(uring, op);
        break;
    case LW_OP_SYNC_DIRECTORY:
        submit_sync_directory(uring, op);
        break;
    case LW_OP_WRITE:
        submit_write(uring, op);
        break;
    case LW_OP_READ:
    case LW_OP_SYNC:
    case LW_OP_ACCEPT:
        (void)lw_real_handle_of(real, op->handle);
        start(uring, op);
        break;
    case LW_OP_OPEN:
    case LW_OP_RENAME:
    case LW_OP_LINK:
    case LW_OP_UNLINK:
    case LW_OP_MKDIR:
        start(uring, op);
        break;
    case LW_OP_TIMER:
        lw_real_pend(real, op);
        break;
    case LW_OP_RESIZE:
    case LW_OP_SIZE:
    case LW_OP_LOCK:
    case LW_OP_LIST:
    case LW_OP_LISTEN:
    case LW_OP_DEFER:
    case LW_OP_OFFLOAD:
    default:
        lw_real_carry_out(real, op);
    }
}

/* ---- turning ------------------------------------------------------------------------------------
 */

/* Watches for offloaded work that is done; false if that found no entry. */
static bool arm_event(uring_env *uring) {
    int event = lw_real_offload_event(&uring->real);
    if (event < 0 || uring->event_armed) {
        return true;
    }
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    if (entry == NULL) {
        return false;
    }
    io_uring_prep_poll_add(entry, event, POLLIN);
    io_uring_sqe_set_data(entry, TAG_EVENT);
    uring->event_armed = true;
    return true;
}

/* Prepares what found no entry before; false if some of it still finds none. */
static bool prepare_left(uring_env *uring) {
    start_waiting(uring);
    if (uring->cancels_unsent) {
        send_cancels(uring);
    }
    return arm_event(uring) && uring->waiting.first == NULL && !uring->cancels_unsent;
}

/* Hands over what is prepared; stays until an outcome, or the next deadline, if `wait`. */
static int enter(uring_env *uring, bool wait) {
    if (!wait) {
        bool nothing =
            io_uring_sq_ready(&uring->ring) == 0 && uring->in_flight == 0 && !uring->event_armed;
        return nothing ? 0 : io_uring_submit_and_get_events(&uring->ring);
    }
    struct __kernel_timespec timeout = {0};
    uint64_t deadline_ns = lw_real_deadline(&uring->real);
    if (deadline_ns != 0) {
        uint64_t now_ns = lw_real_now_ns(&uring->real.env);
        uint64_t timeout_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        timeout.tv_sec = (long long)(timeout_ns / 1000000000U);
        timeout.tv_nsec = (long long)(timeout_ns % 1000000000U);
    }
    struct io_uring_cqe *first;
    return io_uring_submit_and_wait_timeout(&uring->ring, &first, 1,
                                            deadline_ns != 0 ? &timeout : NULL, NULL);
}

static void gather(uring_env *uring, bool wait) {
    lw_real_env *real = &uring->real;
    /* What is in the ring may wait for ever: it is waited for only when nothing is left out. */
    bool complete = prepare_left(uring);
    int entered = enter(uring, wait && complete);
    LW_ASSERT(entered >= 0 || entered == -ETIME || entered == -EINTR || entered == -EAGAIN ||
              entered == -EBUSY);
    uint32_t count = reap(uring);
    if (count == 0 && (entered == -EAGAIN || entered == -EBUSY)) {
        /* The kernel is short of memory: it gets a moment, instead of the same question again. */
        (void)poll(NULL, 0, 1);
    }
    if (real->timer_count > 0) {
        uint64_t now_ns = lw_real_now_ns(&real->env);
        lw_op *op;
        while ((op = lw_real_expired(real, now_ns)) != NULL) {
            if (op->kind == LW_OP_TIMER) {
                lw_real_finish(real, op, LW_OK, 0);
            } else {
                give_up(uring, op);
            }
        }
    }
}

static void uring_turn(lw_env *env, bool wait) {
    uring_env *uring = (uring_env *)(void *)env;
    bool any = lw_real_drain(&uring->real);
    bool prepared = io_uring_sq_ready(&uring->ring) > 0 || uring->waiting.first != NULL;
    if (any && !prepared && ++uring->unpolled_turns < UNPOLLED_TURN_MAX) {
        return;
    }
    uring->unpolled_turns = 0;
    gather(uring, wait && !any && !lw_real_busy(&uring->real));
    lw_real_drain(&uring->real);
}

/* ---- opening and closing ------------------------------------------------------------------------
 */

/* Takes everything back from the kernel, which may be writing into our memory. */
static void recall(uring_env *uring) {
    uring->closing = true;
    for (lw_op *op = uring->waiting.first; op != NULL; op = op->real.next) {
        if (op->kind == LW_OP_CLOSE) {
            close(op->handle.number);
        } else if (op->kind == LW_OP_CONNECT) {
            lw_real_connect_forget(op);
        }
    }
    while (uring->in_flight > 0 || uring->event_armed) {
        struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
        if (entry != NULL) {
            io_uring_prep_cancel(entry, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
            io_uring_sqe_set_data(entry, TAG_CANCEL);
        }
        struct __kernel_timespec timeout = {.tv_nsec = 100000000};
        struct io_uring_cqe *first;
        (void)io_uring_submit_and_wait_timeout(&uring->ring, &first, 1, &timeout, NULL);
        (void)reap(uring);
    }
}

static void uring_close(lw_env *env) {
    uring_env *uring = (uring_env *)(void *)env;
    lw_memory *memory = env->memory;
    recall(uring);
    io_uring_queue_exit(&uring->ring);
    lw_real_reset(&uring->real);
    lw_memory_close(memory);
}

static const lw_env_world uring_world = {
    .submit = uring_submit,
    .cancel = uring_cancel,
    .turn = uring_turn,
    .now_ns = lw_real_now_ns,
    .wall_ms = lw_real_wall_ms,
    .memory_size = lw_real_memory_size,
    .unheard = lw_real_unheard,
    .entropy = lw_real_entropy,
    .logline = lw_real_logline,
    .close = uring_close,
};

static lw_status refuse(int system_error) {
    const char *why = strerrordesc_np(system_error);
    if (system_error == ENOSYS) {
        why =
            "the kernel was built without it, or a seccomp filter hides it: allow io_uring_setup, "
            "io_uring_enter and io_uring_register";
    } else if (system_error == EPERM || system_error == EACCES) {
        why = "a seccomp filter or the sysctl kernel.io_uring_disabled forbids it: allow it there";
    } else if (system_error == ENOMEM) {
        why = "the limit of locked memory is too low: raise it (ulimit -l, LimitMEMLOCK)";
    } else if (system_error == EINVAL) {
        why = "the kernel is older than 6.1: use a newer one";
    }
    return lw_fail(LW_UNAVAILABLE, "io_uring is not available: %s; or use poll, which is slower",
                   why);
}

lw_status lw_env_uring_open(lw_env **env) {
    struct io_uring_params params = {
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
                 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        .cq_entries = COMPLETION_COUNT,
    };
    struct io_uring ring;
    int result = io_uring_queue_init_params(SUBMISSION_COUNT, &ring, &params);
    if (result < 0) {
        return refuse(-result);
    }
    uint32_t needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    if ((params.features & needed) != needed) {
        io_uring_queue_exit(&ring);
        return refuse(EINVAL);
    }
    /* Saves each entry into the kernel a look at the table of descriptors. */
    (void)io_uring_register_ring_fd(&ring);
    lw_memory *memory = lw_memory_open();
    uring_env *uring = lw_allocate_zero(memory, sizeof(*uring));
    uring->ring = ring;
    lw_real_init(&uring->real, &uring_world, memory);
    *env = &uring->real.env;
    return LW_OK;
}
