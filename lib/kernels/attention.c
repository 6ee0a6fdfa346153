/* Causal attention with the online softmax, blocked by 64 keys (after Dao et al. 2022),
 * over ragged sequences; forward for training and prefill, and with a cache. Backward is
 * in attention_grad.c.
 *
 * A row's arithmetic never depends on which other rows are computed with it: a score is a
 * chain over head_dim, an output one over the keys that the row sees, whichever kernel
 * computes them. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/bf16.h"
#include "kernels/rows.h"

#define HEAD_WORK 1024 /* multiply-adds that take as long as a head's beginning and end */

int64_t rlhf__kv_size(int64_t capacity, int64_t num_kv_heads, int64_t head_dim)
{
    return num_kv_heads * rlhf__attention_head_size(capacity, head_dim);
}

size_t rlhf__kv_element(rlhf_context *ctx)
{
    return rlhf__bf16(ctx) ? sizeof(uint16_t) : sizeof(float);
}

void rlhf__attention_pack(const rlhf__kernels *table, const rlhf__attention *a,
                          int64_t first, int64_t count, int64_t head, int64_t past,
                          int64_t capacity, float *out)
{
    int64_t d = a->head_dim, dp = rlhf__attention_padded(d);
    float *values = out + capacity * d;
    int64_t i = 0;

    while (i < count) {
        const float *k = a->k + (first + i) * a->ldk + head * d;
        int64_t at = past + i, rows = rlhf__min_i64(BLOCK, count - i);
        float *to = out + at / BLOCK * BLOCK * d + at % BLOCK;
        if (at % BLOCK == 0) { /* with zeros up to 64 */
            table->pack_turned(k, a->ldk, d, rows, BLOCK, to);
            i += rows;
            continue;
        }
        for (int64_t c = 0; c < d; c++) /* each in a cache line of its own */
            __builtin_prefetch(to + c * BLOCK, 1, 3);
        for (int64_t c = 0; c < d; c++)
            to[c * BLOCK] = k[c];
        i++;
    }
    for (i = 0; i < count; i++) {
        float *v = values + (past + i) * dp;
        memcpy(v, a->v + (first + i) * a->ldv + head * d, (size_t)d * sizeof *v);
        for (int64_t c = d; c < dp; c++)
            v[c] = 0.0f;
    }
}

