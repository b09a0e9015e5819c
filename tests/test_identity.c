/* SPDX-License-Identifier: Apache-2.0 */
/* The identity of a node: its bytes, and that an interrupted start leaves none of it or all of it,
 * and no incarnation is ever given out twice. */
#include "storage/identity.h"

#include "base/hash.h"
#include "sim/world.h"
#include "tests/unit.h"

static const char path[] = "data/IDENTITY";
enum { FILE_SIZE = 136, FILE_SIZE_OLD = 68 };

typedef struct machine {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    lw_node_identity identity;
    lw_status status;
    char error[LW_ERROR_TEXT_SIZE];
    bool done;
} machine;

static void start_main(void *argument) {
    machine *node = argument;
    node->status = lw_path_mkdir(node->env, "data");
    if (node->status == LW_OK) {
        node->status = lw_path_sync_directory(node->env, ".");
    }
    if (node->status == LW_OK) {
        node->status = lw_identity_open(node->env, "data", &node->identity);
    }
    if (node->status != LW_OK) {
        snprintf(node->error, sizeof(node->error), "%s", lw_error_slot()->text);
    }
    node->done = true;
}

static machine open_machine(uint64_t seed) {
    static const lw_faults none;
    machine node = {.world = lw_world_open(seed, &none)};
    node.host = lw_world_host(node.world, "node");
    return node;
}

/* Starts a process and lets it open its identity. False if the power failed before. */
static bool start(machine *node) {
    node->done = false;
    node->status = LW_OK;
    memset(&node->identity, 0, sizeof(node->identity));
    node->env = lw_host_boot(node->host);
    (void)lw_env_start(node->env, "start", start_main, node);
    while (!node->done && lw_host_running(node->host)) {
        assert_true(lw_world_step(node->world));
    }
    return node->done;
}

static void who_a_node_is_stays_and_its_incarnation_rises(void **state) {
    (void)state;
    machine node = open_machine(1);
    assert_true(start(&node));
    assert_int_equal(node.status, LW_OK);
    lw_node_identity first = node.identity;
    assert_int_equal(first.incarnation, 1);
    lw_host_crash(node.host);
    assert_true(start(&node));
    assert_int_equal(node.identity.incarnation, 2);
    node.identity.incarnation = 1;
    assert_memory_equal(&node.identity, &first, sizeof(first));

    uint8_t digest[LW_DIGEST_SIZE];
    lw_digest(lw_view(first.keys.public_key, LW_PUBLIC_KEY_SIZE), digest);
    assert_int_equal(first.node_id, lw_get_u64(digest));
    assert_true(lw_identity_founded(&first));
    first.node_id++;
    assert_false(lw_identity_founded(&first));
    lw_world_close(node.world);
}

static void read_main(void *argument) {
    machine *node = argument;
    node->status = lw_identity_read(node->env, "data", &node->identity);
    node->done = true;
}

/* As `lathwork token` does while the node runs. */
static void reading_it_changes_nothing(void **state) {
    (void)state;
    machine node = open_machine(1);
    assert_true(start(&node));
    lw_node_identity opened = node.identity;
    for (int round = 0; round < 2; round++) {
        node.done = false;
        memset(&node.identity, 0, sizeof(node.identity));
        (void)lw_env_start(node.env, "read", read_main, &node);
        while (!node.done) {
            assert_true(lw_world_step(node.world));
        }
        assert_int_equal(node.status, LW_OK);
        assert_memory_equal(&node.identity, &opened, sizeof(opened));
    }
    lw_world_close(node.world);
}

static void two_nodes_are_not_the_same(void **state) {
    (void)state;
    machine one = open_machine(1), other = open_machine(2);
    assert_true(start(&one));
    assert_true(start(&other));
    assert_int_not_equal(one.identity.node_id, other.identity.node_id);
    assert_memory_not_equal(one.identity.lattice.id, other.identity.lattice.id, LW_CLUSTER_ID_SIZE);
    lw_world_close(one.world);
    lw_world_close(other.world);
}

static void the_bytes_of_the_file_are_these(void **state) {
    (void)state;
    machine node = open_machine(1);
    assert_true(start(&node));
    lw_memory *memory = lw_memory_open();
    lw_buffer bytes = lw_buffer_in(memory);
    assert_true(lw_disk_contents(lw_host_disk(node.host), LW_DISK_DURABLE, path, &bytes));
    assert_int_equal(bytes.size, FILE_SIZE);
    assert_memory_equal(bytes.data, "LWID\3\0\0\0", 8);
    assert_memory_equal(bytes.data + 8, node.identity.lattice.id, 16);
    assert_memory_equal(bytes.data + 24, node.identity.keys.seed, 32);
    assert_int_equal(lw_get_u64(bytes.data + 56), 1);
    assert_memory_equal(bytes.data + 64, node.identity.exchange_secret, 32);
    assert_int_equal(lw_get_u32(bytes.data + 96), 1);
    assert_memory_equal(bytes.data + 100, node.identity.lattice.key, 32);
    assert_int_equal(lw_get_u32(bytes.data + 132), lw_crc32c(0, lw_view(bytes.data, 132)));
    lw_memory_close(memory);
    lw_world_close(node.world);
}

