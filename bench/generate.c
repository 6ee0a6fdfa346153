/* Sampled generation at temperature 0.7, nothing ends a sequence but its length.
 *
 *     generate MODEL_DIR BATCH PROMPT NEW [bf16]
 *
 * The whole call, and the decoding alone: all new tokens but the first, which the prompts
 * give. Three times, of which the fastest counts. */
#include "bench.h"

static void report(const rlhf_context *context, const char *model, bool bf16,
                   const rlhf_model_config *config, int64_t batch, int64_t prompt,
                   int64_t new_tokens, bench_times *times, bench_times *decode_times)
{
    const int element = bf16 ? 2 : 4;
    bench_work work = {.count = 0}, decode = {.count = 0};

    bench_add_prompt(&work, config, batch, prompt);
    bench_add_decode(&work, config, batch, prompt, new_tokens - 1, element);
    bench_add_decode(&decode, config, batch, prompt, new_tokens - 1, element);
    bench_sort(times);
    bench_sort(decode_times);
    double seconds = times->seconds[0], decode_seconds = decode_times->seconds[0];
    bench_report(context, "generate", model, bf16, &work, times,
                 "\"batch\": %" PRId64 ", \"prompt\": %" PRId64 ", \"new\": %" PRId64
                 ", \"new_tokens_per_s\": %.1f, \"decode_seconds_min\": %.6f, "
                 "\"decode_tokens_per_s\": %.1f, \"decode_limit_seconds\": %.6f",
                 batch, prompt, new_tokens, (double)(batch * new_tokens) / seconds,
                 decode_seconds, (double)(batch * (new_tokens - 1)) / decode_seconds,
                 bench_limit(context, bf16, &decode));
}

int main(int argc, char **argv)
{
    rlhf_model *model;
    rlhf_model_config config;
    rlhf_sampler *sampler;
    rlhf_sampler_options sampling;
    rlhf_generator *generator;
    rlhf_generator_options options;
    bench_times times = {.count = 0}, decode_times = {.count = 0};

    const bool bf16 = bench_takes_bf16(&argc, argv);
    if (argc != 5) {
        fprintf(stderr, "usage: generate MODEL_DIR BATCH PROMPT NEW [bf16]\n");
        return 2;
    }
    int64_t batch = bench_count(argv[2], "BATCH"),
            prompt = bench_count(argv[3], "PROMPT");
    int64_t new_tokens = bench_count(argv[4], "NEW");
    rlhf_context *context = bench_context(bf16);
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
    int64_t active = 0;
    for (int run = 0; run < 3; run++) {
        double start = bench_now();
        bench_check(rlhf_generator_start(generator, ids, cu_seqlens, batch, NULL),
                    "start");
        bench_check(rlhf_generator_step(generator, &active), "step");
        double first = bench_now();
        bench_check(rlhf_generator_run(generator), "run");
        double end = bench_now();
        times.seconds[times.count++] = end - start;
        decode_times.seconds[decode_times.count++] = end - first;
    }
    rlhf_generation answer = {.struct_size = sizeof answer};
    bench_check(rlhf_generator_get(generator, batch - 1, &answer), "get");
    if (answer.num_tokens != prompt + new_tokens) {
        fprintf(stderr, "an answer has %" PRId64 " tokens\n", answer.num_tokens);
        exit(1);
    }
    report(context, argv[1], bf16, &config, batch, prompt, new_tokens, &times,
           &decode_times);
    rlhf_generator_free(generator);
    rlhf_sampler_free(sampler);
    rlhf_model_free(model);
    rlhf_context_free(context);
    free(ids);
    free(cu_seqlens);
    return 0;
}
