/* SPDX-License-Identifier: Apache-2.0 */
/* Moving a cursor in a table of which a tree sees a part: outside of the part there is nothing.
 * Reads and compactions walk tables through these, so that neither shows, nor writes again, what
 * belongs to another tree (V3). For a table that is seen whole they cost one test. */
#ifndef LW_CLIP_H
#define LW_CLIP_H

#include "storage/version.h"

/* As lw_table_cursor_seek and so on. The cursor stands in the table of `file`. */
LW_MUST_USE LW_YIELDS lw_status lw_clip_seek(const lw_table_file *file, lw_table_cursor *cursor,
                                             lw_bytes key, uint64_t sequence);
LW_MUST_USE LW_YIELDS lw_status lw_clip_seek_before(const lw_table_file *file,
                                                    lw_table_cursor *cursor, lw_bytes key);
LW_MUST_USE LW_YIELDS lw_status lw_clip_first(const lw_table_file *file, lw_table_cursor *cursor);
LW_MUST_USE LW_YIELDS lw_status lw_clip_last(const lw_table_file *file, lw_table_cursor *cursor);
bool lw_clip_shows(const lw_table_file *file, lw_bytes key);

/* The entry under the cursor, or NULL beyond either end of what is seen. */
static inline const lw_entry *lw_clip_entry(const lw_table_file *file,
                                            const lw_table_cursor *cursor) {
    const lw_entry *entry = lw_table_cursor_entry(cursor);
    return entry == NULL || !file->clipped || lw_clip_shows(file, entry->key) ? entry : NULL;
}

#endif
