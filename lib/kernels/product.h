/* Matrix products of a level: accumulators in registers, one chain of v_fma over k,
 * vectors across columns. Included by level.h only. TILE_ROWS and PANEL_VECTORS are
 * the level's. */

#define INLINE static inline __attribute__((always_inline))
#define PANEL  (PANEL_VECTORS * LANES)

/* c[M][N vectors] (+)= a[M][k] b[k][N vectors]; M and N are constants at each call. */
INLINE void tile(const int M, const int N, int64_t k, const float *a, int64_t a_row,
                 int64_t a_step, const float *b, int64_t ldb, float *c, int64_t ldc,
                 bool accumulate)
{
    vf sum[16][4];

#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 4
        for (int j = 0; j < N; j++)
            sum[i][j] = v_set(0.0f);
    for (int64_t p = 0; p < k; p++) {
        vf row[4];
#pragma GCC unroll 4
        for (int j = 0; j < N; j++)
            row[j] = v_load(b + p * ldb + j * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < M; i++) {
            vf x = v_set(a[i * a_row + p * a_step]);
#pragma GCC unroll 4
            for (int j = 0; j < N; j++)
                sum[i][j] = v_fma(x, row[j], sum[i][j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 4
        for (int j = 0; j < N; j++) {
            float *at = c + i * ldc + j * LANES;
            v_store(at, accumulate ? v_load(at) + sum[i][j] : sum[i][j]);
        }
}

/* A row count known at run time becomes a constant. */
INLINE void tile_rows(int64_t m, const int N, int64_t k, const float *a, int64_t a_row,
                      int64_t a_step, const float *b, int64_t ldb, float *c, int64_t ldc,
                      bool accumulate)
{
#define TILE_CASE(M)                                                                     \
    case M:                                                                              \
        tile(M, N, k, a, a_row, a_step, b, ldb, c, ldc, accumulate);                     \
        break
    switch (m) {
        TILE_CASE(1);
        TILE_CASE(2);
        TILE_CASE(3);
        TILE_CASE(4);
        TILE_CASE(5);
        TILE_CASE(6);
#if TILE_ROWS > 6
        TILE_CASE(7);
        TILE_CASE(8);
        TILE_CASE(9);
        TILE_CASE(10);
        TILE_CASE(11);
        TILE_CASE(12);
#endif
    }
#undef TILE_CASE
}

/* a_row == 1 (columns of a lie together) or a_step == 1 (rows do): constants for the
 * compiler. */
static void tile_any(int64_t m, bool two, int64_t k, const float *a, int64_t a_row,
                     int64_t a_step, const float *b, int64_t ldb, float *c, int64_t ldc,
                     bool accumulate)
{
    if (a_step == 1 && two)
        tile_rows(m, 2, k, a, a_row, 1, b, ldb, c, ldc, accumulate);
    else if (a_step == 1)
        tile_rows(m, 1, k, a, a_row, 1, b, ldb, c, ldc, accumulate);
    else if (two)
        tile_rows(m, 2, k, a, 1, a_step, b, ldb, c, ldc, accumulate);
    else
        tile_rows(m, 1, k, a, 1, a_step, b, ldb, c, ldc, accumulate);
}

/* Packed operands: a[k][TILE_ROWS], b[k][PANEL]. */
static void microkernel(int64_t m, int64_t k, const float *a, const float *b, float *c,
                        int64_t ldc, bool accumulate)
{
    if (m == TILE_ROWS)
        tile(TILE_ROWS, PANEL_VECTORS, k, a, 1, TILE_ROWS, b, PANEL, c, ldc, accumulate);
    else
        tile_rows(m, PANEL_VECTORS, k, a, 1, TILE_ROWS, b, PANEL, c, ldc, accumulate);
}

static void product(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                    int64_t a_step, const float *b, int64_t ldb, float *c, int64_t ldc,
                    bool accumulate)
{
    for (int64_t i = 0; i < m; i += TILE_ROWS) {
        int64_t rows = m - i < TILE_ROWS ? m - i : TILE_ROWS, j = 0;
        const float *ai = a + i * a_row;
        float *ci = c + i * ldc;
        if (rows == 1 && a_step == 1)
            for (; j + 4 * LANES <= n; j += 4 * LANES)
                tile(1, 4, k, ai, 0, 1, b + j, ldb, ci + j, ldc, accumulate);
        for (; j + 2 * LANES <= n; j += 2 * LANES)
            tile_any(rows, true, k, ai, a_row, a_step, b + j, ldb, ci + j, ldc,
                     accumulate);
        for (; j < n; j += LANES)
            tile_any(rows, false, k, ai, a_row, a_step, b + j, ldb, ci + j, ldc,
                     accumulate);
    }
}

/* M rows against four panels at once: enough independent chains to hide the latency of
 * fma, and four streams of memory. */
INLINE void skinny_four(const int M, int64_t k, const float *x, int64_t ldx,
                        const float *b, int64_t stride, float *c, int64_t ldc)
{
    for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += 256) {
        int64_t k1 = k - k0 < 256 ? k : k0 + 256;
        vf sum[3][4][PANEL_VECTORS];
#pragma GCC unroll 3
        for (int i = 0; i < M; i++)
#pragma GCC unroll 4
            for (int q = 0; q < 4; q++)
#pragma GCC unroll 2
                for (int j = 0; j < PANEL_VECTORS; j++)
                    sum[i][q][j] = v_set(0.0f);
        for (int64_t p = k0; p < k1; p++) {
#pragma GCC unroll 4
            for (int q = 0; q < 4; q++) {
#pragma GCC unroll 2
                for (int j = 0; j < PANEL_VECTORS; j++) {
                    vf w = v_load(b + q * stride + p * PANEL + j * LANES);
#pragma GCC unroll 3
                    for (int i = 0; i < M; i++)
                        sum[i][q][j] = v_fma(v_set(x[i * ldx + p]), w, sum[i][q][j]);
                }
            }
        }
#pragma GCC unroll 3
        for (int i = 0; i < M; i++)
#pragma GCC unroll 4
            for (int q = 0; q < 4; q++)
#pragma GCC unroll 2
                for (int j = 0; j < PANEL_VECTORS; j++) {
                    float *at = c + i * ldc + q * PANEL + j * LANES;
                    v_store(at, k0 ? v_load(at) + sum[i][q][j] : sum[i][q][j]);
                }
    }
}

static void skinny(int64_t m, int64_t panels, int64_t k, const float *x, int64_t ldx,
                   const float *b, int64_t stride, float *c, int64_t ldc)
{
    int64_t q = 0;

    for (; q + 4 <= panels; q += 4) {
        if (m == 1)
            skinny_four(1, k, x, ldx, b + q * stride, stride, c + q * PANEL, ldc);
        else if (m == 2)
            skinny_four(2, k, x, ldx, b + q * stride, stride, c + q * PANEL, ldc);
        else
            skinny_four(3, k, x, ldx, b + q * stride, stride, c + q * PANEL, ldc);
    }
    for (; q < panels; q++)
        for (int64_t k0 = 0; k0 == 0 || k0 < k; k0 += 256)
            product(m, PANEL, k - k0 < 256 ? k - k0 : 256, x + k0, ldx, 1,
                    b + q * stride + k0 * PANEL, PANEL, c + q * PANEL, ldc, k0 > 0);
}
