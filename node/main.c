/* SPDX-License-Identifier: Apache-2.0 */
/* The program: binds the commands whose work is outside client/, and holds `start`.
 *
 * Invariants
 * 1. Standard output gets four lines, or one JSON object, once the node serves, and nothing else.
 * 2. SIGINT and SIGTERM stop the node cleanly; a second one of either ends the process at once.
 *    They arrive as a byte on a socket, so that no signal falls between looking and waiting.
 * 3. After a failed disk nothing is flushed or closed: what was acknowledged is on disk, and the
 *    rest is not to be trusted. */
#include "base/env.h"
#include "client/command.h"
#include "lattice/bus_nats.h"
#include "lattice/bus_real.h"
#include "lattice/member.h"
#include "node/gc.h"
#include "node/invite.h"
#include "node/lattice.h"
#include "node/node.h"
#include "node/offline.h"
#include "node/up.h"
#include "sim/command.h"
#include "storage/identity.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define NATS_SCHEME "nats://"

typedef struct start_work {
    lw_command *command;
    lw_env *env;
    lw_handle stop; /* a byte comes when a signal did */
    lw_node *node;
    lw_bus_real bus;
    char bus_folder[LW_PATH_SIZE], bus_host[LW_HOST_SIZE];
    char token[2 * LW_TOKEN_TEXT_SIZE]; /* that lets this node in */
    char token_file[LW_PATH_SIZE];      /* of one that lets others in; "": none */
    bool joins;                         /* it is no member yet */
    lw_status status;                   /* of opening */
    lw_error reason;                    /* of a failed opening, or of dying */
    bool died, done;
} start_work;

/* ---- signals ------------------------------------------------------------------------------------
 */

/* Handlers get nothing but the signal's number, so this one thing is the process's. */
static volatile sig_atomic_t stop_writer = -1;

static void on_stop(int signal_number) {
    (void)signal_number;
    int before = errno;
    (void)send(stop_writer, "s", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    errno = before;
}

static lw_status listen_to_signals(start_work *work) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return lw_fail(LW_INTERNAL, "cannot make a pair of sockets: %s", strerror(errno));
    }
    lw_real_handle_add((lw_real_env *)work->env, ends[0], LW_REAL_SOCKET);
    work->stop.number = ends[0];
    stop_writer = ends[1];
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = (int)(SA_RESTART | SA_RESETHAND)};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGINT, &stop, NULL);
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    return LW_OK;
}

/* ---- start --------------------------------------------------------------------------------------
 */

/* io_uring, or where it is refused plain poll. */
static lw_status open_env(lw_env **env) {
    if (lw_env_uring_open(env) == LW_OK) {
        return LW_OK;
    }
    lw_error reason = *lw_error_slot();
    LW_TRY(lw_env_posix_open(env));
    lw_logline(*env, LW_LEVEL_WARN, "io_uring is refused, the node uses poll", "reason=\"%s\"",
               reason.text);
    return LW_OK;
}

/* Every connection is a descriptor; the soft limit is often 1024. A core would hold the lattice's
 * keys and what people store: none is written (hazard X6), unless somebody asks for one once the
 * node runs (prlimit --core). */
static void set_limits(void) {
    struct rlimit files, core;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (getrlimit(RLIMIT_CORE, &core) == 0) {
        core.rlim_cur = 0;
        (void)setrlimit(RLIMIT_CORE, &core);
    }
}

/* At no address that others could reach it at. */
static bool listens_everywhere(const char *address) {
    return strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0;
}

static void announce(start_work *work) {
    lw_command *command = work->command;
    const char *address = lw_node_address(work->node);
    const char *given = command->flags[LW_FLAG_DATA].text;
    char *whole = realpath(given, NULL);
    const char *directory = whole == NULL ? given : whole;
    if (command->json) {
        lw_buffer out = lw_buffer_in(command->memory);
        lw_json json = lw_json_to(&out);
        lw_json_object_open(&json, NULL);
        lw_json_text(&json, "listen", lw_text(address));
        lw_json_bytes(&json, "data", lw_text(directory));
        lw_json_number(&json, "process", (uint64_t)getpid());
        lw_json_bytes(&json, "token_file", lw_text(work->token_file));
        lw_json_object_close(&json);
        lw_buffer_append_u8(&out, '\n');
        lw_command_drain(command, &out, true);
        lw_buffer_reset(&out);
    } else if (!lw_command_given(command, LW_FLAG_QUIET)) {
        bool usual = strcmp(address, LW_DEFAULT_ADDRESS) == 0;
        (void)fprintf(command->answers,
                      "listening on %s\ndata in %s\nnext: lathwork put greeting hello%s%s\n",
                      address, directory, usual ? "" : " --addr ", usual ? "" : address);
        if (listens_everywhere(address)) {
            (void)fprintf(command->answers,
                          "to add a node: first start this one with --listen and an "
                          "address that the other reaches\n");
        } else {
            (void)fprintf(command->answers,
                          "to add a node: lathwork start --data DIR --listen HOST:PORT --join %s "
                          "--token-file %s\n",
                          address, work->token_file);
        }
    }
    (void)fflush(command->answers);
    free(whole);
}

