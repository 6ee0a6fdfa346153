/* Matrix products on bf16 operands with fp32 sums: what the kernels of matmul.c are in a
 * bf16 context. Only they include this; kernels.h is the interface.
 *
 * An operand's elements are rounded to bf16 (to nearest, ties to even; denormals become
 * zeros of their sign) and lie in pairs of k: a 32-bit word, the even k in its low half.
 * An odd last k is padded with a zero. The step for a pair is that of vdpbf16ps, whoever
 * does it but AMX (bf16_amx.c): sum = fma(odd, odd, sum), then sum = fma(even, even,
 * sum), each rounded to nearest, a result that is tiny after rounding becoming zero. All
 * of a product, its sums and the bias included, flushes denormals. */
#ifndef RLHF_KERNELS_BF16_H
#define RLHF_KERNELS_BF16_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/context.h"
#include "base/error.h"
#include "kernels/operand.h"

#define RLHF__BF16_BLOCK      128 /* pairs: the 256 k of a block */
#define RLHF__BF16_MAX_ROWS   32
#define RLHF__BF16_MAX_PANEL  32
#define RLHF__BF16_MAX_SKINNY 3

/* Single-threaded functions, one table a CPU level (bf16_level.h, bf16_amx.c). */
typedef struct rlhf__bf16_kernels {
    int64_t panel, tile_rows; /* columns and most rows of a product */
    int64_t skinny_rows;      /* most rows of `skinny`; 0: there is none */
    int64_t pair_step;        /* pairs are filled up with zeros to a multiple of it */
    int64_t block;            /* pairs whose sum is added to c at once; 0: any number */

    /* out[i] = src[i] rounded, still fp32; out may be src. */
    void (*round)(const float *src, int64_t count, float *out);
    /* out[count]: bf16 as floats; count is a multiple of 16. */
    void (*widen)(const uint16_t *src, int64_t count, float *out);
    /* out[ceil(count / 2)]: a row as words. */
    void (*round_pairs)(const float *src, int64_t count, uint32_t *out);
    /* Columns of a k x cols matrix in groups of `width`, a panel's: each group
     * out[pairs][width], the last filled up with zeros. Column j is row j of src if it is
     * `transposed`. */
    void (*pack)(rlhf__operand src, bool transposed, int64_t k, int64_t cols,
                 int64_t width, uint32_t *out);
    /* The same of up to tile_rows columns, as a product's left side, tile_rows * pairs
     * words in the level's own order, where pair p, a multiple of pair_step, begins at
     * p * tile_rows. */
    void (*pack_left)(rlhf__operand src, bool transposed, int64_t k, int64_t cols,
                      uint32_t *out);
    /* Products, skinny and add run between these, on the same thread; end takes what
     * begin gave. */
    unsigned int (*begin)(void);
    void (*end)(unsigned int before);
    /* c[m][panel] = (accumulate ? c : 0) + one chain over `pairs`, m <= tile_rows, of a
     * left side and b[pairs][panel], which is asked for early where it is `far`. */
    void (*product)(int64_t m, int64_t pairs, const uint32_t *a, const uint32_t *b,
                    float *c, int64_t ldc, bool accumulate, bool far);
    /* m rows x[m][ldx] of words against `panels` panels that lie panel_stride words
     * apart, all of k in blocks whose sums are added in order, to c where `accumulate`
     * is set. */
    void (*skinny)(int64_t m, int64_t panels, int64_t pairs, const uint32_t *x,
                   int64_t ldx, const uint32_t *b, int64_t panel_stride, float *c,
                   int64_t ldc, bool accumulate);
    void (*add)(const float *a, const float *b, int64_t count, float *y);
} rlhf__bf16_kernels;

extern const rlhf__bf16_kernels rlhf__bf16_portable;
extern const rlhf__bf16_kernels rlhf__bf16_avx2;
extern const rlhf__bf16_kernels rlhf__bf16_avx512;
extern const rlhf__bf16_kernels rlhf__bf16_avx512_bf16;
extern const rlhf__bf16_kernels rlhf__bf16_amx;

/* NULL in an fp32 context. */
static inline const rlhf__bf16_kernels *rlhf__bf16(const rlhf_context *ctx)
{
    return ctx->bf16;
}

/* As their namesakes in kernels.h without the prefix. Sizes are in words. */
int64_t rlhf__bf16_panels_size(const rlhf_context *ctx, int64_t k, int64_t n);
void rlhf__bf16_pack_panels(rlhf_context *ctx, const float *src, int64_t ld,
                            bool transposed, int64_t k, int64_t n, uint32_t *out_panels);
void rlhf__bf16_panels_column(const rlhf_context *ctx, const uint32_t *panels, int64_t k,
                              int64_t j, float *out);
rlhf_status rlhf__bf16_matmul(rlhf_context *ctx, rlhf__arena *scratch, rlhf__operand x,
                              int64_t m, int64_t k, int64_t n, const uint32_t *panels,
                              const float *bias, bool accumulate, float *y, int64_t ldy);
rlhf_status rlhf__bf16_matmul_unpacked(rlhf_context *ctx, rlhf__arena *scratch,
                                       rlhf__operand x, int64_t m, int64_t k, int64_t n,
                                       const float *matrix, int64_t ldb, bool transposed,
                                       const float *bias, bool accumulate, float *y,
                                       int64_t ldy);
rlhf_status rlhf__bf16_weight_grad(rlhf_context *ctx, rlhf__arena *scratch,
                                   const float *dy, int64_t lddy, rlhf__operand x,
                                   int64_t m, int64_t n, int64_t k, bool accumulate,
                                   float *dw, int64_t lddw);

#endif