static void every_flipped_bit_is_noticed(void **state) {
    (void)state;
    for (uint64_t bit = 0; bit < FILE_SIZE * 8; bit++) {
        machine node = open_machine(1);
        assert_true(start(&node));
        lw_host_kill(node.host);
        lw_disk_flip(lw_host_disk(node.host), path, bit);
        assert_true(start(&node));
        /* A format that only became a higher number is not told from one that is newer. */
        bool format = bit >= 32 && bit < 64;
        assert_true(node.status == LW_CORRUPTION || (format && node.status == LW_REFUSED));
        assert_non_null(strstr(node.error, path));
        assert_int_equal(node.identity.incarnation, 0);
        lw_world_close(node.world);
    }
}

static void each_step_of_a_start_may_be_the_last(void **state) {
    (void)state;
    static const lw_crash crashes[] = {LW_CRASH_BEFORE, LW_CRASH_WITHIN, LW_CRASH_AFTER};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        for (uint32_t before = 0; before < 3;
             before++) { /* whole starts before the interrupted one */
            for (uint64_t step = 0; step < 12; step++) {
                machine node = open_machine(seed * 1000 + before * 100 + step);
                lw_node_identity last = {0};
                for (uint32_t life = 0; life < before; life++) {
                    assert_true(start(&node));
                    last = node.identity;
                    lw_host_crash(node.host);
                }
                lw_host_crash_after(node.host, step, crashes[seed % 3]);
                if (start(&node)) {
                    assert_int_equal(node.status, LW_OK);
                    assert_int_equal(node.identity.incarnation, before + 1);
                    last = node.identity;
                    lw_host_crash(node.host);
                }
                assert_true(start(&node));
                assert_int_equal(node.status, LW_OK);
                assert_true(node.identity.incarnation > last.incarnation);
                assert_true(last.incarnation == 0 || node.identity.node_id == last.node_id);
                lw_world_close(node.world);
            }
        }
    }
}

static void a_failed_sync_fails_the_start_and_harms_nothing(void **state) {
    (void)state;
    for (uint32_t occasion = 1; occasion <= 3; occasion++) {
        machine node = open_machine(occasion);
        assert_true(start(&node));
        lw_node_identity first = node.identity;
        lw_host_kill(node.host);
        lw_dice_arm(lw_disk_dice(lw_host_disk(node.host)), LW_FAULT_SYNC_ERROR, occasion);
        assert_true(start(&node));
        assert_int_equal(node.status, LW_INTERNAL);
        lw_host_kill(node.host);
        assert_true(start(&node));
        assert_int_equal(node.status, LW_OK);
        uint64_t incarnation = node.identity.incarnation;
        lw_host_crash(node.host);
        assert_true(start(&node));
        assert_int_equal(node.status, LW_OK);
        assert_true(node.identity.incarnation > incarnation);
        assert_int_equal(node.identity.node_id, first.node_id);
        lw_world_close(node.world);
    }
}

static void an_identity_that_is_not_durable_is_caught(void **state) {
    (void)state;
    bool caught = false;
    for (uint64_t seed = 1; seed <= 100 && !caught; seed++) {
        machine node = open_machine(seed);
        lw_world_plant(node.world, "identity.no_directory_sync");
        assert_true(start(&node));
        lw_node_identity first = node.identity;
        lw_host_crash(node.host);
        assert_true(start(&node));
        caught = node.identity.incarnation <= first.incarnation ||
                 node.identity.node_id != first.node_id;
        lw_world_close(node.world);
    }
    assert_true(caught);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_a_node_is_stays_and_its_incarnation_rises),
        cmocka_unit_test(reading_it_changes_nothing),
        cmocka_unit_test(two_nodes_are_not_the_same),
        cmocka_unit_test(the_bytes_of_the_file_are_these),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(each_step_of_a_start_may_be_the_last),
        cmocka_unit_test(a_failed_sync_fails_the_start_and_harms_nothing),
        cmocka_unit_test(an_identity_that_is_not_durable_is_caught),
    };
    return cmocka_run_group_tests_name("identity", tests, unit_arm, NULL) != 0;
}
