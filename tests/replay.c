/* SPDX-License-Identifier: Apache-2.0 */
/* Goes through a folder of inputs with a fuzz target, without a fuzzer, so that what was once found
 * stays mended and no target rots. Each input lies in a block of just its size, where a sanitizer
 * sees a read beyond it. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 1024, INPUT_SIZE_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether the file could be read; a fault of the target ends the process. */
static int replay(const char *path) {
    static uint8_t room[INPUT_SIZE_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 0;
    }
    size_t size = fread(room, 1, sizeof(room), file);
    (void)fclose(file);
    uint8_t *input = malloc(size > 0 ? size : 1);
    if (input == NULL) {
        perror(path);
        return 0;
    }
    memcpy(input, room, size);
    (void)fprintf(stderr, "%s\n", path); /* the last one named is the one that failed */
    (void)LLVMFuzzerTestOneInput(input, size);
    free(input);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        (void)fprintf(stderr, "usage: replay FOLDER\n");
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    if (folder == NULL) {
        perror(argv[1]);
        return 1;
    }
    int passed = 0;
    int failed = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char path[PATH_SIZE];
        (void)snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (replay(path)) {
            passed++;
        } else {
            failed++;
        }
    }
    (void)closedir(folder);
    printf("%d passed, %d failed\n", passed, failed);
    return passed > 0 && failed == 0 ? 0 : 1;
}
