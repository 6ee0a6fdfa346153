/* PPO's losses of one token (Schulman et al. 2017, eq. 7 and 9), without their
 * averaging. */
#ifndef RLHF_TRAIN_PPO_LOSS_H
#define RLHF_TRAIN_PPO_LOSS_H

#include <stdbool.h>

#include <rlhf/ppo.h>

typedef struct rlhf__policy_loss {
    double loss;
    double gradient;  /* d loss / d log pi */
    double log_ratio; /* log pi - log pi_old, after log_ratio_clamp */
    double ratio;
    bool clipped; /* the clipped branch is the larger */
} rlhf__policy_loss;

/* max(-A rho, -A clip(rho, 1 - eps, 1 + eps_high)); for A < 0 and dual_clip c at most
 * -c A. */
rlhf__policy_loss rlhf__ppo_policy_loss(const rlhf_ppo_options *options, double advantage,
                                        double logprob, double old_logprob);

typedef struct rlhf__value_loss {
    double loss;
    double gradient; /* d loss / d V */
    bool clipped;
} rlhf__value_loss;

/* max((V - R)^2, (clip(V, V_old +- eps_v) - R)^2) / 2; eps_v 0: without the clip. */
rlhf__value_loss rlhf__ppo_value_loss(double clip_range, double value, double old_value,
                                      double ret);

#endif
