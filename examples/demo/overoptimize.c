/* PPO that goes on for too long, or is held too loosely, for the plots of
 * docs/guide/ppo-settings.md:
 *
 *     overoptimize SFT REWARD PROMPTS.jsonl HELD_OUT.jsonl KL_COEF ITERATIONS EVERY OUT
 *
 * Every few iterations the held-out prompts are answered. Their answers go to
 * OUT/N.jsonl, score and KL to stdout as a line of JSON; what the answers are worth to
 * the annotator is for another program to say: nothing that trains knows it. */
#include "../host.h"

#include <inttypes.h>
#include <stdlib.h>

enum { BATCH = 128, HELD_OUT = 256 };

static rlhf_dataset *load(rlhf_context *context, rlhf_tokenizer *tokenizer,
                          const char *path)
{
    rlhf_dataset_options options;
    rlhf_dataset *dataset;

    host_must(rlhf_dataset_options_init(&options, sizeof options), "start");
    options.kind = RLHF_DATASET_PROMPT;
    options.seed = 1;
    host_must(rlhf_dataset_load(context, tokenizer, path, &options, &dataset),
              "read the prompts");
    return dataset;
}

static void evaluate(rlhf_ppo_trainer *trainer, rlhf_tokenizer *tokenizer,
                     const host_batch *held_out, const char *out)
{
    rlhf_ppo_stats s = {.struct_size = sizeof s};
    rlhf_rollout *rollout;
    char path[4096];

    host_must(rlhf_ppo_trainer_evaluate(trainer, held_out->tokens, held_out->cu_seqlens,
                                        held_out->num_seqs, &s, &rollout),
              "evaluate");
    snprintf(path, sizeof path, "%s/%" PRId64 ".jsonl", out, s.iteration);
    host_must(rlhf_rollout_write_jsonl(rollout, tokenizer, path), "write the answers");
    rlhf_rollout_free(rollout);
    printf("{\"iteration\": %" PRId64 ", \"score\": %.6g, \"kl\": %.6g, "
           "\"entropy\": %.6g, \"response_length\": %.6g}\n",
           s.iteration, s.score, s.kl, s.entropy, s.response_length);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);
    rlhf_tokenizer *tokenizer;
    rlhf_model *policy;
    rlhf_reward_model *reward;
    rlhf_ppo_options options;
    rlhf_ppo_trainer *trainer;
    host_batch held_out;

    if (argc != 9)
        host_die("give SFT REWARD PROMPTS HELD_OUT KL_COEF ITERATIONS EVERY OUT");
    const int64_t iterations = strtoll(argv[6], NULL, 10),
                  every = strtoll(argv[7], NULL, 10);
    host_must(rlhf_tokenizer_load(context, argv[1], &tokenizer), "read the tokenizer");
    host_must(rlhf_model_load(context, argv[1], &policy), "read the model");
    host_must(rlhf_reward_model_load(context, argv[2], &reward), "read the reward model");
    rlhf_dataset *prompts = load(context, tokenizer, argv[3]);
    rlhf_dataset *unseen = load(context, tokenizer, argv[4]);
    host_draw(&held_out, unseen, HELD_OUT, 1);

    host_must(rlhf_ppo_options_init(&options, sizeof options), "start");
    options.seed = 1;
    options.max_new_tokens = 24;
    options.kl_coef = strtod(argv[5], NULL);
    options.num_epochs = options.num_minibatches = 2;
    options.learning_rate = options.value_learning_rate = 1e-3;
    options.missing_eos = RLHF_MISSING_EOS_SUBTRACT;
    options.missing_eos_value = 2.0;
    host_must(rlhf_ppo_trainer_create(policy, NULL, reward, NULL, &options, &trainer),
              "make the trainer");
    for (int64_t i = 0; i < iterations; i++) {
        rlhf_ppo_stats stats = {.struct_size = sizeof stats};
        host_batch batch;
        if (i % every == 0)
            evaluate(trainer, tokenizer, &held_out, argv[8]);
        host_draw(&batch, prompts, BATCH, 1);
        host_must(rlhf_ppo_trainer_step(trainer, batch.tokens, batch.cu_seqlens,
                                        batch.num_seqs, &stats),
                  "train");
        host_batch_free(&batch);
        host_progress("ppo", i + 1, iterations, "score %.2f kl %.2f", stats.score,
                      stats.kl);
    }
    evaluate(trainer, tokenizer, &held_out, argv[8]);

    host_batch_free(&held_out);
    rlhf_ppo_trainer_free(trainer);
    rlhf_dataset_free(unseen);
    rlhf_dataset_free(prompts);
    rlhf_reward_model_free(reward);
    rlhf_model_free(policy);
    rlhf_tokenizer_free(tokenizer);
    rlhf_context_free(context);
    return 0;
}
