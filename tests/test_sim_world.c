/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated world as production code and scenarios see it: one seed, one history; processes
 * that die and come back; clocks; chance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Builds without the simulator's hooks run these tests too. */
#ifndef LW_SIMULATION
#define LW_SIMULATION 1
#endif
#include "sim/bus.h"
#include "sim/world.h"

#define SECOND_NS UINT64_C(1000000000)

static int arm_alarm(void **state) {
    (void)state;
    alarm(60);
    return 0;
}

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

/* ---- one host, one script ------------------------------------------------------------------- */

/* A world without faults and a process in it. */
typedef struct lone_stage {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    uint32_t count;
    lw_status status;
    uint64_t number, other;
    lw_handle handle;
} lone_stage;

static void set_up(lone_stage *stage, uint64_t seed) {
    lw_faults none = lw_faults_none();
    *stage = (lone_stage){.world = lw_world_open(seed, &none), .handle = LW_NO_HANDLE};
    stage->host = lw_world_host(stage->world, "node1");
    stage->env = lw_host_boot(stage->host);
}

static void tear_down(const lone_stage *stage) {
    lw_world_close(stage->world);
}

static void run_for(const lone_stage *stage, uint64_t duration_ns) {
    lw_world_run(stage->world, lw_world_now(stage->world) + duration_ns);
}

/* Outside of fibers the calls of env.h turn the world, so that most scripts need no fiber. */
static void write_text(lw_env *env, const char *path, const char *text, bool sync) {
    lw_handle file;
    assert_int_equal(lw_file_open(env, path, LW_OPEN_CREATE, &file), LW_OK);
    assert_int_equal(lw_file_write(env, file, 0, lw_text(text), 0), LW_OK);
    if (sync) {
        assert_int_equal(lw_file_sync(env, file), LW_OK);
        assert_int_equal(lw_path_sync_directory(env, "/"), LW_OK);
    }
    lw_file_close(env, file);
}

/* The first bytes of a file as the process sees it, or "" if there is none. */
static const char *read_text(lw_env *env, const char *path, char text[64]) {
    lw_handle file;
    size_t size = 0;
    if (lw_file_open(env, path, LW_OPEN_READ_ONLY, &file) == LW_OK) {
        assert_int_equal(lw_file_read(env, file, 0, text, 63, &size), LW_OK);
        lw_file_close(env, file);
    }
    text[size] = '\0';
    return text;
}

static void a_kill_keeps_what_was_written(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        lone_stage stage;
        char text[64];
        set_up(&stage, seed);
        write_text(stage.env, "log", "unsynced", false);
        lw_host_kill(stage.host);
        assert_false(lw_host_running(stage.host));
        lw_env *env = lw_host_boot(stage.host);
        assert_string_equal(read_text(env, "log", text), "unsynced");
        tear_down(&stage);
    }
}

static void a_kill_may_show_what_a_failed_sync_dropped(void **state) {
    (void)state;
    bool dropped = false;
    for (uint64_t seed = 0; seed < 50; seed++) {
        lone_stage stage;
        char text[64];
        lw_handle file;
        set_up(&stage, seed);
        write_text(stage.env, "log", "old", true);
        assert_int_equal(lw_file_open(stage.env, "log", 0, &file), LW_OK);
        assert_int_equal(lw_file_write(stage.env, file, 0, lw_text("new"), 0), LW_OK);
        lw_dice_arm(lw_disk_dice(lw_host_disk(stage.host)), LW_FAULT_SYNC_ERROR, 1);
        assert_int_equal(lw_file_sync(stage.env, file), LW_INTERNAL);
        assert_string_equal(read_text(stage.env, "log", text), "new");
        lw_host_kill(stage.host);
        dropped = dropped || read_text(lw_host_boot(stage.host), "log", text)[0] == 'o';
        tear_down(&stage);
    }
    assert_true(dropped);
}

