/* A PPO trainer's saved state: both learners, counters, and the rollout in hand with
 * its place in the iteration (docs/formats.md). A rollout is read back through
 * rlhf__rollout_append, so that what a file says is checked as a host's own samples
 * are. */
#include <float.h>
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "train/ppo.h"

/* Integers and doubles of a sequence that do not follow from its tokens and mask. */
enum { INT_ID, INT_NUM_TOKENS, INT_SCORED, INT_FINISH, INT_FLAGS, NUM_INTS };
enum { REAL_SCORE, REAL_KL, REAL_ENTROPY, NUM_REALS };
enum { AFTER_VALUE, AFTER_REWARD, AFTER_RETURN, NUM_AFTER };
enum { FLAG_LOGPROBS = 1, FLAG_TOKEN_SCORES = 2, FLAG_OWN_LOGPROBS = 4, FLAG_AFTER = 8 };
#define TALLY_COUNT ((int64_t)(sizeof(rlhf__ppo_tally) / sizeof(double)))

/* Doubles are kept as the 64-bit integers of their bits: NaN, "not yet", is one of
 * their values. */
static int64_t bits_of(double value)
{
    int64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double real_of(int64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* --- writing ------------------------------------------------------------------------ */

/* Arrays made for the file; the writer borrows them until it commits. */
typedef struct packed {
    int64_t *ints, *reals;
    float *after;
    float *reference; /* the weights of a frozen one */
    int64_t tally[sizeof(rlhf__ppo_tally) / sizeof(double)];
} packed;

static void packed_free(packed *p)
{
    rlhf__free(p->ints);
    rlhf__free(p->reals);
    rlhf__free(p->after);
    rlhf__free(p->reference);
}

static rlhf_status pack(const rlhf__rollout *r, packed *out)
{
    const int64_t n = r->num_episodes;

    RLHF__TRY(rlhf__alloc(r->context, n, NUM_INTS * sizeof *out->ints,
                          RLHF_MEMORY_GENERAL, &out->ints));
    RLHF__TRY(rlhf__alloc(r->context, n, NUM_REALS * sizeof *out->reals,
                          RLHF_MEMORY_GENERAL, &out->reals));
    RLHF__TRY(rlhf__alloc(r->context, n, NUM_AFTER * sizeof *out->after,
                          RLHF_MEMORY_GENERAL, &out->after));
    for (int64_t i = 0; i < n; i++) {
        const rlhf__episode *e = &r->episodes[i];
        int64_t *ints = out->ints + i * NUM_INTS;
        int64_t *reals = out->reals + i * NUM_REALS;
        float *after = out->after + i * NUM_AFTER;
        ints[INT_ID] = e->id;
        ints[INT_NUM_TOKENS] = e->num_tokens;
        ints[INT_SCORED] = e->scored_tokens;
        ints[INT_FINISH] = e->finish;
        ints[INT_FLAGS] = (e->has_logprobs ? FLAG_LOGPROBS : 0) |
                          (e->has_token_scores ? FLAG_TOKEN_SCORES : 0) |
                          (e->own_logprobs ? FLAG_OWN_LOGPROBS : 0) |
                          (e->has_after ? FLAG_AFTER : 0);
        reals[REAL_SCORE] = bits_of(e->score);
        reals[REAL_KL] = bits_of(e->kl);
        reals[REAL_ENTROPY] = bits_of(e->entropy);
        after[AFTER_VALUE] = e->after_value;
        after[AFTER_REWARD] = e->after_reward;
        after[AFTER_RETURN] = e->after_return;
    }
    return RLHF_OK;
}

static rlhf_status put_rollout(const rlhf__rollout *r, packed *p, rlhf__state_writer *w)
{
    const int64_t n = r->num_episodes, tokens = r->num_tokens;

    RLHF__TRY(pack(r, p));
    RLHF__TRY(
        rlhf__state_put_array(w, "rollout.ints", RLHF__STATE_I64, p->ints, n * NUM_INTS));
    RLHF__TRY(rlhf__state_put_array(w, "rollout.reals", RLHF__STATE_I64, p->reals,
                                    n * NUM_REALS));
    RLHF__TRY(rlhf__state_put_array(w, "rollout.after", RLHF__STATE_F32, p->after,
                                    n * NUM_AFTER));
    RLHF__TRY(
        rlhf__state_put_array(w, "rollout.tokens", RLHF__STATE_I32, r->tokens, tokens));
    RLHF__TRY(rlhf__state_put_array(w, "rollout.action_mask", RLHF__STATE_U8,
                                    r->action_mask, tokens));
    RLHF__TRY(rlhf__state_put_array(w, "rollout.logprobs", RLHF__STATE_F32, r->logprobs,
                                    tokens));
    RLHF__TRY(rlhf__state_put_array(w, "rollout.token_scores", RLHF__STATE_F32,
                                    r->token_scores, tokens));
    if (!r->has_advantages)
        return RLHF_OK;
    RLHF__TRY(rlhf__state_put_f64(w, "rollout.advantage_mean", r->advantage_figures[0]));
    RLHF__TRY(
        rlhf__state_put_f64(w, "rollout.advantage_variance", r->advantage_figures[1]));
    RLHF__TRY(rlhf__state_put_f64(w, "rollout.kl_coef", r->kl_coef));
    return rlhf__state_put_array(w, "rollout.estimates", RLHF__STATE_F32,
                                 r->estimates_block, 5 * tokens);
}

static rlhf_status put_counters(const rlhf__ppo_trainer *t, packed *p,
                                rlhf__state_writer *w)
{
    rlhf__ppo_tally tally = t->tally;

    if (t->rollout && t->iteration_started_ns > 0)
        tally.seconds += (double)(rlhf__now_ns() - t->iteration_started_ns) * 1e-9;
    memcpy(p->tally, &tally, sizeof p->tally);
    RLHF__TRY(rlhf__state_put_i64(w, "iteration", t->iteration));
    RLHF__TRY(rlhf__state_put_i64(w, "num_episodes", t->num_episodes));
    RLHF__TRY(rlhf__state_put_i64(w, "next_sequence_id", t->next_sequence_id));
    RLHF__TRY(rlhf__state_put_f64(w, "kl_coef", t->kl_coef));
    RLHF__TRY(rlhf__state_put_f64(w, "learning_rate", t->learning_rate));
    RLHF__TRY(rlhf__state_put_f64(w, "value_learning_rate", t->value_learning_rate));
    RLHF__TRY(rlhf__state_put_f64(w, "running.count", t->running.count));
    RLHF__TRY(rlhf__state_put_f64(w, "running.mean", t->running.mean));
    RLHF__TRY(rlhf__state_put_f64(w, "running.squares", t->running.squares));
    RLHF__TRY(rlhf__state_put_i64(w, "in_update", t->rollout != NULL));
    RLHF__TRY(rlhf__state_put_i64(w, "policy_skipped", t->policy_skipped));
    RLHF__TRY(rlhf__state_put_i64(w, "epoch", t->epoch));
    RLHF__TRY(rlhf__state_put_i64(w, "minibatch", t->minibatch));
    return rlhf__state_put_array(w, "tally", RLHF__STATE_I64, p->tally, TALLY_COUNT);
}

/* Room for a frozen reference's weights in fp32; none where they stand so already. */
static rlhf_status make_flat(const rlhf__ppo_trainer *t, float **out)
{
    if (!t->owns_reference || !t->reference->params.is_frozen)
        return RLHF_OK;
    return rlhf__alloc(t->context, t->reference->params.count, sizeof **out,
                       RLHF_MEMORY_GENERAL, out);
}

static rlhf_status put_reference(const rlhf__ppo_trainer *t, packed *p,
                                 rlhf__state_writer *w)
{
    const rlhf__params *params = &t->reference->params;

    RLHF__TRY(make_flat(t, &p->reference));
    if (p->reference)
        rlhf__params_read_flat(params, p->reference);
    return rlhf__state_put_params(w, "reference.weights", params,
                                  p->reference ? p->reference : params->values);
}

static rlhf_status put_all(rlhf__ppo_trainer *t, const rlhf__rollout *rollout, packed *p,
                           rlhf__state_writer *w)
{
    RLHF__TRY(put_counters(t, p, w));
    RLHF__TRY(rlhf__learner_put(&t->policy_learner, "policy", w));
    RLHF__TRY(rlhf__learner_put(&t->critic_learner, "critic", w));
    if (t->owns_reference)
        RLHF__TRY(put_reference(t, p, w));
    if (!rollout)
        return RLHF_OK;
    RLHF__TRY(
        rlhf__state_put_i64(w, "rollout.current", rlhf__ppo_has_sampled(t, rollout)));
    return put_rollout(rollout, p, w);
}

rlhf_status rlhf__ppo_save(rlhf__ppo_trainer *t, const rlhf__rollout *pending,
                           const char *path)
{
    const rlhf__rollout *rollout = t->rollout ? t->rollout : pending;
    rlhf__state_writer *writer = NULL;
    packed p = {0};
    rlhf_status status;

    RLHF__TRY(rlhf__state_writer_create(t->context, "ppo", &writer));
    status = put_all(t, rollout, &p, writer);
    if (status == RLHF_OK)
        status = rlhf__state_writer_commit(writer, path);
    rlhf__state_writer_free(writer);
    packed_free(&p);
    return status;
}

/* --- reading ------------------------------------------------------------------------ */

/* Everything but the weights, read and checked before anything changes. */
typedef struct counters {
    int64_t iteration, num_episodes, next_sequence_id, in_update, policy_skipped, epoch,
        minibatch, is_current; /* the rollout is of the policy's weights */
    double kl_coef, learning_rate, value_learning_rate;
    rlhf__running running;
    rlhf__ppo_tally tally;
} counters;

/* Beta, rates, and the running figures of scores, which are float32 and so is their
 * mean. */
static rlhf_status get_reals(const rlhf__ppo_trainer *t, const rlhf__state_reader *reader,
                             counters *out)
{
    RLHF__TRY(rlhf__state_get_real(reader, "kl_coef", 0.0, FLT_MAX, &out->kl_coef));
    RLHF__TRY(
        rlhf__state_get_real(reader, "learning_rate", 0.0, FLT_MAX, &out->learning_rate));
    RLHF__TRY(rlhf__adamw_check_rate(&t->policy_learner.adamw.settings, "learning_rate",
                                     out->learning_rate));
    RLHF__TRY(rlhf__state_get_real(reader, "value_learning_rate", 0.0, FLT_MAX,
                                   &out->value_learning_rate));
    RLHF__TRY(rlhf__adamw_check_rate(&t->critic_learner.adamw.settings,
                                     "value_learning_rate", out->value_learning_rate));
    RLHF__TRY(rlhf__state_get_real(reader, "running.count", 0.0, (double)RLHF__COUNT_MAX,
                                   &out->running.count));
    RLHF__TRY(rlhf__state_get_real(reader, "running.mean", -FLT_MAX, FLT_MAX,
                                   &out->running.mean));
    return rlhf__state_get_real(reader, "running.squares", 0.0, DBL_MAX,
                                &out->running.squares);
}

/* Its figures may be any, its counts become integers. */
static rlhf_status get_tally(const rlhf__state_reader *reader, rlhf__ppo_tally *out)
{
    const void *tally = NULL;

    RLHF__TRY(
        rlhf__state_get_array(reader, "tally", RLHF__STATE_I64, TALLY_COUNT, &tally));
    memcpy(out, tally, sizeof *out);
    const double counts[] = {out->minibatches, out->policy_minibatches, out->policy_steps,
                             out->value_steps};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (!(counts[i] >= 0.0 && counts[i] <= (double)RLHF__COUNT_MAX))
            return rlhf__fail_field(rlhf__fail(RLHF_ERR_FORMAT,
                                               "a count of the saved tally is %g",
                                               counts[i]),
                                    "tally");
    return RLHF_OK;
}

static rlhf_status get_counters(const rlhf__ppo_trainer *t,
                                const rlhf__state_reader *reader, counters *out)
{
    static const char *const names[] = {"iteration", "num_episodes", "next_sequence_id"};
    int64_t *const counts[] = {&out->iteration, &out->num_episodes,
                               &out->next_sequence_id};

    for (int i = 0; i < 3; i++)
        RLHF__TRY(rlhf__state_get_range(reader, names[i], 0, RLHF__COUNT_MAX, counts[i]));
    RLHF__TRY(get_reals(t, reader, out));
    RLHF__TRY(rlhf__state_get_range(reader, "in_update", 0, 1, &out->in_update));
    RLHF__TRY(
        rlhf__state_get_range(reader, "policy_skipped", 0, 1, &out->policy_skipped));
    RLHF__TRY(rlhf__state_get_range(reader, "epoch", 0, INT32_MAX - 1, &out->epoch));
    RLHF__TRY(
        rlhf__state_get_range(reader, "minibatch", 0, INT32_MAX - 1, &out->minibatch));
    return get_tally(reader, &out->tally);
}

/* Arrays of a saved rollout, borrowed from the reader. */
typedef struct saved_rollout {
    const int64_t *ints, *reals;
    const float *after, *logprobs, *token_scores, *estimates;
    const int32_t *tokens;
    const uint8_t *action_mask;
    int64_t num_episodes, num_tokens;
} saved_rollout;

static rlhf_status get_arrays(const rlhf__state_reader *reader, saved_rollout *out)
{
    const void *data = NULL;
    int64_t ints = 0;

    RLHF__TRY(rlhf__state_array_count(reader, "rollout.ints", RLHF__STATE_I64, &ints));
    RLHF__TRY(rlhf__state_array_count(reader, "rollout.tokens", RLHF__STATE_I32,
                                      &out->num_tokens));
    if (ints == 0 || ints % NUM_INTS != 0)
        return rlhf__fail(RLHF_ERR_FORMAT, "saved rollout.ints has %" PRId64 " elements",
                          ints);
    out->num_episodes = ints / NUM_INTS;
#define GET(name, type, count, member)                                                   \
    RLHF__TRY(rlhf__state_get_array(reader, name, type, count, &data));                  \
    out->member = data
    GET("rollout.ints", RLHF__STATE_I64, ints, ints);
    GET("rollout.reals", RLHF__STATE_I64, out->num_episodes * NUM_REALS, reals);
    GET("rollout.after", RLHF__STATE_F32, out->num_episodes * NUM_AFTER, after);
    GET("rollout.tokens", RLHF__STATE_I32, out->num_tokens, tokens);
    GET("rollout.action_mask", RLHF__STATE_U8, out->num_tokens, action_mask);
    GET("rollout.logprobs", RLHF__STATE_F32, out->num_tokens, logprobs);
    GET("rollout.token_scores", RLHF__STATE_F32, out->num_tokens, token_scores);
    if (rlhf__state_has(reader, "rollout.estimates")) {
        GET("rollout.estimates", RLHF__STATE_F32, 5 * out->num_tokens, estimates);
    }
#undef GET
    return RLHF_OK;
}

static rlhf_status append_episode(const saved_rollout *s, int64_t i, int64_t first,
                                  rlhf__rollout *r)
{
    const int64_t *ints = s->ints + i * NUM_INTS;
    const int64_t *reals = s->reals + i * NUM_REALS;
    const int64_t n = ints[INT_NUM_TOKENS], flags = ints[INT_FLAGS];

    if (n < 2 || n > s->num_tokens - first || ints[INT_SCORED] < 0 ||
        ints[INT_SCORED] > n || ints[INT_FINISH] < 0 ||
        ints[INT_FINISH] > RLHF_FINISH_CALLBACK)
        return rlhf__fail(RLHF_ERR_FORMAT,
                          "saved sequence %" PRId64 " has %" PRId64 " tokens, %" PRId64
                          " scored, finish %" PRId64,
                          i, n, ints[INT_SCORED], ints[INT_FINISH]);
    const rlhf_rollout_input input = {
        .struct_size = sizeof input,
        .tokens = s->tokens + first,
        .action_mask = s->action_mask + first,
        .logprobs = flags & FLAG_LOGPROBS ? s->logprobs + first : NULL,
        .token_scores = flags & FLAG_TOKEN_SCORES ? s->token_scores + first : NULL,
        .num_tokens = n,
        .score = real_of(reals[REAL_SCORE]),
        .finish = (int32_t)ints[INT_FINISH]};
    RLHF__TRY(rlhf__rollout_append(r, &input, ints[INT_ID]));
    rlhf__episode *e = &r->episodes[r->num_episodes - 1];
    e->scored_tokens = ints[INT_SCORED];
    e->entropy = real_of(reals[REAL_ENTROPY]);
    e->own_logprobs = (flags & FLAG_OWN_LOGPROBS) != 0;
    return RLHF_OK;
}

/* What advantages had computed; appending has forgotten it. */
static rlhf_status restore_estimates(const rlhf__state_reader *reader,
                                     const saved_rollout *s, rlhf__rollout *r)
{
    RLHF__TRY(rlhf__rollout_reserve_estimates(r));
    memcpy(r->estimates_block, s->estimates,
           (size_t)(5 * s->num_tokens) * sizeof *r->estimates_block);
    RLHF__TRY(
        rlhf__state_get_f64(reader, "rollout.advantage_mean", &r->advantage_figures[0]));
    RLHF__TRY(rlhf__state_get_f64(reader, "rollout.advantage_variance",
                                  &r->advantage_figures[1]));
    RLHF__TRY(rlhf__state_get_real(reader, "rollout.kl_coef", 0.0, FLT_MAX, &r->kl_coef));
    for (int64_t i = 0; i < r->num_episodes; i++) {
        rlhf__episode *e = &r->episodes[i];
        e->kl = real_of(s->reals[i * NUM_REALS + REAL_KL]);
        e->has_after = (s->ints[i * NUM_INTS + INT_FLAGS] & FLAG_AFTER) != 0;
        e->after_value = s->after[i * NUM_AFTER + AFTER_VALUE];
        e->after_reward = s->after[i * NUM_AFTER + AFTER_REWARD];
        e->after_return = s->after[i * NUM_AFTER + AFTER_RETURN];
    }
    r->has_advantages = true;
    return RLHF_OK;
}

static rlhf_status get_rollout(const rlhf__ppo_trainer *t,
                               const rlhf__state_reader *reader, rlhf__rollout *r)
{
    saved_rollout s = {0};
    int64_t first = 0;

    RLHF__TRY(get_arrays(reader, &s));
    for (int64_t i = 0; i < s.num_tokens; i++)
        if (s.tokens[i] < 0 || s.tokens[i] >= t->policy->config.vocab_size)
            return rlhf__fail(RLHF_ERR_FORMAT,
                              "saved rollout.tokens[%" PRId64 "] is %" PRId32, i,
                              s.tokens[i]);
    for (int64_t i = 0; i < s.num_episodes; i++) {
        RLHF__TRY(append_episode(&s, i, first, r));
        first += s.ints[i * NUM_INTS + INT_NUM_TOKENS];
    }
    if (first != s.num_tokens)
        return rlhf__fail(RLHF_ERR_FORMAT,
                          "saved sequences have %" PRId64
                          " tokens, rollout.tokens %" PRId64,
                          first, s.num_tokens);
    return s.estimates ? restore_estimates(reader, &s, r) : RLHF_OK;
}

static rlhf_status check_below(const char *option, int32_t value, const char *what,
                               int64_t place)
{
    if (place < value)
        return RLHF_OK;
    return rlhf__fail_arg(option,
                          "%s is %" PRId32 ", the saved update is in %s %" PRId64
                          ", counted from 0",
                          option, value, what, place);
}

/* The place of a saved update in the iteration that the options make of it. */
static rlhf_status check_place(const rlhf_ppo_options *o, const rlhf__rollout *rollout,
                               const counters *c)
{
    RLHF__TRY(check_below("num_epochs", o->num_epochs, "epoch", c->epoch));
    RLHF__TRY(
        check_below("num_minibatches", o->num_minibatches, "minibatch", c->minibatch));
    if (rollout->num_episodes < o->num_minibatches)
        return rlhf__fail_arg("num_minibatches",
                              "num_minibatches is %" PRId32
                              ", the saved update is of %" PRId64 " sequences",
                              o->num_minibatches, rollout->num_episodes);
    return RLHF_OK;
}

static rlhf_status check(rlhf__ppo_trainer *t, const rlhf__state_reader *reader,
                         rlhf__rollout *rollout, counters *out, bool *out_found)
{
    RLHF__TRY(rlhf__learner_check(&t->policy_learner, "policy", reader));
    RLHF__TRY(rlhf__learner_check(&t->critic_learner, "critic", reader));
    if (t->owns_reference)
        RLHF__TRY(rlhf__state_get_params(reader, "reference.weights",
                                         &t->reference->params, RLHF__STATE_FINITE,
                                         NULL));
    RLHF__TRY(get_counters(t, reader, out));
    *out_found = rlhf__state_has(reader, "rollout.ints");
    if (*out_found) {
        RLHF__TRY(
            rlhf__state_get_range(reader, "rollout.current", 0, 1, &out->is_current));
        RLHF__TRY(get_rollout(t, reader, rollout));
    }
    if (out->in_update && (!*out_found || !rollout->has_advantages))
        return rlhf__fail(RLHF_ERR_FORMAT, "the saved update has no rollout of its own");
    if (out->in_update)
        RLHF__TRY(check_place(&t->options, rollout, out));
    return rlhf__grow(t->context, &t->order, &t->order_capacity, rollout->num_episodes,
                      sizeof *t->order);
}

/* `flat` is of make_flat. */
static rlhf_status get_reference(rlhf__ppo_trainer *t, const rlhf__state_reader *reader,
                                 float *flat)
{
    rlhf__params *params = &t->reference->params;

    if (flat) {
        RLHF__TRY(rlhf__state_get_params(reader, "reference.weights", params,
                                         RLHF__STATE_FINITE, flat));
        rlhf__params_refreeze(params, flat);
        return RLHF_OK;
    }
    const rlhf_status status =
        rlhf__state_get_params(reader, "reference.weights", params, RLHF__STATE_FINITE,
                               rlhf__params_begin_write(params));
    rlhf__params_end_write(params);
    return status;
}

/* Cannot fail: all of it was checked. */
static rlhf_status take_over(rlhf__ppo_trainer *t, const rlhf__state_reader *reader,
                             const counters *c, rlhf__rollout *rollout, float *flat)
{
    RLHF__TRY(rlhf__learner_get(&t->policy_learner, "policy", reader));
    RLHF__TRY(rlhf__learner_get(&t->critic_learner, "critic", reader));
    if (t->owns_reference)
        RLHF__TRY(get_reference(t, reader, flat));
    rlhf__ppo_abandon(t);
    t->iteration = c->iteration;
    t->num_episodes = c->num_episodes;
    t->next_sequence_id = c->next_sequence_id;
    t->kl_coef = c->kl_coef;
    t->learning_rate = c->learning_rate;
    t->value_learning_rate = c->value_learning_rate;
    t->running = c->running;
    t->policy_skipped = c->policy_skipped != 0;
    t->epoch = c->epoch;
    t->minibatch = c->minibatch;
    t->tally = c->tally;
    if (c->is_current) /* the next step goes on with it */
        rollout->policy_version = t->policy->params.version;
    if (!c->in_update)
        return RLHF_OK;
    t->iteration_started_ns = rlhf__now_ns();
    t->rollout = rollout;
    rollout->in_update = true;
    return rlhf__ppo_shuffle(t, rollout);
}

rlhf_status rlhf__ppo_resume(rlhf__ppo_trainer *t, const char *path,
                             rlhf__rollout *rollout, bool *out_found)
{
    rlhf__state_reader *reader = NULL;
    counters c = {0};
    float *flat = NULL;
    rlhf_status status;

    RLHF__TRY(rlhf__state_reader_open(t->context, path, "ppo", &reader));
    status = check(t, reader, rollout, &c, out_found);
    if (status == RLHF_OK)
        status = make_flat(t, &flat);
    if (status == RLHF_OK)
        status = take_over(t, reader, &c, rollout, flat);
    rlhf__state_reader_free(reader);
    rlhf__free(flat);
    return status;
}
