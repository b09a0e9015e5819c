/* SPDX-License-Identifier: Apache-2.0 */
/* The file RESERVE: grown, given back, and given up. See reserve.h. */
#include "storage/reserve.h"

#include "base/hash.h"

enum {
    STEP_SIZE = 256 * 1024,       /* bytes written at once */
    HOLD_SIZE = 16 * 1024 * 1024, /* bytes held at once */
    SIZE_UNIT = LW_DIRECT_ALIGNMENT,
};

/* ---- how large ------------------------------------------------------------------------------ */

/* Up by an eighth at most, so that it grows seldom. */
static uint64_t rounded(uint64_t size) {
    uint64_t unit = SIZE_UNIT;
    while (unit * 16 <= size) {
        unit *= 2;
    }
    return (size + unit - 1) / unit * unit;
}

void lw_reserve_want_more(lw_reserve *reserve, lw_reserve_part part, uint64_t size) {
    LW_ASSERT(part < LW_RESERVE_PART_COUNT);
    LW_ASSERT(size > reserve->parts[part]);
    reserve->parts[part] = size;
    uint64_t sum = 0;
    for (size_t each = 0; each < LW_RESERVE_PART_COUNT; each++) {
        sum += reserve->parts[each];
    }
    uint64_t wanted = rounded(sum);
    wanted = wanted < reserve->size_max ? wanted : reserve->size_max;
    if (wanted > reserve->figures.wanted) {
        reserve->figures.wanted = wanted;
        lw_queue_wake_all(&reserve->changed);
    }
}

void lw_reserve_log_waits(lw_reserve *reserve) {
    if (reserve != NULL && reserve->size_max > 0) {
        reserve->log_waits = true;
        reserve->figures.is_short = true;
        reserve->figures.is_unknown = false;
        lw_queue_wake_all(&reserve->changed);
    }
}

/* ---- its life ------------------------------------------------------------------------------- */

lw_reserve *lw_reserve_make(lw_env *env, const char *directory, uint64_t size_max) {
    lw_reserve *reserve = lw_allocate_zero(env->memory, sizeof(*reserve));
    reserve->env = env;
    reserve->references = 1;
    reserve->size_max = size_max / SIZE_UNIT * SIZE_UNIT;
    if (lw_path_join(reserve->path, directory, LW_RESERVE_NAME) != LW_OK) {
        reserve->size_max = 0; /* the folder cannot be opened either */
    }
    return reserve;
}

void lw_reserve_hold(lw_reserve *reserve) {
    reserve->references++;
}

void lw_reserve_release(lw_reserve *reserve) {
    LW_ASSERT(reserve->references > 0);
    if (--reserve->references == 0) {
        LW_ASSERT(!reserve->growing && !reserve->spending);
        lw_free(reserve->env->memory, reserve);
    }
}

lw_status lw_reserve_open(lw_reserve *reserve, bool fresh) {
    lw_handle file = LW_NO_HANDLE;
    if (reserve->size_max == 0) {
        return LW_OK;
    }
    lw_status status = lw_file_open(reserve->env, reserve->path, LW_OPEN_READ_ONLY, &file);
    if (status == LW_NOT_FOUND) {
        reserve->figures.is_unknown = !fresh;
        return LW_OK;
    }
    LW_TRY(status);
    reserve->there = true;
    status = lw_file_size(reserve->env, file, &reserve->figures.size);
    lw_file_close(reserve->env, file);
    /* A part of a unit, after a crash: the next growth writes the whole of it. */
    reserve->figures.size = reserve->figures.size / SIZE_UNIT * SIZE_UNIT;
    return status;
}

/* ---- growing -------------------------------------------------------------------------------- */

/* Bytes that no file system makes fewer of (R1), the same in every run. */
static void fill(uint8_t *bytes, size_t size, uint64_t offset) {
    for (size_t index = 0; index < size; index += 8) {
        lw_put_u64(bytes + index, lw_mix(offset + index + 1));
    }
}

