/**
 * @file tokenizer.h
 * Byte-pair tokenizers: train, read and write tokenizer.json, encode, decode.
 * docs/tokenizer.md says which files are read and what is exact.
 *
 * @threads As common.h says; a tokenizer itself never changes, so what only reads it
 *         (encode, decode, ids, sizes) runs on any number of threads at once, beside a
 *         call under way, from callbacks, and in a forked child.
 */
#ifndef RLHF_TOKENIZER_H
#define RLHF_TOKENIZER_H

#include <rlhf/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A vocabulary and the rules by which text becomes ids of it. Immutable. */
typedef struct rlhf_tokenizer rlhf_tokenizer;
/** Ids that become text one by one. */
typedef struct rlhf_text_stream rlhf_text_stream;

/** How a tokenizer is learnt. */
typedef struct rlhf_tokenizer_train_options {
    size_t struct_size;    /**< Set by rlhf_tokenizer_train_options_init. */
    int32_t vocab_size;    /**< Ids at most, [256 + num_special_tokens, 2^22]. */
    int32_t min_frequency; /**< A pair seen less often is not merged, >= 1. */
    const char *const *special_tokens; /**< [num_special_tokens] UTF-8, distinct, 1 to
                                          4096 bytes each; given the first ids. Copied. */
    int32_t num_special_tokens;        /**< [0, 4096] */
    int32_t reserved;                  /**< 0 */
    const char *bos_token;             /**< One of them, or NULL. */
    const char *eos_token;             /**< One of them, or NULL. */
} rlhf_tokenizer_train_options;

/**
 * Fills `options` with defaults: vocab_size 1024, min_frequency 2, "<|endoftext|>" as the
 * one special token, and as bos and eos.
 *
 * @param options      Written whole; the strings it points to are static.
 * @param struct_size  sizeof(rlhf_tokenizer_train_options).
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG.
 * @threads Any.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_tokenizer_train_options_init(
    rlhf_tokenizer_train_options *options, size_t struct_size);

/**
 * Learns a byte-level BPE (Sennrich et al. 2016; GPT-2's pre-tokenizer and byte alphabet)
 * from texts; merges and ids are those of Hugging Face's BpeTrainer.
 *
 * @param context        Its allocator, progress ("tokenizer") and cancellation.
 * @param texts          [num_texts] pointers to UTF-8, or any, bytes; no piece spans two.
 * @param sizes          [num_texts] bytes each.
 * @param num_texts      >= 0
 * @param options        NULL: defaults.
 * @param out_tokenizer  The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an option, named); RLHF_ERR_LIMIT (more words,
 *         symbols or pairs than 32-bit indices hold); RLHF_ERR_CANCELLED.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status
rlhf_tokenizer_train(rlhf_context *context, const char *const *texts, const size_t *sizes,
                     int64_t num_texts, const rlhf_tokenizer_train_options *options,
                     rlhf_tokenizer **out_tokenizer);

/**
 * Reads tokenizer.json, and tokenizer_config.json beside it if there is one.
 *
 * @param context        Its allocator, cancellation and log (a warning for a bos or eos
 *                       that is no token).
 * @param path           A folder, or a file whose name ends in ".json".
 * @param out_tokenizer  The caller's.
 * @return RLHF_OK; RLHF_ERR_NOT_FOUND, RLHF_ERR_IO; RLHF_ERR_FORMAT; RLHF_ERR_LIMIT
 *         (256 MiB, 2^22 ids, a token of more than 1 MiB, a normalizer or decoder that
 *         makes a token many times as long); RLHF_ERR_UNSUPPORTED (a component this
 *         library lacks). Each names file and field. RLHF_ERR_INVALID_ARG (an empty
 *         path); RLHF_ERR_CANCELLED.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_tokenizer_load(rlhf_context *context,
                                                         const char *path,
                                                         rlhf_tokenizer **out_tokenizer);

/**
 * Writes tokenizer.json and tokenizer_config.json into a folder, whole or not at all; the
 * folder's other files are kept. Files that were loaded are written back byte for byte.
 *
 * @param tokenizer  Unchanged.
 * @param path       As in rlhf_model_save.
 * @return RLHF_OK; RLHF_ERR_IO, RLHF_ERR_NOT_FOUND, RLHF_ERR_INVALID_ARG (an empty
 *         path, the current directory). On failure the folder is as it was.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_tokenizer_save(rlhf_tokenizer *tokenizer,
                                                         const char *path);

/**
 * Gives the caller's hold back; datasets, generators and streams that use it keep it
 * alive.
 *
 * @param tokenizer  NULL is a no-op.
 * @threads Any.
 * @since 0.1
 */
RLHF_API void rlhf_tokenizer_free(rlhf_tokenizer *tokenizer);

