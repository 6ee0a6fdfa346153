/* PCRE2 behind our allocator. No JIT: it needs writable and executable memory, which a
 * guest should not ask of its host. */
#include "text/regex.h"

#include "base/size.h"
#include "text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MAX_PATTERN    65536
#define MATCH_HEAP_KIB (64 * 1024)

/* PCRE2 counts the steps from each place where a match may begin anew, and does not tell
 * how many they were. So each place has a few for nothing, more than the patterns in use
 * need on ordinary text. A place that needs more is tried with a larger and larger
 * limit, and each try counts as its whole limit against what the text has. */
#define FREE_STEPS 64
#define TEXT_STEPS 10000000
#define BYTE_STEPS 100 /* for each byte of the text besides */

struct rlhf__regex {
    pcre2_general_context *general;
    pcre2_code *code;
};

struct rlhf__matcher {
    pcre2_general_context *general;
    pcre2_match_context *limits;
    pcre2_match_data *data;
    int64_t steps_left;
};

static void *allocate(size_t size, void *context)
{
    void *block = NULL;

    if (size > PTRDIFF_MAX || rlhf__alloc_raw(context, (int64_t)size, 1,
                                              RLHF_MEMORY_GENERAL, &block) != RLHF_OK)
        return NULL;
    return block;
}

static void release(void *block, void *context)
{
    (void)context;
    rlhf__free(block);
}

void rlhf__regex_free(rlhf__regex *regex)
{
    if (!regex)
        return;
    pcre2_code_free(regex->code);
    pcre2_general_context_free(regex->general);
    rlhf__free(regex);
}

rlhf_status rlhf__regex_compile(rlhf_context *context, const char *pattern, int64_t size,
                                bool literal, const char *file, rlhf__regex **out)
{
    uint32_t options = literal ? PCRE2_UTF | PCRE2_LITERAL
                               : PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
    rlhf__regex *regex;
    pcre2_compile_context *compile = NULL;
    rlhf_status status = RLHF_OK;
    int code = 0;
    PCRE2_SIZE offset = 0;

    *out = NULL;
    if (size > MAX_PATTERN)
        return rlhf__fail_at(RLHF_ERR_LIMIT, file, 0, 0, "pattern",
                             "pattern of %lld bytes; at most %d are allowed",
                             (long long)size, MAX_PATTERN);
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *regex, RLHF_MEMORY_GENERAL, &regex));
    regex->general = pcre2_general_context_create(allocate, release, context);
    if (regex->general)
        compile = pcre2_compile_context_create(regex->general);
    if (!compile) {
        rlhf__regex_free(regex);
        return rlhf__fail_no_memory(sizeof *regex);
    }
    regex->code = pcre2_compile((PCRE2_SPTR)pattern, (PCRE2_SIZE)size, options, &code,
                                &offset, compile);
    if (!regex->code) {
        PCRE2_UCHAR words[256] = "";
        (void)pcre2_get_error_message(code, words, sizeof words);
        /* 121 is ERR21 of pcre2_compile: "failed to allocate heap memory". */
        status = code == 121 ? rlhf__fail_no_memory((size_t)size)
                             : rlhf__fail_at(RLHF_ERR_FORMAT, file, 0, 0, "pattern",
                                             "pattern, at byte %zu: %s", (size_t)offset,
                                             (const char *)words);
    }
    pcre2_compile_context_free(compile);
    if (status != RLHF_OK)
        rlhf__regex_free(regex);
    else
        *out = regex;
    return status;
}

rlhf_status rlhf__matcher_create(rlhf_context *context, rlhf__matcher **out)
{
    rlhf__matcher *matcher;

    *out = NULL;
    RLHF__TRY(rlhf__alloc(context, 1, sizeof *matcher, RLHF_MEMORY_GENERAL, &matcher));
    matcher->general = pcre2_general_context_create(allocate, release, context);
    if (matcher->general) {
        matcher->limits = pcre2_match_context_create(matcher->general);
        matcher->data = pcre2_match_data_create(1, matcher->general);
    }
    if (!matcher->limits || !matcher->data) {
        rlhf__matcher_free(matcher);
        return rlhf__fail_no_memory(sizeof *matcher);
    }
    pcre2_set_heap_limit(matcher->limits, MATCH_HEAP_KIB);
    *out = matcher;
    return RLHF_OK;
}

