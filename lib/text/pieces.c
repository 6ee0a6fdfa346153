/* The pre-tokenizer: each stage cuts what the stage before it gave. Where bytes are not
 * UTF-8 each run of invalid bytes is a piece of its own, and a pattern sees the valid
 * text around it as if it ended there. */
#include <string.h>

#include "text/parts.h"
#include "text/utf8.h"

const char rlhf__gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+"
    "| ?"
    "[^\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
    "\\x{202f}\\x{205f}\\x{3000}\\p{L}\\p{N}]+"
    "|[\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
    "\\x{202f}\\x{205f}\\x{3000}]+"
    "(?!"
    "[^\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
    "\\x{202f}\\x{205f}\\x{3000}])"
    "|[\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
    "\\x{202f}\\x{205f}\\x{3000}]+";

typedef struct walk {
    const rlhf__stage *stages;
    int32_t num_stages;
    rlhf__matcher *matcher;
    rlhf_context *context;
    rlhf__piece_fn piece;
    void *arg;
} walk;

static rlhf_status run_stage(const walk *w, int32_t stage, const char *text, int64_t size,
                             bool at_start);

/* The valid text [begin, end) of `text`, cut at the pattern's matches. */
static rlhf_status split_valid(const walk *w, int32_t stage, const char *text,
                               int64_t size, bool at_start)
{
    const rlhf__stage *s = &w->stages[stage];
    int64_t at = 0, begin = 0, end = 0;
    bool found = true;

    while (at < size) {
        RLHF__TRY(
            rlhf__regex_find(s->regex, w->matcher, text, size, at, &found, &begin, &end));
        if (!found)
            begin = end = size;
        if (begin > at && !s->drop_others)
            RLHF__TRY(
                run_stage(w, stage + 1, text + at, begin - at, at_start && at == 0));
        if (end > begin && !s->drop_matches)
            RLHF__TRY(run_stage(w, stage + 1, text + begin, end - begin,
                                at_start && begin == 0));
        at = end;
    }
    return RLHF_OK;
}

static rlhf_status split(const walk *w, int32_t stage, const char *text, int64_t size,
                         bool at_start)
{
    int64_t at = 0;

    while (at < size) {
        int64_t valid = rlhf__utf8_valid(text + at, size - at);
        RLHF__TRY(split_valid(w, stage, text + at, valid, at_start && at == 0));
        at += valid;
        int64_t end = at;
        while (end < size && rlhf__utf8_char(text + end, size - end) <= 0)
            end++;
        if (end > at)
            RLHF__TRY(run_stage(w, stage + 1, text + at, end - at, at_start && at == 0));
        at = end;
    }
    return RLHF_OK;
}

static rlhf_status prefix_space(const walk *w, int32_t stage, const char *text,
                                int64_t size, bool at_start)
{
    rlhf__buffer copy = {.context = w->context};

    if (size == 0 || text[0] == ' ')
        return run_stage(w, stage + 1, text, size, at_start);
    rlhf_status status = rlhf__buffer_append(&copy, " ", 1);
    if (status == RLHF_OK)
        status = rlhf__buffer_append(&copy, text, size);
    if (status == RLHF_OK)
        status = run_stage(w, stage + 1, copy.data, copy.size, at_start);
    rlhf__buffer_free(&copy);
    return status;
}

/* `text` with "▁" for " ", and one before it if the stage says so. */
static rlhf_status blanks_to_marks(const rlhf__stage *s, const char *text, int64_t size,
                                   bool at_start, rlhf__buffer *out)
{
    int64_t mark = s->replacement_size;
    bool marked =
        size > 0 && (text[0] == ' ' ||
                     (size >= mark && memcmp(text, s->replacement, (size_t)mark) == 0));

    if (!marked && (s->prefix_always || (s->prefix_first && at_start)))
        RLHF__TRY(rlhf__buffer_append(out, s->replacement, mark));
    for (int64_t at = 0; at < size;) {
        const char *blank = memchr(text + at, ' ', (size_t)(size - at));
        int64_t end = blank ? blank - text : size;
        RLHF__TRY(rlhf__buffer_append(out, text + at, end - at));
        if (blank)
            RLHF__TRY(rlhf__buffer_append(out, s->replacement, mark));
        at = end + 1;
    }
    return RLHF_OK;
}

static rlhf_status metaspace(const walk *w, int32_t stage, const char *text, int64_t size,
                             bool at_start)
{
    const rlhf__stage *s = &w->stages[stage];
    rlhf__buffer copy = {.context = w->context};
    rlhf_status status = blanks_to_marks(s, text, size, at_start, &copy);
    int64_t mark = s->replacement_size, at = 0, end;

    for (; status == RLHF_OK && at < copy.size; at = end) {
        end = copy.size;
        if (s->cut) {
            const char *next =
                at + mark > copy.size
                    ? NULL
                    : memmem(copy.data + at + 1, (size_t)(copy.size - at - 1),
                             s->replacement, (size_t)mark);
            end = next ? next - copy.data : copy.size;
        }
        status = run_stage(w, stage + 1, copy.data + at, end - at, at_start && at == 0);
    }
    rlhf__buffer_free(&copy);
    return status;
}

static rlhf_status run_stage(const walk *w, int32_t stage, const char *text, int64_t size,
                             bool at_start)
{
    if (stage == w->num_stages)
        return w->piece(w->arg, text, size);
    switch (w->stages[stage].kind) {
    case RLHF__STAGE_SPLIT:
        return split(w, stage, text, size, at_start);
    case RLHF__STAGE_PREFIX_SPACE:
        return prefix_space(w, stage, text, size, at_start);
    case RLHF__STAGE_METASPACE:
        break;
    }
    return metaspace(w, stage, text, size, at_start);
}

rlhf_status rlhf__pieces(const rlhf__stage *stages, int32_t num_stages,
                         rlhf__matcher *matcher, rlhf_context *context, const char *text,
                         int64_t size, bool at_start, rlhf__piece_fn piece, void *arg)
{
    walk w = {stages, num_stages, matcher, context, piece, arg};

    return size > 0 ? run_stage(&w, 0, text, size, at_start) : RLHF_OK;
}
