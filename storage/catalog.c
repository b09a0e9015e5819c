/* SPDX-License-Identifier: Apache-2.0 */
/* The file CATALOG: reading it back, appending to it, and writing it anew when it has grown. The
 * format and the invariants are in catalog.h; the changes within an edit are in edit.c. */
#include "storage/catalog.h"

#include "base/hash.h"

#include <inttypes.h>

enum {
    HEADER_SIZE = 28,
    RECORD_SIZE = 16,                   /* before the payload */
    STATE_RECORD_SIZE = 1024 * 1024,    /* payload bytes at which a rewritten state is cut */
    APPENDED_SIZE_MIN = 64 * 1024,      /* no rewriting before this much was appended */
    OUTGROWN_FACTOR = 3,                /* appended bytes for each byte of base */
    FILE_SIZE_MAX = 1024 * 1024 * 1024, /* bytes; a larger file is not one of ours */
};

struct lw_catalog {
    lw_env *env;
    lw_catalog_describe describe;
    void *argument;
    lw_handle file;
    uint64_t generation;
    uint64_t base;     /* bytes at the last rewriting */
    uint64_t size;     /* where the next record goes; everything before is durable */
    bool in_doubt;     /* whether the end of the file is (C4) */
    bool acknowledged; /* at opening: lw_catalog_facts */
    lw_buffer scratch; /* the record being written */
    char directory[LW_PATH_SIZE], path[LW_PATH_SIZE], path_new[LW_PATH_SIZE];
};

/* ---- records -------------------------------------------------------------------------------- */

static void append_header(lw_buffer *out, uint64_t generation, uint64_t base) {
    size_t start = out->size;
    lw_buffer_append(out, lw_text("LWCT"));
    lw_buffer_append_u32(out, LW_CATALOG_FORMAT);
    lw_buffer_append_u64(out, generation);
    lw_buffer_append_u64(out, base);
    lw_buffer_append_u32(out, lw_crc32c(0, lw_view(out->data + start, out->size - start)));
}

static void append_record(lw_buffer *out, uint64_t generation, uint64_t offset, lw_bytes payload) {
    size_t start = out->size;
    LW_ASSERT(payload.size <= FILE_SIZE_MAX);
    lw_buffer_append_u32(out, 0);
    lw_buffer_append_u32(out, (uint32_t)payload.size);
    lw_buffer_append_u64(out, offset);
    lw_buffer_append(out, payload);
    lw_bytes covered = lw_view(out->data + start + 4, out->size - start - 4);
    lw_put_u32(out->data + start, lw_crc32c((uint32_t)generation, covered));
}

/* The record at `offset` of the file, if there is a valid one. */
static bool record_at(lw_bytes file, uint64_t generation, uint64_t offset, lw_bytes *payload) {
    if (file.size - offset < RECORD_SIZE || lw_get_u64(file.data + offset + 8) != offset) {
        return false;
    }
    uint32_t size = lw_get_u32(file.data + offset + 4);
    if (size > file.size - offset - RECORD_SIZE) {
        return false;
    }
    lw_bytes covered = lw_view(file.data + offset + 4, RECORD_SIZE - 4 + (size_t)size);
    if (lw_get_u32(file.data + offset) != lw_crc32c((uint32_t)generation, covered)) {
        return false;
    }
    *payload = lw_view(file.data + offset + RECORD_SIZE, size);
    return true;
}

/* ---- reading -------------------------------------------------------------------------------- */

LW_YIELDS static lw_status read_whole(lw_env *env, const char *path, lw_handle file,
                                      lw_buffer *contents) {
    uint64_t size = 0;
    size_t read_size = 0;
    LW_TRY(lw_file_size(env, file, &size));
    if (size > FILE_SIZE_MAX) {
        return lw_fail(LW_CORRUPTION, "%s has %" PRIu64 " bytes, which no catalog has", path, size);
    }
    uint8_t *data = lw_buffer_reserve(contents, (size_t)size);
    LW_TRY(lw_file_read(env, file, 0, data, (size_t)size, &read_size));
    contents->size += read_size;
    return LW_OK;
}

