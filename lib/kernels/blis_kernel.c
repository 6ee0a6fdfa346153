/* The only user of blis.h. */
#include "kernels/blis_kernel.h"

#include <blis.h>

static sgemm_ukr_ft native_kernel(cntx_t *cntx)
{
    return (sgemm_ukr_ft)bli_cntx_get_l3_nat_ukr_dt(BLIS_FLOAT, BLIS_GEMM_UKR, cntx);
}

bool rlhf__blis_fits(int64_t rows, int64_t panel)
{
    cntx_t *cntx = bli_gks_query_cntx();
    dim_t mr = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_MR, cntx);
    dim_t nr = bli_cntx_get_blksz_def_dt(BLIS_FLOAT, BLIS_NR, cntx);

    if (bli_cntx_l3_nat_ukr_prefers_rows_dt(BLIS_FLOAT, BLIS_GEMM_UKR, cntx))
        return mr == rows && nr == panel;
    return nr == rows && mr == panel;
}

void rlhf__blis_microkernel(int64_t k, const float *a, const float *b, float *c, int64_t ldc,
                            bool accumulate)
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
