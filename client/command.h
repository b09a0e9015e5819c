/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: what its files share. One table (command_table.c) says which commands and flags
 * there are; parsing, help, manual page and completions are all drawn from it.
 *
 *   command_table.c   the table
 *   command_parse.c   arguments and environment → lw_command
 *   command_help.c    help, `help --man`, `help --completion bash`
 *   command_output.c  answers, errors, colours, exit codes
 *   command_text.c    keys and values as text
 *   command_script.c  the script language of `txn` and `shell`
 *   command_data.c    get, put, del, scan
 *   command_atomic.c  add, min, max, append, cas
 *   command_load.c    load, dump
 *   command_txn.c     txn
 *   command_locks.c   locks, and txn kill
 *   command_shards.c  shards, and split
 *   command_nodes.c   nodes, drain, leave
 *   command_key.c     key
 *   command_lattice.c events, plan, move, transfer
 *   command_node.c    status, ping, config, version, and reaching a node
 *   command_bench.c   bench
 *   command_history.c bench --workload
 *   shell.c           shell, the only file that knows libedit
 *
 * This is the edge of the program: these files use standard streams and the environment.
 *
 * Invariants
 * K1. Answers go to standard output, everything else to standard error.
 * K2. An answer of a transaction is printed after it committed, and once.
 * K3. Every status has one exit code, whatever the command; an error has three parts.
 * K4. What is printed on a terminal holds no control characters that came out of the store. */
#ifndef LW_COMMAND_H
#define LW_COMMAND_H

#include "base/fiber.h"
#include "client/command_text.h"
#include "client/json.h"
#include "client/lathwork.h"

#include <stdbool.h>
#include <stdio.h>

/* ---- exit codes ----------------------------------------------------------------------------- */

/* X(name, number, text). Scripts rely on the numbers: they never change. */
#define LW_EXIT_LIST(X)                                                                           \
    X(LW_EXIT_DONE, 0, "done")                                                                    \
    X(LW_EXIT_NEGATIVE, 1, "the answer is no: a key is absent, an expectation or a check failed") \
    X(LW_EXIT_USAGE, 2, "the command line, or what was to be stored, is wrong")                   \
    X(LW_EXIT_UNREACHABLE, 3, "no node, or no answer in time; nothing was committed")             \
    X(LW_EXIT_CONFLICT, 4, "other transactions were first, until the time was up")                \
    X(LW_EXIT_UNDETERMINED, 5, "the commit may or may not have happened")                         \
    X(LW_EXIT_REFUSED, 6, "the node or the system refused: locked, in use, newer, full")          \
    X(LW_EXIT_DAMAGED, 7, "stored data is damaged")                                               \
    X(LW_EXIT_INTERNAL, 8, "an error of the system, or a bug in Lathwork")

typedef enum lw_exit {
#define LW_EXIT_ENUM(name, number, text) name = (number),
    LW_EXIT_LIST(LW_EXIT_ENUM)
#undef LW_EXIT_ENUM
} lw_exit;

lw_exit lw_exit_of(lw_status status);

/* ---- the table ------------------------------------------------------------------------------ */

