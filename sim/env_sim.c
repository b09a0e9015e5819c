/* SPDX-License-Identifier: Apache-2.0 */
/* The env of a simulated process: operations become events.
 *
 * A submitted operation is a request with an event of its own. When the event runs, the operation
 * is tried: files at once, sockets as the network allows. What has to wait is parked on its handle
 * until the network wakes it, its deadline passes, or it is cancelled. A request ends with the
 * completion of its operation, after which the process has its turn.
 *
 * Invariants
 * 1. At most one operation that takes from a socket (connect, accept, receive) and one that gives
 *    (send) is in flight per handle: more would have no order.
 * 2. A file is closed when none of its operations is in flight: in the real world a late one could
 *    meet the next file with that number.
 * 3. A request in flight when its process ends happens, or not, or in part: nobody can tell. */
#include "sim/world_private.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>

typedef struct request request;

typedef enum slot_kind { SLOT_FREE, SLOT_FILE, SLOT_LISTENER, SLOT_SOCKET } slot_kind;

/* What a handle stands for. */
typedef struct slot {
    slot_kind kind;
    uint32_t flags; /* LW_OPEN_* */
    lw_process *process;
    lw_disk_file *file;
    lw_endpoint *endpoint; /* NULL: a socket that was cut off by its own process */
    request *taking;       /* connect, accept or receive in flight */
    request *giving;       /* send in flight */
    uint32_t file_ops;     /* in flight */
    bool closing;          /* a close is in flight */
    int32_t number;
} slot;

struct request {
    lw_agenda_event event, deadline;
    lw_process *process;
    lw_op *op;
    request *previous, *next; /* in flight, in the order of submission; or deferred */
    slot *at;                 /* the handle it works on; CONNECT: the one it makes */
    uint64_t contents;        /* checksum of what a write or a send was given */
    size_t sent;              /* bytes that the network took */
    bool parked;              /* waits for the network */
    bool counted;             /* as a step */
    bool cancelled, expired;
};

struct lw_process {
    lw_env env; /* first: an lw_env of this world is one */
    lw_host *host;
    lw_process *next;
    lw_chance entropy;
    slot **slots;
    size_t slot_count;
    request *first, *last;
    request *deferred_first, *deferred_last;
    lw_agenda_event turn;
    bool turning;
};

enum {
    POISON = 0xdb,           /* what is in a buffer before its bytes are */
    DISK_TAIL_PER_MILLE = 1, /* of disk operations that take up to 20 ms */
};

static const char *const op_names[] = {
    [LW_OP_OPEN] = "open",       [LW_OP_CLOSE] = "close",
    [LW_OP_READ] = "read",       [LW_OP_WRITE] = "write",
    [LW_OP_SYNC] = "sync",       [LW_OP_RESIZE] = "resize",
    [LW_OP_SIZE] = "size",       [LW_OP_LOCK] = "lock",
    [LW_OP_RENAME] = "rename",   [LW_OP_LINK] = "link",
    [LW_OP_UNLINK] = "unlink",   [LW_OP_MKDIR] = "mkdir",
    [LW_OP_LIST] = "list",       [LW_OP_SYNC_DIRECTORY] = "sync_directory",
    [LW_OP_LISTEN] = "listen",   [LW_OP_ACCEPT] = "accept",
    [LW_OP_CONNECT] = "connect", [LW_OP_RECEIVE] = "receive",
    [LW_OP_SEND] = "send",       [LW_OP_TIMER] = "timer",
    [LW_OP_DEFER] = "defer",     [LW_OP_OFFLOAD] = "offload",
};

static const lw_env_world world_table;

static lw_process *process_of(lw_env *env) {
    LW_ASSERT(env->world == &world_table);
    return (lw_process *)(void *)env;
}
static lw_world *world_of(const lw_process *process) {
    return process->host->world;
}

/* ---- handles -------------------------------------------------------------------------------- */

/* The lowest free number, as POSIX gives them: who uses a handle after closing it meets another. */
static slot *slot_add(lw_process *process, slot_kind kind) {
    lw_memory *memory = world_of(process)->memory;
    size_t number = 0;
    while (number < process->slot_count && process->slots[number]->kind != SLOT_FREE) {
        number++;
    }
    if (number == process->slot_count) {
        process->slots = lw_reallocate(memory, process->slots, (number + 1) * sizeof(slot *));
        process->slots[number] = lw_allocate(memory, sizeof(slot));
        process->slot_count++;
    }
    slot *added = process->slots[number];
    *added = (slot){.kind = kind, .process = process, .number = (int32_t)number};
    return added;
}

