/* One AdamW step of next-token loss.
 *
 *     train_step MODEL_DIR BATCH SEQ [bf16]
 *
 * BATCH rows of SEQ + 1 random ids, so that BATCH * SEQ tokens are predicted; seven
 * steps, of which the first two are not counted. */
#include "bench.h"

int main(int argc, char **argv)
{
    rlhf_model *model;
    rlhf_dataset *dataset;
    rlhf_dataset_options rows;
    rlhf_model_config config;
    rlhf_lm_trainer *trainer;
    rlhf_lm_options options;
    rlhf_lm_stats stats = {.struct_size = sizeof stats};
    bench_times times = {.count = 0};

    const bool bf16 = bench_takes_bf16(&argc, argv);
    if (argc != 4) {
        fprintf(stderr, "usage: train_step MODEL_DIR BATCH SEQ [bf16]\n");
        return 2;
    }
    int64_t batch = bench_count(argv[2], "BATCH"), seq = bench_count(argv[3], "SEQ");
    rlhf_context *context = bench_context(bf16);
    bench_check(rlhf_model_load(context, argv[1], &model), "load");
    bench_check(rlhf_model_config_init(&config, sizeof config), "config");
    bench_check(rlhf_model_get_config(model, &config), "config");

    bench_check(rlhf_dataset_options_init(&rows, sizeof rows), "options");
    rows.max_length = (int32_t)seq + 1;
    rows.shuffle = 0;
    bench_check(rlhf_dataset_create(context, &rows, &dataset), "dataset");
    int32_t *ids = bench_ids(batch * (seq + 1), config.vocab_size);
    for (int64_t b = 0; b < batch; b++) {
        rlhf_example row = {.struct_size = sizeof row,
                            .tokens = ids + b * (seq + 1),
                            .num_tokens = seq + 1};
        bench_check(rlhf_dataset_append(dataset, &row), "append");
    }
    bench_check(rlhf_lm_options_init(&options, sizeof options), "options");
    options.batch_size = (int32_t)batch;
    options.learning_rate = 1e-4;
    options.schedule = RLHF_SCHEDULE_CONSTANT;
    options.warmup_steps = 0;
    bench_check(rlhf_lm_trainer_create(model, dataset, &options, &trainer), "trainer");
    for (int step = 0; step < 7; step++) {
        double start = bench_now();
        bench_check(rlhf_lm_trainer_step(trainer, &stats), "step");
        if (step >= 2)
            times.seconds[times.count++] = bench_now() - start;
    }
    bench_sort(&times);
    double median = times.seconds[times.count / 2];
    bench_work work = {.count = 0};
    bench_add_phase(
        &work,
        (bench_phase){.flops = 3 * bench_forward_flops(&config, batch, seq, seq, true)});
    bench_add_update(&work, rlhf_model_num_parameters(model), 1);
    bench_report(context, "train_step", argv[1], bf16, &work, &times,
                 "\"batch\": %" PRId64 ", \"seq\": %" PRId64 ", \"compile\": false, "
                 "\"tokens_per_s\": %.1f, "
                 "\"last_loss\": %.6f",
                 batch, seq, (double)(batch * seq) / median, stats.loss);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(dataset);
    rlhf_model_free(model);
    rlhf_context_free(context);
    free(ids);
    return 0;
}
