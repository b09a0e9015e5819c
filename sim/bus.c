/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated bus. A member is the open bus of one process; a letter is one message on its way to
 * one member, with an event of its own on the agenda. */
#include "sim/bus.h"

#include <stdio.h>

#include "sim/bus_private.h"
#include "sim/process.h"

enum { START_MS_MAX = 60, LATE_MS_MAX = 20000, AGAIN_MS_MAX = 60000 };

typedef struct lw_sim_member {
    lw_bus bus; /* first: an lw_bus of this world is one */
    struct lw_sim_member *next;
    lw_process *process;
    uint64_t serial; /* never used twice */
    lw_bus_options options;
    lw_bus_heard heard;
    uint64_t sequence;      /* of the last message it published */
    lw_agenda_event settle; /* brings its state up to date */
    uint32_t route_count;
    char (*routes)[LW_ADDRESS_SIZE];
    bool reached; /* scratch of reach_from */
} member;

typedef struct letter {
    lw_agenda_event event;
    lw_sim_bus *whole;
    uint64_t to; /* the member's serial */
    uint64_t from, incarnation, sequence;
    uint64_t sent_ns;
    const char *source; /* the host's name */
    lw_bus_kind kind;
    bool directed;
    size_t size;
    uint8_t body[];
} letter;

static const lw_bus_world sim_bus_world;

static lw_sim_bus *whole_of(const member *one) {
    return one->process->host->world->bus;
}

/* ---- the bus of a world --------------------------------------------------------------------- */

lw_sim_bus *lw_sim_bus_of(lw_world *world) {
    lw_sim_bus *whole = lw_allocate_zero(world->memory, sizeof(*whole));
    whole->world = world;
    whole->dice = lw_dice_of(lw_world_chance(world, "bus"), &world->faults, world->hits);
    lw_dice_follow(&whole->dice, &world->strikes, "bus");
    return whole;
}

static lw_sim_bus_host *broker_of(lw_sim_bus *whole, const lw_host *host) {
    while (whole->host_count <= host->number) {
        whole->hosts = lw_reallocate(whole->world->memory, whole->hosts,
                                     (whole->host_count + 1) * sizeof(*whole->hosts));
        whole->hosts[whole->host_count++] = (lw_sim_bus_host){0};
    }
    return &whole->hosts[host->number];
}

static uint64_t bit_of(const lw_host *host) {
    LW_ASSERT(host->number < LW_SIM_BUS_HOSTS_MAX);
    return UINT64_C(1) << host->number;
}

/* ---- who can hear whom ---------------------------------------------------------------------- */

static bool has_route(const member *from, const member *to) {
    for (uint32_t index = 0; index < from->route_count; index++) {
        if (strcmp(from->routes[index], to->bus.address) == 0) {
            return true;
        }
    }
    return false;
}

/* Marks every member that routes lead to from `start`, whoever they were given to. */
static void reach_from(lw_sim_bus *whole, member *start) {
    for (member *each = whole->members; each != NULL; each = each->next) {
        each->reached = each == start;
    }
    for (bool more = true; more;) {
        more = false;
        for (member *one = whole->members; one != NULL; one = one->next) {
            for (member *other = whole->members; other != NULL; other = other->next) {
                if (one->reached && !other->reached &&
                    (has_route(one, other) || has_route(other, one))) {
                    other->reached = true;
                    more = true;
                }
            }
        }
    }
}

/* Whether something that `from` says now gets to the broker of `to`. */
static bool way_is_open(lw_sim_bus *whole, const member *from, const member *to) {
    const lw_host *source = from->process->host, *target = to->process->host;
    bool cut = (broker_of(whole, source)->cut_to & bit_of(target)) != 0;
    return to->reached && !cut && !broker_of(whole, target)->stopped;
}

/* ---- letters -------------------------------------------------------------------------------- */

static member *member_of(const lw_sim_bus *whole, uint64_t serial) {
    member *each = whole->members;
    while (each != NULL && each->serial != serial) {
        each = each->next;
    }
    return each;
}

static void hand_over(member *to, const letter *arrived) {
    lw_bus_figures *figures = &to->bus.figures;
    if (arrived->from == to->options.node) {
        return; /* from before this node's last restart */
    }
    if (!lw_bus_hear(&to->heard, arrived->from, arrived->incarnation, arrived->sequence)) {
        figures->stale++;
        return;
    }
    figures->received++;
    lw_bus_message message = {.kind = arrived->kind,
                              .from = arrived->from,
                              .incarnation = arrived->incarnation,
                              .directed = arrived->directed,
                              .body = lw_view(arrived->body, arrived->size)};
    lw_trace_note(&whole_of(to)->world->trace,
                  &(lw_trace_event){.time_ns = whole_of(to)->world->agenda.now_ns,
                                    .what = "bus",
                                    .handle = -1,
                                    .offset = arrived->sequence,
                                    .size = arrived->size,
                                    .contents = lw_hash(arrived->from, message.body)},
                  to->process->host->name, lw_bus_kind_name(arrived->kind));
    lw_page_came(whole_of(to)->world->page, arrived->source, to->process->host->name, true,
                 arrived->sent_ns, arrived->size);
    to->options.receive(to->options.argument, &message);
}