/**
 * Ids of the tokenizer are below this.
 *
 * @param tokenizer  NULL gives 0.
 * @return The greatest id + 1.
 * @since 0.1
 */
RLHF_API int32_t rlhf_tokenizer_vocab_size(const rlhf_tokenizer *tokenizer);

/**
 * The token that begins a text.
 *
 * @param tokenizer  NULL gives -1.
 * @return Its id, -1 if there is none.
 * @since 0.1
 */
RLHF_API int32_t rlhf_tokenizer_bos_id(const rlhf_tokenizer *tokenizer);

/**
 * The token that ends a text.
 *
 * @param tokenizer  NULL gives -1.
 * @return Its id, -1 if there is none.
 * @since 0.1
 */
RLHF_API int32_t rlhf_tokenizer_eos_id(const rlhf_tokenizer *tokenizer);

/**
 * A token by its text as in tokenizer.json ("Ġthe"), added tokens included.
 *
 * @param tokenizer  NULL gives -1.
 * @param token      Zero-terminated; NULL gives -1.
 * @return Its id, -1 if there is none.
 * @since 0.1
 */
RLHF_API int32_t rlhf_tokenizer_token_id(const rlhf_tokenizer *tokenizer,
                                         const char *token);

/**
 * Text to ids. No BOS or EOS is added, whatever the file's post-processor says. Datasets
 * put one BOS before each row (rlhf_dataset_options.add_bos): do the same for a prompt of
 * a model that was trained on them.
 *
 * @param tokenizer      Unchanged.
 * @param text           `size` bytes, any bytes; NULL with size 0.
 * @param size           Bytes.
 * @param parse_special  Not 0: special tokens written out in the text become their ids.
 * @param out_ids        [capacity], or NULL with capacity 0 to ask for the count alone.
 * @param capacity       >= 0. A byte-level tokenizer never needs more than size + 1.
 * @param out_count      Ids of the whole text, written also with RLHF_ERR_LIMIT.
 * @return RLHF_OK; RLHF_ERR_LIMIT (out_ids is not NULL and capacity too small, 0 too,
 *         and no id is written; or a pattern of the file that needs too many steps on
 *         this text, or a normalizer that makes it many times as long, and nothing is
 *         written); RLHF_ERR_INVALID_ARG.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_tokenizer_encode(const rlhf_tokenizer *tokenizer,
                                           const char *text, size_t size,
                                           int32_t parse_special, int32_t *out_ids,
                                           int64_t capacity, int64_t *out_count);

/**
 * Ids to text, which need not be UTF-8: ids can end within a character.
 *
 * @param tokenizer     Unchanged.
 * @param ids           [num_ids]; NULL with 0.
 * @param num_ids       >= 0
 * @param skip_special  Not 0: special tokens give no text.
 * @param out_text      [capacity] bytes, zero-terminated where there is room for the
 *                      zero; NULL with capacity 0 to ask for the size alone.
 * @param capacity      Bytes.
 * @param out_size      Bytes of the whole text without the zero, also with
 *                      RLHF_ERR_LIMIT.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an id that no token has); RLHF_ERR_LIMIT
 *         (out_text is not NULL and capacity too small, 0 too; no text is written).
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_tokenizer_decode(const rlhf_tokenizer *tokenizer,
                                           const int32_t *ids, int64_t num_ids,
                                           int32_t skip_special, char *out_text,
                                           size_t capacity, size_t *out_size);

/**
 * Begins to decode a stream of ids. Its pieces end to end are what decoding all ids at
 * once gives, and none ends within a UTF-8 character.
 *
 * @param tokenizer     Kept alive by the stream.
 * @param skip_special  Not 0: special tokens give no text.
 * @param out_stream    The caller's.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG, RLHF_ERR_NO_MEMORY.
 * @since 0.1
 */
RLHF_API RLHF_MUST_CHECK rlhf_status rlhf_text_stream_create(
    rlhf_tokenizer *tokenizer, int32_t skip_special, rlhf_text_stream **out_stream);

/**
 * Adds one id.
 *
 * @param stream    The stream.
 * @param id        A token's; -1 ends the text: what is held back comes out as it is, and
 *                  the stream starts afresh.
 * @param out_text  Stream-owned, zero-terminated, valid until the next call; "" if
 *                  there is nothing to give yet.
 * @param out_size  Its bytes, without the zero.
 * @return RLHF_OK; RLHF_ERR_INVALID_ARG (an id that no token has). On failure the
 *         stream is as before, the text given last is gone.
 * @threads One at a time for each stream.
 * @since 0.1
 */
RLHF_API rlhf_status rlhf_text_stream_push(rlhf_text_stream *stream, int32_t id,
                                           const char **out_text, size_t *out_size);

/**
 * Frees a stream.
 *
 * @param stream  NULL is a no-op.
 * @since 0.1
 */
RLHF_API void rlhf_text_stream_free(rlhf_text_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
