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
    bool to_join;
    const lw_shared_key *adopt; /* after opening */
    lw_bytes file;              /* written as the identity, which is not opened then */
    lw_world *world;
    lw_host *host;
    lw_env *env;
    lw_node_identity identity;
    lw_status status;
    char error[LW_ERROR_TEXT_SIZE];
    bool done;
} machine;

LW_YIELDS static lw_status write_file(lw_env *env, lw_bytes bytes) {
    lw_handle file = LW_NO_HANDLE;
    LW_TRY(lw_file_open(env, path, LW_OPEN_CREATE, &file));
    lw_status status = lw_file_resize(env, file, 0);
    if (status == LW_OK) {
        status = lw_file_write(env, file, 0, bytes, 0);
    }
    if (status == LW_OK) {
        status = lw_file_sync(env, file);
    }
    lw_file_close(env, file);
    return status == LW_OK ? lw_path_sync_directory(env, "data") : status;
}

LW_YIELDS static lw_status open_identity(machine *node) {
    LW_TRY(lw_path_mkdir(node->env, "data"));
    LW_TRY(lw_path_sync_directory(node->env, "."));
    if (node->file.size > 0) {
        return write_file(node->env, node->file);
    }
    LW_TRY(node->to_join ? lw_identity_open_to_join(node->env, "data", &node->identity)
                         : lw_identity_open(node->env, "data", &node->identity));
    return node->adopt == NULL ? LW_OK
                               : lw_identity_adopt(node->env, "data", node->adopt, &node->identity);
}

