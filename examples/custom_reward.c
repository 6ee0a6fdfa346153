/* PPO with a reward that is a C function.
 *
 *     build/examples/custom_reward examples/custom_reward.yaml
 *
 * The parts of an iteration by hand: sample, look at the answers, score them, update.
 * Here an answer's reward is how near its length is to `words` words; it could be
 * anything that a program can compute: a compiler's verdict, a game's outcome, a
 * person's click. */
#include "host.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static int count_words(const char *text)
{
    int words = 0, inside = 0;

    for (; *text; text++) {
        words += !inside && !isspace((unsigned char)*text);
        inside = !isspace((unsigned char)*text);
    }
    return words;
}

/* 1 at the wanted length, less by the share that is missing or too much. */
static float reward(const char *answer, int64_t wanted)
{
    return (float)(1.0 - fabs((double)(count_words(answer) - wanted)) / (double)wanted);
}

static double score(rlhf_rollout *rollout, const rlhf_tokenizer *tokenizer,
                    int64_t wanted)
{
    const int64_t n = rlhf_rollout_num_sequences(rollout);
    float *scores = host_alloc((size_t)n, sizeof *scores);
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        rlhf_rollout_sequence s = {.struct_size = sizeof s};
        host_must(rlhf_rollout_get(rollout, i, &s), "read an answer");
        char *text =
            host_decode(tokenizer, s.tokens + s.num_prompt, s.num_tokens - s.num_prompt);
        scores[i] = reward(text, wanted);
        sum += (double)scores[i];
        free(text);
    }
    host_must(rlhf_rollout_set_scores(rollout, scores, n), "set the scores");
    free(scores);
    return sum / (double)n;
}

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);
    rlhf_config *config = host_config(context, argc, argv, "CONFIG.yaml");
    const char *input = host_path(config, "model"),
               *prompts = host_path(config, "prompts");
    const char *output = host_path(config, "output");
    const int64_t iterations = host_integer(config, "iterations", 10, 1);
    const int64_t batch_size = host_integer(config, "batch", 64, 1);
    const int64_t wanted = host_integer(config, "words", 6, 1);
    rlhf_dataset_options data_options;
    rlhf_ppo_options options;

    host_must(rlhf_dataset_options_init(&data_options, sizeof data_options), "start");
    data_options.kind = RLHF_DATASET_PROMPT;
    host_must(rlhf_ppo_options_init(&options, sizeof options), "start");
    host_options(config, "ppo", "rlhf_ppo_options", &options);
    /* The schedules end with the run. Not set before: a preset replaces every field. */
    options.total_iterations =
        host_integer(config, "ppo.total_iterations", iterations, 1);
    host_must(rlhf_config_finish(config), "read the config");

    rlhf_tokenizer *tokenizer;
    rlhf_model *policy;
    rlhf_dataset *dataset;
    rlhf_ppo_trainer *trainer;
    host_must(rlhf_tokenizer_load(context, input, &tokenizer), "read the tokenizer");
    host_must(rlhf_model_load(context, input, &policy), "read the model");
    host_must(rlhf_dataset_load(context, tokenizer, prompts, &data_options, &dataset),
              "read the prompts");
    host_must(rlhf_ppo_trainer_create(policy, NULL, NULL, NULL, &options, &trainer),
              "make the trainer");
    for (int64_t i = 0; i < iterations; i++) {
        rlhf_ppo_stats stats = {.struct_size = sizeof stats};
        rlhf_rollout *rollout;
        host_batch batch;
        host_draw(&batch, dataset, batch_size, 1);
        host_must(rlhf_ppo_trainer_rollout(trainer, batch.tokens, batch.cu_seqlens,
                                           batch.num_seqs, &rollout),
                  "answer the prompts");
        const double mean = score(rollout, tokenizer, wanted);
        host_must(rlhf_ppo_trainer_advantages(trainer, rollout), "compute advantages");
        host_must(rlhf_ppo_trainer_update(trainer, rollout, &stats), "update the policy");
        host_progress("ppo", i + 1, iterations, "reward %.3f kl %.2f", mean, stats.kl);
        rlhf_rollout_free(rollout);
        host_batch_free(&batch);
    }
    host_save(output, tokenizer, policy, NULL);
    fprintf(stderr, "wrote %s\n", output);

    rlhf_ppo_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(policy);
    rlhf_tokenizer_free(tokenizer);
    rlhf_config_free(config);
    rlhf_context_free(context);
    return 0;
}
