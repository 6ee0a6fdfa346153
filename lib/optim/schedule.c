/* Learning-rate schedules. */
#include "optim/schedule.h"

#include <math.h>

#include "base/size.h"

#define PI 3.14159265358979323846

double rlhf__schedule_rate(int32_t schedule, double peak, double final_ratio,
                           int64_t warmup_steps, int64_t total_steps, int64_t step)
{
    if (step < warmup_steps)
        return peak * (double)step / (double)warmup_steps;

    const int64_t length = rlhf__max_i64(1, total_steps - warmup_steps);
    const double p = fmin(1.0, (double)(step - warmup_steps) / (double)length);
    switch (schedule) {
    case RLHF_SCHEDULE_LINEAR:
        return peak * (1.0 - (1.0 - final_ratio) * p);
    case RLHF_SCHEDULE_COSINE:
        return peak * (final_ratio + (1.0 - final_ratio) * 0.5 * (1.0 + cos(PI * p)));
    default:
        return peak;
    }
}