static void letter_run(lw_agenda_event *event) {
    letter *arrived = event->owner;
    lw_sim_bus *whole = arrived->whole;
    member *to = member_of(whole, arrived->to);
    if (to != NULL && to->process->host->paused_until_ns > whole->world->agenda.now_ns) {
        lw_agenda_add(&whole->world->agenda, event, to->process->host->paused_until_ns);
        return;
    }
    if (to != NULL && to->bus.state == LW_BUS_UP) {
        hand_over(to, arrived);
    }
    lw_free(whole->world->memory, arrived);
}

static void post(const member *from, const member *to, lw_bus_kind kind, bool directed,
                 lw_bytes body, uint64_t late_ms) {
    lw_sim_bus *whole = whole_of(from);
    lw_chance *chance = &whole->dice.chance;
    uint64_t delay_ns = lw_chance_between(chance, 100000, 3000000) + late_ms * 1000000;
    if (lw_dice_hit(&whole->dice, LW_FAULT_BUS_LATE)) {
        delay_ns += lw_chance_below(&whole->dice.own, LATE_MS_MAX) * 1000000;
    }
    uint64_t held_ns = broker_of(whole, from->process->host)->held_until_ns;
    if (held_ns > whole->world->agenda.now_ns) {
        delay_ns += held_ns - whole->world->agenda.now_ns;
    }
    letter *sent = lw_allocate(whole->world->memory, sizeof(*sent) + body.size);
    *sent = (letter){.event = {.run = letter_run, .owner = sent},
                     .whole = whole,
                     .to = to->serial,
                     .from = from->options.node,
                     .incarnation = from->options.incarnation,
                     .sequence = from->sequence,
                     .sent_ns = whole->world->agenda.now_ns,
                     .source = from->process->host->name,
                     .kind = kind,
                     .directed = directed,
                     .size = body.size};
    if (body.size > 0) {
        memcpy(sent->body, body.data, body.size);
    }
    if (body.size > 0 && lw_dice_hit(&whole->dice, LW_FAULT_BUS_SPOILT)) {
        uint64_t bit = lw_chance_below(&whole->dice.own, 8 * body.size);
        sent->body[bit / 8] = (uint8_t)(sent->body[bit / 8] ^ 1U << bit % 8);
    }
    lw_agenda_add(&whole->world->agenda, &sent->event, whole->world->agenda.now_ns + delay_ns);
}

static bool sim_publish(lw_bus *bus, lw_bus_kind kind, uint64_t node, lw_bytes body) {
    member *from = (member *)bus;
    lw_sim_bus *whole = whole_of(from);
    if (bus->state != LW_BUS_UP || broker_of(whole, from->process->host)->stopped) {
        return false;
    }
    from->sequence++;
    reach_from(whole, from);
    for (member *to = whole->members; to != NULL; to = to->next) {
        if (to == from || (node != 0 && to->options.node != node)) {
            continue;
        }
        bool lost = lw_dice_hit(&whole->dice, LW_FAULT_BUS_LOSS);
        bool twice = lw_dice_hit(&whole->dice, LW_FAULT_BUS_TWICE);
        bool again = lw_dice_hit(&whole->dice, LW_FAULT_BUS_AGAIN);
        uint64_t again_ms = again ? lw_chance_below(&whole->dice.own, AGAIN_MS_MAX) : 0;
        if (!way_is_open(whole, from, to)) {
            continue;
        }
        if (!lost) {
            post(from, to, kind, node != 0, body, 0);
        }
        if (twice) {
            post(from, to, kind, node != 0, body, 0);
        }
        if (again) {
            post(from, to, kind, node != 0, body, again_ms);
        }
    }
    return true;
}

/* ---- members -------------------------------------------------------------------------------- */

static void settle_run(lw_agenda_event *event) {
    member *one = event->owner;
    lw_sim_bus *whole = whole_of(one);
    const lw_host *host = one->process->host;
    if (host->paused_until_ns > whole->world->agenda.now_ns) {
        lw_agenda_add(&whole->world->agenda, event, host->paused_until_ns);
    } else if (broker_of(whole, host)->stopped) {
        lw_bus_set_state(&one->bus, &one->options, LW_BUS_DEGRADED, "the broker is stopped");
    } else {
        lw_bus_set_state(&one->bus, &one->options, LW_BUS_UP, NULL);
    }
}

