/* SPDX-License-Identifier: Apache-2.0 */
/* Time, hosts and their clocks, and the report of a failure. */
#include "sim/world_private.h"

#include <stdarg.h>

/* 2025-06-15T12:00:00Z, as everybody's wall clock says when the world begins. */
#define WALL_BEGIN_NS 1749988800000000000
#define NEVER_NS      ((uint64_t)1 << 62)
#define STUCK_NS_MAX  UINT64_C(20000000000)
enum { DRIFT_PPM_MAX = 500 };

static void witness(void *argument) {
    const lw_world *world = argument;
    lw_world_report(world, stderr);
    if (world->failed != NULL) {
        world->failed(world->failed_argument);
    }
}

lw_world *lw_world_open(uint64_t seed, const lw_faults *faults) {
    lw_memory *memory = lw_memory_open();
    lw_memory_map_nothing(memory);
    lw_world *world = lw_allocate_zero(memory, sizeof(*world));
    world->memory = memory;
    world->seed = seed;
    world->faults = *faults;
    world->agenda = lw_agenda_in(memory, LW_WORLD_BEGIN_NS);
    world->strikes = lw_strikes_in(memory, &world->agenda.now_ns);
    world->trace = lw_trace_in(memory, seed);
    world->network =
        lw_network_open(memory, &world->agenda, &world->trace, lw_world_chance(world, "network"),
                        &world->faults, world->hits);
    lw_dice_follow(lw_network_dice(world->network), &world->strikes, "network");
    world->bus = lw_sim_bus_of(world);
    lw_assert_set_witness(witness, world);
    return world;
}

void lw_world_close(lw_world *world) {
    LW_ASSERT(!world->stepping);
    for (lw_host *host = world->hosts; host != NULL; host = host->next) {
        while (host->processes != NULL) {
            lw_process_end(host->processes);
        }
    }
    lw_assert_set_witness(NULL, NULL);
    lw_memory_close(world->memory);
}

void lw_world_set_faults(lw_world *world, const lw_faults *faults) {
    world->faults = *faults;
}

void lw_world_plant(lw_world *world, const char *name) {
    lw_trace_plant(&world->trace, name);
}

void lw_world_calm(lw_world *world, const char *name) {
    lw_trace_calm(&world->trace, name);
}

void lw_world_insist(lw_world *world, const char *name) {
    lw_trace_insist(&world->trace, name);
}

void lw_world_trace_to(lw_world *world, FILE *file) {
    world->trace.file = file;
}

void lw_world_reschedule(lw_world *world, uint64_t schedule) {
    LW_ASSERT(world->hosts == NULL);
    world->schedule = schedule;
    if (schedule != 0) {
        lw_network_dice(world->network)->chance = lw_chance_of(world->seed + schedule, schedule);
    }
}

void lw_world_draw(lw_world *world, lw_page *page) {
    world->page = page;
    world->strikes.page = page;
    lw_network_draw(world->network, page);
}

void lw_world_at_failure(lw_world *world, void (*function)(void *argument), void *argument) {
    world->failed = function;
    world->failed_argument = argument;
}

lw_strikes *lw_world_strikes(lw_world *world) {
    return &world->strikes;
}

