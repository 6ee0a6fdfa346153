/* Interim kernels: plain loops that obey the contract's order, so that the layers above can be
 * built and tested. Replaced by the vectorised kernels. */
#include <math.h>
#include <string.h>

#include "base/context.h"
#include "kernels/kernels.h"

rlhf_status rlhf__kernels_resolve_level(int32_t requested, int32_t *out_level)
{
    *out_level = requested == RLHF_CPU_AUTO ? RLHF_CPU_PORTABLE : requested;
    return RLHF_OK;
}
const void *rlhf__kernels_for_level(int32_t level) { (void)level; return NULL; }

int64_t rlhf__panels_size(rlhf_context *ctx, int64_t k, int64_t n) { (void)ctx; return k * n; }
void rlhf__pack_panels(rlhf_context *ctx, const float *src, int64_t ld, bool transposed,
                       int64_t k, int64_t n, float *out)
{
    (void)ctx;
    for (int64_t p = 0; p < k; p++)
        for (int64_t j = 0; j < n; j++)
            out[p * n + j] = transposed ? src[j * ld + p] : src[p * ld + j];
}
rlhf_status rlhf__matmul(rlhf_context *ctx, rlhf__arena *scratch, const float *x, int64_t ldx,
                         int64_t m, int64_t k, int64_t n, const float *panels,
                         const float *bias, bool accumulate, float *y, int64_t ldy)
{
    (void)ctx;
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    float *acc, *sum;
    RLHF__TRY(rlhf__arena_alloc(scratch, n, sizeof *acc, &acc));
    RLHF__TRY(rlhf__arena_alloc(scratch, n, sizeof *sum, &sum));
    for (int64_t i = 0; i < m; i++) {
        for (int64_t k0 = 0; k0 < k || k0 == 0; k0 += 256) {
            memset(acc, 0, (size_t)n * sizeof *acc);
            for (int64_t p = k0; p < k && p < k0 + 256; p++) {
                float v = x[i * ldx + p];
                const float *row = panels + p * n;
                for (int64_t j = 0; j < n; j++)
                    acc[j] += v * row[j];
            }
            for (int64_t j = 0; j < n; j++)
                sum[j] = k0 ? sum[j] + acc[j] : acc[j];
        }
        for (int64_t j = 0; j < n; j++) {
            float v = sum[j] + (bias ? bias[j] : 0);
            y[i * ldy + j] = accumulate ? y[i * ldy + j] + v : v;
        }
    }
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}
rlhf_status rlhf__matmul_weight_grad(rlhf_context *ctx, rlhf__arena *scratch, const float *dy,
                                     int64_t lddy, const float *x, int64_t ldx, int64_t m,
                                     int64_t n, int64_t k, float *dw, int64_t lddw)
{
    (void)ctx;
    (void)scratch;
    for (int64_t t = 0; t < m; t++)
        for (int64_t i = 0; i < n; i++) {
            float v = dy[t * lddy + i];
            for (int64_t j = 0; j < k; j++)
                dw[i * lddw + j] += v * x[t * ldx + j];
        }
    return RLHF_OK;
}
rlhf_status rlhf__column_sums(rlhf_context *ctx, rlhf__arena *scratch, const float *dy,
                              int64_t lddy, int64_t m, int64_t n, float *db)
{
    (void)ctx;
    (void)scratch;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            db[j] += dy[i * lddy + j];
    return RLHF_OK;
}
void rlhf__embed(rlhf_context *ctx, const int32_t *tokens, const int32_t *positions,
                 int64_t count, int64_t width, const float *table, const float *ptable, float *y)
{
    (void)ctx;
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < width; c++)
            y[i * width + c] = table[tokens[i] * width + c] +
                               (ptable ? ptable[positions[i] * width + c] : 0);
}
void rlhf__embed_grad(rlhf_context *ctx, const int32_t *tokens, const int32_t *positions,
                      int64_t count, int64_t width, const float *dy, float *dt, float *dp)
{
    (void)ctx;
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < width; c++) {
            dt[tokens[i] * width + c] += dy[i * width + c];
            if (dp)
                dp[positions[i] * width + c] += dy[i * width + c];
        }
}
void rlhf__layernorm(rlhf_context *ctx, const float *x, int64_t rows, int64_t width,
                     const float *w, const float *b, float eps, float *y, float *mean,
                     float *rstd)
{
    (void)ctx;
    for (int64_t i = 0; i < rows; i++) {
        const float *xi = x + i * width;
        float s = 0, v = 0;
        for (int64_t c = 0; c < width; c++)
            s += xi[c];
        s /= (float)width;
        for (int64_t c = 0; c < width; c++)
            v += (xi[c] - s) * (xi[c] - s);
        float r = 1.0f / sqrtf(v / (float)width + eps);
        for (int64_t c = 0; c < width; c++)
            y[i * width + c] = (xi[c] - s) * r * w[c] + (b ? b[c] : 0);
        if (mean)
            mean[i] = s;
        if (rstd)
            rstd[i] = r;
    }
}
rlhf_status rlhf__layernorm_grad(rlhf_context *ctx, rlhf__arena *scratch, const float *dy,
                                 const float *x, const float *w, const float *mean,
                                 const float *rstd, int64_t rows, int64_t width, float *dx,
                                 float *dw, float *db)
{
    (void)ctx;
    (void)scratch;
    for (int64_t i = 0; i < rows; i++) {
        float a = 0, b = 0;
        for (int64_t c = 0; c < width; c++) {
            float xh = (x[i * width + c] - mean[i]) * rstd[i], d = dy[i * width + c] * w[c];
            a += d;
            b += d * xh;
            if (dw)
                dw[c] += dy[i * width + c] * xh;
            if (db)
                db[c] += dy[i * width + c];
        }
        a /= (float)width;
        b /= (float)width;
        for (int64_t c = 0; c < width; c++) {
            float xh = (x[i * width + c] - mean[i]) * rstd[i], d = dy[i * width + c] * w[c];
            dx[i * width + c] += rstd[i] * (d - a - xh * b);
        }
    }
    return RLHF_OK;
}
void rlhf__rmsnorm(rlhf_context *ctx, const float *x, int64_t rows, int64_t width,
                   const float *w, float eps, float *y, float *rstd)
{
    (void)ctx;
    for (int64_t i = 0; i < rows; i++) {
        float v = 0;
        for (int64_t c = 0; c < width; c++)
            v += x[i * width + c] * x[i * width + c];
        float r = 1.0f / sqrtf(v / (float)width + eps);
        for (int64_t c = 0; c < width; c++)
            y[i * width + c] = x[i * width + c] * r * w[c];
        if (rstd)
            rstd[i] = r;
    }
}
rlhf_status rlhf__rmsnorm_grad(rlhf_context *ctx, rlhf__arena *scratch, const float *dy,
                               const float *x, const float *w, const float *rstd, int64_t rows,
                               int64_t width, float *dx, float *dw)
{
    (void)ctx;
    (void)scratch;
    for (int64_t i = 0; i < rows; i++) {
        float b = 0;
        for (int64_t c = 0; c < width; c++) {
            float xh = x[i * width + c] * rstd[i];
            b += dy[i * width + c] * w[c] * xh;
            if (dw)
                dw[c] += dy[i * width + c] * xh;
        }
        b /= (float)width;
        for (int64_t c = 0; c < width; c++)
            dx[i * width + c] += rstd[i] * (dy[i * width + c] * w[c] -
                                            x[i * width + c] * rstd[i] * b);
    }
    return RLHF_OK;
}
void rlhf__activation_forward(rlhf_context *ctx, rlhf__activation kind, const float *x,
                              int64_t rows, int64_t width, float *y)
{
    (void)ctx;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c++) {
            if (kind == RLHF__SWIGLU) {
                float g = x[i * 2 * width + c], u = x[i * 2 * width + width + c];
                y[i * width + c] = g / (1.0f + expf(-g)) * u;
            } else {
                float v = x[i * width + c];
                float t = kind == RLHF__GELU_TANH
                              ? tanhf(0.7978845608f * (v + 0.044715f * v * v * v))
                              : erff(v * 0.70710678f);
                y[i * width + c] = 0.5f * v * (1.0f + t);
            }
        }
}
void rlhf__activation_grad(rlhf_context *ctx, rlhf__activation kind, const float *dy,
                           const float *x, int64_t rows, int64_t width, float *dx)
{
    (void)ctx;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c++) {
            float d = dy[i * width + c];
            if (kind == RLHF__SWIGLU) {
                float g = x[i * 2 * width + c], u = x[i * 2 * width + width + c];
                float s = 1.0f / (1.0f + expf(-g));
                dx[i * 2 * width + c] = d * u * s * (1.0f + g * (1.0f - s));
                dx[i * 2 * width + width + c] = d * g * s;
            } else if (kind == RLHF__GELU_TANH) {
                float v = x[i * width + c];
                float t = tanhf(0.7978845608f * (v + 0.044715f * v * v * v));
                dx[i * width + c] = d * (0.5f * (1.0f + t) +
                                         0.5f * v * (1.0f - t * t) * 0.7978845608f *
                                             (1.0f + 3.0f * 0.044715f * v * v));
            } else {
                float v = x[i * width + c];
                dx[i * width + c] = d * (0.5f * (1.0f + erff(v * 0.70710678f)) +
                                         v * 0.39894228f * expf(-0.5f * v * v));
            }
        }
}
void rlhf__rope_table(int64_t n, int64_t head_dim, double theta, float *ct, float *st)
{
    for (int64_t p = 0; p < n; p++)
        for (int64_t i = 0; i < head_dim / 2; i++) {
            double a = (double)p * pow(theta, -2.0 * (double)i / (double)head_dim);
            ct[p * (head_dim / 2) + i] = (float)cos(a);
            st[p * (head_dim / 2) + i] = (float)sin(a);
        }
}
void rlhf__rope(rlhf_context *ctx, float *x, int64_t ldx, int64_t rows, int64_t heads,
                int64_t head_dim, const int32_t *positions, const float *ct, const float *st,
                bool inverse)
{
    (void)ctx;
    int64_t half = head_dim / 2;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < half; i++) {
                float *a = x + r * ldx + h * head_dim + i, *b = a + half;
                float c = ct[positions[r] * half + i], s = st[positions[r] * half + i];
                float u = *a, v = *b;
                if (inverse)
                    s = -s;
                *a = u * c - v * s;
                *b = v * c + u * s;
            }
}
/* One query over keys [lo, n): scores in blocks of 64, online softmax. */
static float attend(const float *q, const float *k, int64_t ldk, int64_t kstep, const float *v,
                    int64_t ldv, int64_t lo, int64_t n, int64_t d, float scale, float *out)
{
    float m = -INFINITY, l = 0;
    memset(out, 0, (size_t)d * sizeof *out);
    for (int64_t j0 = lo / 64 * 64; j0 < n; j0 += 64) {
        float s[64], top = m;
        int64_t j1 = j0 + 64 < n ? j0 + 64 : n, first = j0 < lo ? lo : j0;
        for (int64_t j = first; j < j1; j++) {
            float acc = 0;
            for (int64_t c = 0; c < d; c++)
                acc += q[c] * (kstep ? k[j / 64 * 64 * d + c * 64 + j % 64] : k[j * ldk + c]);
            s[j - j0] = acc * scale;
            top = s[j - j0] > top ? s[j - j0] : top;
        }
        float f = expf(m - top);
        l *= f;
        for (int64_t c = 0; c < d; c++)
            out[c] *= f;
        for (int64_t j = first; j < j1; j++) {
            float p = expf(s[j - j0] - top);
            l += p;
            for (int64_t c = 0; c < d; c++)
                out[c] += p * v[j * ldv + c];
        }
        m = top;
    }
    for (int64_t c = 0; c < d; c++)
        out[c] /= l;
    return m + logf(l);
}
rlhf_status rlhf__attention_forward(rlhf_context *ctx, rlhf__arena *scratch,
                                    const rlhf__attention *a, float *out, int64_t ldo, float *lse)
{
    (void)ctx;
    (void)scratch;
    int64_t total = a->cu_seqlens[a->num_seqs], g = a->num_heads / a->num_kv_heads,
            d = a->head_dim;
    for (int64_t s = 0; s < a->num_seqs; s++)
        for (int64_t i = a->cu_seqlens[s]; i < a->cu_seqlens[s + 1]; i++)
            for (int64_t h = 0; h < a->num_heads; h++) {
                int64_t at = a->cu_seqlens[s], p = i - at;
                int64_t lo = a->window && p + 1 > a->window ? p + 1 - a->window : 0;
                float e = attend(a->q + i * a->ldq + h * d, a->k + at * a->ldk + h / g * d,
                                 a->ldk, 0, a->v + at * a->ldv + h / g * d, a->ldv, lo, p + 1,
                                 d, a->scale, out + i * ldo + h * d);
                if (lse)
                    lse[h * total + i] = e;
            }
    return RLHF_OK;
}
rlhf_status rlhf__attention_grad(rlhf_context *ctx, rlhf__arena *scratch,
                                 const rlhf__attention *a, const float *out, int64_t ldo,
                                 const float *dout, int64_t lddo, const float *lse, float *dq,
                                 float *dk, float *dv)
{
    (void)ctx;
    (void)scratch;
    int64_t total = a->cu_seqlens[a->num_seqs], g = a->num_heads / a->num_kv_heads,
            d = a->head_dim;
    for (int64_t i = 0; i < total; i++) {
        memset(dq + i * a->ldq, 0, (size_t)(a->num_heads * d) * sizeof *dq);
        memset(dk + i * a->ldk, 0, (size_t)(a->num_kv_heads * d) * sizeof *dk);
        memset(dv + i * a->ldv, 0, (size_t)(a->num_kv_heads * d) * sizeof *dv);
    }
    for (int64_t s = 0; s < a->num_seqs; s++)
        for (int64_t i = a->cu_seqlens[s]; i < a->cu_seqlens[s + 1]; i++)
            for (int64_t h = 0; h < a->num_heads; h++) {
                int64_t at = a->cu_seqlens[s], p = i - at;
                int64_t lo = a->window && p + 1 > a->window ? p + 1 - a->window : 0;
                const float *q = a->q + i * a->ldq + h * d, *o = out + i * ldo + h * d,
                            *go = dout + i * lddo + h * d;
                float dd = 0;
                for (int64_t c = 0; c < d; c++)
                    dd += o[c] * go[c];
                for (int64_t j = at + lo; j <= i; j++) {
                    const float *k = a->k + j * a->ldk + h / g * d,
                                *v = a->v + j * a->ldv + h / g * d;
                    float sc = 0, dp = 0;
                    for (int64_t c = 0; c < d; c++) {
                        sc += q[c] * k[c];
                        dp += go[c] * v[c];
                    }
                    float w = expf(sc * a->scale - lse[h * total + i]);
                    float ds = w * (dp - dd) * a->scale;
                    for (int64_t c = 0; c < d; c++) {
                        dq[i * a->ldq + h * d + c] += ds * k[c];
                        dk[j * a->ldk + h / g * d + c] += ds * q[c];
                        dv[j * a->ldv + h / g * d + c] += w * go[c];
                    }
                }
            }
    return RLHF_OK;
}
int64_t rlhf__kv_size(int64_t capacity, int64_t num_kv_heads, int64_t head_dim)
{
    return 2 * capacity * num_kv_heads * head_dim;
}
rlhf_status rlhf__attention_cached(rlhf_context *ctx, rlhf__arena *scratch,
                                   const rlhf__attention *a, float *const *caches,
                                   const int64_t *past, int64_t capacity, float *out,
                                   int64_t ldo)
{
    (void)ctx;
    (void)scratch;
    int64_t g = a->num_heads / a->num_kv_heads, d = a->head_dim;
    for (int64_t s = 0; s < a->num_seqs; s++) {
        int64_t at = a->cu_seqlens[s], n = a->cu_seqlens[s + 1] - at;
        for (int64_t h = 0; h < a->num_kv_heads; h++) {
            float *kc = caches[s] + h * 2 * capacity * d, *vc = kc + capacity * d;
            for (int64_t i = 0; i < n; i++)
                for (int64_t c = 0; c < d; c++) {
                    int64_t j = past[s] + i;
                    kc[j / 64 * 64 * d + c * 64 + j % 64] = a->k[(at + i) * a->ldk + h * d + c];
                    vc[j * d + c] = a->v[(at + i) * a->ldv + h * d + c];
                }
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t h = 0; h < a->num_heads; h++) {
                const float *kc = caches[s] + h / g * 2 * capacity * d, *vc = kc + capacity * d;
                int64_t p = past[s] + i;
                int64_t lo = a->window && p + 1 > a->window ? p + 1 - a->window : 0;
                attend(a->q + (at + i) * a->ldq + h * d, kc, 0, 1, vc, d, lo, p + 1, d,
                       a->scale, out + (at + i) * ldo + h * d);
            }
    }
    return RLHF_OK;
}
void rlhf__logprob(rlhf_context *ctx, const float *logits, int64_t ld, int64_t rows,
                   int64_t vocab, const int32_t *targets, float inv_tau, float *logprob,
                   float *entropy, float *lse)
{
    (void)ctx;
    for (int64_t i = 0; i < rows; i++) {
        const float *z = logits + i * ld;
        float top = -INFINITY, sum = 0, pz = 0;
        for (int64_t j = 0; j < vocab; j++)
            top = z[j] * inv_tau > top ? z[j] * inv_tau : top;
        for (int64_t j = 0; j < vocab; j++) {
            float d = z[j] * inv_tau - top, e = expf(d);
            sum += e;
            if (e > 0)
                pz += e * d;
        }
        float l = logf(sum);
        if (logprob)
            logprob[i] = z[targets[i]] * inv_tau - top - l;
        if (entropy)
            entropy[i] = l - pz / sum;
        if (lse)
            lse[i] = top + l;
    }
}
void rlhf__logprob_grad(rlhf_context *ctx, float *logits, int64_t ld, int64_t rows,
                        int64_t vocab, const int32_t *targets, float inv_tau, const float *lse,
                        const float *entropy, const float *dlogprob, const float *dentropy)
{
    (void)ctx;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < vocab; j++) {
            float *z = logits + i * ld + j, lp = *z * inv_tau - lse[i], p = expf(lp), g;
            g = dlogprob[i] * ((j == targets[i] ? 1.0f : 0.0f) - p);
            if (dentropy && p > 0)
                g -= dentropy[i] * p * (lp + entropy[i]);
            *z = g * inv_tau;
        }
}
void rlhf__softmax_row(rlhf_context *ctx, const float *logits, int64_t vocab, float inv_tau,
                       float *probs)
{
    (void)ctx;
    float top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < vocab; j++)
        top = logits[j] * inv_tau > top ? logits[j] * inv_tau : top;
    for (int64_t j = 0; j < vocab; j++)
        sum += probs[j] = expf(logits[j] * inv_tau - top);
    for (int64_t j = 0; j < vocab; j++)
        probs[j] /= sum;
}
int32_t rlhf__argmax_row(rlhf_context *ctx, const float *logits, int64_t vocab)
{
    (void)ctx;
    int64_t best = 0;
    for (int64_t j = 1; j < vocab; j++)
        if (logits[j] > logits[best])
            best = j;
    return (int32_t)best;
}
void rlhf__add(rlhf_context *ctx, const float *a, const float *b, int64_t count, float *y)
{
    (void)ctx;
    for (int64_t i = 0; i < count; i++)
        y[i] = a[i] + b[i];
}
void rlhf__add_to(rlhf_context *ctx, const float *x, int64_t count, float *y)
{
    (void)ctx;
    for (int64_t i = 0; i < count; i++)
        y[i] += x[i];
}
void rlhf__scale(rlhf_context *ctx, float factor, int64_t count, float *y)
{
    (void)ctx;
    for (int64_t i = 0; i < count; i++)
        y[i] *= factor;
}
double rlhf__sum_squares(rlhf_context *ctx, const float *x, int64_t count)
{
    (void)ctx;
    double s = 0;
    for (int64_t i = 0; i < count; i++)
        s += (double)x[i] * x[i];
    return s;
}
bool rlhf__all_finite(rlhf_context *ctx, const float *x, int64_t count)
{
    (void)ctx;
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}
void rlhf__adamw(rlhf_context *ctx, const rlhf__adamw_args *a, int64_t count, const float *grad,
                 float *param, float *m, float *v)
{
    (void)ctx;
    for (int64_t i = 0; i < count; i++) {
        float g = grad[i] * a->grad_scale;
        m[i] = a->beta1 * m[i] + (1 - a->beta1) * g;
        v[i] = a->beta2 * v[i] + (1 - a->beta2) * g * g;
        param[i] -= a->lr_decay * param[i];
        param[i] -= a->step_size * m[i] / (sqrtf(v[i]) * a->inv_sqrt_bias2 + a->eps);
    }
}
float rlhf__expf(rlhf_context *ctx, float x)
{
    (void)ctx;
    return expf(x);
}
