/**
 * @file dataset.h
 * Training data: files, rows in memory, or a source that the host writes.
 */
#ifndef RLHF_DATASET_H
#define RLHF_DATASET_H

#include <rlhf/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_dataset rlhf_dataset;

/** What a row is. */
typedef enum rlhf_dataset_kind {
    RLHF_DATASET_TEXT = 0,       /**< Every token is a target: pretraining. */
    RLHF_DATASET_COMPLETION = 1, /**< prompt + completion, the prompt masked: SFT. */
    RLHF_DATASET_PREFERENCE = 2, /**< prompt + chosen, prompt + rejected. */
    RLHF_DATASET_PROMPT = 3      /**< A prompt alone: PPO, generation. */
} rlhf_dataset_kind;

typedef enum rlhf_overlong {
    RLHF_OVERLONG_TRUNCATE = 0, /**< Tokens go from the prompt's left, then from the
                                     end. */
    RLHF_OVERLONG_DROP = 1
} rlhf_overlong;

/**
 * One row. Output of rlhf_dataset_next and _row (pointers owned by the dataset, valid
 * until its next call), input of rlhf_dataset_append and of a host's source (pointers
 * owned by the host, valid until its next call). Size-versioned.
 */
typedef struct rlhf_example {
    size_t struct_size;
    const int32_t *tokens; /**< prompt + completion, prompt + chosen, or the text. */
    int64_t num_tokens;
    int64_t prompt_length;   /**< Leading tokens that are the prompt; 0 for a text. */
    const int32_t *rejected; /**< prompt + rejected; NULL unless a preference. */
    int64_t num_rejected;
    double margin; /**< Of the preference loss; 0 without. */
    int64_t id;    /**< Row number in its dataset, or the host's. */
} rlhf_example;

typedef struct rlhf_dataset_options {
    size_t struct_size; /**< Set by rlhf_dataset_options_init. */
    int32_t kind;       /**< An rlhf_dataset_kind. */
    int32_t max_length; /**< Most tokens of a row (a prompt and its answer), >= 2. */
    int32_t overlong;   /**< An rlhf_overlong. */
    int32_t add_bos; /**< 0 or 1: one BOS before each row, where the tokenizer has one. */
    int32_t add_eos; /**< 0 or 1: EOS after each text or completion. */
    int32_t shuffle; /**< 0 or 1: a fresh seeded order every epoch. */
    int64_t num_epochs; /**< Passes before RLHF_ERR_NOT_FOUND; 0: for ever. */
    uint64_t seed;      /**< Of the order. */
} rlhf_dataset_options;

/** What became of a file's rows. Output struct. */
typedef struct rlhf_dataset_info {
    size_t struct_size; /**< Set by the caller. */
    int32_t kind;
    int32_t reserved;
    int64_t num_rows;      /**< Rows kept; -1 for a host's source. */
    int64_t num_tokens;    /**< Tokens of the rows kept. */
    int64_t num_read;      /**< Rows in the files. */
    int64_t num_truncated; /**< Rows that lost tokens. */
    int64_t num_overlong_dropped;
    int64_t num_identical_dropped; /**< chosen == rejected */
    int64_t num_empty_dropped;     /**< Empty text, completion or prompt. */
} rlhf_dataset_info;

/**
 * A source written by the host. Calls come on the thread that called the library.
 */
typedef struct rlhf_source_ops {
    size_t struct_size; /**< sizeof(rlhf_source_ops) */
    /** The next row into *out (struct_size set by the library); RLHF_ERR_NOT_FOUND at the
     *  end; any other failure becomes RLHF_ERR_CALLBACK. Required. */
    rlhf_status (*next)(void *user_data, rlhf_example *out);
    /** The position as at most `capacity` bytes. Required for saving a trainer. */
    rlhf_status (*save)(void *user_data, void *out_bytes, size_t capacity,
                        size_t *out_size);
    /** Goes back to a saved position. Required for resuming a trainer. */
    rlhf_status (*restore)(void *user_data, const void *bytes, size_t size);
    /** Called once when the dataset goes. Optional. */
    void (*destroy)(void *user_data);
} rlhf_source_ops;

