/* Epochs of minibatches on a rollout. A minibatch's gradients come micro-batch by
 * micro-batch, of both networks on one packed batch; nothing changes before both are
 * there and finite. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/rng.h"
#include "base/size.h"
#include "optim/schedule.h"
#include "train/gae.h"
#include "train/kl.h"
#include "train/ppo.h"
#include "train/ppo_loss.h"

/* The sequences of one minibatch, and by what its token losses are divided. */
typedef struct minibatch {
    const int64_t *episodes; /* [count], in the epoch's order */
    int64_t count;
    int64_t num_micro;
    int64_t num_actions, num_slots; /* slots: those after the last action too */
    const float *advantages;        /* over the rollout's tokens */
} minibatch;

static int64_t num_slots(const rlhf__episode *e)
{
    return e->num_actions + e->has_after;
}

/* --- weights of token losses -------------------------------------------------------- */

/* d (minibatch's loss) / d (loss of a slot): `mine` slots in its sequence, `micro` in its
 * micro-batch, `all` in the minibatch. */
static double slot_weight(const rlhf_ppo_options *o, const minibatch *mb, int64_t mine,
                          int64_t micro, int64_t all)
{
    switch (o->aggregation) {
    case RLHF_AGGREGATE_MICRO_MEAN:
        return 1.0 / ((double)micro * (double)mb->num_micro);
    case RLHF_AGGREGATE_SEQUENCE:
        return 1.0 / ((double)mine * (double)mb->count);
    case RLHF_AGGREGATE_CONSTANT:
        return 1.0 / ((double)mb->count * (double)o->max_new_tokens);
    default:
        return 1.0 / (double)all;
    }
}

/* --- policy ------------------------------------------------------------------------- */

typedef struct policy_pass {
    rlhf__ppo_trainer *trainer;
    const rlhf__rollout *rollout;
    const minibatch *mb;
    const rlhf__ppo_rows *rows;
} policy_pass;

/* Losses of a chunk of head rows: called by the head op with their log-probs and
 * entropies. */
static rlhf_status policy_loss(void *arg, int64_t first, int64_t count,
                               const float *logprob, const float *entropy,
                               float *dlogprob, float *dentropy)
{
    const policy_pass *pass = arg;
    const rlhf_ppo_options *o = &pass->trainer->options;
    rlhf__ppo_tally *fresh = &pass->trainer->fresh;
    const bool is_first = pass->trainer->epoch == 0 && pass->trainer->minibatch == 0;

    for (int64_t i = 0; i < count; i++) {
        const int64_t place = pass->rows->places[first + i];
        const rlhf__episode *e =
            &pass->rollout->episodes[pass->rows->episodes[first + i]];
        const double weight = slot_weight(o, pass->mb, e->num_actions,
                                          pass->rows->num_rows, pass->mb->num_actions);
        const rlhf__policy_loss loss = rlhf__ppo_policy_loss(
            o, (double)pass->mb->advantages[place], (double)logprob[i],
            (double)pass->rollout->logprobs[place]);
        dlogprob[i] = (float)(weight * loss.gradient);
        if (o->entropy_coef > 0.0)
            dentropy[i] = (float)(-weight * o->entropy_coef);
        fresh->policy_loss += weight * loss.loss;
        fresh->approxkl += 0.5 * loss.log_ratio * loss.log_ratio;
        fresh->clipped += loss.clipped;
        fresh->ratio += loss.ratio;
        fresh->entropy += (double)entropy[i];
        fresh->tokens += 1.0;
        if (is_first)
            fresh->first_ratio_deviation =
                fmax(fresh->first_ratio_deviation, fabs(loss.ratio - 1.0));
    }
    return RLHF_OK;
}

static rlhf_status policy_micro(rlhf__ppo_trainer *t, const rlhf__rollout *r,
                                const minibatch *mb, const rlhf__ppo_rows *rows)
{
    rlhf__arena *arena = t->tape->arena;
    rlhf__var *hidden = NULL;
    float *logprobs = NULL, *entropies = NULL;
    policy_pass pass = {t, r, mb, rows};

    rlhf__tape_reset(t->tape, true, &t->policy_learner.grads);
    RLHF__TRY(rlhf__arena_alloc(arena, rows->num_rows, sizeof *logprobs, &logprobs));
    RLHF__TRY(rlhf__arena_alloc(arena, rows->num_rows, sizeof *entropies, &entropies));
    RLHF__TRY(rlhf__ppo_hidden(t, t->policy, rows, &hidden));
    RLHF__TRY(rlhf__op_linear_logprob(t->tape, &t->policy->params, t->policy->head_weight,
                                      hidden, rows->targets, rows->masked,
                                      rlhf__inv_tau(t->options.temperature), logprobs,
                                      entropies, policy_loss, &pass));
    return rlhf__tape_backward(t->tape);
}

