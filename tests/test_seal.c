/* SPDX-License-Identifier: Apache-2.0 */
/* base/seal: known answers, so that a node of any build accepts what another signed. */
#include "base/seal.h"

#include "tests/unit.h"

static void from_hex(const char *hex, uint8_t *bytes) {
    for (size_t index = 0; hex[2 * index] != '\0'; index++) {
        unsigned byte = 0;
        assert_int_equal(sscanf(hex + 2 * index, "%2x", &byte), 1);
        bytes[index] = (uint8_t)byte;
    }
}

/* RFC 8032, section 7.1, tests 1 to 3. */
static const struct {
    const char *seed, *public_key, *message, *signature;
} ed25519[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b"
     "4"
     "6bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11"
     "d"
     "8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc"
     "6"
     "594a7c15e9716ed28dc027beceea1ec40a"},
};

static void ed25519_gives_the_known_answers(void **state) {
    (void)state;
    for (size_t index = 0; index < sizeof(ed25519) / sizeof(ed25519[0]); index++) {
        uint8_t seed[LW_SEED_SIZE], public_key[LW_PUBLIC_KEY_SIZE], message[2];
        uint8_t expected[LW_SIGNATURE_SIZE], signature[LW_SIGNATURE_SIZE];
        from_hex(ed25519[index].seed, seed);
        from_hex(ed25519[index].public_key, public_key);
        from_hex(ed25519[index].message, message);
        from_hex(ed25519[index].signature, expected);
        lw_bytes view = lw_view(message, strlen(ed25519[index].message) / 2);

        lw_identity identity;
        lw_identity_derive(seed, &identity);
        assert_memory_equal(identity.seed, seed, sizeof(seed));
        assert_memory_equal(identity.public_key, public_key, sizeof(public_key));
        lw_identity_sign(&identity, view, signature);
        assert_memory_equal(signature, expected, sizeof(expected));
        assert_true(lw_identity_verify(public_key, view, signature));
    }
}

static void an_identity_is_derived_from_its_own_seed(void **state) {
    (void)state;
    lw_identity identity = {0};
    from_hex(ed25519[0].seed, identity.seed);
    uint8_t public_key[LW_PUBLIC_KEY_SIZE];
    from_hex(ed25519[0].public_key, public_key);
    lw_identity_derive(identity.seed, &identity);
    assert_memory_equal(identity.public_key, public_key, sizeof(public_key));
}

static void one_changed_bit_breaks_a_signature(void **state) {
    (void)state;
    lw_identity identity;
    uint8_t message[] = "shard 7 moves to node 3", signature[LW_SIGNATURE_SIZE];
    uint8_t seed[LW_SEED_SIZE] = {7};
    lw_identity_derive(seed, &identity);
    lw_identity_sign(&identity, lw_view(message, sizeof(message)), signature);

    const struct {
        uint8_t *bytes;
        size_t size;
    } parts[] = {{message, sizeof(message)},
                 {signature, sizeof(signature)},
                 {identity.public_key, sizeof(identity.public_key)}};
    for (size_t part = 0; part < sizeof(parts) / sizeof(parts[0]); part++) {
        for (size_t bit = 0; bit < 8 * parts[part].size; bit++) {
            parts[part].bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_false(lw_identity_verify(identity.public_key, lw_view(message, sizeof(message)),
                                            signature));
            parts[part].bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
    }
    assert_true(
        lw_identity_verify(identity.public_key, lw_view(message, sizeof(message)), signature));
    assert_false(
        lw_identity_verify(identity.public_key, lw_view(message, sizeof(message) - 1), signature));
}

static void blake2b_256_gives_the_known_answers(void **state) {
    (void)state;
    static const struct {
        const char *message, *digest;
    } cases[] = {
        {"", "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"},
        {"abc", "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"},
        {"The quick brown fox jumps over the lazy dog",
         "01718cec35cd3d796dd00020e0bfecb473ad23457d063b75eff29c0ffa2e58a9"},
    };
    for (size_t index = 0; index < sizeof(cases) / sizeof(cases[0]); index++) {
        uint8_t expected[LW_DIGEST_SIZE], digest[LW_DIGEST_SIZE];
        from_hex(cases[index].digest, expected);
        lw_digest(lw_text(cases[index].message), digest);
        assert_memory_equal(digest, expected, sizeof(expected));
    }
}

static void keyed_blake2b_depends_on_its_key(void **state) {
    (void)state;
    uint8_t key[LW_SHARED_KEY_SIZE] = {1}, plain[LW_DIGEST_SIZE], one[LW_DIGEST_SIZE];
    uint8_t other[LW_DIGEST_SIZE];
    lw_digest(lw_text("abc"), plain);
    lw_digest_keyed(key, lw_text("abc"), one);
    key[31] = 1;
    lw_digest_keyed(key, lw_text("abc"), other);
    assert_memory_not_equal(one, plain, sizeof(one));
    assert_memory_not_equal(one, other, sizeof(one));
}

/* RFC 7748, section 6.1. */
static void x25519_gives_the_known_answers(void **state) {
    (void)state;
    uint8_t one[32], other[32], one_public[32], other_public[32], expected[32], shared[32];
    from_hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", one);
    from_hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", other);
    lw_exchange_public(one, one_public);
    from_hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", expected);
    assert_memory_equal(one_public, expected, 32);
    lw_exchange_public(other, other_public);
    from_hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", expected);
    assert_memory_equal(other_public, expected, 32);
    from_hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742", expected);
    assert_true(lw_exchange(one, other_public, shared));
    assert_memory_equal(shared, expected, 32);
    assert_true(lw_exchange(other, one_public, shared));
    assert_memory_equal(shared, expected, 32);
    memset(other_public, 0, sizeof(other_public)); /* with which everybody agrees on the same */
    assert_false(lw_exchange(one, other_public, shared));
}

/* RFC 8439, section 2.8.2. */
static void chacha20_poly1305_gives_the_known_answer(void **state) {
    (void)state;
    static const char text[] =
        "Ladies and Gentlemen of the class of '99: If I could offer you only "
        "one tip for the future, sunscreen would be it.";
    enum { SIZE = sizeof(text) - 1 };
    uint8_t key[32], nonce[12], associated[12], start[16], tag[16];
    uint8_t sealed[SIZE + LW_SEAL_TAG_SIZE], opened[SIZE];
    from_hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", key);
    from_hex("070000004041424344454647", nonce);
    from_hex("50515253c0c1c2c3c4c5c6c7", associated);
    from_hex("d31a8d34648e60db7b86afbc53ef7ec2", start);
    from_hex("1ae10b594f09e26a7e902ecbd0600691", tag);
    lw_bytes with = lw_view(associated, sizeof(associated));
    lw_seal(key, nonce, with, lw_text(text), sealed);
    assert_memory_equal(sealed, start, sizeof(start));
    assert_memory_equal(sealed + SIZE, tag, sizeof(tag));
    assert_true(lw_unseal(key, nonce, with, lw_view(sealed, sizeof(sealed)), opened));
    assert_memory_equal(opened, text, SIZE);
    for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
        sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_false(lw_unseal(key, nonce, with, lw_view(sealed, sizeof(sealed)), opened));
        sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    with.size--;
    assert_false(lw_unseal(key, nonce, with, lw_view(sealed, sizeof(sealed)), opened));
}

static void sha_256_gives_the_known_answer_over_two_pieces(void **state) {
    (void)state;
    uint8_t expected[LW_DIGEST_SIZE], digest[LW_DIGEST_SIZE];
    from_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", expected);
    lw_sha256(lw_text("abc"), (lw_bytes){0}, digest);
    assert_memory_equal(digest, expected, sizeof(expected));
    lw_sha256(lw_text("a"), lw_text("bc"), digest);
    assert_memory_equal(digest, expected, sizeof(expected));
}

/* RFC 5869, test case 3: a salt of zeros is none. */
static void hkdf_gives_the_known_answer(void **state) {
    (void)state;
    uint8_t salt[LW_DIGEST_SIZE] = {0}, input[22], outputs[3 * LW_DIGEST_SIZE], expected[42];
    memset(input, 0x0b, sizeof(input));
    from_hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
             "9d201395faa4b61a96c8",
             expected);
    lw_hkdf(salt, lw_view(input, sizeof(input)), 3, outputs);
    assert_memory_equal(outputs, expected, sizeof(expected));
}