/** Most bytes of a saved position. */
#define RLHF_SOURCE_POSITION_MAX 4096

/** Defaults: text, 512 tokens, truncate, BOS and EOS where there are, shuffled, for ever.
 *  @since 0.1 */
RLHF_API rlhf_status rlhf_dataset_options_init(rlhf_dataset_options *options,
                                               size_t struct_size);

/**
 * Reads a file: JSONL (".jsonl", ".json") with the fields of TRL: `text`; `prompt` +
 * `completion`; `prompt` + `chosen` + `rejected` (+ `margin`; without `prompt` it is the
 * common prefix); `prompt` alone; or ids where present (`prompt_ids`, `completion_ids`,
 * `chosen_ids`, `rejected_ids`); any other name: plain text, cut into blocks of
 * max_length tokens, the last one short. Prompt and answer are encoded together, with one
 * BOS, and split at the token boundary.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_FORMAT naming file, line and
 *         field; RLHF_ERR_INVALID_ARG; RLHF_ERR_NO_MEMORY.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_dataset_load(rlhf_context *context, rlhf_tokenizer *tokenizer, const char *path,
                  const rlhf_dataset_options *options, rlhf_dataset **out_dataset);
/** An empty dataset for rlhf_dataset_append. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_dataset_create(rlhf_context *context, const rlhf_dataset_options *options,
                    rlhf_dataset **out_dataset);
/** A dataset that draws from the host's source. The table is copied. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_dataset_create_from_source(
    rlhf_context *context, int32_t kind, const rlhf_source_ops *ops, void *user_data,
    rlhf_dataset **out_dataset);
/** NULL ok. @since 0.1 */
RLHF_API void rlhf_dataset_free(rlhf_dataset *dataset);

/** Adds a row of ids, under the same rules as a file's (drops are counted). Before the
 *  first rlhf_dataset_next. @since 0.1 */
RLHF_API rlhf_status rlhf_dataset_append(rlhf_dataset *dataset,
                                         const rlhf_example *example);
/**
 * Moves rows into two datasets by a seeded draw; `dataset` stays as it was.
 * @param held_out  Rows of the second, [0, num_rows].
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_dataset_split(rlhf_dataset *dataset,
                                                        int64_t held_out, uint64_t seed,
                                                        rlhf_dataset **out_train,
                                                        rlhf_dataset **out_held_out);
/** @since 0.1 */
RLHF_API rlhf_status rlhf_dataset_get_info(const rlhf_dataset *dataset,
                                           rlhf_dataset_info *info);
/** Row `index` in the order of the file. RLHF_ERR_UNSUPPORTED for a host's source.
 * @since 0.1 */
RLHF_API rlhf_status rlhf_dataset_row(rlhf_dataset *dataset, int64_t index,
                                      rlhf_example *out_example);
/** The next row of the shuffled stream; RLHF_ERR_NOT_FOUND after the last epoch. @since
 * 0.1 */
RLHF_API rlhf_status rlhf_dataset_next(rlhf_dataset *dataset, rlhf_example *out_example);
/** Back to the first row of the first epoch. @since 0.1 */
RLHF_API rlhf_status rlhf_dataset_rewind(rlhf_dataset *dataset);
/** The stream's position, at most RLHF_SOURCE_POSITION_MAX bytes. @since 0.1 */
RLHF_API rlhf_status rlhf_dataset_save_position(rlhf_dataset *dataset, void *out_bytes,
                                                size_t capacity, size_t *out_size);
/** @since 0.1 */
RLHF_API rlhf_status rlhf_dataset_restore_position(rlhf_dataset *dataset,
                                                   const void *bytes, size_t size);

#ifdef __cplusplus
}
#endif

#endif
