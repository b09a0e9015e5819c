/* SPDX-License-Identifier: Apache-2.0 */
/* Reaching a node, and the commands that tell about it and about this program: status, ping,
 * config, version. */
#include "client/command.h"
#include "client/command_nodes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- reaching a node ---------------------------------------------------------------------------
 */

lw_exit lw_command_connect(lw_command *command, lw_client **client) {
    char label[LW_LABEL_SIZE_MAX + 1];
    (void)snprintf(label, sizeof(label), "lathwork %s, process %ld", command->spec->name,
                   (long)getpid());
    lw_client_options options = {
        .address = command->flags[LW_FLAG_ADDR].text,
        .label = label,
        .timeout_ms = (uint32_t)command->flags[LW_FLAG_TIMEOUT].number,
    };
    lw_client *opened = NULL;
    lw_status status = lw_open(&options, &opened);
    if (status == LW_OK) {
        /* A node that is not there shows here, at once; transactions would go on trying. */
        status = lw_ping(opened);
    }
    if (status == LW_OK) {
        *client = opened;
        return LW_EXIT_DONE;
    }
    static const char what[] = "the node cannot be reached";
    lw_exit code = opened == NULL
                       ? lw_command_fail(command, status, lw_error_slot()->text, NULL, "%s", what)
                       : lw_command_fail_client(command, status, opened, what);
    lw_close(opened);
    *client = NULL;
    return code;
}

lw_txn_options lw_command_txn_options(const lw_command *command) {
    enum { STRICT, SNAPSHOT };
    return (lw_txn_options){
        .isolation = command->flags[LW_FLAG_ISOLATION].number == SNAPSHOT ? LW_SNAPSHOT : LW_STRICT,
        .at_timestamp = command->flags[LW_FLAG_AT].number,
        .timeout_ms = (uint32_t)command->flags[LW_FLAG_TIMEOUT].number,
    };
}

/* ---- status: JSON as rows ----------------------------------------------------------------------
 */

/* Walks through a JSON text that a node wrote, with a path of names and places instead of
 * recursion.
 */
typedef struct flattener {
    lw_bytes rest;
    lw_buffer path;       /* "shards[1].id" */
    size_t path_sizes[8]; /* of what encloses */
    uint64_t places[8];   /* in an array: of the element, from 1; in an object: 0 */
    size_t depth;
    lw_buffer cells; /* name, 0, value, 0, … */
    size_t row_count;
    bool plain; /* as the node says it; else for people */
} flattener;

/* The size of the string in front, quotes included; 0 if it does not end. */
static size_t string_size(lw_bytes rest) {
    for (size_t index = 1; index < rest.size; index++) {
        if (rest.data[index] == '"') {
            return index + 1;
        }
        index += rest.data[index] == '\\';
    }
    return 0;
}

static void skip(flattener *flat, size_t size) {
    flat->rest = lw_view(flat->rest.data + size, flat->rest.size - size);
}

/* Numbers of bytes and times as people write them. */
static void append_number(lw_buffer *cells, lw_bytes name, lw_bytes number) {
    char text[32];
    (void)snprintf(text, sizeof(text), "%.*s", (int)number.size, (const char *)number.data);
    double value = strtod(text, NULL);
    bool bytes = name.size >= 5 && memcmp(name.data + name.size - 5, "bytes", 5) == 0;
    bool time = name.size >= 3 && memcmp(name.data + name.size - 3, "_ms", 3) == 0;
    if (bytes && value >= 1 << 30) {
        lw_buffer_print(cells, "%.1f GiB", value / (1 << 30));
    } else if (bytes && value >= 1 << 20) {
        lw_buffer_print(cells, "%.1f MiB", value / (1 << 20));
    } else if (bytes && value >= 1 << 10) {
        lw_buffer_print(cells, "%.1f KiB", value / (1 << 10));
    } else if (time && value >= 1000) {
        lw_buffer_print(cells, "%.1f s", value / 1000);
    } else {
        lw_buffer_append(cells, number);
    }
}

