/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/atomic.h"

#include "base/logline.h"

/* ---- operands ------------------------------------------------------------------------------- */

typedef struct swap {
    bool expects, gives;
    lw_bytes expected, value;
} swap;

static bool swap_decode(lw_bytes operand, swap *decoded) {
    if (operand.size < LW_SWAP_HEAD_SIZE || operand.data[0] > 1 || operand.data[1] > 1) {
        return false;
    }
    size_t expected_size = lw_get_u32(operand.data + 2);
    if (expected_size > operand.size - LW_SWAP_HEAD_SIZE) {
        return false;
    }
    *decoded = (swap){.expects = operand.data[0] == 1, .gives = operand.data[1] == 1};
    decoded->expected = lw_view(operand.data + LW_SWAP_HEAD_SIZE, expected_size);
    decoded->value = lw_view(decoded->expected.data + expected_size,
                             operand.size - LW_SWAP_HEAD_SIZE - expected_size);
    return (decoded->expects || decoded->expected.size == 0) &&
           (decoded->gives || decoded->value.size == 0);
}

void lw_swap_encode(const lw_bytes *expected, const lw_bytes *value, lw_buffer *operand) {
    lw_buffer_clear(operand);
    lw_buffer_append_u8(operand, expected != NULL);
    lw_buffer_append_u8(operand, value != NULL);
    lw_buffer_append_u32(operand, expected != NULL ? (uint32_t)expected->size : 0);
    if (expected != NULL) {
        lw_buffer_append(operand, *expected);
    }
    if (value != NULL) {
        lw_buffer_append(operand, *value);
    }
}

static bool stamp_fits(lw_bytes operand) {
    if (operand.size < LW_STAMP_TAIL_SIZE + sizeof(uint64_t)) {
        return false;
    }
    size_t value_size = operand.size - LW_STAMP_TAIL_SIZE;
    return lw_get_u32(operand.data + value_size) <= value_size - sizeof(uint64_t);
}

bool lw_atomic_operand_valid(lw_mutation_kind kind, lw_bytes operand) {
    swap decoded;
    switch (kind) {
    case LW_MUTATION_PUT:
    case LW_MUTATION_APPEND:
        return true;
    case LW_MUTATION_DELETE:
    case LW_MUTATION_LOCK:
        return operand.size == 0;
    case LW_MUTATION_ADD:
    case LW_MUTATION_MIN:
    case LW_MUTATION_MAX:
        return operand.size == LW_NUMBER_SIZE;
    case LW_MUTATION_SWAP:
        return swap_decode(operand, &decoded);
    case LW_MUTATION_STAMP:
        return stamp_fits(operand);
    }
    return false;
}

void lw_number_encode(int64_t number, uint8_t to[LW_NUMBER_SIZE]) {
    lw_put_u64(to, (uint64_t)number);
}

bool lw_number_decode(lw_bytes value, int64_t *number) {
    if (value.size == LW_NUMBER_SIZE) {
        *number = (int64_t)lw_get_u64(value.data);
    }
    return value.size == LW_NUMBER_SIZE;
}

/* ---- working out ---------------------------------------------------------------------------- */

/* False: the sum needs more than 64 bits. */
static bool combine(lw_mutation_kind kind, int64_t a, int64_t b, int64_t *result) {
    if (kind == LW_MUTATION_ADD) {
        return !__builtin_add_overflow(a, b, result);
    }
    *result = (kind == LW_MUTATION_MIN) == (a < b) ? a : b;
    return true;
}

static lw_status apply_number(lw_mutation_kind kind, lw_bytes key, const lw_bytes *base,
                              lw_bytes operand, lw_buffer *scratch) {
    char text[LW_PRINTABLE_SIZE];
    int64_t number, other, result;
    bool good = lw_number_decode(operand, &other);
    LW_ASSERT(good);
    result = other;
    if (base != NULL && !lw_number_decode(*base, &number)) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "the value of key \"%s\" is no number: it has %zu bytes, a number has %d",
                       lw_printable(key, text, sizeof(text)), base->size, LW_NUMBER_SIZE);
    }
    if (base != NULL && !combine(kind, number, other, &result)) {
        return lw_fail(LW_INVALID_ARGUMENT,
                       "adding %lld to the value of key \"%s\", %lld, exceeds 64 bits",
                       (long long)other, lw_printable(key, text, sizeof(text)), (long long)number);
    }
    lw_buffer_append_u64(scratch, (uint64_t)result);
    return LW_OK;
}

