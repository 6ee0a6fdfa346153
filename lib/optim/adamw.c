/* AdamW in torch's and TensorFlow 1's forms, which differ in where epsilon stands:
 *   torch: p -= lr * (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + eps)
 *   TF 1:  p -= lr * sqrt(1 - b2^k) / (1 - b1^k) * m / (sqrt(v) + eps) */
#include "optim/adamw.h"

#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "base/number.h"
#include "kernels/kernels.h"

rlhf_status rlhf__adamw_init(rlhf__adamw *adamw, const rlhf__params *params,
                             const rlhf__adamw_settings *settings)
{
    *adamw = (rlhf__adamw){.settings = *settings, .count = params->count};
    RLHF__TRY(rlhf__alloc(params->context, params->count, sizeof *adamw->m,
                          RLHF_MEMORY_MOMENTS, &adamw->m));
    rlhf_status status = rlhf__alloc(params->context, params->count, sizeof *adamw->v,
                                     RLHF_MEMORY_MOMENTS, &adamw->v);
    if (status != RLHF_OK)
        rlhf__adamw_free(adamw);
    return status;
}

void rlhf__adamw_free(rlhf__adamw *adamw)
{
    rlhf__free(adamw->m);
    rlhf__free(adamw->v);
    *adamw = (rlhf__adamw){0};
}

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

rlhf_status rlhf__grad_norm(rlhf_context *context, const float *grads, int64_t count,
                            double grad_scale, const char *what, double *out_norm)
{
    const double norm = fabs(grad_scale) * sqrt(rlhf__sum_squares(context, grads, count));

    if (!isfinite(norm)) {
        for (int64_t i = 0; i < count; i++)
            if (!isfinite(grads[i]))
                return rlhf__fail(RLHF_ERR_NUMERIC,
                                  "%s is not finite: element %" PRId64 " is %g", what, i,
                                  (double)grads[i]);
        return rlhf__fail(RLHF_ERR_NUMERIC,
                          "the norm of %s is not finite (its scale is %g)", what,
                          grad_scale);
    }
    *out_norm = norm;
    return RLHF_OK;
}

double rlhf__clip_factor(double norm, double max_norm)
{
    return max_norm > 0.0 ? fmin(1.0, max_norm / (norm + 1e-6)) : 1.0;
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

void rlhf__adamw_apply(rlhf__adamw *adamw, rlhf__params *params, const float *grads,
                       double learning_rate, double grad_scale)
{
    float *values = rlhf__params_begin_write(params);
    rlhf__adamw_args args =
        kernel_args(&adamw->settings, adamw->step + 1, learning_rate, grad_scale);
    const float decay = (float)(learning_rate * adamw->settings.weight_decay);

    /* Runs of slabs that are treated alike; the padding within them is and stays 0. */
    for (int32_t first = 0, next; first < params->num_slabs; first = next) {
        next = first + 1;
        while (next < params->num_slabs &&
               (decay == 0.0f || params->slabs[next].decay == params->slabs[first].decay))
            next++;
        const int64_t begin = params->slabs[first].offset;
        const int64_t end =
            next < params->num_slabs ? params->slabs[next].offset : params->count;
        args.lr_decay = params->slabs[first].decay ? decay : 0.0f;
        rlhf__adamw_update(params->context, &args, end - begin, grads + begin,
                           values + begin, adamw->m + begin, adamw->v + begin);
    }
    rlhf__params_end_write(params);
    adamw->step++;
}

rlhf_status rlhf__adamw_step(rlhf__adamw *adamw, rlhf__params *params, const float *grads,
                             double learning_rate, double grad_scale, double max_norm,
                             double *out_norm)
{
    double norm = 0.0;

    RLHF__TRY(rlhf__grad_norm(params->context, grads, params->count, grad_scale,
                              "the gradient", &norm));
    rlhf__adamw_apply(adamw, params, grads, learning_rate,
                      grad_scale * rlhf__clip_factor(norm, max_norm));
    *out_norm = norm;
    return RLHF_OK;
}
