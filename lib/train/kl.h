/* KL estimates per token and the adaptive KL coefficient. */
#ifndef RLHF_TRAIN_KL_H
#define RLHF_TRAIN_KL_H

#include <stdint.h>

/* k(Delta) of an rlhf_kl_estimator (Schulman 2020), nats; to +-clamp where clamp > 0. */
double rlhf__kl_estimate(int32_t estimator, double delta, double clamp);
/* beta after an update (Ziegler et al. 2019, 2.2): beta * (1 + clip(kl / target - 1,
 * -0.2, 0.2)
 * * episodes / horizon). target 0: beta stays. */
double rlhf__kl_controller(double beta, double kl, double target, double horizon,
                           int64_t episodes);

#endif