/* Bytes to be had before a disk that was full counts as having room: more than the reserve by what
 * the log takes next, or the next write might find it full again. */
static uint64_t target(const lw_reserve *reserve) {
    uint64_t wanted = reserve->figures.wanted;
    uint64_t margin = rounded(reserve->parts[LW_RESERVE_LOG] + wanted / 8);
    return reserve->figures.is_short ? wanted + margin : wanted;
}

/* How the file is grown: by holding space where the file system can, else by writing. */
typedef struct growth {
    lw_handle file;
    bool writes;
    uint64_t hold_size; /* at once: less and less as the disk fills */
    uint8_t *bytes;     /* step_size of them, once they are written */
    size_t step_size;
} growth;

/* Returns LW_OK also where nothing was held, for another attempt with less, or by writing. */
static LW_YIELDS lw_status hold_more(lw_reserve *reserve, growth *by, uint64_t left) {
    lw_reserve_figures *figures = &reserve->figures;
    uint64_t step = left < by->hold_size ? left : by->hold_size;
    LW_ASSERT(!reserve->stopping);
    lw_status status = LW_RARE(reserve->env, "reserve.hold_refused")
                           ? LW_REFUSED
                           : lw_file_hold(reserve->env, by->file, figures->size + step);
    if (status == LW_OK) {
        figures->size += step;
    } else if (status == LW_REFUSED) {
        LW_MARK(reserve->env, "reserve.written");
        by->writes = true;
        by->bytes = lw_allocate_aligned(reserve->env->memory, by->step_size, LW_DIRECT_ALIGNMENT);
        return LW_OK;
    } else if (status == LW_FULL) {
        LW_TRY(lw_file_resize(reserve->env, by->file, figures->size));
        by->hold_size /= 2;
        return by->hold_size >= STEP_SIZE ? LW_OK : LW_FULL;
    }
    return status;
}

static LW_YIELDS lw_status write_more(lw_reserve *reserve, growth *by, uint64_t left) {
    lw_reserve_figures *figures = &reserve->figures;
    size_t step = left < by->step_size ? (size_t)left : by->step_size;
    LW_ASSERT(!reserve->stopping);
    fill(by->bytes, step, figures->size);
    LW_TRY(lw_file_write(reserve->env, by->file, figures->size, lw_view(by->bytes, step), 0));
    figures->size += step;
    return LW_OK;
}

static bool goes_on(const lw_reserve *reserve) {
    return reserve->figures.size < target(reserve) && !reserve->spending &&
           (!reserve->stopping || LW_BUG(reserve->env, "reserve.stop_ignored"));
}

static LW_YIELDS lw_status grow_file(lw_reserve *reserve, growth *by, uint64_t pause_ns) {
    lw_reserve_figures *figures = &reserve->figures;
    while (goes_on(reserve)) {
        uint64_t left = target(reserve) - figures->size;
        LW_TRY(by->writes ? write_more(reserve, by, left) : hold_more(reserve, by, left));
        if (pause_ns > 0 && lw_reserve_wanting(reserve)) {
            (void)lw_env_wait(reserve->env, &reserve->stop, lw_env_now(reserve->env) + pause_ns);
        }
    }
    if (figures->is_short && !reserve->spending && !reserve->stopping) {
        figures->size = figures->wanted;
        LW_TRY(lw_file_resize(reserve->env, by->file, figures->size));
    }
    return LW_OK;
}

static LW_YIELDS lw_status grow(lw_reserve *reserve, uint64_t pause_ns) {
    bool slowly = LW_RARE(reserve->env, "reserve.grows_slowly");
    bool little = LW_RARE(reserve->env, "reserve.writes_little");
    growth by = {.file = LW_NO_HANDLE,
                 .hold_size = slowly ? STEP_SIZE : HOLD_SIZE,
                 .step_size = little ? SIZE_UNIT : STEP_SIZE};
    LW_TRY(lw_file_open(reserve->env, reserve->path, LW_OPEN_CREATE | LW_OPEN_DIRECT, &by.file));
    reserve->there = true;
    lw_status status = grow_file(reserve, &by, pause_ns);
    lw_error cause = *lw_error_slot();
    lw_free(reserve->env->memory, by.bytes);
    lw_file_close(reserve->env, by.file);
    return status == LW_OK ? LW_OK : lw_fail(status, "%s: %s", reserve->path, cause.text);
}

