/* Christiano et al. 2017, eq. 1, on one score for a prompt and its answer (Stiennon et
 * al. 2020):
 *   L = -mean log sigmoid(r+ - r- - margin) + c mean (r+ + r-)^2
 * Both answers of a pair go through one forward pass (docs/reward.md). */
#include "train/reward.h"

#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/size.h"
#include "train/score.h"

rlhf__pair_loss rlhf__reward_pair_loss(double chosen, double rejected, double margin,
                                       double center_coefficient)
{
    const double d = chosen - rejected - margin;
    const double sum = chosen + rejected;
    const double e = exp(-fabs(d));
    /* -log sigmoid(d) = max(-d, 0) + log1p(exp(-|d|)); its slope is -sigmoid(-d). */
    const double slope = d >= 0.0 ? -e / (1.0 + e) : -1.0 / (1.0 + e);
    const double center = 2.0 * center_coefficient * sum;

    return (rlhf__pair_loss){fmax(-d, 0.0) + log1p(e) + center_coefficient * sum * sum,
                             slope + center, center - slope};
}

static void add_pair(rlhf__reward_sums *sums, double chosen, double rejected, double loss)
{
    sums->loss += loss;
    sums->margin += chosen - rejected;
    sums->reward += chosen + rejected;
    sums->min_reward = fmin(sums->min_reward, fmin(chosen, rejected));
    sums->max_reward = fmax(sums->max_reward, fmax(chosen, rejected));
    sums->num_right += chosen > rejected;
    sums->num_pairs++;
}

/* In a training step the gradient tells; an evaluation has none. */
static rlhf_status check_scores(const rlhf__rows *rows, const float *scores)
{
    for (int64_t s = 0; s < rows->num_seqs; s++)
        if (!isfinite(scores[s]))
            return rlhf__fail(
                RLHF_ERR_NUMERIC,
                "score of the %s answer of row %" PRId64 " is not finite but %g",
                s % 2 ? "rejected" : "chosen", rows->ids[s / 2], (double)scores[s]);
    return RLHF_OK;
}

/* Sequence 2i of the rows is the chosen one of pair i, 2i + 1 the rejected. */
static rlhf_status reward_micro(void *arg, const rlhf__rows *rows)
{
    rlhf__reward_trainer *t = arg;
    rlhf__tape *tape = t->stepper.tape;
    rlhf__span *spans = NULL;
    rlhf__var *scores = NULL;
    float *grads = NULL;

    RLHF__TRY(rlhf__arena_alloc(tape->arena, rows->num_seqs, sizeof *spans, &spans));
    for (int64_t s = 0; s < rows->num_seqs; s++) {
        spans[s] = (rlhf__span){rows->tokens + rows->cu_seqlens[s],
                                rows->cu_seqlens[s + 1] - rows->cu_seqlens[s]};
        t->sums.num_tokens +=
            spans[s].count + rlhf__reward_appends_eos(t->model, spans[s]);
    }
    RLHF__TRY(rlhf__reward_forward(t->model, tape, spans, rows->num_seqs, &scores));
    if (tape->record)
        RLHF__TRY(rlhf__var_grad(tape, scores, &grads));
    else
        RLHF__TRY(check_scores(rows, scores->data));
    for (int64_t i = 0; i < rows->num_rows; i++) {
        const double chosen = (double)scores->data[2 * i];
        const double rejected = (double)scores->data[2 * i + 1];
        const rlhf__pair_loss pair = rlhf__reward_pair_loss(
            chosen, rejected, t->use_margin ? rows->margins[i] : 0.0,
            t->center_coefficient);
        add_pair(&t->sums, chosen, rejected, pair.loss);
        if (grads) {
            grads[2 * i] += (float)pair.dchosen;
            grads[2 * i + 1] += (float)pair.drejected;
        }
    }
    return tape->record ? rlhf__tape_backward(tape) : RLHF_OK;
}

static void reward_clear(void *arg)
{
    rlhf__reward_trainer *t = arg;

    t->sums = (rlhf__reward_sums){.min_reward = HUGE_VAL, .max_reward = -HUGE_VAL};
}

