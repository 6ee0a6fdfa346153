/* The row functions of a level; see table.h. Written once, compiled for each level
 * with its own LANES, TILE_ROWS, PANEL_VECTORS and flags. Tails go through the same
 * vector code, padded, so that an element's bits do not depend on where it lies. */
#include "kernels/simd.h"
#include "kernels/table.h"

#include "kernels/product.h"

#include "kernels/pack.h"

/* Runs `body` with `i` at each vector and `n` its valid lanes (LANES but for the
 * last). */
#define FOR_VECTORS(count)                                                               \
    for (int64_t i = 0, n = (count) < LANES ? (count) : LANES; i < (count);              \
         i += LANES, n = (count)-i < LANES ? (count)-i : LANES)

INLINE vf load(const float *p, int64_t n, float fill)
{
    return n == LANES ? v_load(p) : v_load_part(p, n, fill);
}

INLINE void store(float *p, int64_t n, vf x)
{
    if (n == LANES)
        v_store(p, x);
    else
        v_store_part(p, n, x);
}

static void layernorm(const float *x, int64_t width, const float *weight,
                      const float *bias, float eps, float *y, float *out_mean,
                      float *out_rstd)
{
    vf sum = v_set(0.0f), squares = v_set(0.0f);

    FOR_VECTORS (width)
        sum += load(x + i, n, 0.0f);
    float mean = v_sum(sum) / (float)width;
    FOR_VECTORS (width) {
        vf d = load(x + i, n, mean) - mean;
        squares = v_fma(d, d, squares);
    }
    float rstd = 1.0f / sqrtf(v_sum(squares) / (float)width + eps);
    FOR_VECTORS (width) {
        vf h = (load(x + i, n, 0.0f) - mean) * rstd;
        vf b = bias ? load(bias + i, n, 0.0f) : v_set(0.0f);
        store(y + i, n, v_fma(h, load(weight + i, n, 0.0f), b));
    }
    *out_mean = mean;
    *out_rstd = rstd;
}

/* y = h w + b, h = (x - mean) rstd: dx = rstd (g - mean(g) - h mean(g h)), g = dy w. */
static void layernorm_dx(const float *dy, const float *x, const float *weight, float mean,
                         float rstd, int64_t width, float *dx)
{
    vf sum = v_set(0.0f), dots = v_set(0.0f);

    FOR_VECTORS (width) {
        vf g = load(dy + i, n, 0.0f) * load(weight + i, n, 0.0f);
        sum += g;
        dots = v_fma(g, (load(x + i, n, mean) - mean) * rstd, dots);
    }
    float a = v_sum(sum) / (float)width, b = v_sum(dots) / (float)width;
    FOR_VECTORS (width) {
        vf g = load(dy + i, n, 0.0f) * load(weight + i, n, 0.0f);
        vf h = (load(x + i, n, mean) - mean) * rstd;
        store(dx + i, n, v_fma(g - a - h * b, v_set(rstd), load(dx + i, n, 0.0f)));
    }
}

static void norm_dw(const float *dy, const float *x, float mean, float rstd,
                    int64_t width, float *dweight, float *dbias)
{
    FOR_VECTORS (width) {
        vf g = load(dy + i, n, 0.0f), h = (load(x + i, n, mean) - mean) * rstd;
        if (dweight)
            store(dweight + i, n, v_fma(g, h, load(dweight + i, n, 0.0f)));
        if (dbias)
            store(dbias + i, n, load(dbias + i, n, 0.0f) + g);
    }
}

static void rmsnorm(const float *x, int64_t width, const float *weight, float eps,
                    float *y, float *out_rstd)
{
    vf squares = v_set(0.0f);

    FOR_VECTORS (width) {
        vf v = load(x + i, n, 0.0f);
        squares = v_fma(v, v, squares);
    }
    float rstd = 1.0f / sqrtf(v_sum(squares) / (float)width + eps);
    FOR_VECTORS (width)
        store(y + i, n, load(x + i, n, 0.0f) * rstd * load(weight + i, n, 0.0f));
    *out_rstd = rstd;
}

/* y = h w, h = x rstd: dx = rstd (g - h mean(g h)), g = dy w. */
static void rmsnorm_dx(const float *dy, const float *x, const float *weight, float rstd,
                       int64_t width, float *dx)
{
    vf dots = v_set(0.0f);

    FOR_VECTORS (width) {
        vf g = load(dy + i, n, 0.0f) * load(weight + i, n, 0.0f);
        dots = v_fma(g, load(x + i, n, 0.0f) * rstd, dots);
    }
    float b = v_sum(dots) / (float)width;
    FOR_VECTORS (width) {
        vf g = load(dy + i, n, 0.0f) * load(weight + i, n, 0.0f);
        vf h = load(x + i, n, 0.0f) * rstd;
        store(dx + i, n, v_fma(g - h * b, v_set(rstd), load(dx + i, n, 0.0f)));
    }
}

#define GELU_A 0.7978845608028654f /* sqrt(2 / pi) */
#define GELU_B 0.044715f