static void a_crash_may_lose_what_was_written(void **state) {
    (void)state;
    bool lost = false;
    for (uint64_t seed = 0; seed < 50; seed++) {
        lone_stage stage;
        char text[64];
        set_up(&stage, seed);
        write_text(stage.env, "kept", "synced", true);
        write_text(stage.env, "log", "unsynced", false);
        lw_host_crash(stage.host);
        lw_env *env = lw_host_boot(stage.host);
        assert_string_equal(read_text(env, "kept", text), "synced");
        lost = lost || read_text(env, "log", text)[0] != 'u';
        tear_down(&stage);
    }
    assert_true(lost);
}

/* ---- power failing at every step ------------------------------------------------------------ */

/* Replaces the file CURRENT, as a database does; `sync` false is the usual mistake. */
static lw_status replace(lw_env *env, const char *text, bool sync) {
    lw_handle file;
    LW_TRY(lw_file_open(env, "next", LW_OPEN_CREATE, &file));
    lw_status status = lw_file_resize(env, file, 0);
    status = status == LW_OK ? lw_file_write(env, file, 0, lw_text(text), 0) : status;
    status = status == LW_OK && sync ? lw_file_sync(env, file) : status;
    lw_file_close(env, file);
    LW_TRY(status);
    LW_TRY(lw_path_rename(env, "next", "CURRENT"));
    return lw_path_sync_directory(env, "/");
}

typedef struct replacement {
    lone_stage *stage;
    bool sync;
    bool done;
} replacement;

static void replace_main(void *argument) {
    replacement *self = argument;
    lw_status status = replace(self->stage->env, "new", self->sync);
    self->done = status == LW_OK;
}

/* Replaces with power failing at a step; counts what was found wrong afterwards. */
static bool replace_and_crash(uint64_t seed, uint64_t step, lw_crash crash, bool sync,
                              uint32_t *wrong) {
    lone_stage stage;
    char text[64];
    set_up(&stage, seed);
    write_text(stage.env, "CURRENT", "old", true);
    replacement replacing = {.stage = &stage, .sync = sync};
    lw_host_crash_after(stage.host, step, crash);
    lw_env_start(stage.env, "replace", replace_main, &replacing);
    run_for(&stage, SECOND_NS);
    bool crashed = !lw_host_running(stage.host);
    assert_true(crashed || replacing.done);
    if (!crashed) {
        lw_host_crash(stage.host);
    }
    read_text(lw_host_boot(stage.host), "CURRENT", text);
    bool old = strcmp(text, "old") == 0, new = strcmp(text, "new") == 0;
    *wrong += !(new || (old && !replacing.done));
    tear_down(&stage);
    return crashed;
}

static uint32_t enumerate_crashes(bool sync) {
    uint32_t wrong = 0;
    for (uint64_t seed = 0; seed < 30; seed++) {
        for (uint32_t crash = LW_CRASH_BEFORE; crash <= LW_CRASH_AFTER; crash++) {
            uint64_t step = 0;
            while (replace_and_crash(seed, step, (lw_crash)crash, sync, &wrong)) {
                step++;
            }
            /* open, resize, write, (sync,) rename, sync of the directory */
            assert_int_equal(step, sync ? 6 : 5);
        }
    }
    return wrong;
}

static void power_may_fail_at_every_step(void **state) {
    (void)state;
    assert_int_equal(enumerate_crashes(true), 0);
    assert_true(enumerate_crashes(false) > 0);
}

/* The file is made and its name durable; then one durable write meets the end of power. */
static void durable_write_main(void *argument) {
    lone_stage *self = argument;
    self->status = lw_file_write(self->env, self->handle, 0, lw_text("new"), LW_WRITE_DURABLE);
    self->count++;
}

static void each_variant_of_a_crash_differs(void **state) {
    (void)state;
    uint32_t written[3] = {0, 0, 0};
    for (uint64_t seed = 0; seed < 60; seed++) {
        uint32_t crash = (uint32_t)(seed % 3);
        lone_stage stage;
        char text[64];
        set_up(&stage, seed);
        write_text(stage.env, "log", "old", true);
        assert_int_equal(lw_file_open(stage.env, "log", 0, &stage.handle), LW_OK);
        lw_host_crash_after(stage.host, 0, (lw_crash)crash);
        lw_env_start(stage.env, "writer", durable_write_main, &stage);
        run_for(&stage, SECOND_NS);
        assert_false(lw_host_running(stage.host));
        assert_int_equal(stage.count, 0);
        written[crash] += read_text(lw_host_boot(stage.host), "log", text)[0] == 'n';
        tear_down(&stage);
    }
    assert_int_equal(written[LW_CRASH_BEFORE], 0);
    assert_in_range(written[LW_CRASH_WITHIN], 1, 19);
    assert_int_equal(written[LW_CRASH_AFTER], 20);
}

