/* SPDX-License-Identifier: Apache-2.0 */
/* The world of plain poll(2) and plain system calls, and what the world of io_uring shares with it:
 * handles, timers, the queue of outcomes, offloaded work, and the operations for which neither
 * waits. Sockets are in env_sockets.c.
 *
 * Files are read and written where they are submitted, for poll knows nothing of them; sockets are
 * tried first, where that is likely to save a system call, and polled then.
 *
 * Invariants
 * 1. An operation is in at most one list, which it names; completed ones are in `completed` alone.
 * 2. `complete` is called from lw_real_drain and nowhere else.
 * 3. The heap holds exactly the waiting operations that have a deadline, each of which knows its
 *    place.
 * 4. Worker threads touch `work`, `argument` and the lists of lw_real_offload, these under its
 * lock, and nothing else of the env. */
#include "base/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    DRAIN_ROUND_MAX = 16,  /* of fibers and outcomes, before the outside is looked at again */
    UNPOLLED_TURN_MAX = 8, /* turns that had enough to do without looking */
    WORKER_COUNT_MAX = 2,
    FILE_MODE = 0600,
    DIRECTORY_MODE = 0700,
};

/* ---- lists of operations ------------------------------------------------------------------------
 */

void lw_op_list_push(lw_op_list *list, lw_op *op) {
    LW_ASSERT(op->real.list == NULL);
    op->real.list = list;
    op->real.next = NULL;
    op->real.previous = list->last;
    if (list->last != NULL) {
        list->last->real.next = op;
    } else {
        list->first = op;
    }
    list->last = op;
}

void lw_op_list_remove(lw_op *op) {
    lw_op_list *list = op->real.list;
    if (list == NULL) {
        return;
    }
    if (op->real.previous != NULL) {
        op->real.previous->real.next = op->real.next;
    } else {
        list->first = op->real.next;
    }
    if (op->real.next != NULL) {
        op->real.next->real.previous = op->real.previous;
    } else {
        list->last = op->real.previous;
    }
    op->real.list = NULL;
}

/* ---- timers -------------------------------------------------------------------------------------
 */

static bool fires_before(const lw_op *one, const lw_op *two) {
    return one->deadline_ns != two->deadline_ns ? one->deadline_ns < two->deadline_ns
                                                : one->real.sequence < two->real.sequence;
}

static void timer_place(lw_real_env *real, lw_op *op, uint32_t place) {
    real->timers[place - 1] = op;
    op->real.timer_place = place;
}

static void timer_rise(lw_real_env *real, lw_op *op, uint32_t place) {
    while (place > 1 && fires_before(op, real->timers[place / 2 - 1])) {
        timer_place(real, real->timers[place / 2 - 1], place);
        place /= 2;
    }
    timer_place(real, op, place);
}

static void timer_sink(lw_real_env *real, lw_op *op, uint32_t place) {
    for (;;) {
        uint32_t child = place * 2;
        if (child < real->timer_count &&
            fires_before(real->timers[child], real->timers[child - 1])) {
            child++;
        }
        if (child > real->timer_count || !fires_before(real->timers[child - 1], op)) {
            break;
        }
        timer_place(real, real->timers[child - 1], place);
        place = child;
    }
    timer_place(real, op, place);
}

static void timer_add(lw_real_env *real, lw_op *op) {
    if (real->timer_count == real->timer_capacity) {
        real->timer_capacity = real->timer_capacity == 0 ? 16 : real->timer_capacity * 2;
        real->timers = lw_reallocate(real->env.memory, real->timers,
                                     real->timer_capacity * sizeof(*real->timers));
    }
    op->real.sequence = real->timer_sequence++;
    timer_rise(real, op, ++real->timer_count);
}

static void timer_remove(lw_real_env *real, lw_op *op) {
    uint32_t place = op->real.timer_place;
    if (place == 0) {
        return;
    }
    LW_ASSERT(real->timers[place - 1] == op);
    lw_op *moved = real->timers[--real->timer_count];
    op->real.timer_place = 0;
    if (moved != op) {
        timer_rise(real, moved, place);
        timer_sink(real, moved, moved->real.timer_place);
    }
}

