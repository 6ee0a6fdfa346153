/* What the machine can read and write of its memory. */
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "limits.h"
#include "rounds.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define MIB ((size_t)1 << 20)

#define STREAMS 4 /* walked side by side, as more than one prefetcher follows */
#define LINE    64

typedef float vec8 __attribute__((vector_size(32)));
typedef float vec16 __attribute__((vector_size(LINE)));
#define INLINE static inline __attribute__((always_inline))

/* Lines `ahead` bytes on are asked for early, with 0 left to the CPU. */
INLINE float read_any(const float *memory, size_t bytes, const size_t streams,
                      const size_t ahead)
{
    const size_t each = bytes / streams / LINE;
    const vec16 *from = (const vec16 *)memory;
    vec16 sum[2 * STREAMS] = {{0}};

    for (size_t i = 0; i + 2 <= each; i += 2)
#pragma GCC unroll 4
        for (size_t s = 0; s < streams; s++) {
            const vec16 *at = from + s * each + i;
            if (ahead) {
                __builtin_prefetch((const char *)at + ahead);
                __builtin_prefetch((const char *)at + ahead + LINE);
            }
            sum[2 * s] += at[0];
            sum[2 * s + 1] += at[1];
        }
    for (int s = 1; s < 2 * STREAMS; s++)
        sum[0] += sum[s];
    return sum[0][0];
}

/* In place: nothing is read only to be overwritten. */
INLINE float update_any(float *memory, size_t bytes)
{
    const size_t each = bytes / STREAMS / sizeof(vec8);
    vec8 *at = (vec8 *)memory;

    for (size_t i = 0; i < each; i += 2)
#pragma GCC unroll 4
        for (size_t s = 0; s < STREAMS; s++) {
            at[s * each + i] = -at[s * each + i];
            at[s * each + i + 1] = -at[s * each + i + 1];
        }
    return memory[0];
}

static float read_round(float *memory, size_t bytes)
{
    return read_any(memory, bytes, STREAMS, 0);
}

static float update_round(float *memory, size_t bytes)
{
    return update_any(memory, bytes);
}

static float copy_round(float *memory, size_t bytes)
{
    memcpy(memory + bytes / 2 / sizeof *memory, memory, bytes / 2);
    return memory[bytes / sizeof *memory - 1];
}

#ifdef __x86_64__
#define AHEAD 512 /* bytes: the best of 512 to 8192 on Intel with AVX-512 */

__attribute__((target("avx2"))) static float avx2_read_round(float *memory, size_t bytes)
{
    return read_any(memory, bytes, STREAMS, 0);
}

__attribute__((target("avx2"))) static float avx2_ahead_round(float *memory, size_t bytes)
{
    return read_any(memory, bytes, 2, AHEAD);
}

__attribute__((target("avx512f"))) static float avx512_ahead_round(float *memory,
                                                                   size_t bytes)
{
    return read_any(memory, bytes, 2, AHEAD);
}

__attribute__((target("avx2"))) static float avx2_update_round(float *memory,
                                                               size_t bytes)
{
    return update_any(memory, bytes);
}

/* Past the caches. */
__attribute__((target("avx2"))) static float stream_round(float *memory, size_t bytes)
{
    const size_t each = bytes / 2 / STREAMS / sizeof *memory;
    float *to = memory + bytes / 2 / sizeof *memory;

    for (size_t i = 0; i < each; i += 16)
#pragma GCC unroll 4
        for (size_t s = 0; s < STREAMS; s++) {
            const float *at = memory + s * each + i;
            _mm256_stream_ps(to + s * each + i, _mm256_load_ps(at));
            _mm256_stream_ps(to + s * each + i + 8, _mm256_load_ps(at + 8));
        }
    _mm_sfence();
    return memory[bytes / sizeof *memory - 1];
}
#endif

size_t bench_cold_bytes(void)
{
    size_t cache = 0;

#ifdef _SC_LEVEL3_CACHE_SIZE
    long size = sysconf(_SC_LEVEL3_CACHE_SIZE);
    cache = size > 0 ? (size_t)size : 0;
#endif
    return 2 * cache < 256 * MIB    ? 256 * MIB
           : 2 * cache > 2048 * MIB ? 2048 * MIB
                                    : 2 * cache;
}

/* Each thread's share of `bytes`, 0: of more than any cache holds. */
static size_t share(size_t bytes, int threads)
{
    const size_t unit = 4096, all = bytes ? bytes : bench_cold_bytes();

    return (all / (size_t)threads / unit + 1) * unit;
}

#define MAX_WAYS 3

/* GB/s of the fastest of `count` ways; `factors`: bytes that each moves for one of its
 * memory. */
static double fastest(const round_fn *rounds, const double *factors, int count,
                      size_t bytes, int threads, double seconds)
{
    /* Long enough to be timed where all of it lies in a cache. */
    const int calls = bytes < 16 * MIB ? (int)(16 * MIB / bytes) : 1;
    double took[MAX_WAYS], best = 0;

    bench_best_rounds(rounds, count, bytes, calls, threads, seconds, took);
    for (int i = 0; i < count; i++) {
        double rate = factors[i] * (double)bytes * calls * threads / took[i] / 1e9;
        best = rate > best ? rate : best;
    }
    return best;
}

double bench_read_gb_per_s(int threads, double seconds, size_t bytes)
{
    static const double factors[MAX_WAYS] = {1, 1, 1};
    round_fn rounds[MAX_WAYS] = {read_round};
    int count = 1;

#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        rounds[0] = avx2_read_round;
        rounds[count++] = avx2_ahead_round;
    }
    if (__builtin_cpu_supports("avx512f"))
        rounds[count++] = avx512_ahead_round;
#endif
    return fastest(rounds, factors, count, share(bytes, threads), threads, seconds);
}

double bench_copy_gb_per_s(int threads, double seconds)
{
    static const double factors[MAX_WAYS] = {1, 2, 1};
    round_fn rounds[MAX_WAYS] = {copy_round, update_round};
    int count = 2;

#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        rounds[1] = avx2_update_round;
        rounds[count++] = stream_round;
    }
#endif
    return fastest(rounds, factors, count, share(0, threads), threads, seconds);
}
