/* SPDX-License-Identifier: Apache-2.0 */
/* What a group makes of its log when a node starts: logs are written by hand, then replayed. And
 * the form of what it writes. */
#include "tests/unit.h"

#include "node/group_state.h"
#include "sim/world.h"

enum { GROUP = 5, SENT_MAX = 64 };

typedef struct bench {
    lw_world *world;
    lw_host *host;
    lw_env *env;
    lw_memory *memory;
    lw_log_record records[64];
    uint32_t record_count;
    uint64_t flushed; /* the tree's index */
    lw_group_members members;

    lw_groups *groups;
    lw_group *group;
    lw_log *log;
    lw_status replayed;
    char text[LW_ERROR_TEXT_SIZE];
    uint64_t applied[64]; /* indexes, in order */
    uint32_t applied_count;
    bool done;
    lw_raft_message sent[SENT_MAX];
    uint32_t sent_count;
} bench;

static lw_bytes bytes_of(bench *on, const char *text, const lw_group_members *members,
                         uint64_t committed) {
    lw_buffer payload = lw_buffer_in(on->memory);
    lw_buffer_append(&payload, lw_text(text));
    group_payload_close(&payload, members, committed);
    return lw_buffer_view(&payload);
}

static void add(bench *on, lw_log_kind kind, uint64_t index, uint64_t term, lw_bytes payload) {
    on->records[on->record_count++] = (lw_log_record){
        .group = GROUP, .term = term, .index = index, .kind = kind, .payload = payload};
}

static void add_entry(bench *on, uint64_t index, uint64_t term, uint64_t committed) {
    add(on, LW_LOG_ENTRY, index, term, bytes_of(on, "entry", NULL, committed));
}

static void add_state(bench *on, uint64_t term, uint64_t vote, uint64_t index,
                      uint64_t index_term) {
    lw_buffer payload = lw_buffer_in(on->memory);
    lw_buffer_append_u64(&payload, vote);
    lw_buffer_append_u64(&payload, index);
    lw_buffer_append_u64(&payload, index_term);
    lw_buffer_append_u64(&payload, 0); /* votes from */
    add(on, LW_LOG_STATE, 0, term, lw_buffer_view(&payload));
}

/* ---- what the group asks -------------------------------------------------------------------- */

static lw_status apply(void *argument, const lw_group_entry *entry) {
    bench *on = argument;
    on->applied[on->applied_count++] = entry->index;
    return LW_OK;
}

static void send_message(void *argument, uint64_t node, lw_bytes bytes) {
    bench *on = argument;
    uint64_t group;
    lw_reader entries;
    (void)node;
    if (on->sent_count < SENT_MAX &&
        lw_raft_message_decode(bytes, &group, &on->sent[on->sent_count], &entries) == LW_OK) {
        on->sent[on->sent_count++].configs = NULL;
    }
}

static void followed(void *argument, uint64_t term, uint64_t leader) {
    (void)argument;
    (void)term;
    (void)leader;
}

static void led(void *argument, uint64_t term) {
    (void)argument;
    (void)term;
}

static void changed(void *argument, const lw_group_members *members) {
    (void)argument;
    (void)members;
}

static bool begins(void *argument, uint64_t group, uint64_t index) {
    bench *on = argument;
    return group == GROUP && on->flushed >= index;
}

static lw_status replay(void *argument, const lw_log_record *record) {
    bench *on = argument;
    return lw_group_replay(on->group, record);
}

static lw_status visit_nothing(void *argument, const lw_log_record *record) {
    (void)argument;
    (void)record;
    return LW_OK;
}

/* ---- telling -------------------------------------------------------------------------------- */

static lw_status write_log(bench *on) {
    lw_log *log;
    LW_TRY(lw_log_open(on->env, "log", NULL, visit_nothing, NULL, &log));
    uint64_t position = 0;
    for (uint32_t place = 0; place < on->record_count; place++) {
        position = lw_log_append(log, &on->records[place], 1);
    }
    lw_status status = on->record_count == 0 ? LW_OK : lw_log_wait(log, position);
    lw_log_close(log);
    return status;
}