static void emit(flattener *flat, size_t size) {
    lw_bytes token = lw_view(flat->rest.data, size);
    bool number = token.data[0] >= '0' && token.data[0] <= '9';
    /* A tree has seven levels, most of them empty. */
    bool silent = !flat->plain && flat->depth > 3 && lw_equal(token, lw_text("0"));
    if (!silent) {
        lw_buffer_append(&flat->cells, lw_buffer_view(&flat->path));
        lw_buffer_append_u8(&flat->cells, 0);
        if (number && !flat->plain) {
            append_number(&flat->cells, lw_buffer_view(&flat->path), token);
        } else if (token.data[0] == '"') {
            lw_buffer_append(&flat->cells, lw_view(token.data + 1, token.size - 2));
        } else {
            lw_buffer_append(&flat->cells, token);
        }
        lw_buffer_append_u8(&flat->cells, 0);
        flat->row_count++;
    }
    skip(flat, size);
}

/* Puts the name of the member, or the place of the element, that begins here behind the path. */
static bool enter_item(flattener *flat) {
    size_t depth = flat->depth - 1;
    flat->path.size = flat->path_sizes[depth];
    if (flat->places[depth] > 0) {
        lw_buffer_print(&flat->path, "[%llu]", (unsigned long long)flat->places[depth]++);
        return true;
    }
    size_t size = flat->rest.data[0] == '"' ? string_size(flat->rest) : 0;
    if (size == 0 || size >= flat->rest.size || flat->rest.data[size] != ':') {
        return false;
    }
    lw_buffer_print(&flat->path, "%s%.*s", flat->path.size > 0 ? "." : "", (int)(size - 2),
                    (const char *)flat->rest.data + 1);
    skip(flat, size + 1);
    return flat->rest.size > 0;
}

/* Takes one value, or the beginning of an object or array. */
static bool take_value(flattener *flat) {
    uint8_t byte = flat->rest.data[0];
    if (byte == '{' || byte == '[') {
        if (flat->depth == sizeof(flat->places) / sizeof(flat->places[0])) {
            return false;
        }
        flat->path_sizes[flat->depth] = flat->path.size;
        flat->places[flat->depth++] = byte == '[' ? 1 : 0;
        skip(flat, 1);
        return true;
    }
    size_t size = byte == '"' ? string_size(flat->rest) : 0;
    while (byte != '"' && size < flat->rest.size &&
           memchr(",]}", flat->rest.data[size], 3) == NULL) {
        size++;
    }
    if (size == 0) {
        return false;
    }
    emit(flat, size);
    return true;
}

/* LW_CORRUPTION if it is not the JSON that nodes write: no blanks, at most 8 levels. */
static lw_status flatten(flattener *flat) {
    bool good = flat->rest.size > 0 && flat->rest.data[0] == '{' && take_value(flat);
    while (good && flat->depth > 0 && flat->rest.size > 0) {
        uint8_t byte = flat->rest.data[0];
        if (byte == '}' || byte == ']') {
            flat->depth--;
            skip(flat, 1);
        } else if (byte == ',') {
            skip(flat, 1);
        } else {
            good = enter_item(flat) && take_value(flat);
        }
    }
    return good && flat->depth == 0
               ? LW_OK
               : lw_fail(LW_CORRUPTION, "the node's account of itself cannot be read");
}

lw_exit lw_command_print_status(lw_command *command, lw_bytes json) {
    if (command->json) {
        lw_command_answer(command, json);
        lw_command_answer(command, lw_text("\n"));
        return LW_EXIT_DONE;
    }
    flattener flat = {.rest = json,
                      .path = lw_buffer_in(command->memory),
                      .cells = lw_buffer_in(command->memory),
                      .plain = !command->answers_terminal};
    lw_status status = flatten(&flat);
    if (status == LW_OK) {
        lw_command_cells(command, &flat.cells, flat.row_count, 2);
    }
    lw_buffer_reset(&flat.path);
    lw_buffer_reset(&flat.cells);
    return status == LW_OK ? LW_EXIT_DONE
                           : lw_command_fail(command, status, lw_error_slot()->text,
                                             "lathwork status --json", "the status is no table");
}

