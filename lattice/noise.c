/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake, with the names of the Noise specification where it has them. */
#include "lattice/noise.h"

static const char protocol[] = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";
static const uint64_t nonce_last = UINT64_MAX; /* kept for changing the key */

/* ---- one cipher --------------------------------------------------------------------------- */

static void nonce_bytes(uint64_t number, uint8_t nonce[LW_SEAL_NONCE_SIZE]) {
    memset(nonce, 0, LW_SEAL_NONCE_SIZE - 8);
    lw_put_u64(nonce + LW_SEAL_NONCE_SIZE - 8, number);
}

static void cipher_seal(lw_noise_cipher *cipher, lw_bytes associated, lw_bytes plain,
                        lw_buffer *out) {
    LW_ASSERT(cipher->nonce < nonce_last);
    uint8_t nonce[LW_SEAL_NONCE_SIZE];
    nonce_bytes(cipher->nonce, nonce);
    size_t size = plain.size + LW_SEAL_TAG_SIZE;
    lw_seal(cipher->key, nonce, associated, plain, lw_buffer_reserve(out, size));
    out->size += size;
    cipher->nonce++;
}

static bool cipher_open(lw_noise_cipher *cipher, lw_bytes associated, lw_bytes sealed,
                        lw_buffer *out) {
    if (sealed.size < LW_SEAL_TAG_SIZE || cipher->nonce == nonce_last) {
        return false;
    }
    uint8_t nonce[LW_SEAL_NONCE_SIZE];
    nonce_bytes(cipher->nonce, nonce);
    size_t size = sealed.size - LW_SEAL_TAG_SIZE;
    if (!lw_unseal(cipher->key, nonce, associated, sealed, lw_buffer_reserve(out, size))) {
        return false;
    }
    out->size += size;
    cipher->nonce++;
    return true;
}

/* REKEY. */
static void cipher_change_key(lw_noise_cipher *cipher) {
    static const uint8_t zeros[LW_SEAL_KEY_SIZE];
    uint8_t nonce[LW_SEAL_NONCE_SIZE], sealed[LW_SEAL_KEY_SIZE + LW_SEAL_TAG_SIZE];
    nonce_bytes(nonce_last, nonce);
    lw_seal(cipher->key, nonce, (lw_bytes){0}, lw_view(zeros, sizeof(zeros)), sealed);
    memcpy(cipher->key, sealed, LW_SEAL_KEY_SIZE);
    lw_seal_wipe(sealed, sizeof(sealed));
}

/* ---- the symmetric state ------------------------------------------------------------------ */

static void mix_hash(lw_noise *noise, lw_bytes bytes) {
    lw_sha256(lw_view(noise->hash, sizeof(noise->hash)), bytes, noise->hash);
}

static void take_key(lw_noise *noise, const uint8_t key[LW_SEAL_KEY_SIZE]) {
    memcpy(noise->cipher.key, key, LW_SEAL_KEY_SIZE);
    noise->cipher.nonce = 0;
}

static void mix_key(lw_noise *noise, const uint8_t input[LW_EXCHANGE_SIZE]) {
    uint8_t outputs[2 * LW_DIGEST_SIZE];
    lw_hkdf(noise->chaining_key, lw_view(input, LW_EXCHANGE_SIZE), 2, outputs);
    memcpy(noise->chaining_key, outputs, LW_DIGEST_SIZE);
    take_key(noise, outputs + LW_DIGEST_SIZE);
    lw_seal_wipe(outputs, sizeof(outputs));
}

static void mix_key_and_hash(lw_noise *noise, const uint8_t psk[LW_SHARED_KEY_SIZE]) {
    uint8_t outputs[3 * LW_DIGEST_SIZE];
    lw_hkdf(noise->chaining_key, lw_view(psk, LW_SHARED_KEY_SIZE), 3, outputs);
    memcpy(noise->chaining_key, outputs, LW_DIGEST_SIZE);
    mix_hash(noise, lw_view(outputs + LW_DIGEST_SIZE, LW_DIGEST_SIZE));
    take_key(noise, outputs + (size_t)2 * LW_DIGEST_SIZE);
    lw_seal_wipe(outputs, sizeof(outputs));
}

static void seal_and_hash(lw_noise *noise, lw_bytes plain, lw_buffer *message) {
    size_t start = message->size;
    cipher_seal(&noise->cipher, lw_view(noise->hash, sizeof(noise->hash)), plain, message);
    mix_hash(noise, lw_view(message->data + start, message->size - start));
}

