/* Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"),
 * counter-based: a number depends on (seed, stream, position) alone, not on what was
 * drawn before, in which batch, or on which thread. */
#ifndef RLHF_BASE_RNG_H
#define RLHF_BASE_RNG_H

#include <stdint.h>

/* The bare function: counter[4], key[2] -> out[4]. */
void rlhf__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Four words for (seed, stream, position): key = seed low, high; counter = position
 * low, high, stream low, high. */
void rlhf__rng_words(uint64_t seed, uint64_t stream, uint64_t position, uint32_t out[4]);
/* Uniform in [0, 1), 53 bits, from the first two words. */
double rlhf__rng_uniform(uint64_t seed, uint64_t stream, uint64_t position);
/* Standard normal (Box-Muller on the uniforms of the four words, 53 bits each). */
double rlhf__rng_normal(uint64_t seed, uint64_t stream, uint64_t position);
/* Uniform integer in [0, bound), unbiased enough: the high word of a 64-bit product. */
uint64_t rlhf__rng_below(uint64_t seed, uint64_t stream, uint64_t position,
                         uint64_t bound);
/* Fisher-Yates on order[0..count), set to a permutation of 0..count-1. */
void rlhf__rng_permutation(uint64_t seed, uint64_t stream, int64_t *order, int64_t count);

/* Streams, so that no two uses share numbers. The use is in the top 8 bits of the
 * stream, the sequence id, epoch or parameter index in the rest. */
enum rlhf__rng_use {
    RLHF__RNG_INIT = 1,
    RLHF__RNG_SAMPLE = 2,
    RLHF__RNG_SHUFFLE = 3,
    RLHF__RNG_SPLIT = 4,
    RLHF__RNG_MINIBATCH = 5,
    RLHF__RNG_FEEDBACK = 6,
    RLHF__RNG_HEAD = 7
};
static inline uint64_t rlhf__rng_stream(enum rlhf__rng_use use, uint64_t index)
{
    return ((uint64_t)use << 56) | (index & 0x00ffffffffffffffULL);
}

#endif
