/* SPDX-License-Identifier: Apache-2.0 */
/* nodes, drain, leave; and what other commands want to know of the members. */
#include "client/command_nodes.h"

#include "base/logline.h"
#include "client/operate.h"

#include <inttypes.h>
#include <stdlib.h>

enum { ID_SIZE = 16 + 1 }; /* digits of an id, with the closing zero */

/* ---- the members ------------------------------------------------------------------------------
 */

static void copy_text(char *to, size_t size, lw_bytes text) {
    size_t taken = text.size < size - 1 ? text.size : size - 1;
    if (taken > 0) {
        memcpy(to, text.data, taken);
    }
    to[taken] = '\0';
}

static void take_row(void *argument, const lw_member_row *row) {
    lw_known_nodes *known = argument;
    if (known->count == known->capacity) {
        known->capacity = known->capacity == 0 ? 8 : known->capacity * 2;
        known->nodes =
            lw_reallocate(known->memory, known->nodes, known->capacity * sizeof(*known->nodes));
    }
    lw_known_node *taken = &known->nodes[known->count++];
    *taken = (lw_known_node){.node = row->member.node,
                             .state = row->member.state,
                             .self = row->self,
                             .linked = row->linked,
                             .heard_ms = row->heard_ms,
                             .linked_ms = row->linked_ms,
                             .load = row->load,
                             .lags = row->lags,
                             .clock_ahead_ms = row->clock_ahead_ms};
    memcpy(taken->key_epochs, row->member.key_epochs, sizeof(taken->key_epochs));
    taken->key_count = row->member.key_count;
    copy_text(taken->address, sizeof(taken->address), row->member.address);
    copy_text(taken->zone, sizeof(taken->zone), row->member.zone);
    copy_text(taken->label, sizeof(taken->label), row->label);
    if (row->label.size == 0) {
        (void)snprintf(taken->label, sizeof(taken->label), "%016" PRIx64, taken->node);
    }
}

/* As people count: digits that follow each other are one number. */
static int by_name(const void *a, const void *b) {
    const char *one = ((const lw_known_node *)a)->label, *other = ((const lw_known_node *)b)->label;
    for (;;) {
        size_t one_digits = strspn(one, "0123456789"), other_digits = strspn(other, "0123456789");
        if (one_digits != other_digits && one_digits > 0 && other_digits > 0) {
            return one_digits < other_digits ? -1 : 1;
        }
        if (*one != *other || *one == '\0') {
            return (*one > *other) - (*one < *other);
        }
        size_t same = one_digits > 0 ? one_digits : 1;
        int order = memcmp(one, other, same);
        if (order != 0) {
            return order;
        }
        one += same;
        other += same;
    }
}

lw_status lw_known_nodes_ask(lw_client *client, lw_known_nodes *known) {
    LW_TRY(lw_operate_nodes(client, take_row, known));
    if (known->count > 0) {
        qsort(known->nodes, known->count, sizeof(*known->nodes), by_name);
    }
    return LW_OK;
}

void lw_known_nodes_reset(lw_known_nodes *known) {
    lw_free(known->memory, known->nodes);
    *known = (lw_known_nodes){.memory = known->memory};
}

const lw_known_node *lw_known_nodes_find(const lw_known_nodes *known, uint64_t node) {
    for (uint32_t index = 0; index < known->count; index++) {
        if (known->nodes[index].node == node) {
            return &known->nodes[index];
        }
    }
    return NULL;
}

const char *lw_known_nodes_label(const lw_known_nodes *known, uint64_t node,
                                 char label[LW_MEMBER_LABEL_SIZE]) {
    const lw_known_node *found = lw_known_nodes_find(known, node);
    if (found == NULL) {
        (void)snprintf(label, LW_MEMBER_LABEL_SIZE, "%016" PRIx64, node);
        return label;
    }
    return memcpy(label, found->label, sizeof(found->label));
}

static void write_names(const lw_known_nodes *known, char *text, size_t size) {
    for (uint32_t index = 0; index < known->count; index++) {
        char id[ID_SIZE];
        (void)snprintf(id, sizeof(id), "%016" PRIx64, known->nodes[index].node);
        char *at = strstr(text, id);
        size_t name_size = strlen(known->nodes[index].label);
        for (; at != NULL && strcmp(id, known->nodes[index].label) != 0; at = strstr(at, id)) {
            size_t rest_size = strlen(at + ID_SIZE - 1) + 1;
            if ((size_t)(at - text) + name_size + rest_size > size) {
                break;
            }
            memmove(at + name_size, at + ID_SIZE - 1, rest_size);
            memcpy(at, known->nodes[index].label, name_size);
            at += name_size;
        }
    }
}

