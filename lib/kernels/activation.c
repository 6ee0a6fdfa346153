/* GELU and SwiGLU over rows. */
#include "kernels/rows.h"

typedef struct activation_job {
    const rlhf__kernels *table;
    rlhf__activation kind;
    const float *x, *dy;
    int64_t width;
    rlhf__out_rows y;
    float *dx;
} activation_job;

static void forward_rows(void *arg, int64_t first, int64_t last)
{
    const activation_job *job = arg;
    int64_t w = job->width;

    for (int64_t i = first; i < last; i++) {
        float *y = rlhf__out_row(&job->y, i);
        if (job->kind == RLHF__SWIGLU)
            job->table->swiglu(job->x + 2 * i * w, job->x + (2 * i + 1) * w, w, y);
        else
            job->table->gelu(job->kind == RLHF__GELU_ERF, job->x + i * w, w, y);
        rlhf__out_row_put(&job->y, i);
    }
}

rlhf_status rlhf__activation_forward(rlhf_context *ctx, rlhf__arena *scratch,
                                     rlhf__activation kind, const float *x, int64_t rows,
                                     int64_t width, rlhf__result y)
{
    activation_job job = {
        .table = rlhf__table(ctx), .kind = kind, .x = x, .width = width};

    return rlhf__for_out_rows(ctx, scratch, y, rows, width, 4 * width, forward_rows, &job,
                              &job.y);
}

static void backward_rows(void *arg, int64_t first, int64_t last)
{
    const activation_job *job = arg;
    int64_t w = job->width;

    if (job->kind != RLHF__SWIGLU) {
        job->table->gelu_grad(job->kind == RLHF__GELU_ERF, job->dy + first * w,
                              job->x + first * w, (last - first) * w,
                              job->dx + first * w);
        return;
    }
    for (int64_t i = first; i < last; i++)
        job->table->swiglu_grad(job->dy + i * w, job->x + 2 * i * w,
                                job->x + (2 * i + 1) * w, w, job->dx + 2 * i * w,
                                job->dx + (2 * i + 1) * w);
}

void rlhf__activation_grad(rlhf_context *ctx, rlhf__activation kind, const float *dy,
                           const float *x, int64_t rows, int64_t width, float *dx)
{
    activation_job job = {.table = rlhf__table(ctx),
                          .kind = kind,
                          .x = x,
                          .dy = dy,
                          .width = width,
                          .dx = dx};

    rlhf__for_rows(ctx, rows, 4 * width, backward_rows, &job);
}
