/* The only user of blis.h.
 *
 * The kernel is taken by its name. BLIS's own choice of one is made from tables that it
 * allocates and, hidden in our library, would keep after dlclose; it ends the process
 * where memory is short, and hangs on an environment variable. A shared BLIS exports
 * nothing else to ask, so with it that is what is done. */
#include "kernels/blis_kernel.h"

#include <stdlib.h>

#include <blis.h>

/* BLIS 1 has one type for the kernels of all precisions, and new names for what asks. */
#if defined(RLHF_BLIS_1)
typedef gemm_ukr_ft microkernel;
#else
typedef sgemm_ukr_ft microkernel;
#endif

#if defined(RLHF_BLIS_SHARED)

/* BLIS reads BLIS_ARCH_TYPE as a decimal number and aborts the process where its
 * build has no such architecture. Those below are in every x86-64 build; any other is
 * left alone. */
static bool environment_is_safe(void)
{
    static const long safe[] = {BLIS_ARCH_SKX, BLIS_ARCH_HASWELL, BLIS_ARCH_ZEN,
                                BLIS_ARCH_ZEN2, BLIS_ARCH_ZEN3};
    const char *type = getenv("BLIS_ARCH_TYPE");

    for (size_t i = 0; type && i < sizeof safe / sizeof safe[0]; i++)
        if (strtol(type, NULL, 10) == safe[i])
            return true;
    return !type;
}

bool rlhf__blis_find(rlhf__blis *out)
{
    if (!environment_is_safe())
        return false;
#if defined(RLHF_BLIS_1)
    const cntx_t *cntx = bli_gks_query_cntx();

    out->kernel = (void (*)(void))bli_cntx_get_ukr_dt(BLIS_FLOAT, BLIS_GEMM_UKR, cntx);
    out->prefers_rows = bli_cntx_ukr_prefers_rows_dt(BLIS_FLOAT, BLIS_GEMM_UKR, cntx);
#else
    cntx_t *cntx = bli_gks_query_cntx();

    out->kernel =
        (void (*)(void))bli_cntx_get_l3_nat_ukr_dt(BLIS_FLOAT, BLIS_GEMM_UKR, cntx);
    out->prefers_rows =
        bli_cntx_l3_nat_ukr_prefers_rows_dt(BLIS_FLOAT, BLIS_GEMM_UKR, cntx);
#endif
    out->cntx = cntx;
    out->rows = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_MR, cntx);
    out->columns = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_NR, cntx);
    return true;
}

#elif defined(BLIS_KERNELS_HASWELL)

/* What BLIS picks on every CPU with AVX2 and FMA but no AVX-512. It reads no context. */
bool rlhf__blis_find(rlhf__blis *out)
{
    *out = (rlhf__blis){.kernel = (void (*)(void))bli_sgemm_haswell_asm_6x16,
                        .rows = 6,
                        .columns = 16,
                        .prefers_rows = true};
    return true;
}

#else

bool rlhf__blis_find(rlhf__blis *out)
{
    (void)out;
    return false;
}

#endif

bool rlhf__blis_fits(int64_t rows, int64_t panel)
{
    rlhf__blis blis;

    if (!rlhf__blis_find(&blis))
        return false;
    if (blis.prefers_rows)
        return blis.rows == rows && blis.columns == panel;
    return blis.columns == rows && blis.rows == panel;
}

void rlhf__blis_microkernel(const rlhf__blis *blis, int64_t k, const float *a,
                            const float *b, float *c, int64_t ldc, bool accumulate)
{
    microkernel kernel = (microkernel)blis->kernel;
    cntx_t *cntx = (cntx_t *)(uintptr_t)blis->cntx;
    float one = 1.0f, beta = accumulate ? 1.0f : 0.0f;
    float *left = (float *)(uintptr_t)a, *right = (float *)(uintptr_t)b;
    auxinfo_t next;

    bli_auxinfo_set_next_a(left, &next);
    bli_auxinfo_set_next_b(right, &next);
    /* A kernel that prefers columns computes the transpose: its rows are our panel. */
    if (blis->prefers_rows)
        kernel(blis->rows, blis->columns, k, &one, left, right, &beta, c, ldc, 1, &next,
               cntx);
    else
        kernel(blis->rows, blis->columns, k, &one, right, left, &beta, c, 1, ldc, &next,
               cntx);
}
