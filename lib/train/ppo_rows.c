/* Network inputs of a rollout's episodes, and forward passes over them.
 *
 * The action at token j is predicted by hidden row j - 1, which also gives V before it
 * is seen; a network never reads a token after the last that it has to predict from. */
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "train/ppo.h"

static rlhf_status reserve(rlhf__arena *arena, const rlhf__rollout *r,
                           const int64_t *episodes, int64_t count, rlhf__ppo_rows *out,
                           int32_t **out_tokens, int64_t **out_cu)
{
    int64_t tokens = 0, rows = 0;

    memset(out, 0, sizeof *out);
    for (int64_t i = 0; i < count; i++) {
        tokens += r->episodes[episodes[i]].num_tokens;
        rows += r->episodes[episodes[i]].num_actions + 1;
    }
    RLHF__TRY(rlhf__arena_alloc(arena, tokens, sizeof **out_tokens, out_tokens));
    RLHF__TRY(rlhf__arena_alloc(arena, count + 1, sizeof **out_cu, out_cu));
    RLHF__TRY(rlhf__arena_alloc(arena, rows, sizeof *out->rows, &out->rows));
    RLHF__TRY(rlhf__arena_alloc(arena, rows, sizeof *out->places, &out->places));
    RLHF__TRY(rlhf__arena_alloc(arena, rows, sizeof *out->episodes, &out->episodes));
    RLHF__TRY(rlhf__arena_alloc(arena, rows, sizeof *out->targets, &out->targets));
    RLHF__TRY(rlhf__arena_alloc(arena, rows, sizeof *out->masked, &out->masked));
    (*out_cu)[0] = 0;
    return RLHF_OK;
}

/* Tokens [0, last action) of an episode (that one included if the slot after it is
 * wanted), and its slots. */
static void add_episode(const rlhf__rollout *r, int64_t index, bool after,
                        int32_t *tokens, int64_t *cu, rlhf__ppo_rows *out)
{
    const rlhf__episode *e = &r->episodes[index];
    const int64_t length = e->last_action + (after ? 1 : 0);
    const int64_t base = cu[out->batch.num_seqs];

    memcpy(tokens + base, r->tokens + e->first, (size_t)length * sizeof *tokens);
    for (int64_t j = 1; j <= e->last_action; j++) {
        if (!r->action_mask[e->first + j])
            continue;
        out->rows[out->num_rows] = base + j - 1;
        out->places[out->num_rows] = e->first + j;
        out->targets[out->num_rows] = r->tokens[e->first + j];
        out->episodes[out->num_rows++] = index;
    }
    if (after) {
        out->rows[out->num_rows] = base + length - 1;
        out->places[out->num_rows] = -1;
        out->targets[out->num_rows] = -1;
        out->has_after = true;
        out->episodes[out->num_rows++] = index;
    }
    cu[++out->batch.num_seqs] = base + length;
}

/* The stop token is masked before the first min_new_tokens actions, unless a host's
 * sample took it all the same. */
static void mask_stop_token(const rlhf_ppo_options *options, rlhf__ppo_rows *out)
{
    int64_t action = 0;

    if (options->min_new_tokens == 0 || options->stop_token_id < 0) {
        out->masked = NULL;
        return;
    }
    for (int64_t i = 0; i < out->num_rows; i++) {
        action = i > 0 && out->episodes[i] == out->episodes[i - 1] ? action + 1 : 0;
        out->masked[i] =
            action < options->min_new_tokens && out->targets[i] != options->stop_token_id
                ? options->stop_token_id
                : -1;
    }
}

rlhf_status rlhf__ppo_rows_build(const rlhf__ppo_trainer *t, const rlhf__rollout *r,
                                 const int64_t *episodes, int64_t count, bool after,
                                 rlhf__arena *arena, rlhf__ppo_rows *out)
{
    int32_t *tokens = NULL;
    int64_t *cu = NULL;

    RLHF__TRY(reserve(arena, r, episodes, count, out, &tokens, &cu));
    for (int64_t i = 0; i < count; i++)
        add_episode(r, episodes[i], after && r->episodes[episodes[i]].has_after, tokens,
                    cu, out);
    mask_stop_token(&t->options, out);
    out->batch = (rlhf__batch){.tokens = tokens,
                               .cu_seqlens = cu,
                               .num_seqs = count,
                               .rows = out->rows,
                               .num_rows = out->num_rows};
    return RLHF_OK;
}

int64_t rlhf__ppo_micro_end(const rlhf__ppo_trainer *t, const rlhf__rollout *r,
                            const int64_t *episodes, int64_t first, int64_t end)
{
    int64_t tokens = 0, i = first;

    for (; i < end; i++) {
        tokens += r->episodes[episodes[i]].num_tokens;
        if (i > first && tokens > t->options.micro_batch_tokens)
            break;
    }
    return i;
}

