/* SPDX-License-Identifier: Apache-2.0 */
/* The file IDENTITY. See identity.h for what it holds.
 *
 * Invariants
 * 1. The file is there whole or not at all: it is written under another name, synced, renamed, and
 *    the directory synced, before anybody learns what it says. What is left under the other name is
 *    of an interrupted start, and overwritten by the next.
 * 2. The incarnation that is given out is durable, and was never given out before. */
#include "storage/identity.h"

#include "base/hash.h"

#include <inttypes.h>

enum {
    FORMAT_AT = 4,
    CLUSTER_AT = 8,
    SEED_AT = CLUSTER_AT + LW_CLUSTER_ID_SIZE,
    INCARNATION_AT = SEED_AT + LW_SEED_SIZE,
    CHECKSUM_AT = INCARNATION_AT + 8,
    FILE_SIZE = CHECKSUM_AT + 4,
};
static const char magic[4] = {'L', 'W', 'I', 'D'};

static void encode(const lw_node_identity *identity, uint8_t bytes[FILE_SIZE]) {
    memcpy(bytes, magic, sizeof(magic));
    lw_put_u32(bytes + FORMAT_AT, LW_FOLDER_FORMAT);
    memcpy(bytes + CLUSTER_AT, identity->cluster_id, LW_CLUSTER_ID_SIZE);
    memcpy(bytes + SEED_AT, identity->keys.seed, LW_SEED_SIZE);
    lw_put_u64(bytes + INCARNATION_AT, identity->incarnation);
    lw_put_u32(bytes + CHECKSUM_AT, lw_crc32c(0, lw_view(bytes, CHECKSUM_AT)));
}

/* What follows from the seed. */
static void derive(lw_node_identity *identity) {
    lw_identity_derive(identity->keys.seed, &identity->keys);
    uint8_t digest[LW_DIGEST_SIZE];
    lw_digest(lw_view(identity->keys.public_key, LW_PUBLIC_KEY_SIZE), digest);
    identity->node_id = lw_get_u64(digest);
}

static lw_status decode(const uint8_t *bytes, size_t size, const char *path,
                        lw_node_identity *identity) {
    bool ours = size >= CLUSTER_AT && memcmp(bytes, magic, sizeof(magic)) == 0;
    uint32_t format = ours ? lw_get_u32(bytes + FORMAT_AT) : 0;
    if (format > LW_FOLDER_FORMAT) {
        return lw_fail(LW_REFUSED,
                       "%s has format %" PRIu32 ", this program knows formats up to %d: start the "
                       "newer version of Lathwork that wrote it",
                       path, format, LW_FOLDER_FORMAT);
    }
    if (format > 0 && format < LW_FOLDER_FORMAT) {
        return lw_fail(LW_REFUSED,
                       "%s has format %" PRIu32
                       ", this program reads format %d only: dump the data "
                       "with the version of Lathwork that wrote it, and load it into a new folder",
                       path, format, LW_FOLDER_FORMAT);
    }
    if (size != FILE_SIZE || format != LW_FOLDER_FORMAT ||
        lw_get_u32(bytes + CHECKSUM_AT) != lw_crc32c(0, lw_view(bytes, CHECKSUM_AT))) {
        return lw_fail(LW_CORRUPTION,
                       "%s is damaged: restore it from a backup, or remove this node from its "
                       "cluster and let it join again with an empty folder",
                       path);
    }
    memcpy(identity->cluster_id, bytes + CLUSTER_AT, LW_CLUSTER_ID_SIZE);
    memcpy(identity->keys.seed, bytes + SEED_AT, LW_SEED_SIZE);
    identity->incarnation = lw_get_u64(bytes + INCARNATION_AT);
    derive(identity);
    return LW_OK;
}

/* LW_NOT_FOUND if there is no file. */
static LW_YIELDS lw_status read_file(lw_env *env, const char *path, lw_node_identity *identity) {
    lw_handle file = LW_NO_HANDLE;
    LW_TRY(lw_file_open(env, path, LW_OPEN_READ_ONLY, &file));
    uint8_t bytes[FILE_SIZE + 1]; /* one more, to notice a file that is too long */
    size_t size = 0;
    lw_status status = lw_file_read(env, file, 0, bytes, sizeof(bytes), &size);
    lw_file_close(env, file);
    if (status == LW_OK) {
        status = decode(bytes, size, path, identity);
    }
    lw_seal_wipe(bytes, sizeof(bytes));
    return status;
}

static LW_YIELDS lw_status write_new_file(lw_env *env, const char *path, lw_bytes bytes) {
    lw_handle file = LW_NO_HANDLE;
    LW_TRY(lw_file_open(env, path, LW_OPEN_CREATE, &file));
    /* What an interrupted start left may be longer. */
    lw_status status = lw_file_resize(env, file, 0);
    if (status == LW_OK) {
        status = lw_file_write(env, file, 0, bytes, 0);
    }
    if (status == LW_OK) {
        status = lw_file_sync(env, file);
    }
    lw_file_close(env, file);
    return status;
}

static LW_YIELDS lw_status replace_file(lw_env *env, const char *directory, const char *path,
                                        const lw_node_identity *identity) {
    char path_new[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path_new, directory, "IDENTITY.new"));
    uint8_t bytes[FILE_SIZE];
    encode(identity, bytes);
    lw_status status = write_new_file(env, path_new, lw_view(bytes, sizeof(bytes)));
    lw_seal_wipe(bytes, sizeof(bytes));
    LW_TRY(status);
    LW_TRY(lw_path_rename(env, path_new, path));
    if (LW_BUG(env, "identity.no_directory_sync")) {
        return LW_OK;
    }
    return lw_path_sync_directory(env, directory);
}

lw_status lw_identity_open(lw_env *env, const char *directory, lw_node_identity *identity) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, directory, "IDENTITY"));
    lw_node_identity opened = {0};
    lw_status status = read_file(env, path, &opened);
    if (status == LW_NOT_FOUND) {
        lw_env_entropy(env, opened.cluster_id, sizeof(opened.cluster_id));
        lw_env_entropy(env, opened.keys.seed, sizeof(opened.keys.seed));
        derive(&opened);
        status = LW_OK;
    }
    if (status == LW_OK) {
        opened.incarnation++;
        status = replace_file(env, directory, path, &opened);
    }
    if (status == LW_OK) {
        *identity = opened;
    }
    lw_seal_wipe(&opened, sizeof(opened));
    return status;
}

lw_status lw_identity_check(lw_env *env, const char *directory) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, directory, "IDENTITY"));
    lw_node_identity identity = {0};
    lw_status status = read_file(env, path, &identity);
    lw_seal_wipe(&identity, sizeof(identity));
    return status;
}
