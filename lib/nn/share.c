/* Sequences that begin alike; see share.h. */
#include "nn/share.h"

#include <string.h>

#include "base/size.h"

static void find_wanted(const rlhf__batch *batch, int64_t *out)
{
    int64_t i = 0;

    for (int64_t s = 0; s < batch->num_seqs; s++) {
        const int64_t first = batch->cu_seqlens[s], end = batch->cu_seqlens[s + 1];
        out[s] = i < batch->num_rows ? rlhf__min_i64(batch->rows[i], end) - first
                                     : end - first;
        while (i < batch->num_rows && batch->rows[i] < end)
            i++;
    }
}

/* How many tokens two sequences begin with alike. */
static int64_t count_alike(const rlhf__batch *batch, int64_t a, int64_t b)
{
    const int64_t *cu = batch->cu_seqlens;
    const int64_t most = rlhf__min_i64(cu[a + 1] - cu[a], cu[b + 1] - cu[b]);
    int64_t n = 0;

    while (n < most && batch->tokens[cu[a] + n] == batch->tokens[cu[b] + n])
        n++;
    return n;
}

/* How many tokens s would share with an earlier sequence that leads it. */
static int64_t count_shared(const rlhf__batch *batch, const int64_t *wanted,
                            int64_t leader, int64_t s)
{
    const int64_t n = rlhf__min_i64(count_alike(batch, leader, s), wanted[s]);

    return n < RLHF__SHARED_LEAST ? 0 : n;
}

/* The most that s can share, with the nearest that it can share so much with. */
static rlhf__shared find_leader(const rlhf__batch *batch, const int64_t *wanted,
                                const rlhf__shared *shared, int64_t s)
{
    rlhf__shared best = {0, s};

    for (int64_t i = s - 1; i >= rlhf__max_i64(s - RLHF__SHARED_WITHIN, 0); i--) {
        const int64_t n = shared[i].length > 0 ? 0 : count_shared(batch, wanted, i, s);
        if (n > best.length)
            best = (rlhf__shared){n, i};
    }
    return best;
}

/* Whether two sequences have the same token there. */
static bool same_at(const rlhf__batch *batch, int64_t a, int64_t b, int64_t at)
{
    const int64_t i = batch->cu_seqlens[a] + at, j = batch->cu_seqlens[b] + at;

    return i < batch->cu_seqlens[a + 1] && j < batch->cu_seqlens[b + 1] &&
           batch->tokens[i] == batch->tokens[j];
}

/* Whether sequences after s would share more with it than with its leader, by more than
 * what it shares itself: it is the first answer to another prompt, which only opens as
 * the leader's does. Such go on as s does where that differs from its leader. */
static bool leads_better(const rlhf__batch *batch, const int64_t *wanted, int64_t s,
                         rlhf__shared own)
{
    const int64_t end = rlhf__min_i64(s + 1 + RLHF__SHARED_WITHIN, batch->num_seqs);
    const int64_t differs = count_alike(batch, own.leader, s);
    int64_t gain = 0;

    for (int64_t i = s + 1; i < end && gain <= own.length; i++) {
        if (!same_at(batch, s, i, differs))
            continue;
        const int64_t more = count_shared(batch, wanted, s, i) -
                             count_shared(batch, wanted, own.leader, i);
        gain += more < RLHF__SHARED_LEAST ? 0 : more;
    }
    return gain > own.length;
}

/* Whether any sequence shares. */
static bool find_shared(const rlhf__batch *batch, const int64_t *wanted,
                        rlhf__shared *out)
{
    bool any = false;

    for (int64_t s = 0; s < batch->num_seqs; s++) {
        out[s] = find_leader(batch, wanted, out, s);
        if (out[s].length > 0 && leads_better(batch, wanted, s, out[s]))
            out[s].length = 0;
        any = any || out[s].length > 0;
    }
    return any;
}

/* The batch less what its sequences share. */
static rlhf_status take_out(rlhf__arena *arena, const rlhf__shared *shared,
                            rlhf__batch *batch, int64_t *wanted)
{
    const int64_t n = batch->num_seqs, *from = batch->cu_seqlens;
    int32_t *tokens = NULL;
    int64_t *cu = NULL, *rows = NULL, i = 0;

    RLHF__TRY(rlhf__arena_alloc(arena, from[n], sizeof *tokens, &tokens));
    RLHF__TRY(rlhf__arena_alloc(arena, n + 1, sizeof *cu, &cu));
    RLHF__TRY(rlhf__arena_alloc(arena, batch->num_rows, sizeof *rows, &rows));
    cu[0] = 0;
    for (int64_t s = 0; s < n; s++) {
        const int64_t begin = from[s] + shared[s].length, count = from[s + 1] - begin;
        memcpy(tokens + cu[s], batch->tokens + begin, (size_t)count * sizeof *tokens);
        for (; i < batch->num_rows && batch->rows[i] < from[s + 1]; i++)
            rows[i] = batch->rows[i] - begin + cu[s];
        cu[s + 1] = cu[s] + count;
        wanted[s] -= shared[s].length;
    }
    batch->tokens = tokens;
    batch->cu_seqlens = cu;
    batch->rows = rows;
    return RLHF_OK;
}

rlhf_status rlhf__batch_share(rlhf__arena *arena, rlhf__batch *batch,
                              const int64_t **out_wanted, const rlhf__shared **out_shared)
{
    rlhf__shared *shared = NULL;
    int64_t *wanted = NULL;

    if (!batch->rows || batch->num_rows == batch->cu_seqlens[batch->num_seqs])
        return RLHF_OK;
    RLHF__TRY(rlhf__arena_alloc(arena, batch->num_seqs, sizeof *wanted, &wanted));
    find_wanted(batch, wanted);
    *out_wanted = wanted;
    if (batch->caches)
        return RLHF_OK;
    RLHF__TRY(rlhf__arena_alloc(arena, batch->num_seqs, sizeof *shared, &shared));
    if (!find_shared(batch, wanted, shared))
        return RLHF_OK;
    RLHF__TRY(take_out(arena, shared, batch, wanted));
    *out_shared = shared;
    return RLHF_OK;
}
