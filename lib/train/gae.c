/* Schulman et al. 2016, "High-dimensional continuous control using generalized
 * advantage estimation", eqs. 11-16. Sums are in double: returns of long sequences
 * keep their digits. */
#include "train/gae.h"

#include <math.h>

#include <rlhf/ppo.h>

void rlhf__gae(const float *rewards, const float *values, int64_t n, double gamma,
               double lam, float *advantages, float *returns)
{
    double next_value = 0.0, advantage = 0.0;

    for (int64_t t = n - 1; t >= 0; t--) {
        const double value = (double)values[t];
        const double delta = (double)rewards[t] + gamma * next_value - value;
        advantage = delta + gamma * lam * advantage;
        advantages[t] = (float)advantage;
        returns[t] = (float)(advantage + value);
        next_value = value;
    }
}

void rlhf__whiten(float *x, int64_t n, int32_t variance, bool keep_mean)
{
    double mean = 0.0, squares = 0.0;
    float low = HUGE_VALF, high = -HUGE_VALF;

    for (int64_t i = 0; i < n; i++) {
        mean += (double)x[i];
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    mean /= (double)(n > 0 ? n : 1);
    /* Rounding of the mean, times 1 / sqrt(1e-8), is no signal. */
    if (low == high) {
        for (int64_t i = 0; i < n; i++)
            x[i] = keep_mean ? x[i] : 0.0f;
        return;
    }
    for (int64_t i = 0; i < n; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    const double var = squares / (double)(variance == RLHF_VARIANCE_UNBIASED ? n - 1 : n);
    const double scale = 1.0 / sqrt(var + 1e-8);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(((double)x[i] - mean) * scale + (keep_mean ? mean : 0.0));
}
