/* The learning rate at every corner of its schedule; values by hand. */
#include "kernels/kernels_support.h"

#include "optim/schedule.h"

typedef struct schedule_row {
    int32_t schedule;
    double final_ratio;
    int64_t warmup, total, step;
    double expected; /* of a peak of 2 */
} schedule_row;

#define CONSTANT RLHF_SCHEDULE_CONSTANT
#define LINEAR   RLHF_SCHEDULE_LINEAR
#define COSINE   RLHF_SCHEDULE_COSINE

static const schedule_row table[] = {
    /* Warm-up is the same for all: 0 at first, the peak when it is over. */
    {CONSTANT, 0.0, 4, 12, 0, 0.0},
    {LINEAR, 0.5, 4, 12, 0, 0.0},
    {COSINE, 0.5, 4, 12, 0, 0.0},
    {CONSTANT, 0.0, 4, 12, 1, 0.5},
    {LINEAR, 0.0, 4, 12, 3, 1.5},
    {COSINE, 0.0, 4, 12, 3, 1.5},
    {CONSTANT, 0.0, 4, 12, 4, 2.0},
    {LINEAR, 0.0, 4, 12, 4, 2.0},
    {COSINE, 0.0, 4, 12, 4, 2.0},
    {CONSTANT, 0.0, 1, 12, 0, 0.0},
    {CONSTANT, 0.0, 1, 12, 1, 2.0},
    /* No warm-up: the peak at once. */
    {CONSTANT, 0.0, 0, 8, 0, 2.0},
    {LINEAR, 0.0, 0, 8, 0, 2.0},
    {COSINE, 0.0, 0, 8, 0, 2.0},
    /* In between. */
    {CONSTANT, 0.0, 4, 12, 9, 2.0},
    {LINEAR, 0.0, 4, 12, 5, 1.75},
    {LINEAR, 0.0, 4, 12, 8, 1.0},
    {LINEAR, 0.0, 4, 12, 11, 0.25},
    {LINEAR, 0.5, 4, 12, 8, 1.5},
    {COSINE, 0.0, 4, 12, 6, 1.7071067811865475}, /* 1 + cos(pi / 4) */
    {COSINE, 0.0, 4, 12, 8, 1.0},
    {COSINE, 0.1, 4, 12, 8, 1.1},
    {COSINE, 0.0, 4, 12, 10, 0.29289321881345254},
    /* The end, and past it: the final rate, for ever. */
    {CONSTANT, 0.0, 4, 12, 12, 2.0},
    {LINEAR, 0.0, 4, 12, 12, 0.0},
    {LINEAR, 0.1, 4, 12, 12, 0.2},
    {COSINE, 0.0, 4, 12, 12, 0.0},
    {COSINE, 0.1, 4, 12, 12, 0.2},
    {CONSTANT, 0.0, 4, 12, 1000000, 2.0},
    {LINEAR, 0.1, 4, 12, 13, 0.2},
    {LINEAR, 0.0, 4, 12, 1000000, 0.0},
    {COSINE, 0.1, 4, 12, 24, 0.2}, /* it does not rise again */
    {COSINE, 0.0, 4, 12, 1000000, 0.0},
    /* Warm-up as long as all, or longer. */
    {LINEAR, 0.0, 8, 8, 7, 1.75},
    {LINEAR, 0.0, 8, 8, 8, 2.0},
    {LINEAR, 0.0, 8, 8, 9, 0.0},
    {COSINE, 0.0, 8, 4, 4, 1.0},
    {COSINE, 0.0, 8, 4, 8, 2.0},
    /* A total that is not known. */
    {CONSTANT, 0.0, 2, 0, 1, 1.0},
    {CONSTANT, 0.0, 2, 0, 50, 2.0},
};

static void test_schedule_at_every_corner(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const schedule_row *r = &table[i];
        const double rate = rlhf__schedule_rate(r->schedule, 2.0, r->final_ratio,
                                                r->warmup, r->total, r->step);
        if (!(fabs(rate - r->expected) <= 1e-12))
            fail_msg("row %d, step %lld: rate %.17g, not %.17g", (int)i,
                     (long long)r->step, rate, r->expected);
    }
}

/* Never above the peak, never below the final rate, never rising after the warm-up. */
static void test_schedule_falls_from_the_peak(void **state)
{
    (void)state;
    for (int32_t schedule = CONSTANT; schedule <= COSINE; schedule++)
        for (int64_t warmup = 0; warmup <= 10; warmup += 5) {
            double last = INFINITY;
            for (int64_t step = warmup; step <= 120; step++) {
                const double rate =
                    rlhf__schedule_rate(schedule, 2.0, 0.25, warmup, 100, step);
                assert_true(rate <= 2.0 && rate <= last && rate >= 0.5 - 1e-12);
                last = rate;
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule_at_every_corner),
        cmocka_unit_test(test_schedule_falls_from_the_peak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
