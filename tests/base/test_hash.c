/* The two ways of SHA-256's compression against each other: on a CPU with the extensions
 * the library goes one of them only. Its answers are held in test_base.c. */
#define rlhf__sha256_init   own_sha256_init
#define rlhf__sha256_update own_sha256_update
#define rlhf__sha256_hex    own_sha256_hex
#include "base/hash.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { BLOCKS = 5, CASES = 200 };

static void test_both_ways_have_the_same_bits(void **state)
{
    rlhf__sha256 hash;
    uint32_t random = 1;

    (void)state;
    rlhf__sha256_init(&hash);
    if (!hash.by_extension) {
        print_message("skipped: this CPU has no SHA extensions\n");
        skip();
    }
    for (int i = 0; i < CASES; i++) {
        uint32_t plain[8];
        uint8_t bytes[BLOCKS * 64 + 1];
        for (size_t b = 0; b < sizeof bytes; b++) {
            random = random * 1664525u + 1013904223u;
            bytes[b] = (uint8_t)(random >> 24);
        }
        memcpy(plain, bytes, sizeof plain);
        memcpy(hash.state, bytes, sizeof hash.state);
        compress_plain(plain, bytes + i % 2, (size_t)(i % (BLOCKS + 1)));
        compress(&hash, bytes + i % 2, (size_t)(i % (BLOCKS + 1)));
        assert_memory_equal(plain, hash.state, sizeof plain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways_have_the_same_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