lw_op *lw_real_expired(lw_real_env *real, uint64_t now_ns) {
    if (real->timer_count == 0 || real->timers[0]->deadline_ns > now_ns) {
        return NULL;
    }
    lw_op *op = real->timers[0];
    timer_remove(real, op);
    return op;
}

uint64_t lw_real_deadline(const lw_real_env *real) {
    return real->timer_count == 0 ? 0 : real->timers[0]->deadline_ns;
}

/* ---- handles ------------------------------------------------------------------------------------
 */

void lw_real_handle_add(lw_real_env *real, int descriptor, uint32_t state) {
    uint32_t index = (uint32_t)descriptor;
    if (index >= real->handle_capacity) {
        uint32_t capacity = real->handle_capacity == 0 ? 32 : real->handle_capacity;
        while (capacity <= index) {
            capacity *= 2;
        }
        lw_real_handle *moved =
            lw_allocate_zero(real->env.memory, capacity * sizeof(*real->handles));
        for (uint32_t old = 0; old < real->handle_capacity; old++) {
            moved[old] = real->handles[old];
            for (lw_op *op = moved[old].pending.first; op != NULL; op = op->real.next) {
                op->real.list = &moved[old].pending;
            }
        }
        lw_free(real->env.memory, real->handles);
        real->handles = moved;
        real->handle_capacity = capacity;
    }
    LW_ASSERT(real->handles[index].state == 0);
    real->handles[index].state = state | LW_REAL_OPEN;
}

lw_real_handle *lw_real_handle_of(lw_real_env *real, lw_handle handle) {
    LW_ASSERT(handle.number >= 0);
    LW_ASSERT((uint32_t)handle.number < real->handle_capacity);
    lw_real_handle *found = &real->handles[handle.number];
    LW_ASSERT((found->state & LW_REAL_OPEN) != 0);
    return found;
}

/* ---- outcomes -----------------------------------------------------------------------------------
 */

void lw_real_begin(lw_op *op) {
    op->status = LW_OK;
    op->system_error = 0;
    op->count = 0;
    op->real = (lw_real_op){0};
    if (op->kind == LW_OP_OPEN || op->kind == LW_OP_LISTEN || op->kind == LW_OP_CONNECT) {
        op->handle = LW_NO_HANDLE;
    }
}

void lw_real_pend(lw_real_env *real, lw_op *op) {
    if (op->real.list == NULL && op->kind >= LW_OP_ACCEPT && op->kind <= LW_OP_SEND) {
        lw_op_list_push(&lw_real_handle_of(real, op->handle)->pending, op);
    }
    if (op->deadline_ns != 0 && op->real.timer_place == 0) {
        timer_add(real, op);
    }
}

void lw_real_finish(lw_real_env *real, lw_op *op, lw_status status, int system_error) {
    LW_ASSERT((op->real.state & (LW_REAL_COMPLETED | LW_REAL_IN_FLIGHT)) == 0);
    lw_op_list_remove(op);
    timer_remove(real, op);
    op->status = status;
    op->system_error = system_error;
    op->real.state |= LW_REAL_COMPLETED;
    lw_op_list_push(&real->completed, op);
}

void lw_real_finish_errno(lw_real_env *real, lw_op *op, int system_error) {
    lw_real_finish(real, op, lw_env_status_of(system_error), system_error);
}

bool lw_real_busy(const lw_real_env *real) {
    return lw_fibers_ready(real->env.fibers) || real->completed.first != NULL ||
           real->deferred.first != NULL;
}

/* Reports what is in the list now, and leaves what is added meanwhile. */
static void report(lw_op_list *list) {
    lw_op *last = list->last;
    for (lw_op *op = NULL; op != last;) {
        op = list->first;
        lw_op_list_remove(op);
        if (op->complete != NULL) {
            op->complete(op);
        }
    }
}

