/* SPDX-License-Identifier: Apache-2.0 */
#include "client/command_text.h"

#include "base/logline.h"
#include "client/json.h"
#include "client/lathwork.h"

static const char hex_digits[] = "0123456789abcdef";

static int hex_value(uint8_t digit) {
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
           : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                          : -1;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static bool character_hidden(uint32_t character) {
    return character < 0xa0 || (character >= 0x2028 && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069);
}

/* The size of the printable character in front, or 0 if there is none. */
static size_t printable_size(lw_bytes rest) {
    uint8_t first = rest.data[0];
    if (first < 0x80) {
        return first >= 0x20 && first < 0x7f ? 1 : 0;
    }
    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (rest.size < size || !lw_utf8_valid(lw_view(rest.data, size))) {
        return 0;
    }
    uint32_t character = first & (0x7fu >> size);
    for (size_t index = 1; index < size; index++) {
        character = character << 6 | (rest.data[index] & 0x3fu);
    }
    return character_hidden(character) ? 0 : size;
}

static void encode_escaped(lw_bytes bytes, lw_buffer *out) {
    size_t index = 0;
    while (index < bytes.size) {
        uint8_t byte = bytes.data[index];
        size_t size = printable_size(lw_view(bytes.data + index, bytes.size - index));
        if (byte == '\\' || byte == '\t' || byte == '\n') {
            lw_buffer_append_u8(out, '\\');
            lw_buffer_append_u8(out, byte == '\t' ? 't' : byte == '\n' ? 'n' : '\\');
            size = 1;
        } else if (size > 0) {
            lw_buffer_append(out, lw_view(bytes.data + index, size));
        } else {
            uint8_t escape[4] = {'\\', 'x', (uint8_t)hex_digits[byte >> 4],
                                 (uint8_t)hex_digits[byte & 15]};
            lw_buffer_append(out, lw_view(escape, sizeof(escape)));
            size = 1;
        }
        index += size;
    }
}

static void encode_hex(lw_bytes bytes, lw_buffer *out) {
    uint8_t *to = lw_buffer_reserve(out, 2 * bytes.size);
    for (size_t index = 0; index < bytes.size; index++) {
        to[2 * index] = (uint8_t)hex_digits[bytes.data[index] >> 4];
        to[2 * index + 1] = (uint8_t)hex_digits[bytes.data[index] & 15];
    }
    out->size += 2 * bytes.size;
}

void lw_text_encode(lw_form form, lw_bytes bytes, lw_buffer *out) {
    if (form == LW_FORM_HEX) {
        encode_hex(bytes, out);
    } else if (form == LW_FORM_ESCAPED) {
        encode_escaped(bytes, out);
    } else {
        lw_buffer_append(out, bytes);
    }
}

bool lw_text_printable(lw_bytes bytes) {
    size_t index = 0;
    while (index < bytes.size) {
        uint8_t byte = bytes.data[index];
        size_t size = byte == '\n' || byte == '\t'
                          ? 1
                          : printable_size(lw_view(bytes.data + index, bytes.size - index));
        if (size == 0) {
            return false;
        }
        index += size;
    }
    return true;
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* Takes the escape in front of `text` apart: its size, or 0 if it is none. */
static size_t take_escape(lw_bytes text, uint8_t *byte) {
    if (text.size < 2) {
        return 0;
    }
    if (text.data[1] == 't' || text.data[1] == 'n' || text.data[1] == '\\') {
        *byte = text.data[1] == 't' ? '\t' : text.data[1] == 'n' ? '\n' : '\\';
        return 2;
    }
    if (text.data[1] != 'x' || text.size < 4) {
        return 0;
    }
    int high = hex_value(text.data[2]);
    int low = hex_value(text.data[3]);
    if (high < 0 || low < 0) {
        return 0;
    }
    *byte = (uint8_t)(high << 4 | low);
    return 4;
}

static lw_status bad_byte(lw_bytes text, size_t index) {
    uint8_t byte = text.data[index];
    if (byte == '\\') {
        char shown[LW_PRINTABLE_SIZE];
        size_t size = text.size - index < 4 ? text.size - index : 4;
        return lw_fail(LW_INVALID_ARGUMENT,
                       "\"%s\" at byte %zu is no escape: there are \\t, \\n, \\\\ and \\xNN",
                       lw_printable(lw_view(text.data + index, size), shown, sizeof(shown)),
                       index + 1);
    }
    return lw_fail(LW_INVALID_ARGUMENT,
                   "byte %zu is the control character %02x, which must be escaped as \\x%02x",
                   index + 1, byte, byte);
}

static lw_status decode_escaped(lw_bytes text, lw_buffer *out) {
    size_t size_before = out->size;
    size_t index = 0;
    while (index < text.size) {
        uint8_t byte = text.data[index];
        size_t size = 1;
        if (byte == '\\') {
            size = take_escape(lw_view(text.data + index, text.size - index), &byte);
        } else if (byte < 0x20 || byte == 0x7f) {
            size = 0;
        }
        if (size == 0) {
            out->size = size_before;
            return bad_byte(text, index);
        }
        lw_buffer_append_u8(out, byte);
        index += size;
    }
    return LW_OK;
}

static lw_status decode_hex(lw_bytes text, lw_buffer *out) {
    if (text.size % 2 != 0) {
        return lw_fail(LW_INVALID_ARGUMENT, "%zu hexadecimal digits are no whole number of bytes",
                       text.size);
    }
    size_t size_before = out->size;
    for (size_t index = 0; index < text.size; index += 2) {
        int high = hex_value(text.data[index]);
        int low = hex_value(text.data[index + 1]);
        if (high < 0 || low < 0) {
            out->size = size_before;
            return lw_fail(LW_INVALID_ARGUMENT, "character %zu is not a hexadecimal digit",
                           index + (high < 0 ? 1 : 2));
        }
        lw_buffer_append_u8(out, (uint8_t)(high << 4 | low));
    }
    return LW_OK;
}

lw_status lw_text_decode(lw_form form, lw_bytes text, lw_buffer *out) {
    if (form == LW_FORM_HEX) {
        return decode_hex(text, out);
    }
    if (form == LW_FORM_ESCAPED) {
        return decode_escaped(text, out);
    }
    lw_buffer_append(out, text);
    return LW_OK;
}

/* ---- records --------------------------------------------------------------------------------- */

lw_status lw_text_number(lw_bytes text, int64_t *number) {
    bool negative = text.size > 0 && text.data[0] == '-';
    uint64_t read = 0, limit = (uint64_t)INT64_MAX + negative;
    bool good = text.size > negative;
    for (size_t index = negative; index < text.size && good; index++) {
        uint64_t digit = (uint64_t)text.data[index] - '0';
        good = digit <= 9 && read <= (limit - digit) / 10;
        read = read * 10 + digit;
    }
    if (!good) {
        char shown[LW_PRINTABLE_SIZE];
        return lw_fail(LW_INVALID_ARGUMENT, "\"%s\" is no whole number from %lld to %lld",
                       lw_printable(text, shown, sizeof(shown)), (long long)INT64_MIN,
                       (long long)INT64_MAX);
    }
    *number = (int64_t)(negative ? 0 - read : read);
    return LW_OK;
}

lw_status lw_text_ttl(lw_bytes text, uint64_t *ttl_ms) {
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    uint64_t read = 0;
    size_t size = 0;
    while (size < text.size && text.data[size] >= '0' && text.data[size] <= '9' && size < 12) {
        read = read * 10 + text.data[size++] - '0';
    }
    lw_bytes unit = lw_view(text.data + size, text.size - size);
    for (size_t index = 0; size > 0 && index < sizeof(units) / sizeof(units[0]); index++) {
        if (lw_equal(unit, lw_text(units[index].name)) && read > 0 &&
            read <= LW_TTL_MAX_MS / units[index].factor) {
            *ttl_ms = read * units[index].factor;
            return LW_OK;
        }
    }
    char shown[LW_PRINTABLE_SIZE];
    return lw_fail(LW_INVALID_ARGUMENT,
                   "\"%s\" is no time to live: it is a whole number and ms, s, m, h or d, from 1ms "
                   "to 50000d, such as 30s",
                   lw_printable(text, shown, sizeof(shown)));
}

void lw_record_encode(lw_bytes key, lw_bytes value, lw_buffer *out) {
    encode_escaped(key, out);
    lw_buffer_append_u8(out, '\t');
    encode_escaped(value, out);
    lw_buffer_append_u8(out, '\n');
}

lw_status lw_record_decode(lw_bytes line, lw_buffer *key, lw_buffer *value) {
    lw_buffer_clear(key);
    lw_buffer_clear(value);
    const uint8_t *tab = line.size == 0 ? NULL : memchr(line.data, '\t', line.size);
    if (tab == NULL) {
        return lw_fail(LW_INVALID_ARGUMENT, "there is no tab between a key and a value");
    }
    size_t key_size = (size_t)(tab - line.data);
    if (decode_escaped(lw_view(line.data, key_size), key) != LW_OK) {
        return lw_fail_in(LW_INVALID_ARGUMENT, "in the key");
    }
    if (decode_escaped(lw_view(tab + 1, line.size - key_size - 1), value) != LW_OK) {
        return lw_fail_in(LW_INVALID_ARGUMENT, "in the value");
    }
    if (key->size == 0 || key->size > LW_KEY_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "the key has %zu bytes; keys have 1 to %d", key->size,
                       LW_KEY_SIZE_MAX);
    }
    if (value->size > LW_VALUE_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "the value has %zu bytes; values have at most %d",
                       value->size, LW_VALUE_SIZE_MAX);
    }
    return LW_OK;
}

size_t lw_record_size_max(void) {
    return 4 * ((size_t)LW_KEY_SIZE_MAX + LW_VALUE_SIZE_MAX) + 2;
}
