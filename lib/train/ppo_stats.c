/* Figures of an iteration, from its rollout and the tally of its steps. */
#include <math.h>
#include <string.h>

#include "train/kl.h"
#include "train/ppo.h"

static double ratio_of(double sum, double count)
{
    return count > 0.0 ? sum / count : 0.0;
}

void rlhf__ppo_sample_stats(const rlhf__rollout *r, rlhf_ppo_stats *out)
{
    const double n = (double)r->num_episodes;
    double squares = 0.0, entropy = 0.0, scores = 0.0, stops = 0.0, kl = 0.0;

    memset(out, 0, sizeof *out);
    out->struct_size = sizeof *out;
    for (int64_t i = 0; i < r->num_episodes; i++) {
        const rlhf__episode *e = &r->episodes[i];
        scores +=
            isnan(e->score) && !e->has_token_scores ? NAN : rlhf__ppo_given_score(r, e);
        kl += e->kl;
        entropy += e->entropy;
        stops += e->finish == RLHF_FINISH_STOP;
    }
    out->score = ratio_of(scores, n);
    for (int64_t i = 0; i < r->num_episodes; i++) {
        const double d = rlhf__ppo_given_score(r, &r->episodes[i]) - out->score;
        squares += d * d;
    }
    out->score_std = sqrt(ratio_of(squares, n));
    out->kl = ratio_of(kl, n);
    out->entropy = ratio_of(entropy, (double)r->num_actions);
    out->response_length = ratio_of((double)r->num_actions, n);
    out->eos_rate = ratio_of(stops, n);
    out->num_tokens = r->num_actions;
}

/* Over every slot that the critic learns from, those after the last action among them. */
static void value_stats(const rlhf__rollout *r, rlhf_ppo_stats *out)
{
    double n = 0.0, values = 0.0, returns = 0.0, errors = 0.0, squares = 0.0;

    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < r->num_episodes; i++) {
            const rlhf__episode *e = &r->episodes[i];
            for (int64_t j = e->first; j <= e->first + e->num_tokens; j++) {
                const bool after = j == e->first + e->num_tokens;
                if (after ? !e->has_after : !r->action_mask[j])
                    continue;
                const double v =
                    after ? (double)e->after_value : (double)r->estimates.values[j];
                const double ret =
                    after ? (double)e->after_return : (double)r->estimates.returns[j];
                if (pass == 0) {
                    n += 1.0;
                    values += v;
                    returns += ret;
                    errors += (v - ret) * (v - ret);
                } else {
                    squares += (ret - returns / n) * (ret - returns / n);
                }
            }
        }
    out->value_mean = ratio_of(values, n);
    out->return_mean = ratio_of(returns, n);
    /* Equal returns have no variance to explain: 0. */
    out->explained_variance = squares > 0.0 ? 1.0 - errors / squares : 0.0;
}

/* mean_b sum_t -beta k(t): the rewards without scores, as the KL penalty made them. */
static double non_score_reward(const rlhf__ppo_trainer *t, const rlhf__rollout *r)
{
    const rlhf_ppo_options *o = &t->options;
    double sum = 0.0;

    for (int64_t j = 0; j < r->num_tokens; j++)
        if (r->action_mask[j])
            sum -=
                r->kl_coef * rlhf__kl_estimate(o->kl_estimator,
                                               (double)r->logprobs[j] -
                                                   (double)r->estimates.ref_logprobs[j],
                                               o->kl_clamp);
    return ratio_of(sum, (double)r->num_episodes);
}

void rlhf__ppo_stats(const rlhf__ppo_trainer *t, const rlhf__rollout *r,
                     rlhf_ppo_stats *out)
{
    const rlhf__ppo_tally *s = &t->tally;

    rlhf__ppo_sample_stats(r, out);
    value_stats(r, out);
    out->iteration = t->iteration;
    out->num_episodes = t->num_episodes;
    out->kl_coef = r->kl_coef;
    if (isnan(out->entropy)) /* a host's samples: the policy's entropy as the update met
                                it */
        out->entropy = s->tokens > 0.0 ? s->entropy / s->tokens : NAN;
    out->non_score_reward = non_score_reward(t, r);
    out->rlhf_reward = out->score + out->non_score_reward;
    out->policy_loss = ratio_of(s->policy_loss, s->policy_minibatches);
    out->value_loss = ratio_of(s->value_loss, s->minibatches);
    out->approxkl = ratio_of(s->approxkl, s->tokens);
    out->clipfrac = ratio_of(s->clipped, s->tokens);
    out->value_clipfrac = ratio_of(s->value_clipped, s->value_slots);
    out->ratio = s->tokens > 0.0 ? s->ratio / s->tokens : 1.0;
    out->first_ratio_deviation = s->first_ratio_deviation;
    out->policy_grad_norm = ratio_of(s->policy_norm, s->policy_steps);
    out->value_grad_norm = ratio_of(s->value_norm, s->value_steps);
    out->learning_rate = s->learning_rate;
    out->value_learning_rate = s->value_learning_rate;
    out->advantage_mean = r->advantage_figures[0];
    out->advantage_std = sqrt(r->advantage_figures[1]);
    out->num_steps = (int64_t)s->policy_steps;
    out->tokens_per_second = ratio_of((double)r->num_actions, s->seconds);
    out->num_epochs =
        (int32_t)(t->rollout ? t->epoch + (t->minibatch > 0) : t->epoch + 1);
    out->policy_skipped = t->policy_skipped;
}