bool lw_real_drain(lw_real_env *real) {
    bool any = false;
    for (uint32_t round = 0; round < DRAIN_ROUND_MAX; round++) {
        any |= lw_fibers_run(real->env.fibers);
        if (real->completed.first == NULL) {
            break;
        }
        report(&real->completed);
        any = true;
    }
    any |= lw_fibers_run(real->env.fibers);
    if (real->deferred.first != NULL) {
        report(&real->deferred);
        lw_fibers_run(real->env.fibers);
        any = true;
    }
    return any;
}

/* ---- files --------------------------------------------------------------------------------------
 */

int lw_real_open_flags(uint32_t flags) {
    int open_flags = O_CLOEXEC | ((flags & LW_OPEN_READ_ONLY) != 0 ? O_RDONLY : O_RDWR);
    open_flags |= (flags & LW_OPEN_CREATE) != 0 ? O_CREAT : 0;
    open_flags |= (flags & LW_OPEN_EXCLUSIVE) != 0 ? O_EXCL : 0;
    open_flags |= (flags & LW_OPEN_DIRECT) != 0 ? O_DIRECT : 0;
    return open_flags;
}

/* What direct reads of a file have to be aligned to: often less than what writes are kept to. */
static uint32_t direct_alignment(int descriptor) {
    struct statx facts = {0};
    uint32_t alignment = 0;
    if (statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &facts) == 0 &&
        (facts.stx_mask & STATX_DIOALIGN) != 0) {
        alignment = facts.stx_dio_offset_align > facts.stx_dio_mem_align
                        ? facts.stx_dio_offset_align
                        : facts.stx_dio_mem_align;
    }
    bool known = alignment > 0 && (alignment & (alignment - 1)) == 0;
    return known && alignment < LW_DIRECT_ALIGNMENT ? alignment : LW_DIRECT_ALIGNMENT;
}

void lw_real_file_add(lw_real_env *real, lw_op *op, int descriptor, bool direct) {
    if ((op->flags & LW_OPEN_RANDOM) != 0) {
        /* A file system that knows no advice reads as it likes. */
        (void)posix_fadvise(descriptor, 0, 0, POSIX_FADV_RANDOM);
    }
    lw_real_handle_add(real, descriptor, 0);
    op->handle.number = descriptor;
    op->count = direct ? direct_alignment(descriptor) : 1;
    lw_real_handle_of(real, op->handle)->alignment = (uint32_t)op->count;
}

static int open_file(lw_real_env *real, lw_op *op) {
    int flags = lw_real_open_flags(op->flags);
    bool direct = (flags & O_DIRECT) != 0;
    int descriptor = open(op->path, flags, FILE_MODE);
    if (descriptor < 0 && errno == EINVAL && direct) {
        /* No direct I/O here. The failed attempt may have made the file already. */
        flags &= ~(O_DIRECT | O_EXCL);
        direct = false;
        descriptor = open(op->path, flags, FILE_MODE);
    }
    if (descriptor < 0) {
        return errno;
    }
    lw_real_file_add(real, op, descriptor, direct);
    return 0;
}

static int read_file(lw_real_env *real, lw_op *op) {
    uint32_t alignment = lw_real_handle_of(real, op->handle)->alignment;
    while (op->real.done < op->size) {
        ssize_t size = pread(op->handle.number, (char *)op->buffer + op->real.done,
                             op->size - op->real.done, (off_t)(op->offset + op->real.done));
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size < 0) {
            return errno;
        }
        op->real.done += (uint64_t)size;
        /* Direct reads may not go on from where the file ended. */
        if (size == 0 || op->real.done % alignment != 0) {
            break;
        }
    }
    op->count = op->real.done;
    return 0;
}

/* Writes once; durably, where asked, in a single call if the file system knows how. */
static ssize_t write_some(lw_op *op) {
    struct iovec rest = {.iov_base = (char *)op->buffer + op->real.done,
                         .iov_len = op->size - op->real.done};
    off_t offset = (off_t)(op->offset + op->real.done);
    bool durable = (op->flags & LW_WRITE_DURABLE) != 0;
    ssize_t size = pwritev2(op->handle.number, &rest, 1, offset, durable ? RWF_DSYNC : 0);
    if (size >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) {
        return size;
    }
    size = pwrite(op->handle.number, rest.iov_base, rest.iov_len, offset);
    if (size >= 0 && durable && fdatasync(op->handle.number) != 0) {
        return -1;
    }
    return size;
}

