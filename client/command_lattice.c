/* SPDX-License-Identifier: Apache-2.0 */
/* plan, move, transfer, merge. */
#include "client/command_nodes.h"

#include "base/logline.h"
#include "client/client.h"
#include "client/operate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

enum { PLAN_COLUMNS = 5, PLAN_LOOKS_MAX = 6, PLAN_PAUSE_MS = 500 };

typedef struct lattice_work {
    lw_command *command;
    lw_client *client;
    lw_buffer cells;
    size_t row_count;
    lw_buffer out;
    lw_json json;
    lw_known_nodes known; /* for their names; none if the node knows no lattice */
    char done[128];       /* what is told on success, */
    char note[320];       /* and of it; "": nothing */
} lattice_work;

/* ---- cells ------------------------------------------------------------------------------------
 */

static void cell(lattice_work *work, lw_bytes text) {
    lw_buffer_append(&work->cells, text);
    lw_buffer_append_u8(&work->cells, 0);
}

static void cell_node(lattice_work *work, uint64_t node) {
    char label[LW_MEMBER_LABEL_SIZE];
    if (node != 0) {
        lw_buffer_print(&work->cells, "%s", lw_known_nodes_label(&work->known, node, label));
    }
    lw_buffer_append_u8(&work->cells, 0);
}

static void cell_shard(lattice_work *work, uint64_t shard) {
    if (shard != 0) {
        lw_buffer_print(&work->cells, "%" PRIu64, shard);
    }
    lw_buffer_append_u8(&work->cells, 0);
}

static void heading(lattice_work *work, const char *const *names, size_t count) {
    for (size_t index = 0; index < count && work->command->answers_terminal; index++) {
        cell(work, lw_text(names[index]));
    }
    work->row_count += work->command->answers_terminal;
}

/* Its id, and behind that its name. */
static void json_node(const lattice_work *work, lw_json *json, const char *id_name,
                      const char *name_name, uint64_t node) {
    char text[17], label[LW_MEMBER_LABEL_SIZE];
    (void)snprintf(text, sizeof(text), "%016" PRIx64, node);
    if (node == 0) {
        lw_json_null(json, id_name);
        lw_json_null(json, name_name);
    } else {
        lw_json_text(json, id_name, lw_text(text));
        lw_json_text(json, name_name, lw_text(lw_known_nodes_label(&work->known, node, label)));
    }
}

static void print(lattice_work *work, size_t column_count) {
    if (work->row_count > 0) {
        lw_command_cells(work->command, &work->cells, work->row_count, column_count);
        work->row_count = 0;
    }
    lw_command_drain(work->command, &work->out, true);
}

/* Without them ids are shown. */
LW_YIELDS static void learn_names(lattice_work *work) {
    lw_known_nodes_reset(&work->known);
    if (lw_known_nodes_ask(work->client, &work->known) != LW_OK) {
        lw_known_nodes_reset(&work->known);
    }
}

/* ---- plan -------------------------------------------------------------------------------------
 */

static void take_plan(void *argument, const lw_plan_row *row) {
    lattice_work *work = argument;
    if (work->command->json) {
        lw_json_object_open(&work->json, NULL);
        lw_json_number(&work->json, "shard", row->shard);
        lw_json_bytes(&work->json, "step", row->step);
        json_node(work, &work->json, "node", "name", row->node);
        json_node(work, &work->json, "other", "other_name", row->other);
        lw_json_bytes(&work->json, "reason", row->reason);
        lw_json_array_open(&work->json, "wanted");
        for (uint32_t index = 0; index < row->wanted_count; index++) {
            char id[17];
            (void)snprintf(id, sizeof(id), "%016" PRIx64, row->wanted[index]);
            lw_json_text(&work->json, NULL, lw_text(id));
        }
        lw_json_array_close(&work->json);
        lw_json_object_close(&work->json);
        return;
    }
    cell_shard(work, row->shard);
    cell(work, row->step);
    cell_node(work, row->node);
    cell_node(work, row->other);
    cell(work, row->reason);
    work->row_count++;
}