static void died(void *argument, const lw_error *reason) {
    start_work *work = argument;
    work->reason = *reason;
    work->died = true;
}

/* "HOST", "HOST:PORT" or "[IPV6]:PORT"; without a port it is left alone. */
static lw_status split_bus_listen(const char *text, char host[LW_HOST_SIZE], uint16_t *port) {
    bool whole = strchr(text, ':') != NULL;
    if (!whole && text[0] != '\0' && strlen(text) < LW_HOST_SIZE) {
        (void)snprintf(host, LW_HOST_SIZE, "%s", text);
        return LW_OK;
    }
    return lw_address_split(text, host, port);
}

/* "nats://HOST:PORT", perhaps with "USER:PASSWORD@" before the host, which is not looked at. */
static lw_status check_bus_url(const char *url) {
    char host[LW_HOST_SIZE];
    uint16_t port;
    const char *at = strrchr(url, '@');
    const char *address = at == NULL ? url + strlen(NATS_SCHEME) : at + 1;
    if (lw_address_split(address, host, &port) != LW_OK || port == 0) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "--bus: \"%s\" is not the HOST:PORT of a NATS server, such as "
                       "nats://10.0.0.5:4222",
                       address);
    }
    return LW_OK;
}

/* How the node is to get onto the bus, should it have company. */
static lw_status choose_bus(start_work *work, lw_node_options *options) {
    enum { BEYOND_PORT = 1000 };
    const lw_flag_value *flags = work->command->flags;
    const char *which = flags[LW_FLAG_BUS].text;
    uint16_t port = 0;
    if (strcmp(which, "none") == 0) {
        return LW_OK;
    }
    if (strncmp(which, NATS_SCHEME, strlen(NATS_SCHEME)) == 0) {
        LW_TRY(check_bus_url(which));
        work->bus.url = which;
    } else if (strcmp(which, "child") != 0) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "--bus %s: it is child, none, or the address of a NATS server, such as "
                       "nats://10.0.0.5:4222",
                       which);
    }
    LW_TRY(lw_address_split(flags[LW_FLAG_LISTEN].text, work->bus_host, &port));
    if (port != 0) {
        work->bus.route_port =
            (uint16_t)(port > UINT16_MAX - BEYOND_PORT ? port - BEYOND_PORT : port + BEYOND_PORT);
    }
    if (lw_command_given(work->command, LW_FLAG_BUS_LISTEN)) {
        LW_TRY(split_bus_listen(flags[LW_FLAG_BUS_LISTEN].text, work->bus_host,
                                &work->bus.route_port));
    }
    LW_TRY(lw_path_join(work->bus_folder, flags[LW_FLAG_DATA].text, "bus"));
    work->bus.folder = work->bus_folder;
    work->bus.listen_host = work->bus.public_host = work->bus_host;
    options->open_bus = lw_bus_real_open;
    options->bus_argument = &work->bus;
    return LW_OK;
}

