/**
 * @file tokenizer.h
 * Byte-level BPE tokenizers: train, read and write tokenizer.json, encode, decode.
 */
#ifndef RLHF_TOKENIZER_H
#define RLHF_TOKENIZER_H

#include <rlhf/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rlhf_tokenizer rlhf_tokenizer;
typedef struct rlhf_text_stream rlhf_text_stream;

typedef struct rlhf_tokenizer_train_options {
    size_t struct_size;    /**< Set by rlhf_tokenizer_train_options_init. */
    int32_t vocab_size;    /**< Ids in all, special tokens and 256 bytes among them. */
    int32_t min_frequency; /**< A pair seen less often is not merged, >= 1. */
    const char *const *special_tokens; /**< [num_special_tokens], given the first ids. */
    int32_t num_special_tokens;
    int32_t reserved;
    const char *bos_token; /**< One of them, or NULL. */
    const char *eos_token; /**< One of them, or NULL. */
} rlhf_tokenizer_train_options;

/** Defaults: vocab_size 1024, min_frequency 2, "<|endoftext|>" as bos and eos. @since
 * 0.1 */
RLHF_API rlhf_status rlhf_tokenizer_train_options_init(
    rlhf_tokenizer_train_options *options, size_t struct_size);

/**
 * Learns a byte-level BPE (Sennrich et al. 2016; GPT-2's pre-tokenizer) from texts;
 * merges and ids are those of Hugging Face's BpeTrainer.
 * @param texts   [num_texts] pointers to UTF-8 (or any) bytes.
 * @param sizes   [num_texts] bytes each.
 * @param options NULL: defaults.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG; RLHF_ERR_NO_MEMORY; RLHF_ERR_CANCELLED.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_tokenizer_train(rlhf_context *context, const char *const *texts, const size_t *sizes,
                     int64_t num_texts, const rlhf_tokenizer_train_options *options,
                     rlhf_tokenizer **out_tokenizer);

/**
 * Reads tokenizer.json (and tokenizer_config.json beside it, if there).
 * @param path  The file, or a folder that holds it.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO, RLHF_ERR_FORMAT, RLHF_ERR_LIMIT;
 *         RLHF_ERR_UNSUPPORTED (a component this library lacks, named).
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_tokenizer_load(rlhf_context *context,
                                                         const char *path,
                                                         rlhf_tokenizer **out_tokenizer);

/** Writes tokenizer.json and tokenizer_config.json into a folder, whole or not at all;
 *  the folder's other files are kept. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_tokenizer_save(rlhf_tokenizer *tokenizer,
                                                         const char *path);
/** NULL ok. @since 0.1 */
RLHF_API void rlhf_tokenizer_free(rlhf_tokenizer *tokenizer);

/** Number of ids; 0 for NULL. @since 0.1 */
RLHF_API int32_t rlhf_tokenizer_vocab_size(const rlhf_tokenizer *tokenizer);
/** -1 if there is none. @since 0.1 */
RLHF_API int32_t rlhf_tokenizer_bos_id(const rlhf_tokenizer *tokenizer);
/** -1 if there is none. @since 0.1 */
RLHF_API int32_t rlhf_tokenizer_eos_id(const rlhf_tokenizer *tokenizer);
/** Id of a token by its text as in tokenizer.json; -1 if there is none. @since 0.1 */
RLHF_API int32_t rlhf_tokenizer_token_id(const rlhf_tokenizer *tokenizer,
                                         const char *token);

/**
 * Text to ids. Special tokens written out in the text become their ids only with
 * `parse_special`. No BOS or EOS is added.
 * @param text      `size` bytes, any bytes.
 * @param out_ids   [capacity], or NULL with capacity 0 to ask for the count. A text of n
 *                  bytes never needs more than n + 1 ids.
 * @param out_count Number of ids of the whole text, also when they do not fit.
 * @return RLHF_OK; RLHF_ERR_LIMIT (more ids than `capacity`: nothing written but the
 *         count, where capacity is not 0); RLHF_ERR_INVALID_ARG; RLHF_ERR_NO_MEMORY.
 * @threads Any number of threads at once.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_tokenizer_encode(const rlhf_tokenizer *tokenizer,
                                           const char *text, size_t size,
                                           int32_t parse_special, int32_t *out_ids,
                                           int64_t capacity, int64_t *out_count);

/**
 * Ids to text.
 * @param skip_special  1: special tokens give no text.
 * @param out_text      [capacity] bytes, zero-terminated if it fits; NULL with 0 to ask.
 * @param out_size      Bytes of the whole text, without the zero.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an id outside the vocabulary); RLHF_ERR_LIMIT as
 *     above.
 * @threads Any number of threads at once.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_tokenizer_decode(const rlhf_tokenizer *tokenizer,
                                           const int32_t *ids, int64_t num_ids,
                                           int32_t skip_special, char *out_text,
                                           size_t capacity, size_t *out_size);

/** Decodes a stream of ids, never giving half a character. @since 0.1 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_text_stream_create(
    rlhf_tokenizer *tokenizer, int32_t skip_special, rlhf_text_stream **out_stream);
/**
 * Adds one id. id -1 ends the stream: what is held back comes out as it is.
 * @param out_text  Stream-owned, zero-terminated, valid until the next call; "" if
 *     nothing yet.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_text_stream_push(rlhf_text_stream *stream, int32_t id,
                                           const char **out_text, size_t *out_size);
/** NULL ok. @since 0.1 */
RLHF_API void rlhf_text_stream_free(rlhf_text_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
