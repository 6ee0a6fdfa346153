/**
 * @file dataset.h
 * Training data: files, rows in memory, or a source that the host writes. docs/data.md
 * has the files' forms, how a row is encoded, and what becomes of rows that are too long.
 *
 * A dataset is a stream of rows (rlhf_dataset_next, a position to save and restore); one
 * in memory can also be read by row number, without moving the stream.
 *
 * @threads As common.h says.
 */
#ifndef RLHF_DATASET_H
#define RLHF_DATASET_H

#include <rlhf/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Rows, and a place in the order in which they are drawn. */
typedef struct rlhf_dataset rlhf_dataset;

/** What a row is. */
typedef enum rlhf_dataset_kind {
    RLHF_DATASET_TEXT = 0, /**< Every token but the first is a target: pretraining. */
    RLHF_DATASET_COMPLETION = 1, /**< prompt + completion, the prompt masked: SFT. */
    RLHF_DATASET_PREFERENCE = 2, /**< prompt + chosen, prompt + rejected. */
    RLHF_DATASET_PROMPT = 3      /**< A prompt alone: PPO, generation. */
} rlhf_dataset_kind;

/** What happens to a row of more than max_length tokens. Texts are cut into blocks
 * instead. */
typedef enum rlhf_overlong {
    RLHF_OVERLONG_TRUNCATE =
        0,                 /**< Tokens go from the prompt's left, then from the end. */
    RLHF_OVERLONG_DROP = 1 /**< The row goes. */
} rlhf_overlong;

/**
 * One row. Output of rlhf_dataset_next and _row (pointers owned by the dataset, valid
 * until its next call), input of rlhf_dataset_append and of a host's source (pointers
 * owned by the host, valid until its next call). struct_size is set by whoever hands the
 * struct in.
 */
typedef struct rlhf_example {
    size_t struct_size;      /**< sizeof(rlhf_example) */
    const int32_t *tokens;   /**< [num_tokens] prompt + completion, prompt + chosen, the
                                  prompt, or the text. */
    int64_t num_tokens;      /**< [0, 2^31) */
    int64_t prompt_length;   /**< Leading tokens that are the prompt; 0 for a text. */
    const int32_t *rejected; /**< [num_rejected] the same prompt + rejected; NULL unless a
                                  preference. */
    int64_t num_rejected;    /**< 0 unless a preference. */
    double margin;           /**< Of the preference loss, finite; 0 without. */
    int64_t id;              /**< Row number in its dataset, or the host's. */
} rlhf_example;

/** What a file's rows are and how they are drawn. */
typedef struct rlhf_dataset_options {
    size_t struct_size; /**< Set by rlhf_dataset_options_init. */
    int32_t kind;       /**< An rlhf_dataset_kind. */
    int32_t max_length; /**< Most tokens of a row (a prompt and its answer), >= 2. A
                             trainer refuses rows that its model's context_length has no
                             room for: take it from rlhf_model_get_config. */
    int32_t overlong;   /**< An rlhf_overlong. */
    int32_t add_bos; /**< 0 or 1: one BOS before each row, where the tokenizer has one. */
    int32_t add_eos; /**< 0 or 1: EOS after each text or answer, where it has one. */
    int32_t shuffle; /**< 0 or 1: a fresh seeded order every epoch. */
    int64_t num_epochs; /**< Passes before RLHF_ERR_NOT_FOUND, [0, 2^53]; 0: for ever. */
    uint64_t seed;      /**< Of the order. */
} rlhf_dataset_options;

/** What became of a dataset's rows. Output struct. */
typedef struct rlhf_dataset_info {
    size_t struct_size;    /**< Set by the caller. */
    int32_t kind;          /**< An rlhf_dataset_kind. */
    int32_t reserved;      /**< 0 */
    int64_t num_rows;      /**< Rows kept (blocks, of texts); -1: a host's source. */
    int64_t num_tokens;    /**< Tokens of the rows kept; both sides of pairs. */
    int64_t num_read;      /**< Rows in the file, or appended; a text file is one. */
    int64_t num_truncated; /**< Rows kept that lost tokens. */
    int64_t num_overlong_dropped;  /**< Rows dropped for their length. */
    int64_t num_identical_dropped; /**< chosen == rejected, also after truncation. */
    int64_t num_empty_dropped; /**< Empty text, answer or prompt; a text of one token. */
} rlhf_dataset_info;

