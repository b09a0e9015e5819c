/* SPDX-License-Identifier: Apache-2.0 */
/* shards, and split. */
#include "client/command_nodes.h"

#include "base/logline.h"
#include "client/operate.h"

enum {
    COLUMN_COUNT = 9,
    ROWS_AT_ONCE = 1024, /* aligned with one another */
};

typedef struct shards_work {
    lw_command *command;
    lw_buffer cells; /* each with its closing zero */
    size_t row_count;
    lw_buffer out;
    lw_json json;
    lw_known_nodes known; /* for their names */
} shards_work;

/* ---- shards: rows -------------------------------------------------------------------------------
 */

static void cell(shards_work *work, const char *text) {
    lw_buffer_append(&work->cells, lw_view(text, strlen(text) + 1));
}

static void cell_key(shards_work *work, lw_bytes key) {
    lw_text_encode(LW_FORM_ESCAPED, key, &work->cells);
    lw_buffer_append_u8(&work->cells, 0);
}

static void print_rows(shards_work *work) {
    lw_command_cells(work->command, &work->cells, work->row_count, COLUMN_COUNT);
    work->row_count = 0;
}

static void heading(shards_work *work) {
    static const char *const names[COLUMN_COUNT] = {
        "SHARD", "FROM", "TO", "VERSION", "BYTES", "REQUESTS", "LEADER", "ADDRESS", "NODES"};
    for (int index = 0; index < COLUMN_COUNT; index++) {
        cell(work, names[index]);
    }
    work->row_count++;
}

static const char *role_name(lw_replica_role role) {
    static const char *const names[] = {
        [LW_REPLICA_VOTER] = "voter",
        [LW_REPLICA_LEARNER] = "learner",
        [LW_REPLICA_JOINING] = "joining",
        [LW_REPLICA_LEAVING] = "leaving",
    };
    return names[role];
}

/* "n1,n2,n4(learner)"; of a shard that only its leader has, that one. */
static void cell_holders(shards_work *work, const lw_shard_descriptor *shard) {
    char label[LW_MEMBER_LABEL_SIZE];
    if (shard->replica_count == 0 && shard->leader != 0) {
        lw_buffer_print(&work->cells, "%s",
                        lw_known_nodes_label(&work->known, shard->leader, label));
    }
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        const lw_shard_replica *replica = &shard->replicas[index];
        bool votes = replica->role == LW_REPLICA_VOTER;
        lw_buffer_print(&work->cells, "%s%s%s%s%s", index > 0 ? "," : "",
                        lw_known_nodes_label(&work->known, replica->node, label), votes ? "" : "(",
                        votes ? "" : role_name(replica->role), votes ? "" : ")");
    }
    lw_buffer_append_u8(&work->cells, 0);
}

static void shard_row(shards_work *work, const lw_shard_row *row) {
    const lw_shard_descriptor *shard = &row->shard;
    lw_buffer_print(&work->cells, "%llu", (unsigned long long)shard->id);
    lw_buffer_append_u8(&work->cells, 0);
    cell_key(work, shard->start);
    cell_key(work, shard->end);
    lw_buffer_print(&work->cells, "%llu.%llu", (unsigned long long)shard->epoch.range_version,
                    (unsigned long long)shard->epoch.config_version);
    lw_buffer_append_u8(&work->cells, 0);
    lw_buffer_print(&work->cells, "%llu", (unsigned long long)row->bytes);
    lw_buffer_append_u8(&work->cells, 0);
    lw_buffer_print(&work->cells, "%llu", (unsigned long long)row->requests);
    lw_buffer_append_u8(&work->cells, 0);
    char label[LW_MEMBER_LABEL_SIZE];
    cell(work, shard->leader == 0 ? "" : lw_known_nodes_label(&work->known, shard->leader, label));
    lw_buffer_append(&work->cells, shard->leader_address);
    lw_buffer_append_u8(&work->cells, 0);
    cell_holders(work, shard);
    if (++work->row_count == ROWS_AT_ONCE) {
        print_rows(work);
    }
}

/* ---- shards: JSON -------------------------------------------------------------------------------
 */

static void node_json(shards_work *work, const char *id_name, const char *name_name,
                      uint64_t node) {
    char id[17], label[LW_MEMBER_LABEL_SIZE];
    (void)snprintf(id, sizeof(id), "%016llx", (unsigned long long)node);
    lw_json_text(&work->json, id_name, lw_text(id));
    lw_json_text(&work->json, name_name,
                 lw_text(node == 0 ? "" : lw_known_nodes_label(&work->known, node, label)));
}

static void replicas_json(shards_work *work, const lw_shard_descriptor *shard) {
    lw_json *json = &work->json;
    lw_json_array_open(json, "replicas");
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        lw_json_object_open(json, NULL);
        node_json(work, "node", "name", shard->replicas[index].node);
        lw_json_text(json, "role", lw_text(role_name(shard->replicas[index].role)));
        lw_json_object_close(json);
    }
    lw_json_array_close(json);
}

