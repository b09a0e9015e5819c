/* SPDX-License-Identifier: Apache-2.0 */
/* `lathwork up`: several nodes on this machine, each a process of this program.
 *
 * Invariants
 * 1. A node never outlives this process: the kernel stops it when this one ends in whatever way.
 * 2. The first node serves before the others are started: they join by it, with the token that it
 *    wrote. In folders that belong to a lattice already both say nothing new.
 * 3. A line of a node's output comes out as one line. */
#include "node/up.h"

#include "node/lattice.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    NODES_MAX = 64,
    ARGUMENTS_MAX = 32,
    LINE_SIZE_MAX = 4096, /* a longer one is broken up */
    STOP_MS = 10000,      /* before nodes that do not stop are killed */
};

typedef struct up_node {
    char name[16], folder[LW_PATH_SIZE], listen[LW_ADDRESS_SIZE];
    pid_t process; /* 0: it does not run */
    int output;    /* -1: closed */
    char line[LINE_SIZE_MAX];
    size_t line_size;
    bool serves;
    bool left; /* it is no member any more, for good */
} up_node;

typedef struct up_work {
    lw_command *command;
    up_node *nodes;
    uint32_t count, running, serving;
    uint32_t absent;    /* ended before they served, */
    uint32_t unstarted; /* ... though they are members */
    char token[LW_PATH_SIZE], program[LW_PATH_SIZE];
    int signals;
    bool stopping, announced;
} up_work;

/* ---- starting a node --------------------------------------------------------------------------
 */

/* What is handed on as it was given; the rest is from the environment and the defaults there too.
 */
static const lw_flag_id handed_on[] = {LW_FLAG_MEMORY,      LW_FLAG_RETENTION,   LW_FLAG_SHARD_SIZE,
                                       LW_FLAG_SHARD_RATE,  LW_FLAG_MERGE_AFTER, LW_FLAG_BUS,
                                       LW_FLAG_REPLICATION, LW_FLAG_DEAD_AFTER};

typedef struct up_arguments {
    char *words[ARGUMENTS_MAX + 1];
    size_t count;
} up_arguments;

static void add_word(up_work *work, up_arguments *to, const char *word) {
    LW_ASSERT(to->count < ARGUMENTS_MAX);
    size_t size = strlen(word) + 1;
    to->words[to->count++] = memcpy(lw_allocate(work->command->memory, size), word, size);
}

static void add_pair(up_work *work, up_arguments *to, const char *name, const char *value) {
    add_word(work, to, name);
    add_word(work, to, value);
}

static void make_arguments(up_work *work, uint32_t index, up_arguments *made) {
    const up_node *node = &work->nodes[index];
    add_pair(work, made, "lathwork", "start");
    add_pair(work, made, "--data", node->folder);
    add_pair(work, made, "--listen", node->listen);
    add_pair(work, made, "--name", node->name);
    add_pair(work, made, "--color", "never");
    for (size_t each = 0; each < sizeof(handed_on) / sizeof(handed_on[0]); each++) {
        if (lw_command_given(work->command, handed_on[each])) {
            char name[40];
            (void)snprintf(name, sizeof(name), "--%s", lw_flag(handed_on[each])->name);
            add_pair(work, made, name, work->command->flags[handed_on[each]].text);
        }
    }
    if (index > 0) {
        add_pair(work, made, "--join", work->nodes[0].listen);
        add_pair(work, made, "--token-file", work->token);
    }
}

/* In the child. A Ctrl-C reaches it with us; any other end of ours stops it. */
static _Noreturn void become_node(const up_work *work, const up_arguments *arguments, int output,
                                  pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (getppid() == parent && dup2(output, STDOUT_FILENO) >= 0 &&
        dup2(output, STDERR_FILENO) >= 0) {
        (void)close_range(3, ~0U, 0);
        (void)execv(work->program, arguments->words);
    }
    _exit(127);
}

static lw_status start_node(up_work *work, uint32_t index) {
    up_node *node = &work->nodes[index];
    up_arguments arguments = {.count = 0};
    int ends[2];
    make_arguments(work, index, &arguments);
    (void)fflush(NULL);
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return lw_fail(LW_INTERNAL, "cannot make a pipe: %s", strerror(errno));
    }
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        become_node(work, &arguments, ends[1], parent);
    }
    int system_error = errno;
    (void)close(ends[1]);
    if (child < 0) {
        (void)close(ends[0]);
        return lw_fail(LW_INTERNAL, "cannot start a process: %s", strerror(system_error));
    }
    node->process = child;
    node->output = ends[0];
    work->running++;
    return LW_OK;
}

/* ---- what nodes print ---------------------------------------------------------------------------
 */

