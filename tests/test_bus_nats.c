/* SPDX-License-Identifier: Apache-2.0 */
/* The bus over real nats-servers on 127.0.0.1: nodes that hear each other, brokers that die or
 * hang, and what is left when all is over. */
#include "lattice/broker_text.h"
#include "lattice/bus_nats.h"
#include "lattice/bus_real.h"

#include "tests/unit.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum { NODES = 3, FOLDER_SIZE = 64 };

typedef struct ear {
    lw_bus *bus;
    uint32_t count;
    uint64_t from;
    bool directed;
    char body[64];
} ear;

typedef struct stage {
    char folder[32];
    lw_env *env;
    ear ears[NODES];
    uint64_t incarnation;
} stage;

/* ---- the stage ------------------------------------------------------------------------------ */

static void hear(void *argument, const lw_bus_message *message) {
    ear *it = argument;
    assert_null(lw_fiber_current());
    it->count++;
    it->from = message->from;
    it->directed = message->directed;
    snprintf(it->body, sizeof(it->body), "%.*s", (int)message->body.size,
             (const char *)message->body.data);
}

static lw_bus_options options_of(stage *on, uint32_t index, uint8_t key) {
    lw_bus_options options = {.node = 0xa1 + index,
                              .incarnation = ++on->incarnation,
                              .receive = hear,
                              .argument = &on->ears[index]};
    memset(options.lattice, 0x5a, sizeof(options.lattice));
    memset(options.key, key, sizeof(options.key));
    return options;
}

static void node_folder(const stage *on, uint32_t index, char folder[FOLDER_SIZE]) {
    snprintf(folder, FOLDER_SIZE, "%s/node%u", on->folder, index);
}

static void join_with(stage *on, uint32_t index, uint8_t key, uint16_t route_port) {
    char folder[FOLDER_SIZE];
    node_folder(on, index, folder);
    lw_bus_options options = options_of(on, index, key);
    lw_bus_real how = {.folder = folder,
                       .listen_host = "127.0.0.1",
                       .public_host = "127.0.0.1",
                       .route_port = route_port};
    assert_int_equal(lw_bus_real_open(&how, on->env, &options, &on->ears[index].bus), LW_OK);
}

static void join_at(stage *on, uint32_t index, const char *url) {
    lw_bus_options options = options_of(on, index, 7);
    lw_bus_real how = {.url = url};
    assert_int_equal(lw_bus_real_open(&how, on->env, &options, &on->ears[index].bus), LW_OK);
}

static void set_up(stage *on) {
    *on = (stage){.folder = "/tmp/lathwork-bus-XXXXXX"};
    assert_non_null(mkdtemp(on->folder));
    if (lw_env_uring_open(&on->env) != LW_OK) {
        assert_int_equal(lw_env_posix_open(&on->env), LW_OK);
    }
}

static void leave(stage *on, uint32_t index) {
    if (on->ears[index].bus != NULL) {
        lw_bus_close(on->ears[index].bus);
        on->ears[index].bus = NULL;
    }
}

static void tear_down(stage *on) {
    for (uint32_t index = 0; index < NODES; index++) {
        leave(on, index);
    }
    lw_env_close(on->env);
    char command[FOLDER_SIZE];
    snprintf(command, sizeof(command), "rm -rf %s", on->folder);
    assert_int_equal(system(command), 0);
}

static void pause_ms(const stage *on, uint64_t duration_ms) {
    lw_env_sleep(on->env, duration_ms * 1000000);
}

static void await_state(const stage *on, uint32_t index, lw_bus_state state) {
    const lw_bus *bus = on->ears[index].bus;
    for (uint32_t waited_ms = 0; bus->state != state; waited_ms += 5) {
        if (waited_ms > 10000) {
            fail_msg("the bus is %s: %s", lw_bus_state_name(bus->state), bus->reason);
        }
        pause_ms(on, 5);
    }
}

