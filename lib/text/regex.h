/* Regular expressions over UTF-8 through PCRE2, as the pre-tokenizer needs them: Unicode
 * classes, no state, and a limit on the work that a hostile pattern can cause. */
#ifndef RLHF_TEXT_REGEX_H
#define RLHF_TEXT_REGEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"

typedef struct rlhf__regex rlhf__regex;     /* immutable; shared by threads */
typedef struct rlhf__matcher rlhf__matcher; /* scratch of one call */

/* `literal`: the pattern is plain text. `file` (or NULL): where it stands, for messages.
 * FORMAT with PCRE2's words and the offset in the pattern. */
rlhf_status rlhf__regex_compile(rlhf_context *context, const char *pattern, int64_t size,
                                bool literal, const char *file, rlhf__regex **out);
void rlhf__regex_free(rlhf__regex *regex); /* NULL ok */

rlhf_status rlhf__matcher_create(rlhf_context *context, rlhf__matcher **out);
void rlhf__matcher_free(rlhf__matcher *matcher); /* NULL ok */

/* Begins a text of `size` bytes: what searches in it, and in what normalizer and earlier
 * stages make of it, may cost, all together. */
void rlhf__matcher_begin(rlhf__matcher *matcher, int64_t size);

/* First match that is not empty at or after `start`. `text` must be valid UTF-8.
 * LIMIT if the searches since _begin need too many steps. */
rlhf_status rlhf__regex_find(const rlhf__regex *regex, rlhf__matcher *matcher,
                             const char *text, int64_t size, int64_t start,
                             bool *out_found, int64_t *out_begin, int64_t *out_end);

#endif
