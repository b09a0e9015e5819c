/* SPDX-License-Identifier: Apache-2.0 */
/* key: the lattice's key, which members have which, and changing it. */
#include "client/command_nodes.h"

#include <inttypes.h>

enum { COLUMN_COUNT = 4 };

static bool is_changing(const lw_known_nodes *known) {
    uint32_t first = 0;
    for (uint32_t index = 0; index < known->count; index++) {
        const lw_known_node *node = &known->nodes[index];
        if (node->state == LW_MEMBER_GONE) {
            continue;
        }
        first = first == 0 ? node->key_epochs[0] : first;
        if (node->key_count != 1 || node->key_epochs[0] != first) {
            return true;
        }
    }
    return false;
}

static void node_json(const lw_known_node *node, lw_json *json) {
    lw_json_object_open(json, NULL);
    lw_json_text(json, "name", lw_text(node->label));
    lw_json_bytes(json, "address", lw_text(node->address));
    lw_json_array_open(json, "epochs");
    for (uint32_t index = 0; index < node->key_count; index++) {
        lw_json_number(json, NULL, node->key_epochs[index]);
    }
    lw_json_array_close(json);
    lw_json_object_close(json);
}

static void print_json(lw_command *command, const lw_known_nodes *known) {
    lw_buffer out = lw_buffer_in(command->memory);
    lw_json json = lw_json_to(&out);
    lw_json_object_open(&json, NULL);
    lw_json_boolean(&json, "changing", is_changing(known));
    lw_json_array_open(&json, "nodes");
    for (uint32_t index = 0; index < known->count; index++) {
        if (known->nodes[index].state != LW_MEMBER_GONE) {
            node_json(&known->nodes[index], &json);
        }
    }
    lw_json_array_close(&json);
    lw_json_object_close(&json);
    lw_buffer_append_u8(&out, '\n');
    lw_command_drain(command, &out, true);
    lw_buffer_reset(&out);
}

static void node_row(const lw_known_node *node, lw_buffer *cells) {
    lw_buffer_print(cells, "%s", node->label);
    lw_buffer_append_u8(cells, 0);
    lw_buffer_print(cells, "%s", node->address);
    lw_buffer_append_u8(cells, 0);
    if (node->key_count > 0) {
        lw_buffer_print(cells, "%" PRIu32, node->key_epochs[0]);
    }
    lw_buffer_append_u8(cells, 0);
    for (uint32_t index = 1; index < node->key_count; index++) {
        lw_buffer_print(cells, "%s%" PRIu32, index > 1 ? "," : "", node->key_epochs[index]);
    }
    lw_buffer_append_u8(cells, 0);
}

static void print_rows(lw_command *command, const lw_known_nodes *known) {
    static const char heading[] = "NAME\0ADDRESS\0EPOCH\0ALSO";
    lw_buffer cells = lw_buffer_in(command->memory);
    size_t row_count = 0;
    if (command->answers_terminal) {
        lw_buffer_append(&cells, lw_view(heading, sizeof(heading)));
        row_count++;
    }
    for (uint32_t index = 0; index < known->count; index++) {
        if (known->nodes[index].state != LW_MEMBER_GONE) {
            node_row(&known->nodes[index], &cells);
            row_count++;
        }
    }
    lw_command_cells(command, &cells, row_count, COLUMN_COUNT);
    lw_buffer_reset(&cells);
}

LW_YIELDS static lw_exit list(lw_command *command, lw_client *client) {
    lw_known_nodes known = {.memory = command->memory};
    lw_status status = lw_known_nodes_ask(client, &known);
    lw_exit code = LW_EXIT_DONE;
    if (status != LW_OK) {
        code = lw_command_fail_client(command, status, client, "the keys could not be listed");
    } else if (command->json) {
        print_json(command, &known);
    } else {
        print_rows(command, &known);
    }
    lw_known_nodes_reset(&known);
    return code;
}

LW_YIELDS static lw_exit rotate(lw_command *command, lw_client *client) {
    uint64_t epoch;
    lw_status status = lw_operate_rotate(client, &epoch);
    if (status != LW_OK) {
        return lw_command_fail_client(command, status, client, "the lattice's key was not changed");
    }
    if (command->json) {
        lw_buffer out = lw_buffer_in(command->memory);
        lw_buffer_print(&out, "{\"epoch\":%" PRIu64 "}\n", epoch);
        lw_command_drain(command, &out, true);
        lw_buffer_reset(&out);
    } else {
        lw_command_say(command,
                       "the lattice's key changes to epoch %" PRIu64
                       ": lathwork key tells how far the members are",
                       epoch);
    }
    return LW_EXIT_DONE;
}

LW_YIELDS lw_exit lw_command_key(lw_command *command) {
    bool rotates = command->operand_count > 0;
    lw_client *client;
    if (rotates && strcmp(command->operands[0], "rotate") != 0) {
        return lw_command_fail(command, LW_INVALID_ARGUMENT, "the operand is \"rotate\", or none",
                               "lathwork help key", "nothing was done");
    }
    lw_exit code = lw_command_connect(command, &client);
    if (code == LW_EXIT_DONE) {
        code = rotates ? rotate(command, client) : list(command, client);
        lw_close(client);
    }
    return code;
}
