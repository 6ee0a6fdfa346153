#ifndef RLHF_MODEL_H
#define RLHF_MODEL_H

#include <rlhf/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_model rlhf_model;

typedef enum rlhf_position {
    RLHF_POSITION_LEARNED = 0,
    RLHF_POSITION_ROTARY = 1
} rlhf_position;

typedef enum rlhf_norm { RLHF_NORM_LAYERNORM = 0, RLHF_NORM_RMSNORM = 1 } rlhf_norm;

typedef enum rlhf_activation {
    RLHF_ACTIVATION_GELU_TANH = 0,
    RLHF_ACTIVATION_GELU_ERF = 1,
    RLHF_ACTIVATION_SWIGLU = 2
} rlhf_activation;

typedef enum rlhf_attention_kind {
    RLHF_ATTENTION_FULL = 0,
    RLHF_ATTENTION_SLIDING = 1
} rlhf_attention_kind;

typedef struct rlhf_layer_config {
    size_t struct_size;
    int32_t attention;
    int32_t window;
    int32_t rotary;
    int32_t norm;
    double rope_theta;
    double norm_eps;
} rlhf_layer_config;

typedef struct rlhf_model_config {
    size_t struct_size;
    int32_t vocab_size;
    int32_t context_length;
    int32_t hidden_size;
    int32_t intermediate_size;
    int32_t num_layers;
    int32_t num_heads;
    int32_t num_kv_heads;
    int32_t head_dim;
    int32_t position;
    int32_t norm;
    int32_t activation;
    int32_t attention_bias;
    int32_t mlp_bias;
    int32_t tie_embeddings;
    int32_t bos_token_id;
    int32_t eos_token_id;
    int32_t pad_token_id;
    int32_t num_layer_configs;
    double norm_eps;
    double rope_theta;
    double initializer_range;
    const rlhf_layer_config *layers;
} rlhf_model_config;

typedef struct rlhf_parameter_info {
    size_t struct_size;
    const char *name;
    int64_t rows;
    int64_t cols;
    int32_t decay;
    int32_t reserved;
} rlhf_parameter_info;

RLHF_API rlhf_status rlhf_model_config_init(rlhf_model_config *config,
                                            size_t struct_size);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_model_create(rlhf_context *context,
                                                       const rlhf_model_config *config,
                                                       uint64_t seed,
                                                       rlhf_model **out_model);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_model_load(rlhf_context *context,
                                                     const char *path,
                                                     rlhf_model **out_model);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_model_save(rlhf_model *model, const char *path);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_model_clone(const rlhf_model *model,
                                                      rlhf_model **out_model);

RLHF_API void rlhf_model_free(rlhf_model *model);

RLHF_API rlhf_status rlhf_model_get_config(const rlhf_model *model,
                                           rlhf_model_config *out_config);

RLHF_API int64_t rlhf_model_num_parameters(const rlhf_model *model);

RLHF_API int64_t rlhf_model_num_parameter_names(const rlhf_model *model);

RLHF_API rlhf_status rlhf_model_parameter_info(const rlhf_model *model, int64_t index,
                                               rlhf_parameter_info *out_info);

RLHF_API rlhf_status rlhf_model_parameter_read(rlhf_model *model, const char *name,
                                               float *out_values, int64_t count);

RLHF_API rlhf_status rlhf_model_parameter_write(rlhf_model *model, const char *name,
                                                const float *values, int64_t count);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_model_logits(rlhf_model *model,
                                                       const int32_t *tokens,
                                                       const int64_t *cu_seqlens,
                                                       int64_t num_seqs,
                                                       float *out_logits);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_model_logprobs(rlhf_model *model, const int32_t *tokens, const int64_t *cu_seqlens,
                    int64_t num_seqs, double temperature, float *out_logprobs);

#ifdef __cplusplus
}
#endif

#endif
