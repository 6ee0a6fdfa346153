/* A micro-kernel of BLIS's for sgemm, and nothing else of BLIS. */
#ifndef RLHF_KERNELS_BLIS_KERNEL_H
#define RLHF_KERNELS_BLIS_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

/* Asked for once a product. */
typedef struct rlhf__blis {
    const void *cntx;     /* BLIS's own, or NULL */
    void (*kernel)(void); /* of BLIS's own type */
    int64_t rows, columns;
    bool prefers_rows;
} rlhf__blis;

/* False where BLIS has no kernel with AVX2 and FMA, and where asking it would end the
 * process, for what the environment holds (a shared BLIS alone reads it). */
bool rlhf__blis_find(rlhf__blis *out);
/* True if there is one and it computes tiles of `rows` x `panel`, with panel along the
 * rows of c. */
bool rlhf__blis_fits(int64_t rows, int64_t panel);
/* c[rows][panel] = (accumulate ? c : 0) + a[k][rows]^T b[k][panel]. */
void rlhf__blis_microkernel(const rlhf__blis *blis, int64_t k, const float *a,
                            const float *b, float *c, int64_t ldc, bool accumulate);

#endif
