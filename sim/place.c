/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/place.h"

#include <stdlib.h>

/* The bounds of the section, as linkers name them; both absent where nothing is in it. */
extern const lw_place section_begin[] __asm__("__start_lw_places") __attribute__((weak));
extern const lw_place section_end[] __asm__("__stop_lw_places") __attribute__((weak));

size_t lw_place_count(void) {
    uintptr_t size = (uintptr_t)section_end - (uintptr_t)section_begin;
    return section_begin == NULL ? 0 : size / sizeof(lw_place);
}

size_t lw_place_number(const lw_place *place) {
    LW_ASSERT(place >= section_begin && place < section_end);
    return (size_t)(place - section_begin);
}

static int by_text(const void *one, const void *other) {
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

const char **lw_place_names(lw_memory *memory, lw_place_kind kind, size_t *count) {
    const char **names = lw_allocate(memory, lw_place_count() * sizeof(*names));
    size_t found = 0;
    for (size_t number = 0; number < lw_place_count(); number++) {
        names[found] = section_begin[number].name;
        found += section_begin[number].kind == kind;
    }
    qsort(names, found, sizeof(*names), by_text);
    size_t kept = 0;
    for (size_t index = 0; index < found; index++) {
        if (kept == 0 || strcmp(names[kept - 1], names[index]) != 0) {
            names[kept++] = names[index];
        }
    }
    *count = kept;
    return names;
}