bool lw_world_strike(lw_world *world, lw_fault fault, const char *place, uint64_t ordinal,
                     const char *format, ...) {
    LW_ASSERT(fault < LW_FAULT_COUNT);
    if (!lw_strikes_decide(&world->strikes, place, fault, ordinal, true)) {
        return false;
    }
    char text[LW_STRIKE_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    lw_strikes_explain(&world->strikes, text);
    lw_trace_note(&world->trace,
                  &(lw_trace_event){.time_ns = world->agenda.now_ns,
                                    .what = lw_fault_name(fault),
                                    .handle = -1,
                                    .offset = ordinal},
                  place, text);
    world->hits[fault]++;
    return true;
}

uint64_t lw_world_now(const lw_world *world) {
    return world->agenda.now_ns;
}

const uint64_t *lw_world_clock(const lw_world *world) {
    return &world->agenda.now_ns;
}

uint64_t lw_world_wall_ms(const lw_world *world) {
    return (WALL_BEGIN_NS + (world->agenda.now_ns - LW_WORLD_BEGIN_NS)) / 1000000;
}

uint64_t lw_world_hash(const lw_world *world) {
    return world->trace.hash;
}

uint64_t lw_world_seed(const lw_world *world) {
    return world->seed;
}

lw_chance lw_world_chance(const lw_world *world, const char *purpose) {
    return lw_chance_of(world->seed, lw_hash(0, lw_text(purpose)));
}

lw_network *lw_world_network(lw_world *world) {
    return world->network;
}

void lw_world_cut_one_way(lw_world *world, const lw_host *from, const lw_host *to, bool cut) {
    lw_host_note(from, cut ? "cut" : "mend", to->name);
    lw_page_state_set(from->world->page, from->name, LW_PAGE_CUT, to->number, 0, cut);
    lw_network_cut(world->network, from->number, to->number, cut);
}

void lw_world_cut(lw_world *world, const lw_host *one, const lw_host *other, bool cut) {
    lw_world_cut_one_way(world, one, other, cut);
    lw_world_cut_one_way(world, other, one, cut);
}

/* ---- stepping ------------------------------------------------------------------------------- */

/* Fibers that scenario code started or woke have no event of their own. */
static bool turn_ready(lw_world *world) {
    for (lw_host *host = world->hosts; host != NULL; host = host->next) {
        for (lw_process *each = host->processes; each != NULL; each = lw_process_next(each)) {
            if (lw_process_turn(each)) {
                return true;
            }
        }
    }
    return false;
}

static bool step(lw_world *world) {
    LW_ASSERT(!world->stepping);
    world->stepping = true;
    bool happened = (world->ready_count > 0 && turn_ready(world)) || lw_agenda_step(&world->agenda);
    world->stepping = false;
    return happened;
}

bool lw_world_step(lw_world *world) {
    LW_ASSERT(lw_fiber_current() == NULL);
    lw_assert_set_witness(witness, world);
    return step(world);
}

static void idle_until(lw_agenda_event *event) {
    bool *reached = event->owner;
    *reached = true;
}

bool lw_world_run(lw_world *world, uint64_t until_ns) {
    bool reached = false;
    /* Added behind all that happens at this time by now; what that causes may run in the next. */
    lw_agenda_event end = {.run = idle_until, .owner = &reached};
    lw_agenda_add(&world->agenda, &end, until_ns);
    bool happened = lw_world_step(world);
    while (!reached) {
        LW_ASSERT(happened);
        happened = step(world);
    }
    return lw_agenda_first(&world->agenda) != NULL;
}

typedef struct call {
    lw_agenda_event event;
    lw_world *world;
    void (*function)(void *argument);
    void *argument;
} call;

static void call_run(lw_agenda_event *event) {
    call *due = event->owner;
    due->function(due->argument);
    lw_free(due->world->memory, due);
}

void lw_world_at(lw_world *world, uint64_t time_ns, void (*function)(void *argument),
                 void *argument) {
    call *due = lw_allocate(world->memory, sizeof(*due));
    *due = (call){.event = {.run = call_run, .owner = due},
                  .world = world,
                  .function = function,
                  .argument = argument};
    lw_agenda_add(&world->agenda, &due->event, time_ns);
}

/* ---- what is remembered --------------------------------------------------------------------- */

static void count_hits(lw_world *world) {
    for (uint32_t fault = 0; fault < LW_FAULT_COUNT; fault++) {
        if (world->hits[fault] > 0) {
            lw_trace_count(&world->trace, lw_fault_mark(fault), world->hits[fault]);
            world->hits[fault] = 0;
        }
    }
}

uint64_t lw_world_marked(lw_world *world, const char *name) {
    count_hits(world);
    return lw_trace_marked(&world->trace, name);
}

const lw_mark *const *lw_world_marks(lw_world *world, size_t *count) {
    count_hits(world);
    lw_free(world->memory, world->listed);
    world->listed = lw_trace_marks(&world->trace, count);
    return world->listed;
}

void lw_world_report(const lw_world *world, FILE *to) {
    lw_trace_report(&world->trace, world->agenda.now_ns, &world->faults, to);
}

void lw_world_lag(lw_world *world, const lw_host *from, const lw_host *to, uint64_t lag_ns) {
    lw_network_lag(world->network, from->number, to->number, lag_ns);
}

void lw_world_clamp(lw_world *world, const lw_host *from, const lw_host *to,
                    uint64_t bytes_per_second) {
    lw_network_clamp(world->network, from->number, to->number, bytes_per_second);
}

bool lw_world_reaches(const lw_world *world, const lw_host *from, const lw_host *to,
                      uint64_t *lag_ns) {
    return to->power && lw_network_reaches(world->network, from->number, to->number, lag_ns);
}

/* ---- hosts ---------------------------------------------------------------------------------- */

static lw_host *add_host(lw_world *world, const char *name) {
    lw_host *host = lw_allocate_zero(world->memory, sizeof(*host));
    host->world = world;
    host->name = memcpy(lw_allocate(world->memory, strlen(name) + 1), name, strlen(name) + 1);
    host->number = lw_network_add_host(world->network, host->name);
    host->seed = lw_hash(world->seed, lw_text(name));
    host->disk_factor = 1;
    host->dice = lw_dice_of(lw_chance_of(host->seed, 1), &world->faults, world->hits);
    lw_dice_follow(&host->dice, &world->strikes, host->name);
    host->timing = lw_chance_of(host->seed + world->schedule, 2);
    host->disk =
        lw_disk_open(world->memory, lw_chance_of(host->seed, 3), &world->faults, world->hits);
    lw_dice_follow(lw_disk_dice(host->disk), &world->strikes, host->name);
    return host;
}

/* Clocks as a machine has them after it was switched on. */
static void start_clock(lw_host *host) {
    lw_dice *dice = &host->dice;
    uint64_t now = host->world->agenda.now_ns;
    host->clock = (lw_host_clock){
        .since_ns = now,
        .base_ns = lw_chance_between(&dice->chance, 1, 1000000000000),
        .wall_ns = WALL_BEGIN_NS + (int64_t)(now - LW_WORLD_BEGIN_NS),
    };
    if (lw_dice_hit(dice, LW_FAULT_CLOCK_DRIFT)) {
        host->clock.drift_ppm =
            (int32_t)lw_chance_between(&dice->own, 0, 2 * DRIFT_PPM_MAX) - DRIFT_PPM_MAX;
    }
    if (lw_dice_hit(dice, LW_FAULT_WALL_OFFSET)) {
        host->clock.wall_ns += (int64_t)lw_chance_between(&dice->own, 0, 2000000000) - 1000000000;
    }
    host->power = true;
}

lw_host *lw_world_host(lw_world *world, const char *name) {
    LW_ASSERT(strlen(name) < LW_TRACE_HOST_SIZE);
    lw_host **place = &world->hosts;
    while (*place != NULL && strcmp((*place)->name, name) != 0) {
        place = &(*place)->next;
    }
    if (*place == NULL) {
        *place = add_host(world, name);
        start_clock(*place);
    }
    return *place;
}

const char *lw_host_name(const lw_host *host) {
    return host->name;
}

lw_disk *lw_host_disk(lw_host *host) {
    return host->disk;
}

void lw_host_note(const lw_host *host, const char *what, const char *text) {
    lw_trace_note(
        &host->world->trace,
        &(lw_trace_event){.time_ns = host->world->agenda.now_ns, .what = what, .handle = -1},
        host->name, text);
}

lw_env *lw_host_boot(lw_host *host) {
    if (!host->power) {
        start_clock(host);
        lw_network_power_on(host->world->network, host->number);
    }
    host->boot_count++;
    lw_host_note(host, "boot", NULL);
    lw_page_event(host->world->page, host->name, "boot", NULL);
    lw_page_state_set(host->world->page, host->name, LW_PAGE_STARTING, 0, 0, true);
    return lw_process_open(host);
}

bool lw_host_running(const lw_host *host) {
    return host->processes != NULL;
}

void lw_host_crash(lw_host *host) {
    LW_ASSERT(host->power);
    lw_host_note(host, "crash", NULL);
    lw_page_event(host->world->page, host->name, "power fails", NULL);
    lw_page_ended(host->world->page, host->name);
    host->power = false;
    host->paused_until_ns = 0;
    host->stopped_until_ns = 0;
    host->crash_step = 0;
    while (host->processes != NULL) {
        lw_process_end(host->processes);
    }
    lw_network_power_loss(host->world->network, host->number);
    lw_disk_power_loss(host->disk);
}

void lw_host_kill(lw_host *host) {
    LW_ASSERT(host->power);
    lw_host_note(host, "kill", NULL);
    lw_page_event(host->world->page, host->name, "ends", NULL);
    lw_page_ended(host->world->page, host->name);
    host->paused_until_ns = 0;
    host->stopped_until_ns = 0;
    while (host->processes != NULL) {
        lw_process_end(host->processes);
    }
    lw_disk_evict(host->disk);
}

void lw_host_pause(lw_host *host, uint64_t duration_ns) {
    uint64_t until = host->world->agenda.now_ns + duration_ns;
    lw_host_note(host, "pause", NULL);
    host->paused_until_ns = until > host->paused_until_ns ? until : host->paused_until_ns;
    lw_page_paused(host->world->page, host->name, host->paused_until_ns);
    for (lw_process *each = host->processes; each != NULL; each = lw_process_next(each)) {
        lw_process_resume_at(each, host->paused_until_ns);
    }
}

void lw_host_await(lw_host *host, const lw_passage *passage) {
    LW_ASSERT(passage->name != NULL || passage->places > passage->choice);
    host->awaited = *passage;
}

void lw_world_watch_mark(lw_world *world, const char *name, void (*function)(void *argument),
                         void *argument) {
    const lw_mark *mark = lw_trace_mark_of(&world->trace, name);
    uint32_t place = 0;
    while (place < world->watched_count && world->watched[place].mark != mark) {
        place++;
    }
    LW_ASSERT(place < WORLD_WATCHED_MAX);
    world->watched[place] =
        (world_watched){.mark = mark, .function = function, .argument = argument};
    world->watched_count += place == world->watched_count;
}

void lw_host_pass(lw_host *host, const char *name) {
    lw_passage *awaited = &host->awaited;
    lw_world *world = host->world;
    bool here =
        awaited->count > 0 &&
        (awaited->name != NULL ? strcmp(awaited->name, name) == 0
                               : lw_hash(1, lw_text(name)) % awaited->places == awaited->choice);
    if (!here || --awaited->count > 0) {
        return;
    }
    lw_host_note(host, "passes", name);
    if (awaited->stop_ns > 0) {
        lw_host_pause(host, awaited->stop_ns);
        host->stopped_until_ns = host->paused_until_ns;
    }
    lw_world_at(world, world->agenda.now_ns + awaited->delay_ns, awaited->function,
                awaited->argument);
}

uint64_t lw_host_paused_until(const lw_host *host) {
    return host->paused_until_ns;
}

uint64_t lw_host_steps(const lw_host *host) {
    return host->steps;
}

void lw_host_crash_after(lw_host *host, uint64_t steps, lw_crash crash) {
    host->crash_step = host->steps + steps + 1;
    host->crash = crash;
}

void lw_host_replace_disk(lw_host *host) {
    LW_ASSERT(host->processes == NULL);
    lw_host_note(host, "replace_disk", NULL);
    lw_world *world = host->world;
    lw_dice before = *lw_disk_dice(host->disk);
    host->disk = lw_disk_open(world->memory, lw_chance_of(host->seed, 100 + host->boot_count),
                              &world->faults, world->hits);
    lw_dice *dice = lw_disk_dice(host->disk);
    lw_dice_follow(dice, &world->strikes, host->name);
    memcpy(dice->occasions, before.occasions, sizeof(dice->occasions)); /* none has a name twice */
}

void lw_host_slow_disk(lw_host *host, uint32_t factor) {
    LW_ASSERT(factor > 0);
    host->disk_factor = factor;
}

/* ---- clocks --------------------------------------------------------------------------------- */

static int64_t elapsed(const lw_host *host) {
    int64_t passed = (int64_t)(lw_host_time(host) - host->clock.since_ns);
    return passed + passed / 1000000 * host->clock.drift_ppm +
           passed % 1000000 * host->clock.drift_ppm / 1000000;
}

uint64_t lw_host_clock_now(const lw_host *host) {
    return host->clock.base_ns + (uint64_t)elapsed(host);
}

uint64_t lw_host_clock_wall_ms(lw_host *host) {
    if (lw_dice_hit(&host->dice, LW_FAULT_WALL_JUMP)) {
        lw_host_jump_wall(host, (int64_t)lw_chance_between(&host->dice.own, 0, 120000) - 60000);
    }
    lw_host_clock *clock = &host->clock;
    uint64_t now_ns = host->world->agenda.now_ns;
    uint64_t wall_ms = (uint64_t)(clock->wall_ns + elapsed(host)) / 1000000;
    if (lw_dice_hit(&host->dice, LW_FAULT_WALL_STUCK) && now_ns >= clock->stuck_until_ns) {
        clock->stuck_until_ns = now_ns + lw_chance_below(&host->dice.own, STUCK_NS_MAX);
        clock->stuck_ms = wall_ms;
    }
    return now_ns < clock->stuck_until_ns ? clock->stuck_ms : wall_ms;
}

uint64_t lw_host_clock_virtual(const lw_host *host, uint64_t host_ns) {
    const lw_host_clock *clock = &host->clock;
    if (host_ns <= clock->base_ns) {
        return clock->since_ns;
    }
    uint64_t wanted = host_ns - clock->base_ns;
    if (wanted > NEVER_NS) {
        return NEVER_NS;
    }
    uint64_t rate = (uint64_t)(1000000 + clock->drift_ppm);
    /* Rounded up, and a tick more for what elapsed() rounds: never early. */
    return clock->since_ns + wanted / rate * 1000000 + wanted % rate * 1000000 / rate + 1 +
           1000000 / rate + 1;
}

void lw_host_set_drift(lw_host *host, int32_t drift_ppm) {
    LW_ASSERT(drift_ppm > -1000000 && drift_ppm < 1000000);
    host->clock.base_ns += (uint64_t)elapsed(host);
    host->clock.wall_ns += elapsed(host);
    host->clock.since_ns = lw_host_time(host);
    host->clock.drift_ppm = drift_ppm;
}

void lw_host_jump_wall(lw_host *host, int64_t jump_ms) {
    host->clock.wall_ns += jump_ms * 1000000;
}
