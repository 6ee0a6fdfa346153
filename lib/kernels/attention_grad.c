/* Backward of attention: weights are recomputed from the saved log-sum, block by block.
 * With P = exp(S scale - lse), D_i = sum_c dO_ic O_ic:
 *   dV += P^T dO;  dP = dO V^T;  dS = P (dP - D) scale;  dQ += dS K;  dK += dS^T Q. */
#include <string.h>

#include "kernels/attention.h"
#include "kernels/rows.h"

typedef struct grad_job {
    const rlhf__kernels *table;
    const rlhf__attention *a;
    int64_t total, longest; /* tokens in all, and of the longest sequence rounded up to
                               64 */
    float **handed; /* [num_seqs] gradients of its leader's rows, [kv heads][2][shared]
                       [dp]; NULL: it has no leader */
    const float *out, *dout, *lse;
    int64_t ldo, lddo;
    float *dq, *dk, *dv;
    float *scratch;
    int64_t scratch_size;
} grad_job;

/* One thread's work space, for one sequence and one kv head. */
typedef struct grad_space {
    float *keys_t, *values_t;                 /* [blocks][d][64] */
    float *queries, *douts;                   /* [T][stride] */
    float *keys, *dkeys, *dvalues, *dqueries; /* [T][dp] */
    float *d;                                 /* [T] */
    float *p, *ds;                            /* [64][64] */
} grad_space;

static int64_t space_size(int64_t longest, int64_t head_dim)
{
    int64_t dp = rlhf__attention_padded(head_dim), ld = rlhf__attention_stride(head_dim);

    return longest * (2 * head_dim + 4 * dp + 2 * ld + 1) + 2 * BLOCK * BLOCK;
}

static void lay_out(grad_space *w, float *at, int64_t longest, int64_t d)
{
    int64_t dp = rlhf__attention_padded(d), ld = rlhf__attention_stride(d);
    float **padded[] = {&w->keys, &w->dkeys, &w->dvalues, &w->dqueries};

    w->p = at;
    w->ds = w->p + BLOCK * BLOCK;
    at = w->ds + BLOCK * BLOCK;
    for (size_t i = 0; i < sizeof padded / sizeof padded[0]; i++, at += longest * dp)
        *padded[i] = at;
    w->queries = at;
    w->douts = w->queries + longest * ld;
    w->keys_t = w->douts + longest * ld;
    w->values_t = w->keys_t + longest * d;
    w->d = w->values_t + longest * d;
}

/* Rows of src, zero padded to whole vectors. */
static void copy_rows(const float *src, int64_t ld, int64_t count, int64_t d, float *out,
                      int64_t ldo)
{
    int64_t dp = rlhf__attention_padded(d);

    for (int64_t i = 0; i < count; i++) {
        memcpy(out + i * ldo, src + i * ld, (size_t)d * sizeof *out);
        for (int64_t c = d; c < dp; c++)
            out[i * ldo + c] = 0.0f;
    }
}

/* A sequence's rows, by position: the first are its leader's. */
typedef struct place {
    int64_t shared, shared_row; /* shared_row + p for p < shared */
    int64_t row, length;        /* row + p for p in [shared, length) */
    int64_t from;               /* the first position whose output is wanted */
} place;

static place place_of(const rlhf__attention *a, int64_t seq)
{
    int64_t shared = rlhf__attention_shared(a, seq);
    int64_t row = a->cu_seqlens[seq] - shared;

    return (place){.shared = shared,
                   .shared_row = rlhf__attention_shared_row(a, seq),
                   .row = row,
                   .length = a->cu_seqlens[seq + 1] - row,
                   .from = shared + rlhf__attention_from(a, seq)};
}

/* A sequence's rows of one head of keys or values. */
static void gather(const place *at, const float *src, int64_t ld, int64_t d, float *out)
{
    int64_t dp = rlhf__attention_padded(d);

    copy_rows(src + at->shared_row * ld, ld, at->shared, d, out, dp);
    copy_rows(src + (at->row + at->shared) * ld, ld, at->length - at->shared, d,
              out + at->shared * dp, dp);
}

/* The gradient of such rows: the leader's handed on, its own written. */
static void scatter(const place *at, const float *grad, int64_t d, float *handed,
                    float *out, int64_t ld)
{
    int64_t dp = rlhf__attention_padded(d);

    if (at->shared > 0)
        memcpy(handed, grad, (size_t)(at->shared * dp) * sizeof *out);
    for (int64_t i = at->shared; i < at->length; i++)
        memcpy(out + (at->row + i) * ld, grad + i * dp, (size_t)d * sizeof *out);
}

/* What the head's part of a sequence hands on: of keys, then of values. */
static float *handed_at(const grad_job *job, int64_t seq, int64_t kv, int64_t values)
{
    int64_t dp = rlhf__attention_padded(job->a->head_dim);

    if (!job->handed[seq])
        return NULL;
    return job->handed[seq] +
           (2 * kv + values) * rlhf__attention_shared(job->a, seq) * dp;
}