/**
 * A source written by the host. Calls come on the thread that called the library;
 * context.h lists what they may call.
 */
typedef struct rlhf_source_ops {
    size_t struct_size; /**< sizeof(rlhf_source_ops) */
    /** The next row into *out (struct_size set by the library); RLHF_ERR_NOT_FOUND at the
     *  end; any other failure becomes RLHF_ERR_CALLBACK, and so does a row that is empty,
     *  misshapen or has a negative id. Required. */
    rlhf_status (*next)(void *user_data, rlhf_example *out);
    /** The position as at most `capacity` bytes. With it a trainer can be saved; needs
     *  `restore`. */
    rlhf_status (*save)(void *user_data, void *out_bytes, size_t capacity,
                        size_t *out_size);
    /** Goes back to a saved position. With it a trainer can be resumed; needs `save`. */
    rlhf_status (*restore)(void *user_data, const void *bytes, size_t size);
    /** Called once, when the dataset goes. Optional. */
    void (*destroy)(void *user_data);
} rlhf_source_ops;

/** Most bytes of a saved position. */
#define RLHF_SOURCE_POSITION_MAX 4096

/**
 * Fills `options` with defaults: texts, 512 tokens, truncate, BOS and EOS where there
 * are, shuffled with seed 0, for ever.
 *
 * @param options      Written whole.
 * @param struct_size  sizeof(rlhf_dataset_options).
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_dataset_options_init(rlhf_dataset_options *options,
                                               size_t struct_size);

/**
 * Reads a file. ".jsonl" and ".json": one JSON object a line, with TRL's fields: `text`;
 * `prompt` + `completion`; `prompt` + `chosen` + `rejected` (+ `margin`; without `prompt`
 * it is the common beginning); `prompt` alone; ids where present (`prompt_ids`,
 * `completion_ids`, `chosen_ids`, `rejected_ids`) before texts. Any other name: plain
 * text, cut into blocks of max_length tokens, the last one short. Prompt and answer are
 * encoded together, with one BOS, and split at the token boundary. Counts are logged.
 *
 * @param context      Its allocator, log and progress ("dataset").
 * @param tokenizer    Kept alive by the dataset.
 * @param path         The file; at most 4 GiB, a line at most 16 MiB.
 * @param options      NULL: defaults.
 * @param out_dataset  The caller's.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_FORMAT naming file, line and
 *         field; RLHF_ERR_UNSUPPORTED (a conversation); RLHF_ERR_LIMIT;
 *         RLHF_ERR_INVALID_ARG (an empty path; an option; plain text of another kind than
 *         text); RLHF_ERR_CANCELLED.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_dataset_load(rlhf_context *context, rlhf_tokenizer *tokenizer, const char *path,
                  const rlhf_dataset_options *options, rlhf_dataset **out_dataset);

/**
 * An empty dataset for rlhf_dataset_append.
 *
 * @param context      Its allocator.
 * @param options      NULL: defaults. add_bos and add_eos mean nothing here: ids stay as
 *                     they are.
 * @param out_dataset  The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_dataset_create(rlhf_context *context, const rlhf_dataset_options *options,
                    rlhf_dataset **out_dataset);

/**
 * A dataset that draws from the host's source.
 *
 * @param context      Its allocator.
 * @param kind         An rlhf_dataset_kind.
 * @param ops          Copied.
 * @param user_data    First argument of its slots; must live until `destroy`.
 * @param out_dataset  The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (`next` missing, `save` without `restore`, kind),
 *         and `destroy` is not called then.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_dataset_create_from_source(
    rlhf_context *context, int32_t kind, const rlhf_source_ops *ops, void *user_data,
    rlhf_dataset **out_dataset);

/**
 * Gives the caller's hold back; trainers that draw from the dataset keep it alive.
 *
 * @param dataset  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_dataset_free(rlhf_dataset *dataset);

/**
 * Adds a row of ids, under the same rules as a file's: a row that is empty, identical or
 * too long is counted and dropped (RLHF_OK), or truncated; a text is cut into blocks.
 *
 * @param dataset  In memory, and no row drawn from it yet.
 * @param example  Copied. A prompt's prompt_length may be 0 or num_tokens.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (a length, an id, a prompt that differs between
 *         the sides, a margin; named); RLHF_ERR_STATE (rows were drawn);
 *         RLHF_ERR_UNSUPPORTED (a host's source).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_dataset_append(rlhf_dataset *dataset,
                                         const rlhf_example *example);

/**
 * Copies the rows into two new datasets by a seeded draw; each keeps the order of the
 * rows and starts at its own beginning. `dataset` stays as it was.
 *
 * @param dataset       In memory.
 * @param held_out      Rows of the second, [0, num_rows].
 * @param seed          Same seed, same draw.
 * @param out_train     The caller's.
 * @param out_held_out  The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG; RLHF_ERR_UNSUPPORTED (a host's source).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_dataset_split(rlhf_dataset *dataset,
                                                        int64_t held_out, uint64_t seed,
                                                        rlhf_dataset **out_train,
                                                        rlhf_dataset **out_held_out);

/**
 * Counts of the rows kept and dropped.
 *
 * @param dataset  The dataset.
 * @param info     In: struct_size set. Out: filled.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_dataset_get_info(const rlhf_dataset *dataset,
                                           rlhf_dataset_info *info);

/**
 * A row by its number, in the order of the file. The stream stays where it is.
 *
 * @param dataset      In memory.
 * @param index        [0, num_rows).
 * @param out_example  In: struct_size set. Out: filled; pointers are the dataset's
 *                     until its next call.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG; RLHF_ERR_UNSUPPORTED (a host's source).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_dataset_row(rlhf_dataset *dataset, int64_t index,
                                      rlhf_example *out_example);

/**
 * The next row of the stream: in the file's order, or in a fresh seeded one each epoch.
 *
 * @param dataset      The dataset.
 * @param out_example  In: struct_size set. Out: filled; pointers are the dataset's, or
 *                     the host's source's, until its next call.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND (after the last epoch, or of a dataset without
 *         rows); RLHF_ERR_CALLBACK (the source failed, or its row is refused). On
 *         failure the stream of a dataset in memory is where it was.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_dataset_next(rlhf_dataset *dataset, rlhf_example *out_example);

/**
 * Back to the first row of the first epoch.
 *
 * @param dataset  In memory.
 * @return RLHF_OK; RLHF_ERR_UNSUPPORTED (a host's source).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_dataset_rewind(rlhf_dataset *dataset);

/**
 * The stream's position, for rlhf_dataset_restore_position of a dataset of the same rows,
 * seed and shuffling, also in another process.
 *
 * @param dataset    The dataset.
 * @param out_bytes  [capacity] bytes.
 * @param capacity   RLHF_SOURCE_POSITION_MAX always suffices.
 * @param out_size   Bytes written.
 * @return RLHF_OK; RLHF_ERR_LIMIT (capacity); RLHF_ERR_UNSUPPORTED (a source without
 *         `save`); RLHF_ERR_CALLBACK.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_dataset_save_position(rlhf_dataset *dataset, void *out_bytes,
                                                size_t capacity, size_t *out_size);

/**
 * Goes to a saved position.
 *
 * @param dataset  The dataset.
 * @param bytes    [size], as they were saved.
 * @param size     Bytes.
 * @return RLHF_OK; RLHF_ERR_FORMAT (not a position); RLHF_ERR_INVALID_ARG (of other
 *         rows, or of another order); RLHF_ERR_UNSUPPORTED (a source without
 *         `restore`); RLHF_ERR_CALLBACK.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_dataset_restore_position(rlhf_dataset *dataset,
                                                   const void *bytes, size_t size);

#ifdef __cplusplus
}
#endif

#endif
