/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/pins.h"

#include "base/hash.h"
#include "txn/oracle.h"

#include <stdlib.h>

enum { FORMAT = 1 };

lw_pins lw_pins_in(lw_memory *memory) {
    return (lw_pins){.memory = memory, .by_place = lw_map_in(memory)};
}

static void forget(lw_pins *pins, lw_pin *pin) {
    lw_map_remove(&pins->by_place, &pin->node);
    *(pin->previous == NULL ? &pins->first : &pin->previous->next) = pin->next;
    if (pin->next != NULL) {
        pin->next->previous = pin->previous;
    }
    pins->leftover_count -= pin->leftover;
    lw_free(pins->memory, pin);
}

void lw_pins_reset(lw_pins *pins) {
    while (pins->first != NULL) {
        forget(pins, pins->first);
    }
    lw_map_reset(&pins->by_place);
}

/* ---- holding -------------------------------------------------------------------------------- */

static uint64_t hash_of(uint64_t session, uint64_t timestamp) {
    return lw_mix(session ^ lw_mix(timestamp));
}

static lw_pin *find(const lw_pins *pins, uint64_t session, uint64_t timestamp) {
    lw_map_node *node = lw_map_first(&pins->by_place, hash_of(session, timestamp));
    while (node != NULL) {
        lw_pin *pin = LW_MAP_ENTRY(node, lw_pin, node);
        if (pin->session == session && pin->timestamp == timestamp) {
            return pin;
        }
        node = lw_map_next(node);
    }
    return NULL;
}

lw_pin *lw_pins_hold(lw_pins *pins, uint64_t session, uint64_t timestamp, uint64_t until,
                     lw_bytes label) {
    LW_ASSERT(timestamp >= pins->safepoint);
    lw_pin *pin = find(pins, session, timestamp);
    if (pin != NULL) {
        pin->until = until > pin->until ? until : pin->until;
        return pin;
    }
    if (pins->by_place.count >= LW_PIN_COUNT_MAX) {
        return NULL;
    }
    pin = lw_allocate_zero(pins->memory, sizeof(*pin));
    pin->session = session;
    pin->timestamp = timestamp;
    pin->until = until;
    pin->label_size =
        (uint8_t)(label.size < LW_PIN_LABEL_SIZE_MAX ? label.size : (size_t)LW_PIN_LABEL_SIZE_MAX);
    if (pin->label_size > 0) {
        memcpy(pin->label, label.data, pin->label_size);
    }
    pin->next = pins->first;
    if (pin->next != NULL) {
        pin->next->previous = pin;
    }
    pins->first = pin;
    lw_map_insert(&pins->by_place, &pin->node, hash_of(session, timestamp));
    return pin;
}

bool lw_pins_drop(lw_pins *pins, uint64_t session, uint64_t timestamp, bool asked) {
    lw_pin *pin = find(pins, session, timestamp);
    if (pin == NULL || (pin->asked && !asked)) {
        return false;
    }
    forget(pins, pin);
    return true;
}

bool lw_pins_have_session(const lw_pins *pins, uint64_t session) {
    const lw_pin *each = pins->first;
    while (each != NULL && each->session != session) {
        each = each->next;
    }
    return each != NULL;
}

uint32_t lw_pins_end_session(lw_pins *pins, uint64_t session) {
    uint32_t count = pins->by_place.count;
    lw_pin *next;
    for (lw_pin *each = pins->first; each != NULL; each = next) {
        next = each->next;
        if (each->session == session) {
            forget(pins, each);
        }
    }
    return count - pins->by_place.count;
}

uint32_t lw_pins_expire(lw_pins *pins, uint64_t now) {
    uint32_t count = pins->by_place.count;
    lw_pin *next;
    for (lw_pin *each = pins->first; each != NULL; each = next) {
        next = each->next;
        if (each->until <= now) {
            forget(pins, each);
        }
    }
    return count - pins->by_place.count;
}

uint32_t lw_pins_end_leftovers(lw_pins *pins) {
    uint32_t count = pins->by_place.count;
    lw_pin *next;
    for (lw_pin *each = pins->first; each != NULL && pins->leftover_count > 0; each = next) {
        next = each->next;
        if (each->leftover) {
            forget(pins, each);
        }
    }
    return count - pins->by_place.count;
}

void lw_pins_session_came(lw_pins *pins, uint64_t session) {
    for (lw_pin *each = pins->first; each != NULL && pins->leftover_count > 0; each = each->next) {
        if (each->leftover && each->session == session) {
            each->leftover = false;
            pins->leftover_count--;
        }
    }
}

const lw_pin *lw_pins_oldest(const lw_pins *pins) {
    const lw_pin *oldest = NULL;
    for (const lw_pin *each = pins->first; each != NULL; each = each->next) {
        if (oldest == NULL || each->timestamp < oldest->timestamp) {
            oldest = each;
        }
    }
    return oldest;
}

/* ---- moving --------------------------------------------------------------------------------- */

uint64_t lw_pins_reach(const lw_pins *pins, uint64_t now, uint64_t retention_ms) {
    uint64_t now_ms = lw_timestamp_ms(now);
    uint64_t reach = now_ms > retention_ms ? lw_timestamp_of_ms(now_ms - retention_ms) : 0;
    const lw_pin *oldest = lw_pins_oldest(pins);
    if (oldest != NULL && oldest->timestamp < reach) {
        reach = oldest->timestamp;
    }
    return reach > pins->safepoint ? reach : pins->safepoint;
}