lw_exit lw_known_nodes_fail(lw_command *command, lw_status status, const lw_client *client,
                            const lw_known_nodes *known, const char *what) {
    char cause[LW_ERROR_TEXT_SIZE];
    copy_text(cause, sizeof(cause), lw_text(lw_client_error(client)));
    write_names(known, cause, sizeof(cause));
    return lw_command_fail(command, status, cause[0] == 0 ? lw_status_text(status) : cause,
                           status == LW_INVALID_ARGUMENT || status == LW_REFUSED ? "lathwork nodes"
                                                                                 : NULL,
                           "%s", what);
}

static bool is_meant(const lw_known_node *node, const char *word) {
    char id[ID_SIZE];
    (void)snprintf(id, sizeof(id), "%016" PRIx64, node->node);
    return strcmp(node->label, word) == 0 || strcmp(node->address, word) == 0 ||
           (strlen(word) >= 2 && strncmp(id, word, strlen(word)) == 0);
}

/* How many are meant, of those that are gone or of the others; the last one in `*found`. */
static uint32_t count_meant(const lw_known_nodes *known, const char *word, bool gone,
                            const lw_known_node **found) {
    uint32_t count = 0;
    for (uint32_t index = 0; index < known->count; index++) {
        const lw_known_node *node = &known->nodes[index];
        if ((node->state == LW_MEMBER_GONE) == gone && is_meant(node, word)) {
            *found = node;
            count++;
        }
    }
    return count;
}

/* "n1 (10.0.0.1:7871), …", as many as have room. */
static const char *list_members(const lw_known_nodes *known, char *list, size_t size) {
    size_t used = 0;
    list[0] = '\0';
    for (uint32_t index = 0; index < known->count; index++) {
        const lw_known_node *node = &known->nodes[index];
        if (node->state == LW_MEMBER_GONE) {
            continue;
        }
        char one[sizeof(node->label) + sizeof(node->address) + 8];
        int one_size = snprintf(one, sizeof(one), "%s%s (%s)", used > 0 ? ", " : "", node->label,
                                node->address);
        if (used + (size_t)one_size + sizeof(", …") > size) {
            (void)snprintf(list + used, size - used, ", …");
            break;
        }
        memcpy(list + used, one, (size_t)one_size + 1);
        used += (size_t)one_size;
    }
    return list;
}

lw_status lw_known_nodes_name(const lw_known_nodes *known, const char *word,
                              const lw_known_node **found) {
    const lw_known_node *one = NULL;
    char shown[LW_PRINTABLE_SIZE], list[LW_ERROR_TEXT_SIZE - 200];
    (void)lw_printable(lw_text(word), shown, sizeof(shown));
    uint32_t count = count_meant(known, word, false, &one);
    if (count > 1) {
        return lw_fail(LW_INVALID_ARGUMENT, "\"%.60s\" means several members of these: %s", shown,
                       list_members(known, list, sizeof(list)));
    }
    if (count == 0 && count_meant(known, word, true, &one) != 1) {
        return lw_fail(LW_INVALID_ARGUMENT, "no member is called \"%.60s\"; the members are: %s",
                       shown, list_members(known, list, sizeof(list)));
    }
    *found = one;
    return LW_OK;
}

const char *lw_known_node_ailment(const lw_known_node *node) {
    if (!lw_known_node_up(node)) {
        return NULL;
    }
    return node->load.disk_full ? "its disk is full" : node->lags ? "it is far behind" : NULL;
}

const char *lw_known_node_clock(const lw_known_nodes *known, const lw_known_node *node,
                                char words[LW_MEMBER_CLOCK_SIZE]) {
    uint32_t live = 0;
    for (uint32_t index = 0; index < known->count; index++) {
        live += known->nodes[index].state != LW_MEMBER_GONE;
    }
    return !lw_known_node_up(node) || node->clock_ahead_ms == 0
               ? NULL
               : lw_member_clock_words(node->clock_ahead_ms, live == 2, words);
}

/* ---- health -----------------------------------------------------------------------------------
 */

typedef struct health_work {
    const lw_known_nodes *known;
    lw_health *health;
    bool any;
} health_work;

/* Of a shard whose voters change both sets have to agree; what is left of the smaller one counts.
 */
