#ifndef RLHF_DATASET_H
#define RLHF_DATASET_H

#include <rlhf/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_dataset rlhf_dataset;

typedef enum rlhf_dataset_kind {
    RLHF_DATASET_TEXT = 0,
    RLHF_DATASET_COMPLETION = 1,
    RLHF_DATASET_PREFERENCE = 2,
    RLHF_DATASET_PROMPT = 3
} rlhf_dataset_kind;

typedef enum rlhf_overlong {
    RLHF_OVERLONG_TRUNCATE = 0,
    RLHF_OVERLONG_DROP = 1
} rlhf_overlong;

typedef struct rlhf_example {
    size_t struct_size;
    const int32_t *tokens;
    int64_t num_tokens;
    int64_t prompt_length;
    const int32_t *rejected;
    int64_t num_rejected;
    double margin;
    int64_t id;
} rlhf_example;

typedef struct rlhf_dataset_options {
    size_t struct_size;
    int32_t kind;
    int32_t max_length;
    int32_t overlong;
    int32_t add_bos;
    int32_t add_eos;
    int32_t shuffle;
    int64_t num_epochs;
    uint64_t seed;
} rlhf_dataset_options;

typedef struct rlhf_dataset_info {
    size_t struct_size;
    int32_t kind;
    int32_t reserved;
    int64_t num_rows;
    int64_t num_tokens;
    int64_t num_read;
    int64_t num_truncated;
    int64_t num_overlong_dropped;
    int64_t num_identical_dropped;
    int64_t num_empty_dropped;
} rlhf_dataset_info;

typedef struct rlhf_source_ops {
    size_t struct_size;

    rlhf_status (*next)(void *user_data, rlhf_example *out);

    rlhf_status (*save)(void *user_data, void *out_bytes, size_t capacity,
                        size_t *out_size);

    rlhf_status (*restore)(void *user_data, const void *bytes, size_t size);

    void (*destroy)(void *user_data);
} rlhf_source_ops;

#define RLHF_SOURCE_POSITION_MAX 4096

RLHF_API rlhf_status rlhf_dataset_options_init(rlhf_dataset_options *options,
                                               size_t struct_size);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_dataset_load(rlhf_context *context, rlhf_tokenizer *tokenizer, const char *path,
                  const rlhf_dataset_options *options, rlhf_dataset **out_dataset);

RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_dataset_create(rlhf_context *context, const rlhf_dataset_options *options,
                    rlhf_dataset **out_dataset);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_dataset_create_from_source(
    rlhf_context *context, int32_t kind, const rlhf_source_ops *ops, void *user_data,
    rlhf_dataset **out_dataset);

RLHF_API void rlhf_dataset_free(rlhf_dataset *dataset);

RLHF_API rlhf_status rlhf_dataset_append(rlhf_dataset *dataset,
                                         const rlhf_example *example);

RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_dataset_split(rlhf_dataset *dataset,
                                                        int64_t held_out, uint64_t seed,
                                                        rlhf_dataset **out_train,
                                                        rlhf_dataset **out_held_out);

RLHF_API rlhf_status rlhf_dataset_get_info(const rlhf_dataset *dataset,
                                           rlhf_dataset_info *info);

RLHF_API rlhf_status rlhf_dataset_row(rlhf_dataset *dataset, int64_t index,
                                      rlhf_example *out_example);

RLHF_API rlhf_status rlhf_dataset_next(rlhf_dataset *dataset, rlhf_example *out_example);

RLHF_API rlhf_status rlhf_dataset_rewind(rlhf_dataset *dataset);

RLHF_API rlhf_status rlhf_dataset_save_position(rlhf_dataset *dataset, void *out_bytes,
                                                size_t capacity, size_t *out_size);

RLHF_API rlhf_status rlhf_dataset_restore_position(rlhf_dataset *dataset,
                                                   const void *bytes, size_t size);

#ifdef __cplusplus
}
#endif

#endif
