/* SPDX-License-Identifier: Apache-2.0 */
/* `lathwork check` of a folder whose shards went away and came back: sound is what the next start
 * takes for sound, and an entry that is missing is found. */
#include "tests/shard_story.h"

#include "storage/folder_check.h"

static const lattice_shard one_shard[] = {
    {.id = LW_ROOT_SHARD, .start = "", .end = "", .nodes = {1, 2, 3}}};

static lw_status checked;
static char first_fault[256];

static void check_main(void *argument) {
    lattice_node *node = argument;
    lw_buffer faults = lw_buffer_in(node->env->memory), notes = faults;
    checked = lw_folder_check(node->env, "data", lw_replica_filter_part, &faults, &notes);
    lw_buffer_append_u8(&faults, 0);
    (void)snprintf(first_fault, sizeof(first_fault), "%s", (const char *)faults.data);
    lw_buffer_reset(&faults);
    lw_buffer_reset(&notes);
    node->done = true;
}

static void check_folder(lattice *in, uint64_t id) {
    lattice_node *node = &in->nodes[id];
    node->env = lw_host_boot(node->host);
    lattice_run(node, check_main);
    lw_host_kill(node->host);
}

static void flush_main(void *argument) {
    lattice_node *node = argument;
    lw_tree *tree = lw_store_tree(node->store, LW_ROOT_SHARD);
    expect(node->in, tree != NULL && lw_tree_flush(tree) == LW_OK, "it is flushed");
    node->done = true;
}

static void change(lattice *in, const lw_change_replicas_request *request) {
    lw_buffer body = lw_buffer_in(in->memory);
    lw_change_replicas_request_encode(request, &body);
    lattice_ask *ask = lattice_call(in, LW_MESSAGE_CHANGE_REPLICAS, "a", &body);
    expect(in, ask->done && ask->status == LW_OK, "the members change");
}

static void write_some(lattice *in, int count) {
    for (int index = 0; index < count; index++) {
        lattice_write(in, "a", "value");
    }
}

/* A follower goes, misses something, and comes back by a snapshot. */
static uint64_t go_and_come(lattice *in) {
    lattice_make(in, one_shard, 1);
    write_some(in, 20);
    uint64_t leader = lattice_leader(in, lw_text("")), node = leader % 3 + 1;
    change(in, &(lw_change_replicas_request){.leaves = node, .fewer = true});
    lattice_pass_ms(in, 3000);
    write_some(in, 20);
    lattice_run(&in->nodes[leader], flush_main);
    change(in, &(lw_change_replicas_request){.learner = node});
    change(in, &(lw_change_replicas_request){.voter = node});
    write_some(in, 5);
    lattice_pass_ms(in, 2000);
    lattice_same_everywhere(in);
    return node;
}

static void what_came_back_is_sound(lattice *in) {
    uint64_t node = go_and_come(in);
    lattice_shut(in, node);
    check_folder(in, node);
    expect(in, checked == LW_OK, first_fault);
    lattice_boot(in, node);
    write_some(in, 5);
    lattice_crash(in, node);
    check_folder(in, node);
    expect(in, checked == LW_OK, first_fault);
    lattice_boot(in, node);
    lattice_same_everywhere(in);
}

/* An entry far behind the last, as if those between had been lost. */
static void skip_main(void *argument) {
    lattice_node *node = argument;
    uint64_t last = lw_tree_applied(lw_store_tree(node->store, LW_ROOT_SHARD));
    lw_log_record begin = {.group = LW_ROOT_SHARD, .index = last + 5, .kind = LW_LOG_BEGIN};
    lw_log_record entry = {.group = LW_ROOT_SHARD,
                           .term = 9,
                           .index = last + 6,
                           .kind = LW_LOG_ENTRY,
                           .payload = lw_text("entry")};
    (void)lw_log_append(node->log, &begin, 1);
    lw_log_begun(node->log, LW_ROOT_SHARD, true);
    uint64_t position = lw_log_append(node->log, &entry, 1);
    expect(node->in, lw_log_wait(node->log, position) == LW_OK, "it is in the log");
    node->done = true;
}

static void a_missing_entry_is_found(lattice *in) {
    uint64_t node = go_and_come(in);
    lattice_run(&in->nodes[node], skip_main);
    lattice_crash(in, node);
    check_folder(in, node);
    expect(in, checked == LW_CORRUPTION, "entries are missing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LATTICE_STORY(what_came_back_is_sound, NULL),
        LATTICE_STORY(a_missing_entry_is_found, NULL),
    };
    return cmocka_run_group_tests(tests, unit_arm, NULL) != 0 ? 1 : 0;
}