/* ---- the record ----------------------------------------------------------------------------- */

static int by_timestamp(const void *a, const void *b) {
    const lw_pin *left = *(lw_pin *const *)a, *right = *(lw_pin *const *)b;
    if (left->timestamp != right->timestamp) {
        return left->timestamp < right->timestamp ? -1 : 1;
    }
    return left->session < right->session ? -1 : left->session > right->session;
}

static void encode_pin(const lw_pin *pin, lw_buffer *out) {
    lw_buffer_append_u8(out, pin->asked);
    lw_buffer_append_u64(out, pin->session);
    lw_buffer_append_u64(out, pin->timestamp);
    lw_buffer_append_u64(out, pin->until);
    lw_buffer_append_varint(out, pin->label_size);
    lw_buffer_append(out, lw_view(pin->label, pin->label_size));
}

void lw_pins_encode(const lw_pins *pins, lw_buffer *out) {
    uint32_t all = pins->by_place.count, count = 0;
    lw_pin **sorted = lw_allocate(pins->memory, (all + 1) * sizeof(*sorted));
    for (lw_pin *each = pins->first; each != NULL; each = each->next) {
        sorted[count++] = each;
    }
    qsort(sorted, count, sizeof(*sorted), by_timestamp);
    count = count < LW_PIN_RECORD_COUNT ? count : (uint32_t)LW_PIN_RECORD_COUNT;
    lw_buffer_clear(out);
    lw_buffer_append_u8(out, FORMAT);
    lw_buffer_append_u64(out, pins->safepoint);
    lw_buffer_append_varint(out, count);
    for (uint32_t index = 0; index < count; index++) {
        encode_pin(sorted[index], out);
    }
    lw_free(pins->memory, sorted);
}

static bool decode_pin(lw_bytes *bytes, uint64_t safepoint, lw_pins *pins) {
    lw_bytes asked, numbers, label;
    uint64_t label_size;
    if (!lw_take_bytes(bytes, 1, &asked) || asked.data[0] > 1 ||
        !lw_take_bytes(bytes, 3 * sizeof(uint64_t), &numbers) ||
        !lw_take_varint(bytes, &label_size) || label_size > LW_PIN_LABEL_SIZE_MAX ||
        !lw_take_bytes(bytes, label_size, &label)) {
        return false;
    }
    uint64_t session = lw_get_u64(numbers.data), timestamp = lw_get_u64(numbers.data + 8);
    if (timestamp < safepoint || find(pins, session, timestamp) != NULL) {
        return false;
    }
    lw_pin *pin = lw_pins_hold(pins, session, timestamp, lw_get_u64(numbers.data + 16), label);
    LW_ASSERT(pin != NULL);
    pin->asked = asked.data[0] == 1;
    pin->leftover = true;
    pins->leftover_count++;
    return true;
}

static bool decode(lw_bytes bytes, lw_pins *pins) {
    lw_bytes head;
    uint64_t count;
    if (!lw_take_bytes(&bytes, 1 + sizeof(uint64_t), &head) || head.data[0] != FORMAT ||
        !lw_take_varint(&bytes, &count) || count > LW_PIN_RECORD_COUNT) {
        return false;
    }
    uint64_t safepoint = lw_get_u64(head.data + 1);
    for (; count > 0; count--) {
        if (!decode_pin(&bytes, safepoint, pins)) {
            return false;
        }
    }
    pins->safepoint = safepoint;
    return bytes.size == 0;
}

lw_status lw_pins_decode(lw_bytes bytes, lw_pins *pins) {
    LW_ASSERT(pins->first == NULL && pins->safepoint == 0);
    if (decode(bytes, pins)) {
        return LW_OK;
    }
    lw_memory *memory = pins->memory;
    lw_pins_reset(pins);
    *pins = lw_pins_in(memory);
    return lw_fail(LW_CORRUPTION, "the record of the safepoint is damaged: restore the folder from "
                                  "a backup");
}

/* ---- another holder of the record ----------------------------------------------------------- */

void lw_pins_raise(lw_pins *pins, uint64_t safepoint) {
    if (safepoint <= pins->safepoint) {
        return;
    }
    pins->safepoint = safepoint;
    lw_pin *next;
    for (lw_pin *each = pins->first; each != NULL; each = next) {
        next = each->next;
        if (each->timestamp < safepoint) {
            forget(pins, each);
        }
    }
}

/* In the record they were held up to the same moment, or an earlier one. */
static void take_pin(lw_pins *pins, const lw_pin *from) {
    if (from->timestamp < pins->safepoint) {
        return;
    }
    lw_pin *pin = lw_pins_hold(pins, from->session, from->timestamp, from->until,
                               lw_view(from->label, from->label_size));
    if (pin != NULL) {
        pin->asked = pin->asked || from->asked;
    }
}

lw_status lw_pins_take_over(lw_bytes bytes, lw_pins *pins, uint64_t *safepoint) {
    lw_pins recorded = lw_pins_in(pins->memory);
    LW_TRY(lw_pins_decode(bytes, &recorded));
    *safepoint = recorded.safepoint;
    lw_pins_raise(pins, recorded.safepoint);
    for (const lw_pin *each = recorded.first; each != NULL; each = each->next) {
        take_pin(pins, each);
    }
    lw_pins_reset(&recorded);
    return LW_OK;
}
