/* SPDX-License-Identifier: Apache-2.0 */
/* events. What nodes come to, links and the bus is told as the asked node sees it; what became of
 * shards is remembered by whoever leads them, and what was damaged by whoever had it: so all
 * members are asked for that, and it is put in order by their clocks. */
#include "client/command_nodes.h"

#include "client/client.h"
#include "client/operate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

enum { COLUMN_COUNT = 5, FOLLOW_MS = 500, OTHERS_MS = 2000 };

/* A member, and how far it was listened to. */
typedef struct events_source {
    uint64_t node;
    lw_client *client; /* NULL: not now */
    bool other;        /* than the asked one */
    uint64_t last_event;
    char label[LW_MEMBER_LABEL_SIZE];
} events_source;

typedef struct told_event {
    lw_event_row row; /* its texts are kept */
    char teller[LW_MEMBER_LABEL_SIZE];
} told_event;

typedef struct events_work {
    lw_command *command;
    lw_client *client;
    lw_known_nodes known; /* none if the node knows no lattice */
    events_source *sources;
    uint32_t source_count;
    told_event *told;
    uint32_t told_count, told_capacity;
    lw_buffer cells, out;
} events_work;

/* What is read now, and into what. */
typedef struct events_reading {
    events_work *work;
    events_source *source;
} events_reading;

/* ---- listening ----------------------------------------------------------------------------------
 */

static lw_bytes keep(const events_work *work, lw_bytes text) {
    return text.size == 0 ? text : lw_copy(work->command->memory, text);
}

static void take_event(void *argument, const lw_event_row *row) {
    events_reading *reading = argument;
    events_work *work = reading->work;
    reading->source->last_event = row->number;
    if (reading->source->other && row->shard == 0 && !lw_equal(row->name, lw_text("scrub"))) {
        return; /* the asked node has seen that, too */
    }
    if (work->told_count == work->told_capacity) {
        work->told_capacity = work->told_capacity == 0 ? 32 : 2 * work->told_capacity;
        work->told = lw_reallocate(work->command->memory, work->told,
                                   work->told_capacity * sizeof(*work->told));
    }
    told_event *told = &work->told[work->told_count++];
    *told = (told_event){.row = *row};
    told->row.name = keep(work, row->name);
    told->row.text = keep(work, row->text);
    memcpy(told->teller, reading->source->label, sizeof(told->teller));
}

LW_YIELDS static lw_status listen(events_work *work, events_source *source) {
    events_reading reading = {.work = work, .source = source};
    return lw_operate_events(source->client, source->last_event, take_event, &reading);
}

static events_source *source_of(events_work *work, uint64_t node) {
    for (uint32_t index = 0; index < work->source_count; index++) {
        if (work->sources[index].node == node && work->sources[index].other) {
            return &work->sources[index];
        }
    }
    work->sources = lw_reallocate(work->command->memory, work->sources,
                                  (work->source_count + 1) * sizeof(*work->sources));
    events_source *made = &work->sources[work->source_count++];
    *made = (events_source){.node = node, .other = true};
    return made;
}

/* Whoever does not answer is left out, and asked again the next time. */
LW_YIELDS static void listen_to(events_work *work, const lw_known_node *node) {
    events_source *source = source_of(work, node->node);
    lw_client_options options = {
        .address = node->address, .label = "lathwork events", .timeout_ms = OTHERS_MS};
    (void)lw_known_nodes_label(&work->known, node->node, source->label);
    if (source->client == NULL && lw_open(&options, &source->client) != LW_OK) {
        source->client = NULL;
        return;
    }
    if (listen(work, source) != LW_OK) {
        lw_close(source->client);
        source->client = NULL;
    }
}

/* Also who the members are: somebody may have joined. Without that ids are shown. */
LW_YIELDS static lw_status listen_to_all(events_work *work) {
    lw_known_nodes_reset(&work->known);
    if (lw_known_nodes_ask(work->client, &work->known) != LW_OK) {
        lw_known_nodes_reset(&work->known);
    }
    for (uint32_t index = 0; index < work->known.count; index++) {
        if (work->known.nodes[index].self) {
            (void)lw_known_nodes_label(&work->known, work->known.nodes[index].node,
                                       work->sources[0].label);
        }
    }
    LW_TRY(listen(work, &work->sources[0]));
    for (uint32_t index = 0; index < work->known.count; index++) {
        const lw_known_node *node = &work->known.nodes[index];
        if (!node->self && lw_known_node_up(node)) {
            listen_to(work, node);
        }
    }
    return LW_OK;
}

/* ---- telling ------------------------------------------------------------------------------------
 */