/* Nobody but this machine is on the way. */
static bool is_loopback(const char *host) {
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

/* Whether the node's folder belongs to a lattice. */
static LW_YIELDS bool belongs(start_work *work, const char *directory) {
    lw_node_identity identity = {0};
    bool found =
        lw_identity_read(work->env, directory, &identity) == LW_OK && identity.lattice.epoch != 0;
    lw_seal_wipe(&identity, sizeof(identity));
    return found;
}

/* Who has joined long ago needs no token, and the file need not be there any more. */
static LW_YIELDS lw_status read_token(start_work *work, lw_node_options *options) {
    const char *file = work->command->flags[LW_FLAG_TOKEN_FILE].text;
    lw_status status = file == NULL ? LW_OK : lw_invite_read(work->env, file, work->token);
    options->token = file == NULL || status != LW_OK ? NULL : work->token;
    lw_error reason = *lw_error_slot();
    work->joins = options->join != NULL && !belongs(work, options->directory);
    if (status != LW_OK && !work->joins) {
        return options->join != NULL ? LW_OK : lw_fail(status, "%s", reason.text);
    }
    if (status != LW_OK) {
        return lw_fail(status, "%s", reason.text);
    }
    return work->joins ? lw_node_may_join(options) : LW_OK;
}

/* A new folder is made only where the node could listen: it would be the beginning of a lattice,
 * and whoever then joins another with the same folder would be told that it belongs to that one. */
static LW_YIELDS lw_status check_address(start_work *work, const lw_node_options *options) {
    lw_handle listener;
    if (belongs(work, options->directory)) {
        return LW_OK;
    }
    LW_TRY(lw_socket_listen(work->env, options->listen, &listener, NULL));
    lw_socket_close(work->env, listener);
    return LW_OK;
}

static LW_YIELDS lw_status open_node(start_work *work) {
    static const uint32_t voters[] = {1, 3, 5}; /* as the choices of --replication are */
    const lw_command *command = work->command;
    lw_node_options options = {
        .directory = command->flags[LW_FLAG_DATA].text,
        .listen = command->flags[LW_FLAG_LISTEN].text,
        .memory_size = command->flags[LW_FLAG_MEMORY].number,
        .retention_ms = command->flags[LW_FLAG_RETENTION].number,
        .shard_size = command->flags[LW_FLAG_SHARD_SIZE].number,
        .shard_rate = command->flags[LW_FLAG_SHARD_RATE].number,
        .merge_after_ms = command->flags[LW_FLAG_MERGE_AFTER].number == 0
                              ? UINT64_MAX
                              : command->flags[LW_FLAG_MERGE_AFTER].number,
        .version = lw_version(),
        .join = command->flags[LW_FLAG_JOIN].text,
        .zone = command->flags[LW_FLAG_ZONE].text,
        .name = command->flags[LW_FLAG_NAME].text,
        .capacity = command->flags[LW_FLAG_CAPACITY].number,
        .voters = voters[command->flags[LW_FLAG_REPLICATION].number],
        .dead_after_ms = command->flags[LW_FLAG_DEAD_AFTER].number,
        .halted = (lw_halted)command->flags[LW_FLAG_HALTED].number,
        .died = died,
        .argument = work,
    };
    char host[LW_HOST_SIZE];
    uint16_t port;
    if (options.name != NULL && !lw_member_name_sound(lw_text(options.name))) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "--name: a name has 1 to %d letters, digits, points and hyphens, and does "
                       "not begin with a hyphen",
                       LW_MEMBER_NAME_MAX);
    }
    LW_TRY(lw_address_split(options.listen, host, &port));
    options.plain = is_loopback(host);
    if (options.join != NULL && listens_everywhere(options.listen)) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "--listen %s: a node of a lattice listens at one address that the others "
                       "reach",
                       options.listen);
    }
    LW_TRY(choose_bus(work, &options));
    LW_TRY(read_token(work, &options));
    lw_status status = check_address(work, &options);
    status = status == LW_OK ? lw_node_open(work->env, &options, &work->node) : status;
    lw_seal_wipe(work->token, sizeof(work->token));
    return status;
}

/* Whoever has the file can bring a node in. A node without one is a node all the same. */
static LW_YIELDS void invite(start_work *work) {
    char token[LW_NODE_TOKEN_SIZE];
    lw_node_token(work->node, LW_INVITE_MS, token);
    if (lw_invite_write(work->env, work->command->flags[LW_FLAG_DATA].text, token,
                        work->token_file) != LW_OK) {
        work->token_file[0] = '\0';
        lw_logline(work->env, LW_LEVEL_WARN, "no token for new nodes was written", "reason=\"%s\"",
                   lw_error_slot()->text);
    }
    lw_seal_wipe(token, sizeof(token));
}

static LW_YIELDS void start_main(void *argument) {
    start_work *work = argument;
    work->status = open_node(work);
    if (work->status == LW_OK) {
        invite(work);
        announce(work);
        char byte;
        size_t size;
        (void)!lw_socket_receive(work->env, work->stop, &byte, 1, 0, &size);
        lw_logline(work->env, LW_LEVEL_INFO, "the node stops: it was asked to", NULL);
        lw_node_close(work->node);
    } else {
        work->reason = *lw_error_slot();
    }
    work->done = true;
}