typedef enum lw_flag_id {
    LW_FLAG_ADDR,
    LW_FLAG_TIMEOUT,
    LW_FLAG_ISOLATION,
    LW_FLAG_AT,
    LW_FLAG_ESCAPED,
    LW_FLAG_HEX,
    LW_FLAG_PREFIX,
    LW_FLAG_FROM,
    LW_FLAG_TO,
    LW_FLAG_REVERSE,
    LW_FLAG_LIMIT,
    LW_FLAG_KEYS_ONLY,
    LW_FLAG_EXPECT,
    LW_FLAG_SET,
    LW_FLAG_TTL,
    LW_FLAG_PROGRESS,
    LW_FLAG_DATA,
    LW_FLAG_LISTEN,
    LW_FLAG_MEMORY,
    LW_FLAG_RETENTION,
    LW_FLAG_SHARD_SIZE,
    LW_FLAG_SHARD_RATE,
    LW_FLAG_MERGE_AFTER,
    LW_FLAG_QUIET,
    LW_FLAG_JOIN,
    LW_FLAG_TOKEN_FILE,
    LW_FLAG_BUS,
    LW_FLAG_BUS_LISTEN,
    LW_FLAG_ZONE,
    LW_FLAG_NAME,
    LW_FLAG_REPLICATION,
    LW_FLAG_CAPACITY,
    LW_FLAG_DEAD_AFTER,
    LW_FLAG_HALTED,
    LW_FLAG_NODES,
    LW_FLAG_EXPIRES,
    LW_FLAG_REVOKE,
    LW_FLAG_LIST,
    LW_FLAG_FOLLOW,
    LW_FLAG_UNDO,
    LW_FLAG_FORCE,
    LW_FLAG_RECORDS,
    LW_FLAG_CLIENTS,
    LW_FLAG_DURATION,
    LW_FLAG_WORKLOAD,
    LW_FLAG_SEED,
    LW_FLAG_RUNS,
    LW_FLAG_SCENARIO,
    LW_FLAG_FAULTS,
    LW_FLAG_FAULTS_FILE,
    LW_FLAG_NO_SHRINK,
    LW_FLAG_HASHES,
    LW_FLAG_TRACE_HTML,
    LW_FLAG_BUG,
    LW_FLAG_ONCE,
    LW_FLAG_MARKS,
    LW_FLAG_TRACE,
    LW_FLAG_HISTORY,
    LW_FLAG_CHECK,
    LW_FLAG_MAN,
    LW_FLAG_COMPLETION,
    LW_FLAG_COLOR,
    LW_FLAG_JSON,
    LW_FLAG_HELP,
    LW_FLAG_COUNT,
} lw_flag_id;

typedef enum lw_flag_kind {
    LW_KIND_SWITCH,   /* takes no value */
    LW_KIND_TEXT,     /* anything */
    LW_KIND_PATH,     /* a file or folder */
    LW_KIND_ADDRESS,  /* HOST:PORT */
    LW_KIND_NUMBER,   /* 1 or more */
    LW_KIND_SIZE,     /* bytes, with K, M or G (powers of 1024), 1M or more */
    LW_KIND_DURATION, /* with ms, s, m or h; kept in milliseconds */
    LW_KIND_CHOICE,   /* one of `choices` */
} lw_flag_kind;

typedef struct lw_flag_spec {
    const char *name;  /* without "--" */
    const char *value; /* how help names the value; NULL for switches */
    lw_flag_kind kind;
    const char *choices;       /* "strict snapshot" */
    const char *default_value; /* NULL: none */
    const char *environment;   /* the variable that stands in for it; NULL: none */
    const char *text;          /* one sentence */
} lw_flag_spec;

typedef struct lw_command lw_command;
typedef lw_exit (*lw_command_function)(lw_command *command);

typedef enum lw_command_group { LW_GROUP_DATA, LW_GROUP_NODE, LW_GROUP_SELF } lw_command_group;

typedef struct lw_command_spec {
    const char *name;
    lw_command_group group;
    const char *operands; /* "KEY..." */
    int operand_min;
    int operand_max; /* -1: any number */
    uint64_t flags;  /* bits of lw_flag_id; the common ones are understood by all */
    const char *summary;
    const char *text; /* paragraphs, separated by empty lines; indented lines stay as they are */
    const char *examples;    /* one a line */
    lw_command_function run; /* NULL: bound by the program */
} lw_command_spec;

const lw_flag_spec *lw_flag(lw_flag_id id);
/* The same as help for a command tells it: some mean something else there. `spec` may be NULL. */
lw_flag_spec lw_flag_of(const lw_command_spec *spec, lw_flag_id id);
/* Its number of commands in `*count`. In the order of help. */
const lw_command_spec *lw_command_table(size_t *count);
const lw_command_spec *lw_command_find(const char *name);
/* Whether a command understands a flag. */
bool lw_command_takes(const lw_command_spec *spec, lw_flag_id id);

