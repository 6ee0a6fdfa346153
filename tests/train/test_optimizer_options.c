/* What the options say of the optimizer reaches it, in all three trainers: several steps
 * held to Adam in double precision, on the gradients that the trainer itself shows. */
#include "train_support.h"

enum { STEPS = 6, ROWS = 9 };

/* Options that no default has. */
typedef struct setting {
    double beta1, beta2, epsilon, weight_decay, max_grad_norm, learning_rate,
        final_lr_ratio;
    int64_t warmup, total;
    int32_t form, schedule;
} setting;

static const setting settings[2] = {
    {.8, .7, 1e-3, .3, .02, 1e-2, .3, 2, 5, RLHF_ADAM_TF, RLHF_SCHEDULE_COSINE},
    {.6, .9, 1e-4, .1, .05, 4e-3, .2, 1, 4, RLHF_ADAM_TORCH, RLHF_SCHEDULE_LINEAR}};

/* --- one network and its double ----------------------------------------------------- */

enum { LM, REWARD, POLICY, CRITIC };

typedef struct learner {
    int kind;
    rlhf_model *model;
    rlhf_reward_model *reward;
    rlhf_lm_trainer *lm;
    rlhf_reward_trainer *rm;
    rlhf_ppo_trainer *ppo;
    int64_t count;
    int *decays;
    double *p, *m, *v;
    int steps;
} learner;

static int64_t num_names(const learner *l)
{
    return l->reward ? rlhf_reward_model_num_parameter_names(l->reward)
                     : rlhf_model_num_parameter_names(l->model);
}

static rlhf_parameter_info info_of(const learner *l, int64_t i)
{
    rlhf_parameter_info info = {.struct_size = sizeof info};

    assert_ok(l->reward ? rlhf_reward_model_parameter_info(l->reward, i, &info)
                        : rlhf_model_parameter_info(l->model, i, &info));
    return info;
}

static float *values_of(learner *l)
{
    return l->reward ? reward_values(l->reward, &l->count)
                     : model_values(l->model, &l->count);
}

static void read_gradient(const learner *l, const char *name, float *out, int64_t count)
{
    if (l->kind == LM)
        assert_ok(rlhf_lm_trainer_gradient(l->lm, name, out, count));
    else if (l->kind == REWARD)
        assert_ok(rlhf_reward_trainer_gradient(l->rm, name, out, count));
    else
        assert_ok(rlhf_ppo_trainer_gradient(l->ppo, l->kind == CRITIC, name, out, count));
}

static void start_double(learner *l)
{
    float *values = values_of(l);
    int64_t at = 0;

    l->decays = malloc((size_t)l->count * sizeof *l->decays);
    l->p = malloc((size_t)l->count * sizeof *l->p);
    l->m = calloc((size_t)l->count, sizeof *l->m);
    l->v = calloc((size_t)l->count, sizeof *l->v);
    for (int64_t i = 0; i < num_names(l); i++) {
        const rlhf_parameter_info info = info_of(l, i);
        for (int64_t j = 0; j < info.rows * info.cols; j++)
            l->decays[at++] = info.decay;
    }
    assert_int_equal(at, l->count);
    for (int64_t i = 0; i < l->count; i++)
        l->p[i] = (double)values[i];
    free(values);
}

static void free_double(learner *l)
{
    free(l->decays);
    free(l->p);
    free(l->m);
    free(l->v);
}

/* Loshchilov and Hutter 2019 (torch), or TensorFlow 1, on the gradient clipped by its
 * global norm. */
static void step_double(learner *l, const setting *s, double rate)
{
    float *g = malloc((size_t)l->count * sizeof *g);
    double squares = 0;
    int64_t at = 0;

    for (int64_t i = 0; i < num_names(l); i++) {
        const rlhf_parameter_info info = info_of(l, i);
        read_gradient(l, info.name, g + at, info.rows * info.cols);
        at += info.rows * info.cols;
    }
    for (int64_t i = 0; i < l->count; i++)
        squares += (double)g[i] * (double)g[i];
    assert_true(sqrt(squares) > 1.5 * s->max_grad_norm); /* it clips */
    l->steps++;
    const double factor = s->max_grad_norm / sqrt(squares);
    const double bias1 = 1 - pow(s->beta1, l->steps), bias2 = 1 - pow(s->beta2, l->steps);
    for (int64_t i = 0; i < l->count; i++) {
        const double x = factor * (double)g[i];
        l->m[i] = s->beta1 * l->m[i] + (1 - s->beta1) * x;
        l->v[i] = s->beta2 * l->v[i] + (1 - s->beta2) * x * x;
        if (l->decays[i])
            l->p[i] -= rate * s->weight_decay * l->p[i];
        if (s->form == RLHF_ADAM_TF)
            l->p[i] -=
                rate * sqrt(bias2) / bias1 * l->m[i] / (sqrt(l->v[i]) + s->epsilon);
        else
            l->p[i] -= rate * (l->m[i] / bias1) / (sqrt(l->v[i] / bias2) + s->epsilon);
    }
    free(g);
}

