/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated world as production code and scenarios see it: one seed, one history; chance, and
 * the trace. */
#include "tests/lone_stage.h"

#include "sim/bus.h"

/* ---- a workload that touches everything ----------------------------------------------------- */

typedef struct actor {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    const char *peer; /* whom it talks to */
    uint32_t rounds;
    uint64_t boots;
} actor;

static void serve_stream(lw_env *env, lw_handle socket) {
    uint8_t buffer[2000];
    for (;;) {
        size_t size = 0;
        if (lw_socket_receive(env, socket, buffer, sizeof(buffer), lw_env_now(env) + 2 * SECOND_NS,
                              &size) != LW_OK ||
            size == 0 ||
            lw_socket_send(env, socket, lw_view(buffer, size), lw_env_now(env) + SECOND_NS) !=
                LW_OK) {
            break;
        }
        LW_MARK(env, "test.served");
    }
    lw_socket_close(env, socket);
}

static void server_main(void *argument) {
    actor *self = argument;
    lw_env *env = self->env;
    lw_handle listener, socket;
    if (lw_socket_listen(env, "0.0.0.0:7871", &listener, NULL) != LW_OK) {
        return;
    }
    while (lw_socket_accept(env, listener, &socket) == LW_OK) {
        serve_stream(env, socket);
    }
}

static void talker_main(void *argument) {
    actor *self = argument;
    lw_env *env = self->env;
    char address[64];
    snprintf(address, sizeof(address), "%s:7871", self->peer);
    for (uint32_t round = 0; round < self->rounds; round++) {
        lw_handle socket;
        if (lw_socket_connect(env, address, lw_env_now(env) + SECOND_NS, &socket) != LW_OK) {
            lw_env_sleep(env, lw_env_random_below(env, SECOND_NS));
            continue;
        }
        uint8_t bytes[5000];
        lw_env_entropy(env, bytes, sizeof(bytes));
        size_t size = (size_t)lw_env_random_below(env, sizeof(bytes)) + 1;
        if (lw_socket_send(env, socket, lw_view(bytes, size), lw_env_now(env) + SECOND_NS) ==
            LW_OK) {
            uint8_t echoed[512];
            size_t count;
            lw_status status = lw_socket_receive(env, socket, echoed, sizeof(echoed),
                                                 lw_env_now(env) + SECOND_NS, &count);
            lw_logline(env, LW_LEVEL_INFO, "echo", "status=%d", status);
        }
        lw_socket_close(env, socket);
    }
}

static void write_round(lw_env *env, uint32_t round) {
    char path[64];
    snprintf(path, sizeof(path), "data/file%u", round % 3);
    lw_handle file;
    if (lw_path_mkdir(env, "data") != LW_OK ||
        lw_file_open(env, path, LW_OPEN_CREATE, &file) != LW_OK) {
        return;
    }
    uint8_t bytes[3000];
    lw_env_entropy(env, bytes, sizeof(bytes));
    uint32_t flags = LW_RARE(env, "test.durable") ? LW_WRITE_DURABLE : 0;
    size_t count = 0;
    lw_status status = lw_file_write(env, file, lw_env_random_below(env, 10000),
                                     lw_view(bytes, sizeof(bytes)), flags);
    status = status == LW_OK ? lw_file_read(env, file, 100, bytes, 900, &count) : status;
    status = status == LW_OK ? lw_file_sync(env, file) : status;
    lw_file_close(env, file);
    if (status == LW_OK && lw_path_rename(env, path, "data/moved") == LW_OK) {
        status = lw_path_sync_directory(env, "data");
    }
    lw_logline(env, LW_LEVEL_INFO, "wrote", "wall=%llu status=%d",
               (unsigned long long)lw_env_wall_ms(env), status);
}

static void writer_main(void *argument) {
    actor *self = argument;
    for (uint32_t round = 0; round < self->rounds; round++) {
        write_round(self->env, round);
        lw_env_sleep(self->env, lw_env_random_below(self->env, SECOND_NS / 10));
    }
}

static void hear(void *argument, const lw_bus_message *message) {
    actor *self = argument;
    lw_logline(self->env, LW_LEVEL_INFO, "heard", "from=%llu", (unsigned long long)message->from);
}

