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
    LATTICE_AT = 8,
    SEED_AT = LATTICE_AT + LW_SHARED_ID_SIZE,
    INCARNATION_AT = SEED_AT + LW_SEED_SIZE,
    EXCHANGE_AT = INCARNATION_AT + 8, /* format 2 ends here, with its checksum */
    EPOCH_AT = EXCHANGE_AT + LW_EXCHANGE_SIZE,
    KEY_AT = EPOCH_AT + 4,
    CHECKSUM_AT = KEY_AT + LW_SHARED_KEY_SIZE,
    FILE_SIZE = CHECKSUM_AT + 4,
    FOUNDER_AT = LW_SHARED_ID_SIZE - 8, /* in the lattice's id: the node id of its founder */
    OTHER_SIZE = 4 + LW_SHARED_KEY_SIZE,
    CHECKSUM_KEYS_AT = CHECKSUM_AT + LW_OTHER_KEYS_MAX * OTHER_SIZE,
    FILE_SIZE_KEYS = CHECKSUM_KEYS_AT + 4,
    FORMAT_OLD = 2,
    FILE_SIZE_OLD = EXCHANGE_AT + 4,
};
static const char file_name[] = "IDENTITY";
static const char magic[4] = {'L', 'W', 'I', 'D'};

/* Returns the size. */
static size_t encode(const lw_node_identity *identity, uint8_t bytes[FILE_SIZE_KEYS]) {
    bool several = identity->other_count > 0;
    size_t checksum_at = several ? CHECKSUM_KEYS_AT : CHECKSUM_AT;
    memset(bytes, 0, FILE_SIZE_KEYS);
    memcpy(bytes, magic, sizeof(magic));
    lw_put_u32(bytes + FORMAT_AT, several ? LW_FOLDER_FORMAT_KEYS : LW_FOLDER_FORMAT);
    memcpy(bytes + LATTICE_AT, identity->lattice.id, LW_SHARED_ID_SIZE);
    memcpy(bytes + SEED_AT, identity->keys.seed, LW_SEED_SIZE);
    lw_put_u64(bytes + INCARNATION_AT, identity->incarnation);
    memcpy(bytes + EXCHANGE_AT, identity->exchange_secret, LW_EXCHANGE_SIZE);
    lw_put_u32(bytes + EPOCH_AT, identity->lattice.epoch);
    memcpy(bytes + KEY_AT, identity->lattice.key, LW_SHARED_KEY_SIZE);
    for (uint32_t index = 0; index < identity->other_count; index++) {
        lw_put_u32(bytes + CHECKSUM_AT + index * OTHER_SIZE, identity->others[index].epoch);
        memcpy(bytes + CHECKSUM_AT + index * OTHER_SIZE + 4, identity->others[index].key,
               LW_SHARED_KEY_SIZE);
    }
    lw_put_u32(bytes + checksum_at, lw_crc32c(0, lw_view(bytes, checksum_at)));
    return checksum_at + 4;
}

static void decode_others(const uint8_t *bytes, lw_node_identity *identity) {
    for (uint32_t index = 0; index < LW_OTHER_KEYS_MAX; index++) {
        const uint8_t *at = bytes + CHECKSUM_AT + index * OTHER_SIZE;
        uint32_t epoch = lw_get_u32(at);
        if (epoch != 0) {
            lw_shared_key *other = &identity->others[identity->other_count++];
            *other = identity->lattice;
            other->epoch = epoch;
            memcpy(other->key, at + 4, LW_SHARED_KEY_SIZE);
        }
    }
}

/* What follows from the seeds. */
static void derive(lw_node_identity *identity) {
    lw_identity_derive(identity->keys.seed, &identity->keys);
    lw_exchange_public(identity->exchange_secret, identity->exchange_public);
    identity->node_id = lw_identity_number(identity->keys.public_key);
}

static bool checksum_right(const uint8_t *bytes, size_t checksum_at) {
    return lw_get_u32(bytes + checksum_at) == lw_crc32c(0, lw_view(bytes, checksum_at));
}

