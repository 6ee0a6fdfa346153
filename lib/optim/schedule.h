/* Learning rate by step: constant, linear or cosine, after a linear warm-up. */
#ifndef RLHF_OPTIM_SCHEDULE_H
#define RLHF_OPTIM_SCHEDULE_H

#include <stdint.h>

#include <rlhf/lm.h>

/* The rate of the step that has `step` steps before it, as Hugging Face's schedulers
 * count: peak * step / warmup_steps during warm-up; then, with
 * p = (step - warmup_steps) / (total_steps - warmup_steps) within [0, 1],
 *   linear: peak * (1 - (1 - final_ratio) * p)
 *   cosine: peak * (final_ratio + (1 - final_ratio) * (1 + cos(pi p)) / 2). */
double rlhf__schedule_rate(int32_t schedule, double peak, double final_ratio,
                           int64_t warmup_steps, int64_t total_steps, int64_t step);

#endif
