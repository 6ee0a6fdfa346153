/* From answers and scores to what the update needs: reference log-probs, values,
 * per-token rewards, advantages and returns (docs/ppo.md, "Advantages"). Nothing that
 * the trainer's results hang on changes. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "train/gae.h"
#include "train/kl.h"
#include "train/ppo.h"

/* --- networks ----------------------------------------------------------------------- */

rlhf_status rlhf__ppo_check_sequences(const rlhf__ppo_trainer *t, const rlhf__rollout *r)
{
    for (int64_t i = 0; i < r->num_episodes; i++) {
        const rlhf__episode *e = &r->episodes[i];
        if (isnan(e->score) && !e->has_token_scores)
            return rlhf__fail(RLHF_ERR_STATE, "sequence %" PRId64 " has no score", i);
        RLHF__TRY(
            rlhf__sequence_check(t->policy, i, r->tokens + e->first, e->num_tokens));
    }
    return RLHF_OK;
}

/* Log-probs that a host did not give are the policy's, as it is now. */
static rlhf_status fill_logprobs(rlhf__ppo_trainer *t, rlhf__rollout *r)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(t->lists);
    bool *wanted = NULL, any = false;
    float *entropies = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__arena_alloc(t->lists, r->num_episodes, sizeof *wanted, &wanted));
    for (int64_t e = 0; e < r->num_episodes; e++)
        any |= wanted[e] = !r->episodes[e].has_logprobs || r->episodes[e].own_logprobs;
    status =
        any ? rlhf__arena_zalloc(t->lists, r->num_tokens, sizeof *entropies, &entropies)
            : RLHF_OK;
    if (status == RLHF_OK && any)
        status = rlhf__ppo_logprobs(t, t->policy, r, wanted, r->logprobs, entropies);
    for (int64_t i = 0; i < r->num_episodes && any && status == RLHF_OK; i++) {
        rlhf__episode *e = &r->episodes[i];
        if (!wanted[i])
            continue;
        e->has_logprobs = e->own_logprobs = true;
        e->entropy = 0.0;
        for (int64_t j = e->first; j < e->first + e->num_tokens; j++)
            e->entropy += (double)entropies[j];
    }
    rlhf__arena_release(t->lists, mark);
    return status;
}

/* The policy's log-probs of the samples are those of a policy with the weights and the
 * options that the trainer has. */
static bool sampled_as_now(const rlhf__ppo_trainer *t, const rlhf__rollout *r)
{
    const rlhf_ppo_options *o = &t->options;

    return rlhf__ppo_has_sampled(t, r) && r->temperature == o->temperature &&
           r->min_new_tokens == o->min_new_tokens && r->stop_token_id == o->stop_token_id;
}

/* The reference's log-probs. While it has the policy's weights, they are those that the
 * policy sampled with, which need no other pass. */
static rlhf_status fill_ref_logprobs(rlhf__ppo_trainer *t, rlhf__rollout *r)
{
    if (t->policy->params.version != t->twin_policy ||
        t->reference->params.version != t->twin_reference || !sampled_as_now(t, r))
        return rlhf__ppo_logprobs(t, t->reference, r, NULL, r->estimates.ref_logprobs,
                                  NULL);
    memcpy(r->estimates.ref_logprobs, r->logprobs,
           (size_t)r->num_tokens * sizeof *r->logprobs);
    return RLHF_OK;
}

/* One micro-batch of values. Recorded, it stays on the tape for the update. */
static rlhf_status values_micro(rlhf__ppo_trainer *t, rlhf__rollout *r,
                                const int64_t *episodes, int64_t count, bool record)
{
    rlhf__ppo_rows rows;
    rlhf__var *values = NULL;

    rlhf__tape_reset(t->tape, record, record ? &t->critic_learner.grads : NULL);
    RLHF__TRY(rlhf__ppo_rows_build(t, r, episodes, count, true, t->tape->arena, &rows));
    RLHF__TRY(rlhf__ppo_values(t, &rows, &values));
    if (record)
        t->value_pass = (rlhf__ppo_pass){t->tape->resets, t->critic->net->params.version,
                                         rows, values};
    for (int64_t i = 0; i < rows.num_rows; i++) {
        if (rows.places[i] >= 0)
            r->estimates.values[rows.places[i]] = values->data[i];
        else
            r->episodes[rows.episodes[i]].after_value = values->data[i];
    }
    return RLHF_OK;
}

