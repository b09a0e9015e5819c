/* SPDX-License-Identifier: Apache-2.0 */
/* The checker of a whole data folder. See folder_check.h. */
#include "storage/folder_check.h"

#include "storage/identity.h"
#include "storage/inventory.h"
#include "storage/log_segment.h"
#include "storage/reserve.h"
#include "storage/store.h"
#include "storage/version.h"

#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>

/* What the log shows of one tree. */
typedef struct shown {
    lw_map_node node; /* by tree */
    uint64_t tree;
    uint64_t last; /* the last entry */
} shown;

typedef struct checker {
    lw_env *env;
    const char *directory;
    lw_buffer *faults, *notes;
    lw_inventory inventory;
    bool catalog_read; /* else nothing can be held against it */
    lw_map shown;
    lw_arena arena;
    bool bad;
} checker;

static void fault(checker *check, const char *text) {
    check->bad = true;
    lw_buffer_print(check->faults, "%s\n", text);
}

/* What a part answered. LW_CORRUPTION is noted already, or is noted here; LW_REFUSED (a newer
 * format) and the like end the checking. */
static lw_status judge(checker *check, lw_status status, bool noted) {
    if (status == LW_NOT_FOUND) {
        return LW_OK;
    }
    if (status == LW_CORRUPTION) {
        if (!noted) {
            fault(check, lw_error_slot()->text);
        }
        check->bad = true;
        return LW_OK;
    }
    return status;
}

/* ---- the log against the catalog ------------------------------------------------------------ */

static shown *shown_of(checker *check, uint64_t tree) {
    lw_map_node *node = lw_map_first(&check->shown, lw_mix(tree));
    if (node != NULL) {
        return LW_MAP_ENTRY(node, shown, node);
    }
    shown *added = lw_arena_allocate(&check->arena, sizeof(*added));
    *added = (shown){.tree = tree};
    lw_map_insert(&check->shown, &added->node, lw_mix(tree));
    return added;
}

/* An lw_log_options.begins: a tree stands on the snapshot, or there is none. */
static bool begins(void *argument, uint64_t group, uint64_t index) {
    const checker *check = argument;
    const lw_inventory_tree *tree = lw_inventory_find_tree(&check->inventory, group);
    return tree == NULL || tree->flushed_index >= index;
}

/* An lw_log_visit. Entries go up by one, or replace those from one on; and they begin no later than
 * behind what is in tables, or behind a snapshot: a shard that was removed may have come back. */
static lw_status take_record(void *argument, const lw_log_record *record) {
    checker *check = argument;
    const lw_inventory_tree *tree = lw_inventory_find_tree(&check->inventory, record->group);
    if (record->kind == LW_LOG_STATE || !check->catalog_read || tree == NULL) {
        return LW_OK; /* a tree may have been dropped */
    }
    shown *of = shown_of(check, record->group);
    uint64_t before = of->last != 0 ? of->last : tree->flushed_index;
    if (record->kind == LW_LOG_ENTRY && record->index > before + 1) {
        char text[LW_ERROR_TEXT_SIZE];
        (void)snprintf(text, sizeof(text),
                       "%s: of tree %" PRIu64 ", the entries %" PRIu64 " to %" PRIu64
                       " are in no table, and the log goes on behind them",
                       check->directory, record->group, before + 1, record->index - 1);
        fault(check, text);
    }
    of->last = record->index;
    return LW_OK;
}

/* ---- names ---------------------------------------------------------------------------------- */

static void note(checker *check, const char *folder, const char *name, const char *what) {
    lw_buffer_print(check->notes, "%s/%s: %s\n", folder, name, what);
}

static const char not_ours[] = "not a file of Lathwork; it is left alone";
static const char left_behind[] =
    "left behind by what did not come to its end; the next start removes it";

static bool one_of(const char *name, const char *const *names, size_t count) {
    for (size_t index = 0; index < count; index++) {
        if (strcmp(name, names[index]) == 0) {
            return true;
        }
    }
    return false;
}