static int by_time(const void *a, const void *b) {
    const told_event *one = a, *other = b;
    if (one->row.wall_ms != other->row.wall_ms) {
        return one->row.wall_ms < other->row.wall_ms ? -1 : 1;
    }
    int tellers = strcmp(one->teller, other->teller);
    return tellers != 0
               ? tellers
               : (one->row.number > other->row.number) - (one->row.number < other->row.number);
}

static void cell(events_work *work, lw_bytes text) {
    lw_buffer_append(&work->cells, text);
    lw_buffer_append_u8(&work->cells, 0);
}

static void tell_in_words(events_work *work, const lw_event_row *row) {
    char label[LW_MEMBER_LABEL_SIZE], day[sizeof("-2147481748-12-31T23:59:59")] = "";
    time_t second = (time_t)(row->wall_ms / 1000);
    struct tm parts;
    if (gmtime_r(&second, &parts) != NULL) {
        (void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &parts);
    }
    lw_buffer_print(&work->cells, "%s.%03uZ", day, (unsigned)(row->wall_ms % 1000));
    lw_buffer_append_u8(&work->cells, 0);
    cell(work, row->name);
    cell(work, row->node == 0 ? (lw_bytes){0}
                              : lw_text(lw_known_nodes_label(&work->known, row->node, label)));
    if (row->shard != 0) {
        lw_buffer_print(&work->cells, "%" PRIu64, row->shard);
    }
    lw_buffer_append_u8(&work->cells, 0);
    cell(work, row->text);
}

static void tell_in_json(events_work *work, const told_event *told) {
    const lw_event_row *row = &told->row;
    char id[17], label[LW_MEMBER_LABEL_SIZE];
    lw_json json = lw_json_to(&work->out);
    lw_json_object_open(&json, NULL);
    lw_json_number(&json, "number", row->number);
    lw_json_number(&json, "wall_ms", row->wall_ms);
    lw_json_bytes(&json, "event", row->name);
    if (row->node == 0) {
        lw_json_null(&json, "node");
        lw_json_null(&json, "name");
    } else {
        (void)snprintf(id, sizeof(id), "%016" PRIx64, row->node);
        lw_json_text(&json, "node", lw_text(id));
        lw_json_text(&json, "name", lw_text(lw_known_nodes_label(&work->known, row->node, label)));
    }
    lw_json_number(&json, "shard", row->shard);
    lw_json_bytes(&json, "text", row->text);
    lw_json_text(&json, "told_by", lw_text(told->teller));
    lw_json_object_close(&json);
    lw_buffer_append_u8(&work->out, '\n');
}

/* Tells and forgets what was heard. */
static void tell(events_work *work) {
    lw_command *command = work->command;
    if (work->told_count == 0) {
        return;
    }
    qsort(work->told, work->told_count, sizeof(*work->told), by_time);
    for (uint32_t index = 0; index < work->told_count; index++) {
        const lw_event_row *row = &work->told[index].row;
        if (command->json) {
            tell_in_json(work, &work->told[index]);
        } else {
            tell_in_words(work, row);
        }
        lw_free(command->memory, (void *)(uintptr_t)row->name.data);
        lw_free(command->memory, (void *)(uintptr_t)row->text.data);
    }
    if (command->json) {
        lw_command_drain(command, &work->out, true);
    } else {
        lw_command_cells(command, &work->cells, work->told_count, COLUMN_COUNT);
    }
    work->told_count = 0;
    (void)fflush(command->answers);
}

LW_YIELDS static lw_exit list_events(events_work *work) {
    bool follow = lw_command_given(work->command, LW_FLAG_FOLLOW);
    do {
        lw_status status = listen_to_all(work);
        if (status != LW_OK) {
            return lw_command_fail_client(work->command, status, work->client,
                                          "the events could not be listed");
        }
        tell(work);
        if (follow) {
            lw_env_sleep(work->client->env, FOLLOW_MS * UINT64_C(1000000));
        }
    } while (follow && ferror(work->command->answers) == 0);
    return LW_EXIT_DONE;
}

LW_YIELDS lw_exit lw_command_events(lw_command *command) {
    lw_memory *memory = command->memory;
    events_work work = {.command = command,
                        .known = {.memory = memory},
                        .cells = lw_buffer_in(memory),
                        .out = lw_buffer_in(memory)};
    lw_exit code = lw_command_connect(command, &work.client);
    if (code == LW_EXIT_DONE) {
        work.sources = lw_allocate_zero(memory, sizeof(*work.sources));
        work.sources[0].client = work.client;
        work.source_count = 1;
        code = list_events(&work);
        for (uint32_t index = 0; index < work.source_count; index++) {
            lw_close(work.sources[index].client);
        }
    }
    lw_free(memory, work.sources);
    lw_free(memory, work.told);
    lw_known_nodes_reset(&work.known);
    lw_buffer_reset(&work.cells);
    lw_buffer_reset(&work.out);
    return code;
}
