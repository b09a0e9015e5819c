/* SPDX-License-Identifier: Apache-2.0 */
/* Goes through a folder of inputs with a fuzz target, without a fuzzer, so that what was once found stays
 * mended and no target rots. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t input[1 << 20];

int main(int argc, char **argv) {
    if (argc != 2) {
        (void)fprintf(stderr, "usage: replay FOLDER\n");
        return 2;
    }
    alarm(120);
    DIR *folder = opendir(argv[1]);
    if (folder == NULL) {
        perror(argv[1]);
        return 1;
    }
    int passed = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char path[1024];
        (void)snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (file == NULL) {
            continue;
        }
        size_t size = fread(input, 1, sizeof(input), file);
        (void)fclose(file);
        (void)LLVMFuzzerTestOneInput(input, size); /* a fault ends the process */
        passed++;
    }
    (void)closedir(folder);
    printf("%d passed, 0 failed\n", passed);
    return passed > 0 ? 0 : 1;
}