static lw_status read_header(const char *path, lw_bytes file, lw_catalog_facts *facts) {
    lw_bytes covered = lw_view(file.data, HEADER_SIZE - 4);
    if (file.size < HEADER_SIZE || memcmp(file.data, "LWCT", 4) != 0 ||
        lw_get_u32(file.data + HEADER_SIZE - 4) != lw_crc32c(0, covered)) {
        return lw_fail(LW_CORRUPTION,
                       "%s: its header is damaged; restore the folder from a backup,"
                       " or let the node join again with an empty one",
                       path);
    }
    uint32_t format = lw_get_u32(file.data + 4);
    if (format < LW_CATALOG_FORMAT_OLDEST || format > LW_CATALOG_FORMAT) {
        return lw_fail(LW_REFUSED,
                       "%s has format %" PRIu32
                       ", this program knows formats up to %d: start it with "
                       "the version of Lathwork that wrote the folder, or a newer one",
                       path, format, LW_CATALOG_FORMAT);
    }
    facts->format = format;
    facts->generation = lw_get_u64(file.data + 8);
    facts->base = lw_get_u64(file.data + 16);
    if (facts->base < HEADER_SIZE || facts->base > file.size) {
        return lw_fail(LW_CORRUPTION, "%s has %zu bytes, but %" PRIu64 " when it was made", path,
                       file.size, facts->base);
    }
    return LW_OK;
}

/* Whether what stands at `offset`, which is no valid record, was once acknowledged (C1, C3). */
static bool was_acknowledged(lw_bytes file, const lw_catalog_facts *facts, uint64_t offset) {
    lw_bytes payload;
    if (offset < facts->base) {
        return true;
    }
    for (uint64_t behind = offset + 1; behind < file.size; behind++) {
        if (record_at(file, facts->generation, behind, &payload)) {
            return true;
        }
    }
    return false;
}

static lw_status read_records(const char *path, lw_bytes file, lw_catalog_visit visit,
                              void *argument, lw_catalog_facts *facts) {
    uint64_t offset = HEADER_SIZE;
    lw_bytes payload = {0};
    while (offset < file.size && record_at(file, facts->generation, offset, &payload)) {
        if (payload.size > 0) {
            facts->edit_count++;
            lw_status status = visit(argument, offset, payload);
            if (status != LW_OK) {
                return lw_fail_in(status, "%s, edit at offset %" PRIu64, path, offset);
            }
        }
        offset += RECORD_SIZE + payload.size;
    }
    if (offset < file.size && was_acknowledged(file, facts, offset)) {
        return lw_fail(LW_CORRUPTION,
                       "%s: damaged at offset %" PRIu64 ", within what was durable; "
                       "restore the folder from a backup, or let the node join "
                       "again with an empty one",
                       path, offset);
    }
    facts->acknowledged = offset == facts->base || payload.size == 0;
    facts->size = offset;
    facts->torn_size = file.size - offset;
    return LW_OK;
}

lw_status lw_catalog_parse(const char *path, lw_bytes file, lw_catalog_visit visit, void *argument,
                           lw_catalog_facts *facts) {
    lw_catalog_facts found = {0};
    LW_TRY(read_header(path, file, &found));
    LW_TRY(read_records(path, file, visit, argument, &found));
    *facts = found;
    return LW_OK;
}

lw_status lw_catalog_read(lw_env *env, const char *path, lw_catalog_visit visit, void *argument,
                          lw_catalog_facts *facts) {
    lw_handle file = LW_NO_HANDLE;
    lw_buffer contents = lw_buffer_in(env->memory);
    LW_TRY(lw_file_open(env, path, LW_OPEN_READ_ONLY, &file));
    lw_status status = read_whole(env, path, file, &contents);
    lw_file_close(env, file);
    if (status == LW_OK) {
        status = lw_catalog_parse(path, lw_buffer_view(&contents), visit, argument, facts);
    }
    lw_buffer_reset(&contents);
    return status;
}

