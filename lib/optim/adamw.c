/* AdamW in torch's and TensorFlow 1's forms, which differ in where epsilon stands:
 *   torch: p -= lr * (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + eps)
 *   TF 1:  p -= lr * sqrt(1 - b2^k) / (1 - b1^k) * m / (sqrt(v) + eps) */
#include "optim/adamw.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/number.h"
#include "kernels/kernels.h"

rlhf_status rlhf__adamw_init(rlhf__adamw *adamw, const rlhf__params *params,
                             const rlhf__adamw_settings *settings)
{
    rlhf_context *context = params->context;

    *adamw = (rlhf__adamw){.settings = *settings};
    rlhf_status status = rlhf__alloc_raw(context, params->count, sizeof *adamw->m,
                                         RLHF_MEMORY_MOMENTS, &adamw->m);
    if (status == RLHF_OK)
        status = rlhf__alloc_raw(context, params->count, sizeof *adamw->v,
                                 RLHF_MEMORY_MOMENTS, &adamw->v);
    if (status == RLHF_OK)
        status = rlhf__alloc(context, params->num_rows, sizeof *adamw->row_has_moments,
                             RLHF_MEMORY_GENERAL, &adamw->row_has_moments);
    if (status != RLHF_OK) {
        rlhf__adamw_free(adamw);
        return status;
    }
    rlhf__params_clear_padding(params, adamw->m);
    rlhf__params_clear_padding(params, adamw->v);
    return RLHF_OK;
}

void rlhf__adamw_free(rlhf__adamw *adamw)
{
    rlhf__free(adamw->m);
    rlhf__free(adamw->v);
    rlhf__free(adamw->row_has_moments);
    *adamw = (rlhf__adamw){0};
}

/* --- rows with and without moments -------------------------------------------------- */

/* Zeroes a slab's moments where they are stale. */
static void zero_stale(rlhf__adamw *adamw, const rlhf__params *params,
                       const rlhf__slab *slab)
{
    const bool *has = adamw->row_has_moments + slab->first_row;

    for (int64_t first = 0, end; first < slab->rows; first = end) {
        const int64_t at = slab->offset + first * slab->cols;
        for (end = first + 1; end < slab->rows && has[end] == has[first];)
            end++;
        if (has[first])
            continue;
        rlhf__zero(params->context, (end - first) * slab->cols, adamw->m + at);
        rlhf__zero(params->context, (end - first) * slab->cols, adamw->v + at);
    }
}

void rlhf__adamw_settle(rlhf__adamw *adamw, const rlhf__params *params)
{
    for (int32_t i = 0; i < params->num_slabs; i++)
        zero_stale(adamw, params, &params->slabs[i]);
}

void rlhf__adamw_find_moments(rlhf__adamw *adamw, const rlhf__params *params)
{
    for (int32_t i = 0; i < params->num_slabs; i++) {
        const rlhf__slab *slab = &params->slabs[i];
        for (int64_t r = 0; r < slab->rows; r++) {
            const float *m = adamw->m + slab->offset + r * slab->cols;
            const float *v = adamw->v + slab->offset + r * slab->cols;
            bool any = false;
            for (int64_t j = 0; !any && j < slab->cols; j++)
                any = m[j] != 0.0f || v[j] != 0.0f;
            adamw->row_has_moments[slab->first_row + r] = any;
        }
    }
}

/* Gives moments to all rows of the slabs that are whole. */
static void open_whole(rlhf__adamw *adamw, const rlhf__grads *grads)
{
    for (int32_t i = 0; i < grads->params->num_slabs; i++) {
        const rlhf__slab *slab = &grads->params->slabs[i];
        if (!grads->is_whole[i])
            continue;
        zero_stale(adamw, grads->params, slab);
        memset(adamw->row_has_moments + slab->first_row, true,
               (size_t)slab->rows * sizeof *adamw->row_has_moments);
    }
}

/* The end of the run of slabs from `first` on that are whole and, where there is decay,
 * decay alike; first + 1 for one that is not whole. */
static int32_t run_end(const rlhf__grads *grads, int32_t first, bool by_decay)
{
    const rlhf__slab *slabs = grads->params->slabs;
    int32_t next = first + 1;

    while (next < grads->params->num_slabs && grads->is_whole[first] &&
           grads->is_whole[next] &&
           (!by_decay || slabs[next].decay == slabs[first].decay))
        next++;
    return next;
}

/* Floats from a run's begin to the next one's. The padding within is and stays 0. */
static int64_t run_size(const rlhf__params *params, int32_t first, int32_t next)
{
    return (next < params->num_slabs ? params->slabs[next].offset : params->count) -
           params->slabs[first].offset;
}

/* --- norm --------------------------------------------------------------------------- */

