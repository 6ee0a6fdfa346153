/* Schulman et al. 2017, "Proximal policy optimization algorithms"; the dual clip is Ye
 * et al. 2020, "Mastering complex control in MOBA games", eq. 5. docs/ppo.md has the
 * derivation. */
#include "train/ppo_loss.h"

#include <math.h>

rlhf__policy_loss rlhf__ppo_policy_loss(const rlhf_ppo_options *options, double advantage,
                                        double logprob, double old_logprob)
{
    const double low = 1.0 - options->clip_range;
    const double high = 1.0 + (options->clip_range_high > 0.0 ? options->clip_range_high
                                                              : options->clip_range);
    const double raw = logprob - old_logprob;
    double log_ratio = raw;

    if (options->log_ratio_clamp > 0.0)
        log_ratio = fmin(fmax(raw, -options->log_ratio_clamp), options->log_ratio_clamp);
    const double ratio = exp(log_ratio);
    /* No advantage, no loss, also where the ratio overflows. */
    const double plain = advantage == 0.0 && isinf(ratio) ? 0.0 : -advantage * ratio;
    const double clip = -advantage * fmin(fmax(ratio, low), high);
    const double bound = -options->dual_clip * advantage;
    rlhf__policy_loss out = {.loss = fmax(plain, clip),
                             .gradient = plain, /* d rho / d log pi = rho */
                             .log_ratio = log_ratio,
                             .ratio = ratio,
                             .clipped = clip > plain};

    if (out.clipped || log_ratio != raw)
        out.gradient = 0.0;
    if (options->dual_clip > 0.0 && advantage < 0.0 && out.loss > bound) {
        out.loss = bound;
        out.gradient = 0.0;
    }
    return out;
}

rlhf__value_loss rlhf__ppo_value_loss(double clip_range, double value, double old_value,
                                      double ret)
{
    const double error = value - ret;
    rlhf__value_loss out = {0.5 * error * error, error, false};

    if (clip_range > 0.0) {
        const double near =
            fmin(fmax(value, old_value - clip_range), old_value + clip_range);
        const double near_error = near - ret;
        if (near_error * near_error > error * error) {
            out.loss = 0.5 * near_error * near_error;
            out.gradient = 0.0; /* `near` is then the end of the range */
            out.clipped = true;
        }
    }
    return out;
}