/* ---- a command being run -------------------------------------------------------------------- */

typedef enum lw_flag_source {
    LW_SOURCE_NONE, /* not given, and there is no default */
    LW_SOURCE_DEFAULT,
    LW_SOURCE_ENVIRONMENT,
    LW_SOURCE_FLAG,
} lw_flag_source;

typedef struct lw_flag_value {
    lw_flag_source source;
    const char *text; /* as it was written; NULL for switches */
    uint64_t number;  /* of NUMBER, SIZE, DURATION; the index of a CHOICE */
} lw_flag_value;

struct lw_command {
    const lw_command_spec *spec; /* NULL: none was named */
    lw_flag_value flags[LW_FLAG_COUNT];
    const char **operands;
    int operand_count;
    const char *program; /* NULL: lathwork, and the command is one of its; else the whole name */
    lw_memory *memory;
    FILE *in, *answers, *talk;
    bool in_terminal, answers_terminal, talk_terminal;
    bool answers_colored, talk_colored;
    int answers_error; /* errno of the first write that failed; 0: none */
    bool json;
};

/* Reads the arguments, without the program's name. LW_INVALID_ARGUMENT says what is wrong; `spec`
 * is set as far as it could be found out. */
LW_MUST_USE lw_status lw_command_parse(lw_command *command, int count,
                                       const char *const *arguments);
static inline bool lw_command_given(const lw_command *command, lw_flag_id id) {
    return command->flags[id].source > LW_SOURCE_DEFAULT;
}

/* A command whose work is outside client/. */
typedef struct lw_command_binding {
    const char *name;
    lw_command_function run;
} lw_command_binding;

/* Runs one command line, the program's name first; returns the exit code. */
int lw_command_main(int argc, char **argv, const lw_command_binding *bindings,
                    size_t binding_count);

/* ---- output --------------------------------------------------------------------------------- */

/* Looks where the streams go, and decides on colours. */
void lw_command_streams(lw_command *command, FILE *in, FILE *answers, FILE *talk);
/* Prints an error: what did not go well, why, and what to try. `hint` may be NULL: the usual one of
 * the status. Returns the status's exit code. */
lw_exit lw_command_fail(lw_command *command, lw_status status, const char *cause, const char *hint,
                        const char *what, ...) __attribute__((format(printf, 5, 6)));
/* As above with what the client says. */
lw_exit lw_command_fail_client(lw_command *command, lw_status status, const lw_client *client,
                               const char *what);
