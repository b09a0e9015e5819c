/* SPDX-License-Identifier: Apache-2.0 */
#include "node/small_file.h"

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