static void a_write_in_flight_may_happen_when_its_process_dies(void **state) {
    (void)state;
    for (uint32_t power = 0; power < 2; power++) {
        uint32_t written = 0;
        for (uint64_t seed = 0; seed < 60; seed++) {
            lone_stage stage;
            char text[64];
            set_up(&stage, seed);
            write_text(stage.env, "log", "old", true);
            assert_int_equal(lw_file_open(stage.env, "log", 0, &stage.handle), LW_OK);
            lw_env_start(stage.env, "writer", durable_write_main, &stage);
            lw_world_step(stage.world); /* the fiber submits, and no more */
            (power == 1 ? lw_host_crash : lw_host_kill)(stage.host);
            assert_int_equal(stage.count, 0);
            written += read_text(lw_host_boot(stage.host), "log", text)[0] == 'n';
            tear_down(&stage);
        }
        assert_in_range(written, 1, 59);
    }
}

static void drain_main(void *argument) {
    lone_stage *self = argument;
    uint8_t bytes[4000];
    size_t size = 1;
    while (size > 0 && self->status == LW_OK) {
        self->status = lw_socket_receive(self->env, self->handle, bytes, sizeof(bytes), 0, &size);
    }
}

static void a_send_that_waits_is_one_step(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle listener, caller;
    assert_int_equal(lw_socket_listen(stage.env, "node1:1", &listener, NULL), LW_OK);
    assert_int_equal(lw_socket_connect(stage.env, "node1:1", 0, &caller), LW_OK);
    assert_int_equal(lw_socket_accept(stage.env, listener, &stage.handle), LW_OK);
    lw_env_start(stage.env, "drain", drain_main, &stage);
    uint64_t before = lw_host_steps(stage.host);
    lw_bytes much = lw_view(lw_allocate_zero(stage.env->memory, 1 << 20), 1 << 20);
    assert_int_equal(lw_socket_send(stage.env, caller, much, 0), LW_OK);
    assert_int_equal(lw_host_steps(stage.host), before + 1);
    tear_down(&stage);
}

/* ---- handles, locks, processes -------------------------------------------------------------- */

static void handles_are_reused_lowest_first(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle files[3], again;
    static const char *const names[] = {"a", "b", "c"};
    for (size_t index = 0; index < 3; index++) {
        assert_int_equal(lw_file_open(stage.env, names[index], LW_OPEN_CREATE, &files[index]),
                         LW_OK);
        assert_int_equal(files[index].number, index);
    }
    lw_file_close(stage.env, files[1]);
    assert_int_equal(lw_file_open(stage.env, "d", LW_OPEN_CREATE, &again), LW_OK);
    assert_int_equal(again.number, 1);
    tear_down(&stage);
}

static void a_lock_dies_with_its_process(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle file, second_file;
    lw_env *second = lw_host_boot(stage.host);
    assert_int_equal(lw_file_open(stage.env, "LOCK", LW_OPEN_CREATE, &file), LW_OK);
    assert_int_equal(lw_file_open(second, "LOCK", LW_OPEN_CREATE, &second_file), LW_OK);
    assert_int_equal(lw_file_lock(stage.env, file), LW_OK);
    assert_int_equal(lw_file_lock(second, second_file), LW_REFUSED);
    lw_env_close(stage.env);
    assert_true(lw_host_running(stage.host));
    assert_int_equal(lw_file_lock(second, second_file), LW_OK);
    lw_host_kill(stage.host);
    lw_env *third = lw_host_boot(stage.host);
    assert_int_equal(lw_file_open(third, "LOCK", 0, &file), LW_OK);
    assert_int_equal(lw_file_lock(third, file), LW_OK);
    tear_down(&stage);
}

