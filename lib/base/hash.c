/* SHA-256, FIPS 180-4. */
#include "base/hash.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
    0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
    0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
    0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
    0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
    0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
    0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2};

static inline uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

/* Eight rounds put each variable back into its place; so they need not be moved. */
static inline void round_of(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e,
                            uint32_t f, uint32_t g, uint32_t *h, uint32_t word)
{
    uint32_t s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    uint32_t s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    uint32_t t1 = *h + s1 + ((e & f) ^ (~e & g)) + word;

    *d += t1;
    *h = t1 + s0 + ((a & b) ^ (a & c) ^ (b & c));
}

static void compress_plain(uint32_t state[8], const uint8_t *block, size_t count)
{
    for (; count > 0; count--, block += 64) {
        uint32_t w[64];
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
                   (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
        for (int i = 16; i < 64; i++) {
            uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
            uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        for (int i = 0; i < 64; i++)
            w[i] += round_constants[i];
        for (int i = 0; i < 64; i += 8) {
            round_of(a, b, c, &d, e, f, g, &h, w[i]);
            round_of(h, a, b, &c, d, e, f, &g, w[i + 1]);
            round_of(g, h, a, &b, c, d, e, &f, w[i + 2]);
            round_of(f, g, h, &a, b, c, d, &e, w[i + 3]);
            round_of(e, f, g, &h, a, b, c, &d, w[i + 4]);
            round_of(d, e, f, &g, h, a, b, &c, w[i + 5]);
            round_of(c, d, e, &f, g, h, a, &b, w[i + 6]);
            round_of(b, c, d, &e, f, g, h, &a, w[i + 7]);
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
}

#if defined(__x86_64__)

/* By the SHA extensions (Intel's manual: SHA256RNDS2, SHA256MSG1, SHA256MSG2), which
 * hold the state as (a b e f) and (c d g h) and do two rounds at once. */
__attribute__((target("sha,sse4.1,ssse3"))) static void
compress_by_extension(uint32_t state[8], const uint8_t *block, size_t count)
{
    const __m128i swap =
        _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(low, high, 8);
    __m128i cdgh = _mm_blend_epi16(high, low, 0xf0);

    for (; count > 0; count--, block += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
        for (int i = 0; i < 16; i++) {
            __m128i *word = &w[i % 4];
            if (i < 4)
                *word = _mm_shuffle_epi8(
                    _mm_loadu_si128((const __m128i *)(block + 16 * i)), swap);
            else
                *word = _mm_sha256msg2_epu32(
                    _mm_add_epi32(_mm_sha256msg1_epu32(*word, w[(i + 1) % 4]),
                                  _mm_alignr_epi8(w[(i + 3) % 4], w[(i + 2) % 4], 4)),
                    w[(i + 3) % 4]);
            __m128i sum = _mm_add_epi32(
                *word, _mm_loadu_si128((const __m128i *)(round_constants + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    low = _mm_shuffle_epi32(abef, 0x1b);
    high = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(high, low, 8));
}

/* Leaf 7 for the SHA extensions, leaf 1 for SSSE3 and SSE4.1. */
static bool has_extension(void)
{
    unsigned int a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_SSE4_1) &&
           __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

#else

static bool has_extension(void)
{
    return false;
}

#endif

static void compress(rlhf__sha256 *hash, const uint8_t *block, size_t count)
{
#if defined(__x86_64__)
    if (hash->by_extension) {
        compress_by_extension(hash->state, block, count);
        return;
    }
#endif
    compress_plain(hash->state, block, count);
}

void rlhf__sha256_init(rlhf__sha256 *hash)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

    memcpy(hash->state, start, sizeof start);
    hash->size = 0;
    hash->by_extension = has_extension();
}

void rlhf__sha256_update(rlhf__sha256 *hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    size_t held = hash->size % 64;

    hash->size += size;
    while (size > 0) {
        size_t taken = 64 - held < size ? 64 - held : size;
        if (held == 0 && size >= 64) {
            compress(hash, bytes, size / 64);
            taken = size / 64 * 64;
        } else {
            memcpy(hash->block + held, bytes, taken);
            held += taken;
            if (held == 64) {
                compress(hash, hash->block, 1);
                held = 0;
            }
        }
        bytes += taken;
        size -= taken;
    }
}

void rlhf__sha256_hex(rlhf__sha256 *hash, char out_hex[65])
{
    static const uint8_t padding[64] = {0x80};
    uint64_t bits = hash->size * 8;
    size_t held = hash->size % 64;
    uint8_t length[8];

    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(bits >> (56 - 8 * i));
    rlhf__sha256_update(hash, padding, held < 56 ? 56 - held : 120 - held);
    rlhf__sha256_update(hash, length, sizeof length);
    for (int i = 0; i < 8; i++)
        snprintf(out_hex + 8 * i, 9, "%08x", hash->state[i]);
}
