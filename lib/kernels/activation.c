/* GELU and SwiGLU over rows. */
#include "kernels/rows.h"

typedef struct activation_job {
    const rlhf__kernels *table;
    rlhf__activation kind;
    const float *x, *dy;
    int64_t width;
    float *out;
} activation_job;

static void forward_rows(void *arg, int64_t first, int64_t last)
{
    const activation_job *job = arg;
    int64_t w = job->width;

    if (job->kind != RLHF__SWIGLU) {
        job->table->gelu(job->kind == RLHF__GELU_ERF, job->x + first * w,
                         (last - first) * w, job->out + first * w);
        return;
    }
    for (int64_t i = first; i < last; i++)
        job->table->swiglu(job->x + 2 * i * w, job->x + (2 * i + 1) * w, w,
                           job->out + i * w);
}

void rlhf__activation_forward(rlhf_context *ctx, rlhf__activation kind, const float *x,
                              int64_t rows, int64_t width, float *y)
{
    activation_job job = {rlhf__table(ctx), kind, x, NULL, width, y};

    rlhf__for_rows(ctx, rows, 4 * width, forward_rows, &job);
}

static void backward_rows(void *arg, int64_t first, int64_t last)
{
    const activation_job *job = arg;
    int64_t w = job->width;

    if (job->kind != RLHF__SWIGLU) {
        job->table->gelu_grad(job->kind == RLHF__GELU_ERF, job->dy + first * w,
                              job->x + first * w, (last - first) * w,
                              job->out + first * w);
        return;
    }
    for (int64_t i = first; i < last; i++)
        job->table->swiglu_grad(job->dy + i * w, job->x + 2 * i * w,
                                job->x + (2 * i + 1) * w, w, job->out + 2 * i * w,
                                job->out + (2 * i + 1) * w);
}

void rlhf__activation_grad(rlhf_context *ctx, rlhf__activation kind, const float *dy,
                           const float *x, int64_t rows, int64_t width, float *dx)
{
    activation_job job = {rlhf__table(ctx), kind, x, dy, width, dx};

    rlhf__for_rows(ctx, rows, 4 * width, backward_rows, &job);
}