static void gelu(bool exact, const float *x, int64_t count, float *y)
{
    FOR_VECTORS (count) {
        vf v = load(x + i, n, 0.0f);
        vf t = exact ? v_erf(v * 0.70710678118654752f)
                     : v_tanh(GELU_A * v_fma(GELU_B * v * v, v, v));
        store(y + i, n, v_fma(0.5f * v, t, 0.5f * v));
    }
}

static void gelu_grad(bool exact, const float *dy, const float *x, int64_t count,
                      float *dx)
{
    FOR_VECTORS (count) {
        vf v = load(x + i, n, 0.0f), slope;
        if (exact) {
            vf cdf = v_fma(v_set(0.5f), v_erf(v * 0.70710678118654752f), v_set(0.5f));
            slope = v_fma(v * 0.3989422804014327f, v_exp(-0.5f * v * v), cdf);
        } else {
            vf t = v_tanh(GELU_A * v_fma(GELU_B * v * v, v, v));
            vf inner = GELU_A * v_fma(3.0f * GELU_B * v, v, v_set(1.0f));
            slope = v_fma(0.5f * v * (1.0f - t * t), inner,
                          v_fma(v_set(0.5f), t, v_set(0.5f)));
        }
        store(dx + i, n, load(dy + i, n, 0.0f) * slope);
    }
}

static void swiglu(const float *gate, const float *up, int64_t count, float *y)
{
    FOR_VECTORS (count) {
        vf g = load(gate + i, n, 0.0f);
        store(y + i, n, g / (1.0f + v_exp(-g)) * load(up + i, n, 0.0f));
    }
}

/* silu'(g) = s (1 + g (1 - s)), s = sigmoid(g) */
static void swiglu_grad(const float *dy, const float *gate, const float *up,
                        int64_t count, float *dgate, float *dup)
{
    FOR_VECTORS (count) {
        vf g = load(gate + i, n, 0.0f), u = load(up + i, n, 0.0f),
           d = load(dy + i, n, 0.0f);
        vf s = 1.0f / (1.0f + v_exp(-g));
        store(dgate + i, n, d * u * s * v_fma(g, 1.0f - s, v_set(1.0f)));
        store(dup + i, n, d * g * s);
    }
}

/* Pairs (a, b) of each head turned by the angles whose cos and sin * sign are given. */
static void rope(const float *cosines, const float *sines, float sign, int64_t half,
                 int64_t heads, float *x)
{
    FOR_VECTORS (half) {
        vf c = load(cosines + i, n, 0.0f), s = load(sines + i, n, 0.0f) * sign;
        for (int64_t h = 0; h < heads; h++) {
            float *a = x + 2 * h * half + i, *b = a + half;
            vf u = load(a, n, 0.0f), v = load(b, n, 0.0f);
            store(a, n, u * c - v * s);
            store(b, n, v * c + u * s);
        }
    }
}

/* --- attention ---------------------------------------------------------------------- */

#include "kernels/attend.h"

static float dot(const float *a, const float *b, int64_t count)
{
    vf sum = v_set(0.0f);

    FOR_VECTORS (count)
        sum = v_fma(load(a + i, n, 0.0f), load(b + i, n, 0.0f), sum);
    return v_sum(sum);
}

/* --- vocabulary rows ---------------------------------------------------------------- */

/* All bits of the lanes that are infinite or NaN: those have all of the exponent. */
INLINE vi not_finite(vf x)
{
    const int32_t exponent = 0x7f800000;

    return ((vi)x & exponent) == exponent;
}

INLINE bool is_zero(vi x)
{
    for (int j = 0; j < LANES; j++)
        if (x[j])
            return false;
    return true;
}

/* The maximum does not depend on the order (but for which of 0 and -0 it is, and nothing
 * is computed from it that tells), so that chains need not wait for each other. */
static float row_max(const float *z, int64_t count, bool *finite)
{
    enum { CHAINS = 4 };
    const int64_t whole = count - count % (CHAINS * LANES);
    vf tops[CHAINS];
    vi bad = {0};

    for (int j = 0; j < CHAINS; j++)
        tops[j] = v_set(-INFINITY);
    for (int64_t k = 0; k < whole; k += CHAINS * LANES)
        for (int j = 0; j < CHAINS; j++) {
            vf x = v_load(z + k + j * LANES);
            tops[j] = v_max(tops[j], x);
            bad |= not_finite(x);
        }
    FOR_VECTORS (count - whole) {
        vf x = load(z + whole + i, n, z[0]);
        tops[0] = v_max(tops[0], x);
        bad |= not_finite(x);
    }
    for (int j = 1; j < CHAINS; j++)
        tops[0] = v_max(tops[0], tops[j]);
    *finite = is_zero(bad);
    return v_max_lane(tops[0]);
}

static void row_softmax(const float *z, int64_t count, float lowest, float *weights,
                        rlhf__softmax *softmax)
{
    const float inv_tau = softmax->inv_tau, top = softmax->top;
    vf sum = v_set(0.0f), dots = v_set(0.0f);

    FOR_VECTORS (count) {
        vf x = load(z + i, n, -INFINITY), d = (x - top) * inv_tau, e = v_exp(d);
        sum += e;
        /* 0 * -inf is no term */
        dots = v_fma(e, v_max(d, v_set(-200.0f)), dots);
        if (weights)
            store(weights + i, n, v_where_less(v_set(lowest), x, e, v_set(0.0f)));
    }
    softmax->sum = v_sum(sum);
    softmax->weighted = v_sum(dots);
}