/* ---- opening -------------------------------------------------------------------------------- */

static lw_status catalog_make(lw_env *env, const char *directory, lw_catalog_describe describe,
                              void *argument, lw_catalog **made) {
    lw_catalog *catalog = lw_allocate_zero(env->memory, sizeof(*catalog));
    *catalog = (lw_catalog){.env = env,
                            .describe = describe,
                            .argument = argument,
                            .file = LW_NO_HANDLE,
                            .scratch = lw_buffer_in(env->memory)};
    lw_status status = lw_path_join(catalog->path, directory, "CATALOG");
    if (status == LW_OK) {
        status = lw_path_join(catalog->path_new, directory, "CATALOG.new");
    }
    if (status != LW_OK) {
        lw_free(env->memory, catalog);
        return status;
    }
    memcpy(catalog->directory, directory, strlen(directory) + 1);
    *made = catalog;
    return LW_OK;
}

void lw_catalog_close(lw_catalog *catalog) {
    if (lw_handle_valid(catalog->file)) {
        lw_file_close(catalog->env, catalog->file);
    }
    lw_buffer_reset(&catalog->scratch);
    lw_free(catalog->env->memory, catalog);
}

lw_status lw_catalog_open(lw_env *env, const char *directory, lw_catalog_visit visit,
                          lw_catalog_describe describe, void *argument, lw_catalog **opened) {
    lw_catalog *catalog = NULL;
    LW_TRY(catalog_make(env, directory, describe, argument, &catalog));
    lw_catalog_facts facts = {0};
    lw_status status = lw_catalog_read(env, catalog->path, visit, argument, &facts);
    if (status != LW_OK) {
        lw_catalog_close(catalog);
        return status;
    }
    if (facts.torn_size > 0) {
        LW_MARK(env, "catalog.torn_tail");
    }
    catalog->generation = facts.generation;
    catalog->in_doubt = true;
    catalog->acknowledged = facts.acknowledged;
    *opened = catalog;
    return LW_OK;
}

/* ---- rewriting ------------------------------------------------------------------------------ */

/* Lays out a whole catalog file of what is committed now. */
static void render_state(lw_catalog *catalog, uint64_t generation, lw_buffer *out) {
    lw_buffer state = lw_buffer_in(catalog->env->memory);
    catalog->describe(catalog->argument, &state);
    append_header(out, generation, 0);
    lw_bytes rest = lw_buffer_view(&state), piece = lw_view(rest.data, 0);
    lw_arena arena = lw_arena_in(catalog->env->memory);
    lw_change change;
    while (lw_edit_next(&arena, &rest, &change)) {
        piece.size = (size_t)(rest.data - piece.data);
        if (piece.size >= STATE_RECORD_SIZE || rest.size == 0 ||
            LW_RARE(catalog->env, "catalog.small_records")) {
            append_record(out, generation, out->size, piece);
            piece = lw_view(rest.data, 0);
        }
    }
    LW_ASSERT(rest.size == 0);
    lw_buffer header = lw_buffer_in(catalog->env->memory);
    append_header(&header, generation, out->size);
    memcpy(out->data, header.data, HEADER_SIZE);
    lw_buffer_reset(&header);
    lw_arena_reset(&arena);
    lw_buffer_reset(&state);
}

/* Writes the file that is to take the catalog's place; on success `*file` is open on it. */
LW_YIELDS static lw_status write_new(lw_catalog *catalog, lw_bytes contents, lw_handle *file) {
    lw_env *env = catalog->env;
    lw_handle handle = LW_NO_HANDLE;
    lw_status status = lw_path_unlink(env, catalog->path_new);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    LW_TRY(lw_file_open(env, catalog->path_new, LW_OPEN_CREATE | LW_OPEN_EXCLUSIVE, &handle));
    status = lw_file_write(env, handle, 0, contents, 0);
    if (status == LW_OK) {
        status = lw_file_sync(env, handle);
    }
    if (status != LW_OK) {
        lw_file_close(env, handle);
        return status;
    }
    *file = handle;
    return LW_OK;
}

