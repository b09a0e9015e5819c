/* SPDX-License-Identifier: Apache-2.0 */
#include "node/offline.h"

#include "base/env.h"
#include "node/replica.h"
#include "storage/catalog.h"
#include "storage/folder_check.h"
#include "storage/identity.h"
#include "storage/log.h"
#include "storage/reserve.h"
#include "storage/store.h"
#include "storage/table_file.h"
#include "storage/value_file.h"

/* What a command does in a fiber of its own env. */
typedef struct offline_work {
    lw_command *command;
    lw_env *env;
    lw_buffer text;  /* the answer */
    lw_buffer notes; /* of the checker */
    uint64_t fault_count;
    lw_exit code;
    bool done;
} offline_work;

/* ---- telling files apart ------------------------------------------------------------------------
 */

typedef enum file_kind {
    FILE_UNKNOWN,
    FILE_LOG,
    FILE_TABLE,
    FILE_VALUES,
    FILE_CATALOG,
    FILE_IDENTITY,
    FILE_LOCK,
    FILE_RESERVE,
} file_kind;

static const char *const kind_names[] = {
    [FILE_UNKNOWN] = "unknown",   [FILE_LOG] = "log segment", [FILE_TABLE] = "table",
    [FILE_VALUES] = "value file", [FILE_CATALOG] = "catalog", [FILE_IDENTITY] = "identity",
    [FILE_LOCK] = "lock",         [FILE_RESERVE] = "reserve",
};

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* Whether the file lies in a folder of this name. */
static bool lies_in(const char *path, const char *folder) {
    size_t folder_size = strlen(folder);
    size_t parent_size = (size_t)(last_part(path) - path);
    return parent_size >= folder_size + 1 &&
           memcmp(path + parent_size - 1 - folder_size, folder, folder_size) == 0 &&
           (parent_size == folder_size + 1 || path[parent_size - 2 - folder_size] == '/');
}

/* By what it begins or ends with; if that is damaged, by where it lies. */
static LW_YIELDS lw_status tell_kind(lw_env *env, const char *path, file_kind *kind,
                                     uint64_t *size) {
    uint8_t head[8] = {0}, tail[LW_TABLE_FOOTER_SIZE] = {0};
    size_t head_size = 0, tail_size = 0;
    lw_handle file = LW_NO_HANDLE;
    LW_TRY(lw_file_open(env, path, LW_OPEN_READ_ONLY, &file));
    lw_status status = lw_file_size(env, file, size);
    if (status == LW_OK) {
        status = lw_file_read(env, file, 0, head, sizeof(head), &head_size);
    }
    if (status == LW_OK && *size >= sizeof(tail)) {
        status = lw_file_read(env, file, *size - sizeof(tail), tail, sizeof(tail), &tail_size);
    }
    const uint8_t *values_footer = tail + sizeof(tail) - LW_VALUE_FOOTER_SIZE;
    lw_file_close(env, file);
    LW_TRY(status);
    if (memcmp(head, "LWLOGSEG", 8) == 0 || lies_in(path, "log")) {
        *kind = FILE_LOG;
    } else if (memcmp(values_footer, "LWVALUE\n", 8) == 0) {
        *kind = FILE_VALUES;
    } else if (memcmp(tail, "LWTABLE\n", 8) == 0 || lies_in(path, "sst")) {
        *kind = FILE_TABLE;
    } else if (memcmp(head, "LWCT", 4) == 0 || strcmp(last_part(path), "CATALOG") == 0) {
        *kind = FILE_CATALOG;
    } else if (memcmp(head, "LWID", 4) == 0 || strcmp(last_part(path), "IDENTITY") == 0) {
        *kind = FILE_IDENTITY;
    } else {
        bool reserve = strcmp(last_part(path), LW_RESERVE_NAME) == 0;
        *kind = reserve                                ? FILE_RESERVE
                : strcmp(last_part(path), "LOCK") == 0 ? FILE_LOCK
                                                       : FILE_UNKNOWN;
    }
    return LW_OK;
}

/* ---- inspect ------------------------------------------------------------------------------------
 */

