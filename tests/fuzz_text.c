/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes against the text form of keys and values, and against scripts. Properties:
 *   1. whatever is encoded, decodes to the same bytes, in every form;
 *   2. an encoded record is one line with one tab;
 *   3. what is accepted as a record, encoded and decoded again, is the same record;
 *   4. words are read or refused, and a step that is read has the words it needs. */
#include "client/command_script.h"
#include "client/command_text.h"

static void check_round_trip(lw_memory *memory, lw_form form, lw_bytes bytes) {
    lw_buffer text = lw_buffer_in(memory), again = lw_buffer_in(memory);
    lw_text_encode(form, bytes, &text);
    LW_ASSERT(lw_text_decode(form, lw_buffer_view(&text), &again) == LW_OK);
    LW_ASSERT(lw_equal(bytes, lw_buffer_view(&again)));
    LW_ASSERT(form == LW_FORM_PLAIN || lw_text_printable(lw_buffer_view(&text)));
}

static void check_record(lw_memory *memory, lw_bytes line) {
    lw_buffer key = lw_buffer_in(memory), value = lw_buffer_in(memory);
    lw_buffer text = lw_buffer_in(memory);
    lw_buffer key_again = lw_buffer_in(memory), value_again = lw_buffer_in(memory);
    if (lw_record_decode(line, &key, &value) != LW_OK) {
        return;
    }
    lw_record_encode(lw_buffer_view(&key), lw_buffer_view(&value), &text);
    size_t size = text.size - 1;
    LW_ASSERT(text.data[size] == '\n');
    LW_ASSERT(memchr(text.data, '\n', size) == NULL);
    LW_ASSERT(memchr(text.data, '\t', size) == memrchr(text.data, '\t', size));
    LW_ASSERT(lw_record_decode(lw_view(text.data, size), &key_again, &value_again) == LW_OK);
    LW_ASSERT(lw_equal(lw_buffer_view(&key), lw_buffer_view(&key_again)));
    LW_ASSERT(lw_equal(lw_buffer_view(&value), lw_buffer_view(&value_again)));
}

static void check_script(lw_memory *memory, lw_bytes line) {
    lw_arena arena = lw_arena_in(memory);
    lw_words words;
    lw_step step;
    if (lw_words_read(line, &arena, &words) == LW_OK && words.count > 0 &&
        lw_step_read(&words, 1, &step) == LW_OK) {
        LW_ASSERT(step.words.count > 0);
        LW_ASSERT(step.words.count + 1 == words.count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lw_memory *memory = lw_memory_open();
    lw_bytes bytes = lw_view(data, size);
    check_round_trip(memory, LW_FORM_PLAIN, bytes);
    check_round_trip(memory, LW_FORM_ESCAPED, bytes);
    check_round_trip(memory, LW_FORM_HEX, bytes);
    check_record(memory, bytes);
    check_script(memory, bytes);
    lw_memory_close(memory);
    return 0;
}
