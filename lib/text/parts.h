/* What a tokenizer consists of; shared by the files of this layer only. */
#ifndef RLHF_TEXT_PARTS_H
#define RLHF_TEXT_PARTS_H

#include <stdatomic.h>

#include "base/context.h"
#include "base/json.h"
#include "text/regex.h"
#include "text/strmap.h"
#include "text/tokenizer.h"

#define RLHF__TOKENIZER_MAX_STAGES 16
#define RLHF__TOKENIZER_MAX_AFFIX  64   /* ids that a template may put before or after */
#define RLHF__TOKENIZER_MAX_ADDED  4096 /* bytes of one added token */

typedef struct rlhf__token {
    int64_t name;     /* entry in names; -1: no token has this id */
    int64_t bytes_at; /* in `bytes`: what it decodes to */
    int32_t num_bytes;
    bool special;
} rlhf__token;

/* Pairs of ids to what they merge into; open addressing, key left << 32 | right. */
typedef struct rlhf__merge {
    uint64_t key;
    int32_t rank; /* lower merges first */
    int32_t id;   /* of the merged token */
} rlhf__merge;
#define RLHF__MERGE_FREE UINT64_MAX

/* A token that is cut out of the text before the model sees it. */
typedef struct rlhf__added {
    int64_t name;    /* entry in the set's own map: the text to look for */
    int64_t shorter; /* the longest other token that this one's text begins with, or -1 */
    int32_t id;
    bool special;
    bool lstrip, rstrip; /* takes the white space beside it along */
} rlhf__added;

/* Added tokens sorted by their text. */
typedef struct rlhf__added_set {
    rlhf__strmap texts;
    rlhf__added *tokens;
    int64_t num_tokens, capacity;
    bool first_byte[256]; /* does any begin so? */
} rlhf__added_set;

typedef enum rlhf__stage_kind {
    RLHF__STAGE_SPLIT,        /* at the matches of a pattern */
    RLHF__STAGE_PREFIX_SPACE, /* " " before a piece that has none */
    RLHF__STAGE_METASPACE     /* " " to "▁", one before the piece, cut before each */
} rlhf__stage_kind;

typedef struct rlhf__stage {
    rlhf__stage_kind kind;
    rlhf__regex *regex; /* SPLIT */
    bool drop_matches;  /* SPLIT with behavior Removed */
    bool drop_others;   /* … and invert */
    bool prefix_first;  /* METASPACE: only at the very beginning of the text */
    bool prefix_always; /* METASPACE: before every piece */
    bool cut;           /* METASPACE: "split" */
    char *replacement;  /* METASPACE */
    int32_t replacement_size;
} rlhf__stage;

/* One step of the normalizer: `from` NULL means: put `to` before a text that is not
 * empty. */
typedef struct rlhf__rewrite {
    const char *from, *to;
    int64_t from_size, to_size;
} rlhf__rewrite;

struct rlhf__tokenizer {
    atomic_int references;
    rlhf_context *context; /* a reference of its own */

    int32_t vocab_size;
    rlhf__token *tokens; /* [vocab_size] */
    rlhf__strmap names;  /* text in tokenizer.json -> id */
    char *bytes;         /* of all tokens, decoded */
    int64_t model_size;  /* the first model_size entries of `names` are the model's */

    rlhf__merge *merges; /* [num_merge_slots], a power of two */
    int64_t num_merge_slots;
    uint64_t merge_seed;  /* of the hash */
    int32_t byte_id[256]; /* byte-level: of each byte; else of each ASCII one; or -1 */
    int32_t fallback_id[256]; /* of "<0x00>"…, or -1 */
    rlhf__strmap whole;       /* pieces known to be one token -> id */
    int32_t model_unk_id;     /* stands for unknown characters; -1: they are dropped */
    bool byte_level, byte_fallback, fuse_unk, ignore_merges;

    rlhf__added_set
        added[2]; /* cut from the text as it is, and from the normalized one */
    rlhf__rewrite rewrites[RLHF__TOKENIZER_MAX_STAGES];
    int32_t num_rewrites;
    rlhf__stage stages[RLHF__TOKENIZER_MAX_STAGES];
    int32_t num_stages;
    int32_t prefix_ids[RLHF__TOKENIZER_MAX_AFFIX], suffix_ids[RLHF__TOKENIZER_MAX_AFFIX];
    int32_t num_prefix, num_suffix;

    /* Decoding: the tokens' bytes end to end, with a blank between them or less at the
     * start. */
    bool join_blank;
    bool first_loses_blanks; /* Metaspace: the first token's blanks go, wherever they
                                are */
    char strip[4];           /* character taken from the text's start … */
    int32_t strip_size, strip_count; /* … at most this often */

    int32_t bos_id, eos_id, unk_id;
    char *json, *config; /* the files as they are saved; config NULL: none was there */
    int64_t json_size, config_size;
};

