/* Training in bf16 tracks fp32's loss curve within noise.
 *
 * The noise is measured: fp32 runs of the same rows from the same weights, but for a
 * change of each weight by up to half a unit of bf16, part from each other as training
 * goes on. bf16 may part from fp32 as far as they do, give or take: seeds are few. That
 * the bound tells runs apart at all is shown by fp32 runs at a learning rate a tenth
 * lower, which must lie beyond it. */
#include "tiny.h"

#include <math.h>
#include <stdbool.h>

enum { VOCAB = 24, LENGTH = 20, BATCH = 8, STEPS = 250, WINDOW = 25, SEEDS = 4 };
enum { WINDOWS = STEPS / WINDOW };

/* Two standard deviations of the noise. */
#define NOISES 2.0

typedef struct curve {
    double loss[WINDOWS]; /* mean over a window's steps */
} curve;

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state >> 33;
}

/* Three times in four a token follows from the one before it. */
static rlhf_dataset *make_rows(rlhf_context *context, uint64_t seed)
{
    uint64_t state = seed * 977 + 5;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_create(context, NULL, &dataset));
    for (int row = 0; row < STEPS * BATCH; row++) {
        int32_t tokens[LENGTH];
        const rlhf_example example = {
            .struct_size = sizeof example, .tokens = tokens, .num_tokens = LENGTH};
        for (int i = 0; i < LENGTH; i++)
            tokens[i] = i == 0 || next_random(&state) % 4 == 0
                            ? (int32_t)(next_random(&state) % VOCAB)
                            : (5 * tokens[i - 1] + 7) % VOCAB;
        assert_ok(rlhf_dataset_append(dataset, &example));
    }
    return dataset;
}

/* Every weight moves by up to 2^-9 of itself. */
static void perturb(rlhf_model *model, uint64_t state)
{
    for (int64_t i = 0; i < rlhf_model_num_parameter_names(model); i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(rlhf_model_parameter_info(model, i, &info));
        const int64_t count = info.rows * info.cols;
        float *values = malloc((size_t)count * sizeof *values);
        assert_ok(rlhf_model_parameter_read(model, info.name, values, count));
        for (int64_t k = 0; k < count; k++)
            values[k] *=
                1.0f + 0x1p-9f * ((float)(next_random(&state) % 2001) / 1000.0f - 1.0f);
        assert_ok(rlhf_model_parameter_write(model, info.name, values, count));
        free(values);
    }
}

/* `change`: of the perturbation, 0: none. */
static curve train(int32_t dtype, uint64_t seed, uint64_t change, double learning_rate)
{
    rlhf_context_options context_options;
    rlhf_lm_options options;
    rlhf_context *context;
    rlhf_lm_trainer *trainer;
    curve result = {{0}};

    support_options(&context_options, 1);
    context_options.dtype = dtype;
    assert_ok(rlhf_context_create(&context_options, &context));
    rlhf_model *model = tiny_model(context, VOCAB, LENGTH, seed);
    rlhf_dataset *rows = make_rows(context, seed);
    if (change > 0)
        perturb(model, change);
    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.learning_rate = learning_rate;
    options.batch_size = BATCH;
    options.total_steps = STEPS;
    options.warmup_steps = 10;
    assert_ok(rlhf_lm_trainer_create(model, rows, &options, &trainer));
    for (int i = 0; i < STEPS; i++) {
        rlhf_lm_stats stats = {.struct_size = sizeof stats};
        assert_ok(rlhf_lm_trainer_step(trainer, &stats));
        result.loss[i / WINDOW] += stats.loss / WINDOW;
    }
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(rows);
    rlhf_model_free(model);
    rlhf_context_free(context);
    return result;
}

/* Sum of squared distances over the windows. */
static double apart(const curve *a, const curve *b)
{
    double sum = 0;

    for (int i = 0; i < WINDOWS; i++)
        sum += pow(a->loss[i] - b->loss[i], 2);
    return sum;
}

static void test_bf16_loss_curve_is_within_noise_of_fp32(void **state)
{
    (void)state;
    const double rate = 1e-2;
    double noise = 0, bf16 = 0, slower = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        const curve plain = train(RLHF_DTYPE_FP32, seed, 0, rate);
        const curve moved = train(RLHF_DTYPE_FP32, seed, 2 * seed, rate);
        const curve again = train(RLHF_DTYPE_FP32, seed, 2 * seed + 1, rate);
        const curve rounded = train(RLHF_DTYPE_BF16, seed, 0, rate);
        const curve late = train(RLHF_DTYPE_FP32, seed, 0, 0.9 * rate);
        assert_true(plain.loss[WINDOWS - 1] < 0.7 * plain.loss[0]); /* it learns */
        noise +=
            (apart(&plain, &moved) + apart(&plain, &again) + apart(&moved, &again)) / 3;
        bf16 += apart(&plain, &rounded);
        slower += apart(&plain, &late);
    }
    if (!(sqrt(bf16) <= NOISES * sqrt(noise)))
        fail_msg("bf16 is off by %g times the noise", sqrt(bf16 / noise));
    if (!(sqrt(slower) > NOISES * sqrt(noise)))
        fail_msg("a lower learning rate is off by %g times the noise, and unseen",
                 sqrt(slower / noise));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16_loss_curve_is_within_noise_of_fp32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
