/* The network's ops in double precision, written from their definitions: what the
 * library's fp32 results and its gradients are held against. */
#ifndef TESTS_REFERENCE_H
#define TESTS_REFERENCE_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

/* y[rows][out] = x[rows][in] w[out][in]^T + b; b may be NULL. */
static inline void ref_linear(const double *x, int64_t rows, int64_t in, const double *w,
                              int64_t out, const double *b, double *y)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < out; o++) {
            double sum = b ? b[o] : 0.0;
            for (int64_t i = 0; i < in; i++)
                sum += x[r * in + i] * w[o * in + i];
            y[r * out + o] = sum;
        }
}

/* Ba et al. 2016: biased variance; b may be NULL. */
static inline void ref_layernorm(const double *x, int64_t rows, int64_t width,
                                 const double *w, const double *b, double eps, double *y)
{
    for (int64_t r = 0; r < rows; r++) {
        const double *x_r = x + r * width;
        double mean = 0, var = 0;
        for (int64_t c = 0; c < width; c++)
            mean += x_r[c] / (double)width;
        for (int64_t c = 0; c < width; c++)
            var += (x_r[c] - mean) * (x_r[c] - mean) / (double)width;
        for (int64_t c = 0; c < width; c++)
            y[r * width + c] =
                (x_r[c] - mean) / sqrt(var + eps) * w[c] + (b ? b[c] : 0.0);
    }
}

/* Zhang and Sennrich 2019 */
static inline void ref_rmsnorm(const double *x, int64_t rows, int64_t width,
                               const double *w, double eps, double *y)
{
    for (int64_t r = 0; r < rows; r++) {
        double square = 0;
        for (int64_t c = 0; c < width; c++)
            square += x[r * width + c] * x[r * width + c] / (double)width;
        for (int64_t c = 0; c < width; c++)
            y[r * width + c] = x[r * width + c] / sqrt(square + eps) * w[c];
    }
}

static inline double ref_gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static inline double ref_gelu_erf(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2)));
}

/* x[rows][2 * width], gate then up: silu(gate) * up */
static inline void ref_swiglu(const double *x, int64_t rows, int64_t width, double *y)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c++) {
            const double gate = x[r * 2 * width + c], up = x[r * 2 * width + width + c];
            y[r * width + c] = gate / (1 + exp(-gate)) * up;
        }
}

/* Su et al. 2021 in Hugging Face's layout: component i of a head turns with i + dim / 2.
 * In place on the first `heads` heads of each row. */
static inline void ref_rope(double *x, int64_t ld, int64_t rows, int64_t heads,
                            int64_t dim, const int32_t *positions, double theta)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < dim / 2; i++) {
                const double angle =
                    positions[r] * pow(theta, -2.0 * (double)i / (double)dim);
                double *at = x + r * ld + h * dim + i;
                const double a = at[0], b = at[dim / 2];
                at[0] = a * cos(angle) - b * sin(angle);
                at[dim / 2] = b * cos(angle) + a * sin(angle);
            }
}

typedef struct ref_attention_shape {
    int64_t heads, kv_heads, dim, window; /* window 0: all earlier keys */
    int64_t num_seqs;
    const int64_t *cu;
} ref_attention_shape;

/* One query of one head, at row `at` of a sequence that begins at row `first`. */
static inline void ref_attend(const ref_attention_shape *s, const double *qkv,
                              int64_t first, int64_t at, int64_t head, double *y)
{
    const int64_t ld = (s->heads + 2 * s->kv_heads) * s->dim;
    const int64_t kv = head / (s->heads / s->kv_heads);
    const double *q = qkv + at * ld + head * s->dim;
    const double *keys = qkv + (s->heads + kv) * s->dim,
                 *values = keys + s->kv_heads * s->dim;
    const int64_t from =
        s->window > 0 && at - s->window + 1 > first ? at - s->window + 1 : first;
    double top = -INFINITY, sum = 0;

    for (int64_t d = 0; d < s->dim; d++)
        y[d] = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t j = from; j <= at; j++) {
            double score = 0;
            for (int64_t d = 0; d < s->dim; d++)
                score += q[d] * keys[j * ld + d] / sqrt((double)s->dim);
            if (pass == 0) {
                top = fmax(top, score);
                continue;
            }
            sum += exp(score - top);
            for (int64_t d = 0; d < s->dim; d++)
                y[d] += exp(score - top) * values[j * ld + d];
        }
    for (int64_t d = 0; d < s->dim; d++)
        y[d] /= sum;
}

/* qkv[tokens][(heads + 2 kv_heads) * dim] -> y[tokens][heads * dim] */
static inline void ref_attention(const ref_attention_shape *s, const double *qkv,
                                 double *y)
{
    for (int64_t seq = 0; seq < s->num_seqs; seq++)
        for (int64_t at = s->cu[seq]; at < s->cu[seq + 1]; at++)
            for (int64_t head = 0; head < s->heads; head++)
                ref_attend(s, qkv, s->cu[seq], at, head,
                           y + (at * s->heads + head) * s->dim);
}

/* log softmax(z / tau)[target], and the distribution's entropy (NULL: not wanted). */
static inline double ref_logprob(const double *z, int64_t vocab, int32_t target,
                                 double tau, double *out_entropy)
{
    double top = -INFINITY, sum = 0, mean = 0;

    for (int64_t j = 0; j < vocab; j++)
        top = fmax(top, z[j] / tau);
    for (int64_t j = 0; j < vocab; j++)
        sum += exp(z[j] / tau - top);
    for (int64_t j = 0; j < vocab; j++)
        mean += exp(z[j] / tau - top) / sum * (z[j] / tau);
    if (out_entropy)
        *out_entropy = top + log(sum) - mean;
    return z[target] / tau - top - log(sum);
}

#endif