/* Of another member. Whoever has just gone is left out, as whoever was gone before is. */
LW_YIELDS static void plan_of(lattice_work *work, const lw_known_node *node,
                              void (*visit)(void *argument, const lw_plan_row *row),
                              void *argument) {
    lw_client_options options = {
        .address = node->address,
        .label = "lathwork plan",
        .timeout_ms = (uint32_t)work->command->flags[LW_FLAG_TIMEOUT].number,
    };
    lw_client *client = NULL;
    if (lw_open(&options, &client) == LW_OK && lw_ping(client) == LW_OK) {
        (void)!lw_operate_plan(client, visit, argument);
    }
    lw_close(client);
}

LW_YIELDS static void plans_of_others(lattice_work *work,
                                      void (*visit)(void *argument, const lw_plan_row *row),
                                      void *argument) {
    for (uint32_t index = 0; index < work->known.count; index++) {
        const lw_known_node *node = &work->known.nodes[index];
        if (!node->self && lw_known_node_up(node)) {
            plan_of(work, node, visit, argument);
        }
    }
}

LW_YIELDS static lw_exit list_plan(lattice_work *work) {
    static const char *const names[PLAN_COLUMNS] = {"SHARD", "STEP", "NODE", "OTHER", "REASON"};
    lw_command *command = work->command;
    if (command->json) {
        lw_json_object_open(&work->json, NULL);
        lw_json_array_open(&work->json, "plan");
    } else {
        heading(work, names, PLAN_COLUMNS);
    }
    learn_names(work);
    lw_status status = lw_operate_plan(work->client, take_plan, work);
    if (status != LW_OK) {
        return lw_command_fail_client(command, status, work->client,
                                      "the node did not say what it plans");
    }
    plans_of_others(work, take_plan, work);
    if (command->json) {
        lw_json_array_close(&work->json);
        lw_json_object_close(&work->json);
        lw_buffer_append_u8(&work->out, '\n');
    }
    print(work, PLAN_COLUMNS);
    return LW_EXIT_DONE;
}

/* ---- move and transfer ------------------------------------------------------------------------
 */

typedef struct sought_shard {
    uint64_t id;
    lw_shard_descriptor found; /* its keys lie in `start` */
    lw_buffer start;
} sought_shard;

static bool seek_shard(void *argument, const lw_shard_row *row) {
    sought_shard *sought = argument;
    if (row->shard.id != sought->id) {
        return true;
    }
    sought->found = row->shard;
    lw_buffer_append(&sought->start, row->shard.start);
    return false;
}

static lw_status shard_number(const char *word, uint64_t *id) {
    char shown[LW_PRINTABLE_SIZE];
    errno = 0;
    *id = strtoull(word, NULL, 10);
    if (word[strspn(word, "0123456789")] != '\0' || *id == 0 || errno != 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "\"%s\" is no number of a shard",
                       lw_printable(lw_text(word), shown, sizeof(shown)));
    }
    return LW_OK;
}

LW_YIELDS static lw_status find_shard(lattice_work *work, const char *word, sought_shard *sought) {
    LW_TRY(shard_number(word, &sought->id));
    uint64_t id = sought->id;
    LW_TRY(lw_operate_shards(work->client, seek_shard, sought));
    return sought->found.id == id ? LW_OK
                                  : lw_fail(LW_INVALID_ARGUMENT, "there is no shard %" PRIu64, id);
}

/* Who makes room for a newcomer: the one that was named; else one that is not up, else one that
 * does not lead, else the leader. */
static lw_status choose_leaver(lattice_work *work, const lw_known_nodes *known,
                               const lw_shard_descriptor *shard, uint64_t *leaves) {
    const lw_flag_value *from = &work->command->flags[LW_FLAG_FROM];
    const lw_known_node *named;
    if (from->source != LW_SOURCE_NONE) {
        LW_TRY(lw_known_nodes_name(known, from->text, &named));
        *leaves = named->node;
        return LW_OK;
    }
    uint32_t best = shard->replica_count == 0;
    *leaves = shard->leader;
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        const lw_shard_replica *replica = &shard->replicas[index];
        const lw_known_node *node = lw_known_nodes_find(known, replica->node);
        uint32_t worth = node == NULL || !lw_known_node_up(node) ? 3
                         : replica->node != shard->leader        ? 2
                                                                 : 1;
        if (replica->role == LW_REPLICA_VOTER && worth > best) {
            best = worth;
            *leaves = replica->node;
        }
    }
    return best > 0 ? LW_OK
                    : lw_fail(LW_UNAVAILABLE, "the shard's replicas change right now: try again");
}