static bool count_shard(void *argument, const lw_shard_row *row) {
    health_work *work = argument;
    uint32_t voters[2] = {0, 0}, up[2] = {0, 0};
    lw_moving_shard moving = {.shard = row->shard.id};
    for (uint32_t index = 0; index < row->shard.replica_count; index++) {
        const lw_shard_replica *replica = &row->shard.replicas[index];
        const lw_known_node *node = lw_known_nodes_find(work->known, replica->node);
        bool lives = node != NULL && lw_known_node_counts(node);
        bool comes = replica->role == LW_REPLICA_LEARNER || replica->role == LW_REPLICA_JOINING;
        moving.comes = comes ? replica->node : moving.comes;
        moving.goes = replica->role == LW_REPLICA_LEAVING ? replica->node : moving.goes;
        bool old = replica->role == LW_REPLICA_VOTER || replica->role == LW_REPLICA_LEAVING;
        bool fresh = replica->role == LW_REPLICA_VOTER || replica->role == LW_REPLICA_JOINING;
        voters[0] += old, voters[1] += fresh;
        up[0] += old && lives, up[1] += fresh && lives;
    }
    if (row->shard.replica_count == 0) { /* one node has it, and leads it */
        const lw_known_node *only = lw_known_nodes_find(work->known, row->shard.leader);
        voters[0] = voters[1] = 1;
        up[0] = up[1] = only == NULL ? row->shard.leader == 0 : lw_known_node_up(only);
    }
    int64_t spare = INT64_MAX;
    for (uint32_t set = 0; set < 2; set++) {
        int64_t left = (int64_t)up[set] - (int64_t)(voters[set] / 2 + 1);
        spare = left < spare ? left : spare;
    }
    lw_health *health = work->health;
    health->shard_count++;
    if (moving.comes != 0 || moving.goes != 0) {
        if (health->moving_count < LW_HEALTH_MOVING_MAX) {
            health->moving[health->moving_count] = moving;
        }
        health->moving_count++;
    }
    health->weak_count += up[0] < voters[0] || up[1] < voters[1];
    health->lost_count += spare < 0;
    uint32_t whole = spare < 0 ? 0 : (uint32_t)spare;
    health->spare_nodes = !work->any || whole < health->spare_nodes ? whole : health->spare_nodes;
    work->any = true;
    return true;
}

static void count_node(lw_health *health, const lw_known_nodes *known, const lw_known_node *node) {
    char words[LW_MEMBER_CLOCK_SIZE];
    const char *clock = lw_known_node_clock(known, node, words);
    if (clock != NULL) {
        health->wrong_count++;
        (void)snprintf(health->wrong, sizeof(health->wrong), "%s (%s): %s", node->label,
                       node->address, clock);
    }
    if (lw_known_node_up(node)) {
        health->merging_count += node->load.merging;
        health->repairing_count += node->load.repairing;
        health->snapshot_count += node->load.snapshots;
    }
    const char *ailment = lw_known_node_ailment(node);
    health->node_count += node->state != LW_MEMBER_GONE;
    if (node->state != LW_MEMBER_GONE && !lw_known_node_up(node)) {
        health->down_count++;
        (void)snprintf(health->down, sizeof(health->down), "%s (%s)", node->label, node->address);
    }
    if (ailment != NULL) {
        health->ailing_count++;
        (void)snprintf(health->ailing, sizeof(health->ailing), "%s (%s): %s: %s", node->label,
                       node->address, ailment,
                       node->load.disk_full ? "free some space there"
                                            : "it catches up, or its log says why not");
    }
}

lw_status lw_health_ask(lw_client *client, lw_known_nodes *known, lw_health *health) {
    health_work work = {.known = known, .health = health};
    *health = (lw_health){0};
    LW_TRY(lw_known_nodes_ask(client, known));
    for (uint32_t index = 0; index < known->count; index++) {
        count_node(health, known, &known->nodes[index]);
    }
    return lw_operate_shards(client, count_shard, &work);
}

const char *lw_health_name(const lw_health *health) {
    if (health->lost_count > 0) {
        return "unavailable";
    }
    bool good = health->down_count == 0 && health->ailing_count == 0 && health->weak_count == 0;
    return good ? "healthy" : "degraded";
}

/* ---- nodes ------------------------------------------------------------------------------------
 */

enum { COLUMN_COUNT = 11 };

static void cell(lw_buffer *cells, const char *text) {
    lw_buffer_append(cells, lw_view(text, strlen(text) + 1));
}

