/* Generalised advantage estimation and whitening, on the slots of one sequence or one
 * set. */
#ifndef RLHF_TRAIN_GAE_H
#define RLHF_TRAIN_GAE_H

#include <stdbool.h>
#include <stdint.h>

/* GAE (Schulman et al. 2016) over the n slots of a sequence, the last of which ends it:
 *   delta_t = r_t + gamma V_{t+1} - V_t,  A_t = delta_t + gamma lam A_{t+1},  R_t = A_t +
 *   V_t
 * with V_n = A_n = 0. */
void rlhf__gae(const float *rewards, const float *values, int64_t n, double gamma,
               double lam, float *advantages, float *returns);

/* x <- (x - mean) / sqrt(var + 1e-8) (+ mean with keep_mean), variance of an
 * rlhf_variance. A constant set gives exactly 0 (its mean), one of a single element
 * too. */
void rlhf__whiten(float *x, int64_t n, int32_t variance, bool keep_mean);

#endif