static void announce(up_work *work) {
    lw_command *command = work->command;
    work->announced = true;
    if (command->json) {
        lw_buffer out = lw_buffer_in(command->memory);
        lw_json json = lw_json_to(&out);
        lw_json_object_open(&json, NULL);
        lw_json_array_open(&json, "nodes");
        for (uint32_t index = 0; index < work->count; index++) {
            lw_json_text(&json, NULL, lw_text(work->nodes[index].listen));
        }
        lw_json_array_close(&json);
        lw_json_bytes(&json, "token_file", lw_text(work->token));
        lw_json_object_close(&json);
        lw_buffer_append_u8(&out, '\n');
        lw_command_answer(command, lw_buffer_view(&out));
        lw_buffer_reset(&out);
    } else {
        char of[32] = "";
        if (work->serving < work->count) {
            (void)snprintf(of, sizeof(of), " of %u", work->count);
        }
        (void)fprintf(command->answers,
                      "%u%s nodes serve; Ctrl-C stops them\nnext: lathwork status --addr %s\n",
                      work->serving, of, work->nodes[0].listen);
    }
    (void)fflush(command->answers);
}

static void take_line(up_work *work, up_node *node) {
    bool serves = strncmp(node->line, "listening on ", 13) == 0;
    node->left = node->left || strstr(node->line, LW_LATTICE_FOR_GOOD) != NULL;
    (void)fprintf(work->command->talk, "%s | %s\n", node->name, node->line);
    node->line_size = 0;
    if (serves && !node->serves) {
        node->serves = true;
        work->serving++;
    }
}

/* Reads what there is; at its end closes. */
static void read_output(up_work *work, up_node *node) {
    char bytes[LINE_SIZE_MAX];
    ssize_t size = read(node->output, bytes, sizeof(bytes));
    if (size < 0 && errno == EINTR) {
        return;
    }
    for (ssize_t index = 0; index < size; index++) {
        bool full = node->line_size == LINE_SIZE_MAX - 1;
        if (bytes[index] != '\n') {
            node->line[node->line_size++] = bytes[index];
        }
        if (bytes[index] == '\n' || full) {
            node->line[node->line_size] = '\0';
            take_line(work, node);
        }
    }
    if (size <= 0) {
        if (node->line_size > 0) {
            node->line[node->line_size] = '\0';
            take_line(work, node);
        }
        (void)close(node->output);
        node->output = -1;
    }
}

/* What it said before it ended; something that it started may have its output still. */
static void read_last_words(up_work *work, up_node *node) {
    struct pollfd polled = {.fd = node->output, .events = POLLIN};
    while (node->output >= 0 && poll(&polled, 1, 0) > 0) {
        read_output(work, node);
    }
}

/* ---- ends ---------------------------------------------------------------------------------------
 */

static void tell_end(up_work *work, const up_node *node, int status) {
    char how[64];
    if (WIFSIGNALED(status)) {
        (void)snprintf(how, sizeof(how), "signal %d", WTERMSIG(status));
    } else {
        (void)snprintf(how, sizeof(how), "exit code %d", WEXITSTATUS(status));
    }
    if (work->stopping) {
        return;
    }
    work->absent += !node->serves;
    work->unstarted += !node->serves && !node->left;
    if (node->left && node == &work->nodes[0]) {
        lw_command_say(work->command,
                       "%s | is no member any more, and the others join by it: each of them begins "
                       "with lathwork start --data DIR --listen HOST:PORT from now on",
                       node->name);
    } else if (node->left) {
        lw_command_say(work->command,
                       "%s | is no member any more; the others go on. For a new node in its place: "
                       "rm -r %s, and this command again",
                       node->name, node->folder);
    } else if (!node->serves) {
        lw_command_say(work->command,
                       "%s | ended (%s) before it served; the others go on. Once that is mended, "
                       "this command again",
                       node->name, how);
    } else {
        lw_command_say(work->command,
                       "%s | ended (%s); the others go on. Again: lathwork start --data %s "
                       "--listen %s",
                       node->name, how, node->folder, node->listen);
    }
}

static void reap(up_work *work) {
    int status;
    pid_t ended;
    while ((ended = waitpid(-1, &status, WNOHANG)) > 0) {
        for (uint32_t index = 0; index < work->count; index++) {
            if (work->nodes[index].process == ended) {
                work->nodes[index].process = 0;
                work->running--;
                read_last_words(work, &work->nodes[index]);
                tell_end(work, &work->nodes[index], status);
            }
        }
    }
}

static void signal_all(up_work *work, int number) {
    for (uint32_t index = 0; index < work->count; index++) {
        if (work->nodes[index].process != 0) {
            (void)kill(work->nodes[index].process, number);
        }
    }
}

/* SIGINT of a terminal reaches the nodes by itself; a second one of either ends them at once. */
static void take_signals(up_work *work) {
    struct signalfd_siginfo facts;
    while (read(work->signals, &facts, sizeof(facts)) == (ssize_t)sizeof(facts)) {
        if (facts.ssi_signo == SIGCHLD) {
            continue;
        }
        bool again = work->stopping;
        bool from_terminal = facts.ssi_signo == SIGINT && facts.ssi_code == SI_KERNEL;
        work->stopping = true;
        if (again) {
            signal_all(work, SIGKILL);
        } else if (!from_terminal) {
            signal_all(work, SIGTERM);
        }
    }
    reap(work);
}

