/* SPDX-License-Identifier: Apache-2.0 */
/* The disk of a simulated machine: files and their names, what survives a power loss, and what goes
 * wrong. It knows nothing of time: each call takes effect at once, and is one POSIX call that the
 * file system carried out. Calls answer 0 or an errno.
 *
 * Invariants
 * 1. Contents and size of a file are durable once lw_disk_sync on it, or a durable write of those
 *    bytes, has answered 0; each other sector survives a power loss or not (sim/image.h).
 * 2. A name made, moved or removed is durable once lw_disk_sync_directory of the directory that
 *    holds it has answered 0, and not by syncing the file. A rename touches two names: within one
 *    directory they survive together or not at all; across two, each directory's part is durable
 *    with its own sync.
 * 3. Of the name changes that are not durable, a power loss keeps in half of the cases a prefix
 *    within each directory, otherwise any subset.
 * 4. A file lives as long as a name (in either image) or an open file refers to it. */
#ifndef LW_SIM_DISK_H
#define LW_SIM_DISK_H

#include "sim/image.h"

typedef struct lw_disk lw_disk;
typedef struct lw_disk_file lw_disk_file;

/* An empty disk: one durable root directory. Lives in `memory` and goes with it. `faults` and
 * `hits`: see lw_dice. */
lw_disk *lw_disk_open(lw_memory *memory, lw_chance chance, const lw_faults *faults, uint64_t *hits);
/* Where this disk's faults are thrown: to arm one. */
lw_dice *lw_disk_dice(lw_disk *disk);

/* ---- the calls of a process ----------------------------------------------------------------- */

/* `flags`: LW_OPEN_*. */
int lw_disk_open_file(lw_disk *disk, const char *path, uint32_t flags, lw_disk_file **file);
/* Undoes one open; `owner` loses the lock if it has it. */
void lw_disk_close_file(lw_disk *disk, lw_disk_file *file, const void *owner);
int lw_disk_read(lw_disk *disk, lw_disk_file *file, uint64_t offset, void *buffer, size_t size,
                 uint64_t *count);
/* `durable`: the bytes are on the platter when it answers 0. */
int lw_disk_write(lw_disk *disk, lw_disk_file *file, uint64_t offset, lw_bytes bytes, bool durable);
int lw_disk_sync(lw_disk *disk, lw_disk_file *file);
int lw_disk_resize(lw_disk *disk, lw_disk_file *file, uint64_t size);
uint64_t lw_disk_size(const lw_disk_file *file);
/* What the capacity leaves; EOPNOTSUPP without one. */
int lw_disk_left(lw_disk *disk, uint64_t *left);
/* EBUSY if another owner has it. */
int lw_disk_lock(lw_disk_file *file, const void *owner);
int lw_disk_rename(lw_disk *disk, const char *from, const char *to);
int lw_disk_link(lw_disk *disk, const char *from, const char *to);
int lw_disk_unlink(lw_disk *disk, const char *path);
int lw_disk_mkdir(lw_disk *disk, const char *path);
/* Appends the sorted names, each with its closing zero. */
int lw_disk_list(lw_disk *disk, const char *path, lw_buffer *names);
int lw_disk_sync_directory(lw_disk *disk, const char *path);

/* ---- losing --------------------------------------------------------------------------------- */

/* A write that was in flight when its process or the machine died. */
void lw_disk_tear_write(lw_disk *disk, lw_disk_file *file, uint64_t offset, lw_bytes bytes,
                        bool durable);
/* A sync that was in flight. */
void lw_disk_tear_sync(lw_disk *disk, lw_disk_file *file);
/* What was not durable is lost, in part or in whole. Closes every file. */
void lw_disk_power_loss(lw_disk *disk);
/* After a process died: the page cache may drop what a failed sync left clean. */
void lw_disk_evict(lw_disk *disk);

/* ---- for tests ------------------------------------------------------------------------------ */

typedef enum lw_disk_view { LW_DISK_VOLATILE, LW_DISK_DURABLE } lw_disk_view;

/* Bytes of all files together; 0: no limit. */
void lw_disk_set_capacity(lw_disk *disk, uint64_t capacity);
/* Appends the path of every file, sorted by directory, each with its closing zero. */
void lw_disk_paths(lw_disk *disk, lw_disk_view view, lw_buffer *paths);
/* Appends the contents that the file would have after the kindest or the cruellest power loss; a
 * name is looked up in the same view. False if there is none. */
bool lw_disk_contents(lw_disk *disk, lw_disk_view view, const char *path, lw_buffer *contents);
/* Flips a bit at rest: bit 0 is the lowest of byte 0. The file exists and is that long. */
void lw_disk_flip(lw_disk *disk, const char *path, uint64_t bit);

#endif