static void crier_main(void *argument) {
    actor *self = argument;
    lw_bus_options options = {.node = lw_hash(0, lw_text(lw_host_name(self->host))),
                              .incarnation = ++self->boots,
                              .receive = hear,
                              .argument = self};
    lw_bus *bus;
    char address[LW_ADDRESS_SIZE];
    const char *route = address;
    snprintf(address, sizeof(address), "%s:%d", self->peer, LW_SIM_BUS_PORT);
    assert_int_equal(lw_sim_bus_open(NULL, self->env, &options, &bus), LW_OK);
    lw_bus_set_routes(bus, &route, 1);
    for (uint32_t round = 0; round < self->rounds; round++) {
        lw_bus_publish(bus, LW_BUS_HEARTBEAT, 0, lw_text("here"));
        lw_env_sleep(self->env, lw_env_random_below(self->env, SECOND_NS / 10));
    }
    lw_bus_close(bus);
}

static void start(actor *each) {
    each->env = lw_host_boot(each->host);
    lw_env_start(each->env, "crier", crier_main, each);
    lw_env_start(each->env, "server", server_main, each);
    lw_env_start(each->env, "talker", talker_main, each);
    lw_env_start(each->env, "writer", writer_main, each);
}

/* Crashes, kills, pauses and cuts at times that the seed decides. */
static void trouble(actor actors[3], lw_world *world) {
    lw_chance chance = lw_world_chance(world, "trouble");
    for (uint32_t round = 0; round < 12; round++) {
        lw_world_run(world, lw_world_now(world) + lw_chance_below(&chance, SECOND_NS));
        actor *victim = &actors[lw_chance_below(&chance, 3)];
        actor *other = &actors[(size_t)(victim - actors + 1) % 3];
        switch (lw_chance_below(&chance, 6)) {
        case 0:
            if (lw_host_running(victim->host)) {
                lw_host_crash(victim->host);
            }
            start(victim);
            break;
        case 1:
            if (lw_host_running(victim->host)) {
                lw_host_kill(victim->host);
            }
            start(victim);
            break;
        case 2:
            lw_host_pause(victim->host, lw_chance_below(&chance, SECOND_NS));
            break;
        case 3:
            lw_world_cut(world, victim->host, other->host, lw_chance_percent(&chance, 50));
            break;
        case 4:
            lw_host_crash_after(victim->host, lw_chance_below(&chance, 5),
                                (lw_crash)lw_chance_below(&chance, 3));
            break;
        default:
            lw_world_cut_one_way(world, victim->host, other->host, lw_chance_percent(&chance, 30));
        }
    }
}

static uint64_t run_seed(uint64_t seed, uint64_t hits[LW_FAULT_COUNT]) {
    lw_faults usual = lw_faults_usual();
    lw_faults faults = lw_faults_swarm(&usual, seed);
    lw_world *world = lw_world_open(seed, &faults);
    actor actors[3];
    static const char *const names[3] = {"node1", "node2", "node3"};
    for (size_t index = 0; index < 3; index++) {
        actors[index] = (actor){.world = world,
                                .host = lw_world_host(world, names[index]),
                                .peer = names[(index + 1) % 3],
                                .rounds = 30};
        start(&actors[index]);
    }
    trouble(actors, world);
    lw_world_run(world, lw_world_now(world) + 3 * SECOND_NS);
    uint64_t hash = lw_world_hash(world);
    for (uint32_t fault = 0; fault < LW_FAULT_COUNT; fault++) {
        hits[fault] += lw_world_marked(world, lw_fault_mark((lw_fault)fault));
    }
    lw_world_close(world);
    return hash;
}

static void the_same_seed_gives_the_same_history(void **state) {
    (void)state;
    uint64_t previous = 0, hits[LW_FAULT_COUNT] = {0};
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t hash = run_seed(seed, hits);
        if (run_seed(seed, hits) != hash) {
            fail_msg("seed %llu gave two histories", (unsigned long long)seed);
        }
        assert_true(hash != previous);
        previous = hash;
    }
    lw_faults usual = lw_faults_usual();
    for (uint32_t fault = 0; fault < LW_FAULT_COUNT; fault++) {
        assert_int_equal(hits[fault] > 0, usual.rates[fault] > 0);
    }
}

