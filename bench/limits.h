/* What the machine can do at all: the figures that results are a percentage of. Each is
 * the best of rounds that together take `seconds`, on `threads` threads at once. */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

/* Fused multiply-adds in registers, GFLOP/s, with the vectors of a kernel level (an
 * rlhf_cpu_level; the portable level multiplies, then adds). 0: this CPU lacks it. */
double bench_fp32_gflops(int level, int threads, double seconds);

/* bf16 dot products into fp32 (AVX512-BF16), GFLOP/s. 0: this CPU has none. */
double bench_bf16_gflops(int threads, double seconds);

/* Memory that no cache holds, GB/s: read only; and copied, bytes read and bytes written
 * counted alike, by the fastest of three ways (bypassing the caches, through them, and in
 * place, which spares the read of what is overwritten). */
double bench_read_gb_per_s(int threads, double seconds);
double bench_copy_gb_per_s(int threads, double seconds);

#endif
