/* L = -sum_j w_j log p(x_j | x_<j) / sum_j w_j with w = 1 on the targets: every token
 * but the first of a text, the completion's tokens (EOS among them) of a prompt +
 * completion. The sum is over the whole step, whatever its micro-batches (docs/lm.md). */
#include "train/lm.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

/* Inputs of a micro-batch: each row without its last token, which is no input to
 * anything. */
typedef struct inputs {
    rlhf__batch batch; /* its rows: those that predict each target */
    int32_t *targets;  /* [batch.num_rows] */
} inputs;

/* The first token of a row that carries loss. */
static int64_t first_target(const rlhf__rows *rows, int64_t row)
{
    return rlhf__max_i64(1, rows->prompt_lengths[row]);
}

static rlhf_status build_inputs(rlhf__arena *arena, const rlhf__rows *rows, inputs *out)
{
    const int64_t most = rlhf__rows_num_tokens(rows);
    int32_t *tokens = NULL;
    int64_t *cu = NULL, *predicting = NULL, num_targets = 0, num_seqs = 0, end = 0;

    memset(out, 0, sizeof *out);
    RLHF__TRY(rlhf__arena_alloc(arena, most, sizeof *tokens, &tokens));
    RLHF__TRY(rlhf__arena_alloc(arena, rows->num_seqs + 1, sizeof *cu, &cu));
    RLHF__TRY(rlhf__arena_alloc(arena, most, sizeof *predicting, &predicting));
    RLHF__TRY(rlhf__arena_alloc(arena, most, sizeof *out->targets, &out->targets));
    cu[0] = 0;
    for (int64_t s = 0; s < rows->num_seqs; s++) {
        const int32_t *row = rows->tokens + rows->cu_seqlens[s];
        const int64_t n = rows->cu_seqlens[s + 1] - rows->cu_seqlens[s];
        const int64_t first = first_target(rows, s);
        if (first >= n)
            continue;
        for (int64_t j = first; j < n; j++) {
            predicting[num_targets] = end + j - 1;
            out->targets[num_targets++] = row[j];
        }
        memcpy(tokens + end, row, (size_t)(n - 1) * sizeof *tokens);
        end += n - 1;
        cu[++num_seqs] = end;
    }
    out->batch = (rlhf__batch){.tokens = tokens,
                               .cu_seqlens = cu,
                               .num_seqs = num_seqs,
                               .rows = predicting,
                               .num_rows = num_targets};
    return RLHF_OK;
}

/* The step's loss is a plain sum: d loss / d logprob = -1; apply divides by the
 * targets. */
static rlhf_status sum_loss(void *arg, int64_t first, int64_t count, const float *logprob,
                            const float *entropy, float *dlogprob, float *dentropy)
{
    (void)arg;
    (void)first;
    (void)logprob;
    (void)entropy;
    (void)dentropy;
    for (int64_t i = 0; i < count; i++)
        dlogprob[i] = -1.0f;
    return RLHF_OK;
}

/* In a training step the gradient tells; an evaluation has none. */
static rlhf_status check_logprobs(const rlhf__rows *rows, const float *logprobs)
{
    for (int64_t s = 0; s < rows->num_seqs; s++) {
        const int64_t n = rows->cu_seqlens[s + 1] - rows->cu_seqlens[s];
        for (int64_t j = first_target(rows, s); j < n; j++, logprobs++)
            if (!isfinite(*logprobs))
                return rlhf__fail(RLHF_ERR_NUMERIC,
                                  "log-probability of token %" PRId64 " of row %" PRId64
                                  " is not finite but %g",
                                  j, rows->ids[s], (double)*logprobs);
    }
    return RLHF_OK;
}

/* Lengths and ids of the rows were checked by the stepper. */
static rlhf_status lm_micro(void *arg, const rlhf__rows *rows)
{
    rlhf__lm_trainer *t = arg;
    rlhf__tape *tape = t->stepper.tape;
    rlhf__var *hidden = NULL;
    float *logprobs = NULL;
    inputs in;

    RLHF__TRY(build_inputs(tape->arena, rows, &in));
    if (in.batch.num_rows == 0)
        return RLHF_OK;
    RLHF__TRY(
        rlhf__arena_alloc(tape->arena, in.batch.num_rows, sizeof *logprobs, &logprobs));
    RLHF__TRY(rlhf__transformer_forward(t->net, tape, &in.batch, &hidden));
    RLHF__TRY(rlhf__op_linear_logprob(tape, &t->net->params, t->net->head_weight, hidden,
                                      in.targets, NULL, 1.0f, logprobs, NULL, sum_loss,
                                      NULL));
    if (tape->record)
        RLHF__TRY(rlhf__tape_backward(tape));
    else
        RLHF__TRY(check_logprobs(rows, logprobs));
    for (int64_t i = 0; i < in.batch.num_rows; i++)
        t->sums.loss -= (double)logprobs[i];
    t->sums.num_targets += in.batch.num_rows;
    return RLHF_OK;
}

