/* Attention's blocks of 64 keys: their products and the online softmax, for many rows at
 * a time. Included by level.h only. */

#define BLOCK RLHF__ATTENTION_BLOCK

/* c[M][N vectors] = factors ? c factors[i] + a b : a b; M, N and, where it pays, the
 * strides of a are constants at each call: then one register addresses all of a. */
INLINE void block_tile(const int M, const int N, const bool halves, int64_t k,
                       const float *a, int64_t a_row, int64_t a_step, const void *b,
                       int64_t ldb, const float *factors, float *c, int64_t ldc)
{
    vf sum[16][8];

#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
        for (int j = 0; j < N; j++)
            sum[i][j] = v_set(0.0f);
    tile_steps(M, N, halves, k, a, a_row, a_step, b, ldb, sum);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
        for (int j = 0; j < N; j++) {
            float *at = c + i * ldc + j * LANES;
            v_store(at, factors ? v_fma(v_load(at), v_set(factors[i]), sum[i][j])
                                : sum[i][j]);
        }
}

INLINE void block_strip(const int M, const bool halves, int64_t n, int64_t k,
                        const float *a, int64_t a_row, int64_t a_step, const void *b,
                        int64_t ldb, const float *factors, float *c, int64_t ldc)
{
    int64_t j = 0;

#define ACROSS(N)                                                                        \
    for (; j + (N)*LANES <= n; j += (N)*LANES)                                           \
    block_tile(M, N, halves, k, a, a_row, a_step, right_at(halves, b, j), ldb, factors,  \
               c + j, ldc)
    if (M == 1) { /* chains enough to hide the latency of fma */
        ACROSS(8);
        ACROSS(6);
        ACROSS(4);
        ACROSS(3);
    }
    ACROSS(2);
    ACROSS(1);
#undef ACROSS
}

INLINE void block_strips(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                         int64_t a_step, const float *b, int64_t ldb,
                         const float *factors, float *c, int64_t ldc)
{
#define STRIPS(M)                                                                        \
    for (; m >= (M); m -= (M), a += (M)*a_row, c += (M)*ldc) {                           \
        block_strip(M, false, n, k, a, a_row, a_step, b, ldb, factors, c, ldc);          \
        factors = factors ? factors + (M) : NULL;                                        \
    }
    STRIPS(TILE_ROWS)
#if TILE_ROWS > 8
    STRIPS(8)
#endif
    STRIPS(4)
    STRIPS(1)
#undef STRIPS
}

static void block_product(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                          const float *b, int64_t ldb, const float *factors, float *c,
                          int64_t ldc)
{
    if (lda == BLOCK)
        block_strips(m, n, k, a, BLOCK, 1, b, ldb, factors, c, ldc);
    else
        block_strips(m, n, k, a, lda, 1, b, ldb, factors, c, ldc);
}

static void block_product_turned(int64_t m, int64_t n, int64_t k, const float *a,
                                 const float *b, int64_t ldb, const float *factors,
                                 float *c, int64_t ldc)
{
    block_strips(m, n, k, a, 1, BLOCK, b, ldb, factors, c, ldc);
}

static void row_product_halves(int64_t n, int64_t k, const float *a, const uint16_t *b,
                               int64_t ldb, const float *factor, float *c)
{
    block_strip(1, true, n, k, a, 0, 1, b, ldb, factor, c, 0);
}

/* A row's scores from j on, of which those before `last` count: the others are -inf. */
INLINE vf scores_at(const float *s, int64_t j, int64_t last)
{
    return j + LANES <= last ? v_load(s + j) : v_load_part(s + j, last - j, -INFINITY);
}

/* Row by row there would be a chain of the maximum, its exponential and the sum, most of
 * it waiting; so each step is taken for all rows. */
static void softmax_rows(int64_t rows, float *s, float scale, const int64_t *first,
                         const int64_t *last, float *m, float *l, float *factors)
{
    float next[BLOCK], sums[BLOCK];

    for (int64_t r = 0; r < rows; r++) {
        float *row = s + r * BLOCK;
        vf top = v_set(-INFINITY);
        for (int64_t j = 0; j < first[r]; j++)
            row[j] = -INFINITY;
        for (int64_t j = 0; j < last[r]; j += LANES)
            top = v_max(top, scores_at(row, j, last[r]) * scale);
        float high = v_max_lane(top);
        next[r] = high > m[r] ? high : m[r];
    }
    for (int64_t r = 0; r < rows; r++) {
        float *row = s + r * BLOCK;
        vf sum = v_set(0.0f);
        int64_t j = 0;
        for (; j < last[r]; j += LANES) {
            vf p = v_exp(scores_at(row, j, last[r]) * scale - next[r]);
            v_store(row + j, p);
            sum += p;
        }
        for (; j < BLOCK; j += LANES)
            v_store(row + j, v_set(0.0f));
        sums[r] = v_sum(sum);
    }
    FOR_VECTORS (rows) {
        vf old = load(m + i, n, 0.0f), now = load(next + i, n, 0.0f);
        vf shrink = v_where_less(v_set(-INFINITY), old, v_exp(old - now), v_set(0.0f));
        store(factors + i, n, shrink);
        store(l + i, n, load(l + i, n, 0.0f) * shrink + load(sums + i, n, 0.0f));
        store(m + i, n, now);
    }
}

static void softmax_rows_grad(int64_t rows, int64_t cols, float *p, float *ds,
                              float scale, const int64_t *first, const int64_t *last,
                              const float *lse, const float *d)
{
    for (int64_t r = 0; r < rows; r++, p += BLOCK, ds += BLOCK)
        for (int64_t j = 0; j < cols; j += LANES) {
            vf w = v_exp(v_fma(v_load(p + j), v_set(scale), v_set(-lse[r])));
            if (first[r] > j || last[r] < j + LANES)
                w = v_keep(w, first[r] - j, last[r] - j);
            v_store(p + j, w);
            v_store(ds + j, w * (v_load(ds + j) - d[r]) * scale);
        }
}
