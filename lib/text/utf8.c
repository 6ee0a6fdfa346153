/* UTF-8 checked byte by byte: the table of well-formed sequences, Unicode 15, table 3-7.
 */
#include "text/utf8.h"

#include <string.h>

/* Length that a first byte announces, and the range of its second byte; 0: not a first
 * byte. */
static int announce(unsigned char first, unsigned char *out_low, unsigned char *out_high)
{
    *out_low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    *out_high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (first < 0x80)
        return 1;
    if (first < 0xC2 || first > 0xF4)
        return 0;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

int rlhf__utf8_char(const char *text, int64_t size)
{
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned char low, high;
    int length = announce(bytes[0], &low, &high);

    for (int i = 1; i < length; i++) {
        if (i >= size)
            return -i;
        if (bytes[i] < low || bytes[i] > high)
            return 0;
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

uint32_t rlhf__utf8_decode(const char *text, int length)
{
    static const unsigned char mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *bytes = (const unsigned char *)text;
    uint32_t code_point = bytes[0] & mask[length];

    for (int i = 1; i < length; i++)
        code_point = code_point << 6 | (bytes[i] & 0x3F);
    return code_point;
}

int rlhf__utf8_encode(uint32_t code_point, char out[4])
{
    int length = code_point < 0x80      ? 1
                 : code_point < 0x800   ? 2
                 : code_point < 0x10000 ? 3
                                        : 4;
    static const unsigned char lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};

    for (int i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code_point & 0x3F));
        code_point >>= 6;
    }
    out[0] = (char)(lead[length] | code_point);
    return length;
}

int64_t rlhf__utf8_valid(const char *text, int64_t size)
{
    int64_t at = 0;

    while (at < size) {
        uint64_t word;
        while (size - at >= 8 &&
               (memcpy(&word, text + at, 8), (word & UINT64_C(0x8080808080808080)) == 0))
            at += 8;
        if (at >= size)
            break;
        int length = rlhf__utf8_char(text + at, size - at);
        if (length <= 0)
            break;
        at += length;
    }
    return at;
}

/* Bytes of the maximal invalid part at `text`: what begins a character but is broken off,
 * else one byte. */
static int64_t invalid_part(const char *text, int64_t size)
{
    for (int64_t i = 3; i > 1; i--)
        if (i <= size && rlhf__utf8_char(text, i) == -i)
            return i;
    return 1;
}

rlhf_status rlhf__utf8_repair(const char *text, int64_t size, rlhf__buffer *out)
{
    int64_t at = 0;

    while (at < size) {
        int64_t valid = rlhf__utf8_valid(text + at, size - at);
        RLHF__TRY(rlhf__buffer_append(out, text + at, valid));
        at += valid;
        if (at < size) {
            RLHF__TRY(rlhf__buffer_append(out, "\xEF\xBF\xBD", 3));
            at += invalid_part(text + at, size - at);
        }
    }
    return rlhf__buffer_append(out, "", 0);
}