static void two_worlds_do_not_touch(void **state) {
    (void)state;
    lw_faults none = lw_faults_none();
    uint64_t alone[2], together[2];
    lw_world *worlds[2];
    actor actors[2];
    for (uint32_t both = 0; both < 2; both++) {
        for (size_t index = 0; index < 2; index++) {
            worlds[index] = lw_world_open(index + 7, &none);
            actors[index] = (actor){.world = worlds[index],
                                    .host = lw_world_host(worlds[index], "node1"),
                                    .peer = "node1",
                                    .rounds = 10};
            start(&actors[index]);
            while (both == 0 && lw_world_step(worlds[index])) {
            }
        }
        while (both == 1 && ((int)lw_world_step(worlds[0]) | (int)lw_world_step(worlds[1]))) {
        }
        for (size_t index = 0; index < 2; index++) {
            (both == 0 ? alone : together)[index] = lw_world_hash(worlds[index]);
            lw_world_close(worlds[index]);
        }
    }
    assert_true(alone[0] == together[0] && alone[1] == together[1]);
    assert_true(alone[0] != alone[1]);
}

/* ---- chance, marks, bugs -------------------------------------------------------------------- */

static void each_boot_has_its_own_entropy(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    uint64_t first, second, other;
    lw_env_entropy(stage.env, &first, sizeof(first));
    lw_host_crash(stage.host);
    lw_env_entropy(lw_host_boot(stage.host), &second, sizeof(second));
    lw_env_entropy(lw_host_boot(lw_world_host(stage.world, "node2")), &other, sizeof(other));
    assert_true(first != second && first != other && second != other);
    tear_down(&stage);
}

static void marks_outlive_their_node(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    LW_MARK(stage.env, "test.b");
    LW_MARK(stage.env, "test.a");
    LW_MARK(stage.env, "test.b");
    lw_host_crash(stage.host);
    LW_MARK(lw_host_boot(stage.host), "test.b");
    assert_int_equal(lw_world_marked(stage.world, "test.b"), 3);
    assert_int_equal(lw_world_marked(stage.world, "test.c"), 0);
    size_t count = 0;
    const lw_mark *const *marks = lw_world_marks(stage.world, &count);
    assert_int_equal(count, 2);
    assert_string_equal(marks[0]->name, "test.a");
    assert_string_equal(marks[1]->name, "test.b");
    tear_down(&stage);
}

static void rare_paths_are_taken_in_half_of_the_worlds(void **state) {
    (void)state;
    uint32_t active = 0;
    lw_faults faults = lw_faults_none();
    for (uint32_t rare = 0; rare < 2; rare++) {
        faults.rare_paths = rare == 1;
        for (uint64_t seed = 0; seed < 100; seed++) {
            lw_world *world = lw_world_open(seed, &faults);
            lw_env *env = lw_host_boot(lw_world_host(world, "node1"));
            uint32_t taken = 0;
            for (uint32_t look = 0; look < 1000; look++) {
                taken += LW_RARE(env, "test.rare");
            }
            assert_true(taken < 350);
            assert_true(rare == 1 || taken == 0);
            assert_int_equal(lw_world_marked(world, "test.rare"), taken);
            active += taken > 0;
            lw_world_close(world);
        }
    }
    assert_in_range(active, 35, 65);
}

static void only_planted_bugs_are_on(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    assert_false(LW_BUG(stage.env, "test.bug"));
    lw_world_plant(stage.world, "test.bug");
    assert_true(LW_BUG(stage.env, "test.bug"));
    assert_false(LW_BUG(stage.env, "test.other"));
    assert_int_equal(lw_world_marked(stage.world, "test.bug"), 0);
    tear_down(&stage);
}

