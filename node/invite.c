/* SPDX-License-Identifier: Apache-2.0 */
#include "node/invite.h"

#include "base/logline.h"
#include "client/command_nodes.h"
#include "client/operate_lattice.h"
#include "storage/identity.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

static const char file_name[] = "join-token";

/* A token of the lattice that the folder belongs to. */
LW_YIELDS static lw_status make(lw_env *env, const char *directory, uint64_t expires_after_ms,
                                char text[LW_TOKEN_TEXT_SIZE], uint64_t *made_id) {
    lw_node_identity identity;
    lw_token token;
    uint64_t id;
    lw_status status = lw_identity_read(env, directory, &identity);
    if (status == LW_OK && identity.lattice.epoch == 0) {
        status = lw_fail(LW_REFUSED,
                         "the node of %s belongs to no lattice yet: start it with --join first",
                         directory);
    }
    if (status == LW_OK) {
        lw_env_entropy(env, &id, sizeof(id));
        lw_token_make(&identity.lattice, LW_TOKEN_JOIN, id, lw_env_wall_ms(env) + expires_after_ms,
                      &token);
        lw_token_print(&token, text);
        *made_id = id;
        lw_seal_wipe(&token, sizeof(token));
    }
    lw_seal_wipe(&identity, sizeof(identity));
    return status;
}

LW_YIELDS lw_status lw_invite_write(lw_env *env, const char *directory, const char *token,
                                    char path[LW_PATH_SIZE]) {
    char text[LW_TOKEN_TEXT_SIZE + 1];
    int size = snprintf(text, sizeof(text), "%s\n", token);
    lw_status status = lw_path_join(path, directory, file_name); /* files of the env are private */
    if (status == LW_OK) {
        status = lw_path_replace(env, directory, file_name, lw_view(text, (size_t)size), false);
    }
    lw_seal_wipe(text, sizeof(text));
    return status;
}

LW_YIELDS lw_status lw_invite_read(lw_env *env, const char *path,
                                   char text[2 * LW_TOKEN_TEXT_SIZE]) {
    lw_handle file;
    size_t size = 0;
    lw_status status = lw_file_open(env, path, LW_OPEN_READ_ONLY, &file);
    if (status != LW_OK) {
        return lw_fail_in(status, "the token file %s", path);
    }
    status = lw_file_read(env, file, 0, text, 2 * LW_TOKEN_TEXT_SIZE - 1, &size);
    lw_file_close(env, file);
    if (status != LW_OK) {
        return lw_fail_in(status, "the token file %s", path);
    }
    text[size] = '\0';
    return LW_OK;
}

/* ---- lathwork token ---------------------------------------------------------------------------
 */

enum { ID_SIZE = 16 + 1 };

typedef struct invite_work {
    lw_command *command;
    lw_env *env;
    lw_status status;
    lw_error reason;
    char text[2 * LW_TOKEN_TEXT_SIZE];
    uint64_t id;
    bool done;
} invite_work;

static LW_YIELDS void invite_main(void *argument) {
    invite_work *work = argument;
    work->status = make(work->env, work->command->flags[LW_FLAG_DATA].text,
                        work->command->flags[LW_FLAG_EXPIRES].number, work->text, &work->id);
    work->reason = *lw_error_slot();
    work->done = true;
}

static void answer(invite_work *work) {
    lw_buffer out = lw_buffer_in(work->command->memory);
    if (work->command->json) {
        lw_json json = lw_json_to(&out);
        lw_json_object_open(&json, NULL);
        char id[ID_SIZE];
        (void)snprintf(id, sizeof(id), "%016" PRIx64, work->id);
        lw_json_text(&json, "token", lw_text(work->text));
        lw_json_text(&json, "id", lw_text(id));
        lw_json_object_close(&json);
    } else {
        lw_buffer_append(&out, lw_text(work->text));
    }
    lw_buffer_append_u8(&out, '\n');
    lw_command_answer(work->command, lw_buffer_view(&out));
    lw_seal_wipe(out.data, out.size);
    lw_buffer_reset(&out);
}

/* Runs one fiber to its end in an env of its own. */
static lw_status run_fiber(invite_work *work, void (*body)(void *work)) {
    LW_TRY(lw_env_posix_open(&work->env));
    (void)lw_env_start(work->env, "token", body, work);
    while (!work->done) {
        lw_env_turn(work->env, true);
    }
    lw_env_close(work->env);
    if (work->status != LW_OK) {
        *lw_error_slot() = work->reason;
    }
    return work->status;
}

