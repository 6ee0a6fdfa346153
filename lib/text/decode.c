/* Ids to bytes. Everything that a decoder does to a token was done when the tokenizer was
 * made, so decoding is putting bytes end to end, whole or as a stream. */
#include <string.h>

#include "text/parts.h"
#include "text/utf8.h"

struct rlhf__text_stream {
    rlhf_context *context; /* borrowed */
    rlhf__tokenizer *tokenizer;
    int32_t flags;
    struct position {
        int64_t tokens; /* that gave text so far */
        int32_t strips; /* characters that may still be taken from the text's start */
    } position;
    rlhf__buffer held; /* of a character whose rest is missing */
    rlhf__buffer given;
};

static struct position at_beginning(const rlhf__tokenizer *t, int32_t flags)
{
    bool continues = (flags & RLHF__DECODE_CONTINUES) != 0;

    return (struct position){continues ? 1 : 0, continues ? 0 : t->strip_count};
}

static bool is_token(const rlhf__tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->vocab_size && t->tokens[id].name >= 0;
}

static bool gives_text(const rlhf__tokenizer *t, int32_t id, int32_t flags)
{
    return is_token(t, id) &&
           !(t->tokens[id].special && (flags & RLHF__DECODE_SKIP_SPECIAL));
}

/* The token's bytes less what is stripped at the text's start; moves the position on. */
static int64_t strip_start(const rlhf__tokenizer *t, const rlhf__token *token,
                           struct position *p)
{
    const char *bytes = t->bytes + token->bytes_at;
    int64_t at = 0;

    while (p->strips > 0 && at < token->num_bytes) {
        if (token->num_bytes - at < t->strip_size ||
            memcmp(bytes + at, t->strip, (size_t)t->strip_size) != 0) {
            p->strips = 0;
            break;
        }
        at += t->strip_size;
        p->strips--;
    }
    return at;
}

static rlhf_status append_token(const rlhf__tokenizer *t, int32_t id, struct position *p,
                                rlhf__buffer *out)
{
    const rlhf__token *token = &t->tokens[id];
    const char *bytes = t->bytes + token->bytes_at;
    bool first = p->tokens++ == 0;

    if (t->join_blank && !first)
        RLHF__TRY(rlhf__buffer_append(out, " ", 1));
    if (!first || !t->first_loses_blanks) {
        int64_t skip = strip_start(t, token, p);
        return rlhf__buffer_append(out, bytes + skip, token->num_bytes - skip);
    }
    for (int32_t i = 0; i < token->num_bytes; i++)
        if (bytes[i] != ' ')
            RLHF__TRY(rlhf__buffer_append(out, bytes + i, 1));
    return RLHF_OK;
}

static rlhf_status check_id(const rlhf__tokenizer *t, int32_t id, int32_t flags)
{
    if (id >= 0 && (flags & RLHF__DECODE_SKIP_UNKNOWN))
        return RLHF_OK;
    if (id < 0 || id >= t->vocab_size)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "id %d is outside the vocabulary of %d",
                          id, t->vocab_size);
    if (t->tokens[id].name < 0)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "no token has id %d", id);
    return RLHF_OK;
}

rlhf_status rlhf__tokenizer_decode(const rlhf__tokenizer *t, const int32_t *ids,
                                   int64_t num_ids, int32_t flags, rlhf__buffer *out)
{
    struct position position = at_beginning(t, flags);
    int64_t size_before = out->size;
    rlhf_status status = rlhf__buffer_append(out, "", 0);

    for (int64_t i = 0; i < num_ids && status == RLHF_OK; i++) {
        status = check_id(t, ids[i], flags);
        if (status == RLHF_OK && gives_text(t, ids[i], flags))
            status = append_token(t, ids[i], &position, out);
    }
    if (status != RLHF_OK && out->data) {
        out->size = size_before;
        out->data[size_before] = '\0';
    }
    return status;
}

