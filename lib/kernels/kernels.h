/* Every numeric kernel, on raw pointers and sizes. Threading is inside: work is cut into
 * tiles, which the context's pool shares; an element's arithmetic never hangs on the cut.
 * The arithmetic is picked by the context's CPU level (one table of row functions a
 * level, chosen at creation).
 *
 * The numerics contract. Whatever the route (training, prefill, decode), batch or number
 * of threads, an output has the same bits:
 *  - matmul: each output element is a chain of fused multiply-adds over ascending k from
 *    0, in blocks of 256, a rest of up to 128 being part of the last; sums are added in
 *    order: y = ((c0 + c1) + c2) + ...; then + bias. (Portable level: multiply then
 *    add, same order.) In a bf16 context both operands are rounded to bf16 and the chain
 *    is that of vdpbf16ps on every level but AMX, which has its own (bf16_amx.c): blocks
 *    of 256, for each pair of k the odd product first (bf16.h).
 *  - attention: keys walked in blocks of 64 from position 0 with the online softmax,
 *    scores and outputs as chains over ascending head_dim / key.
 *  - norms, softmax, sums along a row: one fixed lane tree.
 * "+=" marks an accumulated output. Row strides (ld...) are in floats. No argument may
 * overlap an output unless said so. Nothing here allocates: scratch comes from the
 * caller. */
#ifndef RLHF_KERNELS_KERNELS_H
#define RLHF_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include <rlhf/context.h>

#include "base/arena.h"
#include "base/error.h"
#include "kernels/operand.h"

/* --- level -------------------------------------------------------------------------- */

/* AUTO or a level -> a level this machine can run; UNSUPPORTED otherwise. */
rlhf_status rlhf__kernels_resolve_level(int32_t requested, int32_t dtype,
                                        int32_t *out_level);
/* The table to put into rlhf_context.kernels. */
const void *rlhf__kernels_for_level(int32_t level);
/* What to put into rlhf_context.bf16: the level's table of bf16 products, or NULL for
 * RLHF_DTYPE_FP32. */
const void *rlhf__kernels_for_dtype(int32_t level, int32_t dtype);
/* What to put into rlhf_context.blis: whether BLIS's micro-kernel serves full tiles.
 * The level's own has the same bits, and serves where it is faster: AVX-512
 * (docs/kernels.md). */
bool rlhf__kernels_use_blis(int32_t level);

/* --- matmul (matmul.c) -------------------------------------------------------------- */

/* Words of 4 bytes that panels for a k x n right-hand side take; at a multiple of 64
 * bytes. In a bf16 context all of the products below round both operands to bf16 (bf16.h)
 * and panels hold pairs: half the bytes. */
int64_t rlhf__panels_size(rlhf_context *ctx, int64_t k, int64_t n);
/* Packs B (k x n) into panels. B[p][j] is src[j * ld + p] (`transposed`: a weight
 * [n][k] for y = x W^T) or src[p * ld + j]. */
void rlhf__pack_panels(rlhf_context *ctx, const float *src, int64_t ld, bool transposed,
                       int64_t k, int64_t n, void *out_panels);
/* Column j of B (k x n), as panels hold it: out[k]. */
void rlhf__panels_column(rlhf_context *ctx, const void *panels, int64_t k, int64_t j,
                         float *out);
/* y[m][n] = (accumulate ? y : 0) + x[m][k] * B (+ bias[n], may be NULL). With
 * `accumulate` the blocks are added to y in order. Any m, 1 included: skinny m
 * takes a kernel that streams the panels, with the same bits. */
rlhf_status rlhf__matmul(rlhf_context *ctx, rlhf__arena *scratch, rlhf__operand x,
                         int64_t m, int64_t k, int64_t n, const void *panels,
                         const float *bias, bool accumulate, float *y, int64_t ldy);
/* The same, with the same bits, from B itself, laid out as for rlhf__pack_panels; it is
 * packed on the way, a part at a time. */
rlhf_status rlhf__matmul_unpacked(rlhf_context *ctx, rlhf__arena *scratch,
                                  rlhf__operand x, int64_t m, int64_t k, int64_t n,
                                  const float *matrix, int64_t ldb, bool transposed,
                                  const float *bias, bool accumulate, float *y,
                                  int64_t ldy);
/* Whether m rows are so few that panels pay, which are kept for later products. */
bool rlhf__matmul_wants_panels(int64_t m);
/* dw[n][k] = (accumulate ? dw : 0) + dy[m][n]^T * x[m][k]: the weight gradient; a chain
 * over ascending m, its blocks added to dw in order. */
