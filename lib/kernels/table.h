/* One table of single-threaded functions a CPU level. The threaded kernels of
 * kernels.h cut work into tiles and call these. Every level compiles level.h with its
 * own simd.h choices and flags. */
#ifndef RLHF_KERNELS_TABLE_H
#define RLHF_KERNELS_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* Where the block of k that begins at k0 ends: blocks are of 256, but a rest of up to 128
 * joins the last, since a short chain takes longer to begin and to end than to run. */
#define RLHF__K_BLOCK      256
#define RLHF__K_BLOCK_MOST 384
static inline int64_t rlhf__k_block_end(int64_t k0, int64_t k)
{
    return k - k0 <= RLHF__K_BLOCK_MOST ? k : k0 + RLHF__K_BLOCK;
}

/* Memory that will be read soon, to be fetched into the L2 cache meanwhile, an address at
 * a time: `steps` of them `step` floats apart, then `jump` floats more to the next such
 * row. Spread like that, requests do not hold up the loads of the product. One comes
 * every RLHF__ASK_STEPS steps of k, or, `often`, at each step. */
#define RLHF__ASK_STEPS 4
typedef struct rlhf__ask {
    const float *at;
    int64_t step, steps, jump;
    bool often;
} rlhf__ask;

typedef struct rlhf__kernels {
    /* Panels are `panel` columns wide; the micro-kernel takes up to `tile_rows` rows. */
    int64_t panel, tile_rows, lanes;

    /* c[m][panel] = (accumulate ? c : 0) + a b, m <= tile_rows, one chain over k; packed:
     * a[k][tile_rows], b[k][panel]. Asks for c, and now and then for `ask`. */
    void (*microkernel)(int64_t m, int64_t k, const float *a, const float *b, float *c,
                        int64_t ldc, bool accumulate, const rlhf__ask *ask);
    /* The same product for any m, n a multiple of lanes; a[i][p] is
     * a[i * a_row + p * a_step], where a_row or a_step is 1. */
    void (*product)(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                    int64_t a_step, const float *b, int64_t ldb, float *c, int64_t ldc,
                    bool accumulate);
    /* In attention, a's rows lda floats apart (64 pays): c[i] = a b, or, with `factors`,
     * c[i] * factors[i] + a b. n is a multiple of lanes. Turned: a[i][p] is
     * a[p * 64 + i]. */
    void (*block_product)(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                          const float *b, int64_t ldb, const float *factors, float *c,
                          int64_t ldc);
    void (*block_product_turned)(int64_t m, int64_t n, int64_t k, const float *a,
                                 const float *b, int64_t ldb, const float *factors,
                                 float *c, int64_t ldc);
    /* block_product of one row, b in bf16. */
    void (*row_product_halves)(int64_t n, int64_t k, const float *a, const uint16_t *b,
                               int64_t ldb, const float *factor, float *c);
    /* m <= tile_rows rows against `panels` panels that lie panel_stride floats apart, all
     * of k, in blocks (rlhf__k_block_end) whose sums are added in order, to c where
     * `accumulate`. c rows have ldc floats, all panels wide. */
    void (*skinny)(int64_t m, int64_t panels, int64_t k, const float *x, int64_t ldx,
                   const float *b, int64_t panel_stride, float *c, int64_t ldc,
                   bool accumulate);

    /* One group of packed columns: out[p * width + j] is src[j * ld + p] (turned) or
     * src[p * ld + j] (copied) for j < cols, 0 from there to width. */
    void (*pack_turned)(const float *src, int64_t ld, int64_t k, int64_t cols,
                        int64_t width, float *out);
    void (*pack_copied)(const float *src, int64_t ld, int64_t k, int64_t cols,
                        int64_t width, float *out);
    /* As pack_turned, but for what lies beyond cols: it stays as it is. */
    void (*turn)(const float *src, int64_t ld, int64_t k, int64_t cols, int64_t width,
                 float *out);

    void (*layernorm)(const float *x, int64_t width, const float *weight,
                      const float *bias, float eps, float *y, float *mean, float *rstd);
    void (*layernorm_dx)(const float *dy, const float *x, const float *weight, float mean,
                         float rstd, int64_t width, float *dx);
    /* dweight += dy * (x - mean) * rstd; dbias += dy (may be NULL). */
    void (*norm_dw)(const float *dy, const float *x, float mean, float rstd,
                    int64_t width, float *dweight, float *dbias);
    void (*rmsnorm)(const float *x, int64_t width, const float *weight, float eps,
                    float *y, float *rstd);
    void (*rmsnorm_dx)(const float *dy, const float *x, const float *weight, float rstd,
                       int64_t width, float *dx);

    void (*gelu)(bool exact, const float *x, int64_t count, float *y);
    void (*gelu_grad)(bool exact, const float *dy, const float *x, int64_t count,
                      float *dx);
    void (*swiglu)(const float *gate, const float *up, int64_t count, float *y);
    void (*swiglu_grad)(const float *dy, const float *gate, const float *up,
                        int64_t count, float *dgate, float *dup);

    /* Heads of 2 * half elements each, one after another, turned by the angles, element i
     * with i + half; sign -1 turns back. */
    void (*rope)(const float *cosines, const float *sines, float sign, int64_t half,
                 int64_t heads, float *x);

    /* One block of the online softmax, up to 64 rows of 64 scores: s[first, last) become
     * weights exp(s * scale - m), the others 0; m and l move on; factors: what to scale
     * the sums by. */
    void (*softmax_rows)(int64_t rows, float *s, float scale, const int64_t *first,
                         const int64_t *last, float *m, float *l, float *factors);
    /* p = exp(s * scale - lse) on [first, last), else 0; ds = p * (dp - d) * scale, in
     * dp's place, for the first `cols` of 64, a multiple of lanes. */
    void (*softmax_rows_grad)(int64_t rows, int64_t cols, float *p, float *ds,
                              float scale, const int64_t *first, const int64_t *last,
                              const float *lse, const float *d);
    float (*dot)(const float *a, const float *b, int64_t count);

    /* Row reductions of softmax: the maximum and whether all of z is finite; then, with
     * inv_tau and top given, softmax's sums, and where `weights` is not NULL the
     * exponentials, 0 where z <= lowest. */
    float (*row_max)(const float *z, int64_t count, bool *finite);
    void (*row_softmax)(const float *z, int64_t count, float lowest, float *weights,
                        rlhf__softmax *softmax);
    /* z -> ((-dlogprob - dentropy (z' - lse + entropy)) softmax) * inv_tau, z' = z *
     * inv_tau. */
    void (*row_grad)(float *z, int64_t count, float inv_tau, float lse, float entropy,
                     float dlogprob, float dentropy);

    void (*add)(const float *a, const float *b, int64_t count, float *y);
    void (*scale)(float factor, int64_t count, float *y);
    double (*sum)(const float *x, int64_t count);
    double (*sum_squares)(const float *x, int64_t count);
    bool (*all_finite)(const float *x, int64_t count);
    void (*adamw)(const rlhf__adamw_args *args, int64_t count, const float *grad,
                  float *param, float *m, float *v);
    void (*decay)(float lr_decay, int64_t count, float *param);
    float (*exp_one)(float x);
} rlhf__kernels;

extern const rlhf__kernels rlhf__kernels_portable;
extern const rlhf__kernels rlhf__kernels_avx2;
extern const rlhf__kernels rlhf__kernels_avx512;

static inline const rlhf__kernels *rlhf__table(rlhf_context *ctx);

#include "base/context.h"

static inline const rlhf__kernels *rlhf__table(rlhf_context *ctx)
{
    return ctx->kernels;
}

#endif
