/* Softmax rows over the vocabulary: log-probability, entropy, gradient, sampling
 * weights. */
#include <math.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/rows.h"

/* ln x for x >= 1 (a sum of exponentials whose largest is 1): 2 atanh((m-1)/(m+1)) + e
 * ln2 in double, the series to the 19th power, exact to far below float. Our own, so
 * that no libm decides bits. */
static double log_of_sum(double x)
{
    static const double series[] = {1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11,
                                    1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3,  1.0};
    uint64_t bits;
    double m;

    if (!(x > 0.0) || !(x < 1e300))
        return x > 0.0 ? (double)INFINITY : (double)NAN;
    memcpy(&bits, &x, sizeof bits);
    int64_t e = (int64_t)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    double s = (m - 1.0) / (m + 1.0), z = s * s, sum = 0.0;
    for (int i = 0; i < 10; i++)
        sum = sum * z + series[i];
    return 2.0 * s * sum + (double)e * 0.6931471805599453;
}

typedef struct softmax_job {
    const rlhf__kernels *table;
    const float *logits;
    float *grads;
    int64_t ld, vocab;
    const int32_t *targets;
    float inv_tau;
    float *logprob, *entropy, *lse;
    const float *lse_in, *entropy_in, *dlogprob, *dentropy;
} softmax_job;

/* `weights` may be NULL. Whether z is finite. */
static bool sum_up(const rlhf__kernels *table, const float *z, int64_t vocab,
                   float inv_tau, float lowest, float *weights, rlhf__softmax *out)
{
    bool finite = true;

    out->inv_tau = inv_tau;
    out->top = table->row_max(z, vocab, &finite);
    table->row_softmax(z, vocab, lowest, weights, out);
    return finite;
}

void rlhf__softmax_logprob(const rlhf__softmax *softmax, float logit, float *logprob,
                           float *entropy, float *lse)
{
    const float log_sum = (float)log_of_sum((double)softmax->sum);

    *logprob = (logit - softmax->top) * softmax->inv_tau - log_sum;
    *entropy = log_sum - softmax->weighted / softmax->sum;
    *lse = softmax->top * softmax->inv_tau + log_sum;
}

static void logprob_rows(void *arg, int64_t first, int64_t last)
{
    const softmax_job *job = arg;

    for (int64_t i = first; i < last; i++) {
        const float *z = job->logits + i * job->ld;
        float logprob, entropy, lse;
        rlhf__softmax softmax;
        sum_up(job->table, z, job->vocab, job->inv_tau, -INFINITY, NULL, &softmax);
        rlhf__softmax_logprob(&softmax, job->targets ? z[job->targets[i]] : 0.0f,
                              &logprob, &entropy, &lse);
        if (job->logprob)
            job->logprob[i] = logprob;
        if (job->entropy)
            job->entropy[i] = entropy;
        if (job->lse)
            job->lse[i] = lse;
    }
}

/* Far below what logits resolve, but 0 * inv_tau stays 0; far above what they differ by,
 * so that all are alike, but a masked one's exponential stays 0. */
float rlhf__inv_tau(double temperature)
{
    return (float)fmax(fmin(1.0 / temperature, 1e30), 1e-20);
}

void rlhf__logprob(rlhf_context *ctx, const float *logits, int64_t ld, int64_t rows,
                   int64_t vocab, const int32_t *targets, float inv_tau, float *logprob,
                   float *entropy, float *lse)
{
    softmax_job job = {.table = rlhf__table(ctx),
                       .logits = logits,
                       .ld = ld,
                       .vocab = vocab,
                       .targets = targets,
                       .inv_tau = inv_tau,
                       .logprob = logprob,
                       .entropy = entropy,
                       .lse = lse};

    rlhf__for_rows(ctx, rows, 4 * vocab, logprob_rows, &job);
}

static void grad_rows(void *arg, int64_t first, int64_t last)
{
    const softmax_job *job = arg;

    for (int64_t i = first; i < last; i++) {
        float *z = job->grads + i * job->ld, d = job->dlogprob[i];
        float entropy = job->entropy_in ? job->entropy_in[i] : 0.0f;
        job->table->row_grad(z, job->vocab, job->inv_tau, job->lse_in[i], entropy, d,
                             job->dentropy ? job->dentropy[i] : 0.0f);
        z[job->targets[i]] += d * job->inv_tau;
    }
}

void rlhf__logprob_grad(rlhf_context *ctx, float *logits, int64_t ld, int64_t rows,
                        int64_t vocab, const int32_t *targets, float inv_tau,
                        const float *lse, const float *entropy, const float *dlogprob,
                        const float *dentropy)
{
    softmax_job job = {.table = rlhf__table(ctx),
                       .grads = logits,
                       .ld = ld,
                       .vocab = vocab,
                       .targets = targets,
                       .inv_tau = inv_tau,
                       .lse_in = lse,
                       .entropy_in = entropy,
                       .dlogprob = dlogprob,
                       .dentropy = dentropy};

    rlhf__for_rows(ctx, rows, 4 * vocab, grad_rows, &job);
}

bool rlhf__softmax_weights(rlhf_context *ctx, const float *logits, int64_t vocab,
                           float inv_tau, float lowest, float *weights, double *sums,
                           rlhf__softmax *softmax)
{
    const rlhf__kernels *table = rlhf__table(ctx);
    const bool finite = sum_up(table, logits, vocab, inv_tau, lowest, weights, softmax);

    for (int64_t v = 0; v < vocab; v += RLHF__WEIGHTS_BLOCK)
        *sums++ = table->sum(weights + v, rlhf__min_i64(RLHF__WEIGHTS_BLOCK, vocab - v));
    return finite;
}

int32_t rlhf__argmax_row(rlhf_context *ctx, const float *logits, int64_t vocab)
{
    bool finite = true;
    const float top = rlhf__table(ctx)->row_max(logits, vocab, &finite);

    for (int64_t i = 0; finite && i < vocab; i++)
        if (logits[i] == top)
            return (int32_t)i;
    return -1;
}

float rlhf__attention_log(float sum)
{
    return (float)log_of_sum((double)sum);
}