/* What the system says about a folder or an address that a node cannot have. */
static lw_status refused(lw_status status) {
    return status == LW_NOT_FOUND || status == LW_EXISTS || status == LW_UNAVAILABLE ? LW_REFUSED
                                                                                     : status;
}

static lw_exit did_not_start(start_work *work) {
    work->status = refused(work->status);
    char hint[LW_ERROR_TEXT_SIZE] = "lathwork help start";
    const char *directory = work->command->flags[LW_FLAG_DATA].text;
    if (work->status == LW_CORRUPTION) {
        (void)snprintf(hint, sizeof(hint), "lathwork check %s", directory);
    } else if (work->status == LW_FULL) {
        (void)snprintf(hint, sizeof(hint), "df -h %s, free some space, then start again",
                       directory);
    } else if (strstr(work->reason.text, LW_LATTICE_FOR_GOOD) != NULL) {
        (void)snprintf(hint, sizeof(hint),
                       "rm -r %s, then lathwork start with --join and --token-file", directory);
    } else if (work->status == LW_REFUSED && work->joins &&
               strstr(work->reason.text, "token") == NULL) {
        (void)snprintf(hint, sizeof(hint), "lathwork nodes --addr %s",
                       work->command->flags[LW_FLAG_JOIN].text);
    } else if (work->status == LW_REFUSED && work->joins) {
        (void)snprintf(hint, sizeof(hint), "lathwork help token");
    } else if (work->status == LW_REFUSED) {
        (void)snprintf(hint, sizeof(hint),
                       "lathwork status (does a node run?), ls -ld %s, or other --data, --listen",
                       directory);
    }
    return lw_command_fail(work->command, work->status, work->reason.text, hint,
                           "the node did not start");
}

/* It left as it was told to, and nothing is left for it to do. */
static lw_exit has_left(const start_work *work) {
    lw_command_say(work->command, "%s", work->reason.text);
    return LW_EXIT_DONE;
}

/* Its lattice does not have it any more: it was taken out, or runs twice. */
static lw_exit shut_out(const start_work *work) {
    return lw_command_fail(work->command, LW_REFUSED, work->reason.text,
                           "lathwork nodes --addr HOST:PORT, with a node that is a member",
                           "the node stopped because its lattice does not have it any more");
}

static lw_exit disk_failed(const start_work *work) {
    bool damaged = work->reason.status == LW_CORRUPTION;
    return lw_command_fail(
        work->command, damaged ? LW_CORRUPTION : LW_INTERNAL, work->reason.text,
        "look at the disk (dmesg), then start again: what was acknowledged is on disk",
        "the node stopped because its disk failed");
}

static lw_exit run_node(start_work *work) {
    (void)lw_env_start(work->env, "start", start_main, work);
    while (!work->done && !work->died) {
        lw_env_turn(work->env, true);
    }
    if (work->died && work->reason.status == LW_OK) {
        return has_left(work);
    }
    if (work->died) {
        return work->reason.status == LW_REFUSED ? shut_out(work) : disk_failed(work);
    }
    return work->status == LW_OK ? LW_EXIT_DONE : did_not_start(work);
}

/* Below that, transactions as clients usually make them could not be trusted to end in time. */
static bool retention_too_short(const lw_command *command) {
    return command->flags[LW_FLAG_RETENTION].number < LW_RETENTION_MIN_MS;
}

static lw_exit start(lw_command *command) {
    if (retention_too_short(command)) {
        return lw_command_fail(command, LW_INVALID_ARGUMENT, "--retention is at least 1s",
                               "lathwork help start", "the node did not start");
    }
    start_work work = {.command = command, .stop = LW_NO_HANDLE};
    set_limits();
    lw_status status = open_env(&work.env);
    if (status == LW_OK) {
        status = listen_to_signals(&work);
    }
    if (status != LW_OK) {
        return lw_command_fail(command, status, lw_error_slot()->text, NULL,
                               "the node did not start");
    }
    lw_exit code = run_node(&work);
    if (work.died) {
        (void)fflush(NULL);
        _exit((int)code);
    }
    lw_env_close(work.env);
    lw_nats_end();
    return code;
}

int main(int argc, char **argv) {
    static const lw_command_binding bindings[] = {
        {"start", start},
        {"up", lw_up_command},
        {"token", lw_invite_command},
        {"inspect", lw_offline_inspect},
        {"check", lw_offline_check},
        {"sim", lw_sim_command},
    };
    return lw_command_main(argc, argv, bindings, sizeof(bindings) / sizeof(bindings[0]));
}