static void failures_have_reasons(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle file;
    assert_int_equal(lw_file_open(stage.env, "none", 0, &file), LW_NOT_FOUND);
    assert_non_null(strstr(lw_error_slot()->text, "\"none\""));
    assert_int_equal(lw_file_open(stage.env, "log", LW_OPEN_CREATE, &file), LW_OK);
    assert_int_equal(lw_file_open(stage.env, "log", LW_OPEN_CREATE | LW_OPEN_EXCLUSIVE, &file),
                     LW_EXISTS);
    lw_disk_set_capacity(lw_host_disk(stage.host), 100);
    assert_int_equal(lw_file_resize(stage.env, file, 101), LW_FULL);
    lw_dice_arm(lw_disk_dice(lw_host_disk(stage.host)), LW_FAULT_SYNC_ERROR, 1);
    assert_int_equal(lw_file_sync(stage.env, file), LW_INTERNAL);
    assert_int_equal(lw_socket_connect(stage.env, "nowhere:1", 0, &file), LW_UNAVAILABLE);
    assert_int_equal(lw_socket_connect(stage.env, "node1:1", 0, &file), LW_UNAVAILABLE);
    assert_int_equal(lw_socket_listen(stage.env, "node2:1", &file, NULL), LW_UNAVAILABLE);
    assert_int_equal(lw_socket_listen(stage.env, "node1:1", &file, NULL), LW_OK);
    assert_int_equal(lw_socket_listen(stage.env, "0.0.0.0:1", &file, NULL), LW_REFUSED);
    assert_int_equal(lw_world_marked(stage.world, "fault.sync_error"), 1);
    tear_down(&stage);
}

/* ---- waiting, cancelling, deadlines --------------------------------------------------------- */

static void socket_calls_end_at_their_deadlines(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_env *env = stage.env;
    lw_handle listener, caller, callee;
    uint16_t port = 0;
    char address[32], byte;
    size_t size;
    assert_int_equal(lw_socket_listen(env, "localhost:0", &listener, &port), LW_OK);
    snprintf(address, sizeof(address), "localhost:%u", port);
    lw_op accepting = {
        .kind = LW_OP_ACCEPT, .handle = listener, .deadline_ns = lw_env_now(env) + SECOND_NS};
    assert_int_equal(lw_env_perform(env, &accepting), LW_TIMEOUT);
    assert_int_equal(lw_socket_connect(env, address, 0, &caller), LW_OK);
    assert_int_equal(lw_socket_accept(env, listener, &callee), LW_OK);

    uint64_t deadline = lw_env_now(env) + SECOND_NS;
    assert_int_equal(lw_socket_receive(env, caller, &byte, 1, deadline, &size), LW_TIMEOUT);
    assert_true(lw_env_now(env) >= deadline && lw_env_now(env) < deadline + SECOND_NS / 1000);
    assert_int_equal(lw_socket_send(env, callee, lw_text("x"), 0), LW_OK);
    assert_int_equal(lw_socket_receive(env, caller, &byte, 1, 0, &size), LW_OK);
    assert_int_equal(byte, 'x');

    lw_bytes much = lw_copy(env->memory, lw_view(lw_allocate_zero(env->memory, 1 << 20), 1 << 20));
    assert_int_equal(lw_socket_send(env, callee, much, lw_env_now(env) + SECOND_NS), LW_TIMEOUT);
    /* Part of it was sent: the stream is broken for both. */
    assert_int_equal(lw_socket_send(env, callee, lw_text("x"), 0), LW_UNAVAILABLE);

    lw_host *other = lw_world_host(stage.world, "node2");
    lw_world_cut(stage.world, stage.host, other, true);
    assert_int_equal(lw_socket_connect(env, "node2:1", lw_env_now(env) + SECOND_NS, &caller),
                     LW_TIMEOUT);
    tear_down(&stage);
}

static void receive_main(void *argument) {
    lone_stage *self = argument;
    uint8_t byte;
    size_t size;
    self->status = lw_socket_receive(self->env, self->handle, &byte, 1, 0, &size);
    self->count++;
}