rlhf_status rlhf__reward_trainer_create(rlhf__reward_model *model, rlhf__dataset *dataset,
                                        const rlhf_reward_options *options,
                                        rlhf__reward_trainer **out_trainer)
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
        .longest_row = model->net->config.context_length,
        .checkpoint = options->gradient_checkpointing != 0,
        .kind = "reward"};
    rlhf__reward_trainer *t = NULL;
    rlhf_status status;

    *out_trainer = NULL;
    if (dataset->kind != RLHF_DATASET_PREFERENCE)
        return rlhf__fail(RLHF_ERR_INVALID_ARG,
                          "the dataset must hold preferences, its kind is %" PRId32,
                          dataset->kind);
    RLHF__TRY(rlhf__alloc(model->net->context, 1, sizeof *t, RLHF_MEMORY_GENERAL, &t));
    t->model = model;
    t->center_coefficient = options->center_coefficient;
    t->use_margin = options->use_margin;
    status = rlhf__stepper_init(&t->stepper, model->net, dataset, &settings, reward_micro,
                                reward_clear, t);
    if (status != RLHF_OK) {
        rlhf__reward_trainer_free(t);
        return status;
    }
    reward_clear(t);
    *out_trainer = t;
    return RLHF_OK;
}

void rlhf__reward_trainer_free(rlhf__reward_trainer *trainer)
{
    if (!trainer)
        return;
    rlhf__stepper_free(&trainer->stepper);
    rlhf__free(trainer);
}

static double mean_scale(const rlhf__reward_sums *sums)
{
    return 1.0 / (double)rlhf__max_i64(1, sums->num_pairs);
}

static rlhf_reward_stats stats_of(const rlhf__reward_sums *sums, double seconds)
{
    const double scale = mean_scale(sums);

    return (rlhf_reward_stats){
        .struct_size = sizeof(rlhf_reward_stats),
        .loss = sums->loss * scale,
        .accuracy = (double)sums->num_right * scale,
        .margin = sums->margin * scale,
        .mean_reward = sums->reward * scale / 2.0,
        .min_reward = sums->min_reward,
        .max_reward = sums->max_reward,
        .num_pairs = sums->num_pairs,
        .num_tokens = sums->num_tokens,
        .tokens_per_second = seconds > 0.0 ? (double)sums->num_tokens / seconds : 0.0};
}

rlhf_status rlhf__reward_trainer_apply(rlhf__reward_trainer *t,
                                       rlhf_reward_stats *out_stats)
{
    rlhf_reward_stats stats;
    double norm = 0.0, rate = 0.0, seconds = 0.0;

    RLHF__TRY(
        rlhf__stepper_apply(&t->stepper, mean_scale(&t->sums), &norm, &rate, &seconds));
    stats = stats_of(&t->sums, seconds);
    stats.step = t->stepper.step;
    stats.grad_norm = norm;
    stats.learning_rate = rate;
    *out_stats = stats;
    return RLHF_OK;
}

rlhf_status rlhf__reward_trainer_gradient(const rlhf__reward_trainer *t, const char *name,
                                          float *out_values, int64_t count)
{
    return rlhf__stepper_gradient(&t->stepper, name, mean_scale(&t->sums), out_values,
                                  count);
}

rlhf_status rlhf__reward_trainer_evaluate(rlhf__reward_trainer *t, rlhf__dataset *dataset,
                                          int64_t max_rows, rlhf_reward_stats *out_stats)
{
    const rlhf__reward_sums step = t->sums;
    const int64_t started = rlhf__now_ns();
    rlhf_status status;

    reward_clear(t);
    status = rlhf__stepper_evaluate(&t->stepper, dataset, max_rows);
    if (status == RLHF_OK && t->sums.num_pairs == 0)
        status = rlhf__fail(RLHF_ERR_INVALID_ARG, "the dataset has no pair to evaluate");
    if (status == RLHF_OK) {
        *out_stats = stats_of(&t->sums, (double)(rlhf__now_ns() - started) * 1e-9);
        out_stats->step = t->stepper.step;
    }
    t->sums = step;
    return status;
}