static int write_file(lw_op *op) {
    while (op->real.done < op->size) {
        ssize_t size = write_some(op);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size <= 0) {
            return size < 0 ? errno : EIO;
        }
        op->real.done += (uint64_t)size;
    }
    op->count = op->real.done;
    return 0;
}

static int resize_file(const lw_op *op) {
    off_t size = (off_t)op->size;
    bool hold = (op->flags & LW_RESIZE_HOLD) != 0;
    long result = hold ? TEMP_FAILURE_RETRY(fallocate(op->handle.number, 0, 0, size))
                       : TEMP_FAILURE_RETRY(ftruncate(op->handle.number, size));
    return result == 0 ? 0 : errno;
}

static int size_file(lw_op *op) {
    struct stat facts;
    struct statvfs system;
    if ((op->flags & LW_SIZE_LEFT) != 0) {
        if (fstatvfs(op->handle.number, &system) != 0) {
            return errno;
        }
        op->count = (uint64_t)system.f_bavail * system.f_frsize;
        return 0;
    }
    if (fstat(op->handle.number, &facts) != 0) {
        return errno;
    }
    op->count = (uint64_t)facts.st_size;
    return 0;
}

/* Locks of the open file, not of the process: two envs of one process exclude each other too. */
static int lock_file(const lw_op *op) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(op->handle.number, F_OFD_SETLK, &whole) == 0 ? 0 : errno;
}

static int make_directory(const char *path) {
    if (mkdir(path, DIRECTORY_MODE) == 0) {
        return 0;
    }
    struct stat facts;
    if (errno != EEXIST) {
        return errno;
    }
    return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode) ? 0 : ENOTDIR;
}

static int sync_directory(const char *path) {
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        return errno;
    }
    int system_error = fsync(descriptor) == 0 ? 0 : errno;
    close(descriptor);
    return system_error;
}

static int is_listed(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int by_name(const struct dirent **one, const struct dirent **two) {
    return strcmp((*one)->d_name, (*two)->d_name);
}

static int list_directory(lw_op *op) {
    struct dirent **entries;
    int count = scandir(op->path, &entries, is_listed, by_name);
    if (count < 0) {
        return errno;
    }
    for (int index = 0; index < count; index++) {
        const char *name = entries[index]->d_name;
        lw_buffer_append(op->names, lw_view(name, strlen(name) + 1));
        free(entries[index]);
    }
    free(entries);
    return 0;
}

/* Ends what waits for the socket, then closes it. */
static void close_handle(lw_real_env *real, lw_op *op) {
    lw_real_handle *handle = lw_real_handle_of(real, op->handle);
    while (handle->pending.first != NULL) {
        lw_real_finish(real, handle->pending.first, LW_UNAVAILABLE, ECONNABORTED);
    }
    handle->state = 0;
    close(op->handle.number);
}

/* ---- offloaded work -----------------------------------------------------------------------------
 */

struct lw_real_offload {
    pthread_mutex_t lock;
    pthread_cond_t queued;    /* there is work, or the end has come */
    lw_op_list waiting, done; /* under the lock, as is: */
    bool closing;
    int event;            /* eventfd: readable when something is done */
    uint32_t outstanding; /* submitted and not collected; the env's thread only */
    uint32_t thread_count;
    pthread_t threads[WORKER_COUNT_MAX];
};

static void *worker_main(void *argument) {
    struct lw_real_offload *offload = argument;
    pthread_mutex_lock(&offload->lock);
    while (!offload->closing) {
        lw_op *op = offload->waiting.first;
        if (op == NULL) {
            pthread_cond_wait(&offload->queued, &offload->lock);
            continue;
        }
        lw_op_list_remove(op);
        pthread_mutex_unlock(&offload->lock);
        op->work(op->argument);
        pthread_mutex_lock(&offload->lock);
        lw_op_list_push(&offload->done, op);
        (void)eventfd_write(offload->event, 1);
    }
    pthread_mutex_unlock(&offload->lock);
    return NULL;
}

/* Signals are for the threads that the process made itself. */
static void worker_start(struct lw_real_offload *offload) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&offload->threads[offload->thread_count], NULL, worker_main, offload) == 0) {
        offload->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static struct lw_real_offload *offload_open(lw_memory *memory) {
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0) {
        return NULL;
    }
    struct lw_real_offload *offload = lw_allocate_zero(memory, sizeof(*offload));
    pthread_mutex_init(&offload->lock, NULL);
    pthread_cond_init(&offload->queued, NULL);
    offload->event = event;
    return offload;
}