static void closing_a_socket_ends_who_waits_on_it(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle listener;
    assert_int_equal(lw_socket_listen(stage.env, "node1:1", &listener, NULL), LW_OK);
    assert_int_equal(lw_socket_connect(stage.env, "node1:1", 0, &stage.handle), LW_OK);
    lw_env_start(stage.env, "receiver", receive_main, &stage);
    run_for(&stage, SECOND_NS);
    assert_int_equal(stage.count, 0);
    lw_socket_close(stage.env, stage.handle);
    run_for(&stage, SECOND_NS);
    assert_int_equal(stage.count, 1);
    assert_int_equal(stage.status, LW_UNAVAILABLE);
    tear_down(&stage);
}

static void note_status(lw_op *op) {
    lone_stage *self = op->owner;
    self->status = op->status;
    self->count++;
}

static void a_cancelled_operation_completes_soon(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_op timer = {
        .kind = LW_OP_TIMER, .deadline_ns = UINT64_MAX, .complete = note_status, .owner = &stage};
    lw_env_submit(stage.env, &timer);
    run_for(&stage, SECOND_NS);
    assert_int_equal(stage.count, 0);
    lw_env_cancel(stage.env, &timer);
    assert_int_equal(stage.count, 0);
    run_for(&stage, SECOND_NS / 1000);
    assert_int_equal(stage.count, 1);
    assert_int_equal(stage.status, LW_TIMEOUT);

    lw_handle listener;
    assert_int_equal(lw_socket_listen(stage.env, "node1:1", &listener, NULL), LW_OK);
    lw_op accepting = {
        .kind = LW_OP_ACCEPT, .handle = listener, .complete = note_status, .owner = &stage};
    lw_env_submit(stage.env, &accepting);
    run_for(&stage, SECOND_NS);
    lw_env_cancel(stage.env, &accepting);
    run_for(&stage, SECOND_NS / 1000);
    assert_int_equal(stage.count, 2);
    assert_int_equal(stage.status, LW_TIMEOUT);
    tear_down(&stage);
}

/* Appends its letter to `number`, which thereby shows an order. */
static void defer_letter(lw_op *op) {
    lone_stage *self = op->owner;
    self->number = self->number * 10 + 3;
}
static void letter_main(void *argument) {
    lone_stage *self = argument;
    self->number = self->number * 10 + 2;
}
static void defer_main(void *argument) {
    lone_stage *self = argument;
    lw_op deferred = {.kind = LW_OP_DEFER, .complete = defer_letter, .owner = self};
    lw_env_submit(self->env, &deferred);
    lw_env_start(self->env, "letter", letter_main, self);
    self->number = self->number * 10 + 1;
    lw_env_sleep(self->env, 1000);
    self->number = self->number * 10 + 4;
}

static void deferred_operations_run_behind_the_fibers(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_env_start(stage.env, "defer", defer_main, &stage);
    run_for(&stage, SECOND_NS);
    assert_int_equal(stage.number, 1234);
    tear_down(&stage);
}

static void add_one(void *argument) {
    uint32_t *count = argument;
    (*count)++;
}

static void offloaded_work_takes_virtual_time(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    uint64_t before = lw_world_now(stage.world);
    lw_env_offload(stage.env, add_one, &stage.count);
    assert_int_equal(stage.count, 1);
    assert_true(lw_world_now(stage.world) > before);
    tear_down(&stage);
}

static void scheduled_calls_come_in_the_order_of_time(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    uint64_t now = lw_world_now(stage.world);
    lw_world_at(stage.world, now + 2000, add_one, &stage.count);
    lw_world_at(stage.world, now + 1000, add_one, &stage.count);
    lw_world_run(stage.world, now + 999);
    assert_int_equal(stage.count, 0);
    assert_true(lw_world_run(stage.world, now + 1000));
    assert_int_equal(stage.count, 1);
    assert_false(lw_world_run(stage.world, now + 2000));
    assert_int_equal(stage.count, 2);
    assert_int_equal(lw_world_now(stage.world), now + 2000);
    assert_false(lw_world_step(stage.world));
    tear_down(&stage);
}

/* ---- pauses and clocks ---------------------------------------------------------------------- */