static void settle_soon(member *one) {
    lw_sim_bus *whole = whole_of(one);
    if (!lw_agenda_has(&one->settle)) {
        uint64_t after_ms = lw_chance_between(&whole->dice.chance, 1, START_MS_MAX);
        lw_agenda_add(&whole->world->agenda, &one->settle,
                      whole->world->agenda.now_ns + after_ms * 1000000);
    }
}

static void sim_set_routes(lw_bus *bus, const char *const *addresses, uint32_t count) {
    member *one = (member *)bus;
    lw_memory *memory = whole_of(one)->world->memory;
    lw_free(memory, one->routes);
    one->routes = lw_allocate_zero(memory, count * sizeof(*one->routes));
    for (uint32_t index = 0; index < count; index++) {
        (void)snprintf(one->routes[index], sizeof(one->routes[index]), "%s", addresses[index]);
    }
    one->route_count = count;
}

static void leave(member *gone) {
    lw_sim_bus *whole = whole_of(gone);
    member **place = &whole->members;
    while (*place != gone) {
        place = &(*place)->next;
    }
    *place = gone->next;
    lw_agenda_remove(&whole->world->agenda, &gone->settle);
    lw_bus_heard_reset(&gone->heard);
    lw_free(whole->world->memory, gone->routes);
    lw_free(whole->world->memory, gone);
}

static void sim_end(lw_bus *bus) {
    leave((member *)bus);
}

void lw_sim_bus_end_process(lw_sim_bus *whole, const lw_process *process) {
    member *next;
    for (member *each = whole->members; each != NULL; each = next) {
        next = each->next;
        if (each->process == process) {
            leave(each);
        }
    }
}

static const lw_bus_world sim_bus_world = {
    .publish = sim_publish,
    .set_routes = sim_set_routes,
    .end = sim_end,
};

LW_YIELDS lw_status lw_sim_bus_open(void *argument, lw_env *env, const lw_bus_options *options,
                                    lw_bus **bus) {
    (void)argument;
    lw_process *process = (lw_process *)(void *)env;
    lw_sim_bus *whole = process->host->world->bus;
    LW_ASSERT(options->node != 0 && options->receive != NULL);
    member *opened = lw_allocate_zero(whole->world->memory, sizeof(*opened));
    opened->bus.world = &sim_bus_world;
    opened->bus.state = LW_BUS_STARTING;
    opened->process = process;
    opened->serial = ++whole->serial;
    opened->options = *options;
    opened->heard = lw_bus_heard_in(whole->world->memory);
    opened->settle = (lw_agenda_event){.run = settle_run, .owner = opened};
    (void)snprintf(opened->bus.address, sizeof(opened->bus.address), "%s:%d", process->host->name,
                   LW_SIM_BUS_PORT);
    member **place = &whole->members;
    while (*place != NULL) {
        place = &(*place)->next;
    }
    *place = opened;
    settle_soon(opened);
    *bus = &opened->bus;
    return LW_OK;
}

/* ---- what scenarios do to it ---------------------------------------------------------------- */

void lw_sim_bus_cut_one_way(lw_world *world, const lw_host *from, const lw_host *to, bool cut) {
    LW_ASSERT(from != to);
    lw_sim_bus_host *broker = broker_of(world->bus, from);
    lw_host_note(from, cut ? "cut bus" : "mend bus", to->name);
    broker->cut_to = cut ? broker->cut_to | bit_of(to) : broker->cut_to & ~bit_of(to);
}

void lw_sim_bus_cut(lw_world *world, const lw_host *one, const lw_host *other, bool cut) {
    lw_sim_bus_cut_one_way(world, one, other, cut);
    lw_sim_bus_cut_one_way(world, other, one, cut);
}

void lw_sim_bus_stop(lw_world *world, const lw_host *host, bool stopped) {
    lw_host_note(host, stopped ? "stop bus" : "start bus", NULL);
    broker_of(world->bus, host)->stopped = stopped;
    for (member *each = world->bus->members; each != NULL; each = each->next) {
        if (each->process->host == host) {
            settle_soon(each);
        }
    }
}

void lw_sim_bus_hold(lw_world *world, const lw_host *host, uint64_t duration_ns) {
    lw_host_note(host, "hold bus", NULL);
    broker_of(world->bus, host)->held_until_ns = world->agenda.now_ns + duration_ns;
}
