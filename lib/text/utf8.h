/* UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF (RFC 3629).
 */
#ifndef RLHF_TEXT_UTF8_H
#define RLHF_TEXT_UTF8_H

#include <stdint.h>

#include "base/alloc.h"

/* Bytes of the character that `text` starts with, 1 to 4; 0: it starts with an invalid
 * byte; -n: its n bytes, all that there are, are the beginning of a character. `size` at
 * least 1. */
int rlhf__utf8_char(const char *text, int64_t size);
/* Code point of the valid character of `length` bytes at `text`. */
uint32_t rlhf__utf8_decode(const char *text, int length);
/* Writes the character; returns its bytes. */
int rlhf__utf8_encode(uint32_t code_point, char out[4]);
/* Length of the longest valid beginning of the text. */
int64_t rlhf__utf8_valid(const char *text, int64_t size);
/* Appends the text with U+FFFD for each maximal invalid part (Unicode 15, section 3.9),
 * as JSON and terminals need it. */
rlhf_status rlhf__utf8_repair(const char *text, int64_t size, rlhf__buffer *out);

#endif