static void transpose_blocks(const rlhf__kernels *table, const float *src, int64_t ld,
                             int64_t count, int64_t d, float *out)
{
    for (int64_t b = 0; b < count; b += BLOCK)
        table->pack_turned(src + b * ld, ld, d, rlhf__min_i64(BLOCK, count - b), BLOCK,
                           out + b * d);
}

/* p and ds of queries q0 + [r0, r1) against the first `seen` keys of block b. */
static void grad_scores(const grad_job *job, grad_space *w, const float *lse, int64_t q0,
                        int64_t r0, int64_t r1, int64_t b, int64_t seen)
{
    const rlhf__kernels *t = job->table;
    const rlhf__attention *a = job->a;
    int64_t d = a->head_dim, ld = rlhf__attention_stride(d);
    int64_t cols = rlhf__attention_cols(t, seen), first[BLOCK], last[BLOCK];
    float *p = w->p + r0 * BLOCK, *ds = w->ds + r0 * BLOCK;

    t->block_product(r1 - r0, cols, d, w->queries + (q0 + r0) * ld, ld,
                     w->keys_t + b * BLOCK * d, BLOCK, NULL, p, BLOCK);
    t->block_product(r1 - r0, cols, d, w->douts + (q0 + r0) * ld, ld,
                     w->values_t + b * BLOCK * d, BLOCK, NULL, ds, BLOCK);
    for (int64_t r = r0; r < r1; r++)
        rlhf__attention_range(q0 + r, a->window, b, &first[r - r0], &last[r - r0]);
    t->softmax_rows_grad(r1 - r0, cols, p, ds, a->scale, first, last, lse + q0 + r0,
                         w->d + q0 + r0);
}

/* Queries q0 + [r0, rows) against key block b. */
static void grad_block(const grad_job *job, grad_space *w, int64_t length,
                       const float *lse, int64_t q0, int64_t r0, int64_t rows, int64_t b)
{
    const rlhf__kernels *t = job->table;
    const rlhf__attention *a = job->a;
    int64_t dp = rlhf__attention_padded(a->head_dim);
    int64_t ld = rlhf__attention_stride(a->head_dim);
    float ones[BLOCK];
    bool diagonal = q0 == b * BLOCK; /* row r sees keys up to r, else all */
    int64_t keys = rlhf__min_i64(BLOCK, length - b * BLOCK);

    for (int64_t r = 0; r < BLOCK; r++)
        ones[r] = 1.0f; /* gradients add up */
    for (int64_t r = r0, end; r < rows; r = end) {
        end = rlhf__attention_strip(r, rows, diagonal ? r + 1 : BLOCK);
        grad_scores(job, w, lse, q0, r, end, b, diagonal ? end : BLOCK);
        t->block_product(end - r, dp, diagonal ? end : keys, w->ds + r * BLOCK, BLOCK,
                         w->keys + b * BLOCK * dp, dp, ones, w->dqueries + (q0 + r) * dp,
                         dp);
    }
    for (int64_t j = 0, end; j < keys; j = end) {
        int64_t r = rlhf__max_i64(diagonal ? j : 0, r0); /* the first that sees key j */
        end = rlhf__attention_strip(j, keys, diagonal ? j + 1 : BLOCK);
        t->block_product_turned(end - j, dp, rows - r, w->p + r * BLOCK + j,
                                w->douts + (q0 + r) * ld, ld, ones,
                                w->dvalues + (b * BLOCK + j) * dp, dp);
        t->block_product_turned(end - j, dp, rows - r, w->ds + r * BLOCK + j,
                                w->queries + (q0 + r) * ld, ld, ones,
                                w->dkeys + (b * BLOCK + j) * dp, dp);
    }
}

static void grad_head(const grad_job *job, grad_space *w, const place *at, int64_t h)
{
    const rlhf__attention *a = job->a;
    int64_t token = at->row, length = at->length;
    int64_t from = at->from, first = token + from;
    int64_t d = a->head_dim, dp = rlhf__attention_padded(d);
    int64_t ld = rlhf__attention_stride(d);
    const float *lse = job->lse + h * job->total + token;

    copy_rows(a->q + first * a->ldq + h * d, a->ldq, length - from, d,
              w->queries + from * ld, ld);
    copy_rows(job->dout + first * job->lddo + h * d, job->lddo, length - from, d,
              w->douts + from * ld, ld);
    memset(w->dqueries, 0, (size_t)(length * dp) * sizeof *w->dqueries);
    for (int64_t i = from; i < length; i++)
        w->d[i] = job->table->dot(w->douts + i * ld,
                                  job->out + (token + i) * job->ldo + h * d, d);
    for (int64_t q0 = from / BLOCK * BLOCK; q0 < length; q0 += BLOCK) {
        int64_t rows = rlhf__min_i64(BLOCK, length - q0);
        int64_t r0 = rlhf__max_i64(from - q0, 0);
        int64_t b = rlhf__attention_first_key(q0, a->window) / BLOCK;
        for (; b <= (q0 + rows - 1) / BLOCK; b++)
            grad_block(job, w, length, lse, q0, r0, rows, b);
    }
    for (int64_t i = at->shared; i < length; i++)
        memcpy(job->dq + (token + i) * a->ldq + h * d, w->dqueries + i * dp,
               (size_t)d * sizeof(float));
}

