/* Small networks of every kind that the config can describe, with weights large enough
 * that every part of them matters. */
#ifndef TESTS_NN_SUPPORT_H
#define TESTS_NN_SUPPORT_H

#include "kernels/kernels_support.h"
#include "support.h"

#include "nn/transformer.h"

enum { NN_VOCAB = 23, NN_CONTEXT = 160, NN_LAYERS = 3 };

/* A layer by itself: window 0 is full attention, theta 0 no rotary positions. */
typedef struct nn_layer {
    int32_t window, norm;
    double theta;
} nn_layer;

typedef struct nn_kind {
    const char *name;
    int32_t hidden, heads, kv_heads, head_dim; /* 0: as the config's default */
    int32_t position, norm, activation, bias, tied;
    rlhf__head head;
    int32_t num_layers; /* of `layers`; 0: NN_LAYERS alike */
    nn_layer layers[NN_LAYERS];
} nn_kind;

#define LN  RLHF_NORM_LAYERNORM
#define RMS RLHF_NORM_RMSNORM
static const nn_kind nn_kinds[] = {
    {"gpt2",
     12,
     3,
     0,
     0,
     RLHF_POSITION_LEARNED,
     LN,
     RLHF_ACTIVATION_GELU_TANH,
     1,
     1,
     RLHF__HEAD_LM,
     0,
     {{0, 0, 0}}},
    {"gpt2, untied, erf",
     10,
     2,
     0,
     0,
     RLHF_POSITION_LEARNED,
     LN,
     RLHF_ACTIVATION_GELU_ERF,
     1,
     0,
     RLHF__HEAD_LM,
     0,
     {{0, 0, 0}}},
    {"llama, grouped, untied",
     16,
     4,
     2,
     0,
     RLHF_POSITION_ROTARY,
     RMS,
     RLHF_ACTIVATION_SWIGLU,
     0,
     0,
     RLHF__HEAD_LM,
     0,
     {{0, 0, 0}}},
    {"llama, one kv head, wide heads, biases, tied",
     9,
     3,
     1,
     6,
     RLHF_POSITION_ROTARY,
     RMS,
     RLHF_ACTIVATION_SWIGLU,
     1,
     1,
     RLHF__HEAD_LM,
     0,
     {{0, 0, 0}}},
    {"layers that alternate",
     12,
     2,
     1,
     0,
     RLHF_POSITION_ROTARY,
     RMS,
     RLHF_ACTIVATION_SWIGLU,
     0,
     1,
     RLHF__HEAD_LM,
     3,
     {{4, RMS, 100.0}, {0, LN, 0}, {70, RMS, 10000.0}}},
    {"learned and rotary positions",
     12,
     2,
     2,
     0,
     RLHF_POSITION_LEARNED,
     LN,
     RLHF_ACTIVATION_GELU_TANH,
     1,
     0,
     RLHF__HEAD_LM,
     3,
     {{0, LN, 50.0}, {1, RMS, 0}, {0, LN, 0}}},
    {"scalar head",
     12,
     4,
     2,
     4,
     RLHF_POSITION_ROTARY,
     RMS,
     RLHF_ACTIVATION_SWIGLU,
     0,
     1,
     RLHF__HEAD_SCORE,
     0,
     {{0, 0, 0}}},
};
#undef LN
#undef RMS
#define NN_KINDS ((int)(sizeof nn_kinds / sizeof nn_kinds[0]))

/* Uniform in [-0.5, 0.5), norms' weights around 1. */
static inline void nn_randomise(rlhf__transformer *model, uint64_t stream)
{
    float *values = rlhf__params_begin_write(&model->params);

    for (int32_t s = 0; s < model->params.num_slabs; s++) {
        const rlhf__slab *slab = &model->params.slabs[s];
        bool norm_weight = s == model->final_norm_weight;
        for (int32_t i = 0; i < model->config.num_layers; i++)
            norm_weight |=
                s == model->blocks[i].norm1_weight || s == model->blocks[i].norm2_weight;
        for (int64_t i = slab->offset; i < slab->offset + slab->rows * slab->cols; i++)
            values[i] = (float)(rlhf__rng_uniform(42, stream, (uint64_t)i) - 0.5) +
                        (norm_weight ? 1.0f : 0.0f);
    }
    rlhf__params_end_write(&model->params);
}

static inline rlhf__transformer *nn_model(rlhf_context *context, const nn_kind *kind)
{
    rlhf_layer_config layers[NN_LAYERS];
    rlhf__transformer *model;
    rlhf_model_config c;

    assert_ok(rlhf_model_config_init(&c, sizeof c));
    c.vocab_size = NN_VOCAB, c.context_length = NN_CONTEXT;
    c.hidden_size = kind->hidden, c.intermediate_size = 19;
    c.num_layers = NN_LAYERS, c.num_heads = kind->heads, c.num_kv_heads = kind->kv_heads;
    c.head_dim = kind->head_dim;
    c.position = kind->position, c.norm = kind->norm, c.activation = kind->activation;
    c.attention_bias = c.mlp_bias = kind->bias, c.tie_embeddings = kind->tied;
    c.norm_eps = 1e-3;
    c.num_layer_configs = kind->num_layers;
    c.layers = kind->num_layers ? layers : NULL;
    for (int i = 0; i < kind->num_layers; i++)
        layers[i] = (rlhf_layer_config){
            .struct_size = sizeof layers[i],
            .attention =
                kind->layers[i].window ? RLHF_ATTENTION_SLIDING : RLHF_ATTENTION_FULL,
            .window = kind->layers[i].window,
            .rotary = kind->layers[i].theta > 0,
            .norm = kind->layers[i].norm,
            .rope_theta = kind->layers[i].theta > 0 ? kind->layers[i].theta : 10000.0,
            .norm_eps = 1e-3 * (i + 1)};
    assert_ok(rlhf__transformer_create(context, &c, kind->head, &model));
    nn_randomise(model, 1);
    return model;
}

static inline int32_t nn_token(int64_t i)
{
    return (int32_t)((i * 7 + i / 11 + 3) % NN_VOCAB);
}

#endif
