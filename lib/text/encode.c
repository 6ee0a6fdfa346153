/* Text to ids: added tokens are cut out, the rest is normalized, added tokens that want
 * normalized text are cut out of that, the rest goes through the pre-tokenizer to the
 * model. The order is that of Hugging Face's tokenizers, so that ids are equal. */
#include <inttypes.h>
#include <string.h>

#include "base/size.h"
#include "text/parts.h"
#include "text/utf8.h"

/* What a normalizer or decoder may make of a text: 256 bytes, and 16 times the text. */
#define REWRITE_ALWAYS 256
#define REWRITE_TIMES  16

typedef struct encoder {
    const rlhf__tokenizer *t;
    int32_t flags;
    rlhf__ids *ids;
    rlhf__matcher *matcher; /* NULL: no stage needs one */
    rlhf__bpe_scratch scratch;
    bool at_start; /* does the fragment in hand begin the text? */
} encoder;

typedef rlhf_status (*fragment_fn)(encoder *e, const char *text, int64_t size);

/* --- added tokens ------------------------------------------------------------------- */

static const char *added_text(const rlhf__added_set *set, int64_t token, int64_t *size)
{
    *size = set->texts.entries[set->tokens[token].name].key_size;
    return rlhf__strmap_key(&set->texts, set->tokens[token].name);
}