/* One sequence, one kv head with all its query heads. */
static void grad_tile(void *arg, int64_t tile, int32_t thread)
{
    const grad_job *job = arg;
    const rlhf__attention *a = job->a;
    int64_t s = tile / a->num_kv_heads, kv = tile % a->num_kv_heads, d = a->head_dim;
    int64_t group = a->num_heads / a->num_kv_heads, dp = rlhf__attention_padded(d);
    const place at = place_of(a, s);
    const size_t size = (size_t)(at.length * dp) * sizeof(float);
    grad_space w;

    lay_out(&w, job->scratch + thread * job->scratch_size, job->longest, d);
    gather(&at, a->k + kv * d, a->ldk, d, w.keys);
    transpose_blocks(job->table, w.keys, dp, at.length, d, w.keys_t);
    gather(&at, a->v + kv * d, a->ldv, d, w.dvalues); /* until they are turned */
    transpose_blocks(job->table, w.dvalues, dp, at.length, d, w.values_t);
    memset(w.dkeys, 0, size);
    memset(w.dvalues, 0, size);
    for (int64_t h = kv * group; h < (kv + 1) * group; h++)
        grad_head(job, &w, &at, h);
    scatter(&at, w.dkeys, d, handed_at(job, s, kv, 0), job->dk + kv * d, a->ldk);
    scatter(&at, w.dvalues, d, handed_at(job, s, kv, 1), job->dv + kv * d, a->ldv);
}

/* Adds what a sequence hands on to its leader's rows. */
static void add_handed(const grad_job *job, int64_t seq, int64_t kv)
{
    const rlhf__attention *a = job->a;
    const place at = place_of(a, seq);
    const float *keys = handed_at(job, seq, kv, 0), *values = handed_at(job, seq, kv, 1);
    int64_t d = a->head_dim, dp = rlhf__attention_padded(d);

    for (int64_t i = 0; i < at.shared; i++) {
        float *dk = job->dk + (at.shared_row + i) * a->ldk + kv * d;
        float *dv = job->dv + (at.shared_row + i) * a->ldv + kv * d;
        job->table->add(dk, keys + i * dp, d, dk);
        job->table->add(dv, values + i * dp, d, dv);
    }
}

/* One kv head of all sequences, in their order. */
static void add_tile(void *arg, int64_t kv, int32_t thread)
{
    const grad_job *job = arg;

    (void)thread;
    for (int64_t s = 0; s < job->a->num_seqs; s++)
        if (job->handed[s])
            add_handed(job, s, kv);
}

/* Room for what sequences hand on; how much they do. */
static rlhf_status make_handed(rlhf__arena *scratch, grad_job *job, int64_t *out_size)
{
    const rlhf__attention *a = job->a;
    const int64_t row = 2 * a->num_kv_heads * rlhf__attention_padded(a->head_dim);

    RLHF__TRY(rlhf__arena_alloc(scratch, a->num_seqs, sizeof *job->handed, &job->handed));
    *out_size = 0;
    for (int64_t s = 0; s < a->num_seqs; s++) {
        const int64_t size = rlhf__attention_shared(a, s) * row;
        job->handed[s] = NULL;
        if (size > 0)
            RLHF__TRY(rlhf__arena_alloc(scratch, size, sizeof(float), &job->handed[s]));
        *out_size += size;
    }
    return RLHF_OK;
}

rlhf_status rlhf__attention_grad(rlhf_context *ctx, rlhf__arena *scratch,
                                 const rlhf__attention *a, const float *out, int64_t ldo,
                                 const float *dout, int64_t lddo, const float *lse,
                                 float *dq, float *dk, float *dv)
{
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    grad_job job = {.table = rlhf__table(ctx),
                    .a = a,
                    .total = a->cu_seqlens[a->num_seqs],
                    .out = out,
                    .dout = dout,
                    .lse = lse,
                    .ldo = ldo,
                    .lddo = lddo,
                    .dq = dq,
                    .dk = dk,
                    .dv = dv};
    int64_t handed = 0;

    RLHF__TRY(make_handed(scratch, &job, &handed));
    for (int64_t s = 0; s < a->num_seqs; s++)
        job.longest = rlhf__max_i64(job.longest, place_of(a, s).length);
    job.longest = rlhf__ceil_div(job.longest, BLOCK) * BLOCK;
    job.scratch_size = rlhf__ceil_div(space_size(job.longest, a->head_dim), 16) * 16;
    RLHF__TRY(rlhf__arena_alloc(scratch,
                                rlhf__pool_num_threads(ctx->pool) * job.scratch_size,
                                sizeof(float), &job.scratch));
    rlhf__pool_run(ctx->pool, a->num_seqs * a->num_kv_heads, grad_tile, &job);
    if (handed > 0)
        rlhf__run_tiles(ctx, handed, a->num_kv_heads, add_tile, &job);
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}