/* Says something again and again until the other has heard it; returns for how long. */
static uint32_t await_heard(stage *on, uint32_t from, uint32_t to) {
    uint32_t before = on->ears[to].count;
    for (uint32_t waited_ms = 0; waited_ms < 10000; waited_ms += 5) {
        lw_bus_publish(on->ears[from].bus, LW_BUS_HEARTBEAT, 0, lw_text("words"));
        pause_ms(on, 5);
        if (on->ears[to].count > before) {
            return waited_ms;
        }
    }
    fail_msg("node %u did not hear node %u; its bus is %s: %s", to, from,
             lw_bus_state_name(on->ears[to].bus->state), on->ears[to].bus->reason);
    return 0;
}

static void read_text(const char *folder, const char *name, char *text, size_t size) {
    char path[2 * FOLDER_SIZE];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

static pid_t broker_process(const stage *on, uint32_t index) {
    char folder[FOLDER_SIZE], text[32];
    node_folder(on, index, folder);
    read_text(folder, "nats.pid", text, sizeof(text));
    return (pid_t)strtol(text, NULL, 10);
}

/* Whether it runs: a process that has ended and was not waited for does not. */
static bool runs(pid_t process) {
    char path[64], text[512] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)process);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return false;
    }
    ssize_t size = read(file, text, sizeof(text) - 1);
    close(file);
    const char *state = size > 0 ? strrchr(text, ')') : NULL;
    return state != NULL && state[2] != 'Z' && state[2] != 'X';
}

static void await_not_running(pid_t process) {
    for (uint32_t waited_ms = 0; runs(process); waited_ms++) {
        assert_true(waited_ms < 3000);
        usleep(1000);
    }
}

static uint32_t count_entries(const char *path) {
    DIR *folder = opendir(path);
    assert_non_null(folder);
    uint32_t count = 0;
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count - 2;
}

/* Workers of a ring that was closed take a moment. */
static void await_one_thread(void) {
    for (uint32_t waited_ms = 0; count_entries("/proc/self/task") > 1; waited_ms++) {
        assert_true(waited_ms < 3000);
        usleep(1000);
    }
}

/* A second node joins the first one; they know each other, as members of a lattice do. */
static void join_first(stage *on) {
    const char *first = on->ears[0].bus->address, *second;
    join_with(on, 1, 7, 0);
    lw_bus_set_routes(on->ears[1].bus, &first, 1);
    await_state(on, 1, LW_BUS_UP);
    second = on->ears[1].bus->address;
    lw_bus_set_routes(on->ears[0].bus, &second, 1);
}

/* ---- a client of our own: plain text over TCP ------------------------------------------------ */

static void publish_raw(const stage *on, uint32_t index, const char *subject, lw_bytes payload) {
    char folder[FOLDER_SIZE], text[256];
    unsigned client = 0, route = 0;
    node_folder(on, index, folder);
    read_text(folder, "ports", text, sizeof(text));
    assert_int_equal(sscanf(text, "client %u\nroute %u\n", &client, &route), 2);
    lw_broker_config config = {.node = 0xa1 + index};
    uint8_t key[LW_BUS_KEY_SIZE];
    memset(key, 7, sizeof(key));
    lw_broker_secrets(key, &config);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)client),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int raw = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(raw, (struct sockaddr *)&address, sizeof(address)), 0);
    int size = snprintf(text, sizeof(text),
                        "CONNECT {\"auth_token\":\"%s\",\"verbose\":false}\r\nPUB %s %zu\r\n",
                        config.client_token, subject, payload.size);
    assert_int_equal(write(raw, text, (size_t)size), size);
    assert_int_equal(write(raw, payload.data, payload.size), payload.size);
    assert_int_equal(write(raw, "\r\nPING\r\n", 8), 8);
    /* INFO, then PONG: by then it was handed on. */
    char answer[4096] = "";
    size_t got = 0;
    while (strstr(answer, "PONG") == NULL) {
        ssize_t more = read(raw, answer + got, sizeof(answer) - 1 - got);
        assert_true(more > 0);
        got += (size_t)more;
        answer[got] = '\0';
    }
    close(raw);
}

