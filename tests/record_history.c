/* SPDX-License-Identifier: Apache-2.0 */
/* Records what clients of a real node are told, as sim/history.h has it, for
 * `lathwork sim --check FILE`. An ordinary program of liblathwork.
 *
 *   record_history ADDRESS FILE SECONDS CLIENTS ISOLATION SEED KILLS
 *
 * ISOLATION is strict, snapshot or both; KILLS how many clients die by SIGKILL in a minute. Each
 * client is a process of its own with a file of its own. It writes down what a transaction is about
 * to commit before it does, with status info, so that of one that dies in the middle it is known
 * what it may have done; a line that it had not finished tells of nothing that was sent. In the end
 * everything is read once more, and all lines come together in FILE.
 *
 * The node may go away and come back at any time. */
#include "client/lathwork.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CLIENTS_MAX = 64,
    WINDOW = 6,     /* lists that are hot at a time, */
    LIST_LIFE = 40, /* each for so many transactions */
    ROWS = 5,       /* that go with a list */
    OPS_MAX = 20,
    FINAL_LISTS = 32, /* that a final transaction reads */
    FINAL_SECONDS = 60,
    KEY_SIZE = 32,
    ELEMENTS_MAX = 4096,
};

/* What the clients share. */
typedef struct common {
    atomic_uint_fast64_t next_txn, next_value;
    atomic_bool stopping;
} common;

typedef struct recorder {
    common *shared;
    const char *address, *path;
    bool strict, snapshot;
    uint64_t seconds, clients, kills_per_minute;
    uint64_t random;
    uint32_t next_process;
    pid_t children[CLIENTS_MAX];
} recorder;

