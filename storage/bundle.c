/* SPDX-License-Identifier: Apache-2.0 */
/* Folders of tables that no store has open: see bundle.h. */
#include "storage/bundle.h"

#include "storage/reserve.h"
#include "storage/shared_file.h"

lw_status lw_path_sync_parent(lw_env *env, const char *directory) {
    char parent[LW_PATH_SIZE];
    size_t size = strlen(directory);
    while (size > 1 && directory[size - 1] == '/') {
        size--;
    }
    while (size > 0 && directory[size - 1] != '/') {
        size--;
    }
    while (size > 1 && directory[size - 1] == '/') {
        size--;
    }
    memcpy(parent, size == 0 ? "." : directory, size == 0 ? 1 : size);
    parent[size == 0 ? 1 : size] = 0;
    lw_status status = lw_path_sync_directory(env, parent);
    return status == LW_REFUSED ? LW_OK : status;
}

const char *lw_names_next(lw_bytes *names) {
    if (names->size == 0) {
        return NULL;
    }
    const char *name = (const char *)names->data;
    size_t size = strlen(name) + 1;
    *names = lw_view(names->data + size, names->size - size);
    return name;
}

/* ---- making -------------------------------------------------------------------------------------
 */

/* LW_EXISTS if the folder holds anything but what may be left of a bundle that was removed. */
LW_YIELDS static lw_status expect_empty(lw_env *env, const char *directory, const char *allowed) {
    lw_buffer names = lw_buffer_in(env->memory);
    lw_status status = lw_path_list(env, directory, &names);
    lw_bytes rest = lw_buffer_view(&names);
    const char *name;
    while (status == LW_OK && (name = lw_names_next(&rest)) != NULL) {
        if (allowed == NULL || strcmp(name, allowed) != 0) {
            status = lw_fail(LW_EXISTS,
                             "%s is not empty: choose another folder, or remove what is in it",
                             directory);
        }
    }
    lw_buffer_reset(&names);
    return status;
}

lw_status lw_bundle_begin(lw_env *env, const char *directory, char table_path[LW_PATH_SIZE]) {
    LW_TRY(lw_path_join(table_path, directory, "sst"));
    LW_TRY(lw_path_mkdir(env, directory));
    LW_TRY(expect_empty(env, directory, "sst"));
    LW_TRY(lw_path_mkdir(env, table_path));
    LW_TRY(expect_empty(env, table_path, NULL));
    return LW_BUG(env, "bundle.begins_unsynced") ? LW_OK : lw_path_sync_directory(env, table_path);
}

static void describe(void *argument, lw_buffer *edit) {
    lw_buffer_append(edit, *(const lw_bytes *)argument);
}

lw_status lw_bundle_end(lw_env *env, const char *directory, lw_bytes state) {
    char path[LW_PATH_SIZE];
    lw_handle lock = LW_NO_HANDLE;
    lw_catalog *catalog = NULL;
    LW_TRY(lw_path_join(path, directory, "LOCK"));
    LW_TRY(lw_file_open(env, path, LW_OPEN_CREATE, &lock));
    lw_file_close(env, lock);
    LW_TRY(lw_path_join(path, directory, "sst"));
    if (!LW_BUG(env, "bundle.no_sync")) {
        LW_TRY(lw_path_sync_directory(env, path));
    }
    /* Also the name of sst/ itself: a later name in the folder may be durable before it. */
    LW_TRY(lw_path_sync_directory(env, directory));
    LW_TRY(lw_path_sync_parent(env, directory));
    LW_TRY(lw_catalog_create(env, directory, describe, &state, &catalog));
    lw_catalog_close(catalog);
    return LW_OK;
}

/* ---- taking and removing ------------------------------------------------------------------------
 */

LW_YIELDS static lw_status lock_bundle(lw_env *env, const char *directory, lw_handle *lock) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, directory, "LOCK"));
    LW_TRY(lw_file_open(env, path, LW_OPEN_CREATE, lock));
    lw_status status = lw_file_lock(env, *lock);
    if (status != LW_OK) {
        lw_file_close(env, *lock);
    }
    return status == LW_REFUSED
               ? lw_fail(LW_REFUSED, "%s is in use: wait, or stop who uses it", directory)
               : status;
}

lw_status lw_bundle_read(lw_env *env, const char *directory, lw_inventory *inventory,
                         lw_handle *lock) {
    char path[LW_PATH_SIZE];
    lw_catalog_facts facts;
    lw_handle held = LW_NO_HANDLE;
    LW_TRY(lw_path_join(path, directory, "CATALOG"));
    LW_TRY(lock_bundle(env, directory, &held));
    lw_status status = lw_catalog_read(env, path, lw_inventory_take, inventory, &facts);
    if (status != LW_OK) {
        lw_file_close(env, held);
        return status == LW_NOT_FOUND
                   ? lw_fail(LW_NOT_FOUND, "%s has no CATALOG: it was never finished", directory)
                   : status;
    }
    *lock = held;
    return LW_OK;
}

/* Whether a folder holds what a bundle never has. */
LW_YIELDS static lw_status refuse_nodes(lw_env *env, const char *directory) {
    lw_buffer names = lw_buffer_in(env->memory);
    lw_status status = lw_path_list(env, directory, &names);
    lw_bytes rest = lw_buffer_view(&names);
    const char *name;
    while (status == LW_OK && (name = lw_names_next(&rest)) != NULL) {
        if (strcmp(name, "IDENTITY") == 0 || strcmp(name, "log") == 0) {
            status =
                lw_fail(LW_REFUSED, "%s is the folder of a node: it is not removed", directory);
        }
    }
    lw_buffer_reset(&names);
    return status;
}

static LW_YIELDS lw_status unlink_one(lw_env *env, const char *directory, const char *name) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, directory, name));
    lw_status status = lw_path_unlink(env, path);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

LW_YIELDS static lw_status unlink_tables(lw_env *env, const char *directory) {
    char path[LW_PATH_SIZE];
    lw_buffer names = lw_buffer_in(env->memory);
    uint64_t number;
    const char *name;
    LW_TRY(lw_path_join(path, directory, "sst"));
    lw_status status = lw_path_list(env, path, &names);
    lw_bytes rest = lw_buffer_view(&names);
    while (status == LW_OK && (name = lw_names_next(&rest)) != NULL) {
        if (lw_table_name_number(name, &number)) {
            status = unlink_one(env, path, name);
        }
    }
    lw_buffer_reset(&names);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* First the CATALOG, durably: what is left is a bundle that was cut short (U2). */
LW_YIELDS static lw_status remove_locked(lw_env *env, const char *directory) {
    LW_TRY(unlink_one(env, directory, "CATALOG"));
    LW_TRY(lw_path_sync_directory(env, directory));
    LW_TRY(unlink_tables(env, directory));
    LW_TRY(unlink_one(env, directory, "CATALOG.new"));
    LW_TRY(unlink_one(env, directory, LW_RESERVE_NAME));
    return unlink_one(env, directory, "LOCK");
}

lw_status lw_bundle_remove(lw_env *env, const char *directory) {
    lw_handle lock = LW_NO_HANDLE;
    LW_TRY(refuse_nodes(env, directory));
    LW_TRY(lock_bundle(env, directory, &lock));
    lw_status status = remove_locked(env, directory);
    lw_file_close(env, lock);
    return status;
}
