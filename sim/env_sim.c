/* SPDX-License-Identifier: Apache-2.0 */
/* The env of a simulated process: operations become events.
 *
 * A submitted operation is a request with an event of its own. When the event runs, the operation
 * is tried: files at once, sockets as the network allows. What has to wait is parked on its handle
 * until the network wakes it, its deadline passes, or it is cancelled. A request ends with the
 * completion of its operation, after which the process has its turn. The invariants stand in
 * sim/process.h. */
#include <errno.h>

#include "sim/process.h"

enum {
    POISON = 0xdb,      /* what a buffer begins with before its bytes are in it */
    POISON_SIZE = 512,  /* so many: who believes one too early looks at its beginning */
    HASHED_SIZE = 2048, /* of what was read: all of it was hashed when it was written */
    GUARDED_SIZE = 512, /* at each end of what is written: whether it changes in flight */
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

/* ---- requests ------------------------------------------------------------------------------- */

static void request_soon(lw_request *due) {
    lw_world *world = world_of(due->process);
    if (!lw_agenda_has(&due->event)) {
        lw_agenda_add(&world->agenda, &due->event,
                      world->agenda.now_ns +
                          lw_chance_between(&due->process->host->timing, 200, 10000));
    }
}

void lw_request_unpark(lw_request *waiting) {
    if (waiting != NULL && waiting->parked) {
        waiting->parked = false;
        request_soon(waiting);
    }
}

static void request_free(lw_request *over) {
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

/* Only what the operation uses, since the rest of it may never have been set. */
static lw_trace_event event_of(const lw_request *over) {
    const lw_op *op = over->op;
    lw_trace_event event = {.what = op_names[op->kind], .handle = -1, .status = op->status};
    bool moves = op->kind == LW_OP_READ || op->kind == LW_OP_WRITE;
    bool streams = op->kind == LW_OP_SEND || op->kind == LW_OP_RECEIVE;
    bool made = op->kind == LW_OP_OPEN || op->kind == LW_OP_LISTEN || op->kind == LW_OP_CONNECT;
    bool named = op->kind >= LW_OP_RENAME && op->kind <= LW_OP_SYNC_DIRECTORY;
    if (made ? op->status == LW_OK : !named && op->kind < LW_OP_TIMER) {
        event.handle = op->handle.number;
    }
    event.offset = moves ? op->offset : 0;
    event.size = moves || streams || op->kind == LW_OP_RESIZE ? op->size : 0;
    event.contents = over->contents;
    if (op->status == LW_OK && (op->kind == LW_OP_READ || op->kind == LW_OP_RECEIVE)) {
        event.size = op->count;
        size_t hashed = op->count < HASHED_SIZE ? (size_t)op->count : HASHED_SIZE;
        event.contents = lw_hash(0, lw_view(op->buffer, hashed));
    }
    return event;
}

static void note_completion(const lw_request *over) {
    const lw_host *host = over->process->host;
    const lw_op *op = over->op;
    bool pathed = op->kind == LW_OP_OPEN ||
                  (op->kind >= LW_OP_RENAME && op->kind <= LW_OP_LISTEN) ||
                  op->kind == LW_OP_CONNECT;
    lw_trace_event event = event_of(over);
    event.time_ns = host->world->agenda.now_ns;
    lw_trace_note(&host->world->trace, &event, host->name, pathed ? op->path : NULL);
}

/* Of the bytes that a write or a send was given: of many, those at both ends. */
static uint64_t guard_of(const lw_op *op) {
    lw_bytes bytes = lw_operation_bytes(op);
    if (bytes.size <= 2 * (size_t)GUARDED_SIZE) {
        return lw_hash(1, bytes);
    }
    uint64_t first = lw_hash(1, lw_view(bytes.data, GUARDED_SIZE));
    return lw_hash(first, lw_view(bytes.data + bytes.size - GUARDED_SIZE, GUARDED_SIZE));
}

/* Ends a request and its operation. Neither is to be touched afterwards. */
static void request_complete(lw_request *over, int error) {
    lw_op *op = over->op;
    if (over->contents != 0) {
        /* Whoever changed the buffer in flight cannot know what was written. */
        LW_ASSERT(over->guard == guard_of(op));
    }
    op->system_error = error;
    op->status = lw_operation_status(op, error);
    note_completion(over);
    op->world[0] = NULL;
    request_free(over);
    if (op->complete != NULL) {
        op->complete(op);
    }
}

static void take_turn(lw_process *process);
/* Counts a step; true if power fails at it, and everything about the process is gone. */
static bool step_crashes(lw_request *stepping) {
    lw_host *host = stepping->process->host;
    if (!lw_operation_is_step(stepping->op) || stepping->counted) {
        return false;
    }
    stepping->counted = true;
    host->steps++;
    if (host->steps != host->crash_step) {
        return false;
    }
    if (host->crash == LW_CRASH_WITHIN) {
        lw_request_interrupt(stepping);
    } else if (host->crash == LW_CRASH_AFTER) {
        int error = lw_request_try(stepping);
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
    lw_request *due = event->owner;
    lw_process *process = due->process;
    lw_world *world = world_of(process);
    if (process->host->paused_until_ns > world->agenda.now_ns) {
        lw_agenda_add(&world->agenda, event, process->host->paused_until_ns);
        return;
    }
    if (step_crashes(due)) {
        return;
    }
    int error = lw_request_try(due);
    if (error == EAGAIN && due->op->kind == LW_OP_TIMER) {
        lw_agenda_add(&world->agenda, event,
                      world->agenda.now_ns + lw_operation_time(process->host, due->op));
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
    lw_request *due = event->owner;
    lw_host *host = due->process->host;
    if (lw_host_clock_now(host) < due->op->deadline_ns) {
        lw_agenda_add(&host->world->agenda, event,
                      lw_host_clock_virtual(host, due->op->deadline_ns));
        return;
    }
    due->expired = true;
    lw_request_unpark(due);
}

/* ---- the turn of a process ------------------------------------------------------------------ */

static void defer(lw_process *process, lw_request *deferred) {
    if (process->deferred_first == NULL) {
        process->deferred_first = deferred;
    } else {
        process->deferred_last->next = deferred;
    }
    process->deferred_last = deferred;
}

/* Completes what was deferred by now. */
static void run_deferred(lw_process *process) {
    lw_request *first = process->deferred_first;
    process->deferred_first = NULL;
    process->deferred_last = NULL;
    while (first != NULL) {
        lw_request *due = first;
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
    if (!lw_fibers_ready(process->env.fibers) ||
        process->host->paused_until_ns > world_of(process)->agenda.now_ns) {
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

/* ---- submitting ----------------------------------------------------------------------------- */

static void check_file_op(const lw_slot *at, const lw_op *op) {
    LW_ASSERT(at->kind == SLOT_FILE && !at->closing);
    bool changes = op->kind == LW_OP_WRITE || op->kind == LW_OP_RESIZE;
    LW_ASSERT(!changes || (at->flags & LW_OPEN_READ_ONLY) == 0);
    bool moves = op->kind == LW_OP_WRITE || op->kind == LW_OP_READ;
    if (moves && (at->flags & LW_OPEN_DIRECT) != 0) {
        size_t alignment = op->kind == LW_OP_READ ? LW_SECTOR_SIZE : LW_DIRECT_ALIGNMENT;
        LW_ASSERT((uintptr_t)op->buffer % alignment == 0);
        LW_ASSERT(op->size % alignment == 0);
        LW_ASSERT(op->offset % alignment == 0);
    }
}

/* Puts a request on the handle it works on. */
static void attach(lw_process *process, lw_request *added) {
    lw_op *op = added->op;
    switch (op->kind) {
    case LW_OP_CLOSE:
        added->at = lw_slot_at(process, op->handle);
        LW_ASSERT(!added->at->closing);
        added->at->closing = true;
        break;
    case LW_OP_READ:
    case LW_OP_WRITE:
    case LW_OP_SYNC:
    case LW_OP_RESIZE:
    case LW_OP_SIZE:
    case LW_OP_LOCK:
        added->at = lw_slot_at(process, op->handle);
        check_file_op(added->at, op);
        added->at->file_ops++;
        break;
    case LW_OP_ACCEPT:
    case LW_OP_RECEIVE:
        added->at = lw_slot_at(process, op->handle);
        LW_ASSERT(added->at->kind == (op->kind == LW_OP_ACCEPT ? SLOT_LISTENER : SLOT_SOCKET));
        LW_ASSERT(added->at->taking == NULL);
        added->at->taking = added;
        break;
    case LW_OP_SEND:
        added->at = lw_slot_at(process, op->handle);
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

/* What the trace says of all the bytes, given the guard of them: the sum of many is one that the
 * processor makes. */
static uint64_t contents_of(const lw_op *op, uint64_t guard) {
    return op->size <= 2 * (size_t)GUARDED_SIZE ? guard
                                                : guard + lw_crc32c(0, lw_operation_bytes(op));
}

/* Watches or poisons the buffer of an operation. */
static void guard_buffer(lw_request *added) {
    lw_op *op = added->op;
    if (op->kind == LW_OP_WRITE || op->kind == LW_OP_SEND) {
        added->guard = guard_of(op);
        added->contents = contents_of(op, added->guard);
    } else if ((op->kind == LW_OP_READ || op->kind == LW_OP_RECEIVE) && op->size > 0) {
        memset(op->buffer, POISON, op->size < POISON_SIZE ? op->size : POISON_SIZE);
    }
}

static void enqueue(lw_process *process, lw_request *added) {
    added->previous = process->last;
    *(process->last == NULL ? &process->first : &process->last->next) = added;
    process->last = added;
    lw_world *world = world_of(process);
    lw_agenda_add(&world->agenda, &added->event,
                  world->agenda.now_ns + lw_operation_time(process->host, added->op));
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
    lw_request *added = lw_allocate(world_of(process)->memory, sizeof(*added));
    *added = (lw_request){.event = {.run = request_run, .owner = added},
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
    if (op->kind == LW_OP_WRITE && (op->flags & LW_WRITE_DURABLE) != 0) {
        lw_host_pass(process->host, LW_PLACE_DURABLE_WRITE);
    }
    enqueue(process, added);
}

static void world_cancel(lw_env *env, lw_op *op) {
    lw_process *process = process_of(env);
    lw_request *cancelled = op->world[0];
    LW_ASSERT(cancelled != NULL && cancelled->op == op && cancelled->process == process);
    cancelled->cancelled = true;
    if (op->kind == LW_OP_TIMER) {
        lw_agenda_remove(&world_of(process)->agenda, &cancelled->event);
        request_soon(cancelled);
    } else {
        lw_request_unpark(cancelled);
    }
}

/* ---- the rest of the door ------------------------------------------------------------------- */

static void world_turn(lw_env *env, bool wait) {
    bool happened = lw_world_step(world_of(process_of(env)));
    /* What is waited for would never happen. */
    LW_ASSERT(happened || !wait);
}

static bool world_unheard(lw_env *env, lw_handle socket, uint64_t *silence_ns) {
    const lw_slot *at = lw_slot_at(process_of(env), socket);
    return at->endpoint != NULL && lw_endpoint_unheard(at->endpoint, silence_ns);
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

/* Places are passed by the thousand, and hardly ever is one awaited. */
static void pass(lw_process *process, const lw_place *place) {
    if (process->host->awaited.count > 0) {
        lw_host_pass(process->host, place->name);
    }
}

static void world_mark(lw_env *env, const lw_place *place) {
    lw_process *process = process_of(env);
    lw_world *world = world_of(process);
    const lw_mark *mark = lw_trace_mark(&world->trace, place);
    for (uint32_t index = 0; index < world->watched_count; index++) {
        const world_watched *each = &world->watched[index];
        if (each->mark == mark) {
            lw_world_at(world, world->agenda.now_ns, each->function, each->argument);
        }
    }
    pass(process, place);
}

static bool world_rare(lw_env *env, const lw_place *place) {
    lw_world *world = world_of(process_of(env));
    pass(process_of(env), place);
    return lw_trace_insisted(&world->trace, place) ||
           (world->faults.rare_paths && lw_trace_rare(&world->trace, place));
}

static bool world_bug(lw_env *env, const lw_place *place) {
    pass(process_of(env), place);
    return lw_trace_bug(&world_of(process_of(env))->trace, place);
}

static void world_message(lw_env *env, uint64_t from, uint64_t to, bool sent, lw_bytes bytes) {
    const lw_host *host = process_of(env)->host;
    lw_page_raft(host->world->page, host->name, from, to, sent, bytes);
}

static void world_close(lw_env *env) {
    lw_process_end(process_of(env));
}

static lw_known *world_known(lw_env *env) {
    return &world_of(process_of(env))->known;
}

static const lw_env_world world_table = {
    .submit = world_submit,
    .cancel = world_cancel,
    .turn = world_turn,
    .unheard = world_unheard,
    .now_ns = world_now_ns,
    .wall_ms = world_wall_ms,
    .entropy = world_entropy,
    .logline = world_logline,
    .mark = world_mark,
    .rare = world_rare,
    .bug = world_bug,
    .message = world_message,
    .known = world_known,
    .close = world_close,
};

/* ---- the life of a process ------------------------------------------------------------------ */

lw_env *lw_process_open(lw_host *host) {
    lw_process *process = lw_allocate_zero(host->world->memory, sizeof(*process));
    process->host = host;
    process->entropy = lw_chance_of(host->seed, 16 + (uint64_t)host->boot_count);
    process->turn = (lw_agenda_event){.run = turn_run, .owner = process};
    process->env.world = &world_table;
    process->env.memory = lw_memory_open();
    lw_memory_map_nothing(process->env.memory);
    process->env.fibers = lw_fibers_open(process->env.memory);
    lw_fibers_count_ready(process->env.fibers, &host->world->ready_count);
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
    for (lw_request *each = process->first; each != NULL; each = each->next) {
        lw_request_interrupt(each);
    }
    while (process->first != NULL) {
        request_free(process->first);
    }
    while (process->deferred_first != NULL) {
        lw_request *dropped = process->deferred_first;
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
    lw_sim_bus_end_process(host->world->bus, process);
    for (size_t number = 0; number < process->slot_count; number++) {
        if (host->power) {
            lw_slot_release(process->slots[number]);
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
