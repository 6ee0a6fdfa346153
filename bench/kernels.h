/* Shared by the parts of bench-kernels, which alone of the benchmarks links the library's
 * inside: what is timed, and against which limit. */
#ifndef BENCH_KERNELS_H
#define BENCH_KERNELS_H

#include <stdint.h>

#include <rlhf/rlhf.h>

#include "base/arena.h"
#include "kernels/kernels.h"

/* What bounds a kernel; its work is counted in multiply-adds and adds, or in bytes. */
typedef enum bound { BOUND_FLOPS, BOUND_READ, BOUND_COPY } bound;

typedef struct bench_state {
    rlhf_context *context;
    rlhf__arena *arena;
    const char *only; /* part of the names of the kernels to run, NULL: all */
    double seconds;   /* for each kernel */
    double peak[3];   /* by limit: flops or bytes a second, the best seen */
    float *source;    /* COLD_FLOATS random floats, more than any cache holds */
    float *target;    /* as many, to be written */
} bench_state;

#define COLD_FLOATS ((int64_t)1 << 26)

/* One call of a kernel, number `round`. */
typedef rlhf_status (*kernel_fn)(bench_state *state, const void *arg, int64_t round);

/* Times one kernel, unless `only` leaves it out. `work` is of one call. */
void bench_kernel(bench_state *state, const char *name, const char *job,
                  const char *shape, kernel_fn fn, const void *arg, bound kind,
                  double work);
/* Whether any kernel of this name is to run. */
bool bench_wanted(const bench_state *state, const char *name);

/* Where round `round` finds `count` floats that earlier rounds have not just used. */
static inline int64_t bench_cold(int64_t count, int64_t round)
{
    int64_t places = COLD_FLOATS / ((count + 15) / 16 * 16);

    return round % (places > 0 ? places : 1) * ((count + 15) / 16 * 16);
}

void bench_training(bench_state *state);  /* kernels_products.c */
void bench_decoding(bench_state *state);  /* kernels_products.c */
void bench_attention(bench_state *state); /* kernels_rows.c */
void bench_rows(bench_state *state);      /* kernels_rows.c */

#endif