static void cell_number(lw_buffer *cells, uint64_t number) {
    lw_buffer_print(cells, "%" PRIu64, number);
    lw_buffer_append_u8(cells, 0);
}

/* Since when, in words. */
static void cell_time(lw_buffer *cells, const char *what, uint64_t ms) {
    if (ms == LW_MEMBER_NEVER) {
        lw_buffer_print(cells, "%snever", what);
    } else if (ms < 10000) {
        lw_buffer_print(cells, "%s%" PRIu64 " ms", what, ms);
    } else {
        lw_buffer_print(cells, "%s%" PRIu64 " s", what, ms / 1000);
    }
    lw_buffer_append_u8(cells, 0);
}

static void node_row(const lw_known_nodes *known, const lw_known_node *node, lw_buffer *cells) {
    cell(cells, node->label);
    lw_buffer_print(cells, "%016" PRIx64, node->node);
    lw_buffer_append_u8(cells, 0);
    cell(cells, node->address);
    cell(cells, lw_member_state_name(node->state));
    if (node->self) {
        cell(cells, "self");
        cell(cells, "");
    } else {
        cell_time(cells, node->linked ? "up " : "down ", node->linked_ms);
        cell_time(cells, "", node->heard_ms);
    }
    cell(cells, node->zone);
    cell_number(cells, node->load.shards);
    cell_number(cells, node->load.leaders);
    cell_number(cells, node->load.bytes);
    char words[LW_MEMBER_CLOCK_SIZE];
    const char *ailment = lw_known_node_ailment(node);
    ailment = ailment == NULL ? lw_known_node_clock(known, node, words) : ailment;
    cell(cells, ailment == NULL ? "" : ailment);
}

static void node_json(const lw_known_node *node, lw_json *json) {
    char id[17];
    (void)snprintf(id, sizeof(id), "%016" PRIx64, node->node);
    lw_json_object_open(json, NULL);
    lw_json_text(json, "node", lw_text(id));
    lw_json_text(json, "name", lw_text(node->label));
    lw_json_bytes(json, "address", lw_text(node->address));
    lw_json_text(json, "state", lw_text(lw_member_state_name(node->state)));
    lw_json_boolean(json, "self", node->self);
    lw_json_boolean(json, "up", lw_known_node_up(node));
    const char *ailment = lw_known_node_ailment(node);
    if (ailment == NULL) {
        lw_json_null(json, "trouble");
    } else {
        lw_json_text(json, "trouble", lw_text(ailment));
    }
    if (node->linked_ms == LW_MEMBER_NEVER) {
        lw_json_null(json, "linked_ms");
    } else {
        lw_json_number(json, "linked_ms", node->linked_ms);
    }
    if (node->heard_ms == LW_MEMBER_NEVER) {
        lw_json_null(json, "heard_ms");
    } else {
        lw_json_number(json, "heard_ms", node->heard_ms);
    }
    lw_json_bytes(json, "zone", lw_text(node->zone));
    lw_json_number(json, "shards", node->load.shards);
    lw_json_number(json, "leaders", node->load.leaders);
    lw_json_number(json, "bytes", node->load.bytes);
    lw_json_number(json, "reads_per_second", node->load.reads);
    lw_json_number(json, "writes_per_second", node->load.writes);
    lw_json_number(json, "receiving", node->load.receiving);
    lw_json_number(json, "merging", node->load.merging);
    lw_json_number(json, "repairing", node->load.repairing);
    lw_json_number(json, "snapshots", node->load.snapshots);
    lw_json_integer(json, "clock_ahead_ms", node->clock_ahead_ms);
    lw_json_object_close(json);
}

static void print_json(lw_command *command, const lw_known_nodes *known) {
    lw_buffer out = lw_buffer_in(command->memory);
    lw_json json = lw_json_to(&out);
    lw_json_object_open(&json, NULL);
    lw_json_array_open(&json, "nodes");
    for (uint32_t index = 0; index < known->count; index++) {
        node_json(&known->nodes[index], &json);
    }
    lw_json_array_close(&json);
    lw_json_object_close(&json);
    lw_buffer_append_u8(&out, '\n');
    lw_command_drain(command, &out, true);
    lw_buffer_reset(&out);
}

