/* Bytes to valid UTF-8, for texts whose answer ended within a character. */
#include "feedback/store.h"

#include "base/alloc.h"
#include "base/size.h"

/* Bytes of the character at text[0..size), or, negative, of the maximal invalid part there.
 * Table 3-7 of the Unicode standard: the first byte bounds the second. */
static int64_t measure(const unsigned char *text, int64_t size)
{
    const unsigned char lead = text[0];
    unsigned char low = 0x80, high = 0xbf;
    int64_t length;

    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        length = 2;
    else if (lead >= 0xe0 && lead <= 0xef)
        length = 3;
    else if (lead >= 0xf0 && lead <= 0xf4)
        length = 4;
    else
        return -1;
    if (lead == 0xe0)
        low = 0xa0; /* no overlong forms */
    else if (lead == 0xed)
        high = 0x9f; /* no surrogates */
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f; /* nothing above U+10FFFF */
    for (int64_t i = 1; i < length; i++) {
        if (i >= size || text[i] < low || text[i] > high)
            return -i;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

rlhf_status rlhf__utf8_repair(const char *text, int64_t size, rlhf__buffer *out)
{
    int64_t good = 0; /* bytes before `at` that are still to be appended */

    for (int64_t at = 0; at < size;) {
        const int64_t length = measure((const unsigned char *)text + at, size - at);
        if (length > 0) {
            good += length;
            at += length;
            continue;
        }
        RLHF__TRY(rlhf__buffer_append(out, text + at - good, good));
        RLHF__TRY(rlhf__buffer_append(out, "\xef\xbf\xbd", 3));
        good = 0;
        at -= length;
    }
    return rlhf__buffer_append(out, text + size - good, good);
}