/* Of a number that is a bf16. */
static uint16_t half(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* rlhf__attention_pack in bf16, to which k and v were rounded: nothing is lost. */
static void pack_halves(const rlhf__attention *a, int64_t first, int64_t count,
                        int64_t head, int64_t past, int64_t capacity, uint16_t *out)
{
    int64_t d = a->head_dim, dp = rlhf__attention_padded(d);

    for (int64_t i = 0; i < count; i++) {
        const float *k = a->k + (first + i) * a->ldk + head * d;
        const float *v = a->v + (first + i) * a->ldv + head * d;
        int64_t at = past + i;
        uint16_t *keys = out + at / BLOCK * BLOCK * d + at % BLOCK;
        uint16_t *values = out + capacity * d + at * dp;
        for (int64_t c = 0; c < d; c++)
            __builtin_prefetch(keys + c * BLOCK, 1, 3);
        for (int64_t c = 0; c < d; c++)
            keys[c * BLOCK] = half(k[c]);
        for (int64_t c = 0; c < dp; c++)
            values[c] = c < d ? half(v[c]) : 0;
    }
}

/* Queries [0, count) of one head, the first at position `position`, against packed
 * keys. */
typedef struct attend_args {
    const rlhf__kernels *table;
    const rlhf__bf16_kernels *bf16; /* keys and values are halves; NULL: floats */
    const float *q;
    int64_t ldq, count, position, window, d;
    float scale;
    const void *keys, *values; /* [blocks][d][64], [capacity][dp] */
    float *out;
    int64_t ldo;
    float *lse;     /* [count] or NULL */
    float *scratch; /* rlhf__attend_scratch floats */
} attend_args;

typedef struct attend_state {
    float *scores; /* [64][64] */
    float *sums;   /* [64][dp]: the unnormalised output */
    float *wide;   /* [64][dp]: a block's keys or values where they are halves */
    const float *queries;
    int64_t ldq;
    float m[BLOCK], l[BLOCK];
} attend_state;

static int64_t attend_scratch(int64_t d)
{
    return BLOCK * (BLOCK + 2 * rlhf__attention_padded(d) + rlhf__attention_stride(d));
}

/* Block b, `size` elements, as floats. */
static const float *block_of(const attend_args *g, const attend_state *s,
                             const void *packed, int64_t b, int64_t size)
{
    if (!g->bf16)
        return (const float *)packed + b * size;
    g->bf16->widen((const uint16_t *)packed + b * size, size, s->wide);
    return s->wide;
}

/* attend_block of one query, which reads keys and values once: halves where they lie. */
static void attend_halves(const attend_args *g, attend_state *s, int64_t b, int64_t first,
                          int64_t last)
{
    int64_t dp = rlhf__attention_padded(g->d);
    const uint16_t *keys = (const uint16_t *)g->keys + b * BLOCK * g->d;
    const uint16_t *values = (const uint16_t *)g->values + b * BLOCK * dp;
    float factor;

    g->table->row_product_halves(rlhf__attention_cols(g->table, last), g->d, s->queries,
                                 keys, BLOCK, NULL, s->scores);
    g->table->softmax_rows(1, s->scores, g->scale, &first, &last, s->m, s->l, &factor);
    g->table->row_product_halves(dp, last, s->scores, values, dp, &factor, s->sums);
}

/* Rows [r0, r1) see something of block b: row r the keys [first[r], last[r]). */
static void attend_block(const attend_args *g, attend_state *s, int64_t b, int64_t r0,
                         int64_t r1, const int64_t *first, const int64_t *last)
{
    const float *keys = block_of(g, s, g->keys, b, BLOCK * g->d);
    int64_t dp = rlhf__attention_padded(g->d);
    float factors[BLOCK];

    for (int64_t r = r0, end; r < r1; r = end) {
        end = rlhf__attention_strip(r, r1, last[r]);
        g->table->block_product(end - r, rlhf__attention_cols(g->table, last[end - 1]),
                                g->d, s->queries + r * s->ldq, s->ldq, keys, BLOCK, NULL,
                                s->scores + r * BLOCK, BLOCK);
    }
    g->table->softmax_rows(r1 - r0, s->scores + r0 * BLOCK, g->scale, first + r0,
                           last + r0, s->m + r0, s->l + r0, factors + r0);
    const float *values = block_of(g, s, g->values, b, BLOCK * dp);
    for (int64_t r = r0, end; r < r1; r = end) {
        end = rlhf__attention_strip(r, r1, last[r]);
        g->table->block_product(end - r, dp, last[end - 1], s->scores + r * BLOCK, BLOCK,
                                values, dp, factors + r, s->sums + r * dp, dp);
    }
}

/* Rows whose distance the compiler knows are read faster. */
static void gather_queries(const attend_args *g, attend_state *s, float *to)
{
    s->ldq = rlhf__attention_stride(g->d);
    s->queries = to;
    for (int64_t r = 0; r < g->count; r++)
        memcpy(to + r * s->ldq, g->q + r * g->ldq, (size_t)g->d * sizeof *to);
}

/* Up to 64 queries. */
static void attend(const attend_args *g)
{
    int64_t dp = rlhf__attention_padded(g->d);
    attend_state s;
    int64_t last_block = (g->position + g->count - 1) / BLOCK;
    int64_t b = rlhf__attention_first_key(g->position, g->window) / BLOCK;

    s.scores = g->scratch; /* one by one: an initialiser would clear m and l, too */
    s.sums = s.scores + BLOCK * BLOCK;
    s.wide = s.sums + BLOCK * dp;
    s.queries = g->q;
    s.ldq = g->ldq;
    if (g->count > 1)
        gather_queries(g, &s, g->scratch + BLOCK * (BLOCK + 2 * dp));
    memset(s.sums, 0, (size_t)(g->count * dp) * sizeof *s.sums);
    for (int64_t r = 0; r < g->count; r++) {
        s.m[r] = -INFINITY;
        s.l[r] = 0.0f;
    }
    for (; b <= last_block; b++) {
        int64_t first[BLOCK], last[BLOCK], r0 = g->count, r1 = 0;
        for (int64_t r = 0; r < g->count; r++) {
            rlhf__attention_range(g->position + r, g->window, b, &first[r], &last[r]);
            if (first[r] < last[r]) { /* such rows lie together */
                r0 = rlhf__min_i64(r0, r);
                r1 = r + 1;
            }
        }
        if (g->bf16 && g->count == 1)
            attend_halves(g, &s, b, first[0], last[0]);
        else if (r0 < r1)
            attend_block(g, &s, b, r0, r1, first, last);
    }
    for (int64_t r = 0; r < g->count; r++) {
        float *out = g->out + r * g->ldo;
        memcpy(out, s.sums + r * dp, (size_t)g->d * sizeof *out);
        g->table->scale(1.0f / s.l[r], g->d, out);
        if (g->lse)
            g->lse[r] = s.m[r] + rlhf__attention_log(s.l[r]);
    }
}

/* --- threads ------------------------------------------------------------------------ */

typedef struct attention_job {
    const rlhf__kernels *table;
    const rlhf__bf16_kernels *bf16; /* `packed` holds halves; NULL: floats */
    const rlhf__attention *a;
    int64_t total;         /* tokens */
    const int64_t *chunks; /* [num_chunks][2]: sequence, first query in it */
    int64_t num_chunks;
    bool pack_within;        /* each sequence has one chunk, which packs what it reads */
    void *const *packed;     /* [num_seqs] */
    const int64_t *past;     /* [num_seqs], or NULL: 0 */
    const int64_t *capacity; /* [num_seqs] */
    float *out;
    int64_t ldo;
    float *lse;
    float *scratch; /* [threads][attend_scratch] */
} attention_job;

/* Where an element of a sequence's keys and values stands. */
static void *element(const attention_job *job, int64_t seq, int64_t index)
{
    if (job->bf16)
        return (uint16_t *)job->packed[seq] + index;
    return (float *)job->packed[seq] + index;
}

/* How many tokens a sequence has before its new ones. */
static int64_t tokens_before(const attention_job *job, int64_t s)
{
    return job->past ? job->past[s] : rlhf__attention_shared(job->a, s);
}

static void pack_head(const attention_job *job, int64_t s, int64_t head)
{
    const rlhf__attention *a = job->a;
    int64_t count = a->cu_seqlens[s + 1] - a->cu_seqlens[s];
    int64_t before = tokens_before(job, s), capacity = job->capacity[s];
    void *out = element(job, s, head * rlhf__attention_head_size(capacity, a->head_dim));

    if (job->bf16) {
        pack_halves(a, a->cu_seqlens[s], count, head, before, capacity, out);
        return;
    }
    if (!job->past)
        rlhf__attention_pack(job->table, a, rlhf__attention_shared_row(a, s), before,
                             head, 0, capacity, out);
    rlhf__attention_pack(job->table, a, a->cu_seqlens[s], count, head, before, capacity,
                         out);
}

static void pack_tile(void *arg, int64_t tile, int32_t thread)
{
    const attention_job *job = arg;

    (void)thread;
    pack_head(job, tile / job->a->num_kv_heads, tile % job->a->num_kv_heads);
}

static void attend_tile(void *arg, int64_t tile, int32_t thread)
{
    const attention_job *job = arg;
    const rlhf__attention *a = job->a;
    int64_t chunk = tile / a->num_kv_heads, kv = tile % a->num_kv_heads;
    int64_t s = job->chunks[2 * chunk], first = job->chunks[2 * chunk + 1];
    int64_t token = a->cu_seqlens[s] + first, left = a->cu_seqlens[s + 1] - token;
    int64_t group = a->num_heads / a->num_kv_heads, d = a->head_dim;
    int64_t keys = kv * rlhf__attention_head_size(job->capacity[s], d);

    if (job->pack_within)
        pack_head(job, s, kv);
    for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
        attend_args g = {.table = job->table,
                         .bf16 = job->bf16,
                         .q = a->q + token * a->ldq + h * d,
                         .ldq = a->ldq,
                         .count = rlhf__min_i64(left, BLOCK),
                         .position = tokens_before(job, s) + first,
                         .window = a->window,
                         .d = d,
                         .scale = a->scale,
                         .keys = element(job, s, keys),
                         .values = element(job, s, keys + job->capacity[s] * d),
                         .out = job->out + token * job->ldo + h * d,
                         .ldo = job->ldo,
                         .lse = job->lse ? job->lse + h * job->total + token : NULL,
                         .scratch = job->scratch + thread * attend_scratch(d)};
        attend(&g);
    }
}