static void row_grad(float *z, int64_t count, float inv_tau, float lse, float entropy,
                     float dlogprob, float dentropy)
{
    FOR_VECTORS (count) {
        vf d = v_fma(load(z + i, n, -INFINITY), v_set(inv_tau), v_set(-lse)),
           p = v_exp(d);
        vf slope = -dlogprob - dentropy * (v_max(d, v_set(-200.0f)) + entropy);
        store(z + i, n, p * slope * inv_tau);
    }
}

/* --- elementwise -------------------------------------------------------------------- */

static void add(const float *a, const float *b, int64_t count, float *y)
{
    FOR_VECTORS (count)
        store(y + i, n, load(a + i, n, 0.0f) + load(b + i, n, 0.0f));
}

static void scale(float factor, int64_t count, float *y)
{
    FOR_VECTORS (count)
        store(y + i, n, factor * load(y + i, n, 0.0f));
}

/* In double, as many chains as lanes, then the tree. */
static double tree(double sums[LANES])
{
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++)
            sums[j] += sums[j + width];
    return sums[0];
}

static double sum(const float *x, int64_t count)
{
    double sums[LANES] = {0};
    int64_t i = 0;

    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++)
            sums[j] += (double)x[i + j];
    for (int j = 0; i + j < count; j++)
        sums[j] += (double)x[i + j];
    return tree(sums);
}

static double sum_squares(const float *x, int64_t count)
{
    double sums[LANES] = {0};
    int64_t i = 0;

    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++)
            sums[j] += (double)x[i + j] * (double)x[i + j];
    for (int j = 0; i + j < count; j++)
        sums[j] += (double)x[i + j] * (double)x[i + j];
    return tree(sums);
}

static bool all_finite(const float *x, int64_t count)
{
    vi bad = {0};

    FOR_VECTORS (count)
        bad |= not_finite(load(x + i, n, 0.0f));
    return is_zero(bad);
}

/* Seven streams of memory are more than are read ahead by themselves. */
static void adamw(const rlhf__adamw_args *args, int64_t count, const float *grad,
                  float *param, float *m, float *v)
{
    float b1 = args->beta1, b2 = args->beta2, c1 = 1.0f - b1, c2 = 1.0f - b2;

    FOR_VECTORS (count) {
        __builtin_prefetch(grad + i + AHEAD);
        __builtin_prefetch(param + i + AHEAD, 1);
        __builtin_prefetch(m + i + AHEAD, 1);
        __builtin_prefetch(v + i + AHEAD, 1);
        vf g = load(grad + i, n, 0.0f) * args->grad_scale;
        vf mi = v_fma(load(m + i, n, 0.0f), v_set(b1), c1 * g);
        vf vi_ = v_fma(load(v + i, n, 0.0f), v_set(b2), c2 * g * g);
        vf p = load(param + i, n, 0.0f);
        p = v_fma(p, v_set(-args->lr_decay), p);
        p -= args->step_size * mi /
             v_fma(v_sqrt(vi_), v_set(args->inv_sqrt_bias2), v_set(args->eps));
        store(param + i, n, p);
        store(m + i, n, mi);
        store(v + i, n, vi_);
    }
}

/* What adamw does where gradient and moments are 0. */
static void decay(float lr_decay, int64_t count, float *param)
{
    FOR_VECTORS (count) {
        vf p = load(param + i, n, 0.0f);
        store(param + i, n, v_fma(p, v_set(-lr_decay), p));
    }
}

static float exp_one(float x)
{
    return v_exp(v_set(x))[0];
}

#define LEVEL_TABLE                                                                      \
    {                                                                                    \
        .panel = PANEL, .tile_rows = TILE_ROWS, .lanes = LANES,                          \
        .microkernel = microkernel, .product = product, .block_product = block_product,  \
        .block_product_turned = block_product_turned,                                    \
        .row_product_halves = row_product_halves, .skinny = skinny,                      \
        .pack_turned = pack_turned, .pack_copied = pack_copied, .turn = turn,            \
        .layernorm = layernorm, .layernorm_dx = layernorm_dx, .norm_dw = norm_dw,        \
        .rmsnorm = rmsnorm, .rmsnorm_dx = rmsnorm_dx, .gelu = gelu,                      \
        .gelu_grad = gelu_grad, .rope = rope, .swiglu = swiglu,                          \
        .swiglu_grad = swiglu_grad, .softmax_rows = softmax_rows,                        \
        .softmax_rows_grad = softmax_rows_grad, .dot = dot, .row_max = row_max,          \
        .row_softmax = row_softmax, .row_grad = row_grad, .add = add, .scale = scale,    \
        .sum = sum, .sum_squares = sum_squares, .all_finite = all_finite,                \
        .adamw = adamw, .decay = decay, .exp_one = exp_one                               \
    }