static void nodes_json(const lw_known_nodes *known, lw_json *json) {
    lw_json_array_open(json, "nodes");
    for (uint32_t index = 0; index < known->count; index++) {
        const lw_known_node *node = &known->nodes[index];
        if (node->state != LW_MEMBER_GONE) {
            lw_json_object_open(json, NULL);
            lw_json_text(json, "name", lw_text(node->label));
            lw_json_bytes(json, "address", lw_text(node->address));
            lw_json_text(json, "state", lw_text(lw_member_state_name(node->state)));
            lw_json_boolean(json, "up", lw_known_node_up(node));
            lw_json_number(json, "shards", node->load.shards);
            lw_json_number(json, "leaders", node->load.leaders);
            lw_json_object_close(json);
        }
    }
    lw_json_array_close(json);
}

static void moving_node(const lw_known_nodes *known, lw_json *json, const char *name,
                        uint64_t node) {
    char label[LW_MEMBER_LABEL_SIZE];
    if (node != 0) {
        lw_json_text(json, name, lw_text(lw_known_nodes_label(known, node, label)));
    }
}

/* The first of them. */
static void moving_json(const lw_health *health, const lw_known_nodes *known, lw_json *json) {
    lw_json_array_open(json, "moving");
    for (uint64_t index = 0; index < health->moving_count && index < LW_HEALTH_MOVING_MAX;
         index++) {
        lw_json_object_open(json, NULL);
        lw_json_number(json, "shard", health->moving[index].shard);
        moving_node(known, json, "comes_to", health->moving[index].comes);
        moving_node(known, json, "goes_from", health->moving[index].goes);
        lw_json_object_close(json);
    }
    lw_json_array_close(json);
}

/* What the lattice is like stands before what the node says of itself. */
static void begin_with_health(const lw_health *health, const lw_known_nodes *known,
                              lw_bytes account, lw_buffer *out) {
    lw_json json = lw_json_to(out);
    lw_json_object_open(&json, NULL);
    lw_json_text(&json, "health", lw_text(lw_health_name(health)));
    lw_json_number(&json, "can_lose", health->spare_nodes);
    lw_json_number(&json, "members", health->node_count);
    lw_json_number(&json, "members_down", health->down_count);
    lw_json_number(&json, "members_ailing", health->ailing_count);
    if (health->ailing_count > 0) {
        lw_json_bytes(&json, "trouble", lw_text(health->ailing));
    }
    if (health->wrong_count > 0) {
        lw_json_bytes(&json, "wrong_clock", lw_text(health->wrong));
    }
    lw_json_number(&json, "clocks_wrong", health->wrong_count);
    lw_json_number(&json, "shards_all", health->shard_count);
    lw_json_number(&json, "shards_moving", health->moving_count);
    lw_json_number(&json, "shards_merging", health->merging_count);
    lw_json_number(&json, "replicas_repairing", health->repairing_count);
    lw_json_number(&json, "snapshots_under_way", health->snapshot_count);
    lw_json_number(&json, "shards_weak", health->weak_count);
    lw_json_number(&json, "shards_lost", health->lost_count);
    nodes_json(known, &json);
    moving_json(health, known, &json);
    if (account.size > 2) {
        lw_buffer_append_u8(out, ',');
        lw_buffer_append(out, lw_view(account.data + 1, account.size - 1));
    } else {
        lw_json_object_close(&json);
    }
}

static void append_count(lw_buffer *out, uint64_t count, const char *before, const char *what) {
    if (count == 1) {
        lw_buffer_print(out, "; %s1 %s", before, what);
    } else if (count > 1) {
        lw_buffer_print(out, "; %s%llu %ss", before, (unsigned long long)count, what);
    }
}

