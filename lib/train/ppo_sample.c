/* Answers to prompts and the reward model's scores of them. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "train/ppo.h"
#include "train/score.h"

static rlhf_status check_room(const rlhf__ppo_trainer *t, const int64_t *cu_seqlens,
                              int64_t num_seqs)
{
    const int64_t context = t->policy->config.context_length;

    for (int64_t s = 0; s < num_seqs; s++) {
        const int64_t length = cu_seqlens[s + 1] - cu_seqlens[s];
        if (length + t->options.max_new_tokens > context)
            return rlhf__fail(RLHF_ERR_INVALID_ARG,
                              "prompt %" PRId64 " has %" PRId64
                              " tokens: with max_new_tokens "
                              "%" PRId32 " it exceeds the context of %" PRId64,
                              s, length, t->options.max_new_tokens, context);
    }
    return RLHF_OK;
}

static rlhf_status make_generator(rlhf__ppo_trainer *t)
{
    const rlhf_ppo_options *o = &t->options;
    const rlhf__generator_settings settings = {.max_new_tokens = o->max_new_tokens,
                                               .min_new_tokens = o->min_new_tokens,
                                               .stop_tokens = &o->stop_token_id,
                                               .num_stop_tokens =
                                                   o->stop_token_id >= 0 ? 1 : 0,
                                               .ends_at_stop = !o->train_past_stop,
                                               .max_active = o->rollout_batch,
                                               .seed = o->seed,
                                               .temperature = o->temperature};

    if (t->generator)
        return RLHF_OK;
    return rlhf__generator_create(t->policy, t->sampler, &settings, t->tape,
                                  &t->generator);
}

/* The answers under way are to these prompts, by these weights. */
static bool goes_on(const rlhf__ppo_trainer *t, const int32_t *tokens,
                    const int64_t *cu_seqlens, int64_t num_seqs, int64_t first_id,
                    uint64_t seed)
{
    if (!t->generating || t->generating_version != t->policy->params.version ||
        t->generating_first_id != first_id || t->generating_seed != seed ||
        t->generator->num_answers != num_seqs)
        return false;
    for (int64_t s = 0; s < num_seqs; s++) {
        const rlhf__answer *a = &t->generator->answers[s];
        const int64_t length = cu_seqlens[s + 1] - cu_seqlens[s];
        if (a->num_prompt != length || memcmp(a->tokens, tokens + cu_seqlens[s],
                                              (size_t)length * sizeof *tokens) != 0)
            return false;
    }
    return true;
}

static rlhf_status begin(rlhf__ppo_trainer *t, const int32_t *tokens,
                         const int64_t *cu_seqlens, int64_t num_seqs, int64_t first_id,
                         uint64_t seed)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(t->lists);
    int64_t *ids = NULL;
    rlhf_status status;

    t->generating = false;
    RLHF__TRY(rlhf__arena_alloc(t->lists, num_seqs, sizeof *ids, &ids));
    for (int64_t s = 0; s < num_seqs; s++)
        ids[s] = first_id + s;
    t->generator->settings.seed = seed;
    status = rlhf__generator_start(t->generator, tokens, cu_seqlens, num_seqs, ids);
    rlhf__arena_release(t->lists, mark);
    if (status != RLHF_OK)
        return status;
    t->generating = true;
    t->generating_version = t->policy->params.version;
    t->generating_first_id = first_id;
    t->generating_seed = seed;
    return RLHF_OK;
}

/* An answer as a sequence of the rollout. Trained past its stop token, the score reads
 * up to that token only. */
static rlhf_status take_answer(const rlhf__ppo_trainer *t, const rlhf__answer *a,
                               uint8_t *action_mask, float *logprobs,
                               rlhf__rollout *rollout)
{
    const int32_t stop = t->options.stop_token_id;
    int64_t scored = a->num_tokens;
    int32_t finish = a->finish;

    for (int64_t i = 0; i < a->num_tokens; i++) {
        action_mask[i] = i >= a->num_prompt;
        logprobs[i] = i >= a->num_prompt ? a->logprobs[i - a->num_prompt] : 0.0f;
    }
    for (int64_t i = a->num_tokens - 1; stop >= 0 && i >= a->num_prompt; i--)
        if (a->tokens[i] == stop) {
            scored = i + 1;
            finish = RLHF_FINISH_STOP;
        }
    const rlhf_rollout_input input = {.struct_size = sizeof input,
                                      .tokens = a->tokens,
                                      .action_mask = action_mask,
                                      .logprobs = logprobs,
                                      .num_tokens = a->num_tokens,
                                      .score = NAN,
                                      .finish = finish};
    RLHF__TRY(rlhf__rollout_append(rollout, &input, a->id));
    rlhf__episode *e = &rollout->episodes[rollout->num_episodes - 1];
    e->scored_tokens = scored;
    e->entropy = a->entropy;
    return RLHF_OK;
}

static rlhf_status take_answers(const rlhf__ppo_trainer *t, rlhf__rollout *rollout)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(t->lists);
    const rlhf__generator *g = t->generator;
    uint8_t *action_mask = NULL;
    float *logprobs = NULL;
    int64_t longest = 0;
    rlhf_status status;

    for (int64_t i = 0; i < g->num_answers; i++)
        if (g->answers[i].num_tokens > longest)
            longest = g->answers[i].num_tokens;
    status = rlhf__arena_alloc(t->lists, longest, 1, &action_mask);
    if (status == RLHF_OK)
        status = rlhf__arena_alloc(t->lists, longest, sizeof *logprobs, &logprobs);
    for (int64_t i = 0; i < g->num_answers && status == RLHF_OK; i++)
        status = take_answer(t, &g->answers[i], action_mask, logprobs, rollout);
    rlhf__arena_release(t->lists, mark);
    if (status != RLHF_OK)
        return status;
    rollout->policy_version = t->generating_version;
    rollout->temperature = t->options.temperature;
    rollout->min_new_tokens = t->options.min_new_tokens;
    rollout->stop_token_id = t->options.stop_token_id;
    return RLHF_OK;
}

