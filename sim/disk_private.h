/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the simulated disk share: disk.c keeps files and their contents, names.c
 * keeps directories and the journal of name changes that are not durable yet. */
#ifndef LW_SIM_DISK_PRIVATE_H
#define LW_SIM_DISK_PRIVATE_H

#include "base/env.h"
#include "sim/disk.h"

/* The names of a directory, sorted. */
typedef struct lw_entry {
    char *name;
    lw_disk_file *file;
} lw_entry;
typedef struct lw_entries {
    lw_entry *items;
    size_t count, capacity;
} lw_entries;

struct lw_disk_file {
    bool directory;
    bool reached;     /* while sweeping */
    bool unlinked;    /* it lost a name: perhaps nothing but who has it open refers to it */
    bool sync_broken; /* a sync failed for good */
    uint32_t opens;
    const void *lock_owner;
    lw_image image;            /* of a file */
    lw_entries names, durable; /* of a directory: as seen, and on the platter */
    uint32_t changes_kept;     /* while power is lost: how many changes here survive */
};

/* "`name` in `directory` now means `file`" (NULL: nothing). */
typedef struct lw_assignment {
    lw_disk_file *directory; /* NULL: durable already */
    char *name;
    lw_disk_file *file;
} lw_assignment;
/* One call that changed names; a rename has two assignments. */
typedef struct lw_change {
    lw_assignment parts[2];
} lw_change;

struct lw_disk {
    lw_memory *memory;
    lw_dice dice;
    uint64_t capacity;
    lw_disk_file **files; /* the root first */
    size_t file_count, file_capacity;
    lw_change *changes; /* oldest first */
    size_t change_count, change_capacity;
    uint32_t unswept; /* how often something may have become unreachable since the last sweep */
};

/* Room for one more in an array that doubles. */
static inline void *lw_disk_grow(lw_memory *memory, void *items, size_t count, size_t *capacity,
                                 size_t size) {
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity == 0 ? 8 : *capacity * 2;
    return lw_reallocate(memory, items, *capacity * size);
}

static inline const lw_entries *lw_disk_names_of(const lw_disk_file *directory, lw_disk_view view) {
    return view == LW_DISK_VOLATILE ? &directory->names : &directory->durable;
}

/* ---- disk.c --------------------------------------------------------------------------------- */

/* A file, or an empty directory, that nothing refers to yet. */
lw_disk_file *lw_disk_add_file(lw_disk *disk, bool directory);
/* Frees the files that nothing refers to. */
void lw_disk_sweep(lw_disk *disk);
/* The same, but not at every call: it looks at all files. */
void lw_disk_sweep_later(lw_disk *disk);
/* Whether `more` bytes do not fit. */
bool lw_disk_out_of_space(lw_disk *disk, uint64_t more);
/* Whether nothing can be opened now. */
bool lw_disk_out_of_handles(lw_disk *disk);

/* ---- names.c -------------------------------------------------------------------------------- */

void lw_entries_reset(lw_disk *disk, lw_entries *names);
lw_disk_file *lw_entries_find(const lw_entries *names, const char *name);
/* What a path leads to. `last`, if not NULL, is left off and copied there (LW_PATH_SIZE): then the
 * result is the directory it belongs in, and the last name may not exist. */
int lw_disk_find(lw_disk *disk, lw_disk_view view, const char *path, char *last,
                 lw_disk_file **found);
/* Gives a file a name, which is not durable yet. */
void lw_disk_add_name(lw_disk *disk, lw_disk_file *directory, const char *name, lw_disk_file *file);
/* Decides which names survive a power loss; from then on the machine sees what is on the platter.
 */
void lw_disk_lose_names(lw_disk *disk);

#endif