rlhf_status rlhf__matmul_weight_grad(rlhf_context *ctx, rlhf__arena *scratch,
                                     const float *dy, int64_t lddy, rlhf__operand x,
                                     int64_t m, int64_t n, int64_t k, bool accumulate,
                                     float *dw, int64_t lddw);
/* db[n] += column sums of dy[m][n], in a fixed tree over rows. */
rlhf_status rlhf__column_sums(rlhf_context *ctx, rlhf__arena *scratch, const float *dy,
                              int64_t lddy, int64_t m, int64_t n, float *db);

/* Whether products round what they read: the context is one of bf16. Then what they alone
 * read may be halves, rlhf__rounded_ld elements a row of `cols`. */
bool rlhf__products_round(const rlhf_context *ctx);
int64_t rlhf__rounded_ld(const rlhf_context *ctx, int64_t cols);
/* In a bf16 context: x[rows][cols] rounded to bf16 in place; else nothing. */
void rlhf__round_activations(rlhf_context *ctx, float *x, int64_t ldx, int64_t rows,
                             int64_t cols);

/* --- embedding (embed.c) ------------------------------------------------------------ */

/* y[i] = table[tokens[i]] (+ positions_table[positions[i]], may be NULL). In a bf16
 * context the row of `table` is rounded to bf16. */
void rlhf__embed(rlhf_context *ctx, const int32_t *tokens, const int32_t *positions,
                 int64_t count, int64_t width, const float *table,
                 const float *positions_table, float *y);
/* The same from panels of the transposed table: column j is token j's row. */
void rlhf__embed_panels(rlhf_context *ctx, const int32_t *tokens,
                        const int32_t *positions, int64_t count, int64_t width,
                        const void *panels, const float *positions_table, float *y);
/* dtable[tokens[i]] += dy[i], rows in ascending i; likewise positions. */
void rlhf__embed_grad(rlhf_context *ctx, const int32_t *tokens, const int32_t *positions,
                      int64_t count, int64_t width, const float *dy, float *dtable,
                      float *dpositions_table);

/* --- norms (norm.c) ----------------------------------------------------------------- */

/* LayerNorm (Ba et al. 2016): y = (x - mean) * rstd * weight + bias, biased variance.
 * mean and rstd [rows] may be NULL. bias may be NULL. Where `branch` is not NULL it is
 * added to x first. */
rlhf_status rlhf__layernorm(rlhf_context *ctx, rlhf__arena *scratch, float *x,
                            const float *branch, int64_t rows, int64_t width,
                            const float *weight, const float *bias, float eps,
                            rlhf__result y, float *mean, float *rstd);
rlhf_status rlhf__layernorm_grad(rlhf_context *ctx, rlhf__arena *scratch, const float *dy,
                                 const float *x, const float *weight, const float *mean,
                                 const float *rstd, int64_t rows, int64_t width,
                                 float *dx /* += */, float *dweight /* +=, may be NULL */,
                                 float *dbias /* +=, may be NULL */);
/* RMSNorm (Zhang and Sennrich 2019): y = x * rstd * weight; `branch` as above. */
rlhf_status rlhf__rmsnorm(rlhf_context *ctx, rlhf__arena *scratch, float *x,
                          const float *branch, int64_t rows, int64_t width,
                          const float *weight, float eps, rlhf__result y, float *rstd);
rlhf_status rlhf__rmsnorm_grad(rlhf_context *ctx, rlhf__arena *scratch, const float *dy,
                               const float *x, const float *weight, const float *rstd,
                               int64_t rows, int64_t width, float *dx /* += */,
                               float *dweight /* +=, may be NULL */);

/* --- activations (activation.c) ----------------------------------------------------- */

typedef enum rlhf__activation {
    RLHF__GELU_TANH,
    RLHF__GELU_ERF,
    RLHF__SWIGLU /* x is [rows][2 * width]: gate then up; y = silu(gate) * up */
} rlhf__activation;
/* y[rows][width]. */
rlhf_status rlhf__activation_forward(rlhf_context *ctx, rlhf__arena *scratch,
                                     rlhf__activation kind, const float *x, int64_t rows,
                                     int64_t width, rlhf__result y);
