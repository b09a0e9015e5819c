/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines, and bytes made readable.
 *
 * Invariants
 * 1. What reaches the world is one line of at most LW_LOGLINE_SIZE - 1 bytes without control
 *    characters, whatever the arguments held: nobody forges a second line.
 * 2. A text that was cut ends in "…", and no UTF-8 character is torn. */
#include "base/logline.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/env.h"

static const char ellipsis[] = "…";
enum { ELLIPSIS_SIZE = sizeof(ellipsis) - 1 };

static const char *const level_names[] = {
    [LW_LEVEL_DEBUG] = "debug",
    [LW_LEVEL_INFO] = "info",
    [LW_LEVEL_WARN] = "warn",
    [LW_LEVEL_ERROR] = "error",
};

/* Ends a text that filled `size` bytes in an ellipsis, before the character that would be torn. */
static void cut(char *text, size_t size) {
    size_t end = size - 1 - ELLIPSIS_SIZE;
    while (end > 0 && ((uint8_t)text[end] & 0xc0) == 0x80) {
        end--;
    }
    memcpy(text + end, ellipsis, sizeof(ellipsis));
}

void lw_logline(lw_env *env, lw_level level, const char *event, const char *format, ...) {
    LW_ASSERT(level <= LW_LEVEL_ERROR);
    char line[LW_LOGLINE_SIZE];
    int head = snprintf(line, sizeof(line), "level=%s event=\"%s\"%s", level_names[level], event,
                        format != NULL ? " " : "");
    LW_ASSERT(head > 0);
    LW_ASSERT((size_t)head < sizeof(line));

    if (format != NULL) {
        size_t room = sizeof(line) - (size_t)head;
        va_list arguments;
        va_start(arguments, format);
        int tail = vsnprintf(line + head, room, format, arguments);
        va_end(arguments);
        LW_ASSERT(tail >= 0);
        if ((size_t)tail >= room) {
            cut(line, sizeof(line));
        }
    }
    for (char *character = line; *character != '\0'; character++) {
        if ((uint8_t)*character < 0x20 || *character == 0x7f) {
            *character = '?';
        }
    }
    env->world->logline(env, level, line);
}

/* Writes one byte as people read it, returns the characters used (1, 2 or 4). */
static size_t render(uint8_t byte, char rendered[4]) {
    static const char digits[] = "0123456789abcdef";
    if (byte == '"' || byte == '\\') {
        rendered[0] = '\\';
        rendered[1] = (char)byte;
        return 2;
    }
    if (byte >= 0x20 && byte < 0x7f) {
        rendered[0] = (char)byte;
        return 1;
    }
    memcpy(rendered, "\\x", 2);
    rendered[2] = digits[byte >> 4];
    rendered[3] = digits[byte & 0x0f];
    return 4;
}

const char *lw_printable(lw_bytes bytes, char *text, size_t size) {
    LW_ASSERT(size > ELLIPSIS_SIZE);
    size_t end = 0;
    size_t cut_at = 0; /* the last end behind which an ellipsis still fits */
    for (size_t index = 0; index < bytes.size; index++) {
        char rendered[4];
        size_t rendered_size = render(bytes.data[index], rendered);
        if (end + rendered_size >= size) {
            memcpy(text + cut_at, ellipsis, sizeof(ellipsis));
            return text;
        }
        memcpy(text + end, rendered, rendered_size);
        end += rendered_size;
        if (end + ELLIPSIS_SIZE < size) {
            cut_at = end;
        }
    }
    text[end] = '\0';
    return text;
}
