/* SPDX-License-Identifier: Apache-2.0 */
#include "node/small_file.h"

#include <stdio.h>

LW_YIELDS static lw_status read_whole(lw_env *env, lw_handle file, size_t size_max,
                                      lw_buffer *bytes) {
    uint64_t size = 0;
    size_t read_size = 0;
    LW_TRY(lw_file_size(env, file, &size));
    size = size > size_max ? size_max + 1 : size;
    uint8_t *to = lw_buffer_reserve(bytes, (size_t)size + 1);
    LW_TRY(lw_file_read(env, file, 0, to, (size_t)size, &read_size));
    bytes->size += read_size;
    return LW_OK;
}

lw_status lw_small_file_read(lw_env *env, const char *directory, const char *name, size_t size_max,
                             lw_buffer *bytes) {
    char path[LW_PATH_SIZE];
    lw_handle file = LW_NO_HANDLE;
    LW_TRY(lw_path_join(path, directory, name));
    LW_TRY(lw_file_open(env, path, LW_OPEN_READ_ONLY, &file));
    lw_status status = read_whole(env, file, size_max, bytes);
    lw_file_close(env, file);
    return status;
}

LW_YIELDS static lw_status write_new_file(lw_env *env, const char *path, lw_bytes bytes) {
    lw_handle file = LW_NO_HANDLE;
    LW_TRY(lw_file_open(env, path, LW_OPEN_CREATE, &file));
    lw_status status = lw_file_resize(env, file, 0); /* a crash may have left a longer one */
    if (status == LW_OK) {
        status = lw_file_write(env, file, 0, bytes, 0);
    }
    if (status == LW_OK) {
        status = lw_file_sync(env, file);
    }
    lw_file_close(env, file);
    return status;
}

lw_status lw_small_file_replace(lw_env *env, const char *directory, const char *name,
                                lw_bytes bytes) {
    char path[LW_PATH_SIZE], path_new[LW_PATH_SIZE], name_new[32];
    (void)snprintf(name_new, sizeof(name_new), "%s.new", name);
    LW_TRY(lw_path_join(path, directory, name));
    LW_TRY(lw_path_join(path_new, directory, name_new));
    LW_TRY(write_new_file(env, path_new, bytes));
    LW_TRY(lw_path_rename(env, path_new, path));
    return lw_path_sync_directory(env, directory);
}
