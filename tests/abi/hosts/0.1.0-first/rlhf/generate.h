#ifndef RLHF_GENERATE_H
#define RLHF_GENERATE_H

#include <rlhf/model.h>
#include <rlhf/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_sampler rlhf_sampler;

typedef struct rlhf_generator rlhf_generator;

typedef struct rlhf_sample_info {
    size_t struct_size;
    int64_t sequence_id;
    int64_t position;
    int64_t num_prompt;
    const int32_t *tokens;
    double uniforms[4];
} rlhf_sample_info;

typedef struct rlhf_sampler_ops {
    size_t struct_size;

    rlhf_status (*begin)(void *user_data, int64_t sequence_id, void **out_state);

    void (*end)(void *user_data, void *state);

    rlhf_status (*sample)(void *user_data, void *state, const rlhf_sample_info *info,
                          const float *logits, int64_t vocab_size, int32_t *out_token);

    void (*destroy)(void *user_data);

    double softmax_temperature;
} rlhf_sampler_ops;

typedef struct rlhf_sampler_options {
    size_t struct_size;
    double temperature;
    double top_p;
    double min_p;
    int32_t top_k;
    int32_t reserved;
} rlhf_sampler_options;

RLHF_API rlhf_status rlhf_sampler_options_init(rlhf_sampler_options *options,
                                               size_t struct_size);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_sampler_create(const rlhf_sampler_options *options, rlhf_sampler **out_sampler);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_sampler_create_custom(
    const rlhf_sampler_ops *ops, void *user_data, rlhf_sampler **out_sampler);

RLHF_API void rlhf_sampler_free(rlhf_sampler *sampler);

typedef enum rlhf_finish {
    RLHF_FINISH_NONE = 0,
    RLHF_FINISH_STOP = 1,
    RLHF_FINISH_LENGTH = 2,
    RLHF_FINISH_CONTEXT = 3,
    RLHF_FINISH_CALLBACK = 4
} rlhf_finish;

typedef int32_t (*rlhf_text_fn)(void *user_data, int64_t sequence_id, const char *text,
                                size_t size);

typedef struct rlhf_generator_options {
    size_t struct_size;
    int32_t max_new_tokens;
    int32_t min_new_tokens;
    const int32_t *stop_tokens;
    int32_t num_stop_tokens;
    int32_t use_stop_tokens;
    uint64_t seed;
    double temperature;
    rlhf_tokenizer *tokenizer;
    rlhf_text_fn text;
    void *text_user_data;
} rlhf_generator_options;

typedef struct rlhf_generation {
    size_t struct_size;
    int64_t sequence_id;
    const int32_t *tokens;
    int64_t num_tokens;
    int64_t num_prompt;
    const float *logprobs;
    int32_t finish;
    int32_t reserved;
} rlhf_generation;

RLHF_API rlhf_status rlhf_generator_options_init(rlhf_generator_options *options,
                                                 size_t struct_size);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_create(
    rlhf_model *model, rlhf_sampler *sampler, const rlhf_generator_options *options,
    rlhf_generator **out_generator);

RLHF_API void rlhf_generator_free(rlhf_generator *generator);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_start(rlhf_generator *generator,
                                                          const int32_t *tokens,
                                                          const int64_t *cu_seqlens,
                                                          int64_t num_seqs,
                                                          const int64_t *sequence_ids);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_step(rlhf_generator *generator,
                                                         int64_t *out_active);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_generator_run(rlhf_generator *generator);

RLHF_API int64_t rlhf_generator_num_sequences(const rlhf_generator *generator);

RLHF_API rlhf_status rlhf_generator_get(const rlhf_generator *generator, int64_t index,
                                        rlhf_generation *out_generation);

#ifdef __cplusplus
}
#endif

#endif
