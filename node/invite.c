/* SPDX-License-Identifier: Apache-2.0 */
#include "node/invite.h"

#include "base/logline.h"
#include "storage/identity.h"

/* A token of the lattice that the folder belongs to. */
LW_YIELDS static lw_status make(lw_env *env, const char *directory, uint64_t expires_after_ms,
                                char text[LW_TOKEN_TEXT_SIZE]) {
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
        lw_seal_wipe(&token, sizeof(token));
    }
    lw_seal_wipe(&identity, sizeof(identity));
    return status;
}

/* Replaced as a whole; files of the env are their owner's alone. */
LW_YIELDS static lw_status replace(lw_env *env, const char *directory, lw_bytes text,
                                   char path[LW_PATH_SIZE]) {
    char fresh[LW_PATH_SIZE];
    lw_handle file;
    LW_TRY(lw_path_join(path, directory, "join-token"));
    LW_TRY(lw_path_join(fresh, directory, "join-token.new"));
    lw_status status = lw_path_unlink(env, fresh);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    LW_TRY(lw_file_open(env, fresh, LW_OPEN_CREATE | LW_OPEN_EXCLUSIVE, &file));
    status = lw_file_write(env, file, 0, text, 0);
    lw_file_close(env, file);
    return status == LW_OK ? lw_path_rename(env, fresh, path) : status;
}

LW_YIELDS lw_status lw_invite_write(lw_env *env, const char *directory, const char *token,
                                    char path[LW_PATH_SIZE]) {
    char text[LW_TOKEN_TEXT_SIZE + 1];
    int size = snprintf(text, sizeof(text), "%s\n", token);
    lw_status status = replace(env, directory, lw_view(text, (size_t)size), path);
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

typedef struct invite_work {
    lw_command *command;
    lw_env *env;
    lw_status status;
    lw_error reason;
    char text[LW_TOKEN_TEXT_SIZE];
    bool done;
} invite_work;

static LW_YIELDS void invite_main(void *argument) {
    invite_work *work = argument;
    work->status = make(work->env, work->command->flags[LW_FLAG_DATA].text,
                        work->command->flags[LW_FLAG_EXPIRES].number, work->text);
    work->reason = *lw_error_slot();
    work->done = true;
}

static void answer(invite_work *work) {
    lw_buffer out = lw_buffer_in(work->command->memory);
    if (work->command->json) {
        lw_json json = lw_json_to(&out);
        lw_json_object_open(&json, NULL);
        lw_json_text(&json, "token", lw_text(work->text));
        lw_json_object_close(&json);
    } else {
        lw_buffer_append(&out, lw_text(work->text));
    }
    lw_buffer_append_u8(&out, '\n');
    lw_command_answer(work->command, lw_buffer_view(&out));
    lw_seal_wipe(out.data, out.size);
    lw_buffer_reset(&out);
}

lw_exit lw_invite_command(lw_command *command) {
    invite_work work = {.command = command};
    lw_status status = lw_env_posix_open(&work.env);
    if (status != LW_OK) {
        return lw_command_fail(command, status, lw_error_slot()->text, NULL, "no token was made");
    }
    (void)lw_env_start(work.env, "token", invite_main, &work);
    while (!work.done) {
        lw_env_turn(work.env, true);
    }
    lw_env_close(work.env);
    if (work.status != LW_OK) {
        status = work.status == LW_NOT_FOUND ? LW_INVALID_ARGUMENT : work.status;
        return lw_command_fail(command, status, work.reason.text,
                               "--data names the folder of a node of the lattice",
                               "no token was made");
    }
    answer(&work);
    lw_seal_wipe(&work, sizeof(work));
    return LW_EXIT_DONE;
}