/* It shows the same moment for a while, and then the right one; the other clock goes on. */
static void a_wall_clock_that_stands_still_is_right_again_later(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_faults faults = lw_faults_none(), none = faults;
    faults.rates[LW_FAULT_WALL_STUCK] = LW_FAULT_ALWAYS;
    uint64_t right_ms = lw_env_wall_ms(stage.env) - lw_world_now(stage.world) / 1000000;
    lw_world_set_faults(stage.world, &faults);
    uint64_t stuck_ms = lw_env_wall_ms(stage.env), now_ns = lw_env_now(stage.env);
    lw_world_set_faults(stage.world, &none);
    (void)lw_world_run(stage.world, lw_world_now(stage.world) + 10000000);
    assert_int_equal(lw_env_wall_ms(stage.env), stuck_ms);
    assert_int_equal(lw_env_now(stage.env), now_ns + 10000000);
    (void)lw_world_run(stage.world, lw_world_now(stage.world) + UINT64_C(20000000000));
    assert_int_equal(lw_env_wall_ms(stage.env), right_ms + lw_world_now(stage.world) / 1000000);
    tear_down(&stage);
}

static void a_swarm_leaves_faults_out(void **state) {
    (void)state;
    lw_faults usual = lw_faults_usual();
    uint32_t present[LW_FAULT_COUNT] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        lw_faults faults = lw_faults_swarm(&usual, seed);
        for (size_t fault = 0; fault < LW_FAULT_COUNT; fault++) {
            present[fault] += faults.rates[fault] > 0;
        }
    }
    for (size_t fault = 0; fault < LW_FAULT_COUNT; fault++) {
        if (usual.rates[fault] > 0) {
            assert_in_range(present[fault], 70, 130);
        } else {
            assert_int_equal(present[fault], 0);
        }
    }
    assert_int_equal(usual.rates[LW_FAULT_LOST_WRITE], 0);
    assert_int_equal(usual.rates[LW_FAULT_MISDIRECTED_WRITE], 0);
}

/* ---- the trace, and assertions -----------------------------------------------------------------
 */

/* What is written to `file` by then, as text. */
static void read_back(FILE *file, char *text, size_t size) {
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
}

static void the_trace_tells_what_happened(void **state) {
    (void)state;
    lone_stage stage;
    char text[6000];
    FILE *file = tmpfile();
    set_up(&stage, 1);
    lw_world_trace_to(stage.world, file);
    write_text(stage.env, "log", "text", true);
    lw_logline(stage.env, LW_LEVEL_INFO, "hello", NULL);
    read_back(file, text, sizeof(text));
    assert_non_null(strstr(text, "node1    open           handle=0 log"));
    assert_non_null(strstr(text, "write          handle=0 offset=0 size=4 contents="));
    assert_non_null(strstr(text, "sync_directory /"));
    assert_non_null(strstr(text, "log            level=info event=\"hello\""));
    lw_world_trace_to(stage.world, NULL);
    fclose(file);
    tear_down(&stage);
}

