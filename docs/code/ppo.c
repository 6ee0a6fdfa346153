/* PPO from a fine-tuned model and a reward model to a policy: the program of README.md. */
#include <rlhf/rlhf.h>

#include <stdio.h>

#define TRY(call)                                                                        \
    if ((call) != RLHF_OK)                                                               \
    goto end

int main(void)
{
    static const char prompt[] = "Once upon a time";
    rlhf_context *context = NULL;
    rlhf_tokenizer *tokenizer = NULL;
    rlhf_model *policy = NULL;
    rlhf_reward_model *reward = NULL;
    rlhf_ppo_trainer *trainer = NULL;
    rlhf_ppo_options options;
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    int32_t ids[1024];
    int64_t ends[33] = {0}, count;
    int done = 0;

    TRY(rlhf_context_create(NULL, &context));
    TRY(rlhf_model_load(context, "sft", &policy)); /* Hugging Face folders */
    TRY(rlhf_tokenizer_load(context, "sft", &tokenizer));
    TRY(rlhf_reward_model_load(context, "reward", &reward));
    TRY(rlhf_ppo_options_preset(&options, sizeof options, "instructgpt"));
    options.max_new_tokens = 24;
    TRY(rlhf_ppo_trainer_create(policy, NULL, reward, NULL, &options, &trainer));
    for (int i = 0; i < 32; i++) { /* a ragged batch of prompts, end to end */
        ends[i + 1] = ends[i];
        if (rlhf_tokenizer_bos_id(tokenizer) >= 0) /* as in training */
            ids[ends[i + 1]++] = rlhf_tokenizer_bos_id(tokenizer);
        TRY(rlhf_tokenizer_encode(tokenizer, prompt, sizeof prompt - 1, 0,
                                  ids + ends[i + 1], 1024 - ends[i + 1], &count));
        ends[i + 1] += count;
    }
    while (stats.iteration < 10) { /* in; an iteration's figures out */
        TRY(rlhf_ppo_trainer_step(trainer, ids, ends, 32, &stats));
        printf("score %.3f, KL %.2f\n", stats.score, stats.kl);
    }
    TRY(rlhf_model_save(policy, "policy"));
    TRY(rlhf_tokenizer_save(tokenizer, "policy"));
    done = 1;
end:
    if (!done)
        fprintf(stderr, "%s\n", rlhf_last_error_message());
    rlhf_ppo_trainer_free(trainer);
    rlhf_reward_model_free(reward);
    rlhf_tokenizer_free(tokenizer);
    rlhf_model_free(policy);
    rlhf_context_free(context);
    return !done;
}
