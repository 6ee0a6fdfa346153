/* One position of a group of sequences: forward through the caches, head, pick, log-prob.
 *
 * The log-probability goes the way that training goes (hidden row, head matmul,
 * rlhf__logprob, or the sampler's sums of the same, with the same inverse temperature and
 * mask), so it is the same number, bit for bit. */
#include "generate/generator.h"

#include <string.h>

#include "base/size.h"

#define LOGITS_BUDGET ((int64_t)1 << 23) /* floats of logits at once: 32 MiB */

/* The group's new tokens end to end: the prompt of one that begins, else the last
 * token. Answers that begin with the same prompt are one sequence of the pass, read into
 * the first one's cache and copied from there. */
typedef struct group {
    int64_t num_read; /* sequences of the pass */
    int32_t *tokens;
    int64_t *cu_seqlens;     /* [num_read + 1] */
    rlhf__kv_cache **caches; /* [num_read] */
    int64_t *last_rows;      /* [num_read]: row of each one's newest token */
    int64_t *readers;        /* [count]: the sequence that is the answer's */
    int64_t *past;           /* [count]: cache lengths before, to go back to */
} group;

int64_t rlhf__generator_find_twin(const rlhf__generator *g, const int64_t *which,
                                  int64_t count, const rlhf__answer *a)
{
    if (g->slots[a->slot].length > 0)
        return -1;
    for (int64_t i = 0; i < count; i++) {
        const rlhf__answer *b = &g->answers[which[i]];
        if (b->num_tokens == a->num_tokens && g->slots[b->slot].length == 0 &&
            memcmp(b->tokens, a->tokens, (size_t)a->num_tokens * sizeof *a->tokens) == 0)
            return i;
    }
    return -1;
}

static rlhf_status build_group(rlhf__generator *g, const int64_t *which, int64_t count,
                               group *out)
{
    rlhf__arena *arena = g->tape->arena;
    int64_t total = 0;

    RLHF__TRY(
        rlhf__arena_alloc(arena, count + 1, sizeof *out->cu_seqlens, &out->cu_seqlens));
    RLHF__TRY(rlhf__arena_alloc(arena, count, sizeof *out->caches, &out->caches));
    RLHF__TRY(rlhf__arena_alloc(arena, count, sizeof *out->readers, &out->readers));
    RLHF__TRY(rlhf__arena_alloc(arena, count, sizeof *out->last_rows, &out->last_rows));
    RLHF__TRY(rlhf__arena_alloc(arena, count, sizeof *out->past, &out->past));
    out->cu_seqlens[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        const rlhf__answer *a = &g->answers[which[i]];
        const int64_t twin = rlhf__generator_find_twin(g, which, i, a);
        out->past[i] = g->slots[a->slot].length;
        out->readers[i] = twin >= 0 ? out->readers[twin] : out->num_read;
        if (twin < 0) {
            total += a->num_tokens - out->past[i];
            out->caches[out->num_read++] = &g->slots[a->slot];
            out->cu_seqlens[out->num_read] = total;
            out->last_rows[out->num_read - 1] = total - 1;
        }
    }
    RLHF__TRY(rlhf__arena_alloc(arena, total, sizeof *out->tokens, &out->tokens));
    for (int64_t i = 0; i < count; i++) {
        const rlhf__answer *a = &g->answers[which[i]];
        int32_t *to = out->tokens + out->cu_seqlens[out->readers[i]];
        memcpy(to, a->tokens + out->past[i],
               (size_t)(a->num_tokens - out->past[i]) * sizeof *to);
    }
    return RLHF_OK;
}

/* Every answer has what was read of it in a cache of its own. */
static void copy_caches(rlhf__generator *g, const int64_t *which, int64_t count,
                        const group *members)
{
    for (int64_t i = 0; i < count; i++) {
        rlhf__kv_cache *own = &g->slots[g->answers[which[i]].slot];
        const rlhf__kv_cache *read = members->caches[members->readers[i]];
        if (own != read)
            rlhf__kv_cache_copy(own, read, g->net, read->length);
    }
}

static void mask_stop_tokens(const rlhf__generator *g, const rlhf__answer *a,
                             float *logits)
{
    if (a->num_tokens - a->num_prompt >= g->settings.min_new_tokens)
        return;
    for (int64_t i = 0; i < g->settings.num_stop_tokens; i++)
        logits[g->stop_tokens[i]] = RLHF__MASKED_LOGIT;
}

/* Of targets[count]. Where the sampler drew at this temperature, it has summed up the
 * rows: all of them, or none. */
