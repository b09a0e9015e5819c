/* SPDX-License-Identifier: Apache-2.0 */
/* The file LATTICE. See lattice.h for what it holds. */
#include "base/hash.h"
#include "node/lattice_state.h"
#include "node/small_file.h"

#include <inttypes.h>

enum {
    FORMAT_RECORDS = 1, /* as long as no token is revoked */
    FORMAT = 2,
    HEAD_SIZE = 8,
    SIZE_SIZE = 4, /* of the records, from format 2 on */
    CHECKSUM_SIZE = 4,
    FILE_SIZE_MAX = 64 + (LW_MEMBERS_MAX + LW_TOMBSTONES_MAX) * (LW_MEMBER_RECORD_MAX + 8) +
                    LW_REVOKED_MAX * 20,
};

static const char file_name[] = "LATTICE";
static const uint8_t magic[4] = {'L', 'W', 'L', 'T'};

/* ---- reading ------------------------------------------------------------------------------------
 */

/* Takes what lies between head and checksum apart. */
static bool split(uint32_t format, lw_bytes content, lw_buffer *page, lw_buffer *revoked) {
    if (format == FORMAT_RECORDS) {
        lw_buffer_append(page, content);
        return true;
    }
    size_t size = content.size < SIZE_SIZE ? SIZE_MAX : lw_get_u32(content.data);
    if (size > content.size || content.size - size < SIZE_SIZE) {
        return false;
    }
    size_t behind = SIZE_SIZE + size;
    lw_buffer_append(page, lw_view(content.data + SIZE_SIZE, size));
    lw_buffer_append(revoked, lw_view(content.data + behind, content.size - behind));
    return true;
}

static lw_status decode(lw_bytes bytes, const char *path, lw_buffer *page, lw_buffer *revoked) {
    bool whole = bytes.size >= HEAD_SIZE + CHECKSUM_SIZE && bytes.size <= FILE_SIZE_MAX &&
                 memcmp(bytes.data, magic, sizeof(magic)) == 0;
    size_t size = whole ? bytes.size - CHECKSUM_SIZE : 0;
    whole = whole && lw_get_u32(bytes.data + size) == lw_crc32c(0, lw_view(bytes.data, size));
    uint32_t format = whole ? lw_get_u32(bytes.data + sizeof(magic)) : 0;
    bool known = format == FORMAT_RECORDS || format == FORMAT;
    if (!whole || (known && !split(format, lw_view(bytes.data + HEAD_SIZE, size - HEAD_SIZE), page,
                                   revoked))) {
        return lw_fail(LW_CORRUPTION,
                       "%s is damaged: take this node out of its lattice at another node, and let "
                       "it join anew with an empty folder",
                       path);
    }
    return known ? LW_OK
                 : lw_fail(LW_REFUSED,
                           "%s has format %" PRIu32 ", this program knows formats up to %d: start "
                           "the newer version of Lathwork that wrote it",
                           path, format, FORMAT);
}

lw_status lattice_load(lw_env *env, const char *directory, lw_buffer *page, lw_buffer *revoked) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, directory, file_name));
    lw_buffer bytes = lw_buffer_in(env->memory);
    lw_status status = lw_small_file_read(env, directory, file_name, FILE_SIZE_MAX, &bytes);
    if (status == LW_OK) {
        status = decode(lw_buffer_view(&bytes), path, page, revoked);
    }
    lw_buffer_reset(&bytes);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

bool lw_lattice_knows_others(lw_env *env, const char *directory) {
    lw_buffer page = lw_buffer_in(env->memory), revoked = page;
    bool others = lattice_load(env, directory, &page, &revoked) == LW_OK && page.size > 0;
    lw_reader reader = lw_reader_of(lw_buffer_view(&page));
    others = others && lw_read_array(&reader) > 1;
    lw_buffer_reset(&page);
    lw_buffer_reset(&revoked);
    return others;
}

/* ---- writing ------------------------------------------------------------------------------------
 */

void lattice_page(const lw_lattice *lattice, lw_buffer *page) {
    const lw_members *members = lw_gossip_members(lattice->gossip);
    lw_write_array(page, members->count);
    for (uint32_t index = 0; index < members->count; index++) {
        lw_write_bytes(page, lw_members_record(members, index));
    }
}

static void write_content(const lw_lattice *lattice, lw_buffer *bytes) {
    if (lattice->revoked.count == 0) {
        lw_buffer_append_u32(bytes, FORMAT_RECORDS);
        lattice_page(lattice, bytes);
        return;
    }
    lw_buffer_append_u32(bytes, FORMAT);
    size_t size_at = bytes->size;
    lw_buffer_append_u32(bytes, 0);
    lattice_page(lattice, bytes);
    lw_put_u32(bytes->data + size_at, (uint32_t)(bytes->size - size_at - SIZE_SIZE));
    lw_revoked_encode(&lattice->revoked, bytes);
}

lw_status lattice_save(lw_lattice *lattice) {
    while (lattice->saving) {
        lw_queue_wait(&lattice->saved);
    }
    if (!lattice->unsaved) {
        return LW_OK;
    }
    lattice->saving = true;
    lattice->unsaved = false;
    lw_buffer bytes = lw_buffer_in(lattice->memory);
    lw_buffer_append(&bytes, lw_view(magic, sizeof(magic)));
    write_content(lattice, &bytes);
    lw_buffer_append_u32(&bytes, lw_crc32c(0, lw_buffer_view(&bytes)));
    lw_status status = lw_path_replace(lattice->env, lattice->options.directory, file_name,
                                       lw_buffer_view(&bytes), true);
    lw_buffer_reset(&bytes);
    lattice->saving = false;
    lattice->unsaved = lattice->unsaved || status != LW_OK;
    lw_queue_wake_all(&lattice->saved);
    return status;
}