static void offload_close(lw_real_env *real) {
    struct lw_real_offload *offload = real->offload;
    if (offload == NULL) {
        return;
    }
    pthread_mutex_lock(&offload->lock);
    offload->closing = true;
    pthread_cond_broadcast(&offload->queued);
    pthread_mutex_unlock(&offload->lock);
    for (uint32_t index = 0; index < offload->thread_count; index++) {
        pthread_join(offload->threads[index], NULL);
    }
    pthread_cond_destroy(&offload->queued);
    pthread_mutex_destroy(&offload->lock);
    close(offload->event);
    lw_free(real->env.memory, offload);
    real->offload = NULL;
}

static void offload_submit(lw_real_env *real, lw_op *op) {
    if (real->offload == NULL) {
        real->offload = offload_open(real->env.memory);
    }
    struct lw_real_offload *offload = real->offload;
    if (offload != NULL && offload->outstanding >= offload->thread_count &&
        offload->thread_count < WORKER_COUNT_MAX) {
        worker_start(offload);
    }
    if (offload == NULL || offload->thread_count == 0) {
        /* The system gives no descriptor or no thread: slow is better than failed. */
        op->work(op->argument);
        lw_real_finish(real, op, LW_OK, 0);
        return;
    }
    offload->outstanding++;
    pthread_mutex_lock(&offload->lock);
    lw_op_list_push(&offload->waiting, op);
    pthread_cond_signal(&offload->queued);
    pthread_mutex_unlock(&offload->lock);
}

int lw_real_offload_event(const lw_real_env *real) {
    return real->offload != NULL && real->offload->outstanding > 0 ? real->offload->event : -1;
}

void lw_real_offload_collect(lw_real_env *real) {
    struct lw_real_offload *offload = real->offload;
    eventfd_t ignored;
    (void)eventfd_read(offload->event, &ignored);
    pthread_mutex_lock(&offload->lock);
    lw_op *op;
    while ((op = offload->done.first) != NULL) {
        LW_ASSERT(offload->outstanding > 0);
        offload->outstanding--;
        lw_real_finish(real, op, LW_OK, 0);
    }
    pthread_mutex_unlock(&offload->lock);
}

/* ---- operations that do not wait ----------------------------------------------------------------
 */