/* Runs `body` in a child, which must die of an assertion; what it wrote to stderr is in `text`. */
static void assert_dies(void (*body)(void), char *text, size_t size) {
    FILE *file = tmpfile();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(fileno(file), STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        body();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    read_back(file, text, size);
    fclose(file);
}

/* A write whose buffer changes before it is complete. */
static void change_a_buffer_in_flight(void) {
    lone_stage stage;
    set_up(&stage, 4711);
    lw_handle file;
    char bytes[] = "before";
    lw_status status = lw_file_open(stage.env, "log", LW_OPEN_CREATE, &file);
    lw_op write = {.kind = LW_OP_WRITE, .handle = file, .buffer = bytes, .size = sizeof(bytes)};
    lw_env_submit(stage.env, &write);
    bytes[0] = 'B';
    lw_world_run(stage.world, lw_world_now(stage.world) + SECOND_NS);
    (void)status;
}

/* A direct write of which one of three is not a multiple. */
static void write_direct(size_t shift, size_t size, uint64_t offset) {
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle file;
    char *bytes = lw_allocate_aligned(stage.env->memory, 8192, LW_DIRECT_ALIGNMENT);
    lw_status status = lw_file_open(stage.env, "log", LW_OPEN_CREATE | LW_OPEN_DIRECT, &file);
    status = lw_file_write(stage.env, file, offset, lw_view(bytes + shift, size), 0);
    (void)status;
}
static void misalign_the_buffer(void) {
    write_direct(512, 4096, 4096);
}
static void misalign_the_size(void) {
    write_direct(0, 512, 4096);
}
static void misalign_the_offset(void) {
    write_direct(0, 4096, 512);
}

static void close_a_file_in_use(void) {
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle file;
    lw_status status = lw_file_open(stage.env, "log", LW_OPEN_CREATE, &file);
    lw_host_slow_disk(stage.host, 100);
    lw_op sync = {.kind = LW_OP_SYNC, .handle = file};
    lw_env_submit(stage.env, &sync);
    lw_file_close(stage.env, file);
    (void)status;
}

static void use_a_closed_handle(void) {
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle file;
    lw_status status = lw_file_open(stage.env, "log", LW_OPEN_CREATE, &file);
    lw_file_close(stage.env, file);
    status = lw_file_sync(stage.env, file);
    (void)status;
}

static void wait_for_ever(void) {
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle listener, socket;
    lw_status status = lw_socket_listen(stage.env, "node1:1", &listener, NULL);
    status = lw_socket_accept(stage.env, listener, &socket);
    (void)status;
}

static void mistakes_with_operations_are_caught(void **state) {
    (void)state;
    char text[6000];
    assert_dies(change_a_buffer_in_flight, text, sizeof(text));
    assert_non_null(strstr(text, "seed=4711"));
    assert_non_null(strstr(text, "open           handle=0 log"));
    assert_dies(misalign_the_buffer, text, sizeof(text));
    assert_dies(misalign_the_size, text, sizeof(text));
    assert_dies(misalign_the_offset, text, sizeof(text));
    assert_dies(close_a_file_in_use, text, sizeof(text));
    assert_dies(use_a_closed_handle, text, sizeof(text));
    assert_dies(wait_for_ever, text, sizeof(text));
}

static void a_read_poisons_its_buffer_until_it_is_done(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle file;
    char bytes[4] = "old";
    write_text(stage.env, "log", "new", false);
    assert_int_equal(lw_file_open(stage.env, "log", 0, &file), LW_OK);
    lw_op read = {.kind = LW_OP_READ, .handle = file, .buffer = bytes, .size = 3};
    lw_env_submit(stage.env, &read);
    assert_true(bytes[0] != 'o' && bytes[0] != 'n');
    run_for(&stage, SECOND_NS);
    assert_string_equal(bytes, "new");
    tear_down(&stage);
}

static void operations_submitted_together_come_in_any_order(void **state) {
    (void)state;
    uint32_t reversed = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        lone_stage stage;
        char text[64];
        set_up(&stage, seed);
        write_text(stage.env, "log", "x", false);
        lw_handle file;
        assert_int_equal(lw_file_open(stage.env, "log", 0, &file), LW_OK);
        char first[] = "1", second[] = "2";
        lw_op writes[2] = {
            {.kind = LW_OP_WRITE, .handle = file, .buffer = first, .size = 1},
            {.kind = LW_OP_WRITE, .handle = file, .buffer = second, .size = 1},
        };
        lw_env_submit(stage.env, &writes[0]);
        lw_env_submit(stage.env, &writes[1]);
        run_for(&stage, SECOND_NS);
        reversed += read_text(stage.env, "log", text)[0] == '1';
        tear_down(&stage);
    }
    assert_in_range(reversed, 25, 75);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_history),
        cmocka_unit_test(two_worlds_do_not_touch),
        cmocka_unit_test(each_boot_has_its_own_entropy),
        cmocka_unit_test(marks_outlive_their_node),
        cmocka_unit_test(rare_paths_are_taken_in_half_of_the_worlds),
        cmocka_unit_test(only_planted_bugs_are_on),
        cmocka_unit_test(a_wall_clock_that_stands_still_is_right_again_later),
        cmocka_unit_test(a_swarm_leaves_faults_out),
        cmocka_unit_test(the_trace_tells_what_happened),
        cmocka_unit_test(mistakes_with_operations_are_caught),
        cmocka_unit_test(a_read_poisons_its_buffer_until_it_is_done),
        cmocka_unit_test(operations_submitted_together_come_in_any_order),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