static rlhf_status run_attention(rlhf_context *ctx, rlhf__arena *scratch,
                                 attention_job *job)
{
    const rlhf__attention *a = job->a;
    int64_t *chunks = NULL, at = 0, pairs = 0, keys = 0;

    job->total = a->cu_seqlens[a->num_seqs];
    job->pack_within = true;
    for (int64_t s = 0; s < a->num_seqs; s++) {
        int64_t length = a->cu_seqlens[s + 1] - a->cu_seqlens[s];
        int64_t queries = length - rlhf__attention_from(a, s);
        job->num_chunks += rlhf__ceil_div(queries, BLOCK);
        job->pack_within &= rlhf__ceil_div(queries, BLOCK) == (length > 0);
        pairs += queries * (tokens_before(job, s) + length);
        keys += length + rlhf__attention_shared(a, s);
    }
    RLHF__TRY(rlhf__arena_alloc(scratch, 2 * job->num_chunks, sizeof *chunks, &chunks));
    RLHF__TRY(rlhf__arena_alloc(
        scratch, rlhf__pool_num_threads(ctx->pool) * attend_scratch(a->head_dim),
        sizeof(float), &job->scratch));
    for (int64_t s = 0; s < a->num_seqs; s++)
        for (int64_t q = rlhf__attention_from(a, s);
             q < a->cu_seqlens[s + 1] - a->cu_seqlens[s]; q += BLOCK) {
            chunks[at++] = s;
            chunks[at++] = q;
        }
    job->chunks = chunks;
    if (!job->pack_within)
        rlhf__run_tiles(ctx, keys * a->num_kv_heads * a->head_dim,
                        a->num_seqs * a->num_kv_heads, pack_tile, job);
    rlhf__run_tiles(
        ctx, (2 * pairs * a->head_dim + HEAD_WORK * job->num_chunks) * a->num_heads,
        job->num_chunks * a->num_kv_heads, attend_tile, job);
    return RLHF_OK;
}

