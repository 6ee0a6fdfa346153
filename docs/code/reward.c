/* PPO on a reward that is a C function: answers that end in time and do not repeat.
 *
 *     ./reward MODEL PROMPTS.jsonl OUTPUT */
#include <rlhf/rlhf.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32, ITERATIONS = 10 };

/* In [-1, 1]: the share of the answer's tokens that are new to it, less 1 where the answer
 * was cut off. */
static float reward(const rlhf_rollout_sequence *s)
{
    const int32_t *answer = s->tokens + s->num_prompt;
    const int64_t size = s->num_tokens - s->num_prompt;
    int64_t fresh = 0;

    for (int64_t i = 0; i < size; i++) {
        int64_t j = 0;
        while (j < i && answer[j] != answer[i])
            j++;
        fresh += j == i;
    }
    return (float)fresh / (float)size - (s->finish == RLHF_FINISH_STOP ? 0 : 1);
}

/* Looks at each answer of a rollout and scores it. */
static rlhf_status score(rlhf_rollout *rollout)
{
    float scores[BATCH];

    for (int64_t i = 0; i < rlhf_rollout_num_sequences(rollout); i++) {
        rlhf_rollout_sequence s = {.struct_size = sizeof s};
        const rlhf_status status = rlhf_rollout_get(rollout, i, &s);
        if (status != RLHF_OK)
            return status;
        scores[i] = reward(&s);
    }
    return rlhf_rollout_set_scores(rollout, scores, BATCH);
}

/* The next prompts of the dataset, end to end. */
static rlhf_status draw(rlhf_dataset *prompts, int32_t *tokens, int64_t capacity,
                        int64_t ends[BATCH + 1])
{
    for (int i = 0; i < BATCH; i++) {
        rlhf_example row = {.struct_size = sizeof row};
        const rlhf_status status = rlhf_dataset_next(prompts, &row);
        if (status != RLHF_OK)
            return status;
        if (ends[i] + row.num_tokens > capacity)
            return RLHF_ERR_LIMIT;
        memcpy(tokens + ends[i], row.tokens, (size_t)row.num_tokens * sizeof *tokens);
        ends[i + 1] = ends[i] + row.num_tokens;
    }
    return RLHF_OK;
}

/* An iteration in its parts, so that the host can score in the middle. */
static rlhf_status iterate(rlhf_ppo_trainer *trainer, rlhf_dataset *prompts,
                           rlhf_ppo_stats *stats)
{
    int32_t tokens[BATCH * 64];
    int64_t ends[BATCH + 1] = {0};
    rlhf_rollout *rollout = NULL;
    rlhf_status status = draw(prompts, tokens, BATCH * 64, ends);

    if (status == RLHF_OK)
        status = rlhf_ppo_trainer_rollout(trainer, tokens, ends, BATCH, &rollout);
    if (status == RLHF_OK)
        status = score(rollout);
    if (status == RLHF_OK)
        status = rlhf_ppo_trainer_advantages(trainer, rollout);
    if (status == RLHF_OK)
        status = rlhf_ppo_trainer_update(trainer, rollout, stats);
    rlhf_rollout_free(rollout);
    return status;
}

#define TRY(call)                                                                        \
    if ((call) != RLHF_OK)                                                               \
    goto end

int main(int argc, char **argv)
{
    rlhf_context *context = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_model *policy = NULL;
    rlhf_dataset *prompts = NULL;
    rlhf_ppo_trainer *trainer = NULL;
    rlhf_dataset_options data;
    rlhf_ppo_options options;
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    int done = 0;

    if (argc != 4) {
        fprintf(stderr, "usage: reward MODEL PROMPTS.jsonl OUTPUT\n");
        return 2;
    }
    TRY(rlhf_context_create(NULL, &context));
    TRY(rlhf_tokenizer_load(context, argv[1], &tokenizer));
    TRY(rlhf_model_load(context, argv[1], &policy));
    TRY(rlhf_dataset_options_init(&data, sizeof data));
    data.kind = RLHF_DATASET_PROMPT;
    data.max_length = 64;
    TRY(rlhf_dataset_load(context, tokenizer, argv[2], &data, &prompts));
    TRY(rlhf_ppo_options_init(&options, sizeof options));
    options.max_new_tokens = 24;
    options.learning_rate = options.value_learning_rate = 1e-3;
    /* No reward model and no critic: the host scores, the critic starts at 0. */
    TRY(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer));
    while (stats.iteration < ITERATIONS) {
        TRY(iterate(trainer, prompts, &stats));
        printf("score %.3f, KL %.2f, ended %.0f%%\n", stats.score, stats.kl,
               100 * stats.eos_rate);
    }
    TRY(rlhf_model_save(policy, argv[3]));
    TRY(rlhf_tokenizer_save(tokenizer, argv[3]));
    done = 1;
end:
    if (!done)
        fprintf(stderr, "reward: %s\n", rlhf_last_error_message());
    rlhf_ppo_trainer_free(trainer);
    rlhf_dataset_free(prompts);
    rlhf_model_free(policy);
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_free(context);
    return !done;
}