void lw_known_nodes_print(lw_command *command, const lw_known_nodes *known) {
    static const char *const names[COLUMN_COUNT] = {"NAME",    "NODE",  "ADDRESS", "STATE",
                                                    "LINK",    "HEARD", "ZONE",    "SHARDS",
                                                    "LEADERS", "BYTES", "TROUBLE"};
    lw_buffer cells = lw_buffer_in(command->memory);
    size_t row_count = 0;
    for (int index = 0; index < COLUMN_COUNT && command->answers_terminal; index++) {
        cell(&cells, names[index]);
        row_count = 1;
    }
    for (uint32_t index = 0; index < known->count; index++) {
        if (known->nodes[index].state != LW_MEMBER_GONE) {
            node_row(known, &known->nodes[index], &cells);
            row_count++;
        }
    }
    if (row_count > 0) {
        lw_command_cells(command, &cells, row_count, COLUMN_COUNT);
    }
    lw_buffer_reset(&cells);
}

LW_YIELDS lw_exit lw_command_nodes(lw_command *command) {
    lw_client *client;
    lw_known_nodes known = {.memory = command->memory};
    lw_exit code = lw_command_connect(command, &client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    lw_status status = lw_known_nodes_ask(client, &known);
    if (status != LW_OK) {
        code = lw_command_fail_client(command, status, client, "the nodes could not be listed");
    } else if (command->json) {
        print_json(command, &known);
    } else {
        lw_known_nodes_print(command, &known);
    }
    lw_known_nodes_reset(&known);
    lw_close(client);
    return code;
}

/* ---- drain and leave --------------------------------------------------------------------------
 */

static lw_exit done(lw_command *command, const lw_known_node *node, const char *words) {
    lw_buffer out = lw_buffer_in(command->memory);
    if (command->json) {
        lw_buffer_print(&out, "{\"node\":\"%016" PRIx64 "\",\"name\":\"%s\"}\n", node->node,
                        node->label);
    } else {
        lw_command_say(command, "%s (%s) %s", node->label, node->address, words);
    }
    lw_command_drain(command, &out, true);
    lw_buffer_reset(&out);
    return LW_EXIT_DONE;
}

/* Two nodes hold one copy of each shard: of two copies neither could go on without the other. */
static void tell_of_copies(lw_command *command, const lw_known_nodes *known,
                           const lw_known_node *goes) {
    enum { MAJORITY_NODES = 3 };
    uint32_t stay_count = 0;
    for (uint32_t index = 0; index < known->count; index++) {
        const lw_known_node *node = &known->nodes[index];
        stay_count += node != goes && node->state == LW_MEMBER_UP;
    }
    if (stay_count == MAJORITY_NODES - 1 && goes->state == LW_MEMBER_UP) {
        lw_command_say(command,
                       "note: %u nodes stay that hold data: each shard has one copy there, and no "
                       "node can be lost, until there are three again",
                       stay_count);
    }
}

LW_YIELDS static lw_exit drain_or_leave(lw_command *command, lw_client *client, bool leave) {
    bool flag = lw_command_given(command, leave ? LW_FLAG_FORCE : LW_FLAG_UNDO);
    const lw_known_node *node = NULL;
    lw_known_nodes known = {.memory = command->memory};
    const char *what = leave ? "the node was not told to leave" : "the node was not told to empty";
    lw_status status = lw_known_nodes_ask(client, &known);
    if (status != LW_OK) {
        return lw_command_fail_client(command, status, client, what);
    }
    status = lw_known_nodes_name(&known, command->operands[0], &node);
    if (status != LW_OK) {
        return lw_command_fail(command, status, lw_error_slot()->text, "lathwork nodes", "%s",
                               what);
    }
    LW_ASSERT(node != NULL);
    status = leave ? lw_operate_leave(client, node->node, flag)
                   : lw_operate_drain(client, node->node, !flag);
    if (status != LW_OK) {
        return lw_known_nodes_fail(command, status, client, &known, what);
    }
    const char *words = leave ? (flag ? "is out" : "leaves: what it holds moves away first")
                              : (flag ? "fills again" : "empties: what it holds moves away");
    lw_exit code = done(command, node, words);
    if (leave || !flag) {
        tell_of_copies(command, &known, node);
    }
    return code;
}

LW_YIELDS static lw_exit run(lw_command *command, bool leave) {
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code == LW_EXIT_DONE) {
        code = drain_or_leave(command, client, leave);
        lw_close(client);
    }
    return code;
}

LW_YIELDS lw_exit lw_command_drain_node(lw_command *command) {
    return run(command, false);
}

LW_YIELDS lw_exit lw_command_leave(lw_command *command) {
    return run(command, true);
}