/* How many sequences of t->order the update's first micro-batch will take; 0 where an
 * update of another rollout holds the order. */
static rlhf_status order_first_micro(rlhf__ppo_trainer *t, const rlhf__rollout *r,
                                     int64_t *out_count)
{
    *out_count = 0;
    if (t->rollout || t->options.num_minibatches > r->num_episodes)
        return RLHF_OK;
    t->epoch = 0;
    RLHF__TRY(rlhf__ppo_shuffle(t, r));
    *out_count =
        rlhf__ppo_micro_end(t, r, t->order, 0, rlhf__ppo_minibatch_size(t, r, 0));
    return RLHF_OK;
}

/* The update's first micro-batch comes last, and is recorded: its pass serves twice. */
static rlhf_status fill_values(rlhf__ppo_trainer *t, rlhf__rollout *r)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(t->lists);
    int64_t *episodes = NULL, num_ahead = 0, count = 0;
    rlhf_status status;

    RLHF__TRY(order_first_micro(t, r, &num_ahead));
    RLHF__TRY(rlhf__arena_alloc(t->lists, r->num_episodes, sizeof *episodes, &episodes));
    for (int64_t e = 0; e < r->num_episodes; e++) {
        bool ahead = false;
        for (int64_t i = 0; i < num_ahead; i++)
            ahead |= t->order[i] == e;
        if (!ahead)
            episodes[count++] = e;
    }
    status = RLHF_OK;
    for (int64_t first = 0; first < count && status == RLHF_OK;) {
        const int64_t end = rlhf__ppo_micro_end(t, r, episodes, first, count);
        status = rlhf__progress(t->context, "score", first, r->num_episodes);
        if (status == RLHF_OK)
            status = values_micro(t, r, episodes + first, end - first, false);
        first = end;
    }
    if (status == RLHF_OK && num_ahead > 0)
        status = rlhf__progress(t->context, "score", count, r->num_episodes);
    if (status == RLHF_OK && num_ahead > 0)
        status = values_micro(t, r, t->order, num_ahead, true);
    if (status == RLHF_OK)
        rlhf__progress_end(t->context, "score", r->num_episodes);
    rlhf__arena_release(t->lists, mark);
    return status;
}

/* --- scores ------------------------------------------------------------------------- */

double rlhf__ppo_given_score(const rlhf__rollout *r, const rlhf__episode *e)
{
    double score = isnan(e->score) ? 0.0 : e->score;

    for (int64_t j = e->first; e->has_token_scores && j < e->first + e->num_tokens; j++)
        score += (double)r->token_scores[j];
    return score;
}

/* Mean and sum of squared deviations of the scores that are there. */
static rlhf__running score_figures(const rlhf__rollout *r)
{
    rlhf__running f = {0};

    for (int64_t e = 0; e < r->num_episodes; e++) {
        if (isnan(r->episodes[e].score))
            continue;
        const double delta = r->episodes[e].score - f.mean;
        f.count += 1.0;
        f.mean += delta / f.count;
        f.squares += delta * (r->episodes[e].score - f.mean);
    }
    return f;
}

rlhf__running rlhf__ppo_running_with(const rlhf__ppo_trainer *t, const rlhf__rollout *r)
{
    const rlhf__running a = t->running, b = score_figures(r);
    const double count = a.count + b.count, delta = b.mean - a.mean;

    if (b.count == 0.0)
        return a;
    return (rlhf__running){count, a.mean + delta * b.count / count,
                           a.squares + b.squares +
                               delta * delta * a.count * b.count / count};
}

