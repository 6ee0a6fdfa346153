#ifndef RLHF_TOKENIZER_H
#define RLHF_TOKENIZER_H

#include <rlhf/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_tokenizer rlhf_tokenizer;

typedef struct rlhf_text_stream rlhf_text_stream;

typedef struct rlhf_tokenizer_train_options {
    size_t struct_size;
    int32_t vocab_size;
    int32_t min_frequency;
    const char *const *special_tokens;
    int32_t num_special_tokens;
    int32_t reserved;
    const char *bos_token;
    const char *eos_token;
} rlhf_tokenizer_train_options;

RLHF_API rlhf_status rlhf_tokenizer_train_options_init(
    rlhf_tokenizer_train_options *options, size_t struct_size);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_tokenizer_train(rlhf_context *context, const char *const *texts, const size_t *sizes,
                     int64_t num_texts, const rlhf_tokenizer_train_options *options,
                     rlhf_tokenizer **out_tokenizer);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_tokenizer_load(rlhf_context *context,
                                                         const char *path,
                                                         rlhf_tokenizer **out_tokenizer);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_tokenizer_save(rlhf_tokenizer *tokenizer,
                                                         const char *path);

RLHF_API void rlhf_tokenizer_free(rlhf_tokenizer *tokenizer);

RLHF_API int32_t rlhf_tokenizer_vocab_size(const rlhf_tokenizer *tokenizer);

RLHF_API int32_t rlhf_tokenizer_bos_id(const rlhf_tokenizer *tokenizer);

RLHF_API int32_t rlhf_tokenizer_eos_id(const rlhf_tokenizer *tokenizer);

RLHF_API int32_t rlhf_tokenizer_token_id(const rlhf_tokenizer *tokenizer,
                                         const char *token);

RLHF_API rlhf_status rlhf_tokenizer_encode(const rlhf_tokenizer *tokenizer,
                                           const char *text, size_t size,
                                           int32_t parse_special, int32_t *out_ids,
                                           int64_t capacity, int64_t *out_count);

RLHF_API rlhf_status rlhf_tokenizer_decode(const rlhf_tokenizer *tokenizer,
                                           const int32_t *ids, int64_t num_ids,
                                           int32_t skip_special, char *out_text,
                                           size_t capacity, size_t *out_size);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_text_stream_create(
    rlhf_tokenizer *tokenizer, int32_t skip_special, rlhf_text_stream **out_stream);

RLHF_API rlhf_status rlhf_text_stream_push(rlhf_text_stream *stream, int32_t id,
                                           const char **out_text, size_t *out_size);

RLHF_API void rlhf_text_stream_free(rlhf_text_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
