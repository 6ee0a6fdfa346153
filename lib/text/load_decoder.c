/* tokenizer.json's "decoder", applied to every token once: what each decodes to is then
 * known, and only what depends on the token's place in the text is left for later. */
#include <inttypes.h>
#include <string.h>

#include "text/parts.h"
#include "text/utf8.h"

#define MAX_TOKEN_BYTES (1 << 20)

/* Members of a decoder, in the order in which they may stand. */
enum { REPLACE = 1, BYTE_FALLBACK = 2, FUSE = 3, STRIP = 4 };

typedef struct decoder {
    bool byte_level, byte_fallback;
    rlhf__rewrite replacements[RLHF__TOKENIZER_MAX_STAGES];
    int32_t num_replacements;
    int last; /* the member read last */
} decoder;

static rlhf_status unsupported(const rlhf__json *component, const char *file)
{
    return rlhf__fail_at(
        RLHF_ERR_UNSUPPORTED, file, 0, 0, "decoder",
        "decoder of type \"%.60s\" is not supported, or not at this place",
        rlhf__json_string(rlhf__json_get(component, "type"), ""));
}

static rlhf_status read_strip(rlhf__tokenizer *t, const rlhf__json *component,
                              const char *file)
{
    const rlhf__json *content = rlhf__json_get(component, "content");
    int64_t size = rlhf__json_string_size(content);
    int64_t start = rlhf__json_i64(rlhf__json_get(component, "start"), -1);

    if (size == 0 || rlhf__utf8_char(rlhf__json_string(content, ""), size) != size ||
        start < 0 || start > INT32_MAX)
        return rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "decoder",
                             "decoder Strip needs one character of content and a start");
    if (rlhf__json_i64(rlhf__json_get(component, "stop"), 0) != 0)
        return rlhf__fail_at(RLHF_ERR_UNSUPPORTED, file, 0, 0, "decoder.stop",
                             "decoder Strip: a stop other than 0 is not supported");
    memcpy(t->strip, rlhf__json_string(content, ""), (size_t)size);
    t->strip_size = (int32_t)size;
    t->strip_count = (int32_t)start;
    return RLHF_OK;
}

static rlhf_status add_replacement(decoder *d, const rlhf__json *from,
                                   const rlhf__json *to, const char *file)
{
    if (rlhf__json_string_size(from) == 0 ||
        d->num_replacements == RLHF__TOKENIZER_MAX_STAGES)
        return rlhf__fail_at(
            RLHF_ERR_UNSUPPORTED, file, 0, 0, "decoder",
            "decoder Replace: only a pattern of the kind String is supported");
    d->replacements[d->num_replacements++] =
        (rlhf__rewrite){rlhf__json_string(from, ""), rlhf__json_string(to, ""),
                        rlhf__json_string_size(from), rlhf__json_string_size(to)};
    return RLHF_OK;
}

static rlhf_status read_member(rlhf__tokenizer *t, decoder *d,
                               const rlhf__json *component, const char *file)
{
    static const char *const types[] = {NULL, "Replace", "ByteFallback", "Fuse", "Strip"};
    const char *type = rlhf__json_string(rlhf__json_get(component, "type"), "");
    int member = STRIP;

    while (member > 0 && strcmp(types[member], type) != 0)
        member--;
    if (member == 0 || member < d->last || (member == STRIP && d->last < FUSE))
        return unsupported(component, file);
    d->last = member;
    if (member == STRIP)
        return read_strip(t, component, file);
    d->byte_fallback = d->byte_fallback || member == BYTE_FALLBACK;
    if (member != REPLACE)
        return RLHF_OK;
    return add_replacement(d,
                           rlhf__json_get(rlhf__json_get(component, "pattern"), "String"),
                           rlhf__json_get(component, "content"), file);
}

