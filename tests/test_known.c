/* SPDX-License-Identifier: Apache-2.0 */
/* lattice/known: what is known is what would be worked out. */
#include "lattice/known.h"

#include "tests/unit.h"

#include <stdlib.h>

typedef struct fixture {
    lw_known known;
    lw_identity one, other;
    uint8_t signature[LW_SIGNATURE_SIZE];
} fixture;

static int open_fixture(void **state) {
    fixture *opened = calloc(1, sizeof(*opened));
    static const uint8_t seeds[2][LW_SEED_SIZE] = {{1}, {2}};
    lw_identity_derive(seeds[0], &opened->one);
    lw_identity_derive(seeds[1], &opened->other);
    lw_known_sign(&opened->known, &opened->one, lw_text("what it says"), opened->signature);
    *state = opened;
    return 0;
}

static int close_fixture(void **state) {
    free(*state);
    return 0;
}

static void what_was_signed_here_is_good_as_it_is_anywhere(void **state) {
    fixture *in = *state;
    lw_bytes said = lw_text("what it says");
    assert_true(lw_known_verify(&in->known, in->one.public_key, said, in->signature));
    assert_true(lw_known_verify(NULL, in->one.public_key, said, in->signature));
    assert_true(lw_identity_verify(in->one.public_key, said, in->signature));
}

static void what_was_not_signed_so_is_refused(void **state) {
    fixture *in = *state;
    lw_bytes said = lw_text("what it says");
    assert_false(lw_known_verify(&in->known, in->other.public_key, said, in->signature));
    assert_false(
        lw_known_verify(&in->known, in->one.public_key, lw_text("another"), in->signature));
    in->signature[7] ^= 1;
    assert_false(lw_known_verify(&in->known, in->one.public_key, said, in->signature));
    assert_false(lw_known_verify(&in->known, in->one.public_key, said, in->signature));
}

/* Of `count` pairs of keys, as many as fit or more, in both directions. */
static void exchange_many(lw_known *known, uint32_t count) {
    uint8_t secrets[2][LW_EXCHANGE_SIZE] = {{0}}, keys[2][LW_EXCHANGE_SIZE];
    uint8_t shared[LW_EXCHANGE_SIZE], wanted[LW_EXCHANGE_SIZE];
    for (uint32_t index = 0; index < count; index++) {
        for (uint32_t side = 0; side < 2; side++) {
            lw_put_u32(secrets[side], 2 * index + side);
            lw_exchange_public(secrets[side], keys[side]);
        }
        assert_true(lw_exchange(secrets[0], keys[1], wanted));
        for (uint32_t side = 0; side < 2; side++) {
            assert_true(
                lw_known_exchange(known, secrets[side], keys[side], keys[1 - side], shared));
            assert_memory_equal(shared, wanted, sizeof(wanted));
        }
    }
}

static void both_sides_of_an_exchange_get_what_it_makes(void **state) {
    fixture *in = *state;
    exchange_many(&in->known, 4 * LW_KNOWN_EXCHANGES);
    exchange_many(NULL, 2);
}

static void a_key_that_is_good_for_nothing_stays_so(void **state) {
    fixture *in = *state;
    uint8_t secret[LW_EXCHANGE_SIZE] = {1}, key[LW_EXCHANGE_SIZE], shared[LW_EXCHANGE_SIZE];
    const uint8_t zeros[LW_EXCHANGE_SIZE] = {0};
    lw_exchange_public(secret, key);
    assert_false(lw_known_exchange(&in->known, secret, key, zeros, shared));
    assert_false(lw_known_exchange(&in->known, secret, key, zeros, shared));
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORY(what_was_signed_here_is_good_as_it_is_anywhere),
        STORY(what_was_not_signed_so_is_refused),
        STORY(both_sides_of_an_exchange_get_what_it_makes),
        STORY(a_key_that_is_good_for_nothing_stays_so),
    };
    return cmocka_run_group_tests_name("known", tests, unit_arm, NULL) != 0;
}