/* The first line on a terminal. */
static void headline(lw_command *command, const lw_health *health) {
    lw_buffer out = lw_buffer_in(command->memory);
    lw_command_color_begin(command, &out);
    if (health->lost_count > 0) {
        lw_buffer_print(&out, "UNAVAILABLE: %llu of %llu shards have no majority",
                        (unsigned long long)health->lost_count,
                        (unsigned long long)health->shard_count);
    } else {
        lw_buffer_print(&out, "%s, can lose %u node%s",
                        strcmp(lw_health_name(health), "healthy") == 0 ? "HEALTHY" : "DEGRADED",
                        health->spare_nodes, health->spare_nodes == 1 ? "" : "s");
    }
    if (health->moving_count > 0) {
        lw_buffer_print(&out, "; moving: %llu of %llu shards",
                        (unsigned long long)health->moving_count,
                        (unsigned long long)health->shard_count);
    }
    append_count(&out, health->merging_count, "merging: ", "shard");
    append_count(&out, health->repairing_count, "under repair: ", "replica");
    append_count(&out, health->snapshot_count, "being sent: ", "snapshot");
    if (health->down_count > 0) {
        lw_buffer_print(&out, "; not reached: %s%s", health->down,
                        health->down_count > 1 ? ", and others" : "");
    }
    if (health->ailing_count > 0) {
        lw_buffer_print(&out, "; %s%s", health->ailing,
                        health->ailing_count > 1 ? "; and others" : "");
    }
    if (health->wrong_count > 0) {
        lw_buffer_print(&out, "; %s%s", health->wrong,
                        health->wrong_count > 1 ? "; and others" : "");
    }
    lw_command_color_end(command, &out);
    lw_buffer_append_u8(&out, '\n');
    lw_command_answer(command, lw_buffer_view(&out));
    lw_buffer_reset(&out);
}

/* Of several nodes, on a terminal: what fits one. */
static lw_exit tell_in_short(lw_command *command, const lw_health *health,
                             const lw_known_nodes *known) {
    char comes[LW_MEMBER_LABEL_SIZE], goes[LW_MEMBER_LABEL_SIZE];
    lw_buffer out = lw_buffer_in(command->memory);
    lw_known_nodes_print(command, known);
    for (uint64_t index = 0; index < health->moving_count && index < LW_HEALTH_MOVING_MAX;
         index++) {
        const lw_moving_shard *moving = &health->moving[index];
        lw_buffer_print(&out, "shard %" PRIu64 " moves:%s%s%s%s\n", moving->shard,
                        moving->comes != 0 ? " to " : "",
                        moving->comes != 0 ? lw_known_nodes_label(known, moving->comes, comes) : "",
                        moving->goes != 0 ? " from " : "",
                        moving->goes != 0 ? lw_known_nodes_label(known, moving->goes, goes) : "");
    }
    lw_buffer_print(&out, "%llu shard%s; all that the asked node counts: lathwork status | less\n",
                    (unsigned long long)health->shard_count, health->shard_count == 1 ? "" : "s");
    lw_command_answer(command, lw_buffer_view(&out));
    lw_buffer_reset(&out);
    return LW_EXIT_DONE;
}

LW_YIELDS static lw_exit tell_status(lw_command *command, lw_client *client) {
    static const char what[] = "the node does not say how it is";
    lw_bytes json;
    lw_health health;
    lw_known_nodes known = {.memory = command->memory};
    lw_buffer account = lw_buffer_in(command->memory), out = account;
    lw_status status = lw_node_status(client, &json);
    if (status != LW_OK) {
        return lw_command_fail_client(command, status, client, what);
    }
    lw_buffer_append(&account, json);
    status = lw_health_ask(client, &known, &health);
    bool to_people = status == LW_OK && !command->json && command->answers_terminal;
    bool in_short = to_people && health.node_count > 1;
    if (to_people) {
        headline(command, &health);
    }
    if (status == LW_OK) {
        begin_with_health(&health, &known, lw_buffer_view(&account), &out);
    } else if (status == LW_INVALID_ARGUMENT) {
        lw_buffer_append(&out, lw_buffer_view(&account)); /* of before there were several nodes */
    } else {
        return lw_command_fail_client(command, status, client, what);
    }
    lw_exit code = in_short ? tell_in_short(command, &health, &known)
                            : lw_command_print_status(command, lw_buffer_view(&out));
    lw_known_nodes_reset(&known);
    lw_buffer_reset(&account);
    lw_buffer_reset(&out);
    return code;
}

lw_exit lw_command_status(lw_command *command) {
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code == LW_EXIT_DONE) {
        code = tell_status(command, client);
        lw_close(client);
    }
    return code;
}

/* ---- ping --------------------------------------------------------------------------------------
 */

