/* SPDX-License-Identifier: Apache-2.0 */
#include "client/json.h"

static void write_escaped(lw_buffer *out, lw_bytes text) {
    lw_buffer_append_u8(out, '"');
    for (size_t index = 0; index < text.size; index++) {
        uint8_t byte = text.data[index];
        if (byte == '"' || byte == '\\') {
            lw_buffer_append_u8(out, '\\');
            lw_buffer_append_u8(out, byte);
        } else if (byte < 0x20 || byte == 0x7f) {
            lw_buffer_print(out, "\\u%04x", byte);
        } else {
            lw_buffer_append_u8(out, byte);
        }
    }
    lw_buffer_append_u8(out, '"');
}

static void begin_value(lw_json *json, const char *name) {
    if (json->comma) {
        lw_buffer_append_u8(json->out, ',');
    }
    if (name != NULL) {
        write_escaped(json->out, lw_text(name));
        lw_buffer_append_u8(json->out, ':');
    }
    json->comma = true;
}

static void open_value(lw_json *json, const char *name, uint8_t bracket) {
    begin_value(json, name);
    lw_buffer_append_u8(json->out, bracket);
    json->comma = false;
}

static void close_value(lw_json *json, uint8_t bracket) {
    lw_buffer_append_u8(json->out, bracket);
    json->comma = true;
}

void lw_json_object_open(lw_json *json, const char *name) {
    open_value(json, name, '{');
}

void lw_json_object_close(lw_json *json) {
    close_value(json, '}');
}

void lw_json_array_open(lw_json *json, const char *name) {
    open_value(json, name, '[');
}

void lw_json_array_close(lw_json *json) {
    close_value(json, ']');
}

void lw_json_text(lw_json *json, const char *name, lw_bytes text) {
    begin_value(json, name);
    write_escaped(json->out, text);
}

void lw_json_bytes(lw_json *json, const char *name, lw_bytes bytes) {
    if (lw_utf8_valid(bytes)) {
        lw_json_text(json, name, bytes);
        return;
    }
    static const char digits[] = "0123456789abcdef";
    open_value(json, name, '{');
    lw_buffer_append(json->out, lw_text("\"hex\":\""));
    for (size_t index = 0; index < bytes.size; index++) {
        lw_buffer_append_u8(json->out, (uint8_t)digits[bytes.data[index] >> 4]);
        lw_buffer_append_u8(json->out, (uint8_t)digits[bytes.data[index] & 15]);
    }
    lw_buffer_append_u8(json->out, '"');
    close_value(json, '}');
}

void lw_json_number(lw_json *json, const char *name, uint64_t value) {
    begin_value(json, name);
    lw_buffer_print(json->out, "%llu", (unsigned long long)value);
}

void lw_json_integer(lw_json *json, const char *name, int64_t value) {
    begin_value(json, name);
    lw_buffer_print(json->out, "%lld", (long long)value);
}

void lw_json_boolean(lw_json *json, const char *name, bool value) {
    begin_value(json, name);
    lw_buffer_append(json->out, lw_text(value ? "true" : "false"));
}

void lw_json_null(lw_json *json, const char *name) {
    begin_value(json, name);
    lw_buffer_append(json->out, lw_text("null"));
}

/* ---- UTF-8 --------------------------------------------------------------------------------------
 */

/* How many bytes the character that begins with `first` has, and the range of its second byte,
 * which is where over-long forms, surrogates and numbers beyond U+10FFFF show. 0: cannot begin one.
 */
static size_t utf8_shape(uint8_t first, uint8_t *second_min, uint8_t *second_max) {
    *second_min = 0x80;
    *second_max = 0xbf;
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        return 2;
    }
    if (first >= 0xe0 && first <= 0xef) {
        *second_min = first == 0xe0 ? 0xa0 : 0x80;
        *second_max = first == 0xed ? 0x9f : 0xbf;
        return 3;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        *second_min = first == 0xf0 ? 0x90 : 0x80;
        *second_max = first == 0xf4 ? 0x8f : 0xbf;
        return 4;
    }
    return 0;
}

bool lw_utf8_valid(lw_bytes bytes) {
    size_t index = 0;
    while (index < bytes.size) {
        uint8_t second_min, second_max;
        size_t size = utf8_shape(bytes.data[index], &second_min, &second_max);
        if (size == 0 || size > bytes.size - index) {
            return false;
        }
        for (size_t at = 1; at < size; at++) {
            uint8_t byte = bytes.data[index + at];
            if (byte < (at == 1 ? second_min : 0x80) || byte > (at == 1 ? second_max : 0xbf)) {
                return false;
            }
        }
        index += size;
    }
    return true;
}