static lw_status apply_append(lw_bytes key, const lw_bytes *base, lw_bytes operand,
                              lw_buffer *scratch) {
    char text[LW_PRINTABLE_SIZE];
    size_t base_size = base != NULL ? base->size : 0;
    if (base_size + operand.size > LW_USER_VALUE_SIZE_MAX) {
        return lw_fail(
            LW_INVALID_ARGUMENT,
            "appending %zu bytes to the value of key \"%s\", %zu bytes, exceeds the limit "
            "of %d",
            operand.size, lw_printable(key, text, sizeof(text)), base_size, LW_USER_VALUE_SIZE_MAX);
    }
    if (base != NULL) {
        lw_buffer_append(scratch, *base);
    }
    lw_buffer_append(scratch, operand);
    return LW_OK;
}

static void apply_swap(const lw_bytes *base, lw_bytes operand, lw_mutation *becomes) {
    swap decoded;
    bool good = swap_decode(operand, &decoded);
    LW_ASSERT(good);
    bool as_expected =
        decoded.expects ? base != NULL && lw_equal(*base, decoded.expected) : base == NULL;
    becomes->kind = !as_expected    ? LW_MUTATION_LOCK
                    : decoded.gives ? LW_MUTATION_PUT
                                    : LW_MUTATION_DELETE;
    becomes->value = as_expected ? decoded.value : (lw_bytes){0};
}

lw_status lw_atomic_apply(lw_mutation_kind kind, lw_bytes key, const lw_bytes *base,
                          lw_bytes operand, lw_buffer *scratch, lw_mutation *becomes) {
    lw_buffer_clear(scratch);
    *becomes = (lw_mutation){.kind = LW_MUTATION_PUT, .key = key};
    switch (kind) {
    case LW_MUTATION_ADD:
    case LW_MUTATION_MIN:
    case LW_MUTATION_MAX:
        LW_TRY(apply_number(kind, key, base, operand, scratch));
        becomes->value = lw_buffer_view(scratch);
        break;
    case LW_MUTATION_APPEND:
        LW_TRY(apply_append(key, base, operand, scratch));
        becomes->value = lw_buffer_view(scratch);
        break;
    case LW_MUTATION_SWAP:
        apply_swap(base, operand, becomes);
        break;
    case LW_MUTATION_PUT:
    case LW_MUTATION_DELETE:
    case LW_MUTATION_LOCK:
    case LW_MUTATION_STAMP:
        becomes->kind = kind;
        becomes->value = operand;
        break;
    }
    return LW_OK;
}

bool lw_atomic_compose(lw_mutation_kind kind, lw_bytes first, lw_bytes second, lw_buffer *operand) {
    int64_t a, b, result;
    lw_buffer_clear(operand);
    if (kind == LW_MUTATION_APPEND && first.size + second.size <= LW_USER_VALUE_SIZE_MAX) {
        lw_buffer_append(operand, first);
        lw_buffer_append(operand, second);
        return true;
    }
    bool numbers = kind == LW_MUTATION_ADD || kind == LW_MUTATION_MIN || kind == LW_MUTATION_MAX;
    if (!numbers || !lw_number_decode(first, &a) || !lw_number_decode(second, &b) ||
        !combine(kind, a, b, &result)) {
        return false;
    }
    lw_buffer_append_u64(operand, (uint64_t)result);
    return true;
}

void lw_stamp_apply(lw_bytes operand, uint64_t commit_timestamp, lw_buffer *value) {
    LW_ASSERT(stamp_fits(operand));
    size_t value_size = operand.size - LW_STAMP_TAIL_SIZE;
    lw_buffer_clear(value);
    lw_buffer_append(value, lw_view(operand.data, value_size));
    lw_put_u64_sorted(value->data + lw_get_u32(operand.data + value_size), commit_timestamp);
}
