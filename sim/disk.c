/* SPDX-License-Identifier: Apache-2.0 */
/* Files, names, and the journal of name changes that are not durable yet. */
#include "sim/disk.h"

#include <errno.h>

#include "base/env.h"

/* The names of a directory, sorted. */
typedef struct entry {
    char *name;
    lw_disk_file *file;
} entry;
typedef struct entries {
    entry *items;
    size_t count, capacity;
} entries;

struct lw_disk_file {
    bool directory;
    bool reached;     /* while sweeping */
    bool sync_broken; /* a sync failed for good */
    uint32_t opens;
    const void *lock_owner;
    lw_image image;         /* of a file */
    entries names, durable; /* of a directory: as seen, and on the platter */
    uint32_t changes_kept;  /* while power is lost: how many changes here survive */
};

/* "`name` in `directory` now means `file`" (NULL: nothing). */
typedef struct assignment {
    lw_disk_file *directory; /* NULL: durable already */
    char *name;
    lw_disk_file *file;
} assignment;
/* One call that changed names; a rename has two assignments. */
typedef struct change {
    assignment parts[2];
} change;

struct lw_disk {
    lw_memory *memory;
    lw_dice dice;
    uint64_t capacity;
    lw_disk_file **files; /* the root first */
    size_t file_count, file_capacity;
    change *changes; /* oldest first */
    size_t change_count, change_capacity;
};

/* ---- names ---------------------------------------------------------------------------------- */

/* Room for one more in an array that doubles. */
static void *grow(lw_memory *memory, void *items, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity == 0 ? 8 : *capacity * 2;
    return lw_reallocate(memory, items, *capacity * size);
}

static char *copy_name(lw_disk *disk, const char *name) {
    return memcpy(lw_allocate(disk->memory, strlen(name) + 1), name, strlen(name) + 1);
}