rlhf_status rlhf__ppo_generate(rlhf__ppo_trainer *t, const int32_t *tokens,
                               const int64_t *cu_seqlens, int64_t num_seqs,
                               int64_t first_id, uint64_t seed, rlhf__rollout *rollout)
{
    int64_t left = num_seqs;

    if (num_seqs < 1)
        return rlhf__fail_arg("num_seqs", "num_seqs must be >= 1, got %" PRId64,
                              num_seqs);
    RLHF__TRY(check_room(t, cu_seqlens, num_seqs));
    RLHF__TRY(make_generator(t));
    if (!goes_on(t, tokens, cu_seqlens, num_seqs, first_id, seed))
        RLHF__TRY(begin(t, tokens, cu_seqlens, num_seqs, first_id, seed));
    /* The policy's packed copies stand where its gradient will: the one is of no use
     * while the other is made. */
    if (t->gathered == 0 && !t->policy->params.lent)
        rlhf__params_lend(&t->policy->params, t->policy_learner.grads.values,
                          t->policy->params.count);
    while (left > 0)
        RLHF__TRY(rlhf__generator_step(t->generator, &left));
    RLHF__TRY(take_answers(t, rollout));
    rlhf__generator_clear(t->generator);
    t->generating = false;
    return RLHF_OK;
}

/* What the score reads of a sequence. A host's is cut where the policy went on after a
 * stop token; one that ends a turn of several ends nothing. */
static rlhf__span scored_span(const rlhf__ppo_trainer *t, const rlhf__rollout *r,
                              const rlhf__episode *e)
{
    const int32_t *tokens = r->tokens + e->first;
    const uint8_t *is_action = r->action_mask + e->first;
    const int32_t stop = t->options.stop_token_id;
    int64_t count = e->scored_tokens > 0 ? e->scored_tokens : e->num_tokens;

    for (int64_t i = 0; e->scored_tokens == 0 && i < e->last_action; i++)
        if (tokens[i] == stop && is_action[i] && is_action[i + 1]) {
            count = i + 1;
            break;
        }
    return (rlhf__span){tokens, count};
}

rlhf_status rlhf__ppo_score(rlhf__ppo_trainer *t, rlhf__rollout *r)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(t->lists);
    rlhf__span *spans = NULL;
    float *scores = NULL;
    rlhf_status status;

    if (!t->reward)
        return rlhf__fail(RLHF_ERR_STATE,
                          "the trainer has no reward model: set the rollout's scores");
    if (r->in_update)
        return rlhf__fail(RLHF_ERR_STATE, "the rollout is in the middle of an update");
    status = rlhf__arena_alloc(t->lists, r->num_episodes, sizeof *spans, &spans);
    if (status == RLHF_OK)
        status = rlhf__arena_alloc(t->lists, r->num_episodes, sizeof *scores, &scores);
    if (status == RLHF_OK) {
        for (int64_t e = 0; e < r->num_episodes; e++)
            spans[e] = scored_span(t, r, &r->episodes[e]);
        status = rlhf__reward_scores(t->reward, t->tape, spans, r->num_episodes,
                                     t->options.micro_batch_tokens, scores);
    }
    if (status == RLHF_OK)
        status = rlhf__rollout_set_scores(r, scores, r->num_episodes);
    rlhf__arena_release(t->lists, mark);
    return status;
}

/* The seed of evaluations: a stream apart from training's. */
static uint64_t evaluation_seed(const rlhf__ppo_trainer *t)
{
    return t->options.seed ^ 0x9e3779b97f4a7c15ULL;
}

rlhf_status rlhf__ppo_evaluate(rlhf__ppo_trainer *t, const int32_t *tokens,
                               const int64_t *cu_seqlens, int64_t num_seqs,
                               rlhf__rollout *r, rlhf_ppo_stats *out_stats)
{
    const rlhf__arena_mark mark = rlhf__arena_get_mark(t->lists);
    float *ref_logprobs = NULL;
    rlhf_status status;

    RLHF__TRY(
        rlhf__ppo_generate(t, tokens, cu_seqlens, num_seqs, 0, evaluation_seed(t), r));
    if (t->reward)
        RLHF__TRY(rlhf__ppo_score(t, r));
    RLHF__TRY(
        rlhf__arena_zalloc(t->lists, r->num_tokens, sizeof *ref_logprobs, &ref_logprobs));
    status = rlhf__ppo_logprobs(t, t->reference, r, NULL, ref_logprobs, NULL);
    if (status == RLHF_OK) {
        rlhf__ppo_sum_kl(r, ref_logprobs);
        rlhf__ppo_sample_stats(r, out_stats);
        out_stats->iteration = t->iteration;
        out_stats->kl_coef = t->kl_coef;
    }
    rlhf__arena_release(t->lists, mark);
    return status;
}

bool rlhf__ppo_same_prompts(const rlhf__rollout *r, const int32_t *tokens,
                            const int64_t *cu_seqlens, int64_t num_seqs)
{
    if (r->num_episodes != num_seqs)
        return false;
    for (int64_t s = 0; s < num_seqs; s++) {
        const int64_t length = cu_seqlens[s + 1] - cu_seqlens[s];
        if (r->episodes[s].num_prompt != length ||
            memcmp(r->tokens + r->episodes[s].first, tokens + cu_seqlens[s],
                   (size_t)length * sizeof *tokens) != 0)
            return false;
    }
    return true;
}