static void score_picks(const rlhf__generator *g, const float *logits, int64_t count,
                        const int32_t *targets, const rlhf__softmax *softmaxes,
                        float *logprobs, float *entropies)
{
    const int64_t vocab = g->net->config.vocab_size;
    const float inv_tau = rlhf__inv_tau(g->settings.temperature);
    float lse;

    if (softmaxes[0].inv_tau != inv_tau) {
        rlhf__logprob(g->context, logits, vocab, count, vocab, targets, inv_tau, logprobs,
                      entropies, NULL);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        rlhf__softmax_logprob(&softmaxes[i], logits[i * vocab + targets[i]], &logprobs[i],
                              &entropies[i], &lse);
}

static rlhf_status pick_rows(rlhf__generator *g, const int64_t *which, int64_t count,
                             float *logits)
{
    rlhf__arena *arena = g->tape->arena;
    const int64_t vocab = g->net->config.vocab_size;
    rlhf__draw *draws = NULL;
    void **states = NULL;
    int32_t *targets = NULL;
    rlhf__softmax *softmaxes = NULL;
    float *logprobs = NULL, *entropies = NULL;

    RLHF__TRY(rlhf__arena_alloc(arena, count, sizeof *draws, &draws));
    RLHF__TRY(rlhf__arena_alloc(arena, count, sizeof *states, &states));
    RLHF__TRY(rlhf__arena_alloc(arena, count, sizeof *targets, &targets));
    RLHF__TRY(rlhf__arena_alloc(arena, count, sizeof *softmaxes, &softmaxes));
    RLHF__TRY(rlhf__arena_alloc(arena, count, sizeof *logprobs, &logprobs));
    RLHF__TRY(rlhf__arena_alloc(arena, count, sizeof *entropies, &entropies));
    for (int64_t i = 0; i < count; i++) {
        const rlhf__answer *a = &g->answers[which[i]];
        draws[i] = (rlhf__draw){g->settings.seed, a->id, a->num_tokens, a->num_prompt,
                                a->tokens};
        states[i] = a->sampler_state;
        mask_stop_tokens(g, a, logits + i * vocab);
    }
    RLHF__TRY(rlhf__sampler_pick(g->context, arena, g->sampler, states, draws, logits,
                                 count, vocab, targets, softmaxes));
    score_picks(g, logits, count, targets, softmaxes, logprobs, entropies);
    for (int64_t i = 0; i < count; i++) {
        rlhf__answer *a = &g->answers[which[i]];
        a->pending = targets[i];
        a->pending_logprob = logprobs[i];
        a->pending_entropy = entropies[i];
    }
    return RLHF_OK;
}

/* Logits in chunks of rows, so that rows x vocabulary stays within a budget; `readers`:
 * each answer's row of hidden. */
static rlhf_status pick_all(rlhf__generator *g, const int64_t *which, int64_t count,
                            const int64_t *readers, rlhf__var *hidden)
{
    const int64_t chunk =
        rlhf__max_i64(1, LOGITS_BUDGET / rlhf__max_i64(1, g->net->config.vocab_size));
    rlhf_status status = RLHF_OK;

    for (int64_t first = 0; first < count && status == RLHF_OK; first += chunk) {
        const int64_t n = rlhf__min_i64(chunk, count - first);
        const rlhf__arena_mark mark = rlhf__arena_get_mark(g->tape->arena);
        rlhf__var *rows = NULL, *logits = NULL;
        status = rlhf__op_gather_rows(g->tape, hidden, readers + first, n, &rows);
        if (status == RLHF_OK)
            status = rlhf__transformer_head(g->net, g->tape, rows, &logits);
        if (status == RLHF_OK)
            status = pick_rows(g, which + first, n, logits->data);
        rlhf__arena_release(g->tape->arena, mark);
    }
    return status;
}

rlhf_status rlhf__generator_decode(rlhf__generator *g, const int64_t *which,
                                   int64_t count)
{
    group members = {0};
    rlhf__var *hidden = NULL;

    rlhf__tape_reset(g->tape, false, NULL);
    RLHF__TRY(build_group(g, which, count, &members));
    const rlhf__batch batch = {.tokens = members.tokens,
                               .cu_seqlens = members.cu_seqlens,
                               .num_seqs = members.num_read,
                               .caches = members.caches,
                               .rows = members.last_rows,
                               .num_rows = members.num_read};
    rlhf_status status = rlhf__transformer_forward(g->net, g->tape, &batch, &hidden);
    if (status == RLHF_OK) {
        copy_caches(g, which, count, &members);
        status = pick_all(g, which, count, members.readers, hidden);
    }
    if (status != RLHF_OK)
        for (int64_t i = 0; i < count; i++)
            if (g->answers[which[i]].pending < 0)
                g->slots[g->answers[which[i]].slot].length = members.past[i];
    return status;
}