/* Where `name` is or belongs. */
static size_t entries_seek(const entries *names, const char *name) {
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

static lw_disk_file *entries_find(const entries *names, const char *name) {
    size_t place = entries_seek(names, name);
    bool found = place < names->count && strcmp(names->items[place].name, name) == 0;
    return found ? names->items[place].file : NULL;
}

static void entries_set(lw_disk *disk, entries *names, const char *name, lw_disk_file *file) {
    size_t place = entries_seek(names, name);
    bool found = place < names->count && strcmp(names->items[place].name, name) == 0;
    if (found && file != NULL) {
        names->items[place].file = file;
    } else if (found) {
        lw_free(disk->memory, names->items[place].name);
        names->count--;
        memmove(&names->items[place], &names->items[place + 1],
                (names->count - place) * sizeof(entry));
    } else if (file != NULL) {
        names->items =
            grow(disk->memory, names->items, names->count, &names->capacity, sizeof(entry));
        memmove(&names->items[place + 1], &names->items[place],
                (names->count - place) * sizeof(entry));
        names->items[place] = (entry){.name = copy_name(disk, name), .file = file};
        names->count++;
    }
}

static void entries_reset(lw_disk *disk, entries *names) {
    for (size_t index = 0; index < names->count; index++) {
        lw_free(disk->memory, names->items[index].name);
    }
    lw_free(disk->memory, names->items);
    *names = (entries){.items = NULL};
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

static const entries *names_of(const lw_disk_file *directory, lw_disk_view view) {
    return view == LW_DISK_VOLATILE ? &directory->names : &directory->durable;
}

/* What a path leads to. `last`, if not NULL, is left off and copied there: then the result is the
 * directory it belongs in, and the last name may not exist. */
static int find(lw_disk *disk, lw_disk_view view, const char *path, char *last,
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
        at = entries_find(names_of(at, view), name);
        if (at == NULL) {
            return ENOENT;
        }
        memcpy(name, following, sizeof(name));
    }
    *found = at;
    return 0;
}

/* ---- files ---------------------------------------------------------------------------------- */

static lw_disk_file *file_add(lw_disk *disk, bool directory) {
    lw_disk_file *file = lw_allocate_zero(disk->memory, sizeof(*file));
    file->directory = directory;
    file->image = lw_image_in(disk->memory);
    disk->files = grow(disk->memory, disk->files, disk->file_count, &disk->file_capacity,
                       sizeof(lw_disk_file *));
    disk->files[disk->file_count++] = file;
    return file;
}

static void file_free(lw_disk *disk, lw_disk_file *file) {
    lw_image_reset(&file->image);
    entries_reset(disk, &file->names);
    entries_reset(disk, &file->durable);
    lw_free(disk->memory, file);
}

static void reach_entries(const entries *names, lw_disk_file **queue, size_t *queued) {
    for (size_t index = 0; index < names->count; index++) {
        lw_disk_file *file = names->items[index].file;
        if (!file->reached) {
            file->reached = true;
            queue[(*queued)++] = file;
        }
    }
}

/* Marks what can be reached from the root as the machine sees it, and from open files; with
 * `durable` also what a power loss could bring back. */
static void reach(lw_disk *disk, bool durable) {
    lw_disk_file **queue = lw_allocate(disk->memory, disk->file_count * sizeof(lw_disk_file *));
    size_t queued = 0;
    for (size_t index = 0; index < disk->file_count; index++) {
        lw_disk_file *file = disk->files[index];
        file->reached = index == 0 || file->opens > 0;
        if (file->reached) {
            queue[queued++] = file;
        }
    }
    for (size_t index = 0; durable && index < disk->change_count * 2; index++) {
        const assignment *part = &disk->changes[index / 2].parts[index % 2];
        lw_disk_file *both[2] = {part->directory, part->file};
        for (size_t side = 0; part->directory != NULL && side < 2; side++) {
            if (both[side] != NULL && !both[side]->reached) {
                both[side]->reached = true;
                queue[queued++] = both[side];
            }
        }
    }
    for (size_t index = 0; index < queued; index++) {
        reach_entries(&queue[index]->names, queue, &queued);
        if (durable) {
            reach_entries(&queue[index]->durable, queue, &queued);
        }
    }
    lw_free(disk->memory, queue);
}

/* Frees the files that nothing refers to. */
static void sweep(lw_disk *disk) {
    reach(disk, true);
    size_t kept = 0;
    for (size_t index = 0; index < disk->file_count; index++) {
        lw_disk_file *file = disk->files[index];
        if (file->reached) {
            disk->files[kept++] = file;
        } else {
            file_free(disk, file);
        }
    }
    disk->file_count = kept;
}

/* Whether `more` bytes do not fit. */
static bool out_of_space(lw_disk *disk, uint64_t more) {
    if (lw_dice_hit(&disk->dice, LW_FAULT_FULL)) {
        return true;
    }
    if (disk->capacity == 0) {
        return false;
    }
    uint64_t used = 0;
    reach(disk, false);
    for (size_t index = 0; index < disk->file_count; index++) {
        used += disk->files[index]->reached ? disk->files[index]->image.size : 0;
    }
    return used + more > disk->capacity;
}

lw_disk *lw_disk_open(lw_memory *memory, lw_chance chance, const lw_faults *faults,
                      uint64_t *hits) {
    lw_disk *disk = lw_allocate_zero(memory, sizeof(*disk));
    disk->memory = memory;
    disk->dice = lw_dice_of(chance, faults, hits);
    file_add(disk, true);
    return disk;
}

static void forget_changes(lw_disk *disk) {
    for (size_t index = 0; index < disk->change_count * 2; index++) {
        lw_free(disk->memory, disk->changes[index / 2].parts[index % 2].name);
    }
    disk->change_count = 0;
}

lw_dice *lw_disk_dice(lw_disk *disk) {
    return &disk->dice;
}

/* ---- changing names ------------------------------------------------------------------------- */

/* Starts a change; `assign` fills it. */
static change *change_add(lw_disk *disk) {
    disk->changes = grow(disk->memory, disk->changes, disk->change_count, &disk->change_capacity,
                         sizeof(change));
    change *added = &disk->changes[disk->change_count++];
    *added = (change){.parts[0].directory = NULL};
    return added;
}

static void assign(lw_disk *disk, assignment *part, lw_disk_file *directory, const char *name,
                   lw_disk_file *file) {
    *part = (assignment){.directory = directory, .name = copy_name(disk, name), .file = file};
    entries_set(disk, &directory->names, name, file);
}

/* Both ends of a rename or a link; `file` must exist. */
typedef struct move {
    lw_disk_file *from_directory, *to_directory, *file;
    char from[LW_PATH_SIZE], to[LW_PATH_SIZE];
} move;

static int find_move(lw_disk *disk, const char *from, const char *to, move *found) {
    int error = find(disk, LW_DISK_VOLATILE, from, found->from, &found->from_directory);
    if (error == 0) {
        error = find(disk, LW_DISK_VOLATILE, to, found->to, &found->to_directory);
    }
    if (error != 0) {
        return error;
    }
    found->file = entries_find(&found->from_directory->names, found->from);
    return found->file == NULL ? ENOENT : 0;
}

int lw_disk_rename(lw_disk *disk, const char *from, const char *to) {
    move found;
    int error = find_move(disk, from, to, &found);
    if (error != 0) {
        return error;
    }
    lw_disk_file *replaced = entries_find(&found.to_directory->names, found.to);
    if (replaced == found.file) {
        return 0;
    }
    if (replaced != NULL && replaced->directory) {
        return EISDIR;
    }
    change *added = change_add(disk);
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
    if (entries_find(&found.to_directory->names, found.to) != NULL) {
        return EEXIST;
    }
    if (out_of_space(disk, 0)) {
        return ENOSPC;
    }
    assign(disk, &change_add(disk)->parts[0], found.to_directory, found.to, found.file);
    return 0;
}

int lw_disk_unlink(lw_disk *disk, const char *path) {
    lw_disk_file *directory;
    char name[LW_PATH_SIZE];
    int error = find(disk, LW_DISK_VOLATILE, path, name, &directory);
    if (error != 0) {
        return error;
    }
    const lw_disk_file *file = entries_find(&directory->names, name);
    if (file == NULL || file->directory) {
        return file == NULL ? ENOENT : EISDIR;
    }
    assign(disk, &change_add(disk)->parts[0], directory, name, NULL);
    return 0;
}

int lw_disk_mkdir(lw_disk *disk, const char *path) {
    lw_disk_file *directory;
    char name[LW_PATH_SIZE];
    int error = find(disk, LW_DISK_VOLATILE, path, name, &directory);
    if (error != 0) {
        return error == EISDIR ? 0 : error;
    }
    const lw_disk_file *found = entries_find(&directory->names, name);
    if (found != NULL) {
        return found->directory ? 0 : ENOTDIR;
    }
    if (out_of_space(disk, 0)) {
        return ENOSPC;
    }
    assign(disk, &change_add(disk)->parts[0], directory, name, file_add(disk, true));
    return 0;
}

int lw_disk_list(lw_disk *disk, const char *path, lw_buffer *names) {
    lw_disk_file *directory;
    int error = find(disk, LW_DISK_VOLATILE, path, NULL, &directory);
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
static void commit(lw_disk *disk, assignment *part) {
    entries_set(disk, &part->directory->durable, part->name, part->file);
    part->directory = NULL;
}

/* Takes out the changes of which nothing is left to commit. */
static void drop_durable_changes(lw_disk *disk) {
    size_t kept = 0;
    for (size_t index = 0; index < disk->change_count; index++) {
        change *each = &disk->changes[index];
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
    int error = find(disk, LW_DISK_VOLATILE, path, NULL, &directory);
    if (error != 0) {
        return error;
    }
    if (!directory->directory) {
        return ENOTDIR;
    }
    if (lw_dice_hit(&disk->dice, LW_FAULT_SYNC_ERROR)) {
        return EIO;
    }
    for (size_t index = 0; index < disk->change_count * 2; index++) {
        assignment *part = &disk->changes[index / 2].parts[index % 2];
        if (part->directory == directory) {
            commit(disk, part);
        }
    }
    drop_durable_changes(disk);
    sweep(disk);
    return 0;
}

/* ---- open files ----------------------------------------------------------------------------- */

int lw_disk_open_file(lw_disk *disk, const char *path, uint32_t flags, lw_disk_file **opened) {
    lw_disk_file *directory;
    char name[LW_PATH_SIZE];
    int error = find(disk, LW_DISK_VOLATILE, path, name, &directory);
    if (error != 0) {
        return error;
    }
    lw_disk_file *file = entries_find(&directory->names, name);
    if (file == NULL) {
        if ((flags & LW_OPEN_CREATE) == 0) {
            return ENOENT;
        }
        if (out_of_space(disk, 0)) {
            return ENOSPC;
        }
        file = file_add(disk, false);
        assign(disk, &change_add(disk)->parts[0], directory, name, file);
    } else if ((flags & LW_OPEN_CREATE) != 0 && (flags & LW_OPEN_EXCLUSIVE) != 0) {
        return EEXIST;
    } else if (file->directory) {
        return EISDIR;
    }
    file->opens++;
    *opened = file;
    return 0;
}

void lw_disk_close_file(lw_disk *disk, lw_disk_file *file, const void *owner) {
    LW_ASSERT(file->opens > 0);
    if (file->lock_owner == owner) {
        file->lock_owner = NULL;
    }
    file->opens--;
    if (file->opens == 0) {
        sweep(disk);
    }
}

int lw_disk_lock(lw_disk_file *file, const void *owner) {
    if (file->lock_owner != NULL && file->lock_owner != owner) {
        return EBUSY;
    }
    file->lock_owner = owner;
    return 0;
}

uint64_t lw_disk_size(const lw_disk_file *file) {
    return file->image.size;
}

int lw_disk_read(lw_disk *disk, lw_disk_file *file, uint64_t offset, void *buffer, size_t size,
                 uint64_t *count) {
    if (lw_dice_hit(&disk->dice, LW_FAULT_READ_ERROR)) {
        return EIO;
    }
    if (offset < file->image.size && size > 0 && lw_dice_hit(&disk->dice, LW_FAULT_BIT_FLIP)) {
        uint64_t there = file->image.size - offset;
        there = there < size ? there : size;
        lw_image_flip(&file->image, offset * 8 + lw_chance_below(&disk->dice.chance, there * 8));
    }
    *count = lw_image_read(&file->image, offset, buffer, size);
    return 0;
}

/* Where a write lands that the disk misdirects: another block of the same file. */
static uint64_t misdirect(lw_disk *disk, const lw_disk_file *file, lw_bytes bytes) {
    uint64_t room = file->image.size > bytes.size ? file->image.size - bytes.size : 0;
    return lw_chance_below(&disk->dice.chance, room / LW_CHUNK_SIZE + 1) * LW_CHUNK_SIZE;
}

int lw_disk_write(lw_disk *disk, lw_disk_file *file, uint64_t offset, lw_bytes bytes,
                  bool durable) {
    uint64_t end = offset + bytes.size;
    if (end > file->image.size && out_of_space(disk, end - file->image.size)) {
        return ENOSPC;
    }
    if (lw_dice_hit(&disk->dice, LW_FAULT_WRITE_ERROR) ||
        (durable && (file->sync_broken || lw_dice_hit(&disk->dice, LW_FAULT_SYNC_ERROR)))) {
        lw_image_tear(&file->image, offset, bytes, durable, &disk->dice.chance);
        return EIO;
    }
    if (lw_dice_hit(&disk->dice, LW_FAULT_LOST_WRITE)) {
        lw_image_resize(&file->image, end > file->image.size ? end : file->image.size);
        return 0;
    }
    if (lw_dice_hit(&disk->dice, LW_FAULT_MISDIRECTED_WRITE)) {
        offset = misdirect(disk, file, bytes);
    }
    if (durable) {
        lw_image_write_durable(&file->image, offset, bytes);
    } else {
        lw_image_write(&file->image, offset, bytes);
    }
    return 0;
}

int lw_disk_sync(lw_disk *disk, lw_disk_file *file) {
    if (file->sync_broken || lw_dice_hit(&disk->dice, LW_FAULT_SYNC_ERROR)) {
        file->sync_broken = file->sync_broken || lw_dice_hit(&disk->dice, LW_FAULT_SYNC_STICKY);
        lw_image_sync_failed(&file->image, &disk->dice.chance);
        return EIO;
    }
    lw_image_sync(&file->image);
    return 0;
}

int lw_disk_resize(lw_disk *disk, lw_disk_file *file, uint64_t size) {
    if (size > file->image.size && out_of_space(disk, size - file->image.size)) {
        return ENOSPC;
    }
    lw_image_resize(&file->image, size);
    return 0;
}

/* ---- losing --------------------------------------------------------------------------------- */

void lw_disk_tear_write(lw_disk *disk, lw_disk_file *file, uint64_t offset, lw_bytes bytes,
                        bool durable) {
    lw_image_tear(&file->image, offset, bytes, durable, &disk->dice.chance);
}

void lw_disk_tear_sync(lw_disk *disk, lw_disk_file *file) {
    lw_image_sync_torn(&file->image, &disk->dice.chance);
}

/* Whether both directories of a change still keep changes; one that does not keeps none after. */
static bool keep_in_order(change *each) {
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

static void keep_some_names(lw_disk *disk) {
    bool in_order = lw_chance_percent(&disk->dice.chance, 50);
    for (size_t index = 0; index < disk->file_count; index++) {
        disk->files[index]->changes_kept =
            (uint32_t)lw_chance_between(&disk->dice.chance, 0, disk->change_count);
    }
    for (size_t index = 0; index < disk->change_count; index++) {
        change *each = &disk->changes[index];
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
    entries_reset(disk, &directory->names);
    for (size_t index = 0; index < directory->durable.count; index++) {
        const entry *each = &directory->durable.items[index];
        entries_set(disk, &directory->names, each->name, each->file);
    }
}

void lw_disk_power_loss(lw_disk *disk) {
    keep_some_names(disk);
    for (size_t index = 0; index < disk->file_count; index++) {
        lw_disk_file *file = disk->files[index];
        file->opens = 0;
        file->lock_owner = NULL;
        file->sync_broken = false;
        names_from_platter(disk, file);
    }
    sweep(disk);
    for (size_t index = 0; index < disk->file_count; index++) {
        lw_image_power_loss(&disk->files[index]->image, &disk->dice);
    }
}

void lw_disk_evict(lw_disk *disk) {
    for (size_t index = 0; index < disk->file_count; index++) {
        lw_image_evict(&disk->files[index]->image, &disk->dice.chance);
    }
}

/* ---- for tests ------------------------------------------------------------------------------- */

void lw_disk_set_capacity(lw_disk *disk, uint64_t capacity) {
    disk->capacity = capacity;
}

/* A directory that is being walked, and how far. */
typedef struct walk {
    const entries *names;
    size_t next;
    size_t path_size; /* of its own path in the buffer */
} walk;
enum { DIRECTORY_DEPTH_MAX = 32 };

void lw_disk_paths(lw_disk *disk, lw_disk_view view, lw_buffer *paths) {
    walk walks[DIRECTORY_DEPTH_MAX] = {{.names = names_of(disk->files[0], view)}};
    char path[LW_PATH_SIZE] = "";
    for (size_t depth = 1; depth > 0;) {
        walk *at = &walks[depth - 1];
        path[at->path_size] = '\0';
        if (at->next == at->names->count) {
            depth--;
            continue;
        }
        const entry *each = &at->names->items[at->next++];
        LW_ASSERT(at->path_size + strlen(each->name) + 2 < sizeof(path));
        strcat(strcat(path, at->path_size > 0 ? "/" : ""), each->name);
        if (each->file->directory) {
            LW_ASSERT(depth < DIRECTORY_DEPTH_MAX);
            walks[depth++] = (walk){.names = names_of(each->file, view), .path_size = strlen(path)};
        } else {
            lw_buffer_append(paths, lw_view(path, strlen(path) + 1));
        }
    }
}

bool lw_disk_contents(lw_disk *disk, lw_disk_view view, const char *path, lw_buffer *contents) {
    lw_disk_file *file;
    if (find(disk, view, path, NULL, &file) != 0 || file->directory) {
        return false;
    }
    if (view == LW_DISK_VOLATILE) {
        size_t size = (size_t)file->image.size;
        contents->size += lw_image_read(&file->image, 0, lw_buffer_reserve(contents, size), size);
    } else {
        size_t size = (size_t)file->image.durable_size;
        contents->size +=
            lw_image_read_durable(&file->image, 0, lw_buffer_reserve(contents, size), size);
    }
    return true;
}

void lw_disk_flip(lw_disk *disk, const char *path, uint64_t bit) {
    lw_disk_file *file;
    int error = find(disk, LW_DISK_VOLATILE, path, NULL, &file);
    LW_ASSERT(error == 0 && !file->directory);
    lw_image_flip(&file->image, bit);
}
