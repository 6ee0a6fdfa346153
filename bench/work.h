/* What a job has to do at the least, by arithmetic, and how long that takes at the
 * machine's limits: multiply-adds of the matrix products and of attention, weights read
 * by each decoding step, bytes that AdamW reads and writes. */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include <rlhf/rlhf.h>

typedef struct bench_limits {
    double flops, read_bytes, copy_bytes; /* a second */
} bench_limits;

/* One after the other; within a phase arithmetic and memory may go on at once. */
typedef struct bench_phase {
    double flops, read_bytes, copy_bytes;
} bench_phase;

#define BENCH_MAX_PHASES 8
typedef struct bench_work {
    bench_phase phases[BENCH_MAX_PHASES];
    int count;
    double read_set; /* bytes that its reads pass over again and again, the most so far */
} bench_work;

/* Of this machine now, at a level (an rlhf_cpu_level): takes half a second. With `bf16`
 * the arithmetic is that of products of bf16, where the CPU has any. Reads pass over
 * `read_set` bytes again and again, which so may lie in a cache; 0: they do not. */
bench_limits bench_measure_limits(int level, int threads, bool bf16, double read_set);

void bench_add_phase(bench_work *work, bench_phase phase);
double bench_limit_seconds(const bench_work *work, const bench_limits *limits);
/* All phases together. */
bench_phase bench_total(const bench_work *work);

/* A forward pass over `seqs` sequences of `length` tokens, of whose last `wanted` each
 * the result is asked for: logits or, without `head`, a number. Of the others the last
 * layer forms keys and values only. Training takes three times as many. */
double bench_forward_flops(const rlhf_model_config *config, int64_t seqs, int64_t length,
                           int64_t wanted, bool head);
/* Phases: the prompts (which give the first new token), and the decoding of `count` more,
 * weights and keys and values of `element` bytes. */
void bench_add_prompt(bench_work *work, const rlhf_model_config *config, int64_t seqs,
                      int64_t prompt);
void bench_add_decode(bench_work *work, const rlhf_model_config *config, int64_t seqs,
                      int64_t prompt, int64_t count, int element);
/* AdamW: four arrays read, three written. */
void bench_add_update(bench_work *work, int64_t parameters, int64_t times);

#endif
