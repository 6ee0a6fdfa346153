/* KL of the policy from its reference: Schulman 2020, "Approximating KL divergence"
 * (http://joschu.net/blog/kl-approx.html); Ziegler et al. 2019, section 2.2. */
#include "train/kl.h"

#include <math.h>

#include <rlhf/ppo.h>

double rlhf__kl_estimate(int32_t estimator, double delta, double clamp)
{
    double k = delta;

    if (estimator == RLHF_KL_K2)
        k = 0.5 * delta * delta;
    else if (estimator == RLHF_KL_K3)
        k = expm1(-delta) + delta; /* exp(-Delta) - 1 + Delta */
    if (clamp > 0.0)
        k = fmin(fmax(k, -clamp), clamp);
    return k;
}

double rlhf__kl_controller(double beta, double kl, double target, double horizon,
                           int64_t episodes)
{
    if (!(target > 0.0))
        return beta;
    const double error = fmin(fmax(kl / target - 1.0, -0.2), 0.2);
    return beta * (1.0 + error * (double)episodes / horizon);
}
