/* Whole PPO iterations on random prompts with TRL's defaults: BATCH answers of exactly
 * RESPONSE tokens, scored, four epochs of one minibatch.
 *
 *     ppo_iteration MODEL_DIR BATCH PROMPT RESPONSE ITERATIONS
 */
#include "bench.h"

static rlhf_ppo_trainer *make_trainer(rlhf_context *context, const char *path,
                                      int64_t response, rlhf_model_config *config)
{
    rlhf_model *policy;
    rlhf_reward_model *reward_model;
    rlhf_ppo_options options;
    rlhf_ppo_trainer *trainer;

    bench_check(rlhf_model_load(context, path, &policy), "load");
    bench_check(rlhf_model_config_init(config, sizeof *config), "config");
    bench_check(rlhf_model_get_config(policy, config), "config");
    bench_check(rlhf_reward_model_create(policy, NULL, &reward_model), "reward model");
    bench_check(rlhf_ppo_options_preset(&options, sizeof options, "trl"), "preset");
    options.max_new_tokens = (int32_t)response;
    options.stop_token_id = -2;
    options.num_epochs = 4;
    options.num_minibatches = 1;
    bench_check(
        rlhf_ppo_trainer_create(policy, NULL, reward_model, NULL, &options, &trainer),
        "trainer");
    rlhf_model_free(policy);
    rlhf_reward_model_free(reward_model);
    return trainer;
}

int main(int argc, char **argv)
{
    rlhf_model_config config;
    rlhf_ppo_stats stats = {.struct_size = sizeof stats};
    bench_times times = {.count = 0};
    double first_kl = 0;

    if (argc != 6) {
        fprintf(stderr,
                "usage: ppo_iteration MODEL_DIR BATCH PROMPT RESPONSE ITERATIONS\n");
        return 2;
    }
    int64_t batch = bench_count(argv[2], "BATCH"),
            prompt = bench_count(argv[3], "PROMPT");
    int64_t response = bench_count(argv[4], "RESPONSE");
    int64_t iterations = bench_count(argv[5], "ITERATIONS");
    rlhf_context *context = bench_context();
    rlhf_ppo_trainer *trainer = make_trainer(context, argv[1], response, &config);
    int32_t *ids = bench_ids(batch * prompt * iterations, config.vocab_size);
    int64_t *cu_seqlens = bench_offsets(batch, prompt);
    for (int64_t i = 0; i < iterations && times.count < BENCH_MAX_RUNS; i++) {
        double start = bench_now();
        bench_check(rlhf_ppo_trainer_step(trainer, ids + i * batch * prompt, cu_seqlens,
                                          batch, &stats),
                    "step");
        times.seconds[times.count++] = bench_now() - start;
        if (i == 0)
            first_kl = stats.kl;
    }
    bench_sort(&times);
    double median = times.seconds[times.count / 2];
    bench_report("ppo_iteration", argv[1],
                 "\"batch\": %" PRId64 ", \"prompt\": %" PRId64 ", \"response\": %" PRId64
                 ", \"bf16\": false, \"seconds_min\": %.6f, \"seconds_median\": %.6f, "
                 "\"episodes_per_s\": %.3f, \"first_kl\": %.9g",
                 batch, prompt, response, times.seconds[0], median,
                 (double)batch / median, first_kl);
    rlhf_ppo_trainer_free(trainer);
    rlhf_context_free(context);
    free(ids);
    free(cu_seqlens);
    return 0;
}
