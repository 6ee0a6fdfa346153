/* Philox 4x32-10 and what is drawn from it. */
#include "base/rng.h"

#include <math.h>
#include <string.h>

#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

void rlhf__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];

    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0, p1 = (uint64_t)PHILOX_M1 * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void rlhf__rng_words(uint64_t seed, uint64_t stream, uint64_t position, uint32_t out[4])
{
    uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32),
                           (uint32_t)stream, (uint32_t)(stream >> 32)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};

    rlhf__philox(counter, key, out);
}

/* 53 bits of two words: [0, 1). */
static double unit(uint32_t high, uint32_t low)
{
    uint64_t bits = ((uint64_t)high << 32 | low) >> 11;

    return (double)bits * (1.0 / 9007199254740992.0);
}

double rlhf__rng_uniform(uint64_t seed, uint64_t stream, uint64_t position)
{
    uint32_t w[4];

    rlhf__rng_words(seed, stream, position, w);
    return unit(w[0], w[1]);
}

double rlhf__rng_normal(uint64_t seed, uint64_t stream, uint64_t position)
{
    uint32_t w[4];

    rlhf__rng_words(seed, stream, position, w);
    /* 1 - u is in (0, 1], so the logarithm is finite. */
    return sqrt(-2.0 * log(1.0 - unit(w[0], w[1]))) *
           cos(6.283185307179586476925 * unit(w[2], w[3]));
}

uint64_t rlhf__rng_below(uint64_t seed, uint64_t stream, uint64_t position,
                         uint64_t bound)
{
    uint32_t w[4];

    rlhf__rng_words(seed, stream, position, w);
    unsigned __int128 product = (unsigned __int128)((uint64_t)w[0] << 32 | w[1]) * bound;
    return (uint64_t)(product >> 64);
}

void rlhf__rng_permutation(uint64_t seed, uint64_t stream, int64_t *order, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t j = (int64_t)rlhf__rng_below(seed, stream, (uint64_t)i, (uint64_t)i + 1);
        int64_t held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}