/* dx = gradient (written, not accumulated; may be x itself). */
void rlhf__activation_grad(rlhf_context *ctx, rlhf__activation kind, const float *dy,
                           const float *x, int64_t rows, int64_t width, float *dx);

/* --- rotary (rope.c) ---------------------------------------------------------------- */

/* Fills cos and sin [count][head_dim / 2], of positions from `first` on; angles in
 * double. */
void rlhf__rope_table(int64_t first, int64_t count, int64_t head_dim, double theta,
                      float *cos_table, float *sin_table);
/* Half-split rotary (Su et al. 2021, Hugging Face's layout) in place on `heads` heads
 * of each row of x; `inverse` turns back (the gradient). */
void rlhf__rope(rlhf_context *ctx, float *x, int64_t ldx, int64_t rows, int64_t heads,
                int64_t head_dim, const int32_t *positions, const float *cos_table,
                const float *sin_table, bool inverse);

/* --- attention (attention.c) -------------------------------------------------------- */

#define RLHF__ATTENTION_BLOCK 64

/* The `length` tokens that a sequence begins with are those of an earlier one, its
 * leader, which shares nothing itself: their keys and values are the leader's first
 * rows. */
typedef struct rlhf__shared {
    int64_t length; /* 0: it has no leader */
    int64_t leader;
} rlhf__shared;

/* Causal attention over ragged sequences. Head h of token i is at q + i*ldq +
 * h*head_dim; its keys are kv head h / (num_heads / num_kv_heads). window 0: all
 * earlier keys; else a query at position p sees keys (p - window, p]. scale multiplies
 * scores. */
typedef struct rlhf__attention {
    const float *q, *k, *v;
    int64_t ldq, ldk, ldv;
    int64_t num_seqs;
    const int64_t *cu_seqlens; /* [num_seqs + 1], new tokens */
    int64_t num_heads, num_kv_heads, head_dim;
    int64_t window;
    float scale;
    /* [num_seqs] The first of each one's new tokens whose output is wanted (its number of
     * them: none); rows before it are not written. NULL: 0. */
    const int64_t *from;
    /* [num_seqs] What stands before the new tokens without a cache; with one: NULL. */
    const rlhf__shared *shared;
} rlhf__attention;

/* out[tokens][num_heads*head_dim] (row stride ldo); lse[num_heads][tokens] may be
 * NULL. */
rlhf_status rlhf__attention_forward(rlhf_context *ctx, rlhf__arena *scratch,
                                    const rlhf__attention *a, float *out, int64_t ldo,
                                    float *lse);
/* dq, dk, dv are written (not accumulated), same strides as q, k, v; what several
 * sequences share gets the sum, in their order. Rows of out and dout before `from` are
 * not read. */
rlhf_status rlhf__attention_grad(rlhf_context *ctx, rlhf__arena *scratch,
                                 const rlhf__attention *a, const float *out, int64_t ldo,
                                 const float *dout, int64_t lddo, const float *lse,
                                 float *dq, float *dk, float *dv);

/* Elements of a sequence's keys and values in one layer: for each kv head, keys in
 * transposed blocks [ceil(capacity/64)][head_dim][64], values [capacity][head_dim].
 * capacity: multiple of 64. */
int64_t rlhf__kv_size(int64_t capacity, int64_t num_kv_heads, int64_t head_dim);
/* Bytes of an element: a float's, or, in a bf16 context, where k and v are rounded
 * before they come here, a bf16's. */
size_t rlhf__kv_element(rlhf_context *ctx);
/* Appends the new tokens' k and v to each sequence's cache (past[s] earlier tokens),
 * then attends; bit-equal to rlhf__attention_forward over the whole sequence. */
rlhf_status rlhf__attention_cached(rlhf_context *ctx, rlhf__arena *scratch,
                                   const rlhf__attention *a, void *const *caches,
                                   const int64_t *past, int64_t capacity, float *out,
                                   int64_t ldo);

/* --- softmax, log-prob, loss (softmax.c) -------------------------------------------- */

/* 1 / temperature, for the functions below; temperature > 0. Bounded on both sides: never
 * 0, never infinite. */
float rlhf__inv_tau(double temperature);
/* The softmax of a row z in few numbers, z' = (z - top) * inv_tau: the maximum is taken
 * off first, so that nothing overflows at any temperature. */
