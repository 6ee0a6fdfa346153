/* A library that is compiled and linked with -ffast-math. GCC up to 12 and Clang give it
 * start-up code that makes the loading thread flush denormals; later ones leave that out
 * of shared objects, and then it is done here. */
#include "flush.h"

__attribute__((visibility("default"))) int fast_math_is_loaded(void);

int fast_math_is_loaded(void)
{
    return 1;
}

__attribute__((constructor)) static void start(void)
{
    if (!denormals_are_flushed())
        flush_denormals();
}