static bool open_and_hash(lw_noise *noise, lw_bytes sealed, lw_buffer *plain) {
    if (!cipher_open(&noise->cipher, lw_view(noise->hash, sizeof(noise->hash)), sealed, plain)) {
        return false;
    }
    mix_hash(noise, sealed);
    return true;
}

/* ---- tokens ------------------------------------------------------------------------------- */

static bool mix_exchange(lw_noise *noise, const uint8_t secret[LW_EXCHANGE_SIZE],
                         const uint8_t own_key[LW_EXCHANGE_SIZE],
                         const uint8_t public_key[LW_EXCHANGE_SIZE]) {
    uint8_t shared[LW_EXCHANGE_SIZE];
    bool good = lw_known_exchange(noise->known, secret, own_key, public_key, shared);
    if (good) {
        mix_key(noise, shared);
    }
    lw_seal_wipe(shared, sizeof(shared));
    return good;
}

/* "es" for the initiator, "se" for the responder ... */
static bool mix_remote_static(lw_noise *noise) {
    return mix_exchange(noise, noise->ephemeral_secret, noise->ephemeral_public,
                        noise->remote_static);
}
/* ... and the other way round. */
static bool mix_own_static(lw_noise *noise) {
    return mix_exchange(noise, noise->static_secret, noise->static_public, noise->remote_ephemeral);
}

static bool mix_ephemerals(lw_noise *noise) {
    return mix_exchange(noise, noise->ephemeral_secret, noise->ephemeral_public,
                        noise->remote_ephemeral);
}

static void write_ephemeral(lw_noise *noise, lw_buffer *message) {
    lw_bytes key = lw_view(noise->ephemeral_public, LW_EXCHANGE_SIZE);
    lw_buffer_append(message, key);
    mix_hash(noise, key);
    mix_key(noise, key.data); /* since there is a psk */
}

static bool read_ephemeral(lw_noise *noise, lw_bytes *message) {
    lw_bytes key;
    if (!lw_take_bytes(message, LW_EXCHANGE_SIZE, &key)) {
        return false;
    }
    memcpy(noise->remote_ephemeral, key.data, LW_EXCHANGE_SIZE);
    mix_hash(noise, key);
    mix_key(noise, key.data);
    return true;
}

static void write_static(lw_noise *noise, lw_buffer *message) {
    seal_and_hash(noise, lw_view(noise->static_public, LW_EXCHANGE_SIZE), message);
}

static bool read_static(lw_noise *noise, lw_bytes *message, lw_buffer *scratch) {
    lw_bytes sealed;
    size_t start = scratch->size;
    if (!lw_take_bytes(message, LW_EXCHANGE_SIZE + LW_SEAL_TAG_SIZE, &sealed) ||
        !open_and_hash(noise, sealed, scratch)) {
        return false;
    }
    memcpy(noise->remote_static, scratch->data + start, LW_EXCHANGE_SIZE);
    scratch->size = start;
    return true;
}

/* ---- messages ----------------------------------------------------------------------------- */

void lw_noise_init(lw_noise *noise, bool initiator, const lw_noise_keys *keys, lw_bytes prologue) {
    *noise = (lw_noise){.initiator = initiator, .known = keys->known};
    memcpy(noise->static_secret, keys->static_secret, LW_EXCHANGE_SIZE);
    memcpy(noise->static_public, keys->static_public, LW_EXCHANGE_SIZE);
    memcpy(noise->ephemeral_secret, keys->ephemeral_secret, LW_EXCHANGE_SIZE);
    lw_sha256(lw_text(protocol), (lw_bytes){0}, noise->hash); /* it is longer than a hash */
    memcpy(noise->chaining_key, noise->hash, LW_DIGEST_SIZE);
    mix_hash(noise, prologue);
    /* The token that the first message begins with. */
    mix_key_and_hash(noise, keys->psk);
}

static bool write_tokens(lw_noise *noise, lw_buffer *message) {
    if (noise->step < 2) {
        /* Only now: a responder that is told nonsense has not computed anything yet. */
        lw_exchange_public(noise->ephemeral_secret, noise->ephemeral_public);
        write_ephemeral(noise, message);
    }
    if (noise->step == 0) {
        return true;
    }
    if (noise->step == 1 && !mix_ephemerals(noise)) {
        return false;
    }
    write_static(noise, message);
    return mix_own_static(noise);
}

