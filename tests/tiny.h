/* Tiny models for API tests: a few thousand parameters, so that whole runs take
 * seconds. */
#ifndef TESTS_TINY_H
#define TESTS_TINY_H

#include "support.h"

static inline rlhf_model_config tiny_config(int32_t vocab, int32_t context)
{
    rlhf_model_config c;

    assert_ok(rlhf_model_config_init(&c, sizeof c));
    c.vocab_size = vocab;
    c.context_length = context;
    c.hidden_size = 16;
    c.intermediate_size = 32;
    c.num_layers = 2;
    c.num_heads = 2;
    c.position = RLHF_POSITION_ROTARY;
    c.norm = RLHF_NORM_RMSNORM;
    c.activation = RLHF_ACTIVATION_SWIGLU;
    c.attention_bias = c.mlp_bias = 0;
    c.bos_token_id = 0;
    c.eos_token_id = 1;
    return c;
}

/* Of GPT-2's kind instead of Llama's. */
static inline void make_gpt2_like(rlhf_model_config *config)
{
    config->position = RLHF_POSITION_LEARNED;
    config->norm = RLHF_NORM_LAYERNORM;
    config->activation = RLHF_ACTIVATION_GELU_TANH;
    config->attention_bias = config->mlp_bias = 1;
}

static inline rlhf_model *tiny_model(rlhf_context *context, int32_t vocab, int32_t length,
                                     uint64_t seed)
{
    const rlhf_model_config c = tiny_config(vocab, length);
    rlhf_model *model;

    assert_ok(rlhf_model_create(context, &c, seed, &model));
    return model;
}

/* All parameters end to end; the caller's. */
static inline float *model_values(rlhf_model *model, int64_t *out_count)
{
    float *values = malloc((size_t)rlhf_model_num_parameters(model) * sizeof *values);
    int64_t at = 0;

    for (int64_t i = 0; i < rlhf_model_num_parameter_names(model); i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(rlhf_model_parameter_info(model, i, &info));
        assert_ok(rlhf_model_parameter_read(model, info.name, values + at,
                                            info.rows * info.cols));
        at += info.rows * info.cols;
    }
    assert_int_equal(at, rlhf_model_num_parameters(model));
    *out_count = at;
    return values;
}

static inline float *reward_values(rlhf_reward_model *model, int64_t *out_count)
{
    float *values =
        malloc((size_t)rlhf_reward_model_num_parameters(model) * sizeof *values);
    int64_t at = 0;

    for (int64_t i = 0; i < rlhf_reward_model_num_parameter_names(model); i++) {
        rlhf_parameter_info info = {.struct_size = sizeof info};
        assert_ok(rlhf_reward_model_parameter_info(model, i, &info));
        assert_ok(rlhf_reward_model_parameter_read(model, info.name, values + at,
                                                   info.rows * info.cols));
        at += info.rows * info.cols;
    }
    *out_count = at;
    return values;
}

static inline void assert_same_model(rlhf_model *a, rlhf_model *b)
{
    int64_t n, m;
    float *x = model_values(a, &n), *y = model_values(b, &m);

    assert_int_equal(n, m);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    free(x);
    free(y);
}

static inline void assert_same_reward(rlhf_reward_model *a, rlhf_reward_model *b)
{
    int64_t n, m;
    float *x = reward_values(a, &n), *y = reward_values(b, &m);

    assert_int_equal(n, m);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    free(x);
    free(y);
}

#endif