/* --- critic ------------------------------------------------------------------------- */

static rlhf_status value_micro(rlhf__ppo_trainer *t, const rlhf__rollout *r,
                               const minibatch *mb, const rlhf__ppo_rows *rows)
{
    const rlhf_ppo_options *o = &t->options;
    rlhf__var *values = NULL;
    float *dvalues = NULL;

    RLHF__TRY(rlhf__ppo_recorded_values(t, rows, &values));
    RLHF__TRY(rlhf__var_grad(t->tape, values, &dvalues));
    for (int64_t i = 0; i < rows->num_rows; i++) {
        const rlhf__episode *e = &r->episodes[rows->episodes[i]];
        const int64_t place = rows->places[i];
        const double old =
            place < 0 ? (double)e->after_value : (double)r->estimates.values[place];
        const double ret =
            place < 0 ? (double)e->after_return : (double)r->estimates.returns[place];
        const double weight =
            slot_weight(o, mb, num_slots(e), rows->num_rows, mb->num_slots);
        const rlhf__value_loss loss =
            rlhf__ppo_value_loss(o->value_clip_range, (double)values->data[i], old, ret);
        dvalues[i] += (float)(weight * o->value_coef * loss.gradient);
        t->fresh.value_loss += weight * loss.loss;
        t->fresh.value_clipped += loss.clipped;
        t->fresh.value_slots += 1.0;
    }
    return rlhf__tape_backward(t->tape);
}

/* --- one minibatch ------------------------------------------------------------------ */

/* Advantages whitened over the minibatch's own actions. */
static rlhf_status whiten_minibatch(rlhf__ppo_trainer *t, const rlhf__rollout *r,
                                    minibatch *mb)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(t->lists);
    float *slots = NULL;
    int64_t n = 0;

    RLHF__TRY(rlhf__grow(t->context, &t->advantages, &t->advantages_capacity,
                         r->num_tokens, sizeof *t->advantages));
    RLHF__TRY(rlhf__arena_alloc(t->lists, mb->num_actions, sizeof *slots, &slots));
    for (int pass = 0; pass < 2; pass++) {
        n = 0;
        for (int64_t i = 0; i < mb->count; i++) {
            const rlhf__episode *e = &r->episodes[mb->episodes[i]];
            for (int64_t j = e->first; j < e->first + e->num_tokens; j++) {
                if (!r->action_mask[j])
                    continue;
                if (pass == 0)
                    slots[n++] = r->estimates.advantages[j];
                else
                    t->advantages[j] = slots[n++];
            }
        }
        if (pass == 0)
            rlhf__whiten(slots, n, t->options.whiten_variance, false);
    }
    rlhf__arena_release(t->lists, mark);
    mb->advantages = t->advantages;
    return RLHF_OK;
}

/* Where minibatch m begins in an epoch's order. */
static int64_t minibatch_begin(const rlhf__ppo_trainer *t, const rlhf__rollout *r,
                               int64_t m)
{
    return r->num_episodes * m / t->options.num_minibatches;
}

int64_t rlhf__ppo_minibatch_size(const rlhf__ppo_trainer *t, const rlhf__rollout *r,
                                 int64_t m)
{
    return minibatch_begin(t, r, m + 1) - minibatch_begin(t, r, m);
}

static int64_t minibatch_size(const rlhf__ppo_trainer *t, const rlhf__rollout *r)
{
    return rlhf__ppo_minibatch_size(t, r, t->minibatch);
}

static rlhf_status take_minibatch(rlhf__ppo_trainer *t, const rlhf__rollout *r,
                                  minibatch *out)
{
    *out = (minibatch){.episodes = t->order + minibatch_begin(t, r, t->minibatch),
                       .count = minibatch_size(t, r),
                       .advantages = r->estimates.advantages};
    for (int64_t i = 0; i < out->count; i++) {
        out->num_actions += r->episodes[out->episodes[i]].num_actions;
        out->num_slots += num_slots(&r->episodes[out->episodes[i]]);
    }
    for (int64_t i = 0; i < out->count; out->num_micro++)
        i = rlhf__ppo_micro_end(t, r, out->episodes, i, out->count);
    if (t->options.whiten_advantages && t->options.whiten_scope == RLHF_WHITEN_MINIBATCH)
        return whiten_minibatch(t, r, out);
    return RLHF_OK;
}

