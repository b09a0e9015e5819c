/* SPDX-License-Identifier: Apache-2.0 */
/* Directories, and the journal of name changes that are not durable yet. */
#include <errno.h>

#include "sim/disk_private.h"

/* ---- directories ---------------------------------------------------------------------------- */

static char *copy_name(lw_disk *disk, const char *name) {
    return memcpy(lw_allocate(disk->memory, strlen(name) + 1), name, strlen(name) + 1);
}

/* Where `name` is or belongs. */
static size_t entries_seek(const lw_entries *names, const char *name) {
    size_t low = 0, high = names->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(names->items[middle].name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

lw_disk_file *lw_entries_find(const lw_entries *names, const char *name) {
    size_t place = entries_seek(names, name);
    bool found = place < names->count && strcmp(names->items[place].name, name) == 0;
    return found ? names->items[place].file : NULL;
}

static void entries_set(lw_disk *disk, lw_entries *names, const char *name, lw_disk_file *file) {
    size_t place = entries_seek(names, name);
    bool found = place < names->count && strcmp(names->items[place].name, name) == 0;
    if (found && file != NULL) {
        names->items[place].file = file;
    } else if (found) {
        lw_free(disk->memory, names->items[place].name);
        names->count--;
        memmove(&names->items[place], &names->items[place + 1],
                (names->count - place) * sizeof(lw_entry));
    } else if (file != NULL) {
        names->items = lw_disk_grow(disk->memory, names->items, names->count, &names->capacity,
                                    sizeof(lw_entry));
        memmove(&names->items[place + 1], &names->items[place],
                (names->count - place) * sizeof(lw_entry));
        names->items[place] = (lw_entry){.name = copy_name(disk, name), .file = file};
        names->count++;
    }
}

void lw_entries_reset(lw_disk *disk, lw_entries *names) {
    for (size_t index = 0; index < names->count; index++) {
        lw_free(disk->memory, names->items[index].name);
    }
    lw_free(disk->memory, names->items);
    *names = (lw_entries){.items = NULL};
}

/* The next component of a path, copied; false at its end. "." and empty ones are skipped. */
static bool next_component(const char **path, char name[LW_PATH_SIZE]) {
    for (;;) {
        *path += strspn(*path, "/");
        size_t size = strcspn(*path, "/");
        LW_ASSERT(size < LW_PATH_SIZE);
        if (size == 0) {
            return false;
        }
        memcpy(name, *path, size);
        name[size] = '\0';
        *path += size;
        LW_ASSERT(strcmp(name, "..") != 0);
        if (strcmp(name, ".") != 0) {
            return true;
        }
    }
}

int lw_disk_find(lw_disk *disk, lw_disk_view view, const char *path, char *last,
                 lw_disk_file **found) {
    LW_ASSERT(path != NULL && strlen(path) < LW_PATH_SIZE);
    lw_disk_file *at = disk->files[0];
    char name[LW_PATH_SIZE], following[LW_PATH_SIZE];
    bool more = next_component(&path, name);
    if (!more && last != NULL) {
        return EISDIR;
    }
    while (more) {
        if (!at->directory) {
            return ENOTDIR;
        }
        more = next_component(&path, following);
        if (!more && last != NULL) {
            memcpy(last, name, sizeof(name));
            break;
        }
        at = lw_entries_find(lw_disk_names_of(at, view), name);
        if (at == NULL) {
            return ENOENT;
        }
        memcpy(name, following, sizeof(name));
    }
    *found = at;
    return 0;
}

/* ---- changing names ------------------------------------------------------------------------- */

/* Starts a change; `assign` fills it. */
static lw_change *change_add(lw_disk *disk) {
    disk->changes = lw_disk_grow(disk->memory, disk->changes, disk->change_count,
                                 &disk->change_capacity, sizeof(lw_change));
    lw_change *added = &disk->changes[disk->change_count++];
    *added = (lw_change){.parts[0].directory = NULL};
    return added;
}

static void assign(lw_disk *disk, lw_assignment *part, lw_disk_file *directory, const char *name,
                   lw_disk_file *file) {
    *part = (lw_assignment){.directory = directory, .name = copy_name(disk, name), .file = file};
    entries_set(disk, &directory->names, name, file);
}

void lw_disk_add_name(lw_disk *disk, lw_disk_file *directory, const char *name,
                      lw_disk_file *file) {
    assign(disk, &change_add(disk)->parts[0], directory, name, file);
}

/* Both ends of a rename or a link; `file` must exist. */
typedef struct move {
    lw_disk_file *from_directory, *to_directory, *file;
    char from[LW_PATH_SIZE], to[LW_PATH_SIZE];
} move;

static int find_move(lw_disk *disk, const char *from, const char *to, move *found) {
    int error = lw_disk_find(disk, LW_DISK_VOLATILE, from, found->from, &found->from_directory);
    if (error == 0) {
        error = lw_disk_find(disk, LW_DISK_VOLATILE, to, found->to, &found->to_directory);
    }
    if (error != 0) {
        return error;
    }
    found->file = lw_entries_find(&found->from_directory->names, found->from);
    return found->file == NULL ? ENOENT : 0;
}

int lw_disk_rename(lw_disk *disk, const char *from, const char *to) {
    move found;
    int error = find_move(disk, from, to, &found);
    if (error != 0) {
        return error;
    }
    lw_disk_file *replaced = lw_entries_find(&found.to_directory->names, found.to);
    if (replaced == found.file) {
        return 0;
    }
    if (replaced != NULL && replaced->directory) {
        return EISDIR;
    }
    if (replaced != NULL) {
        replaced->unlinked = true;
    }
    lw_change *added = change_add(disk);
    assign(disk, &added->parts[0], found.from_directory, found.from, NULL);
    assign(disk, &added->parts[1], found.to_directory, found.to, found.file);
    return 0;
}

int lw_disk_link(lw_disk *disk, const char *from, const char *to) {
    move found;
    int error = find_move(disk, from, to, &found);
    if (error != 0) {
        return error;
    }
    if (found.file->directory) {
        return EPERM;
    }
    if (lw_entries_find(&found.to_directory->names, found.to) != NULL) {
        return EEXIST;
    }
    if (lw_disk_out_of_space(disk, 0)) {
        return ENOSPC;
    }
    lw_disk_add_name(disk, found.to_directory, found.to, found.file);
    return 0;
}

int lw_disk_unlink(lw_disk *disk, const char *path) {
    lw_disk_file *directory;
    char name[LW_PATH_SIZE];
    int error = lw_disk_find(disk, LW_DISK_VOLATILE, path, name, &directory);
    if (error != 0) {
        return error;
    }
    lw_disk_file *file = lw_entries_find(&directory->names, name);
    if (file == NULL || file->directory) {
        return file == NULL ? ENOENT : EISDIR;
    }
    file->unlinked = true;
    assign(disk, &change_add(disk)->parts[0], directory, name, NULL);
    return 0;
}

int lw_disk_mkdir(lw_disk *disk, const char *path) {
    lw_disk_file *directory;
    char name[LW_PATH_SIZE];
    int error = lw_disk_find(disk, LW_DISK_VOLATILE, path, name, &directory);
    if (error != 0) {
        return error == EISDIR ? 0 : error;
    }
    const lw_disk_file *found = lw_entries_find(&directory->names, name);
    if (found != NULL) {
        return found->directory ? 0 : ENOTDIR;
    }
    if (lw_disk_out_of_space(disk, 0)) {
        return ENOSPC;
    }
    lw_disk_add_name(disk, directory, name, lw_disk_add_file(disk, true));
    return 0;
}

int lw_disk_list(lw_disk *disk, const char *path, lw_buffer *names) {
    lw_disk_file *directory;
    int error = lw_disk_find(disk, LW_DISK_VOLATILE, path, NULL, &directory);
    if (error != 0) {
        return error;
    }
    if (!directory->directory) {
        return ENOTDIR;
    }
    for (size_t index = 0; index < directory->names.count; index++) {
        const char *name = directory->names.items[index].name;
        lw_buffer_append(names, lw_view(name, strlen(name) + 1));
    }
    return 0;
}

/* Puts an assignment on the platter. */
static void commit(lw_disk *disk, lw_assignment *part) {
    entries_set(disk, &part->directory->durable, part->name, part->file);
    part->directory = NULL;
}

/* Takes out the changes of which nothing is left to commit. */
static void drop_durable_changes(lw_disk *disk) {
    size_t kept = 0;
    for (size_t index = 0; index < disk->change_count; index++) {
        lw_change *each = &disk->changes[index];
        if (each->parts[0].directory != NULL || each->parts[1].directory != NULL) {
            disk->changes[kept++] = *each;
        } else {
            lw_free(disk->memory, each->parts[0].name);
            lw_free(disk->memory, each->parts[1].name);
        }
    }
    disk->change_count = kept;
}

int lw_disk_sync_directory(lw_disk *disk, const char *path) {
    lw_disk_file *directory;
    int error = lw_disk_find(disk, LW_DISK_VOLATILE, path, NULL, &directory);
    if (error != 0) {
        return error;
    }
    if (!directory->directory) {
        return ENOTDIR;
    }
    if (lw_disk_out_of_handles(disk)) {
        return EMFILE;
    }
    if (lw_dice_hit(&disk->dice, LW_FAULT_SYNC_ERROR)) {
        return EIO;
    }
    for (size_t index = 0; index < disk->change_count * 2; index++) {
        lw_assignment *part = &disk->changes[index / 2].parts[index % 2];
        if (part->directory == directory) {
            commit(disk, part);
        }
    }
    drop_durable_changes(disk);
    lw_disk_sweep_later(disk);
    return 0;
}

/* ---- losing --------------------------------------------------------------------------------- */

static void forget_changes(lw_disk *disk) {
    for (size_t index = 0; index < disk->change_count * 2; index++) {
        lw_free(disk->memory, disk->changes[index / 2].parts[index % 2].name);
    }
    disk->change_count = 0;
}

/* Whether both directories of a change still keep changes; one that does not keeps none after. */
static bool keep_in_order(lw_change *each) {
    bool keep = true;
    for (size_t side = 0; side < 2; side++) {
        const lw_disk_file *directory = each->parts[side].directory;
        keep = keep && (directory == NULL || directory->changes_kept > 0);
    }
    for (size_t side = 0; side < 2; side++) {
        lw_disk_file *directory = each->parts[side].directory;
        if (directory != NULL && (side == 0 || directory != each->parts[0].directory)) {
            directory->changes_kept = keep ? directory->changes_kept - 1 : 0;
        }
    }
    return keep;
}

/* Commits those changes that survive. */
static void keep_some_names(lw_disk *disk) {
    bool in_order = lw_chance_percent(&disk->dice.chance, 50);
    for (size_t index = 0; index < disk->file_count; index++) {
        disk->files[index]->changes_kept =
            (uint32_t)lw_chance_between(&disk->dice.chance, 0, disk->change_count);
    }
    for (size_t index = 0; index < disk->change_count; index++) {
        lw_change *each = &disk->changes[index];
        bool keep = in_order ? keep_in_order(each) : lw_chance_percent(&disk->dice.chance, 50);
        for (size_t side = 0; keep && side < 2; side++) {
            if (each->parts[side].directory != NULL) {
                commit(disk, &each->parts[side]);
            }
        }
    }
    forget_changes(disk);
}

/* From now on the machine sees what is on the platter. */
static void names_from_platter(lw_disk *disk, lw_disk_file *directory) {
    lw_entries_reset(disk, &directory->names);
    for (size_t index = 0; index < directory->durable.count; index++) {
        const lw_entry *each = &directory->durable.items[index];
        entries_set(disk, &directory->names, each->name, each->file);
    }
}

void lw_disk_lose_names(lw_disk *disk) {
    keep_some_names(disk);
    for (size_t index = 0; index < disk->file_count; index++) {
        names_from_platter(disk, disk->files[index]);
    }
}