/* A few roundings of fp32 a step. */
static void assert_doubled(learner *l)
{
    float *values = values_of(l);

    for (int64_t i = 0; i < l->count; i++)
        assert_near("parameter", (double)values[i], l->p[i], 2e-6);
    free(values);
}

static double scheduled(const setting *s, double warm, int64_t step)
{
    const double done =
        fmin(1, (double)(step - s->warmup) / (double)(s->total - s->warmup));

    if (step < s->warmup)
        return s->learning_rate * warm;
    if (s->schedule == RLHF_SCHEDULE_LINEAR)
        return s->learning_rate * (1 - (1 - s->final_lr_ratio) * done);
    return s->learning_rate *
           (s->final_lr_ratio + (1 - s->final_lr_ratio) / 2 * (1 + cos(acos(-1) * done)));
}

/* --- rows --------------------------------------------------------------------------- */

static rlhf_dataset *make_rows(rlhf_context *context, int32_t kind)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    assert_ok(rlhf_dataset_options_init(&options, sizeof options));
    options.kind = kind;
    assert_ok(rlhf_dataset_create(context, &options, &dataset));
    for (int32_t i = 0; i < ROWS; i++) {
        const int32_t a[5] = {BOS, 2 + i, 3, 7, EOS}, b[4] = {BOS, 2 + i, 5, 2 + i % 3};
        rlhf_example row = {.struct_size = sizeof row, .tokens = a, .num_tokens = 5};
        if (kind == RLHF_DATASET_PREFERENCE) {
            row.prompt_length = 2;
            row.rejected = b;
            row.num_rejected = 4;
        }
        assert_ok(rlhf_dataset_append(dataset, &row));
    }
    return dataset;
}

/* --- the trainers ------------------------------------------------------------------- */

/* What the options of all three call alike. */
#define SET_OPTIMIZER(o, s)                                                              \
    do {                                                                                 \
        (o).beta1 = (s)->beta1;                                                          \
        (o).beta2 = (s)->beta2;                                                          \
        (o).epsilon = (s)->epsilon;                                                      \
        (o).weight_decay = (s)->weight_decay;                                            \
        (o).adam_form = (s)->form;                                                       \
        (o).max_grad_norm = (s)->max_grad_norm;                                          \
        (o).learning_rate = (s)->learning_rate;                                          \
        (o).final_lr_ratio = (s)->final_lr_ratio;                                        \
        (o).schedule = (s)->schedule;                                                    \
    } while (0)

static void check_lm(const setting *s)
{
    rlhf_context *context = support_context(NULL, 1);
    learner l = {.kind = LM, .model = tiny_model(context, WORDS, CONTEXT, 1)};
    rlhf_dataset *rows = make_rows(context, RLHF_DATASET_TEXT);
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    rlhf_lm_options o;
    int64_t remaining;

    assert_ok(rlhf_lm_options_init(&o, sizeof o));
    SET_OPTIMIZER(o, s);
    o.warmup_steps = s->warmup;
    o.total_steps = s->total;
    o.batch_size = 3;
    assert_ok(rlhf_lm_trainer_create(l.model, rows, &o, &l.lm));
    start_double(&l);
    for (int64_t k = 0; k < STEPS; k++) {
        const double rate = scheduled(s, (double)k / (double)s->warmup, k);
        assert_ok(rlhf_lm_trainer_accumulate(l.lm, &remaining));
        assert_int_equal(remaining, 0);
        step_double(&l, s, rate);
        assert_ok(rlhf_lm_trainer_apply(l.lm, &stats));
        assert_near("rate", stats.learning_rate, rate, 1e-12);
        assert_doubled(&l);
    }
    free_double(&l);
    rlhf_lm_trainer_free(l.lm);
    rlhf_dataset_free(rows);
    rlhf_model_free(l.model);
    rlhf_context_free(context);
}

