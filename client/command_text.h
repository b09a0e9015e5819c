/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and values as text. Two forms beside the plain bytes:
 *
 *   escaped   printable characters stand for themselves, everything else is escaped:
 *             \t tab · \n newline · \\ backslash · \xNN any byte, two hexadecimal digits.
 *             Printable are ASCII 20..7e and well-formed UTF-8 from U+00A0 up, but for the line,
 *             paragraph and direction controls (U+2028..202E, U+2066..2069).
 *   hex       two hexadecimal digits a byte.
 *
 * A record is one line: key, a tab, value, both escaped. docs/TEXT_FORM.md tells it to users.
 *
 * Invariants
 * E1. Whatever bytes are encoded, decoding gives the same bytes.
 * E2. An encoded text holds no control character, so a record is one line with one tab in it.
 * E3. Decoding takes more than encoding writes (any byte from 80 up, upper-case digits, more
 *     escapes than needed), but never control characters: a file that is no text is refused. */
#ifndef LW_COMMAND_TEXT_H
#define LW_COMMAND_TEXT_H

#include "base/bytes.h"

typedef enum lw_form { LW_FORM_PLAIN, LW_FORM_ESCAPED, LW_FORM_HEX } lw_form;

void lw_text_encode(lw_form form, lw_bytes bytes, lw_buffer *out);
/* Appends what `text` stands for. LW_INVALID_ARGUMENT says what is wrong with it, and where; `out`
 * is then as it was. */
LW_MUST_USE lw_status lw_text_decode(lw_form form, lw_bytes text, lw_buffer *out);
/* Whether the bytes can be shown on a terminal as they are: printable as above, newlines and tabs.
 */
bool lw_text_printable(lw_bytes bytes);

/* Reads a whole number of 64 bits, "-" before a negative one. LW_INVALID_ARGUMENT if it is none. */
LW_MUST_USE lw_status lw_text_number(lw_bytes text, int64_t *number);
/* Reads a time to live: a whole number and ms, s, m, h or d. LW_INVALID_ARGUMENT if it is none, or
 * none that a value can have. */
LW_MUST_USE lw_status lw_text_ttl(lw_bytes text, uint64_t *ttl_ms);

/* Appends "KEY<tab>VALUE<newline>". */
void lw_record_encode(lw_bytes key, lw_bytes value, lw_buffer *out);
/* Takes a line without its newline apart; the buffers are set. The key is not empty, and both are
 * within the limits of the store. */
LW_MUST_USE lw_status lw_record_decode(lw_bytes line, lw_buffer *key, lw_buffer *value);

/* No line of a valid record is longer: every byte escaped, the tab, the newline. */
size_t lw_record_size_max(void);

#endif
