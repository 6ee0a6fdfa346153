/* Sampled generation at temperature 0.7, nothing ends a sequence but its length.
 *
 *     generate MODEL_DIR BATCH PROMPT NEW
 */
#include "bench.h"

int main(int argc, char **argv)
{
    rlhf_model *model;
    rlhf_model_config config;
    rlhf_sampler *sampler;
    rlhf_sampler_options sampling;
    rlhf_generator *generator;
    rlhf_generator_options options;
    bench_times times = {.count = 0};

    if (argc != 5) {
        fprintf(stderr, "usage: generate MODEL_DIR BATCH PROMPT NEW\n");
        return 2;
    }
    int64_t batch = bench_count(argv[2], "BATCH"),
            prompt = bench_count(argv[3], "PROMPT");
    int64_t new_tokens = bench_count(argv[4], "NEW");
    rlhf_context *context = bench_context();
    bench_check(rlhf_model_load(context, argv[1], &model), "load");
    bench_check(rlhf_model_config_init(&config, sizeof config), "config");
    bench_check(rlhf_model_get_config(model, &config), "config");
    bench_check(rlhf_sampler_options_init(&sampling, sizeof sampling), "options");
    sampling.temperature = 0.7;
    bench_check(rlhf_sampler_create(&sampling, &sampler), "sampler");
    bench_check(rlhf_generator_options_init(&options, sizeof options), "options");
    options.max_new_tokens = (int32_t)new_tokens;
    options.use_stop_tokens = 0;
    options.temperature = 0.7;
    bench_check(rlhf_generator_create(model, sampler, &options, &generator), "generator");

    int32_t *ids = bench_ids(batch * prompt, config.vocab_size);
    int64_t *cu_seqlens = bench_offsets(batch, prompt);
    for (int run = 0; run < 3; run++) {
        double start = bench_now();
        bench_check(rlhf_generator_start(generator, ids, cu_seqlens, batch, NULL),
                    "start");
        bench_check(rlhf_generator_run(generator), "run");
        times.seconds[times.count++] = bench_now() - start;
    }
    rlhf_generation answer = {.struct_size = sizeof answer};
    bench_check(rlhf_generator_get(generator, batch - 1, &answer), "get");
    if (answer.num_tokens != prompt + new_tokens) {
        fprintf(stderr, "an answer has %" PRId64 " tokens\n", answer.num_tokens);
        exit(1);
    }
    bench_sort(&times);
    bench_report("generate", argv[1],
                 "\"batch\": %" PRId64 ", \"prompt\": %" PRId64 ", \"new\": %" PRId64
                 ", \"bf16\": false, \"seconds_min\": %.6f, \"new_tokens_per_s\": %.1f",
                 batch, prompt, new_tokens, times.seconds[0],
                 (double)(batch * new_tokens) / times.seconds[0]);
    rlhf_generator_free(generator);
    rlhf_sampler_free(sampler);
    rlhf_model_free(model);
    rlhf_context_free(context);
    free(ids);
    free(cu_seqlens);
    return 0;
}
