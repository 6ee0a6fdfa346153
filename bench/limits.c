#include "limits.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <rlhf/context.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define MIB ((size_t)1 << 20)

/* --- rounds on several threads at once ---------------------------------------------- */

typedef float (*round_fn)(float *memory, size_t bytes);

typedef struct team {
    pthread_barrier_t barrier;
    round_fn round;
    size_t bytes; /* of each thread's memory */
    double seconds, best;
    bool done;
} team;

/* What rounds compute goes here, so that no compiler leaves them out. */
static volatile float sink;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Memory in large pages where the system has them, touched by the thread that uses it. */
static float *get_memory(size_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(1);
    }
    madvise(memory, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        ((float *)memory)[i] = 1.0f;
    return memory;
}

static void work(team *t, bool first)
{
    float *memory = t->bytes ? get_memory(t->bytes) : NULL;
    double start = now(), end = start + t->seconds;

    for (;;) {
        pthread_barrier_wait(&t->barrier);
        if (t->done)
            break;
        double begun = now();
        sink = t->round(memory, t->bytes);
        pthread_barrier_wait(&t->barrier);
        if (first) {
            double ended = now();
            if (ended - begun < t->best)
                t->best = ended - begun;
            t->done = ended >= end;
        }
    }
    if (memory)
        munmap(memory, t->bytes);
}

static void *start_worker(void *arg)
{
    work(arg, false);
    return NULL;
}

/* Seconds of the fastest round. */
static double best_round(round_fn round, size_t bytes, int threads, double seconds)
{
    team t = {.round = round, .bytes = bytes, .seconds = seconds, .best = 1e30};
    pthread_t *workers = calloc((size_t)threads, sizeof *workers);

    pthread_barrier_init(&t.barrier, NULL, (unsigned)threads);
    for (int i = 1; i < threads; i++)
        if (!workers || pthread_create(&workers[i], NULL, start_worker, &t)) {
            fprintf(stderr, "the system starts no more threads\n");
            exit(1);
        }
    work(&t, true);
    for (int i = 1; i < threads; i++)
        pthread_join(workers[i], NULL);
    pthread_barrier_destroy(&t.barrier);
    free(workers);
    return t.best;
}

/* --- arithmetic: as many chains as hide the latency --------------------------------- */

#define ROUND_STEPS 1000000 /* of each chain: some ten milliseconds */
#define CHAINS      12
#define CHAINS_512  24

typedef float vec4 __attribute__((vector_size(16)));

static float portable_round(float *memory, size_t bytes)
{
    vec4 chain[CHAINS], factor = {0.5f, 0.5f, 0.5f, 0.5f}, sum = {0};

    (void)memory;
    (void)bytes;
    for (int i = 0; i < CHAINS; i++)
        chain[i] = factor * (float)i;
    for (int step = 0; step < ROUND_STEPS; step++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            chain[i] = chain[i] * factor + factor;
    for (int i = 0; i < CHAINS; i++)
        sum += chain[i];
    return sum[0];
}

#ifdef __x86_64__

__attribute__((target("avx2,fma"))) static float avx2_round(float *memory, size_t bytes)
{
    __m256 chain[CHAINS], factor = _mm256_set1_ps(0.5f), sum = factor;

    (void)memory;
    (void)bytes;
    for (int i = 0; i < CHAINS; i++)
        chain[i] = _mm256_set1_ps((float)i);
    for (int step = 0; step < ROUND_STEPS; step++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            chain[i] = _mm256_fmadd_ps(chain[i], factor, factor);
    for (int i = 0; i < CHAINS; i++)
        sum = _mm256_add_ps(sum, chain[i]);
    return _mm256_cvtss_f32(sum);
}

__attribute__((target("avx512f"))) static float avx512_round(float *memory, size_t bytes)
{
    __m512 chain[CHAINS_512], factor = _mm512_set1_ps(0.5f), sum = factor;

    (void)memory;
    (void)bytes;
    for (int i = 0; i < CHAINS_512; i++)
        chain[i] = _mm512_set1_ps((float)i);
    for (int step = 0; step < ROUND_STEPS; step++)
#pragma GCC unroll 24
        for (int i = 0; i < CHAINS_512; i++)
            chain[i] = _mm512_fmadd_ps(chain[i], factor, factor);
    for (int i = 0; i < CHAINS_512; i++)
        sum = _mm512_add_ps(sum, chain[i]);
    return _mm512_cvtss_f32(sum);
}

__attribute__((target("avx512f,avx512bf16"))) static float bf16_round(float *memory,
                                                                      size_t bytes)
{
    __m512 chain[CHAINS_512], sum = _mm512_setzero_ps();
    __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));

    (void)memory;
    (void)bytes;
    for (int i = 0; i < CHAINS_512; i++)
        chain[i] = _mm512_set1_ps((float)i);
    for (int step = 0; step < ROUND_STEPS; step++)
#pragma GCC unroll 24
        for (int i = 0; i < CHAINS_512; i++)
            chain[i] = _mm512_dpbf16_ps(chain[i], pairs, pairs);
    for (int i = 0; i < CHAINS_512; i++)
        sum = _mm512_add_ps(sum, chain[i]);
    return _mm512_cvtss_f32(sum);
}