/* A score's way into the reward: normalise, clip, missing EOS, length. The values of
 * missing_eos_value and length_penalty are thus in units of the normalised score. */
static double shape_score(const rlhf_ppo_options *o, const rlhf__running *figures,
                          const rlhf__episode *e)
{
    double score = isnan(e->score) ? 0.0 : e->score;

    if (o->score_normalize != RLHF_SCORE_RAW && !isnan(e->score)) {
        const double std = sqrt(figures->squares / figures->count);
        score = std > 0.0 ? (score - figures->mean) / std : 0.0;
    }
    if (o->score_clip > 0.0)
        score = fmin(fmax(score, -o->score_clip), o->score_clip);
    if (e->finish != RLHF_FINISH_STOP) {
        if (o->missing_eos == RLHF_MISSING_EOS_REPLACE)
            score = o->missing_eos_value;
        else if (o->missing_eos == RLHF_MISSING_EOS_SUBTRACT)
            score -= o->missing_eos_value;
    }
    return score - o->length_penalty * (double)e->num_actions;
}

/* --- rewards, advantages ------------------------------------------------------------ */

void rlhf__ppo_sum_kl(rlhf__rollout *r, const float *ref_logprobs)
{
    for (int64_t i = 0; i < r->num_episodes; i++) {
        rlhf__episode *e = &r->episodes[i];
        e->kl = 0.0;
        for (int64_t j = e->first; j < e->first + e->num_tokens; j++)
            if (r->action_mask[j])
                e->kl += (double)r->logprobs[j] - (double)ref_logprobs[j];
    }
}

double rlhf__ppo_mean_kl(const rlhf__rollout *r)
{
    double sum = 0.0;

    for (int64_t e = 0; e < r->num_episodes; e++)
        sum += r->episodes[e].kl;
    return sum / (double)r->num_episodes;
}

/* r_t = -beta k(t) + [t = end] score + token score */
static void fill_rewards(const rlhf__ppo_trainer *t, rlhf__rollout *r)
{
    const rlhf_ppo_options *o = &t->options;
    const rlhf__running figures = o->score_normalize == RLHF_SCORE_RUNNING
                                      ? rlhf__ppo_running_with(t, r)
                                      : score_figures(r);

    for (int64_t i = 0; i < r->num_episodes; i++) {
        rlhf__episode *e = &r->episodes[i];
        const double score = shape_score(o, &figures, e);
        for (int64_t j = e->first; j < e->first + e->num_tokens; j++) {
            if (!r->action_mask[j])
                continue;
            const double delta =
                (double)r->logprobs[j] - (double)r->estimates.ref_logprobs[j];
            double reward =
                -t->kl_coef * rlhf__kl_estimate(o->kl_estimator, delta, o->kl_clamp);
            if (e->has_token_scores)
                reward += (double)r->token_scores[j];
            if (!e->has_after && j == e->first + e->last_action)
                reward += score;
            r->estimates.rewards[j] = (float)reward;
        }
        e->after_reward = e->has_after ? (float)score : 0.0f;
    }
}

/* Copies a figure of every slot, in order, to or from a compact array; returns the
 * slots. */
static int64_t compact(rlhf__rollout *r, float *figures, bool rewards_too, bool back,
                       float *slots)
{
    int64_t n = 0;

    for (int64_t i = 0; i < r->num_episodes; i++) {
        rlhf__episode *e = &r->episodes[i];
        for (int64_t j = e->first; j < e->first + e->num_tokens; j++) {
            if (!r->action_mask[j])
                continue;
            if (back)
                figures[j] = slots[n++];
            else
                slots[n++] = figures[j];
        }
        if (!rewards_too || !e->has_after)
            continue;
        if (back)
            e->after_reward = slots[n++];
        else
            slots[n++] = e->after_reward;
    }
    return n;
}

/* GAE over the actions of an episode one after the other: tokens between two spans are
 * no steps of the policy, so neither gamma nor lambda counts them. */
