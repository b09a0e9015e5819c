/* SPDX-License-Identifier: Apache-2.0 */
/* Time, what happens when, and what is remembered of it; a run is rounds of trouble and peace. */
#include "sim/cores.h"

#include "node/groups.h"

#include <inttypes.h>
#include <stdarg.h>

enum {
    FAILURE_SIZE = 200,
    LOG_SPARE = LW_CORES_LOG_MAX / 4,       /* that clients leave for the first entries of terms */
    EVENTS_SPARE = LW_CORES_EVENTS_MAX / 4, /* for all but messages, which may be lost */
    WRITES_MUCH = 32,                       /* that wait for a disk: clients wait, too */
    CALM_CLIENT_GAP_MS = 10,
    RESUME_TIMEOUTS = 15, /* election timeouts within which something is committed in peace, */
    HEAL_TIMEOUTS = 30,   /* and within which all have come to rest then, */
    LAG_MS = 25, /* and so long for each entry that somebody lacks: one may be on its way */
};

/* ---- what is remembered ---------------------------------------------------------------------- */

/* Into the trace, where it is told; its hash is of what happened, told or not. */
static void tell(const lw_cores *world, const lw_cores_note *note) {
    lw_trace *trace = &world->machines->trace;
    uint64_t hash = trace->hash;
    char who[LW_TRACE_HOST_SIZE] = "", text[LW_TRACE_TEXT_SIZE];
    if (note->node != 0) {
        (void)snprintf(who, sizeof(who), "node%u", (unsigned)note->node);
    }
    (void)snprintf(text, sizeof(text), note->text, note->numbers[0], note->numbers[1],
                   note->numbers[2], note->numbers[3]);
    lw_trace_note(trace, &(lw_trace_event){.time_ns = note->at, .what = "raft", .handle = -1}, who,
                  text);
    trace->hash = hash;
}

/* Words are made of notes only where somebody reads them: in a trace at once, in a report now. */
static void tell_last(const lw_cores *world) {
    uint64_t count = world->note_count < LW_CORES_NOTES ? world->note_count : LW_CORES_NOTES;
    uint64_t first = world->machines->trace.file != NULL ? count : 0;
    for (uint64_t number = first; number < count; number++) {
        tell(world, &world->notes[(world->note_count - count + number) % LW_CORES_NOTES]);
    }
}

void lw_cores_note_of(lw_cores *world, uint64_t id, const char *text, uint64_t a, uint64_t b,
                      uint64_t c, uint64_t d) {
    lw_cores_note *note = &world->notes[world->note_count++ % LW_CORES_NOTES];
    *note = (lw_cores_note){.at = world->now, .node = id, .text = text, .numbers = {a, b, c, d}};
    lw_machines_pass(world->machines, id << 56 ^ a ^ b << 16 ^ c << 32 ^ d << 48);
    if (world->machines->trace.file != NULL) {
        tell(world, note);
    }
}

void lw_cores_fail(lw_cores *world, const char *property, const char *format, ...) {
    char text[FAILURE_SIZE];
    if (world->machines->broken) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    tell_last(world);
    lw_machines_broken(world->machines, property, "%s", text);
}

static void witness(void *argument) {
    const lw_cores *world = argument;
    tell_last(world);
    lw_trace_report(&world->machines->trace, world->now, &world->machines->faults, stderr);
}

/* ---- what happens when ----------------------------------------------------------------------- */

static void happen(lw_agenda_event *when);

lw_cores_event *lw_cores_schedule(lw_cores *world, lw_cores_event_kind kind, uint64_t id,
                                  uint64_t delay) {
    if (world->spare_count <= (kind == LW_CORES_DELIVER ? EVENTS_SPARE : 0)) {
        return NULL;
    }
    lw_cores_event *made = &world->events[world->spare[--world->spare_count]];
    made->made_at = world->now;
    made->kind = kind;
    made->node = id;
    made->life = id == 0 ? 0 : world->nodes[id].life;
    made->when = (lw_agenda_event){.run = happen, .owner = world};
    lw_agenda_add(&world->machines->agenda, &made->when, world->now + delay);
    return made;
}

