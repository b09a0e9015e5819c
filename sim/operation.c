/* SPDX-License-Identifier: Apache-2.0 */
/* What each operation does to the disk, the network and the handles of its process, and how long it
 * takes to get there. Every attempt answers at once; EAGAIN says that it has to wait. */
#include <errno.h>
#include <netdb.h>

#include "sim/process.h"

enum { DISK_TAIL_PER_MILLE = 1 }; /* of disk operations that take up to 20 ms */

/* ---- handles -------------------------------------------------------------------------------- */

/* The lowest free number, as POSIX gives them: who uses a handle after closing it meets another. */
static lw_slot *slot_add(lw_process *process, lw_slot_kind kind) {
    lw_memory *memory = process->host->world->memory;
    size_t number = 0;
    while (number < process->slot_count && process->slots[number]->kind != SLOT_FREE) {
        number++;
    }
    if (number == process->slot_count) {
        process->slots = lw_reallocate(memory, process->slots, (number + 1) * sizeof(lw_slot *));
        process->slots[number] = lw_allocate(memory, sizeof(lw_slot));
        process->slot_count++;
    }
    lw_slot *added = process->slots[number];
    *added = (lw_slot){.kind = kind, .process = process, .number = (int32_t)number};
    return added;
}

lw_slot *lw_slot_at(const lw_process *process, lw_handle handle) {
    LW_ASSERT(handle.number >= 0 && (size_t)handle.number < process->slot_count);
    lw_slot *found = process->slots[handle.number];
    LW_ASSERT(found->kind != SLOT_FREE);
    return found;
}

static void slot_wake(void *owner) {
    lw_slot *woken = owner;
    lw_request_unpark(woken->taking);
    lw_request_unpark(woken->giving);
}

/* Lets go of what a handle holds. */
void lw_slot_release(lw_slot *released) {
    if (released->endpoint != NULL) {
        lw_endpoint_close(released->endpoint);
        released->endpoint = NULL;
    }
    if (released->file != NULL) {
        lw_disk_close_file(released->process->host->disk, released->file, released);
        released->file = NULL;
    }
}

static int slot_close(lw_slot *closed) {
    LW_ASSERT(closed->file_ops == 0);
    lw_slot_release(closed);
    lw_request *waiting[2] = {closed->taking, closed->giving};
    for (size_t index = 0; index < 2; index++) {
        if (waiting[index] != NULL) {
            waiting[index]->at = NULL;
            lw_request_unpark(waiting[index]);
        }
    }
    closed->kind = SLOT_FREE;
    return 0;
}

/* ---- trying: sockets ------------------------------------------------------------------------ */

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
    lw_slot *added = slot_add(process, SLOT_LISTENER);
    int error = lw_network_listen(network, host->number, &port, slot_wake, added, &added->endpoint);
    if (error != 0) {
        added->kind = SLOT_FREE;
        return error;
    }
    op->handle = (lw_handle){.number = added->number};
    op->count = port;
    return 0;
}

static int try_accept(lw_request *trying) {
    if (trying->at == NULL) {
        return ECONNABORTED;
    }
    lw_slot *added = slot_add(trying->process, SLOT_SOCKET);
    int error = lw_endpoint_accept(trying->at->endpoint, slot_wake, added, &added->endpoint);
    if (error != 0) {
        added->kind = SLOT_FREE;
        return error;
    }
    trying->op->accepted = (lw_handle){.number = added->number};
    return 0;
}

/* Starts to connect, when it was not yet. */
static int begin_connect(lw_request *trying) {
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
    lw_slot *added = slot_add(process, SLOT_SOCKET);
    added->endpoint = lw_network_connect(host->world->network, host->number, (uint32_t)to, port,
                                         slot_wake, added);
    added->taking = trying;
    trying->at = added;
    return 0;
}

static int try_connect(lw_request *trying) {
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
        lw_slot *unused = trying->at;
        trying->at = NULL;
        unused->taking = NULL;
        slot_close(unused);
    }
    return error;
}

static int try_receive(lw_request *trying) {
    if (trying->at == NULL || trying->at->endpoint == NULL) {
        return ECONNABORTED;
    }
    lw_op *op = trying->op;
    return lw_endpoint_receive(trying->at->endpoint, op->buffer, op->size, &op->count);
}

static int try_send(lw_request *trying) {
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
            lw_slot_release(trying->at);
            return ECANCELED;
        }
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

/* ---- trying: everything --------------------------------------------------------------------- */

static int try_open(lw_process *process, lw_op *op) {
    lw_disk_file *file;
    int error = lw_disk_open_file(process->host->disk, op->path, op->flags, &file);
    if (error == 0) {
        lw_slot *added = slot_add(process, SLOT_FILE);
        added->file = file;
        added->flags = op->flags;
        op->handle = (lw_handle){.number = added->number};
        op->count = (op->flags & LW_OPEN_DIRECT) != 0 ? LW_SECTOR_SIZE : 1;
    }
    return error;
}

static int try_timer(const lw_request *trying) {
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

static int try_file(const lw_request *trying) {
    lw_disk *disk = trying->process->host->disk;
    lw_disk_file *file = trying->at->file;
    lw_op *op = trying->op;
    switch ((int)op->kind) {
    case LW_OP_READ:
        return lw_disk_read(disk, file, op->offset, op->buffer, op->size, &op->count);
    case LW_OP_WRITE:
        return lw_disk_write(disk, file, op->offset, lw_operation_bytes(op),
                             (op->flags & LW_WRITE_DURABLE) != 0);
    case LW_OP_SYNC:
        return lw_disk_sync(disk, file);
    case LW_OP_RESIZE:
        return lw_disk_resize(disk, file, op->size);
    case LW_OP_LOCK:
        return lw_disk_lock(file, trying->at);
    default:
        if ((op->flags & LW_SIZE_LEFT) != 0) {
            return lw_disk_left(disk, &op->count);
        }
        op->count = lw_disk_size(file);
        return 0;
    }
}

/* Carries the operation out. 0, an errno, or EAGAIN: it waits. */
int lw_request_try(lw_request *trying) {
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

lw_status lw_operation_status(const lw_op *op, int error) {
    if (op->kind == LW_OP_LOCK && error == EBUSY) {
        return LW_REFUSED;
    }
    if (op->kind == LW_OP_CONNECT && error == EAI_NONAME) {
        return LW_UNAVAILABLE;
    }
    bool address = op->kind == LW_OP_CONNECT || op->kind == LW_OP_LISTEN;
    return address && error == EINVAL ? LW_INVALID_ARGUMENT : lw_env_status_of(error);
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
        time += lw_chance_between(&host->dice.own, 5000000, 200000000);
    }
    return time * host->disk_factor;
}

uint64_t lw_operation_time(lw_host *host, const lw_op *op) {
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

/* ---- steps, and being cut short ---------------------------------------------------------------
 */

/* Whether an operation changes something outside its process: a step for lw_host_crash_after. */
bool lw_operation_is_step(const lw_op *op) {
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
void lw_request_interrupt(lw_request *cut) {
    lw_op *op = cut->op;
    lw_host *host = cut->process->host;
    if (!lw_operation_is_step(op)) {
        return;
    }
    if (op->kind == LW_OP_WRITE) {
        lw_disk_tear_write(host->disk, cut->at->file, op->offset, lw_operation_bytes(op),
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
        int error = lw_request_try(cut);
        (void)error;
    }
}