/* What is to be told once it is done. */
__attribute__((format(printf, 2, 3))) static void say(lattice_work *work, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(work->done, sizeof(work->done), format, arguments);
    va_end(arguments);
}

static bool holds(const lw_shard_descriptor *shard, uint64_t node) {
    for (uint32_t index = 0; index < shard->replica_count; index++) {
        if (shard->replicas[index].node == node &&
            shard->replicas[index].role == LW_REPLICA_VOTER) {
            return true;
        }
    }
    return false;
}

/* Where placement wants a shard. */
typedef struct wanted_nodes {
    uint64_t shard;
    uint64_t nodes[LW_SHARD_REPLICAS_MAX];
    uint32_t count; /* 0: not known */
} wanted_nodes;

static void take_wanted(void *argument, const lw_plan_row *row) {
    wanted_nodes *wanted = argument;
    if (row->shard == wanted->shard && row->wanted_count > 0) {
        memcpy(wanted->nodes, row->wanted, sizeof(wanted->nodes));
        wanted->count = row->wanted_count;
    }
}

/* Its leader knows, whoever that is by now: there may be none for a moment, and one that is still
 * about the change has no plan. */
LW_YIELDS static void ask_where_it_belongs(lattice_work *work, wanted_nodes *wanted) {
    for (uint32_t looks = 0; looks < PLAN_LOOKS_MAX && wanted->count == 0; looks++) {
        if (looks > 0) {
            lw_env_sleep(work->client->env, PLAN_PAUSE_MS * UINT64_C(1000000));
        }
        (void)!lw_operate_plan(work->client, take_wanted, wanted);
        plans_of_others(work, take_wanted, wanted);
    }
}

LW_YIELDS static void tell_whether_it_stays(lattice_work *work, uint64_t shard,
                                            const lw_known_node *target) {
    wanted_nodes wanted = {.shard = shard};
    char list[128] = "", label[LW_MEMBER_LABEL_SIZE];
    ask_where_it_belongs(work, &wanted);
    for (uint32_t index = 0; index < wanted.count; index++) {
        size_t size = strlen(list);
        if (wanted.nodes[index] == target->node) {
            return;
        }
        (void)snprintf(list + size, sizeof(list) - size, "%s%s", index > 0 ? ", " : "",
                       lw_known_nodes_label(&work->known, wanted.nodes[index], label));
    }
    if (wanted.count > 0) {
        (void)snprintf(
            work->note, sizeof(work->note),
            "note: it does not stay there: by zones, capacity and even shares it belongs "
            "to %s, and goes back once all is calm, after ten seconds at the soonest",
            list);
    }
}

LW_YIELDS static lw_status move_shard(lattice_work *work, bool lead) {
    sought_shard sought = {.start = lw_buffer_in(work->command->memory)};
    const lw_known_node *target = NULL;
    char label[LW_MEMBER_LABEL_SIZE];
    uint64_t leaves = 0;
    LW_TRY(lw_known_nodes_ask(work->client, &work->known));
    LW_TRY(lw_known_nodes_name(&work->known, work->command->operands[1], &target));
    LW_TRY(find_shard(work, work->command->operands[0], &sought));
    LW_TRY(choose_leaver(work, &work->known, &sought.found, &leaves));
    lw_bytes start = lw_buffer_view(&sought.start);
    if (lead) {
        say(work, "%s leads shard %" PRIu64, target->label, sought.id);
        return lw_operate_transfer(work->client, start, target->node);
    }
    if (holds(&sought.found, target->node)) {
        say(work, "%s holds shard %" PRIu64 " already", target->label, sought.id);
        return LW_OK;
    }
    say(work, "%s holds shard %" PRIu64 " now, in the place of %s", target->label, sought.id,
        lw_known_nodes_label(&work->known, leaves, label));
    LW_TRY(lw_operate_move(work->client, start, target->node, leaves));
    tell_whether_it_stays(work, sought.id, target);
    return LW_OK;
}

