/* Matrix products of a level: accumulators in registers, one chain of v_fma over k,
 * vectors across columns. Included by level.h only. TILE_ROWS and PANEL_VECTORS are
 * the level's. */

#define INLINE static inline __attribute__((always_inline))
#define PANEL  (PANEL_VECTORS * LANES)
#define AHEAD  512             /* floats that a stream of memory is asked for early */
#define SUMS   (2 * TILE_ROWS) /* vectors of sums that registers hold */

/* Element i of a right side of floats or, with `halves`, numbers in bf16. */
INLINE const void *right_at(const bool halves, const void *b, int64_t i)
{
    if (halves)
        return (const uint16_t *)b + i;
    return (const float *)b + i;
}

INLINE vf right_load(const bool halves, const void *at)
{
    return halves ? v_load_halves(at) : v_load(at);
}

/* k steps of the chain: sum[M][N vectors] += a[M][k] b[k][N vectors]. */
INLINE void tile_steps(const int M, const int N, const bool halves, int64_t k,
                       const float *a, int64_t a_row, int64_t a_step, const void *b,
                       int64_t ldb, vf sum[16][8])
{
    for (int64_t p = 0; p < k; p++) {
        vf row[8];
#pragma GCC unroll 8
        for (int j = 0; j < N; j++)
            row[j] = right_load(halves, right_at(halves, b, p * ldb + j * LANES));
#pragma GCC unroll 16
        for (int i = 0; i < M; i++) {
            vf x = v_set(a[i * a_row + p * a_step]);
#pragma GCC unroll 8
            for (int j = 0; j < N; j++)
                sum[i][j] = v_fma(x, row[j], sum[i][j]);
        }
    }
}

/* Asks for one address, and moves on to the next. */
INLINE void ask_next(rlhf__ask *ask, int64_t *left)
{
    __builtin_prefetch(ask->at, 0, 2);
    --*left;
    ask->at += *left ? ask->step : ask->step + ask->jump;
    *left = *left ? *left : ask->steps;
}

/* All k steps, RLHF__ASK_STEPS at a time, so that little but multiply-adds takes the
 * ports of those. Each such block asks for `asks` addresses, block i for row i of c too:
 * the memory takes so many requests at once. */
INLINE void tile_blocks(const int M, const int N, const int asks, int64_t k,
                        const float *a, int64_t a_row, int64_t a_step, const float *b,
                        int64_t ldb, const float *c, int64_t ldc, rlhf__ask ask,
                        vf sum[16][8])
{
    const int steps = RLHF__ASK_STEPS;
    int64_t blocks = k / steps, head = blocks < M ? blocks : M, left = ask.steps;

    for (int64_t i = 0; i < blocks; i++) {
        if (i < head) {
#pragma GCC unroll 8
            for (int j = 0; j < N; j++)
                __builtin_prefetch(c + i * ldc + j * LANES, 1, 3);
            __builtin_prefetch(c + i * ldc + N * LANES - 1, 1, 3);
        }
#pragma GCC unroll 4
        for (int q = 0; q < steps; q++) {
            if (q < asks)
                ask_next(&ask, &left);
            tile_steps(M, N, false, 1, a + (i * steps + q) * a_step, a_row, a_step,
                       b + (i * steps + q) * ldb, ldb, sum);
        }
    }
    tile_steps(M, N, false, k - blocks * steps, a + blocks * steps * a_step, a_row,
               a_step, b + blocks * steps * ldb, ldb, sum);
}

/* c[M][N vectors] (+)= a[M][k] b[k][N vectors]; M and N are constants at each call.
 * Where there is something to ask for, c, too, is taken to lie in memory. */
INLINE void tile(const int M, const int N, int64_t k, const float *a, int64_t a_row,
                 int64_t a_step, const float *b, int64_t ldb, float *c, int64_t ldc,
                 bool accumulate, const rlhf__ask *ask)
{
    vf sum[16][8];

#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
        for (int j = 0; j < N; j++)
            sum[i][j] = v_set(0.0f);
    if (!ask)
        tile_steps(M, N, false, k, a, a_row, a_step, b, ldb, sum);
    else if (ask->often)
        tile_blocks(M, N, RLHF__ASK_STEPS, k, a, a_row, a_step, b, ldb, c, ldc, *ask,
                    sum);
    else
        tile_blocks(M, N, 1, k, a, a_row, a_step, b, ldb, c, ldc, *ask, sum);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
        for (int j = 0; j < N; j++) {
            float *at = c + i * ldc + j * LANES;
            v_store(at, accumulate ? v_load(at) + sum[i][j] : sum[i][j]);
        }
}

/* A row count known at run time becomes a constant. */
INLINE void tile_rows(int64_t m, const int N, int64_t k, const float *a, int64_t a_row,
                      int64_t a_step, const float *b, int64_t ldb, float *c, int64_t ldc,
                      bool accumulate, const rlhf__ask *ask)
{
#define TILE_CASE(M)                                                                     \
    case M:                                                                              \
        tile(M, N, k, a, a_row, a_step, b, ldb, c, ldc, accumulate, ask);                \
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
        tile_rows(m, 2, k, a, a_row, 1, b, ldb, c, ldc, accumulate, NULL);
    else if (a_step == 1)
        tile_rows(m, 1, k, a, a_row, 1, b, ldb, c, ldc, accumulate, NULL);
    else if (two)
        tile_rows(m, 2, k, a, 1, a_step, b, ldb, c, ldc, accumulate, NULL);
    else
        tile_rows(m, 1, k, a, 1, a_step, b, ldb, c, ldc, accumulate, NULL);
}