/* ---- stories -------------------------------------------------------------------------------- */

static void three_brokers_join_by_one_that_they_know(void **state) {
    (void)state;
    stage on;
    set_up(&on);
    for (uint32_t index = 0; index < NODES; index++) {
        join_with(&on, index, 7, 0);
    }
    await_state(&on, 0, LW_BUS_UP);
    const char *seed = on.ears[0].bus->address;
    assert_true(strncmp(seed, "127.0.0.1:", 10) == 0);
    lw_bus_set_routes(on.ears[1].bus, &seed, 1);
    lw_bus_set_routes(on.ears[2].bus, &seed, 1);
    await_state(&on, 1, LW_BUS_UP);
    await_state(&on, 2, LW_BUS_UP);
    for (uint32_t from = 0; from < NODES; from++) {
        for (uint32_t to = 0; to < NODES; to++) {
            if (from != to) {
                (void)await_heard(&on, from, to);
                assert_int_equal(on.ears[to].from, 0xa1 + from);
                assert_false(on.ears[to].directed);
                assert_string_equal(on.ears[to].body, "words");
            }
        }
    }
    /* To one of them, once all that was said before is through. */
    pause_ms(&on, 100);
    uint32_t before[NODES] = {on.ears[0].count, on.ears[1].count, on.ears[2].count};
    lw_bus_publish(on.ears[1].bus, LW_BUS_ANSWER, 0xa3, lw_text("only you"));
    pause_ms(&on, 100);
    assert_int_equal(on.ears[0].count, before[0]);
    assert_int_equal(on.ears[1].count, before[1]);
    assert_int_equal(on.ears[2].count, before[2] + 1);
    assert_true(on.ears[2].directed);
    assert_string_equal(on.ears[2].body, "only you");
    /* The longest message. */
    static const uint8_t bytes[LW_BUS_BODY_SIZE_MAX];
    lw_bus_publish(on.ears[0].bus, LW_BUS_SHARDS, 0xa3, lw_view(bytes, sizeof(bytes)));
    pause_ms(&on, 100);
    assert_int_equal(on.ears[2].count, before[2] + 2);
    tear_down(&on);
}

static void a_stranger_with_another_key_is_not_let_in(void **state) {
    (void)state;
    stage on;
    set_up(&on);
    join_with(&on, 0, 7, 0);
    await_state(&on, 0, LW_BUS_UP);
    join_with(&on, 1, 8, 0);
    const char *seed = on.ears[0].bus->address;
    lw_bus_set_routes(on.ears[1].bus, &seed, 1);
    await_state(&on, 1, LW_BUS_UP);
    for (uint32_t round = 0; round < 50; round++) {
        lw_bus_publish(on.ears[1].bus, LW_BUS_EVENT, 0, lw_text("let me in"));
        pause_ms(&on, 10);
    }
    assert_int_equal(on.ears[0].count, 0);
    assert_int_equal(on.ears[0].bus->figures.refused, 0);
    tear_down(&on);
}

