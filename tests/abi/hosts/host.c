/* A host of an older version: compiled against the headers of its folder, it runs with
 * today's library. It does a little of each stage, by the structs that it knows. */
#include <rlhf/rlhf.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MUST(call)                                                                       \
    do {                                                                                 \
        if ((call) != RLHF_OK) {                                                         \
            fprintf(stderr, "%s: %s\n", #call, rlhf_last_error_message());               \
            return 1;                                                                    \
        }                                                                                \
    } while (0)
#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                      \
            return 1;                                                                    \
        }                                                                                \
    } while (0)

enum { VOCAB = 12 };
static const int32_t prompt[3] = {2, 3, 4};
static const int64_t ends[2] = {0, 3};

/* The likeliest token, as a table of callbacks of the host's version. */
static rlhf_status likeliest(void *user_data, void *state, const rlhf_sample_info *info,
                             const float *logits, int64_t vocab_size, int32_t *out_token)
{
    (void)state;
    if (info->struct_size < sizeof *info || info->num_prompt != 3)
        return RLHF_ERR_INTERNAL;
    *out_token = 0;
    for (int32_t v = 1; v < vocab_size; v++)
        if (logits[v] > logits[*out_token])
            *out_token = v;
    ++*(int *)user_data;
    return RLHF_OK;
}

static int generate(rlhf_model *model)
{
    int calls = 0;
    const rlhf_sampler_ops ops = {.struct_size = sizeof ops, .sample = likeliest};
    rlhf_sampler *sampler;
    rlhf_generator *generator;
    rlhf_generator_options options;
    rlhf_generation answer = {.struct_size = sizeof answer};

    MUST(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = 2;
    options.use_stop_tokens = 0;
    MUST(rlhf_sampler_create_custom(&ops, &calls, &sampler));
    MUST(rlhf_generator_create(model, sampler, &options, &generator));
    MUST(rlhf_generator_start(generator, prompt, ends, 1, NULL));
    MUST(rlhf_generator_run(generator));
    MUST(rlhf_generator_get(generator, 0, &answer));
    CHECK(calls == 2 && answer.num_tokens == 5 && answer.finish == RLHF_FINISH_LENGTH);
    rlhf_generator_free(generator);
    rlhf_sampler_free(sampler);
    return 0;
}

static int train(rlhf_context *context, rlhf_model *model)
{
    const rlhf_example row = {
        .struct_size = sizeof row, .tokens = prompt, .num_tokens = 3};
    rlhf_dataset_info info = {.struct_size = sizeof info};
    rlhf_lm_options options;
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    rlhf_dataset *dataset;
    rlhf_lm_trainer *trainer;

    MUST(rlhf_dataset_create(context, NULL, &dataset));
    MUST(rlhf_dataset_append(dataset, &row));
    MUST(rlhf_dataset_get_info(dataset, &info));
    MUST(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 2;
    MUST(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    MUST(rlhf_lm_trainer_step(trainer, &stats));
    CHECK(info.num_rows == 1 && stats.step == 1 && stats.num_targets == 4);
    CHECK(stats.loss > 0.5 * log(VOCAB) && stats.loss < 2 * log(VOCAB));
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    return 0;
}

static int improve(rlhf_model *model)
{
    rlhf_ppo_options options;
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    rlhf_rollout_sequence sequence = {.struct_size = sizeof sequence};
    rlhf_ppo_trainer *trainer;
    rlhf_rollout *rollout;
    const float score = 1;

    MUST(rlhf_ppo_options_preset(&options, sizeof options, "trl"));
    options.max_new_tokens = 2;
    options.num_minibatches = 1;
    MUST(rlhf_ppo_trainer_create(model, NULL, NULL, NULL, &options, &trainer));
    MUST(rlhf_ppo_trainer_rollout(trainer, prompt, ends, 1, &rollout));
    MUST(rlhf_rollout_set_scores(rollout, &score, 1));
    MUST(rlhf_ppo_trainer_advantages(trainer, rollout));
    MUST(rlhf_ppo_trainer_update(trainer, rollout, &stats));
    MUST(rlhf_rollout_get(rollout, 0, &sequence));
    CHECK(stats.iteration == 1 && stats.score == 1 && stats.first_ratio_deviation == 0);
    CHECK(sequence.score == 1 && sequence.num_prompt == 3);
    rlhf_rollout_free(rollout);
    rlhf_ppo_trainer_free(trainer);
    return 0;
}

int main(void)
{
    rlhf_context_options options;
    rlhf_model_config config, read = {.struct_size = sizeof read};
    rlhf_error_info error = {.struct_size = sizeof error};
    rlhf_context *context;
    rlhf_model *model;

    MUST(rlhf_context_options_init(&options, sizeof options));
    options.num_threads = 1;
    MUST(rlhf_context_create(&options, &context));
    MUST(rlhf_model_config_init(&config, sizeof config));
    CHECK(rlhf_model_create(context, &config, 1, &model) == RLHF_ERR_INVALID_ARG);
    MUST(rlhf_last_error_info(&error));
    CHECK(error.status == RLHF_ERR_INVALID_ARG && !strcmp(error.field, "vocab_size"));
    config.vocab_size = VOCAB;
    MUST(rlhf_model_create(context, &config, 1, &model));
    MUST(rlhf_model_get_config(model, &read));
    CHECK(read.vocab_size == VOCAB && read.num_layers == config.num_layers);
    const int failed = generate(model) || train(context, model) || improve(model);
    rlhf_model_free(model);
    rlhf_context_free(context);
    return failed;
}