/* Packed operands: a[k][TILE_ROWS], b[k][PANEL]. */
static void microkernel(int64_t m, int64_t k, const float *a, const float *b, float *c,
                        int64_t ldc, bool accumulate, const rlhf__ask *ask)
{
    tile_rows(m, PANEL_VECTORS, k, a, 1, TILE_ROWS, b, PANEL, c, ldc, accumulate, ask);
}

static void product(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                    int64_t a_step, const float *b, int64_t ldb, float *c, int64_t ldc,
                    bool accumulate)
{
    for (int64_t i = 0; i < m; i += TILE_ROWS) {
        int64_t rows = m - i < TILE_ROWS ? m - i : TILE_ROWS, j = 0;
        const float *ai = a + i * a_row;
        float *ci = c + i * ldc;
        if (rows == 1 && a_step == 1) {
            for (; j + 8 * LANES <= n; j += 8 * LANES)
                tile(1, 8, k, ai, 0, 1, b + j, ldb, ci + j, ldc, accumulate, NULL);
            for (; j + 6 * LANES <= n; j += 6 * LANES)
                tile(1, 6, k, ai, 0, 1, b + j, ldb, ci + j, ldc, accumulate, NULL);
            for (; j + 4 * LANES <= n; j += 4 * LANES)
                tile(1, 4, k, ai, 0, 1, b + j, ldb, ci + j, ldc, accumulate, NULL);
        }
        for (; j + 2 * LANES <= n; j += 2 * LANES)
            tile_any(rows, true, k, ai, a_row, a_step, b + j, ldb, ci + j, ldc,
                     accumulate);
        for (; j < n; j += LANES)
            tile_any(rows, false, k, ai, a_row, a_step, b + j, ldb, ci + j, ldc,
                     accumulate);
    }
}

/* M rows against Q panels at once, all of k: enough independent chains to hide the
 * latency of fma. Each panel is a stream of memory, asked for AHEAD floats early where
 * there are few. */

INLINE void skinny_panels(const int M, const int Q, int64_t k, const float *x,
                          int64_t ldx, const float *b, int64_t stride, float *c,
                          int64_t ldc, bool accumulate)
{
    for (int64_t k0 = 0, k1 = -1; k1 < k; k0 = k1) {
        vf sum[TILE_ROWS][4][PANEL_VECTORS];
        k1 = rlhf__k_block_end(k0, k);
#pragma GCC unroll 16
        for (int i = 0; i < M; i++)
#pragma GCC unroll 4
            for (int q = 0; q < Q; q++)
#pragma GCC unroll 2
                for (int j = 0; j < PANEL_VECTORS; j++)
                    sum[i][q][j] = v_set(0.0f);
        for (int64_t p = k0; p < k1; p++) {
#pragma GCC unroll 4
            for (int q = 0; q < Q; q++) {
                const float *row = b + q * stride + p * PANEL;
                vf w[PANEL_VECTORS];
                if (Q < 4)
                    __builtin_prefetch(row + AHEAD);
#pragma GCC unroll 2
                for (int j = 0; j < PANEL_VECTORS; j++)
                    w[j] = v_load(row + j * LANES);
#pragma GCC unroll 16
                for (int i = 0; i < M; i++)
#pragma GCC unroll 2
                    for (int j = 0; j < PANEL_VECTORS; j++)
                        sum[i][q][j] = v_fma(v_set(x[i * ldx + p]), w[j], sum[i][q][j]);
            }
        }
#pragma GCC unroll 16
        for (int i = 0; i < M; i++)
#pragma GCC unroll 4
            for (int q = 0; q < Q; q++)
#pragma GCC unroll 2
                for (int j = 0; j < PANEL_VECTORS; j++) {
                    float *at = c + i * ldc + q * PANEL + j * LANES;
                    v_store(at,
                            k0 || accumulate ? v_load(at) + sum[i][q][j] : sum[i][q][j]);
                }
    }
}

/* As many panels at once as there are registers for. */
INLINE void skinny_rows(const int M, int64_t panels, int64_t k, const float *x,
                        int64_t ldx, const float *b, int64_t stride, float *c,
                        int64_t ldc, bool accumulate)
{
    const int at_once = M * PANEL_VECTORS * 4 <= SUMS   ? 4
                        : M * PANEL_VECTORS * 2 <= SUMS ? 2
                                                        : 1;
    int64_t q = 0;

    for (; q + at_once <= panels; q += at_once)
        skinny_panels(M, at_once, k, x, ldx, b + q * stride, stride, c + q * PANEL, ldc,
                      accumulate);
    if (at_once == 4 && q + 2 <= panels) {
        skinny_panels(M, 2, k, x, ldx, b + q * stride, stride, c + q * PANEL, ldc,
                      accumulate);
        q += 2;
    }
    for (; q < panels; q++)
        skinny_panels(M, 1, k, x, ldx, b + q * stride, stride, c + q * PANEL, ldc,
                      accumulate);
}

static void skinny(int64_t m, int64_t panels, int64_t k, const float *x, int64_t ldx,
                   const float *b, int64_t stride, float *c, int64_t ldc, bool accumulate)
{
#define SKINNY_CASE(M)                                                                   \
    case M:                                                                              \
        skinny_rows(M, panels, k, x, ldx, b, stride, c, ldc, accumulate);                \
        break
    switch (m) {
        SKINNY_CASE(1);
        SKINNY_CASE(2);
        SKINNY_CASE(3);
        SKINNY_CASE(4);
        SKINNY_CASE(5);
        SKINNY_CASE(6);
#if TILE_ROWS > 6
        SKINNY_CASE(7);
        SKINNY_CASE(8);
        SKINNY_CASE(9);
        SKINNY_CASE(10);
        SKINNY_CASE(11);
        SKINNY_CASE(12);
#endif
    }
#undef SKINNY_CASE
}