bool lw_noise_write(lw_noise *noise, lw_bytes payload, lw_buffer *message) {
    LW_ASSERT(noise->step < 3);
    LW_ASSERT((noise->step % 2 == 0) == noise->initiator);
    LW_ASSERT(payload.size <= LW_NOISE_MESSAGE_SIZE_MAX - LW_NOISE_SECOND_SIZE);
    noise->failed = noise->failed || !write_tokens(noise, message);
    if (!noise->failed) {
        seal_and_hash(noise, payload, message);
        noise->step++;
    }
    return !noise->failed;
}

static bool read_tokens(lw_noise *noise, lw_bytes *message, lw_buffer *scratch) {
    if (noise->step < 2 && !read_ephemeral(noise, message)) {
        return false;
    }
    if (noise->step == 0) {
        return true;
    }
    if (noise->step == 1 && !mix_ephemerals(noise)) {
        return false;
    }
    return read_static(noise, message, scratch) && mix_remote_static(noise);
}

bool lw_noise_read(lw_noise *noise, lw_bytes message, lw_buffer *payload) {
    LW_ASSERT(noise->step < 3);
    LW_ASSERT((noise->step % 2 == 1) == noise->initiator);
    bool good = !noise->failed && message.size <= LW_NOISE_MESSAGE_SIZE_MAX &&
                read_tokens(noise, &message, payload) && open_and_hash(noise, message, payload);
    noise->failed = !good;
    noise->step += good ? 1 : 0;
    return good;
}

void lw_noise_split(lw_noise *noise, lw_noise_cipher *sending, lw_noise_cipher *receiving) {
    LW_ASSERT(noise->step == 3);
    LW_ASSERT(!noise->failed);
    uint8_t outputs[2 * LW_DIGEST_SIZE];
    lw_hkdf(noise->chaining_key, (lw_bytes){0}, 2, outputs);
    lw_noise_cipher *first = noise->initiator ? sending : receiving;
    lw_noise_cipher *second = noise->initiator ? receiving : sending;
    *first = *second = (lw_noise_cipher){0};
    memcpy(first->key, outputs, LW_SEAL_KEY_SIZE);
    memcpy(second->key, outputs + LW_DIGEST_SIZE, LW_SEAL_KEY_SIZE);
    lw_seal_wipe(outputs, sizeof(outputs));
    lw_seal_wipe(&noise->cipher, sizeof(noise->cipher));
    lw_seal_wipe(noise->chaining_key, sizeof(noise->chaining_key));
    lw_seal_wipe(noise->static_secret, sizeof(noise->static_secret));
    lw_seal_wipe(noise->ephemeral_secret, sizeof(noise->ephemeral_secret));
}

/* ---- records ------------------------------------------------------------------------------ */

/* Both sides change it before the same record. */
static void key_due(lw_noise_cipher *cipher) {
    if (cipher->nonce > 0 && cipher->nonce % LW_RECORDS_PER_KEY == 0) {
        cipher_change_key(cipher);
    }
}

void lw_records_seal(lw_noise_cipher *cipher, lw_bytes plain, lw_buffer *records) {
    while (plain.size > 0) {
        size_t most = LW_RECORD_PLAIN_SIZE_MAX;
        size_t size = plain.size < most ? plain.size : most;
        key_due(cipher);
        lw_buffer_append_u32(records, (uint32_t)(size + LW_SEAL_TAG_SIZE));
        cipher_seal(cipher, (lw_bytes){0}, lw_view(plain.data, size), records);
        plain = lw_view(plain.data + size, plain.size - size);
    }
}

lw_status lw_records_open(lw_noise_cipher *cipher, lw_bytes *rest, lw_buffer *plain) {
    if (rest->size < LW_RECORD_HEADER_SIZE) {
        return LW_NOT_FOUND;
    }
    uint32_t size = lw_get_u32(rest->data);
    if (size <= LW_SEAL_TAG_SIZE || size > LW_NOISE_MESSAGE_SIZE_MAX) {
        return lw_fail(LW_INVALID_ARGUMENT, "a record of %u bytes cannot be", size);
    }
    if (rest->size - LW_RECORD_HEADER_SIZE < size) {
        return LW_NOT_FOUND;
    }
    key_due(cipher);
    if (!cipher_open(cipher, (lw_bytes){0}, lw_view(rest->data + LW_RECORD_HEADER_SIZE, size),
                     plain)) {
        return lw_fail(LW_INVALID_ARGUMENT, "record %llu was changed on its way",
                       (unsigned long long)cipher->nonce);
    }
    *rest = lw_view(rest->data + LW_RECORD_HEADER_SIZE + size,
                    rest->size - LW_RECORD_HEADER_SIZE - size);
    return LW_OK;
}