static lw_exit make_token(lw_command *command) {
    invite_work work = {.command = command};
    lw_status status = run_fiber(&work, invite_main);
    if (status != LW_OK) {
        status = status == LW_NOT_FOUND ? LW_INVALID_ARGUMENT : status;
        return lw_command_fail(command, status, lw_error_slot()->text,
                               "--data names the folder of a node of the lattice",
                               "no token was made");
    }
    answer(&work);
    lw_seal_wipe(&work, sizeof(work));
    return LW_EXIT_DONE;
}

/* ---- lathwork token --revoke --------------------------------------------------------------------
 */

static LW_YIELDS void read_main(void *argument) {
    invite_work *work = argument;
    work->status = lw_invite_read(work->env, work->command->flags[LW_FLAG_REVOKE].text, work->text);
    work->reason = *lw_error_slot();
    work->done = true;
}

static bool is_id(const char *word, uint64_t *id) {
    bool digits =
        strlen(word) == ID_SIZE - 1 && strspn(word, "0123456789abcdefABCDEF") == ID_SIZE - 1;
    *id = digits ? strtoull(word, NULL, 16) : 0;
    return digits;
}

/* What the word stands for; the cluster's id lies in `token`. */
static lw_status read_revoked(lw_command *command, lw_token *token, lw_revoke_request *request) {
    const char *word = command->flags[LW_FLAG_REVOKE].text;
    uint64_t id;
    if (is_id(word, &id)) {
        *request = (lw_revoke_request){.id = id};
        return LW_OK;
    }
    invite_work work = {.command = command};
    lw_status status = LW_OK;
    if (strncmp(word, "lwt1.", 5) != 0) {
        status = run_fiber(&work, read_main);
        word = work.text;
    }
    if (status == LW_OK) {
        status = lw_token_parse(lw_text(word), token);
    }
    lw_seal_wipe(work.text, sizeof(work.text));
    lw_seal_wipe(token->secret, sizeof(token->secret));
    *request = (lw_revoke_request){.id = token->id,
                                   .expires_ms = token->expires_ms,
                                   .cluster_id = lw_view(token->cluster_id, LW_SHARED_ID_SIZE)};
    return status;
}

typedef struct revoke_work {
    lw_known_nodes known;
    lw_buffer ignorant; /* names of those that have not heard, with commas */
    uint64_t count, knowing;
} revoke_work;

static void take_member(void *argument, uint64_t node, bool knows) {
    revoke_work *work = argument;
    char label[LW_MEMBER_LABEL_SIZE];
    work->count++;
    work->knowing += knows;
    if (!knows) {
        lw_buffer_print(&work->ignorant, "%s%s", work->ignorant.size > 0 ? ", " : "",
                        lw_known_nodes_label(&work->known, node, label));
    }
}

static void tell_revoked(lw_command *command, const lw_revoke_request *request,
                         const revoke_work *work) {
    lw_bytes ignorant = lw_buffer_view(&work->ignorant);
    if (command->json) {
        char id[ID_SIZE];
        lw_buffer out = lw_buffer_in(command->memory);
        (void)snprintf(id, sizeof(id), "%016" PRIx64, request->id);
        lw_json json = lw_json_to(&out);
        lw_json_object_open(&json, NULL);
        lw_json_text(&json, "revoked", lw_text(id));
        lw_json_number(&json, "members", work->count);
        lw_json_number(&json, "members_that_know", work->knowing);
        lw_json_object_close(&json);
        lw_buffer_append_u8(&out, '\n');
        lw_command_answer(command, lw_buffer_view(&out));
        lw_buffer_reset(&out);
        return;
    }
    lw_command_say(command, "token %016" PRIx64 " lets nobody in any more", request->id);
    if (ignorant.size > 0) {
        lw_command_say(command,
                       "%.*s: not reached, and told when back; until then it would still be let in "
                       "there",
                       (int)ignorant.size, (const char *)ignorant.data);
    }
}