int64_t rlhf__tokenizer_count_within(const rlhf__tokenizer *t, const int32_t *ids,
                                     int64_t num_ids, size_t size, int32_t flags)
{
    struct position position = at_beginning(t, flags);
    size_t total = 0;

    for (int64_t i = 0; i < num_ids; i++) {
        if (!gives_text(t, ids[i], flags))
            continue;
        const rlhf__token *token = &t->tokens[ids[i]];
        bool first = position.tokens++ == 0;
        total += (size_t)(token->num_bytes - strip_start(t, token, &position));
        total += t->join_blank && !first ? 1 : 0;
        if (first && t->first_loses_blanks)
            for (int32_t k = 0; k < token->num_bytes; k++)
                total -= t->bytes[token->bytes_at + k] == ' ' ? 1 : 0;
        if (total > size)
            return i;
    }
    return num_ids;
}

/* --- streams ------------------------------------------------------------------------ */

rlhf_status rlhf__text_stream_create(rlhf_context *context, rlhf__tokenizer *tokenizer,
                                     int32_t decode_flags, rlhf__text_stream **out)
{
    rlhf__text_stream *stream;

    *out = NULL;
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *stream, RLHF_MEMORY_GENERAL, &stream));
    stream->context = context;
    stream->tokenizer = rlhf__tokenizer_ref(tokenizer);
    stream->flags = decode_flags;
    stream->position = at_beginning(tokenizer, decode_flags);
    stream->held.context = stream->given.context = context;
    *out = stream;
    return RLHF_OK;
}

void rlhf__text_stream_free(rlhf__text_stream *stream)
{
    if (!stream)
        return;
    rlhf__buffer_free(&stream->held);
    rlhf__buffer_free(&stream->given);
    rlhf__tokenizer_unref(stream->tokenizer);
    rlhf__free(stream);
}

/* Bytes at the end that begin a character which more bytes could complete: 0 to 3. */
static int64_t unfinished(const char *text, int64_t size)
{
    for (int64_t n = 1; n <= 3 && n <= size; n++)
        if (rlhf__utf8_char(text + size - n, n) == -n)
            return n;
    return 0;
}

rlhf_status rlhf__text_stream_reserve(rlhf__text_stream *stream, int32_t id)
{
    const rlhf__tokenizer *t = stream->tokenizer;
    rlhf__buffer *held = &stream->held, *given = &stream->given;

    RLHF__TRY(check_id(t, id, stream->flags));
    const int64_t num_bytes = is_token(t, id) ? t->tokens[id].num_bytes : 0;
    /* A blank before the token, a zero after it. */
    const int64_t needed = held->size + num_bytes + 2;
    RLHF__TRY(rlhf__grow(held->context, &held->data, &held->capacity, needed, 1));
    return rlhf__grow(given->context, &given->data, &given->capacity, needed, 1);
}

rlhf_status rlhf__text_stream_push(rlhf__text_stream *stream, int32_t id,
                                   const char **out_text, size_t *out_size)
{
    const rlhf__tokenizer *t = stream->tokenizer;
    struct position position = stream->position;
    rlhf__buffer *held = &stream->held;
    int64_t held_before = held->size, keep = 0;
    rlhf_status status = rlhf__buffer_append(held, "", 0);

    if (status == RLHF_OK && id != -1) {
        status = check_id(t, id, stream->flags);
        if (status == RLHF_OK && gives_text(t, id, stream->flags))
            status = append_token(t, id, &position, held);
        if (status == RLHF_OK)
            keep = unfinished(held->data, held->size);
    }
    stream->given.size = 0;
    if (status == RLHF_OK)
        status = rlhf__buffer_append(&stream->given, held->data, held->size - keep);
    if (status != RLHF_OK) {
        held->size = held_before;
        return status;
    }
    memmove(held->data, held->data + held->size - keep, (size_t)keep);
    held->size = keep;
    stream->position = id == -1 ? at_beginning(t, stream->flags) : position;
    *out_text = stream->given.data;
    *out_size = (size_t)stream->given.size;
    return RLHF_OK;
}
