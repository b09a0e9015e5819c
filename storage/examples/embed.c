/* SPDX-License-Identifier: Apache-2.0 */
/* Counts how often each word was given to it, over all its runs: the storage engine in a program.
 *
 *   cc embed.c $(pkg-config --cflags --libs lathwork-storage) -o count
 *   ./count DIRECTORY to be or not to be */
#include <lathwork_storage.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static lw_storage_error error;

static lw_storage_status must(lw_storage_status status) {
    if (status != LW_STORAGE_OK && status != LW_STORAGE_NOT_FOUND) {
        fprintf(stderr, "count: %s\n", error.message);
        exit(1);
    }
    return status;
}

static void count_word(lw_storage *storage, const char *word) {
    lw_storage_bytes key = lw_storage_view(word, strlen(word)), found;
    unsigned long count = 0;
    if (must(lw_storage_get(storage, key, &found, &error)) == LW_STORAGE_OK) {
        memcpy(&count, found.data, sizeof(count));
    }
    count++;
    must(lw_storage_put(storage, key, lw_storage_view(&count, sizeof(count)), &error));
}

int main(int argc, char **argv) {
    lw_storage *storage;
    must(lw_storage_open(argc > 1 ? argv[1] : NULL, NULL, &storage, &error));
    for (int index = 2; index < argc; index++) {
        count_word(storage, argv[index]);
    }
    must(lw_storage_sync(storage, &error));

    lw_storage_bytes all = lw_storage_view(NULL, 0);
    lw_storage_snapshot *snapshot = lw_storage_snapshot_open(storage);
    lw_storage_cursor *cursor = lw_storage_cursor_open(snapshot, all, all);
    lw_storage_status status = must(lw_storage_cursor_first(cursor, &error));
    for (; status == LW_STORAGE_OK; status = must(lw_storage_cursor_next(cursor, &error))) {
        lw_storage_bytes word = lw_storage_cursor_key(cursor);
        unsigned long count;
        memcpy(&count, lw_storage_cursor_value(cursor).data, sizeof(count));
        printf("%lu %.*s\n", count, (int)word.size, (const char *)word.data);
    }
    lw_storage_cursor_close(cursor);
    lw_storage_snapshot_close(snapshot);
    must(lw_storage_close(storage, &error));
    return 0;
}