/* Says something that is neither an answer nor an error. */
void lw_command_say(lw_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Writes answer bytes as they are. What could not be written shows in lw_command_finish. */
void lw_command_answer(lw_command *command, lw_bytes bytes);
/* Writes out a buffer and empties it; with `all` false only once it is large. */
void lw_command_drain(lw_command *command, lw_buffer *out, bool all);
/* Flushes the answers: `done`, or the exit code of a failure, which is then printed. */
lw_exit lw_command_finish(lw_command *command, lw_exit done);
/* Appends the colour that begins a key or a heading, and the end of it; nothing without colours. */
void lw_command_color_begin(const lw_command *command, lw_buffer *out);
void lw_command_color_end(const lw_command *command, lw_buffer *out);
/* Prints rows of cells: aligned on a terminal, separated by tabs elsewhere. */
void lw_command_rows(lw_command *command, const char *const *cells, size_t row_count,
                     size_t column_count);
/* The same for cells that stand one behind the other in `cells`, each with a zero at its end; then
 * empties it. */
void lw_command_cells(lw_command *command, lw_buffer *cells, size_t row_count, size_t column_count);

/* ---- commands ------------------------------------------------------------------------------- */

/* Opens a client by --addr and --timeout, and reaches the node once. On failure the error is
 * printed and `*client` is NULL. */
LW_MUST_USE lw_exit lw_command_connect(lw_command *command, lw_client **client);
/* The options of a transaction by --isolation, --at, --timeout. */
lw_txn_options lw_command_txn_options(const lw_command *command);

/* The form that --escaped and --hex ask for. */
lw_form lw_command_form(const lw_command *command);
/* Appends what a key or value on the command line stands for; an error names `what`. */
LW_MUST_USE lw_status lw_command_bytes(const lw_command *command, const char *what,
                                       const char *text, lw_buffer *out);
/* The same for a value, which may be "-": then it is all of standard input. */
LW_MUST_USE lw_status lw_command_value(lw_command *command, const char *text, lw_buffer *out);
/* Prints why a key, a value or a number cannot be read; returns the exit code. */
lw_exit lw_command_bad_operand(lw_command *command);
/* Appends "KEY<tab>VALUE<newline>" in `form`, the key in colour; with `bare` without the value. */
void lw_command_record(const lw_command *command, lw_form form, lw_bytes key, lw_bytes value,
                       bool bare, lw_buffer *out);

/* A walk over keys as they were at one moment, in one transaction after another at the same
 * timestamp, so that the deadline is one of pages and not of the whole. */
typedef struct lw_walk {
    lw_bytes lower, upper; /* empty: no bound */
    bool backwards, keys_only;
    uint64_t limit; /* 0: all */
    uint64_t at;    /* timestamp; 0: now, and is then set */
    uint64_t count; /* keys visited */
    /* Called for each key; false ends the walk. */
    bool (*visit)(void *argument, lw_bytes key, lw_bytes value);
    void *argument;
} lw_walk;
LW_MUST_USE lw_status lw_command_walk(lw_command *command, lw_client *client, lw_walk *walk);
/* The upper bound of all keys that begin with `prefix`, which is the lower one; empty: there is
 * none. What it points into is in `bound`. */
lw_bytes lw_prefix_bound(lw_bytes prefix, lw_buffer *bound);

/* Prints a node's account of itself: a table, or as it is with --json. */
lw_exit lw_command_print_status(lw_command *command, lw_bytes json);

lw_exit lw_command_get(lw_command *command);
lw_exit lw_command_put(lw_command *command);
lw_exit lw_command_del(lw_command *command);
lw_exit lw_command_scan(lw_command *command);
lw_exit lw_command_add(lw_command *command);
lw_exit lw_command_min(lw_command *command);
lw_exit lw_command_max(lw_command *command);
lw_exit lw_command_append(lw_command *command);
lw_exit lw_command_cas(lw_command *command);
lw_exit lw_command_load(lw_command *command);
lw_exit lw_command_dump(lw_command *command);
LW_YIELDS lw_exit lw_command_txn(lw_command *command);
lw_exit lw_command_shell(lw_command *command);
/* txn kill. */
LW_YIELDS lw_exit lw_command_kill(lw_command *command, const char *transaction);
LW_YIELDS lw_exit lw_command_locks(lw_command *command);
LW_YIELDS lw_exit lw_command_shards(lw_command *command);
lw_exit lw_command_split(lw_command *command);
LW_YIELDS lw_exit lw_command_nodes(lw_command *command);
LW_YIELDS lw_exit lw_command_drain_node(lw_command *command);
LW_YIELDS lw_exit lw_command_leave(lw_command *command);
LW_YIELDS lw_exit lw_command_key(lw_command *command);
LW_YIELDS lw_exit lw_command_events(lw_command *command);
LW_YIELDS lw_exit lw_command_plan(lw_command *command);
LW_YIELDS lw_exit lw_command_move(lw_command *command);
LW_YIELDS lw_exit lw_command_transfer(lw_command *command);
LW_YIELDS lw_exit lw_command_merge(lw_command *command);
lw_exit lw_command_bench(lw_command *command);
lw_exit lw_command_history(lw_command *command);
LW_YIELDS lw_exit lw_command_status(lw_command *command);
LW_YIELDS lw_exit lw_command_ping(lw_command *command);
lw_exit lw_command_config(lw_command *command);
lw_exit lw_command_version(lw_command *command);
lw_exit lw_command_help(lw_command *command);
/* Help for the whole program, or for one command. */
void lw_command_help_print(lw_command *command, const lw_command_spec *spec);

#endif