void lw_real_carry_out(lw_real_env *real, lw_op *op) {
    int system_error = 0;
    if (op->kind >= LW_OP_CLOSE && op->kind <= LW_OP_LOCK) {
        LW_ASSERT(lw_real_handle_of(real, op->handle) != NULL);
    }
    switch (op->kind) {
    case LW_OP_OPEN:
        system_error = open_file(real, op);
        break;
    case LW_OP_CLOSE:
        close_handle(real, op);
        break;
    case LW_OP_READ:
        system_error = read_file(real, op);
        break;
    case LW_OP_WRITE:
        system_error = write_file(op);
        break;
    case LW_OP_SYNC:
        system_error = TEMP_FAILURE_RETRY(fdatasync(op->handle.number)) == 0 ? 0 : errno;
        break;
    case LW_OP_RESIZE:
        system_error = resize_file(op);
        break;
    case LW_OP_SIZE:
        system_error = size_file(op);
        break;
    case LW_OP_LOCK:
        system_error = lock_file(op);
        break;
    case LW_OP_RENAME:
        system_error = rename(op->path, op->path_to) == 0 ? 0 : errno;
        break;
    case LW_OP_LINK:
        system_error = link(op->path, op->path_to) == 0 ? 0 : errno;
        break;
    case LW_OP_UNLINK:
        system_error = unlink(op->path) == 0 ? 0 : errno;
        break;
    case LW_OP_MKDIR:
        system_error = make_directory(op->path);
        break;
    case LW_OP_LIST:
        system_error = list_directory(op);
        break;
    case LW_OP_SYNC_DIRECTORY:
        system_error = sync_directory(op->path);
        break;
    case LW_OP_LISTEN:
        lw_real_listen(real, op);
        return;
    case LW_OP_DEFER:
        lw_op_list_push(&real->deferred, op);
        return;
    case LW_OP_OFFLOAD:
        offload_submit(real, op);
        return;
    case LW_OP_ACCEPT:
    case LW_OP_CONNECT:
    case LW_OP_RECEIVE:
    case LW_OP_SEND:
    case LW_OP_TIMER:
    default:
        LW_ASSERT(op->kind == LW_OP_OPEN);
    }
    if (op->kind == LW_OP_LOCK && (system_error == EAGAIN || system_error == EACCES)) {
        lw_real_finish(real, op, LW_REFUSED, system_error);
    } else {
        lw_real_finish_errno(real, op, system_error);
    }
}

/* ---- clocks, entropy, log -----------------------------------------------------------------------
 */

uint64_t lw_real_now_ns(lw_env *env) {
    (void)env;
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* The limit that a file of a control group holds; UINT64_MAX if it has none. */
static uint64_t group_limit(const char *folder, const char *name) {
    char path[LW_PATH_SIZE], text[32] = "";
    int length = snprintf(path, sizeof(path), "%s/%s", folder, name);
    int file = length < (int)sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t size = file >= 0 ? read(file, text, sizeof(text) - 1) : 0;
    if (file >= 0) {
        close(file);
    }
    /* Without a limit it is "max", or a number that no machine has. */
    return size > 0 && text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
}

/* The lowest limit of a control group and those that it is in. Where a container sees less of the
 * tree than its paths say, what is missing is passed over. */
static uint64_t lowest_limit(const char *root, const char *name, const char *group) {
    char folder[LW_PATH_SIZE];
    size_t root_size = strlen(root);
    uint64_t lowest = UINT64_MAX;
    if (snprintf(folder, sizeof(folder), "%s%s", root, group) >= (int)sizeof(folder)) {
        return lowest;
    }
    for (size_t size = strlen(folder); size >= root_size; size--) {
        if (folder[size] == '/' || folder[size] == '\0') {
            folder[size] = '\0';
            uint64_t limit = group_limit(folder, name);
            lowest = limit < lowest ? limit : lowest;
        }
    }
    return lowest;
}

uint64_t lw_real_memory_size(lw_env *env) {
    (void)env;
    long page_count = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
    uint64_t size =
        page_count > 0 && page_size > 0 ? (uint64_t)page_count * (uint64_t)page_size : 0;
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[LW_PATH_SIZE];
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *kinds = strchr(line, ':');
        char *group = kinds != NULL ? strchr(kinds + 1, ':') : NULL;
        uint64_t limit = UINT64_MAX;
        if (group != NULL && strncmp(kinds, "::", 2) == 0) {
            limit = lowest_limit("/sys/fs/cgroup", "memory.max", group + 1);
        } else if (group != NULL && strncmp(kinds, ":memory:", 8) == 0) {
            limit = lowest_limit("/sys/fs/cgroup/memory", "memory.limit_in_bytes", group + 1);
        }
        size = limit < size ? limit : size;
    }
    if (file != NULL) {
        fclose(file);
    }
    return size;
}

uint64_t lw_real_wall_ms(lw_env *env) {
    (void)env;
    struct timespec now;
    /* Up to a tick behind, at a fifth of the price: each request asks several times. */
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000U + (uint64_t)now.tv_nsec / 1000000U;
}