static void open_group(bench *on) {
    lw_groups_options shared = {.env = on->env,
                                .node = 1,
                                .election_timeout_ns = 100000000,
                                .send = send_message,
                                .argument = on};
    on->groups = lw_groups_open(&shared);
    lw_group_options options = {.groups = on->groups,
                                .group = GROUP,
                                .members = on->members,
                                .index = on->flushed,
                                .apply = apply,
                                .followed = followed,
                                .led = led,
                                .changed = changed,
                                .argument = on};
    on->group = lw_group_open(&options);
}

static lw_status replay_log(bench *on) {
    lw_log_options options = {.begins = begins};
    LW_TRY(lw_log_open(on->env, "log", &options, replay, on, &on->log));
    LW_TRY(lw_group_replay_end(on->group));
    lw_groups_start(on->groups, on->log);
    return LW_OK;
}

static void tell_main(void *argument) {
    bench *on = argument;
    on->replayed = write_log(on);
    if (on->replayed == LW_OK) {
        open_group(on);
        on->replayed = replay_log(on);
    }
    if (on->replayed != LW_OK) {
        (void)snprintf(on->text, sizeof(on->text), "%s", lw_error_slot()->text);
    }
    on->done = true;
}

static void begin(bench *on) {
    lw_faults faults = lw_faults_none();
    *on = (bench){.world = lw_world_open(1, &faults), .memory = lw_memory_open()};
    on->host = lw_world_host(on->world, "host");
    for (uint64_t node = 1; node <= 3; node++) {
        on->members.replicas[on->members.count++] =
            (lw_shard_replica){.node = node, .role = LW_REPLICA_VOTER};
    }
}

static void tell(bench *on) {
    on->env = lw_host_boot(on->host);
    lw_env_start(on->env, "tell", tell_main, on);
    while (!on->done && lw_world_step(on->world)) {
    }
}

static void end(bench *on) {
    lw_world_close(on->world);
    lw_memory_close(on->memory);
}

/* ---- replay --------------------------------------------------------------------------------- */

static void what_is_not_known_to_be_committed_waits(void **state) {
    (void)state;
    bench on;
    begin(&on);
    add_state(&on, 1, 2, 0, 0);
    for (uint64_t index = 1; index <= 10; index++) {
        add_entry(&on, index, 1, index < 4 ? 0 : index - 3);
    }
    tell(&on);
    assert_int_equal(on.replayed, LW_OK);
    assert_int_equal(on.applied_count, 7);
    assert_int_equal(lw_group_last_index(on.group), 10);
    end(&on);
}

static void alone_all_of_it_is_committed(void **state) {
    (void)state;
    bench on;
    begin(&on);
    on.members = (lw_group_members){.count = 0};
    for (uint64_t index = 1; index <= 10; index++) {
        add_entry(&on, index, 1, 0);
    }
    tell(&on);
    assert_int_equal(on.replayed, LW_OK);
    assert_int_equal(on.applied_count, 10);
    assert_true(lw_group_alone(on.group));
    end(&on);
}

/* Unless the last of it took in others, who may have decided otherwise. */
static void alone_until_the_members_change(void **state) {
    (void)state;
    bench on;
    begin(&on);
    lw_group_members both = on.members;
    both.count = 2;
    on.members = (lw_group_members){.count = 0};
    add_entry(&on, 1, 1, 0);
    add_entry(&on, 2, 1, 1);
    add(&on, LW_LOG_ENTRY, 3, 1, bytes_of(&on, "members", &both, 2));
    add_entry(&on, 4, 1, 2);
    tell(&on);
    assert_int_equal(on.replayed, LW_OK);
    assert_int_equal(on.applied_count, 2);
    assert_false(lw_group_alone(on.group));
    end(&on);
}

static void entries_of_before_there_were_groups_are_applied(void **state) {
    (void)state;
    bench on;
    begin(&on);
    on.members = (lw_group_members){.count = 0};
    static const uint8_t before[] = {'b', 2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0};
    add(&on, LW_LOG_STATE, 0, 1, lw_view(NULL, 0));
    add(&on, LW_LOG_ENTRY, 1, 1, lw_view(before, sizeof(before)));
    tell(&on);
    assert_int_equal(on.replayed, LW_OK);
    assert_int_equal(on.applied_count, 1);
    end(&on);
}

static void what_replaces_a_suffix_counts(void **state) {
    (void)state;
    bench on;
    begin(&on);
    for (uint64_t index = 1; index <= 10; index++) {
        add_entry(&on, index, 1, index < 3 ? 0 : 2);
    }
    add_entry(&on, 5, 2, 4);
    add_entry(&on, 6, 2, 5);
    tell(&on);
    assert_int_equal(on.replayed, LW_OK);
    assert_int_equal(on.applied_count, 5);
    assert_int_equal(lw_group_last_index(on.group), 6);
    end(&on);
}

