/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of strikes, their text, and the set that decides. */
#include "sim/strike.h"

#include "sim/page.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- lists ---------------------------------------------------------------------------------- */

lw_strike_list lw_strike_list_in(lw_memory *memory) {
    return (lw_strike_list){.memory = memory};
}

void lw_strike_list_reset(lw_strike_list *list) {
    lw_free(list->memory, list->items);
    *list = lw_strike_list_in(list->memory);
}

void lw_strike_list_add(lw_strike_list *list, const lw_strike *strike) {
    if (list->count == list->capacity && list->memory == NULL) {
        return;
    }
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        list->items =
            lw_reallocate(list->memory, list->items, list->capacity * sizeof(*list->items));
    }
    list->items[list->count++] = *strike;
}

/* ---- as text -------------------------------------------------------------------------------- */

void lw_strike_list_print(const lw_strike_list *list, lw_buffer *out) {
    if (list->schedule != 0) {
        lw_buffer_print(out, "schedule %" PRIu64 "\n", list->schedule);
    }
    for (size_t index = 0; index < list->count; index++) {
        const lw_strike *each = &list->items[index];
        lw_buffer_print(out, "%s %s %" PRIu64, each->place, lw_fault_name(each->fault),
                        each->ordinal);
        if (each->time_ns != 0) {
            lw_buffer_print(out, " # %" PRIu64 ".%09" PRIu64 " s%s%s", each->time_ns / 1000000000,
                            each->time_ns % 1000000000, each->text[0] != 0 ? " " : "", each->text);
        }
        lw_buffer_append_u8(out, '\n');
    }
}

/* The next word of the line; empty at its end. */
static lw_bytes next_word(lw_bytes *line) {
    size_t begin = 0;
    while (begin < line->size && line->data[begin] <= ' ') {
        begin++;
    }
    size_t end = begin;
    while (end < line->size && line->data[end] > ' ') {
        end++;
    }
    lw_bytes word = lw_view(line->data + begin, end - begin);
    *line = lw_view(line->data + end, line->size - end);
    return word;
}

/* Whether the word is a number from 1 on. */
static bool read_ordinal(lw_bytes word, uint64_t *ordinal) {
    char digits[24];
    if (word.size == 0 || word.size >= sizeof(digits)) {
        return false;
    }
    memcpy(digits, word.data, word.size);
    digits[word.size] = '\0';
    *ordinal = strtoull(digits, NULL, 10);
    return strspn(digits, "0123456789") == word.size && *ordinal > 0;
}

static lw_status parse_line(lw_strike_list *list, lw_bytes line, uint64_t number) {
    const uint8_t *hash = line.size == 0 ? NULL : memchr(line.data, '#', line.size);
    line.size = hash == NULL ? line.size : (size_t)(hash - line.data);
    lw_bytes place = next_word(&line), name = next_word(&line), ordinal = next_word(&line);
    if (place.size == 0 || (lw_equal(place, lw_text("schedule")) && ordinal.size == 0 &&
                            read_ordinal(name, &list->schedule))) {
        return LW_OK;
    }
    lw_strike strike = {.fault = lw_fault_find(name)};
    if (place.size >= sizeof(strike.place) || strike.fault == LW_FAULT_COUNT ||
        !read_ordinal(ordinal, &strike.ordinal) || next_word(&line).size != 0) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "line %" PRIu64 " is no fault: it must be PLACE FAULT ORDINAL, as in "
                       "\"node1 sync_error 17\"",
                       number);
    }
    memcpy(strike.place, place.data, place.size);
    lw_strike_list_add(list, &strike);
    return LW_OK;
}

lw_status lw_strike_list_parse(lw_strike_list *list, lw_bytes text) {
    for (uint64_t number = 1; text.size > 0; number++) {
        const uint8_t *newline = memchr(text.data, '\n', text.size);
        size_t size = newline == NULL ? text.size : (size_t)(newline - text.data);
        LW_TRY(parse_line(list, lw_view(text.data, size), number));
        size_t taken = newline == NULL ? size : size + 1;
        text = lw_view(text.data + taken, text.size - taken);
    }
    return LW_OK;
}

/* ---- deciding ------------------------------------------------------------------------------- */

lw_strikes lw_strikes_in(lw_memory *memory, const uint64_t *now_ns) {
    return (lw_strikes){.memory = memory, .now_ns = now_ns};
}

void lw_strikes_record(lw_strikes *strikes, lw_strike_list *list) {
    strikes->record = list;
}

/* A strike's name as a number, never 0. */
static uint64_t key_of(const char *place, lw_fault fault, uint64_t ordinal) {
    uint64_t key = lw_mix(lw_hash((uint64_t)fault, lw_text(place)) ^ lw_mix(ordinal));
    return key == 0 ? 1 : key;
}

/* Where the key is in the set, or where it would be. */
static uint64_t *find(const lw_strikes *strikes, uint64_t key) {
    size_t place = (size_t)key & (strikes->wanted_capacity - 1);
    while (strikes->wanted[place] != 0 && strikes->wanted[place] != key) {
        place = (place + 1) & (strikes->wanted_capacity - 1);
    }
    return &strikes->wanted[place];
}

void lw_strikes_give(lw_strikes *strikes, const lw_strike_list *list) {
    strikes->given = true;
    strikes->wanted_capacity = 16;
    while (strikes->wanted_capacity < 2 * list->count) {
        strikes->wanted_capacity *= 2;
    }
    lw_free(strikes->memory, strikes->wanted);
    strikes->wanted =
        lw_allocate_zero(strikes->memory, strikes->wanted_capacity * sizeof(*strikes->wanted));
    for (size_t index = 0; index < list->count; index++) {
        const lw_strike *each = &list->items[index];
        uint64_t key = key_of(each->place, each->fault, each->ordinal);
        *find(strikes, key) = key;
    }
}

bool lw_strikes_decide(lw_strikes *strikes, const char *place, lw_fault fault, uint64_t ordinal,
                       bool drawn) {
    bool hit = drawn;
    if (strikes->given) {
        hit = *find(strikes, key_of(place, fault, ordinal)) != 0;
    }
    if (hit) {
        lw_page_event(strikes->page, place, lw_fault_name(fault), NULL);
    }
    if (hit && strikes->record != NULL) {
        lw_strike strike = {.fault = fault, .ordinal = ordinal, .time_ns = *strikes->now_ns};
        LW_ASSERT(strlen(place) < sizeof(strike.place));
        memcpy(strike.place, place, strlen(place));
        lw_strike_list_add(strikes->record, &strike);
    }
    return hit;
}

void lw_strikes_explain(lw_strikes *strikes, const char *text) {
    lw_page_explain(strikes->page, text);
    lw_strike_list *record = strikes->record;
    if (record != NULL) {
        LW_ASSERT(record->count > 0);
        lw_strike *last = &record->items[record->count - 1];
        (void)snprintf(last->text, sizeof(last->text), "%s", text);
    }
}