static rlhf_status read_decoder(rlhf__tokenizer *t, decoder *d,
                                const rlhf__json *component, const char *file)
{
    const char *type = rlhf__json_string(rlhf__json_get(component, "type"), "");
    const rlhf__json *members = rlhf__json_get(component, "decoders");
    const char *scheme =
        rlhf__json_string(rlhf__json_get(component, "prepend_scheme"), "always");

    if (rlhf__json_is_null(component)) {
        t->join_blank = true; /* what Hugging Face does without a decoder */
        return RLHF_OK;
    }
    if (strcmp(type, "Sequence") == 0 && rlhf__json_size(members) == 1 &&
        rlhf__json_is_array(members)) /* around a ByteLevel, say */
        return read_decoder(t, d, rlhf__json_at(members, 0), file);
    if (strcmp(type, "Sequence") == 0) {
        if (rlhf__json_size(members) == 0)
            return unsupported(component, file);
        for (int64_t i = 0; i < rlhf__json_size(members); i++)
            RLHF__TRY(read_member(t, d, rlhf__json_at(members, i), file));
        return RLHF_OK;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        d->byte_level = true;
        return RLHF_OK;
    }
    if (strcmp(type, "Metaspace") != 0)
        return read_member(t, d, component, file);
    t->first_loses_blanks = strcmp(scheme, "never") != 0;
    d->replacements[0] = (rlhf__rewrite){
        rlhf__json_string(rlhf__json_get(component, "replacement"), ""), " ",
        rlhf__json_string_size(rlhf__json_get(component, "replacement")), 1};
    d->num_replacements = d->replacements[0].from_size > 0 ? 1 : 0;
    return d->num_replacements == 1 ? RLHF_OK : unsupported(component, file);
}

/* "<0x0A>" to 10; -1 for every other text. */
static int fallback_byte(const char *text, int64_t size)
{
    int value = 0;

    if (size != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = 16 * value + digit;
    }
    return value;
}

/* The token's text in the byte alphabet, as bytes; false if a character is not of it. */
static rlhf_status append_bytes(const char *text, int64_t size, rlhf__buffer *out,
                                bool *out_all)
{
    int64_t size_before = out->size;

    *out_all = true;
    for (int64_t at = 0; at < size && *out_all;) {
        int length = rlhf__utf8_char(text + at, size - at);
        int byte =
            length > 0 ? rlhf__char_to_byte(rlhf__utf8_decode(text + at, length)) : -1;
        char c = (char)byte;
        if (byte >= 0)
            RLHF__TRY(rlhf__buffer_append(out, &c, 1));
        else
            *out_all = false;
        at += length;
    }
    if (!*out_all)
        out->size = size_before;
    return RLHF_OK;
}

/* What the token `text` decodes to, in `out`. */
static rlhf_status decode_token(const decoder *d, const char *file, const char *text,
                                int64_t size, rlhf__buffer *out, rlhf__buffer *scratch)
{
    const rlhf__rewrites steps = {d->replacements, d->num_replacements, "decoder", file};
    bool all = false;

    out->size = 0;
    if (d->byte_level)
        RLHF__TRY(append_bytes(text, size, out, &all));
    if (all)
        return RLHF_OK;
    RLHF__TRY(rlhf__rewrite_all(&steps, text, size, out, scratch));
    int byte = d->byte_fallback ? fallback_byte(out->data, out->size) : -1;
    if (byte >= 0) {
        out->data[0] = (char)byte;
        out->size = 1;
    }
    return RLHF_OK;
}

/* Fills in the token's bytes, at the end of `all`. `text` and `scratch` are for use. */
static rlhf_status add_bytes(const rlhf__tokenizer *t, const decoder *d, const char *file,
                             int32_t id, rlhf__buffer *text, rlhf__buffer *scratch,
                             rlhf__buffer *all)
{
    rlhf__token *token = &t->tokens[id];

    RLHF__TRY(rlhf__poll(t, id));
    RLHF__TRY(decode_token(d, file, rlhf__strmap_key(&t->names, token->name),
                           t->names.entries[token->name].key_size, text, scratch));
    if (text->size > MAX_TOKEN_BYTES)
        return rlhf__fail_at(RLHF_ERR_LIMIT, file, 0, 0, "decoder",
                             "token %d decodes to %" PRId64
                             " bytes; at most %d are supported",
                             id, text->size, MAX_TOKEN_BYTES);
    token->bytes_at = all->size;
    token->num_bytes = (int32_t)text->size;
    return rlhf__buffer_append(all, text->data, text->size);
}

rlhf_status rlhf__tokenizer_load_decoder(rlhf__tokenizer *t, const rlhf__json *root,
                                         const char *file)
{
    decoder d = {0};
    rlhf__buffer text = {.context = t->context}, scratch = {.context = t->context};
    rlhf__buffer all = {.context = t->context};
    rlhf_status status = read_decoder(t, &d, rlhf__json_get(root, "decoder"), file);

    for (int32_t id = 0; id < t->vocab_size && status == RLHF_OK; id++)
        if (t->tokens[id].name >= 0)
            status = add_bytes(t, &d, file, id, &text, &scratch, &all);
    rlhf__buffer_free(&text);
    rlhf__buffer_free(&scratch);
    t->bytes = all.data;
    return status;
}
