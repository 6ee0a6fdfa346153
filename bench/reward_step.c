/* Optimizer steps of the pairwise reward loss on random pairs of SEQ tokens, of which
 * both begin with the same PROMPT ones, 0 or so many that they are shared.
 *
 *     reward_step MODEL_DIR PAIRS SEQ PROMPT STEPS [bf16]
 */
#include "bench.h"

int main(int argc, char **argv)
{
    rlhf_model *model;
    rlhf_model_config config;
    rlhf_reward_model *reward_model;
    rlhf_reward_model_options head;
    rlhf_dataset *dataset;
    rlhf_dataset_options rows;
    rlhf_reward_trainer *trainer;
    rlhf_reward_options options;
    rlhf_reward_stats stats = {.struct_size = sizeof stats};
    bench_times times = {.count = 0};

    const bool bf16 = bench_takes_bf16(&argc, argv);
    if (argc != 6) {
        fprintf(stderr, "usage: reward_step MODEL_DIR PAIRS SEQ PROMPT STEPS [bf16]\n");
        return 2;
    }
    int64_t pairs = bench_count(argv[2], "PAIRS"), seq = bench_count(argv[3], "SEQ");
    int64_t prompt = bench_integer(argv[4], "PROMPT", 0, seq - 1);
    int64_t steps = bench_count(argv[5], "STEPS");
    rlhf_context *context = bench_context(bf16);
    bench_check(rlhf_model_load(context, argv[1], &model), "load");
    bench_check(rlhf_model_config_init(&config, sizeof config), "config");
    bench_check(rlhf_model_get_config(model, &config), "config");
    bench_check(rlhf_reward_model_options_init(&head, sizeof head), "options");
    head.append_eos = RLHF_APPEND_EOS_NEVER;
    bench_check(rlhf_reward_model_create(model, &head, &reward_model), "reward model");
    const int64_t parameters = rlhf_model_num_parameters(model);
    rlhf_model_free(model);

    bench_check(rlhf_dataset_options_init(&rows, sizeof rows), "options");
    rows.kind = RLHF_DATASET_PREFERENCE;
    rows.max_length = (int32_t)seq;
    bench_check(rlhf_dataset_create(context, &rows, &dataset), "dataset");
    int32_t *ids = bench_ids(pairs * steps * 2 * seq, config.vocab_size);
    for (int64_t i = 0; i < pairs * steps; i++) {
        memcpy(ids + (2 * i + 1) * seq, ids + 2 * i * seq, (size_t)prompt * sizeof *ids);
        rlhf_example row = {.struct_size = sizeof row,
                            .tokens = ids + 2 * i * seq,
                            .num_tokens = seq,
                            .rejected = ids + (2 * i + 1) * seq,
                            .num_rejected = seq};
        bench_check(rlhf_dataset_append(dataset, &row), "append");
    }
    bench_check(rlhf_reward_options_init(&options, sizeof options), "options");
    options.batch_size = (int32_t)pairs;
    bench_check(rlhf_reward_trainer_create(reward_model, dataset, &options, &trainer),
                "trainer");
    for (int64_t step = 0; step < steps && times.count < BENCH_MAX_RUNS; step++) {
        double start = bench_now();
        bench_check(rlhf_reward_trainer_step(trainer, &stats), "step");
        if (step >= 1 || steps == 1)
            times.seconds[times.count++] = bench_now() - start;
    }
    bench_sort(&times);
    double median = times.seconds[times.count / 2];
    bench_work work = {.count = 0};
    bench_add_phase(
        &work, (bench_phase){
                   .flops = 3 * (bench_forward_flops(&config, 2 * pairs, seq, 1, false) -
                                 bench_forward_flops(&config, pairs, prompt, 0, false))});
    bench_add_update(&work, parameters, 1);
    bench_report(context, "reward_step", argv[1], bf16, &work, &times,
                 "\"batch_pairs\": %" PRId64 ", \"seq\": %" PRId64
                 ", \"prompt\": %" PRId64 ", \"pairs_per_s\": %.2f",
                 pairs, seq, prompt, (double)pairs / median);
    rlhf_reward_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_reward_model_free(reward_model);
    rlhf_context_free(context);
    free(ids);
    return 0;
}
