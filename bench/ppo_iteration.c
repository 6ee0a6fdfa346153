/* Whole PPO iterations on random prompts with TRL's defaults: BATCH answers of exactly
 * RESPONSE tokens, scored, four epochs of one minibatch.
 *
 *     ppo_iteration MODEL_DIR BATCH PROMPT RESPONSE ITERATIONS [bf16]
 */
#include "bench.h"

#define EPOCHS 4

/* Answers decoded; reference (logits of the responses), reward and value each in one pass
 * (the policy's log-probabilities are the rollout's); policy and critic trained. */
static bench_work work_of(const rlhf_model_config *config, int64_t parameters,
                          int64_t batch, int64_t prompt, int64_t response, bool bf16)
{
    int64_t length = prompt + response;
    double score = bench_forward_flops(config, batch, length, 1, false);
    double value = bench_forward_flops(config, batch, length - 1, response, false);
    double policy = bench_forward_flops(config, batch, length - 1, response, true);
    bench_work work = {.count = 0};

    bench_add_prompt(&work, config, batch, prompt);
    bench_add_decode(&work, config, batch, prompt, response - 1, bf16 ? 2 : 4);
    bench_add_phase(&work, (bench_phase){.flops = policy + score + value});
    bench_add_phase(&work, (bench_phase){.flops = EPOCHS * 3 * (policy + value)});
    bench_add_update(&work, parameters, 2 * EPOCHS);
    return work;
}

static rlhf_ppo_trainer *make_trainer(rlhf_context *context, const char *path,
                                      int64_t response, bool bf16,
                                      rlhf_model_config *config, int64_t *parameters)
{
    rlhf_model *policy;
    rlhf_reward_model *reward_model;
    rlhf_ppo_options options;
    rlhf_ppo_trainer *trainer;

    bench_check(rlhf_model_load(context, path, &policy), "load");
    bench_check(rlhf_model_config_init(config, sizeof *config), "config");
    bench_check(rlhf_model_get_config(policy, config), "config");
    *parameters = rlhf_model_num_parameters(policy);
    bench_check(rlhf_reward_model_create(policy, NULL, &reward_model), "reward model");
    bench_check(rlhf_ppo_options_preset(&options, sizeof options, "trl"), "preset");
    options.max_new_tokens = (int32_t)response;
    options.stop_token_id = -2;
    options.num_epochs = EPOCHS;
    options.num_minibatches = 1;
    bench_check(
        rlhf_ppo_trainer_create(policy, NULL, reward_model, NULL, &options, &trainer),
        "trainer");
    if (bf16) /* in bf16 alone: half the memory */
        bench_check(rlhf_reward_model_freeze(reward_model), "freeze");
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

    const bool bf16 = bench_takes_bf16(&argc, argv);
    if (argc != 6) {
        fprintf(stderr, "usage: ppo_iteration MODEL_DIR BATCH PROMPT RESPONSE "
                        "ITERATIONS [bf16]\n");
        return 2;
    }
    int64_t batch = bench_count(argv[2], "BATCH"),
            prompt = bench_count(argv[3], "PROMPT");
    int64_t response = bench_count(argv[4], "RESPONSE");
    int64_t iterations = bench_count(argv[5], "ITERATIONS");
    rlhf_context *context = bench_context(bf16);
    int64_t parameters = 0;
    rlhf_ppo_trainer *trainer =
        make_trainer(context, argv[1], response, bf16, &config, &parameters);
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
    bench_work work = work_of(&config, parameters, batch, prompt, response, bf16);
    bench_report(context, "ppo_iteration", argv[1], bf16, &work, &times,
                 "\"batch\": %" PRId64 ", \"prompt\": %" PRId64 ", \"response\": %" PRId64
                 ", \"episodes_per_s\": %.3f, "
                 "\"first_kl\": %.9g",
                 batch, prompt, response, (double)batch / median, first_kl);
    rlhf_ppo_trainer_free(trainer);
    rlhf_context_free(context);
    free(ids);
    free(cu_seqlens);
    return 0;
}
