/* What the machine can do at all: the figures that results are a percentage of. Each is
 * the best of rounds that together take `seconds`, on `threads` threads at once. */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include <stddef.h>

/* Fused multiply-adds in registers, GFLOP/s, with the vectors of a kernel level (an
 * rlhf_cpu_level; the portable level multiplies, then adds). 0: this CPU lacks it. */
double bench_fp32_gflops(int level, int threads, double seconds);

/* Products of bf16 into fp32, GFLOP/s, by the best instruction that the CPU has for them,
 * whatever the level in use. 0: it has none. */
double bench_bf16_gflops(int threads, double seconds);
/* Which that is: "amx" (TDPBF16PS on tiles), "avx512_bf16" (VDPBF16PS) or NULL. */
const char *bench_bf16_by(void);

/* Memory that no cache holds, GB/s: read only; and copied, bytes read and bytes written
 * counted alike, by the fastest of several ways (bypassing the caches, through them, and
 * in place, which spares the read of what is overwritten). With `bytes` not 0 what is
 * read again and again is as much: it may lie in a cache, then. */
double bench_read_gb_per_s(int threads, double seconds, size_t bytes);
double bench_copy_gb_per_s(int threads, double seconds);
/* So many bytes that no cache holds them: twice the last one's size. */
size_t bench_cold_bytes(void);

#endif