/* ---- clients --------------------------------------------------------------------------------- */

static void ask_to_read(lw_cores *world, uint64_t id) {
    lw_cores_node *node = &world->nodes[id];
    uint64_t needs = world->acknowledged;
    if (node->ticket.round != 0) {
        return;
    }
    if (lw_raft_read(&node->raft, lw_cores_clock(world, node), &node->ticket) != LW_OK) {
        node->ticket.round = 0;
        return;
    }
    node->ticket_needs = needs;
}

static void client(lw_cores *world) {
    uint64_t id = lw_cores_percent(world, 80) ? lw_cores_leader(world) : lw_cores_any(world);
    if (id == 0 || !lw_cores_awake(world, id)) {
        return;
    }
    const lw_cores_node *node = &world->nodes[id];
    bool room =
        node->raft.last_index + LOG_SPARE < LW_CORES_LOG_MAX && node->write_count < WRITES_MUCH;
    if (lw_cores_percent(world, 70) && room) {
        (void)lw_cores_propose(world, id, (uint32_t)lw_cores_between(world, 1, 3), 0);
    } else {
        ask_to_read(world, id);
    }
    lw_cores_settle(world, id);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void tick(lw_cores *world, lw_cores_node *node) {
    if (node->tick_at > world->now) {
        return; /* another one is scheduled */
    }
    node->tick_at = UINT64_MAX;
    lw_raft_tick(&node->raft, lw_cores_clock(world, node));
}

/* What happens to one life of one node, once that is awake. */
static void node_event(lw_cores *world, lw_cores_event *event) {
    lw_cores_node *node = &world->nodes[event->node];
    switch (event->kind) {
    case LW_CORES_DELIVER:
        lw_cores_receive(world, event);
        break;
    case LW_CORES_DISK_DONE:
        lw_cores_disk_done(world, event->node);
        break;
    case LW_CORES_TICK:
        tick(world, node);
        break;
    case LW_CORES_LOADED:
        lw_cores_loaded(world, event);
        break;
    case LW_CORES_LINK:
        lw_cores_link_changed(world, event);
        break;
    case LW_CORES_STAND:
        lw_raft_campaign(&node->raft, lw_cores_clock(world, node));
        break;
    case LW_CORES_SNAPSHOT_ARRIVES:
        lw_cores_snapshot_arrives(world, event);
        break;
    case LW_CORES_SNAPSHOT_DURABLE:
        lw_cores_snapshot_durable(world, event);
        break;
    case LW_CORES_SNAPSHOT_ENDED:
        lw_raft_snapshot_sent(&node->raft, event->other, event->index, lw_cores_clock(world, node));
        break;
    case LW_CORES_CLIENT:
    case LW_CORES_NEMESIS:
    case LW_CORES_HUNT:
    case LW_CORES_BETRAYAL:
    case LW_CORES_RESTART:
        LW_ASSERT(false);
    }
    lw_cores_settle(world, event->node);
}

static void restart(lw_cores *world, uint64_t id) {
    if (!world->nodes[id].up) {
        lw_cores_start(world, id);
        lw_cores_tell_links(world, id, false);
    }
}

/* True if the event was one of these. */
static bool world_event(lw_cores *world, const lw_cores_event *event) {
    switch (event->kind) {
    case LW_CORES_CLIENT:
        if (!world->silent) {
            client(world);
        }
        (void)lw_cores_schedule(world, LW_CORES_CLIENT, 0,
                                lw_cores_between(world, 0,
                                                 world->calm ? CALM_CLIENT_GAP_MS * LW_CORES_MS
                                                             : world->habits.client_gap));
        return true;
    case LW_CORES_NEMESIS:
        if (!world->calm) {
            lw_cores_nemesis(world);
        }
        return true;
    case LW_CORES_HUNT:
        lw_cores_hunt(world, event->other);
        return true;
    case LW_CORES_BETRAYAL:
        lw_cores_betray(world, event->other, event->index);
        return true;
    case LW_CORES_RESTART:
        restart(world, event->node);
        return true;
    case LW_CORES_DELIVER:
    case LW_CORES_DISK_DONE:
    case LW_CORES_TICK:
    case LW_CORES_LOADED:
    case LW_CORES_LINK:
    case LW_CORES_STAND:
    case LW_CORES_SNAPSHOT_ARRIVES:
    case LW_CORES_SNAPSHOT_DURABLE:
    case LW_CORES_SNAPSHOT_ENDED:
        break;
    }
    return false;
}

static void put_off(lw_cores *world, const lw_cores_event *event, uint64_t until) {
    lw_cores_event *later = lw_cores_schedule(world, event->kind, event->node, until - world->now);
    if (later != NULL) {
        lw_agenda_event when = later->when;
        *later = *event;
        later->when = when;
    }
}

/* A message, a link's news and an order are for whoever lives there now, the rest for who began it.
 * What was on its way when all links were made anew is lost, and so it is, in peace, when its own
 * was cut: who hears that one is down hears nothing more of it, which might put him to sleep. */
static bool reaches(const lw_cores *world, const lw_cores_event *event) {
    const lw_cores_node *node = &world->nodes[event->node];
    bool to_any = event->kind == LW_CORES_DELIVER || event->kind == LW_CORES_LINK ||
                  event->kind == LW_CORES_STAND || event->kind == LW_CORES_SNAPSHOT_ARRIVES;
    bool made_anew =
        event->made_at < world->healed_at && world->now > world->healed_at + world->habits.timeout;
    bool cut = world->calm && world->blocked[event->message.from][event->node];
    bool lost = event->kind == LW_CORES_DELIVER && (made_anew || cut);
    return node->up && !lost && (to_any || node->life == event->life);
}

/* Copied, since what it leads to takes its place. */
static void happen(lw_agenda_event *when) {
    lw_cores *world = when->owner;
    _Static_assert(offsetof(lw_cores_event, when) == 0, "an event begins with its time");
    lw_cores_event event = *(lw_cores_event *)when;
    world->now = world->machines->agenda.now_ns;
    world->spare[world->spare_count++] = (uint16_t)((lw_cores_event *)when - world->events);
    lw_machines_pass(world->machines, (uint64_t)event.kind << 48 ^ event.node << 56);
    if (world_event(world, &event)) {
        return;
    }
    uint64_t paused_until = world->nodes[event.node].paused_until;
    bool snapshot =
        event.kind == LW_CORES_SNAPSHOT_ARRIVES || event.kind == LW_CORES_SNAPSHOT_DURABLE;
    if (!reaches(world, &event)) {
        if (snapshot) {
            lw_cores_snapshot_answer(world, &event, 0);
        }
    } else if (paused_until > world->now) {
        put_off(world, &event, paused_until);
    } else {
        node_event(world, &event);
    }
}

static void run_until(lw_cores *world, uint64_t until) {
    lw_machines_run_until(world->machines, until);
    world->now = lw_machines_now(world->machines);
}

/* ---- a run ----------------------------------------------------------------------------------- */

static void open_world(lw_cores *world) {
    for (uint32_t slot = 0; slot < LW_CORES_EVENTS_MAX; slot++) {
        world->spare[world->spare_count++] = (uint16_t)(LW_CORES_EVENTS_MAX - 1 - slot);
    }
    lw_cores_draw(world);
    lw_raft_config first = {0};
    for (uint64_t id = 1; id <= world->habits.voters; id++) {
        lw_cores_set_member(&first, id, LW_RAFT_VOTER);
    }
    uint32_t config = lw_cores_add_config(world, &first);
    for (uint64_t id = 1; id <= world->node_count; id++) {
        world->nodes[id].disk.start_config = id <= world->habits.voters ? config : 0;
        lw_cores_start(world, id);
    }
    (void)lw_cores_schedule(world, LW_CORES_CLIENT, 0, 0);
}

static void trouble(lw_cores *world, uint32_t round) {
    world->calm = false;
    world->silent = false;
    lw_cores_draw_round(world, round);
    lw_cores_note_of(world, 0, "---- trouble begins", 0, 0, 0, 0);
    (void)lw_cores_schedule(world, LW_CORES_NEMESIS, 0, 2 * world->habits.timeout);
    run_until(world, world->now + world->habits.trouble_for);
}

/* Whether anybody takes the node for a member. */
static bool is_member(const lw_cores *world, uint64_t id) {
    bool found = false;
    for (uint64_t other = 1; other <= world->node_count; other++) {
        const lw_raft_config *config = &world->nodes[other].raft.config;
        found = found || lw_raft_config_find(config, id) != NULL;
    }
    return found;
}

/* How much there is to bring to the one that has least. */
static uint64_t greatest_lag(const lw_cores *world) {
    uint64_t least = UINT64_MAX, most = 0;
    for (uint64_t id = 1; id <= world->node_count; id++) {
        const lw_cores_node *node = &world->nodes[id];
        least = is_member(world, id) && node->applied < least ? node->applied : least;
        most = node->raft.last_index > most ? node->raft.last_index : most;
    }
    return most > least ? most - least : 0;
}

/* In peace, after which so many election timeouts must be enough. */
static uint64_t limit_of(const lw_cores *world, uint64_t timeouts) {
    return world->now + timeouts * world->habits.timeout +
           greatest_lag(world) * LAG_MS * LW_CORES_MS;
}

/* Until something new is acknowledged. */
static void await_commit(lw_cores *world) {
    lw_run_result *result = world->machines->result;
    uint64_t before = world->acknowledged, timeout = world->habits.timeout;
    uint64_t begun = world->now, limit = limit_of(world, RESUME_TIMEOUTS);
    while (!world->machines->broken && world->acknowledged <= before && world->now < limit) {
        run_until(world, world->now + timeout / 4);
    }
    if (world->acknowledged <= before) {
        lw_cores_fail(world, "liveness",
                      "nothing is committed within %d election timeouts of peace", RESUME_TIMEOUTS);
    }
    uint64_t took = (world->now - begun) / LW_CORES_MS;
    result->resumed_ms = took > result->resumed_ms ? took : result->resumed_ms;
}

/* Without clients, until everybody has everything. */
static void await_rest(lw_cores *world) {
    lw_run_result *result = world->machines->result;
    uint64_t timeout = world->habits.timeout, begun = world->now;
    uint64_t limit = limit_of(world, HEAL_TIMEOUTS);
    char why[LW_CORES_WHY_SIZE] = "";
    world->silent = true;
    bool healed = false;
    while (!world->machines->broken && !healed && world->now < limit) {
        run_until(world, world->now + timeout);
        healed = lw_cores_healed(world, why);
    }
    if (!healed) {
        lw_cores_fail(world, "liveness", "%s", why);
    }
    uint64_t took = (world->now - begun) / LW_CORES_MS;
    result->converged_ms = took > result->converged_ms ? took : result->converged_ms;
}

static void tell_counts(const lw_cores *world) {
    static const char *const names[] = {
#define LW_CORES_COUNT_NAME(name, text) text,
        LW_CORES_COUNT_LIST(LW_CORES_COUNT_NAME)
#undef LW_CORES_COUNT_NAME
    };
    for (size_t index = 0; index < LW_CORES_COUNTS; index++) {
        if (world->counts[index] > 0) {
            lw_trace_count(&world->machines->trace, names[index], world->counts[index]);
        }
    }
}

void lw_cores_play(lw_machines *machines) {
    lw_cores *world = lw_allocate_zero(machines->memory, sizeof(*world));
    world->machines = machines;
    world->seed = machines->options->seed;
#ifdef LW_SIMULATION
    world->bugs = lw_groups_planted(&machines->env);
#endif
    world->node_count = machines->options->node_count;
    world->chance = lw_machines_chance(machines, "raft");
    world->bytes = lw_buffer_in(machines->memory);
    world->now = lw_machines_now(machines);
    lw_assert_set_witness(witness, world);
    open_world(world);
    for (uint32_t round = 0;
         round < world->habits.rounds && !machines->broken && world->commit < LW_CORES_LOG_MAX / 2;
         round++) {
        trouble(world, round);
        lw_cores_heal(world, round);
        await_commit(world);
        lw_cores_mend(world);
        await_rest(world);
    }
    machines->result->committed = world->acknowledged;
    tell_counts(world);
}
