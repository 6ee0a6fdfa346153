/* Rounds of work on several threads at once, timed: what the machine's limits are
 * measured by. */
#ifndef BENCH_ROUNDS_H
#define BENCH_ROUNDS_H

#include <stddef.h>

/* On a thread's own memory. What it computes is returned, so that no compiler leaves it
 * out. */
typedef float (*round_fn)(float *memory, size_t bytes);

/* For each of `count` kinds of rounds the seconds of its fastest; all together may take
 * `seconds`. In a round each thread makes `calls` calls on `bytes` of its own, which may
 * be 0. */
void bench_best_rounds(const round_fn *rounds, int count, size_t bytes, int calls,
                       int threads, double seconds, double *out_best);

#endif