static void tick_main(void *argument) {
    lone_stage *self = argument;
    for (;;) {
        lw_env_sleep(self->env, SECOND_NS / 10);
        self->count++;
    }
}

static void a_paused_host_stands_still(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_env_start(stage.env, "tick", tick_main, &stage);
    run_for(&stage, SECOND_NS);
    assert_in_range(stage.count, 8, 10);
    uint32_t before = stage.count;
    uint64_t clock = lw_env_now(stage.env);
    lw_host_pause(stage.host, 5 * SECOND_NS);
    run_for(&stage, 4 * SECOND_NS);
    assert_int_equal(stage.count, before);
    run_for(&stage, SECOND_NS + SECOND_NS / 20);
    assert_int_equal(stage.count, before + 1);
    assert_true(lw_env_now(stage.env) > clock + 5 * SECOND_NS);
    run_for(&stage, SECOND_NS);
    assert_true(stage.count > before + 8);
    tear_down(&stage);
}

static void a_shorter_pause_does_not_end_a_longer_one(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_env_start(stage.env, "tick", tick_main, &stage);
    lw_host_pause(stage.host, 5 * SECOND_NS);
    lw_host_pause(stage.host, SECOND_NS);
    run_for(&stage, 4 * SECOND_NS);
    assert_int_equal(stage.count, 0);
    tear_down(&stage);
}

static void a_fiber_started_during_a_pause_waits_for_its_end(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_host_pause(stage.host, SECOND_NS);
    lw_env_start(stage.env, "letter", letter_main, &stage);
    run_for(&stage, SECOND_NS / 2);
    assert_int_equal(stage.number, 0);
    run_for(&stage, SECOND_NS);
    assert_int_equal(stage.number, 2);
    tear_down(&stage);
}

static void clocks_drift_and_timers_follow_them(void **state) {
    (void)state;
    static const int32_t drifts[] = {-500000, -300, 0, 300, 500000};
    for (size_t index = 0; index < sizeof(drifts) / sizeof(drifts[0]); index++) {
        lone_stage stage;
        set_up(&stage, index);
        run_for(&stage, 12345);
        uint64_t clock = lw_env_now(stage.env), begin = lw_world_now(stage.world);
        lw_host_set_drift(stage.host, drifts[index]);
        assert_int_equal(lw_env_now(stage.env), clock);
        run_for(&stage, 10 * SECOND_NS);
        uint64_t passed = lw_env_now(stage.env) - clock;
        assert_int_equal(passed, 10000 * (uint64_t)(1000000 + drifts[index]));
        clock = lw_env_now(stage.env);
        begin = lw_world_now(stage.world);
        lw_env_sleep(stage.env, SECOND_NS);
        assert_true(lw_env_now(stage.env) >= clock + SECOND_NS);
        uint64_t expected = SECOND_NS * 1000000 / (uint64_t)(1000000 + drifts[index]);
        assert_in_range(lw_world_now(stage.world) - begin, expected, expected + 100000);
        tear_down(&stage);
    }
}

static void a_timer_set_before_a_drift_is_never_early(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    uint64_t deadline = lw_env_now(stage.env) + 10 * SECOND_NS;
    lw_op timer = {
        .kind = LW_OP_TIMER, .deadline_ns = deadline, .complete = note_status, .owner = &stage};
    lw_env_submit(stage.env, &timer);
    lw_host_set_drift(stage.host, -100000);
    while (stage.count == 0) {
        assert_true(lw_world_step(stage.world));
    }
    assert_true(lw_env_now(stage.env) >= deadline);
    assert_int_equal(stage.status, LW_OK);
    tear_down(&stage);
}

static void a_deadline_set_before_a_drift_is_never_early(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_handle listener;
    assert_int_equal(lw_socket_listen(stage.env, "node1:1", &listener, NULL), LW_OK);
    uint64_t deadline = lw_env_now(stage.env) + 10 * SECOND_NS;
    lw_op accepting = {.kind = LW_OP_ACCEPT,
                       .handle = listener,
                       .deadline_ns = deadline,
                       .complete = note_status,
                       .owner = &stage};
    lw_env_submit(stage.env, &accepting);
    lw_host_set_drift(stage.host, -100000);
    while (stage.count == 0) {
        assert_true(lw_world_step(stage.world));
    }
    assert_true(lw_env_now(stage.env) >= deadline);
    assert_int_equal(stage.status, LW_TIMEOUT);
    tear_down(&stage);
}