static void shard_json(shards_work *work, const lw_shard_row *row) {
    const lw_shard_descriptor *shard = &row->shard;
    lw_json *json = &work->json;
    lw_json_object_open(json, NULL);
    lw_json_number(json, "id", shard->id);
    lw_json_bytes(json, "start", shard->start);
    lw_json_bytes(json, "end", shard->end);
    lw_json_number(json, "range_version", shard->epoch.range_version);
    lw_json_number(json, "config_version", shard->epoch.config_version);
    lw_json_number(json, "bytes", row->bytes);
    lw_json_number(json, "requests", row->requests);
    node_json(work, "leader", "leader_name", shard->leader);
    lw_json_text(json, "address", shard->leader_address);
    replicas_json(work, shard);
    lw_json_object_close(json);
    lw_command_drain(work->command, &work->out, false);
}

/* ---- shards -------------------------------------------------------------------------------------
 */

static bool visit(void *argument, const lw_shard_row *row) {
    shards_work *work = argument;
    if (work->command->json) {
        shard_json(work, row);
    } else {
        shard_row(work, row);
    }
    return ferror(work->command->answers) == 0;
}

LW_YIELDS static lw_exit list(shards_work *work, lw_client *client) {
    lw_command *command = work->command;
    if (lw_known_nodes_ask(client, &work->known) != LW_OK) {
        lw_known_nodes_reset(&work->known); /* then ids are shown */
    }
    if (command->json) {
        lw_json_array_open(&work->json, NULL);
    } else if (command->answers_terminal) {
        heading(work);
    }
    lw_status status = lw_operate_shards(client, visit, work);
    if (status != LW_OK) {
        return lw_command_fail_client(command, status, client, "the shards could not be listed");
    }
    if (command->json) {
        lw_json_array_close(&work->json);
        lw_buffer_append_u8(&work->out, '\n');
        lw_command_drain(command, &work->out, true);
    } else if (work->row_count > 0) {
        print_rows(work);
    }
    return LW_EXIT_DONE;
}

lw_exit lw_command_shards(lw_command *command) {
    shards_work work = {.command = command,
                        .cells = lw_buffer_in(command->memory),
                        .out = lw_buffer_in(command->memory),
                        .known = {.memory = command->memory}};
    work.json = lw_json_to(&work.out);
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code == LW_EXIT_DONE) {
        code = list(&work, client);
        lw_close(client);
    }
    return code;
}

/* ---- split --------------------------------------------------------------------------------------
 */

/* All keys are read before the first is split at. */
static lw_status read_keys(lw_command *command, lw_bytes *keys, lw_buffer *bytes) {
    size_t *ends = lw_allocate(command->memory, (size_t)command->operand_count * sizeof(*ends));
    for (int index = 0; index < command->operand_count; index++) {
        LW_TRY(lw_command_bytes(command, "the key", command->operands[index], bytes));
        ends[index] = bytes->size;
    }
    for (int index = 0; index < command->operand_count; index++) {
        size_t start = index == 0 ? 0 : ends[index - 1];
        keys[index] = lw_view(bytes->data + start, ends[index] - start);
    }
    return LW_OK;
}

static void say_split(lw_command *command, const lw_bytes *keys) {
    char text[LW_PRINTABLE_SIZE];
    for (int index = 0; index < command->operand_count; index++) {
        lw_command_say(command, "a shard begins at \"%s\"",
                       lw_printable(keys[index], text, sizeof(text)));
    }
}

static lw_exit split_all(lw_command *command, lw_client *client, const lw_bytes *keys) {
    for (int index = 0; index < command->operand_count; index++) {
        lw_status status = lw_split(client, keys[index]);
        if (status != LW_OK) {
            char what[LW_PRINTABLE_SIZE + 64], text[LW_PRINTABLE_SIZE];
            (void)snprintf(what, sizeof(what), "no shard was made to begin at \"%s\"",
                           lw_printable(keys[index], text, sizeof(text)));
            return lw_command_fail_client(command, status, client, what);
        }
    }
    if (command->json) {
        lw_buffer out = lw_buffer_in(command->memory);
        lw_buffer_print(&out, "{\"keys\":%d}\n", command->operand_count);
        lw_command_answer(command, lw_buffer_view(&out));
        lw_buffer_reset(&out);
    } else {
        say_split(command, keys);
    }
    return LW_EXIT_DONE;
}

lw_exit lw_command_split(lw_command *command) {
    lw_buffer bytes = lw_buffer_in(command->memory);
    lw_bytes *keys = lw_allocate(command->memory, (size_t)command->operand_count * sizeof(*keys));
    if (read_keys(command, keys, &bytes) != LW_OK) {
        return lw_command_bad_operand(command);
    }
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code == LW_EXIT_DONE) {
        code = split_all(command, client, keys);
        lw_close(client);
    }
    return code;
}