/* The seed in it is a secret: only what anybody may know is told. */
static LW_YIELDS lw_status describe_identity(lw_env *env, const char *path, lw_buffer *text) {
    enum { HEAD = 8 + LW_CLUSTER_ID_SIZE };
    uint8_t head[HEAD] = {0};
    size_t size = 0;
    lw_handle file = LW_NO_HANDLE;
    LW_TRY(lw_file_open(env, path, LW_OPEN_READ_ONLY, &file));
    lw_status status = lw_file_read(env, file, 0, head, sizeof(head), &size);
    lw_file_close(env, file);
    LW_TRY(status);
    if (size < HEAD || memcmp(head, "LWID", 4) != 0) {
        return lw_fail(LW_CORRUPTION, "%s is cut off or does not begin like an identity", path);
    }
    lw_buffer_print(text, "format=%u cluster=", lw_get_u32(head + 4));
    lw_text_encode(LW_FORM_HEX, lw_view(head + 8, LW_CLUSTER_ID_SIZE), text);
    lw_buffer_print(text, "\nkeys=\"not shown\"\n");
    return LW_OK;
}

static LW_YIELDS lw_status describe(lw_env *env, const char *path, file_kind kind,
                                    lw_buffer *text) {
    switch (kind) {
    case FILE_LOG:
        return lw_log_inspect(env, path, text);
    case FILE_TABLE:
        return lw_table_inspect(env, path, text);
    case FILE_VALUES:
        return lw_value_inspect(env, path, text);
    case FILE_CATALOG:
        return lw_catalog_inspect(env, path, text);
    case FILE_IDENTITY:
        return describe_identity(env, path, text);
    case FILE_LOCK:
    case FILE_RESERVE:
        return LW_OK;
    case FILE_UNKNOWN:
    default:
        return lw_fail(LW_INVALID_ARGUMENT,
                       "%s is no log segment, table, value file, catalog or identity of Lathwork",
                       path);
    }
}

static void answer_file(offline_work *work, const char *path, file_kind kind, uint64_t size,
                        const lw_buffer *text) {
    if (!work->command->json) {
        lw_buffer_print(&work->text, "%s: %s, %llu bytes\n", path, kind_names[kind],
                        (unsigned long long)size);
        lw_buffer_append(&work->text, lw_buffer_view(text));
        return;
    }
    lw_json json = lw_json_to(&work->text);
    lw_json_object_open(&json, NULL);
    lw_json_bytes(&json, "path", lw_text(path));
    lw_json_text(&json, "kind", lw_text(kind_names[kind]));
    lw_json_number(&json, "size", size);
    lw_json_bytes(&json, "text", lw_buffer_view(text));
    lw_json_object_close(&json);
    lw_buffer_append_u8(&work->text, '\n');
}

static LW_YIELDS lw_status inspect_file(offline_work *work, const char *path, bool listed) {
    file_kind kind = FILE_UNKNOWN;
    uint64_t size = 0;
    lw_buffer text = lw_buffer_in(work->command->memory);
    lw_status status = tell_kind(work->env, path, &kind, &size);
    if (status == LW_OK && !listed) {
        status = describe(work->env, path, kind, &text);
    }
    lw_error reason = *lw_error_slot();
    if (status == LW_OK || text.size > 0) {
        answer_file(work, path, kind, size, &text);
    }
    lw_buffer_reset(&text);
    lw_command_drain(work->command, &work->text, false);
    *lw_error_slot() = reason;
    return status;
}

/* Lists what is in a folder, and in folders of it as deep as a data folder goes. */
static LW_YIELDS lw_status inspect_folder(offline_work *work, const char *path, lw_buffer *deeper) {
    lw_buffer names = lw_buffer_in(work->command->memory);
    lw_status status = lw_path_list(work->env, path, &names);
    for (size_t at = 0; status == LW_OK && at < names.size;) {
        const char *name = (const char *)names.data + at;
        at += strlen(name) + 1;
        char inner[LW_PATH_SIZE];
        lw_buffer within = lw_buffer_in(work->command->memory);
        status = lw_path_join(inner, path, name);
        if (status == LW_OK && deeper != NULL && lw_path_list(work->env, inner, &within) == LW_OK) {
            lw_buffer_append(deeper, lw_view(inner, strlen(inner) + 1));
        } else if (status == LW_OK) {
            status = inspect_file(work, inner, true);
        }
        lw_buffer_reset(&within);
    }
    lw_buffer_reset(&names);
    return status;
}

static LW_YIELDS lw_status inspect_path(offline_work *work, const char *path) {
    lw_buffer names = lw_buffer_in(work->command->memory);
    bool folder = lw_path_list(work->env, path, &names) == LW_OK;
    lw_buffer_reset(&names);
    if (!folder) {
        return inspect_file(work, path, false);
    }
    lw_buffer deeper = lw_buffer_in(work->command->memory);
    lw_status status = inspect_folder(work, path, &deeper);
    for (size_t at = 0; status == LW_OK && at < deeper.size;) {
        const char *inner = (const char *)deeper.data + at;
        at += strlen(inner) + 1;
        status = inspect_folder(work, inner, NULL);
    }
    lw_buffer_reset(&deeper);
    return status;
}

