/* Which level this machine can run. */
#include "kernels/amx.h"
#include "kernels/bf16.h"
#include "kernels/blis_kernel.h"
#include "kernels/table.h"

static bool can_run(int32_t level)
{
    switch (level) {
    case RLHF_CPU_PORTABLE:
        return true;
#if defined(__x86_64__)
    case RLHF_CPU_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case RLHF_CPU_AVX512_BF16:
        return can_run(RLHF_CPU_AVX512) && __builtin_cpu_supports("avx512bf16");
    case RLHF_CPU_AMX:
        return can_run(RLHF_CPU_AVX512_BF16) && rlhf__amx_enable();
    case RLHF_CPU_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("fma");
#endif
    default:
        return false;
    }
}

rlhf_status rlhf__kernels_resolve_level(int32_t requested, int32_t dtype,
                                        int32_t *out_level)
{
    if (requested == RLHF_CPU_AUTO) {
        requested = dtype == RLHF_DTYPE_BF16 ? RLHF_CPU_AMX : RLHF_CPU_AVX512_BF16;
        while (!can_run(requested))
            requested--;
    } else if (!can_run(requested)) {
        return rlhf__fail(RLHF_ERR_UNSUPPORTED,
                          "this CPU, or its system, cannot run kernel level %d",
                          (int)requested);
    }
    *out_level = requested;
    return RLHF_OK;
}

const void *rlhf__kernels_for_level(int32_t level)
{
#if defined(__x86_64__)
    if (level >= RLHF_CPU_AVX512)
        return &rlhf__kernels_avx512;
    if (level == RLHF_CPU_AVX2)
        return &rlhf__kernels_avx2;
#endif
    (void)level;
    return &rlhf__kernels_portable;
}

const void *rlhf__kernels_for_dtype(int32_t level, int32_t dtype)
{
    if (dtype != RLHF_DTYPE_BF16)
        return NULL;
#if defined(__x86_64__)
    if (level == RLHF_CPU_AMX)
        return &rlhf__bf16_amx;
    if (level == RLHF_CPU_AVX512_BF16)
        return &rlhf__bf16_avx512_bf16;
    if (level == RLHF_CPU_AVX512)
        return &rlhf__bf16_avx512;
    if (level == RLHF_CPU_AVX2)
        return &rlhf__bf16_avx2;
#endif
    (void)level;
    return &rlhf__bf16_portable;
}

bool rlhf__kernels_use_blis(int32_t level)
{
    const rlhf__kernels *table = rlhf__kernels_for_level(level);

    return level == RLHF_CPU_AVX2 && rlhf__blis_fits(table->tile_rows, table->panel);
}