rlhf_status rlhf__ppo_hidden(rlhf__ppo_trainer *t, rlhf__transformer *net,
                             const rlhf__ppo_rows *rows, rlhf__var **out)
{
    RLHF__TRY(rlhf__batch_check(net, &rows->batch));
    return rlhf__transformer_forward(net, t->tape, &rows->batch, out);
}

/* One micro-batch of rlhf__ppo_logprobs. */
static rlhf_status logprobs_micro(rlhf__ppo_trainer *t, rlhf__transformer *net,
                                  const rlhf__rollout *r, const int64_t *episodes,
                                  int64_t count, float *out_logprobs,
                                  float *out_entropies)
{
    rlhf__arena *arena = t->tape->arena;
    rlhf__ppo_rows rows;
    rlhf__var *hidden = NULL;
    float *logprobs = NULL, *entropies = NULL;

    rlhf__tape_reset(t->tape, false, NULL);
    RLHF__TRY(rlhf__ppo_rows_build(t, r, episodes, count, false, arena, &rows));
    RLHF__TRY(rlhf__arena_alloc(arena, rows.num_rows, sizeof *logprobs, &logprobs));
    if (out_entropies)
        RLHF__TRY(rlhf__arena_alloc(arena, rows.num_rows, sizeof *entropies, &entropies));
    RLHF__TRY(rlhf__ppo_hidden(t, net, &rows, &hidden));
    RLHF__TRY(rlhf__op_linear_logprob(
        t->tape, &net->params, net->head_weight, hidden, rows.targets, rows.masked,
        rlhf__inv_tau(t->options.temperature), logprobs, entropies, NULL, NULL));
    for (int64_t i = 0; i < rows.num_rows; i++) {
        out_logprobs[rows.places[i]] = logprobs[i];
        if (out_entropies)
            out_entropies[rows.places[i]] = entropies[i];
    }
    return RLHF_OK;
}

rlhf_status rlhf__ppo_logprobs(rlhf__ppo_trainer *t, rlhf__transformer *net,
                               const rlhf__rollout *r, const bool *wanted,
                               float *out_logprobs, float *out_entropies)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(t->lists);
    int64_t *episodes = NULL, count = 0;
    rlhf_status status;

    RLHF__TRY(rlhf__arena_alloc(t->lists, r->num_episodes, sizeof *episodes, &episodes));
    for (int64_t e = 0; e < r->num_episodes; e++)
        if (!wanted || wanted[e])
            episodes[count++] = e;
    status = RLHF_OK;
    for (int64_t first = 0; first < count && status == RLHF_OK;) {
        const int64_t end = rlhf__ppo_micro_end(t, r, episodes, first, count);
        status = rlhf__progress(t->context, "score", first, count);
        if (status == RLHF_OK)
            status = logprobs_micro(t, net, r, episodes + first, end - first,
                                    out_logprobs, out_entropies);
        first = end;
    }
    if (status == RLHF_OK)
        rlhf__progress_end(t->context, "score", count);
    rlhf__arena_release(t->lists, mark);
    return status;
}

rlhf_status rlhf__ppo_values(rlhf__ppo_trainer *t, const rlhf__ppo_rows *rows,
                             rlhf__var **out)
{
    rlhf__var *hidden = NULL;

    RLHF__TRY(rlhf__ppo_hidden(t, t->critic->net, rows, &hidden));
    return rlhf__transformer_head(t->critic->net, t->tape, hidden, out);
}

static bool same_rows(const rlhf__ppo_rows *a, const rlhf__ppo_rows *b)
{
    const int64_t n = a->batch.num_seqs;

    return n == b->batch.num_seqs && a->num_rows == b->num_rows &&
           memcmp(a->batch.cu_seqlens, b->batch.cu_seqlens,
                  (size_t)(n + 1) * sizeof *a->batch.cu_seqlens) == 0 &&
           memcmp(a->batch.tokens, b->batch.tokens,
                  (size_t)a->batch.cu_seqlens[n] * sizeof *a->batch.tokens) == 0 &&
           memcmp(a->rows, b->rows, (size_t)a->num_rows * sizeof *a->rows) == 0;
}

rlhf_status rlhf__ppo_recorded_values(rlhf__ppo_trainer *t, const rlhf__ppo_rows *rows,
                                      rlhf__var **out)
{
    const rlhf__ppo_pass pass = t->value_pass;

    t->value_pass.resets = 0; /* a tape is walked once */
    if (pass.resets != 0 && pass.resets == t->tape->resets &&
        pass.version == t->critic->net->params.version && same_rows(&pass.rows, rows)) {
        *out = pass.values;
        return RLHF_OK;
    }
    rlhf__tape_reset(t->tape, true, &t->critic_learner.grads);
    return rlhf__ppo_values(t, rows, out);
}