static void lm_clear(void *arg)
{
    rlhf__lm_trainer *t = arg;

    t->sums = (rlhf__lm_sums){0};
}

rlhf_status rlhf__lm_trainer_create(rlhf__transformer *net, rlhf__dataset *dataset,
                                    const rlhf_lm_options *options,
                                    rlhf__lm_trainer **out_trainer)
{
    const rlhf__stepper_settings settings = {
        .learner = {options->beta1, options->beta2, options->epsilon,
                    options->weight_decay, options->max_grad_norm, options->adam_form},
        .learning_rate = options->learning_rate,
        .final_lr_ratio = options->final_lr_ratio,
        .total_steps = options->total_steps,
        .warmup_steps = options->warmup_steps,
        .schedule = options->schedule,
        .batch_size = options->batch_size,
        .micro_batch_tokens = options->micro_batch_tokens,
        .longest_row = (int64_t)net->config.context_length + 1, /* the last is no input */
        .checkpoint = options->gradient_checkpointing != 0,
        .kind = "lm"};
    rlhf__lm_trainer *t = NULL;
    rlhf_status status;

    *out_trainer = NULL;
    if (dataset->kind != RLHF_DATASET_TEXT && dataset->kind != RLHF_DATASET_COMPLETION)
        return rlhf__fail(
            RLHF_ERR_INVALID_ARG,
            "the dataset must hold texts or completions, its kind is %" PRId32,
            dataset->kind);
    RLHF__TRY(rlhf__alloc(net->context, 1, sizeof *t, RLHF_MEMORY_GENERAL, &t));
    t->net = net;
    status =
        rlhf__stepper_init(&t->stepper, net, dataset, &settings, lm_micro, lm_clear, t);
    if (status != RLHF_OK) {
        rlhf__lm_trainer_free(t);
        return status;
    }
    *out_trainer = t;
    return RLHF_OK;
}

void rlhf__lm_trainer_free(rlhf__lm_trainer *trainer)
{
    if (!trainer)
        return;
    rlhf__stepper_free(&trainer->stepper);
    rlhf__free(trainer);
}

static double mean_scale(const rlhf__lm_trainer *t)
{
    return 1.0 / (double)rlhf__max_i64(1, t->sums.num_targets);
}

rlhf_status rlhf__lm_trainer_apply(rlhf__lm_trainer *t, rlhf_lm_stats *out_stats)
{
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    double seconds = 0.0;

    RLHF__TRY(rlhf__stepper_apply(&t->stepper, mean_scale(t), &stats.grad_norm,
                                  &stats.learning_rate, &seconds));
    stats.step = t->stepper.step;
    stats.loss = t->sums.loss * mean_scale(t);
    stats.num_targets = t->sums.num_targets;
    stats.num_tokens = t->stepper.num_tokens;
    stats.tokens_per_second = seconds > 0.0 ? (double)stats.num_tokens / seconds : 0.0;
    *out_stats = stats;
    return RLHF_OK;
}

rlhf_status rlhf__lm_trainer_gradient(const rlhf__lm_trainer *t, const char *name,
                                      float *out_values, int64_t count)
{
    return rlhf__stepper_gradient(&t->stepper, name, mean_scale(t), out_values, count);
}

rlhf_status rlhf__lm_trainer_evaluate(rlhf__lm_trainer *t, rlhf__dataset *dataset,
                                      int64_t max_rows, double *out_loss)
{
    const rlhf__lm_sums step = t->sums;
    rlhf_status status;

    t->sums = (rlhf__lm_sums){0};
    status = rlhf__stepper_evaluate(&t->stepper, dataset, max_rows);
    if (status == RLHF_OK && t->sums.num_targets == 0)
        status =
            rlhf__fail(RLHF_ERR_INVALID_ARG, "the dataset has no target to evaluate");
    if (status == RLHF_OK)
        *out_loss = t->sums.loss * mean_scale(t);
    t->sums = step;
    return status;
}