static void what_is_flushed_may_have_been_replaced_before(void **state) {
    (void)state;
    bench on;
    begin(&on);
    on.flushed = 6;
    for (uint64_t index = 1; index <= 10; index++) {
        add_entry(&on, index, 1, 0);
    }
    add_entry(&on, 5, 2, 4);
    add_entry(&on, 6, 2, 5);
    add_entry(&on, 7, 2, 6);
    tell(&on);
    assert_int_equal(on.replayed, LW_OK);
    assert_int_equal(on.applied_count, 0);
    assert_int_equal(lw_group_last_index(on.group), 7);
    end(&on);
}

static void behind_a_snapshot_nothing_of_before_counts(void **state) {
    (void)state;
    bench on;
    begin(&on);
    on.flushed = 25;
    for (uint64_t index = 1; index <= 30; index++) {
        add_entry(&on, index, 1, 0);
    }
    add(&on, LW_LOG_BEGIN, 25, 3, lw_view(NULL, 0));
    tell(&on);
    assert_int_equal(on.replayed, LW_OK);
    assert_int_equal(lw_group_last_index(on.group), 25);
    end(&on);
}

static void a_snapshot_that_was_not_installed_changes_nothing(void **state) {
    (void)state;
    bench on;
    begin(&on);
    for (uint64_t index = 1; index <= 30; index++) {
        add_entry(&on, index, 1, index - 1);
    }
    add(&on, LW_LOG_BEGIN, 40, 3, lw_view(NULL, 0));
    tell(&on);
    assert_int_equal(on.replayed, LW_OK);
    assert_int_equal(lw_group_last_index(on.group), 30);
    assert_int_equal(on.applied_count, 29);
    end(&on);
}

/* Hazard R9. */
static void missing_entries_are_damage(void **state) {
    (void)state;
    bench on;
    begin(&on);
    on.flushed = 3;
    add_entry(&on, 6, 1, 5);
    add_entry(&on, 7, 1, 6);
    tell(&on);
    assert_int_equal(on.replayed, LW_CORRUPTION);
    assert_non_null(strstr(on.text, "entries are missing"));
    end(&on);
    begin(&on);
    on.flushed = 3;
    add_entry(&on, 6, 1, 5); /* what was before it went with its segment, since it is void */
    add_entry(&on, 4, 2, 3);
    tell(&on);
    assert_int_equal(on.replayed, LW_OK);
    assert_int_equal(lw_group_last_index(on.group), 4);
    end(&on);
}

static void what_is_not_well_formed_is_damage(void **state) {
    (void)state;
    static const uint8_t members[] = {1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2};
    lw_bytes damaged[] = {lw_text("?"), lw_view(members, sizeof(members)),
                          lw_view(members + 10, 9)};
    for (size_t place = 0; place < sizeof(damaged) / sizeof(damaged[0]); place++) {
        bench on;
        begin(&on);
        add(&on, LW_LOG_ENTRY, 1, 1, damaged[place]);
        tell(&on);
        assert_int_equal(on.replayed, LW_CORRUPTION);
        end(&on);
    }
}

/* Else a node whose log was let go of would seem to be behind one that has less. */
static void the_term_of_what_was_let_go_of_is_known(void **state) {
    (void)state;
    bench on;
    begin(&on);
    on.flushed = 50;
    add_state(&on, 7, 0, 50, 5);
    tell(&on);
    assert_int_equal(on.replayed, LW_OK);
    lw_group_start(on.group);
    (void)lw_world_run(on.world, lw_world_now(on.world) + 1000000000);
    assert_true(on.sent_count > 0);
    assert_int_equal(on.sent[0].kind, LW_RAFT_PREVOTE);
    assert_int_equal(on.sent[0].index, 50);
    assert_int_equal(on.sent[0].index_term, 5);
    end(&on);
}