void lw_real_entropy(lw_env *env, void *buffer, size_t size) {
    (void)env;
    size_t filled = 0;
    while (filled < size) {
        ssize_t more = getrandom((char *)buffer + filled, size - filled, 0);
        LW_ASSERT(more > 0 || errno == EINTR);
        filled += more > 0 ? (size_t)more : 0;
    }
}

void lw_real_logline(lw_env *env, lw_level level, const char *line) {
    (void)level;
    char text[LW_LOGLINE_SIZE + 64], second[32] = "";
    uint64_t wall_ms = lw_real_wall_ms(env);
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) != NULL) {
        (void)strftime(second, sizeof(second), "%Y-%m-%dT%H:%M:%S", &parts);
    }
    int size = snprintf(text, sizeof(text), "time=%s.%03uZ %s\n", second,
                        (unsigned)(wall_ms % 1000), line);
    /* One write, so that lines of several threads do not mix. A full disk or a closed standard
     * error is no reason to stop. */
    ssize_t written = write(STDERR_FILENO, text, (size_t)size);
    (void)written;
}

/* ---- opening and closing ------------------------------------------------------------------------
 */

void lw_real_init(lw_real_env *real, const lw_env_world *world, lw_memory *memory) {
    real->env.world = world;
    real->env.memory = memory;
    real->env.fibers = lw_fibers_open(memory);
    lw_env_seed(&real->env);
}

void lw_real_reset(lw_real_env *real) {
    offload_close(real);
    for (uint32_t index = 0; index < real->handle_capacity; index++) {
        const lw_real_handle *handle = &real->handles[index];
        for (lw_op *op = handle->pending.first; op != NULL; op = op->real.next) {
            if (op->kind == LW_OP_CONNECT) {
                lw_real_connect_forget(op);
            }
        }
        if ((handle->state & LW_REAL_OPEN) != 0) {
            close((int)index);
        }
    }
    /* Last: operations lie on the stacks of fibers. */
    lw_fibers_close(real->env.fibers);
}

/* ---- the world of poll --------------------------------------------------------------------------
 */

typedef struct posix_env {
    lw_real_env real;
    struct pollfd *polled;
    uint32_t polled_capacity;
    uint32_t unpolled_turns;
} posix_env;

static void posix_submit(lw_env *env, lw_op *op) {
    lw_real_env *real = (lw_real_env *)env;
    lw_real_begin(op);
    if (op->kind == LW_OP_CONNECT) {
        if (lw_real_connect_begin(real, op)) {
            lw_real_connect_try(real, op);
        }
    } else if (op->kind == LW_OP_RECEIVE || op->kind == LW_OP_SEND) {
        if (!lw_real_worth_trying(real, op) || !lw_real_try_stream(real, op)) {
            lw_real_pend(real, op);
        }
    } else if (op->kind == LW_OP_ACCEPT || op->kind == LW_OP_TIMER) {
        lw_real_pend(real, op);
    } else {
        lw_real_carry_out(real, op);
    }
}

/* Ends an operation that waits. */
static void posix_give_up(lw_real_env *real, lw_op *op, int system_error) {
    if (op->kind == LW_OP_CONNECT) {
        lw_real_connect_done(real, op, LW_TIMEOUT, system_error);
    } else {
        lw_real_finish(real, op, LW_TIMEOUT, system_error);
    }
}

static void posix_cancel(lw_env *env, lw_op *op) {
    bool waits = op->kind == LW_OP_TIMER || (op->kind >= LW_OP_ACCEPT && op->kind <= LW_OP_SEND);
    if (waits && (op->real.state & LW_REAL_COMPLETED) == 0) {
        posix_give_up((lw_real_env *)env, op, ECANCELED);
    }
}

static void poll_for(posix_env *posix, uint32_t *count, int descriptor, short events) {
    if (*count == posix->polled_capacity) {
        posix->polled_capacity = posix->polled_capacity == 0 ? 16 : posix->polled_capacity * 2;
        posix->polled = lw_reallocate(posix->real.env.memory, posix->polled,
                                      posix->polled_capacity * sizeof(*posix->polled));
    }
    posix->polled[(*count)++] = (struct pollfd){.fd = descriptor, .events = events};
}

