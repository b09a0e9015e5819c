/* SPDX-License-Identifier: Apache-2.0 */
#include "lattice/broker_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS_NS UINT64_C(1000000)

void lw_child_init(lw_child *child, lw_env *env, const char *folder, lw_queue *woken) {
    *child = (lw_child){.env = env, .folder = folder, .woken = woken, .life = LW_NO_HANDLE};
}

/* ---- processes ------------------------------------------------------------------------------ */

/* In the child, between fork and exec: only what may be called there. */
static _Noreturn void become(const lw_child *child, char *const arguments[],
                             char *const environment[], int input, int output, pid_t parent) {
    static const char text[] = "cannot be executed\n";
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(127);
    }
    for (int number = 1; number < NSIG; number++) {
        (void)signal(number, SIG_DFL);
    }
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    /* A Ctrl-C in a terminal is for us, and we stop it then. */
    (void)setpgid(0, 0);
    if (chdir(child->folder) == 0 && dup2(input, STDIN_FILENO) >= 0 &&
        dup2(output, STDOUT_FILENO) >= 0 && dup2(output, STDERR_FILENO) >= 0) {
        /* The NATS library's sockets are open to children. */
        (void)close_range(3, ~0U, 0);
        (void)execve(arguments[0], arguments, environment);
        (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    }
    _exit(127);
}

static void on_life(lw_op *op) {
    lw_child *child = op->owner;
    child->gone = true;
    lw_queue_wake_all(child->woken);
}

static void watch(lw_child *child, int end) {
    lw_real_handle_add((lw_real_env *)child->env, end, LW_REAL_SOCKET);
    child->life.number = end;
    child->gone = false;
    child->life_op = (lw_op){.kind = LW_OP_RECEIVE,
                             .handle = child->life,
                             .buffer = &child->life_byte,
                             .size = 1,
                             .complete = on_life,
                             .owner = child};
    lw_env_submit(child->env, &child->life_op);
}

lw_status lw_child_start(lw_child *child, char *const arguments[]) {
    char out_path[LW_PATH_SIZE], search[LW_PATH_SIZE];
    char gomaxprocs[] = "GOMAXPROCS=2", gomemlimit[] = "GOMEMLIMIT=64MiB";
    const char *path = getenv("PATH");
    (void)snprintf(search, sizeof(search), "PATH=%s", path != NULL ? path : "/usr/bin:/bin");
    char *environment[] = {search, gomaxprocs, gomemlimit, NULL};
    LW_TRY(lw_path_join(out_path, child->folder, "nats.out"));
    int ends[2];
    int output = open(out_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (output < 0) {
        return lw_fail(LW_REFUSED, "cannot write %s: %s", out_path, strerrordesc_np(errno));
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        int system_error = errno;
        (void)close(output);
        return lw_fail(LW_INTERNAL, "cannot make a pair of sockets: %s",
                       strerrordesc_np(system_error));
    }
    pid_t parent = getpid();
    sigset_t all, before;
    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    pid_t process = fork();
    if (process == 0) {
        become(child, arguments, environment, ends[1], output, parent);
    }
    int system_error = errno;
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    (void)close(output);
    (void)close(ends[1]);
    if (process < 0) {
        (void)close(ends[0]);
        return lw_fail(LW_INTERNAL, "cannot start a process: %s", strerrordesc_np(system_error));
    }
    child->process = process;
    watch(child, ends[0]);
    return LW_OK;
}

LW_YIELDS void lw_child_await(lw_child *child, uint64_t duration_ms) {
    uint64_t end_ns = lw_env_now(child->env) + duration_ms * MS_NS;
    while (!child->gone && lw_env_now(child->env) < end_ns) {
        (void)lw_env_wait(child->env, child->woken, end_ns);
    }
}

LW_YIELDS int lw_child_reap(lw_child *child) {
    int status = 0;
    if (!child->gone) {
        (void)kill(child->process, SIGKILL);
    }
    /* Its files are closed just before it can be waited for. */
    while (waitpid(child->process, &status, WNOHANG) == 0) {
        lw_env_sleep(child->env, MS_NS);
    }
    child->process = 0;
    lw_socket_close(child->env, child->life);
    child->life = LW_NO_HANDLE;
    child->gone = false;
    return status;
}

/* ---- the program ---------------------------------------------------------------------------- */

static bool find_in(const char *folders, char program[LW_PATH_SIZE]) {
    for (const char *begin = folders; *begin != '\0';) {
        size_t size = strcspn(begin, ":");
        int whole = snprintf(program, LW_PATH_SIZE, "%.*s/nats-server", (int)size, begin);
        if (size > 0 && begin[0] == '/' && whole < LW_PATH_SIZE && access(program, X_OK) == 0) {
            return true;
        }
        begin += size + (begin[size] == ':');
    }
    return false;
}

/* Debian keeps it where an ordinary user's PATH does not look. */
lw_status lw_child_find(lw_child *child) {
    const char *path = getenv("PATH");
    if ((path != NULL && find_in(path, child->program)) ||
        find_in("/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin", child->program)) {
        return LW_OK;
    }
    return lw_fail(LW_REFUSED, "nats-server not found: apt install nats-server, or use --bus none");
}

void lw_child_signal(const lw_child *child, int number) {
    LW_ASSERT(child->process != 0);
    (void)kill(child->process, number);
}