/* Minibatches done of the iteration, and in all its epochs. */
static int64_t minibatches_done(const rlhf__ppo_trainer *t)
{
    return t->epoch * t->options.num_minibatches + t->minibatch;
}

static int64_t minibatches_total(const rlhf__ppo_trainer *t)
{
    return (int64_t)t->options.num_epochs * t->options.num_minibatches;
}

/* Both networks' gradients of these sequences, the critic's first: its pass may be on
 * the tape already. */
static rlhf_status micro_gradients(rlhf__ppo_trainer *t, const rlhf__rollout *r,
                                   const minibatch *mb, const int64_t *episodes,
                                   int64_t count)
{
    rlhf__ppo_rows slots, actions;

    RLHF__TRY(rlhf__ppo_rows_build(t, r, episodes, count, true, t->lists, &slots));
    RLHF__TRY(value_micro(t, r, mb, &slots));
    if (t->policy_skipped)
        return RLHF_OK;
    actions = slots;
    if (slots.has_after)
        RLHF__TRY(rlhf__ppo_rows_build(t, r, episodes, count, false, t->lists, &actions));
    return policy_micro(t, r, mb, &actions);
}

/* The gradients of one micro-batch more, from sequence t->gathered of the minibatch on.
 */
static rlhf_status run_micro(rlhf__ppo_trainer *t, const rlhf__rollout *r,
                             const minibatch *mb)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(t->lists);
    const int64_t end = rlhf__ppo_micro_end(t, r, mb->episodes, t->gathered, mb->count);

    RLHF__TRY(
        rlhf__progress(t->context, "train", minibatches_done(t), minibatches_total(t)));
    const rlhf_status status =
        micro_gradients(t, r, mb, mb->episodes + t->gathered, end - t->gathered);
    rlhf__arena_release(t->lists, mark);
    if (status == RLHF_OK)
        t->gathered = end;
    return status;
}

/* --- the update --------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* A minibatch's gradient is a sum, whatever its order, unless micro-batches have means of
 * their own: in the rollout's order answers to one prompt come into one micro-batch,
 * where they share it (nn/share.h). */
rlhf_status rlhf__ppo_shuffle(rlhf__ppo_trainer *t, const rlhf__rollout *r)
{
    const uint64_t index = ((uint64_t)t->iteration << 20) + (uint64_t)t->epoch;

    RLHF__TRY(rlhf__grow(t->context, &t->order, &t->order_capacity, r->num_episodes,
                         sizeof *t->order));
    rlhf__rng_permutation(t->options.seed, rlhf__rng_stream(RLHF__RNG_MINIBATCH, index),
                          t->order, r->num_episodes);
    const bool sorted = t->options.aggregation != RLHF_AGGREGATE_MICRO_MEAN;
    for (int64_t m = 0; sorted && m < t->options.num_minibatches; m++)
        qsort(t->order + minibatch_begin(t, r, m),
              (size_t)rlhf__ppo_minibatch_size(t, r, m), sizeof *t->order, ascending);
    return RLHF_OK;
}

rlhf_status rlhf__ppo_check_episodes(const rlhf__ppo_trainer *t, int64_t num_episodes)
{
    if (t->options.num_minibatches > num_episodes)
        return rlhf__fail_arg("num_minibatches",
                              "num_minibatches must be at most the %" PRId64
                              " sequences, got %" PRId32,
                              num_episodes, t->options.num_minibatches);
    if (t->options.kl_target > 0.0 && 0.2 * (double)num_episodes >= t->options.kl_horizon)
        return rlhf__fail_arg("kl_horizon",
                              "kl_horizon must be over a fifth of the %" PRId64
                              " sequences, or beta could fall to 0 and below; got %g",
                              num_episodes, t->options.kl_horizon);
    return RLHF_OK;
}