/* A failure's words are the client's if it failed there, else in the error slot. */
LW_YIELDS static lw_exit told(lattice_work *work, lw_status status, const char *what) {
    if (status != LW_OK && lw_error_slot()->text[0] != '\0') {
        return lw_command_fail(work->command, status, lw_error_slot()->text,
                               "lathwork nodes, lathwork shards", "%s", what);
    }
    if (status != LW_OK) {
        return lw_known_nodes_fail(work->command, status, work->client, &work->known, what);
    }
    if (work->command->json) {
        lw_command_answer(work->command, lw_text("{\"done\":true}\n"));
    } else {
        lw_command_say(work->command, "%s", work->done);
    }
    if (work->note[0] != '\0') {
        lw_command_say(work->command, "%s", work->note);
    }
    return LW_EXIT_DONE;
}

LW_YIELDS static lw_exit move_or_transfer(lattice_work *work, bool lead) {
    lw_error_slot()->text[0] = '\0';
    lw_status status = move_shard(work, lead);
    return told(work, status,
                lead ? "the shard's leader did not hand over" : "the shard did not move");
}

LW_YIELDS static lw_exit move(lattice_work *work) {
    return move_or_transfer(work, false);
}

LW_YIELDS static lw_exit transfer(lattice_work *work) {
    return move_or_transfer(work, true);
}

/* ---- merge ------------------------------------------------------------------------------------
 */

/* A shard, and then the one that comes behind it. */
typedef struct sought_pair {
    uint64_t id, right;
    bool found;
    lw_buffer start;
} sought_pair;

static bool seek_pair(void *argument, const lw_shard_row *row) {
    sought_pair *sought = argument;
    if (sought->found) {
        sought->right = row->shard.id;
        return false;
    }
    sought->found = row->shard.id == sought->id;
    if (sought->found) {
        lw_buffer_append(&sought->start, row->shard.start);
    }
    return true;
}

LW_YIELDS static lw_status merge_shards(lattice_work *work, sought_pair *sought) {
    LW_TRY(shard_number(work->command->operands[0], &sought->id));
    LW_TRY(lw_operate_shards(work->client, seek_pair, sought));
    if (!sought->found) {
        return lw_fail(LW_INVALID_ARGUMENT, "there is no shard %" PRIu64, sought->id);
    }
    if (sought->right == 0) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "shard %" PRIu64 " is the last one: it has no right neighbour", sought->id);
    }
    say(work, "shard %" PRIu64 " has taken in shard %" PRIu64, sought->id, sought->right);
    return lw_operate_merge(work->client, lw_buffer_view(&sought->start), sought->right);
}

LW_YIELDS static lw_exit merge(lattice_work *work) {
    sought_pair sought = {.start = lw_buffer_in(work->command->memory)};
    lw_error_slot()->text[0] = '\0';
    lw_status status = merge_shards(work, &sought);
    lw_buffer_reset(&sought.start);
    return told(work, status, "the shards were not merged");
}

/* ---- running ----------------------------------------------------------------------------------
 */

LW_YIELDS static lw_exit run(lw_command *command, lw_exit (*body)(lattice_work *work)) {
    lattice_work work = {.command = command,
                         .cells = lw_buffer_in(command->memory),
                         .out = lw_buffer_in(command->memory),
                         .known = {.memory = command->memory}};
    work.json = lw_json_to(&work.out);
    lw_exit code = lw_command_connect(command, &work.client);
    if (code == LW_EXIT_DONE) {
        code = body(&work);
        lw_close(work.client);
    }
    lw_known_nodes_reset(&work.known);
    lw_buffer_reset(&work.cells);
    lw_buffer_reset(&work.out);
    return code;
}

LW_YIELDS lw_exit lw_command_plan(lw_command *command) {
    return run(command, list_plan);
}

LW_YIELDS lw_exit lw_command_move(lw_command *command) {
    return run(command, move);
}

LW_YIELDS lw_exit lw_command_transfer(lw_command *command) {
    return run(command, transfer);
}

LW_YIELDS lw_exit lw_command_merge(lw_command *command) {
    return run(command, merge);
}