static void see_top(checker *check, const char *folder, const char *name) {
    static const char *const ours[] = {"LOCK", "IDENTITY", "CATALOG", "SCRUB", "log", "sst",
                                       LW_RESERVE_NAME,
                                       /* of a node: */
                                       "LATTICE", "join-token", "bus", "incoming", "outgoing"};
    static const char *const new_ones[] = {"IDENTITY.new", "LATTICE.new", "CATALOG.new",
                                           "SCRUB.new"};
    if (one_of(name, new_ones, sizeof(new_ones) / sizeof(*new_ones))) {
        note(check, folder, name, left_behind);
    } else if (!one_of(name, ours, sizeof(ours) / sizeof(*ours))) {
        note(check, folder, name, not_ours);
    }
}

static void see_log(checker *check, const char *folder, const char *name) {
    if (lw_log_segment_unfinished(name)) {
        note(check, folder, name, left_behind);
    } else if (lw_log_segment_number(name) == 0) {
        note(check, folder, name, not_ours);
    }
}

static void see_table(checker *check, const char *folder, const char *name) {
    uint64_t number = 0;
    if (!lw_table_name_number(name, &number)) {
        note(check, folder, name, not_ours);
    } else if (check->catalog_read && lw_inventory_find_file(&check->inventory, number) == NULL) {
        note(check, folder, name, left_behind);
    }
}

LW_YIELDS static lw_status see_folder(checker *check, const char *inner,
                                      void (*see)(checker *check, const char *folder,
                                                  const char *name)) {
    char path[LW_PATH_SIZE];
    lw_buffer names = lw_buffer_in(check->env->memory);
    lw_status status = LW_OK;
    if (inner != NULL) {
        LW_TRY(lw_path_join(path, check->directory, inner));
    } else {
        (void)snprintf(path, sizeof(path), "%s", check->directory);
    }
    status = lw_path_list(check->env, path, &names);
    for (size_t at = 0; status == LW_OK && at < names.size;) {
        const char *name = (const char *)names.data + at;
        see(check, path, name);
        at += strlen(name) + 1;
    }
    lw_buffer_reset(&names);
    return status == LW_NOT_FOUND ? LW_OK : status;
}

/* ---- the whole ------------------------------------------------------------------------------ */

LW_YIELDS static lw_status read_catalog(checker *check) {
    char path[LW_PATH_SIZE];
    lw_catalog_facts facts;
    LW_TRY(lw_path_join(path, check->directory, "CATALOG"));
    lw_status status =
        lw_catalog_read(check->env, path, lw_inventory_take, &check->inventory, &facts);
    check->catalog_read = status == LW_OK;
    return status == LW_CORRUPTION ? LW_OK : status; /* lw_store_check has said it */
}

LW_YIELDS static lw_status check_log(checker *check) {
    char path[LW_PATH_SIZE];
    LW_TRY(lw_path_join(path, check->directory, "log"));
    const lw_log_options options = {.begins = begins};
    return judge(check, lw_log_check(check->env, path, &options, take_record, check, check->faults),
                 true);
}

LW_YIELDS static lw_status check_all(checker *check, lw_filter_part filter_part) {
    lw_status status = lw_store_check(check->env, check->directory, filter_part, check->faults);
    if (status == LW_NOT_FOUND) {
        return status; /* what says that there is nothing to check */
    }
    LW_TRY(judge(check, status, true));
    LW_TRY(read_catalog(check));
    LW_TRY(judge(check, lw_identity_check(check->env, check->directory), false));
    LW_TRY(check_log(check));
    LW_TRY(see_folder(check, NULL, see_top));
    LW_TRY(see_folder(check, "log", see_log));
    return see_folder(check, "sst", see_table);
}

lw_status lw_folder_check(lw_env *env, const char *directory, lw_filter_part filter_part,
                          lw_buffer *faults, lw_buffer *notes) {
    checker check = {.env = env,
                     .directory = directory,
                     .faults = faults,
                     .notes = notes,
                     .inventory = lw_inventory_in(env->memory),
                     .shown = lw_map_in(env->memory),
                     .arena = lw_arena_in(env->memory)};
    lw_status status = check_all(&check, filter_part);
    lw_error cause = *lw_error_slot();
    lw_inventory_reset(&check.inventory);
    lw_map_reset(&check.shown);
    lw_arena_reset(&check.arena);
    if (status != LW_OK) {
        return lw_fail(status, "%s", cause.text);
    }
    return check.bad ? lw_fail(LW_CORRUPTION, "%s is damaged", directory) : LW_OK;
}