static lw_status refuse_format(const char *path, uint32_t format) {
    if (format > LW_FOLDER_FORMAT_KEYS) {
        return lw_fail(LW_REFUSED,
                       "%s has format %" PRIu32 ", this program knows formats up to %d: start the "
                       "newer version of Lathwork that wrote it",
                       path, format, LW_FOLDER_FORMAT_KEYS);
    }
    return lw_fail(LW_REFUSED,
                   "%s has format %" PRIu32 ", this program reads formats from %d on: dump the "
                   "data with the version of Lathwork that wrote it, and load it into a new folder",
                   path, format, FORMAT_OLD);
}

/* What an old file lacks stays zero. */
static lw_status decode(const uint8_t *bytes, size_t size, const char *path,
                        lw_node_identity *identity, bool *was_old) {
    bool ours = size >= LATTICE_AT && memcmp(bytes, magic, sizeof(magic)) == 0;
    uint32_t format = ours ? lw_get_u32(bytes + FORMAT_AT) : LW_FOLDER_FORMAT;
    bool old = format == FORMAT_OLD, several = format == LW_FOLDER_FORMAT_KEYS;
    if (format != LW_FOLDER_FORMAT && !old && !several && format != 0) {
        return refuse_format(path, format);
    }
    size_t checksum_at = old ? EXCHANGE_AT : several ? CHECKSUM_KEYS_AT : CHECKSUM_AT;
    if (!ours || format == 0 || size != checksum_at + 4 || !checksum_right(bytes, checksum_at)) {
        return lw_fail(LW_CORRUPTION,
                       "%s is damaged: restore it from a backup, or remove this node from its "
                       "cluster and let it join again with an empty folder",
                       path);
    }
    memcpy(identity->lattice.id, bytes + LATTICE_AT, LW_SHARED_ID_SIZE);
    memcpy(identity->keys.seed, bytes + SEED_AT, LW_SEED_SIZE);
    identity->incarnation = lw_get_u64(bytes + INCARNATION_AT);
    *was_old = old;
    if (!old) {
        memcpy(identity->exchange_secret, bytes + EXCHANGE_AT, LW_EXCHANGE_SIZE);
        identity->lattice.epoch = lw_get_u32(bytes + EPOCH_AT);
        memcpy(identity->lattice.key, bytes + KEY_AT, LW_SHARED_KEY_SIZE);
    }
    if (several) {
        decode_others(bytes, identity);
    }
    return LW_OK;
}

/* LW_NOT_FOUND if there is no file. */
static LW_YIELDS lw_status read_file(lw_env *env, const char *path, lw_node_identity *identity,
                                     bool *was_old) {
    lw_handle file = LW_NO_HANDLE;
    LW_TRY(lw_file_open(env, path, LW_OPEN_READ_ONLY, &file));
    uint8_t bytes[FILE_SIZE_KEYS + 1]; /* one more, to notice a file that is too long */
    size_t size = 0;
    lw_status status = lw_file_read(env, file, 0, bytes, sizeof(bytes), &size);
    lw_file_close(env, file);
    if (status == LW_OK) {
        status = decode(bytes, size, path, identity, was_old);
    }
    lw_seal_wipe(bytes, sizeof(bytes));
    return status;
}

static LW_YIELDS lw_status replace_file(lw_env *env, const char *directory,
                                        const lw_node_identity *identity) {
    uint8_t bytes[FILE_SIZE_KEYS];
    size_t size = encode(identity, bytes);
    lw_status status = lw_path_replace(env, directory, file_name, lw_view(bytes, size), true);
    lw_seal_wipe(bytes, sizeof(bytes));
    return status;
}

/* ---- opening ------------------------------------------------------------------------------ */

/* A lattice that nobody else knows of yet. Its id may be known from before it had a key. */
static void found_lattice(lw_env *env, bool has_id, lw_shared_key *lattice) {
    if (!has_id) {
        lw_env_entropy(env, lattice->id, sizeof(lattice->id));
    }
    lw_env_entropy(env, lattice->key, sizeof(lattice->key));
    lattice->epoch = 1;
}

