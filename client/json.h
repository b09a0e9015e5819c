/* SPDX-License-Identifier: Apache-2.0 */
/* Writing JSON, for `--json` answers and the status of a node. Members come out in the order they
 * are written; commas are this file's business. Text must be UTF-8: bytes that are not are written
 * as hex by lw_json_bytes. */
#ifndef LW_JSON_H
#define LW_JSON_H

#include "base/bytes.h"

typedef struct lw_json {
    lw_buffer *out;
    bool comma; /* the next member needs one before it */
} lw_json;

static inline lw_json lw_json_to(lw_buffer *out) {
    return (lw_json){.out = out};
}
/* `name` is the member's name, or NULL for an element of an array and for the outermost value. */
void lw_json_object_open(lw_json *json, const char *name);
void lw_json_object_close(lw_json *json);
void lw_json_array_open(lw_json *json, const char *name);
void lw_json_array_close(lw_json *json);
void lw_json_text(lw_json *json, const char *name, lw_bytes text);
/* As a string when the bytes are UTF-8; else as {"hex": "…"}, so that any bytes round-trip. */
void lw_json_bytes(lw_json *json, const char *name, lw_bytes bytes);
void lw_json_number(lw_json *json, const char *name, uint64_t value);
void lw_json_integer(lw_json *json, const char *name, int64_t value);
void lw_json_boolean(lw_json *json, const char *name, bool value);
void lw_json_null(lw_json *json, const char *name);

/* Whether the bytes are well-formed UTF-8 (shortest forms, no surrogates). */
bool lw_utf8_valid(lw_bytes bytes);

#endif
