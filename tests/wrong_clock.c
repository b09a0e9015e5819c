/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into a node by tests/test_lattice.sh: its wall clock is off by as many seconds as the
 * file that $WRONG_CLOCK names says, from one look to the next. The monotonic clock stays. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { NS_PER_S = 1000 * 1000 * 1000, LOOK_NS = NS_PER_S / 10 };

typedef int clock_function(clockid_t, struct timespec *);
typedef int wait_function(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

static long ahead_s(void) {
    const char *path = getenv("WRONG_CLOCK");
    char text[32] = "";
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        (void)!read(file, text, sizeof(text) - 1);
        (void)close(file);
    }
    return atol(text);
}

static int true_time(clockid_t clock, struct timespec *time) {
    static clock_function *real;
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    }
    return real(clock, time);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = true_time(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        time->tv_sec += ahead_s();
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

/* Until a time of the wrong clock: it may jump meanwhile, so looks again and again. */
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static wait_function *real;
    if (real == NULL) {
        *(void **)&real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    }
    for (;;) {
        struct timespec now, look;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        long long left_ns =
            (until->tv_sec - now.tv_sec) * (long long)NS_PER_S + until->tv_nsec - now.tv_nsec;
        if (left_ns <= 0) {
            return ETIMEDOUT;
        }
        (void)true_time(CLOCK_REALTIME, &look);
        look.tv_nsec += left_ns < LOOK_NS ? (long)left_ns : LOOK_NS;
        look.tv_sec += look.tv_nsec / NS_PER_S;
        look.tv_nsec %= NS_PER_S;
        int result = real(condition, mutex, &look);
        if (result != ETIMEDOUT) {
            return result;
        }
    }
}