/* Reads, or makes, what is then written with its incarnation raised. */
static LW_YIELDS lw_status read_or_make(lw_env *env, const char *path, bool to_join,
                                        lw_node_identity *identity) {
    bool old = false;
    lw_status status = read_file(env, path, identity, &old);
    if (status != LW_OK && status != LW_NOT_FOUND) {
        return status;
    }
    bool fresh = status == LW_NOT_FOUND;
    if (fresh) {
        lw_env_entropy(env, identity->keys.seed, sizeof(identity->keys.seed));
    }
    if (fresh || old) {
        lw_env_entropy(env, identity->exchange_secret, sizeof(identity->exchange_secret));
    }
    if (old || (fresh && !to_join)) {
        found_lattice(env, old, &identity->lattice);
    }
    if (identity->lattice.epoch == 0 && !to_join) {
        return lw_fail(LW_REFUSED,
                       "%s was made for a node that is to join a lattice, and was not taken in: "
                       "start it with --join, or remove the folder",
                       path);
    }
    derive(identity);
    if (fresh && !to_join) {
        lw_put_u64(identity->lattice.id + FOUNDER_AT, identity->node_id);
    }
    return LW_OK;
}

LW_YIELDS static lw_status open_identity(lw_env *env, const char *directory, bool to_join,
                                         lw_node_identity *identity) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, directory, file_name));
    lw_node_identity opened = {0};
    lw_status status = read_or_make(env, path, to_join, &opened);
    if (status == LW_OK) {
        opened.incarnation++;
        status = replace_file(env, directory, &opened);
    }
    if (status == LW_OK) {
        *identity = opened;
    }
    lw_seal_wipe(&opened, sizeof(opened));
    return status;
}

bool lw_identity_founded(const lw_node_identity *identity) {
    return lw_get_u64(identity->lattice.id + FOUNDER_AT) == identity->node_id;
}

lw_status lw_identity_read(lw_env *env, const char *directory, lw_node_identity *identity) {
    char path[LW_PATH_SIZE];
    bool old;
    LW_TRY(lw_path_join(path, directory, file_name));
    lw_node_identity read = {0};
    LW_TRY(read_file(env, path, &read, &old));
    derive(&read);
    *identity = read;
    lw_seal_wipe(&read, sizeof(read));
    return LW_OK;
}

lw_status lw_identity_open(lw_env *env, const char *directory, lw_node_identity *identity) {
    return open_identity(env, directory, false, identity);
}

lw_status lw_identity_open_to_join(lw_env *env, const char *directory, lw_node_identity *identity) {
    return open_identity(env, directory, true, identity);
}

lw_status lw_identity_adopt(lw_env *env, const char *directory, const lw_shared_key *lattice,
                            lw_node_identity *identity) {
    LW_ASSERT(identity->lattice.epoch == 0);
    LW_ASSERT(lattice->epoch > 0);
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, directory, file_name));
    lw_node_identity adopted = *identity;
    adopted.lattice = *lattice;
    lw_status status = replace_file(env, directory, &adopted);
    if (status == LW_OK) {
        *identity = adopted;
    }
    lw_seal_wipe(&adopted, sizeof(adopted));
    return status;
}

lw_status lw_identity_set_keys(lw_env *env, const char *directory, const lw_shared_key *used,
                               const lw_shared_key *others, uint32_t other_count,
                               lw_node_identity *identity) {
    LW_ASSERT(used->epoch > 0 && other_count <= LW_OTHER_KEYS_MAX);
    LW_ASSERT(memcmp(used->id, identity->lattice.id, LW_SHARED_ID_SIZE) == 0);
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, directory, file_name));
    lw_node_identity changed = *identity;
    changed.lattice = *used;
    lw_seal_wipe(changed.others, sizeof(changed.others));
    changed.other_count = other_count;
    for (uint32_t index = 0; index < other_count; index++) {
        changed.others[index] = others[index];
    }
    lw_status status =
        LW_BUG(env, "identity.keys_unsaved") ? LW_OK : replace_file(env, directory, &changed);
    if (status == LW_OK) {
        *identity = changed;
    }
    lw_seal_wipe(&changed, sizeof(changed));
    return status;
}

const lw_shared_key *lw_identity_key(const lw_node_identity *identity, uint32_t epoch) {
    if (identity->lattice.epoch == epoch) {
        return &identity->lattice;
    }
    for (uint32_t index = 0; index < identity->other_count; index++) {
        if (identity->others[index].epoch == epoch) {
            return &identity->others[index];
        }
    }
    return NULL;
}

lw_status lw_identity_check(lw_env *env, const char *directory) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, directory, file_name));
    lw_node_identity identity = {0};
    bool old = false;
    lw_status status = read_file(env, path, &identity, &old);
    lw_seal_wipe(&identity, sizeof(identity));
    return status;
}
