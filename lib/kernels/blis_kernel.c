/* The only user of blis.h. */
#include "kernels/blis_kernel.h"

#include <stdlib.h>

#include <blis.h>

static sgemm_ukr_ft native_kernel(cntx_t *cntx)
{
    return (sgemm_ukr_ft)bli_cntx_get_l3_nat_ukr_dt(BLIS_FLOAT, BLIS_GEMM_UKR, cntx);
}

/* BLIS 0.9 reads BLIS_ARCH_TYPE as a decimal number and aborts the process where its
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

bool rlhf__blis_fits(int64_t rows, int64_t panel)
{
    if (!environment_is_safe())
        return false;
    cntx_t *cntx = bli_gks_query_cntx();
    dim_t mr = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_MR, cntx);
    dim_t nr = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_NR, cntx);

    if (bli_cntx_l3_nat_ukr_prefers_rows_dt(BLIS_FLOAT, BLIS_GEMM_UKR, cntx))
        return mr == rows && nr == panel;
    return nr == rows && mr == panel;
}

void rlhf__blis_microkernel(int64_t k, const float *a, const float *b, float *c,
                            int64_t ldc, bool accumulate)
{
    cntx_t *cntx = bli_gks_query_cntx();
    dim_t mr = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_MR, cntx);
    dim_t nr = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_NR, cntx);
    float one = 1.0f, beta = accumulate ? 1.0f : 0.0f;
    auxinfo_t next;

    bli_auxinfo_set_next_a((void *)(uintptr_t)a, &next);
    bli_auxinfo_set_next_b((void *)(uintptr_t)b, &next);
    /* A kernel that prefers columns computes the transpose: its rows are our panel. */
    if (bli_cntx_l3_nat_ukr_prefers_rows_dt(BLIS_FLOAT, BLIS_GEMM_UKR, cntx))
        native_kernel(cntx)(mr, nr, k, &one, (float *)(uintptr_t)a, (float *)(uintptr_t)b,
                            &beta, c, ldc, 1, &next, cntx);
    else
        native_kernel(cntx)(mr, nr, k, &one, (float *)(uintptr_t)b, (float *)(uintptr_t)a,
                            &beta, c, 1, ldc, &next, cntx);
}