static slot *slot_at(const lw_process *process, lw_handle handle) {
    LW_ASSERT(handle.number >= 0 && (size_t)handle.number < process->slot_count);
    slot *found = process->slots[handle.number];
    LW_ASSERT(found->kind != SLOT_FREE);
    return found;
}

static void request_soon(request *due);

/* Lets a request that is parked try again. */
static void unpark(request *waiting) {
    if (waiting != NULL && waiting->parked) {
        waiting->parked = false;
        request_soon(waiting);
    }
}

static void slot_wake(void *owner) {
    slot *woken = owner;
    unpark(woken->taking);
    unpark(woken->giving);
}

/* Lets go of what a handle holds. */
static void slot_release(slot *released) {
    if (released->endpoint != NULL) {
        lw_endpoint_close(released->endpoint);
        released->endpoint = NULL;
    }
    if (released->file != NULL) {
        lw_disk_close_file(released->process->host->disk, released->file, released);
        released->file = NULL;
    }
}

static int slot_close(slot *closed) {
    LW_ASSERT(closed->file_ops == 0);
    slot_release(closed);
    request *waiting[2] = {closed->taking, closed->giving};
    for (size_t index = 0; index < 2; index++) {
        if (waiting[index] != NULL) {
            waiting[index]->at = NULL;
            unpark(waiting[index]);
        }
    }
    closed->kind = SLOT_FREE;
    return 0;
}

/* ---- trying: sockets ------------------------------------------------------------------------- */

static int try_listen(lw_process *process, lw_op *op) {
    lw_host *host = process->host;
    char name[LW_HOST_SIZE];
    uint16_t port;
    if (lw_address_split(op->path, name, &port) != LW_OK) {
        return EINVAL;
    }
    bool any = strcmp(name, "0.0.0.0") == 0 || strcmp(name, "::") == 0;
    lw_network *network = host->world->network;
    if (!any && lw_network_find_host(network, host->number, name) != (int32_t)host->number) {
        return EADDRNOTAVAIL;
    }
    slot *added = slot_add(process, SLOT_LISTENER);
    int error = lw_network_listen(network, host->number, &port, slot_wake, added, &added->endpoint);
    if (error != 0) {
        added->kind = SLOT_FREE;
        return error;
    }
    op->handle = (lw_handle){.number = added->number};
    op->count = port;
    return 0;
}

static int try_accept(request *trying) {
    if (trying->at == NULL) {
        return ECONNABORTED;
    }
    slot *added = slot_add(trying->process, SLOT_SOCKET);
    int error = lw_endpoint_accept(trying->at->endpoint, slot_wake, added, &added->endpoint);
    if (error != 0) {
        added->kind = SLOT_FREE;
        return error;
    }
    trying->op->accepted = (lw_handle){.number = added->number};
    return 0;
}

/* Starts to connect, when it was not yet. */
static int begin_connect(request *trying) {
    lw_process *process = trying->process;
    lw_host *host = process->host;
    char name[LW_HOST_SIZE];
    uint16_t port;
    if (lw_address_split(trying->op->path, name, &port) != LW_OK) {
        return EINVAL;
    }
    int32_t to = lw_network_find_host(host->world->network, host->number, name);
    if (to < 0) {
        return EAI_NONAME;
    }
    slot *added = slot_add(process, SLOT_SOCKET);
    added->endpoint = lw_network_connect(host->world->network, host->number, (uint32_t)to, port,
                                         slot_wake, added);
    added->taking = trying;
    trying->at = added;
    return 0;
}

static int try_connect(request *trying) {
    int error = trying->at == NULL ? begin_connect(trying) : 0;
    if (error == 0) {
        error = lw_endpoint_connected(trying->at->endpoint);
    }
    if (error == EAGAIN && (trying->cancelled || trying->expired)) {
        error = ECANCELED;
    }
    if (error == 0) {
        trying->op->handle = (lw_handle){.number = trying->at->number};
    } else if (error != EAGAIN && trying->at != NULL) {
        slot *unused = trying->at;
        trying->at = NULL;
        unused->taking = NULL;
        slot_close(unused);
    }
    return error;
}