/* Whole tokenizer from a parsed tokenizer.json (borrowed) and its text; `file` for
 * messages. config_text NULL: no tokenizer_config.json. The texts are copied. */
rlhf_status rlhf__tokenizer_build(rlhf_context *context, const rlhf__json *root,
                                  const char *text, int64_t size, const char *file,
                                  const char *config_text, int64_t config_size,
                                  const char *config_file, rlhf__tokenizer **out);

/* write.c: of a trained vocabulary; `names` in the order of ids, the special tokens
 * first; merges: left, right, merged, and so on; those with merged -1 do not count. */
rlhf_status rlhf__tokenizer_from_merges(rlhf_context *context, const rlhf__strmap *names,
                                        const rlhf__ids *merges, int64_t num_special,
                                        const char *bos, const char *eos,
                                        rlhf__tokenizer **out);

/* For loops over what a file holds: looks for a cancellation at every 4096th turn, some
 * milliseconds apart; small files are read without. */
static inline rlhf_status rlhf__poll(const rlhf__tokenizer *t, int64_t turn)
{
    return turn % 4096 == 4095 ? rlhf__check_cancel(t->context) : RLHF_OK;
}

/* load_*.c: each reads its part of the document. The pipeline comes first (the model is
 * read differently if byte-level), then model, added tokens, post-processor and decoder.
 */
rlhf_status rlhf__tokenizer_load_model(rlhf__tokenizer *t, const rlhf__json *root,
                                       const char *file);
rlhf_status rlhf__tokenizer_load_added(rlhf__tokenizer *t, const rlhf__json *root,
                                       const char *file);
rlhf_status rlhf__tokenizer_load_pipeline(rlhf__tokenizer *t, const rlhf__json *root,
                                          const char *file);
rlhf_status rlhf__tokenizer_load_post(rlhf__tokenizer *t, const rlhf__json *root,
                                      const char *file);
rlhf_status rlhf__tokenizer_load_decoder(rlhf__tokenizer *t, const rlhf__json *root,
                                         const char *file);
rlhf_status rlhf__tokenizer_load_special(rlhf__tokenizer *t, const char *config_text,
                                         int64_t config_size, const char *config_file);
/* UNSUPPORTED for a member of `object` that is not in `known` (ends with NULL) and
 * neither null nor false; `where` names the object. */
rlhf_status rlhf__json_only(const rlhf__json *object, const char *const *known,
                            const char *file, const char *where);

/* GPT-2's alphabet: every byte has a printable character. */
uint32_t rlhf__byte_to_char(unsigned char byte);
int rlhf__char_to_byte(uint32_t code_point); /* -1: not of the alphabet */
/* GPT-2's pattern, \s spelt out as Unicode's White_Space (PCRE2's has U+180E too). */
extern const char rlhf__gpt2_pattern[];

/* The steps of a normalizer or a decoder: `name`, and `file` or NULL, for messages. */
typedef struct rlhf__rewrites {
    const rlhf__rewrite *rules; /* [num_rules] */
    int32_t num_rules;
    const char *name, *file;
} rlhf__rewrites;
/* encode.c: `out` becomes the text as the steps leave it: each `from` replaced, or `to`
 * put before it. LIMIT if a step makes it many times as long as the text given. */
rlhf_status rlhf__rewrite_all(const rlhf__rewrites *steps, const char *text, int64_t size,
                              rlhf__buffer *out, rlhf__buffer *scratch);
/* `out` becomes the text as the normalizer leaves it; LIMIT as above. */
rlhf_status rlhf__normalize(const rlhf__tokenizer *t, const char *text, int64_t size,
                            const char *file, rlhf__buffer *out);

/* pieces.c: the pre-tokenizer. Calls `piece` for each piece of a text; pieces are
 * borrowed. */
typedef rlhf_status (*rlhf__piece_fn)(void *arg, const char *piece, int64_t size);
rlhf_status rlhf__pieces(const rlhf__stage *stages, int32_t num_stages,
                         rlhf__matcher *matcher, rlhf_context *context, const char *text,
                         int64_t size, bool at_start, rlhf__piece_fn piece, void *arg);

/* bpe.c: the model. Scratch of one call; starts as {.context = …}. */
typedef struct rlhf__bpe_scratch {
    rlhf_context *context;
    struct rlhf__symbol *symbols;
    int64_t symbols_capacity;
    struct rlhf__candidate *heap;
    int64_t heap_capacity;
    rlhf__ids units;
} rlhf__bpe_scratch;
rlhf_status rlhf__bpe_encode(const rlhf__tokenizer *t, rlhf__bpe_scratch *scratch,
                             const char *piece, int64_t size, rlhf__ids *ids);
void rlhf__bpe_scratch_free(rlhf__bpe_scratch *scratch);
/* Fills `whole`. */
rlhf_status rlhf__bpe_index_whole(rlhf__tokenizer *t);
const rlhf__merge *rlhf__merge_find(const rlhf__tokenizer *t, int32_t left,
                                    int32_t right);

#endif