static rlhf_status begin_update(rlhf__ppo_trainer *t, rlhf__rollout *r)
{
    const rlhf_ppo_options *o = &t->options;

    if (!r->has_advantages)
        return rlhf__fail(RLHF_ERR_STATE, "the rollout has no advantages yet");
    if (r->in_update)
        return rlhf__fail(RLHF_ERR_STATE,
                          "another trainer is in the middle of an update on "
                          "the rollout");
    RLHF__TRY(rlhf__ppo_check_episodes(t, r->num_episodes));
    /* Its advantages may be another trainer's. */
    RLHF__TRY(rlhf__ppo_check_sequences(t, r));
    t->epoch = t->minibatch = 0;
    RLHF__TRY(rlhf__ppo_shuffle(t, r));
    memset(&t->tally, 0, sizeof t->tally);
    t->policy_skipped =
        t->iteration < o->critic_warmup ||
        (o->max_rollout_kl > 0.0 && rlhf__ppo_mean_kl(r) > o->max_rollout_kl);
    t->gathered = 0;
    t->rollout = r;
    r->in_update = true;
    if (t->iteration_started_ns == 0)
        t->iteration_started_ns = rlhf__now_ns();
    return RLHF_OK;
}

rlhf_status rlhf__ppo_accumulate(rlhf__ppo_trainer *t, rlhf__rollout *r,
                                 int64_t *out_remaining)
{
    minibatch mb;
    rlhf_status status;

    if (t->rollout && t->rollout != r)
        return rlhf__fail(RLHF_ERR_STATE, "the update of another rollout is under way");
    if (!t->rollout)
        RLHF__TRY(begin_update(t, r));
    if (t->gathered == minibatch_size(t, r))
        return rlhf__fail(RLHF_ERR_STATE,
                          "the minibatch's gradients are there: apply them");
    if (t->gathered == 0) {
        memset(&t->fresh, 0, sizeof t->fresh);
        rlhf__params_take_back(&t->policy->params); /* what the rollout packed there */
        rlhf__learner_zero_grads(&t->policy_learner);
        rlhf__learner_zero_grads(&t->critic_learner);
    }
    RLHF__TRY(take_minibatch(t, r, &mb));
    status = run_micro(t, r, &mb);
    if (status != RLHF_OK) {
        t->gathered = 0;
        return status;
    }
    *out_remaining = 0;
    for (int64_t i = t->gathered; i < mb.count; ++*out_remaining)
        i = rlhf__ppo_micro_end(t, r, mb.episodes, i, mb.count);
    return RLHF_OK;
}

static void count_minibatch(rlhf__ppo_trainer *t)
{
    rlhf__ppo_tally *sum = &t->tally;
    const rlhf__ppo_tally *fresh = &t->fresh;

    sum->policy_loss += fresh->policy_loss;
    sum->value_loss += fresh->value_loss;
    sum->approxkl += fresh->approxkl;
    sum->clipped += fresh->clipped;
    sum->ratio += fresh->ratio;
    sum->entropy += fresh->entropy;
    sum->tokens += fresh->tokens;
    sum->value_clipped += fresh->value_clipped;
    sum->value_slots += fresh->value_slots;
    sum->epoch_approxkl += fresh->approxkl;
    sum->epoch_tokens += fresh->tokens;
    sum->first_ratio_deviation =
        fmax(sum->first_ratio_deviation, fresh->first_ratio_deviation);
    sum->minibatches += 1.0;
    sum->policy_minibatches += !t->policy_skipped;
}

/* An iteration of warm-up counts itself: no whole rollout goes by at a rate of 0. */
static double rate_of(int32_t schedule, double peak, double final_ratio, int64_t warmup,
                      int64_t total, int64_t iteration)
{
    if (iteration < warmup)
        return peak * (double)(iteration + 1) / (double)warmup;
    return rlhf__schedule_rate(schedule, peak, final_ratio, warmup, total, iteration);
}

/* The networks' steps. The norms come first: a gradient that is not finite changes
 * nothing; max_mean_ratio comes before them, as such a minibatch may have no other. */