LW_YIELDS static void start_main(void *argument) {
    machine *node = argument;
    node->status = open_identity(node);
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

/* A file whose sync failed may fail every later one until power is lost: the next start must not
 * write to it. True if it came up. */
static bool comes_up_after_a_lasting_failure(const char *bug) {
    lw_faults faults = {0};
    faults.rates[LW_FAULT_SYNC_STICKY] = LW_FAULT_ALWAYS;
    machine node = {.world = lw_world_open(1, &faults)};
    node.host = lw_world_host(node.world, "node");
    if (bug != NULL) {
        lw_world_plant(node.world, bug);
    }
    lw_dice_arm(lw_disk_dice(lw_host_disk(node.host)), LW_FAULT_SYNC_ERROR, 2);
    assert_true(start(&node));
    assert_int_equal(node.status, LW_INTERNAL);
    lw_host_kill(node.host);
    assert_true(start(&node));
    bool up = node.status == LW_OK;
    lw_world_close(node.world);
    return up;
}

static void what_a_failed_start_left_is_not_written_to(void **state) {
    (void)state;
    assert_true(comes_up_after_a_lasting_failure(NULL));
    assert_false(comes_up_after_a_lasting_failure("file.leftover_used"));
}

static void an_identity_that_is_not_durable_is_caught(void **state) {
    (void)state;
    bool caught = false;
    for (uint64_t seed = 1; seed <= 100 && !caught; seed++) {
        machine node = open_machine(seed);
        lw_world_plant(node.world, "file.no_directory_sync");
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

/* ---- joining ------------------------------------------------------------------------------ */

static void a_node_that_is_to_join_has_no_lattice_until_it_is_taken_in(void **state) {
    (void)state;
    lw_shared_key lattice = {.epoch = 5, .id = "an id, sixteen.", .key = "a key"};
    machine node = open_machine(1);
    node.to_join = true;
    assert_true(start(&node));
    assert_int_equal(node.status, LW_OK);
    uint64_t node_id = node.identity.node_id;
    assert_int_equal(node.identity.lattice.epoch, 0);
    lw_host_crash(node.host);
    /* It is not to found one by mistake. */
    node.to_join = false;
    assert_true(start(&node));
    assert_int_equal(node.status, LW_REFUSED);
    assert_non_null(strstr(node.error, "--join"));
    lw_host_kill(node.host);
    node.to_join = true;
    node.adopt = &lattice;
    assert_true(start(&node));
    assert_int_equal(node.status, LW_OK);
    assert_int_equal(node.identity.node_id, node_id);
    assert_memory_equal(&node.identity.lattice, &lattice, sizeof(lattice));
    uint64_t incarnation = node.identity.incarnation;
    lw_host_crash(node.host);
    for (uint32_t life = 0; life < 2; life++) {
        node.to_join = life == 0; /* from now on it is a member, however it is started */
        node.adopt = NULL;
        assert_true(start(&node));
        assert_int_equal(node.status, LW_OK);
        assert_memory_equal(&node.identity.lattice, &lattice, sizeof(lattice));
        assert_true(node.identity.incarnation > incarnation);
        lw_host_crash(node.host);
    }
    lw_world_close(node.world);
}

static void each_step_of_being_taken_in_may_be_the_last(void **state) {
    (void)state;
    static const lw_crash crashes[] = {LW_CRASH_BEFORE, LW_CRASH_WITHIN, LW_CRASH_AFTER};
    lw_shared_key lattice = {.epoch = 5, .id = "an id, sixteen.", .key = "a key"};
    for (uint64_t step = 0; step < 20 * 3; step++) {
        machine node = open_machine(step + 1);
        node.to_join = true;
        node.adopt = &lattice;
        lw_host_crash_after(node.host, step / 3, crashes[step % 3]);
        bool done = start(&node);
        if (done) {
            lw_host_crash(node.host);
        }
        node.adopt = NULL;
        assert_true(start(&node));
        assert_int_equal(node.status, LW_OK);
        bool taken_in = node.identity.lattice.epoch != 0;
        assert_true(taken_in || !done);
        assert_true(!taken_in || memcmp(&node.identity.lattice, &lattice, sizeof(lattice)) == 0);
        lw_world_close(node.world);
    }
}

/* ---- folders of format 2 ------------------------------------------------------------------ */

/* As the version before wrote it. */
static void old_file(uint8_t bytes[FILE_SIZE_OLD]) {
    memset(bytes, 0, FILE_SIZE_OLD);
    memcpy(bytes, "LWID\2", 5);
    memset(bytes + 8, 0x11, 16);
    memset(bytes + 24, 0x22, 32);
    lw_put_u64(bytes + 56, 41);
    lw_put_u32(bytes + 64, lw_crc32c(0, lw_view(bytes, 64)));
}

static void put_file(machine *node, const uint8_t bytes[FILE_SIZE_OLD]) {
    node->file = lw_view(bytes, FILE_SIZE_OLD);
    assert_true(start(node));
    assert_int_equal(node->status, LW_OK);
    lw_host_kill(node->host);
    node->file = (lw_bytes){0};
}

static void a_folder_of_format_2_gets_its_keys_at_its_next_start(void **state) {
    (void)state;
    uint8_t bytes[FILE_SIZE_OLD];
    machine node = open_machine(1);
    old_file(bytes);
    put_file(&node, bytes);
    assert_true(start(&node));
    assert_int_equal(node.status, LW_OK);
    lw_node_identity first = node.identity;
    assert_memory_equal(first.lattice.id, bytes + 8, 16);
    assert_memory_equal(first.keys.seed, bytes + 24, 32);
    assert_int_equal(first.incarnation, 42);
    assert_int_equal(first.lattice.epoch, 1);
    lw_host_crash(node.host);
    assert_true(start(&node));
    assert_int_equal(node.identity.incarnation, 43);
    node.identity.incarnation = 42;
    assert_memory_equal(&node.identity, &first, sizeof(first));
    lw_world_close(node.world);
}

static void each_step_of_that_start_may_be_the_last(void **state) {
    (void)state;
    static const lw_crash crashes[] = {LW_CRASH_BEFORE, LW_CRASH_WITHIN, LW_CRASH_AFTER};
    uint8_t bytes[FILE_SIZE_OLD];
    old_file(bytes);
    for (uint64_t step = 0; step < 12 * 3; step++) {
        machine node = open_machine(step + 1);
        put_file(&node, bytes);
        lw_host_crash_after(node.host, step / 3, crashes[step % 3]);
        lw_node_identity last = {0};
        if (start(&node)) {
            last = node.identity;
            lw_host_crash(node.host);
        }
        assert_true(start(&node));
        assert_int_equal(node.status, LW_OK);
        assert_memory_equal(node.identity.lattice.id, bytes + 8, 16);
        assert_memory_equal(node.identity.keys.seed, bytes + 24, 32);
        assert_int_equal(node.identity.lattice.epoch, 1);
        assert_true(last.incarnation == 0 || memcmp(last.lattice.key, node.identity.lattice.key,
                                                    sizeof(last.lattice.key)) == 0);
        lw_world_close(node.world);
    }
}

static void an_old_file_with_a_flipped_bit_is_noticed(void **state) {
    (void)state;
    for (size_t bit = 0; bit < 8 * FILE_SIZE_OLD; bit++) {
        uint8_t bytes[FILE_SIZE_OLD];
        machine node = open_machine(1);
        old_file(bytes);
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        put_file(&node, bytes);
        assert_true(start(&node));
        assert_true(node.status == LW_CORRUPTION || node.status == LW_REFUSED);
        lw_world_close(node.world);
    }
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
        cmocka_unit_test(what_a_failed_start_left_is_not_written_to),
        cmocka_unit_test(an_identity_that_is_not_durable_is_caught),
        cmocka_unit_test(a_node_that_is_to_join_has_no_lattice_until_it_is_taken_in),
        cmocka_unit_test(each_step_of_being_taken_in_may_be_the_last),
        cmocka_unit_test(a_folder_of_format_2_gets_its_keys_at_its_next_start),
        cmocka_unit_test(each_step_of_that_start_may_be_the_last),
        cmocka_unit_test(an_old_file_with_a_flipped_bit_is_noticed),
    };
    return cmocka_run_group_tests_name("identity", tests, unit_arm, NULL) != 0;
}