static void estimate_episode(const rlhf_ppo_options *o, rlhf__rollout *r,
                             rlhf__episode *e, float *scratch)
{
    float *rewards = scratch, *values = rewards + e->num_actions + 1;
    float *advantages = values + e->num_actions + 1,
          *returns = advantages + e->num_actions + 1;
    int64_t n = 0;

    for (int64_t j = e->first; j < e->first + e->num_tokens; j++)
        if (r->action_mask[j]) {
            rewards[n] = r->estimates.rewards[j];
            values[n++] = r->estimates.values[j];
        }
    if (e->has_after) {
        rewards[n] = e->after_reward;
        values[n++] = e->after_value;
    }
    rlhf__gae(rewards, values, n, o->gamma, o->lam, advantages, returns);
    n = 0;
    for (int64_t j = e->first; j < e->first + e->num_tokens; j++)
        if (r->action_mask[j]) {
            r->estimates.advantages[j] = advantages[n];
            r->estimates.returns[j] = returns[n++];
        }
    if (e->has_after)
        e->after_return = returns[n];
}

static rlhf_status estimate(const rlhf__ppo_trainer *t, rlhf__rollout *r)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(t->lists);
    const rlhf_ppo_options *o = &t->options;
    float *scratch = NULL;
    int64_t n;

    RLHF__TRY(rlhf__arena_alloc(t->lists, 4 * (r->num_actions + r->num_episodes),
                                sizeof *scratch, &scratch));
    fill_rewards(t, r);
    if (o->whiten_rewards) {
        n = compact(r, r->estimates.rewards, true, false, scratch);
        rlhf__whiten(scratch, n, o->whiten_variance, true);
        compact(r, r->estimates.rewards, true, true, scratch);
    }
    for (int64_t i = 0; i < r->num_episodes; i++)
        estimate_episode(o, r, &r->episodes[i], scratch);
    r->advantage_figures[0] = r->advantage_figures[1] = 0.0;
    n = compact(r, r->estimates.advantages, false, false, scratch);
    for (int64_t i = 0; i < n; i++)
        r->advantage_figures[0] += (double)scratch[i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double d = (double)scratch[i] - r->advantage_figures[0];
        r->advantage_figures[1] += d * d / (double)n;
    }
    if (o->whiten_advantages && o->whiten_scope == RLHF_WHITEN_ROLLOUT) {
        rlhf__whiten(scratch, n, o->whiten_variance, false);
        compact(r, r->estimates.advantages, false, true, scratch);
    }
    rlhf__arena_release(t->lists, mark);
    return RLHF_OK;
}

rlhf_status rlhf__ppo_advantages(rlhf__ppo_trainer *t, rlhf__rollout *r)
{
    rlhf_status status;

    if (r->in_update)
        return rlhf__fail(RLHF_ERR_STATE, "the rollout is in the middle of an update");
    if (r->num_episodes == 0)
        return rlhf__fail(RLHF_ERR_INVALID_ARG, "the rollout is empty");
    RLHF__TRY(rlhf__ppo_check_sequences(t, r));
    RLHF__TRY(rlhf__rollout_reserve_estimates(r));
    for (int64_t i = 0; i < r->num_episodes; i++)
        r->episodes[i].has_after = t->options.score_slot == RLHF_SCORE_AFTER_LAST &&
                                   r->episodes[i].num_actions < t->options.max_new_tokens;
    status = fill_logprobs(t, r);
    if (status == RLHF_OK)
        status = fill_ref_logprobs(t, r);
    if (status == RLHF_OK)
        status = fill_values(t, r);
    if (status == RLHF_OK)
        status = estimate(t, r);
    if (status != RLHF_OK) {
        rlhf__rollout_forget(r);
        return status;
    }
    rlhf__ppo_sum_kl(r, r->estimates.ref_logprobs);
    r->kl_coef = t->kl_coef;
    r->has_advantages = true;
    return RLHF_OK;
}