static void a_broker_that_was_killed_is_back_at_once(void **state) {
    (void)state;
    stage on;
    set_up(&on);
    join_with(&on, 0, 7, 0);
    await_state(&on, 0, LW_BUS_UP);
    char address[LW_ADDRESS_SIZE];
    snprintf(address, sizeof(address), "%s", on.ears[0].bus->address);
    join_first(&on);
    (void)await_heard(&on, 0, 1);
    for (uint32_t round = 0; round < 2; round++) {
        pid_t killed = broker_process(&on, 0);
        assert_int_equal(kill(killed, SIGKILL), 0);
        await_state(&on, 0, LW_BUS_DEGRADED);
        assert_true(on.ears[0].bus->reason[0] != '\0');
        await_state(&on, 0, LW_BUS_UP);
        (void)await_heard(&on, 0, 1);
        (void)await_heard(&on, 1, 0);
        assert_int_not_equal(broker_process(&on, 0), killed);
    }
    assert_int_equal(on.ears[0].bus->figures.broker_exits, 2);
    assert_int_equal(on.ears[0].bus->figures.connects, 3);
    assert_string_equal(on.ears[0].bus->address, address);
    /* The address outlives the node, too. */
    leave(&on, 0);
    join_with(&on, 0, 7, 0);
    await_state(&on, 0, LW_BUS_UP);
    assert_string_equal(on.ears[0].bus->address, address);
    const char *other = on.ears[1].bus->address;
    lw_bus_set_routes(on.ears[0].bus, &other, 1);
    (void)await_heard(&on, 0, 1);
    tear_down(&on);
}

static void a_broker_that_hangs_is_killed(void **state) {
    (void)state;
    stage on;
    set_up(&on);
    join_with(&on, 0, 7, 0);
    await_state(&on, 0, LW_BUS_UP);
    pid_t hanging = broker_process(&on, 0);
    assert_int_equal(kill(hanging, SIGSTOP), 0);
    await_state(&on, 0, LW_BUS_DEGRADED);
    await_state(&on, 0, LW_BUS_UP);
    assert_false(runs(hanging));
    assert_int_equal(on.ears[0].bus->figures.broker_exits, 1);
    tear_down(&on);
}

static void nothing_said_while_there_was_no_broker_comes_later(void **state) {
    (void)state;
    stage on;
    set_up(&on);
    join_with(&on, 0, 7, 0);
    await_state(&on, 0, LW_BUS_UP);
    join_first(&on);
    (void)await_heard(&on, 0, 1);
    assert_int_equal(kill(broker_process(&on, 0), SIGKILL), 0);
    await_state(&on, 0, LW_BUS_DEGRADED);
    uint64_t dropped = on.ears[0].bus->figures.unpublished;
    for (uint32_t round = 0; round < 10; round++) {
        lw_bus_publish(on.ears[0].bus, LW_BUS_EVENT, 0, lw_text("old news"));
    }
    assert_int_equal(on.ears[0].bus->figures.unpublished, dropped + 10);
    await_state(&on, 0, LW_BUS_UP);
    pause_ms(&on, 200);
    assert_string_equal(on.ears[1].body, "words");
    (void)await_heard(&on, 0, 1);
    tear_down(&on);
}

static void garbage_on_our_subjects_is_refused(void **state) {
    (void)state;
    stage on;
    set_up(&on);
    join_with(&on, 0, 7, 0);
    await_state(&on, 0, LW_BUS_UP);
    lw_bus_options options = options_of(&on, 0, 7);
    char subject[LW_BUS_SUBJECT_SIZE], other[LW_BUS_SUBJECT_SIZE];
    lw_bus_subject(options.lattice, 0, LW_BUS_EVENT, subject);
    lw_bus_subject(options.lattice, 0, LW_BUS_ASK, other);
    publish_raw(&on, 0, subject, lw_text("x"));
    static const uint8_t bytes[60000];
    publish_raw(&on, 0, subject, lw_view(bytes, sizeof(bytes)));
    publish_raw(&on, 0, subject, lw_view(NULL, 0));
    char unknown[LW_BUS_SUBJECT_SIZE + 8];
    snprintf(unknown, sizeof(unknown), "%.*sxx", (int)(strlen(subject) - 2), subject);
    publish_raw(&on, 0, unknown, lw_text("x"));
    /* A message of somebody who may, under another subject; and the same under its own, twice. */
    uint8_t message[LW_BUS_MESSAGE_SIZE_MAX];
    lw_bus_origin origin = {.node = 0x99, .incarnation = 1, .sequence = 1};
    size_t size =
        lw_bus_message_seal(options.key, &origin, lw_text(subject), lw_text("good"), message);
    publish_raw(&on, 0, other, lw_view(message, size));
    publish_raw(&on, 0, subject, lw_view(message, size));
    publish_raw(&on, 0, subject, lw_view(message, size));
    pause_ms(&on, 100);
    const lw_bus_figures *figures = &on.ears[0].bus->figures;
    assert_int_equal(figures->refused, 5);
    assert_int_equal(figures->stale, 1);
    assert_int_equal(figures->received, 1);
    assert_string_equal(on.ears[0].body, "good");
    assert_int_equal(on.ears[0].bus->state, LW_BUS_UP);
    tear_down(&on);
}