typedef struct rlhf__softmax {
    float inv_tau;
    float top;      /* max z */
    float sum;      /* of exp(z') */
    float weighted; /* of exp(z') z' */
} rlhf__softmax;
/* For each row of logits[rows][vocab], z = logits * inv_tau:
 * logprob = z[target] - logsumexp(z); entropy = logsumexp(z) - sum softmax(z) z. NULL
 * outputs are skipped; targets NULL with logprob NULL. lse of z. */
void rlhf__logprob(rlhf_context *ctx, const float *logits, int64_t ld, int64_t rows,
                   int64_t vocab, const int32_t *targets, float inv_tau, float *logprob,
                   float *entropy, float *lse);
/* In place: logits -> d/dlogits of dlogprob[i] * logprob[i] + dentropy[i] * entropy[i]
 * (dentropy NULL: 0): dz = dlogprob * (onehot - p) - dentropy * p * (log p + H); *
 * inv_tau. */
void rlhf__logprob_grad(rlhf_context *ctx, float *logits, int64_t ld, int64_t rows,
                        int64_t vocab, const int32_t *targets, float inv_tau,
                        const float *lse, const float *entropy, const float *dlogprob,
                        const float *dentropy);
/* What rlhf__logprob gives, to the bit, for a row whose softmax is known; logit: z of the
 * target. */
void rlhf__softmax_logprob(const rlhf__softmax *softmax, float logit, float *logprob,
                           float *entropy, float *lse);
/* Softmax of one row but for its divisor, on the calling thread: weights = exp(z'), 0
 * where z <= lowest; sums[ceil(vocab / 64)] of 64 each. False: not all of z is finite. */
#define RLHF__WEIGHTS_BLOCK 64
bool rlhf__softmax_weights(rlhf_context *ctx, const float *logits, int64_t vocab,
                           float inv_tau, float lowest, float *weights, double *sums,
                           rlhf__softmax *softmax);
/* The first of the largest; -1: not all are finite. */
int32_t rlhf__argmax_row(rlhf_context *ctx, const float *logits, int64_t vocab);

/* --- elementwise (vector.c) --------------------------------------------------------- */

void rlhf__add(rlhf_context *ctx, const float *a, const float *b, int64_t count,
               float *y);
void rlhf__add_to(rlhf_context *ctx, const float *x, int64_t count, float *y /* += */);
void rlhf__scale(rlhf_context *ctx, float factor, int64_t count, float *y);
void rlhf__zero(rlhf_context *ctx, int64_t count, float *y);
/* Sum of squares in double, fixed tree; for the gradient norm. Needs no scratch. */
double rlhf__sum_squares(rlhf_context *ctx, const float *x, int64_t count);
/* The same of those rows of x[rows][cols] whose `which` is set; others are not read. */
double rlhf__sum_squares_rows(rlhf_context *ctx, const float *x, int64_t rows,
                              int64_t cols, const bool *which);
/* On the calling thread. */
bool rlhf__all_finite(rlhf_context *ctx, const float *x, int64_t count);
/* The transposed matrix: out[c * ldo + r] = src[r * ld + c] for r < rows, c < cols. On
 * the calling thread. */
void rlhf__turn(rlhf_context *ctx, const float *src, int64_t ld, int64_t rows,
                int64_t cols, float *out, int64_t ldo);

/* AdamW (Loshchilov and Hutter 2019) on `count` parameters; spec section 5, "Adam". g
 * is multiplied by grad_scale first. step_size, eps as computed by optim for torch or
 * TF form: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr_decay * p; p -=
 * step_size * m / (sqrt(v) * inv_sqrt_bias2 + eps). */
typedef struct rlhf__adamw_args {
    float beta1, beta2, step_size, inv_sqrt_bias2, eps, lr_decay, grad_scale;
} rlhf__adamw_args;
void rlhf__adamw_update(rlhf_context *ctx, const rlhf__adamw_args *args, int64_t count,
                        const float *grad, float *param, float *m, float *v);
/* The same of a matrix [rows][cols]. The gradient is 0 where a row's `written` is not
 * set, the moments are where `begun` is not, whatever the memory holds. Of rows with
 * neither only `param` is read or written, and only where there is decay; all others have
 * begun afterwards, and zeros in a gradient that was not written. */
void rlhf__adamw_update_rows(rlhf_context *ctx, const rlhf__adamw_args *args,
                             int64_t rows, int64_t cols, const bool *written, bool *begun,
                             float *grad, float *param, float *m, float *v);

/* exp and log1p as the kernels compute them, one value: for losses outside of rows. */
float rlhf__expf(rlhf_context *ctx, float x);

#endif