LW_YIELDS static lw_status catalog_rewrite(lw_catalog *catalog) {
    lw_env *env = catalog->env;
    lw_buffer contents = lw_buffer_in(env->memory);
    lw_handle file = LW_NO_HANDLE;
    render_state(catalog, catalog->generation + 1, &contents);
    uint64_t size = contents.size;
    lw_status status = write_new(catalog, lw_buffer_view(&contents), &file);
    lw_buffer_reset(&contents);
    LW_TRY(status);
    status = lw_path_rename(env, catalog->path_new, catalog->path);
    if (status == LW_OK && !LW_BUG(env, "store.no_directory_sync")) {
        status = lw_path_sync_directory(env, catalog->directory);
        if (status == LW_FULL || status == LW_BACKPRESSURE) {
            /* Which of the two files a restart would find is unknown: this is not survived. */
            status =
                lw_fail(LW_INTERNAL, "the new name of %s could not be made durable: %s",
                        catalog->path, status == LW_FULL ? "no space" : "no handles or memory");
        }
    }
    if (status != LW_OK) {
        lw_file_close(env, file);
        return status;
    }
    if (lw_handle_valid(catalog->file)) {
        lw_file_close(env, catalog->file);
    }
    catalog->file = file;
    catalog->generation++;
    catalog->base = catalog->size = size;
    catalog->in_doubt = false;
    return LW_OK;
}

lw_status lw_catalog_settle(lw_catalog *catalog) {
    lw_status status = catalog_rewrite(catalog);
    return status == LW_FULL && catalog->acknowledged ? LW_OK : status;
}

lw_status lw_catalog_seal(lw_catalog *catalog) {
    bool sealed = !catalog->in_doubt && catalog->size == catalog->base;
    return sealed ? LW_OK : catalog_rewrite(catalog);
}

lw_status lw_catalog_create(lw_env *env, const char *directory, lw_catalog_describe describe,
                            void *argument, lw_catalog **created) {
    lw_catalog *catalog = NULL;
    LW_TRY(catalog_make(env, directory, describe, argument, &catalog));
    lw_status status = catalog_rewrite(catalog);
    if (status != LW_OK) {
        lw_catalog_close(catalog);
        return status;
    }
    *created = catalog;
    return LW_OK;
}

/* ---- committing ----------------------------------------------------------------------------- */

static bool outgrown(const lw_catalog *catalog) {
    uint64_t appended = catalog->size - catalog->base;
    return appended >= APPENDED_SIZE_MIN && appended >= OUTGROWN_FACTOR * catalog->base;
}

LW_YIELDS static lw_status append(lw_catalog *catalog, lw_bytes payload) {
    lw_buffer *record = &catalog->scratch;
    LW_ASSERT(!catalog->in_doubt);
    lw_buffer_clear(record);
    append_record(record, catalog->generation, catalog->size, payload);
    catalog->in_doubt = true;
    LW_TRY(lw_file_write(catalog->env, catalog->file, catalog->size, lw_buffer_view(record),
                         LW_WRITE_DURABLE));
    catalog->in_doubt = false;
    catalog->size += record->size;
    return LW_OK;
}

lw_status lw_catalog_commit(lw_catalog *catalog, lw_bytes edit) {
    LW_ASSERT(edit.size > 0);
    if (catalog->in_doubt || outgrown(catalog) || LW_RARE(catalog->env, "catalog.rewrite")) {
        LW_MARK(catalog->env, "catalog.rewritten");
        lw_status status = catalog_rewrite(catalog);
        bool passes = status == LW_FULL || status == LW_BACKPRESSURE;
        if (status != LW_OK && (!passes || catalog->in_doubt)) {
            return status;
        }
    }
    LW_TRY(append(catalog, edit));
    /* Without room for the mark the edit is durable all the same; the rewriting that comes next
     * (C4) puts it under a base. */
    lw_status status = append(catalog, lw_view(NULL, 0));
    return status == LW_FULL ? LW_OK : status;
}