/* The last token that is not after the text in the order of bytes, or -1. */
static int64_t last_before(const rlhf__added_set *set, const char *text, int64_t size)
{
    int64_t low = 0, high = set->num_tokens;

    while (low < high) {
        int64_t middle = low + (high - low) / 2, length;
        const char *key = added_text(set, middle, &length);
        int order = memcmp(key, text, (size_t)rlhf__min_i64(length, size));
        if (order < 0 || (order == 0 && length <= size))
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

/* Longest token of the set that `text` begins with, or NULL. What comes between such a
 * token and the text in the order of bytes begins with the token too: so it is the last
 * one before the text, or one that this one begins with. */
static const rlhf__added *longest_at(const rlhf__added_set *set, const char *text,
                                     int64_t size)
{
    int64_t at = last_before(set, text, size), length = 0, same = 0;

    if (at < 0)
        return NULL;
    const char *key = added_text(set, at, &length);
    length = rlhf__min_i64(length, size);
    while (same < length && key[same] == text[same])
        same++;
    while (at >= 0 && set->texts.entries[set->tokens[at].name].key_size > same)
        at = set->tokens[at].shorter;
    return at >= 0 ? &set->tokens[at] : NULL;
}

static bool is_white_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

/* Where the white space that ends at `end` begins, not before `floor`. */
static int64_t spaces_before(const char *text, int64_t floor, int64_t end)
{
    while (end > floor) {
        int64_t at = end - 1;
        while (at > floor && end - at < 4 && ((unsigned char)text[at] & 0xC0) == 0x80)
            at--;
        int length = rlhf__utf8_char(text + at, end - at);
        if (length != end - at || !is_white_space(rlhf__utf8_decode(text + at, length)))
            break;
        end = at;
    }
    return end;
}

static int64_t spaces_after(const char *text, int64_t at, int64_t size)
{
    while (at < size) {
        int length = rlhf__utf8_char(text + at, size - at);
        if (length <= 0 || !is_white_space(rlhf__utf8_decode(text + at, length)))
            break;
        at += length;
    }
    return at;
}

/* Leftmost, longest; what lies between goes to `fragment`. */
static rlhf_status cut_added(encoder *e, const rlhf__added_set *set, const char *text,
                             int64_t size, fragment_fn fragment)
{
    bool parse = (e->flags & RLHF__ENCODE_PARSE_SPECIAL) != 0;
    bool at_start = e->at_start;
    int64_t done = 0, at = 0;

    while (set->num_tokens > 0 && at < size) {
        const rlhf__added *token = NULL;
        if (set->first_byte[(unsigned char)text[at]])
            token = longest_at(set, text + at, size - at);
        if (!token) {
            at++;
            continue;
        }
        int64_t begin = at, end = at + set->texts.entries[token->name].key_size;
        at = end;
        if (token->special && !parse)
            continue;
        if (token->lstrip)
            begin = spaces_before(text, done, begin);
        if (token->rstrip)
            end = spaces_after(text, end, size);
        e->at_start = at_start && done == 0;
        RLHF__TRY(fragment(e, text + done, begin - done));
        RLHF__TRY(rlhf__ids_append(e->ids, token->id));
        done = at = end;
    }
    e->at_start = at_start && done == 0;
    return fragment(e, text + done, size - done);
}

/* --- normalizer --------------------------------------------------------------------- */

/* Appends the text after one step, or as much of it as shows that it passes `limit`. */
static rlhf_status rewrite(const rlhf__rewrite *rule, const char *text, int64_t size,
                           int64_t limit, rlhf__buffer *out)
{
    if (!rule->from) {
        if (size > 0)
            RLHF__TRY(rlhf__buffer_append(out, rule->to, rule->to_size));
        return rlhf__buffer_append(out, text, size);
    }
    for (int64_t at = 0; at < size && out->size <= limit;) {
        const char *found =
            memmem(text + at, (size_t)(size - at), rule->from, (size_t)rule->from_size);
        int64_t end = found ? found - text : size;
        RLHF__TRY(rlhf__buffer_append(out, text + at, end - at));
        if (found)
            RLHF__TRY(rlhf__buffer_append(out, rule->to, rule->to_size));
        at = found ? end + rule->from_size : size;
    }
    return RLHF_OK;
}

/* Each step may make its text some times longer, and all of them together as many times
 * to the power of their number: so the limit is on what stands at any step. */
rlhf_status rlhf__rewrite_all(const rlhf__rewrites *steps, const char *text, int64_t size,
                              rlhf__buffer *out, rlhf__buffer *scratch)
{
    int64_t limit = REWRITE_ALWAYS + REWRITE_TIMES * size;

    out->size = 0;
    RLHF__TRY(rlhf__buffer_append(out, text, size));
    for (int32_t i = 0; i < steps->num_rules; i++) {
        scratch->size = 0;
        RLHF__TRY(rewrite(&steps->rules[i], out->data, out->size, limit, scratch));
        if (scratch->size > limit)
            return rlhf__fail_at(RLHF_ERR_LIMIT, steps->file, 0, 0, steps->name,
                                 "%s: step %d makes more than %" PRId64
                                 " bytes of a text of %" PRId64,
                                 steps->name, i + 1, limit, size);
        rlhf__buffer swap = *out;
        *out = *scratch;
        *scratch = swap;
    }
    return RLHF_OK;
}

rlhf_status rlhf__normalize(const rlhf__tokenizer *t, const char *text, int64_t size,
                            const char *file, rlhf__buffer *out)
{
    const rlhf__rewrites steps = {t->rewrites, t->num_rewrites, "normalizer", file};
    rlhf__buffer scratch = {.context = out->context};
    rlhf_status status = rlhf__rewrite_all(&steps, text, size, out, &scratch);

    rlhf__buffer_free(&scratch);
    return status;
}

/* --- the way through ---------------------------------------------------------------- */

static rlhf_status encode_piece(void *arg, const char *piece, int64_t size)
{
    encoder *e = arg;

    return rlhf__bpe_encode(e->t, &e->scratch, piece, size, e->ids);
}

static rlhf_status encode_normalized(encoder *e, const char *text, int64_t size)
{
    return rlhf__pieces(e->t->stages, e->t->num_stages, e->matcher, e->t->context, text,
                        size, e->at_start, encode_piece, e);
}

static rlhf_status encode_raw(encoder *e, const char *text, int64_t size)
{
    rlhf__buffer normalized = {.context = e->t->context};

    if (size == 0)
        return RLHF_OK;
    if (e->t->num_rewrites == 0)
        return cut_added(e, &e->t->added[1], text, size, encode_normalized);
    rlhf_status status = rlhf__normalize(e->t, text, size, NULL, &normalized);
    if (status == RLHF_OK)
        status = cut_added(e, &e->t->added[1], normalized.data, normalized.size,
                           encode_normalized);
    rlhf__buffer_free(&normalized);
    return status;
}

static rlhf_status append_all(rlhf__ids *ids, const int32_t *more, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        RLHF__TRY(rlhf__ids_append(ids, more[i]));
    return RLHF_OK;
}

rlhf_status rlhf__tokenizer_encode(const rlhf__tokenizer *t, const char *text,
                                   size_t size, int32_t flags, rlhf__ids *ids)
{
    encoder e = {.t = t,
                 .flags = flags,
                 .ids = ids,
                 .at_start = true,
                 .scratch = {.context = t->context, .units.context = t->context}};
    bool template = (flags & RLHF__ENCODE_TEMPLATE) != 0;
    int64_t size_before = ids->size;
    rlhf_status status = RLHF_OK;

    for (int32_t i = 0; i < t->num_stages && status == RLHF_OK; i++)
        if (t->stages[i].kind == RLHF__STAGE_SPLIT && !e.matcher)
            status = rlhf__matcher_create(t->context, &e.matcher);
    if (e.matcher)
        rlhf__matcher_begin(e.matcher, (int64_t)size);
    if (status == RLHF_OK && template)
        status = append_all(ids, t->prefix_ids, t->num_prefix);
    if (status == RLHF_OK)
        status = cut_added(&e, &t->added[0], text, (int64_t)size, encode_raw);
    if (status == RLHF_OK && template)
        status = append_all(ids, t->suffix_ids, t->num_suffix);
    if (status != RLHF_OK)
        ids->size = size_before;
    rlhf__matcher_free(e.matcher);
    rlhf__bpe_scratch_free(&e.scratch);
    return status;
}
