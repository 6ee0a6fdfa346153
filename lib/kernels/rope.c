/* Rotary positions: pairs (i, i + head_dim / 2) are turned by position *
 * theta^(-2i/head_dim). */
#include <math.h>

#include "kernels/rows.h"

void rlhf__rope_table(int64_t first, int64_t count, int64_t head_dim, double theta,
                      float *cos_table, float *sin_table)
{
    int64_t half = head_dim / 2;

    for (int64_t i = 0; i < half; i++) {
        double frequency = pow(theta, -2.0 * (double)i / (double)head_dim);
        for (int64_t p = 0; p < count; p++) {
            const double angle = (double)(first + p) * frequency;
            cos_table[p * half + i] = (float)cos(angle);
            sin_table[p * half + i] = (float)sin(angle);
        }
    }
}

typedef struct rope_job {
    const rlhf__kernels *table;
    float *x;
    int64_t ldx, heads, head_dim;
    const int32_t *positions;
    const float *cos_table, *sin_table;
    float sign;
} rope_job;

static void turn_rows(void *arg, int64_t first, int64_t last)
{
    const rope_job *job = arg;
    int64_t half = job->head_dim / 2;

    for (int64_t r = first; r < last; r++) {
        const float *c = job->cos_table + job->positions[r] * half;
        const float *s = job->sin_table + job->positions[r] * half;
        job->table->rope(c, s, job->sign, half, job->heads, job->x + r * job->ldx);
    }
}

void rlhf__rope(rlhf_context *ctx, float *x, int64_t ldx, int64_t rows, int64_t heads,
                int64_t head_dim, const int32_t *positions, const float *cos_table,
                const float *sin_table, bool inverse)
{
    rope_job job = {
        rlhf__table(ctx),      x, ldx, heads, head_dim, positions, cos_table, sin_table,
        inverse ? -1.0f : 1.0f};

    rlhf__for_rows(ctx, rows, 2 * heads * head_dim, turn_rows, &job);
}
