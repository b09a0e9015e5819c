/* SPDX-License-Identifier: Apache-2.0 */
/* lattice/token: texts that hold what they were made of, claims that a member checks, and words
 * that say what to do about those that do not hold. */
#include "lattice/token.h"

#include "tests/unit.h"

enum { EXPIRES_MS = 10000000 };

static lw_shared_key lattice_of(uint8_t number) {
    lw_shared_key lattice = {.epoch = 3};
    memset(lattice.id, number, sizeof(lattice.id));
    memset(lattice.key, number + 1, sizeof(lattice.key));
    return lattice;
}

static lw_token make(const lw_shared_key *lattice) {
    lw_token token;
    lw_token_make(lattice, LW_TOKEN_JOIN, 4711, EXPIRES_MS, &token);
    return token;
}

static void a_text_gives_back_its_token(void **state) {
    (void)state;
    lw_shared_key lattice = lattice_of(1);
    lw_token token = make(&lattice), parsed;
    char text[LW_TOKEN_TEXT_SIZE], file[LW_TOKEN_TEXT_SIZE + 8];
    lw_token_print(&token, text);
    assert_int_equal(strlen(text), LW_TOKEN_TEXT_SIZE - 1);
    assert_int_equal(lw_token_parse(lw_text(text), &parsed), LW_OK);
    assert_memory_equal(&parsed, &token, sizeof(token));
    (void)snprintf(file, sizeof(file), " \t%s\r\n", text); /* as it stands in a file */
    assert_int_equal(lw_token_parse(lw_text(file), &parsed), LW_OK);
    assert_memory_equal(&parsed, &token, sizeof(token));
}

static void a_text_that_was_changed_or_cut_is_no_token(void **state) {
    (void)state;
    lw_shared_key lattice = lattice_of(1);
    lw_token token = make(&lattice), parsed;
    char text[LW_TOKEN_TEXT_SIZE];
    lw_token_print(&token, text);
    for (size_t size = 0; size < strlen(text); size++) {
        assert_int_equal(lw_token_parse(lw_view(text, size), &parsed), LW_INVALID_ARGUMENT);
    }
    for (size_t at = 0; at < strlen(text); at++) {
        char was = text[at];
        text[at] = was == 'A' ? 'B' : 'A';
        assert_int_equal(lw_token_parse(lw_text(text), &parsed), LW_INVALID_ARGUMENT);
        /* The text is a secret. */
        assert_null(strstr(lw_error_slot()->text, text + 20));
        text[at] = was;
    }
}

static void the_text_of_a_token_is_this(void **state) {
    (void)state;
    lw_shared_key lattice = lattice_of(1);
    lw_token token = make(&lattice);
    char text[LW_TOKEN_TEXT_SIZE];
    lw_token_print(&token, text);
    assert_string_equal(text, "lwt1."
                              "AQEDAAAAZxIAAAAAAACAlpgAAAAAAAEBAQEBAQEBAQEBAQEBAQExIy2BIns7qPpODoOj"
                              "lV0VatHhhCOyjcvgV0vAo91-LT4aPYM");
}

static void a_member_finds_the_secret_that_the_claims_go_with(void **state) {
    (void)state;
    lw_shared_key lattice = lattice_of(1);
    lw_token token = make(&lattice), checked;
    uint8_t claims[LW_TOKEN_CLAIMS_SIZE];
    lw_token_claims(&token, claims);
    assert_int_equal(lw_token_check(&lattice, EXPIRES_MS - 1, claims, &checked), LW_OK);
    assert_memory_equal(&checked, &token, sizeof(token));
    /* Whoever changes the claims needs another secret. */
    for (size_t bit = 0; bit < 8 * sizeof(claims); bit++) {
        claims[bit / 8] ^= (uint8_t)(1U << bit % 8);
        if (lw_token_check(&lattice, 0, claims, &checked) == LW_OK) {
            assert_memory_not_equal(checked.secret, token.secret, LW_TOKEN_SECRET_SIZE);
        }
        claims[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

static void expect_refused(const lw_shared_key *lattice, uint64_t now_ms, const lw_token *token,
                           const char *words) {
    uint8_t claims[LW_TOKEN_CLAIMS_SIZE];
    lw_token checked;
    lw_token_claims(token, claims);
    assert_int_equal(lw_token_check(lattice, now_ms, claims, &checked), LW_REFUSED);
    assert_non_null(strstr(lw_error_slot()->text, words));
    assert_non_null(strstr(lw_error_slot()->text, "lathwork token"));
}

static void expired_old_and_foreign_tokens_are_refused_in_words(void **state) {
    (void)state;
    lw_shared_key lattice = lattice_of(1), other = lattice_of(2), newer = lattice;
    lw_token token = make(&lattice), checked, lasting;
    uint8_t claims[LW_TOKEN_CLAIMS_SIZE];
    expect_refused(&lattice, EXPIRES_MS, &token, "expired less than a minute ago");
    expect_refused(&lattice, EXPIRES_MS + 7 * 60000, &token, "expired 7 minutes ago");
    expect_refused(&other, 0, &token, "another lattice");
    newer.epoch++;
    expect_refused(&newer, 0, &token, "epoch 3, the lattice is at 4");
    lw_token early = make(&newer);
    lw_token_claims(&early, claims);
    assert_int_equal(lw_token_check(&lattice, 0, claims, &checked), LW_UNAVAILABLE);
    lw_token_make(&lattice, LW_TOKEN_JOIN, 1, 0, &lasting);
    lw_token_claims(&lasting, claims);
    assert_int_equal(lw_token_check(&lattice, UINT64_MAX, claims, &checked), LW_OK);
}

static void keys_of_one_purpose_are_not_those_of_another(void **state) {
    (void)state;
    lw_shared_key lattice = lattice_of(1), newer = lattice;
    uint8_t key[LW_SHARED_KEY_SIZE], other[LW_SHARED_KEY_SIZE];
    lw_token token = make(&lattice), again;
    lw_lattice_node_key(&lattice, key);
    assert_memory_not_equal(key, lattice.key, sizeof(key));
    assert_memory_not_equal(key, token.secret, sizeof(key));
    newer.epoch++;
    lw_lattice_node_key(&newer, other);
    assert_memory_not_equal(key, other, sizeof(key));
    again = make(&newer);
    assert_memory_not_equal(again.secret, token.secret, LW_TOKEN_SECRET_SIZE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_gives_back_its_token),
        cmocka_unit_test(a_text_that_was_changed_or_cut_is_no_token),
        cmocka_unit_test(the_text_of_a_token_is_this),
        cmocka_unit_test(a_member_finds_the_secret_that_the_claims_go_with),
        cmocka_unit_test(expired_old_and_foreign_tokens_are_refused_in_words),
        cmocka_unit_test(keys_of_one_purpose_are_not_those_of_another),
    };
    return cmocka_run_group_tests_name("token", tests, unit_arm, NULL) != 0;
}
