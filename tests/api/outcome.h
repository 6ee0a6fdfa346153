/* Bits that a host could disturb, of every kind of work: initialisation, training on all
 * threads, a forward pass, denormal numbers, sampling. A host that leaves the library
 * alone gets the same outcome as one that rounds up, flushes denormals or has other
 * libraries beside. */
#ifndef TESTS_API_OUTCOME_H
#define TESTS_API_OUTCOME_H

#include <float.h>
#include <math.h>

#include "api_support.h"

enum { OUTCOME_TOKENS = 64, OUTCOME_ANSWER = 12 };

typedef struct outcome {
    float logits[OUTCOME_TOKENS * VOCAB];
    float logprobs[OUTCOME_TOKENS];
    float denormals[VOCAB]; /* logits of a model whose last norm has denormal weights */
    int32_t answer[4 + OUTCOME_ANSWER];
    int32_t padding;
    uint64_t weights; /* a hash of all that was learnt */
    double loss, rate;
} outcome;

static inline uint64_t outcome_hash(rlhf_model *model)
{
    int64_t count;
    float *values = model_values(model, &count);
    const unsigned char *bytes = (const unsigned char *)values;
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    for (size_t i = 0; i < (size_t)count * sizeof *values; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    free(values);
    return hash;
}

static inline void outcome_train(rlhf_context *context, rlhf_model *model, outcome *out)
{
    rlhf_dataset *dataset = repeated_rows(context, 4, OUTCOME_TOKENS);
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    rlhf_lm_options options;
    rlhf_lm_trainer *trainer;

    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 4;
    assert_ok(rlhf_lm_trainer_create(model, dataset, &options, &trainer));
    for (int i = 0; i < 3; i++)
        assert_ok(rlhf_lm_trainer_step(trainer, &stats));
    out->loss = stats.loss;
    out->rate = stats.learning_rate;
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
}

static inline void outcome_answer(rlhf_model *model, const int32_t *tokens, outcome *out)
{
    const int64_t ends[2] = {0, 4};
    rlhf_generator *generator;
    rlhf_generator_options options;
    rlhf_generation generation = {.struct_size = sizeof generation};

    assert_ok(rlhf_generator_options_init(&options, sizeof options));
    options.max_new_tokens = OUTCOME_ANSWER;
    options.use_stop_tokens = 0;
    assert_ok(rlhf_generator_create(model, NULL, &options, &generator));
    assert_ok(rlhf_generator_start(generator, tokens, ends, 1, NULL));
    assert_ok(rlhf_generator_run(generator));
    assert_ok(rlhf_generator_get(generator, 0, &generation));
    assert_int_equal(generation.num_tokens, 4 + OUTCOME_ANSWER);
    memcpy(out->answer, generation.tokens, sizeof out->answer);
    rlhf_generator_free(generator);
}

/* What flushing would turn into zeros. Bits, since the test's own thread may flush. */
static inline void outcome_denormals(rlhf_model *model, const int32_t *tokens,
                                     outcome *out)
{
    float weights[64];
    const int64_t ends[2] = {0, 4};
    float logits[4 * VOCAB];
    const uint32_t denormal = 100000; /* 1.4e-40 */
    uint32_t bits;

    for (int i = 0; i < 64; i++)
        memcpy(&weights[i], &denormal, sizeof denormal);
    assert_ok(rlhf_model_parameter_write(model, "model.norm.weight", weights, 64));
    assert_ok(rlhf_model_logits(model, tokens, ends, 1, logits));
    memcpy(out->denormals, logits + 3 * VOCAB, sizeof out->denormals);
    for (int i = 0; i < VOCAB; i++) {
        memcpy(&bits, &out->denormals[i], sizeof bits);
        assert_in_range(bits & 0x7fffffff, 1, 0x7fffff);
    }
}

static inline void outcome_compute(int32_t threads, outcome *out)
{
    rlhf_context *context = support_context(NULL, threads);
    rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    const int64_t ends[3] = {0, 4, OUTCOME_TOKENS};
    int32_t tokens[OUTCOME_TOKENS];
    rlhf_model *model;

    config.hidden_size = 64; /* its products are large enough for all threads */
    memset(out, 0, sizeof *out);
    for (int t = 0; t < OUTCOME_TOKENS; t++)
        tokens[t] = (3 * t + 1) % VOCAB;
    assert_ok(rlhf_model_create(context, &config, 5, &model));
    outcome_train(context, model, out);
    out->weights = outcome_hash(model);
    assert_ok(rlhf_model_logits(model, tokens, ends, 2, out->logits));
    assert_ok(rlhf_model_logprobs(model, tokens, ends, 2, 0.7, out->logprobs));
    outcome_answer(model, tokens, out);
    outcome_denormals(model, tokens, out);
    rlhf_model_free(model);
    rlhf_context_free(context);
}

#endif