static void text64_holds_exactly_what_it_was_made_of(void **state) {
    (void)state;
    uint8_t bytes[40], parsed[40];
    char text[LW_TEXT64_SIZE(40)];
    for (uint8_t index = 0; index < sizeof(bytes); index++) {
        bytes[index] = (uint8_t)(index * 37 + 200);
    }
    for (size_t size = 1; size <= sizeof(bytes); size++) {
        lw_text64_print(lw_view(bytes, size), text);
        assert_int_equal(strlen(text), LW_TEXT64_SIZE(size) - 1);
        assert_int_equal(strcspn(text, "+/="), strlen(text));
        assert_true(lw_text64_parse(lw_text(text), parsed, size));
        assert_memory_equal(parsed, bytes, size);
        assert_false(lw_text64_parse(lw_text(text), parsed, size - 1));
        assert_false(lw_text64_parse(lw_view(text, strlen(text) - 1), parsed, size));
        text[0] = '=';
        assert_false(lw_text64_parse(lw_text(text), parsed, size));
    }
}

static void a_number_belongs_to_a_public_key(void **state) {
    (void)state;
    uint8_t digest[LW_DIGEST_SIZE];
    lw_identity identity;
    uint8_t seed[LW_SEED_SIZE] = {7};
    lw_identity_derive(seed, &identity);
    lw_digest(lw_view(identity.public_key, LW_PUBLIC_KEY_SIZE), digest);
    assert_int_equal(lw_identity_number(identity.public_key), lw_get_u64(digest));
}

static void a_secret_is_wiped(void **state) {
    (void)state;
    uint8_t secret[40], nothing[32] = {0};
    memset(secret, 0xaa, sizeof(secret));
    lw_seal_wipe(secret, sizeof(nothing));
    assert_memory_equal(secret, nothing, sizeof(nothing));
    assert_int_equal(secret[sizeof(nothing)], 0xaa);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ed25519_gives_the_known_answers),
        cmocka_unit_test(an_identity_is_derived_from_its_own_seed),
        cmocka_unit_test(one_changed_bit_breaks_a_signature),
        cmocka_unit_test(blake2b_256_gives_the_known_answers),
        cmocka_unit_test(keyed_blake2b_depends_on_its_key),
        cmocka_unit_test(x25519_gives_the_known_answers),
        cmocka_unit_test(chacha20_poly1305_gives_the_known_answer),
        cmocka_unit_test(sha_256_gives_the_known_answer_over_two_pieces),
        cmocka_unit_test(hkdf_gives_the_known_answer),
        cmocka_unit_test(text64_holds_exactly_what_it_was_made_of),
        cmocka_unit_test(a_number_belongs_to_a_public_key),
        cmocka_unit_test(a_secret_is_wiped),
    };
    return cmocka_run_group_tests_name("seal", tests, unit_arm, NULL) != 0;
}