LW_YIELDS static lw_exit revoke(lw_command *command) {
    static const char what[] = "the token was not revoked";
    lw_token token = {0};
    lw_revoke_request request;
    lw_client *client;
    lw_status status = read_revoked(command, &token, &request);
    if (status != LW_OK) {
        return lw_command_fail(command, status == LW_NOT_FOUND ? LW_INVALID_ARGUMENT : status,
                               lw_error_slot()->text, "lathwork token --list", "%s", what);
    }
    lw_exit code = lw_command_connect(command, &client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    revoke_work work = {.known = {.memory = command->memory},
                        .ignorant = lw_buffer_in(command->memory)};
    status = lw_known_nodes_ask(client, &work.known);
    if (status == LW_OK) {
        status = lw_operate_revoke(client, &request, take_member, &work);
    }
    if (status == LW_OK) {
        tell_revoked(command, &request, &work);
    } else {
        code = lw_command_fail_client(command, status, client, what);
    }
    lw_known_nodes_reset(&work.known);
    lw_buffer_reset(&work.ignorant);
    lw_close(client);
    return code;
}

/* ---- lathwork token --list ----------------------------------------------------------------------
 */

typedef struct list_work {
    lw_command *command;
    lw_buffer cells, out;
    lw_json json;
    size_t row_count;
} list_work;

static void cell_expiry(lw_buffer *cells, uint64_t expires_ms) {
    time_t second = (time_t)(expires_ms / 1000);
    struct tm parts;
    char text[32] = "never";
    if (expires_ms != UINT64_MAX && gmtime_r(&second, &parts) != NULL) {
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    }
    lw_buffer_print(cells, "%s", text);
    lw_buffer_append_u8(cells, 0);
}

static void take_token(void *argument, const lw_token_row *row) {
    list_work *work = argument;
    char id[ID_SIZE];
    (void)snprintf(id, sizeof(id), "%016" PRIx64, row->id);
    if (work->command->json) {
        lw_json_object_open(&work->json, NULL);
        lw_json_text(&work->json, "id", lw_text(id));
        if (row->expires_ms == UINT64_MAX) {
            lw_json_null(&work->json, "expires_ms");
        } else {
            lw_json_number(&work->json, "expires_ms", row->expires_ms);
        }
        lw_json_boolean(&work->json, "revoked", row->revoked);
        lw_json_object_close(&work->json);
        return;
    }
    lw_buffer_append(&work->cells, lw_view(id, ID_SIZE));
    cell_expiry(&work->cells, row->expires_ms);
    lw_buffer_print(&work->cells, "%s", row->revoked ? "revoked" : "");
    lw_buffer_append_u8(&work->cells, 0);
    work->row_count++;
}

LW_YIELDS static lw_exit list(lw_command *command) {
    enum { COLUMN_COUNT = 3 };
    lw_client *client;
    lw_exit code = lw_command_connect(command, &client);
    if (code != LW_EXIT_DONE) {
        return code;
    }
    list_work work = {.command = command,
                      .cells = lw_buffer_in(command->memory),
                      .out = lw_buffer_in(command->memory)};
    work.json = lw_json_to(&work.out);
    if (command->json) {
        lw_json_array_open(&work.json, NULL);
    }
    lw_status status = lw_operate_tokens(client, take_token, &work);
    if (status != LW_OK) {
        code = lw_command_fail_client(command, status, client, "the tokens could not be listed");
    } else if (command->json) {
        lw_json_array_close(&work.json);
        lw_buffer_append_u8(&work.out, '\n');
        lw_command_drain(command, &work.out, true);
    } else if (work.row_count > 0) {
        lw_command_cells(command, &work.cells, work.row_count, COLUMN_COUNT);
    }
    lw_buffer_reset(&work.cells);
    lw_buffer_reset(&work.out);
    lw_close(client);
    return code;
}

/* ---- lathwork token -----------------------------------------------------------------------------
 */

LW_YIELDS lw_exit lw_invite_command(lw_command *command) {
    bool revokes = lw_command_given(command, LW_FLAG_REVOKE);
    bool lists = lw_command_given(command, LW_FLAG_LIST);
    if (revokes && lists) {
        return lw_command_fail(command, LW_INVALID_ARGUMENT,
                               "--revoke and --list exclude each other", "lathwork help token",
                               "nothing was done");
    }
    return revokes ? revoke(command) : lists ? list(command) : make_token(command);
}