static int try_receive(request *trying) {
    if (trying->at == NULL || trying->at->endpoint == NULL) {
        return ECONNABORTED;
    }
    lw_op *op = trying->op;
    return lw_endpoint_receive(trying->at->endpoint, op->buffer, op->size, &op->count);
}

static int try_send(request *trying) {
    if (trying->at == NULL || trying->at->endpoint == NULL) {
        return EPIPE;
    }
    lw_op *op = trying->op;
    const uint8_t *bytes = op->buffer;
    while (trying->sent < op->size) {
        size_t taken = 0;
        int error = lw_endpoint_send(
            trying->at->endpoint, lw_view(bytes + trying->sent, op->size - trying->sent), &taken);
        trying->sent += taken;
        if (error == EAGAIN && (trying->cancelled || trying->expired)) {
            /* Part of it may have arrived: the stream makes no sense any more. */
            slot_release(trying->at);
            return ECANCELED;
        }
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

/* ---- trying: everything ---------------------------------------------------------------------- */

static lw_bytes bytes_of(const lw_op *op) {
    return lw_view(op->buffer, op->size);
}

static int try_open(lw_process *process, lw_op *op) {
    lw_disk_file *file;
    int error = lw_disk_open_file(process->host->disk, op->path, op->flags, &file);
    if (error == 0) {
        slot *added = slot_add(process, SLOT_FILE);
        added->file = file;
        added->flags = op->flags;
        op->handle = (lw_handle){.number = added->number};
    }
    return error;
}

static int try_timer(const request *trying) {
    lw_host *host = trying->process->host;
    if (trying->cancelled) {
        return ECANCELED;
    }
    return lw_host_clock_now(host) >= trying->op->deadline_ns ? 0 : EAGAIN;
}

static int try_path(lw_disk *disk, const lw_op *op) {
    switch ((int)op->kind) {
    case LW_OP_RENAME:
        return lw_disk_rename(disk, op->path, op->path_to);
    case LW_OP_LINK:
        return lw_disk_link(disk, op->path, op->path_to);
    case LW_OP_UNLINK:
        return lw_disk_unlink(disk, op->path);
    case LW_OP_MKDIR:
        return lw_disk_mkdir(disk, op->path);
    case LW_OP_LIST:
        return lw_disk_list(disk, op->path, op->names);
    default:
        return lw_disk_sync_directory(disk, op->path);
    }
}

static int try_file(const request *trying) {
    lw_disk *disk = trying->process->host->disk;
    lw_disk_file *file = trying->at->file;
    lw_op *op = trying->op;
    switch ((int)op->kind) {
    case LW_OP_READ:
        return lw_disk_read(disk, file, op->offset, op->buffer, op->size, &op->count);
    case LW_OP_WRITE:
        return lw_disk_write(disk, file, op->offset, bytes_of(op),
                             (op->flags & LW_WRITE_DURABLE) != 0);
    case LW_OP_SYNC:
        return lw_disk_sync(disk, file);
    case LW_OP_RESIZE:
        return lw_disk_resize(disk, file, op->size);
    case LW_OP_LOCK:
        return lw_disk_lock(file, trying->at);
    default:
        op->count = lw_disk_size(file);
        return 0;
    }
}

/* Carries the operation out. 0, an errno, or EAGAIN: it waits. */
static int try(request *trying) {
    lw_op *op = trying->op;
    switch (op->kind) {
    case LW_OP_OPEN:
        return try_open(trying->process, op);
    case LW_OP_CLOSE:
        return slot_close(trying->at);
    case LW_OP_READ:
    case LW_OP_WRITE:
    case LW_OP_SYNC:
    case LW_OP_RESIZE:
    case LW_OP_SIZE:
    case LW_OP_LOCK:
        return try_file(trying);
    case LW_OP_RENAME:
    case LW_OP_LINK:
    case LW_OP_UNLINK:
    case LW_OP_MKDIR:
    case LW_OP_LIST:
    case LW_OP_SYNC_DIRECTORY:
        return try_path(trying->process->host->disk, op);
    case LW_OP_LISTEN:
        return try_listen(trying->process, op);
    case LW_OP_ACCEPT:
        return try_accept(trying);
    case LW_OP_CONNECT:
        return try_connect(trying);
    case LW_OP_RECEIVE:
        return try_receive(trying);
    case LW_OP_SEND:
        return try_send(trying);
    case LW_OP_TIMER:
        return try_timer(trying);
    case LW_OP_DEFER:
        return 0;
    case LW_OP_OFFLOAD:
        op->work(op->argument);
        return 0;
    }
    LW_ASSERT(false);
    return EINVAL;
}

/* ---- how long things take ------------------------------------------------------------------- */

static bool uses_disk(lw_op_kind kind) {
    return kind <= LW_OP_SYNC_DIRECTORY && kind != LW_OP_CLOSE && kind != LW_OP_SIZE;
}

static uint64_t draw_disk_time(lw_host *host, const lw_op *op) {
    lw_chance *chance = &host->timing;
    uint64_t time = 0;
    switch ((int)op->kind) {
    case LW_OP_SYNC:
    case LW_OP_SYNC_DIRECTORY:
        time = lw_chance_between(chance, 100000, 400000);
        break;
    case LW_OP_WRITE:
        time = (op->flags & LW_WRITE_DURABLE) != 0 ? lw_chance_between(chance, 60000, 200000)
                                                   : lw_chance_between(chance, 2000, 20000);
        break;
    case LW_OP_READ:
        time = lw_chance_between(chance, 3000, 100000);
        break;
    default:
        time = lw_chance_between(chance, 3000, 40000);
    }
    if (lw_chance_below(chance, 1000) < DISK_TAIL_PER_MILLE) {
        time += lw_chance_below(chance, 20000000);
    }
    if (lw_dice_hit(&host->dice, LW_FAULT_SLOW_DISK)) {
        time += lw_chance_between(chance, 5000000, 200000000);
    }
    return time * host->disk_factor;
}

static uint64_t draw_time(lw_host *host, const lw_op *op) {
    if (op->kind == LW_OP_TIMER) {
        uint64_t due = lw_host_clock_virtual(host, op->deadline_ns);
        uint64_t now = host->world->agenda.now_ns;
        return (due > now ? due - now : 0) + lw_chance_below(&host->timing, 50000);
    }
    if (op->kind == LW_OP_OFFLOAD) {
        return lw_chance_between(&host->timing, 20000, 2000000);
    }
    return uses_disk(op->kind) ? draw_disk_time(host, op)
                               : lw_chance_between(&host->timing, 500, 10000);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void request_soon(request *due) {
    lw_world *world = world_of(due->process);
    if (!lw_agenda_has(&due->event)) {
        lw_agenda_add(&world->agenda, &due->event,
                      world->agenda.now_ns +
                          lw_chance_between(&due->process->host->timing, 200, 10000));
    }
}

static void request_free(request *over) {
    lw_process *process = over->process;
    lw_world *world = world_of(process);
    lw_agenda_remove(&world->agenda, &over->event);
    lw_agenda_remove(&world->agenda, &over->deadline);
    *(over->previous == NULL ? &process->first : &over->previous->next) = over->next;
    *(over->next == NULL ? &process->last : &over->next->previous) = over->previous;
    if (over->at != NULL) {
        over->at->taking = over->at->taking == over ? NULL : over->at->taking;
        over->at->giving = over->at->giving == over ? NULL : over->at->giving;
        bool counted = over->at->kind == SLOT_FILE && over->op->kind != LW_OP_CLOSE;
        over->at->file_ops -= counted;
    }
    lw_free(world->memory, over);
}

static lw_status status_of(const lw_op *op, int error) {
    if (op->kind == LW_OP_LOCK && error == EBUSY) {
        return LW_REFUSED;
    }
    if (op->kind == LW_OP_CONNECT && error == EAI_NONAME) {
        return LW_UNAVAILABLE;
    }
    bool address = op->kind == LW_OP_CONNECT || op->kind == LW_OP_LISTEN;
    return address && error == EINVAL ? LW_INVALID_ARGUMENT : lw_env_status_of(error);
}

/* Only what the operation uses, since the rest of it may never have been set. */
static lw_note note_of(const request *over) {
    const lw_op *op = over->op;
    lw_note note = {.what = op_names[op->kind], .handle = -1, .status = op->status};
    bool moves = op->kind == LW_OP_READ || op->kind == LW_OP_WRITE;
    bool streams = op->kind == LW_OP_SEND || op->kind == LW_OP_RECEIVE;
    bool made = op->kind == LW_OP_OPEN || op->kind == LW_OP_LISTEN || op->kind == LW_OP_CONNECT;
    bool named = op->kind >= LW_OP_RENAME && op->kind <= LW_OP_SYNC_DIRECTORY;
    if (made ? op->status == LW_OK : !named && op->kind < LW_OP_TIMER) {
        note.handle = op->handle.number;
    }
    note.offset = moves ? op->offset : 0;
    note.size = moves || streams || op->kind == LW_OP_RESIZE ? op->size : 0;
    note.contents = over->contents;
    if (op->status == LW_OK && (op->kind == LW_OP_READ || op->kind == LW_OP_RECEIVE)) {
        note.size = op->count;
        note.contents = lw_hash(0, lw_view(op->buffer, (size_t)op->count));
    }
    return note;
}

static void note_completion(const request *over) {
    const lw_host *host = over->process->host;
    const lw_op *op = over->op;
    bool pathed = op->kind == LW_OP_OPEN ||
                  (op->kind >= LW_OP_RENAME && op->kind <= LW_OP_LISTEN) ||
                  op->kind == LW_OP_CONNECT;
    lw_note note = note_of(over);
    note.time_ns = host->world->agenda.now_ns;
    lw_trace_note(&host->world->trace, note, host->name, pathed ? op->path : NULL);
}

/* Ends a request and its operation. Neither is to be touched afterwards. */
static void request_complete(request *over, int error) {
    lw_op *op = over->op;
    if (over->contents != 0) {
        /* Whoever changed the buffer in flight cannot know what was written. */
        LW_ASSERT(over->contents == lw_hash(1, bytes_of(op)));
    }
    op->system_error = error;
    op->status = status_of(op, error);
    note_completion(over);
    op->world[0] = NULL;
    request_free(over);
    if (op->complete != NULL) {
        op->complete(op);
    }
}

static void take_turn(lw_process *process);

/* Whether an operation changes something outside its process: a step for lw_host_crash_after. */
static bool is_step(const lw_op *op) {
    switch (op->kind) {
    case LW_OP_OPEN:
        return (op->flags & LW_OPEN_CREATE) != 0;
    case LW_OP_WRITE:
    case LW_OP_SYNC:
    case LW_OP_RESIZE:
    case LW_OP_RENAME:
    case LW_OP_LINK:
    case LW_OP_UNLINK:
    case LW_OP_MKDIR:
    case LW_OP_SYNC_DIRECTORY:
    case LW_OP_SEND:
        return true;
    case LW_OP_CLOSE:
    case LW_OP_READ:
    case LW_OP_SIZE:
    case LW_OP_LOCK:
    case LW_OP_LIST:
    case LW_OP_LISTEN:
    case LW_OP_ACCEPT:
    case LW_OP_CONNECT:
    case LW_OP_RECEIVE:
    case LW_OP_TIMER:
    case LW_OP_DEFER:
    case LW_OP_OFFLOAD:
        return false;
    }
    return false;
}

/* What becomes of an operation that is in flight when its process ends. */
static void request_interrupt(request *cut) {
    lw_op *op = cut->op;
    lw_host *host = cut->process->host;
    if (!is_step(op)) {
        return;
    }
    if (op->kind == LW_OP_WRITE) {
        lw_disk_tear_write(host->disk, cut->at->file, op->offset, bytes_of(op),
                           (op->flags & LW_WRITE_DURABLE) != 0);
    } else if (op->kind == LW_OP_SYNC) {
        lw_disk_tear_sync(host->disk, cut->at->file);
    } else if (op->kind == LW_OP_SEND) {
        if (cut->sent < op->size && cut->at != NULL && cut->at->endpoint != NULL) {
            size_t part = (size_t)lw_chance_between(&host->timing, 0, op->size - cut->sent);
            size_t taken;
            int error = lw_endpoint_send(cut->at->endpoint,
                                         lw_view((uint8_t *)op->buffer + cut->sent, part), &taken);
            (void)error;
        }
    } else if (lw_chance_percent(&host->timing, 50)) {
        int error = try(cut);
        (void)error;
    }
}

/* Counts a step; true if power fails at it, and everything about the process is gone. */
static bool step_crashes(request *stepping) {
    lw_host *host = stepping->process->host;
    if (!is_step(stepping->op) || stepping->counted) {
        return false;
    }
    stepping->counted = true;
    host->steps++;
    if (host->steps != host->crash_step) {
        return false;
    }
    if (host->crash == LW_CRASH_WITHIN) {
        request_interrupt(stepping);
    } else if (host->crash == LW_CRASH_AFTER) {
        int error = try(stepping);
        (void)error;
    }
    lw_host_note(host,
                 host->crash == LW_CRASH_BEFORE   ? "crash before"
                 : host->crash == LW_CRASH_WITHIN ? "crash within"
                                                  : "crash after",
                 op_names[stepping->op->kind]);
    request_free(stepping);
    lw_host_crash(host);
    return true;
}

static void request_run(lw_agenda_event *event) {
    request *due = event->owner;
    lw_process *process = due->process;
    lw_world *world = world_of(process);
    if (process->host->paused_until_ns > world->agenda.now_ns) {
        lw_agenda_add(&world->agenda, event, process->host->paused_until_ns);
        return;
    }
    if (step_crashes(due)) {
        return;
    }
    int error = try(due);
    if (error == EAGAIN && due->op->kind == LW_OP_TIMER) {
        lw_agenda_add(&world->agenda, event,
                      world->agenda.now_ns + draw_time(process->host, due->op));
        return;
    }
    if (error == EAGAIN && !due->cancelled && !due->expired) {
        due->parked = true;
        return;
    }
    request_complete(due, error == EAGAIN ? ECANCELED : error);
    take_turn(process);
}

static void deadline_run(lw_agenda_event *event) {
    request *due = event->owner;
    lw_host *host = due->process->host;
    if (lw_host_clock_now(host) < due->op->deadline_ns) {
        lw_agenda_add(&host->world->agenda, event,
                      lw_host_clock_virtual(host, due->op->deadline_ns));
        return;
    }
    due->expired = true;
    unpark(due);
}

/* ---- the turn of a process ------------------------------------------------------------------- */

static void defer(lw_process *process, request *deferred) {
    if (process->deferred_first == NULL) {
        process->deferred_first = deferred;
    } else {
        process->deferred_last->next = deferred;
    }
    process->deferred_last = deferred;
}

/* Completes what was deferred by now. */
static void run_deferred(lw_process *process) {
    request *first = process->deferred_first;
    process->deferred_first = NULL;
    process->deferred_last = NULL;
    while (first != NULL) {
        request *due = first;
        first = due->next;
        lw_op *op = due->op;
        lw_free(world_of(process)->memory, due);
        op->world[0] = NULL;
        if (op->complete != NULL) {
            op->complete(op);
        }
    }
}

static void take_turn(lw_process *process) {
    lw_world *world = world_of(process);
    LW_ASSERT(!process->turning);
    process->turning = true;
    lw_fibers_run(process->env.fibers);
    run_deferred(process);
    lw_fibers_run(process->env.fibers);
    process->turning = false;
    /* What was deferred meanwhile waits for the next turn, so that time goes on. */
    if (process->deferred_first != NULL && !lw_agenda_has(&process->turn)) {
        lw_agenda_add(&world->agenda, &process->turn, world->agenda.now_ns + 1000);
    }
}

static void turn_run(lw_agenda_event *event) {
    lw_process *process = event->owner;
    lw_world *world = world_of(process);
    if (process->host->paused_until_ns > world->agenda.now_ns) {
        lw_agenda_add(&world->agenda, event, process->host->paused_until_ns);
        return;
    }
    take_turn(process);
}

bool lw_process_turn(lw_process *process) {
    if (process->host->paused_until_ns > world_of(process)->agenda.now_ns ||
        !lw_fibers_ready(process->env.fibers)) {
        return false;
    }
    take_turn(process);
    return true;
}

void lw_process_resume_at(lw_process *process, uint64_t time_ns) {
    lw_world *world = world_of(process);
    lw_agenda_remove(&world->agenda, &process->turn);
    lw_agenda_add(&world->agenda, &process->turn, time_ns);
}

/* ---- submitting ------------------------------------------------------------------------------ */

static void check_file_op(const slot *at, const lw_op *op) {
    LW_ASSERT(at->kind == SLOT_FILE && !at->closing);
    bool changes = op->kind == LW_OP_WRITE || op->kind == LW_OP_RESIZE;
    LW_ASSERT(!changes || (at->flags & LW_OPEN_READ_ONLY) == 0);
    bool moves = op->kind == LW_OP_WRITE || op->kind == LW_OP_READ;
    if (moves && (at->flags & LW_OPEN_DIRECT) != 0) {
        LW_ASSERT((uintptr_t)op->buffer % LW_DIRECT_ALIGNMENT == 0);
        LW_ASSERT(op->size % LW_DIRECT_ALIGNMENT == 0);
        LW_ASSERT(op->offset % LW_DIRECT_ALIGNMENT == 0);
    }
}

/* Puts a request on the handle it works on. */
static void attach(lw_process *process, request *added) {
    lw_op *op = added->op;
    switch (op->kind) {
    case LW_OP_CLOSE:
        added->at = slot_at(process, op->handle);
        LW_ASSERT(!added->at->closing);
        added->at->closing = true;
        break;
    case LW_OP_READ:
    case LW_OP_WRITE:
    case LW_OP_SYNC:
    case LW_OP_RESIZE:
    case LW_OP_SIZE:
    case LW_OP_LOCK:
        added->at = slot_at(process, op->handle);
        check_file_op(added->at, op);
        added->at->file_ops++;
        break;
    case LW_OP_ACCEPT:
    case LW_OP_RECEIVE:
        added->at = slot_at(process, op->handle);
        LW_ASSERT(added->at->kind == (op->kind == LW_OP_ACCEPT ? SLOT_LISTENER : SLOT_SOCKET));
        LW_ASSERT(added->at->taking == NULL);
        added->at->taking = added;
        break;
    case LW_OP_SEND:
        added->at = slot_at(process, op->handle);
        LW_ASSERT(added->at->kind == SLOT_SOCKET);
        LW_ASSERT(added->at->giving == NULL);
        added->at->giving = added;
        break;
    case LW_OP_OPEN:
    case LW_OP_RENAME:
    case LW_OP_LINK:
    case LW_OP_UNLINK:
    case LW_OP_MKDIR:
    case LW_OP_LIST:
    case LW_OP_SYNC_DIRECTORY:
    case LW_OP_LISTEN:
    case LW_OP_CONNECT:
        LW_ASSERT(op->path != NULL);
        break;
    case LW_OP_TIMER:
    case LW_OP_DEFER:
    case LW_OP_OFFLOAD:
        break;
    }
}

/* Watches or poisons the buffer of an operation. */
static void guard_buffer(request *added) {
    lw_op *op = added->op;
    if (op->kind == LW_OP_WRITE || op->kind == LW_OP_SEND) {
        added->contents = lw_hash(1, bytes_of(op));
    } else if ((op->kind == LW_OP_READ || op->kind == LW_OP_RECEIVE) && op->size > 0) {
        memset(op->buffer, POISON, op->size);
    }
}

static void enqueue(lw_process *process, request *added) {
    added->previous = process->last;
    *(process->last == NULL ? &process->first : &process->last->next) = added;
    process->last = added;
    lw_world *world = world_of(process);
    lw_agenda_add(&world->agenda, &added->event,
                  world->agenda.now_ns + draw_time(process->host, added->op));
    bool waits = added->op->kind >= LW_OP_ACCEPT && added->op->kind <= LW_OP_SEND;
    if (waits && added->op->deadline_ns != 0) {
        lw_agenda_add(&world->agenda, &added->deadline,
                      lw_host_clock_virtual(process->host, added->op->deadline_ns));
    }
}

static void world_submit(lw_env *env, lw_op *op) {
    lw_process *process = process_of(env);
    LW_ASSERT(op->kind <= LW_OP_OFFLOAD);
    op->status = LW_OK;
    op->system_error = 0;
    op->count = 0;
    request *added = lw_allocate(world_of(process)->memory, sizeof(*added));
    *added = (request){.event = {.run = request_run, .owner = added},
                       .deadline = {.run = deadline_run, .owner = added},
                       .process = process,
                       .op = op};
    op->world[0] = added;
    if (op->kind == LW_OP_DEFER) {
        defer(process, added);
        if (!process->turning && !lw_agenda_has(&process->turn)) {
            lw_agenda_add(&world_of(process)->agenda, &process->turn,
                          world_of(process)->agenda.now_ns);
        }
        return;
    }
    attach(process, added);
    guard_buffer(added);
    enqueue(process, added);
}

static void world_cancel(lw_env *env, lw_op *op) {
    lw_process *process = process_of(env);
    request *cancelled = op->world[0];
    LW_ASSERT(cancelled != NULL && cancelled->op == op && cancelled->process == process);
    cancelled->cancelled = true;
    if (op->kind == LW_OP_TIMER) {
        lw_agenda_remove(&world_of(process)->agenda, &cancelled->event);
        request_soon(cancelled);
    } else {
        unpark(cancelled);
    }
}

/* ---- the rest of the door -------------------------------------------------------------------- */

static void world_turn(lw_env *env, bool wait) {
    bool happened = lw_world_step(world_of(process_of(env)));
    /* What is waited for would never happen. */
    LW_ASSERT(happened || !wait);
}

static uint64_t world_now_ns(lw_env *env) {
    return lw_host_clock_now(process_of(env)->host);
}

static uint64_t world_wall_ms(lw_env *env) {
    return lw_host_clock_wall_ms(process_of(env)->host);
}

static void world_entropy(lw_env *env, void *buffer, size_t size) {
    lw_chance_fill(&process_of(env)->entropy, buffer, size);
}

static void world_logline(lw_env *env, lw_level level, const char *line) {
    (void)level;
    lw_host_note(process_of(env)->host, "log", line);
}

static void world_mark(lw_env *env, const char *name) {
    lw_trace_mark(&world_of(process_of(env))->trace, name, 1);
}

static bool world_rare(lw_env *env, const char *name) {
    lw_world *world = world_of(process_of(env));
    return world->faults.rare_paths && lw_trace_rare(&world->trace, name);
}

static bool world_bug(lw_env *env, const char *name) {
    return lw_trace_bug(&world_of(process_of(env))->trace, name);
}

static void world_close(lw_env *env) {
    lw_process_end(process_of(env));
}

static const lw_env_world world_table = {
    .submit = world_submit,
    .cancel = world_cancel,
    .turn = world_turn,
    .now_ns = world_now_ns,
    .wall_ms = world_wall_ms,
    .entropy = world_entropy,
    .logline = world_logline,
    .mark = world_mark,
    .rare = world_rare,
    .bug = world_bug,
    .close = world_close,
};

/* ---- the life of a process ------------------------------------------------------------------- */

lw_env *lw_process_open(lw_host *host) {
    lw_process *process = lw_allocate_zero(host->world->memory, sizeof(*process));
    process->host = host;
    process->entropy = lw_chance_of(host->seed, 16 + (uint64_t)host->boot_count);
    process->turn = (lw_agenda_event){.run = turn_run, .owner = process};
    process->env.world = &world_table;
    process->env.memory = lw_memory_open();
    process->env.fibers = lw_fibers_open(process->env.memory);
    lw_env_seed(&process->env);
    lw_process **place = &host->processes;
    while (*place != NULL) {
        place = &(*place)->next;
    }
    *place = process;
    return &process->env;
}

lw_process *lw_process_next(const lw_process *process) {
    return process->next;
}

/* In flight and deferred requests, each decided on its own. */
static void end_requests(lw_process *process) {
    for (request *each = process->first; each != NULL; each = each->next) {
        request_interrupt(each);
    }
    while (process->first != NULL) {
        request_free(process->first);
    }
    while (process->deferred_first != NULL) {
        request *dropped = process->deferred_first;
        process->deferred_first = dropped->next;
        lw_free(world_of(process)->memory, dropped);
    }
}

void lw_process_end(lw_process *process) {
    lw_host *host = process->host;
    lw_memory *memory = host->world->memory;
    LW_ASSERT(lw_fiber_current() == NULL);
    LW_ASSERT(!process->turning);
    end_requests(process);
    for (size_t number = 0; number < process->slot_count; number++) {
        if (host->power) {
            slot_release(process->slots[number]);
        }
        lw_free(memory, process->slots[number]);
    }
    lw_free(memory, process->slots);
    lw_agenda_remove(&host->world->agenda, &process->turn);
    lw_process **place = &host->processes;
    while (*place != process) {
        place = &(*place)->next;
    }
    *place = process->next;
    lw_fibers_close(process->env.fibers);
    lw_memory_close(process->env.memory);
    lw_free(memory, process);
}
