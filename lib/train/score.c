/* Scoring; see score.h. */
#include "train/score.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <rlhf/reward.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/number.h"

bool rlhf__reward_appends_eos(const rlhf__reward_model *model, rlhf__span sequence)
{
    return model->append_eos == RLHF_APPEND_EOS_IF_MISSING && model->eos_token_id >= 0 &&
           sequence.count < model->net->config.context_length &&
           (sequence.count == 0 ||
            sequence.tokens[sequence.count - 1] != model->eos_token_id);
}

/* The sequences end to end, EOS appended by the rule, in the tape's memory, of which the
 * last tokens' rows are wanted. */
static rlhf_status build_input(const rlhf__reward_model *model, rlhf__arena *arena,
                               const rlhf__span *sequences, int64_t n, rlhf__batch *out)
{
    int32_t *tokens = NULL;
    int64_t *cu = NULL, *last = NULL, total = 0;

    for (int64_t s = 0; s < n; s++)
        total += sequences[s].count + 1;
    RLHF__TRY(rlhf__arena_alloc(arena, total, sizeof *tokens, &tokens));
    RLHF__TRY(rlhf__arena_alloc(arena, n + 1, sizeof *cu, &cu));
    RLHF__TRY(rlhf__arena_alloc(arena, n, sizeof *last, &last));
    cu[0] = 0;
    for (int64_t s = 0; s < n; s++) {
        int64_t end = cu[s] + sequences[s].count;
        memcpy(tokens + cu[s], sequences[s].tokens,
               (size_t)sequences[s].count * sizeof *tokens);
        if (rlhf__reward_appends_eos(model, sequences[s]))
            tokens[end++] = model->eos_token_id;
        cu[s + 1] = end;
        last[s] = end - 1;
    }
    *out = (rlhf__batch){
        .tokens = tokens, .cu_seqlens = cu, .num_seqs = n, .rows = last, .num_rows = n};
    return RLHF_OK;
}

rlhf_status rlhf__reward_forward(rlhf__reward_model *model, rlhf__tape *tape,
                                 const rlhf__span *sequences, int64_t n, rlhf__var **out)
{
    rlhf__batch batch;
    rlhf__var *hidden = NULL;

    RLHF__TRY(build_input(model, tape->arena, sequences, n, &batch));
    RLHF__TRY(rlhf__transformer_forward(model->net, tape, &batch, &hidden));
    return rlhf__transformer_head(model->net, tape, hidden, out);
}

/* All of them before the first forward, which knows of its own sequences alone. */
static rlhf_status check_sequences(const rlhf__reward_model *model,
                                   const rlhf__span *sequences, int64_t n)
{
    for (int64_t s = 0; s < n; s++) {
        if (sequences[s].count < 1)
            return rlhf__fail(RLHF_ERR_INVALID_ARG, "sequence %" PRId64 " is empty", s);
        RLHF__TRY(
            rlhf__sequence_check(model->net, s, sequences[s].tokens, sequences[s].count));
    }
    return RLHF_OK;
}

rlhf_status rlhf__reward_scores(rlhf__reward_model *model, rlhf__tape *tape,
                                const rlhf__span *sequences, int64_t n, int64_t budget,
                                float *out_scores)
{
    RLHF__TRY(check_sequences(model, sequences, n));
    for (int64_t first = 0; first < n;) {
        int64_t end = first, tokens = 0;
        rlhf__var *raw = NULL;
        while (end < n && (end == first || tokens + sequences[end].count + 1 <= budget))
            tokens += sequences[end++].count + 1;
        RLHF__TRY(rlhf__progress(model->net->context, "score", first, n));
        rlhf__tape_reset(tape, false, NULL);
        RLHF__TRY(
            rlhf__reward_forward(model, tape, sequences + first, end - first, &raw));
        for (int64_t s = first; s < end; s++) {
            const double score =
                model->scale * (double)raw->data[s - first] + model->offset;
            out_scores[s] = (float)score;
            if (!isfinite(out_scores[s]))
                return rlhf__fail(RLHF_ERR_NUMERIC,
                                  "score of sequence %" PRId64 " is not finite but %g", s,
                                  score);
        }
        first = end;
    }
    rlhf__progress_end(model->net->context, "score", n);
    return RLHF_OK;
}

rlhf_status rlhf__reward_normalize(rlhf__reward_model *model, rlhf__tape *tape,
                                   const rlhf__span *sequences, int64_t n, int64_t budget,
                                   bool unit_variance)
{
    const double old_scale = model->scale, old_offset = model->offset;
    double mean = 0.0, squares = 0.0;
    float *scores = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__alloc_raw(model->net->context, n, sizeof *scores, RLHF_MEMORY_GENERAL,
                              &scores));
    model->scale = 1.0;
    model->offset = 0.0;
    status = rlhf__reward_scores(model, tape, sequences, n, budget, scores);
    model->scale = old_scale;
    model->offset = old_offset;
    if (status == RLHF_OK) {
        bool alike = true; /* exactly: the mean's rounding is no variance */
        for (int64_t s = 0; s < n; s++) {
            mean += (double)scores[s] / (double)n;
            alike = alike && scores[s] == scores[0];
        }
        for (int64_t s = 0; s < n; s++)
            squares += ((double)scores[s] - mean) * ((double)scores[s] - mean);
        const double std = sqrt(squares / (double)n);
        /* Without unit_variance the scale stays; its sign too with it. */
        const double scale = unit_variance ? copysign(1.0 / std, old_scale) : old_scale;
        if (alike && unit_variance) {
            status = rlhf__fail(RLHF_ERR_NUMERIC,
                                "all %" PRId64 " sequences score %g: there "
                                "is no variance to normalise",
                                n, mean);
        } else if (!rlhf__is_finite_float(scale) ||
                   !rlhf__is_finite_float(scale * mean)) {
            status = rlhf__fail(RLHF_ERR_NUMERIC,
                                "scores of mean %g and deviation %g cannot be "
                                "normalised: scale or offset is not finite",
                                mean, std);
        } else {
            model->scale = scale;
            model->offset = -scale * mean;
        }
    }
    rlhf__free(scores);
    return status;
}

void rlhf__reward_fold_affine(rlhf__reward_model *model)
{
    rlhf__params *params = &model->net->params;
    const int64_t width = model->net->config.hidden_size;

    (void)rlhf__params_begin_write(params);
    float *weight = rlhf__slab_values(params, model->net->score_weight);
    float *bias = rlhf__slab_values(params, model->net->score_bias);
    for (int64_t i = 0; i < width; i++)
        weight[i] = (float)(model->scale * (double)weight[i]);
    bias[0] = (float)(model->scale * (double)bias[0] + model->offset);
    rlhf__params_end_write(params);
    model->scale = 1.0;
    model->offset = 0.0;
}
