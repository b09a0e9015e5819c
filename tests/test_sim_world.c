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

#include "sim/world.h"

#define SECOND_NS UINT64_C(1000000000)

static int arm_alarm(void **state) {
    (void)state;
    alarm(60);
    return 0;
}

/* ---- a workload that touches everything ------------------------------------------------------ */

typedef struct actor {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    const char *peer; /* whom it talks to */
    uint32_t rounds;
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

static void start(actor *each) {
    each->env = lw_host_boot(each->host);
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

static uint64_t run_seed(uint64_t seed) {
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
    lw_world_close(world);
    return hash;
}

static void the_same_seed_gives_the_same_history(void **state) {
    (void)state;
    uint64_t previous = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t hash = run_seed(seed);
        if (run_seed(seed) != hash) {
            fail_msg("seed %llu gave two histories", (unsigned long long)seed);
        }
        assert_true(hash != previous);
        previous = hash;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_history),
    };
    return cmocka_run_group_tests(tests, arm_alarm, NULL) ? 1 : 0;
}
