/* JSON's grammar (RFC 8259), without memory: whether a text that jansson refused is
 * malformed, or jansson had no memory for it. It says so for some of its allocations
 * only; where others fail it speaks of invalid tokens. */
#include "base/json_check.h"

#include <string.h>

typedef struct scan {
    const char *at, *end;
} scan;

static bool value(scan *s);

static bool take(scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static bool take_word(scan *s, const char *word)
{
    const size_t size = strlen(word);

    if ((size_t)(s->end - s->at) < size || memcmp(s->at, word, size) != 0)
        return false;
    s->at += size;
    return true;
}

static void blanks(scan *s)
{
    while (s->at < s->end && strchr(" \t\n\r", *s->at) && *s->at)
        s->at++;
}

static bool digits(scan *s)
{
    const char *first = s->at;

    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > first;
}

static bool number(scan *s)
{
    take(s, '-');
    if (!take(s, '0') && !digits(s))
        return false;
    if (take(s, '.') && !digits(s))
        return false;
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '+'))
            take(s, '-');
        return digits(s);
    }
    return true;
}

/* The four digits of \uXXXX; -1 if they are not. */
static int32_t unit(scan *s)
{
    int32_t code = 0;

    for (int i = 0; i < 4; i++) {
        static const char hex[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = s->at < s->end && *s->at ? strchr(hex, *s->at) : NULL;
        if (!digit)
            return -1;
        code = 16 * code + (int32_t)((digit - hex) % 16);
        s->at++;
    }
    return code;
}

static bool escape(scan *s)
{
    if (!take(s, 'u')) {
        if (s->at == s->end || !*s->at || !strchr("\"\\/bfnrt", *s->at))
            return false;
        s->at++;
        return true;
    }
    const int32_t code = unit(s);
    if (code < 0xd800 || code > 0xdfff)
        return code >= 0;
    if (code > 0xdbff || !take_word(s, "\\u"))
        return false;
    const int32_t low = unit(s);
    return low >= 0xdc00 && low <= 0xdfff;
}

static bool string(scan *s)
{
    if (!take(s, '"'))
        return false;
    while (s->at < s->end && *s->at != '"') {
        const unsigned char c = (unsigned char)*s->at++;
        if (c < 0x20 || (c == '\\' && !escape(s)))
            return false;
    }
    return take(s, '"');
}

/* What stands between brackets or braces, the closing one included. */
static bool members(scan *s, char close)
{
    blanks(s);
    if (take(s, close))
        return true;
    for (;;) {
        blanks(s);
        if (close == '}') {
            if (!string(s))
                return false;
            blanks(s);
            if (!take(s, ':'))
                return false;
        }
        if (!value(s))
            return false;
        blanks(s);
        if (take(s, close))
            return true;
        if (!take(s, ','))
            return false;
    }
}

static bool value(scan *s)
{
    blanks(s);
    if (take(s, '{'))
        return members(s, '}');
    if (take(s, '['))
        return members(s, ']');
    if (s->at < s->end && *s->at == '"')
        return string(s);
    return take_word(s, "true") || take_word(s, "false") || take_word(s, "null") ||
           number(s);
}

bool rlhf__json_is_well_formed(const char *text, int64_t size)
{
    scan s = {text, text + size};

    if (!value(&s))
        return false;
    blanks(&s);
    return s.at == s.end;
}