static void check_reward(const setting *s)
{
    rlhf_context *context = support_context(NULL, 1);
    learner l = {.kind = REWARD,
                 .reward = tiny_reward_model(context, 1, RLHF_APPEND_EOS_NEVER)};
    rlhf_dataset *rows = make_rows(context, RLHF_DATASET_PREFERENCE);
    rlhf_reward_stats stats = {.struct_size = sizeof stats};
    rlhf_reward_options o;
    int64_t remaining;

    assert_ok(rlhf_reward_options_init(&o, sizeof o));
    SET_OPTIMIZER(o, s);
    o.warmup_steps = s->warmup;
    o.total_steps = s->total;
    o.batch_size = 3;
    assert_ok(rlhf_reward_trainer_create(l.reward, rows, &o, &l.rm));
    start_double(&l);
    for (int64_t k = 0; k < STEPS; k++) {
        const double rate = scheduled(s, (double)k / (double)s->warmup, k);
        assert_ok(rlhf_reward_trainer_accumulate(l.rm, &remaining));
        assert_int_equal(remaining, 0);
        step_double(&l, s, rate);
        assert_ok(rlhf_reward_trainer_apply(l.rm, &stats));
        assert_near("rate", stats.learning_rate, rate, 1e-12);
        assert_doubled(&l);
    }
    free_double(&l);
    rlhf_reward_trainer_free(l.rm);
    rlhf_dataset_free(rows);
    rlhf_reward_model_free(l.reward);
    rlhf_context_free(context);
}

static rlhf_ppo_options ppo_options(const setting *s, const setting *critic)
{
    rlhf_ppo_options o = plain_options();

    SET_OPTIMIZER(o, s);
    o.warmup_iterations = s->warmup;
    o.total_iterations = s->total;
    o.value_max_grad_norm = critic->max_grad_norm;
    o.value_learning_rate = critic->learning_rate;
    o.value_final_lr_ratio = critic->final_lr_ratio;
    o.value_warmup_iterations = critic->warmup;
    o.value_schedule = critic->schedule;
    o.num_minibatches = 2;
    return o;
}

static rlhf_rollout *two_samples(const ppo_fixture *f)
{
    static const sample samples[2] = {
        {.tokens = {BOS, 5, 3, 7, EOS},
         .num_tokens = 5,
         .first = 2,
         .last = 4,
         .score = 3},
        {.tokens = {BOS, 6, 2, 4}, .num_tokens = 4, .first = 2, .last = 3, .score = -2}};
    rlhf_rollout *rollout = make_rollout(f, samples, 2, OLD_OF_POLICY, 0);

    assert_ok(rlhf_ppo_trainer_advantages(f->trainer, rollout));
    return rollout;
}

/* Two steps an iteration, at one rate; a policy and a critic of their own rates and
 * norms, and of one Adam. */
static void check_ppo(const setting *s, const setting *other)
{
    setting value = *s;
    value.max_grad_norm = 2 * other->max_grad_norm;
    value.learning_rate = other->learning_rate;
    value.final_lr_ratio = other->final_lr_ratio;
    value.warmup = other->warmup;
    value.schedule = other->schedule;
    const rlhf_ppo_options o = ppo_options(s, &value);
    ppo_fixture f = ppo_make(&o, 3);
    learner policy = {.kind = POLICY, .model = f.policy, .ppo = f.trainer};
    learner critic = {.kind = CRITIC, .reward = f.critic, .ppo = f.trainer};

    start_double(&policy);
    start_double(&critic);
    for (int64_t k = 0; k < STEPS; k++) {
        rlhf_rollout *rollout = two_samples(&f);
        int32_t done = 0;
        int64_t remaining;
        while (!done) {
            assert_ok(rlhf_ppo_trainer_accumulate(f.trainer, rollout, &remaining));
            step_double(&policy, s, scheduled(s, (double)(k + 1) / (double)s->warmup, k));
            step_double(&critic, &value,
                        scheduled(&value, (double)(k + 1) / (double)value.warmup, k));
            assert_ok(rlhf_ppo_trainer_apply(f.trainer, &done, NULL));
        }
        assert_doubled(&policy);
        assert_doubled(&critic);
        rlhf_rollout_free(rollout);
    }
    assert_int_equal(policy.steps, 2 * STEPS);
    free_double(&policy);
    free_double(&critic);
    ppo_free(&f);
}

static void test_lm_optimizer_is_that_of_the_options(void **state)
{
    (void)state;
    check_lm(&settings[0]);
    check_lm(&settings[1]);
}

static void test_reward_optimizer_is_that_of_the_options(void **state)
{
    (void)state;
    check_reward(&settings[0]);
    check_reward(&settings[1]);
}

static void test_both_ppo_optimizers_are_those_of_the_options(void **state)
{
    (void)state;
    check_ppo(&settings[0], &settings[1]);
    check_ppo(&settings[1], &settings[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lm_optimizer_is_that_of_the_options),
        cmocka_unit_test(test_reward_optimizer_is_that_of_the_options),
        cmocka_unit_test(test_both_ppo_optimizers_are_those_of_the_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