lw_status lw_reserve_grow(lw_reserve *reserve, uint64_t pause_ns) {
    lw_reserve_figures *figures = &reserve->figures;
    LW_ASSERT(!reserve->growing);
    while (reserve->spending) {
        lw_queue_wait(&reserve->idle);
    }
    reserve->growing = true;
    lw_status status = figures->is_plenty ? LW_OK : grow(reserve, pause_ns);
    reserve->growing = false;
    figures->is_unknown = false;
    if (status == LW_FULL) {
        LW_MARK(reserve->env, "reserve.met_full_disk");
        figures->is_short = true;
    } else if (status == LW_OK && !lw_reserve_wanting(reserve) && !reserve->spending &&
               !reserve->stopping) {
        if (figures->is_short) {
            LW_MARK(reserve->env, "reserve.taken_again");
        }
        figures->is_short = false;
    }
    lw_queue_wake_all(&reserve->idle);
    return status;
}

void lw_reserve_stop(lw_reserve *reserve) {
    reserve->stopping = true;
    lw_queue_wake_all(&reserve->stop);
}

/* ---- plenty --------------------------------------------------------------------------------- */

/* What is given back is not taken again at once: so twice as much is asked for. */
static bool is_plenty(const lw_reserve *reserve, uint64_t left) {
    const lw_reserve_figures *figures = &reserve->figures;
    uint64_t least = figures->wanted * LW_RESERVE_PLENTY_TIMES;
    least = least > LW_RESERVE_PLENTY ? least : LW_RESERVE_PLENTY;
    return left >= (figures->is_plenty || !reserve->there ? least : 2 * least);
}

/* Removes the file. It is not open. */
static LW_YIELDS bool remove_file(lw_reserve *reserve) {
    if (!reserve->there || lw_path_unlink(reserve->env, reserve->path) != LW_OK) {
        return false;
    }
    reserve->there = false;
    reserve->figures.size = 0;
    return true;
}

void lw_reserve_note_left(lw_reserve *reserve, uint64_t left) {
    lw_reserve_figures *figures = &reserve->figures;
    LW_ASSERT(!reserve->growing);
    figures->is_plenty = is_plenty(reserve, left);
    if (figures->is_plenty && reserve->there && !reserve->spending) {
        LW_MARK(reserve->env, "reserve.given_back");
        reserve->spending = true;
        (void)remove_file(reserve);
        reserve->spending = false;
        lw_queue_wake_all(&reserve->idle);
    }
}

/* ---- spending ------------------------------------------------------------------------------- */

bool lw_reserve_spend(lw_reserve *reserve) {
    if (reserve == NULL || reserve->size_max == 0) {
        return false;
    }
    lw_reserve_figures *figures = &reserve->figures;
    uint64_t spent_before = figures->spent_count;
    figures->is_short = true;
    figures->is_unknown = false;
    while (reserve->spending) {
        lw_queue_wait(&reserve->idle);
    }
    if (figures->spent_count != spent_before) {
        return true;
    }
    reserve->spending = true;
    while (reserve->growing) { /* its open file would keep the space */
        lw_queue_wait(&reserve->idle);
    }
    bool gave = remove_file(reserve);
    if (gave) {
        LW_MARK(reserve->env, "reserve.spent");
        figures->spent_count++;
    }
    reserve->spending = false;
    lw_queue_wake_all(&reserve->idle);
    lw_queue_wake_all(&reserve->changed);
    return gave;
}