void rlhf__matcher_begin(rlhf__matcher *matcher, int64_t size)
{
    matcher->steps_left = TEXT_STEPS + BYTE_STEPS * size;
}

void rlhf__matcher_free(rlhf__matcher *matcher)
{
    if (!matcher)
        return;
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->limits);
    pcre2_general_context_free(matcher->general);
    rlhf__free(matcher);
}

static rlhf_status fail_match(int code)
{
    PCRE2_UCHAR words[256] = "";

    if (code == PCRE2_ERROR_NOMEMORY)
        return rlhf__fail_no_memory(0);
    (void)pcre2_get_error_message(code, words, sizeof words);
    if (code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_DEPTHLIMIT ||
        code == PCRE2_ERROR_HEAPLIMIT)
        return rlhf__fail(
            RLHF_ERR_LIMIT,
            "the pre-tokenizer's pattern takes too many steps on this text (%s)",
            (const char *)words);
    return rlhf__fail(RLHF_ERR_FORMAT,
                      "the pre-tokenizer's pattern cannot be matched: %s",
                      (const char *)words);
}

static int match(const rlhf__regex *regex, rlhf__matcher *matcher, const char *text,
                 int64_t size, int64_t start, int64_t steps, uint32_t options)
{
    pcre2_set_match_limit(matcher->limits, (uint32_t)rlhf__min_i64(steps, UINT32_MAX));
    return pcre2_match(regex->code, (PCRE2_SPTR)text, (PCRE2_SIZE)size, (PCRE2_SIZE)start,
                       options | PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, matcher->data,
                       matcher->limits);
}

/* A match that begins at `at`. */
static int match_here(const rlhf__regex *regex, rlhf__matcher *matcher, const char *text,
                      int64_t size, int64_t at)
{
    int code = match(regex, matcher, text, size, at, FREE_STEPS, PCRE2_ANCHORED);

    for (int64_t steps = 4 * FREE_STEPS;
         code == PCRE2_ERROR_MATCHLIMIT && matcher->steps_left > 0; steps *= 4) {
        steps = rlhf__min_i64(steps, matcher->steps_left);
        matcher->steps_left -= steps;
        code = match(regex, matcher, text, size, at, steps, PCRE2_ANCHORED);
    }
    return code;
}

/* As PCRE2 searches, place by place, but one call for each: it tells which place needs
 * more steps. Only a \G, or a verb such as (*SKIP), could tell the difference. */
static int search_slowly(const rlhf__regex *regex, rlhf__matcher *matcher,
                         const char *text, int64_t size, int64_t start)
{
    int code = PCRE2_ERROR_NOMATCH;

    for (int64_t at = start; at < size && code == PCRE2_ERROR_NOMATCH;
         at += rlhf__utf8_char(text + at, size - at))
        code = match_here(regex, matcher, text, size, at);
    return code;
}

rlhf_status rlhf__regex_find(const rlhf__regex *regex, rlhf__matcher *matcher,
                             const char *text, int64_t size, int64_t start,
                             bool *out_found, int64_t *out_begin, int64_t *out_end)
{
    int code = match(regex, matcher, text, size, start, FREE_STEPS, 0);

    *out_found = false;
    if (code == PCRE2_ERROR_MATCHLIMIT)
        code = search_slowly(regex, matcher, text, size, start);
    if (code == PCRE2_ERROR_NOMATCH)
        return RLHF_OK;
    if (code < 0)
        return fail_match(code);
    const PCRE2_SIZE *pair = pcre2_get_ovector_pointer(matcher->data);
    if (pair[0] < (PCRE2_SIZE)start || pair[1] <= pair[0]) /* \K can do that */
        return rlhf__fail(RLHF_ERR_FORMAT,
                          "the pre-tokenizer's pattern moves the match's start (\\K)");
    *out_begin = (int64_t)pair[0];
    *out_end = (int64_t)pair[1];
    *out_found = true;
    return RLHF_OK;
}