static rlhf_status step_networks(rlhf__ppo_trainer *t)
{
    const rlhf_ppo_options *o = &t->options;
    const double mean_ratio =
        t->fresh.tokens > 0.0 ? t->fresh.ratio / t->fresh.tokens : 1.0;
    double policy_norm = 0.0, value_norm = 0.0;

    t->tally.learning_rate =
        rate_of(o->schedule, t->learning_rate, o->final_lr_ratio, o->warmup_iterations,
                o->total_iterations, t->iteration);
    t->tally.value_learning_rate =
        rate_of(o->value_schedule, t->value_learning_rate, o->value_final_lr_ratio,
                o->value_warmup_iterations, o->total_iterations, t->iteration);
    if (o->max_mean_ratio > 0.0 && mean_ratio > o->max_mean_ratio)
        return RLHF_OK;
    if (!t->policy_skipped)
        RLHF__TRY(rlhf__learner_norm(&t->policy_learner, 1.0, "the policy's gradient",
                                     &policy_norm));
    RLHF__TRY(rlhf__learner_norm(&t->critic_learner, 1.0, "the critic's gradient",
                                 &value_norm));
    if (!t->policy_skipped) {
        rlhf__learner_apply(&t->policy_learner, t->tally.learning_rate, 1.0, policy_norm);
        t->tally.policy_norm += policy_norm;
        t->tally.policy_steps += 1.0;
    }
    rlhf__learner_apply(&t->critic_learner, t->tally.value_learning_rate, 1.0,
                        value_norm);
    t->tally.value_norm += value_norm;
    t->tally.value_steps += 1.0;
    return RLHF_OK;
}

/* After an epoch's last minibatch: true if it was the iteration's last epoch. */
static bool ends_iteration(const rlhf__ppo_trainer *t)
{
    const rlhf_ppo_options *o = &t->options;
    const rlhf__ppo_tally *sum = &t->tally;

    return t->epoch + 1 >= o->num_epochs ||
           (o->target_approxkl > 0.0 && sum->epoch_tokens > 0.0 &&
            sum->epoch_approxkl / sum->epoch_tokens > o->target_approxkl);
}

/* The iteration is over: its figures, then what the next one starts from. */
static void finish(rlhf__ppo_trainer *t, rlhf_ppo_stats *out_stats)
{
    rlhf__rollout *r = t->rollout;

    t->tally.seconds += (double)(rlhf__now_ns() - t->iteration_started_ns) * 1e-9;
    t->iteration++;
    t->num_episodes += r->num_episodes;
    rlhf__ppo_stats(t, r, out_stats);
    t->running = rlhf__ppo_running_with(t, r);
    t->kl_coef =
        rlhf__kl_controller(t->kl_coef, rlhf__ppo_mean_kl(r), t->options.kl_target,
                            t->options.kl_horizon, r->num_episodes);
    t->iteration_started_ns = 0;
    r->in_update = false;
    t->rollout = NULL;
    rlhf__tape_reset(t->tape, false, NULL); /* its memory settles now, not next time */
    rlhf__arena_reset(t->lists);
}

rlhf_status rlhf__ppo_apply(rlhf__ppo_trainer *t, bool *out_done,
                            rlhf_ppo_stats *out_stats)
{
    rlhf_status status;

    if (!t->rollout || t->gathered < minibatch_size(t, t->rollout))
        return rlhf__fail(RLHF_ERR_STATE,
                          "the gradients of %" PRId64 " of the minibatch's "
                          "sequences are there, not of all",
                          t->rollout ? t->gathered : 0);
    /* Room for the next epoch's order is there since the first: nothing fails after the
     * step. */
    status = step_networks(t);
    t->gathered = 0;
    if (status != RLHF_OK)
        return status;
    count_minibatch(t);
    *out_done = false;
    if (++t->minibatch == t->options.num_minibatches) {
        if (ends_iteration(t)) {
            *out_done = true;
            finish(t, out_stats);
            rlhf__progress_end(t->context, "train", minibatches_total(t));
            return RLHF_OK;
        }
        t->epoch++;
        t->minibatch = 0;
        t->tally.epoch_approxkl = t->tally.epoch_tokens = 0.0;
        status = rlhf__ppo_shuffle(t, t->rollout);
    }
    rlhf__ppo_stats(t, t->rollout, out_stats);
    return status;
}

rlhf_status rlhf__ppo_update(rlhf__ppo_trainer *t, rlhf__rollout *r,
                             rlhf_ppo_stats *out_stats)
{
    int64_t remaining = 0;
    bool done = false;

    if (t->rollout && t->rollout != r)
        return rlhf__fail(RLHF_ERR_STATE, "the update of another rollout is under way");
    while (!done) {
        while (!t->rollout || t->gathered < minibatch_size(t, r))
            RLHF__TRY(rlhf__ppo_accumulate(t, r, &remaining));
        RLHF__TRY(rlhf__ppo_apply(t, &done, out_stats));
    }
    return RLHF_OK;
}