static uint64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pause_ms(uint64_t milliseconds) {
    struct timespec time = {.tv_sec = (time_t)(milliseconds / 1000),
                            .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

static uint64_t below(uint64_t *random, uint64_t bound) {
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*random >> 33) % bound;
}

static _Noreturn void give_up(const char *what) {
    (void)fprintf(stderr, "record_history: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* ---- a transaction as text ---------------------------------------------------------------- */

typedef struct text {
    char *data;
    size_t size, capacity;
} text;

__attribute__((format(printf, 2, 3))) static void print(text *to, const char *format, ...) {
    va_list arguments;
    if (to->capacity - to->size < 256) {
        to->capacity = to->capacity * 2 + 4096;
        to->data = realloc(to->data, to->capacity);
        if (to->data == NULL) {
            give_up("memory");
        }
    }
    va_start(arguments, format);
    to->size += (size_t)vsnprintf(to->data + to->size, 256, format, arguments);
    va_end(arguments);
}

typedef struct session {
    recorder *of;
    lw_client *client;
    FILE *file;
    uint32_t process;
    uint64_t random;
    lw_txn *txn;
    uint64_t number, invoke_ns;
    bool strict, writes, final;
    text ops;
} session;

static void write_line(session *in, const char *status, uint64_t complete_ns) {
    char complete[24];
    (void)snprintf(complete, sizeof(complete), "%" PRIu64, complete_ns);
    (void)fprintf(in->file,
                  "{\"txn\":%" PRIu64 ",\"process\":%u,\"invoke_ns\":%" PRIu64
                  ",\"complete_ns\":%s,\"status\":\"%s\",\"ops\":[%.*s],\"start_ts\":%" PRIu64
                  ",\"commit_ts\":%" PRIu64 ",\"isolation\":\"%s\",\"final\":%s}\n",
                  in->number, in->process, in->invoke_ns, complete_ns == 0 ? "null" : complete,
                  status, (int)in->ops.size, in->ops.data != NULL ? in->ops.data : "",
                  lw_read_timestamp(in->txn), lw_commit_timestamp(in->txn),
                  in->strict ? "strict" : "snapshot", in->final ? "true" : "false");
    if (fflush(in->file) != 0) {
        give_up("the history cannot be written");
    }
}

static void note(session *in, const char *kind, const char *key, const uint8_t *values,
                 size_t count, bool is_list) {
    print(&in->ops, "%s[\"%s\",\"%s\",", in->ops.size > 0 ? "," : "", kind, key);
    print(&in->ops, "%s", is_list || count == 0 ? "[" : "");
    for (size_t index = 0; index < count; index++) {
        uint64_t value;
        memcpy(&value, values + index * sizeof(value), sizeof(value));
        print(&in->ops, "%s%" PRIu64, index > 0 ? "," : "", value);
    }
    print(&in->ops, "%s]", is_list || count == 0 ? "]" : "");
}

static void note_write(session *in, const char *kind, const char *key, uint64_t value) {
    in->writes = true;
    print(&in->ops, "%s[\"%s\",\"%s\",%" PRIu64 "]", in->ops.size > 0 ? "," : "", kind, key, value);
}

static lw_bytes bytes_of(const void *data, size_t size) {
    return (lw_bytes){.data = data, .size = size};
}

static lw_bytes name_of(const char *key) {
    return bytes_of(key, strlen(key));
}

/* ---- operations --------------------------------------------------------------------------- */

/* LW_OK with no value if the key is absent. */
static lw_status read_key(session *in, const char *key, bool is_list, bool for_update,
                          lw_bytes *value) {
    *value = bytes_of("", 0);
    lw_status status = for_update ? lw_get_for_update(in->txn, name_of(key), value)
                                  : lw_get(in->txn, name_of(key), value);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    note(in, "r", key, value->data, value->size / sizeof(uint64_t), is_list);
    return LW_OK;
}

static lw_status append_to_list(session *in, const char *key) {
    uint64_t element = atomic_fetch_add(&in->of->shared->next_value, 1);
    lw_bytes elements;
    /* At snapshot isolation an append without a look is in conflict with nothing. */
    if (in->strict && below(&in->random, 6) == 0) {
        note_write(in, "append", key, element);
        return lw_append(in->txn, name_of(key), bytes_of(&element, sizeof(element)));
    }
    lw_status status = read_key(in, key, true, below(&in->random, 3) == 0, &elements);
    if (status != LW_OK || elements.size >= ELEMENTS_MAX * sizeof(element)) {
        return status;
    }
    static uint8_t grown[(ELEMENTS_MAX + 1) * sizeof(uint64_t)];
    memcpy(grown, elements.data, elements.size);
    memcpy(grown + elements.size, &element, sizeof(element));
    note_write(in, "append", key, element);
    return lw_put(in->txn, name_of(key), bytes_of(grown, elements.size + sizeof(element)));
}

static lw_status write_row(session *in, const char *key) {
    uint64_t number = atomic_fetch_add(&in->of->shared->next_value, 1);
    lw_bytes value = bytes_of("x", 1);
    if (below(&in->random, 3) != 0) {
        lw_status status = read_key(in, key, false, below(&in->random, 4) == 0, &value);
        if (status != LW_OK) {
            return status;
        }
    }
    note_write(in, "w", key, number);
    lw_bytes made = bytes_of(&number, sizeof(number));
    return value.size > 0 ? lw_put(in->txn, name_of(key), made)
                          : lw_insert(in->txn, name_of(key), made);
}

/* All rows of a list; those that the scan does not show are absent. */
static lw_status scan_rows(session *in, uint64_t list) {
    char prefix[KEY_SIZE], name[KEY_SIZE];
    (void)snprintf(prefix, sizeof(prefix), "row/%08" PRIu64 "/", list);
    lw_scan_options options = {.prefix = name_of(prefix), .backwards = below(&in->random, 2) == 0};
    lw_scan *scan = NULL;
    lw_status status = lw_scan_open(in->txn, &options, &scan);
    bool shown[ROWS] = {false};
    lw_bytes key, value;
    while (status == LW_OK && (status = lw_scan_next(scan, &key, &value)) == LW_OK) {
        (void)snprintf(name, sizeof(name), "%.*s", (int)key.size, (const char *)key.data);
        note(in, "r", name, value.data, value.size / sizeof(uint64_t), false);
        shown[(name[key.size - 1] - '0') % ROWS] = true;
    }
    lw_scan_close(scan);
    for (int row = 0; status == LW_NOT_FOUND && row < ROWS; row++) {
        if (!shown[row]) {
            (void)snprintf(name, sizeof(name), "row/%08" PRIu64 "/%d", list, row);
            note(in, "r", name, NULL, 0, false);
        }
    }
    return status == LW_NOT_FOUND ? LW_OK : status;
}

static lw_status run_op(session *in, uint64_t newest) {
    char list_key[KEY_SIZE], row_key[KEY_SIZE];
    uint64_t back = below(&in->random, WINDOW), list = newest > back ? newest - back : 0;
    (void)snprintf(list_key, sizeof(list_key), "list/%08" PRIu64, list);
    (void)snprintf(row_key, sizeof(row_key), "row/%08" PRIu64 "/%" PRIu64, list,
                   below(&in->random, ROWS));
    lw_bytes value;
    uint64_t choice = below(&in->random, 12);
    return choice < 3    ? append_to_list(in, list_key)
           : choice < 6  ? read_key(in, list_key, true, false, &value)
           : choice < 9  ? write_row(in, row_key)
           : choice < 11 ? read_key(in, row_key, false, below(&in->random, 4) == 0, &value)
                         : scan_rows(in, list);
}

/* ---- clients ------------------------------------------------------------------------------ */

/* Commits, and asks what became of it if nobody says; sometimes not. */
static void finish(session *in, lw_status status) {
    if (status != LW_OK) {
        lw_status rolled_back = lw_rollback(in->txn);
        (void)rolled_back; /* closing it does so too */
        write_line(in, "fail", now_ns());
        return;
    }
    if (in->writes) {
        write_line(in, "info", 0);
    }
    status = lw_commit(in->txn);
    for (int attempt = 0; status == LW_UNDETERMINED && attempt < 3 && below(&in->random, 4) != 0;
         attempt++) {
        uint64_t commit_timestamp;
        lw_status outcome = lw_txn_outcome(in->client, lw_txn_token(in->txn), &commit_timestamp);
        status = outcome == LW_OK ? LW_OK : outcome == LW_NOT_FOUND ? LW_CONFLICT : LW_UNDETERMINED;
    }
    if (status == LW_UNDETERMINED) {
        in->process += CLIENTS_MAX * 1000; /* whoever does not know is another from now on */
    } else {
        write_line(in, status == LW_OK ? "ok" : "fail", now_ns());
    }
}

static void run_transaction(session *in) {
    recorder *of = in->of;
    in->strict = of->strict && (!of->snapshot || below(&in->random, 2) == 0);
    lw_txn_options options = {.isolation = in->strict ? LW_STRICT : LW_SNAPSHOT,
                              .locking =
                                  below(&in->random, 3) == 0 ? LW_PESSIMISTIC : LW_OPTIMISTIC,
                              .timeout_ms = 200 + (uint32_t)below(&in->random, 3000)};
    in->ops.size = 0;
    in->writes = false;
    in->number = atomic_fetch_add(&of->shared->next_txn, 1);
    in->invoke_ns = now_ns();
    if (lw_begin(in->client, &options, &in->txn) != LW_OK) {
        return;
    }
    uint64_t ops = below(&in->random, 12) == 0 ? OPS_MAX : 1 + below(&in->random, 4);
    lw_status status = LW_OK;
    for (; status == LW_OK && ops > 0; ops--) {
        status = run_op(in, in->number / LIST_LIFE);
    }
    finish(in, status);
    lw_txn_close(in->txn);
    if (status == LW_UNAVAILABLE) {
        pause_ms(5);
    }
}

static session open_session(recorder *of, uint32_t process) {
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s.%u", of->path, process);
    session in = {.of = of, .process = process, .random = of->random + process};
    in.file = fopen(path, "w");
    if (in.file == NULL) {
        give_up(path);
    }
    char label[24];
    (void)snprintf(label, sizeof(label), "process-%u", process);
    lw_client_options options = {.address = of->address, .label = label, .timeout_ms = 3000};
    if (lw_open(&options, &in.client) != LW_OK) {
        (void)fprintf(stderr, "record_history: %s\n", lw_client_error(in.client));
        exit(2);
    }
    return in;
}

static void close_session(session *in) {
    lw_close(in->client);
    (void)fclose(in->file);
    free(in->ops.data);
}

static void start_client(recorder *of, uint64_t place) {
    uint32_t process = of->next_process++;
    pid_t child = fork();
    if (child < 0) {
        give_up("fork");
    }
    of->children[place] = child;
    if (child > 0) {
        return;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    session in = open_session(of, process);
    while (!atomic_load(&of->shared->stopping)) {
        run_transaction(&in);
    }
    close_session(&in);
    exit(0);
}

static void end_client(recorder *of, uint64_t place, bool by_force) {
    int state;
    if (by_force) {
        (void)kill(of->children[place], SIGKILL);
    }
    (void)waitpid(of->children[place], &state, 0);
    bool good = by_force || (WIFEXITED(state) && WEXITSTATUS(state) == 0);
    if (!good) {
        (void)fprintf(stderr, "record_history: a client ended badly (%d)\n", state);
        exit(2);
    }
}

/* ---- the end ------------------------------------------------------------------------------ */

static lw_status read_finally(session *in, uint64_t begin, uint64_t end) {
    lw_status status = LW_OK;
    for (uint64_t list = begin; status == LW_OK && list < end; list++) {
        char key[KEY_SIZE];
        lw_bytes value;
        (void)snprintf(key, sizeof(key), "list/%08" PRIu64, list);
        status = read_key(in, key, true, false, &value);
        if (status == LW_OK) {
            status = scan_rows(in, list);
        }
    }
    return status;
}

/* Reads everything; false if the node does not come back. */
static bool record_final(recorder *of) {
    session in = open_session(of, of->next_process++);
    uint64_t lists = atomic_load(&of->shared->next_txn) / LIST_LIFE + 1;
    uint64_t give_up_ns = now_ns() + FINAL_SECONDS * UINT64_C(1000000000);
    in.strict = true;
    in.final = true;
    for (uint64_t list = 0; list < lists && now_ns() < give_up_ns;) {
        uint64_t end = list + FINAL_LISTS < lists ? list + FINAL_LISTS : lists;
        lw_txn_options options = {.read_only = 1};
        in.ops.size = 0;
        in.number = atomic_fetch_add(&of->shared->next_txn, 1);
        in.invoke_ns = now_ns();
        lw_status status = lw_begin(in.client, &options, &in.txn);
        status = status == LW_OK ? read_finally(&in, list, end) : status;
        if (status == LW_OK) {
            write_line(&in, "ok", now_ns());
            list = end;
        } else {
            pause_ms(50);
        }
        lw_txn_close(in.txn);
    }
    bool done = now_ns() < give_up_ns;
    if (!done) {
        (void)fprintf(stderr, "record_history: the final reads could not be made: %s\n",
                      lw_client_error(in.client));
    }
    close_session(&in);
    return done;
}

/* Adds the finished lines of a client's file. */
static void collect(const recorder *of, uint32_t process, FILE *to) {
    char path[4096];
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    (void)snprintf(path, sizeof(path), "%s.%u", of->path, process);
    FILE *from = fopen(path, "r");
    while (from != NULL && (size = getline(&line, &capacity, from)) > 0) {
        if (line[size - 1] == '\n') {
            (void)fwrite(line, 1, (size_t)size, to);
        }
    }
    free(line);
    if (from != NULL) {
        (void)fclose(from);
        (void)unlink(path);
    }
}

static void read_arguments(recorder *of, char **arguments) {
    of->address = arguments[1];
    of->path = arguments[2];
    of->seconds = strtoull(arguments[3], NULL, 10);
    of->clients = strtoull(arguments[4], NULL, 10);
    of->strict = strcmp(arguments[5], "snapshot") != 0;
    of->snapshot = strcmp(arguments[5], "strict") != 0;
    of->random = strtoull(arguments[6], NULL, 10) * 1000003;
    of->kills_per_minute = strtoull(arguments[7], NULL, 10);
    of->clients = of->clients > CLIENTS_MAX ? CLIENTS_MAX : of->clients;
}

int main(int argument_count, char **arguments) {
    recorder of = {.next_process = 0};
    if (argument_count != 8) {
        (void)fprintf(stderr, "usage: record_history ADDRESS FILE SECONDS CLIENTS "
                              "strict|snapshot|both SEED KILLS_PER_MINUTE\n");
        return 2;
    }
    read_arguments(&of, arguments);
    of.shared =
        mmap(NULL, sizeof(*of.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (of.shared == MAP_FAILED) {
        give_up("memory");
    }
    atomic_store(&of.shared->next_value, 1);
    for (uint64_t place = 0; place < of.clients; place++) {
        start_client(&of, place);
    }
    uint64_t end_ns = now_ns() + of.seconds * UINT64_C(1000000000), kills = 0;
    while (now_ns() < end_ns) {
        pause_ms(10);
        if (below(&of.random, 6000) < of.kills_per_minute) {
            uint64_t place = below(&of.random, of.clients);
            end_client(&of, place, true);
            start_client(&of, place);
            kills++;
        }
    }
    atomic_store(&of.shared->stopping, true);
    for (uint64_t place = 0; place < of.clients; place++) {
        end_client(&of, place, false);
    }
    bool done = record_final(&of);
    FILE *to = fopen(of.path, "w");
    if (to == NULL) {
        give_up(of.path);
    }
    for (uint32_t process = 0; process < of.next_process; process++) {
        collect(&of, process, to);
    }
    if (fclose(to) != 0) {
        give_up(of.path);
    }
    (void)printf("%" PRIu64 " transactions, %" PRIu64 " clients killed\n",
                 (uint64_t)atomic_load(&of.shared->next_txn), kills);
    return done ? 0 : 1;
}
