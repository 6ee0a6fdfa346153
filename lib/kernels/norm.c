/* LayerNorm and RMSNorm, forward and backward, over rows. */
#include "kernels/rows.h"

typedef struct norm_job {
    const rlhf__kernels *table;
    bool rms;
    const float *x, *weight, *bias, *dy, *mean_in, *rstd_in;
    int64_t rows, width;
    float *sums;         /* forward: x, to which `branch` is added first */
    const float *branch; /* NULL: none */
    float eps;
    rlhf__out_rows y;
    float *mean, *rstd, *dx;
    float *partial; /* [chunks][2][width]: sums of dweight and dbias */
    bool want_weight, want_bias;
    float *dweight, *dbias;
    int64_t chunks;
} norm_job;

static void forward_rows(void *arg, int64_t first, int64_t last)
{
    const norm_job *job = arg;

    for (int64_t i = first; i < last; i++) {
        float mean = 0.0f, rstd = 0.0f;
        float *x = job->sums + i * job->width, *y = rlhf__out_row(&job->y, i);
        if (job->branch)
            job->table->add(x, job->branch + i * job->width, job->width, x);
        if (job->rms)
            job->table->rmsnorm(x, job->width, job->weight, job->eps, y, &rstd);
        else
            job->table->layernorm(x, job->width, job->weight, job->bias, job->eps, y,
                                  &mean, &rstd);
        rlhf__out_row_put(&job->y, i);
        if (job->mean)
            job->mean[i] = mean;
        if (job->rstd)
            job->rstd[i] = rstd;
    }
}

rlhf_status rlhf__layernorm(rlhf_context *ctx, rlhf__arena *scratch, float *x,
                            const float *branch, int64_t rows, int64_t width,
                            const float *weight, const float *bias, float eps,
                            rlhf__result y, float *mean, float *rstd)
{
    norm_job job = {.table = rlhf__table(ctx),
                    .sums = x,
                    .branch = branch,
                    .weight = weight,
                    .bias = bias,
                    .width = width,
                    .eps = eps,
                    .mean = mean,
                    .rstd = rstd};

    return rlhf__for_out_rows(ctx, scratch, y, rows, width, width, forward_rows, &job,
                              &job.y);
}

rlhf_status rlhf__rmsnorm(rlhf_context *ctx, rlhf__arena *scratch, float *x,
                          const float *branch, int64_t rows, int64_t width,
                          const float *weight, float eps, rlhf__result y, float *rstd)
{
    norm_job job = {.table = rlhf__table(ctx),
                    .rms = true,
                    .sums = x,
                    .branch = branch,
                    .weight = weight,
                    .width = width,
                    .eps = eps,
                    .rstd = rstd};

    return rlhf__for_out_rows(ctx, scratch, y, rows, width, width, forward_rows, &job,
                              &job.y);
}

static void backward_rows(void *arg, int64_t first, int64_t last)
{
    const norm_job *job = arg;
    int64_t w = job->width, chunk = first / rlhf__row_chunk(job->rows, w);
    float *dweight = job->want_weight ? job->partial + 2 * chunk * w : NULL;
    float *dbias = job->want_bias ? job->partial + (2 * chunk + 1) * w : NULL;

    for (int64_t i = first; i < last; i++) {
        const float *dy = job->dy + i * w, *x = job->x + i * w;
        float mean = job->rms ? 0.0f : job->mean_in[i], rstd = job->rstd_in[i];
        if (job->rms)
            job->table->rmsnorm_dx(dy, x, job->weight, rstd, w, job->dx + i * w);
        else
            job->table->layernorm_dx(dy, x, job->weight, mean, rstd, w, job->dx + i * w);
        if (dweight || dbias)
            job->table->norm_dw(dy, x, mean, rstd, w, dweight, dbias);
    }
}

static rlhf_status backward(rlhf_context *ctx, rlhf__arena *scratch, norm_job *job)
{
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    int64_t w = job->width;

    job->chunks = rlhf__ceil_div(job->rows, rlhf__row_chunk(job->rows, w));
    if (job->want_weight || job->want_bias)
        RLHF__TRY(rlhf__arena_zalloc(scratch, 2 * job->chunks * w, sizeof(float),
                                     &job->partial));
    rlhf__for_rows(ctx, job->rows, w, backward_rows, job);
    for (int64_t c = 0; c < job->chunks; c++) {
        if (job->want_weight)
            job->table->add(job->dweight, job->partial + 2 * c * w, w, job->dweight);
        if (job->want_bias)
            job->table->add(job->dbias, job->partial + (2 * c + 1) * w, w, job->dbias);
    }
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}

rlhf_status rlhf__layernorm_grad(rlhf_context *ctx, rlhf__arena *scratch, const float *dy,
                                 const float *x, const float *weight, const float *mean,
                                 const float *rstd, int64_t rows, int64_t width,
                                 float *dx, float *dweight, float *dbias)
{
    norm_job job = {.table = rlhf__table(ctx),
                    .dy = dy,
                    .x = x,
                    .weight = weight,
                    .mean_in = mean,
                    .rstd_in = rstd,
                    .rows = rows,
                    .width = width,
                    .dx = dx,
                    .want_weight = dweight != NULL,
                    .want_bias = dbias != NULL,
                    .dweight = dweight,
                    .dbias = dbias};

    return backward(ctx, scratch, &job);
}

rlhf_status rlhf__rmsnorm_grad(rlhf_context *ctx, rlhf__arena *scratch, const float *dy,
                               const float *x, const float *weight, const float *rstd,
                               int64_t rows, int64_t width, float *dx, float *dweight)
{
    norm_job job = {.table = rlhf__table(ctx),
                    .rms = true,
                    .dy = dy,
                    .x = x,
                    .weight = weight,
                    .rstd_in = rstd,
                    .rows = rows,
                    .width = width,
                    .dx = dx,
                    .want_weight = dweight != NULL,
                    .dweight = dweight};

    return backward(ctx, scratch, &job);
}