rlhf_status rlhf__attention_forward(rlhf_context *ctx, rlhf__arena *scratch,
                                    const rlhf__attention *a, float *out, int64_t ldo,
                                    float *lse)
{
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    int64_t *capacity = NULL;
    void **packed = NULL;

    RLHF__TRY(rlhf__arena_alloc(scratch, a->num_seqs, sizeof *capacity, &capacity));
    RLHF__TRY(rlhf__arena_alloc(scratch, a->num_seqs, sizeof *packed, &packed));
    for (int64_t s = 0; s < a->num_seqs; s++) {
        int64_t length = a->cu_seqlens[s + 1] - a->cu_seqlens[s];
        capacity[s] =
            rlhf__ceil_div(rlhf__attention_shared(a, s) + length, BLOCK) * BLOCK;
        RLHF__TRY(rlhf__arena_alloc(
            scratch, rlhf__kv_size(capacity[s], a->num_kv_heads, a->head_dim),
            sizeof(float), &packed[s]));
    }
    attention_job job = {.table = rlhf__table(ctx),
                         .a = a,
                         .packed = packed,
                         .capacity = capacity,
                         .out = out,
                         .ldo = ldo,
                         .lse = lse};
    RLHF__TRY(run_attention(ctx, scratch, &job));
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}

rlhf_status rlhf__attention_cached(rlhf_context *ctx, rlhf__arena *scratch,
                                   const rlhf__attention *a, void *const *caches,
                                   const int64_t *past, int64_t capacity, float *out,
                                   int64_t ldo)
{
    rlhf__arena_mark mark = rlhf__arena_get_mark(scratch);
    int64_t *capacities = NULL;

    assert(!a->shared);
    RLHF__TRY(rlhf__arena_alloc(scratch, a->num_seqs, sizeof *capacities, &capacities));
    for (int64_t s = 0; s < a->num_seqs; s++)
        capacities[s] = capacity;
    attention_job job = {.table = rlhf__table(ctx),
                         .bf16 = rlhf__bf16(ctx),
                         .a = a,
                         .packed = caches,
                         .past = past,
                         .capacity = capacities,
                         .out = out,
                         .ldo = ldo};
    RLHF__TRY(run_attention(ctx, scratch, &job));
    rlhf__arena_release(scratch, mark);
    return RLHF_OK;
}
