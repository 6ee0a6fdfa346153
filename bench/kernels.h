/* Shared by the parts of bench-kernels, which alone of the benchmarks links the library's
 * inside: what is timed, and against which limit. */
#ifndef BENCH_KERNELS_H
#define BENCH_KERNELS_H

#include <stdint.h>

#include <rlhf/rlhf.h>

#include "base/arena.h"
#include "kernels/kernels.h"

/* What bounds a kernel; its work is counted in multiply-adds and adds, in fp32 or on
 * bf16, or in bytes. */
typedef enum bound { BOUND_FLOPS, BOUND_BF16, BOUND_READ, BOUND_COPY, BOUND_COUNT } bound;

typedef struct bench_state {
    rlhf_context *context; /* of the dtype that is timed */
    rlhf__arena *arena;
    const char *only;         /* part of the names of the kernels to run, NULL: all */
    double seconds;           /* for each kernel */
    double peak[BOUND_COUNT]; /* flops or bytes a second, the best seen; 0: has none */
    /* cold_floats each, more than any cache holds, in the pages that the library has its
     * own in: to be read, random floats that are pairs of bf16 as well, and written. */
    float *source, *target;
    int64_t cold_floats;
} bench_state;

/* One call of a kernel, number `round`. */
typedef rlhf_status (*kernel_fn)(bench_state *state, const void *arg, int64_t round);

/* Times one kernel, unless `only` leaves it out. `work` is of one call. */
void bench_kernel(bench_state *state, const char *name, const char *job,
                  const char *shape, kernel_fn fn, const void *arg, bound kind,
                  double work);
/* Whether any kernel of this name is to run. */
bool bench_wanted(const bench_state *state, const char *name);

/* Where round `round` finds `count` floats that earlier rounds have not just used. */
static inline int64_t bench_cold(const bench_state *state, int64_t count, int64_t round)
{
    int64_t size = (count + 15) / 16 * 16, places = state->cold_floats / size;

    return round % (places > 0 ? places : 1) * size;
}

/* kernels_products.c: in state's context, of either dtype. */
void bench_training(bench_state *state, bool bf16);
void bench_decoding(bench_state *state, bool bf16);
void bench_attention(bench_state *state); /* kernels_rows.c */
void bench_rows(bench_state *state);      /* kernels_rows.c */

#endif
