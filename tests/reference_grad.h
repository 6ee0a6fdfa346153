/* Backward rules of reference.h's ops in double precision, written from their
 * derivatives. Gradients are added to (+=) where it says so. */
#ifndef TESTS_REFERENCE_GRAD_H
#define TESTS_REFERENCE_GRAD_H

#include "reference.h"

/* dx[rows][in] = dy w;  dw += dy^T x */
static inline void ref_linear_grad(const double *dy, const double *x, int64_t rows,
                                   int64_t in, const double *w, int64_t out, double *dx,
                                   double *dw)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < in; i++) {
            dx[r * in + i] = 0;
            for (int64_t o = 0; o < out; o++) {
                dx[r * in + i] += dy[r * out + o] * w[o * in + i];
                dw[o * in + i] += dy[r * out + o] * x[r * in + i];
            }
        }
}

/* xhat = (x - mean) / std, or x / root mean square; y = xhat w + b. dx += ... */
static inline void ref_norm_grad(const double *dy, const double *x, int64_t rows,
                                 int64_t width, const double *w, double eps, int centred,
                                 double *dx, double *dw, double *db)
{
    const double n = (double)width;

    for (int64_t r = 0; r < rows; r++) {
        const double *x_r = x + r * width, *dy_r = dy + r * width;
        double mean = 0, square = 0, sum = 0, along = 0;
        for (int64_t c = 0; centred && c < width; c++)
            mean += x_r[c] / n;
        for (int64_t c = 0; c < width; c++)
            square += (x_r[c] - mean) * (x_r[c] - mean) / n;
        const double scale = 1 / sqrt(square + eps);
        for (int64_t c = 0; c < width; c++) {
            const double xhat = (x_r[c] - mean) * scale;
            sum += dy_r[c] * w[c] / n;
            along += dy_r[c] * w[c] * xhat / n;
            dw[c] += dy_r[c] * xhat;
            if (db)
                db[c] += dy_r[c];
        }
        for (int64_t c = 0; c < width; c++)
            dx[r * width + c] += scale * (dy_r[c] * w[c] - (centred ? sum : 0) -
                                          (x_r[c] - mean) * scale * along);
    }
}

static inline double ref_gelu_tanh_slope(double x)
{
    const double t = tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));

    return 0.5 * (1 + t) +
           0.5 * x * (1 - t * t) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

static inline double ref_gelu_erf_slope(double x)
{
    return 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-x * x / 2) / sqrt(2 * M_PI);
}

/* dx[rows][2 * width], written */
static inline void ref_swiglu_grad(const double *dy, const double *x, int64_t rows,
                                   int64_t width, double *dx)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c++) {
            const double gate = x[r * 2 * width + c], up = x[r * 2 * width + width + c];
            const double s = 1 / (1 + exp(-gate)), dy_rc = dy[r * width + c];
            dx[r * 2 * width + c] = dy_rc * up * s * (1 + gate * (1 - s));
            dx[r * 2 * width + width + c] = dy_rc * gate * s;
        }
}

/* One query of one head, as ref_attend; dqkv += ... */
static inline void ref_attend_grad(const ref_attention_shape *s, const double *qkv,
                                   const double *dy, int64_t first, int64_t at,
                                   int64_t head, double *dqkv)
{
    const int64_t ld = (s->heads + 2 * s->kv_heads) * s->dim;
    const int64_t q = at * ld + head * s->dim;
    const int64_t key = (s->heads + head / (s->heads / s->kv_heads)) * s->dim;
    const int64_t value = key + s->kv_heads * s->dim;
    const int64_t from =
        s->window > 0 && at - s->window + 1 > first ? at - s->window + 1 : first;
    const double scale = 1 / sqrt((double)s->dim);
    double *p = calloc((size_t)(at - from + 1), sizeof *p), top = -INFINITY, sum = 0;
    double *dp = calloc((size_t)(at - from + 1), sizeof *dp), mean = 0;

    for (int64_t j = from; j <= at; j++) {
        for (int64_t d = 0; d < s->dim; d++) {
            p[j - from] += scale * qkv[q + d] * qkv[j * ld + key + d];
            dp[j - from] += dy[d] * qkv[j * ld + value + d];
        }
        top = fmax(top, p[j - from]);
    }
    for (int64_t j = 0; j <= at - from; j++)
        sum += p[j] = exp(p[j] - top);
    for (int64_t j = 0; j <= at - from; j++)
        mean += (p[j] /= sum) * dp[j];
    for (int64_t j = from; j <= at; j++)
        for (int64_t d = 0; d < s->dim; d++) {
            const double ds = p[j - from] * (dp[j - from] - mean) * scale;
            dqkv[q + d] += ds * qkv[j * ld + key + d];
            dqkv[j * ld + key + d] += ds * qkv[q + d];
            dqkv[j * ld + value + d] += p[j - from] * dy[d];
        }
    free(p), free(dp);
}

/* dqkv, laid out as qkv, += ... */
static inline void ref_attention_grad(const ref_attention_shape *s, const double *qkv,
                                      const double *dy, double *dqkv)
{
    for (int64_t seq = 0; seq < s->num_seqs; seq++)
        for (int64_t at = s->cu[seq]; at < s->cu[seq + 1]; at++)
            for (int64_t head = 0; head < s->heads; head++)
                ref_attend_grad(s, qkv, dy + (at * s->heads + head) * s->dim, s->cu[seq],
                                at, head, dqkv);
}

/* d/dz of dlogprob * log softmax(z / tau)[target] + dentropy * H(softmax(z / tau)) */
static inline void ref_logprob_grad(const double *z, int64_t vocab, int32_t target,
                                    double tau, double dlogprob, double dentropy,
                                    double *dz)
{
    double entropy;

    (void)ref_logprob(z, vocab, target, tau, &entropy);
    for (int64_t j = 0; j < vocab; j++) {
        const double logp = ref_logprob(z, vocab, (int32_t)j, tau, NULL), p = exp(logp);
        dz[j] = (dlogprob * ((j == target) - p) - dentropy * p * (logp + entropy)) / tau;
    }
}

#endif