#endif

/* `ops` multiply-adds a step. */
static double gflops(round_fn round, double ops, int threads, double seconds)
{
    return 2.0 * ops * ROUND_STEPS * threads / best_round(round, 0, threads, seconds) /
           1e9;
}

double bench_fp32_gflops(int level, int threads, double seconds)
{
#ifdef __x86_64__
    if (level == RLHF_CPU_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
                   ? gflops(avx2_round, CHAINS * 8, threads, seconds)
                   : 0;
    if (level >= RLHF_CPU_AVX512)
        return __builtin_cpu_supports("avx512f")
                   ? gflops(avx512_round, CHAINS_512 * 16, threads, seconds)
                   : 0;
#endif
    return level == RLHF_CPU_PORTABLE
               ? gflops(portable_round, CHAINS * 4, threads, seconds)
               : 0;
}

double bench_bf16_gflops(int threads, double seconds)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512bf16"))
        return gflops(bf16_round, CHAINS_512 * 32, threads, seconds);
#endif
    (void)threads;
    (void)seconds;
    return 0;
}

/* --- memory ------------------------------------------------------------------------- */

#define STREAMS 4 /* walked side by side, as more than one prefetcher follows */

typedef float vec8 __attribute__((vector_size(32)));
#define INLINE static inline __attribute__((always_inline))

INLINE float read_any(const float *memory, size_t bytes)
{
    const size_t each = bytes / STREAMS / sizeof(vec8);
    const vec8 *from = (const vec8 *)memory;
    vec8 sum[2 * STREAMS] = {{0}};

    for (size_t i = 0; i < each; i += 2)
#pragma GCC unroll 4
        for (size_t s = 0; s < STREAMS; s++) {
            sum[2 * s] += from[s * each + i];
            sum[2 * s + 1] += from[s * each + i + 1];
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
    return read_any(memory, bytes);
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
__attribute__((target("avx2"))) static float avx2_read_round(float *memory, size_t bytes)
{
    return read_any(memory, bytes);
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

/* Each thread's share of memory that is more than any cache holds. */
static size_t share(int threads)
{
    size_t cache = 0;

#ifdef _SC_LEVEL3_CACHE_SIZE
    long size = sysconf(_SC_LEVEL3_CACHE_SIZE);
    cache = size > 0 ? (size_t)size : 0;
#endif
    size_t total = 2 * cache < 256 * MIB    ? 256 * MIB
                   : 2 * cache > 1024 * MIB ? 1024 * MIB
                                            : 2 * cache;
    return total / (size_t)threads / MIB * MIB + MIB;
}

static double faster(double moved, round_fn round, size_t bytes, int threads,
                     double seconds, double than)
{
    double rate = moved / best_round(round, bytes, threads, seconds) / 1e9;

    return rate > than ? rate : than;
}

double bench_read_gb_per_s(int threads, double seconds)
{
    const size_t bytes = share(threads);
    const double moved = (double)bytes * threads;

#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return faster(moved, avx2_read_round, bytes, threads, seconds, 0);
#endif
    return faster(moved, read_round, bytes, threads, seconds, 0);
}

double bench_copy_gb_per_s(int threads, double seconds)
{
    const size_t bytes = share(threads);
    const double moved = (double)bytes * threads;
    double best = faster(moved, copy_round, bytes, threads, seconds / 3, 0);

#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        best = faster(moved, stream_round, bytes, threads, seconds / 3, best);
        return faster(2 * moved, avx2_update_round, bytes, threads, seconds / 3, best);
    }
#endif
    return faster(2 * moved, update_round, bytes, threads, seconds / 3, best);
}