/* The env of the one that hears stands still meanwhile: its ring fills. */
static void who_does_not_listen_loses_messages_and_nothing_else(void **state) {
    (void)state;
    stage on;
    set_up(&on);
    join_with(&on, 0, 7, 0);
    await_state(&on, 0, LW_BUS_UP);
    lw_bus_options options = options_of(&on, 0, 7);
    char subject[LW_BUS_SUBJECT_SIZE];
    lw_bus_subject(options.lattice, 0, LW_BUS_EVENT, subject);
    static const uint8_t bytes[LW_BUS_BODY_SIZE_MAX];
    for (uint32_t round = 0; round < 100; round++) {
        publish_raw(&on, 0, subject, lw_view(bytes, sizeof(bytes)));
    }
    usleep(100000);
    pause_ms(&on, 300);
    const lw_bus_figures *figures = &on.ears[0].bus->figures;
    assert_in_range(figures->overrun, 1, 99);
    assert_int_equal(figures->refused + figures->overrun, 100);
    publish_raw(&on, 0, subject, lw_text("x"));
    pause_ms(&on, 100);
    assert_int_equal(figures->refused + figures->overrun, 101);
    assert_int_equal(on.ears[0].bus->state, LW_BUS_UP);
    tear_down(&on);
}

static void an_address_in_use_is_said(void **state) {
    (void)state;
    stage on;
    set_up(&on);
    lw_handle taken;
    uint16_t port;
    assert_int_equal(lw_socket_listen(on.env, "127.0.0.1:0", &taken, &port), LW_OK);
    join_with(&on, 0, 7, port);
    await_state(&on, 0, LW_BUS_DEGRADED);
    assert_non_null(strstr(on.ears[0].bus->reason, "address already in use"));
    lw_socket_close(on.env, taken);
    await_state(&on, 0, LW_BUS_UP);
    tear_down(&on);
}

/* Its secrets are in there. */
static void the_configuration_is_nobody_elses_to_read(void **state) {
    (void)state;
    stage on;
    char folder[FOLDER_SIZE], path[2 * FOLDER_SIZE];
    struct stat facts;
    set_up(&on);
    join_with(&on, 0, 7, 0);
    await_state(&on, 0, LW_BUS_UP);
    node_folder(&on, 0, folder);
    assert_int_equal(stat(folder, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0700);
    snprintf(path, sizeof(path), "%s/nats.conf", folder);
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0600);
    tear_down(&on);
}

static void a_server_that_was_there_before_will_do(void **state) {
    (void)state;
    stage on;
    set_up(&on);
    join_with(&on, 2, 7, 0);
    await_state(&on, 2, LW_BUS_UP);
    /* A server that is somebody's: that of the third node, without the third node. */
    char folder[FOLDER_SIZE], text[64], url[128];
    unsigned client = 0, route = 0;
    node_folder(&on, 2, folder);
    read_text(folder, "ports", text, sizeof(text));
    assert_int_equal(sscanf(text, "client %u\nroute %u\n", &client, &route), 2);
    lw_broker_config config = {.node = 0xa3};
    uint8_t key[LW_BUS_KEY_SIZE];
    memset(key, 7, sizeof(key));
    lw_broker_secrets(key, &config);
    snprintf(url, sizeof(url), "nats://%s@127.0.0.1:%u", config.client_token, client);
    join_at(&on, 0, url);
    join_at(&on, 1, url);
    await_state(&on, 0, LW_BUS_UP);
    await_state(&on, 1, LW_BUS_UP);
    (void)await_heard(&on, 0, 1);
    (void)await_heard(&on, 1, 0);
    assert_string_equal(on.ears[0].bus->address, "");
    tear_down(&on);
}

