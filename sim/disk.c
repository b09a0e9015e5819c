/* SPDX-License-Identifier: Apache-2.0 */
/* Files and their contents, and what goes wrong with them. */
#include "sim/disk.h"

#include <errno.h>

#include "sim/disk_private.h"

enum { SWEEP_EVERY = 16 };

/* ---- files ---------------------------------------------------------------------------------- */

lw_disk_file *lw_disk_add_file(lw_disk *disk, bool directory) {
    lw_disk_file *file = lw_allocate_zero(disk->memory, sizeof(*file));
    file->directory = directory;
    file->image = lw_image_in(disk->memory);
    disk->files = lw_disk_grow(disk->memory, disk->files, disk->file_count, &disk->file_capacity,
                               sizeof(lw_disk_file *));
    disk->files[disk->file_count++] = file;
    return file;
}

static void file_free(lw_disk *disk, lw_disk_file *file) {
    lw_image_reset(&file->image);
    lw_entries_reset(disk, &file->names);
    lw_entries_reset(disk, &file->durable);
    lw_free(disk->memory, file);
}

static void reach_entries(const lw_entries *names, lw_disk_file **queue, size_t *queued) {
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
        const lw_assignment *part = &disk->changes[index / 2].parts[index % 2];
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

void lw_disk_sweep(lw_disk *disk) {
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

void lw_disk_sweep_later(lw_disk *disk) {
    disk->unswept++;
    if (disk->unswept == SWEEP_EVERY) {
        disk->unswept = 0;
        lw_disk_sweep(disk);
    }
}

static uint64_t used_bytes(lw_disk *disk) {
    uint64_t used = 0;
    reach(disk, false);
    for (size_t index = 0; index < disk->file_count; index++) {
        used += disk->files[index]->reached ? disk->files[index]->image.size : 0;
    }
    return used;
}

bool lw_disk_out_of_space(lw_disk *disk, uint64_t more) {
    if (lw_dice_hit(&disk->dice, LW_FAULT_FULL)) {
        return true;
    }
    return disk->capacity != 0 && used_bytes(disk) + more > disk->capacity;
}

int lw_disk_left(lw_disk *disk, uint64_t *left) {
    if (disk->capacity == 0) {
        return EOPNOTSUPP;
    }
    uint64_t used = used_bytes(disk);
    *left = used < disk->capacity ? disk->capacity - used : 0;
    return 0;
}

lw_disk *lw_disk_open(lw_memory *memory, lw_chance chance, const lw_faults *faults,
                      uint64_t *hits) {
    lw_disk *disk = lw_allocate_zero(memory, sizeof(*disk));
    disk->memory = memory;
    disk->dice = lw_dice_of(chance, faults, hits);
    lw_disk_add_file(disk, true);
    return disk;
}

lw_dice *lw_disk_dice(lw_disk *disk) {
    return &disk->dice;
}

/* ---- open files ----------------------------------------------------------------------------- */

bool lw_disk_out_of_handles(lw_disk *disk) {
    return lw_dice_possible(&disk->dice, LW_FAULT_NO_HANDLES) &&
           lw_dice_hit(&disk->dice, LW_FAULT_NO_HANDLES);
}

int lw_disk_open_file(lw_disk *disk, const char *path, uint32_t flags, lw_disk_file **opened) {
    lw_disk_file *directory;
    if (lw_disk_out_of_handles(disk)) {
        return EMFILE;
    }
    char name[LW_PATH_SIZE];
    int error = lw_disk_find(disk, LW_DISK_VOLATILE, path, name, &directory);
    if (error != 0) {
        return error;
    }
    lw_disk_file *file = lw_entries_find(&directory->names, name);
    if (file == NULL) {
        if ((flags & LW_OPEN_CREATE) == 0) {
            return ENOENT;
        }
        if (lw_disk_out_of_space(disk, 0)) {
            return ENOSPC;
        }
        file = lw_disk_add_file(disk, false);
        lw_disk_add_name(disk, directory, name, file);
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
    if (file->opens == 0 && file->unlinked) {
        lw_disk_sweep(disk);
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
        lw_image_flip(&file->image, offset * 8 + lw_chance_below(&disk->dice.own, there * 8));
    }
    *count = lw_image_read(&file->image, offset, buffer, size);
    return 0;
}

/* Where a write lands that the disk misdirects: another block of the same file. */
static uint64_t misdirect(lw_disk *disk, const lw_disk_file *file, lw_bytes bytes) {
    uint64_t room = file->image.size > bytes.size ? file->image.size - bytes.size : 0;
    return lw_chance_below(&disk->dice.own, room / LW_CHUNK_SIZE + 1) * LW_CHUNK_SIZE;
}

int lw_disk_write(lw_disk *disk, lw_disk_file *file, uint64_t offset, lw_bytes bytes,
                  bool durable) {
    uint64_t end = offset + bytes.size;
    if (end > file->image.size && lw_disk_out_of_space(disk, end - file->image.size)) {
        return ENOSPC;
    }
    if (lw_dice_hit(&disk->dice, LW_FAULT_WRITE_ERROR)) {
        lw_image_tear(&file->image, offset, bytes, durable, &disk->dice.own);
        return EIO;
    }
    if (durable && (file->sync_broken || lw_dice_hit(&disk->dice, LW_FAULT_SYNC_ERROR))) {
        lw_image_write(&file->image, offset, bytes);
        lw_image_sync_failed(&file->image, &disk->dice.own);
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
        lw_image_sync_failed(&file->image, &disk->dice.own);
        return EIO;
    }
    lw_image_sync(&file->image);
    return 0;
}

int lw_disk_resize(lw_disk *disk, lw_disk_file *file, uint64_t size) {
    if (size > file->image.size && lw_disk_out_of_space(disk, size - file->image.size)) {
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

void lw_disk_power_loss(lw_disk *disk) {
    lw_disk_sweep(disk); /* what is lost is not drawn for what nobody can see */
    lw_disk_lose_names(disk);
    for (size_t index = 0; index < disk->file_count; index++) {
        lw_disk_file *file = disk->files[index];
        file->opens = 0;
        file->lock_owner = NULL;
        file->sync_broken = false;
    }
    lw_disk_sweep(disk);
    for (size_t index = 0; index < disk->file_count; index++) {
        lw_image_power_loss(&disk->files[index]->image, &disk->dice);
    }
}

void lw_disk_evict(lw_disk *disk) {
    for (size_t index = 0; index < disk->file_count; index++) {
        lw_image_evict(&disk->files[index]->image, &disk->dice.chance);
    }
}

/* ---- for tests ------------------------------------------------------------------------------ */

void lw_disk_set_capacity(lw_disk *disk, uint64_t capacity) {
    disk->capacity = capacity;
}

/* A directory that is being walked, and how far. */
typedef struct walk {
    const lw_entries *names;
    size_t next;
    size_t path_size; /* of its own path in the buffer */
} walk;
enum { DIRECTORY_DEPTH_MAX = 32 };

void lw_disk_paths(lw_disk *disk, lw_disk_view view, lw_buffer *paths) {
    walk walks[DIRECTORY_DEPTH_MAX] = {{.names = lw_disk_names_of(disk->files[0], view)}};
    char path[LW_PATH_SIZE] = "";
    for (size_t depth = 1; depth > 0;) {
        walk *at = &walks[depth - 1];
        path[at->path_size] = '\0';
        if (at->next == at->names->count) {
            depth--;
            continue;
        }
        const lw_entry *each = &at->names->items[at->next++];
        LW_ASSERT(at->path_size + strlen(each->name) + 2 < sizeof(path));
        strcat(strcat(path, at->path_size > 0 ? "/" : ""), each->name);
        if (each->file->directory) {
            LW_ASSERT(depth < DIRECTORY_DEPTH_MAX);
            walks[depth++] =
                (walk){.names = lw_disk_names_of(each->file, view), .path_size = strlen(path)};
        } else {
            lw_buffer_append(paths, lw_view(path, strlen(path) + 1));
        }
    }
}

bool lw_disk_contents(lw_disk *disk, lw_disk_view view, const char *path, lw_buffer *contents) {
    lw_disk_file *file;
    if (lw_disk_find(disk, view, path, NULL, &file) != 0 || file->directory) {
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
    int error = lw_disk_find(disk, LW_DISK_VOLATILE, path, NULL, &file);
    LW_ASSERT(error == 0 && !file->directory);
    lw_image_flip(&file->image, bit);
}
