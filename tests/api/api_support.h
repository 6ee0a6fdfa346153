/* Shared by the API tests: rows to train on, and a step that takes long. */
#ifndef TESTS_API_SUPPORT_H
#define TESTS_API_SUPPORT_H

#include "tiny.h"

enum { VOCAB = 12, LENGTH = 64 };

static inline rlhf_dataset *repeated_rows(rlhf_context *context, int64_t rows,
                                          int64_t length)
{
    int32_t tokens[LENGTH];
    rlhf_dataset *dataset;

    assert_true(length <= LENGTH);
    for (int64_t t = 0; t < length; t++)
        tokens[t] = (int32_t)(t * 5 % VOCAB);
    const rlhf_example row = {
        .struct_size = sizeof row, .tokens = tokens, .num_tokens = length};
    assert_ok(rlhf_dataset_create(context, NULL, &dataset));
    for (int64_t i = 0; i < rows; i++)
        assert_ok(rlhf_dataset_append(dataset, &row));
    return dataset;
}

/* One micro-batch that takes long: plain C kernels on one thread. */
typedef struct long_step {
    rlhf_model *model;
    rlhf_dataset *dataset;
    rlhf_lm_trainer *trainer;
} long_step;

static inline long_step make_long_step(rlhf_context *context)
{
    rlhf_model_config config = tiny_config(VOCAB, LENGTH);
    rlhf_lm_options options;
    long_step s;

    config.hidden_size = 128;
    config.intermediate_size = 0;
    config.num_layers = 8;
    assert_ok(rlhf_model_create(context, &config, 1, &s.model));
    s.dataset = repeated_rows(context, 16, LENGTH);
    assert_ok(rlhf_lm_options_init(&options, sizeof options));
    options.batch_size = 16;
    options.micro_batch_tokens = 16 * LENGTH;
    assert_ok(rlhf_lm_trainer_create(s.model, s.dataset, &options, &s.trainer));
    return s;
}

static inline void free_long_step(long_step *s)
{
    rlhf_lm_trainer_free(s->trainer);
    rlhf_dataset_free(s->dataset);
    rlhf_model_free(s->model);
}

#endif