static void a_server_that_is_not_there_is_said(void **state) {
    (void)state;
    stage on;
    set_up(&on);
    lw_bus_options options = options_of(&on, 0, 7);
    lw_bus_real how = {.url = "http://127.0.0.1:4222"};
    lw_bus *bus;
    assert_int_equal(lw_bus_real_open(&how, on.env, &options, &bus), LW_INVALID_ARGUMENT);
    join_at(&on, 0, "nats://127.0.0.1:1");
    assert_int_equal(on.ears[0].bus->state, LW_BUS_STARTING);
    await_state(&on, 0, LW_BUS_DEGRADED);
    assert_non_null(strstr(on.ears[0].bus->reason, "no connection to the NATS server"));
    tear_down(&on);
}

/* A node, in a process of its own, that tells its broker's id and is then killed. */
static void a_broker_does_not_outlive_its_node(void **state) {
    (void)state;
    int ends[2];
    stage on;
    set_up(&on);
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t node = fork();
    if (node == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (lw_env_posix_open(&on.env) == LW_OK) {
            join_with(&on, 0, 7, 0);
            await_state(&on, 0, LW_BUS_UP);
            pid_t broker = broker_process(&on, 0);
            (void)!write(ends[1], &broker, sizeof(broker));
            pause_ms(&on, 30000);
        }
        _exit(1);
    }
    pid_t broker = 0;
    assert_int_equal(read(ends[0], &broker, sizeof(broker)), sizeof(broker));
    assert_true(runs(broker));
    assert_int_equal(kill(node, SIGKILL), 0);
    assert_int_equal(waitpid(node, NULL, 0), node);
    await_not_running(broker);
    close(ends[0]);
    close(ends[1]);
    tear_down(&on);
}

/* Runs last. */
static void nothing_is_left_of_a_bus_that_was_closed(void **state) {
    (void)state;
    stage on;
    lw_nats_end();
    uint32_t handles = count_entries("/proc/self/fd");
    await_one_thread();
    set_up(&on);
    join_with(&on, 0, 7, 0);
    await_state(&on, 0, LW_BUS_UP);
    pid_t broker = broker_process(&on, 0);
    size_t used = lw_memory_used(on.env->memory);
    leave(&on, 0);
    assert_false(runs(broker));
    assert_true(lw_memory_used(on.env->memory) < used);
    tear_down(&on);
    lw_nats_end();
    await_one_thread();
    assert_int_equal(count_entries("/proc/self/fd"), handles);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_brokers_join_by_one_that_they_know),
        cmocka_unit_test(a_stranger_with_another_key_is_not_let_in),
        cmocka_unit_test(a_broker_that_was_killed_is_back_at_once),
        cmocka_unit_test(a_broker_that_hangs_is_killed),
        cmocka_unit_test(nothing_said_while_there_was_no_broker_comes_later),
        cmocka_unit_test(garbage_on_our_subjects_is_refused),
        cmocka_unit_test(who_does_not_listen_loses_messages_and_nothing_else),
        cmocka_unit_test(an_address_in_use_is_said),
        cmocka_unit_test(the_configuration_is_nobody_elses_to_read),
        cmocka_unit_test(a_server_that_was_there_before_will_do),
        cmocka_unit_test(a_server_that_is_not_there_is_said),
        cmocka_unit_test(a_broker_does_not_outlive_its_node),
        cmocka_unit_test(nothing_is_left_of_a_bus_that_was_closed),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) ? 1 : 0;
}
