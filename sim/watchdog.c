/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/watchdog.h"

#include "sim/user.h"

#include <inttypes.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_MS = 500, LIMIT_S = 5 };

struct lw_watchdog {
    lw_memory *memory;
    const lw_world *world;
    const char *name;
    uint64_t seen_ns; /* of virtual time, at the last look */
    uint32_t looks;   /* since it moved */
    timer_t timer;    /* of this thread's processor time */
    struct sigaction before;
};

/* Who computes: the callback whose fiber was interrupted. */
static const char *find_role(void) {
    const lw_fiber *running = lw_fiber_current();
    const lw_sim *who = running == NULL ? NULL : lw_fibers_owner(lw_fiber_home(running));
    return who == NULL ? "nobody" : who->role;
}

static _Noreturn void bark(const lw_watchdog *dog) {
    char text[512];
    int size =
        snprintf(text, sizeof(text),
                 "%s: %s has computed for %d s while virtual time stood still at %" PRIu64
                 " ms. Does its callback repeat a call that fails at once, or wait for "
                 "something that happens only while it sleeps? In a loop that may wait, call "
                 "lw_sim_sleep_us.\n",
                 dog->name, find_role(), LIMIT_S, dog->seen_ns / LW_SIM_NS_PER_MS);
    (void)!write(STDERR_FILENO, text, (size_t)size);
    _exit(1);
}

static void look(int number, siginfo_t *info, void *context) {
    lw_watchdog *dog = info->si_value.sival_ptr;
    (void)number, (void)context;
    uint64_t now_ns = lw_world_now(dog->world);
    if (now_ns != dog->seen_ns) {
        dog->seen_ns = now_ns;
        dog->looks = 0;
    } else if (++dog->looks > LIMIT_S * 1000 / LOOK_MS) {
        bark(dog);
    }
}

lw_watchdog *lw_watchdog_open(lw_memory *memory, const lw_world *world, const char *name) {
    lw_watchdog *dog = lw_allocate_zero(memory, sizeof(*dog));
    *dog = (lw_watchdog){.memory = memory, .world = world, .name = name};
    struct sigaction action = {.sa_sigaction = look, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigevent event = {
        .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGVTALRM, .sigev_value.sival_ptr = dog};
    struct itimerspec every = {.it_interval.tv_nsec = LOOK_MS * 1000000,
                               .it_value.tv_nsec = LOOK_MS * 1000000};
    bool armed = timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &dog->timer) == 0;
    if (!armed) {
        lw_free(memory, dog);
        return NULL; /* a run can do without */
    }
    (void)sigaction(SIGVTALRM, &action, &dog->before);
    (void)timer_settime(dog->timer, 0, &every, NULL);
    return dog;
}

void lw_watchdog_close(lw_watchdog *dog) {
    if (dog == NULL) {
        return;
    }
    (void)timer_delete(dog->timer);
    (void)sigaction(SIGVTALRM, &dog->before, NULL);
    lw_free(dog->memory, dog);
}
