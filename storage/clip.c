/* SPDX-License-Identifier: Apache-2.0 */
/* Moving in a table of which a tree sees a part: see clip.h. */
#include "storage/clip.h"

static bool ignored(const lw_table_file *file) {
    return LW_BUG(file->shared->folder->env, "store.clip_ignored");
}

bool lw_clip_shows(const lw_table_file *file, lw_bytes key) {
    return (lw_compare(key, file->low) >= 0 && !lw_table_file_before(file, key)) || ignored(file);
}

lw_status lw_clip_seek(const lw_table_file *file, lw_table_cursor *cursor, lw_bytes key,
                       uint64_t sequence) {
    if (file->clipped && lw_compare(key, file->low) < 0) {
        return lw_clip_first(file, cursor);
    }
    return lw_table_cursor_seek(cursor, key, sequence);
}

lw_status lw_clip_seek_before(const lw_table_file *file, lw_table_cursor *cursor, lw_bytes key) {
    if (file->high_open && lw_table_file_before(file, key)) {
        return lw_clip_last(file, cursor);
    }
    return lw_table_cursor_seek_before(cursor, key);
}

lw_status lw_clip_first(const lw_table_file *file, lw_table_cursor *cursor) {
    if (file->clipped && !ignored(file)) {
        return lw_table_cursor_seek(cursor, file->low, UINT64_MAX);
    }
    return lw_table_cursor_first(cursor);
}

lw_status lw_clip_last(const lw_table_file *file, lw_table_cursor *cursor) {
    if (file->high_open && !ignored(file)) {
        return lw_table_cursor_seek_before(cursor, file->high);
    }
    return lw_table_cursor_last(cursor);
}
