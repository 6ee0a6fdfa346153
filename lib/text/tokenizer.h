/* Byte-pair tokenizers as Hugging Face's tokenizer.json describes them: byte-level
 * (GPT-2, Llama 3) and SentencePiece-style (Llama 2: "▁" and byte fallback).
 * docs/tokenizer.md says what is read, what is refused, and where bytes differ from
 * Hugging Face's strings. */
#ifndef RLHF_TEXT_TOKENIZER_H
#define RLHF_TEXT_TOKENIZER_H

#include <stdbool.h>

#include "base/alloc.h"
#include "base/file.h"

#define RLHF__TOKENIZER_MAX_VOCAB ((int64_t)4 << 20)
#define RLHF__TOKENIZER_MAX_FILE  ((int64_t)256 << 20)

/* Immutable once made, so any number of threads may use one at once. Reference-counted.
 */
typedef struct rlhf__tokenizer rlhf__tokenizer;

/* Ids that grow; starts as {.context = …}. */
typedef struct rlhf__ids {
    rlhf_context *context;
    int32_t *data;
    int64_t size;
    int64_t capacity;
} rlhf__ids;
rlhf_status rlhf__ids_append(rlhf__ids *ids, int32_t id);
void rlhf__ids_free(rlhf__ids *ids);

enum {
    RLHF__ENCODE_PARSE_SPECIAL =
        1,                     /* special tokens written out in the text become ids */
    RLHF__ENCODE_TEMPLATE = 2, /* add what the file's TemplateProcessing adds (a BOS) */
};
enum {
    RLHF__DECODE_SKIP_SPECIAL = 1, /* special tokens give no text */
    RLHF__DECODE_CONTINUES = 2, /* ids go on a text: keep the blank that a SentencePiece
                                   decoder strips from a text's start */
    RLHF__DECODE_SKIP_UNKNOWN = 4, /* ids of no token give no text: a model's vocabulary
                                      may be larger than its tokenizer's */
};

/* `path`: tokenizer.json, or the folder that holds it. */
rlhf_status rlhf__tokenizer_load(rlhf_context *context, const char *path,
                                 rlhf__tokenizer **out);
/* Writes tokenizer.json and tokenizer_config.json, those that were loaded byte for byte.
 */
rlhf_status rlhf__tokenizer_save(const rlhf__tokenizer *tokenizer, rlhf__folder *folder);
rlhf__tokenizer *rlhf__tokenizer_ref(rlhf__tokenizer *tokenizer);
void rlhf__tokenizer_unref(rlhf__tokenizer *tokenizer); /* NULL ok */

int32_t
rlhf__tokenizer_vocab_size(const rlhf__tokenizer *tokenizer);     /* greatest id + 1 */
int32_t rlhf__tokenizer_bos_id(const rlhf__tokenizer *tokenizer); /* -1: none */
int32_t rlhf__tokenizer_eos_id(const rlhf__tokenizer *tokenizer);
int32_t rlhf__tokenizer_unk_id(const rlhf__tokenizer *tokenizer);
/* Id by the text in tokenizer.json ("Ġthe"), added tokens included; -1: none. */
int32_t rlhf__tokenizer_find(const rlhf__tokenizer *tokenizer, const char *text,
                             size_t size);
bool rlhf__tokenizer_is_special(const rlhf__tokenizer *tokenizer, int32_t id);

/* Appends the ids of `size` bytes of any kind. On failure `ids` is as before. */
rlhf_status rlhf__tokenizer_encode(const rlhf__tokenizer *tokenizer, const char *text,
                                   size_t size, int32_t flags, rlhf__ids *ids);
/* How many of the leading ids lie within the first `size` bytes of the text that they
 * decode to: where to split a jointly encoded prompt and completion. An id that straddles
 * is out. */
int64_t rlhf__tokenizer_count_within(const rlhf__tokenizer *tokenizer, const int32_t *ids,
                                     int64_t num_ids, size_t size, int32_t flags);
/* Appends the bytes of the ids; INVALID_ARG for an id of no token (below 0 where those
 * are skipped), with `out` as before. Bytes that are not UTF-8 come out as they are. */
rlhf_status rlhf__tokenizer_decode(const rlhf__tokenizer *tokenizer, const int32_t *ids,
                                   int64_t num_ids, int32_t flags, rlhf__buffer *out);

/* Decoding id by id. What a stream gives, one after the other, is what decode gives; no
 * piece ends within a UTF-8 character. Keeps the tokenizer alive. */
typedef struct rlhf__text_stream rlhf__text_stream;
rlhf_status rlhf__text_stream_create(rlhf_context *context, rlhf__tokenizer *tokenizer,
                                     int32_t decode_flags, rlhf__text_stream **out);
/* id -1 ends the text: what is held back comes out as it is and the stream starts afresh.
 * *out_text is the stream's, zero-terminated, valid until the next call. */
rlhf_status rlhf__text_stream_push(rlhf__text_stream *stream, int32_t id,
                                   const char **out_text, size_t *out_size);
/* After it the stream takes `id`, and its end after that, without failing. */
rlhf_status rlhf__text_stream_reserve(rlhf__text_stream *stream, int32_t id);
void rlhf__text_stream_free(rlhf__text_stream *stream); /* NULL ok */

/* Learning a byte-level BPE: begin, add texts, finish. Merges and ids are those of
 * Hugging Face's BpeTrainer behind its ByteLevel pre-tokenizer with the whole byte
 * alphabet. */
typedef struct rlhf__tokenizer_trainer rlhf__tokenizer_trainer;
typedef struct rlhf__tokenizer_train_settings {
    int64_t vocab_size;                /* at least 256 + num_special_tokens */
    int64_t min_frequency;             /* of a pair to be merged, >= 1 */
    const char *const *special_tokens; /* [num_special_tokens], distinct; the first ids */
    int64_t num_special_tokens;
    const char *bos_token; /* one of them, or NULL */
    const char *eos_token;
} rlhf__tokenizer_train_settings;
/* Copies what it needs of `settings`. */
rlhf_status rlhf__tokenizer_trainer_create(rlhf_context *context,
                                           const rlhf__tokenizer_train_settings *settings,
                                           rlhf__tokenizer_trainer **out);
/* Counts the pieces of one text; a piece never spans two texts. Polls for cancellation.
 */
rlhf_status rlhf__tokenizer_trainer_add(rlhf__tokenizer_trainer *trainer,
                                        const char *text, size_t size);
/* Learns the merges. Reports progress and polls; the trainer may only be freed
 * afterwards. */
rlhf_status rlhf__tokenizer_trainer_finish(rlhf__tokenizer_trainer *trainer,
                                           rlhf__tokenizer **out);
void rlhf__tokenizer_trainer_free(rlhf__tokenizer_trainer *trainer); /* NULL ok */

#endif
