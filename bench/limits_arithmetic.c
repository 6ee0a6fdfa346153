/* What the machine can multiply and add in registers. */
#include <stdbool.h>
#include <stdint.h>

#include <rlhf/context.h>

#include "limits.h"
#include "rounds.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* As many chains as hide the latency. */
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

/* Two tiles of rows by two of columns: 16 rows of 32 bf16 each, into four of 16 x 16. */
#define AMX_OPS (4 * 16 * 16 * 32)

__attribute__((target("amx-tile,amx-bf16"))) static float amx_round(float *memory,
                                                                    size_t bytes)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    static const uint32_t quarters[16 * 16] = {[0 ... 255] = 0x3e803e80u}; /* 0.25 */
    float sums[16 * 16];

    (void)memory;
    (void)bytes;
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    _tile_loadconfig(&config);
    _tile_loadd(4, quarters, 64);
    _tile_loadd(5, quarters, 64);
    _tile_loadd(6, quarters, 64);
    _tile_loadd(7, quarters, 64);
    for (int step = 0; step < ROUND_STEPS; step++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, 64);
    _tile_release();
    return sums[0];
}

/* Whether the CPU has it and Linux lets this process use it. */
static bool has_amx(void)
{
    const unsigned bf16 = 1u << 22, tile = 1u << 24;
    const long request_permission = 0x1023, tile_data = 18;
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & bf16) && (d & tile) &&
           syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

#endif

/* `ops` multiply-adds a step. */
static double gflops(round_fn round, double ops, int threads, double seconds)
{
    double best;

    bench_best_rounds(&round, 1, 0, 1, threads, seconds, &best);
    return 2.0 * ops * ROUND_STEPS * threads / best / 1e9;
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

const char *bench_bf16_by(void)
{
#ifdef __x86_64__
    if (has_amx())
        return "amx";
    if (__builtin_cpu_supports("avx512bf16"))
        return "avx512_bf16";
#endif
    return NULL;
}

double bench_bf16_gflops(int threads, double seconds)
{
#ifdef __x86_64__
    if (has_amx())
        return gflops(amx_round, AMX_OPS, threads, seconds);
    if (__builtin_cpu_supports("avx512bf16"))
        return gflops(bf16_round, CHAINS_512 * 32, threads, seconds);
#endif
    (void)threads;
    (void)seconds;
    return 0;
}
