/* Chapter 2. The model learns what an answer looks like.
 *
 *     build/examples/02_sft examples/02_sft.yaml
 *
 * Rows are a prompt and its completion. Only the completion carries loss: the prompt
 * is masked, the answer's first token and its EOS are not. Otherwise this is chapter 1
 * again. */
#include "host.h"

#include <inttypes.h>

/* Ctrl-C saves the trainer, where there is a place for it. */
static void check(rlhf_status status, const char *doing, rlhf_lm_trainer *trainer,
                  const char *state)
{
    if (status == RLHF_ERR_CANCELLED && state) {
        host_must(rlhf_lm_trainer_save(trainer, state), "save the trainer");
        host_stop("the trainer is saved: the same command goes on");
    }
    host_must(status, doing);
}

int main(int argc, char **argv)
{
    rlhf_context *context = host_start(argv[0]);
    rlhf_config *config = host_config(context, argc, argv, "CONFIG.yaml");
    const char *input = host_path(config, "model"), *data = host_path(config, "data");
    const char *output = host_path(config, "output"),
               *state = host_optional(config, "state");
    const int64_t steps = host_integer(config, "steps", 200, 1);
    const int64_t held_out = host_integer(config, "held_out", 100, 0);
    const int64_t seed = host_integer(config, "seed", 1, 0);
    FILE *metrics = host_log_open(host_optional(config, "metrics"), host_exists(state));
    rlhf_dataset_options data_options;
    rlhf_lm_options options;

    host_must(rlhf_dataset_options_init(&data_options, sizeof data_options), "start");
    host_options(config, "dataset", "rlhf_dataset_options", &data_options);
    data_options.kind = RLHF_DATASET_COMPLETION;
    host_must(rlhf_lm_options_init(&options, sizeof options), "start");
    options.total_steps = steps;
    host_options(config, "training", "rlhf_lm_options", &options);
    host_must(rlhf_config_finish(config), "read the config");

    rlhf_tokenizer *tokenizer;
    rlhf_model *model;
    rlhf_dataset *all, *train, *test;
    rlhf_lm_trainer *trainer;
    host_must(rlhf_tokenizer_load(context, input, &tokenizer), "read the tokenizer");
    host_must(rlhf_model_load(context, input, &model), "read the model");
    host_must(rlhf_dataset_load(context, tokenizer, data, &data_options, &all),
              "read the answers");
    host_must(rlhf_dataset_split(all, held_out, (uint64_t)seed, &train, &test),
              "hold rows out");
    host_describe(all);
    host_must(rlhf_lm_trainer_create(model, train, &options, &trainer),
              "make the trainer");
    if (host_exists(state))
        host_must(rlhf_lm_trainer_resume(trainer, state), "resume");
    for (int64_t step = rlhf_lm_trainer_num_steps(trainer); step < steps; step++) {
        rlhf_lm_stats stats = {.struct_size = sizeof stats};
        const rlhf_status status = rlhf_lm_trainer_step(trainer, &stats);
        check(status, "train", trainer, state);
        host_progress("finetune", step + 1, steps, "loss %.3f", stats.loss);
        host_log(metrics,
                 "{\"stage\": \"finetune\", \"step\": %" PRId64
                 ", \"loss\": %.6g, \"lr\": %.6g, "
                 "\"grad_norm\": %.6g, \"tokens_per_second\": %.0f}",
                 stats.step, stats.loss, stats.learning_rate, stats.grad_norm,
                 stats.tokens_per_second);
    }
    if (held_out > 0) {
        double loss;
        check(rlhf_lm_trainer_evaluate(trainer, test, 0, &loss), "evaluate", trainer,
              state);
        fprintf(stderr, "held-out loss: %.3f nats a token\n", loss);
        host_log(metrics, "{\"stage\": \"finetune\", \"held_out_loss\": %.6g}", loss);
    }
    host_save(output, tokenizer, model, NULL);
    fprintf(stderr, "wrote %s\n", output);

    host_log_close(metrics);
    rlhf_lm_trainer_free(trainer);
    rlhf_dataset_free(test);
    rlhf_dataset_free(train);
    rlhf_dataset_free(all);
    rlhf_model_free(model);
    rlhf_tokenizer_free(tokenizer);
    rlhf_config_free(config);
    rlhf_context_free(context);
    return 0;
}