/* ---- the loop -----------------------------------------------------------------------------------
 */

/* Waits for output and signals once; up to `timeout_ms`. False if nothing came. */
static bool wait_once(up_work *work, int timeout_ms) {
    struct pollfd polled[NODES_MAX + 1];
    polled[0] = (struct pollfd){.fd = work->signals, .events = POLLIN};
    for (uint32_t index = 0; index < work->count; index++) {
        polled[index + 1] = (struct pollfd){.fd = work->nodes[index].output, .events = POLLIN};
    }
    int ready = poll(polled, work->count + 1, timeout_ms);
    for (uint32_t index = 0; index < work->count && ready > 0; index++) {
        if (polled[index + 1].revents != 0) {
            read_output(work, &work->nodes[index]);
        }
    }
    if (ready > 0 && polled[0].revents != 0) {
        take_signals(work);
    }
    return ready != 0;
}

static bool outputs_open(const up_work *work) {
    for (uint32_t index = 0; index < work->count; index++) {
        if (work->nodes[index].output >= 0) {
            return true;
        }
    }
    return false;
}

static lw_status run_nodes(up_work *work) {
    lw_status status = start_node(work, 0);
    while (status == LW_OK && !work->stopping && work->running > 0 && !work->nodes[0].serves) {
        (void)wait_once(work, -1);
    }
    bool good = status == LW_OK && !work->stopping && work->nodes[0].serves;
    for (uint32_t index = 1; index < work->count && good && status == LW_OK; index++) {
        status = start_node(work, index);
    }
    while (work->running > 0) {
        if (status != LW_OK && !work->stopping) {
            work->stopping = true;
            signal_all(work, SIGTERM);
        }
        if (!wait_once(work, work->stopping ? STOP_MS : -1)) {
            signal_all(work, SIGKILL);
        }
        if (!work->announced && work->serving + work->absent == work->count && work->serving > 0) {
            announce(work);
        }
    }
    while (outputs_open(work) && wait_once(work, 1000)) {
    }
    return status;
}

/* ---- beginning ----------------------------------------------------------------------------------
 */

static lw_status name_nodes(up_work *work) {
    char host[LW_HOST_SIZE];
    uint16_t port;
    const char *folder = work->command->flags[LW_FLAG_DATA].text;
    LW_TRY(lw_address_split(work->command->flags[LW_FLAG_LISTEN].text, host, &port));
    if (port == 0 || port + work->count > UINT16_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "--listen needs a port from 1 to %u for %u nodes",
                       UINT16_MAX - work->count, work->count);
    }
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        return lw_fail(LW_REFUSED, "cannot make the folder %s: %s", folder, strerror(errno));
    }
    ssize_t size = readlink("/proc/self/exe", work->program, sizeof(work->program) - 1);
    if (size < 0) {
        return lw_fail(LW_INTERNAL, "cannot find this program: %s", strerror(errno));
    }
    work->program[size] = '\0';
    bool bracketed = strchr(host, ':') != NULL;
    for (uint32_t index = 0; index < work->count; index++) {
        up_node *node = &work->nodes[index];
        node->output = -1;
        (void)snprintf(node->name, sizeof(node->name), "n%u", index + 1);
        LW_TRY(lw_path_join(node->folder, folder, node->name));
        (void)snprintf(node->listen, sizeof(node->listen), "%s%s%s:%u", bracketed ? "[" : "", host,
                       bracketed ? "]" : "", port + index);
    }
    return lw_path_join(work->token, work->nodes[0].folder, "join-token");
}

static lw_status watch_signals(up_work *work) {
    sigset_t watched;
    sigemptyset(&watched);
    (void)sigaddset(&watched, SIGINT);
    (void)sigaddset(&watched, SIGTERM);
    (void)sigaddset(&watched, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &watched, NULL);
    work->signals = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    return work->signals >= 0 ? LW_OK
                              : lw_fail(LW_INTERNAL, "cannot watch signals: %s", strerror(errno));
}

lw_exit lw_up_command(lw_command *command) {
    uint64_t count = command->flags[LW_FLAG_NODES].number;
    if (count > NODES_MAX) {
        return lw_command_fail(command, LW_INVALID_ARGUMENT, "--nodes is at most 64",
                               "lathwork help up", "no node was started");
    }
    up_work work = {.command = command, .count = (uint32_t)count, .signals = -1};
    work.nodes = lw_allocate_zero(command->memory, count * sizeof(*work.nodes));
    lw_status status = name_nodes(&work);
    status = status == LW_OK ? watch_signals(&work) : status;
    status = status == LW_OK ? run_nodes(&work) : status;
    if (work.signals >= 0) {
        (void)close(work.signals);
    }
    if (status != LW_OK) {
        return lw_command_fail(command, status, lw_error_slot()->text, "lathwork help up",
                               "the nodes were not started");
    }
    return work.unstarted > 0 ? lw_command_fail(command, LW_REFUSED, "what it printed is above",
                                                NULL, "a node did not start")
                              : LW_EXIT_DONE;
}