static double sum_squares(const rlhf__grads *grads)
{
    const rlhf__params *params = grads->params;
    double sum = 0.0;

    for (int32_t i = 0, next; i < params->num_slabs; i = next) {
        const rlhf__slab *slab = &params->slabs[i];
        const float *from = grads->values + slab->offset;
        next = run_end(grads, i, false);
        if (grads->is_whole[i])
            sum += rlhf__sum_squares(params->context, from, run_size(params, i, next));
        else
            sum += rlhf__sum_squares_rows(params->context, from, slab->rows, slab->cols,
                                          grads->row_is_written + slab->first_row);
    }
    return sum;
}

/* NUMERIC for the first element of a written row that is not finite. */
static rlhf_status check_row(const rlhf__grads *grads, int32_t slab, int64_t row,
                             const char *what)
{
    const rlhf__slab *s = &grads->params->slabs[slab];
    const int64_t begin = s->offset + row * s->cols;

    for (int64_t i = begin; rlhf__grads_has(grads, slab, row) && i < begin + s->cols; i++)
        if (!isfinite(grads->values[i]))
            return rlhf__fail(RLHF_ERR_NUMERIC,
                              "%s is not finite: element %" PRId64 " is %g", what, i,
                              (double)grads->values[i]);
    return RLHF_OK;
}

rlhf_status rlhf__grad_norm(const rlhf__grads *grads, double grad_scale, const char *what,
                            double *out_norm)
{
    const rlhf__params *params = grads->params;
    const double norm = fabs(grad_scale) * sqrt(sum_squares(grads));

    if (isfinite(norm)) {
        *out_norm = norm;
        return RLHF_OK;
    }
    for (int32_t i = 0; i < params->num_slabs; i++)
        for (int64_t r = 0; r < params->slabs[i].rows; r++)
            RLHF__TRY(check_row(grads, i, r, what));
    return rlhf__fail(RLHF_ERR_NUMERIC, "the norm of %s is not finite (its scale is %g)",
                      what, grad_scale);
}

double rlhf__clip_factor(double norm, double max_norm)
{
    return max_norm > 0.0 ? fmin(1.0, max_norm / (norm + 1e-6)) : 1.0;
}

/* --- step --------------------------------------------------------------------------- */

rlhf_status rlhf__adamw_check_rate(const rlhf__adamw_settings *s, const char *field,
                                   double learning_rate)
{
    /* The bias correction's largest is the first step's. */
    const double largest = learning_rate / (1.0 - (double)(float)s->beta1);

    if (rlhf__is_finite_float(largest) &&
        rlhf__is_finite_float(learning_rate * s->weight_decay))
        return RLHF_OK;
    return rlhf__fail_arg(field,
                          "%s %g is too large for a beta1 of %g and a "
                          "weight_decay of %g: a step is not finite",
                          field, learning_rate, s->beta1, s->weight_decay);
}

/* What the kernel multiplies and adds, in the optimizer's form, for step k. The bias
 * correction takes the betas as the kernel has them, rounded to fp32, so that it
 * corrects them exactly. */
static rlhf__adamw_args kernel_args(const rlhf__adamw_settings *s, int64_t k,
                                    double learning_rate, double grad_scale)
{
    const double bias1 = 1.0 - pow((double)(float)s->beta1, (double)k);
    const double bias2 = 1.0 - pow((double)(float)s->beta2, (double)k);
    rlhf__adamw_args args = {.beta1 = (float)s->beta1,
                             .beta2 = (float)s->beta2,
                             .step_size = (float)(learning_rate / bias1),
                             .inv_sqrt_bias2 = (float)(1.0 / sqrt(bias2)),
                             .eps = (float)s->epsilon,
                             .grad_scale = (float)grad_scale};

    if (s->form == RLHF_ADAM_TF) {
        args.step_size = (float)(learning_rate * sqrt(bias2) / bias1);
        args.inv_sqrt_bias2 = 1.0f;
    }
    return args;
}

void rlhf__adamw_apply(rlhf__adamw *adamw, rlhf__params *params, rlhf__grads *grads,
                       double learning_rate, double grad_scale)
{
    float *values = rlhf__params_begin_write(params);
    rlhf__adamw_args args =
        kernel_args(&adamw->settings, adamw->step + 1, learning_rate, grad_scale);
    const float decay = (float)(learning_rate * adamw->settings.weight_decay);

    open_whole(adamw, grads);
    for (int32_t i = 0, next; i < params->num_slabs; i = next) {
        const rlhf__slab *slab = &params->slabs[i];
        const int64_t at = slab->offset;
        next = run_end(grads, i, decay != 0.0f);
        args.lr_decay = slab->decay ? decay : 0.0f;
        if (grads->is_whole[i])
            rlhf__adamw_update(params->context, &args, run_size(params, i, next),
                               grads->values + at, values + at, adamw->m + at,
                               adamw->v + at);
        else
            rlhf__adamw_update_rows(params->context, &args, slab->rows, slab->cols,
                                    grads->row_is_written + slab->first_row,
                                    adamw->row_has_moments + slab->first_row,
                                    grads->values + at, values + at, adamw->m + at,
                                    adamw->v + at);
    }
    rlhf__params_end_write(params);
    adamw->step++;
}