/* Lists what to poll for, offloaded work first; returns how many. */
static uint32_t list_polled(posix_env *posix) {
    const lw_real_env *real = &posix->real;
    uint32_t count = 0;
    poll_for(posix, &count, lw_real_offload_event(real), POLLIN);
    for (uint32_t index = 0; index < real->handle_capacity; index++) {
        short events = 0;
        for (const lw_op *op = real->handles[index].pending.first; op != NULL; op = op->real.next) {
            events |= op->kind == LW_OP_SEND || op->kind == LW_OP_CONNECT ? POLLOUT : POLLIN;
        }
        if (events != 0) {
            poll_for(posix, &count, (int)index, events);
        }
    }
    return count;
}

/* What waits for a socket that became ready. */
static void posix_ready(lw_real_env *real, int descriptor) {
    lw_op *next;
    for (lw_op *op = real->handles[descriptor].pending.first; op != NULL; op = next) {
        next = op->real.next;
        if (op->kind == LW_OP_CONNECT) {
            lw_real_connect_ready(real, op);
        } else if (op->kind == LW_OP_ACCEPT) {
            lw_real_accept_try(real, op);
        } else {
            (void)lw_real_try_stream(real, op);
        }
    }
}

/* Looks at the outside; stays until something happens there, or the next deadline, if `wait`. */
static void posix_gather(posix_env *posix, bool wait) {
    lw_real_env *real = &posix->real;
    uint64_t deadline_ns = lw_real_deadline(real);
    uint64_t timeout_ns = 0;
    if (wait && deadline_ns != 0) {
        uint64_t now_ns = lw_real_now_ns(&real->env);
        timeout_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    }
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000U),
                               .tv_nsec = (long)(timeout_ns % 1000000000U)};
    uint32_t count = list_polled(posix);
    int ready = ppoll(posix->polled, count, wait && deadline_ns == 0 ? NULL : &timeout, NULL);
    LW_ASSERT(ready >= 0 || errno == EINTR || errno == ENOMEM);
    for (uint32_t index = 0; index < count && ready > 0; index++) {
        if (posix->polled[index].revents == 0) {
            continue;
        }
        if (index == 0) {
            lw_real_offload_collect(real);
        } else {
            posix_ready(real, posix->polled[index].fd);
        }
        ready--;
    }
    if (real->timer_count > 0) {
        uint64_t now_ns = lw_real_now_ns(&real->env);
        lw_op *op;
        while ((op = lw_real_expired(real, now_ns)) != NULL) {
            if (op->kind == LW_OP_TIMER) {
                lw_real_finish(real, op, LW_OK, 0);
            } else {
                posix_give_up(real, op, 0);
            }
        }
    }
}

static void posix_turn(lw_env *env, bool wait) {
    posix_env *posix = (posix_env *)(void *)env;
    bool any = lw_real_drain(&posix->real);
    if (any && ++posix->unpolled_turns < UNPOLLED_TURN_MAX) {
        return;
    }
    posix->unpolled_turns = 0;
    posix_gather(posix, wait && !any && !lw_real_busy(&posix->real));
    lw_real_drain(&posix->real);
}

static void posix_close(lw_env *env) {
    lw_memory *memory = env->memory;
    lw_real_reset((lw_real_env *)env);
    lw_memory_close(memory);
}

static const lw_env_world posix_world = {
    .submit = posix_submit,
    .cancel = posix_cancel,
    .turn = posix_turn,
    .now_ns = lw_real_now_ns,
    .wall_ms = lw_real_wall_ms,
    .memory_size = lw_real_memory_size,
    .unheard = lw_real_unheard,
    .entropy = lw_real_entropy,
    .logline = lw_real_logline,
    .close = posix_close,
};

lw_status lw_env_posix_open(lw_env **env) {
    lw_memory *memory = lw_memory_open();
    posix_env *posix = lw_allocate_zero(memory, sizeof(*posix));
    posix->real.socket_flags = SOCK_NONBLOCK;
    lw_real_init(&posix->real, &posix_world, memory);
    *env = &posix->real.env;
    return LW_OK;
}