/* Asks a member itself, whose address another one tells. */
LW_YIELDS static lw_exit ping_member(lw_command *command, lw_client *client, const char *word) {
    static const char what[] = "the node does not answer";
    lw_known_nodes known = {.memory = command->memory};
    const lw_known_node *node = NULL;
    lw_status status = lw_known_nodes_ask(client, &known);
    if (status != LW_OK) {
        return lw_command_fail_client(command, status, client, what);
    }
    status = lw_known_nodes_name(&known, word, &node);
    if (status != LW_OK) {
        return lw_command_fail(command, status, lw_error_slot()->text, "lathwork nodes", "%s",
                               what);
    }
    command->flags[LW_FLAG_ADDR].text = node->address;
    lw_client *other;
    lw_exit code = lw_command_connect(command, &other);
    lw_close(other);
    lw_known_nodes_reset(&known);
    return code;
}

LW_YIELDS lw_exit lw_command_ping(lw_command *command) {
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code == LW_EXIT_DONE && command->operand_count > 0) {
        code = ping_member(command, client, command->operands[0]);
    }
    if (code == LW_EXIT_DONE && command->json) {
        lw_command_answer(command, lw_text("{\"answers\":true}\n"));
    }
    lw_close(client);
    return code;
}

/* ---- config ------------------------------------------------------------------------------------
 */

static void source_text(const lw_command *command, lw_flag_id id, char *text, size_t size) {
    const lw_flag_spec *flag = lw_flag(id);
    lw_flag_source source = command->flags[id].source;
    if (source == LW_SOURCE_FLAG) {
        (void)snprintf(text, size, "flag --%s", flag->name);
    } else if (source == LW_SOURCE_ENVIRONMENT) {
        (void)snprintf(text, size, "environment %s", flag->environment);
    } else {
        (void)snprintf(text, size, source == LW_SOURCE_NONE ? "not set" : "default");
    }
}

lw_exit lw_command_config(lw_command *command) {
    enum { SOURCE_SIZE = 64 };
    char sources[LW_FLAG_COUNT][SOURCE_SIZE];
    const char *cells[LW_FLAG_COUNT * 3];
    size_t row_count = 0;
    lw_buffer out = lw_buffer_in(command->memory);
    lw_json json = lw_json_to(&out);
    lw_json_array_open(&json, NULL);
    for (int id = 0; id < LW_FLAG_COUNT; id++) {
        if ((command->spec->flags >> id & 1) == 0) {
            continue;
        }
        const char *name = lw_flag((lw_flag_id)id)->name;
        const char *value = command->flags[id].text;
        source_text(command, (lw_flag_id)id, sources[row_count], SOURCE_SIZE);
        lw_json_object_open(&json, NULL);
        lw_json_text(&json, "setting", lw_text(name));
        if (value == NULL) {
            lw_json_null(&json, "value");
        } else {
            lw_json_bytes(&json, "value", lw_text(value));
        }
        lw_json_text(&json, "source", lw_text(sources[row_count]));
        lw_json_object_close(&json);
        cells[3 * row_count] = name;
        cells[3 * row_count + 1] = value == NULL ? "" : value;
        cells[3 * row_count + 2] = sources[row_count];
        row_count++;
    }
    lw_json_array_close(&json);
    lw_buffer_append_u8(&out, '\n');
    if (command->json) {
        lw_command_drain(command, &out, true);
    } else {
        lw_command_rows(command, cells, row_count, 3);
    }
    lw_buffer_reset(&out);
    return LW_EXIT_DONE;
}

/* ---- version -----------------------------------------------------------------------------------
 */

lw_exit lw_command_version(lw_command *command) {
    if (!command->json) {
        (void)fprintf(command->answers, "lathwork %s\n", lw_version());
        return LW_EXIT_DONE;
    }
    lw_buffer out = lw_buffer_in(command->memory);
    lw_json json = lw_json_to(&out);
    lw_json_object_open(&json, NULL);
    lw_json_text(&json, "version", lw_text(lw_version()));
    lw_json_text(&json, "compiler", lw_text(__VERSION__));
#ifdef LW_SIMULATION
    lw_json_boolean(&json, "simulation", true);
#else
    lw_json_boolean(&json, "simulation", false);
#endif
    lw_json_object_close(&json);
    lw_buffer_append_u8(&out, '\n');
    lw_command_drain(command, &out, true);
    lw_buffer_reset(&out);
    return LW_EXIT_DONE;
}