static void a_flush_may_end_before_anything_else_happens(void **state) {
    (void)state;
    bench on;
    begin(&on);
    on.flushed = 5;
    for (uint64_t index = 1; index <= 30; index++) {
        add_entry(&on, index, 1, index - 1);
    }
    tell(&on);
    assert_int_equal(on.replayed, LW_OK);
    lw_group_start(on.group);
    lw_group_flushed(on.group, 25);
    uint64_t first, last;
    assert_true(lw_log_span(on.log, GROUP, &first, &last));
    assert_int_equal(first, 26);
    assert_int_equal(last, 30);
    end(&on);
}

/* ---- what is written ------------------------------------------------------------------------ */

static void settle_main(void *argument) {
    bench *on = argument;
    lw_group_start(on->group);
    on->replayed = lw_group_settle(on->group);
    lw_group_flushed(on->group, lw_group_last_index(on->group));
    lw_group_close(on->group);
    lw_groups_close(on->groups);
    lw_log_close(on->log);
    on->done = true;
}

static lw_status visit_states(void *argument, const lw_log_record *record) {
    bench *on = argument;
    if (record->kind == LW_LOG_STATE) {
        on->records[on->record_count++] = *record;
        on->records[on->record_count - 1].payload = lw_copy(on->memory, record->payload);
    }
    return LW_OK;
}

static void read_main(void *argument) {
    bench *on = argument;
    on->replayed = lw_log_open(on->env, "log", NULL, visit_states, on, &on->log);
    on->done = true;
}

static void run(bench *on, void (*body)(void *argument)) {
    on->done = false;
    lw_env_start(on->env, "body", body, on);
    while (!on->done && lw_world_step(on->world)) {
    }
}

static void letting_go_notes_the_term(void **state) {
    (void)state;
    bench on;
    begin(&on);
    on.members = (lw_group_members){.count = 0};
    tell(&on);
    run(&on, settle_main);
    assert_int_equal(on.replayed, LW_OK);
    on.record_count = 0;
    run(&on, read_main);
    assert_int_equal(on.replayed, LW_OK);
    assert_int_equal(on.record_count, 2);
    const uint8_t *last = on.records[1].payload.data;
    assert_int_equal(on.records[1].term, 1);
    assert_int_equal(on.records[1].payload.size, GROUP_STATE_SIZE);
    assert_int_equal(lw_get_u64(last), 1);      /* the vote, its own */
    assert_int_equal(lw_get_u64(last + 8), 1);  /* the entry that began the term ... */
    assert_int_equal(lw_get_u64(last + 16), 1); /* ... and the term */
    end(&on);
}

static void the_form_of_an_entry_is_fixed(void **state) {
    (void)state;
    bench on;
    begin(&on);
    lw_group_members two = on.members;
    two.count = 2;
    two.replicas[1].role = LW_REPLICA_LEARNER;
    static const uint8_t plain[] = {'e', 2, 1, 0, 0, 0, 0, 0, 0, 1};
    static const uint8_t changing[] = {'m', 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0,
                                       0,   0, 0, 2, 2, 2, 1, 0, 0, 0, 0, 0, 0, 2};
    lw_bytes payload = bytes_of(&on, "e", NULL, 258);
    assert_int_equal(payload.size, sizeof(plain));
    assert_memory_equal(payload.data, plain, sizeof(plain));
    payload = bytes_of(&on, "m", &two, 258);
    assert_int_equal(payload.size, sizeof(changing));
    assert_memory_equal(payload.data, changing, sizeof(changing));
    end(&on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_known_to_be_committed_waits),
        cmocka_unit_test(alone_all_of_it_is_committed),
        cmocka_unit_test(alone_until_the_members_change),
        cmocka_unit_test(entries_of_before_there_were_groups_are_applied),
        cmocka_unit_test(what_replaces_a_suffix_counts),
        cmocka_unit_test(what_is_flushed_may_have_been_replaced_before),
        cmocka_unit_test(behind_a_snapshot_nothing_of_before_counts),
        cmocka_unit_test(a_snapshot_that_was_not_installed_changes_nothing),
        cmocka_unit_test(missing_entries_are_damage),
        cmocka_unit_test(what_is_not_well_formed_is_damage),
        cmocka_unit_test(the_term_of_what_was_let_go_of_is_known),
        cmocka_unit_test(a_flush_may_end_before_anything_else_happens),
        cmocka_unit_test(letting_go_notes_the_term),
        cmocka_unit_test(the_form_of_an_entry_is_fixed),
    };
    return cmocka_run_group_tests_name("group log", tests, unit_arm, NULL);
}
