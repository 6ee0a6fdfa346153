/* The compute dtype of a test's contexts: meson runs some programs once more for bf16. */
#ifndef TESTS_DTYPE_H
#define TESTS_DTYPE_H

#include <stdlib.h>
#include <string.h>

#include <rlhf/context.h>

static inline int32_t test_dtype(void)
{
    const char *name = getenv("RLHF_TEST_DTYPE");

    return name && strcmp(name, "bf16") == 0 ? RLHF_DTYPE_BF16 : RLHF_DTYPE_FP32;
}

#endif