static LW_YIELDS void inspect_main(void *argument) {
    offline_work *work = argument;
    for (int index = 0; index < work->command->operand_count; index++) {
        const char *path = work->command->operands[index];
        lw_status status = inspect_path(work, path);
        lw_command_drain(work->command, &work->text, true);
        if (status != LW_OK) {
            lw_exit code = lw_command_fail(
                work->command, status == LW_NOT_FOUND ? LW_INVALID_ARGUMENT : status,
                lw_error_slot()->text,
                status == LW_CORRUPTION ? "lathwork check DIR" : "lathwork help inspect",
                "%s could not be inspected whole", path);
            work->code = code > work->code ? code : work->code;
        }
    }
    work->done = true;
}

/* ---- check --------------------------------------------------------------------------------------
 */

/* The lines of a text as an array; returns how many there are. */
static uint64_t answer_lines(lw_json *json, const char *name, const lw_buffer *text) {
    lw_bytes rest = lw_buffer_view(text);
    uint64_t count = 0;
    lw_json_array_open(json, name);
    for (; rest.size > 0; count++) {
        const uint8_t *newline = memchr(rest.data, '\n', rest.size);
        size_t size = newline == NULL ? rest.size : (size_t)(newline - rest.data);
        lw_json_bytes(json, NULL, lw_view(rest.data, size));
        size += newline != NULL;
        rest = lw_view(rest.data + size, rest.size - size);
    }
    lw_json_array_close(json);
    return count;
}

static void answer_check(offline_work *work, const char *directory) {
    lw_buffer out = lw_buffer_in(work->command->memory);
    lw_json json = lw_json_to(&out);
    lw_json_object_open(&json, NULL);
    lw_json_bytes(&json, "directory", lw_text(directory));
    work->fault_count = answer_lines(&json, "faults", &work->text);
    (void)answer_lines(&json, "notes", &work->notes);
    lw_json_object_close(&json);
    lw_buffer_append_u8(&out, '\n');
    if (work->command->json) {
        lw_command_drain(work->command, &out, true);
    } else {
        lw_buffer_append(&work->text, lw_buffer_view(&work->notes));
        lw_command_drain(work->command, &work->text, true);
    }
    lw_buffer_reset(&out);
}

static LW_YIELDS void check_main(void *argument) {
    offline_work *work = argument;
    lw_command *command = work->command;
    const char *directory =
        command->operand_count > 0 ? command->operands[0] : command->flags[LW_FLAG_DATA].text;
    lw_status status =
        lw_folder_check(work->env, directory, lw_replica_filter_part, &work->text, &work->notes);
    if (status != LW_OK && status != LW_CORRUPTION) {
        work->code = lw_command_fail(
            command, status == LW_NOT_FOUND ? LW_INVALID_ARGUMENT : status, lw_error_slot()->text,
            status == LW_REFUSED ? "stop the node that has it open, then check again"
                                 : "lathwork help check",
            "%s could not be checked", directory);
    } else {
        answer_check(work, directory);
        if (work->fault_count > 0) {
            work->code = lw_command_fail(
                command, LW_CORRUPTION, "each fault is named above",
                "a member of a lattice repairs itself from the others: start it; else restore a "
                "backup, or keep the folder and report it",
                "%s has %llu fault%s", directory, (unsigned long long)work->fault_count,
                work->fault_count == 1 ? "" : "s");
        } else if (!command->json) {
            lw_command_say(command, "%s is sound", directory);
        }
    }
    work->done = true;
}

/* ---- running ------------------------------------------------------------------------------------
 */

static lw_exit run(lw_command *command, const char *name, void (*body)(void *argument)) {
    offline_work work = {.command = command,
                         .text = lw_buffer_in(command->memory),
                         .notes = lw_buffer_in(command->memory)};
    lw_status status = lw_env_posix_open(&work.env);
    if (status != LW_OK) {
        return lw_command_fail(command, status, lw_error_slot()->text, NULL, "%s could not begin",
                               name);
    }
    (void)lw_env_start(work.env, name, body, &work);
    while (!work.done) {
        lw_env_turn(work.env, true);
    }
    lw_env_close(work.env);
    lw_buffer_reset(&work.text);
    lw_buffer_reset(&work.notes);
    return work.code;
}

lw_exit lw_offline_inspect(lw_command *command) {
    return run(command, "inspect", inspect_main);
}

lw_exit lw_offline_check(lw_command *command) {
    return run(command, "check", check_main);
}
