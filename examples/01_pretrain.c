/* Chapter 1. A model that knows nothing learns to continue text.
 *
 *     build/examples/demo/world 1 work/data
 *     build/examples/01_pretrain examples/01_pretrain.yaml
 *
 * The first command writes a small corpus of our own; any plain text file of yours
 * will do. The second trains a tokenizer on it, makes a transformer, and lowers the
 * next-token loss step by step. The folder it writes is a Hugging Face folder:
 * config.json, model.safetensors and tokenizer.json. Ctrl-C saves the trainer's state;
 * the same command then goes on. */
#include "host.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Every line a document of its own, between BOS and EOS: stories, not one endless
 * text. */
static rlhf_dataset *read_lines(rlhf_context *context, rlhf_tokenizer *tokenizer,
                                char *text, const rlhf_dataset_options *options)
{
    const int32_t bos = rlhf_tokenizer_bos_id(tokenizer),
                  eos = rlhf_tokenizer_eos_id(tokenizer);
    rlhf_dataset *dataset;

    host_must(rlhf_dataset_create(context, options, &dataset), "make the dataset");
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        int64_t count;
        int32_t *ids = host_encode(tokenizer, line, &count);
        int32_t *row = host_alloc((size_t)count + 2, sizeof *row);
        rlhf_example example = {.struct_size = sizeof example, .tokens = row};
        if (bos >= 0 && options->add_bos)
            row[example.num_tokens++] = bos;
        memcpy(row + example.num_tokens, ids, (size_t)count * sizeof *row);
        example.num_tokens += count;
        if (eos >= 0 && options->add_eos)
            row[example.num_tokens++] = eos;
        host_must(rlhf_dataset_append(dataset, &example), "add a document");
        free(row);
        free(ids);
    }
    return dataset;
}

static rlhf_tokenizer *train_tokenizer(rlhf_context *context, rlhf_config *config,
                                       const char *text, size_t size)
{
    rlhf_tokenizer_train_options options;
    rlhf_tokenizer *tokenizer;

    host_must(rlhf_tokenizer_train_options_init(&options, sizeof options), "start");
    host_options(config, "tokenizer", "rlhf_tokenizer_train_options", &options);
    host_must(rlhf_tokenizer_train(context, &text, &size, 1, &options, &tokenizer),
              "train the tokenizer");
    fprintf(stderr, "tokenizer: %d ids\n", (int)rlhf_tokenizer_vocab_size(tokenizer));
    return tokenizer;
}

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
    const char *corpus = host_path(config, "corpus"),
               *output = host_path(config, "output");
    const char *documents = host_optional(config, "documents");
    const char *state = host_optional(config, "state");
    const int64_t steps = host_integer(config, "steps", 500, 1);
    const int64_t held_out = host_integer(config, "held_out", 100, 0);
    const int64_t seed = host_integer(config, "seed", 1, 0);
    FILE *metrics = host_log_open(host_optional(config, "metrics"), host_exists(state));
    rlhf_dataset_options data_options;
    rlhf_model_config model_config;
    rlhf_lm_options options;
    size_t size;
    char *text = host_read(corpus, &size);

    host_must(rlhf_dataset_options_init(&data_options, sizeof data_options), "start");
    host_options(config, "dataset", "rlhf_dataset_options", &data_options);
    data_options.kind = RLHF_DATASET_TEXT;
    host_must(rlhf_model_config_init(&model_config, sizeof model_config), "start");
    host_options(config, "model", "rlhf_model_config", &model_config);
    host_must(rlhf_lm_options_init(&options, sizeof options), "start");
    options.total_steps = steps;
    host_options(config, "training", "rlhf_lm_options", &options);

    rlhf_tokenizer *tokenizer = train_tokenizer(context, config, text, size);
    host_must(rlhf_config_finish(config), "read the config");
    model_config.vocab_size = rlhf_tokenizer_vocab_size(tokenizer);
    model_config.bos_token_id = rlhf_tokenizer_bos_id(tokenizer);
    model_config.eos_token_id = rlhf_tokenizer_eos_id(tokenizer);

    rlhf_model *model;
    host_must(rlhf_model_create(context, &model_config, (uint64_t)seed, &model),
              "make the model");
    fprintf(stderr, "model: %" PRId64 " parameters\n", rlhf_model_num_parameters(model));

    rlhf_dataset *all, *train, *test;
    if (documents && strcmp(documents, "lines") == 0)
        all = read_lines(context, tokenizer, text, &data_options);
    else
        host_must(rlhf_dataset_load(context, tokenizer, corpus, &data_options, &all),
                  "read the corpus");
    free(text);
    host_must(rlhf_dataset_split(all, held_out, (uint64_t)seed, &train, &test),
              "hold rows out");
    host_describe(all);

    rlhf_lm_trainer *trainer;
    host_must(rlhf_lm_trainer_create(model, train, &options, &trainer),
              "make the trainer");
    if (host_exists(state))
        host_must(rlhf_lm_trainer_resume(trainer, state), "resume");
    for (int64_t step = rlhf_lm_trainer_num_steps(trainer); step < steps; step++) {
        rlhf_lm_stats stats = {.struct_size = sizeof stats};
        const rlhf_status status = rlhf_lm_trainer_step(trainer, &stats);
        check(status, "train", trainer, state);
        host_progress("pretrain", step + 1, steps, "loss %.3f", stats.loss);
        host_log(metrics,
                 "{\"stage\": \"pretrain\", \"step\": %" PRId64
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
        host_log(metrics, "{\"stage\": \"pretrain\", \"held_out_loss\": %.6g}", loss);
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