static void wall_clocks_jump_and_hosts_disagree(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    lw_env *other = lw_host_boot(lw_world_host(stage.world, "node2"));
    uint64_t wall = lw_env_wall_ms(stage.env);
    assert_int_equal(lw_env_wall_ms(other), wall);
    assert_true(lw_env_now(other) != lw_env_now(stage.env));
    lw_host_jump_wall(stage.host, -3600 * 1000);
    assert_int_equal(lw_env_wall_ms(stage.env), wall - 3600 * 1000);
    run_for(&stage, SECOND_NS);
    assert_int_equal(lw_env_wall_ms(stage.env), wall - 3600 * 1000 + 1000);
    assert_int_equal(lw_env_wall_ms(other), wall + 1000);
    tear_down(&stage);
}

static void a_slow_disk_takes_longer(void **state) {
    (void)state;
    lone_stage stage;
    set_up(&stage, 1);
    uint64_t begin = lw_world_now(stage.world);
    write_text(stage.env, "log", "text", true);
    uint64_t usual = lw_world_now(stage.world) - begin;
    lw_host_slow_disk(stage.host, 100);
    begin = lw_world_now(stage.world);
    write_text(stage.env, "log", "text", true);
    assert_true(lw_world_now(stage.world) - begin > 20 * usual);
    tear_down(&stage);
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
        cmocka_unit_test(a_kill_keeps_what_was_written),
        cmocka_unit_test(a_kill_may_show_what_a_failed_sync_dropped),
        cmocka_unit_test(a_crash_may_lose_what_was_written),
        cmocka_unit_test(power_may_fail_at_every_step),
        cmocka_unit_test(each_variant_of_a_crash_differs),
        cmocka_unit_test(a_write_in_flight_may_happen_when_its_process_dies),
        cmocka_unit_test(a_send_that_waits_is_one_step),
        cmocka_unit_test(handles_are_reused_lowest_first),
        cmocka_unit_test(a_lock_dies_with_its_process),
        cmocka_unit_test(failures_have_reasons),
        cmocka_unit_test(socket_calls_end_at_their_deadlines),
        cmocka_unit_test(closing_a_socket_ends_who_waits_on_it),
        cmocka_unit_test(a_cancelled_operation_completes_soon),
        cmocka_unit_test(deferred_operations_run_behind_the_fibers),
        cmocka_unit_test(offloaded_work_takes_virtual_time),
        cmocka_unit_test(scheduled_calls_come_in_the_order_of_time),
        cmocka_unit_test(a_paused_host_stands_still),
        cmocka_unit_test(a_shorter_pause_does_not_end_a_longer_one),
        cmocka_unit_test(a_fiber_started_during_a_pause_waits_for_its_end),
        cmocka_unit_test(clocks_drift_and_timers_follow_them),
        cmocka_unit_test(a_timer_set_before_a_drift_is_never_early),
        cmocka_unit_test(a_deadline_set_before_a_drift_is_never_early),
        cmocka_unit_test(wall_clocks_jump_and_hosts_disagree),
        cmocka_unit_test(a_slow_disk_takes_longer),
        cmocka_unit_test(each_boot_has_its_own_entropy),
        cmocka_unit_test(marks_outlive_their_node),
        cmocka_unit_test(rare_paths_are_taken_in_half_of_the_worlds),
        cmocka_unit_test(only_planted_bugs_are_on),
        cmocka_unit_test(a_swarm_leaves_faults_out),
        cmocka_unit_test(the_trace_tells_what_happened),
        cmocka_unit_test(mistakes_with_operations_are_caught),
        cmocka_unit_test(a_read_poisons_its_buffer_until_it_is_done),
        cmocka_unit_test(operations_submitted_together_come_in_any_order),
    };
    return cmocka_run_group_tests(tests, arm_alarm, NULL) ? 1 : 0;
}
